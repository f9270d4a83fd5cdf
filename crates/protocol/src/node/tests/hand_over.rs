//! How a holder hands over: the oath, intents, pauses, the end of the agent, and the end of the cluster.

use super::super::*;
use super::rig::{Fate, Kind, Rig};
use crate::lease::{Intent, LeaseState, Mode, Pause};
use crate::testing::{arn, exclusion};
use crate::wake::Why;

fn intent(to: Option<u8>, epoch: u64, until: u64) -> Option<Intent> {
    let until = WallTime(1_000_000 + until);
    Some(Intent {
        to: to.map(arn),
        reason: "patching".to_owned(),
        epoch: Epoch(epoch),
        until,
        request: None,
        failover: false,
        asked: None,
    })
}

fn paused_until(ms: u64) -> Option<Pause> {
    Some(Pause { until: WallTime(1_000_000 + ms), by: "op".to_owned(), why: "upgrade".to_owned() })
}

fn releases(rig: &Rig) -> usize {
    rig.count(|command| matches!(command, Command::Release { .. }))
}

/// A holder that has seen both others beat, at about 2 s.
fn with_peers_alive() -> Rig {
    let mut rig = Rig::serving();
    rig.node.handle_health(rig.now, Health::Ok);
    beat_to(&mut rig, 2_000);
    rig
}

/// Lets time pass while both others beat.
fn beat_to(rig: &mut Rig, ms: u64) {
    while rig.ms() < ms {
        rig.peer_beats(2);
        rig.peer_beats(3);
        let next = (rig.ms() + 500).min(ms);
        rig.run_to(next);
    }
}

/// What is read along with the lease may be as old as the question for the lease, however late its answer.
#[test]
fn nobody_counts_as_alive_by_what_an_answer_that_came_late_has_shown() {
    let mut rig = with_peers_alive();
    rig.lease_mut().mode = Mode::Available;
    rig.reads_along = true;
    beat_to(&mut rig, 3_000);
    rig.hold(&[Kind::Lease]);
    rig.run_to(4_500);
    rig.freeze_to(14_000);
    rig.held.clear();
    rig.answer(Kind::Lease, Fate::Done);
    // Soon after the question for that lease they beat for the last time.
    rig.peer_beats(2);
    rig.peer_beats(3);
    rig.lease_mut().intent = intent(None, 1, 60_000);
    rig.run_to(15_500);
    assert_eq!((releases(&rig), rig.state()), (0, "serving"), "nobody is there to take over");
    beat_to(&mut rig, 18_000);
    assert_eq!(releases(&rig), 1, "somebody is");
}

/// Each call takes 550 ms, so that a cycle takes half a beat longer than it may. What is asked for apart is younger than the lease.
#[test]
fn a_table_that_is_slow_hides_nobody_who_is_asked_for_apart() {
    for (reads_along, handed_over) in [(false, 1), (true, 0)] {
        let mut rig = with_peers_alive();
        rig.reads_along = reads_along;
        rig.hold(&[Kind::Beat, Kind::Lease, Kind::Heartbeats]);
        rig.run_to(3_000);
        for cycle in 0..4 {
            for kind in [Kind::Beat, Kind::Lease, Kind::Heartbeats] {
                rig.peer_beats(2);
                rig.peer_beats(3);
                rig.freeze_to(rig.ms() + 550);
                rig.answer(kind, Fate::Done);
            }
            if cycle == 2 {
                rig.node.handle_health(rig.now, Health::Bad);
            }
            rig.run_to(rig.ms());
        }
        assert_eq!(releases(&rig), handed_over, "{reads_along}");
    }
}

#[test]
fn a_node_in_bad_health_keeps_the_oath_then_stops_then_swears_then_wakes() {
    let mut rig = with_peers_alive();
    let before = rig.log.len();
    rig.node.handle_health(rig.now, Health::Bad);
    rig.settle();
    let words = rig.log[before..].iter().filter_map(|(_, command)| match command {
        Command::Persist(state) if state.released == Epoch(1) && state.serving.is_none() => Some("kept"),
        Command::Demote { reason: Reason::Unhealthy, .. } => Some("demote"),
        Command::Release { epoch: Epoch(1) } => Some("sworn"),
        Command::LeaveWake(Why::Release) => Some("item"),
        Command::Wake(Why::Release) => Some("event"),
        _ => None,
    });
    let mut words: Vec<_> = words.collect();
    words.dedup();
    assert_eq!(words, ["kept", "demote", "kept", "sworn", "item", "event"]);
}

#[test]
fn an_operators_word_about_a_silent_holder_is_not_for_the_holder_to_obey() {
    let mut rig = with_peers_alive();
    let wish = intent(Some(2), 1, 60_000).map(|intent| Intent { failover: true, ..intent });
    rig.lease_mut().intent = wish;
    beat_to(&mut rig, 10_000);
    assert_eq!((releases(&rig), rig.state()), (0, "serving"));
    rig.lease_mut().intent = intent(Some(2), 1, 60_000);
    beat_to(&mut rig, 12_000);
    assert_eq!(releases(&rig), 1, "and a switchover is");
}

#[test]
fn no_holder_releases_for_a_node_that_is_excluded() {
    let alone = || {
        let mut rig = with_peers_alive();
        rig.lease_mut().members.retain(|member| member.instance != arn(3));
        rig.lease_mut().excluded = Some(exclusion(2, WallTime(1_010_000)));
        rig
    };
    let mut rig = alone();
    rig.run_to(3_000);
    rig.node.handle_health(rig.now, Health::Bad);
    beat_to(&mut rig, 9_000);
    assert_eq!((releases(&rig), rig.state()), (0, "serving"), "a service that is unwell is better than none");
    beat_to(&mut rig, 12_000);
    assert_eq!(releases(&rig), 1, "the exclusion has ended");
    for to in [Some(2), None] {
        let mut rig = alone();
        rig.lease_mut().intent = intent(to, 1, 60_000);
        beat_to(&mut rig, 9_000);
        assert_eq!(releases(&rig), 0, "{to:?}");
        beat_to(&mut rig, 12_000);
        assert_eq!(releases(&rig), 1, "{to:?}");
    }
}

#[test]
fn an_oath_waits_for_the_end_of_the_demote() {
    let mut rig = with_peers_alive();
    rig.hold(&[Kind::Demote]);
    rig.node.handle_health(rig.now, Health::Bad);
    beat_to(&mut rig, 20_000);
    assert_eq!((releases(&rig), rig.state()), (0, "releasing"));
    assert_eq!(rig.left().released, Epoch(1), "but it is kept from the first moment on");
    rig.answer(Kind::Demote, Fate::Fails);
    assert_eq!(releases(&rig), 1, "after a failed hook the driver has stopped the service by force");
}

#[test]
fn an_oath_of_unknown_outcome_stands_and_is_written_again_until_it_is_confirmed() {
    for fate in Fate::UNCONFIRMED {
        let mut rig = with_peers_alive();
        rig.fate.insert(Kind::Release, fate);
        rig.node.handle_health(rig.now, Health::Bad);
        rig.settle();
        rig.node.handle_health(rig.now, Health::Ok);
        beat_to(&mut rig, 6_000);
        assert!(releases(&rig) >= 3, "{fate:?}: {}", releases(&rig));
        assert_eq!(rig.hooks(), ["-start", "+1", "-unhealthy"], "{fate:?}: never served again");
        rig.fate.clear();
        beat_to(&mut rig, 8_000);
        let confirmed = releases(&rig);
        beat_to(&mut rig, 12_000);
        assert_eq!(releases(&rig), confirmed, "{fate:?}");
        assert!(!rig.wakes(Why::Release).is_empty());
    }
}

#[test]
fn the_answer_to_an_old_oath_confirms_no_newer_one() {
    let mut rig = with_peers_alive();
    rig.hold(&[Kind::Release]);
    rig.node.handle_health(rig.now, Health::Bad);
    rig.settle();
    rig.grant(2);
    beat_to(&mut rig, 3_500);
    rig.grant(1);
    rig.node.handle_health(rig.now, Health::Ok);
    beat_to(&mut rig, 6_500);
    assert_eq!(rig.node.serving(), Some(Epoch(3)));
    rig.node.handle_health(rig.now, Health::Bad);
    rig.settle();
    assert_eq!(rig.state(), "stopped");
    // The answer to the oath of epoch 1 comes only now; the oath of epoch 3 follows it at once, and is lost.
    rig.answer(Kind::Release, Fate::Done);
    assert!(rig.open.iter().any(|(command, _)| *command == Command::Release { epoch: Epoch(3) }));
    rig.answer(Kind::Release, Fate::LostRequest);
    rig.held.clear();
    beat_to(&mut rig, 9_000);
    assert_eq!(rig.own.as_ref().expect("an item").released, Epoch(3), "nobody could serve otherwise");
}

#[test]
fn bad_health_is_no_reason_to_release_while_nobody_else_could() {
    let mut rig = Rig::serving();
    rig.run_to(3_000);
    rig.node.handle_health(rig.now, Health::Bad);
    rig.run_to(30_000);
    assert_eq!(rig.hooks(), ["-start", "+1"], "the others' heartbeats stand still");
    assert_eq!(rig.last_beat().health, Health::Bad);
    beat_to(&mut rig, 32_000);
    assert_eq!(rig.hooks()[2..], ["-unhealthy"]);
}

#[test]
fn unknown_and_draining_are_no_bad_health() {
    for health in [Health::Unknown, Health::Draining] {
        let mut rig = with_peers_alive();
        rig.node.handle_health(rig.now, health);
        beat_to(&mut rig, 10_000);
        assert_eq!(rig.hooks(), ["-start", "+1"], "{health:?}");
    }
}

#[test]
fn a_holder_that_is_about_to_be_taken_hands_over_while_somebody_could_take_over() {
    let mut rig = with_peers_alive();
    rig.node.handle_leaving(rig.now, true);
    beat_to(&mut rig, 4_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-leaving"]);
    assert_eq!(releases(&rig), 1);

    let mut alone = Rig::serving();
    alone.run_to(3_000);
    alone.node.handle_health(alone.now, Health::Ok);
    alone.node.handle_leaving(alone.now, true);
    alone.run_to(30_000);
    assert_eq!(alone.hooks(), ["-start", "+1"], "nobody else could: it serves to its end");
    assert_eq!(alone.last_beat().health, Health::Draining, "and is granted nothing anew");
    alone.node.handle_leaving(alone.now, false);
    alone.run_to(32_000);
    assert_eq!(alone.last_beat().health, Health::Ok, "it stays after all");

    let mut paused = with_peers_alive();
    paused.lease_mut().paused = paused_until(20_000);
    beat_to(&mut paused, 4_000);
    paused.node.handle_leaving(paused.now, true);
    beat_to(&mut paused, 19_000);
    assert_eq!(paused.hooks(), ["-start", "+1"], "a pause holds it back");
    beat_to(&mut paused, 22_000);
    assert_eq!(paused.hooks()[2..], ["-leaving"]);
}

#[test]
fn a_node_that_is_unwell_and_about_to_be_taken_is_unwell() {
    let mut rig = with_peers_alive();
    rig.node.handle_leaving(rig.now, true);
    rig.node.handle_health(rig.now, Health::Bad);
    assert_eq!(rig.node.effective_health(), Health::Bad);
    rig.node.handle_health(rig.now, Health::Unknown);
    assert_eq!(rig.node.effective_health(), Health::Draining);
}

#[test]
fn an_intent_is_obeyed_if_its_target_is_seen_beating() {
    for to in [Some(2), None] {
        let mut rig = with_peers_alive();
        rig.lease_mut().intent = intent(to, 1, 60_000);
        beat_to(&mut rig, 4_000);
        assert_eq!(rig.hooks(), ["-start", "+1", "-intent"], "{to:?}");
        assert_eq!(releases(&rig), 1);
    }
}

#[test]
fn an_intent_is_not_obeyed_at_another_epoch_after_its_end_or_for_a_target_that_could_not() {
    for wrong in ["epoch", "ended", "silent", "unhealthy", "itself"] {
        let mut rig = with_peers_alive();
        rig.lease_mut().intent = match wrong {
            "epoch" => intent(Some(2), 2, 60_000),
            "ended" => intent(Some(2), 1, 2_000),
            "itself" => intent(Some(1), 1, 60_000),
            _ => intent(Some(2), 1, 60_000),
        };
        if wrong == "unhealthy" {
            rig.peers.get_mut(&arn(2)).expect("a peer").health = Health::Bad;
        }
        if wrong == "silent" {
            // Seen beating once, an hour ago is what the wish was made on.
            rig.lease_mut().intent = None;
            rig.run_to(8_000);
            rig.lease_mut().intent = intent(Some(2), 1, 60_000);
            rig.run_to(20_000);
        } else {
            beat_to(&mut rig, 10_000);
        }
        assert_eq!(rig.hooks(), ["-start", "+1"], "{wrong}");
    }
}

#[test]
fn a_paused_cluster_releases_neither_for_health_nor_for_an_intent() {
    let mut rig = with_peers_alive();
    rig.lease_mut().paused = paused_until(20_000);
    rig.lease_mut().intent = intent(None, 1, 60_000);
    beat_to(&mut rig, 4_000);
    rig.node.handle_health(rig.now, Health::Bad);
    beat_to(&mut rig, 19_000);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
    beat_to(&mut rig, 22_000);
    assert_eq!(rig.hooks().len(), 3, "the pause ends by itself");
}

#[test]
fn the_end_of_the_agent_hands_the_lease_over_and_leaves_last() {
    let mut rig = Rig::serving();
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.run_to(2_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-shutdown"]);
    assert_eq!(rig.own.as_ref().expect("an item").released, Epoch(1));
    assert_eq!(rig.wakes(Why::Release).len(), 1);
    assert_eq!(rig.log.last().map(|(_, command)| command), Some(&Command::Exit(Exit::Orderly)));
    assert_eq!(rig.node.next_deadline(), None);
    // Whatever still comes in, nothing goes out.
    let before = rig.log.len();
    rig.node.handle_health(rig.now, Health::Bad);
    rig.node.handle_shutdown(rig.now, Shutdown::Stay);
    rig.node.handle_timer(rig.now);
    rig.node.handle_fenced(rig.now);
    rig.node.handle_released(rig.now, Ok(()));
    rig.settle();
    assert_eq!(rig.log.len(), before);
}

#[test]
fn a_hand_over_waits_for_the_hooks_and_for_the_confirmed_oath() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Promote, Kind::Demote, Kind::Release]);
    rig.run_to(0);
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.answer(Kind::Demote, Fate::Done);
    rig.run_to(1_500);
    assert_eq!(rig.state(), "stopped", "nothing is started by an agent that ends");
    rig.answer(Kind::Release, Fate::LostRequest);
    rig.run_to(3_000);
    assert_eq!(rig.state(), "stopped");
    rig.answer(Kind::Release, Fate::Done);
    assert_eq!(rig.state(), "left");
}

#[test]
fn an_end_during_a_promote_waits_for_it_and_then_hands_over() {
    let mut rig = Rig::booted();
    rig.hold(&[Kind::Promote]);
    rig.run_to(0);
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.run_to(2_000);
    assert_eq!((rig.state(), rig.last_beat().health), ("starting", Health::Draining));
    rig.answer(Kind::Promote, Fate::Done);
    assert_eq!((rig.state(), rig.hooks()), ("left", vec!["-start".into(), "+1".into(), "-shutdown".into()]));
}

#[test]
fn a_standby_leaves_at_once_and_a_node_that_never_read_a_lease_too() {
    let mut rig = Rig::standing_by();
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.settle();
    assert_eq!((rig.state(), releases(&rig)), ("left", 0));
    let mut rig = Rig::booted();
    rig.fate.insert(Kind::Own, Fate::LostRequest);
    rig.run_to(500);
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.settle();
    assert_eq!(rig.state(), "left");
}

#[test]
fn an_agent_that_stays_leaves_the_service_under_its_dead_man() {
    let mut rig = Rig::serving();
    let disarmed = rig.count(|command| *command == Command::Disarm);
    rig.node.handle_shutdown(rig.now, Shutdown::Stay);
    rig.settle();
    assert_eq!((rig.state(), rig.hooks()), ("left", vec!["-start".into(), "+1".into()]));
    assert_eq!(rig.count(|command| *command == Command::Disarm), disarmed);
    let left = rig.left();
    assert_eq!((left.serving, left.valid_until), (Some(Epoch(1)), rig.node.valid_until()));
}

#[test]
fn under_a_pause_every_end_stays() {
    let mut rig = Rig::serving();
    rig.lease_mut().paused = paused_until(60_000);
    rig.run_to(1_500);
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.settle();
    assert_eq!((rig.state(), rig.hooks(), releases(&rig)), ("left", vec!["-start".into(), "+1".into()], 0));
}

#[test]
fn a_retired_cluster_is_disarmed_and_its_service_left_as_it_is() {
    let mut rig = Rig::serving();
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(1_500);
    assert!(!rig.left().guarded);
    for kind in [Kind::Beat, Kind::Lease] {
        rig.fate.insert(kind, Fate::LostRequest);
    }
    rig.run_to(600_000);
    assert_eq!(rig.hooks(), ["-start", "+1"]);
    assert_eq!(rig.count(|command| *command == Command::Disarm), 2, "once at the start, once now");
    // And so it is left by the end of the agent.
    rig.node.handle_shutdown(rig.now, Shutdown::Handover);
    rig.settle();
    assert_eq!((rig.state(), releases(&rig)), ("left", 0));
}

#[test]
fn a_retired_cluster_starts_nothing() {
    let mut rig = Rig::booted();
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(5_000);
    assert_eq!(rig.hooks(), ["-start"]);
}

#[test]
fn a_cluster_that_is_registered_again_is_guarded_again_without_a_hook() {
    let mut rig = Rig::serving();
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(5_000);
    rig.lease_mut().state = LeaseState::Active;
    rig.lease_mut().epoch = Epoch(2);
    rig.run_to(7_000);
    assert_eq!((rig.hooks().len(), rig.node.serving()), (2, Some(Epoch(2))));
    assert!(rig.node.valid_until() > Some(rig.now.boot));
    assert!(rig.left().guarded);
}

#[test]
fn a_cluster_that_is_registered_again_does_not_go_on_without_a_budget() {
    let mut rig = Rig::serving();
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(5_000);
    rig.lease_mut().state = LeaseState::Active;
    rig.lease_mut().epoch = Epoch(2);
    rig.fate.insert(Kind::Beat, Fate::LostRequest);
    rig.run_to(6_500);
    assert_eq!(rig.hooks()[2..], ["-self-fence"]);
}

#[test]
fn a_service_that_others_may_have_succeeded_meanwhile_starts_afresh() {
    let mut rig = Rig::serving();
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(5_000);
    rig.lease_mut().state = LeaseState::Active;
    rig.lease_mut().epoch = Epoch(4);
    rig.run_to(7_000);
    assert_eq!(rig.hooks()[2..], ["-deposed", "+4"]);
}

#[test]
fn a_retired_cluster_is_not_handed_over_for_bad_health() {
    let mut rig = with_peers_alive();
    rig.lease_mut().state = LeaseState::Retired;
    rig.run_to(3_500);
    rig.node.handle_health(rig.now, Health::Bad);
    rig.settle();
    assert_eq!((releases(&rig), rig.state()), (0, "serving"));
}
