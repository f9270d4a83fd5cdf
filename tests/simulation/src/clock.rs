//! Time in the simulation: one real time, and each machine's clock, which runs a little wrong.

use baton_protocol::time::BootTime;

/// Nanoseconds since the start of the run; what a perfect clock would show.
pub type Real = u64;

/// A millisecond of real time.
pub const MS: u64 = 1_000_000;

/// A second of real time.
pub const SECOND: u64 = 1_000 * MS;

/// The wall clock at the start of every run.
pub const WALL_START_MS: u64 = 1_800_000_000_000;

/// Longer than any run.
const NEVER: u64 = 2 * 3_600 * SECOND;

/// A machine's `CLOCK_BOOTTIME`. Its error is in the length of its seconds: one of them lasts `1 + ppm/1,000,000` real
/// ones, which is how ρ is meant in the inequality of the timing.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    real: Real,
    local: u64,
    ppm: i64,
}

/// Parts in a million. An hour in nanoseconds, times this, fits into 64 bits, and no run is longer.
const PPM: u64 = 1_000_000;

impl Clock {
    /// A clock that begins at `real` with a time of its own.
    pub fn new(real: Real, local: u64, ppm: i64) -> Self {
        Self { real, local, ppm }
    }

    /// What it shows.
    pub fn show(&self, real: Real) -> BootTime {
        let passed = real.saturating_sub(self.real) * PPM / PPM.saturating_add_signed(self.ppm);
        BootTime(self.local + passed)
    }

    /// When it will show `local`, or has shown it first.
    pub fn when(&self, local: BootTime) -> Real {
        // What is further away than a run is long is as good as never.
        let ahead = local.0.saturating_sub(self.local).min(NEVER) * PPM.saturating_add_signed(self.ppm);
        // Rounded up: at the moment that is returned the clock shows at least what was asked for.
        self.real + ahead.div_ceil(PPM)
    }

    /// Stands still until `until`, as in a pause that the clock does not show.
    pub fn stand_still(&mut self, from: Real, until: Real) {
        self.local = self.show(from).0;
        self.real = until;
    }

    /// Starts again at another boot.
    pub fn reboot(&mut self, real: Real, local: u64) {
        self.real = real;
        self.local = local;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_moment_at_which_the_clock_shows_it() {
        for ppm in [-10_000, -1, 0, 1, 10_000] {
            let clock = Clock::new(5 * SECOND, 77, ppm);
            for ms in [0, 1, 999, 4_000] {
                let local = BootTime(77 + ms * MS + 3);
                let when = clock.when(local);
                assert!(clock.show(when) >= local, "{ppm} {ms}");
                assert!(clock.show(when - 2) < local, "{ppm} {ms}");
            }
        }
    }

    #[test]
    fn a_slow_clock_takes_longer_by_exactly_its_error() {
        let slow = Clock::new(0, 0, 10_000);
        assert_eq!(slow.when(BootTime(4 * SECOND)), 4_040 * MS);
    }

    #[test]
    fn a_pause_that_is_not_shown_is_not_shown() {
        let mut clock = Clock::new(0, 0, 0);
        clock.stand_still(SECOND, 2 * SECOND);
        assert_eq!(clock.show(2 * SECOND), BootTime(SECOND));
        assert_eq!(clock.show(3 * SECOND), BootTime(2 * SECOND));
    }
}
