//! One word for one thing: what the glossary rules out is not used as a name.

use crate::text::has_word;
use crate::{File, Finding};

/// Words for which the glossary has another, and it.
const OTHER_WORDS: [(&str, &str); 8] = [
    ("master", "holder"),
    ("leader", "holder"),
    ("lock", "lease"),
    ("term", "epoch"),
    ("maintenance", "pause"),
    ("manager", "what it does"),
    ("helper", "what it does"),
    ("util", "what it does"),
];

/// Words that mean nothing else here, so they may not stand in a document either. A file or a memory page may be locked, a
/// process group has a leader, and AWS announces maintenance, so those are left to the reader.
const NEVER: [(&str, &str); 3] =
    [("master", "holder"), ("utils", "what it does"), ("failover manager", "arbiter")];

/// Documents that name these words in order to rule them out.
const RULE_THEM_OUT: [&str; 2] = ["docs/GLOSSARY.md", "CONTRIBUTING.md"];

fn other_word(part: &str) -> Option<(&'static str, &'static str)> {
    let singular = part.strip_suffix('s').unwrap_or(part);
    OTHER_WORDS.into_iter().find(|(word, _)| *word == part || *word == singular)
}

/// Files, modules and types are called by the words of `docs/GLOSSARY.md`.
pub fn names_are_our_words(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours = |file: &&File| !file.path.ends_with(".lock") && !file.path.ends_with(".md");
    for file in files.iter().filter(ours) {
        let parts = file.path.split(['/', '.', '_', '-']).map(str::to_lowercase);
        findings.extend(parts.filter_map(|part| said(&part)).map(|what| file.finding(1, what)));
        if file.has_extension("rs") {
            for (number, line) in file.lines() {
                let parts = declared(line).map(name_parts).unwrap_or_default();
                findings.extend(
                    parts.iter().filter_map(|part| said(part)).map(|what| file.finding(number, what)),
                );
            }
        }
    }
    findings
}

/// No document speaks of what this project has no such thing of.
pub fn documents_use_our_words(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in
        files.iter().filter(|file| file.has_extension("md") && !RULE_THEM_OUT.contains(&file.path.as_str()))
    {
        for (number, line) in file.lines() {
            let line = line.to_lowercase();
            for (word, instead) in NEVER.into_iter().filter(|(word, _)| has_word(&line, word)) {
                findings.push(
                    file.finding(number, format!("`{word}`: the word is `{instead}` (docs/GLOSSARY.md)")),
                );
            }
        }
    }
    findings
}

fn said(part: &str) -> Option<String> {
    other_word(part)
        .map(|(word, instead)| format!("a name with `{word}`: say `{instead}` (docs/GLOSSARY.md)"))
}

/// The name of the type or module that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    let kind = words.next()?;
    let name = words.next()?;
    let declares = ["struct", "enum", "trait", "type", "mod", "union"].contains(&kind);
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    declares.then_some(&name[..end])
}

/// `SilenceWatch` and `silence_watch` are both `silence` and `watch`.
fn name_parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            parts.push(String::new());
        }
        if let (Some(part), true) = (parts.last_mut(), letter != '_') {
            part.extend(letter.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        names_are_our_words(&[File::made_up(path, text)]).len()
    }

    #[test]
    fn a_type_a_module_or_a_file_with_another_word_is_found() {
        assert_eq!(found("a.rs", "pub(crate) struct LeaseManager;"), 1);
        assert_eq!(found("a.rs", "mod utils;"), 1);
        assert_eq!(found("src/test_helpers.py", ""), 1);
        assert_eq!(found("src/leader.rs", "//! Fine."), 1);
    }

    #[test]
    fn a_word_inside_another_word_is_no_finding() {
        assert_eq!(
            found("a.rs", "pub struct TestClock;\nenum Terminal {}\nstruct Blocked;\nlet leader = 1;"),
            0
        );
        assert_eq!(found("src/clock.rs", ""), 0);
    }

    #[test]
    fn a_document_with_another_word_is_found_unless_it_rules_it_out() {
        let text = "The Master decides.";
        assert_eq!(documents_use_our_words(&[File::made_up("docs/A.md", text)]).len(), 1);
        assert_eq!(documents_use_our_words(&[File::made_up("docs/GLOSSARY.md", text)]), []);
        assert_eq!(documents_use_our_words(&[File::made_up("docs/A.md", "Masterly.")]), []);
    }
}
