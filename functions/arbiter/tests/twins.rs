//! The arbiter as it ships, against the twins of the table and of EC2: from an event to a world that is right.

use std::collections::BTreeMap;
use std::sync::Mutex;

use baton_arbiter::drive::{Parts, Successor};
use baton_arbiter::handler::handle;
use baton_cloud::MemoryCloud;
use baton_cloud::memory::{Asked, Entry, Fault, MemoryNode, Trouble};
use baton_protocol::ec2::{Call, Look, RouteTarget};
use baton_protocol::heartbeat::{Beat, Claim, Health};
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{ClusterName, Epoch, Incarnation, NodeName, RegistrationUid, RouteTableId, Seq};
use baton_protocol::lease::{Lease, Member, Mode};
use baton_protocol::resource::{Address, Destination, Resources, Route};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_store::{MemoryStore, Registration, Start, Store};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use tokio::time::Instant;

const DESTINATION: &str = "192.0.2.10/32";

#[derive(Default)]
struct Woken(Mutex<Vec<ClusterName>>);

impl Successor for Woken {
    async fn wake(&self, cluster: &ClusterName) {
        self.0.lock().expect("no test panics in here").push(cluster.clone());
    }
}

/// Three nodes in three zones, addresses and tables, registered and beating; nobody holds yet.
struct World {
    parts: Parts<MemoryStore, MemoryCloud, Woken>,
    nodes: Vec<MemoryNode>,
    addresses: Vec<Address>,
    tables: Vec<RouteTableId>,
    seq: u64,
}

fn cluster() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

fn incarnation() -> Incarnation {
    Incarnation::new("run-1").expect("valid")
}

fn event(what: Happening) -> Event {
    Event { cluster: cluster(), epoch: Epoch(0), at: WallTime(1), by: "test".to_owned(), what }
}

impl World {
    async fn new(addresses: usize, tables: usize) -> Self {
        let cloud = MemoryCloud::new();
        let vpc = cloud.vpc(&["10.0.0.0/16"]);
        let nodes: Vec<_> =
            (1..=3).map(|n| cloud.node(&vpc, &format!("euw1-az{n}"), addresses.max(1))).collect();
        let addresses: Vec<_> = (0..addresses).map(|_| cloud.address()).collect();
        let tables: Vec<_> = (0..tables).map(|_| cloud.table(&vpc)).collect();
        for table in &tables {
            cloud.put_route(table, DESTINATION, RouteTarget::Interface(nodes[0].interface.clone()));
        }
        let store = MemoryStore::new();
        let parts = Parts { store, cloud, successor: Woken::default(), origin: Instant::now() };
        let mut world = Self { parts, nodes, addresses, tables, seq: 1 };
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

    fn registration(&self) -> Registration {
        let member = |(n, node): (usize, &MemoryNode)| Member {
            node: NodeName::new(["a", "b", "c"][n]).expect("valid"),
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
            timing: Timing::DEFAULT,
            members: self.nodes.iter().enumerate().map(member).collect(),
            resources: Resources {
                addresses: self.addresses.clone(),
                routes: self.tables.iter().map(|table| Route { table: table.clone(), destination }).collect(),
            },
            at: WallTime(1),
            event: event(Happening::Registered { revision: 1, summary: "test".to_owned() }),
        }
    }

    /// A heartbeat of each of these nodes; `claims` goes with the last.
    async fn beat(&mut self, nodes: &[usize], mut claims: Option<Claim>) {
        self.seq += 1;
        for n in nodes {
            let beat = Beat {
                incarnation: incarnation(),
                seq: Seq(self.seq),
                health: Health::Ok,
                claim: if Some(n) == nodes.last() { claims.take() } else { None },
                serving_epoch: None,
                serving_since: None,
                validity_ms: 4_000,
                seen: Vec::new(),
                beat_at: self.parts.now().wall,
            };
            self.parts.store.beat(&cluster(), &self.nodes[*n].arn, &beat).await.expect("beaten");
        }
    }

    /// Node `by` claims that the holder is silent, since its heartbeat as it stands.
    async fn claim(&mut self, holder: usize, by: usize) {
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

    async fn lease(&self) -> Lease {
        self.parts.store.lease(&cluster()).await.expect("read").expect("there")
    }

    async fn wake(&self) -> Value {
        let detail = json!({ "cluster": "orders", "why": "claim", "schema_version": 1 });
        self.send(json!({ "source": "baton.agent", "detail-type": "Wake", "detail": detail })).await
    }

    async fn send(&self, payload: Value) -> Value {
        let event = LambdaEvent::new(payload, Context::default());
        handle(&self.parts, event).await.expect("handled")
    }

    /// The world as EC2 has it, against the lease.
    async fn assert_whole_at(&self, n: usize, epoch: u64) {
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

    fn calls(&self) -> Vec<Call> {
        self.parts.cloud.calls().into_iter().map(|(call, _)| call).collect()
    }
}

#[tokio::test]
async fn a_vacant_cluster_is_granted_to_the_preferred_node_and_everything_goes_there() {
    let world = World::new(2, 2).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    assert!(history.iter().any(|row| matches!(row.what, Happening::Granted { .. })));
    assert!(history.iter().any(|row| matches!(row.what, Happening::Moved { .. })));
}

#[tokio::test]
async fn a_wake_without_a_ground_asks_ec2_nothing_at_all() {
    let world = World::new(1, 1).await;
    world.wake().await;
    world.parts.cloud.clear_log();
    world.wake().await;
    world.wake().await;
    assert_eq!(world.parts.cloud.log(), []);
    world.assert_whole_at(0, 1).await;
}

#[tokio::test]
async fn a_claim_moves_everything_with_two_calls_in_a_row_at_most() {
    for (addresses, tables) in [(1, 0), (1, 2), (10, 10)] {
        let mut world = World::new(addresses, tables).await;
        world.wake().await;
        world.parts.cloud.clear_log();
        world.claim(0, 1).await;
        world.wake().await;
        world.assert_whole_at(1, 2).await;
        let mut per_resource: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let calls = world.calls();
        for call in &calls {
            per_resource.entry(call.resource()).or_default().push(call.action());
        }
        for (resource, calls) in per_resource {
            let expected: &[&str] = match calls[0] {
                "DisassociateAddress" => &["DisassociateAddress", "AssociateAddress"],
                "ReplaceRoute" => &["ReplaceRoute"],
                _ => &["ModifyNetworkInterfaceAttribute"],
            };
            assert_eq!(calls, expected, "{resource}");
        }
    }
}

#[tokio::test]
async fn two_invocations_of_one_wake_make_one_grant() {
    let mut world = World::new(1, 2).await;
    world.wake().await;
    world.claim(0, 1).await;
    tokio::join!(world.wake(), world.wake(), world.wake());
    world.assert_whole_at(1, 2).await;
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    let grants = history.iter().filter(|row| matches!(row.what, Happening::Granted { .. })).count();
    assert_eq!(grants, 2, "one at the registration, one for the claim");
}

#[tokio::test]
async fn a_claim_that_the_holder_has_beaten_since_moves_nothing() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    world.claim(0, 1).await;
    world.beat(&[0], None).await;
    world.parts.cloud.clear_log();
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    assert_eq!(world.parts.cloud.log(), []);
}

#[tokio::test]
async fn a_lost_answer_a_throttle_and_a_stale_look_cost_time_and_nothing_else() {
    for action in ["DisassociateAddress", "AssociateAddress", "ReplaceRoute"] {
        for trouble in [Trouble::Throttle, Trouble::FailUnknownBefore, Trouble::FailUnknownAfter] {
            if (action, trouble) == ("AssociateAddress", Trouble::FailUnknownAfter) {
                continue; // See the next test.
            }
            let mut world = World::new(1, 1).await;
            world.wake().await;
            world.parts.cloud.fail(Fault::on(action, trouble));
            world.claim(0, 1).await;
            world.wake().await;
            world.assert_whole_at(1, 2).await;
        }
    }
}

#[tokio::test]
async fn an_association_whose_answer_is_lost_is_in_place_at_once_and_counts_later() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    world.parts.cloud.clear_log();
    world.parts.cloud.fail(Fault::on("AssociateAddress", Trouble::FailUnknownAfter));
    world.claim(0, 1).await;
    let looked = async || {
        // A look after the lost answer, which shows the address in place.
        let log = world.parts.cloud.log();
        let made = log.iter().position(|entry| matches!(&entry.asked, Asked::Call(Call::Associate { .. })));
        let looked = |entry: &Entry| matches!(entry.asked, Asked::Look(Look::Addresses(_)));
        made.is_some_and(|made| log[made..].iter().any(looked))
    };
    tokio::select! {
        answer = world.wake() => panic!("expected to wait for its word, found {answer}"),
        () = async { while !looked().await { tokio::task::yield_now().await } } => {}
    }
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (Epoch(2), Epoch(1)), "it may be a stranger's");
    assert_eq!(world.parts.cloud.seat_of(&world.addresses[0].allocation), Some(world.nodes[1].seat(0)));
}

#[tokio::test]
async fn what_cannot_be_moved_is_told_and_everything_else_moves() {
    let mut world = World::new(1, 2).await;
    world.wake().await;
    let refused = world.tables[0].clone();
    world.parts.cloud.fail(Fault::on("ReplaceRoute", Trouble::Deny).about(&refused).always());
    world.claim(0, 1).await;
    world.wake().await;
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (Epoch(2), Epoch(1)), "not complete, and not called complete");
    assert_eq!(world.parts.cloud.seat_of(&world.addresses[0].allocation), Some(world.nodes[1].seat(0)));
    let moved = RouteTarget::Interface(world.nodes[1].interface.clone());
    assert_eq!(world.parts.cloud.target_of(&world.tables[1], DESTINATION), Some(moved));
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    let told = history.iter().any(
        |row| matches!(&row.what, Happening::Stuck { resource, .. } if resource.contains(refused.as_str())),
    );
    assert!(told, "{history:?}");
    // Once the permission is there, any wake finishes what was begun.
    world.parts.cloud.heal();
    world.wake().await;
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn a_foreign_address_in_the_seat_is_left_there() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    let foreign = world.parts.cloud.address();
    world.parts.cloud.place(&foreign.allocation, &world.nodes[1].seat(0));
    world.claim(0, 1).await;
    world.wake().await;
    assert_eq!(world.parts.cloud.seat_of(&foreign.allocation), Some(world.nodes[1].seat(0)));
    assert_eq!(world.lease().await.moved, Epoch(1));
}

#[tokio::test]
async fn an_instance_event_makes_the_arbiter_ask_ec2_and_only_terminated_counts() {
    let mut world = World::new(1, 1).await;
    world.wake().await;
    let holder = world.nodes[0].arn.instance_id();
    let event = |state: &str| {
        json!({
            "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification",
            "detail": { "instance-id": holder, "state": state },
        })
    };
    world.parts.cloud.set_state(&holder, "stopped");
    world.send(event("terminated")).await;
    assert_eq!(world.lease().await.epoch, Epoch(1), "the event said so, EC2 did not");
    world.parts.cloud.terminate(&holder);
    world.beat(&[1, 2], None).await;
    world.send(event("running")).await;
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn an_unknown_event_is_acknowledged_and_moves_nothing() {
    let world = World::new(1, 1).await;
    assert_eq!(
        world.send(json!({ "source": "x", "detail-type": "y", "detail": {} })).await,
        json!({ "clusters": 0 })
    );
    let unknown = json!({ "cluster": "nobody", "why": "claim", "schema_version": 1 });
    world.send(json!({ "source": "baton.agent", "detail-type": "Wake", "detail": unknown })).await;
    assert_eq!(world.lease().await.epoch, Epoch(0));
}
