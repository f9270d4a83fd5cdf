//! Heartbeats read together, and the lease along with them.

use std::collections::BTreeSet;

use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_protocol::lease::Lease;
use baton_protocol::outcome::{Failure, Read};

use super::DynamoStore;
use crate::item::{Item, read, read_heartbeat};
use crate::key::{Key, parse_partition};
use crate::{Heartbeats, fit_beside_the_lease};

impl DynamoStore {
    /// A batch is read item by item, and one of them that cannot be read now does not keep the others back
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>). So whoever is throttled at a
    /// neighbour's item still learns who holds the lease.
    pub(super) async fn get_lease_along(
        &self,
        cluster: &ClusterName,
        instances: &[InstanceArn],
    ) -> Read<(Option<Lease>, Option<Heartbeats>)> {
        let lease = Key::lease(cluster);
        if !fit_beside_the_lease(instances) {
            return Ok((self.get(&lease).await?.map(read).transpose()?, None));
        }
        let mut keys = keys_of(cluster, instances);
        keys.push(lease.clone());
        let (items, left) = self.get_batch(&keys).await?;
        if left.iter().any(|key| is_at(key, &lease)) {
            // Neighbours' items may have been too large to leave it room.
            return Ok((self.get(&lease).await?.map(read).transpose()?, None));
        }
        let (leases, others): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| is_at(item, &lease));
        let found = leases.into_iter().next().map(read).transpose()?;
        // An item that cannot be used is told of by the one who reads it for itself.
        let others = if left.is_empty() { read_heartbeats(cluster, others).ok() } else { None };
        Ok((found, others))
    }
}

/// Of each node once.
pub(super) fn keys_of(cluster: &ClusterName, instances: &[InstanceArn]) -> Vec<Key> {
    let once: BTreeSet<_> = instances.iter().collect();
    once.into_iter().map(|instance| Key::heartbeat(cluster, instance)).collect()
}

pub(super) fn read_heartbeats(cluster: &ClusterName, items: Vec<Item>) -> Read<Heartbeats> {
    let mut heartbeats = Heartbeats::new();
    for item in items {
        let pk = part(&item, "pk");
        let Some((_, Some(instance))) = parse_partition(pk) else {
            return Err(Failure::Unknown(format!("asked for heartbeats, was given an item of {pk:?}")));
        };
        let heartbeat = read_heartbeat(cluster, &instance, item)?;
        heartbeats.insert(instance, heartbeat);
    }
    Ok(heartbeats)
}

fn is_at(item: &Item, key: &Key) -> bool {
    (part(item, "pk"), part(item, "sk")) == (key.pk.as_str(), key.sk.as_str())
}

fn part<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}
