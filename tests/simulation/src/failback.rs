//! The way back, as the arbiter's function asks for it: read, decided, and written a while later.

use std::collections::BTreeMap;

use baton_protocol::failback::{self, Due, Failback};
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::InstanceArn;
use baton_protocol::request::{Request, Wish};
use baton_store::Store;

use crate::clock::{MS, SECOND};
use crate::event::Event;
use crate::fault::Kind;
use crate::plan::{WINDOW_OPEN, draw};
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

impl Sim<'_> {
    /// An invocation that was woken for it has ended.
    pub(crate) fn consider_failback(&mut self) {
        if self.network.has(Kind::TableDown) || self.network.has(Kind::FunctionsCut) {
            return;
        }
        let members: Vec<_> = self.lease.members.iter().map(|member| member.instance.clone()).collect();
        let Ok(heartbeats) = ready(self.store.heartbeats(&self.cluster, &members)) else { return };
        let now = self.global().wall;
        let Some(due) = failback::due(&self.lease, &heartbeats, now) else { return };
        self.failback_is_right(&due, &heartbeats);
        let request = Request {
            cluster: self.cluster.clone(),
            id: failback::request_id(self.lease.epoch, now),
            wish: Wish::Failback { to: due.to, why: due.why },
            by: "arbiter".to_owned(),
            at: now,
            until: due.until,
            epoch: self.lease.epoch,
            answer: None,
        };
        if self.chance(10) {
            // Somebody speaks just then.
            self.ask_for_switchover();
        }
        let mut delay = draw(&mut self.rng, self.plan.delays.table);
        if self.network.has(Kind::FunctionsSlow) {
            delay += self.rng.u64(0..15 * SECOND);
        }
        self.queue.push(self.now + delay, Event::AskForFailback(Box::new(request)));
    }

    pub(crate) fn ask_for_failback(&mut self, request: &Request) {
        let before = self.lease.clone();
        if ready(self.store.ask(request)).is_err() {
            return self.see(Sometimes::FailbackRefused);
        }
        if before.live_intent(request.at).is_some() {
            self.broken("I22", "a failback takes the place of another wish".to_owned());
        }
        if before.is_paused(request.at) {
            self.broken("I22", "a failback is wished for during a pause".to_owned());
        }
        self.trace.say(self.now, "table", || format!("a failback is wished for: {:?}", request.wish));
        self.see(Sometimes::FailbackAsked);
        self.watch.failbacks.push(request.id.clone());
        self.lease_may_have_changed();
        self.replaced_is_answered(&before, &request.id);
        self.stream_wakes();
    }

    /// I22, by what the nodes really said and when.
    fn failback_is_right(&mut self, due: &Due, heartbeats: &BTreeMap<InstanceArn, Heartbeat>) {
        let Failback::Automatic { hold_ms, window } = self.plan.failback else {
            return self.broken("I22", "a failback is due where it is not chosen".to_owned());
        };
        if window.is_some() && !WINDOW_OPEN.contains(&self.now) {
            self.broken("I22", "a failback is due outside its window".to_owned());
        }
        let machine = |instance: &InstanceArn| self.by_arn.get(instance).copied();
        let (holder, to) = (self.lease.holder.as_ref().and_then(machine), machine(&due.to));
        let (Some(holder), Some(to), Some(found)) = (holder, to, heartbeats.get(&due.to)) else {
            return self.broken("I22", "a failback is due between nodes that are not there".to_owned());
        };
        // As the lease says: who has joined by its tag has another place in it than its machine was made with.
        let priority = |n: usize| self.lease.member(self.machines[n].arn()).map(|member| member.priority);
        if priority(to) >= priority(holder) {
            self.broken("I22", format!("n{to} is not preferred to n{holder}, and a failback to it is due"));
        }
        // A node's seconds are a hundredth too long or too short at most.
        let well_for = self.watch.well_for(to, found.seq.0);
        if well_for + well_for / 50 < hold_ms * MS {
            let seconds = well_for / SECOND;
            self.broken(
                "I22",
                format!("n{to} has been healthy for {seconds} s, and a failback to it is due"),
            );
        }
    }
}
