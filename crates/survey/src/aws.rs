//! [`AwsAccount`]: EC2 through its SDK, CloudWatch and CloudTrail by signed requests.
//!
//! Each part is asked for by itself, so that one denied action hides nothing else. Answers are untrusted: ids go through their
//! types, and a row that cannot be read makes its part unknown.

mod address;
mod around;
mod change;
mod instance;
mod network;
mod watch;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, Tag};
use baton_doctor::survey::Survey;
use baton_doctor::{Change, Seen, TAG};

use crate::signed::{Signed, cut};
use crate::tally::Tally;
use crate::{Account, Network, Question, SurveyFailure};

/// AWS, in the account and region of a configuration, with its rights.
#[derive(Debug, Clone)]
pub struct AwsAccount {
    ec2: Client,
    signed: Signed,
    region: String,
    throttled: Tally,
}

/// What came of one question.
type Answer<T> = Result<T, SurveyFailure>;

impl AwsAccount {
    /// A client for this configuration, whose timeouts and retries are taken as they are.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Self { ec2: Client::new(config), signed: Signed::new(config), region, throttled: Tally::default() }
    }
}

impl Account for AwsAccount {
    async fn survey(&self, question: &Question) -> Survey {
        let (ec2, ids) = (&self.ec2, &question.instances);
        let watch = watch::Watch { signed: &self.signed, region: &self.region };
        let mut network = Network::default();
        let ((), profiles, zones, addresses, address_quota, alarms, without_token, trails) = tokio::join!(
            around::around(ec2, question, &self.region, &self.throttled, &mut network),
            instance::profiles(ec2, ids),
            network::zones(ec2),
            address::addresses(ec2),
            address::quota(ec2),
            watch.alarms(ids),
            watch.without_token(ids, question.now),
            watch.trails(),
        );
        let statuses = match network.instances.known() {
            Some((found, _)) => {
                Seen::from(instance::statuses(ec2, &found.keys().cloned().collect::<Vec<_>>()).await)
            }
            None => Seen::Unasked,
        };
        Survey {
            statuses,
            profiles: Seen::from(profiles),
            zones: Seen::from(zones),
            addresses: Seen::from(addresses),
            address_quota: Seen::from(address_quota),
            alarms: Seen::from(alarms),
            without_token: Seen::from(without_token),
            trails: Seen::from(trails),
            ..network.told()
        }
    }

    async fn network(&self, question: &Question, found: &mut Network) {
        around::around(&self.ec2, question, &self.region, &self.throttled, found).await;
    }

    fn take_throttled(&self) -> BTreeMap<&'static str, u64> {
        self.throttled.take()
    }

    async fn may(&self, change: &Change) -> Option<Result<(), SurveyFailure>> {
        // Only EC2 answers what is only asked about, and not of this call.
        if !change.action().starts_with("ec2:") || matches!(change, Change::AssociateProfile { .. }) {
            return None;
        }
        Some(match self.send(change, true).await {
            Err(SurveyFailure::Refused { said, .. }) if said.starts_with(WOULD_SUCCEED) => Ok(()),
            answer => answer,
        })
    }

    async fn make(&self, change: &Change) -> Result<(), SurveyFailure> {
        self.send(change, false).await
    }
}

/// The code of EC2's answer to a call that is only asked about, and would be allowed.
const WOULD_SUCCEED: &str = "DryRunOperation";

/// Reads an error of the SDK.
fn failure<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> SurveyFailure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let context = || cut(&DisplayErrorContext(error).to_string());
    match error {
        SdkError::ConstructionFailure(_) => SurveyFailure::Refused { action, said: context() },
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            match answer.err().code() {
                Some(code) => classify(action, status, code, answer.err().message().unwrap_or_default()),
                None => SurveyFailure::Unknown { action, said: format!("status {status} without a code") },
            }
        }
        _ => SurveyFailure::Unknown { action, said: context() },
    }
}

/// What an answer with this code means.
pub(crate) fn classify(action: &'static str, status: u16, code: &str, message: &str) -> SurveyFailure {
    let message = message.split(" Encoded authorization failure message").next().unwrap_or_default();
    let said = cut(&format!("{code}: {message}"));
    match code {
        "RequestLimitExceeded" | "Throttling" | "ThrottlingException" | "TooManyRequestsException" => {
            SurveyFailure::Throttled(action)
        }
        "UnauthorizedOperation"
        | "AuthFailure"
        | "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "NotAuthorized"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "OptInRequired" => SurveyFailure::Denied { action, said },
        _ if (400..500).contains(&status) => SurveyFailure::Refused { action, said },
        _ => SurveyFailure::Unknown { action, said },
    }
}

fn unreadable(action: &'static str, what: impl Display) -> SurveyFailure {
    SurveyFailure::Unreadable { action, said: cut(&what.to_string()) }
}

/// Parses a field that must be there.
fn required<T>(action: &'static str, what: &str, field: Option<&str>) -> Answer<T>
where
    T: FromStr,
    T::Err: Display,
{
    let text = field.ok_or_else(|| unreadable(action, format_args!("{what} is missing")))?;
    text.parse().map_err(|error| unreadable(action, format_args!("{what} `{}`: {error}", cut(text))))
}

fn filter<T: Display>(name: &str, values: &[T]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.iter().map(ToString::to_string).collect())).build()
}

fn tagged(tags: &[Tag]) -> bool {
    tags.iter().any(|tag| tag.key() == Some(TAG))
}

/// How many pages of one answer are read. More means that a filter was not obeyed.
const PAGES: usize = 50;

/// Collects the pages of an answer.
macro_rules! pages {
    ($action:expr, $request:expr) => {{
        let mut stream = $request.into_paginator().send();
        let mut pages = Vec::new();
        while let Some(page) =
            stream.try_next().await.map_err(|error| crate::aws::failure($action, &error))?
        {
            if pages.len() == crate::aws::PAGES {
                return Err(crate::aws::unreadable($action, "too many pages"));
            }
            pages.push(page);
        }
        pages
    }};
}
use pages;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_its_code_says_and_unknown_where_it_says_nothing() {
        let kind =
            |status, code| classify("ec2:X", status, code, "why Encoded authorization failure message: x");
        assert_eq!(kind(503, "RequestLimitExceeded"), SurveyFailure::Throttled("ec2:X"));
        let said = "UnauthorizedOperation: why".to_owned();
        assert_eq!(kind(403, "UnauthorizedOperation"), SurveyFailure::Denied { action: "ec2:X", said });
        assert!(matches!(kind(400, "InvalidParameterValue"), SurveyFailure::Refused { .. }));
        assert!(matches!(kind(500, "InternalError"), SurveyFailure::Unknown { .. }));
    }
}
