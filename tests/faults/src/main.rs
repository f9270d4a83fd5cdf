//! Plays the scenarios and measures moves; `cargo xtask scenarios` and `cargo xtask bench move` build what it needs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use baton_faults::bench::{self, measure};
use baton_faults::doctor::{self, CASES, Case, Ward};
use baton_faults::rig::{Rig, Size, Trouble};
use baton_faults::scenario::{NAMES, Row, play};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Parser)]
#[command(about = "The functions against a real table and a real EC2 server")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where the functions' programs lie.
    #[arg(long, global = true, default_value = "target/debug")]
    programs: PathBuf,
    /// One JSON object at the end.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays every trigger and every fault, and says what came of it.
    Scenarios {
        /// Only these.
        #[arg(long)]
        only: Vec<String>,
    },
    /// Breaks every requirement that `baton doctor` knows, and has it found and mended.
    Doctor {
        /// Only these, by the name of the case or of the requirement.
        #[arg(long)]
        only: Vec<String>,
    },
    /// Counts and times moves.
    Move {
        /// How many warm failovers the median is of.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Scenarios { only } => scenarios(&arguments, only).await,
        Command::Doctor { only } => requirements(&arguments, only).await,
        Command::Move { runs } => moves(&arguments, *runs).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn scenarios(arguments: &Arguments, only: &[String]) -> Result<ExitCode, Trouble> {
    let names: Vec<&str> =
        if only.is_empty() { NAMES.to_vec() } else { only.iter().map(String::as_str).collect() };
    let mut rig = Rig::start(Size { addresses: 1, tables: 3 }, arguments.programs.clone()).await?;
    let mut rows: Vec<Row> = Vec::new();
    for name in names {
        let row = play(&mut rig, name).await.map_err(|error| format!("{name}: {error}"))?;
        let verdict = if row.agrees { "as expected" } else { "DIFFERS" };
        eprintln!(
            "{:<14} {verdict}: {} (epoch {}, {} rows)",
            row.name, row.what, row.epoch, row.history_rows
        );
        eprintln!("               observed: {}", row.observed);
        if !row.agrees {
            eprintln!("               expected: {}", row.expected);
        }
        rows.push(row);
    }
    let agree = rows.iter().all(|row| row.agrees);
    let disagree = rows.iter().filter(|row| !row.agrees).count();
    eprintln!("{} scenarios, {disagree} not as expected", rows.len());
    if arguments.json {
        result(&json!({ "rows": rows, "agree": agree }))?;
    }
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn requirements(arguments: &Arguments, only: &[String]) -> Result<ExitCode, Trouble> {
    let wanted = |case: &&Case| {
        only.is_empty() || only.iter().any(|name| name == case.name() || name == case.requirement())
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        return Err(format!("no case is called so; there are {}", doctor::NAMES.join(", ")).into());
    }
    let mut ward = Ward::open(arguments.programs.clone()).await?;
    let mut rows = Vec::new();
    for case in cases {
        let row = ward.play(case).await.map_err(|error| format!("{}: {error}", case.name()))?;
        let verdict = if row.agrees { "as expected" } else { "DIFFERS" };
        eprintln!("{:<4} {:<17} {verdict}: {}", row.requirement, row.name, row.broken);
        eprintln!("     observed: {} ({})", row.observed, row.world);
        if !row.remedy.is_empty() {
            let by = if row.fixed { "mended by --fix" } else { "mended by a person" };
            eprintln!("     {} ({}), {by}, clean after: {}", row.remedy, row.fix, row.clean_after);
        }
        rows.push(row);
    }
    let disagree = rows.iter().filter(|row| !row.agrees).count();
    eprintln!("{} cases, {disagree} not as expected", rows.len());
    let agree = disagree == 0;
    if arguments.json {
        result(&json!({ "rows": rows, "agree": agree }))?;
    }
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn moves(arguments: &Arguments, runs: usize) -> Result<ExitCode, Trouble> {
    let mut rows = Vec::new();
    for (case, size) in bench::CASES {
        let slow = measure(case, size, true, &arguments.programs, runs).await?;
        let mut quick = measure(case, size, false, &arguments.programs, runs).await?;
        // Where each call takes a millisecond, those that could be side by side hardly ever are. What has to wait for what is
        // the same in both.
        quick.ec2_sequential = slow.ec2_sequential;
        for row in [quick, slow] {
            eprintln!(
                "{:<24} {:<14} {:>3} calls to EC2, {} in a row, {:>3} to the table; cold {:>7} ms ({:>6} ms CPU), warm {:>7} ms ({:>6} ms CPU)",
                row.case,
                if row.ec2_delays { "EC2 slow" } else { "EC2 quick" },
                row.ec2_calls,
                row.ec2_sequential,
                row.dynamodb_calls,
                row.wall_cold_ms,
                row.cpu_cold_ms,
                row.wall_warm_ms,
                row.cpu_warm_ms,
            );
            rows.push(row);
        }
    }
    if arguments.json {
        result(&json!({ "rows": rows }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The result, at the beginning of a line of its own.
fn result(value: &Value) -> Result<(), Trouble> {
    writeln!(std::io::stdout(), "{value}")?;
    Ok(())
}
