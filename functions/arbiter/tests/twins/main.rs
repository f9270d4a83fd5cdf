//! The arbiter as it ships, against the twins of the table and of EC2: from an event to a world that is right.

mod brake;
mod drift;
mod failback;
mod hooks;
mod lossy;
mod notices;
mod probe;
mod roster;
mod shared;
mod swap;
mod tables;
mod throttled;
mod wishes;
mod world;

use std::collections::BTreeMap;

use baton_cloud::memory::{Asked, Entry, Fault, Trouble};
use baton_protocol::ec2::{Call, Look, RouteTarget};
use baton_protocol::history::Happening;
use baton_protocol::ids::Epoch;
use baton_store::Store;
use serde_json::json;

use world::{DESTINATION, World, cluster};

#[tokio::test]
async fn a_vacant_cluster_is_granted_to_the_preferred_node_and_everything_goes_there() {
    let world = World::new(2, 2).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    assert!(history.iter().any(|row| matches!(row.what, Happening::Granted { .. })));
    assert!(history.iter().any(|row| matches!(row.what, Happening::Moved { .. })));
}

#[tokio::test]
async fn a_wake_without_a_ground_asks_ec2_nothing_at_all() {
    let world = World::new(1, 1).await;
    world.wake().await;
    world.parts.cloud.clear_log();
    world.wake().await;
    world.wake().await;
    assert_eq!(world.parts.cloud.log(), []);
    world.assert_whole_at(0, 1).await;
}

#[tokio::test]
async fn a_claim_moves_everything_with_two_calls_in_a_row_at_most() {
    for (addresses, tables) in [(1, 0), (1, 2), (10, 10)] {
        let mut world = World::new(addresses, tables).await;
        world.wake().await;
        world.parts.cloud.clear_log();
        world.claim(0, 1).await;
        world.wake().await;
        world.assert_whole_at(1, 2).await;
        let mut per_resource: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let calls = world.calls();
        for call in &calls {
            per_resource.entry(call.resource()).or_default().push(call.action());
        }
        for (resource, calls) in per_resource {
            let expected: &[&str] = match calls[0] {
                "DisassociateAddress" => &["DisassociateAddress", "AssociateAddress"],
                "ReplaceRoute" => &["ReplaceRoute"],
                _ => &["ModifyNetworkInterfaceAttribute"],
            };
            assert_eq!(calls, expected, "{resource}");
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_on_the_bus_and_what_does_not_is_not() {
    let mut world = World::new(1, 1).await;
    world.wake().await;
    assert_eq!(world.told(), ["Lease Granted", "Move Completed"]);
    world.wake().await;
    assert_eq!(world.told(), [""; 0]);
    // Another invocation is quicker: one of them tells.
    world.claim(0, 1).await;
    tokio::join!(world.wake(), world.wake());
    let told = world.told();
    assert_eq!(told.iter().filter(|kind| **kind == "Lease Granted").count(), 1, "{told:?}");
    let route = world.tables[0].clone();
    world.parts.cloud.fail(Fault::on("ReplaceRoute", Trouble::Deny).about(&route).always());
    world.claim(1, 0).await;
    world.wake().await;
    assert_eq!(world.told(), ["Lease Granted", "Resource Stuck"]);
}

#[tokio::test]
async fn two_invocations_of_one_wake_make_one_grant() {
    let mut world = World::new(1, 2).await;
    world.wake().await;
    world.claim(0, 1).await;
    tokio::join!(world.wake(), world.wake(), world.wake());
    world.assert_whole_at(1, 2).await;
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    let grants = history.iter().filter(|row| matches!(row.what, Happening::Granted { .. })).count();
    assert_eq!(grants, 2, "one at the registration, one for the claim");
}

#[tokio::test]
async fn a_claim_that_the_holder_has_beaten_since_moves_nothing() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    world.claim(0, 1).await;
    world.beat(&[0], None).await;
    world.parts.cloud.clear_log();
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    assert_eq!(world.parts.cloud.log(), []);
}

#[tokio::test]
async fn a_lost_answer_a_throttle_and_a_stale_look_cost_time_and_nothing_else() {
    for action in ["DisassociateAddress", "AssociateAddress", "ReplaceRoute"] {
        for trouble in [Trouble::Throttle, Trouble::FailUnknownBefore, Trouble::FailUnknownAfter] {
            if (action, trouble) == ("AssociateAddress", Trouble::FailUnknownAfter) {
                continue; // See the next test.
            }
            let mut world = World::new(1, 1).await;
            world.wake().await;
            world.parts.cloud.fail(Fault::on(action, trouble));
            world.claim(0, 1).await;
            world.wake().await;
            world.assert_whole_at(1, 2).await;
        }
    }
}

#[tokio::test]
async fn an_association_whose_answer_is_lost_is_in_place_at_once_and_counts_later() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    world.parts.cloud.clear_log();
    world.parts.cloud.fail(Fault::on("AssociateAddress", Trouble::FailUnknownAfter));
    world.claim(0, 1).await;
    let looked = async || {
        // A look after the lost answer, which shows the address in place.
        let log = world.parts.cloud.log();
        let made = log.iter().position(|entry| matches!(&entry.asked, Asked::Call(Call::Associate { .. })));
        let looked = |entry: &Entry| matches!(entry.asked, Asked::Look(Look::Addresses(_)));
        made.is_some_and(|made| log[made..].iter().any(looked))
    };
    tokio::select! {
        answer = world.wake() => panic!("expected to wait for its word, found {answer}"),
        () = async { while !looked().await { tokio::task::yield_now().await } } => {}
    }
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (Epoch(2), Epoch(1)), "it may be a stranger's");
    assert_eq!(world.parts.cloud.seat_of(&world.addresses[0].allocation), Some(world.nodes[1].seat(0)));
}

#[tokio::test]
async fn what_cannot_be_moved_is_told_and_everything_else_moves() {
    let mut world = World::new(1, 2).await;
    world.wake().await;
    let refused = world.tables[0].clone();
    world.parts.cloud.fail(Fault::on("ReplaceRoute", Trouble::Deny).about(&refused).always());
    world.claim(0, 1).await;
    world.wake().await;
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (Epoch(2), Epoch(1)), "not complete, and not called complete");
    assert_eq!(world.parts.cloud.seat_of(&world.addresses[0].allocation), Some(world.nodes[1].seat(0)));
    let moved = RouteTarget::Interface(world.nodes[1].interface.clone());
    assert_eq!(world.parts.cloud.target_of(&world.tables[1], DESTINATION), Some(moved));
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    let told = history.iter().any(
        |row| matches!(&row.what, Happening::Stuck { resource, .. } if resource.contains(refused.as_str())),
    );
    assert!(told, "{history:?}");
    // Once the permission is there, any wake finishes what was begun.
    world.parts.cloud.heal();
    world.wake().await;
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn a_foreign_address_in_the_seat_is_left_there() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    let foreign = world.parts.cloud.address();
    world.parts.cloud.place(&foreign.allocation, &world.nodes[1].seat(0));
    world.claim(0, 1).await;
    world.wake().await;
    assert_eq!(world.parts.cloud.seat_of(&foreign.allocation), Some(world.nodes[1].seat(0)));
    assert_eq!(world.lease().await.moved, Epoch(1));
}

#[tokio::test]
async fn an_instance_event_makes_the_arbiter_ask_ec2_and_only_terminated_counts() {
    let mut world = World::new(1, 1).await;
    world.wake().await;
    let holder = world.nodes[0].arn.instance_id();
    let event = |state: &str| {
        json!({
            "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification",
            "detail": { "instance-id": holder, "state": state },
        })
    };
    world.parts.cloud.set_state(&holder, "stopped");
    world.send(event("terminated")).await;
    assert_eq!(world.lease().await.epoch, Epoch(1), "the event said so, EC2 did not");
    world.parts.cloud.terminate(&holder);
    world.beat(&[1, 2], None).await;
    world.send(event("running")).await;
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn an_unknown_event_is_acknowledged_and_moves_nothing() {
    let world = World::new(1, 1).await;
    assert_eq!(
        world.send(json!({ "source": "x", "detail-type": "y", "detail": {} })).await,
        json!({ "clusters": 0 })
    );
    let unknown = json!({ "cluster": "nobody", "why": "claim", "schema_version": 1 });
    world.send(json!({ "source": "baton.agent", "detail-type": "Wake", "detail": unknown })).await;
    assert_eq!(world.lease().await.epoch, Epoch(0));
}
