//! The table shows an earlier moment than a node has seen.

use super::super::*;
use super::rig::{Kind, Rig};
use crate::ids::Epoch;
use crate::lease::Mode;
use crate::testing::arn;

/// Holds epoch 1, loses it to node 2, and then the table is as it was before.
fn deposed_and_back() -> Rig {
    let mut rig = Rig::serving();
    rig.grant(2);
    rig.run_to(2_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-deposed"]);
    (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(1), Some(arn(1)));
    rig
}

#[test]
fn an_epoch_before_one_that_was_read_is_not_served_and_the_table_is_told() {
    let mut rig = deposed_and_back();
    rig.run_to(20_000);
    assert_eq!(rig.hooks(), ["-start", "+1", "-deposed"], "the lease names it, at an epoch that is over");
    assert_eq!(rig.last_beat().ahead, Some(Epoch(2)));
    // Above everything that was granted since: the lease counts again.
    (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(90), Some(arn(1)));
    rig.run_to(25_000);
    assert_eq!(rig.node.serving(), Some(Epoch(90)));
}

#[test]
fn the_next_run_serves_no_epoch_before_one_that_this_one_has_read() {
    let rig = deposed_and_back();
    let left = rig.left();
    assert_eq!(left.known, Epoch(2));
    let mut next = Rig::restarted(Some(left), 2_000);
    next.run_to(20_000);
    assert_eq!(next.hooks(), ["-start"]);
    let beat = next.last_beat();
    assert_eq!(beat.ahead, Some(Epoch(2)));
    // Or an operator would have to stop its instance before the lease may begin anew.
    assert_eq!(beat.validity_ms, 4_000, "it serves nothing, so there is nothing that nobody guards");
}

#[test]
fn what_a_standby_reads_is_kept_for_the_next_run_as_well() {
    let mut rig = Rig::booted();
    (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(5), Some(arn(2)));
    rig.run_to(1_500);
    assert_eq!(rig.left().known, Epoch(5));
    let kept = rig.count(|command| matches!(command, Command::Persist(_)));
    rig.run_to(20_000);
    assert_eq!(rig.count(|command| matches!(command, Command::Persist(_))), kept, "once for each epoch");
    assert_eq!(rig.last_beat().ahead, None, "nothing has gone back");
}

#[test]
fn a_strict_holder_is_fenced_when_its_budget_ends_and_an_available_one_serves_on() {
    for (mode, hooks) in
        [(Mode::Strict, &["-start", "+5", "-self-fence"][..]), (Mode::Available, &["-start", "+5"][..])]
    {
        let mut rig = Rig::booted();
        (rig.lease_mut().epoch, rig.lease_mut().mode) = (Epoch(5), mode);
        rig.run_to(0);
        (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(4), Some(arn(2)));
        rig.run_to(20_000);
        assert_eq!(rig.hooks(), hooks, "{mode:?}");
        assert_eq!(rig.last_beat().ahead, Some(Epoch(5)));
        // The way back: nobody holds the lease, at a later epoch than any.
        (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(90), None);
        rig.run_to(25_000);
        assert_eq!(rig.state(), "stopped");
    }
}

#[test]
fn a_claim_about_an_epoch_that_is_over_is_taken_to_no_lease_before_it() {
    let mut rig = Rig::standing_by();
    (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(5), Some(arn(2)));
    rig.run_to(1_500);
    (rig.lease_mut().epoch, rig.lease_mut().holder) = (Epoch(4), Some(arn(3)));
    rig.hold(&[Kind::Demote]);
    rig.run_to(30_000);
    let claimed = rig.count(|command| matches!(command, Command::Beat(beat) if beat.claim.is_some()));
    assert_eq!(claimed, 0, "node 3 is silent, and nobody claims it by a lease that has gone back");
}
