//! The part of an invocation that has an instance stopped: a silent holder before it is taken over from, where the cluster
//! asks for that, or whatever node an operator has named.
//!
//! ```text
//!  decide ─▶ StopInstances ─▶ look ─┬─ stopped, terminated ─▶ read and decide anew
//!    ▲            │             ▲   └─ anything else ─▶ wait ─┐
//!    │            │             └─────────────────────────────┘
//!    │            └─ throttled, unknown ─▶ wait ─▶ read and decide anew
//!    └── denied, refused, not found, no time: the lease stays, and somebody is told
//! ```
//!
//! Each call follows a decision of that moment, so a holder that is heard again is not stopped for a claim from before. And
//! only what is seen after the answer to a call of this very invocation counts: that EC2 called an instance stopped once says
//! nothing about whether somebody has started it since.

use std::time::Duration;

use super::{Action, Invocation, Outcome, Phase, RETRY_FIRST};
use crate::decide::{Snapshot, Stay};
use crate::ec2::{Call, CloudFailure, Effect, InstanceState, Look, Sight};
use crate::fence::{self, Silent, Stopped, Word};
use crate::history::Happening;
use crate::ids::{InstanceArn, RequestId};
use crate::mover::GUARD_LASTS;
use crate::time::{BootTime, Now};
use crate::wake::Why;

/// Between the answer that shows an instance not stopped yet and the next look, doubling.
const LOOK_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between two looks: EC2 takes many seconds to stop an instance.
const LOOK_LAST: Duration = Duration::from_secs(2);
/// EC2 is eventually consistent: an answer may show what was so long before it was asked for, as a move takes it too.
const STALEST: Duration = Duration::from_secs(3);
/// For so long an invocation looks whose stop was under way before it asked: whoever began it watches, and each further claim
/// wakes one more.
const GLANCE: Duration = Duration::from_secs(3);

/// What an instance is stopped for.
#[derive(Debug)]
enum Purpose {
    /// A takeover from it.
    Takeover(Silent),
    /// An operator's word; and what was decided otherwise.
    Word(Word, Stay),
}

#[derive(Debug)]
enum Stage {
    Calling,
    /// EC2 did not take the call: whether the instance is there at all.
    Checking(CloudFailure),
    Looking,
    Waiting {
        at: BootTime,
    },
}

/// A stop under way.
#[derive(Debug)]
pub(super) struct Fence {
    purpose: Purpose,
    snapshot: Box<Snapshot>,
    /// When the lease was asked for.
    sent: BootTime,
    stage: Stage,
    looks: u32,
    /// When EC2 was last asked for the instance.
    asked: BootTime,
}

/// What an invocation remembers of its stops.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// When EC2 was first asked.
    since: Option<BootTime>,
    /// How often it took no call.
    tries: u32,
    /// Whether a call of this invocation has begun the stop. Its successors are one chain, or a claim's repeated wakes would
    /// make several.
    began: bool,
    /// Whether one may have, whose answer was lost.
    maybe_began: bool,
    /// Until when is looked, where others watch.
    watch_until: Option<BootTime>,
    /// From when on a look may have been asked for that shows `stopped` and counts: this invocation has stopped an instance that
    /// ran, and one that was stopped before it ran may still be shown so.
    counts_from: Option<BootTime>,
    /// What EC2 said last, for people.
    last: Option<String>,
    /// A word is obeyed once in an invocation, whatever comes of it.
    over: bool,
    /// The stop that was seen done.
    stopped: Option<Stopped>,
    /// Why a holder could not be taken over from.
    failed: Option<String>,
}

impl Fences {
    pub(super) fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    pub(super) fn failed(&self) -> Option<&String> {
        self.failed.as_ref()
    }
}

impl Fence {
    fn node(&self) -> &InstanceArn {
        match &self.purpose {
            Purpose::Takeover(silent) => &silent.holder,
            Purpose::Word(word, _) => &word.node,
        }
    }

    pub(super) fn deadline(&self) -> Option<BootTime> {
        if let Stage::Waiting { at } = self.stage { Some(at) } else { None }
    }

    /// The operator's word about this node, be it that a takeover needs it stopped as well.
    fn word(&self, now: Now) -> Option<Word> {
        let word = self.snapshot.lease.live_fence(now.wall)?;
        (word.node == *self.node()).then(|| word.clone())
    }
}

impl Invocation {
    /// Has a silent holder stopped before it is taken over from.
    pub(super) fn fence(&mut self, now: Now, silent: Silent, snapshot: Snapshot, sent: BootTime) {
        self.begin_fence(now, Purpose::Takeover(silent), snapshot, sent);
    }

    /// Obeys an operator's word that a node be stopped, after everything else was decided; `stay` is what that came to.
    /// Gives the decision back where there is none to obey.
    pub(super) fn obey_fence(
        &mut self,
        now: Now,
        snapshot: Snapshot,
        stay: Stay,
        sent: BootTime,
    ) -> Option<(Snapshot, Stay)> {
        let word = snapshot.lease.live_fence(now.wall).filter(|_| !self.fences.over).cloned();
        let Some(word) = word else { return Some((snapshot, stay)) };
        if snapshot.lease.member(&word.node).is_none() {
            self.fences.over = true;
            self.lease = Some(snapshot.lease.clone());
            let why = "it is no member of the cluster; see `baton status`".to_owned();
            self.settle_word(&word.request, format!("refused: {why}"));
            let (node, request) = (word.node, Some(word.request));
            self.tell(now, Happening::Unfenced { node, why, request });
            return Some((snapshot, stay));
        }
        self.begin_fence(now, Purpose::Word(word, stay), snapshot, sent);
        None
    }

    fn begin_fence(&mut self, now: Now, purpose: Purpose, snapshot: Snapshot, sent: BootTime) {
        self.lease = Some(snapshot.lease.clone());
        let snapshot = Box::new(snapshot);
        let fence = Fence { purpose, snapshot, sent, stage: Stage::Calling, looks: 0, asked: now.boot };
        if now.boot >= self.hand_on_at() {
            return self.fence_out_of_time(now, fence);
        }
        // An invocation that stood still since it read decides anew: by now the holder may have been heard.
        if now.boot.since(sent) > GUARD_LASTS {
            return self.read_lease(now);
        }
        self.fences.since.get_or_insert(now.boot);
        let call = Call::Stop { instance: fence.node().instance_id() };
        self.phase = Phase::Fence(Box::new(fence));
        self.calls.push((call.clone(), now.boot));
        self.act(Action::Call(call));
    }

    /// Takes in EC2's answer to the stop.
    pub(super) fn fence_called(&mut self, now: Now, answer: Result<Effect, CloudFailure>) {
        let Some(mut fence) = self.take_fence() else { return self.settle(now) };
        match answer {
            Ok(effect) => {
                let began = effect == Effect::Stopping { began: true };
                self.fences.began |= began;
                // One that did not run when EC2 took the call is what it is shown to be.
                if began {
                    self.fences.counts_from = Some(now.boot + STALEST);
                }
                let watches = self.fences.began
                    || self.fences.maybe_began
                    || matches!(self.hint.why, Some(Why::Continue | Why::Sweep));
                self.fences.watch_until = (!watches).then(|| now.boot + GLANCE);
                if mutant!(FenceUnconfirmed) {
                    return self.fenced(now, fence, &InstanceState::Other("stopped".to_owned()));
                }
                self.fence_look(now, fence);
            }
            // It may have been done or not. The next call follows another decision.
            Err(failure @ (CloudFailure::Throttled | CloudFailure::Unknown(_))) => {
                self.fences.tries += 1;
                self.fences.maybe_began |= matches!(failure, CloudFailure::Unknown(_));
                self.fences.last = Some(format!("StopInstances: {failure}"));
                let at = now.boot + RETRY_FIRST * (1 << self.fences.tries.min(6));
                if at >= self.hand_on_at() {
                    return self.fence_out_of_time(now, fence);
                }
                self.phase = Phase::LookAgain { at };
            }
            // EC2 refuses to stop what it has terminated, and that is as good.
            Err(failure) => {
                fence.stage = Stage::Checking(failure);
                self.fence_ask(fence);
            }
        }
    }

    /// Takes in what EC2 says of the instance.
    pub(super) fn fence_seen(&mut self, now: Now, answer: Result<Sight, CloudFailure>) {
        let Some(mut fence) = self.take_fence() else { return self.settle(now) };
        let state = match answer {
            Ok(Sight::Instance(state)) => Ok(state),
            Ok(_) => Err(CloudFailure::Unknown("another answer than was asked for".to_owned())),
            Err(failure) => Err(failure),
        };
        match (&fence.stage, state) {
            (_, Ok(InstanceState::Terminated)) => self.fenced(now, fence, &InstanceState::Terminated),
            (Stage::Looking, Ok(state)) if fence::is_down(&state) && self.counts(&fence) => {
                self.fenced(now, fence, &state);
            }
            (Stage::Checking(failure), _) => {
                let why = format!("StopInstances: {failure}; {}", fence::remedy(failure));
                self.fence_failed(now, fence, why);
            }
            (_, Err(CloudFailure::Denied(why))) => {
                self.fence_failed(now, fence, format!("whether it is stopped cannot be seen: {why}"));
            }
            (_, found) => {
                self.fences.last = Some(match found {
                    Ok(state) => format!("EC2 says `{}`", fence::state_name(&state)),
                    Err(failure) => format!("DescribeInstances: {failure}"),
                });
                let at = now.boot + (LOOK_FIRST * (1 << fence.looks.min(3).saturating_sub(1))).min(LOOK_LAST);
                if at >= self.hand_on_at() || self.fences.watch_until.is_some_and(|until| at >= until) {
                    return self.fence_out_of_time(now, fence);
                }
                fence.stage = Stage::Waiting { at };
                self.phase = Phase::Fence(Box::new(fence));
            }
        }
    }

    /// Takes in that it is time to look again.
    pub(super) fn fence_timer(&mut self, now: Now) {
        let Phase::Fence(fence) = &self.phase else { return };
        if fence.deadline().is_some_and(|at| now.boot >= at)
            && let Some(fence) = self.take_fence()
        {
            self.fence_look(now, fence);
        }
    }

    /// Whether the last look at the instance can show nothing of before the stop.
    fn counts(&self, fence: &Fence) -> bool {
        self.fences.counts_from.is_none_or(|from| fence.asked >= from)
    }

    fn fence_look(&mut self, now: Now, mut fence: Fence) {
        fence.looks += 1;
        fence.asked = now.boot;
        fence.stage = Stage::Looking;
        self.fence_ask(fence);
    }

    fn fence_ask(&mut self, fence: Fence) {
        let look = Look::Instance(fence.node().instance_id());
        self.phase = Phase::Fence(Box::new(fence));
        self.act(Action::Look(look));
    }

    /// The phase that follows is for the caller to set.
    fn take_fence(&mut self) -> Option<Fence> {
        if !matches!(self.phase, Phase::Fence(_)) {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Draining { then_restart: false }) {
            Phase::Fence(fence) => Some(*fence),
            _ => None,
        }
    }

    /// It is down. Whether that leads to a takeover is decided from another read: the stop took its time.
    fn fenced(&mut self, now: Now, fence: Fence, state: &InstanceState) {
        let since = self.fences.since.unwrap_or(now.boot);
        let took_ms = u64::try_from(now.boot.since(since).as_millis()).unwrap_or(u64::MAX);
        let (node, word) = (fence.node().clone(), fence.word(now));
        if *state == InstanceState::Terminated {
            self.terminated.insert(node.clone());
        }
        let request = word.map(|word| word.request);
        if let Some(request) = &request {
            self.settle_word(request, format!("EC2 says `{}`", fence::state_name(state)));
        }
        let state = fence::state_name(state).to_owned();
        self.tell(now, Happening::Fenced { node, state, took_ms, request });
        match fence.purpose {
            Purpose::Takeover(of) => {
                self.fences.stopped = Some(Stopped { of, took_ms });
                self.tries = 0;
                self.read_lease(now);
            }
            // What was asked for is done. A holder that was stopped falls silent, and that is another wake.
            Purpose::Word(_, stay) => self.stay(now, *fence.snapshot, stay, fence.sent),
        }
    }

    /// EC2 will not do it, and asking again unchanged cannot help. The sweep comes back to a claim that stands.
    fn fence_failed(&mut self, now: Now, fence: Fence, why: String) {
        let request = fence.word(now).map(|word| word.request);
        if let Some(request) = &request {
            self.settle_word(request, format!("failed: {why}"));
        }
        self.end_fence(now, fence, why, request);
    }

    /// It may be done any moment: a successor goes on, and a word stands until its end.
    fn fence_out_of_time(&mut self, now: Now, fence: Fence) {
        if self.fences.began || self.hint.why == Some(Why::Continue) {
            self.wake_successor();
        }
        let last = self.fences.last.take().unwrap_or_else(|| "there was no time to ask EC2".to_owned());
        let why = format!("not seen to be stopped in time: {last}; it is tried again");
        let request = fence.word(now).map(|word| word.request);
        self.end_fence(now, fence, why, request);
    }

    fn end_fence(&mut self, now: Now, fence: Fence, why: String, request: Option<RequestId>) {
        let for_a_word = matches!(fence.purpose, Purpose::Word(..)) || request.is_some();
        self.fences.over |= for_a_word;
        (self.fences.since, self.fences.watch_until, self.fences.counts_from) = (None, None, None);
        (self.fences.began, self.fences.maybe_began) = (false, false);
        let node = fence.node().clone();
        self.tell_stuck(now, now.wall, Happening::Unfenced { node, why: why.clone(), request });
        let stay = match fence.purpose {
            Purpose::Takeover(_) => {
                self.fences.failed = Some(why.clone());
                Stay::Unfenced(why)
            }
            Purpose::Word(_, stay) => stay,
        };
        self.stay(now, *fence.snapshot, stay, fence.sent);
    }

    /// A word that has no effect any more, be it that it has ended or that its node came to hold the lease after it was given, is
    /// answered as well: whoever has asked is not to wait for it.
    pub(super) fn end_dead_word(&mut self, now: Now) {
        let Some(lease) = &self.lease else { return };
        let dead = lease.fence.as_ref().filter(|_| lease.live_fence(now.wall).is_none());
        let Some(Word { node, until, request, .. }) = dead.cloned() else { return };
        let (answer, at) = if until <= now.wall {
            ("lapsed: its time has ended, and EC2 was not seen to have stopped the instance", until)
        } else {
            ("refused: the node came to hold the lease after this was asked for; ask again", until)
        };
        self.settle_word(&request, answer.to_owned());
        self.tell_once(at, Happening::Unfenced { node, why: answer.to_owned(), request: Some(request) });
    }

    fn settle_word(&mut self, request: &RequestId, answer: String) {
        self.fences.over = true;
        self.act(Action::Answer { request: request.clone(), answer });
        self.act(Action::EndFence(request.clone()));
    }

    /// What was granted and moved came first. A word that still stands is the next invocation's.
    pub(super) fn leave_word(&mut self, now: Now, outcome: &Outcome) {
        let stands = self.lease.as_ref().is_some_and(|lease| lease.live_fence(now.wall).is_some());
        if stands && self.granted.is_some() && *outcome != Outcome::HandedOn {
            self.wake_successor();
        }
    }
}

/// Only `terminated` is final. Everything else may change back, or be stale.
pub(super) fn is_gone(state: &InstanceState) -> bool {
    match state {
        InstanceState::Terminated => true,
        InstanceState::Other(_) => mutant!(StoppedIsGone),
        InstanceState::NotFound => mutant!(NotFoundIsGone),
    }
}
