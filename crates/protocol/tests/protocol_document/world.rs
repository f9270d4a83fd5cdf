//! The cluster of the tables: nodes a, b and c; node a holds epoch 7, and everything is in place.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::{
    AllocationId, AssociationId, ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName,
    RegistrationUid, RouteTableId, Seq, SubnetId, TableAssociationId,
};
use baton_protocol::lease::{Intent, Lease, LeaseState, Member, Mode, Pause, SCHEMA};
use baton_protocol::resource::{
    Address, Destination, Observed, Placement, Resources, Route, TableAssociation,
};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;

/// The epoch at which node a holds the lease.
pub(crate) const EPOCH: Epoch = Epoch(7);

/// The wall clock at the first moment of every table.
pub(crate) const WALL: WallTime = WallTime(1_000_000);

/// A moment of the wall clock that no table reaches.
pub(crate) const LATER: WallTime = WallTime(9_000_000);

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).expect("valid")
}

pub(crate) fn arn(node: char) -> InstanceArn {
    InstanceArn::new(format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-0000000{node}")).expect("valid")
}

/// The name of the node behind an instance.
pub(crate) fn name_of(instance: &InstanceArn) -> char {
    instance.as_str().chars().next_back().expect("not empty")
}

pub(crate) fn run(name: &str) -> Incarnation {
    Incarnation::new(name).expect("valid")
}

pub(crate) fn allocation(n: u8) -> AllocationId {
    AllocationId::new(format!("eipalloc-0000000{n}")).expect("valid")
}

pub(crate) fn association(n: u8) -> AssociationId {
    AssociationId::new(format!("eipassoc-0000000{n}")).expect("valid")
}

pub(crate) fn interface(node: char) -> InterfaceId {
    InterfaceId::new(format!("eni-0000000{node}")).expect("valid")
}

pub(crate) fn placement(node: char) -> Placement {
    Placement { interface: interface(node), private_ip: Ipv4Addr::new(10, 0, 0, node as u8) }
}

pub(crate) fn subnet() -> SubnetId {
    SubnetId::new("subnet-00000001").expect("valid")
}

/// The route table that is prepared for a node.
pub(crate) fn prepared(node: char) -> RouteTableId {
    RouteTableId::new(format!("rtb-0000000{node}")).expect("valid")
}

pub(crate) fn prepared_association(node: char) -> TableAssociation {
    let id = TableAssociationId::new("rtbassoc-00000001").expect("valid");
    TableAssociation { id, table: prepared(node) }
}

pub(crate) fn route() -> Route {
    Route {
        table: RouteTableId::new("rtb-00000001").expect("valid"),
        destination: Destination::new("10.9.0.1/32").expect("valid"),
    }
}

fn member(node: char) -> Member {
    Member {
        node: NodeName::new(node).expect("valid"),
        instance: arn(node),
        zone: format!("euw1-az-{node}"),
        interface: interface(node),
        placements: BTreeMap::from([(allocation(1), placement(node))]),
        priority: 100,
    }
}

pub(crate) fn lease() -> Lease {
    Lease {
        cluster: cluster("orders"),
        uid: RegistrationUid::new("uid-1").expect("valid"),
        state: LeaseState::Active,
        epoch: EPOCH,
        holder: Some(arn('a')),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: baton_protocol::fence::Fencing::None,
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: ['a', 'b', 'c'].map(member).to_vec(),
        resources: Resources {
            addresses: vec![Address { allocation: allocation(1), public_ip: Ipv4Addr::new(198, 51, 100, 1) }],
            routes: vec![route()],
            ..Resources::default()
        },
        roster: None,
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved: EPOCH,
        verify_at: None,
        rotated: BTreeMap::new(),
        observed: Observed::default(),
        last_grant: None,
        recent_grants: Vec::new(),
        revision: 1,
        schema: SCHEMA,
        rules: 0,
    }
}

pub(crate) fn heartbeat(node: char, seq: u64) -> Heartbeat {
    Heartbeat {
        cluster: cluster("orders"),
        instance: arn(node),
        incarnation: run("this-run"),
        seq: Seq(seq),
        boot_id: "boot".to_owned(),
        health: Health::Ok,
        released: Epoch(0),
        claim: None,
        serving_epoch: None,
        healthy_since: None,
        serving_since: None,
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at: WALL,
        agent_version: String::new(),
        schema: SCHEMA,
    }
}

pub(crate) fn intent(to: char) -> Intent {
    Intent {
        to: Some(arn(to)),
        reason: "patching".to_owned(),
        epoch: EPOCH,
        until: LATER,
        request: None,
        failover: false,
        asked: None,
    }
}

pub(crate) fn pause() -> Pause {
    Pause { until: LATER, by: "operator".to_owned(), why: "upgrade".to_owned() }
}
