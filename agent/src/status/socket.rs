//! The socket: whoever connects is told once, in one JSON object, and the connection is closed. Nothing is ever read from it.
//!
//! It belongs to root alone, as does the directory it lies in. A socket that cannot be had is told in the log and is no
//! reason to end: no service depends on it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_protocol::ids::ClusterName;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{ClusterStatus, Status};
use crate::clock;

/// At once; the next are closed unanswered.
const CONNECTIONS_MOST: usize = 8;
/// How long all drivers together may take: their loops turn in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long a reader may take for everything.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Questions that a driver has not come to yet.
pub const QUESTIONS_MOST: usize = CONNECTIONS_MOST;

/// A question to a driver.
pub type Ask = oneshot::Sender<ClusterStatus>;

/// Whom to ask, and what is known without asking. Clones share it.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    /// Without clusters.
    agent: Status,
    drivers: BTreeMap<ClusterName, mpsc::Sender<Ask>>,
}

impl Desk {
    /// Knows the agent, and no driver yet.
    pub fn new(agent: Status) -> Self {
        Self(Arc::new(Mutex::new(Known { agent, drivers: BTreeMap::new() })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of the agent.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.known().agent);
    }

    /// From here on this driver is asked about this cluster.
    pub fn add(&self, cluster: ClusterName, driver: mpsc::Sender<Ask>) {
        self.known().drivers.insert(cluster, driver);
    }

    /// The cluster has no driver any more.
    pub fn remove(&self, cluster: &ClusterName) {
        self.known().drivers.remove(cluster);
    }

    /// Asks every driver, for a second at most.
    pub async fn status(&self) -> Status {
        let (mut status, drivers) = {
            let known = self.known();
            (known.agent.clone(), known.drivers.clone())
        };
        let asked = drivers.into_iter().map(|(cluster, driver)| {
            let (ask, answer) = oneshot::channel();
            // A driver that is still busy with eight others is not asked a ninth time.
            let is_asked = driver.try_send(ask).is_ok();
            (cluster, is_asked.then_some(answer))
        });
        let asked: Vec<_> = asked.collect();
        let due = clock::boot() + ANSWER_LIMIT;
        for (cluster, answer) in asked {
            let answered = match answer {
                Some(answer) => timeout(due.since(clock::boot()), answer).await.ok().and_then(Result::ok),
                None => None,
            };
            match answered {
                Some(found) => status.clusters.push(found),
                None => status.silent.push(cluster.to_string()),
            }
        }
        status
    }
}

/// The socket while it listens; dropping it ends that and removes the file.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    task: JoinHandle<()>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another agent answers at `{}`", .0.display())]
    Taken(PathBuf),
    /// The system refused.
    #[error("could not listen at `{}`", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Socket {
    /// Listens at this path. A socket that an earlier run left there is replaced.
    pub fn listen(path: &Path, desk: Desk) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        // Anything but a socket stays where it is: then there is none, which is told.
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        match BlockingStream::connect(path) {
            Ok(_) => return Err(SocketError::Taken(path.to_owned())),
            Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), task: tokio::spawn(serve(listener, desk)) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(listener: UnixListener, desk: Desk) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(reason = %error, "a question about the status was lost");
                // Without free descriptors every accept fails at once.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let desk = desk.clone();
        tokio::spawn(async move {
            let told = timeout(READ_LIMIT, tell(stream, &desk)).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!(reason = ?told, "a status was not read to its end");
            }
            drop(permit);
        });
    }
}

async fn tell(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let mut text = serde_json::to_vec(&desk.status().await)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::super::tests::full;
    use super::*;

    fn cluster(name: &str) -> ClusterName {
        ClusterName::new(name).expect("valid")
    }

    fn agent() -> Status {
        Status { clusters: Vec::new(), silent: Vec::new(), ..full() }
    }

    async fn read(path: &Path) -> String {
        let mut stream = UnixStream::connect(path).await.expect("it listens");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it tells");
        text
    }

    #[tokio::test]
    async fn each_connection_is_told_once_and_only_its_owner_may_ask() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("status.sock");
        let desk = Desk::new(agent());
        let (driver, mut asked) = mpsc::channel::<Ask>(QUESTIONS_MOST);
        desk.add(cluster("orders"), driver);
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                ask.send(full().clusters.remove(0)).expect("somebody waits");
            }
        });
        let socket = Socket::listen(&path, desk).expect("it listens");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for _ in 0..2 {
            let text = read(&path).await;
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            let status: Status = serde_json::from_str(&text).expect("a status");
            assert_eq!(status, Status { silent: Vec::new(), ..full() });
        }
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_driver_that_does_not_answer_is_named_and_one_that_does_not_read_keeps_nobody() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("status.sock");
        let desk = Desk::new(agent());
        // It holds every question and answers none.
        let (driver, _asked) = mpsc::channel::<Ask>(1);
        desk.add(cluster("orders"), driver);
        let _socket = Socket::listen(&path, desk).expect("it listens");
        // They ask and do not read; there is room for those who do.
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MOST - 1 {
            idle.push(UnixStream::connect(&path).await.expect("it listens"));
        }
        let status: Status = serde_json::from_str(&read(&path).await).expect("a status");
        assert_eq!((status.silent, status.clusters.len()), (vec!["orders".to_owned()], 0));
    }

    #[tokio::test]
    async fn a_socket_of_an_earlier_run_is_replaced_and_one_that_answers_is_not() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("status.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "as a killed agent leaves it");
        let first = Socket::listen(&path, Desk::new(agent())).expect("it listens");
        let second = Socket::listen(&path, Desk::new(agent())).expect_err("taken");
        assert!(matches!(second, SocketError::Taken(_)), "{second}");
        assert!(!read(&path).await.is_empty());
        drop(first);
        std::fs::write(&path, "precious").expect("written");
        assert!(Socket::listen(&path, Desk::new(agent())).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "precious");
    }
}
