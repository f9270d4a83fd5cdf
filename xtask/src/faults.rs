//! The functions as programs against real servers: what can happen to a cluster, and what a move costs.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

use baton_sandbox::binaries::{Binaries, workspace};
use baton_sandbox::venv::target_directory;

use crate::{bench, tools};

/// Which scenarios.
#[derive(Debug, clap::Args)]
pub(crate) struct ScenarioArguments {
    /// What is played: what happens from the cloud's side, unless the requirements of `baton doctor` are meant.
    #[arg(value_enum, default_value_t = Set::Cloud)]
    set: Set,
    /// Only these, by name.
    #[arg(long)]
    only: Vec<String>,
    /// One JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// A set of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Set {
    /// Every trigger and every fault.
    Cloud,
    /// Every requirement, broken in turn, found and mended by `baton doctor`.
    Doctor,
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Calls, time and processor time of a failover, by the number of addresses and tables.
    Move {
        /// How many warm failovers the medians are of.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// One JSON object at the end.
        #[arg(long)]
        json: bool,
    },
    /// What the agent costs a node: processor time and memory of a heartbeat, its start, its release.
    Agent(bench::Arguments),
}

/// Plays every scenario, or some.
pub(crate) fn scenarios(arguments: &ScenarioArguments) -> Result<ExitCode, Box<dyn Error>> {
    let binaries = Binaries::build(&mut |line| crate::output::note(&crate::output::dim(line)))?;
    let set = match arguments.set {
        Set::Cloud => "scenarios",
        Set::Doctor => "doctor",
    };
    let mut given = vec![set.to_owned()];
    given.extend(arguments.only.iter().flat_map(|name| ["--only".to_owned(), name.clone()]));
    run(binaries.directory(), &given, arguments.json)
}

/// Measures with the functions as a release is built.
pub(crate) fn bench(arguments: &BenchArguments) -> Result<ExitCode, Box<dyn Error>> {
    let (runs, json) = match &arguments.bench {
        Bench::Move { runs, json } => (runs, json),
        Bench::Agent(arguments) => return bench::agent(arguments),
    };
    crate::output::note(&crate::output::dim(
        "building the functions as for a release (minutes the first time)",
    ));
    let mut build = tools::cargo();
    build.args(["build", "--workspace", "--quiet", "--release"]);
    build.args(["--bin", "baton-arbiter", "--bin", "baton-sweeper"]);
    tools::run(&mut build)?;
    let given = ["move".to_owned(), "--runs".to_owned(), runs.to_string()];
    run(&target_directory().join("release"), &given, *json)
}

fn run(programs: &Path, given: &[String], json: bool) -> Result<ExitCode, Box<dyn Error>> {
    let mut build = tools::cargo();
    tools::run(build.args(["build", "--workspace", "--quiet", "--bin", "baton-faults"]))?;
    let mut program = Command::new(target_directory().join("debug/baton-faults"));
    program.args(given).arg("--programs").arg(programs).current_dir(workspace());
    if json {
        program.arg("--json");
    }
    let status = program.status().map_err(|error| format!("cannot run baton-faults: {error}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
