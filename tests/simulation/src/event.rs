//! What is scheduled.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_protocol::arbiter::{Action, Hint};
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::grant::Committed;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::{AllocationId, Epoch, InstanceArn};
use baton_protocol::lease::Lease;
use baton_protocol::node::{Command, HookOutcome};
use baton_protocol::outcome::{Failure, Read, Write};
use baton_protocol::request::Request;
use baton_store::Registration;

use crate::clock::Real;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A machine starts.
    Boot { machine: usize },
    /// The agent's process starts.
    StartAgent { machine: usize, boot: u32 },
    /// A node's deadline.
    Timer { machine: usize, run: u32 },
    /// A node's request reaches the table. Without a moment for its answer nobody waits for one.
    Apply { machine: usize, run: u32, command: Box<Command>, answer_at: Option<Real>, timeout_at: Real },
    /// And a neighbour's heartbeats are read, in the same call as the lease.
    ReadAlong { machine: usize, run: u32, asked: Vec<InstanceArn> },
    /// The node learns what came of it.
    Answer { machine: usize, run: u32, answer: Box<Answer> },
    /// A hook ends.
    Hook { machine: usize, number: u32, outcome: HookOutcome },
    /// The dead-man looks at the clock.
    DeadMan { machine: usize },
    /// It has stopped the service.
    DeadManDone { machine: usize, boot: u32 },
    /// The checks speak.
    Health { machine: usize },
    /// A function is to start.
    Invoke { hint: Hint, retry: u32 },
    /// A function's request reaches the table, or its question EC2.
    FunctionApply { function: usize, action: Box<Action>, answer_at: Option<Real>, sent: Real },
    /// The function learns what came of it.
    FunctionAnswer { function: usize, answer: Box<FunctionAnswer> },
    /// A function's deadline.
    FunctionTimer { function: usize },
    /// A call reaches EC2.
    Land { function: usize, call: Box<Call>, answer_at: Option<Real>, origin: Origin },
    /// A function's request for a failback reaches the table.
    AskForFailback(Box<Request>),
    /// An invocation looks who carries the tag that names the nodes, having read this lease.
    Muster { judged: Box<Lease> },
    /// What follows reaches the table, if this holder still holds: it was judged at this revision.
    Members { registration: Box<Registration>, holder: Option<InstanceArn>, revision: u64 },
    /// The sweep comes.
    Sweep,
    /// An operator looks at the cluster.
    Person,
    /// A fault of the plan begins.
    FaultBegins(usize),
    /// And ends.
    FaultEnds(usize),
    /// A machine is to stand still, and its clock with it.
    Pause { machine: usize },
    /// A suspended machine has gone on.
    Resumes { machine: usize },
    /// An instance that is terminated is to be replaced by another.
    Replace { machine: usize },
    /// An instance that is being stopped has stopped.
    Stopped { machine: usize },
    /// Somebody starts an instance that was stopped.
    StartedAgain { machine: usize },
    /// Whether all is well is looked at.
    Verdict,
}

/// Where a call to EC2 comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The epoch that its caller believed in.
    pub(crate) epoch: Epoch,
    /// When its caller began.
    pub(crate) began: Real,
    /// When it was sent.
    pub(crate) sent: Real,
}

/// What a node is told.
#[derive(Debug)]
pub(crate) enum Answer {
    Own(Read<Option<Heartbeat>>),
    Announced(Write<Option<Heartbeat>>),
    Beat(Write<Option<Heartbeat>>),
    Lease(Read<Option<Arc<Lease>>>),
    Heartbeats(Read<BTreeMap<InstanceArn, Heartbeat>>),
    Released(Write<Option<Heartbeat>>),
    Told,
}

impl Answer {
    /// The answer to a command that brought none.
    pub(crate) fn failed(command: &Command, failure: Failure) -> Self {
        match command {
            Command::ReadOwn => Self::Own(Err(failure)),
            Command::Announce { .. } => Self::Announced(Err(failure.into())),
            Command::Beat(_) => Self::Beat(Err(failure.into())),
            Command::ReadLease => Self::Lease(Err(failure)),
            Command::ReadHeartbeats(_) => Self::Heartbeats(Err(failure)),
            Command::Release { .. } => Self::Released(Err(failure.into())),
            _ => Self::Told,
        }
    }
}

/// What a function is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lies in a box from its making to its end")]
pub(crate) enum FunctionAnswer {
    Lease(Read<Option<Arc<Lease>>>, Real),
    Heartbeats(Read<BTreeMap<InstanceArn, Heartbeat>>),
    Counted(Result<u32, Failure>),
    Committed(Result<Committed, Failure>),
    Sight(Look, Result<Sight, CloudFailure>),
    Effect(Call, Result<Effect, CloudFailure>),
    Rotation(AllocationId, bool),
    Moved(Write<Option<Lease>>),
    Told,
}

impl FunctionAnswer {
    /// The answer to an action that brought none.
    pub(crate) fn failed(action: &Action, sent: Real, failure: Failure) -> Self {
        match action {
            Action::ReadLease => Self::Lease(Err(failure), sent),
            Action::ReadHeartbeats(_) => Self::Heartbeats(Err(failure)),
            Action::CountSuspects => Self::Counted(Err(failure)),
            Action::Commit(_) => Self::Committed(Err(failure)),
            Action::RecordRotation { allocation, .. } => Self::Rotation(allocation.clone(), false),
            Action::RecordMoved(_) => Self::Moved(Err(failure.into())),
            Action::Look(look) => {
                Self::Sight(look.clone(), Err(CloudFailure::Unknown("no answer".to_owned())))
            }
            _ => Self::Told,
        }
    }
}
