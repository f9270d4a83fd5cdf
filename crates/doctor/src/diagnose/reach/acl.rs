//! What the network ACLs of the nodes' subnets let pass.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{EVERYWHERE, HTTPS, Way, interfaces};
use crate::change::Change;
use crate::check;
use crate::diagnose::named;
use crate::diagnose::notes::Finding;
use crate::finding::Severity;
use crate::row::Row;
use crate::survey::{AclDetail, AclEntry};

/// The ports that Linux makes connections from (`net.ipv4.ip_local_port_range`), unless it is told otherwise; answers come to them.
const ANSWERS: RangeInclusive<i32> = 32_768..=60_999;
/// What a network ACL ought to let in for them, as AWS recommends (Amazon VPC, Ephemeral ports).
const EPHEMERAL: (i32, i32) = (1_024, 65_535);
/// The number of the entry `*`, which denies what no other one is about (Amazon VPC, Network ACL rules).
const LAST: i32 = 32_767;
const EVERYWHERE_V6: &str = "::/0";

/// One direction, and what is needed of it.
struct Direction {
    egress: bool,
    /// First and last.
    ports: (i32, i32),
    /// What passes by it.
    what: &'static str,
}

const OUT: Direction = Direction { egress: true, ports: (HTTPS, HTTPS), what: "HTTPS out" };
const IN: Direction = Direction { egress: false, ports: EPHEMERAL, what: "answers in" };

/// How a network ACL treats TCP.
enum Pass {
    /// It lets pass what is needed.
    Open,
    /// It lets pass this part only, of which nobody here knows whether it is enough.
    Narrow(String),
    /// The entry of this number denies it.
    Shut(i32),
}

impl<'a> Way<'a, '_> {
    pub(super) fn acls(&mut self) {
        let survey = self.site.survey;
        let acls = self.notes.need(&survey.acls, "the network ACLs of the VPC", &[Row::R12]);
        let Some(acls) = acls else { return };
        let mut subnets: BTreeMap<&'a str, String> = BTreeMap::new();
        for member in self.site.members {
            if let Some(detail) = self.own_interface(member, &[Row::R12]) {
                subnets.insert(&detail.subnet, named(member));
            }
        }
        let mut told = BTreeSet::new();
        for (subnet, node) in subnets {
            let Some(acl) = acls.iter().find(|acl| acl.subnets.contains(subnet)) else {
                let why = format!("none is shown for {subnet} of {node}");
                self.notes.unread("the network ACLs of the nodes' subnets", &why, &[Row::R12]);
                continue;
            };
            if told.insert(&acl.id) {
                let owner = self.site.owner_of(subnet);
                self.acl(acl, &format!("the network ACL of {subnet} of {node}"), owner);
            }
        }
    }

    fn acl(&mut self, acl: &AclDetail, whose: &str, owner: Option<&str>) {
        let (mut changes, mut shut, mut narrow) = (Vec::new(), Vec::new(), Vec::new());
        for direction in [OUT, IN] {
            let Direction { egress, ports, what } = direction;
            match passes(acl, &direction) {
                Pass::Open => {}
                Pass::Narrow(part) => narrow.push(format!("{what}, for {part} only")),
                Pass::Shut(entry) => {
                    shut.push(what);
                    let number = free_number(acl, egress, entry);
                    let allow = |number| Change::AllowInAcl { acl: acl.id.clone(), number, egress, ports };
                    changes.extend(number.map(allow));
                }
            }
        }
        // What can only be mended by half is left to a person, and so is what somebody has drawn narrow: to open it wide is no repair.
        let is_whole = changes.len() == shut.len() && narrow.is_empty();
        let lets: Vec<String> = shut.into_iter().map(|what| format!("no {what}")).collect();
        let is_shut = !lets.is_empty();
        let lets: Vec<String> = lets.into_iter().chain(narrow).collect();
        if lets.is_empty() {
            return;
        }
        let lets = format!("{whose} lets {}", lets.join(", and "));
        let found = |what| Finding::of(&check::PORT_443_ACL, &acl.id, what).owned(owner);
        // Within a subnet no network ACL counts, and an endpoint may have an interface in that of the node.
        let endpoints = self.site.survey.endpoints.known().map_or(&[][..], Vec::as_slice);
        let inside = interfaces(endpoints).next().map(|endpoint| &endpoint.id);
        // Whether there is one has to be known for that.
        let is_outside = inside.is_none() && self.site.survey.endpoints.known().is_some();
        self.notes.tell(match (is_shut, inside) {
            (true, _) if is_outside => found(lets).mended(if is_whole { changes } else { Vec::new() }),
            (_, Some(endpoint)) => found(format!("{lets}; {endpoint} may be reached within the subnet"))
                .weighing(Severity::Unknown),
            _ => found(format!(
                "{lets}; whether DynamoDB is reached so is not known here, and heartbeats show whether the way is open"
            ))
            .weighing(Severity::Unknown),
        });
    }
}

/// How TCP of a direction passes. Where everything is let pass, entries that deny it to a part of the internet are passed over:
/// whether DynamoDB is in that part is not known here.
fn passes(acl: &AclDetail, direction: &Direction) -> Pass {
    let (mut networks, mut ports, mut denial) = (BTreeSet::new(), Vec::new(), LAST);
    let mut is_open = true;
    for stretch in stretches(acl, direction) {
        let (v4, v6) =
            (at(acl, direction.egress, stretch.0, false), at(acl, direction.egress, stretch.0, true));
        let is_needed = direction.egress || overlap(stretch);
        is_open &= v4.is_open || !is_needed;
        denial = denial.min(v4.denial);
        if v4.networks.is_empty() && v6.networks.is_empty() {
            continue;
        }
        ports.push(stretch);
        networks.extend(v4.networks);
        // What IPv4 has wide open says more than what IPv6 has.
        networks.extend(v6.networks.into_iter().filter(|_| !v4.is_open));
    }
    if is_open {
        return Pass::Open;
    }
    if ports.is_empty() {
        return Pass::Shut(denial);
    }
    let networks: Vec<&str> = networks.into_iter().collect();
    let all = ports.len() == stretches(acl, direction).len();
    let ports: Vec<String> = joined(ports).into_iter().map(|(from, to)| format!("{from}-{to}")).collect();
    let to = if all { String::new() } else { format!(" at ports {}", ports.join(", ")) };
    Pass::Narrow(format!("{}{to}", networks.join(", ")))
}

/// Whether answers come to a port of these.
fn overlap((from, to): (i32, i32)) -> bool {
    from <= *ANSWERS.end() && to >= *ANSWERS.start()
}

/// The ports of a direction, cut where an entry begins or ends: the ports of each part are treated alike.
fn stretches(acl: &AclDetail, direction: &Direction) -> Vec<(i32, i32)> {
    let (first, last) = direction.ports;
    let entries = acl.entries.iter().filter(|entry| entry.egress == direction.egress);
    let ends = entries.filter_map(|entry| entry.ports).flat_map(|(from, to)| [from, to.saturating_add(1)]);
    let answers = [*ANSWERS.start(), ANSWERS.end() + 1];
    let begins: BTreeSet<i32> =
        ends.chain(answers).filter(|port| (first + 1..=last).contains(port)).chain([first]).collect();
    let next = begins.iter().skip(1).map(|begin| begin - 1).chain([last]);
    begins.iter().copied().zip(next).collect()
}

/// Neighbours in one.
fn joined(stretches: Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    let mut all: Vec<(i32, i32)> = Vec::new();
    for (from, to) in stretches {
        match all.last_mut() {
            Some((_, end)) if *end + 1 == from => *end = to,
            _ => all.push((from, to)),
        }
    }
    all
}

/// How a port is treated by the entries of one family.
struct At<'a> {
    /// Whether everybody is let pass.
    is_open: bool,
    /// Who is let pass.
    networks: Vec<&'a str>,
    /// The number of the entry that denies the rest.
    denial: i32,
}

fn at(acl: &AclDetail, egress: bool, port: i32, v6: bool) -> At<'_> {
    let fits = |entry: &&AclEntry| {
        entry.egress == egress
            && entry.network.contains(':') == v6
            && matches!(entry.protocol.as_str(), "6" | "-1")
            && entry.ports.is_none_or(|(from, to)| (from..=to).contains(&port))
    };
    let everywhere = if v6 { EVERYWHERE_V6 } else { EVERYWHERE };
    let fitting: Vec<&AclEntry> = acl.entries.iter().filter(fits).collect();
    let first = fitting.iter().filter(|entry| entry.network == everywhere).min_by_key(|entry| entry.number);
    // Where none fits there is nothing that allows, as by the entry that is always the last.
    let denial = match first {
        Some(entry) if entry.allow => {
            return At { is_open: true, networks: vec![everywhere], denial: LAST };
        }
        Some(entry) => entry.number,
        None => LAST,
    };
    // What comes after the denial of everything has no effect.
    let allowed = fitting.iter().filter(|entry| entry.allow && entry.number < denial);
    At { is_open: false, networks: allowed.map(|entry| entry.network.as_str()).collect(), denial }
}

/// The largest number that nothing has and that is looked at before this one.
fn free_number(acl: &AclDetail, egress: bool, before: i32) -> Option<i32> {
    let taken: BTreeSet<i32> =
        acl.entries.iter().filter(|entry| entry.egress == egress).map(|entry| entry.number).collect();
    (1..before.min(LAST)).rev().find(|number| !taken.contains(number))
}
