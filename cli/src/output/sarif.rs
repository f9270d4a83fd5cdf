//! SARIF 2.1.0, the part of it that findings without files need
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

use baton_doctor::{CHECKS, Diagnosis, Severity};
use serde_json::{Value, json};

use crate::report::{Report, rows};

/// One run with a result for each finding.
pub(super) fn log(report: &Report) -> Value {
    let mut rules: Vec<(String, String)> =
        CHECKS.iter().map(|check| (check.id.to_owned(), check.why.to_owned())).collect();
    // What a registration is examined for has no list; a rule is what a result names.
    for found in &report.findings {
        if !rules.iter().any(|(id, _)| *id == found.id) {
            rules.push((found.id.clone(), found.why.clone()));
        }
    }
    let rules: Vec<Value> =
        rules.iter().map(|(id, why)| json!({ "id": id, "shortDescription": { "text": why } })).collect();
    let results: Vec<Value> = report.findings.iter().map(|found| result(report, found)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "baton doctor",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

fn result(report: &Report, found: &Diagnosis) -> Value {
    let remedy = found.remedy.join("; ");
    json!({
        "ruleId": found.id,
        // What nobody knows is open, and none of the levels.
        "kind": if found.severity == Severity::Unknown { "open" } else { "fail" },
        "level": match found.severity {
            Severity::Violation => "error",
            Severity::Warning => "warning",
            Severity::Info => "note",
            Severity::Unknown => "none",
        },
        "message": { "text": format!("{}: {}; {}", found.what, found.why, remedy) },
        "locations": [{ "logicalLocations": [{
            "name": found.place,
            "fullyQualifiedName": format!("{}/{}", report.cluster, found.place),
            "kind": "resource",
        }]}],
        "properties": { "rows": rows(found), "fix": found.fix.as_str() },
    })
}
