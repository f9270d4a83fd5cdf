//! Health checks: what this node thinks of its own ability to serve.
//!
//! Each check runs on its own interval in a task of its own. Tries are debounced ([`debounce`]) into
//! verdicts, verdicts are combined into the [`Health`] that the heartbeat carries. What bad health leads to
//! is the protocol's decision.
//!
//! A check with `when = "serving"` runs only while this node serves, one with `when = "standby"` only while
//! it serves nothing and starts nothing. Each counts only while it runs, and forgets what it knew when its turn
//! ends, so that neither a standby is judged by a service that it must not run, nor a service by the room that
//! it takes itself. A standby whose own checks have not spoken is not known to be fit.

mod aside;
pub mod debounce;
mod fence;
mod http;
mod process;
mod room;
mod script;
pub mod shown;
mod systemd;
mod tcp;
#[cfg(test)]
mod tests;
mod vip;

use std::time::Duration;

use baton_protocol::heartbeat::Health;
use baton_protocol::recovery::Said;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::config::{Check, Probe, When};
use crate::machine::systemctl;
use crate::{packet_fence, vip as virtual_addresses};
use aside::Aside;
use debounce::{Debounce, Verdict};

/// Whether a unit is active, and how it is in any case.
pub(crate) async fn unit_is_active(systemctl: &std::path::Path, unit: &str, timeout: Duration) -> Try {
    systemd::probe(Some(systemctl), unit, timeout, &mut Aside::default()).await
}

/// Whose turn it is to speak, besides the checks that always do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Turn {
    /// The checks of a standby.
    #[default]
    Standby,
    /// Nobody's: the service is being started, or mended.
    Nobody,
    /// The checks of the service.
    Serving,
}

impl Turn {
    fn lets_speak(self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Standby => self == Self::Standby,
            When::Serving => self == Self::Serving,
        }
    }
}

/// The outcome of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Try {
    pub(crate) success: bool,
    warning: bool,
    pub(crate) reason: String,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its name in the configuration.
    pub name: String,
    /// When it speaks.
    pub when: When,
    /// Whether it runs at present; one whose turn it is not rests.
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

impl CheckReport {
    /// Starts from a clean slate, or rests on one.
    fn clear(&mut self, running: bool) {
        self.running = running;
        self.verdict = Verdict::Unknown;
        self.warning = false;
        self.reason.clear();
        self.output.clear();
    }

    fn is_bad(&self) -> bool {
        self.running && self.verdict == Verdict::Bad
    }
}

/// What is known of all checks of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// All of them in one word.
    pub health: Health,
    /// Each of them, in the order of the configuration.
    pub checks: Vec<CheckReport>,
    /// Whose turn it is, and the number of that turn: what an earlier one finds late is not heard.
    turn: (Turn, u64),
}

impl HealthReport {
    fn new(checks: &[Check]) -> Self {
        let turn = Turn::default();
        let reports = checks.iter().map(|check| CheckReport {
            name: check.name.clone(),
            when: check.when,
            running: turn.lets_speak(check.when),
            verdict: Verdict::Unknown,
            warning: false,
            reason: String::new(),
            output: String::new(),
        });
        let checks: Vec<_> = reports.collect();
        Self { health: combined(checks.iter()), checks, turn: (turn, 0) }
    }

    /// The reasons of the bad checks, for the log and for people; empty if none is bad.
    pub fn reason(&self) -> String {
        reasons(self.checks.iter().filter(|check| check.is_bad()))
    }

    /// The reasons of the checks that warn; empty if none does.
    pub fn warnings(&self) -> String {
        reasons(self.checks.iter().filter(|check| check.running && check.warning && !check.is_bad()))
    }

    /// What the checks of the service say, all together.
    pub fn service(&self) -> Said {
        let service = || self.checks.iter().filter(|check| check.running && check.when == When::Serving);
        let bad = reasons(service().filter(|check| check.is_bad()));
        match () {
            () if !bad.is_empty() => Said::Bad(bad),
            () if service().next().is_some() && service().all(|check| check.verdict == Verdict::Good) => {
                Said::Good
            }
            () => Said::Undecided,
        }
    }

    /// What the others say in one word.
    pub fn others(&self) -> Health {
        combined(self.checks.iter().filter(|check| check.when != When::Serving))
    }

    fn take_turn(&mut self, turn: Turn) -> bool {
        if self.turn.0 == turn {
            return false;
        }
        self.turn = (turn, self.turn.1 + 1);
        for check in self.checks.iter_mut().filter(|check| check.when != When::Always) {
            check.clear(turn.lets_speak(check.when));
        }
        self.health = combined(self.checks.iter());
        true
    }
}

fn reasons<'a>(checks: impl Iterator<Item = &'a CheckReport>) -> String {
    let reasons: Vec<_> = checks.map(|check| format!("{}: {}", check.name, check.reason)).collect();
    reasons.join("; ")
}

/// Bad if any check is bad, unknown if any that speaks of the node and not of its service has not spoken, else good.
fn combined<'a>(checks: impl Iterator<Item = &'a CheckReport> + Clone) -> Health {
    let mut running = checks.filter(|check| check.running);
    if running.clone().any(|check| check.verdict == Verdict::Bad) {
        return Health::Bad;
    }
    if running.any(|check| check.when != When::Serving && check.verdict == Verdict::Unknown) {
        return Health::Unknown;
    }
    Health::Ok
}

/// The running checks of one cluster. Dropping it ends them, and kills the scripts that run.
#[derive(Debug)]
pub struct Checks {
    tasks: JoinSet<()>,
    report: watch::Sender<HealthReport>,
    turn: watch::Sender<(Turn, u64)>,
}

/// What some checks look after.
#[derive(Debug, Clone, Default)]
pub struct Keepers {
    /// The virtual addresses.
    pub vip: Option<virtual_addresses::Keeper>,
    /// The packet fence.
    pub fence: Option<packet_fence::Keeper>,
}

/// Starts the checks of a standby. Some of them look after something, by its keeper.
pub fn start(checks: Vec<Check>, keepers: &Keepers) -> Checks {
    let report = watch::Sender::new(HealthReport::new(&checks));
    let turn = watch::Sender::new((Turn::default(), 0));
    let mut tasks = JoinSet::new();
    for (index, check) in checks.into_iter().enumerate() {
        let reporter = Reporter { index, sender: report.clone() };
        // Aborted when `Checks` is dropped.
        tasks.spawn(run(check, reporter, turn.subscribe(), keepers.clone()));
    }
    Checks { tasks, report, turn }
}

impl Checks {
    /// The report as it stands, and each change of it.
    pub fn report(&self) -> watch::Receiver<HealthReport> {
        self.report.subscribe()
    }

    /// Says whose turn it is. From this moment on the report says nothing that an earlier turn has found.
    pub fn turn(&self, turn: Turn) {
        self.report.send_if_modified(|report| report.take_turn(turn));
        let numbered = self.report.borrow().turn;
        self.turn.send_if_modified(|told| std::mem::replace(told, numbered) != numbered);
    }

    /// Resolves when a check's task has ended by itself, which none does: the agent must then end too, rather
    /// than go on with a check that no longer looks. Pending for ever without checks. Cancel-safe.
    pub async fn ended(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                // A task ends in order only when nobody tells whose turn it is, and then `self` is gone too.
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
    /// Takes in a try that was made in the turn of this number.
    fn tried(&self, turn: u64, check: &Check, tried: Try, debounce: &mut Debounce) {
        let change = debounce.handle(tried.success);
        let verdict = debounce.verdict();
        self.sender.send_if_modified(|report| {
            if report.turn.1 != turn && check.when != When::Always {
                return false;
            }
            let known = &mut report.checks[self.index];
            tell(&check.name, change, known.warning, &tried);
            let before = known.clone();
            known.verdict = verdict;
            known.warning = tried.warning;
            known.reason = tried.reason;
            known.output = tried.output;
            let changed = *known != before;
            report.health = combined(report.checks.iter());
            changed
        });
    }
}

/// Each change of state is told, with what the try wrote.
fn tell(check: &str, change: Option<Verdict>, warned: bool, tried: &Try) {
    let Try { success, warning, reason, output } = tried;
    match change {
        Some(Verdict::Bad) => warn!(check, reason, %output, "check became bad"),
        Some(_) => info!(check, reason, %output, "check became good"),
        None if *warning && !warned => warn!(check, reason, %output, "check warns"),
        None if warned && !*warning && *success => info!(check, reason, %output, "check warns no longer"),
        None => debug!(check, success, warning, reason, "check was tried"),
    }
}

async fn run(check: Check, reporter: Reporter, mut turns: watch::Receiver<(Turn, u64)>, keepers: Keepers) {
    let mut aside = Aside::new(keepers);
    loop {
        let speaks = |(turn, _): &(Turn, u64)| turn.lets_speak(check.when);
        let Ok(turn) = turns.wait_for(speaks).await.map(|turn| *turn) else { return };
        // Whoever always speaks is in one turn all the time. Dropping the repetition abandons a try at any
        // point: it kills its script and closes its connection.
        let over = |told: &(Turn, u64)| *told != turn && check.when != When::Always;
        tokio::select! {
            () = repeat(turn.1, &check, &reporter, &mut aside) => {}
            ended = turns.wait_for(over) => if ended.is_err() { return },
        }
    }
}

/// Tries the check on its interval, for ever, from a clean slate.
async fn repeat(turn: u64, check: &Check, reporter: &Reporter, aside: &mut Aside) {
    aside.begin_turn();
    let mut debounce = Debounce::new(check.rise, check.fall);
    let mut tick = interval(check.interval);
    // After a suspension or a stall one try is due, not all that were missed.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let tried = one_try(&check.probe, check.timeout, aside).await;
        reporter.tried(turn, check, tried, &mut debounce);
    }
}

async fn one_try(probe: &Probe, timeout: Duration, aside: &mut Aside) -> Try {
    let late = |_| Try::bad(format!("no answer within {} ms", timeout.as_millis()));
    match probe {
        Probe::Tcp { address } => {
            tokio::time::timeout(timeout, tcp::probe(address)).await.unwrap_or_else(late)
        }
        Probe::Http { address, host, target, expect } => {
            let probe = http::probe(address, host, target, expect);
            tokio::time::timeout(timeout, probe).await.unwrap_or_else(late)
        }
        // Commands are killed by a limit of their own, which keeps the output.
        Probe::Script { command, user, exit_codes } => {
            script::probe(command, user.as_ref(), *exit_codes, timeout, aside).await
        }
        Probe::Systemd { unit } => systemd::probe(systemctl().as_deref(), unit, timeout, aside).await,
        Probe::Process { pid_file, command_name } => {
            let (path, name) = (pid_file.clone(), command_name.clone());
            aside.look(timeout, move || process::look(path.as_deref(), name.as_deref())).await
        }
        Probe::Disk { path, free_at_least } => {
            let (path, least) = (path.clone(), *free_at_least);
            aside.look(timeout, move || room::disk(&path, least)).await
        }
        // What the kernel tells of itself blocks nobody.
        Probe::Memory { available_at_least } => room::memory(*available_at_least),
        Probe::Cpu { waiting_at_most } => room::cpu(*waiting_at_most),
        Probe::Load { per_cpu_at_most } => room::load(*per_cpu_at_most),
        Probe::Fence => match aside.keepers.fence.clone() {
            Some(keeper) => aside.look(timeout, move || fence::look(&keeper)).await,
            None => Try::good("there is nothing to look after"),
        },
        Probe::Vip => match aside.keepers.vip.clone() {
            Some(keeper) => aside.look(timeout, move || vip::look(&keeper)).await,
            None => Try::good("there is nothing to look after"),
        },
    }
}
