//! What an operator's request writes into the lease. Pure; shared by the table and its twin.

use std::time::Duration;

use baton_protocol::fence;
use baton_protocol::ids::{InstanceArn, RequestId};
use baton_protocol::lease::{Exclusion, Intent, Lease, Pause};
use baton_protocol::request::{Request, Wish};
use baton_protocol::restored;
use baton_protocol::time::WallTime;

/// A drain asks the holder to hand over for so long; a standby may have to get well first.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(600);

/// The change of the lease that carries a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carried {
    /// This intent.
    Intent(Intent),
    /// This word that a node be stopped.
    Fence(fence::Word),
    /// This word that the table was restored.
    Restore(restored::Word),
    /// This intent, if the epoch is still its own, no other one lives and there is no pause.
    Failback(Intent),
    /// This pause.
    Paused(Pause),
    /// No pause any more.
    Resumed,
    /// This exclusion.
    Excluded {
        /// It.
        exclusion: Exclusion,
        /// This intent with it if the node is to hand over.
        intent: Option<Intent>,
        /// The request behind the exclusion whose place it takes; none: there is none.
        replaces: Option<RequestId>,
        /// The request whose intent ends with that exclusion; none: whatever intent there is stands.
        withdraws: Option<RequestId>,
    },
    /// Not this exclusion any more.
    Included {
        /// The request behind it.
        exclusion: RequestId,
        /// Nor the intent of the same request.
        withdraws: bool,
    },
}

/// How the lease carries a request.
pub(crate) fn carried(request: &Request) -> Carried {
    match &request.wish {
        Wish::Switchover { to, why } => Carried::Intent(intent(request, "switchover", to.clone(), why)),
        Wish::Failover { to, why } => {
            let word = intent(request, "failover", to.clone(), why);
            Carried::Intent(Intent { failover: true, ..word })
        }
        Wish::Fence { node, uid, why } => Carried::Fence(fence::Word {
            node: node.clone(),
            uid: uid.clone(),
            epoch: request.epoch,
            until: request.until,
            by: request.by.clone(),
            why: why.clone(),
            request: request.id.clone(),
        }),
        Wish::Restore { uid, why } => Carried::Restore(restored::Word {
            uid: uid.clone(),
            epoch: request.epoch,
            until: request.until,
            by: request.by.clone(),
            why: why.clone(),
            request: request.id.clone(),
        }),
        Wish::Failback { to, why } => {
            let wish = intent(request, "failback", Some(to.clone()), why);
            Carried::Failback(Intent { reason: why.clone(), ..wish })
        }
        Wish::Pause { why } => {
            Carried::Paused(Pause { until: request.until, by: request.by.clone(), why: why.clone() })
        }
        Wish::Resume {} => Carried::Resumed,
        Wish::Exclude { node, why, hand_over, replaces, withdraws } => {
            let exclusion = Exclusion {
                node: node.clone(),
                until: request.until,
                by: request.by.clone(),
                why: why.clone(),
                request: request.id.clone(),
            };
            let until = hand_over_until(request);
            let intent = hand_over.then(|| Intent { until, ..intent(request, "drain", None, why) });
            let withdraws = replaces.clone().filter(|_| *withdraws && !hand_over);
            Carried::Excluded { exclusion, intent, replaces: replaces.clone(), withdraws }
        }
        Wish::Include { exclusion, withdraws } => {
            Carried::Included { exclusion: exclusion.clone(), withdraws: *withdraws }
        }
    }
}

/// A place of the lease that carries one wish which somebody waits for. A pause and an exclusion have done their work by being
/// written, so nobody waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `intent`.
    Intent,
    /// `fence`.
    Fence,
    /// `restore`.
    Restore,
}

/// The place that a request takes, or empties; none: whatever is there stays.
pub(crate) fn place(carried: &Carried) -> Option<Place> {
    match carried {
        Carried::Intent(_)
        | Carried::Failback(_)
        | Carried::Excluded { intent: Some(_), .. }
        | Carried::Excluded { withdraws: Some(_), .. }
        | Carried::Included { withdraws: true, .. } => Some(Place::Intent),
        Carried::Fence(_) => Some(Place::Fence),
        Carried::Restore(_) => Some(Place::Restore),
        Carried::Paused(_)
        | Carried::Resumed
        | Carried::Excluded { .. }
        | Carried::Included { withdraws: false, .. } => None,
    }
}

/// The request whose wish stands in a place of the lease, and when that ends by itself.
pub(crate) fn standing(lease: &Lease, place: Place) -> Option<(&RequestId, WallTime)> {
    match place {
        Place::Intent => Some((lease.wish()?, lease.intent.as_ref()?.until)),
        Place::Fence => lease.fence.as_ref().map(|word| (&word.request, word.until)),
        Place::Restore => lease.restore.as_ref().map(|word| (&word.request, word.until)),
    }
}

/// Whether another word that a node be stopped stands and has not ended: one is asked for at a time, since whoever gave that one
/// counts on it. A word that reaches nobody any more does not stand in the way.
pub(crate) fn is_barred(lease: &Lease, carried: &Carried, request: &Request) -> bool {
    let other = lease.live_fence(request.at).is_some_and(|word| word.request != request.id);
    other && matches!(carried, Carried::Fence(_))
}

/// The request whose wish goes from the lease when this one is written, and what that is answered with: whoever has asked
/// would wait for it in vain.
pub(crate) fn displaced(lease: &Lease, carried: &Carried, request: &Request) -> Option<(RequestId, String)> {
    let (other, until) = standing(lease, place(carried)?)?;
    if *other == request.id {
        return None;
    }
    let by = format!("{} asked by {} at {}", request.wish.word(), request.by, request.at.utc());
    let empties = matches!(carried, Carried::Excluded { intent: None, .. } | Carried::Included { .. });
    let what = if empties { "withdrawn by" } else { "replaced by" };
    let answer = if until <= request.at {
        format!("ended at {}, and then {what} {by}", until.utc())
    } else {
        format!("{what} {by}")
    };
    Some((other.clone(), answer))
}

/// Until when a hand-over is asked for: a drain stands for longer than that.
pub fn hand_over_until(request: &Request) -> WallTime {
    match &request.wish {
        Wish::Exclude { .. } => request.until.min(request.at + HAND_OVER_WITHIN),
        _ => request.until,
    }
}

/// The wish that the lease go to another node, for as long as the request stands.
fn intent(request: &Request, what: &str, to: Option<InstanceArn>, why: &str) -> Intent {
    let asked = format!("{what} asked by {}", request.by);
    Intent {
        to,
        reason: if why.is_empty() { asked } else { format!("{asked}: {why}") },
        epoch: request.epoch,
        until: request.until,
        request: Some(request.id.clone()),
        failover: false,
        asked: Some(request.at),
    }
}

/// Whether a standing request is this one, answered or not: then asking again has been done already.
pub(crate) fn is_same(standing: &Request, asked: &Request) -> bool {
    let mut standing = standing.clone();
    standing.answer.clone_from(&asked.answer);
    standing == *asked
}

#[cfg(test)]
mod tests;
