//! Whole commands, from the line that was typed to the exit code, in a world without waiting.

use std::io;

use baton_client::BusFailure;
use baton_doubles::Method;
use baton_protocol::findings::{Ended, Findings, Recovery};
use baton_protocol::heartbeat::Health;
use baton_protocol::history::{Ground, Happening};
use baton_protocol::ids::{Epoch, RequestId};
use baton_protocol::outcome::Failure;
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::Store;

use crate::exit::Exit;
use crate::testing::world::{
    World, beat, beat_telling, beat_with, event, grant, moved, ready, register, release,
};
use crate::testing::{NOW, TERMINAL, arn, assert_golden, before, name};

/// Lets a hand-over from db-a to db-b happen, as the agents and the arbiter would.
fn arrange_hand_over(world: &World) {
    world.after(1_200, |store, _| release(store, 'a', Epoch(1)));
    world.after(1_900, |store, at| {
        beat(store, 'a', None, at);
        let asked = ready(store.requests(&name("orders"), 1)).expect("reads").remove(0);
        grant(store, 'b', Ground::Release, Some(asked.id), at);
    });
    world.after(2_400, |store, at| beat(store, 'b', Some(Epoch(2)), at));
    world.after(2_900, moved);
}

// --- status ---

#[test]
fn status_shows_a_table_with_borders_on_a_terminal_and_none_in_a_pipe() {
    let mut world = World::new();
    assert_golden("status-pipe.txt", &world.run("status").out);
    world.look = TERMINAL;
    assert_golden("status-terminal.txt", &world.run("status").out);
}

#[test]
fn status_shows_what_is_wrong_in_its_footers() {
    let mut world = World::new();
    beat_with(&world.store.record, 'b', Health::Bad, None, before(300));
    beat(&world.store.record, 'c', None, before(40_000));
    world.run("switchover --to db-b --yes");
    world.run("pause --for 30m --reason kernel");
    beat_with(&world.store.record, 'b', Health::Bad, None, before(300));
    world.look = TERMINAL;
    let shown = world.run("status").out;
    assert_golden("status-degraded.txt", &world.without_ids(&shown));
}

#[test]
fn status_shows_what_nodes_say_of_their_checks_and_of_local_recovery() {
    let mut world = World::new();
    let recovery = |number, begun, ended: Option<(u64, Option<&str>)>| Recovery {
        number,
        begun: before(begun),
        what: "web: expected 200 to 299, found 503".into(),
        ended: ended.map(|(at, failed)| Ended { at: before(at), failed: failed.map(Into::into) }),
    };
    let store = &world.store.record;
    let recoveries = vec![recovery(1, 500_000, Some((480_000, None))), recovery(2, 12_000, None)];
    let recovering = Findings { recoveries, ..Findings::default() };
    beat_telling(store, 'a', (Health::Unknown, recovering), Some(Epoch(1)), before(300));
    let room = Findings {
        failing: Some("room: 3 % of the memory is available, expected at least 10 %".into()),
        recoveries: vec![recovery(1, 90_000, Some((60_000, Some("recover hook failed with exit code 3"))))],
        ..Findings::default()
    };
    beat_telling(store, 'b', (Health::Bad, room), None, before(300));
    let warning = Findings { warning: Some("disk: exit code 1: a warning".into()), ..Findings::default() };
    beat_telling(store, 'c', (Health::Ok, warning), None, before(300));
    world.look = TERMINAL;
    assert_golden("status-findings.txt", &world.run("status").out);
    let json: serde_json::Value = serde_json::from_str(&world.run("status --json").out).expect("an object");
    assert_eq!(json["condition"], "degraded");
    let outcomes = |node: usize| {
        let recoveries = json["nodes"][node]["findings"]["recoveries"].as_array().expect("told");
        recoveries.iter().map(|recovery| recovery["outcome"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((outcomes(0), outcomes(1)), (vec!["ok".into(), "running".into()], vec!["failed".into()]));
}

#[test]
fn status_is_written_for_programs_too() {
    let world = World::new();
    assert_golden("status.tsv", &world.run("status --format tsv").out);
    let json = world.run("status --json").out;
    assert_eq!(json.lines().count(), 1, "one line per object in a pipe");
    let json: serde_json::Value = serde_json::from_str(&json).expect("an object");
    assert_eq!((&json["schema_version"], &json["holder"]), (&1.into(), &"db-a".into()));
}

#[test]
fn a_terminal_without_width_breaks_no_word() {
    let mut world = World::new();
    world.look = crate::console::Look { width: Some(0), ..TERMINAL };
    let run = world.run("status");
    assert!(run.out.contains("i-aaaaaaaaaaaaaaaaa"), "{}", run.out);
    let run = world.run("history");
    assert!(run.out.contains("2026-09-20T14:13:20.000Z"), "{}", run.out);
    assert!(run.out.lines().all(|line| line.chars().count() <= 80), "{}", run.out);
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    let mut world = World::new();
    assert!(!world.run("status").out.contains('\u{1b}'));
    world.look.color = true;
    assert!(world.run("status").out.contains('\u{1b}'));
}

#[test]
fn the_exit_code_says_how_the_cluster_is_only_when_asked() {
    let world = World::new();
    assert_eq!(world.run("status --exit-code").exit, Exit::Done);
    world.run("pause");
    assert_eq!(world.run("status --exit-code").exit, Exit::Paused);
    beat(&world.store.record, 'a', Some(Epoch(1)), before(9_000));
    assert_eq!(world.run("status --exit-code").exit, Exit::Degraded);
    release(&world.store.record, 'a', Epoch(1));
    assert_eq!(world.run("status --exit-code").exit, Exit::NoHolder);
    assert_eq!(world.run("status").exit, Exit::Done);
}

#[test]
fn with_one_cluster_it_need_not_be_named_and_with_two_it_must() {
    let world = World::new();
    assert_eq!(world.run("status").exit, Exit::Done);
    register(&world.store.record, "billing");
    let refused = world.run("status");
    assert_eq!(refused.exit, Exit::Usage);
    assert!(
        refused.err.contains("2 clusters are registered: name one of billing, orders"),
        "{}",
        refused.err
    );
    assert_eq!(world.run("status orders").exit, Exit::Done);
    let missing = world.run("status order");
    assert_eq!(missing.exit, Exit::Missing);
    assert_eq!(
        missing.err,
        "error: there is no cluster `order`\n help: registered clusters: billing, orders\n"
    );
}

#[test]
fn an_empty_table_a_missing_one_and_a_denied_one_are_told_apart() {
    let world = World::empty();
    assert_eq!(world.run("status").exit, Exit::Missing);
    world.store.gate.fail(Method::Clusters, Failure::Missing("table baton".to_owned()));
    let missing = world.run("status");
    assert_eq!(missing.exit, Exit::Missing);
    assert!(missing.err.contains("--table"), "{}", missing.err);
    let sentence = "User: x is not authorized to perform: dynamodb:GetItem on resource: y";
    world.store.gate.fail(Method::Lease, Failure::Denied(sentence.to_owned()));
    let denied = world.run("status orders");
    assert_eq!(denied.exit, Exit::Denied);
    assert!(denied.err.contains("IAM denies dynamodb:GetItem"), "{}", denied.err);
    world.store.gate.fail(Method::Lease, Failure::Throttled);
    assert_eq!(world.run("status orders").exit, Exit::Unexpected);
}

/// A reader that leaves after some rounds, as `head` does.
struct Leaving {
    rounds: usize,
    seen: Vec<u8>,
}

impl io::Write for Leaving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.rounds == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.rounds -= 1;
        self.seen.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_watch_shows_each_change_and_ends_in_peace_when_its_reader_leaves() {
    let world = World::new();
    world.after(3_000, |store, at| beat(store, 'a', None, at));
    let mut out = Leaving { rounds: 3, seen: Vec::new() };
    let mut err = Vec::new();
    assert_eq!(world.write_to("status --watch=2 --json", "", &mut out, &mut err), Exit::Done);
    assert_eq!(String::from_utf8_lossy(&err), "");
    let states: Vec<String> = String::from_utf8(out.seen)
        .expect("text")
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("an object")["nodes"][0]["state"]
                .to_string()
        })
        .collect();
    assert_eq!(states, ["\"serving\"", "\"serving\"", "\"promoting\""]);
}

#[test]
fn a_watch_outlives_a_table_that_does_not_answer_for_a_while() {
    let world = World::new();
    let mut out = Leaving { rounds: 2, seen: Vec::new() };
    let mut err = Vec::new();
    // The first reading of the heartbeats is good, the second is lost.
    world.store.gate.fail(Method::Heartbeats, Failure::Unknown("timed out".to_owned()));
    assert_eq!(
        world.write_to("status --watch", "", &mut out, &mut err),
        Exit::Unexpected,
        "nothing seen yet"
    );
    world.after(1_000, |_, _| ());
    let mut out = Leaving { rounds: 3, seen: Vec::new() };
    world.store.gate.fail_later(Method::Heartbeats, 1, Failure::Throttled);
    err.clear();
    assert_eq!(world.write_to("status --watch", "", &mut out, &mut err), Exit::Done);
    let told = String::from_utf8(err).expect("text");
    assert!(told.contains("throttled"), "{told}");
    assert_eq!(String::from_utf8(out.seen).expect("text").matches("Cluster orders").count(), 3);
}

// --- switchover ---

#[test]
fn a_switchover_is_followed_from_the_request_to_the_verified_addresses() {
    let mut world = World::new();
    world.look = TERMINAL;
    arrange_hand_over(&world);
    let run = world.answering("switchover --to db-b --wait", "yes\n");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert_golden("switchover-talk.txt", &world.without_ids(&run.err));
    assert_golden("switchover.txt", &run.out);
    assert_eq!(world.bus.sent.borrow().len(), 1);
    let asked = world.requests().remove(0);
    assert_eq!(asked.wish, Wish::Switchover { to: Some(arn('b')), why: String::new() });
    assert_eq!((asked.epoch, asked.at, asked.until), (Epoch(1), NOW, WallTime(NOW.0 + 120_000)));
}

#[test]
fn a_switchover_writes_one_object_at_the_end() {
    let world = World::new();
    arrange_hand_over(&world);
    let run = world.run("switchover --wait --yes --json --reason drill");
    assert_eq!((run.exit, run.err.as_str()), (Exit::Done, ""));
    let object: serde_json::Value = serde_json::from_str(&run.out).expect("one object");
    let pretty = serde_json::to_string_pretty(&object).expect("has a form") + "\n";
    assert_golden("switchover.json", &world.without_ids(&pretty));
}

#[test]
fn a_switchover_that_is_not_waited_for_says_how_to_follow_it() {
    let world = World::new();
    let run = world.run("switchover --yes --for 5m --reason drill");
    assert_eq!(run.exit, Exit::Done);
    let told = world.without_ids(&run.err);
    assert_eq!(
        told,
        "request <id> stands until 2026-09-21T14:18:20Z; follow it with `baton status orders --watch`\n"
    );
    let intent = world.lease().intent.expect("stands");
    assert_eq!((intent.epoch, intent.to), (Epoch(1), None));
    assert!(intent.reason.contains("alice@ops-1: drill"), "{}", intent.reason);
}

#[test]
fn a_switchover_needs_a_yes() {
    let mut world = World::new();
    let refused = world.run("switchover");
    assert_eq!(refused.exit, Exit::Usage);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    world.look = TERMINAL;
    assert_eq!(world.answering("switchover", "n\n").exit, Exit::Refused);
    assert_eq!(world.requests(), []);
    assert!(world.bus.sent.borrow().is_empty());
}

#[test]
fn a_switchover_is_refused_while_paused_and_with_a_silent_holder_and_nothing_is_written() {
    let world = World::new();
    world.run("pause");
    let refused = world.run("switchover --yes");
    assert_eq!(refused.exit, Exit::Refused);
    assert!(refused.err.contains("baton resume orders"), "{}", refused.err);
    world.run("resume");
    beat(&world.store.record, 'a', Some(Epoch(1)), before(20_000));
    let asked_before = world.requests().len();
    let refused = world.run("switchover --yes");
    assert_eq!(refused.exit, Exit::Refused);
    assert!(refused.err.starts_with("db-a looks silent; watching for up to 6.0s\n"), "{}", refused.err);
    assert!(refused.err.contains("baton failover"), "{}", refused.err);
    assert_eq!(world.requests().len(), asked_before);
}

#[test]
fn a_holder_whose_clock_is_behind_but_whose_heartbeat_grows_can_hand_over() {
    let world = World::new();
    beat(&world.store.record, 'a', Some(Epoch(1)), before(600_000));
    for ms in [700, 1_700] {
        world.after(ms, |store, at| beat(store, 'a', Some(Epoch(1)), WallTime(at.0 - 600_000)));
    }
    let run = world.run("switchover --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn a_lease_that_moves_while_the_question_stands_ends_the_command() {
    // The reading after the question finds another epoch: the answer was about something that is over.
    let world = World::new();
    beat(&world.store.record, 'a', Some(Epoch(1)), before(600_000));
    world.after(900, |store, at| {
        release(store, 'a', Epoch(1));
        beat(store, 'a', None, at);
        grant(store, 'b', Ground::Release, None, at);
    });
    let run = world.run("switchover --yes");
    assert_eq!(run.exit, Exit::Lost, "{}", run.err);
    assert_eq!(world.requests(), []);
}

#[test]
fn a_grant_to_another_node_is_a_lost_race() {
    let world = World::new();
    world.after(1_000, |store, at| {
        release(store, 'a', Epoch(1));
        grant(store, 'c', Ground::Release, None, at);
    });
    let run = world.run("switchover --to db-b --yes --wait");
    assert_eq!(run.exit, Exit::Lost);
    assert!(run.err.ends_with("error: the lease was granted to db-c at epoch 2\n"), "{}", run.err);
    assert!(run.out.contains("held by db-c"), "{}", run.out);
}

#[test]
fn a_wait_that_is_over_says_that_the_action_goes_on() {
    let world = World::new();
    let run = world.run("switchover --to db-b --yes --wait=3s");
    assert_eq!(run.exit, Exit::Waiting);
    let told = world.without_ids(&run.err);
    assert!(
        told.ends_with("error: not done after 3.0s; request <id> goes on until 2026-09-21T14:15:20Z\n"),
        "{told}"
    );
    assert!(run.out.contains("Intent:"), "{}", run.out);
}

#[test]
fn a_request_that_ends_unobeyed_changed_nothing_and_tells_the_answer() {
    let world = World::new();
    world.after(1_000, |store, _| {
        let asked = ready(store.requests(&name("orders"), 1)).expect("reads").remove(0);
        ready(store.answer(&name("orders"), &asked.id, "db-b has no interface")).expect("answers");
    });
    let run = world.run("switchover --to db-b --yes --for 10s --wait=1m");
    assert_eq!(run.exit, Exit::Refused);
    assert!(run.err.contains("had not obeyed it: db-b has no interface"), "{}", run.err);
}

#[test]
fn a_request_that_another_operator_replaces_ends_with_who_did_so_and_when() {
    let world = World::new();
    world.after(1_000, |store, at| {
        let asked = ready(store.requests(&name("orders"), 1)).expect("reads").remove(0);
        let other = Request {
            id: RequestId::new("other").expect("an id"),
            wish: Wish::Switchover { to: Some(arn('c')), why: String::new() },
            by: "bob@ops-2".to_owned(),
            at,
            ..asked
        };
        ready(store.ask(&other)).expect("asked");
    });
    let run = world.run("switchover --to db-b --yes --wait");
    assert_eq!(run.exit, Exit::Lost, "{}", run.err);
    let said = "error: request <id> took the place of request <id>: replaced by switchover asked by bob@ops-2 at \
                2026-09-21T14:13:21Z\n";
    assert!(world.without_ids(&run.err).ends_with(said), "{}", run.err);
    let history = world.run("history");
    assert!(history.out.contains("replaced by switchover asked by bob@ops-2"), "{}", history.out);
}

#[test]
fn a_table_that_does_not_answer_for_a_while_does_not_end_the_wait() {
    let world = World::new();
    arrange_hand_over(&world);
    world.store.gate.fail_later(Method::Lease, 5, Failure::Unknown("timed out".to_owned()));
    world.store.gate.fail_later(Method::History, 0, Failure::Throttled);
    let run = world.run("switchover --to db-b --yes --wait");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert_eq!(run.err.matches("asking again").count(), 1, "{}", run.err);
}

// --- asking ---

#[test]
fn a_wake_that_fails_is_told_in_one_line_and_the_request_stands() {
    let world = World::new();
    *world.bus.failure.borrow_mut() = Some(BusFailure::Denied("AccessDenied: no".to_owned()));
    let run = world.run("pause");
    assert_eq!(run.exit, Exit::Done);
    assert_eq!(run.err.lines().count(), 1);
    assert!(run.err.starts_with("note: the wake event was not sent (denied"), "{}", run.err);
    assert!(world.lease().paused.is_some());
}

#[test]
fn a_request_whose_answer_was_lost_is_put_again_and_stands_once() {
    let world = World::new();
    world.store.gate.lose_answer(Method::Ask);
    world.store.gate.fail(Method::Ask, Failure::Conflict);
    world.store.gate.fail(Method::Ask, Failure::Throttled);
    assert_eq!(world.run("pause").exit, Exit::Done);
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn a_request_that_may_have_been_written_is_called_unknown_and_a_denied_one_is_not_tried_again() {
    let world = World::new();
    for _ in 0..4 {
        world.store.gate.fail(Method::Ask, Failure::Unknown("timed out".to_owned()));
    }
    let run = world.run("pause");
    assert_eq!(run.exit, Exit::Unexpected);
    assert!(run.err.contains("is not known"), "{}", run.err);
    let denied = Failure::Denied("not authorized to perform: dynamodb:UpdateItem on".to_owned());
    world.store.gate.fail(Method::Ask, denied);
    let run = world.run("pause");
    assert_eq!(run.exit, Exit::Denied);
    assert_eq!(world.requests(), []);
}

// --- pause and resume ---

#[test]
fn pause_says_until_when_and_replaces_an_earlier_one() {
    let world = World::new();
    let run = world.run("pause --for 30m --reason kernel");
    assert_eq!(
        run.out,
        "Cluster orders: paused until 2026-09-21T14:43:20Z (in 30m) by alice@ops-1: kernel\n\
         It ends by itself; `baton resume orders` ends it sooner. A released lease is granted all the same.\n"
    );
    let run = world.run("pause");
    assert_eq!(run.exit, Exit::Done);
    assert!(run.out.contains("paused until 2026-09-21T15:13:20Z (in 1h)"), "{}", run.out);
    assert!(
        run.out.contains("This replaces the pause until 2026-09-21T14:43:20Z by alice@ops-1: kernel"),
        "{}",
        run.out
    );
    let paused = world.lease().paused.expect("stands");
    assert_eq!(paused.until, WallTime(NOW.0 + 3_600_000));
    assert_eq!(world.bus.sent.borrow().len(), 2);
}

#[test]
fn resume_ends_a_pause_and_does_nothing_where_none_stands() {
    let world = World::new();
    world.run("pause --for 30m --reason kernel");
    let run = world.run("resume");
    assert_eq!(
        run.out,
        "Cluster orders: resumed; this ends the pause until 2026-09-21T14:43:20Z by alice@ops-1: kernel\n"
    );
    assert_eq!(world.lease().paused, None);
    let run = world.run("resume");
    assert_eq!((run.exit, run.out.as_str()), (Exit::Done, "Cluster orders: not paused, nothing to do\n"));
    assert_eq!(world.requests().len(), 2);
}

#[test]
fn pause_and_resume_write_objects_for_programs() {
    let world = World::new();
    let paused: serde_json::Value = serde_json::from_str(&world.run("pause --json").out).expect("an object");
    assert_eq!((&paused["schema_version"], &paused["outcome"]), (&1.into(), &"paused".into()));
    assert_eq!(paused["paused"]["until"], "2026-09-21T15:13:20.000Z");
    let resumed: serde_json::Value =
        serde_json::from_str(&world.run("resume --json").out).expect("an object");
    assert_eq!((&resumed["outcome"], &resumed["wake_sent"]), (&"resumed".into(), &true.into()));
    let again: serde_json::Value = serde_json::from_str(&world.run("resume --json").out).expect("an object");
    assert_eq!((&again["outcome"], &again["request"]), (&"not-paused".into(), &serde_json::Value::Null));
}

#[test]
fn a_retired_cluster_takes_no_requests() {
    let world = World::new();
    let store = &world.store.record;
    let row = event("orders", Epoch(1), "registrar", Happening::Retired {}, NOW);
    ready(store.retire(&name("orders"), &world.lease().uid, &row)).expect("retires");
    for line in ["pause orders", "resume orders", "switchover orders --yes"] {
        let run = world.run(line);
        assert_eq!(run.exit, Exit::Refused, "{line}");
        assert!(run.err.contains("is retired"), "{}", run.err);
    }
    assert_eq!(world.run("status orders --exit-code").exit, Exit::Degraded);
}

// --- completions ---

#[test]
fn completions_are_written_for_every_shell() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = world.run(&format!("completions {shell}"));
        assert_eq!(run.exit, Exit::Done);
        assert!(run.out.contains("switchover"), "{shell}");
    }
}
