//! A diagnosis as it is shown: `baton doctor`.

use baton_doctor::{Change, Diagnosis, Fix, Row, Standing};
use serde::Serialize;

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this form.
    pub schema_version: u32,
    /// The cluster.
    pub cluster: String,
    /// When it was examined.
    pub at: String,
    /// Whether nothing was found.
    pub clean: bool,
    /// How each row stands.
    pub rows: Vec<Standing>,
    /// What was found.
    pub findings: Vec<Diagnosis>,
    /// What `--fix` did before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Vec<Step>>,
}

/// A change of the plan, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The findings that it is for.
    pub findings: Vec<String>,
    /// The command that does the same.
    pub command: String,
    /// Whether it needs consent.
    pub fix: Fix,
    /// Whether EC2 says that you may; none: it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The change itself.
    #[serde(skip)]
    pub change: Change,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was made.
    Made,
    /// It failed, or nobody knows.
    Failed,
    /// It was not tried.
    Skipped,
}

/// The rows of the requirements that a finding is about.
pub fn rows(found: &Diagnosis) -> String {
    found.rows.iter().map(Row::to_string).collect::<Vec<_>>().join(" ")
}
