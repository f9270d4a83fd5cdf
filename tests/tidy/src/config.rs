//! Rules for the project's own configuration files.

use std::collections::BTreeSet;

use crate::{File, Finding};

/// The bans of `crates/protocol/clippy.toml`, which replaces the one at the root, include all of the root's.
pub fn protocol_repeats_the_roots_bans(files: &[File]) -> Vec<Finding> {
    let named = |path: &str| files.iter().find(|file| file.path == path);
    let (Some(root), Some(protocol)) = (named("clippy.toml"), named("crates/protocol/clippy.toml")) else {
        return vec![Finding {
            path: "clippy.toml".to_owned(),
            line: 1,
            what: "expected it, and another in crates/protocol".to_owned(),
        }];
    };
    let repeated: BTreeSet<&str> =
        protocol.text.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let says_something = |line: &str| line.starts_with('{') || line.contains("-threshold");
    let lines = root.lines().map(|(number, line)| (number, line.trim()));
    let missing = lines.filter(|(_, line)| says_something(line) && !repeated.contains(line));
    missing
        .map(|(number, line)| root.finding(number, format!("not repeated in {}: {line}", protocol.path)))
        .collect()
}

/// The deliberate faults are in no build that ships: their feature is passed on by the twins and asked for by what simulates,
/// and without debug assertions it does not compile.
pub fn faults_stay_in_tests(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let may = FAULTS_PASS.iter().any(|package| file.path == format!("{package}/Cargo.toml"));
        let asks = |line: &str| line.contains("/mutants\"") || line.contains("\"mutants\"");
        for (number, _) in file.lines().filter(|(_, line)| asks(line) && !may) {
            findings.push(file.finding(number, "only tests/simulation and tests/model ask for the faults"));
        }
    }
    let guarded = files.iter().any(|file| {
        file.path == "crates/protocol/src/lib.rs"
            && file.text.contains("#[cfg(all(feature = \"mutants\", not(debug_assertions)))]\ncompile_error!")
    });
    if !guarded {
        let what = "expected `compile_error!` for the feature `mutants` without debug assertions".to_owned();
        findings.push(Finding { path: "crates/protocol/src/lib.rs".to_owned(), line: 1, what });
    }
    findings
}

const FAULTS_PASS: [&str; 5] =
    ["crates/protocol", "crates/store", "crates/cloud", "tests/simulation", "tests/model"];

/// Dependencies come from where everybody gets them: no file says otherwise.
pub fn no_other_registry(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let elsewhere: &dyn Fn(&str) -> bool = match file.path.rsplit('/').next().unwrap_or_default() {
            "Cargo.lock" => &|line| line.starts_with("source = ") && !line.contains(CRATES_IO),
            "config.toml" | "Cargo.toml" => &|line| {
                ["[source", "[registries", "[registry", "replace-with"]
                    .iter()
                    .any(|start| line.starts_with(start))
            },
            "requirements.txt" => &|line| line.starts_with('-') || line.contains("://"),
            _ => continue,
        };
        for (number, _) in file.lines().filter(|(_, line)| elsewhere(line.trim())) {
            findings.push(file.finding(number, "a source of packages that only some machine has"));
        }
    }
    findings
}

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_that_is_not_repeated_is_found() {
        let ban = "  { path = \"std::process::exit\", reason = \"x\" },\n";
        let root = File::made_up("clippy.toml", &format!("too-many-lines-threshold = 70\n{ban}"));
        let same = File::made_up("crates/protocol/clippy.toml", &root.text);
        let less =
            File::made_up("crates/protocol/clippy.toml", &format!("too-many-lines-threshold = 70\n# {ban}"));
        assert_eq!(protocol_repeats_the_roots_bans(&[root.clone(), same]), []);
        assert_eq!(protocol_repeats_the_roots_bans(&[root.clone(), less])[0].line, 2);
        assert_eq!(protocol_repeats_the_roots_bans(&[root]).len(), 1);
    }

    #[test]
    fn a_fault_that_could_ship_is_found() {
        let guard = "#[cfg(all(feature = \"mutants\", not(debug_assertions)))]\ncompile_error!(\"no\");";
        let guarded = File::made_up("crates/protocol/src/lib.rs", guard);
        let twin = File::made_up("crates/store/Cargo.toml", "mutants = [\"baton-protocol/mutants\"]");
        let agent = File::made_up("agent/Cargo.toml", "baton-protocol = { features = [\"mutants\"] }");
        assert_eq!(faults_stay_in_tests(&[guarded.clone(), twin.clone()]), []);
        assert_eq!(faults_stay_in_tests(&[guarded, agent]).len(), 1);
        assert_eq!(faults_stay_in_tests(&[twin]).len(), 1);
    }

    #[test]
    fn another_registry_is_found_wherever_it_hides() {
        for (path, text) in [
            ("Cargo.lock", "source = \"registry+https://example.com/index\""),
            (".cargo/config.toml", "[source.crates-io]"),
            ("tests/a/requirements.txt", "--index-url https://example.com/simple"),
        ] {
            assert_eq!(no_other_registry(&[File::made_up(path, text)]).len(), 1, "{path}");
        }
        let usual = File::made_up("Cargo.lock", &format!("source = \"{CRATES_IO}\""));
        assert_eq!(no_other_registry(&[usual]), []);
    }
}
