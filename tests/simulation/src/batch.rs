//! Many runs, on every core, and what they have shown together. The result does not depend on how they were spread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::plan::Plan;
use crate::sometimes::Seen;
use crate::watch::Violation;
use crate::world::{self, Ended};

/// What a batch has shown.
#[derive(Debug, Default)]
pub struct Batch {
    /// How many runs.
    pub runs: u64,
    /// The runs in which a promise was broken.
    pub violations: BTreeMap<u64, Violation>,
    /// How many events, faults and grants.
    pub steps: u64,
    /// How many faults began.
    pub faults: u64,
    /// How many grants were made.
    pub grants: u64,
    /// How much time was simulated.
    pub simulated: Duration,
    /// What was seen.
    pub seen: Seen,
    /// How long it took.
    pub took: Duration,
    samples: BTreeMap<(String, &'static str), Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    granted: Vec<u32>,
    serving: Vec<u32>,
    associated: Vec<u32>,
}

/// Three quantiles, in seconds of simulated time.
#[derive(Debug, Clone, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub n: usize,
    /// The median.
    pub p50: f64,
    /// One in a hundred takes longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What follows one kind of fault.
#[derive(Debug, Clone, Serialize)]
pub struct Times {
    /// Until the lease was granted to another node.
    pub granted: Option<Quantiles>,
    /// Until that node's promote hook was done.
    pub serving: Option<Quantiles>,
    /// Until every address and route was at that node.
    pub associated: Option<Quantiles>,
}

/// How many threads run side by side.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs the plans of these seeds.
pub fn run(seeds: std::ops::Range<u64>, plan: impl Fn(u64) -> Plan + Sync) -> Batch {
    let begun = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let mut batch = Batch::default();
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads())
            .map(|_| {
                scope.spawn(|| {
                    let mut part = Batch::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return part;
                        }
                        part.take(seed, world::run(&plan(seed), false));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a run panics only on a fault of the simulator"))
            .collect::<Vec<_>>()
    });
    for part in parts {
        batch.join(part);
    }
    batch.took = begun.elapsed();
    batch
}

impl Batch {
    fn take(&mut self, seed: u64, ended: Ended) {
        self.runs += 1;
        self.steps += ended.steps;
        self.faults += ended.faults;
        self.grants += ended.grants;
        self.simulated += Duration::from_nanos(ended.length);
        self.seen.join(ended.seen);
        if let Some(violation) = ended.violation {
            self.violations.insert(seed, violation);
        }
        let Some(kind) = ended.measure.kind else { return };
        let samples = self.samples.entry((kind.name(), ended.measure.profile)).or_default();
        let ms = |time: Option<u64>| time.and_then(|time| u32::try_from(time / crate::clock::MS).ok());
        samples.granted.extend(ms(ended.measure.granted));
        samples.serving.extend(ms(ended.measure.serving));
        samples.associated.extend(ms(ended.measure.associated));
    }

    fn join(&mut self, part: Self) {
        self.runs += part.runs;
        self.steps += part.steps;
        self.faults += part.faults;
        self.grants += part.grants;
        self.simulated += part.simulated;
        self.seen.join(part.seen);
        self.violations.extend(part.violations);
        for (key, more) in part.samples {
            let samples = self.samples.entry(key).or_default();
            samples.granted.extend(more.granted);
            samples.serving.extend(more.serving);
            samples.associated.extend(more.associated);
        }
    }

    /// How many runs a second.
    pub fn runs_per_second(&self) -> f64 {
        self.runs as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// Something for each run, on average.
    pub fn per_run(&self, what: u64) -> f64 {
        what as f64 / self.runs.max(1) as f64
    }

    /// By kind of fault and by timing, what followed it.
    pub fn times(&self) -> BTreeMap<String, BTreeMap<&'static str, Times>> {
        let mut times: BTreeMap<String, BTreeMap<&'static str, Times>> = BTreeMap::new();
        for ((kind, profile), samples) in &self.samples {
            let entry = Times {
                granted: quantiles(&samples.granted),
                serving: quantiles(&samples.serving),
                associated: quantiles(&samples.associated),
            };
            times.entry(kind.clone()).or_default().insert(profile, entry);
        }
        times
    }
}

fn quantiles(samples: &[u32]) -> Option<Quantiles> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    let at = |percent: usize| f64::from(sorted[last * percent / 100]) / 1_000.0;
    Some(Quantiles { n: sorted.len(), p50: at(50), p99: at(99), max: at(100) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_same_however_it_is_spread() {
        let plan = |seed| crate::plan::random(seed);
        let (one, other) = (run(0..24, plan), run(0..24, plan));
        assert_eq!((one.steps, one.grants, one.seen), (other.steps, other.grants, other.seen));
        assert_eq!(one.violations, other.violations);
        assert_eq!(format!("{:?}", one.times()), format!("{:?}", other.times()));
    }

    #[test]
    fn quantiles_of_nothing_are_none_and_of_a_hundred_are_theirs() {
        assert!(quantiles(&[]).is_none());
        let hundred: Vec<u32> = (0..=100).map(|n| n * 1_000).collect();
        let found = quantiles(&hundred).expect("samples");
        assert_eq!((found.p50, found.p99, found.max), (50.0, 99.0, 100.0));
    }
}
