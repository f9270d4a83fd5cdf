//! What every implementation of [`Store`] promises, as one body that runs against each.
//!
//! Each promise is a function, named as a sentence, that takes an empty record. Those of the protocol's own
//! conditions carry the schedule that broke an earlier version of it. [`random`] compares two implementations
//! over sequences of operations that nobody thought of.

pub mod agent;
pub mod arbiter;
pub mod build;
pub mod coverage;
pub mod crowd;
pub mod kept;
pub mod operator;
pub mod random;
pub mod registrar;
pub mod restored;
pub mod table;

use std::future::Future;

use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::outcome::{Write, WriteFailure};
use baton_store::{MemoryStore, Store};

/// An empty record, with what the promises need beyond the store.
pub trait Record: Sync {
    /// The implementation.
    type Store: Store;

    /// The store.
    fn store(&self) -> &Self::Store;

    /// Loses a heartbeat item, as an operator's hand or a restored table would.
    fn lose_heartbeat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
    ) -> impl Future<Output = ()> + Send;
}

impl Record for MemoryStore {
    type Store = Self;

    fn store(&self) -> &Self {
        self
    }

    async fn lose_heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) {
        Self::lose_heartbeat(self, cluster, instance);
    }
}

/// What was found by a write that had to be refused.
///
/// # Panics
///
/// If the write was not refused.
#[track_caller]
pub fn refused<F: std::fmt::Debug>(outcome: Write<F>) -> F {
    match outcome {
        Err(WriteFailure::Refused(found)) => found,
        other => panic!("expected a refusal, found {other:?}"),
    }
}
