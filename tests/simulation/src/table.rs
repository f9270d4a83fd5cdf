//! A node's calls to the table: how long they take, what becomes of them, and what the table makes of them.

use std::sync::Arc;

use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::Lease;
use baton_protocol::node::{Command, Node};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_store::{Start, Store};

use crate::clock::{MS, Real, SECOND};
use crate::event::{Answer, Event};
use crate::fault::Kind;
use crate::plan::draw;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

/// What becomes of a call.
enum Fate {
    /// It arrives, and its answer arrives.
    Answered { there: Real, back: Real },
    /// It arrives, and its answer is lost.
    Unanswered { there: Real },
    /// It never arrives.
    Lost,
    /// The table refuses to look at it.
    Failed { after: Real, failure: Failure },
}

fn is_write(command: &Command) -> bool {
    matches!(
        command,
        Command::Announce { .. } | Command::Beat(_) | Command::Release { .. } | Command::LeaveWake(_)
    )
}

impl Sim<'_> {
    pub(crate) fn call_table(&mut self, machine: usize, command: Command) {
        self.watch_call(machine, &command);
        let Some(command) = self.answer_from_along(machine, command) else { return };
        if matches!(command, Command::ReadHeartbeats(_)) {
            let local = self.local(machine);
            self.machines[machine].agent.iter_mut().for_each(|node| node.asks_apart(local));
        }
        let m = &self.machines[machine];
        let attempt =
            m.agent.as_ref().and_then(|node| node.lease()).map_or(self.plan.timing, |lease| lease.timing);
        let timeout_at = m.clock.when(m.clock.show(self.now) + attempt.attempt_timeout());
        let run = m.run;
        let mut fate = self.fate(machine, &command, timeout_at);
        if let (Fate::Answered { there, back }, Some(late)) =
            (&mut fate, self.late_answer(machine, &command, timeout_at - self.now))
        {
            (*there, *back) = (0, late);
        }
        // A claimant whose read comes just after the commit that it has asked for serves at once.
        if let (Fate::Answered { there, .. }, true) = (
            &mut fate,
            self.is_adversarial() && matches!(command, Command::ReadLease) && self.watch.claims(machine),
        ) {
            *there = 2 * MS;
        }
        if let Some(kept) = self.park(machine, run, &command, timeout_at, &fate_times(&fate, self.now)) {
            return kept;
        }
        match fate {
            Fate::Answered { there, back } if self.now + there + back < timeout_at => {
                self.ask_along(machine, &command, there + back);
                let answer_at = Some(self.now + there + back);
                let command = Box::new(command);
                self.queue
                    .push(self.now + there, Event::Apply { machine, run, command, answer_at, timeout_at });
            }
            Fate::Answered { there, .. } | Fate::Unanswered { there } => {
                self.give_up(machine, run, &command, timeout_at, "no answer");
                let command = Box::new(command);
                let event = Event::Apply { machine, run, command, answer_at: None, timeout_at };
                self.queue.push(self.now + there, event);
            }
            Fate::Lost => {
                if matches!(command, Command::Beat(_)) {
                    self.see(Sometimes::BeatUnknownLost);
                }
                self.give_up(machine, run, &command, timeout_at, "no answer");
            }
            Fate::Failed { after, failure } => {
                if matches!(command, Command::Beat(_)) {
                    let what = if failure == Failure::Conflict {
                        Sometimes::BeatConflict
                    } else {
                        Sometimes::BeatThrottled
                    };
                    self.see(what);
                }
                let answer = Box::new(Answer::failed(&command, failure));
                self.queue.push((self.now + after).min(timeout_at), Event::Answer { machine, run, answer });
            }
        }
    }

    /// Whose heartbeats this node's read of the lease asks for as well, in half of the runs.
    pub(crate) fn asks_along(&self, machine: usize, command: &Command) -> Vec<InstanceArn> {
        let node = self.machines[machine].agent.as_ref().filter(|_| self.plan.reads_along);
        node.filter(|_| *command == Command::ReadLease).map(Node::neighbours).unwrap_or_default()
    }

    /// They are read before the lease or after it, at any moment of the call; now and then the lease alone is.
    fn ask_along(&mut self, machine: usize, command: &Command, length: Real) {
        let asked = self.asks_along(machine, command);
        if *command == Command::ReadLease {
            self.machines[machine].along = None;
        }
        if !asked.is_empty() && self.rng.u32(..8) > 0 {
            let at = self.now + self.rng.u64(0..=length);
            self.queue.push(at, Event::ReadAlong { machine, run: self.machines[machine].run, asked });
        }
    }

    /// The same of a read that a trap has held back: all is read at the moment that does the most harm.
    pub(crate) fn ask_along_at(&mut self, machine: usize, command: &Command, at: Real) {
        let asked = self.asks_along(machine, command);
        if !asked.is_empty() {
            self.machines[machine].along = None;
            self.queue.push(at, Event::ReadAlong { machine, run: self.machines[machine].run, asked });
        }
    }

    pub(crate) fn read_along(&mut self, machine: usize, run: u32, asked: Vec<InstanceArn>) {
        let found = ready(self.store.heartbeats(&self.cluster, &asked));
        self.machines[machine].along = Some((run, asked, found));
    }

    /// What has been read along with the lease is not asked for again.
    fn answer_from_along(&mut self, machine: usize, command: Command) -> Option<Command> {
        let Command::ReadHeartbeats(wanted) = &command else { return Some(command) };
        let m = &mut self.machines[machine];
        let run = m.run;
        let fits = |(of, asked, _): &(u32, Vec<InstanceArn>, _)| (*of, asked) == (run, wanted);
        let Some((_, _, found)) = m.along.take().filter(fits) else { return Some(command) };
        self.see(Sometimes::ReadAlong);
        let answer = Box::new(Answer::Heartbeats(found));
        self.queue.push(self.now, Event::Answer { machine, run, answer });
        None
    }

    fn give_up(&mut self, machine: usize, run: u32, command: &Command, at: Real, why: &str) {
        let answer = Box::new(Answer::failed(command, Failure::Unknown(why.to_owned())));
        self.queue.push(at, Event::Answer { machine, run, answer });
    }

    fn fate(&mut self, machine: usize, command: &Command, timeout_at: Real) -> Fate {
        let write = is_write(command);
        let there = draw(&mut self.rng, self.plan.delays.table);
        // Half of the answers take no time at all, which is the extreme that costs the least to simulate.
        let back = if self.rng.bool() { 0 } else { draw(&mut self.rng, self.plan.delays.table) };
        let m = &self.machines[machine];
        if self.network.has(Kind::TableDown) {
            return if self.chance(80) { Fate::Lost } else { Fate::Unanswered { there } };
        }
        if m.has_trouble() {
            if m.is_struck(Kind::Partition) {
                return Fate::Lost;
            }
            if m.is_struck(Kind::AnswersLost) {
                return Fate::Unanswered { there };
            }
            if m.is_struck(Kind::ReadBlind) && !write {
                return Fate::Lost;
            }
            let late = m.is_struck(Kind::LateWrites) && write;
            let slow = m.is_struck(Kind::SlowTable);
            if late && self.chance(70) {
                let timeout = timeout_at - self.now;
                return Fate::Unanswered { there: self.rng.u64(timeout..20 * SECOND.max(timeout)) };
            }
            if slow {
                let most = (timeout_at - self.now) * 3 / 4;
                return Fate::Answered { there: self.rng.u64(0..=most), back: self.rng.u64(0..=most) };
            }
        }
        if self.plan.lost_per_million > 0 && self.rng.u32(..1_000_000) < self.plan.lost_per_million {
            return if self.rng.bool() { Fate::Lost } else { Fate::Unanswered { there } };
        }
        if self.network.has(Kind::TableThrottled) && self.chance(60) {
            return Fate::Failed { after: there + back, failure: Failure::Throttled };
        }
        if self.network.has(Kind::Conflicts) && write && self.chance(35) {
            return Fate::Failed { after: there + back, failure: Failure::Conflict };
        }
        Fate::Answered { there, back }
    }

    /// The request has reached the table.
    pub(crate) fn apply(
        &mut self,
        machine: usize,
        run: u32,
        command: Command,
        answer_at: Option<Real>,
        timeout_at: Real,
    ) {
        let late = self.machines[machine].run != run;
        let answer = self.perform(machine, run, &command);
        self.note_applied(machine, run, &command, &answer, late, answer_at.is_none());
        let Some(answer_at) = answer_at else { return };
        let m = &self.machines[machine];
        let cut = m.has_trouble()
            && (m.is_struck(Kind::Partition)
                || m.is_struck(Kind::AnswersLost)
                || (m.is_struck(Kind::ReadBlind) && !is_write(&command)));
        if cut || self.network.has(Kind::TableDown) {
            if matches!(command, Command::Beat(_)) {
                self.see(Sometimes::BeatUnknownApplied);
            }
            return self.give_up(machine, run, &command, timeout_at, "the answer was lost");
        }
        if answer_at <= self.now {
            return self.answer(machine, run, answer);
        }
        self.queue.push(answer_at, Event::Answer { machine, run, answer: Box::new(answer) });
    }

    fn perform(&mut self, machine: usize, run: u32, command: &Command) -> Answer {
        let m = &self.machines[machine];
        let (cluster, arn) = (&self.cluster, m.arn());
        match command {
            Command::ReadOwn => Answer::Own(ready(self.store.heartbeat(cluster, arn))),
            Command::Announce { expected, validity_ms } => {
                let start = Start {
                    expected: expected.clone(),
                    incarnation: m.incarnation(run),
                    boot_id: String::new(),
                    agent_version: String::new(),
                    validity_ms: *validity_ms,
                    at: self.local(machine).wall,
                };
                Answer::Announced(ready(self.store.start(cluster, arn, &start)))
            }
            Command::Beat(beat) => Answer::Beat(ready(self.store.beat(cluster, arn, beat))),
            Command::ReadLease => Answer::Lease(Ok(Some(self.read_lease()))),
            Command::ReadHeartbeats(instances) => {
                Answer::Heartbeats(ready(self.store.heartbeats(cluster, instances)))
            }
            Command::Release { epoch } => {
                let mine = m.incarnation(run);
                Answer::Released(ready(self.store.release(cluster, arn, &mine, *epoch)))
            }
            Command::LeaveWake(why) => {
                let left = ready(self.store.leave_wake(cluster, arn, *why, self.local(machine).wall));
                if left.is_ok() {
                    self.stream_wakes();
                }
                Answer::Told
            }
            _ => Answer::Told,
        }
    }

    /// The lease as a strong read shows it; as it was a moment ago where reads are eventually consistent.
    fn read_lease(&mut self) -> Arc<Lease> {
        if crate::stale_reads() {
            let since = self.now.saturating_sub(self.rng.u64(0..2 * SECOND));
            if let Some((_, lease)) = self.former_leases.iter().find(|(until, _)| *until > since) {
                return Arc::clone(lease);
            }
        }
        Arc::clone(&self.lease)
    }

    fn note_applied(
        &mut self,
        machine: usize,
        run: u32,
        command: &Command,
        answer: &Answer,
        late: bool,
        unanswered: bool,
    ) {
        match (command, answer) {
            (Command::Beat(beat), Answer::Beat(Ok(()))) => {
                if unanswered {
                    self.see(Sometimes::BeatUnknownApplied);
                }
                self.watch_seq(machine, Some(beat), beat.validity_ms);
                self.trap_applied(machine);
            }
            (Command::Beat(_), Answer::Beat(Err(WriteFailure::Refused(_)))) if late || unanswered => {
                self.see(Sometimes::LateBeatRefused);
            }
            (Command::Announce { validity_ms, .. }, Answer::Announced(Ok(()))) => {
                self.watch_seq(machine, None, *validity_ms);
            }
            (Command::Announce { .. }, Answer::Announced(Err(_))) if late => {
                self.see(Sometimes::LateStartRefused)
            }
            (Command::Release { epoch }, Answer::Released(outcome)) => {
                if outcome.is_ok() {
                    self.watch_released(machine, *epoch, run);
                } else if late {
                    self.see(Sometimes::LateReleaseRefused);
                }
            }
            _ => {}
        }
    }
}

/// When a call arrives, for whoever wants to hold it back.
fn fate_times(fate: &Fate, now: Real) -> Option<Real> {
    match fate {
        Fate::Answered { there, .. } => Some(now + there),
        _ => None,
    }
}

/// The least time between two events that must not be at the same moment.
pub(crate) const INSTANT: Real = MS / 1_000;
