//! What the nodes must be: there, running, reachable for one route, and not all in one zone.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::ec2::InstanceState;
use baton_protocol::ids::InstanceId;

use crate::finding::{Finding, Requirement, Severity};
use crate::place;
use crate::request::violation;
use crate::world::{InstanceFacts, WantedNode, World};

/// The tag by which the owner of a resource consents to its being moved. Its value is for people, unless nodes are named by a
/// tag: then an instance joins the clusters that it names.
pub const TAG: &str = baton_protocol::roster::CONSENT;

pub(crate) fn examine(world: &World, findings: &mut Vec<Finding>) {
    let Some(instances) = world.instances.known() else { return };
    let mut there = Vec::new();
    for node in &world.wanted.nodes {
        match instances.get(&node.instance) {
            Some(facts) if facts.state == InstanceState::Terminated => {
                findings.push(stays(world, node, terminated(node)));
            }
            Some(facts) if facts.state != InstanceState::NotFound => there.push((node, facts)),
            _ => findings.push(stays(world, node, missing(node))),
        }
    }
    for (node, facts) in &there {
        runs(world, node, facts, findings);
        tagged(world, node, facts, findings);
        let mut places = Vec::new();
        place::examine(world, node, facts, &mut places);
        findings.extend(places.into_iter().map(|finding| keeps_place(world, node, finding)));
    }
    one_vpc(&there, findings);
    two_zones(world, &there, findings);
}

/// Nobody named the members that a tag names, so nobody can take one out: that is the arbiter's to do.
fn stays(world: &World, node: &WantedNode, finding: Finding) -> Finding {
    if !world.kept.contains(&node.instance) {
        return finding;
    }
    let remedy = "nothing needs doing: it is retired when another node holds, or EC2 goes on not showing it";
    Finding { severity: Severity::Warning, remedy: remedy.to_owned(), ..finding }
}

/// A member that a tag names keeps the places that the lease has for it, and is no reason to refuse what is asked for.
fn keeps_place(world: &World, node: &WantedNode, finding: Finding) -> Finding {
    if !world.kept.contains(&node.instance) {
        return finding;
    }
    Finding { severity: Severity::Warning, ..finding }
}

fn missing(node: &WantedNode) -> Finding {
    violation(
        Requirement::InstanceExists,
        format!("{} ({}) does not exist in this account and region", node.instance, node.node),
        "a node that is not there can take nothing over",
        "correct the instance id; for an instance that was started just now, try again",
    )
}

fn terminated(node: &WantedNode) -> Finding {
    violation(
        Requirement::InstanceExists,
        format!("{} ({}) is terminated", node.instance, node.node),
        "a node that is gone can take nothing over",
        "name the instance that replaced it, or take the node out",
    )
}

/// A node that is a member already may be down while something else is changed: the cluster exists to outlive that.
fn runs(world: &World, node: &WantedNode, facts: &InstanceFacts, findings: &mut Vec<Finding>) {
    let InstanceState::Other(state) = &facts.state else { return };
    if state == "running" {
        return;
    }
    let member = world.members.contains(&node.instance);
    findings.push(Finding {
        id: Requirement::InstanceRuns,
        severity: if member { Severity::Warning } else { Severity::Violation },
        what: format!("{} ({}) is {state}, expected running", node.instance, node.node),
        why: "a node that does not run can take nothing over".to_owned(),
        remedy: "start the instance".to_owned(),
    });
}

/// The policy of the arbiter's role moves addresses to tagged instances only. A role of one's own may do without, and the
/// tags of addresses, interfaces and tables are not seen here, so this warns and refuses nothing.
fn tagged(world: &World, node: &WantedNode, facts: &InstanceFacts, findings: &mut Vec<Finding>) {
    if facts.tagged || world.wanted.addresses.is_empty() {
        return;
    }
    findings.push(Finding {
        id: Requirement::InstanceTagged,
        severity: Severity::Warning,
        what: format!("{} ({}) has no tag {TAG}", node.instance, node.node),
        why: "the arbiter's role may move an Elastic IP to a tagged instance only".to_owned(),
        remedy: format!("tag the instance, its interfaces, the Elastic IPs and the route tables with {TAG}"),
    });
}

fn one_vpc(there: &[(&WantedNode, &InstanceFacts)], findings: &mut Vec<Finding>) {
    let mut by_vpc: BTreeMap<&str, Vec<&InstanceId>> = BTreeMap::new();
    for (node, facts) in there {
        by_vpc.entry(&facts.vpc).or_default().push(&node.instance);
    }
    if by_vpc.len() < 2 && !by_vpc.contains_key("") {
        return;
    }
    let places: Vec<_> = by_vpc
        .iter()
        .map(|(vpc, instances)| {
            let instances: Vec<_> = instances.iter().map(ToString::to_string).collect();
            let vpc = if vpc.is_empty() { "no VPC" } else { vpc };
            format!("{} in {vpc}", instances.join(", "))
        })
        .collect();
    findings.push(violation(
        Requirement::OneVpc,
        format!("the nodes are not in one VPC: {}", places.join("; ")),
        "a route leads to an interface of its own VPC only",
        "choose instances of one VPC",
    ));
}

/// Judged only when every node was found, since the one that is missing might be in the other zone.
fn two_zones(world: &World, there: &[(&WantedNode, &InstanceFacts)], findings: &mut Vec<Finding>) {
    let different: BTreeSet<_> = there.iter().map(|(node, _)| &node.instance).collect();
    if different.len() < 2 || there.len() < world.wanted.nodes.len() {
        return;
    }
    let zones: BTreeSet<_> = there.iter().map(|(_, facts)| facts.zone.as_str()).collect();
    if let Some(zone) = zones.first().filter(|_| zones.len() == 1) {
        findings.push(Finding {
            severity: if world.wanted.by_tag { Severity::Warning } else { Severity::Violation },
            ..violation(
                Requirement::TwoZones,
                format!("all nodes are in the Availability Zone {zone}"),
                "the loss of that zone would be the loss of the service",
                "place a node in another Availability Zone",
            )
        });
        return;
    }
    let crowded =
        zones.iter().find(|zone| there.iter().filter(|(_, facts)| facts.zone == **zone).count() > 1);
    if let Some(zone) = crowded {
        findings.push(Finding {
            id: Requirement::TwoZones,
            severity: Severity::Info,
            what: format!("several nodes are in the Availability Zone {zone}"),
            why: "the loss of that zone takes all of them".to_owned(),
            remedy: "nothing needs doing: another zone has a node as well".to_owned(),
        });
    }
}
