//! A real table with clusters in it, and what everybody but the measured agent would write there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_conformance::engine::Engine;
use baton_conformance::store::build;
use baton_protocol::grant::{Committed, HolderCheck};
use baton_protocol::heartbeat::{Beat, Health, Heartbeat};
use baton_protocol::history::Ground;
use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::time::WallTime;
use baton_protocol::timing::{Durations, Timing};
use baton_store::{DynamoStore, Registration, Start, Store};

use crate::Trouble;

/// The name of the table.
pub const NAME: &str = "baton";
/// The longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STANDBY_BEATS_EVERY: Duration = Duration::from_millis(200);

/// The table. The engine in it ends when this is dropped.
#[derive(Debug)]
pub struct Table {
    engine: Engine,
    store: DynamoStore,
}

/// The instance whose agent is measured.
pub fn measured() -> InstanceArn {
    build::node(1)
}

/// For what is not measured: twice as long a validity as of the default profile, so that a machine that stands still for seconds
/// costs no lease.
pub fn patient() -> Timing {
    let durations = Durations { validity_ms: 8_000, silence_ms: 12_000, ..Timing::DEFAULT.durations() };
    Timing::new(durations).expect("silence outlasts validity")
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Table {
    /// An empty table.
    pub async fn start() -> Self {
        let engine = Engine::start();
        engine.create_table(NAME).await;
        let store = DynamoStore::new(&engine.config().await, NAME);
        Self { engine, store }
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> String {
        self.engine.endpoint().trim_start_matches("http://").to_owned()
    }

    /// Registers a cluster in strict mode. Nobody holds it yet, and a healthy standby has beaten once.
    pub async fn register(&self, cluster: &ClusterName, timing: Timing) -> Result<(), Trouble> {
        let made = build::registration(1);
        let mut event = made.event.clone();
        event.cluster = cluster.clone();
        let registration = Registration { cluster: cluster.clone(), timing, event, at: now(), ..made };
        self.store.register(&registration).await.map_err(said)?;
        let start = Start { at: now(), ..build::start(None, 1) };
        self.store.start(cluster, &build::node(2), &start).await.map_err(said)?;
        self.standby_beats_once(cluster, 2).await
    }

    async fn standby_beats_once(&self, cluster: &ClusterName, seq: u64) -> Result<(), Trouble> {
        let beat = Beat { beat_at: now(), ..build::beat(1, seq) };
        self.store.beat(cluster, &build::node(2), &beat).await.map_err(said)
    }

    /// Lets the standby beat on until the task is dropped.
    pub async fn standby_beats(&self, cluster: &ClusterName) {
        let mut tick = tokio::time::interval(STANDBY_BEATS_EVERY);
        for seq in 3.. {
            tick.tick().await;
            // One that is lost is followed by the next.
            drop(self.standby_beats_once(cluster, seq).await);
        }
    }

    /// Waits until the measured node's heartbeat is as wanted.
    pub async fn until(
        &self,
        what: &str,
        cluster: &ClusterName,
        wanted: impl Fn(&Heartbeat) -> bool,
    ) -> Result<Heartbeat, Trouble> {
        let look = async {
            let mut tick = tokio::time::interval(LOOK_EVERY);
            loop {
                tick.tick().await;
                if let Ok(Some(found)) = self.store.heartbeat(cluster, &measured()).await
                    && wanted(&found)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(LIMIT, look).await.map_err(|_| format!("in vain until {what}").into())
    }

    /// Gives a vacant lease to the measured node once it is healthy, and waits until it serves.
    pub async fn grant(&self, cluster: &ClusterName) -> Result<(), Trouble> {
        let found = self.until("the node is well", cluster, |found| found.health == Health::Ok).await?;
        let lease = self.store.lease(cluster).await.map_err(said)?.ok_or("no lease")?;
        let mut grant = build::grant(&lease, Ground::Vacancy, HolderCheck::Nobody, 1, 1);
        grant.cluster = cluster.clone();
        grant.event.cluster = cluster.clone();
        grant.to_incarnation = found.incarnation;
        match self.store.commit(&grant).await.map_err(said)? {
            Committed::Granted => {}
            other => return Err(format!("expected a grant, found {other:?}").into()),
        }
        self.until("it serves", cluster, |found| found.serving_epoch.is_some()).await?;
        Ok(())
    }
}

fn said(failure: impl std::fmt::Debug) -> Trouble {
    format!("the table: {failure:?}").into()
}
