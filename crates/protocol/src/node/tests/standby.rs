//! A standby: when it claims, when it takes the claim back, and whom it wakes.

use super::super::*;
use super::rig::{Fate, Kind, Rig};
use crate::lease::Pause;
use crate::testing::{arn, member};
use crate::wake::Why;

/// The first heartbeat that carried a claim, in milliseconds.
fn claimed_at(rig: &Rig) -> Option<u64> {
    let claim =
        |(_, command): &(BootTime, Command)| matches!(command, Command::Beat(beat) if beat.claim.is_some());
    rig.log.iter().find(|entry| claim(entry)).map(|(when, _)| when.0 / 1_000_000 - super::rig::START)
}

/// The first heartbeat whose claim told of twice S, in milliseconds.
fn renewed_at(rig: &Rig) -> Option<u64> {
    let twice = 2 * u64::try_from(rig.lease.as_ref()?.timing.silence().as_millis()).ok()?;
    let renewed = |(_, command): &(BootTime, Command)| matches!(command, Command::Beat(beat) if beat.claim.as_ref().is_some_and(|claim| claim.silent_ms >= twice));
    rig.log.iter().find(|entry| renewed(entry)).map(|(when, _)| when.0 / 1_000_000 - super::rig::START)
}

#[test]
fn a_claim_is_renewed_once_and_only_by_reads_without_a_gap() {
    let mut rig = Rig::standing_by();
    rig.run_to(60_000);
    let told: std::collections::BTreeSet<u64> = rig
        .log
        .iter()
        .filter_map(|(_, command)| match command {
            Command::Beat(beat) => beat.claim.as_ref().map(|claim| claim.silent_ms),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let mut blind = Rig::standing_by();
    blind.run_to(8_000);
    let claimed = claimed_at(&blind).expect("a claim");
    blind.fate.insert(Kind::Heartbeats, Fate::LostRequest);
    blind.run_to(20_000);
    assert_eq!(renewed_at(&blind), None, "nobody has looked");
    blind.fate.clear();
    blind.run_to(30_000);
    assert_eq!(renewed_at(&blind), None, "silence has begun anew");
    blind.run_to(40_000);
    assert!(renewed_at(&blind).is_some_and(|renewed| renewed > claimed + 22_000));
}

/// Lets time pass to `ms` while the holder, node 2, beats each second.
fn holder_beats_to(rig: &mut Rig, ms: u64) {
    while rig.ms() < ms {
        rig.peer_beats(2);
        let next = (rig.ms() + 1_000).min(ms);
        rig.run_to(next);
    }
}

#[test]
fn a_holder_that_beats_is_never_claimed() {
    let mut rig = Rig::standing_by();
    holder_beats_to(&mut rig, 60_000);
    assert_eq!((claimed_at(&rig), rig.wakes(Why::Claim)), (None, vec![]));
}

#[test]
fn a_claim_follows_s_of_good_reads_that_showed_nothing_new() {
    let mut rig = Rig::standing_by();
    holder_beats_to(&mut rig, 10_000);
    let quiet_since = 9_000;
    rig.run_to(30_000);
    let claimed = claimed_at(&rig).expect("a claim");
    // Silence counts from the reply that first showed the last heartbeat, which came within a beat of it.
    assert!((quiet_since + 6_000..=quiet_since + 8_300).contains(&claimed), "{claimed}");
    let claim = rig.last_beat().claim.clone().expect("it stands");
    assert_eq!((claim.epoch, claim.holder, claim.seq), (Epoch(1), arn(2), rig.peers[&arn(2)].seq));
    assert!(claim.silent_ms >= 6_000);
}

#[test]
fn a_wake_is_sent_with_the_confirmed_claim_and_after_1_2_4_and_8_s() {
    let mut rig = Rig::standing_by();
    rig.run_to(60_000);
    let claimed = claimed_at(&rig).expect("a claim");
    let after: Vec<u64> = rig.wakes(Why::Claim).iter().map(|when| when - claimed).collect();
    // Once the silence has lasted twice as long, the claim says so, and the arbiter is woken anew.
    let renewed = renewed_at(&rig).expect("renewed") - claimed;
    assert!((5_800..=7_000).contains(&renewed), "{renewed}");
    let again = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 24_000].map(|wait| renewed + wait);
    assert_eq!(after[..11], [&[0, 1_000, 2_000, 4_000], &again[..]].concat());
    let items = rig.count(|command| *command == Command::LeaveWake(Why::Claim));
    assert_eq!(items, after.len(), "each with its item in the table");
}

#[test]
fn no_wake_is_sent_before_the_claim_is_in_the_table() {
    let mut rig = Rig::standing_by();
    rig.run_to(5_500);
    rig.fate.insert(Kind::Beat, Fate::LostAnswer);
    rig.run_to(10_000);
    assert!(claimed_at(&rig).is_some());
    assert_eq!(rig.wakes(Why::Claim), [0; 0]);
    rig.fate.clear();
    rig.run_to(10_300);
    assert_eq!(rig.wakes(Why::Claim).len(), 1);
}

#[test]
fn a_claimant_beats_each_200_ms_while_its_claim_stands() {
    let mut rig = Rig::standing_by();
    rig.run_to(10_000);
    let claimed = claimed_at(&rig).expect("a claim");
    let beats = |rig: &Rig, from: u64, to: u64| {
        let moments = rig.log.iter().filter(|(_, command)| matches!(command, Command::Beat(_)));
        let moments = moments.map(|(when, _)| when.0 / 1_000_000 - super::rig::START);
        moments.filter(|when| (from..to).contains(when)).count()
    };
    let count = beats(&rig, claimed, claimed + 2_000);
    assert!((9..=12).contains(&count), "{count} beats in 2 s");
    holder_beats_to(&mut rig, 20_000);
    let count = beats(&rig, 15_000, 20_000);
    assert!((4..=7).contains(&count), "{count} beats in 5 s without a claim");
}

#[test]
fn reads_that_fail_make_no_claim_and_start_silence_again() {
    for kind in [Kind::Lease, Kind::Heartbeats] {
        let mut rig = Rig::standing_by();
        rig.run_to(5_000);
        rig.fate.insert(kind, Fate::LostRequest);
        rig.run_to(60_000);
        assert_eq!(claimed_at(&rig), None, "{kind:?}: an outage of the table moves nothing");
        rig.fate.clear();
        rig.run_to(65_500);
        assert_eq!(claimed_at(&rig), None, "{kind:?}: and no stampede follows it");
        rig.run_to(68_000);
        assert!(claimed_at(&rig).is_some());
    }
}

#[test]
fn a_holder_without_a_heartbeat_is_not_claimed() {
    let mut rig = Rig::standing_by();
    rig.peers.remove(&arn(2));
    rig.run_to(60_000);
    assert_eq!(claimed_at(&rig), None);
}

#[test]
fn a_claim_is_taken_back_when_the_holder_beats_or_the_lease_moves_on() {
    for end in ["beats", "restarts", "moves", "mine", "retired"] {
        let mut rig = Rig::standing_by();
        rig.run_to(10_000);
        assert!(rig.last_beat().claim.is_some());
        match end {
            "beats" => rig.peer_beats(2),
            "restarts" => {
                rig.peers.get_mut(&arn(2)).expect("a peer").incarnation = crate::testing::incarnation(8);
            }
            "moves" => rig.grant(3),
            "mine" => rig.grant(1),
            _ => rig.lease_mut().state = crate::lease::LeaseState::Retired,
        }
        rig.run_to(12_000);
        let woken = rig.wakes(Why::Claim).len();
        rig.run_to(14_000);
        assert_eq!((rig.last_beat().claim.clone(), rig.wakes(Why::Claim).len()), (None, woken), "{end}");
    }
}

#[test]
fn a_claim_is_taken_back_when_the_holder_beats_although_it_has_sworn() {
    let mut rig = Rig::standing_by();
    rig.run_to(10_000);
    assert!(rig.last_beat().claim.is_some());
    rig.peers.get_mut(&arn(2)).expect("a peer").released = Epoch(1);
    rig.peer_beats(2);
    rig.run_to(11_500);
    assert_eq!(rig.last_beat().claim, None);
    let before = rig.log.len();
    rig.run_to(21_500);
    let wakes = rig.log[before..].iter().filter(|(_, command)| matches!(command, Command::Wake(_))).count();
    assert!((2..=4).contains(&wakes), "one reason after the other would wake at each beat: {wakes} in 10 s");
}

#[test]
fn a_holder_that_nothing_guards_is_claimed_in_available_mode_only() {
    use crate::heartbeat::UNGUARDED_MS;
    use crate::lease::Mode;
    for mode in [Mode::Strict, Mode::Available] {
        let mut rig = Rig::standing_by();
        rig.lease_mut().mode = mode;
        rig.peers.get_mut(&arn(2)).expect("a peer").validity_ms = UNGUARDED_MS;
        rig.run_to(600_000);
        assert_eq!(claimed_at(&rig).is_some(), mode == Mode::Available, "{mode:?}");
        assert!(rig.last_beat().validity_ms == UNGUARDED_MS || mode == Mode::Strict);
    }
}

#[test]
fn a_node_that_could_not_serve_does_not_claim() {
    for unable in ["bad", "unknown", "no member", "paused"] {
        let mut rig = Rig::standing_by();
        match unable {
            "bad" => rig.node.handle_health(rig.now, Health::Bad),
            "unknown" => rig.node.handle_health(rig.now, Health::Unknown),
            "no member" => rig.lease_mut().members = vec![member(2), member(3)],
            _ => {
                let until = WallTime(1_000_000 + 20_000);
                rig.lease_mut().paused =
                    Some(Pause { until, by: "op".to_owned(), why: "upgrade".to_owned() });
            }
        }
        rig.run_to(20_000);
        assert_eq!(claimed_at(&rig), None, "{unable}");
        rig.node.handle_health(rig.now, Health::Ok);
        rig.lease_mut().members = (1..=3).map(member).collect();
        rig.run_to(30_000);
        assert!(claimed_at(&rig).is_some(), "{unable} has ended");
    }
}

#[test]
fn a_claimant_that_falls_ill_takes_its_claim_back() {
    let mut rig = Rig::standing_by();
    rig.run_to(10_000);
    rig.node.handle_health(rig.now, Health::Bad);
    rig.run_to(11_000);
    assert_eq!(rig.last_beat().claim, None);
}

#[test]
fn a_longer_validity_that_the_holder_published_is_waited_out() {
    let mut rig = Rig::standing_by();
    rig.peers.get_mut(&arn(2)).expect("a peer").validity_ms = 20_000;
    rig.run_to(20_000);
    assert_eq!(claimed_at(&rig), None, "the lease says 4 s, and the holder serves by what it published");
    rig.run_to(25_000);
    assert!(claimed_at(&rig).is_some());
}

#[test]
fn a_standby_wakes_the_arbiter_when_the_holder_has_released() {
    let mut rig = Rig::standing_by();
    holder_beats_to(&mut rig, 3_000);
    rig.peers.get_mut(&arn(2)).expect("a peer").released = Epoch(1);
    rig.run_to(8_000);
    let wakes = rig.wakes(Why::Release);
    assert!((3_000..4_200).contains(&wakes[0]) && wakes.len() >= 3, "{wakes:?}");
    rig.grant(3);
    rig.run_to(10_000);
    let woken = rig.wakes(Why::Release).len();
    rig.run_to(30_000);
    assert_eq!(rig.wakes(Why::Release).len(), woken, "the new holder has released nothing");
}

#[test]
fn a_node_wakes_the_arbiter_when_there_is_no_holder() {
    let mut rig = Rig::booted();
    rig.lease_mut().holder = None;
    rig.run_to(10_000);
    assert_eq!(rig.wakes(Why::Vacant), [0, 1_000, 2_000, 4_000, 8_000]);
    assert_eq!(rig.hooks(), ["-start"]);
    rig.grant(2);
    rig.run_to(12_000);
    let woken = rig.wakes(Why::Vacant).len();
    rig.run_to(40_000);
    assert_eq!(rig.wakes(Why::Vacant).len(), woken);
}

#[test]
fn a_holder_whose_oath_brought_no_successor_goes_on_waking() {
    let earlier = RunState { released: Epoch(1), guarded: true, ..RunState::default() };
    let mut rig = Rig::restarted(Some(earlier), 0);
    rig.run_to(20_000);
    let wakes = rig.wakes(Why::Release);
    assert!(wakes.len() >= 5 && wakes[0] < 1_500, "{wakes:?}");
}

#[test]
fn a_standby_reads_the_holder_and_a_holder_reads_the_others() {
    let asked = |rig: &Rig| {
        let reads = rig.log.iter().rev().find_map(|(_, command)| match command {
            Command::ReadHeartbeats(asked) => Some(asked.clone()),
            _ => None,
        });
        reads.expect("a read")
    };
    assert_eq!(asked(&Rig::standing_by()), [arn(2)]);
    assert_eq!(asked(&Rig::serving()), [arn(2), arn(3)]);
}

#[test]
fn beats_of_a_node_are_jittered_by_a_tenth_at_most() {
    let mut rig = Rig::standing_by();
    holder_beats_to(&mut rig, 60_000);
    let beats: Vec<u64> = rig
        .log
        .iter()
        .filter(|(_, command)| matches!(command, Command::Beat(_)))
        .map(|(when, _)| when.0 / 1_000_000)
        .collect();
    let gaps: Vec<u64> = beats.windows(2).map(|pair| pair[1] - pair[0]).skip(2).collect();
    assert!(gaps.iter().all(|gap| (900..=1_101).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap != gaps[0]), "in step with nobody");
}

/// A cluster whose nodes are named by a tag, with room for so many.
fn by_tag(rig: &mut Rig, most: u16) {
    use crate::roster::{Roster, Tag};
    let tag = Tag::of_group("nat").expect("valid");
    rig.lease_mut().roster = Some(Roster { tag, most, priority: 100, changed: WallTime(0) });
}

#[test]
fn a_node_that_is_no_member_says_hello_ever_more_rarely_while_there_is_room() {
    let mut rig = Rig::booted();
    by_tag(&mut rig, 3);
    rig.lease_mut().holder = Some(arn(2));
    rig.lease_mut().members = vec![member(2), member(3)];
    holder_beats_to(&mut rig, 200_000);
    assert_eq!(
        rig.wakes(Why::Hello),
        [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 192_000]
    );
    assert_eq!(rig.count(|command| *command == Command::LeaveWake(Why::Hello)), 10, "each with its item");
    rig.lease_mut().members.push(member(4));
    holder_beats_to(&mut rig, 400_000);
    assert_eq!(rig.wakes(Why::Hello).len(), 10, "it is full");
    assert_eq!((claimed_at(&rig), rig.hooks()), (None, vec!["-start".to_owned()]));
}

#[test]
fn a_node_that_is_no_member_says_nothing_where_nodes_are_named_one_by_one() {
    let mut rig = Rig::booted();
    rig.lease_mut().holder = Some(arn(2));
    rig.lease_mut().members = vec![member(2), member(3)];
    holder_beats_to(&mut rig, 60_000);
    assert_eq!(rig.wakes(Why::Hello), [0; 0]);
}

#[test]
fn a_newcomer_asks_to_join_where_nobody_holds_and_then_for_the_lease() {
    let mut rig = Rig::booted();
    by_tag(&mut rig, 3);
    (rig.lease_mut().members, rig.lease_mut().holder) = (vec![], None);
    rig.run_to(10_500);
    assert_eq!((rig.wakes(Why::Hello).len(), rig.wakes(Why::Vacant).len()), (5, 0));
    rig.lease_mut().members = vec![member(1)];
    rig.run_to(20_000);
    assert_eq!(rig.wakes(Why::Hello).len(), 5);
    assert!(rig.wakes(Why::Vacant).len() >= 4);
}

#[test]
fn a_node_that_became_a_member_takes_part_without_a_restart() {
    let mut rig = Rig::standing_by();
    by_tag(&mut rig, 3);
    rig.lease_mut().members = vec![member(2), member(3)];
    holder_beats_to(&mut rig, 5_000);
    rig.run_to(30_000);
    assert_eq!(claimed_at(&rig), None, "the holder is silent, and this is no member");
    rig.lease_mut().members.push(member(1));
    rig.run_to(32_500);
    assert!(claimed_at(&rig).is_some());
    rig.grant(1);
    rig.run_to(35_000);
    assert_eq!(rig.node.serving(), Some(Epoch(2)));
}
