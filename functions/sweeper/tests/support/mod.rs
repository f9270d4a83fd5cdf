//! A record to sweep, which fails where a test says so, and a bus that remembers.
//!
//! Every call that a sweep has no business with panics, so a sweep that wrote anything would fail its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use baton_client::BusFailure;
use baton_doubles::{Call, Fate, Gate, Interposed, Kind, Method};
use baton_protocol::findings::Findings;
use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Beat, Health};
use baton_protocol::history::{Event, Ground, Happening};
use baton_protocol::ids::{
    AllocationId, ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName, RegistrationUid, Seq,
};
use baton_protocol::lease::{Member, Mode};
use baton_protocol::notification::Notification;
use baton_protocol::outcome::Failure;
use baton_protocol::resource::{Address, Observed, Resources};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_protocol::wake::Wake;
use baton_store::{MemoryStore, Moved, Registration, Start, Store};
use baton_sweeper::sweep::Waker;

pub(crate) const NOW: WallTime = WallTime(1_800_000_000_000);

pub(crate) fn name(text: &str) -> ClusterName {
    ClusterName::new(text).expect("valid")
}

fn member(n: u8) -> Member {
    let arn = format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-0000000{n}");
    Member {
        node: NodeName::new(format!("node-{n}")).expect("valid"),
        instance: InstanceArn::new(arn).expect("valid"),
        zone: format!("euw1-az{n}"),
        interface: InterfaceId::new(format!("eni-0000000{n}")).expect("valid"),
        placements: BTreeMap::new(),
        priority: 100,
    }
}

/// Registers a cluster; it is vacant.
pub(crate) async fn register(store: &MemoryStore, cluster: &str) {
    let allocation = AllocationId::new("eipalloc-00000001").expect("valid");
    let event = Event {
        cluster: name(cluster),
        epoch: Epoch(0),
        at: NOW,
        by: "test".to_owned(),
        what: Happening::Registered { revision: 1, summary: "made".to_owned() },
    };
    let registration = Registration {
        cluster: name(cluster),
        uid: RegistrationUid::new("uid-1").expect("valid"),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: vec![member(1), member(2)],
        resources: Resources {
            addresses: vec![Address { allocation, public_ip: Ipv4Addr::new(198, 51, 100, 1) }],
            ..Resources::default()
        },
        roster: None,
        made_from: None,
        at: NOW,
        event,
    };
    store.register(&registration).await.expect("registered");
}

/// The first node.
pub(crate) fn first() -> InstanceArn {
    member(1).instance
}

/// A healthy heartbeat of the first node, after [`settle`] has started it.
pub(crate) fn beat_with(seq: u64, findings: Option<Findings>) -> Beat {
    Beat {
        incarnation: Incarnation::new("run-1").expect("valid"),
        seq: Seq(seq),
        health: Health::Ok,
        claim: None,
        serving_epoch: None,
        healthy_since: None,
        serving_since: None,
        ahead: None,
        findings,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at: NOW,
    }
}

/// Gives a vacant cluster to its first node, with everything in place.
pub(crate) async fn settle(store: &MemoryStore, cluster: &str) {
    let run = Incarnation::new("run-1").expect("valid");
    let to = member(1).instance;
    let start = Start {
        expected: None,
        incarnation: run.clone(),
        boot_id: "boot".to_owned(),
        agent_version: "test".to_owned(),
        validity_ms: 4_000,
        at: NOW,
    };
    store.start(&name(cluster), &to, &start).await.expect("started");
    store.beat(&name(cluster), &to, &beat_with(10, None)).await.expect("beaten");
    let what = Happening::Moved { took_ms: 1 };
    let grant = Grant {
        cluster: name(cluster),
        uid: RegistrationUid::new("uid-1").expect("valid"),
        epoch: Epoch(0),
        revision: 1,
        holder: None,
        holder_check: HolderCheck::Nobody,
        to,
        to_incarnation: run,
        ground: Ground::Vacancy,
        wish: None,
        recent: None,
        at: NOW,
        event: Event { cluster: name(cluster), epoch: Epoch(1), at: NOW, by: "test".to_owned(), what },
    };
    assert_eq!(store.commit(&grant).await, Ok(Committed::Granted));
    let moved = Moved {
        epoch: Epoch(1),
        revision: 1,
        before: Epoch(0),
        due: None,
        observed: Observed::default(),
        verify_at: None,
    };
    store.record_moved(&name(cluster), &moved).await.expect("recorded");
}

/// A bus that remembers its wakes, and refuses those of one cluster.
#[derive(Debug, Default)]
pub(crate) struct TestBus {
    pub(crate) sent: Mutex<Vec<Wake>>,
    pub(crate) told: Mutex<Vec<Notification>>,
    pub(crate) refused: Option<ClusterName>,
    /// After how many events nothing can be told any more; none: always.
    pub(crate) mute_after: Option<usize>,
}

impl TestBus {
    pub(crate) fn woken(&self) -> BTreeSet<String> {
        let sent = self.sent.lock().expect("nobody panicked");
        sent.iter().map(|wake| wake.cluster.to_string()).collect()
    }

    pub(crate) fn told(&self) -> Vec<&'static str> {
        self.told.lock().expect("nobody panicked").iter().map(|told| told.detail_type).collect()
    }
}

impl Waker for TestBus {
    async fn wake(&self, wake: &Wake) -> Result<(), BusFailure> {
        if self.refused.as_ref() == Some(&wake.cluster) {
            return Err(BusFailure::Throttled);
        }
        self.sent.lock().expect("nobody panicked").push(wake.clone());
        Ok(())
    }

    async fn tell(&self, told: &Notification) -> Result<(), BusFailure> {
        let mut all = self.told.lock().expect("nobody panicked");
        if self.mute_after.is_some_and(|most| all.len() >= most) {
            return Err(BusFailure::Throttled);
        }
        all.push(told.clone());
        Ok(())
    }
}

/// The record, but for the reads that fail.
pub(crate) type Faulty = Interposed<Faults>;

/// The reads that fail.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) directory: Option<Failure>,
    pub(crate) probe: Option<Failure>,
    pub(crate) lease: BTreeMap<ClusterName, Failure>,
    pub(crate) heartbeats: BTreeMap<ClusterName, Failure>,
}

impl Gate for Faults {
    async fn meet(&self, call: Call<'_>, _: &MemoryStore) -> Fate {
        let of = |failures: &BTreeMap<ClusterName, Failure>| failures.get(call.cluster?).cloned();
        let failure = match call.method {
            Method::Clusters => self.directory.clone(),
            Method::Lease => of(&self.lease),
            Method::Heartbeats => of(&self.heartbeats),
            Method::Probe => self.probe.clone(),
            Method::Heartbeat => panic!("a sweep reads the heartbeats of a cluster at once"),
            method if call.kind == Kind::Write => panic!("a sweep writes nothing, and this is {method:?}"),
            method => panic!("{method:?} is no business of a sweep"),
        };
        failure.map_or(Fate::Pass, Fate::Fail)
    }
}
