//! Create: what is registered, what is refused, and what a cluster that was there before asks for.

use std::time::{SystemTime, UNIX_EPOCH};

use baton_cloud::memory::{Fault, Trouble as CloudTrouble};
use baton_protocol::ec2::RouteTarget;
use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Beat, Health};
use baton_protocol::history::{Event, Evidence, Ground, Happening};
use baton_protocol::ids::{ClusterName, Epoch, Incarnation, Seq};
use baton_protocol::lease::{LeaseState, Mode};
use baton_protocol::outcome::Failure;
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_protocol::wake::Why;
use baton_store::{Start, Store};
use serde_json::json;

use crate::support::faulty::Trouble;
use crate::support::{Bench, OTHER_STACK, STACK, failed, succeeded};

fn run() -> Incarnation {
    Incarnation::new("run-1").expect("valid")
}

pub(crate) fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    WallTime(u64::try_from(since.as_millis()).expect("fits"))
}

impl Bench {
    /// Node `number` beats and is granted the vacant lease of `orders` at `at`.
    pub(crate) async fn grant_to(&self, number: usize, at: WallTime) {
        let orders = ClusterName::new("orders").expect("valid");
        let arn = &self.nodes[number].arn;
        let start = Start {
            expected: None,
            incarnation: run(),
            boot_id: "boot".to_owned(),
            agent_version: "0.1.0".to_owned(),
            validity_ms: 4_000,
            at,
        };
        self.record.start(&orders, arn, &start).await.expect("started");
        let beat = Beat {
            incarnation: run(),
            seq: Seq(9),
            health: Health::Ok,
            claim: None,
            serving_epoch: None,
            healthy_since: None,
            serving_since: None,
            ahead: None,
            findings: None,
            validity_ms: 4_000,
            seen: Vec::new(),
            beat_at: at,
        };
        self.record.beat(&orders, arn, &beat).await.expect("beaten");
        let lease = self.standing().await;
        let what = Happening::Granted {
            from: None,
            to: arn.clone(),
            ground: Ground::Vacancy,
            reason: "test".to_owned(),
            evidence: Evidence::default(),
        };
        let epoch = lease.epoch.next();
        let grant = Grant {
            cluster: orders.clone(),
            uid: lease.uid,
            epoch: lease.epoch,
            revision: lease.revision,
            holder: None,
            holder_check: HolderCheck::Nobody,
            to: arn.clone(),
            to_incarnation: run(),
            ground: Ground::Vacancy,
            wish: lease.intent.and_then(|intent| intent.request),
            recent: None,
            at,
            event: Event { cluster: orders, epoch, at, by: "test".to_owned(), what },
        };
        assert_eq!(self.record.commit(&grant).await, Ok(Committed::Granted));
    }

    /// `orders` was registered, held by node `number` since `at`, and retired.
    async fn retired_after(&self, number: usize, at: WallTime) {
        let id = succeeded(&self.create("create-1", STACK, self.properties()).await);
        self.grant_to(number, at).await;
        succeeded(&self.delete(&id).await);
    }
}

#[tokio::test]
async fn a_good_request_registers_the_cluster_and_wakes_the_arbiter() {
    let bench = Bench::new().await;
    let answer = bench.create("create-1", STACK, bench.properties()).await;
    let id = succeeded(&answer);
    let lease = bench.standing().await;
    assert_eq!(id, format!("orders/{}", lease.uid));
    assert!(lease.uid.as_str().ends_with("-create-1"), "{}", lease.uid);
    assert_eq!(answer["Data"], json!({ "Cluster": "orders", "Uid": lease.uid.as_str(), "Epoch": "0" }));
    assert_eq!((lease.mode, lease.timing, lease.holder.clone()), (Mode::Strict, Timing::DEFAULT, None));
    let names: Vec<_> =
        lease.members.iter().map(|m| (m.node.as_str(), m.zone.as_str(), m.priority)).collect();
    assert_eq!(names, [("a", "euw1-az1", 10), ("b", "euw1-az2", 20)]);
    for (member, node) in lease.members.iter().zip(&bench.nodes) {
        assert_eq!((&member.instance, &member.interface), (&node.arn, &node.interface));
        for (k, address) in bench.addresses.iter().enumerate() {
            assert_eq!(member.placements[&address.allocation], node.seat(k), "address {k} goes to seat {k}");
        }
    }
    assert_eq!(lease.resources.addresses, bench.addresses);
    assert_eq!(lease.resources.routes.len(), 1);
    let rows = bench.record.history(&lease.cluster, 5).await.expect("read");
    assert!(matches!(&rows[0].what, Happening::Registered { revision: 1, .. }), "{rows:?}");
    let sent = bench.bus.sent();
    assert_eq!((sent.len(), sent[0].why, sent[0].cluster.as_str()), (1, Why::Registered, "orders"));
    assert!(bench.changes_of_ec2().is_empty(), "the registrar changes nothing at EC2");
}

#[tokio::test]
async fn a_request_that_is_delivered_twice_is_one_registration() {
    let bench = Bench::new().await;
    let first = bench.create("create-1", STACK, bench.properties()).await;
    let before = bench.standing().await;
    // Nothing is examined again: what the first delivery registered stands, whatever has happened since.
    bench.cloud.terminate(&bench.nodes[0].instance);
    let second = bench.create("create-1", STACK, bench.properties()).await;
    assert_eq!(first, second);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn wrong_properties_are_refused_with_their_paths() {
    let bench = Bench::new().await;
    let mut properties = bench.properties();
    properties["Nodes"][1]["InstanceId"] = json!("web-1");
    properties["Mode"] = json!("fast");
    let reason = failed(&bench.create("create-1", STACK, properties).await);
    assert!(reason.starts_with("PropertiesInvalid: "), "{reason}");
    for part in ["Nodes[1].InstanceId: expected an instance id", "Mode: expected `strict` or `available`"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn an_instance_that_can_hibernate_is_refused_in_strict_mode_and_taken_in_available() {
    let bench = Bench::new().await;
    bench.cloud.let_hibernate(&bench.nodes[1].instance);
    let reason = failed(&bench.create("create-1", STACK, bench.properties()).await);
    assert!(reason.contains("was launched so that it can hibernate"), "{reason}");
    assert_eq!(bench.lease("orders").await, None);
    let mut properties = bench.properties();
    properties["Mode"] = json!("available");
    bench.create("create-2", STACK, properties).await;
    assert!(bench.lease("orders").await.is_some_and(|lease| lease.mode == Mode::Available));
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_in_one_answer_with_remedies() {
    let bench = Bench::new().await;
    bench.cloud.set_state(&bench.nodes[1].instance, "stopped");
    let foreign = bench.cloud.address();
    bench.cloud.place(&foreign.allocation, &bench.nodes[0].seat(0));
    bench.cloud.release_address(&bench.addresses[1].allocation);
    let reason = failed(&bench.create("create-1", STACK, bench.properties()).await);
    for part in [
        "RequirementsNotMet",
        "is stopped, expected running; start the instance",
        &format!("carries {}; move that Elastic IP", foreign.allocation),
        &format!("the Elastic IP {} does not exist", bench.addresses[1].allocation),
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_eq!(bench.lease("orders").await, None);
    assert!(bench.bus.sent().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_as_unknown() {
    let bench = Bench::new().await;
    bench.cloud.fail(Fault::on("DescribeVpcs", CloudTrouble::Deny).always());
    let reason = failed(&bench.create("create-1", STACK, bench.properties()).await);
    assert!(reason.contains("the networks of the VPC could not be read (denied: "), "{reason}");
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn throttled_and_lost_looks_are_asked_again() {
    let bench = Bench::new().await;
    for action in ["DescribeInstances", "DescribeAddresses", "DescribeRouteTables", "DescribeVpcs"] {
        bench.cloud.fail(Fault::on(action, CloudTrouble::Throttle).times(2));
        bench.cloud.fail(Fault::on(action, CloudTrouble::FailUnknownBefore));
    }
    bench.registrar.store.gate.on_reads([Trouble::Before(Failure::Throttled), Trouble::After]);
    succeeded(&bench.create("create-1", STACK, bench.properties()).await);
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_found_and_not_made_twice() {
    let bench = Bench::new().await;
    bench.registrar.store.gate.on_writes([Trouble::After, Trouble::Before(Failure::Conflict)]);
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let lease = bench.standing().await;
    assert_eq!((id, lease.revision), (format!("orders/{}", lease.uid), 1));
}

#[tokio::test]
async fn a_denied_write_is_told_at_once() {
    let bench = Bench::new().await;
    bench.registrar.store.gate.on_writes([Trouble::Before(Failure::Denied("AccessDenied: no".to_owned()))]);
    let reason = failed(&bench.create("create-1", STACK, bench.properties()).await);
    assert!(
        reason.starts_with("TableFailed: writing the lease of orders failed: denied: AccessDenied"),
        "{reason}"
    );
}

/// Schedule A4: the name is another stack's, and the rollback of this one must not reach that.
#[tokio::test]
async fn a_taken_name_is_refused_and_the_deletion_that_follows_harms_nothing() {
    let bench = Bench::new().await;
    succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let before = bench.standing().await;
    let answer = bench.create("create-2", OTHER_STACK, bench.properties()).await;
    let reason = failed(&answer);
    assert!(reason.starts_with("ClusterTaken: the cluster orders is registered already"), "{reason}");
    let id = answer["PhysicalResourceId"].as_str().expect("text").to_owned();
    assert_ne!(id, format!("orders/{}", before.uid));
    succeeded(&bench.delete(&id).await);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn what_another_cluster_calls_its_own_is_refused() {
    let bench = Bench::new().await;
    succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let mut properties = bench.properties();
    properties["Cluster"] = json!("billing");
    properties["Addresses"] = json!([bench.addresses[0].allocation.to_string()]);
    properties["Routes"] = json!([]);
    properties["Nodes"] = json!([bench.node(1, "b", "1"), bench.node(2, "c", "2")]);
    let reason = failed(&bench.create("create-2", OTHER_STACK, properties).await);
    assert!(reason.contains("belongs to the cluster orders; give each cluster its own"), "{reason}");
    assert!(reason.contains(bench.addresses[0].allocation.as_str()), "{reason}");
    assert!(reason.contains(bench.nodes[1].interface.as_str()), "the seat is shared as well: {reason}");
}

#[tokio::test]
async fn a_route_is_taken_from_a_gateway_only_where_that_is_asked_for() {
    let bench = Bench::new().await;
    let gateway = RouteTarget::Other("igw-0123456789abcdef0".to_owned());
    bench.cloud.put_route(&bench.table, "0.0.0.0/0", gateway.clone());
    let mut properties = bench.properties();
    properties["Routes"][0]["Destination"] = json!("0.0.0.0/0");
    let reason = failed(&bench.create("create-1", STACK, properties.clone()).await);
    assert!(reason.contains("the route to 0.0.0.0/0 in"), "{reason}");
    assert!(reason.contains("leads to igw-0123456789abcdef0"), "{reason}");
    assert_eq!(bench.lease("orders").await, None);
    assert_eq!(bench.cloud.target_of(&bench.table, "0.0.0.0/0"), Some(gateway));
    properties["Routes"][0]["ReplaceGatewayRoutes"] = json!("true");
    succeeded(&bench.create("create-2", STACK, properties).await);
}

#[tokio::test]
async fn a_cluster_is_made_again_at_its_next_epoch_with_its_last_holder() {
    let bench = Bench::new().await;
    bench.retired_after(0, wall_now()).await;
    let answer = bench.create("create-2", OTHER_STACK, bench.properties()).await;
    succeeded(&answer);
    let lease = bench.standing().await;
    assert_eq!((lease.state, lease.epoch), (LeaseState::Active, Epoch(2)));
    assert_eq!(lease.holder.as_ref(), Some(&bench.nodes[0].arn));
    assert_eq!(answer["Data"]["Epoch"], "2");
}

#[tokio::test]
async fn a_last_holder_that_may_still_serve_is_not_left_out() {
    let bench = Bench::new().await;
    bench.retired_after(2, WallTime(wall_now().0 - 7_200_000)).await;
    let reason = failed(&bench.create("create-2", STACK, bench.properties()).await);
    let holder = bench.nodes[2].instance.as_str();
    assert!(reason.starts_with(&format!("LastHolderMayServe: {holder}, the last holder")), "{reason}");
    assert!(reason.contains("EC2 says that it is running"), "{reason}");
    bench.cloud.set_state(&bench.nodes[2].instance, "stopped");
    failed(&bench.create("create-3", STACK, bench.properties()).await);
    assert_eq!(bench.standing().await.state, LeaseState::Retired);
}

#[tokio::test]
async fn a_last_holder_that_released_or_is_terminated_may_be_left_out() {
    let bench = Bench::new().await;
    bench.retired_after(2, wall_now()).await;
    let orders = ClusterName::new("orders").expect("valid");
    bench.record.release(&orders, &bench.nodes[2].arn, &run(), Epoch(1)).await.expect("released");
    succeeded(&bench.create("create-2", STACK, bench.properties()).await);

    let bench = Bench::new().await;
    bench.retired_after(2, wall_now()).await;
    bench.cloud.terminate(&bench.nodes[2].instance);
    succeeded(&bench.create("create-2", STACK, bench.properties()).await);
}

#[tokio::test]
async fn a_last_holder_that_ec2_does_not_know_is_believed_gone_only_after_an_hour() {
    for (age_ms, gone) in [(0, false), (3_590_000, false), (3_610_000, true)] {
        let bench = Bench::new().await;
        bench.retired_after(2, WallTime(wall_now().0 - age_ms)).await;
        bench.cloud.forget(&bench.nodes[2].instance);
        let answer = bench.create("create-2", STACK, bench.properties()).await;
        if gone {
            succeeded(&answer);
        } else {
            assert!(failed(&answer).contains("may be a stale answer"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_late_repeat_of_a_request_does_not_bring_back_what_was_deleted() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    succeeded(&bench.delete(&id).await);
    let reason = failed(&bench.create("create-1", STACK, bench.properties()).await);
    assert!(reason.starts_with("RegistrationDeleted: "), "{reason}");
    assert_eq!(bench.standing().await.state, LeaseState::Retired);
}

#[tokio::test]
async fn a_cluster_may_have_nothing_but_a_subnet_and_its_tables_are_examined() {
    let bench = Bench::new().await;
    let subnet = bench.cloud.subnet(&bench.vpc);
    let tables: Vec<_> = (0..2).map(|_| bench.cloud.table(&bench.vpc)).collect();
    bench.cloud.associate_table(&subnet, &tables[0]);
    let mut properties = bench.properties();
    for name in ["Addresses", "Routes"] {
        properties.as_object_mut().expect("a map").remove(name);
    }
    properties["SubnetTables"] = json!([{ "SubnetId": subnet.to_string(), "Tables": { "a": tables[0].to_string(), "b": tables[1].to_string() } }]);
    let refused = bench.create("create-1", STACK, properties.clone()).await;
    let reason = refused["Reason"].as_str().expect("told");
    let untagged = format!("the subnet {subnet} has no tag");
    let leads_nowhere = format!("the route table {} for b has no route that leads to", tables[1]);
    assert!(reason.contains(&untagged) && reason.contains(&leads_nowhere), "{reason}");
    bench.cloud.tag_subnet(&subnet, "baton:cluster", "orders");
    for (table, node) in tables.iter().zip(&bench.nodes) {
        bench.cloud.tag_table(table, "baton:cluster", Some("orders"));
        bench.cloud.put_route(table, "0.0.0.0/0", RouteTarget::Interface(node.interface.clone()));
    }
    let answer = bench.create("create-2", STACK, properties).await;
    succeeded(&answer);
    let lease = bench.standing().await;
    let named: Vec<_> = lease.resources.subnets[0].tables.values().collect();
    assert_eq!((lease.resources.subnets[0].subnet.clone(), named), (subnet, tables.iter().collect()));
    assert!(bench.changes_of_ec2().is_empty(), "the registrar changes nothing at EC2");
}

#[tokio::test]
async fn of_two_registrations_at_the_same_moment_whoever_finds_the_other_gives_way() {
    let bench = Bench::new().await;
    // Made and taken back, for what it would write at the moment at which the other one is written.
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let lease = bench.standing().await;
    let other = bench.of_billing(&lease).await;
    succeeded(&bench.delete(&id).await);
    *bench.registrar.store.gate.overtaken_by.lock().expect("nobody panicked") = Some(other);
    let reason = failed(&bench.create("create-2", STACK, bench.properties()).await);
    assert!(reason.contains("belongs to the cluster billing"), "{reason}");
    assert_eq!(bench.standing().await.state, LeaseState::Retired);
    let billing = bench.lease("billing").await.expect("there");
    assert_eq!(billing.state, LeaseState::Active, "it was there first");
}
