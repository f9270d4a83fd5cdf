//! A proxy that lets something happen between two calls of one operation.
//!
//! Some writes of the store read first. What their conditions are for only shows when the table changes in
//! between, which this makes happen every time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::impostor::read_message;

type Deed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The proxy. It ends when this is dropped or the runtime is.
#[derive(Debug)]
pub struct Interloper {
    endpoint: String,
    task: JoinHandle<()>,
}

impl Interloper {
    /// Starts a proxy to `endpoint`. Before it passes on the first request of `operation`, it does `deed`.
    pub async fn start(
        endpoint: &str,
        operation: &'static str,
        deed: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let deed: Arc<Mutex<Option<Deed>>> = Arc::new(Mutex::new(Some(Box::pin(deed))));
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(pass_on(connection, upstream.clone(), operation, Arc::clone(&deed)));
            }
        });
        Self { endpoint, task }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Interloper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(
    mut client: TcpStream,
    upstream: String,
    operation: &'static str,
    deed: Arc<Mutex<Option<Deed>>>,
) {
    let mut server = TcpStream::connect(upstream).await.expect("the engine listens");
    while let Some(request) = read_message(&mut client).await {
        if request.sent().is_some_and(|sent| sent.operation == operation) {
            let due = deed.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(due) = due {
                due.await;
            }
        }
        server.write_all(&request.bytes).await.expect("the engine takes it");
        let Some(answer) = read_message(&mut server).await else { return };
        if client.write_all(&answer.bytes).await.is_err() {
            return;
        }
    }
}
