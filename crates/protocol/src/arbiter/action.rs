//! What an invocation asks its driver to do, and what it reports in the end.

use crate::decide::Stay;
use crate::ec2::{Call, Look};
use crate::grant::Grant;
use crate::history::Event;
use crate::ids::{AllocationId, ClusterName, Epoch, InstanceArn, RequestId};
use crate::mark::Mark;
use crate::moved::Moved;
use crate::restored::Restoration;
use crate::wake::{Wake, Why};

/// What a wake told: where to look. It decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The cluster.
    pub cluster: ClusterName,
    /// Why it was woken, where the wake said so; for people, and for how much is written down.
    pub why: Option<Why>,
    /// Whether an event spoke of a member's instance, so that EC2 is worth asking about the holder.
    pub maybe_gone: bool,
    /// Whether somebody may have moved a resource, so that EC2 is worth asking where they are although the move is done.
    pub maybe_moved: bool,
}

impl Hint {
    /// From a wake. The sweep also comes for holders that have been quiet for long, whose own event may have been lost. An
    /// operator may have ended a pause in which something was moved by hand, and a holder may miss an address or see it elsewhere.
    pub fn of_wake(wake: Wake) -> Self {
        let maybe_gone = matches!(wake.why, Why::Sweep | Why::Verify | Why::Probe | Why::Failback);
        let maybe_moved = matches!(
            wake.why,
            Why::Verify | Why::Probe | Why::Failback | Why::Request | Why::Missing | Why::Misplaced
        );
        Self { cluster: wake.cluster, why: Some(wake.why), maybe_gone, maybe_moved }
    }

    /// From an item of the table's stream that asks for attention.
    pub fn of_stream(cluster: ClusterName) -> Self {
        Self { cluster, why: None, maybe_gone: false, maybe_moved: false }
    }

    /// From an event about an instance of this cluster.
    pub fn of_instance(cluster: ClusterName) -> Self {
        Self { cluster, why: None, maybe_gone: true, maybe_moved: false }
    }

    /// From an event about a resource of this cluster, or about what one leads to.
    pub fn of_resource(cluster: ClusterName) -> Self {
        Self { cluster, why: None, maybe_gone: false, maybe_moved: true }
    }
}

/// What to do. Each is answered through the `handle_*` method named with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer: [`super::Invocation::handle_lease`].
    ReadLease,
    /// Answer: [`super::Invocation::handle_heartbeats`].
    ReadHeartbeats(Vec<InstanceArn>),
    /// Count this cluster among those that suspect their holders. Answer: [`super::Invocation::handle_counted`].
    CountSuspects,
    /// Answer: [`super::Invocation::handle_committed`].
    Commit(Box<Grant>),
    /// Let the lease of a restored table begin anew. Answer: [`super::Invocation::handle_restored`].
    Restore(Box<Restoration>),
    /// Answer: [`super::Invocation::handle_sight`].
    Look(Look),
    /// Answer: [`super::Invocation::handle_effect`].
    Call(Call),
    /// Answer: [`super::Invocation::handle_rotation_recorded`].
    RecordRotation {
        /// The epoch; the condition of the write.
        epoch: Epoch,
        /// The address.
        allocation: AllocationId,
        /// What is recorded of it. A mark that replaces none is written only if there is none.
        mark: Mark,
    },
    /// Answer: [`super::Invocation::handle_moved_recorded`].
    RecordMoved(Moved),
    /// Append to the history. Answer: [`super::Invocation::handle_told`].
    Append(Box<Event>),
    /// Answer an operator's request. Answer: [`super::Invocation::handle_told`].
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: String,
    },
    /// End an operator's word that a node be stopped, if it is this request's. Answer: [`super::Invocation::handle_told`].
    EndFence(RequestId),
    /// Wake another invocation for this cluster. Answer: [`super::Invocation::handle_told`].
    WakeSuccessor,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every resource was seen at the holder, and that is recorded.
    Moved,
    /// Every resource was seen where it was recorded to be.
    InPlace,
    /// Some resources cannot be moved, each with its reason; all others were.
    Stuck(Vec<(String, String)>),
    /// Time ran out with work left. A successor was woken by whoever granted, or continues a grant's chain; the
    /// sweep comes by itself.
    HandedOn,
    /// Nothing was to be done, or nothing could be.
    Stayed(Stay),
    /// Another invocation was quicker; the conditions that were lost.
    Superseded(Vec<String>),
    /// The table never said whether the grant was committed. The next invocation reads what became of it.
    CommitUnknown,
    /// The cluster was never registered.
    NoSuchCluster,
    /// The lease was written by a newer version, which this one must not touch.
    NewerSchema(u32),
    /// The lease asks for rules that this version does not know; it would misread it.
    NewerRules(u32),
    /// The table refused to work with us.
    Failed(String),
}

/// The end of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The epoch it granted, if it did.
    pub granted: Option<Epoch>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why a silent holder could not be fenced, where that was tried and nobody could take over for it.
    pub unfenced: Option<String>,
}
