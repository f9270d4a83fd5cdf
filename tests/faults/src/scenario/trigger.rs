//! What wakes the arbiter.

use baton_protocol::history::Happening;
use baton_protocol::ids::RequestId;
use baton_protocol::policy::Takeover;
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_sandbox::moto::{Ec2Fault, Ec2Trouble};
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use super::{Seen, and, answer, standing, told, whole};
use crate::rig::{Rig, Trouble, bus_event, cluster, now};

pub(super) async fn wake(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    rig.claim(next).await?;
    rig.wake("claim").await;
    whole(rig, next, epoch + 1).await
}

pub(super) async fn stream(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    rig.claim(next).await?;
    let partition = format!("C#orders#I#{}", rig.node(next));
    let record = json!({
        "awsRegion": "eu-west-1", "eventID": "1", "eventName": "MODIFY", "eventSource": "aws:dynamodb",
        "eventVersion": "1.1", "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/baton/stream/1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000.0, "SequenceNumber": "1", "SizeBytes": 10,
            "StreamViewType": "KEYS_ONLY", "Keys": {"pk": {"S": partition}, "sk": {"S": "WAKE"}},
        },
    });
    let invoked = rig.send(json!({ "Records": [record] })).await;
    let seen = whole(rig, next, epoch + 1).await?;
    Ok(and(seen, "answered", r#"{"batchItemFailures":[]}"#, answer(&invoked)))
}

pub(super) async fn release(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    rig.release().await?;
    rig.wake("release").await;
    whole(rig, next, epoch + 1).await
}

pub(super) async fn switchover(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    // Not the one that priority would choose.
    let to = (0..3).rev().find(|n| *n != holder).unwrap_or_default();
    let wish = Wish::Switchover { to: Some(rig.node(to).clone()), why: "a scenario".to_owned() };
    let id = ask(rig, wish).await?;
    let waits = whole(rig, holder, epoch).await?;
    rig.release().await?;
    rig.wake("release").await;
    let seen = whole(rig, to, epoch + 1).await?;
    let seen = and(seen, "before the release", waits.expected, waits.observed);
    answered(rig, seen, &id, to, epoch + 1).await
}

/// The holder is asked to hand over, and the lease does not come back to it although it would be the first by priority.
pub(super) async fn drain(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let (node, why) = (rig.node(holder).clone(), "a disk".to_owned());
    let wish = Wish::Exclude { node, why, hand_over: true, replaces: None, withdraws: false };
    let id = ask(rig, wish).await?;
    let waits = whole(rig, holder, epoch).await?;
    rig.release().await?;
    rig.wake("release").await;
    let drained = whole(rig, next, epoch + 1).await?;
    // The next one hands over in its turn: to the third, for the first is excluded.
    let third = (0..3).find(|n| *n != holder && *n != next).unwrap_or_default();
    rig.release().await?;
    rig.wake("release").await;
    let seen = whole(rig, third, epoch + 2).await?;
    let seen = and(seen, "before the release", waits.expected, waits.observed);
    let seen = and(seen, "drained", drained.expected, drained.observed);
    let seen = answered(rig, seen, &id, next, epoch + 1).await?;
    ask(rig, Wish::Include { exclusion: id, withdraws: false }).await?;
    Ok(and(seen, "excluded then", false, rig.lease().await?.excluded.is_some()))
}

/// Writes an operator's request and wakes the arbiter for it.
pub(super) async fn ask(rig: &mut Rig, wish: Wish) -> Result<RequestId, Trouble> {
    let id = RequestId::new(format!("request-{}", now().0))?;
    let request = Request {
        cluster: cluster(),
        id: id.clone(),
        wish,
        by: "operator".to_owned(),
        at: now(),
        until: WallTime(now().0 + 60_000),
        epoch: rig.lease().await?.epoch,
        answer: None,
    };
    rig.store().ask(&request).await.map_err(|failure| format!("{failure:?}"))?;
    rig.wake("request").await;
    Ok(id)
}

/// The request ought to be answered by a grant to this node.
async fn answered(rig: &Rig, seen: Seen, id: &RequestId, to: usize, epoch: u64) -> Result<Seen, Trouble> {
    let requests = rig.store().requests(&cluster(), 50).await.map_err(|failure| failure.to_string())?;
    let answer = requests.iter().find(|request| request.id == *id).and_then(|request| request.answer.clone());
    let name = rig.registration().members[to].node.to_string();
    Ok(and(seen, "answered", format!("granted to {name} at epoch {epoch}"), answer.unwrap_or_default()))
}

/// The cluster's stack is updated with this policy.
async fn leave_to(rig: &Rig, takeover: Takeover) -> Result<(), Trouble> {
    let lease = rig.lease().await?;
    let mut registration = Registration { takeover, at: now(), ..rig.registration().clone() };
    registration.event.at = now();
    let changed = rig.store().reconfigure(&registration, lease.holder.as_ref()).await;
    changed.map_err(|failure| format!("{failure:?}").into())
}

/// The claim moves nothing and is told once, however often it is sent; an operator's word lets it.
pub(super) async fn failover(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    leave_to(rig, Takeover::Notify).await?;
    rig.claim(next).await?;
    for _ in 0..3 {
        rig.wake("claim").await;
    }
    rig.wake("sweep").await;
    let waits = whole(rig, holder, epoch).await?;
    let held = told(rig, from, |what| matches!(what, Happening::Held { until: None, .. })).await?;
    // Whoever is to follow has to have beaten a moment ago.
    rig.claim(next).await?;
    let id = ask(rig, Wish::Failover { to: None, why: "a scenario".to_owned() }).await?;
    let seen = whole(rig, next, epoch + 1).await?;
    let seen = and(seen, "before the word", waits.expected, waits.observed);
    let seen = and(seen, "told", 1, held);
    let seen = answered(rig, seen, &id, next, epoch + 1).await?;
    leave_to(rig, Takeover::Automatic).await?;
    Ok(seen)
}

/// The holder is asked once, however often the notice comes; it hands over.
async fn notice(rig: &mut Rig, source: &str, detail_type: &str, detail: Value) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let event = bus_event(source, detail_type, &detail);
    let asked = async |rig: &Rig| -> Result<usize, Trouble> {
        Ok(rig.store().requests(&cluster(), 100).await.map_err(|failure| failure.to_string())?.len())
    };
    let before = asked(rig).await?;
    for _ in 0..2 {
        rig.send(event.clone()).await;
    }
    let stays = whole(rig, holder, epoch).await?;
    let intends = rig.lease().await?.intent.is_some();
    let asked = asked(rig).await? - before;
    rig.release().await?;
    rig.wake("release").await;
    let seen = whole(rig, next, epoch + 1).await?;
    let seen = and(seen, "before the release", stays.expected, stays.observed);
    Ok(and(and(seen, "intent", true, intends), "requests", 1, asked))
}

fn instance(rig: &Rig, node: usize) -> String {
    rig.node(node).instance_id().to_string()
}

pub(super) async fn spot(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, ..) = standing(rig).await?;
    let detail = json!({ "instance-id": instance(rig, holder), "instance-action": "terminate" });
    notice(rig, "aws.ec2", "EC2 Spot Instance Interruption Warning", detail).await
}

pub(super) async fn rebalance(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, ..) = standing(rig).await?;
    let detail = json!({ "instance-id": instance(rig, holder) });
    notice(rig, "aws.ec2", "EC2 Instance Rebalance Recommendation", detail).await
}

pub(super) async fn health(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, ..) = standing(rig).await?;
    let arn = format!(
        "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED_{}",
        now().0
    );
    let detail = json!({
        "eventArn": arn, "service": "EC2", "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "eventTypeCategory": "scheduledChange", "eventScopeCode": "ACCOUNT_SPECIFIC", "statusCode": "upcoming",
        "startTime": "Wed, 31 Jan 2029 02:00:00 GMT", "endTime": "Wed, 31 Jan 2029 04:00:00 GMT",
        "eventDescription": [{"language": "en_US", "latestDescription": "The instance will be retired."}],
        "affectedEntities": [{"entityValue": instance(rig, holder), "status": "PENDING"}],
        "page": "1", "totalPages": "1", "affectedAccount": "123456789012",
    });
    notice(rig, "aws.health", "AWS Health Event", detail).await
}

pub(super) async fn lifecycle(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, ..) = standing(rig).await?;
    let token = format!("{:08x}-4321-4321-4321-210987654321", now().0 & 0xffff_ffff);
    let before = rig.sandbox().moto().calls()?.len();
    let detail = json!({
        "LifecycleActionToken": token, "AutoScalingGroupName": "nodes",
        "LifecycleHookName": "baton-hand-over", "EC2InstanceId": instance(rig, holder),
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "NotificationMetadata": "",
        "Origin": "AutoScalingGroup", "Destination": "EC2",
    });
    let seen = notice(rig, "aws.autoscaling", "EC2 Instance-terminate Lifecycle Action", detail).await?;
    let calls: Vec<_> = rig.sandbox().moto().calls()?.into_iter().skip(before).collect();
    let last = |action: &str| calls.iter().rposition(|call| call.action == action);
    let completed = calls.iter().filter(|call| call.action == "CompleteLifecycleAction").count();
    let seen = and(seen, "let go on", 1, completed);
    let after =
        last("AssociateAddress").is_some() && last("AssociateAddress") < last("CompleteLifecycleAction");
    Ok(and(seen, "after the address was elsewhere", true, after))
}

/// An event about the holder that proves nothing.
async fn proves_nothing(rig: &mut Rig, event: Value) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    let from = rig.history().await?.len();
    let invoked = rig.send(event).await;
    let seen = whole(rig, holder, epoch).await?;
    let rows = told(rig, from, |_| true).await?;
    Ok(and(and(seen, "rows of history", 0, rows), "answered", r#"{"clusters":1}"#, answer(&invoked)))
}

pub(super) async fn alarm(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, ..) = standing(rig).await?;
    let metric = json!({
        "id": "m1", "returnData": true,
        "metricStat": {
            "metric": {
                "namespace": "AWS/EC2", "name": "StatusCheckFailed", "dimensions": {"InstanceId": instance(rig, holder)},
            },
            "period": 60, "stat": "Maximum",
        },
    });
    let detail = json!({
        "alarmName": "status", "state": {"value": "ALARM", "reason": "Threshold Crossed"},
        "previousState": {"value": "OK"}, "configuration": {"metrics": [metric]},
    });
    proves_nothing(rig, bus_event("aws.cloudwatch", "CloudWatch Alarm State Change", &detail)).await
}

pub(super) async fn stopped(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, ..) = standing(rig).await?;
    let detail = json!({ "instance-id": instance(rig, holder), "state": "stopping" });
    proves_nothing(rig, bus_event("aws.ec2", "EC2 Instance State-change Notification", &detail)).await
}

pub(super) fn called(name: &str, parameters: Value) -> Value {
    let detail = json!({
        "eventVersion": "1.10", "eventSource": "ec2.amazonaws.com", "eventName": name, "awsRegion": "eu-west-1",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice"},
        "requestParameters": parameters, "responseElements": {"_return": true}, "readOnly": false,
    });
    bus_event("aws.ec2", "AWS API Call via CloudTrail", &detail)
}

/// Whether it is put right under the same epoch, with so many drifts and one repair told.
async fn repaired(rig: &Rig, from: usize, drifts: usize, holder: usize, epoch: u64) -> Result<Seen, Trouble> {
    let seen = whole(rig, holder, epoch).await?;
    let drift = told(rig, from, |what| matches!(what, Happening::Drift { .. })).await?;
    let repairs = told(rig, from, |what| matches!(what, Happening::Repaired { .. })).await?;
    Ok(and(and(seen, "drifts told", drifts, drift), "repairs told", 1, repairs))
}

fn allocation(rig: &Rig) -> String {
    rig.registration().resources.addresses[0].allocation.to_string()
}

pub(super) async fn drift_address(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    let interface = rig.registration().members[next].interface.to_string();
    let parameters =
        json!({"AllocationId": allocation(rig), "NetworkInterfaceId": interface, "AllowReassociation": true});
    rig.sandbox().account().call("ec2", "associate_address", &parameters)?;
    let parameters =
        json!({"allocationId": allocation(rig), "networkInterfaceId": interface, "allowReassociation": true});
    rig.send(called("AssociateAddress", parameters)).await;
    repaired(rig, from, 1, holder, epoch).await
}

/// Frees the address, and says by which association it was held.
async fn free(rig: &Rig) -> Result<String, Trouble> {
    let addresses = rig.sandbox().account().addresses()?;
    let seen = addresses.iter().find(|seen| seen.allocation == allocation(rig));
    let association = seen.and_then(|seen| seen.association.clone()).ok_or("it is not associated")?;
    let parameters = json!({"AssociationId": association});
    rig.sandbox().account().call("ec2", "disassociate_address", &parameters)?;
    Ok(association)
}

pub(super) async fn drift_free(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    let from = rig.history().await?.len();
    let association = free(rig).await?;
    rig.send(called("DisassociateAddress", json!({"associationId": association}))).await;
    repaired(rig, from, 1, holder, epoch).await
}

pub(super) async fn drift_route(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    let routes = rig.registration().resources.routes.clone();
    let destination = routes[0].destination.to_string();
    let account = rig.sandbox().account();
    let [first, second] = [0, 1].map(|n| routes[n].table.to_string());
    let away = rig.registration().members[next].interface.to_string();
    account.call(
        "ec2",
        "delete_route",
        &json!({"RouteTableId": first, "DestinationCidrBlock": destination}),
    )?;
    let parameters =
        json!({"RouteTableId": second, "DestinationCidrBlock": destination, "NetworkInterfaceId": away});
    account.call("ec2", "replace_route", &parameters)?;
    rig.send(called("DeleteRoute", json!({"routeTableId": first, "destinationCidrBlock": destination})))
        .await;
    repaired(rig, from, 2, holder, epoch).await
}

pub(super) async fn turn(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    let from = rig.history().await?.len();
    free(rig).await?;
    rig.wake("verify").await;
    repaired(rig, from, 1, holder, epoch).await
}

/// A function that has committed and has not ended for so long is at its move; one that ended by itself has ended at once.
const STILL_AT_WORK: std::time::Duration = std::time::Duration::from_millis(500);

pub(super) async fn sweep(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    // With EC2 away the grant is committed and nothing is moved; then the function is killed.
    let everything = ["AssociateAddress", "DisassociateAddress", "ReplaceRoute", "CreateRoute"];
    let away = everything
        .map(|action| baton_sandbox::moto::Ec2Fault::on(action, baton_sandbox::moto::Ec2Trouble::Throttle));
    rig.sandbox().moto().set_faults(&away)?;
    rig.claim(next).await?;
    let store = rig.store().clone();
    let granted = async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        while store.lease(&cluster()).await.ok().flatten().is_none_or(|lease| lease.epoch.0 == epoch) {
            looks.tick().await;
        }
    };
    // It goes on with its move until its time is up, or here until it is killed.
    let killed = {
        let mut woken = std::pin::pin!(rig.wake("claim"));
        tokio::select! {
            _ = &mut woken => false,
            () = granted => tokio::time::timeout(STILL_AT_WORK, &mut woken).await.is_err(),
        }
    };
    rig.start_cold().await?;
    rig.sandbox().moto().set_faults(&[])?;
    let moved = rig.lease().await?.moved.0;
    let swept = rig.sweep().await?;
    rig.beat(&[0, 1, 2], None).await?;
    rig.wake("sweep").await;
    let seen = whole(rig, next, epoch + 1).await?;
    let seen = and(seen, "killed", true, killed);
    let seen = and(seen, "moved before", epoch, moved);
    Ok(and(seen, "the sweeper answered", r#"{"clusters":1,"woken":1}"#, answer(&swept)))
}

/// How many clusters are unprotected, and which.
async fn unprotected_now(rig: &Rig) -> Result<String, Trouble> {
    rig.sweep().await?;
    let line = rig.metrics("baton-sweeper")?;
    Ok(format!("{} of {}: {}", line["Unprotected"], line["Clusters"], line["about"]["Unprotected"]))
}

pub(super) async fn probe(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let lease = rig.lease().await?;
    let member = lease.member(rig.node(next)).ok_or("the next holder is a member")?;
    let seat = member.placements.values().next().ok_or("it has a seat")?.interface.to_string();
    let denied = Ec2Fault::on("AssociateAddress", Ec2Trouble::Deny).about(&seat);
    rig.sandbox().moto().set_faults(&[denied])?;
    rig.wake("probe").await;
    let found = rig.store().probe(&cluster()).await?.ok_or("nothing was kept")?;
    let nodes: Vec<_> = found.obstacles.iter().filter_map(|obstacle| obstacle.node.clone()).collect();
    let during = unprotected_now(rig).await?;
    rig.sandbox().moto().set_faults(&[])?;
    rig.beat(&[0, 1, 2], None).await?;
    rig.wake("probe").await;
    let after = unprotected_now(rig).await?;
    let seen = whole(rig, holder, epoch).await?;
    let seen = and(seen, "whom it names", member.node.to_string(), nodes.join(", "));
    let seen = and(seen, "unprotected", r#"1 of 1: "orders""#, during);
    Ok(and(seen, "once it is allowed", "0 of 1: null", after))
}

pub(super) async fn unprotected(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    let before = unprotected_now(rig).await?;
    rig.fall_silent().await?;
    let after = unprotected_now(rig).await?;
    let seen = whole(rig, holder, epoch).await?;
    let seen = and(seen, "unprotected before", "0 of 1: null", before);
    Ok(and(seen, "unprotected then", r#"1 of 1: "orders""#, after))
}

pub(super) async fn garbage(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    let about = json!({ "instance-id": instance(rig, holder), "instance-action": "terminate" });
    let mut old = bus_event("aws.ec2", "EC2 Spot Instance Interruption Warning", &about);
    old["time"] = json!("2020-01-01T00:00:00Z");
    let forged = json!({
        "cluster": "orders", "why": "claim", "schema_version": 1, "holder": rig.node(next), "epoch": epoch + 5,
    });
    let events = [
        Value::Null,
        json!([]),
        json!({"Records": [{"dynamodb": {}}]}),
        bus_event("aws.ec2", "EC2 Something New", &about),
        bus_event("aws.ec2", "EC2 Instance State-change Notification", &json!({"instance-id": 7})),
        bus_event("aws.health", "AWS Health Event", &json!({"service": "EC2"})),
        bus_event("aws.ec2", "AWS API Call via CloudTrail", &json!({"eventName": "x".repeat(200_000)})),
        bus_event("someone.else", "EC2 Spot Instance Interruption Warning", &about),
        bus_event("baton.agent", "Wake", &forged),
        bus_event("baton.agent", "Grant", &forged),
        old,
    ];
    let mut acknowledged = 0;
    let all = events.len();
    for event in events {
        acknowledged += usize::from(rig.send(event).await.answer.is_ok());
    }
    let seen = whole(rig, holder, epoch).await?;
    let seen = and(seen, "acknowledged", all, acknowledged);
    let seen = and(seen, "intent", false, rig.lease().await?.intent.is_some());
    Ok(and(seen, "rows of history", 0, told(rig, from, |_| true).await?))
}

pub(super) async fn replay(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    rig.claim(next).await?;
    for _ in 0..3 {
        rig.wake("claim").await;
    }
    let seen = whole(rig, next, epoch + 1).await?;
    let grants = told(rig, from, |what| matches!(what, Happening::Granted { .. })).await?;
    Ok(and(seen, "grants", 1, grants))
}
