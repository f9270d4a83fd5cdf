//! Tables of another account: reached through the role that the cluster names, and everything else without it.

use baton_cloud::Cloud;
use baton_cloud::memory::{Asked, Fault, Trouble};
use baton_protocol::access::TableAccess;
use baton_protocol::choice::{Choices, Tag};
use baton_protocol::ec2::RouteTarget;
use baton_protocol::history::Happening;
use baton_protocol::ids::{ClusterName, Epoch, RoleArn, RouteTableId};
use baton_protocol::resource::{Destination, Resources};
use baton_protocol::tables::{TableChoice, Which};
use baton_store::{Registration, Store};

use crate::drift::rows;
use crate::tables::vpc;
use crate::world::{DESTINATION, World, cluster};

fn access() -> TableAccess {
    let role = "arn:aws:iam::210987654321:role/baton-route-tables-orders";
    TableAccess { role: RoleArn::new(role).expect("valid"), cluster: cluster() }
}

/// An address, two tables and a subnet, at node 0 at epoch 1; the VPC is another account's.
async fn settled() -> World {
    let world = World::with_subnets(1, 2, 1).await;
    world.parts.cloud.share(&vpc(&world).await, &access());
    let registration = world.registration();
    let resources = Resources { tables_role: Some(access().role), ..registration.resources.clone() };
    let registration = Registration { resources, ..registration };
    world.parts.store.reconfigure(&registration, None).await.expect("named");
    world.wake().await;
    at(&world, 0, 1).await;
    world.parts.cloud.clear_log();
    world
}

/// Everything is at node `n`, the subnet with its table as well.
async fn at(world: &World, n: usize, epoch: u64) {
    world.assert_whole_at(n, epoch).await;
    let there = world.parts.cloud.table_of(&world.subnets[0].subnet).map(|there| there.table);
    assert_eq!(there.as_ref(), world.subnets[0].tables.values().nth(n));
}

fn refuse(world: &World) {
    world.parts.cloud.fail(Fault::on("AssumeRole", Trouble::Deny).about(access().role).always());
}

#[tokio::test]
async fn a_failover_moves_tables_through_the_role_and_the_rest_without() {
    let mut world = settled().await;
    world.claim(0, 1).await;
    world.wake().await;
    at(&world, 1, 2).await;
    let without = world.parts.cloud.through(None);
    let mut of_tables = 0;
    for entry in world.parts.cloud.log() {
        // The twin lets nobody but the owner's role change a shared table, so what was done of tables went through it.
        if let Asked::Call(call) = entry.asked
            && call.is_of_tables()
        {
            assert!(entry.applied, "{call:?}");
            assert!(without.probe(&call).await.is_err(), "{call:?}");
            of_tables += 1;
        }
    }
    assert_eq!(of_tables, 3, "two routes and a subnet, each by one call");
}

#[tokio::test]
async fn where_the_role_is_refused_the_rest_moves_the_rows_say_what_to_do_and_the_next_look_mends_it() {
    let mut world = settled().await;
    refuse(&world);
    world.claim(0, 1).await;
    world.told();
    world.wake().await;
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (Epoch(2), Epoch(1)), "granted, and not complete");
    let address = &world.addresses[0].allocation;
    assert_eq!(world.parts.cloud.seat_of(address), Some(world.nodes[1].seat(0)), "the address went");
    assert_eq!(world.parts.cloud.checks_source_and_destination(&world.nodes[1].interface), Some(false));
    let former = RouteTarget::Interface(world.nodes[0].interface.clone());
    assert_eq!(world.parts.cloud.target_of(&world.tables[0], DESTINATION), Some(former));
    let says = |what: &Happening| {
        matches!(what, Happening::Stuck { why, .. } if why.contains(access().role.as_str())
            && why.contains("external id `baton/orders`") && why.contains("RouteTablesRoles"))
    };
    assert_eq!(rows(&world, says).await, 3, "each of the routes, and the subnet");
    assert_eq!(rows(&world, |what| matches!(what, Happening::Stuck { .. })).await, 3, "and nothing else");
    assert!(world.told().contains(&"Resource Stuck"));

    world.parts.cloud.heal();
    world.wake_for("baton.control-plane", "verify").await;
    at(&world, 1, 2).await;
}

#[tokio::test]
async fn sts_that_throttles_or_gives_no_answer_is_asked_again_and_the_move_is_completed() {
    for trouble in [Trouble::Throttle, Trouble::FailUnknownBefore] {
        let mut world = settled().await;
        world.parts.cloud.fail(Fault::on("AssumeRole", trouble).times(8));
        world.claim(0, 1).await;
        world.wake().await;
        at(&world, 1, 2).await;
        assert_eq!(rows(&world, |what| matches!(what, Happening::Stuck { .. })).await, 0);
    }
}

#[tokio::test]
async fn a_role_that_trusts_another_cluster_is_refused_whoever_may_register_this_one() {
    let world = World::new(0, 1).await;
    let other = ClusterName::new("billing").expect("valid");
    world.parts.cloud.share(&vpc(&world).await, &TableAccess { cluster: other, ..access() });
    let registration = world.registration();
    let resources = Resources { tables_role: Some(access().role), ..registration.resources.clone() };
    world.parts.store.reconfigure(&Registration { resources, ..registration }, None).await.expect("named");
    world.wake().await;
    assert!(world.lease().await.moved < world.lease().await.epoch);
    assert_eq!(world.parts.cloud.calls().iter().filter(|(call, _)| call.is_of_tables()).count(), 0);
}

#[tokio::test]
async fn what_the_owner_changes_is_found_in_turn_and_a_refused_role_is_known_before_it_is_needed() {
    let world = settled().await;
    world.parts.cloud.delete_route(&world.tables[1], DESTINATION);
    world.wake_for("baton.control-plane", "verify").await;
    at(&world, 0, 1).await;
    assert_eq!(rows(&world, |what| matches!(what, Happening::Repaired { .. })).await, 1);

    refuse(&world);
    world.wake_for("baton.control-plane", "probe").await;
    let probe = world.parts.store.probe(&cluster()).await.expect("read").expect("kept");
    assert!(!probe.obstacles.is_empty());
    let said = |why: &str| why.contains("cannot be assumed") && why.contains("every service control policy");
    assert!(probe.obstacles.iter().all(|obstacle| said(&obstacle.why)), "{:?}", probe.obstacles);
}

#[tokio::test]
async fn described_tables_are_followed_through_the_role_and_none_is_let_go_while_it_is_refused() {
    let world = settled().await;
    let tag = |table: &RouteTableId| {
        world.parts.cloud.tag_table(table, "side", Some("private"));
        world.parts.cloud.tag_table(table, "baton:cluster", Some("orders"));
    };
    world.tables.iter().for_each(tag);
    let which = Which::Tag(Tag::new("side", "private").expect("valid"));
    let destination = Destination::new(DESTINATION).expect("valid");
    let choice = TableChoice { destination, which, from_gateways: false };
    let shared = vpc(&world).await;
    let choices = Choices { tables: vec![choice], vpc: Some(shared.clone()), ..Choices::default() };
    let lease = world.lease().await;
    let registration = Registration {
        resources: Resources { choices, ..lease.resources.clone() },
        ..Registration::of(&lease, lease.last_grant.expect("granted"), world.registration().event)
    };
    world.parts.store.reconfigure(&registration, lease.holder.as_ref()).await.expect("described");
    let turn = async || world.wake_for("baton.control-plane", "verify").await;
    let routes = async || world.lease().await.resources.routes.len();
    turn().await;
    assert_eq!(routes().await, 2);

    let another = world.parts.cloud.table(&shared);
    tag(&another);
    refuse(&world);
    turn().await;
    assert_eq!(routes().await, 2, "nothing is taken in, and nothing let go");
    world.parts.cloud.heal();
    turn().await;
    assert_eq!(routes().await, 3, "the one that came meanwhile");
    assert_eq!(world.lease().await.resources.tables_role, Some(access().role), "and the role stays");
    world.wake_for("baton.control-plane", "continue").await;
    let here = RouteTarget::Interface(world.nodes[0].interface.clone());
    assert_eq!(world.parts.cloud.target_of(&another, DESTINATION), Some(here));
}
