//! Route tables that are not named by their ids: those that carry a tag, or every table of the VPC that holds the
//! destination. Which tables that is changes while the cluster stands, so it is asked again and the lease follows.
//!
//! The naive way, to take EC2's list for the tables, fails when the list is short: EC2 answers late about what is new, a tag
//! is taken off by mistake, an answer is empty. A table that is let go is one more in which the destination goes on leading
//! to a node that has lost the lease. So what comes and what goes rest on different things (ADR 0029):
//!
//! * a table is taken in that EC2 shows as it was described and that carries [`CONSENT`], unless its route leads to a gateway
//!   that it may not be taken from, or is another cluster's, or the table is prepared for one node of any cluster (ADR 0031);
//! * a table is let go that two answers some time apart show without the tag, or do not show at all. Of every table of the
//!   VPC only one that is gone: a route that somebody has deleted is made again, as any other. An answer that shows no table
//!   is none, since a VPC has one always;
//! * one table at least stays for each destination.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::choice::Tag;
use crate::ec2::RouteSeen;
use crate::ids::{ClusterName, RouteTableId};
use crate::lease::Lease;
use crate::plan::{self, RouteKnown};
use crate::resource::{Destination, Family, Resources, Route};

/// The tag by which the owner of a table consents to its being changed; IAM asks for it as well. Its value is for people.
pub const CONSENT: &str = "baton:cluster";
/// The most route tables of a cluster. A VPC has 200 unless AWS was asked for more (Amazon VPC quotas), one invocation has to
/// move them all, and with their routes they take some 20 of the 400 KB that an item of the table may have.
pub const MOST_TABLES: usize = 50;
/// The most routes of a cluster, over all its tables.
pub const MOST_ROUTES: usize = 200;
/// The most descriptions of tables in one cluster.
pub const MOST_CHOICES: usize = 20;
/// Between two answers that let a table go. EC2 is eventually consistent, and a move takes an answer for stale for as long.
pub const LOOKS_APART: Duration = Duration::from_secs(3);

/// How the tables of a destination are found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Those of the VPC with this tag.
    Tag(Tag),
    /// Those of the VPC that hold the destination.
    Every,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "the tables with the tag {tag}"),
            Self::Every => f.write_str("every table of the VPC that holds it"),
        }
    }
}

/// A destination whose tables are described. No other entry of the cluster is about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableChoice {
    /// The destination.
    pub destination: Destination,
    /// Its tables.
    pub which: Which,
    /// Whether it may be taken from a gateway there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_gateways: bool,
}

/// Whether a destination may be looked for in tables that nobody named: not a default route, by which whole subnets go
/// out, nor a prefix list, which may hold one.
pub fn may_be_looked_for(destination: &Destination) -> bool {
    !destination.is_default() && destination.family() != Family::PrefixList
}

/// A route table of the VPC, as EC2 describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSeen {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its routes.
    pub routes: Vec<RouteSeen>,
}

/// Every route table of a VPC.
pub type Tables = BTreeMap<RouteTableId, TableSeen>;

/// Why a table that fits the description is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It does not carry [`CONSENT`].
    NoConsent,
    /// The destination leads to this gateway there, from which it may not be taken.
    Gateway(String),
    /// The route is another cluster's.
    Shared,
    /// A cluster has prepared the table for one of its nodes.
    Prepared,
    /// The cluster would have more tables, or routes, than one may.
    TooMany,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConsent => write!(f, "the table has no tag {CONSENT}"),
            Self::Gateway(gateway) => {
                write!(f, "it leads to {gateway} there, and may not be taken from a gateway")
            }
            Self::Shared => f.write_str("it is another cluster's there"),
            Self::Prepared => {
                f.write_str("the table is prepared for one node, and its routes stay as they are")
            }
            Self::TooMany => write!(f, "a cluster has at most {MOST_TABLES} tables and {MOST_ROUTES} routes"),
        }
    }
}

/// What fits a description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The tables that it comes to.
    pub taken: BTreeSet<RouteTableId>,
    /// Those that are left, and why.
    pub refused: BTreeMap<RouteTableId, Refused>,
}

/// The tables that a description comes to.
pub fn find(choice: &TableChoice, seen: &Tables) -> Found {
    let mut found = Found::default();
    for (table, shown) in seen.iter().filter(|(_, shown)| fits(choice, shown)) {
        match refusal(choice, shown) {
            None => drop(found.taken.insert(table.clone())),
            Some(why) => drop(found.refused.insert(table.clone(), why)),
        }
    }
    found
}

fn fits(choice: &TableChoice, shown: &TableSeen) -> bool {
    match &choice.which {
        Which::Tag(tag) => tag.is_in(&shown.tags),
        Which::Every => may_be_looked_for(&choice.destination) && known(choice, shown) != RouteKnown::Missing,
    }
}

fn refusal(choice: &TableChoice, shown: &TableSeen) -> Option<Refused> {
    if !shown.tags.contains_key(CONSENT) {
        return Some(Refused::NoConsent);
    }
    match known(choice, shown) {
        RouteKnown::Gateway(gateway) if !choice.from_gateways => Some(Refused::Gateway(gateway)),
        _ => None,
    }
}

fn known(choice: &TableChoice, shown: &TableSeen) -> RouteKnown {
    plan::route_among(&shown.routes, &choice.destination)
}

/// How the tables of a lease differ from those that were described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is to be taken in.
    pub joining: BTreeSet<Route>,
    /// What this answer does not show as described any more. One answer lets nothing go.
    pub missing: BTreeSet<Route>,
    /// What fits and is left, and why.
    pub refused: BTreeMap<Route, Refused>,
}

/// Compares a lease with what a whole, successful answer shows of the VPC.
pub fn compare(lease: &Lease, seen: &Tables) -> Difference {
    let mut difference = Difference::default();
    // Each VPC has its main table, which cannot be deleted; an answer without any is about something else.
    if seen.is_empty() {
        return difference;
    }
    for choice in &lease.resources.choices.tables {
        let found = find(choice, seen);
        let route = |table: &RouteTableId| Route { table: table.clone(), destination: choice.destination };
        let held: BTreeSet<Route> = of(&lease.resources, choice).cloned().collect();
        let missing = held.iter().filter(|route| match (&choice.which, seen.get(&route.table)) {
            (_, None) => true,
            (Which::Tag(tag), Some(shown)) => !tag.is_in(&shown.tags),
            (Which::Every, Some(_)) => false,
        });
        difference.missing.extend(missing.cloned());
        difference.joining.extend(found.taken.iter().map(route).filter(|route| !held.contains(route)));
        let refused = found.refused.into_iter().map(|(table, why)| (route(&table), why));
        difference.refused.extend(refused.filter(|(route, _)| !held.contains(route)));
    }
    difference
}

/// Whether no table is known yet of something that was described: the cluster was registered before it had a node, and so a
/// VPC. Such a cluster waits for no turn.
pub fn is_first_look(lease: &Lease) -> bool {
    let resources = &lease.resources;
    resources.choices.tables.iter().any(|choice| of(resources, choice).next().is_none())
}

fn of<'a>(resources: &'a Resources, choice: &'a TableChoice) -> impl Iterator<Item = &'a Route> {
    resources.routes.iter().filter(|route| route.destination == choice.destination)
}

/// A change of the tables of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What must be at the holder from then on.
    pub resources: Resources,
    /// What is taken in.
    pub joined: BTreeSet<Route>,
    /// What is let go.
    pub left: BTreeSet<Route>,
}

impl Change {
    /// In words, for the history.
    pub fn summary(&self) -> String {
        let names =
            |routes: &BTreeSet<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let parts = [("taken in", &self.joined), ("let go", &self.left)];
        let told = parts.into_iter().filter(|(_, routes)| !routes.is_empty());
        told.map(|(what, routes)| format!("{what}: {}", names(routes))).collect::<Vec<_>>().join("; ")
    }
}

/// What is to be changed, and what would join and is left with the reason: `joining` is taken in but for what is `others'`
/// and what lies in a table that is prepared for a node, theirs or the cluster's own; and `gone`, which two answers did not
/// show, is let go.
pub fn change(
    lease: &Lease,
    joining: &BTreeSet<Route>,
    gone: &BTreeSet<Route>,
    others: &BTreeSet<Route>,
    prepared: &BTreeSet<RouteTableId>,
) -> (Option<Change>, BTreeMap<Route, Refused>) {
    let mut prepared = prepared.clone();
    prepared.extend(lease.resources.prepared().cloned());
    let mut refused = BTreeMap::new();
    let mut joining = joining.clone();
    joining.retain(|route| {
        let why = match () {
            () if others.contains(route) => Refused::Shared,
            () if prepared.contains(&route.table) => Refused::Prepared,
            () => return true,
        };
        refused.insert(route.clone(), why);
        false
    });
    let mut change = attempt(lease, &joining, gone);
    let tables: BTreeSet<_> = change.resources.routes.iter().map(|route| &route.table).collect();
    if tables.len() > MOST_TABLES || change.resources.routes.len() > MOST_ROUTES {
        refused.extend(joining.into_iter().map(|route| (route, Refused::TooMany)));
        change = attempt(lease, &BTreeSet::new(), gone);
    }
    let changes = !change.joined.is_empty() || !change.left.is_empty();
    (changes.then_some(change), refused)
}

fn attempt(lease: &Lease, joining: &BTreeSet<Route>, gone: &BTreeSet<Route>) -> Change {
    let (mut joined, mut left) = (BTreeSet::new(), BTreeSet::new());
    let choices = &lease.resources.choices.tables;
    let described = |route: &Route| choices.iter().any(|choice| choice.destination == route.destination);
    let mut resources = lease.resources.clone();
    resources.routes.retain(|route| !described(route));
    for choice in choices {
        let held: BTreeSet<Route> = of(&lease.resources, choice).cloned().collect();
        let ours: BTreeSet<Route> =
            joining.iter().filter(|route| route.destination == choice.destination).cloned().collect();
        let mut lost: BTreeSet<Route> = held.intersection(gone).cloned().collect();
        if lost.len() == held.len() && ours.is_empty() {
            lost.clear();
        }
        // In the order in which the registrar would write them.
        resources.routes.extend(held.difference(&lost).chain(&ours).cloned().collect::<BTreeSet<_>>());
        resources.from_gateways.retain(|route| !lost.contains(route));
        resources.from_gateways.extend(ours.iter().filter(|_| choice.from_gateways).cloned());
        joined.extend(ours);
        left.extend(lost);
    }
    Change { resources, joined, left }
}

/// What a cluster has in common with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contest {
    /// What it has to let go.
    pub lost: BTreeSet<Route>,
    /// Who has to let go what it keeps.
    pub losers: BTreeSet<ClusterName>,
}

/// What of a lease's routes others have as well, and who gives way. What others have is looked at before anything is taken in;
/// two that look at the same moment see nothing of each other, and would take the route from each other for ever. So whoever
/// has taken something in looks again, and both would judge alike: who has named the table, or prepared it for a node, keeps it; of two that
/// describe it the one whose name comes first. Two that have named it are for people.
pub fn contest(lease: &Lease, others: &[Lease]) -> Contest {
    let mut contest = Contest::default();
    for other in others.iter().filter(|other| other.cluster != lease.cluster) {
        let lost: BTreeSet<Route> = gives_way(lease, other).cloned().collect();
        if gives_way(other, lease).next().is_some() {
            contest.losers.insert(other.cluster.clone());
        }
        contest.lost.extend(lost);
    }
    contest
}

/// The routes of `lease` that it has to leave to `other`.
fn gives_way<'a>(lease: &'a Lease, other: &'a Lease) -> impl Iterator<Item = &'a Route> {
    let (ours, theirs) = (&lease.resources, &other.resources);
    ours.routes.iter().filter(|route| ours.choices.describe(&route.destination)).filter(move |route| {
        let has_it = theirs.routes.contains(route);
        let has_named_it = has_it && !theirs.choices.describe(&route.destination);
        let first = has_it && other.cluster < lease.cluster;
        has_named_it || first || theirs.prepared().any(|table| *table == route.table)
    })
}

/// Lets go what another cluster keeps, be it the last table of a destination.
pub fn give_way(lease: &Lease, lost: &BTreeSet<Route>) -> Option<Change> {
    let mut resources = lease.resources.clone();
    resources.routes.retain(|route| !lost.contains(route));
    resources.from_gateways.retain(|route| !lost.contains(route));
    let left: BTreeSet<Route> =
        lease.resources.routes.iter().filter(|route| lost.contains(route)).cloned().collect();
    (!left.is_empty()).then_some(Change { resources, joined: BTreeSet::new(), left })
}

#[cfg(test)]
mod tests;
