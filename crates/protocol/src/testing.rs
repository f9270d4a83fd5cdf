//! Small worlds for tests: clusters, leases and heartbeats with all their parts. Compiled for tests only.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::heartbeat::{Health, Heartbeat};
use crate::ids::{
    AllocationId, AssociationId, ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName,
    RegistrationUid, RequestId, RouteTableId, Seq, SubnetId, TableAssociationId,
};
use crate::lease::{Exclusion, Lease, LeaseState, Member, Mode, SCHEMA};
use crate::resource::{
    Address, Destination, Observed, Placement, Resources, Route, SubnetTables, TableAssociation,
};
use crate::time::WallTime;
use crate::timing::Timing;

pub(crate) fn cluster() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

pub(crate) fn arn(n: u8) -> InstanceArn {
    InstanceArn::new(format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-0000000{n}")).expect("valid")
}

pub(crate) fn interface(n: u8) -> InterfaceId {
    InterfaceId::new(format!("eni-0000000{n}")).expect("valid")
}

pub(crate) fn allocation(n: u8) -> AllocationId {
    AllocationId::new(format!("eipalloc-0000000{n}")).expect("valid")
}

pub(crate) fn association(n: u8) -> AssociationId {
    AssociationId::new(format!("eipassoc-0000000{n}")).expect("valid")
}

pub(crate) fn table(n: u8) -> RouteTableId {
    RouteTableId::new(format!("rtb-0000000{n}")).expect("valid")
}

pub(crate) fn subnet(n: u8) -> SubnetId {
    SubnetId::new(format!("subnet-0000000{n}")).expect("valid")
}

/// Association `n`, with table `t`.
pub(crate) fn table_association(n: u8, t: u8) -> TableAssociation {
    let id = TableAssociationId::new(format!("rtbassoc-000000{n:02x}")).expect("valid");
    TableAssociation { id, table: table(t) }
}

/// Subnet `n`, for which table `k` is prepared for node `k` of [`lease`].
pub(crate) fn subnet_tables(n: u8) -> SubnetTables {
    let tables = (1..=3).map(|node| (member(node).node, table(node)));
    SubnetTables { subnet: subnet(n), tables: tables.collect() }
}

pub(crate) fn placement(n: u8) -> Placement {
    Placement { interface: interface(n), private_ip: Ipv4Addr::new(10, 0, n, 10) }
}

pub(crate) fn route(n: u8) -> Route {
    Route { table: table(n), destination: Destination::new("10.9.0.1/32").expect("valid") }
}

pub(crate) fn member(n: u8) -> Member {
    Member {
        node: NodeName::new(format!("node-{}", char::from(b'a' + n - 1))).expect("valid"),
        instance: arn(n),
        zone: format!("euw1-az{n}"),
        interface: interface(n),
        placements: BTreeMap::from([(allocation(1), placement(n))]),
        priority: 100,
    }
}

/// An operator's word that node `n` shall not hold the lease.
pub(crate) fn exclusion(n: u8, until: WallTime) -> Exclusion {
    Exclusion {
        node: arn(n),
        until,
        by: "op".to_owned(),
        why: "disk".to_owned(),
        request: RequestId::new("request-1").expect("valid"),
    }
}

/// An operator's word that node `n` be stopped.
pub(crate) fn fence(n: u8, lease: &Lease, until: WallTime) -> crate::fence::Word {
    crate::fence::Word {
        node: arn(n),
        uid: lease.uid.clone(),
        epoch: lease.epoch,
        until,
        by: "op".to_owned(),
        why: String::new(),
        request: RequestId::new("request-1").expect("valid"),
    }
}

/// A cluster of three nodes with one Elastic IP and two routes, held by node 1 at epoch 1, everything in place.
pub(crate) fn lease() -> Lease {
    Lease {
        cluster: cluster(),
        uid: RegistrationUid::new("uid-1").expect("valid"),
        state: LeaseState::Active,
        epoch: Epoch(1),
        holder: Some(arn(1)),
        mode: Mode::Strict,
        takeover: crate::policy::Takeover::Automatic,
        cool_down_ms: 0,
        fencing: crate::fence::Fencing::None,
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: (1..=3).map(member).collect(),
        resources: Resources {
            addresses: vec![Address { allocation: allocation(1), public_ip: Ipv4Addr::new(198, 51, 100, 1) }],
            routes: vec![route(1), route(2)],
            ..Resources::default()
        },
        roster: None,
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved: Epoch(1),
        verify_at: None,
        rotated: BTreeMap::new(),
        observed: Observed {
            associations: BTreeMap::from([(allocation(1), association(1))]),
            ..Observed::default()
        },
        last_grant: None,
        recent_grants: Vec::new(),
        revision: 1,
        schema: SCHEMA,
        rules: 0,
    }
}

pub(crate) fn incarnation(n: u8) -> Incarnation {
    Incarnation::new(format!("run-{n}")).expect("valid")
}

pub(crate) fn heartbeat(instance: &InstanceArn, seq: u64) -> Heartbeat {
    Heartbeat {
        cluster: cluster(),
        instance: instance.clone(),
        incarnation: incarnation(1),
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
        beat_at: WallTime(1_000_000),
        agent_version: String::new(),
        schema: SCHEMA,
    }
}
