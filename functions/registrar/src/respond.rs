//! The answer to CloudFormation: one PUT to the address it gave, tried until it is accepted or there is no time left.
//!
//! The connector is the one that the AWS clients of this process are made of, so there is one TLS stack in the package
//! and the answer needs no other. The address is a secret: it is neither logged nor part of any error, and errors of the
//! connector are reduced to their kind, since their text may hold it.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lambda_events::event::cloudformation::{
    CloudFormationCustomResourceResponse, CloudFormationCustomResourceResponseStatus as Status,
};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use tokio::time::{Instant, timeout_at};

use crate::patience::{Patience, Pauses};
use crate::request::{Envelope, ResponseUrl};

/// CloudFormation takes 4,096 bytes and shows about a thousand characters of a reason.
const LONGEST_REASON: usize = 1_000;
/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// What CloudFormation is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it knows the resource by from now on.
    pub physical_id: String,
    /// The attributes of the resource, or why there is none.
    pub outcome: Result<Vec<(&'static str, String)>, String>,
}

impl Answer {
    /// The body of the answer.
    pub fn body(&self, envelope: &Envelope) -> Result<String, Undelivered> {
        let mut response = CloudFormationCustomResourceResponse::default();
        response.physical_resource_id.clone_from(&self.physical_id);
        response.stack_id.clone_from(&envelope.stack_id);
        response.request_id.clone_from(&envelope.request_id);
        response.logical_resource_id.clone_from(&envelope.logical_id);
        match &self.outcome {
            Ok(attributes) => {
                response.status = Status::Success;
                // Left out it would be a null, which CloudFormation does not promise to take.
                response.reason = Some("done".to_owned());
                response.data =
                    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            }
            Err(reason) => {
                response.status = Status::Failed;
                response.reason = Some(cut(reason));
            }
        }
        serde_json::to_string(&response).map_err(|_| Undelivered::Unwritable)
    }
}

/// Why CloudFormation did not get its answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The answer has no JSON form. This is a fault of the program.
    #[error("the answer to CloudFormation could not be written as JSON")]
    Unwritable,
    /// The address is none.
    #[error("expected ResponseURL to be an http or https address, found another text")]
    NoAddress,
    /// The other side refuses the answer; asking again cannot help.
    #[error(
        "CloudFormation's address refused the answer with status {0}; the address may have been used or have expired"
    )]
    Refused(u16),
    /// Nobody took the answer in time.
    #[error("CloudFormation's address took no answer in {attempts} attempts; the last failure: {last}")]
    NotTaken {
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        last: Trouble,
    },
}

/// What went wrong with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, or one that broke.
    Connection,
    /// No answer in time.
    TimedOut,
    /// This status.
    Status(u16),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("no connection"),
            Self::TimedOut => f.write_str("no reply in time"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// Delivers answers.
#[derive(Debug)]
pub struct Responder {
    plain: OnceLock<Connector>,
    secure: OnceLock<Connector>,
    first_pause: Duration,
}

impl Responder {
    /// Pauses so long after the first attempt that failed, and twice as long after each further one.
    pub fn new(first_pause: Duration) -> Self {
        Self { plain: OnceLock::new(), secure: OnceLock::new(), first_pause }
    }

    /// Delivers a body by `until`.
    pub async fn deliver(&self, url: &ResponseUrl, body: &str, until: Instant) -> Result<(), Undelivered> {
        let connector = self.connector(url)?;
        let mut pauses = Pauses::new(Patience { until, first: self.first_pause });
        let mut attempts = 0;
        loop {
            attempts += 1;
            let last = match put(connector, url, body, until).await? {
                Ok(()) => return Ok(()),
                Err(Trouble::Status(status)) if is_final(status) => return Err(Undelivered::Refused(status)),
                Err(trouble) => trouble,
            };
            tracing::warn!(attempt = attempts, reason = %last, "the answer to CloudFormation was not taken");
            if !pauses.pass().await {
                return Err(Undelivered::NotTaken { attempts, last });
            }
        }
    }

    /// Plain HTTP is for stand-ins of AWS on one machine, which may have no certificates at all.
    fn connector(&self, url: &ResponseUrl) -> Result<&Connector, Undelivered> {
        let scheme = url.expose().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("https") => Ok(self.secure.get_or_init(|| connector(true))),
            Some("http") => Ok(self.plain.get_or_init(|| connector(false))),
            _ => Err(Undelivered::NoAddress),
        }
    }
}

fn connector(with_roots: bool) -> Connector {
    let builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(TrustStore::empty().with_native_roots(with_roots)).build() {
        Ok(context) => builder.tls_context(context).build(),
        // Without the context the builder falls back to the machine's certificates.
        Err(_) => builder.build(),
    }
}

/// One attempt. Of the reply only the status is looked at; whatever body it has is not read.
async fn put(
    connector: &Connector,
    url: &ResponseUrl,
    body: &str,
    until: Instant,
) -> Result<Result<(), Trouble>, Undelivered> {
    // No content type: it would have to be part of the address's signature, and is not.
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("PUT").map_err(|_| Undelivered::NoAddress)?;
    request.set_uri(url.expose()).map_err(|_| Undelivered::NoAddress)?;
    let by = until.min(Instant::now() + ATTEMPT);
    Ok(match timeout_at(by, connector.call(request)).await {
        Err(_) => Err(Trouble::TimedOut),
        Ok(Err(error)) if error.is_timeout() => Err(Trouble::TimedOut),
        Ok(Err(_)) => Err(Trouble::Connection),
        Ok(Ok(reply)) if reply.status().is_success() => Ok(()),
        Ok(Ok(reply)) => Err(Trouble::Status(reply.status().as_u16())),
    })
}

/// A refusal that another attempt meets again. Everything else may pass.
fn is_final(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 429)
}

/// Cut at a character so that the whole answer stays within what CloudFormation takes, whatever JSON makes of it.
fn cut(reason: &str) -> String {
    let mut length = 0;
    let mut kept = String::new();
    for character in reason.chars() {
        // A control character, or one beyond ASCII, costs up to six bytes in JSON.
        length += if character.is_ascii() && !character.is_ascii_control() { 1 } else { 6 };
        if length > LONGEST_REASON {
            kept.push('…');
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            response_url: ResponseUrl::new("http://127.0.0.1/"),
            stack_id: "s".repeat(200),
            request_id: "r".repeat(36),
            logical_id: "l".repeat(255),
            physical_id: None,
        }
    }

    #[test]
    fn an_answer_stays_within_what_cloudformation_takes_whatever_the_reason() {
        for reason in ["x".repeat(100_000), "\u{1}".repeat(100_000), "é".repeat(100_000), "\"".repeat(9_000)]
        {
            let answer = Answer { physical_id: "p".repeat(120), outcome: Err(reason) };
            let body = answer.body(&envelope()).expect("JSON");
            assert!(body.len() < 4_096, "{}", body.len());
        }
    }

    #[test]
    fn an_answer_says_what_cloudformation_expects() {
        let answer =
            Answer { physical_id: "orders/1".to_owned(), outcome: Ok(vec![("Epoch", "7".to_owned())]) };
        let body: serde_json::Value =
            serde_json::from_str(&answer.body(&envelope()).expect("JSON")).expect("JSON");
        assert_eq!(body["Status"], "SUCCESS");
        assert_eq!(body["PhysicalResourceId"], "orders/1");
        assert_eq!(body["Data"]["Epoch"], "7");
        assert_eq!(body["RequestId"], "r".repeat(36));
        let answer = Answer { physical_id: "orders/1".to_owned(), outcome: Err("because".to_owned()) };
        let body: serde_json::Value =
            serde_json::from_str(&answer.body(&envelope()).expect("JSON")).expect("JSON");
        assert_eq!((&body["Status"], &body["Reason"]), (&"FAILED".into(), &"because".into()));
    }

    #[tokio::test]
    async fn an_address_of_another_kind_is_refused_without_being_shown() {
        let responder = Responder::new(Duration::from_millis(1));
        for odd in ["", "ftp://secret/", "secret", "http://sec ret/"] {
            let until = Instant::now() + Duration::from_secs(1);
            let error = responder.deliver(&ResponseUrl::new(odd), "{}", until).await.expect_err(odd);
            assert_eq!(error, Undelivered::NoAddress);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
