//! One resource on its way to the holder.

mod learn;
mod subnet;

pub(super) use learn::Completed;
use subnet::Swap;

use std::collections::BTreeSet;

use super::{BootTime, SETTLES_WITHIN};
use crate::ec2::{Call, Look, RouteTarget, Seat};
use crate::ids::{AllocationId, AssociationId, Epoch, InstanceArn, InterfaceId, RouteTableId, SubnetId};
use crate::lease::Lease;
use crate::mark::Mark;
use crate::plan::{self, AddressKnown, Need, RouteKnown};
use crate::resource::{Placement, Route, TableAssociation};

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
        /// Whether what is in place is made anew, since the previous move was never completed.
        renew: bool,
        /// From the last verified move as well: the one association that is known to be older than this epoch.
        verified: Option<AssociationId>,
        /// Whether what is in place counts only if this move has put it there or the last one has verified it. A call of the
        /// epoch before the last may have put it there, late, when the last move had long been recorded, and one of the
        /// last epoch may still name it.
        doubt: bool,
        /// What this epoch has recorded of it: what is ended where it belongs, and that nothing else is.
        mark: Option<Mark>,
        /// Whether this move has ended an association, so that what is made afterwards is younger than the grant.
        cleared: bool,
        /// The association that this epoch is known to have made: no call can name it.
        sound: Option<AssociationId>,
        /// Whether what is in place counts, whoever has made it: no call of an earlier epoch can land any more.
        trusted: bool,
        /// Associations that are known to have ended, whatever a late answer shows.
        gone: BTreeSet<AssociationId>,
    },
    /// A route.
    Route {
        route: Route,
        interface: InterfaceId,
        known: Option<RouteKnown>,
        /// Whether it may be taken from a gateway; if not, it is not turned before it was seen where it leads.
        from_gateway: bool,
        /// Whether nobody has named its table: it was taken in by its description, and holds back no other thing.
        described: bool,
        eager: bool,
    },
    /// A subnet whose route table is swapped.
    Subnet(Swap),
    /// The interface that routes lead to: whether EC2 still drops what is not addressed to it.
    Forwarding { interface: InterfaceId, known: Option<bool> },
    /// A resource of which nothing says where it belongs; blocked from the start.
    Nowhere { name: String },
}

impl Kind {
    /// Whether the address is where it belongs.
    fn is_in_place(&self) -> bool {
        let Self::Address { known: Some(Some((_, Some(place)))), target, .. } = self else { return false };
        place == target
    }

    /// The association that is in place, and not known to be made by this epoch.
    fn unsound(&self) -> Option<&AssociationId> {
        let Self::Address { known: Some(Some((id, Some(place)))), target, sound, .. } = self else {
            return None;
        };
        (place == target && sound.as_ref() != Some(id)).then_some(id)
    }

    /// Whether what is in place is to be made anew: the previous move was never completed, and this is what the epoch's mark
    /// says, or there is none yet.
    fn renews(&self) -> bool {
        let Self::Address { renew, mark, .. } = self else { return false };
        let Some(id) = self.unsound() else { return false };
        *renew && mark.as_ref().is_none_or(|mark| *mark == Mark::Ends(id.clone()) || mutant!(RotateAlways))
    }

    /// Whether an association is in place that does not count, and must not be ended either: whoever has made it may be about
    /// to record it. In a first move after a completed one it counts if the last move has verified it.
    fn is_strange(&self) -> bool {
        if let Self::Subnet(swap) = self {
            return swap.is_strange();
        }
        let Self::Address { renew, doubt, trusted, verified, .. } = self else { return false };
        let Some(id) = self.unsound() else { return false };
        if *trusted || self.renews() {
            return false;
        }
        *renew || *doubt && verified.as_ref() != Some(id)
    }
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
    /// The mark that is being recorded.
    recording: Option<Mark>,
    /// When this move asked for its first mark to be recorded.
    marked_at: BootTime,
    /// Whether the association that this move has made is yet to be recorded, for other invocations to know it as well.
    unrecorded: bool,
    /// Whether its place is still taken by an address that is on its way from there.
    waits_for_seat: bool,
    /// Whether what is in place is waited for to be recorded by whoever has made it.
    waits_for_word: bool,
    settled: bool,
    confirmed: bool,
    blocked: Option<String>,
    /// Whether it is blocked because somebody has led it to a gateway or into a table of theirs, so that it is not the cluster's
    /// for the time being; or because EC2 will not change a table that nobody has named. It is told of, tried again in each
    /// turn, and no reason for everything else to count as unfinished.
    left: bool,
    attempts: u32,
    not_before: BootTime,
    /// The reply to the last call that took effect; answers asked before it are older than what is known.
    effect_at: Option<BootTime>,
    /// When a look showed what is known.
    learnt_at: BootTime,
    /// Whether this move was never recorded as complete, so that what a look shows in place may be an earlier holding of the
    /// same node, answered late.
    first: bool,
    /// From when on a look is believed that shows in place what this move has not put there.
    trust_from: Option<BootTime>,
}

/// The items of a lease: its addresses, its routes, its subnets, and the interface that routes lead to.
pub(super) fn for_lease(lease: &Lease, eager: bool) -> Vec<Item> {
    let Some(holder) = &lease.holder else { return Vec::new() };
    let Some(member) = lease.member(holder) else { return without_member(lease, holder) };
    let first = lease.moved < lease.epoch;
    let unfinished = lease.moved.0 + 1 < lease.epoch.0 || mutant!(RotateAlways);
    // Before the first epoch there is none whose calls could be late.
    let doubt = first && lease.epoch > Epoch(1);
    let mut items = Vec::new();
    for address in &lease.resources.addresses {
        let allocation = address.allocation.clone();
        let verified = lease.observed.associations.get(&allocation).cloned();
        let expected = verified.clone().filter(|_| eager);
        let mark = lease.rotated.get(&allocation).cloned();
        match member.placements.get(&allocation) {
            Some(target) => items.push(Item::new(Kind::Address {
                allocation,
                target: target.clone(),
                known: None,
                expected,
                verified,
                renew: unfinished && !mutant!(NoRotation),
                doubt,
                cleared: false,
                sound: made(mark.as_ref()),
                mark,
                trusted: false,
                gone: BTreeSet::new(),
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
        let from_gateway = lease.resources.from_gateways.contains(route);
        items.push(Item::new(Kind::Route {
            route: route.clone(),
            interface: member.interface.clone(),
            known: None,
            from_gateway,
            described: lease.resources.choices.describe(&route.destination),
            eager: eager && (from_gateway || mutant!(GatewayTaken)),
        }));
    }
    items.extend(lease.resources.subnets.iter().map(|swapped| {
        Swap::new(swapped, member, lease, eager).map_or_else(
            || Item::nowhere(swapped.subnet.to_string(), subnet::unprepared(member)),
            |swap| Item::new(Kind::Subnet(swap)),
        )
    }));
    if lease.resources.needs_forwarding() {
        items.push(Item::new(Kind::Forwarding { interface: member.interface.clone(), known: None }));
    }
    items.iter_mut().for_each(|item| item.first = first && !matches!(item.kind, Kind::Forwarding { .. }));
    items
}

/// The association that a mark says was made.
fn made(mark: Option<&Mark>) -> Option<AssociationId> {
    match mark {
        Some(Mark::Made(id)) => Some(id.clone()),
        Some(Mark::Ends(_) | Mark::Free) | None => None,
    }
}

/// Nothing says where the resources of a holder belong that is no longer a member, so none of them may count as moved.
fn without_member(lease: &Lease, holder: &InstanceArn) -> Vec<Item> {
    let id = holder.instance_id();
    let why = format!("{id} holds the lease and is not a node of the cluster; update the cluster's nodes");
    let addresses = lease.resources.addresses.iter().map(|address| address.allocation.to_string());
    let routes = lease.resources.routes.iter().map(ToString::to_string);
    let subnets = lease.resources.subnets.iter().map(|subnet| subnet.subnet.to_string());
    addresses.chain(routes).chain(subnets).map(|name| Item::nowhere(name, why.clone())).collect()
}

/// The looks that show every item, and the seats on every interface that takes an address.
pub(super) fn looks(items: &[Item], interfaces: &[InterfaceId]) -> Vec<Look> {
    let mut addresses = Vec::new();
    let mut tables = BTreeSet::new();
    let mut subnets = Vec::new();
    let mut forwarding = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Address { allocation, .. } => addresses.push(allocation.clone()),
            Kind::Route { route, .. } => {
                tables.insert(route.table.clone());
            }
            Kind::Subnet(swap) => subnets.push(swap.subnet.clone()),
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
    if !subnets.is_empty() {
        looks.push(Look::Subnets(subnets));
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
            recording: None,
            marked_at: BootTime(0),
            unrecorded: false,
            waits_for_seat: false,
            waits_for_word: false,
            settled: false,
            confirmed: false,
            blocked: None,
            left: false,
            attempts: 0,
            not_before: BootTime(0),
            effect_at: None,
            learnt_at: BootTime(0),
            first: false,
            trust_from: None,
        }
    }

    fn nowhere(name: String, why: String) -> Self {
        Self { blocked: Some(why), ..Self::new(Kind::Nowhere { name }) }
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match &self.kind {
            Kind::Address { allocation, .. } => allocation.to_string(),
            Kind::Route { route, .. } => route.to_string(),
            Kind::Subnet(swap) => swap.subnet.to_string(),
            Kind::Forwarding { interface, .. } => interface.to_string(),
            Kind::Nowhere { name } => name.clone(),
        }
    }

    pub(super) fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    /// Whether there is nothing left to do of it: it was seen in place, or is left where somebody has led it.
    pub(super) fn is_over(&self) -> bool {
        self.is_confirmed() || self.left
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed && self.recording.is_none() && !self.unrecorded
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled && self.recording.is_none() && !self.unrecorded
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

    /// The association of a subnet that is in place.
    pub(super) fn table_association(&self) -> Option<(SubnetId, TableAssociation)> {
        let Kind::Subnet(swap) = &self.kind else { return None };
        Some((swap.subnet.clone(), swap.in_place()?.clone()))
    }

    /// What was seen of it, in words.
    pub(super) fn found(&self) -> Option<String> {
        match &self.kind {
            Kind::Address { known, .. } => known.as_ref().map(|known| match known {
                Some((_, Some(place))) => format!("on {} of {}", place.private_ip, place.interface),
                Some((association, None)) => format!("associated elsewhere as {association}"),
                None => "not associated".to_owned(),
            }),
            Kind::Route { known, .. } => known.as_ref().map(|known| match known {
                RouteKnown::To(RouteTarget::Interface(interface)) => format!("leads to {interface}"),
                RouteKnown::To(RouteTarget::Other(target)) | RouteKnown::Gateway(target) => {
                    format!("leads to {target}")
                }
                RouteKnown::Missing => "missing".to_owned(),
                RouteKnown::NoTable => "in no table".to_owned(),
            }),
            Kind::Subnet(swap) => swap.found(),
            Kind::Forwarding { known, .. } => {
                known.and_then(|checked| checked.then(|| "checks source and destination".to_owned()))
            }
            Kind::Nowhere { .. } => None,
        }
    }

    /// Whether what is in place does not count until the lease says so.
    pub(super) fn waits_for_word(&self) -> bool {
        self.waits_for_word
    }

    /// Whether nothing can be done before EC2 has been asked.
    pub(super) fn is_blind(&self) -> bool {
        if self.blocked.is_some() || self.calling || self.next.is_some() {
            return false;
        }
        match &self.kind {
            Kind::Address { known, expected, .. } => {
                self.waits_for_seat || self.waits_for_word || (known.is_none() && expected.is_none())
            }
            Kind::Route { known, eager, .. } => known.is_none() && !eager,
            Kind::Subnet(swap) => self.waits_for_word || !swap.is_known(),
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
        let calls = self.next.is_some() && !self.calling;
        ((calls || self.unrecorded) && self.recording.is_none()).then_some(self.not_before)
    }

    pub(super) fn wait_at_least_until(&mut self, moment: BootTime) {
        self.not_before = self.not_before.max(moment);
    }

    pub(super) fn is_ready(&self, now: BootTime) -> bool {
        self.next.is_some() && !self.calling && self.recording.is_none() && now >= self.not_before
    }

    /// The call, if it may be made after a sight of the lease that was asked for at `seen`.
    pub(super) fn take_call(&mut self, seen: BootTime, now: BootTime) -> Option<Call> {
        if !self.is_ready(now) || seen < self.needs_sight_from() {
            return None;
        }
        self.calling = true;
        self.next.take()
    }

    /// An association that a look has shown may be of a later epoch, unless the lease is seen at this one afterwards. One that
    /// is ended where it belongs may have been recorded as complete between the read that a grant was decided from and its
    /// commit: nobody minds the mark then, and only a read after it shows that.
    fn needs_sight_from(&self) -> BootTime {
        match (&self.kind, &self.next) {
            (Kind::Address { verified, .. }, Some(Call::Disassociate { association, .. })) => {
                let known = verified.as_ref() == Some(association) || mutant!(EndUnseen);
                let shown = if known { BootTime(0) } else { self.learnt_at };
                shown.max(self.marked_at)
            }
            (Kind::Subnet(swap), Some(Call::ReplaceTableAssociation { association, .. })) => {
                if swap.is_older(association) { BootTime(0) } else { self.learnt_at }
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
            (Kind::Subnet(swap), Call::ReplaceTableAssociation { subnet, .. }) => swap.subnet == *subnet,
            (Kind::Forwarding { interface, .. }, Call::DisableSourceDestCheck { interface: other }) => {
                interface == other
            }
            _ => false,
        }
    }

    /// Draws the next call from what is known.
    pub(super) fn plan(&mut self, seats: Option<&Seats>, seats_fail: Option<&str>, now: BootTime) {
        (self.waits_for_seat, self.waits_for_word) = (false, false);
        let waits = self.calling || self.recording.is_some() || self.next.is_some();
        if waits || self.blocked.is_some() || self.settled {
            return;
        }
        let renew = self.kind.renews();
        let need = match &mut self.kind {
            Kind::Address { allocation, known: None, expected, .. } => {
                // The first call needs no look: if the expected association has ended, EC2 refuses and we look.
                expected.take().map(|association| {
                    Need::Call(Call::Disassociate { allocation: allocation.clone(), association })
                })
            }
            kind if kind.is_strange() => {
                self.waits_for_word = true;
                None
            }
            Kind::Address { allocation, target, known: Some(known), .. } => {
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
            Kind::Route { route, interface, known: None, eager, .. } => std::mem::take(eager).then(|| {
                Need::Call(Call::ReplaceRoute { route: route.clone(), interface: interface.clone() })
            }),
            Kind::Route { route, interface, known: Some(known), from_gateway, .. } => {
                Some(plan::route(route, interface, known, *from_gateway))
            }
            Kind::Subnet(swap) => swap.need(),
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
                self.confirmed = self.effect_at.is_none() && !self.is_in_doubt(now);
            }
            Some(Need::Call(call)) => {
                self.next = Some(call);
                self.wait_at_least_until(now);
            }
            Some(Need::Person(why)) => {
                self.left = match &self.kind {
                    Kind::Route { known: Some(RouteKnown::Gateway(_)), .. } => true,
                    Kind::Route { described, .. } => *described,
                    Kind::Subnet(swap) => swap.is_led_away(),
                    _ => false,
                };
                self.blocked = Some(why);
            }
        }
    }

    /// The node may have held these resources before, and a late answer shows that time. So what this move has not put in
    /// place itself has to be seen there once more, when no answer can be so old any more.
    fn is_in_doubt(&mut self, now: BootTime) -> bool {
        if !self.first || mutant!(TrustOneLook) {
            return false;
        }
        self.trust_from.get_or_insert(now + SETTLES_WITHIN);
        true
    }

    /// Until when another look would tell nothing.
    pub(super) fn doubts_until(&self) -> Option<BootTime> {
        self.trust_from.filter(|_| self.settled && !self.confirmed && self.effect_at.is_none())
    }
}
