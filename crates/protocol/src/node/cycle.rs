//! The cycle: W, then R, then a look at the others.
//!
//! One cycle runs at a time, so that "strictly after W's success" is a matter of order and not of timing. A cycle whose
//! write was not confirmed still reads the lease, because a positive read of another holder must stop the service in
//! either mode; but it extends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::service::Service;
use super::startup::Phase;
use super::{Command, Node, Reason};
use crate::heartbeat::{Beat, Claim, Health, Heartbeat, UNGUARDED_MS};
use crate::ids::{Epoch, InstanceArn, Seq};
use crate::lease::{Lease, LeaseState, Mode, SCHEMA};
use crate::outcome::{Failure, Read, Write, WriteFailure};
use crate::time::{BootTime, Now};
use crate::wake::Why;

/// How far the current cycle has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cycle {
    /// None is under way.
    Idle,
    /// The start of the run.
    Starting,
    /// W was sent at this moment, and earns this validity; or it said that nothing guards the service.
    Beating { sent: BootTime, validity: Duration, unguarded: bool },
    /// R is under way, with what W earned if it was confirmed.
    Reading { earned: Option<BootTime>, unguarded: bool },
    /// The others' heartbeats are being read.
    Watching,
}

/// How often a node beats while its claim stands, so that the arbiter sees it alive within two reads of its own.
const CLAIMANT_BEAT: Duration = Duration::from_millis(200);

impl Node {
    pub(super) fn begin_cycle(&mut self, now: Now) {
        if self.phase != Phase::Running {
            self.cycle = Cycle::Starting;
            self.next_beat = now.boot + self.timing.heartbeat();
            self.commands.push_back(Command::ReadOwn);
            return;
        }
        let interval = if self.claim.is_some() { CLAIMANT_BEAT } else { self.timing.heartbeat() };
        self.next_beat = now.boot + self.jittered(interval);
        self.seq = Seq(self.seq.0 + 1);
        let validity = self.validity_to_publish(now.boot);
        let unguarded = self.is_to_say_unguarded();
        self.cycle = Cycle::Beating { sent: now.boot, validity, unguarded };
        let serving = self.serving();
        let healthy_since = self.healthy_since(now);
        let beat = Beat {
            incarnation: self.incarnation.clone(),
            seq: self.seq,
            health: self.effective_health(),
            healthy_since,
            claim: self.claim.clone(),
            serving_epoch: serving,
            serving_since: self.serving_since(),
            ahead: self.ahead,
            findings: self.findings.clone(),
            validity_ms: if unguarded { UNGUARDED_MS } else { milliseconds(validity) },
            seen: self.seen.clone(),
            beat_at: now.wall,
        };
        if mutant!(ReadBeforeWrite) {
            self.commands.push_back(Command::ReadLease);
        }
        self.commands.push_back(Command::Beat(Box::new(beat)));
        if self.oath_is_to_be_written() {
            self.send_oath();
        }
    }

    /// The validity that the next write publishes, which is what it earns. Never less than what is left of the budget that
    /// runs: this write may be applied while its answer is lost, and then standbys time silence by it, while this node
    /// still serves on what an earlier one earned.
    pub(super) fn validity_to_publish(&self, now: BootTime) -> Duration {
        let left = self.valid_until.filter(|_| !mutant!(ShrinkingValidity));
        let left = left.map_or(Duration::ZERO, |until| until.since(now));
        // In whole milliseconds, rounded up, so that what is published is never less than what is meant.
        let left = Duration::from_millis(milliseconds(left + Duration::from_nanos(999_999)));
        self.timing.validity().max(left)
    }

    /// Whether the next write has to say that nothing would stop the service if this agent died: that is so, or is about to
    /// be. It is said *before* it is so. Otherwise the agent could die in between, and if the cluster then became a strict
    /// one its silence would be taken for the end of its service (ADR 0012).
    pub(super) fn is_to_say_unguarded(&self) -> bool {
        let about_to_be = self.lease.as_ref().is_some_and(|lease| !asks_for_a_guard(lease));
        let not_yet = self.service != Service::Stopped && !self.armed;
        if mutant!(StrictServesOn) {
            return false;
        }
        if mutant!(UnguardedUntold) {
            return false;
        }
        !self.guarded || about_to_be || not_yet
    }

    /// Takes in the answer to W.
    pub fn handle_beat(&mut self, now: Now, outcome: Write<Option<Heartbeat>>) {
        let Cycle::Beating { sent, validity, unguarded } = self.cycle else { return };
        if self.has_ended() {
            return;
        }
        let earned = match outcome {
            Ok(()) => {
                if self.claim.is_some() {
                    self.nudge(now, Why::Claim);
                }
                let from = if mutant!(ValidityFromReply) { now.boot } else { sent };
                Some(from + validity)
            }
            Err(WriteFailure::Failed(Failure::Conflict)) if mutant!(ConflictIsRefusal) => {
                self.handle_refused_beat(None);
                None
            }
            Err(WriteFailure::Failed(Failure::Unknown(_))) if mutant!(ExtendOnUnknown) => {
                Some(sent + validity)
            }
            Err(WriteFailure::Refused(found)) => {
                self.handle_refused_beat(found);
                None
            }
            Err(WriteFailure::Failed(_)) => None,
        };
        if !self.has_ended() {
            self.cycle = Cycle::Reading { earned, unguarded: unguarded && earned.is_some() };
            // What is read along with the lease may be as old as this question.
            self.peers.ask(now.boot);
            #[cfg(feature = "mutants")]
            if let Some(found) = self.read_before_write.take() {
                return self.handle_shared_lease(now, found);
            }
            self.commands.push_back(Command::ReadLease);
        }
    }

    /// Takes in the answer to R.
    pub fn handle_lease(&mut self, now: Now, found: Read<Option<Lease>>) {
        self.handle_shared_lease(now, found.map(|lease| lease.map(Arc::new)));
    }

    /// The same, of a lease that others are looking at as well.
    pub fn handle_shared_lease(&mut self, now: Now, found: Read<Option<Arc<Lease>>>) {
        #[cfg(feature = "mutants")]
        if mutant!(ReadBeforeWrite) && matches!(self.cycle, Cycle::Beating { .. }) {
            self.read_before_write = Some(found);
            return;
        }
        let Cycle::Reading { earned, unguarded } = self.cycle else { return };
        if self.has_ended() {
            return;
        }
        // A lease that is missing, unreadable or of a newer schema is unknown, and unknown is never a loss.
        let lease =
            found.ok().flatten().filter(|lease| lease.schema <= SCHEMA && lease.cluster == self.cluster);
        let Some(lease) = lease else { return self.end_cycle(now) };
        if self.goes_back(lease.epoch) {
            return self.end_cycle(now);
        }
        self.timing = lease.timing;
        let earned = earned
            .map(|until| if mutant!(ValidityFromLease) { now.boot + self.timing.validity() } else { until });
        // A budget that ended meanwhile has ended, though a new one may be earned: the dead-man has stopped the service.
        self.fence_if_expired(now);
        let was_guarded = self.guarded;
        // A guard is taken away only once the table knows that there is none.
        self.guarded = asks_for_a_guard(&lease) || (was_guarded && !unguarded && !mutant!(UnguardedUntold));
        if mutant!(AvailableFences) {
            self.guarded = lease.state == LeaseState::Active;
        }
        if mutant!(StrictServesOn) {
            self.guarded = false;
        }
        let before = self.lease.replace(Arc::clone(&lease));
        self.drop_stale_claim(&lease, before.as_deref());
        if lease.holder.as_ref() == Some(&self.me) {
            self.guard_again(before.as_deref(), lease.epoch);
        }
        match lease.state {
            LeaseState::Retired if mutant!(RetiredFences) => self.stop(Reason::Deposed),
            LeaseState::Retired if self.guarded => self.keep_guard(now, &lease, earned),
            LeaseState::Retired => {
                self.unguard(was_guarded);
                self.leave_or_hand_over(now);
            }
            LeaseState::Active if lease.holder.as_ref() == Some(&self.me) => {
                if was_guarded && !self.guarded {
                    // Said at once, for the dead-man would stop what the lease lets serve on.
                    self.disarm();
                }
                self.hold(now, &lease, earned);
            }
            LeaseState::Active => self.stand_by(now, &lease),
        }
        // A service that is to be guarded from here on, and has earned no budget, must not run.
        self.fence_if_expired(now);
        if !self.exited {
            self.watch_others(now, &lease);
        }
    }

    /// Whether an answer shows less than an earlier one. It is none: strong reads cannot go back, so the table is another one, as
    /// it was at an earlier moment. Nothing is earned by it, and the next W tells. What is read is kept before it is acted on.
    fn goes_back(&mut self, shown: Epoch) -> bool {
        if shown < self.known {
            self.ahead = Some(self.known);
            return true;
        }
        if shown > self.known {
            self.known = shown;
            self.persist();
        }
        false
    }

    /// Takes in the others' heartbeats.
    pub fn handle_heartbeats(&mut self, now: Now, found: Read<BTreeMap<InstanceArn, Heartbeat>>) {
        if self.cycle != Cycle::Watching || self.has_ended() {
            return;
        }
        if let (Ok(found), Some(lease)) = (found, self.lease.clone()) {
            match &lease.holder {
                Some(holder) if *holder == self.me => {
                    self.peers.observe(&found, &lease.timing, now.boot);
                    self.release_if_wanted(now, true);
                }
                Some(holder) => {
                    if let Some(heartbeat) = found.get(holder) {
                        self.watch_holder(now, &lease, heartbeat);
                    }
                }
                None => {}
            }
        }
        self.end_cycle(now);
    }

    pub(super) fn end_cycle(&mut self, now: Now) {
        self.end_cycle_now();
        // A cycle that took longer than its interval is followed at once by the next.
        self.next_beat = self.next_beat.max(now.boot);
    }

    pub(super) fn end_cycle_now(&mut self) {
        self.cycle = Cycle::Idle;
    }

    /// Whose heartbeats this node asks for next, if the lease says what it said last. A driver may read them along with the lease, in
    /// one call, and answer [`Command::ReadHeartbeats`] with what it has found, if that asks for no others and comes of that very
    /// answer. Each must be as it was at some moment of that call; which of them was read first does not matter: silence is counted
    /// from the answer, and a grant compares what it was counted of with what then stands in the table; whether a node is alive is
    /// counted from when the lease was asked for.
    pub fn neighbours(&self) -> Vec<InstanceArn> {
        let running = self.phase == Phase::Running;
        self.lease.as_ref().filter(|_| running).map(|lease| self.others(lease)).unwrap_or_default()
    }

    /// The others' heartbeats were not read along with the lease, and are asked for by themselves at this moment: what comes is no older.
    /// A driver that does not say so is believed to have read them along.
    pub fn asks_apart(&mut self, now: Now) {
        if self.cycle == Cycle::Watching {
            self.peers.ask(now.boot);
        }
    }

    /// Of a lease, those whom this node watches: a holder watches all the others, and everybody else the holder.
    fn others(&self, lease: &Lease) -> Vec<InstanceArn> {
        if lease.state == LeaseState::Retired {
            return Vec::new();
        }
        match &lease.holder {
            Some(holder) if *holder == self.me => {
                let members = lease.members.iter().map(|member| &member.instance);
                members.filter(|instance| **instance != self.me).cloned().collect()
            }
            Some(holder) => vec![holder.clone()],
            None => Vec::new(),
        }
    }

    fn watch_others(&mut self, now: Now, lease: &Lease) {
        let holding = lease.holder.as_ref() == Some(&self.me);
        let others = self.others(lease);
        if !holding {
            self.peers = crate::peers::PeerWatch::default();
        }
        if holding || lease.holder.is_none() {
            self.silence.clear();
        }
        if others.is_empty() {
            return self.end_cycle(now);
        }
        self.cycle = Cycle::Watching;
        self.commands.push_back(Command::ReadHeartbeats(others));
    }

    /// R named this node. Only what W earned counts; without it nothing is extended and nothing starts.
    fn hold(&mut self, now: Now, lease: &Lease, earned: Option<BootTime>) {
        if lease.epoch <= self.released {
            if self.release_confirmed {
                self.nudge(now, Why::Release);
            }
            return;
        }
        self.nudge = None;
        self.release_if_wanted(now, false);
        if lease.epoch <= self.released {
            return;
        }
        let resumed = (mutant!(ResumeOnRead) && self.service == Service::Stopped)
            .then(|| now.boot + self.timing.validity());
        let Some(until) = earned.or(resumed) else { return };
        self.valid_until = Some(until);
        if self.guarded && !asks_for_a_guard(lease) {
            return self.keep_guard(now, lease, earned);
        }
        if self.service == Service::Stopped && self.would_obey(now, lease) {
            // Not started only to be handed over: the others are read next.
            return;
        }
        self.serve(now, lease.epoch, until, self.guarded);
    }

    /// R named another node, or nobody.
    fn stand_by(&mut self, now: Now, lease: &Lease) {
        self.valid_until = None;
        if self.service.is_up() && !mutant!(DeposedServesOn) {
            self.stop(Reason::Deposed);
        }
        self.promote_failed = false;
        // There may be room for a node that is no member. Whether it is one, EC2 is asked.
        let may_join = lease.has_room() && lease.member(&self.me).is_none();
        if may_join && self.nudge.is_none_or(|nudge| nudge.why != Why::Release) {
            self.nudge(now, Why::Hello);
        } else if lease.holder.is_none() {
            self.nudge(now, Why::Vacant);
        } else if self.claim.is_none() && self.nudge.is_some_and(|nudge| nudge.why != Why::Release) {
            self.nudge = None;
        }
        self.leave_or_hand_over(now);
    }

    /// A good read of the holder's heartbeat by a standby.
    fn watch_holder(&mut self, now: Now, lease: &Lease, holder: &Heartbeat) {
        let sign = (&holder.incarnation, holder.seq);
        if self.claim.as_ref().is_some_and(|claim| (&claim.incarnation, claim.seq) != sign) {
            self.withdraw_claim();
        }
        if holder.released >= lease.epoch {
            // The holder may have died after its oath and before its wake.
            return self.nudge(now, Why::Release);
        }
        if self.nudge.is_some_and(|nudge| nudge.why == Why::Release) {
            self.nudge = None;
        }
        // S follows what the holder published, not what the lease says today: the holder serves by what it published.
        let required = lease.silence_for(holder);
        let silence = self.silence.observe(lease.epoch, holder, &lease.timing, required, now.boot);
        let able = self.effective_health() == Health::Ok
            && lease.member(&self.me).is_some()
            && !lease.is_excluded(&self.me, now.wall);
        if !able {
            return self.withdraw_claim();
        }
        if let Some(claim) = &mut self.claim {
            // Where many clusters suspect at once, the arbiter waits for this.
            let twice = milliseconds(silence.required.saturating_mul(2));
            if claim.silent_ms < twice && milliseconds(silence.lasted) >= twice {
                claim.silent_ms = milliseconds(silence.lasted);
                self.nudge = None;
                self.next_beat = now.boot;
            }
            return;
        }
        if silence.is_enough() && !lease.is_paused(now.wall) {
            self.claim = Some(Claim {
                epoch: lease.epoch,
                holder: holder.instance.clone(),
                incarnation: holder.incarnation.clone(),
                seq: holder.seq,
                silent_ms: milliseconds(silence.lasted),
                at: now.wall,
            });
            self.next_beat = now.boot;
        }
    }

    /// A claim is about one epoch, and was measured by one configuration.
    fn drop_stale_claim(&mut self, lease: &Lease, before: Option<&Lease>) {
        let same = before.is_none_or(|before| before.revision == lease.revision);
        let stands = |claim: &Claim| {
            same && claim.epoch == lease.epoch && lease.holder.as_ref() == Some(&claim.holder)
        };
        if self.claim.as_ref().is_some_and(|claim| !stands(claim)) {
            self.withdraw_claim();
        }
    }

    fn withdraw_claim(&mut self) {
        if self.claim.take().is_some() {
            self.nudge = None;
        }
    }
}

/// Whether the end of validity has to stop the service.
fn asks_for_a_guard(lease: &Lease) -> bool {
    lease.mode == Mode::Strict && lease.state == LeaseState::Active
}

/// In milliseconds, as durations are published.
pub(super) fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
