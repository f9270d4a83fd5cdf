//! A small cluster with the twins of the table and of EC2, and the arbiter as it ships.

use std::sync::Mutex;

use baton_arbiter::drive::{Parts, Successor};
use baton_arbiter::handler::handle;
use baton_client::ScalingFailure;
use baton_cloud::MemoryCloud;
use baton_cloud::memory::MemoryNode;
use baton_protocol::ec2::{Call, RouteTarget};
use baton_protocol::heartbeat::{Beat, Claim, Health};
use baton_protocol::history::{Event, Happening};
use baton_protocol::hook::Hook;
use baton_protocol::ids::{
    ClusterName, Epoch, Incarnation, InstanceId, NodeName, RegistrationUid, RequestId, RouteTableId, Seq,
};
use baton_protocol::lease::{Lease, Member, Mode};
use baton_protocol::notification::Notification;
use baton_protocol::request::{Request, Wish};
use baton_protocol::resource::{Address, Destination, Resources, Route, SubnetTables};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_store::{MemoryStore, Registration, Start, Store};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) const DESTINATION: &str = "192.0.2.10/32";

#[derive(Default)]
pub(crate) struct Woken {
    clusters: Mutex<Vec<ClusterName>>,
    told: Mutex<Vec<Notification>>,
    /// What Auto Scaling was told may go on.
    completed: Mutex<Vec<Hook>>,
    /// What it answers.
    pub(crate) scaling_fails: Mutex<Option<ScalingFailure>>,
}

impl Woken {
    /// What was told since the last time, by kind.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let mut told = self.told.lock().expect("no test panics in here");
        told.drain(..).map(|told| told.detail_type).collect()
    }
}

impl Successor for Woken {
    async fn wake(&self, cluster: &ClusterName) {
        self.clusters.lock().expect("no test panics in here").push(cluster.clone());
    }

    async fn tell(&self, told: Notification) {
        self.told.lock().expect("no test panics in here").push(told);
    }

    async fn complete(&self, hook: &Hook) -> Result<(), ScalingFailure> {
        self.completed.lock().expect("no test panics in here").push(hook.clone());
        self.scaling_fails.lock().expect("no test panics in here").clone().map_or(Ok(()), Err)
    }
}

/// Three nodes in three zones, addresses and tables, registered and beating; nobody holds yet.
pub(crate) struct World {
    pub(crate) parts: Parts<MemoryStore, MemoryCloud, Woken>,
    pub(crate) vpc: String,
    pub(crate) nodes: Vec<MemoryNode>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) tables: Vec<RouteTableId>,
    pub(crate) subnets: Vec<SubnetTables>,
    seq: u64,
}

/// The nodes' names.
const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn cluster() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

pub(crate) fn incarnation() -> Incarnation {
    Incarnation::new("run-1").expect("valid")
}

pub(crate) fn event(what: Happening) -> Event {
    Event { cluster: cluster(), epoch: Epoch(0), at: WallTime(1), by: "test".to_owned(), what }
}

impl World {
    pub(crate) async fn new(addresses: usize, tables: usize) -> Self {
        Self::with_subnets(addresses, tables, 0).await
    }

    /// With so many subnets as well, each with a table for each node, and that of the first.
    pub(crate) async fn with_subnets(addresses: usize, tables: usize, subnets: usize) -> Self {
        let cloud = MemoryCloud::new();
        let vpc = cloud.vpc(&["10.0.0.0/16"]);
        let nodes: Vec<_> =
            (1..=3).map(|n| cloud.node(&vpc, &format!("euw1-az{n}"), addresses.max(1))).collect();
        let addresses: Vec<_> = (0..addresses).map(|_| cloud.address()).collect();
        let tables: Vec<_> = (0..tables).map(|_| cloud.table(&vpc)).collect();
        for table in &tables {
            cloud.put_route(table, DESTINATION, RouteTarget::Interface(nodes[0].interface.clone()));
        }
        let swapped = |_| {
            let prepared = NAMES.map(|name| (NodeName::new(name).expect("valid"), cloud.table(&vpc)));
            let swapped = SubnetTables { subnet: cloud.subnet(&vpc), tables: prepared.into() };
            cloud.associate_table(&swapped.subnet, swapped.tables.values().next().expect("there"));
            swapped
        };
        let subnets = (0..subnets).map(swapped).collect();
        let store = MemoryStore::new();
        let parts = Parts {
            store,
            cloud,
            successor: Woken::default(),
            origin: Instant::now(),
            name: "baton".to_owned(),
            brake: 2,
        };
        let mut world = Self { parts, vpc, nodes, addresses, tables, subnets, seq: 1 };
        world.parts.store.register(&world.registration()).await.expect("registered");
        for n in 0..3 {
            let start = Start {
                expected: None,
                incarnation: incarnation(),
                boot_id: "boot".to_owned(),
                agent_version: "test".to_owned(),
                validity_ms: 4_000,
                at: world.parts.now().wall,
            };
            world.parts.store.start(&cluster(), &world.nodes[n].arn, &start).await.expect("started");
        }
        world.beat(&[0, 1, 2], None).await;
        world
    }

    pub(crate) fn registration(&self) -> Registration {
        let member = |(n, node): (usize, &MemoryNode)| Member {
            node: NodeName::new(NAMES[n]).expect("valid"),
            instance: node.arn.clone(),
            zone: format!("euw1-az{}", n + 1),
            interface: node.interface.clone(),
            placements: self
                .addresses
                .iter()
                .enumerate()
                .map(|(k, address)| (address.allocation.clone(), node.seat(k)))
                .collect(),
            priority: u16::try_from(10 * (n + 1)).expect("small"),
        };
        let destination = Destination::new(DESTINATION).expect("valid");
        Registration {
            cluster: cluster(),
            uid: RegistrationUid::new("uid-1").expect("valid"),
            mode: Mode::Strict,
            takeover: Default::default(),
            cool_down_ms: 0,
            fencing: Default::default(),
            failback: Default::default(),
            timing: Timing::DEFAULT,
            members: self.nodes.iter().enumerate().map(member).collect(),
            resources: Resources {
                addresses: self.addresses.clone(),
                routes: self.tables.iter().map(|table| Route { table: table.clone(), destination }).collect(),
                subnets: self.subnets.clone(),
                ..Resources::default()
            },
            roster: None,
            made_from: None,
            at: WallTime(1),
            event: event(Happening::Registered { revision: 1, summary: "test".to_owned() }),
        }
    }

    /// A heartbeat of each of these nodes; `claims` goes with the last.
    pub(crate) async fn beat(&mut self, nodes: &[usize], mut claims: Option<Claim>) {
        self.seq += 1;
        for n in nodes {
            let beat = Beat {
                incarnation: incarnation(),
                seq: Seq(self.seq),
                health: Health::Ok,
                claim: if Some(n) == nodes.last() { claims.take() } else { None },
                serving_epoch: None,
                healthy_since: None,
                serving_since: None,
                ahead: None,
                findings: None,
                validity_ms: 4_000,
                seen: Vec::new(),
                beat_at: self.parts.now().wall,
            };
            self.parts.store.beat(&cluster(), &self.nodes[*n].arn, &beat).await.expect("beaten");
        }
    }

    /// Node `by` claims that the holder is silent, since its heartbeat as it stands.
    pub(crate) async fn claim(&mut self, holder: usize, by: usize) {
        let instance = self.nodes[holder].arn.clone();
        let found = self.parts.store.heartbeat(&cluster(), &instance).await.expect("read").expect("there");
        let claim = Claim {
            epoch: self.lease().await.epoch,
            holder: instance,
            incarnation: found.incarnation,
            seq: found.seq,
            silent_ms: 6_000,
            at: self.parts.now().wall,
        };
        let others: Vec<_> = (0..3).filter(|n| *n != holder && *n != by).chain([by]).collect();
        self.beat(&others, Some(claim)).await;
    }

    pub(crate) async fn lease(&self) -> Lease {
        self.parts.store.lease(&cluster()).await.expect("read").expect("there")
    }

    pub(crate) async fn wake(&self) -> Value {
        self.wake_for("baton.agent", "claim").await
    }

    pub(crate) async fn wake_for(&self, source: &str, why: &str) -> Value {
        let detail = json!({ "cluster": "orders", "why": why, "schema_version": 1 });
        self.send(json!({ "source": source, "detail-type": "Wake", "detail": detail })).await
    }

    /// An operator asks for something at epoch 1, for a minute.
    pub(crate) async fn ask(&self, id: &str, wish: Wish) -> Request {
        let at = self.parts.now().wall;
        let request = Request {
            cluster: cluster(),
            id: RequestId::new(id).expect("valid"),
            wish,
            by: "alice".to_owned(),
            at,
            until: WallTime(at.0 + 60_000),
            epoch: Epoch(1),
            answer: None,
        };
        self.parts.store.ask(&request).await.expect("asked");
        request
    }

    pub(crate) async fn send(&self, payload: Value) -> Value {
        let event = LambdaEvent::new(payload, Context::default());
        handle(&self.parts, event).await.expect("handled")
    }

    /// The world as EC2 has it, against the lease.
    pub(crate) async fn assert_whole_at(&self, n: usize, epoch: u64) {
        let lease = self.lease().await;
        assert_eq!(
            (lease.epoch, lease.holder, lease.moved),
            (Epoch(epoch), Some(self.nodes[n].arn.clone()), Epoch(epoch))
        );
        for (k, address) in self.addresses.iter().enumerate() {
            assert_eq!(self.parts.cloud.seat_of(&address.allocation), Some(self.nodes[n].seat(k)));
        }
        for table in &self.tables {
            let target = RouteTarget::Interface(self.nodes[n].interface.clone());
            assert_eq!(self.parts.cloud.target_of(table, DESTINATION), Some(target));
        }
        if !self.tables.is_empty() {
            assert_eq!(self.parts.cloud.checks_source_and_destination(&self.nodes[n].interface), Some(false));
        }
    }

    /// How many successors were woken since the last time.
    pub(crate) fn woken(&self) -> usize {
        std::mem::take(&mut *self.parts.successor.clusters.lock().expect("no test panics in here")).len()
    }

    /// Whom a wake was sent since the last time.
    pub(crate) fn woken_clusters(&self) -> Vec<ClusterName> {
        std::mem::take(&mut *self.parts.successor.clusters.lock().expect("no test panics in here"))
    }

    /// What was told since the last time, by kind.
    pub(crate) fn told(&self) -> Vec<&'static str> {
        self.parts.successor.kinds()
    }

    /// Whose termination Auto Scaling was told to go on with, each time that it was.
    pub(crate) fn completed(&self) -> Vec<InstanceId> {
        let completed = self.parts.successor.completed.lock().expect("no test panics in here");
        completed.iter().map(|hook| hook.instance.clone()).collect()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.parts.cloud.calls().into_iter().map(|(call, _)| call).collect()
    }
}
