//! Starts of commands beside the agent's loop: where the file system hangs that a program lies on, the kernel does not come back
//! from starting it, and the loop must not wait for that.
//!
//! Between the making of a process and the moment at which its program is there, the process bears the name of the thread that
//! makes it, and runs nothing of the operator's. SIGKILL ends it before it ever does: the kernel acts on that signal before a
//! process returns to its program, however late it gets there. So a start that nobody wants any more is ended by its name, and
//! one that has been sent the signal counts as ended, even where the disk still holds it.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use tokio::process::Command;
use tokio::sync::{oneshot, watch};

use super::{Running, start};
use crate::clock::Timer;
use crate::deadman::target::{Process, processes};

/// How the name of each thread that starts something begins. The kernel keeps 15 bytes of a name, so three follow.
const THREAD: &str = "baton-start-";

/// Makes the names differ. Of more starts than that at once, each is in a hung file system of its own.
static STARTS: AtomicU64 = AtomicU64::new(0);
const STARTS_MOST: u64 = 0x1000;

/// From one look for the process of a start to the next.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Starts a command again and again, each time on a thread of its own. While one start has not come back there is no other, since
/// two threads in one hung file system would be one too many.
#[derive(Debug, Clone, Default)]
pub struct Starter(Arc<watch::Sender<Option<Out>>>);

/// A start that has not come back.
#[derive(Debug)]
struct Out {
    /// Of all starts of this program, which it is.
    number: u64,
    /// Whether nobody waits for it any more.
    is_given_up: bool,
    /// Whether its process was sent SIGKILL, so that it never runs its program, or no longer.
    is_killed: bool,
}

/// The thread's own end of the start of this number; dropped once it has come back, or where there was no thread for it.
struct Busy(Starter, u64);

impl Busy {
    /// Tells what has come of the start, which is under way no longer: in one step, so that whoever hears of it may start the next.
    /// Returns what nobody hears of any more; that start is under way until it has been ended.
    fn tell(
        &self,
        started: io::Result<Running>,
        to: oneshot::Sender<io::Result<Running>>,
    ) -> Option<io::Result<Running>> {
        let mut unheard = None;
        self.0.0.send_if_modified(|out| {
            unheard = to.send(started).err();
            // Nobody else ends it, so that it is this one which is under way.
            unheard.is_none() && out.take().is_some()
        });
        unheard
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // The next one may be under way already.
        self.0.0.send_if_modified(|out| out.take_if(|out| out.number == self.1).is_some());
    }
}

/// The other end; a start that has not come back when this is dropped is given up.
struct Wanted {
    starter: Starter,
    has_come_back: bool,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if !self.has_come_back {
            self.starter.give_up();
        }
    }
}

impl Starter {
    /// Starts `command` as [`start`] does, from this call on. The future ends once it runs, or `timeout` has passed. A start
    /// that nobody waits for any more is ended, and what starts nevertheless is killed. Called within a runtime.
    pub fn start(
        &self,
        command: Command,
        timeout: Duration,
    ) -> impl Future<Output = io::Result<Running>> + Send + use<> {
        self.start_with(command, timeout, |_| Ok(()), |_| ())
    }

    /// The same, with a word with its group as soon as it runs, on the thread that has started it; an error kills it. `late` is told
    /// the group of one that was killed since nobody waited for it any more.
    pub fn start_with<B, L>(
        &self,
        command: Command,
        timeout: Duration,
        begun: B,
        late: L,
    ) -> impl Future<Output = io::Result<Running>> + Send + use<B, L>
    where
        B: FnOnce(i32) -> io::Result<()> + Send + 'static,
        L: FnOnce(i32) + Send + 'static,
    {
        let this = self.clone();
        let start = move || {
            let running = start(command, timeout)?;
            this.wanted()?;
            begun(running.group())?;
            Ok(running)
        };
        self.start_by(timeout, start, late)
    }

    /// The same by other means.
    pub(crate) fn start_by<F, L>(
        &self,
        timeout: Duration,
        start: F,
        late: L,
    ) -> impl Future<Output = io::Result<Running>> + Send + use<F, L>
    where
        F: FnOnce() -> io::Result<Running> + Send + 'static,
        L: FnOnce(i32) + Send + 'static,
    {
        let begun = self.begin(timeout, start, late);
        async move {
            let (limit, told, mut wanted) = begun?;
            tokio::select! {
                started = told => {
                    wanted.has_come_back = true;
                    started.unwrap_or_else(|_| Err(io::Error::other("its start was lost sight of")))
                }
                expired = limit.expired() => {
                    expired?;
                    let why = "it did not start in time; see whether the file system that it lies on hangs";
                    Err(io::Error::new(io::ErrorKind::TimedOut, why))
                }
            }
        }
    }

    fn begin(
        &self,
        timeout: Duration,
        start: impl FnOnce() -> io::Result<Running> + Send + 'static,
        late: impl FnOnce(i32) + Send + 'static,
    ) -> io::Result<(Timer, oneshot::Receiver<io::Result<Running>>, Wanted)> {
        let number = STARTS.fetch_add(1, Ordering::Relaxed);
        let out = Out { number, is_given_up: false, is_killed: false };
        if !self.0.send_if_modified(|before| before.is_none() && before.replace(out).is_none()) {
            let why =
                "an earlier start of it has not come back; see whether the file system that it lies on hangs";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        let busy = Busy(self.clone(), number);
        let limit = Timer::after(timeout)?;
        let (tell, told) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let this = self.clone();
        // A plain thread, because a runtime would wait for its own at the end, and a hung disk would keep the agent from ending.
        std::thread::Builder::new().name(name_of(number)).spawn(move || {
            let _entered = runtime.enter();
            let started = this.wanted().and_then(|()| start());
            if let Some(Ok(running)) = busy.tell(started, tell) {
                let group = running.group();
                drop(running);
                late(group);
            }
            drop(busy);
        })?;
        Ok((limit, told, Wanted { starter: self.clone(), has_come_back: false }))
    }

    /// Whether the start that is under way is still to be made.
    fn wanted(&self) -> io::Result<()> {
        if self.0.borrow().as_ref().is_some_and(|out| out.is_given_up) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody waits for it any more"));
        }
        Ok(())
    }

    /// Nobody waits any more for the start that is under way, if one is: its process is looked for and ended.
    fn give_up(&self) {
        let is_out = self.0.send_if_modified(|out| match out {
            Some(out) => !std::mem::replace(&mut out.is_given_up, true),
            None => false,
        });
        // Without a runtime the agent ends, and so do its starts.
        if let (true, Ok(runtime)) = (is_out, tokio::runtime::Handle::try_current()) {
            runtime.spawn(self.clone().pursue());
        }
    }

    /// Looks for the process of a start that was given up until it was killed, or the start has come back. Its thread may not have
    /// made it yet.
    async fn pursue(self) {
        loop {
            let number = self.0.borrow().as_ref().filter(|out| out.is_given_up).map(|out| out.number);
            let Some(number) = number else { return };
            let (own, name) = (getpid().as_raw(), name_of(number));
            let is_it = move |process: &Process| process.parent == own && process.name == name;
            // A look takes milliseconds where there are many processes.
            let killed = tokio::task::spawn_blocking(move || end(is_it)).await;
            if killed.is_ok_and(|killed| killed > 0) {
                // The next one may be under way already.
                self.0.send_if_modified(|out| {
                    let out = out.as_mut().filter(|out| out.number == number);
                    out.is_some_and(|out| !std::mem::replace(&mut out.is_killed, true))
                });
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a start has not come back.
    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until no start is under way, other than one whose process was killed. One that somebody waits for is waited for too.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        async move {
            let mut out = this.0.subscribe();
            // The sender lives as long as this future, so that there is no error.
            let _ = out.wait_for(|out| out.as_ref().is_none_or(|out| out.is_killed)).await;
        }
    }
}

/// Of the thread of a start, and of its process while that has no program.
fn name_of(number: u64) -> String {
    format!("{THREAD}{:03x}", number % STARTS_MOST)
}

/// Ends every start of this process that is under way; how many there were. To be called when it ends, because a start outlives it.
pub fn end_own() -> usize {
    let own = getpid().as_raw();
    end(|process| process.parent == own && process.name.starts_with(THREAD))
}

/// Ends what earlier runs of this program were starting when they were killed; how many there were. Nobody would limit it,
/// and nobody would know of it.
pub fn end_orphans() -> usize {
    let Some(own) = program(getpid().as_raw()) else { return 0 };
    // One whose parent runs the same program is under way in another agent of this machine.
    let is_orphan = |process: &Process| {
        process.name.starts_with(THREAD)
            && program(process.pid).as_ref() == Some(&own)
            && program(process.parent).as_ref() != Some(&own)
    };
    end(is_orphan)
}

/// Sends SIGKILL to processes; how many there were.
fn end(is_one: impl Fn(&Process) -> bool) -> usize {
    let ended = processes().into_iter().filter(|process| {
        // It may have got its program since it was looked at, and that may have made more.
        let whom = if process.group == process.pid { -process.pid } else { process.pid };
        is_one(process) && kill(Pid::from_raw(whom), Signal::SIGKILL).is_ok()
    });
    ended.count()
}

/// Where a process's program lies. One that has been replaced since counts as the same.
fn program(pid: i32) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn whoever_hears_of_a_start_may_begin_the_next_at_once() {
        let starter = Starter::default();
        for _ in 0..2_000 {
            let refused = || Err(io::Error::other("on purpose"));
            let start = starter.start_by(Duration::from_secs(20), refused, |_| ());
            // Looked at without a pause, since waking up would take longer than what the thread has left to do.
            let mut start = pin!(tokio::task::unconstrained(start));
            let heard = loop {
                match start.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(heard) => break heard.expect_err("refused"),
                    Poll::Pending => std::hint::spin_loop(),
                }
            };
            assert_eq!(heard.to_string(), "on purpose");
        }
    }
}
