//! The bus that wakes travel on.
//!
//! A wake is a hint: a lost one costs time, never safety, so whoever sends it may go on after any failure.
//! The failures are told apart all the same, because a node that may not send wakes at all is a fault of the
//! deployment that somebody has to be told.

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_events::PutEventsError;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use baton_protocol::notification::Notification;
use baton_protocol::wake::{DETAIL_TYPE, SOURCE_CONTROL_PLANE, Wake};
use serde::Serialize;

/// Why a wake was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusFailure {
    /// The account is over its rate. Nothing was sent.
    #[error("the event bus is throttled")]
    Throttled,
    /// IAM refused. Nothing was sent; an operator must act.
    #[error("denied on the event bus: {0}")]
    Denied(String),
    /// There is no such bus. Nothing was sent; an operator must act.
    #[error("the event bus is missing: {0}")]
    Missing(String),
    /// The wake itself was refused as wrong. This is a fault of the program.
    #[error("the event bus refused the wake: {0}")]
    Invalid(String),
    /// No answer, or one that says nothing: the wake may or may not arrive.
    #[error("unknown outcome on the event bus: {0}")]
    Unknown(String),
}

impl BusFailure {
    /// Tells a failure by the code that AWS gives it.
    fn of(code: &str, message: &str) -> Self {
        let text = format!("{code}: {message}");
        match code {
            "ThrottlingException" | "Throttling" | "RequestLimitExceeded" | "TooManyRequestsException" => {
                Self::Throttled
            }
            "AccessDeniedException"
            | "AccessDenied"
            | "NotAuthorizedForSourceException"
            | "NotAuthorizedForDetailTypeException"
            | "NotAuthorized"
            | "OptInRequired"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "MissingAuthenticationTokenException"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "RequestExpired" => Self::Denied(text),
            "ResourceNotFoundException" => Self::Missing(text),
            "ValidationException"
            | "ValidationError"
            | "InvalidArgument"
            | "MalformedDetail"
            | "SerializationException"
            | "RedactionFailure" => Self::Invalid(text),
            _ => Self::Unknown(text),
        }
    }
}

impl From<SdkError<PutEventsError>> for BusFailure {
    fn from(error: SdkError<PutEventsError>) -> Self {
        match &error {
            SdkError::ConstructionFailure(_) => Self::Invalid(DisplayErrorContext(&error).to_string()),
            SdkError::ServiceError(service) => match service.err().code() {
                Some(code) => Self::of(code, service.err().message().unwrap_or("no message")),
                None => Self::Unknown(DisplayErrorContext(&error).to_string()),
            },
            _ => Self::Unknown(DisplayErrorContext(&error).to_string()),
        }
    }
}

/// Sends wakes to one bus.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// A sender to the bus of this name.
    pub fn new(config: &SdkConfig, name: impl Into<String>) -> Self {
        Self { client: Client::new(config), name: name.into() }
    }

    /// Sends one wake, as `source`: one of the sources in `baton_protocol::wake`.
    pub async fn wake(&self, source: &str, wake: &Wake) -> Result<(), BusFailure> {
        self.put(source, DETAIL_TYPE, wake).await
    }

    /// Tells whoever listens of what happened to a cluster, as the control plane.
    pub async fn tell(&self, told: &Notification) -> Result<(), BusFailure> {
        self.put(SOURCE_CONTROL_PLANE, told.detail_type, &told.detail).await
    }

    async fn put<D: Serialize>(&self, source: &str, detail_type: &str, detail: &D) -> Result<(), BusFailure> {
        let detail = serde_json::to_string(detail).map_err(|error| BusFailure::Invalid(error.to_string()))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(source)
            .detail_type(detail_type)
            .detail(detail)
            .build();
        let answer = self.client.put_events().entries(entry).send().await?;
        if answer.failed_entry_count() == 0 {
            return Ok(());
        }
        // The call succeeds even when the bus takes none of its entries; the one that was sent says why.
        let refused =
            answer.entries().iter().find_map(|entry| Some((entry.error_code()?, entry.error_message())));
        Err(match refused {
            Some((code, message)) => BusFailure::of(code, message.unwrap_or("no message")),
            None => BusFailure::Unknown("the bus refused the entry and gave no code".to_owned()),
        })
    }
}
