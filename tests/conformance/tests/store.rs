//! Both stores keep every promise of the conformance body.

use std::sync::LazyLock;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_conformance::engine::Engine;
use baton_conformance::store::build::{cluster, held_by_the_first, node};
use baton_conformance::store::table::Table;
use baton_protocol::outcome::Failure;
use baton_store::key::Key;
use baton_store::{MemoryStore, Store};
use tokio::runtime::Runtime;

/// One engine and one runtime for all tests: what a client keeps open lives in the runtime that opened it.
static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::start);
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// A table of its own for each test.
async fn table() -> Table {
    Table::new(&ENGINE).await
}

macro_rules! promises {
    ($($of:ident: $($promise:ident),+ $(,)?;)+) => {
        mod in_memory {
            $($(
                #[test]
                fn $promise() {
                    let record = baton_store::MemoryStore::new();
                    super::RUNTIME.block_on(baton_conformance::store::$of::$promise(&record));
                }
            )+)+
        }

        mod in_dynamodb {
            $($(
                #[test]
                fn $promise() {
                    super::RUNTIME.block_on(async {
                        let record = super::table().await;
                        baton_conformance::store::$of::$promise(&record).await;
                    });
                }
            )+)+
        }
    };
}

promises! {
    agent:
        an_absent_item_reads_as_none,
        a_first_start_makes_the_heartbeat,
        a_first_start_is_refused_where_there_is_a_heartbeat,
        a_start_after_a_lost_heartbeat_is_refused,
        a_node_that_nothing_guards_is_read_as_such,
        a_restart_keeps_the_oath_and_the_count,
        a_late_start_of_an_earlier_run_is_refused,
        a_late_release_of_an_earlier_run_is_refused,
        a_release_only_grows,
        a_release_without_a_heartbeat_is_refused,
        a_beat_sets_what_it_says_and_removes_what_it_does_not,
        a_late_beat_of_the_same_run_is_refused,
        a_beat_of_another_run_is_refused,
        heartbeats_are_read_together,
        heartbeats_are_read_along_with_the_lease,
        a_wake_is_left_beside_the_heartbeat;
    arbiter:
        a_vacant_lease_is_granted_without_a_holder_to_check,
        a_grant_that_checks_nothing_of_its_holder_is_invalid,
        an_absent_heartbeat_of_the_holder_must_stay_absent,
        an_unchanged_holder_has_a_heartbeat,
        a_silent_holder_is_deposed_unless_it_beats,
        a_heartbeat_made_anew_does_not_confirm_an_old_claim,
        a_released_lease_is_granted_although_the_node_beats_on,
        a_releasing_node_can_be_the_candidate,
        a_candidate_must_be_healthy_and_the_run_that_was_seen,
        a_grant_on_a_lease_that_changed_is_superseded,
        a_grant_without_a_lease_is_superseded,
        a_grant_decided_under_another_configuration_is_superseded,
        a_pause_holds_back_silence_only,
        a_grant_takes_no_other_wish_than_it_was_decided_on,
        an_exclusion_holds_back_its_node_only,
        a_drain_is_taken_back_as_a_whole,
        a_repeated_commit_is_one_grant,
        a_second_arbiters_grant_is_superseded,
        of_many_arbiters_one_grants,
        a_grant_clears_what_its_epoch_ends,
        work_for_an_ended_epoch_is_not_recorded,
        a_move_is_recorded_once_and_for_its_configuration,
        a_look_is_recorded_only_while_it_is_the_last_that_was_arranged,
        the_first_mark_of_an_address_stands,
        history_is_read_newest_first,
        a_prefix_of_an_incarnation_is_another_run;
    kept:
        a_probe_takes_the_place_of_the_one_before,
        a_termination_waits_until_it_has_ended_and_is_not_begun_again,
        clusters_that_suspect_are_counted_once_each_within_two_spans;
    operator:
        a_request_without_a_lease_is_refused,
        a_switchover_is_carried_as_an_intent,
        a_fence_is_carried_until_it_is_ended,
        a_live_fence_is_replaced_by_no_other,
        a_fence_of_another_registration_is_replaced,
        a_failback_is_written_at_its_own_epoch_only,
        a_pause_is_carried_until_it_is_resumed,
        a_request_whose_id_is_taken_is_refused,
        a_repeated_request_is_done_once,
        a_vacant_lease_can_be_paused,
        requests_are_read_newest_first_with_their_answers,
        the_first_answer_to_a_request_stands,
        a_request_that_another_takes_the_place_of_is_answered_so,
        a_request_that_was_answered_or_had_ended_is_replaced_all_the_same,
        an_answer_to_no_request_is_refused;
    restored:
        a_lease_begins_anew_with_nothing_of_the_old_time,
        a_lease_begins_anew_only_if_no_node_has_written_since,
        a_lease_that_changed_does_not_begin_anew,
        what_a_node_has_seen_of_later_epochs_stays;
    registrar:
        a_new_registration_is_vacant,
        a_repeated_registration_is_done,
        a_registration_of_a_taken_name_is_refused,
        a_retirement_of_another_registration_is_refused,
        a_retirement_keeps_the_lease,
        a_cluster_made_again_continues_its_epochs,
        a_late_retirement_of_a_replaced_registration_is_refused,
        a_vacant_cluster_made_again_is_vacant,
        a_cluster_made_again_keeps_what_was_moved,
        a_reconfiguration_keeps_epoch_and_holder,
        a_change_of_other_members_leaves_the_move_complete,
        a_lease_says_which_rules_it_needs_as_long_as_it_does,
        a_change_of_the_place_or_resources_reopens_the_move,
        a_reconfiguration_never_raises_what_was_moved,
        a_reconfiguration_against_another_holder_is_refused,
        a_reconfiguration_of_another_revision_is_refused;
}

#[test]
fn an_item_of_a_newer_schema_is_refused_by_every_reader() {
    RUNTIME.block_on(async {
        let table = table().await;
        held_by_the_first(&table.store).await;
        let (cluster, first) = (cluster(), node(1));
        for key in [Key::lease(&cluster), Key::heartbeat(&cluster, &first), Key::directory(&cluster)] {
            table.set(&key, "schema", AttributeValue::N("2".to_owned())).await;
        }
        let newer = |failure: &Failure| {
            matches!(failure, Failure::Malformed(text) if text.contains("found 2; upgrade this program"))
        };
        let store = &table.store;
        assert!(store.lease(&cluster).await.is_err_and(|failure| newer(&failure)));
        assert!(store.heartbeat(&cluster, &first).await.is_err_and(|failure| newer(&failure)));
        assert!(store.heartbeats(&cluster, &[first, node(2)]).await.is_err_and(|failure| newer(&failure)));
        assert!(store.clusters().await.is_err_and(|failure| newer(&failure)));
    });
}

#[test]
fn a_node_cannot_pass_its_heartbeat_off_as_anothers() {
    RUNTIME.block_on(async {
        let table = table().await;
        held_by_the_first(&table.store).await;
        let forged = AttributeValue::S(node(2).to_string());
        table.set(&Key::heartbeat(&cluster(), &node(1)), "instance", forged).await;
        let found = table.store.heartbeats(&cluster(), &[node(1)]).await.expect("read");
        assert_eq!(found.get(&node(1)).map(|heartbeat| &heartbeat.instance), Some(&node(1)));
        assert!(!found.contains_key(&node(2)));
    });
}

#[test]
fn only_history_expires_and_it_does_after_400_days() {
    RUNTIME.block_on(async {
        let table = table().await;
        held_by_the_first(&table.store).await;
        let answer = table.client.scan().table_name(&table.name).send().await.expect("scanned");
        let items = answer.items();
        assert!(
            items.len() >= 8,
            "lease, directory, configuration, three heartbeats, history: {}",
            items.len()
        );
        for item in items {
            let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).expect("every item has one");
            let expires = item
                .get("expires_at")
                .map(|at| at.as_n().expect("seconds").parse::<u64>().expect("a number"));
            let expected = sk.starts_with("EVENT#").then_some(1_800_000_000 + 400 * 86_400);
            assert_eq!(expires, expected, "{sk}");
        }
    });
}

#[test]
fn more_nodes_than_can_be_read_at_once_are_refused_alike() {
    RUNTIME.block_on(async {
        let nodes: Vec<_> = (0..=100).map(node).collect();
        let table = table().await;
        let expected = MemoryStore::new().heartbeats(&cluster(), &nodes).await;
        assert!(matches!(expected, Err(Failure::Invalid(_))), "{expected:?}");
        assert_eq!(table.store.heartbeats(&cluster(), &nodes).await, expected);
        assert!(table.store.heartbeats(&cluster(), &nodes[1..]).await.is_ok());
    });
}
