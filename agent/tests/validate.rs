//! `baton-agent validate` as an operator or a unit file runs it.

use std::path::PathBuf;
use std::process::{Command, Output};

fn validate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-agent"));
    command.env_remove("BATON_CONFIG").args(arguments).output().expect("started")
}

fn package(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    path.into_os_string().into_string().expect("a plain path")
}

#[test]
fn the_shipped_example_is_valid_and_summed_up() {
    let output = validate(&["validate", "--no-environment", &package("dist/agent.toml")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.ends_with("is valid: cluster orders (2 hooks, 3 checks)\n"), "{said}");
}

#[test]
fn a_refused_file_ends_with_78_and_shows_the_place() {
    let bad = package("tests/config/bad-timeout.toml");
    for arguments in [&["validate", &bad][..], &["--config", &bad, "validate"], &["--config", &bad]] {
        let output = validate(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("bad-timeout.toml:4:11") && said.contains("config::check::timeout"), "{said}");
        assert!(!said.contains('\u{1b}'), "no colour in a pipe: {said}");
    }
}

/// What root trusts is looked at from the root of the file system on, wherever the path begins.
#[test]
fn a_path_from_here_is_looked_at_where_it_leads() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-agent"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["validate", "tests/config/bad-timeout.toml"]);
    let output = command.output().expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("bad-timeout.toml:4:11") && !said.contains("cannot look at"), "{said}");
}

#[test]
fn a_file_that_is_not_there_ends_with_78() {
    let output = validate(&["validate", "/nonexistent/agent.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/agent.toml"));
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_eq!(validate(&["--no-such-flag"]).status.code(), Some(2));
}
