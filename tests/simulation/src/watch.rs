//! The onlooker. It sees everything, decides nothing, and remembers what no part of the cluster knows: when a heartbeat
//! really reached the table, who really serves, what was really true at a commit.

mod cloud;
mod grant;
mod node;

use std::collections::BTreeMap;

use baton_protocol::heartbeat::Health;
use baton_protocol::ids::{Epoch, InstanceArn, RequestId, RouteTableId};
use baton_protocol::lease::{Exclusion, Lease, Mode};
use baton_protocol::time::WallTime;
use baton_store::Store;

use crate::clock::{Real, SECOND};
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

/// A promise found broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The id of the promise.
    pub invariant: &'static str,
    /// When.
    pub at: Real,
    /// What was found.
    pub what: String,
}

/// What is remembered of one machine.
#[derive(Debug, Clone, Default)]
struct Ghost {
    /// When the number in its item last changed, and what was published with it.
    seq_at: Real,
    published_ms: u64,
    seq: u64,
    run: u32,
    /// Whether the heartbeat of the cycle under way was confirmed.
    confirmed: bool,
    /// Whether the table has shown this run that its item is gone or another run's.
    item_lost: bool,
    /// The epoch at which it may start to serve, by W and R.
    entitled: Option<Epoch>,
    promoted: bool,
    fenced_at: Option<Epoch>,
    /// The epoch it has sworn off in this boot.
    sworn: Epoch,
    /// Good reads of the holder's heartbeat, the last ones.
    good_reads: Vec<Real>,
    disturbed_at: Option<Real>,
    claims: Option<Epoch>,
    /// When its oath last reached the table.
    released: Epoch,
    released_at: Real,
    /// When it last sent a heartbeat that did not say that it is well; and what that was when each of its last ones was sent that
    /// did, by number.
    unwell_at: Real,
    well: BTreeMap<u64, (Real, Real)>,
    /// Since when its heartbeats have come without a gap, and said that it is well.
    beats_since: Real,
    ok_since: Option<Real>,
}

/// What is remembered of the run.
#[derive(Debug, Default)]
pub struct Watch {
    /// The first promise found broken.
    pub violation: Option<Violation>,
    /// How many grants were committed.
    pub grants: u64,
    /// When EC2's world changed.
    pub(crate) mutations: Vec<Real>,
    /// What operators have said of silent holders: about which epoch, from when on and until when.
    pub(crate) words: Vec<(Epoch, WallTime, WallTime)>,
    /// What operators' requests were answered with.
    pub(crate) answers: BTreeMap<RequestId, String>,
    /// When an instance that was stopped was last started again, by its machine.
    pub(crate) down_until: BTreeMap<usize, Real>,
    /// When a call to stop an instance last took effect, or the end of it.
    pub(crate) fenced_at: Real,
    /// When the lease was last granted on silence.
    pub(crate) taken_over_at: Option<WallTime>,
    /// Every failback that was wished for by itself.
    pub(crate) failbacks: Vec<RequestId>,
    /// Every exclusion that was asked for.
    pub(crate) excluded: Vec<Exclusion>,
    ghosts: Vec<Ghost>,
    /// The mode in which each epoch began.
    modes: BTreeMap<Epoch, Mode>,
    /// Who was granted each epoch.
    granted: BTreeMap<Epoch, InstanceArn>,
    /// The epochs that a registration began.
    registered: Vec<Epoch>,
    /// When a call last landed that its epoch's own move could not know of.
    unsettled_at: Option<Real>,
    /// Whether somebody else has moved something.
    pub(crate) drifted: bool,
    /// When somebody else has led a route of the cluster to a gateway.
    pub(crate) led_away: BTreeMap<RouteTableId, Real>,
    /// Whether a late call has taken a route away from the holder.
    route_taken: bool,
    /// Requests whose wishes a function's commit has taken from the lease, until it answers them.
    owed: BTreeMap<usize, RequestId>,
    /// When the current epoch's move was recorded.
    moved_at: Option<Real>,
    /// For how long a holder may still be given up for something that befell it.
    last_registered: Real,
    mode_changed: Real,
    pub(crate) granted_at: Real,
    /// When a pause was over for a holder that has lost the lease since.
    pub(crate) unpaused_at: Real,
    /// When a service was last stopped.
    pub(crate) stopped_at: Real,
}

/// A holder may lose its lease so long after whatever struck it has ended.
const AFTERMATH: Real = 30 * SECOND;

/// A heartbeat reaches the table within twenty seconds or so, or never.
const REMEMBERED: usize = 64;

impl Ghost {
    /// A heartbeat is sent.
    fn note_health(&mut self, now: Real, seq: u64, health: Health) {
        if health != Health::Ok {
            self.unwell_at = now;
            return;
        }
        // An instance that takes the place of another begins its numbers anew.
        self.well.split_off(&seq);
        self.well.insert(seq, (self.unwell_at, now));
        if self.well.len() > REMEMBERED {
            self.well.pop_first();
        }
    }
}

impl Watch {
    /// For how long a machine had been well when it sent the heartbeat of this number.
    pub(crate) fn well_for(&self, machine: usize, seq: u64) -> Real {
        self.ghosts[machine].well.get(&seq).map_or(0, |(unwell_at, sent)| sent - unwell_at)
    }

    pub(crate) fn new(machines: usize) -> Self {
        Self { ghosts: vec![Ghost::default(); machines], ..Self::default() }
    }

    pub(crate) fn machine_added(&mut self) {
        self.ghosts.push(Ghost::default());
    }

    /// Whether each grant from one epoch to the other was made in strict mode.
    pub(crate) fn is_strict(&self, from: Epoch, to: Epoch) -> bool {
        self.modes.range(from..=to).all(|(_, mode)| *mode == Mode::Strict)
    }

    /// Whether a machine's last heartbeat carried a claim.
    pub(crate) fn claims(&self, machine: usize) -> bool {
        self.ghosts[machine].claims.is_some()
    }

    /// For how long nothing of a machine has reached the table.
    pub(crate) fn quiet_for(&self, machine: usize, now: Real) -> Real {
        now - self.ghosts[machine].seq_at
    }

    /// When something of a machine last reached the table.
    pub(crate) fn silent_since(&self, machine: usize) -> Real {
        self.ghosts[machine].seq_at
    }

    pub(crate) fn mutated(&mut self, now: Real) {
        self.mutations.push(now);
    }

    /// Something outside the cluster has moved its resources.
    pub(crate) fn unsettle(&mut self, now: Real) {
        self.unsettled_at = Some(now);
    }

    pub(crate) fn disturb(&mut self, machine: usize, now: Real) {
        self.ghosts[machine].disturbed_at = Some(now);
    }

    /// Its good reads stay: a claim that rests on them stands in the table until the new run has written there.
    pub(crate) fn agent_starts(&mut self, machine: usize) {
        let ghost = &mut self.ghosts[machine];
        (ghost.confirmed, ghost.entitled, ghost.claims) = (false, None, None);
        ghost.item_lost = false;
    }

    /// What was sworn and reached no table is forgotten: the oath has no effect any more.
    pub(crate) fn boots(&mut self, machine: usize) {
        self.ghosts[machine].sworn = Epoch(0);
    }

    pub(crate) fn item_lost(&mut self, machine: usize) {
        self.ghosts[machine].seq = 0;
    }

    /// A function that was killed answers nothing.
    pub(crate) fn forget(&mut self, function: usize) {
        self.owed.remove(&function);
    }

    pub(crate) fn request_answered(&mut self, request: &RequestId) {
        self.owed.retain(|_, owed| owed != request);
    }
}

impl Sim<'_> {
    /// I28. What was written as an answer is the first one.
    pub(crate) fn answer_stands(&mut self, request: RequestId, answer: String) {
        let first = self.watch.answers.entry(request.clone()).or_insert_with(|| answer.clone()).clone();
        if first != answer {
            self.broken("I28", format!("{request} was answered `{first}`, and then `{answer}`"));
        }
    }

    /// I29. Whoever has asked for what this request took out of the lease is told so, unless they had an answer.
    pub(crate) fn replaced_is_answered(&mut self, before: &Lease, by: &RequestId) {
        let places = |lease: &Lease| {
            let intent = lease.intent.as_ref().and_then(|intent| intent.request.clone());
            let fence = lease.fence.as_ref().map(|word| word.request.clone());
            let restore = lease.restore.as_ref().map(|word| word.request.clone());
            [intent, fence, restore]
        };
        let gone = places(before).into_iter().zip(places(&self.lease)).filter(|(was, is)| was != is);
        let gone: Vec<_> = gone.filter_map(|(was, _)| was).collect();
        if gone.is_empty() {
            return;
        }
        let rows = ready(self.store.requests(&self.cluster, usize::MAX));
        // Nothing fails in the twin of the table, and nothing may pass for want of a look.
        let rows = rows.expect("the twin answers");
        for row in rows.into_iter().filter(|row| gone.contains(&row.id)) {
            let Some(answer) = row.answer else {
                return self.broken("I29", format!("{by} took the place of {}, which has no answer", row.id));
            };
            if !self.watch.answers.contains_key(&row.id) {
                self.see(Sometimes::RequestReplaced);
            }
            self.answer_stands(row.id, answer);
        }
    }

    pub(crate) fn broken(&mut self, invariant: &'static str, what: String) {
        if self.plan.only.is_some_and(|only| only != invariant) {
            return;
        }
        if self.watch.violation.is_none() {
            self.trace.say(self.now, "VIOLATION", || format!("{invariant} {what}"));
            self.watch.violation = Some(Violation { invariant, at: self.now, what });
        }
    }
}
