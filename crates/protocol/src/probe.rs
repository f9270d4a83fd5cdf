//! The probe: could everything of a cluster be moved now? It is asked before that is needed, and changes nothing.
//!
//! Three things keep a resource from being moved that no heartbeat shows: it is gone, a node's interface is not at the node
//! any more, or the arbiter may not call EC2 for it. The first two are looked at. The third is tried: EC2 answers a call that
//! is marked [`DryRun`](https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateAddress.html) with whether the
//! caller may make it, and IAM decides that by the tags of each resource, so each is tried towards each node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ec2::{Call, CloudFailure, InterfaceSeen, Look, RouteSeen, Sight};
use crate::ids::{AllocationId, InterfaceId, RegistrationUid, RouteTableId};
use crate::lease::{Lease, Member};
use crate::plan::{self, Need};
use crate::time::WallTime;

/// No more calls than this are tried in one probe; the nodes come in turn, so that each has its share.
pub const MOST_TRIALS: usize = 100;
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

    /// What it found, if it was about the cluster as it is configured now.
    pub fn obstacles_of<'a>(probe: Option<&'a Self>, lease: &Lease) -> &'a [Obstacle] {
        probe.filter(|probe| probe.is_about(lease)).map_or(&[], |probe| &probe.obstacles)
    }
}

/// A call that is tried, for the node that it would move a resource to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The node.
    pub node: String,
    /// The call.
    pub call: Call,
}

/// What is looked at.
pub fn looks(lease: &Lease) -> Vec<Look> {
    let mut addresses: Vec<AllocationId> =
        lease.resources.addresses.iter().map(|address| address.allocation.clone()).collect();
    addresses.dedup();
    let mut tables: Vec<RouteTableId> =
        lease.resources.routes.iter().map(|route| route.table.clone()).collect();
    tables.sort();
    tables.dedup();
    let mut looks = vec![Look::Interfaces(interfaces(lease).into_keys().collect())];
    if !addresses.is_empty() {
        looks.push(Look::Addresses(addresses));
    }
    if !tables.is_empty() {
        looks.push(Look::Tables(tables));
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

/// What is tried: every call of a move, towards every node.
pub fn trials(lease: &Lease) -> Vec<Trial> {
    let held = lease.holder.as_ref().map_or_else(|| "nobody".to_owned(), |holder| lease.name_of(holder));
    let freed = lease.observed.associations.iter().map(|(allocation, association)| Trial {
        node: held.clone(),
        call: Call::Disassociate { allocation: allocation.clone(), association: association.clone() },
    });
    let mut towards: Vec<_> =
        lease.members.iter().map(|member| calls_towards(lease, member).into_iter()).collect();
    let mut trials: Vec<Trial> = freed.collect();
    loop {
        let before = trials.len();
        trials.extend(towards.iter_mut().filter_map(Iterator::next));
        if trials.len() == before || trials.len() >= MOST_TRIALS {
            trials.truncate(MOST_TRIALS);
            return trials;
        }
    }
}

fn calls_towards(lease: &Lease, member: &Member) -> Vec<Trial> {
    let mut calls = Vec::new();
    for (allocation, placement) in &member.placements {
        calls.push(Call::Associate { allocation: allocation.clone(), placement: placement.clone() });
    }
    let interface = &member.interface;
    for route in &lease.resources.routes {
        calls.push(Call::ReplaceRoute { route: route.clone(), interface: interface.clone() });
        calls.push(Call::CreateRoute { route: route.clone(), interface: interface.clone() });
    }
    if !lease.resources.routes.is_empty() {
        calls.push(Call::DisableSourceDestCheck { interface: interface.clone() });
    }
    calls.into_iter().map(|call| Trial { node: member.node.to_string(), call }).collect()
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
                let why = format!("{}: {failure}", trial.call.action());
                obstacles.push(obstacle(Some(&trial.node), &trial.call.resource(), &why));
            }
            Err(_) => {}
        }
    }
    obstacles.sort();
    obstacles.dedup();
    obstacles.truncate(MOST_OBSTACLES);
    Some(Probe { at, uid: lease.uid.clone(), revision: lease.revision, obstacles })
}

/// Whether EC2 may answer otherwise in a moment.
fn is_unknown(failure: &CloudFailure) -> bool {
    matches!(failure, CloudFailure::Throttled | CloudFailure::Unknown(_))
}

/// Whether a move would meet it too. That an address is associated or a route exists is as it should be.
fn stands_in_the_way(failure: &CloudFailure) -> bool {
    matches!(failure, CloudFailure::Denied(_) | CloudFailure::NotFound(_) | CloudFailure::Refused(_))
}

fn obstacles_in(lease: &Lease, sight: &Sight) -> Vec<Obstacle> {
    match sight {
        Sight::Addresses(seen) => {
            let missing = lease.resources.addresses.iter().filter(|a| !seen.contains_key(&a.allocation));
            let why = "the address does not exist any more";
            missing.map(|address| obstacle(None, address.allocation.as_str(), why)).collect()
        }
        Sight::Tables(tables) => obstacles_of_routes(lease, tables),
        Sight::Interfaces(seen) => obstacles_of_interfaces(lease, seen),
        Sight::Seats(_) | Sight::Instance(_) => Vec::new(),
    }
}

fn obstacles_of_routes(lease: &Lease, tables: &BTreeMap<RouteTableId, Vec<RouteSeen>>) -> Vec<Obstacle> {
    // To whom it would lead does not matter to what keeps it from being led anywhere.
    let Some(member) = lease.members.first() else { return Vec::new() };
    let blocked = lease.resources.routes.iter().filter_map(|route| {
        let seen = plan::route_in(tables, route);
        let allowed = lease.resources.from_gateways.contains(route);
        match plan::route(route, &member.interface, &seen, allowed) {
            Need::Person(why) => {
                Some(obstacle(None, &format!("{} in {}", route.destination, route.table), &why))
            }
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
