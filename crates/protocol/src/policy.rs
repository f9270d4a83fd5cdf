//! What the operator has decided beforehand about a holder that falls silent.
//!
//! A policy holds back a takeover on silence and nothing else: a lease that is released, vacant or of an instance that is
//! gone is granted whatever it says, since nobody may serve it. It adds a condition and takes none away, so no policy makes
//! a grant possible that would not be safe (ADR 0019). Its wait is measured by wall clocks: one that is off lengthens or
//! shortens the wait.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::Lease;
use crate::time::WallTime;

/// The shortest wait for a confirmation: time enough for a person to type.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(10);
/// The longest.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// Who decides that a silent holder is taken over from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takeover {
    /// The arbiter, at once.
    #[default]
    Automatic,
    /// An operator, by `baton failover`; and the arbiter, if nobody has spoken until the wait is over.
    Confirm {
        /// The wait, from the claim on, in milliseconds.
        after_ms: u64,
    },
    /// An operator, and nobody else.
    Notify,
}

impl Takeover {
    /// Whether it is the default, which is not written.
    pub fn is_automatic(&self) -> bool {
        *self == Self::Automatic
    }
}

/// A takeover that is held back: an operator's word is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When the silence was claimed.
    pub claimed: WallTime,
    /// When the arbiter goes ahead by itself; none: never.
    pub until: Option<WallTime>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(f, "an operator's word is awaited until {until}"),
            None => f.write_str("an operator's word is awaited"),
        }
    }
}

/// What holds back a takeover on a silence that was claimed then; none: nothing does.
pub fn held(lease: &Lease, claimed: WallTime, now: WallTime) -> Option<Held> {
    if lease.live_failover(now).is_some() {
        return None;
    }
    match lease.takeover {
        Takeover::Automatic => None,
        Takeover::Confirm { after_ms } => {
            let until = claimed + Duration::from_millis(after_ms);
            (now < until).then_some(Held { claimed, until: Some(until) })
        }
        Takeover::Notify => Some(Held { claimed, until: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Intent;
    use crate::testing::lease;

    const CLAIMED: WallTime = WallTime(1_800_000_000_000);

    fn held_after(takeover: Takeover, ms: u64, intent: Option<Intent>) -> Option<Held> {
        held(&Lease { takeover, intent, ..lease() }, CLAIMED, WallTime(CLAIMED.0 + ms))
    }

    #[test]
    fn a_confirmation_is_awaited_from_the_claim_on_and_not_for_ever() {
        let confirm = Takeover::Confirm { after_ms: 10_000 };
        let held = Held { claimed: CLAIMED, until: Some(WallTime(CLAIMED.0 + 10_000)) };
        assert_eq!(held_after(confirm, 0, None), Some(held));
        assert_eq!(held_after(confirm, 9_999, None), Some(held));
        assert_eq!(held_after(confirm, 10_000, None), None);
        let years = 1_000_000_000_000;
        assert_eq!(held_after(Takeover::Notify, years, None), Some(Held { claimed: CLAIMED, until: None }));
        assert_eq!(held_after(Takeover::Automatic, 0, None), None);
    }

    #[test]
    fn an_operators_word_for_this_epoch_lifts_it_until_that_ends_and_a_switchover_is_no_such_word() {
        let word = Intent {
            to: None,
            reason: String::new(),
            epoch: lease().epoch,
            until: WallTime(CLAIMED.0 + 1_000),
            request: None,
            failover: true,
        };
        for takeover in [Takeover::Notify, Takeover::Confirm { after_ms: 60_000 }] {
            assert_eq!(held_after(takeover, 999, Some(word.clone())), None);
            let others = [
                (999, Intent { failover: false, ..word.clone() }),
                (999, Intent { epoch: lease().epoch.next(), ..word.clone() }),
                (1_000, word.clone()),
            ];
            for (ms, other) in others {
                assert!(held_after(takeover, ms, Some(other)).is_some());
            }
        }
    }

    #[test]
    fn a_lease_without_a_policy_is_automatic_and_one_is_read_as_it_was_written() {
        let text = serde_json::to_string(&lease()).expect("can be written");
        assert!(!text.contains("takeover"), "{text}");
        for takeover in [Takeover::Notify, Takeover::Confirm { after_ms: 10_000 }] {
            let written = Lease { takeover, ..lease() };
            let text = serde_json::to_string(&written).expect("can be written");
            assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read"), written);
        }
    }
}
