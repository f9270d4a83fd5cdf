//! The part of an invocation that minds whether the table was restored to an earlier moment.
//!
//! A node that knows a later epoch than the lease shows is proof of it, if the lease was read after that node's heartbeat was:
//! nothing is granted then, and somebody is told. An operator's word has the lease begin anew, after every node was silent for as
//! long as it may serve: two reads that far apart show the same heartbeats, and the table compares them once more at the change.
//!
//! ```text
//!  read ─▶ wait for a whole silence ─▶ read ─┬─ the same heartbeats ─▶ begin anew ─▶ read and decide
//!                 ▲                          └─ another: not yet; nothing is decided, and the word stands until its end
//!                 └── EC2 says `stopped` of a node that nothing guards
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Action, Invocation, Outcome, Phase};
use crate::ec2::{CloudFailure, Look, Sight};
use crate::fence;
use crate::grant::Committed;
use crate::heartbeat::Heartbeat;
use crate::history::Happening;
use crate::ids::{Epoch, InstanceArn, RequestId};
use crate::lease::{Lease, Mode};
use crate::outcome::Failure;
use crate::restored::{self, Restoration, Signs, Word};
use crate::time::{BootTime, Now, WallTime};

/// How often it is written down that an operator's word cannot be obeyed yet: once a minute for each reason.
const NOT_YET_EVERY_MS: u64 = 60_000;
/// And that a heartbeat speaks of an epoch that there is not: each hour.
const NONSENSE_EVERY_MS: u64 = 3_600_000;

/// What an invocation remembers of it.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    /// The latest epoch that a node was seen to know.
    known: Epoch,
    /// What was seen of the nodes first, when that was answered, and for which request.
    first: Option<(RequestId, Signs, BootTime)>,
    /// Instances that EC2 says are down, for which silence says nothing.
    down: BTreeSet<InstanceArn>,
    /// Whether it was told what is wrong with heartbeats and with a word that has ended. Once in an invocation is enough.
    told: bool,
}

impl Invocation {
    /// Whether what was read leads to something else than a decision. While an operator's word stands there is none: what it is
    /// about is that the lease shows a holder, a vacancy and an epoch of another time.
    pub(super) fn minds_restoration(
        &mut self,
        now: Now,
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
        sent: BootTime,
    ) -> bool {
        self.tell_what_counts_for_nothing(now, lease, heartbeats);
        if let Some(word) = lease.live_restore(now.wall) {
            self.obey_restore(now, word, lease, heartbeats, sent);
            return true;
        }
        if lease.epoch >= Epoch::LAST {
            self.stuck_lease(now, lease, restored::last(lease.epoch));
            return true;
        }
        let known = restored::known(heartbeats.values());
        if known <= lease.epoch {
            return false;
        }
        if self.restoring.known < known {
            // The lease may have been granted after it was read. One that is read after this heartbeat cannot show less.
            self.restoring.known = known;
            self.read_lease(now);
            return true;
        }
        self.stuck_lease(now, lease, restored::finding(lease.epoch, known));
        true
    }

    fn stuck_lease(&mut self, now: Now, lease: &Lease, why: String) {
        let resource = restored::RESOURCE.to_owned();
        self.lease = Some(lease.clone());
        self.tell_stuck(now, now.wall, Happening::Stuck { resource: resource.clone(), why: why.clone() });
        self.finish(now, Outcome::Stuck(vec![(resource, why)]));
    }

    /// Heartbeats that speak of an epoch that there is not, and a word that has ended or is about another lease.
    fn tell_what_counts_for_nothing(
        &mut self,
        now: Now,
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    ) {
        if std::mem::replace(&mut self.restoring.told, true) {
            return;
        }
        if let Some((word, answer)) = lease.dead_restore(now.wall) {
            let request = word.request.clone();
            self.act(Action::Answer { request, answer: answer.to_owned() });
        }
        for heartbeat in heartbeats.values() {
            let Some(epoch) = heartbeat.nonsense() else { continue };
            self.lease = Some(lease.clone());
            let (resource, why) = restored::nonsense(&lease.name_of(&heartbeat.instance), epoch);
            let hour = WallTime(now.wall.0 - now.wall.0 % NONSENSE_EVERY_MS);
            self.tell_once(hour, Happening::Stuck { resource, why });
        }
    }

    /// Does the next thing for the operator's word, or ends with what is in its way.
    fn obey_restore(
        &mut self,
        now: Now,
        word: &Word,
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
        sent: BootTime,
    ) {
        if let Some(why) = restored::too_far(lease, heartbeats.values()) {
            let (request, answer) = (word.request.clone(), format!("refused: {why}"));
            self.act(Action::Answer { request, answer: answer.clone() });
            return self.stuck_lease(now, lease, answer);
        }
        let sign = |heartbeat: &Heartbeat| (heartbeat.incarnation.clone(), heartbeat.seq);
        let signs: Signs = heartbeats.iter().map(|(node, of)| (node.clone(), sign(of))).collect();
        let first = self.restoring.first.take().filter(|(request, ..)| *request == word.request);
        let (_, seen, answered) = first.unwrap_or_else(|| (word.request.clone(), signs.clone(), now.boot));
        let changed = signs.iter().find(|(node, sign)| seen.get(*node) != Some(*sign)).map(|(node, _)| node);
        if let Some(node) = changed {
            let why = format!("{} still beats: stop its agent", lease.name_of(node));
            return self.not_yet(now, lease, word, &why);
        }
        if let Some(node) = self.unguarded(lease, heartbeats) {
            self.restoring.first = Some((word.request.clone(), seen, answered));
            self.act(Action::Look(Look::Instance(node.instance_id())));
            self.lease = Some(lease.clone());
            self.phase = Phase::Restoring(Some(node));
            return;
        }
        let up = heartbeats.values().filter(|of| !self.restoring.down.contains(&of.instance));
        let needed = restored::silence(lease, up);
        let until = answered + needed;
        if sent < until {
            if until >= self.hand_on_at() {
                let why = format!("a silence of {} s does not fit into an invocation", needed.as_secs());
                return self.not_yet(now, lease, word, &why);
            }
            self.restoring.first = Some((word.request.clone(), seen, answered));
            self.phase = Phase::LookAgain { at: until };
            return;
        }
        let known = restored::known(heartbeats.values());
        let restoration = Restoration::of(lease, word, &signs, known, &self.by, now.wall);
        self.lease = Some(lease.clone());
        self.phase = Phase::Restoring(None);
        self.act(Action::Restore(Box::new(restoration)));
    }

    /// The next node of which silence says nothing, and EC2 has not been asked: it has published that nothing guards its service,
    /// or it has published nothing and may be one that serves on whatever becomes of its agent.
    fn unguarded(&self, lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>) -> Option<InstanceArn> {
        let serves_on = lease.mode == Mode::Available;
        let absent = restored::nodes(lease).filter(|node| serves_on && !heartbeats.contains_key(node));
        let said = heartbeats.values().filter(|of| lease.silence_for(of) == Duration::MAX);
        let mut all = absent.chain(said.map(|of| of.instance.clone()));
        all.find(|node| !self.restoring.down.contains(node))
    }

    /// The word stands until its end, and each wake tries again. A request is answered once, so this is no answer.
    fn not_yet(&mut self, now: Now, lease: &Lease, word: &Word, why: &str) {
        self.lease = Some(lease.clone());
        let (resource, why) = (restored::RESOURCE.to_owned(), restored::not_yet(&word.request, why));
        let minute = WallTime(now.wall.0 - now.wall.0 % NOT_YET_EVERY_MS);
        self.tell_once(minute, Happening::Stuck { resource: resource.clone(), why: why.clone() });
        self.finish(now, Outcome::Stuck(vec![(resource, why)]));
    }

    /// Takes in what EC2 says of an instance whose service nothing would stop.
    pub(super) fn restore_seen(&mut self, now: Now, answer: Result<Sight, CloudFailure>) {
        let Phase::Restoring(Some(node)) = &self.phase else { return self.settle(now) };
        let node = node.clone();
        let said = match answer {
            Ok(Sight::Instance(state)) if fence::is_down(&state) => {
                self.restoring.down.insert(node);
                return self.read_lease(now);
            }
            Ok(Sight::Instance(state)) => format!("EC2 says `{}`", fence::state_name(&state)),
            Ok(_) => "EC2 gave another answer than was asked for".to_owned(),
            Err(failure) => format!("DescribeInstances: {failure}"),
        };
        let lease = self.lease.clone();
        match lease.as_ref().and_then(|lease| Some((lease, lease.live_restore(now.wall)?))) {
            Some((lease, word)) => {
                let name = lease.name_of(&node);
                let why =
                    format!("nothing stops the service of {name} but its instance's end: {said}; stop it");
                self.not_yet(now, lease, word, &why);
            }
            // It has ended meanwhile, and what is decided then is decided by what is read then.
            None => self.read_lease(now),
        }
    }

    /// Takes in what the table said to the change.
    pub fn handle_restored(&mut self, now: Now, answer: Result<Committed, Failure>) {
        self.answered();
        if !matches!(self.phase, Phase::Restoring(None)) {
            return self.settle(now);
        }
        match answer {
            Ok(Committed::Granted) => {
                self.restoring = Restoring { told: true, ..Restoring::default() };
                let word = self.lease.as_ref().and_then(|lease| lease.restore.as_ref());
                if let Some(request) = word.map(|word| word.request.clone()) {
                    let answer = "restored: nobody holds the lease; start the agents".to_owned();
                    self.act(Action::Answer { request, answer });
                }
                // What follows is decided from another read.
                self.read_lease(now);
            }
            Ok(Committed::Superseded(lost)) => self.finish(now, Outcome::Superseded(lost)),
            // The word stands until its end, and the sweep comes back to it.
            Err(failure) => self.finish(now, Outcome::Failed(failure.to_string())),
        }
    }
}
