//! A table that does what it is asked and whose answers to some writes are lost.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// The twin, how many more answers to records of a move and to rows of the history are lost, and what is asked for just before the
/// next commit.
#[derive(Default)]
pub(crate) struct Lossy {
    pub(crate) inner: MemoryStore,
    pub(crate) records: AtomicUsize,
    pub(crate) rows: AtomicUsize,
    pub(crate) asked_before_commit: Mutex<Option<Request>>,
}

/// Whether one more is lost.
fn is_lost(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn lost() -> Failure {
    Failure::Unknown("timed out".to_owned())
}

impl Store for Lossy {
    async fn record_moved(&self, cluster: &ClusterName, moved: &Moved) -> Write<Option<Lease>> {
        let answer = self.inner.record_moved(cluster, moved).await;
        if is_lost(&self.records) { Err(WriteFailure::Failed(lost())) } else { answer }
    }
    async fn append(&self, event: &Event) -> Result<bool, Failure> {
        let answer = self.inner.append(event).await;
        if is_lost(&self.rows) { Err(lost()) } else { answer }
    }

    async fn lease(&self, cluster: &ClusterName) -> Read<Option<Lease>> {
        self.inner.lease(cluster).await
    }
    async fn hooks(&self, cluster: &ClusterName) -> Read<Vec<Hook>> {
        self.inner.hooks(cluster).await
    }
    async fn probe(&self, cluster: &ClusterName) -> Read<Option<Probe>> {
        self.inner.probe(cluster).await
    }
    async fn heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) -> Read<Option<Heartbeat>> {
        self.inner.heartbeat(cluster, instance).await
    }
    async fn heartbeats(
        &self,
        cluster: &ClusterName,
        instances: &[InstanceArn],
    ) -> Read<BTreeMap<InstanceArn, Heartbeat>> {
        self.inner.heartbeats(cluster, instances).await
    }
    async fn history(&self, cluster: &ClusterName, limit: usize) -> Read<Vec<Event>> {
        self.inner.history(cluster, limit).await
    }
    async fn requests(&self, cluster: &ClusterName, limit: usize) -> Read<Vec<Request>> {
        self.inner.requests(cluster, limit).await
    }
    async fn clusters(&self) -> Read<Vec<Entry>> {
        self.inner.clusters().await
    }
    async fn start(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        start: &Start,
    ) -> Write<Option<Heartbeat>> {
        self.inner.start(cluster, instance, start).await
    }
    async fn beat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        beat: &Beat,
    ) -> Write<Option<Heartbeat>> {
        self.inner.beat(cluster, instance, beat).await
    }
    async fn release(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        incarnation: &Incarnation,
        epoch: Epoch,
    ) -> Write<Option<Heartbeat>> {
        self.inner.release(cluster, instance, incarnation, epoch).await
    }
    async fn leave_wake(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        why: Why,
        at: WallTime,
    ) -> Result<(), Failure> {
        self.inner.leave_wake(cluster, instance, why, at).await
    }
    async fn commit(&self, grant: &Grant) -> Result<Committed, Failure> {
        let asked = self.asked_before_commit.lock().expect("no test panics in here").take();
        if let Some(request) = asked {
            self.inner.ask(&request).await.expect("asked");
        }
        self.inner.commit(grant).await
    }
    async fn restore(&self, restoration: &Restoration) -> Result<Committed, Failure> {
        self.inner.restore(restoration).await
    }
    async fn record_rotation(
        &self,
        cluster: &ClusterName,
        epoch: Epoch,
        allocation: &AllocationId,
        mark: &Mark,
    ) -> Write<Option<Lease>> {
        self.inner.record_rotation(cluster, epoch, allocation, mark).await
    }
    async fn record_hook(&self, cluster: &ClusterName, hook: &Hook) -> Result<(), Failure> {
        self.inner.record_hook(cluster, hook).await
    }
    async fn end_hook(&self, cluster: &ClusterName, hook: &Hook, why: &str) -> Result<(), Failure> {
        self.inner.end_hook(cluster, hook, why).await
    }
    async fn end_fence(&self, cluster: &ClusterName, request: &RequestId) -> Result<(), Failure> {
        self.inner.end_fence(cluster, request).await
    }
    async fn suspect(&self, cluster: &ClusterName, at: WallTime) -> Result<u32, Failure> {
        self.inner.suspect(cluster, at).await
    }
    async fn record_probe(&self, cluster: &ClusterName, probe: &Probe) -> Result<(), Failure> {
        self.inner.record_probe(cluster, probe).await
    }
    async fn answer(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
        answer: &str,
    ) -> Write<Option<String>> {
        self.inner.answer(cluster, request, answer).await
    }
    async fn ask(&self, request: &Request) -> Write<Option<Lease>> {
        self.inner.ask(request).await
    }
    async fn register(&self, registration: &Registration) -> Write<Option<Lease>> {
        self.inner.register(registration).await
    }
    async fn reconfigure(
        &self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> Write<Option<Lease>> {
        self.inner.reconfigure(registration, holder).await
    }
    async fn retire(
        &self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> Write<Option<Lease>> {
        self.inner.retire(cluster, uid, event).await
    }
}
