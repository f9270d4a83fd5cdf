//! Events, taken as hints: which clusters to look at.
//!
//! An event may be late, repeated, out of order, forged or of a shape nobody foresaw. Whatever cannot be understood is
//! acknowledged and counted, since sending it again would not make it clearer.

use aws_lambda_events::event::dynamodb::Event as StreamEvent;
use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use baton_protocol::ids::{ClusterName, InstanceId};
use baton_protocol::wake::{self, Wake};
use serde::Deserialize;
use serde_json::Value;

/// More records than this do not come in one stream batch of ours; the rest is left to the sweep.
const RECORDS: usize = 100;

/// What an event tells to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A wake for one cluster.
    Wake(Wake),
    /// The table's stream shows items that ask for attention in these clusters.
    Stream(Vec<ClusterName>),
    /// EC2 reports a change of this instance's state. Which state is not taken from the event.
    Instance(InstanceId),
    /// Nothing that this function knows, with the reason.
    Ignored(String),
}

/// What EC2 puts into the detail of a state-change notification.
#[derive(Debug, Deserialize)]
struct StateChange {
    #[serde(rename = "instance-id")]
    instance: InstanceId,
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
    match (event.source.as_str(), event.detail_type.as_str()) {
        (wake::SOURCE_AGENT | wake::SOURCE_OPERATOR | wake::SOURCE_CONTROL_PLANE, wake::DETAIL_TYPE) => {
            serde_json::from_value(event.detail)
                .map_or_else(|error| Trigger::Ignored(format!("malformed wake: {error}")), Trigger::Wake)
        }
        ("aws.ec2", "EC2 Instance State-change Notification") => serde_json::from_value(event.detail)
            .map_or_else(
                |error| Trigger::Ignored(format!("malformed state change: {error}")),
                |change: StateChange| Trigger::Instance(change.instance),
            ),
        (source, detail_type) => {
            let shown = |text: &str| text.chars().take(80).collect::<String>();
            Trigger::Ignored(format!("unknown event `{}` from `{}`", shown(detail_type), shown(source)))
        }
    }
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
        ];
        for event in bad {
            assert!(matches!(read(event.clone()), Trigger::Ignored(_)), "{event}");
        }
    }
}
