//! When what happened, in seconds from the fault.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_sandbox::prober::boot_time;
use baton_sandbox::{SandboxError, Stage, wait};
use jiff::Timestamp;
use serde_json::Value;

/// The moment a fault was put in, on both clocks: services and prober log the one, agents and functions the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    boot: Duration,
    wall_ms: i64,
}

impl Fault {
    pub(crate) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { boot: boot_time(), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }

    pub(crate) fn seconds_until_boot(&self, moment: Duration) -> f64 {
        moment.as_secs_f64() - self.boot.as_secs_f64()
    }

    pub(crate) fn seconds_until_wall(&self, ms: i64) -> f64 {
        Duration::from_millis(ms.abs_diff(self.wall_ms)).as_secs_f64()
            * if ms < self.wall_ms { -1.0 } else { 1.0 }
    }
}

/// Waits until EC2 shows everything at one node that is not `from`, and gives that moment.
pub(crate) fn first_whole_placement(
    stage: &Stage,
    from: &str,
    limit: Duration,
) -> Result<Duration, SandboxError> {
    wait::until("every resource at another node", limit, || {
        for node in stage.nodes().iter().filter(|node| node.name() != from) {
            if stage.placement(node.name())?.is_whole() {
                return Ok(Some(boot_time()));
            }
        }
        Ok(None)
    })
}

/// The rows of one epoch's history, oldest first.
pub(crate) fn history_of(stage: &Stage, epoch: u64) -> Result<Vec<Value>, Box<dyn Error>> {
    let history = stage.baton_json(&["history", "--limit", "200"])?;
    let rows = history["rows"].as_array().ok_or("`baton history` printed no rows")?;
    Ok(rows.iter().filter(|row| row["epoch"] == epoch && row["what"] != "asked").cloned().collect())
}

/// The first row of a kind.
pub(crate) fn row<'a>(history: &'a [Value], what: &str) -> Result<&'a Value, Box<dyn Error>> {
    history
        .iter()
        .find(|row| row["what"] == what)
        .ok_or_else(|| format!("the history has no row `{what}`").into())
}

/// A time that the CLI or an agent has printed.
pub(crate) fn wall_ms(text: &Value) -> Result<i64, Box<dyn Error>> {
    let text = text.as_str().ok_or("expected a time, found none")?;
    Ok(text.parse::<Timestamp>()?.as_millisecond())
}

/// When the arbiter was given its ground: the claim of a standby, or the release of the holder.
pub(crate) fn claimed_or_released(
    stage: &Stage,
    holder: &str,
    grant: &Value,
    fault: &Fault,
) -> Result<f64, Box<dyn Error>> {
    if grant["claimed_at"].is_string() {
        return Ok(fault.seconds_until_wall(wall_ms(&grant["claimed_at"])?));
    }
    let released = logged(stage, holder, "released", fault).ok_or("the holder's log shows no release")?;
    Ok(fault.seconds_until_wall(released))
}

/// When a node's agent first logged a message after the fault.
pub(crate) fn logged(stage: &Stage, node: &str, message: &str, fault: &Fault) -> Option<i64> {
    let node = stage.nodes().iter().find(|found| found.name() == node)?;
    let log = std::fs::read_to_string(node.log()).ok()?;
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == message || line["fields"]["message"] == message)
        .filter_map(|line| wall_ms(&line["timestamp"]).ok())
        .find(|at| *at >= fault.wall_ms)
}

/// When a client first got an answer of the new holder.
pub(crate) fn first_answer(stage: &Stage, node: &str, fault: &Fault) -> f64 {
    let seen = stage.prober().seen();
    let answers =
        seen.iter().filter(|probe| probe.node == node && probe.status == Some(200) && probe.at >= fault.boot);
    let first = answers.map(|probe| probe.at).min();
    first.map_or(f64::NAN, |at| fault.seconds_until_boot(at))
}
