//! What addresses and routes must be: there, nobody else's, and movable to every node.

use std::collections::BTreeSet;

use baton_protocol::ec2::{RouteSeen, RouteTarget};
use baton_protocol::ids::{InterfaceId, RouteTableId};
use baton_protocol::resource::{Destination, Placement, Route};

use crate::finding::{Finding, Requirement, Severity};
use crate::place::seats;
use crate::request::violation;
use crate::role;
use crate::world::{WantedNode, World};

pub(crate) fn examine(world: &World, findings: &mut Vec<Finding>) {
    addresses(world, findings);
    strangers(world, findings);
    tables(world, findings);
    destinations(world, findings);
    neighbours(world, findings);
}

/// Every interface of a wanted node: what is there is at the cluster already.
fn interfaces(world: &World) -> BTreeSet<&InterfaceId> {
    let instances = world.instances.known();
    let found = |node: &WantedNode| Some(instances?.get(&node.instance)?.interfaces.iter());
    world.wanted.nodes.iter().filter_map(found).flatten().map(|interface| &interface.id).collect()
}

/// Where the Elastic IPs of the cluster would sit, on any of its nodes.
fn targets(world: &World) -> BTreeSet<Placement> {
    world.wanted.nodes.iter().flat_map(|node| seats(world, node)).collect()
}

fn addresses(world: &World, findings: &mut Vec<Finding>) {
    let Some(seen) = world.addresses.known() else { return };
    let own = interfaces(world);
    for allocation in &world.wanted.addresses {
        let Some(address) = seen.get(allocation) else {
            findings.push(violation(
                Requirement::AddressExists,
                format!("the Elastic IP {allocation} does not exist in this account and region"),
                "an address that is not there cannot be moved",
                "allocate one, or correct the allocation id",
            ));
            continue;
        };
        let elsewhere = match &address.association {
            None => None,
            Some((_, Some(place))) if own.contains(&place.interface) => None,
            Some((_, Some(place))) => Some(place.interface.to_string()),
            Some((association, None)) => Some(association.to_string()),
        };
        if let Some(place) = elsewhere.filter(|_| world.instances.known().is_some()) {
            findings.push(Finding {
                id: Requirement::AddressAtNode,
                severity: Severity::Warning,
                what: format!("{} ({allocation}) is at {place}, which is no node's", address.public_ip),
                why: "the first grant takes it away from there".to_owned(),
                remedy: "see that nothing depends on it there".to_owned(),
            });
        }
    }
}

/// EC2 silently takes away whatever sits on a private address when another Elastic IP is associated with it.
fn strangers(world: &World, findings: &mut Vec<Finding>) {
    let Some(seats) = world.seats.known() else { return };
    let targets = targets(world);
    for seat in seats {
        if targets.contains(&seat.placement) && !world.wanted.addresses.contains(&seat.allocation) {
            let place = &seat.placement;
            findings.push(violation(
                Requirement::SeatFree,
                format!("{} on {} carries {}", place.private_ip, place.interface, seat.allocation),
                "an Elastic IP of the cluster goes there, and none is ever evicted",
                "move that Elastic IP to another private address, or take it into the cluster",
            ));
        }
    }
}

fn tables(world: &World, findings: &mut Vec<Finding>) {
    let Some(seen) = world.tables.known() else { return };
    let wanted: BTreeSet<&RouteTableId> = world.wanted.routes.iter().map(|route| &route.table).collect();
    for table in wanted {
        match seen.get(table) {
            None => findings.push(violation(
                Requirement::TableExists,
                format!(
                    "the route table {table} does not exist in {}",
                    role::place(world.wanted.access.as_ref())
                ),
                "a route needs its table",
                "correct the route table id, or take it out",
            )),
            Some(routes) if is_foreign(world, routes) => findings.push(violation(
                Requirement::TableInVpc,
                format!("the route table {table} holds no local route to a network of the nodes' VPC"),
                "a route leads to an interface of its own VPC only",
                "name a route table of the nodes' VPC",
            )),
            Some(routes) => {
                for route in world.wanted.routes.iter().filter(|route| route.table == *table) {
                    findings.extend(present(world, route, routes));
                }
            }
        }
    }
}

/// A table says nothing of its VPC, but it holds a route to each of its VPC's networks, which cannot be deleted.
fn is_foreign(world: &World, routes: &[RouteSeen]) -> bool {
    let Some(networks) = world.networks.known() else { return false };
    !networks.is_empty() && !routes.iter().any(|route| networks.contains(&route.destination))
}

fn present(world: &World, route: &Route, routes: &[RouteSeen]) -> Option<Finding> {
    let named = route.to_string();
    let Some(seen) = routes.iter().find(|seen| seen.destination == route.destination) else {
        return Some(Finding {
            id: Requirement::RoutePresent,
            severity: Severity::Info,
            what: format!("there is no route to {named}"),
            why: "the first grant makes it".to_owned(),
            remedy: "nothing needs doing".to_owned(),
        });
    };
    let elsewhere = match &seen.target {
        RouteTarget::Interface(interface) if interfaces(world).contains(interface) => return None,
        RouteTarget::Interface(interface) => interface.to_string(),
        RouteTarget::Other(other) => other.clone(),
    };
    world.instances.known()?;
    // A route into nothing serves nobody, so there is nothing to lose.
    let gateway = matches!(seen.target, RouteTarget::Other(_)) && !seen.blackhole;
    if gateway && !world.wanted.from_gateways.contains(route) {
        return Some(violation(
            Requirement::GatewayDeclared,
            format!("the route to {named} leads to {elsewhere}, which is no network interface"),
            "everything in that table's subnets that goes this way would be turned to the holder",
            "if that is meant, set ReplaceGatewayRoutes to true; if not, take the table out",
        ));
    }
    Some(Finding {
        id: Requirement::RouteAtNode,
        severity: Severity::Warning,
        what: format!("the route to {named} leads to {elsewhere}, which is no node's"),
        why: "the first grant turns it to the holder".to_owned(),
        remedy: "see that nothing depends on it as it is".to_owned(),
    })
}

/// Inside the VPC its own local routes come first. A wider destination, a default route above all, is allowed: the local
/// routes are more specific, so it leads to the holder what is not the VPC's. So is a prefix list, whatever it holds: what of
/// it is the VPC's goes on being delivered by EC2.
fn destinations(world: &World, findings: &mut Vec<Finding>) {
    let Some(networks) = world.networks.known() else { return };
    let wanted: BTreeSet<Destination> = world.wanted.routes.iter().map(|route| route.destination).collect();
    for destination in wanted {
        if let Some(network) = networks.iter().find(|network| destination.lies_within(network)) {
            findings.push(violation(
                Requirement::DestinationOutside,
                format!("the destination {destination} lies within {network}, a network of the VPC"),
                "EC2 delivers addresses of the VPC by itself and to no other interface",
                "choose a destination outside the VPC's networks",
            ));
        }
    }
}

/// Two clusters with one resource take it from each other for ever.
fn neighbours(world: &World, findings: &mut Vec<Finding>) {
    let Some(neighbours) = world.neighbours.known() else { return };
    let seats = targets(world);
    for other in neighbours.iter().filter(|other| other.cluster != world.wanted.cluster) {
        let mut shared: BTreeSet<String> = BTreeSet::new();
        shared.extend(
            world.wanted.addresses.iter().filter(|id| other.addresses.contains(id)).map(ToString::to_string),
        );
        shared.extend(
            seats.intersection(&other.seats).map(|seat| format!("{} on {}", seat.private_ip, seat.interface)),
        );
        let routes = world.wanted.routes.iter().filter(|route| other.routes.contains(route));
        shared.extend(routes.map(ToString::to_string));
        // Routes are turned to each holder, and those of a prepared table never are.
        let routed = world.wanted.routes.iter().map(|route| &route.table);
        shared.extend(routed.filter(|id| other.prepared.contains(id)).map(ToString::to_string));
        let routed: BTreeSet<_> = other.routes.iter().map(|route| &route.table).collect();
        let prepared = world.wanted.subnets.iter().flat_map(|swapped| swapped.tables.values());
        shared.extend(prepared.filter(|id| routed.contains(id)).map(ToString::to_string));
        let subnets = world.wanted.subnets.iter().map(|swapped| &swapped.subnet);
        shared.extend(subnets.filter(|id| other.subnets.contains(id)).map(ToString::to_string));
        for what in shared {
            findings.push(violation(
                Requirement::Unshared,
                format!("{what} belongs to the cluster {}", other.cluster),
                "two clusters would take it from each other",
                "give each cluster its own, or retire the other cluster first",
            ));
        }
    }
}
