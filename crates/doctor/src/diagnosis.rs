//! What `doctor` has found, and how each row stands.

use std::collections::BTreeMap;

use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::Lease;
use baton_protocol::probe::Probe;
use baton_protocol::time::WallTime;
use serde::Serialize;

use crate::change::Change;
use crate::check::Fix;
use crate::finding::Severity;
use crate::row::Row;
use crate::site::Site;
use crate::survey::Survey;
use crate::world::{Seen, World};

/// What the record says.
#[derive(Debug, Clone)]
pub struct Record {
    /// The region, as names of services have it.
    pub region: String,
    /// The table's name.
    pub table: String,
    /// The lease.
    pub lease: Lease,
    /// The heartbeats as they were first read.
    pub before: BTreeMap<InstanceArn, Heartbeat>,
    /// When that was asked.
    pub before_at: WallTime,
    /// The heartbeats as they were last read.
    pub heartbeats: BTreeMap<InstanceArn, Heartbeat>,
    /// When that had been answered.
    pub at: WallTime,
    /// What the arbiter's last probe found; none before the first.
    pub probe: Seen<Option<Probe>>,
}

/// Everything that a diagnosis is made of.
#[derive(Debug, Clone)]
pub struct Case {
    /// What the record says.
    pub record: Record,
    /// What a registration would be examined for.
    pub world: World,
    /// What surrounds it.
    pub survey: Survey,
}

impl Case {
    /// Where the cluster is.
    pub fn site(&self) -> Site<'_> {
        Site {
            region: &self.record.region,
            table: &self.record.table,
            members: &self.record.lease.members,
            survey: &self.survey,
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The name of the check; see docs/OPERATIONS.md.
    pub id: String,
    /// The rows that it is about; none: what was asked for is wrong in itself.
    pub rows: Vec<Row>,
    /// How much it weighs.
    pub severity: Severity,
    /// Where: a node, an instance, a table, …
    #[serde(rename = "where")]
    pub place: String,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do: commands, where there are some.
    pub remedy: Vec<String>,
    /// Whether `--fix` does it.
    pub fix: Fix,
    /// What `--fix` would do.
    #[serde(skip)]
    pub changes: Vec<Change>,
}

/// How a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was looked at, and nothing was found.
    Met,
    /// It asks for something that Baton, or this cluster, does without.
    NotNeeded,
    /// It could not be looked at, so nobody knows.
    Unknown,
    /// Something was found.
    Violated,
}

impl Verdict {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotNeeded => "not-needed",
            Self::Unknown => "unknown",
            Self::Violated => "violated",
        }
    }
}

/// How one row stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The row.
    pub row: Row,
    /// What it asks for.
    pub title: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// Why it is not needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// Whether nothing was found that needs anything to be done.
pub fn is_clean(found: &[Diagnosis]) -> bool {
    found.iter().all(|diagnosis| diagnosis.severity == Severity::Info)
}

/// How every row stands by what was found.
pub fn standings(case: &Case, found: &[Diagnosis]) -> Vec<Standing> {
    Row::ALL.into_iter().map(|row| standing(case, row, found)).collect()
}

fn standing(case: &Case, row: Row, found: &[Diagnosis]) -> Standing {
    let about = |weight: fn(Severity) -> bool| {
        found.iter().any(|diagnosis| diagnosis.rows.contains(&row) && weight(diagnosis.severity))
    };
    let note = row.not_needed().or_else(|| not_asked(&case.record.lease, row));
    let verdict = if about(|severity| matches!(severity, Severity::Violation | Severity::Warning)) {
        Verdict::Violated
    } else if about(|severity| severity == Severity::Unknown) {
        Verdict::Unknown
    } else if note.is_some() {
        Verdict::NotNeeded
    } else {
        Verdict::Met
    };
    Standing { row, title: row.title(), verdict, note: note.filter(|_| verdict == Verdict::NotNeeded) }
}

/// Why a cluster does without a row.
fn not_asked(lease: &Lease, row: Row) -> Option<&'static str> {
    let resources = &lease.resources;
    match row {
        // What is not looked at is not met. Of the tags, those of everything but the tables are.
        Row::R3 if resources.tables_role.is_some() => {
            Some("the route tables are another account's, who sees to them")
        }
        Row::R4 | Row::R17 if resources.addresses.is_empty() => Some("the cluster has no Elastic IP"),
        Row::R8 | Row::R16 if !resources.needs_forwarding() => Some("the cluster has no route"),
        Row::X1 if resources.routes.is_empty() => Some("the cluster has no route"),
        Row::X4 if !resources.needs_forwarding() => Some("the cluster has no route"),
        _ => None,
    }
}
