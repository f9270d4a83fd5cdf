//! Waiting for a condition, with a bound, instead of sleeping and hoping.

use std::time::{Duration, Instant};

use crate::SandboxError;

/// How often a condition is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` gives a value and returns it; an error of `look` ends the wait.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, SandboxError>,
) -> Result<T, SandboxError> {
    let start = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            let hint = "the logs in the run directory say what happened instead".to_owned();
            return Err(SandboxError::TimedOut { what: what.to_owned(), seconds: limit.as_secs(), hint });
        }
        std::thread::sleep(POLL);
    }
}
