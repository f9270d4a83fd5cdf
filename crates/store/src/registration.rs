//! What a registration makes of the lease that stands in its place. Pure; shared by the table and its twin.

use baton_protocol::ids::{AllocationId, Epoch, InstanceArn, RegistrationUid, RouteTableId, SubnetId};
use baton_protocol::lease::{Lease, LeaseState, Member, SCHEMA};
use baton_protocol::mutant;
use baton_protocol::resource::Resources;
use baton_protocol::rules;

use crate::{Entry, Registration};

/// What is to be done about the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// It stands as asked for.
    Done,
    /// It must not be touched.
    Refused,
    /// This is to take its place, if it is still the one that was read.
    Write(Box<Lease>),
}

/// Makes a lease, or takes up a retired one.
///
/// A retired lease keeps its holder: that node may still serve, unguarded, and as long as its heartbeat says so, only its
/// own release or EC2's word can end that in strict mode. The epoch grows, so nothing that was decided before the
/// retirement has any effect after it. `moved` stays what it was: so the arbiter looks at every address although the
/// holder is the same, and if the last move before the retirement was never completed, the next one knows it. The new
/// epoch begins now, as with a grant: until then calls of the one before may have been sent.
pub(crate) fn register(found: Option<&Lease>, registration: &Registration) -> Next {
    // What is known of addresses that are the same is still true: these associations are older than what follows.
    let mut observed = found.map(|lease| lease.observed.clone()).unwrap_or_default();
    let same = |id: &AllocationId| registration.resources.addresses.iter().any(|a| a.allocation == *id);
    observed.associations.retain(|id, _| same(id));
    let swapped = |id: &SubnetId| registration.resources.subnets.iter().any(|s| s.subnet == *id);
    observed.tables.retain(|id, _| swapped(id));
    let (epoch, holder, moved, last_grant, revision) = match found {
        None => (Epoch(0), None, Epoch(0), None, 1),
        Some(lease) if lease.state == LeaseState::Retired => {
            let epoch = if mutant!(EpochReset) { Epoch(0) } else { lease.epoch.next() };
            let begins = lease.last_grant.map(|granted| granted.max(registration.at));
            (epoch, lease.holder.clone(), lease.moved, begins, lease.revision + 1)
        }
        Some(lease) if lease.uid == registration.uid => return Next::Done,
        Some(_) => return Next::Refused,
    };
    let mut lease = Lease {
        cluster: registration.cluster.clone(),
        uid: registration.uid.clone(),
        state: LeaseState::Active,
        epoch,
        holder,
        mode: registration.mode,
        takeover: registration.takeover,
        cool_down_ms: registration.cool_down_ms,
        fencing: registration.fencing,
        failback: registration.failback,
        timing: registration.timing,
        members: registration.members.clone(),
        roster: registration.roster.clone(),
        resources: registration.resources.clone(),
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved,
        verify_at: None,
        rotated: Default::default(),
        observed,
        last_grant,
        recent_grants: found.map(|lease| lease.recent_grants.clone()).unwrap_or_default(),
        revision,
        schema: SCHEMA,
        rules: 0,
    };
    lease.rules = rules::needed(&lease);
    Next::Write(Box::new(lease))
}

/// Changes a registration in place. Where the resources or the holder's own place changed, the epoch's move counts as
/// unfinished again, and an unfinished move of an earlier epoch stays one. Who else is a member moves nothing: everything is
/// where it was, and a move that counted as unfinished would be begun anew by the next grant, with an interruption.
pub(crate) fn reconfigure(
    found: Option<&Lease>,
    registration: &Registration,
    holder: Option<&InstanceArn>,
) -> Next {
    let Some(lease) = found else { return Next::Refused };
    if lease.state != LeaseState::Active || lease.uid != registration.uid || lease.holder.as_ref() != holder {
        return Next::Refused;
    }
    // What this version does not know of it would be misread, and the rules that say so would be lost.
    if !lease.may_be_decided() {
        return Next::Refused;
    }
    if registration.made_from.is_some_and(|revision| revision != lease.revision) {
        return Next::Refused;
    }
    let mut next = lease.clone();
    let holds = |member: &&Member| Some(&member.instance) == lease.holder.as_ref();
    let (before, after) = (lease.members.iter().find(holds), registration.members.iter().find(holds));
    let place = |member: &Member| (member.interface.clone(), member.placements.clone());
    // Tables are prepared for names: under another one the holder has others.
    let moves = before.map(place) != after.map(place)
        || before.map(|member| prepared(&lease.resources, member))
            != after.map(|member| prepared(&registration.resources, member));
    if moves || lease.resources != registration.resources {
        next.moved = lease.moved.min(Epoch(lease.epoch.0.saturating_sub(1)));
    }
    configure(&mut next, registration);
    next.revision = lease.revision + 1;
    Next::Write(Box::new(next))
}

/// The table that is prepared for a member, for each subnet.
fn prepared<'a>(resources: &'a Resources, member: &Member) -> Vec<(&'a SubnetId, Option<&'a RouteTableId>)> {
    resources.subnets.iter().map(|swapped| (&swapped.subnet, swapped.tables.get(&member.node))).collect()
}

/// Whether the lease is configured as this registration asks.
pub(crate) fn stands(lease: &Lease, registration: &Registration) -> bool {
    let mut next = lease.clone();
    configure(&mut next, registration);
    next == *lease
}

/// What of a lease is configuration, and nothing else of it.
fn configure(lease: &mut Lease, registration: &Registration) {
    lease.mode = registration.mode;
    lease.takeover = registration.takeover;
    lease.cool_down_ms = registration.cool_down_ms;
    lease.fencing = registration.fencing;
    lease.failback = registration.failback;
    lease.timing = registration.timing;
    lease.members = registration.members.clone();
    lease.roster = registration.roster.clone();
    lease.resources = registration.resources.clone();
    lease.rules = rules::needed(lease);
}

/// Retires a registration. Epoch and holder stay, and so do the addresses.
pub(crate) fn retire(found: Option<&Lease>, uid: &RegistrationUid) -> Next {
    match found {
        Some(lease) if lease.uid != *uid => Next::Refused,
        Some(lease) if lease.state == LeaseState::Retired => Next::Done,
        Some(lease) => {
            let mut next = lease.clone();
            next.state = LeaseState::Retired;
            next.intent = None;
            next.paused = None;
            next.excluded = None;
            next.fence = None;
            next.restore = None;
            next.verify_at = None;
            Next::Write(Box::new(next))
        }
        None => Next::Refused,
    }
}

/// The registration's row in the directory.
pub(crate) fn entry(registration: &Registration) -> Entry {
    let instances = registration.members.iter().map(|member| member.instance.instance_id()).collect();
    let group = registration.roster.as_ref().and_then(|roster| roster.tag.group()).map(str::to_owned);
    Entry { cluster: registration.cluster.clone(), instances, group }
}

#[cfg(test)]
mod tests;
