//! The subnets whose route table is swapped: each with the one table that is prepared for each node.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::ids::{NodeName, RouteTableId};
use baton_protocol::resource::SubnetTables;
use serde_json::Value;

use super::{At, DesiredNode, LONGEST_LIST, cut};

/// Every node is named once, and no table is prepared for two of them: swapping it would change nothing.
pub(super) fn read(at: &At<'_>, nodes: &[DesiredNode], wrong: &mut Vec<String>) -> Option<SubnetTables> {
    at.object(&["SubnetId", "Tables"], wrong)?;
    let subnet = at.field("SubnetId").id(wrong);
    let tables = tables(&at.field("Tables"), nodes, wrong);
    Some(SubnetTables { subnet: subnet?, tables: tables? })
}

fn tables(
    at: &At<'_>,
    nodes: &[DesiredNode],
    wrong: &mut Vec<String>,
) -> Option<BTreeMap<NodeName, RouteTableId>> {
    let Some(Value::Object(map)) = at.value else {
        return at.expected("a map from each node's name to a route table id", wrong);
    };
    if map.len() > LONGEST_LIST {
        return at.expected(&format!("at most {LONGEST_LIST} nodes"), wrong);
    }
    let found = wrong.len();
    let mut tables = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (name, value) in map {
        let entry = At { path: format!("{}.{}", at.path, cut(name)), value: Some(value) };
        let Some(node) = nodes.iter().find(|node| node.node.as_str() == name) else {
            wrong.push(format!("{}: expected the name of a node, found a property of this name", entry.path));
            continue;
        };
        let Some(table) = entry.id::<RouteTableId>(wrong) else { continue };
        if !seen.insert(table.clone()) {
            let _: Option<()> = entry.expected("a route table of this node alone", wrong);
        }
        tables.insert(node.node.clone(), table);
    }
    for node in nodes.iter().filter(|node| !map.contains_key(node.node.as_str())) {
        wrong.push(format!("{}.{}: expected a route table id, found nothing", at.path, node.node));
    }
    (wrong.len() == found).then_some(tables)
}
