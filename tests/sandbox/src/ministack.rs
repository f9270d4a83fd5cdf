//! ministack, which stands in for everything but EC2: CloudFormation, Lambda, EventBridge, DynamoDB, IAM, STS
//! and more.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::machine::{Machine, Pid, Program, START_LIMIT, mark};
use crate::moto::plain_environment;
use crate::venv::Venv;
use crate::{ACCOUNT_ID, REGION, SandboxError};

/// A running ministack with its gaps closed; ends when dropped, and at the latest with this process.
#[derive(Debug)]
pub struct Ministack {
    machine: Machine,
    pid: Pid,
    address: SocketAddr,
    log: PathBuf,
    faults: PathBuf,
}

/// What is to happen to events on their way to functions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Faults {
    /// The probability that an event is delivered twice.
    pub duplicate: f64,
    /// The probability that an event is lost.
    pub drop: f64,
    /// The least and the most seconds that each copy waits; unequal delays reorder.
    pub delay: Option<(f64, f64)>,
}

impl Ministack {
    /// Starts ministack with its files in a directory that is removed at the end. Functions that it runs call
    /// EC2 at `ec2_endpoint`.
    pub fn start(ec2_endpoint: &str) -> Result<Self, SandboxError> {
        let venv = Venv::ensure()?;
        let directory = tempfile::Builder::new().prefix("baton-ministack-").tempdir();
        let directory = directory.map_err(SandboxError::io("making a directory for ministack"))?.keep();
        mark(&directory)?;
        let ministack = Self::start_in(&venv, &directory, ec2_endpoint)?;
        ministack.machine.remove_at_end(&directory)?;
        Ok(ministack)
    }

    /// Starts ministack with its log, its state and its functions' files in `directory`, which stays.
    pub(crate) fn start_in(venv: &Venv, directory: &Path, ec2_endpoint: &str) -> Result<Self, SandboxError> {
        let (temporary, state) = (directory.join("tmp"), directory.join("state"));
        for part in [&temporary, &state] {
            fs::create_dir_all(part).map_err(SandboxError::io(format!("making {}", part.display())))?;
        }
        let log = directory.join("ministack.log");
        let port_file = directory.join("ministack.port");
        let faults = directory.join("faults.json");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut env = plain_environment(directory);
        let ours: BTreeMap<String, String> = [
            ("AUTH", "true".to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            // Functions inherit it, which is how their EC2 calls reach moto without a line of test code in
            // them.
            ("AWS_ENDPOINT_URL_EC2", ec2_endpoint.to_owned()),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", ec2_endpoint.to_owned()),
            ("BATON_SANDBOX_FAULTS", text(&faults)),
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("IOT_MTLS_ENABLED", "0".to_owned()),
            ("MINISTACK_ACCOUNT_ID", ACCOUNT_ID.to_owned()),
            ("MINISTACK_HOST", "127.0.0.1".to_owned()),
            ("MINISTACK_REGION", REGION.to_owned()),
            ("SFTP_ENABLED", "0".to_owned()),
            ("STATE_DIR", text(&state)),
            ("TMPDIR", text(&temporary)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        env.extend(ours);
        let machine = Machine::new("ministack")?;
        let program = Program { argv: venv.script("launcher.py"), env, log: log.clone() };
        let (pid, address) = machine.spawn_server(program, &port_file)?;
        machine.wait_for(pid, &log, START_LIMIT, || {
            let answer = crate::http::get(address, "/_ministack/ready", Duration::from_secs(5)).ok()?;
            (answer.status == 200).then_some(())
        })?;
        Ok(Self { machine, pid, address, log, faults })
    }

    /// Where it listens, as an endpoint URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its log file, with what its functions wrote to their standard error.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether its process still runs.
    pub fn is_running(&self) -> Result<bool, SandboxError> {
        Ok(self.machine.status(self.pid)?.is_none())
    }

    /// From now on, treats events on their way to functions like this.
    pub fn set_faults(&self, faults: &Faults) -> Result<(), SandboxError> {
        let part = self.faults.with_extension("part");
        let text = serde_json::to_string(faults).expect("faults are plain numbers");
        // Renamed into place, since it is read at every event.
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, &self.faults))
            .map_err(SandboxError::io(format!("writing {}", self.faults.display())))
    }
}
