//! A table that was restored to an earlier moment: nothing is granted by it, and an operator's word has it begin anew.

use super::rig::Rig;
use super::*;
use crate::heartbeat::UNGUARDED_MS;
use crate::ids::RequestId;
use crate::lease::Mode;
use crate::restored::{self, MOST_AHEAD, RAISED_BY, Restoration, Word};
use crate::wake::Why;

/// Node 2 claims that node 1 is silent, and node 3 has seen epoch 5.
fn gone_back() -> Rig {
    let mut rig = Rig::claimed();
    rig.heartbeats.get_mut(&arn(3)).expect("there").ahead = Some(Epoch(5));
    rig
}

/// Nobody beats, and an operator has said that the table was restored.
fn asked() -> Rig {
    let mut rig = Rig::new();
    rig.hint.why = Some(Why::Request);
    let until = rig.now.wall + Duration::from_secs(300);
    let lease = rig.lease.as_mut().expect("there");
    lease.restore = Some(Box::new(Word {
        uid: lease.uid.clone(),
        epoch: lease.epoch,
        until,
        by: "alice".to_owned(),
        why: "to 09:00".to_owned(),
        request: RequestId::new("r-1").expect("valid"),
    }));
    rig
}

fn commits(rig: &Rig) -> usize {
    rig.log.iter().filter(|action| matches!(action, Action::Commit(_))).count()
}

fn restorations(rig: &Rig) -> Vec<Restoration> {
    let restored = |action: &Action| match action {
        Action::Restore(restoration) => Some(restoration.as_ref().clone()),
        _ => None,
    };
    rig.log.iter().filter_map(restored).collect()
}

fn answers(rig: &Rig) -> Vec<String> {
    let answer = |action: &Action| match action {
        Action::Answer { answer, .. } => Some(answer.clone()),
        _ => None,
    };
    rig.log.iter().filter_map(answer).collect()
}

/// What is told to be in the way of the operator's word.
fn in_the_way(rig: &Rig) -> Vec<String> {
    let request = RequestId::new("r-1").expect("valid");
    let told = |action: &Action| match action {
        Action::Append(event) => restored::is_in_the_way(&request, &event.what),
        _ => None,
    };
    rig.log.iter().filter_map(told).collect()
}

#[test]
fn nothing_is_granted_by_a_table_that_shows_less_than_a_node_has_seen_and_somebody_is_told() {
    let mut rig = gone_back();
    let Outcome::Stuck(stuck) = rig.run().outcome else { panic!("{:?}", rig.log) };
    assert!(
        matches!(&stuck[..], [(what, why)] if what == "the lease" && why.contains("baton restore")),
        "{stuck:?}"
    );
    assert_eq!(commits(&rig), 0);
    let told = |action: &&Action| matches!(action, Action::Append(event) if matches!(&event.what, Happening::Stuck { why, .. } if why.contains("epoch 5")));
    assert_eq!(rig.log.iter().filter(told).count(), 1);
}

#[test]
fn a_lease_that_was_granted_between_the_two_reads_has_not_gone_back() {
    let mut rig = Rig::new();
    // Read at epoch 1, granted to node 3, and then a heartbeat of node 3 that serves epoch 2.
    rig.heartbeats.get_mut(&arn(3)).expect("there").serving_epoch = Some(Epoch(2));
    rig.grant_after_reads = Some(1);
    let outcome = rig.run().outcome;
    assert!(!matches!(outcome, Outcome::Stuck(_)), "{outcome:?}");
    assert!(rig.lease.expect("there").epoch >= Epoch(2));
}

#[test]
fn the_lease_begins_anew_once_every_node_was_silent_for_a_whole_silence() {
    let mut rig = asked();
    let begun = rig.now.boot;
    rig.run();
    let [restoration] = &restorations(&rig)[..] else { panic!("{:?}", rig.log) };
    assert!(rig.now.boot.since(begun) >= Duration::from_secs(6), "two reads so far apart");
    assert_eq!((restoration.epoch, restoration.raised), (Epoch(1), Epoch(1 + RAISED_BY)));
    let nodes: Vec<_> = restoration.signs.iter().map(|(node, (_, seq))| (node.clone(), *seq)).collect();
    assert_eq!(nodes, [(arn(1), Seq(10)), (arn(2), Seq(10)), (arn(3), Seq(10))]);
    assert!(
        matches!(&restoration.event.what, Happening::Restored { asked, why, .. } if asked == "alice" && why == "to 09:00")
    );
    assert_eq!(answers(&rig), ["restored: nobody holds the lease; start the agents"]);
    assert_eq!(commits(&rig), 0, "nobody beats, so nobody is granted it");
    let lease = rig.lease.expect("there");
    assert_eq!((lease.epoch, lease.holder, lease.restore), (Epoch(1 + RAISED_BY), None, None));
}

#[test]
fn what_a_node_has_seen_does_not_hold_it_back_and_counts() {
    let mut rig = asked();
    rig.heartbeats.get_mut(&arn(3)).expect("there").ahead = Some(Epoch(5));
    rig.run();
    assert_eq!(restorations(&rig)[0].raised, Epoch(5 + RAISED_BY));
}

/// Everything that would be a ground for a grant to node 2, which beats.
fn grounds() -> Vec<(&'static str, Rig)> {
    let beaten = |mut rig: Rig| {
        rig.beats_between_reads = vec![arn(2)];
        rig
    };
    let mut terminated = asked();
    terminated.hint.maybe_gone = true;
    terminated.instance = InstanceState::Terminated;
    let mut vacant = asked();
    vacant.lease.as_mut().expect("there").holder = None;
    let mut claimed = Rig::claimed();
    claimed.lease = asked().lease;
    [("none", asked()), ("terminated", terminated), ("vacant", vacant), ("claimed", claimed)]
        .map(|(ground, rig)| (ground, beaten(rig)))
        .into()
}

#[test]
fn a_node_that_beats_meanwhile_is_named_and_the_word_stands() {
    for (ground, mut rig) in grounds() {
        let report = rig.run();
        assert_eq!((restorations(&rig).len(), commits(&rig), report.granted), (0, 0, None), "{ground}");
        assert!(matches!(report.outcome, Outcome::Stuck(_)), "{ground}: {:?}", report.outcome);
        assert_eq!(in_the_way(&rig), ["not yet: node-b still beats: stop its agent"], "{ground}");
        assert_eq!(answers(&rig), [""; 0], "{ground}: what comes of it in the end is its answer");
        assert!(rig.lease.expect("there").restore.is_some(), "{ground}");
    }
}

#[test]
fn a_word_that_has_ended_holds_nothing_back_and_is_answered_so() {
    for (ground, mut rig) in grounds() {
        // It ends before the silence does.
        let until = rig.now.wall + Duration::from_secs(3);
        rig.lease.as_mut().expect("there").restore.as_mut().expect("asked").until = until;
        rig.run();
        assert_eq!((restorations(&rig).len(), commits(&rig)), (0, usize::from(ground != "none")), "{ground}");
        let mut later = Rig { log: Vec::new(), ..rig };
        later.run();
        let [answer] = &answers(&later)[..] else { panic!("{ground}: {:?}", later.log) };
        assert!(answer.starts_with("lapsed"), "{ground}: {answer}");
    }
}

#[test]
fn a_word_that_ends_while_ec2_is_asked_holds_nothing_back() {
    let mut rig = asked();
    let until = rig.now.wall + Duration::from_millis(25);
    let lease = rig.lease.as_mut().expect("there");
    lease.holder = None;
    lease.restore.as_mut().expect("asked").until = until;
    rig.heartbeats.get_mut(&arn(3)).expect("there").validity_ms = UNGUARDED_MS;
    rig.beats_between_reads = vec![arn(2)];
    rig.run();
    let looked = |action: &Action| matches!(action, Action::Look(Look::Instance(_)));
    assert!(rig.log.iter().any(looked), "{:?}", rig.log);
    assert_eq!((commits(&rig), in_the_way(&rig).len()), (1, 0));
}

#[test]
fn what_is_in_the_way_is_written_once_a_minute_whoever_finds_it() {
    let mut rig = asked();
    rig.beats_between_reads = vec![arn(2)];
    rig.run();
    rig.run();
    let row = |action: &Action| match action {
        Action::Append(event) => Some(event.as_ref().clone()),
        _ => None,
    };
    let rows: Vec<Event> = rig.log.iter().filter_map(row).collect();
    assert_eq!((rows.len(), &rows[0]), (2, &rows[1]), "the same row, so it is one");
    rig.pass(Duration::from_secs(60));
    rig.run();
    let rows: Vec<Event> = rig.log.iter().filter_map(row).collect();
    assert!(rows.len() == 3 && rows[2].at > rows[0].at, "{rows:?}");
}

#[test]
fn a_node_that_nothing_guards_is_down_by_ec2s_word_and_by_no_silence() {
    let asked = |state: &str| {
        let mut rig = asked();
        rig.heartbeats.get_mut(&arn(2)).expect("there").validity_ms = UNGUARDED_MS;
        rig.instance = InstanceState::Other(state.to_owned());
        rig.run();
        rig
    };
    for state in ["running", "stopping"] {
        let rig = asked(state);
        assert_eq!((restorations(&rig).len(), commits(&rig)), (0, 0), "{state}");
        let [why] = &in_the_way(&rig)[..] else { panic!("{:?}", rig.log) };
        assert!(why.starts_with("not yet: nothing stops the service of node-b"), "{why}");
    }
    assert_eq!(restorations(&asked("stopped")).len(), 1);
}

#[test]
fn a_node_without_a_heartbeat_may_serve_on_in_available_mode_and_is_down_by_ec2s_word() {
    let absent = |mode: Mode, state: &str| {
        let mut rig = asked();
        rig.lease.as_mut().expect("there").mode = mode;
        rig.heartbeats.remove(&arn(2));
        rig.instance = InstanceState::Other(state.to_owned());
        rig.run();
        rig
    };
    let rig = absent(Mode::Available, "running");
    assert_eq!((restorations(&rig).len(), commits(&rig)), (0, 0));
    let [why] = &in_the_way(&rig)[..] else { panic!("{:?}", rig.log) };
    assert!(why.starts_with("not yet: nothing stops the service of node-b"), "{why}");
    for rig in [absent(Mode::Available, "stopped"), absent(Mode::Strict, "running")] {
        let [restoration] = &restorations(&rig)[..] else { panic!("{:?}", rig.log) };
        assert_eq!(restoration.absent, [arn(2)]);
    }
}

#[test]
fn a_silence_that_does_not_fit_is_said_and_a_word_of_another_epoch_is_none() {
    let mut rig = asked();
    rig.lease.as_mut().expect("there").holder = None;
    rig.heartbeats.get_mut(&arn(2)).expect("there").validity_ms = 60_000;
    rig.beats_between_reads = vec![arn(3)];
    rig.run();
    let [why] = &in_the_way(&rig)[..] else { panic!("{:?}", rig.log) };
    assert!(why.contains("does not fit into an invocation"), "{why}");
    assert_eq!(commits(&rig), 0);
    let mut rig = asked();
    rig.lease.as_mut().expect("there").restore.as_mut().expect("asked").epoch = Epoch(2);
    rig.run();
    assert_eq!((restorations(&rig).len(), in_the_way(&rig).len()), (0, 0));
    let [answer] = &answers(&rig)[..] else { panic!("{:?}", rig.log) };
    assert!(answer.starts_with("refused: the lease is at another epoch"), "{answer}");
}

#[test]
fn a_word_is_refused_while_a_node_speaks_of_an_epoch_that_nothing_can_have_led_to() {
    let mut rig = asked();
    rig.lease.as_mut().expect("there").holder = None;
    rig.heartbeats.get_mut(&arn(3)).expect("there").ahead = Some(Epoch(2 + MOST_AHEAD));
    let outcome = rig.run().outcome;
    assert!(matches!(outcome, Outcome::Stuck(_)), "{outcome:?}");
    let [answer] = &answers(&rig)[..] else { panic!("{:?}", rig.log) };
    assert!(answer.starts_with("refused: node-c speaks of epoch 1000000002"), "{answer}");
    assert_eq!((restorations(&rig).len(), commits(&rig)), (0, 0));
}

#[test]
fn an_epoch_that_there_is_not_holds_nothing_back_and_its_node_is_named() {
    for asked in [None, asked().lease.expect("there").restore] {
        let mut rig = Rig::claimed();
        rig.heartbeats.get_mut(&arn(3)).expect("there").released = Epoch(u64::MAX);
        let restores = asked.is_some();
        rig.lease.as_mut().expect("there").restore = asked;
        if !restores {
            rig.beats_between_reads = vec![arn(2)];
        }
        rig.run();
        let raised: Vec<Epoch> = restorations(&rig).iter().map(|of| of.raised).collect();
        assert_eq!(
            (raised.first(), commits(&rig)),
            (restores.then_some(&Epoch(1 + RAISED_BY)), usize::from(!restores))
        );
        let named = |action: &&Action| matches!(action, Action::Append(event) if matches!(&event.what, Happening::Stuck { resource, .. } if resource == "the heartbeat of node-c"));
        assert_eq!(rig.log.iter().filter(named).count(), 1, "{restores}");
    }
}

#[test]
fn nothing_is_granted_after_the_last_epoch() {
    let mut rig = Rig::new();
    rig.beats_between_reads = vec![arn(2)];
    let lease = rig.lease.as_mut().expect("there");
    (lease.epoch, lease.moved, lease.holder) = (Epoch::LAST, Epoch::LAST, None);
    let outcome = rig.run().outcome;
    assert!(
        matches!(&outcome, Outcome::Stuck(stuck) if stuck[0].1.contains("the last that there is")),
        "{outcome:?}"
    );
    assert_eq!(commits(&rig), 0);
}

#[test]
fn a_change_that_was_refused_or_not_answered_is_no_restoration() {
    for answer in [Ok(Committed::Superseded(vec!["it has beaten".to_owned()])), Err(Failure::Throttled)] {
        let mut rig = asked();
        rig.commits.push_back(answer.clone());
        let outcome = rig.run().outcome;
        assert!(matches!(outcome, Outcome::Superseded(_) | Outcome::Failed(_)), "{outcome:?}");
        assert_eq!(answers(&rig).len(), 0, "{answer:?}");
        assert!(rig.lease.expect("there").restore.is_some());
    }
}
