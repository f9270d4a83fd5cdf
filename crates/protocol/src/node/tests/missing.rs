//! A holder that does not see its own addresses.

use std::net::Ipv4Addr;

use super::super::*;
use super::rig::Rig;
use crate::ids::AllocationId;
use crate::lease::{LeaseState, Pause};
use crate::resource::Address;
use crate::testing::placement;
use crate::wake::Why;

const OURS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// A holder of one address, whose move is done.
fn holder() -> Rig {
    let mut rig = Rig::serving();
    let allocation = AllocationId::new("eipalloc-00000001").expect("valid");
    let lease = rig.lease_mut();
    lease.resources.addresses = vec![Address { allocation, public_ip: OURS }];
    lease.moved = lease.epoch;
    rig.run_to(2_000);
    rig
}

/// One interface that shows these public addresses, and tells nothing more.
fn showing(seen: &[Ipv4Addr]) -> Attached {
    Attached { public_ips: seen.iter().map(|ip| (*ip, None)).collect(), ..Attached::default() }
}

/// Lets the metadata be asked each 5 s until `ms`.
fn look_to(rig: &mut Rig, ms: u64, seen: &[Ipv4Addr]) {
    look_at(rig, ms, &[showing(seen)]);
}

fn look_at(rig: &mut Rig, ms: u64, attached: &[Attached]) {
    while rig.ms() < ms {
        rig.node.handle_seen(rig.now, attached);
        let next = rig.ms() + 5_000;
        rig.run_to(next);
    }
}

#[test]
fn an_address_that_stays_missing_wakes_the_arbiter_once_a_minute() {
    let mut rig = holder();
    look_to(&mut rig, 152_000, &[Ipv4Addr::new(198, 51, 100, 9)]);
    assert_eq!(rig.wakes(Why::Missing).len(), 3, "after 10 s, and each 60 s: {:?}", rig.wakes(Why::Missing));
    assert!(rig.wakes(Why::Missing)[0] >= 12_000);
    assert_eq!(rig.count(|command| matches!(command, Command::LeaveWake(Why::Missing))), 0);
    assert_eq!(rig.node.serving(), Some(Epoch(1)), "nothing is decided by it");
}

#[test]
fn an_address_that_is_seen_again_was_not_missing() {
    let mut rig = holder();
    for _ in 0..6 {
        let (gone, back) = (rig.ms() + 8_000, rig.ms() + 13_000);
        look_to(&mut rig, gone, &[]);
        look_to(&mut rig, back, &[OURS]);
    }
    assert_eq!(rig.wakes(Why::Missing), [0; 0]);
}

#[test]
fn nothing_is_missing_before_the_move_is_done_in_a_pause_and_at_a_standby() {
    let mut moving = holder();
    moving.lease_mut().moved = Epoch(0);
    moving.run_to(4_000);
    let mut paused = holder();
    let until = paused.now.wall + std::time::Duration::from_secs(3_600);
    paused.lease_mut().paused = Some(Pause { until, by: "ada".to_owned(), why: String::new() });
    paused.run_to(4_000);
    let mut deposed = holder();
    deposed.grant(2);
    deposed.run_to(4_000);
    for mut rig in [moving, paused, deposed] {
        look_to(&mut rig, 60_000, &[]);
        assert_eq!(rig.wakes(Why::Missing), [0; 0]);
    }
}

/// The interface of the place that the lease names on this node, with its one address there.
fn in_place() -> Attached {
    let place = placement(1);
    Attached {
        id: Some(place.interface),
        private_ips: Some([place.private_ip].into()),
        public_ips: [(OURS, Some(place.private_ip))].into(),
    }
}

#[test]
fn an_address_at_another_interface_or_private_address_than_the_lease_names_wakes_the_arbiter() {
    let other = || Ipv4Addr::new(10, 9, 9, 9);
    let elsewhere = Attached { id: placement(2).interface.into(), ..in_place() };
    let behind_another = Attached { public_ips: [(OURS, Some(other()))].into(), ..in_place() };
    let emptied = Attached { public_ips: [].into(), ..in_place() };
    for (attached, misplaced) in [
        (vec![in_place()], false),
        (vec![elsewhere.clone(), emptied], true),
        (vec![behind_another], true),
        // What is not told is not wrong.
        (vec![Attached { id: None, ..in_place() }], false),
        (vec![showing(&[OURS])], false),
    ] {
        let mut rig = holder();
        look_at(&mut rig, 152_000, &attached);
        let expected = if misplaced { 3 } else { 0 };
        assert_eq!(rig.wakes(Why::Misplaced).len(), expected, "{attached:?}");
        assert_eq!(rig.wakes(Why::Missing), [0; 0]);
        assert_eq!(rig.node.serving(), Some(Epoch(1)), "nothing is decided by it");
    }
    let mut paused = holder();
    let until = paused.now.wall + std::time::Duration::from_secs(3_600);
    paused.lease_mut().paused = Some(Pause { until, by: "ada".to_owned(), why: String::new() });
    paused.run_to(4_000);
    look_at(&mut paused, 60_000, &[elsewhere]);
    assert_eq!(paused.wakes(Why::Misplaced), [0; 0]);
}

#[test]
fn a_place_that_this_node_does_not_have_is_known_before_it_is_needed() {
    let place = placement(1);
    let node = holder().node;
    assert_eq!(node.placed(), [OURS].into());
    let emptied = Attached { private_ips: Some([Ipv4Addr::new(10, 9, 9, 9)].into()), ..in_place() };
    let detached = Attached { id: placement(2).interface.into(), ..in_place() };
    for (attached, lacking) in [
        (vec![in_place()], false),
        (vec![emptied.clone()], true),
        (vec![detached.clone()], true),
        (vec![detached.clone(), in_place()], false),
        // What is not told is not lacking.
        (vec![Attached { private_ips: None, ..in_place() }], false),
        (vec![emptied, Attached { id: None, ..in_place() }], false),
        (vec![], false),
    ] {
        let expected = if lacking { vec![(OURS, place.clone())] } else { vec![] };
        assert_eq!(node.places_lacking(&attached), expected, "{attached:?}");
    }
    let mut retired = holder();
    retired.lease_mut().state = LeaseState::Retired;
    retired.run_to(4_000);
    assert_eq!(retired.node.places_lacking(&[detached]), []);
}
