//! The nodes of a cluster that names them by a tag, as far as EC2 shows them at this moment.
//!
//! The arbiter follows the tag from then on, by the same judgement, so a request that finds nobody is no mistake: an Auto
//! Scaling group may have still to launch, with a role that rests on this very stack (ADR 0030).

use std::collections::{BTreeMap, BTreeSet};

use baton_cloud::{Cloud, interfaces_of_newcomers, seen};
use baton_doctor::{MOST_NODES, Seen};
use baton_protocol::ec2::CloudFailure;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::lease::{Lease, LeaseState, Mode};
use baton_protocol::outcome::Failure;
use baton_protocol::resource::Placement;
use baton_protocol::roster::{self, Judgement, Standing};
use baton_protocol::time::WallTime;
use baton_store::Store;
use futures_util::future::try_join_all;

use crate::observe::neighbours;
use crate::patience::Patience;
use crate::property::{Desired, DesiredNode};
use crate::refusal::Refusal;

/// The request with the nodes that are to be members now. One that names its nodes one by one is returned as it is.
pub(crate) async fn resolve<S: Store, C: Cloud>(
    store: &S,
    cloud: &C,
    patience: Patience,
    desired: &Desired,
    lease: Option<&Lease>,
    now: WallTime,
) -> Result<Desired, Refusal> {
    let Some(roster) = &desired.roster else { return Ok(desired.clone()) };
    let mut roster = roster.clone();
    let members = lease.map_or(&[][..], |lease| &lease.members);
    let ids: Vec<_> = members.iter().map(|member| member.instance.instance_id()).collect();
    let failed = |failure: CloudFailure| Refusal::Ec2Failed {
        doing: format!("asking EC2 for {}", roster.tag),
        failure,
    };
    let (tagged, there) =
        tokio::try_join!(patience.ask(|| cloud.tagged(&roster.tag)), patience.ask(|| cloud.instances(&ids)))
            .map_err(failed)?;
    let newcomers = match desired.choices.by_tag() {
        true => interfaces_of_newcomers(&tagged, members),
        false => Vec::new(),
    };
    let tags = match newcomers.is_empty() {
        true => BTreeMap::new(),
        false => patience.ask(|| cloud.interface_tags(&newcomers)).await.map_err(failed)?,
    };
    let seen = seen(&tagged, &there, &tags);
    let about = members.iter().map(|member| &member.instance);
    let newcomers = seen.tagged.values().map(|shown| &shown.instance).take(MOST_NODES);
    let heartbeats = heartbeats(store, patience, desired, about.chain(newcomers)).await?;
    // What stands was followed until then. A registration made anew has no holder that could be kept.
    let active = lease.filter(|lease| lease.state == LeaseState::Active);
    if let Some(before) = active.and_then(|lease| lease.roster.as_ref()) {
        roster.changed = before.changed;
    } else {
        roster.changed = now;
    }
    let holder = active.and_then(|lease| lease.holder.as_ref());
    let nothing = BTreeSet::new();
    let standing = Standing {
        cluster: &desired.cluster,
        roster: &roster,
        members,
        holder,
        addresses: desired.addresses.clone(),
        choices: &desired.choices,
        // An update may take the cluster to another VPC, where its tables are looked for anew.
        vpc: None,
        // As for a seat: an update leaves such a newcomer out, and a registration is refused for it.
        may_hibernate: active.is_none() || desired.mode == Mode::Available,
        taken: &nothing,
    };
    let mut judgement = roster::judge(&standing, &seen, &heartbeats, now);
    // A newcomer that has no seat keeps no update from its end. A registration is refused, and told why.
    let taken = match active {
        Some(_) if !judgement.join.is_empty() && !desired.addresses.is_empty() => {
            taken(store, patience, &desired.cluster).await
        }
        _ => BTreeSet::new(),
    };
    if !taken.is_empty() {
        judgement = roster::judge(&Standing { taken: &taken, ..standing.clone() }, &seen, &heartbeats, now);
    }
    for (instance, why) in &judgement.unfit {
        tracing::warn!(cluster = %desired.cluster, %instance, why, "carries the tag and cannot join");
    }
    let nodes = nodes(&judgement, roster.priority);
    let differs = !judgement.join.is_empty() || !judgement.retire.is_empty();
    if differs {
        roster.changed = now;
    }
    Ok(Desired { nodes, roster: Some(roster), ..desired.clone() })
}

fn nodes(judgement: &Judgement<'_>, priority: u16) -> Vec<DesiredNode> {
    let stay = judgement.stay.iter().map(|member| (Some(member.node.clone()), &member.instance));
    let join = judgement.join.iter().map(|shown| (roster::name_of(&shown.instance), &shown.instance));
    let node = |(node, instance): (Option<_>, &InstanceArn)| {
        Some(DesiredNode { node: node?, instance: instance.instance_id(), priority })
    };
    stay.chain(join).filter_map(node).collect()
}

/// Where other clusters' addresses may sit. That they cannot be read is a finding of the examination.
async fn taken<S: Store>(store: &S, patience: Patience, own: &ClusterName) -> BTreeSet<Placement> {
    match neighbours(store, patience, own).await {
        Seen::Known(others) => others.into_iter().flat_map(|other| other.seats).collect(),
        Seen::Unknown(_) | Seen::Unasked => BTreeSet::new(),
    }
}

/// One by one, since the registrar's role may read single items only.
async fn heartbeats<S: Store>(
    store: &S,
    patience: Patience,
    desired: &Desired,
    instances: impl Iterator<Item = &InstanceArn>,
) -> Result<BTreeMap<InstanceArn, Heartbeat>, Refusal> {
    let reads = instances.map(|instance| async move {
        let read = patience.ask(|| store.heartbeat(&desired.cluster, instance)).await?;
        Ok::<_, Failure>(read.map(|heartbeat| (instance.clone(), heartbeat)))
    });
    let read = try_join_all(reads).await.map_err(|failure| {
        Refusal::table(format!("reading the heartbeats of {}", desired.cluster), failure)
    })?;
    Ok(read.into_iter().flatten().collect())
}
