//! The actions in the templates are the actions in the code, role by role.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use baton_cloud::permission::TABLE_ACTIONS;
use baton_protocol::access::TableAccess;
use baton_protocol::findings::Findings;
use baton_protocol::heartbeat::{Claim, Health, Heartbeat};
use baton_protocol::ids::{ClusterName, Epoch, Incarnation, InstanceArn, RoleArn, Seq};
use baton_protocol::time::WallTime;
use baton_sandbox::Venv;
use baton_store::condition::{AGENT_ATTRIBUTES, OPERATOR_ATTRIBUTES};
use baton_templates::actions::{KNOWN_OPERATIONS, network_actions, store_actions, survey_actions, used_by};
use baton_templates::source::shipped;
use baton_templates::template::{Statement, Template, texts};
use serde_json::json;

static VENV: LazyLock<Venv> = LazyLock::new(|| Venv::ensure().expect("the Python environment is made"));
static CONTROL_PLANE: LazyLock<Template> = LazyLock::new(|| Template::read(&VENV, "control-plane.yaml"));
static SHARED_VPC: LazyLock<Template> = LazyLock::new(|| Template::read(&VENV, "shared-vpc-role.yaml"));
static CLUSTER: LazyLock<Template> = LazyLock::new(|| Template::read(&VENV, "cluster.yaml"));

/// What a function's role needs although the function never asks for it: Lambda does, in its name.
const BY_LAMBDA: &[&str] = &[
    // The function's standard output becomes its log.
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    // What fails for good goes to the queue.
    "sqs:SendMessage",
    // The event source mapping reads the table's stream.
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
];

fn allowed(template: &Template, policies: &[&str]) -> BTreeSet<String> {
    let all = policies.iter().flat_map(|id| template.actions(id));
    all.filter(|action| !BY_LAMBDA.contains(&action.as_str())).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn statement(template: &Template, policy: &str, sid: &str) -> Statement {
    let found = template.statements(policy).into_iter().find(|statement| statement.sid == sid);
    found.unwrap_or_else(|| panic!("{policy} has no statement {sid}"))
}

#[test]
fn the_arbiter_may_do_what_its_code_does_and_nothing_more() {
    let policies = ["ArbiterRole", "FencePolicy", "SharedTablesPolicy"];
    assert_eq!(allowed(&CONTROL_PLANE, &policies), used_by(&["functions/arbiter/src"]));
}

#[test]
fn instances_are_stopped_only_where_the_control_plane_allows_it_and_only_tagged_ones() {
    let resource = &CONTROL_PLANE.body["Resources"]["FencePolicy"];
    assert_eq!(resource["Condition"], "AllowsFencing");
    assert_eq!(
        CONTROL_PLANE.body["Conditions"]["AllowsFencing"],
        json!({"Fn::Equals": [{"Ref": "AllowFencing"}, "true"]})
    );
    assert_eq!(CONTROL_PLANE.body["Parameters"]["AllowFencing"]["Default"], "false");
    assert_eq!(resource["Properties"]["Roles"], json!([{"Ref": "ArbiterRole"}]));
    let actions = set(&["ec2:StopInstances"]);
    for policy in CONTROL_PLANE.policies() {
        let shared = CONTROL_PLANE.actions(policy).intersection(&actions).count();
        assert_eq!(shared, if policy == "FencePolicy" { actions.len() } else { 0 }, "{policy}");
    }
    let [stop] = &CONTROL_PLANE.statements("FencePolicy")[..] else { panic!("one statement") };
    assert_eq!(stop.condition, json!({"Null": {"aws:ResourceTag/baton:cluster": "false"}}));
}

#[test]
fn roles_are_taken_on_only_where_the_control_plane_names_them_and_never_without_an_external_id() {
    let resource = &CONTROL_PLANE.body["Resources"]["SharedTablesPolicy"];
    assert_eq!(resource["Condition"], "SharesTables");
    assert_eq!(
        CONTROL_PLANE.body["Conditions"]["SharesTables"],
        json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "RouteTablesRoles"}, ""]}]})
    );
    assert_eq!(CONTROL_PLANE.body["Parameters"]["RouteTablesRoles"]["Default"], "");
    assert_eq!(resource["Properties"]["Roles"], json!([{"Ref": "ArbiterRole"}, {"Ref": "RegistrarRole"}]));
    for template in [&CONTROL_PLANE, &CLUSTER, &SHARED_VPC] {
        for policy in template.policies() {
            let assumes = template.actions(policy).iter().any(|action| action.starts_with("sts:"));
            assert_eq!(assumes, policy == "SharedTablesPolicy", "{policy}");
        }
    }
    let [assume] = &CONTROL_PLANE.statements("SharedTablesPolicy")[..] else { panic!("one statement") };
    assert_eq!(assume.resources, [json!({"Fn::Split": [",", {"Ref": "RouteTablesRoles"}]})]);
    assert_eq!(assume.condition, json!({"StringLike": {"sts:ExternalId": "baton/*"}}));
}

#[test]
fn the_owners_role_may_do_what_is_asked_of_tables_and_nothing_more_and_changes_tagged_ones_only() {
    let of_tables = set(TABLE_ACTIONS);
    let used = used_by(&["functions/arbiter/src", "functions/registrar/src"]);
    let used: BTreeSet<_> = used.intersection(&of_tables).cloned().collect();
    assert_eq!(allowed(&SHARED_VPC, &["Role", "SubnetTablesPolicy"]), used);
    assert_eq!(used, of_tables);
    assert_eq!(SHARED_VPC.body["Parameters"]["AllowSubnetTables"]["Default"], "false");
    assert_eq!(SHARED_VPC.body["Resources"]["SubnetTablesPolicy"]["Condition"], "SwapsTables");
    let tags =
        json!({"Fn::If": ["HasTagValues", {"Fn::Split": [",", {"Ref": "TagValues"}]}, {"Ref": "Cluster"}]});
    for policy in ["Role", "SubnetTablesPolicy"] {
        for statement in SHARED_VPC.statements(policy) {
            let looks = statement.actions.iter().all(|action| action.starts_with("ec2:Describe"));
            let limits = &statement.condition["StringEquals"];
            let (key, value) = match looks {
                true => ("aws:RequestedRegion", json!({"Ref": "AWS::Region"})),
                false => ("aws:ResourceTag/baton:cluster", tags.clone()),
            };
            assert_eq!(limits[key], value, "{}", statement.sid);
        }
    }
}

#[test]
fn the_owners_role_is_taken_on_by_the_two_functions_for_its_cluster_and_by_nobody_else() {
    let trust = &SHARED_VPC.resource("Role")["AssumeRolePolicyDocument"]["Statement"];
    let [trust] = trust.as_array().map(Vec::as_slice).unwrap_or_default() else { panic!("one statement") };
    let arns = json!([{"Ref": "ArbiterRoleArn"}, {"Ref": "RegistrarRoleArn"}]);
    let cluster = ClusterName::new("orders").expect("valid");
    let role = RoleArn::new("arn:aws:iam::210987654321:role/r").expect("valid");
    let told = TableAccess { role, cluster: cluster.clone() }.external_id();
    let demanded =
        trust["Condition"]["StringEquals"]["sts:ExternalId"]["Fn::Sub"].as_str().unwrap_or_default();
    assert_eq!(demanded.replace("${Cluster}", cluster.as_str()), told, "as the functions tell STS");
    assert_eq!(trust["Condition"]["ArnEquals"]["aws:PrincipalArn"], arns);
    assert_eq!(trust["Action"], "sts:AssumeRole");
    let principal = &trust["Principal"]["AWS"]["Fn::Sub"];
    assert_eq!(principal[0], "arn:${AWS::Partition}:iam::${Participant}:root");
    let account = json!({"Fn::Select": [4, {"Fn::Split": [":", {"Ref": "ArbiterRoleArn"}]}]});
    assert_eq!(principal[1]["Participant"], account);
}

#[test]
fn the_sweeper_may_do_what_its_code_does_and_nothing_more() {
    assert_eq!(allowed(&CONTROL_PLANE, &["SweeperRole"]), used_by(&["functions/sweeper/src"]));
}

#[test]
fn the_registrar_may_do_what_its_code_does_and_nothing_more() {
    let policies = ["RegistrarRole", "SharedTablesPolicy"];
    let used = used_by(&["functions/registrar/src"]);
    assert_eq!(allowed(&CONTROL_PLANE, &policies), used);
    // It looks at the network as `doctor` does, and mends nothing of it.
    assert_eq!(network_actions(), set(baton_survey::NETWORK_READS));
    assert!(used.is_disjoint(&set(baton_survey::CHANGES)), "{used:?}");
}

#[test]
fn a_node_may_do_what_the_agent_does_and_nothing_more() {
    let allowed = allowed(&CLUSTER, &["NodePolicy"]);
    assert_eq!(allowed, used_by(&["agent/src"]));
    assert!(!allowed.iter().any(|action| action.starts_with("ec2:")), "no node ever calls EC2");
    // What `doctor` asks of the policies of endpoints on the way.
    let of_table = allowed.into_iter().filter(|action| action.starts_with("dynamodb:"));
    assert_eq!(of_table.collect::<BTreeSet<_>>(), set(&baton_doctor::policy::TABLE_ACTIONS));
}

#[test]
fn a_viewer_and_operator_may_do_what_the_cli_does_and_nothing_more() {
    let looking = set(baton_survey::READS);
    let used: BTreeSet<String> = used_by(&["cli/src"]).union(&looking).cloned().collect();
    assert_eq!(allowed(&CONTROL_PLANE, &["ViewerPolicy", "OperatorPolicy"]), used);
    let record = set(&["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]);
    assert_eq!(allowed(&CONTROL_PLANE, &["ViewerPolicy"]), record.union(&looking).cloned().collect());
}

#[test]
fn a_mender_may_do_what_the_fixes_of_doctor_do_and_nothing_more() {
    assert_eq!(allowed(&CONTROL_PLANE, &["MenderPolicy"]), set(baton_survey::CHANGES));
    let asked = survey_actions();
    assert_eq!(asked, set(&[baton_survey::READS, baton_survey::CHANGES].concat()));
    // Where an address or a route leads is the arbiter's alone.
    for action in baton_cloud::permission::CALL_ACTIONS {
        let both = baton_survey::CHANGES.contains(action);
        assert_eq!(both, *action == "ec2:ModifyNetworkInterfaceAttribute", "{action}");
    }
}

#[test]
fn only_roles_of_functions_let_lambda_act_for_them() {
    for (template, policy) in
        [(&CLUSTER, "NodePolicy"), (&CONTROL_PLANE, "ViewerPolicy"), (&CONTROL_PLANE, "OperatorPolicy")]
    {
        let actions = template.actions(policy);
        assert!(actions.is_disjoint(&set(BY_LAMBDA)), "{policy}: {actions:?}");
    }
    for (role, stream) in [("ArbiterRole", true), ("SweeperRole", false), ("RegistrarRole", false)] {
        let reads = CONTROL_PLANE.actions(role).contains("dynamodb:GetRecords");
        assert_eq!(reads, stream, "{role}");
    }
}

#[test]
fn every_call_to_aws_is_made_where_these_tests_look() {
    let store = shipped("crates/store/src");
    for (at, _) in store.match_indices(".client()") {
        let call: String = store[at + ".client()".len()..].split_whitespace().collect();
        let operation = call.trim_start_matches('.').split('(').next().unwrap_or_default().to_owned();
        assert!(KNOWN_OPERATIONS.contains(&operation.as_str()), "the store calls {operation}");
    }
    for directory in
        ["agent/src", "cli/src", "functions/arbiter/src", "functions/sweeper/src", "functions/registrar/src"]
    {
        let code = shipped(directory);
        for sdk in
            ["aws_sdk_autoscaling", "aws_sdk_dynamodb", "aws_sdk_eventbridge", "aws_sdk_ec2", "aws_sdk_sts"]
        {
            assert!(!code.contains(sdk), "{directory} names {sdk}");
        }
    }
}

#[test]
fn the_derivation_sees_what_is_known_of_the_store() {
    let store = store_actions();
    let read = ["dynamodb:GetItem"];
    for (method, expected) in [
        ("lease", &read[..]),
        ("heartbeats", &["dynamodb:BatchGetItem"]),
        ("clusters", &["dynamodb:Query"]),
        ("beat", &["dynamodb:UpdateItem"]),
        ("append", &["dynamodb:PutItem"]),
        ("suspect", &["dynamodb:GetItem", "dynamodb:UpdateItem"]),
        ("commit", &["dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]),
        ("ask", &["dynamodb:GetItem", "dynamodb:UpdateItem"]),
        ("retire", &["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]),
    ] {
        assert_eq!(store[method], expected.iter().copied().collect(), "{method}");
    }
}

fn full_heartbeat() -> Heartbeat {
    let instance =
        InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0").expect("valid");
    let incarnation = Incarnation::new("x").expect("valid");
    let claim = Claim {
        epoch: Epoch(1),
        holder: instance.clone(),
        incarnation: incarnation.clone(),
        seq: Seq(1),
        silent_ms: 1,
        at: WallTime(1),
    };
    let findings = Findings { failing: Some("x".into()), ..Findings::default() };
    Heartbeat {
        cluster: ClusterName::new("orders").expect("valid"),
        instance,
        incarnation,
        seq: Seq(1),
        boot_id: "b".to_owned(),
        health: Health::Ok,
        released: Epoch(1),
        claim: Some(claim),
        serving_epoch: Some(Epoch(1)),
        healthy_since: Some(WallTime(1)),
        serving_since: Some(WallTime(1)),
        ahead: Some(Epoch(1)),
        findings: Some(findings),
        validity_ms: 1,
        seen: vec![[192, 0, 2, 1].into()],
        beat_at: WallTime(1),
        agent_version: "1".to_owned(),
        schema: 1,
    }
}

#[test]
fn a_node_may_write_the_fields_of_a_heartbeat_and_of_a_wake_and_no_other_attribute() {
    let heartbeat = serde_json::to_value(full_heartbeat()).expect("a heartbeat has a JSON form");
    let mut expected: BTreeSet<String> = heartbeat.as_object().expect("an object").keys().cloned().collect();
    // Whose heartbeat it is stands in the key, which IAM guards.
    assert!(expected.remove("cluster") && expected.remove("instance"));
    expected.extend(set(&["pk", "sk", "why", "at", "schema"]));
    let condition = statement(&CLUSTER, "NodePolicy", "WriteItsOwnItems").condition;
    let allowed = texts(&condition["ForAllValues:StringEquals"]["dynamodb:Attributes"]);
    assert_eq!(allowed, expected);
    assert_eq!(allowed, set(AGENT_ATTRIBUTES));
}

#[test]
fn an_operator_may_write_a_request_and_what_carries_it_and_no_other_attribute() {
    let condition = statement(&CONTROL_PLANE, "OperatorPolicy", "Ask").condition;
    let allowed = texts(&condition["ForAllValues:StringEquals"]["dynamodb:Attributes"]);
    assert_eq!(allowed, set(OPERATOR_ATTRIBUTES));
}
