//! The decision, and nothing but the decision.
//!
//! Everything that Baton decides is decided here: when a node may serve and when it must stop, when silence is long enough
//! to be claimed, whether a lease may be granted and to whom, which calls bring the addresses after it, and when a move
//! is complete. There is no clock in this crate, no randomness, no I/O, no async and no AWS: moments, outcomes and
//! observations are handed in, commands are handed out, and whoever drives it (an agent, a Lambda function, a simulator)
//! does the rest.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!(
    "the feature `mutants` puts faults into the code: it is for tests, and no release build may have it"
);

#[macro_use]
pub mod mutant;

pub mod access;
pub mod arbiter;
pub mod brake;
pub mod candidate;
pub mod choice;
pub mod decide;
pub mod drift;
pub mod ec2;
pub mod failback;
pub mod fence;
pub mod findings;
pub mod grant;
pub mod heartbeat;
pub mod history;
pub mod hook;
pub mod ids;
pub mod lease;
pub mod mark;
pub mod moved;
pub mod mover;
pub mod node;
pub mod notification;
pub mod outcome;
pub mod peers;
pub mod place;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod readiness;
pub mod recovery;
pub mod request;
pub mod resource;
pub mod restored;
pub mod roster;
pub mod rules;
pub mod silence;
pub mod standing;
pub mod sweep;
pub mod tables;
pub mod time;
pub mod timing;
pub mod wake;

#[cfg(test)]
mod testing;
