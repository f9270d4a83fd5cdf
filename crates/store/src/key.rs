//! The keys of the table.
//!
//! | item | `pk` | `sk` | written by | ends |
//! | --- | --- | --- | --- | --- |
//! | lease | `C#<cluster>` | `LEASE` | arbiter, registrar; operators: `intent`, `paused`, `excluded` | never |
//! | history | `C#<cluster>` | `EVENT#<epoch, 20 digits>#<ms, 13 digits>-<8 hex>` | arbiter, registrar | `expires_at` |
//! | accepted configuration | `C#<cluster>` | `CONFIG#<revision, 10 digits>` | registrar; arbiter: of other members | never |
//! | termination that waits | `C#<cluster>` | `HOOK#<instance id>#<token>` | arbiter | `expires_at` |
//! | probe | `C#<cluster>` | `PROBE` | arbiter | never |
//! | request | `C#<cluster>` | `REQUEST#<id>` | operators; arbiter: `request.answer` | never |
//! | heartbeat | `C#<cluster>#I#<instance ARN>` | `HEARTBEAT` | that instance | never |
//! | wake | `C#<cluster>#I#<instance ARN>` | `WAKE` | that instance | never |
//! | clusters that suspect | `FLEET` | `SUSPECTS#<span, 10 digits>` | arbiter | `expires_at` |
//! | directory | `CLUSTERS` | `C#<cluster>` | registrar; arbiter: of other members or tables | deleted on retirement |
//!
//! A heartbeat has a partition of its own, named by cluster and instance, because IAM can limit a node to a
//! leading key but not to a sort key. Numbers in sort keys are zero-padded so that their order as text is
//! their order. The digest at the end of a history key makes a repeated row the same row, and two rows of one
//! millisecond two rows.

use baton_protocol::history::Event;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{ClusterName, InstanceArn, RequestId};
use baton_protocol::outcome::Failure;
use sha2::{Digest, Sha256};

/// The sort key of a lease.
pub const LEASE: &str = "LEASE";
/// What the sort keys of terminations that wait begin with.
pub const HOOK_PREFIX: &str = "HOOK#";
/// The sort key of what the last probe found.
pub const PROBE: &str = "PROBE";
/// The sort key of a heartbeat.
pub const HEARTBEAT: &str = "HEARTBEAT";
/// The sort key of a wake item.
pub const WAKE: &str = "WAKE";
/// What the sort keys of history rows begin with.
pub const EVENT_PREFIX: &str = "EVENT#";
/// What the sort keys of requests begin with.
pub const REQUEST_PREFIX: &str = "REQUEST#";
/// The partition of the directory.
pub const CLUSTERS: &str = "CLUSTERS";

/// The partition of what is about all clusters together.
pub const FLEET: &str = "FLEET";

/// The primary key of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The partition.
    pub pk: String,
    /// The place in the partition.
    pub sk: String,
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    /// Of the lease.
    pub fn lease(cluster: &ClusterName) -> Self {
        Self::new(partition(cluster), LEASE)
    }

    /// Of a node's heartbeat.
    pub fn heartbeat(cluster: &ClusterName, instance: &InstanceArn) -> Self {
        Self::new(node_partition(cluster, instance), HEARTBEAT)
    }

    /// Of a node's wake item.
    pub fn wake(cluster: &ClusterName, instance: &InstanceArn) -> Self {
        Self::new(node_partition(cluster, instance), WAKE)
    }

    /// Of an accepted configuration.
    pub fn config(cluster: &ClusterName, revision: u64) -> Self {
        Self::new(partition(cluster), format!("CONFIG#{revision:010}"))
    }

    /// Of a termination that waits.
    pub fn hook(cluster: &ClusterName, hook: &Hook) -> Self {
        Self::new(partition(cluster), format!("{HOOK_PREFIX}{}#{}", hook.instance, hook.token))
    }

    /// Of what the last probe found.
    pub fn probe(cluster: &ClusterName) -> Self {
        Self::new(partition(cluster), PROBE.to_owned())
    }

    /// Of an operator's request.
    pub fn request(cluster: &ClusterName, id: &RequestId) -> Self {
        Self::new(partition(cluster), format!("{REQUEST_PREFIX}{id}"))
    }

    /// Of a row of the history.
    pub fn event(event: &Event) -> Result<Self, Failure> {
        let json = serde_json::to_vec(event)
            .map_err(|error| Failure::Invalid(format!("a history row has no JSON form: {error}")))?;
        let digest = hex(&Sha256::digest(&json));
        let sk = format!("{EVENT_PREFIX}{:020}#{:013}-{}", event.epoch.0, event.at.0, &digest[..8]);
        Ok(Self::new(partition(&event.cluster), sk))
    }

    /// Of the clusters that suspect their holders in a span of time.
    pub fn suspects(span: u64) -> Self {
        Self::new(FLEET.to_owned(), format!("SUSPECTS#{span:010}"))
    }

    /// Of a row of the directory.
    pub fn directory(cluster: &ClusterName) -> Self {
        Self::new(CLUSTERS.to_owned(), partition(cluster))
    }
}

/// The partition of a cluster's own items.
pub fn partition(cluster: &ClusterName) -> String {
    format!("C#{cluster}")
}

fn node_partition(cluster: &ClusterName, instance: &InstanceArn) -> String {
    format!("C#{cluster}#I#{instance}")
}

/// The cluster, and the node where there is one, that a partition belongs to; what a record of the table's
/// stream is about. `None` for every other text.
pub fn parse_partition(pk: &str) -> Option<(ClusterName, Option<InstanceArn>)> {
    let rest = pk.strip_prefix("C#")?;
    match rest.split_once("#I#") {
        None => Some((ClusterName::new(rest).ok()?, None)),
        Some((cluster, instance)) => {
            Some((ClusterName::new(cluster).ok()?, Some(InstanceArn::new(instance).ok()?)))
        }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use baton_protocol::history::Happening;
    use baton_protocol::ids::Epoch;
    use baton_protocol::time::WallTime;

    use super::*;

    fn cluster() -> ClusterName {
        ClusterName::new("orders").expect("valid")
    }

    fn event(epoch: u64, at: u64) -> Event {
        let what = Happening::Moved { took_ms: 1 };
        Event { cluster: cluster(), epoch: Epoch(epoch), at: WallTime(at), by: "arbiter/1".to_owned(), what }
    }

    #[test]
    fn a_partition_tells_its_cluster_and_node() {
        let arn = InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0")
            .expect("valid");
        assert_eq!(parse_partition(&Key::lease(&cluster()).pk), Some((cluster(), None)));
        assert_eq!(parse_partition(&Key::wake(&cluster(), &arn).pk), Some((cluster(), Some(arn))));
        for other in ["CLUSTERS", "C#", "C#Orders", "C#orders#I#i-1", "orders"] {
            assert_eq!(parse_partition(other), None, "{other}");
        }
    }

    #[test]
    fn history_is_ordered_by_epoch_then_time_as_text() {
        let keys: Vec<_> = [event(2, 5), event(10, 3), event(10, 1_700_000_000_000)]
            .iter()
            .map(|event| Key::event(event).expect("valid").sk)
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(keys[0].starts_with("EVENT#00000000000000000002#0000000000005-"), "{}", keys[0]);
    }

    #[test]
    fn a_repeated_row_has_the_same_key_and_another_row_another() {
        let mut other = event(2, 5);
        assert_eq!(Key::event(&other), Key::event(&event(2, 5)));
        other.by = "arbiter/2".to_owned();
        assert_ne!(Key::event(&other), Key::event(&event(2, 5)));
    }
}
