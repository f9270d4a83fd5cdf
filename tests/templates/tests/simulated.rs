//! What each policy allows and denies, request by request: what the work needs, and what an attacker would try.
//!
//! The policies are those that CloudFormation made of the templates; a simulator answers, not the services, so that requests can be
//! asked about that the stand-in for AWS has no notion of, such as the tags of an address. `docs/THREAT-MODEL.md` tells the story.

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use baton_sandbox::{ACCOUNT_ID, REGION};
use baton_templates::workspace;
use serde_json::{Value, json};
use support::{Deployment, deploy};

/// A request, and what is to become of it.
struct Case {
    who: &'static str,
    what: &'static str,
    action: &'static str,
    resource: String,
    keys: Value,
    region: &'static str,
    allowed: bool,
}

/// A request that has to be allowed, without condition keys.
fn may(who: &'static str, what: &'static str, action: &'static str, resource: impl Into<String>) -> Case {
    Case { who, what, action, resource: resource.into(), keys: json!({}), region: REGION, allowed: true }
}

/// One that has to be denied.
fn never(who: &'static str, what: &'static str, action: &'static str, resource: impl Into<String>) -> Case {
    Case { allowed: false, ..may(who, what, action, resource) }
}

impl Case {
    fn with(mut self, keys: Value) -> Self {
        self.keys = keys;
        self
    }

    fn elsewhere(mut self) -> Self {
        self.region = "us-east-1";
        self
    }
}

fn ec2(kind: &str) -> String {
    format!("arn:aws:ec2:{REGION}:{ACCOUNT_ID}:{kind}")
}

fn table() -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/baton")
}

fn bus(name: &str) -> String {
    format!("arn:aws:events:{REGION}:{ACCOUNT_ID}:event-bus/{name}")
}

fn group() -> String {
    format!("arn:aws:autoscaling:{REGION}:{ACCOUNT_ID}:autoScalingGroup:1:autoScalingGroupName/orders")
}

fn iam(kind: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT_ID}:{kind}")
}

fn tagged() -> Value {
    json!({"aws:ResourceTag/baton:cluster": "orders"})
}

/// Items of these partitions, and these attributes of them.
fn items(keys: &[&str], attributes: &[&str]) -> Value {
    json!({"dynamodb:LeadingKeys": keys, "dynamodb:Attributes": attributes})
}

fn event(source: &str, detail_type: &str) -> Value {
    json!({"events:source": [source], "events:detail-type": [detail_type]})
}

const INSTANCE: &str = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0aaaaaaaaaaaaaaaa";
const MINE: &str = "C#orders#I#arn:aws:ec2:eu-west-1:123456789012:instance/i-0aaaaaaaaaaaaaaaa";
const THEIRS: &str = "C#orders#I#arn:aws:ec2:eu-west-1:123456789012:instance/i-0bbbbbbbbbbbbbbbb";

/// The same, from the instance whose credentials these are.
fn on_instance(mut keys: Value) -> Value {
    keys["ec2:SourceInstanceARN"] = json!(INSTANCE);
    keys
}

fn cases_of_the_arbiter() -> Vec<Case> {
    let who = "arbiter";
    let mut cases = vec![
        may(who, "grant a lease", "dynamodb:UpdateItem", table()).with(items(&["C#orders"], &["holder"])),
        may(who, "count suspects", "dynamodb:UpdateItem", table()).with(items(&["FLEET"], &["n"])),
        never(who, "write elsewhere", "dynamodb:UpdateItem", table()).with(items(&["OTHER"], &["n"])),
        never(who, "write here and elsewhere", "dynamodb:UpdateItem", table())
            .with(items(&["C#orders", "OTHER"], &["n"])),
        never(who, "delete a lease", "dynamodb:DeleteItem", table()).with(items(&["C#orders"], &[])),
        never(who, "delete the table", "dynamodb:DeleteTable", table()),
        never(who, "scan the table", "dynamodb:Scan", table()),
        may(who, "wake its successor", "events:PutEvents", bus("baton"))
            .with(event("baton.control-plane", "Wake")),
        never(who, "pass for AWS", "events:PutEvents", bus("baton")).with(event("aws.ec2", "Wake")),
        never(who, "pass for an operator", "events:PutEvents", bus("baton"))
            .with(event("baton.operator", "Wake")),
        never(who, "send to the default bus", "events:PutEvents", bus("default"))
            .with(event("baton.control-plane", "Wake")),
        may(who, "let a tagged group go on", "autoscaling:CompleteLifecycleAction", group()).with(tagged()),
        never(who, "let any group go on", "autoscaling:CompleteLifecycleAction", group()),
        never(who, "stop an instance, unless it was allowed", "ec2:StopInstances", ec2("instance/i-1"))
            .with(tagged()),
        never(who, "terminate an instance", "ec2:TerminateInstances", ec2("instance/i-1")).with(tagged()),
        never(who, "release an address", "ec2:ReleaseAddress", ec2("elastic-ip/eipalloc-1")).with(tagged()),
        never(who, "delete a route", "ec2:DeleteRoute", ec2("route-table/rtb-1")).with(tagged()),
        never(who, "put its tag on a resource", "ec2:CreateTags", ec2("elastic-ip/eipalloc-1")),
        never(
            who,
            "open a security group",
            "ec2:ModifyNetworkInterfaceAttribute",
            ec2("security-group/sg-1"),
        )
        .with(tagged()),
        never(who, "describe another region", "ec2:DescribeAddresses", "*").elsewhere(),
        may(who, "describe its own", "ec2:DescribeAddresses", "*"),
        never(who, "change a function", "lambda:UpdateFunctionCode", "*"),
        never(who, "hand on a role", "iam:PassRole", iam("role/baton-ArbiterRole")),
        never(who, "become a role nobody named", "sts:AssumeRole", iam("role/admin")),
    ];
    for (action, kind) in [
        ("ec2:AssociateAddress", "elastic-ip/eipalloc-1"),
        ("ec2:AssociateAddress", "network-interface/eni-1"),
        ("ec2:AssociateAddress", "instance/i-1"),
        ("ec2:DisassociateAddress", "elastic-ip/eipalloc-1"),
        ("ec2:ReplaceRoute", "route-table/rtb-1"),
        ("ec2:CreateRoute", "route-table/rtb-1"),
        ("ec2:ReplaceRouteTableAssociation", "route-table/rtb-1"),
        ("ec2:ReplaceRouteTableAssociation", "subnet/subnet-1"),
        ("ec2:ModifyNetworkInterfaceAttribute", "network-interface/eni-1"),
    ] {
        let theirs = format!("arn:aws:ec2:{REGION}:999999999999:{kind}");
        let far = format!("arn:aws:ec2:us-east-1:{ACCOUNT_ID}:{kind}");
        cases.push(may(who, "change what is tagged", action, ec2(kind)).with(tagged()));
        cases.push(never(who, "change what is not tagged", action, ec2(kind)));
        cases.push(never(who, "change what is another account's", action, theirs).with(tagged()));
        cases.push(never(who, "change what is in another region", action, far).with(tagged()));
    }
    cases
}

fn cases_of_the_other_functions() -> Vec<Case> {
    let lease = || items(&["C#orders"], &["holder"]);
    vec![
        may("sweeper", "read the table", "dynamodb:Query", table()).with(items(&["CLUSTERS"], &[])),
        never("sweeper", "write a lease", "dynamodb:UpdateItem", table()).with(lease()),
        never("sweeper", "put an item", "dynamodb:PutItem", table()).with(lease()),
        never("sweeper", "move an address", "ec2:AssociateAddress", ec2("elastic-ip/eipalloc-1"))
            .with(tagged()),
        may("sweeper", "wake the arbiter", "events:PutEvents", bus("baton"))
            .with(event("baton.control-plane", "Wake")),
        never("sweeper", "tell of a grant", "events:PutEvents", bus("baton"))
            .with(event("baton.control-plane", "Lease Granted")),
        may("registrar", "register", "dynamodb:UpdateItem", table()).with(lease()),
        may("registrar", "take a row out of the directory", "dynamodb:DeleteItem", table())
            .with(items(&["CLUSTERS"], &[])),
        never("registrar", "delete a lease", "dynamodb:DeleteItem", table()).with(lease()),
        never("registrar", "move an address", "ec2:AssociateAddress", ec2("elastic-ip/eipalloc-1"))
            .with(tagged()),
        never("registrar", "lead a route", "ec2:ReplaceRoute", ec2("route-table/rtb-1")).with(tagged()),
        may("fence", "stop a tagged instance", "ec2:StopInstances", ec2("instance/i-1")).with(tagged()),
        never("fence", "stop any instance", "ec2:StopInstances", ec2("instance/i-1")),
        never("fence", "terminate an instance", "ec2:TerminateInstances", ec2("instance/i-1")).with(tagged()),
    ]
}

fn cases_of_a_node() -> Vec<Case> {
    let who = "node";
    let wake = || on_instance(event("baton.agent", "Wake"));
    vec![
        may(who, "write its heartbeat", "dynamodb:UpdateItem", table())
            .with(on_instance(items(&[MINE], &["pk", "seq"]))),
        never(who, "write another's heartbeat", "dynamodb:UpdateItem", table())
            .with(on_instance(items(&[THEIRS], &["pk", "seq"]))),
        never(who, "write both", "dynamodb:UpdateItem", table())
            .with(on_instance(items(&[MINE, THEIRS], &["pk", "seq"]))),
        never(who, "write a lease", "dynamodb:UpdateItem", table())
            .with(on_instance(items(&["C#orders"], &["pk", "seq"]))),
        never(who, "write an intent", "dynamodb:UpdateItem", table())
            .with(on_instance(items(&["C#orders"], &["pk", "intent"]))),
        never(who, "write a request", "dynamodb:PutItem", table())
            .with(on_instance(items(&["C#orders"], &["request"]))),
        never(who, "write an epoch into its own item", "dynamodb:UpdateItem", table())
            .with(on_instance(items(&[MINE], &["pk", "epoch"]))),
        never(who, "replace its whole item", "dynamodb:PutItem", table())
            .with(on_instance(items(&[MINE], &["pk"]))),
        never(who, "delete its item", "dynamodb:DeleteItem", table())
            .with(on_instance(items(&[MINE], &["pk"]))),
        may(who, "read its cluster", "dynamodb:GetItem", table())
            .with(on_instance(items(&["C#orders"], &[]))),
        may(who, "read its neighbours", "dynamodb:BatchGetItem", table())
            .with(on_instance(items(&[MINE, THEIRS], &[]))),
        never(who, "read another cluster", "dynamodb:GetItem", table())
            .with(on_instance(items(&["C#payments"], &[]))),
        never(who, "read a longer name", "dynamodb:GetItem", table())
            .with(on_instance(items(&["C#orders-2"], &[]))),
        never(who, "read the directory", "dynamodb:Query", table())
            .with(on_instance(items(&["CLUSTERS"], &[]))),
        never(who, "read everything", "dynamodb:Scan", table()).with(on_instance(json!({}))),
        may(who, "send a wake", "events:PutEvents", bus("baton")).with(wake()),
        never(who, "send an order", "events:PutEvents", bus("baton"))
            .with(on_instance(event("baton.agent", "Order"))),
        never(who, "send as an operator", "events:PutEvents", bus("baton"))
            .with(on_instance(event("baton.operator", "Wake"))),
        never(who, "move an address", "ec2:AssociateAddress", ec2("elastic-ip/eipalloc-1"))
            .with(on_instance(tagged())),
        never(who, "lead a route", "ec2:ReplaceRoute", ec2("route-table/rtb-1")).with(on_instance(tagged())),
        never(who, "describe EC2", "ec2:DescribeAddresses", "*").with(on_instance(json!({}))),
        // The credentials in other hands than the instance's: the key that names it is not there.
        never(who, "write, with stolen credentials", "dynamodb:UpdateItem", table())
            .with(items(&[MINE], &["pk", "seq"])),
        never(who, "read, with stolen credentials", "dynamodb:GetItem", table())
            .with(items(&["C#orders"], &[])),
        never(who, "wake, with stolen credentials", "events:PutEvents", bus("baton"))
            .with(event("baton.agent", "Wake")),
    ]
}

fn cases_of_people() -> Vec<Case> {
    let asked = || items(&["C#orders"], &["pk", "sk", "intent"]);
    let node_policy = || iam("policy/baton/nodes/one");
    vec![
        may("viewer", "read", "dynamodb:Query", table()).with(items(&["C#orders"], &[])),
        never("viewer", "ask", "dynamodb:UpdateItem", table()).with(asked()),
        never("viewer", "wake", "events:PutEvents", bus("baton")).with(event("baton.operator", "Wake")),
        may("operator", "ask", "dynamodb:UpdateItem", table()).with(asked()),
        never("operator", "ask and choose a holder", "dynamodb:UpdateItem", table())
            .with(items(&["C#orders"], &["pk", "intent", "holder"])),
        never("operator", "beat for a node", "dynamodb:UpdateItem", table())
            .with(items(&[MINE], &["pk", "request"])),
        never("operator", "write the directory", "dynamodb:UpdateItem", table())
            .with(items(&["CLUSTERS"], &["pk", "request"])),
        never("operator", "delete a cluster", "dynamodb:DeleteItem", table()).with(items(&["C#orders"], &[])),
        never("operator", "move an address", "ec2:AssociateAddress", ec2("elastic-ip/eipalloc-1"))
            .with(tagged()),
        may("administrator", "write a node policy", "iam:CreatePolicy", node_policy()),
        never("administrator", "attach a policy that he wrote", "iam:AttachRolePolicy", iam("role/own"))
            .with(json!({"iam:PolicyARN": node_policy()})),
        never("administrator", "write any other policy", "iam:CreatePolicy", iam("policy/own")),
        never("administrator", "write a lease", "dynamodb:UpdateItem", table()).with(asked()),
        never(
            "administrator",
            "call the arbiter",
            "lambda:InvokeFunction",
            format!("arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:baton-arbiter"),
        ),
        never(
            "administrator",
            "change the control plane's stack",
            "cloudformation:UpdateStack",
            format!("arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/baton/1"),
        ),
        may(
            "administrator",
            "deploy a cluster",
            "cloudformation:CreateStack",
            format!("arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/baton-cluster-orders/1"),
        ),
    ]
}

fn cases_of_a_mender() -> Vec<Case> {
    let who = "mender";
    let keys = |keys: &[&str]| json!({"aws:TagKeys": keys});
    let asked = || items(&["C#orders"], &["pk", "sk", "intent"]);
    let mut cases = vec![
        may(who, "start an instance", "ec2:StartInstances", ec2("instance/i-1")),
        may(who, "attach an interface", "ec2:AttachNetworkInterface", ec2("network-interface/eni-1")),
        may(who, "silence an alarm", "cloudwatch:DisableAlarmActions", "*"),
        never(who, "start one in another region", "ec2:StartInstances", ec2("instance/i-1")).elsewhere(),
        never(who, "take a tag away", "ec2:DeleteTags", ec2("instance/i-1")).with(keys(&["baton:cluster"])),
        never(who, "write a lease", "dynamodb:UpdateItem", table()).with(items(&["C#orders"], &["holder"])),
        never(who, "ask", "dynamodb:UpdateItem", table()).with(asked()),
        never(who, "put an item", "dynamodb:PutItem", table()).with(asked()),
        never(who, "delete a cluster", "dynamodb:DeleteItem", table()).with(asked()),
        never(who, "read the table", "dynamodb:Query", table()).with(items(&["C#orders"], &[])),
        never(who, "hand on a role", "iam:PassRole", iam("role/nodes")),
    ];
    for kind in ["elastic-ip/eipalloc-1", "instance/i-1", "network-interface/eni-1", "route-table/rtb-1"] {
        let tag = "ec2:CreateTags";
        cases.extend([
            may(who, "consent", tag, ec2(kind)).with(keys(&["baton:cluster"])),
            never(who, "consent in another region", tag, ec2(kind))
                .with(keys(&["baton:cluster"]))
                .elsewhere(),
            never(who, "put on another tag", tag, ec2(kind)).with(keys(&["team"])),
            never(who, "put on another tag with it", tag, ec2(kind)).with(keys(&["baton:cluster", "team"])),
            never(who, "put on what looks like it", tag, ec2(kind)).with(keys(&["Baton:cluster"])),
            never(who, "tag without a tag", tag, ec2(kind)),
        ]);
    }
    for (action, kind) in [
        ("ec2:AssociateAddress", "elastic-ip/eipalloc-1"),
        ("ec2:DisassociateAddress", "elastic-ip/eipalloc-1"),
        ("ec2:ReleaseAddress", "elastic-ip/eipalloc-1"),
        ("ec2:CreateRoute", "route-table/rtb-1"),
        ("ec2:ReplaceRoute", "route-table/rtb-1"),
        ("ec2:DeleteRoute", "route-table/rtb-1"),
        ("ec2:ReplaceRouteTableAssociation", "route-table/rtb-1"),
        ("ec2:DisassociateRouteTable", "route-table/rtb-1"),
        ("ec2:DetachNetworkInterface", "network-interface/eni-1"),
        ("ec2:StopInstances", "instance/i-1"),
        ("ec2:TerminateInstances", "instance/i-1"),
    ] {
        cases.push(never(who, "move, stop or take away what is tagged", action, ec2(kind)).with(tagged()));
    }
    cases
}

/// The policies of everybody, as CloudFormation made them.
fn policies(deployment: &Deployment) -> BTreeMap<&'static str, Value> {
    let account = deployment.account();
    let resources = account.stack_resources("baton").expect("the stack has resources");
    let call = |operation: &str, parameters: Value| {
        account.call("iam", operation, &parameters).expect("IAM answers")
    };
    let managed = |arn: &str| {
        let version = call("get_policy", json!({"PolicyArn": arn}))["Policy"]["DefaultVersionId"].clone();
        let found = call("get_policy_version", json!({"PolicyArn": arn, "VersionId": version}));
        found["PolicyVersion"]["Document"].clone()
    };
    let mut found = BTreeMap::new();
    for (who, role) in
        [("arbiter", "ArbiterRole"), ("sweeper", "SweeperRole"), ("registrar", "RegistrarRole")]
    {
        let asked = json!({"RoleName": resources[role], "PolicyName": who});
        found.insert(who, json!([call("get_role_policy", asked)["PolicyDocument"]]));
    }
    let outputs = &deployment.control_plane.outputs;
    let people = ["ViewerPolicyArn", "OperatorPolicyArn", "AdministratorPolicyArn"]
        .map(|name| managed(&outputs[name]));
    found.insert("viewer", json!(people[..1]));
    found.insert("operator", json!(people[..2]));
    found.insert("administrator", json!([people[0], people[2]]));
    found.insert("mender", json!([managed(&outputs["MenderPolicyArn"])]));
    found.insert("node", json!([managed(&deployment.cluster.outputs["NodePolicyArn"])]));
    found.insert("fence", json!([managed(&resources["FencePolicy"])]));
    found
}

fn simulate(deployment: &Deployment, questions: &Value) -> Vec<String> {
    let mut simulator = std::process::Command::new(deployment.sandbox.venv().python())
        .arg("-I")
        .arg(workspace("tests/templates/python/simulate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    let asked = json!({"region": REGION, "account": ACCOUNT_ID, "questions": questions});
    let mut input = simulator.stdin.take().expect("a pipe");
    write!(input, "{asked}").expect("it reads");
    drop(input);
    let output = simulator.wait_with_output().expect("it ends");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("a list of answers")
}

#[test]
fn what_the_work_needs_is_allowed_and_what_an_attacker_would_try_is_denied() {
    let deployment = deploy();
    let policies = policies(&deployment);
    let cases: Vec<Case> = [
        cases_of_the_arbiter(),
        cases_of_the_other_functions(),
        cases_of_a_node(),
        cases_of_people(),
        cases_of_a_mender(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let ask = |case: &Case| {
        json!({"policies": policies[case.who], "action": case.action, "resource": case.resource,
            "keys": case.keys, "region": case.region})
    };
    let questions: Vec<Value> = cases.iter().map(ask).collect();
    let answers = simulate(&deployment, &json!(questions));
    assert_eq!(answers.len(), cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(case, answer)| (*answer == "Allow") != case.allowed)
        .map(|(case, answer)| {
            format!("{} would {}: {} on {}: {answer}", case.who, case.what, case.action, case.resource)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
