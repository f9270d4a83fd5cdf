//! The project's own commands. Rust and not shell, so that a fresh machine needs nothing but cargo and Python.

mod bench;
mod demo;
mod faults;
mod guest;
mod output;
mod package;
mod sim;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deploys a cluster of three nodes into a sandbox on this machine and fails it over three times before your eyes.
    Demo(demo::Arguments),
    /// Runs whole clusters in simulated time, and holds them against every promise.
    Sim(sim::Arguments),
    /// Walks every order of events of a small cluster.
    Model(sim::ModelArguments),
    /// Plays every trigger and every fault of the cloud's side against real servers, and says what came of it.
    Scenarios(faults::ScenarioArguments),
    /// Measures.
    Bench(faults::BenchArguments),
    /// Builds the packages of the agent and of the command line, deb and rpm, into `package` below the target directory.
    Package,
    /// Runs every check: formatting, lints, licences, tests. Installs what it needs below `target/`.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Model(arguments) => sim::model(&arguments),
        Command::Scenarios(arguments) => faults::scenarios(&arguments),
        Command::Bench(arguments) => faults::bench(&arguments),
        Command::Package => package::run(),
        Command::Test(arguments) => test::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        output::note(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}
