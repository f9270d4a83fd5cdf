//! Which conditions of a grant no longer hold, in words.
//!
//! The twin decides by these functions, and the table by the expressions in [`crate::condition`]; the
//! conformance body holds them to the same verdicts. For the table they only put the items it returned into
//! words.

use baton_protocol::grant::{Grant, HolderCheck};
use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::{InstanceArn, RequestId};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::mutant;
use baton_protocol::outcome::Failure;
use baton_protocol::restored::Restoration;

/// Refuses a grant whose conditions do not cover what it is about: one that deposes a holder without checking
/// it, or takes an older oath for a release of this epoch. No decision of the protocol makes one.
pub(crate) fn refuse_unsafe(grant: &Grant) -> Result<(), Failure> {
    let wrong = match (&grant.holder, &grant.holder_check) {
        (None, HolderCheck::Nobody) => None,
        (None, _) => Some("there is no holder, expected no check of one"),
        (Some(_), HolderCheck::Nobody) => Some("there is a holder, expected a check of its heartbeat"),
        (Some(_), HolderCheck::Released { epoch }) if *epoch < grant.epoch => {
            Some("the release that is checked is of an earlier epoch")
        }
        (Some(_), _) => None,
    };
    let wrong = wrong
        .or_else(|| (grant.event.cluster != grant.cluster).then_some("its history row is another cluster's"));
    wrong.map_or(Ok(()), |wrong| {
        Err(Failure::Invalid(format!("grant of epoch {}: {wrong}", grant.epoch.next())))
    })
}

/// What of the lease is not as the grant requires.
pub(crate) fn lost_on_lease(grant: &Grant, found: Option<&Lease>) -> Vec<String> {
    let Some(lease) = found else { return vec!["lease: expected one, found none".to_owned()] };
    let mut lost = Vec::new();
    if lease.uid != grant.uid {
        lost.push(format!("lease: expected uid {}, found {}", grant.uid, lease.uid));
    }
    if lease.state != LeaseState::Active && !mutant!(GrantRetired) {
        lost.push("lease: expected an active registration, found a retired one".to_owned());
    }
    if lease.epoch != grant.epoch && !mutant!(CommitWithoutEpoch) {
        lost.push(format!("lease: expected epoch {}, found {}", grant.epoch, lease.epoch));
    }
    if lease.revision != grant.revision && !mutant!(CommitAnyRevision) {
        lost.push(format!("lease: expected configuration {}, found {}", grant.revision, lease.revision));
    }
    if lease.holder != grant.holder && !mutant!(CommitWithoutEpoch) {
        let name = |holder: &Option<_>| holder.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        lost.push(format!("lease: expected holder {}, found {}", name(&grant.holder), name(&lease.holder)));
    }
    if lease.wish() != grant.wish.as_ref() && !mutant!(CommitAnyWish) {
        let name =
            |wish: Option<&RequestId>| wish.map_or("none that was asked for", RequestId::as_str).to_owned();
        let (expected, found) = (name(grant.wish.as_ref()), name(lease.wish()));
        lost.push(format!("lease: expected the wish {expected}, found {found}"));
    }
    if grant.yields_to_pause()
        && !mutant!(PauseIgnored)
        && let Some(pause) = lease.paused.as_ref().filter(|_| lease.is_paused(grant.at))
    {
        lost.push(format!("lease: paused by {} until {}", pause.by, pause.until));
    }
    if grant.yields_to_exclusion()
        && !mutant!(ExcludedIsCandidate)
        && let Some(exclusion) = lease.live_exclusion(grant.at).filter(|exclusion| exclusion.node == grant.to)
    {
        lost.push(format!("lease: excluded by {} until {}: {}", exclusion.by, exclusion.until, grant.to));
    }
    lost
}

/// What of the holder's heartbeat is not as the grant requires.
pub(crate) fn lost_on_holder(check: &HolderCheck, found: Option<&Heartbeat>) -> Vec<String> {
    match (check, found) {
        (HolderCheck::Nobody, _) | (HolderCheck::Absent, None) => Vec::new(),
        (HolderCheck::Absent, Some(heartbeat)) => {
            vec![format!("holder: expected no heartbeat, found number {}", heartbeat.seq)]
        }
        (_, None) => vec!["holder: expected a heartbeat, found none".to_owned()],
        (HolderCheck::Unchanged { incarnation, seq }, Some(heartbeat)) => {
            let same_run = heartbeat.incarnation == *incarnation || mutant!(ClaimWithoutIncarnation);
            if (same_run && heartbeat.seq == *seq) || mutant!(CommitWithoutSeq) {
                return Vec::new();
            }
            let found = format!("number {} of {}", heartbeat.seq, heartbeat.incarnation);
            vec![format!("holder: expected number {seq} of {incarnation}, found {found}")]
        }
        (HolderCheck::Released { epoch }, Some(heartbeat)) => {
            if heartbeat.released >= *epoch {
                return Vec::new();
            }
            vec![format!("holder: expected epoch {epoch} released, found {}", heartbeat.released)]
        }
    }
}

/// What of the candidate's heartbeat is not as the grant requires.
pub(crate) fn lost_on_candidate(grant: &Grant, found: Option<&Heartbeat>) -> Vec<String> {
    let Some(heartbeat) = found else {
        return vec!["candidate: expected a heartbeat, found none".to_owned()];
    };
    let mut lost = Vec::new();
    if mutant!(CandidateUnchecked) {
        return lost;
    }
    if heartbeat.incarnation != grant.to_incarnation {
        let (expected, found) = (&grant.to_incarnation, &heartbeat.incarnation);
        lost.push(format!("candidate: expected incarnation {expected}, found {found}"));
    }
    if heartbeat.health != Health::Ok && !mutant!(AnyHealth) {
        lost.push(format!("candidate: expected health Ok, found {:?}", heartbeat.health));
    }
    lost
}

/// What of the lease is not as a restoration requires.
pub(crate) fn restoration_lost_on_lease(restoration: &Restoration, found: Option<&Lease>) -> Vec<String> {
    let Some(lease) = found else { return vec!["lease: expected one, found none".to_owned()] };
    let read = (&restoration.uid, restoration.revision, restoration.epoch, &restoration.holder);
    let mut lost = Vec::new();
    if lease.state != LeaseState::Active {
        lost.push("lease: expected an active registration, found a retired one".to_owned());
    }
    if (&lease.uid, lease.revision, lease.epoch, &lease.holder) != read {
        lost.push(format!(
            "lease: expected epoch {} of configuration {}, found {} of {}, or another holder or registration",
            restoration.epoch, restoration.revision, lease.epoch, lease.revision
        ));
    }
    lost
}

/// What of a node's heartbeat is not as a restoration requires.
pub(crate) fn restoration_lost_on_node(
    restoration: &Restoration,
    node: &InstanceArn,
    found: Option<&Heartbeat>,
) -> Option<String> {
    let seen = restoration.signs.get(node);
    let sign = found.map(|heartbeat| (heartbeat.incarnation.clone(), heartbeat.seq));
    (seen != sign.as_ref()).then(|| format!("{}: it has beaten since it was looked at", node.instance_id()))
}

#[cfg(test)]
mod tests;
