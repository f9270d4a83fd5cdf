//! Route tables that are described: what they come to when a cluster is registered, and what is a change of it.

use baton_cloud::memory::{Fault, Trouble};
use baton_protocol::ec2::RouteTarget;
use baton_protocol::ids::RouteTableId;
use baton_protocol::resource::Route;
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use crate::support::{Bench, STACK, failed, succeeded};

const DESTINATION: &str = "192.0.2.10/32";

/// A table of the VPC that carries the tag, and consents.
fn tagged(bench: &Bench) -> RouteTableId {
    let table = bench.cloud.table(&bench.vpc);
    bench.cloud.tag_table(&table, "side", Some("private"));
    bench.cloud.tag_table(&table, "baton:cluster", Some("orders"));
    table
}

fn by_tag(bench: &Bench) -> Value {
    let mut properties = bench.properties();
    let tag = json!({ "Key": "side", "Value": "private" });
    properties["Routes"] = json!([{ "Destination": DESTINATION, "RouteTableTag": tag }]);
    properties
}

fn every(bench: &Bench) -> Value {
    let mut properties = bench.properties();
    properties["Routes"] = json!([{ "Destination": DESTINATION, "EveryTableOfVpc": "true" }]);
    properties
}

async fn tables(bench: &Bench) -> Vec<RouteTableId> {
    bench.standing().await.resources.routes.into_iter().map(|route| route.table).collect()
}

/// The arbiter's part: it takes in one more table.
async fn taking_in(bench: &Bench, table: &RouteTableId) -> Registration {
    let lease = bench.standing().await;
    let mut resources = lease.resources.clone();
    resources.routes.push(Route { table: table.clone(), ..resources.routes[0].clone() });
    let rows = bench.record.history(&lease.cluster, 1).await.expect("read");
    Registration { resources, ..Registration::of(&lease, rows[0].at, rows[0].clone()) }
}

/// EC2 answers about the VPC's tables as before the last one got its two tags.
fn answer_short(bench: &Bench) {
    bench.cloud.fail(Fault::on("DescribeRouteTables", Trouble::Stale(2)).about(&bench.vpc).always());
}

#[tokio::test]
async fn an_update_lets_no_table_go_for_a_short_answer() {
    let bench = Bench::new().await;
    let ours = [tagged(&bench), tagged(&bench)];
    let id = succeeded(&bench.create("create-1", STACK, by_tag(&bench)).await);
    let before = bench.standing().await;
    answer_short(&bench);
    let mut properties = by_tag(&bench);
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-1", &id, properties).await);
    let after = bench.standing().await;
    assert_eq!(
        (after.cool_down_ms, &after.resources, after.moved),
        (60_000, &before.resources, before.moved)
    );
    // Another description starts anew from what is seen.
    bench.cloud.heal();
    let node = RouteTarget::Interface(bench.nodes[0].interface.clone());
    bench.cloud.put_route(&ours[1], DESTINATION, node);
    succeeded(&bench.update("update-2", &id, every(&bench)).await);
    assert_eq!(tables(&bench).await, ours[1..]);
}

#[tokio::test]
async fn an_update_that_the_arbiter_overtakes_undoes_nothing_of_what_it_did() {
    let bench = Bench::new().await;
    let first = tagged(&bench);
    let id = succeeded(&bench.create("create-1", STACK, by_tag(&bench)).await);
    let second = tagged(&bench);
    let other = taking_in(&bench, &second).await;
    *bench.registrar.store.gate.overtaken_by.lock().expect("nobody panicked") = Some(other);
    answer_short(&bench);
    let mut properties = by_tag(&bench);
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-1", &id, properties).await);
    assert_eq!((tables(&bench).await, bench.standing().await.cool_down_ms), (vec![first, second], 60_000));
}

#[tokio::test]
async fn a_tag_comes_to_the_tables_that_carry_it_and_is_kept_beside_them() {
    let bench = Bench::new().await;
    let ours = [tagged(&bench), tagged(&bench)];
    succeeded(&bench.create("create-1", STACK, by_tag(&bench)).await);
    assert_eq!(tables(&bench).await, ours);
    let choices = bench.standing().await.resources.choices;
    assert_eq!((choices.tables.len(), choices.vpc), (1, Some(bench.vpc.clone())));
}

#[tokio::test]
async fn every_table_is_those_that_hold_the_destination_now() {
    let bench = Bench::new().await;
    let (holds, _) = (tagged(&bench), tagged(&bench));
    let node = RouteTarget::Interface(bench.nodes[0].interface.clone());
    bench.cloud.put_route(&holds, DESTINATION, node);
    succeeded(&bench.create("create-1", STACK, every(&bench)).await);
    assert_eq!(tables(&bench).await, [holds]);
}

#[tokio::test]
async fn what_a_description_means_and_may_not_be_taken_refuses_the_registration() {
    let bench = Bench::new().await;
    let reason = failed(&bench.create("create-1", STACK, by_tag(&bench)).await);
    assert!(reason.contains("nothing is found of the tables with the tag side=private"), "{reason}");
    let (gateway, silent) = (tagged(&bench), tagged(&bench));
    bench.cloud.put_route(&gateway, DESTINATION, RouteTarget::Other("nat-0123456789abcdef0".to_owned()));
    bench.cloud.tag_table(&silent, "baton:cluster", None);
    let reason = failed(&bench.create("create-2", STACK, by_tag(&bench)).await);
    assert!(reason.contains(&format!("the route to {DESTINATION} in {gateway} leads to nat-")), "{reason}");
    assert!(reason.contains(&format!("{silent} has no tag baton:cluster")), "{reason}");
    let denied = Fault::on("DescribeRouteTables", Trouble::Deny).about(&bench.vpc).always();
    bench.cloud.fail(denied);
    let reason = failed(&bench.create("create-3", STACK, by_tag(&bench)).await);
    assert!(reason.contains("the route tables of the VPC could not be read (denied: "), "{reason}");
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn the_tables_that_a_description_comes_to_by_now_are_no_change_of_it() {
    let bench = Bench::new().await;
    let first = tagged(&bench);
    let id = succeeded(&bench.create("create-1", STACK, by_tag(&bench)).await);
    // The arbiter has taken in another one.
    let second = tagged(&bench);
    bench.record.reconfigure(&taking_in(&bench, &second).await, None).await.expect("followed");
    let lease = bench.standing().await;
    succeeded(&bench.update("update-1", &id, by_tag(&bench)).await);
    assert_eq!(bench.standing().await, lease, "an update finds the same");
    // While a node is gone the rollback to what stands succeeds, whatever tables it has come to.
    bench.cloud.terminate(&bench.nodes[1].instance);
    assert_eq!(succeeded(&bench.update("update-2", &id, by_tag(&bench)).await), id);
    failed(&bench.update("update-3", &id, every(&bench)).await);
    assert_eq!(tables(&bench).await, [first, second]);
}
