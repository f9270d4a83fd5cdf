//! The account, the world and the gaps that the sandbox closes, without any part of Baton.

mod support;

use std::collections::BTreeMap;

use baton_sandbox::{ACCOUNT_ID, Account};
use serde_json::{Value, json};
use support::{make_role, sandbox, until};

/// The node policy as `infra/` deploys it, cut down to what is tried here.
fn node_policy() -> Value {
    let table = format!("arn:aws:dynamodb:eu-west-1:{ACCOUNT_ID}:table/baton");
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "dynamodb:UpdateItem", "Resource": table, "Condition": {
            "ForAllValues:StringEquals": {
                "dynamodb:LeadingKeys": ["C#orders#I#${ec2:SourceInstanceARN}"],
                "dynamodb:Attributes": ["pk", "sk", "seq", "incarnation", "released"]},
            "StringEqualsIfExists": {"dynamodb:ReturnValues": ["NONE", "UPDATED_NEW"]}}},
        {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": table, "Condition": {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["C#orders", "C#orders#I#*"]}}},
        {"Effect": "Allow", "Action": "events:PutEvents",
            "Resource": format!("arn:aws:events:eu-west-1:{ACCOUNT_ID}:event-bus/baton"),
            "Condition": {"StringEquals": {"events:source": "baton.agent", "events:detail-type": "Wake"}}},
    ]})
}

fn make_table(account: &Account) {
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let table = json!({
        "TableName": "baton", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}],
    });
    account.call("dynamodb", "create_table", &table).expect("the table is made");
}

fn beat(pk: &str, update: &str) -> Value {
    json!({
        "TableName": "baton", "Key": {"pk": {"S": pk}, "sk": {"S": "HEARTBEAT"}},
        "UpdateExpression": update, "ExpressionAttributeValues": {":n": {"N": "1"}},
    })
}

fn wake(source: &str, detail_type: &str) -> Value {
    json!({"Source": source, "DetailType": detail_type, "Detail": "{}", "EventBusName": "baton"})
}

#[test]
fn a_node_role_writes_its_own_heartbeat_and_nothing_else() {
    let sandbox = sandbox();
    let account = sandbox.account();
    make_table(account);
    account.call("events", "create_event_bus", &json!({"Name": "baton"})).expect("the bus is made");
    let role = make_role(account, "node", "ec2.amazonaws.com", &node_policy());
    let (me, other) = (&sandbox.world().instances[0], &sandbox.world().instances[1]);
    let allowed = |service: &str, operation: &str, parameters: Value| {
        let tried = account.call_as(&role, &me.id, service, operation, &parameters).expect("an answer");
        if tried.allowed {
            assert_eq!(tried.code, "", "{tried:?}");
        }
        tried.allowed
    };
    let mine = format!("C#orders#I#{}", me.arn());
    let theirs = format!("C#orders#I#{}", other.arn());
    assert!(allowed("dynamodb", "update_item", beat(&mine, "SET seq = :n")), "its own heartbeat");
    assert!(!allowed("dynamodb", "update_item", beat(&theirs, "SET seq = :n")), "another's heartbeat");
    assert!(!allowed("dynamodb", "update_item", beat("C#orders", "SET seq = :n")), "the lease");
    assert!(
        !allowed("dynamodb", "update_item", beat(&mine, "SET epoch = :n")),
        "an attribute that is not its own"
    );
    let guarded = json!({"ConditionExpression": "attribute_not_exists(holder)"});
    let mut request = beat(&mine, "SET seq = :n");
    request["ConditionExpression"] = guarded["ConditionExpression"].clone();
    assert!(!allowed("dynamodb", "update_item", request), "a condition on an attribute that is not its own");
    let mut request = beat(&mine, "ADD seq :n");
    request["ReturnValues"] = json!("ALL_OLD");
    assert!(!allowed("dynamodb", "update_item", request), "reading back the whole item");
    let update = |pk: &str| json!({"Update": beat(pk, "SET seq = :n")});
    let both = json!({"TransactItems": [update(&mine), update(&theirs)]});
    assert!(
        !allowed("dynamodb", "transact_write_items", both),
        "another's heartbeat in a transaction with its own"
    );
    let own = json!({"TransactItems": [{"Update": beat(&mine, "SET seq = :n")}]});
    assert!(allowed("dynamodb", "transact_write_items", own), "its own heartbeat in a transaction");
    let read = |pk: &str| json!({"TableName": "baton", "Key": {"pk": {"S": pk}, "sk": {"S": "LEASE"}}});
    assert!(allowed("dynamodb", "get_item", read("C#orders")), "reading the lease");
    assert!(!allowed("dynamodb", "get_item", read("C#payments")), "reading another cluster");

    let entries = |entries: Vec<Value>| json!({ "Entries": entries });
    assert!(allowed("events", "put_events", entries(vec![wake("baton.agent", "Wake")])), "its own wake");
    assert!(
        !allowed("events", "put_events", entries(vec![wake("baton.operator", "Wake")])),
        "an operator's wake"
    );
    assert!(
        !allowed("events", "put_events", entries(vec![wake("baton.agent", "Order")])),
        "another detail-type"
    );
    let smuggled = entries(vec![wake("baton.agent", "Wake"), wake("baton.operator", "Wake")]);
    assert!(!allowed("events", "put_events", smuggled), "an operator's wake behind its own");
}

#[test]
fn a_role_that_is_no_instance_has_no_source_instance() {
    let sandbox = sandbox();
    let account = sandbox.account();
    make_table(account);
    let role = make_role(account, "node", "ec2.amazonaws.com", &node_policy());
    let mine = format!("C#orders#I#{}", sandbox.world().instances[0].arn());
    let tried = account
        .call_as(&role, "somebody", "dynamodb", "update_item", &beat(&mine, "SET seq = :n"))
        .expect("an answer");
    assert!(!tried.allowed, "{tried:?}");
}

/// A queue behind a rule on the default bus for every state change, and a function to read what came.
fn watch_state_changes(account: &Account) -> impl Fn() -> Vec<(String, String)> + '_ {
    let made =
        account.call("sqs", "create_queue", &json!({"QueueName": "changes"})).expect("the queue is made");
    let url = made["QueueUrl"].as_str().expect("has a URL").to_owned();
    let pattern = json!({"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]});
    let rule = json!({"Name": "changes", "EventPattern": pattern.to_string()});
    account.call("events", "put_rule", &rule).expect("the rule is made");
    let arn = format!("arn:aws:sqs:eu-west-1:{ACCOUNT_ID}:changes");
    let targets = json!({"Rule": "changes", "Targets": [{"Id": "queue", "Arn": arn}]});
    account.call("events", "put_targets", &targets).expect("the target is taken");
    move || {
        let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
        let got = account.call("sqs", "receive_message", &asked).expect("the queue answers");
        let messages = got["Messages"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        messages
            .iter()
            .filter_map(|message| serde_json::from_str::<Value>(message["Body"].as_str()?).ok())
            .map(|event| (text(&event["detail"]["instance-id"]), text(&event["detail"]["state"])))
            .collect()
    }
}

#[test]
fn a_state_change_reaches_the_default_bus_whoever_caused_it() {
    let sandbox = sandbox();
    let account = sandbox.account();
    let changes = watch_state_changes(account);
    let (a, b) = (sandbox.world().instances[0].id.clone(), sandbox.world().instances[1].id.clone());
    account.stop_instance(&a).expect("stopped");
    // Behind the account's back, as a fence or an operator's console would.
    account.call("ec2", "stop_instances", &json!({ "InstanceIds": [b] })).expect("stopped");
    for id in [a, b] {
        for state in ["stopping", "stopped"] {
            until(&format!("the event {state} of {id}"), || {
                changes().contains(&(id.clone(), state.to_owned()))
            });
        }
    }
}

#[test]
fn nobody_but_aws_may_send_an_event_of_aws() {
    let sandbox = sandbox();
    let entry = json!({"Source": "aws.ec2", "DetailType": "x", "Detail": "{}"});
    let answer =
        sandbox.account().call("events", "put_events", &json!({ "Entries": [entry] })).expect("an answer");
    assert_eq!(answer["FailedEntryCount"], 1, "{answer}");
}

#[test]
fn a_terminated_instance_loses_its_address_and_a_stopped_one_keeps_it() {
    let sandbox = sandbox();
    let (account, world) = (sandbox.account(), sandbox.world());
    let associate = json!({
        "AllocationId": world.addresses[0].allocation, "NetworkInterfaceId": world.instances[0].interface,
        "AllowReassociation": false,
    });
    account.call("ec2", "associate_address", &associate).expect("associated");
    account.stop_instance(&world.instances[0].id).expect("stopped");
    let seen = account.addresses().expect("seen");
    assert_eq!(seen[0].interface.as_deref(), Some(world.instances[0].interface.as_str()));
    account.terminate_instance(&world.instances[0].id).expect("terminated");
    let seen = account.addresses().expect("seen");
    assert_eq!((seen[0].association.as_deref(), seen[0].interface.as_deref()), (None, None));
    assert_eq!(account.instance_states().expect("seen")[&world.instances[0].id], "terminated");
}

#[test]
fn the_world_is_as_the_scenario_needs_it() {
    let sandbox = sandbox();
    let (account, world) = (sandbox.account(), sandbox.world());
    let zones: Vec<&str> = world.instances.iter().map(|instance| instance.zone.as_str()).collect();
    assert_eq!(zones, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    let routes = account.routes(&world.destination).expect("seen");
    assert_eq!(routes.len(), world.route_tables.len());
    assert!(
        routes.iter().all(|route| route.interface.as_ref() == Some(&world.instances[0].interface)),
        "{routes:?}"
    );
    for instance in &world.instances {
        assert!(account.source_dest_check(&instance.interface).expect("seen"), "left on at the start");
    }
    assert!(account.addresses().expect("seen").iter().all(|address| address.association.is_none()));
}

#[test]
fn a_stack_that_fails_says_which_resource_and_why() {
    let sandbox = sandbox();
    let template = sandbox.run_dir().join("template.json");
    let body = json!({"Resources": {
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Call": {"Type": "Custom::Nobody", "Properties": {
            "ServiceToken": format!("arn:aws:lambda:eu-west-1:{ACCOUNT_ID}:function:nobody")}}}});
    std::fs::write(&template, body.to_string()).expect("written");
    let ended = sandbox.account().create_stack("broken", &template, &BTreeMap::new()).expect("an end");
    assert_eq!(ended.status, "ROLLBACK_COMPLETE");
    assert!(ended.failures.iter().any(|f| f.resource == "Call" && !f.reason.is_empty()), "{ended:?}");
}

#[test]
fn an_unknown_request_is_an_error_that_names_it() {
    let sandbox = sandbox();
    let refused = sandbox.account().call("sts", "no_such_operation", &json!({})).expect_err("refused");
    assert!(refused.to_string().contains("no_such_operation"), "{refused}");
}
