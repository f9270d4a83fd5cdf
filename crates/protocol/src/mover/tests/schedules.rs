//! Single schedules: places that are taken, records that are late, deadlines, and answers that come after the end.

use super::super::*;
use super::paper::{Paper, moved_to_node_2};
use crate::ec2::RouteTarget;
use crate::ids::Epoch;
use crate::resource::{Address, Placement};
use crate::testing::{allocation, arn, association, interface, placement, route};

/// The second private address of node 2.
fn second_place() -> Placement {
    Placement { interface: interface(2), private_ip: std::net::Ipv4Addr::new(10, 0, 2, 11) }
}

/// Node 2 holds epoch 2 with two addresses: the first at its first private address, the second at its second.
fn two_addresses() -> Lease {
    let mut lease = moved_to_node_2();
    let public_ip = std::net::Ipv4Addr::new(198, 51, 100, 2);
    lease.resources.addresses.push(Address { allocation: allocation(2), public_ip });
    lease.members[1].placements.insert(allocation(2), second_place());
    lease
}

fn run_to_end(paper: &mut Paper, mover: &mut Mover, lease: &Lease) -> Progress {
    for _ in 0..500 {
        if mover.progress() != Progress::Moving {
            break;
        }
        paper.round(mover, lease);
    }
    mover.progress()
}

#[test]
fn two_addresses_that_sit_in_each_others_places_are_exchanged() {
    let mut paper = Paper::at_node_1();
    paper.seat(allocation(1), second_place());
    paper.seat(allocation(2), placement(2));
    let observed = paper.run(&two_addresses(), false);
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
    assert_eq!(paper.place(&allocation(2)), Some(second_place()));
    assert_eq!(observed.associations.len(), 2);
}

#[test]
fn an_address_waits_for_its_place_while_another_of_the_move_is_leaving_it() {
    let mut paper = Paper::at_node_1();
    paper.addresses.insert(allocation(1), None);
    paper.seat(allocation(2), placement(2));
    paper.run(&two_addresses(), false);
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
    assert_eq!(paper.place(&allocation(2)), Some(second_place()));
}

#[test]
fn a_place_taken_by_an_address_that_has_no_other_is_told_for_both() {
    let mut paper = Paper::at_node_1();
    let mut lease = two_addresses();
    lease.members[1].placements.remove(&allocation(2));
    paper.seat(allocation(2), placement(2));
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let Progress::Stuck(stuck) = run_to_end(&mut paper, &mut mover, &lease) else { panic!("not stuck") };
    let names: Vec<_> = stuck.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["eipalloc-00000001", "eipalloc-00000002"]);
    assert_eq!(paper.place(&allocation(2)), Some(placement(2)), "it was not evicted");
    assert_eq!(paper.routes[&route(1)], RouteTarget::Interface(interface(2)), "and the routes are there");
}

#[test]
fn nothing_counts_as_moved_for_a_holder_that_is_no_member() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    lease.members.retain(|member| member.instance != arn(2));
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let Progress::Stuck(stuck) = run_to_end(&mut paper, &mut mover, &lease) else { panic!("not stuck") };
    assert_eq!((stuck.len(), paper.calls.len()), (3, 0), "{stuck:?}");
}

/// Epoch 2 never finished; node 2 holds epoch 3.
fn after_an_unfinished_move() -> Lease {
    let mut lease = moved_to_node_2();
    (lease.epoch, lease.moved) = (Epoch(3), Epoch(1));
    lease
}

/// Runs a move for 8 s in which nothing is answered about what it records; returns what it asked to record.
fn run_without_records(paper: &mut Paper, mover: &mut Mover, lease: &Lease) -> Vec<(AllocationId, Mark)> {
    let mut records = Vec::new();
    for _ in 0..400 {
        mover.handle_timer(paper.now);
        paper.pass(Duration::from_millis(20));
        for action in std::iter::from_fn(|| mover.poll_action()).collect::<Vec<_>>() {
            match action {
                Action::RecordRotation(allocation, mark) => records.push((allocation, mark)),
                other => paper.answer(mover, lease, other),
            }
        }
    }
    records
}

#[test]
fn after_an_unfinished_move_nothing_is_ended_or_made_before_it_is_marked() {
    let mut paper = Paper::at_node_1();
    let lease = after_an_unfinished_move();
    let there = paper.seat(allocation(1), placement(2));
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    let records = run_without_records(&mut paper, &mut mover, &lease);
    assert_eq!(records, [(allocation(1), Mark::Ends(there.clone()))]);
    assert_eq!(paper.association(&allocation(1)), Some(there.clone()), "until it is recorded, it stays");
    assert_eq!(mover.progress(), Progress::Moving);
    mover.handle_rotation_recorded(paper.now, &allocation(1), true);
    let records = run_without_records(&mut paper, &mut mover, &lease);
    let made = paper.association(&allocation(1)).expect("associated");
    assert_ne!(made, there);
    assert_eq!(records, [(allocation(1), Mark::Made(made.clone()))], "for others to know it");
    assert_eq!(mover.progress(), Progress::Moving, "until that is recorded as well");
    mover.handle_rotation_recorded(paper.now, &allocation(1), false);
    let records = run_without_records(&mut paper, &mut mover, &lease);
    assert_eq!((records.len(), mover.progress()), (1, Progress::Moving));
    mover.handle_rotation_recorded(paper.now, &allocation(1), true);
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(seen) if seen.associations[&allocation(1)] == made));
}

#[test]
fn a_mark_that_could_not_be_recorded_is_recorded_again_and_nothing_is_ended_or_made() {
    for in_place in [true, false] {
        let mut paper = Paper::at_node_1();
        let lease = after_an_unfinished_move();
        paper.addresses.insert(allocation(1), None);
        let there = in_place.then(|| paper.seat(allocation(1), placement(2)));
        let mark = there.clone().map_or(Mark::Free, Mark::Ends);
        let mut mover = Mover::new(&lease, false, paper.now);
        mover.allow(paper.now, paper.now);
        run_without_records(&mut paper, &mut mover, &lease);
        for _ in 0..3 {
            let guards = paper.guards;
            mover.handle_rotation_recorded(paper.now, &allocation(1), false);
            let records = run_without_records(&mut paper, &mut mover, &lease);
            assert_eq!(records, [(allocation(1), mark.clone())]);
            assert_eq!(paper.association(&allocation(1)), there);
            assert!(paper.guards > guards, "it may have been refused because the epoch is over");
        }
        // Refused for that very reason: the move is nobody's any more.
        mover.handle_rotation_recorded(paper.now, &allocation(1), false);
        let newer = Lease { epoch: Epoch(4), ..lease };
        run_without_records(&mut paper, &mut mover, &newer);
        assert_eq!((mover.progress(), paper.association(&allocation(1))), (Progress::Superseded, there));
    }
}

/// Of two invocations one has seen the address free, and then a late call has put it in place, where the other saw it.
/// Whoever sets the first mark, nothing is ended that the other may count.
#[test]
fn what_one_invocation_has_found_free_and_another_in_place_is_decided_by_the_first_mark() {
    for (free_first, says_done) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut paper = Paper::at_node_1();
        paper.says_done = says_done;
        let mut lease = after_an_unfinished_move();
        paper.addresses.insert(allocation(1), None);
        let mut early = Mover::new(&lease, false, paper.now);
        early.allow(paper.now, paper.now);
        let freely = run_without_records(&mut paper, &mut early, &lease);
        let stranger = paper.seat(allocation(1), placement(2));
        let mut late = Mover::new(&lease, false, paper.now);
        late.allow(paper.now, paper.now);
        let ending = run_without_records(&mut paper, &mut late, &lease);
        assert_eq!(freely, [(allocation(1), Mark::Free)]);
        assert_eq!(ending, [(allocation(1), Mark::Ends(stranger.clone()))]);
        lease.rotated.extend(if free_first { freely } else { ending });
        early.handle_rotation_recorded(paper.now, &allocation(1), free_first);
        late.handle_rotation_recorded(paper.now, &allocation(1), !free_first);
        if free_first {
            // EC2 answers the first with the association that is there, or refuses.
            run_without_records(&mut paper, &mut late, &lease);
            let waiting = run_without_records(&mut paper, &mut early, &lease).is_empty();
            assert_eq!((late.progress(), early.progress()), (Progress::Moving, Progress::Moving));
            assert!(waiting, "the answer is no proof of having made it");
            early.trust_what_is_there(paper.now);
            let ended = run_to_end(&mut paper, &mut early, &lease);
            assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
            assert_eq!(paper.association(&allocation(1)), Some(stranger));
            let ends = |call: &Call| matches!(call, Call::Disassociate { .. });
            assert!(!paper.calls.iter().any(ends), "nobody ends it: {:?}", paper.calls);
        } else {
            // The first gets the same answers, and ends what the other is about to end.
            let ended = run_to_end(&mut paper, &mut early, &lease);
            assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
            let made = paper.association(&allocation(1)).expect("associated");
            assert_ne!(made, stranger);
            lease.rotated.extend(paper.recorded.drain(..));
            let ended = run_to_end(&mut paper, &mut late, &lease);
            assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
            assert_eq!(paper.association(&allocation(1)), Some(made));
        }
    }
}

#[test]
fn no_invocation_ends_what_another_of_its_epoch_has_just_associated() {
    let mut paper = Paper::at_node_1();
    let mut lease = after_an_unfinished_move();
    paper.seat(allocation(1), placement(2));
    let mut first = Mover::new(&lease, false, paper.now);
    first.allow(paper.now, paper.now);
    let mut other = Mover::new(&lease, false, paper.now);
    // The first goes as far as the new association, and no answer to anything reaches it after that.
    while !matches!(paper.calls.last(), Some(Call::Associate { .. })) {
        paper.round(&mut first, &lease);
        lease.rotated.extend(paper.recorded.drain(..));
    }
    let made = paper.association(&allocation(1)).expect("associated");
    other.allow(paper.now, paper.now);
    run_without_records(&mut paper, &mut other, &lease);
    assert_eq!(other.progress(), Progress::Moving, "nobody has said yet who made it");
    assert_eq!(paper.association(&allocation(1)), Some(made.clone()));
    // The first has recorded it by the time the lease is read again.
    lease.rotated.insert(allocation(1), Mark::Made(made.clone()));
    let mut third = Mover::new(&lease, false, paper.now);
    third.allow(paper.now, paper.now);
    let ended = run_to_end(&mut paper, &mut third, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.association(&allocation(1)), Some(made));
}

#[test]
fn a_move_that_was_completed_meanwhile_is_not_rotated() {
    for moved in [2, 3] {
        let mut paper = Paper::at_node_1();
        let mut lease = after_an_unfinished_move();
        let there = paper.seat(allocation(1), placement(2));
        let mut mover = Mover::new(&lease, false, paper.now);
        mover.allow(paper.now, paper.now);
        // Another invocation records the move, or the one before, before this one reads the lease again.
        lease.moved = Epoch(moved);
        run_without_records(&mut paper, &mut mover, &lease);
        // Its own mark is refused, since the other has set one.
        mover.handle_rotation_recorded(paper.now, &allocation(1), false);
        run_without_records(&mut paper, &mut mover, &lease);
        let complete = matches!(mover.progress(), Progress::Complete(_));
        assert_eq!(complete, moved == 3, "one step behind it does not count yet");
        assert_eq!((paper.association(&allocation(1)), paper.recorded.len()), (Some(there), 0), "{moved}");
    }
}

#[test]
fn what_the_grant_was_decided_from_ends_nothing_that_was_recorded_before_its_commit() {
    for known in [false, true] {
        let mut paper = Paper::at_node_1();
        let mut lease = after_an_unfinished_move();
        let there = paper.seat(allocation(1), placement(2));
        if known {
            lease.observed.associations.insert(allocation(1), there.clone());
        }
        // The looks are answered while the grant is still being committed, after a conflict with the record of the last move.
        let mut mover = Mover::new(&lease, false, paper.now);
        for action in std::iter::from_fn(|| mover.poll_action()).collect::<Vec<_>>() {
            paper.answer(&mut mover, &lease, action);
        }
        let sent = paper.now;
        paper.pass(Duration::from_millis(20));
        mover.allow(sent, paper.now);
        let asked: Vec<_> = std::iter::from_fn(|| mover.poll_action()).collect();
        let mark = Action::RecordRotation(allocation(1), Mark::Ends(there.clone()));
        assert!(asked.contains(&mark) && asked.contains(&Action::Guard), "{asked:?}");
        // The mark's answer is there before the guard's.
        paper.pass(Duration::from_millis(10));
        mover.handle_rotation_recorded(paper.now, &allocation(1), true);
        let ends = |action: &Action| matches!(action, Action::Call(Call::Disassociate { .. }));
        assert!(!std::iter::from_fn(|| mover.poll_action()).any(|action| ends(&action)));
        lease.moved = Epoch(2);
        mover.handle_guard(paper.now, Some(&lease));
        run_without_records(&mut paper, &mut mover, &lease);
        assert_eq!(paper.association(&allocation(1)), Some(there));
    }
}

#[test]
fn what_a_first_look_shows_in_place_is_seen_again_when_no_answer_can_be_so_old() {
    // Node 2 held everything before; EC2 shows that time, and then the present.
    let mut before = Paper::at_node_1();
    before.seat(allocation(1), placement(2));
    for n in [1, 2] {
        before.routes.insert(route(n), RouteTarget::Interface(interface(2)));
    }
    let mut paper = Paper::at_node_1();
    for world in [&mut before, &mut paper] {
        world.forwarding.insert(interface(2));
    }
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    let begun = paper.now;
    while paper.now.since(begun) < Duration::from_millis(2_900) {
        mover.handle_timer(paper.now);
        paper.pass(Duration::from_millis(20));
        for action in std::iter::from_fn(|| mover.poll_action()).collect::<Vec<_>>() {
            match action {
                Action::Look(look) => mover.handle_sight(paper.now, &look, Ok(before.look(&look))),
                other => paper.answer(&mut mover, &lease, other),
            }
        }
        assert_eq!(mover.progress(), Progress::Moving, "{:?}", paper.now.since(begun));
    }
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
    assert_eq!(paper.routes[&route(1)], RouteTarget::Interface(interface(2)));
}

#[test]
fn a_first_move_of_what_is_in_place_takes_one_further_look_and_a_second_look_takes_none() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    lease.observed = paper.run(&lease, true);
    let (begun, looks) = (paper.now, paper.looks);
    paper.run(&lease, false);
    assert!(paper.now.since(begun) >= SETTLES_WITHIN, "{:?}", paper.now.since(begun));
    assert_eq!(paper.looks - looks, 2 * 4, "a look in between would tell nothing");
    lease.moved = lease.epoch;
    let begun = paper.now;
    paper.run(&lease, false);
    assert!(paper.now.since(begun) < Duration::from_millis(100), "{:?}", paper.now.since(begun));
}

#[test]
fn what_another_has_put_in_place_one_step_behind_is_neither_ended_nor_counted_until_the_lease_says_so() {
    let mut paper = Paper::at_node_1();
    let mut lease = moved_to_node_2();
    let there = paper.seat(allocation(1), placement(2));
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    run_without_records(&mut paper, &mut mover, &lease);
    assert_eq!(
        (mover.progress(), paper.association(&allocation(1))),
        (Progress::Moving, Some(there.clone())),
        "it may be of an epoch before the last, and a late call of the last may name it"
    );
    assert_eq!(paper.recorded, []);
    lease.moved = lease.epoch;
    let begun = paper.now;
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.association(&allocation(1)), Some(there));
    let took = paper.now.since(begun);
    assert!(took <= Duration::from_millis(3_200), "the lease is read with the next look: {took:?}");
}

#[test]
fn what_another_invocation_has_made_is_not_made_anew() {
    let mut paper = Paper::at_node_1();
    let mut lease = after_an_unfinished_move();
    let there = paper.seat(allocation(1), placement(2));
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    // The other invocation has recorded what it made before this one reads the lease again.
    lease.rotated.insert(allocation(1), Mark::Made(there.clone()));
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.association(&allocation(1)), Some(there));
}

#[test]
fn what_is_in_place_of_an_address_that_was_marked_free_counts_only_when_no_late_call_can_name_it() {
    let mut paper = Paper::at_node_1();
    let mut lease = after_an_unfinished_move();
    let there = paper.seat(allocation(1), placement(2));
    // Another invocation has marked the address as free, by a late answer, and never made an association.
    lease.rotated.insert(allocation(1), Mark::Free);
    let mut mover = Mover::new(&lease, false, paper.now);
    mover.allow(paper.now, paper.now);
    run_without_records(&mut paper, &mut mover, &lease);
    assert_eq!(
        (mover.progress(), paper.association(&allocation(1))),
        (Progress::Moving, Some(there.clone()))
    );
    mover.trust_what_is_there(paper.now);
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.association(&allocation(1)), Some(there));
}

#[test]
fn no_deadline_is_due_while_an_answer_is_awaited() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    assert_eq!(mover.next_deadline(), None, "before the grant nothing is due at all");
    paper.pass(GUARD_LASTS);
    mover.allow(BootTime(0), paper.now);
    let asked: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    assert!(asked.contains(&Action::Guard));
    assert_eq!(mover.next_deadline(), None, "a driver would wait for nothing, again and again");
    for _ in 0..100 {
        mover.handle_timer(paper.now);
        assert_eq!(mover.poll_action(), None);
    }
}

#[test]
fn a_superseded_move_asks_for_nothing_whatever_is_answered_afterwards() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut newer = lease.clone();
    newer.epoch = Epoch(3);
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let asked: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
    paper.pass(GUARD_LASTS);
    let first = |action: &Action| matches!(action, Action::Call(_) | Action::Look(Look::Seats(_)));
    let (now, looks): (Vec<_>, Vec<_>) = asked.into_iter().partition(first);
    for action in now {
        paper.answer(&mut mover, &newer, action);
    }
    let guard = std::iter::from_fn(|| mover.poll_action()).find(|action| *action == Action::Guard);
    paper.answer(&mut mover, &newer, guard.expect("the next call needs a new sight"));
    for action in looks {
        paper.answer(&mut mover, &newer, action);
    }
    mover.handle_timer(paper.now + Duration::from_secs(60));
    assert_eq!(
        (mover.progress(), mover.poll_action(), mover.next_deadline()),
        (Progress::Superseded, None, None)
    );
}

#[test]
fn an_address_that_is_taken_while_it_is_free_is_looked_up_and_won_back() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    paper.round(&mut mover, &lease);
    assert_eq!(paper.place(&allocation(1)), None);
    // A late call of an older move lands just now.
    paper.seat(allocation(1), placement(3));
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
}

#[test]
fn an_answer_older_than_the_last_call_is_not_believed_and_a_lasting_one_is() {
    let mut paper = Paper::at_node_1();
    let lease = moved_to_node_2();
    let old = Paper::at_node_1();
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    let begun = paper.now;
    // EC2 shows the world of before for 2 s.
    while paper.now < begun + Duration::from_secs(2) && mover.progress() == Progress::Moving {
        let actions: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
        paper.pass(Duration::from_millis(20));
        for action in actions {
            match action {
                Action::Look(look) => mover.handle_sight(paper.now, &look, Ok(old.look(&look))),
                other => paper.answer(&mut mover, &lease, other),
            }
        }
        mover.handle_timer(paper.now);
    }
    assert_eq!(mover.progress(), Progress::Moving, "nothing was seen in place");
    let calls = paper.calls.len();
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.calls.len(), calls, "nothing was done twice for it: {:?}", paper.calls);
    // A world that goes on showing it is believed, and mended.
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    paper.seat(allocation(1), placement(1));
    paper.routes.insert(route(1), RouteTarget::Interface(interface(1)));
    run_to_end(&mut paper, &mut mover, &lease);
    assert_eq!(paper.place(&allocation(1)), Some(placement(2)));
    assert_eq!(paper.routes[&route(1)], RouteTarget::Interface(interface(2)));
}

#[test]
fn looks_that_are_denied_block_what_they_show_and_nothing_else() {
    for denied in ["addresses", "seats", "tables", "interfaces"] {
        let mut paper = Paper::at_node_1();
        let lease = moved_to_node_2();
        let mut mover = Mover::new(&lease, false, paper.now);
        mover.allow(paper.now, paper.now);
        for _ in 0..500 {
            if mover.progress() != Progress::Moving {
                break;
            }
            mover.handle_timer(paper.now);
            let actions: Vec<Action> = std::iter::from_fn(|| mover.poll_action()).collect();
            paper.pass(Duration::from_millis(20));
            for action in actions {
                match action {
                    Action::Look(look) if kind(&look) == denied => {
                        let answer = Err(CloudFailure::Denied("UnauthorizedOperation".to_owned()));
                        mover.handle_sight(paper.now, &look, answer);
                    }
                    other => paper.answer(&mut mover, &lease, other),
                }
            }
        }
        let Progress::Stuck(stuck) = mover.progress() else { panic!("{denied}: {:?}", mover.progress()) };
        let expected = if denied == "tables" { 2 } else { 1 };
        assert_eq!(stuck.len(), expected, "{denied}: {stuck:?}");
        assert!(stuck.iter().all(|(_, why)| why.contains("Describe") && why.contains("denied")), "{stuck:?}");
    }
}

fn kind(look: &Look) -> &'static str {
    match look {
        Look::Addresses(_) => "addresses",
        Look::Seats(_) => "seats",
        Look::Tables(_) => "tables",
        Look::Interfaces(_) => "interfaces",
        Look::Subnets(_) => "subnets",
        Look::Instance(_) => "instance",
    }
}

#[test]
fn a_route_that_somebody_makes_in_the_meantime_is_replaced() {
    let mut paper = Paper::at_node_1();
    paper.routes.remove(&route(1));
    let lease = moved_to_node_2();
    let mut mover = Mover::new(&lease, true, paper.now);
    mover.allow(paper.now, paper.now);
    while !paper
        .calls
        .iter()
        .any(|call| matches!(call, Call::ReplaceRoute { route: made, .. } if *made == route(1)))
    {
        paper.round(&mut mover, &lease);
    }
    paper.routes.insert(route(1), RouteTarget::Other("igw-1".to_owned()));
    let ended = run_to_end(&mut paper, &mut mover, &lease);
    assert!(matches!(ended, Progress::Complete(_)), "{ended:?}");
    assert_eq!(paper.routes[&route(1)], RouteTarget::Interface(interface(2)));
    assert_ne!(paper.association(&allocation(1)), Some(association(1)));
}
