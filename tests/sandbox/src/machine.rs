//! A machine: processes that live and die together.
//!
//! Each machine is one `supervise.py`, which holds the read end of a pipe from us. Dropping the machine,
//! leaving the program in any way, or being killed closes the pipe, and everything the machine ran is killed,
//! including what went into a session of its own. Nothing here depends on our getting to run code at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::SandboxError;
use crate::venv::python_file;

/// How long a part may take to start on a busy computer.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);

/// A set of processes that are killed together, at the latest when this value or its owner's process is gone.
#[derive(Debug)]
pub struct Machine {
    name: String,
    pipes: Mutex<Option<Pipes>>,
    supervisor: Mutex<Child>,
}

#[derive(Debug)]
struct Pipes {
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

/// A process to run on a machine.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Where its standard output and standard error go.
    pub log: PathBuf,
}

/// The process id of a program started on a [`Machine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(pub u32);

impl Machine {
    /// A machine without processes. `name` is for messages.
    pub fn new(name: &str) -> Result<Self, SandboxError> {
        let mut supervisor = Command::new("python3")
            .arg("-IS")
            .arg(python_file("supervise.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its own group, so that Ctrl-C in a terminal reaches only us; our end is what it waits for.
            .process_group(0)
            .spawn()
            .map_err(|error| SandboxError::Python(format!("python3 could not be run: {error}")))?;
        let requests = supervisor.stdin.take().expect("stdin is piped");
        let replies = BufReader::new(supervisor.stdout.take().expect("stdout is piped"));
        let pipes = Mutex::new(Some(Pipes { requests, replies }));
        Ok(Self { name: name.to_owned(), pipes, supervisor: Mutex::new(supervisor) })
    }

    /// Runs a program, in a session of its own.
    pub fn spawn(&self, program: &Program) -> Result<Pid, SandboxError> {
        let (argv, env, log) = (&program.argv, &program.env, &program.log);
        let reply = self.ask(&json!({"do": "spawn", "argv": argv, "env": env, "log": log}))?;
        let pid = reply["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.map(Pid).ok_or_else(|| self.unexpected(&reply))
    }

    /// The exit status of a program, or `None` while it runs. Negative is the signal that ended it.
    pub fn status(&self, pid: Pid) -> Result<Option<i64>, SandboxError> {
        let reply = self.ask(&json!({"do": "poll", "pid": pid.0}))?;
        match (reply["status"].as_i64(), reply["running"].as_bool()) {
            (Some(status), _) => Ok(Some(status)),
            (None, Some(true)) => Ok(None),
            _ => Err(self.unexpected(&reply)),
        }
    }

    /// Sends a signal to a program; `false` if it has ended.
    pub fn signal(&self, pid: Pid, signal: nix::sys::signal::Signal) -> Result<bool, SandboxError> {
        let reply = self.ask(&json!({"do": "signal", "pid": pid.0, "signal": signal as i32}))?;
        reply["sent"].as_bool().ok_or_else(|| self.unexpected(&reply))
    }

    /// Kills everything that runs on the machine, as a power cut would; the machine can be used again.
    pub fn kill_all(&self) -> Result<u64, SandboxError> {
        let reply = self.ask(&json!({"do": "kill"}))?;
        reply["killed"].as_u64().ok_or_else(|| self.unexpected(&reply))
    }

    /// Has `directory` removed once everything on the machine is dead, however that comes about. The
    /// directory must have been made by [`mark`].
    pub fn remove_at_end(&self, directory: &Path) -> Result<(), SandboxError> {
        let reply = self.ask(&json!({"do": "remove", "directory": directory}))?;
        if reply["ok"].as_bool() == Some(true) { Ok(()) } else { Err(self.unexpected(&reply)) }
    }

    /// Waits until `ready` gives a value, as long as the program lives and for `limit` at most.
    pub(crate) fn wait_for<T>(
        &self,
        pid: Pid,
        log: &Path,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, SandboxError> {
        let start = Instant::now();
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if let Some(status) = self.status(pid)? {
                let what = self.name.clone();
                return Err(SandboxError::Ended { what, status, log: log.to_owned(), tail: tail(log) });
            }
            if start.elapsed() > limit {
                let hint = format!("the end of its log {}:\n{}", log.display(), tail(log));
                let what = format!("the start of {}", self.name);
                return Err(SandboxError::TimedOut { what, seconds: limit.as_secs(), hint });
            }
            std::thread::sleep(crate::wait::POLL);
        }
    }

    /// Runs a program that is given the name of a file as its last argument and writes the port it listens on
    /// there.
    pub(crate) fn spawn_server(
        &self,
        mut program: Program,
        port_file: &Path,
    ) -> Result<(Pid, SocketAddr), SandboxError> {
        // Left there by an earlier run in the same directory, it would name somebody else's port.
        match fs::remove_file(port_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SandboxError::io(format!("removing {}", port_file.display()))(error));
            }
            _ => {}
        }
        program.argv.push(port_file.to_string_lossy().into_owned());
        let pid = self.spawn(&program)?;
        let port = self.wait_for(pid, &program.log, START_LIMIT, || {
            fs::read_to_string(port_file).ok().and_then(|text| text.trim().parse::<u16>().ok())
        })?;
        Ok((pid, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    fn ask(&self, request: &Value) -> Result<Value, SandboxError> {
        let doing = format!("asking the supervisor of {}", self.name);
        let mut guard = self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pipes = guard.as_mut().expect("pipes are open until drop");
        writeln!(pipes.requests, "{request}").map_err(SandboxError::io(doing.clone()))?;
        let mut line = String::new();
        pipes.replies.read_line(&mut line).map_err(SandboxError::io(doing.clone()))?;
        let answer = |answer: &str| SandboxError::Answer { what: doing.clone(), answer: answer.to_owned() };
        let reply: Value = serde_json::from_str(&line).map_err(|_| answer(line.trim()))?;
        match reply["error"].as_str() {
            Some(error) => Err(answer(error)),
            None => Ok(reply),
        }
    }

    fn unexpected(&self, reply: &Value) -> SandboxError {
        SandboxError::Answer { what: format!("the supervisor of {}", self.name), answer: reply.to_string() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Closing the pipe is what ends it; waiting makes sure that nothing is left when we return.
        self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let mut supervisor = self.supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = supervisor.wait() {
            eprintln!("the supervisor of {} could not be waited for: {error}", self.name);
        }
    }
}

/// Makes a directory that the sandbox may remove again.
pub(crate) fn mark(directory: &Path) -> Result<(), SandboxError> {
    let doing = || SandboxError::io(format!("making {}", directory.display()));
    fs::create_dir_all(directory).map_err(doing())?;
    fs::write(directory.join(".baton-sandbox"), "").map_err(doing())
}

/// The last lines of a log, for messages.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
