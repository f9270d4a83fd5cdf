//! What the onlooker sees of nodes: who serves, by what right, and what each says and swears.

use baton_protocol::heartbeat::{Beat, Health};
use baton_protocol::ids::Epoch;
use baton_protocol::lease::{Lease, LeaseState, Mode};
use baton_protocol::node::{Command, Exit, Reason};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::time::WallTime;
use baton_store::Store;

use super::AFTERMATH;
use crate::clock::{Real, SECOND};
use crate::event::Answer;
use crate::fault::Kind;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

impl Sim<'_> {
    // --- serving ---

    pub(crate) fn start_serving(&mut self, machine: usize, epoch: Epoch) {
        self.machines[machine].serving = Some(epoch);
        self.say(machine, || format!("serves epoch {epoch}"));
        self.one_server(machine, epoch);
        if epoch <= self.watch.ghosts[machine].sworn || epoch <= self.released_in_table(machine) {
            self.broken("I5", format!("n{machine} serves epoch {epoch}, which it has sworn off"));
        }
    }

    /// After a registration a holder goes on with the service it has, at the epoch of the registration. Nothing else lets a
    /// service change its epoch without a promote.
    pub(crate) fn goes_on_serving(&mut self, machine: usize) {
        let m = &self.machines[machine];
        let believed = m.agent.as_ref().and_then(|node| node.serving());
        let (Some(epoch), Some(serving)) = (believed, m.serving) else { return };
        // What is kept may be older than what is so, where the disk was full.
        if epoch == serving || self.machines[machine].keeps_what_was {
            return;
        }
        let registered = epoch.max(serving);
        if registered.0 - epoch.min(serving).0 != 1 || !self.watch.registered.contains(&registered) {
            self.broken("I6", format!("n{machine} serves epoch {epoch} by the promote of epoch {serving}"));
        }
        let m = &mut self.machines[machine];
        (m.serving, m.addressed) = (Some(epoch), m.addressed.map(|_| epoch));
        self.one_server(machine, epoch);
    }

    /// A machine goes on after a suspension; what it still serves then, clients get.
    pub(crate) fn resumes(&mut self, machine: usize) {
        // It may have lost its power meanwhile, and been suspended anew.
        if self.machines[machine].stands_until > self.now {
            return;
        }
        self.machines[machine].suspended = false;
        if let Some(epoch) = self.machines[machine].serving {
            self.one_server(machine, epoch);
        }
    }

    pub(crate) fn stop_serving(&mut self, machine: usize, why: &str) {
        let Some(epoch) = self.machines[machine].serving.take() else { return };
        self.watch.ghosts[machine].fenced_at = Some(epoch);
        self.watch.stopped_at = self.now;
        self.say(machine, || format!("serves no more: {why}"));
    }

    /// I1. Two epochs overlap wrongly only if each grant from the older to the newer was made in strict mode.
    fn one_server(&mut self, machine: usize, epoch: Epoch) {
        for other in 0..self.machines.len() {
            let Some(older) = self.machines[other].serves().filter(|_| other != machine) else { continue };
            let (from, to) = (older.min(epoch), older.max(epoch));
            if self.watch.is_strict(from, to) {
                self.broken(
                    "I1",
                    format!("n{machine} serves epoch {epoch} while n{other} serves epoch {older}"),
                );
            } else {
                self.see(Sometimes::AvailableOverlap);
            }
        }
    }

    pub(crate) fn has_sworn_before(&self, machine: usize, moment: Real) -> bool {
        let sworn = self.watch.ghosts[machine].released_at;
        sworn > 0 && sworn < moment && self.released_in_table(machine) >= self.lease.epoch
    }

    pub(super) fn released_in_table(&self, machine: usize) -> Epoch {
        let arn = self.machines[machine].arn();
        let found = ready(self.store.heartbeat(&self.cluster, arn)).ok().flatten();
        found.map_or(Epoch(0), |heartbeat| heartbeat.released)
    }

    // --- nodes ---

    /// A command to the table leaves its node.
    pub(crate) fn watch_call(&mut self, machine: usize, command: &Command) {
        match command {
            Command::Beat(beat) => {
                let (seq, validity_ms, health) = (beat.seq, beat.validity_ms, beat.health);
                self.say(machine, || format!("beats {seq}, {health:?}, for {validity_ms} ms"));
                let now = self.now;
                let ghost = &mut self.watch.ghosts[machine];
                ghost.confirmed = false;
                ghost.note_health(now, seq.0, health);
                let claims = beat.claim.as_ref().map(|claim| claim.epoch);
                let withdrawn = ghost.claims.filter(|_| claims.is_none());
                ghost.claims = claims;
                if withdrawn == Some(self.lease.epoch) {
                    self.see(Sometimes::ClaimWithdrawn);
                }
                let says = beat.serving_epoch.is_some();
                if says
                    && self.machines[machine].serving.is_none()
                    && self.machines[machine].is_settled(self.now)
                {
                    self.broken("I4", format!("n{machine} says that it serves and does not"));
                }
                if let Some(claim) = &beat.claim {
                    let seq = claim.seq;
                    self.say(machine, || format!("claims the silence of number {seq}"));
                }
            }
            Command::Announce { .. } => self.watch.ghosts[machine].unwell_at = self.now,
            Command::Release { epoch } => {
                let again =
                    self.watch.ghosts[machine].sworn == *epoch && self.machines[machine].serving.is_none();
                if again && self.watch.ghosts[machine].fenced_at == Some(*epoch) {
                    self.see(Sometimes::OathRepeated);
                }
                if let Some(serving) = self.machines[machine].serving {
                    self.broken(
                        "I5",
                        format!("n{machine} swears off epoch {epoch} while it serves epoch {serving}"),
                    );
                }
            }
            _ => {}
        }
    }

    pub(crate) fn watch_answer(&mut self, machine: usize, answer: &Answer) {
        if let Answer::Beat(Err(WriteFailure::Refused(found)))
        | Answer::Released(Err(WriteFailure::Refused(found))) = answer
        {
            let run = self.machines[machine].run;
            let own = found.as_ref().is_some_and(|found| run_of(found.incarnation.as_str()) == run);
            self.watch.ghosts[machine].item_lost |= !own;
        }
        match answer {
            Answer::Beat(outcome) => self.watch.ghosts[machine].confirmed = outcome.is_ok(),
            Answer::Lease(Ok(Some(lease))) => {
                let mine = lease.holder.as_ref() == Some(self.machines[machine].arn());
                let ghost = &mut self.watch.ghosts[machine];
                ghost.entitled = (mine && ghost.confirmed).then_some(lease.epoch);
            }
            Answer::Heartbeats(Ok(_)) => {
                let now = self.now;
                let reads = &mut self.watch.ghosts[machine].good_reads;
                if reads.len() == 16 {
                    reads.remove(0);
                }
                reads.push(now);
            }
            Answer::Heartbeats(Err(Failure::Unknown(_))) => self.see(Sometimes::SilenceRestarted),
            _ => {}
        }
    }

    /// The number in a node's item has changed. Without a heartbeat it was the start of a run.
    pub(crate) fn watch_seq(&mut self, machine: usize, beat: Option<&Beat>, published_ms: u64) {
        let arn = self.machines[machine].arn().clone();
        let Ok(Some(found)) = ready(self.store.heartbeat(&self.cluster, &arn)) else { return };
        let now = self.now;
        let ghost = &mut self.watch.ghosts[machine];
        let went_back = found.seq.0 <= ghost.seq;
        if now - ghost.seq_at > 2 * SECOND || beat.is_none() {
            ghost.beats_since = now;
        }
        match (found.health == Health::Ok, ghost.ok_since) {
            (true, None) => ghost.ok_since = Some(now),
            (false, _) => ghost.ok_since = None,
            _ => {}
        }
        (ghost.seq, ghost.seq_at, ghost.published_ms) = (found.seq.0, now, published_ms);
        if went_back {
            self.broken("I10", format!("the number of n{machine} went back to {}", found.seq));
        }
        let run = run_of(found.incarnation.as_str());
        let ghost = &mut self.watch.ghosts[machine];
        let older = run < ghost.run || beat.is_some_and(|beat| run_of(beat.incarnation.as_str()) < ghost.run);
        ghost.run = ghost.run.max(run);
        if older {
            self.broken("I10", format!("an older run of n{machine} has written its heartbeat"));
        }
    }

    pub(crate) fn watch_released(&mut self, machine: usize, epoch: Epoch, run: u32) {
        if let Some(serving) = self.machines[machine].serving.filter(|serving| *serving <= epoch) {
            let what = format!("an oath of epoch {epoch} is written while n{machine} serves epoch {serving}");
            self.broken("I5", what);
        }
        let ghost = &mut self.watch.ghosts[machine];
        if ghost.released < epoch {
            (ghost.released, ghost.released_at) = (epoch, self.now);
        }
        if run < self.watch.ghosts[machine].run {
            self.broken("I10", format!("an older run of n{machine} has sworn"));
        }
    }

    pub(crate) fn watch_promote(&mut self, machine: usize, epoch: Epoch, guarded: bool) {
        let ghost = &mut self.watch.ghosts[machine];
        let (twice, entitled) = (ghost.promoted, ghost.entitled);
        ghost.promoted = true;
        if ghost.fenced_at == Some(epoch) {
            self.see(Sometimes::ResumeAfterFence);
        }
        if twice {
            self.broken("I6", format!("n{machine} promotes twice without a demote"));
        }
        if entitled != Some(epoch) {
            self.broken(
                "I4",
                format!("n{machine} promotes epoch {epoch} without W and R, which allow {entitled:?}"),
            );
        }
        if self.watch.granted.get(&epoch) != Some(self.machines[machine].arn()) {
            self.broken("I6", format!("n{machine} promotes epoch {epoch}, which was not granted to it"));
        }
        if guarded && self.machines[machine].dead_man.is_none() && !baton_protocol::mutant!(NoDeadMan) {
            self.broken("I1", format!("n{machine} starts a service that no dead-man guards"));
        }
    }

    pub(crate) fn watch_demote(&mut self, machine: usize, epoch: Option<Epoch>, reason: Reason) {
        self.watch.ghosts[machine].promoted = false;
        let wall = self.local(machine).wall;
        let Some(lease) = self.machines[machine].agent.as_ref().and_then(|node| node.lease()).cloned() else {
            return;
        };
        let retired = lease.state == LeaseState::Retired;
        let guarded = reason == Reason::SelfFence && self.has_changed_lately();
        let other = matches!(reason, Reason::Usurped | Reason::Shutdown | Reason::PromoteFailed);
        if retired && epoch.is_some() && !guarded && !other {
            self.broken("I15", format!("n{machine} stops a retired service: {}", reason.as_str()));
        }
        match reason {
            Reason::Intent | Reason::Unhealthy | Reason::Leaving | Reason::Shutdown
                if !self.machines[machine].is_struck(Kind::DiskFull) =>
            {
                self.watch.ghosts[machine].sworn = lease.epoch;
            }
            Reason::SelfFence if lease.mode == Mode::Available && !retired && !self.has_changed_lately() => {
                self.broken("I8", format!("n{machine} fences itself in available mode"));
            }
            _ => {}
        }
        match reason {
            Reason::Intent => self.intent_is_obeyed(machine, &lease, wall),
            Reason::Unhealthy | Reason::Leaving if lease.is_paused(wall) => {
                self.broken("I14", format!("n{machine} releases for its health during a pause"));
            }
            _ => {}
        }
    }

    /// Whether mode or registration have changed so lately that a guard may still stand.
    fn has_changed_lately(&self) -> bool {
        let changed = self.watch.last_registered.max(self.watch.mode_changed);
        changed > 0 && self.now - changed < AFTERMATH
    }

    /// I16.
    fn intent_is_obeyed(&mut self, machine: usize, lease: &Lease, wall: WallTime) {
        self.see(Sometimes::IntentObeyed);
        let Some(intent) = lease.live_intent(wall) else {
            return self.broken("I16", format!("n{machine} obeys an intent that is not about now"));
        };
        // A change between two reads may have come right after the first, and counts for as long again.
        let lately = 2 * lease.timing.longest_read_gap() + lease.timing.heartbeat();
        let lately = u64::try_from(lately.as_nanos()).unwrap_or(u64::MAX) + 2 * SECOND;
        let beats = |other: usize| {
            other != machine && self.now.saturating_sub(self.watch.ghosts[other].seq_at) <= lately
        };
        let alive = match intent.to.as_ref().and_then(|to| self.by_arn.get(to)) {
            Some(target) => beats(*target),
            None => (0..self.machines.len()).any(beats),
        };
        if !alive {
            self.broken("I16", format!("n{machine} obeys an intent whose target does not beat"));
        }
    }

    pub(crate) fn watch_exit(&mut self, machine: usize, exit: &Exit) {
        if !matches!(exit, Exit::Usurped(_)) {
            return;
        }
        // What counts is what the table has shown it: a late announcement of this very run may have come since.
        if !self.watch.ghosts[machine].item_lost {
            self.broken(
                "L7",
                format!("the agent of n{machine} ends as usurped, and was shown no item but its own"),
            );
        }
        if self.machines[machine].serving.is_some() {
            self.broken("L7", format!("the agent of n{machine} ends and its service serves on"));
        }
    }
}

/// Runs are numbered in their names.
fn run_of(incarnation: &str) -> u32 {
    incarnation.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
