//! The shape of a state: what is left of it when all moments are told relative to the present one, and heartbeats and runs
//! are numbered by their order.
//!
//! The protocol compares the numbers of one node's heartbeats with one another, and so the names of its runs, and nothing
//! else. So each is replaced by its place among all that occur in the state. Without this no path would ever meet an
//! earlier one, since every heartbeat has a number of its own.

use std::hash::{Hash, Hasher};

use baton_protocol::grant::{Grant, HolderCheck};
use baton_protocol::heartbeat::{Beat, Heartbeat};
use baton_protocol::ids::{Epoch, Incarnation, InstanceArn, Seq};
use baton_protocol::node::{Form, RunState, canonical_claim, health};
use baton_protocol::outcome::{Write, WriteFailure};
use baton_protocol::time::BootTime;

use crate::machine::{Agent, Asked, Call, Kind, Machine};
use crate::setup::{NODES, SILENCE, index, instance, run};
use crate::table::{Sent, Table};
use crate::world::{Late, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Number(u64),
    Run(u8, u64),
    Seq(u8, u64),
}

/// The shape of a state.
#[derive(Debug, Default)]
pub struct Shape {
    parts: Vec<Part>,
    runs: [Vec<u64>; NODES],
    seqs: [Vec<u64>; NODES],
}

impl Form for Shape {
    fn number(&mut self, number: u64) {
        self.parts.push(Part::Number(number));
    }

    fn instance(&mut self, instance: &InstanceArn) {
        self.number(index(instance) as u64);
    }

    fn incarnation(&mut self, of: &InstanceArn, incarnation: &Incarnation) {
        let (node, run) = (index(of), run(incarnation));
        self.runs[node].push(run);
        self.parts.push(Part::Run(node as u8, run));
    }

    fn seq(&mut self, of: &InstanceArn, seq: Seq) {
        let node = index(of);
        self.seqs[node].push(seq.0);
        self.parts.push(Part::Seq(node as u8, seq.0));
    }
}

impl Shape {
    /// The shape of `world`.
    pub fn of(world: &World) -> Self {
        let mut shape = Self { parts: Vec::with_capacity(256), ..Self::default() };
        shape.table(&world.table);
        for (node, machine) in world.machines.iter().enumerate() {
            shape.machine(world, node, machine);
        }
        match world.late.as_deref() {
            None => shape.number(0),
            Some(Late { node, by, sent }) => {
                shape.number(1 + *node as u64);
                shape.incarnation(&instance(*node), by);
                shape.sent(*node, sent);
            }
        }
        shape.number(world.decided.len() as u64);
        for grant in &world.decided {
            shape.grant(grant);
        }
        shape.number(u64::from(world.spent));
        shape.number(world.broken.map_or(0, |rule| 1 + rule as u64));
        for names in shape.runs.iter_mut().chain(&mut shape.seqs) {
            names.sort_unstable();
            names.dedup();
        }
        shape
    }

    /// The parts as numbers, with each name replaced by its place.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let place = |names: &[u64], name: u64| names.iter().take_while(|other| **other < name).count() as u64;
        self.parts.iter().map(move |part| match *part {
            Part::Number(number) => number,
            Part::Run(node, run) => place(&self.runs[usize::from(node)], run),
            Part::Seq(node, seq) => place(&self.seqs[usize::from(node)], seq),
        })
    }

    fn flag(&mut self, flag: bool) {
        self.number(u64::from(flag));
    }

    fn left(&mut self, until: Option<BootTime>, now: BootTime) {
        self.number(until.map_or(0, |until| until.since(now).as_millis() as u64));
    }

    fn epoch(&mut self, epoch: Option<Epoch>) {
        self.number(epoch.map_or(0, |epoch| 1 + epoch.0));
    }

    fn table(&mut self, table: &Table) {
        self.lease(table);
        for instance in table.lease.members.iter().map(|member| &member.instance) {
            self.heartbeat(table.heartbeats.get(instance));
        }
    }

    fn lease(&mut self, table: &Table) {
        self.number(table.lease.epoch.0);
        // Told by its number: a registration changes nothing else than the mode, back and forth.
        self.number(table.lease.revision);
        self.number(table.lease.holder.as_ref().map_or(0, |holder| 1 + index(holder) as u64));
    }

    fn heartbeat(&mut self, heartbeat: Option<&Heartbeat>) {
        let Some(heartbeat) = heartbeat else { return self.number(0) };
        self.number(1 + health(heartbeat.health));
        self.incarnation(&heartbeat.instance, &heartbeat.incarnation);
        self.seq(&heartbeat.instance, heartbeat.seq);
        self.number(heartbeat.released.0);
        self.number(heartbeat.validity_ms);
        canonical_claim(heartbeat.claim.as_ref(), SILENCE, self);
    }

    fn machine(&mut self, world: &World, node: usize, machine: &Machine) {
        let now = world.now().boot;
        self.epoch(machine.up);
        self.number(machine.hooks as u64);
        // The dead-man has nothing more to stop once the service is down.
        self.left(machine.armed.filter(|_| machine.up.is_some()).map(|end| end + crate::setup::FENCE), now);
        self.flag(machine.armed.is_some());
        self.number(machine.frozen as u64);
        self.kept(machine.kept.as_ref(), now);
        match &machine.agent {
            Some(agent) => self.agent(now, node, agent),
            None => self.number(0),
        }
    }

    fn kept(&mut self, kept: Option<&RunState>, now: BootTime) {
        let Some(kept) = kept else { return self.number(0) };
        self.number(1);
        self.epoch(kept.serving.filter(|_| kept.serving_since.is_some()));
        self.left(kept.valid_until, now);
        self.flag(kept.guarded);
        self.number(kept.released.0);
    }

    fn agent(&mut self, now: BootTime, node: usize, agent: &Agent) {
        self.number(1);
        agent.node.canonical(now, SILENCE, self);
        self.number(agent.hook.map_or(0, |old| 1 + u64::from(old)));
        self.number(agent.calls.len() as u64);
        for call in &agent.calls {
            self.call(node, agent, call);
        }
    }

    fn call(&mut self, node: usize, agent: &Agent, call: &Call) {
        match call {
            Call::Sent(sent) => {
                self.number(0);
                self.sent(node, sent);
            }
            Call::Written(kind, answer) => {
                self.number(1 + *kind as u64);
                self.answer(node, *kind, answer);
            }
            Call::Read(asked, table) => {
                self.number(4 + *asked as u64);
                match asked {
                    Asked::Own => self.heartbeat(table.heartbeat(node)),
                    Asked::Lease => self.lease(table),
                    Asked::Holder => {
                        // Whom the node asked about: it may not know yet that another holds the lease.
                        let holder = agent.node.lease().and_then(|lease| lease.holder.as_ref());
                        self.number(holder.map_or(0, |holder| 1 + index(holder) as u64));
                        self.heartbeat(holder.and_then(|holder| table.heartbeats.get(holder)));
                    }
                }
            }
        }
    }

    fn answer(&mut self, node: usize, kind: Kind, answer: &Write<Option<Heartbeat>>) {
        match answer {
            Ok(()) => self.number(0),
            Err(WriteFailure::Failed(_)) => self.number(1),
            // Whatever was found, a refused announcement is followed by another read.
            Err(WriteFailure::Refused(_)) if kind == Kind::Announce => self.number(2),
            Err(WriteFailure::Refused(None)) => self.number(3),
            Err(WriteFailure::Refused(Some(found))) => {
                self.number(4);
                self.incarnation(&instance(node), &found.incarnation);
                self.seq(&instance(node), found.seq);
            }
        }
    }

    fn sent(&mut self, node: usize, sent: &Sent) {
        let own = instance(node);
        match sent {
            Sent::Announce(start) => {
                self.number(0);
                self.incarnation(&own, &start.incarnation);
                match &start.expected {
                    None => self.number(0),
                    Some(expected) => {
                        self.number(1);
                        self.incarnation(&own, expected);
                    }
                }
                self.number(start.validity_ms);
            }
            Sent::Beat(beat) => {
                self.number(1);
                let Beat { incarnation, seq, health: good, claim, validity_ms, .. } = beat.as_ref();
                self.incarnation(&own, incarnation);
                self.seq(&own, *seq);
                self.number(health(*good));
                canonical_claim(claim.as_ref(), SILENCE, self);
                self.number(*validity_ms);
            }
            Sent::Release(epoch) => {
                self.number(2);
                self.number(epoch.0);
            }
        }
    }

    fn grant(&mut self, grant: &Grant) {
        self.number(grant.epoch.0);
        self.number(grant.revision);
        self.number(grant.holder.as_ref().map_or(0, |holder| 1 + index(holder) as u64));
        self.number(grant.ground as u64);
        self.instance(&grant.to);
        self.incarnation(&grant.to, &grant.to_incarnation);
        match (&grant.holder_check, &grant.holder) {
            (HolderCheck::Unchanged { incarnation, seq }, Some(holder)) => {
                self.number(1);
                self.incarnation(holder, incarnation);
                self.seq(holder, *seq);
            }
            (HolderCheck::Released { epoch }, _) => {
                self.number(2);
                self.number(epoch.0);
            }
            _ => self.number(0),
        }
    }
}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for number in self.numbers() {
            state.write_u64(number);
        }
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.numbers().eq(other.numbers())
    }
}
