//! Waiting for conditions, with bounds.

use std::error::Error;
use std::time::{Duration, Instant};

/// How long anything may take. Where the guest is emulated, a boot takes minutes.
pub(super) const LIMIT: Duration = Duration::from_secs(600);

const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` gives a value; an error of it ends the wait.
pub(super) fn until<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if begun.elapsed() > LIMIT {
            return Err(format!("{what} did not come about within {} s", LIMIT.as_secs()).into());
        }
        std::thread::sleep(POLL);
    }
}

/// Lets time pass by this machine's clock, because that a time passes is the condition.
pub(super) fn pass(time: Duration) {
    std::thread::sleep(time);
}
