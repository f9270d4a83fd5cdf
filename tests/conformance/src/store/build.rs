//! The cluster that the promises are about: three nodes, two addresses, one route.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use baton_protocol::choice::{Choices, InterfaceChoice};
use baton_protocol::findings::{Ended, Findings, Hook, HookFailure, Recovery};
use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Beat, Health};
use baton_protocol::history::{Event, Evidence, Ground, Happening};
use baton_protocol::ids::{
    AllocationId, AssociationId, ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName,
    RegistrationUid, RequestId, RoleArn, RouteTableId, Seq, SubnetId, TableAssociationId,
};
use baton_protocol::lease::{Lease, Member, Mode};
use baton_protocol::request::{Request, Wish};
use baton_protocol::resource::{
    Address, Destination, Observed, Placement, Resources, Route, SubnetTables, TableAssociation,
};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_store::{Moved, Registration, Start, Store};

/// When everything happens, unless a promise is about time.
pub const AT: WallTime = WallTime(1_800_000_000_000);

/// The cluster.
pub fn cluster() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

/// The instance of node `number`.
pub fn node(number: u8) -> InstanceArn {
    InstanceArn::new(format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-{number:017x}")).expect("valid")
}

/// The agent's run of this number.
pub fn run(number: u8) -> Incarnation {
    Incarnation::new(format!("run-{number}")).expect("valid")
}

/// The registration of this number.
pub fn uid(number: u8) -> RegistrationUid {
    RegistrationUid::new(format!("uid-{number}")).expect("valid")
}

/// The allocation of this number.
pub fn allocation(number: u8) -> AllocationId {
    AllocationId::new(format!("eipalloc-{number:017x}")).expect("valid")
}

/// The association of this number.
pub fn association(number: u8) -> AssociationId {
    AssociationId::new(format!("eipassoc-{number:017x}")).expect("valid")
}

/// The member that is node `number`.
pub fn member(number: u8) -> Member {
    let interface = InterfaceId::new(format!("eni-{number:017x}")).expect("valid");
    let placement = |index: u8| Placement {
        interface: interface.clone(),
        private_ip: Ipv4Addr::new(10, 0, number, 10 + index),
    };
    Member {
        node: NodeName::new(format!("node-{number}")).expect("valid"),
        instance: node(number),
        zone: format!("euw1-az{number}"),
        placements: BTreeMap::from([(allocation(1), placement(0)), (allocation(2), placement(1))]),
        interface,
        priority: 100,
    }
}

/// The resources.
pub fn resources() -> Resources {
    let route = Route {
        table: RouteTableId::new("rtb-00000000000000001").expect("valid"),
        destination: Destination::new("10.9.0.1/32").expect("valid"),
    };
    Resources {
        addresses: vec![
            Address { allocation: allocation(1), public_ip: Ipv4Addr::new(198, 51, 100, 1) },
            Address { allocation: allocation(2), public_ip: Ipv4Addr::new(198, 51, 100, 2) },
        ],
        routes: vec![route.clone()],
        from_gateways: [route].into(),
        subnets: vec![swapped()],
        tables_role: Some(RoleArn::new("arn:aws:iam::210987654321:role/tables").expect("valid")),
        choices: Choices { routes: Some(InterfaceChoice::Device(1)), ..Choices::default() },
    }
}

/// A subnet with a table for each node.
pub fn swapped() -> SubnetTables {
    let name = |n: u8| NodeName::new(format!("node-{n}")).expect("valid");
    let table = |n: u8| RouteTableId::new(format!("rtb-0000000000000001{n}")).expect("valid");
    let subnet = SubnetId::new("subnet-00000000000000001").expect("valid");
    SubnetTables { subnet, tables: (1..=3).map(|n| (name(n), table(n))).collect() }
}

/// Association `n` of that subnet, with the table of node `n`.
pub fn table_association(n: u8) -> TableAssociation {
    let id = TableAssociationId::new(format!("rtbassoc-0000000000000000{n}")).expect("valid");
    let table = swapped().tables.into_values().nth(usize::from(n) - 1).expect("there");
    TableAssociation { id, table }
}

/// A row of the history. `by` tells rows apart that are otherwise equal.
pub fn event(epoch: Epoch, at: WallTime, by: &str, what: Happening) -> Event {
    Event { cluster: cluster(), epoch, at, by: by.to_owned(), what }
}

/// The registration of this number: nodes 1 to 3.
pub fn registration(number: u8) -> Registration {
    let summary = format!("registration {number}");
    Registration {
        cluster: cluster(),
        uid: uid(number),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: (1..=3).map(member).collect(),
        resources: resources(),
        roster: None,
        made_from: None,
        at: AT,
        event: event(Epoch(0), AT, &summary, Happening::Registered { revision: 1, summary: summary.clone() }),
    }
}

/// The announcement of run `number` after `expected`.
pub fn start(expected: Option<u8>, number: u8) -> Start {
    Start {
        expected: expected.map(run),
        incarnation: run(number),
        boot_id: "boot-1".to_owned(),
        agent_version: "0.1.0".to_owned(),
        validity_ms: 4_000,
        at: AT,
    }
}

/// A heartbeat of a healthy node that does not serve.
pub fn beat(number: u8, seq: u64) -> Beat {
    Beat {
        incarnation: run(number),
        seq: Seq(seq),
        health: Health::Ok,
        claim: None,
        serving_epoch: None,
        healthy_since: None,
        serving_since: None,
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: vec![Ipv4Addr::new(198, 51, 100, 1)],
        beat_at: AT,
    }
}

/// What a node may find out about itself, with every part of it.
pub fn findings() -> Findings {
    let recovery = |number, ended| Recovery { number, begun: AT, what: "web: no answer".into(), ended };
    let failed = Ended { at: WallTime(AT.0 + 1), failed: Some("exit code 1".into()) };
    Findings {
        failing: Some("web: no answer".into()),
        warning: Some("disk: exit code 1".into()),
        recoveries: vec![recovery(1, Some(failed)), recovery(2, None)],
        hook: Some(HookFailure {
            hook: Hook::Promote,
            epoch: Epoch(1),
            at: AT,
            how: "exit code 1".into(),
            output: "no\nlicence".into(),
        }),
    }
}

/// An operator's request of this id, which ends a minute after [`AT`].
pub fn request(id: &str, wish: Wish, epoch: Epoch) -> Request {
    Request {
        cluster: cluster(),
        id: RequestId::new(id).expect("valid"),
        wish,
        by: "ada".to_owned(),
        at: AT,
        until: WallTime(AT.0 + 60_000),
        epoch,
        answer: None,
    }
}

/// A grant to node `to` in its run `to_run`, on the lease as it stands.
pub fn grant(lease: &Lease, ground: Ground, holder_check: HolderCheck, to: u8, to_run: u8) -> Grant {
    let what = Happening::Granted {
        from: lease.holder.clone(),
        to: node(to),
        ground,
        reason: "the promise asks for it".to_owned(),
        evidence: Evidence { holder_seq: Some(Seq(1)), ..Evidence::default() },
    };
    Grant {
        cluster: cluster(),
        uid: lease.uid.clone(),
        epoch: lease.epoch,
        revision: lease.revision,
        holder: lease.holder.clone(),
        holder_check,
        to: node(to),
        to_incarnation: run(to_run),
        ground,
        wish: lease.wish().cloned(),
        recent: (ground == Ground::Silence).then(|| vec![AT]),
        at: AT,
        event: event(lease.epoch.next(), AT, "arbiter/1", what),
    }
}

/// The holder's heartbeat as number `seq` of run `number`.
pub fn unchanged(number: u8, seq: u64) -> HolderCheck {
    HolderCheck::Unchanged { incarnation: run(number), seq: Seq(seq) }
}

/// The lease.
///
/// # Panics
///
/// If there is none or it cannot be read.
pub async fn lease(store: &impl Store) -> Lease {
    store.lease(&cluster()).await.expect("the lease is read").expect("there is a lease")
}

/// Node `number` starts its run 1 and beats once, healthy: its heartbeat has the number 2.
///
/// # Panics
///
/// If the node has a heartbeat already.
pub async fn join(store: &impl Store, number: u8) {
    store.start(&cluster(), &node(number), &start(None, 1)).await.expect("the run is announced");
    store.beat(&cluster(), &node(number), &beat(1, 2)).await.expect("the node beats");
}

/// A registered cluster whose three nodes have joined, held by node 1 at epoch 1. The lease as it stands.
///
/// # Panics
///
/// If the record is not empty.
pub async fn held_by_the_first(store: &impl Store) -> Lease {
    store.register(&registration(1)).await.expect("the cluster is registered");
    for number in 1..=3 {
        join(store, number).await;
    }
    let vacant = grant(&lease(store).await, Ground::Vacancy, HolderCheck::Nobody, 1, 1);
    assert_eq!(store.commit(&vacant).await, Ok(Committed::Granted));
    lease(store).await
}

/// The move that this lease waits for, with nothing observed.
pub fn moved(held: &Lease) -> Moved {
    Moved {
        epoch: held.epoch,
        revision: held.revision,
        before: held.moved,
        due: held.verify_at,
        observed: Observed::default(),
        verify_at: None,
    }
}
