//! The start of a run: find the own item, announce the run by compare-and-swap, and read the oath back.
//!
//! A write of an earlier run may still be on its way. So the announcement compares the incarnation that was read: whatever
//! arrives later with an older one is refused by its own condition. Only then is `released` read, strongly, so that an
//! oath of an earlier run cannot be missed.

use super::cycle::Cycle;
use super::service::Service;
use super::{Command, Exit, Node, Reason};
use crate::heartbeat::{Heartbeat, UNGUARDED_MS};
use crate::ids::{Epoch, Seq};
use crate::outcome::{Read, Write, WriteFailure};
use crate::time::Now;

/// How far the start of a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The own item is to be read.
    ReadingSelf,
    /// The run is announced; whatever the answer, the item is read again.
    Confirming,
    /// The run is known to the table.
    Running,
}

impl Node {
    /// Takes in the own heartbeat item.
    pub fn handle_own(&mut self, now: Now, found: Read<Option<Heartbeat>>) {
        // Answers that come twice or too late change nothing.
        if self.cycle != Cycle::Starting || self.has_ended() {
            return;
        }
        let Ok(found) = found else { return self.end_cycle(now) };
        let announced = found.as_ref().is_some_and(|own| own.incarnation == self.incarnation);
        match found {
            Some(own) if announced => self.begin_to_run(now, &own),
            found => {
                self.phase = Phase::Confirming;
                let expected = found.map(|own| own.incarnation);
                let unguarded = self.is_to_say_unguarded();
                let validity = super::cycle::milliseconds(self.validity_to_publish(now.boot));
                let validity_ms = if unguarded { UNGUARDED_MS } else { validity };
                self.commands.push_back(Command::Announce { expected, validity_ms });
            }
        }
    }

    fn begin_to_run(&mut self, now: Now, own: &Heartbeat) {
        self.seq = own.seq.max(self.seq);
        if own.findings.is_some() {
            // An earlier run's: what this one has not found out is not so.
            self.findings.get_or_insert_default();
        }
        if own.released > self.released && !mutant!(OathUnread) {
            self.released = own.released;
            // First the service that it covers, then what is kept: no file may say that a released epoch is served.
            self.stop_what_was_released();
            self.persist();
        }
        self.release_confirmed = own.released >= self.released;
        self.phase = Phase::Running;
        self.next_beat = now.boot;
        self.end_cycle_now();
    }

    /// Takes in the answer to the announcement. Done, refused or unknown: only another read tells what the table holds.
    pub fn handle_announced(&mut self, now: Now, outcome: Write<Option<Heartbeat>>) {
        if self.cycle != Cycle::Starting || self.has_ended() {
            return;
        }
        match outcome {
            Ok(()) => self.commands.push_back(Command::ReadOwn),
            Err(_) => self.end_cycle(now),
        }
    }

    /// Takes in a refused heartbeat: either it was a late one of this run, or another run owns the item.
    pub(super) fn handle_refused_beat(&mut self, found: Option<Heartbeat>) {
        match found {
            Some(own) if own.incarnation == self.incarnation => self.seq = Seq(self.seq.0.max(own.seq.0)),
            Some(own) => {
                let other = format!("found incarnation {}, expected {}", own.incarnation, self.incarnation);
                self.usurped(other);
            }
            None => self.usurped("the heartbeat item is gone".to_owned()),
        }
    }

    /// Takes in the answer to the oath.
    pub fn handle_released(&mut self, now: Now, outcome: Write<Option<Heartbeat>>) {
        // The answer to an older oath says nothing of a newer one.
        let current = self.oath_open.take().is_some_and(|sworn| sworn >= self.released);
        if self.has_ended() {
            return;
        }
        match outcome {
            Ok(()) if !current && self.oath_is_to_be_written() => self.send_oath(),
            Ok(()) if !current => {}
            Ok(()) => {
                self.release_confirmed = true;
                self.nudge(now, crate::wake::Why::Release);
                self.leave_or_hand_over(now);
            }
            Err(WriteFailure::Refused(found)) => self.handle_refused_beat(found),
            // The oath stands in memory and is written again with the next cycle.
            Err(WriteFailure::Failed(_)) if mutant!(OathForgotten) => self.released = Epoch(0),
            Err(WriteFailure::Failed(_)) => {}
        }
    }

    fn usurped(&mut self, how: String) {
        // Another agent answers for this node from here on. Nothing of this run may go on serving, and it ends only once
        // nothing does.
        self.cycle = Cycle::Idle;
        if mutant!(UsurpedServesOn) {
            return self.exit(Exit::Usurped(how));
        }
        self.stop(Reason::Usurped);
        if self.service == Service::Stopped {
            return self.exit(Exit::Usurped(how));
        }
        self.usurped = Some(how);
    }
}
