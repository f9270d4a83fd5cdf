//! Rules for documents: they are short, whole, and speak of what exists.

use std::collections::BTreeSet;

use crate::{File, Finding};

/// Each document and the lines it may have: who has more to say has a document more to write.
const LENGTHS: [(&str, usize); 3] =
    [("README.md", 200), ("CONTRIBUTING.md", 150), ("docs/ARCHITECTURE.md", 250)];

/// What a newcomer types.
const COMMANDS: [&str; 2] = ["cargo xtask demo", "cargo xtask test"];

/// The sections of a decision's record.
const SECTIONS: [&str; 3] = ["## Context", "## Decision", "## Consequences"];

const INDEX: &str = "docs/adr/README.md";

/// The vocabulary. A word that the code or the commands begin to use is added here and to the glossary.
const WORDS: [&str; 54] = [
    "cluster",
    "node",
    "instance",
    "member",
    "resource",
    "address",
    "route",
    "lease",
    "holder",
    "standby",
    "claim",
    "renew",
    "release",
    "expire",
    "epoch",
    "revision",
    "heartbeat",
    "incarnation",
    "validity",
    "silence",
    "check",
    "probe",
    "interval",
    "timeout",
    "rise",
    "fall",
    "evidence",
    "ground",
    "suspicion",
    "verdict",
    "witness",
    "candidate",
    "grant",
    "takeover",
    "failover",
    "switchover",
    "failback",
    "fence",
    "self-fence",
    "fenced",
    "dead-man",
    "plan",
    "step",
    "outcome",
    "desired",
    "observed",
    "drift",
    "repair",
    "reconcile",
    "intent",
    "pause",
    "resume",
    "violation",
    "wake",
];

fn named<'a>(files: &'a [File], path: &str) -> Result<&'a File, Vec<Finding>> {
    let missing = || Finding { path: path.to_owned(), line: 1, what: "expected this document".to_owned() };
    files.iter().find(|file| file.path == path).ok_or_else(|| vec![missing()])
}

/// The documents that everybody should read can be read in one sitting.
pub fn documents_are_short(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, most) in LENGTHS {
        match named(files, path) {
            Ok(file) => {
                let lines = file.text.lines().count();
                if lines > most {
                    findings.push(file.finding(most + 1, format!("{lines} lines, expected at most {most}")));
                }
            }
            Err(missing) => findings.extend(missing),
        }
    }
    findings
}

/// The README names the two commands that everything else follows from.
pub fn readme_names_both_commands(files: &[File]) -> Vec<Finding> {
    match named(files, "README.md") {
        Ok(readme) => {
            let missing = COMMANDS.into_iter().filter(|command| !readme.text.contains(command));
            missing.map(|command| readme.finding(1, format!("expected `{command}`"))).collect()
        }
        Err(missing) => missing,
    }
}

/// Every word of the vocabulary has a line in the glossary.
pub fn glossary_is_whole(files: &[File]) -> Vec<Finding> {
    let glossary = match named(files, "docs/GLOSSARY.md") {
        Ok(glossary) => glossary,
        Err(missing) => return missing,
    };
    let mut explained = BTreeSet::new();
    for line in glossary.text.lines().filter_map(|line| line.strip_prefix("| **")) {
        explained.extend(line.split("**").next().unwrap_or_default().split(", ").map(str::to_owned));
    }
    let missing = WORDS.into_iter().filter(|word| !explained.contains(*word));
    missing.map(|word| glossary.finding(1, format!("expected a row `| **{word}** | …`"))).collect()
}

/// Every decision's record stands in the index under its own title, numbered without a gap, and has its three sections.
pub fn adrs_are_listed(files: &[File]) -> Vec<Finding> {
    let index = match named(files, INDEX) {
        Ok(index) => index,
        Err(missing) => return missing,
    };
    let mut findings = Vec::new();
    for (position, adr) in adrs(files).enumerate() {
        let name = adr.path.trim_start_matches("docs/adr/");
        let number = format!("{:04}", position + 1);
        let heading = adr.text.lines().next().unwrap_or_default();
        let title = heading.strip_prefix(&format!("# {number}: "));
        match title {
            None => findings
                .push(adr.finding(1, format!("expected the heading `# {number}: …`, found `{heading}`"))),
            Some(title) => {
                let entry = format!("[{title}]({name})");
                if !index.text.contains(&entry) {
                    findings.push(index.finding(1, format!("expected the entry `{entry}`")));
                }
            }
        }
        if !name.starts_with(&format!("{number}-")) {
            findings.push(adr.finding(1, format!("expected a file name that begins with `{number}-`")));
        }
        let has = |section: &&str| adr.text.lines().any(|line| line == *section);
        for section in SECTIONS.iter().filter(|section| !has(section)) {
            findings.push(adr.finding(1, format!("expected a section `{section}`")));
        }
    }
    findings
}

/// Whoever names a decision by its number names one that was recorded.
pub fn references_to_adrs_hold(files: &[File]) -> Vec<Finding> {
    let recorded: BTreeSet<&str> = adrs(files).filter_map(|adr| adr.path.get(9..13)).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with("tests/tidy/")) {
        for (number, line) in file.lines() {
            for (start, mark) in line.match_indices("ADR ") {
                let digits: String =
                    line[start + mark.len()..].chars().take_while(char::is_ascii_digit).collect();
                if !digits.is_empty() && !recorded.contains(digits.as_str()) {
                    findings.push(file.finding(number, format!("there is no ADR {digits}")));
                }
            }
        }
    }
    findings
}

fn adrs(files: &[File]) -> impl Iterator<Item = &File> {
    let is_adr =
        |file: &&File| file.path.starts_with("docs/adr/") && file.path != INDEX && file.has_extension("md");
    files.iter().filter(is_adr)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADR: &str = "# 0001: The core\n\n## Context\n\n## Decision\n\n## Consequences\n";

    fn adr(index: &str, name: &str, text: &str) -> Vec<Finding> {
        adrs_are_listed(&[File::made_up(INDEX, index), File::made_up(&format!("docs/adr/{name}"), text)])
    }

    #[test]
    fn a_record_that_is_not_listed_misnumbered_or_unfinished_is_found() {
        let index = "* [The core](0001-core.md)";
        assert_eq!(adr(index, "0001-core.md", ADR), []);
        assert_eq!(adr("", "0001-core.md", ADR).len(), 1);
        assert_eq!(adr(index, "0001-core.md", "# 0001: The core\n\n## Context\n").len(), 2);
        assert_eq!(adr(index, "0002-core.md", &ADR.replace("0001", "0002")).len(), 2);
    }

    #[test]
    fn a_reference_to_a_record_that_was_never_written_is_found() {
        let files = |text| [File::made_up("docs/adr/0001-core.md", ADR), File::made_up("a.rs", text)];
        assert_eq!(references_to_adrs_hold(&files("// See ADR 0001.")), []);
        assert_eq!(references_to_adrs_hold(&files("// See ADR 0002.")).len(), 1);
    }

    #[test]
    fn a_word_without_a_row_is_found() {
        let rows: String = WORDS.iter().map(|word| format!("| **{word}** | x |\n")).collect();
        assert_eq!(glossary_is_whole(&[File::made_up("docs/GLOSSARY.md", &rows)]), []);
        let fewer = rows.replace("| **epoch**", "| **era**");
        assert_eq!(glossary_is_whole(&[File::made_up("docs/GLOSSARY.md", &fewer)]).len(), 1);
    }

    #[test]
    fn a_document_that_is_long_or_missing_is_found() {
        let long = File::made_up("README.md", &"x\n".repeat(201));
        assert_eq!(documents_are_short(&[long]).len(), 3);
        assert_eq!(readme_names_both_commands(&[File::made_up("README.md", "cargo xtask demo")]).len(), 1);
    }
}
