//! Deliberate faults, one at a time, and the walk that finds each.
//!
//! A walk that has never found anything proves little. Each of these takes one condition out of the code that ships, and a
//! rule has to break. The spaces are the smallest that have room for the fault to show itself.

use baton_protocol::mutant::Mutant;
use serde::Serialize;

use crate::bounds::{Allowance, Bounds, Start};
use crate::walk::{Manner, walk};

/// What came of one fault.
#[derive(Debug, Clone, Serialize)]
pub struct Hunted {
    /// The fault's id.
    pub id: &'static str,
    /// What is wrong while it is switched on.
    pub what: &'static str,
    /// Whether a rule broke.
    pub killed: bool,
    /// Whether the last space was walked to its end, as it is where no rule broke.
    pub exhausted: bool,
    /// The rule.
    pub property: Option<&'static str>,
    /// The length of the path that broke it, in steps.
    pub depth: usize,
    /// That path.
    pub trace: Vec<String>,
}

/// What came of all of them.
#[derive(Debug, Clone, Serialize)]
pub struct Hunt {
    /// Each fault.
    pub mutants: Vec<Hunted>,
}

impl Hunt {
    /// Whether every fault was found.
    pub fn all_are_killed(&self) -> bool {
        !self.mutants.is_empty() && self.mutants.iter().all(|mutant| mutant.killed)
    }
}

/// From a node that serves, one fault of the world is enough for most, and two for the rest.
const SERVING: &[Bounds] =
    &[Bounds::counted(2, 3, Start::Serving, 1), Bounds::counted(2, 3, Start::Serving, 2)];
/// Where the cluster is turned to available mode and back.
const TURNED: &[Bounds] = &[Bounds::counted(2, 2, Start::Serving, 1).with_turns(2)];
/// Where two invocations decide at one time.
const DECIDED_TWICE: &[Bounds] = &[Bounds::quiet(2, 3, Start::Registered).with_decisions(2)];
/// Where more than two things go wrong, but no agent is frozen.
const AWAKE: &[Bounds] = &[Bounds {
    freezes: Allowance::Never,
    losses: Allowance::Never,
    ..Bounds::counted(2, 2, Start::Serving, 3)
}];

/// The faults that these spaces have room for, each with the spaces to look in, smallest first. Others need more epochs, more
/// writes that come late, unhealthy nodes or an address; they are for the simulator to find.
const HUNTED: &[(Mutant, &[Bounds])] = &[
    (Mutant::CommitWithoutSeq, SERVING),
    (Mutant::CommitWithoutEpoch, DECIDED_TWICE),
    (Mutant::ReadBeforeWrite, SERVING),
    (Mutant::ValidityFromReply, SERVING),
    (Mutant::SilenceIsValidity, SERVING),
    (Mutant::NoDeadMan, SERVING),
    (Mutant::ResumeOnRead, SERVING),
    (Mutant::ExtendOnUnknown, SERVING),
    (Mutant::ReleaseBeforeDemote, SERVING),
    (Mutant::LatePromote, SERVING),
    (Mutant::SilenceFromRequest, SERVING),
    (Mutant::StrictServesOn, SERVING),
    (Mutant::ReleaseWithoutIncarnation, AWAKE),
    (Mutant::OathUnread, SERVING),
    (Mutant::UnguardedUntold, TURNED),
    (Mutant::CommitAnyRevision, TURNED),
    (Mutant::DisarmEarly, SERVING),
    (Mutant::AnyClaim, TURNED),
];

/// Looks for each fault, or for one.
pub fn hunt(only: Option<&str>, manner: Manner) -> Hunt {
    let wanted = |mutant: Mutant| only.is_none_or(|id| mutant.id() == id);
    let hunted = HUNTED.iter().filter(|(mutant, _)| wanted(*mutant));
    Hunt { mutants: hunted.map(|(mutant, spaces)| find(*mutant, spaces, manner)).collect() }
}

/// Looks for one fault, in one space after another until it is found.
fn find(mutant: Mutant, spaces: &[Bounds], manner: Manner) -> Hunted {
    let mut hunted = Hunted {
        id: mutant.id(),
        what: mutant.what(),
        killed: false,
        exhausted: false,
        property: None,
        depth: 0,
        trace: Vec::new(),
    };
    mutant.switch_on();
    for bounds in spaces {
        let report = walk(mutant.id(), *bounds, Manner { tell: false, ..manner });
        hunted.exhausted = report.exhausted;
        if let Some(violation) = report.violations.into_iter().min_by_key(|violation| violation.trace.len()) {
            hunted.killed = true;
            hunted.property = Some(violation.property);
            hunted.depth = violation.trace.len();
            hunted.trace = violation.trace;
            break;
        }
    }
    Mutant::switch_off();
    if manner.tell {
        eprintln!(
            "{} {}: {} ({} steps)",
            hunted.id,
            hunted.what,
            hunted.property.unwrap_or("NOT FOUND"),
            hunted.depth
        );
    }
    hunted
}
