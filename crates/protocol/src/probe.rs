//! The probe: could everything of a cluster be moved now? It is asked before that is needed, and changes nothing.
//!
//! Three things keep a resource from being moved that no heartbeat shows: it is gone, a node's interface is not at the node
//! any more, or the arbiter may not call EC2 for it. The first two are looked at. The third is tried: EC2 answers a call that
//! is marked [`DryRun`](https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateAddress.html) with whether the
//! caller may make it, and IAM decides that by the tags of each resource, so each is tried towards each node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ec2::{Call, CloudFailure, InterfaceSeen, Look, RouteSeen, RouteTarget, Seat, Sight};
use crate::fence::{self, Fencing};
use crate::ids::{AllocationId, InterfaceId, RegistrationUid, RouteTableId, SubnetId};
use crate::lease::{Lease, Member};
use crate::plan::{self, Need};
use crate::resource::{Address, Placement, TableAssociation};
use crate::time::WallTime;

/// No more calls than this are tried in one probe: far more than a cluster has tables, addresses and nodes. Of a larger one each
/// hour has its part.
const MOST_TRIALS: usize = 200;
/// Three hours without an answer are too many.
const OVERDUE: Duration = Duration::from_secs(3 * 3_600);
/// No more obstacles than this are kept.
const MOST_OBSTACLES: usize = 20;
/// The longest text of one, in characters.
const LONGEST: usize = 300;

/// What keeps a resource from being moved to a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Obstacle {
    /// The node that could not have it; none: nobody could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The resource.
    pub resource: String,
    /// Why, in words that people read, with EC2's own code where it gave one.
    pub why: String,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When.
    pub at: WallTime,
    /// Of this registration.
    pub uid: RegistrationUid,
    /// Of this configuration.
    pub revision: u64,
    /// Everything that could not be moved, or the first of it.
    pub obstacles: Vec<Obstacle>,
}

impl Probe {
    /// Whether it was about the cluster as it is configured now.
    pub fn is_about(&self, lease: &Lease) -> bool {
        self.uid == lease.uid && self.revision == lease.revision
    }

    /// Whether it found all well, about the cluster as it is configured now, and not longer ago than that.
    pub fn is_fresh(probe: Option<&Self>, lease: &Lease, now: WallTime, within: Duration) -> bool {
        probe.is_some_and(|probe| {
            probe.is_about(lease) && probe.obstacles.is_empty() && now.distance(probe.at) < within
        })
    }

    /// Whether nobody knows, and could have known for long: then there may be anything.
    pub fn is_overdue(probe: Option<&Self>, lease: &Lease, now: WallTime) -> bool {
        let held_for = lease.last_grant.map_or(Duration::ZERO, |at| now.since(at));
        // Another configuration is asked about in its next turn.
        let known = probe.is_some_and(|probe| probe.uid == lease.uid && now.distance(probe.at) < OVERDUE);
        !known && held_for >= OVERDUE
    }

    /// What it found of this registration. An update of the cluster hides nothing, until it has been asked again.
    pub fn obstacles_of<'a>(probe: Option<&'a Self>, lease: &Lease) -> &'a [Obstacle] {
        probe.filter(|probe| probe.uid == lease.uid).map_or(&[], |probe| &probe.obstacles)
    }
}

/// A call that is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The node that it would move a resource to, where it matters to which.
    pub node: Option<String>,
    /// The call.
    pub call: Call,
}

/// What is looked at.
pub fn looks(lease: &Lease) -> Vec<Look> {
    let mut addresses: Vec<AllocationId> =
        lease.resources.addresses.iter().map(|address| address.allocation.clone()).collect();
    addresses.dedup();
    let swapped = &lease.resources.subnets;
    let prepared = swapped.iter().flat_map(|subnet| subnet.tables.values());
    let mut tables: Vec<RouteTableId> =
        lease.resources.routes.iter().map(|route| &route.table).chain(prepared).cloned().collect();
    tables.sort();
    tables.dedup();
    let all: Vec<InterfaceId> = interfaces(lease).into_keys().collect();
    let mut looks = vec![Look::Interfaces(all.clone())];
    if !addresses.is_empty() {
        looks.push(Look::Addresses(addresses));
        looks.push(Look::Seats(all));
    }
    if !tables.is_empty() {
        looks.push(Look::Tables(tables));
    }
    if !swapped.is_empty() {
        looks.push(Look::Subnets(swapped.iter().map(|subnet| subnet.subnet.clone()).collect()));
    }
    looks
}

/// The interfaces that would take something, and whose they are.
fn interfaces(lease: &Lease) -> BTreeMap<InterfaceId, &Member> {
    let mut interfaces = BTreeMap::new();
    for member in &lease.members {
        interfaces.insert(member.interface.clone(), member);
        interfaces.extend(member.placements.values().map(|place| (place.interface.clone(), member)));
    }
    interfaces
}

/// What is tried in the hour of this moment.
pub fn tried(lease: &Lease, at: WallTime) -> Vec<Trial> {
    let all = trials(lease);
    let parts = all.len().div_ceil(MOST_TRIALS).max(1);
    let hours = usize::try_from(at.0 / 3_600_000).unwrap_or_default();
    all.into_iter().skip(hours % parts * MOST_TRIALS).take(MOST_TRIALS).collect()
}

/// What there is to be tried: for each address, table and node every call of a move that is about it. IAM looks at each of them by itself, so
/// it is enough that each is in one call; which the others are does not matter.
pub fn trials(lease: &Lease) -> Vec<Trial> {
    let freed = lease.observed.associations.iter().map(|(allocation, association)| Trial {
        node: None,
        call: Call::Disassociate { allocation: allocation.clone(), association: association.clone() },
    });
    let mut trials: Vec<Trial> = freed.chain(associations(lease)).chain(stops(lease)).collect();
    let Some(first) = lease.members.first() else { return trials };
    let mut tables = BTreeSet::new();
    for route in lease.resources.routes.iter().filter(|route| tables.insert(&route.table)) {
        let interface = first.interface.clone();
        let replace = Call::ReplaceRoute { route: route.clone(), interface: interface.clone() };
        let create = Call::CreateRoute { route: route.clone(), interface };
        trials.extend([replace, create].map(|call| Trial { node: None, call }));
    }
    trials.extend(swaps(lease));
    if lease.resources.needs_forwarding() {
        trials.extend(lease.members.iter().map(|member| Trial {
            node: Some(member.node.to_string()),
            call: Call::DisableSourceDestCheck { interface: member.interface.clone() },
        }));
    }
    trials
}

/// Each node, where it would have to be stopped before it is taken over from: a fence that is denied is found out before it is
/// needed.
fn stops(lease: &Lease) -> Vec<Trial> {
    let fenced = lease.members.iter().filter(|_| lease.fencing == Fencing::Stop);
    let stop = |member: &Member| Trial {
        node: Some(member.node.to_string()),
        call: Call::Stop { instance: member.instance.instance_id() },
    };
    fenced.map(stop).collect()
}

/// Each subnet towards the table of each node, by the association that is known of it.
fn swaps(lease: &Lease) -> impl Iterator<Item = Trial> + '_ {
    let subnets = lease.resources.subnets.iter();
    let known = subnets.filter_map(|subnet| Some((subnet, lease.observed.tables.get(&subnet.subnet)?)));
    known.flat_map(|(subnet, there)| {
        subnet.tables.iter().map(|(node, table)| Trial {
            node: Some(node.to_string()),
            call: Call::ReplaceTableAssociation {
                subnet: subnet.subnet.clone(),
                association: there.id.clone(),
                table: table.clone(),
            },
        })
    })
}

/// Each address towards some node, and some address towards each interface of each node that takes one.
fn associations(lease: &Lease) -> Vec<Trial> {
    let (addresses, members) = (&lease.resources.addresses, &lease.members);
    let pairs =
        if addresses.is_empty() || members.is_empty() { 0 } else { addresses.len().max(members.len()) };
    let mut tried = BTreeSet::new();
    let mut trials = Vec::new();
    let towards = |address: &Address, member: &Member, placement: &Placement| Trial {
        node: Some(member.node.to_string()),
        call: Call::Associate { allocation: address.allocation.clone(), placement: placement.clone() },
    };
    for n in 0..pairs {
        let (address, member) = (&addresses[n % addresses.len()], &members[n % members.len()]);
        let Some(placement) = member.placements.get(&address.allocation) else { continue };
        tried.insert(&placement.interface);
        trials.push(towards(address, member, placement));
    }
    for (member, address) in members.iter().flat_map(|m| addresses.iter().map(move |a| (m, a))) {
        let placement = member.placements.get(&address.allocation);
        if let Some(placement) = placement.filter(|placement| tried.insert(&placement.interface)) {
            trials.push(towards(address, member, placement));
        }
    }
    trials
}

/// What follows from the answers. None where anything is not known: a probe that says nothing of something would pass for
/// one that found nothing there.
pub fn judge(
    lease: &Lease,
    sights: Vec<Result<Sight, CloudFailure>>,
    answers: Vec<(Trial, Result<(), CloudFailure>)>,
    at: WallTime,
) -> Option<Probe> {
    let mut obstacles = Vec::new();
    for sight in sights {
        match sight {
            Ok(sight) => obstacles.extend(obstacles_in(lease, &sight)),
            Err(failure) if is_unknown(&failure) => return None,
            Err(failure) => obstacles.push(obstacle(None, "EC2's descriptions", &failure.to_string())),
        }
    }
    for (trial, answer) in answers {
        match answer {
            Ok(()) => {}
            Err(failure) if is_unknown(&failure) => return None,
            Err(failure) if stands_in_the_way(&failure) => {
                let mut why = format!("{}: {failure}", trial.call.action());
                if matches!(trial.call, Call::Stop { .. }) {
                    why = format!("{why}; {}", fence::remedy(&failure));
                }
                obstacles.push(obstacle(trial.node.as_deref(), &trial.call.resource(), &why));
            }
            Err(_) => {}
        }
    }
    Some(Probe { at, uid: lease.uid.clone(), revision: lease.revision, obstacles: worth_keeping(obstacles) })
}

/// What the probe of another hour has found by calls that were not tried in this one: a large cluster is asked about in parts.
pub fn keep_of(before: Option<&Probe>, lease: &Lease, tried: &[Call], found: &mut Probe) {
    let by_a_call = |obstacle: &&Obstacle| ACTIONS.iter().any(|action| obstacle.why.starts_with(action));
    let again = |obstacle: &&Obstacle| tried.iter().any(|call| call.resource() == obstacle.resource);
    let before = before.filter(|before| before.is_about(lease)).map_or(&[][..], |before| &before.obstacles);
    let kept = before.iter().filter(by_a_call).filter(|obstacle| !again(obstacle)).cloned();
    found.obstacles = worth_keeping(std::mem::take(&mut found.obstacles).into_iter().chain(kept).collect());
}

/// Each once, in order, and no more than people read.
fn worth_keeping(mut obstacles: Vec<Obstacle>) -> Vec<Obstacle> {
    obstacles.sort();
    obstacles.dedup();
    obstacles.truncate(MOST_OBSTACLES);
    obstacles
}

/// What the reason of an obstacle begins with that a call has met.
const ACTIONS: [&str; 7] = [
    "AssociateAddress",
    "CreateRoute",
    "DisassociateAddress",
    "ModifyNetworkInterfaceAttribute",
    "ReplaceRoute",
    "ReplaceRouteTableAssociation",
    "StopInstances",
];

/// Whether EC2 may answer otherwise in a moment.
fn is_unknown(failure: &CloudFailure) -> bool {
    failure.is_transient()
}

/// Whether a move would meet it too. That an address is associated or a route exists is as it should be.
fn stands_in_the_way(failure: &CloudFailure) -> bool {
    matches!(
        failure,
        CloudFailure::Denied(_)
            | CloudFailure::RoleRefused { .. }
            | CloudFailure::NotFound(_)
            | CloudFailure::Refused(_)
    )
}

fn obstacles_in(lease: &Lease, sight: &Sight) -> Vec<Obstacle> {
    match sight {
        Sight::Addresses(seen) => {
            let missing = lease.resources.addresses.iter().filter(|a| !seen.contains_key(&a.allocation));
            let why = "the address does not exist any more";
            missing.map(|address| obstacle(None, address.allocation.as_str(), why)).collect()
        }
        Sight::Tables(tables) => {
            let mut obstacles = obstacles_of_routes(lease, tables);
            obstacles.extend(obstacles_of_prepared(lease, tables));
            obstacles
        }
        Sight::Subnets(seen) => obstacles_of_subnets(lease, seen),
        Sight::Interfaces(seen) => obstacles_of_interfaces(lease, seen),
        Sight::Seats(seats) => obstacles_of_seats(lease, seats),
        Sight::Instance(_) => Vec::new(),
    }
}

/// An address that sits where one of the cluster belongs is never evicted, so that one could not be moved there.
fn obstacles_of_seats(lease: &Lease, seats: &[Seat]) -> Vec<Obstacle> {
    let own =
        |seat: &&Seat| lease.resources.addresses.iter().any(|address| address.allocation == seat.allocation);
    let strangers = seats.iter().filter(|seat| !own(seat));
    let taken = strangers.flat_map(|seat| {
        lease.members.iter().flat_map(move |member| {
            let here = member.placements.iter().filter(|(_, place)| **place == seat.placement);
            here.map(move |(allocation, place)| {
                let why = format!("{} on {} carries {}", place.private_ip, place.interface, seat.allocation);
                obstacle(Some(member.node.as_str()), allocation.as_str(), &why)
            })
        })
    });
    taken.collect()
}

fn obstacles_of_routes(lease: &Lease, tables: &BTreeMap<RouteTableId, Vec<RouteSeen>>) -> Vec<Obstacle> {
    // To whom it would lead does not matter to what keeps it from being led anywhere.
    let Some(member) = lease.members.first() else { return Vec::new() };
    let blocked = lease.resources.routes.iter().filter_map(|route| {
        let seen = plan::route_in(tables, route);
        let allowed = lease.resources.from_gateways.contains(route);
        match plan::route(route, &member.interface, &seen, allowed) {
            Need::Person(why) => Some(obstacle(None, &route.to_string(), &why)),
            Need::Nothing | Need::Call(_) => None,
        }
    });
    blocked.collect()
}

/// A table that leads past the node that it is prepared for would take the subnet's traffic away from the holder.
fn obstacles_of_prepared(lease: &Lease, tables: &BTreeMap<RouteTableId, Vec<RouteSeen>>) -> Vec<Obstacle> {
    let prepared = lease.resources.subnets.iter().flat_map(|subnet| &subnet.tables);
    let astray = prepared.filter_map(|(node, table)| {
        let member = lease.member_named(node.as_str())?;
        let there = RouteTarget::Interface(member.interface.clone());
        let why = match tables.get(table) {
            None => "the route table does not exist any more".to_owned(),
            Some(routes) if routes.iter().any(|route| route.target == there) => return None,
            Some(_) => format!("the route table has no route that leads to {}", member.interface),
        };
        Some(obstacle(Some(node.as_str()), table.as_str(), &why))
    });
    astray.collect()
}

fn obstacles_of_subnets(lease: &Lease, seen: &BTreeMap<SubnetId, TableAssociation>) -> Vec<Obstacle> {
    let blocked = lease.resources.subnets.iter().filter_map(|subnet| {
        // To which of its tables does not matter to what keeps it from any of them.
        let target = subnet.tables.values().next()?;
        let prepared = subnet.tables.values().cloned().collect();
        match plan::subnet(&subnet.subnet, target, &prepared, seen.get(&subnet.subnet)) {
            Need::Person(why) => Some(obstacle(None, subnet.subnet.as_str(), &why)),
            Need::Nothing | Need::Call(_) => None,
        }
    });
    blocked.collect()
}

fn obstacles_of_interfaces(lease: &Lease, seen: &BTreeMap<InterfaceId, InterfaceSeen>) -> Vec<Obstacle> {
    let astray = interfaces(lease).into_iter().filter_map(|(interface, member)| {
        let instance = member.instance.instance_id();
        let why = match seen.get(&interface).map(|seen| &seen.instance) {
            None => "the interface does not exist any more".to_owned(),
            Some(Some(there)) if *there == instance => return None,
            Some(Some(there)) => format!("the interface is attached to {there} and not to {instance}"),
            Some(None) => format!("the interface is not attached to {instance}"),
        };
        Some(obstacle(Some(member.node.as_str()), interface.as_str(), &why))
    });
    astray.collect()
}

fn obstacle(node: Option<&str>, resource: &str, why: &str) -> Obstacle {
    let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
    Obstacle { node: node.map(cut), resource: cut(resource), why: cut(why) }
}

#[cfg(test)]
mod tests;
