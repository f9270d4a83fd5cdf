//! The time a command waits by, handed in so that tests decide when it passes.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_protocol::time::WallTime;

/// What a command knows of time.
pub trait Clock {
    /// This moment.
    fn now(&self) -> WallTime;

    /// Lets time pass.
    fn sleep(&self, length: Duration) -> impl Future<Output = ()>;
}

/// This machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, length: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(length)
    }
}
