//! `baton exclude`, `baton drain` and `baton include` as an operator types them.

use baton_protocol::history::Ground;
use baton_protocol::ids::{Epoch, InstanceArn, RequestId};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::{MemoryStore, Store};

use crate::exit::Exit;
use crate::testing::world::{World, beat, grant, ready};
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
    let wish = Wish::Exclude { node: arn('a'), why: "disk".to_owned(), hand_over: true, replaces: None };
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
    let store = &world.store.inner;
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
    let wish = Wish::Exclude { node: arn(letter), why: "memory".to_owned(), hand_over: false, replaces };
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
fn an_exclusion_names_what_it_replaced_in_the_end() {
    let world = World::new();
    world.store.meanwhile("ask", 0, bob_excludes);
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
    assert!(run.out.contains("This replaces the exclusion of db-c until"), "{}", run.out);
    assert!(run.out.contains("by bob: memory"), "{}", run.out);
    assert_eq!(newest(&world), (arn('b'), Some(name("bob-1"))));
    assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('b')));
}

#[test]
fn an_exclusion_that_others_keep_changing_is_given_up_and_theirs_stands() {
    let world = World::new();
    for (call, id) in ["bob-1", "bob-2", "bob-3", "bob-4"].into_iter().enumerate() {
        world.store.meanwhile("ask", call, move |store| excludes(store, 'c', id));
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
fn an_exclusion_that_has_ended_is_replaced_without_a_word() {
    let world = World::new();
    bob_excludes(&world.store.inner);
    world.set_now(WallTime(NOW.0 + 120_000));
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Done, "{}{}", run.out, run.err);
    assert!(!run.out.contains("replaces"), "{}", run.out);
    assert_eq!(newest(&world), (arn('b'), Some(name("bob-1"))));
}

#[test]
fn a_node_that_holds_the_lease_by_the_time_it_is_excluded_has_not_handed_over() {
    let world = World::new();
    world.store.meanwhile("ask", 0, |store| grant(store, 'b', Ground::Gone, None, before(800)));
    let run = world.run("exclude --node db-b");
    assert_eq!((run.exit, run.out.as_str()), (Exit::Lost, ""), "{}", run.err);
    assert!(run.err.contains("db-b is excluded, but holds the lease of `orders` by now"), "{}", run.err);
    assert!(run.err.contains("`baton drain orders --node db-b`"), "{}", run.err);
    assert_eq!(world.lease().excluded.map(|exclusion| exclusion.node), Some(arn('b')));
    // What is advised takes the place of what was done.
    beat(&world.store.inner, 'b', Some(Epoch(2)), before(700));
    let drained = world.run("drain orders --node db-b --yes");
    assert_eq!(drained.exit, Exit::Done, "{}{}", drained.out, drained.err);
    assert!(world.lease().intent.is_some());
}

#[test]
fn a_drain_says_whose_exclusion_it_replaces_before_it_does() {
    let mut world = World::new();
    bob_excludes(&world.store.inner);
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
    for (call, count) in [("lease", 2), ("ask", 0)] {
        let world = World::new();
        world.store.meanwhile(call, count, bob_excludes);
        let run = world.run("drain --node db-a --yes");
        assert_eq!(run.exit, Exit::Lost, "{call}: {}{}", run.out, run.err);
        assert!(run.err.contains("another request excluded a node or ended the exclusion"), "{}", run.err);
        assert_eq!(world.lease().excluded.map(|exclusion| exclusion.request), Some(name("bob-1")));
        assert_eq!(world.lease().intent, None);
    }
}

#[test]
fn another_operator_s_exclusion_is_not_reported_as_one_s_own() {
    let world = World::new();
    world.store.meanwhile("lease", 1, bob_excludes);
    let run = world.run("exclude --node db-b");
    assert_eq!(run.exit, Exit::Lost, "{}{}", run.out, run.err);
    assert!(run.err.contains("another request ended or replaced the exclusion of db-b"), "{}", run.err);
}

#[test]
fn an_include_ends_what_stands_by_then_and_says_which() {
    let world = World::new();
    assert_eq!(world.run("exclude --node db-b").exit, Exit::Done);
    world.store.meanwhile("ask", 0, bob_excludes);
    let run = world.run("include");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.out.starts_with("Cluster orders: db-c is included"), "{}", run.out);
    assert_eq!(world.lease().excluded, None);
}

#[test]
fn an_include_removes_no_wish_that_was_written_meanwhile() {
    let world = World::new();
    assert_eq!(world.run("drain --node db-a --yes").exit, Exit::Done);
    world.store.meanwhile("ask", 0, |store| {
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
    world.store.meanwhile("lease", 1, |store| grant(store, 'b', Ground::Gone, None, before(800)));
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
