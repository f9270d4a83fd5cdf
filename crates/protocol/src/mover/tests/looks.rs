//! When a move looks, and when it has no reason to.

use super::super::*;
use super::paper::{Paper, moved_to_node_2};
use crate::testing::{arn, interface};

fn actions(mover: &mut Mover) -> Vec<Action> {
    std::iter::from_fn(|| mover.poll_action()).collect()
}

fn looks(actions: &[Action]) -> Vec<Look> {
    let look = |action: &Action| match action {
        Action::Look(look) => Some(look.clone()),
        _ => None,
    };
    actions.iter().filter_map(look).collect()
}

#[test]
fn looks_that_fail_are_taken_again_after_100_200_and_400_ms() {
    let mut now = BootTime(1_000_000_000);
    let mut mover = Mover::new(&moved_to_node_2(), false, now);
    mover.allow(now, now);
    for wait in [100, 200, 400].map(Duration::from_millis) {
        let asked = looks(&actions(&mut mover));
        assert_eq!(asked.len(), 4);
        for look in &asked {
            assert_eq!(mover.next_deadline(), None, "answers are awaited");
            mover.handle_sight(now, look, Err(CloudFailure::Throttled));
        }
        assert_eq!(mover.next_deadline(), Some(now + wait));
        now = now + wait;
        mover.handle_timer(now);
    }
}

#[test]
fn no_look_is_taken_while_answers_to_the_last_are_awaited() {
    let mut paper = Paper::at_node_1();
    let mut mover = Mover::new(&moved_to_node_2(), false, paper.now);
    mover.allow(paper.now, paper.now);
    let asked = looks(&actions(&mut mover));
    paper.pass(Duration::from_secs(1));
    let sight = paper.look(&asked[0]);
    mover.handle_sight(paper.now, &asked[0], Ok(sight));
    assert_eq!(looks(&actions(&mut mover)), []);
}

#[test]
fn no_look_is_taken_while_calls_are_under_way_and_all_is_known() {
    let mut paper = Paper::at_node_1();
    let mut mover = Mover::new(&moved_to_node_2(), true, paper.now);
    mover.allow(paper.now, paper.now);
    let first = actions(&mut mover);
    assert_eq!(first.iter().filter(|action| matches!(action, Action::Call(_))).count(), 3, "{first:?}");
    for look in looks(&first) {
        let sight = paper.look(&look);
        mover.handle_sight(paper.now, &look, Ok(sight));
    }
    actions(&mut mover);
    paper.pass(Duration::from_secs(1));
    mover.handle_timer(paper.now);
    assert_eq!(looks(&actions(&mut mover)), []);
}

#[test]
fn a_complete_move_asks_for_nothing_more() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    while mover.progress() == Progress::Moving {
        paper.round(&mut mover, &lease);
    }
    assert!(matches!(mover.progress(), Progress::Complete(_)));
    assert_eq!((actions(&mut mover), mover.next_deadline()), (Vec::new(), None));
    paper.pass(Duration::from_secs(60));
    mover.handle_timer(paper.now);
    assert_eq!(actions(&mut mover), []);
}

#[test]
fn a_lease_that_could_not_be_read_is_asked_again_after_100_ms() {
    let mut paper = Paper::at_node_1();
    let mut mover = Mover::new(&moved_to_node_2(), true, paper.now);
    paper.pass(GUARD_LASTS);
    mover.allow(BootTime(0), paper.now);
    assert!(actions(&mut mover).contains(&Action::Guard));
    mover.handle_guard(paper.now, None);
    assert_eq!(actions(&mut mover), []);
    assert_eq!(mover.next_deadline(), Some(paper.now + Duration::from_millis(100)));
}

#[test]
fn what_was_held_before_is_in_doubt_for_3_s_and_forwarding_is_not() {
    // All is in place already, as a late answer to an earlier holding of this node would show it.
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    paper.forwarding.insert(interface(2));
    lease.observed = paper.run(&lease, true);
    let begun = paper.now;
    paper.run(&lease, false);
    assert!(paper.now.since(begun) >= SETTLES_WITHIN, "{:?}", paper.now.since(begun));
    // What this move has put in place itself needs no such wait.
    let (mut paper, lease) = (Paper::at_node_1(), moved_to_node_2());
    paper.forwarding.insert(interface(2));
    let begun = paper.now;
    paper.run(&lease, true);
    assert!(paper.now.since(begun) < Duration::from_secs(1), "{:?}", paper.now.since(begun));
    assert_eq!(lease.holder, Some(arn(2)));
}

#[test]
fn a_record_that_was_made_is_no_reason_to_read_the_lease_again() {
    let mut paper = Paper::at_node_1();
    let lease = Lease { epoch: Epoch(3), moved: Epoch(1), ..moved_to_node_2() };
    paper.addresses.insert(crate::testing::allocation(1), None);
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    let mut recorded = None;
    while recorded.is_none() {
        for action in actions(&mut mover) {
            match action {
                Action::RecordRotation(allocation, _) => recorded = Some(allocation),
                other => paper.answer(&mut mover, &lease, other),
            }
        }
    }
    while let Some(action) = mover.poll_action() {
        paper.answer(&mut mover, &lease, action);
    }
    mover.handle_rotation_recorded(paper.now, &recorded.expect("a record"), true);
    let next = actions(&mut mover);
    assert!(!next.contains(&Action::Guard), "{next:?}");
    assert!(next.iter().any(|action| matches!(action, Action::Call(Call::Associate { .. }))), "{next:?}");
}
