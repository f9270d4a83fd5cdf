//! The agent's configuration: one TOML file, checked as a whole before anything starts.
//!
//! What is refused, is refused with its place in the file, the reason and the way out, all problems at once.
//! Timing is not configured here: it belongs to the cluster and comes with the lease. Two steps keep the
//! checks honest: [`parse`] looks at the text alone, so a file can be validated anywhere, and [`environment`]
//! looks at the commands it names.

mod diagnostic;
mod environment;
mod fence;
#[cfg(test)]
mod manual;
mod raw;
mod semantic;
#[cfg(test)]
mod tests;
mod vip;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::ids::ClusterName;
use baton_protocol::recovery::Limit;

pub use diagnostic::{ConfigError, Problem, render};
pub use environment::Environment;
pub use fence::{Fence, Need, Traffic, Watchdog};
pub use vip::{OWN_INTERFACE, Vip};

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/baton/agent.toml";

/// Where the state of clusters lies when nothing else is said.
pub const DEFAULT_RUNTIME_DIRECTORY: &str = "/run/baton";

/// The exit code for a configuration that was refused (`EX_CONFIG` of sysexits.h).
pub const EXIT_CODE: u8 = 78;

/// The checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of the table.
    pub table: String,
    /// The name of the event bus.
    pub bus: String,
    /// The region, where it is not to be taken from the instance metadata.
    pub region: Option<String>,
    /// The version of the instance metadata service that is spoken.
    pub imds: Imds,
    /// The watchdog of this machine.
    pub watchdog: Watchdog,
    /// Where metrics are sent, if they are.
    pub metrics: Option<SocketAddr>,
    /// The clusters this node is a member of; at least one.
    pub clusters: Vec<Cluster>,
}

impl Config {
    /// What the configuration amounts to, in one line.
    pub fn summary(&self) -> String {
        let cluster = |cluster: &Cluster| {
            let recover = cluster.recover.as_ref().map(|recover| &recover.hook);
            let hooks = [cluster.promote.as_ref(), cluster.demote.as_ref(), recover];
            let hooks = hooks.into_iter().flatten().count();
            let checks = cluster
                .checks
                .iter()
                .filter(|check| !matches!(check.probe, Probe::Vip | Probe::Fence))
                .count();
            let vip = cluster.vip.as_ref().map_or_else(String::new, |vip| {
                format!(", {} virtual addresses on {}", vip.addresses.len(), vip.interface)
            });
            let fence = if cluster.fence.is_some() { ", a packet fence" } else { "" };
            format!("cluster {} ({hooks} hooks, {checks} checks{vip}{fence})", cluster.name)
        };
        let clusters: Vec<_> = self.clusters.iter().map(cluster).collect();
        clusters.join(", ")
    }
}

/// A version of the instance metadata service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Imds {
    /// Plain requests, for a legacy host that gives no session tokens. Whatever can be made to fetch a URL on this machine can
    /// fetch the role's credentials.
    V1,
    /// With session tokens.
    #[default]
    V2,
}

impl Imds {
    /// What is to be said of the choice, if anything.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::V1 => Some(
                "the instance metadata are asked without session tokens (`imds = \"v1\"`): whatever can be made to fetch a URL on \
                 this machine can fetch the role's credentials",
            ),
            Self::V2 => None,
        }
    }
}

/// One cluster on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Where the cluster's state for restarts and the dead-man's files lie: `<runtime-directory>/<cluster>`.
    pub directory: PathBuf,
    /// What an orderly end of the agent does with the service.
    pub shutdown: Shutdown,
    /// Starts the service.
    pub promote: Option<Hook>,
    /// Stops the service.
    pub demote: Option<Hook>,
    /// Mends the service where it runs.
    pub recover: Option<Recover>,
    /// What the dead-man stops.
    pub service: Option<Service>,
    /// What is added to an interface of this node while it serves.
    pub vip: Option<Vip>,
    /// What lets its traffic pass, in strict mode, only while the lease is confirmed.
    pub fence: Option<Fence>,
    /// The health checks; those of the virtual addresses and of the fence among them.
    pub checks: Vec<Check>,
}

/// What an orderly end of the agent does with the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shutdown {
    /// Hands the lease over.
    #[default]
    Handover,
    /// Leaves the service running for the next run of the agent.
    Stay,
}

/// A command: an absolute path and its arguments. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What is done.
    pub act: Act,
    /// After which time it is given up.
    pub timeout: Duration,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Runs a command.
    Command(CommandLine),
    /// Starts or stops this unit of systemd, and makes sure that it is as it should be.
    Unit(String),
}

/// Local recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recover {
    /// What is run.
    pub hook: Hook,
    /// How often.
    pub limit: Limit,
}

/// How the dead-man finds the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// By the process whose id stands in this file, and its process group.
    PidFile(PathBuf),
    /// By this control group.
    Cgroup(PathBuf),
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, for people.
    pub name: String,
    /// What is tried.
    pub probe: Probe,
    /// How often.
    pub interval: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// How many successes in a row make the check good.
    pub rise: u32,
    /// How many failures in a row make the check bad.
    pub fall: u32,
    /// When the check speaks.
    pub when: When,
}

/// When a check runs and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Always.
    #[default]
    Always,
    /// Only while this node serves.
    Serving,
    /// Only while nothing is served or started here: whether this node could take over.
    Standby,
}

/// What a check tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Open a connection.
    Tcp {
        /// To where.
        address: Address,
    },
    /// Send a GET request.
    Http {
        /// To where.
        address: Address,
        /// The `Host` of the request.
        host: String,
        /// The path and query of the request.
        target: String,
        /// The statuses that count as success; empty: any 2xx.
        expect: Vec<u16>,
    },
    /// Run a command.
    Script {
        /// The command.
        command: CommandLine,
        /// The user it runs as; the agent's own without one.
        user: Option<User>,
        /// What its exit codes mean.
        exit_codes: ExitCodes,
    },
    /// Ask systemd for the state of a unit.
    Systemd {
        /// The unit's whole name.
        unit: String,
    },
    /// Look for a process; at least one of the two is given.
    Process {
        /// Whose first line is its id.
        pid_file: Option<PathBuf>,
        /// Its name, as the kernel keeps it.
        command_name: Option<String>,
    },
    /// Ask how much memory could be had.
    Memory {
        /// Of all memory.
        available_at_least: Percent,
    },
    /// Ask how much of a file system is free.
    Disk {
        /// Anything in that file system.
        path: PathBuf,
        /// Of its space, and of the files it can hold.
        free_at_least: Percent,
    },
    /// Ask for how much of the last minute something waited for a CPU.
    Cpu {
        /// Of the time.
        waiting_at_most: Percent,
    },
    /// Ask how many processes want to run, in the mean of the last minute.
    Load {
        /// For each CPU, in hundredths.
        per_cpu_at_most: u64,
    },
    /// Look after the virtual addresses: whether they are there while this node serves, and whether they could be
    /// otherwise. Comes with `[cluster.<name>.vip]`.
    Vip,
    /// Look after the packet fence: whether it is as it should be, or could be. Comes with `[cluster.<name>.fence]`.
    Fence,
}

/// What the exit codes of a script mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCodes {
    /// 0 is success, 1 a warning, anything else failure.
    #[default]
    Plain,
    /// Those of the monitor action of the Open Cluster Framework's resource agents.
    Ocf,
}

/// Between 1 and 99 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Where a check connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A literal address.
    Literal(SocketAddr),
    /// A name to be resolved at each try, and a port.
    Named(String, u16),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(address) => address.fmt(f),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A user of this machine, by name; looked up when a check is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub String);

/// Reads and checks the file and the commands it names.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::read(path, source))?;
    let name = path.display().to_string();
    let (config, mut problems) = semantic::check(&name, &text)?;
    problems.extend(environment::check(&name, &text, path, &config, environment));
    finish(config.value, problems)
}

/// Checks a text alone. `name` is what problems call the file.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
    let (config, problems) = semantic::check(name, text)?;
    finish(config.value, problems)
}

fn finish(config: Config, problems: Vec<Problem>) -> Result<Config, ConfigError> {
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(problems)) }
}
