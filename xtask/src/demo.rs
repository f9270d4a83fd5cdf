//! `cargo xtask demo`: a whole cluster on this machine, failed over three times, each move seen and checked from outside.
//!
//! Everything in it is the product: the templates, the functions' binaries, the agents. What is not AWS is named in
//! `tests/sandbox/README.md`. The verdict is drawn from EC2's own answers through another client, and from the logs that
//! the nodes' services wrote themselves, never from Baton's word.

mod keep;
mod measure;
mod scenario;
mod timeline;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use baton_sandbox::prober::longest_outage;
use baton_sandbox::service_log::no_overlap;
use baton_sandbox::{Options, Stage, StageOptions};
use serde_json::json;

use crate::output;
use scenario::{Outcome, Scenario};

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ends standard output with one JSON object.
    #[arg(long)]
    json: bool,
    /// Leaves everything running afterwards, and prints what to type next.
    #[arg(long)]
    keep: bool,
    /// The time budget: `default` takes over in about 7 s, `fast` in about 4 s.
    #[arg(long, value_enum, default_value = "default")]
    profile: Profile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    Default,
    Fast,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fast => "fast",
        }
    }
}

/// Runs the demo; success only if every move was verified from outside.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let mut progress =
        |line: &str| output::note(&output::dim(&format!("{:>6.1}s  {line}", begun.elapsed().as_secs_f64())));
    let options = StageOptions {
        sandbox: Options { keep: arguments.keep, ..Options::default() },
        timing: arguments.profile.name().to_owned(),
        fall: 2,
        ..StageOptions::default()
    };
    let mut stage = Stage::set(options, &mut progress)?;
    introduce(&stage)?;
    let mut outcomes = Vec::new();
    for scenario in Scenario::ALL {
        let outcome = scenario::play(scenario, &mut stage)?;
        timeline::print(&stage, scenario, &outcome);
        outcomes.push(outcome);
    }
    let moments =
        stage.nodes().iter().map(baton_sandbox::Node::service_log).collect::<Result<Vec<_>, _>>()?;
    let overlap = no_overlap(&moments.concat()).err();
    let ok = overlap.is_none() && outcomes.iter().all(Outcome::is_good);
    summarise(&stage, &outcomes, overlap.as_deref().map(ToString::to_string), ok);
    if arguments.json {
        let scenarios: Vec<_> = outcomes.iter().map(Outcome::to_json).collect();
        output::result(&json!({ "ok": ok, "scenarios": scenarios }).to_string());
    }
    if arguments.keep {
        keep::until_interrupted(&stage)?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn introduce(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let world = stage.sandbox().world();
    let status = stage.baton(&["status"])?;
    output::note("");
    output::note(&format!(
        "Three nodes in three zones keep {} and the route to {} in {} tables.",
        world.addresses.iter().map(|address| address.public_ip.as_str()).collect::<Vec<_>>().join(", "),
        world.destination,
        world.route_tables.len(),
    ));
    output::note(&String::from_utf8_lossy(&status.stdout));
    Ok(())
}

fn summarise(stage: &Stage, outcomes: &[Outcome], overlap: Option<String>, ok: bool) {
    output::note("");
    output::note(&output::bold("Summary"));
    for outcome in outcomes {
        let good = outcome.is_good();
        let mark = output::verdict(good, if good { "ok  " } else { "FAIL" });
        output::note(&format!(
            "  {mark} {:<10} {} -> {}  epoch {} -> {}  serving again after {:.1} s, everything moved after {:.1} s",
            outcome.name,
            outcome.from,
            outcome.to,
            outcome.epoch_before,
            outcome.epoch_after,
            outcome.serving_s,
            outcome.moved_s,
        ));
    }
    let two =
        overlap.unwrap_or_else(|| "the services' own logs show no two nodes serving at once".to_owned());
    output::note(&format!("  {two}"));
    let outage = longest_outage(&stage.prober().seen());
    output::note(&format!("  longest time without any answer: {:.1} s", outage.as_secs_f64()));
    let word =
        if ok { "every move was verified at EC2 by another client" } else { "not every move was verified" };
    output::note(&format!("  {}", output::verdict(ok, word)));
}
