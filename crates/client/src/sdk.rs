//! SDK configuration: endpoints and credentials from the surroundings, everything that matters to the
//! protocol from here.
//!
//! Region, endpoints (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_EC2_METADATA_SERVICE_ENDPOINT`)
//! and credentials (environment, profile, SSO, container, instance metadata) are found as every AWS tool
//! finds them, for functions and for the command line; an agent has less around it, see `node`. A proxy named in the environment is not used: instance metadata and gateway endpoints must be
//! reached directly.

use std::sync::LazyLock;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use baton_protocol::timing::Timing;

use crate::resolve;

/// How long a call may take, in its two phases that can be told apart from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first packet to an open connection, TLS not included.
    pub connect: Duration,
    /// The whole call. There is one attempt, so this bounds the operation as well.
    pub attempt: Duration,
}

impl Limits {
    /// For an agent: the attempt timeout of the cluster's time budget. A call that takes longer is worth
    /// nothing, since the next heartbeat is due.
    pub fn agent(timing: &Timing) -> Self {
        Self::within(timing.attempt_timeout())
    }

    /// For a function: longer than any healthy answer, short enough to try again within one invocation.
    pub fn function() -> Self {
        Self::within(Duration::from_secs(3))
    }

    /// For the command line, where a person waits and networks are slow.
    pub fn cli() -> Self {
        Self::within(Duration::from_secs(5))
    }

    /// A connection that has not opened by the time a call may take cannot carry it either; a second is
    /// enough for one lost SYN in any region.
    fn within(attempt: Duration) -> Self {
        Self { connect: attempt.min(Duration::from_secs(1)), attempt }
    }

    pub(crate) fn timeouts(self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .read_timeout(self.attempt)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.attempt)
            .build()
    }
}

/// Which account and region, where the surroundings are to be overruled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The profile of the shared configuration files.
    pub profile: Option<String>,
    /// The region.
    pub region: Option<String>,
}

/// The configuration of every SDK client of this program, from its surroundings. Loaded once and handed
/// around: clients made from it share their connections and their credentials.
pub async fn load(limits: Limits) -> SdkConfig {
    load_at(limits, &Place::default()).await
}

/// The same, with profile and region as an operator named them.
pub async fn load_at(limits: Limits, place: &Place) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .retry_config(RetryConfig::disabled())
        .timeout_config(limits.timeouts());
    if let Some(name) = app_name() {
        loader = loader.app_name(name);
    }
    if let Some(profile) = &place.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &place.region {
        loader = loader.region(Region::new(region.clone()));
    }
    loader.load().await
}

/// What the calls name as their origin. It is a constant of this crate; were it ever refused, calls go out without it rather than
/// not at all.
pub(crate) fn app_name() -> Option<AppName> {
    AppName::new(concat!("baton-", env!("CARGO_PKG_VERSION"))).ok()
}

/// A client with a pool of connections, shared by everything that is made from one configuration. It belongs
/// to the runtime that first uses it, so it is not kept for the whole process. Making it is cheap:
/// certificates are read when the first connection is opened, once per process.
pub(crate) fn http_client() -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let trust = TrustStore::empty().with_native_roots(has_usable_roots());
    match TlsContext::builder().with_trust_store(trust).build() {
        Ok(context) => builder.tls_context(context).build_with_resolver(resolve::by_the_system()),
        // Without the context the builder falls back to the machine's certificates, the same store.
        Err(_) => builder.build_with_resolver(resolve::by_the_system()),
    }
}

/// Whether the machine's certificates can be asked for.
///
/// A machine without any can still speak plain HTTP to an endpoint and to instance metadata, and its TLS
/// connections fail one by one with a clear error. Release builds of the HTTP client do just that; builds
/// with debug assertions panic instead, so there the store is looked at first.
fn has_usable_roots() -> bool {
    static FOUND: LazyLock<bool> =
        LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());
    !cfg!(debug_assertions) || *FOUND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_phase_of_a_call_is_without_a_limit() {
        for limits in
            [Limits::agent(&Timing::DEFAULT), Limits::agent(&Timing::FAST), Limits::function(), Limits::cli()]
        {
            let timeouts = limits.timeouts();
            assert_eq!(timeouts.operation_timeout(), Some(limits.attempt));
            assert_eq!(timeouts.operation_attempt_timeout(), Some(limits.attempt));
            assert_eq!(timeouts.read_timeout(), Some(limits.attempt));
            assert!(timeouts.connect_timeout().is_some_and(|connect| connect <= limits.attempt));
        }
    }

    #[tokio::test]
    async fn a_loaded_configuration_never_retries_and_names_its_application() {
        let place = Place { profile: None, region: Some("eu-west-1".to_owned()) };
        let config = load_at(Limits::agent(&Timing::FAST), &place).await;
        assert_eq!(config.retry_config().map(|retry| retry.max_attempts()), Some(1));
        assert_eq!(config.region().map(AsRef::as_ref), Some("eu-west-1"));
        assert!(config.app_name().is_some_and(|name| name.as_ref().starts_with("baton-")));
        let attempt = config.timeout_config().and_then(TimeoutConfig::operation_attempt_timeout);
        assert_eq!(attempt, Some(Duration::from_millis(600)));
    }
}
