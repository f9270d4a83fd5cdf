//! For how long virtual addresses may outlast the right to serve, and when they are put back.

use super::super::*;
use super::rig::{Kind, Rig, at};
use crate::lease::{LeaseState, Mode, Pause};

#[test]
fn only_an_orderly_end_leaves_time_for_the_service_to_stop_first() {
    for reason in [Reason::Intent, Reason::Unhealthy, Reason::Shutdown, Reason::PromoteFailed] {
        assert!(reason.leaves_time(), "{reason:?}");
    }
    for reason in [Reason::Start, Reason::SelfFence, Reason::Deposed, Reason::Usurped] {
        assert!(!reason.leaves_time(), "{reason:?}: somebody else may serve already");
    }
}

#[test]
fn addresses_are_put_back_only_while_the_node_serves_and_its_budget_lasts() {
    let mut rig = Rig::booted();
    assert!(!rig.node.keeps_addresses(rig.now), "nothing serves");
    rig.hold(&[Kind::Promote]);
    rig.run_to(1_000);
    assert!(!rig.node.keeps_addresses(rig.now), "they are just being raised");
    let mut rig = Rig::serving();
    assert!(rig.node.keeps_addresses(rig.now));
    let until = rig.node.valid_until().expect("a budget");
    let late = |boot| Now { boot, wall: rig.now.wall };
    assert!(rig.node.keeps_addresses(late(BootTime(until.0 - 1))));
    assert!(!rig.node.keeps_addresses(late(until)), "the dead-man takes them away at this moment");
    rig.hold(&[Kind::Demote]);
    rig.node.handle_fenced(rig.now);
    assert!(!rig.node.keeps_addresses(rig.now), "it is being stopped");
}

#[test]
fn addresses_without_a_guard_are_put_back_whatever_the_budget() {
    let mut rig = Rig::serving();
    rig.lease_mut().mode = Mode::Available;
    rig.run_to(4_000);
    assert!(rig.node.keeps_addresses(Now { boot: at(100_000).boot, wall: rig.now.wall }));
}

#[test]
fn addresses_are_left_as_they_are_in_a_pause_and_in_a_retired_cluster() {
    for retired in [false, true] {
        let mut rig = Rig::serving();
        if retired {
            rig.lease_mut().state = LeaseState::Retired;
        } else {
            let until = WallTime(rig.now.wall.0 + 60_000);
            rig.lease_mut().paused = Some(Pause { until, by: "op".to_owned(), why: String::new() });
        }
        rig.run_to(2_500);
        assert!(rig.node.serving().is_some() && !rig.node.keeps_addresses(rig.now), "retired: {retired}");
    }
}
