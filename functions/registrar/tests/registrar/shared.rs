//! Route tables of another account: read through the role that the request names, and refused if it cannot be taken on.

use baton_cloud::memory::{Fault, Trouble};
use baton_protocol::access::TableAccess;
use baton_protocol::ids::{ClusterName, RoleArn};
use serde_json::{Value, json};

use crate::support::{Bench, STACK, failed, succeeded};

const ROLE: &str = "arn:aws:iam::210987654321:role/baton-route-tables-orders";

fn access(cluster: &str) -> TableAccess {
    TableAccess {
        role: RoleArn::new(ROLE).expect("valid"),
        cluster: ClusterName::new(cluster).expect("valid"),
    }
}

/// The VPC is another account's, whose role trusts that cluster.
async fn shared(cluster: &str) -> Bench {
    let bench = Bench::new().await;
    bench.cloud.share(&bench.vpc, &access(cluster));
    bench
}

fn by_role(bench: &Bench) -> Value {
    let mut properties = bench.properties();
    properties["RouteTablesRoleArn"] = json!(ROLE);
    properties
}

#[tokio::test]
async fn tables_of_another_account_are_read_through_the_role_and_the_lease_names_it() {
    let bench = shared("orders").await;
    let id = succeeded(&bench.create("create-1", STACK, by_role(&bench)).await);
    let lease = bench.standing().await;
    assert_eq!(TableAccess::of(&lease), Some(access("orders")));
    assert_eq!(lease.resources.routes[0].table, bench.table);
    // The same again is no change; without the role the tables are not there.
    succeeded(&bench.update("update-1", &id, by_role(&bench)).await);
    assert_eq!(bench.standing().await, lease);
    let reason = failed(&bench.update("update-2", &id, bench.properties()).await);
    assert!(reason.contains("does not exist in this account and region"), "{reason}");
    assert_eq!(bench.standing().await, lease);
    assert_eq!(bench.changes_of_ec2(), Default::default());
}

#[tokio::test]
async fn a_role_that_trusts_another_cluster_or_nobody_refuses_the_request_with_what_to_do() {
    let bench = shared("billing").await;
    let reason = failed(&bench.create("create-1", STACK, by_role(&bench)).await);
    for part in [
        "(1) the role",
        ROLE,
        "external id `baton/orders`",
        "RouteTablesRoles",
        "in the account 210987654321",
    ] {
        assert!(reason.contains(part), "{part} is not in: {reason}");
    }
    assert!(!reason.contains("(2)"), "and nothing that rests on it is told besides: {reason}");
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn sts_that_throttles_is_asked_again_and_the_rollback_to_what_stands_needs_no_role() {
    let bench = shared("orders").await;
    bench.cloud.fail(Fault::on("AssumeRole", Trouble::Throttle).times(3));
    bench.cloud.fail(Fault::on("AssumeRole", Trouble::FailUnknownBefore).times(3));
    let id = succeeded(&bench.create("create-1", STACK, by_role(&bench)).await);
    let lease = bench.standing().await;
    bench.cloud.fail(Fault::on("AssumeRole", Trouble::Deny).always());
    let mut other = by_role(&bench);
    other["CoolDownSeconds"] = json!("60");
    failed(&bench.update("update-1", &id, other).await);
    assert_eq!(succeeded(&bench.update("update-2", &id, by_role(&bench)).await), id);
    assert_eq!(bench.standing().await, lease);
}
