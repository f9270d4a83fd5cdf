//! The manual page and the example know every key, and no other.

use std::collections::{BTreeMap, BTreeSet};

/// The keys of each table.
type Keys = BTreeMap<String, BTreeSet<String>>;

const RAW: &str = include_str!("raw.rs");
const PAGE: &str = include_str!("../../dist/baton-agent.toml.5");
const EXAMPLE: &str = include_str!("../../dist/agent.toml");

/// The fields of each struct that is read from the file, in the file's spelling.
fn keys_of_the_code() -> Keys {
    let mut keys = Keys::new();
    let mut table = None;
    for line in RAW.lines() {
        if let Some(name) = line.strip_prefix("pub(super) struct ").and_then(|rest| rest.strip_suffix(" {")) {
            table = Some(name);
        } else if line == "}" {
            table = None;
        } else if let (Some(table), Some(field)) = (table, line.trim().strip_prefix("pub(super) ")) {
            let key = field.split(':').next().unwrap_or_default().replace('_', "-");
            keys.entry(table.to_owned()).or_default().insert(key);
        }
    }
    keys
}

/// What the page describes after each comment that names a struct.
fn keys_of_the_page() -> Keys {
    let mut keys = Keys::new();
    let mut table = None;
    let mut lines = PAGE.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix(".\\\" struct ") {
            table = Some(name);
        } else if line.starts_with(".SH") {
            table = None;
        } else if let (Some(table), ".TP", Some(tag)) = (table, line, lines.peek()) {
            let key = tag.strip_prefix(".B ").unwrap_or(tag).replace("\\-", "-");
            keys.entry(table.to_owned()).or_default().insert(key);
        }
    }
    keys
}

#[test]
fn the_manual_page_describes_every_key_and_no_other() {
    let code = keys_of_the_code();
    assert!(code.len() >= 9 && code["Check"].contains("interval"), "{code:?}");
    assert_eq!(keys_of_the_page(), code, "what dist/baton-agent.toml.5 has, and what raw.rs reads");
}

#[test]
fn the_example_shows_every_key() {
    let is_shown = |key: &str| {
        [format!("{key} = "), format!(".{key}]"), format!("[{key}."), format!(".{key}.")]
            .iter()
            .any(|form| EXAMPLE.contains(form))
    };
    let missing: Vec<_> = keys_of_the_code().into_values().flatten().filter(|key| !is_shown(key)).collect();
    assert!(missing.is_empty(), "dist/agent.toml shows nothing of {missing:?}");
}
