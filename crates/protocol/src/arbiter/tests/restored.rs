//! A table that was restored to an earlier moment: nothing is granted by it, and an operator's word has it begin anew.

use super::rig::Rig;
use super::*;
use crate::heartbeat::UNGUARDED_MS;
use crate::ids::RequestId;
use crate::restored::{RAISED_BY, Restoration, Word};
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

#[test]
fn a_node_that_beats_meanwhile_is_named_and_the_word_stands() {
    let mut rig = asked();
    rig.beats_between_reads = vec![arn(2)];
    rig.run();
    assert_eq!(restorations(&rig), []);
    assert_eq!(answers(&rig), ["not yet: node-b still beats: stop its agent"]);
    assert!(rig.lease.expect("there").restore.is_some());
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
        assert_eq!(restorations(&rig), [], "{state}");
        let [answer] = &answers(&rig)[..] else { panic!("{:?}", rig.log) };
        assert!(answer.starts_with("not yet: nothing stops the service of node-b"), "{answer}");
    }
    assert_eq!(restorations(&asked("stopped")).len(), 1);
}

#[test]
fn a_silence_that_does_not_fit_is_said_and_a_word_of_another_epoch_is_none() {
    let mut rig = asked();
    rig.heartbeats.get_mut(&arn(2)).expect("there").validity_ms = 60_000;
    rig.run();
    let [answer] = &answers(&rig)[..] else { panic!("{:?}", rig.log) };
    assert!(answer.contains("does not fit into an invocation"), "{answer}");
    let mut rig = asked_at_another_epoch();
    rig.run();
    assert_eq!((restorations(&rig).len(), answers(&rig).len()), (0, 0));
}

fn asked_at_another_epoch() -> Rig {
    let mut rig = asked();
    rig.lease.as_mut().expect("there").restore.as_mut().expect("asked").epoch = Epoch(2);
    rig
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
