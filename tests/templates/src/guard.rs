//! Rules that others maintain for templates: checkov's, pinned in `tests/sandbox/python/requirements-checkov.txt`.
//!
//! A rule that does not fit is suppressed where it would apply, by a comment in the resource:
//! `# checkov:skip=CKV_AWS_117:the reason`. Each suppression needs a reason, and each needs the rule to find something without
//! it, so that none outlives what it was for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use baton_sandbox::Venv;
use serde_json::Value;

use crate::workspace;

/// What a suppression begins with.
const SKIP: &str = "checkov:skip=";
/// No reason is shorter than this, in characters.
const SHORTEST_REASON: usize = 20;

/// A rule, and the resource that it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// The rule: `CKV_AWS_117`.
    pub rule: String,
    /// The resource, by type and logical id: `AWS::Lambda::Function.Arbiter`.
    pub resource: String,
    /// What the rule asks for.
    pub title: String,
}

/// What the rules say of one template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How often a rule was looked at and met.
    pub passed: usize,
    /// What is not met.
    pub failed: BTreeSet<Match>,
    /// What is suppressed.
    pub skipped: BTreeSet<Match>,
}

/// The templates of `infra/`, examples included, by their paths in it.
pub fn templates() -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for directory in ["", "examples/"] {
        let path = workspace("infra").join(directory);
        let entries = fs::read_dir(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("reading {}: {error}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".yaml") {
                found.push(format!("{directory}{name}"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Holds a template to the rules. `scratch` is a directory for a copy without suppressions. Returns what is wrong, in
/// sentences, and how often a rule was met.
pub fn examine(venv: &Venv, name: &str, scratch: &Path) -> Result<(Vec<String>, usize), String> {
    let path = workspace("infra").join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("reading {name}: {error}"))?;
    let copy = scratch.join("bare.yaml");
    fs::write(&copy, bare(&text)).map_err(|error| format!("writing {}: {error}", copy.display()))?;
    let (report, without) = (run(venv, &path)?, run(venv, &copy)?);
    Ok((wrong(name, &text, &report, &without), report.passed))
}

/// What is wrong with a template, by the rules' report of it and by their report of the same without suppressions.
pub fn wrong(name: &str, text: &str, report: &Report, without: &Report) -> Vec<String> {
    let failed = report
        .failed
        .iter()
        .map(|found| format!("{name}: {} of {}: {}", found.rule, found.resource, found.title));
    let stale =
        report.skipped.iter().filter(|skipped| !without.failed.contains(skipped)).map(|skipped| {
            format!("{name}: {} of {} is suppressed for nothing", skipped.rule, skipped.resource)
        });
    let hidden = report.skipped.len() != suppressions(text);
    let hidden = hidden.then(|| format!("{name}: suppressions and what they suppress differ in number"));
    failed.chain(stale).chain(hidden).chain(without_reason(name, text)).collect()
}

/// The suppressions of a template that do not say why, or not where a reader looks.
pub fn without_reason(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some((_, skip)) = line.split_once(SKIP) {
            let reason = skip.split_once(':').map_or("", |(_, reason)| reason.trim());
            if !line.trim().starts_with('#') || reason.chars().count() < SHORTEST_REASON {
                found.push(format!("{place}: a suppression without its reason"));
            }
        } else if line.trim_start().starts_with("checkov:") || line.contains("bridgecrew:") {
            found.push(format!("{place}: a suppression that is no comment `# {SKIP}RULE:reason`"));
        }
    }
    found
}

/// How many suppressions a template has.
fn suppressions(text: &str) -> usize {
    text.matches(SKIP).count()
}

/// The template without its suppressions; no line moves.
fn bare(text: &str) -> String {
    text.replace(SKIP, "would be skipped: ")
}

/// Runs the rules on a file, without asking anything of the network.
fn run(venv: &Venv, path: &Path) -> Result<Report, String> {
    let output = venv
        .module("checkov.main")
        .args(["--framework", "cloudformation", "--skip-download", "--compact", "--output", "json", "--file"])
        .arg(path)
        .output()
        .map_err(|error| format!("checkov did not run: {error}"))?;
    read(&output.stdout).map_err(|why| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("checkov on {}: {why}: {}", path.display(), said.trim())
    })
}

/// Reads what checkov prints as JSON.
pub fn read(output: &[u8]) -> Result<Report, String> {
    let body: Value = serde_json::from_slice(output).map_err(|error| format!("no JSON: {error}"))?;
    let results = &body["results"];
    let of = |part: &str| -> Result<BTreeSet<Match>, String> {
        let all = results[part].as_array().ok_or_else(|| format!("a report without {part}"))?;
        all.iter().map(found).collect()
    };
    let errors = body["summary"]["parsing_errors"].as_u64();
    if errors != Some(0) {
        return Err(format!("{errors:?} errors of parsing, expected 0"));
    }
    let passed = results["passed_checks"].as_array().map_or(0, Vec::len);
    let report = Report { passed, failed: of("failed_checks")?, skipped: of("skipped_checks")? };
    // Rules that were not found say nothing as well.
    if report.passed == 0 {
        return Err("no rule was met, as if none had been looked at".to_owned());
    }
    Ok(report)
}

fn found(check: &Value) -> Result<Match, String> {
    let text = |key: &str| {
        check[key].as_str().map(str::to_owned).ok_or_else(|| format!("a result without {key}: {check}"))
    };
    Ok(Match { rule: text("check_id")?, resource: text("resource")?, title: text("check_name")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(failed: &[&str], skipped: &[&str]) -> Vec<u8> {
        let checks = |rules: &[&str]| -> Vec<Value> {
            let check = |rule: &&str| json!({ "check_id": rule, "resource": "T.R", "check_name": "is well" });
            rules.iter().map(check).collect()
        };
        let results = json!({
            "passed_checks": checks(&["CKV_1"]), "failed_checks": checks(failed), "skipped_checks": checks(skipped),
        });
        json!({ "results": results, "summary": { "parsing_errors": 0 } }).to_string().into_bytes()
    }

    const SKIPPED: &str = "  R:\n    # checkov:skip=CKV_2:since the rule does not know this kind\n";

    #[test]
    fn what_the_rules_find_is_told_and_a_report_that_says_nothing_is_no_report() {
        let report = read(&printed(&["CKV_3"], &["CKV_2"])).expect("a report");
        let without = read(&printed(&["CKV_2", "CKV_3"], &[])).expect("a report");
        assert_eq!(wrong("a.yaml", SKIPPED, &report, &without), ["a.yaml: CKV_3 of T.R: is well"]);
        for silent in [json!({ "passed": 0, "failed": 0 }), json!([]), json!({ "results": {} })] {
            assert!(read(silent.to_string().as_bytes()).is_err(), "{silent}");
        }
    }

    #[test]
    fn a_suppression_is_refused_without_a_reason_and_where_nothing_is_left_to_suppress() {
        assert_eq!(without_reason("a.yaml", SKIPPED), [] as [String; 0]);
        for bad in [
            "# checkov:skip=CKV_2",
            "# checkov:skip=CKV_2:",
            "# checkov:skip=CKV_2: no",
            "checkov:",
            "bridgecrew:",
        ] {
            assert_eq!(without_reason("a.yaml", bad).len(), 1, "{bad}");
        }
        let report = read(&printed(&[], &["CKV_2"])).expect("a report");
        let without = read(&printed(&[], &[])).expect("a report");
        let stale = "a.yaml: CKV_2 of T.R is suppressed for nothing";
        assert_eq!(wrong("a.yaml", SKIPPED, &report, &without), [stale]);
        // A suppression that the tool does not see, for its place or its spelling.
        assert_eq!(wrong("a.yaml", SKIPPED, &without, &without).len(), 1);
    }
}
