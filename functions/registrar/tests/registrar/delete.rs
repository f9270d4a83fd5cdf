//! Delete: the registration that asks is retired, and nothing else is touched.

use baton_protocol::history::Happening;
use baton_protocol::lease::LeaseState;
use baton_protocol::outcome::Failure;
use baton_store::Store;
use serde_json::json;

use crate::support::faulty::Trouble;
use crate::support::{Bench, OTHER_STACK, STACK, failed, succeeded};

#[tokio::test]
async fn a_registration_is_retired_and_its_addresses_stay() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let seat = bench.nodes[0].seat(0);
    bench.cloud.place(&bench.addresses[0].allocation, &seat);
    let answer = bench.delete(&id).await;
    assert_eq!((succeeded(&answer), &answer["Data"]), (id.clone(), &json!({})));
    let lease = bench.standing().await;
    assert_eq!(lease.state, LeaseState::Retired);
    assert_eq!(bench.cloud.seat_of(&bench.addresses[0].allocation), Some(seat));
    assert!(bench.changes_of_ec2().is_empty());
    let rows = bench.record.history(&lease.cluster, 5).await.expect("read");
    assert!(rows.iter().any(|row| row.what == Happening::Retired {}), "{rows:?}");
    succeeded(&bench.delete(&id).await);
}

#[tokio::test]
async fn what_was_never_registered_is_deleted_without_effect() {
    let bench = Bench::new().await;
    for id in ["-/1f00-create-1", "orders/1f00-create-1", "2026/11/23/[$LATEST]0a1b", "nonsense", ""] {
        assert_eq!(succeeded(&bench.delete(id).await), id);
    }
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn a_deletion_needs_no_valid_properties() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let mut request = bench.request("Delete", "delete-1", STACK, json!({ "Cluster": 7 }));
    request["PhysicalResourceId"] = json!(id);
    succeeded(&bench.send(request).await);
    assert_eq!(bench.standing().await.state, LeaseState::Retired);
}

/// Schedule A4: the name was registered again before the old registration's deletion arrived.
#[tokio::test]
async fn a_late_deletion_does_not_reach_the_successor() {
    let bench = Bench::new().await;
    let old = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    succeeded(&bench.delete(&old).await);
    succeeded(&bench.create("create-2", OTHER_STACK, bench.properties()).await);
    let before = bench.standing().await;
    succeeded(&bench.delete(&old).await);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn throttled_and_lost_writes_are_made_again_and_a_denied_one_is_told() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    bench.registrar.store.gate.on_writes([Trouble::Before(Failure::Denied("no".to_owned()))]);
    let reason = failed(&bench.delete(&id).await);
    assert!(reason.starts_with("TableFailed: the retirement of orders failed: denied"), "{reason}");
    assert_eq!(bench.standing().await.state, LeaseState::Active);
    bench.registrar.store.gate.on_writes([Trouble::Before(Failure::Throttled), Trouble::After]);
    succeeded(&bench.delete(&id).await);
    assert_eq!(bench.standing().await.state, LeaseState::Retired);
}
