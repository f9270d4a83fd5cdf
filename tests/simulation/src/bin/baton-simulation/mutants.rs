//! The hunt for every deliberate fault, on the command line.

use std::path::Path;

use baton_protocol::mutant::Mutant;
use baton_simulation::mutants::{Fate, hunt, largest_seed};
use baton_simulation::{batch, document};
use serde_json::json;

use crate::{note, print, schedule};

/// Hunts for all of them, or for one.
pub(crate) fn hunt_all(limit: u64, only: Option<&str>) -> Vec<Fate> {
    let chosen = Mutant::ALL.iter().filter(|mutant| only.is_none_or(|id| mutant.id() == id));
    let hunted = chosen.map(|mutant| {
        let fate = hunt(*mutant, limit);
        note(&match (fate.invariant, fate.seed, fate.schedule) {
            (Some(invariant), Some(seed), Some(schedule)) => {
                format!(
                    "{:>5}  {invariant:<4} {schedule} seed {seed}, {} runs: {}",
                    fate.id, fate.seeds, fate.what
                )
            }
            _ => format!("{:>5}  NOT FOUND in {} runs: {}", fate.id, fate.seeds, fate.what),
        });
        fate
    });
    hunted.collect()
}

/// Whether all were found, and the code without faults stands what they were found by.
pub(crate) fn report(fates: &[Fate], json: bool) -> bool {
    let seeds = largest_seed(fates);
    let stands = |adversarial: &bool| batch::run(0..seeds, schedule(*adversarial)).violations.is_empty();
    let clean = [false, true].iter().all(stands);
    let how = if clean { "clean" } else { "NOT CLEAN" };
    let killed = fates.iter().filter(|fate| fate.killed).count();
    note(&format!(
        "{killed} of {} found; without a fault the first {seeds} seeds of both schedules are {how}",
        fates.len()
    ));
    if json {
        print(&json!({ "mutants": fates, "clean": clean, "clean_seeds": seeds }).to_string());
    }
    clean && killed == fates.len()
}

/// Whether the document's table says the same.
pub(crate) fn compare(path: &Path, fates: &[Fate], bless: bool) -> bool {
    match document::agrees(path, "mutants", &document::mutants(fates), bless) {
        Ok(true) => true,
        Ok(false) => {
            note(
                "the table of faults in the document differs: run `cargo xtask sim --mutants --bless` and read the diff",
            );
            false
        }
        Err(error) => {
            note(&error);
            false
        }
    }
}
