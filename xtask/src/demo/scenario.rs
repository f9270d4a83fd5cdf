//! The three ways a cluster moves: its holder dies, its service fails, its operator says so.

use std::error::Error;
use std::process::{Child, Stdio};
use std::time::Duration;

use baton_sandbox::Stage;
use serde_json::{Value, json};

use super::measure::{self, Fault};
use crate::output;

/// What happens to the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// kill -9 of everything that runs on it.
    Crash,
    /// Its service answers 500.
    Unhealthy,
    /// `baton switchover`.
    Switchover,
}

/// What came of it; times in seconds from the fault.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) epoch_before: u64,
    pub(crate) epoch_after: u64,
    /// When the claim of silence was written, or the release where the holder handed over.
    pub(crate) claimed_s: f64,
    pub(crate) granted_s: f64,
    pub(crate) moved_s: f64,
    pub(crate) serving_s: f64,
    pub(crate) address_at_holder: bool,
    pub(crate) routes_at_holder: bool,
    /// The ground of the grant, as the history tells it.
    pub(crate) ground: String,
    /// The history of the new epoch, oldest first.
    pub(crate) history: Vec<Value>,
    pub(crate) fault: Fault,
}

impl Outcome {
    /// Whether EC2 shows everything at another node, at the very next epoch.
    pub(crate) fn is_good(&self) -> bool {
        self.address_at_holder
            && self.routes_at_holder
            && self.from != self.to
            && self.epoch_after == self.epoch_before + 1
    }

    /// As it stands in the result of `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let rounded = |seconds: f64| (seconds * 1_000.0).round() / 1_000.0;
        json!({
            "name": self.name,
            "epoch_before": self.epoch_before,
            "epoch_after": self.epoch_after,
            "from": self.from,
            "to": self.to,
            "ground": self.ground,
            "claimed_s": rounded(self.claimed_s),
            "granted_s": rounded(self.granted_s),
            "moved_s": rounded(self.moved_s),
            "serving_s": rounded(self.serving_s),
            "address_at_holder": self.address_at_holder,
            "routes_at_holder": self.routes_at_holder,
        })
    }
}

/// How long a move may take before the demo gives up.
const LIMIT: Duration = Duration::from_secs(60);

impl Scenario {
    pub(crate) const ALL: [Self; 3] = [Self::Crash, Self::Unhealthy, Self::Switchover];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Unhealthy => "unhealthy",
            Self::Switchover => "switchover",
        }
    }

    pub(crate) fn title(self, from: &str) -> String {
        match self {
            Self::Crash => format!("Node {from} dies: kill -9 of its service, its agent and its dead-man"),
            Self::Unhealthy => format!("Node {from} lives, but its service answers 500"),
            Self::Switchover => {
                format!("An operator moves the cluster off node {from}, which is in good health")
            }
        }
    }
}

/// Plays one scenario from a settled cluster to a settled cluster.
pub(crate) fn play(scenario: Scenario, stage: &mut Stage) -> Result<Outcome, Box<dyn Error>> {
    let before = stage.wait_until_settled(0, LIMIT)?;
    wait_until_protected(stage)?;
    output::note("");
    output::note(&output::bold(&scenario.title(&before.holder)));
    let fault = Fault::now();
    let mut operator = None;
    match scenario {
        Scenario::Crash => {
            stage.node(&before.holder)?.kill_all()?;
        }
        Scenario::Unhealthy => stage.node(&before.holder)?.sicken()?,
        Scenario::Switchover => operator = Some(switch_over(stage)?),
    }
    let placed = measure::first_whole_placement(stage, &before.holder, LIMIT)?;
    let after = stage.wait_until_settled(before.epoch, LIMIT)?;
    operator.map(finish_switchover).transpose()?;
    let history = measure::history_of(stage, after.epoch)?;
    let grant = measure::row(&history, "granted")?;
    let placement = stage.placement(&after.holder)?;
    let outcome = Outcome {
        name: scenario.name(),
        epoch_before: before.epoch,
        epoch_after: after.epoch,
        claimed_s: measure::claimed_or_released(stage, &before.holder, grant, &fault)?,
        granted_s: fault.seconds_until_wall(measure::wall_ms(&grant["at"])?),
        moved_s: fault.seconds_until_boot(placed),
        serving_s: measure::first_answer(stage, &after.holder, &fault),
        address_at_holder: placement.addresses,
        routes_at_holder: placement.routes,
        ground: grant["ground"].as_str().unwrap_or_default().to_owned(),
        from: before.holder,
        to: after.holder,
        history,
        fault,
    };
    recover(scenario, stage, &outcome.from)?;
    Ok(outcome)
}

/// The operator's own command; it runs beside the measuring.
fn switch_over(stage: &Stage) -> Result<Child, Box<dyn Error>> {
    let mut command = stage.baton_command(&["switchover", "--wait=60s", "--yes", "--reason", "demo"]);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Waits for the operator's command and shows what it printed.
fn finish_switchover(operator: Child) -> Result<(), Box<dyn Error>> {
    let done = operator.wait_with_output()?;
    for line in String::from_utf8_lossy(&done.stderr).lines() {
        output::note(&output::dim(&format!("    baton: {line}")));
    }
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("`baton switchover` ended with {}", done.status).into())
    }
}

/// Every move starts from a cluster that a standby protects.
fn wait_until_protected(stage: &Stage) -> Result<(), Box<dyn Error>> {
    baton_sandbox::wait::until("a standby that could take over", LIMIT, || {
        let status = stage.baton_json(&["status"])?;
        Ok((status["protected"] == json!(true)).then_some(()))
    })?;
    Ok(())
}

/// Whatever failed comes back, as a standby.
fn recover(scenario: Scenario, stage: &mut Stage, node: &str) -> Result<(), Box<dyn Error>> {
    match scenario {
        Scenario::Crash => stage.node(node)?.boot()?,
        Scenario::Unhealthy => stage.node(node)?.heal()?,
        Scenario::Switchover => {}
    }
    Ok(())
}
