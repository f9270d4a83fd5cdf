//! What a request must say, whatever the world looks like.

use std::collections::BTreeSet;

use crate::finding::{Finding, Requirement, Severity};
use crate::world::Wanted;

/// The most nodes of a cluster.
pub const MOST_NODES: usize = baton_protocol::roster::LARGEST as usize;
/// The most Elastic IPs of a cluster.
pub const MOST_ADDRESSES: usize = 50;
/// The most subnets of a cluster whose route table is swapped.
pub const MOST_SUBNETS: usize = 50;
pub use baton_protocol::tables::{MOST_ROUTES, MOST_TABLES};

pub(crate) fn examine(wanted: &Wanted, findings: &mut Vec<Finding>) {
    if wanted.nodes.len() < 2 {
        let found = count(wanted.nodes.len(), "node");
        findings.push(Finding {
            severity: if wanted.by_tag { Severity::Warning } else { Severity::Violation },
            ..violation(
                Requirement::TwoNodes,
                format!("{} has {found}, expected at least 2 nodes", wanted.cluster),
                "there is nobody to take over",
                "add a node in another Availability Zone",
            )
        });
    }
    let no_routes = wanted.routes.is_empty() && wanted.choices.tables.is_empty();
    if wanted.addresses.is_empty() && no_routes && wanted.subnets.is_empty() {
        findings.push(violation(
            Requirement::SomethingToMove,
            format!("{} has neither an Elastic IP nor a route, nor a subnet's route tables", wanted.cluster),
            "there is nothing to keep in service",
            "add an allocation id to Addresses, a destination to Routes or a subnet to SubnetTables",
        ));
    }
    bounds(wanted, findings);
    let twice = |what: &str, id: &dyn std::fmt::Display, requirement| {
        violation(
            requirement,
            format!("{what} {id} is named twice"),
            "each entry stands for a thing of its own",
            "name it once",
        )
    };
    for node in repeated(wanted.nodes.iter().map(|node| &node.node)) {
        findings.push(twice("the node", node, Requirement::NodesDiffer));
    }
    for instance in repeated(wanted.nodes.iter().map(|node| &node.instance)) {
        findings.push(twice("the instance", instance, Requirement::NodesDiffer));
    }
    for allocation in repeated(wanted.addresses.iter()) {
        findings.push(twice("the Elastic IP", allocation, Requirement::ResourcesDiffer));
    }
    for subnet in repeated(wanted.subnets.iter().map(|swapped| &swapped.subnet)) {
        findings.push(twice("the subnet", subnet, Requirement::ResourcesDiffer));
    }
    for route in repeated(wanted.routes.iter()) {
        findings.push(twice("the route", route, Requirement::ResourcesDiffer));
    }
}

fn bounds(wanted: &Wanted, findings: &mut Vec<Finding>) {
    let tables: BTreeSet<_> = wanted.routes.iter().map(|route| &route.table).collect();
    for (found, most, what) in [
        (wanted.nodes.len(), MOST_NODES, "nodes"),
        (wanted.addresses.len(), MOST_ADDRESSES, "Elastic IPs"),
        (tables.len(), MOST_TABLES, "route tables"),
        (wanted.routes.len(), MOST_ROUTES, "routes"),
        (wanted.subnets.len(), MOST_SUBNETS, "subnets"),
    ] {
        if found > most {
            findings.push(violation(
                Requirement::Bounds,
                format!("{} has {found} {what}, expected at most {most}", wanted.cluster),
                "one invocation must be able to move everything",
                "split it into several clusters",
            ));
        }
    }
}

/// What comes more than once, each once.
fn repeated<'a, T: Ord>(all: impl Iterator<Item = &'a T>) -> BTreeSet<&'a T> {
    let mut seen = BTreeSet::new();
    all.filter(|item| !seen.insert(*item)).collect()
}

pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}"),
        1 => format!("one {what}"),
        _ => format!("{number} {what}s"),
    }
}

pub(crate) fn violation(id: Requirement, what: String, why: &str, remedy: impl Into<String>) -> Finding {
    Finding { id, severity: Severity::Violation, what, why: why.to_owned(), remedy: remedy.into() }
}
