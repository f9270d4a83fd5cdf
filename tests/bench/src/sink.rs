//! Every other service of AWS: it takes what a bus would take, and counts. And the service that the agent checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::net::TcpListener;

/// Answers every request as EventBridge answers `PutEvents`.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl Sink {
    /// Starts to listen.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicUsize::new(0));
        let router = Router::new().fallback(take).with_state(Arc::clone(&taken));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, taken })
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

async fn take(State(taken): State<Arc<AtomicUsize>>) -> String {
    taken.fetch_add(1, Ordering::Relaxed);
    r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#.to_owned()
}

/// A service with a health page.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    state: Arc<Illness>,
}

#[derive(Debug, Default)]
struct Illness {
    sick: AtomicBool,
    first_failure: Mutex<Option<Instant>>,
}

impl Service {
    /// Starts it, well.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Illness::default());
        let router = Router::new().fallback(health).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, state })
    }

    /// Where its health page is.
    pub fn url(&self) -> String {
        format!("http://{}/health", self.address)
    }

    /// It fails from now on, or no more.
    pub fn set_sick(&self, sick: bool) {
        *first(&self.state) = None;
        self.state.sick.store(sick, Ordering::SeqCst);
    }

    /// When it answered its first failure.
    pub fn first_failure(&self) -> Option<Instant> {
        *first(&self.state)
    }
}

fn first(state: &Illness) -> MutexGuard<'_, Option<Instant>> {
    state.first_failure.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn health(State(state): State<Arc<Illness>>) -> StatusCode {
    if state.sick.load(Ordering::SeqCst) {
        first(&state).get_or_insert_with(Instant::now);
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    StatusCode::OK
}
