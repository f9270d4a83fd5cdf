//! What a space is bounded by.

use serde::Serialize;

/// Whether a fault of some kind may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowance {
    /// Not at all.
    Never,
    /// It is one of the faults that a path may have.
    Counted,
    /// As often as it can.
    Always,
}

/// Where a space begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The cluster was just registered, and no agent has begun.
    Registered,
    /// One node serves at the first epoch, and all others stand by.
    Serving,
}

/// The bounds of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// The nodes of the cluster.
    pub nodes: usize,
    /// The last epoch that is granted.
    pub epochs: u64,
    /// Where it begins.
    pub start: Start,
    /// Decisions that wait for their commit at one time.
    pub decisions: usize,
    /// How often the cluster is turned from strict to available mode or back.
    pub turns: u64,
    /// The most faults on a path, of all kinds that are counted.
    pub faults: u8,
    /// Agents die, and are begun again sooner or later. Machines go down, with their service.
    pub crashes: Allowance,
    /// Agents are asked to hand over and end.
    pub handovers: Allowance,
    /// Agents are frozen, for one quantum or any number of them.
    pub freezes: Allowance,
    /// Requests and answers are lost.
    pub losses: Allowance,
    /// Writes are given up while they are under way, one at a time, and applied at any later time or never.
    pub late: Allowance,
}

impl Bounds {
    /// No fault at all.
    pub const fn quiet(nodes: usize, epochs: u64, start: Start) -> Self {
        let none = Allowance::Never;
        let (crashes, handovers, freezes, losses, late) = (none, none, none, none, none);
        Self {
            nodes,
            epochs,
            start,
            decisions: 1,
            turns: 0,
            faults: 0,
            crashes,
            handovers,
            freezes,
            losses,
            late,
        }
    }

    /// Faults of every kind in any combination, so many in all.
    pub const fn counted(nodes: usize, epochs: u64, start: Start, faults: u8) -> Self {
        let all = Allowance::Counted;
        let (crashes, handovers, freezes, losses, late) = (all, all, all, all, all);
        Self { faults, crashes, handovers, freezes, losses, late, ..Self::quiet(nodes, epochs, start) }
    }

    /// The same with room for so many decisions at one time.
    pub const fn with_decisions(self, decisions: usize) -> Self {
        Self { decisions, ..self }
    }

    /// The same with so many changes of the mode.
    pub const fn with_turns(self, turns: u64) -> Self {
        Self { turns, ..self }
    }

    /// Whether a path that had `spent` faults may have one of a kind with this allowance.
    pub fn allow(&self, kind: Allowance, spent: u8) -> bool {
        match kind {
            Allowance::Never => false,
            Allowance::Counted => spent < self.faults,
            Allowance::Always => true,
        }
    }
}

impl Allowance {
    /// Counts a fault, if its kind is counted. A kind that is not makes no states of its own.
    pub fn spend(self, spent: &mut u8) {
        if self == Self::Counted {
            *spent += 1;
        }
    }
}
