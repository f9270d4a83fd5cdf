//! A shared VPC: the route tables are another account's, and a role of that account is the only way to them.

use baton_protocol::history::Happening;
use baton_protocol::ids::{RoleArn, RouteTableId};
use baton_protocol::resource::{Destination, Resources, Route};
use baton_sandbox::moto::{Ec2Fault, Ec2Trouble};
use baton_store::Registration;
use serde_json::{Value, json};

use super::fault::take_over;
use super::swap::reconfigure;
use super::{Seen, and, standing, told};
use crate::rig::{Rig, Trouble};

/// Who owns the VPC.
const OWNER: &str = "210987654321";
const ROLE: &str = "arn:aws:iam::210987654321:role/baton-route-tables-orders";
const DESTINATION: &str = "203.0.113.7/32";

pub(super) async fn shared(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let tables = made(rig, holder)?;
    let before = rig.registration().clone();
    let destination = Destination::new(DESTINATION)?;
    let resources = Resources {
        routes: tables.iter().map(|table| Route { table: table.clone(), destination }).collect(),
        tables_role: Some(RoleArn::new(ROLE)?),
        ..before.resources.clone()
    };
    let seen = match reconfigure(rig, &Registration { resources, ..before.clone() }).await {
        Ok(()) => moves(rig, &tables, (holder, epoch, next)).await,
        Err(trouble) => Err(trouble),
    };
    // Whatever came of it, the cluster is left to the next scenario as it was.
    rig.sandbox().moto().set_faults(&[])?;
    reconfigure(rig, &before).await?;
    seen
}

/// Everything goes over through the role; then the role is refused to a new process, and the rest goes; then it is allowed again.
async fn moves(
    rig: &mut Rig,
    tables: &[RouteTableId],
    (holder, epoch, next): (usize, u64, usize),
) -> Result<Seen, Trouble> {
    let name = |rig: &Rig, n: usize| rig.registration().members[n].node.to_string();
    let all = |rig: &Rig, n: usize| vec![name(rig, n); tables.len()].join(" ");
    let seen = Seen { expected: String::new(), observed: String::new() };

    let calls = rig.sandbox().moto().calls()?.len();
    take_over(rig, next).await?;
    let mut seen = and(seen, "the owner's tables lead to", all(rig, next), there(rig, tables)?);
    seen = and(seen, "the address is at", name(rig, next), address(rig)?);
    seen = and(seen, "moved", epoch + 1, rig.lease().await?.moved);
    let asked = rig.sandbox().moto().calls()?.split_off(calls);
    let assumed = asked.iter().filter(|call| call.action == "AssumeRole").count();
    // The process has taken it on for the move before; the session goes on.
    seen = and(seen, "roles taken on for that", 0, assumed);

    let rows = rig.history().await?.len();
    rig.sandbox().moto().set_faults(&[Ec2Fault::on("AssumeRole", Ec2Trouble::Deny)])?;
    rig.start_cold().await?;
    take_over(rig, holder).await?;
    seen = and(seen, "without the role they lead to", all(rig, next), there(rig, tables)?);
    seen = and(seen, "and the address is at", name(rig, holder), address(rig)?);
    seen = and(seen, "moved", epoch + 1, rig.lease().await?.moved);
    let says = |what: &Happening| {
        matches!(what, Happening::Stuck { why, .. } if why.contains(ROLE)
            && why.contains("cannot be assumed") && why.contains("external id `baton/orders`"))
    };
    let stuck = told(rig, rows, |what| matches!(what, Happening::Stuck { .. })).await?;
    seen = and(seen, "stuck rows are there", true, stuck >= tables.len());
    seen = and(seen, "each with what to do", stuck, told(rig, rows, says).await?);

    rig.sandbox().moto().set_faults(&[Ec2Fault::on("AssumeRole", Ec2Trouble::Throttle).times(2)])?;
    rig.beat(&[0, 1, 2], None).await?;
    rig.wake("verify").await;
    seen = and(seen, "allowed again, they lead to", all(rig, holder), there(rig, tables)?);
    Ok(and(seen, "moved", epoch + 2, rig.lease().await?.moved))
}

/// Two tables of the owner's, each with a route to node `n`.
fn made(rig: &Rig, n: usize) -> Result<Vec<RouteTableId>, Trouble> {
    let vpc = owner(rig, "create_vpc", &json!({"CidrBlock": "10.20.0.0/16"}))?;
    let interface = rig.registration().members[n].interface.to_string();
    let table = || -> Result<RouteTableId, Trouble> {
        let made = owner(rig, "create_route_table", &json!({"VpcId": vpc["Vpc"]["VpcId"]}))?;
        let id = made["RouteTable"]["RouteTableId"].as_str().unwrap_or_default();
        let route = json!({
            "RouteTableId": id, "DestinationCidrBlock": DESTINATION, "NetworkInterfaceId": interface,
        });
        owner(rig, "create_route", &route)?;
        Ok(RouteTableId::new(id)?)
    };
    Ok(vec![table()?, table()?])
}

/// What the owner's administrator asks of EC2.
fn owner(rig: &Rig, operation: &str, parameters: &Value) -> Result<Value, Trouble> {
    Ok(rig.sandbox().account().call_in(OWNER, "ec2", operation, parameters)?)
}

/// To which nodes the owner sees the tables lead.
fn there(rig: &Rig, tables: &[RouteTableId]) -> Result<String, Trouble> {
    let ids: Vec<_> = tables.iter().map(RouteTableId::as_str).collect();
    let found = owner(rig, "describe_route_tables", &json!({"RouteTableIds": ids}))?;
    let tables = found["RouteTables"].as_array().cloned().unwrap_or_default();
    let routes = tables.iter().flat_map(|table| table["Routes"].as_array().cloned().unwrap_or_default());
    let ours = routes.filter(|route| route["DestinationCidrBlock"] == DESTINATION);
    let nodes = ours.map(|route| node(rig, route["NetworkInterfaceId"].as_str().unwrap_or_default()));
    Ok(nodes.collect::<Vec<_>>().join(" "))
}

/// At which node EC2 shows the address, which is the participant's own.
fn address(rig: &Rig) -> Result<String, Trouble> {
    let allocation = rig.registration().resources.addresses[0].allocation.as_str();
    let found = rig.sandbox().account().addresses()?.into_iter().find(|seen| seen.allocation == allocation);
    Ok(node(rig, &found.and_then(|seen| seen.interface).unwrap_or_default()))
}

fn node(rig: &Rig, interface: &str) -> String {
    let found = rig.registration().members.iter().find(|member| member.interface.as_str() == interface);
    found.map_or_else(|| interface.to_owned(), |member| member.node.to_string())
}
