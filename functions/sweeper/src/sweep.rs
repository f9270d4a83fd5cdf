//! One sweep: every cluster of the directory, several at a time, one line in the log, one answer to Lambda.
//!
//! A cluster that cannot be read keeps no other from being swept. It makes the whole sweep a failure all the same, after
//! the others are done, so that Lambda tries again and the alarm on errors sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_client::{Bus, BusFailure, metric};
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::lease::{Lease, SCHEMA};
use baton_protocol::notification::Notification;
use baton_protocol::outcome::Failure;
use baton_protocol::probe::Probe;
use baton_protocol::readiness::{Want, wants};
use baton_protocol::sweep::{ROUND, Reason, SWEEP, Span, needs_wake};
use baton_protocol::time::WallTime;
use baton_protocol::wake::{SOURCE_CONTROL_PLANE, Wake};
use baton_store::Store;
use futures_util::stream::{self, StreamExt};
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};

use crate::news::News;

/// How many clusters are looked at side by side: enough for a thousand within a minute at 100 ms a read, too few to use up
/// the table's rate.
pub(crate) const SIDE_BY_SIDE: usize = 16;

/// How many clusters a line in the log or a sentence names.
const NAMED: usize = 10;

/// Sends wakes to the arbiter.
pub trait Waker: Send + Sync {
    /// Sends one, as a function of the control plane.
    fn wake(&self, wake: &Wake) -> impl Future<Output = Result<(), BusFailure>> + Send;

    /// Tells whoever listens how a cluster stands.
    fn tell(&self, told: &Notification) -> impl Future<Output = Result<(), BusFailure>> + Send;
}

impl Waker for Bus {
    async fn wake(&self, wake: &Wake) -> Result<(), BusFailure> {
        Self::wake(self, SOURCE_CONTROL_PLANE, wake).await
    }

    async fn tell(&self, told: &Notification) -> Result<(), BusFailure> {
        Self::tell(self, told).await
    }
}

/// Why a sweep is to be tried again. The words given to Lambda are fixed: alarms and the runbook use them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// Nothing was swept.
    #[error(
        "expected the directory of clusters, found: {0}; every cluster goes unswept until it can be read"
    )]
    DirectoryUnreadable(Failure),
    /// These clusters were not looked at.
    #[error("could not read {} of {swept} clusters; the others were swept: {}", .failures.len(), name(.failures))]
    ClustersUnreadable {
        /// How many clusters there are.
        swept: usize,
        /// Which, and why.
        failures: Vec<String>,
    },
    /// These clusters need the arbiter, and it was not woken.
    #[error("could not wake the arbiter for {} of {swept} clusters: {}", .failures.len(), name(.failures))]
    WakesNotSent {
        /// How many clusters there are.
        swept: usize,
        /// Which, and why.
        failures: Vec<String>,
    },
}

impl From<SweepError> for Diagnostic {
    fn from(error: SweepError) -> Self {
        let error_type = match &error {
            SweepError::DirectoryUnreadable(_) => "DirectoryUnreadable",
            SweepError::ClustersUnreadable { .. } => "ClustersUnreadable",
            SweepError::WakesNotSent { .. } => "WakesNotSent",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// What came of one cluster.
#[derive(Debug)]
enum Swept {
    InOrder,
    Woken(Reason),
    Unreadable(Failure),
    NotWoken(Reason, BusFailure),
}

/// What came of one cluster, what it wants, and what was read of it.
type Look = (Swept, Vec<Want>, Option<Seen>);

/// How the clusters stand, for whoever counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// How many clusters there are.
    pub clusters: usize,
    /// Which of them want what. One that could not be read wants everything: nobody knows.
    pub wants: BTreeMap<Want, Vec<ClusterName>>,
}

impl Census {
    /// As a line of the log with metrics in it.
    pub fn line(&self, control_plane: &str, now: WallTime) -> Value {
        let count = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
        let of = |want| self.wants.get(&want).map_or(0, Vec::len);
        let wants = Want::ALL.map(|want| (want.name(), count(of(want))));
        let counts: Vec<_> = [("Clusters", count(self.clusters))].into_iter().chain(wants).collect();
        let named = self.wants.iter().map(|(want, clusters)| {
            let clusters: Vec<_> = clusters.iter().map(ToString::to_string).collect();
            (want.name().to_owned(), json!(name(&clusters)))
        });
        metric::line(control_plane, now.0, &counts, Value::Object(named.collect()))
    }
}

/// When this process has looked at each cluster last, and how it stood. One that it has not looked at is taken to have been well, a
/// minute ago.
#[derive(Debug, Default)]
pub struct Memory {
    looks: Mutex<BTreeMap<ClusterName, WallTime>>,
    news: News,
}

/// A process that slept longer than this does not make up for it, or every cluster would have its turn at once.
const REMEMBERED: Duration = ROUND;

impl Memory {
    fn span(&self, cluster: &ClusterName, now: WallTime) -> Span {
        let last = self.last(cluster).filter(|last| now.distance(*last) <= REMEMBERED + SWEEP);
        last.map_or_else(|| Span::minute(now), |since| Span { since, until: now })
    }

    fn last(&self, cluster: &ClusterName) -> Option<WallTime> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).copied()
    }

    /// Keeps who was looked at, and forgets who is no cluster any more.
    fn keep(&self, looked_at: impl Iterator<Item = ClusterName>, all: &BTreeSet<ClusterName>, now: WallTime) {
        self.news.keep(|cluster| all.contains(cluster));
        let mut memory = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|cluster, _| all.contains(cluster));
        memory.extend(looked_at.map(|cluster| (cluster, now)));
    }
}

/// Sweeps every cluster once. The answer says how many there are and how many were woken; `count` is told how they stand.
/// Once `time_is_up`, what has not been looked at counts as unreadable: better a census with gaps than none. It comes first in
/// the next sweep.
pub async fn sweep<S: Store, W: Waker>(
    store: &S,
    waker: &W,
    memory: &Memory,
    now: WallTime,
    time_is_up: impl Future<Output = ()>,
    count: impl FnOnce(&Census),
) -> Result<Value, SweepError> {
    let entries = store.clusters().await.map_err(SweepError::DirectoryUnreadable)?;
    let clusters: BTreeSet<ClusterName> = entries.into_iter().map(|entry| entry.cluster).collect();
    let swept = clusters.len();
    let mut longest_ago: Vec<&ClusterName> = clusters.iter().collect();
    longest_ago.sort_by_key(|cluster| memory.last(cluster));
    let looks = longest_ago.into_iter().map(|cluster| async move {
        let outcome = look_at(store, waker, cluster, memory, now).await;
        (cluster.clone(), outcome)
    });
    // By name, whatever the order in which answers came.
    let looks = stream::iter(looks).buffer_unordered(SIDE_BY_SIDE).take_until(time_is_up);
    let mut outcomes: BTreeMap<_, _> = looks.collect().await;
    let done = |(cluster, (swept, ..)): (&ClusterName, &Look)| {
        matches!(swept, Swept::InOrder | Swept::Woken(_)).then(|| cluster.clone())
    };
    memory.keep(outcomes.iter().filter_map(done), &clusters, now);
    for cluster in clusters {
        outcomes.entry(cluster).or_insert_with(|| {
            let why = "the sweep's time was up";
            (Swept::Unreadable(Failure::Unknown(why.to_owned())), Want::ALL.to_vec(), None)
        });
    }
    let (mut woken, mut unreadable, mut not_woken) = (Vec::new(), Vec::new(), Vec::new());
    let mut census = Census { clusters: swept, ..Census::default() };
    let mut seen = Vec::new();
    for (cluster, (outcome, wants, found)) in outcomes {
        for want in wants {
            census.wants.entry(want).or_default().push(cluster.clone());
        }
        seen.extend(found.map(|found| (cluster.clone(), found)));
        match outcome {
            Swept::InOrder => {}
            Swept::Woken(reason) => woken.push(format!("{cluster} ({reason})")),
            Swept::Unreadable(failure) => unreadable.push(format!("{cluster} ({failure})")),
            Swept::NotWoken(reason, failure) => not_woken.push(format!("{cluster} ({reason}): {failure}")),
        }
    }
    count(&census);
    tracing::info!(
        clusters = swept,
        woken = woken.len(),
        unreadable = unreadable.len(),
        not_woken = not_woken.len(),
        reason = name(&woken),
        failures = name([unreadable.as_slice(), not_woken.as_slice()].concat().as_slice()),
        "sweep"
    );
    memory.news.tell(waker, seen, now).await;
    if !unreadable.is_empty() {
        return Err(SweepError::ClustersUnreadable { swept, failures: unreadable });
    }
    if !not_woken.is_empty() {
        return Err(SweepError::WakesNotSent { swept, failures: not_woken });
    }
    Ok(json!({ "clusters": swept, "woken": woken.len() }))
}

async fn look_at<S: Store, W: Waker>(
    store: &S,
    waker: &W,
    cluster: &ClusterName,
    memory: &Memory,
    now: WallTime,
) -> Look {
    let seen = match read(store, cluster).await {
        Ok(seen) => seen,
        Err(failure) => return (Swept::Unreadable(failure), Want::ALL.to_vec(), None),
    };
    let Seen { lease, heartbeats, probe, .. } = &seen;
    let wants = wants(lease, heartbeats, probe.as_ref(), now);
    let swept = match needs_wake(lease, heartbeats, probe.as_ref(), memory.span(cluster, now)) {
        None => Swept::InOrder,
        Some(reason) => {
            let wake = Wake { cluster: cluster.clone(), why: reason.why(), schema: SCHEMA };
            match waker.wake(&wake).await {
                Ok(()) => Swept::Woken(reason),
                Err(failure) => Swept::NotWoken(reason, failure),
            }
        }
    };
    (swept, wants, Some(seen))
}

/// What is read of a cluster.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) lease: Lease,
    pub(crate) heartbeats: BTreeMap<InstanceArn, Heartbeat>,
    pub(crate) probe: Option<Probe>,
    /// Whether there may be one that could not be read.
    pub(crate) probe_unread: bool,
}

async fn read<S: Store>(store: &S, cluster: &ClusterName) -> Result<Seen, Failure> {
    let Some(lease) = store.lease(cluster).await? else {
        let why = "it is in the directory and has no lease";
        return Err(Failure::Malformed(why.to_owned()));
    };
    let mut instances: BTreeSet<InstanceArn> =
        lease.members.iter().map(|member| member.instance.clone()).collect();
    instances.extend(lease.holder.clone());
    let instances: Vec<_> = instances.into_iter().collect();
    let heartbeats = store.heartbeats(cluster, &instances).await?;
    // What it says is not worth a wake that is not sent; nor would another probe come that puts it right.
    let (probe, probe_unread) = match store.probe(cluster).await {
        Ok(probe) => (probe, false),
        Err(failure) => {
            tracing::warn!(%cluster, %failure, "what the last probe found cannot be read");
            (None, true)
        }
    };
    Ok(Seen { lease, heartbeats, probe, probe_unread })
}

/// The first few of a list, and how many more there are.
fn name(all: &[String]) -> String {
    let first = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
