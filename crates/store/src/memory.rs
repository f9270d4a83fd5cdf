//! The store's twin in memory, for the simulator and for tests: the same outcomes, at once, in a fixed order.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_protocol::brake;
use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::{Beat, Heartbeat};
use baton_protocol::history::Event;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{
    AllocationId, ClusterName, Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId,
};
use baton_protocol::lease::Lease;
use baton_protocol::mark::Mark;
use baton_protocol::outcome::{Failure, Read, Write};
use baton_protocol::probe::Probe;
use baton_protocol::request::Request;
use baton_protocol::restored::Restoration;
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;

use crate::key::Key;
use crate::{Entry, Heartbeats, Moved, Registration, Start, Store};
use table::Table;

/// The record in memory. Clones are handles of the same record; every future it returns is ready when first
/// polled.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    table: Arc<Mutex<Table>>,
}

impl MemoryStore {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// A record of its own that holds the same, for whoever has to try what else could be written. Clones are handles of one
    /// record.
    pub fn fork(&self) -> Self {
        Self { table: Arc::new(Mutex::new(self.table().clone())) }
    }

    /// The clusters the table's stream would have woken the arbiter for since this was last asked: those with
    /// a new wake item or request.
    pub fn take_woken(&self) -> BTreeSet<ClusterName> {
        std::mem::take(&mut self.table().woken)
    }

    /// Loses a heartbeat item, as an operator's hand or a restored table would.
    pub fn lose_heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) {
        self.table().heartbeats.remove(&(cluster.clone(), instance.clone()));
    }

    /// No write leaves the table half done, so a panic elsewhere while it was held spoils nothing.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn lease(&self, cluster: &ClusterName) -> Read<Option<Lease>> {
        Ok(self.table().leases.get(cluster).cloned())
    }

    async fn lease_along(
        &self,
        cluster: &ClusterName,
        instances: &[InstanceArn],
    ) -> Read<(Option<Lease>, Option<Heartbeats>)> {
        let lease = self.lease(cluster).await?;
        if !crate::fit_beside_the_lease(instances) {
            return Ok((lease, None));
        }
        Ok((lease, self.heartbeats(cluster, instances).await.ok()))
    }

    async fn hooks(&self, cluster: &ClusterName) -> Read<Vec<Hook>> {
        let table = self.table();
        let hooks = table.hooks.get(cluster).into_iter().flat_map(|hooks| hooks.values().rev());
        Ok(hooks.take(crate::HOOKS).cloned().collect())
    }

    async fn probe(&self, cluster: &ClusterName) -> Read<Option<Probe>> {
        Ok(self.table().probes.get(cluster).cloned())
    }

    async fn heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) -> Read<Option<Heartbeat>> {
        Ok(self.table().heartbeats.get(&(cluster.clone(), instance.clone())).cloned())
    }

    async fn heartbeats(
        &self,
        cluster: &ClusterName,
        instances: &[InstanceArn],
    ) -> Read<BTreeMap<InstanceArn, Heartbeat>> {
        let table = self.table();
        let mut found = BTreeMap::new();
        let mut asked = BTreeSet::new();
        for instance in instances {
            asked.insert(instance);
            if let Some(heartbeat) = table.heartbeats.get(&(cluster.clone(), instance.clone())) {
                found.insert(instance.clone(), heartbeat.clone());
            }
        }
        crate::refuse_too_many(asked.len())?;
        Ok(found)
    }

    async fn history(&self, cluster: &ClusterName, limit: usize) -> Read<Vec<Event>> {
        let table = self.table();
        let rows = table.history.get(cluster).into_iter().flat_map(|rows| rows.values().rev());
        Ok(rows.take(limit).cloned().collect())
    }

    async fn requests(&self, cluster: &ClusterName, limit: usize) -> Read<Vec<Request>> {
        let table = self.table();
        let rows = table.requests.get(cluster).into_iter().flat_map(|rows| rows.values().rev());
        Ok(rows.take(limit).cloned().collect())
    }

    async fn clusters(&self) -> Read<Vec<Entry>> {
        Ok(self.table().directory.values().cloned().collect())
    }

    async fn start(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        start: &Start,
    ) -> Write<Option<Heartbeat>> {
        self.table().start(cluster, instance, start)
    }

    async fn beat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        beat: &Beat,
    ) -> Write<Option<Heartbeat>> {
        self.table().beat(cluster, instance, beat)
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        incarnation: &Incarnation,
        epoch: Epoch,
    ) -> Write<Option<Heartbeat>> {
        self.table().release(cluster, instance, incarnation, epoch)
    }

    async fn leave_wake(
        &self,
        cluster: &ClusterName,
        _instance: &InstanceArn,
        _why: Why,
        _at: WallTime,
    ) -> Result<(), Failure> {
        self.table().woken.insert(cluster.clone());
        Ok(())
    }

    async fn commit(&self, grant: &Grant) -> Result<Committed, Failure> {
        self.table().commit(grant)
    }

    async fn restore(&self, restoration: &Restoration) -> Result<Committed, Failure> {
        self.table().restore(restoration)
    }

    async fn record_rotation(
        &self,
        cluster: &ClusterName,
        epoch: Epoch,
        allocation: &AllocationId,
        mark: &Mark,
    ) -> Write<Option<Lease>> {
        self.table().record_rotation(cluster, epoch, allocation, mark)
    }

    async fn record_moved(&self, cluster: &ClusterName, moved: &Moved) -> Write<Option<Lease>> {
        self.table().record_moved(cluster, moved)
    }

    async fn append(&self, event: &Event) -> Result<bool, Failure> {
        self.table().append(event)
    }

    async fn record_hook(&self, cluster: &ClusterName, hook: &Hook) -> Result<(), Failure> {
        let mut table = self.table();
        let hooks = table.hooks.entry(cluster.clone()).or_default();
        hooks.entry(Key::hook(cluster, hook).sk).or_insert_with(|| hook.clone());
        Ok(())
    }

    async fn end_hook(&self, cluster: &ClusterName, hook: &Hook, why: &str) -> Result<(), Failure> {
        let mut table = self.table();
        let hooks = table.hooks.entry(cluster.clone()).or_default();
        if let Some(there) = hooks.get_mut(&Key::hook(cluster, hook).sk) {
            there.ended = Some(why.to_owned());
        }
        Ok(())
    }

    async fn end_fence(&self, cluster: &ClusterName, request: &RequestId) -> Result<(), Failure> {
        self.table().end_fence(cluster, request);
        Ok(())
    }

    async fn suspect(&self, cluster: &ClusterName, at: WallTime) -> Result<u32, Failure> {
        let mut table = self.table();
        let span = brake::span(at);
        table.suspects.entry(span).or_default().insert(brake::slot(cluster));
        let of = |span| table.suspects.get(&span).into_iter().flatten();
        let all: BTreeSet<_> = of(span).chain(of(span.saturating_sub(1))).collect();
        Ok(u32::try_from(all.len()).unwrap_or(u32::MAX))
    }

    async fn record_probe(&self, cluster: &ClusterName, probe: &Probe) -> Result<(), Failure> {
        self.table().probes.insert(cluster.clone(), probe.clone());
        Ok(())
    }

    async fn answer(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
        answer: &str,
    ) -> Write<Option<String>> {
        self.table().answer(cluster, request, answer)
    }

    async fn ask(&self, request: &Request) -> Write<Option<Lease>> {
        self.table().ask(request)
    }

    async fn register(&self, registration: &Registration) -> Write<Option<Lease>> {
        self.table().register(registration)
    }

    async fn reconfigure(
        &self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> Write<Option<Lease>> {
        self.table().reconfigure(registration, holder)
    }

    async fn retire(
        &self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> Write<Option<Lease>> {
        self.table().retire(cluster, uid, event)
    }
}
