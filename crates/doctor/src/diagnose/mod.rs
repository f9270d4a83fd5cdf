//! The diagnosis of a registered cluster: what a registration is examined for, and everything that surrounds it.

mod beat;
mod network;
mod node;
mod reach;
mod resource;

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::lease::{LeaseState, Member};

use crate::change::Change;
use crate::check::{self, Check, Fix};
use crate::diagnosis::{Case, Diagnosis};
use crate::examine;
use crate::finding::{Requirement, Severity};
use crate::row::Row;
use crate::world::Seen;

/// Diagnoses a cluster; what was found in the order of the rows.
pub fn diagnose(case: &Case) -> Vec<Diagnosis> {
    let mut room = Room { case, found: Vec::new(), unread: BTreeMap::new() };
    room.examined();
    room.registration();
    room.nodes();
    room.network();
    room.reach();
    room.beats();
    room.resources();
    room.conclude()
}

/// Where findings come together.
struct Room<'a> {
    case: &'a Case,
    found: Vec<Diagnosis>,
    /// What could not be read: why, and which rows depend on it.
    unread: BTreeMap<&'static str, (String, BTreeSet<Row>)>,
}

impl<'a> Room<'a> {
    fn members(&self) -> &'a [Member] {
        &self.case.record.lease.members
    }

    /// What was read, or a note that these rows cannot be judged without it.
    fn need<T>(&mut self, seen: &'a Seen<T>, part: &'static str, rows: &[Row]) -> Option<&'a T> {
        let why = match seen {
            Seen::Known(found) => return Some(found),
            Seen::Unknown(why) => why.clone(),
            Seen::Unasked => "what it depends on is not there".to_owned(),
        };
        self.unread.entry(part).or_insert_with(|| (why, BTreeSet::new())).1.extend(rows);
        None
    }

    fn find(&mut self, check: &Check, place: impl ToString, what: String, changes: Vec<Change>) {
        self.find_as(check, check.severity, place, what, changes);
    }

    /// What has no change that mends it is only reported, whatever its kind.
    fn find_as(
        &mut self,
        check: &Check,
        severity: Severity,
        place: impl ToString,
        what: String,
        changes: Vec<Change>,
    ) {
        let remedy = if changes.is_empty() {
            vec![check.remedy.to_owned()]
        } else {
            changes.iter().map(ToString::to_string).collect()
        };
        self.found.push(Diagnosis {
            id: check.id.to_owned(),
            rows: check.rows.to_vec(),
            severity,
            place: place.to_string(),
            what,
            why: check.why.to_owned(),
            remedy,
            fix: if changes.is_empty() { Fix::Report } else { check.fix },
            changes,
        });
    }

    /// Whether the route tables, and the subnets with them, are another account's, as in a VPC that is shared. Their tags are not
    /// shown here then, and neither they nor their associations can be changed from here (Amazon VPC, Share your VPC subnets with
    /// other accounts).
    fn tables_are_anothers(&self) -> bool {
        self.case.record.lease.resources.tables_role.is_some()
    }

    /// What nobody but the owner of the route tables can see to. Nothing is wrong by it.
    fn owners(&mut self, check: &Check, what: &str) {
        let Some(role) = &self.case.record.lease.resources.tables_role else { return };
        self.found.push(Diagnosis {
            id: check.id.to_owned(),
            rows: check.rows.to_vec(),
            severity: Severity::Info,
            place: role.to_string(),
            what: format!(
                "the route tables are another account's, reached by {role}: {what} is their owner's to see to"
            ),
            why: check.why.to_owned(),
            remedy: vec!["ask the owner of the route tables".to_owned()],
            fix: Fix::Report,
            changes: Vec::new(),
        });
    }

    /// What the registrar would say of the cluster as it is.
    fn examined(&mut self) {
        for finding in examine(&self.case.world) {
            // What could not be read is told by its rows, below.
            let rows = if finding.id == Requirement::Readable {
                Some(EXAMINED)
            } else {
                check::of_requirement(finding.id)
            };
            let Some(rows) = rows else { continue };
            self.found.push(Diagnosis {
                id: finding.id.to_string(),
                rows: rows.to_vec(),
                severity: finding.severity,
                place: self.case.record.lease.cluster.to_string(),
                what: finding.what,
                why: finding.why,
                remedy: vec![finding.remedy],
                fix: Fix::Report,
                changes: Vec::new(),
            });
        }
    }

    fn registration(&mut self) {
        let lease = &self.case.record.lease;
        if lease.state == LeaseState::Retired {
            let what = format!("the registration of {} is retired", lease.cluster);
            self.find(&check::LEASE_ACTIVE, &lease.cluster, what, Vec::new());
        }
    }

    fn conclude(mut self) -> Vec<Diagnosis> {
        for (part, (why, rows)) in self.unread {
            self.found.push(Diagnosis {
                id: Requirement::Readable.to_string(),
                rows: rows.into_iter().collect(),
                severity: Severity::Unknown,
                place: part.to_owned(),
                what: format!("{part} could not be read ({why})"),
                why: "a requirement that was not looked at is not known to be met".to_owned(),
                remedy: vec!["see that you may read this, as the policy of viewers allows".to_owned()],
                fix: Fix::Report,
                changes: Vec::new(),
            });
        }
        self.found.sort_by_key(|found| (found.rows.first().copied().unwrap_or(Row::B4), found.id.clone()));
        self.found
    }
}

/// What rests on the world that a registration is examined by.
const EXAMINED: &[Row] = &[Row::R1, Row::R4, Row::R5, Row::R6, Row::R7, Row::X1, Row::X4];

/// A node, for people.
fn named(member: &Member) -> String {
    format!("{} ({})", member.node, member.instance.instance_id())
}
