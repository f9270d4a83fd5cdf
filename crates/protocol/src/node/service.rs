//! The service: started once the node may serve, stopped as soon as it may not, never started twice.

use std::time::Duration;

use super::{Command, Exit, HookOutcome, Node, Reason, RunState, Shutdown, Since};
use crate::heartbeat::Health;
use crate::ids::Epoch;
use crate::lease::Lease;
use crate::time::{BootTime, Now};

/// What the service is able to do. Promote and demote alternate because each starts only from its own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Nothing runs.
    Stopped,
    /// The promote hook runs.
    Starting { epoch: Epoch },
    /// The service serves.
    Serving { epoch: Epoch, since: Since },
    /// The demote hook runs.
    Stopping { epoch: Option<Epoch>, then: Then },
}

/// What follows a completed stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: the node stands by, or resumes through W and R.
    Rest,
    /// The oath never to serve this epoch again is written.
    Release,
}

/// After a failed promote the next one waits this long, so that a broken hook does not spin.
const PROMOTE_BACKOFF: Duration = Duration::from_secs(5);

impl Service {
    /// Whether something may be answering clients.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Serving { .. })
    }
}

/// The state a run starts in: the service of an earlier run is adopted if its budget has not ended.
/// The end of its budget is kept in any case: half a service may run until then, and what is published has to say so.
pub(super) fn at_start(earlier: Option<&RunState>, now: Now) -> (Service, Option<BootTime>, Epoch) {
    let Some(earlier) = earlier else { return (Service::Stopped, None, Epoch(0)) };
    let in_time = !earlier.guarded
        || earlier.valid_until.is_some_and(|until| now.boot < until)
        || (mutant!(AdoptExpired) && earlier.valid_until.is_some());
    // Without a moment since when it serves, its promote hook never ended: what it left is half a service.
    let adopted = earlier.serving.zip(earlier.serving_since);
    let service = adopted
        .filter(|(epoch, _)| *epoch > earlier.released && in_time)
        .map_or(Service::Stopped, |(epoch, since)| Service::Serving { epoch, since });
    (service, earlier.valid_until, earlier.released)
}

impl Node {
    pub(super) fn serving_since(&self) -> Option<Since> {
        match self.service {
            Service::Serving { since, .. } => Some(since),
            _ => None,
        }
    }

    /// A boot, or a run that came too late, serves nothing before W and R, and makes sure of it.
    pub(super) fn stop_what_was_not_adopted(&mut self) {
        if self.service == Service::Stopped {
            self.service = Service::Stopping { epoch: None, then: Then::Rest };
            self.commands.push_back(Command::Demote { epoch: None, reason: Reason::Start });
        }
    }

    /// W and R have just confirmed that this node may serve `epoch` until `until`.
    pub(super) fn serve(&mut self, now: Now, epoch: Epoch, until: BootTime, guarded: bool) {
        match self.service {
            Service::Stopped if self.may_start(now, until, guarded) => {
                if guarded && !mutant!(NoDeadMan) {
                    self.arm(epoch, until);
                }
                self.service = Service::Starting { epoch };
                self.persist();
                self.commands.push_back(Command::Promote { epoch, guarded });
            }
            Service::Serving { epoch: served, .. } | Service::Starting { epoch: served }
                if served != epoch && !mutant!(PromoteOnce) =>
            {
                // Deposed and granted anew between two reads: whatever happened meanwhile, the service starts afresh.
                self.stop(Reason::Deposed);
            }
            Service::Serving { .. } | Service::Starting { .. } => {
                match guarded {
                    true if mutant!(NoDeadMan) => {}
                    true => self.arm(epoch, until),
                    false => self.commands.push_back(Command::Disarm),
                }
                self.persist();
            }
            // What is being stopped is not guarded for longer: it is to be down by the end it had.
            Service::Stopped | Service::Stopping { .. } => {}
        }
    }

    fn may_start(&self, now: Now, until: BootTime, guarded: bool) -> bool {
        let in_time = !guarded || now.boot < until || mutant!(LatePromote);
        let cannot = self.promote_failed && now.boot < self.promote_not_before;
        #[cfg(feature = "mutants")]
        if self.in_limbo {
            return false;
        }
        in_time && !cannot && self.shutdown.is_none()
    }

    /// Takes in the end of the promote hook.
    pub fn handle_promoted(&mut self, now: Now, outcome: HookOutcome) {
        let Service::Starting { epoch } = self.service else { return };
        if self.has_ended() {
            return;
        }
        match outcome {
            HookOutcome::Done => {
                (self.promote_failed, self.unproven) = (false, false);
                self.service = Service::Serving { epoch, since: now.wall };
                self.persist();
                // Published at once: operators and the next status see who serves.
                self.next_beat = self.next_beat.min(now.boot);
                // The hook may have taken longer than the budget lasted.
                self.fence_if_expired(now);
                self.leave_or_hand_over(now);
            }
            HookOutcome::Failed => {
                self.promotion_failed(now);
                self.stop(Reason::PromoteFailed);
            }
        }
    }

    fn promotion_failed(&mut self, now: Now) {
        (self.promote_failed, self.unproven) = (true, true);
        self.healthy_from = None;
        self.promote_not_before = now.boot + PROMOTE_BACKOFF;
    }

    /// Takes in the end of the demote hook. The service is down: by the hook, or by force where the hook failed.
    pub fn handle_demoted(&mut self, now: Now, _outcome: HookOutcome) {
        let Service::Stopping { then, .. } = self.service else { return };
        self.service = Service::Stopped;
        self.disarm();
        if let Some(how) = self.usurped.take() {
            return self.exit(Exit::Usurped(how));
        }
        if then == Then::Release {
            self.send_oath();
        }
        // What is next depends on the lease: resume, release, or stand by.
        self.next_beat = now.boot;
        self.leave_or_hand_over(now);
    }

    /// Takes in that the dead-man has stopped the service, or that none stands behind it: nothing may be taken for running.
    pub fn handle_fenced(&mut self, now: Now) {
        if self.has_ended() {
            return;
        }
        self.armed = false;
        if matches!(self.service, Service::Starting { .. }) {
            // A node that cannot be guarded cannot serve. Others must learn of it, or it holds the lease for nothing.
            self.promotion_failed(now);
        }
        if self.service.is_up() {
            self.stop(Reason::SelfFence);
        }
    }

    pub(super) fn fence_if_expired(&mut self, now: Now) {
        let expired = self.valid_until.is_none_or(|until| now.boot >= until);
        if self.service.is_up() && self.guarded && expired {
            #[cfg(feature = "mutants")]
            {
                self.in_limbo = mutant!(Limbo);
            }
            self.stop(Reason::SelfFence);
        }
    }

    /// The service may do without its guard, and the table does not know it yet. The next write says so; until then the guard
    /// stands, and nothing is started that would have to do without.
    pub(super) fn keep_guard(&mut self, now: Now, lease: &Lease, earned: Option<BootTime>) {
        if earned.is_some() {
            self.next_beat = now.boot;
        }
        let mine = lease.holder.as_ref() == Some(&self.me);
        if let (Service::Serving { epoch, .. } | Service::Starting { epoch }, Some(until), true) =
            (self.service, earned, mine)
        {
            self.valid_until = Some(until);
            self.arm(epoch, until);
            self.persist();
        }
    }

    /// The lease is retired: nobody is guarded any more, and whatever serves goes on serving.
    pub(super) fn unguard(&mut self, was_guarded: bool) {
        self.withdraw_everything();
        if was_guarded {
            self.disarm();
        }
    }

    fn arm(&mut self, epoch: Epoch, valid_until: BootTime) {
        self.armed = true;
        self.commands.push_back(Command::Arm { epoch, valid_until });
    }

    pub(super) fn disarm(&mut self) {
        self.armed = false;
        self.commands.push_back(Command::Disarm);
        self.persist();
    }

    /// The lease is registered again and this node still holds it: the service that went on meanwhile is guarded again.
    /// A registration adds one to the epoch; more than that, and others have held the lease in between.
    pub(super) fn guard_again(&mut self, before: Option<&Lease>, epoch: Epoch) {
        let Some(retired) = before.filter(|lease| super::lease_is_retired(lease)) else { return };
        let since_then = retired.holder.as_ref() == Some(&self.me) && epoch <= retired.epoch.next();
        if let Service::Serving { epoch: served, since } = self.service
            && since_then
            && served == retired.epoch
        {
            self.service = Service::Serving { epoch, since };
        }
    }

    /// The table holds an oath that this run did not know of: a service that it covers must not run.
    pub(super) fn stop_what_was_released(&mut self) {
        if let Service::Serving { epoch, .. } | Service::Starting { epoch } = self.service
            && epoch <= self.released
        {
            self.stop(Reason::Deposed);
        }
    }

    /// Sends the oath, which was latched and kept before, unless one is under way: what that leaves undone is done once it
    /// was answered.
    pub(super) fn send_oath(&mut self) {
        if self.oath_open.is_none() {
            self.oath_open = Some(self.released);
            self.commands.push_back(Command::Release { epoch: self.released });
        }
    }

    fn withdraw_everything(&mut self) {
        self.claim = None;
        self.nudge = None;
        self.valid_until = None;
        self.silence.clear();
    }

    pub(super) fn stop(&mut self, reason: Reason) {
        self.stop_then(reason, Then::Rest);
    }

    fn stop_then(&mut self, reason: Reason, then: Then) {
        let epoch = match self.service {
            Service::Starting { epoch } | Service::Serving { epoch, .. } => Some(epoch),
            Service::Stopped | Service::Stopping { .. } => return,
        };
        self.service = Service::Stopping { epoch, then };
        self.persist();
        if mutant!(DisarmEarly) {
            self.disarm();
        }
        if mutant!(ReleaseBeforeDemote) && then == Then::Release {
            self.send_oath();
        }
        self.commands.push_back(Command::Demote { epoch, reason });
    }

    /// Releases the lease if the holder should hand over and somebody could take it. A wish is obeyed only right after
    /// the others were read (`others_read`), so that its target is known to be well at that moment.
    pub(super) fn release_if_wanted(&mut self, now: Now, others_read: bool) {
        let Some(lease) = self.lease.clone() else { return };
        let mine = lease.holder.as_ref() == Some(&self.me) && !super::lease_is_retired(&lease);
        if !mine || lease.epoch <= self.released {
            return;
        }
        if let Some(reason) = self.why_release(now, &lease, others_read) {
            self.release(lease.epoch, reason);
        }
    }

    fn why_release(&self, now: Now, lease: &Lease, others_read: bool) -> Option<Reason> {
        if lease.member(&self.me).is_none() {
            // The cluster was registered without this node: whoever is a member must be able to take over.
            return Some(Reason::Deposed);
        }
        if lease.is_paused(now.wall) && !mutant!(PauseReleases) {
            return None;
        }
        if others_read && self.would_obey(now, lease) {
            return Some(Reason::Intent);
        }
        let bad = self.effective_health() == Health::Bad;
        if !(bad || self.leaving) || !self.another_could(now, lease) {
            return None;
        }
        Some(if bad { Reason::Unhealthy } else { Reason::Leaving })
    }

    /// Whether a wish stands that this node hand over, and its target could take over as far as is known. The wish of an
    /// hour ago must not hand the lease to a node that has died since.
    pub(super) fn would_obey(&self, now: Now, lease: &Lease) -> bool {
        if mutant!(ObeyBlindly) && lease.intent.is_some() {
            return true;
        }
        let asked = lease.live_switchover(now.wall).filter(|_| !lease.is_paused(now.wall));
        asked.is_some_and(|intent| match &intent.to {
            Some(to) => {
                let excluded = lease.is_excluded(to, now.wall);
                *to != self.me && !excluded && self.peers.could_take_over(to, &self.timing, now.boot)
            }
            None => self.another_could(now, lease),
        })
    }

    /// Whether somebody else could take over. To release for one that an operator has excluded would be for nobody.
    fn another_could(&self, now: Now, lease: &Lease) -> bool {
        let excluded = lease.live_exclusion(now.wall).map(|exclusion| &exclusion.node);
        self.peers.anybody_could(&self.me, excluded, &self.timing, now.boot)
    }

    /// The oath is latched in memory, then kept for later runs, then the service stops, and only then is it sent.
    fn release(&mut self, epoch: Epoch, reason: Reason) {
        if self.released < epoch {
            self.released = epoch;
            self.release_confirmed = false;
        }
        match self.service {
            Service::Starting { .. } | Service::Serving { .. } => self.stop_then(reason, Then::Release),
            Service::Stopping { epoch: stopped, .. } => {
                self.service = Service::Stopping { epoch: stopped, then: Then::Release };
                self.persist();
            }
            Service::Stopped => {
                self.persist();
                self.send_oath();
            }
        }
    }

    /// Whether an oath stands that the table may not know: its write was lost, or its answer was.
    pub(super) fn oath_is_to_be_written(&self) -> bool {
        self.service == Service::Stopped && !self.release_confirmed && self.released > Epoch(0)
    }

    /// An agent that shall end hands over or leaves, as soon as nothing is half done.
    pub(super) fn leave_or_hand_over(&mut self, now: Now) {
        let Some(shutdown) = self.shutdown.filter(|_| !self.has_ended()) else { return };
        if matches!(self.service, Service::Stopping { .. } | Service::Starting { .. }) {
            return;
        }
        if shutdown == Shutdown::Stay {
            self.persist();
            return self.exit(Exit::Orderly);
        }
        let held = self
            .lease
            .as_ref()
            .filter(|lease| lease.holder.as_ref() == Some(&self.me) && !super::lease_is_retired(lease));
        let Some(epoch) = held.map(|lease| lease.epoch) else {
            if self.service.is_up() && self.lease.as_deref().is_some_and(super::lease_is_retired) {
                // Retired: the service is not ours to stop, nor its dead-man's, which is told so first.
                if self.armed && self.guarded {
                    return;
                }
                return self.exit(Exit::Orderly);
            }
            if self.service.is_up() {
                return self.stop(Reason::Shutdown);
            }
            return self.exit(Exit::Orderly);
        };
        if epoch > self.released {
            return self.release(epoch, Reason::Shutdown);
        }
        if self.release_confirmed {
            // The wake has been sent with the confirmed oath; the rest is the arbiter's.
            self.nudge_if_due(now);
            self.exit(Exit::Orderly);
        }
    }
}
