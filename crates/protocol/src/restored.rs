//! A table that was restored to an earlier moment, and the way back to a lease that may be granted.
//!
//! Everything else rests on a table that never goes back: an epoch is granted once, and who has lost the lease reads so. A
//! restored table shows an old epoch, an old holder and an old wish. So three things are kept apart from it:
//!
//! * a node remembers the latest epoch it has read, over runs of the agent as well, and serves none before it;
//! * it publishes that epoch once the table has shown it an earlier one, and the arbiter then grants nothing: two nodes would
//!   get one epoch, and what has seen it as a fencing token would take the second for the first;
//! * an operator's word has the arbiter begin anew: once every node is known to have stopped, the lease is held by nobody, at
//!   an epoch above whatever can have been granted since (ADR 0040).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::heartbeat::Heartbeat;
use crate::history::{Event, Happening};
use crate::ids::{ClusterName, Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId, Seq};
use crate::lease::Lease;
use crate::time::WallTime;

/// By so much the epoch is raised. DynamoDB restores to a moment of the last 35 days, which are 3,024,000 seconds. Whoever is
/// granted the lease has to read it before it can release it, and reads once in a heartbeat interval less the jitter: 450 ms in
/// the faster of the two profiles. So no more than 6,720,000 epochs can have been granted since.
pub const RAISED_BY: u64 = 10_000_000;

/// An operator's word that the table was restored, and that the lease shall begin anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Of this registration. In any other it has no effect.
    pub uid: RegistrationUid,
    /// The epoch that the restored table shows. At any other it has no effect.
    pub epoch: Epoch,
    /// When it ends by itself, by the clock of whoever asks.
    pub until: WallTime,
    /// Who asked.
    pub by: String,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The operator's request behind it.
    pub request: RequestId,
}

/// The last sign of life of each node that has one: its run and its number.
pub type Signs = BTreeMap<InstanceArn, (Incarnation, Seq)>;

/// The change of a lease that lets it begin anew, with everything that has to be so at that instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// The cluster.
    pub cluster: ClusterName,
    /// The registration.
    pub uid: RegistrationUid,
    /// The configuration whose members were looked at.
    pub revision: u64,
    /// The epoch that the restored table shows.
    pub epoch: Epoch,
    /// The holder that it shows.
    pub holder: Option<InstanceArn>,
    /// The epoch from which the next grant counts.
    pub raised: Epoch,
    /// What each node has written last. None may have written anything since.
    pub signs: Signs,
    /// The nodes that have no heartbeat, and are to have none.
    pub absent: Vec<InstanceArn>,
    /// The row of the history that is written with it.
    pub event: Event,
}

impl Restoration {
    /// What an operator's word comes to, once every node was silent for long enough.
    pub fn of(lease: &Lease, word: &Word, seen: &Signs, known: Epoch, by: &str, at: WallTime) -> Self {
        let raised = Epoch(lease.epoch.max(known).0.saturating_add(RAISED_BY));
        let nodes = nodes(lease).filter(|node| !seen.contains_key(node));
        let what = Happening::Restored {
            from: lease.epoch,
            holder: lease.holder.clone(),
            asked: word.by.clone(),
            why: word.why.clone(),
            request: word.request.clone(),
        };
        let event = Event { cluster: lease.cluster.clone(), epoch: raised, at, by: by.to_owned(), what };
        Self {
            cluster: lease.cluster.clone(),
            uid: lease.uid.clone(),
            revision: lease.revision,
            epoch: lease.epoch,
            holder: lease.holder.clone(),
            raised,
            signs: seen.clone(),
            absent: nodes.collect(),
            event,
        }
    }

    /// The lease as it stands from then on: whatever was wished for, allowed or marked belongs to another time. `moved` stays, so
    /// the next move looks everything up and makes it anew.
    pub fn of_lease(&self, lease: &Lease) -> Lease {
        Lease {
            epoch: self.raised,
            holder: None,
            intent: None,
            paused: None,
            excluded: None,
            fence: None,
            restore: None,
            verify_at: None,
            last_grant: None,
            recent_grants: Vec::new(),
            rotated: BTreeMap::new(),
            ..lease.clone()
        }
    }
}

/// The members and the holder, each once.
fn nodes(lease: &Lease) -> impl Iterator<Item = InstanceArn> {
    let members = lease.members.iter().map(|member| member.instance.clone());
    members.chain(lease.holder.clone()).collect::<std::collections::BTreeSet<_>>().into_iter()
}

/// The latest epoch that these heartbeats speak of.
pub fn known<'a>(heartbeats: impl IntoIterator<Item = &'a Heartbeat>) -> Epoch {
    heartbeats.into_iter().map(Heartbeat::knows).max().unwrap_or_default()
}

/// For how long all of these nodes have to have been silent, so that none of them serves any more. What was restored may be
/// older than what a node has published last, so the lease's own silence is the least.
pub(crate) fn silence<'a>(lease: &Lease, heartbeats: impl IntoIterator<Item = &'a Heartbeat>) -> Duration {
    let each = heartbeats.into_iter().map(|heartbeat| lease.silence_for(heartbeat));
    each.max().unwrap_or_default().max(lease.timing.silence())
}

/// What is told of a table that shows less than a node has seen.
pub(crate) fn finding(shown: Epoch, known: Epoch) -> String {
    format!(
        "the table shows epoch {shown}, and a node has seen epoch {known}: it was restored to an earlier moment, and nothing is \
         granted by it; stop every agent, then `baton restore` (OPERATIONS.md, \"A table that was restored\")"
    )
}

impl Heartbeat {
    /// The latest epoch that this heartbeat speaks of. No node can know an epoch before it was granted.
    pub fn knows(&self) -> Epoch {
        let claimed = self.claim.as_ref().map(|claim| claim.epoch);
        [self.ahead, self.serving_epoch, claimed].into_iter().flatten().fold(self.released, Epoch::max)
    }
}

impl Lease {
    /// An operator's word that the table was restored, if it is about this registration and epoch and has not ended.
    pub fn live_restore(&self, now: WallTime) -> Option<&Word> {
        let live = |word: &&Word| word.uid == self.uid && word.epoch == self.epoch && now < word.until;
        self.restore.as_deref().filter(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::{Claim, UNGUARDED_MS};
    use crate::testing::{arn, heartbeat, incarnation, lease};

    fn word() -> Word {
        let lease = lease();
        let request = RequestId::new("r-1").expect("valid");
        let (by, why) = ("alice".to_owned(), String::new());
        Word { uid: lease.uid, epoch: lease.epoch, until: WallTime(1_000), by, why, request }
    }

    #[test]
    fn a_word_is_about_one_registration_and_one_epoch_and_ends() {
        let live = |word: Word, now| {
            Lease { restore: Some(Box::new(word)), ..lease() }.live_restore(WallTime(now)).is_some()
        };
        assert!(live(word(), 999));
        assert!(!live(word(), 1_000));
        assert!(!live(Word { epoch: lease().epoch.next(), ..word() }, 999));
        assert!(!live(Word { uid: RegistrationUid::new("uid-2").expect("valid"), ..word() }, 999));
    }

    #[test]
    fn a_heartbeat_knows_every_epoch_it_speaks_of() {
        let quiet = heartbeat(&arn(1), 7);
        assert_eq!(quiet.knows(), Epoch(0));
        let claim = Claim {
            epoch: Epoch(5),
            holder: arn(2),
            incarnation: incarnation(2),
            seq: Seq(3),
            silent_ms: 6_000,
            at: WallTime(0),
        };
        for (spoken, known) in [
            (Heartbeat { released: Epoch(3), ..quiet.clone() }, 3),
            (Heartbeat { serving_epoch: Some(Epoch(4)), ..quiet.clone() }, 4),
            (Heartbeat { claim: Some(claim), ..quiet.clone() }, 5),
            (Heartbeat { ahead: Some(Epoch(6)), released: Epoch(3), ..quiet.clone() }, 6),
        ] {
            assert_eq!(spoken.knows(), Epoch(known));
        }
    }

    #[test]
    fn the_epoch_is_raised_above_what_the_table_shows_and_what_a_node_knows() {
        let (lease, signs) = (lease(), Signs::from([(arn(1), (incarnation(1), Seq(7)))]));
        let of = |known| Restoration::of(&lease, &word(), &signs, known, "arbiter", WallTime(5));
        assert_eq!(of(Epoch(0)).raised, Epoch(lease.epoch.0 + RAISED_BY));
        assert_eq!(of(Epoch(90)).raised, Epoch(90 + RAISED_BY));
        assert_eq!(of(Epoch(u64::MAX)).raised, Epoch(u64::MAX));
        assert_eq!(
            of(Epoch(0)).absent,
            [arn(2), arn(3)],
            "each node is compared, with a heartbeat or without"
        );
        let next = of(Epoch(0)).of_lease(&Lease { restore: Some(Box::new(word())), ..lease.clone() });
        assert_eq!((next.holder, next.restore, next.moved), (None, None, lease.moved));
        assert!(next.epoch.0 > lease.epoch.0 && next.members == lease.members);
    }

    #[test]
    fn the_silence_is_the_longest_that_any_node_asks_for() {
        let (one, mut other) = (heartbeat(&arn(1), 7), heartbeat(&arn(2), 7));
        let of = |heartbeats: [&Heartbeat; 2]| silence(&lease(), heartbeats);
        assert_eq!(of([&one, &other]), Duration::from_millis(6_000));
        other.validity_ms = 10_000;
        assert!(of([&one, &other]) > Duration::from_millis(11_900));
        other.validity_ms = UNGUARDED_MS;
        assert_eq!(of([&one, &other]), Duration::MAX);
        assert_eq!(
            silence(&lease(), []),
            Duration::from_millis(6_000),
            "what was restored may not show who has served"
        );
    }
}
