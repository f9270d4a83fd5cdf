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
type Due = Arc<Mutex<Option<Deed>>>;

/// The proxy. It ends when this is dropped or the runtime is.
pub struct Interloper {
    endpoint: String,
    due: Due,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Interloper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interloper").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Interloper {
    /// Starts a proxy to `endpoint`. Before it passes on the first request of `operation`, it does `deed`.
    pub async fn start(
        endpoint: &str,
        operation: &'static str,
        deed: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let interloper = Self::idle(endpoint, operation).await;
        interloper.next(deed);
        interloper
    }

    /// Starts a proxy to `endpoint` that does nothing until it is given a deed.
    pub async fn idle(endpoint: &str, operation: &'static str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let due = Due::default();
        let kept = Arc::clone(&due);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(pass_on(connection, upstream.clone(), operation, Arc::clone(&kept)));
            }
        });
        Self { endpoint, due, task }
    }

    /// Does `deed` before it passes on the next request of its operation.
    pub fn next(&self, deed: impl Future<Output = ()> + Send + 'static) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(deed));
    }

    /// Takes the deed back; whether it had not been done.
    pub fn take_back(&self) -> bool {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
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

async fn pass_on(mut client: TcpStream, upstream: String, operation: &'static str, due: Due) {
    let mut server = TcpStream::connect(upstream).await.expect("the engine listens");
    while let Some(request) = read_message(&mut client).await {
        if request.sent().is_some_and(|sent| sent.operation == operation) {
            let deed = due.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(deed) = deed {
                deed.await;
            }
        }
        server.write_all(&request.bytes).await.expect("the engine takes it");
        let Some(answer) = read_message(&mut server).await else { return };
        if client.write_all(&answer.bytes).await.is_err() {
            return;
        }
    }
}
