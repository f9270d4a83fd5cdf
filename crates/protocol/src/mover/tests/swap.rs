//! Subnets whose route table is swapped: by which call, what counts as in place, and what a late call can do.

use proptest::prelude::*;

use super::super::*;
use super::paper::{Paper, moved_to_node_2};
use crate::ids::{Epoch, RouteTableId};
use crate::lease::Lease;
use crate::resource::Resources;
use crate::testing::{arn, interface, subnet, subnet_tables, table, table_association};

/// Granted to node 2 after node 1's move was verified: one subnet, and nothing else.
fn swapped_to_node_2() -> Lease {
    let mut lease = moved_to_node_2();
    lease.resources = Resources { subnets: vec![subnet_tables(1)], ..Resources::default() };
    lease.observed.tables.insert(subnet(1), table_association(1, 1));
    lease
}

/// The subnet is with the table of node 1.
fn paper() -> Paper {
    let mut paper = Paper::at_node_1();
    paper.subnets.insert(subnet(1), table_association(1, 1));
    paper
}

/// Epoch 2 was granted to node 2 and never completed; epoch 3 is node 1's, whose table the subnet still has.
fn after_an_unfinished_move() -> (Lease, Lease) {
    let older = swapped_to_node_2();
    let newer = Lease { epoch: Epoch(3), holder: Some(arn(1)), ..older.clone() };
    (older, newer)
}

fn with(paper: &Paper) -> RouteTableId {
    paper.subnets[&subnet(1)].table.clone()
}

fn swaps(paper: &Paper) -> usize {
    let swap = |call: &&Call| matches!(call, Call::ReplaceTableAssociation { .. });
    paper.calls.iter().filter(swap).count()
}

/// A move of the lease, of which so much is done as can be without time passing by more than it must.
fn rounds(paper: &mut Paper, lease: &Lease, mover: &mut Mover, most: usize) {
    for _ in 0..most {
        if mover.progress() != Progress::Moving {
            break;
        }
        paper.round(mover, lease);
    }
}

#[test]
fn after_a_verified_move_one_call_swaps_the_table_and_none_comes_before_it() {
    let (mut paper, lease) = (paper(), swapped_to_node_2());
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let first: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    let call = Call::ReplaceTableAssociation {
        subnet: subnet(1),
        association: table_association(1, 1).id,
        table: table(2),
    };
    assert!(first.contains(&Action::Call(call)), "before any look was answered: {first:?}");
    for action in first {
        paper.answer(&mut mover, &lease, action);
    }
    rounds(&mut paper, &lease, &mut mover, 100);
    let Progress::Complete(observed) = mover.progress() else { panic!("{:?}", mover.progress()) };
    assert_eq!(observed.tables, paper.subnets);
    assert_eq!((with(&paper), swaps(&paper)), (table(2), 1));
    assert!(paper.forwarding.contains(&interface(2)), "what comes by the table is not addressed to the node");
}

#[test]
fn a_swap_that_was_lost_is_looked_at_again() {
    let (mut paper, mut lease) = (paper(), swapped_to_node_2());
    lease.observed.tables.insert(subnet(1), table_association(9, 1));
    let observed = paper.run(&lease, true);
    assert_eq!((with(&paper), swaps(&paper)), (table(2), 2));
    assert_eq!(observed.tables, paper.subnets);
}

#[test]
fn a_table_that_is_none_of_the_prepared_is_left_and_told() {
    let (mut paper, lease) = (paper(), swapped_to_node_2());
    paper.subnets.insert(subnet(1), table_association(5, 7));
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    rounds(&mut paper, &lease, &mut mover, 100);
    let Progress::Stuck(stuck) = mover.progress() else { panic!("{:?}", mover.progress()) };
    assert!(stuck[0].0 == "subnet-00000001" && stuck[0].1.contains("rtb-00000007"), "{stuck:?}");
    assert_eq!((with(&paper), swaps(&paper)), (table(7), 0));
    assert!(mover.is_over(), "the rest is moved, and recorded");
    assert!(mover.observed().tables.is_empty(), "what is not the cluster's is not known as such");
}

#[test]
fn a_subnet_without_a_table_of_its_own_is_told_and_not_over() {
    let (mut paper, lease) = (paper(), swapped_to_node_2());
    paper.subnets.clear();
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    rounds(&mut paper, &lease, &mut mover, 100);
    assert!(matches!(mover.progress(), Progress::Stuck(_)) && !mover.is_over() && swaps(&paper) == 0);
}

#[test]
fn a_member_for_whom_no_table_is_prepared_is_told() {
    let (mut paper, mut lease) = (paper(), swapped_to_node_2());
    let name = lease.members[1].node.clone();
    lease.resources.subnets[0].tables.remove(&name);
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    rounds(&mut paper, &lease, &mut mover, 100);
    assert!(matches!(mover.progress(), Progress::Stuck(stuck) if stuck[0].1.contains("node-b")));
    assert_eq!(swaps(&paper), 0);
}

#[test]
fn an_association_that_was_just_seen_is_replaced_only_after_the_lease_was_read_once_more() {
    let lease = Lease { moved: Epoch(2), ..swapped_to_node_2() };
    let mut paper = paper();
    // Not the one that the lease knows: somebody has swapped the table since.
    paper.subnets.insert(subnet(1), table_association(8, 1));
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    let asked: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    paper.pass(Duration::from_millis(10));
    for action in asked {
        paper.answer(&mut mover, &lease, action);
    }
    let next: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    assert!(next.contains(&Action::Guard), "the association may be of a later epoch: {next:?}");
    let swap = |action: &Action| matches!(action, Action::Call(Call::ReplaceTableAssociation { .. }));
    assert!(!next.iter().any(swap), "{next:?}");
    mover.handle_guard(paper.now, Some(&lease));
    assert!(std::iter::from_fn(|| mover.poll_action()).any(|action| swap(&action)));
}

#[test]
fn after_an_unfinished_move_what_is_in_place_counts_once_no_call_can_land_any_more() {
    let (older, newer) = after_an_unfinished_move();
    let mut paper = paper();
    let mut old = Mover::new(&older, true, paper.now);
    old.allow(paper.now, paper.now);
    let swap = |action| match action {
        Action::Call(call @ Call::ReplaceTableAssociation { .. }) => Some(call),
        _ => None,
    };
    let late = std::iter::from_fn(|| old.poll_action()).find_map(swap).expect("called for");

    let mut mover = Mover::new(&newer, false, paper.now);
    mover.allow(paper.now, paper.now);
    rounds(&mut paper, &newer, &mut mover, 60);
    assert_eq!((mover.progress(), swaps(&paper)), (Progress::Moving, 0), "in place, and not known to stay");
    let effect = paper.call(&late);
    assert!(effect.is_ok() && with(&paper) == table(2), "the call of epoch 2 takes it: {effect:?}");
    rounds(&mut paper, &newer, &mut mover, 100);
    assert!(matches!(mover.progress(), Progress::Complete(_)), "taken back: {:?}", paper.calls);
    assert_eq!((with(&paper), swaps(&paper)), (table(1), 1));
    assert_eq!(paper.call(&late), Err(CloudFailure::AssociationGone), "and nobody takes it once more");
}

#[test]
fn what_is_in_place_counts_when_nobody_can_be_late_or_another_invocation_has_recorded_it() {
    let (_, newer) = after_an_unfinished_move();
    for recorded in [false, true] {
        let mut paper = paper();
        let mut mover = Mover::new(&newer, false, paper.now);
        let seen = if recorded { Lease { moved: Epoch(3), ..newer.clone() } } else { newer.clone() };
        if !recorded {
            mover.trust_what_is_there(paper.now + Duration::from_secs(60));
        }
        let began = paper.now;
        mover.allow(paper.now, paper.now);
        rounds(&mut paper, &seen, &mut mover, 200);
        assert!(matches!(mover.progress(), Progress::Complete(_)), "{:?}", mover.progress());
        assert_eq!((with(&paper), swaps(&paper)), (table(1), 0));
        let took = paper.now.since(began);
        assert!(recorded || took >= Duration::from_secs(60), "{took:?}");
        assert!(!recorded || took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn what_a_first_move_finds_in_place_counts_only_if_it_was_verified() {
    for (verified, counts) in [(1, true), (9, false)] {
        let mut lease = swapped_to_node_2();
        lease.holder = Some(arn(1));
        lease.observed.tables.insert(subnet(1), table_association(verified, 1));
        let mut paper = paper();
        let mut mover = Mover::new(&lease, false, paper.now);
        mover.allow(paper.now, paper.now);
        rounds(&mut paper, &lease, &mut mover, 100);
        let complete = matches!(mover.progress(), Progress::Complete(_));
        assert_eq!((complete, swaps(&paper)), (counts, 0), "{:?}", mover.progress());
    }
}

#[test]
fn each_failure_of_a_swap_has_its_own_consequence() {
    let met = |failure: CloudFailure| {
        let (mut paper, lease) = (paper(), swapped_to_node_2());
        let mut mover = Mover::new(&lease, true, paper.now);
        mover.allow(paper.now, paper.now);
        let mut failure = Some(failure);
        for _ in 0..200 {
            if mover.progress() != Progress::Moving {
                break;
            }
            let actions: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
            if actions.is_empty() {
                paper.round(&mut mover, &lease);
            }
            for action in actions {
                match (action, failure.clone()) {
                    (Action::Call(call @ Call::ReplaceTableAssociation { .. }), Some(met)) => {
                        failure = None;
                        mover.handle_effect(paper.now, &call, Err(met));
                    }
                    (action, _) => paper.answer(&mut mover, &lease, action),
                }
            }
        }
        (mover.progress(), swaps(&paper))
    };
    for passing in [CloudFailure::Throttled, CloudFailure::Unknown("lost".to_owned())] {
        let (progress, again) = met(passing.clone());
        assert!(matches!(progress, Progress::Complete(_)) && again == 1, "{passing}: {progress:?}");
    }
    for lasting in [
        CloudFailure::Denied("UnauthorizedOperation".to_owned()),
        CloudFailure::NotFound("InvalidRouteTableID.NotFound".to_owned()),
        CloudFailure::Refused("InvalidParameterValue".to_owned()),
    ] {
        let (progress, again) = met(lasting.clone());
        let Progress::Stuck(stuck) = progress else { panic!("{lasting}: {progress:?}") };
        assert!(stuck[0].1.starts_with("ReplaceRouteTableAssociation: ") && again == 0, "{stuck:?}");
    }
}

#[test]
fn an_answer_that_names_the_same_association_has_made_nothing() {
    let (mut paper, lease) = (paper(), swapped_to_node_2());
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let asked: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    for action in asked {
        match action {
            Action::Call(call @ Call::ReplaceTableAssociation { .. }) => {
                let same = Effect::TableAssociated(table_association(1, 1).id);
                mover.handle_effect(paper.now, &call, Ok(same));
            }
            other => paper.answer(&mut mover, &lease, other),
        }
    }
    rounds(&mut paper, &lease, &mut mover, 100);
    assert!(matches!(mover.progress(), Progress::Complete(_)), "{:?}", mover.progress());
    assert_eq!((with(&paper), swaps(&paper)), (table(2), 1), "it is looked at, and swapped");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn late_calls_of_an_older_move_change_nothing_once_a_newer_one_is_complete(
        to in 1u8..=3,
        eager in any::<bool>(),
        steps in prop::collection::vec((0usize..3, any::<usize>()), 0..40),
    ) {
        let older = swapped_to_node_2();
        let newer = Lease { epoch: Epoch(3), holder: Some(arn(to)), ..older.clone() };
        let mut paper = paper();
        let mut late: Vec<Call> = Vec::new();
        let mut old = Mover::new(&older, eager, paper.now);
        old.allow(paper.now, paper.now);
        // The older move begins while its epoch stands; what it calls for is under way from then on.
        for _ in 0..10 {
            let actions: Vec<Action> = std::iter::from_fn(|| old.poll_action()).collect();
            for action in actions {
                match action {
                    Action::Call(call) => late.push(call),
                    other => paper.answer(&mut old, &older, other),
                }
            }
            paper.pass(Duration::from_millis(5));
            old.handle_timer(paper.now);
        }
        let mut mover = Mover::new(&newer, false, paper.now);
        mover.allow(paper.now, paper.now);
        for (step, which) in steps {
            if step == 0 && !late.is_empty() {
                let call = late.remove(which % late.len());
                let effect = paper.call(&call);
                old.handle_effect(paper.now, &call, effect);
            } else if mover.progress() == Progress::Moving {
                paper.round(&mut mover, &newer);
            }
            while let Some(action) = old.poll_action() {
                // Whoever reads the lease now reads the newer epoch.
                match action {
                    Action::Call(call) => late.push(call),
                    other => paper.answer(&mut old, &newer, other),
                }
            }
        }
        let complete = matches!(mover.progress(), Progress::Complete(_));
        let before = paper.subnets.clone();
        for call in late {
            let _ = paper.call(&call);
        }
        if complete {
            prop_assert_eq!(&paper.subnets, &before);
        }
        mover.trust_what_is_there(paper.now);
        mover.handle_timer(paper.now);
        rounds(&mut paper, &newer, &mut mover, 300);
        prop_assert!(matches!(mover.progress(), Progress::Complete(_)), "{:?}", mover.progress());
        prop_assert_eq!(with(&paper), table(to));
    }
}
