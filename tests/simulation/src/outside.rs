//! What comes from outside: faults as they begin and end, operators, the registrar, events of EC2.

use std::collections::BTreeMap;

use baton_cloud::MemoryCloud;
use baton_protocol::arbiter::Hint;
use baton_protocol::ec2::RouteTarget;
use baton_protocol::fence::Fencing;
use baton_protocol::history::{Event as Row, Happening};
use baton_protocol::ids::{ClusterName, Epoch, NodeName, RegistrationUid, RequestId};
use baton_protocol::lease::{Lease, LeaseState, Member, Mode, SCHEMA};
use baton_protocol::request::{Request, Wish};
use baton_protocol::resource::{Destination, Observed, Resources, Route};
use baton_protocol::wake::Why;
use baton_store::{Registration, Store};

use crate::clock::{MS, SECOND};
use crate::event::Event;
use crate::fault::{Fault, Kind, Whom};
use crate::machine::Machine;
use crate::plan::{Clocks, Plan};
use crate::sometimes::Sometimes;
use crate::world::{LOOKS_EVERY, Sim, ready};

mod drift;

pub(crate) use drift::subnets;

/// The destination of every route in the simulation.
pub(crate) const DESTINATION: &str = "192.0.2.10/32";

/// Tables with a route to the destination, which lead nowhere of ours yet; or with none, where it may not be taken from there.
pub(crate) fn routes(cloud: &MemoryCloud, vpc: &str, plan: &Plan) -> Vec<Route> {
    let destination = Destination::new(DESTINATION).expect("a network");
    (0..plan.tables)
        .map(|_| {
            let table = cloud.table(vpc);
            if plan.from_gateways {
                cloud.put_route(&table, DESTINATION, gateway());
            }
            Route { table, destination }
        })
        .collect()
}

fn gateway() -> RouteTarget {
    RouteTarget::Other("igw-outside".to_owned())
}

/// What stands for the lease before there is one.
pub(crate) fn no_lease(cluster: &ClusterName, uid: &RegistrationUid, plan: &Plan) -> Lease {
    Lease {
        cluster: cluster.clone(),
        uid: uid.clone(),
        state: LeaseState::Active,
        epoch: Epoch(0),
        holder: None,
        mode: plan.mode,
        takeover: plan.takeover,
        cool_down_ms: plan.cool_down_ms,
        fencing: plan.fencing,
        failback: plan.failback,
        timing: plan.timing,
        members: Vec::new(),
        resources: Resources::default(),
        roster: None,
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved: Epoch(0),
        verify_at: None,
        rotated: BTreeMap::new(),
        observed: Observed::default(),
        last_grant: None,
        recent_grants: Vec::new(),
        revision: 0,
        schema: SCHEMA,
        rules: 0,
    }
}

impl Sim<'_> {
    // --- faults ---

    pub(crate) fn fault_begins(&mut self, index: usize) {
        let Fault { kind, whom, until, .. } = self.plan.faults[index];
        let machine = self.resolve(kind, whom);
        self.trace.say(self.now, "fault", || format!("{} begins, {machine:?}", kind.name()));
        if index == 0 {
            self.measure_fault(machine);
        }
        if whom == Whom::Everybody {
            return self.everybody(kind, until);
        }
        // A fault for which there is nobody to strike strikes nobody.
        let Some(machine) = machine.filter(|machine| !self.machines[*machine].gone) else { return };
        self.struck[index] = Some(machine);
        let worst_moment = self.is_adversarial()
            && matches!(kind, Kind::Partition | Kind::AnswersLost)
            && whom == Whom::Holder
            && self.trap.is_none();
        if worst_moment {
            return self.set_trap(index, machine, kind);
        }
        if kind.warrants_a_grant() {
            self.watch.disturb(machine, self.now);
        }
        self.machines[machine].strike(kind);
        self.strike(machine, kind, until);
    }

    fn strike(&mut self, machine: usize, kind: Kind, until: u64) {
        match kind {
            Kind::PowerLoss => {
                if self.rng.bool() {
                    let id = self.machines[machine].node.instance.clone();
                    self.cloud.set_state(&id, "stopped");
                    self.instance_event(2);
                }
                self.lose_power(machine);
            }
            Kind::Terminate => {
                self.lose_power(machine);
                self.machines[machine].gone = true;
                let id = self.machines[machine].node.instance.clone();
                self.cloud.terminate(&id);
                self.watch.unsettle(self.now);
                self.watch.mutated(self.now);
                self.instance_event(2);
            }
            Kind::AgentCrash => self.kill_agent(machine),
            Kind::AgentFreeze if self.is_adversarial() && self.chance(50) => {
                self.machines[machine].freezes_at_grant = Some(until);
            }
            Kind::AgentFreeze => {
                let m = &mut self.machines[machine];
                m.frozen_until = m.frozen_until.max(until);
            }
            Kind::HiddenPause => self.pause_hidden(machine, until),
            Kind::Suspend => self.suspend(machine, until),
            Kind::Unhealthy | Kind::Notice => {
                let at = self.now + self.rng.u64(200 * MS..2 * SECOND);
                self.queue.push(at, Event::Health { machine });
            }
            Kind::ItemLost => {
                let arn = self.machines[machine].arn().clone();
                self.store.lose_heartbeat(&self.cluster, &arn);
                self.watch.item_lost(machine);
            }
            Kind::Shutdown => {
                let local = self.local(machine);
                let stay = self.chance(30);
                let how = if stay {
                    baton_protocol::node::Shutdown::Stay
                } else {
                    baton_protocol::node::Shutdown::Handover
                };
                if self.machines[machine].frozen_until <= self.now {
                    self.tell(machine, |node| node.handle_shutdown(local, how));
                }
            }
            Kind::SeatTaken => self.take_seat(machine),
            _ => {}
        }
    }

    /// At most one pause that no clock shows within the validity of one heartbeat: the promise rests on that.
    /// P, the smaller one where the timing may change.
    pub(crate) fn longest_pause(&self) -> u64 {
        let of = |timing: &baton_protocol::timing::Timing| timing.durations().hidden_pause_ms * MS;
        of(&self.plan.timing).min(of(&self.plan.other_timing))
    }

    pub(crate) fn pause_hidden(&mut self, machine: usize, until: u64) {
        let now = self.now;
        let m = &mut self.machines[machine];
        let recent = m.last_hidden_pause > 0 && now < m.last_hidden_pause + 15 * SECOND;
        if recent || m.stands_until > now || !m.power {
            return;
        }
        m.last_hidden_pause = until;
        m.stands_until = until;
        m.clock.stand_still(now, until);
        if m.serving.is_some() {
            self.see(Sometimes::HiddenPauseWhileServing);
        }
    }

    fn suspend(&mut self, machine: usize, until: u64) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if m.stands_until > now || !m.power {
            return;
        }
        m.stands_until = until;
        m.suspended = true;
        if baton_protocol::mutant!(MonotonicClock) {
            m.clock.stand_still(now, until);
        }
        // After whatever else goes on at that moment: what fences is awake before the service is.
        self.queue.push(until + 1, Event::Resumes { machine });
    }

    /// Somebody else's address, on the private address where one of the cluster would go.
    fn take_seat(&mut self, machine: usize) {
        if self.resources.addresses.is_empty() || self.lease.moved != self.lease.epoch {
            return;
        }
        let address = self.cloud.address();
        let seat = self.machines[machine].node.seat(0);
        let free = self
            .resources
            .addresses
            .iter()
            .all(|a| self.cloud.seat_of(&a.allocation).as_ref() != Some(&seat));
        if free {
            self.cloud.place(&address.allocation, &seat);
            self.watch.mutated(self.now);
            self.foreign.push((address, Some((machine, self.now))));
        }
    }

    pub(crate) fn fault_ends(&mut self, index: usize) {
        let Fault { kind, whom, .. } = self.plan.faults[index];
        self.trace.say(self.now, "fault", || format!("{} ends", kind.name()));
        if whom == Whom::Everybody {
            self.network.end(kind);
            if kind == Kind::TableDown {
                self.note_served_through();
            }
            for machine in 0..self.machines.len() {
                if kind.warrants_a_grant() {
                    self.watch.disturb(machine, self.now);
                }
            }
            match kind {
                Kind::Retire => {
                    self.register();
                    self.see(Sometimes::RegisteredAgain);
                }
                Kind::Drift => self.drift_ends(),
                _ => {}
            }
            return;
        }
        let Some(machine) = self.struck[index].take() else { return };
        let struck_as = if self.trap.as_ref().is_some_and(|trap| trap.is_of(index)) {
            self.take_trap(index)
        } else {
            Some(kind)
        };
        if let Some(kind) = struck_as {
            self.machines[machine].relieve(kind);
        }
        if kind.warrants_a_grant() {
            self.watch.disturb(machine, self.now);
        }
        match kind {
            // Nobody starts what is still being stopped.
            Kind::PowerLoss if self.is_stopping(machine) => {}
            Kind::PowerLoss if !self.machines[machine].gone => {
                self.runs_again(machine);
                self.queue.push(self.now, Event::Boot { machine });
            }
            Kind::Terminate => self.replace(machine),
            Kind::AgentCrash | Kind::Shutdown => {
                let boot = self.machines[machine].boot;
                self.queue.push(self.now, Event::StartAgent { machine, boot });
            }
            Kind::Unhealthy | Kind::Notice | Kind::PromoteFails | Kind::PromoteHangs => {
                let at = self.now + self.rng.u64(200 * MS..2 * SECOND);
                self.queue.push(at, Event::Health { machine });
            }
            Kind::SeatTaken => {
                for (address, seat) in
                    self.foreign.iter_mut().filter(|(_, seat)| seat.is_some_and(|(at, _)| at == machine))
                {
                    self.cloud.free(&address.allocation);
                    *seat = None;
                }
                self.watch.mutated(self.now);
            }
            _ => {}
        }
    }

    fn note_served_through(&mut self) {
        let validity = u64::try_from(self.lease.timing.validity().as_nanos()).unwrap_or(u64::MAX);
        let through = |m: usize| {
            self.machines[m].serving == Some(self.lease.epoch) && self.watch.quiet_for(m, self.now) > validity
        };
        if self.lease.mode == Mode::Available && (0..self.machines.len()).any(through) {
            self.see(Sometimes::AvailableServesOn);
        }
    }

    fn everybody(&mut self, kind: Kind, until: u64) {
        if kind.warrants_a_grant() {
            for machine in 0..self.machines.len() {
                self.watch.disturb(machine, self.now);
            }
        }
        self.network.begin(kind);
        match kind {
            Kind::Switchover => self.ask_for_switchover(),
            Kind::Pause => self.ask_for_pause(until),
            Kind::Timing => self.reconfigure_timing(),
            Kind::Mode => self.reconfigure_mode(),
            Kind::Drift => self.drift(),
            Kind::Retire => self.retire(),
            Kind::Replay if !self.wakes.is_empty() => {
                let old = self.wakes[self.rng.usize(..self.wakes.len())].clone();
                self.queue.push(self.now, Event::Invoke { hint: old, retry: 1 });
            }
            _ => {}
        }
    }

    /// EC2 tells of an instance's state; best effort, and perhaps twice.
    fn instance_event(&mut self, times: usize) {
        for _ in 0..self.rng.usize(0..=times) {
            self.deliver(Hint::of_instance(self.cluster.clone()));
        }
    }

    // --- operators ---

    pub(crate) fn ask(&mut self, wish: Wish, lasts: u64) {
        self.requests += 1;
        let wall = self.global().wall;
        let id = RequestId::new(format!("request-{}", self.requests)).expect("a plain name");
        let request = Request {
            cluster: self.cluster.clone(),
            id,
            wish,
            by: "operator".to_owned(),
            at: wall,
            until: baton_protocol::time::WallTime(wall.0 + lasts / MS),
            epoch: self.lease.epoch,
            answer: None,
        };
        let before = self.lease.clone();
        if ready(self.store.ask(&request)).is_ok() {
            if matches!(request.wish, Wish::Failover { .. }) {
                self.watch.words.push((request.epoch, request.at, request.until));
            }
            self.lease_may_have_changed();
            self.replaced_is_answered(&before, &request.id);
            self.stream_wakes();
            self.send_wake(Why::Request);
        }
    }

    pub(crate) fn ask_for_switchover(&mut self) {
        if self.lease.state == LeaseState::Retired {
            return;
        }
        let holder = self.lease.holder.clone();
        let others: Vec<_> = self
            .lease
            .members
            .iter()
            .map(|m| m.instance.clone())
            .filter(|i| Some(i) != holder.as_ref())
            .collect();
        let to = if others.is_empty() || self.rng.bool() {
            None
        } else {
            Some(others[self.rng.usize(..others.len())].clone())
        };
        let lasts = self.rng.u64(5 * SECOND..20 * SECOND);
        self.ask(Wish::Switchover { to, why: String::new() }, lasts);
    }

    /// Whoever is told of a silent holder may say that it be taken over from; once all faults are over somebody always does.
    pub(crate) fn person_looks(&mut self) {
        self.queue.push(self.now + LOOKS_EVERY, Event::Person);
        let holder = self.lease.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        let Some(holder) = holder.filter(|_| self.lease.state == LeaseState::Active) else { return };
        let silence = u64::try_from(self.lease.timing.silence().as_nanos()).unwrap_or(u64::MAX);
        let silent = self.watch.quiet_for(holder, self.now) > silence;
        let minds = self.now > self.plan.quiet_from || self.chance(40);
        if self.chance(8) {
            self.exclude_somebody(holder);
        }
        if self.plan.fencing == Fencing::Stop && self.chance(8) {
            self.have_somebody_stopped();
        }
        // Nor is it only a silent holder that the wrong word may be said of.
        if minds && (silent || self.chance(5)) && self.lease.live_intent(self.global().wall).is_none() {
            self.see(Sometimes::FailoverAsked);
            let lasts = self.rng.u64(5 * SECOND..20 * SECOND);
            self.ask(Wish::Failover { to: None, why: String::new() }, lasts);
        }
    }

    /// A node is excluded, or drained if it holds the lease; that is over before all faults are.
    fn exclude_somebody(&mut self, holder: usize) {
        let lasts = self.rng.u64(10 * SECOND..25 * SECOND);
        let members = self.lease.members.clone();
        if members.is_empty() || self.now + lasts > self.plan.quiet_from {
            return;
        }
        let node = members[self.rng.usize(..members.len())].instance.clone();
        let hand_over = self.by_arn.get(&node) == Some(&holder);
        self.see(if hand_over { Sometimes::Drained } else { Sometimes::Excluded });
        let replaces = self.lease.excluded.as_ref().map(|excluded| excluded.request.clone());
        self.ask(Wish::Exclude { node, why: String::new(), hand_over, replaces, withdraws: false }, lasts);
        self.watch.excluded.extend(self.lease.excluded.clone());
    }

    fn ask_for_pause(&mut self, until: u64) {
        if self.lease.state != LeaseState::Retired {
            self.ask(Wish::Pause { why: "a test".to_owned() }, until - self.now);
        }
    }

    // --- the registrar ---

    fn registration(&mut self, what: &str) -> Registration {
        let members = self.machines.iter().filter(|m| !m.gone).map(|m| m.member(&self.resources)).collect();
        let what = Happening::Registered { revision: self.lease.revision + 1, summary: what.to_owned() };
        Registration {
            cluster: self.cluster.clone(),
            uid: self.uid.clone(),
            mode: self.lease.mode,
            takeover: self.plan.takeover,
            cool_down_ms: self.plan.cool_down_ms,
            fencing: self.plan.fencing,
            failback: self.plan.failback,
            timing: self.lease.timing,
            members,
            resources: self.resources.clone(),
            roster: self.roster(),
            made_from: None,
            at: self.global().wall,
            event: Row {
                cluster: self.cluster.clone(),
                epoch: self.lease.epoch,
                at: self.global().wall,
                by: "registrar".to_owned(),
                what,
            },
        }
    }

    pub(crate) fn register(&mut self) {
        self.registrations += 1;
        self.uid = RegistrationUid::new(format!("uid-{}", self.registrations)).expect("a plain name");
        let registration = self.registration("registered");
        if ready(self.store.register(&registration)).is_ok() {
            self.lease_may_have_changed();
            self.send_wake(Why::Registered);
        }
    }

    fn reconfigure(&mut self, registration: &Registration) {
        let holder = self.lease.holder.clone();
        if ready(self.store.reconfigure(registration, holder.as_ref())).is_ok() {
            self.lease_may_have_changed();
            self.send_wake(Why::Registered);
        }
    }

    pub(crate) fn reconfigure_timing(&mut self) {
        let timing =
            if self.lease.timing == self.plan.timing { self.plan.other_timing } else { self.plan.timing };
        if self.machines.iter().any(|m| m.serving.is_some()) {
            let lowered = timing.validity() < self.lease.timing.validity();
            self.see(if lowered { Sometimes::TimingLowered } else { Sometimes::TimingRaised });
        }
        let mut registration = self.registration("timing changed");
        registration.timing = timing;
        registration.members = self.lease.members.clone();
        self.reconfigure(&registration);
    }

    fn reconfigure_mode(&mut self) {
        let mut registration = self.registration("mode changed");
        registration.mode = if self.lease.mode == Mode::Strict { Mode::Available } else { Mode::Strict };
        registration.members = self.lease.members.clone();
        self.reconfigure(&registration);
    }

    fn retire(&mut self) {
        let row = Row {
            cluster: self.cluster.clone(),
            epoch: self.lease.epoch,
            at: self.global().wall,
            by: "registrar".to_owned(),
            what: Happening::Retired {},
        };
        let uid = self.uid.clone();
        if ready(self.store.retire(&self.cluster, &uid, &row)).is_ok() {
            self.lease_may_have_changed();
        }
    }

    /// Another instance takes the place of one that is terminated, as soon as the lease is elsewhere.
    pub(crate) fn replace(&mut self, machine: usize) {
        let waits = self.lease.holder.as_ref() == Some(self.machines[machine].arn()) && !self.plan.by_tag;
        if waits || self.lease.state == LeaseState::Retired {
            return self.queue.push(self.now + SECOND, Event::Replace { machine });
        }
        let index = self.machines.len();
        let clocks = Clocks { ppm: self.rng.i64(-10_000..=10_000), wall_ms: 0 };
        let made = Machine::new(index, clocks, &self.cloud, &self.vpc, self.plan, &mut self.rng);
        self.by_arn.insert(made.arn().clone(), index);
        self.machines.push(made);
        self.watch.machine_added();
        self.watch.mutated(self.now);
        self.see(Sometimes::MemberReplaced);
        if self.plan.by_tag {
            // A group launches it, and may tell of that.
            self.instance_event(1);
        } else {
            let registration = self.registration("member replaced");
            self.reconfigure(&registration);
        }
        self.queue.push(self.now, Event::Boot { machine: index });
    }
}

impl Machine {
    /// The member that this machine is in a registration.
    pub(crate) fn member(&self, resources: &Resources) -> Member {
        let placements = resources
            .addresses
            .iter()
            .enumerate()
            .map(|(k, address)| (address.allocation.clone(), self.node.seat(k)))
            .collect();
        Member {
            node: NodeName::new(self.name.clone()).expect("a plain name"),
            instance: self.arn().clone(),
            zone: format!("euw1-az{}", self.priority % 3),
            interface: self.node.interface.clone(),
            placements,
            priority: self.priority,
        }
    }
}
