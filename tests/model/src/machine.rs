//! One machine: an agent that may be dead or frozen, the service below it, and the dead-man that needs neither.

use std::sync::Arc;

use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::Epoch;
use baton_protocol::node::{Node, RunState};
use baton_protocol::outcome::Write;
use baton_protocol::time::BootTime;

use crate::table::{Sent, Table};

/// A machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The agent's run, if one is under way.
    pub agent: Option<Agent>,
    /// The number of the last run.
    pub run: u64,
    /// What the last run of this boot kept for the next.
    pub kept: Option<RunState>,
    /// The epoch of the service, from the beginning of its promote hook until it is really down.
    pub up: Option<Epoch>,
    /// The last hook, and whether it has ended.
    pub hooks: Hooks,
    /// When the dead-man stops the service.
    pub armed: Option<BootTime>,
    /// Whether the agent stands still. The dead-man does not.
    pub frozen: Frozen,
    /// The epoch that ended with a self-fence last. Only to know a resumption when it comes, so it makes no other state.
    pub fenced: Option<Epoch>,
}

/// Whether an agent stands still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Frozen {
    /// It does not.
    #[default]
    No,
    /// Since this quantum, and into the next.
    Now,
    /// Since an earlier quantum, so it may go on.
    Long,
}

/// How far hooks have come. What an earlier run did with them, a run does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hooks {
    /// This run has not run any.
    #[default]
    None,
    /// The promote hook runs.
    Promoting,
    /// It has ended.
    Promoted,
    /// The demote hook runs.
    Demoting,
    /// It has ended.
    Demoted,
}

/// A run of an agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The machine that decides, which is the one that ships.
    pub node: Node,
    /// Calls to the table that the node waits for.
    pub calls: Vec<Arc<Call>>,
    /// Whether a quantum has ended since the hook that runs began; none: no hook runs.
    pub hook: Option<bool>,
}

/// A call to the table that its agent waits for.
#[expect(clippy::large_enum_variant, reason = "each stands behind an `Arc` already")]
#[derive(Debug, Clone)]
pub enum Call {
    /// A write on its way.
    Sent(Sent),
    /// A write that was applied or refused, and the answer on its way back.
    Written(Kind, Write<Option<Heartbeat>>),
    /// A read that saw this table, and the answer on its way back. A read sees the table when it is sent. That it could be
    /// under way for some time before changes nothing: the answer that it follows could as well have come later.
    Read(Asked, Arc<Table>),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The announcement of a run.
    Announce,
    /// W.
    Beat,
    /// The oath.
    Release,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The own heartbeat item.
    Own,
    /// R.
    Lease,
    /// The holder's heartbeat.
    Holder,
}

impl Sent {
    /// What is written.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Announce(_) => Kind::Announce,
            Self::Beat(_) => Kind::Beat,
            Self::Release(_) => Kind::Release,
        }
    }
}

impl Machine {
    /// Whether the agent has nothing to do before more time passes. Calls are answered or given up within a quantum, and
    /// hooks end within two; only a frozen agent sees more time pass.
    pub fn is_at_rest(&self) -> bool {
        self.frozen != Frozen::No
            || self.agent.as_ref().is_none_or(|agent| agent.calls.is_empty() && agent.hook != Some(true))
    }

    /// The agent ends. The service and the dead-man stay as they are.
    pub fn end_agent(&mut self) {
        self.agent = None;
        self.frozen = Frozen::No;
        self.hooks = Hooks::None;
    }
}
