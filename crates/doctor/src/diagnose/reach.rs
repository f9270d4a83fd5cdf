//! The nodes' way to the table: routes and endpoints, and what security groups and network ACLs let out.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::lease::Member;

use super::{Room, named};
use crate::change::Change;
use crate::check;
use crate::finding::Severity;
use crate::row::Row;
use crate::survey::{AclDetail, AclEntry, EndpointDetail, GroupDetail, Rule, TableDetail};

/// Of HTTPS, by which everything at AWS is asked.
const HTTPS: i32 = 443;
/// The ports that Linux makes connections from, first and last (`net.ipv4.ip_local_port_range`); answers come to them.
const ANSWERS: (i32, i32) = (32_768, 60_999);
/// What a network ACL ought to let in for them, as AWS recommends (Amazon VPC, Ephemeral ports).
const EPHEMERAL: (i32, i32) = (1_024, 65_535);
/// The number of the entry `*`, which denies what no other one is about (Amazon VPC, Network ACL rules).
const LAST: i32 = 32_767;
const EVERYWHERE: &str = "0.0.0.0/0";

impl Room<'_> {
    pub(super) fn reach(&mut self) {
        self.ways();
        self.groups();
        self.acls();
    }

    /// The subnet that a node's own calls leave from.
    fn subnet_of(&self, member: &Member) -> Option<&str> {
        let interfaces = self.case.survey.interfaces.known()?;
        let instance = member.instance.instance_id();
        let own = interfaces
            .values()
            .find(|detail| detail.instance.as_ref() == Some(&instance) && detail.device_index == Some(0));
        own.or_else(|| interfaces.get(&member.interface))
            .map(|detail| detail.subnet.as_str())
            .filter(|subnet| !subnet.is_empty())
    }

    fn ways(&mut self) {
        let survey = &self.case.survey;
        let rows = [Row::R10, Row::B1];
        let tables = self.need(&survey.tables, "the route tables of the VPC", &rows);
        let endpoints = self.need(&survey.endpoints, "the endpoints of the VPC", &rows);
        let (Some(tables), Some(endpoints)) = (tables, endpoints) else { return };
        let (mut none, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
        for member in self.members() {
            let Some(table) = self.subnet_of(member).and_then(|subnet| table_of(subnet, tables)) else {
                continue;
            };
            if gateways(endpoints).any(|endpoint| endpoint.tables.contains(&table.id)) {
                continue;
            }
            match &table.default {
                Some(default) => elsewhere.insert(table.id.clone(), (named(member), default.clone())),
                // An endpoint with an interface needs no route.
                None if endpoints.iter().any(|endpoint| is_dynamodb(endpoint) && !endpoint.gateway) => None,
                None => none.insert(table.id.clone(), (named(member), String::new())),
            };
        }
        // One change leads all of these tables there.
        let lacking: Vec<String> = none.keys().chain(elsewhere.keys()).cloned().collect();
        let change = self.endpoint(endpoints, lacking);
        for (table, (node, _)) in none {
            let what =
                format!("{table}, by which {node} goes, leads neither to DynamoDB nor to the internet");
            self.find(&check::WAY_TO_TABLE, &table, what, change.clone().into_iter().collect());
        }
        for (table, (node, default)) in elsewhere {
            let what = format!("{table}, by which {node} goes, leads to DynamoDB by {default} only");
            self.find(&check::TABLE_ENDPOINT, &table, what, change.clone().into_iter().collect());
        }
    }

    fn endpoint(&self, endpoints: &[EndpointDetail], tables: Vec<String>) -> Option<Change> {
        if let Some(there) = gateways(endpoints).next() {
            return Some(Change::ExtendEndpoint { endpoint: there.id.clone(), tables });
        }
        let vpc = self.case.survey.vpc.known()?.id.clone();
        // The partitions name this service alike (`aws ec2 describe-vpc-endpoint-services`).
        let service = format!("com.amazonaws.{}.dynamodb", self.case.record.region);
        Some(Change::CreateEndpoint { vpc, service, tables })
    }

    fn groups(&mut self) {
        let survey = &self.case.survey;
        let (Some(groups), Some(interfaces)) =
            (self.need(&survey.groups, "the security groups", &[Row::R12]), survey.interfaces.known())
        else {
            return;
        };
        let mut told = BTreeSet::new();
        for member in self.members() {
            let Some(detail) = interfaces.get(&member.interface) else { continue };
            let of: Vec<_> = detail.groups.iter().filter_map(|id| Some((id, groups.get(id)?))).collect();
            let Some((first, _)) = of.first().filter(|(first, _)| told.insert(*first)) else { continue };
            let what = match lets_https_out(&of) {
                Out::Open => continue,
                Out::Narrow(peers) => {
                    format!("the security groups of {} let HTTPS out to {peers} only", named(member))
                }
                Out::Shut => format!("the security groups of {} let no HTTPS out", named(member)),
            };
            let severity =
                if what.ends_with("only") { Severity::Warning } else { check::PORT_443_GROUP.severity };
            let rule =
                Rule { protocol: "tcp".to_owned(), from: HTTPS, to: HTTPS, peer: EVERYWHERE.to_owned() };
            let change = Change::AuthorizeEgress { group: (*first).clone(), rule };
            self.find_as(&check::PORT_443_GROUP, severity, *first, what, vec![change]);
        }
    }

    fn acls(&mut self) {
        let survey = &self.case.survey;
        let Some(acls) = self.need(&survey.acls, "the network ACLs of the VPC", &[Row::R12]) else { return };
        let subnets: BTreeMap<String, String> = self
            .members()
            .iter()
            .filter_map(|member| Some((self.subnet_of(member)?.to_owned(), named(member))))
            .collect();
        let mut told = BTreeSet::new();
        for (subnet, node) in subnets {
            let Some(acl) = acls.iter().find(|acl| acl.subnets.contains(&subnet)) else { continue };
            if !told.insert(&acl.id) {
                continue;
            }
            self.acl(acl, &format!("the network ACL of {subnet} of {node}"));
        }
    }

    fn acl(&mut self, acl: &AclDetail, whose: &str) {
        let (mut changes, mut shut, mut narrow) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_drawn_narrow = false;
        for (egress, ports, needed, way) in [
            (true, (HTTPS, HTTPS), (HTTPS, HTTPS), "HTTPS out"),
            (false, ANSWERS, EPHEMERAL, "answers in, to ports 32768 to 60999"),
        ] {
            let ends = [ports.0, ports.1].map(|port| passes(acl, egress, port));
            let networks: BTreeSet<&str> = ends.iter().flat_map(Pass::networks).collect();
            is_drawn_narrow |= !networks.is_empty();
            if let Some(entry) = ends.iter().find_map(Pass::denial) {
                shut.push(way);
                changes.extend(free_number(acl, egress, entry).map(|number| Change::AllowInAcl {
                    acl: acl.id.clone(),
                    number,
                    egress,
                    ports: needed,
                }));
            } else if !networks.is_empty() {
                let networks: Vec<&str> = networks.into_iter().collect();
                narrow.push(format!("{way}, for {} only", networks.join(", ")));
            }
        }
        let narrow = narrow.join(", and ");
        if !shut.is_empty() {
            // What can only be mended by half is left to a person, and so is what somebody has drawn narrow: to open it wide is no
            // repair.
            let whole = changes.len() == shut.len() && !is_drawn_narrow;
            let changes = if whole { changes } else { Vec::new() };
            let also = if narrow.is_empty() { narrow } else { format!(", and lets {narrow}") };
            let what = format!("{whose} lets no {}{also}", shut.join(" and no "));
            self.find(&check::PORT_443_ACL, &acl.id, what, changes);
        } else if !narrow.is_empty() {
            let what = format!(
                "{whose} lets {narrow}; whether DynamoDB is among them is not known here, and heartbeats show whether the way is open"
            );
            self.find_as(&check::PORT_443_ACL, Severity::Unknown, &acl.id, what, Vec::new());
        }
    }
}

fn is_dynamodb(endpoint: &EndpointDetail) -> bool {
    endpoint.service.ends_with(".dynamodb") && endpoint.state.eq_ignore_ascii_case("available")
}

fn gateways(endpoints: &[EndpointDetail]) -> impl Iterator<Item = &EndpointDetail> {
    endpoints.iter().filter(|endpoint| endpoint.gateway && is_dynamodb(endpoint))
}

/// The table of a subnet: its own, else the main one.
fn table_of<'a>(subnet: &str, tables: &'a [TableDetail]) -> Option<&'a TableDetail> {
    let own = tables.iter().find(|table| table.subnets.contains(subnet));
    own.or_else(|| tables.iter().find(|table| table.main))
}

/// How HTTPS is let out.
enum Out {
    Open,
    /// To these only, of which nobody here knows whether DynamoDB is among them.
    Narrow(String),
    Shut,
}

fn lets_https_out(groups: &[(&String, &GroupDetail)]) -> Out {
    let fits = |rule: &&Rule| match rule.protocol.as_str() {
        "-1" => true,
        "tcp" | "6" => rule.from == -1 || (rule.from..=rule.to).contains(&HTTPS),
        _ => false,
    };
    let rules = groups.iter().flat_map(|(_, group)| &group.egress).filter(fits);
    let peers: BTreeSet<&str> = rules.map(|rule| rule.peer.as_str()).collect();
    // A prefix list is how a gateway endpoint is named in a group.
    if peers.iter().any(|peer| *peer == EVERYWHERE || peer.starts_with("pl-")) {
        return Out::Open;
    }
    if peers.is_empty() {
        return Out::Shut;
    }
    Out::Narrow(peers.into_iter().collect::<Vec<_>>().join(", "))
}

/// How a network ACL treats TCP at one port.
enum Pass<'a> {
    /// It lets it pass.
    Open,
    /// For these networks only, of which nobody here knows whether DynamoDB is among them.
    Narrow(Vec<&'a str>),
    /// The entry of this number denies it.
    Shut(i32),
}

impl<'a> Pass<'a> {
    fn denial(&self) -> Option<i32> {
        match self {
            Self::Shut(entry) => Some(*entry),
            Self::Open | Self::Narrow(_) => None,
        }
    }

    fn networks(&self) -> impl Iterator<Item = &'a str> {
        let networks = match self {
            Self::Narrow(networks) => networks.as_slice(),
            Self::Open | Self::Shut(_) => &[],
        };
        networks.iter().copied()
    }
}

/// How TCP at this port passes. Where everything is let pass, entries that deny it to a part of the internet are passed over:
/// whether DynamoDB is in that part is not known here.
fn passes(acl: &AclDetail, egress: bool, port: i32) -> Pass<'_> {
    let fits = |entry: &&AclEntry| {
        entry.egress == egress
            && matches!(entry.protocol.as_str(), "6" | "-1")
            && entry.ports.is_none_or(|(from, to)| (from..=to).contains(&port))
    };
    let fitting: Vec<&AclEntry> = acl.entries.iter().filter(fits).collect();
    let first = fitting.iter().filter(|entry| entry.network == EVERYWHERE).min_by_key(|entry| entry.number);
    // Where none fits there is nothing that allows, as by the entry that is always the last.
    let denial = match first {
        Some(entry) if entry.allow => return Pass::Open,
        Some(entry) => entry.number,
        None => LAST,
    };
    // What comes after the denial of everything has no effect.
    let allowed = fitting.iter().filter(|entry| entry.allow && entry.number < denial);
    let networks: Vec<&str> = allowed.map(|entry| entry.network.as_str()).collect();
    if networks.is_empty() { Pass::Shut(denial) } else { Pass::Narrow(networks) }
}

/// The largest number that nothing has and that is looked at before this one.
fn free_number(acl: &AclDetail, egress: bool, before: i32) -> Option<i32> {
    let taken: BTreeSet<i32> =
        acl.entries.iter().filter(|entry| entry.egress == egress).map(|entry| entry.number).collect();
    (1..before.min(LAST)).rev().find(|number| !taken.contains(number))
}
