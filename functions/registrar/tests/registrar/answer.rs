//! The answer: it comes whatever happens, and to the right address only.

use std::time::{Duration, Instant};

use baton_protocol::outcome::Failure;
use baton_registrar::handler::Error;
use baton_registrar::respond::{Trouble as Last, Undelivered};
use lambda_runtime::Diagnostic;
use serde_json::json;

use crate::support::cloudformation::Reply;
use crate::support::faulty::Trouble;
use crate::support::{Bench, STACK, failed, succeeded};

#[tokio::test]
async fn an_answer_is_a_put_to_the_signed_address_without_a_content_type() {
    let bench = Bench::new().await;
    succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let heads = bench.cloudformation.heads();
    assert_eq!(heads.len(), 1);
    // The test's server keeps heads in lower case; the percent sign shows that nothing was encoded anew.
    assert!(heads[0].starts_with("put /answer?x-amz-signature=very%2fsecret http/1.1\r\n"), "{}", heads[0]);
    assert!(!heads[0].contains("content-type"), "{}", heads[0]);
    assert!(heads[0].contains("content-length: "), "{}", heads[0]);
}

#[tokio::test]
async fn an_answer_names_the_request_it_answers() {
    let bench = Bench::new().await;
    let answer = bench.create("create-1", STACK, bench.properties()).await;
    assert_eq!(answer["StackId"], STACK);
    assert_eq!(answer["RequestId"], "create-1");
    assert_eq!(answer["LogicalResourceId"], "Registration");
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_sent_again() {
    let bench = Bench::new().await;
    bench.cloudformation.reply([Reply::Status(503), Reply::BreakOff, Reply::Status(429)]);
    succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    let bodies = bench.cloudformation.bodies();
    assert!(bodies.len() >= 4 && bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test]
async fn an_answer_that_is_refused_for_good_is_told_to_lambda_without_the_address() {
    let bench = Bench::new().await;
    bench.cloudformation.reply([Reply::Status(403)]);
    let request = bench.request("Create", "create-1", STACK, bench.properties());
    let error = bench.invoke(request.clone(), Duration::from_secs(60)).await.expect_err("refused");
    let expected = Error::AnswerUndelivered { status: "SUCCESS", undelivered: Undelivered::Refused(403) };
    assert_eq!(error, expected);
    let diagnostic = Diagnostic::from(error);
    assert_eq!(diagnostic.error_type, "AnswerUndelivered");
    assert!(!diagnostic.error_message.contains("127.0.0.1") && !diagnostic.error_message.contains("secret"));
    // Lambda sends the event again, which finds the registration standing.
    succeeded(&bench.send(request).await);
    assert_eq!(bench.standing().await.revision, 1);
}

#[tokio::test]
async fn silence_is_given_up_before_lambda_ends_the_invocation() {
    let time = Duration::from_millis(900);
    // It is given up 200 ms before the end. A machine that stands still for so long just then shows nothing: once more.
    let mut took = Duration::MAX;
    for _ in 0..5 {
        let bench = Bench::new().await;
        bench.cloudformation.reply([Reply::KeepSilent; 40]);
        let request = bench.request("Create", "create-1", STACK, bench.properties());
        let begun = Instant::now();
        let error = bench.invoke(request, time).await.expect_err("silence");
        took = begun.elapsed();
        let Error::AnswerUndelivered { undelivered: Undelivered::NotTaken { last, .. }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(last, Last::TimedOut);
        if took < time {
            break;
        }
    }
    assert!(took < time, "{took:?}");
}

#[tokio::test]
async fn work_that_never_ends_is_answered_before_the_time_is_up() {
    let time = Duration::from_millis(2_500);
    // The answer has the last two seconds. A machine that stands still for so long just then shows nothing: once more.
    let mut last = None;
    for _ in 0..5 {
        let bench = Bench::new().await;
        bench.registrar.store.gate.on_writes([Trouble::Hang]);
        let request = bench.request("Create", "create-1", STACK, bench.properties());
        let begun = Instant::now();
        let answered = bench.invoke(request, time).await;
        let took = begun.elapsed();
        let in_time = answered.is_ok() && took < time;
        last = Some((answered, took, bench));
        if in_time {
            break;
        }
    }
    let (answered, took, bench) = last.expect("tried");
    answered.expect("answered");
    assert!(took < time, "{took:?}");
    let answer = bench.cloudformation.last();
    let reason = failed(&answer);
    assert!(reason.starts_with("OutOfTime: ") && reason.contains("again is safe"), "{reason}");
    let id = answer["PhysicalResourceId"].as_str().expect("text");
    assert!(id.starts_with("orders/") && id.ends_with("-create-1"), "a deletion finds what was made: {id}");
}

#[tokio::test]
async fn a_panic_is_answered_too() {
    let bench = Bench::new().await;
    bench.registrar.store.gate.on_reads([Trouble::Panic]);
    let reason = failed(&bench.create("create-1", STACK, bench.properties()).await);
    assert!(reason.starts_with("Fault: ") && reason.contains("the store panicked"), "{reason}");
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_told_as_unknown() {
    let bench = Bench::new().await;
    let unknown = || Trouble::Before(Failure::Unknown("no answer".to_owned()));
    bench.registrar.store.gate.on_writes((0..10_000).map(|_| unknown()));
    let request = bench.request("Create", "create-1", STACK, bench.properties());
    bench.invoke(request, Duration::from_millis(6_000)).await.expect("answered");
    let reason = failed(&bench.cloudformation.last());
    assert!(reason.starts_with("OutcomeUnknown: whether the registration of orders took effect"), "{reason}");
    assert!(reason.contains("again is safe"), "{reason}");
}

#[tokio::test]
async fn a_request_that_is_wrong_in_itself_is_answered() {
    let bench = Bench::new().await;
    for (change, word) in [(json!("Renew"), "RequestInvalid"), (json!(7), "RequestInvalid")] {
        let mut request = bench.request("Create", "create-1", STACK, bench.properties());
        request["RequestType"] = change;
        let reason = failed(&bench.send(request).await);
        assert!(reason.starts_with(word), "{reason}");
    }
    let mut request = bench.request("Create", "create-1", STACK, json!({}));
    request["ResourceProperties"] = json!(null);
    let answer = bench.send(request).await;
    assert!(failed(&answer).starts_with("PropertiesInvalid: "), "{answer}");
    assert!(answer["PhysicalResourceId"].as_str().is_some_and(|id| id.starts_with("-/")), "{answer}");
}

#[tokio::test]
async fn an_event_that_nobody_waits_for_is_an_error() {
    let bench = Bench::new().await;
    let error = bench.invoke(json!({ "source": "aws.ec2" }), Duration::from_secs(60)).await;
    assert_eq!(error, Err(Error::NotARequest));
    assert_eq!(Diagnostic::from(Error::NotARequest).error_type, "NotARequest");
    assert!(bench.cloudformation.bodies().is_empty());
}
