//! Rules for `docs/SEMANTICS.md`, `docs/PITFALLS.md` and `docs/THREAT-MODEL.md`: whoever relies on a sentence of them can look at what shows it.

use crate::{File, Finding};

/// A document whose sentences are shown by tests.
struct Document {
    path: &'static str,
    /// The section whose list holds the clauses; it ends with the next of its rank.
    section: &'static str,
    /// With fewer it has lost some.
    fewest: usize,
}

const DOCUMENTS: [Document; 3] = [
    Document { path: "docs/SEMANTICS.md", section: "## What may be relied on", fewest: 20 },
    Document { path: "docs/PITFALLS.md", section: "## What is guarded against", fewest: 20 },
    Document { path: "docs/THREAT-MODEL.md", section: "## Attacks, and what stops each", fewest: 20 },
];

/// Where the scenarios and the deliberate faults have their names.
const SCENARIOS: &str = "tests/faults/src/scenario.rs";
const MUTANTS: &str = "crates/protocol/src/mutant.rs";

/// A sentence that users may rely on, and where it begins.
struct Clause {
    line: usize,
    text: String,
}

/// Every clause names what shows it: a test, a condition of the simulator, a scenario or a deliberate fault; and each of them
/// exists where it is said to be.
pub fn promises_are_shown(files: &[File]) -> Vec<Finding> {
    DOCUMENTS.iter().flat_map(|document| shown(files, document)).collect()
}

fn shown(files: &[File], Document { path, section, fewest }: &Document) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == *path) else {
        let what = "expected this document".to_owned();
        return vec![Finding { path: (*path).to_owned(), line: 1, what }];
    };
    let clauses = clauses(document, section);
    let mut findings = Vec::new();
    if clauses.len() < *fewest {
        let what = format!("{} clauses under `{section}`, expected at least {fewest}", clauses.len());
        findings.push(document.finding(1, what));
    }
    for clause in &clauses {
        let shown: Vec<&str> = spans(&clause.text).filter(|span| is_reference(span)).collect();
        if shown.is_empty() {
            let what = "a clause that nothing shows: add `test: FILE::NAME` or `simulator: I1`";
            findings.push(document.finding(clause.line, what));
        }
        let wrong = shown.into_iter().filter_map(|reference| what_is_wrong(files, reference));
        findings.extend(wrong.map(|what| document.finding(clause.line, what)));
    }
    findings
}

/// The items of the section's lists. An item goes on until the next, an empty line or a heading.
fn clauses(document: &File, section: &str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    let mut is_open = false;
    let section = document.lines().skip_while(|(_, line)| *line != section).skip(1);
    for (line, text) in section.take_while(|(_, line)| !line.starts_with("## ")) {
        match text.strip_prefix("* ") {
            Some(first) => clauses.push(Clause { line, text: first.to_owned() }),
            None if !is_open || text.is_empty() || text.starts_with('#') => {
                is_open = false;
                continue;
            }
            None => {
                if let Some(clause) = clauses.last_mut() {
                    clause.text.push(' ');
                    clause.text.push_str(text.trim());
                }
            }
        }
        is_open = true;
    }
    clauses
}

/// What stands between back-ticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_reference(span: &str) -> bool {
    ["test: ", "simulator: ", "scenario: ", "mutant: "].iter().any(|kind| span.starts_with(kind))
}

/// Whether the file has this text between quotes.
fn quotes(files: &[File], path: &str, text: &str) -> bool {
    let quoted = format!("\"{text}\"");
    files.iter().any(|file| file.path == path && file.text.contains(&quoted))
}

fn what_is_wrong(files: &[File], reference: &str) -> Option<String> {
    if let Some(condition) = reference.strip_prefix("simulator: ") {
        let number = condition.strip_prefix(['I', 'L']).unwrap_or_default();
        let is_known = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        return (!is_known).then(|| format!("`{reference}`: expected a condition such as I1 or L1"));
    }
    if let Some(name) = reference.strip_prefix("scenario: ") {
        return (!quotes(files, SCENARIOS, name))
            .then(|| format!("`{reference}`: there is no such scenario"));
    }
    if let Some(id) = reference.strip_prefix("mutant: ") {
        return (!quotes(files, MUTANTS, id)).then(|| format!("`{reference}`: there is no such fault"));
    }
    let Some((path, name)) = reference.strip_prefix("test: ")?.split_once("::") else {
        return Some(format!("`{reference}`: expected `test: FILE::NAME`"));
    };
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return Some(format!("`{reference}`: there is no such file"));
    };
    let declares = |line: &str| line.contains(&format!("fn {name}("));
    let is_there = file.lines().any(|(_, line)| declares(line.split("//").next().unwrap_or_default()));
    (!is_there).then(|| format!("`{reference}`: there is no such test in this file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in documents with enough good clauses, and this one in the first.
    fn found(clause: &str) -> Vec<Finding> {
        let made_up = |document: &Document, clause: &str| {
            let good = "* It holds.\n  `test: a/tests.rs::it_holds`\n".repeat(document.fewest);
            let section = document.section;
            let text =
                format!("# It\n\n{section}\n\n{good}{clause}\n\n## What may not\n\n* Anything else.\n");
            File::made_up(document.path, &text)
        };
        let [first, second, third] = &DOCUMENTS;
        promises_are_shown(&[
            made_up(first, clause),
            made_up(second, ""),
            made_up(third, ""),
            File::made_up("a/tests.rs", "#[test]\nfn it_holds() {}\n// fn it_held() {}\n"),
            File::made_up(SCENARIOS, "[\"F1\", \"lost\"]"),
            File::made_up(MUTANTS, "Reassociate \"m09\" \"an address is taken\";"),
        ])
    }

    #[test]
    fn a_clause_that_nothing_shows_is_found() {
        assert_eq!(found("* It holds, says `nobody`.").len(), 1);
        assert_eq!(found("* It\n  holds."), found("* It holds."));
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        for wrong in
            ["test: a/tests.rs::it_held", "test: a/tests.rs::it", "test: b.rs::it_holds", "test: it_holds"]
        {
            assert_eq!(found(&format!("* It holds. `{wrong}`")).len(), 1, "{wrong}");
        }
        let both = "* It holds.\n  `test: a/tests.rs::it_holds` `test: a/tests.rs::gone`";
        assert_eq!(found(both).len(), 1);
    }

    #[test]
    fn a_condition_of_the_simulator_shows_a_clause() {
        for good in ["I1", "L12"] {
            assert_eq!(found(&format!("* It holds. `simulator: {good}`")), []);
        }
        for wrong in ["I", "X1", "I1a", "11"] {
            assert_eq!(found(&format!("* It holds. `simulator: {wrong}`")).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_scenario_or_a_deliberate_fault_shows_a_clause_if_there_is_one() {
        for good in ["scenario: F1", "scenario: lost", "mutant: m09"] {
            assert_eq!(found(&format!("* It holds. `{good}`")), []);
        }
        for wrong in ["scenario: F", "scenario: m09", "mutant: m10", "mutant: F1"] {
            assert_eq!(found(&format!("* It holds. `{wrong}`")).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_document_that_is_missing_or_has_lost_its_clauses_is_found() {
        assert_eq!(promises_are_shown(&[]).len(), DOCUMENTS.len());
        let lost = DOCUMENTS.map(|document| File::made_up(document.path, document.section));
        assert_eq!(promises_are_shown(&lost).len(), DOCUMENTS.len());
    }
}
