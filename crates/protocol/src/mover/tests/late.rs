//! Calls of an older move that land late, whenever that is: once a newer move has completed they change nothing.

use proptest::prelude::*;

use super::super::*;
use super::paper::{Paper, moved_to_node_2};
use crate::ids::Epoch;
use crate::testing::{allocation, arn, member};

/// A move whose calls are under way for as long as the test likes.
struct Old {
    mover: Mover,
    late: Vec<Call>,
}

impl Old {
    /// Everything the move asks for now: its looks are answered from the world, its reads of the lease from the table.
    fn pump(&mut self, paper: &mut Paper, lease: &Lease) {
        self.mover.handle_timer(paper.now);
        while let Some(action) = self.mover.poll_action() {
            match action {
                Action::Call(call) => self.late.push(call),
                other => paper.answer(&mut self.mover, lease, other),
            }
        }
    }

    fn land(&mut self, paper: &mut Paper, which: usize) {
        if self.late.is_empty() {
            return;
        }
        let call = self.late.remove(which % self.late.len());
        let effect = paper.call(&call);
        self.mover.handle_effect(paper.now, &call, effect);
    }
}

/// Epoch 2 began to move the address to node 2 and never finished; epoch 3 gives the lease to `to`.
fn leases(to: u8) -> (Lease, Lease) {
    let mut old = moved_to_node_2();
    old.resources.routes.clear();
    let mut new = old.clone();
    new.epoch = Epoch(3);
    new.holder = Some(arn(to));
    (old, new)
}

#[test]
fn a_late_call_finds_the_association_it_names_ended_although_the_address_never_moved() {
    let (older, newer) = leases(1);
    let mut paper = Paper::at_node_1();
    let mut old = Old { mover: Mover::new(&older, true, paper.now), late: Vec::new() };
    old.mover.allow(paper.now, paper.now);
    old.pump(&mut paper, &newer);
    assert_eq!(old.late.len(), 1, "to end the association that the first epoch made");
    let observed = paper.run(&newer, false);
    old.land(&mut paper, 0);
    assert_eq!(paper.association(&allocation(1)).as_ref(), observed.associations.get(&allocation(1)));
}

#[test]
fn an_association_that_was_just_seen_is_ended_only_after_the_lease_was_read_once_more() {
    let (older, newer) = leases(1);
    let mut paper = Paper::at_node_1();
    // Epoch 2 was seen to stand when its move began; then epoch 3 was granted, moved and verified within half a second.
    let mut old = Mover::new(&older, false, paper.now);
    old.allow(paper.now, paper.now);
    let asked: Vec<Action> = std::iter::from_fn(|| old.poll_action()).collect();
    let observed = paper.run(&newer, false);
    assert!(
        paper.now < BootTime(1_000_000_000_000) + GUARD_LASTS,
        "its sight of the lease would still count"
    );
    for action in asked {
        paper.answer(&mut old, &newer, action);
    }
    let next = old.poll_action();
    assert_eq!(next, Some(Action::Guard), "the association may be of a later epoch");
    old.handle_guard(paper.now, Some(&newer));
    assert_eq!(old.progress(), Progress::Superseded);
    assert_eq!(paper.association(&allocation(1)).as_ref(), observed.associations.get(&allocation(1)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_late_call_undoes_a_completed_move(
        script in prop::collection::vec((0u8..3, any::<u8>()), 0..80), to in 1u8..=3, eager: bool,
    ) {
        let (older, newer) = leases(to);
        let target = member(to).placements[&allocation(1)].clone();
        let mut paper = Paper::at_node_1();
        let mut old = Old { mover: Mover::new(&older, eager, paper.now), late: Vec::new() };
        old.mover.allow(paper.now, paper.now);
        let mut new = Mover::new(&newer, false, paper.now);
        new.allow(paper.now, paper.now);
        for (who, which) in script {
            match who {
                0 => old.pump(&mut paper, &newer),
                1 if new.progress() == Progress::Moving => paper.round(&mut new, &newer),
                1 => {}
                _ => old.land(&mut paper, usize::from(which)),
            }
        }
        for round in 0..2_000 {
            if new.progress() != Progress::Moving {
                break;
            }
            // What is in place may be older than this epoch: it counts once no call of an older one can land any more.
            if round == 1_000 {
                while !old.late.is_empty() {
                    old.land(&mut paper, 0);
                    old.pump(&mut paper, &newer);
                }
                new.trust_what_is_there(paper.now);
            }
            paper.round(&mut new, &newer);
        }
        let Progress::Complete(observed) = new.progress() else { panic!("{:?}", new.progress()) };
        prop_assert_eq!(paper.place(&allocation(1)), Some(target.clone()));
        while !old.late.is_empty() {
            old.land(&mut paper, 0);
            old.pump(&mut paper, &newer);
        }
        prop_assert_eq!(paper.place(&allocation(1)), Some(target));
        let seen = observed.associations.get(&allocation(1)).cloned();
        prop_assert_eq!(paper.association(&allocation(1)), seen);
    }
}
