//! What a registration makes of each lease that may stand in its place.

use std::collections::BTreeMap;

use baton_protocol::ids::{NodeName, RequestId};
use baton_protocol::lease::{Intent, Mode, Pause};
use baton_protocol::resource::{Observed, Placement, SubnetTables};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;

use super::*;
use crate::testing::{
    allocation, arn, association, cluster, lease, member, registration, resources, roster, uid,
};

fn written(next: Next) -> Lease {
    match next {
        Next::Write(lease) => *lease,
        other => panic!("expected a lease, found {other:?}"),
    }
}

#[test]
fn a_first_registration_is_a_vacant_lease_of_epoch_0() {
    let asked = registration("uid-1");
    let made = Lease {
        epoch: Epoch(0),
        holder: None,
        moved: Epoch(0),
        last_grant: None,
        revision: 1,
        rotated: BTreeMap::new(),
        observed: Observed::default(),
        ..lease()
    };
    assert_eq!(written(register(None, &asked)), made);
}

#[test]
fn a_registration_that_stands_is_done_and_anothers_is_refused() {
    let standing = lease();
    assert_eq!(register(Some(&standing), &registration("uid-1")), Next::Done);
    assert_eq!(register(Some(&standing), &registration("uid-2")), Next::Refused);
}

#[test]
fn a_retired_lease_is_taken_up_with_its_holder_one_epoch_later() {
    let retired = Lease { state: LeaseState::Retired, ..lease() };
    // Whoever registers, the same stack again or another one.
    for text in ["uid-1", "uid-2"] {
        let mut asked = registration(text);
        (asked.mode, asked.timing) = (Mode::Available, Timing::FAST);
        (asked.members, asked.resources) = (vec![member(3)], resources(&[2, 3]));
        let taken_up = Lease {
            uid: uid(text),
            state: LeaseState::Active,
            epoch: Epoch(8),
            mode: Mode::Available,
            timing: Timing::FAST,
            members: vec![member(3)],
            resources: resources(&[2, 3]),
            revision: 4,
            rotated: BTreeMap::new(),
            // Of the address that is the cluster's still.
            observed: Observed {
                associations: BTreeMap::from([(allocation(2), association(2))]),
                ..Observed::default()
            },
            ..lease()
        };
        assert_eq!(written(register(Some(&retired), &asked)), taken_up);
    }
}

#[test]
fn a_registration_after_a_retirement_neither_completes_a_move_nor_reopens_one() {
    for moved in [7, 6, 3] {
        let held = Lease { moved: Epoch(moved), ..lease() };
        let retired = written(retire(Some(&held), &held.uid));
        let again = written(register(Some(&retired), &registration("uid-2")));
        assert_eq!((again.epoch, again.moved), (Epoch(8), Epoch(moved)));
    }
}

#[test]
fn the_epoch_of_a_registration_begins_with_it() {
    let begins = |granted: Option<u64>, at: u64| {
        let held = Lease { last_grant: granted.map(WallTime), ..lease() };
        let retired = written(retire(Some(&held), &held.uid));
        let mut asked = registration("uid-2");
        asked.at = WallTime(at);
        written(register(Some(&retired), &asked)).last_grant
    };
    assert_eq!(begins(Some(500), 900), Some(WallTime(900)));
    assert_eq!(begins(Some(500), 100), Some(WallTime(500)), "a clock that is behind takes nothing back");
    assert_eq!(begins(None, 900), None, "there was no grant");
}

#[test]
fn only_the_registration_that_was_read_is_changed() {
    let asked = registration("uid-1");
    let held = lease();
    let holder = held.holder.clone();
    assert!(matches!(reconfigure(Some(&held), &asked, holder.as_ref()), Next::Write(_)));
    assert_eq!(reconfigure(None, &asked, holder.as_ref()), Next::Refused);
    assert_eq!(reconfigure(Some(&held), &registration("uid-2"), holder.as_ref()), Next::Refused);
    assert_eq!(reconfigure(Some(&held), &asked, Some(&arn(2))), Next::Refused);
    assert_eq!(reconfigure(Some(&held), &asked, None), Next::Refused);
    let from = |revision| Registration { made_from: Some(revision), ..asked.clone() };
    assert!(matches!(reconfigure(Some(&held), &from(held.revision), holder.as_ref()), Next::Write(_)));
    assert_eq!(reconfigure(Some(&held), &from(held.revision + 1), holder.as_ref()), Next::Refused);
    let retired = Lease { state: LeaseState::Retired, ..held };
    assert_eq!(reconfigure(Some(&retired), &asked, holder.as_ref()), Next::Refused);
}

#[test]
fn a_change_of_mode_and_timing_leaves_the_move_complete() {
    let held = lease();
    let mut asked = registration("uid-1");
    (asked.mode, asked.timing) = (Mode::Available, Timing::FAST);
    let next = written(reconfigure(Some(&held), &asked, held.holder.as_ref()));
    assert_eq!(next, Lease { mode: Mode::Available, timing: Timing::FAST, revision: 4, ..held });
}

#[test]
fn who_else_is_a_member_leaves_the_move_complete() {
    for moved in [7, 6, 3] {
        let held = Lease { moved: Epoch(moved), ..lease() };
        let mut asked = registration("uid-1");
        asked.members = vec![member(3), Member { priority: 7, ..member(1) }];
        asked.roster = Some(roster());
        let next = written(reconfigure(Some(&held), &asked, held.holder.as_ref()));
        let expected = Lease {
            members: asked.members.clone(),
            roster: asked.roster.clone(),
            revision: 4,
            rules: 1,
            ..held.clone()
        };
        assert_eq!(next, expected);
        asked.roster = None;
        assert_eq!(written(reconfigure(Some(&next), &asked, held.holder.as_ref())).roster, None);
    }
}

#[test]
fn a_change_of_the_holder_s_place_or_of_resources_reopens_the_move_and_completes_none() {
    let mut members = registration("uid-1");
    members.members[0].interface = member(3).interface;
    let mut seats = registration("uid-1");
    let seat = Placement { interface: member(1).interface, private_ip: [10, 0, 1, 11].into() };
    seats.members[0].placements.insert(allocation(1), seat);
    let mut addresses = registration("uid-1");
    addresses.resources = resources(&[1, 2, 3]);
    for asked in [members, seats, addresses] {
        for (moved, after) in [(7, 6), (6, 6), (3, 3)] {
            let held = Lease { moved: Epoch(moved), ..lease() };
            let next = written(reconfigure(Some(&held), &asked, held.holder.as_ref()));
            let expected = Lease {
                members: asked.members.clone(),
                resources: asked.resources.clone(),
                moved: Epoch(after),
                revision: 4,
                ..held
            };
            assert_eq!(next, expected);
        }
    }
}

#[test]
fn another_name_of_the_holder_reopens_the_move_where_tables_are_prepared_for_names() {
    let name = |text| NodeName::new(text).expect("valid");
    let tables = [(1, member(1).node), (2, name("renamed"))];
    let table = |n| RouteTableId::new(format!("rtb-{n:08x}")).expect("valid");
    let swapped = SubnetTables {
        subnet: SubnetId::new("subnet-00000001").expect("valid"),
        tables: tables.map(|(n, node)| (node, table(n))).into(),
    };
    for (subnets, after) in [(vec![swapped], 6), (vec![], 7)] {
        let mut held = Lease { moved: Epoch(7), ..lease() };
        held.resources.subnets = subnets;
        let mut asked = registration("uid-1");
        asked.resources = held.resources.clone();
        let stays = written(reconfigure(Some(&held), &asked, held.holder.as_ref()));
        assert_eq!(stays.moved, Epoch(7));
        asked.members[0].node = name("renamed");
        let next = written(reconfigure(Some(&held), &asked, held.holder.as_ref()));
        assert_eq!((next.epoch, next.moved), (Epoch(7), Epoch(after)));
    }
}

#[test]
fn a_retirement_keeps_epoch_holder_and_move_and_drops_what_was_wished() {
    let intent = Intent {
        to: None,
        reason: "patching".to_owned(),
        epoch: Epoch(7),
        until: WallTime(900),
        request: Some(RequestId::new("8f14e45f-ceea-467f-a0e6-0123456789ab").expect("valid")),
        failover: false,
        asked: None,
    };
    let pause = Pause { until: WallTime(900), by: "alice".to_owned(), why: String::new() };
    let held = Lease {
        intent: Some(intent),
        paused: Some(pause),
        verify_at: Some(WallTime(800)),
        moved: Epoch(6),
        ..lease()
    };
    let retired =
        Lease { state: LeaseState::Retired, intent: None, paused: None, verify_at: None, ..held.clone() };
    assert_eq!(written(retire(Some(&held), &held.uid)), retired);
    assert_eq!(retire(Some(&retired), &held.uid), Next::Done);
    assert_eq!(retire(Some(&held), &uid("uid-2")), Next::Refused);
    assert_eq!(retire(Some(&retired), &uid("uid-2")), Next::Refused);
    assert_eq!(retire(None, &held.uid), Next::Refused);
}

#[test]
fn the_directory_names_the_instances_of_a_registration() {
    let instances = vec![arn(1).instance_id(), arn(2).instance_id()];
    let mut asked = registration("uid-1");
    assert_eq!(entry(&asked), Entry { cluster: cluster(), instances: instances.clone(), group: None });
    asked.roster = Some(roster());
    assert_eq!(entry(&asked), Entry { cluster: cluster(), instances, group: Some("nat".to_owned()) });
}

#[test]
fn what_is_made_from_a_lease_stands_in_it_and_knows_its_revision() {
    let found = lease();
    let made = Registration::of(&found, WallTime(9), registration("uid-1").event);
    assert!(made.stands_in(&found));
    assert_eq!((made.made_from, &made.uid), (Some(found.revision), &found.uid));
}

#[test]
fn a_lease_that_asks_for_rules_of_a_newer_version_is_not_changed() {
    let found = Lease { rules: baton_protocol::rules::RULES + 1, ..lease() };
    let asked = Registration { uid: found.uid.clone(), ..registration("uid-1") };
    assert_eq!(reconfigure(Some(&found), &asked, found.holder.as_ref()), Next::Refused);
    let found = Lease { rules: baton_protocol::rules::RULES, ..found };
    assert!(matches!(reconfigure(Some(&found), &asked, found.holder.as_ref()), Next::Write(_)));
}
