//! Who this node is, by the word of the instance metadata service: IMDSv2, or version 1 where an operator has chosen it.
//!
//! The instance's ARN is the node's key in the table, and IAM compares it with the one AWS itself puts into
//! the request, so a wrong one here is refused there. The service is asked at the start, and for the public
//! addresses again and again; it is never asked whether this node may serve.

mod tokenless;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use aws_config::imds::Client;
use aws_config::imds::client::error::{BuildError, ImdsError, TokenError};
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use baton_protocol::ids::{IdError, InstanceArn, InstanceId, InterfaceId};
use baton_protocol::node::Attached;
use baton_protocol::time::WallTime;

use crate::config::Imds;
use crate::leaving;
use crate::log::chain;
use tokenless::Tokenless;

/// One try may take this long. The service is on the same machine, so it answers in milliseconds or not at
/// all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// All tries of one question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one question; the client waits up to one second before the second and up to two before the third, so that where it is
/// answered at once they end before [`QUESTION_TIMEOUT`], and it is the answer that is told, not a silence that was none. Only answers
/// of the class 5xx and 401 are tried again: silence is silence.
const ATTEMPTS: u32 = 3;
const _: () = assert!((1 << (ATTEMPTS - 1)) - 1 < QUESTION_TIMEOUT.as_secs());
/// An instance has at most 15 network interfaces; more than this is not an answer of the service.
const INTERFACES_MOST: usize = 64;
/// An interface has at most 50 IPv4 addresses; the same.
const ADDRESSES_MOST: usize = 64;

/// This node, as AWS names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The instance's ARN.
    pub instance: InstanceArn,
    /// The region.
    pub region: String,
    /// The Availability Zone.
    pub zone: String,
}

/// Why the metadata service has not said what was asked.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The endpoint in the environment is not one.
    #[error("expected AWS_EC2_METADATA_SERVICE_ENDPOINT to be a URL such as `http://169.254.169.254`")]
    Endpoint(#[source] BuildError),
    /// No connection.
    #[error(
        "could not reach the instance metadata service while asking for `{path}`; see that this is an EC2 \
         instance and that no firewall or route keeps 169.254.169.254 away"
    )]
    Unreachable {
        /// What was asked for.
        path: String,
        /// The client's reason.
        #[source]
        source: Box<ImdsError>,
    },
    /// A connection, and silence.
    #[error(
        "the instance metadata service did not answer in time while asking for `{path}`; in a container or a \
         network namespace, raise the hop limit: \
         `aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2`"
    )]
    Silent {
        /// What was asked for.
        path: String,
        /// The client's reason.
        #[source]
        source: Box<ImdsError>,
    },
    /// A refusal.
    #[error(
        "the instance metadata service is disabled for this instance; enable it: \
         `aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required`; a legacy host that is no \
         instance of EC2 may refuse session tokens so: `imds = \"v1\"` in the agent's configuration"
    )]
    Disabled {
        /// The client's reason.
        #[source]
        source: Box<ImdsError>,
    },
    /// No session token.
    #[error(
        "the instance metadata service gave no session token while asking for `{path}` (status {status}); on a legacy host that \
         knows only version 1 of it, set `imds = \"v1\"` in the agent's configuration"
    )]
    NoTokens {
        /// What was asked for.
        path: String,
        /// The status of the answer to the question for a token.
        status: u16,
    },
    /// A session token is wanted.
    #[error(
        "the instance metadata service answers `{path}` only with a session token; take `imds = \"v1\"` out of the agent's \
         configuration"
    )]
    TokenWanted {
        /// What was asked for.
        path: String,
    },
    /// An answer without what was asked for.
    #[error("the instance metadata service has nothing at `{path}`")]
    Missing {
        /// What was asked for.
        path: String,
    },
    /// Another status.
    #[error("the instance metadata service answered `{path}` with status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// The status.
        status: u16,
    },
    /// Something the client cannot make sense of.
    #[error("the instance metadata service's answer for `{path}` could not be used")]
    Unusable {
        /// What was asked for.
        path: String,
        /// The client's reason.
        #[source]
        source: Box<ImdsError>,
    },
    /// An answer that is not what it should be.
    #[error("expected {expected} from the instance metadata service at `{path}`, found `{found}`")]
    Malformed {
        /// What was asked for.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What it is, cut to 80 characters.
        found: String,
    },
    /// The parts do not make an ARN.
    #[error("the instance metadata service's answers do not make an instance's ARN")]
    Arn(#[from] IdError),
}

impl IdentityError {
    /// Whether the same question may have an answer later, though nobody changes anything: a network or a service that is not up yet,
    /// too many questions, a fault of the service.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Endpoint(_)
            | Self::Disabled { .. }
            | Self::NoTokens { .. }
            | Self::TokenWanted { .. }
            | Self::Missing { .. }
            | Self::Unusable { .. }
            | Self::Malformed { .. }
            | Self::Arn(_) => false,
        }
    }
}

/// A client of the metadata service. It keeps its session token and renews it in time.
#[derive(Debug, Clone)]
pub struct Metadata {
    client: Client,
}

impl Metadata {
    /// A client of the service at the standard address, or at `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn from_env(version: Imds) -> Self {
        Self { client: Self::builder(version, ATTEMPT_TIMEOUT, QUESTION_TIMEOUT).build() }
    }

    /// A client of the service at this URL.
    pub fn at(endpoint: &str, version: Imds) -> Result<Self, IdentityError> {
        Self::at_within(endpoint, version, ATTEMPT_TIMEOUT, QUESTION_TIMEOUT)
    }

    /// The same with other limits: of one try, and of all tries of one question.
    pub fn at_within(
        endpoint: &str,
        version: Imds,
        attempt: Duration,
        question: Duration,
    ) -> Result<Self, IdentityError> {
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
            error.downcast::<BuildError>().map_or_else(
                |other| Self::malformed("AWS_EC2_METADATA_SERVICE_ENDPOINT", "a URL", &other.to_string()),
                |error| IdentityError::Endpoint(*error),
            )
        };
        let builder = Self::builder(version, attempt, question);
        Ok(Self { client: builder.endpoint(endpoint).map_err(refused)?.build() })
    }

    fn builder(version: Imds, attempt: Duration, question: Duration) -> aws_config::imds::client::Builder {
        // The service speaks plain HTTP on a link that never leaves the machine, so no TLS is set up for it.
        let http = aws_smithy_http_client::Builder::new().build_http();
        let http = match version {
            Imds::V2 => http,
            Imds::V1 => SharedHttpClient::new(Tokenless(http)),
        };
        Client::builder()
            .configure(&ProviderConfig::without_region().with_http_client(http))
            .max_attempts(ATTEMPTS)
            .connect_timeout(attempt)
            .read_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(question)
    }

    /// The client itself, for whoever takes credentials from the service.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Who this node is.
    pub async fn identity(&self) -> Result<Identity, IdentityError> {
        let id = InstanceId::new(self.get("meta-data/instance-id").await?)?;
        let region = self.get("meta-data/placement/region").await?;
        let zone = self.get("meta-data/placement/availability-zone").await?;
        let partition = self.get("meta-data/services/partition").await?;
        let account = self.account().await?;
        Ok(Identity { instance: InstanceArn::of(&partition, &region, &account, &id)?, region, zone })
    }

    /// The interfaces of this instance, with the public IPv4 addresses that the service shows on each: an address that was moved
    /// away disappears here without a call to EC2. Where some of them have a place on this node, those named by `placed`, it is
    /// asked which interface each is and what stands behind them as well; what it does not know of that is not told.
    pub async fn attached(&self, placed: &BTreeSet<Ipv4Addr>) -> Result<Vec<Attached>, IdentityError> {
        const MACS: &str = "meta-data/network/interfaces/macs/";
        let listed = self.get(MACS).await?;
        let mut attached = Vec::new();
        for mac in listed.lines() {
            let mac = mac.trim_end_matches('/');
            if mac.is_empty() || !mac.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return Err(Self::malformed(MACS, "the addresses of network interfaces", mac));
            }
            if attached.len() == INTERFACES_MOST {
                return Err(Self::malformed(MACS, "at most 64 network interfaces", mac));
            }
            attached.push(self.interface(&format!("{MACS}{mac}"), placed).await?);
        }
        Ok(attached)
    }

    async fn interface(&self, below: &str, placed: &BTreeSet<Ipv4Addr>) -> Result<Attached, IdentityError> {
        // An interface without a public address has no such page.
        let public = self.addresses(&format!("{below}/public-ipv4s")).await?.unwrap_or_default();
        let mut found =
            Attached { public_ips: public.iter().map(|ip| (*ip, None)).collect(), ..Attached::default() };
        if placed.is_empty() {
            return Ok(found);
        }
        let path = format!("{below}/interface-id");
        let id = self.page(&path).await.and_then(|text| {
            let id = text.as_ref().map(|text| InterfaceId::new(text.trim())).transpose();
            id.map_err(|_| Self::malformed(&path, "the id of an interface", &text.unwrap_or_default()))
        });
        found.id = told(id);
        found.private_ips = told(self.addresses(&format!("{below}/local-ipv4s")).await);
        for (public, behind) in found.public_ips.iter_mut().filter(|(public, _)| placed.contains(public)) {
            let there = told(self.addresses(&format!("{below}/ipv4-associations/{public}")).await);
            *behind = there.and_then(|there| there.first().copied());
        }
        Ok(found)
    }

    /// A page with one IPv4 address in each line; none where there is no such page.
    async fn addresses(&self, path: &str) -> Result<Option<BTreeSet<Ipv4Addr>>, IdentityError> {
        let Some(text) = self.page(path).await? else { return Ok(None) };
        let mut found = BTreeSet::new();
        for line in text.lines() {
            if found.len() == ADDRESSES_MOST {
                return Err(Self::malformed(path, "at most 64 IPv4 addresses", line));
            }
            found.insert(line.trim().parse().map_err(|_| Self::malformed(path, "IPv4 addresses", line))?);
        }
        Ok(Some(found))
    }

    /// What is announced of this instance's end, in words; `None` if nothing is. `booted` is when it has booted.
    pub async fn leaving(&self, booted: WallTime, now: WallTime) -> Result<Option<String>, IdentityError> {
        if let Some(page) = self.page(leaving::SPOT).await? {
            return Ok(Some(leaving::by_spot(&page)));
        }
        let lifecycle = self.page(leaving::LIFECYCLE).await?;
        if let Some(why) = lifecycle.and_then(|page| leaving::by_auto_scaling(&page)) {
            return Ok(Some(why));
        }
        let Some(page) = self.page(leaving::SCHEDULED).await? else { return Ok(None) };
        leaving::by_schedule(&page, booted, now)
            .map_err(|expected| Self::malformed(leaving::SCHEDULED, expected, &page))
    }

    /// A page that is there only while there is something to tell.
    async fn page(&self, path: &str) -> Result<Option<String>, IdentityError> {
        match self.get(path).await {
            Ok(text) => Ok(Some(text)),
            Err(IdentityError::Missing { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn account(&self) -> Result<String, IdentityError> {
        #[derive(serde::Deserialize)]
        struct Document {
            #[serde(rename = "accountId")]
            account: String,
        }
        const PATH: &str = "dynamic/instance-identity/document";
        let text = self.get(PATH).await?;
        let document: Result<Document, _> = serde_json::from_str(&text);
        let refused = |_| Self::malformed(PATH, "JSON with the text `accountId`", &text);
        Ok(document.map_err(refused)?.account)
    }

    async fn get(&self, path: &str) -> Result<String, IdentityError> {
        match self.client.get(format!("/latest/{path}")).await {
            Ok(text) => Ok(String::from(text)),
            Err(error) => Err(classify(path, error)),
        }
    }

    fn malformed(path: &str, expected: &'static str, found: &str) -> IdentityError {
        let found = found.chars().take(80).collect();
        IdentityError::Malformed { path: path.to_owned(), expected, found }
    }
}

/// What is asked beside what must be known: whatever is wrong with it, it is not told.
fn told<T>(found: Result<Option<T>, IdentityError>) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::debug!(reason = chain(&error), "the instance metadata do not tell it");
        None
    })
}

fn classify(path: &str, error: ImdsError) -> IdentityError {
    let path = path.to_owned();
    match &error {
        ImdsError::ErrorResponse(response) => match response.response().status().as_u16() {
            404 => IdentityError::Missing { path },
            403 => IdentityError::Disabled { source: Box::new(error) },
            401 => IdentityError::TokenWanted { path },
            status => IdentityError::Status { path, status },
        },
        ImdsError::FailedToLoadToken(context) if context.is_dispatch_failure() => {
            unreachable_or_silent(path, error)
        }
        ImdsError::FailedToLoadToken(_) => {
            let source = std::error::Error::source(&error);
            match source.and_then(|source| source.downcast_ref::<SdkError<TokenError, HttpResponse>>()) {
                Some(SdkError::TimeoutError(_)) => IdentityError::Silent { path, source: Box::new(error) },
                Some(SdkError::ServiceError(service)) if service.raw().status().as_u16() == 403 => {
                    IdentityError::Disabled { source: Box::new(error) }
                }
                // So answers whoever knows of no tokens. Anything else says nothing of them.
                Some(SdkError::ServiceError(service))
                    if matches!(service.raw().status().as_u16(), 400 | 404 | 405 | 501) =>
                {
                    IdentityError::NoTokens { path, status: service.raw().status().as_u16() }
                }
                Some(SdkError::ServiceError(service)) if !service.raw().status().is_success() => {
                    IdentityError::Status { path, status: service.raw().status().as_u16() }
                }
                _ => IdentityError::Unusable { path, source: Box::new(error) },
            }
        }
        ImdsError::IoError(_) => IdentityError::Silent { path, source: Box::new(error) },
        _ => unreachable_or_silent(path, error),
    }
}

/// A connector that gave up: in time, or because its time was up.
fn unreachable_or_silent(path: String, error: ImdsError) -> IdentityError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut dispatch = false;
    while let Some(at) = cause {
        let connector = at.downcast_ref::<aws_smithy_runtime_api::client::result::ConnectorError>();
        if let Some(connector) = connector {
            if connector.is_timeout() {
                return IdentityError::Silent { path, source: Box::new(error) };
            }
            dispatch = true;
        }
        cause = at.source();
    }
    let token = matches!(&error, ImdsError::FailedToLoadToken(context) if context.is_dispatch_failure());
    let source = Box::new(error);
    if dispatch || token {
        IdentityError::Unreachable { path, source }
    } else {
        IdentityError::Unusable { path, source }
    }
}
