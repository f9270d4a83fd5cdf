//! What a node is there for, and when its service may be mended.

use super::super::*;
use super::rig::{Kind, Rig, at};
use crate::findings::{Findings, Hook, HookFailure};
use crate::lease::{LeaseState, Mode, Pause};

#[test]
fn a_duty_follows_the_service() {
    let mut rig = Rig::booted();
    assert_eq!(rig.node.duty(), Duty::StandBy, "nothing is known, and nothing serves");
    rig.hold(&[Kind::Promote]);
    rig.run_to(1_000);
    assert_eq!(rig.node.duty(), Duty::Start);
    let mut rig = Rig::serving();
    assert_eq!(rig.node.duty(), Duty::Serve);
    rig.hold(&[Kind::Demote]);
    rig.node.handle_fenced(rig.now);
    assert_eq!(rig.node.duty(), Duty::StandBy, "what is being stopped serves no more");
}

#[test]
fn a_service_is_mended_only_while_it_serves_and_its_budget_lasts() {
    let mut rig = Rig::serving();
    assert!(rig.node.may_recover(rig.now));
    let until = rig.node.valid_until().expect("a budget");
    let late = |boot| Now { boot, wall: rig.now.wall };
    assert!(rig.node.may_recover(late(BootTime(until.0 - 1))));
    assert!(!rig.node.may_recover(late(until)), "the dead-man stops it at this moment");
    rig.hold(&[Kind::Demote]);
    rig.node.handle_fenced(rig.now);
    assert!(!rig.node.may_recover(rig.now), "it is being stopped");
    assert!(!Rig::standing_by().node.may_recover(at(0)), "it never served");
}

#[test]
fn a_service_without_a_guard_is_mended_whatever_its_budget() {
    let mut rig = Rig::serving();
    rig.lease_mut().mode = Mode::Available;
    rig.run_to(4_000);
    assert!(rig.node.may_recover(Now { boot: at(100_000).boot, wall: rig.now.wall }));
}

#[test]
fn a_service_is_left_alone_in_a_pause_in_a_retired_cluster_and_by_an_agent_that_leaves() {
    for why in ["paused", "retired", "leaving"] {
        let mut rig = Rig::serving();
        match why {
            "paused" => {
                let until = WallTime(rig.now.wall.0 + 60_000);
                rig.lease_mut().paused = Some(Pause { until, by: "op".to_owned(), why: String::new() });
            }
            "retired" => rig.lease_mut().state = LeaseState::Retired,
            _ => {
                rig.hold(&[Kind::Demote]);
                rig.node.handle_shutdown(rig.now, Shutdown::Handover);
            }
        }
        rig.run_to(2_500);
        assert!(!rig.node.may_recover(rig.now), "{why}");
    }
}

#[test]
fn what_was_found_out_is_in_the_next_heartbeat_until_it_is_taken_back() {
    let mut rig = Rig::serving();
    let findings = Findings { failing: Some("web: no answer".into()), ..Findings::default() };
    rig.node.handle_findings(rig.now, &findings);
    rig.run_to(1_500);
    assert_eq!(rig.last_beat().findings, Some(findings));
    rig.node.handle_findings(rig.now, &Findings::default());
    rig.run_to(3_000);
    assert_eq!(rig.last_beat().findings, Some(Findings::default()), "it is taken back");
}

#[test]
fn a_hook_that_has_failed_is_told_at_once_and_the_same_again_is_no_news() {
    let mut rig = Rig::serving();
    rig.run_to(1_010);
    let failure = |at| HookFailure {
        hook: Hook::Demote,
        epoch: Epoch(1),
        at: WallTime(at),
        how: "exit code 1".into(),
        output: "no\nlicence".into(),
    };
    let findings = Findings { hook: Some(failure(1)), ..Findings::default() };
    let next = Seq(rig.last_beat().seq.0 + 1);
    rig.node.handle_findings(rig.now, &findings);
    rig.run_to(1_050);
    assert_eq!((rig.last_beat().seq, rig.last_beat().findings.clone()), (next, Some(findings.clone())));
    rig.node.handle_findings(rig.now, &findings);
    rig.run_to(1_100);
    assert_eq!(rig.last_beat().seq, next);
}

#[test]
fn nothing_is_written_about_findings_where_there_never_were_any_and_an_earlier_runs_are_taken_back() {
    let mut rig = Rig::serving();
    rig.node.handle_findings(rig.now, &Findings::default());
    rig.run_to(1_500);
    assert_eq!(rig.last_beat().findings, None);
    let mut rig = Rig::booted();
    rig.own = Some(crate::heartbeat::Heartbeat {
        findings: Some(Findings { warning: Some("disk: exit code 1".into()), ..Findings::default() }),
        ..crate::testing::heartbeat(&crate::testing::arn(1), 5)
    });
    rig.run_to(0);
    assert_eq!(rig.last_beat().findings, Some(Findings::default()));
}
