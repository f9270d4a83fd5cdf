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
struct Peer {
    incarnation: Incarnation,
    seq: Seq,
    health: Health,
    /// The last reply that showed a change; none until a second read has shown one.
    beaten: Option<BootTime>,
}

/// The holder's view of the other members.
#[derive(Debug, Clone, Default)]
pub struct PeerWatch {
    peers: BTreeMap<InstanceArn, Peer>,
}

impl PeerWatch {
    /// Takes in a good read of the members' heartbeats. Members that were not found are forgotten.
    pub fn observe(&mut self, found: &BTreeMap<InstanceArn, Heartbeat>, replied: BootTime) {
        self.peers.retain(|instance, _| found.contains_key(instance));
        for (instance, heartbeat) in found {
            let before = self.peers.get(instance);
            let beaten = match before {
                None => None,
                Some(peer) if (&peer.incarnation, peer.seq) == (&heartbeat.incarnation, heartbeat.seq) => {
                    peer.beaten
                }
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

    /// Whether any member but `me` is healthy and was seen beating lately.
    pub fn anybody_could(&self, me: &InstanceArn, timing: &Timing, now: BootTime) -> bool {
        self.peers.keys().any(|instance| instance != me && self.could_take_over(instance, timing, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arn, heartbeat};

    fn seen(watch: &mut PeerWatch, heartbeat: &Heartbeat, at_ms: u64) {
        let found = BTreeMap::from([(heartbeat.instance.clone(), heartbeat.clone())]);
        watch.observe(&found, BootTime(at_ms * 1_000_000));
    }

    #[test]
    fn one_read_proves_no_life() {
        let mut watch = PeerWatch::default();
        seen(&mut watch, &heartbeat(&arn(2), 5), 0);
        assert!(!watch.anybody_could(&arn(1), &Timing::DEFAULT, BootTime(0)));
    }

    #[test]
    fn a_healthy_member_seen_beating_lately_could_take_over() {
        let mut watch = PeerWatch::default();
        seen(&mut watch, &heartbeat(&arn(2), 5), 0);
        seen(&mut watch, &heartbeat(&arn(2), 6), 1_000);
        assert!(watch.anybody_could(&arn(1), &Timing::DEFAULT, BootTime(2_000_000_000)));
        assert!(!watch.anybody_could(&arn(2), &Timing::DEFAULT, BootTime(2_000_000_000)), "not by itself");
        assert!(!watch.anybody_could(&arn(1), &Timing::DEFAULT, BootTime(6_000_000_000)), "too long ago");
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
}
