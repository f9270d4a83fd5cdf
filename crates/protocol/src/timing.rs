//! The time budget of a cluster: every duration the protocol uses, and the one inequality that ties them.
//!
//! A holder may serve until TTL after it *sent* a confirmed heartbeat, counted on its own clock. A standby may claim
//! after it has seen nothing new for S, counted on its own clock from the *reply* that first showed the last heartbeat.
//! Two clocks may differ in rate by ρ each way, the holder needs up to D to really stop once its validity has ended, and
//! its machine may stand still for up to P without its clock noticing. The holder has stopped before any standby claims if
//!
//! ```text
//! S·(1−ρ) ≥ TTL·(1+ρ) + D + P
//! ```
//!
//! and a holder in good order is not stopped by one lost call if `TTL ≥ 3·attempt timeout + h`. A [`Timing`] that breaks
//! either cannot be made: parsing, deserialising and constructing all come through [`Timing::new`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::heartbeat::UNGUARDED_MS;

/// The durations of a cluster, all in milliseconds; ρ in parts per million. See the module's introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durations {
    /// h: how often a node beats and polls.
    pub heartbeat_ms: u64,
    /// How long one call to the table may take before its outcome counts as unknown.
    pub attempt_timeout_ms: u64,
    /// TTL: how long a confirmed heartbeat lets the holder serve, from its sending.
    pub validity_ms: u64,
    /// D: from the end of validity until the node really serves no more.
    pub fence_ms: u64,
    /// P: the longest pause of a machine that its own clock does not show.
    pub hidden_pause_ms: u64,
    /// ρ: the largest error of a clock's rate, in parts per million.
    pub clock_error_ppm: u64,
    /// S: the observed silence after which a standby claims.
    pub silence_ms: u64,
}

/// Why a set of durations is not a timing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A duration outside the range in which the protocol was examined.
    #[error("{name} is {found}, expected {least} to {most}")]
    OutOfRange {
        /// The field's name.
        name: &'static str,
        /// What was given.
        found: u64,
        /// The smallest value allowed.
        least: u64,
        /// The largest value allowed.
        most: u64,
    },
    /// S is too short: a standby could take over while the holder still serves.
    #[error(
        "silence_ms is {found}, expected at least {required}: silence·(1−ρ) must be at least \
         validity·(1+ρ) + fence + hidden pause; raise silence_ms or lower validity_ms"
    )]
    SilenceTooShort {
        /// The S that was given, in milliseconds.
        found: u64,
        /// The smallest S that is safe with the other durations, in milliseconds.
        required: u64,
    },
    /// TTL is too short: a few slow calls in a row would fence a healthy holder.
    #[error(
        "validity_ms is {found}, expected at least {required}: three attempts and one heartbeat must fit; \
         raise validity_ms or lower attempt_timeout_ms"
    )]
    ValidityTooShort {
        /// The TTL that was given, in milliseconds.
        found: u64,
        /// The smallest TTL allowed with the other durations, in milliseconds.
        required: u64,
    },
}

/// A checked set of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Durations", into = "Durations")]
pub struct Timing(Durations);

/// Parts in a million, the unit of ρ.
const PPM: u64 = 1_000_000;

/// The longest duration accepted anywhere: one hour. Far above any sensible value, far below any overflow.
const LONGEST_MS: u64 = 3_600_000;

impl Timing {
    /// The profile for most clusters: takeover in about 7 s.
    pub const DEFAULT: Self = Self(Durations {
        heartbeat_ms: 1_000,
        attempt_timeout_ms: 700,
        validity_ms: 4_000,
        fence_ms: 750,
        hidden_pause_ms: 1_000,
        clock_error_ppm: 10_000,
        silence_ms: 6_000,
    });

    /// The profile for clusters that pay for a faster takeover, about 4 s, with less room for slow calls.
    pub const FAST: Self = Self(Durations {
        heartbeat_ms: 500,
        attempt_timeout_ms: 600,
        validity_ms: 2_500,
        fence_ms: 400,
        hidden_pause_ms: 500,
        clock_error_ppm: 10_000,
        silence_ms: 3_500,
    });

    /// Checks the durations; the only way to a timing.
    pub fn new(durations: Durations) -> Result<Self, TimingError> {
        let d = durations;
        for (name, found, least) in [
            ("heartbeat_ms", d.heartbeat_ms, 100),
            ("attempt_timeout_ms", d.attempt_timeout_ms, 50),
            ("validity_ms", d.validity_ms, 500),
            ("fence_ms", d.fence_ms, 1),
            ("hidden_pause_ms", d.hidden_pause_ms, 0),
            ("silence_ms", d.silence_ms, 500),
        ] {
            if !(least..=LONGEST_MS).contains(&found) {
                return Err(TimingError::OutOfRange { name, found, least, most: LONGEST_MS });
            }
        }
        if d.clock_error_ppm > PPM / 10 {
            let name = "clock_error_ppm";
            return Err(TimingError::OutOfRange { name, found: d.clock_error_ppm, least: 0, most: PPM / 10 });
        }
        let required = 3 * d.attempt_timeout_ms + d.heartbeat_ms;
        if d.validity_ms < required {
            return Err(TimingError::ValidityTooShort { found: d.validity_ms, required });
        }
        let required = required_silence_ms(&d, d.validity_ms);
        if d.silence_ms < required {
            return Err(TimingError::SilenceTooShort { found: d.silence_ms, required });
        }
        Ok(Self(durations))
    }

    /// Durations that may break the inequality, to show what happens then.
    #[cfg(feature = "mutants")]
    pub fn unchecked(durations: Durations) -> Self {
        Self(durations)
    }

    #[cfg(feature = "mutants")]
    fn is_safe(&self) -> bool {
        self.0.silence_ms >= required_silence_ms(&self.0, self.0.validity_ms)
    }

    /// The durations as numbers.
    pub fn durations(&self) -> Durations {
        self.0
    }

    /// h.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.0.heartbeat_ms)
    }

    /// The limit of one call to the table.
    pub fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.0.attempt_timeout_ms)
    }

    /// TTL, as it is published in the next heartbeat.
    pub fn validity(&self) -> Duration {
        Duration::from_millis(self.0.validity_ms)
    }

    /// D, within which a service has to be down once its validity has ended.
    pub fn stop_within(&self) -> Duration {
        Duration::from_millis(self.0.fence_ms)
    }

    /// The least S that is safe with the other durations.
    pub fn least_silence(&self) -> Duration {
        Duration::from_millis(required_silence_ms(&self.0, self.0.validity_ms))
    }

    /// S for a holder that published the validity of this timing.
    pub fn silence(&self) -> Duration {
        self.silence_for(self.validity())
    }

    /// S for a holder that published `validity`. It never falls below what that validity requires, so a timing that was
    /// lowered after the holder's last heartbeat cannot make a standby too quick; and of a holder that nothing would stop,
    /// no silence is long enough.
    pub fn silence_for(&self, validity: Duration) -> Duration {
        if validity >= Duration::from_millis(UNGUARDED_MS) {
            return Duration::MAX;
        }
        let published = u64::try_from(validity.as_millis()).unwrap_or(u64::MAX).min(LONGEST_MS);
        if mutant!(SilenceIsValidity) {
            return Duration::from_millis(published);
        }
        #[cfg(feature = "mutants")]
        if !self.is_safe() {
            return Duration::from_millis(self.0.silence_ms);
        }
        Duration::from_millis(self.0.silence_ms.max(required_silence_ms(&self.0, published)))
    }

    /// The longest gap between two good reads over which silence still counts. Longer, and the observer was as blind as
    /// the holder may have been mute, so timing starts again.
    pub fn longest_read_gap(&self) -> Duration {
        self.heartbeat() + 2 * self.attempt_timeout()
    }
}

/// The smallest S, in milliseconds, that is safe for a holder which published `validity_ms`; rounded up.
fn required_silence_ms(d: &Durations, validity_ms: u64) -> u64 {
    let stopped = validity_ms * (PPM + d.clock_error_ppm) + (d.fence_ms + d.hidden_pause_ms) * PPM;
    stopped.div_ceil(PPM - d.clock_error_ppm)
}

impl TryFrom<Durations> for Timing {
    type Error = TimingError;
    fn try_from(durations: Durations) -> Result<Self, TimingError> {
        Self::new(durations)
    }
}

impl From<Timing> for Durations {
    fn from(timing: Timing) -> Self {
        timing.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_profiles_keep_the_inequality() {
        for profile in [Timing::DEFAULT, Timing::FAST] {
            assert_eq!(Timing::new(profile.durations()), Ok(profile));
        }
    }

    #[test]
    fn the_bound_of_the_default_profile_is_where_the_proof_puts_it() {
        let mut durations = Timing::DEFAULT.durations();
        durations.silence_ms = 5_848;
        let refused = Timing::new(durations).expect_err("below the bound");
        assert_eq!(refused, TimingError::SilenceTooShort { found: 5_848, required: 5_849 });
        durations.silence_ms = 5_849;
        let timing = Timing::new(durations).expect("at the bound");
        assert_eq!(timing.least_silence(), timing.silence());
    }

    #[test]
    fn a_timing_that_breaks_the_inequality_is_refused_when_it_is_read() {
        let text = r#"{"heartbeat_ms":1000,"attempt_timeout_ms":700,"validity_ms":4000,"fence_ms":750,
            "hidden_pause_ms":1000,"clock_error_ppm":10000,"silence_ms":4000}"#;
        let refused = serde_json::from_str::<Timing>(text).expect_err("too short a silence");
        assert!(refused.to_string().contains("silence_ms is 4000"), "{refused}");
    }

    #[test]
    fn three_attempts_and_a_heartbeat_fit_into_the_validity() {
        let mut durations = Timing::DEFAULT.durations();
        durations.attempt_timeout_ms = 1_001;
        let refused = Timing::new(durations).expect_err("attempts too long");
        assert_eq!(refused, TimingError::ValidityTooShort { found: 4_000, required: 4_003 });
    }

    #[test]
    fn a_holder_that_published_a_longer_validity_is_given_a_longer_silence() {
        let timing = Timing::FAST;
        let published = Duration::from_millis(4_000);
        assert!(timing.silence_for(published) > timing.silence_for(timing.validity()));
        assert_eq!(timing.silence_for(timing.validity()), Duration::from_millis(3_500));
    }

    proptest! {
        #[test]
        fn every_accepted_timing_keeps_the_inequality_exactly(
            validity_ms in 500u64..20_000, fence_ms in 1u64..3_000, hidden_pause_ms in 0u64..3_000,
            clock_error_ppm in 0u64..100_000, silence_ms in 500u64..60_000,
        ) {
            let durations = Durations { heartbeat_ms: 100, attempt_timeout_ms: 50, validity_ms, fence_ms,
                hidden_pause_ms, clock_error_ppm, silence_ms };
            // The inequality in exact integers: both sides in milliseconds times a million.
            let holds = u128::from(silence_ms) * u128::from(PPM - clock_error_ppm)
                >= u128::from(validity_ms) * u128::from(PPM + clock_error_ppm)
                    + u128::from(fence_ms + hidden_pause_ms) * u128::from(PPM);
            prop_assert_eq!(Timing::new(durations).is_ok(), holds);
        }
    }
}
