//! The arbiter: one invocation, from a wake to a world that is right.
//!
//! ```text
//!  read lease ─▶ read heartbeats ─▶ decide ─▶ commit ─▶ move ─▶ record ─▶ done
//!      ▲                              │ │        │        ▲
//!      └── look again, superseded ────┘ └─ stay ─┼────────┘ if the last move is unfinished, or due for a second look
//!                                                └─ looks at EC2 run beside the commit
//! ```
//!
//! A wake says which cluster to look at and nothing more; whoever sent it, and however often, the invocation decides from
//! its own strongly consistent reads. An invocation can end at any line: what it decided stands in the lease, and the next
//! one carries it forward. It never ends with a call still under way that it could have waited for.
//!
//! Driven like a node: `handle_*` takes in, [`Invocation::poll_action`] hands out, [`Invocation::next_deadline`] says when
//! [`Invocation::handle_timer`] is due, and [`Invocation::report`] is there once all is done.

mod action;
mod counting;
mod fence;
mod finish;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use action::{Action, Hint, Outcome, Report};

use crate::brake::Fleet;
use crate::candidate::FRESH;
use crate::decide::{Decision, Snapshot, Stay, decide};
use crate::drift;
use crate::ec2::{Call, CloudFailure, Effect, Look, Sight};
use crate::grant::{Committed, Grant};
use crate::heartbeat::Heartbeat;
use crate::history::{Event, Happening};
use crate::ids::{AllocationId, ClusterName, Epoch, InstanceArn};
use crate::lease::{Lease, LeaseState, SCHEMA};
use crate::moved::Moved;
use crate::mover::{self, Mover};
use crate::outcome::{Failure, Read};
use crate::time::{BootTime, Now, WallTime};
use crate::wake::Why;

/// Between two reads of the same invocation that look for a sign of life. A claimant beats each 200 ms.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How often an invocation looks again: long enough for two heartbeats of the default profile.
const LOOKS_AGAIN: u32 = 10;
/// How far apart the first and the last of them have to be, so that whoever beats was seen beating.
const LOOKS_SPAN: Duration = Duration::from_secs(2);
/// How often an invocation starts over after it lost a commit to another.
const RESTARTS: u32 = 3;
/// The wait after a throttled or contended call to the table, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// How often a read of the table is tried.
const READ_TRIES: u32 = 4;
/// What is left of the invocation's time when it hands on: a call begun just before takes 3 s at most.
const HAND_ON_BEFORE: Duration = Duration::from_secs(4);

/// What the invocation waits for.
#[derive(Debug)]
enum Phase {
    Lease { sent: BootTime },
    Heartbeats { lease: Box<Lease>, sent: BootTime },
    Instance { snapshot: Box<Snapshot>, sent: BootTime },
    Fence(Box<fence::Fence>),
    Counting { snapshot: Box<Snapshot>, sent: BootTime },
    LookAgain { at: BootTime },
    Restoring(Option<InstanceArn>),
    Commit { grant: Box<Grant>, sent: BootTime },
    CommitAgain { grant: Box<Grant>, at: BootTime },
    Moving,
    Recording { record: Moved },
    Draining { then_restart: bool },
}

/// One invocation of the arbiter for one cluster. See the module's introduction.
#[derive(Debug)]
pub struct Invocation {
    hint: Hint,
    by: String,
    started: Now,
    deadline: BootTime,
    phase: Phase,
    lease: Option<Lease>,
    earlier: BTreeMap<InstanceArn, crate::ids::Seq>,
    /// When the read was asked for that showed those numbers, and when it was answered.
    earlier_at: BootTime,
    earlier_answered: BootTime,
    /// The epoch whose holder was seen to have released it.
    oath_seen: Option<Epoch>,
    asked_ec2: bool,
    /// How many clusters have to suspect for the brake; zero: there is none. And what is known of how many do.
    brake: u32,
    fleet: Fleet,
    /// What EC2 called terminated. That is final, so it stands through every further read.
    terminated: BTreeSet<InstanceArn>,
    fences: fence::Fences,
    restoring: restore::Restoring,
    /// Whether a successor was woken.
    woken: bool,
    looks_again: u32,
    restarts: u32,
    tries: u32,
    /// When the grant was sent whose answer was lost first: from then on it may have been committed, and superseded too.
    unknown_since: Option<BootTime>,
    mover: Option<Mover>,
    calls: Vec<(Call, BootTime)>,
    /// Whether this invocation has asked EC2 to change anything.
    called: bool,
    /// Whether one of these calls was answered as done.
    changed: bool,
    /// Whether the second look was due when this invocation began to look.
    second_look: bool,
    /// What cannot be moved, with the reasons, once the rest is.
    stuck: Vec<(String, String)>,
    /// What was found astray after its move had been recorded, and when the first of it was.
    astray: BTreeSet<String>,
    astray_since: Option<BootTime>,
    /// What of it has not been told yet: how it was found, and when.
    drifts: BTreeMap<String, (String, WallTime)>,
    guard_open: bool,
    outstanding: usize,
    granted: Option<Epoch>,
    outcome: Option<Outcome>,
    actions: VecDeque<Action>,
}

impl Invocation {
    /// An invocation that was woken with `hint` and must end by `deadline`. `by` names it in the history.
    pub fn new(hint: Hint, by: String, now: Now, deadline: BootTime) -> Self {
        let mut invocation = Self {
            hint,
            by,
            started: now,
            deadline,
            phase: Phase::Lease { sent: now.boot },
            lease: None,
            earlier: BTreeMap::new(),
            earlier_at: now.boot,
            earlier_answered: now.boot,
            oath_seen: None,
            asked_ec2: false,
            brake: 0,
            fleet: Fleet::Unbraked,
            terminated: BTreeSet::new(),
            fences: fence::Fences::default(),
            restoring: restore::Restoring::default(),
            woken: false,
            looks_again: 0,
            restarts: 0,
            tries: 0,
            unknown_since: None,
            mover: None,
            calls: Vec::new(),
            called: false,
            changed: false,
            second_look: false,
            stuck: Vec::new(),
            astray: BTreeSet::new(),
            astray_since: None,
            drifts: BTreeMap::new(),
            guard_open: false,
            outstanding: 0,
            granted: None,
            outcome: None,
            actions: VecDeque::new(),
        };
        invocation.read_lease(now);
        invocation
    }

    /// The cluster it looks at.
    pub fn cluster(&self) -> &ClusterName {
        &self.hint.cluster
    }

    /// What to do next. Call until it returns `None`, after every `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timer`] is due.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let own = match &self.phase {
            Phase::LookAgain { at } | Phase::CommitAgain { at, .. } => Some(*at),
            Phase::Fence(fence) => fence.deadline(),
            Phase::Moving => self.mover.as_ref().and_then(Mover::next_deadline),
            _ => None,
        };
        let hand_on = matches!(self.phase, Phase::Moving).then_some(self.hand_on_at());
        [own, hand_on].into_iter().flatten().min()
    }

    /// Takes in that a deadline has passed.
    pub fn handle_timer(&mut self, now: Now) {
        match &self.phase {
            Phase::LookAgain { at } if now.boot >= *at => self.read_lease(now),
            Phase::CommitAgain { grant, at } if now.boot >= *at => {
                let grant = grant.clone();
                self.commit(now, grant);
            }
            Phase::Fence(_) => self.fence_timer(now),
            Phase::Moving => {
                if let Some(mover) = &mut self.mover {
                    mover.handle_timer(now.boot);
                }
                self.drive_move(now);
            }
            _ => {}
        }
    }

    /// Takes in the lease, whether it was asked for to decide or to guard a call.
    pub fn handle_lease(&mut self, now: Now, found: Read<Option<Lease>>) {
        self.answered();
        if self.guard_open {
            self.guard_open = false;
            let paused =
                found.as_ref().ok().and_then(Option::as_ref).is_some_and(|lease| lease.is_paused(now.wall));
            if paused && self.mends() && !self.called {
                return self.finish(now, Outcome::Stayed(Stay::Paused));
            }
            if let Some(mover) = &mut self.mover {
                mover.handle_guard(now.boot, found.as_ref().ok().and_then(Option::as_ref));
            }
            return self.drive_move(now);
        }
        let Phase::Lease { sent } = self.phase else { return self.settle(now) };
        let lease = match found {
            Ok(Some(lease)) if lease.may_be_decided() => lease,
            Ok(Some(lease)) if lease.schema <= SCHEMA => {
                return self.finish(now, Outcome::NewerRules(lease.rules));
            }
            Ok(Some(lease)) => return self.finish(now, Outcome::NewerSchema(lease.schema)),
            Ok(None) => return self.finish(now, Outcome::NoSuchCluster),
            Err(failure) => return self.read_again(now, failure),
        };
        if lease.state == LeaseState::Retired && !mutant!(GrantRetired) {
            return self.finish(now, Outcome::Stayed(Stay::Retired));
        }
        let mut instances: BTreeSet<InstanceArn> = lease.members.iter().map(|m| m.instance.clone()).collect();
        instances.extend(lease.holder.clone());
        self.phase = Phase::Heartbeats { lease: Box::new(lease), sent };
        self.act(Action::ReadHeartbeats(instances.into_iter().collect()));
    }

    /// Takes in the heartbeats.
    pub fn handle_heartbeats(&mut self, now: Now, found: Read<BTreeMap<InstanceArn, Heartbeat>>) {
        self.answered();
        let Phase::Heartbeats { lease, sent } = &self.phase else { return self.settle(now) };
        let (lease, sent) = (lease.as_ref().clone(), *sent);
        let heartbeats = match found {
            Ok(heartbeats) => heartbeats,
            Err(failure) => return self.read_again(now, failure),
        };
        self.tries = 0;
        if self.minds_restoration(now, &lease, &heartbeats, sent) {
            return;
        }
        // Two reads far apart prove no life: the change may have come as early as the first was asked for.
        if now.boot.since(self.earlier_at) > FRESH {
            self.earlier.clear();
        }
        if self.earlier.is_empty() {
            (self.earlier_at, self.earlier_answered) = (sent, now.boot);
        }
        for (instance, heartbeat) in &heartbeats {
            self.earlier.entry(instance.clone()).or_insert(heartbeat.seq);
        }
        self.note_oath(&lease, &heartbeats);
        let snapshot = Snapshot {
            lease,
            heartbeats,
            earlier: self.earlier.clone(),
            terminated: self.terminated.clone(),
            stopped: self.fences.stopped().cloned(),
            looked_enough: self.has_looked_enough(now, sent),
            fleet: self.fleet,
            at: now.wall,
            by: self.by.clone(),
        };
        self.decide(now, snapshot, sent);
    }

    /// Takes in what the table said to the grant.
    pub fn handle_committed(&mut self, now: Now, answer: Result<Committed, Failure>) {
        self.answered();
        let Phase::Commit { grant, sent } = &self.phase else { return self.settle(now) };
        let (grant, sent) = (grant.clone(), *sent);
        match answer {
            Ok(Committed::Granted) => self.granted(now, &grant, self.unknown_since.unwrap_or(sent)),
            Ok(Committed::Superseded(lost)) => self.superseded(now, lost),
            Err(Failure::Conflict) if mutant!(ConflictIsSuccess) => self.granted(now, &grant, sent),
            // The same request again: its token makes it one commit however often it arrives.
            Err(failure @ (Failure::Unknown(_) | Failure::Conflict | Failure::Throttled)) => {
                if matches!(failure, Failure::Unknown(_)) {
                    self.unknown_since.get_or_insert(sent);
                }
                self.commit_again(now, grant);
            }
            Err(failure) => self.finish(now, Outcome::Failed(failure.to_string())),
        }
    }

    /// Takes in EC2's answer to a look.
    pub fn handle_sight(&mut self, now: Now, look: &Look, answer: Result<Sight, CloudFailure>) {
        self.answered();
        if let (Look::Instance(_), Phase::Instance { snapshot, sent }) = (look, &self.phase) {
            let (mut snapshot, sent) = (snapshot.as_ref().clone(), *sent);
            let holder = snapshot.lease.holder.clone();
            if let (Ok(Sight::Instance(state)), Some(holder)) = (answer, holder)
                && fence::is_gone(&state)
            {
                self.terminated.insert(holder);
            }
            snapshot.terminated.clone_from(&self.terminated);
            return self.decide(now, snapshot, sent);
        }
        if matches!((look, &self.phase), (Look::Instance(_), Phase::Fence(_))) {
            return self.fence_seen(now, answer);
        }
        if matches!((look, &self.phase), (Look::Instance(_), Phase::Restoring(_))) {
            return self.restore_seen(now, answer);
        }
        if let Some(mover) = &mut self.mover {
            mover.handle_sight(now.boot, look, answer);
        }
        self.drive_move(now);
    }

    /// Takes in EC2's answer to a call.
    pub fn handle_effect(&mut self, now: Now, call: &Call, answer: Result<Effect, CloudFailure>) {
        self.answered();
        let sent =
            self.calls.iter().position(|(made, _)| made == call).map(|at| self.calls.swap_remove(at).1);
        let took = sent.map_or(Duration::ZERO, |sent| now.boot.since(sent));
        self.tell(
            now,
            Happening::Step {
                call: call.action().to_owned(),
                resource: call.resource(),
                took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                failure: answer.as_ref().err().map(ToString::to_string),
            },
        );
        if matches!(call, Call::Stop { .. }) {
            return self.fence_called(now, answer);
        }
        self.changed |= answer.is_ok();
        if let Some(mover) = &mut self.mover {
            mover.handle_effect(now.boot, call, answer);
        }
        self.drive_move(now);
    }

    /// Takes in whether an address was recorded as freed, or its new association.
    pub fn handle_rotation_recorded(&mut self, now: Now, allocation: &AllocationId, recorded: bool) {
        self.answered();
        if let Some(mover) = &mut self.mover {
            mover.handle_rotation_recorded(now.boot, allocation, recorded);
        }
        self.drive_move(now);
    }

    /// Takes in the end of an action whose answer decides nothing: a row of the history, an answer to a request, a wake.
    pub fn handle_told(&mut self, now: Now) {
        self.answered();
        self.settle(now);
    }

    /// Whether a holder that has released still lives, only what it writes after its oath can tell.
    fn note_oath(&mut self, lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>) {
        let holder = lease.holder.as_ref().and_then(|holder| heartbeats.get(holder));
        let Some(sworn) = holder.filter(|holder| holder.released >= lease.epoch) else { return };
        if self.oath_seen < Some(lease.epoch) {
            self.oath_seen = Some(lease.epoch);
            self.earlier.insert(sworn.instance.clone(), sworn.seq);
        }
    }

    /// Whether whoever beats would have been seen beating: as many looks as usual, the first of them and the last, sent at
    /// `sent`, far enough apart. An invocation that stood still in between begins anew, for a while.
    fn has_looked_enough(&self, now: Now, sent: BootTime) -> bool {
        let far_apart = sent.since(self.earlier_answered) >= LOOKS_SPAN;
        let at_most = self.looks_again >= 3 * LOOKS_AGAIN || now.boot >= self.hand_on_at();
        self.looks_again >= LOOKS_AGAIN && (far_apart || at_most)
    }

    fn decide(&mut self, now: Now, snapshot: Snapshot, sent: BootTime) {
        let looked_enough = snapshot.looked_enough;
        match decide(&snapshot) {
            Decision::Grant(grant) => {
                self.mover = Some(self.moved_to_be(&snapshot.lease, &grant, now));
                self.lease = Some(snapshot.lease);
                self.commit(now, grant);
                self.forward_move(now);
            }
            Decision::Fence(silent) => self.fence(now, *silent, snapshot, sent),
            Decision::Count => self.count(snapshot, sent),
            Decision::LookAgain if !looked_enough => {
                self.looks_again += 1;
                self.phase = Phase::LookAgain { at: now.boot + LOOK_AGAIN_AFTER };
            }
            Decision::LookAgain => self.stay(now, snapshot, Stay::NoCandidate(Vec::new()), sent),
            // A pause or a policy holds back silence and not an instance that is gone.
            Decision::Stay(stay @ (Stay::NoGround | Stay::Paused | Stay::Held(_)))
                if self.hint.maybe_gone && !self.asked_ec2 =>
            {
                self.asked_ec2 = true;
                let Some(holder) = snapshot.lease.holder.as_ref().map(InstanceArn::instance_id) else {
                    return self.stay(now, snapshot, stay, sent);
                };
                self.phase = Phase::Instance { snapshot: Box::new(snapshot), sent };
                self.act(Action::Look(Look::Instance(holder)));
            }
            Decision::Stay(stay) => self.stay(now, snapshot, stay, sent),
        }
    }

    fn commit(&mut self, now: Now, grant: Box<Grant>) {
        self.phase = Phase::Commit { grant: grant.clone(), sent: now.boot };
        self.act(Action::Commit(grant));
    }

    /// The same request again; if there is no time for it, a successor finds out what became of this one.
    fn commit_again(&mut self, now: Now, grant: Box<Grant>) {
        self.tries += 1;
        let at = now.boot + RETRY_FIRST * (1 << self.tries.min(6));
        if at < self.hand_on_at() {
            self.phase = Phase::CommitAgain { grant, at };
            return;
        }
        // One successor and no chain of them: a table that answers nobody is not to be asked by ever more.
        if self.hint.why != Some(Why::Continue) {
            self.wake_successor();
        }
        self.finish(now, Outcome::CommitUnknown);
    }

    /// `sent`: when the commit was sent, or the first of its repeats that may have been it. A repeat is answered as the first
    /// one was, whatever has become of the lease since, so it says nothing about the lease of now.
    fn granted(&mut self, now: Now, grant: &Grant, sent: BootTime) {
        let epoch = grant.epoch.next();
        self.granted = Some(epoch);
        self.tries = 0;
        if let Some(lease) = self.lease.take() {
            self.answer_granted(&lease, grant);
            let mut lease = finish::granted_lease(&lease, grant);
            lease.last_grant = Some(grant.at);
            self.lease = Some(lease);
        }
        self.phase = Phase::Moving;
        if let Some(mover) = &mut self.mover {
            mover.allow(sent, now.boot);
        }
        self.drive_move(now);
    }

    fn superseded(&mut self, now: Now, lost: Vec<String>) {
        self.mover = None;
        if self.restarts >= RESTARTS {
            return self.finish(now, Outcome::Superseded(lost));
        }
        self.restarts += 1;
        self.tries = 0;
        self.unknown_since = None;
        self.phase = Phase::Draining { then_restart: true };
        self.settle(now);
    }

    /// The lease stays; an unfinished move goes on, and a finished one is looked at once more when that is due, or when
    /// somebody may have moved a resource.
    fn stay(&mut self, now: Now, snapshot: Snapshot, stay: Stay, sent: BootTime) {
        let Some((snapshot, stay)) = self.obey_fence(now, snapshot, stay, sent) else { return };
        let Snapshot { lease, heartbeats, .. } = snapshot;
        let held = match stay {
            Stay::Held(held) if self.hint.why == Some(Why::Claim) => Some(held),
            _ => None,
        };
        let unfinished = lease.moved < lease.epoch;
        self.second_look = lease.verify_at.is_some_and(|at| now.wall >= at) || mutant!(AnyLookIsSecond);
        // A holder that is no member has no place for anything: it releases, and the next one gets it all.
        let nowhere = lease.holder.as_ref().and_then(|holder| lease.member(holder)).is_none();
        let minds = self.second_look || (self.hint.maybe_moved && !mutant!(DriftIgnored));
        let look = unfinished || (minds && !drift::is_left(&lease, &heartbeats, now.wall));
        self.lease = Some(lease.clone());
        if let Some(held) = held {
            self.tell_held(held);
        }
        self.tell_intent(now, &heartbeats);
        self.end_dead_word(now);
        if nowhere || !look {
            return self.finish(now, Outcome::Stayed(stay));
        }
        let mut mover = Mover::new(&lease, false, now.boot);
        if let Some(granted) = lease.last_grant {
            let left = (granted + 2 * finish::LATE_CALLS).since(now.wall);
            mover.trust_what_is_there(now.boot + left);
        }
        mover.allow(sent, now.boot);
        self.mover = Some(mover);
        self.phase = Phase::Moving;
        self.drive_move(now);
    }

    fn read_lease(&mut self, now: Now) {
        self.phase = Phase::Lease { sent: now.boot };
        self.act(Action::ReadLease);
    }

    /// A read that failed says nothing. It is tried again a few times; then the next wake does.
    fn read_again(&mut self, now: Now, failure: Failure) {
        self.tries += 1;
        let transient = matches!(failure, Failure::Unknown(_) | Failure::Throttled | Failure::Conflict);
        if !transient || self.tries >= READ_TRIES {
            return self.finish(now, Outcome::Failed(failure.to_string()));
        }
        self.phase = Phase::LookAgain { at: now.boot + RETRY_FIRST * (1 << self.tries) };
    }

    fn forward_move(&mut self, now: Now) {
        let mut actions = Vec::new();
        if let Some(mover) = &mut self.mover {
            actions.extend(std::iter::from_fn(|| mover.poll_action()));
        }
        let too_late = matches!(self.phase, Phase::Moving) && now.boot >= self.hand_on_at();
        for action in actions {
            match action {
                // What is begun now would outlast this invocation. What was done is still recorded.
                mover::Action::Guard | mover::Action::Look(_) | mover::Action::Call(_) if too_late => {}
                mover::Action::Guard => {
                    self.guard_open = true;
                    self.act(Action::ReadLease);
                }
                mover::Action::Look(look) => self.act(Action::Look(look)),
                mover::Action::Call(call) => {
                    self.note_drift(now, &call);
                    self.called = true;
                    self.calls.push((call.clone(), now.boot));
                    self.act(Action::Call(call));
                }
                mover::Action::RecordRotation(allocation, mark) => {
                    let Some(epoch) = self.lease.as_ref().map(|lease| lease.epoch) else { continue };
                    self.act(Action::RecordRotation { epoch, allocation, mark });
                }
            }
        }
    }

    /// A call after the move was recorded mends something. Each resource is told of once.
    fn note_drift(&mut self, now: Now, call: &Call) {
        let mends = self.mends();
        let Some(found) = self.mover.as_ref().and_then(|mover| mover.found(call)).filter(|_| mends) else {
            return;
        };
        let resource = call.resource();
        if self.astray.insert(resource.clone()) {
            self.astray_since.get_or_insert(now.boot);
            self.drifts.insert(resource, (found, now.wall));
        }
    }

    /// Whether the move of this epoch has been recorded, so that whatever is to be done is to mend.
    fn mends(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.moved == lease.epoch)
    }

    fn act(&mut self, action: Action) {
        self.outstanding += 1;
        self.actions.push_back(action);
    }

    fn answered(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    fn tell(&mut self, now: Now, what: Happening) {
        self.tell_at(now.wall, what);
    }

    fn tell_at(&mut self, at: WallTime, what: Happening) {
        self.write_row(at, self.by.clone(), what);
    }

    fn write_row(&mut self, at: WallTime, by: String, what: Happening) {
        let Some(lease) = &self.lease else { return };
        let event = Event { cluster: lease.cluster.clone(), epoch: lease.epoch, at, by, what };
        self.act(Action::Append(Box::new(event)));
    }

    fn hand_on_at(&self) -> BootTime {
        self.deadline - HAND_ON_BEFORE
    }
}
