//! The tables of `docs/PROTOCOL.md` that are made from the code here, so that they cannot say anything else.

use std::fmt::Write;
use std::path::Path;

use crate::invariant::{INVARIANTS, LIVENESS};
use crate::sometimes::Sometimes;

/// The promises.
pub fn invariants() -> String {
    let mut text = String::from("| id | promise |\n| --- | --- |\n");
    for (id, sentence) in INVARIANTS.iter().chain(LIVENESS) {
        let _ = writeln!(text, "| {id} | {sentence} |");
    }
    text
}

/// What every batch of 10,000 runs must have seen.
pub fn sometimes() -> String {
    let mut text = String::new();
    for (_, what) in Sometimes::ALL {
        let _ = writeln!(text, "* {what}");
    }
    text
}

/// The deliberate faults, with what each was found by.
#[cfg(feature = "mutants")]
pub fn mutants(fates: &[crate::mutants::Fate]) -> String {
    let mut text = String::from("| id | what is wrong | found by | schedule | first seed | runs |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for fate in fates {
        let found = fate.invariant.unwrap_or("nothing");
        let seed = fate.seed.map_or_else(String::new, |seed| seed.to_string());
        let schedule = fate.schedule.unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | {found} | {schedule} | {seed} | {} |",
            fate.id, fate.what, fate.seeds
        );
    }
    text
}

/// Whether the block of this name in the document says `text`; with `bless` it is made to.
pub fn agrees(document: &Path, block: &str, text: &str, bless: bool) -> Result<bool, String> {
    let shown = document.display();
    let whole = std::fs::read_to_string(document).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let (start, end) = (format!("<!-- generated: {block} -->\n"), "<!-- end -->");
    let missing = || format!("{shown} has no block between `{}` and `{end}`", start.trim());
    let from = whole.find(&start).ok_or_else(missing)? + start.len();
    let until = from + whole[from..].find(end).ok_or_else(missing)?;
    let wanted = format!("\n{text}\n");
    if whole[from..until] == wanted {
        return Ok(true);
    }
    if bless {
        let blessed = format!("{}{wanted}{}", &whole[..from], &whole[until..]);
        std::fs::write(document, blessed).map_err(|error| format!("cannot write {shown}: {error}"))?;
    }
    Ok(bless)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md")
    }

    #[test]
    fn the_document_lists_the_promises_and_the_situations_as_they_are_here() {
        let bless = std::env::var_os("BLESS").is_some();
        for (block, text) in [("invariants", invariants()), ("sometimes", sometimes())] {
            let agrees = agrees(&document(), block, &text, bless).expect("a document with its blocks");
            assert!(
                agrees,
                "docs/PROTOCOL.md differs in `{block}`: run this test with BLESS=1 and read the diff"
            );
        }
    }
}
