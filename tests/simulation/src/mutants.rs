//! Every deliberate fault, and the first seed that shows it.

use baton_protocol::mutant::Mutant;
use serde::Serialize;

use crate::batch;
use crate::invariant::sentence;
use crate::plan::{self, Plan};

/// What became of one.
#[derive(Debug, Clone, Serialize)]
pub struct Fate {
    /// Its id.
    pub id: &'static str,
    /// What is wrong while it is on.
    pub what: &'static str,
    /// Whether a promise was found broken.
    pub killed: bool,
    /// Which.
    pub invariant: Option<&'static str>,
    /// The promise, in words.
    pub sentence: Option<&'static str>,
    /// The first seed that shows it.
    pub seed: Option<u64>,
    /// By which schedule: `random` or `adversarial`.
    pub schedule: Option<&'static str>,
    /// How many runs it took.
    pub seeds: u64,
}

type Schedule = (&'static str, fn(u64) -> Plan);

/// The schedules, tried in turn.
const SCHEDULES: [Schedule; 2] = [("random", plan::random), ("adversarial", plan::adversarial)];

/// How many seeds are run at once.
const CHUNK: u64 = 128;

/// Looks for the first seed, within so many of each schedule, that shows the fault.
pub fn hunt(mutant: Mutant, limit: u64) -> Fate {
    mutant.switch_on();
    let fate = search(mutant, limit);
    Mutant::switch_off();
    fate
}

fn search(mutant: Mutant, limit: u64) -> Fate {
    let mut seeds = 0;
    for from in (0..limit).step_by(usize::try_from(CHUNK).expect("small")) {
        for (schedule, plan) in SCHEDULES {
            let until = (from + CHUNK).min(limit);
            let batch = batch::run(from..until, plan);
            if let Some((seed, violation)) = batch.violations.first_key_value() {
                return Fate {
                    id: mutant.id(),
                    what: mutant.what(),
                    killed: true,
                    invariant: Some(violation.invariant),
                    sentence: Some(sentence(violation.invariant)),
                    seed: Some(*seed),
                    schedule: Some(schedule),
                    seeds: seeds + seed - from + 1,
                };
            }
            seeds += until - from;
        }
    }
    Fate {
        id: mutant.id(),
        what: mutant.what(),
        killed: false,
        invariant: None,
        sentence: None,
        seed: None,
        schedule: None,
        seeds,
    }
}

/// The largest number of seeds of each schedule that any of the killed needed: what the code without faults has to stand.
pub fn largest_seed(fates: &[Fate]) -> u64 {
    fates.iter().filter_map(|fate| fate.seed).max().map_or(0, |seed| seed + 1)
}
