//! The store in DynamoDB.

mod action;
mod agent;
mod arbiter;
mod calls;
mod fleet;
mod neighbours;
mod operator;
mod registrar;
mod restored;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
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

use crate::error::Unwritten;
use crate::item::{read, read_heartbeat, read_request};
use crate::key::{CLUSTERS, EVENT_PREFIX, HOOK_PREFIX, Key, REQUEST_PREFIX, partition};
use crate::{Entry, Heartbeats, Moved, Registration, Start, Store};
use neighbours::{keys_of, read_heartbeats};

/// The record in one table of DynamoDB. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    /// The store in the table of this name. The configuration is one of `baton_client`, which neither retries
    /// nor waits without limit.
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }
}

impl Store for DynamoStore {
    async fn lease(&self, cluster: &ClusterName) -> Read<Option<Lease>> {
        self.get(&Key::lease(cluster)).await?.map(read).transpose()
    }

    async fn lease_along(
        &self,
        cluster: &ClusterName,
        instances: &[InstanceArn],
    ) -> Read<(Option<Lease>, Option<Heartbeats>)> {
        self.get_lease_along(cluster, instances).await
    }

    async fn hooks(&self, cluster: &ClusterName) -> Read<Vec<Hook>> {
        let items = self.query(&partition(cluster), HOOK_PREFIX, true, crate::HOOKS).await?;
        items.into_iter().map(read).collect()
    }

    async fn probe(&self, cluster: &ClusterName) -> Read<Option<Probe>> {
        self.get(&Key::probe(cluster)).await?.map(read).transpose()
    }

    async fn heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) -> Read<Option<Heartbeat>> {
        let item = self.get(&Key::heartbeat(cluster, instance)).await?;
        item.map(|item| read_heartbeat(cluster, instance, item)).transpose()
    }

    async fn heartbeats(&self, cluster: &ClusterName, instances: &[InstanceArn]) -> Read<Heartbeats> {
        read_heartbeats(cluster, self.get_all(&keys_of(cluster, instances)).await?)
    }

    async fn history(&self, cluster: &ClusterName, limit: usize) -> Read<Vec<Event>> {
        let items = self.query(&partition(cluster), EVENT_PREFIX, true, limit).await?;
        items.into_iter().map(read).collect()
    }

    async fn requests(&self, cluster: &ClusterName, limit: usize) -> Read<Vec<Request>> {
        let items = self.query(&partition(cluster), REQUEST_PREFIX, true, limit).await?;
        items.into_iter().map(read_request).collect()
    }

    async fn clusters(&self) -> Read<Vec<Entry>> {
        let items = self.query(CLUSTERS, "C#", false, usize::MAX).await?;
        items.into_iter().map(read).collect()
    }

    async fn start(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        start: &Start,
    ) -> Write<Option<Heartbeat>> {
        self.put_start(cluster, instance, start).await
    }

    async fn beat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        beat: &Beat,
    ) -> Write<Option<Heartbeat>> {
        self.put_beat(cluster, instance, beat).await
    }

    async fn release(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        incarnation: &Incarnation,
        epoch: Epoch,
    ) -> Write<Option<Heartbeat>> {
        self.put_release(cluster, instance, incarnation, epoch).await
    }

    async fn leave_wake(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        why: Why,
        at: WallTime,
    ) -> Result<(), Failure> {
        self.put_wake(cluster, instance, why, at).await
    }

    async fn commit(&self, grant: &Grant) -> Result<Committed, Failure> {
        self.put_grant(grant).await
    }

    async fn restore(&self, restoration: &Restoration) -> Result<Committed, Failure> {
        self.put_restoration(restoration).await
    }

    async fn record_rotation(
        &self,
        cluster: &ClusterName,
        epoch: Epoch,
        allocation: &AllocationId,
        mark: &Mark,
    ) -> Write<Option<Lease>> {
        self.put_rotation(cluster, epoch, allocation, mark).await
    }

    async fn record_moved(&self, cluster: &ClusterName, moved: &Moved) -> Write<Option<Lease>> {
        self.put_moved(cluster, moved).await
    }

    async fn append(&self, event: &Event) -> Result<bool, Failure> {
        self.put_event(event).await
    }

    async fn record_hook(&self, cluster: &ClusterName, hook: &Hook) -> Result<(), Failure> {
        self.put_hook(cluster, hook).await
    }

    async fn end_hook(&self, cluster: &ClusterName, hook: &Hook, why: &str) -> Result<(), Failure> {
        self.put_end_of_hook(cluster, hook, why).await
    }

    async fn end_fence(&self, cluster: &ClusterName, request: &RequestId) -> Result<(), Failure> {
        self.put_end_of_fence(cluster, request).await
    }

    async fn suspect(&self, cluster: &ClusterName, at: WallTime) -> Result<u32, Failure> {
        self.put_suspect(cluster, at).await
    }

    async fn record_probe(&self, cluster: &ClusterName, probe: &Probe) -> Result<(), Failure> {
        self.put_probe(cluster, probe).await
    }

    async fn answer(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
        answer: &str,
    ) -> Write<Option<String>> {
        self.put_answer(cluster, request, answer).await
    }

    async fn ask(&self, request: &Request) -> Write<Option<Lease>> {
        self.put_request(request).await
    }

    async fn register(&self, registration: &Registration) -> Write<Option<Lease>> {
        self.put_registration(registration).await
    }

    async fn reconfigure(
        &self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> Write<Option<Lease>> {
        self.put_reconfiguration(registration, holder).await
    }

    async fn retire(
        &self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> Write<Option<Lease>> {
        self.put_retirement(cluster, uid, event).await
    }
}

/// The holder as the table has it; see `Lease::holder`.
fn holder_text(holder: Option<&InstanceArn>) -> &str {
    holder.map_or("-", InstanceArn::as_str)
}

/// A refused write of the lease, with the lease that was found.
fn refused_lease(unwritten: Unwritten) -> WriteFailure<Option<Lease>> {
    match unwritten {
        Unwritten::Failed(failure) => WriteFailure::Failed(failure),
        Unwritten::Refused(found) => match found.map(read).transpose() {
            Ok(found) => WriteFailure::Refused(found),
            Err(failure) => WriteFailure::Failed(failure),
        },
    }
}
