//! The record of every cluster, kept in DynamoDB, and its twin in memory.
//!
//! [`Store`] is the whole of what Baton does with the table. It has two implementations that one conformance
//! body keeps equal: [`DynamoStore`], which ships, and [`MemoryStore`], which the simulator and tests drive.
//! Every write is conditional, and every outcome is told apart: done, refused with what was found, conflict,
//! throttled, denied, missing, unknown. No method retries; whoever calls knows whether and when to ask again.

#![expect(
    clippy::result_large_err,
    reason = "a refused write hands over the lease it found, by value, once per call to the table; that costs \
              nothing beside the call, and a box would be in the way of everyone who looks at it"
)]

pub mod condition;
#[cfg(feature = "aws")]
mod dynamo;
#[cfg(feature = "aws")]
mod error;
#[cfg(feature = "aws")]
mod item;
pub mod key;
mod memory;
mod registration;
mod superseded;
#[cfg(test)]
mod testing;
mod wish;

use std::collections::BTreeMap;
use std::future::Future;

use baton_protocol::failback::Failback;
use baton_protocol::fence::Fencing;
use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::{Beat, Heartbeat};
use baton_protocol::history::{Event, Happening};
use baton_protocol::hook::Hook;
use baton_protocol::ids::{
    AllocationId, ClusterName, Epoch, Incarnation, InstanceArn, InstanceId, RegistrationUid, RequestId,
};
use baton_protocol::lease::{Lease, Member, Mode};
use baton_protocol::mark::Mark;
use baton_protocol::mutant;
use baton_protocol::outcome::{Failure, Read, Write, WriteFailure};
use baton_protocol::policy::Takeover;
use baton_protocol::probe::Probe;
use baton_protocol::request::Request;
use baton_protocol::resource::Resources;
use baton_protocol::restored::Restoration;
use baton_protocol::roster::{Change, Roster};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_protocol::wake::Why;

pub use baton_protocol::moved::Moved;
#[cfg(feature = "aws")]
pub use dynamo::DynamoStore;
pub use memory::MemoryStore;
pub use wish::hand_over_until;

/// A new run of an agent, announced by compare-and-swap on the incarnation that was read before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The incarnation found by a strong read; none: there was no item.
    pub expected: Option<Incarnation>,
    /// The incarnation of the new run.
    pub incarnation: Incarnation,
    /// Of the current boot.
    pub boot_id: String,
    /// The version of the agent.
    pub agent_version: String,
    /// TTL, as for a heartbeat.
    pub validity_ms: u64,
    /// When.
    pub at: WallTime,
}

/// What the registrar accepted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Registration {
    /// The cluster.
    pub cluster: ClusterName,
    /// Of this registration.
    pub uid: RegistrationUid,
    /// What a node does when it cannot confirm its lease.
    pub mode: Mode,
    /// Who decides that a silent holder is taken over from.
    pub takeover: Takeover,
    /// For how long after a takeover on silence there is no other by itself, in milliseconds.
    pub cool_down_ms: u64,
    /// What is done about a silent holder before it is taken over from.
    pub fencing: Fencing,
    /// Whether the lease goes back to a preferred node by itself.
    pub failback: Failback,
    /// The time budget.
    pub timing: Timing,
    /// The nodes.
    pub members: Vec<Member>,
    /// What must be at the holder.
    pub resources: Resources,
    /// By what the nodes are named, where that is a tag.
    pub roster: Option<Roster>,
    /// The revision that a change was made from, where what it leaves alone was copied from there; none: from no other.
    pub made_from: Option<u64>,
    /// When.
    pub at: WallTime,
    /// The row of the history that is written with it.
    pub event: Event,
}

impl Registration {
    /// The registration that stands in a lease, from which a part of it is to be changed.
    pub fn of(lease: &Lease, at: WallTime, event: Event) -> Self {
        Self {
            cluster: lease.cluster.clone(),
            uid: lease.uid.clone(),
            mode: lease.mode,
            takeover: lease.takeover,
            cool_down_ms: lease.cool_down_ms,
            fencing: lease.fencing,
            failback: lease.failback,
            timing: lease.timing,
            members: lease.members.clone(),
            resources: lease.resources.clone(),
            roster: lease.roster.clone(),
            made_from: Some(lease.revision),
            at,
            event,
        }
    }

    /// What makes these the members of a cluster whose nodes are named by a tag, and leaves all else as it was read.
    pub fn of_members(lease: &Lease, change: Change, by: &str, at: WallTime) -> Self {
        let Change { members, joined, retired, vpc } = change;
        let revision = lease.revision + 1;
        let what = Happening::Members { revision, joined, retired };
        let event = Event { cluster: lease.cluster.clone(), epoch: lease.epoch, at, by: by.to_owned(), what };
        let mut resources = lease.resources.clone();
        resources.choices.vpc = vpc.or(resources.choices.vpc);
        Self {
            members,
            resources,
            roster: lease.roster.clone().map(|roster| Roster { changed: at, ..roster }),
            made_from: Some(lease.revision).filter(|_| !mutant!(MembersOfOtherRevision)),
            ..Self::of(lease, at, event)
        }
    }

    /// Whether the lease holds what this asks for, so that to change it would change nothing.
    pub fn stands_in(&self, lease: &Lease) -> bool {
        registration::stands(lease, self)
    }
}

/// A row of the directory of clusters, by which the sweeper and events about instances find them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// The cluster.
    pub cluster: ClusterName,
    /// The instances of its members.
    pub instances: Vec<InstanceId>,
    /// The Auto Scaling group whose instances are its nodes, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Heartbeats by their nodes; those that have none are absent.
pub type Heartbeats = BTreeMap<InstanceArn, Heartbeat>;

/// No more terminations of one cluster's members than this are looked at.
pub const HOOKS: usize = 100;

/// Everything Baton does with the table.
pub trait Store: Send + Sync {
    // --- strongly consistent reads ---

    /// The lease; `None` where there is none, which says nothing about who may serve.
    fn lease(&self, cluster: &ClusterName) -> impl Future<Output = Read<Option<Lease>>> + Send;

    /// The lease, and along with it the heartbeats of several nodes, in one call where the table can do that. Each of them is as it
    /// was at some moment of the call, and not all at the same one. The heartbeats are `None` where they have not all been read, and
    /// then say nothing: whoever needs them asks for them.
    fn lease_along(
        &self,
        cluster: &ClusterName,
        _instances: &[InstanceArn],
    ) -> impl Future<Output = Read<(Option<Lease>, Option<Heartbeats>)>> + Send {
        async move { Ok((self.lease(cluster).await?, None)) }
    }

    /// One node's heartbeat.
    fn heartbeat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
    ) -> impl Future<Output = Read<Option<Heartbeat>>> + Send;

    /// The heartbeats of several nodes; those that have none are absent. All or nothing: a partial answer is
    /// a failure.
    fn heartbeats(
        &self,
        cluster: &ClusterName,
        instances: &[InstanceArn],
    ) -> impl Future<Output = Read<BTreeMap<InstanceArn, Heartbeat>>> + Send;

    /// Terminations of members that wait or have waited, at most [`HOOKS`]; each is forgotten after two days.
    fn hooks(&self, cluster: &ClusterName) -> impl Future<Output = Read<Vec<Hook>>> + Send;

    /// What the last probe found; `None` before the first.
    fn probe(&self, cluster: &ClusterName) -> impl Future<Output = Read<Option<Probe>>> + Send;

    /// The history, newest first, at most `limit` rows.
    fn history(&self, cluster: &ClusterName, limit: usize) -> impl Future<Output = Read<Vec<Event>>> + Send;

    /// The operators' requests, newest first, at most `limit`.
    fn requests(
        &self,
        cluster: &ClusterName,
        limit: usize,
    ) -> impl Future<Output = Read<Vec<Request>>> + Send;

    /// Every cluster that is not retired.
    fn clusters(&self) -> impl Future<Output = Read<Vec<Entry>>> + Send;

    // --- an agent's writes, to its own item only ---

    /// Announces a new run. Makes the item where there is none. Refused with what was found if another run
    /// came between.
    fn start(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        start: &Start,
    ) -> impl Future<Output = Write<Option<Heartbeat>>> + Send;

    /// W: writes a heartbeat if the incarnation is still the writer's and the number is larger than the
    /// stored one.
    fn beat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        beat: &Beat,
    ) -> impl Future<Output = Write<Option<Heartbeat>>> + Send;

    /// Swears never to serve `epoch` or an earlier one again, if the incarnation is still the writer's. A
    /// smaller epoch than the stored one changes nothing and is done.
    fn release(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        incarnation: &Incarnation,
        epoch: Epoch,
    ) -> impl Future<Output = Write<Option<Heartbeat>>> + Send;

    /// Leaves a wake item, which the table's stream turns into an invocation of the arbiter.
    fn leave_wake(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        why: Why,
        at: WallTime,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    // --- the arbiter's writes ---

    /// Commits a grant in one transaction.
    fn commit(&self, grant: &Grant) -> impl Future<Output = Result<Committed, Failure>> + Send;

    /// Lets the lease of a restored table begin anew, held by nobody, in one transaction: if it is still the one that was read,
    /// and none of its nodes has written a heartbeat since.
    fn restore(&self, restoration: &Restoration) -> impl Future<Output = Result<Committed, Failure>> + Send;

    /// Records what `epoch` marks an address with, if the epoch is still current; unless the mark replaces whatever there
    /// is, only if the epoch has marked the address with nothing yet.
    fn record_rotation(
        &self,
        cluster: &ClusterName,
        epoch: Epoch,
        allocation: &AllocationId,
        mark: &Mark,
    ) -> impl Future<Output = Write<Option<Lease>>> + Send;

    /// Records a completed move, if its epoch and configuration are still current and nobody else has recorded it.
    fn record_moved(
        &self,
        cluster: &ClusterName,
        moved: &Moved,
    ) -> impl Future<Output = Write<Option<Lease>>> + Send;

    /// Appends a row to the history, and says whether it was not there yet. A row that is there already is done.
    fn append(&self, event: &Event) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Keeps a termination that waits. One that is there already stays as it is, ended or not.
    fn record_hook(
        &self,
        cluster: &ClusterName,
        hook: &Hook,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Keeps that a termination waits no more, and why.
    fn end_hook(
        &self,
        cluster: &ClusterName,
        hook: &Hook,
        why: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Ends an operator's word that a node be stopped, if the lease still carries the one of this request.
    fn end_fence(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Counts this cluster among those that suspect their holders at this moment, and tells how many do, in this span or the
    /// one before.
    fn suspect(
        &self,
        cluster: &ClusterName,
        at: WallTime,
    ) -> impl Future<Output = Result<u32, Failure>> + Send;

    /// Keeps what a probe has found, in the place of what the last one did. Two at once may leave the older one there; the
    /// next one comes within the hour.
    fn record_probe(
        &self,
        cluster: &ClusterName,
        probe: &Probe,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Records what became of a request. The first answer stands: another one is refused with it, and the same again is done.
    /// Refused with nothing where there is no such request.
    fn answer(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
        answer: &str,
    ) -> impl Future<Output = Write<Option<String>>> + Send;

    // --- operators' writes ---

    /// Writes a request and what of the lease carries it, in one transaction. Refused
    /// with what was found where there is no lease or the request's id is taken.
    fn ask(&self, request: &Request) -> impl Future<Output = Write<Option<Lease>>> + Send;

    // --- the registrar's writes; the arbiter changes members ---

    /// Registers a cluster: makes its lease, or takes up a retired one at its next epoch with its last
    /// holder. A repeat of the same registration (equal uid) is done. Refused with what was found where
    /// another registration is active.
    fn register(&self, registration: &Registration) -> impl Future<Output = Write<Option<Lease>>> + Send;

    /// Changes a registration, its members included, if its uid is still the registered one, its holder is still `holder`, and its revision is
    /// the one that the change was made from, if it was made from one.
    fn reconfigure(
        &self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> impl Future<Output = Write<Option<Lease>>> + Send;

    /// Retires a registration, if its uid is still the registered one. The lease stays; addresses stay.
    fn retire(
        &self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> impl Future<Output = Write<Option<Lease>>> + Send;
}

/// DynamoDB reads at most so many items at once, so a cluster has at most so many nodes.
const LARGEST_BATCH: usize = 100;

fn refuse_too_many(items: usize) -> Result<(), Failure> {
    if items <= LARGEST_BATCH {
        return Ok(());
    }
    Err(Failure::Invalid(format!("expected at most {LARGEST_BATCH} items in one read, found {items}")))
}

/// Whether there are heartbeats to read along with the lease, and not too many.
fn fit_beside_the_lease(instances: &[InstanceArn]) -> bool {
    (1..LARGEST_BATCH).contains(&instances.len())
}

/// Whether an outcome says that nothing was applied.
pub fn was_not_applied<F>(outcome: &Write<F>) -> bool {
    !matches!(outcome, Ok(()) | Err(WriteFailure::Failed(Failure::Unknown(_))))
}
