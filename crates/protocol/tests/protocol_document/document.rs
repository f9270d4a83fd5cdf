//! The document on disk: compared, and written anew when asked to.
#![expect(
    clippy::disallowed_methods,
    reason = "the protocol does no I/O; this test of its document reads one file, and one word from whoever blesses it"
)]

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");

const END: &str = "<!-- end -->";

/// Fails unless each of these blocks holds exactly its text; with `BLESS` set, makes it so.
pub(crate) fn holds(blocks: &[(&str, String)]) {
    let mut document = std::fs::read_to_string(DOCUMENT).expect("docs/PROTOCOL.md can be read");
    let mut differences = Vec::new();
    for (name, text) in blocks {
        let begin = format!("<!-- generated: {name} -->");
        let (before, rest) =
            document.split_once(&begin).unwrap_or_else(|| panic!("expected a line `{begin}`"));
        let (found, after) =
            rest.split_once(END).unwrap_or_else(|| panic!("expected `{END}` after `{begin}`"));
        let expected = format!("\n{}\n", text.trim_end());
        if found != expected {
            differences.push(format!("`{name}`:\n{}", first_difference(&expected, found)));
            document = format!("{before}{begin}{expected}{END}{after}");
        }
    }
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(DOCUMENT, document).expect("docs/PROTOCOL.md can be written");
    }
    assert!(
        differences.is_empty(),
        "docs/PROTOCOL.md does not say what the code does. First difference in {}\nIf the code is right: BLESS=1 cargo \
         test -p baton-protocol --test protocol_document",
        differences.join("\n")
    );
}

fn first_difference(expected: &str, found: &str) -> String {
    let mut lines = expected.lines().zip(found.lines());
    let differs = lines.find(|(expected, found)| expected != found);
    differs.map_or_else(
        || "  one of them ends before the other".to_owned(),
        |(expected, found)| format!("  the code: {expected}\n  the document: {found}"),
    )
}
