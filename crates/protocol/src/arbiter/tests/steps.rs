//! An invocation step by step: what it waits for, until exactly when, and what an answer at that moment leads to.

use super::rig::Rig;
use super::*;
use crate::heartbeat::Health;
use crate::time::WallTime;
use crate::wake::{Wake, Why};

/// An invocation, driven answer by answer.
struct Steps {
    invocation: Invocation,
    now: Now,
}

impl Steps {
    fn new(deadline: Duration) -> Self {
        let rig = Rig::new();
        let invocation = Invocation::new(rig.hint, "test".to_owned(), rig.now, rig.now.boot + deadline);
        Self { invocation, now: rig.now }
    }

    fn pass(&mut self, length: Duration) {
        self.now.boot = self.now.boot + length;
        self.now.wall = self.now.wall + length;
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.invocation.poll_action()).collect()
    }

    /// How long it waits before the next timer.
    fn waits(&self) -> Option<Duration> {
        self.invocation.next_deadline().map(|due| due.since(self.now.boot))
    }

    /// Answers the two reads that are due now with the rig's table, and returns what is asked for then.
    fn read(&mut self, rig: &Rig) -> Vec<Action> {
        assert_eq!(self.actions(), [Action::ReadLease]);
        self.invocation.handle_lease(self.now, Ok(rig.lease.clone()));
        assert!(matches!(self.actions()[..], [Action::ReadHeartbeats(_)]));
        self.invocation.handle_heartbeats(self.now, Ok(rig.heartbeats.clone()));
        self.actions()
    }

    /// Reads a second time, after this long.
    fn read_after(&mut self, rig: &Rig, length: Duration) -> Vec<Action> {
        self.pass(length);
        self.invocation.handle_timer(self.now);
        self.read(rig)
    }
}

fn commits(actions: &[Action]) -> Option<&InstanceArn> {
    actions.iter().find_map(|action| match action {
        Action::Commit(grant) => Some(&grant.to),
        _ => None,
    })
}

/// Node 1 is claimed to be silent, and what nodes 2 and 3 have written looks old.
fn claimed_among_clocks_that_are_off() -> Rig {
    let mut rig = Rig::claimed();
    for n in [2, 3] {
        rig.heartbeats.get_mut(&arn(n)).expect("there").beat_at = WallTime(0);
    }
    rig
}

fn beat(rig: &mut Rig, n: u8) {
    let heartbeat = rig.heartbeats.get_mut(&arn(n)).expect("there");
    heartbeat.seq = Seq(heartbeat.seq.0 + 1);
}

const LONG: Duration = Duration::from_secs(25);

#[test]
fn a_read_that_failed_is_made_again_after_100_200_and_400_ms_and_then_no_more() {
    let mut steps = Steps::new(LONG);
    for wait in [100, 200, 400].map(Duration::from_millis) {
        assert_eq!(steps.actions(), [Action::ReadLease]);
        assert_eq!(steps.waits(), None, "an answer is awaited, and no timer");
        steps.invocation.handle_lease(steps.now, Err(Failure::Throttled));
        assert_eq!(steps.waits(), Some(wait));
        steps.pass(wait - Duration::from_nanos(1));
        steps.invocation.handle_timer(steps.now);
        assert_eq!(steps.actions(), [], "the timer came early");
        steps.pass(Duration::from_nanos(1));
        steps.invocation.handle_timer(steps.now);
    }
    assert_eq!(steps.actions(), [Action::ReadLease]);
    steps.invocation.handle_lease(steps.now, Err(Failure::Throttled));
    assert!(matches!(steps.invocation.report(), Some(Report { outcome: Outcome::Failed(_), .. })));
}

#[test]
fn a_read_that_was_denied_is_not_made_again() {
    let mut steps = Steps::new(LONG);
    assert_eq!(steps.actions(), [Action::ReadLease]);
    steps.invocation.handle_lease(steps.now, Err(Failure::Denied("no".to_owned())));
    assert!(matches!(steps.invocation.report(), Some(Report { outcome: Outcome::Failed(_), .. })));
}

#[test]
fn a_commit_is_repeated_when_its_wait_is_over_and_not_before() {
    let rig = Rig::claimed();
    let mut steps = Steps::new(LONG);
    assert!(commits(&steps.read(&rig)).is_some());
    steps.invocation.handle_committed(steps.now, Err(Failure::Conflict));
    assert_eq!(steps.waits(), Some(Duration::from_millis(100)));
    steps.pass(Duration::from_millis(99));
    steps.invocation.handle_timer(steps.now);
    assert_eq!(commits(&steps.actions()), None);
    steps.pass(Duration::from_millis(1));
    steps.invocation.handle_timer(steps.now);
    assert!(commits(&steps.actions()).is_some());
}

#[test]
fn a_commit_is_not_repeated_when_it_is_time_to_hand_on() {
    let rig = Rig::claimed();
    for (spare, repeated) in [(0, false), (1, true)] {
        let mut steps = Steps::new(HAND_ON_BEFORE + Duration::from_millis(100 + spare));
        steps.read(&rig);
        steps.invocation.handle_committed(steps.now, Err(Failure::Conflict));
        assert_eq!(steps.waits().is_some(), repeated, "{spare} ms to spare");
    }
}

#[test]
fn a_grant_that_is_committed_when_it_is_time_to_hand_on_makes_no_call() {
    let rig = Rig::claimed();
    let mut steps = Steps::new(HAND_ON_BEFORE + Duration::from_millis(100));
    steps.read(&rig);
    steps.pass(Duration::from_millis(100));
    steps.invocation.handle_committed(steps.now, Ok(Committed::Granted));
    let actions = steps.actions();
    assert!(actions.contains(&Action::WakeSuccessor), "{actions:?}");
    let begun = |action: &Action| matches!(action, Action::Call(_) | Action::Look(_) | Action::ReadLease);
    assert!(!actions.iter().any(begun), "{actions:?}");
}

#[test]
fn two_reads_prove_life_up_to_three_seconds_apart_and_no_further() {
    for (apart, proves) in [(250, true), (3_000, true), (3_001, false)] {
        let mut rig = claimed_among_clocks_that_are_off();
        let mut steps = Steps::new(LONG);
        assert_eq!(commits(&steps.read(&rig)), None);
        assert_eq!(steps.waits(), Some(LOOK_AGAIN_AFTER));
        beat(&mut rig, 3);
        let actions = steps.read_after(&rig, Duration::from_millis(apart));
        assert_eq!(commits(&actions), proves.then_some(&arn(3)), "{apart} ms apart");
    }
}

#[test]
fn what_a_holder_wrote_up_to_its_oath_proves_no_life_after_it() {
    let mut rig = claimed_among_clocks_that_are_off();
    let mut steps = Steps::new(LONG);
    assert_eq!(commits(&steps.read(&rig)), None);
    // The holder beats once more, swears, and may have left; and nobody else could serve.
    beat(&mut rig, 1);
    rig.heartbeats.get_mut(&arn(1)).expect("there").released = Epoch(1);
    for n in [2, 3] {
        rig.heartbeats.get_mut(&arn(n)).expect("there").health = Health::Bad;
    }
    let again = LOOK_AGAIN_AFTER;
    assert_eq!(commits(&steps.read_after(&rig, again)), None);
    assert_eq!(commits(&steps.read_after(&rig, again)), None, "it has written nothing since");
    beat(&mut rig, 1);
    assert_eq!(commits(&steps.read_after(&rig, again)), Some(&arn(1)));
}

#[test]
fn candidates_are_looked_at_a_fixed_number_of_times() {
    let mut rig = claimed_among_clocks_that_are_off();
    assert_eq!(rig.run().outcome, Outcome::Stayed(Stay::NoCandidate(Vec::new())));
    let reads = rig.names().iter().filter(|name| *name == "ReadHeartbeats").count();
    assert_eq!(reads, 1 + LOOKS_AGAIN as usize);
}

/// After this many looks, each after `wait`, it gives up, and nobody has been seen beating.
fn looks_until_it_gives_up(wait: Duration, deadline: Duration) -> u32 {
    let rig = claimed_among_clocks_that_are_off();
    let mut steps = Steps::new(deadline);
    let mut asks = steps.read(&rig);
    let mut looks = 0;
    while steps.invocation.report().is_none() {
        assert_eq!(asks, [], "after {looks} looks");
        looks += 1;
        asks = steps.read_after(&rig, wait);
    }
    looks
}

#[test]
fn looks_are_enough_only_if_whoever_beats_would_have_been_seen_beating() {
    assert_eq!(looks_until_it_gives_up(LOOK_AGAIN_AFTER, LONG), LOOKS_AGAIN);
    // With the eighth look, after 3.2 s, it begins anew, and needs 2 s from then on.
    assert_eq!(looks_until_it_gives_up(Duration::from_millis(400), LONG), 8 + 5);
    // Where every read comes too late for the one before, it ends all the same.
    let slow = Duration::from_millis(3_100);
    assert_eq!(looks_until_it_gives_up(slow, LONG), LOOKS_AGAIN, "its time is up");
    assert_eq!(looks_until_it_gives_up(slow, 10 * LONG), 3 * LOOKS_AGAIN);
}

#[test]
fn a_lost_attempt_starts_over_only_once_nothing_of_it_is_under_way() {
    let rig = Rig::claimed();
    let mut steps = Steps::new(LONG);
    let looks: Vec<Look> = (steps.read(&rig).into_iter())
        .filter_map(|action| match action {
            Action::Look(look) => Some(look),
            _ => None,
        })
        .collect();
    steps.invocation.handle_committed(steps.now, Ok(Committed::Superseded(Vec::new())));
    for look in looks {
        assert_eq!(steps.actions(), [], "{look:?} is still open");
        steps.invocation.handle_sight(steps.now, &look, Err(CloudFailure::Throttled));
    }
    assert_eq!(steps.actions(), [Action::ReadLease]);
}

#[test]
fn a_record_whose_answer_was_lost_and_that_is_found_made_is_told_once() {
    let mut rig = Rig::claimed();
    rig.already_recorded = true;
    rig.record_answers = [Err(Failure::Unknown("lost".to_owned()).into())].into();
    assert_eq!(rig.run().outcome, Outcome::Moved);
    let told =
        |action: &&Action| matches!(action, Action::Append(e) if matches!(e.what, Happening::Moved { .. }));
    assert_eq!(rig.log.iter().filter(told).count(), 1);
}

#[test]
fn a_record_that_was_refused_is_made_only_where_all_of_it_is_found() {
    for (epoch, revision, moved, made) in
        [(2, 1, 2, true), (3, 1, 2, false), (2, 2, 2, false), (2, 1, 1, false)]
    {
        let mut rig = Rig::claimed();
        let found =
            Lease { epoch: Epoch(epoch), revision, moved: Epoch(moved), ..rig.lease.clone().expect("there") };
        rig.record_answers = [Err(WriteFailure::Refused(Some(found)))].into();
        assert_eq!(rig.run().outcome == Outcome::Moved, made, "{epoch} {revision} {moved}");
    }
}

#[test]
fn a_record_is_sent_four_times_and_then_no_more() {
    let mut rig = Rig::claimed();
    rig.record_answers = (0..10).map(|_| Err(Failure::Throttled.into())).collect();
    assert!(matches!(rig.run().outcome, Outcome::Failed(_)));
    assert_eq!(rig.names().iter().filter(|name| *name == "RecordMoved").count(), 4);
}

#[test]
fn only_the_sweep_and_an_event_about_an_instance_make_ec2_worth_asking() {
    let of = |why| Hint::of_wake(Wake { cluster: crate::testing::cluster(), why, schema: SCHEMA }).maybe_gone;
    assert!(of(Why::Sweep));
    assert!(!of(Why::Claim) && !of(Why::Continue));
    assert!(Hint::of_instance(crate::testing::cluster()).maybe_gone);
    assert!(!Hint::of_stream(crate::testing::cluster()).maybe_gone);
}
