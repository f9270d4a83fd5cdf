//! What is killed, and nothing beside it.
//!
//! A service is found through its pid file or its control group. A pid file is a weak witness: it may outlive
//! its process, and the number may have been given to another since. So the process must live, and it must
//! not be a minute younger than the file that names it. Within that minute, and whenever the wall clock was
//! set forward by more, the doubt is resolved as all doubts are here: not stopping the service is the worse
//! error.
//!
//! With a pid file, what is killed is the process, its process group and its descendants; with a control
//! group, all that is in it. Never process 0 or 1, never this process, never its own group. A supervisor that
//! starts the service again by itself works against this, so the service's unit must not restart it
//! (`Restart=no`).

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use baton_protocol::time::BootTime;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, getpgrp, getpid, sysconf};
use serde::{Deserialize, Serialize};

use crate::{clock, config};

/// The service, as a dead-man finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The process whose id stands in this file.
    PidFile(PathBuf),
    /// Everything in this control group.
    Cgroup(PathBuf),
}

impl From<&config::Service> for Target {
    fn from(service: &config::Service) -> Self {
        match service {
            config::Service::PidFile(path) => Self::PidFile(path.clone()),
            config::Service::Cgroup(path) => Self::Cgroup(path.clone()),
        }
    }
}

impl Target {
    /// The arguments that hand this to the dead-man's program.
    pub(super) fn as_arguments(&self) -> (&'static str, &Path) {
        match self {
            Self::PidFile(path) => ("--pid-file", path),
            Self::Cgroup(path) => ("--cgroup", path),
        }
    }

    pub(super) fn from_arguments(flag: &str, path: &Path) -> Option<Self> {
        match flag {
            "--pid-file" => Some(Self::PidFile(path.to_owned())),
            "--cgroup" => Some(Self::Cgroup(path.to_owned())),
            _ => None,
        }
    }
}

/// How much younger than its pid file a process must be to count as another's.
const AGE_MARGIN: Duration = Duration::from_secs(60);

/// Killing is repeated until two looks in a row find nothing, at most this often.
const PASSES_MOST: u32 = 100;
/// So many looks, of those, may find something before what comes then no longer waits: 250 ms, within the shortest D.
const PASSES_BEFORE_THEN: u32 = 25;
/// From one look to the next. SIGKILL takes effect within a few milliseconds unless a process is stuck in the
/// kernel.
const PASS_PAUSE: Duration = Duration::from_millis(10);
/// How deep a control group may be nested before it is no longer followed.
const CGROUP_DEPTH_MOST: u32 = 16;

/// What became of an attempt to stop the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Whether two looks in a row found nothing left to kill.
    pub complete: bool,
    /// How many signals and control groups it took.
    pub killed: u32,
    /// What stood in the way, and what was left alone on purpose; each once.
    pub remarks: Vec<String>,
}

impl Stopped {
    fn remark(&mut self, remark: String) {
        if self.remarks.len() < 8 && !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.complete { "nothing is left" } else { "something may be left" };
        write!(f, "{verdict} after {} kills", self.killed)?;
        for remark in &self.remarks {
            write!(f, "; {remark}")?;
        }
        Ok(())
    }
}

/// Kills the service and the hook's group, at once and until nothing is left. Blocks for a second at most.
pub fn stop(target: &Target, hook_group: Option<i32>) -> Stopped {
    stop_and(target, hook_group, || {})
}

/// The same, and something else once: as soon as a look finds nothing, or else after a quarter of a second.
pub(super) fn stop_and(target: &Target, hook_group: Option<i32>, then: impl FnOnce()) -> Stopped {
    let mut then = Some(then);
    let mut stopped = Stopped::default();
    let mut clean = 0;
    for pass in 0..PASSES_MOST {
        let mut found = 0;
        if let Some(group) = hook_group {
            found += kill_group(group, &mut stopped);
        }
        found += match target {
            Target::PidFile(path) => kill_named(path, &mut stopped),
            Target::Cgroup(path) => kill_cgroup(path, &mut stopped),
        };
        stopped.killed += found;
        clean = if found == 0 { clean + 1 } else { 0 };
        if let Some(then) = then.take_if(|_| clean > 0 || pass == PASSES_BEFORE_THEN) {
            then();
        }
        if clean == 2 {
            stopped.complete = true;
            break;
        }
        if let Err(error) = clock::block_until(clock::boot() + PASS_PAUSE) {
            stopped.remark(format!("could not wait: {error}"));
        }
    }
    stopped
}

/// Whether stopping the target would stop this very process. Such a target cannot be guarded.
pub(super) fn holds_this_process(target: &Target) -> bool {
    let Target::Cgroup(path) = target else { return false };
    let mut members = Vec::new();
    collect_members(path, 0, &mut members);
    members.contains(&getpid().as_raw())
}

/// Kills the process that the file names, its group and its descendants; how many there were.
fn kill_named(path: &Path, stopped: &mut Stopped) -> u32 {
    let pid = match named_process(path) {
        Ok(Some(pid)) => pid,
        Ok(None) => return 0,
        Err(remark) => {
            stopped.remark(remark);
            return 0;
        }
    };
    let processes = processes();
    let Some(leader) = processes.iter().find(|p| p.pid == pid) else { return 0 };
    // Gathered before the first signal: an orphan's parent is no longer who it was.
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(
            processes
                .iter()
                .filter(|p| p.parent == parent && !family.contains(&p.pid))
                .map(|p| p.pid)
                .collect::<Vec<_>>(),
        );
        next += 1;
    }
    let group = if leader.group == getpgrp().as_raw() {
        stopped.remark(format!("process {pid} shares this process's group, which was spared"));
        0
    } else {
        kill_group(leader.group, stopped)
    };
    let singles: u32 = family.into_iter().map(|pid| kill_process(pid, stopped)).sum();
    group.max(singles)
}

/// The living process that the file names; none if the file is gone or its process dead.
fn named_process(path: &Path) -> Result<Option<i32>, String> {
    let shown = path.display();
    let text = match crate::file::read_if_there(path) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(None),
        Err(error) => return Err(format!("could not read `{shown}`: {error}")),
    };
    // Some daemons write more lines than one; the first holds the process id.
    let first = text.lines().next().unwrap_or_default().trim();
    let pid: i32 = match first.parse() {
        Ok(pid) if pid > 1 => pid,
        _ => {
            let found: String = first.chars().take(20).collect();
            return Err(format!("expected a process id above 1 in `{shown}`, found `{found}`"));
        }
    };
    if pid == getpid().as_raw() {
        return Err(format!("`{shown}` names the process that should kill"));
    }
    let Some(process) = process(pid) else { return Ok(None) };
    let written = fs::metadata(path).and_then(|file| file.modified()).ok();
    let file_age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
    let process_age = clock::boot().since(process.started);
    if file_age.is_some_and(|file_age| process_age + AGE_MARGIN < file_age) {
        return Err(format!("process {pid} is younger than `{shown}`, so it is another one, and was spared"));
    }
    Ok(Some(pid))
}

/// Kills everything in a control group; how many processes there were.
fn kill_cgroup(path: &Path, stopped: &mut Stopped) -> u32 {
    let mut members = Vec::new();
    collect_members(path, 0, &mut members);
    if members.is_empty() {
        return 0;
    }
    if members.contains(&getpid().as_raw()) {
        stopped.remark(format!("`{}` holds the process that should kill", path.display()));
    } else {
        // One write kills the whole tree, forks in flight included. Kernels before 5.14 have no such file.
        match fs::OpenOptions::new().write(true).open(path.join("cgroup.kill")) {
            Ok(mut file) => match io::Write::write_all(&mut file, b"1") {
                Ok(()) => return u32::try_from(members.len()).unwrap_or(u32::MAX),
                Err(error) => stopped.remark(format!("could not write `cgroup.kill`: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => stopped.remark(format!("could not open `cgroup.kill`: {error}")),
        }
    }
    members.into_iter().map(|pid| kill_process(pid, stopped)).sum()
}

/// The living processes of a control group and those below it.
fn collect_members(path: &Path, depth: u32, members: &mut Vec<i32>) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let living = |pid: &i32| process(*pid).is_some();
    members.extend(text.lines().filter_map(|line| line.trim().parse().ok()).filter(living));
    if depth == CGROUP_DEPTH_MOST {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_members(&entry.path(), depth + 1, members);
        }
    }
}

/// Kills a process group, unless it is one that must be spared; one if there was somebody in it.
fn kill_group(group: i32, stopped: &mut Stopped) -> u32 {
    if group <= 1 || group == getpgrp().as_raw() {
        stopped.remark(format!("process group {group} was spared"));
        return 0;
    }
    // A group of zombies answers signals until somebody waits for them, which is not ours to do.
    if !processes().iter().any(|p| p.group == group) {
        return 0;
    }
    signal(Pid::from_raw(-group), stopped)
}

fn kill_process(pid: i32, stopped: &mut Stopped) -> u32 {
    if pid <= 1 || pid == getpid().as_raw() || process(pid).is_none() {
        return 0;
    }
    signal(Pid::from_raw(pid), stopped)
}

fn signal(pid: Pid, stopped: &mut Stopped) -> u32 {
    match kill(pid, Signal::SIGKILL) {
        Ok(()) => 1,
        Err(Errno::ESRCH) => 0,
        Err(errno) => {
            stopped.remark(format!("could not kill {pid}: {errno}"));
            1
        }
    }
}

/// A process as the kernel describes it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    started: BootTime,
    /// That of the program, or of the thread that made it while it has no program yet.
    pub(crate) name: String,
}

/// All living processes.
pub(crate) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids =
        entries.filter_map(|entry| std::str::from_utf8(entry.file_name().as_bytes()).ok()?.parse().ok());
    pids.filter_map(process).collect()
}

/// A process, if it lives; a zombie does not.
fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in brackets and may hold anything, brackets and spaces included.
    let (begin, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let name = begin.split_once('(')?.1.to_owned();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let ticks: u64 = fields.get(19)?.parse().ok()?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|n| u64::try_from(n).ok())?;
    let started = BootTime(ticks.checked_mul(1_000_000_000 / per_second.max(1))?);
    let (parent, group) = (fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?);
    Some(Process { pid, parent, group, started, name })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn read_pid(path: &Path) -> Option<i32> {
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    #[test]
    fn what_comes_then_comes_when_the_service_has_ended() {
        let has_ended = (0..5).any(|_| {
            let (complete, alive, after) = alive_then();
            // It comes after a quarter of all passes as well. Where the service has no turn to die until then: once more.
            assert!(!alive || after >= PASS_PAUSE * PASSES_BEFORE_THEN, "it lives at {after:?}");
            complete && !alive
        });
        assert!(has_ended);
    }

    /// Whether a service was ended in whole, whether it lived at what comes then, and how long it took to that.
    fn alive_then() -> (bool, bool, Duration) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("pid");
        let mut service = Command::new("sleep").arg("600").process_group(0).spawn().expect("a service");
        let pid = i32::try_from(service.id()).expect("an id");
        fs::write(&path, pid.to_string()).expect("written");
        let (begun, mut then) = (clock::boot(), Vec::new());
        let look = || then.push((clock::boot().since(begun), process(pid).is_some()));
        let stopped = stop_and(&Target::PidFile(path), None, look);
        service.wait().expect("ours");
        let [(after, alive)] = then[..] else { panic!("{then:?}") };
        (stopped.complete, alive, after)
    }

    #[test]
    fn what_comes_then_does_not_wait_for_what_does_not_end() {
        // It comes after a quarter of all passes. A machine that stands still just then shows nothing: once more.
        let early = (0..5).any(|_| {
            let (then, whole, complete) = then_and_whole();
            assert!(then < whole, "{then:?} of {whole:?}");
            complete || then * 2 < whole
        });
        assert!(early);
    }

    /// How long it took to what comes then, and in all, for a service that somebody starts again and again; and whether it ended.
    fn then_and_whole() -> (Duration, Duration, bool) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("pid");
        // Somebody starts it again whenever it ends, each time with another group.
        let again = format!(
            "while :; do setsid sleep 600 & echo $! > {0}.next; mv {0}.next {0}; wait; done",
            path.display()
        );
        let mut supervisor =
            Command::new("/bin/sh").args(["-c", &again]).process_group(0).spawn().expect("a shell");
        while read_pid(&path).is_none() {
            clock::block_until(clock::boot() + PASS_PAUSE).expect("a timer");
        }
        let begun = clock::boot();
        let mut then = Vec::new();
        let stopped =
            stop_and(&Target::PidFile(path.clone()), None, || then.push(clock::boot().since(begun)));
        let whole = clock::boot().since(begun);
        supervisor.kill().expect("ours");
        supervisor.wait().expect("ours");
        stop(&Target::PidFile(path), None);
        let [then] = then[..] else { panic!("{then:?}") };
        (then, whole, stopped.complete)
    }
}
