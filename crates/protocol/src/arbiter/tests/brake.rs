//! The brake: what is counted, when, and what follows.

use super::rig::Rig;
use super::*;
use crate::fence::Fencing;
use crate::lease::Intent;
use crate::policy::Takeover;

fn counted(rig: &Rig) -> usize {
    rig.log.iter().filter(|action| **action == Action::CountSuspects).count()
}

/// A claimed silence under a brake of five clusters, with this answer.
fn braked(suspects: Result<u32, Failure>) -> Rig {
    let mut rig = Rig::claimed();
    (rig.brake, rig.suspects) = (5, suspects);
    // Of a version that renews its claims.
    let beat_at = rig.now.wall;
    rig.heartbeats.values_mut().for_each(|beat| beat.healthy_since = Some(beat_at));
    rig
}

#[test]
fn a_silent_holder_is_counted_once_and_without_a_brake_never() {
    let mut calm = braked(Ok(4));
    assert!(calm.run().granted.is_some());
    assert_eq!(counted(&calm), 1);
    let mut off = Rig::claimed();
    assert!(off.run().granted.is_some());
    assert_eq!(counted(&off), 0);
    let mut quiet = Rig::new();
    quiet.brake = 5;
    quiet.run();
    assert_eq!(counted(&quiet), 0, "nobody suspects");
}

#[test]
fn a_cluster_that_waits_for_something_else_is_not_counted() {
    let edits: [fn(&mut Rig); 4] = [
        |rig| rig.lease.as_mut().expect("there").takeover = Takeover::Notify,
        |rig| rig.lease.as_mut().expect("there").takeover = Takeover::Confirm { after_ms: 60_000 },
        |rig| {
            let until = WallTime(u64::MAX);
            let pause = Pause { until, by: String::new(), why: String::new() };
            rig.lease.as_mut().expect("there").paused = Some(pause);
        },
        |rig| {
            let excluded = crate::testing::exclusion(2, WallTime(u64::MAX));
            rig.lease.as_mut().expect("there").excluded = Some(excluded);
            rig.heartbeats.remove(&arn(3));
        },
    ];
    for edit in edits {
        let mut rig = braked(Ok(5));
        edit(&mut rig);
        let report = rig.run();
        let braked = matches!(&report.outcome, Outcome::Stayed(Stay::Held(held)) if held.braked);
        assert!(report.granted.is_none() && !braked, "{:?}", report.outcome);
        assert_eq!(counted(&rig), 0);
    }
}

#[test]
fn the_brake_comes_before_a_fence() {
    for (suspects, stops) in [(4, 1), (5, 0)] {
        let mut rig = braked(Ok(suspects));
        rig.lease.as_mut().expect("there").fencing = Fencing::Stop;
        rig.run();
        let stop = |action: &Action| matches!(action, Action::Call(Call::Stop { .. }));
        let count = rig.log.iter().position(|action| *action == Action::CountSuspects).expect("counted");
        let after = rig.log[count..].iter().filter(|action| stop(action)).count();
        assert_eq!((after, rig.log.iter().filter(|action| stop(action)).count()), (stops, stops));
    }
}

#[test]
fn many_that_suspect_and_an_answer_that_is_not_known_hold_a_takeover_back_for_one_further_s() {
    for suspects in [Ok(5), Ok(100), Err(Failure::Throttled), Err(Failure::Unknown("lost".to_owned()))] {
        let mut rig = braked(suspects);
        let Outcome::Stayed(Stay::Held(held)) = rig.run().outcome else { panic!("it is held") };
        let s = rig.lease.as_ref().expect("there").timing.silence();
        assert!(held.braked && !held.cooling);
        assert_eq!(held.until, Some(held.claimed + s));
        assert_eq!(counted(&rig), 1);
        let told = |what: &Happening| matches!(what, Happening::Held { braked: true, .. });
        let row = rig.log.iter().any(|action| matches!(action, Action::Append(event) if told(&event.what)));
        assert!(row, "{:?}", rig.log);
        // The claimant has gone on to see it.
        let claimant = rig.heartbeats.get_mut(&arn(2)).expect("there");
        claimant.claim.as_mut().expect("a claim").silent_ms = 12_200;
        claimant.beat_at = rig.now.wall;
        assert!(rig.run().granted.is_some(), "and no further");
    }
}

#[test]
fn an_operators_word_lifts_the_brake_and_nothing_but_silence_is_held_back_by_it() {
    let mut word = braked(Ok(5));
    let lease = word.lease.as_mut().expect("there");
    lease.intent = Some(Intent {
        to: None,
        reason: "failover asked by op".to_owned(),
        epoch: lease.epoch,
        until: WallTime(u64::MAX),
        request: None,
        failover: true,
        asked: None,
    });
    assert!(word.run().granted.is_some());
    let mut released = braked(Ok(5));
    released.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
    assert!(released.run().granted.is_some());
    assert_eq!(counted(&released), 0);
    let mut gone = braked(Ok(5));
    (gone.hint.maybe_gone, gone.instance) = (true, InstanceState::Terminated);
    assert!(gone.run().granted.is_some());
}

#[test]
fn what_an_older_agent_claims_is_waited_for_by_the_clocks() {
    let mut rig = braked(Ok(5));
    rig.heartbeats.values_mut().for_each(|beat| beat.healthy_since = None);
    assert!(matches!(rig.run().outcome, Outcome::Stayed(Stay::Held(_))));
    let s = rig.lease.as_ref().expect("there").timing.silence();
    rig.pass(s);
    rig.deadline = rig.now.boot + Duration::from_secs(25);
    rig.heartbeats.get_mut(&arn(2)).expect("there").beat_at = rig.now.wall;
    assert!(rig.run().granted.is_some());
}
