//! A node's canonical form: all that its decisions depend on, and nothing else.
//!
//! A model checker visits each state once, so it has to know when two states are one. Two nodes whose moments differ only by
//! a shift, or whose heartbeats only started to count elsewhere, decide alike for ever. Compared as they are, no two moments
//! would ever give the same state, and no space would ever be exhausted. So moments are told relative to a given one and as
//! far as they still matter, and numbers and incarnations are handed out by name, for the caller to put them in an order of
//! its own: the protocol compares them with one another and never asks how large they are.
//!
//! A lease is told by its revision where only a registration changes it. The ends of pauses and intents are told as they are:
//! they are compared with a wall clock, which is not the clock of those moments.
//!
//! What is left out: everything that is for people, and the nudges, which wake an arbiter that decides from the table
//! whoever wakes it.

use std::time::Duration;

use super::cycle::Cycle;
use super::service::{Service, Then};
use super::startup::Phase;
use super::{Node, Shutdown};
use crate::heartbeat::{Claim, Health};
use crate::ids::{Incarnation, InstanceArn, Seq};
use crate::lease::{Lease, LeaseState, Mode};
use crate::peers::PeerWatch;
use crate::silence::SilenceWatch;
use crate::time::BootTime;
use crate::timing::Timing;

/// Takes in a canonical form, part by part, in an order that is the same for equal shapes.
pub trait Form {
    /// A number that means the same in every state.
    fn number(&mut self, number: u64);
    /// An instance.
    fn instance(&mut self, instance: &InstanceArn);
    /// An incarnation of an instance's agent, which is only ever compared for equality.
    fn incarnation(&mut self, of: &InstanceArn, incarnation: &Incarnation);
    /// The number of an instance's heartbeat, which is only ever compared with others of the same instance.
    fn seq(&mut self, of: &InstanceArn, seq: Seq);
}

impl Node {
    /// Hands out what this node's decisions from `now` on depend on, once every command has been taken. No silence is longer
    /// than `longest_silence`: one that lasts longer has no further effect.
    pub fn canonical(&self, now: BootTime, longest_silence: Duration, out: &mut impl Form) {
        debug_assert!(self.commands.is_empty(), "a command that was not taken is part of the state");
        self.canonical_cycle(now, out);
        out.incarnation(&self.me, &self.incarnation);
        out.seq(&self.me, self.seq);
        canonical_lease(self.lease.as_deref(), out);
        canonical_service(self.service, out);
        out.number(u64::from(self.guarded) + 2 * u64::from(self.armed));
        out.number(left(self.valid_until, now));
        out.number(self.released.0);
        out.number(u64::from(self.release_confirmed));
        out.number(option(self.oath_open.map(|epoch| epoch.0)));
        out.number(health(self.health));
        out.number(u64::from(self.promote_failed) + 2 * u64::from(self.leaving));
        out.number(if self.promote_failed { left(Some(self.promote_not_before), now) } else { 0 });
        out.number(match self.shutdown {
            None => 0,
            Some(Shutdown::Handover) => 1,
            Some(Shutdown::Stay) => 2,
        });
        out.number(u64::from(self.usurped.is_some()) + 2 * u64::from(self.exited));
        out.number(self.jitter.unwrap_or_default());
        self.silence.canonical(now, &self.timing, longest_silence, out);
        self.peers.canonical(now, &self.timing, self.cycle == Cycle::Watching, out);
        canonical_claim(self.claim.as_ref(), longest_silence, out);
    }

    fn canonical_cycle(&self, now: BootTime, out: &mut impl Form) {
        out.number(match self.phase {
            Phase::ReadingSelf => 0,
            Phase::Confirming => 1,
            Phase::Running => 2,
        });
        match self.cycle {
            Cycle::Idle => out.number(0),
            Cycle::Starting => out.number(1),
            Cycle::Beating { sent, validity, unguarded } => {
                out.number(2);
                out.number(u64::from(unguarded));
                out.number(left(Some(sent + validity), now));
                #[cfg(feature = "mutants")]
                out.number(nanoseconds(validity));
            }
            Cycle::Reading { earned, unguarded } => {
                out.number(3);
                out.number(u64::from(unguarded));
                out.number(earned.map_or(0, |until| 1 + left(Some(until), now)));
            }
            Cycle::Watching => out.number(4),
        }
        out.number(left(Some(self.next_beat), now));
        #[cfg(feature = "mutants")]
        {
            out.number(u64::from(self.in_limbo));
            out.number(u64::from(self.read_before_write.is_some()));
            let early = self.read_before_write.as_ref().and_then(|found| found.as_ref().ok());
            canonical_lease(early.and_then(Option::as_deref), out);
        }
    }
}

impl SilenceWatch {
    fn canonical(&self, now: BootTime, timing: &Timing, longest: Duration, out: &mut impl Form) {
        // After too long a gap the next read starts silence anew, whatever was seen before.
        let gap = self.last_good_read.map(|last| now.since(last));
        let seen = self.last.as_ref().zip(gap.filter(|gap| *gap <= timing.longest_read_gap()));
        #[cfg(feature = "mutants")]
        let seen = if mutant!(CountBlindness) || mutant!(SilenceFromRequest) {
            self.last.as_ref().zip(gap)
        } else {
            seen
        };
        let Some(((sign, since), gap)) = seen else { return out.number(0) };
        out.number(1);
        out.number(nanoseconds(gap.min(longest)));
        out.number(nanoseconds(now.since(*since).min(longest)));
        out.number(sign.epoch.0);
        out.instance(&sign.holder);
        out.incarnation(&sign.holder, &sign.incarnation);
        out.seq(&sign.holder, sign.seq);
    }
}

impl PeerWatch {
    fn canonical(&self, now: BootTime, timing: &Timing, awaited: bool, out: &mut impl Form) {
        let lately = timing.longest_read_gap() + timing.heartbeat();
        // After too long a gap the next change tells nothing.
        let gap = self.last_read.map(|last| now.since(last)).filter(|gap| *gap <= timing.longest_read_gap());
        out.number(option(gap.map(nanoseconds)));
        // When a read was asked for that failed does not matter: the next one is asked for anew.
        let asked = self.asked.filter(|_| awaited).map(|asked| now.since(asked));
        let asked = asked.filter(|ago| *ago <= timing.longest_read_gap());
        out.number(option(asked.map(nanoseconds)));
        for (instance, peer) in &self.peers {
            out.instance(instance);
            out.incarnation(instance, &peer.incarnation);
            out.seq(instance, peer.seq);
            out.number(health(peer.health));
            let ago = peer.beaten.map(|beaten| now.since(beaten)).filter(|ago| *ago <= lately);
            out.number(option(ago.map(nanoseconds)));
        }
        out.number(u64::MAX);
    }
}

fn canonical_lease(lease: Option<&Lease>, out: &mut impl Form) {
    let Some(lease) = lease else { return out.number(0) };
    out.number(1 + lease.epoch.0);
    match &lease.holder {
        Some(holder) => out.instance(holder),
        None => out.number(u64::MAX),
    }
    let retired = u64::from(lease.state == LeaseState::Retired);
    let available = u64::from(lease.mode == Mode::Available);
    out.number(retired + 2 * available + 4 * lease.revision);
    out.number(option(lease.paused.as_ref().map(|pause| pause.until.0)));
    match &lease.excluded {
        Some(exclusion) => {
            out.number(1 + exclusion.until.0);
            out.instance(&exclusion.node);
        }
        None => out.number(0),
    }
    let Some(intent) = &lease.intent else { return out.number(0) };
    out.number(1 + intent.epoch.0);
    out.number(2 * intent.until.0 + u64::from(intent.failover));
    match &intent.to {
        Some(to) => out.instance(to),
        None => out.number(u64::MAX),
    }
}

fn canonical_service(service: Service, out: &mut impl Form) {
    match service {
        Service::Stopped => out.number(0),
        Service::Starting { epoch } => {
            out.number(1);
            out.number(epoch.0);
        }
        Service::Serving { epoch, .. } => {
            out.number(2);
            out.number(epoch.0);
        }
        Service::Stopping { then, .. } => out.number(if then == Then::Release { 4 } else { 3 }),
    }
}

/// Hands out a claim, the parts of it that decide. No silence is longer than `longest_silence`.
pub fn canonical_claim(claim: Option<&Claim>, longest_silence: Duration, out: &mut impl Form) {
    let Some(claim) = claim else { return out.number(0) };
    out.number(1 + claim.epoch.0);
    out.instance(&claim.holder);
    out.incarnation(&claim.holder, &claim.incarnation);
    out.seq(&claim.holder, claim.seq);
    out.number(claim.silent_ms.min(super::cycle::milliseconds(longest_silence)));
}

/// Health as a number.
pub fn health(health: Health) -> u64 {
    match health {
        Health::Ok => 0,
        Health::Bad => 1,
        Health::Unknown => 2,
        Health::Draining => 3,
    }
}

/// How long until a moment; nothing is left of one that has come, and none at all counts as come.
fn left(until: Option<BootTime>, now: BootTime) -> u64 {
    until.map_or(0, |until| nanoseconds(until.since(now)))
}

fn option(number: Option<u64>) -> u64 {
    number.map_or(0, |number| 1 + number)
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
