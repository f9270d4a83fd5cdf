//! The table at one moment. States share it; a write makes another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::{Incarnation, InstanceArn};
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::outcome::Write;
use baton_store::{MemoryStore, Store};

use crate::ready::ready;
use crate::setup::{cluster, instance, registration};

/// The table and what strong reads of it show.
#[derive(Debug, Clone)]
pub struct Table {
    store: MemoryStore,
    /// The lease.
    pub lease: Arc<Lease>,
    /// The heartbeats that exist.
    pub heartbeats: BTreeMap<InstanceArn, Heartbeat>,
}

/// A write that an agent sends.
#[derive(Debug, Clone)]
pub enum Sent {
    /// The announcement of a run.
    Announce(baton_store::Start),
    /// W.
    Beat(Box<baton_protocol::heartbeat::Beat>),
    /// The oath.
    Release(baton_protocol::ids::Epoch),
}

impl Table {
    /// What this table shows.
    pub fn read(store: MemoryStore) -> Self {
        let lease = ready(store.lease(&cluster())).expect("the twin reads").expect("a registered cluster");
        let members: Vec<InstanceArn> = lease.members.iter().map(|member| member.instance.clone()).collect();
        let heartbeats = ready(store.heartbeats(&cluster(), &members)).expect("the twin reads");
        Self { store, lease: Arc::new(lease), heartbeats }
    }

    /// The heartbeat of the node with this index.
    pub fn heartbeat(&self, node: usize) -> Option<&Heartbeat> {
        self.heartbeats.get(&instance(node))
    }

    /// The table after `write`, and what that answered.
    pub fn written<T>(&self, write: impl FnOnce(&MemoryStore) -> T) -> (Self, T) {
        let store = self.store.fork();
        let answer = write(&store);
        (Self::read(store), answer)
    }

    /// The table after the registrar has turned the cluster to the other mode.
    pub fn turned(&self) -> Self {
        let lease = &self.lease;
        let mode = if lease.mode == Mode::Strict { Mode::Available } else { Mode::Strict };
        let wanted = registration(lease.members.len(), mode, lease.epoch, lease.revision + 1);
        let (after, answer) =
            self.written(|store| ready(store.reconfigure(&wanted, lease.holder.as_ref())).map_err(drop));
        answer.expect("the configuration that was read is changed");
        after
    }

    /// The table after a write by one run of a node's agent.
    #[expect(
        clippy::result_large_err,
        reason = "a refused write hands over what it found, as the store does"
    )]
    pub fn apply(&self, node: usize, by: &Incarnation, sent: &Sent) -> (Self, Write<Option<Heartbeat>>) {
        let (cluster, instance) = (cluster(), instance(node));
        self.written(|store| match sent {
            Sent::Announce(start) => ready(store.start(&cluster, &instance, start)),
            Sent::Beat(beat) => ready(store.beat(&cluster, &instance, beat)),
            Sent::Release(epoch) => ready(store.release(&cluster, &instance, by, *epoch)),
        })
    }
}
