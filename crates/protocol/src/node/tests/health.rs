//! For how long a node has been healthy, as its heartbeats tell.

use super::super::*;
use super::rig::{Fate, Kind, Rig, at};

/// In milliseconds from the first moment to the node's last heartbeat.
fn healthy_for(rig: &Rig) -> Option<u64> {
    let beat = rig.last_beat();
    beat.healthy_since.map(|since| beat.beat_at.0 - since.0)
}

#[test]
fn a_node_tells_since_when_it_has_been_healthy_and_not_while_it_is_not() {
    let mut rig = Rig::standing_by();
    rig.run_to(60_000);
    let told = healthy_for(&rig).expect("healthy");
    assert!((57_000..=60_000).contains(&told), "{told}");
    rig.node.handle_health(rig.now, Health::Bad);
    rig.run_to(60_000);
    assert_eq!((rig.last_beat().health, healthy_for(&rig)), (Health::Bad, None));
    rig.node.handle_health(rig.now, Health::Ok);
    rig.run_to(63_000);
    assert!(healthy_for(&rig).is_some_and(|told| told <= 3_000), "from the beginning again");
}

#[test]
fn a_failure_between_two_heartbeats_is_a_break_all_the_same() {
    let mut rig = Rig::standing_by();
    rig.run_to(30_000);
    rig.hold(&[Kind::Beat]);
    rig.run_to(32_000);
    rig.node.handle_health(rig.now, Health::Bad);
    rig.node.handle_health(rig.now, Health::Ok);
    rig.held.clear();
    rig.answer(Kind::Beat, Fate::Done);
    rig.run_to(34_000);
    assert!(healthy_for(&rig).is_some_and(|told| told <= 2_000), "{:?}", rig.last_beat());
}

#[test]
fn a_wall_clock_that_is_set_makes_nobody_healthier() {
    let mut rig = Rig::standing_by();
    rig.run_to(10_000);
    let day = 86_400_000;
    rig.now.wall = WallTime(at(10_000).wall.0 + day);
    rig.node.handle_health(rig.now, Health::Ok);
    rig.node.handle_timer(Now { boot: at(11_500).boot, wall: WallTime(at(11_500).wall.0 + day) });
    rig.settle();
    assert!(healthy_for(&rig).is_some_and(|told| told <= 11_500), "{:?}", rig.last_beat());
}

#[test]
fn a_node_whose_promote_has_failed_tells_no_length_until_it_has_served() {
    let mut rig = Rig::booted();
    rig.fate.insert(Kind::Promote, Fate::Fails);
    rig.run_to(0);
    rig.node.handle_health(rig.now, Health::Ok);
    rig.fate.clear();
    rig.grant(2);
    rig.run_to(60_000);
    assert_eq!(
        (rig.last_beat().health, healthy_for(&rig)),
        (Health::Ok, Some(0)),
        "its checks pass, no more"
    );
    rig.grant(1);
    rig.run_to(63_000);
    assert_eq!(rig.node.serving(), Some(Epoch(3)));
    rig.grant(2);
    rig.run_to(70_000);
    assert!(healthy_for(&rig).is_some_and(|told| told <= 10_000), "{:?}", rig.last_beat());
}
