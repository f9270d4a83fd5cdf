//! The simulator's command line: `run` many seeds, `replay` one, `meta` for determinism; with the feature `mutants` also
//! `mutants` and `bound`.

#[cfg(feature = "mutants")]
mod mutants;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use baton_simulation::plan::{self, Plan};
use baton_simulation::{batch, invariant, world};
use clap::{Parser, Subcommand};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "baton-simulation", about = "Whole clusters in simulated time", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds and holds each against every promise.
    Run(Run),
    /// Shows one run, event by event.
    Replay(Replay),
    /// Runs seeds twice and compares what happened, byte by byte.
    Meta {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
    },
    /// How often a healthy holder loses its lease while calls fail at random, and nothing else is wrong.
    Steady {
        /// How many hours are simulated for each rate.
        #[arg(long, default_value_t = 100)]
        hours: u64,
    },
    /// Switches on each deliberate fault and looks for the first seed that shows it.
    #[cfg(feature = "mutants")]
    Mutants {
        /// How many seeds of each schedule are tried.
        #[arg(long, default_value_t = 20_000)]
        limit: u64,
        /// Only the one with this id.
        #[arg(long)]
        only: Option<String>,
        /// The document whose table must say the same.
        #[arg(long)]
        document: Option<std::path::PathBuf>,
        /// Makes it say the same.
        #[arg(long)]
        bless: bool,
        /// One JSON object at the end.
        #[arg(long)]
        json: bool,
    },
    /// Counts violations against the length of silence, around its bound.
    #[cfg(feature = "mutants")]
    Bound {
        /// How many seeds for each length.
        #[arg(long, default_value_t = 2_000)]
        seeds: u64,
        /// One JSON object at the end.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Clocks, pauses, fences and answers at the limits that are promised to be borne.
    #[arg(long)]
    adversarial: bool,
    /// One JSON object at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The seed.
    seed: u64,
    /// By the adversarial schedule.
    #[arg(long)]
    adversarial: bool,
    /// Waits for the Enter key after each line.
    #[arg(long)]
    step: bool,
    /// With this deliberate fault switched on.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutant: Option<String>,
}

/// The `sometimes` list has to be complete in so many runs.
const COMPLETE_WITHIN: u64 = 10_000;

fn main() -> ExitCode {
    let good = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Replay(arguments) => replay(&arguments),
        Command::Meta { seeds } => meta(seeds),
        Command::Steady { hours } => steady(hours),
        #[cfg(feature = "mutants")]
        Command::Mutants { limit, only, document, bless, json } => {
            let fates = mutants::hunt_all(limit, only.as_deref());
            let good = mutants::report(&fates, json);
            document.is_none_or(|document| mutants::compare(&document, &fates, bless)) && good
        }
        #[cfg(feature = "mutants")]
        Command::Bound { seeds, json } => bound(seeds, json),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn schedule(adversarial: bool) -> fn(u64) -> Plan {
    if adversarial { plan::adversarial } else { plan::random }
}

fn run(arguments: &Run) -> bool {
    let batch = batch::run(arguments.from..arguments.from + arguments.seeds, schedule(arguments.adversarial));
    let missed = batch.seen.missed();
    let how = if arguments.adversarial { " --adversarial" } else { "" };
    for (seed, found) in batch.violations.iter().take(20) {
        note(&format!(
            "seed {seed}: {} broken at {:.6} s: {}",
            found.invariant,
            found.at as f64 / 1e9,
            found.what
        ));
        note(&format!("  {}", invariant::sentence(found.invariant)));
        note(&format!("  see it with: cargo xtask sim{how} --replay {seed}"));
    }
    for text in &missed {
        note(&format!("never seen: {text}"));
    }
    let complete = missed.is_empty() || arguments.seeds < COMPLETE_WITHIN;
    note(&format!(
        "{} runs, {} violations, {:.0} runs a second, on each run {:.0} events, {:.1} faults, {:.2} grants",
        batch.runs,
        batch.violations.len(),
        batch.runs_per_second(),
        batch.per_run(batch.steps),
        batch.per_run(batch.faults),
        batch.per_run(batch.grants),
    ));
    if arguments.json {
        let seeds: Vec<u64> = batch.violations.keys().copied().take(100).collect();
        let report = json!({
            "schedule": if arguments.adversarial { "adversarial" } else { "random" },
            "runs": batch.runs,
            "violations": batch.violations.len(),
            "violating_seeds": seeds,
            "grants": batch.grants,
            "sometimes_missed": missed,
            "runs_per_second": batch.runs_per_second().round(),
            "steps_per_run": batch.per_run(batch.steps),
            "faults_per_run": batch.per_run(batch.faults),
            "grants_per_run": batch.per_run(batch.grants),
            "simulated_seconds_per_run": batch.simulated.as_secs_f64() / batch.runs.max(1) as f64,
            "times": batch.times(),
        });
        print(&report.to_string());
    }
    batch.violations.is_empty() && complete
}

fn replay(arguments: &Replay) -> bool {
    #[cfg(feature = "mutants")]
    if let Some(id) = &arguments.mutant {
        let Some(mutant) = baton_protocol::mutant::Mutant::by_id(id) else {
            note(&format!("no deliberate fault has the id {id}"));
            return false;
        };
        mutant.switch_on();
    }
    let plan = schedule(arguments.adversarial)(arguments.seed);
    let ended = world::run(&plan, true);
    print(&format!(
        "seed {}: {} nodes, {:?}, {} timing, {} addresses, {} tables, {} subnets",
        plan.seed,
        plan.clocks.len(),
        plan.mode,
        plan.profile,
        plan.addresses,
        plan.tables,
        plan.subnets
    ));
    let mut keys = std::io::stdin().lock().lines();
    for line in &ended.trace {
        print(line);
        if arguments.step && keys.next().is_none() {
            break;
        }
    }
    match &ended.violation {
        None => print("every promise was kept"),
        Some(found) => print(&format!("{}: {}", found.invariant, invariant::sentence(found.invariant))),
    }
    ended.violation.is_none()
}

fn meta(seeds: u64) -> bool {
    let differs = |seed: &u64| {
        [plan::random, plan::adversarial].iter().any(|plan| {
            let once = world::run(&plan(*seed), true).trace.join("\n");
            once != world::run(&plan(*seed), true).trace.join("\n")
        })
    };
    let different: Vec<u64> = (0..seeds).filter(differs).collect();
    note(&format!(
        "{} of {seeds} seeds, run twice by each schedule, happened differently: {different:?}",
        different.len()
    ));
    different.is_empty()
}

fn steady(hours: u64) -> bool {
    for found in baton_simulation::steady::measure(hours) {
        print(&serde_json::to_string(&found).unwrap_or_default());
    }
    true
}

#[cfg(feature = "mutants")]
fn bound(seeds: u64, json: bool) -> bool {
    let found = baton_simulation::bound::measure(seeds);
    for row in &found.rows {
        note(&format!("S = {} ms: {} of {} runs", row.silence_ms, row.violations, row.runs));
    }
    if json {
        print(&serde_json::to_string(&found).unwrap_or_default());
    }
    found.tight
}
