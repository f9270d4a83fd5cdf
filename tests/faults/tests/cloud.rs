//! Each trigger and each fault of the cloud's side, with the functions as programs, a real table and a real EC2 server.
//!
//! They share one world, one after the other, since each of several would have two servers of its own to start. Those
//! that end an instance have their own.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use baton_faults::rig::{Rig, Size};
use baton_faults::scenario::{NAMES, play};
use baton_sandbox::binaries::Binaries;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads can be started"));
static BINARIES: LazyLock<Binaries> =
    LazyLock::new(|| Binaries::build(&mut |_| ()).expect("the programs are built"));
static RIG: LazyLock<Mutex<Rig>> = LazyLock::new(|| Mutex::new(RUNTIME.block_on(rig())));

async fn rig() -> Rig {
    let programs = BINARIES.directory().to_owned();
    Rig::start(Size { addresses: 1, tables: 3 }, programs).await.expect("the world is made")
}

async fn agrees(rig: &mut Rig, name: &str) {
    let row = play(rig, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(row.agrees, "{name}: {}\nexpected {}\nobserved {}", row.what, row.expected, row.observed);
}

macro_rules! scenarios {
    ($($test:ident $name:literal;)*) => {
        const SHARED: &[&str] = &[$($name),*];

        $(
            #[test]
            fn $test() {
                LazyLock::force(&RIG);
                RUNTIME.block_on(async { agrees(&mut *RIG.lock().await, $name).await });
            }
        )*
    };
}

scenarios! {
    a_wake_by_the_bus "wake";
    a_wake_by_the_stream "stream";
    a_release "release";
    a_switchover "switchover";
    a_drained_holder "drain";
    a_takeover_that_is_left_to_an_operator "failover";
    a_silent_holder_is_stopped_first "fence";
    a_standby_is_stopped_on_an_operators_word "fence-asked";
    a_spot_interruption "spot";
    a_rebalance_recommendation "rebalance";
    a_scheduled_change "health";
    a_termination_at_a_lifecycle_hook "lifecycle";
    an_alarm_proves_nothing "alarm";
    a_state_that_is_not_final_proves_nothing "stopped";
    an_address_that_is_taken_comes_back "drift-address";
    an_address_that_is_freed_comes_back "drift-free";
    routes_that_are_changed_come_back "drift-route";
    a_subnet_gets_the_table_of_the_next_holder "swap";
    tables_of_another_account_go_through_its_role "shared-vpc";
    a_table_that_is_tagged_later "table";
    what_nobody_tells_of_is_found_in_turn "turn";
    the_sweep_finds_what_a_killed_function_left "sweep";
    a_cluster_without_a_standby_is_counted "unprotected";
    what_could_not_be_moved_is_known_beforehand "probe";
    garbage_is_acknowledged_and_harmless "garbage";
    a_replayed_wake_grants_once "replay";
    f1_an_address_that_begins_alike "F1";
    f3_and_f7_one_of_three_tables_fails "F3";
    f4_stale_answers_after_a_change "F4";
    f6_a_failure_is_told "F6";
    f8_nothing_goes_back "F8";
    f9_nobody_to_take_over "F9";
    f10_a_throttled_association "F10";
    f12_everything_throttled "F12";
    f13_throttled_looks_at_a_healthy_holder "F13";
    lost_answers "lost";
}

#[test]
fn f14_an_instance_that_is_terminated_needs_no_fencing() {
    RUNTIME.block_on(async { agrees(&mut rig().await, "F14").await });
}

#[test]
fn a_group_replaces_a_standby() {
    RUNTIME.block_on(async { agrees(&mut rig().await, "group").await });
}

#[test]
fn every_scenario_is_a_test() {
    let tested: BTreeSet<_> = SHARED.iter().copied().chain(["group", "F14"]).collect();
    assert_eq!(tested, NAMES.iter().copied().collect());
}
