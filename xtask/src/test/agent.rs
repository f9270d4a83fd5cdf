//! The agent's tests alone: `cargo xtask test agent`. All of them are among the tests of the workspace, where they run once.
//!
//! Those that need a network of their own make a network namespace for themselves, as root or as root of a user namespace.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::{output, tools};

/// What is run: everything of the agent's own package, the program against a real table, and whole clusters of it.
const RUNS: [&[&str]; 3] = [
    &["--package", "baton-agent"],
    &["--package", "baton-bench", "--tests"],
    &["--package", "baton-sandbox", "--test", "failover"],
];

/// What the runners have said together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
}

impl Sum {
    /// Takes in a line of a runner; only its last one counts, as in
    /// `test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    fn take(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let counted = |what: &str| {
            let part = rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        self.passed += counted(" passed");
        self.failed += counted(" failed");
    }
}

/// Runs them, and says the sum in a last line.
pub(super) fn check(runner: &[String]) -> Result<(), Box<dyn Error>> {
    let mut sum = Sum::default();
    let mut broken = Vec::new();
    for run in RUNS {
        let mut test = tools::cargo();
        test.arg("test").args(run).args(["--no-fail-fast", "--"]).args(runner);
        if let Err(error) = watched(&mut test, &mut sum) {
            broken.push(error.to_string());
        }
    }
    output::result(&format!("{} passed, {} failed", sum.passed, sum.failed));
    match (broken.is_empty(), sum.passed) {
        (false, _) => Err(broken.join("; ").into()),
        // A filter that fits no test proves nothing.
        (true, 0) => Err("no test was run".into()),
        (true, _) => Ok(()),
    }
}

/// Runs a command, passes on what it writes to standard output, and adds up what it has tested.
fn watched(command: &mut Command, sum: &mut Sum) -> Result<(), Box<dyn Error>> {
    let shown = format!("{command:?}").replace('"', "");
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if let Some(said) = child.stdout.take() {
        for line in BufReader::new(said).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            sum.take(&line);
            output::result(&line);
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed with {status}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_all_runners_are_added_up() {
        let mut sum = Sum::default();
        for line in [
            "running 2 tests",
            "test a ... ok",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s",
            "test result: FAILED. 11 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.50s",
            "  test result: ok. 100 passed; 0 failed",
        ] {
            sum.take(line);
        }
        assert_eq!(sum, Sum { passed: 16, failed: 2 });
    }

    #[test]
    fn what_is_run_is_passed_on_and_its_failure_is_named() {
        let mut sum = Sum::default();
        let shell = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        let good = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        watched(&mut shell(good), &mut sum).expect("it succeeds");
        let bad = "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'; exit 101";
        let error = watched(&mut shell(bad), &mut sum).expect_err("it fails");
        assert!(error.to_string().contains("exit status: 101"), "{error}");
        assert_eq!(sum, Sum { passed: 4, failed: 1 });
    }
}
