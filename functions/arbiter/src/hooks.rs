//! Lets terminations go on that wait at a lifecycle hook, once their instance has nothing of a cluster any more.
//!
//! What waits stands in the table from the moment that it was told of. Every invocation for the cluster looks there in the end: the one
//! that moved the addresses away, or that of the cluster's next turn, two minutes later at the latest.

use baton_cloud::Cloud;
use baton_protocol::hook::Hook;
use baton_protocol::ids::ClusterName;
use baton_protocol::outcome::Failure;
use baton_store::{Entry, Store};
use futures_util::future::join_all;

use crate::drive::{Parts, Successor};

/// Lets go on what may. A failure is logged, and the next invocation tries again.
pub async fn settle<S: Store, C: Cloud, W: Successor>(parts: &Parts<S, C, W>, cluster: &ClusterName) {
    let hooks = match parts.store.hooks(cluster).await {
        Ok(hooks) => hooks,
        Err(failure) => return tracing::warn!(%cluster, %failure, "cannot tell whether a termination waits"),
    };
    let now = parts.now().wall;
    let open: Vec<_> = hooks.iter().filter(|hook| hook.is_open(now)).collect();
    if open.is_empty() {
        return;
    }
    let entries = match parts.store.clusters().await {
        Ok(entries) => entries,
        Err(failure) => return tracing::warn!(%cluster, %failure, "cannot tell whose a termination is"),
    };
    join_all(open.into_iter().map(|hook| async {
        match settle_one(parts, cluster, hook, &entries).await {
            Ok(Some(why)) => tracing::info!(%cluster, instance = %hook.instance, why, "termination goes on"),
            Ok(None) => tracing::info!(%cluster, instance = %hook.instance, "termination waits"),
            Err(why) => {
                tracing::warn!(%cluster, instance = %hook.instance, why, "termination was not let go on")
            }
        }
    }))
    .await;
}

/// The cluster that keeps a termination of an instance which is a member nowhere: one whose nodes its group names. Such an
/// instance has never joined, or was retired, and has nothing to hand over.
///
/// In another group, whose instances clusters name one by one or not at all, it may be a member of another control plane's
/// cluster, which hears of it as well: it is left to that, and to the hook's own end.
pub fn of_no_member<'a>(hook: &'a Hook, entries: &'a [Entry]) -> Option<(&'a Hook, &'a Entry)> {
    if entries.iter().any(|entry| entry.instances.contains(&hook.instance)) {
        return None;
    }
    let ours = entries.iter().find(|entry| entry.group.as_deref() == Some(hook.group.as_str()))?;
    Some((hook, ours))
}

async fn settle_one<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
    hook: &Hook,
    entries: &[Entry],
) -> Result<Option<&'static str>, String> {
    let told = |failure: Failure| failure.to_string();
    let mut leases = Vec::new();
    for entry in entries {
        if entry.instances.contains(&hook.instance) {
            leases.extend(parts.store.lease(&entry.cluster).await.map_err(told)?);
        }
    }
    let Some(why) = hook.may_go_on(&leases, parts.now().wall) else { return Ok(None) };
    parts.successor.complete(hook).await.map_err(|failure| failure.to_string())?;
    // If this is lost, Auto Scaling is told again, and answers that nothing waits.
    parts.store.end_hook(cluster, hook, why).await.map_err(told)?;
    Ok(Some(why))
}
