//! SDK configuration of a node: settings from the environment alone, credentials of the instance.
//!
//! The policy of a cluster lets a node write only with the credentials that its instance gets for its role. So none of a profile,
//! of SSO or of a container are looked for: they would be refused, and a file that somebody left in a home directory must not
//! decide by what the agent is known. Those in the environment count before the instance's, as with every AWS tool, for whoever
//! tries an agent elsewhere. What is not linked for them makes the agent a good deal smaller.

use std::env;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_eventbridge::config::{SharedCredentialsProvider, StalledStreamProtectionConfig};
use aws_types::origin::Origin;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::sdk::{Limits, app_name, http_client};

/// Where the calls of a service go, for one and for all of them.
const ENDPOINT: &str = "AWS_ENDPOINT_URL";
/// `true`: the variables above do not count.
const IGNORE_ENDPOINTS: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";
const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT";

/// The configuration of every SDK client of an agent in this region. `metadata` is what the credentials of the instance are taken
/// from, where the environment has none.
///
/// Of the environment, these are heeded: `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`,
/// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`, `AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` (<https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html>).
pub fn load_on_node(limits: Limits, region: String, metadata: imds::Client) -> SdkConfig {
    let variables = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    load(limits, region, metadata, variables)
}

fn load<V>(limits: Limits, region: String, metadata: imds::Client, variables: V) -> SdkConfig
where
    V: Fn(&str) -> Option<String> + Send + Sync + 'static,
{
    let credentials =
        CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
            .or_else("Ec2InstanceMetadata", ImdsCredentialsProvider::builder().imds_client(metadata).build());
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .http_client(http_client())
        .retry_config(RetryConfig::disabled())
        .timeout_config(limits.timeouts())
        // Each call ends with its attempt, which is a matter of milliseconds; nothing of it is long enough to be watched for a stall.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .identity_cache(IdentityCache::lazy().build())
        .credentials_provider(SharedCredentialsProvider::new(credentials));
    // Without this, clients take the number of attempts for a default, and put their own in its place.
    builder.insert_origin("retry_config", Origin::shared_config());
    builder.set_app_name(app_name());
    builder.set_use_fips(switch(FIPS, &variables));
    builder.set_use_dual_stack(switch(DUAL_STACK, &variables));
    if switch(IGNORE_ENDPOINTS, &variables) != Some(true) {
        builder.set_endpoint_url(variables(ENDPOINT));
        builder.insert_origin("endpoint_url", Origin::shared_environment_variable());
        builder = builder.service_config(OfServices(variables));
    }
    builder.build()
}

/// A variable that is `true` or `false`. What is neither is told, and counts as not set.
fn switch(name: &str, variables: &impl Fn(&str) -> Option<String>) -> Option<bool> {
    let value = variables(name)?;
    let read = value.to_ascii_lowercase().parse().ok();
    if read.is_none() {
        tracing::warn!(variable = name, found = value, "expected `true` or `false`; it is not heeded");
    }
    read
}

/// The variables that are about one service.
struct OfServices<V>(V);

impl<V> std::fmt::Debug for OfServices<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OfServices")
    }
}

impl<V: Fn(&str) -> Option<String> + Send + Sync> LoadServiceConfig for OfServices<V> {
    /// `AWS_ENDPOINT_URL` of `Auto Scaling` is `AWS_ENDPOINT_URL_AUTO_SCALING`
    /// (<https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html>).
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_ascii_uppercase().replace(' ', "_");
        (self.0)(&format!("{}_{service}", key.env()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use aws_config::provider_config::ProviderConfig;
    use aws_config::timeout::TimeoutConfig;
    use baton_protocol::timing::Timing;

    use super::*;

    fn loaded(variables: &[(&str, &str)]) -> SdkConfig {
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let http = aws_smithy_http_client::Builder::new().build_http();
        let surroundings = ProviderConfig::without_region().with_http_client(http);
        let metadata = imds::Client::builder().configure(&surroundings).build();
        load(Limits::agent(&Timing::FAST), "eu-west-1".to_owned(), metadata, move |name| {
            variables.get(name).cloned()
        })
    }

    fn of_service(config: &SdkConfig, service: &str) -> Option<String> {
        let key =
            ServiceConfigKey::builder().service_id(service).env(ENDPOINT).profile("endpoint_url").build();
        config.service_config()?.load_config(key.expect("a whole key"))
    }

    #[test]
    fn a_node_never_retries_and_names_its_application() {
        let config = loaded(&[]);
        assert_eq!(config.retry_config().map(RetryConfig::max_attempts), Some(1));
        assert!(config.get_origin("retry_config").is_client_config(), "clients would have their own number");
        assert_eq!(config.region().map(AsRef::as_ref), Some("eu-west-1"));
        assert!(config.app_name().is_some_and(|name| name.as_ref().starts_with("baton-")));
        let attempt = config.timeout_config().and_then(TimeoutConfig::operation_attempt_timeout);
        assert_eq!(attempt, Some(Duration::from_millis(600)));
        let unset = (config.endpoint_url(), config.use_fips(), config.use_dual_stack());
        assert_eq!(unset, (None, None, None));
    }

    #[test]
    fn endpoints_come_from_the_environment() {
        let config = loaded(&[
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", "http://groups"),
            ("AWS_USE_FIPS_ENDPOINT", "TRUE"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "false"),
        ]);
        assert_eq!(config.endpoint_url(), Some("http://all"));
        assert!(
            !config.get_origin("endpoint_url").is_client_config(),
            "it would count before a service's own"
        );
        assert_eq!(of_service(&config, "Auto Scaling").as_deref(), Some("http://groups"));
        assert_eq!(of_service(&config, "DynamoDB"), None);
        assert_eq!((config.use_fips(), config.use_dual_stack()), (Some(true), Some(false)));
    }

    #[test]
    fn endpoints_are_left_aside_where_the_environment_says_so() {
        let config = loaded(&[
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://table"),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
            ("AWS_USE_FIPS_ENDPOINT", "perhaps"),
        ]);
        assert_eq!(config.endpoint_url(), None);
        assert_eq!(of_service(&config, "DynamoDB"), None);
        assert_eq!(config.use_fips(), None);
    }
}
