//! One invocation at a time, its table and EC2 answered from a script.

mod brake;
mod chaos;
mod drift;
mod ends;
mod fence;
mod restored;
mod rig;
mod steps;

use super::*;
use crate::ec2::InstanceState;
use crate::ids::Seq;
use crate::lease::Pause;
use crate::outcome::WriteFailure;
use crate::testing::{arn, incarnation};
use rig::Rig;

#[test]
fn a_wake_without_ground_reads_the_table_and_does_nothing_else() {
    let mut rig = Rig::new();
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
    assert_eq!(rig.names(), ["ReadLease", "ReadHeartbeats"]);
}

#[test]
fn a_claim_is_granted_moved_and_recorded() {
    let mut rig = Rig::claimed();
    let report = rig.run();
    assert_eq!((report.granted, report.outcome), (Some(Epoch(2)), Outcome::Moved));
    let names = rig.names();
    let at = |name: &str| names.iter().position(|found| found == name).expect(name);
    assert!(at("Commit") < at("Call") && at("Call") < at("RecordMoved"));
    assert_eq!(names.iter().filter(|name| *name == "Commit").count(), 1);
}

#[test]
fn looks_run_beside_the_commit_and_calls_wait_for_it() {
    let mut rig = Rig::claimed();
    rig.commits.push_back(Err(Failure::Unknown("lost".to_owned())));
    rig.run();
    let names = rig.names();
    let commits: Vec<_> = (0..names.len()).filter(|n| names[*n] == "Commit").collect();
    let first_call = names.iter().position(|name| name == "Call").expect("a call");
    assert!(names[commits[0]..commits[1]].iter().any(|name| name == "Look"));
    assert!(commits[1] < first_call, "{names:?}");
}

#[test]
fn a_commit_of_unknown_outcome_is_repeated_to_the_letter() {
    for failure in [Failure::Unknown("lost".to_owned()), Failure::Conflict, Failure::Throttled] {
        let mut rig = Rig::claimed();
        rig.commits.extend([Err(failure.clone()), Err(failure)]);
        assert_eq!(rig.run().outcome, Outcome::Moved);
        let commits: Vec<_> = rig.log.iter().filter(|action| matches!(action, Action::Commit(_))).collect();
        assert_eq!(commits.len(), 3);
        assert!(commits.iter().all(|commit| *commit == commits[0]));
    }
}

#[test]
fn a_commit_that_is_denied_is_a_failure_and_nothing_moves() {
    let mut rig = Rig::claimed();
    rig.commits.push_back(Err(Failure::Denied("not allowed".to_owned())));
    assert!(matches!(rig.run().outcome, Outcome::Failed(why) if why.contains("denied")));
    assert!(!rig.names().iter().any(|name| name == "Call"));
}

#[test]
fn a_lost_condition_starts_over_from_a_read_a_few_times_and_then_ends() {
    let mut rig = Rig::claimed();
    rig.commits.extend((0..10).map(|_| Ok(Committed::Superseded(vec!["epoch".to_owned()]))));
    assert_eq!(rig.run().outcome, Outcome::Superseded(vec!["epoch".to_owned()]));
    let reads = rig.names().iter().filter(|name| *name == "ReadHeartbeats").count();
    assert_eq!(reads, 4);
}

#[test]
fn an_unreadable_table_is_no_ground_for_anything() {
    for failure in [Failure::Unknown("x".to_owned()), Failure::Throttled, Failure::Denied("x".to_owned())] {
        let mut rig = Rig::claimed();
        rig.lease_failures = vec![failure; 10];
        assert!(matches!(rig.run().outcome, Outcome::Failed(_)));
        assert!(rig.names().iter().all(|name| name == "ReadLease"));
    }
}

#[test]
fn a_lease_of_a_newer_schema_or_none_is_left_alone() {
    let mut rig = Rig::claimed();
    rig.lease.as_mut().expect("there").rules = crate::rules::RULES + 1;
    assert_eq!(rig.run().outcome, Outcome::NewerRules(crate::rules::RULES + 1));
    rig.lease.as_mut().expect("there").schema = SCHEMA + 1;
    assert_eq!(rig.run().outcome, Outcome::NewerSchema(SCHEMA + 1));
    let mut rig = Rig::claimed();
    rig.lease = None;
    assert_eq!(rig.run().outcome, Outcome::NoSuchCluster);
}

#[test]
fn ec2_is_asked_about_the_holder_only_on_a_hint_and_only_terminated_counts() {
    for (hinted, state, moved) in [
        (false, InstanceState::Terminated, false),
        (true, InstanceState::Other("stopped".to_owned()), false),
        (true, InstanceState::NotFound, false),
        (true, InstanceState::Terminated, true),
    ] {
        let mut rig = Rig::new();
        rig.hint.maybe_gone = hinted;
        rig.instance = state.clone();
        let report = rig.run();
        assert_eq!(report.granted.is_some(), moved, "{hinted} {state:?}");
        assert_eq!(rig.log.iter().any(|a| matches!(a, Action::Look(Look::Instance(_)))), hinted);
    }
}

#[test]
fn a_takeover_that_is_held_back_is_told_once_for_each_claim_and_not_by_the_sweep() {
    let rows = |why| {
        let mut rig = Rig::claimed();
        rig.lease.as_mut().expect("there").takeover = crate::policy::Takeover::Confirm { after_ms: 60_000 };
        rig.hint.why = Some(why);
        assert!(matches!(rig.run().outcome, Outcome::Stayed(Stay::Held(_))));
        let told = rig.log.into_iter().filter_map(|action| match action {
            Action::Append(event) => Some(event),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let first = rows(Why::Claim);
    assert!(
        matches!(first.as_slice(), [row] if matches!(row.what, Happening::Held { cooling: false, braked: false, until: Some(_) }))
    );
    assert_eq!(first, rows(Why::Claim), "the same row again, which is written once");
    assert_eq!(rows(Why::Sweep), []);
}

#[test]
fn what_is_asked_for_is_told_once_and_so_is_its_end_without_effect() {
    let started = Rig::new().now.wall;
    let intent = crate::lease::Intent {
        to: Some(arn(2)),
        reason: "switchover asked by op".to_owned(),
        epoch: Epoch(1),
        until: started + Duration::from_secs(60),
        request: Some(crate::ids::RequestId::new("r-1").expect("valid")),
        failover: false,
        asked: Some(started),
    };
    let told = |intent: crate::lease::Intent, why| {
        let mut rig = Rig::new();
        rig.lease.as_mut().expect("there").intent = Some(intent);
        rig.heartbeats.get_mut(&arn(1)).expect("there").serving_epoch = Some(Epoch(1));
        rig.hint.why = why;
        assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
        let rows = rig.log.iter().filter_map(|action| match action {
            Action::Append(event) => Some((event.at, event.by.clone(), event.what.clone())),
            _ => None,
        });
        let answers = rig.log.iter().filter(|action| matches!(action, Action::Answer { .. })).count();
        (rows.collect::<Vec<_>>(), answers)
    };
    let (asked, answers) = told(intent.clone(), Some(Why::Request));
    assert!(matches!(asked.as_slice(), [(at, _, Happening::Asked { .. })] if *at == started), "{asked:?}");
    assert_eq!(answers, 0);
    assert_eq!(told(intent.clone(), Some(Why::Sweep)).0, asked, "the same row again, which is written once");
    let earlier_version = crate::lease::Intent { asked: None, ..intent.clone() };
    assert_eq!(told(earlier_version, None), (Vec::new(), 0));

    let ended = |ago: Duration, epoch| {
        let until = WallTime(started.0 - u64::try_from(ago.as_millis()).expect("short"));
        told(crate::lease::Intent { until, epoch, ..intent.clone() }, None)
    };
    let (lapsed, answers) = ended(Duration::ZERO, Epoch(1));
    assert!(matches!(lapsed.as_slice(), [(at, _, Happening::Lapsed { .. })] if *at == started), "{lapsed:?}");
    assert_eq!(answers, 1);
    assert_eq!(ended(crate::lease::LAPSED_FOR, Epoch(1)), (Vec::new(), 0), "told long enough");
    assert_eq!(ended(Duration::ZERO, Epoch(0)), (Vec::new(), 0), "of an epoch that is over");
}

#[test]
fn a_wish_that_is_being_obeyed_has_not_lapsed() {
    for (serving, released, nobody_follows, told) in [
        (Some(Epoch(1)), Epoch(0), false, true),
        // Its demote hook takes its time.
        (None, Epoch(0), false, false),
        (Some(Epoch(0)), Epoch(0), false, false),
        // It has released, and nobody could take over yet.
        (Some(Epoch(1)), Epoch(1), true, false),
    ] {
        let mut rig = Rig::new();
        rig.lease.as_mut().expect("there").intent = Some(crate::lease::Intent {
            to: None,
            reason: "switchover asked by op".to_owned(),
            epoch: Epoch(1),
            until: rig.now.wall,
            request: Some(crate::ids::RequestId::new("r-1").expect("valid")),
            failover: false,
            asked: Some(rig.now.wall),
        });
        let holder = rig.heartbeats.get_mut(&arn(1)).expect("there");
        (holder.serving_epoch, holder.released) = (serving, released);
        if !nobody_follows && !told {
            // It releases in the end, and the wish was fulfilled.
            let mut late = Rig::new();
            late.lease.clone_from(&rig.lease);
            late.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
            assert_eq!(late.run().granted, Some(Epoch(2)));
            let granted = |action: &Action| matches!(action, Action::Answer { answer, .. } if answer.starts_with("granted to"));
            assert!(late.log.iter().any(granted), "{:?}", late.log);
        }
        if nobody_follows {
            rig.heartbeats.values_mut().for_each(|beat| beat.health = crate::heartbeat::Health::Bad);
        }
        assert!(rig.run().granted.is_none());
        let lapsed = |action: &Action| matches!(action, Action::Append(event) if matches!(event.what, Happening::Lapsed { .. }));
        let answered = rig.names().contains(&"Answer".to_owned());
        assert_eq!((rig.log.iter().any(lapsed), answered), (told, told), "{serving:?} {released:?}");
    }
}

#[test]
fn a_pause_holds_back_silence_and_not_an_instance_that_is_gone() {
    let pause = Pause { until: crate::time::WallTime(u64::MAX), by: "op".to_owned(), why: "x".to_owned() };
    let mut rig = Rig::claimed();
    rig.lease.as_mut().expect("there").paused = Some(pause.clone());
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::Paused));
    let mut rig = Rig::new();
    rig.lease.as_mut().expect("there").paused = Some(pause);
    rig.hint.maybe_gone = true;
    rig.instance = InstanceState::Terminated;
    assert_eq!(rig.run().granted, Some(Epoch(2)));
}

#[test]
fn two_reads_far_apart_prove_no_life() {
    // The function stands still between its two reads. The candidate has beaten once, right after the first, and died.
    let mut rig = Rig::claimed();
    for heartbeat in rig.heartbeats.values_mut() {
        heartbeat.beat_at = crate::time::WallTime(0);
    }
    rig.beats_between_reads = vec![arn(2)];
    rig.latency = crate::candidate::FRESH + std::time::Duration::from_secs(1);
    assert_eq!(rig.run().granted, None);
}

#[test]
fn a_candidate_with_an_old_heartbeat_is_granted_once_it_is_seen_beating() {
    let mut rig = Rig::claimed();
    for n in [2, 3] {
        rig.heartbeats.get_mut(&arn(n)).expect("there").beat_at = crate::time::WallTime(0);
    }
    rig.beats_between_reads = vec![arn(3)];
    let report = rig.run();
    assert_eq!(report.granted, Some(Epoch(2)));
    assert_eq!(rig.lease.as_ref().and_then(|lease| lease.holder.clone()), Some(arn(3)));
    let mut rig = Rig::claimed();
    for n in [2, 3] {
        rig.heartbeats.get_mut(&arn(n)).expect("there").beat_at = crate::time::WallTime(0);
    }
    assert_eq!(rig.run().granted, None, "nobody is seen beating");
}

/// Node 1 has released and beats on; the others' clocks are off.
fn released_among_clocks_that_are_off() -> Rig {
    let mut rig = Rig::new();
    rig.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
    for n in [2, 3] {
        rig.heartbeats.get_mut(&arn(n)).expect("there").beat_at = crate::time::WallTime(0);
    }
    rig.beats_between_reads = vec![arn(1)];
    rig
}

#[test]
fn a_lease_goes_back_to_its_releaser_only_after_the_others_were_looked_at_in_vain() {
    let mut rig = released_among_clocks_that_are_off();
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    assert_eq!(rig.lease.as_ref().and_then(|lease| lease.holder.clone()), Some(arn(1)));
    let reads = rig.names().iter().filter(|name| *name == "ReadHeartbeats").count();
    assert_eq!(reads, 1 + LOOKS_AGAIN as usize);
    let mut rig = released_among_clocks_that_are_off();
    rig.beats_between_reads.push(arn(2));
    rig.run();
    assert_eq!(rig.lease.as_ref().and_then(|lease| lease.holder.clone()), Some(arn(2)));
}

#[test]
fn a_lease_that_goes_back_ends_no_association_that_is_in_place() {
    let mut rig = released_among_clocks_that_are_off();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert!(!rig.names().iter().any(|name| name == "Call"), "{:?}", rig.names());
}

#[test]
fn an_unfinished_move_is_taken_up_and_a_due_second_look_is_taken() {
    let mut rig = Rig::new();
    rig.lease.as_mut().expect("there").moved = Epoch(0);
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let recorded = rig.recorded.last().cloned().expect("recorded");
    assert!(recorded.is_some(), "one more look is due later");
    let mut rig = Rig::new();
    rig.lease.as_mut().expect("there").verify_at = Some(crate::time::WallTime(1));
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert_eq!(rig.recorded, [None], "the second look found everything in place and was the last");
}

#[test]
fn a_move_that_another_invocation_has_recorded_is_not_told_twice() {
    let mut rig = Rig::claimed();
    rig.already_recorded = true;
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let told = rig
        .log
        .iter()
        .filter(|a| matches!(a, Action::Append(e) if matches!(e.what, Happening::Moved { .. })));
    assert_eq!(told.count(), 0);
    let mut rig = Rig::claimed();
    rig.run();
    let told = rig
        .log
        .iter()
        .filter(|a| matches!(a, Action::Append(e) if matches!(e.what, Happening::Moved { .. })));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_record_that_was_refused_for_another_configuration_is_no_completed_move() {
    let mut rig = Rig::claimed();
    let mut other = rig.lease.clone().expect("there");
    other.revision += 1;
    rig.record_answers = [Err(WriteFailure::Refused(Some(other)))].into();
    assert!(matches!(rig.run().outcome, Outcome::Superseded(_)));
}

#[test]
fn an_invocation_without_time_left_hands_on_and_a_swept_one_leaves_no_chain() {
    use crate::wake::Why;
    for (why, wakes) in [(Why::Continue, 1), (Why::Claim, 0), (Why::Sweep, 0)] {
        let mut rig = Rig::new();
        rig.hint.why = Some(why);
        rig.lease.as_mut().expect("there").moved = Epoch(0);
        rig.ec2_is_down = true;
        assert_eq!(rig.run().outcome, Outcome::HandedOn);
        assert_eq!(rig.names().iter().filter(|name| *name == "WakeSuccessor").count(), wakes, "{why:?}");
        assert!(rig.now.boot < rig.deadline, "it ended before its deadline");
    }
}

#[test]
fn a_release_answers_the_request_behind_it() {
    let mut rig = Rig::new();
    let lease = rig.lease.as_mut().expect("there");
    lease.intent = Some(crate::lease::Intent {
        to: Some(arn(3)),
        reason: "x".to_owned(),
        epoch: Epoch(1),
        until: crate::time::WallTime(u64::MAX),
        request: Some(crate::ids::RequestId::new("r1").expect("valid")),
        failover: false,
        asked: None,
    });
    rig.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
    rig.run();
    let answered =
        rig.log.iter().any(|a| matches!(a, Action::Answer { answer, .. } if answer.contains("node-c")));
    assert!(answered, "{:?}", rig.names());
    assert_eq!(rig.heartbeats[&arn(1)].incarnation, incarnation(1));
    assert_eq!(rig.heartbeats[&arn(1)].seq, Seq(10));
}
