//! The watchdog of the kernel: resets the machine where nothing else has stopped the service in time.
//!
//! The dead-man and the packet fence need a kernel that turns. A watchdog of the hardware does not, and `softdog` needs no more of it
//! than its timers. Once open it counts down from its timeout, and each time it is fed it begins anew; at zero the machine is reset.
//!
//! It is fed by the loop of the driver alone, and only while, for each cluster that is guarded here, a full countdown from now
//! ends before the moment by which the service has to be down: the end of validity and D
//! ([`Timing::stop_within`](baton_protocol::timing::Timing::stop_within)). So the machine is reset by then at the latest, unless
//! the service is down and the watchdog was closed in order. For each confirmed heartbeat to be able to feed it, the
//! timeout must be no longer than the validity and D less the time that the heartbeat and the read after it may take ([`longest`]).
//!
//! The timeout is not set here: that takes an `ioctl`, which takes `unsafe`. It is a parameter of `softdog`, and is read back
//! from sysfs, as is whether the watchdog can be closed again. There is one for the machine, so the drivers of all clusters share it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_protocol::ids::ClusterName;
use baton_protocol::time::BootTime;
use baton_protocol::timing::Timing;

use crate::config::{Need, Watchdog as Configured};

/// Where the kernel tells about its watchdogs.
const CLASS: &str = "/sys/class/watchdog";
/// `WDIOF_MAGICCLOSE` of `linux/watchdog.h`.
const MAGIC_CLOSE: u32 = 0x0100;
/// What `softdog` calls itself; it can be closed.
const SOFTDOG: &str = "Software Watchdog";
/// So often it is fed within one countdown.
const FEEDS: u32 = 4;
/// And once more so long before the last moment at which it may be, so that it resets the machine no earlier than it has to.
const LAST_FEED: Duration = Duration::from_millis(20);

/// Why the watchdog cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// The device or what the kernel tells of it cannot be used.
    #[error(
        "could not {action} `{}`; load a watchdog (`modprobe softdog`), and give the unit the device \
         (/usr/share/doc/baton-agent/watchdog.conf)", path.display()
    )]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel tells something else than expected.
    #[error("expected {expected} in `{}`, found `{found}`", path.display())]
    Told {
        /// What was expected.
        expected: &'static str,
        /// Where.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// It would go on counting after an orderly end.
    #[error(
        "the watchdog cannot be closed again (`nowayout`, or no magic close), and would reset the machine after a hand-over; load it without `nowayout`"
    )]
    NoWayOut,
    /// It would reset the machine too late.
    #[error(
        "the watchdog counts down from {found} s, expected at most {longest} s by this cluster's timing; \
         `options softdog soft_margin={longest}` in /etc/modprobe.d"
    )]
    TooLong {
        /// The timeout found.
        found: u64,
        /// The longest that fits; zero: none does.
        longest: u64,
    },
}

impl WatchdogError {
    /// Whether this machine has none at all.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The watchdog of this machine, for all its clusters.
#[derive(Debug, Clone)]
pub struct Watchdog(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    device: PathBuf,
    /// What the kernel tells of it.
    told: PathBuf,
    required: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// When each guarded cluster's service has to be down.
    due: BTreeMap<ClusterName, BootTime>,
}

#[derive(Debug)]
struct Open {
    device: File,
    timeout: Duration,
    fed: BootTime,
}

impl Watchdog {
    /// The one that is configured, if any is. Opens nothing.
    pub fn new(configured: &Configured) -> Option<Self> {
        let name = configured.device.file_name()?.to_string_lossy().into_owned();
        // The first of them has a second name, which sysfs does not know.
        let name = if name == "watchdog" { "watchdog0".to_owned() } else { name };
        let required = match configured.need {
            Need::Off => return None,
            Need::Automatic => false,
            Need::Required => true,
        };
        Some(Self::at(&configured.device, &Path::new(CLASS).join(name), required))
    }

    /// This device, of which the kernel tells in this directory.
    pub fn at(device: &Path, told: &Path, required: bool) -> Self {
        let (device, told) = (device.to_owned(), told.to_owned());
        Self(Arc::new(Kept { device, told, required, state: Mutex::default() }))
    }

    /// Whether a node without it must not serve.
    pub fn is_required(&self) -> bool {
        self.0.required
    }

    /// From here on the machine is reset unless this cluster's service is down, or confirmed anew, by `valid_until` and D.
    pub fn arm(
        &self,
        cluster: &ClusterName,
        timing: &Timing,
        valid_until: BootTime,
        now: BootTime,
    ) -> Result<(), WatchdogError> {
        let mut state = self.state();
        if state.open.is_none() {
            let timeout = self.usable_timeout(timing)?;
            let device = OpenOptions::new().append(true).open(&self.0.device);
            let device = device.map_err(|source| self.failed("open", &self.0.device, source))?;
            state.open = Some(Open { device, timeout, fed: now });
        } else if let Some(open) = &state.open {
            fits(open.timeout, timing)?;
        }
        state.due.insert(cluster.clone(), valid_until + timing.stop_within());
        self.feed_if_allowed(&mut state, now)
    }

    /// Feeds it if that is due and allowed; when the next time is.
    pub fn feed(&self, now: BootTime) -> Result<Option<BootTime>, WatchdogError> {
        let mut state = self.state();
        let Some(open) = &state.open else { return Ok(None) };
        let pace = open.timeout / FEEDS;
        let before = u64::try_from((open.timeout + LAST_FEED).as_nanos()).unwrap_or(u64::MAX);
        let last = state.due.values().min().map(|due| BootTime(due.0.saturating_sub(before)));
        if now >= open.fed + pace || last.is_some_and(|last| open.fed < last && now >= last) {
            self.feed_if_allowed(&mut state, now)?;
        }
        // Where it may not be fed, it may be again once another cluster needs it no more.
        let next = |open: &Open| if now < open.fed + pace { open.fed + pace } else { now + pace };
        let last = last.filter(|last| now < *last);
        Ok(state.open.as_ref().map(next).map(|next| last.map_or(next, |last| next.min(last))))
    }

    /// This cluster's service is down, or left to its dead-man. With the last one the watchdog is closed, in order.
    pub fn disarm(&self, cluster: &ClusterName) -> Result<(), WatchdogError> {
        let mut state = self.state();
        state.due.remove(cluster);
        if state.due.is_empty() { self.close(&mut state) } else { Ok(()) }
    }

    /// The agent ends without order: every service is left to its dead-man, and it is closed, so that a machine whose leases are
    /// confirmed is not reset for want of an agent.
    pub fn abandon(&self) -> Result<(), WatchdogError> {
        let mut state = self.state();
        state.due.clear();
        self.close(&mut state)
    }

    fn close(&self, state: &mut State) -> Result<(), WatchdogError> {
        let Some(mut open) = state.open.take() else { return Ok(()) };
        // The magic close: without this letter it would go on counting.
        open.device.write_all(b"V").map_err(|source| self.failed("close", &self.0.device, source))
    }

    fn feed_if_allowed(&self, state: &mut State, now: BootTime) -> Result<(), WatchdogError> {
        let Some(open) = &mut state.open else { return Ok(()) };
        if state.due.values().any(|due| now + open.timeout > *due) {
            return Ok(());
        }
        open.device.write_all(b"1").map_err(|source| self.failed("feed", &self.0.device, source))?;
        open.fed = now;
        Ok(())
    }

    /// Its timeout, if it may be opened at all: what has no way back must not be begun.
    fn usable_timeout(&self, timing: &Timing) -> Result<Duration, WatchdogError> {
        let nowayout = self.ask("nowayout", "0 or 1", |text| text.parse::<u8>().ok())?;
        if nowayout != 0 || !self.can_be_closed()? {
            return Err(WatchdogError::NoWayOut);
        }
        let timeout = self.ask("timeout", "seconds", |text| text.parse().ok())?;
        let timeout = Duration::from_secs(timeout);
        fits(timeout, timing)?;
        Ok(timeout)
    }

    /// Linux tells the options since 6.5 or so. Before that only the name is known, and one that is known to have what is needed.
    fn can_be_closed(&self) -> Result<bool, WatchdogError> {
        let options = self.ask("options", "a number such as 0x8180", |text| {
            u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
        });
        match options {
            Err(WatchdogError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.ask("identity", "a name", |text| Some(text == SOFTDOG))
            }
            options => Ok(options? & MAGIC_CLOSE != 0),
        }
    }

    fn ask<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, WatchdogError> {
        let path = self.0.told.join(name);
        let text = std::fs::read_to_string(&path).map_err(|source| self.failed("read", &path, source))?;
        let found = text.trim().chars().take(40).collect::<String>();
        read(&found).ok_or(WatchdogError::Told { expected, path, found })
    }

    fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> WatchdogError {
        WatchdogError::File { action, path: path.to_owned(), source }
    }

    /// A panic while it was held leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest timeout, in whole seconds, with which each confirmed heartbeat may feed the watchdog, and with which the machine
/// is reset by the end of validity and D.
pub fn longest(timing: &Timing) -> u64 {
    let until_down = timing.validity() + timing.stop_within();
    until_down.saturating_sub(timing.attempt_timeout() * 2).as_secs()
}

fn fits(timeout: Duration, timing: &Timing) -> Result<(), WatchdogError> {
    let (found, longest) = (timeout.as_secs(), longest(timing));
    if found == 0 || found > longest { Err(WatchdogError::TooLong { found, longest }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in place of the device: what is written to it is what the kernel would be told.
    struct Double(tempfile::TempDir);

    impl Double {
        fn new(timeout: &str, nowayout: &str, options: &str) -> Self {
            let place = tempfile::tempdir().expect("a directory");
            let given = [("device", ""), ("timeout", timeout), ("nowayout", nowayout), ("options", options)];
            for (name, text) in given {
                std::fs::write(place.path().join(name), text).expect("written");
            }
            Self(place)
        }

        fn usual(timeout: &str) -> Self {
            Self::new(timeout, "0\n", "0x8180\n")
        }

        fn watchdog(&self) -> Watchdog {
            Watchdog::at(&self.0.path().join("device"), self.0.path(), true)
        }

        fn told(&self) -> String {
            std::fs::read_to_string(self.0.path().join("device")).expect("there")
        }
    }

    fn cluster(name: &str) -> ClusterName {
        ClusterName::new(name).expect("valid")
    }

    fn at(ms: u64) -> BootTime {
        BootTime(ms * 1_000_000)
    }

    #[test]
    fn the_longest_timeout_lets_each_heartbeat_feed_it_and_resets_the_machine_in_time() {
        assert_eq!((longest(&Timing::DEFAULT), longest(&Timing::FAST)), (3, 1));
    }

    /// Validity ends at 4 s and the service is to be down at 4.75 s: the last countdown of 3 s begins at 1.75 s.
    #[test]
    fn it_is_fed_only_while_a_countdown_ends_before_the_service_has_to_be_down() {
        let double = Double::usual("3\n");
        let watchdog = double.watchdog();
        watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(100)).expect("armed");
        assert_eq!(double.told(), "1");
        assert_eq!(watchdog.feed(at(200)).expect("fed"), Some(at(850)), "a quarter of it later");
        assert_eq!(double.told(), "1", "not due yet");
        watchdog.feed(at(1_750)).expect("fed");
        assert_eq!(double.told(), "11");
        for now in [1_751, 2_500, 3_999, 4_000, 4_800] {
            watchdog.feed(at(now)).expect("not fed");
        }
        assert_eq!(double.told(), "11", "the machine would be reset at 4.75 s");
        // A heartbeat of 1 s was confirmed at its last moment.
        watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(5_000), at(2_400)).expect("armed");
        assert_eq!(double.told(), "111");
        watchdog.disarm(&cluster("a")).expect("closed");
        assert_eq!(double.told(), "111V");
        assert_eq!(watchdog.feed(at(9_000)).expect("nothing to feed"), None);
    }

    #[test]
    fn it_is_fed_just_before_the_last_moment_at_which_it_may_be() {
        let double = Double::usual("3");
        let watchdog = double.watchdog();
        watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(100)).expect("armed");
        assert_eq!(
            watchdog.feed(at(1_600)).expect("fed"),
            Some(at(1_730)),
            "and not at 2.35 s, when it may not be"
        );
        assert_eq!(watchdog.feed(at(1_729)).expect("not due"), Some(at(1_730)));
        assert_eq!(double.told(), "11");
        assert_eq!(watchdog.feed(at(1_730)).expect("fed"), Some(at(2_480)));
        watchdog.feed(at(1_740)).expect("not due");
        assert_eq!(double.told(), "111");
    }

    #[test]
    fn one_cluster_that_is_not_confirmed_starves_it_for_all() {
        let double = Double::usual("3");
        let watchdog = double.watchdog();
        watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(0)).expect("armed");
        watchdog.arm(&cluster("b"), &Timing::DEFAULT, at(9_000), at(500)).expect("armed");
        assert_eq!(double.told(), "11");
        watchdog.arm(&cluster("b"), &Timing::DEFAULT, at(10_000), at(2_000)).expect("armed");
        assert_eq!(double.told(), "11", "the other one's service has to be down by 4.75 s");
        watchdog.disarm(&cluster("a")).expect("it is");
        assert_eq!(double.told(), "11", "and it is not closed while one is guarded");
        watchdog.feed(at(2_800)).expect("fed");
        watchdog.disarm(&cluster("b")).expect("closed");
        assert_eq!(double.told(), "111V");
    }

    #[test]
    fn an_agent_that_ends_without_order_leaves_it_closed_whoever_was_guarded() {
        let double = Double::usual("3");
        let watchdog = double.watchdog();
        watchdog.abandon().expect("nothing was opened");
        assert_eq!(double.told(), "");
        watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(0)).expect("armed");
        watchdog.arm(&cluster("b"), &Timing::DEFAULT, at(4_000), at(0)).expect("armed");
        watchdog.abandon().expect("closed");
        assert_eq!(double.told(), "11V");
        assert_eq!(watchdog.feed(at(900)).expect("nothing to feed"), None);
    }

    #[test]
    fn one_that_would_be_too_late_or_could_not_be_closed_is_never_opened() {
        for (timeout, nowayout, options) in [
            ("4", "0", "0x8180"),
            ("60", "0", "0x8180"),
            ("0", "0", "0x8180"),
            ("3", "1", "0x8180"),
            ("3", "0", "0x8080"),
            ("x", "0", "0x8180"),
            ("3", "", "0x8180"),
            ("3", "0", "?"),
        ] {
            let double = Double::new(timeout, nowayout, options);
            let refused = double.watchdog().arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(0));
            assert!(refused.is_err() && double.told().is_empty(), "{timeout} {nowayout} {options}");
        }
        let double = Double::usual("2");
        let watchdog = double.watchdog();
        watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(0)).expect("armed");
        let refused = watchdog.arm(&cluster("b"), &Timing::FAST, at(2_500), at(0));
        assert!(matches!(refused, Err(WatchdogError::TooLong { found: 2, longest: 1 })), "{refused:?}");
    }

    #[test]
    fn where_the_kernel_tells_no_options_softdog_is_known_by_its_name() {
        let double = Double::usual("3");
        std::fs::remove_file(double.0.path().join("options")).expect("there");
        let arm = || double.watchdog().arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(0));
        assert!(matches!(arm(), Err(WatchdogError::File { .. })), "neither options nor a name");
        for (name, fits) in [("iTCO_wdt\n", false), ("Software Watchdog\n", true)] {
            std::fs::write(double.0.path().join("identity"), name).expect("written");
            assert_eq!((arm().is_ok(), double.told().is_empty()), (fits, !fits), "{name}");
        }
    }

    #[test]
    fn one_that_is_not_there_says_what_to_load() {
        let place = tempfile::tempdir().expect("a directory");
        let watchdog = Watchdog::at(&place.path().join("none"), place.path(), false);
        let refused = watchdog.arm(&cluster("a"), &Timing::DEFAULT, at(4_000), at(0)).expect_err("not there");
        assert!(refused.to_string().contains("modprobe softdog"), "{refused}");
        watchdog.disarm(&cluster("a")).expect("nothing was opened");
    }
}
