//! What the other clusters call their own, so that nothing of it is taken in.

use std::collections::BTreeSet;

use baton_protocol::ids::{ClusterName, RouteTableId};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::outcome::Failure;
use baton_protocol::resource::{Placement, Route};
use baton_store::Store;
use futures_util::stream::{self, StreamExt, TryStreamExt};

/// How many leases of other clusters are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// The routes of the other clusters, and the tables that are prepared for their nodes.
pub(crate) async fn routes<S: Store>(
    store: &S,
    own: &ClusterName,
) -> Result<(BTreeSet<Route>, BTreeSet<RouteTableId>), Failure> {
    let (mut routes, mut prepared) = (BTreeSet::new(), BTreeSet::new());
    for lease in leases(store, own).await? {
        prepared.extend(lease.resources.prepared().cloned());
        routes.extend(lease.resources.routes);
    }
    Ok((routes, prepared))
}

/// Where the Elastic IPs of the other clusters may sit, on any of their nodes.
pub(crate) async fn seats<S: Store>(store: &S, own: &ClusterName) -> Result<BTreeSet<Placement>, Failure> {
    let leases = leases(store, own).await?;
    let members = leases.into_iter().flat_map(|lease| lease.members);
    Ok(members.flat_map(|member| member.placements.into_values()).collect())
}

/// The active leases. One that cannot be read may have anything, so then there is no answer.
pub(crate) async fn leases<S: Store>(store: &S, own: &ClusterName) -> Result<Vec<Lease>, Failure> {
    let entries = store.clusters().await?.into_iter().filter(|entry| entry.cluster != *own);
    let leases = stream::iter(entries).map(|entry| async move { store.lease(&entry.cluster).await });
    let leases: Vec<Option<Lease>> = leases.buffer_unordered(SIDE_BY_SIDE).try_collect().await?;
    Ok(leases.into_iter().flatten().filter(|lease| lease.state == LeaseState::Active).collect())
}
