//! Where on a node what was asked for goes: the interface that routes lead to, and an interface with one of its private
//! addresses for each Elastic IP. What was described comes to one place on each node, or to a finding that says what is
//! there instead.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::choice::{InterfaceChoice, SeatChoice};
use baton_protocol::ids::{AllocationId, InterfaceId, NodeName};
pub use baton_protocol::place::Places;
use baton_protocol::resource::Placement;

use crate::finding::{Finding, Requirement};
use crate::request::{count, violation};
use crate::world::{InstanceFacts, InterfaceFacts, WantedNode, World};

/// Where everything goes on this node; `None` if something that was chosen is not there.
pub fn places(world: &World, node: &WantedNode) -> Option<Places> {
    let facts = world.instances.known()?.get(&node.instance)?;
    let interface = find(world, facts, world.wanted.choices.route_interface()).ok()?.id.clone();
    let seat = |(allocation, seat): (&AllocationId, SeatChoice)| {
        Some((allocation.clone(), placement(world, facts, &seat)?))
    };
    let chosen = world.wanted.choices.seats(&world.wanted.addresses);
    Some(Places { interface, placements: chosen.into_iter().map(seat).collect::<Option<_>>()? })
}

/// The interface of the node of this name that routes lead to, if it is there.
pub(crate) fn routes_lead_to<'a>(world: &'a World, node: &NodeName) -> Option<&'a InterfaceId> {
    let wanted = world.wanted.nodes.iter().find(|wanted| wanted.node == *node)?;
    let facts = world.instances.known()?.get(&wanted.instance)?;
    find(world, facts, world.wanted.choices.route_interface()).ok().map(|interface| &interface.id)
}

/// Those of the Elastic IPs' places on this node that are there.
pub(crate) fn seats(world: &World, node: &WantedNode) -> Vec<Placement> {
    let facts = world.instances.known().and_then(|instances| instances.get(&node.instance));
    let chosen = world.wanted.choices.seats(&world.wanted.addresses);
    let seat = |(_, seat): (&AllocationId, SeatChoice)| placement(world, facts?, &seat);
    chosen.into_iter().filter_map(seat).collect()
}

fn placement(world: &World, facts: &InstanceFacts, seat: &SeatChoice) -> Option<Placement> {
    let interface = find(world, facts, &seat.interface).ok()?;
    let private_ip = *interface.private_ips.get(usize::from(seat.private_ip))?;
    Some(Placement { interface: interface.id.clone(), private_ip })
}

/// Why a choice is no interface of a node.
enum NotOne {
    /// None is as it was described.
    None,
    /// Several are.
    Several(Vec<InterfaceId>),
    /// Nobody knows.
    Unknown,
}

fn find<'a>(
    world: &World,
    facts: &'a InstanceFacts,
    choice: &InterfaceChoice,
) -> Result<&'a InterfaceFacts, NotOne> {
    let none = BTreeMap::new();
    let fits = |interface: &&InterfaceFacts| {
        let tags = world.interface_tags.known().and_then(|tags| tags.get(&interface.id));
        choice.fits(interface.device_index, tags.unwrap_or(&none))
    };
    if matches!(choice, InterfaceChoice::Tag(_)) && world.interface_tags.known().is_none() {
        return Err(NotOne::Unknown);
    }
    let found: Vec<_> = facts.interfaces.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(NotOne::None),
        _ => Err(NotOne::Several(found.into_iter().map(|interface| interface.id.clone()).collect())),
    }
}

/// Each interface that was chosen is examined once, whatever goes there.
pub(crate) fn examine(world: &World, node: &WantedNode, facts: &InstanceFacts, findings: &mut Vec<Finding>) {
    let chosen = world.wanted.choices.seats(&world.wanted.addresses);
    let mut most: BTreeMap<&InterfaceChoice, usize> = BTreeMap::new();
    most.insert(world.wanted.choices.route_interface(), 0);
    for (_, seat) in &chosen {
        let needed = most.entry(&seat.interface).or_default();
        *needed = (*needed).max(usize::from(seat.private_ip) + 1);
    }
    let mut whole = true;
    for (choice, needed) in most {
        let before = findings.len();
        match find(world, facts, choice) {
            Ok(interface) => findings.extend(addresses(node, interface, needed)),
            Err(not_one) => findings.extend(interface(node, facts, choice, &not_one)),
        }
        whole &= findings.len() == before;
    }
    if whole {
        shared(world, node, facts, &chosen, findings);
    }
}

fn addresses(node: &WantedNode, interface: &InterfaceFacts, needed: usize) -> Option<Finding> {
    let found = interface.private_ips.len();
    (found < needed).then(|| {
        let there = count(found, "private IPv4 address");
        violation(
            Requirement::PrivateAddresses,
            format!("{} of {} ({}) has {there}, expected {needed}", interface.id, node.instance, node.node),
            "each Elastic IP needs a private address of its own",
            format!("assign {} more to {}", needed - found, interface.id),
        )
    })
}

fn interface(
    node: &WantedNode,
    facts: &InstanceFacts,
    choice: &InterfaceChoice,
    not_one: &NotOne,
) -> Option<Finding> {
    let (instance, name) = (&node.instance, &node.node);
    let there: Vec<_> =
        facts.interfaces.iter().map(|found| format!("{} at {}", found.id, found.device_index)).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    match (not_one, choice) {
        (NotOne::Unknown, _) => None,
        (NotOne::None, choice) if *choice == InterfaceChoice::PRIMARY => Some(violation(
            Requirement::PrimaryInterface,
            format!("{instance} ({name}) has no network interface with device index 0"),
            "addresses and routes lead to that interface",
            "attach an interface with device index 0",
        )),
        (NotOne::None, InterfaceChoice::Device(index)) => Some(violation(
            Requirement::ChosenInterface,
            format!("{instance} ({name}) has no network interface with device index {index}, found {there}"),
            "what was asked for leads to that interface on every node",
            format!("attach an interface with device index {index}, or choose another one"),
        )),
        (NotOne::None, InterfaceChoice::Tag(tag)) => Some(violation(
            Requirement::ChosenInterface,
            format!("no network interface of {instance} ({name}) has the tag {tag}, found {there}"),
            "what was asked for leads to that interface on every node",
            format!("tag one of them with {tag}, or choose it in another way"),
        )),
        (NotOne::Several(found), _) => {
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            Some(violation(
                Requirement::ChosenInterface,
                format!(
                    "several network interfaces of {instance} ({name}) have {choice}: {}",
                    found.join(", ")
                ),
                "an address or a route leads to one interface",
                "leave the tag at one of them",
            ))
        }
    }
}

/// Two descriptions may mean the same interface on one node and not on another.
fn shared(
    world: &World,
    node: &WantedNode,
    facts: &InstanceFacts,
    chosen: &[(&AllocationId, SeatChoice)],
    findings: &mut Vec<Finding>,
) {
    let mut taken: BTreeMap<Placement, &AllocationId> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (allocation, seat) in chosen {
        let Some(place) = placement(world, facts, seat) else { continue };
        // One address that is named twice is told of as such.
        let Some(other) = taken.insert(place.clone(), allocation).filter(|other| other != allocation) else {
            continue;
        };
        if told.insert(place.clone()) {
            findings.push(violation(
                Requirement::SeatsDiffer,
                format!(
                    "{other} and {allocation} both go to {} on {} of {} ({})",
                    place.private_ip, place.interface, node.instance, node.node
                ),
                "EC2 takes the one away when the other arrives",
                "give one of them another PrivateIpIndex or another interface",
            ));
        }
    }
}
