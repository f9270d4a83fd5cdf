//! The sweep's decision: whether the arbiter ought to look at a cluster now. What was read goes in, the first reason found
//! comes out. A wake too many costs the arbiter two reads; one too few, and unfinished business waits for the next event.
//!
//! Where nothing is unfinished the arbiter is woken all the same when the cluster's turn comes, to ask EC2 whether everything
//! is where the lease says. Somebody may have moved it, and the event that tells so needs a trail and can be lost.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::candidate::stable_hash;
use crate::heartbeat::Heartbeat;
use crate::ids::InstanceArn;
use crate::lease::{Lease, LeaseState};
use crate::time::WallTime;
use crate::wake::Why;

/// A holder whose last heartbeat is so old may have lost its instance together with every event that said so. Only the
/// arbiter asks EC2, and only `terminated` counts there, so a clock that is off costs a wake and nothing else.
const QUIET: Duration = Duration::from_secs(60);

/// A cluster's turn comes so often. With the sweep's minute and the move itself, what nobody tells of is put right within
/// three minutes or so, for three or four questions to EC2.
pub const ROUND: Duration = Duration::from_secs(120);
/// The sweep comes so often.
const SWEEP: Duration = Duration::from_secs(60);

/// Why the arbiter ought to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The lease has no holder.
    Vacant,
    /// The holder has sworn never to serve the current epoch again.
    Released,
    /// A standby claims the silence of the holder, whose heartbeat has not changed since.
    Claimed,
    /// The resources of the current epoch were not all seen at its holder.
    Unmoved,
    /// A second look at the resources is due.
    VerifyDue,
    /// Nothing is unfinished, and it is the cluster's turn to be looked at.
    Turn,
    /// The holder has not been heard of for a while, and nobody claims.
    HolderQuiet,
}

impl Reason {
    /// What the arbiter is told.
    pub fn why(self) -> Why {
        match self {
            Self::Turn => Why::Verify,
            _ => Why::Sweep,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vacant => "vacant",
            Self::Released => "released",
            Self::Claimed => "claimed",
            Self::Unmoved => "unmoved",
            Self::VerifyDue => "verify-due",
            Self::Turn => "turn",
            Self::HolderQuiet => "holder-quiet",
        })
    }
}

/// Whether the arbiter ought to look, and why. `heartbeats` holds those of the members and of the holder that exist.
pub fn needs_wake(
    lease: &Lease,
    heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    now: WallTime,
) -> Option<Reason> {
    if lease.state == LeaseState::Retired {
        return None;
    }
    let Some(holder) = &lease.holder else { return Some(Reason::Vacant) };
    let holder = heartbeats.get(holder);
    if holder.is_some_and(|heartbeat| heartbeat.released >= lease.epoch) {
        return Some(Reason::Released);
    }
    // Whether its author could take over is for the arbiter to judge.
    if lease.current_claims(heartbeats).next().is_some() {
        return Some(Reason::Claimed);
    }
    if lease.moved < lease.epoch {
        return Some(Reason::Unmoved);
    }
    if lease.verify_at.is_some_and(|due| due <= now) {
        return Some(Reason::VerifyDue);
    }
    if is_turn(lease, now) {
        return Some(Reason::Turn);
    }
    let quiet = holder.is_none_or(|heartbeat| now.since(heartbeat.beat_at) >= QUIET);
    quiet.then_some(Reason::HolderQuiet)
}

/// Whether this sweep is the cluster's. Turns are spread by name, so that a thousand clusters do not ask EC2 all at once.
fn is_turn(lease: &Lease, now: WallTime) -> bool {
    let this = now.0 / 1_000 / SWEEP.as_secs();
    this.wrapping_add(stable_hash(&[lease.cluster.as_str()]))
        .is_multiple_of(ROUND.as_secs() / SWEEP.as_secs())
        && !mutant!(NoRound)
}

#[cfg(test)]
mod tests;
