//! The entries of `Routes`: a destination, and its tables by their ids, by a tag, or all of the VPC that hold it.

use std::collections::BTreeSet;

use baton_protocol::resource::{Destination, Route};
use baton_protocol::tables::{MOST_CHOICES, TableChoice, Which, may_be_looked_for};

use super::At;
use super::place::tag;

/// What is said of the tables, one of these in each entry.
const TABLES: [&str; 3] = ["RouteTableIds", "RouteTableTag", "EveryTableOfVpc"];

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The routes in tables that were named.
    pub(super) named: Vec<Route>,
    /// Those of them that may be taken from a gateway.
    pub(super) from_gateways: BTreeSet<Route>,
    /// The destinations whose tables were described.
    pub(super) described: Vec<TableChoice>,
}

pub(super) fn routes(root: &At<'_>, wrong: &mut Vec<String>) -> Routes {
    let mut routes = Routes::default();
    let mut described = BTreeSet::new();
    let mut destinations = BTreeSet::new();
    for at in root.field("Routes").optional_list(wrong) {
        let Some((destination, which, replace)) = entry(&at, wrong) else { continue };
        let first = destinations.insert(destination);
        let ids = match which {
            Tables::Named(ids) => ids,
            Tables::Described(which) => {
                described.insert(destination);
                routes.described.push(TableChoice { destination, which, from_gateways: replace });
                Vec::new()
            }
        };
        if !first && described.contains(&destination) {
            let what = "another destination: one whose tables are not named has one entry";
            let _: Option<()> = at.field("Destination").expected(what, wrong);
        }
        let named = ids.into_iter().map(|table| Route { table, destination });
        for route in named {
            if replace {
                routes.from_gateways.insert(route.clone());
            }
            routes.named.push(route);
        }
    }
    if routes.described.len() > MOST_CHOICES {
        let found = routes.described.len();
        wrong.push(format!(
            "Routes: expected at most {MOST_CHOICES} whose tables are not named, found {found}"
        ));
    }
    routes
}

enum Tables {
    Named(Vec<baton_protocol::ids::RouteTableId>),
    Described(Which),
}

fn entry(at: &At<'_>, wrong: &mut Vec<String>) -> Option<(Destination, Tables, bool)> {
    let [ids, by_tag, every] = TABLES;
    at.object(&["Destination", ids, by_tag, every, "ReplaceGatewayRoutes"], wrong)?;
    let destination: Option<Destination> = at.field("Destination").id(wrong);
    let replace = at.field("ReplaceGatewayRoutes").truth(wrong);
    let every = at.field(every);
    let every_one = every.truth(wrong);
    let said = [at.field(ids).value.is_some(), at.field(by_tag).value.is_some(), every_one];
    let tables = match said {
        [false, true, false] => tag(&at.field(by_tag), wrong).map(|tag| Tables::Described(Which::Tag(tag))),
        [false, false, true] => match destination {
            Some(destination) if !may_be_looked_for(&destination) => {
                let what = "`false` for a default route or a prefix list, which is led to the holder only in tables that are \
                     named or tagged";
                every.expected(what, wrong)
            }
            _ => Some(Tables::Described(Which::Every)),
        },
        [_, false, false] => named(&at.field(ids), wrong).map(Tables::Named),
        _ => at.expected(&format!("one of {}, {} and {}", TABLES[0], TABLES[1], TABLES[2]), wrong),
    };
    Some((destination?, tables?, replace))
}

fn named(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Vec<baton_protocol::ids::RouteTableId>> {
    let tables = at.list(wrong);
    if tables.is_empty() {
        return at.expected("at least one route table id", wrong);
    }
    Some(tables.iter().filter_map(|entry| entry.id(wrong)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(entries: Value) -> Result<Routes, Vec<String>> {
        let mut wrong = Vec::new();
        let properties = json!({ "Routes": entries });
        let found = routes(&At { path: String::new(), value: Some(&properties) }, &mut wrong);
        if wrong.is_empty() { Ok(found) } else { Err(wrong) }
    }

    #[test]
    fn tables_are_named_or_tagged_or_all_that_hold_the_destination() {
        let side = json!({ "Key": "side", "Value": "private" });
        let found = read(json!([
            { "Destination": "192.0.2.1/32", "RouteTableIds": ["rtb-00000001"], "EveryTableOfVpc": "false" },
            { "Destination": "0.0.0.0/0", "RouteTableTag": side, "ReplaceGatewayRoutes": "true" },
            { "Destination": "192.0.2.2/32", "EveryTableOfVpc": "true" },
        ]))
        .expect("good");
        assert_eq!((found.named.len(), found.from_gateways.len()), (1, 0));
        let described: Vec<_> = found
            .described
            .iter()
            .map(|choice| format!("{}: {} {}", choice.destination, choice.which, choice.from_gateways))
            .collect();
        assert_eq!(
            described,
            [
                "0.0.0.0/0: the tables with the tag side=private true",
                "192.0.2.2/32: every table of the VPC that holds it false"
            ]
        );
    }

    #[test]
    fn a_default_route_and_a_prefix_list_are_looked_for_in_no_table_that_nobody_named() {
        for wide in ["0.0.0.0/0", "::/0", "pl-01234567"] {
            let found =
                read(json!([{ "Destination": wide, "EveryTableOfVpc": true }])).expect_err("too wide");
            assert!(
                found[0].starts_with("Routes[0].EveryTableOfVpc: expected `false` for a default"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn tables_are_described_once_and_in_one_way() {
        let side = json!({ "Key": "side", "Value": "private" });
        for entry in [
            json!({ "Destination": "192.0.2.1/32", "RouteTableIds": ["rtb-00000001"], "RouteTableTag": side }),
            json!({ "Destination": "192.0.2.1/32", "RouteTableIds": ["rtb-00000001"], "EveryTableOfVpc": true }),
            json!({ "Destination": "192.0.2.1/32", "RouteTableTag": side, "EveryTableOfVpc": "true" }),
        ] {
            let told =
                "Routes[0]: expected one of RouteTableIds, RouteTableTag and EveryTableOfVpc, found a map";
            assert_eq!(read(json!([entry])).expect_err("two ways"), [told]);
        }
        let nothing = read(json!([{ "Destination": "192.0.2.1/32" }])).expect_err("nothing");
        assert_eq!(nothing[0], "Routes[0].RouteTableIds: expected a list, found nothing");
        let every = json!({ "Destination": "192.0.2.1/32", "EveryTableOfVpc": true });
        let named = json!({ "Destination": "192.0.2.1/32", "RouteTableIds": ["rtb-00000001"] });
        for twice in [[every.clone(), every.clone()], [named.clone(), every.clone()], [every, named]] {
            let found = read(json!(twice)).expect_err("twice");
            assert!(
                found[0].starts_with("Routes[1].Destination: expected another destination: "),
                "{found:?}"
            );
        }
        let many: Vec<_> = (0..=MOST_CHOICES)
            .map(|n| json!({ "Destination": format!("192.0.2.{n}/32"), "EveryTableOfVpc": true }))
            .collect();
        assert_eq!(
            read(json!(many)).expect_err("too many"),
            ["Routes: expected at most 20 whose tables are not named, found 21"]
        );
    }
}
