//! The cluster that is modelled: its names, its time budget, its registration.
//!
//! Time passes in quanta of one heartbeat. The budget is the smallest whose parts are whole quanta and keep the inequality
//! with nothing to spare: two quanta of validity, one for the fence, three of silence. It agrees in heartbeat and validity
//! with what a node assumes before it has read a lease, so the start of a run needs no time of its own.

use std::sync::LazyLock;
use std::time::Duration;

use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{
    ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName, RegistrationUid,
};
use baton_protocol::lease::{Member, Mode};
use baton_protocol::resource::Resources;
use baton_protocol::time::{BootTime, Now, WallTime};
use baton_protocol::timing::{Durations, Timing};
use baton_store::{MemoryStore, Registration, Store};

use crate::ready::ready;

/// One step of time: one heartbeat.
pub const QUANTUM: Duration = Duration::from_secs(2);

/// How long a service may go on after the end of its validity, until the dead-man has really stopped it. The worst case is
/// taken: it always takes so long.
pub const FENCE: Duration = QUANTUM;

/// A cluster of this model has no more nodes.
pub const NODES: usize = 3;

/// The longest silence that matters: the S of this budget.
pub const SILENCE: Duration = Duration::from_secs(6);

/// The wall clocks stand still. They decide nothing but whether a candidate looks fresh, which is left open: the model grants
/// to nodes that have died just now, and to nodes that died long ago.
const WALL: WallTime = WallTime(1_000_000_000_000);

/// The moment after so many quanta.
pub fn moment(quanta: u64) -> Now {
    // Some time has passed at the beginning, so that nothing is cut off at zero.
    Now { boot: BootTime(0) + QUANTUM * u32::try_from(1_000 + quanta).unwrap_or(u32::MAX), wall: WALL }
}

// Names are asked for with every step, and to check one takes longer than to copy it.
static CLUSTER: LazyLock<ClusterName> = LazyLock::new(|| ClusterName::new("modelled").expect("a valid name"));
static INSTANCES: LazyLock<[InstanceArn; NODES]> = LazyLock::new(|| {
    std::array::from_fn(|node| {
        InstanceArn::new(format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-0000000{node}"))
            .expect("a valid ARN")
    })
});

/// The cluster.
pub fn cluster() -> ClusterName {
    CLUSTER.clone()
}

/// The instance of the node with this index.
pub fn instance(node: usize) -> InstanceArn {
    INSTANCES[node].clone()
}

/// The index of the node on this instance.
pub fn index(instance: &InstanceArn) -> usize {
    usize::from(instance.as_str().as_bytes().last().map_or(0, |digit| digit - b'0'))
}

/// The name of the `run`-th run of a node's agent.
pub fn incarnation(run: u64) -> Incarnation {
    Incarnation::new(run.to_string()).expect("a valid name")
}

/// Which run has this name.
pub fn run(incarnation: &Incarnation) -> u64 {
    incarnation.as_str().parse().expect("a name of the model's making")
}

fn timing() -> Timing {
    let quantum = u64::try_from(QUANTUM.as_millis()).expect("a short time");
    let durations = Durations {
        heartbeat_ms: quantum,
        attempt_timeout_ms: quantum * 3 / 10,
        validity_ms: 2 * quantum,
        fence_ms: quantum,
        hidden_pause_ms: 0,
        clock_error_ppm: 0,
        silence_ms: 3 * quantum,
    };
    Timing::new(durations).expect("the inequality holds")
}

fn member(node: usize) -> Member {
    Member {
        node: NodeName::new(format!("node-{node}")).expect("a valid name"),
        instance: instance(node),
        zone: String::new(),
        interface: InterfaceId::new(format!("eni-0000000{node}")).expect("a valid id"),
        placements: Default::default(),
        priority: 100,
    }
}

/// What the registrar asks for, as the `revision`-th configuration.
pub fn registration(nodes: usize, mode: Mode, epoch: Epoch, revision: u64) -> Registration {
    let event = Event {
        cluster: cluster(),
        epoch,
        at: WALL,
        by: "model".to_owned(),
        what: Happening::Registered { revision, summary: String::new() },
    };
    Registration {
        cluster: cluster(),
        uid: RegistrationUid::new("uid-1").expect("a valid uid"),
        mode,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: timing(),
        members: (0..nodes).map(member).collect(),
        resources: Resources::default(),
        roster: None,
        made_from: None,
        at: WALL,
        event,
    }
}

/// A table with a cluster of so many nodes, registered and never granted.
pub fn registered(nodes: usize) -> MemoryStore {
    let store = MemoryStore::new();
    let registration = registration(nodes, Mode::Strict, Epoch(0), 1);
    ready(store.register(&registration)).expect("an empty table takes a registration");
    store
}

/// The moment an arbiter goes by whose clock is far off: no heartbeat looks fresh to it.
pub fn elsewhere() -> WallTime {
    WallTime(WALL.0 + 1_000_000)
}
