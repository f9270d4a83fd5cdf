//! The world as a registration is examined by, of a cluster that is registered: its lease says what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use baton_cloud::{Cloud, InstanceSeen};
use baton_doctor::{
    InstanceFacts, Neighbour, RoleSeen, Seen, SubnetFacts, Subnets, TAG, TableFacts, Wanted, WantedNode,
    World,
};
use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{Look, Sight};
use baton_protocol::ids::{InstanceId, InterfaceId};
use baton_protocol::lease::{Lease, LeaseState, Mode};
use baton_protocol::outcome::Failure;
use baton_protocol::resource::Destination;
use baton_protocol::tables::Tables;
use baton_store::Store;

/// Why nothing is said of the role of a shared VPC.
const ONLY_FUNCTIONS: &str = "only the arbiter and the registrar may assume it; what the arbiter's hourly probe finds is shown by `baton status`";

type Instances = BTreeMap<InstanceId, InstanceFacts>;

/// Reads it.
pub(super) async fn world<S: Store, C: Cloud>(store: &S, cloud: &C, lease: &Lease) -> World {
    let ids: Vec<InstanceId> = lease.members.iter().map(|member| member.instance.instance_id()).collect();
    let found = cloud.instances(&ids).await;
    let facts = |seen: &InstanceSeen| InstanceFacts::of(&seen.shown(&BTreeMap::new()));
    let instances: Seen<Instances> =
        Seen::from(found.map(|found| found.iter().map(|(id, seen)| (id.clone(), facts(seen))).collect()));
    let interfaces: Vec<InterfaceId> = instances
        .known()
        .into_iter()
        .flat_map(|all: &Instances| all.values())
        .flat_map(|facts| facts.interfaces.iter().map(|interface| interface.id.clone()))
        .collect();
    // Whoever asks here may not take on the role through which another account's tables are reached.
    let theirs = TableAccess::of(lease).is_some();
    World {
        role: if theirs { RoleSeen::Unknown(ONLY_FUNCTIONS.to_owned()) } else { RoleSeen::Unneeded },
        members: ids.iter().cloned().collect(),
        kept: if lease.roster.is_some() { ids.into_iter().collect() } else { BTreeSet::new() },
        networks: if theirs { Seen::Unasked } else { networks(cloud, instances.known()).await },
        addresses: addresses(cloud, lease).await,
        interface_tags: tags(cloud, lease, &interfaces).await,
        seats: seats(cloud, lease, interfaces).await,
        tables: if theirs { Seen::Unasked } else { tables(cloud, lease).await },
        subnets: if theirs { Seen::Unasked } else { subnets(cloud, lease).await },
        vpc_tables: if theirs { Seen::Unasked } else { vpc_tables(cloud, lease).await },
        neighbours: neighbours(store, lease).await,
        wanted: wanted(lease),
        instances,
    }
}

fn wanted(lease: &Lease) -> Wanted {
    let resources = &lease.resources;
    let node = |member: &baton_protocol::lease::Member| WantedNode {
        node: member.node.clone(),
        instance: member.instance.instance_id(),
    };
    Wanted {
        cluster: lease.cluster.clone(),
        strict: lease.mode == Mode::Strict,
        access: TableAccess::of(lease),
        nodes: lease.members.iter().map(node).collect(),
        by_tag: lease.roster.is_some(),
        addresses: resources.addresses.iter().map(|address| address.allocation.clone()).collect(),
        routes: resources.routes.clone(),
        from_gateways: resources.from_gateways.clone(),
        subnets: resources.subnets.clone(),
        choices: resources.choices.clone(),
    }
}

async fn networks<C: Cloud>(cloud: &C, instances: Option<&Instances>) -> Seen<Vec<Destination>> {
    let Some(instances) = instances else { return Seen::Unasked };
    let vpcs: BTreeSet<&str> =
        instances.values().map(|facts| facts.vpc.as_str()).filter(|vpc| !vpc.is_empty()).collect();
    if vpcs.is_empty() {
        return Seen::Unasked;
    }
    let mut all = Vec::new();
    for vpc in vpcs {
        match cloud.vpc_networks(vpc).await {
            Ok(networks) => all.extend(networks),
            Err(failure) => return Seen::Unknown(failure.to_string()),
        }
    }
    Seen::Known(all)
}

async fn addresses<C: Cloud>(
    cloud: &C,
    lease: &Lease,
) -> Seen<BTreeMap<baton_protocol::ids::AllocationId, baton_protocol::ec2::AddressSeen>> {
    let ids: Vec<_> = lease.resources.addresses.iter().map(|address| address.allocation.clone()).collect();
    if ids.is_empty() {
        return Seen::Known(BTreeMap::new());
    }
    Seen::from(cloud.look(&Look::Addresses(ids)).await).addresses()
}

async fn tags<C: Cloud>(
    cloud: &C,
    lease: &Lease,
    interfaces: &[InterfaceId],
) -> Seen<BTreeMap<InterfaceId, BTreeMap<String, String>>> {
    if !lease.resources.choices.by_tag() {
        return Seen::Known(BTreeMap::new());
    }
    if interfaces.is_empty() {
        return Seen::Unasked;
    }
    Seen::from(cloud.interface_tags(interfaces).await)
}

async fn seats<C: Cloud>(
    cloud: &C,
    lease: &Lease,
    interfaces: Vec<InterfaceId>,
) -> Seen<Vec<baton_protocol::ec2::Seat>> {
    if lease.resources.addresses.is_empty() {
        return Seen::Known(Vec::new());
    }
    if interfaces.is_empty() {
        return Seen::Unasked;
    }
    Seen::from(cloud.look(&Look::Seats(interfaces)).await).seats()
}

async fn tables<C: Cloud>(
    cloud: &C,
    lease: &Lease,
) -> Seen<BTreeMap<baton_protocol::ids::RouteTableId, Vec<baton_protocol::ec2::RouteSeen>>> {
    let tables: BTreeSet<_> = lease.resources.routes.iter().map(|route| route.table.clone()).collect();
    if tables.is_empty() {
        return Seen::Known(BTreeMap::new());
    }
    Seen::from(cloud.look(&Look::Tables(tables.into_iter().collect())).await).tables()
}

async fn vpc_tables<C: Cloud>(cloud: &C, lease: &Lease) -> Seen<Tables> {
    let choices = &lease.resources.choices;
    if choices.tables.is_empty() {
        return Seen::Known(Tables::new());
    }
    match &choices.vpc {
        Some(vpc) => Seen::from(cloud.tables_of(vpc).await),
        None => Seen::Unasked,
    }
}

async fn subnets<C: Cloud>(cloud: &C, lease: &Lease) -> Seen<Subnets> {
    let swapped = &lease.resources.subnets;
    if swapped.is_empty() {
        return Seen::Known(Subnets::default());
    }
    let ids: Vec<_> = swapped.iter().map(|subnet| subnet.subnet.clone()).collect();
    let prepared: BTreeSet<_> = lease.resources.prepared().cloned().collect();
    let prepared: Vec<_> = prepared.into_iter().collect();
    let (subnets, tables) = match (cloud.subnets(&ids).await, cloud.tables(&prepared).await) {
        (Ok(subnets), Ok(tables)) => (subnets, tables),
        (Err(failure), _) | (_, Err(failure)) => return Seen::Unknown(failure.to_string()),
    };
    let pick = |sight| if let Sight::Subnets(there) = sight { Ok(there) } else { Err(sight) };
    let there = match Seen::from(cloud.look(&Look::Subnets(ids)).await).pick(pick) {
        Seen::Known(there) => there,
        Seen::Unknown(why) => return Seen::Unknown(why),
        Seen::Unasked => return Seen::Unasked,
    };
    let subnet = |(id, seen): (_, baton_cloud::SubnetSeen)| {
        let table = there.get(&id).map(|association| association.table.clone());
        let facts = SubnetFacts { vpc: seen.vpc, tagged: seen.tags.contains_key(TAG), table };
        (id, facts)
    };
    let table = |(id, seen): (_, baton_cloud::TableSeen)| {
        let facts = TableFacts { vpc: seen.vpc, tagged: seen.tags.contains_key(TAG), routes: seen.routes };
        (id, facts)
    };
    Seen::Known(Subnets {
        subnets: subnets.into_iter().map(subnet).collect(),
        tables: tables.into_iter().map(table).collect(),
    })
}

/// The other clusters of the table.
async fn neighbours<S: Store>(store: &S, lease: &Lease) -> Seen<Vec<Neighbour>> {
    let read = async {
        let mut all = Vec::new();
        for entry in store.clusters().await? {
            if entry.cluster == lease.cluster {
                continue;
            }
            let other = store.lease(&entry.cluster).await?;
            all.extend(other.filter(|other| other.state == LeaseState::Active).as_ref().map(Neighbour::of));
        }
        Ok::<_, Failure>(all)
    };
    Seen::from(read.await)
}
