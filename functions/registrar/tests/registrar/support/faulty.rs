//! The record in memory, with outcomes that go wrong where a test says so. What a registrar has no business with panics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::{Beat, Heartbeat};
use baton_protocol::history::Event;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{
    AllocationId, ClusterName, Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId,
};
use baton_protocol::lease::Lease;
use baton_protocol::mark::Mark;
use baton_protocol::outcome::{Failure, Read, Write, WriteFailure};
use baton_protocol::probe::Probe;
use baton_protocol::request::Request;
use baton_protocol::restored::Restoration;
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;
use baton_store::{Entry, MemoryStore, Moved, Registration, Start, Store};

/// What goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It fails, and nothing is applied.
    Before(Failure),
    /// It is applied, and the answer is lost.
    After,
    /// It never ends.
    Hang,
    /// It panics.
    Panic,
}

#[derive(Debug, Default)]
pub(crate) struct Faulty {
    pub(crate) record: MemoryStore,
    pub(crate) reads: Mutex<VecDeque<Trouble>>,
    pub(crate) writes: Mutex<VecDeque<Trouble>>,
    /// What somebody else writes just before the next registration or change.
    pub(crate) overtaken_by: Mutex<Option<Registration>>,
}

impl Faulty {
    pub(crate) fn on_reads(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.reads.lock().expect("nobody panicked").extend(troubles);
    }

    pub(crate) fn on_writes(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.writes.lock().expect("nobody panicked").extend(troubles);
    }
}

fn next(troubles: &Mutex<VecDeque<Trouble>>) -> Option<Trouble> {
    troubles.lock().expect("nobody panicked").pop_front()
}

async fn read<T>(troubles: &Mutex<VecDeque<Trouble>>, call: impl Future<Output = Read<T>>) -> Read<T> {
    match next(troubles) {
        None => call.await,
        Some(Trouble::Before(failure)) => Err(failure),
        Some(Trouble::After) => Err(Failure::Unknown("the answer was lost".to_owned())),
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Panic) => panic!("the store panicked"),
    }
}

async fn write<T>(troubles: &Mutex<VecDeque<Trouble>>, call: impl Future<Output = Write<T>>) -> Write<T> {
    match next(troubles) {
        None => call.await,
        Some(Trouble::Before(failure)) => Err(WriteFailure::Failed(failure)),
        Some(Trouble::After) => {
            call.await?;
            Err(WriteFailure::Failed(Failure::Unknown("the answer was lost".to_owned())))
        }
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Panic) => panic!("the store panicked"),
    }
}

impl Store for Faulty {
    async fn lease(&self, cluster: &ClusterName) -> Read<Option<Lease>> {
        read(&self.reads, self.record.lease(cluster)).await
    }

    async fn heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) -> Read<Option<Heartbeat>> {
        read(&self.reads, self.record.heartbeat(cluster, instance)).await
    }

    async fn clusters(&self) -> Read<Vec<Entry>> {
        read(&self.reads, self.record.clusters()).await
    }

    async fn register(&self, registration: &Registration) -> Write<Option<Lease>> {
        let other = self.overtaken_by.lock().expect("nobody panicked").take();
        if let Some(other) = other {
            self.record.register(&other).await.expect("it comes first");
        }
        write(&self.writes, self.record.register(registration)).await
    }

    async fn reconfigure(
        &self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> Write<Option<Lease>> {
        let other = self.overtaken_by.lock().expect("nobody panicked").take();
        if let Some(other) = other {
            let is_ours = other.cluster == registration.cluster;
            let written = match is_ours {
                true => self.record.reconfigure(&other, holder).await,
                false => self.record.register(&other).await,
            };
            written.expect("it comes first");
        }
        write(&self.writes, self.record.reconfigure(registration, holder)).await
    }

    async fn retire(
        &self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> Write<Option<Lease>> {
        write(&self.writes, self.record.retire(cluster, uid, event)).await
    }

    async fn heartbeats(&self, _: &ClusterName, _: &[InstanceArn]) -> Read<BTreeMap<InstanceArn, Heartbeat>> {
        panic!("no business of the registrar")
    }

    async fn probe(&self, _: &ClusterName) -> Read<Option<Probe>> {
        panic!("no business of the registrar")
    }

    async fn history(&self, _: &ClusterName, _: usize) -> Read<Vec<Event>> {
        panic!("no business of the registrar")
    }

    async fn requests(&self, _: &ClusterName, _: usize) -> Read<Vec<Request>> {
        panic!("no business of the registrar")
    }

    async fn start(&self, _: &ClusterName, _: &InstanceArn, _: &Start) -> Write<Option<Heartbeat>> {
        panic!("no business of the registrar")
    }

    async fn beat(&self, _: &ClusterName, _: &InstanceArn, _: &Beat) -> Write<Option<Heartbeat>> {
        panic!("no business of the registrar")
    }

    async fn release(
        &self,
        _: &ClusterName,
        _: &InstanceArn,
        _: &Incarnation,
        _: Epoch,
    ) -> Write<Option<Heartbeat>> {
        panic!("no business of the registrar")
    }

    async fn leave_wake(&self, _: &ClusterName, _: &InstanceArn, _: Why, _: WallTime) -> Result<(), Failure> {
        panic!("no business of the registrar")
    }

    async fn commit(&self, _: &Grant) -> Result<Committed, Failure> {
        panic!("no business of the registrar")
    }

    async fn record_rotation(
        &self,
        _: &ClusterName,
        _: Epoch,
        _: &AllocationId,
        _: &Mark,
    ) -> Write<Option<Lease>> {
        panic!("no business of the registrar")
    }

    async fn record_moved(&self, _: &ClusterName, _: &Moved) -> Write<Option<Lease>> {
        panic!("no business of the registrar")
    }

    async fn hooks(&self, _: &ClusterName) -> Read<Vec<Hook>> {
        panic!("no business of the registrar")
    }

    async fn record_hook(&self, _: &ClusterName, _: &Hook) -> Result<(), Failure> {
        panic!("no business of the registrar")
    }

    async fn end_hook(&self, _: &ClusterName, _: &Hook, _: &str) -> Result<(), Failure> {
        panic!("no business of the registrar")
    }

    async fn restore(&self, _: &Restoration) -> Result<Committed, Failure> {
        panic!("no business of the registrar")
    }

    async fn end_fence(&self, _: &ClusterName, _: &RequestId) -> Result<(), Failure> {
        panic!("no business of the registrar")
    }

    async fn suspect(&self, _: &ClusterName, _: WallTime) -> Result<u32, Failure> {
        panic!("no business of the registrar")
    }

    async fn record_probe(&self, _: &ClusterName, _: &Probe) -> Result<(), Failure> {
        panic!("no business of the registrar")
    }

    async fn append(&self, _: &Event) -> Result<bool, Failure> {
        panic!("no business of the registrar")
    }

    async fn answer(&self, _: &ClusterName, _: &RequestId, _: &str) -> Write<Option<String>> {
        panic!("no business of the registrar")
    }

    async fn ask(&self, _: &Request) -> Write<Option<Lease>> {
        panic!("no business of the registrar")
    }
}
