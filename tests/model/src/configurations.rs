//! The spaces that are walked, with what bounds each.
//!
//! In the first two everything that can go wrong does so in every combination, up to a number of faults. A counter of faults
//! makes several states of one, so the others have none: there one kind of fault may happen without end.

use crate::bounds::{Allowance, Bounds, Start};

/// The spaces by name.
pub const ALL: [(&str, Bounds); 6] = [
    ("two nodes, any two faults", Bounds::counted(2, 3, Start::Registered, 2)),
    ("three nodes, any fault", Bounds::counted(3, 2, Start::Serving, 1)),
    ("two nodes, any fault, two decisions", Bounds::counted(2, 3, Start::Registered, 1).with_decisions(2)),
    (
        "two nodes turned to available and back, any fault",
        Bounds::counted(2, 2, Start::Serving, 1).with_turns(2),
    ),
    (
        "two nodes, any number of crashes",
        Bounds { crashes: Allowance::Always, ..Bounds::quiet(2, 3, Start::Registered) },
    ),
    (
        "two nodes, any number of losses",
        Bounds { losses: Allowance::Always, ..Bounds::quiet(2, 3, Start::Registered) },
    ),
];

/// What all of them share, for the reader of a report.
pub const SHARED: &[&str] = &[
    "strict mode, and available mode only where turns are stated, with no grant in it",
    "clocks run equally fast; one quantum is one heartbeat (2 s): validity 2, fence 1, silence 3 quanta",
    "calls end or are given up within a quantum, hooks within two; a frozen agent sees any number of quanta pass",
    "so many decisions as stated wait for their commit at a time, for however long",
    "one write that was given up is under way at a time, for however long",
    "the first grant goes to the first node, since all are alike until then",
    "the dead-man takes the whole fence to stop a service",
    "states are told apart by a hash of 64 bits",
];
