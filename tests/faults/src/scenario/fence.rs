//! Instances that are stopped: before a takeover, where the cluster asks for that, and on an operator's word.

use baton_protocol::fence::Fencing;
use baton_protocol::history::Happening;
use baton_protocol::request::Wish;
use baton_sandbox::moto::{Ec2Fault, Ec2Trouble};
use baton_store::{Registration, Store};
use serde_json::{Value, json};

use super::trigger::ask;
use super::{Seen, and, standing, told, whole};
use crate::rig::{Rig, Trouble, cluster, now};

/// The cluster's stack is updated with this policy.
async fn fence_by(rig: &Rig, fencing: Fencing) -> Result<(), Trouble> {
    let lease = rig.lease().await?;
    let mut registration = Registration { fencing, at: now(), ..rig.registration().clone() };
    registration.event.at = now();
    let changed = rig.store().reconfigure(&registration, lease.holder.as_ref()).await;
    changed.map_err(|failure| format!("{failure:?}").into())
}

/// What the server says of a node's instance.
fn state(rig: &Rig, node: usize) -> Result<String, Trouble> {
    let ids = json!({ "InstanceIds": [rig.node(node).instance_id()] });
    let found = rig.sandbox().account().call("ec2", "describe_instances", &ids)?;
    let name = &found["Reservations"][0]["Instances"][0]["State"]["Name"];
    Ok(name.as_str().unwrap_or_default().to_owned())
}

/// Somebody starts a node's instance again.
fn start(rig: &Rig, node: usize) -> Result<(), Trouble> {
    let ids = json!({ "InstanceIds": [rig.node(node).instance_id()] });
    rig.sandbox().account().call("ec2", "start_instances", &ids)?;
    Ok(())
}

fn is_fenced(what: &Happening) -> bool {
    matches!(what, Happening::Fenced { state, .. } if state == "stopped")
}

fn is_unfenced(what: &Happening) -> bool {
    matches!(what, Happening::Unfenced { why, .. } if why.contains("AllowFencing"))
}

fn is_fenced_grant(what: &Happening) -> bool {
    matches!(what, Happening::Granted { evidence, .. } if evidence.fence.is_some())
}

/// As long as the arbiter may not stop the holder nothing moves, which is told and known beforehand; then it is stopped first.
pub(super) async fn silent(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    fence_by(rig, Fencing::Stop).await?;
    rig.sandbox().moto().set_faults(&[Ec2Fault::on("StopInstances", Ec2Trouble::Deny)])?;
    rig.beat(&[0, 1, 2], None).await?;
    rig.wake("verify").await;
    rig.wake("probe").await;
    let probe = rig.store().probe(&cluster()).await?.ok_or("nothing was kept")?;
    let known = probe.obstacles.iter().filter(|found| found.why.starts_with("StopInstances: denied")).count();
    rig.claim(next).await?;
    rig.wake("claim").await;
    let denied = whole(rig, holder, epoch).await?;
    let ran = state(rig, holder)?;
    let unfenced = told(rig, from, is_unfenced).await?;
    rig.sandbox().moto().set_faults(&[])?;
    // The look that counts comes seconds after the stop. A standby beats on meanwhile, and its next claim goes on from there; here
    // nobody does before the invocation has ended.
    for _ in 0..2 {
        rig.claim(next).await?;
        rig.wake("claim").await;
    }
    let seen = whole(rig, next, epoch + 1).await?;
    let stopped = state(rig, holder)?;
    let (fenced, granted) = (told(rig, from, is_fenced).await?, told(rig, from, is_fenced_grant).await?);
    fence_by(rig, Fencing::None).await?;
    start(rig, holder)?;
    // What was in the way is asked for again, or the cluster would count as unprotected from here on.
    rig.beat(&[0, 1, 2], None).await?;
    rig.wake("probe").await;
    let seen = and(seen, "while it is denied", denied.expected, denied.observed);
    let seen = and(seen, "nodes that are known beforehand", 3, known);
    let seen = and(seen, "told", 1, unfenced);
    let seen = and(seen, "the holder's instance", "running, then stopped", format!("{ran}, then {stopped}"));
    Ok(and(seen, "rows", "2 fenced, 1 granted on it", format!("{fenced} fenced, {granted} granted on it")))
}

/// The instance of a standby is stopped, once, and nothing moves.
pub(super) async fn asked(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    let uid = rig.lease().await?.uid;
    let wish = Wish::Fence { node: rig.node(next).clone(), uid, why: "a scenario".to_owned() };
    let id = ask(rig, wish).await?;
    let stopped = state(rig, next)?;
    start(rig, next)?;
    rig.wake("request").await;
    rig.wake("sweep").await;
    let ran = state(rig, next)?;
    let requests = rig.store().requests(&cluster(), 50).await.map_err(|failure| failure.to_string())?;
    let answer = requests.into_iter().find(|request| request.id == id).and_then(|request| request.answer);
    let seen = whole(rig, holder, epoch).await?;
    let seen = and(seen, "its instance", "stopped, then running", format!("{stopped}, then {ran}"));
    let seen = and(seen, "answered", "EC2 says `stopped`", answer.unwrap_or_default());
    let seen = and(seen, "carried still", Value::Null, json!(rig.lease().await?.fence));
    Ok(and(seen, "told", 1, told(rig, from, is_fenced).await?))
}
