//! What a node asks its driver to do, and what it is told in return.

use serde::{Deserialize, Serialize};

use crate::heartbeat::Beat;
use crate::ids::{Epoch, Incarnation, InstanceArn};
use crate::time::{BootTime, WallTime};
use crate::wake::Why;

/// What to do. Commands to the table are answered through the `handle_*` method named with each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Read the own heartbeat item. Answer: [`super::Node::handle_own`].
    ReadOwn,
    /// Announce this run by compare-and-swap. Answer: [`super::Node::handle_announced`].
    Announce {
        /// The incarnation found; none: there was no item.
        expected: Option<Incarnation>,
        /// TTL to publish.
        validity_ms: u64,
    },
    /// W. Answer: [`super::Node::handle_beat`].
    Beat(Box<Beat>),
    /// R. Answer: [`super::Node::handle_lease`].
    ReadLease,
    /// Read these members' heartbeats. Answer: [`super::Node::handle_heartbeats`].
    ReadHeartbeats(Vec<InstanceArn>),
    /// Write the oath. Answer: [`super::Node::handle_released`].
    Release {
        /// The epoch never to be served again.
        epoch: Epoch,
    },
    /// Leave a wake item in the table. No answer.
    LeaveWake(Why),
    /// Send a wake event. No answer.
    Wake(Why),
    /// Tell the dead-man until when the service may run. Ordered before the promote that depends on it. No answer.
    Arm {
        /// The epoch.
        epoch: Epoch,
        /// When the service must be stopped without the agent's help.
        valid_until: BootTime,
    },
    /// Tell the dead-man that there is nothing to guard. No answer.
    Disarm,
    /// Start the service; in strict mode only under a living dead-man. Answer: [`super::Node::handle_promoted`].
    Promote {
        /// The epoch, the fencing token for whatever the hook talks to.
        epoch: Epoch,
        /// Whether the dead-man must guard it.
        guarded: bool,
    },
    /// Stop the service, by the hook and, where that fails, by force. Answer: [`super::Node::handle_demoted`].
    Demote {
        /// The epoch it ran at; none at the start of a run that found nothing to adopt.
        epoch: Option<Epoch>,
        /// Why.
        reason: Reason,
    },
    /// Keep this for the next run in the same boot, durably before the next command. No answer.
    Persist(RunState),
    /// End the agent. The last command.
    Exit(Exit),
}

/// Why a service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The run starts and has nothing to adopt, so nothing may be running.
    Start,
    /// The budget ended without a confirmed heartbeat.
    SelfFence,
    /// The lease names another holder.
    Deposed,
    /// The promote hook failed.
    PromoteFailed,
    /// An operator, or the arbiter, asked the holder to hand over.
    Intent,
    /// The checks say that this node cannot serve, and another could.
    Unhealthy,
    /// This instance is about to be taken, and another node could serve.
    Leaving,
    /// The agent ends in order.
    Shutdown,
    /// Another agent took over this node's heartbeat item.
    Usurped,
}

impl Reason {
    /// The word that hooks, logs and history use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::SelfFence => "self-fence",
            Self::Deposed => "deposed",
            Self::PromoteFailed => "promote-failed",
            Self::Intent => "intent",
            Self::Unhealthy => "unhealthy",
            Self::Leaving => "leaving",
            Self::Shutdown => "shutdown",
            Self::Usurped => "usurped",
        }
    }
}

/// How a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookOutcome {
    /// As it should.
    Done,
    /// With an error, or not in time. After a failed demote the driver has stopped the service by force.
    Failed,
}

/// What one run leaves for the next in the same boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// The epoch at which a service runs.
    pub serving: Option<Epoch>,
    /// Since when, for people.
    pub serving_since: Option<WallTime>,
    /// When its budget ends.
    pub valid_until: Option<BootTime>,
    /// Whether the end of that budget stops it.
    pub guarded: bool,
    /// The oath.
    pub released: Epoch,
    /// The latest epoch that was read: none before it is served. Earlier versions of the agent do not tell it.
    #[serde(default)]
    pub known: Epoch,
}

/// Why the agent ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// As it was asked to.
    Orderly,
    /// The node's heartbeat item belongs to another run of an agent, or is gone: start anew.
    Usurped(String),
}
