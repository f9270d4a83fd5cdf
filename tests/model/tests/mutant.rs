//! That a walk finds a deliberate fault. It is switched on in the whole process, so no other test may run beside it.
#![cfg(feature = "mutants")]

use baton_model::mutants::hunt;
use baton_model::walk::Manner;

#[test]
fn a_commit_that_does_not_compare_the_heartbeat_is_found() {
    let hunted = hunt(Some("m01"), Manner { threads: 2, memory_mb: 2_000, tell: false });
    assert!(hunted.all_are_killed(), "{hunted:?}");
}
