//! Follows the tag that names a cluster's nodes: takes in who has come, retires who has gone, and asks a holder without the
//! tag to hand over. What is to be done is judged in `baton_protocol::roster`; here it is asked and written.
//!
//! This comes after everything else of an invocation, since a service that is down waits for nothing. The change is written
//! on the condition that the lease is still the one that was judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_cloud::{Cloud, interfaces_of_newcomers, seen};
use baton_protocol::arbiter::Hint;
use baton_protocol::ec2::CloudFailure;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::{ClusterName, InstanceArn, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::notification;
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::request::{Request, Wish};
use baton_protocol::roster::{self, Change, Seen, Standing};
use baton_protocol::time::WallTime;
use baton_store::{Registration, Store};

use crate::drive::{Parts, Successor};
use crate::others;

/// Of so many instances that carry the tag the heartbeats are read: as many as one read of the table shows beside the members'.
const NEWCOMERS: usize = 50;
/// For so long a holder without the tag is asked to hand over; then it is asked again.
const ASKED_FOR: Duration = Duration::from_secs(600);

/// What became of a look at the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The cluster names its nodes one by one, is not protected, is being moved, or is of a newer schema.
    NotAsked,
    /// Everybody is who the tag says.
    Unchanged,
    /// The members were changed.
    Changed {
        /// How many joined.
        joined: usize,
        /// How many were retired.
        retired: usize,
    },
    /// The lease was changed by somebody else since it was read. What is to be done is judged anew in the next turn.
    Superseded,
    /// EC2 did not answer, and nobody is retired for that.
    Unanswered(CloudFailure),
    /// The table could not be read or written.
    Failed(Failure),
}

/// Looks who carries the tag, and changes the members where that asks for it. `stands` says that the invocation could not
/// bring the move to its end, or found nobody to take over: only other members may help then.
pub async fn follow<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    hint: &Hint,
    stands: bool,
    by: &str,
) -> Followed {
    match attempt(parts, hint, stands, by).await {
        Ok(followed) => followed,
        Err(failure) => Followed::Failed(failure),
    }
}

async fn attempt<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    hint: &Hint,
    stands: bool,
    by: &str,
) -> Result<Followed, Failure> {
    let asked = |lease: &Lease| roster::is_asked(hint, lease) && (stands || !is_being_moved(lease));
    let Some(lease) = parts.store.lease(&hint.cluster).await?.filter(asked) else {
        return Ok(Followed::NotAsked);
    };
    let Some(standing) = Standing::of(&lease) else { return Ok(Followed::NotAsked) };
    let seen = match look(&parts.cloud, &standing).await {
        Ok(seen) => seen,
        Err(failure) => return Ok(Followed::Unanswered(failure)),
    };
    let heartbeats = heartbeats(&parts.store, &lease, &seen).await?;
    let now = parts.now().wall;
    let mut judgement = roster::judge(&standing, &seen, &heartbeats, now);
    let taken = match judgement.join.is_empty() || lease.resources.addresses.is_empty() {
        true => BTreeSet::new(),
        false => others::seats(&parts.store, &lease.cluster).await?,
    };
    if !taken.is_empty() {
        judgement = roster::judge(&Standing { taken: &taken, ..standing.clone() }, &seen, &heartbeats, now);
    }
    for (instance, why) in &judgement.unfit {
        tracing::warn!(cluster = %lease.cluster, %instance, why, "carries the tag and cannot join");
    }
    let followed = match roster::change(&lease, &judgement) {
        Some(change) => write(parts, &lease, change, by, now).await?,
        None => Followed::Unchanged,
    };
    if judgement.hand_over && followed != Followed::Superseded {
        hand_over(&parts.store, &lease, by, now).await?;
    }
    Ok(followed)
}

/// A move that goes on is another invocation's, and a change of the revision under it would end that.
fn is_being_moved(lease: &Lease) -> bool {
    lease.holder.is_some() && lease.moved < lease.epoch
}

/// All answers, or none: half of what EC2 knows would pass for the absence of the rest.
async fn look<C: Cloud>(cloud: &C, standing: &Standing<'_>) -> Result<Seen, CloudFailure> {
    let ids: Vec<_> = standing.members.iter().map(|member| member.instance.instance_id()).collect();
    let (tagged, members) = tokio::join!(cloud.tagged(&standing.roster.tag), cloud.instances(&ids));
    let (tagged, members) = (tagged?, members?);
    let newcomers = match standing.asks_for_tags() {
        true => interfaces_of_newcomers(&tagged, standing.members),
        false => Vec::new(),
    };
    let tags = match newcomers.is_empty() {
        true => BTreeMap::new(),
        false => cloud.interface_tags(&newcomers).await?,
    };
    Ok(seen(&tagged, &members, &tags))
}

async fn heartbeats<S: Store>(
    store: &S,
    lease: &Lease,
    seen: &Seen,
) -> Result<BTreeMap<InstanceArn, Heartbeat>, Failure> {
    let mut instances: Vec<_> = lease.members.iter().map(|member| member.instance.clone()).collect();
    let newcomers = seen.tagged.values().map(|shown| &shown.instance);
    let newcomers: Vec<_> = newcomers.filter(|instance| lease.member(instance).is_none()).collect();
    instances.extend(newcomers.into_iter().take(NEWCOMERS).cloned());
    store.heartbeats(&lease.cluster, &instances).await
}

async fn write<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    lease: &Lease,
    change: Change,
    by: &str,
    now: WallTime,
) -> Result<Followed, Failure> {
    let (joined, retired) = (change.joined.len(), change.retired.len());
    let registration = Registration::of_members(lease, change, by, now);
    match parts.store.reconfigure(&registration, lease.holder.as_ref()).await {
        Ok(()) => {
            if let Some(told) = notification::of(&registration.event) {
                parts.successor.tell(told).await;
            }
            Ok(Followed::Changed { joined, retired })
        }
        Err(WriteFailure::Refused(_)) => Ok(Followed::Superseded),
        Err(WriteFailure::Failed(failure)) => Err(failure),
    }
}

/// Asks the holder to hand over as an operator would. It obeys only towards a node that it sees beating.
async fn hand_over<S: Store>(store: &S, lease: &Lease, by: &str, now: WallTime) -> Result<(), Failure> {
    if lease.live_intent(now).is_some() {
        return Ok(());
    }
    let Some(request) = request(lease, by, now) else { return Ok(()) };
    match store.ask(&request).await {
        // The id is taken: it was asked for in this time already.
        Ok(()) | Err(WriteFailure::Refused(_)) => Ok(()),
        Err(WriteFailure::Failed(failure)) => Err(failure),
    }
}

/// One for each holder, epoch and stretch of time, however many invocations ask.
fn request(lease: &Lease, by: &str, now: WallTime) -> Option<Request> {
    let stretch = u128::from(now.0) / ASKED_FOR.as_millis();
    let id = format!("untagged-{}-{}-{stretch}", lease.holder.as_ref()?.instance_id(), lease.epoch);
    Some(Request {
        cluster: lease.cluster.clone(),
        id: RequestId::new(id).ok()?,
        wish: Wish::Switchover { to: None, why: "the holder's tag was taken away".to_owned() },
        by: by.to_owned(),
        at: now,
        until: now + ASKED_FOR,
        epoch: lease.epoch,
        answer: None,
    })
}

/// The clusters whose nodes are the instances of this Auto Scaling group.
pub(crate) async fn clusters_of_group<S: Store>(store: &S, group: &str) -> Result<Vec<ClusterName>, Failure> {
    let entries = store.clusters().await?;
    let theirs = entries.into_iter().filter(|entry| entry.group.as_deref() == Some(group));
    Ok(theirs.map(|entry| entry.cluster).collect())
}
