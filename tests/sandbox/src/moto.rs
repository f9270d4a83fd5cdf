//! moto, which stands in for EC2: Elastic IPs, route tables, interfaces and instances, and for the STS of other accounts.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SandboxError;
use crate::machine::{Machine, Pid, Program, START_LIMIT, mark};
use crate::venv::Venv;

/// A running moto; ends when dropped, and at the latest with this process.
#[derive(Debug)]
pub struct Moto {
    machine: Machine,
    pid: Pid,
    address: SocketAddr,
    log: PathBuf,
}

/// What becomes of requests to EC2 from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ec2Fault {
    /// The call, as EC2 names it.
    pub action: &'static str,
    /// Only requests in which this text stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// How often it strikes; always, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How much longer every such request takes.
    pub delay_ms: u32,
    /// What goes wrong; nothing, for a delay only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<Ec2Trouble>,
}

impl Ec2Fault {
    /// Every request of this action has this trouble.
    pub fn on(action: &'static str, how: Ec2Trouble) -> Self {
        Self { action, about: None, times: None, delay_ms: 0, how: Some(how) }
    }

    /// Every request of this action takes longer.
    pub fn slow(action: &'static str, delay_ms: u32) -> Self {
        Self { action, about: None, times: None, delay_ms, how: None }
    }

    /// Only the first few.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only those that name this.
    #[must_use]
    pub fn about(mut self, about: &str) -> Self {
        self.about = Some(about.to_owned());
        self
    }
}

/// What goes wrong with a request to EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ec2Trouble {
    /// `RequestLimitExceeded`; nothing is done.
    Throttle,
    /// `UnauthorizedOperation`; nothing is done.
    Deny,
    /// It is done, and what is answered is an internal error.
    Lose,
    /// A Describe is answered as the same request was before.
    Stale,
}

/// A request that EC2 has answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ec2Call {
    /// The action.
    pub action: String,
    /// When it came, in seconds of the server's monotonic clock.
    pub begun: f64,
    /// When it was answered.
    pub ended: f64,
    /// Which trouble it had.
    pub fault: Option<String>,
}

impl Ec2Call {
    /// Whether it asks for a change.
    pub fn changes(&self) -> bool {
        !self.action.starts_with("Describe")
    }
}

impl Moto {
    /// Starts moto on a free port of the loopback, in a directory that is removed at the end.
    pub fn start() -> Result<Self, SandboxError> {
        let venv = Venv::ensure()?;
        let directory = tempfile::Builder::new().prefix("baton-moto-").tempdir();
        let directory = directory.map_err(SandboxError::io("making a directory for moto"))?.keep();
        mark(&directory)?;
        let moto = Self::start_in(&venv, &directory)?;
        moto.remove_at_end(&directory)?;
        Ok(moto)
    }

    /// Has a directory removed once moto is dead; see [`Machine::remove_at_end`].
    pub(crate) fn remove_at_end(&self, directory: &Path) -> Result<(), SandboxError> {
        self.machine.remove_at_end(directory)
    }

    /// Starts moto with its log and its port file in `directory`, which stays.
    pub(crate) fn start_in(venv: &Venv, directory: &Path) -> Result<Self, SandboxError> {
        let machine = Machine::new("moto")?;
        let log = directory.join("moto.log");
        let port_file = directory.join("moto.port");
        let program =
            Program { argv: venv.script("moto_ec2.py"), env: plain_environment(directory), log: log.clone() };
        let (pid, address) = machine.spawn_server(program, &port_file)?;
        machine.wait_for(pid, &log, START_LIMIT, || {
            crate::http::get(address, "/moto-api/", Duration::from_secs(5)).ok().filter(|a| a.status == 200)
        })?;
        Ok(Self { machine, pid, address, log })
    }

    /// Where it listens, as an endpoint URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// From now on, treats requests like this.
    pub fn set_faults(&self, faults: &[Ec2Fault]) -> Result<(), SandboxError> {
        let file = self.log.with_file_name("moto.faults");
        let part = file.with_extension("part");
        let text = serde_json::to_string(faults).expect("faults are plain");
        // Renamed into place, since it is read at every request.
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, &file))
            .map_err(SandboxError::io(format!("writing {}", file.display())))
    }

    /// Every request so far, in the order in which they were answered.
    pub fn calls(&self) -> Result<Vec<Ec2Call>, SandboxError> {
        let file = self.log.with_file_name("moto.calls");
        let text =
            fs::read_to_string(&file).map_err(SandboxError::io(format!("reading {}", file.display())))?;
        // The last line may be half written while we read.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Whether its process still runs.
    pub fn is_running(&self) -> Result<bool, SandboxError> {
        Ok(self.machine.status(self.pid)?.is_none())
    }
}

/// What a stand-in needs of our environment: where programs are, and nothing that names an account.
pub(crate) fn plain_environment(directory: &Path) -> BTreeMap<String, String> {
    let home = directory.to_string_lossy().into_owned();
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let pairs = [
        ("PATH", path),
        ("HOME", home.clone()),
        ("TMPDIR", home),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
