//! Looks that may block: at a file system that hangs, or at a thousand processes.
//!
//! The agent's loop must not wait for them, or a hung disk would cost the lease. So each look has a thread of
//! its own, and a check has one at a time: while one hangs, the next try waits for the same. The threads are
//! plain ones, because a runtime would wait for its own at the end, and a hung disk would keep the agent from
//! ending.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Try;
use crate::vip::Keeper;

/// The look of one check that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// What the check of the virtual addresses looks by.
    pub(super) vip: Option<Keeper>,
    open: Option<oneshot::Receiver<Try>>,
}

impl Aside {
    /// A check that may be the one of the virtual addresses.
    pub(super) fn new(vip: Option<Keeper>) -> Self {
        Self { vip, open: None }
    }

    /// What a look finds within `timeout`. Dropping the future leaves the look to itself.
    pub(super) async fn look(
        &mut self,
        timeout: Duration,
        look: impl FnOnce() -> Try + Send + 'static,
    ) -> Try {
        if self.open.is_none() {
            let (found, answer) = oneshot::channel();
            let thread = std::thread::Builder::new().name("baton-check".to_owned());
            // Nobody may be waiting any more, which is no business of the thread's.
            if let Err(error) = thread.spawn(move || drop(found.send(look()))) {
                return Try::bad(format!("could not look: {error}"));
            }
            self.open = Some(answer);
        }
        let Some(answer) = &mut self.open else { return Try::bad("could not look") };
        match tokio::time::timeout(timeout, answer).await {
            Ok(found) => {
                self.open = None;
                found.unwrap_or_else(|_| Try::bad("the look ended without a word"))
            }
            Err(_) => Try::bad(format!("no answer within {} ms", timeout.as_millis())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

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
    async fn a_look_that_breaks_is_bad() {
        let broken = Aside::default().look(Duration::from_secs(20), || panic!("on purpose")).await;
        assert_eq!(broken, Try::bad("the look ended without a word"));
    }
}
