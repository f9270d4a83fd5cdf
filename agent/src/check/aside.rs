//! Looks that may block: at a file system that hangs, at a thousand processes, or at a name service.
//!
//! The agent's loop must not wait for them, or a hung disk would cost the lease. So each look has a thread of
//! its own, and a check has one at a time: while one hangs, the next try waits for the same. The threads are
//! plain ones, because a runtime would wait for its own at the end, and a hung disk would keep the agent from
//! ending.

use std::io;
use std::time::Duration;

use baton_protocol::time::BootTime;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Keepers, Try};
use crate::clock;
use crate::command::{Running, Starter};

/// The looks of one check that are under way, and what one has found for good.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// What the checks that look after something look by.
    pub(super) keepers: Keepers,
    tried: Look<Try>,
    user: Look<Result<Option<User>, Errno>>,
    account: Option<(Uid, Gid)>,
    /// What starts the commands of this check.
    starter: Starter,
}

/// A look that is under way, if one is.
#[derive(Debug)]
struct Look<T> {
    open: Option<oneshot::Receiver<T>>,
    /// Whether what it finds is of an earlier turn.
    stale: bool,
}

impl<T> Default for Look<T> {
    fn default() -> Self {
        Self { open: None, stale: false }
    }
}

impl<T: Send + 'static> Look<T> {
    /// What a look finds until `due`; the error says why nothing is known. Cancel-safe.
    async fn until(
        &mut self,
        due: BootTime,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Option<String>> {
        if self.stale {
            // Two threads in one hung file system would be one too many.
            if let Some(answer) = &mut self.open {
                let _ = timeout(due.since(clock::boot()), answer).await.map_err(|_| None)?;
            }
            (self.open, self.stale) = (None, false);
        }
        if self.open.is_none() {
            let (found, answer) = oneshot::channel();
            let thread = std::thread::Builder::new().name("baton-check".to_owned());
            // Nobody may be waiting any more, which is no business of the thread's.
            thread
                .spawn(move || drop(found.send(look())))
                .map_err(|error| Some(format!("could not look: {error}")))?;
            self.open = Some(answer);
        }
        let Some(answer) = &mut self.open else { return Err(Some("could not look".to_owned())) };
        let found = timeout(due.since(clock::boot()), answer).await.map_err(|_| None)?;
        self.open = None;
        found.map_err(|_| Some("the look ended without a word".to_owned()))
    }
}

impl Aside {
    /// A check that may look after something.
    pub(super) fn new(keepers: Keepers) -> Self {
        Self { keepers, ..Self::default() }
    }

    /// Begins another turn of the check: what an earlier one has looked at tells nothing of it.
    pub(super) fn begin_turn(&mut self) {
        self.tried.stale = self.tried.open.is_some();
    }

    /// Whom a name stands for, within `timeout`. A user who was found is kept, so that a name service which hangs later makes no
    /// check bad; one who was not may be made after the agent has started.
    pub(super) async fn account(&mut self, timeout: Duration, name: &str) -> Result<(Uid, Gid), Try> {
        if let Some(account) = self.account {
            return Ok(account);
        }
        let (asked, due) = (name.to_owned(), clock::boot() + timeout);
        let found = self.user.until(due, move || User::from_name(&asked)).await;
        match found.map_err(|why| unknown(why, timeout))? {
            Ok(Some(user)) => Ok(*self.account.insert((user.uid, user.gid))),
            Ok(None) => Err(Try::bad(format!("there is no user `{name}`"))),
            Err(error) => Err(Try::bad(format!("could not look up the user `{name}`: {error}"))),
        }
    }

    /// Starts a command. One whose start hangs is late, and no other is started until that has come back.
    pub(super) async fn start(&mut self, command: Command, timeout: Duration) -> io::Result<Running> {
        self.starter.start(command, timeout).await
    }

    /// What a look finds within `timeout`. Dropping the future leaves the look to itself.
    pub(super) async fn look(
        &mut self,
        timeout: Duration,
        look: impl FnOnce() -> Try + Send + 'static,
    ) -> Try {
        let found = self.tried.until(clock::boot() + timeout, look).await;
        found.unwrap_or_else(|why| unknown(why, timeout))
    }
}

fn unknown(why: Option<String>, timeout: Duration) -> Try {
    Try::bad(why.unwrap_or_else(|| format!("no answer within {} ms", timeout.as_millis())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::command;
    use crate::testing::{eventually, is_alive};

    #[tokio::test]
    async fn a_look_that_hangs_is_late_and_the_next_try_waits_for_the_same() {
        let (go_on, gate) = mpsc::channel::<()>();
        let begun = Arc::new(AtomicU32::new(0));
        let mut aside = Aside::default();
        let count = Arc::clone(&begun);
        let hang = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = gate.recv();
            Try::good("at last")
        };
        let late = aside.look(Duration::from_millis(20), hang).await;
        assert_eq!(late, Try::bad("no answer within 20 ms"));
        let count = Arc::clone(&begun);
        let another = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Try::good("another")
        };
        let late = aside.look(Duration::from_millis(20), another).await;
        assert_eq!(late, Try::bad("no answer within 20 ms"));
        go_on.send(()).expect("it waits");
        let found = aside.look(Duration::from_secs(20), || Try::good("a third")).await;
        assert_eq!((found, begun.load(Ordering::Relaxed)), (Try::good("at last"), 1));
        let found = aside.look(Duration::from_secs(20), || Try::good("the next")).await;
        assert_eq!(found, Try::good("the next"));
    }

    #[tokio::test]
    async fn what_an_earlier_turn_has_looked_at_is_waited_for_and_not_heard() {
        let (go_on, gate) = mpsc::channel::<()>();
        let mut aside = Aside::default();
        let hang = move || {
            let _ = gate.recv();
            Try::good("of the earlier turn")
        };
        aside.look(Duration::from_millis(20), hang).await;
        aside.begin_turn();
        let late = aside.look(Duration::from_millis(20), || Try::good("too early")).await;
        assert_eq!(late, Try::bad("no answer within 20 ms"), "one at a time");
        go_on.send(()).expect("it waits");
        let found = aside.look(Duration::from_secs(20), || Try::good("of this turn")).await;
        assert_eq!(found, Try::good("of this turn"));
    }

    #[tokio::test]
    async fn a_user_who_was_found_is_not_looked_up_again() {
        let mut aside = Aside::default();
        let unknown = aside.account(Duration::from_secs(20), "nobody-has-this-name").await;
        assert_eq!(unknown, Err(Try::bad("there is no user `nobody-has-this-name`")));
        let root = aside.account(Duration::from_secs(20), "root").await;
        assert_eq!(root, Ok((Uid::from_raw(0), Gid::from_raw(0))));
        let again = aside.account(Duration::ZERO, "root").await;
        assert_eq!((again, aside.user.open.is_none()), (root, true));
    }

    #[tokio::test]
    async fn a_start_that_hangs_is_late_is_not_made_twice_and_what_it_starts_too_late_is_killed() {
        let (go_on, gate) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let mut aside = Aside::default();
        let hang = move || {
            let _ = gate.recv();
            let mut command = Command::new("/bin/sleep");
            command.arg("600");
            let started = command::start(command, Duration::from_secs(600));
            tell.send(started.as_ref().map(Running::group).map_err(ToString::to_string)).expect("heard");
            started
        };
        let late = aside.starter.start_by(Duration::from_millis(20), hang, |_| ()).await.expect_err("late");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let busy = aside.start(Command::new("/bin/true"), Duration::from_secs(20)).await.expect_err("busy");
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        go_on.send(()).expect("it waits");
        let group = told.recv_timeout(Duration::from_secs(20)).expect("told").expect("started");
        eventually("what came too late is dead", || !is_alive(group)).await;
        eventually("its thread has come back", || !aside.starter.is_busy()).await;
        let running = aside.start(Command::new("/bin/true"), Duration::from_secs(20)).await.expect("started");
        assert_eq!(running.finish().await.expect("watched").end, command::End::Exited(0));
    }

    #[tokio::test]
    async fn a_look_that_breaks_is_bad() {
        let broken = Aside::default().look(Duration::from_secs(20), || panic!("on purpose")).await;
        assert_eq!(broken, Try::bad("the look ended without a word"));
    }
}
