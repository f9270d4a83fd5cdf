//! What every build shows in seconds: the same seed gives the same run, and a few hundred runs break no promise. The real
//! numbers are run by `cargo xtask sim`, optimised.

use baton_simulation::plan::{self, Plan};
use baton_simulation::{batch, world};

const SCHEDULES: [fn(u64) -> Plan; 2] = [plan::random, plan::adversarial];

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for schedule in SCHEDULES {
        for seed in 0..20 {
            let once = world::run(&schedule(seed), true);
            let again = world::run(&schedule(seed), true);
            assert_eq!(once.trace, again.trace, "seed {seed}");
            assert!(once.trace.len() > 20, "seed {seed} shows nothing");
        }
    }
}

#[test]
fn tracing_a_run_changes_nothing_in_it() {
    for seed in 0..20 {
        let seen = world::run(&plan::random(seed), true);
        let unseen = world::run(&plan::random(seed), false);
        assert_eq!((seen.steps, seen.grants, seen.length), (unseen.steps, unseen.grants, unseen.length));
    }
}

#[test]
fn no_promise_is_broken_in_the_first_runs_of_either_schedule() {
    for schedule in SCHEDULES {
        let batch = batch::run(0..150, schedule);
        assert_eq!(batch.violations, Default::default());
        assert!(batch.grants > 2 * batch.runs, "runs in which little happens prove little");
        assert!(batch.faults >= 3 * batch.runs, "at least three faults a run");
        assert!(batch.simulated.as_secs() >= 100 * batch.runs, "at least 100 s a run");
    }
}

/// One process has one fault at a time, so this is one test.
#[cfg(feature = "mutants")]
#[test]
fn a_deliberate_fault_is_noticed_and_the_code_without_it_is_clean() {
    use baton_protocol::mutant::Mutant;
    use baton_simulation::mutants::hunt;

    for (mutant, promise) in
        [(Mutant::ReleaseBeforeDemote, "I5"), (Mutant::NoGuard, "I7"), (Mutant::SilenceIsValidity, "I3")]
    {
        let fate = hunt(mutant, 128);
        assert_eq!(fate.invariant, Some(promise), "{fate:?}");
    }
    assert_eq!(batch::run(0..64, plan::random).violations, Default::default());
}
