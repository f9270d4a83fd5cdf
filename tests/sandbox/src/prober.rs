//! A client that asks every node's service all the time and keeps what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;

/// How often each service is asked.
pub const INTERVAL: Duration = Duration::from_millis(25);

/// How long an answer may take before it counts as none.
const TIMEOUT: Duration = Duration::from_millis(200);

/// One request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// When it was sent, on CLOCK_BOOTTIME.
    pub at: Duration,
    /// The node it was sent to.
    pub node: String,
    /// The status of the answer, or `None` if there was none.
    pub status: Option<u16>,
}

/// Threads that probe until stopped or dropped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Probe>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Prober {
    /// Starts probing; each node on a thread of its own, so that one that hangs does not hide the others.
    pub fn start(targets: &[(String, SocketAddr)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let probe = |(node, address): &(String, SocketAddr)| {
            let (node, address) = (node.clone(), *address);
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let (at, begun) = (boot_time(), Instant::now());
                    let status = http::get(address, "/health", TIMEOUT).ok().map(|answer| answer.status);
                    let probe = Probe { at, node: node.clone(), status };
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(probe);
                    std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
                }
            })
        };
        let threads = targets.iter().map(probe).collect();
        Self { stop, seen, threads }
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Vec<Probe> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The nodes that answered 200 in the last `period`.
    pub fn serving(&self, period: Duration) -> Vec<String> {
        let since = boot_time().saturating_sub(period);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = seen.iter().rev().take_while(|probe| probe.at + TIMEOUT >= since);
        let mut nodes: Vec<String> = recent
            .filter(|probe| probe.at >= since && probe.status == Some(200))
            .map(|probe| probe.node.clone())
            .collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Stops and gives everything that was seen, by time.
    pub fn stop(mut self) -> Vec<Probe> {
        self.end();
        let mut seen = self.seen();
        seen.sort_by_key(|probe| probe.at);
        seen
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a probing thread does not panic");
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.end();
    }
}

/// For how long a client that asks any node got no answer of 200, between two answers of `seen`.
pub fn longest_outage(seen: &[Probe]) -> Duration {
    let mut good: Vec<Duration> =
        seen.iter().filter(|probe| probe.status == Some(200)).map(|probe| probe.at).collect();
    good.sort();
    good.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// CLOCK_BOOTTIME, the clock of the services' logs.
pub fn boot_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
    Duration::from(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_longest_time_between_two_good_answers_of_anybody() {
        let probe =
            |ms, node: &str, status| Probe { at: Duration::from_millis(ms), node: node.to_owned(), status };
        let seen = [
            probe(0, "a", Some(200)),
            probe(25, "a", Some(200)),
            probe(50, "a", Some(500)),
            probe(75, "a", None),
            probe(6_000, "b", Some(200)),
            probe(6_025, "b", Some(200)),
        ];
        assert_eq!(longest_outage(&seen), Duration::from_millis(5_975));
        assert_eq!(longest_outage(&[]), Duration::ZERO);
    }
}
