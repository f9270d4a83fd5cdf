use baton_protocol::history::Evidence;
use baton_protocol::ids::RequestId;
use baton_protocol::lease::Intent;
use baton_protocol::time::WallTime;

use super::*;
use crate::testing::{NOW, arn, name, request, snapshot};

/// The cluster just after the request: the intent stands.
fn asked(request: &Request) -> Snapshot {
    let mut looked = snapshot();
    looked.lease.intent = Some(Intent {
        to: Some(arn('b')),
        reason: "tested".to_owned(),
        epoch: request.epoch,
        until: request.until,
        request: Some(request.id.clone()),
        failover: false,
        asked: None,
    });
    looked
}

/// The cluster after a grant of epoch 8.
fn granted(to: char) -> Snapshot {
    let mut looked = snapshot();
    looked.lease.epoch = Epoch(8);
    looked.lease.holder = Some(arn(to));
    looked
}

fn row(to: char, ground: Ground, request: Option<RequestId>) -> Event {
    Event {
        cluster: name("orders"),
        epoch: Epoch(8),
        at: NOW,
        by: "arbiter".to_owned(),
        what: Happening::Granted {
            from: Some(arn('a')),
            to: arn(to),
            ground,
            reason: "tested".to_owned(),
            evidence: Evidence { request, ..Evidence::default() },
        },
    }
}

fn stages(handover: &Handover<'_>) -> Vec<Stage> {
    handover.seen().iter().map(|transition| transition.stage).collect()
}

#[test]
fn a_hand_over_is_done_when_the_next_holder_serves_and_the_addresses_are_at_it() {
    let request = request(Some('b'));
    let from = arn('a');
    let mut handover = Handover::new(&request, &from);
    assert_eq!(handover.observe(&asked(&request), None), Standing::UnderWay);

    let mut looked = asked(&request);
    looked.beat('a').released = Epoch(7);
    looked.at = WallTime(NOW.0 + 1_200);
    assert_eq!(handover.observe(&looked, None), Standing::UnderWay);

    let mut looked = granted('b');
    assert!(handover.needs_grant(&looked.lease));
    assert_eq!(
        handover.observe(&looked, None),
        Standing::UnderWay,
        "nothing is concluded without the history"
    );
    let row = row('b', Ground::Release, Some(request.id.clone()));
    assert_eq!(handover.observe(&looked, Some(&row)), Standing::UnderWay);
    assert!(!handover.needs_grant(&looked.lease));

    looked.lease.moved = Epoch(8);
    assert_eq!(handover.observe(&looked, None), Standing::UnderWay, "nobody serves yet");
    looked.beat('b').serving_epoch = Some(Epoch(8));
    assert_eq!(handover.observe(&looked, None), Standing::Done);
    assert_eq!(stages(&handover), [Stage::Released, Stage::Granted, Stage::Verified, Stage::Serving]);
    assert_eq!(handover.seen()[0].line(), "  +1.2s  released by db-a (epoch 7)");
}

#[test]
fn serving_at_an_earlier_epoch_or_unverified_addresses_are_not_the_end() {
    let request = request(None);
    let from = arn('a');
    let mut handover = Handover::new(&request, &from);
    let mut looked = granted('b');
    looked.beat('b').serving_epoch = Some(Epoch(7));
    let row = row('b', Ground::Release, Some(request.id.clone()));
    assert_eq!(handover.observe(&looked, Some(&row)), Standing::UnderWay);
    looked.beat('b').serving_epoch = Some(Epoch(8));
    assert_eq!(handover.observe(&looked, None), Standing::UnderWay);
    assert_eq!(stages(&handover), [Stage::Granted, Stage::Serving]);
}

#[test]
fn a_grant_to_another_node_for_another_ground_or_by_another_request_is_lost() {
    let request = request(Some('b'));
    let from = arn('a');
    for (to, row, why) in [
        ('c', row('c', Ground::Release, None), "the lease was granted to db-c at epoch 8"),
        ('b', row('b', Ground::Silence, None), "db-b holds the lease by silence, not by this request"),
        ('b', row('b', Ground::Release, Some(name("other"))), "db-b holds the lease by request other"),
    ] {
        let mut handover = Handover::new(&request, &from);
        assert_eq!(handover.observe(&granted(to), Some(&row)), Standing::Lost(why.to_owned()));
        assert_eq!(stages(&handover), []);
    }
}

#[test]
fn a_release_that_names_no_request_is_taken_for_this_one() {
    let request = request(Some('b'));
    let from = arn('a');
    let mut handover = Handover::new(&request, &from);
    let row = row('b', Ground::Release, None);
    assert_eq!(handover.observe(&granted('b'), Some(&row)), Standing::UnderWay);
    assert_eq!(stages(&handover), [Stage::Granted]);
}

#[test]
fn a_lease_that_moved_on_twice_is_lost() {
    let request = request(Some('b'));
    let from = arn('a');
    let mut looked = granted('a');
    looked.lease.epoch = Epoch(9);
    let mut handover = Handover::new(&request, &from);
    let lost = Standing::Lost("the lease moved on to db-a at epoch 9 meanwhile".to_owned());
    assert_eq!(handover.observe(&looked, None), lost);
}

#[test]
fn a_request_that_ends_is_withdrawn_or_is_replaced_ends_the_wait() {
    let request = request(Some('b'));
    let from = arn('a');
    let mut handover = Handover::new(&request, &from);
    let mut looked = asked(&request);
    looked.at = WallTime(request.until.0 - 1);
    assert_eq!(handover.observe(&looked, None), Standing::UnderWay);
    looked.at = request.until;
    let ended = "the request ended at 2026-09-21T14:15:20Z and the holder had not obeyed it";
    assert_eq!(handover.observe(&looked, None), Standing::Ended(ended.to_owned()));

    let mut looked = asked(&request);
    looked.lease.intent = looked.lease.intent.map(|intent| Intent { request: Some(name("other")), ..intent });
    let lost = format!("request other took the place of request {}", request.id);
    assert_eq!(handover.observe(&looked, None), Standing::Lost(lost));

    looked.lease.intent = None;
    assert!(matches!(handover.observe(&looked, None), Standing::Ended(why) if why.contains("withdrawn")));
}

#[test]
fn once_released_the_end_of_the_request_ends_nothing() {
    let request = request(Some('b'));
    let from = arn('a');
    let mut handover = Handover::new(&request, &from);
    let mut looked = asked(&request);
    looked.beat('a').released = Epoch(7);
    looked.at = WallTime(request.until.0 + 5_000);
    assert_eq!(handover.observe(&looked, None), Standing::UnderWay);
}

#[test]
fn a_retired_registration_ends_the_wait() {
    let request = request(Some('b'));
    let from = arn('a');
    let mut looked = asked(&request);
    looked.lease.state = LeaseState::Retired;
    let mut handover = Handover::new(&request, &from);
    assert_eq!(handover.observe(&looked, None), Standing::Lost("the registration was retired".to_owned()));
}
