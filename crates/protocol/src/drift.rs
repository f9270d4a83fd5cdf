//! Drift: whether what somebody did to EC2 may have moved something of a cluster.
//!
//! An event names resources by their ids. Whether any of them is the cluster's is all that is asked of it; where everything
//! is now, EC2 is asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::heartbeat::Heartbeat;
use crate::ids::InstanceArn;
use crate::lease::Lease;
use crate::mark::Mark;
use crate::time::WallTime;

/// Whether one of these ids or addresses is of the cluster: an address, by its allocation, its association or itself; a
/// route table, and any of them where tables are described; a subnet whose table is swapped, by its association too; an interface or an
/// instance of a member.
pub fn is_about(lease: &Lease, named: &BTreeSet<String>) -> bool {
    let names = |id: &str| named.contains(id);
    let address = lease.resources.addresses.iter();
    let mut addresses =
        address.flat_map(|address| [address.allocation.to_string(), address.public_ip.to_string()]);
    let mut associations =
        lease.observed.associations.values().chain(lease.rotated.values().filter_map(|mark| match mark {
            Mark::Made(id) | Mark::Ends(id) => Some(id),
            Mark::Free => None,
        }));
    let mut tables = lease.resources.routes.iter().map(|route| &route.table);
    let mut swapped = lease.resources.subnets.iter();
    let mut swaps = lease.observed.tables.values();
    let mut members = lease.members.iter();
    addresses.any(|id| names(&id))
        || associations.any(|id| names(id.as_str()))
        || tables.any(|id| names(id.as_str()))
        || swapped.any(|subnet| {
            names(subnet.subnet.as_str()) || subnet.tables.values().any(|table| names(table.as_str()))
        })
        || swaps.any(|association| names(association.id.as_str()))
        || !lease.resources.choices.tables.is_empty() && named.iter().any(|id| id.starts_with("rtb-"))
        || members.any(|member| {
            names(member.interface.as_str())
                || names(member.instance.instance_id().as_str())
                || member.placements.values().any(|place| names(place.interface.as_str()))
        })
}

/// Whether what is no longer where it was recorded to be is left there: during a pause an operator may have good reason to
/// move things, and so may whoever leads a route past a holder that has released, or that a standby has found silent by its
/// own clock.
pub fn is_left(lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>, now: WallTime) -> bool {
    let holder = lease.holder.as_ref().and_then(|holder| heartbeats.get(holder));
    let released = holder.is_some_and(|heartbeat| heartbeat.released >= lease.epoch);
    let claimed = lease.current_claims(heartbeats).next().is_some();
    lease.is_paused(now) || released || claimed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{TableChoice, Which};
    use crate::testing::{allocation, association, lease, subnet, subnet_tables, table_association};

    #[test]
    fn any_route_table_may_be_one_that_was_described() {
        let mut lease = lease();
        let named: BTreeSet<_> = ["rtb-0f0f0f0f".to_owned()].into();
        assert!(!is_about(&lease, &named));
        let destination = lease.resources.routes[0].destination;
        let every = TableChoice { destination, which: Which::Every, from_gateways: false };
        lease.resources.choices.tables.push(every);
        assert!(is_about(&lease, &named) && !is_about(&lease, &["eni-0f0f0f0f".to_owned()].into()));
    }

    #[test]
    fn a_cluster_is_known_by_everything_that_is_its_own_and_by_nothing_else() {
        let mut lease = lease();
        lease.observed.associations.insert(allocation(1), association(7));
        lease.rotated.insert(allocation(1), Mark::Made(association(8)));
        lease.resources.subnets.push(subnet_tables(1));
        lease.observed.tables.insert(subnet(1), table_association(9, 3));
        let member = lease.members[1].clone();
        let own = [
            lease.resources.addresses[0].allocation.to_string(),
            lease.resources.addresses[0].public_ip.to_string(),
            association(7).to_string(),
            association(8).to_string(),
            lease.resources.routes[0].table.to_string(),
            subnet(1).to_string(),
            crate::testing::table(3).to_string(),
            table_association(9, 3).id.to_string(),
            member.interface.to_string(),
            member.placements.values().next().expect("a place").interface.to_string(),
            member.instance.instance_id().to_string(),
        ];
        for id in own {
            assert!(is_about(&lease, &BTreeSet::from(["x".to_owned(), id.clone()])), "{id}");
        }
        let others = ["eipalloc-0f0f0f0f", "eipassoc-0f0f0f0f", "rtb-0f0f0f0f", "eni-0f0f0f0f", "i-0f0f0f0f"];
        assert!(!is_about(&lease, &others.into_iter().map(str::to_owned).collect()));
        assert!(!is_about(&lease, &BTreeSet::new()));
    }
}
