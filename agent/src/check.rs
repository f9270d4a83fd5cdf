//! Health checks: what this node thinks of its own ability to serve.
//!
//! Each check runs on its own interval in a task of its own. Tries are debounced ([`debounce`]) into
//! verdicts, verdicts are combined into the [`Health`] that the heartbeat carries. What bad health leads to
//! is the protocol's decision.
//!
//! A check with `when = "serving"` runs only while this node serves, counts only while it runs, and forgets
//! what it knew when serving ends, so that a standby is not judged by a service it must not run.

pub mod debounce;
mod http;
mod script;
mod tcp;
#[cfg(test)]
mod tests;

use std::time::Duration;

use baton_protocol::heartbeat::Health;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::config::{Check, Probe, When};
use debounce::{Debounce, Verdict};

/// The outcome of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Try {
    success: bool,
    warning: bool,
    reason: String,
    output: String,
}

impl Try {
    fn good(reason: impl Into<String>) -> Self {
        Self { success: true, warning: false, reason: reason.into(), output: String::new() }
    }

    fn warning(reason: impl Into<String>) -> Self {
        Self { warning: true, ..Self::good(reason) }
    }

    fn bad(reason: impl Into<String>) -> Self {
        Self { success: false, ..Self::good(reason) }
    }

    fn with_output(self, output: String) -> Self {
        Self { output, ..self }
    }
}

/// What is known of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Its name in the configuration.
    pub name: String,
    /// When it speaks.
    pub when: When,
    /// Whether it runs at present; a check that speaks only while serving rests otherwise.
    pub running: bool,
    /// What it has come to.
    pub verdict: Verdict,
    /// Whether the last try succeeded with a warning.
    pub warning: bool,
    /// What the last try found; empty before the first.
    pub reason: String,
    /// The last 4 KB that the last try wrote.
    pub output: String,
}

/// What is known of all checks of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// All of them in one word.
    pub health: Health,
    /// Each of them, in the order of the configuration.
    pub checks: Vec<CheckReport>,
}

impl HealthReport {
    fn new(checks: &[Check]) -> Self {
        let reports = checks.iter().map(|check| CheckReport {
            name: check.name.clone(),
            when: check.when,
            running: check.when == When::Always,
            verdict: Verdict::Unknown,
            warning: false,
            reason: String::new(),
            output: String::new(),
        });
        let checks: Vec<_> = reports.collect();
        Self { health: combined(&checks), checks }
    }

    /// The reasons of the bad checks, for the log and for people; empty if none is bad.
    pub fn reason(&self) -> String {
        let bad = self.checks.iter().filter(|check| check.running && check.verdict == Verdict::Bad);
        let reasons: Vec<_> = bad.map(|check| format!("{}: {}", check.name, check.reason)).collect();
        reasons.join("; ")
    }
}

/// Bad if any check is bad, unknown if any check that always speaks has not spoken, else good.
fn combined(checks: &[CheckReport]) -> Health {
    let mut running = checks.iter().filter(|check| check.running);
    if running.clone().any(|check| check.verdict == Verdict::Bad) {
        return Health::Bad;
    }
    if running.any(|check| check.when == When::Always && check.verdict == Verdict::Unknown) {
        return Health::Unknown;
    }
    Health::Ok
}

/// The running checks of one cluster. Dropping it ends them, and kills the scripts that run.
#[derive(Debug)]
pub struct Checks {
    tasks: JoinSet<()>,
    report: watch::Receiver<HealthReport>,
}

/// Starts the checks. `serving` says whether this node serves; when its sender is gone, the node does not.
pub fn start(checks: Vec<Check>, serving: &watch::Receiver<bool>) -> Checks {
    let (sender, report) = watch::channel(HealthReport::new(&checks));
    let mut tasks = JoinSet::new();
    for (index, check) in checks.into_iter().enumerate() {
        let reporter = Reporter { index, sender: sender.clone() };
        // Aborted when `Checks` is dropped.
        tasks.spawn(run(check, reporter, serving.clone()));
    }
    Checks { tasks, report }
}

impl Checks {
    /// The report as it stands, and each change of it.
    pub fn report(&self) -> watch::Receiver<HealthReport> {
        self.report.clone()
    }

    /// Resolves when a check's task has ended by itself, which none does: the agent must then end too, rather
    /// than go on with a check that no longer looks. Pending for ever without checks. Cancel-safe.
    pub async fn ended(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                // A task ends in order only when its `serving` channel is gone, and then the driver is gone
                // too.
                Some(Ok(())) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Where one check reports.
struct Reporter {
    index: usize,
    sender: watch::Sender<HealthReport>,
}

impl Reporter {
    fn change(&self, change: impl FnOnce(&mut CheckReport)) {
        self.sender.send_if_modified(|report| {
            let before = report.checks[self.index].clone();
            change(&mut report.checks[self.index]);
            report.health = combined(&report.checks);
            report.checks[self.index] != before
        });
    }

    fn rest(&self) {
        self.change(|report| {
            report.running = false;
            report.verdict = Verdict::Unknown;
            report.warning = false;
            report.reason.clear();
            report.output.clear();
        });
    }

    fn tried(&self, check: &str, tried: Try, debounce: &mut Debounce) {
        let change = debounce.handle(tried.success);
        let reason = tried.reason.as_str();
        match change {
            Some(Verdict::Bad) => warn!(check, reason, output = %tried.output, "check became bad"),
            Some(_) => info!(check, reason, "check became good"),
            None => {
                debug!(check, success = tried.success, warning = tried.warning, reason, "check was tried")
            }
        }
        let verdict = debounce.verdict();
        self.change(move |report| {
            report.verdict = verdict;
            report.warning = tried.warning;
            report.reason = tried.reason;
            report.output = tried.output;
        });
    }
}

async fn run(check: Check, reporter: Reporter, mut serving: watch::Receiver<bool>) {
    match check.when {
        When::Always => repeat(&check, &reporter).await,
        When::Serving => loop {
            if serving.wait_for(|serving| *serving).await.is_err() {
                return;
            }
            reporter.change(|report| report.running = true);
            // Dropping the repetition abandons a try at any point: it kills its script and closes its
            // connection.
            let gone = tokio::select! {
                () = repeat(&check, &reporter) => false,
                stopped = serving.wait_for(|serving| !*serving) => stopped.is_err(),
            };
            reporter.rest();
            if gone {
                return;
            }
        },
    }
}

/// Tries the check on its interval, for ever, from a clean slate.
async fn repeat(check: &Check, reporter: &Reporter) {
    let mut debounce = Debounce::new(check.rise, check.fall);
    let mut tick = interval(check.interval);
    // After a suspension or a stall one try is due, not all that were missed.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let tried = one_try(&check.probe, check.timeout).await;
        reporter.tried(&check.name, tried, &mut debounce);
    }
}

async fn one_try(probe: &Probe, timeout: Duration) -> Try {
    let late = |_| Try::bad(format!("no answer within {} ms", timeout.as_millis()));
    match probe {
        Probe::Tcp { address } => {
            tokio::time::timeout(timeout, tcp::probe(address)).await.unwrap_or_else(late)
        }
        Probe::Http { address, host, target, expect } => {
            let probe = http::probe(address, host, target, expect);
            tokio::time::timeout(timeout, probe).await.unwrap_or_else(late)
        }
        // A script is killed by a limit of its own, which keeps the output.
        Probe::Script { command, user } => script::probe(command, user.as_ref(), timeout).await,
    }
}
