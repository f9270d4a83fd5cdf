//! What an answer teaches of one resource: of a look, of a call, of the lease, and of a record.

use super::{Item, Kind};
use crate::ec2::{Call, CloudFailure, Effect, Look, Sight};
use crate::ids::{AllocationId, AssociationId};
use crate::lease::Lease;
use crate::mark::Mark;
use crate::mover::{BACKOFF_FIRST, SETTLES_WITHIN, backoff};
use crate::plan::{self, Need, RouteKnown};
use crate::time::BootTime;

impl Item {
    /// Takes in what EC2 showed to a look that was asked at `asked`.
    pub(in crate::mover) fn learn(&mut self, sight: &Sight, asked: BootTime, now: BootTime) {
        let older = self.effect_at.is_some_and(|effect| asked < effect);
        if self.calling || self.blocked.is_some() || older {
            return;
        }
        let in_place = match (&mut self.kind, sight) {
            (Kind::Address { allocation, target, known, gone, .. }, Sight::Addresses(seen)) => {
                let Some(seen) = seen.get(allocation) else {
                    let why = format!("{allocation} is not allocated to this account");
                    return self.missing(why, now);
                };
                let ended = |(id, _): &(AssociationId, _)| gone.contains(id);
                if seen.association.as_ref().is_some_and(ended) {
                    return;
                }
                let at_target =
                    seen.association.as_ref().is_some_and(|(_, place)| place.as_ref() == Some(target));
                let ours = known.as_ref().is_none_or(|known| *known == seen.association);
                if self.settled && !(at_target && ours) && is_stale(self.effect_at, now) {
                    return;
                }
                if known.as_ref() != Some(&seen.association) {
                    self.learnt_at = now;
                }
                *known = Some(seen.association.clone());
                at_target
            }
            (Kind::Route { route, interface, known, from_gateway, .. }, Sight::Tables(tables)) => {
                let seen = plan::route_in(tables, route);
                let in_place = plan::route(route, interface, &seen, *from_gateway) == Need::Nothing;
                if self.settled && !in_place && is_stale(self.effect_at, now) {
                    return;
                }
                *known = Some(seen);
                in_place
            }
            (Kind::Subnet(swap), Sight::Subnets(seen)) => {
                let seen = seen.get(&swap.subnet);
                if !swap.can_be(seen) {
                    return;
                }
                if self.settled && !swap.agrees(seen) && is_stale(self.effect_at, now) {
                    return;
                }
                if swap.see(seen) {
                    self.learnt_at = now;
                }
                swap.in_place().is_some() && !swap.is_strange()
            }
            (Kind::Forwarding { interface, known }, Sight::Interfaces(seen)) => {
                let Some(seen) = seen.get(interface) else {
                    let why = format!("interface {interface} does not exist");
                    return self.missing(why, now);
                };
                if self.settled && seen.source_dest_check && is_stale(self.effect_at, now) {
                    return;
                }
                *known = Some(seen.source_dest_check);
                !seen.source_dest_check
            }
            _ => return,
        };
        if self.settled && in_place {
            let in_doubt = self.effect_at.is_none() && self.trust_from.is_some_and(|from| asked < from);
            self.confirmed = !in_doubt;
        } else {
            // What was believed is not so, or nothing was believed yet: plan anew from what was seen.
            self.settled = false;
            self.confirmed = false;
            self.next = None;
        }
    }

    /// EC2 does not know the resource: soon after a call that may be a stale answer, else people must be told.
    fn missing(&mut self, why: String, now: BootTime) {
        if !is_stale(self.effect_at, now) {
            self.blocked = Some(why);
        }
    }

    /// A look that shows this item failed in a way that asking again does not mend.
    pub(in crate::mover) fn cannot_be_seen(&mut self, look: &Look, why: &str) {
        let mine = matches!(
            (&self.kind, look),
            (Kind::Address { .. }, Look::Addresses(_))
                | (Kind::Route { .. }, Look::Tables(_))
                | (Kind::Subnet(_), Look::Subnets(_))
                | (Kind::Forwarding { .. }, Look::Interfaces(_))
        );
        if mine {
            self.blocked = Some(why.to_owned());
        }
    }

    /// Takes in EC2's answer to this item's call.
    pub(in crate::mover) fn conclude(
        &mut self,
        call: &Call,
        answer: Result<Effect, CloudFailure>,
        now: BootTime,
    ) {
        self.calling = false;
        match answer {
            Ok(effect) => {
                self.attempts = 0;
                self.effect_at = Some(now);
                self.apply(call, effect);
            }
            Err(failure) => {
                self.attempts += 1;
                self.not_before = now + backoff(self.attempts - 1);
                self.fail(call, failure, now);
            }
        }
    }

    fn apply(&mut self, call: &Call, effect: Effect) {
        match (&mut self.kind, call, effect) {
            (Kind::Address { known, gone, cleared, .. }, Call::Disassociate { association, .. }, _) => {
                *known = Some(None);
                *cleared = true;
                gone.insert(association.clone());
            }
            (
                Kind::Address { target, known, renew, doubt, mark, cleared, sound, .. },
                Call::Associate { .. },
                Effect::Associated(id),
            ) => {
                // EC2 answers alike if the address was there already: by what this epoch has marked to be ended, or behind a
                // late answer that has shown it free, by what an epoch before has made and may still end.
                let made = *mark != Some(Mark::Ends(id.clone())) && (!*renew || *cleared);
                if made {
                    // Other invocations of this epoch could not tell it from a stranger.
                    self.unrecorded = *renew || *doubt;
                    *sound = Some(id.clone());
                }
                *known = Some(Some((id, Some(target.clone()))));
                self.settled = made;
            }
            (Kind::Address { known, .. }, ..) => *known = None,
            (Kind::Route { interface, known, .. }, ..) => {
                *known = Some(RouteKnown::To(crate::ec2::RouteTarget::Interface(interface.clone())));
                self.settled = true;
            }
            (Kind::Subnet(swap), _, Effect::TableAssociated(made)) => {
                self.settled = swap.replaced(call, made);
            }
            (Kind::Subnet(swap), ..) => swap.forget(),
            (Kind::Forwarding { known, .. }, ..) => {
                *known = Some(false);
                self.settled = true;
            }
            (Kind::Nowhere { .. }, ..) => {}
        }
    }

    fn fail(&mut self, call: &Call, failure: CloudFailure, now: BootTime) {
        if let (
            Kind::Address { gone, .. },
            Call::Disassociate { association, .. },
            CloudFailure::AssociationGone,
        ) = (&mut self.kind, call, &failure)
        {
            gone.insert(association.clone());
        }
        match (&mut self.kind, failure) {
            // Not applied: the same call again.
            (_, CloudFailure::Throttled | CloudFailure::NoCredentials(_)) => {
                self.next = Some(call.clone());
            }
            // Somebody else was quicker, or the answer was lost: only a look tells.
            (
                Kind::Address { known, .. },
                CloudFailure::AlreadyAssociated | CloudFailure::AssociationGone | CloudFailure::Unknown(_),
            ) => {
                *known = None;
                // What a late answer shows may be older than the call whose answer was lost.
                self.effect_at = Some(now);
            }
            (Kind::Route { known, .. }, CloudFailure::RouteMissing) => *known = Some(RouteKnown::Missing),
            (Kind::Route { known, .. }, CloudFailure::RouteExists | CloudFailure::Unknown(_)) => {
                *known = None
            }
            (Kind::Subnet(swap), failure @ (CloudFailure::AssociationGone | CloudFailure::Unknown(_))) => {
                if failure == CloudFailure::AssociationGone {
                    swap.ended(call);
                }
                swap.forget();
                self.effect_at = Some(now);
            }
            (Kind::Forwarding { known, .. }, CloudFailure::Unknown(_)) => *known = None,
            (kind, failure) => {
                self.left = matches!(kind, Kind::Route { described: true, .. });
                self.blocked = Some(format!("{}: {failure}", call.action()));
            }
        }
    }

    /// Takes in what this epoch has recorded, by whichever invocation.
    pub(in crate::mover) fn note_recorded(
        &mut self,
        recorded: &std::collections::BTreeMap<AllocationId, Mark>,
        completed: Completed,
    ) {
        if let Kind::Subnet(swap) = &mut self.kind {
            swap.note_completed(completed);
            // Whoever has recorded it has seen it more than once.
            self.first &= completed != Completed::This;
        }
        let Kind::Address { allocation, renew, doubt, mark, sound, .. } = &mut self.kind else { return };
        if let Some(found) = recorded.get(allocation) {
            *mark = Some(found.clone());
            // What this move has made itself it knows best.
            if !self.unrecorded && matches!(found, Mark::Made(_)) {
                *sound = super::made(Some(found));
            }
        }
        // Another invocation has completed this very move or the one before, after this one's lease was read: what is in
        // place needs no rotation, and once this very move was completed it counts.
        *renew &= completed == Completed::No;
        *doubt &= completed != Completed::This;
        // Whoever has recorded it has seen it more than once.
        self.first &= completed != Completed::This;
        if self.kind.is_in_place() && !self.kind.renews() {
            self.next = None;
        }
    }

    /// After an unfinished move a mark comes first: what is ended where the address belongs, or that nothing is. So all
    /// invocations of this epoch end the same association there, and whatever is made afterwards none of them ends. What was
    /// made is recorded at last, since to the others it might be a stranger, which an earlier epoch may name.
    pub(in crate::mover) fn take_mark(&mut self, now: BootTime) -> Option<(AllocationId, Mark)> {
        let due = self.unrecorded && self.recording.is_none() && now >= self.not_before;
        let renews = self.kind.renews();
        let ready = self.is_ready(now);
        let Kind::Address { allocation, renew, mark, sound, .. } = &self.kind else { return None };
        let take = match &self.next {
            _ if due => sound.clone().map(Mark::Made),
            _ if !ready || !*renew || mark.is_some() => None,
            Some(Call::Disassociate { association, .. }) if renews => Some(Mark::Ends(association.clone())),
            Some(Call::Associate { .. }) if !mutant!(FreedUnrecorded) => Some(Mark::Free),
            _ => None,
        };
        let allocation = allocation.clone();
        take.map(|mark| {
            if !mark.replaces() {
                self.marked_at = now;
            }
            self.recording = Some(mark.clone());
            (allocation, mark)
        })
    }

    pub(in crate::mover) fn rotation_recorded(&mut self, of: &AllocationId, recorded: bool, now: BootTime) {
        let Kind::Address { allocation, mark, .. } = &mut self.kind else { return };
        if allocation != of {
            return;
        }
        let Some(taken) = self.recording.take() else { return };
        if !recorded {
            self.not_before = now + BACKOFF_FIRST;
            return;
        }
        self.unrecorded &= !taken.replaces();
        *mark = Some(taken);
    }

    /// No call of an older time can land any more: what is in place stays there, whoever has made it, unless this epoch itself
    /// has yet to end it.
    pub(in crate::mover) fn trust_what_is_there(&mut self) {
        match &mut self.kind {
            Kind::Address { trusted, .. } => *trusted = true,
            Kind::Subnet(swap) => swap.trust(),
            _ => {}
        }
    }
}

/// Which move the lease says was recorded as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mover) enum Completed {
    /// This epoch's.
    This,
    /// The one before.
    Last,
    /// An older one.
    No,
}

impl Completed {
    /// As the lease says.
    pub(in crate::mover) fn of(lease: &Lease) -> Self {
        match lease.epoch.0.saturating_sub(lease.moved.0) {
            0 => Self::This,
            1 => Self::Last,
            _ => Self::No,
        }
    }
}

/// Whether an answer that does not show the last effect may simply be older than it.
fn is_stale(effect_at: Option<BootTime>, now: BootTime) -> bool {
    effect_at.is_some_and(|effect| now.since(effect) < SETTLES_WITHIN)
}
