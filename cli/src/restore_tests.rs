//! `baton restore` as an operator types it.

use baton_protocol::ids::Epoch;
use baton_protocol::request::Wish;
use baton_protocol::restored::{self, Restoration, Signs};
use baton_protocol::time::WallTime;
use baton_store::{MemoryStore, Store};

use crate::exit::Exit;
use crate::testing::world::{World, ready};
use crate::testing::{PIPE, TERMINAL, lease, name};

fn answers(store: &MemoryStore, answer: &str) {
    let cluster = name("orders");
    let asked = ready(store.requests(&cluster, 1)).expect("reads").remove(0);
    ready(store.answer(&cluster, &asked.id, answer)).expect("answered");
}

/// What the arbiter writes down while it cannot obey.
fn is_in_the_way(store: &MemoryStore, at: WallTime, why: &str) {
    let cluster = name("orders");
    let asked = ready(store.requests(&cluster, 1)).expect("reads").remove(0);
    let (resource, why) = (restored::RESOURCE.to_owned(), restored::not_yet(&asked.id, why));
    let what = baton_protocol::history::Happening::Stuck { resource, why };
    let event =
        baton_protocol::history::Event { cluster, epoch: Epoch(1), at, by: "arbiter".to_owned(), what };
    ready(store.append(&event)).expect("written");
}

/// What the arbiter does once every node was silent for long enough.
fn restores(store: &MemoryStore) {
    let found = ready(store.lease(&name("orders"))).expect("reads").expect("there");
    let request = ready(store.requests(&found.cluster, 1)).expect("reads").remove(0);
    let members: Vec<_> = found.members.iter().map(|member| member.instance.clone()).collect();
    let heartbeats = ready(store.heartbeats(&found.cluster, &members)).expect("reads");
    let sign = |(node, of): (&_, &baton_protocol::heartbeat::Heartbeat)| {
        (Clone::clone(node), (of.incarnation.clone(), of.seq))
    };
    let signs: Signs = heartbeats.iter().map(sign).collect();
    let raised = Epoch(found.epoch.0 + 7);
    let what = baton_protocol::history::Happening::Restored {
        from: found.epoch,
        holder: found.holder.clone(),
        asked: request.by,
        why: "a test".to_owned(),
        request: request.id,
    };
    let event = baton_protocol::history::Event {
        cluster: found.cluster.clone(),
        epoch: raised,
        at: request.at,
        by: "arbiter 1".to_owned(),
        what,
    };
    let restoration = Restoration {
        cluster: found.cluster,
        uid: found.uid,
        revision: found.revision,
        epoch: found.epoch,
        holder: found.holder,
        raised,
        absent: members.into_iter().filter(|member| !signs.contains_key(member)).collect(),
        signs,
        event,
    };
    let done = ready(store.restore(&restoration)).expect("reads");
    assert_eq!(done, baton_protocol::grant::Committed::Granted);
}

#[test]
fn it_is_asked_for_and_the_lease_carries_it() {
    let world = World::new();
    let run = world.run("restore --reason rewound --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.out.starts_with("Cluster orders: its lease is to begin anew"), "{}", run.out);
    let asked = world.requests().remove(0);
    assert!(matches!(&asked.wish, Wish::Restore { uid, .. } if *uid == lease().uid), "{:?}", asked.wish);
    let word = world.lease().restore.expect("the lease carries it");
    assert_eq!((word.epoch, word.request), (Epoch(1), asked.id));
    assert_eq!((word.until.0, word.by.as_str()), (asked.at.0 + 300_000, "alice@ops-1"));
    let shown = world.run("history");
    assert!(shown.out.contains("restore"), "{}", shown.out);
    // Asked again, it stands anew.
    let second = world.run("restore --yes");
    assert_eq!(second.exit, Exit::Done, "{}", second.err);
    assert_eq!(world.lease().restore.expect("carried").why, "");
    assert_eq!(world.requests().len(), 2);
}

#[test]
fn it_needs_a_clear_yes_and_says_that_the_agents_are_to_be_stopped() {
    let mut world = World::new();
    world.look = TERMINAL;
    let run = world.answering("restore", "n\n");
    assert_eq!(run.exit, Exit::Refused);
    for part in ["epoch 1 of `orders`, held by db-a", "every agent has to be stopped"] {
        assert!(run.err.contains(part), "{}", run.err);
    }
    assert_eq!((world.requests(), world.lease().restore), (Vec::new(), None));
    world.look = PIPE;
    assert_eq!(world.run("restore").exit, Exit::Usage);
}

#[test]
fn a_wait_ends_with_the_epoch_or_says_what_is_in_the_way() {
    let world = World::new();
    world.after(5_000, |store, _| restores(store));
    let run = world.run("restore --wait --yes --format json");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    let text: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((text["outcome"].as_str(), text["from"].as_u64()), (Some("restored"), Some(1)));
    assert_eq!((text["epoch"].as_u64(), world.lease().holder), (Some(8), None));
    let shown = world.run("history");
    assert!(shown.out.contains("begun anew after epoch 1, held by db-a"), "{}", shown.out);

    let world = World::new();
    world.after(5_000, |store, at| is_in_the_way(store, at, "db-b still beats: stop its agent"));
    let run = world.run("restore --wait=10s --yes");
    assert_eq!(run.exit, Exit::Waiting, "{}", run.err);
    assert!(
        run.out.contains("not yet: db-b still beats: stop its agent; the request stands until"),
        "{}",
        run.out
    );
    assert_eq!(world.requests().remove(0).answer, None, "it may still be restored");
    assert_eq!(world.lease().holder, lease().holder);
    // Of another request it says nothing.
    let run = world.run("restore --wait=2s --yes --format json");
    let text: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((text["outcome"].as_str(), text["answer"].as_str()), (Some("waiting"), None));
}

#[test]
fn a_wait_ends_with_an_answer_since_there_is_no_other() {
    for (format, parts) in
        [("table", ["Cluster orders: refused", "db-b"]), ("json", ["unobeyed", "refused: db-b"])]
    {
        let world = World::new();
        world.after(5_000, |store, _| answers(store, "refused: db-b speaks of epoch 9"));
        let run = world.run(&format!("restore --wait=100s --yes --format {format}"));
        assert_eq!(run.exit, Exit::Refused, "{}", run.err);
        assert!(parts.iter().all(|part| run.out.contains(part)), "{}", run.out);
        assert!(!run.out.contains("stands until"), "{}", run.out);
    }
}
