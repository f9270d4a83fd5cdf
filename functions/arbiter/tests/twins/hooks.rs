//! Terminations that wait at a lifecycle hook: let go on once the instance has nothing of the cluster, and not before.

use baton_client::ScalingFailure;
use baton_protocol::ids::{ClusterName, Epoch, InstanceArn};
use baton_protocol::roster::{GROUP, Roster, Tag};
use baton_protocol::time::WallTime;
use baton_store::{Registration, Store};

use crate::notices::{AUTO_SCALING, notice};
use crate::world::{World, cluster, incarnation};

/// Everything is at node 0 at epoch 1.
async fn settled() -> World {
    let world = World::new(1, 0).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    world
}

async fn tell(world: &World, instance: &InstanceArn, ago_ms: u64) {
    let at = WallTime(world.parts.now().wall.0 - ago_ms);
    world.send(notice(AUTO_SCALING, instance, at)).await;
}

async fn ended(world: &World) -> Vec<Option<String>> {
    let hooks = world.parts.store.hooks(&cluster()).await.expect("read");
    hooks.into_iter().map(|hook| hook.ended).collect()
}

#[tokio::test]
async fn the_holder_s_termination_waits_until_its_addresses_are_elsewhere() {
    let mut world = settled().await;
    let holder = world.nodes[0].arn.clone();
    for _ in 0..2 {
        tell(&world, &holder, 0).await;
    }
    world.wake_for("baton.control-plane", "sweep").await;
    assert_eq!(
        (world.completed(), ended(&world).await),
        (vec![], vec![None]),
        "it is asked to hand over, and holds"
    );
    world.parts.store.release(&cluster(), &holder, &incarnation(), Epoch(1)).await.expect("released");
    world.beat(&[0, 1, 2], None).await;
    world.wake_for("baton.agent", "release").await;
    world.assert_whole_at(1, 2).await;
    assert_eq!(world.completed(), [holder.instance_id()]);
    // A repeat of the event, or any other wake, finds it ended.
    tell(&world, &holder, 0).await;
    world.wake_for("baton.control-plane", "verify").await;
    assert_eq!(world.completed().len(), 1);
    assert_eq!(ended(&world).await, [Some("the instance has nothing of a cluster".to_owned())]);
}

#[tokio::test]
async fn a_standby_s_termination_goes_on_at_once_and_a_stranger_s_is_not_touched() {
    let world = settled().await;
    tell(&world, &world.nodes[2].arn, 0).await;
    assert_eq!(world.completed(), [world.nodes[2].arn.instance_id()]);
    let stranger =
        InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-0fedcba9876543210").expect("valid");
    tell(&world, &stranger, 0).await;
    assert_eq!(world.completed().len(), 1);
}

#[tokio::test]
async fn an_instance_of_our_group_that_is_no_member_waits_for_nobody_and_one_of_another_group_is_left() {
    let world = settled().await;
    let stranger =
        InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-0fedcba9876543210").expect("valid");
    let at = world.parts.now().wall;
    let group = notice(AUTO_SCALING, &stranger, at)["detail"]["AutoScalingGroupName"].clone();
    let group = group.as_str().expect("a name").to_owned();
    let named = |group: &str| Roster {
        tag: Tag::new(GROUP, group).expect("valid"),
        most: 5,
        priority: 100,
        changed: WallTime(1),
    };
    let name = async |roster| {
        let lease = world.lease().await;
        let registration = Registration {
            roster: Some(roster),
            ..Registration::of(&lease, lease.last_grant.expect("granted"), world.registration().event)
        };
        world.parts.store.reconfigure(&registration, lease.holder.as_ref()).await.expect("named");
    };
    name(named("another")).await;
    tell(&world, &stranger, 0).await;
    assert_eq!(
        (world.completed(), ended(&world).await),
        (vec![], vec![]),
        "it may be another control plane's"
    );
    name(named(&group)).await;
    *world.parts.successor.scaling_fails.lock().expect("no panic before") = Some(ScalingFailure::Throttled);
    tell(&world, &stranger, 0).await;
    assert_eq!(
        (world.completed().len(), ended(&world).await),
        (1, vec![None]),
        "it is kept, and tried again"
    );
    assert!(world.lease().await.intent.is_none(), "nobody is asked to hand over");
    *world.parts.successor.scaling_fails.lock().expect("no panic before") = None;
    world.wake_for("baton.control-plane", "verify").await;
    assert_eq!(world.completed(), [stranger.instance_id(), stranger.instance_id()]);
    assert_eq!(ended(&world).await, [Some("the instance has nothing of a cluster".to_owned())]);
    // Another program's hook of the same group is left to that program.
    let mut event = notice(AUTO_SCALING, &stranger, at);
    event["detail"]["LifecycleHookName"] = serde_json::json!("drain-logs");
    world.send(event).await;
    assert_eq!((world.completed().len(), ended(&world).await.len()), (2, 1));
}

#[tokio::test]
async fn nobody_waits_for_a_hand_over_that_nobody_can_follow() {
    let world = settled().await;
    let holder = world.nodes[0].arn.clone();
    tell(&world, &holder, 599_000 - 60_000).await;
    assert_eq!(world.completed(), []);
    let world = settled().await;
    let holder = world.nodes[0].arn.clone();
    tell(&world, &holder, 601_000).await;
    assert_eq!(world.completed(), [holder.instance_id()]);
    assert_eq!(ended(&world).await, [Some("nobody could take over in time".to_owned())]);
}

#[tokio::test]
async fn what_auto_scaling_did_not_take_is_told_again() {
    let world = settled().await;
    *world.parts.successor.scaling_fails.lock().expect("no panic before") = Some(ScalingFailure::Throttled);
    tell(&world, &world.nodes[1].arn, 0).await;
    assert_eq!((world.completed().len(), ended(&world).await), (1, vec![None]));
    *world.parts.successor.scaling_fails.lock().expect("no panic before") = None;
    world.wake_for("baton.control-plane", "verify").await;
    assert_eq!((world.completed().len(), ended(&world).await.len()), (2, 1));
    assert!(ended(&world).await[0].is_some());
}

#[tokio::test]
async fn an_instance_of_two_clusters_waits_for_both() {
    let world = settled().await;
    let mut other = world.registration();
    other.cluster = ClusterName::new("other").expect("valid");
    other.event.cluster = other.cluster.clone();
    world.parts.store.register(&other).await.expect("registered");
    // The other cluster has no holder yet, so nobody knows where its addresses are.
    tell(&world, &world.nodes[2].arn, 0).await;
    assert_eq!(world.completed(), []);
}

#[tokio::test]
async fn another_program_s_hook_is_left_to_it_and_the_holder_is_asked_all_the_same() {
    let world = settled().await;
    let at = world.parts.now().wall;
    for name in ["drain-logs", ""] {
        let mut event = notice(AUTO_SCALING, &world.nodes[0].arn, at);
        event["detail"]["LifecycleHookName"] = serde_json::json!(name);
        world.send(event).await;
    }
    assert_eq!(ended(&world).await, []);
    assert!(world.lease().await.intent.is_some());
    let mut event = notice(AUTO_SCALING, &world.nodes[1].arn, at);
    event["detail"]["LifecycleHookName"] = serde_json::json!("drain-logs");
    world.send(event).await;
    assert_eq!(world.completed(), []);
}
