//! An operator's request: an item written under IAM, conditioned on the epoch and with an end.

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, Epoch, InstanceArn, RegistrationUid, RequestId};
use crate::time::WallTime;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// A planned move of a healthy cluster.
    Switchover {
        /// The node that should hold next; none: whichever is best.
        to: Option<InstanceArn>,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// An operator's word that a silent holder be taken over from.
    Failover {
        /// The node that should hold next; none: whichever is best.
        to: Option<InstanceArn>,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// That the lease go back to a preferred node: what the arbiter asks for by itself, where that is chosen.
    Failback {
        /// The node.
        to: InstanceArn,
        /// Why, in words that people read.
        why: String,
    },
    /// That a node shall not hold the lease until the request's end.
    Exclude {
        /// The node.
        node: InstanceArn,
        /// Why.
        why: String,
        /// Whether it holds the lease now, and is to hand over.
        hand_over: bool,
        /// The request behind the exclusion that this one takes the place of, ended or not; none: none was there. A lease
        /// carries one exclusion, so whoever asks says which other operator's word it has seen and means to end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<RequestId>,
        /// Whether that one has also asked its node to hand over, which it has not done and need not any more. Where the
        /// node of this one is to hand over itself, that wish takes the place of the other one anyway.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        withdraws: bool,
    },
    /// That an excluded node may hold the lease again. It ends this exclusion and no other that has taken its place.
    Include {
        /// The request behind the exclusion.
        exclusion: RequestId,
        /// Whether that has also asked it to hand over, which it has not done and need not any more.
        withdraws: bool,
    },
    /// That EC2 stop a node's instance.
    Fence {
        /// The node.
        node: InstanceArn,
        /// The registration whose member it is.
        uid: RegistrationUid,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// That a table which was restored to an earlier moment be begun anew, once every node is known to have stopped.
    Restore {
        /// The registration that it shows.
        uid: RegistrationUid,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// No automatic action until the request's end.
    Pause {
        /// Why.
        why: String,
    },
    /// Automatic action again.
    Resume {},
}

impl Wish {
    /// The word for it, as people read it and as `baton history` shows it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "switchover",
            Self::Failover { .. } => "failover",
            Self::Failback { .. } => "failback",
            Self::Exclude { hand_over: true, .. } => "drain",
            Self::Exclude { .. } => "exclude",
            Self::Include { .. } => "include",
            Self::Fence { .. } => "fence",
            Self::Restore { .. } => "restore",
            Self::Pause { .. } => "pause",
            Self::Resume {} => "resume",
        }
    }
}

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The cluster.
    pub cluster: ClusterName,
    /// The id.
    pub id: RequestId,
    /// What is asked for.
    pub wish: Wish,
    /// Who asks, as the operator's own tool tells it; IAM's word is in CloudTrail.
    pub by: String,
    /// When it was asked.
    pub at: WallTime,
    /// When it ends by itself.
    pub until: WallTime,
    /// The epoch it is about.
    pub epoch: Epoch,
    /// What became of it, once the arbiter has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}
