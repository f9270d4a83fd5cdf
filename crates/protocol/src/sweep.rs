//! The sweep's decision: whether the arbiter ought to look at a cluster now. What was read goes in, the first reason found
//! comes out. A wake too many costs the arbiter two reads; one too few, and unfinished business waits for the next event.
//!
//! Where nothing is unfinished the arbiter is woken all the same when the cluster's turn comes, to ask EC2 whether everything
//! is where the lease says. Somebody may have moved it, and the event that tells so needs a trail and can be lost.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::candidate::stable_hash;
use crate::failback;
use crate::heartbeat::Heartbeat;
use crate::ids::InstanceArn;
use crate::lease::{Lease, LeaseState};
use crate::probe::Probe;
use crate::restored;
use crate::time::WallTime;
use crate::wake::Why;

/// A holder whose last heartbeat is so old may have lost its instance together with every event that said so. Only the
/// arbiter asks EC2, and only `terminated` counts there, so a clock that is off costs a wake and nothing else.
const QUIET: Duration = Duration::from_secs(60);

/// A cluster's turn comes so often. With the sweep's minute and the move itself, what nobody tells of is put right within
/// three minutes or so, for three or four questions to EC2.
pub const ROUND: Duration = Duration::from_secs(120);
/// Whether everything could be moved is asked so often while all is well, and in each turn while something could not be or nobody
/// knows. Each time it is a question to EC2 for each resource and node, and EC2
/// counts them as the calls that they ask about.
pub const PROBED: Duration = Duration::from_secs(3_600);
/// The sweep comes so often.
pub const SWEEP: Duration = Duration::from_secs(60);

/// The time that a sweep answers for: from the one before until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the last sweep was.
    pub since: WallTime,
    /// When this one is.
    pub until: WallTime,
}

impl Span {
    /// Since a sweep that nobody remembers: one came a minute ago.
    pub fn minute(until: WallTime) -> Self {
        let sweep = u64::try_from(SWEEP.as_millis()).unwrap_or(u64::MAX);
        Self { since: WallTime(until.0.saturating_sub(sweep)), until }
    }
}

/// Why the arbiter ought to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The lease has no holder.
    Vacant,
    /// The holder has sworn never to serve the current epoch again.
    Released,
    /// A standby claims the silence of the holder, whose heartbeat has not changed since.
    Claimed,
    /// An operator has asked that a node be stopped, and nobody has answered yet.
    FenceAsked,
    /// An operator has said that the table was restored, and the lease has not begun anew yet.
    RestoreAsked,
    /// A node speaks of a later epoch than the lease shows: the table may have been restored to an earlier moment.
    GoneBack,
    /// The resources of the current epoch were not all seen at its holder.
    Unmoved,
    /// A second look at the resources is due.
    VerifyDue,
    /// Nothing is unfinished, and it is the cluster's turn to be looked at.
    Turn,
    /// It is the cluster's turn, whatever else, and it is to be asked again whether everything could be moved.
    Probe,
    /// The lease is due to go back to a preferred node.
    Failback,
    /// The holder has not been heard of for a while, and nobody claims.
    HolderQuiet,
}

impl Reason {
    /// What the arbiter is told.
    pub fn why(self) -> Why {
        match self {
            Self::Turn => Why::Verify,
            Self::Probe => Why::Probe,
            Self::Failback => Why::Failback,
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
            Self::FenceAsked => "fence-asked",
            Self::RestoreAsked => "restore-asked",
            Self::GoneBack => "gone-back",
            Self::Unmoved => "unmoved",
            Self::VerifyDue => "verify-due",
            Self::Turn => "turn",
            Self::Probe => "probe",
            Self::Failback => "failback",
            Self::HolderQuiet => "holder-quiet",
        })
    }
}

/// Whether the arbiter ought to look, and why. `heartbeats` holds those of the members and of the holder that exist.
pub fn needs_wake(
    lease: &Lease,
    heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    probe: Option<&Probe>,
    span: Span,
) -> Option<Reason> {
    let now = span.until;
    if lease.state == LeaseState::Retired {
        return None;
    }
    if lease.live_restore(now).is_some() {
        return Some(Reason::RestoreAsked);
    }
    // Or it was granted between the two reads. That is for the arbiter to find out.
    if restored::known(heartbeats.values()) > lease.epoch {
        return Some(Reason::GoneBack);
    }
    let Some(holder) = &lease.holder else { return Some(Reason::Vacant) };
    let holder = heartbeats.get(holder);
    if holder.is_some_and(|heartbeat| heartbeat.released >= lease.epoch) {
        return Some(Reason::Released);
    }
    let turn = is_turn(lease, span);
    // What waits for a person or for the end of a pause can wait for hours, and its wakes must not keep the question away.
    let asks = turn && lease.moved == lease.epoch && !Probe::is_fresh(probe, lease, now, PROBED);
    // Whether its author could take over is for the arbiter to judge.
    if lease.current_claims(heartbeats).next().is_some() {
        return Some(if asks { Reason::Probe } else { Reason::Claimed });
    }
    if lease.live_fence(now).is_some() {
        return Some(Reason::FenceAsked);
    }
    if lease.moved < lease.epoch {
        return Some(Reason::Unmoved);
    }
    if lease.verify_at.is_some_and(|due| due <= now) {
        return Some(if asks { Reason::Probe } else { Reason::VerifyDue });
    }
    // It is asked about the resources as well, so the turn may wait. The arbiter decides anew, and asks for it once.
    if !asks && failback::due(lease, heartbeats, now).is_some() {
        return Some(Reason::Failback);
    }
    if turn {
        return Some(if asks { Reason::Probe } else { Reason::Turn });
    }
    let quiet = holder.is_none_or(|heartbeat| now.distance(heartbeat.beat_at) >= QUIET);
    quiet.then_some(Reason::HolderQuiet)
}

/// Whether the cluster's moment has come since the last sweep, however late this one is. Moments are spread by name, so that
/// a thousand clusters do not ask EC2 all at once.
fn is_turn(lease: &Lease, span: Span) -> bool {
    let round = u64::try_from(ROUND.as_millis()).unwrap_or(u64::MAX);
    let offset = stable_hash(&[lease.cluster.as_str()]) % round;
    let rounds = |at: WallTime| at.0.saturating_add(offset) / round;
    rounds(span.until) > rounds(span.since) && !mutant!(NoRound)
}

#[cfg(test)]
mod tests;
