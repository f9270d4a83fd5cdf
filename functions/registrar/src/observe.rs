//! Looking at the world a registration would live in: EC2, and the other clusters of the table.
//!
//! Each part is read by itself, and what could not be read is said so in its place, so that one denied action does not
//! hide what the others would have shown.

mod role;
mod subnet;

use std::collections::{BTreeMap, BTreeSet};

use baton_cloud::{Cloud, InstanceSeen};
use baton_doctor::{InstanceFacts, Neighbour, Places, Seen, Wanted, WantedNode, World, places};
use baton_protocol::choice::Choices;
use baton_protocol::ec2::{InstanceState, Look};
use baton_protocol::ids::{ClusterName, InstanceId, InterfaceId, RouteTableId};
use baton_protocol::lease::{Lease, LeaseState, Member, Mode};
use baton_protocol::outcome::Failure;
use baton_protocol::resource::{Address, Destination, Resources, Route};
use baton_protocol::tables::{Tables, find};
use baton_store::Store;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::patience::Patience;
use crate::property::{Desired, DesiredNode};

/// How many other clusters are read side by side.
const SIDE_BY_SIDE: usize = 8;

/// What was seen, for the requirements and for the registration.
#[derive(Debug)]
pub struct Observation {
    /// What the requirements are checked against.
    pub world: World,
    instances: BTreeMap<InstanceId, InstanceSeen>,
    kept: BTreeMap<InstanceId, Member>,
}

/// Looks at everything that `desired` depends on. `lease` is the one that is to be changed.
pub async fn observe<S: Store, C: Cloud>(
    store: &S,
    cloud: &C,
    patience: Patience,
    desired: &Desired,
    lease: Option<&Lease>,
) -> Observation {
    let cloud = &cloud.through(desired.table_access().as_ref());
    let role = role::role(cloud, patience, desired).await;
    let by_role = role.is_well();
    let ids: Vec<_> = desired.nodes.iter().map(|node| node.instance.clone()).collect();
    let instances = patience.ask(|| cloud.instances(&ids)).await;
    let (facts, found) = match instances {
        Ok(found) => {
            let facts = |seen: &InstanceSeen| InstanceFacts::of(&seen.shown(&BTreeMap::new()));
            let facts = found.iter().map(|(id, seen)| (id.clone(), facts(seen))).collect();
            (Seen::Known(facts), found)
        }
        Err(failure) => (Seen::Unknown(failure.to_string()), BTreeMap::new()),
    };
    let vpc = vpc_of(&facts, desired).or_else(|| known_vpc(desired, lease));
    // Where the role cannot be taken on, that is the finding, and nothing of the tables is asked in vain.
    let vpc_tables =
        role::unless_refused(by_role, vpc_tables(cloud, patience, &facts, vpc.as_deref(), desired)).await;
    let (routes, from_gateways) = routes_of(desired, vpc_tables.known(), held(lease, vpc.as_ref()));
    let (addresses, interface_tags, seats, tables, subnets, networks, neighbours) = tokio::join!(
        addresses(cloud, patience, desired),
        interface_tags(cloud, patience, &facts, desired),
        seats(cloud, patience, &facts, desired),
        role::unless_refused(by_role, tables(cloud, patience, &routes)),
        role::unless_refused(by_role, subnet::subnets(cloud, patience, desired)),
        role::unless_refused(by_role, networks(cloud, patience, &facts, desired)),
        neighbours(store, patience, &desired.cluster),
    );
    let nodes = desired
        .nodes
        .iter()
        .map(|node| WantedNode { node: node.node.clone(), instance: node.instance.clone() });
    let wanted = Wanted {
        cluster: desired.cluster.clone(),
        nodes: nodes.collect(),
        strict: desired.mode == Mode::Strict,
        by_tag: desired.roster.is_some(),
        addresses: desired.addresses.clone(),
        routes,
        from_gateways,
        subnets: desired.subnets.clone(),
        access: desired.table_access(),
        choices: Choices { vpc, ..desired.choices.clone() },
    };
    let kept = kept(desired, lease);
    let world = World {
        wanted,
        members: lease.iter().flat_map(|lease| &lease.members).map(|m| m.instance.instance_id()).collect(),
        kept: kept.keys().cloned().collect(),
        role,
        instances: facts,
        networks,
        addresses,
        interface_tags,
        seats,
        tables,
        vpc_tables,
        subnets,
        neighbours,
    };
    Observation { world, instances: found, kept }
}

impl Observation {
    /// Each node that was asked for, as the member that it will be. `None` if something that the requirements demand of it is not
    /// there.
    pub fn members<'o>(
        &'o self,
        desired: &'o Desired,
    ) -> impl Iterator<Item = (&'o DesiredNode, Option<Member>)> {
        self.world.wanted.nodes.iter().zip(&desired.nodes).map(|(wanted, node)| {
            let member = || {
                let seen = self.instances.get(&node.instance).filter(|seen| is_there(seen));
                if let Some(member) = self.kept.get(&node.instance).filter(|_| seen.is_none()) {
                    return Some(Member { priority: node.priority, ..member.clone() });
                }
                let seen = seen?;
                let Some(Places { interface, placements }) = places(&self.world, wanted) else {
                    let kept = self.kept.get(&node.instance)?;
                    return Some(Member { priority: node.priority, ..kept.clone() });
                };
                Some(Member {
                    node: node.node.clone(),
                    instance: seen.arn.clone(),
                    zone: seen.zone.clone(),
                    interface,
                    placements,
                    priority: node.priority,
                })
            };
            (node, member())
        })
    }

    /// The members and resources that the registration will hold. `None` if something that the requirements demand is
    /// not there.
    pub fn configuration(&self, desired: &Desired) -> Option<(Vec<Member>, Resources)> {
        let members = self.members(desired).map(|(_, member)| member);
        let seen = self.world.addresses.known()?;
        let addresses = desired.addresses.iter().map(|allocation| {
            Some(Address { allocation: allocation.clone(), public_ip: seen.get(allocation)?.public_ip })
        });
        let resources = Resources {
            addresses: addresses.collect::<Option<_>>()?,
            routes: self.world.wanted.routes.clone(),
            from_gateways: self.world.wanted.from_gateways.clone(),
            subnets: desired.subnets.clone(),
            tables_role: desired.tables_role.clone(),
            choices: self.world.wanted.choices.clone(),
        };
        Some((members.collect::<Option<_>>()?, resources))
    }
}

fn is_there(seen: &InstanceSeen) -> bool {
    !matches!(seen.state, InstanceState::Terminated | InstanceState::NotFound)
}

/// The members that stay whatever EC2 shows of them, where a tag names the nodes: nobody could take one out of the request.
/// Whoever has no place for an address that is asked for now, or one of another choice, has to be looked at.
fn kept(desired: &Desired, lease: Option<&Lease>) -> BTreeMap<InstanceId, Member> {
    let chosen =
        |lease: &&Lease| desired.roster.is_some() && lease.resources.choices.places_as(&desired.choices);
    let Some(lease) = lease.filter(chosen) else { return BTreeMap::new() };
    let wanted: BTreeSet<_> = desired.addresses.iter().collect();
    let placed = |member: &&Member| member.placements.keys().collect::<BTreeSet<_>>() == wanted;
    let members = lease.members.iter().filter(placed);
    members.map(|member| (member.instance.instance_id(), member.clone())).collect()
}

/// What the lease that is to be changed holds, if that is in the same VPC.
fn held<'a>(lease: Option<&'a Lease>, vpc: Option<&String>) -> Option<&'a Resources> {
    lease.map(|lease| &lease.resources).filter(|held| vpc.is_none() || held.choices.vpc.as_ref() == vpc)
}

async fn addresses<C: Cloud>(
    cloud: &C,
    patience: Patience,
    desired: &Desired,
) -> Seen<BTreeMap<baton_protocol::ids::AllocationId, baton_protocol::ec2::AddressSeen>> {
    if desired.addresses.is_empty() {
        return Seen::Known(BTreeMap::new());
    }
    let look = Look::Addresses(desired.addresses.clone());
    Seen::from(patience.ask(|| cloud.look(&look)).await).addresses()
}

fn interfaces(instances: &BTreeMap<InstanceId, InstanceFacts>) -> Vec<InterfaceId> {
    instances.values().flat_map(|facts| &facts.interfaces).map(|interface| interface.id.clone()).collect()
}

/// EC2 describes an instance without the tags of its interfaces, so they are asked for where they matter.
async fn interface_tags<C: Cloud>(
    cloud: &C,
    patience: Patience,
    instances: &Seen<BTreeMap<InstanceId, InstanceFacts>>,
    desired: &Desired,
) -> Seen<BTreeMap<InterfaceId, BTreeMap<String, String>>> {
    if !desired.choices.by_tag() {
        return Seen::Known(BTreeMap::new());
    }
    let Some(instances) = instances.known() else { return Seen::Unasked };
    let interfaces = interfaces(instances);
    if nobody_is_there(instances, desired) {
        return Seen::Known(BTreeMap::new());
    }
    if interfaces.is_empty() {
        return Seen::Unasked;
    }
    Seen::from(patience.ask(|| cloud.interface_tags(&interfaces)).await)
}

async fn seats<C: Cloud>(
    cloud: &C,
    patience: Patience,
    instances: &Seen<BTreeMap<InstanceId, InstanceFacts>>,
    desired: &Desired,
) -> Seen<Vec<baton_protocol::ec2::Seat>> {
    if desired.addresses.is_empty() {
        return Seen::Known(Vec::new());
    }
    let Some(instances) = instances.known() else { return Seen::Unasked };
    let interfaces = interfaces(instances);
    if nobody_is_there(instances, desired) {
        return Seen::Known(Vec::new());
    }
    if interfaces.is_empty() {
        return Seen::Unasked;
    }
    let look = Look::Seats(interfaces);
    Seen::from(patience.ask(|| cloud.look(&look)).await).seats()
}

/// Where a tag names the nodes there may be none yet, or none any more.
fn nobody_is_there(instances: &BTreeMap<InstanceId, InstanceFacts>, desired: &Desired) -> bool {
    let there =
        |facts: &InstanceFacts| !matches!(facts.state, InstanceState::Terminated | InstanceState::NotFound);
    desired.nodes.is_empty() || (desired.roster.is_some() && !instances.values().any(there))
}

/// The VPC that the nodes are in, where tables are to be looked for in it.
fn vpc_of(instances: &Seen<BTreeMap<InstanceId, InstanceFacts>>, desired: &Desired) -> Option<String> {
    let facts = instances.known().filter(|_| !desired.choices.tables.is_empty())?.values();
    let vpcs: BTreeSet<_> = facts.map(|facts| &facts.vpc).filter(|vpc| !vpc.is_empty()).collect();
    if vpcs.len() == 1 { vpcs.first().map(|vpc| (*vpc).clone()) } else { None }
}

/// The VPC that they were in, where EC2 shows none of them in any. Where a tag names the nodes, all may be terminated.
fn known_vpc(desired: &Desired, lease: Option<&Lease>) -> Option<String> {
    let held = lease.filter(|_| desired.roster.is_some() && !desired.choices.tables.is_empty())?;
    held.resources.choices.vpc.clone()
}

/// Every route table of the nodes' VPC, where tables were described. A cluster without a node has no VPC yet: the arbiter
/// looks when the first has joined.
async fn vpc_tables<C: Cloud>(
    cloud: &C,
    patience: Patience,
    instances: &Seen<BTreeMap<InstanceId, InstanceFacts>>,
    vpc: Option<&str>,
    desired: &Desired,
) -> Seen<Tables> {
    if desired.choices.tables.is_empty() {
        return Seen::Known(Tables::new());
    }
    match vpc {
        Some(vpc) => Seen::from(patience.ask(|| cloud.tables_of(vpc)).await),
        None if instances.known().is_some_and(|there| nobody_is_there(there, desired)) => {
            Seen::Known(Tables::new())
        }
        None => Seen::Unasked,
    }
}

/// The routes in tables that were named, and then those of each description. Where that stands already, what is held stays:
/// this is one answer, and only the arbiter lets a table go (ADR 0029).
fn routes_of(
    desired: &Desired,
    seen: Option<&Tables>,
    held: Option<&Resources>,
) -> (Vec<Route>, BTreeSet<Route>) {
    let (mut routes, mut from_gateways) = (desired.routes.clone(), desired.from_gateways.clone());
    for choice in &desired.choices.tables {
        let taken = seen.map(|seen| find(choice, seen).taken).unwrap_or_default();
        let found = taken.into_iter().map(|table| Route { table, destination: choice.destination });
        let held = held.filter(|held| held.choices.tables.contains(choice));
        let held = held.into_iter().flat_map(|held| &held.routes);
        let held = held.filter(|route| route.destination == choice.destination).cloned();
        let found: BTreeSet<_> = found.chain(held).collect();
        from_gateways.extend(found.iter().filter(|_| choice.from_gateways).cloned());
        routes.extend(found);
    }
    (routes, from_gateways)
}

async fn tables<C: Cloud>(
    cloud: &C,
    patience: Patience,
    routes: &[Route],
) -> Seen<BTreeMap<RouteTableId, Vec<baton_protocol::ec2::RouteSeen>>> {
    if routes.is_empty() {
        return Seen::Known(BTreeMap::new());
    }
    let tables: BTreeSet<_> = routes.iter().map(|route| route.table.clone()).collect();
    let look = Look::Tables(tables.into_iter().collect());
    Seen::from(patience.ask(|| cloud.look(&look)).await).tables()
}

async fn networks<C: Cloud>(
    cloud: &C,
    patience: Patience,
    instances: &Seen<BTreeMap<InstanceId, InstanceFacts>>,
    desired: &Desired,
) -> Seen<Vec<Destination>> {
    let Some(instances) = instances.known() else { return Seen::Unasked };
    if nobody_is_there(instances, desired) {
        return Seen::Known(Vec::new());
    }
    let vpcs: BTreeSet<_> =
        instances.values().map(|facts| facts.vpc.as_str()).filter(|vpc| !vpc.is_empty()).collect();
    if vpcs.is_empty() {
        return Seen::Unasked;
    }
    let asked = vpcs.into_iter().map(|vpc| patience.ask(move || cloud.vpc_networks(vpc)));
    Seen::from(try_join_all(asked).await.map(|found| found.into_iter().flatten().collect()))
}

/// The other clusters. Two registrations at the same moment do not see each other, so each looks again once it is written.
pub(crate) async fn neighbours<S: Store>(
    store: &S,
    patience: Patience,
    own: &ClusterName,
) -> Seen<Vec<Neighbour>> {
    let read = async {
        let entries = patience.ask(|| store.clusters()).await?;
        let others = entries.into_iter().map(|entry| entry.cluster).filter(|cluster| cluster != own);
        let leases = stream::iter(others).map(|cluster| async move {
            let lease = patience.ask(|| store.lease(&cluster)).await;
            lease.map_err(|failure| (cluster, failure))
        });
        let leases: Result<Vec<Option<Lease>>, (ClusterName, Failure)> =
            leases.buffer_unordered(SIDE_BY_SIDE).try_collect().await;
        Ok(leases)
    };
    let outcome: Result<_, Failure> = read.await;
    match outcome {
        Ok(Ok(leases)) => {
            let active = leases.iter().flatten().filter(|lease| lease.state == LeaseState::Active);
            Seen::Known(active.map(Neighbour::of).collect())
        }
        Ok(Err((cluster, failure))) => Seen::Unknown(format!("the lease of {cluster}: {failure}")),
        Err(failure) => Seen::Unknown(failure.to_string()),
    }
}
