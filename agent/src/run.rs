//! From a checked configuration to a running agent: log, runtime, identity, one driver per cluster, until the
//! end.
//!
//! SIGTERM and SIGINT end the agent in order, each cluster by its own `shutdown`. SIGUSR1, which the unit sends where the
//! agent is restarted and not stopped, ends it in order and leaves every service to the next run. Any other end of a driver
//! ends the whole agent at once: the services stay under their dead-men, and the run that systemd starts a
//! second later adopts them.

use std::process::ExitCode;
use std::time::Duration;

use baton_client::{Bus, Limits, Place, SdkConfig};
use baton_store::DynamoStore;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::config::Config;
use crate::driver::{self, DriverError, Ending, Parts};
use crate::identity::{Identity, Metadata};
use crate::log::{self, chain};
use crate::watchdog::Watchdog;
use crate::{file, notify, packet_fence};

/// A call that takes longer than this is given up by its client. The drivers give up much earlier, at the
/// attempt timeout that comes with the lease; this only keeps the client's own limit out of their way.
const CALLS: Limits = Limits { connect: Duration::from_secs(1), attempt: Duration::from_secs(5) };

/// What all drivers share.
struct Surroundings {
    identity: Identity,
    metadata: Metadata,
    sdk: SdkConfig,
    boot_id: String,
}

/// Runs the agent until it ends. A failure ends it with 1: systemd starts it again, a second later.
pub fn run(config: Config) -> ExitCode {
    if let Err(error) = log::init() {
        return fail_early(&error);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail_early(&error),
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(reason = %chain(&*error), "the agent ends");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

async fn serve(config: Config) -> Result<(), Failure> {
    // First of all, so that a signal during the start is not a death without order.
    let mut signals = Signals::new()?;
    notify::status("asking the instance metadata service who this node is");
    let surroundings = tokio::select! {
        surroundings = surroundings(&config) => surroundings?,
        _ = signals.end() => return Ok(()),
    };
    let Identity { instance, region, zone } = &surroundings.identity;
    tracing::info!(%instance, zone, region, clusters = config.summary(), "baton-agent starts");
    remove_strays(&config);
    let (stop, stopping) = watch::channel(None);
    let mut drivers = start(config, &surroundings, &stopping);
    loop {
        // Cancel-safe: a driver's end stays in the set until it is taken, a signal in its stream.
        tokio::select! {
            ended = drivers.join_next() => match ended {
                Some(ended) => ended??,
                None => return Ok(()),
            },
            ending = signals.end() => {
                // The first word stands: a driver that has begun to hand over cannot leave its service as it is.
                stop.send_if_modified(|told| {
                    let is_first = told.is_none();
                    *told = told.or(Some(ending));
                    is_first
                });
            }
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

/// Starts a driver for each cluster. Dropping the set ends them where they stand.
fn start(
    config: Config,
    surroundings: &Surroundings,
    stopping: &watch::Receiver<Option<Ending>>,
) -> JoinSet<Result<(), DriverError>> {
    let Config { table, bus, watchdog, clusters, .. } = config;
    let watchdog = Watchdog::new(&watchdog);
    let mut drivers = JoinSet::new();
    for cluster in clusters {
        let span = log::span(&cluster.name, &surroundings.identity.instance);
        let parts = Parts {
            instance: surroundings.identity.instance.clone(),
            cluster,
            store: DynamoStore::new(&surroundings.sdk, table.clone()),
            wakes: Bus::new(&surroundings.sdk, bus.clone()),
            metadata: surroundings.metadata.clone(),
            watchdog: watchdog.clone(),
            boot_id: surroundings.boot_id.clone(),
        };
        drivers.spawn(driver::drive(parts, stopping.clone()).instrument(span));
    }
    drivers
}

async fn surroundings(config: &Config) -> Result<Surroundings, Failure> {
    let metadata = Metadata::from_env();
    let identity = metadata.identity().await?;
    let region = config.region.clone().unwrap_or_else(|| identity.region.clone());
    for cluster in &config.clusters {
        file::make_directory(&cluster.directory)?;
    }
    let place = Place { profile: None, region: Some(region) };
    let sdk = baton_client::load_at(CALLS, &place).await;
    Ok(Surroundings { identity, metadata, sdk, boot_id: file::boot_id()? })
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

    /// Resolves when the agent is asked to end. Cancel-safe.
    async fn end(&mut self) -> Ending {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ending::AsConfigured,
                _ = self.interrupt.recv() => return Ending::AsConfigured,
                _ = self.user.recv() => return Ending::Restart,
                _ = self.hang_up.recv() => tracing::warn!(
                    reason = "SIGHUP",
                    "the configuration is read at the start only: restart the agent to change it"
                ),
            }
        }
    }
}

/// Before there is a log, standard error is all there is.
fn fail_early(error: &dyn std::error::Error) -> ExitCode {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("baton-agent: {}\n", chain(error)).as_bytes(),
    );
    ExitCode::FAILURE
}
