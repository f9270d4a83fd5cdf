//! The drivers of one agent, one for each cluster: started, ended, and replaced where the configuration has changed.
//!
//! A configuration that was read again is put in force by ending the drivers of the clusters that it changes, as a restart of
//! the agent ends them all: each leaves its service to the run that follows, which adopts it. The others are not
//! touched. A cluster that is not configured any more is ended as its `shutdown` says, since nobody follows.

use std::collections::BTreeMap;

use baton_client::{Bus, SdkConfig};
use baton_protocol::ids::ClusterName;
use baton_store::DynamoStore;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::{Failure, Surroundings};
use crate::config::{Cluster, Config};
use crate::driver::{self, DriverError, Ending, Parts};
use crate::file;
use crate::status::socket::{Desk, QUESTIONS_MOST};
use crate::watchdog::Watchdog;
use crate::{log, notify};

/// The drivers that run, and the configuration that is to be in force.
pub(super) struct Drivers {
    surroundings: Surroundings,
    config: Config,
    /// One for the machine, so its clusters share it.
    watchdog: Option<Watchdog>,
    running: JoinSet<(ClusterName, Result<(), DriverError>)>,
    lines: BTreeMap<ClusterName, Line>,
    desk: Desk,
    /// The agent ends, so nothing is started any more.
    ending: bool,
}

/// A driver that runs, and what it was started with.
struct Line {
    cluster: Cluster,
    stop: watch::Sender<Option<Ending>>,
}

/// Why a configuration that is valid is not put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// What an agent has left for the next run lies in the directory of before.
    #[error(
        "the runtime directory of the cluster `{0}` cannot be changed while the agent runs: hand over and restart the agent"
    )]
    Directory(ClusterName),
    /// Another table is another cluster.
    #[error("`{0}` cannot be changed while the agent runs: hand over and restart the agent")]
    Place(&'static str),
    /// The agent ends.
    #[error("the agent is about to end")]
    Ending,
}

impl Drivers {
    /// Starts a driver for each cluster.
    pub(super) fn start(config: Config, surroundings: Surroundings, desk: Desk) -> Self {
        let (running, lines) = (JoinSet::new(), BTreeMap::new());
        let watchdog = Watchdog::new(&config.watchdog);
        let mut drivers = Self { surroundings, config, watchdog, running, lines, desk, ending: false };
        for cluster in drivers.config.clusters.clone() {
            drivers.begin(cluster);
        }
        drivers
    }

    fn begin(&mut self, cluster: Cluster) {
        let Surroundings { identity, metadata, sdk, boot_id } = &self.surroundings;
        let name = cluster.name.clone();
        let span = log::span(&name, &identity.instance);
        let (stop, stopping) = watch::channel(None);
        let (ask, asked) = mpsc::channel(QUESTIONS_MOST);
        self.desk.add(name.clone(), ask);
        self.lines.insert(name.clone(), Line { cluster: cluster.clone(), stop });
        let parts = Parts {
            instance: identity.instance.clone(),
            cluster,
            store: store(sdk, &self.config),
            wakes: Bus::new(sdk, self.config.bus.clone()),
            metadata: metadata.clone(),
            watchdog: self.watchdog.clone(),
            boot_id: boot_id.clone(),
        };
        let drive = async move { (name, driver::drive(parts, stopping, asked).await) };
        self.running.spawn(drive.instrument(span));
    }

    /// The end of everything: `None` once no driver runs any more, an error if one has ended by itself. Cancel-safe: a driver's
    /// end stays in the set until it is taken.
    pub(super) async fn next_end(&mut self) -> Option<Result<(), Failure>> {
        let (name, ended) = match self.running.join_next().await? {
            Ok(ended) => ended,
            Err(error) => return Some(Err(error.into())),
        };
        self.desk.remove(&name);
        self.lines.remove(&name);
        if let Err(error) = ended {
            return Some(Err(error.into()));
        }
        let followed = self.config.clusters.iter().find(|cluster| cluster.name == name).cloned();
        if !self.ending {
            super::remove_strays(&self.config);
        }
        if let Some(cluster) = followed.filter(|_| !self.ending) {
            tracing::info!(%name, "the cluster goes on with the configuration that was read again");
            self.begin(cluster);
        }
        Some(Ok(()))
    }

    /// Ends every driver. The first word of this kind stands: one that has begun to hand over cannot leave its service as it is.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending = true;
        // Here and nowhere else: a driver that ends for another configuration is not the end of the agent, and systemd would kill
        // what has said that it stops and does not.
        notify::stopping();
        for line in self.lines.values() {
            tell(&line.stop, ending);
        }
    }

    /// Puts a configuration in force; how many clusters it changes.
    pub(super) fn put_in_force(&mut self, config: Config) -> Result<usize, Unfit> {
        if self.ending {
            return Err(Unfit::Ending);
        }
        let before = &self.config;
        let places = [
            ("table", config.table != before.table),
            ("bus", config.bus != before.bus),
            ("region", config.region != before.region),
            ("watchdog", config.watchdog != before.watchdog),
            ("metrics", config.metrics != before.metrics),
        ];
        for (key, differs) in places {
            if differs {
                return Err(Unfit::Place(key));
            }
        }
        let moved = |cluster: &&Cluster| {
            let line = self.lines.get(&cluster.name);
            line.is_some_and(|line| line.cluster.directory != cluster.directory)
        };
        if let Some(moved) = config.clusters.iter().find(moved) {
            return Err(Unfit::Directory(moved.name.clone()));
        }
        self.config = config;
        let mut changed = 0;
        for (name, line) in &self.lines {
            match self.config.clusters.iter().find(|cluster| cluster.name == *name) {
                Some(cluster) if *cluster == line.cluster => continue,
                Some(_) => tell(&line.stop, Ending::Reload),
                None => tell(&line.stop, Ending::AsConfigured),
            }
            changed += 1;
        }
        let new = self.config.clusters.iter().filter(|cluster| !self.lines.contains_key(&cluster.name));
        for cluster in new.cloned().collect::<Vec<_>>() {
            if let Err(error) = file::make_directory(&cluster.directory) {
                tracing::error!(cluster = %cluster.name, reason = %error, "no directory for this cluster");
            }
            self.begin(cluster);
            changed += 1;
        }
        Ok(changed)
    }
}

/// Where a driver was told to end for another configuration, the agent's own end has the last word.
fn tell(stop: &watch::Sender<Option<Ending>>, ending: Ending) {
    stop.send_if_modified(|told| {
        let counts = matches!(told, None | Some(Ending::Reload)) && *told != Some(ending);
        if counts {
            *told = Some(ending);
        }
        counts
    });
}

fn store(sdk: &SdkConfig, config: &Config) -> DynamoStore {
    DynamoStore::new(sdk, config.table.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_for_another_configuration_yields_to_the_end_of_the_agent_and_no_other_does() {
        let told = |words: &[Ending]| {
            let stop = watch::Sender::new(None);
            words.iter().for_each(|word| tell(&stop, *word));
            *stop.borrow()
        };
        assert_eq!(told(&[Ending::Reload, Ending::AsConfigured]), Some(Ending::AsConfigured));
        assert_eq!(told(&[Ending::Reload, Ending::Restart, Ending::AsConfigured]), Some(Ending::Restart));
        assert_eq!(told(&[Ending::AsConfigured, Ending::Reload]), Some(Ending::AsConfigured));
        assert_eq!(told(&[Ending::AsConfigured, Ending::Restart]), Some(Ending::AsConfigured));
    }
}
