//! EC2 on paper: addresses, routes, tables, interfaces, and the faults a test asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use crate::ec2::{AddressSeen, InterfaceSeen, RouteSeen, RouteTarget};
use crate::ids::{AssociationId, Epoch, RouteTableId, SubnetId};
use crate::resource::{Placement, Route, TableAssociation};
use crate::testing::{
    allocation, arn, association, interface, lease, placement, route, table, table_association,
};

/// The world, the moment, and everything that was asked of it.
#[derive(Debug)]
pub(super) struct Paper {
    pub(super) now: BootTime,
    pub(super) addresses: BTreeMap<AllocationId, Option<(AssociationId, Placement)>>,
    pub(super) routes: BTreeMap<Route, RouteTarget>,
    pub(super) tables: BTreeSet<RouteTableId>,
    pub(super) subnets: BTreeMap<SubnetId, TableAssociation>,
    pub(super) forwarding: BTreeSet<InterfaceId>,
    pub(super) calls: Vec<Call>,
    pub(super) looks: usize,
    pub(super) guards: usize,
    pub(super) recorded: Vec<(AllocationId, Mark)>,
    /// How many of the next reads of the lease fail.
    pub(super) lease_unreadable: usize,
    /// How many of the next calls are throttled.
    pub(super) throttle: usize,
    /// A route that may not be replaced.
    pub(super) denied: Option<Route>,
    /// Whether EC2 calls it done when an address is associated where it is; it documents either.
    pub(super) says_done: bool,
    made: u8,
}

/// The lease of `testing`, granted to node 2 after node 1's move was verified. Routes may be taken from gateways.
pub(super) fn moved_to_node_2() -> Lease {
    let mut lease = lease();
    lease.epoch = Epoch(2);
    lease.resources.from_gateways = (1..=9).map(route).collect();
    lease.holder = Some(arn(2));
    lease
}

impl Paper {
    /// Everything where the lease of `testing` says that node 1 has it.
    pub(super) fn at_node_1() -> Self {
        let to = RouteTarget::Interface(interface(1));
        Self {
            now: BootTime(1_000_000_000_000),
            addresses: BTreeMap::from([(allocation(1), Some((association(1), placement(1))))]),
            routes: BTreeMap::from([(route(1), to.clone()), (route(2), to)]),
            tables: (1..=9).map(table).collect(),
            subnets: BTreeMap::new(),
            forwarding: BTreeSet::new(),
            calls: Vec::new(),
            looks: 0,
            guards: 0,
            recorded: Vec::new(),
            lease_unreadable: 0,
            throttle: 0,
            denied: None,
            says_done: false,
            made: 100,
        }
    }

    pub(super) fn pass(&mut self, length: Duration) {
        self.now = self.now + length;
    }

    pub(super) fn seat(&mut self, allocation: AllocationId, place: Placement) -> AssociationId {
        self.made += 1;
        let id = AssociationId::new(format!("eipassoc-00000{:03x}", self.made)).expect("valid");
        self.addresses.insert(allocation, Some((id.clone(), place)));
        id
    }

    pub(super) fn place(&self, allocation: &AllocationId) -> Option<Placement> {
        self.addresses.get(allocation)?.as_ref().map(|(_, place)| place.clone())
    }

    pub(super) fn association(&self, allocation: &AllocationId) -> Option<AssociationId> {
        self.addresses.get(allocation)?.as_ref().map(|(id, _)| id.clone())
    }

    /// Runs a whole move to its completion.
    pub(super) fn run(&mut self, lease: &Lease, eager: bool) -> Observed {
        let mut mover = Mover::new(lease, eager, self.now);
        mover.allow(self.now, self.now);
        for _ in 0..500 {
            match mover.progress() {
                Progress::Moving => self.round(&mut mover, lease),
                Progress::Complete(observed) => return observed,
                other => panic!("{other:?} after {:?}", self.calls),
            }
        }
        panic!("no end after {:?}", self.calls);
    }

    /// Hands out everything the move asks for now, then answers it all a moment later; lets time pass where nothing is.
    pub(super) fn round(&mut self, mover: &mut Mover, lease: &Lease) {
        let actions: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
        if actions.is_empty() {
            match mover.next_deadline() {
                Some(due) => self.now = self.now.max(due),
                None => self.pass(Duration::from_millis(1)),
            }
            return mover.handle_timer(self.now);
        }
        self.pass(Duration::from_millis(10));
        for action in actions {
            self.answer(mover, lease, action);
        }
    }

    pub(super) fn answer(&mut self, mover: &mut Mover, lease: &Lease, action: Action) {
        match action {
            Action::Guard => {
                self.guards += 1;
                let readable = self.lease_unreadable == 0;
                self.lease_unreadable = self.lease_unreadable.saturating_sub(1);
                mover.handle_guard(self.now, Some(lease).filter(|_| readable));
            }
            Action::Look(look) => {
                self.looks += 1;
                let sight = self.look(&look);
                mover.handle_sight(self.now, &look, Ok(sight));
            }
            Action::Call(call) => {
                self.calls.push(call.clone());
                let effect = self.call(&call);
                mover.handle_effect(self.now, &call, effect);
            }
            Action::RecordRotation(allocation, mark) => {
                self.recorded.push((allocation.clone(), mark));
                mover.handle_rotation_recorded(self.now, &allocation, true);
            }
        }
    }

    pub(super) fn look(&self, look: &Look) -> Sight {
        match look {
            Look::Addresses(wanted) => {
                let known = self.addresses.iter().filter(|(id, _)| wanted.contains(id));
                Sight::Addresses(known.map(|(id, at)| (id.clone(), seen(at.as_ref()))).collect())
            }
            Look::Seats(interfaces) => Sight::Seats(
                self.addresses
                    .iter()
                    .filter_map(|(id, at)| Some((id, &at.as_ref()?.1)))
                    .filter(|(_, place)| interfaces.contains(&place.interface))
                    .map(|(id, place)| Seat { allocation: id.clone(), placement: place.clone() })
                    .collect(),
            ),
            Look::Tables(wanted) => {
                let rows = |table: &RouteTableId| {
                    let routes = self.routes.iter().filter(|(route, _)| route.table == *table);
                    let row = |(route, to): (&Route, &RouteTarget)| RouteSeen {
                        destination: route.destination,
                        target: to.clone(),
                        blackhole: false,
                    };
                    routes.map(row).collect()
                };
                let known = wanted.iter().filter(|table| self.tables.contains(*table));
                Sight::Tables(known.map(|table| (table.clone(), rows(table))).collect())
            }
            Look::Subnets(wanted) => {
                let known = self.subnets.iter().filter(|(subnet, _)| wanted.contains(subnet));
                Sight::Subnets(known.map(|(subnet, there)| (subnet.clone(), there.clone())).collect())
            }
            Look::Interfaces(wanted) => {
                let seen = |id: &InterfaceId| InterfaceSeen {
                    source_dest_check: !self.forwarding.contains(id),
                    instance: None,
                };
                Sight::Interfaces(wanted.iter().map(|id| (id.clone(), seen(id))).collect())
            }
            Look::Instance(_) => panic!("a move never asks for an instance"),
        }
    }

    pub(super) fn call(&mut self, call: &Call) -> Result<Effect, CloudFailure> {
        if self.throttle > 0 {
            self.throttle -= 1;
            return Err(CloudFailure::Throttled);
        }
        match call {
            Call::Disassociate { allocation, association } => match self.association(allocation) {
                Some(current) if current == *association => {
                    self.addresses.insert(allocation.clone(), None);
                    Ok(Effect::Done)
                }
                _ => Err(CloudFailure::AssociationGone),
            },
            Call::Associate { allocation, placement } => match self.addresses.get(allocation) {
                None => Err(CloudFailure::NotFound("InvalidAllocationID.NotFound".to_owned())),
                Some(Some((id, place))) if self.says_done && place == placement => {
                    Ok(Effect::Associated(id.clone()))
                }
                Some(Some(_)) => Err(CloudFailure::AlreadyAssociated),
                Some(None) => {
                    // EC2 would take the other address away without a word.
                    let taken = self.addresses.values().flatten().any(|(_, place)| place == placement);
                    assert!(!taken, "{allocation} evicts another address from {placement:?}");
                    Ok(Effect::Associated(self.seat(allocation.clone(), placement.clone())))
                }
            },
            Call::ReplaceRoute { route, .. } if self.denied.as_ref() == Some(route) => {
                Err(CloudFailure::Denied("UnauthorizedOperation".to_owned()))
            }
            Call::ReplaceRoute { route, .. } | Call::CreateRoute { route, .. }
                if !self.tables.contains(&route.table) =>
            {
                Err(CloudFailure::NotFound("InvalidRouteTableID.NotFound".to_owned()))
            }
            Call::ReplaceRoute { route, interface } => match self.routes.get_mut(route) {
                None => Err(CloudFailure::RouteMissing),
                Some(to) => {
                    *to = RouteTarget::Interface(interface.clone());
                    Ok(Effect::Done)
                }
            },
            Call::CreateRoute { route, interface } => {
                if self.routes.contains_key(route) {
                    return Err(CloudFailure::RouteExists);
                }
                self.routes.insert(route.clone(), RouteTarget::Interface(interface.clone()));
                Ok(Effect::Done)
            }
            Call::Stop { .. } => panic!("a move stops nothing"),
            Call::ReplaceTableAssociation { table, .. } if !self.tables.contains(table) => {
                Err(CloudFailure::NotFound("InvalidRouteTableID.NotFound".to_owned()))
            }
            Call::ReplaceTableAssociation { subnet, association, table } => {
                self.made += 1;
                match self.subnets.get_mut(subnet) {
                    Some(there) if there.id == *association => {
                        if there.table != *table {
                            *there =
                                TableAssociation { table: table.clone(), ..table_association(self.made, 1) };
                        }
                        Ok(Effect::TableAssociated(there.id.clone()))
                    }
                    _ => Err(CloudFailure::AssociationGone),
                }
            }
            Call::DisableSourceDestCheck { interface } => {
                self.forwarding.insert(interface.clone());
                Ok(Effect::Done)
            }
        }
    }
}

fn seen(at: Option<&(AssociationId, Placement)>) -> AddressSeen {
    AddressSeen {
        public_ip: std::net::Ipv4Addr::new(198, 51, 100, 1),
        association: at.map(|(id, place)| (id.clone(), Some(place.clone()))),
    }
}
