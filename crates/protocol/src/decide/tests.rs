//! The decision, ground by ground.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::findings::{Findings, Hook};
use crate::ids::Incarnation;
use crate::lease::{Mode, Pause};
use crate::policy::Takeover;
use crate::testing::{arn, exclusion, heartbeat, incarnation, lease};

const NOW: WallTime = WallTime(1_000_000);

/// Node 1 holds epoch 1; all three nodes are healthy and have just beaten; nobody claims.
fn snapshot() -> Snapshot {
    let heartbeats = (1..=3).map(|n| (arn(n), heartbeat(&arn(n), 10))).collect();
    Snapshot {
        lease: lease(),
        heartbeats,
        earlier: BTreeMap::new(),
        terminated: BTreeSet::new(),
        stopped: None,
        looked_enough: false,
        fleet: Fleet::Unbraked,
        at: NOW,
        by: "test".to_owned(),
    }
}

fn edit(snapshot: &mut Snapshot, n: u8) -> &mut Heartbeat {
    snapshot.heartbeats.get_mut(&arn(n)).expect("a member")
}

/// Node `by` claims that node 1, last seen with number `seq`, is silent at `epoch`.
fn claim(snapshot: &mut Snapshot, by: u8, epoch: u64, seq: u64) {
    let claim = Claim {
        epoch: Epoch(epoch),
        holder: arn(1),
        incarnation: incarnation(1),
        seq: Seq(seq),
        silent_ms: 6_100,
        at: NOW,
    };
    edit(snapshot, by).claim = Some(claim);
}

fn granted(snapshot: &Snapshot) -> Grant {
    match decide(snapshot) {
        Decision::Grant(grant) => *grant,
        other => panic!("expected a grant, found {other:?}"),
    }
}

#[test]
fn a_holder_that_neither_released_nor_fell_silent_keeps_the_lease() {
    assert_eq!(decide(&snapshot()), Decision::Stay(Stay::NoGround));
}

#[test]
fn a_current_claim_of_a_healthy_standby_is_ground_silence() {
    let mut world = snapshot();
    claim(&mut world, 2, 1, 10);
    let grant = granted(&world);
    assert_eq!(grant.ground, Ground::Silence);
    assert_eq!(grant.holder_check, HolderCheck::Unchanged { incarnation: incarnation(1), seq: Seq(10) });
    assert_ne!(grant.to, arn(1));
    assert!(grant.yields_to_pause());
}

#[test]
fn a_claim_that_names_anything_but_the_current_heartbeat_is_no_ground() {
    for stale in ["epoch", "seq", "incarnation", "holder"] {
        let mut world = snapshot();
        claim(&mut world, 2, 1, 10);
        let claim = edit(&mut world, 2).claim.as_mut().expect("claimed");
        match stale {
            "epoch" => claim.epoch = Epoch(0),
            "seq" => claim.seq = Seq(9),
            "incarnation" => claim.incarnation = Incarnation::new("other").expect("valid"),
            _ => claim.holder = arn(3),
        }
        assert_eq!(decide(&world), Decision::Stay(Stay::NoGround), "{stale}");
    }
}

#[test]
fn a_claim_by_an_unhealthy_node_or_by_the_holder_is_no_ground() {
    let mut world = snapshot();
    claim(&mut world, 2, 1, 10);
    edit(&mut world, 2).health = Health::Bad;
    assert_eq!(decide(&world), Decision::Stay(Stay::NoGround));
    let mut world = snapshot();
    claim(&mut world, 1, 1, 10);
    assert_eq!(decide(&world), Decision::Stay(Stay::NoGround));
}

#[test]
fn an_oath_for_the_current_epoch_is_ground_release_and_an_older_one_is_not() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    let grant = granted(&world);
    assert_eq!(grant.ground, Ground::Release);
    assert_eq!(grant.holder_check, HolderCheck::Released { epoch: Epoch(1) });
    assert!(!grant.yields_to_pause());
    edit(&mut world, 1).released = Epoch(0);
    assert_eq!(decide(&world), Decision::Stay(Stay::NoGround));
}

#[test]
fn after_a_release_the_releasing_node_is_chosen_only_when_nobody_else_can() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    world.earlier.insert(arn(1), Seq(9));
    assert_ne!(granted(&world).to, arn(1));
    edit(&mut world, 2).health = Health::Bad;
    edit(&mut world, 3).health = Health::Bad;
    assert_eq!(granted(&world).to, arn(1));
}

#[test]
fn a_node_that_has_released_is_alive_only_if_it_was_seen_beating_since() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    for n in [2, 3] {
        edit(&mut world, n).health = Health::Bad;
    }
    assert_eq!(decide(&world), Decision::LookAgain, "its last heartbeat may be from before it left");
    world.earlier.insert(arn(1), Seq(10));
    assert_eq!(decide(&world), Decision::LookAgain);
    world.earlier.insert(arn(1), Seq(9));
    assert_eq!(granted(&world).to, arn(1));
}

#[test]
fn the_lease_does_not_go_back_for_a_clock_that_is_off() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    world.earlier = [(arn(1), Seq(9)), (arn(2), Seq(10))].into();
    edit(&mut world, 2).beat_at = WallTime(0);
    edit(&mut world, 3).health = Health::Bad;
    assert_eq!(decide(&world), Decision::LookAgain);
    let mut seen = world.clone();
    edit(&mut seen, 2).seq = Seq(11);
    assert_eq!(granted(&seen).to, arn(2));
    world.looked_enough = true;
    assert_eq!(granted(&world).to, arn(1), "and it is not left without a holder either");
}

#[test]
fn the_node_an_intent_names_is_not_passed_over_for_a_clock_that_is_off() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    edit(&mut world, 2).beat_at = WallTime(0);
    assert_eq!(
        granted(&world).to,
        arn(3),
        "without an intent another one is as good, and nothing is waited for"
    );
    world.lease.intent = Some(Intent {
        to: Some(arn(2)),
        reason: "switchover".to_owned(),
        epoch: Epoch(1),
        until: WallTime(NOW.0 + 1),
        request: None,
        failover: false,
        asked: None,
    });
    assert_eq!(decide(&world), Decision::LookAgain);
    let mut ill = world.clone();
    edit(&mut ill, 2).health = Health::Bad;
    assert_eq!(granted(&ill).to, arn(3), "another look would not make it well");
    world.looked_enough = true;
    assert_eq!(granted(&world).to, arn(3));
}

#[test]
fn no_claim_deposes_a_holder_in_strict_mode_that_nothing_guards() {
    let mut world = snapshot();
    edit(&mut world, 1).validity_ms = crate::heartbeat::UNGUARDED_MS;
    claim(&mut world, 2, 1, 10);
    assert_eq!(decide(&world), Decision::Stay(Stay::NoGround));
    let mut available = world.clone();
    available.lease.mode = Mode::Available;
    assert_eq!(granted(&available).ground, Ground::Silence);
    let mut released = world.clone();
    edit(&mut released, 1).released = Epoch(1);
    assert_eq!(granted(&released).ground, Ground::Release);
    world.terminated.insert(arn(1));
    assert_eq!(granted(&world).ground, Ground::Gone);
}

#[test]
fn a_grant_names_the_configuration_it_was_decided_under() {
    let mut world = snapshot();
    claim(&mut world, 2, 1, 10);
    world.lease.revision = 41;
    assert_eq!(granted(&world).revision, 41);
}

#[test]
fn a_silent_or_terminated_holder_is_never_chosen() {
    let mut world = snapshot();
    claim(&mut world, 2, 1, 10);
    edit(&mut world, 2).beat_at = WallTime(0);
    edit(&mut world, 3).health = Health::Bad;
    assert_eq!(decide(&world), Decision::LookAgain);
    let mut world = snapshot();
    world.terminated.insert(arn(1));
    let grant = granted(&world);
    assert_eq!(grant.ground, Ground::Gone);
    assert_ne!(grant.to, arn(1));
}

#[test]
fn an_instance_that_is_gone_without_ever_having_beaten_must_still_be_absent_at_the_commit() {
    let mut world = snapshot();
    world.terminated.insert(arn(1));
    world.heartbeats.remove(&arn(1));
    assert_eq!(granted(&world).holder_check, HolderCheck::Absent);
}

#[test]
fn a_cluster_without_holder_is_vacant() {
    let mut world = snapshot();
    world.lease.holder = None;
    let grant = granted(&world);
    assert_eq!((grant.ground, grant.holder_check), (Ground::Vacancy, HolderCheck::Nobody));
}

#[test]
fn a_policy_holds_back_silence_and_nothing_else_until_an_operator_has_spoken() {
    let mut left = snapshot();
    left.lease.takeover = Takeover::Notify;
    let mut silent = left.clone();
    claim(&mut silent, 2, 1, 10);
    let claimed = silent.heartbeats[&arn(2)].claim.as_ref().expect("claimed").at;
    assert_eq!(
        decide(&silent),
        Decision::Stay(Stay::Held(Held { cooling: false, braked: false, claimed, until: None }))
    );
    silent.lease.intent = Some(Intent {
        to: Some(arn(3)),
        reason: "failover asked by op".to_owned(),
        epoch: Epoch(1),
        until: WallTime(NOW.0 + 1),
        request: None,
        failover: true,
        asked: None,
    });
    let grant = granted(&silent);
    assert_eq!((grant.ground, &grant.to), (Ground::Silence, &arn(3)));
    let Happening::Granted { reason, .. } = &grant.event.what else { panic!("a grant") };
    assert!(reason.ends_with("seen by node-b: failover asked by op"), "{reason}");
    // An operator's word is no ground.
    silent.heartbeats.get_mut(&arn(2)).expect("there").claim = None;
    assert_eq!(decide(&silent), Decision::Stay(Stay::NoGround));
    let mut released = left.clone();
    edit(&mut released, 1).released = Epoch(1);
    assert_eq!(granted(&released).ground, Ground::Release);
    let mut gone = left.clone();
    gone.terminated.insert(arn(1));
    assert_eq!(granted(&gone).ground, Ground::Gone);
    left.lease.holder = None;
    assert_eq!(granted(&left).ground, Ground::Vacancy);
}

#[test]
fn after_a_takeover_the_next_waits_and_each_is_remembered_where_a_cool_down_is_chosen() {
    let mut silent = snapshot();
    claim(&mut silent, 2, 1, 10);
    assert_eq!(granted(&silent).recent, None, "none was chosen");
    silent.lease.cool_down_ms = 60_000;
    assert_eq!(granted(&silent).recent, Some(vec![NOW]));
    let last = WallTime(NOW.0 - 59_999);
    silent.lease.recent_grants = vec![last];
    let claimed = NOW;
    let until = Some(WallTime(NOW.0 + 1));
    assert_eq!(
        decide(&silent),
        Decision::Stay(Stay::Held(Held { cooling: true, braked: false, claimed, until }))
    );
    silent.at = WallTime(NOW.0 + 1);
    assert_eq!(granted(&silent).recent, Some(vec![last, silent.at]));
    silent.lease.recent_grants = vec![silent.at];
    edit(&mut silent, 1).released = Epoch(1);
    assert_eq!(granted(&silent).recent, None, "a release is no takeover on silence, and waits for nothing");
}

#[test]
fn the_brake_asks_for_a_silence_of_twice_s_of_any_claimant_and_says_so_in_the_reason() {
    let mut silent = snapshot();
    claim(&mut silent, 2, 1, 10);
    for n in 1..=3 {
        edit(&mut silent, n).healthy_since = Some(WallTime(1));
    }
    silent.fleet = Fleet::Unasked;
    assert_eq!(decide(&silent), Decision::Count);
    silent.fleet = Fleet::Calm;
    assert_eq!(granted(&silent).ground, Ground::Silence);
    for (fleet, told) in [
        (Fleet::Alarmed(7), "; about 7 clusters suspected their holders at the time"),
        (Fleet::Unknown, "; how many clusters suspected their holders at the time is not known"),
    ] {
        silent.fleet = fleet;
        claim(&mut silent, 3, 1, 10);
        let s = silent.lease.timing.silence();
        let held = Held { cooling: false, braked: true, claimed: NOW, until: Some(NOW + s) };
        assert_eq!(decide(&silent), Decision::Stay(Stay::Held(held)));
        let twice = u64::try_from(2 * s.as_millis()).expect("short");
        edit(&mut silent, 3).claim.as_mut().expect("a claim").silent_ms = twice - 1;
        assert_eq!(decide(&silent), Decision::Stay(Stay::Held(held)));
        edit(&mut silent, 3).claim.as_mut().expect("a claim").silent_ms = twice;
        let Happening::Granted { reason, .. } = granted(&silent).event.what else { panic!("a grant") };
        assert!(reason.ends_with(told), "{reason}");
        let mut released = silent.clone();
        edit(&mut released, 1).released = Epoch(1);
        let Happening::Granted { reason, .. } = granted(&released).event.what else { panic!("a grant") };
        assert_eq!(reason, "node-a released the lease");
    }
}

#[test]
fn a_confirmation_is_awaited_from_the_first_claim_on() {
    let mut silent = snapshot();
    silent.lease.takeover = Takeover::Confirm { after_ms: 60_000 };
    for (node, at) in [(2, NOW.0 - 1_000), (3, NOW.0 - 2_000)] {
        claim(&mut silent, node, 1, 10);
        edit(&mut silent, node).claim.as_mut().expect("claimed").at = WallTime(at);
    }
    let claimed = WallTime(NOW.0 - 2_000);
    let until = Some(WallTime(NOW.0 + 58_000));
    assert_eq!(
        decide(&silent),
        Decision::Stay(Stay::Held(Held { cooling: false, braked: false, claimed, until }))
    );
    silent.at = WallTime(NOW.0 + 58_000);
    for node in [2, 3] {
        edit(&mut silent, node).beat_at = silent.at;
    }
    assert_eq!(granted(&silent).ground, Ground::Silence);
}

#[test]
fn a_pause_holds_back_silence_and_nothing_else() {
    let mut paused = snapshot();
    paused.lease.paused =
        Some(Pause { until: WallTime(NOW.0 + 1), by: "op".to_owned(), why: "upgrade".to_owned() });
    let mut silent = paused.clone();
    claim(&mut silent, 2, 1, 10);
    assert_eq!(decide(&silent), Decision::Stay(Stay::Paused));
    silent.at = WallTime(NOW.0 + 1);
    assert_eq!(granted(&silent).ground, Ground::Silence, "the pause has ended");
    let mut released = paused.clone();
    edit(&mut released, 1).released = Epoch(1);
    assert_eq!(granted(&released).ground, Ground::Release);
    paused.lease.holder = None;
    assert_eq!(granted(&paused).ground, Ground::Vacancy);
}

#[test]
fn a_retired_cluster_is_left_alone() {
    let mut world = snapshot();
    world.lease.state = LeaseState::Retired;
    edit(&mut world, 1).released = Epoch(1);
    assert_eq!(decide(&world), Decision::Stay(Stay::Retired));
}

#[test]
fn a_candidate_with_an_old_heartbeat_must_show_a_second_one() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    for n in 1..=3 {
        edit(&mut world, n).beat_at = WallTime(NOW.0 - 60_000);
        world.earlier.insert(arn(n), Seq(10));
    }
    assert_eq!(decide(&world), Decision::LookAgain);
    edit(&mut world, 3).seq = Seq(11);
    assert_eq!(granted(&world).to, arn(3));
}

#[test]
fn nobody_able_is_told_with_a_reason_for_each() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    edit(&mut world, 1).health = Health::Draining;
    edit(&mut world, 2).health = Health::Bad;
    world.heartbeats.remove(&arn(3));
    let Decision::Stay(Stay::NoCandidate(reasons)) = decide(&world) else { panic!("expected nobody") };
    let reasons: BTreeMap<_, _> = reasons.into_iter().collect();
    assert_eq!(reasons[&arn(1)], Unfit::NotHealthy(Health::Draining));
    assert_eq!(reasons[&arn(2)], Unfit::NotHealthy(Health::Bad));
    assert_eq!(reasons[&arn(3)], Unfit::NeverSeen);
}

#[test]
fn an_intent_for_this_epoch_names_the_next_holder_until_it_ends() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    let others = [2, 3].map(|n| {
        world.lease.intent = Some(Intent {
            to: Some(arn(n)),
            reason: "switchover".to_owned(),
            epoch: Epoch(1),
            until: WallTime(NOW.0 + 1),
            request: None,
            failover: false,
            asked: None,
        });
        granted(&world).to
    });
    assert_eq!(others, [arn(2), arn(3)]);
    let by_rank = {
        world.lease.intent = None;
        granted(&world).to
    };
    for (epoch, until) in [(0, NOW.0 + 1), (1, NOW.0)] {
        let other = if by_rank == arn(2) { arn(3) } else { arn(2) };
        world.lease.intent = Some(Intent {
            to: Some(other),
            reason: "late".to_owned(),
            epoch: Epoch(epoch),
            until: WallTime(until),
            request: None,
            failover: false,
            asked: None,
        });
        assert_eq!(granted(&world).to, by_rank, "epoch {epoch}, until {until}");
    }
}

#[test]
fn priority_comes_before_zone_and_zone_before_chance() {
    let mut world = snapshot();
    edit(&mut world, 1).released = Epoch(1);
    world.lease.members[1].priority = 10;
    assert_eq!(granted(&world).to, arn(2));
    world.lease.members[1].priority = 100;
    for (near, far) in [(1, 2), (2, 1)] {
        let mut world = world.clone();
        world.lease.members[near].zone = world.lease.members[0].zone.clone();
        assert_eq!(granted(&world).to, world.lease.members[far].instance, "another zone than the failed one");
    }
}

#[test]
fn an_excluded_node_is_granted_nothing_but_its_own_lease_back() {
    let exclude = |snapshot: &mut Snapshot, node: u8| {
        snapshot.lease.excluded = Some(exclusion(node, WallTime(NOW.0 + 1)));
    };
    let mut silent = snapshot();
    claim(&mut silent, 3, 1, 10);
    assert_eq!(granted(&silent).to, arn(2), "node 2 comes first");
    exclude(&mut silent, 2);
    assert_eq!(granted(&silent).to, arn(3));
    silent.at = WallTime(NOW.0 + 1);
    assert_eq!(granted(&silent).to, arn(2), "the exclusion has ended");
    silent.at = NOW;
    silent.lease.members.retain(|member| member.instance != arn(3));
    claim(&mut silent, 2, 1, 10);
    let Decision::Stay(Stay::NoCandidate(refused)) = decide(&silent) else { panic!("nobody is left") };
    assert!(refused.contains(&(arn(2), Unfit::Excluded)), "{refused:?}");
    // After a release the releaser is better than nobody, even one that is to be drained.
    let mut released = snapshot();
    exclude(&mut released, 1);
    edit(&mut released, 1).released = Epoch(1);
    released.earlier.insert(arn(1), Seq(9));
    released.looked_enough = true;
    assert_eq!(granted(&released).to, arn(2));
    for node in [2, 3] {
        edit(&mut released, node).health = Health::Bad;
    }
    assert_eq!(granted(&released).to, arn(1));
}

#[test]
fn a_grant_has_what_the_holders_hook_said_and_none_of_an_earlier_epoch() {
    let failure = |epoch| HookFailure {
        hook: Hook::Promote,
        epoch: Epoch(epoch),
        at: NOW,
        how: "exit code 1".into(),
        output: "no licence".into(),
    };
    for (epoch, told) in [(1, true), (0, false)] {
        let mut world = snapshot();
        let holder = edit(&mut world, 1);
        holder.released = Epoch(1);
        holder.findings = Some(Findings { hook: Some(failure(epoch)), ..Findings::default() });
        // A standby's own failure says nothing of the holder.
        edit(&mut world, 2).findings = Some(Findings {
            hook: Some(HookFailure { hook: Hook::Recover, ..failure(1) }),
            ..Findings::default()
        });
        let Happening::Granted { ground, evidence, .. } = granted(&world).event.what else {
            panic!("a grant")
        };
        assert_eq!((ground, evidence.hook), (Ground::Release, told.then(|| Box::new(failure(1)))));
    }
}
