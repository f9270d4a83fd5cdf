//! Faults that belong together. Each story is a schedule that broke an earlier version of the protocol, or a rule that
//! only several things going wrong at once put to the test; chance alone would seldom put them together.

use crate::clock::{MS, Real, SECOND};
use crate::fault::{Fault, Kind, Whom};

use super::{Plan, draw};

type Story = fn(&mut fastrand::Rng, Real) -> Vec<Fault>;

const STORIES: &[Story] = &[
    late_release,
    timing_and_isolation,
    lost_item_and_stale_claim,
    storm,
    released_by_the_only_one,
    paused_release,
    switchover_to_the_dead,
    retired_and_registered_again,
    late_oath_of_another_epoch,
    fence_and_resume,
    late_mover,
    outage,
    mode_and_death,
    mode_under_a_claim,
    frozen_before_the_promote,
    released_then_rebooted,
    cut_at_the_commit,
    candidate_changes,
    storm_over_a_busy_table,
    retired_in_a_storm,
];

/// Adds one of the stories, from about `from` on.
pub(super) fn add(rng: &mut fastrand::Rng, plan: &mut Plan, from: Real) {
    let story = STORIES[rng.usize(..STORIES.len())];
    let from = from + draw(rng, (0, 5 * SECOND));
    plan.faults.extend(story(rng, from));
}

/// How many of a hundred runs go on until nothing would look any more.
const LATE: u32 = 5;

/// Adds to some runs what somebody moves when all else is over: after the second look, when only a hint or the cluster's turn
/// can find it, or about when the second look is taken.
pub(super) fn add_late(rng: &mut fastrand::Rng, plan: &mut Plan) {
    if rng.u32(..100) >= LATE {
        return;
    }
    if rng.bool() {
        let from = draw(rng, (140_000, 200_000)) * MS;
        let length_ms = draw(rng, (1, 90_000));
        return plan.faults.push(fault(Kind::Drift, Whom::Everybody, from, length_ms));
    }
    let minute = 60 * SECOND;
    let sweep = plan.sweep_at + if plan.sweep_at < 20 * SECOND { 2 * minute } else { minute };
    plan.faults.push(fault(Kind::FunctionsSlow, Whom::Everybody, sweep - SECOND, 20_000));
    let from = sweep - 2 * SECOND + draw(rng, (0, 6_000)) * MS;
    plan.faults.push(fault(Kind::Drift, Whom::Everybody, from, 1));
}

/// A fault of so many milliseconds.
pub(super) fn fault(kind: Kind, whom: Whom, from: Real, length_ms: u64) -> Fault {
    Fault { kind, whom, from, until: from + length_ms * MS }
}

/// A release under way when its agent dies, which lands while the next run holds the lease.
fn late_release(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let crash = from + draw(rng, (1_000, 3_500)) * MS;
    vec![
        fault(Kind::Unhealthy, Whom::Holder, from, draw(rng, (1_000, 3_000))),
        fault(Kind::LateWrites, Whom::Holder, from + 500 * MS, draw(rng, (1_500, 4_000))),
        fault(Kind::AgentCrash, Whom::Holder, crash, draw(rng, (50, 1_500))),
    ]
}

/// The timing changes while the holder's answers get lost, and then it is alone.
fn timing_and_isolation(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let change = from + draw(rng, (0, 3_000)) * MS;
    vec![
        fault(Kind::AnswersLost, Whom::Holder, from + draw(rng, (0, 2_500)) * MS, draw(rng, (500, 3_000))),
        fault(Kind::Timing, Whom::Everybody, change, 1),
        fault(Kind::Partition, Whom::Holder, change + draw(rng, (0, 2_500)) * MS, draw(rng, (6_000, 14_000))),
    ]
}

/// A claim stands at a standby that cannot read, while the holder's item is lost and counts from the beginning.
fn lost_item_and_stale_claim(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let blind = from + draw(rng, (7_000, 9_000)) * MS;
    vec![
        fault(Kind::FunctionsDown, Whom::Everybody, from, draw(rng, (12_000, 16_000))),
        fault(Kind::Suspend, Whom::Holder, from, draw(rng, (8_500, 10_000))),
        fault(Kind::ReadBlind, Whom::Standby, blind, draw(rng, (20_000, 28_000))),
        fault(Kind::ItemLost, Whom::Holder, from + draw(rng, (8_000, 10_000)) * MS, 1),
        fault(Kind::Replay, Whom::Everybody, from + draw(rng, (14_000, 30_000)) * MS, 1),
        fault(Kind::Replay, Whom::Everybody, from + draw(rng, (14_000, 30_000)) * MS, 1),
    ]
}

/// One move after another, none of them finished, and calls that land late.
fn storm(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let mut faults = vec![
        fault(Kind::Ec2Late, Whom::Everybody, from, draw(rng, (12_000, 25_000))),
        fault(Kind::FunctionsKilled, Whom::Everybody, from, draw(rng, (12_000, 25_000))),
    ];
    let mut at = from + 500 * MS;
    for _ in 0..rng.usize(3..7) {
        faults.push(fault(Kind::Switchover, Whom::Everybody, at, 1));
        at += draw(rng, (1_500, 5_000)) * MS;
    }
    faults
}

/// The holder releases to a standby that dies at that moment.
fn released_by_the_only_one(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::Unhealthy, Whom::Holder, from, draw(rng, (2_500, 6_000))),
        fault(
            Kind::PowerLoss,
            Whom::Standby,
            from + draw(rng, (500, 3_000)) * MS,
            draw(rng, (20_000, 28_000)),
        ),
        fault(
            Kind::PowerLoss,
            Whom::Standby,
            from + draw(rng, (500, 3_000)) * MS,
            draw(rng, (20_000, 28_000)),
        ),
    ]
}

/// A lease is released just before or during a pause.
fn paused_release(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::Unhealthy, Whom::Holder, from + draw(rng, (0, 3_000)) * MS, draw(rng, (3_000, 8_000))),
        fault(
            Kind::Pause,
            Whom::Everybody,
            from + draw(rng, (1_000, 3_500)) * MS,
            draw(rng, (25_000, 30_000)),
        ),
        fault(Kind::FunctionsDown, Whom::Everybody, from, draw(rng, (1_000, 6_000))),
        fault(
            Kind::Partition,
            Whom::Holder,
            from + draw(rng, (10_000, 14_000)) * MS,
            draw(rng, (4_000, 12_000)),
        ),
    ]
}

/// A switchover is asked for, and its target dies before the holder obeys.
fn switchover_to_the_dead(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::PowerLoss, Whom::Standby, from, draw(rng, (8_000, 20_000))),
        fault(Kind::Switchover, Whom::Everybody, from + draw(rng, (0, 5_000)) * MS, 1),
    ]
}

/// The cluster is retired and registered again, while its holder is cut off for a part of the time.
fn retired_and_registered_again(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let retired = draw(rng, (1_000, 8_000));
    vec![
        fault(Kind::Retire, Whom::Everybody, from, retired),
        fault(
            Kind::AgentCrash,
            Whom::Holder,
            from + draw(rng, (0, retired + 2_000)) * MS,
            draw(rng, (100, 9_000)),
        ),
        fault(
            Kind::Partition,
            Whom::Holder,
            from + draw(rng, (0, retired + 3_000)) * MS,
            draw(rng, (1_000, 9_000)),
        ),
        fault(Kind::Replay, Whom::Everybody, from + draw(rng, (0, 9_000)) * MS, 1),
    ]
}

/// Oaths of two epochs are under way at once.
fn late_oath_of_another_epoch(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::AnswersLost, Whom::Holder, from + draw(rng, (0, 2_000)) * MS, draw(rng, (1_000, 5_000))),
        fault(Kind::SlowTable, Whom::Machine(0), from, draw(rng, (8_000, 14_000))),
        fault(Kind::SlowTable, Whom::Machine(1), from, draw(rng, (8_000, 14_000))),
        fault(Kind::Switchover, Whom::Everybody, from + draw(rng, (0, 1_000)) * MS, 1),
        fault(Kind::Switchover, Whom::Everybody, from + draw(rng, (2_000, 6_000)) * MS, 1),
        fault(
            Kind::Unhealthy,
            Whom::Holder,
            from + draw(rng, (4_000, 9_000)) * MS,
            draw(rng, (1_000, 4_000)),
        ),
    ]
}

/// The holder is fenced and nobody takes over, so it has to come back by itself.
fn fence_and_resume(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::PowerLoss, Whom::Standby, from, draw(rng, (12_000, 20_000))),
        fault(Kind::PowerLoss, Whom::Standby, from, draw(rng, (12_000, 20_000))),
        fault(Kind::Partition, Whom::Holder, from + draw(rng, (0, 1_500)) * MS, draw(rng, (5_000, 9_000))),
    ]
}

/// An invocation is slow with its move while the next epoch has been granted and moved.
fn late_mover(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::FunctionsSlow, Whom::Everybody, from, draw(rng, (6_000, 14_000))),
        fault(Kind::Ec2Stale, Whom::Everybody, from, draw(rng, (8_000, 20_000))),
        fault(Kind::Switchover, Whom::Everybody, from + 200 * MS, 1),
        fault(Kind::EventsLate, Whom::Everybody, from, draw(rng, (8_000, 20_000))),
        fault(Kind::Switchover, Whom::Everybody, from + draw(rng, (1_500, 4_000)) * MS, 1),
        fault(Kind::Switchover, Whom::Everybody, from + draw(rng, (4_000, 9_000)) * MS, 1),
    ]
}

/// The table is away for everybody, and comes back.
fn outage(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::TableDown, Whom::Everybody, from, draw(rng, (7_000, 20_000))),
        fault(Kind::AgentCrash, Whom::Holder, from + draw(rng, (0, 9_000)) * MS, draw(rng, (100, 3_000))),
        fault(Kind::Replay, Whom::Everybody, from + draw(rng, (7_000, 22_000)) * MS, 1),
    ]
}

/// The mode changes about when the holder's agent dies.
fn mode_and_death(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::Mode, Whom::Everybody, from + draw(rng, (0, 3_000)) * MS, 1),
        fault(Kind::AgentCrash, Whom::Holder, from + draw(rng, (0, 3_000)) * MS, draw(rng, (6_000, 12_000))),
    ]
}

/// The mode changes under a claim that stands at a standby which cannot read.
fn mode_under_a_claim(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let change = from + draw(rng, (8_500, 10_000)) * MS;
    let back = change + draw(rng, (100, 1_000)) * MS;
    vec![
        fault(Kind::AgentFreeze, Whom::Holder, from, draw(rng, (14_000, 18_000))),
        fault(Kind::FunctionsDown, Whom::Everybody, from, (back - from) / MS),
        fault(Kind::ReadBlind, Whom::Standby, change - draw(rng, (0, 1_000)) * MS, draw(rng, (5_000, 9_000))),
        fault(Kind::Mode, Whom::Everybody, change, 1),
        fault(Kind::Replay, Whom::Everybody, back + draw(rng, (0, 1_500)) * MS, 1),
        fault(Kind::Replay, Whom::Everybody, back + draw(rng, (0, 3_000)) * MS, 1),
    ]
}

/// A standby is granted the lease and stands still between its heartbeat and its read, until another has been granted it.
fn frozen_before_the_promote(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::SlowTable, Whom::Machine(0), from, draw(rng, (10_000, 14_000))),
        fault(Kind::SlowTable, Whom::Machine(1), from, draw(rng, (10_000, 14_000))),
        fault(Kind::SlowTable, Whom::Machine(2), from, draw(rng, (10_000, 14_000))),
        fault(Kind::AnswersLost, Whom::Holder, from, draw(rng, (5_500, 9_000))),
        fault(
            Kind::AgentFreeze,
            Whom::Standby,
            from + draw(rng, (3_500, 9_000)) * MS,
            draw(rng, (9_000, 16_000)),
        ),
        fault(Kind::Switchover, Whom::Everybody, from + draw(rng, (8_000, 14_000)) * MS, 1),
    ]
}

/// The holder releases while nobody can grant, and boots.
fn released_then_rebooted(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::FunctionsDown, Whom::Everybody, from, draw(rng, (9_000, 14_000))),
        fault(Kind::Unhealthy, Whom::Holder, from, draw(rng, (1_500, 3_000))),
        fault(Kind::PowerLoss, Whom::Holder, from + draw(rng, (2_500, 5_000)) * MS, draw(rng, (500, 2_000))),
        fault(Kind::DiskFull, Whom::Holder, from, draw(rng, (5_000, 9_000))),
    ]
}

/// The answer to a commit is lost, and the function lives on.
fn cut_at_the_commit(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    (0..4)
        .flat_map(|k| {
            let at = from + k * 4 * SECOND;
            let cut = at + draw(rng, (100, 1_800)) * MS;
            [
                fault(Kind::Switchover, Whom::Everybody, at, 1),
                fault(Kind::FunctionsCut, Whom::Everybody, cut, draw(rng, (50, 600))),
            ]
        })
        .collect()
}

/// A candidate falls ill, or its agent starts anew, between an invocation's look at it and the commit.
fn candidate_changes(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    vec![
        fault(Kind::FunctionsSlow, Whom::Everybody, from, draw(rng, (8_000, 14_000))),
        fault(Kind::EventsLate, Whom::Everybody, from, draw(rng, (8_000, 14_000))),
        fault(Kind::Unhealthy, Whom::Holder, from, draw(rng, (2_000, 6_000))),
        fault(Kind::Unhealthy, Whom::Standby, from + draw(rng, (500, 6_000)) * MS, draw(rng, (4_000, 9_000))),
        fault(Kind::AgentCrash, Whom::Standby, from + draw(rng, (500, 6_000)) * MS, draw(rng, (100, 900))),
        fault(Kind::Mode, Whom::Everybody, from + draw(rng, (500, 6_000)) * MS, 1),
        fault(Kind::Timing, Whom::Everybody, from + draw(rng, (500, 4_000)) * MS, 1),
        fault(Kind::Timing, Whom::Everybody, from + draw(rng, (2_000, 8_000)) * MS, 1),
    ]
}

/// A storm, with a table that refuses now and then.
fn storm_over_a_busy_table(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let mut faults = storm(rng, from);
    faults.push(fault(Kind::TableThrottled, Whom::Everybody, from, draw(rng, (12_000, 20_000))));
    faults
}

/// The cluster is retired with a move unfinished and calls under way, and registered again.
fn retired_in_a_storm(rng: &mut fastrand::Rng, from: Real) -> Vec<Fault> {
    let mut faults = storm(rng, from);
    let at = from + draw(rng, (3_000, 12_000)) * MS;
    faults.push(fault(Kind::Retire, Whom::Everybody, at, draw(rng, (500, 4_000))));
    faults
}
