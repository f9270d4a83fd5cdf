//! An HTTP connection that answers from a list and remembers what was asked, so that requests and answers are tested
//! through the SDK as it ships, down to the form fields on the wire.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::{HttpRequest, HttpResponse};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

/// The answers that remain, and the form of each request so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Canned {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    requests: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    /// The host of each request, and the key that it was signed with.
    senders: Arc<Mutex<Vec<(String, String)>>>,
}

impl Canned {
    /// Gives these answers in turn. When they have run out, the connection breaks.
    pub(crate) fn answers(answers: impl IntoIterator<Item = (u16, String)>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    /// The form of each request.
    pub(crate) fn requests(&self) -> Vec<BTreeMap<String, String>> {
        self.requests.lock().expect("no test panics while it holds the list").clone()
    }

    /// The host of each request.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.senders().into_iter().map(|(host, _)| host).collect()
    }

    /// The key that each request was signed with.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.senders().into_iter().map(|(_, key)| key).collect()
    }

    fn senders(&self) -> Vec<(String, String)> {
        self.senders.lock().expect("no test panics while it holds the list").clone()
    }

    /// An EC2 client over this connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.config())
    }

    /// The configuration of clients over this connection.
    pub(crate) fn config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        let credentials = Credentials::new("test", "test", None, None, "canned");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let form = std::str::from_utf8(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let fields = form.split('&').filter_map(|field| field.split_once('='));
        let fields = fields.map(|(name, value)| (decoded(name), decoded(value))).collect();
        self.requests.lock().expect("no test panics while it holds the list").push(fields);
        self.senders.lock().expect("no test panics while it holds the list").push(sender(&request));
        let answer = self.answers.lock().expect("no test panics while it holds the list").pop_front();
        HttpConnectorFuture::new(async move {
            // Whoever asks at the same time gets to ask.
            tokio::task::yield_now().await;
            match answer {
                Some((status, body)) => {
                    let status = status.try_into().expect("a test names a valid status");
                    Ok(HttpResponse::new(status, SdkBody::from(body)))
                }
                None => Err(ConnectorError::io("the connection broke".into())),
            }
        })
    }
}

/// Where a request goes, and the key in its signature.
fn sender(request: &HttpRequest) -> (String, String) {
    let host = request.uri().split("//").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let signature = request.headers().get("authorization").unwrap_or_default();
    let key = signature.split("Credential=").nth(1).and_then(|rest| rest.split('/').next());
    (host.to_owned(), key.unwrap_or_default().to_owned())
}

/// An error as EC2 writes it.
pub(crate) fn error_body(code: &str, message: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
         <RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
    )
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("percent-encoding is ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("percent-encoding is hexadecimal"));
                rest = tail;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).expect("forms are UTF-8")
}
