//! What must be so in the end: one node serves, everything is at it, and that is recorded.

use baton_protocol::lease::Lease;

use crate::clock::{MS, Real, SECOND, WALL_START_MS};
use crate::event::Event;
use crate::world::Sim;

/// From the end of the last fault until one node serves, the holder.
const SERVED_WITHIN: Real = 40 * SECOND;
/// A grant is taken up so soon.
const TAKEN_UP_WITHIN: Real = 10 * SECOND;
/// A sweep asks EC2 about a holder that has been quiet for a minute, and comes each minute.
const ASKED_WITHIN: Real = 65 * SECOND;
/// From the end of the last fault until every address is there: a sweep comes within a minute.
const MOVED_WITHIN: Real = 100 * SECOND;
/// The same for routes, which a late call may take back until the second look: a minute after the move, and found by a sweep.
const ROUTED_WITHIN: Real = 180 * SECOND;

/// What somebody else has moved is found when the cluster's turn comes, if nothing told of it: every two minutes.
const REPAIRED_WITHIN: Real = 200 * SECOND;

/// Until the move is recorded: what is in place, and may be older than the epoch, counts two minutes after the grant, and is
/// found by the sweep after that.
const RECORDED_WITHIN: Real = 200 * SECOND;

impl Sim<'_> {
    pub(crate) fn verdict(&mut self) {
        let unpaused_at = self.pause_ends_at_holder(&self.lease).max(self.watch.unpaused_at);
        let quiet = self.now.saturating_sub(self.plan.quiet_from.max(unpaused_at).max(self.watch.fenced_at));
        let served = self.is_served();
        // After a holder that nothing guarded and that is gone, silence is no ground: a sweep asks EC2 about it.
        let holder = self.lease.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        let gone = holder.is_some_and(|holder| self.machines[holder].gone);
        // Who has just been granted the lease, or has just stopped, has a while; not time after time.
        let stirred = self.watch.granted_at.max(self.watch.stopped_at);
        let within = if gone { 2 * ASKED_WITHIN } else { SERVED_WITHIN };
        let stirs = quiet < 3 * within && self.now - stirred < TAKEN_UP_WITHIN;
        if quiet >= within
            && !stirs
            && let Err(what) = &served
        {
            return self.broken("L1", what.clone());
        }
        let places = self.places();
        let (there, total) = self.at_holder(&places);
        let addresses = self.addresses_at_holder(&places);
        // A move begins with its grant; not time after time.
        let granted = self.now - self.watch.granted_at;
        let moving = if quiet < 3 * ROUTED_WITHIN { quiet.min(granted) } else { quiet };
        let unasked = gone && quiet < 2 * ASKED_WITHIN;
        let within = if self.watch.drifted { REPAIRED_WITHIN } else { MOVED_WITHIN };
        let late = moving >= within && addresses < self.resources.addresses.len()
            || moving >= within.max(ROUTED_WITHIN) && there < total;
        if late && !unasked {
            return self.broken("L2", format!("{there} of {total} resources are at the holder"));
        }
        let recorded = self.lease.moved == self.lease.epoch;
        let moves =
            quiet < 2 * RECORDED_WITHIN && (granted < RECORDED_WITHIN || self.now - stirred < SERVED_WITHIN);
        if quiet >= RECORDED_WITHIN && !recorded && !moves {
            return self
                .broken("L3", format!("epoch {} holds and {} is moved", self.lease.epoch, self.lease.moved));
        }
        if served.is_ok() && there == total && recorded {
            self.over = true;
        } else {
            self.queue.push(self.now + SECOND, Event::Verdict);
        }
    }

    /// When the last pause ends by the clock of the holder, which alone knows then that it may release the lease. Zero where
    /// there is no pause.
    pub(crate) fn pause_ends_at_holder(&self, lease: &Lease) -> Real {
        let holder = lease.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        let (Some(pause), Some(holder)) = (&lease.paused, holder) else { return 0 };
        let by_its_clock = pause.until.0.saturating_sub(WALL_START_MS);
        by_its_clock.saturating_add_signed(self.machines[holder].wall_ms.saturating_neg()) * MS
    }

    fn is_served(&self) -> Result<(), String> {
        let holder = self.lease.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        let serving: Vec<usize> =
            (0..self.machines.len()).filter(|m| self.machines[*m].serving.is_some()).collect();
        match (holder, serving.as_slice()) {
            (Some(holder), [one])
                if *one == holder && self.machines[holder].serving == Some(self.lease.epoch) =>
            {
                Ok(())
            }
            _ => Err(format!(
                "machine {holder:?} holds epoch {} and machines {serving:?} serve",
                self.lease.epoch
            )),
        }
    }
}
