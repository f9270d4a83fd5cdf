//! The templates, deployed to the stand-in for an AWS account, and their policies, tried there.
//!
//! The functions are a script that says yes; what is tried is what CloudFormation makes of the templates and
//! what IAM makes of the policies in them.

mod support;

use std::collections::BTreeMap;

use baton_sandbox::ACCOUNT_ID;
use baton_sandbox::account::{Account, World};
use baton_store::condition::AGENT_ATTRIBUTES;
use baton_templates::workspace;
use serde_json::{Value, json};
use support::{create, deploy};

fn update(pk: &str, sk: &str, attributes: &[&str]) -> Value {
    let set: Vec<String> = attributes.iter().map(|name| format!("#{name} = :one")).collect();
    let names: BTreeMap<_, _> = attributes.iter().map(|name| (format!("#{name}"), *name)).collect();
    json!({
        "TableName": "baton", "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
        "UpdateExpression": format!("SET {}", set.join(", ")),
        "ExpressionAttributeNames": names, "ExpressionAttributeValues": {":one": {"N": "1"}},
    })
}

fn get(pk: &str, sk: &str) -> Value {
    json!({"TableName": "baton", "Key": {"pk": {"S": pk}, "sk": {"S": sk}}})
}

fn wake(source: &str, detail_type: &str) -> Value {
    json!({"Entries": [{"Source": source, "DetailType": detail_type, "Detail": "{}", "EventBusName": "baton"}]})
}

#[test]
fn a_node_takes_part_in_its_own_cluster_as_itself_and_nothing_else() {
    let deployment = deploy();
    let role = deployment.role("node", &[&deployment.cluster.outputs["NodePolicyArn"]]);
    let instances = &deployment.sandbox.world().instances;
    let (id, mine) = (&instances[0].id, format!("C#orders#I#{}", instances[0].arn()));
    let theirs = format!("C#orders#I#{}", instances[1].arn());
    let allowed = |service: &str, operation: &str, parameters: &Value| {
        deployment.allowed(&role, id, service, operation, parameters)
    };

    let written: Vec<&str> =
        AGENT_ATTRIBUTES.iter().copied().filter(|name| !["pk", "sk"].contains(name)).collect();
    assert!(allowed("dynamodb", "update_item", &update(&mine, "HEARTBEAT", &written)), "its own heartbeat");
    assert!(
        allowed("dynamodb", "update_item", &update(&mine, "WAKE", &["why", "at", "schema"])),
        "its own wake"
    );
    let mut refused = update(&mine, "HEARTBEAT", &["seq"]);
    refused["ConditionExpression"] = json!("attribute_not_exists(pk)");
    refused["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
    assert!(
        allowed("dynamodb", "update_item", &refused),
        "a conditional write that shows why it was refused"
    );
    for (what, parameters) in [
        ("another node's heartbeat", update(&theirs, "HEARTBEAT", &["seq"])),
        ("the lease", update("C#orders", "LEASE", &["seq"])),
        (
            "its own item in another cluster",
            update(&mine.replace("orders", "payments"), "HEARTBEAT", &["seq"]),
        ),
        ("an attribute that is no heartbeat's", update(&mine, "HEARTBEAT", &["epoch"])),
    ] {
        assert!(!allowed("dynamodb", "update_item", &parameters), "{what}");
    }
    let whole = json!({"TableName": "baton", "Item": {"pk": {"S": mine}, "sk": {"S": "HEARTBEAT"}}});
    assert!(!allowed("dynamodb", "put_item", &whole), "replacing its whole item");
    assert!(!allowed("dynamodb", "delete_item", &get(&mine, "HEARTBEAT")), "deleting its item");

    assert!(allowed("dynamodb", "get_item", &get("C#orders", "LEASE")), "the lease");
    let keys = json!([get(&mine, "HEARTBEAT")["Key"], get(&theirs, "HEARTBEAT")["Key"]]);
    let batch = json!({"RequestItems": {"baton": {"Keys": keys, "ConsistentRead": true}}});
    assert!(allowed("dynamodb", "batch_get_item", &batch), "its cluster's heartbeats");
    assert!(
        !allowed("dynamodb", "get_item", &get("C#orders-2", "LEASE")),
        "the lease of a cluster with a longer name"
    );
    assert!(!allowed("dynamodb", "get_item", &get("CLUSTERS", "C#orders")), "the directory");
    assert!(!allowed("dynamodb", "scan", &json!({"TableName": "baton"})), "the whole table");

    assert!(allowed("events", "put_events", &wake("baton.agent", "Wake")), "its wake");
    assert!(!allowed("events", "put_events", &wake("baton.operator", "Wake")), "an operator's wake");
    assert!(!allowed("events", "put_events", &wake("baton.agent", "Order")), "an event that is no wake");

    let elsewhere = deployment.allowed(&role, "laptop", "dynamodb", "get_item", &get("C#orders", "LEASE"));
    assert!(!elsewhere, "the role in other hands than an instance's");
}

#[test]
fn the_role_of_a_shared_vpc_is_taken_on_by_the_functions_for_its_cluster_and_by_nobody_else() {
    let deployment = deploy();
    let outputs = &deployment.control_plane.outputs;
    let of_cluster = |cluster: &str, more: &[(&str, &str)]| {
        let given: Vec<_> = [
            ("Cluster", cluster),
            ("ArbiterRoleArn", &*outputs["ArbiterRoleArn"]),
            ("RegistrarRoleArn", &*outputs["RegistrarRoleArn"]),
        ]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
        let stack = format!("tables-{cluster}");
        create(deployment.account(), &stack, &workspace("infra/shared-vpc-role.yaml"), &given).outputs
    };
    let orders = of_cluster("orders", &[("AllowSubnetTables", "true")]);
    let elsewhere = of_cluster("billing", &[("RoleName", "tables")]);
    assert!(orders["RoleArn"].ends_with(":role/baton-route-tables-orders"), "{orders:?}");
    let taken_on = |by: &str, role: &str, external_id: Option<&str>| {
        let mut parameters = json!({"RoleArn": role, "RoleSessionName": "baton-orders"});
        if let Some(external_id) = external_id {
            parameters["ExternalId"] = json!(external_id);
        }
        deployment.allowed(by, "function", "sts", "assume_role", &parameters)
    };
    let (role, told) = (&*orders["RoleArn"], Some(&*orders["ExternalId"]));
    for function in ["ArbiterRoleArn", "RegistrarRoleArn"] {
        let by = &*outputs[function];
        assert!(taken_on(by, role, told), "{function}");
        assert!(!taken_on(by, role, Some("baton/billing")), "{function}: for another cluster");
        assert!(!taken_on(by, role, None), "{function}: for none");
        let other = (&*elsewhere["RoleArn"], Some(&*elsewhere["ExternalId"]));
        assert!(!taken_on(by, other.0, other.1), "{function}: a role that the control plane does not name");
    }
    let resources = deployment.account().stack_resources("baton").expect("listed");
    let sweeper = format!("arn:aws:iam::{ACCOUNT_ID}:role/{}", resources["SweeperRole"]);
    assert!(!taken_on(&sweeper, role, told), "the sweeper asks nothing of EC2");
}

#[test]
fn an_operator_asks_and_a_viewer_looks() {
    let deployment = deploy();
    let outputs = &deployment.control_plane.outputs;
    let viewer = deployment.role("viewer", &[&outputs["ViewerPolicyArn"]]);
    let operator = deployment.role("operator", &[&outputs["ViewerPolicyArn"], &outputs["OperatorPolicyArn"]]);
    let allowed = |role: &str, service: &str, operation: &str, parameters: &Value| {
        deployment.allowed(role, "somebody", service, operation, parameters)
    };
    let asked = |lease: &[&str]| {
        let mut lease = update("C#orders", "LEASE", lease);
        lease["ConditionExpression"] = json!("attribute_exists(pk)");
        lease["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
        json!({"TransactItems": [{"Update": lease}, {"Update": update("C#orders", "REQUEST#1", &["request"])}]})
    };

    for attributes in [&["intent"][..], &["paused"]] {
        assert!(allowed(&operator, "dynamodb", "transact_write_items", &asked(attributes)), "{attributes:?}");
        assert!(!allowed(&viewer, "dynamodb", "transact_write_items", &asked(attributes)), "{attributes:?}");
    }
    for attributes in [&["epoch"][..], &["holder"], &["intent", "holder"], &["uid"]] {
        assert!(
            !allowed(&operator, "dynamodb", "transact_write_items", &asked(attributes)),
            "{attributes:?}"
        );
    }
    let node = format!("C#orders#I#{}", deployment.sandbox.world().instances[0].arn());
    for (pk, sk) in [(&*node, "HEARTBEAT"), ("CLUSTERS", "C#orders")] {
        assert!(!allowed(&operator, "dynamodb", "update_item", &update(pk, sk, &["request"])), "{pk}");
    }
    let mut shown = update("C#orders", "LEASE", &["intent"]);
    shown["ReturnValues"] = json!("ALL_NEW");
    assert!(
        !allowed(&operator, "dynamodb", "update_item", &shown),
        "an update that shows more than it changes"
    );

    for role in [&viewer, &operator] {
        assert!(allowed(role, "dynamodb", "get_item", &get("C#orders", "LEASE")));
    }
    assert!(allowed(&operator, "events", "put_events", &wake("baton.operator", "Wake")));
    assert!(!allowed(&operator, "events", "put_events", &wake("baton.control-plane", "Wake")));
    assert!(!allowed(&viewer, "events", "put_events", &wake("baton.operator", "Wake")));
}

#[test]
fn the_registrar_is_given_what_the_parameters_say_and_the_table_outlives_its_stack() {
    let deployment = deploy();
    let world = deployment.sandbox.world();
    let given: Value =
        serde_json::from_str(&deployment.cluster.outputs["Uid"]).expect("the properties came back");
    assert_eq!(given["Nodes"], json!([node(world, 0, "a"), node(world, 1, "b"), node(world, 2, "c")]));
    assert_eq!(given["Addresses"], json!([world.addresses[0].allocation]));
    assert_eq!(
        given["Routes"],
        json!([{
            "Destination": world.destination, "RouteTableIds": world.route_tables, "ReplaceGatewayRoutes": "false",
        }])
    );
    assert_eq!((&given["Mode"], &given["Timing"]), (&json!("strict"), &json!("default")));

    let account = deployment.account();
    destinations_and_tables_are_given(account, world);
    nodes_by_tag_are_given(account, world);

    let clusters = ["orders", "nat", "vpn", "mesh", "db"].map(|name| format!("baton-cluster-{name}"));
    let others = ["by-group", "by-tag"].map(str::to_owned);
    for stack in clusters.into_iter().chain(others) {
        let end = account.delete_stack(&stack).expect("the stack is settled");
        assert_eq!(end.status, "DELETE_COMPLETE", "{stack}: {:?}", end.failures);
    }
    let end = account.delete_stack("baton").expect("the stack is settled");
    assert_eq!(end.status, "DELETE_COMPLETE", "{:?}", end.failures);
    let table =
        account.call("dynamodb", "describe_table", &json!({"TableName": "baton"})).expect("it is there");
    assert_eq!(table["Table"]["DeletionProtectionEnabled"], true);
}

fn node(world: &World, number: usize, name: &str) -> Value {
    let priority = (10 * (number + 1)).to_string();
    json!({"Name": name, "InstanceId": world.instances[number].id, "Priority": priority})
}

fn destinations_and_tables_are_given(account: &Account, world: &World) {
    let a_pair = [
        ("Cluster", "nat"),
        ("NodeAInstanceId", &*world.instances[0].id),
        ("NodeBInstanceId", &*world.instances[1].id),
        ("Addresses", &*world.addresses[0].allocation),
        ("AddressDeviceIndex", "1"),
        ("RouteDestination", "0.0.0.0/0"),
        ("RouteTableIds", "rtb-0123456789abcdef0,rtb-0123456789abcdef1"),
        ("SecondRouteDestination", "::/0"),
        ("ReplaceGatewayRoutes", "true"),
        ("RouteDeviceIndex", "1"),
    ];
    let pair = create(account, "baton-cluster-nat", &workspace("infra/cluster.yaml"), &a_pair);
    let given: Value = serde_json::from_str(&pair.outputs["Uid"]).expect("the properties came back");
    let routes = |destination: &str, tables: Value| json!({"Destination": destination, "RouteTableIds": tables, "ReplaceGatewayRoutes": "true"});
    let tables = json!(["rtb-0123456789abcdef0", "rtb-0123456789abcdef1"]);
    assert_eq!(given["Nodes"], json!([node(world, 0, "a"), node(world, 1, "b")]));
    assert_eq!(given["Routes"], json!([routes("0.0.0.0/0", tables.clone()), routes("::/0", tables.clone())]));
    let second = json!({"DeviceIndex": "1"});
    assert_eq!((&given["AddressInterface"], &given["RouteInterface"]), (&second, &second));

    let apart = [
        ("Cluster", "vpn"),
        ("NodeAInstanceId", &*world.instances[0].id),
        ("NodeBInstanceId", &*world.instances[1].id),
        ("RouteDestination", "0.0.0.0/0"),
        ("RouteTableIds", "rtb-0123456789abcdef0,rtb-0123456789abcdef1"),
        ("SecondRouteDestination", "::/0"),
        ("SecondRouteTableIds", "rtb-0123456789abcdef2"),
        ("ReplaceGatewayRoutes", "true"),
    ];
    let apart = create(account, "baton-cluster-vpn", &workspace("infra/cluster.yaml"), &apart);
    let given: Value = serde_json::from_str(&apart.outputs["Uid"]).expect("the properties came back");
    let second = routes("::/0", json!(["rtb-0123456789abcdef2"]));
    assert_eq!(given["Routes"], json!([routes("0.0.0.0/0", tables), second]));
    assert_eq!((&given["AddressInterface"], &given["RouteInterface"]), (&Value::Null, &Value::Null));

    let found = [
        ("Cluster", "mesh"),
        ("NodeAInstanceId", &*world.instances[0].id),
        ("NodeBInstanceId", &*world.instances[1].id),
        ("RouteDestination", "0.0.0.0/0"),
        ("RouteTableTagKey", "side"),
        ("RouteTableTagValue", "private"),
        ("SecondRouteDestination", "::/0"),
    ];
    let found = create(account, "baton-cluster-mesh", &workspace("infra/cluster.yaml"), &found);
    let given: Value = serde_json::from_str(&found.outputs["Uid"]).expect("the properties came back");
    let by_tag = |destination: &str| {
        json!({
            "Destination": destination, "RouteTableTag": {"Key": "side", "Value": "private"},
            "ReplaceGatewayRoutes": "false",
        })
    };
    assert_eq!(given["Routes"], json!([by_tag("0.0.0.0/0"), by_tag("::/0")]));

    let alone = [
        ("Cluster", "db"),
        ("NodeAInstanceId", &*world.instances[0].id),
        ("NodeBInstanceId", &*world.instances[1].id),
        ("Addresses", &*world.addresses[0].allocation),
    ];
    let alone = create(account, "baton-cluster-db", &workspace("infra/cluster.yaml"), &alone);
    let given: Value = serde_json::from_str(&alone.outputs["Uid"]).expect("the properties came back");
    assert_eq!(given["Routes"], json!([]));
}

fn nodes_by_tag_are_given(account: &Account, world: &World) {
    let from = |stack: &str, parameters: &[(&str, &str)]| {
        let given: Vec<_> = [("Cluster", stack), ("Addresses", &*world.addresses[0].allocation)]
            .into_iter()
            .chain(parameters.iter().copied())
            .collect();
        let made = create(account, stack, &workspace("infra/cluster.yaml"), &given);
        serde_json::from_str::<Value>(&made.outputs["Uid"]).expect("the properties came back")
    };
    let given = from("by-group", &[("AutoScalingGroup", "nat")]);
    assert_eq!((&given["NodesFrom"], given.get("Nodes")), (&json!({"AutoScalingGroupName": "nat"}), None));
    assert_eq!(given["MaxNodes"], json!("3"));
    let given = from("by-tag", &[("NodeTagKey", "role"), ("NodeTagValue", "nat"), ("MaxNodes", "5")]);
    assert_eq!(given["NodesFrom"], json!({"Tag": {"Key": "role", "Value": "nat"}}));
    assert_eq!(given["MaxNodes"], json!("5"));
}
