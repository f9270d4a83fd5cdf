//! Rules for `docs/SEMANTICS.md`: whoever relies on a sentence of it can look at what shows it.

use crate::{File, Finding};

const DOCUMENT: &str = "docs/SEMANTICS.md";

/// The section whose list holds the clauses; it ends with the next of its rank.
const SECTION: &str = "## What may be relied on";

/// A document with fewer has lost some.
const FEWEST: usize = 20;

/// A sentence that users may rely on, and where it begins.
struct Clause {
    line: usize,
    text: String,
}

/// Every clause of the semantics names the test that shows it, or the simulator's condition, and each such test exists in
/// the file it is said to be in.
pub fn promises_are_shown(files: &[File]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        let what = "expected this document".to_owned();
        return vec![Finding { path: DOCUMENT.to_owned(), line: 1, what }];
    };
    let clauses = clauses(document);
    let mut findings = Vec::new();
    if clauses.len() < FEWEST {
        let what = format!("{} clauses under `{SECTION}`, expected at least {FEWEST}", clauses.len());
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
fn clauses(document: &File) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    let mut is_open = false;
    let section = document.lines().skip_while(|(_, line)| *line != SECTION).skip(1);
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
    span.starts_with("test: ") || span.starts_with("simulator: ")
}

fn what_is_wrong(files: &[File], reference: &str) -> Option<String> {
    if let Some(condition) = reference.strip_prefix("simulator: ") {
        let number = condition.strip_prefix(['I', 'L']).unwrap_or_default();
        let is_known = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        return (!is_known).then(|| format!("`{reference}`: expected a condition such as I1 or L1"));
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

    /// A document with this clause and enough good ones.
    fn found(clause: &str) -> Vec<Finding> {
        let good = "* It holds.\n  `test: a/tests.rs::it_holds`\n".repeat(FEWEST);
        let text = format!("# It\n\n{SECTION}\n\n{good}{clause}\n\n## What may not\n\n* Anything else.\n");
        let tests = File::made_up("a/tests.rs", "#[test]\nfn it_holds() {}\n// fn it_held() {}\n");
        promises_are_shown(&[File::made_up(DOCUMENT, &text), tests])
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
    fn a_document_that_is_missing_or_has_lost_its_clauses_is_found() {
        assert_eq!(promises_are_shown(&[]).len(), 1);
        assert_eq!(promises_are_shown(&[File::made_up(DOCUMENT, SECTION)]).len(), 1);
    }
}
