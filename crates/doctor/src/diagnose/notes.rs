//! Where findings come together.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::Change;
use crate::check::{Check, Fix};
use crate::diagnosis::Diagnosis;
use crate::finding::{Requirement, Severity};
use crate::row::Row;
use crate::world::Seen;

/// What was found, and what could not be read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    found: Vec<Diagnosis>,
    /// What could not be read: why, and which rows depend on it.
    unread: BTreeMap<&'static str, (String, BTreeSet<Row>)>,
}

/// Something that a check has found, before it is told.
pub(super) struct Finding<'a> {
    pub(super) check: &'a Check,
    pub(super) severity: Severity,
    pub(super) place: String,
    pub(super) what: String,
    pub(super) changes: Vec<Change>,
    /// The account that alone may make the changes, where it is not the one that asks.
    pub(super) owner: Option<&'a str>,
}

impl<'a> Finding<'a> {
    /// With the check's own weight, and nothing that mends it.
    pub(super) fn of(check: &'a Check, place: impl ToString, what: String) -> Self {
        let place = place.to_string();
        Self { check, severity: check.severity, place, what, changes: Vec::new(), owner: None }
    }

    pub(super) fn weighing(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    pub(super) fn mended(self, changes: Vec<Change>) -> Self {
        Self { changes, ..self }
    }

    pub(super) fn owned(self, owner: Option<&'a str>) -> Self {
        Self { owner, ..self }
    }
}

impl Notes {
    /// What was read, or a note that these rows cannot be judged without it.
    pub(super) fn need<'s, T>(
        &mut self,
        seen: &'s Seen<T>,
        part: &'static str,
        rows: &[Row],
    ) -> Option<&'s T> {
        let why = match seen {
            Seen::Known(found) => return Some(found),
            Seen::Unknown(why) => why.as_str(),
            Seen::Unasked => "what it depends on is not there",
        };
        self.unread(part, why, rows);
        None
    }

    /// Notes that something could not be read, on which these rows rest. The first reason stands.
    pub(super) fn unread(&mut self, part: &'static str, why: &str, rows: &[Row]) {
        self.unread.entry(part).or_insert_with(|| (why.to_owned(), BTreeSet::new())).1.extend(rows);
    }

    /// What has no change that mends it is only reported, whatever its kind, and so is what only another account may mend: its
    /// remedy says which, and what that has to run.
    pub(super) fn tell(&mut self, finding: Finding<'_>) {
        let Finding { check, severity, place, what, changes, owner } = finding;
        let commands = changes.iter().map(ToString::to_string);
        let remedy = match (owner, changes.is_empty()) {
            (None, true) => vec![check.remedy.to_owned()],
            (None, false) => commands.collect(),
            (Some(owner), true) => {
                vec![format!("only account {owner}, which owns the VPC, may: {}", check.remedy)]
            }
            (Some(owner), false) => commands
                .map(|command| format!("only account {owner}, which owns the VPC, may run `{command}`"))
                .collect(),
        };
        let changes = if owner.is_some() { Vec::new() } else { changes };
        self.push(Diagnosis {
            id: check.id.to_owned(),
            rows: check.rows.to_vec(),
            severity,
            place,
            what,
            why: check.why.to_owned(),
            remedy,
            fix: if changes.is_empty() { Fix::Report } else { check.fix },
            changes,
        });
    }

    pub(super) fn push(&mut self, found: Diagnosis) {
        self.found.push(found);
    }

    /// Everything, in the order of the rows.
    pub(super) fn conclude(mut self) -> Vec<Diagnosis> {
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
