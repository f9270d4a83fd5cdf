//! Rules for what documents point at.

use std::collections::BTreeSet;

use crate::{File, Finding};

/// Every relative link of a document leads to a file or directory that exists, and to a heading in it where it names one.
pub fn links_resolve(files: &[File]) -> Vec<Finding> {
    let known = paths(files);
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for (number, link) in links(file) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) =
                link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, path) };
            let Some(target) = target.filter(|target| known.contains(target.as_str())) else {
                findings.push(file.finding(number, format!("`{link}` leads nowhere")));
                continue;
            };
            let document = files.iter().find(|file| file.path == target);
            let headed = |anchor: &str| document.is_some_and(|document| headings(document).contains(anchor));
            if anchor.is_some_and(|anchor| !headed(anchor)) {
                findings.push(file.finding(number, format!("`{link}`: {target} has no such heading")));
            }
        }
    }
    findings
}

/// Every file of the repository that a document names by its whole path exists.
pub fn named_files_exist(files: &[File]) -> Vec<Finding> {
    let known = paths(files);
    let tops = [
        "agent/",
        "cli/",
        "crates/",
        "docs/",
        "functions/",
        "infra/",
        "tests/",
        "xtask/",
        ".ci/",
        ".config/",
    ];
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for (number, line) in file.lines() {
            for span in line.split('`').skip(1).step_by(2) {
                let is_path = tops.iter().any(|top| span.starts_with(top))
                    && span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
                    && span.rsplit('/').next().is_some_and(|name| name.contains('.'));
                if is_path && !known.contains(span) {
                    findings.push(file.finding(number, format!("`{span}` does not exist")));
                }
            }
        }
    }
    findings
}

/// Every path of the repository: files, and the directories that hold them.
fn paths(files: &[File]) -> BTreeSet<&str> {
    let mut paths = BTreeSet::from([""]);
    for file in files {
        paths.insert(&file.path);
        paths.extend(file.path.match_indices('/').map(|(end, _)| &file.path[..end]));
    }
    paths
}

/// The targets of inline links outside of code blocks, with their lines.
fn links(file: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (start, mark) in line.match_indices("](") {
            let rest = &line[start + mark.len()..];
            found.extend(rest.split([')', ' ']).next().map(|target| (number, target)));
        }
    }
    found
}

/// The path that a link in `from` leads to, from the root; none if it leads out of the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document's headings, as they are made by who renders it: lower case, words joined by hyphens.
fn headings(file: &File) -> BTreeSet<String> {
    let mut in_code = false;
    let mut anchors = BTreeSet::new();
    for (_, line) in file.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        if line.starts_with('#') && !in_code {
            let kept = line
                .trim_start_matches('#')
                .trim()
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            anchors.insert(kept.collect::<String>().to_lowercase().replace(' ', "-"));
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Finding> {
        let other = File::made_up("docs/B.md", "# Two words, here\n");
        links_resolve(&[File::made_up("docs/adr/A.md", text), other])
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        assert_eq!(found("[x](../C.md)").len(), 1);
        assert_eq!(found("[x](../../../B.md)").len(), 1);
        assert_eq!(found("[x](../B.md#elsewhere)").len(), 1);
        assert_eq!(found("[x](#nowhere)").len(), 1);
    }

    #[test]
    fn links_to_files_directories_headings_and_other_sites_are_no_finding() {
        let good =
            "# Me\n[x](../B.md) [y](..) [z](../B.md#two-words-here) [u](https://example.com/a) [v](#me)";
        assert_eq!(found(good), []);
        assert_eq!(found("```text\n[x](nowhere.md)\n```"), []);
    }

    #[test]
    fn a_named_file_that_does_not_exist_is_found() {
        let document = |text| File::made_up("docs/A.md", text);
        let there = File::made_up("agent/src/run.rs", "");
        let good = document("`agent/src/run.rs`, `agent/src`, `/etc/baton/agent.toml`, `agent/src/{a,b}.rs`");
        assert_eq!(named_files_exist(&[good, there.clone()]), []);
        assert_eq!(named_files_exist(&[document("`agent/src/walk.rs`"), there]).len(), 1);
    }
}
