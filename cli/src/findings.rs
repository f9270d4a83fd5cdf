//! What nodes say of their checks and of their local recovery, as it is shown. Nothing that they say decides anything here.

use baton_protocol::findings::{Findings, Recovery};
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::time::WallTime;
use serde::Serialize;

use crate::text::{length, printable, rfc3339};

/// What a node has found out about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingsView {
    /// Which checks are bad, and why.
    pub failing: Option<String>,
    /// Which checks warn.
    pub warning: Option<String>,
    /// The last local recoveries, oldest first.
    pub recoveries: Vec<RecoveryView>,
    /// The last of them in a sentence without its node.
    #[serde(skip)]
    last: Option<String>,
}

/// A local recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveryView {
    /// Which one of this run of the agent.
    pub number: u32,
    /// When it began, by the node's clock.
    pub begun: String,
    /// What was wrong.
    pub what: String,
    /// Whether it goes on, or how it ended.
    pub outcome: Outcome,
    /// When it ended, by the node's clock.
    pub ended: Option<String>,
    /// Why it failed.
    pub why: Option<String>,
}

/// How far a local recovery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is under way.
    Running,
    /// The service is well again.
    Ok,
    /// It was in vain.
    Failed,
}

impl FindingsView {
    /// What a heartbeat says; nothing where it says nothing.
    pub fn of(heartbeat: &Heartbeat, now: WallTime) -> Option<Self> {
        let Findings { failing, warning, recoveries, .. } = heartbeat.findings.as_ref()?;
        Some(Self {
            failing: failing.as_ref().map(|remark| printable(remark.as_str())),
            warning: warning.as_ref().map(|remark| printable(remark.as_str())),
            recoveries: recoveries.iter().map(RecoveryView::of).collect(),
            last: recoveries.last().map(|recovery| in_words(recovery, now)),
        })
    }

    /// What is shown below the table, a label and a sentence each.
    pub fn footers(&self, node: &str) -> Vec<(&'static str, String)> {
        let said = |label, remark: &Option<String>| {
            remark.as_ref().map(|remark: &String| (label, format!("{node}: {remark}")))
        };
        let last = self.last.as_ref().map(|words| ("Recovery", format!("{node} {words}")));
        [said("Failing", &self.failing), said("Warning", &self.warning), last].into_iter().flatten().collect()
    }

    /// Whether a local recovery is under way.
    pub fn is_recovering(&self) -> bool {
        self.recoveries.last().is_some_and(|recovery| recovery.outcome == Outcome::Running)
    }
}

impl RecoveryView {
    fn of(recovery: &Recovery) -> Self {
        let ended = recovery.ended.as_ref();
        let why = ended.and_then(|ended| ended.failed.as_ref());
        let outcome = match (ended, why) {
            (None, _) => Outcome::Running,
            (Some(_), None) => Outcome::Ok,
            (Some(_), Some(_)) => Outcome::Failed,
        };
        Self {
            number: recovery.number,
            begun: rfc3339(recovery.begun),
            what: printable(recovery.what.as_str()),
            outcome,
            ended: ended.map(|ended| rfc3339(ended.at)),
            why: why.map(|why| printable(why.as_str())),
        }
    }
}

/// The node's clock is compared with this machine's, which is good enough to read.
fn in_words(recovery: &Recovery, now: WallTime) -> String {
    let what = printable(recovery.what.as_str());
    let Some(ended) = &recovery.ended else {
        return format!("has been mending its service for {}: {what}", length(now.since(recovery.begun)));
    };
    let (ago, took) = (length(now.since(ended.at)), length(ended.at.since(recovery.begun)));
    match &ended.failed {
        None => format!("mended its service {ago} ago, within {took}: {what}"),
        Some(why) => {
            format!("could not mend its service {ago} ago ({}): {what}", printable(why.as_str()))
        }
    }
}

/// Why a node is bad, for a sentence that says that it is; nothing where it does not tell.
pub fn why_bad(heartbeat: &Heartbeat) -> String {
    let failing = heartbeat.findings.as_ref().and_then(|findings| findings.failing.as_ref());
    failing.map(|remark| format!(" ({})", printable(remark.as_str()))).unwrap_or_default()
}
