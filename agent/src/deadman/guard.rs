//! The dead-man's own process: wait for the end of validity, and then kill.
//!
//! It is as small as it can be: one thread, no runtime, no network, memory locked, real-time priority where
//! that is permitted, deaf to every signal that can be blocked. It reads the validity at least twice a
//! second, so it also notices soon that it is no longer needed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use baton_protocol::ids::Epoch;
use baton_protocol::time::BootTime;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::signal::SigSet;
use nix::unistd::{Uid, chdir, setsid};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::target::{self, Target};
use super::{Fired, Paths, Validity, read_validity};
use crate::{clock, file};

/// From one look at the validity to the next, while it lasts.
const LOOK: Duration = Duration::from_millis(500);

/// A validity that cannot be understood is read this often before it counts as expired.
const READS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(10);

/// An agent that tries the lock holds it for a moment, so a starting dead-man tries for longer than that.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The whole program: `baton-deadman DIRECTORY --pid-file PATH | --cgroup PATH`. Exit code 0: disarmed, or
/// another one guards; 1: fired; 2: wrong usage; 3: it cannot guard.
pub fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    let parsed = match arguments.as_slice() {
        [directory, flag, path] => flag
            .to_str()
            .and_then(|flag| Target::from_arguments(flag, Path::new(path)))
            .filter(|_| !directory.as_bytes().is_empty())
            .map(|target| (Paths::new(Path::new(directory)), target)),
        _ => None,
    };
    let Some((paths, target)) = parsed else {
        say("usage: baton-deadman DIRECTORY --pid-file PATH | --cgroup PATH; started by baton-agent");
        return ExitCode::from(2);
    };
    match guard(&paths, target) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("cannot guard {}: {error}", paths.directory().display()));
            ExitCode::from(3)
        }
    }
}

fn guard(paths: &Paths, target: Target) -> io::Result<ExitCode> {
    detach()?;
    harden();
    let boot_id = file::boot_id()?;
    let Some(mut lock) = take_lock(paths)? else {
        answer("held");
        return Ok(ExitCode::SUCCESS);
    };
    if target::holds_this_process(&target) {
        let reason = "the service's control group holds the dead-man itself";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    answer("ready");
    let mut known = Known { target, epoch: None, hook_group: None };
    // From here on there is no way out but being disarmed or firing: whatever fails, fires.
    loop {
        let validity = match read_patiently(paths, &boot_id) {
            Ok(validity) => validity,
            Err(why) => return Ok(fire(paths, &known, why)),
        };
        let Validity { armed, valid_until, .. } = validity;
        known =
            Known { target: validity.target, epoch: Some(validity.epoch), hook_group: validity.hook_group };
        if !armed {
            match leave(paths, &boot_id, lock) {
                Ok(None) => return Ok(ExitCode::SUCCESS),
                Ok(Some(again)) => lock = again,
                Err(error) => return Ok(fire(paths, &known, format!("could not take the lock: {error}"))),
            }
            continue;
        }
        let now = clock::boot();
        if valid_until <= now {
            let ended = now.since(valid_until).as_millis();
            return Ok(fire(paths, &known, format!("validity had ended {ended} ms before")));
        }
        if let Err(error) = clock::block_until(valid_until.min(now + LOOK)) {
            return Ok(fire(paths, &known, format!("could not wait: {error}")));
        }
    }
}

/// What was read last, for the case that nothing can be read any more.
struct Known {
    target: Target,
    epoch: Option<Epoch>,
    hook_group: Option<i32>,
}

/// Gives up the lock and looks once more, in this order: see the introduction of the module above. The lock
/// again if an agent has armed meanwhile and no other dead-man guards for it.
fn leave(paths: &Paths, boot_id: &str, lock: Flock<File>) -> io::Result<Option<Flock<File>>> {
    drop(lock);
    match read_patiently(paths, boot_id) {
        Ok(validity) if !validity.armed => Ok(None),
        _ => take_lock(paths),
    }
}

/// Stops the service. The marker comes first, so that no agent can miss that its service is gone; a marker
/// that cannot be written stops nothing from being stopped.
fn fire(paths: &Paths, known: &Known, why: String) -> ExitCode {
    let mut fired = Fired { epoch: known.epoch, at: clock::boot(), why, outcome: None };
    mark(paths, &fired);
    let stopped = target::stop(&known.target, known.hook_group);
    fired.outcome = Some(stopped.to_string());
    mark(paths, &fired);
    say(&format!("stopped the service of {}: {}; {stopped}", paths.directory().display(), fired.why));
    ExitCode::FAILURE
}

fn mark(paths: &Paths, fired: &Fired) {
    let written = serde_json::to_vec(fired)
        .map_err(io::Error::from)
        .and_then(|text| file::replace(&paths.fired(), &text));
    if let Err(error) = written {
        say(&format!("could not write {}: {error}", paths.fired().display()));
    }
}

/// Reads the validity, several times if it cannot be understood.
fn read_patiently(paths: &Paths, boot_id: &str) -> Result<Validity, String> {
    let mut read = read_validity(paths, boot_id, clock::boot());
    for _ in 1..READS {
        if read.is_ok() {
            break;
        }
        pause(READ_PAUSE);
        read = read_validity(paths, boot_id, clock::boot());
    }
    read
}

/// The lock that says "one guards"; none if another one does.
fn take_lock(paths: &Paths) -> io::Result<Option<Flock<File>>> {
    for _ in 0..LOCK_TRIES {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW);
        match Flock::lock(options.open(paths.lock())?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // For people only, so it is no matter if it fails.
                let _ = lock.set_len(0).and_then(|()| writeln!(&*lock, "{}", std::process::id()));
                return Ok(Some(lock));
            }
            Err((_, Errno::EWOULDBLOCK)) => pause(LOCK_PAUSE),
            Err((_, errno)) => return Err(errno.into()),
        }
    }
    Ok(None)
}

/// Leaves the agent's session, group and directory, and blocks every signal that can be blocked: whoever
/// kills the agent's group, hangs up its terminal or stops it in order must not stop its dead-man.
fn detach() -> io::Result<()> {
    SigSet::all().thread_block()?;
    match setsid() {
        // EPERM: already the first of its group, started from a shell.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(chdir("/")?)
}

/// Asks the kernel for what a process needs that must not be late. None of it is certain to be permitted, and
/// a dead-man without it is still better than none.
fn harden() {
    // Locking what is still to come, without root's unlimited right to lock memory, would turn every later
    // allocation into a possible end of the process.
    let flags = if Uid::effective().is_root() {
        MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE
    } else {
        MlockAllFlags::MCL_CURRENT
    };
    if let Err(errno) = mlockall(flags) {
        say(&format!("could not lock memory: {errno}"));
    }
    // The lowest real-time priority is already above everything that is not real-time.
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        say(&format!("could not get real-time priority: {error}"));
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        say(&format!("could not get spared by the out-of-memory killer: {error}"));
    }
}

fn pause(length: Duration) {
    let until: BootTime = clock::boot() + length;
    if let Err(error) = clock::block_until(until) {
        say(&format!("could not wait: {error}"));
    }
}

/// The one word the agent waits for.
fn answer(word: &str) {
    // An agent that died meanwhile reads nothing; the dead-man guards all the same.
    let _ = writeln!(io::stdout().lock(), "{word}").and_then(|()| io::stdout().lock().flush());
}

fn say(text: &str) {
    // Nowhere else to complain if standard error is gone.
    let _ = writeln!(io::stderr().lock(), "baton-deadman: {text}");
}
