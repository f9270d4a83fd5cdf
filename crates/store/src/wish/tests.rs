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
fn a_request_is_the_same_whether_it_was_answered_meanwhile_or_not() {
    let asked = request(Wish::Resume {});
    let mut standing = asked.clone();
    assert!(is_same(&standing, &asked));
    standing.answer = Some("done".to_owned());
    assert!(is_same(&standing, &asked));
    standing.epoch = Epoch(8);
    assert!(!is_same(&standing, &asked));
}
