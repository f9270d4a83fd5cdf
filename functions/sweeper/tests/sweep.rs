//! Whole sweeps over a record in memory.

mod support;

use std::collections::BTreeSet;
use std::future::{pending, ready};

use baton_protocol::findings::{Ended, Findings, Recovery};
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{Epoch, RegistrationUid};
use baton_protocol::outcome::Failure;
use baton_protocol::readiness::Want;
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;
use baton_store::Store;
use baton_sweeper::sweep::{Memory, SweepError, sweep};
use lambda_runtime::Diagnostic;
use serde_json::json;

use support::{Faults, Faulty, NOW, TestBus, name, register, settle};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn an_empty_directory_is_swept_and_wakes_nobody() {
    let bus = TestBus::default();
    let answer = sweep(&Faulty::default(), &bus, &Memory::default(), NOW, pending(), |_| ()).await;
    assert_eq!(answer, Ok(json!({ "clusters": 0, "woken": 0 })));
    assert_eq!(bus.woken(), names(&[]));
}

#[tokio::test]
async fn a_wake_of_a_sweep_says_that_it_is_one() {
    let store = Faulty::default();
    register(&store.record, "orders").await;
    let bus = TestBus::default();
    assert_eq!(
        sweep(&store, &bus, &Memory::default(), NOW, pending(), |_| ()).await,
        Ok(json!({ "clusters": 1, "woken": 1 }))
    );
    let sent = bus.sent.lock().expect("nobody panicked");
    assert_eq!((&sent[0].cluster, sent[0].why), (&name("orders"), Why::Sweep));
}

#[tokio::test]
async fn a_cluster_in_order_is_looked_at_when_its_turn_comes() {
    let store = Faulty::default();
    register(&store.record, "orders").await;
    settle(&store.record, "orders").await;
    let memory = Memory::default();
    let mut turns = 0;
    for minute in 0..6 {
        let bus = TestBus::default();
        let now = WallTime(NOW.0 + minute * 60_000);
        let answer = sweep(&store, &bus, &memory, now, pending(), |_| ()).await.expect("swept");
        let sent = bus.sent.lock().expect("nobody panicked");
        assert_eq!(answer["woken"], sent.len());
        // In a minute between two turns the holder has been quiet for long by now, since nobody beats here.
        // Nobody knows yet whether everything could be moved, so that is asked in the same turn.
        turns += sent.iter().filter(|wake| wake.why == Why::Probe).count();
    }
    assert_eq!(turns, 3);
}

#[tokio::test]
async fn how_the_clusters_stand_is_counted_and_one_that_cannot_be_read_wants_everything() {
    let mut store = Faulty::default();
    for cluster in ["a", "b", "c"] {
        register(&store.record, cluster).await;
    }
    settle(&store.record, "a").await;
    store.gate.lease.insert(name("c"), Failure::Throttled);
    let mut counted = None;
    let swept = sweep(&store, &TestBus::default(), &Memory::default(), NOW, pending(), |census| {
        counted = Some(census.clone())
    })
    .await;
    assert!(swept.is_err(), "one could not be read");
    let census = counted.expect("counted all the same");
    // Nobody serves here, since agents do that, and there is one node that beats in the first cluster only.
    let all = |names: &[&str]| names.iter().map(|text| name(text)).collect::<Vec<_>>();
    assert_eq!(census.clusters, 3);
    assert_eq!(census.wants[&Want::Unprotected], all(&["a", "b", "c"]));
    assert_eq!(census.wants[&Want::Unserved], all(&["a", "b", "c"]));
    assert_eq!(census.wants[&Want::Unmoved], all(&["c"]), "a vacant lease has nothing to be moved");
    let line = census.line("baton", NOW);
    assert_eq!(
        (&line["Clusters"], &line["Unprotected"], &line["Unmoved"]),
        (&json!(3), &json!(3), &json!(1))
    );
    assert_eq!((&line["about"]["Unmoved"], &line["_aws"]["Timestamp"]), (&json!("c"), &json!(NOW.0)));
}

#[tokio::test]
async fn a_retired_cluster_is_not_swept() {
    let store = Faulty::default();
    register(&store.record, "orders").await;
    register(&store.record, "billing").await;
    let uid = RegistrationUid::new("uid-1").expect("valid");
    let event = Event {
        cluster: name("orders"),
        epoch: Epoch(0),
        at: NOW,
        by: "test".to_owned(),
        what: Happening::Retired {},
    };
    store.record.retire(&name("orders"), &uid, &event).await.expect("retired");
    let bus = TestBus::default();
    assert_eq!(
        sweep(&store, &bus, &Memory::default(), NOW, pending(), |_| ()).await,
        Ok(json!({ "clusters": 1, "woken": 1 }))
    );
    assert_eq!(bus.woken(), names(&["billing"]));
}

#[tokio::test]
async fn a_cluster_that_cannot_be_read_stops_no_other_and_fails_the_sweep() {
    let mut store = Faulty::default();
    for cluster in ["a", "b", "c", "d"] {
        register(&store.record, cluster).await;
    }
    store.gate.lease.insert(name("b"), Failure::Throttled);
    store.gate.heartbeats.insert(name("c"), Failure::Unknown("no answer".to_owned()));
    let bus = TestBus::default();
    let error = sweep(&store, &bus, &Memory::default(), NOW, pending(), |_| ())
        .await
        .expect_err("two clusters cannot be read");
    assert_eq!(bus.woken(), names(&["a", "d"]));
    assert_eq!(
        error.to_string(),
        "could not read 2 of 4 clusters; the others were swept: b (throttled), c (unknown outcome: no answer)"
    );
    assert_eq!(Diagnostic::from(error).error_type, "ClustersUnreadable");
}

#[tokio::test]
async fn an_unreadable_directory_is_told_apart() {
    let gate = Faults { directory: Some(Failure::Denied("no".to_owned())), ..Faults::default() };
    let store = Faulty { gate, ..Faulty::default() };
    let error = sweep(&store, &TestBus::default(), &Memory::default(), NOW, pending(), |_| ())
        .await
        .expect_err("nothing can be swept");
    assert_eq!(error, SweepError::DirectoryUnreadable(Failure::Denied("no".to_owned())));
    assert_eq!(Diagnostic::from(error).error_type, "DirectoryUnreadable");
}

#[tokio::test]
async fn a_wake_that_is_refused_fails_the_sweep_after_the_others_were_sent() {
    let store = Faulty::default();
    register(&store.record, "a").await;
    register(&store.record, "b").await;
    let bus = TestBus { refused: Some(name("a")), ..TestBus::default() };
    let error = sweep(&store, &bus, &Memory::default(), NOW, pending(), |_| ())
        .await
        .expect_err("one wake was refused");
    assert_eq!(bus.woken(), names(&["b"]));
    assert!(error.to_string().contains("a (vacant): the event bus is throttled"), "{error}");
    assert_eq!(Diagnostic::from(error).error_type, "WakesNotSent");
}

#[tokio::test]
async fn more_clusters_than_are_read_side_by_side_are_all_swept() {
    let store = Faulty::default();
    for number in 0..50 {
        register(&store.record, &format!("cluster-{number}")).await;
    }
    let bus = TestBus::default();
    assert_eq!(
        sweep(&store, &bus, &Memory::default(), NOW, pending(), |_| ()).await,
        Ok(json!({ "clusters": 50, "woken": 50 }))
    );
    assert_eq!(bus.woken().len(), 50);
}

#[tokio::test]
async fn what_there_was_no_time_for_is_counted_as_unknown_and_the_sweep_fails() {
    let store = Faulty::default();
    register(&store.record, "a").await;
    let mut counted = None;
    let swept = sweep(&store, &TestBus::default(), &Memory::default(), NOW, ready(()), |census| {
        counted = Some(census.clone());
    })
    .await;
    let failures = vec!["a (unknown outcome: the sweep's time was up)".to_owned()];
    assert_eq!(swept, Err(SweepError::ClustersUnreadable { swept: 1, failures }));
    assert_eq!(counted.expect("counted all the same").wants[&Want::Unmoved], [name("a")]);
}

#[tokio::test]
async fn a_turn_that_was_not_taken_comes_in_the_next_sweep_and_sleep_is_not_made_up_for() {
    let mut store = Faulty::default();
    for n in 0..20 {
        let cluster = format!("c{n}");
        register(&store.record, &cluster).await;
        settle(&store.record, &cluster).await;
    }
    let all: BTreeSet<_> =
        store.record.clusters().await.expect("read").into_iter().map(|entry| entry.cluster).collect();
    let turns = async |store: &Faulty, memory: &Memory, minute: u64| -> usize {
        let bus = TestBus::default();
        let now = WallTime(NOW.0 + minute * 60_000);
        let _ = sweep(store, &bus, memory, now, pending(), |_| ()).await;
        let sent = bus.sent.lock().expect("nobody panicked");
        sent.iter().filter(|wake| wake.why == Why::Probe).count()
    };
    let memory = Memory::default();
    let first = turns(&store, &memory, 0).await;
    assert!(0 < first && first < 20, "half of them or so: {first}");
    // Nobody can be read for a minute; who had its turn then has it in the next.
    store.gate.lease = all.into_iter().map(|cluster| (cluster, Failure::Throttled)).collect();
    assert_eq!(turns(&store, &memory, 1).await, 0);
    store.gate.lease.clear();
    assert_eq!(turns(&store, &memory, 2).await, 20);
    // A process that slept for an hour goes on as if it had begun.
    let late = turns(&store, &memory, 62).await;
    assert!(late < 20, "{late}");
}

#[tokio::test]
async fn what_a_probe_found_and_cannot_be_read_keeps_nobody_from_being_woken() {
    let gate =
        Faults { probe: Some(Failure::Malformed("another version's".to_owned())), ..Faults::default() };
    let store = Faulty { gate, ..Faulty::default() };
    register(&store.record, "orders").await;
    let bus = TestBus::default();
    let answer = sweep(&store, &bus, &Memory::default(), NOW, pending(), |_| ()).await;
    assert_eq!(answer, Ok(json!({ "clusters": 1, "woken": 1 })));
}

#[tokio::test]
async fn how_a_cluster_stands_is_told_when_it_changes_and_what_could_not_be_told_is_told_later() {
    let store = Faulty::default();
    register(&store.record, "orders").await;
    settle(&store.record, "orders").await;
    let memory = Memory::default();
    let told = async |mute_after: Option<usize>, minute: u64| -> Vec<&'static str> {
        let bus = TestBus { mute_after, ..TestBus::default() };
        let now = WallTime(NOW.0 + minute * 60_000);
        sweep(&store, &bus, &memory, now, pending(), |_| ()).await.expect("swept");
        bus.told()
    };
    // Nobody serves here, since agents do that, and only one node beats. The bus takes the first event only.
    assert_eq!(told(Some(1), 0).await, ["Cluster Unprotected"]);
    let full = ["Cluster Unprotected", "Cluster Unserved", "Cluster Whole", "Node Heard", "Node Well"];
    assert_eq!(told(None, 0).await, full, "nobody knows what has arrived");
    assert_eq!(told(None, 0).await, Vec::<&str>::new(), "nothing has changed");
    assert_eq!(told(None, 1).await, ["Node Silent"]);
}

#[tokio::test]
async fn a_local_recovery_is_told_once_by_a_sweep_that_comes_before_or_after_its_end() {
    let store = Faulty::default();
    register(&store.record, "orders").await;
    settle(&store.record, "orders").await;
    let memory = Memory::default();
    let told = async |minute: u64| -> Vec<&'static str> {
        let bus = TestBus::default();
        let now = WallTime(NOW.0 + minute * 60_000);
        sweep(&store, &bus, &memory, now, pending(), |_| ()).await.expect("swept");
        bus.told().into_iter().filter(|told| told.starts_with("Recovery ")).collect()
    };
    let recovery = |number: u32, minute: u64, ended: Option<Option<&str>>| Recovery {
        number,
        begun: WallTime(NOW.0 + minute * 60_000 - 30_000),
        what: "web: no answer".into(),
        ended: ended.map(|failed| Ended {
            at: WallTime(NOW.0 + minute * 60_000 - 20_000),
            failed: failed.map(Into::into),
        }),
    };
    assert_eq!(told(0).await, [""; 0]);
    tell(&store.record, "orders", 11, vec![recovery(1, 1, None)]).await;
    assert_eq!(told(1).await, ["Recovery Begun"]);
    let (first, second) = (recovery(1, 1, Some(None)), recovery(2, 2, Some(Some("exit code 1"))));
    tell(&store.record, "orders", 12, vec![first, second]).await;
    let late = ["Recovery Succeeded", "Recovery Begun", "Recovery Failed"];
    assert_eq!(told(50).await, late, "the sweep before was long ago");
    assert_eq!(told(51).await, [""; 0]);
    let anew = Memory::default();
    let bus = TestBus::default();
    sweep(&store, &bus, &anew, WallTime(NOW.0 + 52 * 60_000), pending(), |_| ()).await.expect("swept");
    assert!(
        !bus.told().iter().any(|told| told.starts_with("Recovery ")),
        "a node that is silent has no news"
    );
}

/// A heartbeat of the first node with these local recoveries.
async fn tell(store: &impl Store, cluster: &str, seq: u64, recoveries: Vec<Recovery>) {
    let findings = Findings { recoveries, ..Findings::default() };
    let beat = support::beat_with(seq, Some(findings));
    store.beat(&name(cluster), &support::first(), &beat).await.expect("beaten");
}
