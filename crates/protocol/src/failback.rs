//! The way back: whether the lease is due to go from a holder that serves well to one that the operator prefers.
//!
//! A failback interrupts the service for nothing but a preference, so it happens only where it was chosen, and only while
//! nothing is in doubt. Whatever is not known speaks against it: an old heartbeat, a health of which nobody says how long
//! it has lasted, a move that is not recorded, an operator's word of any kind. What comes of it is no grant but a wish
//! that the holder hand over in good order, which the holder obeys only towards a node that it sees beating itself
//! (ADR 0027).
//!
//! How long a node has been healthy is told by that node's clock alone, and when it beat last by two clocks, which is a
//! hint. The window and the time since the grant are of the functions' clocks.

mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::candidate::FRESH;
use crate::heartbeat::Heartbeat;
use crate::ids::{Epoch, InstanceArn, RequestId};
use crate::lease::{Lease, LeaseState, Member};
use crate::policy;
use crate::time::WallTime;

pub use window::{EXPECTED as EXPECTED_WINDOW, Window};

/// The shortest time for which a node has to have been healthy: what comes back and fails again does so sooner.
pub const SHORTEST_HOLD: Duration = Duration::from_secs(60);
/// The longest.
pub const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3_600);
/// What holds where nothing is chosen.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(600);

/// The holder is asked for so long. It obeys within a few heartbeats or not at all.
const ASKED_FOR: Duration = Duration::from_secs(60);

/// Whether the lease goes back to a preferred node by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failback {
    /// An operator asks for it by `baton failback`.
    #[default]
    Manual,
    /// The arbiter does as well.
    Automatic {
        /// For how long the preferred node has to have been healthy, and the holder to have held, in milliseconds.
        hold_ms: u64,
        /// When it may happen; none: at any time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<Window>,
    },
}

impl Failback {
    /// Whether it is the default, which is not written.
    pub fn is_manual(&self) -> bool {
        *self == Self::Manual
    }
}

/// A failback that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The node that the lease is to go back to.
    pub to: InstanceArn,
    /// Why, in words that people read.
    pub why: String,
    /// Until when the holder is asked for it: not beyond the window.
    pub until: WallTime,
}

/// Whether the lease is due to go back, and to whom. `heartbeats` holds those of the members that exist.
pub fn due(lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>, now: WallTime) -> Option<Due> {
    let Failback::Automatic { hold_ms, window } = lease.failback else { return None };
    let hold = Duration::from_millis(hold_ms);
    if !is_at_rest(lease, hold, now) {
        return None;
    }
    let left = match window {
        Some(window) if !mutant!(WindowIgnored) => window.left(now)?,
        _ => ASKED_FOR,
    };
    let holder = lease.holder.as_ref().and_then(|holder| lease.member(holder))?;
    let beats = heartbeats.get(&holder.instance)?;
    let serves = beats.serving_epoch == Some(lease.epoch) && beats.released < lease.epoch;
    let doubted = lease.current_claims(heartbeats).next().is_some();
    if !serves || doubted || !is_alive(lease, beats, now) || beats.healthy_for().is_none() {
        return None;
    }
    let (to, healthy) = preferred(lease, holder, heartbeats, hold, now)?;
    let seconds = healthy.as_secs();
    let why = format!(
        "failback to {}, which is preferred to {} and has been healthy for {seconds} s",
        to.node, holder.node
    );
    Some(Due { to: to.instance.clone(), why, until: now + left.min(ASKED_FOR) })
}

/// Whether the lease would go back by itself from `to`, or from whoever the holder hands over to by preference where none is
/// named: to whom, and for how long that node has to have been healthy and the next holder to have held.
pub fn would_return<'a>(lease: &'a Lease, to: Option<&InstanceArn>) -> Option<(&'a Member, Duration)> {
    let Failback::Automatic { hold_ms, .. } = lease.failback else { return None };
    let others = lease.members.iter().filter(|member| lease.holder.as_ref() != Some(&member.instance));
    let next = match to {
        Some(to) => lease.member(to),
        None => others.min_by_key(|member| member.priority),
    }?;
    let better = lease.members.iter().filter(|member| member.priority < next.priority);
    let best = better.min_by_key(|member| (member.priority, member.instance.clone()))?;
    Some((best, Duration::from_millis(hold_ms)))
}

/// The id of the request for a failback at this epoch, which sorts by when it was made, as those of operators do.
pub fn request_id(epoch: Epoch, at: WallTime) -> RequestId {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let stamp: String =
        (0..10).rev().map(|place| char::from(DIGITS[(at.0 >> (5 * place)) as usize & 31])).collect();
    RequestId::new(format!("{stamp}-failback-{epoch}")).expect("letters, digits and dashes, 40 at most")
}

/// Whether a request is the arbiter's own for a failback at this epoch.
pub fn is_request(id: &RequestId, epoch: Epoch) -> bool {
    id.as_str().ends_with(&format!("-failback-{epoch}"))
}

/// Whether the cluster has been left as it is for long enough, and nobody has said anything else.
fn is_at_rest(lease: &Lease, hold: Duration, now: WallTime) -> bool {
    let held = lease.last_grant.is_some_and(|granted| now.since(granted) >= hold);
    // One that was asked for and has not happened is not asked for again before another while; nor is a node interrupted
    // soon after an operator's wish has ended.
    let asked = lease.intent.as_ref().filter(|intent| intent.epoch == lease.epoch);
    let unasked = asked.is_none_or(|intent| now.since(intent.until) >= hold && now >= intent.until);
    let cools = policy::cools_until(lease).is_some_and(|until| now < until);
    let moved = lease.moved == lease.epoch;
    lease.state == LeaseState::Active && moved && !lease.is_paused(now) && held && unasked && !cools
}

/// The best member that the operator prefers to the holder and that has been healthy for long enough, and for how long.
fn preferred<'a>(
    lease: &'a Lease,
    holder: &Member,
    heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    hold: Duration,
    now: WallTime,
) -> Option<(&'a Member, Duration)> {
    let better = lease.members.iter().filter(|member| member.priority < holder.priority);
    let fit = better.filter_map(|member| {
        let found = heartbeats.get(&member.instance)?;
        let healthy = found.healthy_for()?;
        let long = healthy >= hold || mutant!(HoldIgnored);
        let fits = long && is_alive(lease, found, now) && !lease.is_excluded(&member.instance, now);
        fits.then_some((member, healthy))
    });
    fit.min_by_key(|(member, _)| (member.priority, member.instance.clone()))
}

/// Whether a node has beaten lately, as far as two machines' clocks can tell.
fn is_alive(lease: &Lease, found: &Heartbeat, now: WallTime) -> bool {
    found.beat_at.distance(now) <= FRESH + lease.timing.heartbeat()
}

#[cfg(test)]
mod tests;
