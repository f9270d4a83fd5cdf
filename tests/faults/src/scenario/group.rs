//! What an Auto Scaling group does to a cluster whose nodes are its instances.

use baton_protocol::history::Happening;
use baton_protocol::ids::InstanceArn;
use baton_protocol::request::Wish;
use baton_protocol::roster::{CONSENT, GROUP as GROUP_TAG, Roster, Tag};
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use super::trigger::ask;
use super::{Seen, and, standing, whole};
use crate::rig::{Rig, Trouble, bus_event, cluster, now};

const GROUP: &str = "nodes";

/// The tags that Auto Scaling gives the instances of the group, and those that the group gives them.
fn tags() -> Value {
    json!([{ "Key": GROUP_TAG, "Value": GROUP }, { "Key": CONSENT, "Value": cluster().as_str() }])
}

/// The instances that there are become those of a group. The server has no groups, so their tags are given to them here.
fn form(rig: &Rig) -> Result<(), Trouble> {
    let ids: Vec<_> = rig.sandbox().world().instances.iter().map(|instance| &*instance.id).collect();
    rig.sandbox().account().call("ec2", "create_tags", &json!({ "Resources": ids, "Tags": tags() }))?;
    Ok(())
}

/// The cluster's stack is updated: its nodes are the instances of the group, or those that there are by now.
async fn name(rig: &Rig, roster: Option<Roster>) -> Result<(), Trouble> {
    let holder = rig.lease().await?.holder;
    let mut registration = Registration { roster, at: now(), ..rig.registration().clone() };
    registration.event.at = now();
    let changed = rig.store().reconfigure(&registration, holder.as_ref()).await;
    changed.map_err(|failure| format!("{failure:?}").into())
}

/// The group launches another instance, perhaps one that can hibernate.
fn launch(rig: &Rig, hibernation: bool) -> Result<InstanceArn, Trouble> {
    let (account, world) = (rig.sandbox().account(), rig.sandbox().world());
    let images = account.call("ec2", "describe_images", &json!({ "Owners": ["amazon"] }))?;
    let asked = json!({
        "ImageId": images["Images"][0]["ImageId"], "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1,
        "SubnetId": world.instances[0].subnet, "HibernationOptions": { "Configured": hibernation },
        "TagSpecifications": [{ "ResourceType": "instance", "Tags": tags() }],
    });
    let made = account.call("ec2", "run_instances", &asked)?;
    let launched = made["Instances"][0]["InstanceId"].as_str().ok_or("nothing was launched")?;
    let place = rig.node(0).as_str().rsplit_once('/').map_or("", |(place, _)| place);
    Ok(InstanceArn::new(format!("{place}/{launched}"))?)
}

async fn tell(rig: &mut Rig, launched: &InstanceArn) {
    let detail = json!({
        "StatusCode": "InProgress", "AutoScalingGroupName": GROUP, "EC2InstanceId": launched.instance_id(),
        "Origin": "EC2", "Destination": "AutoScalingGroup",
    });
    let event: Value = bus_event("aws.autoscaling", "EC2 Instance Launch Successful", &detail);
    for _ in 0..2 {
        rig.send(event.clone()).await;
    }
}

/// A standby is terminated and another instance launched. It joins, the other one is retired, nothing moves; and then it is
/// handed over to as any other. One that can hibernate does not join.
pub(super) async fn replaced(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    form(rig)?;
    let roster = Roster { tag: Tag::of_group(GROUP)?, most: 3, priority: 100, changed: now() };
    name(rig, Some(roster)).await?;
    let leaves = (0..3).rev().find(|n| *n != holder).unwrap_or_default();
    let (left, from) = (rig.node(leaves).clone(), rig.history().await?.len());
    rig.sandbox().account().terminate_instance(left.instance_id().as_str())?;
    // The cluster is strict, so the first to be launched is left out, though there is room for it.
    let sleeper = launch(rig, true)?;
    tell(rig, &sleeper).await;
    let newcomer = launch(rig, false)?;
    tell(rig, &newcomer).await;
    let stays = whole(rig, holder, epoch).await?;
    let rows = rig.history().await?;
    let changes = rows.iter().skip(from).filter_map(|row| match &row.what {
        Happening::Members { joined, retired, .. } => Some((joined, retired)),
        _ => None,
    });
    let told = changes.map(|(joined, retired)| {
        let joined: Vec<_> = joined.iter().map(|one| one.instance.to_string()).collect();
        let retired: Vec<_> = retired.iter().map(|one| one.instance.to_string()).collect();
        format!("{} for {}", joined.join(" "), retired.join(" "))
    });
    let told = told.collect::<Vec<_>>().join(", ");

    let lease = rig.lease().await?;
    let member = lease.member(&newcomer).ok_or("the newcomer has not joined")?.clone();
    rig.admit(leaves, member).await?;
    ask(rig, Wish::Switchover { to: Some(newcomer.clone()), why: "a scenario".to_owned() }).await?;
    rig.release().await?;
    rig.wake("release").await;
    let seen = whole(rig, leaves, epoch + 1).await?;
    name(rig, None).await?;
    let seen = and(seen, "before the switchover", stays.expected, stays.observed);
    Ok(and(seen, "told once", format!(" for {left}, {newcomer} for "), told))
}
