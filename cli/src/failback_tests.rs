//! `baton failback` as an operator types it.

use baton_protocol::history::{Ground, Happening};
use baton_protocol::ids::Epoch;
use baton_protocol::request::Wish;
use baton_store::Store;

use crate::exit::Exit;
use crate::testing::world::{World, beat, event, grant, moved, ready, release};
use crate::testing::{NOW, arn, before};

#[test]
fn a_failback_asks_for_the_preferred_node_and_for_nothing_where_it_holds() {
    let world = World::new();
    let run = world.run("failback --yes");
    assert_eq!(
        (run.exit, run.err.as_str()),
        (Exit::Done, "db-a holds the lease of `orders` already; nothing to do\n")
    );
    assert_eq!(world.requests(), []);
    // After a failover to the second node.
    let store = &world.store.record;
    release(store, 'a', Epoch(1));
    beat(store, 'a', None, before(900));
    grant(store, 'b', Ground::Release, None, before(5_000));
    moved(store, before(4_000));
    beat(store, 'b', Some(Epoch(2)), before(900));
    let run = world.run("failback --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    let asked = world.requests().remove(0);
    assert_eq!(asked.wish, Wish::Switchover { to: Some(arn('a')), why: "failback".to_owned() });
    assert_eq!(asked.epoch, Epoch(2));
}

#[test]
fn a_failback_is_refused_where_no_node_is_preferred_or_the_preferred_one_is_unwell() {
    let world = World::new();
    let store = &world.store.record;
    release(store, 'a', Epoch(1));
    grant(store, 'b', Ground::Release, None, before(5_000));
    beat(store, 'b', Some(Epoch(2)), before(900));
    beat(store, 'a', None, before(600_000));
    let refused = world.run("failback --yes");
    assert_eq!(refused.exit, Exit::Refused, "{}", refused.err);
    assert!(refused.err.contains("db-a"), "{}", refused.err);
    let lease = world.lease();
    let mut same = lease.members.clone();
    same[1].priority = same[0].priority;
    let what = Happening::Registered { revision: 2, summary: "priorities".to_owned() };
    let registration = baton_store::Registration {
        cluster: lease.cluster.clone(),
        uid: lease.uid.clone(),
        mode: lease.mode,
        takeover: lease.takeover,
        cool_down_ms: lease.cool_down_ms,
        fencing: lease.fencing,
        failback: lease.failback,
        timing: lease.timing,
        members: same,
        resources: lease.resources.clone(),
        roster: None,
        made_from: None,
        at: NOW,
        event: event("orders", lease.epoch, "registrar", what, NOW),
    };
    ready(store.reconfigure(&registration, lease.holder.as_ref())).expect("reconfigured");
    let refused = world.run("failback --yes");
    assert_eq!(refused.exit, Exit::Refused);
    assert!(refused.err.contains("prefers no node"), "{}", refused.err);
    assert!(refused.err.contains("db-a") && refused.err.contains("db-b"), "{}", refused.err);
    assert_eq!(world.requests(), []);
}

#[test]
fn a_failback_that_the_arbiter_has_asked_for_is_shown_with_its_reason() {
    let world = World::new();
    let store = &world.store.record;
    release(store, 'a', Epoch(1));
    grant(store, 'b', Ground::Release, None, before(5_000));
    let why = "failback to db-a, which is preferred to db-b and has been healthy for 600 s";
    let request = baton_protocol::request::Request {
        cluster: world.lease().cluster,
        id: baton_protocol::failback::request_id(Epoch(2), before(1_000)),
        wish: Wish::Failback { to: arn('a'), why: why.to_owned() },
        by: "arbiter".to_owned(),
        at: before(1_000),
        until: baton_protocol::time::WallTime(NOW.0 + 59_000),
        epoch: Epoch(2),
        answer: None,
    };
    ready(store.ask(&request)).expect("asked");
    let history = world.run("history --format json");
    assert_eq!(history.exit, Exit::Done, "{}", history.err);
    assert!(history.out.contains("\"failback\"") && history.out.contains(why), "{}", history.out);
    let status = world.run("status");
    assert!(status.out.contains(why), "{}", status.out);
}

#[test]
fn a_move_that_an_automatic_failback_will_undo_says_so_before_and_after() {
    let world = World::new();
    let lease = world.lease();
    let failback = baton_protocol::failback::Failback::Automatic { hold_ms: 600_000, window: None };
    let what = Happening::Registered { revision: 2, summary: "failback".to_owned() };
    let event = event("orders", lease.epoch, "registrar", what, before(1));
    let registration =
        baton_store::Registration { failback, ..baton_store::Registration::of(&lease, NOW, event) };
    ready(world.store.record.reconfigure(&registration, lease.holder.as_ref())).expect("changed");
    let told = "automatic failback is on: the lease goes back to db-a once that has been healthy for 10m; to keep it, \
                pause the cluster or exclude db-a";
    for command in ["switchover --yes", "switchover --to db-b --yes"] {
        let run = world.run(command);
        assert_eq!(run.exit, Exit::Done, "{}", run.err);
        assert!(run.err.contains(&format!("note: {told}")), "{}", run.err);
    }
    let drained = world.run("drain --node db-a --reason kernel --for 1h --yes");
    assert!(!drained.err.contains("automatic failback"), "{}", drained.err);
}
