//! The brake: other clusters that suspect hold a takeover back for as long as the silence has lasted, and no longer.

use baton_protocol::heartbeat::{Beat, Claim, Health};
use baton_protocol::history::Happening;
use baton_protocol::ids::{ClusterName, Seq};
use baton_protocol::time::WallTime;
use baton_store::Store;

use crate::world::{World, cluster, incarnation};

/// Node 1 claims the silence of node 0, which lasted for so long.
async fn claims(world: &World, seq: u64, silent_ms: u64) {
    let holder = world.nodes[0].arn.clone();
    let found = world.parts.store.heartbeat(&cluster(), &holder).await.expect("read").expect("there");
    let beat_at = world.parts.now().wall;
    let claim = Claim {
        epoch: world.lease().await.epoch,
        holder,
        incarnation: found.incarnation,
        seq: found.seq,
        silent_ms,
        at: beat_at,
    };
    let beat = Beat {
        incarnation: incarnation(),
        seq: Seq(seq),
        health: Health::Ok,
        healthy_since: Some(WallTime(1)),
        claim: Some(claim),
        serving_epoch: None,
        findings: None,
        serving_since: None,
        ahead: None,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at,
    };
    world.parts.store.beat(&cluster(), &world.nodes[1].arn, &beat).await.expect("beaten");
}

#[tokio::test]
async fn another_cluster_that_suspects_holds_a_takeover_back_for_one_further_s() {
    let world = World::new(1, 0).await;
    world.wake().await;
    let other = ClusterName::new("invoices").expect("valid");
    world.parts.store.suspect(&other, world.parts.now().wall).await.expect("counted");
    claims(&world, 50, 6_000).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    assert!(world.told().contains(&"Takeover Held"));
    let rows = world.parts.store.history(&cluster(), 5).await.expect("read");
    let held = |what: &Happening| matches!(what, Happening::Held { braked: true, until: Some(_), .. });
    assert!(rows.iter().any(|row| held(&row.what)), "{rows:?}");
    claims(&world, 51, 12_000).await;
    world.wake().await;
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn a_cluster_that_suspects_alone_is_taken_over_at_once() {
    let world = World::new(1, 0).await;
    world.wake().await;
    claims(&world, 50, 6_000).await;
    world.wake().await;
    world.assert_whole_at(1, 2).await;
}
