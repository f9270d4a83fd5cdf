//! `baton-agent explain` as an operator runs it.

use std::process::{Command, Output};

use baton_protocol::timing::Timing;

fn explain(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-agent"));
    command.env("BATON_CONFIG", "/nonexistent/agent.toml").arg("explain").args(arguments);
    command.output().expect("started")
}

#[test]
fn both_profiles_are_explained_without_a_configuration() {
    let output = explain(&[]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0));
    for expected in
        ["timing default", "timing fast", "silence_least", "5849 ms", "3460 ms", "docs/PROTOCOL.md, Timing"]
    {
        assert!(said.contains(expected), "{expected} in {said}");
    }
}

#[test]
fn a_timing_of_ones_own_is_explained_as_json_with_the_formula_and_source_of_each_line() {
    let durations = serde_json::to_string(&Timing::FAST.durations()).expect("numbers");
    let output = explain(&["--json", "--timing", &durations]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let lines = told["timings"][0]["lines"].as_array().expect("lines");
    assert_eq!(told["timings"][0]["timing"], "own");
    let silence = lines.iter().find(|line| line["name"] == "silence_least").expect("the least S");
    assert_eq!(silence["value"], 3_460);
    for line in lines {
        assert!(line["formula"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
        assert!(line["source"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
    }
}

#[test]
fn what_is_no_timing_is_wrong_usage_with_the_reason() {
    let mut durations = Timing::DEFAULT.durations();
    durations.silence_ms = 4_000;
    let durations = serde_json::to_string(&durations).expect("numbers");
    let output = explain(&["--timing", &durations]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("silence_ms is 4000, expected at least 5849"), "{said}");
}
