//! A subnet whose route table is swapped for the one that is prepared for the holder.

use baton_protocol::ids::{RouteTableId, SubnetId};
use baton_protocol::resource::SubnetTables;
use baton_sandbox::account::Account;
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use super::fault::take_over;
use super::trigger::called;
use super::{Seen, and, standing, whole};
use crate::rig::{Rig, Trouble, now};

/// What the prepared tables route, which no route of the cluster does.
const ELSEWHERE: &str = "203.0.113.0/24";

pub(super) async fn swap(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    // It begins with another table than the holder's: what a move has made itself counts at once.
    let swapped = made(rig, next)?;
    let before = rig.registration().clone();
    let mut with = before.clone();
    with.resources.subnets = vec![swapped.clone()];
    let seen = match reconfigure(rig, &with).await {
        Ok(()) => moves(rig, &before, &swapped, (holder, epoch, next)).await,
        Err(trouble) => Err(trouble),
    };
    // Whatever came of it, the cluster is left to the next scenario as it was.
    reconfigure(rig, &before).await?;
    seen
}

/// The subnet follows a takeover, and what somebody else makes of it is put right.
async fn moves(
    rig: &mut Rig,
    before: &Registration,
    swapped: &SubnetTables,
    (holder, epoch, next): (usize, u64, usize),
) -> Result<Seen, Trouble> {
    let name = |n: usize| before.members[n].node.to_string();
    let (_, first) = there(rig, swapped)?;
    take_over(rig, next).await?;
    let (table, second) = there(rig, swapped)?;
    let mut seen = whole(rig, next, epoch + 1).await?;
    seen = and(seen, "the subnet has the table of", name(next), table);
    seen = and(seen, "by another association", true, first != second);
    let known = rig.lease().await?.observed.tables.get(&swapped.subnet).map(|at| at.id.to_string());
    seen = and(seen, "which the lease knows", &second, known.unwrap_or_default());
    let late = json!({"AssociationId": first, "RouteTableId": swapped.tables[&before.members[holder].node].as_str()});
    let late = rig.sandbox().account().call("ec2", "replace_route_table_association", &late);
    seen = and(seen, "the former one can be replaced", false, late.is_ok());

    let back = swapped.tables[&before.members[holder].node].as_str();
    let parameters = json!({"AssociationId": second, "RouteTableId": back});
    rig.sandbox().account().call("ec2", "replace_route_table_association", &parameters)?;
    rig.send(called("ReplaceRouteTableAssociation", json!({"associationId": second, "routeTableId": back})))
        .await;
    seen = and(seen, "put right, it has that of", name(next), there(rig, swapped)?.0);
    Ok(seen)
}

/// Another configuration of the cluster, and the move that follows it.
pub(super) async fn reconfigure(rig: &mut Rig, to: &Registration) -> Result<(), Trouble> {
    let holder = rig.lease().await?.holder;
    // Each configuration has a row of its own in the history.
    let mut to = Registration { at: now(), ..to.clone() };
    to.event.at = now();
    let done = rig.store().reconfigure(&to, holder.as_ref()).await;
    done.map_err(|failure| format!("the table: {failure:?}"))?;
    for _ in 0..5 {
        rig.beat(&[0, 1, 2], None).await?;
        rig.wake("registered").await;
        let lease = rig.lease().await?;
        if lease.moved == lease.epoch {
            return Ok(());
        }
    }
    Err("the new configuration is not moved".into())
}

/// A subnet and a table for each node, which leads there; it begins with that of node `n`.
fn made(rig: &Rig, n: usize) -> Result<SubnetTables, Trouble> {
    let account = rig.sandbox().account();
    let near = &rig.sandbox().world().instances[0].subnet;
    let described = account.call("ec2", "describe_subnets", &json!({"SubnetIds": [near]}))?;
    let vpc = text(&described["Subnets"][0]["VpcId"]);
    let made = account.call("ec2", "create_subnet", &json!({"VpcId": vpc, "CidrBlock": "10.0.250.0/24"}))?;
    let subnet = text(&made["Subnet"]["SubnetId"]);
    let table = |interface: &str| -> Result<RouteTableId, Trouble> {
        let made = account.call("ec2", "create_route_table", &json!({"VpcId": vpc}))?;
        let id = text(&made["RouteTable"]["RouteTableId"]);
        let route = json!({
            "RouteTableId": id, "DestinationCidrBlock": ELSEWHERE, "NetworkInterfaceId": interface,
        });
        account.call("ec2", "create_route", &route)?;
        Ok(RouteTableId::new(id)?)
    };
    let members = &rig.registration().members;
    let tables = members.iter().map(|m| Ok((m.node.clone(), table(m.interface.as_str())?)));
    let swapped =
        SubnetTables { subnet: SubnetId::new(&subnet)?, tables: tables.collect::<Result<_, Trouble>>()? };
    associate(account, &subnet, swapped.tables[&members[n].node].as_str())?;
    Ok(swapped)
}

fn associate(account: &Account, subnet: &str, table: &str) -> Result<(), Trouble> {
    account.call("ec2", "associate_route_table", &json!({"SubnetId": subnet, "RouteTableId": table}))?;
    Ok(())
}

/// For which node the table is that EC2 says the subnet has, and by which association.
fn there(rig: &Rig, swapped: &SubnetTables) -> Result<(String, String), Trouble> {
    let filter = json!({"Filters": [{"Name": "association.subnet-id", "Values": [swapped.subnet.as_str()]}]});
    let found = rig.sandbox().account().call("ec2", "describe_route_tables", &filter)?;
    let table = text(&found["RouteTables"][0]["RouteTableId"]);
    let associations = found["RouteTables"][0]["Associations"].as_array().cloned().unwrap_or_default();
    let own = associations.iter().find(|row| row["SubnetId"] == swapped.subnet.as_str());
    let node = swapped.tables.iter().find(|(_, prepared)| prepared.as_str() == table);
    let node = node.map_or_else(|| table.clone(), |(node, _)| node.to_string());
    Ok((node, own.map(|row| text(&row["RouteTableAssociationId"])).unwrap_or_default()))
}

fn text(field: &Value) -> String {
    field.as_str().unwrap_or_default().to_owned()
}
