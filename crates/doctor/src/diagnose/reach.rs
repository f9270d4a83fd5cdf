//! The nodes' way to the table: routes and endpoints, and what security groups and network ACLs let out.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::lease::Member;

use super::named;
use super::notes::{Finding, Notes};
use crate::change::Change;
use crate::check;
use crate::finding::Severity;
use crate::policy::{Ruling, TABLE_ACTIONS};
use crate::row::Row;
use crate::site::Site;
use crate::survey::{AclDetail, AclEntry, EndpointDetail, GroupDetail, Rule, TableDetail};
use crate::world::Seen;

/// Of HTTPS, by which everything at AWS is asked.
const HTTPS: i32 = 443;
/// The ports that Linux makes connections from, first and last (`net.ipv4.ip_local_port_range`); answers come to them.
const ANSWERS: (i32, i32) = (32_768, 60_999);
/// What a network ACL ought to let in for them, as AWS recommends (Amazon VPC, Ephemeral ports).
const EPHEMERAL: (i32, i32) = (1_024, 65_535);
/// The number of the entry `*`, which denies what no other one is about (Amazon VPC, Network ACL rules).
const LAST: i32 = 32_767;
const EVERYWHERE: &str = "0.0.0.0/0";

/// Looks at the way of each node.
pub(super) fn examine(site: &Site<'_>, notes: &mut Notes) {
    let mut way = Way { site: *site, notes };
    way.ways();
    way.groups();
    way.acls();
}

struct Way<'a, 'n> {
    site: Site<'a>,
    notes: &'n mut Notes,
}

impl<'a> Way<'a, '_> {
    fn ways(&mut self) {
        let survey = self.site.survey;
        let rows = [Row::R10, Row::B1];
        let tables = self.notes.need(&survey.tables, "the route tables of the VPC", &rows);
        let endpoints = self.notes.need(&survey.endpoints, "the endpoints of the VPC", &rows);
        let (Some(tables), Some(endpoints)) = (tables, endpoints) else { return };
        let (mut lacking, mut used, mut unseen) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for member in self.site.members {
            let Some(subnet) = self.site.subnet_of(member) else { continue };
            let Some(table) = table_of(subnet, tables) else { continue };
            let owner = self.site.owner_of(subnet);
            let mut led =
                gateways(endpoints).filter(|endpoint| endpoint.tables.contains(&table.id)).peekable();
            if led.peek().is_some() {
                used.extend(led.map(|endpoint| (&endpoint.id, (endpoint, named(member), owner))));
            } else if let Some(list) = self.unshown(table, owner) {
                unseen.insert(&table.id, (list, owner));
            } else {
                let bare = Bare { node: named(member), default: table.default.as_deref(), owner };
                lacking.insert(&table.id, bare);
            }
        }
        // An endpoint with an interface needs no route, and is the way of whoever has no other.
        let interfaces = || endpoints.iter().filter(|endpoint| is_dynamodb(endpoint) && !endpoint.gateway);
        for bare in lacking.values().filter(|bare| bare.default.is_none()) {
            used.extend(
                interfaces().map(|endpoint| (&endpoint.id, (endpoint, bare.node.clone(), bare.owner))),
            );
        }
        if interfaces().next().is_some() {
            lacking.retain(|_, bare| bare.default.is_some());
        }
        self.lacking(endpoints, &lacking);
        for (table, (list, owner)) in unseen {
            self.unseen(table, list, owner);
        }
        for (endpoint, node, owner) in used.into_values() {
            self.policy(endpoint, &node, owner);
        }
    }

    /// The prefix list of DynamoDB, if a table leads it to an endpoint of the account that owns the VPC, which is not shown here.
    /// Those of the account itself are.
    fn unshown(&self, table: &TableDetail, owner: Option<&str>) -> Option<&'a str> {
        self.list().filter(|list| owner.is_some() && table.lists.contains(*list))
    }

    /// The prefix list of DynamoDB.
    fn list(&self) -> Option<&'a str> {
        self.site.survey.table_list.known()?.as_deref()
    }

    /// Tables that lead to no endpoint.
    fn lacking(&mut self, endpoints: &[EndpointDetail], tables: &BTreeMap<&String, Bare<'a>>) {
        // One change leads all of these tables there.
        let change = self.endpoint(endpoints, tables.keys().map(|table| (*table).clone()).collect());
        for (table, Bare { node, default, owner }) in tables {
            let found = match default {
                Some(default) => {
                    let what = format!("{table}, by which {node} goes, leads to DynamoDB by {default} only");
                    Finding::of(&check::TABLE_ENDPOINT, table, what)
                }
                // An endpoint with an interface that is of the VPC's owner may not be shown.
                None if owner.is_some() => {
                    let what = format!(
                        "{table}, by which {node} goes, leads neither to DynamoDB nor to the internet; an endpoint of the VPC's owner may not be shown here"
                    );
                    Finding::of(&check::WAY_TO_TABLE, table, what).weighing(Severity::Unknown)
                }
                None => {
                    let what = format!(
                        "{table}, by which {node} goes, leads neither to DynamoDB nor to the internet"
                    );
                    Finding::of(&check::WAY_TO_TABLE, table, what)
                }
            };
            self.notes.tell(found.mended(change.clone().into_iter().collect()).owned(*owner));
        }
    }

    fn endpoint(&self, endpoints: &[EndpointDetail], tables: Vec<String>) -> Option<Change> {
        if let Some(there) = gateways(endpoints).next() {
            return Some(Change::ExtendEndpoint { endpoint: there.id.clone(), tables });
        }
        let vpc = self.site.survey.vpc.known()?.id.clone();
        Some(Change::CreateEndpoint { vpc, service: service(self.site.region), tables })
    }

    /// An endpoint that only routes show, since another account has made it.
    fn unseen(&mut self, table: &str, list: &str, owner: Option<&str>) {
        let what = format!(
            "{table} leads {list} to an endpoint that is not shown here: what its policy lets through is its owner's to see to"
        );
        self.notes
            .tell(Finding::of(&check::ENDPOINT_POLICY, table, what).weighing(Severity::Info).owned(owner));
    }

    /// Whether the policy of an endpoint lets through what the node's agent asks of the table.
    fn policy(&mut self, endpoint: &EndpointDetail, node: &str, owner: Option<&str>) {
        let id = &endpoint.id;
        let unknown = |why: String| {
            let what = format!("{why}; heartbeats show whether the way is open");
            Finding::of(&check::ENDPOINT_POLICY, id, what).weighing(Severity::Unknown).owned(owner)
        };
        let unread = match &endpoint.policy {
            Seen::Known(_) => "",
            Seen::Unknown(why) => why,
            Seen::Unasked => "nobody asked for it",
        };
        let Some(policy) = endpoint.policy.known() else {
            let why = format!("the policy of {id}, by which {node} goes, is not judged: {unread}");
            return self.notes.tell(unknown(why));
        };
        let Some(table) = self.site.table_arn() else { return };
        let of = |wanted: Ruling| -> Vec<&str> {
            TABLE_ACTIONS.into_iter().filter(|action| policy.ruling(action, &table) == wanted).collect()
        };
        let (denied, unclear) = (of(Ruling::Denied), of(Ruling::Unknown));
        if !denied.is_empty() {
            let denied = denied.join(", ");
            let what = format!("the policy of {id}, by which {node} goes, denies {denied} on {table}");
            self.notes.tell(Finding::of(&check::ENDPOINT_POLICY, id, what).owned(owner));
        } else if !unclear.is_empty() {
            let unclear = unclear.join(", ");
            let why = format!(
                "whether the policy of {id}, by which {node} goes, lets {unclear} through on {table} depends on its conditions and principals"
            );
            self.notes.tell(unknown(why));
        }
    }

    fn groups(&mut self) {
        let survey = self.site.survey;
        let (Some(groups), Some(interfaces)) =
            (self.notes.need(&survey.groups, "the security groups", &[Row::R12]), survey.interfaces.known())
        else {
            return;
        };
        let mut told = BTreeSet::new();
        for member in self.site.members {
            let Some(detail) = interfaces.get(&member.interface) else { continue };
            let of: Vec<_> = detail.groups.iter().filter_map(|id| Some((id, groups.get(id)?))).collect();
            let Some((first, _)) = of.first().filter(|(first, _)| told.insert(*first)) else { continue };
            let check = &check::PORT_443_GROUP;
            let (what, severity) = match lets_https_out(&of, &self.endpoint_groups()) {
                Out::Open => continue,
                Out::Narrow(peers) => {
                    let what =
                        format!("the security groups of {} let HTTPS out to {peers} only", named(member));
                    (what, Severity::Warning)
                }
                Out::Shut => {
                    (format!("the security groups of {} let no HTTPS out", named(member)), check.severity)
                }
            };
            let changes = self.peer(member).map(|peer| Change::AuthorizeEgress {
                group: (*first).clone(),
                rule: Rule { protocol: "tcp".to_owned(), from: HTTPS, to: HTTPS, peer },
            });
            let changes = changes.into_iter().collect();
            self.notes.tell(Finding::of(check, *first, what).weighing(severity).mended(changes));
        }
    }

    /// The security groups of the endpoints with an interface that DynamoDB is reached by.
    fn endpoint_groups(&self) -> BTreeSet<&'a str> {
        let endpoints = self.site.survey.endpoints.known().into_iter().flatten();
        let of = endpoints.filter(|endpoint| is_dynamodb(endpoint)).flat_map(|endpoint| &endpoint.groups);
        of.map(String::as_str).collect()
    }

    /// To whom HTTPS ought to be let out, as narrow as the way to the table is. None where that has a name that is not known.
    fn peer(&self, member: &Member) -> Option<String> {
        let survey = self.site.survey;
        let endpoints = survey.endpoints.known().map_or(&[][..], Vec::as_slice);
        let subnet = self.site.subnet_of(member);
        let table = subnet.zip(survey.tables.known()).and_then(|(subnet, tables)| table_of(subnet, tables));
        let owner = subnet.and_then(|subnet| self.site.owner_of(subnet));
        let is_led = table.is_some_and(|table| {
            gateways(endpoints).any(|endpoint| endpoint.tables.contains(&table.id))
                || self.unshown(table, owner).is_some()
        });
        if is_led {
            return self.list().map(str::to_owned);
        }
        let group = self.endpoint_groups().first().map(|group| (*group).to_owned());
        Some(group.unwrap_or_else(|| EVERYWHERE.to_owned()))
    }

    fn acls(&mut self) {
        let survey = self.site.survey;
        let acls = self.notes.need(&survey.acls, "the network ACLs of the VPC", &[Row::R12]);
        let Some(acls) = acls else { return };
        let members = self.site.members.iter();
        let subnets: BTreeMap<&str, String> =
            members.filter_map(|member| Some((self.site.subnet_of(member)?, named(member)))).collect();
        let mut told = BTreeSet::new();
        for (subnet, node) in subnets {
            let Some(acl) = acls.iter().find(|acl| acl.subnets.contains(subnet)) else { continue };
            if !told.insert(&acl.id) {
                continue;
            }
            let owner = self.site.owner_of(subnet);
            self.acl(acl, &format!("the network ACL of {subnet} of {node}"), owner);
        }
    }

    fn acl(&mut self, acl: &AclDetail, whose: &str, owner: Option<&str>) {
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
            self.notes.tell(Finding::of(&check::PORT_443_ACL, &acl.id, what).mended(changes).owned(owner));
        } else if !narrow.is_empty() {
            let what = format!(
                "{whose} lets {narrow}; whether DynamoDB is among them is not known here, and heartbeats show whether the way is open"
            );
            let found = Finding::of(&check::PORT_443_ACL, &acl.id, what).weighing(Severity::Unknown);
            self.notes.tell(found.owned(owner));
        }
    }
}

/// A table that leads to no endpoint.
struct Bare<'a> {
    node: String,
    default: Option<&'a str>,
    /// The account that owns the VPC, if it is another one.
    owner: Option<&'a str>,
}

/// DynamoDB as endpoints and prefix lists name it; the partitions do so alike (`aws ec2 describe-vpc-endpoint-services`).
pub fn service(region: &str) -> String {
    format!("com.amazonaws.{region}.dynamodb")
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

fn lets_https_out(groups: &[(&String, &GroupDetail)], endpoints: &BTreeSet<&str>) -> Out {
    let fits = |rule: &&Rule| match rule.protocol.as_str() {
        "-1" => true,
        "tcp" | "6" => rule.from == -1 || (rule.from..=rule.to).contains(&HTTPS),
        _ => false,
    };
    let rules = groups.iter().flat_map(|(_, group)| &group.egress).filter(fits);
    let peers: BTreeSet<&str> = rules.map(|rule| rule.peer.as_str()).collect();
    // A prefix list is how a gateway endpoint is named in a group, and its own group is how one with an interface is.
    let reaches = |peer: &str| peer == EVERYWHERE || peer.starts_with("pl-") || endpoints.contains(peer);
    if peers.iter().any(|peer| reaches(peer)) {
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
