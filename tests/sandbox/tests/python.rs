//! The Python of the sandbox by itself, and the environment it runs in.

use std::path::Path;
use std::process::Command;

use baton_sandbox::Venv;

#[test]
fn the_tests_of_the_condition_keys_pass() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/test_condition_keys.py");
    let venv = Venv::ensure().expect("made");
    let ran = Command::new(venv.python()).arg("-B").arg(script).output().expect("runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("\nRan ") && !said.contains("Ran 0 tests"), "{said}");
}

#[test]
fn a_tool_of_the_environment_runs_by_its_name() {
    let venv = Venv::ensure().expect("made");
    let ran = venv.tool("cfn-lint").arg("--version").output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "cfn-lint 1.58.0");
    let missing = venv.tool("no-such-tool").output().expect("runs");
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no console script `no-such-tool`"));
}

#[test]
fn another_ministack_is_refused_before_it_serves() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let venv = Venv::ensure().expect("made");
    let script = "from gaps import names, iam; names.PINNED = '0.0.0'; names.check_version()";
    let ran = Command::new(venv.python()).args(["-Bc", script]).current_dir(&python).output().expect("runs");
    assert!(!ran.status.success());
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains("replaces private names of ministack 0.0.0, found 1.5.33"), "{said}");
    for (script, expected) in [
        ("names.private('core.iam_evaluator', 'gone')", "has no core.iam_evaluator.gone"),
        ("names.private('core.iam_evaluator', 'enforce', ['who'])", "the sandbox expects ['who']"),
    ] {
        let script = format!("from gaps import names; {script}");
        let ran =
            Command::new(venv.python()).args(["-Bc", &script]).current_dir(&python).output().expect("runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && said.contains(expected), "{said}");
    }
}
