//! Rules for Rust files.

use crate::{File, Finding};

/// The longest a file may be. Around 400 lines is where to stop and think.
const LONGEST: usize = 600;

/// Waits of the sandbox that are bounded by themselves; everything else waits through them.
const MAY_SLEEP: [&str; 3] =
    ["tests/sandbox/src/wait.rs", "tests/sandbox/src/machine.rs", "tests/sandbox/src/prober.rs"];

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.has_extension("rs"))
}

/// Without the rules themselves, whose examples break them.
fn rust_but_the_rules(files: &[File]) -> impl Iterator<Item = &File> {
    rust(files).filter(|file| !file.path.starts_with("tests/tidy/"))
}

/// A line without its comment; a `//` inside a string ends it early, which can hide something and never invents it.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn lines_with<'a>(file: &'a File, found: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = usize> + 'a {
    file.lines().filter(move |(_, line)| found(code(line))).map(|(number, _)| number)
}

/// Whether a file holds tests and nothing else.
fn is_test_file(file: &File) -> bool {
    file.path.starts_with("tests/") || file.path.contains("/tests/") || is_unit_test_file(file)
}

/// Whether a file holds the tests of the module beside it.
fn is_unit_test_file(file: &File) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    name == "tests.rs" || name.ends_with("_tests.rs")
}

/// No Rust file has more than 600 lines.
pub fn files_are_short(files: &[File]) -> Vec<Finding> {
    let long = rust(files).filter(|file| file.text.lines().count() > LONGEST);
    long.map(|file| {
        let lines = file.text.lines().count();
        file.finding(
            LONGEST + 1,
            format!("{lines} lines, expected at most {LONGEST}: find the part that has a name of its own"),
        )
    })
    .collect()
}

/// Every module begins by saying what it does; unit tests that stand in a file beside theirs speak for it.
pub fn modules_introduce_themselves(files: &[File]) -> Vec<Finding> {
    let silent = rust(files).filter(|file| !file.text.starts_with("//!") && !is_unit_test_file(file));
    silent
        .map(|file| {
            file.finding(1, "expected a `//!` introduction: what it decides or does, what it refuses")
        })
        .collect()
}

/// Tests, and all that is pure, wait for a condition and never for time to pass. (`time.sleep` is Python in a test's
/// fixture, for a function that shall be slow.)
pub fn tests_do_not_sleep(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust_but_the_rules(files) {
        let bound = file.path.starts_with("crates/protocol/") || is_test_file(file);
        if !bound || MAY_SLEEP.contains(&file.path.as_str()) {
            continue;
        }
        for line in lines_with(file, |line| {
            line.contains("sleep(") && !line.contains("fn ") && !line.contains(".sleep(")
        }) {
            findings.push(
                file.finding(line, "a sleep: wait for the condition, with a bound (`baton_sandbox::wait`)"),
            );
        }
    }
    findings
}

/// No test is skipped.
pub fn tests_are_not_skipped(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(files) {
        for line in lines_with(file, |line| line.trim_start().starts_with(concat!("#[ign", "ore"))) {
            findings
                .push(file.finding(line, "a test that is not run proves nothing: mend it or take it out"));
        }
    }
    findings
}

/// Every exception from a lint says why.
pub fn exceptions_carry_a_reason(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(files) {
        for (number, line) in file.lines() {
            let start = line.trim_start();
            let begins = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
            if !begins.iter().any(|begin| start.starts_with(begin)) {
                continue;
            }
            let rest: String = file.text.lines().skip(number - 1).take(8).collect::<Vec<_>>().join("\n");
            let attribute = rest.split(")]").next().unwrap_or_default();
            if !attribute.contains("reason = ") {
                findings.push(file.finding(number, "an exception without `reason = \"…\"`"));
            }
        }
    }
    findings
}

/// SDK configurations are loaded in `crates/client` alone, where retries are off and every timeout is explicit.
pub fn clients_are_made_in_one_place(files: &[File]) -> Vec<Finding> {
    let loaders = ["defaults", "from_env", "load_from_env", "load_defaults"];
    let mut findings = Vec::new();
    for file in rust_but_the_rules(files).filter(|file| !file.path.starts_with("crates/client/")) {
        for loader in loaders {
            let call = format!("aws_config::{loader}(");
            for line in lines_with(file, |line| line.contains(&call)) {
                findings.push(
                    file.finding(line, format!("`{call}…)`: load the configuration with `baton_client`")),
                );
            }
        }
    }
    findings
}

/// The agent never measures with `Instant`, whose clock stands still while a machine is suspended: `agent/src/clock.rs`
/// reads CLOCK_BOOTTIME.
pub fn agent_measures_with_its_own_clock(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let agent = rust(files).filter(|file| file.path.starts_with("agent/src/") && !is_test_file(file));
    for file in agent {
        for line in lines_with(file, |line| crate::text::has_word(line, "Instant")) {
            findings.push(file.finding(line, "`Instant` in the agent: use `clock::boot`"));
        }
    }
    findings
}

/// No address is ever taken from whoever has it: `AllowReassociation` is never true.
pub fn no_address_is_taken_by_force(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust_but_the_rules(files) {
        for line in lines_with(file, |line| line.contains("allow_reassociation(true")) {
            findings.push(file.finding(line, "an Elastic IP is moved by compare-and-swap, never by force"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Vec<File> {
        vec![File::made_up(path, text)]
    }

    #[test]
    fn a_file_of_601_lines_is_too_long() {
        assert_eq!(files_are_short(&one("a.rs", &"x\n".repeat(600))), []);
        assert_eq!(files_are_short(&one("a.rs", &"x\n".repeat(601))).len(), 1);
        assert_eq!(files_are_short(&one("a.yaml", &"x\n".repeat(601))), []);
    }

    #[test]
    fn a_module_without_introduction_is_found() {
        assert_eq!(modules_introduce_themselves(&one("a.rs", "use x;")).len(), 1);
        assert_eq!(modules_introduce_themselves(&one("a.rs", "//! Does x.\nuse x;")), []);
    }

    #[test]
    fn a_sleep_is_found_in_tests_and_in_the_protocol_but_not_in_a_bounded_wait() {
        let asleep = "std::thread::sleep(x);";
        for path in [
            "crates/protocol/src/node.rs",
            "agent/tests/a.rs",
            "cli/src/view_tests.rs",
            "tests/sandbox/src/node.rs",
        ] {
            assert_eq!(tests_do_not_sleep(&one(path, asleep)).len(), 1, "{path}");
        }
        assert_eq!(tests_do_not_sleep(&one("tests/sandbox/src/wait.rs", asleep)), []);
        assert_eq!(tests_do_not_sleep(&one("agent/src/hook.rs", asleep)), []);
    }

    #[test]
    fn a_skipped_test_is_found() {
        assert_eq!(tests_are_not_skipped(&one("a.rs", concat!("    #[ign", "ore]"))).len(), 1);
    }

    #[test]
    fn an_exception_may_give_its_reason_on_a_later_line() {
        assert_eq!(exceptions_carry_a_reason(&one("a.rs", "#[expect(dead_code)]")).len(), 1);
        let good = "#![expect(\n    clippy::large,\n    reason = \"it is large\"\n)]";
        assert_eq!(exceptions_carry_a_reason(&one("a.rs", good)), []);
    }

    #[test]
    fn a_client_made_elsewhere_is_found() {
        let call = "let c = aws_config::from_env().load();";
        assert_eq!(clients_are_made_in_one_place(&one("agent/src/a.rs", call)).len(), 1);
        assert_eq!(clients_are_made_in_one_place(&one("crates/client/src/sdk.rs", call)), []);
    }

    #[test]
    fn an_instant_is_found_in_the_agent_and_not_in_its_tests() {
        let call = "let t = std::time::Instant::now();";
        assert_eq!(agent_measures_with_its_own_clock(&one("agent/src/a.rs", call)).len(), 1);
        assert_eq!(agent_measures_with_its_own_clock(&one("agent/src/check/tests.rs", call)), []);
        assert_eq!(
            agent_measures_with_its_own_clock(&one("agent/src/a.rs", "let s = Instantly; // Instant")),
            []
        );
    }

    #[test]
    fn force_is_found() {
        let call = "client.associate_address().allow_reassociation(true)";
        let found = no_address_is_taken_by_force(&one("a.rs", &format!("// {call}\n{call}")));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }
}
