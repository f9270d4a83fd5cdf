//! Follows the descriptions of a cluster's route tables: takes in what fits by now, and lets go what does no more. What that
//! is, is judged in `baton_protocol::tables`; here it is asked and written.
//!
//! This comes after everything else of an invocation, since a service that is down waits for nothing, and so that a route
//! which somebody has deleted is made again before anybody asks which tables hold it. The change is written on the condition
//! that the lease is still the one that was judged, and a successor moves what was taken in.

use baton_cloud::Cloud;
use baton_protocol::access::TableAccess;
use baton_protocol::arbiter::Hint;
use baton_protocol::drift;
use baton_protocol::ec2::CloudFailure;
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::ClusterName;
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::resource::Route;
use baton_protocol::tables::{self, Change, Difference, LOOKS_APART, Refused};
use baton_protocol::wake::Why;
use baton_store::{Registration, Store};

use crate::drive::{Parts, Successor};
use crate::others;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// No tables are described, the cluster is not protected or is being moved, or what is astray is to be left.
    NotNow,
    /// The lease has the tables that fit.
    Unchanged,
    /// It has them from now on.
    Changed {
        /// How many routes were taken in.
        joined: usize,
        /// How many were let go.
        left: usize,
    },
    /// The lease was changed by somebody else since it was read. What is to be done is judged anew in the next turn.
    Superseded,
    /// EC2 did not answer, and nothing is let go for that.
    Unanswered(CloudFailure),
    /// The table could not be read or written.
    Failed(Failure),
}

/// Why it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is the cluster's turn, or somebody has called EC2 about a table.
    Turn,
    /// The turn of each hour: whether another cluster has the same table is asked as well.
    Hourly,
    /// Another invocation goes on, of this cluster or of one that has found the same table: only that is asked.
    Again,
    /// The invocation could not move everything: a table that is gone may be the reason, and then no other invocation
    /// brings the move to its end.
    Stuck,
    /// The lease was granted, to the first node perhaps: tables that were described before there was one are not known yet.
    Granted,
}

impl Asked {
    /// Whether an invocation that was woken so is to look. An operator's request is not kept waiting, and a holder that misses an
    /// address tells nothing of tables.
    pub fn by(hint: &Hint) -> Option<Self> {
        match hint.why {
            Some(Why::Request | Why::Missing | Why::Misplaced) => None,
            Some(Why::Continue) => Some(Self::Again),
            Some(Why::Probe) => Some(Self::Hourly),
            _ => hint.maybe_moved.then_some(Self::Turn),
        }
    }

    /// The same after what came of the invocation.
    pub fn after(asked: Option<Self>, is_stuck: bool, has_granted: bool) -> Option<Self> {
        match (is_stuck, asked) {
            (true, _) => Some(Self::Stuck),
            (false, Some(asked)) => Some(asked),
            (false, None) => has_granted.then_some(Self::Granted),
        }
    }
}

/// Looks which tables fit, and changes the lease where it has others.
pub async fn follow<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
    asked: Asked,
    by: &str,
) -> Followed {
    match attempt(parts, cluster, asked, by).await {
        Ok(followed) => followed,
        Err(failure) => Followed::Failed(failure),
    }
}

async fn attempt<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
    asked: Asked,
    by: &str,
) -> Result<Followed, Failure> {
    let lease = parts.store.lease(cluster).await?.filter(|lease| is_to_be_followed(lease, asked));
    let Some((lease, vpc)) = lease.and_then(|lease| Some((lease.clone(), lease.resources.choices.vpc?)))
    else {
        return Ok(Followed::NotNow);
    };
    // One that is stuck on something else is asked as well, or it would never give way.
    if matches!(asked, Asked::Hourly | Asked::Again | Asked::Stuck) {
        let settled = settle(parts, &lease, by).await?;
        if settled != Followed::Unchanged || asked == Asked::Again {
            return Ok(settled);
        }
    }
    let cloud = parts.cloud.through(TableAccess::of(&lease).as_ref());
    let found = match look(&cloud, &lease, &vpc).await {
        Ok(found) => found,
        Err(failure) => return Ok(Followed::Unanswered(failure)),
    };
    tell_refused(cluster, found.refused.iter());
    if found.joining.is_empty() && found.missing.is_empty() {
        return Ok(Followed::Unchanged);
    }
    let members: Vec<_> = lease.members.iter().map(|member| member.instance.clone()).collect();
    let heartbeats = parts.store.heartbeats(cluster, &members).await?;
    if drift::is_left(&lease, &heartbeats, parts.now().wall) {
        return Ok(Followed::NotNow);
    }
    let (others, prepared) = if found.joining.is_empty() {
        Default::default()
    } else {
        others::routes(&parts.store, cluster).await?
    };
    let (change, refused) = tables::change(&lease, &found.joining, &found.missing, &others, &prepared);
    tell_refused(cluster, refused.iter());
    let Some(change) = change else { return Ok(Followed::Unchanged) };
    let joins = !change.joined.is_empty();
    let summary = change.summary();
    let followed = write(parts, &lease, change, summary, by).await?;
    if let (Followed::Changed { .. }, true) = (&followed, joins)
        && let Some(lease) = parts.store.lease(cluster).await?
    {
        // That it could not be asked is no failure of what was done; the hour's turn asks again.
        match settle(parts, &lease, by).await {
            Ok(settled) => tracing::debug!(%cluster, ?settled, "looked for others with the same tables"),
            Err(failure) => tracing::warn!(%cluster, %failure, "cannot tell who else has the same tables"),
        }
    }
    Ok(followed)
}

/// Lets go what another cluster has as well and keeps, and wakes whoever has to let go what this one keeps.
async fn settle<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    lease: &Lease,
    by: &str,
) -> Result<Followed, Failure> {
    let contest = tables::contest(lease, &others::leases(&parts.store, &lease.cluster).await?);
    for loser in &contest.losers {
        tracing::warn!(cluster = %lease.cluster, %loser, "another cluster has taken in the same table, and has to let it go");
        parts.successor.wake(loser).await;
    }
    let Some(change) = tables::give_way(lease, &contest.lost) else { return Ok(Followed::Unchanged) };
    tell_refused(&lease.cluster, change.left.iter().map(|route| (route, &Refused::Shared)));
    let summary = format!("{}; another cluster has the same", change.summary());
    write(parts, lease, change, summary, by).await
}

/// A move that goes on is brought to its end first: what is to be moved does not change under it.
fn is_to_be_followed(lease: &Lease, asked: Asked) -> bool {
    let protected = lease.may_be_decided() && lease.state == LeaseState::Active && lease.holder.is_some();
    let rests = lease.moved == lease.epoch || asked == Asked::Stuck;
    let due = asked != Asked::Granted || tables::is_first_look(lease);
    protected && rests && due && !lease.resources.choices.tables.is_empty()
}

/// What the VPC shows. What is missing has to be missing from two answers; the second one is asked for when no stale answer
/// can be so old any more.
async fn look<C: Cloud>(cloud: &C, lease: &Lease, vpc: &str) -> Result<Difference, CloudFailure> {
    let first = tables::compare(lease, &cloud.tables_of(vpc).await?);
    if first.missing.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(LOOKS_APART).await;
    let second = tables::compare(lease, &cloud.tables_of(vpc).await?);
    let missing = first.missing.intersection(&second.missing).cloned().collect();
    Ok(Difference { missing, ..second })
}

async fn write<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    lease: &Lease,
    change: Change,
    summary: String,
    by: &str,
) -> Result<Followed, Failure> {
    let (joined, left) = (change.joined.len(), change.left.len());
    let at = parts.now().wall;
    let what = Happening::Registered { revision: lease.revision + 1, summary };
    let event = Event { cluster: lease.cluster.clone(), epoch: lease.epoch, at, by: by.to_owned(), what };
    let registration = Registration { resources: change.resources, ..Registration::of(lease, at, event) };
    match parts.store.reconfigure(&registration, lease.holder.as_ref()).await {
        Ok(()) => Ok(Followed::Changed { joined, left }),
        Err(WriteFailure::Refused(_)) => Ok(Followed::Superseded),
        Err(WriteFailure::Failed(failure)) => Err(failure),
    }
}

fn tell_refused<'a>(cluster: &ClusterName, refused: impl Iterator<Item = (&'a Route, &'a Refused)>) {
    for (route, why) in refused {
        tracing::warn!(%cluster, %route, %why, "a table fits the description and is not taken in");
    }
}
