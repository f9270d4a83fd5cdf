//! The methods of the record, one row each: how each of them is told to the gate. The only list of them for all tests.

use std::collections::BTreeMap;
use std::future::Future;

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
use baton_store::{Entry, Moved, Registration, Start, Store};

use crate::{Call, Fate, Gate, Interposed, Kind};

impl<G: Gate> Interposed<G> {
    async fn pass<T, E: From<Failure>>(
        &self,
        call: Call<'_>,
        made: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        match self.gate.meet(call, &self.record).await {
            Fate::Pass => made.await,
            Fate::Fail(failure) => Err(failure.into()),
            Fate::Lose(failure) => {
                // What it was is what is lost.
                let _ = made.await;
                Err(failure.into())
            }
        }
    }
}

/// Makes [`Method`] and the implementation of [`Store`] from one list, so that a further method is one row more.
macro_rules! methods {
    ($($kind:ident $method:ident $name:ident($($argument:ident: $of:ty),*) -> $answer:ty, $cluster:expr;)*) => {
        /// A method of [`Store`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method {
            $(
                #[doc = concat!("[`Store::", stringify!($name), "`].")]
                $method,
            )*
        }

        /// `lease_along` is what the trait makes of it, so a gate meets the `lease` in it.
        impl<G: Gate> Store for Interposed<G> {
            $(
                async fn $name(&self, $($argument: $of),*) -> $answer {
                    let call = Call { method: Method::$method, kind: Kind::$kind, cluster: $cluster };
                    self.pass(call, self.record.$name($($argument),*)).await
                }
            )*
        }
    };
}

methods! {
    Read Lease lease(cluster: &ClusterName) -> Read<Option<Lease>>, Some(cluster);
    Read Heartbeat heartbeat(cluster: &ClusterName, instance: &InstanceArn)
        -> Read<Option<Heartbeat>>, Some(cluster);
    Read Heartbeats heartbeats(cluster: &ClusterName, instances: &[InstanceArn])
        -> Read<BTreeMap<InstanceArn, Heartbeat>>, Some(cluster);
    Read Hooks hooks(cluster: &ClusterName) -> Read<Vec<Hook>>, Some(cluster);
    Read Probe probe(cluster: &ClusterName) -> Read<Option<Probe>>, Some(cluster);
    Read History history(cluster: &ClusterName, limit: usize) -> Read<Vec<Event>>, Some(cluster);
    Read Requests requests(cluster: &ClusterName, limit: usize) -> Read<Vec<Request>>, Some(cluster);
    Read Clusters clusters() -> Read<Vec<Entry>>, None;

    Write Start start(cluster: &ClusterName, instance: &InstanceArn, start: &Start)
        -> Write<Option<Heartbeat>>, Some(cluster);
    Write Beat beat(cluster: &ClusterName, instance: &InstanceArn, beat: &Beat)
        -> Write<Option<Heartbeat>>, Some(cluster);
    Write Release release(
        cluster: &ClusterName, instance: &InstanceArn, incarnation: &Incarnation, epoch: Epoch
    ) -> Write<Option<Heartbeat>>, Some(cluster);
    Write LeaveWake leave_wake(cluster: &ClusterName, instance: &InstanceArn, why: Why, at: WallTime)
        -> Result<(), Failure>, Some(cluster);

    Write Commit commit(grant: &Grant) -> Result<Committed, Failure>, Some(&grant.cluster);
    Write Restore restore(restoration: &Restoration)
        -> Result<Committed, Failure>, Some(&restoration.cluster);
    Write RecordRotation record_rotation(
        cluster: &ClusterName, epoch: Epoch, allocation: &AllocationId, mark: &Mark
    ) -> Write<Option<Lease>>, Some(cluster);
    Write RecordMoved record_moved(cluster: &ClusterName, moved: &Moved)
        -> Write<Option<Lease>>, Some(cluster);
    Write Append append(event: &Event) -> Result<bool, Failure>, Some(&event.cluster);
    Write RecordHook record_hook(cluster: &ClusterName, hook: &Hook) -> Result<(), Failure>, Some(cluster);
    Write EndHook end_hook(cluster: &ClusterName, hook: &Hook, why: &str)
        -> Result<(), Failure>, Some(cluster);
    Write EndFence end_fence(cluster: &ClusterName, request: &RequestId)
        -> Result<(), Failure>, Some(cluster);
    Write Suspect suspect(cluster: &ClusterName, at: WallTime) -> Result<u32, Failure>, Some(cluster);
    Write RecordProbe record_probe(cluster: &ClusterName, probe: &Probe)
        -> Result<(), Failure>, Some(cluster);
    Write Answer answer(cluster: &ClusterName, request: &RequestId, answer: &str)
        -> Write<Option<String>>, Some(cluster);

    Write Ask ask(request: &Request) -> Write<Option<Lease>>, Some(&request.cluster);

    Write Register register(registration: &Registration) -> Write<Option<Lease>>, Some(&registration.cluster);
    Write Reconfigure reconfigure(registration: &Registration, holder: Option<&InstanceArn>)
        -> Write<Option<Lease>>, Some(&registration.cluster);
    Write Retire retire(cluster: &ClusterName, uid: &RegistrationUid, event: &Event)
        -> Write<Option<Lease>>, Some(cluster);
}
