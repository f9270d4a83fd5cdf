//! How two implementations are compared on sequences nobody thought of: some that never change, and some that are others
//! each time.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseResult, TestRunner};

/// Sequences that never change, so that what they reach can be asked for.
pub fn fixed(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(0xBA70), failure_persistence: None, ..Config::default() }
}

/// Sequences that are others each time; `PROPTEST_CASES` asks for more. The seed of one that fails is kept in
/// `failed_once` and tried again for ever, so a file that appears there is committed.
pub fn fresh(cases: u32, failed_once: &'static str) -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    Config {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(failed_once))),
        ..Config::default()
    }
}

/// Runs one case after another.
///
/// # Panics
///
/// If one fails, with the smallest sequence that does.
pub fn run<S: Strategy>(config: Config, sequences: &S, case: impl Fn(S::Value) -> TestCaseResult) {
    if let Err(failure) = TestRunner::new(config).run(sequences, case) {
        panic!("{failure}");
    }
}
