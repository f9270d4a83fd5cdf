//! Create and Update: from a request to a lease that says what was asked for.
//!
//! Each attempt begins with a read of the lease and acts on what it finds, and each write has that read as its condition.
//! So an attempt whose outcome was lost is simply followed by another, and a grant that comes between costs one more.

use std::collections::BTreeSet;

use baton_cloud::Cloud;
use baton_doctor::{Finding, Severity, examine, refuses};
use baton_protocol::choice::Choices;
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{Epoch, InstanceArn, RegistrationUid};
use baton_protocol::lease::{Lease, LeaseState, Member, Mode};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::resource::Route;
use baton_protocol::rules::RULES;
use baton_protocol::time::WallTime;
use baton_store::{Registration, Store};
use baton_survey::Account;

use crate::identity::{Owner, PhysicalId};
use crate::observe::{Observation, neighbours, observe};
use crate::patience::{Patience, Pauses};
use crate::predecessor;
use crate::property::{Desired, DesiredNode};
use crate::refusal::Refusal;
use crate::roster;
use crate::surround::Surroundings;

/// What one request works with.
#[derive(Debug)]
pub struct Errand<'a, S, C, A> {
    /// The table.
    pub store: &'a S,
    /// EC2.
    pub cloud: &'a C,
    /// What surrounds the nodes.
    pub account: &'a A,
    /// The table's name.
    pub table: &'a str,
    /// How long to go on.
    pub patience: Patience,
    /// The resource that asks.
    pub owner: Owner,
    /// The invocation, for the history.
    pub by: String,
    /// The moment of the request.
    pub now: WallTime,
}

/// A registration that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What CloudFormation knows it by.
    pub id: PhysicalId,
    /// The lease's epoch.
    pub epoch: Epoch,
}

/// What the attempts of one request have seen.
#[derive(Debug, Default)]
struct Sights {
    /// What is moved, and where to.
    world: Option<Observation>,
    /// The network around the nodes.
    around: Surroundings,
}

/// How one attempt ended, if not with a registration that stands.
enum Missed {
    /// The request cannot be carried out.
    Refused(Refusal),
    /// The lease changed between read and write, or a write brought no answer.
    Again(Option<Failure>),
}

impl From<Refusal> for Missed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<S: Store, C: Cloud, A: Account> Errand<'_, S, C, A> {
    /// Registers a cluster under `uid`. A cluster that the same resource has registered before is changed instead: that
    /// is where the rollback of an update to another name returns to.
    pub async fn create(&self, desired: &Desired, uid: &RegistrationUid) -> Result<Standing, Refusal> {
        let doing = format!("the registration of {}", desired.cluster);
        self.settle(&doing, async |seen: &mut Sights| {
            let lease = self.lease(desired).await?;
            match lease {
                Some(lease) if lease.state == LeaseState::Active && lease.uid == *uid => Ok(standing(&lease)),
                Some(lease) if lease.state == LeaseState::Active && self.owner.made(&lease.uid) => {
                    self.change_once(desired, lease, seen).await
                }
                Some(lease) if lease.state == LeaseState::Active => {
                    Err(Refusal::ClusterTaken(lease.cluster).into())
                }
                Some(lease) if lease.uid == *uid => Err(Refusal::RegistrationDeleted(lease.cluster).into()),
                lease => self.register_once(desired, uid, lease, seen).await,
            }
        })
        .await
    }

    /// Changes the registration that CloudFormation knows as `id`.
    pub async fn change(&self, desired: &Desired, id: &PhysicalId) -> Result<Standing, Refusal> {
        let doing = format!("the change of {}", desired.cluster);
        self.settle(&doing, async |seen: &mut Sights| {
            let lease = self.lease(desired).await?;
            match lease {
                Some(lease) if lease.state == LeaseState::Active && lease.uid == id.uid => {
                    self.change_once(desired, lease, seen).await
                }
                _ => Err(Refusal::NotRegistered(id.to_string()).into()),
            }
        })
        .await
    }

    /// Makes attempts until one settles the request or there is no time left. Where nodes and tables are named, EC2 is looked at
    /// once for all of them.
    async fn settle(
        &self,
        doing: &str,
        attempt: impl AsyncFn(&mut Sights) -> Result<Standing, Missed>,
    ) -> Result<Standing, Refusal> {
        let mut pauses = Pauses::new(self.patience);
        let mut seen = Sights::default();
        let mut unsure = None;
        loop {
            let missed = match attempt(&mut seen).await {
                Ok(standing) => return Ok(standing),
                Err(missed) => missed,
            };
            match missed {
                // A write without an answer, and now no answer about what became of it.
                Missed::Refused(Refusal::TableFailed { failure, .. }) if unsure.is_some() => {
                    return Err(Refusal::OutcomeUnknown { doing: doing.to_owned(), failure });
                }
                Missed::Refused(refusal) => return Err(refusal),
                Missed::Again(failure) => {
                    if let Some(Failure::Unknown(_)) = failure {
                        unsure.clone_from(&failure);
                    }
                    if !pauses.pass().await {
                        let last = unsure.or(failure).unwrap_or(Failure::Conflict);
                        return Err(Refusal::write(doing, last));
                    }
                }
            }
        }
    }

    async fn lease(&self, desired: &Desired) -> Result<Option<Lease>, Missed> {
        let read = self.patience.ask(|| self.store.lease(&desired.cluster)).await;
        let reading = || format!("reading the lease of {}", desired.cluster);
        let lease = read.map_err(|failure| Refusal::table(reading(), failure))?;
        match &lease {
            Some(found) if !found.may_be_decided() => {
                let (expected, found) = (RULES, found.rules);
                let why =
                    format!("expected rules {expected} or older, found {found}; update the control plane");
                Err(Refusal::table(reading(), Failure::Malformed(why)).into())
            }
            _ => Ok(lease),
        }
    }

    async fn register_once(
        &self,
        desired: &Desired,
        uid: &RegistrationUid,
        retired: Option<Lease>,
        sights: &mut Sights,
    ) -> Result<Standing, Missed> {
        let desired = &self.resolve(desired, retired.as_ref(), sights).await?;
        if let Some(lease) = &retired {
            predecessor::check(self.store, self.cloud, self.patience, lease, desired, self.now).await?;
        }
        let seen = self.look(desired, None, &mut sights.world).await;
        self.require(desired, seen, None, &mut sights.around).await?;
        let (epoch, revision) =
            retired.map_or((Epoch(0), 1), |lease| (lease.epoch.next(), lease.revision + 1));
        let registration = self.registration(desired, uid, seen, epoch, revision)?;
        match self.store.register(&registration).await {
            Ok(()) => {
                let id = PhysicalId { cluster: desired.cluster.clone(), uid: uid.clone() };
                if let Some(refusal) = self.shared(desired, seen).await {
                    self.retire(&id).await?;
                    return Err(refusal.into());
                }
                Ok(Standing { id, epoch })
            }
            Err(failure) => Err(missed(desired, failure)),
        }
    }

    /// Two stacks at the same moment see nothing of each other before they are written, and would take what they share from
    /// each other for ever. So each looks again once it is written, and whoever finds the other gives way; both, if both do. That
    /// the others cannot be read now is no reason to: they were read a moment ago.
    async fn shared(&self, desired: &Desired, seen: &Observation) -> Option<Refusal> {
        let others = neighbours(self.store, self.patience, &desired.cluster).await;
        others.known()?;
        let mut world = seen.world.clone();
        world.neighbours = others;
        let findings = examine(&world);
        refuses(&findings).then(|| Refusal::unmet(&desired.cluster, findings))
    }

    async fn change_once(
        &self,
        desired: &Desired,
        lease: Lease,
        sights: &mut Sights,
    ) -> Result<Standing, Missed> {
        let desired = &match self.resolve(desired, Some(&lease), sights).await {
            Ok(resolved) => resolved,
            Err(refusal) if says_the_same(&lease, desired) => return Ok(left(&lease, &refusal)),
            Err(refusal) => return Err(refusal.into()),
        };
        let stays = |holder: &InstanceArn| {
            let id = holder.instance_id();
            desired.nodes.iter().any(|node| node.instance == id)
        };
        if let Some(holder) = lease.holder.as_ref().filter(|holder| !stays(holder)) {
            let holder = predecessor::named(&lease, holder);
            return Err(Refusal::HolderRemoved { cluster: lease.cluster, holder }.into());
        }
        let seen = self.look(desired, Some(&lease), &mut sights.world).await;
        let around = &mut sights.around;
        if let Err(refusal) = self.require(desired, seen, Some(&lease), around).await {
            if says_the_same(&lease, desired) {
                return Ok(left(&lease, &refusal));
            }
            return Err(refusal.into());
        }
        let next = self.registration(desired, &lease.uid, seen, lease.epoch, lease.revision + 1)?;
        // The arbiter changes members and routes as well, and what it has changed since is not undone.
        let next = Registration { made_from: Some(lease.revision), ..next };
        if next.stands_in(&lease) {
            return Ok(standing(&lease));
        }
        match self.store.reconfigure(&next, lease.holder.as_ref()).await {
            // CloudFormation answers a refusal by an update to what was before.
            Ok(()) => match self.shared(desired, seen).await {
                Some(refusal) => Err(refusal.into()),
                None => Ok(standing(&lease)),
            },
            Err(failure) => Err(missed(desired, failure)),
        }
    }

    /// Where a tag names the nodes, or tables are described, everything is looked at in each attempt: the arbiter changes
    /// members and routes as well.
    async fn resolve(
        &self,
        desired: &Desired,
        lease: Option<&Lease>,
        seen: &mut Sights,
    ) -> Result<Desired, Refusal> {
        if desired.roster.is_some() || !desired.choices.tables.is_empty() {
            seen.world = None;
        }
        roster::resolve(self.store, self.cloud, self.patience, desired, lease, self.now).await
    }

    async fn look<'o>(
        &self,
        desired: &Desired,
        lease: Option<&Lease>,
        seen: &'o mut Option<Observation>,
    ) -> &'o Observation {
        match seen {
            Some(seen) => seen,
            None => seen.insert(observe(self.store, self.cloud, self.patience, desired, lease).await),
        }
    }

    /// Refuses if a requirement is not met, or a node that was no member before has no way to the table, with everything that was
    /// found; and tells the log of everything else.
    async fn require(
        &self,
        desired: &Desired,
        seen: &Observation,
        lease: Option<&Lease>,
        around: &mut Surroundings,
    ) -> Result<(), Refusal> {
        let findings = examine(&seen.world);
        for finding in &findings {
            tell(desired, finding);
        }
        let shut = self.shut(desired, &joining(desired, seen, lease), around).await;
        // Whoever joins by a tag was named by nobody, and keeps no update from its end; the arbiter takes it in as well.
        let shut = if desired.roster.is_some() && lease.is_some() { Vec::new() } else { shut };
        if refuses(&findings) || !shut.is_empty() {
            let cluster = desired.cluster.clone();
            return Err(Refusal::RequirementsNotMet { cluster, findings, shut });
        }
        Ok(())
    }

    fn registration(
        &self,
        desired: &Desired,
        uid: &RegistrationUid,
        seen: &Observation,
        epoch: Epoch,
        revision: u64,
    ) -> Result<Registration, Refusal> {
        let (members, resources) = seen.configuration(desired).ok_or_else(|| {
            Refusal::Fault("every requirement is met, and the configuration is incomplete".to_owned())
        })?;
        let what = Happening::Registered { revision, summary: summary(desired, resources.routes.len()) };
        Ok(Registration {
            cluster: desired.cluster.clone(),
            uid: uid.clone(),
            mode: desired.mode,
            takeover: desired.takeover,
            cool_down_ms: desired.cool_down_ms,
            fencing: desired.fencing,
            failback: desired.failback,
            timing: desired.timing,
            members,
            resources,
            roster: desired.roster.clone(),
            made_from: None,
            at: self.now,
            event: Event { cluster: desired.cluster.clone(), epoch, at: self.now, by: self.by.clone(), what },
        })
    }
}

/// The nodes that were no members before. Whether those that were reach the table is shown by their heartbeats.
fn joining(desired: &Desired, seen: &Observation, lease: Option<&Lease>) -> Vec<Member> {
    let is_new = |member: &Member| lease.is_none_or(|lease| lease.member(&member.instance).is_none());
    let told = |(node, member): (&DesiredNode, Option<Member>)| {
        if member.is_none() {
            let (cluster, instance) = (&desired.cluster, &node.instance);
            let reason = "something that the node has to have is missing";
            tracing::warn!(%cluster, %instance, reason, "the network of a node was not looked at");
        }
        member
    };
    seen.members(desired).filter_map(told).filter(is_new).collect()
}

fn standing(lease: &Lease) -> Standing {
    let id = PhysicalId { cluster: lease.cluster.clone(), uid: lease.uid.clone() };
    Standing { id, epoch: lease.epoch }
}

/// The rollback of an update that was refused asks for what stands. It has to succeed whatever state the nodes and EC2 are
/// in, or the stack could not go back.
fn left(lease: &Lease, refusal: &Refusal) -> Standing {
    tracing::warn!(cluster = %lease.cluster, reason = %refusal, "left as it is: nothing was to change");
    standing(lease)
}

fn missed(desired: &Desired, failure: WriteFailure<Option<Lease>>) -> Missed {
    match failure {
        WriteFailure::Refused(_) => Missed::Again(None),
        WriteFailure::Failed(failure @ (Failure::Unknown(_) | Failure::Throttled | Failure::Conflict)) => {
            Missed::Again(Some(failure))
        }
        WriteFailure::Failed(failure) => {
            Refusal::table(format!("writing the lease of {}", desired.cluster), failure).into()
        }
    }
}

fn tell(desired: &Desired, finding: &Finding) {
    let (cluster, requirement) = (&desired.cluster, finding.id.as_str());
    if finding.severity == Severity::Info {
        tracing::info!(%cluster, requirement, reason = %finding, "finding");
    } else {
        tracing::warn!(%cluster, requirement, severity = ?finding.severity, reason = %finding, "finding");
    }
}

/// Whether the lease holds what is asked for, by what a person can name.
fn says_the_same(lease: &Lease, desired: &Desired) -> bool {
    let members: BTreeSet<_> = lease
        .members
        .iter()
        .map(|member| (member.node.clone(), member.instance.instance_id(), member.priority))
        .collect();
    let nodes: BTreeSet<_> =
        desired.nodes.iter().map(|node| (node.node.clone(), node.instance.clone(), node.priority)).collect();
    let addresses = lease.resources.addresses.iter().map(|address| &address.allocation);
    // Which tables a description comes to is not a person's to name.
    let choices = Choices { vpc: None, ..lease.resources.choices.clone() };
    let described =
        |route: &&Route| choices.tables.iter().any(|choice| choice.destination == route.destination);
    let routes: BTreeSet<_> = lease.resources.routes.iter().filter(|route| !described(route)).collect();
    let from_gateways = lease.resources.from_gateways.iter().filter(|route| !described(route));
    lease.mode == desired.mode
        && lease.takeover == desired.takeover
        && lease.cool_down_ms == desired.cool_down_ms
        && lease.fencing == desired.fencing
        && lease.failback == desired.failback
        && lease.timing == desired.timing
        && match (&lease.roster, &desired.roster) {
            (None, None) => members == nodes,
            (Some(found), Some(asked)) => found.names_as(asked),
            _ => false,
        }
        && addresses.eq(desired.addresses.iter())
        && routes == desired.routes.iter().collect()
        && from_gateways.eq(desired.from_gateways.iter())
        && lease.resources.subnets.iter().collect::<BTreeSet<_>>() == desired.subnets.iter().collect()
        && lease.resources.tables_role == desired.tables_role
        && choices == desired.choices
}

fn summary(desired: &Desired, routes: usize) -> String {
    let nodes: Vec<_> =
        desired.nodes.iter().map(|node| format!("{} = {}", node.node, node.instance)).collect();
    let by = desired.roster.as_ref().map(|roster| format!(" by {}", roster.tag)).unwrap_or_default();
    let mode = match desired.mode {
        Mode::Strict => "strict",
        Mode::Available => "available",
    };
    let fenced = if desired.fencing.is_none() { "" } else { "; silent holders are stopped" };
    let addresses = desired.addresses.len();
    let subnets = match desired.subnets.len() {
        0 => String::new(),
        some => format!("; subnets: {some}"),
    };
    let nodes = nodes.join(", ");
    let role = desired.tables_role.as_ref().map(|role| format!("; tables by {role}")).unwrap_or_default();
    format!("{mode}{fenced}; nodes{by} {nodes}; Elastic IPs: {addresses}; routes: {routes}{subnets}{role}")
}
