//! `baton history`, from what was written to what is read.

use baton_protocol::findings::{Hook, HookFailure};
use baton_protocol::heartbeat::Claim;
use baton_protocol::history::{Departed, Evidence, Ground, Happening, Newcomer};
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::time::WallTime;
use baton_store::Store;

use crate::console::Look;
use crate::testing::world::{World, event, grant, ready, release};
use crate::testing::{NOW, PIPE, TERMINAL, arn, assert_golden, before, name};

fn with_history() -> World {
    let world = World::new();
    let store = &world.store.record;
    world.run("switchover --to db-b --yes --reason drill");
    let asked = world.requests().remove(0);
    ready(store.answer(&name("orders"), &asked.id, "the holder was asked")).expect("answers");
    let claim = Claim {
        epoch: Epoch(1),
        holder: arn('a'),
        incarnation: name("run-a"),
        seq: Seq(4),
        silent_ms: 6_100,
        at: before(0),
    };
    let rows = [
        (
            Happening::Granted {
                from: Some(arn('a')),
                to: arn('b'),
                ground: Ground::Silence,
                reason: "db-a is silent".to_owned(),
                evidence: Evidence {
                    holder_seq: Some(Seq(4)),
                    holder_beat_at: Some(before(900)),
                    claim: Some((arn('b'), claim)),
                    ..Evidence::default()
                },
            },
            after(6_300),
        ),
        (step("DisassociateAddress", "eipalloc-0123456789abcdef0", 140, None), after(6_500)),
        (
            step("AssociateAddress", "eipalloc-0123456789abcdef0", 2_045, Some("RequestLimitExceeded: slow")),
            after(8_545),
        ),
        (
            Happening::Stuck {
                resource: "10.9.0.1/32 in rtb-1".to_owned(),
                why: "no such table\nadd it".to_owned(),
            },
            after(8_600),
        ),
        (Happening::Moved { took_ms: 3_000 }, after(9_300)),
    ];
    for (what, at) in rows.into_iter().chain(later()) {
        ready(store.append(&event("orders", Epoch(2), "arbiter", what, at))).expect("appends");
    }
    world.set_now(after(60_000));
    world
}

fn after(ms: u64) -> WallTime {
    WallTime(NOW.0 + ms)
}

/// What happens after the takeover.
fn later() -> Vec<(Happening, WallTime)> {
    vec![
        (
            Happening::Members {
                revision: 4,
                joined: vec![Newcomer { node: name("i-0eeeeeeeeeeeeeeee"), instance: arn('b') }],
                retired: vec![Departed {
                    node: name("node-c"),
                    instance: arn('c'),
                    why: "EC2 says that it is terminated".to_owned(),
                }],
            },
            after(20_000),
        ),
        (Happening::Held { cooling: false, braked: false, until: Some(after(100_000)) }, after(39_000)),
        (Happening::Held { cooling: false, braked: true, until: Some(after(45_000)) }, after(39_500)),
        (
            Happening::Drift {
                resource: "10.9.0.1/32 in rtb-1".to_owned(),
                found: "leads to igw-0123456789abcdef0".to_owned(),
            },
            after(40_000),
        ),
        (Happening::Repaired { took_ms: 412 }, after(40_412)),
        (
            Happening::Asked {
                to: Some(arn('a')),
                reason: "spot interruption".to_owned(),
                failover: false,
                until: after(160_000),
                request: None,
            },
            after(41_000),
        ),
        (Happening::Lapsed { reason: "spot interruption".to_owned(), request: None }, after(41_500)),
    ]
}

fn step(call: &str, resource: &str, took_ms: u64, failure: Option<&str>) -> Happening {
    let (call, resource, failure) = (call.to_owned(), resource.to_owned(), failure.map(str::to_owned));
    Happening::Step { call, resource, took_ms, failure }
}

#[test]
fn history_merges_events_and_requests_with_the_newest_last() {
    let mut world = with_history();
    assert_golden("history.tsv", &world.without_ids(&world.run("history --format tsv").out));
    world.look = TERMINAL;
    assert_golden("history-terminal.txt", &world.without_ids(&world.run("history").out));
    assert_golden("history.json", &world.without_ids(&world.run("history --json").out));
}

#[test]
fn history_keeps_the_newest_rows() {
    let world = with_history();
    let shown = world.run("history --limit 2 --format tsv").out;
    let what: Vec<&str> = shown.lines().filter_map(|line| line.split('\t').nth(3)).collect();
    assert_eq!(what, ["what", "wanted", "lapsed"]);
}

#[test]
fn a_request_stands_before_the_grant_that_followed_it_whatever_the_clocks_say() {
    let world = World::new();
    world.run("switchover --yes");
    // The arbiter's clock is a minute behind the operator's.
    release(&world.store.record, 'a', Epoch(1));
    grant(&world.store.record, 'b', Ground::Release, None, before(60_000));
    let shown = world.run("history --limit 2 --format tsv").out;
    let what: Vec<&str> = shown.lines().filter_map(|line| line.split('\t').nth(3)).collect();
    assert_eq!(what, ["what", "asked", "granted"]);
}

/// A grant after a promote hook of the holder has failed.
fn after_a_hook_that_wrote(output: &str) -> World {
    let failure = HookFailure {
        hook: Hook::Promote,
        epoch: Epoch(1),
        at: NOW,
        how: "promote hook failed with exit code 3 after 41 ms: no licence".into(),
        output: output.into(),
    };
    let world = World::new();
    let what = Happening::Granted {
        from: Some(arn('a')),
        to: arn('b'),
        ground: Ground::Release,
        reason: "db-a released the lease".to_owned(),
        evidence: Evidence { hook: Some(Box::new(failure)), ..Evidence::default() },
    };
    ready(world.store.record.append(&event("orders", Epoch(2), "arbiter", what, after(1)))).expect("appends");
    world
}

#[test]
fn each_piece_of_a_hooks_long_line_bears_the_margin_and_nothing_turns_it() {
    let words: Vec<String> = (0..60).map(|n| format!("word{n:02}")).collect();
    let mut world = after_a_hook_that_wrote(&format!("\u{202e}{}\u{2028}end", words.join(" ")));
    for borders in [true, false] {
        for width in [80, 100, 131] {
            world.look = Look { width: Some(width), borders, ..PIPE };
            let shown = world.run("history").out;
            assert!(!shown.contains(['\u{202e}', '\u{2028}']), "{shown}");
            let lines: Vec<&str> = shown.lines().filter(|line| line.contains("word")).collect();
            assert!(lines.len() > 3 && lines.iter().all(|line| line.contains("| ")), "{width}: {shown}");
            assert!(shown.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}: {shown}");
            let joined: String = lines
                .iter()
                .map(|line| line.split("| ").last().unwrap_or_default().trim_end_matches([' ', '│']))
                .collect();
            let count = |text: &str| text.matches("word").count();
            assert!(count(&joined) >= 58, "{width}: {shown}");
        }
    }
}

#[test]
fn a_grant_shows_what_the_hook_of_the_holder_wrote_and_where_the_rest_is() {
    let world = after_a_hook_that_wrote("reading /etc/app.conf\n\u{1b}[31mno licence");
    let shown = world.run("history").out;
    for line in [
        "db-a -> db-b by release: db-a released the lease; before that, promote hook failed with exit code 3 after 41 ms: no licence at",
        "| reading /etc/app.conf\n",
        "| [31mno licence\n",
        "all of it, on db-a: journalctl -u baton-agent --since '",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&world.run("history --json").out).expect("JSON");
    let rows = json["rows"].as_array().expect("rows");
    let hook = rows.iter().map(|row| &row["hook"]).find(|hook| hook.is_object()).expect("one");
    assert_eq!((&hook["hook"], &hook["output"][1]), (&"promote".into(), &"[31mno licence".into()));
    let tsv = world.run("history --format tsv").out;
    assert!(tsv.lines().all(|line| line.split('\t').count() == 6), "one line for a row: {tsv}");
}
