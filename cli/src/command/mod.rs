//! The commands, one per file, and what they share: the session, the choice of the cluster, and one reading of it.

pub mod doctor;
pub mod drain;
pub mod exclude;
pub mod failback;
pub mod failover;
pub mod fence;
pub mod history;
pub mod pause;
pub mod restore;
pub mod resume;
pub mod status;
pub mod switchover;

use std::collections::BTreeMap;

use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::outcome::Failure;
use baton_protocol::probe::Probe;
use baton_protocol::time::WallTime;
use baton_store::Store;

use crate::args::Format;
use crate::clock::Clock;
use crate::trouble::{Trouble, join};
use crate::view::{self, View};

/// What a command works with.
#[derive(Debug)]
pub struct Session<'a, S, W, C> {
    /// The record.
    pub store: &'a S,
    /// The event bus.
    pub waker: &'a W,
    /// The time.
    pub clock: &'a C,
    /// Who asks.
    pub who: String,
    /// How results are written.
    pub format: Format,
}

/// One reading of a cluster.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The lease.
    pub lease: Lease,
    /// The heartbeats of its nodes; those never heard are absent.
    pub heartbeats: BTreeMap<InstanceArn, Heartbeat>,
    /// What the last probe found; none before the first.
    pub probe: Option<Probe>,
    /// When it was read.
    pub at: WallTime,
}

impl Snapshot {
    /// As it is shown.
    pub fn view(&self) -> View {
        View::of(&self.lease, &self.heartbeats, self.probe.as_ref(), self.at)
    }
}

impl<S: Store, W, C: Clock> Session<'_, S, W, C> {
    /// The cluster that was named, or the only one there is.
    pub async fn cluster(&self, named: Option<&ClusterName>) -> Result<ClusterName, Trouble> {
        if let Some(named) = named {
            return Ok(named.clone());
        }
        let known =
            self.known().await.map_err(|failure| Trouble::of_table("reading the clusters", &failure))?;
        match known.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Trouble::new(crate::exit::Exit::Missing, "no cluster is registered in this table")
                .help("check --table and --region; a cluster is registered by its CloudFormation stack")),
            several => Err(Trouble::new(
                crate::exit::Exit::Usage,
                format!("{} clusters are registered: name one of {}", several.len(), join(several)),
            )
            .help("give it as the argument, with --cluster or in BATON_CLUSTER")),
        }
    }

    /// The lease of a cluster that must exist.
    pub async fn lease(&self, cluster: &ClusterName) -> Result<Lease, Trouble> {
        match self.store.lease(cluster).await {
            Ok(Some(lease)) => Ok(lease),
            Ok(None) => Err(Trouble::unknown_cluster(cluster, self.known().await.ok().as_deref())),
            Err(failure) => Err(Trouble::of_table("reading the lease", &failure)),
        }
    }

    /// The lease and the heartbeats of its nodes, and when they were read.
    pub async fn snapshot(&self, cluster: &ClusterName) -> Result<Snapshot, Trouble> {
        let lease = self.lease(cluster).await?;
        let heartbeats = self.store.heartbeats(cluster, &view::instances(&lease)).await;
        let heartbeats =
            heartbeats.map_err(|failure| Trouble::of_table("reading the heartbeats", &failure))?;
        // It is for information, and whoever must act now is not kept from it.
        let probe = self.store.probe(cluster).await.unwrap_or_default();
        Ok(Snapshot { lease, heartbeats, probe, at: self.clock.now() })
    }

    async fn known(&self) -> Result<Vec<ClusterName>, Failure> {
        let mut known: Vec<ClusterName> =
            self.store.clusters().await?.into_iter().map(|entry| entry.cluster).collect();
        known.sort();
        Ok(known)
    }
}

/// Refuses a request to a registration that was deleted.
fn must_be_active(lease: &Lease) -> Result<(), Trouble> {
    if lease.state == LeaseState::Retired {
        return Err(Trouble::refused(format!("the registration of `{}` is retired", lease.cluster))
            .help("agents leave the service as it is; register the cluster again with its stack"));
    }
    Ok(())
}
