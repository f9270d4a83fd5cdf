//! The plan: for one resource, what is known of it and the one call that brings it nearer to the holder.
//!
//! Nothing is left to whoever makes the call. A resource is in place, or there is exactly one next call, or it is blocked
//! and people are told why. Calls on an Elastic IP form a compare-and-swap: the association that was observed is ended,
//! which fails if it is not current any more, and a new one is made only while the address is free. So a call that lands
//! late can undo nothing: the association it names has ended, or the address is not free.

use std::collections::{BTreeMap, BTreeSet};

use crate::ec2::{Call, RouteSeen, RouteTarget, Seat};
use crate::ids::{AllocationId, AssociationId, InterfaceId, RouteTableId, SubnetId};
use crate::resource::{Destination, Placement, Route, TableAssociation};

/// What is known of an Elastic IP: free, or associated.
pub type AddressKnown = Option<(AssociationId, Option<Placement>)>;

/// What is known of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteKnown {
    /// The table does not hold the destination.
    Missing,
    /// The table does not exist, as far as EC2 tells.
    NoTable,
    /// The route leads to something that is no interface, and that takes traffic: a gateway, mostly.
    Gateway(String),
    /// The route leads to an interface, or into nothing.
    To(RouteTarget),
}

/// What a resource needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it is at the holder.
    Nothing,
    /// This call.
    Call(Call),
    /// A person.
    Person(String),
}

/// What an Elastic IP needs to be at `target`. `renew` says that an association which is in place already must be made
/// anew, since an earlier move was never completed and a late call of it might still name the old one.
pub fn address(
    allocation: &AllocationId,
    target: &Placement,
    known: &AddressKnown,
    seats: &[Seat],
    renew: bool,
) -> Need {
    let foreign = seats.iter().find(|seat| seat.placement == *target && seat.allocation != *allocation);
    if let Some(seat) = foreign.filter(|_| !mutant!(Evict)) {
        // EC2 would silently take the other address off this private address (AssociateAddress, API reference).
        return Need::Person(format!(
            "{} on {} carries {}, which does not belong there; it is never evicted: move it, or give this node another \
             private address",
            target.private_ip, target.interface, seat.allocation
        ));
    }
    match known {
        None => Need::Call(Call::Associate { allocation: allocation.clone(), placement: target.clone() }),
        Some((_, Some(place))) if place == target && !renew => Need::Nothing,
        Some((association, _)) => Need::Call(Call::Disassociate {
            allocation: allocation.clone(),
            association: association.clone(),
        }),
    }
}

/// What a declared route needs to lead to `interface`. `from_gateway` says that it may be taken from a gateway.
pub fn route(route: &Route, interface: &InterfaceId, known: &RouteKnown, from_gateway: bool) -> Need {
    match known {
        RouteKnown::To(RouteTarget::Interface(there)) if there == interface => Need::Nothing,
        // Somebody has led it there, and may have meant it: everything in that table's subnets goes that way.
        RouteKnown::Gateway(gateway) if !from_gateway && !mutant!(GatewayTaken) => Need::Person(format!(
            "{} leads to {gateway}, which is no network interface, and the cluster may not take it from there: delete the \
             route or lead it to a node, or set ReplaceGatewayRoutes to true",
            route.destination
        )),
        RouteKnown::Gateway(_) | RouteKnown::To(_) => {
            Need::Call(Call::ReplaceRoute { route: route.clone(), interface: interface.clone() })
        }
        RouteKnown::Missing => {
            Need::Call(Call::CreateRoute { route: route.clone(), interface: interface.clone() })
        }
        RouteKnown::NoTable => Need::Person(format!(
            "route table {} does not exist; make it, or take it out of the cluster",
            route.table
        )),
    }
}

/// What a subnet needs to be associated with `target`. Only a table that is one of the `prepared` is replaced: another one was
/// put there by somebody, and everything of the subnet goes by it.
pub fn subnet(
    subnet: &SubnetId,
    target: &RouteTableId,
    prepared: &BTreeSet<RouteTableId>,
    known: Option<&TableAssociation>,
) -> Need {
    match known {
        Some(there) if there.table == *target => Need::Nothing,
        Some(there) if prepared.contains(&there.table) || mutant!(ForeignTableTaken) => {
            Need::Call(Call::ReplaceTableAssociation {
                subnet: subnet.clone(),
                association: there.id.clone(),
                table: target.clone(),
            })
        }
        Some(there) => Need::Person(format!(
            "it is associated with {}, which is none of the cluster's tables for it, and is left there: associate it with one of \
             them (`ReplaceRouteTableAssociation`), or take the subnet out of the cluster",
            there.table
        )),
        None => Need::Person(
            "it has no route table of its own: associate it with one of the cluster's tables for it \
             (`AssociateRouteTable`), or take the subnet out of the cluster"
                .to_owned(),
        ),
    }
}

/// What EC2's answer says of a route. A black hole at the right interface counts as in place: it says that the instance
/// takes no traffic now, which no route call can mend.
pub fn route_in(tables: &BTreeMap<RouteTableId, Vec<RouteSeen>>, wanted: &Route) -> RouteKnown {
    tables.get(&wanted.table).map_or(RouteKnown::NoTable, |routes| route_among(routes, &wanted.destination))
}

/// What the routes of a table say of a destination.
pub(crate) fn route_among(routes: &[RouteSeen], wanted: &Destination) -> RouteKnown {
    routes.iter().find(|seen| seen.destination == *wanted).map_or(RouteKnown::Missing, |seen| {
        match &seen.target {
            // A route into nothing serves nobody, so there is nothing to lose.
            RouteTarget::Other(gateway) if !seen.blackhole => RouteKnown::Gateway(gateway.clone()),
            target => RouteKnown::To(target.clone()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        allocation, association, interface, placement, route as declared, subnet, table, table_association,
    };

    fn need(known: &AddressKnown, seats: &[Seat], renew: bool) -> Need {
        address(&allocation(1), &placement(2), known, seats, renew)
    }

    #[test]
    fn an_address_elsewhere_is_let_go_by_the_association_that_was_observed() {
        let known = Some((association(7), Some(placement(1))));
        let call = Call::Disassociate { allocation: allocation(1), association: association(7) };
        assert_eq!(need(&known, &[], false), Need::Call(call));
    }

    #[test]
    fn a_free_address_is_associated_and_one_in_place_is_left() {
        let call = Call::Associate { allocation: allocation(1), placement: placement(2) };
        assert_eq!(need(&None, &[], false), Need::Call(call));
        assert_eq!(need(&Some((association(7), Some(placement(2)))), &[], false), Need::Nothing);
    }

    #[test]
    fn an_address_in_place_after_an_unfinished_move_is_associated_anew() {
        let known = Some((association(7), Some(placement(2))));
        let call = Call::Disassociate { allocation: allocation(1), association: association(7) };
        assert_eq!(need(&known, &[], true), Need::Call(call));
    }

    #[test]
    fn a_foreign_address_on_the_target_is_never_evicted() {
        let seat = |n| Seat { allocation: allocation(n), placement: placement(2) };
        assert!(
            matches!(need(&None, &[seat(9)], false), Need::Person(why) if why.contains("eipalloc-00000009"))
        );
        assert!(matches!(need(&None, &[seat(1)], false), Need::Call(_)), "its own seat is no obstacle");
        let elsewhere = Seat { allocation: allocation(9), placement: placement(3) };
        assert!(matches!(need(&None, &[elsewhere], false), Need::Call(_)));
    }

    #[test]
    fn a_subnet_is_swapped_from_a_prepared_table_by_the_association_that_was_observed_and_from_no_other() {
        let prepared = BTreeSet::from([table(1), table(2)]);
        let need =
            |known: Option<TableAssociation>| super::subnet(&subnet(1), &table(2), &prepared, known.as_ref());
        assert_eq!(need(Some(table_association(7, 2))), Need::Nothing);
        let call = Call::ReplaceTableAssociation {
            subnet: subnet(1),
            association: table_association(7, 1).id,
            table: table(2),
        };
        assert_eq!(need(Some(table_association(7, 1))), Need::Call(call));
        let foreign = need(Some(table_association(7, 3)));
        assert!(matches!(foreign, Need::Person(why) if why.contains("rtb-00000003")));
        assert!(matches!(need(None), Need::Person(why) if why.contains("AssociateRouteTable")));
    }

    #[test]
    fn a_route_is_replaced_created_or_left() {
        let to = |target| RouteKnown::To(target);
        let at = |n| RouteTarget::Interface(interface(n));
        let need = |known: &RouteKnown, allowed| route(&declared(1), &interface(2), known, allowed);
        for allowed in [true, false] {
            assert_eq!(need(&to(at(2)), allowed), Need::Nothing);
            for other in [at(1), RouteTarget::Other("a gateway that is gone".to_owned())] {
                let need = need(&to(other), allowed);
                assert!(matches!(need, Need::Call(Call::ReplaceRoute { .. })), "{need:?}");
            }
            let created = need(&RouteKnown::Missing, allowed);
            assert!(matches!(created, Need::Call(Call::CreateRoute { .. })), "{created:?}");
            assert!(matches!(need(&RouteKnown::NoTable, allowed), Need::Person(_)));
        }
        let gateway = RouteKnown::Gateway("igw-1".to_owned());
        assert!(matches!(need(&gateway, true), Need::Call(Call::ReplaceRoute { .. })));
        assert!(matches!(need(&gateway, false), Need::Person(why) if why.contains("igw-1")));
    }

    #[test]
    fn a_route_to_a_gateway_is_one_until_nothing_takes_what_goes_there() {
        let seen = |target: RouteTarget, blackhole| {
            let seen = RouteSeen { destination: declared(1).destination, target, blackhole };
            route_in(&[(declared(1).table, vec![seen])].into(), &declared(1))
        };
        let gateway = RouteTarget::Other("nat-1".to_owned());
        assert_eq!(seen(gateway.clone(), false), RouteKnown::Gateway("nat-1".to_owned()));
        assert_eq!(seen(gateway.clone(), true), RouteKnown::To(gateway));
        let node = RouteTarget::Interface(interface(1));
        assert_eq!(
            [true, false].map(|hole| seen(node.clone(), hole)),
            [true, false].map(|_| RouteKnown::To(node.clone()))
        );
    }
}
