//! Every requirement that `baton doctor` knows, broken, found, mended, and found no more, with the program that ships and real
//! servers.

use baton_faults::doctor::{CASES, Ward};
use baton_sandbox::binaries::Binaries;
use tokio::runtime::Runtime;

#[test]
fn every_requirement_is_found_where_it_is_broken_and_is_clean_where_it_was_mended() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let runtime = Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let mut ward = Ward::open(binaries.directory().to_owned()).await.expect("the world is made");
        for case in CASES {
            let name = case.name();
            let row = ward.play(case).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                row.agrees,
                "{name}: {}\nexpected {}\nobserved {}",
                row.broken, row.expected, row.observed
            );
        }
    });
}
