//! The agent's driver, the dead-man and the hooks: what a node asks for is done here, and told back.

use baton_protocol::heartbeat::Health;
use baton_protocol::ids::Epoch;
use baton_protocol::node::{Command, Exit, HookOutcome, Node, Reason};
use baton_protocol::time::BootTime;

use crate::clock::{MS, SECOND};
use crate::event::{Answer, Event};
use crate::fault::Kind;
use crate::machine::Hook;
use crate::plan::draw;
use crate::sometimes::Sometimes;
use crate::world::Sim;

impl Sim<'_> {
    // --- the agent's driver ---

    pub(crate) fn timer(&mut self, machine: usize, run: u32) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if m.run != run || m.agent.is_none() {
            return;
        }
        if m.timer_at.is_some_and(|at| at <= now) {
            m.timer_at = None;
        }
        if let Some(at) = m.agent_goes_on_at(now) {
            m.timer_at = Some(at);
            return self.queue.push(at, Event::Timer { machine, run });
        }
        let local = self.local(machine);
        let due = self.machines[machine].agent.as_ref().and_then(Node::next_deadline);
        if due.is_some_and(|due| due <= local.boot) {
            self.tell(machine, |node| node.handle_timer(local));
        } else {
            self.arrange_timer(machine);
        }
    }

    pub(crate) fn answer(&mut self, machine: usize, run: u32, answer: Answer) {
        let m = &mut self.machines[machine];
        if m.run != run || m.agent.is_none() {
            return;
        }
        if let Some(at) = m.agent_goes_on_at(self.now) {
            return self.queue.push(at, Event::Answer { machine, run, answer: Box::new(answer) });
        }
        if self.freezes_now(machine, &answer) {
            let at = self.machines[machine].frozen_until;
            return self.queue.push(at, Event::Answer { machine, run, answer: Box::new(answer) });
        }
        self.watch_answer(machine, &answer);
        let local = self.local(machine);
        let sprung = self.trap_answer(machine, &answer);
        self.tell(machine, |node| match answer {
            Answer::Own(found) => node.handle_own(local, found),
            Answer::Announced(outcome) => node.handle_announced(local, outcome),
            Answer::Beat(outcome) => node.handle_beat(local, outcome),
            Answer::Lease(found) => node.handle_shared_lease(local, found),
            Answer::Heartbeats(found) => node.handle_heartbeats(local, found),
            Answer::Released(outcome) => node.handle_released(local, outcome),
            Answer::Told => {}
        });
        if sprung {
            self.spring(machine);
        }
    }

    /// Whether the agent stands still right before it learns that it holds the lease.
    fn freezes_now(&mut self, machine: usize, answer: &Answer) -> bool {
        let m = &mut self.machines[machine];
        let Answer::Lease(Ok(Some(lease))) = answer else { return false };
        let Some(until) = m.freezes_at_grant.filter(|until| *until > self.now) else { return false };
        if lease.holder.as_ref() != Some(m.arn()) || m.serving.is_some() {
            return false;
        }
        m.freezes_at_grant = None;
        m.frozen_until = until;
        true
    }

    /// Hands something to the agent, and does what it then asks for.
    pub(crate) fn tell(&mut self, machine: usize, what: impl FnOnce(&mut Node)) {
        let Some(node) = self.machines[machine].agent.as_mut() else { return };
        what(node);
        self.pump(machine);
    }

    /// Carries out every command.
    pub(crate) fn pump(&mut self, machine: usize) {
        while let Some(command) = self.machines[machine].agent.as_mut().and_then(Node::poll_command) {
            self.carry_out(machine, command);
        }
        self.goes_on_serving(machine);
        self.arrange_timer(machine);
    }

    fn arrange_timer(&mut self, machine: usize) {
        let m = &mut self.machines[machine];
        let Some(due) = m.agent.as_ref().and_then(Node::next_deadline) else { return };
        let at = m.clock.when(due).max(self.now);
        if m.timer_at.is_none_or(|standing| at < standing) {
            m.timer_at = Some(at);
            let run = m.run;
            self.queue.push(at, Event::Timer { machine, run });
        }
    }

    fn carry_out(&mut self, machine: usize, command: Command) {
        match command {
            Command::Arm { valid_until, .. } => self.arm(machine, valid_until),
            Command::Disarm => {
                let m = &mut self.machines[machine];
                (m.dead_man, m.fired, m.dead_man_fires) = (None, false, false);
            }
            Command::Promote { epoch, guarded } => self.promote(machine, epoch, guarded),
            Command::Demote { epoch, reason } => self.demote(machine, epoch, reason),
            Command::Persist(state) => {
                let m = &mut self.machines[machine];
                m.keeps_what_was = m.is_struck(Kind::DiskFull);
                if !m.keeps_what_was {
                    m.kept = Some(state);
                }
            }
            Command::Exit(exit) => self.exit(machine, &exit),
            Command::Wake(why) => {
                self.say(machine, || format!("wakes the arbiter: {why:?}"));
                let cut = self.machines[machine].is_struck(Kind::BusCut);
                if !cut {
                    self.send_wake(why);
                }
            }
            call => self.call_table(machine, call),
        }
    }

    fn arm(&mut self, machine: usize, valid_until: BootTime) {
        if self.machines[machine].is_struck(Kind::ArmFails) {
            self.machines[machine].guard_stands = false;
            let local = self.local(machine);
            if let Some(node) = self.machines[machine].agent.as_mut() {
                node.handle_fenced(local);
            }
            return;
        }
        let now = self.now;
        let m = &mut self.machines[machine];
        m.guard_stands = true;
        m.fired = false;
        m.dead_man = Some(valid_until);
        let at = m.clock.when(valid_until).max(now);
        if m.dead_man_event.is_none_or(|standing| at < standing) {
            m.dead_man_event = Some(at);
            self.queue.push(at, Event::DeadMan { machine });
        }
    }

    pub(crate) fn dead_man_wakes(&mut self, machine: usize) {
        let now = self.now;
        let m = &mut self.machines[machine];
        m.dead_man_event = None;
        let Some(until) = m.dead_man else { return };
        let at = m.goes_on_at(now).unwrap_or_else(|| m.clock.when(until));
        if at > now {
            m.dead_man_event = Some(at);
            return self.queue.push(at, Event::DeadMan { machine });
        }
        if m.dead_man_fires {
            return;
        }
        m.dead_man_fires = true;
        // What stops the service is late by at most D after the end of validity, a suspension of the machine included: it
        // is awake before the service is.
        let overdue = m.clock.show(now).since(until).as_nanos();
        let boot = m.boot;
        let fence = draw(&mut self.rng, self.plan.delays.fence);
        let left = u64::try_from(u128::from(fence).saturating_sub(overdue)).unwrap_or(0);
        if overdue > u128::from(SECOND) && self.machines[machine].serving.is_some() {
            self.see(Sometimes::FencedAfterSuspend);
        }
        if left == 0 {
            self.dead_man_done(machine, boot);
        } else {
            self.queue.push(now + left, Event::DeadManDone { machine, boot });
        }
    }

    pub(crate) fn dead_man_done(&mut self, machine: usize, boot: u32) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if m.boot != boot || !m.power || !m.dead_man_fires {
            return;
        }
        if let Some(at) = m.goes_on_at(now) {
            return self.queue.push(at, Event::DeadManDone { machine, boot });
        }
        m.dead_man_fires = false;
        m.fired = true;
        m.dead_man = None;
        let promoting = m.hook.take_if(|hook| hook.promotes);
        if m.hook.is_some() {
            self.see(Sometimes::DemoteOverrun);
        }
        if self.machines[machine].serving.is_some() {
            self.see(Sometimes::DeadManFired);
        }
        self.stop_serving(machine, "the dead-man stopped it");
        self.lower_addresses(machine, "the dead-man took them away");
        if promoting.is_some() {
            self.promote_ended(machine, HookOutcome::Failed);
        }
        let at = now + self.rng.u64(SECOND..3 * SECOND);
        self.queue.push(at, Event::Health { machine });
    }

    // --- hooks ---

    fn promote(&mut self, machine: usize, epoch: Epoch, guarded: bool) {
        let local = self.local(machine);
        let stands = self.machines[machine].guard_stands;
        let may =
            self.machines[machine].agent.as_ref().is_some_and(|n| n.may_promote(local.boot, guarded, stands));
        if !may {
            self.see(Sometimes::GuardRefused);
            return self.promote_ended(machine, HookOutcome::Failed);
        }
        self.watch_promote(machine, epoch, guarded);
        let fails = self.machines[machine].is_struck(Kind::PromoteFails);
        let hangs = self.machines[machine].is_struck(Kind::PromoteHangs);
        let length = if hangs { 8 * SECOND } else { draw(&mut self.rng, self.plan.delays.hook) };
        let outcome = if fails || hangs { HookOutcome::Failed } else { HookOutcome::Done };
        let number = self.begin_hook(machine, true);
        self.raise_addresses(machine, epoch);
        self.start_serving(machine, epoch);
        self.queue.push(self.now + length, Event::Hook { machine, number, outcome });
    }

    fn demote(&mut self, machine: usize, epoch: Option<Epoch>, reason: Reason) {
        self.watch_demote(machine, epoch, reason);
        self.say(machine, || format!("demotes: {}", reason.as_str()));
        if !reason.leaves_time() {
            self.lower_addresses(machine, "there is no time to wait");
        }
        let hangs = self.machines[machine].is_struck(Kind::DemoteHangs);
        let length = if hangs { 6 * SECOND } else { draw(&mut self.rng, self.plan.delays.hook) };
        let outcome = if hangs { HookOutcome::Failed } else { HookOutcome::Done };
        let number = self.begin_hook(machine, false);
        self.queue.push(self.now + length, Event::Hook { machine, number, outcome });
    }

    fn begin_hook(&mut self, machine: usize, promotes: bool) -> u32 {
        let m = &mut self.machines[machine];
        m.hooks += 1;
        m.hook = Some(Hook { promotes, number: m.hooks });
        m.hooks
    }

    pub(crate) fn hook_ends(&mut self, machine: usize, number: u32, outcome: HookOutcome) {
        let m = &mut self.machines[machine];
        let Some(hook) = m.hook.filter(|hook| hook.number == number) else { return };
        if let Some(at) = m.goes_on_at(self.now) {
            return self.queue.push(at, Event::Hook { machine, number, outcome });
        }
        // The hook has done its work when it ends. A frozen agent learns of it later.
        if !hook.promotes && m.serving.is_some() {
            self.stop_serving(machine, "its demote hook is done");
        }
        if let Some(at) = self.machines[machine].agent_goes_on_at(self.now) {
            return self.queue.push(at, Event::Hook { machine, number, outcome });
        }
        self.machines[machine].hook = None;
        if hook.promotes {
            self.promote_ended(machine, outcome);
        } else {
            self.lower_addresses(machine, "its service has stopped");
            let local = self.local(machine);
            let checks = self.now + self.rng.u64(SECOND..2 * SECOND);
            self.queue.push(checks, Event::Health { machine });
            self.tell(machine, |node| node.handle_demoted(local, outcome));
        }
    }

    fn promote_ended(&mut self, machine: usize, outcome: HookOutcome) {
        if outcome == HookOutcome::Failed {
            self.see(Sometimes::PromoteFailed);
        } else {
            self.measure_serving(machine);
        }
        let local = self.local(machine);
        self.tell(machine, |node| node.handle_promoted(local, outcome));
        let at = self.now + self.rng.u64(SECOND..3 * SECOND);
        self.queue.push(at, Event::Health { machine });
    }

    fn exit(&mut self, machine: usize, exit: &Exit) {
        self.say(machine, || format!("agent ends: {exit:?}"));
        self.watch_exit(machine, exit);
        let again = match exit {
            Exit::Orderly if self.machines[machine].is_struck(Kind::Shutdown) => None,
            // It was asked to end before, and whoever asked has started it again by now.
            Exit::Orderly => Some(self.now + SECOND),
            Exit::Usurped(_) => {
                self.see(Sometimes::Usurped);
                Some(self.now + self.rng.u64(500 * MS..2 * SECOND))
            }
        };
        let m = &mut self.machines[machine];
        m.agent = None;
        m.run += 1;
        m.timer_at = None;
        let boot = m.boot;
        if let Some(at) = again {
            self.queue.push(at, Event::StartAgent { machine, boot });
        }
    }

    // --- checks ---

    pub(crate) fn look_at_health(&mut self, machine: usize) {
        let m = &self.machines[machine];
        let Some(node) = &m.agent else { return };
        if let Some(at) = m.agent_goes_on_at(self.now) {
            return self.queue.push(at, Event::Health { machine });
        }
        let stopped_unnoticed = node.serving().is_some() && m.serving.is_none();
        let bad = m.is_struck(Kind::Unhealthy) || stopped_unnoticed;
        let health = if bad { Health::Bad } else { Health::Ok };
        let leaving = m.is_struck(Kind::Notice);
        let local = self.local(machine);
        // A recover hook starts what it finds stopped, wherever the node lets it run.
        let starts = bad && m.serving.is_none() && node.may_recover(local);
        let epoch = node.serving().or_else(|| node.lease().map(|lease| lease.epoch)).filter(|_| starts);
        self.say(machine, || format!("checks say {health:?}"));
        if let Some(epoch) = epoch {
            self.say(machine, || "its recover hook starts the service".to_owned());
            self.start_serving(machine, epoch);
        }
        self.look_at_addresses(machine);
        self.tell(machine, |node| node.handle_health(local, health));
        self.tell(machine, |node| node.handle_leaving(local, leaving));
    }
}
