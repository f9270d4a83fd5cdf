//! The driver of one node, as the agent is: hands in what happened, and carries out what the node asks for.

use std::sync::Arc;

use baton_protocol::heartbeat::UNGUARDED_MS;
use baton_protocol::ids::Epoch;
use baton_protocol::lease::Lease;
use baton_protocol::node::{Command, HookOutcome, Node, Reason};
use baton_protocol::outcome::Failure;
use baton_protocol::time::Now;
use baton_store::Start;

use crate::bounds::Bounds;
use crate::machine::{Asked, Call, Hooks, Machine};
use crate::rules::{Encounters, Met, Rule};
use crate::setup::{QUANTUM, instance};
use crate::table::Sent;
use crate::world::World;

/// Drives the agent of one node in a world.
pub(crate) struct Drive<'a> {
    bounds: &'a Bounds,
    met: &'a Encounters,
    world: &'a mut World,
    node: usize,
}

impl std::fmt::Debug for Drive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A node that asks for more than this at one moment would ask for ever.
const MOST_COMMANDS: usize = 100;

impl<'a> Drive<'a> {
    /// A driver of `node`.
    pub(crate) fn new(bounds: &'a Bounds, met: &'a Encounters, world: &'a mut World, node: usize) -> Self {
        Self { bounds, met, world, node }
    }

    /// Tells the node something, and carries out what follows.
    pub(crate) fn tell(&mut self, what: impl FnOnce(&mut Node, Now)) {
        let now = self.world.now();
        if let Some(agent) = self.machine().agent.as_mut() {
            what(&mut agent.node, now);
        }
        self.settle();
    }

    /// Carries out what the node asks for, and lets it look at its timers, until it wants nothing more.
    pub(crate) fn settle(&mut self) {
        let now = self.world.now();
        for _ in 0..MOST_COMMANDS {
            let Some(agent) = self.machine().agent.as_mut() else { return };
            let mut command = agent.node.poll_command();
            if command.is_none() {
                agent.node.handle_timer(now);
                command = agent.node.poll_command();
            }
            let Some(command) = command else {
                // A copy has no room left over from the commands, of which a space would keep millions.
                agent.node = agent.node.clone();
                return;
            };
            self.perform(command);
        }
        panic!("a node asks for ever: {:?}", self.world);
    }

    fn machine(&mut self) -> &mut Machine {
        self.world.machine(self.node)
    }

    fn node(&mut self) -> Option<&mut Node> {
        self.machine().agent.as_mut().map(|agent| &mut agent.node)
    }

    fn call(&mut self, call: Call) {
        if let Some(agent) = self.machine().agent.as_mut() {
            agent.calls.push(Arc::new(call));
        }
    }

    fn read(&mut self, asked: Asked) {
        let table = Arc::clone(&self.world.table);
        self.call(Call::Read(asked, table));
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::ReadOwn => self.read(Asked::Own),
            Command::Announce { expected, validity_ms } => self.announce(expected, validity_ms),
            Command::Beat(beat) => {
                if beat.validity_ms == UNGUARDED_MS {
                    self.met.meet(Met::Unguarded);
                }
                self.call(Call::Sent(Sent::Beat(beat)));
            }
            Command::ReadLease => self.read(Asked::Lease),
            Command::ReadHeartbeats(_) => self.look_at_others(),
            Command::Release { epoch } => self.call(Call::Sent(Sent::Release(epoch))),
            // The arbiter looks at any time, whoever wakes it.
            Command::LeaveWake(_) | Command::Wake(_) => {}
            Command::Arm { valid_until, .. } => {
                let machine = self.machine();
                let again = machine.armed.replace(valid_until).is_none() && machine.up.is_some();
                if again {
                    self.met.meet(Met::GuardedAgain);
                }
            }
            Command::Disarm => self.machine().armed = None,
            Command::Promote { epoch, guarded } => self.promote(epoch, guarded),
            Command::Demote { epoch, reason } => self.demote(epoch, reason),
            Command::Persist(state) => self.machine().kept = Some(state),
            Command::Exit(_) => self.machine().end_agent(),
        }
    }

    fn announce(&mut self, expected: Option<baton_protocol::ids::Incarnation>, validity_ms: u64) {
        let at = self.world.now().wall;
        let Some(node) = self.node() else { return };
        let start = Start {
            expected,
            incarnation: node.incarnation().clone(),
            boot_id: String::new(),
            agent_version: String::new(),
            validity_ms,
            at,
        };
        self.call(Call::Sent(Sent::Announce(start)));
    }

    /// A holder looks at the others only to know whom it could hand over to when it is asked to or falls ill. Neither happens
    /// here, so its look may as well fail, at once. So may a standby's at the last epoch, which nobody is granted after.
    fn look_at_others(&mut self) {
        let now = self.world.now();
        let own = instance(self.node);
        let last = self.bounds.epochs;
        let Some(node) = self.node() else { return };
        let idle = |lease: &Lease| lease.holder.as_ref() == Some(&own) || lease.epoch.0 >= last;
        if node.lease().is_some_and(idle) {
            return node.handle_heartbeats(now, Err(Failure::Unknown(String::new())));
        }
        self.read(Asked::Holder);
    }

    fn promote(&mut self, epoch: Epoch, guarded: bool) {
        let now = self.world.now();
        let lease_epoch = self.world.table.lease.epoch;
        let machine = self.machine();
        let stands = machine.armed.is_some() || baton_protocol::mutant!(NoDeadMan);
        let hooks = std::mem::replace(&mut machine.hooks, Hooks::Promoting);
        let sworn = machine.kept.as_ref().map(|kept| kept.released);
        let Some(agent) = machine.agent.as_mut() else { return };
        if !agent.node.may_promote(now.boot, guarded, stands) {
            return agent.node.handle_promoted(now, HookOutcome::Failed);
        }
        agent.hook = Some(false);
        machine.up = Some(epoch);
        let resumes = machine.fenced.take() == Some(epoch);
        if resumes {
            self.met.meet(Met::Resume);
        }
        if hooks != Hooks::Demoted {
            self.world.breaks(Rule::HooksAlternate);
        }
        if sworn.is_some_and(|sworn| epoch <= sworn) {
            self.world.breaks(Rule::OathHolds);
        }
        if epoch < lease_epoch {
            self.world.breaks(Rule::GrantIsSafe);
        }
    }

    fn demote(&mut self, epoch: Option<Epoch>, reason: Reason) {
        let machine = self.machine();
        if let Some(agent) = machine.agent.as_mut() {
            agent.hook = Some(false);
        }
        if reason == Reason::SelfFence {
            machine.fenced = epoch;
        }
        let hooks = std::mem::replace(&mut machine.hooks, Hooks::Demoting);
        // A run that begins with a demote makes sure of what an earlier one left.
        if matches!(hooks, Hooks::Demoting | Hooks::Demoted) {
            self.world.breaks(Rule::HooksAlternate);
        }
        // Where nothing runs there is nothing to wait for.
        if reason == Reason::Start && self.machine().up.is_none() {
            let now = self.world.now();
            let machine = self.machine();
            machine.hooks = Hooks::Demoted;
            if let Some(agent) = machine.agent.as_mut() {
                agent.hook = None;
                agent.node.handle_demoted(now, HookOutcome::Done);
            }
        }
    }
}

/// The length of a quantum is the node's heartbeat, so a node at rest beats whenever time passes.
const _: () = assert!(QUANTUM.as_secs() == 2);
