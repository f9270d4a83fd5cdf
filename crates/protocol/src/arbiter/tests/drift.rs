//! What somebody else has moved: found only when there is reason to look, told, put right, and looked at once more.

use super::rig::Rig;
use super::*;
use crate::decide::Stay;
use crate::history::Happening;
use crate::lease::{Intent, Pause};
use crate::outcome::WriteFailure;
use crate::testing::interface;
use crate::time::WallTime;
use crate::wake::{Wake, Why};

fn told(rig: &Rig) -> Vec<Happening> {
    let rows = rig.log.iter().filter_map(|action| match action {
        Action::Append(event) => Some(event.what.clone()),
        _ => None,
    });
    rows.filter(|what| !matches!(what, Happening::Step { .. })).collect()
}

/// Nothing is unfinished, and something may have been moved.
fn hinted() -> Rig {
    let mut rig = Rig::new();
    let cluster = rig.hint.cluster.clone();
    rig.hint = Hint::of_resource(cluster);
    let observed = &mut rig.lease.as_mut().expect("there").observed.associations;
    observed.insert(crate::testing::allocation(1), crate::testing::association(1));
    rig
}

/// Both routes lead elsewhere.
fn astray() -> Rig {
    Rig { routed: interface(3), ..hinted() }
}

/// The same rig at another moment.
fn later(rig: &mut Rig, at: WallTime) {
    rig.now.wall = at;
    rig.deadline = rig.now.boot + Duration::from_secs(25);
}

#[test]
fn a_hint_makes_the_arbiter_look_and_nothing_is_written_if_all_is_in_place() {
    let mut rig = hinted();
    assert_eq!(rig.run().outcome, Outcome::InPlace);
    assert_eq!(rig.names(), ["ReadLease", "ReadHeartbeats", "Look", "Look", "Look", "Look"]);
    let mut rig = Rig { hint: Hint::of_stream(rig.hint.cluster), ..hinted() };
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
    assert_eq!(rig.names(), ["ReadLease", "ReadHeartbeats"], "without a hint nobody looks");
}

#[test]
fn what_was_moved_is_told_once_put_right_and_looked_at_once_more() {
    let mut rig = astray();
    let begun = rig.now.wall;
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let rows = told(&rig);
    let drifts = rows.iter().filter(|what| {
        matches!(what, Happening::Drift { found, .. } if *found == format!("leads to {}", interface(3)))
    });
    assert_eq!(drifts.count(), 2, "{rows:?}");
    assert!(matches!(rows.last(), Some(Happening::Repaired { took_ms: 1.. })), "{rows:?}");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rig.routed, rig.lease.as_ref().expect("there").members[0].interface);
    assert!(rig.recorded.len() == 1 && rig.recorded[0].is_some_and(|at| at >= begun + finish::LATE_CALLS));
}

#[test]
fn that_all_is_in_place_again_is_told_though_nobody_hears_that_it_was_recorded() {
    let mut rig = astray();
    let lost = || Err(WriteFailure::Failed(Failure::Unknown("timed out".to_owned())));
    rig.record_answers = (0..READ_TRIES).map(|_| lost()).collect();
    assert!(matches!(rig.run().outcome, Outcome::Failed(_)));
    let repairs = |rig: &Rig| {
        told(rig).into_iter().filter(|what| matches!(what, Happening::Repaired { took_ms: 1.. })).count()
    };
    assert_eq!(repairs(&rig), 1);
    // Whoever tries again finds nothing to mend, and tells nothing twice.
    let now = rig.now.wall;
    later(&mut rig, now);
    assert_eq!(rig.run().outcome, Outcome::InPlace);
    assert_eq!(repairs(&rig), 1);
}

#[test]
fn a_look_before_its_time_takes_no_second_one_s_place() {
    let mut rig = hinted();
    rig.lease.as_mut().expect("there").verify_at = Some(WallTime(rig.now.wall.0 + 5_000));
    assert_eq!(rig.run().outcome, Outcome::InPlace);
    assert_eq!(rig.recorded, []);
    let mut rig = hinted();
    rig.lease.as_mut().expect("there").verify_at = Some(rig.now.wall);
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert_eq!(rig.recorded, [None], "the second look itself is recorded");
}

#[test]
fn during_a_pause_nothing_is_put_right() {
    let until = WallTime(2_000_000);
    let mut rig = astray();
    let pause = Pause { until, by: "alice".to_owned(), why: "moving things".to_owned() };
    rig.lease.as_mut().expect("there").paused = Some(pause);
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
    assert_eq!(rig.names(), ["ReadLease", "ReadHeartbeats"]);
    later(&mut rig, until);
    assert_eq!(rig.run().outcome, Outcome::Moved);
}

#[test]
fn a_wish_that_nobody_can_follow_holds_back_no_repair() {
    let mut rig = astray();
    let until = WallTime(2_000_000);
    let wish = Intent {
        to: None,
        reason: String::new(),
        epoch: Epoch(1),
        until,
        request: None,
        failover: false,
        asked: None,
    };
    rig.lease.as_mut().expect("there").intent = Some(wish);
    assert_eq!(rig.run().outcome, Outcome::Moved);
}

#[test]
fn a_wake_for_the_cluster_s_turn_or_from_an_operator_makes_the_arbiter_look() {
    for (why, looks) in [
        (Why::Verify, true),
        (Why::Request, true),
        (Why::Sweep, false),
        (Why::Claim, false),
        (Why::Continue, false),
    ] {
        let mut rig = astray();
        let wake = Wake { cluster: rig.hint.cluster.clone(), why, schema: SCHEMA };
        rig.hint = Hint::of_wake(wake);
        let moved = rig.run().outcome == Outcome::Moved;
        assert_eq!(moved, looks, "{why:?}");
    }
}

#[test]
fn what_was_mended_is_looked_at_once_more_though_another_look_was_recorded_meanwhile() {
    let mut rig = astray();
    let mut found = rig.lease.clone().expect("there");
    found.verify_at = Some(WallTime(5));
    rig.record_answers = [Err(WriteFailure::Refused(Some(found)))].into();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let records = rig.log.iter().filter_map(|action| match action {
        Action::RecordMoved(record) => Some((record.due, record.verify_at.is_some())),
        _ => None,
    });
    assert_eq!(records.collect::<Vec<_>>(), [(None, true), (Some(WallTime(5)), true)]);
    // One that has mended nothing leaves it to the other.
    let mut rig = hinted();
    rig.lease.as_mut().expect("there").verify_at = Some(rig.now.wall);
    let mut found = rig.lease.clone().expect("there");
    found.verify_at = Some(WallTime(rig.now.wall.0 + 60_000));
    rig.record_answers = [Err(WriteFailure::Refused(Some(found)))].into();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert_eq!(rig.recorded, [None]);
}

#[test]
fn a_grant_ends_the_look_that_was_arranged_for_the_epoch_before() {
    let mut rig = Rig::claimed();
    rig.lease.as_mut().expect("there").verify_at = Some(WallTime(5_000_000));
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let due = rig.log.iter().find_map(|action| match action {
        Action::RecordMoved(record) => Some(record.due),
        _ => None,
    });
    assert_eq!(due, Some(None));
}

fn refused(rig: &Rig, verify_at: Option<WallTime>) -> Result<(), WriteFailure<Option<Lease>>> {
    let found = Lease { verify_at, ..rig.lease.clone().expect("there") };
    Err(WriteFailure::Refused(Some(found)))
}

#[test]
fn a_record_that_was_made_by_its_own_first_attempt_is_not_made_again() {
    let mut rig = astray();
    rig.run();
    let own = rig.recorded[0];
    let mut rig = astray();
    let lost = Err(WriteFailure::Failed(Failure::Unknown("lost".to_owned())));
    rig.record_answers = [lost, refused(&rig, own)].into();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert_eq!(rig.recorded, [own, own], "the attempt whose answer was lost, and its repeat");
}

#[test]
fn looks_of_others_are_followed_a_few_times_and_not_for_ever() {
    let mut rig = astray();
    rig.record_answers = (0..10).map(|n| refused(&rig, Some(WallTime(n)))).collect();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert_eq!(rig.recorded.len(), 5);
}

#[test]
fn a_second_look_that_comes_due_in_a_pause_waits_for_its_end() {
    let until = WallTime(2_000_000);
    let mut rig = Rig { hint: Hint::of_stream(hinted().hint.cluster), ..astray() };
    let lease = rig.lease.as_mut().expect("there");
    lease.verify_at = Some(WallTime(5));
    lease.paused = Some(Pause { until, by: "alice".to_owned(), why: "moving things".to_owned() });
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
    assert_eq!(
        (rig.names(), rig.recorded.len()),
        (vec!["ReadLease".to_owned(), "ReadHeartbeats".to_owned()], 0)
    );
    later(&mut rig, until);
    assert_eq!(rig.run().outcome, Outcome::Moved);
}

/// The guard's read shows the pause; what has been begun is brought to its end, or an address would belong to nobody.
#[test]
fn a_pause_that_begins_meanwhile_ends_a_repair_that_has_changed_nothing_yet() {
    let pause = Pause { until: WallTime(2_000_000), by: "alice".to_owned(), why: "moving things".to_owned() };
    let paused_at = |read: usize| {
        let mut rig = Rig { latency: Duration::from_millis(300), ..astray() };
        rig.pause_after_reads = Some((read, pause.clone()));
        (rig.run().outcome, rig.names().iter().filter(|name| *name == "Call").count())
    };
    assert_eq!(paused_at(2), (Outcome::Stayed(Stay::Paused), 0));
    assert_eq!(paused_at(3), (Outcome::Moved, 2));
}

#[test]
fn nothing_is_put_back_to_a_holder_that_is_not_served_by_it() {
    let silent = |rig: &mut Rig| {
        rig.heartbeats.insert(arn(2), Rig::claimed().heartbeats[&arn(2)].clone());
        // Nobody could take over.
        rig.heartbeats.values_mut().for_each(|found| found.health = crate::heartbeat::Health::Bad);
    };
    type Edit = fn(&mut Rig);
    let edits: [(&str, Edit); 2] = [
        ("claimed", silent),
        ("released", |rig| {
            rig.heartbeats.retain(|instance, _| *instance == arn(1));
            rig.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
        }),
    ];
    for (what, edit) in edits {
        let mut rig = astray();
        edit(&mut rig);
        let outcome = rig.run().outcome;
        assert!(matches!(outcome, Outcome::Stayed(_)), "{what}: {outcome:?}");
        assert!(!rig.names().iter().any(|name| name == "Call"), "{what}");
    }
    // That the clocks are apart says nothing.
    let mut rig = astray();
    rig.now.wall = rig.now.wall + Duration::from_secs(3_600);
    assert_eq!(rig.run().outcome, Outcome::Moved);
}

#[test]
fn what_could_be_mended_is_recorded_though_the_rest_is_stuck() {
    // The tables cannot be seen, and the address is free.
    let mut rig = Rig { place: None, tables_denied: true, ..hinted() };
    let begun = rig.now.wall;
    assert!(matches!(rig.run().outcome, Outcome::Stuck(stuck) if stuck.len() == 2));
    assert!(rig.recorded.len() == 1 && rig.recorded[0].is_some_and(|at| at >= begun + finish::LATE_CALLS));
    assert!(told(&rig).iter().any(|what| matches!(what, Happening::Repaired { .. })));
    // What was seen in place is what is known of it from then on, and of the rest what was known before.
    let known = rig.log.iter().find_map(|action| match action {
        Action::RecordMoved(record) => Some(record.observed.clone()),
        _ => None,
    });
    let (made, _) = rig.place.clone().expect("in place");
    assert_eq!(known.expect("a record").associations, [(crate::testing::allocation(1), made)].into());
    // Nothing was mended: there is nothing to record.
    let mut rig = Rig { tables_denied: true, ..hinted() };
    assert!(matches!(rig.run().outcome, Outcome::Stuck(_)));
    assert_eq!(rig.recorded, []);
    // What a second look could not see is still to be looked at.
    let mut rig = Rig { tables_denied: true, ..hinted() };
    rig.lease.as_mut().expect("there").verify_at = Some(rig.now.wall);
    assert!(matches!(rig.run().outcome, Outcome::Stuck(_)));
    assert_eq!(rig.recorded, []);
}
