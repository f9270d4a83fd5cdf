//! Events, taken as hints: which clusters to look at.
//!
//! An event may be late, repeated, out of order, forged or of a shape nobody foresaw. Whatever cannot be understood is
//! acknowledged and counted, since sending it again would not make it clearer.

use aws_lambda_events::event::dynamodb::Event as StreamEvent;
use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{ClusterName, InstanceId, RequestId};
use baton_protocol::time::WallTime;
use baton_protocol::wake::{self, Wake, Why};
use serde::Deserialize;
use serde_json::Value;

use crate::launch;
use crate::notice::{Kind, Notice};
use crate::trail;

/// A Health event about more instances than this comes in several.
const ENTITIES: usize = 100;

/// The part of the detail of an AWS Health event that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HealthEvent {
    event_arn: String,
    service: String,
    event_type_category: String,
    #[serde(default)]
    status_code: Option<String>,
    #[serde(default)]
    affected_entities: Vec<Entity>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    entity_value: String,
}

/// More records than this do not come in one stream batch of ours; the rest is left to the sweep.
const RECORDS: usize = 100;

/// What an event tells to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A wake for one cluster.
    Wake(Wake),
    /// The table's stream shows items that ask for attention in these clusters.
    Stream(Vec<ClusterName>),
    /// EC2 reports a change of this instance's state, or an alarm is about it. Which state is not taken from the event.
    Instance(InstanceId),
    /// Auto Scaling has launched an instance of this group.
    Launch(String),
    /// Instances will or may be taken: one, but for AWS Health.
    Notices(Vec<Notice>),
    /// Somebody has called EC2 about something.
    Call(trail::Call),
    /// Nothing that this function knows, with the reason.
    Ignored(String),
}

/// What EC2 puts into the detail of every event about an instance, among other things.
#[derive(Debug, Deserialize)]
struct AboutInstance {
    #[serde(rename = "instance-id")]
    instance: InstanceId,
}

/// The part of the detail of a lifecycle action that says which one it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waits {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    lifecycle_action_token: String,
}

/// The part of the detail of a `CloudWatch Alarm State Change` that says which instance it is about.
#[derive(Debug, Deserialize)]
struct Alarm {
    configuration: AlarmConfiguration,
}

#[derive(Debug, Deserialize)]
struct AlarmConfiguration {
    metrics: Vec<AlarmMetric>,
}

/// One metric, or an expression over others, which has no `metricStat`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlarmMetric {
    metric_stat: Option<MetricStat>,
}

#[derive(Debug, Deserialize)]
struct MetricStat {
    metric: Metric,
}

#[derive(Debug, Deserialize)]
struct Metric {
    #[serde(default)]
    dimensions: Dimensions,
}

#[derive(Debug, Default, Deserialize)]
struct Dimensions {
    #[serde(rename = "InstanceId")]
    instance: Option<InstanceId>,
}

/// Reads an event. There is no error: what is not understood is [`Trigger::Ignored`].
pub fn read(event: Value) -> Trigger {
    if event.get("Records").is_some() {
        return read_stream(event);
    }
    let event: EventBridgeEvent<Value> = match serde_json::from_value(event) {
        Ok(event) => event,
        Err(error) => {
            return Trigger::Ignored(format!("neither an EventBridge event nor a stream batch: {error}"));
        }
    };
    let announces = |kind: &Kind| kind.source() == event.source && kind.detail_type() == event.detail_type;
    if let Some(kind) = Kind::ALL.into_iter().find(announces) {
        return read_notice(kind, event);
    }
    match (event.source.as_str(), event.detail_type.as_str()) {
        (
            source @ (wake::SOURCE_AGENT | wake::SOURCE_OPERATOR | wake::SOURCE_CONTROL_PLANE),
            wake::DETAIL_TYPE,
        ) => serde_json::from_value(event.detail).map_or_else(
            |error| Trigger::Ignored(format!("malformed wake: {error}")),
            |wake| read_wake(source, wake),
        ),
        ("aws.ec2", "EC2 Instance State-change Notification") => serde_json::from_value(event.detail)
            .map_or_else(
                |error| Trigger::Ignored(format!("malformed state change: {error}")),
                |about: AboutInstance| Trigger::Instance(about.instance),
            ),
        (launch::SOURCE, launch::DETAIL_TYPE) => {
            launch::read(event.detail).map_or_else(Trigger::Ignored, Trigger::Launch)
        }
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => read_alarm(event.detail),
        ("aws.ec2", trail::DETAIL_TYPE) => {
            trail::read(event.detail).map_or_else(Trigger::Ignored, Trigger::Call)
        }
        (source, detail_type) => {
            let shown = |text: &str| text.chars().take(80).collect::<String>();
            Trigger::Ignored(format!("unknown event `{}` from `{}`", shown(detail_type), shown(source)))
        }
    }
}

/// IAM says which source a sender may name, and the source which reasons it may have: some make the arbiter ask EC2, or send
/// a wake of its own. With another reason it is a wake without one.
fn read_wake(source: &str, wake: Wake) -> Trigger {
    let may_have = match wake.why {
        Why::Claim | Why::Release | Why::Vacant | Why::Hello | Why::Missing | Why::Misplaced => {
            source == wake::SOURCE_AGENT
        }
        Why::Request => source == wake::SOURCE_OPERATOR,
        Why::Sweep | Why::Verify | Why::Probe | Why::Failback | Why::Continue | Why::Registered => {
            source == wake::SOURCE_CONTROL_PLANE
        }
    };
    if may_have { Trigger::Wake(wake) } else { Trigger::Stream(vec![wake.cluster]) }
}

/// A notice without an id or a time could not be told from a repeat, nor from one that is hours old.
fn read_notice(kind: Kind, event: EventBridgeEvent<Value>) -> Trigger {
    let waits = (kind == Kind::AutoScalingTermination).then(|| event.detail.clone());
    let (id, instances) = match kind.field() {
        Some(field) => {
            let about = event.detail.get(field).cloned().unwrap_or_default();
            let instance: InstanceId = match serde_json::from_value(about) {
                Ok(instance) => instance,
                Err(error) => return Trigger::Ignored(format!("malformed notice: {field}: {error}")),
            };
            (event.id, vec![instance])
        }
        None => match read_health(event.detail) {
            Ok((id, instances)) => (Some(id), instances),
            Err(why) => return Trigger::Ignored(why),
        },
    };
    let at = event.time.and_then(|time| u64::try_from(time.timestamp_millis()).ok());
    match (id.map(RequestId::new), at) {
        (Some(Ok(id)), Some(at)) => {
            let at = WallTime(at);
            let hook = match (waits, instances.first()) {
                // The hand-over is asked for in any case.
                (Some(detail), Some(instance)) => read_hook(detail, instance, at + kind.lasts())
                    .map_err(
                        |why| tracing::info!(%instance, why, "a termination that is not Baton's to let go"),
                    )
                    .ok(),
                _ => None,
            };
            let notice = |instance| Notice { kind, instance, id: id.clone(), at, hook: hook.clone() };
            Trigger::Notices(instances.into_iter().map(notice).collect())
        }
        (Some(Err(error)), _) => Trigger::Ignored(format!("malformed notice: {error}")),
        (None, _) | (_, None) => Trigger::Ignored("a notice without an id or a time".to_owned()),
    }
}

/// What waits. `aws_lambda_events` has no type for this detail.
fn read_hook(detail: Value, instance: &InstanceId, until: WallTime) -> Result<Hook, String> {
    let waits: Waits = serde_json::from_value(detail).map_err(|error| error.to_string())?;
    let Waits { auto_scaling_group_name: group, lifecycle_hook_name: name, lifecycle_action_token: token } =
        waits;
    Hook::new(instance.clone(), group, name, token, until)
}

/// A scheduled change of EC2 instances: an id that all its events share, and the instances.
fn read_health(detail: Value) -> Result<(String, Vec<InstanceId>), String> {
    let health: HealthEvent =
        serde_json::from_value(detail).map_err(|error| format!("malformed Health event: {error}"))?;
    if health.service != "EC2" || health.event_type_category != "scheduledChange" {
        return Err("a Health event about no scheduled change of EC2".to_owned());
    }
    if health.status_code.as_deref() == Some("closed") {
        return Err("a Health event about a change that is over".to_owned());
    }
    let entities = health.affected_entities.into_iter().take(ENTITIES);
    let instances: Vec<_> = entities.filter_map(|entity| InstanceId::new(entity.entity_value).ok()).collect();
    if instances.is_empty() {
        return Err("a Health event about no instance".to_owned());
    }
    // The end of the ARN is what tells one change from another.
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let end: Vec<char> = health.event_arn.chars().rev().take(56).map(plain).collect();
    Ok((format!("health-{}", end.into_iter().rev().collect::<String>()), instances))
}

/// An alarm on a metric of an instance, as on its status checks. That it rings says which instance to look at.
fn read_alarm(detail: Value) -> Trigger {
    let alarm: Alarm = match serde_json::from_value(detail) {
        Ok(alarm) => alarm,
        Err(error) => return Trigger::Ignored(format!("malformed alarm: {error}")),
    };
    let metrics = alarm.configuration.metrics.into_iter();
    metrics
        .filter_map(|metric| metric.metric_stat?.metric.dimensions.instance)
        .next()
        .map_or_else(|| Trigger::Ignored("an alarm about no instance".to_owned()), Trigger::Instance)
}

fn read_stream(event: Value) -> Trigger {
    let event: StreamEvent = match serde_json::from_value(event) {
        Ok(event) => event,
        Err(error) => return Trigger::Ignored(format!("malformed stream batch: {error}")),
    };
    let mut clusters: Vec<ClusterName> = event
        .records
        .into_iter()
        .take(RECORDS)
        .filter_map(|record| {
            let key: Key = serde_dynamo::from_item(record.change.keys).ok()?;
            // Partitions read `C#<cluster>` or `C#<cluster>#I#<instance>`.
            let mut parts = key.pk.split('#');
            (parts.next() == Some("C")).then(|| parts.next().and_then(|name| ClusterName::new(name).ok()))?
        })
        .collect();
    clusters.sort();
    clusters.dedup();
    if clusters.is_empty() {
        Trigger::Ignored("no cluster in the stream batch".to_owned())
    } else {
        Trigger::Stream(clusters)
    }
}

#[derive(Debug, Deserialize)]
struct Key {
    pk: String,
}

#[cfg(test)]
mod tests {
    use baton_protocol::arbiter::Hint;
    use serde_json::json;

    use super::*;

    fn cluster(name: &str) -> ClusterName {
        ClusterName::new(name).expect("valid")
    }

    fn bus_event(source: &str, detail_type: &str, detail: &Value) -> Value {
        json!({
            "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "account": "123456789012",
            "region": "eu-west-1", "time": "2026-01-01T00:00:00Z", "resources": [],
            "source": source, "detail-type": detail_type, "detail": detail,
        })
    }

    #[test]
    fn a_wake_from_each_of_our_sources_names_its_cluster() {
        let sources = [wake::SOURCE_AGENT, wake::SOURCE_OPERATOR, wake::SOURCE_CONTROL_PLANE];
        for (of, reasons) in [
            (wake::SOURCE_AGENT, &["claim", "release", "vacant", "hello", "missing", "misplaced"][..]),
            (wake::SOURCE_OPERATOR, &["request"]),
            (wake::SOURCE_CONTROL_PLANE, &["sweep", "verify", "probe", "failback", "continue", "registered"]),
        ] {
            for (why, source) in reasons.iter().flat_map(|why| sources.map(|source| (why, source))) {
                let detail = json!({"cluster": "orders", "why": why, "schema_version": 1});
                match read(bus_event(source, "Wake", &detail)) {
                    Trigger::Wake(wake) => {
                        assert!(source == of && wake.cluster == cluster("orders"), "{why}")
                    }
                    // A node can wake, and no more than that.
                    other => assert!(
                        source != of && other == Trigger::Stream(vec![cluster("orders")]),
                        "{other:?}"
                    ),
                }
            }
        }
    }

    #[test]
    fn a_holder_that_misses_an_address_makes_the_arbiter_look_and_nobody_else_can() {
        for why in ["missing", "misplaced"] {
            let detail = json!({"cluster": "orders", "why": why, "schema_version": 1});
            let Trigger::Wake(wake) = read(bus_event(wake::SOURCE_AGENT, "Wake", &detail)) else {
                panic!("a wake of an agent")
            };
            let hint = Hint::of_wake(wake);
            assert!(hint.maybe_moved && !hint.maybe_gone, "{hint:?}");
            assert_eq!(crate::tables::Asked::by(&hint), None, "it tells nothing of tables");
            let forged = read(bus_event(wake::SOURCE_OPERATOR, "Wake", &detail));
            assert_eq!(forged, Trigger::Stream(vec![cluster("orders")]));
        }
    }

    #[test]
    fn a_state_change_names_its_instance_and_its_state_is_not_even_read() {
        for state in ["running", "terminated", "no such state"] {
            let detail = json!({"instance-id": "i-0123456789abcdef0", "state": state});
            let event = bus_event("aws.ec2", "EC2 Instance State-change Notification", &detail);
            let id = InstanceId::new("i-0123456789abcdef0").expect("valid");
            assert_eq!(read(event), Trigger::Instance(id));
        }
    }

    #[test]
    fn a_notice_names_its_instance_its_moment_and_its_id() {
        for kind in Kind::ALL {
            let Some(field) = kind.field() else { continue };
            let detail = json!({
                field: "i-0123456789abcdef0", "instance-action": "terminate",
                "LifecycleActionToken": "87654321-4321-4321-4321-210987654321", "AutoScalingGroupName": "my-asg",
                "LifecycleHookName": "baton-hook",
            });
            let waiting = || {
                let token = "87654321-4321-4321-4321-210987654321".to_owned();
                let instance = InstanceId::new("i-0123456789abcdef0").expect("valid");
                let until = WallTime(1_767_225_600_000 + 600_000);
                Hook::new(instance, "my-asg".to_owned(), "baton-hook".to_owned(), token, until)
            };
            let notice = Notice {
                kind,
                instance: InstanceId::new("i-0123456789abcdef0").expect("valid"),
                id: RequestId::new("6a7e8feb-b491-4cf7-a9f1-bf3703467718").expect("valid"),
                at: WallTime(1_767_225_600_000),
                hook: (kind == Kind::AutoScalingTermination).then(|| waiting().expect("valid")),
            };
            assert_eq!(
                read(bus_event(kind.source(), kind.detail_type(), &detail)),
                Trigger::Notices(vec![notice])
            );
            for missing in ["id", "time"] {
                let mut event = bus_event(kind.source(), kind.detail_type(), &detail);
                event.as_object_mut().expect("an object").remove(missing);
                assert!(matches!(read(event), Trigger::Ignored(_)), "without {missing}");
            }
        }
    }

    /// As in the documentation of AWS Health's events, shortened.
    fn health(status: &str, entities: &[&str]) -> Value {
        let entities: Vec<_> =
            entities.iter().map(|id| json!({"entityValue": id, "status": "IMPAIRED"})).collect();
        json!({
            "eventArn": "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED_90353408594353983",
            "service": "EC2", "eventScopeCode": "ACCOUNT_SPECIFIC", "communicationId": "1234abc01232a4012345678-1",
            "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", "eventTypeCategory": "scheduledChange",
            "startTime": "Wed, 31 Jan 2026 02:00:00 GMT", "endTime": "Wed, 31 Jan 2026 04:00:00 GMT",
            "lastUpdatedTime": "Wed, 15 Jan 2026 02:30:00 GMT", "statusCode": status, "eventRegion": "eu-west-1",
            "eventDescription": [{"language": "en_US", "latestDescription": "It will be retired."}],
            "affectedEntities": entities, "affectedAccount": "123456789012", "page": "1", "totalPages": "1",
        })
    }

    #[test]
    fn a_scheduled_change_is_a_notice_about_each_of_its_instances_under_one_id() {
        let read = |detail: &Value| read(bus_event("aws.health", "AWS Health Event", detail));
        let detail = health("upcoming", &["i-0123456789abcdef0", "vol-01234567", "i-01234567"]);
        let Trigger::Notices(notices) = read(&detail) else { panic!("expected notices") };
        let about: Vec<_> = notices.iter().map(|notice| notice.instance.as_str()).collect();
        assert_eq!(about, ["i-0123456789abcdef0", "i-01234567"]);
        let mut updated = detail.clone();
        updated["startTime"] = json!("Thu, 01 Feb 2026 02:00:00 GMT");
        assert_eq!(read(&updated), Trigger::Notices(notices.clone()));
        let mut other = detail.clone();
        other["eventArn"] = json!(
            "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED_90353408594353984"
        );
        let Trigger::Notices(others) = read(&other) else { panic!("expected notices") };
        assert_ne!(others[0].id, notices[0].id);
        let mut issue = detail.clone();
        issue["eventTypeCategory"] = json!("issue");
        let mut volumes = detail.clone();
        volumes["service"] = json!("EBS");
        for nothing in [health("closed", &["i-01234567"]), health("open", &["vol-01234567"]), issue, volumes]
        {
            assert!(matches!(read(&nothing), Trigger::Ignored(_)), "{nothing}");
        }
    }

    /// As in the EventBridge documentation of CloudWatch alarms, for an alarm on one metric and for one on an expression.
    #[test]
    fn an_alarm_names_the_instance_of_its_metric() {
        let metric = |dimensions: Value| {
            json!({
                "id": "30b6c6b2-a864-43a2-4877-c09a1afc3b87", "returnData": true,
                "metricStat": {
                    "metric": {"dimensions": dimensions, "name": "StatusCheckFailed", "namespace": "AWS/EC2"},
                    "period": 60, "stat": "Maximum",
                },
            })
        };
        let expression = json!({"id": "e1", "expression": "m1 > 0", "returnData": true});
        let alarm = |metrics: Vec<Value>| {
            let detail = json!({
                "alarmName": "status", "configuration": {"description": "", "metrics": metrics},
                "previousState": {"value": "OK"}, "state": {"value": "ALARM", "reason": ""},
            });
            read(bus_event("aws.cloudwatch", "CloudWatch Alarm State Change", &detail))
        };
        let about = metric(json!({"InstanceId": "i-0123456789abcdef0"}));
        let id = InstanceId::new("i-0123456789abcdef0").expect("valid");
        assert_eq!(alarm(vec![about.clone()]), Trigger::Instance(id.clone()));
        assert_eq!(alarm(vec![expression.clone(), about]), Trigger::Instance(id));
        for other in [vec![], vec![expression], vec![metric(json!({"AutoScalingGroupName": "asg"}))]] {
            assert_eq!(alarm(other), Trigger::Ignored("an alarm about no instance".to_owned()));
        }
        assert!(matches!(alarm(vec![metric(json!({"InstanceId": "x"}))]), Trigger::Ignored(_)));
    }

    #[test]
    fn a_stream_batch_names_each_of_its_clusters_once() {
        let record = |pk: &str| {
            json!({
                "awsRegion": "eu-west-1", "eventID": "1", "eventName": "MODIFY", "eventSource": "aws:dynamodb",
                "eventVersion": "1.1", "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/baton",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_700_000_000.0, "SequenceNumber": "1", "SizeBytes": 10,
                    "StreamViewType": "KEYS_ONLY", "Keys": {"pk": {"S": pk}, "sk": {"S": "WAKE"}},
                },
            })
        };
        let node = "C#orders#I#arn:aws:ec2:eu-west-1:123456789012:instance/i-01234567";
        let batch = json!({"Records": [record(node), record("C#orders"), record("C#nat"), record("X#nat"), record("C#")]});
        assert_eq!(read(batch), Trigger::Stream(vec![cluster("nat"), cluster("orders")]));
    }

    #[test]
    fn whatever_is_not_understood_is_acknowledged_with_a_reason() {
        let bad = [
            Value::Null,
            json!([]),
            json!({"Records": "none"}),
            json!({"Records": []}),
            bus_event("baton.agent", "Wake", &json!({"cluster": "#", "why": "claim", "schema_version": 1})),
            bus_event("baton.agent", "Grant", &json!({"cluster": "orders"})),
            bus_event(
                "someone.else",
                "Wake",
                &json!({"cluster": "orders", "why": "claim", "schema_version": 1}),
            ),
            bus_event("aws.ec2", "EC2 Instance State-change Notification", &json!({"instance-id": "x"})),
            bus_event("aws.ec2", Kind::SpotInterruption.detail_type(), &json!({"instance-id": "x"})),
            bus_event("aws.ec2", Kind::Rebalance.detail_type(), &json!({})),
            bus_event("someone.else", Kind::Rebalance.detail_type(), &json!({"instance-id": "i-01234567"})),
            bus_event("aws.cloudwatch", "CloudWatch Alarm State Change", &json!({"configuration": {}})),
            bus_event("aws.ec2", trail::DETAIL_TYPE, &json!({"eventSource": "ec2.amazonaws.com"})),
            bus_event("someone.else", trail::DETAIL_TYPE, &json!({"eventSource": "ec2.amazonaws.com"})),
        ];
        for event in bad {
            assert!(matches!(read(event.clone()), Trigger::Ignored(_)), "{event}");
        }
    }
}
