//! Whatever is answered, in whatever order: an invocation ends before its deadline, with nothing under way.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::rig::Rig;
use crate::outcome::WriteFailure;

/// A bad answer in place of the right one.
fn answer_badly(rig: &mut Rig, invocation: &mut Invocation, action: Action, how: u8) {
    let failure = || match how % 4 {
        0 => Failure::Unknown("x".to_owned()),
        1 => Failure::Throttled,
        2 => Failure::Conflict,
        _ => Failure::Denied("x".to_owned()),
    };
    let trouble = || match how % 4 {
        0 => CloudFailure::Unknown("x".to_owned()),
        1 => CloudFailure::Throttled,
        2 => CloudFailure::NotFound("x".to_owned()),
        _ => CloudFailure::Denied("x".to_owned()),
    };
    let now = rig.now;
    match action {
        Action::ReadLease => invocation.handle_lease(now, Err(failure())),
        Action::ReadHeartbeats(_) => invocation.handle_heartbeats(now, Err(failure())),
        Action::Commit(_) if how % 4 == 3 => {
            invocation.handle_committed(now, Ok(Committed::Superseded(vec!["epoch".to_owned()])));
        }
        Action::Commit(_) => invocation.handle_committed(now, Err(failure())),
        Action::Look(look) => invocation.handle_sight(now, &look, Err(trouble())),
        Action::Call(call) => invocation.handle_effect(now, &call, Err(trouble())),
        Action::RecordRotation { allocation, .. } => {
            invocation.handle_rotation_recorded(now, &allocation, false);
        }
        Action::RecordMoved(_) => {
            invocation.handle_moved_recorded(now, Err(WriteFailure::Failed(failure())));
        }
        action => rig.answer(invocation, action),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_invocation_ends_in_time_with_nothing_under_way(
        script in prop::collection::vec((any::<bool>(), any::<u8>(), 0usize..4), 0..200),
        claimed: bool, unfinished: bool, hinted: bool,
    ) {
        let mut rig = if claimed { Rig::claimed() } else { Rig::new() };
        rig.hint.maybe_gone = hinted;
        if unfinished {
            rig.lease.as_mut().expect("there").moved = Epoch(0);
        }
        let mut script = script.into_iter().cycle();
        let mut invocation = Invocation::new(rig.hint.clone(), "test".to_owned(), rig.now, rig.deadline);
        let mut open: Vec<Action> = Vec::new();
        let mut granted = 0;
        for step in 0.. {
            prop_assert!(step < 20_000, "no end");
            open.extend(std::iter::from_fn(|| invocation.poll_action()));
            if invocation.report().is_some() {
                prop_assert!(open.is_empty(), "{open:?} is still under way");
                break;
            }
            let (good, how, which) = script.next().unwrap_or((true, 0, 0));
            rig.pass(Duration::from_millis(7));
            if open.is_empty() {
                let due = invocation.next_deadline();
                prop_assert!(due.is_some(), "waits for nothing");
                let wait = due.map(|due| due.since(rig.now.boot)).unwrap_or_default();
                rig.pass(wait);
                invocation.handle_timer(rig.now);
                continue;
            }
            let action = open.remove(which % open.len());
            if let Action::Commit(grant) = &action {
                granted += usize::from(grant.epoch == Epoch(1));
            }
            if good {
                rig.answer(&mut invocation, action);
            } else {
                answer_badly(&mut rig, &mut invocation, action, how);
            }
        }
        prop_assert!(rig.now.boot < rig.deadline + Duration::from_secs(1), "ended too late");
        prop_assert!(claimed || hinted || granted == 0, "a grant without a ground");
    }
}
