//! A program on a disk that hangs.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Whoever opens a file on which another process holds a lease waits until that gives it back, for 45 s at most (fcntl(2)): as at
/// a disk that hangs, and without the rights that a file system of one's own takes.
const HOLD: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
sys.stdout.write('x')
sys.stdout.flush()
signal.pause()
";

/// A program that nobody can start while this lives.
pub(crate) struct Held(Child);

impl Held {
    /// Holds it from here on.
    pub(crate) fn new(program: &Path) -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", HOLD]).arg(program).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("`python3`; install it");
        let mut said = [0];
        child.stdout.take().expect("piped").read_exact(&mut said).expect("the lease is held");
        Self(child)
    }

    /// The process that holds it.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whoever waits for it goes on.
    pub(crate) fn let_go(self) {
        drop(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}
