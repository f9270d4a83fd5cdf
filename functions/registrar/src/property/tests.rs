use baton_protocol::choice::InterfaceChoice;
use baton_protocol::failback::Window;
use serde_json::json;

use super::*;

fn good() -> Value {
    json!({
        "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:baton-registrar",
        "ServiceTimeout": "600",
        "Cluster": "orders",
        "Mode": "available",
        "Timing": "fast",
        "Nodes": [
            { "Name": "a", "InstanceId": "i-00000001", "Priority": "10" },
            { "Name": "b", "InstanceId": "i-00000002" },
        ],
        "Addresses": ["eipalloc-00000001", "eipalloc-00000002"],
        "Routes": [{ "Destination": "192.0.2.10/32", "RouteTableIds": ["rtb-00000001", "rtb-00000002"] }],
    })
}

fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut properties = good();
    change(&mut properties);
    parse(&properties).expect_err("a property is wrong")
}

#[test]
fn good_properties_are_read_in_full() {
    let desired = parse(&good()).expect("good");
    assert_eq!(
        (desired.cluster.as_str(), desired.mode, desired.timing),
        ("orders", Mode::Available, Timing::FAST)
    );
    let nodes: Vec<_> = desired.nodes.iter().map(|node| (node.node.as_str(), node.priority)).collect();
    assert_eq!(nodes, [("a", 10), ("b", 100)]);
    assert_eq!(desired.addresses[1].as_str(), "eipalloc-00000002");
    let routes: Vec<_> =
        desired.routes.iter().map(|route| (route.table.as_str(), route.destination.to_string())).collect();
    assert_eq!(
        routes,
        [("rtb-00000001", "192.0.2.10/32".to_owned()), ("rtb-00000002", "192.0.2.10/32".to_owned())]
    );
}

#[test]
fn what_is_left_out_is_strict_and_default_and_empty() {
    let properties = json!({
        "Cluster": "orders",
        "Nodes": [{ "Name": "a", "InstanceId": "i-00000001" }, { "Name": "b", "InstanceId": "i-00000002" }],
        "Addresses": ["eipalloc-00000001"],
    });
    let desired = parse(&properties).expect("good");
    assert_eq!((desired.mode, desired.timing), (Mode::Strict, Timing::DEFAULT));
    assert_eq!(desired.routes, []);
}

#[test]
fn routes_are_taken_from_gateways_only_where_that_is_asked_for() {
    let taken = |value: Value| {
        let mut properties = good();
        properties["Routes"][0]["ReplaceGatewayRoutes"] = value;
        parse(&properties).map(|desired| desired.from_gateways.len())
    };
    assert_eq!(parse(&good()).map(|desired| desired.from_gateways.len()), Ok(0));
    assert_eq!((taken(json!("false")), taken(json!(false))), (Ok(0), Ok(0)));
    assert_eq!((taken(json!("true")), taken(json!(true))), (Ok(2), Ok(2)));
    let expected = "Routes[0].ReplaceGatewayRoutes: expected `true` or `false`, found `yes`";
    assert_eq!(taken(json!("yes")), Err(vec![expected.to_owned()]));
}

#[test]
fn numbers_may_be_text_as_cloudformation_makes_them() {
    let explicit = json!({
        "heartbeat_ms": "1000", "attempt_timeout_ms": 700, "validity_ms": "4000", "fence_ms": "750",
        "hidden_pause_ms": 1000, "clock_error_ppm": "10000", "silence_ms": "6000",
    });
    let mut properties = good();
    properties["Timing"] = explicit;
    assert_eq!(parse(&properties).map(|desired| desired.timing), Ok(Timing::DEFAULT));
}

#[test]
fn a_mistake_is_told_with_its_path_what_was_expected_and_what_was_found() {
    assert_eq!(
        wrong(|p| p["Nodes"][1]["InstanceId"] = json!("web-1")),
        ["Nodes[1].InstanceId: expected an instance id: `i-` and 8 or 17 hexadecimal digits, found `web-1`"]
    );
    assert_eq!(
        wrong(|p| p["Addresses"] = json!("eipalloc-00000001")),
        ["Addresses: expected a list, found `eipalloc-00000001`"]
    );
    assert_eq!(
        wrong(|p| p["Mode"] = json!("fast")),
        ["Mode: expected `strict` or `available`, found `fast`"]
    );
    assert_eq!(
        wrong(|p| p["Nodes"][0]["Priority"] = json!("0")),
        ["Nodes[0].Priority: expected a priority from 1 to 999, found `0`"]
    );
    assert_eq!(
        wrong(|p| p["Nodes"][0]["Priority"] = json!([])),
        ["Nodes[0].Priority: expected a whole number, found a list"]
    );
    assert_eq!(
        wrong(|p| p["Routes"][0]["RouteTableIds"] = json!([])),
        ["Routes[0].RouteTableIds: expected at least one route table id, found a list"]
    );
    let found = wrong(|p| p["Routes"][0]["Destination"] = json!("192.0.2.10"));
    assert!(found[0].starts_with("Routes[0].Destination: expected a destination"), "{found:?}");
}

#[test]
fn every_mistake_is_told_at_once() {
    let found = wrong(|p| {
        p["Cluster"] = json!("Orders");
        p["Nodes"][0]["Name"] = json!(null);
        p["Nodes"][1]["InstanceId"] = json!(7);
        p["Addresses"][0] = json!("eip-1");
    });
    let paths: Vec<_> = found.iter().filter_map(|text| text.split_once(": ")).map(|(path, _)| path).collect();
    assert_eq!(paths, ["Cluster", "Nodes[0].Name", "Nodes[1].InstanceId", "Addresses[0]"]);
}

#[test]
fn a_property_that_nobody_knows_is_a_mistake() {
    let found = wrong(|p| p["Adresses"] = json!([]));
    assert!(found[0].starts_with("Adresses: expected one of ServiceToken, "), "{found:?}");
    let found = wrong(|p| p["Nodes"][0]["Prioriy"] = json!(1));
    assert!(found[0].starts_with("Nodes[0].Prioriy: "), "{found:?}");
}

#[test]
fn a_timing_that_breaks_the_inequality_is_refused_with_the_reason() {
    let found = wrong(|p| {
        p["Timing"] = json!({
            "heartbeat_ms": 1000, "attempt_timeout_ms": 700, "validity_ms": 4000, "fence_ms": 750,
            "hidden_pause_ms": 1000, "clock_error_ppm": 10000, "silence_ms": 4000,
        });
    });
    assert!(found[0].starts_with("Timing: silence_ms is 4000, expected at least"), "{found:?}");
}

#[test]
fn an_explicit_timing_names_every_duration() {
    let found = wrong(|p| p["Timing"] = json!({ "heartbeat_ms": 1000 }));
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(found[0], "Timing.attempt_timeout_ms: expected a whole number, found nothing");
}

#[test]
fn what_is_not_even_a_map_is_refused() {
    for odd in [json!(null), json!([]), json!("orders"), json!(1)] {
        let found = parse(&odd).expect_err("no map");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("ResourceProperties: expected a map"), "{found:?}");
    }
}

#[test]
fn long_texts_are_cut_and_long_lists_not_looked_at() {
    let found = wrong(|p| p["Mode"] = json!("x".repeat(10_000)));
    assert!(found[0].len() < 200, "{}", found[0].len());
    let found = wrong(|p| p["Addresses"] = json!(vec!["x"; 501]));
    assert_eq!(found, ["Addresses: expected at most 500 entries, found 501"]);
}

#[test]
fn the_cluster_is_found_whatever_else_is_wrong() {
    let properties = json!({ "Cluster": "orders", "Nodes": 7 });
    assert_eq!(cluster(&properties).map(|name| name.to_string()), Some("orders".to_owned()));
    assert_eq!(cluster(&json!({ "Cluster": "Orders" })), None);
}

#[test]
fn who_decides_about_a_silent_holder_is_read_with_its_wait_and_nothing_is_guessed() {
    let read = |takeover: Value, after: Value| {
        let mut properties = good();
        properties["Takeover"] = takeover;
        properties["ConfirmAfterSeconds"] = after;
        parse(&properties).map(|desired| desired.takeover)
    };
    assert_eq!(read(Value::Null, Value::Null), Ok(Takeover::Automatic));
    assert_eq!(read(json!("automatic"), Value::Null), Ok(Takeover::Automatic));
    assert_eq!(read(json!("notify"), Value::Null), Ok(Takeover::Notify));
    for (seconds, after_ms) in [(10, 10_000), (86_400, 86_400_000)] {
        assert_eq!(read(json!("confirm"), json!(seconds)), Ok(Takeover::Confirm { after_ms }));
    }
    assert_eq!(read(json!("confirm"), json!("600")), Ok(Takeover::Confirm { after_ms: 600_000 }));
    for (takeover, after, told) in [
        (json!("confirm"), Value::Null, "ConfirmAfterSeconds: expected a whole number, found nothing"),
        (json!("confirm"), json!("9"), "ConfirmAfterSeconds: expected 10 to 86400 seconds, found `9`"),
        (json!("confirm"), json!(86_401), "ConfirmAfterSeconds: expected 10 to 86400 seconds, found 86401"),
        (
            json!("notify"),
            json!(60),
            "ConfirmAfterSeconds: expected nothing, as nothing is to be confirmed, found 60",
        ),
        (json!("never"), Value::Null, "Takeover: expected `automatic`, `confirm` or `notify`, found `never`"),
        (json!(1), Value::Null, "Takeover: expected `automatic`, `confirm` or `notify`, found 1"),
    ] {
        assert_eq!(read(takeover, after), Err(vec![told.to_owned()]));
    }
}

#[test]
fn a_cool_down_is_an_hour_at_most_and_none_unless_it_is_chosen() {
    let read = |value: Value| {
        let mut properties = good();
        properties["CoolDownSeconds"] = value;
        parse(&properties).map(|desired| desired.cool_down_ms)
    };
    assert_eq!(read(Value::Null), Ok(0));
    assert_eq!((read(json!("0")), read(json!(90)), read(json!("3600"))), (Ok(0), Ok(90_000), Ok(3_600_000)));
    let expected = "CoolDownSeconds: expected 0 to 3600 seconds, found `3601`";
    assert_eq!(read(json!("3601")), Err(vec![expected.to_owned()]));
    let expected = "CoolDownSeconds: expected a whole number, found `soon`";
    assert_eq!(read(json!("soon")), Err(vec![expected.to_owned()]));
}

#[test]
fn a_fence_is_none_unless_it_is_chosen() {
    let read = |value: Value| {
        let mut properties = good();
        properties["Fencing"] = value;
        parse(&properties).map(|desired| desired.fencing)
    };
    assert_eq!((read(Value::Null), read(json!("none"))), (Ok(Fencing::None), Ok(Fencing::None)));
    assert_eq!(read(json!("stop")), Ok(Fencing::Stop));
    for (value, found) in [(json!("terminate"), "`terminate`"), (json!(true), "true")] {
        assert_eq!(read(value), Err(vec![format!("Fencing: expected `none` or `stop`, found {found}")]));
    }
}

#[test]
fn a_failback_is_manual_unless_it_is_chosen_with_a_hold_and_a_window_that_fit() {
    let read = |failback: Value, hold: Value, window: Value| {
        let mut properties = good();
        properties["Failback"] = failback;
        properties["FailbackHoldSeconds"] = hold;
        properties["FailbackWindow"] = window;
        parse(&properties).map(|desired| desired.failback)
    };
    let none = Value::Null;
    let automatic = || json!("automatic");
    assert_eq!(read(none.clone(), none.clone(), none.clone()), Ok(Failback::Manual));
    assert_eq!(read(json!("manual"), none.clone(), none.clone()), Ok(Failback::Manual));
    let chosen = |hold_ms, window: Option<&str>| {
        Ok(Failback::Automatic { hold_ms, window: window.and_then(Window::parse) })
    };
    assert_eq!(read(automatic(), none.clone(), none.clone()), chosen(600_000, None));
    assert_eq!(read(automatic(), json!("60"), none.clone()), chosen(60_000, None));
    let window = "Sat,Sun 22:00-02:00";
    assert_eq!(read(automatic(), json!(86_400), json!(window)), chosen(86_400_000, Some(window)));
    for (failback, hold, window, told) in [
        (
            json!("always"),
            none.clone(),
            none.clone(),
            "Failback: expected `manual` or `automatic`, found `always`",
        ),
        (
            none.clone(),
            json!("600"),
            none.clone(),
            "FailbackHoldSeconds: expected nothing, as failback is manual, found `600`",
        ),
        (
            json!("manual"),
            none.clone(),
            json!("02:00-04:00"),
            "FailbackWindow: expected nothing, as failback is manual, found `02:00-04:00`",
        ),
        (
            automatic(),
            json!("59"),
            none.clone(),
            "FailbackHoldSeconds: expected 60 to 86400 seconds, found `59`",
        ),
        (
            automatic(),
            json!("soon"),
            none.clone(),
            "FailbackHoldSeconds: expected a whole number, found `soon`",
        ),
        (
            automatic(),
            none.clone(),
            json!("at night"),
            "FailbackWindow: expected a time of the day in UTC as `02:00-04:00`, with days before it or not as \
             `Sat,Sun 22:00-02:00`, found `at night`",
        ),
    ] {
        assert_eq!(read(failback, hold, window), Err(vec![told.to_owned()]));
    }
}

#[test]
fn a_subnet_has_one_table_for_each_node() {
    let subnets = |value: Value| {
        let mut properties = good();
        properties["SubnetTables"] = value;
        parse(&properties).map(|desired| desired.subnets)
    };
    assert_eq!(parse(&good()).map(|desired| desired.subnets), Ok(Vec::new()));
    let tables = json!({ "a": "rtb-0000000a", "b": "rtb-0000000b" });
    let read = subnets(json!([{ "SubnetId": "subnet-00000001", "Tables": tables }])).expect("good");
    let named: Vec<_> = read[0].tables.iter().map(|(node, table)| (node.as_str(), table.as_str())).collect();
    assert_eq!(read[0].subnet.as_str(), "subnet-00000001");
    assert_eq!(named, [("a", "rtb-0000000a"), ("b", "rtb-0000000b")]);

    let wrong = |tables: Value| {
        subnets(json!([{ "SubnetId": "subnet-00000001", "Tables": tables }])).expect_err("wrong")
    };
    for (tables, expected) in [
        (
            json!({ "a": "rtb-0000000a" }),
            "SubnetTables[0].Tables.b: expected a route table id, found nothing",
        ),
        (
            json!({ "a": "rtb-0000000a", "b": "rtb-0000000a" }),
            "SubnetTables[0].Tables.b: expected a route table of this node alone, found `rtb-0000000a`",
        ),
        (
            json!({ "a": "rtb-0000000a", "b": "rtb-0000000b", "c": "rtb-0000000c" }),
            "SubnetTables[0].Tables.c: expected the name of a node, found a property of this name",
        ),
        (
            json!({ "a": "rtb-0000000a", "b": "igw-0000000b" }),
            "SubnetTables[0].Tables.b: expected a route table id: `rtb-` and 8 or 17 hexadecimal digits, found `igw-0000000b`",
        ),
        (
            json!(["rtb-0000000a"]),
            "SubnetTables[0].Tables: expected a map from each node's name to a route table id, found a list",
        ),
    ] {
        assert_eq!(wrong(tables), [expected]);
    }
    let id =
        subnets(json!([{ "SubnetId": "vpc-1", "Tables": { "a": "rtb-0000000a", "b": "rtb-0000000b" } }]));
    assert!(id.expect_err("wrong")[0].starts_with("SubnetTables[0].SubnetId: "));
}

#[test]
fn nodes_are_named_one_by_one_or_by_a_group_or_another_tag() {
    let read = |from: Value, most: Value, priority: Value| {
        let mut properties = good();
        properties.as_object_mut().expect("a map").remove("Nodes");
        properties["NodesFrom"] = from;
        properties["MaxNodes"] = most;
        properties["Priority"] = priority;
        parse(&properties).map(|desired| (desired.nodes.len(), desired.roster.expect("there")))
    };
    let group = json!({ "AutoScalingGroupName": "nat" });
    let roster = |tag, most, priority| Ok((0, Roster { tag, most, priority, changed: WallTime(0) }));
    let nat = Tag::of_group("nat").expect("valid");
    assert_eq!(read(group.clone(), Value::Null, Value::Null), roster(nat.clone(), 3, 100));
    assert_eq!(read(group.clone(), json!("20"), json!("1")), roster(nat, 20, 1));
    let tag = json!({ "Tag": { "Key": "role", "Value": "nat" } });
    assert_eq!(read(tag, json!(2), Value::Null), roster(Tag::new("role", "nat").expect("valid"), 2, 100));
    for (from, most, priority, told) in [
        (
            json!({}),
            Value::Null,
            Value::Null,
            "NodesFrom: expected either AutoScalingGroupName or Tag, found a map",
        ),
        (json!("nat"), Value::Null, Value::Null, "NodesFrom: expected a map, found `nat`"),
        (
            json!({ "AutoScalingGroupName": "nat", "Tag": { "Key": "a", "Value": "b" } }),
            Value::Null,
            Value::Null,
            "NodesFrom: expected either AutoScalingGroupName or Tag, found a map",
        ),
        (
            json!({ "Tag": { "Key": "a" } }),
            Value::Null,
            Value::Null,
            "NodesFrom.Tag.Value: expected text, found nothing",
        ),
        (group.clone(), json!("1"), Value::Null, "MaxNodes: expected 2 to 20 nodes, found `1`"),
        (group.clone(), json!("21"), Value::Null, "MaxNodes: expected 2 to 20 nodes, found `21`"),
        (group, Value::Null, json!("0"), "Priority: expected a priority from 1 to 999, found `0`"),
    ] {
        assert_eq!(read(from, most, priority), Err(vec![told.to_owned()]));
    }
    let found =
        read(json!({ "AutoScalingGroupName": "*" }), Value::Null, Value::Null).expect_err("a pattern");
    assert!(found[0].starts_with("NodesFrom.AutoScalingGroupName: expected a tag: "), "{found:?}");
}

#[test]
fn whoever_is_named_by_a_tag_goes_by_what_is_described_and_not_by_what_is_prepared_for_names() {
    let mut properties = good();
    properties.as_object_mut().expect("a map").remove("Nodes");
    properties["NodesFrom"] = json!({ "AutoScalingGroupName": "nat" });
    properties["RouteInterface"] = json!({ "DeviceIndex": 1 });
    properties["Routes"] = json!([{ "Destination": "192.0.2.1/32", "EveryTableOfVpc": true }]);
    let desired = parse(&properties).expect("good");
    assert_eq!(desired.choices.routes, Some(InterfaceChoice::Device(1)));
    assert_eq!((desired.choices.tables.len(), desired.roster.is_some()), (1, true));
    properties["SubnetTables"] =
        json!([{ "SubnetId": "subnet-0000000a", "Tables": { "a": "rtb-0000000a" } }]);
    let found = parse(&properties).expect_err("nobody can prepare for them");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("NodesFrom: expected no SubnetTables beside it"), "{found:?}");
}

#[test]
fn nodes_are_not_named_in_two_ways() {
    let found = wrong(|p| p["NodesFrom"] = json!({ "AutoScalingGroupName": "nat" }));
    let expected =
        "Nodes: expected nothing beside NodesFrom: nodes are named one by one or by a tag, found a list";
    assert_eq!(found, [expected]);
    let found = wrong(|p| (p["MaxNodes"], p["Priority"]) = (json!(4), json!(1)));
    let expected = [
        "MaxNodes: expected nothing, as the nodes are named one by one, found 4",
        "Priority: expected nothing, as the nodes are named one by one, found 1",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_role_of_the_route_tables_is_an_arn_of_a_role_and_stands_beside_tables_only() {
    const ROLE: &str = "arn:aws:iam::210987654321:role/baton-route-tables-orders";
    assert_eq!(parse(&good()).expect("good").table_access(), None);
    let mut properties = good();
    properties["RouteTablesRoleArn"] = json!(ROLE);
    let access = parse(&properties).expect("good").table_access().expect("named");
    assert_eq!((access.role.as_str(), access.external_id().as_str()), (ROLE, "baton/orders"));

    for bad in
        [json!("baton-route-tables-orders"), json!(""), json!(7), json!(ROLE.replace("role/", "user/"))]
    {
        let complaints = wrong(|properties| properties["RouteTablesRoleArn"] = bad.clone());
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("RouteTablesRoleArn: expected "), "{complaints:?}");
    }
    let complaints = wrong(|properties| {
        properties["RouteTablesRoleArn"] = json!(ROLE);
        properties["Routes"] = json!([]);
    });
    let expected =
        format!("RouteTablesRoleArn: expected nothing, as the cluster has no route table, found `{ROLE}`");
    assert_eq!(complaints, [expected]);
}
