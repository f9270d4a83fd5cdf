//! A service that no dead-man guards: it is told to the table before it is so, and for as long as it is so.

use super::super::*;
use super::rig::{Fate, Kind, Rig, at};
use crate::heartbeat::UNGUARDED_MS;
use crate::lease::{Lease, LeaseState, Mode};

type Edit = fn(&mut Lease);

/// What makes an end of the guard, each by its name.
const ENDS: [(&str, Edit); 2] = [
    ("available", |lease| lease.mode = Mode::Available),
    ("retired", |lease| lease.state = LeaseState::Retired),
];

fn disarms(rig: &Rig) -> usize {
    rig.count(|command| *command == Command::Disarm)
}

/// A holder of an available cluster, which serves epoch 1.
fn available() -> Rig {
    let mut rig = Rig::booted();
    rig.lease_mut().mode = Mode::Available;
    rig.run_to(0);
    assert_eq!((rig.node.serving(), rig.last_beat().validity_ms), (Some(Epoch(1)), UNGUARDED_MS));
    rig
}

#[test]
fn the_guard_is_taken_away_only_after_the_table_was_told() {
    for (what, end) in ENDS {
        let mut rig = Rig::serving();
        rig.hold(&[Kind::Beat]);
        rig.run_to(1_200);
        let before = disarms(&rig);
        end(rig.lease_mut());
        // This W was sent before the node knew: it has told nothing.
        rig.answer(Kind::Beat, Fate::Done);
        rig.run_to(1_200);
        assert_eq!(rig.last_beat().validity_ms, UNGUARDED_MS, "{what}: told at once");
        // The next one did not arrive, as far as the node can tell.
        rig.answer(Kind::Beat, Fate::LostAnswer);
        rig.run_to(2_500);
        assert_eq!((disarms(&rig), rig.left().guarded), (before, true), "{what}");
        rig.answer(Kind::Beat, Fate::Done);
        assert!(disarms(&rig) > before, "{what}");
        assert!(!rig.left().guarded, "{what}");
        assert_eq!(rig.hooks(), ["-start", "+1"], "{what}: and the service runs on");
    }
}

#[test]
fn a_guard_that_the_table_was_not_told_of_ends_the_service_as_before() {
    for (what, end) in ENDS {
        let mut rig = Rig::serving();
        rig.run_to(3_000);
        end(rig.lease_mut());
        rig.fate.insert(Kind::Beat, Fate::LostAnswer);
        let until = rig.node.valid_until().expect("a budget");
        rig.run_to(60_000);
        assert_eq!(rig.hooks()[2..], ["-self-fence"], "{what}");
        let demoted = rig
            .log
            .iter()
            .find(|(_, command)| matches!(command, Command::Demote { reason: Reason::SelfFence, .. }));
        assert_eq!(demoted.map(|(when, _)| *when), Some(until), "{what}");
    }
}

#[test]
fn a_guard_that_still_stands_is_extended_by_what_was_earned() {
    for (what, end) in ENDS {
        let mut rig = Rig::serving();
        rig.hold(&[Kind::Beat]);
        rig.run_to(1_200);
        let sent = rig.open.front().expect("W is open").1;
        end(rig.lease_mut());
        rig.answer(Kind::Beat, Fate::Done);
        let until = sent + rig.node.timing.validity();
        let armed = rig.count(|command| *command == Command::Arm { epoch: Epoch(1), valid_until: until });
        assert_eq!(armed, 1, "{what}");
    }
}

#[test]
fn nothing_is_started_without_a_guard_before_the_table_was_told() {
    let mut rig = Rig::booted();
    rig.lease_mut().mode = Mode::Available;
    rig.hold(&[Kind::Beat]);
    rig.run_to(0);
    rig.answer(Kind::Beat, Fate::Done);
    rig.run_to(0);
    assert_eq!((rig.hooks(), rig.last_beat().validity_ms), (vec!["-start".to_owned()], UNGUARDED_MS));
    rig.answer(Kind::Beat, Fate::Done);
    assert_eq!(rig.count(|command| *command == Command::Promote { epoch: Epoch(1), guarded: false }), 1);
}

#[test]
fn every_heartbeat_says_so_while_the_service_runs_without_a_guard() {
    for (what, end) in ENDS {
        let mut rig = Rig::serving();
        end(rig.lease_mut());
        rig.run_to(3_000);
        let before = rig.log.len();
        rig.run_to(20_000);
        let beats = rig.log[before..].iter().filter_map(|(_, command)| match command {
            Command::Beat(beat) => Some(beat.validity_ms),
            _ => None,
        });
        assert!(beats.clone().count() > 10, "{what}");
        assert!(beats.clone().all(|validity| validity == UNGUARDED_MS), "{what}");
    }
}

#[test]
fn a_cluster_that_becomes_strict_is_guarded_at_once_and_says_so_afterwards() {
    let mut rig = available();
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.run_to(60_000);
    assert_eq!(rig.state(), "serving");
    rig.lease_mut().mode = Mode::Strict;
    rig.run_to(61_500);
    assert_eq!(rig.hooks()[2..], ["-self-fence"], "its budget ended long ago");
    rig.fate.clear();
    rig.run_to(63_000);
    assert_eq!(rig.state(), "serving");
    assert!(rig.node.valid_until() > Some(rig.now.boot));
    assert_eq!(rig.last_beat().validity_ms, 4_000);
    // With its W confirmed, no hook is needed.
    let mut rig = available();
    rig.lease_mut().mode = Mode::Strict;
    rig.run_to(3_000);
    assert_eq!((rig.hooks(), rig.last_beat().validity_ms), (vec!["-start".into(), "+1".into()], 4_000));
}

#[test]
fn a_service_that_was_never_armed_is_unguarded_until_it_is_down() {
    let mut rig = available();
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.run_to(10_000);
    rig.lease_mut().mode = Mode::Strict;
    rig.hold(&[Kind::Demote]);
    rig.run_to(12_000);
    assert_eq!(rig.state(), "stopping");
    rig.fate.clear();
    rig.run_to(20_000);
    let own = rig.own.clone().expect("an item");
    assert!(own.is_unguarded(), "no dead-man would stop it: {own:?}");
    rig.answer(Kind::Demote, Fate::Done);
    rig.run_to(21_500);
    assert_eq!((rig.state(), rig.last_beat().validity_ms), ("serving", 4_000));
}

#[test]
fn a_run_that_finds_a_service_without_a_guard_announces_it() {
    let mut rig = available();
    rig.run_to(2_000);
    let left = rig.left();
    assert!(!left.guarded);
    let mut next = Rig::restarted(Some(left), 60_000);
    next.lease = rig.lease.take();
    next.run_to(60_000);
    let announced = next.log.iter().find_map(|(_, command)| match command {
        Command::Announce { validity_ms, .. } => Some(*validity_ms),
        _ => None,
    });
    assert_eq!((announced, next.node.serving()), (Some(UNGUARDED_MS), Some(Epoch(1))));
    assert_eq!(at(60_000).boot, next.now.boot);
}

#[test]
fn what_was_never_armed_is_kept_as_unguarded_for_the_next_run() {
    // The cluster turns strict, and the write that would have earned a budget is lost: the node asks for a guard and has none.
    let mut rig = available();
    rig.lease_mut().mode = Mode::Strict;
    rig.hold(&[Kind::Demote]);
    rig.fate.insert(Kind::Beat, Fate::LostAnswer);
    rig.run_to(8_000);
    assert_eq!(rig.state(), "stopping");
    assert!(!rig.left().guarded, "the next run would take it for guarded, and say so to the table");
    rig.fate.clear();
    rig.run_to(10_000);
    assert_eq!(rig.last_beat().validity_ms, UNGUARDED_MS, "and until it is down, nothing would stop it");
}

#[test]
fn a_claim_of_another_configuration_is_taken_back() {
    let mut rig = Rig::standing_by();
    rig.run_to(7_000);
    assert!(rig.last_beat().claim.is_some());
    rig.lease_mut().revision += 1;
    rig.lease_mut().timing = crate::timing::Timing::DEFAULT;
    let holder = rig.peers.get_mut(&crate::testing::arn(2)).expect("the holder");
    holder.validity_ms = 10_000;
    rig.run_to(8_000);
    assert_eq!(rig.last_beat().claim, None, "it was measured for a shorter silence");
}

#[test]
fn a_retired_service_that_no_dead_man_guards_is_left_at_once() {
    let mut rig = available();
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.lease_mut().mode = Mode::Strict;
    rig.run_to(1_500);
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(2_700);
    assert_eq!(rig.state(), "serving");
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.settle();
    assert_eq!((rig.state(), rig.hooks().len()), ("left", 2));
}
