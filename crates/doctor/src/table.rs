//! What descriptions of route tables must come to. The routes that they come to are examined as those that were named.

use baton_protocol::resource::Route;
use baton_protocol::tables::{CONSENT, Refused, TableChoice, Which, find};

use crate::finding::{Finding, Requirement};
use crate::request::violation;
use crate::world::World;

pub(crate) fn examine(world: &World, findings: &mut Vec<Finding>) {
    for choice in &world.wanted.choices.tables {
        outside(world, choice, findings);
        // A cluster whose nodes have still to be launched is in no VPC yet, and its tables are looked for when it is.
        let nowhere = world.wanted.by_tag && world.wanted.choices.vpc.is_none();
        let Some(seen) = world.vpc_tables.known().filter(|_| !nowhere) else { continue };
        let found = find(choice, seen);
        if found.taken.is_empty() && found.refused.is_empty() {
            findings.push(violation(
                Requirement::TableFound,
                format!("{}: nothing is found of {}", choice.destination, choice.which),
                "a destination is led to the holder in one table at least",
                match &choice.which {
                    Which::Tag(tag) => format!("tag the tables with {tag} and {CONSENT}, or name them"),
                    Which::Every => "make the route in one of them, or name the tables".to_owned(),
                },
            ));
        }
        for (table, why) in found.refused {
            let route = Route { table: table.clone(), destination: choice.destination };
            findings.push(refused(&route, why));
        }
    }
}

/// In tables that nobody named, a wider destination would lead what others' routes there lead elsewhere.
fn outside(world: &World, choice: &TableChoice, findings: &mut Vec<Finding>) {
    let networks = world.networks.known().into_iter().flatten();
    // One that lies within a network of the VPC is refused wherever its tables come from.
    let wider = |outer: &&_| choice.destination.overlaps(outer) && !choice.destination.lies_within(outer);
    let Some(network) = networks.into_iter().find(wider).filter(|_| choice.which == Which::Every) else {
        return;
    };
    findings.push(violation(
        Requirement::DestinationOutside,
        format!("the destination {} holds {network}, a network of the VPC", choice.destination),
        "so wide a destination is led to the holder only in tables that are named or tagged",
        "name the tables, or tag them",
    ));
}

fn refused(route: &Route, why: Refused) -> Finding {
    match why {
        Refused::Gateway(gateway) => violation(
            Requirement::GatewayDeclared,
            format!("the route to {route} leads to {gateway}, which is no network interface"),
            "everything in that table's subnets that goes this way would be turned to the holder",
            "if that is meant, set ReplaceGatewayRoutes to true; if not, choose tables that leave this one out",
        ),
        why => violation(
            Requirement::TableTagged,
            format!("{} {}", route.table, told(&why)),
            "the arbiter changes no table whose owner has not consented to it by the tag",
            format!("tag it with {CONSENT}, or choose tables that leave it out"),
        ),
    }
}

fn told(why: &Refused) -> String {
    match why {
        Refused::NoConsent => format!("has no tag {CONSENT}"),
        other => other.to_string(),
    }
}
