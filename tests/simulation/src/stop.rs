//! Instances that are stopped by a call to EC2, and somebody who starts them again.

use baton_protocol::fence::{Fenced, Fencing};
use baton_protocol::grant::Grant;
use baton_protocol::ids::InstanceId;
use baton_protocol::lease::Lease;
use baton_protocol::request::Wish;

use crate::clock::{Real, SECOND};
use crate::event::Event;
use crate::plan::{Range, draw};
use crate::sometimes::Sometimes;
use crate::world::Sim;

/// EC2 takes so long; an invocation waits for 21 s at most.
const STOPS_WITHIN: Range = (2 * SECOND, 26 * SECOND);
/// Nothing starts what was stopped but a person.
const STARTED_AFTER: Range = (4 * SECOND, 20 * SECOND);

impl Sim<'_> {
    fn machine_of(&self, instance: &InstanceId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.node.instance == *instance)
    }

    fn state_of(&self, machine: usize) -> String {
        self.cloud.state_of(&self.machines[machine].node.instance).unwrap_or_default()
    }

    /// A call to stop it has landed. It may serve until it has stopped.
    pub(crate) fn begins_to_stop(&mut self, instance: &InstanceId) {
        let Some(machine) = self.machine_of(instance) else { return };
        self.say(machine, || "is being stopped".to_owned());
        self.note_stop(machine);
        let at = self.now + draw(&mut self.rng, STOPS_WITHIN);
        self.queue.push(at, Event::Stopped { machine });
    }

    /// Whatever follows for the node has this cause, and takes its time.
    fn note_stop(&mut self, machine: usize) {
        self.watch.disturb(machine, self.now);
        self.watch.mutated(self.now);
        self.watch.fenced_at = self.now;
    }

    pub(crate) fn has_stopped(&mut self, machine: usize) {
        if self.state_of(machine) != "stopping" {
            return;
        }
        let instance = self.machines[machine].node.instance.clone();
        self.cloud.set_state(&instance, "stopped");
        self.note_stop(machine);
        self.lose_power(machine);
        let at = self.now + draw(&mut self.rng, STARTED_AFTER);
        self.queue.push(at, Event::StartedAgain { machine });
    }

    pub(crate) fn starts_again(&mut self, machine: usize) {
        if self.state_of(machine) != "stopped" {
            return;
        }
        // Whatever else has struck it has an end of its own first, which may start it as well.
        if self.machines[machine].has_trouble() {
            return self.queue.push(self.now + SECOND, Event::StartedAgain { machine });
        }
        self.runs_again(machine);
        self.queue.push(self.now, Event::Boot { machine });
    }

    /// It runs, and whatever was stopped is over.
    pub(crate) fn runs_again(&mut self, machine: usize) {
        let instance = self.machines[machine].node.instance.clone();
        if self.is_down(machine) {
            self.watch.down_until.insert(machine, self.now);
        }
        self.cloud.set_state(&instance, "running");
        if self.plan.fencing == Fencing::Stop {
            self.note_stop(machine);
        }
    }

    pub(crate) fn is_stopping(&self, machine: usize) -> bool {
        self.state_of(machine) == "stopping"
    }

    fn is_down(&self, machine: usize) -> bool {
        matches!(self.state_of(machine).as_str(), "stopped" | "terminated")
    }

    /// I21. By what was so outside, and not by what anybody has seen.
    pub(crate) fn fence_is_true(
        &mut self,
        grant: &Grant,
        before: &Lease,
        holder: usize,
        fence: Option<Fenced>,
    ) {
        if before.fencing != Fencing::Stop {
            return;
        }
        let is_said = self
            .watch
            .words
            .iter()
            .any(|(epoch, from, until)| *epoch == grant.epoch && *from <= grant.at && grant.at < *until);
        let since: Real = self.watch.silent_since(holder);
        let was_down = self.watch.down_until.get(&holder).is_some_and(|until| *until > since);
        match fence {
            Some(Fenced::Stopped { .. }) => self.see(Sometimes::StoppedBefore),
            Some(Fenced::Lifted {}) => self.see(Sometimes::FenceLifted),
            None => {}
        }
        if !is_said && !self.is_down(holder) && !was_down {
            let state = self.state_of(holder);
            self.broken("I21", format!("n{holder} is deposed on silence, and its instance is {state}"));
        }
    }

    /// Somebody has a node stopped, whatever it does.
    pub(crate) fn have_somebody_stopped(&mut self) {
        let lasts = self.rng.u64(20 * SECOND..40 * SECOND);
        let members = self.lease.members.clone();
        if members.is_empty() || self.now + lasts > self.plan.quiet_from {
            return;
        }
        let node = members[self.rng.usize(..members.len())].instance.clone();
        let uid = self.lease.uid.clone();
        self.see(Sometimes::FenceAsked);
        self.ask(Wish::Fence { node, uid, why: String::new() }, lasts);
    }
}
