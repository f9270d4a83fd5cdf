//! `baton-agent explain`: where each duration of a timing comes from, and what follows from all of them.
//!
//! Nothing is decided here and nothing is read but the timing: what the agent goes by comes with the lease, and
//! [`baton_protocol::timing`] refuses one that does not add up. This shows the sums.

use std::fmt::Write as _;
use std::time::Duration;

use baton_protocol::timing::{Durations, Timing, TimingError};
use serde::Serialize;

use crate::config::{Check, Config};

/// A timing under the name that an operator gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// `default`, `fast`, or `own`.
    pub name: &'static str,
    /// The timing.
    pub timing: Timing,
}

/// What cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Neither a profile nor durations.
    #[error(
        "expected `default`, `fast` or a JSON object with the seven durations of a timing, as `baton status --format json` \
         shows one, found `{0}`"
    )]
    Unknown(String),
    /// Durations that no cluster may have.
    #[error("this is no timing: {0}")]
    Refused(#[from] TimingError),
}

impl Named {
    /// Both profiles.
    pub const PROFILES: [Self; 2] =
        [Self { name: "default", timing: Timing::DEFAULT }, Self { name: "fast", timing: Timing::FAST }];

    /// What an operator has asked for.
    pub fn read(text: &str) -> Result<Self, ExplainError> {
        if let Some(profile) = Self::PROFILES.into_iter().find(|profile| profile.name == text) {
            return Ok(profile);
        }
        let unknown = |_| ExplainError::Unknown(text.chars().take(200).collect());
        let durations: Durations = serde_json::from_str(text).map_err(unknown)?;
        Ok(Self { name: "own", timing: Timing::new(durations)? })
    }
}

/// One line: a duration, how it is made, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name; the same as in the lease where it stands there.
    pub name: String,
    /// Its letter in the protocol's formulas, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<&'static str>,
    /// In milliseconds; of the clock's error in parts per million.
    pub value: u64,
    /// How it is made.
    pub formula: String,
    /// Where the rule stands.
    pub source: &'static str,
}

/// A timing, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// `default`, `fast` or `own`.
    pub timing: &'static str,
    /// From what is chosen to what follows.
    pub lines: Vec<Line>,
}

const LEASE: &str = "the lease: the cluster's registration (infra/cluster.yaml, `Timing`)";
const INEQUALITY: &str = "docs/PROTOCOL.md, Timing: no two holders";
const NO_NEEDLESS_FENCE: &str = "docs/PROTOCOL.md, Timing: no needless fence";
const STANDBY: &str = "docs/PROTOCOL.md, The standby";
const CONFIGURATION: &str = "this node's configuration: baton-agent.toml(5), KEYS OF A CHECK";

/// Explains a timing, and how soon the checks of a configuration notice a failure.
pub fn explain(named: &Named, config: Option<&Config>) -> Explained {
    let mut lines = chosen(&named.timing.durations());
    lines.extend(derived(&named.timing));
    for cluster in config.into_iter().flat_map(|config| &config.clusters) {
        lines.extend(cluster.checks.iter().map(|check| noticed(cluster.name.as_str(), check)));
    }
    Explained { timing: named.name, lines }
}

fn line(
    name: &str,
    symbol: Option<&'static str>,
    value: u64,
    formula: impl Into<String>,
    source: &'static str,
) -> Line {
    Line { name: name.to_owned(), symbol, value, formula: formula.into(), source }
}

fn chosen(d: &Durations) -> Vec<Line> {
    let Durations { heartbeat_ms: h, attempt_timeout_ms: a, .. } = *d;
    vec![
        line("heartbeat_ms", Some("h"), h, "from one heartbeat to the next, ±10 %", LEASE),
        line("attempt_timeout_ms", Some("a"), a, "a call to the table that takes longer is unknown", LEASE),
        line("validity_ms", Some("TTL"), d.validity_ms, "from the sending of a confirmed heartbeat", LEASE),
        line("fence_ms", Some("D"), d.fence_ms, "from the end of validity until nobody is answered", LEASE),
        line(
            "hidden_pause_ms",
            Some("P"),
            d.hidden_pause_ms,
            "a pause of the machine that its clock does not show",
            LEASE,
        ),
        line("clock_error_ppm", Some("ρ"), d.clock_error_ppm, "error of a clock's rate, either way", LEASE),
        line(
            "silence_ms",
            Some("S"),
            d.silence_ms,
            "nothing new seen for so long, and a standby claims",
            LEASE,
        ),
    ]
}

fn derived(timing: &Timing) -> Vec<Line> {
    let d = timing.durations();
    let Durations { heartbeat_ms: h, attempt_timeout_ms: a, validity_ms: ttl, silence_ms: s, .. } = d;
    let (fence, pause) = (d.fence_ms, d.hidden_pause_ms);
    let (least_validity, least_silence) = (3 * a + h, milliseconds(timing.least_silence()));
    let stopped = stretched(ttl, d.clock_error_ppm) + fence + pause;
    let gap = milliseconds(timing.longest_read_gap());
    let claim = stretched(s, d.clock_error_ppm) + 2 * gap + 2 * a;
    vec![
        line("validity_least", None, least_validity, format!("3·a + h = 3·{a} + {h}"), NO_NEEDLESS_FENCE),
        line(
            "validity_margin",
            None,
            ttl - least_validity,
            format!("TTL − (3·a + h) = {ttl} − {least_validity}"),
            NO_NEEDLESS_FENCE,
        ),
        line(
            "stopped_at_most",
            None,
            stopped,
            format!("TTL·(1+ρ) + D + P, from the last confirmed heartbeat = {ttl}·(1+ρ) + {fence} + {pause}"),
            INEQUALITY,
        ),
        line(
            "silence_least",
            None,
            least_silence,
            format!("(TTL·(1+ρ) + D + P) / (1−ρ) = {stopped} / (1−ρ)"),
            INEQUALITY,
        ),
        line(
            "silence_margin",
            None,
            s - least_silence,
            format!("S − the least = {s} − {least_silence}"),
            INEQUALITY,
        ),
        line(
            "read_gap_most",
            Some("G"),
            gap,
            format!("h + 2·a = {h} + 2·{a}; after more, silence begins anew"),
            STANDBY,
        ),
        line(
            "claim_usual",
            None,
            s + h,
            format!("S + h, from the holder's last heartbeat = {s} + {h}"),
            STANDBY,
        ),
        line(
            "claim_at_most",
            None,
            claim,
            format!("S·(1+ρ) + 2·G + 2·a, while each call is answered in time = {s}·(1+ρ) + 2·{gap} + 2·{a}"),
            STANDBY,
        ),
    ]
}

/// A check is bad after `fall` tries, the last of which may take all its time.
fn noticed(cluster: &str, check: &Check) -> Line {
    let (interval, timeout) = (milliseconds(check.interval), milliseconds(check.timeout));
    let fall = u64::from(check.fall);
    Line {
        name: format!("bad_at_most {cluster}/{}", check.name),
        symbol: None,
        value: fall * interval + timeout,
        formula: format!(
            "fall·interval + timeout = {fall}·{interval} + {timeout}; a release follows within h"
        ),
        source: CONFIGURATION,
    }
}

/// On a clock that may be slow, rounded up.
fn stretched(length_ms: u64, clock_error_ppm: u64) -> u64 {
    (length_ms * (1_000_000 + clock_error_ppm)).div_ceil(1_000_000)
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// For people.
pub fn in_words(explained: &[Explained]) -> String {
    let mut text = String::new();
    for Explained { timing, lines } in explained {
        let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or_default();
        let _ = writeln!(text, "timing {timing}");
        for Line { name, symbol, value, formula, source } in lines {
            let symbol = symbol.unwrap_or_default();
            let unit = if name == "clock_error_ppm" { "ppm" } else { "ms" };
            let _ = writeln!(text, "  {name:<width$}  {symbol:<3}  {value:>6} {unit:<3}  {formula}");
            let _ = writeln!(text, "  {:<width$}                     {source}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(explained: &Explained, name: &str) -> u64 {
        explained.lines.iter().find(|line| line.name == name).expect(name).value
    }

    #[test]
    fn the_sums_are_those_of_the_document() {
        let [default, fast] = Named::PROFILES.map(|profile| explain(&profile, None));
        assert_eq!(value(&default, "stopped_at_most"), 5_790);
        assert_eq!(value(&default, "silence_least"), 5_849);
        assert_eq!(value(&default, "silence_margin"), 151);
        assert_eq!((value(&default, "claim_usual"), value(&default, "claim_at_most")), (7_000, 12_260));
        assert_eq!(value(&fast, "silence_least"), 3_460);
        assert_eq!(value(&fast, "validity_margin"), 200);
    }

    #[test]
    fn a_timing_of_ones_own_is_held_to_the_same_rules() {
        let mut durations = Timing::DEFAULT.durations();
        let text = |durations: &Durations| serde_json::to_string(durations).expect("numbers");
        assert_eq!(Named::read(&text(&durations)).expect("a timing").timing, Timing::DEFAULT);
        durations.silence_ms = 5_000;
        let refused = Named::read(&text(&durations)).expect_err("too short a silence").to_string();
        assert!(refused.starts_with("this is no timing: silence_ms is 5000"), "{refused}");
        let unknown = Named::read("quick").expect_err("no profile").to_string();
        assert!(unknown.contains("found `quick`"), "{unknown}");
        assert_eq!(Named::read("fast").expect("a profile").timing, Timing::FAST);
    }

    #[test]
    fn every_line_says_where_its_rule_stands_and_each_check_has_one() {
        let text = include_str!("../dist/agent.toml");
        let config = crate::config::parse("agent.toml", text).expect("the example");
        let explained = explain(&Named::PROFILES[0], Some(&config));
        assert_eq!(value(&explained, "bad_at_most orders/web"), 3 * 2_000 + 1_000);
        let words = in_words(std::slice::from_ref(&explained));
        for line in &explained.lines {
            assert!(!line.source.is_empty() && words.contains(&line.formula), "{line:?}");
        }
        let json = serde_json::to_value(&explained).expect("JSON");
        assert_eq!(json["lines"][0]["name"], "heartbeat_ms");
    }
}
