//! A proxy that writes down what the engine was asked and what it answered.
//!
//! Which conditions a random run reached is not for the run to claim: it is read off the wire. The proxy changes
//! nothing, but for one thing that would take ten minutes otherwise: it can make the engine forget the token of
//! every transaction, so that a repeated one is judged by its conditions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::impostor::{Message, Sent, read_message};

/// A request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request, as it was passed on.
    pub sent: Sent,
    /// The body of the answer.
    pub answer: Value,
}

/// What the proxy and its connections share.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Vec<Exchange>>,
    forgetful: AtomicBool,
    forgotten: AtomicU64,
}

/// The proxy. It ends when this is dropped or the runtime is.
#[derive(Debug)]
pub struct Eavesdropper {
    endpoint: String,
    ear: Arc<Ear>,
    task: JoinHandle<()>,
}

impl Eavesdropper {
    /// Starts a proxy to `endpoint`.
    pub async fn start(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let ear = Arc::new(Ear::default());
        let kept = Arc::clone(&ear);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(pass_on(connection, upstream.clone(), Arc::clone(&kept)));
            }
        });
        Self { endpoint, ear, task }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether transactions are passed on with a token that the engine has never seen, as if the ten minutes had
    /// passed in which DynamoDB remembers one.
    pub fn forget_tokens(&self, forgetful: bool) {
        self.ear.forgetful.store(forgetful, Ordering::Relaxed);
    }

    /// What was heard since this was last asked.
    pub fn take_heard(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.ear.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Eavesdropper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ear {
    /// The request as it is passed on.
    fn alter(&self, request: Message) -> Message {
        let token = request.json().and_then(|body| Some(body["ClientRequestToken"].as_str()?.to_owned()));
        match token {
            Some(token) if self.forgetful.load(Ordering::Relaxed) => {
                let number = self.forgotten.fetch_add(1, Ordering::Relaxed);
                let unknown = format!("{number:0width$}", width = token.len());
                request.exchanged(&token, &unknown)
            }
            _ => request,
        }
    }

    fn hear(&self, request: &Message, answer: &Message) {
        if let (Some(sent), Some(answer)) = (request.sent(), answer.json()) {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(Exchange { sent, answer });
        }
    }
}

async fn pass_on(mut client: TcpStream, upstream: String, ear: Arc<Ear>) {
    let mut server = TcpStream::connect(upstream).await.expect("the engine listens");
    while let Some(request) = read_message(&mut client).await {
        let request = ear.alter(request);
        server.write_all(&request.bytes).await.expect("the engine takes it");
        let Some(answer) = read_message(&mut server).await else { return };
        ear.hear(&request, &answer);
        if client.write_all(&answer.bytes).await.is_err() {
            return;
        }
    }
}
