//! Figures of the agent, once a minute, for a CloudWatch agent on the same machine (`metrics` in the configuration).
//!
//! A datagram for each cluster, in CloudWatch's
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Generation_CloudWatch_Agent.html).
//! The nodes get no permission for it and call nothing; nobody waits for an answer, and a datagram that nobody takes is lost. What
//! is told is what a status tells, so a driver does nothing for it but count.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::status::socket::Desk;
use crate::status::{Beats, ClusterStatus, State, Status};

/// How often: CloudWatch's own resolution.
const EVERY: Duration = Duration::from_secs(60);
/// The namespace of everything that Baton counts.
const NAMESPACE: &str = "Baton";
/// The group that the CloudWatch agent writes the lines to.
const LOG_GROUP: &str = "/baton/agents";

/// Sends for as long as it is not dropped. An error is told once; metrics are no reason for anything.
pub async fn publish(to: SocketAddr, desk: Desk) {
    let socket = match open(to).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%to, reason = %error, "no metrics are sent");
            return;
        }
    };
    let mut counted = Counted::default();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for line in counted.lines(&desk.status().await, clock::wall().0) {
            // Nobody listens there: whoever reads the metrics learns of their absence.
            let sent = socket.send(line.to_string().as_bytes()).await;
            tracing::trace!(?sent, "metrics");
        }
    }
}

async fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// What was counted until the last time, for each cluster.
#[derive(Debug, Default)]
struct Counted(BTreeMap<String, Beats>);

impl Counted {
    fn lines(&mut self, status: &Status, at_ms: u64) -> Vec<Value> {
        let lines = status.clusters.iter().map(|cluster| {
            let before = self.0.insert(cluster.cluster.clone(), cluster.beats.clone()).unwrap_or_default();
            line(&status.instance, cluster, &before, at_ms)
        });
        lines.collect()
    }
}

/// Clusters are a dimension, and nodes are not, since each value of one is a metric that is paid for; the node is in the line.
fn line(instance: &str, cluster: &ClusterStatus, before: &Beats, at_ms: u64) -> Value {
    // After a driver was replaced it counts from the beginning.
    let grown = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
    let confirmed = grown(cluster.beats.confirmed, before.confirmed);
    let unconfirmed = grown(cluster.beats.unconfirmed, before.unconfirmed);
    let metric = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
    json!({
        "_aws": {
            "Timestamp": at_ms,
            "LogGroupName": LOG_GROUP,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["Cluster"]],
                "Metrics": [
                    metric("BeatsConfirmed", "Count"), metric("BeatsUnconfirmed", "Count"),
                    metric("BeatSlowest", "Milliseconds"), metric("Serving", "Count"), metric("Troubles", "Count"),
                ],
            }],
        },
        "Cluster": cluster.cluster,
        "BeatsConfirmed": confirmed,
        "BeatsUnconfirmed": unconfirmed,
        "BeatSlowest": cluster.beats.slowest_ms,
        "Serving": u8::from(cluster.state == State::Serving),
        "Troubles": cluster.troubles.len(),
        "instance": instance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::full;

    fn status(confirmed: u64, unconfirmed: u64) -> Status {
        let mut status = full();
        status.clusters[0].beats = Beats { confirmed, unconfirmed, slowest_ms: 17 };
        status
    }

    #[test]
    fn each_line_counts_what_came_since_the_last_and_declares_what_it_holds() {
        let mut counted = Counted::default();
        let first = counted.lines(&status(60, 2), 1_800_000_000_000).remove(0);
        assert_eq!((&first["BeatsConfirmed"], &first["BeatsUnconfirmed"]), (&json!(60), &json!(2)));
        let second = counted.lines(&status(119, 2), 1_800_000_060_000).remove(0);
        assert_eq!((&second["BeatsConfirmed"], &second["BeatsUnconfirmed"]), (&json!(59), &json!(0)));
        let anew = counted.lines(&status(7, 0), 1_800_000_120_000).remove(0);
        assert_eq!(anew["BeatsConfirmed"], 7, "another driver");
        let declared = &second["_aws"]["CloudWatchMetrics"][0];
        for metric in declared["Metrics"].as_array().expect("a list") {
            assert!(second[metric["Name"].as_str().expect("a name")].is_u64(), "{second}");
        }
        assert_eq!((&declared["Dimensions"], &second["Cluster"]), (&json!([["Cluster"]]), &json!("orders")));
        assert_eq!(
            (&second["Serving"], &second["Troubles"], &second["BeatSlowest"]),
            (&json!(1), &json!(1), &json!(17))
        );
    }

    #[tokio::test]
    async fn a_datagram_comes_for_each_cluster() {
        let listener = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let desk = Desk::new(Status { clusters: Vec::new(), silent: Vec::new(), ..full() });
        let (driver, mut asked) = tokio::sync::mpsc::channel::<crate::status::socket::Ask>(1);
        desk.add(baton_protocol::ids::ClusterName::new("orders").expect("valid"), driver);
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                drop(ask.send(full().clusters.remove(0)));
            }
        });
        tokio::spawn(publish(listener.local_addr().expect("bound"), desk));
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(Duration::from_secs(20), listener.recv(&mut buffer));
        let length = length.await.expect("in time").expect("received");
        let line: Value = serde_json::from_slice(&buffer[..length]).expect("JSON");
        assert_eq!((&line["Cluster"], &line["instance"]), (&json!("orders"), &json!("i-1")));
    }
}
