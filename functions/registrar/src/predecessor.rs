//! The last holder of a retired cluster that is to be registered again.
//!
//! Retirement leaves the service as it is, so the last holder may serve to this day, unguarded and unseen. Were another
//! node granted the lease, two would serve. So the holder must be a node again, or have sworn to stop, or be gone.

use std::time::Duration;

use baton_cloud::Cloud;
use baton_protocol::ec2::{InstanceState, Look, Sight};
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::Lease;
use baton_protocol::time::WallTime;
use baton_store::Store;

use crate::patience::Patience;
use crate::property::Desired;
use crate::refusal::Refusal;

/// EC2 forgets an instance about an hour after it was terminated. An instance that is not found although it held a lease
/// so long ago is not one that a stale answer has yet to show.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Refuses unless the last holder of `lease` can be told not to serve beside a new one.
pub(crate) async fn check<S: Store, C: Cloud>(
    store: &S,
    cloud: &C,
    patience: Patience,
    lease: &Lease,
    desired: &Desired,
    now: WallTime,
) -> Result<(), Refusal> {
    let Some(holder) = &lease.holder else { return Ok(()) };
    let instance = holder.instance_id();
    if desired.nodes.iter().any(|node| node.instance == instance) {
        return Ok(());
    }
    let heartbeat = patience
        .ask(|| store.heartbeat(&lease.cluster, holder))
        .await
        .map_err(|failure| Refusal::table(format!("reading the heartbeat of {instance}"), failure))?;
    if heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.released >= lease.epoch) {
        return Ok(());
    }
    let doing = || format!("asking EC2 for {instance}, the last holder");
    let look = Look::Instance(instance.clone());
    let sight = patience
        .ask(|| cloud.look(&look))
        .await
        .map_err(|failure| Refusal::Ec2Failed { doing: doing(), failure })?;
    let why = match sight {
        Sight::Instance(InstanceState::Terminated) => return Ok(()),
        Sight::Instance(InstanceState::NotFound) if is_forgotten(lease, heartbeat.as_ref(), now) => {
            return Ok(());
        }
        Sight::Instance(InstanceState::NotFound) => {
            "EC2 does not know it, which may be a stale answer until an hour has passed".to_owned()
        }
        Sight::Instance(InstanceState::Other(state)) => format!("EC2 says that it is {state}"),
        other => return Err(Refusal::Fault(format!("{} was answered with {other:?}", doing()))),
    };
    Err(Refusal::LastHolderMayServe { cluster: lease.cluster.clone(), holder: instance, why })
}

/// Whether every sign of the holder is older than EC2's memory of an instance that is gone.
fn is_forgotten(lease: &Lease, heartbeat: Option<&Heartbeat>, now: WallTime) -> bool {
    let signs = [lease.last_grant, heartbeat.map(|heartbeat| heartbeat.beat_at)];
    let last = signs.into_iter().flatten().max();
    last.is_some_and(|last| now.since(last) >= FORGOTTEN_AFTER)
}

/// The name of a holder, for people.
pub(crate) fn named(lease: &Lease, holder: &InstanceArn) -> String {
    format!("{} ({})", lease.name_of(holder), holder.instance_id())
}
