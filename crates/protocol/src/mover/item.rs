//! One resource on its way to the holder.

use std::collections::BTreeSet;

use super::{BootTime, SETTLES_WITHIN, backoff};
use crate::ec2::{Call, CloudFailure, Effect, Look, Seat, Sight};
use crate::ids::{AllocationId, AssociationId, InstanceArn, InterfaceId, RouteTableId};
use crate::lease::Lease;
use crate::plan::{self, AddressKnown, Need, RouteKnown};
use crate::resource::{Placement, Route};

/// What kind of resource it is, where it belongs, and what is known of it.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// An Elastic IP.
    Address {
        allocation: AllocationId,
        target: Placement,
        known: Option<AddressKnown>,
        /// From the last verified move: which association to end first.
        expected: Option<AssociationId>,
        /// Whether every association of this epoch is to be recorded, since the previous move was never completed.
        record: bool,
        /// From the last verified move as well: the one association that is known to be older than this epoch.
        verified: Option<AssociationId>,
        /// The association that this epoch made, which is never made anew.
        made: Option<AssociationId>,
    },
    /// A route.
    Route { route: Route, interface: InterfaceId, known: Option<RouteKnown>, eager: bool },
    /// The interface that routes lead to: whether EC2 still drops what is not addressed to it.
    Forwarding { interface: InterfaceId, known: Option<bool> },
    /// A resource of which nothing says where it belongs; blocked from the start.
    Nowhere { name: String },
}

/// Who sits where on the interfaces that take addresses.
#[derive(Debug)]
pub(super) struct Seats {
    /// Addresses of the same move that belong elsewhere.
    pub(super) leaving: Vec<Seat>,
    /// All others.
    pub(super) staying: Vec<Seat>,
}

/// One resource and how far it has come.
#[derive(Debug, Clone)]
pub(super) struct Item {
    kind: Kind,
    next: Option<Call>,
    calling: bool,
    recording: bool,
    /// Whether its place is still taken by an address that is on its way from there.
    waits_for_seat: bool,
    settled: bool,
    confirmed: bool,
    blocked: Option<String>,
    attempts: u32,
    not_before: BootTime,
    /// The reply to the last call that took effect; answers asked before it are older than what is known.
    effect_at: Option<BootTime>,
    /// When a look showed what is known.
    learnt_at: BootTime,
}

/// The items of a lease: its addresses, its routes, and the interface that routes lead to.
pub(super) fn for_lease(lease: &Lease, eager: bool) -> Vec<Item> {
    let Some(holder) = &lease.holder else { return Vec::new() };
    let Some(member) = lease.member(holder) else { return without_member(lease, holder) };
    let unfinished = lease.moved.0 + 1 < lease.epoch.0 || mutant!(RotateAlways);
    let mut items = Vec::new();
    for address in &lease.resources.addresses {
        let allocation = address.allocation.clone();
        let verified = lease.observed.associations.get(&allocation).cloned();
        let expected = verified.clone().filter(|_| eager);
        let made = lease.rotated.get(&allocation).cloned();
        match member.placements.get(&allocation) {
            Some(target) => items.push(Item::new(Kind::Address {
                allocation,
                target: target.clone(),
                known: None,
                expected,
                verified,
                record: unfinished && !mutant!(NoRotation),
                made,
            })),
            None => {
                let why = format!(
                    "{} has no private address for {allocation}; update the cluster's nodes",
                    member.node
                );
                items.push(Item::nowhere(allocation.to_string(), why));
            }
        }
    }
    for route in &lease.resources.routes {
        let interface = member.interface.clone();
        items.push(Item::new(Kind::Route { route: route.clone(), interface, known: None, eager }));
    }
    if !lease.resources.routes.is_empty() {
        items.push(Item::new(Kind::Forwarding { interface: member.interface.clone(), known: None }));
    }
    items
}

/// Nothing says where the resources of a holder belong that is no longer a member, so none of them may count as moved.
fn without_member(lease: &Lease, holder: &InstanceArn) -> Vec<Item> {
    let id = holder.instance_id();
    let why = format!("{id} holds the lease and is not a node of the cluster; update the cluster's nodes");
    let addresses = lease.resources.addresses.iter().map(|address| address.allocation.to_string());
    let routes = lease.resources.routes.iter().map(route_name);
    addresses.chain(routes).map(|name| Item::nowhere(name, why.clone())).collect()
}

fn route_name(route: &Route) -> String {
    format!("{} in {}", route.destination, route.table)
}

/// The looks that show every item, and the seats on every interface that takes an address.
pub(super) fn looks(items: &[Item], interfaces: &[InterfaceId]) -> Vec<Look> {
    let mut addresses = Vec::new();
    let mut tables = BTreeSet::new();
    let mut forwarding = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Address { allocation, .. } => addresses.push(allocation.clone()),
            Kind::Route { route, .. } => {
                tables.insert(route.table.clone());
            }
            Kind::Forwarding { interface, .. } => forwarding.push(interface.clone()),
            Kind::Nowhere { .. } => {}
        }
    }
    let tables: Vec<RouteTableId> = tables.into_iter().collect();
    let mut looks = Vec::new();
    if !addresses.is_empty() {
        looks.push(Look::Addresses(addresses));
    }
    // Asked even where no address goes, so that the answer is never waited for in vain.
    looks.push(Look::Seats(interfaces.to_vec()));
    if !tables.is_empty() {
        looks.push(Look::Tables(tables));
    }
    if !forwarding.is_empty() {
        looks.push(Look::Interfaces(forwarding));
    }
    looks.retain(|look| !matches!(look, Look::Seats(interfaces) if interfaces.is_empty()));
    looks
}

impl Item {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            next: None,
            calling: false,
            recording: false,
            waits_for_seat: false,
            settled: false,
            confirmed: false,
            blocked: None,
            attempts: 0,
            not_before: BootTime(0),
            effect_at: None,
            learnt_at: BootTime(0),
        }
    }

    fn nowhere(name: String, why: String) -> Self {
        Self { blocked: Some(why), ..Self::new(Kind::Nowhere { name }) }
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match &self.kind {
            Kind::Address { allocation, .. } => allocation.to_string(),
            Kind::Route { route, .. } => route_name(route),
            Kind::Forwarding { interface, .. } => interface.to_string(),
            Kind::Nowhere { name } => name.clone(),
        }
    }

    pub(super) fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed && !self.recording
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled && !self.recording
    }

    /// The interface that must have no foreign seat, for an address that can be moved.
    pub(super) fn target_interface(&self) -> Option<&InterfaceId> {
        match &self.kind {
            Kind::Address { target, .. } if self.blocked.is_none() => Some(&target.interface),
            _ => None,
        }
    }

    pub(super) fn association(&self) -> Option<(AllocationId, AssociationId)> {
        match &self.kind {
            Kind::Address { allocation, known: Some(Some((association, _))), .. } => {
                Some((allocation.clone(), association.clone()))
            }
            _ => None,
        }
    }

    /// Whether nothing can be done before EC2 has been asked.
    pub(super) fn is_blind(&self) -> bool {
        if self.blocked.is_some() || self.calling || self.next.is_some() {
            return false;
        }
        match &self.kind {
            Kind::Address { known, expected, .. } => {
                self.waits_for_seat || (known.is_none() && expected.is_none())
            }
            Kind::Route { known, eager, .. } => known.is_none() && !eager,
            Kind::Forwarding { known, .. } => known.is_none(),
            Kind::Nowhere { .. } => false,
        }
    }

    /// Whether the address in this seat is this one, and belongs elsewhere.
    pub(super) fn will_leave(&self, seat: &Seat) -> bool {
        self.blocked.is_none()
            && matches!(&self.kind, Kind::Address { allocation, target, .. }
                if *allocation == seat.allocation && *target != seat.placement)
    }

    pub(super) fn waits_until(&self) -> Option<BootTime> {
        (self.next.is_some() && !self.calling).then_some(self.not_before)
    }

    pub(super) fn wait_at_least_until(&mut self, moment: BootTime) {
        self.not_before = self.not_before.max(moment);
    }

    pub(super) fn is_ready(&self, now: BootTime) -> bool {
        self.next.is_some() && !self.calling && now >= self.not_before
    }

    /// The call, if it may be made after a sight of the lease that was asked for at `seen`.
    pub(super) fn take_call(&mut self, seen: BootTime, now: BootTime) -> Option<Call> {
        if !self.is_ready(now) || seen < self.needs_sight_from() {
            return None;
        }
        self.calling = true;
        self.next.take()
    }

    /// An association that a look has shown may be of a later epoch, unless the lease is seen at this one afterwards.
    fn needs_sight_from(&self) -> BootTime {
        match (&self.kind, &self.next) {
            (Kind::Address { verified, .. }, Some(Call::Disassociate { association, .. }))
                if verified.as_ref() != Some(association) && !mutant!(EndUnseen) =>
            {
                self.learnt_at
            }
            _ => BootTime(0),
        }
    }

    pub(super) fn is_about(&self, call: &Call) -> bool {
        match (&self.kind, call) {
            (Kind::Address { allocation, .. }, Call::Disassociate { allocation: other, .. })
            | (Kind::Address { allocation, .. }, Call::Associate { allocation: other, .. }) => {
                allocation == other
            }
            (Kind::Route { route, .. }, Call::ReplaceRoute { route: other, .. })
            | (Kind::Route { route, .. }, Call::CreateRoute { route: other, .. }) => route == other,
            (Kind::Forwarding { interface, .. }, Call::DisableSourceDestCheck { interface: other }) => {
                interface == other
            }
            _ => false,
        }
    }

    /// Draws the next call from what is known.
    pub(super) fn plan(&mut self, seats: Option<&Seats>, seats_fail: Option<&str>, now: BootTime) {
        self.waits_for_seat = false;
        if self.calling || self.recording || self.next.is_some() || self.blocked.is_some() || self.settled {
            return;
        }
        let need = match &mut self.kind {
            Kind::Address { allocation, known: None, expected, .. } => {
                // The first call needs no look: if the expected association has ended, EC2 refuses and we look.
                expected.take().map(|association| {
                    Need::Call(Call::Disassociate { allocation: allocation.clone(), association })
                })
            }
            Kind::Address { allocation, target, known: Some(known), record, made, .. } => {
                let made = made.as_ref().filter(|_| !mutant!(RotateAlways));
                let renew = *record && known.as_ref().is_some_and(|(id, _)| made != Some(id));
                let lets_go = known.is_some();
                let taken = |seat: &Seat| seat.placement == *target && seat.allocation != *allocation;
                match (seats, seats_fail) {
                    (Some(seats), _) if !lets_go && seats.leaving.iter().any(taken) => {
                        self.waits_for_seat = true;
                        None
                    }
                    (Some(seats), _) => Some(plan::address(allocation, target, known, &seats.staying, renew)),
                    // To let go of an address elsewhere needs no look at the target.
                    (None, None) if lets_go => Some(plan::address(allocation, target, known, &[], renew)),
                    (None, None) => None,
                    (None, Some(why)) => Some(Need::Person(why.to_owned())),
                }
            }
            Kind::Route { route, interface, known: None, eager } => std::mem::take(eager).then(|| {
                Need::Call(Call::ReplaceRoute { route: route.clone(), interface: interface.clone() })
            }),
            Kind::Route { route, interface, known: Some(known), .. } => {
                Some(plan::route(route, interface, known))
            }
            Kind::Forwarding { known: None, .. } => None,
            Kind::Forwarding { interface, known: Some(checked) } => Some(if *checked {
                Need::Call(Call::DisableSourceDestCheck { interface: interface.clone() })
            } else {
                Need::Nothing
            }),
            Kind::Nowhere { .. } => None,
        };
        match need {
            None => {}
            Some(Need::Nothing) => {
                self.settled = true;
                // Known by a look that was asked after the last effect, or by no call at all: it has been seen.
                self.confirmed = self.effect_at.is_none();
            }
            Some(Need::Call(call)) => {
                self.next = Some(call);
                self.wait_at_least_until(now);
            }
            Some(Need::Person(why)) => self.blocked = Some(why),
        }
    }

    /// Takes in what EC2 showed to a look that was asked at `asked`.
    pub(super) fn learn(&mut self, sight: &Sight, asked: BootTime, now: BootTime) {
        let older = self.effect_at.is_some_and(|effect| asked < effect) && !mutant!(BelieveStaleLook);
        if self.calling || self.blocked.is_some() || older {
            return;
        }
        let in_place = match (&mut self.kind, sight) {
            (Kind::Address { allocation, target, known, .. }, Sight::Addresses(seen)) => {
                let Some(seen) = seen.get(allocation) else {
                    let why = format!("{allocation} is not allocated to this account");
                    return self.missing(why, now);
                };
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
            (Kind::Route { route, interface, known, .. }, Sight::Tables(tables)) => {
                let seen = plan::route_in(tables, route);
                let in_place = plan::route(route, interface, &seen) == Need::Nothing;
                if self.settled && !in_place && is_stale(self.effect_at, now) {
                    return;
                }
                *known = Some(seen);
                in_place
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
            self.confirmed = true;
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
    pub(super) fn cannot_be_seen(&mut self, look: &Look, why: &str) {
        let mine = matches!(
            (&self.kind, look),
            (Kind::Address { .. }, Look::Addresses(_))
                | (Kind::Route { .. }, Look::Tables(_))
                | (Kind::Forwarding { .. }, Look::Interfaces(_))
        );
        if mine {
            self.blocked = Some(why.to_owned());
        }
    }

    /// Takes in EC2's answer to this item's call. Returns an association that is to be recorded.
    pub(super) fn conclude(
        &mut self,
        call: &Call,
        answer: Result<Effect, CloudFailure>,
        now: BootTime,
    ) -> Option<(AllocationId, AssociationId)> {
        self.calling = false;
        match answer {
            Ok(effect) => {
                self.attempts = 0;
                self.effect_at = Some(now);
                self.apply(call, effect)
            }
            Err(failure) => {
                self.attempts += 1;
                self.not_before = now + backoff(self.attempts - 1);
                self.fail(call, failure, now);
                None
            }
        }
    }

    fn apply(&mut self, call: &Call, effect: Effect) -> Option<(AllocationId, AssociationId)> {
        match (&mut self.kind, call, effect) {
            (Kind::Address { known, .. }, Call::Disassociate { .. }, _) => *known = Some(None),
            (
                Kind::Address { allocation, target, known, record, made, .. },
                Call::Associate { .. },
                Effect::Associated(id),
            ) => {
                *known = Some(Some((id.clone(), Some(target.clone()))));
                *made = Some(id.clone());
                self.settled = true;
                if *record {
                    self.recording = true;
                    return Some((allocation.clone(), id));
                }
            }
            (Kind::Address { known, .. }, ..) => *known = None,
            (Kind::Route { interface, known, .. }, ..) => {
                *known = Some(RouteKnown::To(crate::ec2::RouteTarget::Interface(interface.clone())));
                self.settled = true;
            }
            (Kind::Forwarding { known, .. }, ..) => {
                *known = Some(false);
                self.settled = true;
            }
            (Kind::Nowhere { .. }, ..) => {}
        }
        None
    }

    fn fail(&mut self, call: &Call, failure: CloudFailure, now: BootTime) {
        match (&mut self.kind, failure) {
            // Not applied: the same call again.
            (_, CloudFailure::Throttled) => {
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
            (Kind::Forwarding { known, .. }, CloudFailure::Unknown(_)) => *known = None,
            (_, failure) => self.blocked = Some(format!("{}: {failure}", call.action())),
        }
    }

    /// Takes in which associations this epoch has made, by whichever invocation: such a one is not made anew again.
    pub(super) fn note_recorded(
        &mut self,
        recorded: &std::collections::BTreeMap<AllocationId, AssociationId>,
    ) {
        let Kind::Address { allocation, made, .. } = &mut self.kind else { return };
        let Some(id) = recorded.get(allocation) else { return };
        *made = Some(id.clone());
        if matches!(&self.next, Some(Call::Disassociate { association, .. }) if association == id) {
            self.next = None;
        }
    }

    pub(super) fn rotation_recorded(&mut self, recorded: &AllocationId) {
        if matches!(&self.kind, Kind::Address { allocation, .. } if allocation == recorded) {
            self.recording = false;
        }
    }
}

/// Whether an answer that does not show the last effect may simply be older than it.
fn is_stale(effect_at: Option<BootTime>, now: BootTime) -> bool {
    !mutant!(BelieveStaleLook) && effect_at.is_some_and(|effect| now.since(effect) < SETTLES_WITHIN)
}
