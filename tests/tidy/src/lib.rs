//! Rules of the repository that no linter knows: what may depend on what, what things may be called, that documents
//! speak of what exists.
//!
//! Each rule is a function whose documentation is the rule, in one sentence. It takes files and returns findings, so that
//! its own test can show it a broken file; `tests/repository.rs` shows it the real ones. A rule belongs here only if it can
//! be checked without false alarms: an exception list that grows is a rule that is wrong.

mod config;
mod dependency;
mod docs;
mod file;
mod links;
mod names;
mod package;
mod promises;
mod rust;
mod text;

pub use config::{faults_stay_in_tests, no_other_registry, protocol_repeats_the_roots_bans};
pub use dependency::{Graph, binaries_stand_alone, dependencies_point_one_way, members_say_the_same};
pub use docs::{
    adrs_are_listed, documents_are_short, glossary_is_whole, readme_names_both_commands,
    references_to_adrs_hold,
};
pub use file::{File, Finding, assert_none, load};
pub use links::{links_resolve, named_files_exist};
pub use names::{documents_use_our_words, names_are_our_words};
pub use package::{package_lists_agree, units_say_what_counts};
pub use promises::promises_are_shown;
pub use rust::{
    agent_measures_with_its_own_clock, clients_are_made_in_one_place, exceptions_carry_a_reason,
    files_are_short, modules_introduce_themselves, no_address_is_taken_by_force, tests_are_not_skipped,
    tests_do_not_sleep,
};
pub use text::{no_machine_of_ours, nothing_is_left_for_later};
