//! The Lambda Runtime API, for one function that runs as the program it ships as.
//!
//! The function asks for its next event and posts its answer, as the
//! [API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) has it. Whoever invokes it here waits for that
//! answer and learns how long it took, and how much processor time the program had used by then.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// How long an answer is waited for: longer than Lambda would let the function run.
const LIMIT: Duration = Duration::from_secs(60);
/// The arbiter's time limit in the template.
const TIMEOUT: Duration = Duration::from_secs(25);

/// Why an invocation brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The function answered with an error.
    Answered(String),
    /// It did not answer, or ended.
    Silent(String),
}

/// An answer and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Invoked {
    /// What the function answered.
    pub answer: Result<Value, Failed>,
    /// From the event to the answer.
    pub wall: Duration,
    /// The processor time that the program used meanwhile.
    pub cpu: Duration,
}

type Answers = Arc<Mutex<HashMap<String, oneshot::Sender<Result<Value, Failed>>>>>;

/// What the API's handlers share.
#[derive(Clone)]
struct Api {
    events: Arc<AsyncMutex<mpsc::Receiver<(String, Value)>>>,
    answers: Answers,
}

/// A function that runs. It ends when it is dropped.
#[derive(Debug)]
pub struct Function {
    child: Child,
    events: mpsc::Sender<(String, Value)>,
    answers: Answers,
    started: Instant,
    number: u64,
    log: PathBuf,
}

impl Function {
    /// Starts a program with these variables and nothing else; its log goes to a file.
    pub async fn start(
        program: &Path,
        env: &BTreeMap<String, String>,
        log: PathBuf,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, waiting) = mpsc::channel(16);
        let answers = Answers::default();
        let api = Api { events: Arc::new(AsyncMutex::new(waiting)), answers: Arc::clone(&answers) };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(api);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let started = Instant::now();
        let child = Command::new(program)
            .env_clear()
            .envs(env)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "function")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "one")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, events, answers, started, number: 0, log })
    }

    /// Invokes it and waits for its answer.
    pub async fn invoke(&mut self, event: Value) -> Invoked {
        self.number += 1;
        let id = format!("00000000-0000-0000-0000-{:012}", self.number);
        let (tell, told) = oneshot::channel();
        lock(&self.answers).insert(id.clone(), tell);
        let (begun, cpu) = (Instant::now(), self.cpu());
        if self.events.send((id, event)).await.is_err() {
            return Invoked { answer: Err(self.silent()), wall: begun.elapsed(), cpu: Duration::ZERO };
        }
        let ended = async {
            tokio::select! {
                answer = told => answer.ok(),
                _ = self.child.wait() => None,
            }
        };
        let answer = tokio::time::timeout(LIMIT, ended).await.ok().flatten();
        let answer = answer.unwrap_or_else(|| Err(self.silent()));
        Invoked { answer, wall: begun.elapsed(), cpu: self.cpu().saturating_sub(cpu) }
    }

    /// How long ago the program was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The processor time that all its threads have used.
    pub fn cpu(&self) -> Duration {
        let Some(pid) = self.child.id() else { return Duration::ZERO };
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let spent = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    fn silent(&self) -> Failed {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let end: Vec<_> = log.lines().rev().take(5).collect();
        Failed::Silent(end.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn next(State(api): State<Api>) -> Result<(HeaderMap, String), StatusCode> {
    let (id, event) = api.events.lock().await.recv().await.ok_or(StatusCode::GONE)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut headers = HeaderMap::new();
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:function".to_owned();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", (now + TIMEOUT).as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", arn),
        ("content-type", "application/json".to_owned()),
    ] {
        headers.insert(name, value.parse().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?);
    }
    Ok((headers, event.to_string()))
}

async fn response(State(api): State<Api>, InPath(id): InPath<String>, body: String) -> StatusCode {
    let answer = serde_json::from_str(&body).map_err(|error| Failed::Answered(format!("{error}: {body}")));
    answered(&api, &id, answer)
}

async fn error(State(api): State<Api>, InPath(id): InPath<String>, body: String) -> StatusCode {
    answered(&api, &id, Err(Failed::Answered(body)))
}

fn answered(api: &Api, id: &str, answer: Result<Value, Failed>) -> StatusCode {
    if let Some(tell) = lock(&api.answers).remove(id) {
        // Nobody waits any more for what comes too late.
        drop(tell.send(answer));
    }
    StatusCode::ACCEPTED
}
