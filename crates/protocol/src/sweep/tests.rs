use crate::heartbeat::Claim;
use crate::ids::{Epoch, Seq};
use crate::testing::{self, arn, incarnation};

use super::*;

const NOW: WallTime = WallTime(1_800_000_060_000);
/// A moment at which no cluster's turn comes.
const THEN: Span = Span { since: NOW, until: NOW };

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

/// Everything could be moved.
fn known() -> Probe {
    Probe { at: NOW, uid: lease().uid, revision: lease().revision, obstacles: Vec::new() }
}

/// The reason, after the world of a quiet cluster was changed.
fn after(change: impl FnOnce(&mut Lease, &mut Heartbeat, &mut Heartbeat)) -> Option<Reason> {
    let (mut lease, mut holder, mut standby) = (lease(), heartbeat(1), heartbeat(2));
    change(&mut lease, &mut holder, &mut standby);
    let heartbeats = BTreeMap::from([(holder.instance.clone(), holder), (standby.instance.clone(), standby)]);
    needs_wake(&lease, &heartbeats, Some(&known()), THEN)
}

#[test]
fn a_cluster_in_order_is_left_alone() {
    assert_eq!(after(|_, _, _| ()), None);
}

#[test]
fn every_kind_of_unfinished_business_is_a_reason() {
    assert_eq!(after(|lease, _, _| lease.holder = None), Some(Reason::Vacant));
    assert_eq!(after(|_, holder, _| holder.released = Epoch(3)), Some(Reason::Released));
    assert_eq!(
        after(|_, holder, _| holder.released = Epoch(4)),
        Some(Reason::GoneBack),
        "no such epoch was granted"
    );
    assert_eq!(after(|_, _, standby| standby.claim = Some(claim())), Some(Reason::Claimed));
    assert_eq!(
        after(|lease, _, _| lease.fence = Some(testing::fence(2, lease, WallTime(NOW.0 + 1)))),
        Some(Reason::FenceAsked)
    );
    assert_eq!(after(|lease, _, _| lease.fence = Some(testing::fence(2, lease, NOW))), None);
    let restored = |epoch| {
        let request = crate::ids::RequestId::new("r-1").expect("valid");
        let (by, why, until) = ("alice".to_owned(), String::new(), WallTime(NOW.0 + 1));
        Some(Box::new(crate::restored::Word {
            uid: lease().uid,
            epoch: Epoch(epoch),
            until,
            by,
            why,
            request,
        }))
    };
    assert_eq!(after(|lease, _, _| lease.restore = restored(3)), Some(Reason::RestoreAsked));
    assert_eq!(after(|lease, _, _| lease.restore = restored(2)), None, "it is about another epoch");
    assert_eq!(after(|_, _, standby| standby.ahead = Some(Epoch(4))), Some(Reason::GoneBack));
    assert_eq!(after(|_, _, standby| standby.ahead = Some(Epoch(3))), None);
    assert_eq!(after(|lease, _, _| lease.moved = Epoch(2)), Some(Reason::Unmoved));
    assert_eq!(after(|lease, _, _| lease.verify_at = Some(NOW)), Some(Reason::VerifyDue));
    let minute_ago = WallTime(NOW.0 - 60_000);
    assert_eq!(after(|_, holder, _| holder.beat_at = minute_ago), Some(Reason::HolderQuiet));
}

#[test]
fn each_cluster_has_its_turn_once_in_two_minutes_however_the_sweeps_fall_and_not_all_have_the_same() {
    let turns = |name: &str, sweeps: &[u64]| -> Vec<bool> {
        let lease = Lease { cluster: crate::ids::ClusterName::new(name).expect("valid"), ..lease() };
        let spans = sweeps.windows(2).map(|two| Span { since: WallTime(two[0]), until: WallTime(two[1]) });
        let standby = heartbeat(2);
        spans
            .map(|span| {
                let holder = Heartbeat { beat_at: span.until, ..heartbeat(1) };
                let heartbeats = BTreeMap::from([(arn(1), holder), (arn(2), standby.clone())]);
                {
                    let found = needs_wake(&lease, &heartbeats, Some(&known()), span);
                    matches!(found, Some(Reason::Turn | Reason::Probe))
                }
            })
            .collect()
    };
    let even = [true, false, true, false, true, false];
    let regular: Vec<_> = (0..7).map(|minute| NOW.0 + minute * 60_000).collect();
    let of_ten: Vec<_> = (0..10).map(|n| turns(&format!("cluster-{n}"), &regular)).collect();
    assert!(of_ten.iter().all(|turns| *turns == even || *turns == even.map(|turn| !turn)), "{of_ten:?}");
    assert!(of_ten.contains(&even.to_vec()) && of_ten.contains(&even.map(|turn| !turn).to_vec()));
    // Each of these falls into an even minute.
    let late: Vec<_> = (0..7).map(|n| NOW.0 + n * 120_000 + n % 2 * 50_000).collect();
    for n in 0..10 {
        let told = turns(&format!("cluster-{n}"), &late);
        assert!(told.iter().filter(|turn| **turn).count() >= 3, "{told:?}");
    }
    assert_eq!(Span::minute(NOW), Span { since: WallTime(NOW.0 - 60_000), until: NOW });
}

#[test]
fn unfinished_business_comes_before_a_turn_and_a_turn_before_a_quiet_holder() {
    let turn = WallTime(NOW.0 + 120_000);
    let at = |lease: &Lease| {
        let quiet = Heartbeat { beat_at: WallTime(1), ..heartbeat(1) };
        needs_wake(
            lease,
            &BTreeMap::from([(arn(1), quiet)]),
            Some(&known()),
            Span { since: NOW, until: turn },
        )
    };
    assert_eq!(at(&lease()), Some(Reason::Turn));
    assert_eq!(at(&Lease { verify_at: Some(turn), ..lease() }), Some(Reason::VerifyDue));
    assert_eq!((Reason::Turn.why(), Reason::HolderQuiet.why()), (Why::Verify, Why::Sweep));
}

#[test]
fn a_failback_that_is_due_is_a_reason_and_keeps_no_other_away() {
    let due = |change: fn(&mut Lease)| {
        let mut back = Lease { holder: Some(arn(2)), last_grant: Some(WallTime(1)), ..lease() };
        back.failback = crate::failback::Failback::Automatic { hold_ms: 60_000, window: None };
        back.members[0].priority = 10;
        change(&mut back);
        let healthy_since = Some(WallTime(1));
        let preferred = Heartbeat { healthy_since, ..heartbeat(1) };
        let holder =
            Heartbeat { serving_epoch: Some(Epoch(3)), ..Heartbeat { healthy_since, ..heartbeat(2) } };
        let turn = Span { since: NOW, until: WallTime(NOW.0 + 120_000) };
        let at = |mut beat: Heartbeat| {
            beat.beat_at = turn.until;
            (beat.instance.clone(), beat)
        };
        needs_wake(&back, &BTreeMap::from([at(preferred), at(holder)]), Some(&known()), turn)
    };
    assert_eq!(due(|_| ()), Some(Reason::Failback), "the arbiter looks at the resources as well");
    assert_eq!(due(|lease| lease.members[0].priority = 100), Some(Reason::Turn));
    assert_eq!(due(|lease| lease.moved = Epoch(2)), Some(Reason::Unmoved));
    assert_eq!(due(|lease| lease.revision = 9), Some(Reason::Probe), "of another configuration");
    assert_eq!(
        (Reason::Failback.why(), Reason::Failback.to_string()),
        (Why::Failback, "failback".to_owned())
    );
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
    assert_eq!(needs_wake(&lease(), &standby, Some(&known()), THEN), Some(Reason::HolderQuiet));
}

#[test]
fn a_heartbeat_from_the_future_may_be_the_last_one_of_a_dead_holder() {
    assert_eq!(after(|_, holder, _| holder.beat_at = WallTime(NOW.0 + 59_999)), None);
    assert_eq!(after(|_, holder, _| holder.beat_at = WallTime(NOW.0 + 60_000)), Some(Reason::HolderQuiet));
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

#[test]
fn a_probe_is_due_each_hour_and_in_each_turn_while_not_everything_is_known_to_be_well() {
    let heartbeats = BTreeMap::from([(arn(1), heartbeat(1)), (arn(2), heartbeat(2))]);
    let found = |lease: &Lease, probe: Option<&Probe>, from: u64| -> Vec<Option<Reason>> {
        let minutes = (from..from + 60).map(|minute| NOW.0 + minute * 60_000);
        let spans = minutes.map(|at| Span { since: WallTime(at), until: WallTime(at + 60_000) });
        spans.map(|span| needs_wake(lease, &heartbeats, probe, span)).collect()
    };
    let probes = |lease: &Lease, probe: Option<&Probe>, from| {
        found(lease, probe, from).into_iter().filter(|found| *found == Some(Reason::Probe)).count()
    };
    let lease = lease();
    assert!(probes(&lease, Some(&known()), 0) <= 1, "within the hour but for its last minute");
    assert_eq!(probes(&lease, Some(&known()), 60), 30, "and then in each turn until it is known again");
    assert_eq!(probes(&lease, None, 0), 30);
    assert_eq!(probes(&lease, Some(&Probe { revision: 9, ..known() }), 0), 30, "of another configuration");
    let (resource, why) = ("eipalloc-1".to_owned(), "denied".to_owned());
    let obstacles = vec![crate::probe::Obstacle { node: None, resource, why }];
    assert_eq!(probes(&lease, Some(&Probe { obstacles, ..known() }), 0), 30);
    // What waits for hours keeps no question away.
    let due = Lease { verify_at: Some(NOW), ..lease.clone() };
    assert_eq!(probes(&due, None, 0), 30);
    let moving = Lease { moved: Epoch(2), ..lease };
    assert_eq!(probes(&moving, None, 0), 0, "what is being moved shows by itself");
    assert_eq!(Reason::Probe.why(), Why::Probe);
}
