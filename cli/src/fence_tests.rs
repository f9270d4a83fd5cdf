//! `baton fence` as an operator types it.

use baton_doubles::Method;
use baton_protocol::ids::Epoch;
use baton_protocol::request::{Request, Wish};
use baton_store::{MemoryStore, Store};

use crate::exit::Exit;
use crate::testing::world::{World, beat_with, ready};
use crate::testing::{PIPE, TERMINAL, arn, before, lease, name};

/// The arbiter answers the newest request.
fn answers(store: &MemoryStore, answer: &str) {
    let cluster = name("orders");
    let asked = ready(store.requests(&cluster, 1)).expect("reads").remove(0);
    ready(store.answer(&cluster, &asked.id, answer)).expect("answered");
    ready(store.end_fence(&cluster, &asked.id)).expect("ended");
}

#[test]
fn a_standby_is_asked_to_be_stopped_and_the_lease_carries_it() {
    let world = World::new();
    let run = world.run("fence db-b --reason hangs --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.out.starts_with("Cluster orders: db-b is to be stopped"), "{}", run.out);
    let asked = world.requests().remove(0);
    assert_eq!(asked.wish, Wish::Fence { node: arn('b'), uid: lease().uid, why: "hangs".to_owned() });
    let word = world.lease().fence.expect("the lease carries it");
    assert_eq!((word.node, word.epoch, word.request), (arn('b'), Epoch(1), asked.id));
    assert_eq!((word.until.0, word.by.as_str()), (asked.at.0 + 300_000, "alice@ops-1"));
    let shown = world.run("history");
    assert!(shown.out.contains("fence of db-b by alice@ops-1"), "{}", shown.out);
    let second = world.run("fence db-c --yes");
    assert_eq!(second.exit, Exit::Refused, "{}", second.err);
    assert!(second.err.contains("alice@ops-1 has asked that db-b be stopped"), "{}", second.err);
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn of_two_operators_at_once_the_second_is_told_that_another_came_first() {
    let world = World::new();
    world.store.gate.meanwhile(Method::Ask, 0, |store| {
        let wish = Wish::Fence { node: arn('c'), uid: lease().uid, why: String::new() };
        let by_bob =
            Request { id: name("bob-1"), wish, by: "bob".to_owned(), ..crate::testing::request(None) };
        ready(store.ask(&Request { epoch: Epoch(1), ..by_bob })).expect("asked");
    });
    let run = world.run("fence db-b --yes");
    assert_eq!(run.exit, Exit::Lost, "{}", run.err);
    assert!(run.err.contains("another request that a node be stopped came first"), "{}", run.err);
    assert_eq!(world.lease().fence.expect("bob's").node, arn('c'));
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn it_needs_a_clear_yes_and_says_what_follows_for_the_holder() {
    let mut world = World::new();
    world.look = TERMINAL;
    let run = world.answering("fence db-a", "n\n");
    assert_eq!(run.exit, Exit::Refused);
    for part in
        ["db-a holds the lease of `orders`", "down until a standby has seen its silence", "baton switchover"]
    {
        assert!(run.err.contains(part), "{}", run.err);
    }
    let run = world.answering("fence db-b", "\n");
    assert!(run.err.contains("EC2 stops db-b (i-bbbbbbbbbbbbbbbbb) at once"), "{}", run.err);
    assert!(!run.err.contains("holds the lease"), "{}", run.err);
    for letter in ['b', 'c'] {
        beat_with(&world.store.record, letter, baton_protocol::heartbeat::Health::Bad, None, before(900));
    }
    let run = world.answering("fence db-a", "n\n");
    assert!(run.err.contains("no standby could take over now"), "{}", run.err);
    assert_eq!((world.requests(), world.lease().fence), (Vec::new(), None));
    world.look = PIPE;
    assert_eq!(world.run("fence db-a").exit, Exit::Usage);
    assert_eq!(world.run("fence db-x --yes").exit, Exit::Missing);
}

#[test]
fn a_wait_ends_with_the_answer_or_without_one() {
    for (said, exit, outcome) in [
        ("EC2 says `stopped`", Exit::Done, "fenced"),
        ("failed: StopInstances: denied: no; set `AllowFencing`", Exit::Refused, "failed"),
        ("refused: it is no member of the cluster", Exit::Refused, "failed"),
    ] {
        let world = World::new();
        world.after(5_000, move |store, _| answers(store, said));
        let run = world.run("fence db-b --wait --yes --format json");
        assert_eq!(run.exit, exit, "{}", run.err);
        let text: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
        assert_eq!((text["outcome"].as_str(), text["answer"].as_str()), (Some(outcome), Some(said)));
        assert_eq!((text["node"].as_str(), text["holder"].as_bool()), (Some("db-b"), Some(false)));
    }
    let world = World::new();
    let run = world.run("fence db-b --wait=10s --yes");
    assert_eq!(run.exit, Exit::Waiting, "{}", run.err);
    assert!(run.out.contains("What becomes of it is in `baton history orders`"), "{}", run.out);
}
