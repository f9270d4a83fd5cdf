//! What listeners on the bus are told of how clusters stand: what has changed since this process looked before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_protocol::ids::ClusterName;
use baton_protocol::notification;
use baton_protocol::standing::Standing;
use baton_protocol::time::WallTime;
use futures_util::stream::{self, StreamExt};

use crate::sweep::{SIDE_BY_SIDE, Seen, Waker};

/// Who tells, in the events.
const BY: &str = "sweeper";
/// A bus that takes longer than this for all of them is told by the next sweep.
const ALL_WITHIN: Duration = Duration::from_secs(5);

/// How each cluster stood when this process told of it last.
#[derive(Debug, Default)]
pub(crate) struct News(Mutex<BTreeMap<ClusterName, Told>>);

#[derive(Debug, Clone)]
struct Told {
    standing: Standing,
    /// Whether the bus may have taken a part of it only. Then nobody knows what listeners believe, and they are told everything.
    doubt: bool,
}

impl News {
    fn told(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets whom it is not given.
    pub(crate) fn keep(&self, is_there: impl Fn(&ClusterName) -> bool) {
        self.told().retain(|cluster, _| is_there(cluster));
    }

    /// Tells of each cluster. Nothing waits for this but the end of the sweep.
    pub(crate) async fn tell<W: Waker>(&self, waker: &W, seen: Vec<(ClusterName, Seen)>, now: WallTime) {
        let each = seen.into_iter().map(|(cluster, seen)| async move {
            self.tell_of(waker, &cluster, &seen, now).await;
        });
        let all = stream::iter(each).buffer_unordered(SIDE_BY_SIDE).collect::<Vec<()>>();
        if tokio::time::timeout(ALL_WITHIN, all).await.is_err() {
            tracing::warn!("not all could be told in time; the next sweep tells them");
        }
    }

    async fn tell_of<W: Waker>(&self, waker: &W, cluster: &ClusterName, seen: &Seen, now: WallTime) {
        let Seen { lease, heartbeats, probe, probe_unread } = seen;
        let before = self.told().get(cluster).cloned();
        let mut standing = Standing::of(lease, heartbeats, probe.as_ref(), now);
        // In a pause nobody asks for a standby, and what could not be read says nothing: neither protects anything.
        if lease.is_paused(now) || *probe_unread {
            standing.keep_protection(before.as_ref().map(|told| &told.standing));
        }
        let changes = match &before {
            Some(told) if told.doubt => standing.in_full(lease, heartbeats),
            told => standing.since(told.as_ref().map(|told| &told.standing), lease, heartbeats),
        };
        let doubt = !changes.is_empty();
        self.told().insert(cluster.clone(), Told { standing: standing.clone(), doubt });
        for change in changes {
            let told = notification::of_change(lease, change, now, BY.to_owned());
            if let Err(failure) = waker.tell(&told).await {
                return tracing::warn!(%cluster, kind = told.detail_type, %failure, "not told yet");
            }
        }
        self.told().insert(cluster.clone(), Told { standing, doubt: false });
    }
}
