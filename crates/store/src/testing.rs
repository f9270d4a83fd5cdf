//! A small cluster for tests: a lease, its members, their heartbeats. Compiled for tests only.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{
    AllocationId, AssociationId, ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName,
    RegistrationUid, Seq,
};
use baton_protocol::lease::{Lease, LeaseState, Member, Mode, SCHEMA};
use baton_protocol::mark::Mark;
use baton_protocol::resource::{Address, Observed, Resources};
use baton_protocol::roster::{Roster, Tag};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;

use crate::Registration;

pub(crate) fn cluster() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

pub(crate) fn uid(text: &str) -> RegistrationUid {
    RegistrationUid::new(text).expect("valid")
}

pub(crate) fn arn(n: u8) -> InstanceArn {
    InstanceArn::new(format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-0000000{n}")).expect("valid")
}

pub(crate) fn incarnation(n: u8) -> Incarnation {
    Incarnation::new(format!("run-{n}")).expect("valid")
}

pub(crate) fn allocation(n: u8) -> AllocationId {
    AllocationId::new(format!("eipalloc-0000000{n}")).expect("valid")
}

pub(crate) fn association(n: u8) -> AssociationId {
    AssociationId::new(format!("eipassoc-0000000{n}")).expect("valid")
}

pub(crate) fn member(n: u8) -> Member {
    Member {
        node: NodeName::new(format!("node-{n}")).expect("valid"),
        instance: arn(n),
        zone: format!("euw1-az{n}"),
        interface: InterfaceId::new(format!("eni-0000000{n}")).expect("valid"),
        placements: BTreeMap::new(),
        priority: 100,
    }
}

pub(crate) fn resources(addresses: &[u8]) -> Resources {
    let address = |n: &u8| Address { allocation: allocation(*n), public_ip: Ipv4Addr::new(198, 51, 100, *n) };
    Resources { addresses: addresses.iter().map(address).collect(), ..Resources::default() }
}

/// The instances of an Auto Scaling group.
pub(crate) fn roster() -> Roster {
    Roster { tag: Tag::of_group("nat").expect("valid"), most: 3, priority: 100, changed: WallTime(1) }
}

/// Two members; nothing changes but what a test changes.
pub(crate) fn registration(text: &str) -> Registration {
    let what = Happening::Registered { revision: 1, summary: text.to_owned() };
    let event = Event { cluster: cluster(), epoch: Epoch(0), at: WallTime(1), by: "t".to_owned(), what };
    Registration {
        cluster: cluster(),
        uid: uid(text),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: vec![member(1), member(2)],
        resources: resources(&[1, 2]),
        roster: None,
        made_from: None,
        at: WallTime(1),
        event,
    }
}

/// What `registration("uid-1")` asks for, held by node 1 at epoch 7 and moved.
pub(crate) fn lease() -> Lease {
    Lease {
        cluster: cluster(),
        uid: uid("uid-1"),
        state: LeaseState::Active,
        epoch: Epoch(7),
        holder: Some(arn(1)),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: vec![member(1), member(2)],
        resources: resources(&[1, 2]),
        roster: None,
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved: Epoch(7),
        verify_at: None,
        rotated: BTreeMap::from([(allocation(1), Mark::Made(association(1)))]),
        observed: Observed {
            associations: BTreeMap::from([(allocation(1), association(1)), (allocation(2), association(2))]),
            ..Observed::default()
        },
        last_grant: Some(WallTime(500)),
        recent_grants: Vec::new(),
        revision: 3,
        schema: SCHEMA,
        rules: 0,
    }
}

pub(crate) fn heartbeat(n: u8) -> Heartbeat {
    Heartbeat {
        cluster: cluster(),
        instance: arn(n),
        incarnation: incarnation(1),
        seq: Seq(20),
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
        beat_at: WallTime(1_000),
        agent_version: String::new(),
        schema: SCHEMA,
    }
}
