//! What must hold in every state, and what must be met on the way.

use std::sync::atomic::{AtomicU64, Ordering};

/// What must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// At most one node serves.
    OneServes,
    /// The epoch grows by one with each grant.
    EpochGrows,
    /// A grant is made only when the old holder does not serve and cannot resume.
    GrantIsSafe,
    /// No node serves an epoch it swore never to serve.
    OathHolds,
    /// Promote and demote alternate.
    HooksAlternate,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 5] =
        [Self::OneServes, Self::EpochGrows, Self::GrantIsSafe, Self::OathHolds, Self::HooksAlternate];

    /// The rule as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OneServes => "at most one node serves",
            Self::EpochGrows => {
                "the epoch grows by one with each grant, and the holder changes with it alone"
            }
            Self::GrantIsSafe => "a grant is made only when the old holder is not serving and cannot resume",
            Self::OathHolds => "no node serves an epoch it swore never to serve",
            Self::HooksAlternate => "promote and demote alternate",
        }
    }
}

/// What must be met at least once, or the space is poorer than it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Met {
    /// The first grant.
    Vacancy,
    /// A takeover on silence.
    Silence,
    /// A takeover on release.
    Release,
    /// The same, back to the node that released.
    Back,
    /// A service resumes in its epoch after a self-fence.
    Resume,
    /// A run adopts the service of an earlier one.
    Adoption,
    /// A grant that was decided on an older table is refused.
    StaleCommit,
    /// A write is applied after its sender gave it up.
    LateApplied,
    /// A write is refused after its sender gave it up.
    LateRefused,
    /// The dead-man stops a service.
    DeadMan,
    /// The table is told that nothing guards a service.
    Unguarded,
    /// A guard is put behind a service again.
    GuardedAgain,
}

impl Met {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Vacancy,
        Self::Silence,
        Self::Release,
        Self::Back,
        Self::Resume,
        Self::Adoption,
        Self::StaleCommit,
        Self::LateApplied,
        Self::LateRefused,
        Self::DeadMan,
        Self::Unguarded,
        Self::GuardedAgain,
    ];

    /// What was met, as a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Vacancy => "a vacant lease is granted",
            Self::Silence => "a silent holder is deposed",
            Self::Release => "a released lease is granted",
            Self::Back => "a released lease goes back to its releaser",
            Self::Resume => "a service resumes in its epoch after a self-fence",
            Self::Adoption => "a restarted agent adopts the service that runs",
            Self::StaleCommit => "a grant decided on an older table is refused",
            Self::LateApplied => "a write that was given up is applied",
            Self::LateRefused => "a write that was given up is refused",
            Self::DeadMan => "the dead-man stops a service",
            Self::Unguarded => "a heartbeat says that nothing guards its service",
            Self::GuardedAgain => "a service that nothing guarded is guarded again",
        }
    }
}

/// What was met so far. Kept beside the states: it says something of steps, and to tell states apart by the steps that led
/// to them would make several of each.
#[derive(Debug, Default)]
pub struct Encounters(AtomicU64);

impl Encounters {
    /// Notes that this was met.
    pub fn meet(&self, what: Met) {
        let bit = 1 << (what as u8);
        if self.0.load(Ordering::Relaxed) & bit == 0 {
            self.0.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether this was met.
    pub fn met(&self, what: Met) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << (what as u8)) != 0
    }
}
