//! Carries out one invocation: every action it asks for, at once, each answer handed back as it comes.
//!
//! Nothing is spawned. When [`drive`] returns, nothing of the invocation is under way: what a frozen sandbox would resume
//! hours later does not exist. Dropping the future abandons its calls, which is what a killed function does to them too;
//! the protocol takes such calls for unknown.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_client::ScalingFailure;
use baton_cloud::Cloud;
use baton_protocol::access::TableAccess;
use baton_protocol::arbiter::{Action, Hint, Invocation, Outcome, Report};
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::grant::Committed;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::history::Event;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{AllocationId, ClusterName, InstanceArn, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::notification::{self, Notification};
use baton_protocol::outcome::{Failure, Read, Write, WriteFailure};
use baton_protocol::time::{BootTime, Now, WallTime};
use baton_store::Store;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

/// Wakes another invocation.
pub trait Successor: Send + Sync {
    /// Sends a wake for this cluster. A failure is logged by whoever implements it: the sweep comes within a minute.
    fn wake(&self, cluster: &ClusterName) -> impl Future<Output = ()> + Send;

    /// Tells whoever listens on the bus. A failure is logged by whoever implements it: the history has it all.
    fn tell(&self, told: Notification) -> impl Future<Output = ()> + Send;

    /// Lets a termination go on that waits at a lifecycle hook.
    fn complete(&self, hook: &Hook) -> impl Future<Output = Result<(), ScalingFailure>> + Send;
}

/// What an invocation works with.
#[derive(Debug)]
pub struct Parts<S, C, W> {
    /// The table.
    pub store: S,
    /// EC2.
    pub cloud: C,
    /// The bus.
    pub successor: W,
    /// The beginning of this process's time.
    pub origin: Instant,
    /// The control plane, for metrics.
    pub name: String,
    /// How many clusters have to suspect at once for the brake; zero: there is none.
    pub brake: u32,
}

/// How often a row of the history is tried. It is a record for people: worth a second try, and never worth an outage.
const APPEND_TRIES: u32 = 2;

/// What came of an action.
enum Answer {
    Lease(Read<Option<Lease>>),
    Heartbeats(Read<BTreeMap<InstanceArn, Heartbeat>>),
    Counted(Result<u32, Failure>),
    Committed(Result<Committed, Failure>),
    Restored(Result<Committed, Failure>),
    Sight(Look, Result<Sight, CloudFailure>),
    Effect(Call, Result<Effect, CloudFailure>),
    Rotation(AllocationId, bool),
    Moved(Write<Option<Lease>>),
    /// With what the bus is to be told, if the row is new.
    Appended(Option<Notification>),
    Told,
}

impl<S: Store, C: Cloud, W: Successor> Parts<S, C, W> {
    /// The moment, on a clock that starts with the process.
    pub fn now(&self) -> Now {
        let boot = BootTime(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { boot, wall: WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)) }
    }

    /// Runs one invocation to its end, which comes before `deadline` but for calls already under way then.
    pub async fn drive(&self, hint: Hint, by: String, deadline: BootTime) -> Report {
        let cluster = hint.cluster.clone();
        let mut invocation = Invocation::new(hint, by, self.now(), deadline).with_brake(self.brake);
        let mut open = FuturesUnordered::new();
        let mut telling = FuturesUnordered::new();
        let mut preparing = FuturesUnordered::new();
        let mut granting = None;
        let mut access = None;
        loop {
            while let Some(action) = invocation.poll_action() {
                if let Action::Commit(grant) = &action {
                    granting = notification::of(&grant.event);
                }
                open.push(self.perform(&cluster, self.cloud.through(access.as_ref()), action));
            }
            if let Some(report) = invocation.report() {
                // Nothing of an invocation outlives it.
                while telling.next().await.is_some() {}
                return report;
            }
            let due = invocation.next_deadline();
            if open.is_empty() && due.is_none() {
                // Unreachable while the protocol is right; an invocation that waits for nothing would hang otherwise.
                return Report {
                    granted: None,
                    outcome: Outcome::Failed("waits for nothing".to_owned()),
                    unfenced: None,
                };
            }
            tokio::select! {
                Some(mut answer) = open.next() => {
                    let news = match &mut answer {
                        Answer::Committed(Ok(Committed::Granted)) => granting.take(),
                        Answer::Appended(news) => news.take(),
                        _ => None,
                    };
                    telling.extend(news.map(|told| self.successor.tell(told)));
                    if let Answer::Lease(Ok(Some(lease))) = &answer {
                        let named = TableAccess::of(lease);
                        if named != access {
                            preparing.extend(named.as_ref().map(|named| prepare(self.cloud.through(Some(named)))));
                            access = named;
                        }
                    }
                    give(&mut invocation, self.now(), answer);
                }
                Some(()) = telling.next() => {}
                Some(()) = preparing.next() => {}
                () = self.until(due) => invocation.handle_timer(self.now()),
            }
        }
    }

    /// Writes a row of the history. What has a row already was told when that was written; what could not be written is told
    /// all the same.
    async fn append(&self, cluster: &ClusterName, event: &Event) -> Option<Notification> {
        for attempt in 1..=APPEND_TRIES {
            match self.store.append(event).await {
                Ok(is_new) => return notification::of(event).filter(|_| is_new || attempt > 1),
                Err(failure) => {
                    tracing::warn!(%cluster, epoch = %event.epoch, attempt, %failure, "history not written");
                }
            }
        }
        notification::of(event)
    }

    /// Ends an operator's word that a node be stopped. One that stands is obeyed again, so this is worth a second try.
    async fn end_fence(&self, cluster: &ClusterName, request: &RequestId) {
        for attempt in 1..=APPEND_TRIES {
            match self.store.end_fence(cluster, request).await {
                Ok(()) => return,
                Err(failure) => {
                    tracing::warn!(%cluster, %request, attempt, %failure, "a word that a node be stopped was not ended");
                }
            }
        }
    }

    /// Answers an operator's request. Another invocation may have found another end of it before, and its word stands.
    async fn answer(&self, cluster: &ClusterName, request: &RequestId, answer: &str) {
        for attempt in 1..=APPEND_TRIES {
            match self.store.answer(cluster, request, answer).await {
                Ok(()) => return,
                Err(WriteFailure::Refused(first)) => {
                    return tracing::info!(%cluster, %request, first, answer, "request answered already");
                }
                Err(WriteFailure::Failed(failure)) => {
                    tracing::warn!(%cluster, %request, attempt, %failure, "request not answered");
                }
            }
        }
    }

    async fn until(&self, due: Option<BootTime>) {
        match due {
            Some(due) => tokio::time::sleep_until(self.origin + Duration::from_nanos(due.0)).await,
            None => pending().await,
        }
    }

    /// `cloud` reaches the route tables as the lease says that was read last.
    async fn perform(&self, cluster: &ClusterName, cloud: C, action: Action) -> Answer {
        match action {
            Action::ReadLease => Answer::Lease(self.store.lease(cluster).await),
            Action::ReadHeartbeats(instances) => {
                Answer::Heartbeats(self.store.heartbeats(cluster, &instances).await)
            }
            Action::CountSuspects => {
                let counted = self.store.suspect(cluster, self.now().wall).await;
                tracing::info!(%cluster, ?counted, limit = self.brake, "clusters that suspect");
                Answer::Counted(counted)
            }
            Action::Commit(grant) => Answer::Committed(self.store.commit(&grant).await),
            Action::Restore(restoration) => Answer::Restored(self.store.restore(&restoration).await),
            Action::Look(look) => {
                let sight = cloud.look(&look).await;
                Answer::Sight(look, sight)
            }
            Action::Call(call) => {
                let effect = cloud.call(&call).await;
                Answer::Effect(call, effect)
            }
            Action::RecordRotation { epoch, allocation, mark } => {
                let recorded = self.store.record_rotation(cluster, epoch, &allocation, &mark).await;
                if let Err(failure) = &recorded {
                    tracing::warn!(%cluster, %epoch, %allocation, ?mark, ?failure, "mark not recorded");
                }
                Answer::Rotation(allocation, recorded.is_ok())
            }
            Action::RecordMoved(moved) => Answer::Moved(self.store.record_moved(cluster, &moved).await),
            Action::Append(event) => Answer::Appended(self.append(cluster, &event).await),
            Action::Answer { request, answer } => {
                self.answer(cluster, &request, &answer).await;
                Answer::Told
            }
            Action::EndFence(request) => {
                self.end_fence(cluster, &request).await;
                Answer::Told
            }
            Action::WakeSuccessor => {
                self.successor.wake(cluster).await;
                Answer::Told
            }
        }
    }
}

/// Takes on the role of the route tables beside what comes before a move, so that no route waits for it. What became of it is
/// told by whoever needs it, and one that nobody has waited for ends with the invocation.
async fn prepare<C: Cloud>(cloud: C) {
    if let Err(failure) = cloud.prepare().await {
        tracing::warn!(%failure, "the role of the route tables is not taken on");
    }
}

fn give(invocation: &mut Invocation, now: Now, answer: Answer) {
    match answer {
        Answer::Lease(found) => invocation.handle_lease(now, found),
        Answer::Heartbeats(found) => invocation.handle_heartbeats(now, found),
        Answer::Counted(found) => invocation.handle_counted(now, found),
        Answer::Committed(answer) => invocation.handle_committed(now, answer),
        Answer::Restored(answer) => invocation.handle_restored(now, answer),
        Answer::Sight(look, answer) => invocation.handle_sight(now, &look, answer),
        Answer::Effect(call, answer) => {
            tracing::info!(
                cluster = %invocation.cluster(),
                call = call.action(),
                resource = call.resource(),
                failure = answer.as_ref().err().map(ToString::to_string),
                "step"
            );
            invocation.handle_effect(now, &call, answer);
        }
        Answer::Rotation(allocation, recorded) => {
            invocation.handle_rotation_recorded(now, &allocation, recorded);
        }
        Answer::Moved(outcome) => invocation.handle_moved_recorded(now, outcome),
        Answer::Appended(_) | Answer::Told => invocation.handle_told(now),
    }
}
