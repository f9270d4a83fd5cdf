//! From a rule to a function, as AWS delivers: permission, retries, failures, throttles, and the faults that
//! a test asks for.

mod support;

use baton_sandbox::{ACCOUNT_ID, Account, Faults, Package, Sandbox};
use serde_json::{Value, json};
use support::{executable, make_role, sandbox, until, until_equal};

/// A function that records each invocation in the file `$RECORD` and fails the first `$FAIL` of them. A file,
/// because ministack waits only 50 ms for what a function logs and may lose it on a busy computer.
const FUNCTION: &str = r#"
import json, os, time, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
seen = 0
while True:
    with urllib.request.urlopen(api + "next") as got:
        request, event = got.headers["Lambda-Runtime-Aws-Request-Id"], json.load(got)
    seen += 1
    print("handled", json.dumps(event["detail"]), flush=True)
    with open(os.environ["RECORD"], "a") as record:
        record.write(json.dumps({**event["detail"], "ec2": os.environ.get("AWS_ENDPOINT_URL_EC2")}) + "\n")
    time.sleep(float(os.environ.get("SLOW", "0")))
    failed = seen <= int(os.environ.get("FAIL", "0"))
    body = b'{"errorMessage":"as asked","errorType":"Asked"}' if failed else b"null"
    kind = "/error" if failed else "/response"
    urllib.request.urlopen(urllib.request.Request(api + request + kind, data=body, method="POST"))
"#;

/// Makes the function behind a rule on the bus `baton`; `permitted` says whether the rule may invoke it.
fn deploy(sandbox: &Sandbox, environment: &Value, permitted: bool) {
    let mut environment = environment.clone();
    environment["RECORD"] = json!(sandbox.run_dir().join("record"));
    let account = sandbox.account();
    let allow_all = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let role = make_role(account, "function", "lambda.amazonaws.com", &allow_all);
    let package = Package::of(&executable(sandbox, "function", FUNCTION), sandbox.run_dir()).expect("packed");
    let bucket = account.put_file("function.zip", &package.path).expect("put");
    let call = |service: &str, operation: &str, parameters: Value| {
        account.call(service, operation, &parameters).expect(operation)
    };
    call(
        "lambda",
        "create_function",
        json!({
            "FunctionName": "counted", "Runtime": "provided.al2023", "Handler": "bootstrap", "Role": role,
            "Code": {"S3Bucket": bucket, "S3Key": "function.zip"}, "Environment": {"Variables": environment},
            "Timeout": 20,
        }),
    );
    call("events", "create_event_bus", json!({"Name": "baton"}));
    let pattern = json!({"detail-type": ["Wake"]}).to_string();
    let rule =
        call("events", "put_rule", json!({"Name": "wake", "EventBusName": "baton", "EventPattern": pattern}));
    let function = format!("arn:aws:lambda:eu-west-1:{ACCOUNT_ID}:function:counted");
    let targets = json!([{"Id": "function", "Arn": function}]);
    call("events", "put_targets", json!({"Rule": "wake", "EventBusName": "baton", "Targets": targets}));
    if permitted {
        call(
            "lambda",
            "add_permission",
            json!({
                "FunctionName": "counted", "StatementId": "rule", "Action": "lambda:InvokeFunction",
                "Principal": "events.amazonaws.com", "SourceArn": rule["RuleArn"],
            }),
        );
    }
}

fn send(account: &Account, number: u32) {
    let entry = json!({
        "Source": "baton.agent", "DetailType": "Wake", "Detail": json!({"n": number}).to_string(),
        "EventBusName": "baton",
    });
    let answer = account.call("events", "put_events", &json!({"Entries": [entry]})).expect("put");
    assert_eq!(answer["FailedEntryCount"], 0);
}

/// What the function recorded.
fn record(sandbox: &Sandbox) -> Vec<Value> {
    let text = std::fs::read_to_string(sandbox.run_dir().join("record")).unwrap_or_default();
    // The last line may be half written while we read.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The numbers of the events that the function handled, in its order.
fn handled(sandbox: &Sandbox) -> Vec<u64> {
    record(sandbox).iter().filter_map(|line| line["n"].as_u64()).collect()
}

#[test]
fn an_event_that_failed_is_tried_again_until_it_succeeds() {
    let sandbox = sandbox();
    deploy(&sandbox, &json!({"FAIL": "2"}), true);
    send(sandbox.account(), 7);
    until_equal(&sandbox, &vec![7, 7, 7], || handled(&sandbox));
    let endpoint = sandbox.moto().endpoint();
    assert!(record(&sandbox).iter().all(|line| line["ec2"] == endpoint.as_str()), "its EC2 is moto");
    until("what it logged", || {
        let logs = sandbox.account().function_logs("counted").expect("readable");
        logs.iter().any(|line| line.starts_with("handled"))
    });
}

#[test]
fn an_event_that_failed_for_good_goes_to_the_destination_for_failures() {
    let sandbox = sandbox();
    let account = sandbox.account();
    deploy(&sandbox, &json!({"FAIL": "99"}), true);
    let queue = account.call("sqs", "create_queue", &json!({"QueueName": "failed"})).expect("made");
    let destination =
        json!({"OnFailure": {"Destination": format!("arn:aws:sqs:eu-west-1:{ACCOUNT_ID}:failed")}});
    let config =
        json!({"FunctionName": "counted", "MaximumRetryAttempts": 1, "DestinationConfig": destination});
    account.call("lambda", "put_function_event_invoke_config", &config).expect("taken");
    send(account, 8);
    let mut body = String::new();
    until("the message in the queue", || {
        let asked = json!({"QueueUrl": queue["QueueUrl"]});
        let got = account.call("sqs", "receive_message", &asked).expect("answers");
        body = got["Messages"][0]["Body"].as_str().unwrap_or_default().to_owned();
        !body.is_empty()
    });
    assert!(body.contains("as asked"), "{body}");
    assert_eq!(handled(&sandbox), [8, 8]);
}

#[test]
fn throttled_events_wait_and_none_is_lost() {
    let sandbox = sandbox();
    let account = sandbox.account();
    deploy(&sandbox, &json!({"SLOW": "0.3"}), true);
    let one = json!({"FunctionName": "counted", "ReservedConcurrentExecutions": 1});
    account.call("lambda", "put_function_concurrency", &one).expect("taken");
    for number in 0..4 {
        send(account, number);
    }
    until_equal(&sandbox, &vec![0, 1, 2, 3], || {
        let mut all = handled(&sandbox);
        all.sort_unstable();
        all
    });
}

#[test]
fn a_rule_without_permission_invokes_nothing() {
    let sandbox = sandbox();
    deploy(&sandbox, &json!({}), false);
    send(sandbox.account(), 1);
    until("the refusal in the log", || {
        let log = std::fs::read_to_string(sandbox.ministack().log()).expect("readable");
        log.contains("may not invoke counted")
    });
    assert_eq!(handled(&sandbox), Vec::<u64>::new());
}

#[test]
fn events_are_duplicated_delayed_and_lost_as_asked() {
    let sandbox = sandbox();
    let account = sandbox.account();
    deploy(&sandbox, &json!({}), true);
    let faults = |faults: Faults| sandbox.ministack().set_faults(&faults).expect("taken");
    faults(Faults { duplicate: 1.0, delay: Some((0.0, 0.5)), ..Faults::default() });
    send(account, 1);
    until_equal(&sandbox, &vec![1, 1], || handled(&sandbox));
    faults(Faults { drop: 1.0, ..Faults::default() });
    send(account, 2);
    faults(Faults::default());
    send(account, 3);
    until_equal(&sandbox, &vec![1, 1, 3], || handled(&sandbox));
}
