//! The way back to a preferred node, where a cluster has it happen by itself: the sweep has seen that it is due, and here it
//! is decided anew from strong reads. What it leads to is the request that an operator could write as well, and the holder
//! hands over in good order.

use baton_cloud::Cloud;
use baton_protocol::failback;
use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::request::{Request, Wish};
use baton_store::Store;

use crate::drive::{Parts, Successor};

/// Who asks, in the history.
const BY: &str = "arbiter";

/// What became of it in one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The holder is asked to hand over to this node.
    For(InstanceArn),
    /// It is not due, or not any more.
    NotDue,
    /// The node that it would go to is about to be terminated.
    Leaving,
    /// Somebody else has asked for something, or paused the cluster, since it was read.
    Overtaken,
    /// The table could not be read or written. Nothing is tried again: the next sweep comes.
    Failed(Failure),
}

/// Asks the holder to hand over, if that is due.
pub async fn ask<S: Store, C: Cloud, W: Successor>(parts: &Parts<S, C, W>, cluster: &ClusterName) -> Asked {
    match try_to(parts, cluster).await {
        Ok(asked) => asked,
        Err(failure) => Asked::Failed(failure),
    }
}

async fn try_to<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
) -> Result<Asked, Failure> {
    let store = &parts.store;
    let Some(lease) = store.lease(cluster).await?.filter(|lease| lease.may_be_decided()) else {
        return Ok(Asked::NotDue);
    };
    if lease.failback.is_manual() {
        return Ok(Asked::NotDue);
    }
    let members: Vec<InstanceArn> = lease.members.iter().map(|member| member.instance.clone()).collect();
    let heartbeats = store.heartbeats(cluster, &members).await?;
    let now = parts.now().wall;
    let Some(due) = failback::due(&lease, &heartbeats, now) else { return Ok(Asked::NotDue) };
    // Whether it still waits or has been let go: a termination that was told of comes.
    let announced = store.hooks(cluster).await?;
    if announced.iter().any(|hook| hook.instance == due.to.instance_id()) {
        return Ok(Asked::Leaving);
    }
    let request = Request {
        cluster: cluster.clone(),
        id: failback::request_id(lease.epoch, now),
        wish: Wish::Failback { to: due.to.clone(), why: due.why },
        by: BY.to_owned(),
        at: now,
        until: due.until,
        epoch: lease.epoch,
        answer: None,
    };
    match store.ask(&request).await {
        Ok(()) => Ok(Asked::For(due.to)),
        Err(WriteFailure::Refused(_)) => Ok(Asked::Overtaken),
        Err(WriteFailure::Failed(failure)) => Err(failure),
    }
}
