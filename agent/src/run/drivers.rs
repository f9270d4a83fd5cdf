//! The drivers of one agent, one for each cluster: started, ended, and replaced where the configuration has changed.
//!
//! A configuration that was read again is put in force by ending the drivers of the clusters that it changes, as a restart of
//! the agent ends them all: each leaves its service to the run that follows, which adopts it. The others are not
//! touched. A cluster that is not configured any more is ended as its `shutdown` says, since nobody follows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use baton_client::{Bus, SdkConfig};
use baton_protocol::ids::ClusterName;
use baton_store::DynamoStore;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument;

use super::{Failure, Surroundings};
use crate::config::{Cluster, Config};
use crate::driver::{self, DriverError, Ended, Ending, Parts};
use crate::log::{self, chain};
use crate::status::socket::{Desk, QUESTIONS_MOST};
use crate::watchdog::Watchdog;
use crate::{file, notify, packet_fence};

/// The drivers that run, and the configuration that is to be in force.
pub(super) struct Drivers {
    surroundings: Surroundings,
    config: Config,
    /// One for the machine, so its clusters share it.
    watchdog: Option<Watchdog>,
    running: JoinSet<(ClusterName, Result<Ended, DriverError>)>,
    lines: BTreeMap<ClusterName, Line>,
    /// The removals of fences, beside the loop. A driver that makes one begins after the removal of the same.
    removals: BTreeMap<ClusterName, JoinHandle<()>>,
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
    /// The cluster's driver could not begin.
    #[error("could not make the directory {} of the cluster `{cluster}`: {reason}; see that it may be made, or name another \
             `runtime-directory`", directory.display())]
    NoDirectory {
        /// The cluster, which is new.
        cluster: ClusterName,
        /// Its directory.
        directory: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The agent ends.
    #[error("the agent is about to end")]
    Ending,
}

impl Drivers {
    /// Starts a driver for each cluster.
    pub(super) fn start(config: Config, surroundings: Surroundings, desk: Desk) -> Self {
        let (running, lines, removals) = (JoinSet::new(), BTreeMap::new(), BTreeMap::new());
        let watchdog = Watchdog::new(&config.watchdog);
        let mut drivers =
            Self { surroundings, config, watchdog, running, lines, removals, desk, ending: false };
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
        let removal = cluster.fence.as_ref().and_then(|_| self.removals.remove(&name));
        let parts = Parts {
            instance: identity.instance.clone(),
            cluster,
            store: store(sdk, &self.config),
            wakes: Bus::new(sdk, self.config.bus.clone()),
            metadata: metadata.clone(),
            watchdog: self.watchdog.clone(),
            boot_id: boot_id.clone(),
        };
        let drive = async move {
            if let Some(removal) = removal {
                // It has told of its failure itself.
                let _ = removal.await;
            }
            (name, driver::drive(parts, stopping, asked).await)
        };
        self.running.spawn(drive.instrument(span));
    }

    /// The end of everything: `None` once no driver runs any more, an error if one has ended by itself. Cancel-safe: a driver's
    /// end stays in the set until it is taken.
    pub(super) async fn next_end(&mut self) -> Option<Result<(), Failure>> {
        let (name, ended) = match self.running.join_next().await? {
            Ok((name, Ok(ended))) => (name, ended),
            Ok((_, Err(error))) => return Some(Err(self.fail(error.into()))),
            Err(error) => return Some(Err(self.fail(error.into()))),
        };
        self.desk.remove(&name);
        let Some(line) = self.lines.remove(&name) else { return Some(Ok(())) };
        let followed = self.config.clusters.iter().find(|cluster| cluster.name == name).cloned();
        match followed.filter(|_| !self.ending) {
            Some(cluster) => {
                tracing::info!(%name, "the cluster goes on with the configuration that was read again");
                if line.cluster.fence.is_some() && cluster.fence.is_none() {
                    self.remove_fence(&name);
                }
                self.begin(cluster);
            }
            None if is_owed(ended.heard, *line.stop.borrow()) => {
                tracing::info!(%name, "the word to end came after the one to go on; the cluster is run once more for it");
                self.begin(line.cluster);
                self.lines.get(&name).iter().for_each(|line| tell(&line.stop, Ending::AsConfigured));
            }
            None if is_stray(&line.cluster, ended, self.ending) => self.remove_fence(&name),
            None => {}
        }
        Some(Ok(()))
    }

    /// One driver has failed, and the agent ends with it: what the others have left counts down for nobody.
    fn fail(&self, error: Failure) -> Failure {
        if let Some(Err(error)) = self.watchdog.as_ref().map(Watchdog::abandon) {
            tracing::error!(reason = chain(&error), "the watchdog may reset the machine");
        }
        error
    }

    /// The fence of a cluster that has none any more would stay closed for ever. Beside the loop, since whoever else changes
    /// tables is waited for.
    fn remove_fence(&mut self, name: &ClusterName) {
        let of = name.clone();
        let removal = tokio::task::spawn_blocking(move || match packet_fence::remove_of(&of) {
            Ok(()) => {
                tracing::info!(name = %of, "removed the packet fence, which is not configured any more")
            }
            Err(error) => {
                tracing::error!(name = %of, reason = chain(&error), "the packet fence may still stand");
            }
        });
        self.removals.insert(name.clone(), removal);
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
            ("imds", config.imds != before.imds),
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
        let new = config.clusters.iter().filter(|cluster| !self.lines.contains_key(&cluster.name));
        make_directories(new)?;
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
            self.begin(cluster);
            changed += 1;
        }
        Ok(changed)
    }
}

/// A driver without its directory would fail, and the agent with it.
fn make_directories<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> Result<(), Unfit> {
    for Cluster { name, directory, .. } in clusters {
        file::make_directory(directory).map_err(|error| Unfit::NoDirectory {
            cluster: name.clone(),
            directory: directory.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

/// Whether a driver that has ended for another configuration was told too late to end for good.
fn is_owed(heard: Option<Ending>, told: Option<Ending>) -> bool {
    heard == Some(Ending::Reload) && told == Some(Ending::AsConfigured)
}

/// Whether the fence of a cluster without a driver is to go. One whose service goes on stands behind it, and so it does where
/// another run of the agent follows.
fn is_stray(cluster: &Cluster, ended: Ended, ending: bool) -> bool {
    cluster.fence.is_some() && !ended.leaves_service && !ending
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

    fn clusters(text: &str) -> Vec<Cluster> {
        crate::config::parse("agent.toml", text).expect("valid").clusters
    }

    #[test]
    fn a_cluster_whose_directory_cannot_be_made_is_refused() {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("file"), "").expect("written");
        let text = |name: &str| {
            format!("[cluster.a]\nruntime-directory = \"{}\"\n", place.path().join(name).display())
        };
        let refused =
            make_directories(clusters(&text("file/run")).iter()).expect_err("a file is no directory");
        assert!(
            matches!(&refused, Unfit::NoDirectory { cluster, .. } if cluster.as_str() == "a"),
            "{refused}"
        );
        assert!(refused.to_string().contains("/file/run"), "{refused}");
        let new = clusters(&text("there/run"));
        assert_eq!(make_directories(new.iter()), Ok(()));
        assert!(new[0].directory.is_dir());
    }

    #[test]
    fn only_a_driver_that_goes_on_for_another_owes_the_end_that_it_was_told_of_too_late() {
        use Ending::{AsConfigured, Reload, Restart};
        assert!(is_owed(Some(Reload), Some(AsConfigured)));
        for (heard, told) in
            [(Reload, Reload), (Reload, Restart), (AsConfigured, AsConfigured), (Restart, AsConfigured)]
        {
            assert!(!is_owed(Some(heard), Some(told)), "{heard:?} {told:?}");
        }
    }

    #[test]
    fn a_fence_goes_with_the_last_that_stood_behind_it() {
        let fenced = clusters("[cluster.a.fence]\ntcp = [80]\n[cluster.b]\n");
        let ended = |leaves_service| Ended { heard: Some(Ending::AsConfigured), leaves_service };
        assert!(is_stray(&fenced[0], ended(false), false));
        assert!(!is_stray(&fenced[0], ended(true), false), "its service goes on under the dead-man");
        assert!(!is_stray(&fenced[0], ended(false), true), "another run follows");
        assert!(!is_stray(&fenced[1], ended(false), false), "there is none");
    }
}
