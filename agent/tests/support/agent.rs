//! An agent in a process of its own, which can be killed and frozen: the test binary itself, told to run its test
//! `an_agent_for_other_tests` alone.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baton_agent::clock;
use baton_protocol::lease::Mode;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::support::BOUND;

/// The process; with its group it ends, whatever the test does.
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts one on this directory, from a program that has the dead-man's beside it.
    pub(crate) fn start(place: &Path, mode: Mode) -> Self {
        Self::start_through(&[], place, mode)
    }

    /// The same by way of another command.
    pub(crate) fn start_through(way: &[&str], place: &Path, mode: Mode) -> Self {
        let program = place.join("agent");
        if !program.exists() {
            std::fs::hard_link(std::env::current_exe().expect("this test"), &program).expect("linked");
            let dead_man = env!("CARGO_BIN_EXE_baton-deadman");
            std::fs::hard_link(dead_man, place.join("baton-deadman")).expect("linked");
        }
        let mut agent = match way {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut agent = Command::new(first);
                agent.args(rest).arg(program);
                agent
            }
        };
        agent.args(["--exact", "an_agent_for_other_tests", "--nocapture"]).process_group(0);
        agent.env("BATON_TEST_DIRECTORY", place).stdin(Stdio::null()).stdout(Stdio::null());
        if mode == Mode::Strict {
            agent.env("BATON_TEST_STRICT", "1");
        }
        Self(agent.spawn().expect("an agent"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).expect("an id"))
    }

    /// To all of it. Its dead-man and its hooks have groups of their own. It has ended by then, or stands still with all its threads.
    pub(crate) fn signal(&mut self, signal: Signal) {
        killpg(self.pid(), signal).expect("ours");
        match signal {
            Signal::SIGKILL => drop(self.0.wait().expect("ours")),
            Signal::SIGSTOP => {
                let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).expect("ours");
                assert_eq!(stopped, WaitStatus::Stopped(self.pid(), signal));
            }
            _ => {}
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

pub(crate) fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = clock::boot() + BOUND;
    while !look() {
        assert!(clock::boot() < deadline, "in vain until {what}");
        clock::block_until(clock::boot() + Duration::from_millis(5)).expect("a timer");
    }
}

pub(crate) fn place_for_an_agent() -> tempfile::TempDir {
    // On the file system of the programs, which get other names there.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}
