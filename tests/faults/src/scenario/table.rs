//! What becomes of a route table that somebody makes after the cluster, where tables are described and not named.

use baton_protocol::choice::{Choices, Tag};
use baton_protocol::history::Happening;
use baton_protocol::resource::{Resources, Route};
use baton_protocol::roster::CONSENT;
use baton_protocol::tables::{TableChoice, Which};
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use super::trigger::called;
use super::{Seen, and, standing, whole};
use crate::rig::{Rig, Trouble, cluster, now};

/// The tag by which tables are found, and their owner's consent.
fn tags() -> Value {
    json!([{ "Key": "side", "Value": "private" }, { "Key": CONSENT, "Value": cluster().as_str() }])
}

/// The cluster's stack is updated: these are its resources.
async fn update(rig: &Rig, resources: Resources) -> Result<(), Trouble> {
    let holder = rig.lease().await?.holder;
    let mut registration = Registration { resources, at: now(), ..rig.registration().clone() };
    registration.event.at = now();
    let changed = rig.store().reconfigure(&registration, holder.as_ref()).await;
    changed.map_err(|failure| format!("{failure:?}").into())
}

/// Where the destination leads in a table, as EC2 answers the account's owner.
fn leads_to(rig: &Rig, table: &str) -> Result<String, Trouble> {
    let asked = json!({ "RouteTableIds": [table] });
    let seen = rig.sandbox().account().call("ec2", "describe_route_tables", &asked)?;
    let routes = seen["RouteTables"][0]["Routes"].as_array().cloned().unwrap_or_default();
    let ours =
        routes.iter().find(|route| route["DestinationCidrBlock"] == *rig.sandbox().world().destination);
    Ok(ours.and_then(|route| route["NetworkInterfaceId"].as_str()).unwrap_or("nowhere").to_owned())
}

/// The summaries of the configurations since this row.
async fn configured(rig: &Rig, from: usize) -> Result<String, Trouble> {
    let rows = rig.history().await?;
    let told = rows.iter().skip(from).filter_map(|row| match &row.what {
        Happening::Registered { summary, .. } if summary.contains("rtb-") => Some(summary.clone()),
        _ => None,
    });
    Ok(told.collect::<Vec<_>>().join(", "))
}

/// A table is made and tagged, and a trail tells of the tag: it is led to the holder. It is led to the next one as any other, and
/// its tag taken off it is let go, with its route as it is.
pub(super) async fn tagged(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    let world = rig.sandbox().world().clone();
    let account = rig.sandbox().account();
    account.call("ec2", "create_tags", &json!({ "Resources": world.route_tables, "Tags": tags() }))?;
    let named = rig.registration().resources.clone();
    let destination = named.routes[0].destination;
    let which = Which::Tag(Tag::new("side", "private")?);
    let tables = vec![TableChoice { destination, which, from_gateways: false }];
    let choices = Choices { tables, vpc: Some(world.vpc.clone()), ..Choices::default() };
    update(rig, Resources { choices, ..named.clone() }).await?;
    rig.wake("continue").await;
    let from = rig.history().await?.len();

    let account = rig.sandbox().account();
    let made = account.call("ec2", "create_route_table", &json!({ "VpcId": world.vpc }))?;
    let table = made["RouteTable"]["RouteTableId"].as_str().ok_or("no table was made")?.to_owned();
    account.call("ec2", "create_tags", &json!({ "Resources": [table], "Tags": tags() }))?;
    let items = json!([{ "resourceId": table }]);
    for _ in 0..2 {
        rig.send(called("CreateTags", json!({ "resourcesSet": { "items": items } }))).await;
        rig.wake("continue").await;
    }
    let holders = rig.registration().members[holder].interface.to_string();
    let led = leads_to(rig, &table)?;

    rig.sandbox().account().call(
        "ec2",
        "delete_tags",
        &json!({ "Resources": [table], "Tags": [{ "Key": "side", "Value": "private" }] }),
    )?;
    rig.wake("verify").await;
    rig.wake("continue").await;
    let route = Route { table: baton_protocol::ids::RouteTableId::new(&*table)?, destination };
    let held = rig.lease().await?.resources.routes.contains(&route);
    let left = leads_to(rig, &table)?;
    let told = configured(rig, from).await?;
    rig.sandbox().account().call("ec2", "delete_route_table", &json!({ "RouteTableId": table }))?;
    update(rig, named).await?;
    rig.wake("continue").await;
    let seen = whole(rig, holder, epoch).await?;
    let seen = and(seen, "in the new table", holders.clone(), led);
    let seen = and(seen, "is the cluster's without its tag", false, held);
    let seen = and(seen, "there it still leads", holders, left);
    Ok(and(seen, "told once", format!("taken in: {route}, let go: {route}"), told))
}
