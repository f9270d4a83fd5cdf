//! Moves in a small world of paper: what is called, in which order, and where everything is in the end.

mod answers;
mod chaos;
mod late;
mod looks;
mod paper;
mod schedules;
mod swap;

use std::time::Duration;

use super::*;
use crate::ec2::RouteTarget;
use crate::ids::Epoch;
use crate::lease::LeaseState;
use crate::resource::{Address, Placement};
use crate::testing::{allocation, association, interface, placement, route, table};
use paper::{Paper, moved_to_node_2};

fn complete(paper: &Paper, mover: &Mover) -> Observed {
    match mover.progress() {
        Progress::Complete(observed) => observed,
        other => panic!("expected a complete move, found {other:?}; calls were {:?}", paper.calls),
    }
}

fn actions(paper: &Paper) -> Vec<&'static str> {
    paper.calls.iter().map(Call::action).collect()
}

#[test]
fn a_move_after_a_verified_one_takes_two_calls_in_a_row_whatever_the_number_of_resources() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    let node = lease.members[1].clone();
    let mut places = node.placements.clone();
    lease.resources.addresses.clear();
    lease.resources.routes.clear();
    for n in 1..=9 {
        let address =
            Address { allocation: allocation(n), public_ip: std::net::Ipv4Addr::new(198, 51, 100, n) };
        let here = Placement { interface: interface(2), private_ip: std::net::Ipv4Addr::new(10, 0, 2, n) };
        let there = Placement { interface: interface(1), private_ip: std::net::Ipv4Addr::new(10, 0, 1, n) };
        let held = paper.seat(allocation(n), there);
        lease.observed.associations.insert(allocation(n), held);
        places.insert(allocation(n), here);
        lease.resources.addresses.push(address);
        lease.resources.routes.push(route(n));
        paper.routes.insert(route(n), RouteTarget::Interface(interface(1)));
    }
    lease.members[1].placements = places;
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    // Rounds in which calls are made: everything that can go at once goes at once.
    let mut rounds = Vec::new();
    while mover.progress() == Progress::Moving {
        let before = paper.calls.len();
        paper.round(&mut mover, &lease);
        if paper.calls.len() > before {
            rounds.push(paper.calls.len() - before);
        }
    }
    complete(&paper, &mover);
    assert_eq!(
        rounds,
        [9 + 9, 1 + 9],
        "disassociations and routes; then associations, and forwarding once looked up"
    );
}

#[test]
fn no_call_is_made_before_the_grant_is_committed_and_looks_are() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    for _ in 0..10 {
        paper.round(&mut mover, &lease);
    }
    assert_eq!(paper.calls, []);
    assert_eq!(paper.looks, 4, "addresses, seats, tables, interfaces, once each");
    assert_eq!(mover.progress(), Progress::Moving);
}

#[test]
fn a_call_needs_a_sight_of_the_lease_not_older_than_half_a_second() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    let seen = paper.now;
    paper.pass(GUARD_LASTS);
    mover.allow(seen, paper.now);
    let first: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    assert!(
        first.contains(&Action::Guard) && !first.iter().any(|action| matches!(action, Action::Call(_))),
        "{first:?}"
    );
    mover.handle_guard(paper.now, Some(&lease));
    assert!(matches!(mover.poll_action(), Some(Action::Call(_))));
}

#[test]
fn a_move_stops_at_once_where_the_lease_is_not_its_own_any_more() {
    for other in ["epoch", "revision", "retired"] {
        let mut paper = Paper::at_node_1();
        let lease = moved_to_node_2();
        let mut mover = Mover::new(&lease, true, paper.now);
        paper.pass(GUARD_LASTS);
        mover.allow(BootTime(0), paper.now);
        let mut now = lease.clone();
        match other {
            "epoch" => now.epoch = now.epoch.next(),
            "revision" => now.revision += 1,
            _ => now.state = LeaseState::Retired,
        }
        while mover.progress() == Progress::Moving {
            paper.round(&mut mover, &now);
        }
        assert_eq!((mover.progress(), paper.calls.len()), (Progress::Superseded, 0), "{other}");
    }
}

#[test]
fn an_unreadable_lease_allows_nothing_and_is_asked_again() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    paper.pass(GUARD_LASTS);
    mover.allow(BootTime(0), paper.now);
    paper.lease_unreadable = 3;
    while mover.progress() == Progress::Moving {
        paper.round(&mut mover, &lease);
    }
    assert_eq!(paper.guards, 4);
    complete(&paper, &mover);
}

#[test]
fn an_expected_association_that_has_ended_is_looked_up() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    lease.observed.associations.insert(allocation(1), association(9));
    let observed = paper.run(&lease, true);
    assert_eq!(observed.associations.get(&allocation(1)), paper.association(&allocation(1)).as_ref());
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
}

#[test]
fn what_is_in_place_is_left_alone() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    paper.run(&lease, true);
    let before = paper.calls.len();
    lease.moved = lease.epoch;
    paper.run(&lease, false);
    assert_eq!(paper.calls.len(), before, "{:?}", actions(&paper));
}

#[test]
fn after_an_unfinished_move_an_association_is_made_anew_once_and_recorded_first() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    // Epoch 2 never finished; epoch 3 finds the address in place by a call of anybody.
    lease.epoch = Epoch(3);
    lease.moved = Epoch(1);
    let stale = paper.seat(allocation(1), placement(2));
    let observed = paper.run(&lease, false);
    let renewed = paper.association(&allocation(1)).expect("associated");
    assert_ne!(renewed, stale);
    assert_eq!(
        paper.recorded,
        [(allocation(1), Mark::Ends(stale)), (allocation(1), Mark::Made(renewed.clone()))],
        "ended, and then made"
    );
    assert_eq!(observed.associations[&allocation(1)], renewed);
    // Whoever takes the move up again finds it recorded, and does not bounce the address.
    lease.rotated.insert(allocation(1), Mark::Made(renewed.clone()));
    let calls = paper.calls.len();
    paper.run(&lease, false);
    assert_eq!((paper.calls.len(), paper.association(&allocation(1))), (calls, Some(renewed)));
}

#[test]
fn a_missing_declared_route_is_created() {
    let mut paper = Paper::at_node_1();
    paper.routes.remove(&route(2));
    paper.run(&moved_to_node_2(), true);
    assert_eq!(paper.routes[&route(2)], RouteTarget::Interface(interface(2)));
    assert!(actions(&paper).contains(&"CreateRoute"));
}

#[test]
fn a_route_that_may_not_be_taken_from_a_gateway_is_seen_before_it_is_turned() {
    let mut lease = moved_to_node_2();
    lease.resources.from_gateways.clear();
    let mut paper = Paper::at_node_1();
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let first: Vec<_> = std::iter::from_fn(|| mover.poll_action()).collect();
    assert!(
        !first.iter().any(|action| matches!(action, Action::Call(Call::ReplaceRoute { .. }))),
        "{first:?}"
    );
    paper.run(&lease, true);
    assert_eq!(paper.routes[&route(1)], RouteTarget::Interface(interface(2)));
    // One of them leads to a gateway: it stays there, and the rest moves.
    let mut paper = Paper::at_node_1();
    let gateway = RouteTarget::Other("nat-1".to_owned());
    paper.routes.insert(route(1), gateway.clone());
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    while mover.progress() == Progress::Moving {
        paper.round(&mut mover, &lease);
    }
    let Progress::Stuck(stuck) = mover.progress() else { panic!("{:?}", mover.progress()) };
    assert!(stuck.len() == 1 && stuck[0].1.contains("leads to nat-1"), "{stuck:?}");
    assert_eq!(
        (&paper.routes[&route(1)], &paper.routes[&route(2)]),
        (&gateway, &RouteTarget::Interface(interface(2)))
    );
}

#[test]
fn what_cannot_be_moved_is_told_and_the_rest_moves() {
    type Break = fn(&mut Paper);
    let cases: [(&str, Break); 4] = [
        ("eipalloc-00000001", |paper| {
            paper.seat(allocation(9), placement(2));
        }),
        ("eipalloc-00000001", |paper| {
            paper.addresses.remove(&allocation(1));
        }),
        ("rtb-00000002", |paper| {
            paper.tables.remove(&table(2));
        }),
        ("rtb-00000001", |paper| paper.denied = Some(route(1))),
    ];
    for (broken, how) in cases {
        let mut paper = Paper::at_node_1();
        how(&mut paper);
        let lease = moved_to_node_2();
        let mut mover = Mover::new(&lease, true, paper.now);
        mover.allow(paper.now, paper.now);
        while mover.progress() == Progress::Moving {
            paper.round(&mut mover, &lease);
        }
        let Progress::Stuck(stuck) = mover.progress() else { panic!("expected {broken} to be stuck") };
        assert_eq!(stuck.len(), 1, "{stuck:?}");
        assert!(stuck[0].0.contains(broken), "{stuck:?}");
        let moved =
            paper.routes.iter().filter(|(_, to)| **to == RouteTarget::Interface(interface(2))).count();
        let at_target = paper.place(&allocation(1)) == Some(placement(2));
        assert_eq!(moved + usize::from(at_target), 2, "the other two are there, {broken}");
        let foreign = paper.place(&allocation(9));
        assert!(foreign.is_none_or(|place| place == placement(2)), "the foreign address sits where it sat");
    }
}

#[test]
fn a_throttled_call_is_made_again_later_each_time_and_nothing_else_waits() {
    let mut paper = Paper::at_node_1();
    paper.throttle = 5;
    let begun = paper.now;
    paper.run(&moved_to_node_2(), true);
    assert!(paper.now.since(begun) >= Duration::from_millis(100));
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
}

#[test]
fn several_interfaces_of_a_node_are_looked_at_and_each_gets_what_belongs_there() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    let place = |n: u8, last| Placement {
        interface: interface(n),
        private_ip: std::net::Ipv4Addr::new(10, 0, n, last),
    };
    // The first address goes to a second address of the first interface, the other one to the interface of the routes.
    let address = Address { allocation: allocation(2), public_ip: std::net::Ipv4Addr::new(198, 51, 100, 2) };
    lease.resources.addresses.push(address);
    let places = [(allocation(1), place(2, 11)), (allocation(2), place(6, 10))];
    lease.members[1].placements = places.clone().into();
    lease.members[1].interface = interface(6);
    let held = paper.seat(allocation(2), place(5, 10));
    lease.observed.associations.insert(allocation(2), held);
    let mut mover = Mover::new(&lease, true, paper.now);
    let asked: Vec<_> = std::iter::from_fn(|| mover.poll_action()).collect();
    let seats = Look::Seats(vec![interface(2), interface(6)]);
    assert!(asked.contains(&Action::Look(seats)), "{asked:?}");
    assert!(asked.contains(&Action::Look(Look::Interfaces(vec![interface(6)]))), "{asked:?}");

    paper.run(&lease, true);
    for (allocation, place) in places {
        assert_eq!(paper.place(&allocation), Some(place));
    }
    assert!(paper.routes.values().all(|target| *target == RouteTarget::Interface(interface(6))));
    assert!(paper.calls.contains(&Call::DisableSourceDestCheck { interface: interface(6) }));
    assert!(!paper.calls.contains(&Call::DisableSourceDestCheck { interface: interface(2) }));
}
