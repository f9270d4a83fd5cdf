//! Calls of somebody else to EC2, as CloudTrail tells of them: whose resources they name, and what becomes of those.

use baton_arbiter::drive::Parts;
use baton_arbiter::handler::handle;
use baton_cloud::memory::Asked;
use baton_doubles::Interposed;
use baton_protocol::ec2::RouteTarget;
use baton_protocol::history::Happening;
use baton_protocol::ids::ClusterName;
use baton_protocol::request::Wish;
use baton_store::Store;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};

use crate::lossy::Lossy;
use crate::world::{DESTINATION, Woken, World, cluster};

/// As in the CloudTrail record of such a call, wrapped as EventBridge wraps it.
pub(crate) fn called(name: &str, parameters: Value) -> Value {
    json!({
        "version": "0", "id": "36eb8523-97d0-4518-b33d-ee3579ff19f0",
        "detail-type": "AWS API Call via CloudTrail", "source": "aws.ec2", "account": "123456789012",
        "time": "2026-01-01T00:00:00Z", "region": "eu-west-1", "resources": [],
        "detail": {
            "eventVersion": "1.10",
            "userIdentity": {
                "type": "AssumedRole", "principalId": "AROAEXAMPLE:alice",
                "arn": "arn:aws:sts::123456789012:assumed-role/admin/alice", "accountId": "123456789012",
            },
            "eventTime": "2026-01-01T00:00:00Z", "eventSource": "ec2.amazonaws.com", "eventName": name,
            "awsRegion": "eu-west-1", "sourceIPAddress": "192.0.2.1", "userAgent": "console.amazonaws.com",
            "requestParameters": parameters,
            "responseElements": {"requestId": "59dbff89-35bd-4eac-99ed-be587EXAMPLE", "_return": true},
            "requestID": "59dbff89-35bd-4eac-99ed-be587EXAMPLE", "eventID": "36eb8523-97d0-4518-b33d-ee3579ff19f1",
            "readOnly": false, "eventType": "AwsApiCall", "managementEvent": true,
            "recipientAccountId": "123456789012", "eventCategory": "Management",
        },
    })
}

/// Everything is at node 0 at epoch 1, and looked at for the second time.
async fn settled(addresses: usize, tables: usize) -> World {
    let world = World::new(addresses, tables).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    world.parts.cloud.clear_log();
    world
}

pub(crate) async fn rows(world: &World, wanted: impl Fn(&Happening) -> bool) -> usize {
    let history = world.parts.store.history(&cluster(), 100).await.expect("read");
    history.iter().filter(|row| wanted(&row.what)).count()
}

#[tokio::test]
async fn an_address_that_somebody_takes_away_comes_back() {
    for taken in [true, false] {
        let world = settled(1, 0).await;
        let allocation = world.addresses[0].allocation.clone();
        let event = if taken {
            world.parts.cloud.place(&allocation, &world.nodes[2].seat(0));
            called("AssociateAddress", json!({"allocationId": allocation, "allowReassociation": true}))
        } else {
            // All that the event of a disassociation names.
            let association = world.lease().await.observed.associations[&allocation].clone();
            world.parts.cloud.free(&allocation);
            called("DisassociateAddress", json!({"associationId": association}))
        };
        world.send(event).await;
        world.assert_whole_at(0, 1).await;
        assert_eq!(rows(&world, |what| matches!(what, Happening::Drift { .. })).await, 1);
        assert_eq!(rows(&world, |what| matches!(what, Happening::Repaired { .. })).await, 1);
        assert_eq!(rows(&world, |what| matches!(what, Happening::Granted { .. })).await, 1, "no failover");
        assert!(world.lease().await.verify_at.is_some(), "what was mended is looked at once more");
        assert_eq!(world.told().split_off(2), ["Drift Found", "Drift Repaired"]);
    }
}

#[tokio::test]
async fn that_a_drift_is_over_is_told_once_though_no_answer_to_its_record_or_its_rows_comes_back() {
    let world = settled(0, 1).await;
    world.told();
    world.parts.cloud.delete_route(&world.tables[0], DESTINATION);
    let parts = Parts {
        store: Interposed {
            record: world.parts.store.clone(),
            gate: Lossy { records: 4.into(), rows: 1.into(), ..Lossy::default() },
        },
        cloud: world.parts.cloud.clone(),
        successor: Woken::default(),
        origin: world.parts.origin,
        name: world.parts.name.clone(),
        brake: world.parts.brake,
    };
    let event = called("DeleteRoute", json!({"routeTableId": world.tables[0]}));
    let send = || handle(&parts, LambdaEvent::new(event.clone(), Context::default()));
    send().await.expect_err("nobody knows whether the repair was recorded, so Lambda tries again");
    world.assert_whole_at(0, 1).await;
    send().await.expect("handled");
    for what in ["Drift", "Repaired"] {
        let of = |row: &Happening| format!("{row:?}").starts_with(what);
        assert_eq!(rows(&world, of).await, 1, "{what}");
    }
    assert_eq!(parts.successor.kinds(), ["Drift Found", "Drift Repaired"]);
    assert!(world.lease().await.verify_at.is_some(), "what was mended is looked at once more");
}

#[tokio::test]
async fn a_route_that_somebody_leads_away_or_deletes_and_a_check_switched_on_are_put_right() {
    let world = settled(0, 2).await;
    let interface = world.nodes[0].interface.clone();
    let away = RouteTarget::Interface(world.nodes[2].interface.clone());
    world.parts.cloud.put_route(&world.tables[0], DESTINATION, away);
    world.send(called("ReplaceRoute", json!({"routeTableId": world.tables[0]}))).await;
    world.assert_whole_at(0, 1).await;
    world.parts.cloud.delete_route(&world.tables[1], DESTINATION);
    world.send(called("DeleteRoute", json!({"routeTableId": world.tables[1]}))).await;
    world.assert_whole_at(0, 1).await;
    world.parts.cloud.set_source_dest_check(&interface, true);
    let parameters = json!({"networkInterfaceId": interface, "sourceDestCheck": {"value": true}});
    world.send(called("ModifyNetworkInterfaceAttribute", parameters)).await;
    world.assert_whole_at(0, 1).await;
    assert_eq!(rows(&world, |what| matches!(what, Happening::Drift { .. })).await, 3);
    assert_eq!(rows(&world, |what| matches!(what, Happening::Repaired { .. })).await, 3);
}

#[tokio::test]
async fn a_route_that_somebody_led_to_a_gateway_stays_there_and_people_are_told_once() {
    let world = settled(1, 1).await;
    let gateway = RouteTarget::Other("nat-1".to_owned());
    world.parts.cloud.put_route(&world.tables[0], DESTINATION, gateway.clone());
    for _ in 0..3 {
        world.wake_for("baton.control-plane", "verify").await;
    }
    assert_eq!(world.parts.cloud.target_of(&world.tables[0], DESTINATION), Some(gateway));
    let stuck =
        |what: &Happening| matches!(what, Happening::Stuck { why, .. } if why.contains("leads to nat-1"));
    assert_eq!(rows(&world, stuck).await, 1);
    assert_eq!(world.told().split_off(2), ["Resource Stuck"]);
    // Once the gateway is gone, or the route, it is the cluster's again.
    world.parts.cloud.delete_route(&world.tables[0], DESTINATION);
    world.wake_for("baton.control-plane", "verify").await;
    world.assert_whole_at(0, 1).await;
}

#[tokio::test]
async fn a_call_without_a_drift_is_a_look_and_one_about_others_is_none() {
    let world = settled(1, 1).await;
    let before = world.lease().await;
    let own = called("AssociateAddress", json!({"allocationId": world.addresses[0].allocation}));
    assert_eq!(world.send(own.clone()).await, json!({"clusters": 1}));
    let looks = world.parts.cloud.log();
    assert!(
        !looks.is_empty() && looks.iter().all(|entry| matches!(entry.asked, Asked::Look(_))),
        "{looks:?}"
    );
    assert_eq!(world.lease().await, before, "and nothing is written");
    world.parts.cloud.clear_log();
    let foreign = called("AssociateAddress", json!({"allocationId": "eipalloc-0fedcba9876543210"}));
    let mut failed = own;
    failed["detail"]["errorCode"] = json!("Client.UnauthorizedOperation");
    for event in [foreign, failed] {
        assert_eq!(world.send(event).await, json!({"clusters": 0}));
    }
    assert_eq!(world.parts.cloud.log(), []);
}

#[tokio::test]
async fn during_a_pause_what_an_operator_moves_stays_until_the_pause_is_over() {
    let world = settled(1, 0).await;
    world.ask("pause", Wish::Pause { why: "a test by hand".to_owned() }).await;
    let allocation = world.addresses[0].allocation.clone();
    world.parts.cloud.place(&allocation, &world.nodes[1].seat(0));
    world.send(called("AssociateAddress", json!({"allocationId": allocation}))).await;
    assert_eq!(world.parts.cloud.seat_of(&allocation), Some(world.nodes[1].seat(0)));
    world.ask("resume", Wish::Resume {}).await;
    world.wake_for("baton.operator", "request").await;
    world.assert_whole_at(0, 1).await;
}

#[tokio::test]
async fn what_cannot_be_put_right_is_told_and_everything_else_is() {
    use baton_cloud::memory::{Fault, Trouble};
    let world = settled(1, 1).await;
    let (allocation, table) = (world.addresses[0].allocation.clone(), world.tables[0].clone());
    world.parts.cloud.free(&allocation);
    let away = RouteTarget::Interface(world.nodes[2].interface.clone());
    world.parts.cloud.put_route(&table, DESTINATION, away);
    world.parts.cloud.fail(Fault::on("ReplaceRoute", Trouble::Deny).always());
    world.send(called("ReplaceRoute", json!({"routeTableId": table}))).await;
    assert_eq!(world.parts.cloud.seat_of(&allocation), Some(world.nodes[0].seat(0)));
    let stuck = |what: &Happening| matches!(what, Happening::Stuck { resource, .. } if resource.contains(table.as_str()));
    assert_eq!(rows(&world, stuck).await, 1);
    world.parts.cloud.heal();
    world.wake_for("baton.control-plane", "verify").await;
    world.assert_whole_at(0, 1).await;
}

#[tokio::test]
async fn every_cluster_that_declares_what_a_call_names_is_looked_at() {
    let world = settled(1, 0).await;
    let mut other = world.registration();
    other.cluster = ClusterName::new("other").expect("valid");
    other.event.cluster = other.cluster.clone();
    world.parts.store.register(&other).await.expect("registered");
    world.parts.cloud.free(&world.addresses[0].allocation);
    let event = called("DisassociateAddress", json!({"publicIp": world.addresses[0].public_ip}));
    assert_eq!(world.send(event).await, json!({"clusters": 2}), "both declare the address");
}

#[tokio::test]
async fn a_route_left_at_a_gateway_keeps_no_move_unfinished_and_no_pause_from_being_one() {
    let mut world = settled(1, 1).await;
    let gateway = RouteTarget::Other("nat-1".to_owned());
    world.parts.cloud.put_route(&world.tables[0], DESTINATION, gateway.clone());
    // The holder releases, and the address goes to the next one; the route stays.
    let (cluster, holder) = (cluster(), world.nodes[0].arn.clone());
    let run = crate::world::incarnation();
    world
        .parts
        .store
        .release(&cluster, &holder, &run, baton_protocol::ids::Epoch(1))
        .await
        .expect("released");
    world.beat(&[0, 1, 2], None).await;
    world.wake_for("baton.agent", "release").await;
    let lease = world.lease().await;
    assert_eq!((lease.epoch.0, lease.moved), (2, lease.epoch), "the move is over but for what is left");
    assert_eq!(world.parts.cloud.target_of(&world.tables[0], DESTINATION), Some(gateway));
    let stuck = |what: &Happening| matches!(what, Happening::Stuck { .. });
    assert_eq!(rows(&world, stuck).await, 1);
    // What an operator moves in a pause stays.
    world.ask("pause", Wish::Pause { why: "a test by hand".to_owned() }).await;
    let allocation = world.addresses[0].allocation.clone();
    world.parts.cloud.place(&allocation, &world.nodes[2].seat(0));
    for why in ["sweep", "verify"] {
        world.wake_for("baton.control-plane", why).await;
    }
    assert_eq!(world.parts.cloud.seat_of(&allocation), Some(world.nodes[2].seat(0)));
}
