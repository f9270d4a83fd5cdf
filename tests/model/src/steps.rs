//! The steps: everything that can happen next.
//!
//! The protocol's own code decides for nodes and arbiter. Around it everything that may come in more than one order does:
//! a write is sent, applied and answered in three steps, a decision is drawn in one and committed in another, and time
//! passes between any two of them as far as calls and hooks may last. What each step does stands in [`crate::effects`].

use std::sync::Arc;

use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::Mode;

use crate::bounds::{Allowance, Bounds};
use crate::machine::{Asked, Call, Frozen, Kind};
use crate::setup::instance;
use crate::world::World;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A quantum passes.
    Pass,
    /// An agent stands still, until at least the next quantum.
    Freeze(usize),
    /// The table applies or refuses a write.
    Apply(usize, usize),
    /// An answer arrives.
    Answer(usize, usize),
    /// A request or an answer is lost, and its agent gives up waiting.
    Lose(usize, usize),
    /// An agent gives up waiting for a write that is still under way.
    GiveUp(usize, usize),
    /// The table applies or refuses a write that was given up.
    ApplyLate,
    /// A hook ends.
    HookEnds(usize),
    /// A frozen agent goes on, with its timers first.
    Thaw(usize),
    /// A frozen agent goes on, with the first answer that has come meanwhile.
    ThawToAnswer(usize),
    /// An agent dies. A write that it sent is lost.
    Die(usize),
    /// An agent dies, and a write that it sent is still under way.
    DieSending(usize, usize),
    /// A machine goes down.
    GoDown(usize),
    /// A run of an agent begins.
    Begin(usize),
    /// An agent is asked to hand over and end.
    HandOver(usize),
    /// An invocation of the arbiter reads, finds this node alive and no other, and decides to grant.
    ///
    /// No real decision is missing: a grant depends on the ground, for which the others' lives do not matter, and on which
    /// node is chosen. A node that is chosen is alive, and it is the best where no other is.
    Decide(usize),
    /// It commits.
    Commit(usize),
    /// The registrar turns the cluster to the other mode.
    Turn,
}

/// Every step from `world` that the bounds allow.
pub fn steps(bounds: &Bounds, world: &World, out: &mut Vec<Step>) {
    if world.broken.is_some() {
        return;
    }
    if let Some(node) = (0..world.machines.len()).find(|node| is_alone(bounds, world, *node)) {
        return of_machine(bounds, world, node, out);
    }
    for node in 0..world.machines.len() {
        of_machine(bounds, world, node, out);
    }
    if world.late.is_some() {
        out.push(Step::ApplyLate);
    }
    decisions(bounds, world, out);
    if may_turn(bounds, world) {
        out.push(Step::Turn);
    }
    if world.machines.iter().all(|machine| machine.is_at_rest()) {
        out.push(Step::Pass);
    }
}

/// Until the first grant all nodes are alike, so the first goes to the first of them: every other path is a mirror image of
/// one of these. What may be granted in available mode, where nobody need have stopped, no rule of these speaks of.
fn decisions(bounds: &Bounds, world: &World, out: &mut Vec<Step>) {
    let lease = &world.table.lease;
    let first = instance(0);
    let may_be = |to: &InstanceArn| lease.holder.is_some() || *to == first;
    if lease.mode == Mode::Strict {
        let committed = world.decided.iter().enumerate().filter(|(_, grant)| may_be(&grant.to));
        out.extend(committed.map(|(at, _)| Step::Commit(at)));
    }
    if world.decided.len() < bounds.decisions && lease.epoch.0 < bounds.epochs {
        let to = (0..bounds.nodes).filter(|node| bounds.decisions > 1 || may_be(&instance(*node)));
        out.extend(to.map(Step::Decide));
    }
}

fn may_turn(bounds: &Bounds, world: &World) -> bool {
    world.table.lease.revision <= bounds.turns
}

/// Whether this node has to take a step before time passes, and whichever it takes is no other's concern: it neither reads
/// nor writes what others read or write, and starts or ends no service. Then nothing is lost by letting it take that step
/// before all others, since every order of the steps leads to the same states.
fn is_alone(bounds: &Bounds, world: &World, node: usize) -> bool {
    let machine = &world.machines[node];
    let Some(agent) = machine.agent.as_ref().filter(|_| machine.frozen == Frozen::No) else { return false };
    let [call] = agent.calls.as_slice() else { return false };
    if agent.hook.is_some() {
        return false;
    }
    let own = instance(node);
    // At the last epoch nobody is deposed any more, so nobody asks for another's heartbeat.
    let last = world.table.lease.epoch.0 >= bounds.epochs && !may_turn(bounds, world);
    match call.as_ref() {
        // The holder's heartbeat ends the cycle, and at most begins another.
        Call::Read(Asked::Holder | Asked::Own, _) => true,
        // The own item, which is read next, is written by nobody but this node.
        Call::Written(Kind::Announce, _) => world.late.as_ref().is_none_or(|late| late.node != node),
        // The lease, which is read next, is written no more.
        Call::Written(Kind::Beat | Kind::Release, _) => last,
        // A standby looks at the holder next, and a holder that does not serve is promoted; but one that serves serves on.
        Call::Read(Asked::Lease, table) => {
            let holds = table.lease.holder.as_ref() == Some(&own);
            let looks = !holds && table.lease.holder.is_some() && table.lease.epoch.0 < bounds.epochs;
            let starts = holds && agent.node.serving() != Some(table.lease.epoch);
            // A change of the mode may stop or arm a service, or ask for another read.
            !looks && !starts && bounds.turns == 0
        }
        // Only one write is late at a time, so whether this one can be must not depend on others.
        Call::Sent(_) => {
            let left = if bounds.late == Allowance::Counted { bounds.faults - world.spent } else { 2 };
            last && (left == 0 || (left == 1 && world.late.is_none()))
        }
    }
}

fn of_machine(bounds: &Bounds, world: &World, node: usize, out: &mut Vec<Step>) {
    let machine = &world.machines[node];
    let spent = world.spent;
    let crash = bounds.allow(bounds.crashes, spent);
    let Some(agent) = &machine.agent else {
        out.push(Step::Begin(node));
        if crash && (machine.kept.is_some() || machine.up.is_some()) {
            out.push(Step::GoDown(node));
        }
        return;
    };
    let answered = |call: &Arc<Call>| !matches!(call.as_ref(), Call::Sent(_));
    let may_leave = world.late.is_none() && bounds.allow(bounds.late, spent);
    if crash {
        out.push(Step::Die(node));
        out.push(Step::GoDown(node));
    }
    for (at, _) in agent.calls.iter().enumerate().filter(|(_, call)| !answered(call)) {
        out.push(Step::Apply(node, at));
        if crash && may_leave {
            out.push(Step::DieSending(node, at));
        }
    }
    match machine.frozen {
        Frozen::No if bounds.allow(bounds.freezes, spent) => out.push(Step::Freeze(node)),
        Frozen::No => {}
        Frozen::Now => return,
        Frozen::Long => {
            out.push(Step::Thaw(node));
            if agent.calls.first().is_some_and(answered) {
                out.push(Step::ThawToAnswer(node));
            }
            return;
        }
    }
    for (at, call) in agent.calls.iter().enumerate() {
        if answered(call) {
            out.push(Step::Answer(node, at));
        } else if may_leave {
            out.push(Step::GiveUp(node, at));
        }
        if bounds.allow(bounds.losses, spent) {
            out.push(Step::Lose(node, at));
        }
    }
    if agent.hook.is_some() {
        out.push(Step::HookEnds(node));
    }
    if bounds.allow(bounds.handovers, spent)
        && agent.node.lease().is_some_and(|lease| lease.holder == Some(instance(node)))
        && !agent.node.is_leaving()
    {
        out.push(Step::HandOver(node));
    }
}
