//! Asks EC2 whether everything of a cluster could be moved now, and keeps the answer for whoever wants to know before it is
//! needed. The arbiter asks, since it is its own role that would have to be allowed.

use std::time::Duration;

use baton_cloud::Cloud;
use baton_protocol::access::TableAccess;
use baton_protocol::ec2::Call;
use baton_protocol::ids::ClusterName;
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::outcome::Failure;
use baton_protocol::probe::{self, Probe};
use baton_protocol::time::BootTime;
use baton_store::Store;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use crate::drive::{Parts, Successor};

/// How many calls are tried side by side. EC2 counts them as the calls that they ask about, and a move has to have its share.
const SIDE_BY_SIDE: usize = 4;
/// What is left of an invocation's time when a probe is given up.
const FOR_THE_ANSWER: Duration = Duration::from_secs(4);

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It is kept.
    Kept(Probe),
    /// The cluster is not protected, is being moved, or is of a newer schema.
    NotNow,
    /// EC2 did not answer everything, or there was no time to ask; what was kept before stays.
    Unknown,
    /// The table could not be read or written.
    Failed(Failure),
}

/// Probes a cluster.
pub async fn probe<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
    deadline: BootTime,
) -> Probed {
    let lease = match parts.store.lease(cluster).await {
        Ok(Some(lease)) if is_to_be_probed(&lease) => lease,
        Ok(_) => return Probed::NotNow,
        Err(failure) => return Probed::Failed(failure),
    };
    let left = (deadline - FOR_THE_ANSWER).since(parts.now().boot);
    let Ok(Some(found)) = tokio::time::timeout(left, ask(parts, &lease)).await else {
        return Probed::Unknown;
    };
    match parts.store.record_probe(cluster, &found).await {
        Ok(()) => Probed::Kept(found),
        Err(failure) => Probed::Failed(failure),
    }
}

fn is_to_be_probed(lease: &Lease) -> bool {
    lease.may_be_decided() && lease.state == LeaseState::Active && lease.moved == lease.epoch
}

async fn ask<S: Store, C: Cloud, W: Successor>(parts: &Parts<S, C, W>, lease: &Lease) -> Option<Probe> {
    let cloud = &parts.cloud.through(TableAccess::of(lease).as_ref());
    let looks = probe::looks(lease);
    let sights = join_all(looks.iter().map(|look| cloud.look(look))).await;
    let tried = probe::tried(lease, parts.now().wall);
    let calls: Vec<Call> = tried.iter().map(|trial| trial.call.clone()).collect();
    let trials = tried.into_iter().map(|trial| async {
        let answer = cloud.probe(&trial.call).await;
        (trial, answer)
    });
    let answers = stream::iter(trials).buffer_unordered(SIDE_BY_SIDE).collect().await;
    let mut found = probe::judge(lease, sights, answers, parts.now().wall)?;
    if probe::trials(lease).len() > calls.len() {
        let before = parts.store.probe(&lease.cluster).await.ok()?;
        probe::keep_of(before.as_ref(), lease, &calls, &mut found);
    }
    Some(found)
}
