use baton_protocol::findings::Findings;
use baton_protocol::heartbeat::UNGUARDED_MS;
use baton_protocol::ids::Epoch;
use baton_protocol::lease::{Mode, Pause};
use baton_protocol::time::WallTime;

use super::*;
use crate::testing::{NOW, arn, before, snapshot};

fn refusal(snapshot: &Snapshot, to: Option<&str>) -> Refusal {
    examine(snapshot, to, &BTreeSet::new()).expect_err("refused")
}

fn message(snapshot: &Snapshot, to: Option<&str>) -> String {
    let trouble = refusal(snapshot, to).trouble;
    assert_eq!(trouble.exit, Exit::Refused);
    trouble.message.expect("told")
}

#[test]
fn a_cluster_in_good_order_can_hand_over_to_a_named_node_or_to_the_best() {
    let looked = snapshot();
    let none = BTreeSet::new();
    for to in ["db-b", "i-bbbbbbbbbbbbbbbbb"] {
        assert_eq!(examine(&looked, Some(to), &none), Ok(Plan { from: arn('a'), to: Some(arn('b')) }));
    }
    assert_eq!(examine(&looked, None, &none), Ok(Plan { from: arn('a'), to: None }));
}

#[test]
fn an_unknown_node_is_missing_and_the_known_ones_are_named() {
    let trouble = refusal(&snapshot(), Some("db-x")).trouble;
    assert_eq!(trouble.exit, Exit::Missing);
    assert_eq!(trouble.render(), "error: `orders` has no node `db-x`\n help: its nodes: db-a, db-b, db-c\n");
}

#[test]
fn the_holder_is_no_target() {
    assert_eq!(message(&snapshot(), Some("db-a")), "db-a holds the lease of `orders` already");
}

#[test]
fn a_paused_cluster_is_to_be_resumed_first() {
    let mut looked = snapshot();
    let until = WallTime(NOW.0 + 60_000);
    looked.lease.paused = Some(Pause { until, by: "bob@ops".to_owned(), why: "kernel".to_owned() });
    let trouble = refusal(&looked, None).trouble;
    assert_eq!(
        trouble.render(),
        "error: `orders` is paused until 2026-09-21T14:14:20Z by bob@ops\n help: run `baton resume orders` first\n"
    );
    looked.lease.paused = looked.lease.paused.map(|pause| Pause { until: NOW, ..pause });
    assert!(examine(&looked, None, &BTreeSet::new()).is_ok(), "a pause that is over holds nothing back");
}

#[test]
fn a_silent_holder_is_refused_with_the_other_command_unless_its_heartbeat_grows() {
    let mut looked = snapshot();
    looked.beat('a').beat_at = before(12_000);
    let refusal = refusal(&looked, Some("db-b"));
    assert_eq!(refusal.trouble.exit, Exit::Refused);
    assert!(
        refusal.trouble.render().contains("the holder db-a is silent: its last heartbeat was sent 12s ago")
    );
    assert!(refusal.trouble.render().contains("`baton failover`"));
    assert_eq!(refusal.doubtful, BTreeSet::from([arn('a')]));
    assert!(examine(&looked, Some("db-b"), &refusal.doubtful).is_ok());
}

#[test]
fn a_silent_holder_that_nothing_guards_is_refused_too_and_nobody_is_promised_to_take_over() {
    let mut looked = snapshot();
    looked.beat('a').validity_ms = UNGUARDED_MS;
    assert!(examine(&looked, Some("db-b"), &BTreeSet::new()).is_ok(), "it beats, so it hands over by itself");
    looked.beat('a').beat_at = before(12_000);
    let told = refusal(&looked, Some("db-b")).trouble.render();
    assert!(told.contains("the holder db-a is silent: its last heartbeat was sent 12s ago"), "{told}");
    assert!(told.contains("start its agent, or terminate its instance"), "{told}");
    looked.lease.mode = Mode::Available;
    let told = refusal(&looked, Some("db-b")).trouble.render();
    assert!(told.contains("`baton failover`"), "there silence is enough: {told}");
}

#[test]
fn a_holder_that_was_never_heard_has_released_or_is_nobody_cannot_hand_over() {
    let mut looked = snapshot();
    looked.beat('a').released = Epoch(7);
    assert_eq!(message(&looked, None), "the holder db-a has released the lease already");
    looked.heartbeats.remove(&arn('a'));
    assert_eq!(message(&looked, None), "the holder db-a has never been heard");
    looked.lease.holder = None;
    assert_eq!(message(&looked, None), "`orders` has no holder that could hand over");
}

#[test]
fn a_target_must_be_healthy_and_alive() {
    for (health, why) in [
        (Health::Bad, "its checks fail"),
        (Health::Unknown, "its checks have not spoken yet"),
        (Health::Draining, "it is leaving"),
    ] {
        let mut looked = snapshot();
        looked.beat('b').health = health;
        assert_eq!(message(&looked, Some("db-b")), format!("db-b cannot take over: {why}"));
        assert!(examine(&looked, Some("db-c"), &BTreeSet::new()).is_ok());
        assert!(examine(&looked, None, &BTreeSet::new()).is_ok(), "db-c can");
    }
    let mut looked = snapshot();
    looked.beat('b').health = Health::Bad;
    let failing = Some("room: 3 % of the memory is available\u{1b}[2J".into());
    looked.beat('b').findings = Some(Findings { failing, ..Findings::default() });
    let told = message(&looked, Some("db-b"));
    assert_eq!(told, "db-b cannot take over: its checks fail (room: 3 % of the memory is available [2J)");
    let mut looked = snapshot();
    looked.beat('b').beat_at = before(60_000);
    assert_eq!(message(&looked, Some("db-b")), "db-b cannot take over: its last heartbeat was sent 1m ago");
    assert_eq!(refusal(&looked, Some("db-b")).doubtful, BTreeSet::from([arn('b')]));
    looked.beat('b').health = Health::Bad;
    assert!(refusal(&looked, Some("db-b")).doubtful.is_empty(), "watching a sick node cannot help");
}

#[test]
fn without_any_eligible_standby_every_reason_is_told() {
    let mut looked = snapshot();
    looked.beat('b').health = Health::Bad;
    looked.heartbeats.remove(&arn('c'));
    assert_eq!(
        message(&looked, None),
        "no node can take over (db-b: its checks fail; db-c: it has never been heard)"
    );
    looked.lease.members.truncate(1);
    assert_eq!(message(&looked, None), "no node can take over (there is no standby)");
}

fn failover(snapshot: &Snapshot, to: Option<&str>, beating: &[char]) -> Result<Plan, String> {
    let beating = beating.iter().map(|node| arn(*node)).collect();
    examine_failover(snapshot, to, &beating).map_err(|refusal| refusal.trouble.render())
}

#[test]
fn a_silent_holder_can_be_taken_over_from_and_one_that_beats_cannot() {
    let mut looked = snapshot();
    let told = failover(&looked, None, &[]).expect_err("it beats");
    assert!(told.contains("the holder db-a is not silent"), "{told}");
    assert!(told.contains("`baton switchover`"), "{told}");
    looked.beat('a').beat_at = before(12_000);
    assert_eq!(failover(&looked, None, &[]), Ok(Plan { from: arn('a'), to: None }));
    assert_eq!(failover(&looked, Some("db-b"), &[]), Ok(Plan { from: arn('a'), to: Some(arn('b')) }));
    let told = failover(&looked, None, &['a']).expect_err("its clock is off, and it beats");
    assert!(told.contains("the holder db-a is not silent"), "{told}");
    looked.beat('b').health = Health::Bad;
    let told = failover(&looked, Some("db-b"), &[]).expect_err("it could not serve");
    assert!(told.contains("db-b cannot take over: its checks fail"), "{told}");
}

#[test]
fn no_silence_deposes_a_holder_that_was_never_heard_has_released_or_is_unguarded() {
    let mut looked = snapshot();
    looked.beat('a').beat_at = before(12_000);
    let mut never = looked.clone();
    never.heartbeats.remove(&arn('a'));
    let told = failover(&never, None, &[]).expect_err("no standby has seen it fall silent");
    assert!(told.contains("has never been heard"), "{told}");
    let mut released = looked.clone();
    released.beat('a').released = released.lease.epoch;
    let told = failover(&released, None, &[]).expect_err("it is granted without a word");
    assert!(told.contains("has released the lease already"), "{told}");
    looked.beat('a').validity_ms = UNGUARDED_MS;
    let told = failover(&looked, None, &[]).expect_err("it may serve to this day");
    assert!(told.contains("its silence deposes nobody"), "{told}");
}
