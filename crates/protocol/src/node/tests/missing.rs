//! A holder that does not see its own addresses.

use std::net::Ipv4Addr;

use super::super::*;
use super::rig::Rig;
use crate::ids::AllocationId;
use crate::lease::Pause;
use crate::resource::Address;
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

/// Lets the metadata be asked each 5 s until `ms`.
fn look_to(rig: &mut Rig, ms: u64, seen: &[Ipv4Addr]) {
    while rig.ms() < ms {
        rig.node.handle_seen(rig.now, seen.to_vec());
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
