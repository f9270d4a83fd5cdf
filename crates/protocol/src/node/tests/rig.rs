//! A node on a table of paper: an explicit clock, a table whose answers can be withheld, lost or refused, hooks that end
//! when the test says so, and an onlooker that checks at every command what must hold in every schedule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::service::{Service, Then};
use super::super::*;
use crate::heartbeat::{Beat, Heartbeat, UNGUARDED_MS};
use crate::lease::{LeaseState, Mode};
use crate::outcome::{Failure, Write, WriteFailure};
use crate::testing::{arn, cluster, heartbeat, lease};
use crate::wake::Why;

/// The kinds of commands that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Own,
    Announce,
    Beat,
    Lease,
    Heartbeats,
    Release,
    Promote,
    Demote,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done and answered.
    Done,
    /// It is applied, and its answer is lost.
    LostAnswer,
    /// It never arrives, and nobody can tell.
    LostRequest,
    Throttled,
    Conflict,
    Denied,
    /// A hook fails.
    Fails,
}

impl Fate {
    pub(super) const UNCONFIRMED: [Self; 5] =
        [Self::LostAnswer, Self::LostRequest, Self::Throttled, Self::Conflict, Self::Denied];

    fn failure(self) -> Option<Failure> {
        match self {
            Self::Done => None,
            Self::LostAnswer | Self::LostRequest | Self::Fails => {
                Some(Failure::Unknown("timed out".to_owned()))
            }
            Self::Throttled => Some(Failure::Throttled),
            Self::Conflict => Some(Failure::Conflict),
            Self::Denied => Some(Failure::Denied("dynamodb".to_owned())),
        }
    }

    fn is_applied(self) -> bool {
        matches!(self, Self::Done | Self::LostAnswer)
    }
}

/// Node 1 of the cluster on a table of paper. See the file's introduction.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) node: Node,
    pub(super) now: Now,
    /// The table.
    pub(super) lease: Option<Lease>,
    pub(super) own: Option<Heartbeat>,
    pub(super) peers: BTreeMap<InstanceArn, Heartbeat>,
    /// What becomes of commands; `Done` where nothing is said.
    pub(super) fate: BTreeMap<Kind, Fate>,
    /// Kinds that wait for [`Rig::answer`].
    pub(super) held: BTreeSet<Kind>,
    /// Commands that wait for their answers, each with the moment it was handed out.
    pub(super) open: VecDeque<(Command, BootTime)>,
    /// Everything that was handed out, in order.
    pub(super) log: Vec<(BootTime, Command)>,
    /// Whether the others' heartbeats are read along with the lease.
    pub(super) reads_along: bool,
    onlooker: Onlooker,
}

/// What must hold in every schedule.
#[derive(Debug, Default)]
pub(super) struct Onlooker {
    /// Whether a service may be running: promoted or adopted, and not yet demoted to the end.
    up: bool,
    demoting: bool,
    started: bool,
    exited: bool,
    released: Epoch,
    /// What the W under way earns once it is confirmed. One that says that nothing guards the service earns by the clock too.
    earns: BootTime,
    /// What the last confirmed W earned, until R uses it, and whether it said that nothing guards the service.
    earned: Option<(BootTime, bool)>,
    /// What W and R together allow, at which epoch.
    budget: Option<(Epoch, BootTime)>,
    /// The dead-man that stands.
    armed: Option<(Epoch, BootTime)>,
    /// Whether the table says that nothing guards the service.
    told: bool,
    /// Whether R showed last that the end of validity has to stop the service.
    asks_for_a_guard: bool,
    /// The epoch that R showed last: strong reads do not go back.
    known: Epoch,
}

/// The first moment of every test.
pub(super) const START: u64 = 1_000_000;

pub(super) fn at(ms: u64) -> Now {
    Now { boot: BootTime((START + ms) * 1_000_000), wall: WallTime(1_000_000 + ms) }
}

impl Rig {
    /// A node after a boot, with nothing asked of it yet.
    pub(super) fn booted() -> Self {
        Self::restarted(None, 0)
    }

    /// A run that finds what an earlier one left, `ms` after the first moment.
    pub(super) fn restarted(earlier: Option<RunState>, ms: u64) -> Self {
        let config = NodeConfig {
            cluster: cluster(),
            instance: arn(1),
            incarnation: Incarnation::new("this-run").expect("valid"),
            earlier: earlier.clone(),
            jitter_seed: Some(7),
        };
        let node = Node::new(config, at(ms));
        let up = node.service.is_up();
        // An earlier run without a guard has said so.
        let told = earlier.as_ref().is_some_and(|left| !left.guarded);
        let own = told.then(|| Heartbeat { validity_ms: UNGUARDED_MS, ..heartbeat(&arn(1), 1) });
        let budget = earlier.as_ref().and_then(|left| left.serving.zip(left.valid_until)).filter(|_| up);
        let armed = budget.filter(|_| earlier.as_ref().is_some_and(|left| left.guarded));
        Self {
            node,
            now: at(ms),
            lease: Some(lease()),
            own,
            peers: (2..=3).map(|n| (arn(n), heartbeat(&arn(n), 1))).collect(),
            fate: BTreeMap::new(),
            held: BTreeSet::new(),
            open: VecDeque::new(),
            log: Vec::new(),
            reads_along: false,
            onlooker: Onlooker {
                up,
                started: up,
                released: earlier.map_or(Epoch(0), |left| left.released),
                budget,
                armed,
                asks_for_a_guard: true,
                ..Onlooker::default()
            },
        }
    }

    /// A holder that serves epoch 1 since its first cycle.
    pub(super) fn serving() -> Self {
        let mut rig = Self::booted();
        rig.run_to(0);
        assert_eq!(rig.node.serving(), Some(Epoch(1)), "{:#?}", rig.log);
        rig
    }

    /// A healthy standby of node 2, which beats once a second.
    pub(super) fn standing_by() -> Self {
        let mut rig = Self::booted();
        rig.lease_mut().holder = Some(arn(2));
        rig.node.handle_health(rig.now, Health::Ok);
        rig.run_to(0);
        rig
    }

    pub(super) fn lease_mut(&mut self) -> &mut Lease {
        self.lease.as_mut().expect("a lease")
    }

    /// The lease goes to another node, or back.
    pub(super) fn grant(&mut self, holder: u8) {
        let lease = self.lease_mut();
        lease.epoch = lease.epoch.next();
        lease.holder = Some(arn(holder));
        lease.intent = None;
    }

    /// A peer writes another heartbeat.
    pub(super) fn peer_beats(&mut self, n: u8) {
        let peer = self.peers.get_mut(&arn(n)).expect("a peer");
        peer.seq = Seq(peer.seq.0 + 1);
    }

    pub(super) fn hold(&mut self, kinds: &[Kind]) {
        self.held.extend(kinds);
    }

    pub(super) fn ms(&self) -> u64 {
        self.now.boot.0 / 1_000_000 - START
    }

    /// Lets time pass to `ms`, stopping at every deadline on the way, and everything that is due happen.
    pub(super) fn run_to(&mut self, ms: u64) {
        self.settle();
        for _ in 0..10_000 {
            let Some(due) = self.node.next_deadline().filter(|due| *due <= at(ms).boot) else {
                self.now = later(self.now, at(ms));
                return self.check();
            };
            let due_ms = (due.0.div_ceil(1_000_000)).saturating_sub(START);
            self.now = later(self.now, at(due_ms));
            self.node.handle_timer(self.now);
            self.settle();
        }
        panic!("the node asks for its timer again and again at {} ms: {:?}", self.ms(), self.node);
    }

    /// Time in which nobody looks at a timer, as when the driver is busy.
    pub(super) fn freeze_to(&mut self, ms: u64) {
        self.now = at(ms);
    }

    /// Takes every command, and answers those that are not held.
    pub(super) fn settle(&mut self) {
        self.take();
        while let Some(next) = self.open.iter().position(|(command, _)| !self.held.contains(&kind(command))) {
            let fate = self.fate_of(next);
            self.answer_at(next, fate);
        }
        self.check();
    }

    fn fate_of(&self, at: usize) -> Fate {
        self.fate.get(&kind(&self.open[at].0)).copied().unwrap_or(Fate::Done)
    }

    /// Answers the oldest held command of this kind, and all that follows from it and is not held.
    pub(super) fn answer(&mut self, wanted: Kind, fate: Fate) {
        let found = self.open.iter().position(|(command, _)| kind(command) == wanted);
        let found = found.unwrap_or_else(|| panic!("no {wanted:?} is open: {:?}", self.open));
        self.answer_at(found, fate);
        self.settle();
    }

    pub(super) fn answer_at(&mut self, at: usize, fate: Fate) {
        let (command, _) = self.open.remove(at).expect("open");
        self.perform(command, fate);
        self.take();
    }

    /// Takes every command without answering any.
    pub(super) fn take(&mut self) {
        while let Some(command) = self.node.poll_command() {
            if let Command::Beat(beat) = &command {
                let validity = match beat.validity_ms {
                    UNGUARDED_MS => self.node.validity_to_publish(self.now.boot),
                    published => std::time::Duration::from_millis(published),
                };
                self.onlooker.earns = self.now.boot + validity;
            }
            self.onlooker.told = self.own.as_ref().is_some_and(Heartbeat::is_unguarded);
            self.onlooker.see(&command, self.now);
            self.log.push((self.now.boot, command.clone()));
            if !self.reads_along && matches!(command, Command::ReadHeartbeats(_)) {
                self.node.asks_apart(self.now);
            }
            match command {
                Command::LeaveWake(_)
                | Command::Wake(_)
                | Command::Arm { .. }
                | Command::Disarm
                | Command::Persist(_)
                | Command::Exit(_) => {}
                Command::Demote { .. } => {
                    // The driver drops a promote hook that still runs.
                    self.open.retain(|(open, _)| !matches!(open, Command::Promote { .. }));
                    self.open.push_back((command, self.now.boot));
                }
                asked => self.open.push_back((asked, self.now.boot)),
            }
        }
    }

    fn perform(&mut self, command: Command, fate: Fate) {
        let now = self.now;
        let hook = if fate == Fate::Done { HookOutcome::Done } else { HookOutcome::Failed };
        match command {
            Command::ReadOwn => {
                self.node.handle_own(now, fate.failure().map_or_else(|| Ok(self.own.clone()), Err))
            }
            Command::Announce { expected, validity_ms } => {
                let outcome = self.announce(fate, &expected, validity_ms);
                self.node.handle_announced(now, outcome);
            }
            Command::Beat(beat) => {
                let unguarded = beat.validity_ms == UNGUARDED_MS;
                let outcome = self.beat(fate, &beat);
                self.onlooker.earned = outcome.is_ok().then_some((self.onlooker.earns, unguarded));
                self.node.handle_beat(now, outcome);
            }
            Command::ReadLease => {
                let found = fate.failure().map_or_else(|| Ok(self.lease.clone()), Err);
                self.onlooker.read(found.as_ref().ok().and_then(Option::as_ref));
                self.node.handle_lease(now, found);
            }
            Command::ReadHeartbeats(asked) => {
                let known = self.peers.iter().filter(|(instance, _)| asked.contains(instance));
                let known = known.map(|(instance, found)| (instance.clone(), found.clone())).collect();
                self.node.handle_heartbeats(now, fate.failure().map_or(Ok(known), Err));
            }
            Command::Release { epoch } => {
                let outcome = self.release(fate, epoch);
                self.node.handle_released(now, outcome);
            }
            Command::Promote { .. } => self.node.handle_promoted(now, hook),
            Command::Demote { .. } => {
                self.onlooker.up = false;
                self.onlooker.demoting = false;
                self.node.handle_demoted(now, hook);
            }
            other => panic!("{other:?} has no answer"),
        }
    }

    fn announce(
        &mut self,
        fate: Fate,
        expected: &Option<Incarnation>,
        validity_ms: u64,
    ) -> Write<Option<Heartbeat>> {
        if fate.is_applied() {
            if self.own.as_ref().map(|own| &own.incarnation) != expected.as_ref() {
                return Err(WriteFailure::Refused(self.own.clone()));
            }
            let mut own = self.own.clone().unwrap_or_else(|| heartbeat(&arn(1), 0));
            own.incarnation = Incarnation::new("this-run").expect("valid");
            own.seq = Seq(own.seq.0 + 1);
            own.validity_ms = validity_ms;
            self.own = Some(own);
        }
        fate.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn beat(&mut self, fate: Fate, beat: &Beat) -> Write<Option<Heartbeat>> {
        if fate.is_applied() {
            let fits = |own: &&mut Heartbeat| own.incarnation == beat.incarnation && own.seq < beat.seq;
            match self.own.as_mut().filter(fits) {
                None => return Err(WriteFailure::Refused(self.own.clone())),
                Some(own) => {
                    own.seq = beat.seq;
                    own.health = beat.health;
                    own.claim.clone_from(&beat.claim);
                    own.validity_ms = beat.validity_ms;
                    own.serving_epoch = beat.serving_epoch;
                }
            }
        }
        fate.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn release(&mut self, fate: Fate, epoch: Epoch) -> Write<Option<Heartbeat>> {
        if fate.is_applied() {
            let mine = |own: &&mut Heartbeat| own.incarnation.as_str() == "this-run";
            match self.own.as_mut().filter(mine) {
                None => return Err(WriteFailure::Refused(self.own.clone())),
                Some(own) => own.released = own.released.max(epoch),
            }
        }
        fate.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    pub(super) fn check(&self) {
        self.onlooker.check(&self.node, self.own.as_ref().is_some_and(Heartbeat::is_unguarded));
    }

    /// The service's state in one word.
    pub(super) fn state(&self) -> &'static str {
        if self.node.exited {
            return "left";
        }
        match self.node.service {
            Service::Stopped => "stopped",
            Service::Starting { .. } => "starting",
            Service::Serving { .. } => "serving",
            Service::Stopping { then: Then::Rest, .. } => "stopping",
            Service::Stopping { then: Then::Release, .. } => "releasing",
        }
    }

    /// The hooks that were asked for, in order: `+epoch` for a promote, `-reason` for a demote.
    pub(super) fn hooks(&self) -> Vec<String> {
        let hook = |(_, command): &(BootTime, Command)| match command {
            Command::Promote { epoch, .. } => Some(format!("+{epoch}")),
            Command::Demote { reason, .. } => Some(format!("-{}", reason.as_str())),
            _ => None,
        };
        self.log.iter().filter_map(hook).collect()
    }

    /// The moments, in milliseconds, at which wakes were sent for this reason.
    pub(super) fn wakes(&self, wanted: Why) -> Vec<u64> {
        let sent = self.log.iter().filter(|(_, command)| *command == Command::Wake(wanted));
        sent.map(|(when, _)| when.0 / 1_000_000 - START).collect()
    }

    /// The last heartbeat that was sent.
    pub(super) fn last_beat(&self) -> &Beat {
        let beats = self.log.iter().rev().find_map(|(_, command)| match command {
            Command::Beat(beat) => Some(beat.as_ref()),
            _ => None,
        });
        beats.expect("a heartbeat")
    }

    pub(super) fn count(&self, wanted: impl Fn(&Command) -> bool) -> usize {
        self.log.iter().filter(|(_, command)| wanted(command)).count()
    }

    /// What the last run left for the next.
    pub(super) fn left(&self) -> RunState {
        let left = self.log.iter().rev().find_map(|(_, command)| match command {
            Command::Persist(state) => Some(state.clone()),
            _ => None,
        });
        left.expect("a state")
    }
}

fn later(one: Now, other: Now) -> Now {
    if one.boot >= other.boot { one } else { other }
}

impl Onlooker {
    fn read(&mut self, found: Option<&Lease>) {
        // Only a confirmed W, and R strictly after it, earns anything; a node that has left reads nothing any more.
        let earned = self.earned.take().filter(|_| !self.exited);
        if self.exited {
            return;
        }
        // What cannot be understood is unknown: it earns nothing and takes nothing away.
        let known = |lease: &&Lease| {
            lease.cluster == crate::testing::cluster() && lease.schema <= crate::lease::SCHEMA
        };
        let Some(lease) = found.filter(known).filter(|lease| lease.epoch >= self.known) else { return };
        self.known = lease.epoch;
        let retired = lease.state == LeaseState::Retired;
        self.asks_for_a_guard = !retired && lease.mode == Mode::Strict;
        // A retired cluster's service is guarded until the table knows that it will not be.
        let unguarded = retired && earned.is_some_and(|(_, unguarded)| unguarded);
        let mine = lease.holder == Some(arn(1));
        if unguarded || !(mine || retired) {
            self.budget = None;
        } else if mine && lease.epoch > self.released {
            self.budget = earned.map(|(until, _)| (lease.epoch, until)).or(self.budget);
        }
    }

    fn see(&mut self, command: &Command, now: Now) {
        assert!(!self.exited, "{command:?} after the end");
        match command {
            Command::Promote { epoch, guarded } => {
                assert!(self.started && !self.up && !self.demoting, "a promote without a demote before it");
                assert!(
                    *epoch > self.released,
                    "epoch {epoch} is promoted and {} was released",
                    self.released
                );
                let (confirmed, until) = self.budget.expect("a promote without W and R");
                assert_eq!(confirmed, *epoch, "another epoch than R showed");
                if *guarded {
                    assert!(now.boot < until, "a promote after the end of validity");
                    assert_eq!(self.armed, Some((*epoch, until)), "a promote before the dead-man was armed");
                } else {
                    assert!(self.told, "a promote without a guard that the table does not know of");
                }
                self.up = true;
            }
            Command::Demote { .. } => {
                assert!(!self.demoting, "a demote while another runs");
                assert!(self.up || !self.started, "a demote of nothing");
                self.demoting = true;
            }
            Command::Release { epoch } => {
                assert!(!self.up && !self.demoting, "an oath before the service was down");
                assert_eq!(*epoch, self.released, "an oath that was not kept before it was sent");
            }
            Command::Arm { epoch, valid_until } => {
                // Where no guard is asked for any more, the one that still stands is that of the service as it is.
                let served = self.armed.map(|(served, _)| served).filter(|_| !self.asks_for_a_guard);
                let earned = self.budget.map(|(confirmed, until)| (served.unwrap_or(confirmed), until));
                assert_eq!(earned, Some((*epoch, *valid_until)), "the dead-man is told what was not earned");
                assert!(*epoch > self.released && !self.demoting, "the dead-man guards what must be down");
                self.armed = Some((*epoch, *valid_until));
            }
            Command::Disarm => {
                let rests = !self.up || self.demoting;
                assert!(rests || self.told, "the guard is taken away, and the table does not know it");
                self.armed = None;
            }
            Command::Persist(state) => {
                assert!(state.released >= self.released, "an oath is undone");
                self.released = state.released;
                assert!(
                    state.serving.is_none_or(|epoch| epoch > state.released),
                    "a released epoch is kept as served"
                );
            }
            Command::Beat(beat) => {
                let budget = self.budget.filter(|_| self.up);
                let covered = now.boot + std::time::Duration::from_millis(beat.validity_ms);
                assert!(
                    budget.is_none_or(|(_, until)| covered >= until),
                    "the heartbeat publishes less than the node may still serve: standbys would be too quick"
                );
            }
            Command::Exit(_) => self.exited = true,
            _ => {}
        }
        self.started |= matches!(command, Command::Demote { .. }) || self.up;
    }

    fn check(&self, node: &Node, told: bool) {
        assert!(node.released >= self.released);
        assert!(
            !self.up || self.armed.is_some() || told,
            "nothing guards the service, and the table does not know it"
        );
        if let Some(epoch) = node.serving() {
            assert!(epoch > node.released, "a released epoch is served");
            assert!(self.up);
        }
        if node.guarded && node.service.is_up() {
            let (_, earned) = self.budget.expect("guarded, and nothing was earned");
            assert!(node.valid_until.is_some_and(|claimed| claimed <= earned), "more than was earned");
        }
    }
}

/// The kind of a command that is answered.
pub(super) fn kind(command: &Command) -> Kind {
    match command {
        Command::ReadOwn => Kind::Own,
        Command::Announce { .. } => Kind::Announce,
        Command::Beat(_) => Kind::Beat,
        Command::ReadLease => Kind::Lease,
        Command::ReadHeartbeats(_) => Kind::Heartbeats,
        Command::Release { .. } => Kind::Release,
        Command::Promote { .. } => Kind::Promote,
        Command::Demote { .. } => Kind::Demote,
        other => panic!("{other:?} has no answer"),
    }
}
