//! The record in memory with a gate before it: the one double of the table for every test in which calls go wrong.
//!
//! A test's [`Gate`] is asked before each call and decides its [`Fate`]. What else should happen at that moment, it does
//! itself: it writes to the record what somebody else wrote just before, never answers, or panics at a call that its caller
//! has no business with. This crate decides nothing, and repeats what the record answers; how the table behaves is said by
//! `MemoryStore` alone.

mod interposed;
#[cfg(test)]
mod tests;

use std::future::Future;

use baton_protocol::ids::ClusterName;
use baton_protocol::outcome::Failure;
use baton_store::MemoryStore;

pub use interposed::Method;

/// The record, each call to which has to pass a gate.
#[derive(Debug, Default)]
pub struct Interposed<G> {
    /// What is behind the gate. Whoever calls it directly meets no gate.
    pub record: MemoryStore,
    /// What decides about each call.
    pub gate: G,
}

/// What decides about each call.
pub trait Gate: Send + Sync {
    /// Is asked just before each call. What it writes to the record is there before the call is.
    fn meet(&self, call: Call<'_>, record: &MemoryStore) -> impl Future<Output = Fate> + Send;
}

/// A call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// Which one.
    pub method: Method,
    /// Whether it changes the record.
    pub kind: Kind,
    /// The cluster that it is about; none: about all of them.
    pub cluster: Option<&'a ClusterName>,
}

/// Whether a call changes the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not.
    Read,
    /// It may.
    Write,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is made and answered.
    Pass,
    /// It is not made, and ends with this.
    Fail(Failure),
    /// It is made, but its answer is lost, whatever it was; it ends with this.
    Lose(Failure),
}
