//! The brake: when many clusters suspect their holders at once, the fault is more likely in what they all see by than in all
//! of those holders.
//!
//! Each cluster for itself decides rightly that its holder is silent; together they would move everything that a control
//! plane has, into whatever zone is left, for a minute's trouble of the table. So an arbiter that finds a silent holder counts
//! its cluster among those that suspect, and where there are many, or nobody can tell, it asks for one further full S of
//! observation before it takes over. It asks for that once and never for more: the brake delays, and stops nothing. It has
//! no part in safety, and holds back silence alone (ADR 0028).
//!
//! Clusters are counted by a hash of their name, in short spans of time. The count is of slots and has a limit by its making,
//! however many clusters there are; two clusters in one slot count as one.

use std::time::Duration;

use crate::candidate::stable_hash;
use crate::heartbeat::{Claim, Heartbeat};
use crate::ids::ClusterName;
use crate::lease::Lease;
use crate::policy::Held;
use crate::time::WallTime;

/// The length of the spans in which is counted, about S. What suspects in this one or in the one before suspects at once.
pub const SPAN: Duration = Duration::from_secs(10);
/// So many slots there are: a few KiB of the table if all of them suspect.
pub const SLOTS: u64 = 1_024;
/// The most clusters that may be asked for: among ever more of them too many would share a slot.
pub const MOST: u32 = 100;

/// The span that a moment is in.
pub fn span(at: WallTime) -> u64 {
    at.0 / u64::try_from(SPAN.as_millis()).unwrap_or(u64::MAX)
}

/// Where a cluster is counted.
pub fn slot(cluster: &ClusterName) -> u64 {
    stable_hash(&["brake", cluster.as_str()]) % SLOTS
}

/// What is known of how many clusters suspect their holders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fleet {
    /// The control plane has no brake.
    #[default]
    Unbraked,
    /// Nobody has asked.
    Unasked,
    /// Fewer than the brake is for.
    Calm,
    /// So many, which is enough.
    Alarmed(u32),
    /// The table did not tell. It may be what all of them see by.
    Unknown,
}

impl Fleet {
    /// What an answer means where the brake is for so many.
    pub fn of(found: Option<u32>, limit: u32) -> Self {
        match found {
            Some(count) if count >= limit => Self::Alarmed(count),
            Some(_) => Self::Calm,
            None => Self::Unknown,
        }
    }

    /// Whether one further S is asked for.
    pub fn brakes(self) -> bool {
        matches!(self, Self::Alarmed(_) | Self::Unknown) && !mutant!(BrakeIgnored)
    }
}

/// What holds back a takeover from this silent holder; none: nothing does. An operator's word lifts it.
pub(crate) fn held<'a>(
    fleet: Fleet,
    lease: &Lease,
    holder: &Heartbeat,
    claims: impl Iterator<Item = (&'a Heartbeat, &'a Claim)>,
    now: WallTime,
) -> Option<Held> {
    if !fleet.brakes() || lease.live_failover(now).is_some() {
        return None;
    }
    let silence = lease.silence_for(holder);
    let mut first = None;
    for (claimant, claim) in claims {
        if is_renewed(claim, claimant, silence, now) {
            return None;
        }
        first = Some(first.map_or(claim.at, |at: WallTime| at.min(claim.at)));
    }
    let claimed = first?;
    Some(Held { cooling: false, braked: true, claimed, until: Some(claimed + silence) })
}

/// Whether a claimant has gone on to see the silence for one further S. One of a version that does not say since when it has
/// been healthy never says so either, and is waited for by the clocks.
fn is_renewed(claim: &Claim, claimant: &Heartbeat, silence: Duration, now: WallTime) -> bool {
    let seen = u128::from(claim.silent_ms) >= 2 * silence.as_millis();
    seen || (claimant.healthy_since.is_none() && now >= claim.at + silence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_suspect_from_the_limit_on_and_what_nobody_tells_is_not_few() {
        assert_eq!(Fleet::of(Some(4), 5), Fleet::Calm);
        assert_eq!(Fleet::of(Some(5), 5), Fleet::Alarmed(5));
        assert_eq!(Fleet::of(None, 5), Fleet::Unknown);
        let brakes = [Fleet::Unbraked, Fleet::Unasked, Fleet::Calm, Fleet::Alarmed(5), Fleet::Unknown];
        assert_eq!(brakes.map(Fleet::brakes), [false, false, false, true, true]);
    }

    #[test]
    fn clusters_are_spread_over_the_slots_and_moments_over_the_spans() {
        let slots: std::collections::BTreeSet<u64> =
            (0..100).map(|n| slot(&ClusterName::new(format!("cluster-{n}")).expect("valid"))).collect();
        assert!(slots.len() > 85 && slots.iter().all(|slot| *slot < SLOTS), "{slots:?}");
        assert_eq!([0, 9_999, 10_000].map(|at| span(WallTime(at))), [0, 0, 1]);
    }
}
