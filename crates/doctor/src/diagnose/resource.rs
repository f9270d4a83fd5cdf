//! What is moved: addresses, routes, the tag of consent, and what the arbiter may do with them.

use std::time::Duration;

use baton_protocol::ec2::RouteTarget;
use baton_protocol::lease::Member;
use baton_protocol::probe::Probe;

use super::network::leads_to;
use super::{Room, named};
use crate::TAG;
use crate::change::Change;
use crate::check;
use crate::row::Row;

/// The arbiter asks each hour; what it has not asked for so long is not known.
const STALE: Duration = Duration::from_secs(3 * 3_600);

impl Room<'_> {
    pub(super) fn resources(&mut self) {
        self.addresses();
        self.tags();
        if self.is_settled() {
            self.at_holder();
        }
        self.permitted();
        self.trails();
    }

    /// Whether everything was seen at the holder once, and so ought to be there.
    fn is_settled(&self) -> bool {
        let lease = &self.case.record.lease;
        lease.holder.is_some() && lease.moved == lease.epoch
    }

    fn holder(&self) -> Option<&Member> {
        let lease = &self.case.record.lease;
        lease.holder.as_ref().and_then(|holder| lease.member(holder))
    }

    fn addresses(&mut self) {
        let record = &self.case.record;
        let survey = &self.case.survey;
        if record.lease.resources.addresses.is_empty() {
            return;
        }
        let Some(there) = self.need(&survey.addresses, "the Elastic IPs of the region", &[Row::R4]) else {
            return;
        };
        for address in &record.lease.resources.addresses {
            if !there.contains_key(&address.allocation) {
                let what =
                    format!("the Elastic IP {} ({}) is not allocated", address.public_ip, address.allocation);
                let change = Change::AllocateAddress(record.lease.cluster.clone());
                self.find(&check::ADDRESS_ALLOCATED, &address.allocation, what, vec![change]);
            }
        }
        let Some(quota) = self.need(&survey.address_quota, "the quota of Elastic IPs", &[Row::R4]) else {
            return;
        };
        if there.len() >= *quota {
            let what =
                format!("{} Elastic IPs are allocated in {}, and {quota} may be", there.len(), record.region);
            self.find(&check::ADDRESS_QUOTA, &record.region, what, Vec::new());
        }
    }

    fn tags(&mut self) {
        let record = &self.case.record;
        let (survey, resources) = (&self.case.survey, &record.lease.resources);
        let mut bare: Vec<String> = Vec::new();
        if !resources.addresses.is_empty() {
            let rows = &[Row::B2];
            if let Some(there) = self.need(&survey.addresses, "the Elastic IPs of the region", rows) {
                let untagged = resources
                    .addresses
                    .iter()
                    .filter(|address| there.get(&address.allocation).is_some_and(|detail| !detail.tagged));
                bare.extend(untagged.map(|address| address.allocation.to_string()));
            }
            if let Some(instances) = self.need(&survey.instances, "the instances", rows) {
                let ids = self.members().iter().map(|member| member.instance.instance_id());
                let untagged = ids.filter(|id| instances.get(id).is_some_and(|detail| !detail.tagged));
                bare.extend(untagged.map(|id| id.to_string()));
            }
        }
        if self.tables_are_anothers() {
            self.owners(&check::CONSENT_TAG, "the tags of the route tables");
        } else if let Some(tables) = self.need(&survey.tables, "the route tables of the VPC", &[Row::B2]) {
            let named = resources.routes.iter().map(|route| &route.table).chain(resources.prepared());
            let mut named: Vec<&str> = named.map(|table| table.as_str()).collect();
            named.sort_unstable();
            named.dedup();
            let untagged = |id: &&str| tables.iter().any(|table| table.id == **id && !table.tagged);
            bare.extend(named.into_iter().filter(untagged).map(str::to_owned));
        }
        if let Some(interfaces) = survey.interfaces.known() {
            let ids = self.members().iter().flat_map(leads_to);
            let untagged = ids.filter(|id| interfaces.get(id).is_some_and(|detail| !detail.tagged));
            bare.extend(untagged.map(ToString::to_string));
        }
        for resource in bare {
            let what = format!("{resource} has no tag {TAG}");
            let cluster = record.lease.cluster.clone();
            let change = Change::Tag { resource: resource.clone(), cluster };
            self.find(&check::CONSENT_TAG, resource, what, vec![change]);
        }
    }

    /// Where everything is. What is astray is the arbiter's to put right, which is woken for it.
    fn at_holder(&mut self) {
        let Some(holder) = self.holder().cloned() else { return };
        let record = &self.case.record;
        let wake = Change::Wake(record.lease.cluster.clone());
        if let Some(tables) = self.case.world.tables.known() {
            for route in &record.lease.resources.routes {
                let seen = tables
                    .get(&route.table)
                    .and_then(|routes| routes.iter().find(|seen| seen.destination == route.destination));
                let found = match seen {
                    // That a table is gone is told by the examination.
                    None if !tables.contains_key(&route.table) => continue,
                    None => "is not there".to_owned(),
                    Some(seen) if seen.blackhole => "leads to nothing (`blackhole`)".to_owned(),
                    Some(seen) => match &seen.target {
                        RouteTarget::Interface(there) if *there == holder.interface => continue,
                        RouteTarget::Interface(there) => format!("leads to {there}"),
                        RouteTarget::Other(other) => format!("leads to {other}"),
                    },
                };
                let what = format!("the route to {route} {found}, expected {}", named(&holder));
                self.find(&check::ROUTE_AT_HOLDER, &route.table, what, vec![wake.clone()]);
            }
        }
        self.swapped(&holder, &wake);
        let Some(addresses) = self.case.world.addresses.known() else { return };
        for address in &record.lease.resources.addresses {
            let Some(seen) = addresses.get(&address.allocation) else { continue };
            let place = seen.association.as_ref().and_then(|(_, place)| place.as_ref());
            if place.is_some() && place == holder.placements.get(&address.allocation) {
                continue;
            }
            let found = place.map_or_else(|| "no interface".to_owned(), |at| at.interface.to_string());
            let what = format!("{} is at {found}, expected {}", address.public_ip, named(&holder));
            self.find(&check::ADDRESS_AT_HOLDER, &address.allocation, what, vec![wake.clone()]);
        }
    }

    /// The subnets whose table is swapped.
    fn swapped(&mut self, holder: &Member, wake: &Change) {
        let Some(seen) = self.case.world.subnets.known() else { return };
        for subnet in &self.case.record.lease.resources.subnets {
            let there = seen.subnets.get(&subnet.subnet).and_then(|facts| facts.table.as_ref());
            let Some(expected) = subnet.tables.get(&holder.node) else { continue };
            // That it has no table, or none of its own, is told by the examination.
            if there.is_none_or(|there| there == expected) {
                continue;
            }
            let found = there.map(ToString::to_string).unwrap_or_default();
            let what = format!("{} is associated with {found}, expected {expected}", subnet.subnet);
            self.find(&check::ROUTE_AT_HOLDER, &subnet.subnet, what, vec![wake.clone()]);
        }
    }

    /// What the arbiter was told when it asked EC2, by calls that are marked `DryRun` and by its own role.
    fn permitted(&mut self) {
        let record = &self.case.record;
        let rows = [Row::R16, Row::R17];
        let Some(probe) = self.need(&record.probe, "what the arbiter's probe found", &rows) else { return };
        let fresh = |probe: &&Probe| probe.is_about(&record.lease) && record.at.distance(probe.at) < STALE;
        let Some(probe) = probe.as_ref().filter(fresh) else {
            let why = "the arbiter has not asked within three hours, or not since the cluster was changed";
            self.notes.unread("whether the arbiter may do what a move needs", why, &rows);
            return;
        };
        for obstacle in &probe.obstacles {
            let check = if obstacle.resource.starts_with("eipalloc-") {
                &check::ADDRESSES_PERMITTED
            } else {
                &check::ROUTES_PERMITTED
            };
            let node = obstacle.node.as_ref().map(|node| format!(" to {node}")).unwrap_or_default();
            let what = format!("{} could not be moved{node}: {}", obstacle.resource, obstacle.why);
            self.find(check, &obstacle.resource, what, Vec::new());
        }
    }

    fn trails(&mut self) {
        let survey = &self.case.survey;
        let Some(trails) = self.need(&survey.trails, "the trails", &[Row::X5]) else { return };
        if trails.iter().any(|trail| trail.logging && trail.changes) {
            return;
        }
        let told: Vec<String> = trails
            .iter()
            .map(|trail| {
                let why = if trail.logging { "records no changes" } else { "is stopped" };
                format!("{} {why}", trail.name)
            })
            .collect();
        let told = if told.is_empty() { "there is none".to_owned() } else { told.join(", ") };
        let what = format!("no trail records who changes something in {}: {told}", self.case.record.region);
        self.find(&check::TRAIL, &self.case.record.region, what, Vec::new());
    }
}
