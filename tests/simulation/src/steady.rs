//! Quiet times: nothing is wrong but that calls fail now and then. How often does a healthy holder lose its lease?

use serde::Serialize;

use crate::batch;
use crate::clock::SECOND;
use crate::plan;

/// What was found for one rate.
#[derive(Debug, Clone, Serialize)]
pub struct Steady {
    /// The timing.
    pub profile: &'static str,
    /// How many of a million calls are lost, in either direction.
    pub lost_per_million: u32,
    /// How many years were simulated.
    pub years: f64,
    /// How many grants followed the first.
    pub false_failovers: u64,
    /// The same for each year.
    pub per_year: f64,
}

/// Simulates so many hours for each rate.
pub fn measure(hours: u64) -> Vec<Steady> {
    let mut found = Vec::new();
    for profile in ["default", "fast"] {
        for lost_per_million in [1_000, 10_000, 50_000, 100_000] {
            let batch = batch::run(0..hours, |seed| plan::steady(seed, profile, lost_per_million));
            let years = batch.simulated.as_secs_f64() / (365.25 * 86_400.0);
            let false_failovers = batch.grants.saturating_sub(batch.runs);
            let per_year = false_failovers as f64 / years;
            found.push(Steady { profile, lost_per_million, years, false_failovers, per_year });
        }
    }
    found
}

/// The length of one such run.
pub const HOUR: u64 = 3_600 * SECOND;
