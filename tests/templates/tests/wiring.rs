//! The templates say what the code expects of them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use baton_arbiter::launch;
use baton_arbiter::notice::Kind;
use baton_arbiter::trail;
use baton_client::metric::{DIMENSION, NAMESPACE, THROTTLED};
use baton_protocol::notification::DETAIL_TYPES;
use baton_protocol::readiness::Want;
use baton_protocol::roster::{LARGEST, MOST};
use baton_protocol::standing;
use baton_protocol::wake::{DETAIL_TYPE, SOURCE_AGENT, SOURCE_CONTROL_PLANE, SOURCE_OPERATOR};
use baton_sandbox::Venv;
use baton_store::key::{CLUSTERS, REQUEST_PREFIX, WAKE};
use baton_templates::template::{Template, list, texts};
use serde_json::{Value, json};

static VENV: LazyLock<Venv> = LazyLock::new(|| Venv::ensure().expect("the Python environment is made"));
static CONTROL_PLANE: LazyLock<Template> = LazyLock::new(|| Template::read(&VENV, "control-plane.yaml"));
static CLUSTER: LazyLock<Template> = LazyLock::new(|| Template::read(&VENV, "cluster.yaml"));

fn seconds(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("expected seconds, found {value}"))
}

/// The invocation settings of a function.
fn invocation(function: &str) -> &'static Value {
    let found = CONTROL_PLANE
        .of_type("AWS::Lambda::EventInvokeConfig")
        .find(|(_, settings)| settings["FunctionName"]["Ref"] == function);
    found.unwrap_or_else(|| panic!("{function} has no settings for asynchronous invocations")).1
}

#[test]
fn every_function_is_told_where_everything_is_and_logs_where_logs_end() {
    for function in ["Arbiter", "Sweeper", "Registrar"] {
        let properties = CONTROL_PLANE.resource(function);
        assert_eq!(properties["Runtime"], "provided.al2023");
        assert_eq!(properties["Handler"], "bootstrap");
        let fips = json!({"Fn::If": ["UsesFips", "true", {"Ref": "AWS::NoValue"}]});
        let mut told = json!({"BATON_TABLE": {"Ref": "Table"}, "BATON_BUS": {"Ref": "Bus"}, "AWS_USE_FIPS_ENDPOINT": fips});
        if function == "Arbiter" {
            told["BATON_BRAKE_CLUSTERS"] = json!({"Ref": "BrakeClusters"});
        }
        assert_eq!(properties["Environment"]["Variables"], told);
        assert_eq!(
            properties["Role"]["Fn::GetAtt"],
            json!([format!("{function}Role"), "Arn"]),
            "a role of its own"
        );
        let logging = &properties["LoggingConfig"];
        assert_eq!(logging["LogFormat"], "JSON");
        assert_eq!(logging["LogGroup"]["Ref"], format!("{function}Logs"));
        let key = properties["Code"]["S3Key"]["Fn::Sub"].as_str().unwrap_or_default();
        assert_eq!(key, format!("${{CodePrefix}}baton-{}.zip", function.to_lowercase()));
        let kept = &invocation(function)["DestinationConfig"]["OnFailure"]["Destination"];
        assert_eq!(kept["Fn::GetAtt"], json!(["FailedInvocations", "Arn"]));
    }
    let functions = CONTROL_PLANE.of_type("AWS::Lambda::Function").count();
    assert_eq!(functions, 3, "a function that is not looked at here");
}

#[test]
fn the_table_has_the_key_that_dynamodb_owns_unless_another_is_given() {
    let encryption = &CONTROL_PLANE.resource("Table")["SSESpecification"]["Fn::If"];
    let ours = json!({"SSEEnabled": true, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "TableKeyArn"}});
    assert_eq!(*encryption, json!(["HasTableKey", ours, {"SSEEnabled": false}]));
    assert_eq!(CONTROL_PLANE.body["Parameters"]["TableKeyArn"]["Default"], "");
}

#[test]
fn every_rule_keeps_what_it_cannot_deliver_and_may_invoke_its_target() {
    let mut rules = BTreeSet::new();
    for (id, rule) in CONTROL_PLANE.of_type("AWS::Events::Rule") {
        rules.insert(id);
        for target in list(&rule["Targets"]) {
            // A person may read an hour later what a function must not act on.
            let is_topic = target["Arn"]["Ref"] == "NotificationTopicArn";
            let age = if is_topic { 3_600 } else { 60 };
            assert_eq!(seconds(&target["RetryPolicy"]["MaximumEventAgeInSeconds"]), age, "{id}");
            assert_eq!(
                target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"],
                json!(["UndeliveredEvents", "Arn"]),
                "{id}"
            );
            let permitted = CONTROL_PLANE.of_type("AWS::Lambda::Permission").any(|(_, permission)| {
                permission["SourceArn"]["Fn::GetAtt"] == json!([id, "Arn"])
                    && permission["FunctionName"]["Ref"] == target["Arn"]["Fn::GetAtt"][0]
            });
            // A topic's own policy permits it, which is its owner's.
            assert!(permitted || is_topic, "nothing permits {id} to invoke its target");
        }
    }
    let policy = &CONTROL_PLANE.resource("UndeliveredEventsPolicy")["PolicyDocument"]["Statement"][0];
    let trusted = list(&policy["Condition"]["ArnEquals"]["aws:SourceArn"]);
    let named = |arn: &'static Value| {
        arn["Fn::GetAtt"][0].as_str().or_else(|| arn["Fn::If"][1]["Fn::GetAtt"][0].as_str())
    };
    let trusted = trusted.into_iter().filter_map(named).collect();
    assert_eq!(rules, trusted, "the queue takes from each rule and from nobody else");
}

#[test]
fn wakes_are_matched_as_they_are_sent() {
    let pattern = &CONTROL_PLANE.resource("WakeRule")["EventPattern"];
    let sources = [SOURCE_AGENT, SOURCE_OPERATOR, SOURCE_CONTROL_PLANE];
    assert_eq!(texts(&pattern["source"]), sources.iter().map(|source| (*source).to_owned()).collect());
    assert_eq!(texts(&pattern["detail-type"]), BTreeSet::from([DETAIL_TYPE.to_owned()]));
}

#[test]
fn notices_and_alarms_are_matched_as_the_arbiter_reads_them() {
    let pattern = &CONTROL_PLANE.resource("NoticeRule")["EventPattern"];
    assert_eq!(texts(&pattern["source"]), Kind::ALL.map(|kind| kind.source().to_owned()).into());
    assert_eq!(texts(&pattern["detail-type"]), Kind::ALL.map(|kind| kind.detail_type().to_owned()).into());
    let pattern = &CONTROL_PLANE.resource("LaunchRule")["EventPattern"];
    assert_eq!(texts(&pattern["source"]), BTreeSet::from([launch::SOURCE.to_owned()]));
    assert_eq!(texts(&pattern["detail-type"]), BTreeSet::from([launch::DETAIL_TYPE.to_owned()]));
    let pattern = &CONTROL_PLANE.resource("InstanceAlarmRule")["EventPattern"];
    assert_eq!(texts(&pattern["source"]), BTreeSet::from(["aws.cloudwatch".to_owned()]));
    let ringing = json!({
        "state": {"value": ["ALARM"]},
        "configuration": {"metrics": {"metricStat": {"metric": {"namespace": ["AWS/EC2"]}}}},
    });
    assert_eq!(pattern["detail"], ringing);
}

#[test]
fn what_is_told_reaches_the_topic_and_wakes_nobody() {
    let pattern = &CONTROL_PLANE.resource("NotificationRule")["EventPattern"];
    assert_eq!(texts(&pattern["source"]), BTreeSet::from([SOURCE_CONTROL_PLANE.to_owned()]));
    let told: BTreeSet<_> =
        DETAIL_TYPES.into_iter().chain(standing::DETAIL_TYPES).map(str::to_owned).collect();
    assert_eq!(texts(&pattern["detail-type"]), told);
    assert!(!told.contains(DETAIL_TYPE));
}

#[test]
fn every_metric_of_ours_has_an_alarm_and_no_alarm_waits_for_another() {
    let alarms = CONTROL_PLANE.of_type("AWS::CloudWatch::Alarm");
    let ours: Vec<_> =
        alarms.map(|(_, alarm)| alarm).filter(|alarm| alarm["Namespace"] == NAMESPACE).collect();
    let named: BTreeSet<_> = ours.iter().filter_map(|alarm| alarm["MetricName"].as_str()).collect();
    let of_the_arbiter = ["Stuck", "Unfenced", "Braked", THROTTLED];
    assert_eq!(named, Want::ALL.map(Want::name).into_iter().chain(of_the_arbiter).collect());
    for alarm in ours {
        // The functions say the table's name for the control plane's.
        assert_eq!(alarm["Dimensions"], json!([{"Name": DIMENSION, "Value": {"Ref": "Table"}}]));
    }
}

#[test]
fn calls_to_ec2_are_matched_as_the_arbiter_reads_them() {
    let pattern = &CONTROL_PLANE.resource("DriftRule")["EventPattern"];
    assert_eq!(texts(&pattern["source"]), BTreeSet::from(["aws.ec2".to_owned()]));
    assert_eq!(texts(&pattern["detail-type"]), BTreeSet::from([trail::DETAIL_TYPE.to_owned()]));
    let detail = &pattern["detail"];
    assert_eq!(texts(&detail["eventSource"]), BTreeSet::from(["ec2.amazonaws.com".to_owned()]));
    assert_eq!(texts(&detail["eventName"]), trail::CALLS.iter().map(|call| (*call).to_owned()).collect());
    assert_eq!(detail["errorCode"], json!([{"exists": false}]), "a call that failed has moved nothing");
    let issuers = |n: usize| &detail["$or"][n]["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"];
    let not_the_arbiter = json!([{"anything-but": {"Fn::GetAtt": ["ArbiterRole", "Arn"]}}]);
    assert_eq!((issuers(0), issuers(1)), (&json!([{"exists": false}]), &not_the_arbiter));
}

#[test]
fn tags_of_route_tables_are_matched_and_of_nothing_else() {
    let pattern = &CONTROL_PLANE.resource("TableTagRule")["EventPattern"];
    assert_eq!(texts(&pattern["detail-type"]), BTreeSet::from([trail::DETAIL_TYPE.to_owned()]));
    let detail = &pattern["detail"];
    assert_eq!(texts(&detail["eventName"]), ["CreateTags", "DeleteTags"].map(str::to_owned).into());
    assert_eq!(detail["errorCode"], json!([{"exists": false}]));
    let named = &detail["requestParameters"]["resourcesSet"]["items"]["resourceId"];
    assert_eq!(*named, json!([{"prefix": "rtb-"}]));
}

#[test]
fn everyone_wakes_under_its_own_name_only() {
    let mut senders = Vec::new();
    for template in [&*CONTROL_PLANE, &*CLUSTER] {
        for id in template.policies() {
            for statement in template.statements(id) {
                if !statement.actions.contains("events:PutEvents") {
                    continue;
                }
                let condition = &statement.condition["ForAllValues:StringEquals"];
                let mut allowed = BTreeSet::from([DETAIL_TYPE.to_owned()]);
                match id {
                    "ArbiterRole" => allowed.extend(DETAIL_TYPES.map(str::to_owned)),
                    "SweeperRole" => allowed.extend(standing::DETAIL_TYPES.map(str::to_owned)),
                    _ => {}
                }
                assert_eq!(texts(&condition["events:detail-type"]), allowed, "{id}");
                let sources = texts(&condition["events:source"]);
                assert_eq!(sources.len(), 1, "{id}");
                senders.push((id.to_owned(), sources.into_iter().next().unwrap_or_default()));
            }
        }
    }
    senders.sort();
    let expected = [
        ("ArbiterRole", SOURCE_CONTROL_PLANE),
        ("NodePolicy", SOURCE_AGENT),
        ("OperatorPolicy", SOURCE_OPERATOR),
        ("RegistrarRole", SOURCE_CONTROL_PLANE),
        ("SweeperRole", SOURCE_CONTROL_PLANE),
    ];
    assert_eq!(senders, expected.map(|(id, source)| (id.to_owned(), source.to_owned())));
}

#[test]
fn the_stream_is_filtered_by_the_keys_that_the_store_writes() {
    let mapping = CONTROL_PLANE.resource("WakeStream");
    let patterns: Vec<Value> = list(&mapping["FilterCriteria"]["Filters"])
        .into_iter()
        .map(|filter| {
            serde_json::from_str(filter["Pattern"].as_str().expect("a pattern is a text")).expect("and JSON")
        })
        .collect();
    let by_sort_key = |names: Value, sort_key: Value| {
        let keys = json!({"sk": {"S": [sort_key]}});
        json!({"eventName": names, "dynamodb": {"Keys": keys}})
    };
    let expected = [
        by_sort_key(json!(["INSERT", "MODIFY"]), json!(WAKE)),
        by_sort_key(json!(["INSERT"]), json!({"prefix": REQUEST_PREFIX})),
    ];
    assert_eq!(patterns, expected);
    // The filters name keys and nothing else, so keys are all the stream has to carry.
    assert_eq!(CONTROL_PLANE.resource("Table")["StreamSpecification"]["StreamViewType"], "KEYS_ONLY");
}

#[test]
fn who_changes_members_may_change_their_row_in_the_directory_and_delete_none() {
    for statement in CONTROL_PLANE.statements("ArbiterRole") {
        let keys = &statement.condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"];
        if texts(keys).contains(CLUSTERS) {
            assert_eq!(statement.actions, BTreeSet::from(["dynamodb:PutItem".to_owned()]));
            return;
        }
    }
    panic!("the arbiter's role does not reach the directory");
}

#[test]
fn a_cluster_s_largest_number_of_nodes_is_the_registrar_s() {
    let parameter = &CLUSTER.body["Parameters"]["MaxNodes"];
    assert_eq!((&parameter["Default"], &parameter["MaxValue"]), (&json!(MOST), &json!(LARGEST)));
}

#[test]
fn a_registration_never_arrives_after_cloudformation_has_given_up() {
    let registration = CLUSTER.resource("Registration");
    let age = seconds(&invocation("Registrar")["MaximumEventAgeInSeconds"]);
    let run = seconds(&CONTROL_PLANE.resource("Registrar")["Timeout"]);
    assert!(age + run < seconds(&registration["ServiceTimeout"]));
}

#[test]
fn a_sweep_ends_before_the_next_one() {
    assert_eq!(CONTROL_PLANE.resource("SweepRule")["ScheduleExpression"], "rate(1 minute)");
    assert!(seconds(&CONTROL_PLANE.resource("Sweeper")["Timeout"]) < 60);
}

#[test]
fn what_the_arbiter_moves_must_carry_the_tag() {
    let changing = [
        "ec2:AssociateAddress",
        "ec2:CreateRoute",
        "ec2:DisassociateAddress",
        "ec2:ModifyNetworkInterfaceAttribute",
        "ec2:ReplaceRoute",
        "ec2:ReplaceRouteTableAssociation",
    ];
    let mut seen = BTreeSet::new();
    for statement in CONTROL_PLANE.statements("ArbiterRole") {
        let changes: Vec<_> =
            statement.actions.iter().filter(|action| changing.contains(&action.as_str())).collect();
        if changes.is_empty() {
            assert!(
                statement.actions.iter().all(|a| !a.starts_with("ec2:") || a.starts_with("ec2:Describe"))
            );
            continue;
        }
        seen.extend(changes.into_iter().cloned());
        assert_eq!(
            statement.condition,
            json!({"Null": {"aws:ResourceTag/baton:cluster": "false"}}),
            "{}",
            statement.sid
        );
        for resource in statement.resources {
            let arn = resource["Fn::Sub"].as_str().unwrap_or_default().to_owned();
            assert!(
                arn.starts_with("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:"),
                "{resource}"
            );
        }
    }
    assert_eq!(seen, changing.iter().map(|action| (*action).to_owned()).collect());
}

#[test]
fn a_node_without_an_instance_behind_it_may_do_nothing() {
    for statement in CLUSTER.statements("NodePolicy") {
        assert_eq!(statement.condition["Null"]["ec2:SourceInstanceARN"], "false", "{}", statement.sid);
    }
}
