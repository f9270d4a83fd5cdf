//! A silent holder is stopped before it is taken over from, where the cluster asks for that; and an operator's word.

use super::rig::Rig;
use super::*;
use crate::ec2::{CloudFailure, InstanceState};
use crate::fence::{Fenced, Fencing, Word};
use crate::lease::Intent;
use crate::policy::Takeover;
use crate::testing;
use crate::wake::Why;

fn other(state: &str) -> InstanceState {
    InstanceState::Other(state.to_owned())
}

/// Node 2 claims that node 1 is silent, in a cluster that asks for a fence.
fn fencing() -> Rig {
    let mut rig = Rig::claimed();
    rig.lease.as_mut().expect("there").fencing = Fencing::Stop;
    rig
}

/// Nobody claims, and an operator has asked that node `n` be stopped.
fn asked(n: u8) -> Rig {
    let mut rig = Rig::new();
    rig.hint.why = Some(Why::Request);
    let lease = rig.lease.as_mut().expect("there");
    lease.fence = Some(testing::fence(n, lease, rig.now.wall + Duration::from_secs(300)));
    rig
}

fn stops(rig: &Rig) -> usize {
    rig.log.iter().filter(|action| matches!(action, Action::Call(Call::Stop { .. }))).count()
}

fn place(rig: &Rig, what: impl Fn(&Action) -> bool) -> usize {
    rig.log.iter().position(what).unwrap_or_else(|| panic!("not in {:?}", rig.log))
}

fn wakes(rig: &Rig) -> bool {
    rig.log.contains(&Action::WakeSuccessor)
}

fn woken(rig: &Rig) -> usize {
    rig.log.iter().filter(|action| **action == Action::WakeSuccessor).count()
}

fn rows(rig: &Rig) -> Vec<Happening> {
    let rows = rig.log.iter().filter_map(|action| match action {
        Action::Append(event) => Some(event.what.clone()),
        _ => None,
    });
    rows.filter(|what| matches!(what, Happening::Fenced { .. } | Happening::Unfenced { .. })).collect()
}

fn answer(rig: &Rig) -> Option<String> {
    rig.log.iter().find_map(|action| match action {
        Action::Answer { answer, .. } => Some(answer.clone()),
        _ => None,
    })
}

fn evidence(rig: &Rig) -> Option<Fenced> {
    rig.log.iter().find_map(|action| match action {
        Action::Commit(grant) => match &grant.event.what {
            Happening::Granted { evidence, .. } => evidence.fence,
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn a_silent_holder_is_stopped_and_seen_stopped_before_the_grant() {
    let mut rig = fencing();
    rig.beats_between_reads = vec![arn(2), arn(3)];
    rig.stop_states.extend([other("running"), other("stopping"), other("stopping"), other("stopped")]);
    let report = rig.run();
    assert_eq!((report.granted, report.outcome), (Some(Epoch(2)), Outcome::Moved));
    let stop = place(&rig, |action| matches!(action, Action::Call(Call::Stop { .. })));
    let last_look = rig.log.iter().rposition(|action| matches!(action, Action::Look(Look::Instance(_))));
    let commit = place(&rig, |action| matches!(action, Action::Commit(_)));
    assert!(stop < last_look.expect("a look") && last_look.expect("a look") < commit);
    assert_eq!(stops(&rig), 1);
    let Some(Fenced::Stopped { took_ms }) = evidence(&rig) else { panic!("{:?}", evidence(&rig)) };
    assert!((1_500..10_000).contains(&took_ms), "{took_ms}");
    assert!(
        matches!(&rows(&rig)[..], [Happening::Fenced { state, request: None, .. }] if state == "stopped")
    );
    assert_eq!(report.unfenced, None);
}

#[test]
fn without_a_fence_nothing_is_stopped_and_neither_is_on_any_other_ground() {
    let mut rig = Rig::claimed();
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    assert_eq!((stops(&rig), evidence(&rig)), (0, None));
    let mut released = fencing();
    released.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
    let mut vacant = fencing();
    vacant.lease.as_mut().expect("there").holder = None;
    let mut gone = fencing();
    gone.heartbeats.get_mut(&arn(2)).expect("there").claim = None;
    gone.hint.maybe_gone = true;
    gone.instance = InstanceState::Terminated;
    for mut rig in [released, vacant, gone] {
        assert_eq!(rig.run().granted, Some(Epoch(2)));
        assert_eq!((stops(&rig), evidence(&rig)), (0, None));
    }
}

#[test]
fn nothing_is_stopped_for_a_takeover_that_is_held_back_or_that_nobody_could_follow() {
    let edits: [fn(&mut Rig); 3] = [
        |rig| rig.lease.as_mut().expect("there").takeover = Takeover::Notify,
        |rig| {
            let until = rig.now.wall + Duration::from_secs(60);
            let pause = Pause { until, by: String::new(), why: String::new() };
            rig.lease.as_mut().expect("there").paused = Some(pause);
        },
        |rig| {
            for n in [2, 3] {
                let until = rig.now.wall + Duration::from_secs(60);
                rig.heartbeats.get_mut(&arn(n)).expect("there").health = crate::heartbeat::Health::Draining;
                rig.lease.as_mut().expect("there").excluded = Some(testing::exclusion(2, until));
            }
        },
    ];
    for edit in edits {
        let mut rig = fencing();
        edit(&mut rig);
        let report = rig.run();
        assert_eq!((report.granted, stops(&rig)), (None, 0));
    }
}

#[test]
fn a_stop_that_ec2_will_not_make_keeps_the_lease_and_is_told_with_what_to_do() {
    for (failure, says) in [
        (CloudFailure::Denied("UnauthorizedOperation: no".to_owned()), "AllowFencing"),
        (CloudFailure::Refused("UnsupportedOperation: spot".to_owned()), "stop the instance by hand"),
        (CloudFailure::NotFound("InvalidInstanceID.NotFound".to_owned()), "InvalidInstanceID.NotFound"),
    ] {
        let mut rig = fencing();
        // That EC2 calls it stopped is not its answer to a stop.
        rig.instance = other("stopped");
        rig.stop_failures.push_back(failure);
        let report = rig.run();
        assert!(matches!(&report.outcome, Outcome::Stayed(Stay::Unfenced(why)) if why.contains(says)));
        assert!(report.granted.is_none() && report.unfenced.is_some_and(|why| why.contains(says)));
        assert!(matches!(&rows(&rig)[..], [Happening::Unfenced { why, .. }] if why.contains(says)));
        // Asking at once again would help nobody; the claim stands, and the sweep comes.
        assert!(!wakes(&rig) && stops(&rig) == 1);
    }
}

#[test]
fn what_ec2_refuses_to_stop_because_it_is_terminated_is_gone() {
    let mut rig = fencing();
    rig.instance = InstanceState::Terminated;
    rig.stop_failures.push_back(CloudFailure::Refused("IncorrectInstanceState".to_owned()));
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    assert_eq!(evidence(&rig), None);
    let gone = rig.log.iter().any(|action| match action {
        Action::Commit(grant) => grant.ground == crate::history::Ground::Gone,
        _ => false,
    });
    assert!(gone);
}

#[test]
fn neither_stopping_nor_not_found_is_stopped_and_one_successor_goes_on() {
    for state in [other("stopping"), InstanceState::NotFound, other("running")] {
        let mut rig = fencing();
        rig.stop_states = std::iter::repeat_n(state, 100).collect();
        let report = rig.run();
        assert!(matches!(&report.outcome, Outcome::Stayed(Stay::Unfenced(_))), "{:?}", report.outcome);
        assert!(report.granted.is_none() && report.unfenced.is_some() && wakes(&rig));
        assert!(rig.now.boot < rig.deadline);
    }
}

/// How long an invocation looks that was woken for this while EC2 stops the instance already, and how many it wakes.
fn looks_for(why: Why, failures: Vec<CloudFailure>) -> (u64, usize) {
    let mut rig = fencing();
    rig.hint.why = Some(why);
    rig.instance = other("stopping");
    rig.stop_states = std::iter::repeat_n(other("stopping"), 100).collect();
    rig.stop_failures.extend(failures);
    let begun = rig.now.boot;
    let report = rig.run();
    assert!(matches!(&report.outcome, Outcome::Stayed(Stay::Unfenced(_))) && report.unfenced.is_some());
    (rig.now.boot.since(begun).as_secs(), woken(&rig))
}

#[test]
fn whoever_has_not_begun_a_stop_glances_while_the_chain_and_the_sweep_watch() {
    for why in [Why::Claim, Why::Request, Why::Vacant, Why::Verify] {
        let (seconds, wakes) = looks_for(why, Vec::new());
        assert!((1..=3).contains(&seconds) && wakes == 0, "{why:?}: {seconds} s, {wakes} wakes");
    }
    for (why, woken) in [(Why::Continue, 1), (Why::Sweep, 0)] {
        let (seconds, wakes) = looks_for(why, Vec::new());
        assert!(seconds >= 15 && wakes == woken, "{why:?}: {seconds} s, {wakes} wakes");
    }
    // It may have been this one that began it.
    let (seconds, wakes) = looks_for(Why::Claim, vec![CloudFailure::Unknown("lost".to_owned())]);
    assert!(seconds >= 15 && wakes == 0, "{seconds} s, {wakes} wakes");
}

#[test]
fn a_glance_that_sees_it_stopped_is_as_good() {
    let mut rig = fencing();
    rig.instance = other("stopping");
    rig.stop_states.extend([other("stopping"), other("stopping"), other("stopped")]);
    assert_eq!(rig.run().granted, Some(Epoch(2)));
}

#[test]
fn however_many_things_are_left_undone_one_successor_is_woken() {
    let about_another = |rig: &mut Rig| {
        rig.lease.as_mut().expect("there").fence = asked(3).lease.expect("there").fence;
    };
    let unfinished = |rig: &mut Rig| rig.lease.as_mut().expect("there").moved = Epoch(0);
    for (word, moving) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rig = fencing();
        rig.hint.why = Some(Why::Continue);
        // Neither is the holder stopped nor anything moved.
        rig.ec2_throttles = true;
        rig.place = None;
        rig.beats_between_reads = vec![arn(2), arn(3)];
        if word {
            about_another(&mut rig);
        }
        if moving {
            unfinished(&mut rig);
        }
        let report = rig.run();
        assert_eq!(report.outcome == Outcome::HandedOn, moving, "{:?}", report.outcome);
        assert_eq!((report.granted, woken(&rig)), (None, 1), "word {word}, moving {moving}");
    }
}

#[test]
fn a_stop_whose_outcome_is_unknown_is_asked_for_again_after_another_decision() {
    for failure in [CloudFailure::Throttled, CloudFailure::Unknown("lost".to_owned())] {
        let mut rig = fencing();
        rig.beats_between_reads = vec![arn(2), arn(3)];
        rig.stop_failures.extend([failure.clone(), failure.clone()]);
        assert_eq!(rig.run().granted, Some(Epoch(2)));
        assert_eq!(stops(&rig), 3);
        // By then the holder was heard of again.
        let mut heard = fencing();
        heard.stop_failures.push_back(failure);
        heard.beats_between_reads = vec![arn(1)];
        let report = heard.run();
        assert_eq!((report.granted, report.outcome), (None, Outcome::Stayed(Stay::NoGround)));
        assert_eq!(stops(&heard), 1);
    }
}

#[test]
fn a_holder_that_is_heard_of_while_it_is_stopped_keeps_its_lease() {
    let mut rig = fencing();
    rig.beats_at_stop = Some(arn(1));
    let report = rig.run();
    assert_eq!((report.granted, report.outcome), (None, Outcome::Stayed(Stay::NoGround)));
    assert_eq!(stops(&rig), 1);
}

#[test]
fn an_operators_word_that_the_holder_is_dead_needs_no_fence_and_stands_in_the_evidence() {
    let mut rig = fencing();
    let until = rig.now.wall + Duration::from_secs(60);
    rig.lease.as_mut().expect("there").intent = Some(Intent {
        to: None,
        reason: "failover".to_owned(),
        epoch: Epoch(1),
        until,
        request: None,
        failover: true,
        asked: None,
    });
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    assert_eq!((stops(&rig), evidence(&rig)), (0, Some(Fenced::Lifted {})));
}

#[test]
fn a_node_that_an_operator_names_is_stopped_whatever_the_cluster_asks_for() {
    for n in [1, 2] {
        let mut rig = asked(n);
        rig.stop_states.extend([other("stopping"), other("stopped")]);
        let report = rig.run();
        assert_eq!((report.granted, report.unfenced), (None, None));
        assert_eq!((stops(&rig), answer(&rig)), (1, Some("EC2 says `stopped`".to_owned())));
        assert!(matches!(&rows(&rig)[..], [Happening::Fenced { request: Some(_), .. }]));
        assert_eq!(rig.lease.as_ref().expect("there").fence, None);
        // What is done is not done again.
        rig.log.clear();
        rig.run();
        assert_eq!(stops(&rig), 0);
    }
}

#[test]
fn a_pause_keeps_no_operator_from_stopping_a_node() {
    let mut rig = asked(2);
    let until = rig.now.wall + Duration::from_secs(60);
    rig.lease.as_mut().expect("there").paused = Some(Pause { until, by: String::new(), why: String::new() });
    rig.run();
    assert_eq!(stops(&rig), 1);
}

#[test]
fn a_word_about_no_member_is_refused_and_one_that_ec2_denies_has_failed() {
    let mut rig = asked(4);
    rig.run();
    assert!(answer(&rig).is_some_and(|answer| answer.starts_with("refused: it is no member")));
    assert_eq!((stops(&rig), &rig.lease.as_ref().expect("there").fence), (0, &None));
    let mut rig = asked(2);
    rig.stop_failures.push_back(CloudFailure::Denied("no".to_owned()));
    assert_eq!(rig.run().unfenced, None);
    assert!(
        answer(&rig).is_some_and(|answer| answer.starts_with("failed: ") && answer.contains("AllowFencing"))
    );
    assert_eq!((stops(&rig), &rig.lease.as_ref().expect("there").fence), (1, &None));
}

#[test]
fn a_word_that_is_not_seen_done_in_time_stands_until_it_ends() {
    let mut rig = asked(2);
    rig.stop_states = std::iter::repeat_n(other("stopping"), 100).collect();
    rig.run();
    assert!(answer(&rig).is_none() && rig.lease.as_ref().expect("there").fence.is_some() && wakes(&rig));
    let mut ended = asked(2);
    let word = ended.lease.as_mut().expect("there").fence.as_mut().expect("asked");
    *word = Word { until: ended.now.wall, ..word.clone() };
    ended.run();
    assert_eq!(stops(&ended), 0);
}

#[test]
fn a_grant_comes_before_a_word_which_the_next_invocation_obeys() {
    let mut rig = asked(1);
    rig.heartbeats = Rig::claimed().heartbeats;
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    assert!(stops(&rig) == 0 && wakes(&rig));
    rig.run();
    assert_eq!((stops(&rig), answer(&rig)), (1, Some("EC2 says `stopped`".to_owned())));
}

#[test]
fn a_failed_fence_answers_a_word_about_the_same_node_and_leaves_one_about_another_to_be_obeyed() {
    let denied = || CloudFailure::Denied("no".to_owned());
    let mut same = fencing();
    same.lease.as_mut().expect("there").fence = asked(1).lease.expect("there").fence;
    same.stop_failures.push_back(denied());
    same.run();
    assert!(stops(&same) == 1 && answer(&same).is_some_and(|answer| answer.starts_with("failed: ")));
    let mut other = fencing();
    other.lease.as_mut().expect("there").fence = asked(3).lease.expect("there").fence;
    other.stop_failures.push_back(denied());
    other.run();
    assert_eq!((stops(&other), answer(&other)), (2, Some("EC2 says `stopped`".to_owned())));
}

#[test]
fn stopped_counts_only_once_no_answer_can_be_older_than_the_stop() {
    // The first answers are from before somebody started it: it ran when EC2 took the stop.
    let mut rig = fencing();
    rig.stop_states.extend([other("running"), other("stopped"), other("stopped")]);
    rig.stop_states.extend(std::iter::repeat_n(other("stopping"), 100));
    let report = rig.run();
    assert_eq!(report.granted, None);
    assert!(report.unfenced.is_some_and(|why| why.contains("EC2 says `stopping`")));
    // What did not run when EC2 took the call is what it is shown to be.
    let mut rig = fencing();
    rig.instance = other("stopping");
    rig.stop_states.push_back(other("stopped"));
    let begun = rig.now.boot;
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    let Some(Fenced::Stopped { took_ms }) = evidence(&rig) else { panic!("{:?}", evidence(&rig)) };
    assert!(took_ms < 3_000 && rig.now.boot > begun, "{took_ms}");
}

#[test]
fn a_word_that_ends_or_reaches_its_node_no_more_is_answered_and_told_once() {
    let mut ended = asked(2);
    let word = ended.lease.as_mut().expect("there").fence.as_mut().expect("asked");
    *word = Word { until: ended.now.wall, ..word.clone() };
    let mut held_since = asked(1);
    held_since.lease.as_mut().expect("there").fence.as_mut().expect("asked").epoch = Epoch(0);
    for (mut rig, says) in [(ended, "lapsed: "), (held_since, "refused: the node came to hold the lease")] {
        rig.run();
        assert!(answer(&rig).is_some_and(|answer| answer.starts_with(says)), "{:?}", answer(&rig));
        assert_eq!((stops(&rig), &rig.lease.as_ref().expect("there").fence), (0, &None));
        assert!(
            matches!(&rows(&rig)[..], [Happening::Unfenced { why, request: Some(_), .. }] if why.starts_with(says))
        );
        rig.run();
        assert_eq!(rows(&rig).len(), 1, "it is gone from the lease");
    }
}

#[test]
fn a_wish_that_had_ended_when_the_lease_was_granted_for_something_else_is_answered() {
    let mut rig = Rig::claimed();
    let until = rig.now.wall;
    rig.lease.as_mut().expect("there").intent = Some(Intent {
        to: None,
        reason: String::new(),
        epoch: Epoch(1),
        until,
        request: Some(testing::fence(1, &testing::lease(), until).request),
        failover: false,
        asked: None,
    });
    assert_eq!(rig.run().granted, Some(Epoch(2)));
    let expected = "the wish ended without effect before the grant of epoch 2";
    assert_eq!(answer(&rig).as_deref(), Some(expected));
}
