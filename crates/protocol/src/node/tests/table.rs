//! The transition table: every input in every state of the service, and the state that follows.

use super::super::service::{Service, Then};
use super::super::*;
use super::rig::{Fate, Kind, Rig};
use crate::lease::{Intent, LeaseState, Mode};
use crate::testing::{arn, incarnation};

/// A node in this state at about 2 s, in the middle of a cycle whose W and R wait for their answers; it has seen node 2
/// beat, and hooks wait for theirs.
fn node_in(state: &str) -> Rig {
    let mut rig = Rig::booted();
    rig.node.handle_health(rig.now, Health::Ok);
    rig.run_to(0);
    rig.peer_beats(2);
    rig.run_to(1_300);
    rig.hold(&[Kind::Beat, Kind::Lease, Kind::Promote, Kind::Demote, Kind::Release]);
    rig.run_to(2_300);
    assert_eq!(rig.node.serving(), Some(Epoch(1)));
    // The onlooker knows nothing of states that are set by hand, so commands are drawn from the node itself below.
    rig.node.service = match state {
        "stopped" => Service::Stopped,
        "starting" => Service::Starting { epoch: Epoch(1) },
        "serving" => Service::Serving { epoch: Epoch(1), since: WallTime(0) },
        "stopping" => Service::Stopping { epoch: Some(Epoch(1)), then: Then::Rest },
        _ => {
            rig.node.released = Epoch(1);
            Service::Stopping { epoch: Some(Epoch(1)), then: Then::Release }
        }
    };
    rig
}

/// W is answered with `fate`, then R shows the lease as `edit` leaves it.
fn cycle(rig: &mut Rig, fate: Fate, edit: impl Fn(&mut Lease)) {
    edit(rig.lease_mut());
    let found = rig.lease.clone();
    let outcome = if fate == Fate::Done { Ok(()) } else { Err(crate::outcome::Failure::Throttled.into()) };
    rig.node.handle_beat(rig.now, outcome);
    rig.node.handle_lease(rig.now, Ok(found));
}

fn intent(lease: &mut Lease) {
    let until = WallTime(2_000_000);
    lease.intent = Some(Intent {
        to: Some(arn(2)),
        reason: "x".to_owned(),
        epoch: Epoch(1),
        until,
        request: None,
        failover: false,
        asked: None,
    });
}

fn feed(rig: &mut Rig, input: &str) {
    let now = rig.now;
    let later = super::rig::at(30_000);
    match input {
        "W, R: mine" => cycle(rig, Fate::Done, |_| {}),
        "no W, R: mine" => cycle(rig, Fate::Throttled, |_| {}),
        "W, R: mine, newer epoch" => cycle(rig, Fate::Done, |lease| lease.epoch = Epoch(3)),
        "W, R: another's" => cycle(rig, Fate::Done, |lease| {
            lease.epoch = Epoch(2);
            lease.holder = Some(arn(2));
        }),
        "no W, R: another's" => cycle(rig, Fate::Throttled, |lease| {
            lease.epoch = Epoch(2);
            lease.holder = Some(arn(2));
        }),
        "W, R: nobody's" => cycle(rig, Fate::Done, |lease| {
            lease.epoch = Epoch(2);
            lease.holder = None;
        }),
        "W, R: retired" => cycle(rig, Fate::Done, |lease| lease.state = LeaseState::Retired),
        "W, R: intent, others unread" => cycle(rig, Fate::Done, intent),
        "W, R: intent" => {
            cycle(rig, Fate::Done, intent);
            let others = rig.peers.clone();
            rig.node.handle_heartbeats(now, Ok(others));
        }
        "W, R unreadable" => {
            rig.node.handle_beat(now, Ok(()));
            rig.node.handle_lease(now, Err(crate::outcome::Failure::Throttled));
        }
        "promoted" => rig.node.handle_promoted(now, HookOutcome::Done),
        "promote failed" => rig.node.handle_promoted(now, HookOutcome::Failed),
        "promoted too late" => rig.node.handle_promoted(later, HookOutcome::Done),
        "demoted" => rig.node.handle_demoted(now, HookOutcome::Done),
        "demote failed" => rig.node.handle_demoted(now, HookOutcome::Failed),
        "validity ends" => rig.node.handle_timer(later),
        "validity ends, available" => {
            rig.node.guarded = false;
            rig.node.handle_timer(later);
        }
        "health is bad" => rig.node.handle_health(now, Health::Bad),
        "dead-man fired" => rig.node.handle_fenced(now),
        "hand over" => rig.node.handle_shutdown(now, Shutdown::Handover),
        "stay" => rig.node.handle_shutdown(now, Shutdown::Stay),
        "usurped" => {
            let mut own = rig.own.clone().expect("an item");
            own.incarnation = incarnation(9);
            rig.node.handle_beat(now, Err(crate::outcome::WriteFailure::Refused(Some(own))));
        }
        other => panic!("{other}"),
    }
}

const STATES: [&str; 5] = ["stopped", "starting", "serving", "stopping", "releasing"];

/// Each input, and the state that follows in each of `STATES`, in their order.
const TABLE: [(&str, [&str; 5]); 22] = [
    ("W, R: mine", ["starting", "starting", "serving", "stopping", "releasing"]),
    ("no W, R: mine", ["stopped", "starting", "serving", "stopping", "releasing"]),
    ("W, R: mine, newer epoch", ["starting", "stopping", "stopping", "stopping", "releasing"]),
    ("W, R: another's", ["stopped", "stopping", "stopping", "stopping", "releasing"]),
    ("no W, R: another's", ["stopped", "stopping", "stopping", "stopping", "releasing"]),
    ("W, R: nobody's", ["stopped", "stopping", "stopping", "stopping", "releasing"]),
    ("W, R: retired", ["stopped", "starting", "serving", "stopping", "releasing"]),
    ("W, R: intent, others unread", ["stopped", "starting", "serving", "stopping", "releasing"]),
    ("W, R: intent", ["stopped", "releasing", "releasing", "releasing", "releasing"]),
    ("W, R unreadable", ["stopped", "starting", "serving", "stopping", "releasing"]),
    ("promoted", ["stopped", "serving", "serving", "stopping", "releasing"]),
    ("promote failed", ["stopped", "stopping", "serving", "stopping", "releasing"]),
    ("promoted too late", ["stopped", "stopping", "serving", "stopping", "releasing"]),
    ("demoted", ["stopped", "starting", "serving", "stopped", "stopped"]),
    ("demote failed", ["stopped", "starting", "serving", "stopped", "stopped"]),
    ("validity ends", ["stopped", "stopping", "stopping", "stopping", "releasing"]),
    ("validity ends, available", ["stopped", "starting", "serving", "stopping", "releasing"]),
    ("health is bad", ["stopped", "releasing", "releasing", "releasing", "releasing"]),
    ("dead-man fired", ["stopped", "stopping", "stopping", "stopping", "releasing"]),
    ("hand over", ["stopped", "starting", "releasing", "stopping", "releasing"]),
    ("stay", ["left", "starting", "left", "stopping", "releasing"]),
    ("usurped", ["left", "stopping", "stopping", "stopping", "releasing"]),
];

#[test]
fn every_input_in_every_state_leads_where_the_table_says() {
    for (input, expected) in TABLE {
        for (state, expected) in STATES.into_iter().zip(expected) {
            let mut rig = node_in(state);
            feed(&mut rig, input);
            assert_eq!(rig.state(), expected, "{input} while {state}");
        }
    }
}

/// What an input makes of hooks and oaths, beyond the state.
#[test]
fn every_input_starts_the_hook_that_its_new_state_needs_and_no_other() {
    for (input, expected) in TABLE {
        for (state, expected) in STATES.into_iter().zip(expected) {
            let mut rig = node_in(state);
            while rig.node.poll_command().is_some() {}
            feed(&mut rig, input);
            let commands: Vec<Command> = std::iter::from_fn(|| rig.node.poll_command()).collect();
            let promotes = commands.iter().filter(|c| matches!(c, Command::Promote { .. })).count();
            let demotes = commands.iter().filter(|c| matches!(c, Command::Demote { .. })).count();
            let is_up = |state| matches!(state, "starting" | "serving");
            let is_down = |state| matches!(state, "stopping" | "releasing");
            assert_eq!(
                promotes,
                usize::from(state == "stopped" && expected == "starting"),
                "{input} while {state}"
            );
            assert_eq!(demotes, usize::from(is_up(state) && is_down(expected)), "{input} while {state}");
            let swears = commands.iter().any(|c| matches!(c, Command::Release { .. }));
            let may_swear = matches!(expected, "stopped" | "left");
            assert!(!swears || may_swear, "{input} while {state}: an oath while something may run");
        }
    }
}

#[test]
fn an_available_node_is_not_guarded_from_its_first_promote_on() {
    let mut rig = Rig::booted();
    rig.lease_mut().mode = Mode::Available;
    rig.run_to(0);
    assert_eq!(rig.count(|c| matches!(c, Command::Promote { guarded: false, .. })), 1);
    let mut rig = Rig::booted();
    rig.run_to(0);
    assert_eq!(rig.count(|c| matches!(c, Command::Promote { guarded: true, .. })), 1);
}
