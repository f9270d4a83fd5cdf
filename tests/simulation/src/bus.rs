//! What wakes functions: the bus, the table's stream, and the sweep.

use std::collections::BTreeSet;

use baton_protocol::arbiter::Hint;
use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::SCHEMA;
use baton_protocol::probe::Probe;
use baton_protocol::sweep::{Reason, Span, needs_wake};
use baton_protocol::wake::{Wake, Why};
use baton_store::Store;

use crate::clock::SECOND;
use crate::event::Event;
use crate::fault::Kind;
use crate::plan::draw;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

impl Sim<'_> {
    // --- the sweep ---

    pub(crate) fn sweep(&mut self) {
        self.queue.push(self.now + 60 * SECOND, Event::Sweep);
        let cut = self.network.has(Kind::TableDown)
            || self.network.has(Kind::FunctionsCut)
            || self.network.has(Kind::FunctionsDown);
        if cut {
            return;
        }
        let mut instances: BTreeSet<InstanceArn> =
            self.lease.members.iter().map(|m| m.instance.clone()).collect();
        instances.extend(self.lease.holder.clone());
        let instances: Vec<_> = instances.into_iter().collect();
        let Ok(heartbeats) = ready(self.store.heartbeats(&self.cluster, &instances)) else { return };
        let span = Span::minute(self.global().wall);
        // What could be moved is not asked here: a probe changes nothing.
        let (uid, revision) = (self.lease.uid.clone(), self.lease.revision);
        let known = Probe { at: span.until, uid, revision, obstacles: Vec::new() };
        let reason = needs_wake(&self.lease, &heartbeats, Some(&known), span);
        if let Some(reason) = reason {
            self.trace.say(self.now, "sweep", || format!("wakes the arbiter: {reason}"));
            self.see(if matches!(reason, Reason::Turn | Reason::Probe | Reason::Failback) {
                Sometimes::TurnWake
            } else {
                Sometimes::SweepWake
            });
            self.send_wake(reason.why());
        }
    }

    // --- the bus ---

    pub(crate) fn send_wake(&mut self, why: Why) {
        let wake = Wake { cluster: self.cluster.clone(), why, schema: SCHEMA };
        self.deliver(Hint::of_wake(wake));
    }

    /// Sends an event to the function, as a bus does: late, twice, or not at all.
    pub(crate) fn deliver(&mut self, hint: Hint) {
        self.wakes.push(hint.clone());
        if self.network.has(Kind::EventsLost) && self.chance(70) {
            return;
        }
        let mut delay = draw(&mut self.rng, self.plan.delays.bus);
        if self.network.has(Kind::EventsLate) {
            if self.chance(40) {
                self.see(Sometimes::RepeatedWake);
                let again = self.rng.u64(0..20 * SECOND);
                self.queue.push(self.now + again, Event::Invoke { hint: hint.clone(), retry: 0 });
            }
            if self.chance(40) {
                delay = self.rng.u64(0..45 * SECOND);
                if delay > 30 * SECOND {
                    self.see(Sometimes::LateWake);
                }
            }
        }
        self.queue.push(self.now + delay, Event::Invoke { hint, retry: 0 });
    }

    /// The table's stream wakes the arbiter for the items that ask for attention.
    pub(crate) fn stream_wakes(&mut self) {
        for cluster in self.store.take_woken() {
            if self.network.has(Kind::EventsLost) && self.chance(50) {
                continue;
            }
            self.see(Sometimes::StreamWake);
            let delay = 2 * draw(&mut self.rng, self.plan.delays.bus);
            self.queue.push(self.now + delay, Event::Invoke { hint: Hint::of_stream(cluster), retry: 0 });
        }
    }
}
