//! What happened to a cluster, as data: who decided what, when, on what evidence, and how each step went.

use serde::{Deserialize, Serialize};

use crate::fence::Fenced;
use crate::findings::HookFailure;
use crate::heartbeat::Claim;
use crate::ids::{ClusterName, Epoch, Incarnation, InstanceArn, NodeName, RequestId, Seq};
use crate::time::WallTime;

/// The ground of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    /// The holder swore never to serve this epoch again.
    Release,
    /// A standby has seen nothing new from the holder for S.
    Silence,
    /// EC2 says that the holder's instance is terminated, which is final.
    Gone,
    /// There has been no holder since the registration.
    Vacancy,
}

/// What a grant rests on, as it stood at the moment of the decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The holder's incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_incarnation: Option<Incarnation>,
    /// The number of the holder's last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_seq: Option<Seq>,
    /// When the holder's last heartbeat was sent, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_beat_at: Option<WallTime>,
    /// Who claimed, and the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<(InstanceArn, Claim)>,
    /// What the holder was fenced by, where the cluster asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fenced>,
    /// The holder's hook that had failed last in the epoch that ends, if the holder told of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Box<HookFailure>>,
    /// The request that the hand-over answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}

/// An instance that became a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its name from then on.
    pub node: NodeName,
    /// The instance.
    pub instance: InstanceArn,
}

/// An instance that is a member no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    /// Its name until then.
    pub node: NodeName,
    /// The instance.
    pub instance: InstanceArn,
    /// Why, in words that people read.
    pub why: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Happening {
    /// The registrar accepted a configuration, or the arbiter changed the tables that one describes.
    Registered {
        /// Its number.
        revision: u64,
        /// What was done, in words.
        summary: String,
    },
    /// The arbiter took in instances that carry the cluster's tag, or retired members.
    Members {
        /// The number of the configuration.
        revision: u64,
        /// Who joined.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        joined: Vec<Newcomer>,
        /// Who was retired.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        retired: Vec<Departed>,
    },
    /// The lease of a table that was restored began anew, held by nobody, at an operator's word.
    Restored {
        /// The epoch that the restored table showed; the row's own is the one from then on.
        from: Epoch,
        /// The holder that it showed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<InstanceArn>,
        /// Who asked.
        asked: String,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
        /// The request behind it.
        request: RequestId,
    },
    /// The registrar retired the cluster.
    Retired {},
    /// The lease went to another node.
    Granted {
        /// The holder until then.
        from: Option<InstanceArn>,
        /// The holder from then on.
        to: InstanceArn,
        /// Why it could be granted.
        ground: Ground,
        /// Why it was, in words that people read.
        reason: String,
        /// What the decision rests on.
        evidence: Evidence,
    },
    /// A call to EC2 for one resource was answered.
    Step {
        /// The call, as EC2 names it.
        call: String,
        /// What it was about: an address, a route or an interface.
        resource: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// The failure, if it failed, with EC2's own code first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// Every resource was seen at the holder, but for a route that somebody has led to a gateway, which is told of as stuck.
    Moved {
        /// The time since the grant, in milliseconds.
        took_ms: u64,
    },
    /// A resource was not where its recorded move had put it: somebody else has moved it, or a call of an older epoch that
    /// landed late. It is about to be put right.
    Drift {
        /// What it is about.
        resource: String,
        /// What EC2 showed of it.
        found: String,
    },
    /// After a drift everything that could be put right was seen at the holder again.
    Repaired {
        /// The time since it was found, in milliseconds.
        took_ms: u64,
    },
    /// The holder is silent, and the cluster's policy leaves it to an operator to say whether it is taken over from. One row
    /// for each claim.
    Held {
        /// Whether that is so because it has been taken over from a short while ago.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cooling: bool,
        /// Whether that is so because many clusters suspect their holders at once. Then nobody need say anything.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        braked: bool,
        /// When the arbiter goes ahead by itself; none: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<WallTime>,
    },
    /// It was asked that the lease go to another node: by an operator, or for an instance that will be taken.
    Asked {
        /// The node that shall hold next; none: whichever is best.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<InstanceArn>,
        /// Who asked, and why.
        reason: String,
        /// Whether it is an operator's word that a silent holder be taken over from, which is not for the holder to obey.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failover: bool,
        /// When the wish ends by itself.
        until: WallTime,
        /// The request behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
    },
    /// That wish has ended, and the lease has not gone to another node.
    Lapsed {
        /// Who asked, and why.
        reason: String,
        /// The request behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
    },
    /// EC2 was seen to have stopped a node's instance.
    Fenced {
        /// The node.
        node: InstanceArn,
        /// What EC2 says of it: `stopped` or `terminated`.
        state: String,
        /// From the call until it was seen, in milliseconds.
        took_ms: u64,
        /// The operator's request behind it; none: the cluster asks for it before each takeover on silence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
    },
    /// A node could not be stopped, or was not seen to be: nobody takes over from it on silence in a cluster that asks for that.
    Unfenced {
        /// The node.
        node: InstanceArn,
        /// Why, and what to do.
        why: String,
        /// The operator's request behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
    },
    /// A resource could not be moved. The others are; attempts go on.
    Stuck {
        /// What it is about.
        resource: String,
        /// Why, and what to do.
        why: String,
    },
}

/// One row of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The cluster.
    pub cluster: ClusterName,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// When, by the clock of whoever writes.
    pub at: WallTime,
    /// Who writes: the function and its invocation.
    pub by: String,
    /// What happened.
    pub what: Happening,
}
