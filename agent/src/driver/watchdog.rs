//! The kernel's watchdog, as the loop sees to it: it is armed with the dead-man, fed by each turn of this loop that it is due in,
//! and closed when the service is down, or left to its dead-man by an agent that ends in order.

use baton_protocol::ids::ClusterName;
use baton_protocol::time::BootTime;
use baton_protocol::timing::Timing;

use super::Driver;
use super::troubles::About;
use crate::clock;
use crate::log::chain;
use crate::watchdog::{Watchdog, WatchdogError};

/// The watchdog of the machine, on behalf of one cluster.
#[derive(Debug)]
pub(super) struct Guard {
    watchdog: Option<Watchdog>,
    cluster: ClusterName,
    /// When the loop is to feed it next.
    pub(super) due: Option<BootTime>,
    told: Option<String>,
    /// Why one that this machine has stands behind nothing, though the service may run without one.
    misfit: Option<String>,
}

impl Guard {
    pub(super) fn new(watchdog: Option<Watchdog>, cluster: ClusterName) -> Self {
        Self { watchdog, cluster, due: None, told: None, misfit: None }
    }

    /// Arms it; the error says why the service must not run.
    pub(super) fn arm(&mut self, timing: &Timing, valid_until: BootTime) -> Result<(), String> {
        let Some(watchdog) = &self.watchdog else { return Ok(()) };
        let now = clock::boot();
        let armed = watchdog.arm(&self.cluster, timing, valid_until, now).and_then(|()| watchdog.feed(now));
        let required = watchdog.is_required();
        match armed {
            Ok(due) => {
                if self.due.is_none() {
                    tracing::info!("the watchdog counts, and is fed while the lease is confirmed");
                }
                (self.due, self.told, self.misfit) = (due, None, None);
                Ok(())
            }
            Err(error) if required => Err(chain(&error)),
            Err(error) => {
                self.tell(&error);
                self.misfit = (!error.is_absence()).then(|| chain(&error));
                // What was told last would count on behind a lease that is confirmed, and starve it for the other clusters.
                self.disarm();
                Ok(())
            }
        }
    }

    /// Feeds it, where that is due.
    pub(super) fn feed(&mut self) {
        let (Some(watchdog), Some(due)) = (&self.watchdog, self.due) else { return };
        let now = clock::boot();
        if now < due {
            return;
        }
        match watchdog.feed(now) {
            Ok(due) => self.due = due,
            // It counts on, and resets the machine unless this ends.
            Err(error) => self.tell(&error),
        }
    }

    pub(super) fn disarm(&mut self) {
        let Some(watchdog) = &self.watchdog else { return };
        self.due = None;
        if let Err(error) = watchdog.disarm(&self.cluster) {
            self.tell(&error);
        }
    }

    fn tell(&mut self, error: &WatchdogError) {
        let reason = chain(error);
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(reason, "no watchdog stands behind the service; the dead-man does");
            self.told = Some(reason);
        }
    }
}

impl Driver {
    /// Arms the watchdog; the error says why the service must not run.
    pub(super) fn watch_until(&mut self, timing: &Timing, valid_until: BootTime) -> Result<(), String> {
        let armed = self.guard.arm(timing, valid_until);
        // One that the machine has and that stands behind nothing is a slip in its setting up, though nothing depends on it.
        let missed = armed.clone().and_then(|()| self.guard.misfit.clone().map_or(Ok(()), Err));
        self.desk.note(About::Watchdog, &missed);
        armed
    }

    /// What the table says of the time that the service may take to stop, or what is usual before that was read.
    pub(super) fn timing(&self) -> Timing {
        self.node.lease().map_or(Timing::DEFAULT, |lease| lease.timing)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// A file in place of the device, which counts down from 3 s.
    fn double(place: &Path, required: bool) -> Watchdog {
        for (name, text) in [("device", ""), ("timeout", "3"), ("nowayout", "0"), ("options", "0x8180")] {
            std::fs::write(place.join(name), text).expect("written");
        }
        Watchdog::at(&place.join("device"), place, required)
    }

    fn guard(watchdog: &Watchdog, cluster: &str) -> Guard {
        Guard::new(Some(watchdog.clone()), ClusterName::new(cluster).expect("valid"))
    }

    #[test]
    fn a_timing_that_it_does_not_fit_any_more_leaves_it_to_the_clusters_that_it_fits() {
        let place = tempfile::tempdir().expect("a directory");
        let watchdog = double(place.path(), false);
        let told = || std::fs::read_to_string(place.path().join("device")).expect("there");
        let (mut one, mut other) = (guard(&watchdog, "one"), guard(&watchdog, "other"));
        let until = || clock::boot() + Duration::from_secs(600);
        one.arm(&Timing::DEFAULT, clock::boot() + Duration::from_secs(4)).expect("armed");
        other.arm(&Timing::DEFAULT, until()).expect("armed");
        assert!(one.due.is_some());
        one.arm(&Timing::FAST, until()).expect("it is not required");
        assert_eq!(one.due, None, "the loop feeds it for this cluster no more");
        let later = clock::boot() + Duration::from_secs(5);
        let fed = told();
        watchdog.feed(later).expect("fed");
        assert_eq!(told(), format!("{fed}1"), "what the one was to be down by starves the other no more");
        other.arm(&Timing::FAST, until()).expect("it is not required");
        assert!(told().ends_with("1V"), "and with the last it is closed: {}", told());
        // Where it is required, it counts until the service is down.
        let watchdog = double(place.path(), true);
        let mut one = guard(&watchdog, "one");
        one.arm(&Timing::DEFAULT, until()).expect("armed");
        assert!(one.arm(&Timing::FAST, until()).is_err());
        assert!(one.due.is_some() && !told().contains('V'), "{}", told());
    }
}
