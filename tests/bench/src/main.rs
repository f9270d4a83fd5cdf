//! Measures the agent; `cargo xtask bench agent` builds what it needs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use baton_bench::Trouble;
use baton_bench::agent::{Options, Report, measure};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "What the agent costs a node")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where the programs lie.
    #[arg(long, global = true, default_value = "target/debug")]
    programs: PathBuf,
    /// One JSON object at the end.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Processor time and memory of a heartbeat, the time to start, and the time from a failed check to the release.
    Agent {
        /// How many confirmed heartbeats the soak is long.
        #[arg(long, default_value_t = 10_000)]
        beats: usize,
        /// How many clusters the agent of the soak is a member of: the soak is shorter, and the memory more.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        clusters: u8,
        /// Fails where a figure is beyond its limit.
        #[arg(long)]
        judge: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(&arguments).await.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let Command::Agent { beats, clusters, judge } = &arguments.command;
    let options =
        Options { programs: arguments.programs.clone(), beats: *beats, clusters: usize::from(*clusters) };
    let report = measure(&options, &mut |line| eprintln!("{line}")).await?;
    show(&report);
    let beyond = report.beyond();
    for line in &beyond {
        eprintln!("BEYOND {line}");
    }
    if arguments.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    }
    Ok(if beyond.is_empty() || !judge { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(report: &Report) {
    let Report { beats, clusters, heartbeat_ms, .. } = report;
    eprintln!("{beats} heartbeats, one each {heartbeat_ms} ms in {clusters} clusters:");
    eprintln!("  {} ms processor time for each", report.cpu_ms_per_beat);
    eprintln!(
        "  {} MB in memory at the end ({} MB of its own), {} MB at most, {} MB more than after a tenth",
        report.rss_mb, report.rss_own_mb, report.rss_peak_mb, report.rss_growth_mb
    );
    eprintln!(
        "  {} requests to the metadata in a minute, {} to EC2",
        report.metadata_per_minute, report.ec2_calls
    );
    eprintln!("{} MB program, {} ms to its first heartbeat", report.binary_mb, report.start_ms);
    eprintln!("{} heartbeats from a failed check to the release", report.check_to_release_beats);
    eprintln!(
        "{} ms processor time for `aws ec2 describe-addresses`: {} heartbeats",
        report.aws_cli_cpu_ms, report.ratios.beats_per_aws_cli_call
    );
}
