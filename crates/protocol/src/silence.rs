//! Silence: for how long a standby has seen nothing new from the holder.
//!
//! The naive way compares a stored time with the own clock, which makes two machines' clocks part of the safety. Here the
//! standby compares nothing but its own clock with itself: silence begins with the *reply* that first showed the
//! holder's current `(epoch, holder, incarnation, seq)`. Whatever the network did, the holder sent that heartbeat before
//! this moment, so its validity ends before silence does (see [`crate::timing`]).
//!
//! Only successful reads count. A standby that could not read was as blind as the holder may have been mute: after a gap
//! in its good reads it starts again, so that an outage of the table is never taken for the death of a node, and no
//! stampede of claims follows it.

use std::time::Duration;

use crate::heartbeat::Heartbeat;
use crate::ids::{Epoch, Incarnation, InstanceArn, Seq};
use crate::time::BootTime;
use crate::timing::Timing;

/// What must stand still for silence to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sign {
    pub(crate) epoch: Epoch,
    pub(crate) holder: InstanceArn,
    pub(crate) incarnation: Incarnation,
    pub(crate) seq: Seq,
}

/// The clock of one standby's view of the holder.
#[derive(Debug, Clone, Default)]
pub struct SilenceWatch {
    pub(crate) last: Option<(Sign, BootTime)>,
    pub(crate) last_good_read: Option<BootTime>,
}

/// What a good read of the holder's heartbeat tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// How long nothing new has been seen.
    pub lasted: Duration,
    /// S: how long it must last before a claim.
    pub required: Duration,
}

impl Silence {
    /// Whether a claim may be made.
    pub fn is_enough(&self) -> bool {
        self.lasted >= self.required
    }
}

impl SilenceWatch {
    /// Takes in a good read of the holder's heartbeat at `epoch`, answered at `replied`.
    pub fn observe(
        &mut self,
        epoch: Epoch,
        found: &Heartbeat,
        timing: &Timing,
        required: Duration,
        replied: BootTime,
    ) -> Silence {
        let gap = self.last_good_read.map(|last| replied.since(last));
        let blind = gap.is_none_or(|gap| gap > timing.longest_read_gap()) && !mutant!(CountBlindness);
        let asked = self.last_good_read.filter(|_| mutant!(SilenceFromRequest)).unwrap_or(replied);
        self.last_good_read = Some(replied);
        let incarnation = self.last.as_ref().filter(|_| mutant!(ClaimWithoutIncarnation));
        let incarnation = incarnation.map_or(&found.incarnation, |(last, _)| &last.incarnation).clone();
        let sign = Sign { epoch, holder: found.instance.clone(), incarnation, seq: found.seq };
        let since = match &self.last {
            Some((last, since)) if *last == sign && !blind => *since,
            _ => {
                self.last = Some((sign, asked));
                asked
            }
        };
        Silence { lasted: replied.since(since), required }
    }

    /// Forgets everything: there is no holder to watch.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arn, heartbeat};

    const S: Duration = Duration::from_millis(6_000);

    fn at(ms: u64) -> BootTime {
        BootTime(ms * 1_000_000)
    }

    /// Reads the same heartbeat every second from `from` to `to`, in milliseconds, and returns the last view.
    fn poll(watch: &mut SilenceWatch, found: &Heartbeat, from: u64, to: u64) -> Silence {
        let mut view = None;
        for ms in (from..=to).step_by(1_000) {
            view = Some(watch.observe(Epoch(1), found, &Timing::DEFAULT, S, at(ms)));
        }
        view.expect("at least one read")
    }

    #[test]
    fn silence_counts_from_the_reply_that_first_showed_the_heartbeat() {
        let mut watch = SilenceWatch::default();
        let holder = heartbeat(&arn(1), 7);
        assert_eq!(
            poll(&mut watch, &holder, 1_000, 6_000),
            Silence { lasted: at(5_000).since(at(0)), required: S }
        );
        assert!(poll(&mut watch, &holder, 7_000, 7_000).is_enough());
    }

    #[test]
    fn a_new_number_incarnation_epoch_or_holder_starts_silence_again() {
        let first = heartbeat(&arn(1), 7);
        let beaten = heartbeat(&arn(1), 8);
        let mut restarted = first.clone();
        restarted.incarnation = Incarnation::new("other").expect("valid");
        for next in [beaten, restarted, heartbeat(&arn(2), 7)] {
            let mut watch = SilenceWatch::default();
            poll(&mut watch, &first, 0, 5_000);
            assert_eq!(poll(&mut watch, &next, 6_000, 6_000).lasted, Duration::ZERO);
        }
        let mut watch = SilenceWatch::default();
        poll(&mut watch, &first, 0, 5_000);
        let regranted = watch.observe(Epoch(2), &first, &Timing::DEFAULT, S, at(6_000));
        assert_eq!(regranted.lasted, Duration::ZERO);
    }

    #[test]
    fn a_gap_in_good_reads_starts_silence_again() {
        let mut watch = SilenceWatch::default();
        let holder = heartbeat(&arn(1), 7);
        poll(&mut watch, &holder, 0, 3_000);
        let after = watch.observe(Epoch(1), &holder, &Timing::DEFAULT, S, at(5_401));
        assert_eq!(
            after.lasted,
            Duration::ZERO,
            "a gap of 2,401 ms is longer than one beat and two attempts"
        );
    }

    #[test]
    fn silence_goes_on_over_the_longest_gap_that_two_attempts_and_a_beat_explain() {
        let mut watch = SilenceWatch::default();
        let holder = heartbeat(&arn(1), 7);
        poll(&mut watch, &holder, 0, 3_000);
        let after = watch.observe(Epoch(1), &holder, &Timing::DEFAULT, S, at(5_400));
        assert_eq!(after.lasted, Duration::from_millis(5_400));
    }

    #[test]
    fn silence_is_enough_from_s_on_and_not_a_moment_before() {
        let lasted = |lasted| Silence { lasted, required: S }.is_enough();
        assert!(lasted(S));
        assert!(!lasted(S - Duration::from_nanos(1)));
    }

    #[test]
    fn what_was_seen_before_there_was_no_holder_counts_for_nothing() {
        let mut watch = SilenceWatch::default();
        let holder = heartbeat(&arn(1), 7);
        poll(&mut watch, &holder, 0, 3_000);
        watch.clear();
        assert_eq!(poll(&mut watch, &holder, 4_000, 4_000).lasted, Duration::ZERO);
    }
}
