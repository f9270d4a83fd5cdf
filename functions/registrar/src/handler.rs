//! One request of CloudFormation, and its answer, which always comes.
//!
//! The work runs under a guard that ends it two seconds before Lambda would, and a panic in it is caught, so that what is
//! left of the time is enough to answer. Lambda is told of a failure only if the answer could not be delivered: then it
//! sends the same request again, which finds everything as the first attempt left it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::cloudformation::CloudFormationCustomResourceRequest as Request;
use baton_cloud::{Cloud, Counted};
use baton_protocol::ids::RegistrationUid;
use baton_protocol::time::WallTime;
use baton_store::Store;
use baton_survey::Account;
use futures_util::FutureExt;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::identity::{Owner, PhysicalId};
use crate::patience::Patience;
use crate::property;
use crate::refusal::Refusal;
use crate::register::{Errand, Standing};
use crate::request::Envelope;
use crate::respond::{Answer, Responder, Undelivered};
use crate::retire::Retired;
use crate::wake::{Waker, wake};

/// What is kept of an invocation's time for the answer.
const FOR_THE_ANSWER: Duration = Duration::from_secs(2);
/// No attempt begins so shortly before that: it takes up to three seconds, and its outcome is worth telling.
const FOR_THE_LAST_ATTEMPT: Duration = Duration::from_millis(3_500);
/// The answer is given up so long before Lambda ends the invocation, so that the failure can be told.
const FOR_THE_FAILURE: Duration = Duration::from_millis(200);
/// If Lambda gives no deadline, as a local runner may, a request takes no longer than this.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(55);

/// The registrar.
#[derive(Debug)]
pub struct Registrar<S, C, A, W> {
    /// The table.
    pub store: S,
    /// EC2.
    pub cloud: C,
    /// What surrounds the nodes.
    pub account: A,
    /// The table's name.
    pub table: String,
    /// The bus.
    pub waker: W,
    /// The way back to CloudFormation.
    pub responder: Responder,
    /// The first pause before anything that failed is tried again.
    pub first_pause: Duration,
}

/// Why Lambda is told of a failure. The words are fixed: alarms and the runbook use them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody waits for an answer.
    #[error(
        "expected a request of CloudFormation, found an event without ResponseURL, StackId, RequestId or LogicalResourceId"
    )]
    NotARequest,
    /// The work is done, or refused, and CloudFormation has not been told.
    #[error("{status}, and CloudFormation was not told: {undelivered}")]
    AnswerUndelivered {
        /// What it should have been told.
        status: &'static str,
        /// Why it was not.
        undelivered: Undelivered,
    },
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let error_type = match &error {
            Error::NotARequest => "NotARequest",
            Error::AnswerUndelivered { .. } => "AnswerUndelivered",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// What a request came to.
#[derive(Debug)]
enum Settled {
    Stands(Standing),
    Retired(Retired),
}

impl<S, C, A: Account, W> Registrar<S, Counted<C>, A, W> {
    /// How many requests EC2 has throttled since this was last asked, by action: of what is moved, and of the network.
    pub fn take_throttled(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.cloud.take_throttled();
        for (action, times) in self.account.take_throttled() {
            *all.entry(action).or_default() += times;
        }
        all
    }
}

impl<S: Store, C: Cloud, A: Account, W: Waker> Registrar<S, C, A, W> {
    /// Carries out one request and answers it.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let deadline = deadline(event.context.deadline);
        let envelope = Envelope::read(&event.payload).ok_or(Error::NotARequest)?;
        let owner = Owner::of(&envelope.stack_id, &envelope.logical_id);
        let uid = owner.uid(&envelope.request_id);
        let guard = before(deadline, FOR_THE_ANSWER);
        let errand = Errand {
            store: &self.store,
            cloud: &self.cloud,
            account: &self.account,
            table: &self.table,
            patience: Patience { until: before(guard, FOR_THE_LAST_ATTEMPT), first: self.first_pause },
            owner,
            by: format!("registrar {}", event.context.request_id),
            now: now(),
        };
        let fallback = fallback_id(&envelope, &event.payload, uid.as_ref());
        let work =
            AssertUnwindSafe(Box::pin(self.carry_out(&errand, uid.as_ref(), event.payload))).catch_unwind();
        let outcome = match timeout_at(guard, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(Refusal::Fault(said(panic.as_ref()))),
            Err(_) => Err(Refusal::OutOfTime),
        };
        self.answer(&envelope, fallback, outcome, before(deadline, FOR_THE_FAILURE)).await
    }

    async fn carry_out(
        &self,
        errand: &Errand<'_, S, C, A>,
        uid: Option<&RegistrationUid>,
        event: Value,
    ) -> Result<Settled, Refusal> {
        let uid = uid.ok_or_else(|| Refusal::Fault("no uid could be made for this request".to_owned()))?;
        let request: Request =
            serde_json::from_value(event).map_err(|error| Refusal::RequestInvalid(error.to_string()))?;
        let standing = match request {
            Request::Create(request) => {
                let desired =
                    property::parse(&request.resource_properties).map_err(Refusal::PropertiesInvalid)?;
                errand.create(&desired, uid).await?
            }
            Request::Update(request) => {
                let desired =
                    property::parse(&request.resource_properties).map_err(Refusal::PropertiesInvalid)?;
                let id = PhysicalId::parse(&request.physical_resource_id)
                    .ok_or_else(|| Refusal::NotRegistered(request.physical_resource_id.clone()))?;
                if id.cluster == desired.cluster {
                    errand.change(&desired, &id).await?
                } else {
                    // Another name is another cluster. CloudFormation deletes the one it replaces afterwards.
                    errand.create(&desired, uid).await?
                }
            }
            Request::Delete(request) => {
                return match PhysicalId::parse(&request.physical_resource_id) {
                    Some(id) => errand.retire(&id).await.map(Settled::Retired),
                    None => Ok(Settled::Retired(Retired::NotOurs)),
                };
            }
            other => return Err(Refusal::RequestInvalid(format!("{other:?}").chars().take(80).collect())),
        };
        Ok(Settled::Stands(standing))
    }

    async fn answer(
        &self,
        envelope: &Envelope,
        fallback: String,
        outcome: Result<Settled, Refusal>,
        until: Instant,
    ) -> Result<Value, Error> {
        let status = if outcome.is_ok() { "SUCCESS" } else { "FAILED" };
        let registered = match &outcome {
            Ok(Settled::Stands(standing)) => Some(standing.id.cluster.clone()),
            _ => None,
        };
        let answer = match outcome {
            Ok(Settled::Stands(standing)) => {
                let attributes = vec![
                    ("Cluster", standing.id.cluster.to_string()),
                    ("Uid", standing.id.uid.to_string()),
                    ("Epoch", standing.epoch.to_string()),
                ];
                Answer { physical_id: standing.id.to_string(), outcome: Ok(attributes) }
            }
            Ok(Settled::Retired(retired)) => {
                tracing::info!(physical_id = fallback, outcome = ?retired, "deletion");
                Answer { physical_id: fallback, outcome: Ok(Vec::new()) }
            }
            Err(refusal) => {
                let error = refusal.word();
                tracing::error!(physical_id = fallback, error, reason = %refusal, "refused");
                Answer { physical_id: fallback, outcome: Err(format!("{error}: {refusal}")) }
            }
        };
        tracing::info!(stack = envelope.stack_id, physical_id = answer.physical_id, status, "request");
        let deliver =
            async { self.responder.deliver(&envelope.response_url, &answer.body(envelope)?, until).await };
        // Beside the answer, not before it: a bus that is slow must not turn what has been done into a failure.
        let waken = async {
            if let Some(cluster) = &registered {
                wake(&self.waker, cluster, until).await;
            }
        };
        let (delivered, ()) = tokio::join!(deliver, waken);
        delivered.map_err(|undelivered| Error::AnswerUndelivered { status, undelivered })?;
        Ok(json!({ "status": status }))
    }
}

/// What CloudFormation is to know the resource by if nothing comes of the request: what it knows it by already, else the
/// registration that this request would have made. CloudFormation asks for its deletion afterwards, which retires it if
/// it was made after all, and touches no other registration of the same name.
fn fallback_id(envelope: &Envelope, event: &Value, uid: Option<&RegistrationUid>) -> String {
    if let Some(known) = &envelope.physical_id {
        return known.clone();
    }
    let cluster = event.get("ResourceProperties").and_then(property::cluster);
    match (cluster, uid) {
        (Some(cluster), Some(uid)) => PhysicalId { cluster, uid: uid.clone() }.to_string(),
        (None, Some(uid)) => PhysicalId::of_nothing(uid),
        (_, None) => "-".to_owned(),
    }
}

/// The moment, by the function's clock.
pub fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn deadline(epoch_ms: u64) -> Instant {
    let left = Duration::from_millis(epoch_ms.saturating_sub(now().0));
    // A deadline far away is none: some local runners give a length where Lambda gives a moment.
    let sensible = !left.is_zero() && left <= Duration::from_secs(900);
    Instant::now() + if sensible { left } else { WITHOUT_DEADLINE }
}

fn before(moment: Instant, length: Duration) -> Instant {
    moment.checked_sub(length).unwrap_or_else(Instant::now)
}

/// What a panic said. The panic hook has written where it happened.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
