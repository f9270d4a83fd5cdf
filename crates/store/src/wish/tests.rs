//! What each request becomes in the lease, and when asking again is the same request.

use baton_protocol::ids::{Epoch, RequestId};
use baton_protocol::time::WallTime;

use super::*;
use crate::testing::{arn, cluster};

fn request(wish: Wish) -> Request {
    Request {
        cluster: cluster(),
        id: RequestId::new("8f14e45f-ceea-467f-a0e6-0123456789ab").expect("valid"),
        wish,
        by: "alice".to_owned(),
        at: WallTime(100),
        until: WallTime(700),
        epoch: Epoch(7),
        answer: None,
    }
}

#[test]
fn a_switchover_is_carried_as_an_intent_that_says_who_asked_and_why() {
    let to = Some(arn(2));
    for (why, reason) in
        [("", "switchover asked by alice"), ("patching", "switchover asked by alice: patching")]
    {
        let asked = request(Wish::Switchover { to: to.clone(), why: why.to_owned() });
        let intent = Intent {
            to: to.clone(),
            reason: reason.to_owned(),
            epoch: Epoch(7),
            until: WallTime(700),
            request: Some(asked.id.clone()),
            failover: false,
            asked: Some(WallTime(100)),
        };
        assert_eq!(carried(&asked), Carried::Intent(intent));
    }
}

#[test]
fn a_pause_is_carried_with_its_end_and_a_resumption_as_no_pause() {
    let pause = Pause { until: WallTime(700), by: "alice".to_owned(), why: "work".to_owned() };
    assert_eq!(carried(&request(Wish::Pause { why: "work".to_owned() })), Carried::Paused(pause));
    assert_eq!(carried(&request(Wish::Resume {})), Carried::Resumed);
}

#[test]
fn a_fence_is_carried_as_a_word_about_one_registration_and_its_epoch() {
    let uid = crate::testing::uid("uid-1");
    let asked = request(Wish::Fence { node: arn(2), uid: uid.clone(), why: "it hangs".to_owned() });
    let word = fence::Word {
        node: arn(2),
        uid,
        epoch: Epoch(7),
        until: WallTime(700),
        by: "alice".to_owned(),
        why: "it hangs".to_owned(),
        request: asked.id.clone(),
    };
    assert_eq!(carried(&asked), Carried::Fence(word));
}

#[test]
fn a_word_that_the_table_was_restored_is_carried_for_one_registration_and_its_epoch() {
    let uid = crate::testing::uid("uid-1");
    let asked = request(Wish::Restore { uid: uid.clone(), why: "to 09:00".to_owned() });
    let word = restored::Word {
        uid,
        epoch: Epoch(7),
        until: WallTime(700),
        by: "alice".to_owned(),
        why: "to 09:00".to_owned(),
        request: asked.id.clone(),
    };
    assert_eq!(carried(&asked), Carried::Restore(word));
}

#[test]
fn a_request_is_the_same_whether_it_was_answered_meanwhile_or_not() {
    let asked = request(Wish::Resume {});
    let mut standing = asked.clone();
    assert!(is_same(&standing, &asked));
    standing.answer = Some("done".to_owned());
    assert!(is_same(&standing, &asked));
    standing.epoch = Epoch(8);
    assert!(!is_same(&standing, &asked));
}

#[test]
fn a_failover_is_carried_as_a_word_about_a_silent_holder_and_not_as_a_wish_to_hand_over() {
    let asked = request(Wish::Failover { to: None, why: "the zone is gone".to_owned() });
    let Carried::Intent(intent) = carried(&asked) else { panic!("an intent") };
    assert!(intent.failover);
    assert_eq!(intent.reason, format!("failover asked by {}: the zone is gone", asked.by));
    assert_eq!((intent.epoch, intent.until, intent.request), (asked.epoch, asked.until, Some(asked.id)));
}
