//! What goes wrong, as data: which kind, whom it strikes, from when until when.

use serde::Serialize;

use crate::clock::Real;

/// Whom a fault strikes, resolved when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The machine that the lease names then.
    Holder,
    /// A machine that it does not name.
    Standby,
    /// This machine.
    Machine(usize),
    /// The whole cluster, or the cloud.
    Everybody,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The machine loses its power, and boots at the end.
    PowerLoss,
    /// EC2 terminates the instance.
    Terminate,
    /// The agent's process dies, and is started again at the end.
    AgentCrash,
    /// The agent's process stands still, as after SIGSTOP. What is below it goes on.
    AgentFreeze,
    /// The machine stands still, and its clock does not show it.
    HiddenPause,
    /// The machine is suspended, as in a hibernation; its clock shows it.
    Suspend,
    /// Requests of the node do not reach the table, nor answers the node.
    Partition,
    /// Requests reach the table, answers get lost.
    AnswersLost,
    /// The node's reads fail and its writes succeed.
    ReadBlind,
    /// The node's calls take about as long as they may.
    SlowTable,
    /// Writes of the node arrive long after it has given them up.
    LateWrites,
    /// The node's wakes do not reach the bus.
    BusCut,
    /// The service's checks fail.
    Unhealthy,
    /// The instance's metadata says that it is about to be taken, and it is not taken in the end.
    Notice,
    /// The promote hook fails.
    PromoteFails,
    /// The promote hook hangs.
    PromoteHangs,
    /// The demote hook hangs.
    DemoteHangs,
    /// The dead-man cannot be armed.
    ArmFails,
    /// Nothing can be kept for the next run of the agent.
    DiskFull,
    /// The heartbeat item is lost, as by an operator's hand.
    ItemLost,
    /// The agent is asked to end, and is started again at the end.
    Shutdown,
    /// The table answers nobody.
    TableDown,
    /// The table throttles.
    TableThrottled,
    /// Writes meet transactions.
    Conflicts,
    /// Events get lost.
    EventsLost,
    /// Events come twice and late, out of order.
    EventsLate,
    /// Functions do not start.
    FunctionsDown,
    /// Functions are killed at any step.
    FunctionsKilled,
    /// Functions stand still between two steps.
    FunctionsSlow,
    /// Functions do not reach the table.
    FunctionsCut,
    /// EC2 throttles.
    Ec2Throttled,
    /// EC2 answers nobody.
    Ec2Down,
    /// EC2's answers are old.
    Ec2Stale,
    /// Calls to EC2 land after their caller gave up.
    Ec2Late,
    /// Calls to EC2 are done and their answers lost.
    Ec2AnswersLost,
    /// A foreign address sits where one of the cluster belongs.
    SeatTaken,
    /// Somebody else moves a resource of the cluster.
    Drift,
    /// An operator asks for a switchover.
    Switchover,
    /// An operator pauses the cluster.
    Pause,
    /// The registrar accepts another timing.
    Timing,
    /// The registrar accepts another mode.
    Mode,
    /// The cluster is retired, and registered again at the end.
    Retire,
    /// An old wake arrives once more.
    Replay,
}

/// One fault of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    /// Whom it strikes.
    pub whom: Whom,
    /// When it begins.
    pub from: Real,
    /// When it ends.
    pub until: Real,
}

impl Kind {
    /// Whether it strikes one machine.
    pub fn is_of_a_machine(self) -> bool {
        self < Self::TableDown
    }

    /// Whether a holder that is struck may lose the lease for it. No other fault is a reason to depose anybody.
    pub fn warrants_a_grant(self) -> bool {
        !matches!(self, Self::BusCut | Self::DiskFull)
            && (self.is_of_a_machine()
                || matches!(self, Self::TableDown | Self::TableThrottled | Self::Conflicts))
            || matches!(self, Self::Mode | Self::Retire)
    }

    /// The name by which reports list it.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}
