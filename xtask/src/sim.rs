//! The simulator and the model: built with optimisation and assertions, and run. What they print is theirs.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use baton_sandbox::binaries::workspace;
use baton_sandbox::venv::target_directory;

use crate::tools;

/// Which runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds: by default 10,000, with `--bound` 2,000 for each length of silence, with `--mutants` at most 20,000 of
    /// each schedule.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Clocks, pauses, fences and answers at the limits that are promised to be borne.
    #[arg(long)]
    adversarial: bool,
    /// Switches on each deliberate fault and looks for the first seed that shows it.
    #[arg(long, conflicts_with_all = ["adversarial", "bound", "meta", "steady", "replay"])]
    mutants: bool,
    /// With `--mutants`: makes the table in docs/PROTOCOL.md say what was found.
    #[arg(long, requires = "mutants")]
    bless: bool,
    /// Counts violations against the length of silence, around its bound.
    #[arg(long, conflicts_with_all = ["adversarial", "meta", "steady", "replay"])]
    bound: bool,
    /// Runs seeds twice and compares what happened, byte by byte.
    #[arg(long, conflicts_with_all = ["adversarial", "steady", "replay"])]
    meta: bool,
    /// How often a healthy holder loses its lease while calls fail at random: so many simulated hours for each rate.
    #[arg(long, value_name = "HOURS", conflicts_with_all = ["adversarial", "replay"])]
    steady: Option<u64>,
    /// Shows one run, event by event.
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// With `--replay`: waits for the Enter key after each line.
    #[arg(long, requires = "replay")]
    step: bool,
    /// With `--replay`: with this deliberate fault switched on.
    #[arg(long, requires = "replay", value_name = "ID")]
    mutant: Option<String>,
    /// One JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// Which part of the model.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArguments {
    /// Switches on deliberate faults and shows that the model finds them.
    #[arg(long)]
    mutants: bool,
    /// One JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// Runs the simulator.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut given: Vec<String> = Vec::new();
    let mut give = |words: &[&str]| given.extend(words.iter().map(|word| (*word).to_owned()));
    let seeds = arguments.seeds.map(|seeds| seeds.to_string());
    if let Some(seed) = arguments.replay {
        give(&["replay", &seed.to_string()]);
        if arguments.step {
            give(&["--step"]);
        }
        if let Some(mutant) = &arguments.mutant {
            give(&["--mutant", mutant]);
        }
    } else if arguments.mutants {
        give(&["mutants", "--limit", seeds.as_deref().unwrap_or("20000"), "--document"]);
        give(&[&workspace().join("docs/PROTOCOL.md").display().to_string()]);
        if arguments.bless {
            give(&["--bless"]);
        }
    } else if arguments.bound {
        give(&["bound", "--seeds", seeds.as_deref().unwrap_or("2000")]);
    } else if arguments.meta {
        give(&["meta", "--seeds", seeds.as_deref().unwrap_or("200")]);
    } else if let Some(hours) = arguments.steady {
        give(&["steady", "--hours", &hours.to_string()]);
    } else {
        give(&["run", "--seeds", seeds.as_deref().unwrap_or("10000"), "--from", &arguments.from.to_string()]);
    }
    if arguments.adversarial {
        give(&["--adversarial"]);
    }
    if arguments.json && !(arguments.meta || arguments.steady.is_some() || arguments.replay.is_some()) {
        give(&["--json"]);
    }
    let faults = arguments.mutants || arguments.bound || arguments.mutant.is_some();
    execute(&program("baton-simulation", faults)?, &given)
}

/// Runs the model.
pub(crate) fn model(arguments: &ModelArguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut given = vec![if arguments.mutants { "mutants" } else { "run" }.to_owned()];
    if arguments.json {
        given.push("--json".to_owned());
    }
    execute(&program("baton-model", arguments.mutants)?, &given)
}

/// Every part of the simulator and the model that each change has to pass: 100,000 runs, and everything that shows that they
/// would have noticed.
pub(crate) fn check() -> Result<(), Box<dyn Error>> {
    let simulator = program("baton-simulation", false)?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for line in ["run --seeds 70000", "run --seeds 30000 --adversarial", "meta --seeds 100"] {
        pass(&simulator, &words(line))?;
    }
    pass(&program("baton-model", false)?, &words("run"))?;
    let simulator = program("baton-simulation", true)?;
    let document = workspace().join("docs/PROTOCOL.md").display().to_string();
    let mut hunt = words("mutants --limit 20000 --document");
    hunt.push(document);
    pass(&simulator, &hunt)?;
    pass(&simulator, &words("bound --seeds 1000"))?;
    pass(&program("baton-model", true)?, &words("mutants"))
}

/// Builds one of the two, with or without the deliberate faults, and says where it lies.
///
/// Each shape has a directory of its own, so that neither build throws the other's away.
fn program(package: &str, faults: bool) -> Result<PathBuf, Box<dyn Error>> {
    let directory = target_directory().join(if faults { "faults" } else { "simulation" });
    let mut build = tools::cargo();
    build
        .args(["build", "--quiet", "--profile", "sim", "--package", package, "--target-dir"])
        .arg(&directory);
    if faults {
        build.args(["--features", &format!("{package}/mutants")]);
    }
    tools::run(&mut build)?;
    Ok(directory.join("sim").join(package))
}

fn execute(program: &PathBuf, arguments: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let status = std::process::Command::new(program)
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn pass(program: &PathBuf, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    tools::run(std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()))
}
