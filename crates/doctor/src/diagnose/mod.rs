//! The diagnosis of a registered cluster: what a registration is examined for, and everything that surrounds it.

mod beat;
mod network;
mod node;
mod notes;
mod reach;
mod resource;

use baton_protocol::lease::{LeaseState, Member};

use crate::change::Change;
use crate::check::{self, Check, Fix};
use crate::diagnosis::{Case, Diagnosis};
use crate::examine;
use crate::finding::{Requirement, Severity};
use crate::row::Row;
use crate::site::Site;
use crate::world::Seen;
use notes::{Finding, Notes};

pub use reach::service;

/// Diagnoses a cluster; what was found in the order of the rows.
pub fn diagnose(case: &Case) -> Vec<Diagnosis> {
    let mut room = Room { case, notes: Notes::default() };
    room.examined();
    room.registration();
    room.nodes();
    room.network();
    reach::examine(&case.site(), &mut room.notes);
    room.beats();
    room.resources();
    room.notes.conclude()
}

/// Whether the nodes of a cluster, registered or not, reach the table by the network around them.
pub fn reach(site: &Site<'_>) -> Vec<Diagnosis> {
    let mut notes = Notes::default();
    reach::examine(site, &mut notes);
    notes.conclude()
}

/// A case, and where its findings come together.
struct Room<'a> {
    case: &'a Case,
    notes: Notes,
}

impl<'a> Room<'a> {
    fn members(&self) -> &'a [Member] {
        &self.case.record.lease.members
    }

    fn need<T>(&mut self, seen: &'a Seen<T>, part: &'static str, rows: &[Row]) -> Option<&'a T> {
        self.notes.need(seen, part, rows)
    }

    fn find(&mut self, check: &Check, place: impl ToString, what: String, changes: Vec<Change>) {
        self.find_as(check, check.severity, place, what, changes);
    }

    fn find_as(
        &mut self,
        check: &Check,
        severity: Severity,
        place: impl ToString,
        what: String,
        changes: Vec<Change>,
    ) {
        self.notes.tell(Finding::of(check, place, what).weighing(severity).mended(changes));
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
        self.notes.push(Diagnosis {
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
            self.notes.push(Diagnosis {
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
}

/// What rests on the world that a registration is examined by.
const EXAMINED: &[Row] = &[Row::R1, Row::R4, Row::R5, Row::R6, Row::R7, Row::X1, Row::X4];

/// A node, for people.
fn named(member: &Member) -> String {
    format!("{} ({})", member.node, member.instance.instance_id())
}
