//! What the store promises to agents.

use std::net::Ipv4Addr;

use baton_protocol::findings::Findings;
use baton_protocol::heartbeat::{Beat, Claim, Health, UNGUARDED_MS};
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;
use baton_store::Store;

use super::build::{AT, beat, cluster, findings, join, node, registration, run, start};
use super::{Record, refused};

/// There is nothing at first, and nothing is an answer.
pub async fn an_absent_item_reads_as_none(record: &impl Record) {
    let store = record.store();
    assert_eq!(store.lease(&cluster()).await, Ok(None));
    assert_eq!(store.heartbeat(&cluster(), &node(1)).await, Ok(None));
    assert_eq!(store.heartbeats(&cluster(), &[node(1)]).await.map(|found| found.len()), Ok(0));
    assert_eq!(store.heartbeats(&cluster(), &[]).await.map(|found| found.len()), Ok(0));
    assert_eq!(store.history(&cluster(), 10).await, Ok(Vec::new()));
    assert_eq!(store.requests(&cluster(), 10).await, Ok(Vec::new()));
    assert_eq!(store.clusters().await, Ok(Vec::new()));
}

/// The first run makes the item; it says nothing about health and swears nothing.
pub async fn a_first_start_makes_the_heartbeat(record: &impl Record) {
    let store = record.store();
    store.start(&cluster(), &node(1), &start(None, 1)).await.expect("the run is announced");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("made");
    assert_eq!((&found.cluster, &found.instance), (&cluster(), &node(1)));
    assert_eq!((found.incarnation, found.seq, found.released), (run(1), Seq(1), Epoch(0)));
    assert_eq!((found.health, found.claim, found.serving_epoch), (Health::Unknown, None, None));
    assert_eq!((found.boot_id.as_str(), found.agent_version.as_str()), ("boot-1", "0.1.0"));
    assert_eq!((found.validity_ms, found.beat_at), (4_000, AT));
}

/// Two first runs at once: one of them is refused and sees the other.
pub async fn a_first_start_is_refused_where_there_is_a_heartbeat(record: &impl Record) {
    let store = record.store();
    store.start(&cluster(), &node(1), &start(None, 1)).await.expect("the run is announced");
    let found = refused(store.start(&cluster(), &node(1), &start(None, 2)).await).expect("found");
    assert_eq!((found.incarnation, found.seq), (run(1), Seq(1)));
}

/// A run that was announced after one which is gone has nothing to follow.
pub async fn a_start_after_a_lost_heartbeat_is_refused(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    record.lose_heartbeat(&cluster(), &node(1)).await;
    assert_eq!(refused(store.start(&cluster(), &node(1), &start(Some(1), 2)).await), None);
}

/// A validity that never ends is the largest number there is, and comes back as that.
pub async fn a_node_that_nothing_guards_is_read_as_such(record: &impl Record) {
    let store = record.store();
    let mut first = start(None, 1);
    first.validity_ms = UNGUARDED_MS;
    store.start(&cluster(), &node(1), &first).await.expect("the run is announced");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert!(found.is_unguarded(), "{found:?}");
    store.beat(&cluster(), &node(1), &beat(1, 2)).await.expect("the node beats");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!(found.validity_ms, 4_000);
    let mut unguarded = beat(1, 3);
    unguarded.validity_ms = UNGUARDED_MS;
    store.beat(&cluster(), &node(1), &unguarded).await.expect("the node beats");
    let found = store.heartbeats(&cluster(), &[node(1)]).await.expect("read").remove(&node(1));
    assert!(found.is_some_and(|found| found.is_unguarded()));
}

/// A restart keeps what was sworn and goes on counting; what the earlier run said of itself is gone.
pub async fn a_restart_keeps_the_oath_and_the_count(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    let claim = Claim {
        epoch: Epoch(3),
        holder: node(2),
        incarnation: run(1),
        seq: Seq(9),
        silent_ms: 6_100,
        at: AT,
    };
    let mut serving = beat(1, 7);
    serving.claim = Some(claim);
    serving.serving_epoch = Some(Epoch(2));
    serving.serving_since = Some(AT);
    store.beat(&cluster(), &node(1), &serving).await.expect("the node beats");
    store.release(&cluster(), &node(1), &run(1), Epoch(4)).await.expect("the node releases");
    store.start(&cluster(), &node(1), &start(Some(1), 2)).await.expect("the run is announced");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!((found.incarnation, found.seq, found.released), (run(2), Seq(8), Epoch(4)));
    assert_eq!((found.health, found.claim), (Health::Unknown, None));
    assert_eq!((found.serving_epoch, found.serving_since), (None, None));
    assert_eq!(found.seen, [Ipv4Addr::new(198, 51, 100, 1)]);
}

/// Schedule A1: the start of run 1 is still under way when run 2 starts. If it landed, run 1's late release
/// would too.
pub async fn a_late_start_of_an_earlier_run_is_refused(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    store.start(&cluster(), &node(1), &start(Some(1), 3)).await.expect("run 3 is announced");
    let found = refused(store.start(&cluster(), &node(1), &start(Some(1), 2)).await).expect("found");
    assert_eq!(found.incarnation, run(3));
}

/// Schedule A1: run 1 sent a release of epoch 1 and crashed; run 2 serves epoch 1; then the release lands.
pub async fn a_late_release_of_an_earlier_run_is_refused(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    store.start(&cluster(), &node(1), &start(Some(1), 2)).await.expect("the run is announced");
    let found = refused(store.release(&cluster(), &node(1), &run(1), Epoch(1)).await).expect("found");
    assert_eq!((found.incarnation, found.released), (run(2), Epoch(0)));
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!(found.released, Epoch(0));
}

/// An oath is not taken back and can be repeated.
pub async fn a_release_only_grows(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    for (epoch, stored) in [(5, 5), (5, 5), (3, 5), (6, 6)] {
        store.release(&cluster(), &node(1), &run(1), Epoch(epoch)).await.expect("done");
        let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
        assert_eq!(found.released, Epoch(stored), "after {epoch}");
    }
    store.beat(&cluster(), &node(1), &beat(1, 3)).await.expect("the node beats");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!(found.released, Epoch(6), "a heartbeat leaves the oath alone");
}

/// Nobody can swear in the name of a node that never was.
pub async fn a_release_without_a_heartbeat_is_refused(record: &impl Record) {
    let store = record.store();
    assert_eq!(refused(store.release(&cluster(), &node(1), &run(1), Epoch(1)).await), None);
    assert_eq!(store.heartbeat(&cluster(), &node(1)).await, Ok(None));
}

/// A heartbeat is written whole: what it does not say is not there afterwards.
pub async fn a_beat_sets_what_it_says_and_removes_what_it_does_not(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    let mut full = beat(1, 3);
    full.health = Health::Draining;
    full.claim = Some(Claim {
        epoch: Epoch(1),
        holder: node(2),
        incarnation: run(1),
        seq: Seq(2),
        silent_ms: 6_050,
        at: AT,
    });
    full.serving_epoch = Some(Epoch(1));
    full.serving_since = Some(WallTime(AT.0 - 5));
    full.healthy_since = Some(WallTime(AT.0 - 9));
    full.findings = Some(findings());
    full.validity_ms = 2_500;
    full.seen = Vec::new();
    store.beat(&cluster(), &node(1), &full).await.expect("the node beats");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!((found.health, &found.claim), (Health::Draining, &full.claim));
    assert_eq!((found.serving_epoch, found.serving_since), (full.serving_epoch, full.serving_since));
    assert_eq!((&found.findings, found.healthy_since), (&full.findings, full.healthy_since));
    assert_eq!((found.validity_ms, found.seen.len(), found.seq), (2_500, 0, Seq(3)));

    store.beat(&cluster(), &node(1), &beat(1, 4)).await.expect("the node beats");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!((found.claim, found.serving_epoch, found.serving_since), (None, None, None));
    assert_eq!(found.healthy_since, None, "an earlier beat's does not count");
    assert_eq!(found.findings, Some(findings()), "what is not mentioned stays");
    let taken_back = Beat { findings: Some(Findings::default()), ..beat(1, 5) };
    store.beat(&cluster(), &node(1), &taken_back).await.expect("the node beats");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!(found.findings, None);
    let well = Beat { healthy_since: full.healthy_since, ..beat(1, 6) };
    store.beat(&cluster(), &node(1), &well).await.expect("the node beats");
    store.start(&cluster(), &node(1), &start(Some(1), 2)).await.expect("the agent starts anew");
    let begun = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!((begun.seq, begun.healthy_since), (Seq(7), None), "nor that of an earlier run");
    assert_eq!((found.incarnation, found.boot_id.as_str()), (run(1), "boot-1"));
}

/// Schedule A14: heartbeat 3 (ok) is late, heartbeat 4 (bad) has landed; the node must stay bad.
pub async fn a_late_beat_of_the_same_run_is_refused(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    let mut bad = beat(1, 4);
    bad.health = Health::Bad;
    store.beat(&cluster(), &node(1), &bad).await.expect("the node beats");
    for late in [3, 4] {
        let found = refused(store.beat(&cluster(), &node(1), &beat(1, late)).await).expect("found");
        assert_eq!((found.incarnation, found.seq, found.health), (run(1), Seq(4), Health::Bad));
    }
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!(found.health, Health::Bad);
}

/// A heartbeat of an earlier run says nothing about the current one.
pub async fn a_beat_of_another_run_is_refused(record: &impl Record) {
    let store = record.store();
    assert_eq!(refused(store.beat(&cluster(), &node(1), &beat(1, 9)).await), None);
    join(store, 1).await;
    let found = refused(store.beat(&cluster(), &node(1), &beat(2, 9)).await).expect("found");
    assert_eq!((found.incarnation, found.seq), (run(1), Seq(2)));
}

/// Nodes are read together, each once, and whoever has no heartbeat is absent.
pub async fn heartbeats_are_read_together(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    join(store, 3).await;
    let asked = [node(1), node(2), node(3), node(1)];
    let found = store.heartbeats(&cluster(), &asked).await.expect("read");
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), [node(1), node(3)]);
    for (instance, heartbeat) in &found {
        assert_eq!(*instance, heartbeat.instance);
        assert_eq!(store.heartbeat(&cluster(), instance).await, Ok(Some(heartbeat.clone())));
    }
    let other = baton_protocol::ids::ClusterName::new("billing").expect("valid");
    assert_eq!(store.heartbeats(&other, &asked).await.map(|found| found.len()), Ok(0));
}

/// The lease and heartbeats come together as each by itself does; whoever asks for none, or for too many, is told of the lease.
pub async fn heartbeats_are_read_along_with_the_lease(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    let asked = [node(3), node(1), node(2), node(1)];
    let none_yet = store.lease_along(&cluster(), &asked).await.expect("read");
    let expected = store.heartbeats(&cluster(), &asked).await.expect("read");
    assert_eq!(none_yet, (None, Some(expected)), "a lease that is not there");
    assert_eq!(store.register(&registration(1)).await, Ok(()));
    join(store, 3).await;
    let lease = store.lease(&cluster()).await.expect("read");
    assert!(lease.is_some());
    let (found, along) = store.lease_along(&cluster(), &asked).await.expect("read");
    let along = along.expect("read along");
    assert_eq!((&found, along.keys().cloned().collect::<Vec<_>>()), (&lease, vec![node(1), node(3)]));
    assert_eq!(Ok(along), store.heartbeats(&cluster(), &asked).await);
    let many: Vec<_> = (1..=100).map(node).collect();
    for (asked, is_along) in [(&many[..], false), (&many[..99], true), (&[], false)] {
        let (found, along) = store.lease_along(&cluster(), asked).await.expect("read");
        assert_eq!((found, along.is_some()), (lease.clone(), is_along), "{}", asked.len());
    }
}

/// A wake is left again and again, and is no heartbeat.
pub async fn a_wake_is_left_beside_the_heartbeat(record: &impl Record) {
    let store = record.store();
    for (why, at) in [(Why::Claim, AT), (Why::Claim, AT), (Why::Release, WallTime(AT.0 + 1))] {
        store.leave_wake(&cluster(), &node(1), why, at).await.expect("left");
    }
    assert_eq!(store.heartbeat(&cluster(), &node(1)).await, Ok(None));
    store.start(&cluster(), &node(1), &start(None, 1)).await.expect("there is still no heartbeat");
}
