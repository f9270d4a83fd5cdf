//! A client outside the guest, which writes down every answer that reached it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the service said, of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// When it was here.
    pub(super) at: Instant,
    /// The boot that it came from.
    pub(super) boot: String,
    /// Nanoseconds of the guest's `CLOCK_BOOTTIME`.
    pub(super) now: u64,
    /// Until when the agent has allowed it to run; 0: not at all.
    pub(super) until: u64,
}

impl Answer {
    fn parse(line: &str, at: Instant) -> Option<Self> {
        let mut words = line.split_whitespace();
        let boot = words.next()?.to_owned();
        let (now, until) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { at, boot, now, until })
    }

    /// Whether the lease was confirmed when it was given.
    pub(super) fn is_confirmed(&self) -> bool {
        self.now <= self.until
    }
}

/// How often it asks. What is cut off stays half open in QEMU for a while, so not too often.
const PACE: Duration = Duration::from_millis(200);

/// How long it waits for an answer, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks until it is dropped.
#[derive(Debug)]
pub(super) struct Prober {
    answers: Arc<Mutex<Vec<Answer>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Asks at this port of this machine, which QEMU leads into the guest.
    pub(super) fn start(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (answers, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, end) = (Arc::clone(&answers), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if let Some(answer) = ask(address) {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                }
                super::wait::pass(PACE);
            }
        });
        Self { answers, ended, thread: Some(thread) }
    }

    /// All answers so far.
    pub(super) fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last answer after a moment.
    pub(super) fn last_after(&self, moment: Instant) -> Option<Answer> {
        self.answers().pop().filter(|answer| answer.at > moment)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(address: SocketAddr) -> Option<Answer> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Answer::parse(&line, Instant::now())
}

/// A port of the loopback that was free a moment ago.
pub(super) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_after_its_validity_or_without_one_is_not_confirmed() {
        let confirmed = |line: &str| Answer::parse(line, Instant::now()).map(|answer| answer.is_confirmed());
        assert_eq!(confirmed("id 10 11\n"), Some(true));
        assert_eq!(confirmed("id 12 11\n"), Some(false));
        assert_eq!(confirmed("id 12 0\n"), Some(false));
        assert_eq!(confirmed(""), None);
        assert_eq!(confirmed("id 12\n"), None);
    }
}
