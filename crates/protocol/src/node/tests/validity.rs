//! The budget: what extends it, what does not, and what happens at its end.

use super::super::*;
use super::rig::{Fate, Kind, Rig, at};
use crate::lease::Mode;
use crate::timing::Durations;

fn until(ms: u64) -> Option<BootTime> {
    Some(at(ms).boot)
}

/// A timing with this validity, in milliseconds, and a silence that goes with it.
fn timing(validity_ms: u64) -> Timing {
    let durations = Timing::DEFAULT.durations();
    Timing::new(Durations { validity_ms, silence_ms: validity_ms * 2, ..durations }).expect("a timing")
}

/// A holder in the middle of a cycle: W was sent at about 1 s and is not answered yet.
fn beating() -> (Rig, u64) {
    let mut rig = Rig::serving();
    rig.hold(&[Kind::Beat]);
    rig.run_to(1_200);
    let sent = rig.open.front().expect("W is open").1;
    (rig, sent.since(at(0).boot).as_millis().try_into().expect("short"))
}

#[test]
fn r_is_sent_only_after_w_was_answered() {
    let (mut rig, _) = beating();
    let reads = |rig: &Rig| rig.count(|command| *command == Command::ReadLease);
    let before = reads(&rig);
    rig.run_to(1_900);
    assert_eq!(reads(&rig), before);
    rig.answer(Kind::Beat, Fate::Done);
    assert_eq!(reads(&rig), before + 1);
}

#[test]
fn validity_counts_from_the_sending_of_w_and_not_from_any_answer() {
    let (mut rig, sent) = beating();
    rig.freeze_to(1_500);
    rig.hold(&[Kind::Lease]);
    rig.answer(Kind::Beat, Fate::Done);
    rig.freeze_to(1_900);
    rig.answer(Kind::Lease, Fate::Done);
    assert_eq!(rig.node.valid_until(), until(sent + 4_000));
}

#[test]
fn a_newer_timing_that_r_shows_counts_from_the_next_w_on() {
    let (mut rig, sent) = beating();
    rig.lease_mut().timing = timing(10_000);
    rig.answer(Kind::Beat, Fate::Done);
    assert_eq!(rig.node.valid_until(), until(sent + 4_000), "this W published 4 s");
    assert_eq!(rig.last_beat().validity_ms, 4_000, "no other W was sent yet");
    rig.held.clear();
    rig.run_to(4_000);
    assert_eq!(rig.last_beat().validity_ms, 10_000);
    assert!(rig.node.valid_until() > until(11_000));
}

#[test]
fn no_heartbeat_publishes_less_than_what_is_left_of_the_budget() {
    let mut rig = Rig::booted();
    rig.lease_mut().timing = timing(10_000);
    rig.run_to(2_500);
    let before = rig.node.valid_until().expect("a budget");
    assert!(before > at(10_000).boot);
    rig.lease_mut().timing = Timing::DEFAULT;
    rig.run_to(3_500);
    // From here on each W is applied and its answer lost: standbys time silence by it, and the budget runs on.
    rig.fate.insert(Kind::Beat, Fate::LostAnswer);
    rig.run_to(5_000);
    let sent = rig.log.iter().rev().find(|(_, command)| matches!(command, Command::Beat(_))).expect("a W").0;
    let published = std::time::Duration::from_millis(rig.own.as_ref().expect("an item").validity_ms);
    let left = rig.node.valid_until().expect("a budget");
    assert!(sent + published >= left, "published {published:?} at {sent:?}, serves until {left:?}");
    assert!(sent + timing(4_000).validity() < left, "the schedule would show a fault");
    rig.run_to(20_000);
    assert_eq!(rig.last_beat().validity_ms, 4_000, "and the lowered validity is reached in the end");
}

#[test]
fn a_w_that_was_not_confirmed_extends_nothing() {
    for fate in Fate::UNCONFIRMED {
        let (mut rig, _) = beating();
        let before = rig.node.valid_until();
        rig.answer(Kind::Beat, fate);
        rig.held.clear();
        rig.fate.insert(Kind::Beat, fate);
        rig.run_to(3_500);
        assert_eq!(rig.node.valid_until(), before, "{fate:?}");
        assert_eq!(rig.state(), "serving", "{fate:?}: nor does it stop anything before the end");
    }
}

#[test]
fn a_confirmed_w_without_a_readable_lease_extends_nothing_and_stops_nothing() {
    for fate in [Fate::LostRequest, Fate::Throttled, Fate::Denied] {
        let (mut rig, _) = beating();
        let before = rig.node.valid_until();
        rig.fate.insert(Kind::Lease, fate);
        rig.answer(Kind::Beat, Fate::Done);
        assert_eq!((rig.node.valid_until(), rig.state()), (before, "serving"), "{fate:?}");
    }
}

#[test]
fn a_missing_foreign_or_newer_lease_is_unknown_and_never_a_loss() {
    for unknown in ["missing", "foreign", "newer", "older epoch"] {
        let mut rig = Rig::booted();
        rig.lease_mut().epoch = Epoch(5);
        rig.run_to(0);
        match unknown {
            "missing" => rig.lease = None,
            "foreign" => rig.lease_mut().cluster = ClusterName::new("other").expect("valid"),
            "newer" => rig.lease_mut().schema = crate::lease::SCHEMA + 1,
            _ => {
                rig.lease_mut().epoch = Epoch(4);
                rig.lease_mut().holder = Some(crate::testing::arn(2));
            }
        }
        let before = rig.node.valid_until();
        rig.run_to(3_000);
        assert_eq!((rig.node.valid_until(), rig.state()), (before, "serving"), "{unknown}");
    }
}

#[test]
fn a_lost_beat_of_this_run_extends_nothing_and_is_not_an_usurper() {
    let (mut rig, _) = beating();
    let before = rig.node.valid_until();
    // A later number of the same run stands there: this W came late.
    rig.own.as_mut().expect("an item").seq = Seq(90);
    rig.answer(Kind::Beat, Fate::Done);
    assert_eq!((rig.node.valid_until(), rig.state()), (before, "serving"));
    rig.held.clear();
    rig.run_to(2_500);
    assert!(rig.last_beat().seq > Seq(90), "the next one is above it");
    assert!(rig.node.valid_until() > before);
}

#[test]
fn a_read_of_another_holder_stops_the_service_whether_or_not_w_was_confirmed() {
    for mode in [Mode::Strict, Mode::Available] {
        for fate in [Fate::Done, Fate::LostRequest] {
            let mut rig = Rig::booted();
            rig.lease_mut().mode = mode;
            rig.run_to(0);
            rig.grant(2);
            rig.fate.insert(Kind::Beat, fate);
            rig.run_to(1_200);
            assert_eq!(rig.hooks(), ["-start", "+1", "-deposed"], "{mode:?} {fate:?}");
        }
    }
}

#[test]
fn a_strict_node_fences_itself_exactly_at_the_end_of_validity() {
    let mut rig = Rig::serving();
    let end = rig.node.valid_until().expect("a budget");
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.fate.insert(Kind::Lease, Fate::LostRequest);
    let ms = u64::try_from(end.since(at(0).boot).as_millis()).expect("short");
    rig.run_to(ms - 1);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
    assert!(rig.node.next_deadline() <= Some(end));
    rig.run_to(ms);
    assert_eq!(rig.hooks(), ["-start", "+1", "-self-fence"]);
    assert_eq!(rig.log.iter().rfind(|(_, c)| matches!(c, Command::Demote { .. })).expect("a demote").0, end);
}

#[test]
fn an_available_node_never_fences_itself() {
    let mut rig = Rig::booted();
    rig.lease_mut().mode = Mode::Available;
    rig.run_to(0);
    for kind in [Kind::Beat, Kind::Lease, Kind::Heartbeats] {
        rig.fate.insert(kind, Fate::LostRequest);
    }
    rig.run_to(3_600_000);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
    assert_eq!(rig.node.valid_until(), None);
    assert_eq!(rig.count(|command| matches!(command, Command::Arm { .. })), 0, "and no dead-man is armed");
}

#[test]
fn a_fenced_holder_resumes_through_w_and_r_and_through_nothing_less() {
    let mut rig = Rig::serving();
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.run_to(8_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-self-fence"], "R alone still names it");
    rig.fate.clear();
    rig.run_to(10_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-self-fence", "+1"]);
    assert_eq!(rig.state(), "serving");
}

#[test]
fn a_budget_that_ended_before_r_was_answered_has_ended_though_a_new_one_is_earned() {
    let (mut rig, _) = beating();
    rig.hold(&[Kind::Lease]);
    rig.answer(Kind::Beat, Fate::Done);
    rig.freeze_to(4_900);
    rig.answer(Kind::Lease, Fate::Done);
    assert_eq!(rig.hooks()[2], "-self-fence", "the dead-man has stopped the service by now");
    rig.held.clear();
    rig.run_to(7_000);
    assert_eq!(rig.hooks()[3..], ["+1"]);
}

#[test]
fn an_answer_later_than_the_budget_it_would_earn_starts_nothing() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Beat, Kind::Lease]);
    rig.run_to(0);
    rig.answer(Kind::Beat, Fate::Done);
    rig.freeze_to(4_000);
    rig.answer(Kind::Lease, Fate::Done);
    assert_eq!(rig.hooks(), ["-start"]);
}

#[test]
fn a_promote_that_outlasts_the_budget_is_fenced() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Promote]);
    rig.run_to(0);
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.run_to(3_900);
    assert_eq!(rig.state(), "starting");
    rig.hold(&[Kind::Demote]);
    rig.run_to(4_100);
    assert_eq!((rig.state(), rig.hooks().last().map(String::as_str)), ("stopping", Some("-self-fence")));
    // The same, with a driver that reports the end of the hook before the timer.
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Promote]);
    rig.run_to(0);
    rig.freeze_to(4_100);
    rig.answer(Kind::Promote, Fate::Done);
    assert_eq!(rig.hooks(), ["-start", "+1", "-self-fence"]);
}

#[test]
fn a_long_promote_goes_on_for_as_long_as_the_budget_is_renewed() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Promote]);
    rig.run_to(30_000);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
    rig.answer(Kind::Promote, Fate::Done);
    assert_eq!(rig.state(), "serving");
}

#[test]
fn a_failed_promote_is_stopped_published_as_bad_health_and_tried_again_later() {
    let mut rig = Rig::booted();
    rig.node.handle_health(rig.now, Health::Ok);
    rig.fate.insert(Kind::Promote, Fate::Fails);
    rig.run_to(4_900);
    assert_eq!(rig.hooks(), ["-start", "+1", "-promote-failed"]);
    assert_eq!(rig.last_beat().health, Health::Bad);
    rig.fate.clear();
    rig.run_to(7_500);
    assert_eq!(rig.hooks()[3..], ["+1"], "nobody else could, so it tries again");
    assert_eq!(rig.last_beat().health, Health::Ok);
}

#[test]
fn a_node_whose_dead_man_does_not_stand_counts_as_unable_to_serve() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Promote]);
    rig.node.handle_health(rig.now, Health::Ok);
    rig.run_to(0);
    // The driver could not arm the dead-man.
    rig.node.handle_fenced(rig.now);
    rig.run_to(2_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-self-fence"], "and no promote follows at once");
    assert_eq!(rig.last_beat().health, Health::Bad, "others must learn of it");
}

#[test]
fn a_service_that_the_dead_man_stopped_is_demoted_and_started_anew() {
    let mut rig = Rig::serving();
    rig.node.handle_fenced(rig.now);
    rig.run_to(1_500);
    assert_eq!(rig.hooks(), ["-start", "+1", "-self-fence", "+1"]);
}

#[test]
fn deposed_and_granted_anew_between_two_reads_starts_the_service_afresh() {
    let mut rig = Rig::serving();
    rig.grant(2);
    rig.grant(1);
    rig.run_to(1_500);
    assert_eq!(rig.hooks(), ["-start", "+1", "-deposed", "+3"]);
}

#[test]
fn what_is_being_stopped_is_not_guarded_for_longer() {
    let mut rig = Rig::serving();
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.hold(&[Kind::Demote]);
    rig.run_to(4_500);
    assert_eq!(rig.state(), "stopping");
    let armed = rig.count(|command| matches!(command, Command::Arm { .. }));
    rig.fate.clear();
    rig.run_to(9_000);
    assert_eq!(rig.count(|command| matches!(command, Command::Arm { .. })), armed);
}

#[test]
fn a_lease_at_another_incarnation_of_this_node_ends_the_run_after_the_service() {
    let mut rig = Rig::serving();
    rig.hold(&[Kind::Demote]);
    rig.own.as_mut().expect("an item").incarnation = crate::testing::incarnation(9);
    rig.run_to(2_000);
    assert_eq!((rig.hooks().last().map(String::as_str), rig.node.next_deadline()), (Some("-usurped"), None));
    assert_eq!(rig.count(|command| matches!(command, Command::Exit(_))), 0);
    rig.answer(Kind::Demote, Fate::Done);
    assert!(matches!(rig.log.last(), Some((_, Command::Exit(Exit::Usurped(how)))) if how.contains("run-9")));
    // An item that is gone is the same, and a node that serves nothing ends at once.
    let mut rig = Rig::standing_by();
    rig.own = None;
    rig.run_to(2_000);
    assert!(matches!(rig.log.last(), Some((_, Command::Exit(Exit::Usurped(_))))));
}
