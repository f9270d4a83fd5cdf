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
use crate::lease::{LAPSED_FOR, Lease};
use crate::time::WallTime;

/// By so much the epoch is raised. DynamoDB restores to a moment of the last 35 days, which are 3,024,000 seconds. Whoever is
/// granted the lease has to read it before it can release it, and reads once in a heartbeat interval less the jitter: 450 ms in
/// the faster of the two profiles. So no more than 6,720,000 epochs can have been granted since.
pub const RAISED_BY: u64 = 10_000_000;

/// By more than this no node is believed to be ahead of the table when an epoch is to be raised: a hundred restorations, each of
/// the table as it was before the last. Otherwise one node could, by a number that it makes up, use up all the epochs there are.
pub const MOST_AHEAD: u64 = 100 * RAISED_BY;

/// What is stuck, by its name in the history.
pub const RESOURCE: &str = "the lease";

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
    /// What an operator's word comes to, once every node was silent for long enough and none speaks of an epoch [too far](too_far)
    /// ahead.
    pub fn of(lease: &Lease, word: &Word, seen: &Signs, known: Epoch, by: &str, at: WallTime) -> Self {
        let raised = lease.epoch.max(known).later(RAISED_BY);
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
pub(crate) fn nodes(lease: &Lease) -> impl Iterator<Item = InstanceArn> {
    let members = lease.members.iter().map(|member| member.instance.clone());
    members.chain(lease.holder.clone()).collect::<std::collections::BTreeSet<_>>().into_iter()
}

/// The latest epoch that these heartbeats speak of, of those that there are.
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

/// What is told of a lease that has no epoch left to grant.
pub(crate) fn last(shown: Epoch) -> String {
    format!(
        "the table shows epoch {shown}, and {} is the last that there is: no cluster comes near it by grants, so somebody has written \
         it; register the cluster under another name",
        Epoch::LAST
    )
}

/// What is told of a heartbeat that speaks of an epoch that there is not.
pub(crate) fn nonsense(node: &str, epoch: Epoch) -> (String, String) {
    let why = format!(
        "it speaks of epoch {epoch}, and {} is the last that there is, so what it says of epochs is not believed; find out what \
         writes it, and replace the node's instance",
        Epoch::LAST
    );
    (format!("the heartbeat of {node}"), why)
}

/// Why no epoch can be raised: what a node speaks of, or the table shows, can have come about by no grants and restorations.
pub(crate) fn too_far<'a>(
    lease: &Lease,
    heartbeats: impl IntoIterator<Item = &'a Heartbeat>,
) -> Option<String> {
    let most = lease.epoch.later(MOST_AHEAD);
    if let Some(node) = heartbeats.into_iter().find(|of| of.knows() > most) {
        return Some(format!(
            "{} speaks of epoch {}, and from epoch {}, which the table shows, no restoration can lead beyond {most}; replace its \
             instance, or take it out of the cluster, and ask again",
            lease.name_of(&node.instance),
            node.knows(),
            lease.epoch
        ));
    }
    // Whoever is granted the lease next, and after the next restoration, is to get a later epoch still.
    let left = Epoch::LAST.0.saturating_sub(lease.epoch.0);
    (left <= 2 * MOST_AHEAD).then(|| last(lease.epoch))
}

/// What is in the way of an operator's word for the moment, as it is written into the history under [`RESOURCE`].
pub fn not_yet(request: &RequestId, why: &str) -> String {
    format!("not yet: {why} (request {request})")
}

/// Whether this row tells what is in the way of this request.
pub fn is_in_the_way(request: &RequestId, what: &Happening) -> Option<String> {
    let Happening::Stuck { resource, why } = what else { return None };
    let why = why.strip_suffix(&format!(" (request {request})"))?;
    (resource == RESOURCE && why.starts_with("not yet: ")).then(|| why.to_owned())
}

impl Heartbeat {
    /// The latest epoch that this heartbeat speaks of. No node can know an epoch before it was granted; one that is none, being
    /// beyond the last that there is, says nothing.
    pub fn knows(&self) -> Epoch {
        self.spoken().filter(|epoch| *epoch <= Epoch::LAST).max().unwrap_or_default()
    }

    /// An epoch that this heartbeat speaks of and that there is not.
    pub(crate) fn nonsense(&self) -> Option<Epoch> {
        self.spoken().find(|epoch| *epoch > Epoch::LAST)
    }

    fn spoken(&self) -> impl Iterator<Item = Epoch> {
        let claimed = self.claim.as_ref().map(|claim| claim.epoch);
        [Some(self.released), self.ahead, self.serving_epoch, claimed].into_iter().flatten()
    }
}

impl Lease {
    /// An operator's word that the table was restored, if it is about this registration and epoch and has not ended.
    pub fn live_restore(&self, now: WallTime) -> Option<&Word> {
        let live = |word: &&Word| word.uid == self.uid && word.epoch == self.epoch && now < word.until;
        self.restore.as_deref().filter(live)
    }

    /// An operator's word that has no effect any more, and the answer to it, until [`LAPSED_FOR`] after its end.
    pub fn dead_restore(&self, now: WallTime) -> Option<(&Word, &'static str)> {
        let word = self.restore.as_deref().filter(|word| now < word.until + LAPSED_FOR)?;
        if self.live_restore(now).is_some() {
            return None;
        }
        let answer = if word.until <= now {
            "lapsed: its time has ended, and the lease has not begun anew; `baton history` tells what was in the way"
        } else {
            "refused: the lease is at another epoch, or of another registration, than when this was asked for"
        };
        Some((word, answer))
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
    fn an_epoch_that_there_is_not_says_nothing_wherever_a_heartbeat_speaks_of_it() {
        let quiet = Heartbeat { serving_epoch: Some(Epoch(4)), ..heartbeat(&arn(1), 7) };
        assert_eq!((quiet.knows(), quiet.nonsense()), (Epoch(4), None));
        let beyond = Epoch(Epoch::LAST.0 + 1);
        for spoken in [
            Heartbeat { released: beyond, ..quiet.clone() },
            Heartbeat { ahead: Some(beyond), ..quiet.clone() },
        ] {
            assert_eq!((spoken.knows(), spoken.nonsense()), (Epoch(4), Some(beyond)));
        }
        let last = Heartbeat { ahead: Some(Epoch::LAST), ..quiet };
        assert_eq!((last.knows(), last.nonsense()), (Epoch::LAST, None));
    }

    #[test]
    fn an_epoch_is_raised_by_no_number_that_a_node_made_up() {
        let lease = lease();
        let of = |epoch| {
            let ahead = Some(Epoch(epoch));
            too_far(&lease, [&heartbeat(&arn(1), 7), &Heartbeat { ahead, ..heartbeat(&arn(2), 7) }])
        };
        assert_eq!(of(lease.epoch.0 + MOST_AHEAD), None);
        let why = of(lease.epoch.0 + MOST_AHEAD + 1).expect("too far");
        assert!(why.starts_with("node-b speaks of epoch 1000000002"), "{why}");
        let end = Lease { epoch: Epoch(Epoch::LAST.0 - 2 * MOST_AHEAD), ..lease };
        assert!(too_far(&end, []).expect("no room").contains("the last that there is"));
        assert_eq!(too_far(&Lease { epoch: Epoch(end.epoch.0 - 1), ..end }, []), None);
    }

    #[test]
    fn a_word_that_has_ended_or_is_about_another_lease_is_answered_for_a_while() {
        let answer = |word: Word, now| {
            let lease = Lease { restore: Some(Box::new(word)), ..lease() };
            lease.dead_restore(WallTime(now)).map(|(_, answer)| answer)
        };
        assert_eq!(answer(word(), 999), None, "it stands");
        assert!(answer(word(), 1_000).expect("over").starts_with("lapsed"));
        assert!(answer(word(), 600_999).is_some());
        assert_eq!(answer(word(), 601_000), None, "an old story");
        let other = Word { epoch: lease().epoch.next(), ..word() };
        assert!(answer(other, 999).expect("another").starts_with("refused"));
    }

    #[test]
    fn what_is_in_the_way_is_known_from_its_row_and_of_one_request() {
        let [mine, other] = ["r-1", "r-2"].map(|id| RequestId::new(id).expect("valid"));
        let row = |resource: &str, why| Happening::Stuck { resource: resource.to_owned(), why };
        let told = row(RESOURCE, not_yet(&mine, "node-b still beats"));
        assert_eq!(is_in_the_way(&mine, &told).as_deref(), Some("not yet: node-b still beats"));
        assert_eq!(is_in_the_way(&other, &told), None);
        assert_eq!(is_in_the_way(&mine, &row("eipalloc-1", not_yet(&mine, "x"))), None);
        assert_eq!(is_in_the_way(&mine, &row(RESOURCE, finding(Epoch(1), Epoch(5)))), None);
    }

    #[test]
    fn the_epoch_is_raised_above_what_the_table_shows_and_what_a_node_knows() {
        let (lease, signs) = (lease(), Signs::from([(arn(1), (incarnation(1), Seq(7)))]));
        let of = |known| Restoration::of(&lease, &word(), &signs, known, "arbiter", WallTime(5));
        assert_eq!(of(Epoch(0)).raised, Epoch(lease.epoch.0 + RAISED_BY));
        assert_eq!(of(Epoch(90)).raised, Epoch(90 + RAISED_BY));
        assert_eq!(of(Epoch::LAST).raised, Epoch::LAST, "and is one that there is");
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
