//! How random sequences are made.
//!
//! The weights are set so that a few dozen sequences reach every part of every condition, which is asserted
//! ([`crate::store::coverage`]): a weight that is changed carelessly fails the run.

use baton_protocol::heartbeat::Health;
use baton_protocol::history::Ground;
use baton_protocol::ids::AssociationId;
use baton_protocol::mark::Mark;
use baton_protocol::request::Wish;
use proptest::prelude::*;

use super::operation::{After, Change, Check, Operation, Wrong, WrongMove};
use crate::store::build::{association, node, uid};

/// Sequences of operations, and whether they begin with a lease that the first node holds.
pub fn sequences() -> impl Strategy<Value = (bool, Vec<Operation>)> {
    let later = || proptest::collection::vec(some(), 1..36).prop_map(|some| some.concat());
    let from_nothing = (proptest::collection::vec(early(), 0..4), later());
    prop_oneof![
        2 => later().prop_map(|operations| (true, operations)),
        1 => from_nothing.prop_map(|(early, later)| (false, [early, later].concat())),
    ]
}

/// One operation, or several that only mean something together.
fn some() -> impl Strategy<Value = Vec<Operation>> {
    prop_oneof![
        32 => operation().prop_map(|operation| vec![operation]),
        4 => sent_again(),
        2 => moved_between(),
        1 => after_the_end(),
        1 => asked_and_done(),
        1 => asked_at_once(),
    ]
}

/// The registrar takes up a retired lease, or changes a standing one, while the move of its epoch is recorded.
fn moved_between() -> impl Strategy<Value = Vec<Operation>> {
    let retire = || Operation::Registrar(Change::Retire(None));
    let same = || Change::Reconfigure { instead: None, right_holder: true, members: 3, made_from: None };
    prop_oneof![
        a_move().prop_map(move |moved| vec![Operation::Between(same(), vec![moved])]),
        (three(), a_move()).prop_map(move |(uid, moved)| {
            vec![retire(), Operation::Between(Change::Register(uid), vec![moved])]
        }),
        (change(), a_move()).prop_map(|(change, moved)| vec![Operation::Between(change, vec![moved])]),
    ]
}

/// A failback that was decided before the cluster was retired; then it is taken up again.
fn after_the_end() -> impl Strategy<Value = Vec<Operation>> {
    (failback(), three()).prop_map(|(back, uid)| {
        let [retire, register] = [Change::Retire(None), Change::Register(uid)].map(Operation::Registrar);
        vec![retire, back, register]
    })
}

/// A word that a node be stopped, and its end; a drain in whose place comes an exclusion that takes back its wish; a drain that is
/// taken back, with its wish or after another one; a wish that
/// is answered, answered otherwise, and replaced; or one that the next grant takes away, once that was decided on it.
fn asked_and_done() -> impl Strategy<Value = Vec<Operation>> {
    let fence = |whose| Wish::Fence { node: node(whose), uid: uid(1), why: String::new() };
    let exclude = |id, whose, drains: bool| Operation::Exclude {
        id,
        whose,
        hand_over: drains,
        withdraws: !drains,
        instead: None,
    };
    prop_oneof![
        (another(), three())
            .prop_map(move |(id, whose)| vec![Operation::Ask(id, fence(whose)), Operation::EndFence(None)]),
        (another(), another(), three())
            .prop_map(move |(id, next, whose)| vec![exclude(id, whose, true), exclude(next, whose, false)]),
        (another(), another(), another(), any::<bool>()).prop_map(move |(id, between, end, asked)| {
            let wish = Wish::Switchover { to: None, why: String::new() };
            let between = asked.then_some(Operation::Ask(between, wish));
            let end = Operation::Include { id: end, withdraws: true, instead: None };
            [exclude(id, 2, true)].into_iter().chain(between).chain([end]).collect()
        }),
        (another(), another()).prop_map(|(id, next)| {
            let ask = |id| Operation::Ask(id, Wish::Switchover { to: None, why: String::new() });
            vec![ask(id), Operation::Answer(id), Operation::Answer(id), ask(next)]
        }),
        (another(), three()).prop_map(|(id, to)| {
            let grant = |wrong| Operation::Grant {
                to: Some(to),
                ground: Ground::Gone,
                check: Check::Unchanged,
                wrong,
            };
            let wish = Wish::Switchover { to: None, why: String::new() };
            vec![Operation::Ask(id, wish), grant(Some(Wrong::Wish)), grant(None)]
        }),
    ]
}

/// Two ask for the same, where nobody has asked yet or somebody has: one comes between the other's reading and its writing.
fn asked_at_once() -> impl Strategy<Value = Vec<Operation>> {
    let wish = prop_oneof![
        2 => Just(Wish::Failover { to: None, why: String::new() }),
        // A word about another registration is the one that is replaced while it has not ended.
        3 => three().prop_map(|n| Wish::Fence { node: node(2), uid: uid(n), why: String::new() }),
        3 => Just(Wish::Restore { uid: uid(1), why: String::new() }),
    ];
    (wish, another(), another(), another(), any::<bool>()).prop_map(|(wish, id, other, before, stands)| {
        let ask = |id| Operation::Ask(id, wish.clone());
        let both = Operation::Between(Change::Ask(id, wish.clone()), vec![ask(other)]);
        if stands { vec![ask(before), both] } else { vec![both] }
    })
}

/// A grant that is sent again: after it was granted, after another one, or after what it had to wait for.
fn sent_again() -> impl Strategy<Value = Vec<Operation>> {
    let right = |to: Option<u8>, check| Operation::Grant { to, ground: Ground::Gone, check, wrong: None };
    let release = Operation::Release { node: None, instead: None, ahead: 0 };
    let two = || (three(), three());
    prop_oneof![
        (three(), repeat(0..1)).prop_map(move |(to, repeat)| vec![right(Some(to), Check::Unchanged), repeat]),
        (two(), repeat(1..2)).prop_map(move |((to, next), repeat)| {
            vec![right(Some(to), Check::Unchanged), right(Some(next), Check::Unchanged), repeat]
        }),
        repeat(0..1).prop_map(move |repeat| vec![right(None, Check::Released), release.clone(), repeat]),
    ]
}

fn repeat(back: std::ops::Range<usize>) -> impl Strategy<Value = Operation> {
    (back, any::<bool>()).prop_map(|(back, late)| Operation::Repeat { back, late })
}

/// What is done where there is no cluster yet.
fn early() -> impl Strategy<Value = Operation> {
    prop_oneof![(three(), wish()).prop_map(|(id, wish)| Operation::Ask(id, wish)), of_agent(), two_at_once()]
}

/// Two take up a name: one comes between the other's reading and its writing.
fn two_at_once() -> impl Strategy<Value = Operation> {
    (three(), three()).prop_map(|(uid, other)| {
        let first = Operation::Registrar(Change::Register(other));
        Operation::Between(Change::Register(uid), vec![first])
    })
}

fn three() -> impl Strategy<Value = u8> {
    1u8..=3
}

/// Mostly nothing, sometimes a number.
fn seldom() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![6 => Just(None), 1 => three().prop_map(Some)]
}

/// Mostly right, sometimes off by one or two.
fn ahead() -> impl Strategy<Value = i8> {
    prop_oneof![2 => Just(0i8), 1 => -2i8..=2]
}

fn mark() -> impl Strategy<Value = Mark> {
    let of = |made: fn(AssociationId) -> Mark| three().prop_map(move |id| made(association(id)));
    prop_oneof![1 => Just(Mark::Free), 1 => of(Mark::Ends), 2 => of(Mark::Made)]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        14 => of_agent(),
        9 => grant(),
        3 => repeat(0..4),
        4 => (ahead(), mark()).prop_map(|(ahead, mark)| Operation::Rotate(ahead, mark)),
        8 => a_move(),
        2 => three().prop_map(Operation::Append),
        3 => (three(), wish()).prop_map(|(id, wish)| Operation::Ask(id, wish)),
        2 => failback(),
        2 => exclusion(),
        3 => (another(), any::<bool>(), seldom())
            .prop_map(|(id, withdraws, instead)| Operation::Include { id, withdraws, instead }),
        2 => three().prop_map(Operation::Answer),
        2 => proptest::option::of(three()).prop_map(Operation::EndFence),
        4 => change().prop_map(Operation::Registrar),
        6 => between(),
        1 => three().prop_map(Operation::Wake),
        2 => three().prop_map(Operation::Lose),
    ]
}

fn of_agent() -> impl Strategy<Value = Operation> {
    let after = prop_oneof![
        4 => Just(After::Standing), 1 => three().prop_map(After::Run), 2 => Just(After::Nobody)
    ];
    let now_and_then = prop_oneof![3 => Just(None), 1 => three().prop_map(Some)];
    let health = prop_oneof![
        8 => Just(Health::Ok), 1 => Just(Health::Bad), 1 => Just(Health::Unknown), 1 => Just(Health::Draining)
    ];
    prop_oneof![
        5 => (three(), after, three()).prop_map(|(node, after, run)| Operation::Start { node, after, run }),
        8 => (three(), now_and_then, -1i8..=3, health, any::<bool>()).prop_map(
            |(node, instead, ahead, health, full)| Operation::Beat { node, instead, ahead, health, full }
        ),
        3 => (proptest::option::of(three()), seldom(), ahead())
            .prop_map(|(node, instead, ahead)| Operation::Release { node, instead, ahead }),
    ]
}

fn grant() -> impl Strategy<Value = Operation> {
    let to = prop_oneof![4 => three().prop_map(Some), 1 => Just(None)];
    let ground = prop_oneof![4 => Just(Ground::Silence), 2 => Just(Ground::Release), 1 => Just(Ground::Gone)];
    let check =
        prop_oneof![6 => Just(Check::Unchanged), 3 => Just(Check::Released), 2 => Just(Check::Absent)];
    let wrong = prop_oneof![
        Just(Wrong::Uid),
        Just(Wrong::Epoch),
        Just(Wrong::Holder),
        Just(Wrong::Revision),
        Just(Wrong::Wish),
        Just(Wrong::Seq),
        Just(Wrong::Incarnation),
        Just(Wrong::Candidate),
    ];
    let wrong = prop_oneof![3 => Just(None), 2 => wrong.prop_map(Some)];
    (to, ground, check, wrong).prop_map(|(to, ground, check, wrong)| Operation::Grant {
        to,
        ground,
        check,
        wrong,
    })
}

fn a_move() -> impl Strategy<Value = Operation> {
    (wrong_move(), prop::bool::weighted(0.7)).prop_map(|(wrong, verify)| Operation::Move { wrong, verify })
}

fn wrong_move() -> impl Strategy<Value = Option<WrongMove>> {
    let wrong = prop_oneof![
        prop_oneof![Just(-1i8), Just(1)].prop_map(WrongMove::Epoch),
        Just(WrongMove::Revision),
        Just(WrongMove::Before),
        Just(WrongMove::Due),
        Just(WrongMove::NoneDue),
    ];
    prop_oneof![1 => Just(None), 1 => wrong.prop_map(Some)]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        2 => proptest::option::of(three())
            .prop_map(|to| Wish::Switchover { to: to.map(node), why: String::new() }),
        7 => Just(Wish::Pause { why: "upgrade".to_owned() }),
        1 => Just(Wish::Resume {}),
        2 => exclude(),
        2 => three().prop_map(|whose| Wish::Fence { node: node(whose), uid: uid(1), why: String::new() }),
        1 => Just(Wish::Failover { to: None, why: String::new() }),
    ]
}

/// A failback that was decided at this epoch or at another one.
fn failback() -> impl Strategy<Value = Operation> {
    (another(), three(), ahead()).prop_map(|(id, to, ahead)| Operation::Failback { id, to, ahead })
}

/// An exclusion by somebody who has seen the one that stands.
fn exclusion() -> impl Strategy<Value = Operation> {
    (another(), three(), any::<bool>(), any::<bool>(), seldom()).prop_map(
        |(id, whose, hand_over, withdraws, instead)| Operation::Exclude {
            id,
            whose,
            hand_over,
            withdraws,
            instead,
        },
    )
}

/// An exclusion by somebody who has seen none.
fn exclude() -> impl Strategy<Value = Wish> {
    let why = || "a disk".to_owned();
    (three(), any::<bool>()).prop_map(move |(whose, hand_over)| Wish::Exclude {
        node: node(whose),
        why: why(),
        hand_over,
        replaces: None,
        withdraws: false,
    })
}

/// An id that seldom another request has.
fn another() -> impl Strategy<Value = u8> {
    4u8..=250
}

fn change() -> impl Strategy<Value = Change> {
    let right = prop_oneof![5 => Just(true), 1 => Just(false)];
    let made_from = prop_oneof![3 => Just(None), 3 => Just(Some(true)), 1 => Just(Some(false))];
    prop_oneof![
        3 => three().prop_map(Change::Register),
        2 => (seldom(), right, 2u8..=4, made_from).prop_map(|(instead, right_holder, members, made_from)| {
            Change::Reconfigure { instead, right_holder, members, made_from }
        }),
        1 => seldom().prop_map(Change::Retire),
    ]
}

/// The holder gives the lease back and gets it again: another epoch, and nothing else has changed.
fn to_itself() -> Vec<Operation> {
    let (ground, check) = (Ground::Release, Check::Released);
    vec![
        Operation::Release { node: None, instead: None, ahead: 0 },
        Operation::Grant { to: None, ground, check, wrong: None },
    ]
}

/// Between the reading and the writing of a change comes what its condition is there to notice, or anything.
fn between() -> impl Strategy<Value = Operation> {
    let retire = || Operation::Registrar(Change::Retire(None));
    let register = || three().prop_map(|uid| Operation::Registrar(Change::Register(uid)));
    let same = || Change::Reconfigure { instead: None, right_holder: true, members: 3, made_from: None };
    let anything = prop_oneof![
        2 => change().prop_map(|change| vec![Operation::Registrar(change)]),
        1 => grant().prop_map(|grant| vec![grant]),
        1 => Just(to_itself()),
        1 => (three(), wish()).prop_map(|(id, wish)| vec![Operation::Ask(id, wish)]),
        1 => a_move().prop_map(|moved| vec![moved]),
    ];
    prop_oneof![
        3 => (change(), anything).prop_map(|(change, deeds)| Operation::Between(change, deeds)),
        3 => two_at_once(),
        1 => Just(Operation::Between(same(), vec![Operation::Registrar(same())])),
        1 => Just(Operation::Between(same(), to_itself())),
        1 => Just(Operation::Between(same(), vec![retire()])),
        1 => Just(Operation::Between(Change::Retire(None), vec![retire()])),
        2 => register().prop_map(move |next| Operation::Between(Change::Retire(None), vec![retire(), next])),
    ]
}
