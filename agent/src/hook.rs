//! Hooks: the operator's commands that start, stop and mend the service.
//!
//! `promote` runs when the node becomes the holder, `demote` when it must serve no more, `recover` when a check
//! of the service is bad. A hook is told the
//! cluster, the epoch, the reason and the addresses in its environment, has a time limit, and gives back all
//! that a person needs to see why it failed. What a failure means for the lease is not decided here.
//!
//! A hook may name a unit of systemd instead of a command. Then `systemctl` starts or stops it, and the hook has succeeded only if the
//! unit is active, or inactive, afterwards.
//!
//! What a promote hook leaves running must not keep the hook's output open: the agent stops reading when the
//! hook ends, and a process that writes to an output nobody reads is ended by the kernel.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::ids::{ClusterName, Epoch};
use baton_protocol::time::BootTime;
use tokio::process::Command;

use crate::check;
use crate::clock;
use crate::command::{self, End, Finished, Starter};
use crate::config::{self, Act};
use crate::deadman::{DeadManError, Teller};
use crate::log::chain;
use crate::machine::systemctl;

/// A unit is looked at for so long at least, however late its job has ended: a look takes some milliseconds.
const LOOK_LEAST: Duration = Duration::from_millis(500);

/// Which way a hook leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Start the service.
    Promote,
    /// Stop the service.
    Demote,
    /// Mend it where it runs.
    Recover,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Recover => "recover",
        })
    }
}

/// What a hook is told, each in a variable of its environment.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// `BATON_CLUSTER`.
    pub cluster: ClusterName,
    /// `BATON_EPOCH`.
    pub epoch: Epoch,
    /// `BATON_REASON`: one word or a short sentence.
    pub reason: String,
    /// `BATON_ADDRESSES`: the cluster's Elastic IPs, separated by commas.
    pub addresses: Vec<Ipv4Addr>,
}

/// Why a hook could not be run to an end that says something.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The command did not start.
    #[error("could not start the {direction} hook `{command}`; see that it exists and may be executed")]
    Start {
        /// The hook.
        direction: Direction,
        /// Its first word.
        command: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The command was started and lost sight of; its group was killed.
    #[error("lost sight of the {direction} hook; its process group was killed")]
    Watch {
        /// The hook.
        direction: Direction,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// How a hook went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// The hook.
    pub direction: Direction,
    /// How the command ended.
    pub end: End,
    /// How long it ran.
    pub duration: Duration,
    /// The last 4 KB of its output.
    pub output: String,
    /// Of a unit that is not as it should be although it was told: how it is.
    pub astray: Option<String>,
}

impl HookResult {
    /// Whether the hook did what it is for: exit code 0, and the unit is as it should be.
    pub fn succeeded(&self) -> bool {
        self.end == End::Exited(0) && self.astray.is_none()
    }

    /// How it went, with the last line of its output, where commands put the reason.
    pub fn in_words(&self) -> String {
        let last = self.output.lines().rev().map(str::trim).find(|line| !line.is_empty());
        last.map_or_else(|| self.to_string(), |line| format!("{self}: {line}"))
    }
}

impl fmt::Display for HookResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, end, duration, .. } = self;
        let ms = duration.as_millis();
        match end {
            End::Exited(0) if self.astray.is_some() => {
                let how = self.astray.as_deref().unwrap_or_default();
                write!(f, "{direction} hook ended after {ms} ms, and its unit is {how}")
            }
            End::Exited(0) => write!(f, "{direction} hook succeeded after {ms} ms"),
            End::Exited(code) => write!(f, "{direction} hook failed with exit code {code} after {ms} ms"),
            End::Signalled(signal) => {
                write!(f, "{direction} hook was ended by signal {signal} after {ms} ms")
            }
            End::TimedOut { gone: true } => {
                write!(f, "{direction} hook had not ended after {ms} ms and was killed with its group")
            }
            End::TimedOut { gone: false } => write!(
                f,
                "{direction} hook had not ended after {ms} ms, was killed with its group, and is still there"
            ),
        }
    }
}

/// A running hook. Dropping it, or the future of [`Running::finish`], kills the hook's process group.
#[derive(Debug)]
pub struct Running {
    direction: Direction,
    command: command::Running,
    unit: Option<Unit>,
}

/// A unit that was told to start or to stop.
#[derive(Debug)]
struct Unit {
    systemctl: PathBuf,
    name: String,
    /// By when it must be as it should be.
    due: BootTime,
}

/// Starts a hook, from here on up to its timeout, on a thread of its own: a disk that is loaded or hangs must not keep the loop
/// from a heartbeat. The future ends once the hook runs, or has not started in time. Dropping it ends the start.
/// Called within a runtime. `watch` is told of the hook before anybody else is.
pub fn start(
    starter: &Starter,
    watch: Option<Watch>,
    direction: Direction,
    hook: &config::Hook,
    circumstances: &Circumstances,
) -> impl Future<Output = Result<Running, HookError>> + Send + use<> {
    start_by(starter, watch, systemctl(), direction, hook, circumstances)
}

fn start_by(
    starter: &Starter,
    watch: Option<Watch>,
    systemctl: Option<PathBuf>,
    direction: Direction,
    hook: &config::Hook,
    circumstances: &Circumstances,
) -> impl Future<Output = Result<Running, HookError>> + Send + use<> {
    let timeout = hook.timeout;
    let prepared = prepare(systemctl, direction, hook, circumstances)
        .map(|(command, program, unit)| (watched(starter, command, timeout, watch), program, unit));
    async move {
        let (starting, program, unit) = prepared?;
        let command = starting.await.map_err(|source| not_started(direction, &program, source))?;
        Ok(Running { direction, command, unit })
    }
}

/// Who is to know of a hook that may start something, so that it does not outlast the validity.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Tells the dead-man.
    pub teller: Teller,
    /// Whether a hook that the dead-man cannot be told of is killed.
    pub is_needed: bool,
}

fn watched(
    starter: &Starter,
    command: Command,
    timeout: Duration,
    watch: Option<Watch>,
) -> impl Future<Output = io::Result<command::Running>> + Send + use<> {
    let told = watch.clone();
    let begun = move |group| match told.map(|watch| (watch.teller.name(group), watch.is_needed)) {
        // Another driver may guard by now what this hook would start.
        Some((Err(error @ DeadManError::Closed), _)) | Some((Err(error), true)) => {
            Err(io::Error::other(error))
        }
        Some((Err(error), false)) => {
            tracing::warn!(reason = chain(&error), "the dead-man does not know of this hook");
            Ok(())
        }
        Some((Ok(()), _)) | None => Ok(()),
    };
    let late = move |group| {
        if let Some(Err(error)) = watch.map(|watch| watch.teller.take_back(group)) {
            tracing::warn!(reason = chain(&error), "the dead-man still names a hook that was killed");
        }
    };
    starter.start_with(command, timeout, begun, late)
}

fn not_started(direction: Direction, program: &Path, source: io::Error) -> HookError {
    HookError::Start { direction, command: program.display().to_string(), source }
}

/// The command of a hook with its environment, what it runs, and the unit that is looked at afterwards.
fn prepare(
    systemctl: Option<PathBuf>,
    direction: Direction,
    hook: &config::Hook,
    circumstances: &Circumstances,
) -> Result<(Command, PathBuf, Option<Unit>), HookError> {
    let due = clock::boot() + hook.timeout;
    let (mut command, program, unit) = match &hook.act {
        Act::Command(line) => {
            let mut command = Command::new(&line.program);
            command.args(&line.arguments);
            (command, line.program.clone(), None)
        }
        Act::Unit(name) => {
            let missing = || not_started(direction, Path::new("systemctl"), io::ErrorKind::NotFound.into());
            let systemctl = systemctl.ok_or_else(missing)?;
            let mut command = Command::new(&systemctl);
            let verb = if direction == Direction::Demote { "stop" } else { "start" };
            command.args([verb, "--", name]);
            (command, systemctl.clone(), Some(Unit { systemctl, name: name.clone(), due }))
        }
    };
    let addresses: Vec<String> = circumstances.addresses.iter().map(ToString::to_string).collect();
    command
        .current_dir("/")
        .env("BATON_CLUSTER", circumstances.cluster.as_str())
        .env("BATON_EPOCH", circumstances.epoch.to_string())
        .env("BATON_REASON", &circumstances.reason)
        .env("BATON_ADDRESSES", addresses.join(","));
    Ok((command, program, unit))
}

impl Running {
    /// The hook's process group, for the dead-man: a promote hook must not go on once validity has ended.
    pub fn group(&self) -> i32 {
        self.command.group()
    }

    /// Waits for the hook's end or its timeout.
    pub async fn finish(self) -> Result<HookResult, HookError> {
        let direction = self.direction;
        let finished = self.command.finish().await;
        let Finished { end, duration, output } =
            finished.map_err(|source| HookError::Watch { direction, source })?;
        let mut result = HookResult { direction, end, duration, output, astray: None };
        if let Some(unit) = self.unit.filter(|_| end == End::Exited(0)) {
            let asked = clock::boot();
            result.astray = unit.astray(direction == Direction::Promote).await;
            result.duration += clock::boot().since(asked);
        }
        Ok(result)
    }
}

impl Unit {
    /// How the unit is, unless it is as it should be: a job that has ended says nothing of a service that has crashed at once,
    /// nor of one that systemd starts again by itself.
    async fn astray(&self, wanted_active: bool) -> Option<String> {
        let left = self.due.since(clock::boot()).max(LOOK_LEAST);
        let tried = check::unit_is_active(&self.systemctl, &self.name, left).await;
        let stopped = ["inactive (", "failed ("].iter().any(|begin| tried.reason.starts_with(begin));
        let as_it_should_be = if wanted_active { tried.success } else { stopped };
        (!as_it_should_be).then_some(tried.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::{eventually, executable, is_alive};

    fn hook(script: &str, timeout_ms: u64) -> config::Hook {
        let arguments = ["-c", script].map(str::to_owned).to_vec();
        config::Hook {
            act: Act::Command(config::CommandLine { program: "/bin/sh".into(), arguments }),
            timeout: Duration::from_millis(timeout_ms),
        }
    }

    fn circumstances() -> Circumstances {
        Circumstances {
            cluster: ClusterName::new("orders").expect("valid"),
            epoch: Epoch(7),
            reason: "takeover".to_owned(),
            addresses: vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)],
        }
    }

    async fn run(script: &str, timeout_ms: u64) -> HookResult {
        let running =
            start(&Starter::default(), None, Direction::Promote, &hook(script, timeout_ms), &circumstances());
        running.await.expect("started").finish().await.expect("watched")
    }

    #[tokio::test]
    async fn a_hook_is_told_its_circumstances() {
        let result = run("echo $BATON_CLUSTER $BATON_EPOCH $BATON_REASON $BATON_ADDRESSES; pwd", 5_000).await;
        assert!(result.succeeded(), "{result}");
        assert_eq!(result.output, "orders 7 takeover 192.0.2.1,192.0.2.2\n/");
    }

    #[tokio::test]
    async fn a_failure_carries_the_exit_code_and_both_outputs() {
        let result = run("echo one; echo two >&2; exit 3", 5_000).await;
        assert_eq!(result.end, End::Exited(3));
        assert_eq!(result.output, "one\ntwo");
        assert!(result.in_words().ends_with(" ms: two"), "{}", result.in_words());
        assert!(result.to_string().starts_with("promote hook failed with exit code 3 after "), "{result}");
    }

    #[tokio::test]
    async fn of_a_long_output_the_end_is_kept() {
        let result = run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done", 20_000).await;
        assert!(result.output.len() <= 4096 && result.output.ends_with("line 2999"), "{}", result.output);
    }

    #[tokio::test]
    async fn a_timeout_kills_the_children_too() {
        // A machine that stands still until the time is up, or until nobody waits any more for the end, shows nothing: once more.
        let mut last = None;
        for _ in 0..5 {
            let result = run("sleep 600 & echo $!; wait", 1_500).await;
            let shows = result.end == End::TimedOut { gone: true } && !result.output.is_empty();
            last = Some(result);
            if shows {
                break;
            }
        }
        let result = last.expect("tried");
        assert_eq!(result.end, End::TimedOut { gone: true });
        assert!(result.duration >= Duration::from_millis(1_500), "{result}");
        let child: i32 = result.output.trim().parse().expect("an id");
        eventually("the child is gone", || !is_alive(child)).await;
    }

    #[tokio::test]
    async fn a_hook_that_leaves_a_service_behind_ends_with_its_own_exit() {
        let result = run("sleep 600 & echo $!", 20_000).await;
        assert!(result.succeeded(), "{result}");
        let service: i32 = result.output.trim().parse().expect("an id");
        assert!(is_alive(service));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(service), nix::sys::signal::SIGKILL).expect("ours");
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_group_and_leaves_no_zombie() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("child");
        let script = format!("sleep 600 & echo $! > {0}.next; mv {0}.next {0}; wait", path.display());
        let running =
            start(&Starter::default(), None, Direction::Demote, &hook(&script, 600_000), &circumstances())
                .await
                .expect("started");
        let group = running.group();
        let finish = tokio::spawn(running.finish());
        eventually("the hook's child runs", || path.exists()).await;
        let child: i32 = std::fs::read_to_string(&path).expect("read").trim().parse().expect("an id");
        finish.abort();
        eventually("both are gone", || !is_alive(child)).await;
        // The shell is a child of this process: its entry only goes away when it has been waited for.
        eventually("nothing is left to reap", || !Path::new(&format!("/proc/{group}")).exists()).await;
    }

    #[tokio::test]
    async fn a_missing_command_is_an_error_that_names_it() {
        let mut missing = hook("", 1_000);
        let program = "/nonexistent/promote".into();
        missing.act = Act::Command(config::CommandLine { program, arguments: Vec::new() });
        let error = start(&Starter::default(), None, Direction::Promote, &missing, &circumstances())
            .await
            .expect_err("not there");
        assert!(error.to_string().contains("`/nonexistent/promote`"), "{error}");
    }

    #[tokio::test]
    async fn a_hook_ended_by_a_signal_says_which() {
        assert_eq!(run("kill -9 $$", 5_000).await.end, End::Signalled(9));
    }

    /// A systemctl that keeps what it was told to do in a file, and answers with the state that is written in another.
    fn pretender(place: &Path, state: &str) -> PathBuf {
        let (path, told) = (place.join("systemctl"), place.join("told"));
        let text = format!(
            "#!/bin/sh\necho \"$*\" >> {}\n[ \"$1\" = show ] || exit 0\nprintf 'LoadState=loaded\\n{state}'\n",
            told.display()
        );
        executable(&path, &text)
    }

    async fn unit(place: &Path, direction: Direction, state: &str) -> (HookResult, String) {
        let hook =
            config::Hook { act: Act::Unit("haproxy.service".to_owned()), timeout: Duration::from_secs(20) };
        let systemctl = Some(pretender(place, state));
        let running = start_by(&Starter::default(), None, systemctl, direction, &hook, &circumstances())
            .await
            .expect("started");
        let result = running.finish().await.expect("watched");
        let told = std::fs::read_to_string(place.join("told")).expect("told");
        std::fs::remove_file(place.join("told")).expect("ours");
        (result, told)
    }

    #[tokio::test]
    async fn a_unit_is_started_and_stopped_and_looked_at_afterwards() {
        let place = tempfile::tempdir().expect("a directory");
        let look = "show --property=LoadState,ActiveState,SubState -- haproxy.service\n";
        let active = "ActiveState=active\\nSubState=running\\n";
        let (result, told) = unit(place.path(), Direction::Promote, active).await;
        assert!(result.succeeded(), "{result}");
        assert_eq!(told, format!("start -- haproxy.service\n{look}"));
        for stopped in ["ActiveState=inactive\\nSubState=dead\\n", "ActiveState=failed\\nSubState=failed\\n"]
        {
            let (result, told) = unit(place.path(), Direction::Demote, stopped).await;
            assert!(result.succeeded(), "{result}");
            assert_eq!(told, format!("stop -- haproxy.service\n{look}"));
        }
    }

    #[tokio::test]
    async fn a_unit_that_is_not_as_it_should_be_is_a_failure_though_its_job_has_ended() {
        let place = tempfile::tempdir().expect("a directory");
        let dead = "ActiveState=failed\\nSubState=failed\\n";
        let (result, _) = unit(place.path(), Direction::Promote, dead).await;
        assert!(!result.succeeded());
        assert!(result.to_string().ends_with(" ms, and its unit is failed (failed)"), "{result}");
        for running in [
            "ActiveState=active\\nSubState=running\\n",
            "ActiveState=activating\\nSubState=auto-restart\\n",
            "",
        ] {
            let (result, _) = unit(place.path(), Direction::Demote, running).await;
            assert!(!result.succeeded(), "{running}");
        }
    }
}
