//! Every check of the project, in the order in which a failure is cheapest to find.

mod agent;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use baton_sandbox::binaries::workspace;

use crate::{guest, output, package, sim, tools};

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One part only.
    #[arg(value_enum)]
    part: Option<Part>,
    /// For the guest: packs what tests are built with, in place of building for nodes.
    #[arg(long)]
    quick: bool,
    /// For the templates: holds them to the rules of checkov in place of the tests. The first run installs it.
    #[arg(long)]
    guard: bool,
    /// What the tests' own runner is given, after `--`.
    #[arg(last = true)]
    runner: Vec<String>,
}

/// A part of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Formatting.
    Format,
    /// Clippy, with every warning an error.
    Lint,
    /// Licences, sources, bans and duplicates of the dependencies.
    Deny,
    /// The simulator and the model: 100,000 runs, every deliberate fault, the bound, every order of events.
    Sim,
    /// The cloud's side alone: the functions as programs, against a real table and a real EC2 server. Part of the tests.
    Cloud,
    /// The agent alone: checks, hooks, virtual addresses, fences, modes, restarts, and whole failovers of it. Part of the tests.
    Agent,
    /// The templates alone: lint, policies against the code and against attackers, the examples and an update, deployed; then what each
    /// role may do. Part of the tests.
    Templates,
    /// All tests: units, conformance, templates, and whole failovers in the sandbox.
    Tests,
    /// The packages, built and then installed, updated and removed in roots of Debian. Not among what runs by default: it needs
    /// root, and builds with the profile of a release.
    Package,
    /// The debs in a Debian of its own that boots with systemd, in QEMU: watchdogs, fences, a suspension, a frozen machine. Not
    /// among what runs by default either.
    Guest,
}

impl Arguments {
    /// Whether each is about the part that runs: one that nothing heeds would let a check pass that was never made.
    fn fit(&self) -> Result<(), String> {
        if self.guard && self.part != Some(Part::Templates) {
            return Err("`--guard` is for one part: `cargo xtask test templates --guard`".to_owned());
        }
        if self.guard && !self.runner.is_empty() {
            return Err("expected nothing after `--` with `--guard`, which runs no tests".to_owned());
        }
        if self.quick && self.part != Some(Part::Guest) {
            return Err("`--quick` is for one part: `cargo xtask test guest --quick`".to_owned());
        }
        Ok(())
    }
}

/// Runs the checks.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    arguments.fit()?;
    let all = [Part::Format, Part::Deny, Part::Sim, Part::Tests, Part::Lint];
    let parts = arguments.part.map_or_else(|| all.to_vec(), |part| vec![part]);
    for part in parts {
        let begun = Instant::now();
        output::note(&output::bold(&format!("== {part:?}")));
        match part {
            Part::Format => tools::run(tools::cargo().args(["fmt", "--all", "--check"]))?,
            Part::Lint => {
                // The same targets and features as everywhere, so that nothing is checked in a shape that is never built.
                let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
                tools::run(tools::cargo().args(clippy))?;
            }
            Part::Deny => {
                // Advisories come from a database that has to be fetched; the rest of the checks needs no network.
                let mut deny = tools::cargo_deny()?;
                deny.current_dir(workspace()).args(["--workspace", "check", "licenses", "bans", "sources"]);
                tools::run(&mut deny)?;
            }
            Part::Sim => sim::check()?,
            Part::Cloud => {
                let mut test = tools::cargo();
                test.args(["test", "--package", "baton-faults", "--no-fail-fast", "--"])
                    .args(&arguments.runner);
                tools::run(&mut test)?;
            }
            Part::Templates if arguments.guard => guard()?,
            Part::Templates => templates(&arguments.runner)?,
            Part::Agent => agent::check(&arguments.runner)?,
            Part::Tests => {
                let mut test = tools::cargo();
                test.args(["test", "--workspace", "--no-fail-fast", "--"]).args(&arguments.runner);
                tools::run(&mut test)?;
            }
            Part::Package => package::check()?,
            Part::Guest => guest::check(arguments.quick)?,
        }
        output::note(&output::dim(&format!("{part:?} passed after {} s", begun.elapsed().as_secs())));
    }
    Ok(ExitCode::SUCCESS)
}

fn guard() -> Result<(), Box<dyn Error>> {
    tools::run(tools::cargo().args(["run", "--quiet", "--package", "baton-templates", "--", "guard"]))
}

fn templates(runner: &[String]) -> Result<(), Box<dyn Error>> {
    let mut test = tools::cargo();
    test.args(["test", "--no-fail-fast", "--package", "baton-templates", "--package", "baton-sandbox"])
        .args(["--lib", "--test", "lint", "--test", "permissions", "--test", "wiring", "--test", "deployed"])
        .args(["--test", "simulated", "--test", "example", "--test", "upgrade", "--"])
        .args(runner);
    tools::run(&mut test)?;
    tools::run(tools::cargo().args(["run", "--quiet", "--package", "baton-templates"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_nothing_would_heed_is_refused() {
        let fit = |part, guard, quick, runner: &[&str]| {
            let runner = runner.iter().map(|&argument| argument.to_owned()).collect();
            Arguments { part, quick, guard, runner }.fit().is_ok()
        };
        assert!(fit(Some(Part::Templates), true, false, &[]) && fit(Some(Part::Guest), false, true, &[]));
        assert!(
            fit(None, false, false, &["--nocapture"]) && fit(Some(Part::Templates), false, false, &["one"])
        );
        for refused in [
            fit(None, true, false, &[]),
            fit(Some(Part::Lint), true, false, &[]),
            fit(Some(Part::Templates), true, false, &["one"]),
            fit(None, false, true, &[]),
            fit(Some(Part::Package), false, true, &[]),
        ] {
            assert!(!refused);
        }
    }
}
