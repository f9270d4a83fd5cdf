//! From a checked configuration to a running agent: log, runtime, identity, one driver per cluster, until the
//! end.
//!
//! SIGTERM and SIGINT end the agent in order, each cluster by its own `shutdown`. SIGUSR1, which the unit sends where the
//! agent is restarted and not stopped, ends it in order and leaves every service to the next run. SIGHUP makes it read its
//! configuration again: one that is refused is told of, and the one of before stays. Any other end of a driver
//! ends the whole agent at once: the services stay under their dead-men, and the run that systemd starts a
//! second later adopts them.

mod drivers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use baton_client::{Limits, SdkConfig};
use baton_protocol::time::WallTime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config, ConfigError, Environment, Imds};
use crate::driver::Ending;
use crate::identity::{Identity, IdentityError, Metadata};
use crate::log::{self, chain};
use crate::status::socket::{Desk, Socket};
use crate::status::{self, Configuration, Status};
use crate::{clock, command, file, metrics, notify, packet_fence};
use drivers::Drivers;

/// A call that takes longer than this is given up by its client. The drivers give up much earlier, at the
/// attempt timeout that comes with the lease; this only keeps the client's own limit out of their way.
const CALLS: Limits = Limits { connect: Duration::from_secs(1), attempt: Duration::from_secs(5) };

/// Before the metadata service is asked again who this node is; each pause is twice the one before it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What all drivers share.
struct Surroundings {
    identity: Identity,
    metadata: Metadata,
    sdk: SdkConfig,
    boot_id: String,
}

/// Runs the agent until it ends, by the configuration that was read from this file. A failure ends it with 1: systemd starts it
/// again, a second later.
pub fn run(config: Config, file: PathBuf) -> ExitCode {
    if let Err(error) = log::init() {
        return fail_early(&error);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail_early(&error),
    };
    let ended = runtime.block_on(serve(config, file));
    // Of a driver that has ended in order there is none.
    command::end_own();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(reason = %chain(&*error), "the agent ends");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

async fn serve(config: Config, file: PathBuf) -> Result<(), Failure> {
    // First of all, so that a signal during the start is not a death without order.
    let mut signals = Signals::new()?;
    let (begun, mut is_to_reload) = (clock::wall(), false);
    notify::status("asking the instance metadata service who this node is");
    let surroundings = tokio::select! {
        surroundings = surroundings(&config) => surroundings?,
        _ = signals.end(&mut is_to_reload) => return Ok(()),
    };
    let Identity { instance, region, zone } = &surroundings.identity;
    tracing::info!(%instance, zone, region, clusters = config.summary(), "baton-agent starts");
    remove_strays(&config);
    match command::end_orphans() {
        0 => {}
        hooks => tracing::warn!(hooks, "ended what an earlier run was starting when it was killed"),
    }
    let desk = Desk::new(said_of(&surroundings.identity, &file, config.imds, begun));
    let socket = Socket::listen(&status::path(&config), desk.clone());
    if let Err(error) = &socket {
        tracing::warn!(reason = chain(error), "`baton-agent status` cannot be answered");
    }
    if let Some(to) = config.metrics {
        // Ends with the runtime.
        tokio::spawn(metrics::publish(to, desk.clone()));
    }
    let mut drivers = Drivers::start(config, surroundings, desk.clone());
    if is_to_reload {
        reload(&mut drivers, &desk, &file).await;
    }
    loop {
        // Cancel-safe: a driver's end stays in the set until it is taken, a signal in its stream.
        tokio::select! {
            ended = drivers.next_end() => match ended {
                Some(ended) => ended?,
                None => return Ok(()),
            },
            told = signals.next() => match told {
                Told::End(ending) => drivers.end(ending),
                // Users are looked up while it is read, and a name service may hang; an end does not wait for that.
                Told::Reload => tokio::select! {
                    () = reload(&mut drivers, &desk, &file) => {}
                    ending = signals.only_end() => drivers.end(ending),
                },
            },
        }
    }
}

/// The fence of a cluster that is not configured any more would stay closed for ever.
fn remove_strays(config: &Config) {
    let fenced = config.clusters.iter().filter(|cluster| cluster.fence.is_some());
    match packet_fence::remove_all_but(fenced.map(|cluster| &cluster.name)) {
        Ok(tables) if tables.is_empty() => {}
        Ok(tables) => {
            tracing::warn!(
                tables = tables.join(", "),
                "removed packet fences that are not configured any more"
            );
        }
        Err(error) => {
            tracing::error!(reason = chain(&error), "a packet fence of an earlier run may still stand");
        }
    }
}

/// What the agent says of itself whatever its clusters do. It has read its configuration when it began.
fn said_of(identity: &Identity, file: &Path, imds: Imds, begun: WallTime) -> Status {
    Status {
        schema: status::SCHEMA,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        since: begun,
        instance: identity.instance.instance_id().to_string(),
        zone: identity.zone.clone(),
        imds,
        configuration: Configuration { file: file.to_owned(), read: begun, refused: None },
        clusters: Vec::new(),
        silent: Vec::new(),
    }
}

/// Reads the configuration again and puts it in force. Whatever is wrong with it, what is in force stays so.
async fn reload(drivers: &mut Drivers, desk: &Desk, file: &Path) {
    let path = file.to_owned();
    // Users are looked up, which may take a name service's time.
    let read = tokio::task::spawn_blocking(move || config::load(&path, &Environment::here())).await;
    let outcome = match read {
        Ok(Ok(config)) => drivers.put_in_force(config).map_err(|unfit| unfit.to_string()),
        Ok(Err(error)) => Err(in_one_line(&error)),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(changed) => {
            tracing::info!(changed, "the configuration was read again");
            desk.update(|status| {
                status.configuration.read = clock::wall();
                status.configuration.refused = None;
            });
        }
        Err(reason) => {
            tracing::error!(reason, "the configuration was read again and refused; the one of before stays");
            desk.update(|status| status.configuration.refused = Some(reason));
        }
    }
}

/// Every problem with its place, for a line of the log.
fn in_one_line(error: &ConfigError) -> String {
    match error {
        ConfigError::Read { .. } => chain(error),
        ConfigError::Invalid(problems) => {
            let told: Vec<_> =
                problems.iter().map(|problem| format!("{}: {problem}", problem.place())).collect();
            told.join("; ")
        }
    }
}

async fn surroundings(config: &Config) -> Result<Surroundings, Failure> {
    if let Some(warning) = config.imds.warning() {
        tracing::warn!("{warning}");
    }
    let metadata = Metadata::from_env(config.imds);
    let identity = identity(&metadata).await?;
    let region = config.region.clone().unwrap_or_else(|| identity.region.clone());
    for cluster in &config.clusters {
        file::make_directory(&cluster.directory)?;
    }
    let sdk = baton_client::load_on_node(CALLS, region, metadata.client());
    Ok(Surroundings { identity, metadata, sdk, boot_id: file::boot_id()? })
}

/// Who this node is. A service that cannot be reached or does not answer yet is asked again: starting the agent anew would not help.
async fn identity(metadata: &Metadata) -> Result<Identity, IdentityError> {
    let (mut pause, mut told) = (FIRST_PAUSE, String::new());
    loop {
        let error = match metadata.identity().await {
            Err(error) if error.may_pass() => error,
            known_or_final => return known_or_final,
        };
        let reason = chain(&error);
        if reason != told {
            tracing::warn!(
                reason,
                "who this node is cannot be told yet; the instance metadata service is asked again"
            );
            notify::status(&format!("cannot tell yet who this node is: {reason}"));
            told = reason;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The signals that mean something to the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Resolves when the agent is told something. Cancel-safe.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End(Ending::AsConfigured),
            _ = self.interrupt.recv() => Told::End(Ending::AsConfigured),
            _ = self.user.recv() => Told::End(Ending::Restart),
            _ = self.hang_up.recv() => Told::Reload,
        }
    }

    /// Resolves when the agent is asked to end; what else it is told stays to be taken. Cancel-safe.
    async fn only_end(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::AsConfigured,
            _ = self.interrupt.recv() => Ending::AsConfigured,
            _ = self.user.recv() => Ending::Restart,
        }
    }

    /// Resolves when the agent is asked to end before it has begun. What it has read is read again once it has, if that is asked.
    async fn end(&mut self, is_to_reload: &mut bool) -> Ending {
        loop {
            match self.next().await {
                Told::End(ending) => return ending,
                Told::Reload => *is_to_reload = true,
            }
        }
    }
}

/// What a signal says.
enum Told {
    End(Ending),
    Reload,
}

/// Before there is a log, standard error is all there is.
fn fail_early(error: &dyn std::error::Error) -> ExitCode {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("baton-agent: {}\n", chain(error)).as_bytes(),
    );
    ExitCode::FAILURE
}
