//! A real agent and everything around it: a table, instance metadata, a bus, a service, and an EC2 server to notice calls.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use baton_protocol::ids::ClusterName;
use baton_sandbox::Moto;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Interval, MissedTickBehavior};

use crate::Trouble;
use crate::metadata::Metadata;
use crate::passage::Passage;
use crate::sink::{Service, Sink};
use crate::table::{self, Table};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Whoever waits for so long in vain has failed.
const STALLED: Duration = Duration::from_secs(30);

/// Everything around the agent. It ends with the runtime, and with this value.
#[derive(Debug)]
pub struct Rig {
    /// The table.
    pub table: Table,
    /// The way to it.
    pub passage: Passage,
    /// The instance metadata.
    pub metadata: Metadata,
    /// Every other service of AWS.
    pub sink: Sink,
    /// What the agent checks.
    pub service: Service,
    /// EC2.
    pub moto: Moto,
    place: tempfile::TempDir,
    program: PathBuf,
}

impl Rig {
    /// Starts everything but the agent. Its servers are tasks of the runtime that this is called in, which must have threads of its
    /// own for them: an agent waits a second for its metadata and less for its table, and whoever looks at processes meanwhile, or
    /// runs a program, holds up the thread that it does so on.
    pub async fn start(program: PathBuf, moto: Moto) -> Result<Self, Trouble> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err("the rig's servers need a runtime with threads of its own".into());
        }
        let table = Table::start().await;
        Ok(Self {
            passage: Passage::before(table.address()).await?,
            metadata: Metadata::start(table::measured().as_str(), "198.51.100.1").await?,
            sink: Sink::start().await?,
            service: Service::start().await?,
            // In memory, as `/run` of a node is: a disk would be paid for with each heartbeat.
            place: tempfile::tempdir_in("/dev/shm")?,
            table,
            moto,
            program,
        })
    }

    /// Where the configuration, the log and the runtime directory are.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// Starts an agent that is a member of these clusters, each with a check of the service.
    pub fn agent(&self, clusters: &[ClusterName], interval: Duration) -> Result<Child, Trouble> {
        self.configure(&configuration(self.place(), clusters, &self.service.url(), interval))?;
        self.run()
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) -> Result<(), Trouble> {
        Ok(std::fs::write(self.place().join("agent.toml"), text)?)
    }

    /// Starts an agent with the configuration that was written.
    pub fn run(&self) -> Result<Child, Trouble> {
        let place = self.place();
        let config = place.join("agent.toml");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(place.join("agent.log"))?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&config).env_clear().kill_on_drop(true);
        for (name, value) in [
            ("AWS_ENDPOINT_URL", self.sink.endpoint()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.passage.endpoint().to_owned()),
            ("AWS_ENDPOINT_URL_EC2", self.moto.endpoint()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.metadata.endpoint()),
            ("HOME", place.display().to_string()),
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("BATON_LOG_FORMAT", "json".to_owned()),
        ] {
            command.env(name, value);
        }
        // Where a test has made one it stands for systemd.
        let notify = place.join("notify");
        if notify.exists() {
            command.env("NOTIFY_SOCKET", notify);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(child)
    }

    /// Waits until so many heartbeats were confirmed in all.
    pub async fn until_beats(&self, count: usize) -> Result<(), Trouble> {
        let mut tick = pauses(LOOK_EVERY);
        let (mut last, mut moved) = (self.passage.beats(), Instant::now());
        while last < count {
            tick.tick().await;
            let beats = self.passage.beats();
            if beats > last {
                (last, moved) = (beats, Instant::now());
            }
            if moved.elapsed() > STALLED {
                return Err(format!("no heartbeat for {} s; {}", STALLED.as_secs(), self.log()).into());
            }
        }
        Ok(())
    }

    /// Waits for something of the surroundings.
    pub async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> Result<T, Trouble> {
        let found = async {
            let mut tick = pauses(Duration::from_millis(2));
            loop {
                tick.tick().await;
                if let Some(found) = look() {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(STALLED, found).await;
        found.map_err(|_| format!("in vain until {what}; {}", self.log()).into())
    }

    /// What the agent says of itself when an operator asks; nothing while it does not answer.
    pub fn status(&self) -> Option<Value> {
        let mut command = std::process::Command::new(&self.program);
        command.args(["status", "--json", "--socket"]).arg(self.place().join("run/status.sock"));
        let output = command.output().ok().filter(|output| output.status.success())?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// A cluster of a configuration whose hooks add a line to what [`Rig::hooks`] returns, except where the agent starts, with a check
    /// of this name that asks the service.
    pub fn telling_cluster(&self, name: &ClusterName, check: &str, interval: &str) -> String {
        let (place, url) = (self.place().display(), self.service.url());
        let hook =
            |line| shell_hook(&format!("test \"$BATON_REASON\" = start || echo {line} >> {place}/hooks"));
        format!(
            "[cluster.{name}]\nruntime-directory = \"{place}/run\"\n\
             hooks = {{ promote = {}, demote = {} }}\nservice = {{ pid-file = \"{place}/service.pid\" }}\n\
             [cluster.{name}.check.{check}]\nhttp = {{ url = \"{url}\" }}\ninterval = \"{interval}\"\n\
             timeout = \"400ms\"\n",
            hook("promote"),
            hook("demote")
        )
    }

    /// The lines of the hooks that have run.
    pub fn hooks(&self) -> String {
        std::fs::read_to_string(self.place().join("hooks")).unwrap_or_default()
    }

    /// The end of the agents' log, for messages.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.place.path().join("agent.log")).unwrap_or_default();
        let last: Vec<_> = text.lines().rev().take(5).collect();
        format!("the agent's last words:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}

/// A pause after each look, however long the look has taken: none is made up for.
fn pauses(length: Duration) -> Interval {
    let mut pauses = tokio::time::interval(length);
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pauses
}

/// Kills an agent: nothing of the next one depends on how it ended.
pub async fn ended(mut agent: Child) -> Result<(), Trouble> {
    if let Some(status) = agent.try_wait()? {
        return Err(format!("the agent has ended by itself: {status}").into());
    }
    Ok(agent.kill().await?)
}

/// A name of a cluster.
pub fn named(what: &str, n: usize) -> Result<ClusterName, Trouble> {
    Ok(ClusterName::new(format!("{what}-{n}"))?)
}

/// What a line of an agent's log says under this name.
pub fn told(line: &str, name: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line.get(name)?.as_str()?.to_owned())
}

/// A hook of a configuration, as a line of the shell.
pub fn shell_hook(line: &str) -> String {
    format!("{{ command = [\"/bin/sh\", \"-c\", {line:?}], timeout = \"20s\" }}")
}

/// As much as the agent in strict mode needs, and one check of the service.
pub fn configuration(place: &Path, clusters: &[ClusterName], url: &str, interval: Duration) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.to_string_lossy());
    let (run, pid_file) = (quoted(place.join("run")), quoted(place.join("service.pid")));
    let (every, within) = (interval.as_millis(), interval.as_millis() / 2);
    let cluster = |name: &ClusterName| {
        format!(
            "[cluster.{name}]\nruntime-directory = {run}\nservice = {{ pid-file = {pid_file} }}\n\n\
             [cluster.{name}.check.web]\nhttp = {{ url = \"{url}\" }}\ninterval = \"{every}ms\"\n\
             timeout = \"{within}ms\"\nrise = 1\nfall = 1\nwhen = \"serving\"\n"
        )
    };
    let clusters: Vec<_> = clusters.iter().map(cluster).collect();
    format!("table = \"{}\"\n\n{}", table::NAME, clusters.join("\n"))
}
