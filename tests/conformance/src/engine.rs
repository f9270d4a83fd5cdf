//! A DynamoDB engine in this process, for tests that need a real table behind a real client.
//!
//! It speaks HTTP on a port of its own, runs on threads of its own and stops when it is dropped, so tests
//! with and without a runtime, and programs started by a test, can use it alike. It evaluates conditions and
//! transactions as DynamoDB does, and knows nothing of IAM, throttling or stale reads.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableStatus,
};
use baton_client::{Limits, Place, load_at};
use tokio::sync::oneshot;

/// The region that requests to the engine are signed for.
pub const REGION: &str = "eu-west-1";

/// Far above any healthy answer: a server that shares its processor with everything else is slow, and what is tested with these
/// limits is not about time.
pub const PATIENT: Limits = Limits { connect: Duration::from_secs(10), attempt: Duration::from_secs(60) };

/// The longest that the engine's start is waited for, and that of a table.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts an engine with no tables in it.
    pub fn start() -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, listening) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let database = dynoxide::Database::memory().expect("an empty database");
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                ready.send(listener.local_addr().expect("it is bound")).expect("somebody waits");
                let until = async move { drop(stopped.await) };
                dynoxide::server::serve_with_shutdown(listener, database, until).await.expect("it serves");
            });
        });
        let address = listening.recv_timeout(START_LIMIT).expect("the engine starts");
        Self { endpoint: format!("http://{address}"), stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens; what `AWS_ENDPOINT_URL_DYNAMODB` would say.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A configuration of Baton's clients that leads to the engine.
    pub async fn config(&self) -> SdkConfig {
        config_at(&self.endpoint, PATIENT).await
    }

    /// Makes a table as the templates make it, and waits until it can be used.
    pub async fn create_table(&self, name: &str) {
        let client = Client::new(&self.config().await);
        create_table(&client, name).await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Clients may keep their connections open; the engine then ends with the process.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            drop(thread.join());
        }
    }
}

/// A configuration of Baton's clients that leads to `endpoint`, with credentials that no one checks.
pub async fn config_at(endpoint: &str, limits: Limits) -> SdkConfig {
    let place = Place { profile: None, region: Some(REGION.to_owned()) };
    let credentials = Credentials::new("test", "test", None, None, "conformance");
    load_at(limits, &place)
        .await
        .into_builder()
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Makes the table of `infra/control-plane.yaml`: two text keys, on demand, with a stream of both images.
async fn create_table(client: &Client, name: &str) {
    let key = |name: &str, kind| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("complete")
    };
    let text = |name: &str| {
        let builder = AttributeDefinition::builder().attribute_name(name);
        builder.attribute_type(ScalarAttributeType::S).build().expect("complete")
    };
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()
        .expect("complete");
    client
        .create_table()
        .table_name(name)
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .attribute_definitions(text("pk"))
        .attribute_definitions(text("sk"))
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(stream)
        .send()
        .await
        .expect("the table is made");
    let usable = async {
        loop {
            let described =
                client.describe_table().table_name(name).send().await.expect("the table is described");
            let status = described.table.and_then(|table| table.table_status);
            if status == Some(TableStatus::Active) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(START_LIMIT, usable).await.expect("the table is active");
}
