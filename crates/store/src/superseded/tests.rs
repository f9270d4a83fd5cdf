//! Each condition of a grant, lost by itself, and the words for it.

use baton_protocol::history::{Event, Evidence, Ground, Happening};
use baton_protocol::ids::{ClusterName, Epoch, RequestId, Seq};
use baton_protocol::lease::{Exclusion, Intent, Mode, Pause};
use baton_protocol::time::WallTime;

use super::*;
use crate::testing::{arn, cluster, heartbeat, incarnation, lease, uid};

/// A decision on `lease()` that node 2 succeeds node 1, whose heartbeat is `heartbeat(1)`.
fn grant(ground: Ground) -> Grant {
    let lease = lease();
    let at = WallTime(1_000);
    let what = Happening::Granted {
        from: Some(arn(1)),
        to: arn(2),
        ground,
        reason: String::new(),
        evidence: Evidence::default(),
    };
    Grant {
        cluster: cluster(),
        uid: lease.uid,
        epoch: lease.epoch,
        revision: lease.revision,
        holder: Some(arn(1)),
        holder_check: HolderCheck::Unchanged { incarnation: incarnation(1), seq: Seq(20) },
        to: arn(2),
        to_incarnation: incarnation(1),
        ground,
        wish: None,
        recent: None,
        at,
        event: Event { cluster: cluster(), epoch: Epoch(8), at, by: "t".to_owned(), what },
    }
}

#[test]
fn a_grant_on_the_lease_that_was_read_loses_nothing() {
    for ground in [Ground::Silence, Ground::Release, Ground::Gone] {
        assert_eq!(lost_on_lease(&grant(ground), Some(&lease())), [""; 0]);
    }
}

#[test]
fn every_condition_on_the_lease_is_lost_by_itself() {
    let grant = grant(Ground::Silence);
    let lost = |change: fn(&mut Lease)| {
        let mut lease = lease();
        change(&mut lease);
        lost_on_lease(&grant, Some(&lease)).join("; ")
    };
    assert_eq!(lost(|lease| lease.uid = uid("uid-2")), "lease: expected uid uid-1, found uid-2");
    assert_eq!(
        lost(|lease| lease.state = LeaseState::Retired),
        "lease: expected an active registration, found a retired one"
    );
    assert_eq!(lost(|lease| lease.epoch = Epoch(8)), "lease: expected epoch 7, found 8");
    assert_eq!(lost(|lease| lease.epoch = Epoch(6)), "lease: expected epoch 7, found 6");
    assert_eq!(lost(|lease| lease.revision = 4), "lease: expected configuration 3, found 4");
    let named = arn(1);
    assert_eq!(lost(|lease| lease.holder = None), format!("lease: expected holder {named}, found -"));
    assert_eq!(lost_on_lease(&grant, None), ["lease: expected one, found none"]);
    // What no decision depends on.
    assert_eq!(lost(|lease| (lease.mode, lease.moved) = (Mode::Available, Epoch(6))), "");
}

#[test]
fn a_grant_takes_away_the_wish_that_it_was_decided_on_and_no_other() {
    let id = |name: &str| RequestId::new(name).expect("valid");
    let with = |request: Option<RequestId>| {
        let intent = Intent {
            to: None,
            reason: String::new(),
            epoch: Epoch(7),
            until: WallTime(500),
            request,
            failover: false,
            asked: None,
        };
        Lease { intent: Some(intent), ..lease() }
    };
    let of = |wish: Option<RequestId>| Grant { wish, ..grant(Ground::Release) };
    // One that has ended goes as well, so it counts as well.
    assert_eq!(lost_on_lease(&of(Some(id("a"))), Some(&with(Some(id("a"))))), [""; 0]);
    assert_eq!(
        lost_on_lease(&of(Some(id("a"))), Some(&with(Some(id("b"))))),
        ["lease: expected the wish a, found b"]
    );
    for nobody_waits in [lease(), with(None)] {
        let lost = lost_on_lease(&of(Some(id("a"))), Some(&nobody_waits));
        assert_eq!(lost, ["lease: expected the wish a, found none that was asked for"]);
        assert_eq!(lost_on_lease(&of(None), Some(&nobody_waits)), [""; 0]);
    }
    let lost = lost_on_lease(&of(None), Some(&with(Some(id("b")))));
    assert_eq!(lost, ["lease: expected the wish none that was asked for, found b"]);
}

#[test]
fn a_pause_that_has_not_ended_refuses_a_grant_on_silence_and_no_other() {
    let paused = |until: u64| {
        let pause = Pause { until: WallTime(until), by: "alice".to_owned(), why: String::new() };
        Lease { paused: Some(pause), ..lease() }
    };
    let lost = lost_on_lease(&grant(Ground::Silence), Some(&paused(1_001)));
    assert_eq!(lost, [format!("lease: paused by alice until {}", WallTime(1_001))]);
    assert_eq!(lost_on_lease(&grant(Ground::Silence), Some(&paused(1_000))), [""; 0]);
    for ground in [Ground::Release, Ground::Gone, Ground::Vacancy] {
        assert_eq!(lost_on_lease(&grant(ground), Some(&paused(1_001))), [""; 0]);
    }
}

#[test]
fn a_holder_that_beat_or_began_anew_since_is_not_unchanged() {
    let check = HolderCheck::Unchanged { incarnation: incarnation(1), seq: Seq(20) };
    let with = |incarnation, seq| Heartbeat { incarnation, seq: Seq(seq), ..heartbeat(1) };
    assert_eq!(lost_on_holder(&check, Some(&heartbeat(1))), [""; 0]);
    let lost = lost_on_holder(&check, Some(&with(incarnation(1), 21)));
    assert_eq!(lost, ["holder: expected number 20 of run-1, found number 21 of run-1"]);
    let lost = lost_on_holder(&check, Some(&with(incarnation(2), 20)));
    assert_eq!(lost, ["holder: expected number 20 of run-1, found number 20 of run-2"]);
    assert_eq!(lost_on_holder(&check, None), ["holder: expected a heartbeat, found none"]);
}

#[test]
fn a_release_holds_for_its_epoch_and_every_one_before() {
    let check = HolderCheck::Released { epoch: Epoch(7) };
    let with = |epoch| Heartbeat { released: Epoch(epoch), ..heartbeat(1) };
    assert_eq!(lost_on_holder(&check, Some(&with(7))), [""; 0]);
    assert_eq!(lost_on_holder(&check, Some(&with(8))), [""; 0]);
    assert_eq!(lost_on_holder(&check, Some(&with(6))), ["holder: expected epoch 7 released, found 6"]);
    assert_eq!(lost_on_holder(&check, None), ["holder: expected a heartbeat, found none"]);
}

#[test]
fn an_absent_holder_must_still_be_absent_and_nobody_is_not_looked_for() {
    assert_eq!(lost_on_holder(&HolderCheck::Absent, None), [""; 0]);
    let lost = lost_on_holder(&HolderCheck::Absent, Some(&heartbeat(1)));
    assert_eq!(lost, ["holder: expected no heartbeat, found number 20"]);
    for found in [None, Some(&heartbeat(1))] {
        assert_eq!(lost_on_holder(&HolderCheck::Nobody, found), [""; 0]);
    }
}

#[test]
fn a_candidate_must_be_the_run_that_was_looked_at_and_healthy() {
    let grant = grant(Ground::Silence);
    let with = |incarnation, health| Heartbeat { incarnation, health, ..heartbeat(2) };
    assert_eq!(lost_on_candidate(&grant, Some(&heartbeat(2))), [""; 0]);
    let lost = lost_on_candidate(&grant, Some(&with(incarnation(2), Health::Ok)));
    assert_eq!(lost, ["candidate: expected incarnation run-1, found run-2"]);
    for (health, name) in [(Health::Bad, "Bad"), (Health::Unknown, "Unknown"), (Health::Draining, "Draining")]
    {
        let lost = lost_on_candidate(&grant, Some(&with(incarnation(1), health)));
        assert_eq!(lost, [format!("candidate: expected health Ok, found {name}")]);
    }
    assert_eq!(lost_on_candidate(&grant, None), ["candidate: expected a heartbeat, found none"]);
}

#[test]
fn a_grant_that_checks_less_than_it_does_is_refused() {
    let refused = |change: fn(&mut Grant)| {
        let mut grant = grant(Ground::Release);
        change(&mut grant);
        match refuse_unsafe(&grant) {
            Ok(()) => String::new(),
            Err(Failure::Invalid(text)) => text,
            Err(other) => panic!("expected an invalid grant, found {other:?}"),
        }
    };
    assert_eq!(refused(|_| {}), "");
    assert_eq!(refused(|grant| (grant.holder, grant.holder_check) = (None, HolderCheck::Nobody)), "");
    assert_eq!(
        refused(|grant| grant.holder = None),
        "grant of epoch 8: there is no holder, expected no check of one"
    );
    assert_eq!(
        refused(|grant| grant.holder_check = HolderCheck::Nobody),
        "grant of epoch 8: there is a holder, expected a check of its heartbeat"
    );
    let released = |epoch| HolderCheck::Released { epoch: Epoch(epoch) };
    assert_eq!(
        refused_with(released(6)),
        Err("grant of epoch 8: the release that is checked is of an earlier epoch".to_owned())
    );
    assert_eq!(refused_with(released(7)), Ok(()));
    assert_eq!(refused_with(released(8)), Ok(()));
    assert_eq!(
        refused(|grant| grant.event.cluster = ClusterName::new("billing").expect("valid")),
        "grant of epoch 8: its history row is another cluster's"
    );
}

fn refused_with(holder_check: HolderCheck) -> Result<(), String> {
    refuse_unsafe(&Grant { holder_check, ..grant(Ground::Release) }).map_err(|failure| match failure {
        Failure::Invalid(text) => text,
        other => panic!("expected an invalid grant, found {other:?}"),
    })
}

#[test]
fn an_exclusion_that_has_not_ended_refuses_its_node_and_not_its_own_lease_back() {
    let mut lease = lease();
    let at = grant(Ground::Gone).at;
    let exclude = |node, until| Exclusion {
        node: arn(node),
        until,
        by: "ada".to_owned(),
        why: String::new(),
        request: RequestId::new("request-1").expect("valid"),
    };
    lease.excluded = Some(exclude(2, WallTime(at.0 + 1)));
    for ground in [Ground::Silence, Ground::Release, Ground::Gone] {
        let lost = lost_on_lease(&grant(ground), Some(&lease));
        assert!(matches!(lost.as_slice(), [one] if one.starts_with("lease: excluded by ada")), "{lost:?}");
    }
    let back = Grant { to: arn(1), ..grant(Ground::Release) };
    lease.excluded = Some(exclude(1, WallTime(at.0 + 1)));
    assert_eq!(lost_on_lease(&back, Some(&lease)), [""; 0]);
    for other in [exclude(2, at), exclude(3, WallTime(at.0 + 1))] {
        lease.excluded = Some(other);
        assert_eq!(lost_on_lease(&grant(Ground::Gone), Some(&lease)), [""; 0]);
    }
}
