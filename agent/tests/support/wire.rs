//! Real traffic between network namespaces: clients elsewhere, and a service of a test's own that says everything back.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use super::namespace::ip;

/// How long a client waits for what must not come.
const IN_VAIN: Duration = Duration::from_millis(700);

/// How long it waits for what must come, on a machine with much else to do. An idle one takes less than a millisecond.
const BOUND: Duration = Duration::from_secs(40);

/// Another machine: a network namespace that ends with this.
pub(crate) struct Elsewhere(File);

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may have a network namespace");
            ip("link set lo up");
            File::open("/proc/thread-self/ns/net").expect("this thread's")
        });
        Self(made.join().expect("made"))
    }

    /// Lays a cable from here, where its end is called `here`, to there, where it is called `there`.
    pub(crate) fn connect(&self, here: &str, there: &str) {
        let place = format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd());
        ip(&format!("link add {here} type veth peer name {there} netns {place}"));
        ip(&format!("link set {here} up"));
        self.ip(&format!("link set {there} up"));
    }

    /// Does something there. What it opens stays there.
    pub(crate) fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("it is ours");
                body()
            });
            thread.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.within(|| ip(arguments))
    }

    /// A connection from there, which passes.
    pub(crate) fn call(&self, to: &str) -> Call {
        let stream = self.connection(to, BOUND).unwrap_or_else(|| panic!("{to}: it passes"));
        Call { stream, said: 0, heard: 0 }
    }

    /// Whether a connection from there is answered by nobody.
    pub(crate) fn calls_in_vain(&self, to: &str) -> bool {
        self.connection(to, IN_VAIN).is_none()
    }

    fn connection(&self, to: &str, within: Duration) -> Option<TcpStream> {
        let to: SocketAddr = to.parse().expect("an address");
        self.within(|| TcpStream::connect_timeout(&to, within)).ok()
    }

    /// Whether a datagram from there is answered.
    pub(crate) fn asks(&self, to: &str) -> bool {
        self.asks_within(to, BOUND)
    }

    /// Whether a datagram from there is answered by nobody.
    pub(crate) fn asks_in_vain(&self, to: &str) -> bool {
        !self.asks_within(to, IN_VAIN)
    }

    /// Whether it is answered soon.
    pub(crate) fn asks_soon(&self, to: &str) -> bool {
        self.asks_within(to, IN_VAIN)
    }

    fn asks_within(&self, to: &str, within: Duration) -> bool {
        let to: SocketAddr = to.parse().expect("an address");
        let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = self.within(|| UdpSocket::bind(from)).expect("bound");
        socket.set_read_timeout(Some(within)).expect("longer than nothing");
        socket.send_to(b"?", to).is_ok() && socket.recv(&mut [0; 8]).is_ok()
    }
}

/// A connection that stays open.
pub(crate) struct Call {
    stream: TcpStream,
    said: u32,
    heard: u32,
}

impl Call {
    /// Whether something that is said now is heard back.
    pub(crate) fn is_answered(&mut self) -> bool {
        self.is_answered_within(BOUND)
    }

    /// Whether it is not.
    pub(crate) fn is_cut(&mut self) -> bool {
        !self.is_answered_within(IN_VAIN)
    }

    /// Whether it is heard back soon.
    pub(crate) fn is_answered_soon(&mut self) -> bool {
        self.is_answered_within(IN_VAIN)
    }

    /// What was said in vain may be heard late, so each word has a number.
    fn is_answered_within(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).expect("longer than nothing");
        self.said += 1;
        if self.stream.write_all(&self.said.to_be_bytes()).is_err() {
            return false;
        }
        let mut word = [0; 4];
        while self.heard < self.said {
            if self.stream.read_exact(&mut word).is_err() {
                return false;
            }
            self.heard = u32::from_be_bytes(word);
        }
        true
    }
}

/// A service that says everything back, on a port of TCP and the same of UDP, here, for as long as the test's process runs.
pub(crate) fn serve_echoes(at: &str) {
    let listener = TcpListener::bind(at).expect("bound");
    let socket = UdpSocket::bind(at).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a descriptor");
                let _ = std::io::copy(&mut reader, &mut &stream);
            });
        }
    });
    std::thread::spawn(move || {
        let mut word = [0; 8];
        while let Ok((length, from)) = socket.recv_from(&mut word) {
            let _ = socket.send_to(&word[..length], from);
        }
    });
}

/// Runs `nft` in the namespace of this thread, as a witness that shares no code with the agent; what it said.
pub(crate) fn nft(arguments: &str) -> String {
    let output = Command::new("nft").args(arguments.split_whitespace()).output();
    let output = output.expect("`nft`; install nftables (Debian: apt-get install nftables)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "nft {arguments}: {said}");
    String::from_utf8(output.stdout).expect("text")
}
