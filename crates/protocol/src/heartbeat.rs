//! The heartbeat: what a node says of itself, in an item that only this node can write.
//!
//! Its `seq` is the only sign of life that safety rests on. A claim is written here as well: it says how long the
//! writer has seen nothing new from the holder, and stays true for as long as the holder's `(incarnation, seq)` stands
//! still, so a claim that arrives late or twice does no harm.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::findings::{self, Findings};
use crate::ids::{ClusterName, Epoch, Incarnation, InstanceArn, Seq};
use crate::time::WallTime;

/// What a node thinks of its own ability to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Every check has passed often enough.
    Ok,
    /// A check has failed often enough.
    Bad,
    /// The checks have not spoken yet. Not a failure, and no ground to be chosen.
    #[default]
    Unknown,
    /// The node is leaving in good order and must not be chosen.
    Draining,
}

/// "I have seen nothing new from this holder for S."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The epoch whose holder is silent.
    pub epoch: Epoch,
    /// The silent holder.
    pub holder: InstanceArn,
    /// The holder's incarnation as last seen. Without it, a heartbeat item that was lost and made anew could make an
    /// old claim look true.
    pub incarnation: Incarnation,
    /// The holder's last number as last seen.
    pub seq: Seq,
    /// How long the silence had lasted when the claim was made, or twice as long once it has been seen to go on for so long,
    /// in milliseconds.
    pub silent_ms: u64,
    /// When the claim was first made; for people.
    pub at: WallTime,
}

impl Claim {
    /// A claim counts only while nothing of what it names has changed. Then the silence has lasted at least as long as when
    /// the claim was made, however late it is read.
    pub fn is_current(&self, epoch: Epoch, holder: &Heartbeat) -> bool {
        self.epoch == epoch
            && self.holder == holder.instance
            && (self.incarnation == holder.incarnation || mutant!(ClaimWithoutIncarnation))
            && self.seq == holder.seq
    }
}

/// A node's heartbeat item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The cluster.
    pub cluster: ClusterName,
    /// The node's instance.
    pub instance: InstanceArn,
    /// Of the agent's current run.
    pub incarnation: Incarnation,
    /// The number of the last heartbeat; strictly grows, over restarts too.
    pub seq: Seq,
    /// Of the instance's current boot, to tell a restart of the agent from one of the machine.
    pub boot_id: String,
    /// What the node thinks of itself.
    #[serde(default)]
    pub health: Health,
    /// Since when its health has been `ok` in this run without a break, by its own wall clock as of this heartbeat; none
    /// while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<WallTime>,
    /// The largest epoch at which this node swears never to serve again.
    #[serde(default)]
    pub released: Epoch,
    /// The node's claim, while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The epoch at which the node serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_epoch: Option<Epoch>,
    /// Since when it serves; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_since: Option<WallTime>,
    /// The latest epoch that this node has read, if the table has shown it an earlier one since. It stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Epoch>,
    /// What the node has found out about itself; for people.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "findings::read")]
    pub findings: Option<Findings>,
    /// TTL: for how long after its sending this heartbeat, once confirmed, lets the node serve; [`UNGUARDED_MS`] where
    /// nothing would stop it then.
    pub validity_ms: u64,
    /// Elastic IPs that the instance metadata shows on this node.
    #[serde(default)]
    pub seen: Vec<Ipv4Addr>,
    /// When the heartbeat was sent, by the node's wall clock: a hint of liveness, never of death.
    pub beat_at: WallTime,
    /// The version of the agent.
    #[serde(default)]
    pub agent_version: String,
    /// The schema of the item.
    pub schema: u32,
}

/// The validity that a node publishes while no dead-man stands behind what it serves, or may come to serve: none that ends.
pub const UNGUARDED_MS: u64 = u64::MAX;

impl Heartbeat {
    /// Whether the node may serve for ever, whatever becomes of its agent.
    pub fn is_unguarded(&self) -> bool {
        self.validity_ms == UNGUARDED_MS
    }

    /// For how long the node had been healthy without a break when it sent this; none: it was not, or does not say. Both
    /// moments are of the node's own clock, so it does not matter whether that clock is right.
    pub fn healthy_for(&self) -> Option<Duration> {
        let since = self.healthy_since.filter(|_| self.health == Health::Ok)?;
        Some(self.beat_at.since(since))
    }
}

/// What a node writes with each heartbeat. The table adds nothing and the node leaves nothing out: an attribute that is
/// `None` here is none there, whatever was before, except for what the node has found out and what it has seen of later epochs, which are left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Of the agent's current run; the condition of the write.
    pub incarnation: Incarnation,
    /// The number of this heartbeat; the write is refused unless it is larger than the stored one.
    pub seq: Seq,
    /// What the node thinks of itself.
    pub health: Health,
    /// Since when that has been `ok` without a break.
    pub healthy_since: Option<WallTime>,
    /// The node's claim, while it stands.
    pub claim: Option<Claim>,
    /// The epoch at which the node serves.
    pub serving_epoch: Option<Epoch>,
    /// Since when it serves.
    pub serving_since: Option<WallTime>,
    /// The latest epoch that this node has read, if the table has shown it an earlier one since; none: nothing is written.
    pub ahead: Option<Epoch>,
    /// What the node has found out about itself; none: nothing is written about it, though something may have been before.
    pub findings: Option<Findings>,
    /// TTL of this very heartbeat.
    pub validity_ms: u64,
    /// Elastic IPs that the instance metadata shows on this node.
    pub seen: Vec<Ipv4Addr>,
    /// When the heartbeat is sent.
    pub beat_at: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arn, heartbeat};

    #[test]
    fn only_a_validity_that_never_ends_says_that_nothing_guards_the_service() {
        let published = |validity_ms| Heartbeat { validity_ms, ..heartbeat(&arn(1), 1) };
        assert!(published(UNGUARDED_MS).is_unguarded());
        assert!(!published(UNGUARDED_MS - 1).is_unguarded());
        assert!(!published(4_000).is_unguarded());
    }

    #[test]
    fn how_long_a_node_has_been_healthy_is_told_by_its_own_clock_and_not_while_it_is_not() {
        let beat_at = WallTime(1_000_000);
        let mut told = Heartbeat { beat_at, healthy_since: Some(WallTime(940_000)), ..heartbeat(&arn(1), 1) };
        assert_eq!(told.healthy_for(), Some(Duration::from_secs(60)));
        told.health = Health::Bad;
        assert_eq!(told.healthy_for(), None);
        (told.health, told.healthy_since) = (Health::Ok, None);
        assert_eq!(told.healthy_for(), None, "it does not say");
        let text = serde_json::to_string(&told).expect("can be written");
        assert!(!text.contains("healthy"), "{text}");
        assert_eq!(serde_json::from_str::<Heartbeat>(&text).expect("can be read"), told);
    }
}
