//! The inequality itself: how often two nodes serve at once against the length of silence, around the bound that
//! `S·(1−ρ) ≥ TTL·(1+ρ) + D + P` sets. Below it the promise must break, or the bound is too careful and costs every
//! cluster time; from it on it must hold.

use baton_protocol::timing::{Durations, Timing};
use serde::Serialize;

use crate::batch;
use crate::plan;

/// One length of silence.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// S, in milliseconds.
    pub silence_ms: u64,
    /// How many runs.
    pub runs: u64,
    /// In how many of them two nodes served at once.
    pub violations: u64,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Bound {
    /// The smallest S that is accepted, in milliseconds.
    pub required_ms: u64,
    /// By length of silence.
    pub rows: Vec<Row>,
    /// Whether two served at once below the bound, close to it, and never from it on.
    pub tight: bool,
}

/// So close to the bound, in milliseconds, violations must appear.
const CLOSE_MS: u64 = 100;

/// Runs so many seeds for each length of silence.
pub fn measure(seeds: u64) -> Bound {
    let durations = Timing::DEFAULT.durations();
    let required_ms = required(durations);
    let lengths = [4_000, 4_500, 5_000, 5_300, 5_500, 5_600, 5_700, 5_750, 5_800, required_ms - 10]
        .into_iter()
        .chain([required_ms, required_ms + 50, 6_000, 6_500]);
    let rows: Vec<Row> = lengths
        .map(|silence_ms| {
            let timing = Timing::unchecked(Durations { silence_ms, ..durations });
            let batch = batch::run(0..seeds, |seed| plan::at_the_bound(seed, timing));
            let overlaps = batch.violations.values().filter(|found| found.invariant == "I1").count();
            Row { silence_ms, runs: batch.runs, violations: overlaps as u64 }
        })
        .collect();
    let close = |row: &&Row| row.silence_ms < required_ms && row.silence_ms + CLOSE_MS >= required_ms;
    let breaks = rows.iter().filter(close).any(|row| row.violations > 0);
    let holds = rows.iter().filter(|row| row.silence_ms >= required_ms).all(|row| row.violations == 0);
    Bound { required_ms, rows, tight: breaks && holds }
}

fn required(durations: Durations) -> u64 {
    (1..)
        .find(|silence_ms| Timing::new(Durations { silence_ms: *silence_ms, ..durations }).is_ok())
        .expect("some S is safe")
}
