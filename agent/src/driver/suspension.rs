//! Whether the machine was suspended. What ended meanwhile has ended by `CLOCK_BOOTTIME`, so nothing rests on this; people
//! should know why, since a machine that wakes answers for a moment what others have taken over.

use std::time::Duration;

use crate::clock;

/// Less than this is the time between the looks at two clocks, on a machine that is busy.
const SHORTEST: Duration = Duration::from_millis(500);

/// What is known of suspensions.
#[derive(Debug)]
pub(super) struct Suspension {
    before: Duration,
}

impl Suspension {
    pub(super) fn new() -> Self {
        Self { before: clock::suspended() }
    }

    /// Tells of one that nobody has told of.
    pub(super) fn look(&mut self) {
        if let Some(length) = self.grown(clock::suspended()) {
            tracing::warn!(
                milliseconds = length.as_millis(),
                "this machine was suspended; what has ended meanwhile is over. Strict mode is not for instances that hibernate"
            );
        }
    }

    /// How long the last one was, if `all` shows one.
    fn grown(&mut self, all: Duration) -> Option<Duration> {
        let length = all.saturating_sub(self.before);
        if length < SHORTEST {
            return None;
        }
        self.before = all;
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_is_told_once_and_the_time_between_two_looks_is_none() {
        let mut suspension = Suspension { before: Duration::from_secs(7) };
        let mut at = |ms| suspension.grown(Duration::from_millis(ms));
        assert_eq!((at(7_000), at(7_499), at(6_990)), (None, None, None));
        assert_eq!(at(67_000), Some(Duration::from_secs(60)));
        assert_eq!((at(67_000), at(67_400)), (None, None));
        assert_eq!(at(67_600), Some(Duration::from_millis(600)));
    }
}
