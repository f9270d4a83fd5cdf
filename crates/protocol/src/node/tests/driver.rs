//! What a driver asks a node, and what a node tells the next run.

use std::net::Ipv4Addr;

use super::super::*;
use super::rig::{Fate, Kind, Rig};
use crate::testing::arn;

#[test]
fn a_promote_runs_only_before_the_end_of_the_budget_and_with_a_dead_man_behind_it() {
    let rig = Rig::serving();
    let until = rig.node.valid_until().expect("a budget");
    let before = BootTime(until.0 - 1);
    assert!(rig.node.may_promote(before, true, true));
    assert!(!rig.node.may_promote(before, true, false), "nothing stands behind it");
    assert!(!rig.node.may_promote(until, true, true), "the budget has ended");
    assert!(!rig.node.may_promote(BootTime(until.0 + 1), true, true));
    assert!(rig.node.may_promote(until, false, false), "without a guard there is nothing to wait for");
    assert!(!Rig::booted().node.may_promote(BootTime(0), true, true), "nothing was earned");
}

#[test]
fn a_node_is_leaving_from_the_word_to_end_or_from_the_sight_of_another_run_on() {
    let mut told = Rig::serving();
    assert!(!told.node.is_leaving());
    told.hold(&[Kind::Demote]);
    told.node.handle_shutdown(told.now, Shutdown::Handover);
    assert!(told.node.is_leaving());
    let mut usurped = Rig::serving();
    usurped.hold(&[Kind::Demote]);
    usurped.own.as_mut().expect("an item").incarnation = crate::testing::incarnation(9);
    usurped.run_to(2_000);
    assert!(usurped.node.is_leaving());
}

#[test]
fn the_addresses_that_are_seen_here_are_in_the_next_heartbeat() {
    let mut rig = Rig::serving();
    let seen = vec![Ipv4Addr::new(198, 51, 100, 1)];
    let attached =
        Attached { public_ips: seen.iter().map(|ip| (*ip, None)).collect(), ..Attached::default() };
    rig.node.handle_seen(rig.now, &[attached]);
    rig.run_to(1_500);
    assert_eq!(rig.last_beat().seen, seen);
}

#[test]
fn news_of_health_is_published_at_once_and_the_same_again_is_no_news() {
    let mut rig = Rig::serving();
    rig.run_to(1_500);
    let due = rig.node.next_deadline();
    rig.node.handle_health(rig.now, Health::Unknown);
    assert_eq!(rig.node.next_deadline(), due);
    rig.node.handle_health(rig.now, Health::Ok);
    assert_eq!(rig.node.next_deadline(), Some(rig.now.boot));
}

#[test]
fn a_run_leaves_since_when_it_serves_and_the_next_one_goes_on_from_there() {
    let rig = Rig::serving();
    let left = rig.left();
    let since = left.serving_since.expect("it serves");
    let mut next = Rig::restarted(Some(left), 1_000);
    next.run_to(1_000);
    assert_eq!(next.last_beat().serving_since, Some(since));
}

#[test]
fn a_service_whose_dead_man_does_not_stand_is_left_as_unguarded() {
    let mut rig = Rig::serving();
    assert!(rig.left().guarded);
    rig.hold(&[Kind::Demote]);
    rig.node.handle_fenced(rig.now);
    rig.settle();
    assert!(!rig.left().guarded);
}

#[test]
fn a_promote_that_failed_is_tried_again_after_5_s_to_the_moment() {
    let mut rig = Rig::booted();
    rig.node.jitter = None;
    rig.fate.insert(Kind::Promote, Fate::Fails);
    rig.run_to(0);
    rig.fate.clear();
    let promotes = |rig: &Rig| rig.count(|command| matches!(command, Command::Promote { .. }));
    rig.run_to(4_999);
    assert_eq!(promotes(&rig), 1);
    rig.run_to(5_000);
    assert_eq!(promotes(&rig), 2);
}

#[test]
fn a_promote_that_failed_under_an_earlier_epoch_delays_no_other() {
    let mut rig = Rig::booted();
    rig.fate.insert(Kind::Promote, Fate::Fails);
    rig.run_to(0);
    rig.fate.clear();
    rig.grant(2);
    rig.run_to(1_500);
    rig.grant(1);
    rig.run_to(3_000);
    assert_eq!(rig.node.serving(), Some(Epoch(3)));
}

#[test]
fn nothing_starts_at_the_very_end_of_what_was_earned() {
    for (late, starts) in [(0, false), (1, true)] {
        let mut rig = Rig::booted();
        rig.hold(&[Kind::Lease]);
        rig.run_to(0);
        rig.freeze_to(4_000 - late);
        rig.answer(Kind::Lease, Fate::Done);
        assert_eq!(rig.node.serving().is_some(), starts, "{late} ms before the end");
    }
}

#[test]
fn a_standby_that_is_no_member_swears_nothing() {
    let mut rig = Rig::standing_by();
    rig.lease_mut().members.retain(|member| member.instance != arn(1));
    rig.run_to(2_000);
    rig.node.handle_health(rig.now, Health::Bad);
    rig.run_to(4_000);
    assert_eq!(rig.count(|command| matches!(command, Command::Release { .. })), 0);
    assert_eq!(rig.left().released, Epoch(0));
}

#[test]
fn a_run_that_has_read_no_lease_stops_the_service_it_adopted_before_it_leaves() {
    let left = Rig::serving().left();
    let mut rig = Rig::restarted(Some(left), 1_000);
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.settle();
    assert_eq!((rig.hooks(), rig.state()), (vec!["-shutdown".to_owned()], "left"));
}
