//! moto, which stands in for EC2 alone: Elastic IPs, route tables, interfaces and instances.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
