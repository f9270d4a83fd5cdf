//! Each ground to its end, and each way an invocation can end early.

use super::rig::Rig;
use super::*;
use crate::ec2::InstanceState;
use crate::history::Ground;
use crate::outcome::WriteFailure;
use crate::time::WallTime;
use crate::wake::Why;

fn count(rig: &Rig, name: &str) -> usize {
    rig.names().iter().filter(|found| *found == name).count()
}

fn told(rig: &Rig, wanted: impl Fn(&Happening) -> bool) -> usize {
    rig.log.iter().filter(|action| matches!(action, Action::Append(event) if wanted(&event.what))).count()
}

/// A world in which this ground holds.
fn with(ground: Ground) -> Rig {
    let mut rig = Rig::new();
    match ground {
        Ground::Silence => return Rig::claimed(),
        Ground::Release => rig.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1),
        Ground::Gone => {
            rig.hint.maybe_gone = true;
            rig.instance = InstanceState::Terminated;
        }
        Ground::Vacancy => {
            let lease = rig.lease.as_mut().expect("there");
            (lease.holder, lease.epoch, lease.moved) = (None, Epoch(0), Epoch(0));
        }
    }
    rig
}

#[test]
fn each_ground_leads_to_a_grant_and_a_verified_move_and_a_second_wake_does_nothing() {
    for ground in [Ground::Release, Ground::Silence, Ground::Gone, Ground::Vacancy] {
        let mut rig = with(ground);
        let before = rig.lease.as_ref().expect("there").epoch;
        let report = rig.run();
        assert_eq!((report.granted, report.outcome), (Some(before.next()), Outcome::Moved), "{ground:?}");
        let granted = rig.log.iter().find_map(|action| match action {
            Action::Commit(grant) => Some(grant.clone()),
            _ => None,
        });
        assert_eq!(granted.expect("a commit").ground, ground);
        // The same wake once more, after everything was done.
        rig.lease.as_mut().expect("there").moved = before.next();
        rig.instance = InstanceState::Other("running".to_owned());
        rig.log.clear();
        let again = rig.run();
        assert_eq!((again.granted, again.outcome), (None, Outcome::Stayed(Stay::NoGround)), "{ground:?}");
        assert!(!rig.names().iter().any(|name| name == "Call" || name == "Commit"), "{ground:?}");
    }
}

#[test]
fn a_retired_cluster_is_read_and_left() {
    let mut rig = Rig::claimed();
    rig.lease.as_mut().expect("there").state = LeaseState::Retired;
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::Retired));
    assert_eq!(rig.names(), ["ReadLease"]);
}

#[test]
fn a_repeated_commit_that_may_have_been_done_before_is_no_sight_of_the_lease() {
    for (failure, guards) in [(Failure::Unknown("lost".to_owned()), true), (Failure::Conflict, false)] {
        let mut rig = Rig::claimed();
        // Three answers fail: the last repeat comes more than half a second after the first request.
        rig.commits.extend((0..3).map(|_| Err(failure.clone())));
        rig.run();
        let names = rig.names();
        let commit = names.iter().rposition(|name| name == "Commit").expect("a commit");
        let call = names.iter().position(|name| name == "Call").expect("a call");
        let guarded = names[commit..call].iter().any(|name| name == "ReadLease");
        assert_eq!(guarded, guards, "{failure:?}: {names:?}");
    }
}

#[test]
fn a_terminated_instance_stays_terminated_while_candidates_are_looked_for() {
    let mut rig = with(Ground::Gone);
    for n in [2, 3] {
        rig.heartbeats.get_mut(&arn(n)).expect("there").beat_at = WallTime(0);
    }
    rig.beats_between_reads = vec![arn(2)];
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    let asked = rig.log.iter().filter(|action| matches!(action, Action::Look(Look::Instance(_)))).count();
    assert_eq!(asked, 1, "that is final, and asked once");
}

#[test]
fn an_instance_whose_state_is_not_told_is_no_ground() {
    let mut rig = with(Ground::Gone);
    rig.instance_failure = Some(CloudFailure::Unknown("down".to_owned()));
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
}

#[test]
fn a_lost_commit_that_restarts_finds_what_the_other_invocation_did() {
    let mut rig = Rig::claimed();
    rig.commits.push_back(Ok(Committed::Superseded(vec!["epoch".to_owned()])));
    rig.granted_by_another = Some(arn(3));
    let report = rig.run();
    assert_eq!((report.granted, report.outcome), (None, Outcome::Moved), "and carries its move forward");
    assert_eq!(count(&rig, "Commit"), 1);
}

#[test]
fn a_move_that_finds_another_epoch_ends_without_another_call() {
    let mut rig = Rig::new();
    rig.lease.as_mut().expect("there").moved = Epoch(0);
    rig.routed = crate::testing::interface(3);
    rig.grant_after_reads = Some(1);
    // The first sight of the lease has aged by the time EC2 has shown anything.
    rig.latency = Duration::from_millis(400);
    assert!(matches!(rig.run().outcome, Outcome::Superseded(_)));
    assert_eq!((count(&rig, "Call"), count(&rig, "RecordMoved")), (0, 0));
}

#[test]
fn a_commit_that_stays_unknown_wakes_one_successor_and_no_chain_of_them() {
    for (why, wakes) in [(Why::Claim, 1), (Why::Continue, 0)] {
        let mut rig = Rig::claimed();
        rig.hint.why = Some(why);
        rig.commits.extend((0..1_000).map(|_| Err(Failure::Unknown("lost".to_owned()))));
        assert_eq!(rig.run().outcome, Outcome::CommitUnknown);
        assert_eq!(count(&rig, "WakeSuccessor"), wakes, "{why:?}");
        assert!(rig.now.boot < rig.deadline && count(&rig, "Call") == 0);
    }
}

#[test]
fn nothing_is_begun_that_would_outlast_the_invocation() {
    let mut rig = Rig::claimed();
    rig.ec2_throttles = true;
    let report = rig.run();
    assert_eq!((report.granted, report.outcome), (Some(Epoch(2)), Outcome::HandedOn));
    assert_eq!(count(&rig, "WakeSuccessor"), 1);
    let last = rig.last_call.expect("a call");
    assert!(last + Duration::from_secs(4) < rig.deadline, "a call takes 3 s at most");
}

#[test]
fn what_is_stuck_is_the_same_row_for_every_sweep_of_an_hour() {
    let rows = |why: Why, after: Duration| -> BTreeSet<String> {
        let mut rig = Rig::new();
        rig.hint.why = Some(why);
        let lease = rig.lease.as_mut().expect("there");
        (lease.moved, lease.last_grant) = (Epoch(0), Some(rig.now.wall));
        rig.now.wall = rig.now.wall + after;
        rig.tables_denied = true;
        assert!(matches!(rig.run().outcome, Outcome::Stuck(stuck) if stuck.len() == 2), "both routes");
        assert_eq!(count(&rig, "RecordMoved"), 0, "a move with something stuck is not complete");
        let stuck = rig.log.iter().filter_map(|action| match action {
            Action::Append(event) if matches!(event.what, Happening::Stuck { .. }) => {
                Some(format!("{event:?}"))
            }
            _ => None,
        });
        stuck.collect()
    };
    let first = rows(Why::Continue, Duration::ZERO);
    assert_eq!(first.len(), 2);
    assert!(rows(Why::Claim, Duration::ZERO).is_disjoint(&first), "whoever was told of something says when");
    for why in [Why::Sweep, Why::Verify, Why::Probe] {
        assert_eq!(rows(why, Duration::from_secs(1_800)), first, "{why:?}");
    }
    assert!(rows(Why::Sweep, Duration::from_secs(3_600)).is_disjoint(&first), "and again while it lasts");
}

#[test]
fn a_second_look_that_had_to_mend_something_is_followed_by_another() {
    let mut rig = Rig::new();
    rig.lease.as_mut().expect("there").verify_at = Some(WallTime(1));
    // A late ReplaceRoute of an older move; the addresses are where they were.
    rig.routed = crate::testing::interface(3);
    assert_eq!(rig.run().outcome, Outcome::Moved);
    assert!(rig.recorded.len() == 1 && rig.recorded[0].is_some_and(|at| at > rig.now.wall));
    assert_eq!(told(&rig, |what| matches!(what, Happening::Moved { .. })), 0, "it is no second move");
}

#[test]
fn a_second_look_that_is_not_due_yet_is_not_taken() {
    let mut rig = Rig::new();
    rig.lease.as_mut().expect("there").verify_at = Some(WallTime(rig.now.wall.0 + 1_000));
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoGround));
    assert_eq!(rig.names(), ["ReadLease", "ReadHeartbeats"]);
}

#[test]
fn a_record_of_unknown_outcome_is_repeated_and_a_denied_one_is_a_failure() {
    let mut rig = Rig::claimed();
    rig.record_answers = [Err(WriteFailure::Failed(Failure::Unknown("lost".to_owned())))].into();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let records: Vec<_> = rig.log.iter().filter(|action| matches!(action, Action::RecordMoved(_))).collect();
    assert!(records.len() == 2 && records[0] == records[1]);
    let mut rig = Rig::claimed();
    rig.record_answers = [Err(WriteFailure::Failed(Failure::Denied("no".to_owned())))].into();
    let report = rig.run();
    assert!(matches!(report.outcome, Outcome::Failed(why) if why.contains("denied")));
    assert_eq!(report.granted, Some(Epoch(2)), "the grant stands all the same");
}

#[test]
fn each_call_is_written_down_with_what_it_took_and_how_it_failed() {
    let mut rig = Rig::claimed();
    rig.lease.as_mut().expect("there").observed.associations.clear();
    rig.run();
    let calls = count(&rig, "Call");
    let done = told(&rig, |what| matches!(what, Happening::Step { took_ms: 10, failure: None, .. }));
    assert!(calls >= 3 && done == calls, "{calls} calls, {done} rows");
    let mut rig = Rig::claimed();
    let observed = &mut rig.lease.as_mut().expect("there").observed;
    observed.associations.insert(crate::testing::allocation(1), crate::testing::association(9));
    rig.run();
    let ended = told(
        &rig,
        |what| matches!(what, Happening::Step { failure: Some(why), .. } if why.contains("ended")),
    );
    assert_eq!(ended, 1, "the association that was expected had ended");
}
