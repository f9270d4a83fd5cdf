//! Events, taken as hints: which clusters to look at.
//!
//! An event may be late, repeated, out of order, forged or of a shape nobody foresaw. Whatever cannot be understood is
//! acknowledged and counted, since sending it again would not make it clearer.

use aws_lambda_events::event::dynamodb::Event as StreamEvent;
use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use baton_protocol::ids::{ClusterName, InstanceId, RequestId};
use baton_protocol::time::WallTime;
use baton_protocol::wake::{self, Wake};
use serde::Deserialize;
use serde_json::Value;

use crate::notice::{Kind, Notice};
use crate::trail;

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
    /// An instance will or may be taken.
    Notice(Notice),
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
        (wake::SOURCE_AGENT | wake::SOURCE_OPERATOR | wake::SOURCE_CONTROL_PLANE, wake::DETAIL_TYPE) => {
            serde_json::from_value(event.detail)
                .map_or_else(|error| Trigger::Ignored(format!("malformed wake: {error}")), Trigger::Wake)
        }
        ("aws.ec2", "EC2 Instance State-change Notification") => serde_json::from_value(event.detail)
            .map_or_else(
                |error| Trigger::Ignored(format!("malformed state change: {error}")),
                |about: AboutInstance| Trigger::Instance(about.instance),
            ),
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

/// A notice without an id or a time could not be told from a repeat, nor from one that is hours old.
fn read_notice(kind: Kind, event: EventBridgeEvent<Value>) -> Trigger {
    let about = event.detail.get(kind.field()).cloned().unwrap_or_default();
    let instance: InstanceId = match serde_json::from_value(about) {
        Ok(instance) => instance,
        Err(error) => return Trigger::Ignored(format!("malformed notice: {}: {error}", kind.field())),
    };
    let id = event.id.map(RequestId::new);
    let at = event.time.and_then(|time| u64::try_from(time.timestamp_millis()).ok());
    match (id, at) {
        (Some(Ok(id)), Some(at)) => Trigger::Notice(Notice { kind, instance, id, at: WallTime(at) }),
        (Some(Err(error)), _) => Trigger::Ignored(format!("malformed notice: {error}")),
        (None, _) | (_, None) => Trigger::Ignored("a notice without an id or a time".to_owned()),
    }
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
        for source in [wake::SOURCE_AGENT, wake::SOURCE_OPERATOR, wake::SOURCE_CONTROL_PLANE] {
            let detail = json!({"cluster": "orders", "why": "claim", "schema_version": 1});
            let Trigger::Wake(wake) = read(bus_event(source, "Wake", &detail)) else {
                panic!("expected a wake")
            };
            assert_eq!(wake.cluster, cluster("orders"));
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
            let detail = json!({kind.field(): "i-0123456789abcdef0", "instance-action": "terminate"});
            let notice = Notice {
                kind,
                instance: InstanceId::new("i-0123456789abcdef0").expect("valid"),
                id: RequestId::new("6a7e8feb-b491-4cf7-a9f1-bf3703467718").expect("valid"),
                at: WallTime(1_767_225_600_000),
            };
            assert_eq!(read(bus_event(kind.source(), kind.detail_type(), &detail)), Trigger::Notice(notice));
            for missing in ["id", "time"] {
                let mut event = bus_event(kind.source(), kind.detail_type(), &detail);
                event.as_object_mut().expect("an object").remove(missing);
                assert!(matches!(read(event), Trigger::Ignored(_)), "without {missing}");
            }
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
