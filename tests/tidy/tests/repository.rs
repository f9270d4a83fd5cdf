//! The rules, held against the repository as it is.

use std::sync::LazyLock;

use baton_tidy::{File, Graph, assert_none, load};

static FILES: LazyLock<Vec<File>> = LazyLock::new(load);
static GRAPH: LazyLock<Graph> = LazyLock::new(Graph::load);

/// Each rule as a test of its own name.
macro_rules! hold {
    ($what:expr, $($rule:ident),+ $(,)?) => {
        $(
            #[test]
            fn $rule() {
                assert_none(&baton_tidy::$rule(&$what));
            }
        )+
    };
}

hold!(
    FILES,
    adrs_are_listed,
    agent_measures_with_its_own_clock,
    clients_are_made_in_one_place,
    documents_are_short,
    documents_use_our_words,
    exceptions_carry_a_reason,
    faults_stay_in_tests,
    files_are_short,
    glossary_is_whole,
    links_resolve,
    modules_introduce_themselves,
    named_files_exist,
    names_are_our_words,
    no_address_is_taken_by_force,
    no_machine_of_ours,
    no_other_registry,
    nothing_is_left_for_later,
    promises_are_shown,
    protocol_repeats_the_roots_bans,
    readme_names_both_commands,
    references_to_adrs_hold,
    tests_are_not_skipped,
    tests_do_not_sleep,
    units_say_what_counts,
);

hold!(GRAPH, binaries_stand_alone, dependencies_point_one_way, members_say_the_same, package_lists_agree,);

#[test]
fn the_rules_see_the_repository() {
    for expected in
        ["Cargo.toml", ".ci/run", "crates/protocol/src/lib.rs", "infra/cluster.yaml", "docs/ARCHITECTURE.md"]
    {
        assert!(FILES.iter().any(|file| file.path == expected), "{expected} was not looked at");
    }
}
