//! What subnets whose route table is swapped must be, and the tables that are prepared for them (ADR 0031).

use std::collections::BTreeSet;

use baton_protocol::ec2::RouteTarget;
use baton_protocol::ids::{NodeName, RouteTableId};
use baton_protocol::resource::SubnetTables;

use crate::TAG;
use crate::finding::{Finding, Requirement};
use crate::place;
use crate::request::violation;
use crate::role;
use crate::world::{InstanceFacts, Subnets, TableFacts, World};

pub(crate) fn examine(world: &World, findings: &mut Vec<Finding>) {
    turned(world, findings);
    let Some(seen) = world.subnets.known() else { return };
    for swapped in &world.wanted.subnets {
        findings.extend(subnet(world, swapped, seen));
    }
    // A table may serve several subnets.
    let all: BTreeSet<_> = world.wanted.subnets.iter().flat_map(|swapped| &swapped.tables).collect();
    for (node, table) in all {
        findings.extend(prepared(world, node, table, seen.tables.get(table)));
    }
}

/// A route that is turned to each holder would not stay where the table says.
fn turned(world: &World, findings: &mut Vec<Finding>) {
    let routed: BTreeSet<&RouteTableId> = world.wanted.routes.iter().map(|route| &route.table).collect();
    let prepared: BTreeSet<&RouteTableId> =
        world.wanted.subnets.iter().flat_map(|swapped| swapped.tables.values()).collect();
    for table in routed.intersection(&prepared) {
        findings.push(violation(
            Requirement::TablePrepared,
            format!("the route table {table} is named in Routes and in SubnetTables"),
            "a prepared table leads to one node for ever, and a route of Routes is turned to each holder",
            "name it in one of them",
        ));
    }
}

fn facts<'a>(world: &'a World, node: &NodeName) -> Option<&'a InstanceFacts> {
    let wanted = world.wanted.nodes.iter().find(|wanted| wanted.node == *node)?;
    world.instances.known()?.get(&wanted.instance)
}

/// The VPC of the nodes, where they are of one.
fn vpc(world: &World) -> Option<&str> {
    let mut all = world.wanted.nodes.iter().filter_map(|node| facts(world, &node.node));
    all.next().map(|facts| facts.vpc.as_str()).filter(|vpc| !vpc.is_empty())
}

fn subnet(world: &World, swapped: &SubnetTables, seen: &Subnets) -> Vec<Finding> {
    let id = &swapped.subnet;
    let wrong =
        |what: String, why: &str, remedy: String| violation(Requirement::SubnetReady, what, why, remedy);
    let Some(facts) = seen.subnets.get(id) else {
        return vec![wrong(
            format!("the subnet {id} does not exist in {}", role::place(world.wanted.access.as_ref())),
            "its route table cannot be swapped",
            "correct the subnet id, or take it out".to_owned(),
        )];
    };
    let mut findings = Vec::new();
    if vpc(world).is_some_and(|vpc| vpc != facts.vpc) {
        findings.push(wrong(
            format!("the subnet {id} is in {}, not in the VPC of the nodes", facts.vpc),
            "a route leads to an interface of its own VPC only",
            "name a subnet of the nodes' VPC".to_owned(),
        ));
    }
    if !facts.tagged {
        findings.push(wrong(
            format!("the subnet {id} has no tag `{TAG}`"),
            "the arbiter may swap the route table of tagged subnets only",
            format!("tag it with `{TAG}` and the name of the cluster"),
        ));
    }
    match &facts.table {
        None => findings.push(wrong(
            format!("the subnet {id} has no route table of its own"),
            "it follows the main table of its VPC, and there is no association to replace",
            "associate it with one of its prepared tables (`aws ec2 associate-route-table`)".to_owned(),
        )),
        Some(table) if !swapped.tables.values().any(|prepared| prepared == table) => findings.push(wrong(
            format!("the subnet {id} is associated with {table}, which is none of its prepared tables"),
            "a table that is not the cluster's is never replaced",
            "associate it with one of its prepared tables (`aws ec2 replace-route-table-association`)"
                .to_owned(),
        )),
        Some(_) => {}
    }
    findings
}

fn prepared(world: &World, node: &NodeName, table: &RouteTableId, seen: Option<&TableFacts>) -> Vec<Finding> {
    let wrong =
        |what: String, why: &str, remedy: String| violation(Requirement::TablePrepared, what, why, remedy);
    let Some(seen) = seen else {
        return vec![wrong(
            format!(
                "the route table {table} for {node} does not exist in {}",
                role::place(world.wanted.access.as_ref())
            ),
            "the subnet cannot be associated with it",
            "correct the route table id".to_owned(),
        )];
    };
    let mut findings = Vec::new();
    if vpc(world).is_some_and(|vpc| vpc != seen.vpc) {
        findings.push(wrong(
            format!("the route table {table} for {node} is in {}, not in the VPC of the nodes", seen.vpc),
            "a subnet is associated with a table of its own VPC only",
            "name a route table of the nodes' VPC".to_owned(),
        ));
    }
    if !seen.tagged {
        findings.push(wrong(
            format!("the route table {table} for {node} has no tag `{TAG}`"),
            "the arbiter may associate tagged route tables only",
            format!("tag it with `{TAG}` and the name of the cluster"),
        ));
    }
    let interface = place::routes_lead_to(world, node);
    let leads = |to: &RouteTarget| matches!(to, RouteTarget::Interface(there) if Some(there) == interface);
    if let Some(interface) = interface.filter(|_| !seen.routes.iter().any(|route| leads(&route.target))) {
        findings.push(wrong(
            format!("the route table {table} for {node} has no route that leads to {interface}"),
            "with it the subnet's traffic would not reach the node",
            format!("lead a route of it to {interface} (`aws ec2 create-route --network-interface-id`)"),
        ));
    }
    findings
}
