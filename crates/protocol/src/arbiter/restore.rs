//! The part of an invocation that minds whether the table was restored to an earlier moment.
//!
//! A node that knows a later epoch than the lease shows is proof of it, if the lease was read after that node's heartbeat was:
//! nothing is granted then, and somebody is told. An operator's word has the lease begin anew, after every node was silent for as
//! long as it may serve: two reads that far apart show the same heartbeats, and the table compares them once more at the change.
//!
//! ```text
//!  read ─▶ wait for a whole silence ─▶ read ─┬─ the same heartbeats ─▶ begin anew ─▶ read and decide
//!                 ▲                          └─ another: not yet; the word stands until its end
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
use crate::lease::Lease;
use crate::outcome::Failure;
use crate::restored::{self, Restoration, Signs, Word};
use crate::time::{BootTime, Now};

/// What an invocation remembers of it.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    /// The latest epoch that a node was seen to know.
    known: Epoch,
    /// What was seen of the nodes first, when that was answered, and for which request.
    first: Option<(RequestId, Signs, BootTime)>,
    /// Instances that EC2 says are down, for which silence says nothing.
    down: BTreeSet<InstanceArn>,
    /// A word is obeyed once in an invocation, whatever comes of it.
    over: bool,
}

impl Invocation {
    /// Whether what was read leads to something else than a decision.
    pub(super) fn minds_restoration(
        &mut self,
        now: Now,
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
        sent: BootTime,
    ) -> bool {
        let word = lease.live_restore(now.wall).filter(|_| !self.restoring.over);
        if let Some(word) = word
            && self.obeys_restore(now, word, lease, heartbeats, sent)
        {
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
        let (resource, why) = ("the lease".to_owned(), restored::finding(lease.epoch, known));
        self.lease = Some(lease.clone());
        self.tell_stuck(now, now.wall, Happening::Stuck { resource: resource.clone(), why: why.clone() });
        self.finish(now, Outcome::Stuck(vec![(resource, why)]));
        true
    }

    /// Whether something is under way for the operator's word.
    fn obeys_restore(
        &mut self,
        now: Now,
        word: &Word,
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
        sent: BootTime,
    ) -> bool {
        let sign = |heartbeat: &Heartbeat| (heartbeat.incarnation.clone(), heartbeat.seq);
        let signs: Signs = heartbeats.iter().map(|(node, of)| (node.clone(), sign(of))).collect();
        let first = self.restoring.first.take().filter(|(request, ..)| *request == word.request);
        let (_, seen, answered) = first.unwrap_or_else(|| (word.request.clone(), signs.clone(), now.boot));
        let changed = signs.iter().find(|(node, sign)| seen.get(*node) != Some(*sign)).map(|(node, _)| node);
        if let Some(node) = changed {
            return self.not_yet(word, format!("{} still beats: stop its agent", lease.name_of(node)));
        }
        let up = || heartbeats.values().filter(|of| !self.restoring.down.contains(&of.instance));
        let needed = restored::silence(lease, up());
        let unguarded = up().find(|of| lease.silence_for(of) == Duration::MAX).map(|of| of.instance.clone());
        if let Some(node) = unguarded {
            self.restoring.first = Some((word.request.clone(), seen, answered));
            self.act(Action::Look(Look::Instance(node.instance_id())));
            self.lease = Some(lease.clone());
            self.phase = Phase::Restoring(Some(node));
            return true;
        }
        let until = answered + needed;
        if sent < until {
            if until >= self.hand_on_at() {
                let seconds = needed.as_secs();
                return self
                    .not_yet(word, format!("a silence of {seconds} s does not fit into an invocation"));
            }
            self.restoring.first = Some((word.request.clone(), seen, answered));
            self.phase = Phase::LookAgain { at: until };
            return true;
        }
        let known = restored::known(heartbeats.values());
        let restoration = Restoration::of(lease, word, &signs, known, &self.by, now.wall);
        self.lease = Some(lease.clone());
        self.phase = Phase::Restoring(None);
        self.act(Action::Restore(Box::new(restoration)));
        true
    }

    /// The word stands until its end, and each wake tries again.
    fn not_yet(&mut self, word: &Word, why: String) -> bool {
        self.restoring.over = true;
        self.act(Action::Answer { request: word.request.clone(), answer: format!("not yet: {why}") });
        false
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
        if let Some((lease, word)) = lease.as_ref().and_then(|lease| Some((lease, lease.restore.as_ref()?))) {
            let name = lease.name_of(&node);
            self.not_yet(
                word,
                format!("nothing stops the service of {name} but its instance's end: {said}; stop it"),
            );
        }
        self.read_lease(now);
    }

    /// Takes in what the table said to the change.
    pub fn handle_restored(&mut self, now: Now, answer: Result<Committed, Failure>) {
        self.answered();
        if !matches!(self.phase, Phase::Restoring(None)) {
            return self.settle(now);
        }
        match answer {
            Ok(Committed::Granted) => {
                self.restoring = Restoring { over: true, ..Restoring::default() };
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
