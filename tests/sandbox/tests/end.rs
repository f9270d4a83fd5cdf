//! Nothing the sandbox starts outlives whoever started it.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use baton_sandbox::machine::{Machine, Program};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use support::until;

/// Every process of the computer with this text in its arguments or its environment.
fn processes_that_mention(text: &str) -> Vec<String> {
    let mention = |process: &Path| {
        ["cmdline", "environ"].iter().any(|file| {
            fs::read(process.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        })
    };
    let entries = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok).map(|entry| entry.path());
    entries.filter(|process| mention(process)).map(|process| process.display().to_string()).collect()
}

/// A started `baton-sandbox` and its run directory.
fn started() -> (Child, String) {
    // A shell that runs tests in the background lets them ignore SIGINT, and what they start would inherit that.
    let mut child = Command::new("env")
        .arg("--default-signal=INT")
        .arg(env!("CARGO_BIN_EXE_baton-sandbox"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("says where it is");
    let about: Value = serde_json::from_str(&line).expect("JSON");
    (child, about["run_dir"].as_str().expect("has a run directory").to_owned())
}

fn ended_by(end: impl Fn(&Child), signal: i32) {
    use std::os::unix::process::ExitStatusExt;
    let (mut child, run_dir) = started();
    let before = processes_that_mention(&run_dir);
    assert!(before.len() >= 3, "moto, ministack and the account should run: {before:?}");
    end(&child);
    let mut status = None;
    until("its own end", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.signal()), Some(signal));
    until("the end of everything it started", || processes_that_mention(&run_dir).is_empty());
    until("the removal of its run directory", || !Path::new(&run_dir).exists());
}

#[test]
fn a_process_that_left_its_session_ends_with_its_machine() {
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("left-behind").display().to_string();
    let machine = Machine::new("a test").expect("made");
    let script = format!("setsid sh -c 'while :; do sleep 60; done' {mark} & setsid sleep 1000 & exit 0");
    let program = Program {
        argv: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        env: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
        log: directory.path().join("log"),
    };
    let pid = machine.spawn(&program).expect("runs");
    until("the end of the shell", || machine.status(pid).expect("known") == Some(0));
    until("the orphan", || processes_that_mention(&mark).len() == 1);
    drop(machine);
    assert_eq!(processes_that_mention(&mark), Vec::<String>::new());
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

#[test]
fn nothing_survives_a_sandbox_that_was_killed() {
    ended_by(|child| kill(pid(child), Signal::SIGKILL).expect("sent"), 9);
}

#[test]
fn nothing_survives_a_sandbox_that_was_interrupted_at_its_terminal() {
    // What a terminal does at Ctrl-C: the signal goes to the whole foreground process group.
    ended_by(|child| killpg(pid(child), Signal::SIGINT).expect("sent"), 2);
}
