//! Subnets whose route table is swapped for the one that is prepared for the holder.

use baton_cloud::Cloud;
use baton_protocol::ec2::Call;
use baton_protocol::history::Happening;
use baton_protocol::ids::RouteTableId;
use serde_json::json;

use super::drift::{called, rows};
use super::world::World;

/// The table that is prepared for node `n` and the first subnet.
fn prepared(world: &World, n: usize) -> RouteTableId {
    world.subnets[0].tables.values().nth(n).expect("one for each node").clone()
}

fn table(world: &World) -> Option<RouteTableId> {
    world.parts.cloud.table_of(&world.subnets[0].subnet).map(|there| there.table)
}

async fn held_by_the_first() -> World {
    let world = World::with_subnets(0, 0, 1).await;
    world.wake().await;
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (lease.moved, lease.epoch));
    assert_eq!(table(&world), Some(prepared(&world, 0)));
    world.parts.cloud.clear_log();
    world
}

#[tokio::test]
async fn a_failover_swaps_the_table_by_one_call() {
    let mut world = held_by_the_first().await;
    let before = world.parts.cloud.table_of(&world.subnets[0].subnet).expect("associated");
    world.claim(0, 1).await;
    world.wake().await;
    assert_eq!(table(&world), Some(prepared(&world, 1)));
    let lease = world.lease().await;
    assert_eq!(lease.moved, lease.epoch, "and it is recorded");
    let there = world.parts.cloud.table_of(&world.subnets[0].subnet).expect("associated");
    assert_eq!(lease.observed.tables[&world.subnets[0].subnet], there);
    let swaps: Vec<_> = world.calls().into_iter().filter(|call| call.action().contains("Table")).collect();
    let swap = Call::ReplaceTableAssociation {
        subnet: world.subnets[0].subnet.clone(),
        association: before.id,
        table: prepared(&world, 1),
    };
    assert_eq!(swaps, std::slice::from_ref(&swap));
    assert!(world.parts.cloud.call(&swap).await.is_err(), "landing once more it takes nothing back");
    let check = world.parts.cloud.checks_source_and_destination(&world.nodes[1].interface);
    assert_eq!(check, Some(false), "the node forwards what the table sends it");
}

#[tokio::test]
async fn a_table_of_another_node_that_somebody_swaps_in_is_put_right() {
    let world = held_by_the_first().await;
    let subnet = world.subnets[0].subnet.clone();
    let gone = world.lease().await.observed.tables[&subnet].id.clone();
    world.parts.cloud.associate_table(&subnet, &prepared(&world, 2));
    let event = json!({"associationId": gone, "routeTableId": prepared(&world, 2)});
    assert_eq!(world.send(called("ReplaceRouteTableAssociation", event)).await, json!({"clusters": 1}));
    assert_eq!(table(&world), Some(prepared(&world, 0)));
    assert_eq!(rows(&world, |what| matches!(what, Happening::Drift { .. })).await, 1);
    assert_eq!(rows(&world, |what| matches!(what, Happening::Repaired { .. })).await, 1);
    let there = world.parts.cloud.table_of(&subnet).expect("associated");
    assert_eq!(world.lease().await.observed.tables[&subnet], there, "the next failover knows it");
}

#[tokio::test]
async fn a_table_that_is_none_of_the_prepared_stays_and_people_are_told() {
    let mut world = held_by_the_first().await;
    let subnet = world.subnets[0].subnet.clone();
    let vpc = world.parts.cloud.vpc(&["10.1.0.0/16"]);
    let foreign = world.parts.cloud.table(&vpc);
    world.parts.cloud.associate_table(&subnet, &foreign);
    world.claim(0, 1).await;
    for _ in 0..3 {
        world.wake_for("baton.control-plane", "verify").await;
    }
    assert_eq!(table(&world), Some(foreign.clone()));
    let stuck = |what: &Happening| {
        matches!(what, Happening::Stuck { resource, why } if *resource == subnet.to_string()
            && why.contains(foreign.as_str()))
    };
    assert!(rows(&world, stuck).await >= 1, "told");
    let swap = |call: &Call| {
        matches!(call, Call::ReplaceTableAssociation { association, .. }
        if Some(association) == world.parts.cloud.table_of(&subnet).map(|there| there.id).as_ref())
    };
    assert!(!world.calls().iter().any(swap), "and never replaced");
    // Once it is with one of its own, it is the cluster's again.
    world.parts.cloud.associate_table(&subnet, &prepared(&world, 0));
    world.wake_for("baton.control-plane", "verify").await;
    assert_eq!(table(&world), Some(prepared(&world, 1)));
}
