//! Rules for every text file.

use crate::{File, Finding};

/// Whether `word` stands in `line` with nothing of a word beside it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Nothing is left for later in the source: what is not done stands in the README's status, where users see it.
pub fn nothing_is_left_for_later(files: &[File]) -> Vec<Finding> {
    // In two parts, so that this line is no finding.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path != "Cargo.lock" && file.path != "LICENSE") {
        for (number, line) in file.lines() {
            for mark in marks.iter().filter(|mark| has_word(line, mark)) {
                findings.push(
                    file.finding(number, format!("`{mark}`: do it, or say in the README what is missing")),
                );
            }
        }
    }
    findings
}

/// No file names a directory of the machine it was written on.
pub fn no_machine_of_ours(files: &[File]) -> Vec<Finding> {
    let places =
        [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            for place in places.iter().filter(|place| starts_a_path(line, place)) {
                findings.push(
                    file.finding(
                        number,
                        format!("`{place}…` exists on one machine; use a path in the project"),
                    ),
                );
            }
        }
    }
    findings
}

/// Whether an absolute path begins so: not the middle of a longer path or of a URL.
fn starts_a_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_as_a_word_only() {
        let mark = concat!("TO", "DO");
        let bad = File::made_up("a.rs", &format!("fine\n// {mark}: later\n"));
        assert_eq!(nothing_is_left_for_later(&[bad])[0].line, 2);
        let good = File::made_up("a.rs", &format!("{mark}S and A{mark}"));
        assert_eq!(nothing_is_left_for_later(&[good]), []);
    }

    #[test]
    fn a_home_directory_is_found_and_a_route_of_a_url_is_not() {
        let home = concat!("/ho", "me/");
        let bad = File::made_up("a.toml", &format!("path = \"{home}ann/baton\""));
        assert_eq!(no_machine_of_ours(&[bad]).len(), 1);
        let good = File::made_up("a.md", &format!("https://example.com{home}page"));
        assert_eq!(no_machine_of_ours(&[good]), []);
    }
}
