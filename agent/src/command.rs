//! Commands of the operator, run under a limit: check scripts and hooks.
//!
//! A command gets a process group of its own. When its time is up, or when nobody waits for it any more, the
//! whole group is killed, so that a shell's children go with it; only a process that left the group by itself
//! escapes. When the command ends by itself the group is left alone, because a promote hook may have started
//! the service in it.

mod starter;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use baton_protocol::time::BootTime;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::clock::{self, Timer};
pub use starter::{Starter, end_orphans, end_own};

/// How much of a command's output is kept: its last 4 KB, where shells and interpreters put the reason.
const OUTPUT_KEPT: usize = 4096;

/// How long a killed command may take to disappear before it is given up. Only a process stuck in the kernel
/// takes longer, and waiting for that would make a time limit worthless.
const REAP_LIMIT: Duration = Duration::from_millis(500);

/// What `systemd` tells the agent alone. A command that inherited it could report in the agent's name.
const PRIVATE_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an exit code.
    Exited(i32),
    /// By a signal that the agent did not send.
    Signalled(i32),
    /// Its time was up and its group was killed. `gone` is false if the killed process still had not
    /// disappeared.
    TimedOut {
        /// Whether the command itself is known to be dead.
        gone: bool,
    },
}

/// What is known of a command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// From its start to its end.
    pub duration: Duration,
    /// The last 4 KB of what it wrote to standard output and standard error, as text.
    pub output: String,
}

/// A running command. Dropping it kills its group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Pid,
    output: pipe::Receiver,
    kept: Vec<u8>,
    started: BootTime,
    limit: Timer,
    ended: bool,
}

/// Starts `command` in a group of its own, to be killed after `timeout`.
pub fn start(mut command: Command, timeout: Duration) -> io::Result<Running> {
    let started = clock::boot();
    let limit = Timer::at(started + timeout)?;
    let (reader, writer) = io::pipe()?;
    for variable in PRIVATE_VARIABLES {
        command.env_remove(variable);
    }
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn()?;
    // The command holds the writing ends; ours close here, so that the end of the output can be seen.
    drop(command);
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Pid::from_raw(id.expect("a child that was not waited for has its id"));
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    Ok(Running { child, group, output, kept: Vec::new(), started, limit, ended: false })
}

impl Running {
    /// The command's process group.
    pub fn group(&self) -> i32 {
        self.group.as_raw()
    }

    /// Waits for the end, or kills the group when the time is up. Dropping the future kills the group.
    pub async fn finish(mut self) -> io::Result<Finished> {
        let mut open = true;
        let status = loop {
            // Cancel-safe in every arm: `wait` may be called again, the timer stays expired, and a read that
            // was not completed took nothing.
            tokio::select! {
                status = self.child.wait() => break Some(status?),
                expired = self.limit.expired() => {
                    expired?;
                    break None;
                }
                read = read_some(&self.output), if open => match read? {
                    Some(bytes) => keep(&mut self.kept, &bytes),
                    None => open = false,
                },
            }
        };
        let end = match status {
            Some(status) => end_of(status),
            None => {
                self.kill();
                End::TimedOut { gone: tokio::time::timeout(REAP_LIMIT, self.child.wait()).await.is_ok() }
            }
        };
        self.ended = true;
        let duration = clock::boot().since(self.started);
        let rest = self.rest();
        keep(&mut self.kept, &rest);
        Ok(Finished { end, duration, output: String::from_utf8_lossy(&self.kept).trim_end().to_owned() })
    }

    fn kill(&self) {
        // Until the child has been waited for, neither its id nor its group can belong to anybody else.
        if self.child.id().is_some() {
            // The only possible failure is that the group is gone, which is what was wanted.
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }

    /// What the command has written and nobody has read. The pipe may be held open by a service which the
    /// command started, so this takes what is there and does not wait for the end.
    fn rest(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut buffer = [0; OUTPUT_KEPT];
        // A writer that never stops must not keep the agent here: a pipe holds 64 KB at most.
        for _ in 0..32 {
            match nix::unistd::read(&self.output, &mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => keep(&mut rest, &buffer[..read]),
            }
        }
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

/// Reads what is there; `None` at the end of the output.
async fn read_some(output: &pipe::Receiver) -> io::Result<Option<Vec<u8>>> {
    loop {
        output.readable().await?;
        let mut buffer = [0; OUTPUT_KEPT];
        match output.try_read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => return Ok(Some(buffer[..read].to_vec())),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Appends `bytes` and drops what is older than the last 4 KB.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    let excess = kept.len().saturating_sub(OUTPUT_KEPT);
    kept.drain(..excess);
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Signalled(signal.unwrap_or_default()),
    }
}
