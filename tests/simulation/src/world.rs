//! One run: a cluster, its table, its functions and EC2, and the events that move them.
//!
//! Everything is one thread and one queue. The code under test is the code that ships: `Node` on every machine,
//! `Invocation` in every function, the sweep's decision, and the twins of table and EC2. What is simulated is what lies
//! between them: clocks, networks, hooks, dead-men, the bus, the machines themselves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use baton_cloud::MemoryCloud;
use baton_cloud::memory::{EndedAlready, SamePlace, Stops};
use baton_protocol::arbiter::Hint;
use baton_protocol::ids::{ClusterName, InstanceArn, RegistrationUid};
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::resource::{Address, Resources};
use baton_protocol::time::{Now, WallTime};
use baton_store::{MemoryStore, Store};

use crate::clock::{MS, Real, SECOND, WALL_START_MS};
use crate::event::Event;
use crate::fault::{Kind, Whom};
use crate::function::Function;
use crate::machine::Machine;
use crate::measure::Measure;
use crate::network::Network;
use crate::plan::{Plan, Style};
use crate::queue::Queue;
use crate::sometimes::{Seen, Sometimes};
use crate::trace::Trace;
use crate::watch::{Violation, Watch};

/// A run under way.
pub(crate) struct Sim<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Real,
    pub(crate) queue: Queue<Event>,
    pub(crate) store: MemoryStore,
    pub(crate) cloud: MemoryCloud,
    pub(crate) cluster: ClusterName,
    pub(crate) uid: RegistrationUid,
    pub(crate) registrations: u32,
    pub(crate) vpc: String,
    pub(crate) resources: Resources,
    pub(crate) machines: Vec<Machine>,
    pub(crate) by_arn: BTreeMap<InstanceArn, usize>,
    pub(crate) functions: Vec<Option<Box<Function>>>,
    pub(crate) network: Network,
    /// Whom each fault that is standing has struck.
    pub(crate) struck: Vec<Option<usize>>,
    /// Every wake so far, for those that come once more.
    pub(crate) wakes: Vec<Hint>,
    /// Addresses of others in our seats, each with the machine and since when.
    pub(crate) foreign: Vec<(Address, Option<(usize, Real)>)>,
    pub(crate) requests: u32,
    /// The holder that is to be cut off at the worst moment; see `Sim::spring`.
    pub(crate) trap: Option<crate::trap::Trap>,
    pub(crate) watch: Watch,
    pub(crate) seen: Seen,
    pub(crate) measure: Measure,
    pub(crate) trace: Trace,
    /// What other parts see of the table, so that no event has to read it: the lease after its last change.
    pub(crate) lease: Arc<Lease>,
    pub(crate) former_leases: Vec<(Real, Arc<Lease>)>,
    pub(crate) steps: u64,
    pub(crate) over: bool,
}

/// Where takeovers are left to an operator, one looks so often.
pub(crate) const LOOKS_EVERY: Real = 6 * SECOND;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The first promise found broken.
    pub violation: Option<Violation>,
    /// How many events there were.
    pub steps: u64,
    /// How many grants.
    pub grants: u64,
    /// How many faults began.
    pub faults: u64,
    /// How long it was, in simulated time.
    pub length: Real,
    /// What it has seen.
    pub seen: Seen,
    /// What followed its first fault.
    pub measure: Measure,
    /// What happened, if that was asked for.
    pub trace: Vec<String>,
}

/// Runs a plan to its end.
pub fn run(plan: &Plan, traced: bool) -> Ended {
    let mut sim = Sim::new(plan, traced);
    sim.go();
    Ended {
        violation: sim.watch.violation.take(),
        steps: sim.steps,
        grants: sim.watch.grants,
        faults: plan.faults.len() as u64,
        length: sim.now,
        seen: sim.seen,
        measure: sim.measure,
        trace: sim.trace.lines,
    }
}

/// The twins answer at once, so their futures are ready when they are first polled.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the twins wait for nothing"),
    }
}

impl<'a> Sim<'a> {
    fn new(plan: &'a Plan, traced: bool) -> Self {
        let cloud = MemoryCloud::new();
        cloud.set_same_place(
            [SamePlace::Refuse, SamePlace::Keep, SamePlace::Rotate][(plan.seed % 3) as usize],
        );
        cloud.set_ended_already(if plan.seed.is_multiple_of(2) {
            EndedAlready::Refuse
        } else {
            EndedAlready::Done
        });
        cloud.set_stops(Stops::WhenTold);
        let vpc = cloud.vpc(&["10.0.0.0/16"]);
        let addresses: Vec<Address> = (0..plan.addresses).map(|_| cloud.address()).collect();
        let routes = crate::outside::routes(&cloud, &vpc, plan);
        let from_gateways = routes.iter().filter(|_| plan.from_gateways).cloned().collect();
        let subnets = crate::outside::subnets(&cloud, &vpc, plan);
        let resources = Resources { addresses, routes, from_gateways, subnets, ..Resources::default() };
        let cluster = ClusterName::new("orders").expect("a plain name");
        let uid = RegistrationUid::new("uid-0").expect("a plain name");
        let mut rng = fastrand::Rng::with_seed(plan.seed.rotate_left(17) ^ 0x0062_6174_6f6e);
        let machines: Vec<Machine> = (0..plan.clocks.len())
            .map(|index| Machine::new(index, plan.clocks[index], &cloud, &vpc, plan, &mut rng))
            .collect();
        if plan.by_tag {
            let launch = |tags| cloud.launch(&vpc, "euw1-az1", plan.addresses.max(1), tags);
            launch(crate::roster::foreign_tags());
            // In available mode it could join by right.
            let stays_strict = plan.faults.iter().all(|fault| fault.kind != Kind::Mode);
            if plan.mode == Mode::Strict && stays_strict {
                cloud.let_hibernate(&launch(crate::roster::tags()).instance);
            }
        }
        let by_arn = machines.iter().enumerate().map(|(index, m)| (m.arn().clone(), index)).collect();
        let lease = crate::outside::no_lease(&cluster, &uid, plan);
        Self {
            plan,
            rng,
            now: 0,
            queue: Queue::default(),
            store: MemoryStore::new(),
            watch: Watch::new(machines.len()),
            cloud,
            cluster,
            uid,
            registrations: 0,
            vpc,
            resources,
            machines,
            by_arn,
            functions: Vec::new(),
            network: Network::default(),
            struck: vec![None; plan.faults.len()],
            wakes: Vec::new(),
            foreign: Vec::new(),
            requests: 0,
            trap: None,
            seen: Seen::default(),
            measure: Measure::new(plan),
            trace: Trace::new(traced),
            lease: Arc::new(lease),
            former_leases: Vec::new(),
            steps: 0,
            over: false,
        }
    }

    fn go(&mut self) {
        self.register();
        for machine in 0..self.machines.len() {
            let at = self.rng.u64(0..SECOND);
            self.queue.push(at, Event::Boot { machine });
        }
        self.queue.push(self.plan.sweep_at, Event::Sweep);
        if self.plan.has_policy() {
            self.queue.push(LOOKS_EVERY, Event::Person);
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            self.queue.push(fault.from, Event::FaultBegins(index));
            self.queue.push(fault.until, Event::FaultEnds(index));
        }
        self.queue.push(self.plan.ends.max(self.plan.quiet_from), Event::Verdict);
        while !self.over && self.watch.violation.is_none() {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.steps += 1;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Boot { machine } => self.boot(machine),
            Event::StartAgent { machine, boot } => self.start_agent(machine, boot),
            Event::Timer { machine, run } => self.timer(machine, run),
            Event::Apply { machine, run, command, answer_at, timeout_at } => {
                self.apply(machine, run, *command, answer_at, timeout_at);
            }
            Event::ReadAlong { machine, run, asked } => self.read_along(machine, run, asked),
            Event::Answer { machine, run, answer } => self.answer(machine, run, *answer),
            Event::Hook { machine, number, outcome } => self.hook_ends(machine, number, outcome),
            Event::DeadMan { machine } => self.dead_man_wakes(machine),
            Event::DeadManDone { machine, boot } => self.dead_man_done(machine, boot),
            Event::Health { machine } => self.look_at_health(machine),
            Event::Invoke { hint, retry } => self.invoke(hint, retry),
            Event::FunctionApply { function, action, answer_at, sent } => {
                self.function_apply(function, *action, answer_at, sent);
            }
            Event::FunctionAnswer { function, answer } => self.function_answer(function, *answer),
            Event::FunctionTimer { function } => self.function_timer(function),
            Event::Land { function, call, answer_at, origin } => {
                self.land(function, &call, answer_at, origin)
            }
            Event::AskForFailback(request) => self.ask_for_failback(&request),
            Event::Muster { judged } => self.muster_looks(&judged),
            Event::Members { registration, holder, revision } => {
                self.members_change(&registration, holder.as_ref(), revision);
            }
            Event::Sweep => self.sweep(),
            Event::Person => self.person_looks(),
            Event::FaultBegins(index) => self.fault_begins(index),
            Event::FaultEnds(index) => self.fault_ends(index),
            Event::Pause { machine } => self.pause_hidden(machine, self.now + self.longest_pause()),
            Event::Resumes { machine } => self.resumes(machine),
            Event::Replace { machine } => self.replace(machine),
            Event::Stopped { machine } => self.has_stopped(machine),
            Event::StartedAgain { machine } => self.starts_again(machine),
            Event::Verdict => self.verdict(),
        }
    }

    /// The moment on a machine's own clocks.
    pub(crate) fn local(&self, machine: usize) -> Now {
        let machine = &self.machines[machine];
        let wall = (WALL_START_MS + self.now / MS).saturating_add_signed(machine.wall_ms);
        Now { boot: machine.clock.show(self.now), wall: WallTime(wall) }
    }

    /// The moment on the clocks of functions and operators.
    pub(crate) fn global(&self) -> Now {
        Now { boot: baton_protocol::time::BootTime(self.now), wall: WallTime(WALL_START_MS + self.now / MS) }
    }

    /// Reads the lease as it stands, after something may have changed it.
    pub(crate) fn lease_may_have_changed(&mut self) {
        let Ok(Some(lease)) = ready(self.store.lease(&self.cluster)) else { return };
        if lease == *self.lease {
            return;
        }
        let before = std::mem::replace(&mut self.lease, Arc::new(lease));
        self.watch_lease(&before);
        if crate::stale_reads() {
            self.former_leases.push((self.now, before));
        }
    }

    pub(crate) fn see(&mut self, what: Sometimes) {
        self.seen.note(what);
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    pub(crate) fn is_adversarial(&self) -> bool {
        self.plan.style == Style::Adversarial
    }

    /// Whom a fault strikes now.
    pub(crate) fn resolve(&mut self, kind: Kind, whom: Whom) -> Option<usize> {
        let holder = self.lease.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        match whom {
            Whom::Everybody => None,
            Whom::Machine(machine) => Some(machine).filter(|machine| *machine < self.machines.len()),
            Whom::Holder => holder,
            Whom::Standby => {
                let fits = |m: usize| {
                    Some(m) != holder && !self.machines[m].gone && !self.machines[m].is_struck(kind)
                };
                let standbys: Vec<usize> = (0..self.machines.len()).filter(|m| fits(*m)).collect();
                if standbys.is_empty() { None } else { Some(standbys[self.rng.usize(..standbys.len())]) }
            }
        }
    }
}
