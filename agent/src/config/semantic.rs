//! The rules that types cannot say.
//!
//! Every rule records its problem and goes on, so that one run of `baton-agent validate` shows everything. A
//! value that was refused is left out of the result, which is only used when nothing was refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use baton_protocol::ids::ClusterName;
use toml::Spanned;

use super::diagnostic::{ConfigError, Problem, Source};
use super::raw::{self, Length, Words};
use super::{Check, Cluster, CommandLine, Config, Hook, Service, When};

mod act;
mod address;
mod fence;
mod probe;
mod recover;
mod vip;

/// Clusters on one node. Each has its own heartbeat, so far more would no longer beat in time.
const CLUSTERS_MOST: usize = 16;
/// Checks of one cluster.
const CHECKS_MOST: usize = 16;
/// How often a check may run, and how rarely it still makes sense.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// How long one try or one hook may take.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
/// Successes or failures in a row.
const COUNTS: RangeInclusive<u32> = 1..=100;

/// A configuration whose text was checked, with the places that further checks need.
pub(super) struct Checked {
    pub(super) value: Config,
    pub(super) programs: Vec<Spanned<PathBuf>>,
    pub(super) users: Vec<Spanned<String>>,
    /// Checks that ask something of the machine which not every machine can tell.
    pub(super) asked: Vec<Spanned<Asked>>,
}

/// What not every machine can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The state of a unit of systemd.
    Units,
    /// What waited for a CPU.
    CpuPressure,
}

/// Checks the text. An unreadable text is an error; anything else is a problem among others.
pub(super) fn check(name: &str, text: &str) -> Result<(Checked, Vec<Problem>), ConfigError> {
    let source = Source::new(name, text);
    let file: raw::File = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let problem = Problem::new(&source, span, "config::toml", error.message().to_owned())
            .help("every key is described in the example file `agent.toml`");
        ConfigError::Invalid(vec![problem])
    })?;
    let (programs, users, asked) = (Vec::new(), Vec::new(), Vec::new());
    let (virtual_addresses, fenced) = (BTreeMap::new(), BTreeMap::new());
    let problems = Vec::new();
    let mut rules = Rules { source, problems, programs, users, asked, virtual_addresses, fenced };
    let value = rules.file(file);
    let Rules { problems, programs, users, asked, .. } = rules;
    Ok((Checked { value, programs, users, asked }, problems))
}

/// The rules, with what they have found so far.
struct Rules {
    source: Source,
    problems: Vec<Problem>,
    programs: Vec<Spanned<PathBuf>>,
    users: Vec<Spanned<String>>,
    asked: Vec<Spanned<Asked>>,
    /// Those named so far, and by which cluster.
    virtual_addresses: BTreeMap<IpAddr, String>,
    /// What was fenced so far, and by which cluster.
    fenced: BTreeMap<String, String>,
}

impl Rules {
    fn refuse(
        &mut self,
        span: Range<usize>,
        code: &'static str,
        message: impl Into<String>,
        label: &'static str,
        help: impl Into<String>,
    ) {
        let problem = Problem::new(&self.source, span, code, message.into());
        self.problems.push(problem.label(label).help(help));
    }

    fn file(&mut self, file: raw::File) -> Config {
        let default = || "baton".to_owned();
        let table = file.table.map_or_else(default, |name| self.name(name, "table", 3..=255, "_.-"));
        let bus = file.bus.map_or_else(default, |name| self.name(name, "bus", 1..=256, "/_.-"));
        let region = file.region.map(|name| self.name(name, "region", 4..=32, "-"));
        let watchdog = self.watchdog(file.watchdog, file.watchdog_device);
        let metrics = file.metrics.and_then(|given| self.metrics(&given));
        let count = file.cluster.len();
        if !(1..=CLUSTERS_MOST).contains(&count) {
            self.refuse(
                0..0,
                "config::clusters",
                format!("expected 1 to {CLUSTERS_MOST} clusters, found {count}"),
                "in this file",
                "add a table `[cluster.<name>]` for each cluster this node is a member of",
            );
        }
        let clusters = file.cluster.into_iter().filter_map(|(name, raw)| self.cluster(&name, raw)).collect();
        Config { table, bus, region, imds: file.imds, watchdog, metrics, clusters }
    }

    /// A datagram that left the machine would be anybody's to read.
    fn metrics(&mut self, given: &Spanned<String>) -> Option<SocketAddr> {
        let address = given.get_ref().parse::<SocketAddr>().ok();
        let local = address.filter(|address| address.ip().is_loopback() && address.port() != 0);
        if local.is_none() {
            self.refuse(
                given.span(),
                "config::metrics",
                format!("expected an address and a port of this machine's loopback, found `{}`", given.get_ref()),
                "no CloudWatch agent listens there",
                "write `metrics = \"127.0.0.1:25888\"`, where the CloudWatch agent takes the embedded metric format",
            );
        }
        local
    }

    fn name(
        &mut self,
        given: Spanned<String>,
        what: &str,
        lengths: RangeInclusive<usize>,
        marks: &str,
    ) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
        if !lengths.contains(&given.get_ref().len()) || !given.get_ref().chars().all(plain) {
            let (least, most) = (lengths.start(), lengths.end());
            self.refuse(
                given.span(),
                "config::name",
                format!("expected a name of a {what}, found `{}`", given.get_ref()),
                "not a name AWS accepts",
                format!("use {least} to {most} letters, digits and any of `{marks}`"),
            );
        }
        given.into_inner()
    }

    fn cluster(&mut self, name: &Spanned<String>, raw: raw::Cluster) -> Option<Cluster> {
        let parsed = ClusterName::new(name.get_ref().as_str());
        if let Err(error) = &parsed {
            self.refuse(
                name.span(),
                "config::cluster-name",
                error.to_string(),
                "this name",
                "use the name under which the cluster was registered",
            );
        }
        let directory = raw.runtime_directory.map_or_else(
            || Some(PathBuf::from(super::DEFAULT_RUNTIME_DIRECTORY)),
            |path| self.path(&path, "runtime-directory"),
        );
        if let (Some(promote), None) = (&raw.hooks.promote, &raw.hooks.demote) {
            self.refuse(
                promote.span(),
                "config::hooks::demote-missing",
                "there is a promote hook and no demote hook",
                "starts what nothing stops",
                "add `demote = { command = [...], timeout = \"...\" }` that stops what this hook starts",
            );
        }
        let recover = self.recover(raw.hooks.recover, raw.hooks.recover_limit, &raw.check);
        let promote = raw.hooks.promote.map(|hook| self.hook(hook.into_inner()));
        let demote = raw.hooks.demote.map(|hook| self.hook(hook.into_inner()));
        let service = raw.service.map(|service| self.service(service));
        if raw.check.len() > CHECKS_MOST {
            let found = raw.check.len();
            self.refuse(
                name.span(),
                "config::checks",
                format!("expected at most {CHECKS_MOST} checks, found {found}"),
                "of this cluster",
                "let one script look at several things",
            );
        }
        let vip = raw.vip.and_then(|vip| self.vip(name.get_ref(), vip));
        let looks_after = vip.as_ref().map(|_| self.vip_check(&raw.check));
        let fence = raw.fence.and_then(|fence| self.fence(name.get_ref(), fence, vip.as_ref()));
        let looks_after_it = fence.as_ref().map(|_| self.fence_check(&raw.check));
        let checks = raw.check.into_iter().filter_map(|(name, check)| self.check(&name, check));
        let checks = checks.chain(looks_after).chain(looks_after_it).collect();
        let name = parsed.ok()?;
        Some(Cluster {
            directory: directory?.join(name.as_str()),
            name,
            shutdown: raw.shutdown,
            promote: promote.flatten(),
            demote: demote.flatten(),
            recover,
            service: service.flatten(),
            vip,
            fence,
            checks,
        })
    }

    fn hook(&mut self, raw: raw::Hook) -> Option<Hook> {
        let timeout = self.length(&raw.timeout, "timeout", TIMEOUTS);
        let act = self.act(&raw);
        Some(Hook { act: act?, timeout: timeout? })
    }

    fn command(&mut self, words: &Words) -> Option<CommandLine> {
        let Some((program, arguments)) = words.get_ref().split_first() else {
            self.refuse(
                words.span(),
                "config::command",
                "expected a program and its arguments, found nothing",
                "empty",
                "write `command = [\"/path/to/program\", \"argument\"]`; no shell is involved",
            );
            return None;
        };
        let path = self.path(program, "a command")?;
        self.programs.push(Spanned::new(program.span(), path.clone()));
        let arguments = arguments.iter().map(|word| word.get_ref().clone()).collect();
        Some(CommandLine { program: path, arguments })
    }

    fn path(&mut self, given: &Spanned<String>, what: &str) -> Option<PathBuf> {
        let path = PathBuf::from(given.get_ref());
        let plain = path.is_absolute() && !given.get_ref().split('/').any(|part| part == ".." || part == ".");
        if !plain {
            self.refuse(
                given.span(),
                "config::path",
                format!("expected an absolute path for {what}, found `{}`", given.get_ref()),
                "depends on where it is read from",
                "write the whole path from `/`, without `.` and `..`",
            );
        }
        plain.then_some(path)
    }

    fn length(
        &mut self,
        given: &Spanned<Length>,
        what: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let length = given.get_ref().0;
        let fits = range.contains(&length);
        if !fits {
            let (least, most) = (range.start(), range.end());
            self.refuse(
                given.span(),
                "config::duration",
                format!(
                    "expected {what} to be {} to {}, found {}",
                    shown(*least),
                    shown(*most),
                    shown(length)
                ),
                "out of range",
                "write a duration such as `\"500ms\"`, `\"10s\"` or `\"1m30s\"`",
            );
        }
        fits.then_some(length)
    }

    fn service(&mut self, raw: Spanned<raw::Service>) -> Option<Service> {
        let span = raw.span();
        match raw.into_inner() {
            raw::Service { pid_file: Some(path), cgroup: None } => {
                self.path(&path, "pid-file").map(Service::PidFile)
            }
            raw::Service { pid_file: None, cgroup: Some(path) } => {
                let parsed = self.path(&path, "cgroup")?;
                let below =
                    parsed.strip_prefix("/sys/fs/cgroup").is_ok_and(|rest| !rest.as_os_str().is_empty());
                if !below {
                    self.refuse(
                        path.span(),
                        "config::service::cgroup",
                        format!(
                            "expected a control group below `/sys/fs/cgroup`, found `{}`",
                            path.get_ref()
                        ),
                        "not a control group",
                        "for a unit of systemd: `/sys/fs/cgroup/system.slice/NAME.service`",
                    );
                }
                below.then_some(Service::Cgroup(parsed))
            }
            raw::Service { pid_file, .. } => {
                let found = if pid_file.is_some() { "both" } else { "neither" };
                self.refuse(
                    span,
                    "config::service",
                    format!("expected exactly one of `pid-file` and `cgroup`, found {found}"),
                    "of this service",
                    "`cgroup` for a unit of systemd, `pid-file` for a daemon that writes one",
                );
                None
            }
        }
    }

    fn check(&mut self, name: &Spanned<String>, raw: raw::Check) -> Option<Check> {
        let interval = match &raw.interval {
            Some(given) => self.length(given, "interval", INTERVALS),
            None => Some(Duration::from_secs(2)),
        };
        let timeout = match &raw.timeout {
            Some(given) => self.length(given, "timeout", TIMEOUTS),
            None => interval.map(|interval| interval / 2),
        };
        if let (Some(interval), Some(timeout), Some(given)) = (interval, timeout, &raw.timeout)
            && timeout >= interval
        {
            self.refuse(
                given.span(),
                "config::check::timeout",
                format!(
                    "the timeout {} is not shorter than the interval {}",
                    shown(timeout),
                    shown(interval)
                ),
                "too long",
                "one try must end before the next begins: lower `timeout` or raise `interval`",
            );
        }
        let rise = self.count(raw.rise.as_ref(), "rise", 2);
        let fall = self.count(raw.fall.as_ref(), "fall", 3);
        let when: When = raw.when;
        let probe = self.probe(name, raw);
        let name = name.get_ref().clone();
        Some(Check { name, probe: probe?, interval: interval?, timeout: timeout?, rise, fall, when })
    }

    fn count(&mut self, given: Option<&Spanned<u32>>, what: &str, default: u32) -> u32 {
        let Some(given) = given else { return default };
        if !COUNTS.contains(given.get_ref()) {
            let (least, most) = (COUNTS.start(), COUNTS.end());
            self.refuse(
                given.span(),
                "config::check::count",
                format!("expected `{what}` to be {least} to {most}, found {}", given.get_ref()),
                "out of range",
                "`rise` successes in a row make a check good, `fall` failures in a row make it bad",
            );
        }
        *given.get_ref()
    }
}

/// A duration as it would be written in the file.
fn shown(length: Duration) -> String {
    jiff::fmt::friendly::SpanPrinter::new().unsigned_duration_to_string(&length)
}
