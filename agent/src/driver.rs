//! The driver of one cluster: carries out what the protocol's node asks for and tells it what came of it.
//!
//! One loop, one task. Calls to the table run beside each other, bounded by the profile's attempt timeout, since a call
//! that takes longer is worth nothing. At most one hook runs at a time; a demote drops a promote hook that still runs,
//! which kills its process group. When the loop ends nothing of it is left running, but for the service and its dead-man.

mod desk;
mod fence;
mod hooks;
mod looks;
mod mending;
mod places;
mod suspension;
mod table;
mod troubles;
mod vip;
mod watchdog;

use std::time::Duration;

use baton_protocol::ids::{Epoch, InstanceArn};
use baton_protocol::node::{Command, Exit, HookOutcome, Node, NodeConfig, Shutdown};
use baton_protocol::time::BootTime;
use baton_store::Store;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};

use crate::check::{self, Checks, HealthReport, Keepers};
use crate::clock::Alarm;
use crate::config::{Cluster, Service, Shutdown as ConfiguredShutdown};
use crate::deadman::{DeadMan, DeadManError, Paths, Target, target};
use crate::hook::{Direction, Watch};
use crate::identity::Metadata;
use crate::log::chain;
use crate::state::{Left, StateFile};
use crate::status::socket::Ask;
use crate::watchdog::Watchdog;
use crate::{clock, notify};
use desk::Desk;
use fence::{Changes, Fencing};
use hooks::{Failed, Hooks, Outcome, Stage};
use looks::Looks;
use mending::Mending;
use places::Places;
use suspension::Suspension;
use table::{Answer, Caller, Neighbours};
use troubles::About;
use vip::Addresses;
use watchdog::Guard;

pub use table::Wakes;

/// How often the instance metadata is asked which addresses it shows, and whether the instance is about to be taken: as often as the
/// EC2 User Guide asks for ("Spot Instance interruption notices").
const SEEN_EVERY: Duration = Duration::from_secs(5);

/// What a driver works with.
#[derive(Debug)]
pub struct Parts<S, W> {
    /// This instance.
    pub instance: InstanceArn,
    /// The cluster as configured.
    pub cluster: Cluster,
    /// The table.
    pub store: S,
    /// The bus.
    pub wakes: W,
    /// The metadata service.
    pub metadata: Metadata,
    /// The watchdog of this machine, if one is used.
    pub watchdog: Option<Watchdog>,
    /// Of this boot.
    pub boot_id: String,
}

/// How the agent was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As each cluster's `shutdown` says.
    AsConfigured,
    /// For another run that follows at once, so every service is left to it.
    Restart,
    /// For another driver of this run, which follows with another configuration, so the service is left to it.
    Reload,
}

/// How a driver has ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The word that it has followed. One that came later was not heard.
    pub heard: Option<Ending>,
    /// Whether the service goes on, under its dead-man if it is guarded.
    pub leaves_service: bool,
}

/// For how long a driver that has adopted a service waits for the lease before it follows a word to end: what it holds, and
/// whether there is a pause, decides whether it hands over.
const LEASE_FIRST: Duration = Duration::from_secs(2);

/// Why a driver ended, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The system gave no randomness for the name of this run.
    #[error("no randomness for the name of this run")]
    Randomness(#[from] getrandom::Error),
    /// The dead-man's program or files cannot be used.
    #[error("the dead-man cannot be used")]
    DeadMan(#[from] DeadManError),
    /// The dead-man's program was not found.
    #[error("cannot tell where the agent's own program lies")]
    Program(#[source] std::io::Error),
    /// The timer cannot be used, so nothing could be stopped in time.
    #[error("no timer on CLOCK_BOOTTIME")]
    Timer(#[source] std::io::Error),
    /// A check's task has ended, so health would be an old story.
    #[error("a health check has ended by itself")]
    Check(#[from] tokio::task::JoinError),
    /// Another run of an agent owns this node's heartbeat.
    #[error("this node's heartbeat belongs to another run of the agent: {0}")]
    Usurped(String),
}

/// Drives one cluster until the agent is asked to end (`stop` says how) or cannot go on. Whoever asks gets the status.
pub async fn drive<S: Store, W: Wakes>(
    parts: Parts<S, W>,
    stop: watch::Receiver<Option<Ending>>,
    asked: mpsc::Receiver<Ask>,
) -> Result<Ended, DriverError> {
    Driver::new(&parts)?.run(&parts, stop, asked).await
}

/// The parts of the loop that change.
struct Driver {
    node: Node,
    state: StateFile,
    dead_man: Option<DeadMan>,
    /// Whether the dead-man took the last end of validity.
    guard_stands: bool,
    ready: bool,
    /// Why this instance is about to be taken, if it is.
    leaving: Option<String>,
    exit: Option<Exit>,
    heard: Option<Ending>,
    /// Until when a word to end waits for the first lease.
    lease_first: BootTime,
    mending: Mending,
    addresses: Addresses,
    places: Places,
    fencing: Fencing,
    guard: Guard,
    suspension: Suspension,
    desk: Desk,
    neighbours: Neighbours,
}

impl Driver {
    fn new<S, W>(parts: &Parts<S, W>) -> Result<Self, DriverError> {
        let directory = &parts.cluster.directory;
        let state = StateFile::new(directory, parts.boot_id.clone());
        let earlier = match state.read() {
            Left::State(earlier) => Some(earlier),
            Left::Nothing => None,
            Left::Unusable(reason) => {
                tracing::warn!(reason, "an earlier run left nothing that can be used");
                None
            }
        };
        let mut dead_man = match &parts.cluster.service {
            Some(service) => {
                let program = DeadMan::program().map_err(DriverError::Program)?;
                let dead_man = DeadMan::new(Paths::new(directory), program, Target::from(service))?;
                Some(dead_man.also_lowering(parts.cluster.vip.clone()))
            }
            None => None,
        };
        let stopped = stop_what_an_orphaned_hook_began(dead_man.as_mut(), parts.cluster.service.as_ref());
        let incarnation = table::new_incarnation()?;
        let config = NodeConfig {
            cluster: parts.cluster.name.clone(),
            instance: parts.instance.clone(),
            incarnation,
            earlier: earlier.clone(),
            jitter_seed: Some(getrandom::u64()?),
        };
        let mut node = Node::new(config, clock::now());
        let fired = dead_man.as_ref().map(DeadMan::fired).transpose()?.flatten();
        if let Some(fired) = &fired {
            tracing::warn!(
                epoch = fired.epoch.map(|epoch| epoch.0),
                reason = fired.why,
                "the dead-man stopped the service"
            );
        }
        if stopped || fired.is_some() {
            // What the state says is serving does so no more, and must not be adopted.
            node.handle_fenced(clock::now());
        }
        let mending = Mending::new(&parts.cluster);
        let addresses = Addresses::new(&parts.cluster);
        let fencing = Fencing::new(&parts.cluster, &node);
        Ok(Self {
            node,
            state,
            dead_man,
            guard_stands: false,
            ready: false,
            leaving: None,
            exit: None,
            heard: None,
            lease_first: clock::boot() + LEASE_FIRST,
            mending,
            addresses,
            places: Places::default(),
            fencing,
            guard: Guard::new(parts.watchdog.clone(), parts.cluster.name.clone()),
            suspension: Suspension::new(),
            desk: Desk::default(),
            neighbours: Neighbours::default(),
        })
    }

    async fn run<S: Store, W: Wakes>(
        mut self,
        parts: &Parts<S, W>,
        mut stop: watch::Receiver<Option<Ending>>,
        mut asked: mpsc::Receiver<Ask>,
    ) -> Result<Ended, DriverError> {
        let caller = Caller::new(parts, self.node.incarnation().clone());
        let keepers = Keepers { vip: self.addresses.keeper.clone(), fence: self.fencing.keeper.clone() };
        let mut changes = Changes::of(keepers.fence.clone());
        let mut open = FuturesUnordered::new();
        let mut checks = check::start(parts.cluster.checks.clone(), &keepers);
        let mut hooks = Hooks::new(&parts.cluster, keepers);
        let mut health = checks.report();
        let mut looks = Looks::default();
        let mut seen = tokio::time::interval(SEEN_EVERY);
        let mut alarm = Alarm::default();
        loop {
            while let Some(command) = self.node.poll_command() {
                match self.carry_out(command, &mut hooks) {
                    None => {}
                    Some(Command::ReadHeartbeats(asked)) if self.neighbours.have(&asked) => {
                        let found = self.neighbours.take();
                        self.take(Answer::Heartbeats(Ok(found)));
                    }
                    Some(call) => {
                        if matches!(call, Command::ReadHeartbeats(_)) {
                            self.node.asks_apart(clock::now());
                        }
                        let attempt = self.timing().attempt_timeout();
                        open.push(caller.perform(call, self.node.neighbours(), attempt).boxed());
                    }
                }
            }
            self.keep_addresses();
            self.keep_fence();
            self.guard.feed();
            self.suspension.look();
            if self.take_health(&checks, &mut health) || self.recover_if_due(&mut hooks) {
                continue;
            }
            if let Some(exit) = self.exit.take_if(|_| hooks.idle() && open.is_empty() && changes.settled()) {
                // What stays here stays under the dead-man, until the next run.
                self.guard.disarm();
                hooks.settled().await;
                self.fencing.leave(&mut changes).await;
                return match exit {
                    Exit::Orderly => Ok(self.ended()),
                    Exit::Usurped(how) => Err(DriverError::Usurped(how)),
                };
            }
            self.desk.see_hook(hooks.stage());
            let due = alarm.until(self.next_deadline());
            tokio::select! {
                Some(answer) = open.next() => self.take(answer),
                answer = looks.next() => self.take(answer),
                outcome = changes.next() => self.take_fence(outcome),
                (stage, outcome) = hooks.finished() => self.take_hook(stage, outcome, &mut hooks),
                result = due => {
                    result.map_err(DriverError::Timer)?;
                    let now = clock::now();
                    self.node.handle_timer(now);
                    self.mending.handle_timer(now);
                }
                // Taken in before the next turn of the loop does anything else.
                Ok(()) = health.changed() => {}
                Ok(()) = stop.changed(), if self.hears() => self.begin_shutdown(parts, *stop.borrow()),
                error = checks.ended() => return Err(error.into()),
                Some(ask) = asked.recv() => {
                    // Whoever asked may have left.
                    drop(ask.send(self.status(parts, &hooks, &health.borrow(), caller.is_denied())));
                }
                _ = seen.tick(), if self.exit.is_none() => {
                    looks.at_addresses(|| caller.look_at_metadata(self.node.placed()));
                    looks.for_notices(|| caller.look_for_notices());
                }
            }
        }
    }

    /// Does at once what can be done at once; returns what has to be asked of the table or the bus.
    fn carry_out(&mut self, command: Command, hooks: &mut Hooks) -> Option<Command> {
        match command {
            Command::Arm { epoch, valid_until } => {
                let armed = match &mut self.dead_man {
                    Some(dead_man) => dead_man.arm(epoch, valid_until).map_err(|error| chain(&error)),
                    None => Err("strict mode needs `service` in this cluster's configuration: what to stop"
                        .to_owned()),
                };
                self.desk.note(About::DeadMan, &armed);
                let timing = self.timing();
                let armed = armed.and_then(|()| self.watch_until(&timing, valid_until));
                self.guard_stands = armed.is_ok();
                if let Err(reason) = armed {
                    tracing::error!(
                        epoch = epoch.0,
                        reason,
                        "no dead-man, or no watchdog, stands behind the service; it must not run"
                    );
                    self.node.handle_fenced(clock::now());
                } else {
                    self.fencing.open(valid_until);
                }
            }
            Command::Disarm => {
                self.fencing.disarm(&self.node);
                self.guard.disarm();
                for about in [About::DeadMan, About::Watchdog] {
                    self.desk.note(about, &Ok::<(), String>(()));
                }
                self.disarm();
            }
            Command::Promote { epoch, guarded } => {
                if !self.node.may_promote(clock::boot(), guarded, self.guard_stands) {
                    self.node.handle_promoted(clock::now(), HookOutcome::Failed);
                    return None;
                }
                if !hooks.raise(epoch, guarded, self.node.valid_until()) {
                    hooks.promote(epoch, self.addresses(), self.watch(guarded));
                }
            }
            Command::Demote { epoch, reason } => {
                self.fencing.demote(&self.node, reason);
                hooks.demote(epoch, reason, self.addresses(), self.node.is_guarded());
                self.forget_hook_group();
            }
            Command::Persist(state) => {
                let written = self.state.write(&state);
                self.desk.note(About::State, &written);
                if let Err(error) = written {
                    // The next run finds older state or none, and then starts as after a boot: an outage, never a second holder.
                    tracing::error!(reason = chain(&error), "state for the next run not kept");
                }
            }
            Command::Exit(exit) => {
                self.abandon_recovery(hooks);
                self.exit = Some(exit);
            }
            call => {
                self.desk.see_call(&call);
                return Some(call);
            }
        }
        None
    }

    fn promote_failed(&mut self, epoch: Epoch, failed: &Failed) {
        let reason = failed.why.as_str();
        tracing::error!(epoch = epoch.0, reason, "promote failed");
        self.desk.note(About::Promote, &Err(reason));
        self.mending.handle_promoted(Some(reason));
        self.tell_failure(clock::now(), Direction::Promote, epoch, failed);
        self.node.handle_promoted(clock::now(), HookOutcome::Failed);
    }

    fn disarm(&mut self) {
        let Some(dead_man) = &mut self.dead_man else { return };
        let disarmed = match dead_man.fired() {
            Ok(Some(fired)) => {
                tracing::warn!(
                    reason = fired.why,
                    outcome = fired.outcome,
                    "the dead-man stopped the service"
                );
                dead_man.acknowledge_fired()
            }
            Ok(None) => dead_man.disarm(),
            Err(error) => Err(error),
        };
        if let Err(error) = disarmed {
            tracing::error!(reason = chain(&error), "the dead-man could not be disarmed");
        }
    }

    fn take(&mut self, answer: Answer) {
        let now = clock::now();
        let epoch_before = self.node.lease().map(|lease| lease.epoch);
        self.desk.see(now, &answer);
        // A driver that has only begun reads its own item and announces itself before it reads a lease.
        let turns = matches!(answer, Answer::Own(_) | Answer::Announced(_) | Answer::Lease(..));
        match answer {
            Answer::Own(found) => self.node.handle_own(now, found),
            Answer::Announced(outcome) => self.node.handle_announced(now, outcome),
            Answer::Beat(outcome) => self.node.handle_beat(now, outcome),
            Answer::Lease(found, along) => {
                self.neighbours = along;
                self.node.handle_lease(now, found);
            }
            Answer::Heartbeats(found) => self.node.handle_heartbeats(now, found),
            Answer::Released(outcome) => self.node.handle_released(now, outcome),
            Answer::Seen(attached) => {
                self.node.handle_seen(now, &attached);
                self.compare_with_places(&attached);
            }
            Answer::Leaving(why) => self.take_leaving(why),
            Answer::Woken(_) | Answer::Unseen(_) | Answer::Told => {}
        }
        if turns {
            notify::watchdog();
        }
        let Some(lease) = self.node.lease() else { return };
        if epoch_before != Some(lease.epoch) {
            let holder =
                lease.holder.as_ref().map_or_else(|| "nobody".to_owned(), |holder| lease.name_of(holder));
            tracing::info!(epoch = lease.epoch.0, holder, "lease");
        }
        if !std::mem::replace(&mut self.ready, true) {
            notify::ready();
        }
        self.compare_with_routes();
        self.tell_status();
    }

    fn take_hook(&mut self, stage: Stage, outcome: Outcome, hooks: &mut Hooks) {
        let (direction, epoch) = match stage {
            Stage::Hook { direction, epoch } => (direction, epoch),
            Stage::Raise { epoch, guarded } => return self.take_raised(epoch, guarded, outcome, hooks),
        };
        let now = clock::now();
        let done = if outcome.is_ok() { HookOutcome::Done } else { HookOutcome::Failed };
        if let Some(failed) = outcome.as_ref().err().filter(|failed| !failed.is_absence) {
            self.tell_failure(now, direction, epoch, failed);
        }
        match direction {
            Direction::Promote => {
                self.desk.note(About::Promote, &outcome);
                self.mending.handle_promoted(outcome.as_ref().err().map(|failed| failed.why.as_str()));
            }
            Direction::Demote => self.desk.note(About::Demote, &outcome),
            Direction::Recover => {}
        }
        if direction != Direction::Demote {
            self.forget_hook_group();
        }
        match direction {
            Direction::Promote => {
                self.node.handle_promoted(now, done);
                if let Some(epoch) = self.node.serving() {
                    tracing::info!(epoch = epoch.0, "serving");
                }
            }
            Direction::Demote => self.node.handle_demoted(now, done),
            Direction::Recover => {
                self.mending.handle_ended(now, outcome.err().map(|failed| failed.why).as_deref())
            }
        }
        self.tell_status();
    }

    /// Who is to know of a hook that may start something.
    fn watch(&self, is_needed: bool) -> Option<Watch> {
        self.dead_man.as_ref().map(|dead_man| Watch { teller: dead_man.teller(), is_needed })
    }

    fn forget_hook_group(&mut self) {
        forget_hook_group(self.dead_man.as_mut());
    }

    fn take_leaving(&mut self, why: Option<String>) {
        match (&self.leaving, &why) {
            (before, Some(why)) if before.as_ref() != Some(why) => {
                tracing::warn!(reason = why, "this instance is about to be taken; it hands over if it can");
            }
            (Some(_), None) => tracing::info!("this instance stays after all"),
            _ => {}
        }
        self.node.handle_leaving(clock::now(), why.is_some());
        self.leaving = why;
    }

    /// Whether a word to end is followed now.
    fn hears(&self) -> bool {
        self.exit.is_none() && !self.waits_for_lease()
    }

    fn waits_for_lease(&self) -> bool {
        self.node.lease().is_none() && self.node.serving().is_some() && clock::boot() < self.lease_first
    }

    fn ended(&self) -> Ended {
        Ended { heard: self.heard, leaves_service: self.node.serving().is_some() }
    }

    fn begin_shutdown<S, W>(&mut self, parts: &Parts<S, W>, ending: Option<Ending>) {
        let shutdown = match (ending, parts.cluster.shutdown) {
            (Some(Ending::Restart | Ending::Reload), _) | (_, ConfiguredShutdown::Stay) => Shutdown::Stay,
            (_, ConfiguredShutdown::Handover) => Shutdown::Handover,
        };
        tracing::info!(reason = ?shutdown, "asked to end");
        self.heard = ending;
        self.node.handle_shutdown(clock::now(), shutdown);
    }

    fn addresses(&self) -> Vec<std::net::Ipv4Addr> {
        let addresses = self.node.lease().map(|lease| lease.resources.addresses.as_slice());
        addresses.unwrap_or_default().iter().map(|address| address.public_ip).collect()
    }

    fn tell_status(&self) {
        let Some(lease) = self.node.lease() else { return };
        let role = if self.node.serving().is_some() { "serving" } else { "standby" };
        let rest = self.mending.in_words().map(|words| format!("; {words}")).unwrap_or_default();
        notify::status(&format!("{}: {role}, epoch {}{rest}", lease.cluster, lease.epoch));
    }
}

/// A promote or recover hook whose agent was killed has lost its timeout, and would start the service whenever it gets there. It is
/// killed before anything else is done, while the dead-man of that time still guards, and the service with it; whether there was one.
fn stop_what_an_orphaned_hook_began(dead_man: Option<&mut DeadMan>, service: Option<&Service>) -> bool {
    let (Some(dead_man), Some(service)) = (dead_man, service) else { return false };
    let Some(group) = dead_man.hook_group() else { return false };
    let stopped = target::stop(&Target::from(service), Some(group));
    tracing::warn!(group, reason = %stopped, "a hook of an earlier run was stopped, and the service with it");
    if stopped.complete {
        forget_hook_group(Some(dead_man));
    }
    true
}

fn forget_hook_group(dead_man: Option<&mut DeadMan>) {
    let Some(dead_man) = dead_man.filter(|dead_man| dead_man.hook_group().is_some()) else { return };
    if let Err(error) = dead_man.set_hook_group(None) {
        tracing::warn!(reason = chain(&error), "the dead-man still names a hook that has ended");
    }
}
