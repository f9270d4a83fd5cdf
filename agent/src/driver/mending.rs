//! Health as the protocol is told it, and local recovery in between: the checks say what is wrong, the protocol's rules say
//! whether it may be mended here, and the recover hook runs beside the loop as any other does.

use std::time::Duration;

use baton_protocol::findings::{Ended, Findings, Hook, HookFailure, Recovery, Remark};
use baton_protocol::heartbeat::Health;
use baton_protocol::ids::Epoch;
use baton_protocol::node::Duty;
use baton_protocol::recovery::LocalRecovery;
use baton_protocol::time::{BootTime, Now};
use tokio::sync::watch;

use super::hooks::{Failed, Hooks};
use super::{Checks, Driver, HealthReport};
use crate::check::Turn;
use crate::check::shown::Shown;
use crate::clock;
use crate::config::{Check, Cluster, When};
use crate::hook::Direction;

/// What is known of the node's health, and of mending it.
#[derive(Debug)]
pub(super) struct Mending {
    /// None where there is no recover hook.
    recovery: Option<LocalRecovery>,
    shown: Shown,
    /// Why the service could not be started, until it could.
    promote_failed: Option<String>,
    /// The hook that has failed last, and when.
    hook: Option<(BootTime, HookFailure)>,
    /// What the node was told last.
    health: Health,
    findings: Findings,
}

/// For how long heartbeats tell of a hook that has failed: longer than the arbiter takes to decide after a release that it led to,
/// in an outage of the functions as well, and not for ever, since each such heartbeat costs a write unit more (ADR 0042).
const HOOK_IS_NEWS: Duration = Duration::from_secs(60);

impl Mending {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let judging = judging(&cluster.checks);
        let recovery = cluster.recover.as_ref().map(|recover| LocalRecovery::new(recover.limit, judging));
        let shown = Shown::new(&cluster.directory);
        Self {
            recovery,
            shown,
            promote_failed: None,
            hook: None,
            health: Health::Unknown,
            findings: Findings::default(),
        }
    }

    /// Takes in how the promote hook ended: a node that cannot start its service says why.
    pub(super) fn handle_promoted(&mut self, failed: Option<&str>) {
        self.promote_failed = failed.map(str::to_owned);
    }

    /// Takes in that a hook has failed, as heartbeats will tell of it.
    pub(super) fn handle_failed(&mut self, now: Now, failure: HookFailure) {
        self.hook = Some((now.boot, failure));
    }

    /// Takes in the end of the recover hook.
    pub(super) fn handle_ended(&mut self, now: Now, failed: Option<&str>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.handle_ended(now, failed);
        }
    }

    pub(super) fn handle_timer(&mut self, now: Now) {
        if let Some(recovery) = &mut self.recovery {
            recovery.handle_timer(now);
        }
    }

    /// What is wrong, for the status line; nothing is said where nothing is.
    pub(super) fn in_words(&self) -> Option<String> {
        match (self.findings.under_way(), &self.findings.failing) {
            (Some(recovery), _) => Some(format!("recovering locally: {}", recovery.what)),
            (None, failing) => failing.as_ref().map(ToString::to_string),
        }
    }

    /// The last local recoveries.
    pub(super) fn recoveries(&self) -> &[Recovery] {
        &self.findings.recoveries
    }

    fn is_running(&self) -> bool {
        self.recovery.as_ref().is_some_and(LocalRecovery::is_running)
    }

    /// Whose checks speak. While the hook runs nobody asks what it is about to change.
    fn turn(&self, duty: Duty) -> Turn {
        match duty {
            Duty::StandBy => Turn::Standby,
            Duty::Serve if !self.is_running() => Turn::Serving,
            Duty::Start | Duty::Serve => Turn::Nobody,
        }
    }

    /// What the checks come to; whether anything is new in it that the loop has to act on.
    fn take(&mut self, now: Now, report: &HealthReport, duty: Duty, may_recover: bool) -> bool {
        let begun = self.recovery.as_mut().is_some_and(|recovery| {
            if duty != Duty::Serve {
                recovery.handle_stopped(now);
            }
            recovery.handle_said(now, &report.service(), may_recover)
        });
        let recovery = self.recovery.as_ref();
        let health = recovery.map_or(report.health, |it| it.health(report.health, report.others()));
        let failing = match recovery {
            Some(recovery) if recovery.is_under_way() => String::new(),
            Some(recovery) => joined(&report.reason(), recovery.given_up()),
            None => report.reason(),
        };
        let failing = joined(&failing, self.promote_failed.as_deref());
        let remark = |text: String| (!text.is_empty()).then(|| Remark::from(text));
        let recoveries: Vec<_> =
            recovery.map_or_else(Vec::new, |recovery| recovery.kept().cloned().collect());
        let hook = self.hook.as_ref().filter(|(at, _)| now.boot.since(*at) < HOOK_IS_NEWS);
        let hook = hook.map(|(_, failure)| failure.clone());
        let findings =
            Findings { failing: remark(failing), warning: remark(report.warnings()), recoveries, hook };
        self.tell(health, &findings);
        self.shown.show(health, report, &findings.recoveries);
        self.findings = findings;
        std::mem::replace(&mut self.health, health) != health || begun
    }

    /// The log has each change once, and no try.
    fn tell(&self, health: Health, findings: &Findings) {
        if health != self.health || findings.failing.is_some() != self.findings.failing.is_some() {
            let reason = findings.failing.as_ref().map(Remark::as_str).unwrap_or_default();
            tracing::info!(?health, reason, "health");
        }
        for Recovery { number, begun, ended, .. } in &findings.recoveries {
            let before = self.findings.recoveries.iter().find(|known| known.begun == *begun);
            if before.is_some_and(|known| known.ended == *ended) {
                continue;
            }
            match ended {
                None => {}
                Some(Ended { failed: None, .. }) => tracing::info!(number, "local recovery has helped"),
                Some(Ended { failed: Some(why), .. }) => {
                    tracing::error!(number, reason = why.as_str(), "local recovery has failed");
                }
            }
        }
    }
}

impl Driver {
    /// Tells the checks whose turn it is and the node what they say; whether that is news, so that commands may be waiting.
    pub(super) fn take_health(
        &mut self,
        checks: &Checks,
        report: &mut watch::Receiver<HealthReport>,
    ) -> bool {
        let (now, duty) = (clock::now(), self.node.duty());
        checks.turn(self.mending.turn(duty));
        let may_recover = self.node.may_recover(now);
        let news = self.mending.take(now, &report.borrow_and_update(), duty, may_recover);
        self.node.handle_findings(now, &self.mending.findings);
        if news {
            self.node.handle_health(now, self.mending.health);
            self.tell_status();
        }
        news
    }

    /// Tells of a hook that has failed, before the node acts on it: it may release the lease at once. It was run for this epoch.
    pub(super) fn tell_failure(&mut self, now: Now, direction: Direction, epoch: Epoch, failed: &Failed) {
        let hook = match direction {
            Direction::Promote => Hook::Promote,
            Direction::Demote => Hook::Demote,
            Direction::Recover => Hook::Recover,
        };
        let (how, output) = (failed.why.as_str().into(), failed.output.as_str().into());
        self.mending.handle_failed(now, HookFailure { hook, epoch, at: failed.at, how, output });
        let findings = Findings {
            hook: self.mending.hook.as_ref().map(|(_, failure)| failure.clone()),
            ..self.mending.findings.clone()
        };
        self.node.handle_findings(now, &findings);
    }

    /// Starts the recover hook if one is to run; whether there is news of it. All that the node asked for has been carried out
    /// by then, and what it asked for may be the end of serving.
    pub(super) fn recover_if_due(&mut self, hooks: &mut Hooks) -> bool {
        let Some(what) = self.mending.findings.under_way().map(|recovery| recovery.what.clone()) else {
            return false;
        };
        if !self.mending.is_running() || !hooks.idle() {
            return false;
        }
        let now = clock::now();
        let started = match self.node.serving().filter(|_| self.node.may_recover(now)) {
            Some(epoch) => {
                let (addresses, guarded) = (self.addresses(), self.node.valid_until().is_some());
                hooks.recover(epoch, what.as_str(), addresses, self.watch(guarded))
            }
            None => Err("this node may not recover any more".to_owned()),
        };
        let failed = started.err();
        if let Some(why) = &failed {
            self.mending.handle_ended(now, Some(why));
        }
        failed.is_some()
    }

    /// An agent that ends does not leave a hook behind that nobody limits.
    pub(super) fn abandon_recovery(&mut self, hooks: &mut Hooks) {
        if hooks.abandon_recovery() {
            self.forget_hook_group();
        }
    }

    /// When anything is due.
    pub(super) fn next_deadline(&self) -> Option<BootTime> {
        let recovery = self.mending.recovery.as_ref().and_then(LocalRecovery::next_deadline);
        let hears = self.waits_for_lease().then_some(self.lease_first);
        [self.node.next_deadline(), recovery, self.guard.due, hears].into_iter().flatten().min()
    }
}

fn joined(reason: &str, given_up: Option<&str>) -> String {
    match (reason, given_up) {
        (reason, None) => reason.to_owned(),
        ("", Some(why)) => why.to_owned(),
        (reason, Some(why)) => format!("{reason}; {why}"),
    }
}

/// How long the checks of the service need to judge it anew: the tries that a verdict takes, one more for a machine that is
/// slow, and the end of the last.
fn judging(checks: &[Check]) -> Duration {
    let serving = checks.iter().filter(|check| check.when == When::Serving);
    let each = serving.map(|check| check.interval * (check.rise.max(check.fall) + 1) + check.timeout);
    each.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use baton_protocol::time::WallTime;

    use super::*;

    #[tokio::test]
    async fn a_hook_that_has_failed_is_told_of_for_a_minute() {
        let place = tempfile::tempdir().expect("a directory");
        let text = "[cluster.orders]\n";
        let mut cluster = crate::config::parse("agent.toml", text).expect("valid").clusters.remove(0);
        cluster.directory = place.path().to_owned();
        let mut mending = Mending::new(&cluster);
        let at = |seconds: u64| Now {
            boot: BootTime(0) + Duration::from_secs(seconds),
            wall: WallTime(seconds * 1_000),
        };
        let failure = HookFailure {
            hook: Hook::Demote,
            epoch: Epoch(1),
            at: WallTime(5_000),
            how: "exit code 1".into(),
            output: "no licence".into(),
        };
        mending.handle_failed(at(5), failure.clone());
        let checks = crate::check::start(Vec::new(), &crate::check::Keepers::default());
        let report = checks.report().borrow().clone();
        for (seconds, told) in [(5, true), (64, true), (65, false), (600, false)] {
            mending.take(at(seconds), &report, Duty::StandBy, false);
            assert_eq!(mending.findings.hook, told.then(|| failure.clone()), "{seconds}");
        }
    }
}
