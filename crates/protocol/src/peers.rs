//! The other members, as the holder sees them: which of them could take over now.
//!
//! A member is seen beating when its `(incarnation, seq)` changed between two of the holder's own reads, not long ago by
//! the holder's own clock. Nobody's wall clock is believed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::heartbeat::{Health, Heartbeat};
use crate::ids::{Incarnation, InstanceArn, Seq};
use crate::time::BootTime;
use crate::timing::Timing;

#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) incarnation: Incarnation,
    pub(crate) seq: Seq,
    pub(crate) health: Health,
    /// The last reply that showed a change; none until a second read has shown one.
    pub(crate) beaten: Option<BootTime>,
}

/// The holder's view of the other members.
#[derive(Debug, Clone, Default)]
pub struct PeerWatch {
    pub(crate) peers: BTreeMap<InstanceArn, Peer>,
    /// When the last good read was asked for: what it shows may be as old as that.
    pub(crate) last_read: Option<BootTime>,
    /// When the read was asked for that is awaited.
    pub(crate) asked: Option<BootTime>,
}

impl PeerWatch {
    /// A read of the members' heartbeats is asked for.
    pub fn ask(&mut self, now: BootTime) {
        self.asked = Some(now);
    }

    /// Takes in a good read of the members' heartbeats. Members that were not found are forgotten. After a gap between the
    /// asking for one read and the answer to the next a change proves no life: it may have come at the gap's beginning.
    pub fn observe(&mut self, found: &BTreeMap<InstanceArn, Heartbeat>, timing: &Timing, replied: BootTime) {
        let gap = self.last_read.map(|last| replied.since(last));
        let blind = gap.is_none_or(|gap| gap > timing.longest_read_gap()) && !mutant!(CountAbsence);
        self.last_read = Some(self.asked.take().unwrap_or(replied));
        self.peers.retain(|instance, _| found.contains_key(instance));
        for (instance, heartbeat) in found {
            let before = self.peers.get(instance);
            let beaten = match before {
                None => None,
                Some(peer) if (&peer.incarnation, peer.seq) == (&heartbeat.incarnation, heartbeat.seq) => {
                    peer.beaten
                }
                Some(peer) if blind => peer.beaten,
                Some(_) => Some(replied),
            };
            let peer = Peer {
                incarnation: heartbeat.incarnation.clone(),
                seq: heartbeat.seq,
                health: heartbeat.health,
                beaten,
            };
            self.peers.insert(instance.clone(), peer);
        }
    }

    /// Whether this member is healthy and was seen beating lately.
    pub fn could_take_over(&self, instance: &InstanceArn, timing: &Timing, now: BootTime) -> bool {
        let lately: Duration = timing.longest_read_gap() + timing.heartbeat();
        self.peers.get(instance).is_some_and(|peer| {
            peer.health == Health::Ok && peer.beaten.is_some_and(|beaten| now.since(beaten) <= lately)
        })
    }

    /// Whether any member but `me` and one that is excluded is healthy and was seen beating lately.
    pub fn anybody_could(
        &self,
        me: &InstanceArn,
        excluded: Option<&InstanceArn>,
        timing: &Timing,
        now: BootTime,
    ) -> bool {
        let mut others = self.peers.keys().filter(|instance| *instance != me && Some(*instance) != excluded);
        others.any(|instance| self.could_take_over(instance, timing, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arn, heartbeat};

    fn seen(watch: &mut PeerWatch, heartbeat: &Heartbeat, at_ms: u64) {
        let found = BTreeMap::from([(heartbeat.instance.clone(), heartbeat.clone())]);
        watch.observe(&found, &Timing::DEFAULT, BootTime(at_ms * 1_000_000));
    }

    #[test]
    fn one_read_proves_no_life() {
        let mut watch = PeerWatch::default();
        seen(&mut watch, &heartbeat(&arn(2), 5), 0);
        assert!(!watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(0)));
    }

    #[test]
    fn a_healthy_member_seen_beating_lately_could_take_over() {
        let mut watch = PeerWatch::default();
        seen(&mut watch, &heartbeat(&arn(2), 5), 0);
        seen(&mut watch, &heartbeat(&arn(2), 6), 1_000);
        assert!(watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(2_000_000_000)));
        assert!(
            !watch.anybody_could(&arn(2), None, &Timing::DEFAULT, BootTime(2_000_000_000)),
            "not by itself"
        );
        let excluded = arn(2);
        assert!(
            !watch.anybody_could(&arn(1), Some(&excluded), &Timing::DEFAULT, BootTime(2_000_000_000)),
            "excluded"
        );
        assert!(
            !watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(6_000_000_000)),
            "too long ago"
        );
    }

    #[test]
    fn a_change_seen_after_a_gap_in_the_reads_proves_no_life() {
        let mut watch = PeerWatch::default();
        seen(&mut watch, &heartbeat(&arn(2), 5), 0);
        seen(&mut watch, &heartbeat(&arn(2), 6), 9_000);
        assert!(!watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(9_000_000_000)));
        seen(&mut watch, &heartbeat(&arn(2), 7), 10_000);
        assert!(watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(10_000_000_000)));
    }

    #[test]
    fn an_answer_that_came_late_shows_what_was_long_ago() {
        let mut watch = PeerWatch::default();
        watch.ask(BootTime(0));
        seen(&mut watch, &heartbeat(&arn(2), 5), 9_000);
        watch.ask(BootTime(9_000_000_000));
        seen(&mut watch, &heartbeat(&arn(2), 6), 9_100);
        assert!(!watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(9_100_000_000)));
        watch.ask(BootTime(10_000_000_000));
        seen(&mut watch, &heartbeat(&arn(2), 7), 10_100);
        assert!(watch.anybody_could(&arn(1), None, &Timing::DEFAULT, BootTime(10_100_000_000)));
    }

    #[test]
    fn a_member_in_bad_health_could_not() {
        let mut watch = PeerWatch::default();
        let mut peer = heartbeat(&arn(2), 5);
        seen(&mut watch, &peer, 0);
        peer.seq = Seq(6);
        peer.health = Health::Bad;
        seen(&mut watch, &peer, 1_000);
        assert!(!watch.could_take_over(&arn(2), &Timing::DEFAULT, BootTime(1_000_000_000)));
    }

    #[test]
    fn a_change_over_the_longest_gap_proves_life_and_counts_until_a_beat_longer() {
        let gap = u64::try_from(Timing::DEFAULT.longest_read_gap().as_millis()).expect("short");
        let mut watch = PeerWatch::default();
        seen(&mut watch, &heartbeat(&arn(2), 5), 0);
        seen(&mut watch, &heartbeat(&arn(2), 6), gap);
        let lately = gap + gap + Timing::DEFAULT.durations().heartbeat_ms;
        let could = |ms: u64| watch.could_take_over(&arn(2), &Timing::DEFAULT, BootTime(ms * 1_000_000));
        assert!(could(lately));
        assert!(!could(lately + 1));
    }
}
