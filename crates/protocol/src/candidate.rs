//! Who could hold the lease next, and why the others could not.

use std::time::Duration;

use crate::heartbeat::{Health, Heartbeat};
use crate::ids::{InstanceArn, Seq};
use crate::lease::{Lease, Member};
use crate::time::WallTime;

/// A heartbeat sent no longer ago than this shows a node that lives now. It is a hint: two machines' clocks are compared,
/// so a node whose clock is off is not refused for it but asked to show a second heartbeat.
pub const FRESH: Duration = Duration::from_secs(3);

/// Why a member cannot hold the lease next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It has never written a heartbeat.
    NeverSeen,
    /// Its checks do not say that it can serve.
    NotHealthy(Health),
    /// Its last heartbeat is old, and it has not been seen to write another.
    NotSeenBeating,
    /// EC2 says that it is terminated.
    Gone,
    /// It is the silent holder itself.
    SilentHolder,
    /// An operator has excluded it.
    Excluded,
}

/// A member that could hold the lease next.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The member.
    pub member: &'a Member,
    /// Its heartbeat.
    pub heartbeat: &'a Heartbeat,
}

/// Whether a node lives, by its heartbeat and by what an earlier read of the same invocation showed.
pub(crate) fn is_alive(heartbeat: &Heartbeat, earlier: Option<Seq>, now: WallTime) -> bool {
    mutant!(CandidateNotAlive)
        || heartbeat.beat_at.distance(now) <= FRESH
        || is_seen_beating(heartbeat, earlier)
}

/// Whether a node has beaten between two reads of the same invocation. No clock is believed.
pub(crate) fn is_seen_beating(heartbeat: &Heartbeat, earlier: Option<Seq>) -> bool {
    earlier.is_some_and(|seq| heartbeat.seq > seq)
}

/// The order of preference, best first: an intended node, then the operator's priority, then another zone than the
/// failed one, then a stable hash, so that clusters spread and every arbiter agrees. A node that has just released is
/// last, and still better than nobody.
pub(crate) fn rank(
    lease: &Lease,
    member: &Member,
    intended: Option<&InstanceArn>,
) -> (bool, bool, u16, bool, u64) {
    let is_holder = lease.holder.as_ref() == Some(&member.instance);
    let failed_zone = lease.holder.as_ref().and_then(|holder| lease.member(holder)).map(|m| m.zone.as_str());
    let same_zone = failed_zone == Some(member.zone.as_str());
    (
        intended != Some(&member.instance),
        is_holder,
        member.priority,
        same_zone,
        stable_hash(&[lease.cluster.as_str(), member.instance.as_str()]),
    )
}

/// FNV-1a: stable over versions and machines, unlike the standard library's hasher.
pub(crate) fn stable_hash(parts: &[&str]) -> u64 {
    parts.iter().flat_map(|part| part.bytes().chain([0])).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_that_spreads_clusters_is_fnv_1a_with_a_zero_after_each_part() {
        assert_eq!(stable_hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(&["ab", "c"]), 0xad22_872f_536e_4705);
        assert_eq!(stable_hash(&["a", "bc"]), 0x4018_01fc_84f3_ca79);
    }
}
