//! `baton exclude`, `baton drain` and `baton include` as an operator types them.

use baton_protocol::history::Ground;
use baton_protocol::ids::Epoch;
use baton_protocol::request::{Request, Wish};
use baton_store::{MemoryStore, Store};

use crate::exit::Exit;
use crate::testing::world::{World, beat, grant, ready};
use crate::testing::{arn, before, name};

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
    let wish = Wish::Exclude { node: arn('a'), why: "disk".to_owned(), hand_over: true };
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
    let wish = Wish::Exclude { node: arn('c'), why: "memory".to_owned(), hand_over: false };
    let request = Request { id: name("bob-1"), wish, by: "bob".to_owned(), ..crate::testing::request(None) };
    ready(store.ask(&request)).expect("asked");
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
