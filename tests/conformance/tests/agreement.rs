//! The table and its twin agree on sequences nobody thought of, and both keep their promises to a crowd.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use baton_conformance::engine::Engine;
use baton_conformance::sequences::{fixed, fresh, run};
use baton_conformance::store::coverage::Coverage;
use baton_conformance::store::random::{Operation, REPEATS, agree, sequences};
use baton_conformance::store::table::{Table, Wire, WiredTable};
use baton_store::MemoryStore;
use tokio::runtime::Runtime;

/// One engine and one runtime for all tests: what a client keeps open lives in the runtime that opened it.
static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::start);
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Sequences that never change, which have to reach everything that there is to reach.
const FIXED: u32 = 110;

/// Sequences that are others each time. `PROPTEST_CASES` asks for more.
const FRESH: u32 = 8;

/// Seeds of sequences that failed once. Each is tried again for ever, so a file that appears here is committed.
const FAILED_ONCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/agreement.txt");

#[test]
fn both_stores_agree_on_random_sequences() {
    let wire = RUNTIME.block_on(Wire::new(&ENGINE));
    let (coverage, repeats) = (RefCell::new(Coverage::default()), RefCell::new(BTreeSet::new()));
    let case = |(held, operations): (bool, Vec<Operation>)| {
        RUNTIME.block_on(async {
            let table = WiredTable::new(&ENGINE, &wire).await;
            let met = agree(&MemoryStore::new(), &table, held, &operations).await?;
            repeats.borrow_mut().extend(met);
            coverage.borrow_mut().take_in(&wire.take_heard());
            Ok(())
        })
    };
    run(fixed(FIXED), &sequences(), case);
    let missing = coverage.borrow().missing();
    assert!(
        missing.is_empty(),
        "the sequences do not reach everything:\n{}\n{}",
        missing.join("\n"),
        coverage.borrow()
    );
    assert_eq!(*repeats.borrow(), BTreeSet::from(REPEATS), "every kind of repeated commit");

    run(fresh(FRESH, FAILED_ONCE), &sequences(), case);
}

macro_rules! crowds {
    ($($promise:ident),+ $(,)?) => {
        mod in_memory {
            $(
                #[test]
                fn $promise() {
                    let record = baton_store::MemoryStore::new();
                    baton_conformance::store::crowd::$promise(&record, &super::RUNTIME);
                }
            )+
        }

        mod in_dynamodb {
            $(
                #[test]
                fn $promise() {
                    let record = super::RUNTIME.block_on(super::Table::new(&super::ENGINE));
                    baton_conformance::store::crowd::$promise(&record, &super::RUNTIME);
                }
            )+
        }
    };
}

crowds! {
    of_many_arbiters_one_is_granted_each_epoch,
    of_many_beats_of_one_number_one_is_written,
    nothing_that_was_confirmed_is_lost,
    of_many_registrations_one_stands,
}
