//! What goes wrong with a call is told apart, and what goes over the wire is what the policies allow.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::process::Command;
use std::time::Duration;

use baton_client::{Bus, BusFailure, Limits};
use baton_conformance::engine::{PATIENT, config_at};
use baton_conformance::impostor::{Impostor, Reply, Sent};
use baton_conformance::store::build::{
    AT, beat, cluster, event, findings, grant, node, registration, request, run, start, unchanged,
};
use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::Claim;
use baton_protocol::history::{Ground, Happening};
use baton_protocol::ids::{Epoch, RequestId, Seq};
use baton_protocol::lease::Lease;
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::request::Wish;
use baton_protocol::time::WallTime;
use baton_protocol::wake::{SOURCE_AGENT, Wake, Why};
use baton_store::condition::{AGENT_ATTRIBUTES, OPERATOR_ATTRIBUTES};
use baton_store::{DynamoStore, MemoryStore, Store};
use serde_json::Value;

/// For what never answers.
const SHORT: Limits = Limits { connect: Duration::from_millis(500), attempt: Duration::from_millis(500) };

/// What answers has all the time it needs: too late would be another failure than the one that is looked for.
async fn store_at(endpoint: &str) -> DynamoStore {
    DynamoStore::new(&config_at(endpoint, PATIENT).await, "baton")
}

/// A lease that node 1 holds, made without a table.
async fn held() -> Lease {
    let store = MemoryStore::new();
    store.register(&registration(1)).await.expect("registered");
    let mut lease = store.lease(&cluster()).await.expect("read").expect("there");
    (lease.epoch, lease.holder) = (Epoch(1), Some(node(1)));
    lease
}

async fn silent_grant() -> Grant {
    grant(&held().await, Ground::Silence, unchanged(1, 2), 2, 1)
}

fn of_write<F: std::fmt::Debug>(outcome: Result<(), WriteFailure<F>>) -> Failure {
    match outcome {
        Err(WriteFailure::Failed(failure)) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

/// How a read, an update, a put, a query and a transaction fail when everything is replied to like this.
async fn failures_under(reply: Reply) -> [Failure; 5] {
    let impostor = Impostor::start(reply).await;
    failures_of(&store_at(impostor.endpoint()).await).await
}

async fn failures_of(store: &DynamoStore) -> [Failure; 5] {
    let row = event(Epoch(1), AT, "arbiter/1", Happening::Retired {});
    [
        store.lease(&cluster()).await.expect_err("a failed read"),
        of_write(store.beat(&cluster(), &node(1), &beat(1, 3)).await),
        store.append(&row).await.expect_err("a failed put"),
        store.history(&cluster(), 1).await.expect_err("a failed query"),
        store.commit(&silent_grant().await).await.expect_err("a failed transaction"),
    ]
}

fn text() -> String {
    String::new()
}

#[tokio::test]
async fn every_refusal_of_the_service_is_told_apart() {
    for (status, code, expected) in [
        (400, "ProvisionedThroughputExceededException", Failure::Throttled),
        (400, "RequestLimitExceeded", Failure::Throttled),
        (400, "ThrottlingException", Failure::Throttled),
        (400, "AccessDeniedException", Failure::Denied(text())),
        (400, "UnrecognizedClientException", Failure::Denied(text())),
        (400, "ExpiredTokenException", Failure::Denied(text())),
        (400, "ResourceNotFoundException", Failure::Missing(text())),
        (400, "ValidationException", Failure::Invalid(text())),
        (400, "IdempotentParameterMismatchException", Failure::Invalid(text())),
        (400, "TransactionConflictException", Failure::Conflict),
        (400, "TransactionInProgressException", Failure::Unknown(text())),
        (400, "SomethingNewException", Failure::Unknown(text())),
        (500, "InternalServerError", Failure::Unknown(text())),
        (503, "ServiceUnavailable", Failure::Unknown(text())),
    ] {
        for found in failures_under(Reply::error(status, code)).await {
            assert_eq!(discriminant(&found), discriminant(&expected), "{code} became {found:?}");
            let (Failure::Denied(told)
            | Failure::Missing(told)
            | Failure::Invalid(told)
            | Failure::Unknown(told)) = &found
            else {
                continue;
            };
            assert!(told.contains(code) && told.contains("the impostor says so"), "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_unknown() {
    for reply in [
        Reply::Answer(200, "<html>welcome to the proxy</html>".to_owned()),
        Reply::Answer(502, "<html>bad gateway</html>".to_owned()),
        Reply::Answer(400, "<html>what?</html>".to_owned()),
    ] {
        let impostor = Impostor::start(reply.clone()).await;
        let store = store_at(impostor.endpoint()).await;
        let read = store.lease(&cluster()).await;
        assert!(matches!(read, Err(Failure::Unknown(_))), "{reply:?}: {read:?}");
    }
    for found in failures_under(Reply::Answer(502, text())).await {
        assert!(matches!(found, Failure::Unknown(_)), "{found:?}");
    }
}

#[tokio::test]
async fn no_answer_is_unknown_and_not_waited_for() {
    for reply in [Reply::Silence, Reply::Stall, Reply::HangUp] {
        let impostor = Impostor::start(reply.clone()).await;
        let store = DynamoStore::new(&config_at(impostor.endpoint(), SHORT).await, "baton");
        // Five calls, and ten times as long as each may take.
        let all = tokio::time::timeout(SHORT.attempt * 50, failures_of(&store)).await;
        for found in all.unwrap_or_else(|_| panic!("{reply:?}: it waits for ever")) {
            assert!(matches!(found, Failure::Unknown(_)), "{reply:?}: {found:?}");
        }
        // Five calls, each of one attempt; one whose time was up before it was heard was not made again either.
        let sent = impostor.take_sent().len();
        assert!((1..=5).contains(&sent), "{reply:?}: {sent}");
    }
    for found in failures_of(&store_at("http://127.0.0.1:1").await).await {
        assert!(matches!(found, Failure::Unknown(_)), "nobody listens: {found:?}");
    }
}

#[tokio::test]
async fn a_call_is_sent_once() {
    let impostor = Impostor::start(Reply::error(500, "InternalServerError")).await;
    failures_of(&store_at(impostor.endpoint()).await).await;
    assert_eq!(impostor.take_sent().len(), 5);
}

#[tokio::test]
async fn the_reasons_of_a_cancelled_transaction_reach_the_arbiter() {
    let cancelled = |reasons: &str| {
        let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        Reply::Answer(
            400,
            format!(r#"{{"__type":"{kind}","Message":"no","CancellationReasons":[{reasons}]}}"#),
        )
    };
    let none = r#"{"Code":"None"}"#;
    for (reasons, expected) in [
        (format!(r#"{none},{{"Code":"TransactionConflict"}},{none}"#), Failure::Conflict),
        (format!(r#"{{"Code":"ThrottlingError"}},{none}"#), Failure::Throttled),
        (format!(r#"{{"Code":"ValidationError"}},{none}"#), Failure::Invalid(text())),
        (none.to_owned(), Failure::Unknown(text())),
    ] {
        let impostor = Impostor::start(cancelled(&reasons)).await;
        let store = store_at(impostor.endpoint()).await;
        let found = store.commit(&silent_grant().await).await.expect_err("no word about a condition");
        assert_eq!(discriminant(&found), discriminant(&expected), "{reasons} became {found:?}");
    }

    let lost =
        format!(r#"{none},{{"Code":"ConditionalCheckFailed"}},{{"Code":"TransactionConflict"}},{none}"#);
    let impostor = Impostor::start(cancelled(&lost)).await;
    let store = store_at(impostor.endpoint()).await;
    let expected = Committed::Superseded(vec!["holder: expected a heartbeat, found none".to_owned()]);
    assert_eq!(store.commit(&silent_grant().await).await, Ok(expected));
}

#[tokio::test]
async fn a_partial_answer_about_heartbeats_is_throttled() {
    let left = r#"{"baton":{"Keys":[{"pk":{"S":"x"},"sk":{"S":"y"}}]}}"#;
    let answer = format!(r#"{{"Responses":{{"baton":[]}},"UnprocessedKeys":{left}}}"#);
    let impostor = Impostor::start(Reply::Answer(200, answer)).await;
    let store = store_at(impostor.endpoint()).await;
    assert_eq!(store.heartbeats(&cluster(), &[node(1), node(2)]).await, Err(Failure::Throttled));
}

#[tokio::test]
async fn a_neighbour_that_is_not_read_keeps_the_lease_from_nobody() {
    let key = |pk: &str, sk: &str| format!(r#"{{"pk":{{"S":"{pk}"}},"sk":{{"S":"{sk}"}}}}"#);
    let cluster_key = format!("C#{}", cluster());
    let neighbour = key(&format!("{cluster_key}#I#{}", node(1)), "HEARTBEAT");
    // The lease that was left is asked for alone.
    for (left, calls) in [
        (neighbour.clone(), 1),
        (key(&cluster_key, "LEASE"), 2),
        (format!("{neighbour},{}", key(&cluster_key, "LEASE")), 2),
    ] {
        let answer =
            format!(r#"{{"Responses":{{"baton":[]}},"UnprocessedKeys":{{"baton":{{"Keys":[{left}]}}}}}}"#);
        let impostor = Impostor::start(Reply::Answer(200, answer)).await;
        let store = store_at(impostor.endpoint()).await;
        assert_eq!(store.lease_along(&cluster(), &[node(1)]).await, Ok((None, None)), "{left}");
        assert_eq!(impostor.take_sent().len(), calls, "{left}");
    }
    let odd = format!(r#"{{"Responses":{{"baton":[{}]}}}}"#, neighbour);
    let impostor = Impostor::start(Reply::Answer(200, odd)).await;
    let store = store_at(impostor.endpoint()).await;
    assert_eq!(
        store.lease_along(&cluster(), &[node(1)]).await,
        Ok((None, None)),
        "a heartbeat without its parts"
    );
}

#[tokio::test]
async fn every_read_is_strongly_consistent() {
    let impostor = Impostor::start(Reply::Answer(200, "{}".to_owned())).await;
    let store = store_at(impostor.endpoint()).await;
    store.lease(&cluster()).await.expect("read");
    store.heartbeat(&cluster(), &node(1)).await.expect("read");
    store.heartbeats(&cluster(), &[node(1)]).await.expect("read");
    store.lease_along(&cluster(), &[node(1)]).await.expect("read");
    store.history(&cluster(), 5).await.expect("read");
    store.requests(&cluster(), 5).await.expect("read");
    store.clusters().await.expect("read");
    let sent = impostor.take_sent();
    assert_eq!(sent.len(), 7);
    for Sent { operation, body } in sent {
        let consistent = match operation.as_str() {
            "BatchGetItem" => &body["RequestItems"]["baton"]["ConsistentRead"],
            _ => &body["ConsistentRead"],
        };
        assert_eq!(consistent, &Value::Bool(true), "{operation}: {body}");
    }
}

/// Every attribute that a write names, in its key, its item or its expressions.
fn attributes(body: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match body {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("Key" | "Item", Value::Object(item)) => found.extend(item.keys().cloned()),
                    ("ExpressionAttributeNames", Value::Object(names)) => {
                        found.extend(names.values().filter_map(|name| name.as_str().map(str::to_owned)));
                    }
                    _ => found.extend(attributes(value)),
                }
            }
        }
        Value::Array(values) => found.extend(values.iter().flat_map(attributes)),
        _ => {}
    }
    found
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn an_operators_write_names_no_attribute_but_the_allowed_ones() {
    let impostor = Impostor::start(Reply::Answer(200, "{}".to_owned())).await;
    let store = store_at(impostor.endpoint()).await;
    let excludes = |replaces: Option<&str>, withdraws: bool| Wish::Exclude {
        node: node(2),
        why: "a disk".to_owned(),
        hand_over: !withdraws,
        replaces: replaces.map(|id| RequestId::new(id).expect("valid")),
        withdraws,
    };
    for (id, wish) in [
        ("1", Wish::Switchover { to: Some(node(2)), why: String::new() }),
        ("2", Wish::Pause { why: "upgrade".to_owned() }),
        ("3", Wish::Resume {}),
        ("4", excludes(None, false)),
        ("4-again", excludes(Some("4"), false)),
        ("4-withdrawn", excludes(Some("4-again"), true)),
        ("5", Wish::Include { exclusion: RequestId::new("4").expect("valid"), withdraws: true }),
        ("6", Wish::Failover { to: None, why: String::new() }),
        (
            "7",
            Wish::Fence { node: node(2), uid: baton_conformance::store::build::uid(1), why: String::new() },
        ),
        ("8", Wish::Restore { uid: baton_conformance::store::build::uid(1), why: String::new() }),
    ] {
        store.ask(&request(id, wish, Epoch(1))).await.expect("asked");
    }
    let mut sent = impostor.take_sent();
    // What a wish takes the place of is read first, which is the viewer's right.
    sent.retain(|sent| sent.operation != "GetItem");
    let found: BTreeSet<_> = sent.iter().flat_map(|sent| attributes(&sent.body)).collect();
    assert_eq!(found, names(OPERATOR_ATTRIBUTES));
    assert_eq!(sent.len(), 10);
    for Sent { operation, body } in sent {
        assert_eq!(operation, "TransactWriteItems");
        let actions = body["TransactItems"].as_array().expect("actions");
        assert_eq!(actions.len(), 2, "{body}");
        // The operators' policy allows UpdateItem and nothing else.
        assert!(actions.iter().all(|action| action.get("Update").is_some()), "{body}");
    }
}

#[tokio::test]
async fn an_agents_write_is_an_update_of_its_own_partition_and_allowed_attributes() {
    let impostor = Impostor::start(Reply::Answer(200, "{}".to_owned())).await;
    let store = store_at(impostor.endpoint()).await;
    let (cluster, me) = (cluster(), node(1));
    let mut full = beat(1, 3);
    full.claim = Some(Claim {
        epoch: Epoch(1),
        holder: node(2),
        incarnation: run(1),
        seq: Seq(2),
        silent_ms: 6_000,
        at: AT,
    });
    full.serving_epoch = Some(Epoch(1));
    full.serving_since = Some(AT);
    full.ahead = Some(Epoch(2));
    full.findings = Some(findings());
    full.healthy_since = Some(AT);
    store.start(&cluster, &me, &start(None, 1)).await.expect("started");
    store.start(&cluster, &me, &start(Some(1), 2)).await.expect("started");
    store.beat(&cluster, &me, &beat(1, 2)).await.expect("beaten");
    store.beat(&cluster, &me, &full).await.expect("beaten");
    store.release(&cluster, &me, &run(1), Epoch(1)).await.expect("released");
    store.leave_wake(&cluster, &me, Why::Claim, AT).await.expect("left");
    let sent = impostor.take_sent();
    let found: BTreeSet<_> = sent.iter().flat_map(|sent| attributes(&sent.body)).collect();
    assert_eq!(found, names(AGENT_ATTRIBUTES));
    for Sent { operation, body } in sent {
        assert_eq!(operation, "UpdateItem");
        assert_eq!(body["Key"]["pk"]["S"], format!("C#{cluster}#I#{me}"));
    }
}

#[tokio::test]
async fn a_repeated_commit_is_the_same_request_and_another_is_not() {
    let impostor = Impostor::start(Reply::Answer(200, "{}".to_owned())).await;
    let store = store_at(impostor.endpoint()).await;
    let good = silent_grant().await;
    let mut other_row = good.clone();
    other_row.event.by = "arbiter/2".to_owned();
    let others = [
        other_row,
        Grant { at: WallTime(AT.0 + 1), ..good.clone() },
        Grant { ground: Ground::Gone, ..good.clone() },
        Grant { holder_check: unchanged(1, 3), ..good.clone() },
        Grant { to_incarnation: run(2), ..good.clone() },
        Grant { to: node(3), ..good.clone() },
    ];
    for grant in [&good, &good].into_iter().chain(&others) {
        assert_eq!(store.commit(grant).await, Ok(Committed::Granted));
    }
    let sent: Vec<_> = impostor.take_sent().into_iter().map(|sent| sent.body).collect();
    assert_eq!(sent[0], sent[1]);
    let tokens: BTreeSet<_> = sent.iter().map(|body| body["ClientRequestToken"].to_string()).collect();
    assert_eq!(tokens.len(), 1 + others.len(), "{tokens:?}");
}

fn wake() -> Wake {
    Wake { cluster: cluster(), why: Why::Claim, schema: 1 }
}

#[tokio::test]
async fn a_wake_travels_as_the_rules_expect_it() {
    let taken = r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#;
    let impostor = Impostor::start(Reply::Answer(200, taken.to_owned())).await;
    let bus = Bus::new(&config_at(impostor.endpoint(), PATIENT).await, "baton");
    bus.wake(SOURCE_AGENT, &wake()).await.expect("sent");
    let sent = impostor.take_sent();
    let entry = &sent[0].body["Entries"][0];
    assert_eq!(sent[0].operation, "PutEvents");
    assert_eq!(
        (&entry["EventBusName"], &entry["Source"]),
        (&Value::from("baton"), &Value::from("baton.agent"))
    );
    assert_eq!(entry["DetailType"], "Wake");
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().expect("text")).expect("JSON");
    assert_eq!(detail, serde_json::json!({"cluster": "orders", "why": "claim", "schema_version": 1}));
}

#[tokio::test]
async fn a_wake_that_was_not_taken_says_why() {
    let refused = |code: &str| {
        let entry = format!(r#"{{"ErrorCode":"{code}","ErrorMessage":"the impostor says so"}}"#);
        Reply::Answer(200, format!(r#"{{"FailedEntryCount":1,"Entries":[{entry}]}}"#))
    };
    for (reply, expected) in [
        (refused("ThrottlingException"), BusFailure::Throttled),
        (refused("AccessDeniedException"), BusFailure::Denied(text())),
        (refused("ResourceNotFoundException"), BusFailure::Missing(text())),
        (refused("InternalFailure"), BusFailure::Unknown(text())),
        (
            Reply::Answer(200, r#"{"FailedEntryCount":1,"Entries":[]}"#.to_owned()),
            BusFailure::Unknown(text()),
        ),
        (Reply::error(400, "ThrottlingException"), BusFailure::Throttled),
        (Reply::error(400, "AccessDeniedException"), BusFailure::Denied(text())),
        (Reply::error(400, "ResourceNotFoundException"), BusFailure::Missing(text())),
        (Reply::error(400, "ValidationException"), BusFailure::Invalid(text())),
        (Reply::error(500, "InternalException"), BusFailure::Unknown(text())),
        (Reply::Silence, BusFailure::Unknown(text())),
        (Reply::HangUp, BusFailure::Unknown(text())),
    ] {
        let impostor = Impostor::start(reply.clone()).await;
        let limits = if matches!(reply, Reply::Silence) { SHORT } else { PATIENT };
        let bus = Bus::new(&config_at(impostor.endpoint(), limits).await, "baton");
        let found = bus.wake(SOURCE_AGENT, &wake()).await.expect_err("not taken");
        assert_eq!(discriminant(&found), discriminant(&expected), "{reply:?} became {found:?}");
    }
}

/// A test binary that is told of no certificates stands for a machine that has none.
#[test]
fn a_machine_without_certificates_can_speak_plain_http() {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_call_is_sent_once"])
        .env("SSL_CERT_FILE", "/nonexistent/certificates.pem")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
