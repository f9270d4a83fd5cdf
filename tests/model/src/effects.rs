//! The effects: what a state becomes by a step.

use std::collections::BTreeSet;
use std::sync::Arc;

use baton_protocol::decide::{Decision, Snapshot, decide};
use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::history::Ground;
use baton_protocol::ids::Seq;
use baton_protocol::node::{HookOutcome, Node, NodeConfig, Shutdown};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_store::Store;

use crate::bounds::{Allowance, Bounds};
use crate::drive::Drive;
use crate::machine::{Agent, Asked, Call, Frozen, Hooks, Kind, Machine};
use crate::ready::ready;
use crate::rules::{Encounters, Met, Rule};
use crate::setup::{FENCE, cluster, elsewhere, incarnation, instance};
use crate::steps::Step;
use crate::table::Table;
use crate::world::{Late, World};

/// What becomes of `world`; none if nothing does.
pub fn after(bounds: &Bounds, met: &Encounters, world: &World, step: Step) -> Option<World> {
    let mut next = world.clone();
    match step {
        Step::Pass => pass(bounds, met, &mut next),
        Step::Freeze(node) => {
            bounds.freezes.spend(&mut next.spent);
            next.machine(node).frozen = Frozen::Now;
        }
        Step::Apply(node, at) => apply(&mut next, node, at),
        Step::Answer(node, at) => answer(bounds, met, &mut next, node, at),
        Step::Lose(node, at) => {
            bounds.losses.spend(&mut next.spent);
            lose(bounds, met, &mut next, node, at);
        }
        Step::GiveUp(node, at) => {
            bounds.late.spend(&mut next.spent);
            leave_under_way(&mut next, node, at);
            lose(bounds, met, &mut next, node, at);
        }
        Step::ApplyLate => apply_late(met, &mut next),
        Step::HookEnds(node) => hook_ends(bounds, met, &mut next, node),
        Step::Thaw(node) => {
            next.machine(node).frozen = Frozen::No;
            Drive::new(bounds, met, &mut next, node).settle();
        }
        Step::ThawToAnswer(node) => {
            next.machine(node).frozen = Frozen::No;
            answer(bounds, met, &mut next, node, 0);
        }
        Step::Die(node) => {
            bounds.crashes.spend(&mut next.spent);
            next.machine(node).end_agent();
        }
        Step::DieSending(node, at) => {
            // One fault, of whichever kind is counted.
            let kind = if bounds.late == Allowance::Counted { bounds.late } else { bounds.crashes };
            kind.spend(&mut next.spent);
            leave_under_way(&mut next, node, at);
            next.machine(node).end_agent();
        }
        Step::GoDown(node) => {
            bounds.crashes.spend(&mut next.spent);
            let run = next.machines[node].run;
            *next.machine(node) = Machine { run, ..Machine::default() };
        }
        Step::Begin(node) => begin(bounds, met, &mut next, node),
        Step::HandOver(node) => {
            bounds.handovers.spend(&mut next.spent);
            let mut drive = Drive::new(bounds, met, &mut next, node);
            drive.tell(|node, now| node.handle_shutdown(now, Shutdown::Handover));
        }
        Step::Decide(alive) => return decided(world, alive),
        Step::Commit(which) => commit(met, &mut next, which),
        Step::Turn => next.table = Arc::new(next.table.turned()),
    }
    next.look();
    Some(next)
}

fn pass(bounds: &Bounds, met: &Encounters, world: &mut World) {
    world.quanta += 1;
    let now = world.now().boot;
    for node in 0..world.machines.len() {
        let fired = world.machines[node].armed.is_some_and(|end| end + FENCE <= now);
        if fired {
            let machine = world.machine(node);
            machine.armed = None;
            if machine.up.take().is_some() {
                met.meet(Met::DeadMan);
            }
        }
        if world.machines[node].frozen != Frozen::No {
            world.machine(node).frozen = Frozen::Long;
            continue;
        }
        if world.machines[node].agent.is_none() {
            continue;
        }
        if let Some(agent) = world.machine(node).agent.as_mut() {
            agent.hook = agent.hook.map(|_| true);
        }
        Drive::new(bounds, met, world, node).settle();
    }
}

fn apply(world: &mut World, node: usize, at: usize) {
    let table = Arc::clone(&world.table);
    let Some(agent) = world.machine(node).agent.as_mut() else { return };
    let Call::Sent(sent) = agent.calls[at].as_ref() else { return };
    let (after, answer) = table.apply(node, agent.node.incarnation(), sent);
    let is_applied = answer.is_ok();
    agent.calls[at] = Arc::new(Call::Written(sent.kind(), answer));
    if is_applied {
        world.table = Arc::new(after);
    }
}

fn answer(bounds: &Bounds, met: &Encounters, world: &mut World, node: usize, at: usize) {
    let Some(agent) = world.machine(node).agent.as_mut() else { return };
    let call = agent.calls.remove(at);
    let own = instance(node);
    let mut drive = Drive::new(bounds, met, world, node);
    drive.tell(|node, now| match Arc::unwrap_or_clone(call) {
        Call::Sent(_) => {}
        Call::Written(Kind::Announce, answer) => node.handle_announced(now, answer),
        Call::Written(Kind::Beat, answer) => node.handle_beat(now, answer),
        Call::Written(Kind::Release, answer) => node.handle_released(now, answer),
        Call::Read(Asked::Own, table) => node.handle_own(now, Ok(table.heartbeats.get(&own).cloned())),
        Call::Read(Asked::Lease, table) => node.handle_shared_lease(now, Ok(Some(Arc::clone(&table.lease)))),
        Call::Read(Asked::Holder, table) => node.handle_heartbeats(now, Ok(table.heartbeats.clone())),
    });
}

fn lose(bounds: &Bounds, met: &Encounters, world: &mut World, node: usize, at: usize) {
    let Some(agent) = world.machine(node).agent.as_mut() else { return };
    let call = agent.calls.remove(at);
    let unknown = Failure::Unknown(String::new());
    let mut drive = Drive::new(bounds, met, world, node);
    drive.tell(|node, now| {
        let kind = match call.as_ref() {
            Call::Sent(sent) => sent.kind(),
            Call::Written(kind, _) => *kind,
            Call::Read(Asked::Own, _) => return node.handle_own(now, Err(unknown)),
            Call::Read(Asked::Lease, _) => return node.handle_lease(now, Err(unknown)),
            Call::Read(Asked::Holder, _) => return node.handle_heartbeats(now, Err(unknown)),
        };
        let unknown = Err(WriteFailure::Failed(unknown));
        match kind {
            Kind::Announce => node.handle_announced(now, unknown),
            Kind::Beat => node.handle_beat(now, unknown),
            Kind::Release => node.handle_released(now, unknown),
        }
    });
}

fn leave_under_way(world: &mut World, node: usize, at: usize) {
    let Some(agent) = &world.machines[node].agent else { return };
    let Call::Sent(sent) = agent.calls[at].as_ref() else { return };
    let late = Late { node, by: agent.node.incarnation().clone(), sent: sent.clone() };
    world.late = Some(Arc::new(late));
}

fn apply_late(met: &Encounters, world: &mut World) {
    let Some(late) = world.late.take() else { return };
    let (after, answer) = world.table.apply(late.node, &late.by, &late.sent);
    if answer.is_ok() {
        met.meet(Met::LateApplied);
        world.table = Arc::new(after);
    } else {
        met.meet(Met::LateRefused);
    }
}

fn hook_ends(bounds: &Bounds, met: &Encounters, world: &mut World, node: usize) {
    let machine = world.machine(node);
    if let Some(agent) = machine.agent.as_mut() {
        agent.hook = None;
    }
    if machine.hooks == Hooks::Promoting {
        machine.hooks = Hooks::Promoted;
        Drive::new(bounds, met, world, node).tell(|node, now| node.handle_promoted(now, HookOutcome::Done));
    } else {
        machine.hooks = Hooks::Demoted;
        machine.up = None;
        Drive::new(bounds, met, world, node).tell(|node, now| node.handle_demoted(now, HookOutcome::Done));
    }
}

fn begin(bounds: &Bounds, met: &Encounters, world: &mut World, node: usize) {
    let now = world.now();
    let machine = world.machine(node);
    machine.run += 1;
    let config = NodeConfig {
        cluster: cluster(),
        instance: instance(node),
        incarnation: incarnation(machine.run),
        earlier: machine.kept.clone(),
        jitter_seed: None,
    };
    let mut fresh = Node::new(config, now);
    if fresh.serving().is_some() {
        met.meet(Met::Adoption);
        machine.hooks = Hooks::Promoted;
        if machine.up.is_none() {
            // The dead-man has left word that it fired.
            fresh.handle_fenced(now);
        }
    }
    machine.agent = Some(Agent { node: fresh, calls: Vec::new(), hook: None });
    let mut drive = Drive::new(bounds, met, world, node);
    drive.tell(|node, now| node.handle_health(now, Health::Ok));
}

/// Draws a decision where `alive` is the only node that is seen beating. What would have to be looked at again was looked at
/// often enough.
fn decided(world: &World, alive: usize) -> Option<World> {
    let before = |heartbeat: &Heartbeat| Seq(heartbeat.seq.0.saturating_sub(1));
    let earlier = world.table.heartbeat(alive).map(|heartbeat| (instance(alive), before(heartbeat)));
    let snapshot = Snapshot {
        lease: world.table.lease.as_ref().clone(),
        heartbeats: world.table.heartbeats.clone(),
        earlier: earlier.into_iter().collect(),
        terminated: BTreeSet::new(),
        stopped: None,
        looked_enough: true,
        fleet: baton_protocol::brake::Fleet::Unbraked,
        at: elsewhere(),
        by: "model".to_owned(),
    };
    let Decision::Grant(grant) = decide(&snapshot) else { return None };
    // What it rests on is for people; all that decides is compared.
    let same = |other: &Grant| Grant { event: other.event.clone(), ..grant.as_ref().clone() } == *other;
    if world.decided.iter().any(|decided| same(decided)) {
        return None;
    }
    let mut next = world.clone();
    next.decided.push_back(Arc::new(*grant));
    Some(next)
}

fn commit(met: &Encounters, world: &mut World, which: usize) {
    let Some(grant) = world.decided.remove(which) else { return };
    let before = Arc::clone(&world.table);
    let (after, answer) = before.written(|store| ready(store.commit(&grant)));
    if matches!(answer, Ok(Committed::Superseded(_))) {
        met.meet(Met::StaleCommit);
    }
    if after.lease == before.lease {
        return;
    }
    met.meet(match grant.ground {
        Ground::Vacancy => Met::Vacancy,
        Ground::Release => Met::Release,
        Ground::Silence | Ground::Gone => Met::Silence,
    });
    if grant.holder.as_ref() == Some(&grant.to) {
        met.meet(Met::Back);
    }
    judge(world, &before, &after);
    world.table = Arc::new(after);
}

fn judge(world: &mut World, before: &Table, after: &Table) {
    if after.lease.epoch != before.lease.epoch.next() {
        world.breaks(Rule::EpochGrows);
    }
    let serves = |machine: &Arc<Machine>| machine.up.is_some_and(|epoch| epoch < after.lease.epoch);
    if world.machines.iter().any(serves) {
        world.breaks(Rule::GrantIsSafe);
    }
}
