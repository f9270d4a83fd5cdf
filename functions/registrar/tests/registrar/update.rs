//! Update: changes in place, replacements, rollbacks, and the holder that must not be lost.

use baton_protocol::failback::{Failback, Window};
use baton_protocol::fence::Fencing;
use baton_protocol::ids::Epoch;
use baton_protocol::lease::{LeaseState, Mode};
use baton_protocol::outcome::Failure;
use baton_protocol::policy::Takeover;
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_protocol::wake::Why;
use baton_store::Store;
use serde_json::json;

use crate::support::faulty::Trouble;
use crate::support::{Bench, STACK, failed, succeeded};

const THEN: WallTime = WallTime(1_800_000_000_000);

/// A bench on which `orders` is registered, and the id it is known by.
async fn registered() -> (Bench, String) {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    (bench, id)
}

#[tokio::test]
async fn a_change_keeps_the_registration_and_wakes_the_arbiter() {
    let (bench, id) = registered().await;
    bench.grant_to(0, THEN).await;
    let mut properties = bench.properties();
    properties["Mode"] = json!("available");
    properties["Timing"] = json!("fast");
    properties["Nodes"] =
        json!([bench.node(0, "a", "30"), bench.node(1, "b", "20"), bench.node(2, "c", "10")]);
    let answer = bench.update("update-1", &id, properties).await;
    assert_eq!(succeeded(&answer), id);
    assert_eq!(answer["Data"]["Epoch"], "1");
    let lease = bench.standing().await;
    assert_eq!((lease.mode, lease.timing, lease.revision), (Mode::Available, Timing::FAST, 2));
    assert_eq!((lease.epoch, lease.holder.as_ref()), (Epoch(1), Some(&bench.nodes[0].arn)));
    assert_eq!(lease.members.len(), 3);
    assert_eq!(bench.bus.sent().last().map(|wake| wake.why), Some(Why::Registered));
}

#[tokio::test]
async fn a_change_is_checked_like_a_registration() {
    let (bench, id) = registered().await;
    let before = bench.standing().await;
    let mut properties = bench.properties();
    properties["Nodes"][1]["InstanceId"] = json!("i-0123456789abcdef0");
    let answer = bench.update("update-1", &id, properties).await;
    assert!(failed(&answer).contains("i-0123456789abcdef0 (b) does not exist"), "{answer}");
    assert_eq!(answer["PhysicalResourceId"], json!(id), "the registration keeps its id");
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn the_holder_is_not_taken_out() {
    let (bench, id) = registered().await;
    bench.grant_to(0, THEN).await;
    let before = bench.standing().await;
    let mut properties = bench.properties();
    properties["Nodes"] = json!([bench.node(1, "b", "1"), bench.node(2, "c", "2")]);
    let reason = failed(&bench.update("update-1", &id, properties).await);
    assert!(reason.starts_with("HolderRemoved: a (i-"), "{reason}");
    assert!(reason.contains("switch over first (baton switchover orders)"), "{reason}");
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn a_standby_that_is_stopped_holds_back_no_change() {
    let (bench, id) = registered().await;
    bench.cloud.set_state(&bench.nodes[1].instance, "stopped");
    let mut properties = bench.properties();
    properties["Timing"] = json!("fast");
    succeeded(&bench.update("update-1", &id, properties).await);
    assert_eq!(bench.standing().await.timing, Timing::FAST);
}

#[tokio::test]
async fn the_rollback_of_a_refused_update_succeeds_whatever_state_the_nodes_are_in() {
    let (bench, id) = registered().await;
    let before = bench.standing().await;
    let mut properties = bench.properties();
    properties["Nodes"][1] = bench.node(2, "b", "20");
    bench.cloud.terminate(&bench.nodes[1].instance);
    bench.cloud.set_state(&bench.nodes[2].instance, "stopped");
    failed(&bench.update("update-1", &id, properties).await);
    assert_eq!(succeeded(&bench.update("update-2", &id, bench.properties()).await), id);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let (bench, id) = registered().await;
    let before = bench.standing().await;
    succeeded(&bench.update("update-1", &id, bench.properties()).await);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn another_name_is_a_replacement_whose_predecessor_is_deleted_afterwards() {
    let (bench, id) = registered().await;
    let mut properties = bench.properties();
    properties["Cluster"] = json!("sales");
    // What the old cluster has cannot be the new one's as long as both are registered.
    let reason = failed(&bench.update("update-1", &id, properties.clone()).await);
    assert!(reason.contains("belongs to the cluster orders"), "{reason}");

    let (address, table) = (bench.cloud.address(), bench.cloud.table(&bench.vpc));
    let moved: Vec<_> =
        [0, 1].iter().map(|k| bench.cloud.node(&bench.vpc, &format!("euw1-az{k}"), 1)).collect();
    properties["Nodes"] = json!([
        { "Name": "a", "InstanceId": moved[0].instance.to_string() },
        { "Name": "b", "InstanceId": moved[1].instance.to_string() },
    ]);
    properties["Addresses"] = json!([address.allocation.to_string()]);
    properties["Routes"] = json!([{ "Destination": "192.0.2.10/32", "RouteTableIds": [table.to_string()] }]);
    let next = succeeded(&bench.update("update-2", &id, properties).await);
    assert!(next.starts_with("sales/"), "{next}");
    succeeded(&bench.delete(&id).await);
    assert_eq!(bench.standing().await.state, LeaseState::Retired);
    assert_eq!(bench.lease("sales").await.map(|lease| lease.state), Some(LeaseState::Active));
}

#[tokio::test]
async fn the_rollback_of_a_replacement_returns_to_the_registration_it_had() {
    let (bench, id) = registered().await;
    let before = bench.standing().await;
    // CloudFormation asks the replacement to become what it replaced, and deletes it afterwards.
    let back = succeeded(&bench.update("update-2", "sales/another-uid", bench.properties()).await);
    assert_eq!(back, id);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn a_registration_that_does_not_stand_cannot_be_changed() {
    let (bench, id) = registered().await;
    for unknown in ["-/x", "orders/another-uid", "nonsense"] {
        let reason = failed(&bench.update("update-1", unknown, bench.properties()).await);
        assert!(reason.starts_with("NotRegistered: "), "{unknown}: {reason}");
    }
    succeeded(&bench.delete(&id).await);
    let reason = failed(&bench.update("update-1", &id, bench.properties()).await);
    assert!(reason.starts_with("NotRegistered: "), "{reason}");
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_found_and_not_made_twice() {
    let (bench, id) = registered().await;
    let mut properties = bench.properties();
    properties["Mode"] = json!("available");
    bench.registrar.store.gate.on_writes([Trouble::Before(Failure::Throttled), Trouble::After]);
    succeeded(&bench.update("update-1", &id, properties).await);
    let lease = bench.standing().await;
    assert_eq!((lease.mode, lease.revision), (Mode::Available, 2));
    assert_eq!(bench.record.history(&lease.cluster, 10).await.map(|rows| rows.len()), Ok(2));
}

#[tokio::test]
async fn a_change_of_nothing_but_the_policy_is_made_and_is_no_rollback() {
    let (bench, id) = registered().await;
    let mut properties = bench.properties();
    properties["Takeover"] = json!("notify");
    assert_eq!(succeeded(&bench.update("update-1", &id, properties.clone()).await), id);
    let lease = bench.standing().await;
    assert_eq!((lease.takeover, lease.revision), (Takeover::Notify, 2));
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-2", &id, properties.clone()).await);
    let lease = bench.standing().await;
    assert_eq!((lease.cool_down_ms, lease.revision), (60_000, 3));
    properties["Fencing"] = json!("stop");
    succeeded(&bench.update("update-2b", &id, properties.clone()).await);
    let lease = bench.standing().await;
    assert_eq!((lease.fencing, lease.revision), (Fencing::Stop, 4));
    succeeded(&bench.update("update-3", &id, properties.clone()).await);
    assert_eq!(bench.standing().await, lease, "the same again changes nothing");
    properties["Failback"] = json!("automatic");
    properties["FailbackWindow"] = json!("Sat 02:00-04:00");
    succeeded(&bench.update("update-4", &id, properties.clone()).await);
    let lease = bench.standing().await;
    let window = Window::parse("Sat 02:00-04:00");
    assert_eq!(lease.failback, Failback::Automatic { hold_ms: 600_000, window });
    assert_eq!(lease.revision, 5);
    // Asked for while a requirement is not met, it is refused and not taken for what stands.
    bench.cloud.terminate(&bench.nodes[1].instance);
    for (property, value) in [
        ("CoolDownSeconds", "61"),
        ("Takeover", "automatic"),
        ("Fencing", "none"),
        ("FailbackHoldSeconds", "61"),
    ] {
        let mut other = properties.clone();
        other[property] = json!(value);
        failed(&bench.update(&format!("update-{property}"), &id, other).await);
    }
    assert_eq!(bench.standing().await, lease);
}

#[tokio::test]
async fn the_leave_to_take_a_route_from_a_gateway_is_a_change_while_a_node_is_gone_as_well() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    bench.cloud.terminate(&bench.nodes[1].instance);
    let mut properties = bench.properties();
    properties["Routes"][0]["ReplaceGatewayRoutes"] = json!("true");
    failed(&bench.update("update-1", &id, properties).await);
    assert_eq!(succeeded(&bench.update("update-2", &id, bench.properties()).await), id);
}

#[tokio::test]
async fn a_change_that_meets_another_stack_s_at_the_same_moment_gives_way() {
    let bench = Bench::new().await;
    // Made and taken back, for what the other stack writes.
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let mut other = bench.of_billing(&bench.standing().await).await;
    other.resources.routes.clear();
    succeeded(&bench.delete(&id).await);
    let mut without = bench.properties();
    without.as_object_mut().expect("an object").remove("Addresses");
    let id = succeeded(&bench.create("create-2", STACK, without).await);
    *bench.registrar.store.gate.overtaken_by.lock().expect("nobody panicked") = Some(other);
    let reason = failed(&bench.update("update-1", &id, bench.properties()).await);
    assert!(reason.contains("belongs to the cluster billing"), "{reason}");
}
