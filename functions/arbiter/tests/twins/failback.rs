//! A failback that happens by itself: asked for once, in order, and only where nothing is in doubt.

use baton_protocol::failback::Failback;
use baton_protocol::heartbeat::{Beat, Health};
use baton_protocol::hook::Hook;
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::{Registration, Store};

use crate::world::{World, cluster, incarnation};

/// Node 1 holds the lease at epoch 2, and has for a while by the clock of whoever looks: nothing was held for.
async fn away(failback: Failback) -> World {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    let registration = Registration { failback, ..world.registration() };
    let holder = world.nodes[0].arn.clone();
    world.parts.store.reconfigure(&registration, Some(&holder)).await.expect("changed");
    world.parts.store.release(&cluster(), &holder, &incarnation(), Epoch(1)).await.expect("released");
    world.beat(&[1, 2], None).await;
    world.wake().await;
    world.assert_whole_at(1, 2).await;
    world
}

/// A heartbeat of each node, healthy for so long.
async fn well(world: &World, seq: u64, seconds: u64) {
    for n in 0..3 {
        let beat_at = world.parts.now().wall;
        let beat = Beat {
            incarnation: incarnation(),
            seq: Seq(seq),
            health: Health::Ok,
            healthy_since: Some(WallTime(beat_at.0 - 1_000 * seconds)),
            claim: None,
            serving_epoch: (n == 1).then_some(Epoch(2)),
            findings: None,
            serving_since: None,
            ahead: None,
            validity_ms: 4_000,
            seen: Vec::new(),
            beat_at,
        };
        world.parts.store.beat(&cluster(), &world.nodes[n].arn, &beat).await.expect("beaten");
    }
}

/// No hold at all, which no registrar accepts: the store does not care.
const AT_ONCE: Failback = Failback::Automatic { hold_ms: 0, window: None };

async fn asked(world: &World) -> Vec<Request> {
    world.parts.store.requests(&cluster(), 10).await.expect("read")
}

async fn sweep_wakes(world: &World) {
    world.wake_for("baton.control-plane", "failback").await;
}

#[tokio::test]
async fn a_failback_that_is_due_asks_the_holder_once_and_goes_back_in_order() {
    let world = away(AT_ONCE).await;
    well(&world, 50, 60).await;
    sweep_wakes(&world).await;
    sweep_wakes(&world).await;
    let requests = asked(&world).await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    let why = "failback to a, which is preferred to b and has been healthy for 60 s";
    let wish = Wish::Failback { to: world.nodes[0].arn.clone(), why: why.to_owned() };
    assert_eq!((&requests[0].wish, requests[0].by.as_str()), (&wish, "arbiter"));
    let lease = world.lease().await;
    assert_eq!(
        (lease.epoch, lease.holder.as_ref()),
        (Epoch(2), Some(&world.nodes[1].arn)),
        "nothing has moved yet"
    );
    let intent = lease.intent.expect("an intent");
    assert_eq!((intent.to.as_ref(), intent.failover), (Some(&world.nodes[0].arn), false));
    assert_eq!(intent.until.0 - requests[0].at.0, 60_000);
    // The holder obeys.
    world
        .parts
        .store
        .release(&cluster(), &world.nodes[1].arn, &incarnation(), Epoch(2))
        .await
        .expect("released");
    well(&world, 51, 60).await;
    world.wake().await;
    world.assert_whole_at(0, 3).await;
    let rows = world.parts.store.history(&cluster(), 20).await.expect("read");
    let told = format!("{rows:?}");
    assert!(told.contains(&format!("b released the lease: {why}")), "{told}");
    assert_eq!(asked(&world).await[0].answer.as_deref(), Some("granted to a at epoch 3"));
}

#[tokio::test]
async fn a_wake_alone_asks_for_nothing_where_it_is_not_due() {
    let hour = Failback::Automatic { hold_ms: 3_600_000, window: None };
    for (failback, seconds) in [(Failback::Manual, 60), (hour, 7_200)] {
        let world = away(failback).await;
        well(&world, 50, seconds).await;
        sweep_wakes(&world).await;
        assert_eq!(asked(&world).await, []);
    }
    let world = away(AT_ONCE).await;
    sweep_wakes(&world).await;
    assert_eq!(asked(&world).await, [], "nobody knows for how long anybody has been healthy");
    well(&world, 50, 60).await;
    world.wake_for("baton.control-plane", "sweep").await;
    assert_eq!(asked(&world).await, [], "only a sweep that has seen it due asks for a decision");
}

#[tokio::test]
async fn nothing_goes_back_to_a_node_whose_termination_is_known() {
    let world = away(AT_ONCE).await;
    well(&world, 50, 60).await;
    let names = ["group", "baton-hook", "87654321-4321-4321-4321-210987654321"].map(str::to_owned);
    let [group, name, token] = names;
    let leaving = world.nodes[0].arn.instance_id();
    let hook = Hook::new(leaving, group, name, token, WallTime(1)).expect("valid");
    world.parts.store.record_hook(&cluster(), &hook).await.expect("kept");
    sweep_wakes(&world).await;
    assert_eq!(asked(&world).await, []);
}

#[tokio::test]
async fn a_failback_takes_the_place_of_no_operators_word() {
    let world = away(AT_ONCE).await;
    well(&world, 50, 60).await;
    let at = world.parts.now().wall;
    let (to, why) = (world.nodes[0].arn.clone(), "it is well".to_owned());
    let request = |id: &str, epoch, wish| Request {
        cluster: cluster(),
        id: baton_protocol::ids::RequestId::new(id).expect("valid"),
        wish,
        by: "somebody".to_owned(),
        at,
        until: WallTime(at.0 + 60_000),
        epoch: Epoch(epoch),
        answer: None,
    };
    let back = |id| request(id, 2, Wish::Failback { to: to.clone(), why: why.clone() });
    let word = request("word", 2, Wish::Failover { to: None, why: String::new() });
    world.parts.store.ask(&word).await.expect("asked");
    world.parts.store.ask(&back("back-1")).await.expect_err("another wish stands");
    let old = request("old", 1, Wish::Switchover { to: None, why: String::new() });
    world.parts.store.ask(&old).await.expect("asked");
    world.parts.store.ask(&back("back-2")).await.expect("a wish about an older epoch is none");
    let pause = request("pause", 2, Wish::Pause { why: "work".to_owned() });
    world.parts.store.ask(&old).await.expect("it is the same");
    world.parts.store.ask(&pause).await.expect("asked");
    let mut later = back("back-3");
    later.at = WallTime(at.0 + 59_999);
    world.parts.store.ask(&later).await.expect_err("a pause stands");
    later.at = WallTime(at.0 + 60_000);
    world.parts.store.ask(&later).await.expect("pause and wish have ended");
}
