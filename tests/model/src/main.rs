//! Walks the protocol's states, or shows that the walk finds deliberate faults.

use std::io::Write;
use std::process::ExitCode;

use baton_model::configurations::{ALL, SHARED};
use baton_model::report::Summary;
use baton_model::walk::{Manner, walk};
use clap::{Parser, Subcommand};
use serde::Serialize;

#[derive(Debug, Parser)]
#[command(name = "baton-model", about = "Walks every state of the protocol within stated bounds", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walks every space to its end.
    Run(Options),
    /// Switches one deliberate fault on at a time and shows that a walk finds it. Needs a build with the feature `mutants`.
    Mutants {
        #[command(flatten)]
        options: Options,
        /// Only the fault with this id.
        #[arg(long)]
        only: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Prints the result as one line of JSON on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    /// How many threads walk.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A walk that needs more memory than this ends unfinished.
    #[arg(long, default_value_t = 4_000)]
    memory_mb: u64,
}

impl Options {
    fn manner(&self) -> Manner {
        Manner { threads: self.threads, memory_mb: self.memory_mb, tell: true }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(options) => run(&options),
        Command::Mutants { options, only } => mutants(&options, only.as_deref()),
    }
}

fn run(options: &Options) -> ExitCode {
    let reports = ALL.iter().map(|(name, bounds)| {
        let report = walk(name, *bounds, options.manner());
        eprintln!("{report}");
        report
    });
    let summary = Summary::of(reports.collect(), SHARED);
    print(options, &summary);
    if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "mutants")]
fn mutants(options: &Options, only: Option<&str>) -> ExitCode {
    let found = baton_model::mutants::hunt(only, options.manner());
    print(options, &found);
    if found.all_are_killed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &Options, _: Option<&str>) -> ExitCode {
    eprintln!(
        "error: this build has no deliberate faults; run \
         `cargo run --profile sim -p baton-model --features mutants -- mutants`"
    );
    ExitCode::FAILURE
}

fn print(options: &Options, what: &impl Serialize) {
    if !options.json {
        return;
    }
    let text = serde_json::to_string(what).expect("numbers and texts");
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        eprintln!("error: the result was not printed: {error}");
    }
}
