//! `baton exclude`, `baton drain` and `baton include` as an operator types them.

use baton_doubles::Method;
use baton_protocol::history::Ground;
use baton_protocol::ids::{Epoch, InstanceArn, RequestId};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::{MemoryStore, Store};

use crate::exit::Exit;
use crate::testing::world::{World, beat, grant, ready, release};
use crate::testing::{NOW, PIPE, TERMINAL, arn, before, name};

#[test]
fn a_standby_is_excluded_and_included_again() {
    let world = World::new();
    let run = world.run("exclude --node db-b --for 1h --reason disk");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.out.starts_with("Cluster orders: db-b is excluded until"), "{}", run.out);
    let exclusion = world.lease().excluded.expect("the lease says so");
    assert_eq!((exclusion.node, exclusion.why.as_str()), (arn('b'), "disk"));
    assert_eq!(world.lease().intent, None);
    let shown = world.run("status");
    assert!(shown.out.contains("db-b until"), "{}", shown.out);
    let refused = world.run("switchover --to db-b --yes");
    assert_eq!(refused.exit, Exit::Refused, "{}", refused.err);
    assert!(refused.err.contains("db-b cannot take over: it is excluded until"), "{}", refused.err);
    let replaced = world.run("exclude --node db-c");
    assert!(replaced.out.contains("This replaces the exclusion of db-b"), "{}", replaced.out);
    let run = world.run("include");
    assert!(run.out.starts_with("Cluster orders: db-c is included"), "{}", run.out);
    assert_eq!(world.lease().excluded, None);
    let again = world.run("include");
    assert_eq!(
        (again.exit, again.out.as_str()),
        (Exit::Done, "Cluster orders: no node is excluded, nothing to do\n")
    );
    assert_eq!(world.requests().len(), 3);
}

#[test]
fn a_holder_is_drained_and_not_excluded_and_a_drain_can_be_taken_back() {
    let world = World::new();
    let refused = world.run("exclude --node db-a");
    assert_eq!(refused.exit, Exit::Refused, "{}", refused.err);
    assert!(refused.err.contains("use `baton drain`"), "{}", refused.err);
    assert_eq!(world.requests(), []);
    let run = world.run("drain --node db-a --for 4h --reason disk --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    let asked = world.requests().remove(0);
    let wish = Wish::Exclude {
        node: arn('a'),
        why: "disk".to_owned(),
        hand_over: true,
        replaces: None,
        withdraws: false,
    };
    assert_eq!((asked.wish, asked.epoch), (wish, Epoch(1)));
    let lease = world.lease();
    let intent = lease.intent.expect("it is asked to hand over");
    assert_eq!((intent.to, intent.until.0), (None, asked.at.0 + 600_000));
    assert_eq!(lease.excluded.expect("and excluded").until.0, asked.at.0 + 4 * 3_600_000);
    assert_eq!(world.run("include").exit, Exit::Done);
    assert_eq!((world.lease().excluded, world.lease().intent), (None, None));
}

#[test]
fn an_include_takes_back_no_other_wish() {
    let world = World::new();
    assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
    assert_eq!(world.run("switchover --to db-b --yes").exit, Exit::Done);
    assert_eq!(world.run("include").exit, Exit::Done);
    assert_eq!(world.lease().excluded, None);
    assert!(world.lease().intent.is_some(), "the switchover stands");
}

#[test]
fn a_drain_is_refused_where_nobody_else_could_serve_and_of_a_standby_it_is_an_exclusion() {
    let world = World::new();
    assert_eq!(world.run("drain --node db-c").exit, Exit::Done);
    assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('c')));
    assert_eq!(world.lease().intent, None);
    let store = &world.store.record;
    crate::testing::world::beat_with(
        store,
        'b',
        baton_protocol::heartbeat::Health::Bad,
        None,
        crate::testing::before(900),
    );
    let refused = world.run("drain --node db-a --yes");
    assert_eq!(refused.exit, Exit::Refused, "{}", refused.err);
    assert!(refused.err.contains("db-c: it is excluded until"), "{}", refused.err);
    let missing = world.run("exclude --node db-x");
    assert_eq!(missing.exit, Exit::Missing, "{}", missing.err);
}

/// Bob excludes db-c, in the place of whatever stands.
fn bob_excludes(store: &MemoryStore) {
    excludes(store, 'c', "bob-1");
}

/// Bob excludes a node by a request of this id.
fn excludes(store: &MemoryStore, letter: char, id: &str) {
    let lease = ready(store.lease(&name("orders"))).expect("reads").expect("registered");
    let replaces = lease.excluded.map(|exclusion| exclusion.request);
    let wish = Wish::Exclude {
        node: arn(letter),
        why: "memory".to_owned(),
        hand_over: false,
        replaces,
        withdraws: false,
    };
    bob_asks(store, id, wish);
}

/// Bob ends the exclusion that stands.
fn includes(store: &MemoryStore, id: &str) {
    let lease = ready(store.lease(&name("orders"))).expect("reads").expect("registered");
    let exclusion = lease.excluded.expect("a node is excluded").request;
    bob_asks(store, id, Wish::Include { exclusion, withdraws: false });
}

/// Bob asks that the lease go elsewhere.
fn switches_over(store: &MemoryStore) {
    bob_asks(store, "bob-1", Wish::Switchover { to: None, why: String::new() });
}

fn bob_asks(store: &MemoryStore, id: &str, wish: Wish) {
    let lease = ready(store.lease(&name("orders"))).expect("reads").expect("registered");
    let request = Request {
        id: name(id),
        wish,
        by: "bob".to_owned(),
        epoch: lease.epoch,
        ..crate::testing::request(None)
    };
    ready(store.ask(&request)).expect("asked");
}

/// Whom the newest request excludes, and in whose place it is put.
fn newest(world: &World) -> (InstanceArn, Option<RequestId>) {
    match world.requests().into_iter().find(|request| request.by != "bob").map(|request| request.wish) {
        Some(Wish::Exclude { node, replaces, .. }) => (node, replaces),
        other => panic!("expected an exclusion, found {other:?}"),
    }
}

#[test]
fn an_exclusion_replaces_none_that_came_meanwhile_but_names_it() {
    for seen in [None, Some("bob-0")] {
        let world = World::new();
        if let Some(seen) = seen {
            excludes(&world.store.record, 'b', seen);
        }
        world.store.gate.meanwhile(Method::Ask, 0, bob_excludes);
        let run = world.run("exclude --node db-b");
        assert_eq!((run.exit, run.out.as_str()), (Exit::Lost, ""), "{}", run.err);
        let told = "nothing was changed: bob excluded db-c meanwhile, until 2026-09-21T14:15:20Z: memory";
        assert!(run.err.contains(told), "{}", run.err);
        assert!(run.err.contains("run it again if it is to take that one's place"), "{}", run.err);
        assert_eq!(world.lease().excluded.map(|exclusion| exclusion.request), Some(name("bob-1")));
        // Now it has been seen.
        let run = world.run("exclude --node db-b");
        assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
        assert!(run.out.contains("This replaces the exclusion of db-c until"), "{}", run.out);
        assert!(run.out.contains("by bob: memory"), "{}", run.out);
        assert_eq!(newest(&world), (arn('b'), Some(name("bob-1"))));
        assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('b')));
    }
}

#[test]
fn an_exclusion_that_is_ended_by_another_meanwhile_need_not_be_replaced() {
    let world = World::new();
    bob_excludes(&world.store.record);
    world.store.gate.meanwhile(Method::Ask, 0, |store| includes(store, "bob-2"));
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
    assert!(!run.out.contains("replaces"), "{}", run.out);
    assert_eq!(newest(&world), (arn('b'), None));
}

#[test]
fn an_exclusion_that_others_keep_coming_before_is_given_up_and_theirs_stands() {
    let world = World::new();
    for (call, id) in ["bob-1", "bob-2", "bob-3", "bob-4"].into_iter().enumerate() {
        world.store.gate.meanwhile(Method::Ask, call, move |store| excludes(store, 'c', id));
    }
    for (call, id) in ["bob-5", "bob-6", "bob-7"].into_iter().enumerate() {
        world.store.gate.meanwhile(Method::Lease, call + 1, move |store| includes(store, id));
    }
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Lost, "{}{}", run.out, run.err);
    assert!(
        run.err.contains("another request excluded a node or ended the exclusion meanwhile"),
        "{}",
        run.err
    );
    assert_eq!(world.lease().excluded.map(|exclusion| exclusion.request), Some(name("bob-4")));
}

#[test]
fn an_exclusion_in_the_place_of_a_drain_takes_its_hand_over_back() {
    let told = "The hand-over that came with it, which has not been obeyed yet, is taken back too\n";
    for command in ["exclude", "drain"] {
        let world = World::new();
        assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
        assert!(world.lease().intent.is_some());
        let run = world.run(&format!("{command} --node db-b"));
        assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
        assert!(run.out.contains("This replaces the exclusion of db-a until"), "{}", run.out);
        assert!(run.out.contains(told), "{}", run.out);
        let lease = world.lease();
        assert_eq!((lease.excluded.map(|exclusion| exclusion.node), lease.intent), (Some(arn('b')), None));
        let again = world.run("exclude --node db-c");
        assert!(again.out.contains("This replaces") && !again.out.contains(told), "{}", again.out);
    }
    for (drained, withdrawn) in [(true, "true"), (false, "false")] {
        let world = World::new();
        if drained {
            assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
        }
        let run = world.run("exclude --node db-b --format json");
        assert!(run.out.contains(&format!("\"hand_over_withdrawn\":{withdrawn}")), "{}", run.out);
    }
    // Its time was up: there is nothing to be taken back, and nothing of it is left.
    let world = World::new();
    assert_eq!(world.run("drain --node db-a --for 4h --yes").exit, Exit::Done);
    world.set_now(WallTime(NOW.0 + 700_000));
    let run = world.run("exclude --node db-b");
    assert!(run.out.contains("This replaces") && !run.out.contains(told), "{}", run.out);
    assert_eq!(world.lease().intent, None);
}

#[test]
fn an_exclusion_in_the_place_of_a_drain_takes_no_other_wish_back() {
    // Before it is read, and between that and the writing.
    for meanwhile in [false, true] {
        let world = World::new();
        assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
        if meanwhile {
            world.store.gate.meanwhile(Method::Ask, 0, switches_over);
        } else {
            switches_over(&world.store.record);
        }
        let run = world.run("exclude --node db-b");
        assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
        assert!(run.out.contains("This replaces") && !run.out.contains("taken back"), "{}", run.out);
        assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('b')));
        let intent = world.lease().intent.expect("bob's switchover stands");
        assert_eq!(intent.request, Some(name("bob-1")));
    }
}

#[test]
fn a_drain_that_is_obeyed_meanwhile_is_not_taken_back() {
    let world = World::new();
    assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
    let drain = world.requests().remove(0).id;
    let obeyed = drain.clone();
    world.set_now(WallTime(NOW.0 + 1_000));
    world.store.gate.meanwhile(Method::Ask, 0, move |store| {
        release(store, 'a', Epoch(1));
        grant(store, 'b', Ground::Release, Some(obeyed.clone()), before(800));
    });
    let run = world.run("exclude --node db-c");
    assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
    assert!(run.out.contains("This replaces") && !run.out.contains("taken back"), "{}", run.out);
    assert_eq!(newest(&world), (arn('c'), Some(drain)));
}

#[test]
fn a_drain_in_the_place_of_a_drain_asks_for_its_own_hand_over() {
    let world = World::new();
    assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
    world.set_now(WallTime(NOW.0 + 1_000));
    assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
    let asked = world.requests().remove(0).id;
    let lease = world.lease();
    assert_eq!(lease.intent.and_then(|intent| intent.request), Some(asked.clone()));
    assert_eq!(lease.excluded.map(|exclusion| exclusion.request), Some(asked));
}

#[test]
fn an_exclusion_that_has_ended_is_replaced_without_a_word() {
    let world = World::new();
    bob_excludes(&world.store.record);
    world.set_now(WallTime(NOW.0 + 120_000));
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
    assert!(!run.out.contains("replaces"), "{}", run.out);
    assert_eq!(newest(&world), (arn('b'), Some(name("bob-1"))));
}

#[test]
fn a_node_that_holds_the_lease_by_the_time_it_is_excluded_has_not_handed_over() {
    let world = World::new();
    world.store.gate.meanwhile(Method::Ask, 0, |store| grant(store, 'b', Ground::Gone, None, before(800)));
    let run = world.run("exclude --node db-b");
    assert_eq!((run.exit, run.out.as_str()), (Exit::Lost, ""), "{}", run.err);
    assert!(run.err.contains("db-b is excluded, but holds the lease of `orders` by now"), "{}", run.err);
    assert!(run.err.contains("`baton drain orders --node db-b`"), "{}", run.err);
    assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('b')));
    // What is advised takes the place of what was done.
    beat(&world.store.record, 'b', Some(Epoch(2)), before(700));
    let drained = world.run("drain orders --node db-b --yes");
    assert_eq!(drained.exit, Exit::Done, "{}{}", drained.out, drained.err);
    assert!(world.lease().intent.is_some());
}

#[test]
fn a_drain_says_whose_exclusion_it_replaces_before_it_does() {
    let mut world = World::new();
    bob_excludes(&world.store.record);
    world.look = TERMINAL;
    let asked = world.answering("drain --node db-a", "n\n");
    assert_eq!(asked.exit, Exit::Refused, "{}", asked.err);
    assert!(asked.err.contains("This replaces the exclusion of db-c until"), "{}", asked.err);
    assert!(asked.err.contains("by bob: memory"), "{}", asked.err);
    assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('c')));
    world.look = PIPE;
    let run = world.run("drain --node db-a --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.err.contains("note: this replaces the exclusion of db-c until"), "{}", run.err);
    assert_eq!(newest(&world), (arn('a'), Some(name("bob-1"))));
}

#[test]
fn a_drain_replaces_no_exclusion_that_came_after_its_question() {
    // Before the second reading, and between that and the writing.
    for (call, count) in [(Method::Lease, 2), (Method::Ask, 0)] {
        let world = World::new();
        world.store.gate.meanwhile(call, count, bob_excludes);
        let run = world.run("drain --node db-a --yes");
        assert_eq!(run.exit, Exit::Lost, "{call:?}: {}{}", run.out, run.err);
        assert!(run.err.contains("another request excluded a node or ended the exclusion"), "{}", run.err);
        assert_eq!(world.lease().excluded.map(|exclusion| exclusion.request), Some(name("bob-1")));
        assert_eq!(world.lease().intent, None);
    }
}

#[test]
fn another_operator_s_exclusion_is_not_reported_as_one_s_own() {
    let world = World::new();
    world.store.gate.meanwhile(Method::Lease, 1, bob_excludes);
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Lost, "{}{}", run.out, run.err);
    assert!(run.err.contains("another request ended or replaced the exclusion of db-b"), "{}", run.err);
}

#[test]
fn an_include_ends_what_stands_by_then_and_says_which() {
    let world = World::new();
    assert_eq!(world.run("exclude --node db-b").exit, Exit::Done);
    world.store.gate.meanwhile(Method::Ask, 0, bob_excludes);
    let run = world.run("include");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.out.starts_with("Cluster orders: db-c is included"), "{}", run.out);
    assert_eq!(world.lease().excluded, None);
}

#[test]
fn an_include_removes_no_wish_that_was_written_meanwhile() {
    let world = World::new();
    assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
    world.store.gate.meanwhile(Method::Ask, 0, |store| {
        let request = Request { id: name("bob-1"), by: "bob".to_owned(), ..crate::testing::request(None) };
        ready(store.ask(&request)).expect("asked");
    });
    assert_eq!(world.run("include").exit, Exit::Done);
    assert_eq!(world.lease().excluded, None);
    let intent = world.lease().intent.expect("bob's switchover stands");
    assert_eq!(intent.request, Some(name("bob-1")));
}

#[test]
fn a_drain_asks_nobody_but_the_node_that_was_named() {
    let world = World::new();
    world.store.gate.meanwhile(Method::Lease, 1, |store| grant(store, 'b', Ground::Gone, None, before(800)));
    let run = world.run("drain --node db-a --yes");
    assert_eq!(run.exit, Exit::Lost, "{}{}", run.out, run.err);
    assert!(run.err.contains("db-b holds the lease of `orders` by now"), "{}", run.err);
    assert_eq!(world.requests(), []);
}

#[test]
fn a_drain_that_nobody_obeys_is_waited_for_until_its_hand_over_ends() {
    let world = World::new();
    for (letter, minute) in
        ['a', 'b'].into_iter().flat_map(|letter| (1..11).map(move |minute| (letter, minute)))
    {
        let epoch = (letter == 'a').then_some(Epoch(1));
        world.after(minute * 60_000, move |store, at| beat(store, letter, epoch, at));
    }
    let run = world.run("drain --node db-a --for 4h --yes --wait=30m");
    assert_eq!(run.exit, Exit::Refused, "{}{}", run.out, run.err);
    assert!(run.err.contains("and the holder had not obeyed it"), "{}", run.err);
}
