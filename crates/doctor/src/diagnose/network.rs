//! The network that the nodes are in: VPC, subnets, route tables, interfaces, and what security groups let in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use baton_protocol::ids::InterfaceId;
use baton_protocol::lease::Member;

use super::notes::Finding;
use super::{Room, named};
use crate::change::Change;
use crate::check;
use crate::row::Row;
use crate::survey::{InterfaceDetail, Rule, SubnetDetail, TableDetail, VpcDetail};

/// The most that EC2 takes as a device index here; it refuses what the type of the instance does not have.
const LARGEST_INDEX: i32 = 15;

impl<'a> Room<'a> {
    pub(super) fn network(&mut self) {
        let survey = &self.case.survey;
        let vpc = self.need(&survey.vpc, "the VPC", &[Row::R1, Row::R2]);
        if let Some(vpc) = vpc.filter(|vpc| vpc.state != "available") {
            let what = format!("{} is {}, expected available", vpc.id, vpc.state);
            self.find(&check::VPC_AVAILABLE, &vpc.id, what, Vec::new());
        }
        let subnets = self.need(&survey.subnets, "the subnets of the VPC", &[Row::R2]);
        if let (Some(vpc), Some(subnets)) = (vpc, subnets) {
            self.zones(vpc, subnets);
        }
        let rows = [Row::R3, Row::R7, Row::R8, Row::R10, Row::R12, Row::X6, Row::B1, Row::B2];
        let Some(interfaces) = self.need(&survey.interfaces, "the interfaces of the nodes", &rows) else {
            return;
        };
        self.attached(interfaces);
        self.forwarding(interfaces);
        if self.tables_are_anothers() {
            self.owners(&check::SUBNET_TABLE, "whether each subnet has a route table of its own");
        } else if let Some(tables) = self.need(&survey.tables, "the route tables of the VPC", &[Row::R3]) {
            self.associated(interfaces, tables);
        }
        self.parity();
    }

    fn zones(&mut self, vpc: &'a VpcDetail, subnets: &[SubnetDetail]) {
        let there: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
        if there.len() >= 2 {
            return;
        }
        let zones = self.case.survey.zones.known().map_or(&[][..], Vec::as_slice);
        let zone = zones.iter().find(|zone| !there.contains(zone.as_str()));
        let change = zone.zip(free_network(vpc, subnets)).map(|(zone, network)| Change::CreateSubnet {
            vpc: vpc.id.clone(),
            zone: zone.clone(),
            network,
        });
        let there: Vec<&str> = there.into_iter().collect();
        let found = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let what = format!("the subnets of {} are in one Availability Zone: {found}", vpc.id);
        let owner = self.case.site().another(&vpc.owner);
        let changes = change.into_iter().collect();
        self.notes.tell(Finding::of(&check::SUBNET_ZONES, &vpc.id, what).mended(changes).owned(owner));
    }

    /// Whether each interface that something leads to is at its node.
    fn attached(&mut self, interfaces: &BTreeMap<InterfaceId, InterfaceDetail>) {
        for member in self.members() {
            for id in leads_to(member) {
                let instance = member.instance.instance_id();
                let (told, change) = match interfaces.get(id) {
                    Some(detail) if detail.instance.as_ref() == Some(&instance) => continue,
                    None => ("does not exist".to_owned(), None),
                    Some(InterfaceDetail { instance: Some(other), .. }) => {
                        (format!("is attached to {other}"), None)
                    }
                    Some(_) => {
                        let index = free_index(interfaces, member);
                        let change = index.map(|index| Change::AttachInterface {
                            interface: id.clone(),
                            instance: instance.clone(),
                            index,
                        });
                        ("is attached to no instance".to_owned(), change)
                    }
                };
                let what = format!("{id} {told}, expected {}", named(member));
                self.find(&check::INTERFACE_ATTACHED, id, what, change.into_iter().collect());
            }
        }
    }

    /// Routes lead to the holder's interface only, and the arbiter turns the check off before it leads one to another.
    fn forwarding(&mut self, interfaces: &BTreeMap<InterfaceId, InterfaceDetail>) {
        let lease = &self.case.record.lease;
        if !lease.resources.needs_forwarding() {
            return;
        }
        let holder = lease.holder.as_ref().and_then(|holder| lease.member(holder));
        if let Some(member) = holder {
            let on = interfaces.get(&member.interface).is_some_and(|detail| detail.source_dest_check);
            if on {
                let id = &member.interface;
                let what = format!("the source/destination check of {id} of {} is on", named(member));
                self.find(
                    &check::SOURCE_DEST_CHECK,
                    id,
                    what,
                    vec![Change::DisableSourceDestCheck(id.clone())],
                );
            }
        }
    }

    fn associated(&mut self, interfaces: &BTreeMap<InterfaceId, InterfaceDetail>, tables: &[TableDetail]) {
        let subnets: BTreeSet<&str> =
            interfaces.values().map(|detail| detail.subnet.as_str()).filter(|id| !id.is_empty()).collect();
        for subnet in subnets {
            if tables.iter().any(|table| table.subnets.contains(subnet)) {
                continue;
            }
            let main = tables.iter().find(|table| table.main);
            let change =
                main.map(|main| Change::AssociateTable { subnet: subnet.to_owned(), table: main.id.clone() });
            let what = format!("{subnet} has no route table of its own and follows the main one");
            let owner = self.case.site().owner_of(subnet);
            let changes = change.into_iter().collect();
            self.notes.tell(Finding::of(&check::SUBNET_TABLE, subnet, what).mended(changes).owned(owner));
        }
    }

    /// What one node lets in and another does not.
    fn parity(&mut self) {
        let survey = &self.case.survey;
        let Some(groups) = self.need(&survey.groups, "the security groups", &[Row::X6, Row::R12]) else {
            return;
        };
        let of = |member: &'a Member| -> Option<(&'a Member, &'a String, BTreeSet<&'a Rule>)> {
            let detail = survey.interfaces.known()?.get(&member.interface)?;
            let rules = detail.groups.iter().filter_map(|id| groups.get(id)).flat_map(|group| &group.ingress);
            Some((member, detail.groups.first()?, rules.collect()))
        };
        let nodes: Vec<_> = self.members().iter().filter_map(of).collect();
        let all: BTreeSet<&Rule> = nodes.iter().flat_map(|(_, _, rules)| rules.iter().copied()).collect();
        for (member, group, rules) in &nodes {
            let missing: Vec<&Rule> = all.iter().filter(|rule| !rules.contains(*rule)).copied().collect();
            if missing.is_empty() {
                continue;
            }
            let told: Vec<String> = missing.iter().map(|rule| told(rule)).collect();
            let what =
                format!("{} does not let in what another node does: {}", named(member), told.join(", "));
            let changes = missing
                .iter()
                .map(|rule| Change::AuthorizeIngress { group: (*group).clone(), rule: (*rule).clone() });
            let changes = changes.collect();
            self.find(&check::GROUP_PARITY, *group, what, changes);
        }
    }
}

/// Every interface of a node that something leads to, each once.
pub(super) fn leads_to(member: &Member) -> BTreeSet<&InterfaceId> {
    let seats = member.placements.values().map(|place| &place.interface);
    seats.chain([&member.interface]).collect()
}

fn told(rule: &Rule) -> String {
    let ports = match (rule.protocol.as_str(), rule.from, rule.to) {
        ("-1", ..) => return format!("everything from {}", rule.peer),
        (_, -1, _) => String::new(),
        (_, from, to) if from == to => format!(" {from}"),
        (_, from, to) => format!(" {from}-{to}"),
    };
    format!("{}{ports} from {}", rule.protocol, rule.peer)
}

fn free_index(interfaces: &BTreeMap<InterfaceId, InterfaceDetail>, member: &Member) -> Option<i32> {
    let instance = member.instance.instance_id();
    let taken: BTreeSet<i32> = interfaces
        .values()
        .filter(|detail| detail.instance.as_ref() == Some(&instance))
        .filter_map(|detail| detail.device_index)
        .collect();
    (1..=LARGEST_INDEX).find(|index| !taken.contains(index))
}

/// A network of the VPC that no subnet has, as large as the smallest of its subnets.
fn free_network(vpc: &VpcDetail, subnets: &[SubnetDetail]) -> Option<String> {
    let (first, length) = parsed(&vpc.network)?;
    let taken: Vec<(u32, u8)> =
        subnets.iter().map(|subnet| parsed(&subnet.network)).collect::<Option<_>>()?;
    // EC2 takes subnets from /16 to /28.
    let size = taken.iter().map(|(_, length)| *length).max().unwrap_or(24).clamp(length.max(16), 28);
    let step = 1u64 << (32 - size);
    let end = u64::from(first) + (1u64 << (32 - length));
    let mut start = u64::from(first);
    while start + step <= end {
        let here = (u32::try_from(start).ok()?, size);
        if taken.iter().all(|other| !share(here, *other)) {
            return Some(format!("{}/{size}", Ipv4Addr::from(here.0)));
        }
        start += step;
    }
    None
}

fn parsed(network: &str) -> Option<(u32, u8)> {
    let (address, length) = network.split_once('/')?;
    let length: u8 = length.parse().ok().filter(|length| (1..=32).contains(length))?;
    Some((address.parse::<Ipv4Addr>().ok()?.into(), length))
}

fn share(one: (u32, u8), other: (u32, u8)) -> bool {
    let bits = 32 - u32::from(one.1.min(other.1));
    one.0 >> bits == other.0 >> bits
}
