//! Whether everything could be moved: asked in turn, kept, and changing nothing.

use baton_cloud::memory::{Asked, Fault, Trouble};
use baton_protocol::probe::Probe;
use baton_store::Store;

use crate::world::{World, cluster};

async fn settled() -> World {
    let world = World::new(1, 1).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    world.parts.cloud.clear_log();
    world
}

async fn kept(world: &World) -> Option<Probe> {
    world.parts.store.probe(&cluster()).await.expect("read")
}

#[tokio::test]
async fn a_probe_asks_about_every_call_makes_none_and_keeps_what_it_found() {
    let world = settled().await;
    assert_eq!(kept(&world).await, None);
    world.wake_for("baton.control-plane", "probe").await;
    let log = world.parts.cloud.log();
    assert!(log.iter().all(|entry| matches!(entry.asked, Asked::Look(_) | Asked::Probe(_))), "{log:?}");
    // An association to end, the address towards each of three nodes, the table twice, and the check of each node.
    assert_eq!(log.iter().filter(|entry| matches!(entry.asked, Asked::Probe(_))).count(), 1 + 3 + 2 + 3);
    let probe = kept(&world).await.expect("kept");
    assert!(probe.is_about(&world.lease().await) && probe.obstacles.is_empty(), "{probe:?}");
    world.assert_whole_at(0, 1).await;
}

#[tokio::test]
async fn what_iam_denies_is_known_before_it_is_needed() {
    let world = settled().await;
    let seat = world.nodes[1].interface.clone();
    world.parts.cloud.fail(Fault::on("AssociateAddress", Trouble::Deny).about(&seat).always());
    world.wake_for("baton.control-plane", "probe").await;
    let probe = kept(&world).await.expect("kept");
    let [obstacle] = &probe.obstacles[..] else { panic!("{probe:?}") };
    assert_eq!(obstacle.resource, world.addresses[0].allocation.to_string());
    assert!(obstacle.node.is_some() && obstacle.why.contains("denied"), "{obstacle:?}");
    world.parts.cloud.heal();
    world.wake_for("baton.control-plane", "probe").await;
    assert_eq!(kept(&world).await.expect("kept").obstacles, []);
}

#[tokio::test]
async fn a_probe_that_was_not_answered_leaves_what_was_known_and_other_wakes_ask_nothing() {
    let world = settled().await;
    world.wake_for("baton.control-plane", "probe").await;
    let before = kept(&world).await;
    world.parts.cloud.fail(Fault::on("ReplaceRoute", Trouble::Throttle).always());
    world.wake_for("baton.control-plane", "probe").await;
    assert_eq!(kept(&world).await, before);
    world.parts.cloud.heal();
    world.parts.cloud.clear_log();
    // A node and an operator may not ask for it, and a turn alone does not.
    for (source, why) in
        [("baton.agent", "probe"), ("baton.operator", "probe"), ("baton.control-plane", "verify")]
    {
        world.wake_for(source, why).await;
    }
    assert!(!world.parts.cloud.log().iter().any(|entry| matches!(entry.asked, Asked::Probe(_))));
}
