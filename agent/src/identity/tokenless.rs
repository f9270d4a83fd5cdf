//! Instance metadata by version 1, for a host that gives no session tokens: plain GET requests.
//!
//! The SDK's client speaks version 2 alone. Here it is told a token without asking the service for one, and the token is taken out
//! of each request again. So the limits of time, the tries, the classes of errors and the credentials that the SDK takes from the
//! metadata are the same by both versions.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;

/// The header that carries a session token.
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// The header that says for how long one is good, in seconds, and the longest that EC2 gives.
const TTL: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "21600");

/// A client of HTTP that asks for no token and sends none.
#[derive(Debug)]
pub(super) struct Tokenless(pub(super) SharedHttpClient);

impl HttpClient for Tokenless {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector(self.0.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct Connector(SharedHttpConnector);

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        if request.method() == "PUT" {
            return HttpConnectorFuture::ready(Ok(granted()));
        }
        // One that is not its own would be refused.
        request.headers_mut().remove(TOKEN);
        self.0.call(request)
    }
}

/// What stands for the answer with a token.
fn granted() -> HttpResponse {
    let ok = StatusCode::try_from(200_u16).expect("200 is a status");
    let mut response = HttpResponse::new(ok, "none".into());
    response.headers_mut().insert(TTL.0, TTL.1);
    response
}
