//! One machine: power, clocks, the agent's process, the service with its hooks, and the dead-man beside them.
//!
//! The service counts as serving from the moment its promote hook starts until its demote hook has ended or the dead-man
//! has stopped it, which is the worst that hooks can do.

use std::collections::BTreeMap;

use baton_cloud::MemoryCloud;
use baton_cloud::memory::MemoryNode;
use baton_protocol::ids::{Epoch, Incarnation, InstanceArn};
use baton_protocol::node::{Node, NodeConfig, RunState};
use baton_protocol::outcome::Read;
use baton_protocol::time::BootTime;
use baton_store::Heartbeats;

use crate::clock::{Clock, MS, Real, SECOND};
use crate::event::Event;
use crate::fault::Kind;
use crate::plan::{Clocks, Plan};
use crate::sometimes::Sometimes;
use crate::world::Sim;

/// A machine and what runs on it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: MemoryNode,
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) wall_ms: i64,
    pub(crate) priority: u16,
    pub(crate) gone: bool,
    pub(crate) power: bool,
    /// The whole machine stands still until then.
    pub(crate) stands_until: Real,
    /// And nobody can be served meanwhile, whatever runs on it.
    pub(crate) suspended: bool,
    /// The agent's process stands still until then.
    pub(crate) frozen_until: Real,
    pub(crate) last_hidden_pause: Real,
    /// The agent's process stands still from the moment at which it is to learn of a grant, until then.
    pub(crate) freezes_at_grant: Option<Real>,
    pub(crate) boot: u32,
    pub(crate) run: u32,
    pub(crate) agent: Option<Node>,
    pub(crate) kept: Option<RunState>,
    /// What is kept is older than what is so, since the disk was full.
    pub(crate) keeps_what_was: bool,
    /// Whether the agent's run began with what was not so any more.
    pub(crate) began_stale: bool,
    pub(crate) dead_man: Option<BootTime>,
    pub(crate) dead_man_event: Option<Real>,
    pub(crate) dead_man_fires: bool,
    pub(crate) fired: bool,
    pub(crate) guard_stands: bool,
    /// The epoch at which clients may get an answer from this machine.
    pub(crate) serving: Option<Epoch>,
    /// The epoch at which it got the virtual addresses, if it has them.
    pub(crate) addressed: Option<Epoch>,
    pub(crate) hook: Option<Hook>,
    pub(crate) hooks: u32,
    pub(crate) timer_at: Option<Real>,
    /// What this run has read of its neighbours along with the lease.
    pub(crate) along: Option<(u32, Vec<InstanceArn>, Read<Heartbeats>)>,
    /// The faults that strike this machine now.
    pub(crate) struck: Vec<Kind>,
}

/// A hook that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    pub(crate) promotes: bool,
    pub(crate) number: u32,
}

impl Machine {
    pub(crate) fn new(
        index: usize,
        clocks: Clocks,
        cloud: &MemoryCloud,
        vpc: &str,
        plan: &Plan,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let tags = if plan.by_tag { crate::roster::tags() } else { BTreeMap::new() };
        let zone = format!("euw1-az{}", index % 3 + 1);
        let node = cloud.launch(vpc, &zone, plan.addresses.max(1), tags);
        Self {
            node,
            name: format!("n{index}"),
            clock: Clock::new(0, 10 * SECOND + rng.u64(0..1_000 * SECOND), clocks.ppm),
            wall_ms: clocks.wall_ms,
            priority: 100 + u16::try_from(index).expect("few machines"),
            gone: false,
            power: false,
            stands_until: 0,
            suspended: false,
            frozen_until: 0,
            last_hidden_pause: 0,
            freezes_at_grant: None,
            boot: 0,
            run: 0,
            agent: None,
            kept: None,
            keeps_what_was: false,
            began_stale: false,
            dead_man: None,
            dead_man_event: None,
            dead_man_fires: false,
            fired: false,
            guard_stands: false,
            serving: None,
            addressed: None,
            hook: None,
            hooks: 0,
            timer_at: None,
            along: None,
            struck: Vec::new(),
        }
    }

    pub(crate) fn arn(&self) -> &InstanceArn {
        &self.node.arn
    }

    pub(crate) fn is_struck(&self, kind: Kind) -> bool {
        !self.struck.is_empty() && self.struck.contains(&kind)
    }

    pub(crate) fn strike(&mut self, kind: Kind) {
        self.struck.push(kind);
    }

    pub(crate) fn relieve(&mut self, kind: Kind) {
        if let Some(at) = self.struck.iter().position(|struck| *struck == kind) {
            self.struck.swap_remove(at);
        }
    }

    /// Whether its agent has had the time to notice what has become of its service.
    pub(crate) fn is_settled(&self, now: Real) -> bool {
        let knows = !self.keeps_what_was && !self.began_stale;
        self.hook.is_none() && self.agent_goes_on_at(now).is_none() && knows
    }

    /// The epoch at which clients get an answer now.
    pub(crate) fn serves(&self) -> Option<Epoch> {
        self.serving.filter(|_| !self.suspended)
    }

    pub(crate) fn has_trouble(&self) -> bool {
        !self.struck.is_empty()
    }

    /// The name of a run.
    pub(crate) fn incarnation(&self, run: u32) -> Incarnation {
        Incarnation::new(format!("{}-run-{run}", self.name)).expect("a plain name")
    }

    /// When the agent's process goes on, if it stands still now.
    pub(crate) fn agent_goes_on_at(&self, now: Real) -> Option<Real> {
        let at = self.stands_until.max(self.frozen_until);
        (at > now).then_some(at)
    }

    /// When the machine goes on, if it stands still now.
    pub(crate) fn goes_on_at(&self, now: Real) -> Option<Real> {
        (self.stands_until > now).then_some(self.stands_until)
    }
}

impl Sim<'_> {
    // --- power and processes ---

    pub(crate) fn boot(&mut self, machine: usize) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if m.power || m.gone {
            return;
        }
        m.power = true;
        m.suspended = false;
        m.stands_until = 0;
        m.boot += 1;
        let local = 10 * SECOND + self.rng.u64(0..5 * SECOND);
        m.clock.reboot(now, local);
        if !baton_protocol::mutant!(ServeAtBoot) {
            m.kept = None;
            (m.keeps_what_was, m.began_stale) = (false, false);
        }
        (m.dead_man, m.dead_man_event, m.fired, m.dead_man_fires) = (None, None, false, false);
        let boot = m.boot;
        self.watch.boots(machine);
        let at = now + self.rng.u64(100 * MS..2 * SECOND);
        self.queue.push(at, Event::StartAgent { machine, boot });
        self.say(machine, || "boots".to_owned());
    }

    /// Whatever ran on the machine runs no more.
    pub(crate) fn lose_power(&mut self, machine: usize) {
        self.say(machine, || "loses its power".to_owned());
        let m = &mut self.machines[machine];
        m.power = false;
        m.agent = None;
        m.run += 1;
        m.hook = None;
        m.timer_at = None;
        (m.dead_man, m.dead_man_event, m.fired, m.dead_man_fires) = (None, None, false, false);
        self.stop_serving(machine, "its machine is off");
        self.lower_addresses(machine, "its machine is off");
    }

    pub(crate) fn start_agent(&mut self, machine: usize, boot: u32) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if !m.power || m.gone || m.agent.is_some() || m.boot != boot {
            return;
        }
        if let Some(at) = m.goes_on_at(now) {
            return self.queue.push(at, Event::StartAgent { machine, boot });
        }
        m.run += 1;
        m.frozen_until = 0;
        m.timer_at = None;
        // What a run that began so has kept since is no truer.
        m.began_stale |= m.keeps_what_was;
        let orphan = m.hook.take_if(|hook| hook.promotes).is_some();
        m.hook = None;
        let (run, fired, earlier) = (m.run, m.fired, m.kept.clone());
        let config = NodeConfig {
            cluster: self.cluster.clone(),
            instance: m.arn().clone(),
            incarnation: m.incarnation(run),
            earlier: earlier.clone(),
            jitter_seed: self.plan.jitter.then(|| self.rng.u64(..)),
        };
        if orphan {
            self.stop_serving(machine, "an earlier run's promote hook was stopped");
        }
        let local = self.local(machine);
        let mut node = Node::new(config, local);
        let expired = earlier
            .as_ref()
            .is_some_and(|left| left.guarded && left.valid_until.is_none_or(|until| local.boot >= until));
        if node.serving().is_some() && expired {
            self.broken("I4", format!("n{machine} adopts a service whose validity has ended"));
        }
        if node.serving().is_some() {
            self.see(Sometimes::Adoption);
        } else if earlier.is_some_and(|left| left.serving.is_some()) {
            self.see(Sometimes::TooLateToAdopt);
        }
        if fired {
            node.handle_fenced(local);
        }
        self.watch.agent_starts(machine);
        // The service came up with the machine, as one does that is enabled there.
        let booted = node.serving().filter(|_| baton_protocol::mutant!(ServeAtBoot));
        if let Some(epoch) = booted.filter(|_| self.machines[machine].serving.is_none()) {
            self.start_serving(machine, epoch);
        }
        self.machines[machine].agent = Some(node);
        self.say(machine, || format!("agent starts, run {run}"));
        let health = now + self.rng.u64(100 * MS..SECOND);
        self.queue.push(health, Event::Health { machine });
        self.pump(machine);
    }

    pub(crate) fn kill_agent(&mut self, machine: usize) {
        self.say(machine, || "agent dies".to_owned());
        let m = &mut self.machines[machine];
        m.agent = None;
        m.run += 1;
        m.timer_at = None;
        // A demote hook dies with its agent; what it has not stopped goes on until the dead-man comes.
        m.hook.take_if(|hook| !hook.promotes);
    }

    pub(crate) fn say(&mut self, machine: usize, text: impl FnOnce() -> String) {
        if self.trace.is_on() {
            let name = self.machines[machine].name.clone();
            self.trace.say(self.now, &name, text);
        }
    }
}
