//! Notices that an instance will be taken: what they ask for, once, and when they ask for nothing.

use baton_protocol::ids::{Epoch, InstanceArn};
use baton_protocol::lease::Intent;
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::Store;
use serde_json::{Value, json};

use crate::world::{World, cluster};

const SPOT: &str = "EC2 Spot Instance Interruption Warning";
const REBALANCE: &str = "EC2 Instance Rebalance Recommendation";
pub(crate) const AUTO_SCALING: &str = "EC2 Instance-terminate Lifecycle Action";
const HEALTH: &str = "AWS Health Event";
/// From the end of the change's ARN.
const HEALTH_ID: &str = "health-vent-EC2-AWS-EC2-INSTANCE-REBOOT-MAINTENANCE-SCHEDULED-1";
const ID: &str = "1e5527d7-bb36-4607-3370-4164db56a40e";

/// The moment in the form that EventBridge uses, which knows no fractions of a second.
fn time(at: WallTime) -> String {
    let seconds = i64::try_from(at.0 / 1_000).expect("in this era");
    jiff::Timestamp::from_second(seconds).expect("in this era").to_string()
}

pub(crate) fn notice(detail_type: &str, instance: &InstanceArn, at: WallTime) -> Value {
    let instance = instance.instance_id();
    if detail_type == AUTO_SCALING {
        return json!({
            "version": "0", "id": ID, "detail-type": detail_type, "source": "aws.autoscaling",
            "account": "123456789012", "time": time(at), "region": "eu-west-1",
            "resources": ["auto-scaling-group-arn"],
            "detail": {
                "LifecycleActionToken": "87654321-4321-4321-4321-210987654321",
                "AutoScalingGroupName": "my-asg", "LifecycleHookName": "baton-hand-over",
                "EC2InstanceId": instance, "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
                "NotificationMetadata": "additional-info", "Origin": "AutoScalingGroup", "Destination": "EC2",
            },
        });
    }
    if detail_type == HEALTH {
        return scheduled_change(&[instance.as_str()], at);
    }
    json!({
        "version": "0", "id": ID, "detail-type": detail_type, "source": "aws.ec2",
        "account": "123456789012", "time": time(at), "region": "eu-west-1",
        "resources": [format!("arn:aws:ec2:eu-west-1a:instance/{instance}")],
        "detail": { "instance-id": instance, "instance-action": "terminate" },
    })
}

fn scheduled_change(instances: &[&str], at: WallTime) -> Value {
    let entities: Vec<_> =
        instances.iter().map(|id| json!({"entityValue": id, "status": "PENDING"})).collect();
    json!({
        "version": "0", "id": ID, "detail-type": HEALTH, "source": "aws.health", "account": "123456789012",
        "time": time(at), "region": "eu-west-1", "resources": instances,
        "detail": {
            "eventArn": "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED/1",
            "service": "EC2", "eventTypeCode": "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
            "eventTypeCategory": "scheduledChange", "statusCode": "upcoming", "eventScopeCode": "ACCOUNT_SPECIFIC",
            "startTime": "Wed, 31 Jan 2026 02:00:00 GMT", "endTime": "Wed, 31 Jan 2026 04:00:00 GMT",
            "affectedEntities": entities, "page": "1", "totalPages": "1",
        },
    })
}

#[tokio::test]
async fn a_scheduled_change_of_both_nodes_moves_the_cluster_once() {
    let mut world = held().await;
    let at = world.parts.now().wall;
    let ids = [0, 1].map(|n| world.nodes[n].arn.instance_id().to_string());
    let event = scheduled_change(&[&ids[0], &ids[1]], at);
    world.send(event.clone()).await;
    let intent = world.lease().await.intent.expect("an intent");
    assert_eq!(
        intent.reason,
        "switchover asked by arbiter: AWS Health tells of a scheduled change of the instance"
    );
    let run = crate::world::incarnation();
    world.parts.store.release(&cluster(), &world.nodes[0].arn, &run, Epoch(1)).await.expect("released");
    world.beat(&[0, 1, 2], None).await;
    world.wake().await;
    world.assert_whole_at(1, 2).await;
    // The same change, told once more, is about the new holder as well.
    world.send(event).await;
    assert_eq!(world.lease().await.intent, None);
    assert_eq!(requests(&world).await.len(), 1);
}

/// Node 0 holds the lease at epoch 1.
async fn held() -> World {
    let world = World::new(1, 0).await;
    world.wake().await;
    assert_eq!(world.lease().await.epoch, Epoch(1));
    world
}

async fn requests(world: &World) -> Vec<Request> {
    world.parts.store.requests(&cluster(), 10).await.expect("read")
}

#[tokio::test]
async fn a_notice_about_the_holder_is_one_request_to_hand_over_however_often_it_comes() {
    for (detail_type, lasts_ms, why) in [
        (SPOT, 120_000, "EC2 will interrupt the Spot Instance"),
        (REBALANCE, 600_000, "EC2 sees an elevated risk of interruption of the Spot Instance"),
        (AUTO_SCALING, 600_000, "Auto Scaling will terminate the instance"),
        (HEALTH, 600_000, "AWS Health tells of a scheduled change of the instance"),
    ] {
        let world = held().await;
        let at = WallTime(world.parts.now().wall.0 / 1_000 * 1_000);
        for _ in 0..3 {
            world.send(notice(detail_type, &world.nodes[0].arn, at)).await;
        }
        let intent = world.lease().await.intent.expect("an intent");
        let asked = requests(&world).await;
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(
            intent,
            Intent {
                to: None,
                reason: format!("switchover asked by arbiter: {why}"),
                epoch: Epoch(1),
                until: WallTime(at.0 + lasts_ms),
                request: Some(asked[0].id.clone()),
                failover: false,
                asked: Some(asked[0].at),
            }
        );
        let id = if detail_type == HEALTH { HEALTH_ID } else { ID };
        assert_eq!((asked[0].id.as_str(), asked[0].answer.as_ref()), (id, None));
    }
}

#[tokio::test]
async fn a_repeat_after_the_hand_over_asks_for_nothing() {
    let world = held().await;
    let at = world.parts.now().wall;
    world.send(notice(SPOT, &world.nodes[0].arn, at)).await;
    // The holder obeys, and the arbiter grants and answers.
    let run = crate::world::incarnation();
    world.parts.store.release(&cluster(), &world.nodes[0].arn, &run, Epoch(1)).await.expect("released");
    let mut world = world;
    world.beat(&[0, 1, 2], None).await;
    world.wake().await;
    world.assert_whole_at(1, 2).await;
    let asked = requests(&world).await;
    assert!(asked[0].answer.is_some(), "{asked:?}");
    for node in [0, 1] {
        world.send(notice(SPOT, &world.nodes[node].arn, at)).await;
        assert_eq!(world.lease().await.intent, None, "node {node}: the id is taken, or it holds no more");
    }
    assert_eq!(requests(&world).await, asked);
}

#[tokio::test]
async fn a_notice_that_is_too_late_or_about_another_instance_asks_for_nothing() {
    let world = held().await;
    let now = world.parts.now().wall;
    let stranger = InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-0fedcba9876543210");
    for (detail_type, instance, at) in [
        (SPOT, world.nodes[0].arn.clone(), WallTime(now.0 - 121_000)),
        (REBALANCE, world.nodes[0].arn.clone(), WallTime(now.0 - 601_000)),
        (SPOT, world.nodes[1].arn.clone(), now),
        (SPOT, stranger.expect("valid"), now),
    ] {
        world.send(notice(detail_type, &instance, at)).await;
        assert_eq!((world.lease().await.intent, requests(&world).await), (None, vec![]), "{instance}");
    }
}

#[tokio::test]
async fn a_notice_does_not_take_the_place_of_what_an_operator_asked_for() {
    let world = held().await;
    let now = world.parts.now().wall;
    let wish = Wish::Switchover { to: Some(world.nodes[2].arn.clone()), why: "patching".to_owned() };
    let asked = world.ask("of-alice", wish).await;
    world.send(notice(SPOT, &world.nodes[0].arn, now)).await;
    let intent = world.lease().await.intent.expect("the operator's");
    assert_eq!((intent.to, intent.request), (Some(world.nodes[2].arn.clone()), Some(asked.id.clone())));
    assert_eq!(requests(&world).await, [asked]);
}

#[tokio::test]
async fn a_notice_takes_the_place_of_a_failback_that_nobody_has_asked_for() {
    let world = held().await;
    let now = world.parts.now().wall;
    let lease = world.lease().await;
    let wish = Wish::Failback { to: world.nodes[2].arn.clone(), why: "it is well".to_owned() };
    let id = baton_protocol::failback::request_id(lease.epoch, now);
    let back = world.ask(id.as_str(), wish).await;
    world.send(notice(SPOT, &world.nodes[0].arn, now)).await;
    let intent = world.lease().await.intent.expect("the notice's");
    assert_eq!(intent.to, None);
    assert!(intent.request.is_some_and(|request| request != back.id));
}

#[tokio::test]
async fn a_notice_from_the_future_lasts_no_longer_than_one_of_now() {
    let world = held().await;
    let now = world.parts.now().wall;
    world.send(notice(SPOT, &world.nodes[0].arn, WallTime(now.0 + 86_400_000))).await;
    let until = world.lease().await.intent.expect("an intent").until;
    let at_most = world.parts.now().wall.0 + 120_000;
    assert!(now.0 + 120_000 <= until.0 && until.0 <= at_most, "{until}");
}
