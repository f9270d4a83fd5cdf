//! A node: when it may serve, when it must stop, and when it may claim.
//!
//! The naive agent reads "the lease is mine" and serves. Between the read and the service lies time in which the lease can
//! go elsewhere, and an agent that is frozen there serves on. So a node serves on a *budget* of time instead: it first
//! writes its heartbeat (W), then reads the lease (R), and if R still names it, it may serve until `t0 + validity`, where
//! t0 is the moment W was *sent* and the validity is the one that this very W published. Nobody can take the lease without
//! having seen nothing new from this node for longer than that (see [`crate::silence`] and [`crate::timing`]).
//!
//! What follows from it, and is kept here:
//!
//! * a heartbeat whose outcome is unknown extends nothing, and so does a read without a confirmed write before it;
//! * a node in strict mode stops when its budget ends; below the agent a dead-man stops the service at the same moment
//!   without the agent's help;
//! * a node that has released an epoch never serves it again, over restarts too;
//! * promote and demote alternate, and a second promote in one epoch happens only through W and R.
//!
//! ```text
//!             W→R says "you, epoch e"                 promote hook done
//!   Stopped ────────────────────────────▶ Starting(e) ─────────────────▶ Serving(e)
//!      ▲                                      │                              │
//!      │        demote hook done              ▼  validity ended, deposed,    ▼
//!      └──────────────────────────────── Stopping(e) ◀── released, drained ──┘
//! ```
//!
//! The methods come in three kinds. `handle_*` takes in what happened; [`Node::poll_command`] hands out what to do, to be
//! called until it returns `None` after every `handle_*`; [`Node::next_deadline`] says when [`Node::handle_timer`] is due.

mod address;
mod canonical;
mod command;
mod cycle;
mod duty;
mod missing;
mod service;
mod startup;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub use canonical::{Form, canonical_claim, health};
pub use command::{Command, Exit, HookOutcome, Reason, RunState};
pub use duty::Duty;
pub use missing::Attached;

use crate::findings::Findings;
use crate::heartbeat::{Claim, Health};
use crate::ids::{ClusterName, Epoch, Incarnation, InstanceArn, Seq};
use crate::lease::Lease;
use crate::peers::PeerWatch;
use crate::silence::SilenceWatch;
use crate::time::{BootTime, Now, WallTime};
use crate::timing::Timing;
use crate::wake::Why;

use cycle::Cycle;
use missing::Missing;
use service::Service;
use startup::Phase;

/// What a node is told when it starts.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The cluster.
    pub cluster: ClusterName,
    /// This instance.
    pub instance: InstanceArn,
    /// Chosen anew for this run of the agent.
    pub incarnation: Incarnation,
    /// What an earlier run in the same boot left: its oath, and a service that may be adopted.
    pub earlier: Option<RunState>,
    /// Seeds the jitter that keeps nodes from beating in step; none: the node beats exactly at its interval.
    pub jitter_seed: Option<u64>,
}

/// What an orderly end of the agent does with a service it guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Hands the lease over: demote, release, leave.
    Handover,
    /// Leaves the service running, under the dead-man in strict mode, for the next run to adopt.
    Stay,
}

/// The state machine of one node in one cluster. See the module's introduction.
#[derive(Debug, Clone)]
pub struct Node {
    cluster: ClusterName,
    me: InstanceArn,
    incarnation: Incarnation,
    phase: Phase,
    seq: Seq,
    jitter: Option<u64>,
    timing: Timing,
    lease: Option<Arc<Lease>>,
    cycle: Cycle,
    next_beat: BootTime,
    service: Service,
    /// Whether the end of the budget stops the service: in strict mode, while the cluster is protected.
    guarded: bool,
    /// Whether a dead-man stands behind whatever runs. It may take a moment to follow `guarded`.
    armed: bool,
    /// The end of the budget, an earlier run's included.
    valid_until: Option<BootTime>,
    /// The largest epoch this node swears never to serve again; in memory before it is sent anywhere, and never undone.
    released: Epoch,
    /// The latest epoch that this node has read, an earlier run's included. A lease before it is no lease: the table was restored.
    known: Epoch,
    /// That epoch, once the table has shown an earlier one.
    ahead: Option<Epoch>,
    /// Whether the table is known to hold the oath.
    release_confirmed: bool,
    health: Health,
    /// For people: no decision looks at it. None until there is something to say, or to take back.
    findings: Option<Findings>,
    /// Since when the node has been healthy in this run without a break.
    healthy_from: Option<BootTime>,
    /// Whether the last promote failed: the node cannot serve, whatever its checks say.
    promote_failed: bool,
    /// Whether one has failed in this run and none succeeded since. Others may try this node, and nobody is to prefer it for
    /// having been healthy: only a promote that succeeds shows that it can serve.
    unproven: bool,
    promote_not_before: BootTime,
    /// Whether this instance is about to be taken, as its metadata says.
    leaving: bool,
    seen: Vec<Ipv4Addr>,
    missing: Missing,
    silence: SilenceWatch,
    peers: PeerWatch,
    claim: Option<Claim>,
    nudge: Option<Nudge>,
    /// The oath whose write has not been answered yet. One at a time, or the answer to an old one, coming late, could pass
    /// for that to a newer one.
    oath_open: Option<Epoch>,
    shutdown: Option<Shutdown>,
    /// How another run took over this node's heartbeat item: the service is stopped, and then the agent ends.
    usurped: Option<String>,
    exited: bool,
    commands: VecDeque<Command>,
    /// What a read before the write has shown.
    #[cfg(feature = "mutants")]
    read_before_write: Option<crate::outcome::Read<Option<Arc<Lease>>>>,
    #[cfg(feature = "mutants")]
    in_limbo: bool,
}

/// A wake that is repeated, at growing intervals, for as long as its reason stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Nudge {
    why: Why,
    sent: u32,
    next: BootTime,
}

/// A wake is repeated 1, 2, 4 and 8 s after the first; then the sweep takes over, and a nudge comes each 8 s.
const NUDGE_DOUBLINGS: u32 = 3;
/// Whoever is no member may never become one, so its hellos go on doubling, to one in 64 s.
const HELLO_DOUBLINGS: u32 = 6;

impl Node {
    /// A node at the start of a run. It serves nothing, unless an earlier run's service can be adopted.
    pub fn new(config: NodeConfig, now: Now) -> Self {
        let (service, valid_until, released) = service::at_start(config.earlier.as_ref(), now);
        let mut node = Self {
            cluster: config.cluster,
            me: config.instance,
            incarnation: config.incarnation,
            phase: Phase::ReadingSelf,
            seq: Seq(0),
            jitter: config.jitter_seed,
            timing: Timing::DEFAULT,
            lease: None,
            cycle: Cycle::Idle,
            next_beat: now.boot,
            service,
            // Until a lease was read its mode is unknown: an earlier run knew it, and else the strict rule holds.
            guarded: config.earlier.as_ref().is_none_or(|earlier| earlier.guarded),
            // After a boot nothing runs, and an earlier run knew whether it was guarded.
            armed: config.earlier.as_ref().is_none_or(|earlier| earlier.guarded),
            valid_until,
            released,
            known: config.earlier.as_ref().map_or(Epoch(0), |earlier| earlier.known),
            ahead: None,
            release_confirmed: false,
            health: Health::Unknown,
            findings: None,
            healthy_from: None,
            promote_failed: false,
            unproven: false,
            promote_not_before: now.boot,
            leaving: false,
            seen: Vec::new(),
            missing: Missing::default(),
            silence: SilenceWatch::default(),
            peers: PeerWatch::default(),
            claim: None,
            nudge: None,
            oath_open: None,
            shutdown: None,
            usurped: None,
            exited: false,
            commands: VecDeque::new(),
            #[cfg(feature = "mutants")]
            read_before_write: None,
            #[cfg(feature = "mutants")]
            in_limbo: false,
        };
        node.stop_what_was_not_adopted();
        node
    }

    /// What to do next. Call until it returns `None`, after every `handle_*`.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Self::handle_timer`] is due; `None` once the node has left.
    pub fn next_deadline(&self) -> Option<BootTime> {
        if self.has_ended() {
            return None;
        }
        let fencing = self.guarded && self.service.is_up();
        let validity = self.valid_until.filter(|_| fencing);
        let beat = (self.cycle == Cycle::Idle).then_some(self.next_beat);
        [validity, beat, self.nudge.map(|nudge| nudge.next)].into_iter().flatten().min()
    }

    /// Takes in that a deadline has passed; early calls do nothing.
    pub fn handle_timer(&mut self, now: Now) {
        if self.has_ended() {
            return;
        }
        self.fence_if_expired(now);
        self.nudge_if_due(now);
        if self.cycle == Cycle::Idle && now.boot >= self.next_beat {
            self.begin_cycle(now);
        }
    }

    /// Takes in what the checks say.
    pub fn handle_health(&mut self, now: Now, health: Health) {
        if health != self.health && !self.has_ended() {
            self.health = health;
            self.healthy_from = None;
            // Others should know at once: a bad holder hands over sooner, a good standby counts sooner.
            self.next_beat = now.boot;
            self.release_if_wanted(now, false);
        }
    }

    /// Takes in whether this instance is about to be taken: stopped, terminated or rebooted, by a notice that names the moment. It
    /// hands over while it can, if somebody could take over, and is granted nothing meanwhile.
    pub fn handle_leaving(&mut self, now: Now, leaving: bool) {
        if leaving != self.leaving && !self.has_ended() {
            self.leaving = leaving;
            self.next_beat = now.boot;
            self.release_if_wanted(now, false);
        }
    }

    /// Takes in what the agent has found out about this node; the next heartbeat says it. That a hook has failed is said at once:
    /// it may be why the lease is released, and the arbiter reads it beside the release.
    pub fn handle_findings(&mut self, now: Now, findings: &Findings) {
        let told = self.findings.as_ref().and_then(|findings| findings.hook.as_ref());
        if findings.hook.is_some() && findings.hook.as_ref() != told && !self.has_ended() {
            self.next_beat = now.boot;
        }
        // What was never said needs not be taken back.
        if self.findings.is_some() || *findings != Findings::default() {
            self.findings = Some(findings.clone());
        }
    }

    /// Takes in that the agent shall end.
    pub fn handle_shutdown(&mut self, now: Now, shutdown: Shutdown) {
        if self.has_ended() {
            return;
        }
        let paused = self.lease.as_ref().is_some_and(|lease| lease.is_paused(now.wall));
        // Under a pause nobody is to take over, so nothing is handed over either.
        self.shutdown = Some(if paused { Shutdown::Stay } else { shutdown });
        self.leave_or_hand_over(now);
    }

    /// The name of this run.
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// The lease as last read, for the status line.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_deref()
    }

    /// The epoch at which this node serves, if it does.
    pub fn serving(&self) -> Option<Epoch> {
        match self.service {
            Service::Serving { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// Whether a [`Command::Promote`] may be carried out now: arming takes time where a dead-man has to be started, and a
    /// budget that ended meanwhile has ended. If not, the promote has failed.
    pub fn may_promote(&self, now: BootTime, guarded: bool, dead_man_stands: bool) -> bool {
        let mut in_time = self.valid_until.is_some_and(|until| now < until);
        let mut stands = dead_man_stands;
        if mutant!(NoDeadMan) {
            stands = true;
        }
        if mutant!(ServeUnguarded) {
            stands = true;
        }
        if mutant!(LatePromote) {
            in_time = true;
        }
        !guarded || (stands && in_time)
    }

    /// Whether the agent was told to end.
    pub fn is_leaving(&self) -> bool {
        self.shutdown.is_some() || self.has_ended()
    }

    /// When the budget ends, for the status line; `None` outside strict mode.
    pub fn valid_until(&self) -> Option<BootTime> {
        self.valid_until.filter(|_| self.guarded)
    }

    /// Whether the end of the budget stops what runs here: in strict mode, and until a lease was read.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// The health that the next heartbeat says, for the status.
    pub fn published_health(&self) -> Health {
        self.effective_health()
    }

    /// What the node thinks of its own ability to serve: its checks, whether promotion works, and whether it will be there.
    fn effective_health(&self) -> Health {
        match (self.shutdown, self.promote_failed) {
            (Some(Shutdown::Handover), _) => Health::Draining,
            (_, true) => Health::Bad,
            _ if self.leaving && self.health != Health::Bad => Health::Draining,
            _ => self.health,
        }
    }

    /// Since when that has been `ok`, told by the wall clock of now: one that is set meanwhile shifts the moment and not the
    /// length. After a failed promote it is always this moment, so that there is no length.
    fn healthy_since(&mut self, now: Now) -> Option<WallTime> {
        if self.effective_health() != Health::Ok || self.unproven {
            self.healthy_from = None;
        }
        if self.effective_health() != Health::Ok {
            return None;
        }
        let from = *self.healthy_from.get_or_insert(now.boot);
        Some(WallTime(now.wall.0.saturating_sub(cycle::milliseconds(now.boot.since(from)))))
    }

    fn nudge_if_due(&mut self, now: Now) {
        if let Some(nudge) = self.nudge.as_mut().filter(|nudge| now.boot >= nudge.next) {
            // Each repetition doubles the time since the first wake, so the waits are 1, 1, 2, 4, 8 s.
            let most = if nudge.why == Why::Hello { HELLO_DOUBLINGS } else { NUDGE_DOUBLINGS };
            let wait = 1u64 << nudge.sent.saturating_sub(1).min(most);
            nudge.sent = nudge.sent.saturating_add(1);
            nudge.next = now.boot + std::time::Duration::from_secs(wait);
            let why = nudge.why;
            self.commands.push_back(Command::LeaveWake(why));
            self.commands.push_back(Command::Wake(why));
        }
    }

    /// Starts to nudge the arbiter, unless it is being nudged for this reason already.
    fn nudge(&mut self, now: Now, why: Why) {
        if self.nudge.is_none_or(|nudge| nudge.why != why) {
            self.nudge = Some(Nudge { why, sent: 0, next: now.boot });
            self.nudge_if_due(now);
        }
    }

    fn run_state(&self) -> RunState {
        let serving = match self.service {
            Service::Starting { epoch } | Service::Serving { epoch, .. } => Some(epoch),
            Service::Stopped | Service::Stopping { .. } => None,
        };
        let since = match self.service {
            Service::Serving { since, .. } => Some(since),
            _ => None,
        };
        RunState {
            serving,
            serving_since: since,
            valid_until: self.valid_until,
            // What was never armed nothing would stop. Where nothing runs, nothing is to be stopped.
            guarded: self.guarded && (self.armed || self.service == Service::Stopped),
            released: if mutant!(OathNotKept) { Epoch(0) } else { self.released },
            known: self.known,
        }
    }

    fn persist(&mut self) {
        let state = self.run_state();
        self.commands.push_back(Command::Persist(state));
    }

    /// Whether nothing more is begun: the agent ends, at once or as soon as the service is down.
    fn has_ended(&self) -> bool {
        self.exited || self.usurped.is_some()
    }

    fn exit(&mut self, exit: Exit) {
        self.exited = true;
        self.commands.push_back(Command::Exit(exit));
    }

    /// ±10 %, from a multiplicative generator: enough to keep nodes out of step, and the same for the same seed.
    fn jittered(&mut self, length: std::time::Duration) -> std::time::Duration {
        let Some(jitter) = &mut self.jitter else { return length };
        *jitter = jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let percent = 90 + u32::try_from((*jitter >> 33) % 21).unwrap_or_default();
        length * percent / 100
    }
}

fn lease_is_retired(lease: &Lease) -> bool {
    lease.state == crate::lease::LeaseState::Retired
}

/// When a claim or a service began, for people.
type Since = WallTime;
