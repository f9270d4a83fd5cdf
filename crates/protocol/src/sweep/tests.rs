use crate::heartbeat::Claim;
use crate::ids::{Epoch, Seq};
use crate::testing::{self, arn, incarnation};

use super::*;

/// A minute that is not the cluster's turn.
const NOW: WallTime = WallTime(1_800_000_060_000);

/// Held by node 1 at epoch 3, everything in place.
fn lease() -> Lease {
    Lease { epoch: Epoch(3), moved: Epoch(3), ..testing::lease() }
}

fn heartbeat(n: u8) -> Heartbeat {
    let (incarnation, released) = (incarnation(n), Epoch(2));
    Heartbeat { incarnation, released, beat_at: NOW, ..testing::heartbeat(&arn(n), 7) }
}

fn claim() -> Claim {
    Claim {
        epoch: Epoch(3),
        holder: arn(1),
        incarnation: incarnation(1),
        seq: Seq(7),
        silent_ms: 6_000,
        at: NOW,
    }
}

/// The reason, after the world of a quiet cluster was changed.
fn after(change: impl FnOnce(&mut Lease, &mut Heartbeat, &mut Heartbeat)) -> Option<Reason> {
    let (mut lease, mut holder, mut standby) = (lease(), heartbeat(1), heartbeat(2));
    change(&mut lease, &mut holder, &mut standby);
    let heartbeats = BTreeMap::from([(holder.instance.clone(), holder), (standby.instance.clone(), standby)]);
    needs_wake(&lease, &heartbeats, NOW)
}

#[test]
fn a_cluster_in_order_is_left_alone() {
    assert_eq!(after(|_, _, _| ()), None);
}

#[test]
fn every_kind_of_unfinished_business_is_a_reason() {
    assert_eq!(after(|lease, _, _| lease.holder = None), Some(Reason::Vacant));
    assert_eq!(after(|_, holder, _| holder.released = Epoch(3)), Some(Reason::Released));
    assert_eq!(after(|_, holder, _| holder.released = Epoch(4)), Some(Reason::Released));
    assert_eq!(after(|_, _, standby| standby.claim = Some(claim())), Some(Reason::Claimed));
    assert_eq!(after(|lease, _, _| lease.moved = Epoch(2)), Some(Reason::Unmoved));
    assert_eq!(after(|lease, _, _| lease.verify_at = Some(NOW)), Some(Reason::VerifyDue));
    let minute_ago = WallTime(NOW.0 - 60_000);
    assert_eq!(after(|_, holder, _| holder.beat_at = minute_ago), Some(Reason::HolderQuiet));
}

#[test]
fn each_cluster_has_its_turn_every_second_minute_and_not_all_have_the_same() {
    let turns = |name: &str| -> Vec<bool> {
        let lease = Lease { cluster: crate::ids::ClusterName::new(name).expect("valid"), ..lease() };
        let heartbeats = BTreeMap::from([(arn(1), heartbeat(1)), (arn(2), heartbeat(2))]);
        let minutes = (0..6).map(|minute| WallTime(NOW.0 + minute * 60_000));
        minutes.map(|now| needs_wake(&lease, &heartbeats, now) == Some(Reason::Turn)).collect()
    };
    let even = [true, false, true, false, true, false];
    let of_ten: Vec<_> = (0..10).map(|n| turns(&format!("cluster-{n}"))).collect();
    assert!(of_ten.iter().all(|turns| *turns == even || *turns == even.map(|turn| !turn)), "{of_ten:?}");
    assert!(of_ten.contains(&even.to_vec()) && of_ten.contains(&even.map(|turn| !turn).to_vec()));
}

#[test]
fn unfinished_business_comes_before_a_turn_and_a_turn_before_a_quiet_holder() {
    let turn = WallTime(NOW.0 + 60_000);
    let at = |lease: &Lease| {
        let quiet = Heartbeat { beat_at: WallTime(1), ..heartbeat(1) };
        needs_wake(lease, &BTreeMap::from([(arn(1), quiet)]), turn)
    };
    assert_eq!(at(&lease()), Some(Reason::Turn));
    assert_eq!(at(&Lease { verify_at: Some(turn), ..lease() }), Some(Reason::VerifyDue));
    assert_eq!((Reason::Turn.why(), Reason::HolderQuiet.why()), (Why::Verify, Why::Sweep));
}

#[test]
fn a_look_that_is_due_later_is_left_for_later() {
    let later = WallTime(NOW.0 + 1);
    assert_eq!(after(|lease, _, _| lease.verify_at = Some(later)), None);
}

#[test]
fn a_claim_stands_only_while_all_that_it_names_is_current() {
    let outdated: [fn(&mut Claim); 4] = [
        |claim| claim.epoch = Epoch(2),
        |claim| claim.holder = arn(2),
        |claim| claim.incarnation = incarnation(9),
        |claim| claim.seq = Seq(6),
    ];
    for (number, age) in outdated.into_iter().enumerate() {
        let mut claim = claim();
        age(&mut claim);
        assert_eq!(after(|_, _, standby| standby.claim = Some(claim)), None, "case {number}");
    }
}

#[test]
fn nobody_claims_his_own_silence() {
    assert_eq!(after(|_, holder, _| holder.claim = Some(claim())), None);
}

#[test]
fn a_holder_that_never_beat_is_looked_at() {
    let standby = BTreeMap::from([(arn(2), heartbeat(2))]);
    assert_eq!(needs_wake(&lease(), &standby, NOW), Some(Reason::HolderQuiet));
}

#[test]
fn a_clock_that_is_ahead_makes_no_holder_quiet() {
    assert_eq!(after(|_, holder, _| holder.beat_at = WallTime(NOW.0 + 600_000)), None);
}

#[test]
fn a_retired_cluster_is_left_alone_whatever_is_unfinished() {
    let reason = after(|lease, holder, _| {
        lease.state = LeaseState::Retired;
        lease.moved = Epoch(1);
        holder.released = Epoch(3);
    });
    assert_eq!(reason, None);
}
