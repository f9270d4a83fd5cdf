//! A node: a real agent with its own directory, its own metadata and a service that its hooks start and stop.
//!
//! Everything the node runs lives on one [`Machine`], so it can be killed as a whole, as a power cut would,
//! including a dead-man or a service in a session of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Instance;
use crate::imds::Imds;
use crate::machine::{Machine, Pid, Program};
use crate::moto::plain_environment;
use crate::port::Reservation;
use crate::service_log::{self, Moment};
use crate::{Sandbox, SandboxError, wait};

/// What the nodes of a sandbox run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// The agent's binary; its dead-man stands beside it.
    pub agent: PathBuf,
    /// The cluster.
    pub cluster: String,
    /// The table's name.
    pub table: String,
    /// The bus's name.
    pub bus: String,
    /// The ARN of the role in the instance profile.
    pub role: Option<String>,
    /// Variables that the agent gets besides, such as its log level.
    pub env: BTreeMap<String, String>,
    /// How many tries in a row must fail, one each 500 ms, until a node is unhealthy.
    pub fall: u32,
}

/// A node of the cluster. Everything it runs ends when it is dropped, and at the latest with this process.
#[derive(Debug)]
pub struct Node {
    machine: Machine,
    imds: Arc<Imds>,
    index: usize,
    instance: Instance,
    directory: PathBuf,
    port: Reservation,
    program: Program,
    agent: Option<Pid>,
}

impl Node {
    /// A node for each instance of the sandbox's world, none of them started.
    pub fn all(sandbox: &Sandbox, options: &NodeOptions) -> Result<Vec<Self>, SandboxError> {
        let imds = Arc::new(Imds::start(sandbox, options.role.as_deref())?);
        let instances = sandbox.world().instances.iter().enumerate();
        instances
            .map(|(index, instance)| Self::new(sandbox, options, &imds, index, instance.clone()))
            .collect()
    }

    fn new(
        sandbox: &Sandbox,
        options: &NodeOptions,
        imds: &Arc<Imds>,
        index: usize,
        instance: Instance,
    ) -> Result<Self, SandboxError> {
        let directory = sandbox.run_dir().join("nodes").join(&instance.name);
        fs::create_dir_all(&directory)
            .map_err(SandboxError::io(format!("making {}", directory.display())))?;
        let port = Reservation::new()?;
        let config = directory.join("agent.toml");
        let python = sandbox.venv().python();
        let text = configuration(options, &directory, &python, &instance.name, port.address());
        fs::write(&config, text).map_err(SandboxError::io(format!("writing {}", config.display())))?;
        let mut env = plain_environment(&directory);
        env.remove("AWS_EC2_METADATA_DISABLED");
        env.insert("AWS_ENDPOINT_URL".to_owned(), sandbox.ministack().endpoint());
        env.insert("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), imds.endpoint(index));
        env.extend(options.env.clone());
        let argv = [options.agent.as_path(), Path::new("--config"), &config]
            .map(|part| part.to_string_lossy().into_owned())
            .to_vec();
        let program = Program { argv, env, log: directory.join("agent.log") };
        let machine = Machine::new(&format!("node {}", instance.name))?;
        Ok(Self { machine, imds: Arc::clone(imds), index, instance, directory, port, program, agent: None })
    }

    /// Its name: `a`, `b`, …
    pub fn name(&self) -> &str {
        &self.instance.name
    }

    /// Its instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Where its configuration, its logs and its service's files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its service answers while it runs.
    pub fn service_address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The agent's log.
    pub fn log(&self) -> &Path {
        &self.program.log
    }

    /// Starts the agent. The service and the dead-man of an earlier run, if any, stay: it is the agent's to
    /// adopt them.
    pub fn start(&mut self) -> Result<(), SandboxError> {
        self.agent = Some(self.machine.spawn(&self.program)?);
        Ok(())
    }

    /// Starts the agent on a machine that has just booted: what `/run` held is gone.
    pub fn boot(&mut self) -> Result<(), SandboxError> {
        self.machine.kill_all()?;
        for gone in ["run", "service.pid"] {
            let path = self.directory.join(gone);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SandboxError::io(format!("removing {}", path.display()))(error));
                }
                _ => {}
            }
        }
        self.start()
    }

    /// Kills everything the node runs, with no chance to do anything: agent, service, dead-man. A crashed
    /// machine.
    pub fn kill_all(&mut self) -> Result<u64, SandboxError> {
        self.agent = None;
        self.machine.kill_all()
    }

    /// Kills the agent alone; its service and its dead-man live on.
    pub fn kill_agent(&self) -> Result<(), SandboxError> {
        self.signal(Signal::SIGKILL)
    }

    /// Stops the agent where it stands; its service and its dead-man live on.
    pub fn freeze_agent(&self) -> Result<(), SandboxError> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen agent go on.
    pub fn thaw(&self) -> Result<(), SandboxError> {
        self.signal(Signal::SIGCONT)
    }

    /// Asks the agent to end in good order.
    pub fn terminate(&self) -> Result<(), SandboxError> {
        self.signal(Signal::SIGTERM)
    }

    /// Asks the agent to end for another run that follows at once, as its unit does at a restart.
    pub fn end_for_restart(&self) -> Result<(), SandboxError> {
        self.signal(Signal::SIGUSR1)
    }

    /// The agent's process id while it runs.
    pub fn agent_process(&self) -> Result<Option<u32>, SandboxError> {
        let Some(pid) = self.agent else { return Ok(None) };
        Ok(self.machine.status(pid)?.is_none().then_some(pid.0))
    }

    /// The agent's exit status, or `None` while it runs; negative is the signal that ended it.
    pub fn agent_status(&self) -> Result<Option<i64>, SandboxError> {
        self.machine.status(self.running()?)
    }

    /// Waits until the agent has ended and gives its exit status.
    pub fn wait_for_end(&self, limit: Duration) -> Result<i64, SandboxError> {
        wait::until(&format!("the end of node {}'s agent", self.name()), limit, || self.agent_status())
    }

    /// Makes the service answer 500 from now on.
    pub fn sicken(&self) -> Result<(), SandboxError> {
        let path = self.directory.join("sick");
        fs::write(&path, "").map_err(SandboxError::io(format!("writing {}", path.display())))
    }

    /// Makes the service answer 200 again.
    pub fn heal(&self) -> Result<(), SandboxError> {
        let path = self.directory.join("sick");
        fs::remove_file(&path).map_err(SandboxError::io(format!("removing {}", path.display())))
    }

    /// Lets the node's metadata show notices, such as `spot/instance-action`; none takes them back.
    pub fn notify(&self, notices: &[(&str, &str)]) -> Result<(), SandboxError> {
        self.imds.notify(self.index, notices)
    }

    /// What its services wrote while they served, over all runs.
    pub fn service_log(&self) -> Result<Vec<Moment>, SandboxError> {
        service_log::read(&self.directory.join("service.jsonl"))
    }

    fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        if self.machine.signal(self.running()?, signal)? {
            return Ok(());
        }
        let what = format!("the agent of node {}", self.name());
        let status = self.agent_status()?.unwrap_or_default();
        let tail = crate::machine::tail(self.log());
        Err(SandboxError::Ended { what, status, log: self.log().to_owned(), tail })
    }

    fn running(&self) -> Result<Pid, SandboxError> {
        self.agent.ok_or_else(|| SandboxError::NotStarted(format!("the agent of node {}", self.name())))
    }
}

/// The agent's configuration, with the sandbox's hooks and a check that speaks while the node serves.
fn configuration(
    options: &NodeOptions,
    directory: &Path,
    python: &Path,
    node: &str,
    service: SocketAddr,
) -> String {
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    let command = |script: &str, more: &[&str]| {
        let mut words = vec![quoted(python), quoted(&hooks.join(script)), quoted(directory)];
        words.extend(more.iter().map(|word| format!("{word:?}")));
        words.join(", ")
    };
    let port = service.port().to_string();
    let promote = command("promote.py", &[node, &port]);
    let demote = command("demote.py", &[]);
    let NodeOptions { table, bus, cluster, fall, .. } = options;
    format!(
        r#"table = "{table}"
bus = "{bus}"

[cluster.{cluster}]
runtime-directory = {run}

[cluster.{cluster}.hooks]
promote = {{ command = [{promote}], timeout = "10s" }}
demote = {{ command = [{demote}], timeout = "5s" }}

[cluster.{cluster}.service]
pid-file = {pid_file}

[cluster.{cluster}.check.web]
http = {{ url = "http://{service}/ready" }}
interval = "500ms"
timeout = "450ms"
rise = 2
fall = {fall}
when = "serving"
"#,
        run = quoted(&directory.join("run")),
        pid_file = quoted(&directory.join("service.pid")),
    )
}
