//! The decision: may the lease go to another node, on what ground, and to whom.
//!
//! One function of a snapshot, which holds strong reads of one invocation and nothing else: not the event that woke it.
//! Whatever the decision rests on is put into the grant as a condition, so a snapshot that has aged by the time of the
//! commit costs an attempt and nothing more (see [`crate::grant`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::brake::{self, Fleet};
use crate::candidate::{self, Candidate, Unfit};
use crate::fence::{self, Fenced, Silent, Stopped};
use crate::findings::HookFailure;
use crate::grant::{Grant, HolderCheck};
use crate::heartbeat::{Claim, Health, Heartbeat};
use crate::history::{Event, Evidence, Ground, Happening};
use crate::ids::{Epoch, InstanceArn, Seq};
use crate::lease::{Intent, Lease, LeaseState};
use crate::policy::{self, Held};
use crate::time::WallTime;

/// What one invocation has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The lease.
    pub lease: Lease,
    /// The heartbeats of its members and of its holder, those that exist.
    pub heartbeats: BTreeMap<InstanceArn, Heartbeat>,
    /// The numbers that the first read of this invocation showed.
    pub earlier: BTreeMap<InstanceArn, Seq>,
    /// Instances that EC2 called terminated in this invocation.
    pub terminated: BTreeSet<InstanceArn>,
    /// A stop that this invocation has asked for and seen done.
    pub stopped: Option<Stopped>,
    /// Whether this invocation has looked as often as it may, so that what it sees has to do.
    pub looked_enough: bool,
    /// How many clusters suspect their holders, as far as is known.
    pub fleet: Fleet,
    /// When it was read.
    pub at: WallTime,
    /// The invocation, for the history.
    pub by: String,
}

/// What follows from a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The lease may go to another node.
    Grant(Box<Grant>),
    /// The lease may go to another node once EC2 has stopped the silent holder.
    Fence(Box<Silent>),
    /// There is a ground, and a candidate that has still to show that it lives: read again shortly.
    LookAgain,
    /// The holder is silent, and it is to be counted how many are.
    Count,
    /// The lease stays where it is.
    Stay(Stay),
}

/// Why the lease stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stay {
    /// The cluster is retired.
    Retired,
    /// There is no ground to depose the holder.
    NoGround,
    /// There is a silence to act on or something to put back, and an operator paused the cluster.
    Paused,
    /// The holder is silent, and the cluster's policy leaves it to an operator to say what follows.
    Held(Held),
    /// The holder is silent, and could not be stopped or was not seen to be; why.
    Unfenced(String),
    /// There is a ground and nobody who could take over; each member's reason.
    NoCandidate(Vec<(InstanceArn, Unfit)>),
}

/// Draws the decision.
pub fn decide(snapshot: &Snapshot) -> Decision {
    let lease = &snapshot.lease;
    if lease.state == LeaseState::Retired && !mutant!(GrantRetired) {
        return Decision::Stay(Stay::Retired);
    }
    let Some(found) = ground(snapshot) else { return Decision::Stay(Stay::NoGround) };
    let yields = found.ground == Ground::Silence || mutant!(PauseHoldsRelease);
    if yields && lease.is_paused(snapshot.at) && !mutant!(PauseIgnored) {
        return Decision::Stay(Stay::Paused);
    }
    if let Some(held) = held(snapshot, &found) {
        return Decision::Stay(Stay::Held(held));
    }
    match choose(snapshot, found.ground) {
        Ok((candidate, passed)) => {
            if is_worth_another_look(snapshot, candidate, &passed) {
                return Decision::LookAgain;
            }
            // A cluster that waits for anything else does not keep the brake on for the others.
            if found.ground == Ground::Silence && snapshot.fleet == Fleet::Unasked {
                return Decision::Count;
            }
            if let Some(held) = braked(snapshot, &found) {
                return Decision::Stay(Stay::Held(held));
            }
            // Last, so that nothing is stopped for a takeover that is held back or that nobody could follow.
            let stopped = snapshot.stopped.as_ref();
            match fence::before_grant(lease, found.ground, &found.check, stopped, snapshot.at) {
                Ok(fenced) => Decision::Grant(Box::new(grant(snapshot, found, fenced, candidate))),
                Err(silent) => Decision::Fence(Box::new(silent)),
            }
        }
        Err(refusals) => {
            // Only a second read can tell a node that stands still from one whose clock is off.
            if refusals.iter().any(|(_, unfit)| *unfit == Unfit::NotSeenBeating) {
                Decision::LookAgain
            } else {
                Decision::Stay(Stay::NoCandidate(refusals))
            }
        }
    }
}

/// A ground with the condition that keeps it true until the commit.
struct Found {
    ground: Ground,
    check: HolderCheck,
    claim: Option<(InstanceArn, Claim)>,
}

/// What the cluster's policy says to this ground.
fn held(snapshot: &Snapshot, found: &Found) -> Option<Held> {
    let asks = found.ground == Ground::Silence || mutant!(PolicyHoldsRelease);
    if !asks || mutant!(PolicyIgnored) {
        return None;
    }
    let claimed = found.claim.as_ref().map_or(snapshot.at, |(_, claim)| claim.at);
    policy::held(&snapshot.lease, claimed, snapshot.at)
}

/// What the brake says to a silence.
fn braked(snapshot: &Snapshot, found: &Found) -> Option<Held> {
    if mutant!(BrakeHoldsReleased) && found.ground == Ground::Release && snapshot.fleet != Fleet::Unbraked {
        return Some(Held { cooling: false, braked: true, claimed: snapshot.at, until: None });
    }
    if found.ground != Ground::Silence {
        return None;
    }
    let holder = snapshot.lease.holder.as_ref().and_then(|holder| snapshot.heartbeats.get(holder))?;
    brake::held(snapshot.fleet, &snapshot.lease, holder, long_claims(snapshot, holder), snapshot.at)
}

/// The claims that count.
fn long_claims<'a>(
    snapshot: &'a Snapshot,
    holder: &'a Heartbeat,
) -> impl Iterator<Item = (&'a Heartbeat, &'a Claim)> {
    let lease = &snapshot.lease;
    let claims = lease.current_claims(&snapshot.heartbeats);
    claims.filter(|(standby, claim)| standby.health == Health::Ok && is_long_enough(claim, lease, holder))
}

fn ground(snapshot: &Snapshot) -> Option<Found> {
    let lease = &snapshot.lease;
    let Some(holder) = &lease.holder else {
        return Some(Found { ground: Ground::Vacancy, check: HolderCheck::Nobody, claim: None });
    };
    let heartbeat = snapshot.heartbeats.get(holder);
    if heartbeat.is_some_and(|heartbeat| heartbeat.released >= lease.epoch) {
        let check = HolderCheck::Released { epoch: lease.epoch };
        return Some(Found { ground: Ground::Release, check, claim: None });
    }
    let unchanged = match heartbeat {
        Some(found) => HolderCheck::Unchanged { incarnation: found.incarnation.clone(), seq: found.seq },
        None => HolderCheck::Absent,
    };
    if snapshot.terminated.contains(holder) {
        return Some(Found { ground: Ground::Gone, check: unchanged, claim: None });
    }
    let heartbeat = heartbeat?;
    // Whoever claimed first: a policy may count from then on.
    let (standby, claim) = long_claims(snapshot, heartbeat).min_by_key(|(_, claim)| claim.at)?;
    let claim = Some((standby.instance.clone(), claim.clone()));
    Some(Found { ground: Ground::Silence, check: unchanged, claim })
}

/// Whether the silence is long enough by the lease of now. The claim may have been made under another mode or timing, and what
/// serves with no dead-man behind it may serve for ever, however silent its agent is.
fn is_long_enough(claim: &Claim, lease: &Lease, holder: &Heartbeat) -> bool {
    u128::from(claim.silent_ms) >= lease.silence_for(holder).as_millis() || mutant!(AnyClaim)
}

/// A better one was passed over only because it has not been seen beating yet. Mostly that costs less than to wait. But to
/// give the lease back to the node that has just released it, or to another than the one an operator named, for a clock
/// that is off, would be an interruption for nothing.
fn is_worth_another_look(
    snapshot: &Snapshot,
    candidate: Candidate<'_>,
    passed: &[(InstanceArn, Unfit)],
) -> bool {
    if snapshot.looked_enough || mutant!(BounceBack) {
        return false;
    }
    let lease = &snapshot.lease;
    let back = lease.holder.as_ref() == Some(&candidate.member.instance);
    let intended = lease.live_intent(snapshot.at).and_then(|intent| intent.to.as_ref());
    let unseen = |instance: &InstanceArn, unfit: &Unfit| {
        *unfit == Unfit::NotSeenBeating && (back || intended == Some(instance))
    };
    passed.iter().any(|(instance, unfit)| unseen(instance, unfit))
}

type Passed = Vec<(InstanceArn, Unfit)>;

/// The best candidate, with those that were passed over; or everybody's reason.
fn choose(snapshot: &Snapshot, ground: Ground) -> Result<(Candidate<'_>, Passed), Passed> {
    let lease = &snapshot.lease;
    let intended = lease.live_intent(snapshot.at).and_then(|intent| intent.to.as_ref());
    let mut members: Vec<_> = lease.members.iter().collect();
    members.sort_by_key(|member| candidate::rank(lease, member, intended));
    let mut refusals = Vec::new();
    for member in members {
        match fitness(snapshot, ground, &member.instance) {
            Ok(heartbeat) => return Ok((Candidate { member, heartbeat }, refusals)),
            Err(unfit) => refusals.push((member.instance.clone(), unfit)),
        }
    }
    Err(refusals)
}

fn fitness<'a>(
    snapshot: &'a Snapshot,
    ground: Ground,
    instance: &InstanceArn,
) -> Result<&'a Heartbeat, Unfit> {
    let deposed = snapshot.lease.holder.as_ref() == Some(instance);
    if deposed && matches!(ground, Ground::Silence | Ground::Gone) {
        return Err(Unfit::SilentHolder);
    }
    if deposed && mutant!(ReleaserExcluded) {
        return Err(Unfit::SilentHolder);
    }
    if snapshot.terminated.contains(instance) {
        return Err(Unfit::Gone);
    }
    // A releaser that nobody could follow gets its lease back all the same: it has been serving until then.
    if snapshot.lease.is_excluded(instance, snapshot.at) && !deposed && !mutant!(ExcludedIsCandidate) {
        return Err(Unfit::Excluded);
    }
    let heartbeat = snapshot.heartbeats.get(instance).ok_or(Unfit::NeverSeen)?;
    if heartbeat.health != Health::Ok && !mutant!(AnyHealth) {
        return Err(Unfit::NotHealthy(heartbeat.health));
    }
    let earlier = snapshot.earlier.get(instance).copied();
    // Whoever has just released may have left: a heartbeat from before its oath shows no life after it.
    let alive = if deposed && !mutant!(LeaverIsAlive) {
        candidate::is_seen_beating(heartbeat, earlier)
    } else {
        candidate::is_alive(heartbeat, earlier, snapshot.at)
    };
    if !alive {
        return Err(Unfit::NotSeenBeating);
    }
    Ok(heartbeat)
}

fn grant(snapshot: &Snapshot, found: Found, fence: Option<Fenced>, candidate: Candidate<'_>) -> Grant {
    let lease = &snapshot.lease;
    let holder = lease.holder.as_ref().and_then(|holder| snapshot.heartbeats.get(holder));
    // A word about a silent holder is not why one releases.
    let released = found.ground == Ground::Release;
    let intent = lease.live_intent(snapshot.at).filter(|intent| !released || !intent.failover);
    let mut reason = reason(lease, &found, intent);
    if found.ground == Ground::Silence && snapshot.fleet.brakes() {
        reason.push_str(&after_the_brake(snapshot.fleet));
    }
    let evidence = Evidence {
        holder_incarnation: holder.map(|found| found.incarnation.clone()),
        holder_seq: holder.map(|found| found.seq),
        holder_beat_at: holder.map(|found| found.beat_at),
        claim: found.claim,
        fence,
        hook: holder.and_then(|found| hook_of(found, lease.epoch)).map(Box::new),
        request: intent.and_then(|intent| intent.request.clone()),
    };
    let what = Happening::Granted {
        from: lease.holder.clone(),
        to: candidate.member.instance.clone(),
        ground: found.ground,
        reason,
        evidence,
    };
    let remembers = found.ground == Ground::Silence && lease.cool_down_ms > 0;
    Grant {
        cluster: lease.cluster.clone(),
        uid: lease.uid.clone(),
        epoch: lease.epoch,
        revision: lease.revision,
        holder: lease.holder.clone(),
        holder_check: found.check,
        to: candidate.member.instance.clone(),
        to_incarnation: candidate.heartbeat.incarnation.clone(),
        ground: found.ground,
        wish: lease.wish().cloned(),
        recent: remembers.then(|| policy::remembered(lease, snapshot.at)),
        at: snapshot.at,
        event: Event {
            cluster: lease.cluster.clone(),
            epoch: lease.epoch.next(),
            at: snapshot.at,
            by: snapshot.by.clone(),
            what,
        },
    }
}

/// Why a holder may have released, in the words of its own hook. One of an earlier epoch has nothing to do with this one.
fn hook_of(holder: &Heartbeat, epoch: Epoch) -> Option<HookFailure> {
    let failed = holder.findings.as_ref()?.hook.as_ref()?;
    (failed.epoch == epoch).then(|| failed.clone())
}

fn reason(lease: &Lease, found: &Found, intent: Option<&Intent>) -> String {
    let holder = lease.holder.as_ref().map_or_else(|| "nobody".to_owned(), |holder| lease.name_of(holder));
    match (found.ground, &found.claim, intent) {
        (Ground::Release, _, Some(intent)) => format!("{holder} released the lease: {}", intent.reason),
        (Ground::Release, _, None) => format!("{holder} released the lease"),
        (Ground::Silence, Some((by, claim)), intent) => {
            let word = intent.filter(|intent| intent.failover);
            format!(
                "{holder} was silent for {}.{:01} s, seen by {}{}",
                claim.silent_ms / 1_000,
                claim.silent_ms % 1_000 / 100,
                lease.name_of(by),
                word.map(|intent| format!(": {}", intent.reason)).unwrap_or_default()
            )
        }
        (Ground::Silence, None, _) => format!("{holder} was silent"),
        (Ground::Gone, ..) => format!("EC2 says that {holder} is terminated"),
        (Ground::Vacancy, ..) => "the cluster has had no holder since its registration".to_owned(),
    }
}

fn after_the_brake(fleet: Fleet) -> String {
    match fleet {
        Fleet::Alarmed(clusters) => {
            format!("; about {clusters} clusters suspected their holders at the time")
        }
        _ => "; how many clusters suspected their holders at the time is not known".to_owned(),
    }
}

#[cfg(test)]
mod tests;
