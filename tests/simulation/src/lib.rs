//! Whole clusters in simulated time, with everything going wrong that the protocol promises to bear.
//!
//! The same seed gives the same run, event by event. `plan` draws what a run will be, `world` runs it, `watch` and
//! `verdict` hold it against the promises of `invariant`, `sometimes` makes sure that the promises were put to the test,
//! and `batch` runs many.

mod address;
pub mod batch;
#[cfg(feature = "mutants")]
pub mod bound;
mod bus;
pub mod clock;
pub mod document;
mod driver;
mod ec2;
mod event;
mod failback;
pub mod fault;
mod function;
pub mod invariant;
mod machine;
pub mod measure;
#[cfg(feature = "mutants")]
pub mod mutants;
mod network;
mod outside;
pub mod plan;
mod queue;
mod roster;
pub mod sometimes;
pub mod steady;
mod stop;
mod table;
mod trace;
mod trap;
mod verdict;
pub mod watch;
pub mod world;

/// Whether reads of the lease are eventually consistent, which they are only as a deliberate fault.
fn stale_reads() -> bool {
    baton_protocol::mutant!(StaleRead)
}
