//! The functions: invocations of the arbiter, each with its own time and its own calls to the table.

use std::sync::Arc;

use baton_protocol::arbiter::{Action, Hint, Invocation, Outcome, Report};
use baton_protocol::candidate::Unfit;
use baton_protocol::decide::Stay;
use baton_protocol::grant::Committed;
use baton_protocol::ids::{Epoch, InstanceArn};
use baton_protocol::mark::Mark;
use baton_protocol::outcome::Failure;
use baton_protocol::time::BootTime;
use baton_protocol::wake::Why;
use baton_store::Store;

use crate::clock::{MS, Real, SECOND};
use crate::event::{Event, FunctionAnswer};
use crate::fault::Kind;
use crate::plan::draw;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

/// An invocation under way.
#[derive(Debug)]
pub(crate) struct Function {
    invocation: Invocation,
    hint: Hint,
    retry: u32,
    pub(crate) started: Real,
    /// It stands still until then.
    frozen_until: Real,
    timer_at: Option<Real>,
    /// The last sight of the lease.
    pub(crate) sight: Option<Sighting>,
    /// When the commit under way was sent first.
    pub(crate) commit_sent: Option<Real>,
    commit_unknown: bool,
    looked: bool,
    granted: Option<Epoch>,
}

/// What a read of the lease, or a commit, has shown.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub(crate) epoch: Epoch,
    pub(crate) holder: Option<InstanceArn>,
    /// The epoch whose move was recorded.
    pub(crate) moved: Epoch,
    /// When the read or the commit was sent.
    pub(crate) sent: Real,
}

/// Lambda's limit for one invocation.
const FUNCTION_TIMEOUT: Real = 25 * SECOND;
/// So many clusters have to suspect for the brake.
const BRAKE: u32 = 5;
/// The limit of one call to the table.
const TABLE_TIMEOUT: Real = SECOND;

impl Sim<'_> {
    pub(crate) fn say_function(&mut self, function: usize, text: impl FnOnce() -> String) {
        if self.trace.is_on() {
            self.trace.say(self.now, &format!("f{function}"), text);
        }
    }

    pub(crate) fn invoke(&mut self, hint: Hint, retry: u32) {
        if self.network.has(Kind::FunctionsDown) {
            let at = self.now + self.rng.u64(3 * SECOND..12 * SECOND);
            return self.queue.push(at, Event::Invoke { hint, retry });
        }
        let number = self.functions.len();
        if self.functions.iter().any(Option::is_some) {
            self.see(Sometimes::TwoInvocations);
        }
        self.say_function(number, || format!("starts: {:?}", hint.why));
        let deadline = BootTime(self.now + FUNCTION_TIMEOUT);
        let invocation = Invocation::new(hint.clone(), format!("arbiter {number}"), self.global(), deadline);
        let invocation = invocation.with_brake(if self.plan.alarmed.is_some() { BRAKE } else { 0 });
        self.functions.push(Some(Box::new(Function {
            invocation,
            hint,
            retry,
            started: self.now,
            frozen_until: 0,
            timer_at: None,
            sight: None,
            commit_sent: None,
            commit_unknown: false,
            looked: false,
            granted: None,
        })));
        self.pump_function(number);
    }

    /// Whether the function may go on now; if not, it was killed or the event comes again later.
    fn goes_on(&mut self, function: usize) -> Result<(), Option<Real>> {
        let Some(running) = self.functions[function].as_ref() else { return Err(None) };
        if self.now >= running.started + FUNCTION_TIMEOUT {
            self.kill(function, "out of time");
            return Err(None);
        }
        if running.frozen_until > self.now { Err(Some(running.frozen_until)) } else { Ok(()) }
    }

    fn kill(&mut self, function: usize, why: &str) {
        let Some(killed) = self.functions[function].take() else { return };
        self.watch.forget(function);
        self.see(Sometimes::InvocationKilled);
        if killed.granted.is_some() {
            self.see(Sometimes::KilledAfterCommit);
        }
        self.say_function(function, || format!("is killed: {why}"));
        self.retry(killed.hint, killed.retry);
    }

    /// Lambda tries once more after a minute.
    fn retry(&mut self, hint: Hint, retry: u32) {
        if retry == 0 {
            let at = self.now + 60 * SECOND;
            self.queue.push(at, Event::Invoke { hint, retry: 1 });
        }
    }

    pub(crate) fn function_timer(&mut self, function: usize) {
        match self.goes_on(function) {
            Ok(()) => {}
            Err(None) => return,
            Err(Some(at)) => return self.queue.push(at, Event::FunctionTimer { function }),
        }
        let now = self.global();
        let Some(running) = self.functions[function].as_mut() else { return };
        if running.timer_at.is_some_and(|at| at <= self.now) {
            running.timer_at = None;
        }
        if running.invocation.next_deadline().is_some_and(|due| due <= now.boot) {
            running.invocation.handle_timer(now);
        }
        self.pump_function(function);
    }

    pub(crate) fn function_answer(&mut self, function: usize, answer: FunctionAnswer) {
        match self.goes_on(function) {
            Ok(()) => {}
            Err(None) => return,
            Err(Some(at)) => {
                return self.queue.push(at, Event::FunctionAnswer { function, answer: Box::new(answer) });
            }
        }
        if self.network.has(Kind::FunctionsKilled) && self.chance(8) {
            return self.kill(function, "at a step");
        }
        if self.network.has(Kind::FunctionsSlow) && self.chance(25) {
            let until = self.now + self.rng.u64(300 * MS..15 * SECOND);
            if let Some(running) = self.functions[function].as_mut() {
                running.frozen_until = until;
            }
            return self.queue.push(until, Event::FunctionAnswer { function, answer: Box::new(answer) });
        }
        self.give(function, answer);
        self.pump_function(function);
    }

    fn give(&mut self, function: usize, answer: FunctionAnswer) {
        let now = self.global();
        self.note_answer(function, &answer);
        let Some(running) = self.functions[function].as_mut() else { return };
        match answer {
            FunctionAnswer::Lease(found, sent) => {
                if let Ok(Some(lease)) = &found {
                    let (epoch, holder, moved) = (lease.epoch, lease.holder.clone(), lease.moved);
                    running.sight = Some(Sighting { epoch, holder, moved, sent });
                }
                let found = found.map(|lease| lease.map(|lease| (*lease).clone()));
                running.invocation.handle_lease(now, found);
            }
            FunctionAnswer::Heartbeats(found) => running.invocation.handle_heartbeats(now, found),
            FunctionAnswer::Counted(found) => running.invocation.handle_counted(now, found),
            FunctionAnswer::Committed(answer) => running.invocation.handle_committed(now, answer),
            FunctionAnswer::Sight(look, answer) => running.invocation.handle_sight(now, &look, answer),
            FunctionAnswer::Effect(call, answer) => running.invocation.handle_effect(now, &call, answer),
            FunctionAnswer::Rotation(allocation, recorded) => {
                running.invocation.handle_rotation_recorded(now, &allocation, recorded);
            }
            FunctionAnswer::Moved(outcome) => running.invocation.handle_moved_recorded(now, outcome),
            FunctionAnswer::Told => running.invocation.handle_told(now),
        }
    }

    fn pump_function(&mut self, function: usize) {
        while let Some(action) = self.functions[function].as_mut().and_then(|f| f.invocation.poll_action()) {
            self.act(function, action);
        }
        let Some(running) = self.functions[function].as_mut() else { return };
        if let Some(report) = running.invocation.report() {
            return self.function_ends(function, &report);
        }
        let Some(due) = running.invocation.next_deadline() else { return };
        let at = due.0.max(self.now);
        if running.timer_at.is_none_or(|standing| at < standing) {
            running.timer_at = Some(at);
            self.queue.push(at, Event::FunctionTimer { function });
        }
    }

    fn function_ends(&mut self, function: usize, report: &Report) {
        let Some(ended) = self.functions[function].take() else { return };
        self.say_function(function, || format!("ends: {:?}", report.outcome));
        let goes_back = ended.hint.why == Some(Why::Failback) && ended.granted.is_none();
        if self.plan.by_tag {
            self.muster(&ended.hint);
        }
        match &report.outcome {
            Outcome::HandedOn => self.see(Sometimes::HandedOn),
            Outcome::InPlace => self.see(Sometimes::LookedInVain),
            Outcome::Superseded(_) if ended.granted.is_some() => self.see(Sometimes::MoveSuperseded),
            Outcome::Stayed(Stay::NoCandidate(refused)) => {
                self.see(Sometimes::NoCandidate);
                let releaser = refused.iter().find(|(_, unfit)| *unfit == Unfit::SilentHolder);
                if let Some((releaser, _)) = releaser {
                    self.watch_held_back(releaser, ended.started, "refused though nobody else can serve");
                }
            }
            Outcome::Stayed(Stay::Unfenced(_)) => self.see(Sometimes::FenceUnseen),
            Outcome::Stayed(Stay::Held(held)) => {
                self.see(if held.braked { Sometimes::Braked } else { Sometimes::HeldSilence });
                if let Some(holder) = self.lease.holder.clone() {
                    self.watch_held_back(&holder, ended.started, "left to an operator");
                }
            }
            Outcome::Stayed(Stay::Paused) => {
                self.see(Sometimes::PausedSilence);
                if let Some(holder) = self.lease.holder.clone() {
                    self.watch_held_back(&holder, ended.started, "held back by a pause");
                }
            }
            Outcome::Stuck(resources) if resources.iter().any(|(_, why)| why.contains("never evicted")) => {
                self.see(Sometimes::SeatRefused);
            }
            Outcome::Failed(_) | Outcome::CommitUnknown => self.retry(ended.hint, ended.retry),
            _ => {}
        }
        if goes_back {
            self.consider_failback();
        }
        if ended.granted.is_some() || matches!(report.outcome, Outcome::Moved) {
            self.watch_function_end(function);
        }
    }

    fn act(&mut self, function: usize, action: Action) {
        if let Action::Answer { request, .. } = &action {
            self.watch.request_answered(request);
        }
        self.note_looks(function, &action);
        match action {
            Action::Call(call) => self.call_ec2(function, call),
            Action::WakeSuccessor => {
                self.send_wake(Why::Continue);
                self.tell_function(function, self.now, FunctionAnswer::Told);
            }
            Action::Look(_) => self.look_ec2(function, action),
            _ => self.act_on_table(function, action),
        }
    }

    /// A read of the lease after heartbeats that led to no commit is another look at a candidate.
    fn note_looks(&mut self, function: usize, action: &Action) {
        let Some(running) = self.functions[function].as_mut() else { return };
        let again = running.looked && running.commit_sent.is_none() && matches!(action, Action::ReadLease);
        running.looked = matches!(action, Action::ReadHeartbeats(_));
        if again {
            self.see(Sometimes::LookedAgain);
        }
    }

    pub(crate) fn tell_function(&mut self, function: usize, at: Real, answer: FunctionAnswer) {
        self.queue.push(at, Event::FunctionAnswer { function, answer: Box::new(answer) });
    }

    // --- the table ---

    fn act_on_table(&mut self, function: usize, action: Action) {
        let sent = self.now;
        let there = draw(&mut self.rng, self.plan.delays.table);
        let back = draw(&mut self.rng, self.plan.delays.table);
        let write = !matches!(action, Action::ReadLease | Action::ReadHeartbeats(_));
        if matches!(action, Action::Commit(_))
            && let Some(running) = self.functions[function].as_mut()
        {
            running.commit_sent.get_or_insert(sent);
        }
        let failure = if self.network.has(Kind::TableThrottled) && self.chance(50) {
            Some(Failure::Throttled)
        } else if self.network.has(Kind::Conflicts) && write && self.chance(45) {
            Some(Failure::Conflict)
        } else {
            None
        };
        if let Some(failure) = failure {
            if matches!((&action, &failure), (Action::Commit(_), Failure::Conflict)) {
                self.see(Sometimes::CommitConflict);
            }
            return self.tell_function(
                function,
                sent + there,
                FunctionAnswer::failed(&action, sent, failure),
            );
        }
        let cut = self.network.has(Kind::TableDown) || self.network.has(Kind::FunctionsCut);
        if cut {
            let lost = self.chance(50);
            let unknown = FunctionAnswer::failed(&action, sent, Failure::Unknown("no answer".to_owned()));
            self.tell_function(function, sent + TABLE_TIMEOUT, unknown);
            if matches!(action, Action::Commit(_)) {
                self.see(if lost { Sometimes::CommitUnknownLost } else { Sometimes::CommitUnknownApplied });
            }
            if !lost {
                let action = Box::new(action);
                self.queue
                    .push(sent + there, Event::FunctionApply { function, action, answer_at: None, sent });
            }
            return;
        }
        let answer_at = Some(sent + there + back);
        self.queue
            .push(sent + there, Event::FunctionApply { function, action: Box::new(action), answer_at, sent });
    }

    pub(crate) fn function_apply(
        &mut self,
        function: usize,
        action: Action,
        answer_at: Option<Real>,
        sent: Real,
    ) {
        let answer = match action {
            Action::Look(look) => {
                let answer = self.sight(&look);
                FunctionAnswer::Sight(look, answer)
            }
            Action::ReadLease => FunctionAnswer::Lease(Ok(Some(Arc::clone(&self.lease))), sent),
            action => self.function_perform(function, action),
        };
        if let Some(at) = answer_at {
            self.tell_function(function, at.max(self.now), answer);
        }
    }

    fn function_perform(&mut self, function: usize, action: Action) -> FunctionAnswer {
        let cluster = self.cluster.clone();
        match action {
            Action::ReadHeartbeats(instances) => {
                FunctionAnswer::Heartbeats(ready(self.store.heartbeats(&cluster, &instances)))
            }
            Action::CountSuspects => {
                let alarmed = self.plan.alarmed.as_ref().is_some_and(|alarmed| alarmed.contains(&self.now));
                FunctionAnswer::Counted(Ok(if alarmed { BRAKE } else { 1 }))
            }
            Action::Commit(grant) => {
                let answer = ready(self.store.commit(&grant));
                self.watch_commit(function, &grant, &answer);
                FunctionAnswer::Committed(answer)
            }
            Action::RecordRotation { epoch, allocation, mark } => {
                let recorded = ready(self.store.record_rotation(&cluster, epoch, &allocation, &mark));
                let words = if recorded.is_ok() { "marked" } else { "not marked" };
                self.trace.say(self.now, &format!("f{function}"), || {
                    format!("{allocation} {words}: {}", String::from(mark.clone()))
                });
                match (&mark, &recorded) {
                    (Mark::Ends(_), Ok(())) => self.see(Sometimes::Rotation),
                    (Mark::Made(_), _) | (_, Ok(())) => {}
                    (_, Err(_)) => self.see(Sometimes::MarkRefused),
                }
                self.lease_may_have_changed();
                FunctionAnswer::Rotation(allocation, recorded.is_ok())
            }
            Action::RecordMoved(moved) => {
                let outcome = ready(self.store.record_moved(&cluster, &moved));
                let words = if outcome.is_ok() { "recorded" } else { "refused" };
                let epoch = moved.epoch;
                self.trace
                    .say(self.now, &format!("f{function}"), || format!("move of epoch {epoch} {words}"));
                if outcome.is_ok() {
                    self.watch_moved(&moved);
                }
                self.lease_may_have_changed();
                FunctionAnswer::Moved(outcome)
            }
            Action::Append(event) => {
                // A row of the history decides nothing, and its key costs as much as a tenth of a run.
                if self.plan.seed.is_multiple_of(16) {
                    let _ = ready(self.store.append(&event));
                }
                FunctionAnswer::Told
            }
            Action::Answer { request, answer } => {
                if ready(self.store.answer(&cluster, &request, &answer)).is_ok() {
                    self.see(Sometimes::RequestAnswered);
                    self.answer_stands(request, answer);
                }
                FunctionAnswer::Told
            }
            Action::EndFence(request) => {
                let _ = ready(self.store.end_fence(&cluster, &request));
                self.lease_may_have_changed();
                FunctionAnswer::Told
            }
            // No operator of a simulation asks for it: no table of one goes back.
            Action::Restore(_) => FunctionAnswer::Told,
            Action::ReadLease | Action::Look(_) | Action::Call(_) | Action::WakeSuccessor => {
                FunctionAnswer::Told
            }
        }
    }

    fn note_answer(&mut self, function: usize, answer: &FunctionAnswer) {
        let FunctionAnswer::Committed(answer) = answer else { return };
        match answer {
            Ok(Committed::Granted) => {
                let lease = (self.lease.epoch, self.lease.holder.clone());
                if let Some(running) = self.functions[function].as_mut() {
                    let sent = running.commit_sent.take().unwrap_or(self.now);
                    running.granted = Some(lease.0);
                    // What the commit has shown is an epoch later than what was read before.
                    if let Some(sight) = &mut running.sight {
                        (sight.epoch, sight.holder, sight.sent) = (sight.epoch.next(), lease.1, sent);
                    }
                }
            }
            Ok(Committed::Superseded(_)) => {
                self.see(Sometimes::CommitSuperseded);
                if let Some(running) = self.functions[function].as_mut() {
                    (running.commit_sent, running.commit_unknown) = (None, false);
                }
            }
            // Not done for sure: what counts is when it is sent again. Of one that may have been done, the first sending.
            Err(Failure::Conflict | Failure::Throttled) => {
                if let Some(running) = self.functions[function].as_mut().filter(|f| !f.commit_unknown) {
                    running.commit_sent = None;
                }
            }
            Err(_) => {
                if let Some(running) = self.functions[function].as_mut() {
                    running.commit_unknown = true;
                }
            }
        }
    }
}
