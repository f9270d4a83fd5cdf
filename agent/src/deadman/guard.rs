//! The dead-man's own process: wait for the end of validity, and then kill.
//!
//! It is as small as it can be: one thread, no runtime, no network, memory locked, real-time priority where
//! that is permitted, deaf to every signal that can be blocked. It reads the validity at least twice a
//! second, so it also notices soon that it is no longer needed.

use std::ffi::OsString;
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
use crate::config::Vip;
use crate::{clock, file, vip};

/// From one look at the validity to the next, while it lasts.
const LOOK: Duration = Duration::from_millis(500);

/// A validity that cannot be understood is read this often before it counts as expired.
const READS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(10);

/// An agent that tries the lock holds it for a moment, so a starting dead-man tries for longer than that.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The argument after which the virtual addresses come: their interface, and each of them.
pub(super) const VIP: &str = "--vip";

/// A removal of the virtual addresses that fails is tried again, at most this often.
const LOWERS: u32 = 3;

/// The whole program: `baton-deadman DIRECTORY --pid-file PATH | --cgroup PATH [--vip INTERFACE ADDRESS...]`. Exit code 0:
/// disarmed, or another one guards; 1: fired; 2: wrong usage; 3: it cannot guard.
pub fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    let Some((paths, known)) = parse(&arguments) else {
        say("usage: baton-deadman DIRECTORY --pid-file PATH | --cgroup PATH [--vip INTERFACE ADDRESS...]; \
             started by baton-agent");
        return ExitCode::from(2);
    };
    match guard(&paths, known) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("cannot guard {}: {error}", paths.directory().display()));
            ExitCode::from(3)
        }
    }
}

fn parse(arguments: &[OsString]) -> Option<(Paths, Known)> {
    let [directory, flag, path, rest @ ..] = arguments else { return None };
    let target = Target::from_arguments(flag.to_str()?, Path::new(path))?;
    let vip = match rest {
        [] => None,
        [flag, interface, addresses @ ..] if flag.to_str() == Some(VIP) => {
            let addresses = addresses.iter().map(|address| address.to_str()?.parse().ok());
            Some(Vip {
                interface: interface.to_str()?.to_owned(),
                addresses: addresses.collect::<Option<_>>()?,
            })
        }
        _ => return None,
    };
    let known = Known { target, epoch: None, hook_group: None, vip };
    (!directory.as_bytes().is_empty()).then(|| (Paths::new(Path::new(directory)), known))
}

fn guard(paths: &Paths, mut known: Known) -> io::Result<ExitCode> {
    detach()?;
    harden();
    let boot_id = file::boot_id()?;
    let Some(mut lock) = take_lock(paths)? else {
        answer("held");
        return Ok(ExitCode::SUCCESS);
    };
    if target::holds_this_process(&known.target) {
        let reason = "the service's control group holds the dead-man itself";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    answer("ready");
    // From here on there is no way out but being disarmed or firing: whatever fails, fires.
    loop {
        let validity = match read_patiently(paths, &boot_id) {
            Ok(validity) => validity,
            Err(why) => return Ok(fire(paths, &known, why)),
        };
        let Validity { armed, epoch, valid_until, hook_group, target, vip, .. } = validity;
        known = Known { target, epoch: Some(epoch), hook_group, vip };
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
    vip: Option<Vip>,
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
    // The addresses go once the service has: what it has open is closed under its address, so clients are told. And no kill
    // waits for the kernel, where others may be busy with the network. Nor do they wait for long for a process that is stuck.
    let mut lowered = None;
    let stopped =
        target::stop_and(&known.target, known.hook_group, || lowered = known.vip.as_ref().map(lower));
    let outcome = match lowered {
        None => stopped.to_string(),
        Some(lowered) => format!("{stopped}; {lowered}"),
    };
    say(&format!("stopped the service of {}: {}; {outcome}", paths.directory().display(), fired.why));
    fired.outcome = Some(outcome);
    mark(paths, &fired);
    ExitCode::FAILURE
}

/// Removes the virtual addresses; in words, what came of it.
fn lower(vip: &Vip) -> String {
    let mut lowered = vip::lower(vip);
    for _ in 1..LOWERS {
        if lowered.is_ok() {
            break;
        }
        pause(READ_PAUSE);
        lowered = vip::lower(vip);
    }
    match lowered {
        Ok(none) if none.is_empty() => "there were no virtual addresses".to_owned(),
        Ok(addresses) => format!("removed {}", vip::Shown(&addresses)),
        Err(error) => error.to_string(),
    }
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
