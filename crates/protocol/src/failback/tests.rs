use crate::heartbeat::{Claim, Health};
use crate::lease::{Intent, Pause};
use crate::testing::{self, arn, exclusion, incarnation};

use super::*;

/// 2026-11-28 03:00 UTC, a Saturday.
const NOW: WallTime = WallTime(20_785 * 86_400_000 + 3 * 3_600_000);
const HOLD_MS: u64 = 600_000;

struct Cluster {
    lease: Lease,
    heartbeats: BTreeMap<InstanceArn, Heartbeat>,
}

/// Node 2 has held for long, and node 1, which is preferred, has been healthy for long.
fn cluster() -> Cluster {
    let mut lease = testing::lease();
    lease.failback = Failback::Automatic { hold_ms: HOLD_MS, window: None };
    lease.holder = Some(arn(2));
    lease.last_grant = Some(WallTime(NOW.0 - HOLD_MS));
    for (member, priority) in lease.members.iter_mut().zip([10, 20, 30]) {
        member.priority = priority;
    }
    let since = WallTime(NOW.0 - HOLD_MS - 1_000);
    let beat = |n| Heartbeat {
        beat_at: WallTime(NOW.0 - 1_000),
        healthy_since: Some(since),
        serving_epoch: (n == 2).then_some(lease.epoch),
        ..testing::heartbeat(&arn(n), 7)
    };
    let heartbeats = (1..=3).map(|n| (arn(n), beat(n))).collect();
    Cluster { lease, heartbeats }
}

impl Cluster {
    fn of(&mut self, n: u8) -> &mut Heartbeat {
        self.heartbeats.get_mut(&arn(n)).expect("there")
    }

    fn due_at(&self, now: WallTime) -> Option<Due> {
        due(&self.lease, &self.heartbeats, now)
    }
}

fn after(change: impl FnOnce(&mut Cluster)) -> Option<InstanceArn> {
    let mut cluster = cluster();
    change(&mut cluster);
    cluster.due_at(NOW).map(|due| due.to)
}

fn intent(until: WallTime) -> Intent {
    let epoch = testing::lease().epoch;
    Intent { to: None, reason: String::new(), epoch, until, request: None, failover: false, asked: None }
}

#[test]
fn a_failback_is_due_to_the_preferred_node_once_it_has_been_healthy_for_long_enough() {
    let why = "failback to node-a, which is preferred to node-b and has been healthy for 600 s".to_owned();
    let due = Due { to: arn(1), why, until: NOW + ASKED_FOR };
    assert_eq!(cluster().due_at(NOW), Some(due));
    assert_eq!(
        after(|c| c.of(1).healthy_since = Some(WallTime(NOW.0 - HOLD_MS))),
        None,
        "a second too short"
    );
    assert_eq!(after(|c| c.of(1).healthy_since = None), None, "nobody knows for how long");
    assert_eq!(after(|c| c.of(1).health = Health::Bad), None);
    assert_eq!(after(|c| c.of(1).beat_at = WallTime(NOW.0 - 10_000)), None, "it may be dead");
    assert_eq!(after(|c| drop(c.heartbeats.remove(&arn(1)))), None);
}

#[test]
fn nothing_is_due_where_it_is_not_chosen_or_where_nobody_is_preferred() {
    assert_eq!(after(|c| c.lease.failback = Failback::Manual), None);
    assert_eq!(after(|c| c.lease.members[0].priority = 20), None, "as good as the holder");
    assert_eq!(after(|c| c.lease.holder = Some(arn(1))), None);
    assert_eq!(after(|c| c.lease.holder = None), None);
    assert_eq!(after(|c| c.lease.members.retain(|member| member.instance != arn(2))), None);
}

#[test]
fn of_several_that_are_preferred_the_best_that_is_fit_is_taken() {
    let third = |change: fn(&mut Cluster)| {
        after(|c| {
            c.lease.holder = Some(arn(3));
            c.of(3).serving_epoch = Some(c.lease.epoch);
            change(c);
        })
    };
    assert_eq!(third(|_| ()), Some(arn(1)));
    assert_eq!(third(|c| c.of(1).health = Health::Unknown), Some(arn(2)));
    let until = WallTime(NOW.0 + 1);
    assert_eq!(third(|c| c.lease.excluded = Some(exclusion(1, WallTime(NOW.0 + 1)))), Some(arn(2)));
    assert_eq!(after(|c| c.lease.excluded = Some(exclusion(1, until))), None);
    assert_eq!(after(|c| c.lease.excluded = Some(exclusion(1, NOW))), Some(arn(1)), "it has ended");
}

#[test]
fn a_holder_that_is_not_at_rest_or_not_known_to_serve_is_left_alone() {
    assert_eq!(after(|c| c.lease.last_grant = Some(WallTime(NOW.0 - HOLD_MS + 1))), None);
    assert_eq!(after(|c| c.lease.last_grant = None), None, "nobody knows");
    assert_eq!(after(|c| c.lease.moved = Epoch(0)), None);
    assert_eq!(after(|c| c.lease.state = LeaseState::Retired), None);
    assert_eq!(after(|c| c.of(2).serving_epoch = None), None);
    assert_eq!(after(|c| c.of(2).released = c.lease.epoch), None);
    assert_eq!(after(|c| c.of(2).health = Health::Bad), None);
    assert_eq!(after(|c| c.of(2).beat_at = WallTime(NOW.0 - 10_000)), None);
    assert_eq!(after(|c| drop(c.heartbeats.remove(&arn(2)))), None);
    let (epoch, silent_ms) = (testing::lease().epoch, 6_000);
    let claim = Claim {
        epoch,
        holder: arn(2),
        incarnation: incarnation(1),
        seq: crate::ids::Seq(7),
        silent_ms,
        at: NOW,
    };
    assert_eq!(after(|c| c.of(3).claim = Some(claim)), None, "its silence is claimed");
}

#[test]
fn an_operators_word_comes_first() {
    let pause = |until| Pause { until, by: "op".to_owned(), why: String::new() };
    assert_eq!(after(|c| c.lease.paused = Some(pause(WallTime(NOW.0 + 1)))), None);
    assert_eq!(after(|c| c.lease.paused = Some(pause(NOW))), Some(arn(1)));
    assert_eq!(after(|c| c.lease.intent = Some(intent(WallTime(NOW.0 + 1)))), None);
}

#[test]
fn one_that_has_not_happened_is_not_asked_for_again_before_another_while() {
    assert_eq!(after(|c| c.lease.intent = Some(intent(WallTime(NOW.0 - HOLD_MS + 1)))), None);
    assert_eq!(after(|c| c.lease.intent = Some(intent(WallTime(NOW.0 - HOLD_MS)))), Some(arn(1)));
    let earlier = Intent { epoch: Epoch(0), ..intent(NOW) };
    assert_eq!(after(|c| c.lease.intent = Some(earlier)), Some(arn(1)), "of another epoch");
}

#[test]
fn a_cool_down_is_waited_for() {
    let cooling = |cool_down_ms| {
        after(|c| {
            c.lease.cool_down_ms = cool_down_ms;
            c.lease.recent_grants = vec![WallTime(NOW.0 - HOLD_MS)];
        })
    };
    assert_eq!(cooling(HOLD_MS + 1), None);
    assert_eq!(cooling(HOLD_MS), Some(arn(1)));
}

#[test]
fn it_is_due_within_the_window_only_and_asked_for_no_longer_than_that() {
    let within = |text: &str, now| {
        let mut cluster = cluster();
        cluster.lease.failback = Failback::Automatic { hold_ms: HOLD_MS, window: Window::parse(text) };
        cluster.due_at(now).map(|due| due.until)
    };
    assert_eq!(within("Sat,Sun 02:00-04:00", NOW), Some(NOW + ASKED_FOR));
    assert_eq!(within("Sun 02:00-04:00", NOW), None);
    assert_eq!(within("03:01-02:59", NOW), None);
    let end = WallTime(NOW.0 + 1_000);
    assert_eq!(within("02:00-03:01", WallTime(NOW.0)), Some(WallTime(NOW.0 + 60_000)));
    assert_eq!(within("02:00-03:01", end), Some(WallTime(NOW.0 + 60_000)), "a minute or the window's end");
}

#[test]
fn a_lease_is_read_as_it_was_written_and_manual_is_not_written() {
    let text = serde_json::to_string(&testing::lease()).expect("can be written");
    assert!(!text.contains("failback"), "{text}");
    for window in [None, Window::parse("Sat 02:00-04:00")] {
        let failback = Failback::Automatic { hold_ms: 1, window };
        let written = Lease { failback, ..testing::lease() };
        let text = serde_json::to_string(&written).expect("can be written");
        assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read"), written);
    }
}

#[test]
fn the_ids_of_requests_sort_by_when_they_were_made() {
    let ids: Vec<_> =
        [0, 1, 31, 32, NOW.0, NOW.0 + 1].map(|at| request_id(Epoch(9), WallTime(at)).to_string()).into();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(ids[0].ends_with("-failback-9"), "{ids:?}");
    request_id(Epoch(u64::MAX), WallTime(u64::MAX));
    assert_eq!([SHORTEST_HOLD, DEFAULT_HOLD, LONGEST_HOLD].map(|hold| hold.as_secs()), [60, 600, 86_400]);
}
