//! The state of a cluster as it is shown: a pure function of the lease, the heartbeats and the moment.
//!
//! A [`View`] is what `--format json` writes, so its fields are a promise: they are added to, never renamed or dropped.
//! It judges for display only. Whether a node is silent is told here by its own wall clock against this machine's, which
//! is good enough to look at and never good enough to decide on; the arbiter decides from numbers that grow.

use std::collections::BTreeMap;

use baton_protocol::failback::Failback;
use baton_protocol::fence::Fencing;
use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::{Lease, LeaseState, Mode};
use baton_protocol::policy::{self, Takeover};
use baton_protocol::probe::{Obstacle, Probe};
use baton_protocol::readiness::{is_ready, looks_silent};
use baton_protocol::resource::{Address, Route, SubnetTables};
use baton_protocol::time::WallTime;
use baton_protocol::timing::{Durations, Timing};
use serde::Serialize;

use crate::exit::Exit;
use crate::findings::FindingsView;
use crate::text::{length, printable, rfc3339};
use crate::wishes::{ExclusionView, IntentView, PauseView};

/// The version of everything that `--format json` writes.
pub const SCHEMA_VERSION: u32 = 1;

/// A cluster as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// Of this object.
    pub schema_version: u32,
    /// The cluster.
    pub cluster: String,
    /// When it was looked at, by this machine's clock.
    pub at: String,
    /// How the cluster is, in one word.
    pub condition: Condition,
    /// Whether a standby could take over now.
    pub protected: bool,
    /// When it was last asked whether everything could be moved.
    pub probed_at: Option<String>,
    /// What could not be moved then.
    pub obstacles: Vec<ObstacleView>,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// Of this registration.
    pub uid: String,
    /// Whether the registration is active or retired.
    pub state: LeaseState,
    /// The current epoch.
    pub epoch: u64,
    /// The node that may serve at this epoch.
    pub holder: Option<String>,
    /// When the lease was granted.
    pub granted_at: Option<String>,
    /// The last epoch whose resources were all seen at its holder.
    pub moved_epoch: u64,
    /// Whether that is the current epoch.
    pub moved: bool,
    /// What a node does when it cannot confirm its lease.
    pub mode: Mode,
    /// Who decides that a silent holder is taken over from.
    pub takeover: Takeover,
    /// For how long after a takeover on silence there is no other by itself; zero: no time.
    pub cool_down_ms: u64,
    /// What is done about a silent holder before it is taken over from.
    pub fencing: Fencing,
    /// Whether the lease goes back to a preferred node by itself.
    pub failback: Failback,
    /// The time budget.
    pub timing: TimingView,
    /// The nodes, the holder first, then by priority.
    pub nodes: Vec<NodeView>,
    /// The Elastic IPs.
    pub addresses: Vec<AddressView>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The subnets whose route table is swapped, with the table for each node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<SubnetTables>,
    /// The pause, while it lasts.
    pub paused: Option<PauseView>,
    /// The exclusion of a node, while it lasts.
    pub excluded: Option<ExclusionView>,
    /// The wish that the holder hand over, while it lasts.
    pub intent: Option<IntentView>,
}

/// How a cluster is, the most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Nobody may serve: there is no holder, or it swore off this epoch.
    NoHolder,
    /// The holder does not serve, the addresses are not all moved, or no standby could take over.
    Degraded,
    /// Automatic action is held back; nothing else is wrong.
    Paused,
    /// The holder serves, the addresses are at it, and a standby could take over.
    Healthy,
}

impl Condition {
    /// The exit code of `status --exit-code`.
    pub fn exit(self) -> Exit {
        match self {
            Self::NoHolder => Exit::NoHolder,
            Self::Degraded => Exit::Degraded,
            Self::Paused => Exit::Paused,
            Self::Healthy => Exit::Done,
        }
    }
}

/// The time budget, with the profile's name where it is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimingView {
    /// `default`, `fast` or `custom`.
    pub profile: &'static str,
    /// The durations.
    #[serde(flatten)]
    pub durations: Durations,
}

/// A node as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its name, or its instance id where it is no member any more.
    pub node: String,
    /// Its instance id.
    pub instance: String,
    /// Its instance's ARN.
    pub arn: String,
    /// Its Availability Zone's id.
    pub zone: Option<String>,
    /// The smallest is preferred.
    pub priority: Option<u16>,
    /// What the lease says it is.
    pub role: Role,
    /// What it does, as far as can be seen.
    pub state: State,
    /// The age of its last heartbeat, its clock against this machine's; negative where its clock is ahead.
    pub heartbeat_age_ms: Option<i64>,
    /// What it thinks of itself.
    pub health: Option<Health>,
    /// The epoch at which it serves.
    pub serving_epoch: Option<u64>,
    /// Its claim that the holder is silent, while it stands.
    pub claim: Option<ClaimView>,
    /// Whether it could take over: a standby, healthy and alive.
    pub eligible: bool,
    /// Whether an operator has excluded it.
    pub excluded: bool,
    /// What it says of its checks and of its local recovery.
    pub findings: Option<FindingsView>,
    /// The version of its agent.
    pub agent_version: Option<String>,
}

/// What the lease says a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It may serve.
    Holder,
    /// It may take over.
    Standby,
}

/// What a node does, as far as can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The holder serves at the current epoch.
    Serving,
    /// The holder has not said yet that it serves.
    Promoting,
    /// The holder swore never to serve this epoch again.
    Released,
    /// A standby that still serves an earlier epoch, as it said last.
    Stopping,
    /// A standby that could take over.
    Ready,
    /// A standby whose checks fail.
    Bad,
    /// A standby that leaves in good order.
    Draining,
    /// In strict mode, a holder, or a node that said that it serves, and nothing would stop its service if its agent died.
    /// No silence of such a holder is long enough for a takeover.
    Unguarded,
    /// No heartbeat for longer than S.
    Silent,
    /// Never heard of, or a standby whose checks have not spoken yet.
    Unknown,
}

/// A claim as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimView {
    /// The epoch whose holder is silent.
    pub epoch: u64,
    /// How long the silence had lasted.
    pub silent_ms: u64,
    /// When it was made, by the claimant's clock.
    pub at: String,
}

/// An Elastic IP as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressView {
    /// What it is.
    #[serde(flatten)]
    pub address: Address,
    /// The nodes whose instance metadata shows it.
    pub seen_at: Vec<String>,
}

impl View {
    /// What is to be shown of a cluster at `now`.
    pub fn of(
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
        probe: Option<&Probe>,
        now: WallTime,
    ) -> Self {
        let nodes = nodes(lease, heartbeats, now);
        let paused = PauseView::of(lease, now);
        let intent = lease.live_intent(now).map(|intent| IntentView {
            failover: intent.failover,
            to: intent.to.as_ref().map(|to| lease.name_of(to)),
            reason: printable(&intent.reason),
            until: rfc3339(intent.until),
            remaining_ms: intent.until.0.saturating_sub(now.0),
            request: intent.request.as_ref().map(ToString::to_string),
        });
        let addresses = lease.resources.addresses.iter().map(|address| AddressView {
            address: address.clone(),
            seen_at: heartbeats
                .values()
                .filter(|heartbeat| heartbeat.seen.contains(&address.public_ip))
                .map(|heartbeat| lease.name_of(&heartbeat.instance))
                .collect(),
        });
        let active = lease.state == LeaseState::Active;
        let obstacles: Vec<ObstacleView> = if active { ObstacleView::of(probe, lease) } else { Vec::new() };
        let overdue = active && Probe::is_overdue(probe, lease, now);
        let clear = obstacles.is_empty() && !overdue;
        let protected = active && clear && nodes.iter().any(|node| node.eligible);
        let mut problems = problems(lease, &nodes, now);
        problems.extend(obstacles.iter().take(SHOWN).map(ObstacleView::sentence));
        problems.extend(overdue.then(|| UNKNOWN.to_owned()));
        problems.extend(held(lease, heartbeats, now));
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: lease.cluster.to_string(),
            at: rfc3339(now),
            condition: condition(lease, heartbeats, !problems.is_empty(), paused.is_some()),
            protected,
            probed_at: probe.filter(|probe| probe.is_about(lease)).map(|probe| rfc3339(probe.at)),
            obstacles,
            problems,
            uid: lease.uid.to_string(),
            state: lease.state,
            epoch: lease.epoch.0,
            holder: lease.holder.as_ref().map(|holder| lease.name_of(holder)),
            granted_at: lease.last_grant.map(rfc3339),
            moved_epoch: lease.moved.0,
            moved: lease.moved == lease.epoch,
            mode: lease.mode,
            takeover: lease.takeover,
            cool_down_ms: lease.cool_down_ms,
            fencing: lease.fencing,
            failback: lease.failback,
            timing: TimingView { profile: profile(&lease.timing), durations: lease.timing.durations() },
            nodes,
            addresses: addresses.collect(),
            routes: lease.resources.routes.clone(),
            subnets: lease.resources.subnets.clone(),
            paused,
            excluded: ExclusionView::of(lease, now),
            intent,
        }
    }
}

/// What keeps a resource from being moved to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObstacleView {
    /// The node that could not have it; none: nobody could.
    pub node: Option<String>,
    /// The resource.
    pub resource: String,
    /// Why.
    pub why: String,
}

/// What is said where the arbiter has not found out for long.
const UNKNOWN: &str = "unprotected: for hours nobody has found out whether everything could be moved; the arbiter's log says why";

/// So many obstacles are among the problems; JSON has them all.
const SHOWN: usize = 3;

impl ObstacleView {
    fn of(probe: Option<&Probe>, lease: &Lease) -> Vec<Self> {
        let view = |obstacle: &Obstacle| Self {
            node: obstacle.node.as_deref().map(printable),
            resource: printable(&obstacle.resource),
            why: printable(&obstacle.why),
        };
        Probe::obstacles_of(probe, lease).iter().map(view).collect()
    }

    fn sentence(&self) -> String {
        let to = self.node.as_ref().map(|node| format!(" to {node}")).unwrap_or_default();
        format!("unprotected: {} could not be moved{to}: {}", self.resource, self.why)
    }
}

/// Every instance that a view of this lease is about: the members, and a holder that is no member any more.
pub fn instances(lease: &Lease) -> Vec<InstanceArn> {
    let stray = lease.holder.iter().filter(|holder| lease.member(holder).is_none());
    lease.members.iter().map(|member| &member.instance).chain(stray).cloned().collect()
}

/// Whether the node may serve for ever, whatever becomes of its agent, in a cluster that is to be guarded.
pub fn is_unguarded(lease: &Lease, heartbeat: &Heartbeat) -> bool {
    lease.state == LeaseState::Active && lease.mode == Mode::Strict && heartbeat.is_unguarded()
}

/// Whether the holder swore never to serve the current epoch again.
pub fn has_released(lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>) -> bool {
    let holder = lease.holder.as_ref().and_then(|holder| heartbeats.get(holder));
    holder.is_some_and(|heartbeat| heartbeat.released >= lease.epoch)
}

fn nodes(lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>, now: WallTime) -> Vec<NodeView> {
    let mut nodes: Vec<NodeView> = instances(lease)
        .iter()
        .map(|instance| node(lease, instance, heartbeats.get(instance), now))
        .collect();
    nodes.sort_by_key(|node| (node.role != Role::Holder, node.priority, node.node.clone()));
    nodes
}

fn node(lease: &Lease, instance: &InstanceArn, heartbeat: Option<&Heartbeat>, now: WallTime) -> NodeView {
    let member = lease.member(instance);
    let role = if lease.holder.as_ref() == Some(instance) { Role::Holder } else { Role::Standby };
    let state = heartbeat.map_or(State::Unknown, |heartbeat| state(lease, role, heartbeat, now));
    NodeView {
        node: lease.name_of(instance),
        instance: instance.instance_id().to_string(),
        arn: instance.to_string(),
        zone: member.map(|member| printable(&member.zone)),
        priority: member.map(|member| member.priority),
        role,
        state,
        heartbeat_age_ms: heartbeat.map(|heartbeat| signed_age(heartbeat.beat_at, now)),
        health: heartbeat.map(|heartbeat| heartbeat.health),
        serving_epoch: heartbeat.and_then(|heartbeat| heartbeat.serving_epoch).map(|epoch| epoch.0),
        claim: heartbeat.and_then(|heartbeat| heartbeat.claim.as_ref()).map(|claim| ClaimView {
            epoch: claim.epoch.0,
            silent_ms: claim.silent_ms,
            at: rfc3339(claim.at),
        }),
        eligible: role == Role::Standby
            && member.is_some()
            && heartbeat.is_some_and(|found| is_ready(lease, found, now)),
        excluded: lease.is_excluded(instance, now),
        findings: heartbeat.and_then(|heartbeat| FindingsView::of(heartbeat, now)),
        agent_version: heartbeat.map(|heartbeat| printable(&heartbeat.agent_version)),
    }
}

fn state(lease: &Lease, role: Role, heartbeat: &Heartbeat, now: WallTime) -> State {
    let silent = looks_silent(lease, heartbeat, now);
    match (role, heartbeat.serving_epoch) {
        // What a holder swore stays true however long it has been silent since.
        (Role::Holder, _) if heartbeat.released >= lease.epoch => State::Released,
        // And so does that nothing stops its service.
        (Role::Holder, _) | (Role::Standby, Some(_)) if is_unguarded(lease, heartbeat) => State::Unguarded,
        _ if silent => State::Silent,
        (Role::Holder, Some(epoch)) if epoch == lease.epoch => State::Serving,
        (Role::Holder, _) => State::Promoting,
        (Role::Standby, Some(_)) => State::Stopping,
        (Role::Standby, None) => match heartbeat.health {
            Health::Ok => State::Ready,
            Health::Bad => State::Bad,
            Health::Draining => State::Draining,
            Health::Unknown => State::Unknown,
        },
    }
}

fn problems(lease: &Lease, nodes: &[NodeView], now: WallTime) -> Vec<String> {
    if lease.state == LeaseState::Retired {
        return vec!["the registration is retired: agents leave the service as it is".to_owned()];
    }
    let mut problems = Vec::new();
    match nodes.iter().find(|node| node.role == Role::Holder) {
        None => problems.push("there is no holder".to_owned()),
        Some(holder) => problems.extend(trouble_of_holder(lease, holder)),
    }
    problems.extend(
        nodes.iter().filter(|node| (node.role, node.state) == (Role::Standby, State::Unguarded)).map(
            |node| {
                format!(
                    "{} said that it serves, and nothing guards its service: it may run to this day",
                    node.node
                )
            },
        ),
    );
    if lease.holder.is_some() && lease.moved < lease.epoch {
        let since = lease.last_grant.map(|at| format!(", {} after the grant", length(now.since(at))));
        let since = since.unwrap_or_default();
        problems.push(format!("addresses and routes are not all verified at the holder{since}"));
    }
    if !nodes.iter().any(|node| node.eligible) {
        let standbys: Vec<String> = nodes
            .iter()
            .filter(|node| node.role == Role::Standby)
            .map(|node| {
                let word = if node.excluded { "excluded" } else { node.state.word() };
                format!("{} is {word}", node.node)
            })
            .collect();
        problems.push(match standbys.as_slice() {
            [] => "unprotected: there is no standby".to_owned(),
            standbys => format!("unprotected: no standby could take over: {}", standbys.join(", ")),
        });
    }
    problems
}

/// What is said of a takeover that waits for a person.
fn held(lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>, now: WallTime) -> Option<String> {
    let claimed = lease.current_claims(heartbeats).map(|(_, claim)| claim.at).min()?;
    let held = policy::held(lease, claimed, now)?;
    let ahead = held.until.map(|until| format!(", or goes ahead in {}", length(until.since(now))));
    let ahead = ahead.unwrap_or_default();
    Some(format!("the takeover from the silent holder waits for `baton failover {}`{ahead}", lease.cluster))
}

fn trouble_of_holder(lease: &Lease, holder: &NodeView) -> Option<String> {
    let node = &holder.node;
    let age = holder.heartbeat_age_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default();
    let age = std::time::Duration::from_millis(age);
    match holder.state {
        State::Serving if holder.health == Some(Health::Bad) => {
            Some(format!("the holder {node} serves, and its checks fail"))
        }
        State::Serving if holder.findings.as_ref().is_some_and(FindingsView::is_recovering) => {
            Some(format!("the service of the holder {node} fails, and is being mended there"))
        }
        State::Serving => None,
        State::Released => Some(format!("the holder {node} has released the lease and nobody has it yet")),
        State::Silent => Some(format!("the holder {node} has been silent for {}", length(age))),
        State::Unguarded if age > lease.timing.silence() => Some(format!(
            "the holder {node} has been silent for {}, and nothing guards its service: nobody takes over before its \
             agent runs again or EC2 calls its instance terminated",
            length(age)
        )),
        State::Unguarded => Some(format!("nothing guards the service of the holder {node}")),
        State::Unknown => Some(format!("the holder {node} has never been heard")),
        _ => Some(format!("the holder {node} does not serve yet")),
    }
}

/// A retired registration is degraded at worst: there is nobody who should serve.
fn condition(
    lease: &Lease,
    heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    has_problems: bool,
    is_paused: bool,
) -> Condition {
    let vacant = lease.holder.is_none() || has_released(lease, heartbeats);
    match () {
        () if lease.state == LeaseState::Active && vacant => Condition::NoHolder,
        () if has_problems => Condition::Degraded,
        () if is_paused => Condition::Paused,
        () => Condition::Healthy,
    }
}

fn profile(timing: &Timing) -> &'static str {
    match *timing {
        Timing::DEFAULT => "default",
        Timing::FAST => "fast",
        _ => "custom",
    }
}

fn signed_age(at: WallTime, now: WallTime) -> i64 {
    let distance = i64::try_from(at.0.abs_diff(now.0)).unwrap_or(i64::MAX);
    if at <= now { distance } else { -distance }
}

impl Role {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Standby => "standby",
        }
    }
}

impl State {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Promoting => "promoting",
            Self::Released => "released",
            Self::Stopping => "stopping",
            Self::Ready => "ready",
            Self::Bad => "bad",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::Unguarded => "unguarded",
            Self::Unknown => "unknown",
        }
    }
}

/// The word for what a node thinks of itself.
pub fn health_word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Bad => "bad",
        Health::Unknown => "unknown",
        Health::Draining => "draining",
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
