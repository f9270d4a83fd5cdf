//! The worst moment. In an adversarial run a holder is not cut off at a time but at a point of the protocol: right after it
//! has extended its validity, with every standby reading its last heartbeat in that very instant, and each standby
//! learning that the silence is long enough in the very instant in which it is.

use baton_protocol::node::Command;

use crate::clock::Real;
use crate::event::{Answer, Event};
use crate::fault::Kind;
use crate::table::INSTANT;
use crate::world::Sim;

/// A holder that is about to be cut off.
#[derive(Debug)]
pub(crate) struct Trap {
    /// The fault that waits, by its place in the plan.
    fault: usize,
    machine: usize,
    kind: Kind,
    /// Reads of standbys that are held back until the last heartbeat is written.
    parked: Vec<(usize, u32, Command, Real)>,
    waited: u32,
    /// The last heartbeat was written; the answer to the read of the lease springs the trap.
    written: bool,
    sprung: Option<Real>,
    /// After the next heartbeat, whose answer is lost, the holder is cut off for good.
    then_cut: bool,
}

impl Trap {
    pub(crate) fn is_of(&self, fault: usize) -> bool {
        self.fault == fault
    }
}

impl Sim<'_> {
    /// A fault that is to strike at the worst moment waits for it.
    pub(crate) fn set_trap(&mut self, fault: usize, machine: usize, kind: Kind) {
        let then_cut = kind == Kind::AnswersLost && self.rng.bool();
        self.trap = Some(Trap {
            fault,
            machine,
            kind,
            parked: Vec::new(),
            waited: 0,
            written: false,
            sprung: None,
            then_cut,
        });
    }

    /// Holds a standby's read back, or has it answered when that does the most harm. Returns `Some` if it was taken.
    pub(crate) fn park(
        &mut self,
        machine: usize,
        run: u32,
        command: &Command,
        timeout_at: Real,
        arrives: &Option<Real>,
    ) -> Option<()> {
        let is_awaited =
            matches!(command, Command::ReadHeartbeats(_)) || !self.asks_along(machine, command).is_empty();
        let trap = self.trap.as_mut()?;
        (*arrives)?;
        if machine == trap.machine || !is_awaited {
            return None;
        }
        let Some(sprung) = trap.sprung else {
            if trap.written {
                return None;
            }
            trap.parked.push((machine, run, command.clone(), timeout_at));
            return Some(());
        };
        let silence = self.lease.timing.silence();
        let clock = &self.machines[machine].clock;
        let enough = clock.when(clock.show(sprung) + silence);
        if enough <= self.now || enough >= timeout_at {
            return None;
        }
        self.ask_along_at(machine, command, enough);
        let command = Box::new(command.clone());
        let event = Event::Apply { machine, run, command, answer_at: Some(enough), timeout_at };
        self.queue.push(enough, event);
        Some(())
    }

    /// The holder's heartbeat has been written.
    pub(crate) fn trap_applied(&mut self, machine: usize) {
        let now = self.now;
        if self.cuts_now(machine) {
            self.machines[machine].relieve(Kind::AnswersLost);
            self.machines[machine].strike(Kind::Partition);
            return self.say(machine, || "is cut off after a heartbeat whose answer is lost".to_owned());
        }
        let changes = self.plan.timing != self.plan.other_timing && self.rng.u32(..4) == 0;
        let Some(trap) = self.trap.as_mut().filter(|trap| trap.machine == machine && trap.sprung.is_none())
        else {
            return;
        };
        trap.waited += 1;
        let reads = std::mem::take(&mut trap.parked);
        trap.written =
            trap.waited > 3 || reads.iter().any(|(_, _, _, timeout_at)| *timeout_at > now + INSTANT);
        let changes = changes && trap.written;
        for (machine, run, command, timeout_at) in reads {
            if timeout_at <= now + INSTANT {
                let failure = baton_protocol::outcome::Failure::Unknown("no answer".to_owned());
                let answer = Box::new(Answer::failed(&command, failure));
                self.queue.push(timeout_at.max(now), Event::Answer { machine, run, answer });
                continue;
            }
            let at = now + INSTANT;
            self.ask_along_at(machine, &command, at);
            let command = Box::new(command);
            self.queue.push(at, Event::Apply { machine, run, command, answer_at: Some(at), timeout_at });
        }
        // Between the holder's write and its read is the worst moment for a change as well.
        if changes {
            self.reconfigure_timing();
        }
    }

    fn cuts_now(&mut self, machine: usize) -> bool {
        let Some(trap) = self.trap.as_mut().filter(|trap| trap.machine == machine && trap.sprung.is_some())
        else {
            return false;
        };
        let cuts = std::mem::take(&mut trap.then_cut);
        if cuts {
            trap.kind = Kind::Partition;
        }
        cuts
    }

    /// How long the answer to the holder's last heartbeat takes: the longer, the worse for who counts from it.
    pub(crate) fn late_answer(&mut self, machine: usize, command: &Command, timeout: Real) -> Option<Real> {
        let trap = self.trap.as_ref().filter(|trap| trap.machine == machine && trap.sprung.is_none())?;
        let last = !trap.parked.is_empty() && matches!(command, Command::Beat(_));
        (last && self.chance(50)).then(|| self.rng.u64(0..timeout * 3 / 4))
    }

    /// Whether this answer is the one after which the holder is cut off.
    pub(crate) fn trap_answer(&self, machine: usize, answer: &Answer) -> bool {
        self.trap
            .as_ref()
            .is_some_and(|trap| trap.machine == machine && trap.written && trap.sprung.is_none())
            && matches!(answer, Answer::Lease(Ok(_)))
    }

    /// Cuts the holder off.
    pub(crate) fn spring(&mut self, machine: usize) {
        let Some(trap) = &mut self.trap else { return };
        trap.sprung = Some(self.now);
        let kind = trap.kind;
        // A pause in the time that the holder has left makes it serve for as long again.
        let left = u64::try_from(self.lease.timing.validity().as_nanos()).unwrap_or(u64::MAX) * 9 / 10;
        let pause = self.now + self.rng.u64(INSTANT..left);
        self.queue.push(pause, Event::Pause { machine });
        self.machines[machine].strike(kind);
        self.watch.disturb(machine, self.now);
        self.say(machine, || format!("is cut off at the worst moment: {}", kind.name()));
    }

    /// The fault ends; the trap with it. Tells as what it has struck, if it has.
    pub(crate) fn take_trap(&mut self, fault: usize) -> Option<Kind> {
        let trap = self.trap.take_if(|trap| trap.fault == fault)?;
        for (machine, run, command, timeout_at) in trap.parked {
            let at = self.now.max(timeout_at);
            let failure = baton_protocol::outcome::Failure::Unknown("no answer".to_owned());
            let answer = Box::new(Answer::failed(&command, failure));
            self.queue.push(at, Event::Answer { machine, run, answer });
        }
        trap.sprung.map(|_| trap.kind)
    }
}
