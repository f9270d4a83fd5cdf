//! A diagnosis: for people, as JSON, as lines, and as SARIF.

use baton_doctor::{Severity, Verdict};
use comfy_table::{Cell, ColumnConstraint, ContentArrangement};

use super::{json, sarif, table, tsv};
use crate::args::Format;
use crate::console::Look;
use crate::report::{Outcome, Report, rows};
use crate::text::printable;
use crate::trouble::Trouble;

/// Writes a diagnosis.
pub fn report(report: &Report, format: Format, look: Look) -> Result<String, Trouble> {
    match format {
        Format::Table => Ok(for_people(report, look)),
        Format::Json => json::text(report, look),
        Format::Tsv => Ok(lines(report)),
        Format::Sarif => json::text(&sarif::log(report), look),
    }
}

pub(super) fn weight(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Unknown => "unknown",
        Severity::Violation => "violation",
    }
}

fn for_people(report: &Report, look: Look) -> String {
    let mut rows = table::table(look, &["Row", "Requirement", "Verdict", "Note"]);
    for row in &report.rows {
        rows.add_row(vec![
            Cell::new(row.row),
            Cell::new(row.title),
            Cell::new(row.verdict.as_str()),
            Cell::new(row.note.unwrap_or_default()),
        ]);
    }
    if let Some(width) = look.width {
        rows.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(80));
        rows.column_iter_mut().take(3).for_each(|column| {
            column.set_constraint(ColumnConstraint::ContentWidth);
        });
    }
    let count = |verdict: Verdict| report.rows.iter().filter(|row| row.verdict == verdict).count();
    let mut text = format!("Cluster {}, examined at {}\n{}", report.cluster, report.at, table::body(&rows));
    text.push_str(&format!(
        "{} rows are met, {} violated, {} unknown, {} not needed\n",
        count(Verdict::Met),
        count(Verdict::Violated),
        count(Verdict::Unknown),
        count(Verdict::NotNeeded)
    ));
    for step in report.plan.iter().flatten() {
        let (word, why) = match (step.outcome, &step.why) {
            (Outcome::Made, _) => ("made", String::new()),
            (Outcome::Failed, why) => ("failed", why.clone().unwrap_or_default()),
            (Outcome::Skipped, why) => ("skipped", why.clone().unwrap_or_default()),
        };
        text.push_str(&format!("{:<9} {}\n", format!("{word}:"), printable(&step.command)));
        if !why.is_empty() {
            text.push_str(&format!("          {}\n", printable(&why)));
        }
    }
    for found in &report.findings {
        text.push_str(&format!(
            "\n{}: {} [{}] {}\n  why:    {}\n",
            weight(found.severity),
            found.id,
            self::rows(found),
            printable(&found.what),
            printable(&found.why)
        ));
        for remedy in &found.remedy {
            text.push_str(&format!("  remedy: {}\n", printable(remedy)));
        }
        text.push_str(&format!("  --fix:  {}\n", found.fix.as_str()));
    }
    if report.findings.is_empty() {
        text.push_str("Nothing was found.\n");
    }
    text
}

/// One line for each thing that was found.
fn lines(report: &Report) -> String {
    let header = ["id", "rows", "severity", "where", "what", "why", "remedy", "fix"];
    let found = report.findings.iter().map(|found| {
        tsv::line(&[
            &found.id,
            &rows(found),
            weight(found.severity),
            &found.place,
            &found.what,
            &found.why,
            &found.remedy.join("; "),
            found.fix.as_str(),
        ])
    });
    std::iter::once(tsv::line(&header)).chain(found).collect()
}
