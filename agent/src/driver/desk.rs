//! What a driver answers when it is asked for the status of its cluster: what it knows at that moment, and nothing that it
//! would have to wait for.

use std::time::Duration;

use baton_protocol::findings::Recovery;
use baton_protocol::heartbeat::Health;
use baton_protocol::lease::{Lease, LeaseState, Mode};
use baton_protocol::node::{Command, Duty};
use baton_protocol::time::{BootTime, Now};

use super::hooks::{Hooks, Stage};
use super::table::Answer;
use super::troubles::{About, Troubles};
use super::{Driver, HealthReport, Parts};
use crate::clock;
use crate::config::Vip;
use crate::hook::Direction;
use crate::status::{Beats, ClusterStatus, DeadManStatus, RunningHook, SeenLease, State, VipStatus};
use crate::vip::led_nowhere;

/// What is kept for the answer, beside what the driver knows anyway.
#[derive(Debug, Default)]
pub(super) struct Desk {
    confirmed: Option<BootTime>,
    sent: Option<BootTime>,
    counted: Beats,
    /// The slowest of the minute before this one, and when this one began.
    minute: (Duration, Duration, BootTime),
    hook: Option<(Stage, BootTime)>,
    pub(super) troubles: Troubles,
}

impl Desk {
    /// Takes note of a call that is made.
    pub(super) fn see_call(&mut self, call: &Command) {
        if matches!(call, Command::Beat(_)) {
            self.sent = Some(clock::boot());
        }
    }

    fn count(&mut self, now: BootTime, is_confirmed: bool) {
        if !is_confirmed {
            self.counted.unconfirmed += 1;
            return;
        }
        self.counted.confirmed += 1;
        let took = self.sent.map(|sent| now.since(sent)).unwrap_or_default();
        let (before, slowest, began) = self.minute;
        self.minute = match now.since(began) < Duration::from_secs(60) {
            true => (before, slowest.max(took), began),
            false => (slowest, took, now),
        };
    }

    fn beats(&self) -> Beats {
        let (before, slowest, _) = self.minute;
        Beats { slowest_ms: millis(before.max(slowest)), ..self.counted.clone() }
    }

    /// Takes note of an answer before the driver acts on it.
    pub(super) fn see(&mut self, now: Now, answer: &Answer) {
        let troubles = &mut self.troubles;
        match answer {
            Answer::Beat(outcome) => {
                if outcome.is_ok() {
                    self.confirmed = Some(now.boot);
                }
                self.count(now.boot, outcome.is_ok());
                self.troubles.take_write(About::Heartbeat, now.wall, outcome);
            }
            Answer::Announced(outcome) => troubles.take_write(About::Heartbeat, now.wall, outcome),
            Answer::Own(found) => troubles.take_read(About::Heartbeat, now.wall, found),
            Answer::Lease(Ok(None), _) => {
                let found = "the table has no such cluster; see that its stack was deployed under this name";
                troubles.take(About::Lease, now.wall, &Err(found));
            }
            Answer::Lease(found, _) => troubles.take_read(About::Lease, now.wall, found),
            Answer::Woken(outcome) => troubles.take(About::Wake, now.wall, outcome),
            Answer::Unseen(reason) => troubles.take(About::Metadata, now.wall, &Err(reason)),
            Answer::Seen(_) => troubles.take(About::Metadata, now.wall, &Ok::<(), String>(())),
            Answer::Heartbeats(_) | Answer::Released(_) | Answer::Leaving(_) | Answer::Told => {}
        }
    }

    /// Takes note of which hook runs.
    pub(super) fn see_hook(&mut self, stage: Option<Stage>) {
        if self.hook.map(|(stage, _)| stage) != stage {
            self.hook = stage.map(|stage| (stage, clock::boot()));
        }
    }

    /// Takes note of how something went.
    pub(super) fn note<E: ToString>(&mut self, about: About, outcome: &Result<(), E>) {
        self.troubles.take(about, clock::wall(), outcome);
    }
}

impl Driver {
    /// The status of this cluster at this moment.
    pub(super) fn status<S, W>(
        &mut self,
        parts: &Parts<S, W>,
        hooks: &Hooks,
        report: &HealthReport,
        is_policy_old: bool,
    ) -> ClusterStatus {
        let now = clock::now();
        self.desk.see_hook(hooks.stage());
        let policy = if is_policy_old { Err("some of what heartbeats say is denied") } else { Ok(()) };
        self.desk.troubles.take(About::Policy, now.wall, &policy);
        let vip = parts.cluster.vip.as_ref().map(|vip| self.vip_status(now, vip));
        let lease = self.node.lease();
        let left = |until: BootTime| millis(until.since(now.boot));
        ClusterStatus {
            cluster: parts.cluster.name.to_string(),
            state: self.state_word(hooks),
            lease: lease.map(|lease| seen(lease, parts)),
            serving_epoch: self.node.serving(),
            validity_left_ms: self.node.valid_until().map(left),
            confirmed_ms_ago: self.desk.confirmed.map(|at| millis(now.boot.since(at))),
            beats: self.desk.beats(),
            health: self.health(),
            leaving: self.leaving.clone(),
            hook: self.desk.hook.map(|(stage, begun)| RunningHook {
                hook: stage_word(stage).to_owned(),
                for_ms: millis(now.boot.since(begun)),
            }),
            dead_man: self.dead_man.as_ref().map(|dead_man| DeadManStatus {
                armed: dead_man.armed().is_some(),
                fires_in_ms: dead_man.armed().map(|(_, until)| left(until)),
            }),
            vip,
            checks: report.checks.clone(),
            recoveries: self.recoveries(),
            troubles: self.desk.troubles.shown(),
        }
    }

    fn vip_status(&mut self, now: Now, vip: &Vip) -> VipStatus {
        let nowhere = self.node.lease().map(|lease| led_nowhere(vip, &lease.resources)).unwrap_or_default();
        let told: Vec<String> = nowhere.iter().map(ToString::to_string).collect();
        let outcome = match told.is_empty() {
            true => Ok(()),
            false => Err(format!("no route of the cluster leads to {}", told.join(", "))),
        };
        self.desk.troubles.take(About::Vip, now.wall, &outcome);
        VipStatus {
            interface: vip.interface.clone(),
            addresses: vip.addresses.iter().map(ToString::to_string).collect(),
            led_nowhere: told,
        }
    }

    fn state_word(&self, hooks: &Hooks) -> State {
        match (self.node.duty(), hooks.stage()) {
            (Duty::Serve, _) => State::Serving,
            (Duty::Start, _) => State::Starting,
            (Duty::StandBy, Some(Stage::Hook { direction: Direction::Demote, .. })) => State::Stopping,
            (Duty::StandBy, _) if self.node.lease().is_none() => State::Waiting,
            (Duty::StandBy, _) => State::Standby,
        }
    }

    fn health(&self) -> Health {
        self.node.published_health()
    }

    fn recoveries(&self) -> Vec<Recovery> {
        self.mending.recoveries().to_vec()
    }
}

fn seen<S, W>(lease: &Lease, parts: &Parts<S, W>) -> SeenLease {
    SeenLease {
        epoch: lease.epoch,
        holder: lease.holder.as_ref().map(|holder| lease.name_of(holder)),
        mine: lease.holder.as_ref() == Some(&parts.instance),
        member: lease.member(&parts.instance).is_some(),
        mode: match lease.mode {
            Mode::Strict => "strict",
            Mode::Available => "available",
        }
        .to_owned(),
        retired: lease.state == LeaseState::Retired,
        paused_until: lease.paused.as_ref().map(|pause| pause.until),
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Raise { .. } => "vip",
        Stage::Hook { direction: Direction::Promote, .. } => "promote",
        Stage::Hook { direction: Direction::Demote, .. } => "demote",
        Stage::Hook { direction: Direction::Recover, .. } => "recover",
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
