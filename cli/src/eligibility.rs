//! Whether a cluster can hand over in good order now: both sides must be alive, and the one that comes must be healthy.
//!
//! The operator's command refuses early and with a reason. It does not decide: the holder obeys an intent only towards a
//! target it sees beating, and the arbiter grants on its own reading.

use std::collections::BTreeSet;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::Member;
use baton_protocol::readiness::looks_silent;

use crate::command::Snapshot;
use crate::exit::Exit;
use crate::findings::why_bad;
use crate::text::{ago, moment};
use crate::trouble::{Trouble, join};
use crate::view::{has_released, is_unguarded};

/// Which move is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a holder that is well.
    Switchover,
    /// Of one that is silent.
    Failover,
    /// Of one that is well and shall not hold the lease for a while.
    Drain,
}

/// A hand-over that may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The holder.
    pub from: InstanceArn,
    /// The node that was asked for; none: whichever is best.
    pub to: Option<InstanceArn>,
}

/// Why a hand-over may not be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the operator is told.
    pub trouble: Trouble,
    /// Nodes that only look silent because their clock or this machine's may be wrong. Two readings of their heartbeats
    /// can tell.
    pub doubtful: BTreeSet<InstanceArn>,
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, doubtful: BTreeSet::new() }
    }
}

/// Examines a hand-over to `to`, or to whichever node is best. `beating` are nodes whose heartbeats were seen to grow.
pub fn examine(
    snapshot: &Snapshot,
    to: Option<&str>,
    beating: &BTreeSet<InstanceArn>,
) -> Result<Plan, Refusal> {
    let (from, target) = parties(snapshot, to)?;
    let holder = snapshot.lease.name_of(&from);
    examine_holder(snapshot, &from, &holder, beating)?;
    examine_next(snapshot, from, target, beating)
}

/// Examines a takeover from a silent holder. `beating` are nodes whose heartbeats were seen to grow though they look silent.
pub fn examine_failover(
    snapshot: &Snapshot,
    to: Option<&str>,
    beating: &BTreeSet<InstanceArn>,
) -> Result<Plan, Refusal> {
    let (from, target) = parties(snapshot, to)?;
    let (lease, holder) = (&snapshot.lease, snapshot.lease.name_of(&from));
    if has_released(lease, &snapshot.heartbeats) {
        return Err(has_released_already(&holder).into());
    }
    let Some(heartbeat) = snapshot.heartbeats.get(&from) else {
        return Err(Trouble::refused(format!(
            "the holder {holder} has never been heard, so no standby can have seen it fall silent"
        ))
        .help("start its agent, or terminate its instance: the sweep asks EC2 about it each minute")
        .into());
    };
    if is_unguarded(lease, heartbeat) {
        return Err(Trouble::refused(format!(
            "nothing guards the service of the holder {holder}, so its silence deposes nobody"
        ))
        .help("start its agent, or terminate its instance")
        .into());
    }
    // A standby has timed the silence by its own clock, and the holder has written nothing since.
    let claimed = lease.current_claims(&snapshot.heartbeats).next().is_some();
    if !claimed && is_alive(snapshot, heartbeat, beating) {
        let since = ago(heartbeat.beat_at, snapshot.at);
        return Err(Trouble::refused(format!(
            "the holder {holder} is not silent: its last heartbeat was sent {since}"
        ))
        .help("a holder that beats hands over by itself: use `baton switchover`")
        .into());
    }
    examine_next(snapshot, from, target, beating)
}

/// The holder, and the node that was named.
fn parties<'a>(
    snapshot: &'a Snapshot,
    to: Option<&str>,
) -> Result<(InstanceArn, Option<&'a Member>), Refusal> {
    let lease = &snapshot.lease;
    let cluster = &lease.cluster;
    if let Some(pause) = lease.paused.as_ref().filter(|_| lease.is_paused(snapshot.at)) {
        let until = moment(pause.until);
        return Err(Trouble::refused(format!(
            "`{cluster}` is paused until {until} by {}",
            crate::text::printable(&pause.by)
        ))
        .help(format!("run `baton resume {cluster}` first"))
        .into());
    }
    let target = to.map(|to| member(snapshot, to)).transpose()?;
    let Some(from) = lease.holder.clone() else {
        return Err(Trouble::refused(format!("`{cluster}` has no holder that could hand over"))
            .help("the arbiter grants a vacant lease to the first healthy node by itself")
            .into());
    };
    if target.is_some_and(|target| target.instance == from) {
        let holder = lease.name_of(&from);
        return Err(Trouble::refused(format!("{holder} holds the lease of `{cluster}` already")).into());
    }
    Ok((from, target))
}

fn examine_next(
    snapshot: &Snapshot,
    from: InstanceArn,
    target: Option<&Member>,
    beating: &BTreeSet<InstanceArn>,
) -> Result<Plan, Refusal> {
    match target {
        Some(target) => examine_target(snapshot, target, beating)?,
        None => examine_all(snapshot, &from, beating)?,
    }
    Ok(Plan { from, to: target.map(|target| target.instance.clone()) })
}

/// The member of this name or instance id.
pub fn member<'a>(snapshot: &'a Snapshot, to: &str) -> Result<&'a Member, Trouble> {
    let members = &snapshot.lease.members;
    members
        .iter()
        .find(|member| member.node.as_str() == to || member.instance.instance_id().as_str() == to)
        .ok_or_else(|| {
            let names: Vec<String> = members.iter().map(|member| member.node.to_string()).collect();
            Trouble::new(
                Exit::Missing,
                format!("`{}` has no node `{}`", snapshot.lease.cluster, crate::text::printable(to)),
            )
            .help(format!("its nodes: {}", join(&names)))
        })
}

fn examine_holder(
    snapshot: &Snapshot,
    from: &InstanceArn,
    holder: &str,
    beating: &BTreeSet<InstanceArn>,
) -> Result<(), Refusal> {
    let failover = "a switchover needs a holder that hands over by itself; a standby claims a silent holder's lease, and \
                    where the policy leaves the rest to you, say so with `baton failover`";
    let Some(heartbeat) = snapshot.heartbeats.get(from) else {
        return Err(Trouble::refused(format!("the holder {holder} has never been heard"))
            .help(failover)
            .into());
    };
    if has_released(&snapshot.lease, &snapshot.heartbeats) {
        return Err(has_released_already(holder).into());
    }
    if is_alive(snapshot, heartbeat, beating) {
        return Ok(());
    }
    let since = ago(heartbeat.beat_at, snapshot.at);
    let help = if is_unguarded(&snapshot.lease, heartbeat) {
        "nothing guards its service, so its silence deposes nobody: start its agent, or terminate its instance"
    } else {
        failover
    };
    let trouble =
        Trouble::refused(format!("the holder {holder} is silent: its last heartbeat was sent {since}"));
    Err(Refusal { trouble: trouble.help(help), doubtful: BTreeSet::from([from.clone()]) })
}

fn has_released_already(holder: &str) -> Trouble {
    Trouble::refused(format!("the holder {holder} has released the lease already"))
        .help("the arbiter grants it to a standby by itself")
}

fn examine_target(
    snapshot: &Snapshot,
    target: &Member,
    beating: &BTreeSet<InstanceArn>,
) -> Result<(), Refusal> {
    let Some(why) = unfit(snapshot, target, beating) else { return Ok(()) };
    let trouble = Trouble::refused(format!("{} cannot take over: {why}", target.node))
        .help("a node that takes over must beat and be well; look with `baton status`, or name another node with --to");
    Err(Refusal { trouble, doubtful: doubtful(snapshot, [target]) })
}

fn examine_all(
    snapshot: &Snapshot,
    from: &InstanceArn,
    beating: &BTreeSet<InstanceArn>,
) -> Result<(), Refusal> {
    let standbys: Vec<&Member> =
        snapshot.lease.members.iter().filter(|member| member.instance != *from).collect();
    let mut reasons = Vec::new();
    for standby in &standbys {
        let Some(why) = unfit(snapshot, standby, beating) else { return Ok(()) };
        reasons.push(format!("{}: {why}", standby.node));
    }
    let reasons = if reasons.is_empty() { "there is no standby".to_owned() } else { reasons.join("; ") };
    let trouble = Trouble::refused(format!("no node can take over ({reasons})"))
        .help("a switchover needs a standby that is healthy and alive; look with `baton status`");
    Err(Refusal { trouble, doubtful: doubtful(snapshot, standbys) })
}

/// Why a standby could not take over now.
fn unfit(snapshot: &Snapshot, standby: &Member, beating: &BTreeSet<InstanceArn>) -> Option<String> {
    let Some(heartbeat) = snapshot.heartbeats.get(&standby.instance) else {
        return Some("it has never been heard".to_owned());
    };
    if let Some(exclusion) = snapshot.lease.live_exclusion(snapshot.at)
        && exclusion.node == standby.instance
    {
        let (until, by) = (moment(exclusion.until), crate::text::printable(&exclusion.by));
        return Some(format!("it is excluded until {until} by {by}"));
    }
    match heartbeat.health {
        Health::Ok if is_alive(snapshot, heartbeat, beating) => None,
        Health::Ok => Some(format!("its last heartbeat was sent {}", ago(heartbeat.beat_at, snapshot.at))),
        Health::Bad => Some(format!("its checks fail{}", why_bad(heartbeat))),
        Health::Unknown => Some("its checks have not spoken yet".to_owned()),
        Health::Draining => Some("it is leaving".to_owned()),
    }
}

fn is_alive(snapshot: &Snapshot, heartbeat: &Heartbeat, beating: &BTreeSet<InstanceArn>) -> bool {
    !looks_silent(&snapshot.lease, heartbeat, snapshot.at) || beating.contains(&heartbeat.instance)
}

fn doubtful<'a>(snapshot: &Snapshot, nodes: impl IntoIterator<Item = &'a Member>) -> BTreeSet<InstanceArn> {
    let healthy_but_silent = |node: &&Member| {
        snapshot.heartbeats.get(&node.instance).is_some_and(|heartbeat| {
            heartbeat.health == Health::Ok && looks_silent(&snapshot.lease, heartbeat, snapshot.at)
        })
    };
    nodes.into_iter().filter(healthy_but_silent).map(|node| node.instance.clone()).collect()
}

#[cfg(test)]
#[path = "eligibility_tests.rs"]
mod tests;
