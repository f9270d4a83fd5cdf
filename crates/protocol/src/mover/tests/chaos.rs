//! Random answers, late and stale ones among them: once they end, every move completes and the world is right.

use proptest::prelude::*;

use super::super::*;
use super::paper::{Paper, moved_to_node_2};
use crate::ec2::RouteTarget;
use crate::testing::{allocation, association, interface, placement, route};

/// What becomes of an action.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    Throttled,
    /// Applied, and the answer is lost.
    LostAnswer,
    /// Not applied, and nobody knows.
    LostRequest,
    /// A look is answered from the world at the beginning.
    Stale,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Done),
        1 => Just(Fate::Throttled),
        1 => Just(Fate::LostAnswer),
        1 => Just(Fate::LostRequest),
        1 => Just(Fate::Stale),
    ]
}

fn answer(paper: &mut Paper, old: &Paper, mover: &mut Mover, lease: &Lease, action: Action, fate: Fate) {
    let unknown = || CloudFailure::Unknown("no answer".to_owned());
    match (action, fate) {
        (Action::Look(look), Fate::Stale) => mover.handle_sight(paper.now, &look, Ok(old.look(&look))),
        (Action::Look(look), Fate::Throttled) => {
            mover.handle_sight(paper.now, &look, Err(CloudFailure::Throttled))
        }
        (Action::Look(look), Fate::LostAnswer | Fate::LostRequest) => {
            mover.handle_sight(paper.now, &look, Err(unknown()));
        }
        (Action::Call(call), Fate::Throttled) => {
            mover.handle_effect(paper.now, &call, Err(CloudFailure::Throttled))
        }
        (Action::Call(call), Fate::LostRequest) => mover.handle_effect(paper.now, &call, Err(unknown())),
        (Action::Call(call), Fate::LostAnswer) => {
            let _ = paper.call(&call);
            mover.handle_effect(paper.now, &call, Err(unknown()));
        }
        (Action::RecordRotation(allocation, _), Fate::Throttled | Fate::LostAnswer | Fate::LostRequest) => {
            mover.handle_rotation_recorded(paper.now, &allocation, false);
        }
        (action, _) => paper.answer(mover, lease, action),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_move_completes_once_faults_end_and_never_toggles(
        fates in prop::collection::vec(fate(), 0..60), eager: bool, ended: bool, unfinished: bool,
    ) {
        let mut paper = Paper::at_node_1();
        let mut lease = moved_to_node_2();
        if ended {
            lease.observed.associations.insert(allocation(1), association(9));
        }
        if unfinished {
            lease.epoch = crate::ids::Epoch(4);
        }
        let old = Paper::at_node_1();
        let mut fates = fates.into_iter();
        let mut mover = Mover::new(&lease, eager && !unfinished, paper.now);
        mover.allow(paper.now, paper.now);
        let mut rounds = 0;
        while mover.progress() == Progress::Moving {
            rounds += 1;
            // An answer was lost and nobody has recorded what was made: two minutes later an invocation trusts it.
            if rounds == 1_000 {
                mover.trust_what_is_there(paper.now);
            }
            prop_assert!(rounds < 2_000, "no end: {:?}", paper.calls);
            let actions: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
            if actions.is_empty() {
                paper.round(&mut mover, &lease);
                continue;
            }
            paper.pass(std::time::Duration::from_millis(10));
            for action in actions {
                let fate = fates.next().unwrap_or(Fate::Done);
                answer(&mut paper, &old, &mut mover, &lease, action, fate);
            }
        }
        prop_assert!(matches!(mover.progress(), Progress::Complete(_)), "{:?}", mover.progress());
        prop_assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
        for n in [1, 2] {
            prop_assert_eq!(&paper.routes[&route(n)], &RouteTarget::Interface(interface(2)));
        }
        prop_assert!(paper.forwarding.contains(&interface(2)));
        // A route that was turned is never turned back, and an address is only ever put to its holder.
        for call in &paper.calls {
            let good = match call {
                Call::Associate { placement: to, .. } => *to == placement(2),
                Call::ReplaceRoute { interface: to, .. } | Call::CreateRoute { interface: to, .. } => *to == interface(2),
                _ => true,
            };
            prop_assert!(good, "{call:?}");
        }
    }
}
