//! Six questions to CloudWatch and CloudTrail, each a signed POST of JSON.
//!
//! Their SDKs would add some megabytes and turn on features of the shared crates that every other program would be built
//! with. Both services speak the AWS JSON protocol, whose requests have one form: the operation in a header, the parameters as
//! an object (<https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>). The signature, the credentials and
//! the connection are the SDK's.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::service_config::ServiceConfigKey;
use serde_json::Value;
use tokio::time::timeout;

use crate::SurveyFailure;

/// The longest that one call may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The longest text taken over from an answer.
const LONGEST: usize = 300;

/// What is asked, under the name that the service and IAM have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    DescribeAlarms,
    DisableAlarmActions,
    GetMetricStatistics,
    DescribeTrails,
    GetTrailStatus,
    GetEventSelectors,
}

impl Operation {
    /// As a policy names it.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::DescribeAlarms => "cloudwatch:DescribeAlarms",
            Self::DisableAlarmActions => "cloudwatch:DisableAlarmActions",
            Self::GetMetricStatistics => "cloudwatch:GetMetricStatistics",
            Self::DescribeTrails => "cloudtrail:DescribeTrails",
            Self::GetTrailStatus => "cloudtrail:GetTrailStatus",
            Self::GetEventSelectors => "cloudtrail:GetEventSelectors",
        }
    }

    fn service(self) -> &'static Service {
        if self.action().starts_with("cloudwatch:") { &CLOUDWATCH } else { &CLOUDTRAIL }
    }

    fn target(self) -> String {
        let name = self.action().split_once(':').map_or_else(|| self.action(), |(_, name)| name);
        format!("{}.{name}", self.service().target)
    }
}

/// A service, by the names that it has in different places.
#[derive(Debug)]
struct Service {
    /// In `AWS_ENDPOINT_URL_…` and, in lower case, in the profile.
    id: &'static str,
    /// In its address.
    host: &'static str,
    /// In signatures.
    signed_as: &'static str,
    /// What the header begins with.
    target: &'static str,
    version: &'static str,
}

const CLOUDWATCH: Service = Service {
    id: "CloudWatch",
    host: "monitoring",
    signed_as: "monitoring",
    target: "GraniteServiceVersion20100801",
    version: "1.0",
};
const CLOUDTRAIL: Service = Service {
    id: "CloudTrail",
    host: "cloudtrail",
    signed_as: "cloudtrail",
    target: "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
    version: "1.1",
};

/// Asks services by signed requests, in the account and region of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    config: SdkConfig,
}

impl Signed {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        Self { config: config.clone() }
    }

    /// Asks, and reads the answer.
    pub(crate) async fn ask(&self, operation: Operation, parameters: &Value) -> Result<Value, SurveyFailure> {
        let action = operation.action();
        let unknown = |said: String| SurveyFailure::Unknown { action, said: cut(&said) };
        let request = self.request(operation, parameters).await?;
        let plain = request.uri().starts_with("http://");
        let answered = async {
            let answer = connector(plain).call(request).await.map_err(|error| unknown(error.to_string()))?;
            let status = answer.status().as_u16();
            let body = answer.into_body();
            let bytes = match body.bytes() {
                Some(bytes) => bytes.to_vec(),
                None => aws_smithy_types::byte_stream::ByteStream::new(body)
                    .collect()
                    .await
                    .map_err(|error| unknown(error.to_string()))?
                    .to_vec(),
            };
            Ok((status, bytes))
        };
        let (status, bytes) = timeout(ATTEMPT, answered)
            .await
            .map_err(|_| unknown("no answer in five seconds".to_owned()))??;
        let value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|_| unknown(format!("status {status} without JSON")))?
        };
        if (200..300).contains(&status) { Ok(value) } else { Err(refusal(action, status, &value)) }
    }

    async fn request(&self, operation: Operation, parameters: &Value) -> Result<HttpRequest, SurveyFailure> {
        let action = operation.action();
        let refused = |said: String| SurveyFailure::Refused { action, said: cut(&said) };
        let service = operation.service();
        let region = self.config.region().map(ToString::to_string).unwrap_or_default();
        let address = self.address(service, &region);
        let provider = self
            .config
            .credentials_provider()
            .ok_or_else(|| refused("no credentials are configured".to_owned()))?;
        let identity =
            provider.provide_credentials().await.map_err(|error| refused(error.to_string()))?.into();
        let body = parameters.to_string();
        let content = format!("application/x-amz-json-{}", service.version);
        let target = operation.target();
        let headers = [("content-type", content.as_str()), ("x-amz-target", target.as_str())];
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(service.signed_as)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| refused(error.to_string()))?
            .into();
        let signable =
            SignableRequest::new("POST", &address, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| refused(error.to_string()))?;
        let (instructions, _) =
            sign(signable, &parameters).map_err(|error| refused(error.to_string()))?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| refused(error.to_string()))?;
        request.set_uri(address).map_err(|error| refused(error.to_string()))?;
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        Ok(request)
    }

    /// As every AWS tool finds it: by the service's own setting, by the one for all, else where AWS has it, which is another
    /// place where `AWS_USE_FIPS_ENDPOINT` asks for it. A setting says itself where that is.
    fn address(&self, service: &Service, region: &str) -> String {
        let key = ServiceConfigKey::builder()
            .service_id(service.id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .ok();
        let own = self.config.service_config().zip(key).and_then(|(config, key)| config.load_config(key));
        let chosen = own.or_else(|| self.config.endpoint_url().map(str::to_owned));
        let address = chosen.unwrap_or_else(|| {
            let end = if region.starts_with("cn-") { ".com.cn" } else { ".com" };
            // In GovCloud both services are validated under their plain names (their SDKs' endpoint rules).
            let fips = self.config.use_fips() == Some(true) && !region.starts_with("us-gov-");
            let fips = if fips { "-fips" } else { "" };
            format!("https://{}{fips}.{region}.amazonaws{end}", service.host)
        });
        format!("{}/", address.trim_end_matches('/'))
    }
}

/// Plain HTTP is for stand-ins of AWS on one machine, which may have no certificates at all.
fn connector(plain: bool) -> Connector {
    use aws_smithy_http_client::tls::{TlsContext, TrustStore};
    let builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(TrustStore::empty().with_native_roots(!plain)).build() {
        Ok(context) => builder.tls_context(context).build(),
        // Without the context the builder falls back to the machine's certificates.
        Err(_) => builder.build(),
    }
}

fn refusal(action: &'static str, status: u16, body: &Value) -> SurveyFailure {
    let kind = body["__type"].as_str().unwrap_or_default();
    let code = kind.rsplit('#').next().unwrap_or(kind);
    let message = body["message"].as_str().or_else(|| body["Message"].as_str()).unwrap_or_default();
    crate::aws::classify(action, status, code, message)
}

pub(crate) fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use serde_json::json;

    use super::*;

    fn signed(region: &str, endpoint: Option<&str>) -> Signed {
        signed_by(region, endpoint, None)
    }

    fn signed_by(region: &str, endpoint: Option<&str>, fips: Option<bool>) -> Signed {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()));
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        config.set_use_fips(fips);
        Signed::new(&config.build())
    }

    #[tokio::test]
    async fn a_request_names_its_operation_and_is_signed_for_its_service() {
        let request = signed("eu-west-1", None).request(Operation::DescribeAlarms, &json!({})).await;
        let request = request.expect("a request");
        assert_eq!(request.uri(), "https://monitoring.eu-west-1.amazonaws.com/");
        let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
        assert_eq!(header("x-amz-target"), "GraniteServiceVersion20100801.DescribeAlarms");
        assert_eq!(header("content-type"), "application/x-amz-json-1.0");
        let signature = header("authorization");
        assert!(signature.contains("/eu-west-1/monitoring/aws4_request"), "{signature}");
        assert!(signature.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-target"), "{signature}");
    }

    #[test]
    fn an_address_is_the_one_that_is_set_or_the_one_that_aws_has() {
        let address = |region, endpoint| signed(region, endpoint).address(&CLOUDTRAIL, region);
        assert_eq!(address("cn-north-1", None), "https://cloudtrail.cn-north-1.amazonaws.com.cn/");
        assert_eq!(address("eu-west-1", Some("http://127.0.0.1:9/")), "http://127.0.0.1:9/");
    }

    #[test]
    fn an_address_is_of_validated_cryptography_where_that_is_asked_for() {
        let address =
            |region, endpoint, fips| signed_by(region, endpoint, Some(fips)).address(&CLOUDWATCH, region);
        assert_eq!(address("us-east-1", None, true), "https://monitoring-fips.us-east-1.amazonaws.com/");
        assert_eq!(address("us-east-1", None, false), "https://monitoring.us-east-1.amazonaws.com/");
        assert_eq!(address("us-gov-west-1", None, true), "https://monitoring.us-gov-west-1.amazonaws.com/");
        assert_eq!(address("us-east-1", Some("https://vpce-1.example"), true), "https://vpce-1.example/");
    }

    #[test]
    fn an_answer_that_refuses_is_told_by_its_code() {
        let body = json!({ "__type": "com.amazonaws#AccessDeniedException", "message": "not you" });
        let denied = SurveyFailure::Denied {
            action: "cloudtrail:DescribeTrails",
            said: "AccessDeniedException: not you".to_owned(),
        };
        assert_eq!(refusal("cloudtrail:DescribeTrails", 400, &body), denied);
    }
}
