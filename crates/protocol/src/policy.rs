//! What the operator has decided beforehand about a holder that falls silent.
//!
//! A policy holds back a takeover on silence and nothing else: a lease that is released, vacant or of an instance that is
//! gone is granted whatever it says, since nobody may serve it. It adds a condition and takes none away, so no policy makes
//! a grant possible that would not be safe (ADR 0019). Its wait is measured by wall clocks: one that is off lengthens or
//! shortens the wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::Lease;
use crate::time::WallTime;

/// The shortest wait for a confirmation: time enough for a person to type.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(10);
/// The longest.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// The longest cool-down that may be chosen, before it is doubled.
pub const LONGEST_COOL_DOWN: Duration = Duration::from_secs(3_600);
/// However often it is doubled, it is no longer; and older takeovers do not count.
pub const COOL_DOWN_CAP: Duration = Duration::from_secs(24 * 3_600);
/// So many takeovers are remembered.
const REMEMBERED: usize = 8;

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
    /// Whether it is so since the cluster has been taken over from a short while ago.
    pub cooling: bool,
    /// Whether it is so since many clusters suspect their holders at once, and it goes ahead after one further S.
    pub braked: bool,
    /// When the silence was claimed.
    pub claimed: WallTime,
    /// When the arbiter goes ahead by itself; none: never.
    pub until: Option<WallTime>,
}

/// What holds back a takeover on a silence that was claimed then; none: nothing does.
pub fn held(lease: &Lease, claimed: WallTime, now: WallTime) -> Option<Held> {
    if lease.live_failover(now).is_some() {
        return None;
    }
    let until = match lease.takeover {
        Takeover::Automatic => None,
        Takeover::Confirm { after_ms } => Some(claimed + Duration::from_millis(after_ms)),
        Takeover::Notify => return Some(Held { cooling: false, braked: false, claimed, until: None }),
    };
    let cool = cools_until(lease).filter(|_| !mutant!(CoolDownIgnored));
    // Whichever is over last.
    let until = until.max(cool).filter(|until| now < *until)?;
    Some(Held { cooling: cool == Some(until), braked: false, claimed, until: Some(until) })
}

/// When the cluster may be taken over from again: the cool-down after the last takeover on silence, twice as long for each one
/// of the day before it.
pub(crate) fn cools_until(lease: &Lease) -> Option<WallTime> {
    let cool_down = Duration::from_millis(lease.cool_down_ms);
    let last = lease.recent_grants.iter().max().filter(|_| !cool_down.is_zero())?;
    let before = lease.recent_grants.iter().filter(|at| last.since(**at) < COOL_DOWN_CAP).count() - 1;
    let doublings = u32::try_from(before).unwrap_or(u32::MAX).min(16);
    Some(*last + (cool_down * 2u32.pow(doublings)).min(COOL_DOWN_CAP))
}

/// The takeovers that are remembered after one more: the newest few.
pub fn remembered(lease: &Lease, at: WallTime) -> Vec<WallTime> {
    let mut all: Vec<_> = lease.recent_grants.iter().copied().chain([at]).collect();
    all.sort_unstable();
    all.split_off(all.len().saturating_sub(REMEMBERED))
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
        let until = Some(WallTime(CLAIMED.0 + 10_000));
        let held = Held { cooling: false, braked: false, claimed: CLAIMED, until };
        assert_eq!(held_after(confirm, 0, None), Some(held));
        assert_eq!(held_after(confirm, 9_999, None), Some(held));
        assert_eq!(held_after(confirm, 10_000, None), None);
        let years = 1_000_000_000_000;
        assert_eq!(
            held_after(Takeover::Notify, years, None),
            Some(Held { cooling: false, braked: false, claimed: CLAIMED, until: None })
        );
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
            asked: None,
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

    /// How long a claim is held back by the cool-down of a cluster that was taken over from so many seconds before it.
    fn cools(takeover: Takeover, before_s: &[u64]) -> Option<u64> {
        let recent_grants = before_s.iter().map(|s| WallTime(CLAIMED.0 - s * 1_000)).collect();
        let cooling = Lease { takeover, cool_down_ms: 60_000, recent_grants, ..lease() };
        let held = held(&cooling, CLAIMED, CLAIMED)?;
        held.cooling.then(|| held.until.expect("an end").since(CLAIMED).as_secs())
    }

    #[test]
    fn a_cool_down_doubles_with_each_takeover_of_the_day_and_has_an_end() {
        let day = 24 * 3_600;
        for (before, left) in [
            (vec![], None),
            (vec![0], Some(60)),
            (vec![59], Some(1)),
            (vec![60], None),
            (vec![10, 500], Some(110)),
            (vec![500, 10, 20], Some(230)),
            (vec![10, day + 9], Some(110)),
            (vec![10, day + 10], Some(50)),
            (vec![0, 1, 2, 3, 4, 5, 6, 7], Some(60 * 128)),
        ] {
            assert_eq!(cools(Takeover::Automatic, &before), left, "{before:?}");
        }
        let long = Lease { cool_down_ms: 3_600_000, recent_grants: vec![CLAIMED; 8], ..lease() };
        let until = held(&long, CLAIMED, CLAIMED).and_then(|held| held.until);
        assert_eq!(until, Some(CLAIMED + COOL_DOWN_CAP));
        let none = Lease { recent_grants: vec![CLAIMED; 8], ..lease() };
        assert_eq!(held(&none, CLAIMED, CLAIMED), None, "none was chosen");
    }

    #[test]
    fn a_wait_is_ten_seconds_to_a_day_and_a_cool_down_an_hour_before_it_doubles() {
        let bounds = [SHORTEST_WAIT, LONGEST_WAIT, LONGEST_COOL_DOWN, COOL_DOWN_CAP];
        assert_eq!(bounds.map(|length| length.as_secs()), [10, 86_400, 3_600, 86_400]);
    }

    #[test]
    fn of_a_wait_and_a_cool_down_the_later_end_counts() {
        let confirm = |after_ms| Takeover::Confirm { after_ms };
        assert_eq!(cools(confirm(59_000), &[0]), Some(60));
        assert_eq!(cools(confirm(61_000), &[0]), None, "the wait is the longer one");
        assert_eq!(cools(Takeover::Notify, &[0]), None);
    }

    #[test]
    fn the_newest_takeovers_are_remembered_and_no_more_than_eight() {
        let mut cluster = lease();
        for at in [5, 3, 9, 1, 8, 2, 7, 4, 6, 10] {
            cluster.recent_grants = remembered(&cluster, WallTime(at));
        }
        assert_eq!(cluster.recent_grants, (3..=10).map(WallTime).collect::<Vec<_>>());
    }

    #[test]
    fn a_lease_without_a_policy_is_automatic_and_one_is_read_as_it_was_written() {
        let text = serde_json::to_string(&lease()).expect("can be written");
        assert!(
            !text.contains("takeover") && !text.contains("cool_down") && !text.contains("recent"),
            "{text}"
        );
        for takeover in [Takeover::Notify, Takeover::Confirm { after_ms: 10_000 }] {
            let written = Lease { takeover, cool_down_ms: 1, recent_grants: vec![CLAIMED], ..lease() };
            let text = serde_json::to_string(&written).expect("can be written");
            assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read"), written);
        }
    }
}
