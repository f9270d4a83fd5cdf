//! What the agent costs a node: `cargo xtask bench agent`, on the program as the packages carry it.

use std::error::Error;
use std::process::{Command, ExitCode};

use baton_sandbox::binaries::workspace;
use baton_sandbox::venv::target_directory;

use crate::{output, tools};

/// How to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many confirmed heartbeats the soak is long. One cluster confirms ten in a second.
    #[arg(long, default_value_t = 10_000)]
    beats: usize,
    /// How many clusters the agent of the soak is a member of, 1 to 16: so many times shorter is the soak.
    #[arg(long, default_value_t = 1)]
    clusters: u8,
    /// What the agent is built with. Figures of another profile than the packages' are shown and not judged.
    #[arg(long, default_value = crate::package::Profile::Dist.name())]
    profile: String,
    /// One JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// Builds the agent, measures it, and fails where a figure is beyond its limit.
pub(crate) fn agent(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { beats, clusters, profile, json } = arguments;
    output::note(&output::dim(&format!(
        "building the agent with the profile {profile} (minutes the first time)"
    )));
    let mut build = tools::cargo();
    build.args(["build", "--workspace", "--quiet", "--profile", profile]);
    tools::run(build.args(["--bin", "baton-agent", "--bin", "baton-deadman"]))?;
    let mut build = tools::cargo();
    tools::run(build.args(["build", "--workspace", "--quiet", "--bin", "baton-bench"]))?;
    // The one profile whose directory has another name.
    let built = target_directory().join(if profile == "dev" { "debug" } else { profile });
    let mut bench = Command::new(target_directory().join("debug/baton-bench"));
    bench.args(["agent", "--beats", &beats.to_string(), "--clusters", &clusters.to_string()]);
    bench.arg("--programs").arg(built).current_dir(workspace());
    if profile == crate::package::Profile::Dist.name() {
        bench.arg("--judge");
    }
    if *json {
        bench.arg("--json");
    }
    let status = bench.status().map_err(|error| format!("cannot run baton-bench: {error}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
