//! Instance metadata for the nodes of a sandbox: one process, one port per node.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::machine::{Machine, Pid, Program, START_LIMIT};
use crate::moto::plain_environment;
use crate::{REGION, Sandbox, SandboxError};

/// A running metadata service; ends when dropped, and at the latest with this process.
#[derive(Debug)]
pub struct Imds {
    machine: Machine,
    pid: Pid,
    ports: Vec<u16>,
    notices: Vec<PathBuf>,
}

impl Imds {
    /// Starts the service for every instance of the sandbox's world. `role` is the ARN of the role in their
    /// instance profile; without one they have no credentials.
    pub fn start(sandbox: &Sandbox, role: Option<&str>) -> Result<Self, SandboxError> {
        let roles: Vec<Option<&str>> = sandbox.world().instances.iter().map(|_| role).collect();
        Self::with_roles(sandbox, &roles)
    }

    /// Like [`Imds::start`], as on legacy hosts: version 1, which gives no session tokens and refuses whoever sends one.
    pub fn start_legacy(sandbox: &Sandbox, role: Option<&str>) -> Result<Self, SandboxError> {
        let roles: Vec<Option<&str>> = sandbox.world().instances.iter().map(|_| role).collect();
        Self::start_as(sandbox, &roles, false)
    }

    /// Like [`Imds::start`], with a role for each instance.
    pub fn with_roles(sandbox: &Sandbox, roles: &[Option<&str>]) -> Result<Self, SandboxError> {
        Self::start_as(sandbox, roles, true)
    }

    fn start_as(sandbox: &Sandbox, roles: &[Option<&str>], tokens: bool) -> Result<Self, SandboxError> {
        let directory = sandbox.run_dir().join("imds");
        fs::create_dir_all(&directory)
            .map_err(SandboxError::io(format!("making {}", directory.display())))?;
        let instances = &sandbox.world().instances;
        let notices: Vec<PathBuf> =
            instances.iter().map(|instance| directory.join(format!("{}.json", instance.name))).collect();
        let configs: Vec<_> = instances
            .iter()
            .zip(roles)
            .zip(&notices)
            .map(|((instance, role), file)| {
                json!({"instance": instance.id, "role": role, "notices": file, "tokens": tokens})
            })
            .collect();
        let (config, ready) = (directory.join("config.json"), directory.join("ports.json"));
        write(&config, &json!(configs).to_string())?;
        if ready.exists() {
            fs::remove_file(&ready).map_err(SandboxError::io(format!("removing {}", ready.display())))?;
        }
        let mut env = plain_environment(&directory);
        for (name, value) in [
            ("AWS_ENDPOINT_URL", sandbox.ministack().endpoint()),
            ("AWS_ENDPOINT_URL_EC2", sandbox.moto().endpoint()),
            ("AWS_REGION", REGION.to_owned()),
        ] {
            env.insert(name.to_owned(), value);
        }
        let mut argv = sandbox.venv().script("imds.py");
        argv.extend([&config, &ready].map(|path| path.to_string_lossy().into_owned()));
        let machine = Machine::new("the metadata service")?;
        let log = directory.join("imds.log");
        let pid = machine.spawn(&Program { argv, env, log: log.clone() })?;
        let ports = machine.wait_for(pid, &log, START_LIMIT, || {
            fs::read_to_string(&ready).ok().and_then(|text| serde_json::from_str(&text).ok())
        })?;
        Ok(Self { machine, pid, ports, notices })
    }

    /// Where the metadata of the world's instance number `index` is served.
    pub fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[index]))
    }

    /// The same as an endpoint URL, for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn endpoint(&self, index: usize) -> String {
        format!("http://{}", self.address(index))
    }

    /// Lets an instance see notices below `meta-data/`, such as `spot/instance-action`; none takes them back.
    pub fn notify(&self, index: usize, notices: &[(&str, &str)]) -> Result<(), SandboxError> {
        let map: serde_json::Map<String, serde_json::Value> =
            notices.iter().map(|(path, text)| ((*path).to_owned(), json!(text))).collect();
        let file = &self.notices[index];
        let part = file.with_extension("part");
        write(&part, &serde_json::Value::Object(map).to_string())?;
        fs::rename(&part, file).map_err(SandboxError::io(format!("writing {}", file.display())))
    }

    /// Whether its process still runs.
    pub fn is_running(&self) -> Result<bool, SandboxError> {
        Ok(self.machine.status(self.pid)?.is_none())
    }
}

fn write(path: &Path, text: &str) -> Result<(), SandboxError> {
    fs::write(path, text).map_err(SandboxError::io(format!("writing {}", path.display())))
}
