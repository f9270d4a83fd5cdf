//! A move as a person enjoys reading it: one line per event, in seconds from the fault.

use baton_sandbox::Stage;
use serde_json::Value;

use super::measure::{self, Fault};
use super::scenario::{Outcome, Scenario};
use crate::output;

/// One line.
struct Line {
    at: f64,
    what: &'static str,
    detail: String,
}

/// Prints the whole move.
pub(crate) fn print(stage: &Stage, scenario: Scenario, outcome: &Outcome) {
    let mut lines = vec![Line { at: 0.0, what: "fault", detail: scenario.title(&outcome.from) }];
    lines.extend(from_history(&outcome.history, &outcome.fault));
    if let Some(at) = measure::logged(stage, &outcome.to, "serving", &outcome.fault) {
        let detail = format!("node {}'s promote hook is done", outcome.to);
        lines.push(Line { at: outcome.fault.seconds_until_wall(at), what: "promoted", detail });
    }
    if outcome.ground == "release" {
        let detail = format!(
            "node {} has stopped serving and swears off epoch {}",
            outcome.from, outcome.epoch_before
        );
        lines.push(Line { at: outcome.claimed_s, what: "released", detail });
    }
    let detail = format!("a client gets its first answer from node {}", outcome.to);
    lines.push(Line { at: outcome.serving_s, what: "serving", detail });
    let detail = "EC2, asked by another client, shows every address and route there".to_owned();
    lines.push(Line { at: outcome.moved_s, what: "moved", detail });
    lines.sort_by(|a, b| a.at.total_cmp(&b.at));
    for line in lines {
        output::note(&format!("  {:>8.3}s  {:<10} {}", line.at, output::bold(line.what), line.detail));
    }
}

fn from_history(history: &[Value], fault: &Fault) -> Vec<Line> {
    let mut lines = Vec::new();
    let at = |text: &Value| measure::wall_ms(text).ok().map(|ms| fault.seconds_until_wall(ms));
    for row in history {
        let Some(when) = at(&row["at"]) else { continue };
        match row["what"].as_str() {
            Some("granted") => {
                lines.extend(grounds(row, &at));
                let detail =
                    format!("epoch {} to node {}: {}", row["epoch"], word(&row["to"]), word(&row["reason"]));
                lines.push(Line { at: when, what: "granted", detail });
            }
            Some("step") => {
                let outcome = row["failure"].as_str().map_or_else(String::new, |why| format!(", {why}"));
                let took = row["took_ms"].as_u64().unwrap_or_default();
                let detail =
                    format!("{} {} ({took} ms{outcome})", word(&row["call"]), word(&row["resource"]));
                lines.push(Line { at: when, what: "step", detail });
            }
            Some("moved") => {
                let detail = "Baton has read every resource back and recorded it".to_owned();
                lines.push(Line { at: when, what: "verified", detail });
            }
            _ => {}
        }
    }
    lines
}

/// What a grant on ground silence rests on.
fn grounds(row: &Value, at: &dyn Fn(&Value) -> Option<f64>) -> Vec<Line> {
    let mut lines = Vec::new();
    if let (Some(beat), true) = (at(&row["holder_beat_at"]), row["ground"] == "silence") {
        let detail = format!("node {}'s last heartbeat, number {}", word(&row["from"]), row["holder_seq"]);
        lines.push(Line { at: beat, what: "last beat", detail });
    }
    if let Some(claimed) = at(&row["claimed_at"]) {
        let silent = row["silent_ms"].as_u64().unwrap_or_default();
        let detail = format!(
            "node {} has seen nothing new for {}.{} s, counted on its own clock",
            word(&row["claimed_by"]),
            silent / 1_000,
            silent % 1_000 / 100
        );
        lines.push(Line { at: claimed, what: "claim", detail });
    }
    lines
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
