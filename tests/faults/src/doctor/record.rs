//! What is broken in the record: who the nodes are, what they are for, and what their agents write.

use baton_conformance::store::build::uid;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{AllocationId, Epoch, InstanceArn, InterfaceId, NodeName, RouteTableId};
use baton_protocol::lease::Member;
use baton_protocol::resource::{Address, Destination, Placement, Route};
use baton_sandbox::{ACCOUNT_ID, REGION};
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use super::account::launch;
use super::{Ward, ids, text};
use crate::rig::{Trouble, cluster, now};

const WHOLE: &str = "registration";

fn said(failure: impl std::fmt::Debug) -> Trouble {
    format!("the table: {failure:?}").into()
}

/// Registers the cluster otherwise, and remembers how it was.
async fn change(ward: &mut Ward, how: impl FnOnce(&mut Registration)) -> Result<(), Trouble> {
    let mut registration = ward.rig.registration().clone();
    let before = json!([registration.members, registration.resources]).to_string();
    ward.kept.entry(WHOLE).or_insert(before);
    how(&mut registration);
    ward.rig.reconfigure(registration).await?;
    ward.rig.wake("probe").await;
    Ok(())
}

/// Registers the cluster as it was.
pub(super) async fn as_before(ward: &mut Ward) -> Result<(), Trouble> {
    let before: Value = serde_json::from_str(&ward.kept.remove(WHOLE).ok_or("nothing was changed")?)?;
    let mut registration = ward.rig.registration().clone();
    registration.members = serde_json::from_value(before[0].clone())?;
    registration.resources = serde_json::from_value(before[1].clone())?;
    ward.rig.reconfigure(registration).await?;
    ward.rig.wake("probe").await;
    Ok(())
}

/// An instance as a member in the place of another one.
fn member(ward: &Ward, instance: &str, like: &Member) -> Result<Member, Trouble> {
    let found = ward.ec2("describe_instances", ids("InstanceIds", instance))?;
    let seen = &found["Reservations"][0]["Instances"][0];
    let interface = InterfaceId::new(text(&seen["NetworkInterfaces"][0]["NetworkInterfaceId"]))?;
    let private_ip = text(&seen["PrivateIpAddress"]).parse()?;
    let place = Placement { interface: interface.clone(), private_ip };
    Ok(Member {
        node: NodeName::new(format!("new-{}", like.node))?,
        instance: InstanceArn::new(format!("arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/{instance}"))?,
        zone: text(&seen["Placement"]["AvailabilityZone"]),
        placements: like.placements.keys().map(|allocation| (allocation.clone(), place.clone())).collect(),
        interface,
        priority: like.priority,
    })
}

/// A new instance in this subnet is the last of the nodes.
async fn replaced(ward: &mut Ward, subnet: &str, hibernation: bool) -> Result<(), Trouble> {
    let instance = launch(&ward.rig, subnet, hibernation)?;
    let last = ward.rig.registration().members[2].clone();
    let made = member(ward, &instance, &last)?;
    change(ward, |registration| registration.members[2] = made).await
}

/// One of the nodes is in another VPC.
pub(super) async fn two_vpcs(ward: &mut Ward) -> Result<(), Trouble> {
    let subnet = other_vpc(ward, "b")?;
    replaced(ward, &subnet, false).await
}

fn other_vpc(ward: &Ward, zone: &str) -> Result<String, Trouble> {
    let vpc = ward.ec2("create_vpc", json!({ "CidrBlock": "10.7.0.0/16" }))?;
    let vpc = text(&vpc["Vpc"]["VpcId"]);
    let zone = format!("{REGION}{zone}");
    let given = json!({ "VpcId": vpc, "CidrBlock": "10.7.0.0/24", "AvailabilityZone": zone });
    Ok(text(&ward.ec2("create_subnet", given)?["Subnet"]["SubnetId"]))
}

/// All nodes are in a VPC whose subnets are in one zone.
pub(super) async fn one_zone(ward: &mut Ward) -> Result<(), Trouble> {
    let subnet = other_vpc(ward, "a")?;
    let mut members = Vec::new();
    for like in ward.rig.registration().members.clone() {
        let instance = launch(&ward.rig, &subnet, false)?;
        members.push(member(ward, &instance, &like)?);
    }
    // Only a member may hold, and the holder is one of the old ones.
    let first = ward.rig.registration().members[0].clone();
    ward.kept.insert("holder", first.instance.to_string());
    change(ward, |registration| registration.members = members).await
}

/// All of two nodes are in one zone.
pub(super) async fn same_zone(ward: &mut Ward) -> Result<(), Trouble> {
    let subnet = ward.rig.sandbox().world().instances[0].subnet.clone();
    replaced(ward, &subnet, false).await?;
    change(ward, |registration| drop(registration.members.remove(1))).await
}

/// A new instance, which nobody has installed an agent on.
pub(super) async fn newcomer(ward: &mut Ward, subnet: &str, hibernation: bool) -> Result<(), Trouble> {
    replaced(ward, subnet, hibernation).await
}

/// Routes lead to a further interface of the last node, which somebody detaches.
pub(super) async fn detached(ward: &mut Ward) -> Result<(), Trouble> {
    let last = ward.rig.sandbox().world().instances[2].clone();
    let tags = json!([{ "Key": "baton:cluster", "Value": "orders" }]);
    let given = json!({
        "SubnetId": last.subnet, "Groups": [ward.group()?],
        "TagSpecifications": [{ "ResourceType": "network-interface", "Tags": tags }],
    });
    let made = text(&ward.ec2("create_network_interface", given)?["NetworkInterface"]["NetworkInterfaceId"]);
    let interface = InterfaceId::new(made)?;
    change(ward, |registration| registration.members[2].interface = interface).await
}

/// A destination of the cluster is one of the VPC's own addresses.
pub(super) async fn inside(ward: &mut Ward) -> Result<(), Trouble> {
    let table = RouteTableId::new(ward.rig.sandbox().world().route_tables[0].clone())?;
    let route = Route { table, destination: Destination::new("10.0.9.9/32")? };
    change(ward, |registration| registration.resources.routes.push(route)).await
}

/// The stack names the address that was allocated in the place of the one that is gone.
pub(super) async fn readdress(ward: &mut Ward) -> Result<(), Trouble> {
    let found = ward.rig.sandbox().account().addresses()?;
    let new = found.first().ok_or("no address was allocated")?;
    let (allocation, public_ip) = (AllocationId::new(&new.allocation)?, new.public_ip.parse()?);
    let mut registration = ward.rig.registration().clone();
    for member in &mut registration.members {
        let places = std::mem::take(&mut member.placements);
        member.placements = places.into_values().map(|place| (allocation.clone(), place)).collect();
    }
    registration.resources.addresses = vec![Address { allocation, public_ip }];
    ward.rig.reconfigure(registration).await?;
    ward.rig.wake("verify").await;
    ward.rig.wake("probe").await;
    Ok(())
}

/// The stack is deleted.
pub(super) async fn retire(ward: &Ward) -> Result<(), Trouble> {
    let lease = ward.rig.lease().await?;
    let event = Event {
        cluster: cluster(),
        epoch: lease.epoch,
        at: now(),
        by: "registrar".to_owned(),
        what: Happening::Retired {},
    };
    ward.rig.store().retire(&cluster(), &lease.uid, &event).await.map(drop).map_err(said)
}

/// It is made again.
pub(super) async fn register(ward: &mut Ward) -> Result<(), Trouble> {
    let what = Happening::Registered { revision: 1, summary: "made again".to_owned() };
    let event = Event { cluster: cluster(), epoch: Epoch(0), at: now(), by: "registrar".to_owned(), what };
    let registration = Registration { uid: uid(2), at: now(), event, ..ward.rig.registration().clone() };
    ward.rig.store().register(&registration).await.map_err(said)?;
    ward.rig.wake("registered").await;
    ward.rig.wake("verify").await;
    ward.rig.wake("probe").await;
    Ok(())
}

async fn heartbeat(ward: &Ward, node: &InstanceArn) -> Result<Heartbeat, Trouble> {
    let found = ward.rig.store().heartbeat(&cluster(), node).await.map_err(said)?;
    found.ok_or_else(|| "it has never beaten".into())
}

/// Waits until every node has beaten twice, as it is now.
pub(super) async fn beaten(ward: &Ward) -> Result<(), Trouble> {
    for n in 0..3 {
        let first = heartbeat(ward, ward.rig.node(n)).await?.seq;
        let from = first.0;
        while heartbeat(ward, ward.rig.node(n)).await?.seq.0 < from + 2 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// The last node has not been heard of for a minute.
pub(super) async fn fall_silent(ward: &Ward) -> Result<(), Trouble> {
    let node = ward.rig.node(2).clone();
    ward.pulse.age(&ward.rig, &node, 60_000).await
}
