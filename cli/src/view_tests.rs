use baton_protocol::heartbeat::{Claim, UNGUARDED_MS};
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::lease::{Intent, Pause};
use baton_protocol::policy::Takeover;
use baton_protocol::probe::{Obstacle, Probe};

use super::*;
use crate::command::Snapshot;
use crate::testing::{NOW, arn, assert_golden, before, name, snapshot};

fn state_of(snapshot: &Snapshot, letter: char) -> State {
    let view = snapshot.view();
    view.nodes.iter().find(|node| node.node == format!("db-{letter}")).expect("a node").state
}

#[test]
fn a_cluster_in_good_order_is_healthy_and_protected() {
    let view = snapshot().view();
    assert_eq!((view.condition, view.protected, view.moved), (Condition::Healthy, true, true));
    assert_eq!(view.problems, Vec::<String>::new());
    let nodes: Vec<_> = view.nodes.iter().map(|node| (node.node.as_str(), node.role, node.state)).collect();
    assert_eq!(
        nodes,
        [
            ("db-a", Role::Holder, State::Serving),
            ("db-b", Role::Standby, State::Ready),
            ("db-c", Role::Standby, State::Ready),
        ]
    );
    assert_eq!(view.addresses[0].seen_at, ["db-a"]);
    assert_eq!(view.timing.profile, "default");
}

#[test]
fn a_node_is_silent_only_after_the_whole_of_its_cluster_s_silence() {
    let mut looked = snapshot();
    looked.beat('b').beat_at = before(6_000);
    assert_eq!(state_of(&looked, 'b'), State::Ready);
    looked.beat('b').beat_at = before(6_001);
    assert_eq!(state_of(&looked, 'b'), State::Silent);
}

#[test]
fn a_longer_published_validity_asks_for_a_longer_silence() {
    let mut looked = snapshot();
    looked.beat('a').validity_ms = 8_000;
    looked.beat('a').beat_at = before(7_000);
    assert_eq!(state_of(&looked, 'a'), State::Serving);
}

#[test]
fn in_available_mode_a_node_is_silent_after_the_cluster_s_own_silence() {
    let mut looked = snapshot();
    looked.lease.mode = Mode::Available;
    for letter in ['a', 'b', 'c'] {
        looked.beat(letter).validity_ms = UNGUARDED_MS;
    }
    assert_eq!((looked.view().condition, looked.view().problems), (Condition::Healthy, Vec::new()));
    for letter in ['a', 'b'] {
        looked.beat(letter).beat_at = before(6_000);
        assert_ne!(state_of(&looked, letter), State::Silent);
        looked.beat(letter).beat_at = before(6_001);
        assert_eq!(state_of(&looked, letter), State::Silent);
    }
    assert_eq!(looked.view().problems, ["the holder db-a has been silent for 6.0s"]);
}

#[test]
fn a_holder_that_nothing_guards_in_strict_mode_is_told_from_one_that_is_only_silent() {
    let mut looked = snapshot();
    looked.beat('a').validity_ms = UNGUARDED_MS;
    assert_eq!(state_of(&looked, 'a'), State::Unguarded);
    assert_eq!(looked.view().condition, Condition::Degraded);
    assert_eq!(looked.view().problems, ["nothing guards the service of the holder db-a"]);
    looked.beat('a').beat_at = before(40_000);
    assert_eq!(state_of(&looked, 'a'), State::Unguarded, "whatever it serves, nothing has ended it");
    assert_eq!(
        looked.view().problems,
        [
            "the holder db-a has been silent for 40s, and nothing guards its service: nobody takes over before its \
          agent runs again or EC2 calls its instance terminated"
        ]
    );
    looked.beat('a').serving_epoch = None;
    assert_eq!(state_of(&looked, 'a'), State::Unguarded, "it may have started after its last heartbeat");
    looked.beat('a').released = Epoch(7);
    assert_eq!(state_of(&looked, 'a'), State::Released, "an oath needs no guard");
    looked.lease.state = LeaseState::Retired;
    looked.beat('a').released = Epoch(0);
    assert_ne!(state_of(&looked, 'a'), State::Unguarded, "nobody is to guard a retired cluster");
}

#[test]
fn a_standby_that_nothing_guards_is_told_of_where_it_said_that_it_serves() {
    let mut looked = snapshot();
    looked.beat('b').validity_ms = UNGUARDED_MS;
    assert_eq!(state_of(&looked, 'b'), State::Ready, "it serves nothing");
    looked.beat('b').beat_at = before(40_000);
    assert_eq!(state_of(&looked, 'b'), State::Silent);
    looked.beat('b').serving_epoch = Some(Epoch(6));
    assert_eq!(state_of(&looked, 'b'), State::Unguarded);
    let view = looked.view();
    assert_eq!((view.condition, view.protected), (Condition::Degraded, true));
    assert_eq!(
        view.problems,
        ["db-b said that it serves, and nothing guards its service: it may run to this day"]
    );
}

#[test]
fn a_heartbeat_from_the_future_has_a_negative_age_and_beyond_s_may_be_a_dead_node_s_last() {
    let mut looked = snapshot();
    for (ahead, state) in [(5_000, State::Ready), (90_000, State::Silent)] {
        looked.beat('b').beat_at = WallTime(NOW.0 + ahead);
        assert_eq!(state_of(&looked, 'b'), state);
        let age = i64::try_from(ahead).expect("short");
        assert_eq!(looked.view().nodes[1].heartbeat_age_ms, Some(-age));
    }
}

#[test]
fn a_standby_s_state_is_its_health_unless_it_serves() {
    for (health, state) in [
        (Health::Ok, State::Ready),
        (Health::Bad, State::Bad),
        (Health::Draining, State::Draining),
        (Health::Unknown, State::Unknown),
    ] {
        let mut looked = snapshot();
        looked.beat('b').health = health;
        assert_eq!(state_of(&looked, 'b'), state);
        let eligible = looked.view().nodes.into_iter().filter(|node| node.eligible).map(|node| node.node);
        let expected: &[&str] = if health == Health::Ok { &["db-b", "db-c"] } else { &["db-c"] };
        assert_eq!(eligible.collect::<Vec<_>>(), expected);
        looked.beat('b').serving_epoch = Some(Epoch(6));
        assert_eq!(state_of(&looked, 'b'), State::Stopping);
    }
}

#[test]
fn a_holder_serves_is_promoted_has_released_or_is_silent() {
    let mut looked = snapshot();
    looked.beat('a').serving_epoch = None;
    assert_eq!(state_of(&looked, 'a'), State::Promoting);
    assert_eq!(looked.view().problems, ["the holder db-a does not serve yet"]);
    looked.beat('a').serving_epoch = Some(Epoch(6));
    assert_eq!(state_of(&looked, 'a'), State::Promoting);
    looked.beat('a').beat_at = before(12_300);
    assert_eq!(state_of(&looked, 'a'), State::Silent);
    assert_eq!(looked.view().problems, ["the holder db-a has been silent for 12s"]);
    assert_eq!(looked.view().condition, Condition::Degraded);
    looked.beat('a').released = Epoch(7);
    assert_eq!(state_of(&looked, 'a'), State::Released);
    assert_eq!(looked.view().condition, Condition::NoHolder);
}

#[test]
fn a_release_of_an_earlier_epoch_means_nothing_now() {
    let mut looked = snapshot();
    looked.beat('a').released = Epoch(6);
    assert_eq!(state_of(&looked, 'a'), State::Serving);
    assert_eq!(looked.view().condition, Condition::Healthy);
}

#[test]
fn without_an_eligible_standby_the_cluster_is_unprotected_and_says_why() {
    let mut looked = snapshot();
    looked.beat('b').health = Health::Bad;
    looked.heartbeats.remove(&arn('c'));
    let view = looked.view();
    assert_eq!((view.condition, view.protected), (Condition::Degraded, false));
    assert_eq!(view.problems, ["unprotected: no standby could take over: db-b is bad, db-c is unknown"]);
    looked.lease.members.truncate(1);
    assert_eq!(looked.view().problems, ["unprotected: there is no standby"]);
}

#[test]
fn addresses_that_are_not_all_moved_degrade_the_cluster() {
    let mut looked = snapshot();
    looked.lease.moved = Epoch(6);
    looked.lease.last_grant = Some(before(4_200));
    let view = looked.view();
    assert_eq!((view.condition, view.moved, view.moved_epoch), (Condition::Degraded, false, 6));
    assert_eq!(
        view.problems,
        ["addresses and routes are not all verified at the holder, 4.2s after the grant"]
    );
}

#[test]
fn a_pause_is_shown_while_it_lasts_and_yields_to_anything_worse() {
    let mut looked = snapshot();
    let pause =
        Pause { until: WallTime(NOW.0 + 60_000), by: "alice@ops".to_owned(), why: "kernel".to_owned() };
    looked.lease.paused = Some(pause);
    let view = looked.view();
    assert_eq!(view.condition, Condition::Paused);
    assert_eq!(view.paused.map(|pause| pause.remaining_ms), Some(60_000));
    looked.beat('a').beat_at = before(60_000);
    assert_eq!(looked.view().condition, Condition::Degraded);
    looked.lease.holder = None;
    assert_eq!(looked.view().condition, Condition::NoHolder);

    let mut over = snapshot();
    over.lease.paused = looked.lease.paused.map(|pause| Pause { until: NOW, ..pause });
    assert_eq!((over.view().condition, over.view().paused), (Condition::Healthy, None));
}

#[test]
fn an_intent_is_shown_while_it_lasts_and_only_at_its_own_epoch() {
    let mut looked = snapshot();
    let intent = Intent {
        to: Some(arn('b')),
        reason: "kernel".to_owned(),
        epoch: Epoch(7),
        until: WallTime(NOW.0 + 1),
        request: None,
        failover: false,
        asked: None,
    };
    looked.lease.intent = Some(intent.clone());
    assert_eq!(looked.view().intent.and_then(|intent| intent.to).as_deref(), Some("db-b"));
    looked.lease.intent = Some(Intent { epoch: Epoch(6), ..intent.clone() });
    assert_eq!(looked.view().intent, None);
    looked.lease.intent = Some(Intent { until: NOW, ..intent });
    assert_eq!(looked.view().intent, None);
}

#[test]
fn a_holder_that_is_no_member_any_more_is_shown_all_the_same() {
    let mut looked = snapshot();
    looked.lease.members.remove(0);
    assert_eq!(instances(&looked.lease), [arn('b'), arn('c'), arn('a')]);
    let view = looked.view();
    assert_eq!(view.nodes[0].node, "i-aaaaaaaaaaaaaaaaa");
    assert_eq!((view.nodes[0].role, view.nodes[0].zone.as_deref()), (Role::Holder, None));
}

#[test]
fn a_retired_registration_is_degraded_and_says_so() {
    let mut looked = snapshot();
    looked.lease.state = LeaseState::Retired;
    looked.lease.holder = None;
    let view = looked.view();
    assert_eq!((view.condition, view.protected), (Condition::Degraded, false));
    assert_eq!(view.problems, ["the registration is retired: agents leave the service as it is"]);
}

#[test]
fn texts_of_others_cannot_steer_the_terminal() {
    let mut looked = snapshot();
    looked.beat('b').agent_version = "0.1\u{1b}[2J".to_owned();
    assert_eq!(looked.view().nodes[1].agent_version.as_deref(), Some("0.1 [2J"));
}

#[test]
fn a_claim_is_shown_at_its_node() {
    let mut looked = snapshot();
    looked.beat('b').claim = Some(Claim {
        epoch: Epoch(7),
        holder: arn('a'),
        incarnation: name("run-a"),
        seq: Seq(100),
        silent_ms: 6_100,
        at: before(500),
    });
    let claim = looked.view().nodes.remove(1).claim.expect("shown");
    assert_eq!((claim.epoch, claim.silent_ms, claim.at.as_str()), (7, 6_100, "2026-09-21T14:13:19.500Z"));
}

#[test]
fn the_json_form_is_the_documented_one() {
    let mut looked = snapshot();
    looked.lease.members.truncate(2);
    let written = serde_json::to_string_pretty(&looked.view()).expect("has a form");
    assert_golden("view.json", &(written + "\n"));
}

#[test]
fn a_takeover_that_waits_for_a_person_is_shown_with_its_end() {
    let mut looked = snapshot();
    looked.beat('a').beat_at = before(12_000);
    let holder = looked.beat('a').clone();
    looked.beat('b').claim = Some(Claim {
        epoch: looked.lease.epoch,
        holder: arn('a'),
        incarnation: holder.incarnation,
        seq: holder.seq,
        silent_ms: 6_000,
        at: before(5_000),
    });
    let waits = |looked: &Snapshot| {
        let problems = looked.view().problems;
        problems.into_iter().find(|problem| problem.contains("baton failover"))
    };
    assert_eq!(waits(&looked), None);
    looked.lease.takeover = Takeover::Notify;
    let told = "the takeover from the silent holder waits for `baton failover orders`";
    assert_eq!(waits(&looked).as_deref(), Some(told));
    looked.lease.takeover = Takeover::Confirm { after_ms: 65_000 };
    assert_eq!(waits(&looked), Some(format!("{told}, or goes ahead in 1m")));
    looked.beat('a').seq = Seq(holder.seq.0 + 1);
    assert_eq!(waits(&looked), None, "the claim is answered");
}

#[test]
fn what_could_not_be_moved_is_told_and_leaves_the_cluster_unprotected() {
    let mut looked = snapshot();
    assert!(looked.view().protected && looked.view().probed_at.is_some());
    looked.lease.last_grant = Some(NOW);
    let obstacle = |n: usize| Obstacle {
        node: Some("db-b".to_owned()),
        resource: format!("eipalloc-{n}"),
        why: "AssociateAddress: denied".to_owned(),
    };
    let (uid, revision) = (looked.lease.uid.clone(), looked.lease.revision);
    looked.probe = Some(Probe { at: NOW, uid, revision, obstacles: (0..5).map(obstacle).collect() });
    let view = looked.view();
    assert_eq!((view.condition, view.protected, view.obstacles.len()), (Condition::Degraded, false, 5));
    assert_eq!(view.problems.len(), 3);
    assert_eq!(
        view.problems[0],
        "unprotected: eipalloc-0 could not be moved to db-b: AssociateAddress: denied"
    );
    assert!(view.probed_at.is_some());
    looked.lease.revision += 1;
    let updated = looked.view();
    assert!(
        !updated.protected && updated.probed_at.is_none(),
        "an update hides nothing until it is asked again"
    );
    looked.probe = None;
    looked.lease.last_grant = Some(NOW);
    assert!(looked.view().protected);
    looked.lease.last_grant = Some(before(4 * 3_600_000));
    let view = looked.view();
    assert!(
        !view.protected
            && view.problems.iter().any(|problem| problem.contains("for hours nobody has found out"))
    );
}
