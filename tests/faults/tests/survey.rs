//! The twin of an account changes as a real server does: both begin alike, are asked for the same change, and are looked at.

use std::collections::BTreeSet;

use baton_conformance::engine::config_at;
use baton_doctor::survey::{Rule, Survey};
use baton_doctor::{Change, Seen};
use baton_protocol::ids::{ClusterName, InstanceId, InterfaceId};
use baton_protocol::time::WallTime;
use baton_sandbox::{Options, Sandbox};
use baton_survey::{Account, AwsAccount, MemoryAccount, Network, Question, SurveyFailure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

fn call(sandbox: &Sandbox, operation: &str, parameters: Value) -> Value {
    sandbox
        .account()
        .call("ec2", operation, &parameters)
        .unwrap_or_else(|error| panic!("{operation}: {error}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// With ids that are made of chance made alike.
fn alike(mut survey: Survey) -> Survey {
    if let Seen::Known(subnets) = &mut survey.subnets {
        subnets.iter_mut().for_each(|subnet| subnet.id.clear());
        subnets.sort_by(|a, b| a.network.cmp(&b.network));
    }
    if let Seen::Known(endpoints) = &mut survey.endpoints {
        endpoints.iter_mut().for_each(|endpoint| endpoint.id.clear());
    }
    if let Seen::Known(addresses) = &mut survey.addresses {
        let details: Vec<_> = std::mem::take(addresses).into_values().collect();
        let id = |n: usize| format!("eipalloc-{n:017x}").parse().expect("an id");
        *addresses = details.into_iter().enumerate().map(|(n, detail)| (id(n), detail)).collect();
    }
    if let Seen::Known(acls) = &mut survey.acls {
        for acl in acls {
            acl.subnets = (0..acl.subnets.len()).map(|n| n.to_string()).collect();
        }
    }
    if let Seen::Known(tables) = &mut survey.tables {
        tables.sort_by(|a, b| a.id.cmp(&b.id));
    }
    survey
}

/// Ways that may lead to the table besides endpoints: to another VPC, and by IPv6. The targets, and the table that leads there.
fn further_ways(sandbox: &Sandbox) -> (BTreeSet<String>, String) {
    let world = sandbox.world();
    let table = &world.route_tables[1];
    let made = call(sandbox, "create_transit_gateway", json!({}));
    let hub = text(&made["TransitGateway"]["TransitGatewayId"]);
    let route =
        json!({ "RouteTableId": table, "DestinationCidrBlock": "172.16.0.0/12", "TransitGatewayId": hub });
    call(sandbox, "create_route", route);
    let made = call(sandbox, "create_egress_only_internet_gateway", json!({ "VpcId": world.vpc }));
    let v6 = text(&made["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]);
    let route = json!({
        "RouteTableId": table,
        "DestinationIpv6CidrBlock": "::/0",
        "EgressOnlyInternetGatewayId": v6,
    });
    call(sandbox, "create_route", route);
    ([hub, v6].into(), table.clone())
}

/// A sandbox that lacks what the changes bring, and what is asked about it.
fn world(sandbox: &Sandbox) -> (Question, Vec<Change>) {
    let world = sandbox.world();
    let instance = |n: usize| InstanceId::new(&world.instances[n].id).expect("an id");
    let interface = |n: usize| InterfaceId::new(&world.instances[n].interface).expect("an id");
    let cluster = ClusterName::new("orders").expect("valid");
    sandbox.account().stop_instance(&world.instances[2].id).expect("it is stopped");
    let options = json!({ "InstanceId": world.instances[1].id, "HttpEndpoint": "disabled" });
    call(sandbox, "modify_instance_metadata_options", options);
    let made = call(sandbox, "create_network_interface", json!({ "SubnetId": world.instances[0].subnet }));
    let further = text(&made["NetworkInterface"]["NetworkInterfaceId"]);
    let found = call(
        sandbox,
        "describe_network_interfaces",
        json!({ "NetworkInterfaceIds": [world.instances[0].interface] }),
    );
    let group = text(&found["NetworkInterfaces"][0]["Groups"][0]["GroupId"]);
    let filters = json!([{ "Name": "vpc-id", "Values": [world.vpc] }]);
    let found = call(sandbox, "describe_network_acls", json!({ "Filters": filters }));
    let acl = text(&found["NetworkAcls"][0]["NetworkAclId"]);
    // The third subnet has no table yet, since there are two.
    let further = InterfaceId::new(further).expect("an id");
    let rule = |peer: &str| Rule { protocol: "tcp".to_owned(), from: 443, to: 443, peer: peer.to_owned() };
    let changes = vec![
        Change::Start(instance(2)),
        Change::EnableMetadata(instance(1)),
        Change::RequireToken(instance(1)),
        Change::DisableAutoRecovery(instance(0)),
        Change::DisableSourceDestCheck(interface(0)),
        Change::AttachInterface { interface: further.clone(), instance: instance(0), index: 1 },
        Change::AssociateTable { subnet: world.subnets[2].clone(), table: world.route_tables[0].clone() },
        Change::CreateSubnet {
            vpc: world.vpc.clone(),
            zone: "euw1-az1".to_owned(),
            network: "10.0.9.0/24".to_owned(),
        },
        Change::AllocateAddress(cluster.clone()),
        Change::CreateEndpoint {
            vpc: world.vpc.clone(),
            service: "com.amazonaws.eu-west-1.dynamodb".to_owned(),
            tables: vec![world.route_tables[0].clone()],
        },
        Change::AuthorizeEgress { group: group.clone(), rule: rule("10.9.0.0/16") },
        Change::AuthorizeIngress { group, rule: rule("10.9.0.0/16") },
        Change::AllowInAcl { acl, number: 49, egress: true, ports: (443, 443) },
        Change::AssociateProfile {
            instance: instance(0),
            profile: "arn:aws:iam::123456789012:instance-profile/baton-nodes".to_owned(),
        },
        Change::Tag { resource: further.to_string(), cluster },
    ];
    let instances = (0..3).map(instance).collect();
    let interfaces = (0..3).map(interface).chain([further]).collect();
    (Question { instances, interfaces, now: WallTime(1_800_000_000_000) }, changes)
}

#[test]
fn the_twin_of_an_account_changes_as_the_server_does() {
    let sandbox = Sandbox::start(&Options::default(), &mut |_| ()).expect("the servers start");
    let (question, changes) = world(&sandbox);
    let (further, by) = further_ways(&sandbox);
    Runtime::new().expect("threads can be started").block_on(async {
        let limits = baton_conformance::engine::PATIENT;
        let server = AwsAccount::new(&config_at(&sandbox.moto().endpoint(), limits).await);
        let mut before = server.survey(&question).await;
        // An interface that nothing is attached to yet is not found by its instance, but by its id.
        assert!(before.interfaces.known().is_some_and(|found| found.len() == 4), "{:?}", before.interfaces);
        let tables = before.tables.known().expect("they are read");
        let table = tables.iter().find(|table| table.id == by).expect("it is there");
        assert!(table.further.is_superset(&further), "{:?}", table.further);
        let mut network = Network::default();
        server.network(&question, &mut network).await;
        assert_eq!(network.passing(), None);
        let told = network.told();
        assert_eq!((&told.tables, &told.acls), (&before.tables, &before.acls));
        assert_eq!((&told.endpoints, &told.groups), (&before.endpoints, &before.groups));
        assert_eq!(told.trails, Seen::Unasked, "nothing besides");
        for change in changes {
            // The twin begins each time as the server is, since it makes ids of its own.
            let twin = MemoryAccount::new(before.clone());
            let may = server.may(&change).await;
            assert!(matches!(may, None | Some(Ok(()))), "{change}: {may:?}");
            server.make(&change).await.unwrap_or_else(|failure| panic!("{change}: {failure}"));
            twin.make(&change).await.unwrap_or_else(|failure| panic!("{change}: {failure}"));
            let after = server.survey(&question).await;
            assert_ne!(alike(before), alike(after.clone()), "{change} changes nothing");
            assert_eq!(alike(twin.survey(&question).await), alike(after.clone()), "{change}");
            before = after;
        }
        let wake = Change::Wake(ClusterName::new("orders").expect("valid"));
        assert!(
            matches!(server.make(&wake).await, Err(SurveyFailure::Refused { .. })),
            "the bus wakes, and nobody else"
        );
    });
}
