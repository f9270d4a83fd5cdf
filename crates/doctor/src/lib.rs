//! Every requirement that a move depends on, as a check over what was observed.
//!
//! A cluster that is registered although its addresses could not be moved fails on the day it is needed. So a request is
//! examined first: [`examine`] takes what was asked for and what was seen ([`World`]) and returns everything that is
//! wrong at once, each with the reason it matters and what to do about it. There is no I/O here and no AWS. Whatever
//! could not be read is a finding of its own: a requirement that was not looked at is never taken for met.

mod change;
mod check;
mod diagnose;
mod diagnosis;
mod finding;
mod hibernation;
mod node;
mod place;
pub mod policy;
mod request;
mod resource;
mod role;
mod row;
mod site;
mod subnet;
pub mod survey;
mod table;
mod world;

use std::fmt::Display;

pub use change::Change;
pub use check::{CHECKS, Check, Fix};
pub use diagnose::{diagnose, reach, service};
pub use diagnosis::{Case, Diagnosis, Record, Standing, Verdict, is_clean, standings};
pub use finding::{Finding, Requirement, Severity, refuses};
pub use node::TAG;
pub use place::{Places, places};
pub use request::{MOST_ADDRESSES, MOST_NODES, MOST_ROUTES, MOST_SUBNETS, MOST_TABLES};
pub use row::Row;
pub use site::Site;
pub use world::{
    InstanceFacts, InterfaceFacts, Neighbour, RoleSeen, Seen, SubnetFacts, Subnets, TableFacts, Wanted,
    WantedNode, World,
};

/// Examines a request against the world; the findings in the order in which a person would mend them.
pub fn examine(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    request::examine(&world.wanted, &mut findings);
    node::examine(world, &mut findings);
    hibernation::examine(world, &mut findings);
    role::examine(world, &mut findings);
    resource::examine(world, &mut findings);
    subnet::examine(world, &mut findings);
    table::examine(world, &mut findings);
    unread(world, &mut findings);
    findings
}

/// What could not be read, and what was not asked for although nothing stood in the way.
fn unread(world: &World, findings: &mut Vec<Finding>) {
    let explained = refuses(findings);
    let parts = [
        ("the instances", unread_because(&world.instances)),
        ("the networks of the VPC", unread_because(&world.networks)),
        ("the Elastic IPs", unread_because(&world.addresses)),
        ("the tags of the nodes' interfaces", unread_because(&world.interface_tags)),
        ("the Elastic IPs on the nodes' interfaces", unread_because(&world.seats)),
        ("the route tables", unread_because(&world.tables)),
        ("the subnets and the route tables for them", unread_because(&world.subnets)),
        ("the route tables of the VPC", unread_because(&world.vpc_tables)),
        ("the other clusters", unread_because(&world.neighbours)),
    ];
    // What rests on something unreadable is not asked for; that something is reported in its place.
    let explained = explained || parts.iter().any(|(_, why)| matches!(why, Some(Some(_))));
    for (what, why) in parts {
        match why {
            Some(Some(why)) => findings.push(not_read(what, why)),
            Some(None) if !explained => findings.push(not_read(what, &"nobody asked")),
            _ => {}
        }
    }
}

/// `None`: it was read. `Some(None)`: nobody asked. Otherwise why it could not be read.
fn unread_because<T>(seen: &Seen<T>) -> Option<Option<&String>> {
    match seen {
        Seen::Known(_) => None,
        Seen::Unasked => Some(None),
        Seen::Unknown(why) => Some(Some(why)),
    }
}

fn not_read(what: &str, why: &dyn Display) -> Finding {
    Finding {
        id: Requirement::Readable,
        severity: Severity::Unknown,
        what: format!("{what} could not be read ({why})"),
        why: "a requirement that was not looked at is not known to be met".to_owned(),
        remedy: "see that the registrar may read this, and send the request again".to_owned(),
    }
}

#[cfg(test)]
mod tests;
