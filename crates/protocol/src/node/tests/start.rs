//! How a run starts: the announcement, the oath, and what an earlier run of the same boot left.

use super::super::*;
use super::rig::{Fate, Kind, Rig, START, at};
use crate::testing::{arn, heartbeat, incarnation};

/// What a run leaves that serves epoch 1 until `ms`.
fn left_serving(ms: u64) -> RunState {
    RunState {
        serving: Some(Epoch(1)),
        serving_since: Some(WallTime(5)),
        valid_until: Some(at(ms).boot),
        guarded: true,
        released: Epoch(0),
        known: Epoch(1),
    }
}

fn announcements(rig: &Rig) -> Vec<Option<Incarnation>> {
    let announced = |(_, command): &(BootTime, Command)| match command {
        Command::Announce { expected, .. } => Some(expected.clone()),
        _ => None,
    };
    rig.log.iter().filter_map(announced).collect()
}

#[test]
fn a_boot_stops_what_may_run_and_serves_only_after_w_and_r() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Beat, Kind::Lease]);
    rig.run_to(0);
    assert_eq!(rig.hooks(), ["-start"]);
    rig.answer(Kind::Beat, Fate::Done);
    assert_eq!(rig.hooks(), ["-start"]);
    rig.answer(Kind::Lease, Fate::Done);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
}

#[test]
fn an_adopted_service_is_neither_mended_nor_given_its_addresses_back_before_the_lease_was_read() {
    // What was left may be older than what the last run did, and say that nothing guards the service.
    let left = RunState { guarded: false, ..left_serving(60_000) };
    let mut rig = Rig::restarted(Some(left), 0);
    rig.hold(&[Kind::Lease]);
    rig.run_to(1_000);
    assert_eq!(rig.node.serving(), Some(Epoch(1)));
    assert!(!rig.node.may_recover(rig.now) && !rig.node.keeps_addresses(rig.now));
    rig.held.clear();
    rig.answer(Kind::Lease, Fate::Done);
    rig.run_to(3_000);
    assert!(rig.node.may_recover(rig.now) && rig.node.keeps_addresses(rig.now));
}

#[test]
fn nothing_is_promoted_while_the_demote_of_the_start_still_runs() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Demote]);
    rig.run_to(3_000);
    assert_eq!(rig.hooks(), ["-start"]);
    assert_eq!(
        rig.count(|command| matches!(command, Command::Arm { .. })),
        0,
        "nothing runs that may be guarded"
    );
    rig.answer(Kind::Demote, Fate::Done);
    rig.run_to(3_000);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
}

#[test]
fn the_run_is_announced_by_comparing_the_incarnation_that_was_read() {
    let mut rig = Rig::booted();
    rig.own = Some(heartbeat(&arn(1), 41));
    rig.run_to(0);
    assert_eq!(announcements(&rig), [Some(incarnation(1))]);
    let first = rig.log.iter().find_map(|(_, command)| match command {
        Command::Beat(beat) => Some(beat.seq),
        _ => None,
    });
    assert_eq!(first, Some(Seq(43)), "41 was found, 42 announced this run");
    let mut rig = Rig::booted();
    rig.run_to(0);
    assert_eq!(announcements(&rig), [None], "a missing item is made only if it is still missing");
}

#[test]
fn an_announcement_that_lost_its_race_starts_again_from_a_read() {
    let mut rig = Rig::booted();
    rig.own = Some(heartbeat(&arn(1), 5));
    rig.hold(&[Kind::Announce]);
    rig.run_to(0);
    rig.own.as_mut().expect("an item").incarnation = incarnation(9);
    rig.held.clear();
    rig.run_to(2_000);
    assert_eq!(announcements(&rig), [Some(incarnation(1)), Some(incarnation(9))]);
    assert_eq!(rig.node.serving(), Some(Epoch(1)));
}

#[test]
fn an_announcement_of_unknown_outcome_is_looked_up_and_not_repeated() {
    let mut rig = Rig::booted();
    rig.own = Some(heartbeat(&arn(1), 5));
    rig.fate.insert(Kind::Announce, Fate::LostAnswer);
    rig.run_to(2_000);
    assert_eq!(announcements(&rig).len(), 1);
    assert_eq!(rig.node.serving(), Some(Epoch(1)));
    let mut rig = Rig::booted();
    rig.fate.insert(Kind::Announce, Fate::LostRequest);
    rig.run_to(2_500);
    assert_eq!(
        rig.count(|command| matches!(command, Command::Beat(_))),
        0,
        "a run that is not announced never beats"
    );
    assert!(announcements(&rig).len() >= 2);
}

#[test]
fn an_oath_of_an_earlier_run_is_read_after_the_announcement_and_kept() {
    let mut rig = Rig::booted();
    rig.own = Some(heartbeat(&arn(1), 5));
    rig.hold(&[Kind::Announce]);
    rig.run_to(0);
    // The earlier run's oath lands between the first read and the announcement.
    rig.own.as_mut().expect("an item").released = Epoch(1);
    rig.held.clear();
    rig.run_to(5_000);
    assert_eq!(rig.hooks(), ["-start"], "epoch 1 is never served again");
    assert_eq!(rig.left().released, Epoch(1));
}

#[test]
fn an_oath_that_the_table_never_got_is_written_by_the_next_run() {
    let earlier = RunState { released: Epoch(1), guarded: true, ..RunState::default() };
    let mut rig = Rig::restarted(Some(earlier), 0);
    rig.run_to(5_000);
    assert_eq!(rig.hooks(), ["-start"]);
    assert_eq!(rig.own.as_ref().expect("an item").released, Epoch(1));
    assert_eq!(rig.count(|command| matches!(command, Command::Release { .. })), 1);
}

#[test]
fn a_restart_within_validity_adopts_the_service_without_a_hook() {
    let mut rig = Rig::restarted(Some(left_serving(3_000)), 0);
    rig.run_to(10_000);
    assert_eq!(rig.hooks(), [""; 0]);
    assert_eq!(rig.node.serving(), Some(Epoch(1)));
    assert_eq!(rig.last_beat().serving_since, Some(WallTime(5)));
}

#[test]
fn an_adopted_service_is_fenced_when_the_budget_it_came_with_ends() {
    let mut rig = Rig::restarted(Some(left_serving(3_000)), 0);
    rig.fate.insert(Kind::Own, Fate::LostRequest);
    rig.run_to(2_999);
    assert_eq!(rig.state(), "serving");
    rig.hold(&[Kind::Demote]);
    rig.run_to(3_000);
    assert_eq!(rig.hooks(), ["-self-fence"]);
}

#[test]
fn a_restart_after_validity_or_half_way_through_a_promote_demotes_first() {
    let half = RunState { serving_since: None, ..left_serving(3_000) };
    for (earlier, now) in [(left_serving(3_000), 3_000), (half, 1_000)] {
        let mut rig = Rig::restarted(Some(earlier), now);
        rig.run_to(now + 1_000);
        assert_eq!(rig.hooks(), ["-start", "+1"]);
    }
}

#[test]
fn a_released_epoch_is_not_adopted() {
    let earlier = RunState { released: Epoch(1), ..left_serving(3_000) };
    let mut rig = Rig::restarted(Some(earlier), 0);
    rig.run_to(2_000);
    assert_eq!(rig.hooks(), ["-start"]);
}

#[test]
fn an_adopted_service_stops_if_the_table_holds_an_oath_for_its_epoch() {
    let mut rig = Rig::restarted(Some(left_serving(3_000)), 0);
    let mut own = heartbeat(&arn(1), 5);
    own.released = Epoch(1);
    rig.own = Some(own);
    rig.fate.insert(Kind::Lease, Fate::LostRequest);
    rig.run_to(0);
    assert_eq!(rig.hooks(), ["-deposed"]);
}

#[test]
fn a_service_without_guard_is_adopted_however_late_the_restart() {
    let available = RunState { guarded: false, ..left_serving(3_000) };
    // A retired cluster has no budget at all.
    let retired = RunState { valid_until: None, ..available.clone() };
    for earlier in [available, retired] {
        let mut rig = Rig::restarted(Some(earlier), 60_000);
        rig.fate.insert(Kind::Own, Fate::LostRequest);
        rig.run_to(90_000);
        assert_eq!(rig.hooks(), [""; 0], "unknown never stops it");
        assert_eq!(rig.node.serving(), Some(Epoch(1)));
    }
}

#[test]
fn a_new_run_publishes_no_less_than_the_service_it_adopts_may_still_serve() {
    let mut rig = Rig::restarted(Some(left_serving(9_000)), 0);
    rig.run_to(0);
    let announced = rig.log.iter().find_map(|(_, command)| match command {
        Command::Announce { validity_ms, .. } => Some(*validity_ms),
        _ => None,
    });
    assert_eq!(announced, Some(9_000));
    assert!(rig.last_beat().validity_ms >= 9_000);
}

#[test]
fn a_node_asks_again_for_what_it_could_not_read_and_never_at_once() {
    let mut rig = Rig::booted();
    rig.fate.insert(Kind::Own, Fate::Throttled);
    rig.run_to(5_000);
    let reads = rig.count(|command| *command == Command::ReadOwn);
    assert!((5..=6).contains(&reads), "{reads} reads in 5 s");
}

#[test]
fn answers_that_come_twice_or_unasked_change_nothing() {
    let mut rig = Rig::serving();
    rig.hold(&[Kind::Beat]);
    rig.run_to(1_500);
    let before = rig.log.len();
    let now = rig.now;
    rig.node.handle_own(now, Ok(rig.own.clone()));
    rig.node.handle_own(now, Err(crate::outcome::Failure::Throttled));
    rig.node.handle_announced(now, Ok(()));
    rig.node.handle_lease(now, Ok(None));
    rig.node.handle_heartbeats(now, Ok(Default::default()));
    rig.node.handle_promoted(now, HookOutcome::Failed);
    rig.node.handle_demoted(now, HookOutcome::Done);
    rig.run_to(1_600);
    assert_eq!(rig.log.len(), before, "{:?}", &rig.log[before..]);
    assert!(rig.now.boot.0 > START);
}
