//! One resource and the answers about it: what is believed, what is taken for older than the last call, and how long a call
//! waits.

use std::collections::BTreeMap;

use super::super::item::{self, Completed, Item};
use super::super::*;
use super::paper::moved_to_node_2;
use crate::ec2::{AddressSeen, InterfaceSeen, RouteSeen, RouteTarget};
use crate::ids::AssociationId;
use crate::resource::Placement;
use crate::testing::{allocation, association, interface, placement, route, table};

fn at(ms: u64) -> BootTime {
    BootTime(ms * 1_000_000)
}

/// The address, the first route and the forwarding of a lease.
fn items(lease: &Lease, eager: bool) -> (Item, Item, Item) {
    let mut items = item::for_lease(lease, eager).into_iter();
    let mut next = || items.next().expect("an item");
    let (address, first, _, forwarding) = (next(), next(), next(), next());
    (address, first, forwarding)
}

/// Epoch 3 at node 2, after epoch 2 was never completed.
fn after_an_unfinished_move() -> Lease {
    Lease { epoch: Epoch(3), moved: Epoch(1), ..moved_to_node_2() }
}

fn sits(n: u8, place: Placement) -> Sight {
    address_seen(Some((association(n), Some(place))))
}

fn address_seen(association: Option<(AssociationId, Option<Placement>)>) -> Sight {
    let public_ip = std::net::Ipv4Addr::new(198, 51, 100, 1);
    Sight::Addresses([(allocation(1), AddressSeen { public_ip, association })].into())
}

fn leads(to: u8) -> Sight {
    let target = RouteTarget::Interface(interface(to));
    let row = RouteSeen { destination: route(1).destination, target, blackhole: false };
    Sight::Tables([(table(1), vec![row])].into())
}

fn forwards(source_dest_check: bool) -> Sight {
    Sight::Interfaces([(interface(2), InterfaceSeen { source_dest_check, instance: None })].into())
}

/// Draws the next call and makes it, with a sight of the lease of this moment.
fn call(item: &mut Item, now: BootTime) -> Call {
    plan(item, now);
    item.take_call(now, now).expect("a call")
}

fn plan(item: &mut Item, now: BootTime) {
    item.plan(Some(&Seats { leaving: Vec::new(), staying: Vec::new() }), None, now);
}

/// The address, let go and associated by this move at 1 s as association 8.
fn associated() -> Item {
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.learn(&sits(1, placement(1)), at(0), at(100));
    let released = call(&mut address, at(100));
    address.conclude(&released, Ok(Effect::Done), at(200));
    let made = call(&mut address, at(200));
    address.conclude(&made, Ok(Effect::Associated(association(8))), at(1_000));
    assert!(!address.is_settled(), "until others can know it");
    assert_eq!(address.take_mark(at(1_000)), Some((allocation(1), Mark::Made(association(8)))));
    address.rotation_recorded(&allocation(1), true, at(1_000));
    address
}

/// The first route, replaced by this move at 1 s.
fn replaced() -> Item {
    let (_, mut first, _) = items(&moved_to_node_2(), false);
    first.learn(&leads(1), at(0), at(100));
    let made = call(&mut first, at(100));
    first.conclude(&made, Ok(Effect::Done), at(1_000));
    first
}

#[test]
fn a_look_that_was_asked_before_the_last_effect_confirms_nothing() {
    let mut first = replaced();
    first.learn(&leads(2), at(999), at(1_100));
    assert!(first.is_settled() && !first.is_confirmed());
    first.learn(&leads(2), at(1_000), at(1_100));
    assert!(first.is_confirmed());
}

#[test]
fn a_route_that_is_not_shown_at_once_is_waited_for_and_a_lasting_sight_is_believed() {
    let mut first = replaced();
    first.learn(&leads(1), at(1_001), at(3_999));
    assert!(first.is_settled() && !first.is_confirmed());
    first.learn(&leads(1), at(1_001), at(4_000));
    assert!(!first.is_settled());
    assert_eq!(call(&mut first, at(4_000)).action(), "ReplaceRoute");
}

#[test]
fn forwarding_that_is_not_shown_at_once_is_waited_for_and_a_lasting_sight_is_believed() {
    let (.., mut forwarding) = items(&moved_to_node_2(), false);
    forwarding.learn(&forwards(true), at(0), at(100));
    let made = call(&mut forwarding, at(100));
    forwarding.conclude(&made, Ok(Effect::Done), at(1_000));
    forwarding.learn(&forwards(true), at(1_001), at(1_500));
    assert!(forwarding.is_settled() && !forwarding.is_confirmed());
    forwarding.learn(&forwards(false), at(1_001), at(1_600));
    assert!(forwarding.is_confirmed());
    forwarding.learn(&forwards(true), at(4_000), at(4_100));
    assert!(!forwarding.is_settled());
}

#[test]
fn an_association_of_another_is_believed_only_when_no_answer_can_be_so_old() {
    let mut address = associated();
    address.learn(&sits(9, placement(2)), at(1_001), at(1_500));
    assert_eq!(
        (address.association(), address.is_confirmed()),
        (Some((allocation(1), association(8))), false)
    );
    address.learn(&sits(8, placement(2)), at(1_001), at(1_500));
    assert!(address.is_confirmed());
    address.learn(&sits(9, placement(2)), at(4_000), at(4_100));
    assert_eq!(address.association(), Some((allocation(1), association(9))));
}

#[test]
fn an_association_that_this_move_has_ended_is_believed_at_no_time() {
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.learn(&sits(1, placement(1)), at(0), at(100));
    let released = call(&mut address, at(100));
    address.conclude(&released, Ok(Effect::Done), at(200));
    address.learn(&sits(1, placement(1)), at(60_000), at(60_000));
    assert_eq!(address.association(), None);
}

#[test]
fn nothing_is_learnt_of_what_is_being_called_for_or_was_given_up() {
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.learn(&sits(1, placement(1)), at(0), at(100));
    call(&mut address, at(100));
    address.learn(&sits(7, placement(3)), at(200), at(300));
    assert_eq!(address.association(), Some((allocation(1), association(1))));
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.cannot_be_seen(&Look::Addresses(vec![allocation(1)]), "denied");
    address.learn(&sits(7, placement(3)), at(200), at(300));
    assert_eq!(address.association(), None);
}

#[test]
fn what_ec2_does_not_know_blocks_unless_a_call_has_just_made_it() {
    let nothing = Sight::Addresses(BTreeMap::new());
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.learn(&nothing, at(0), at(100));
    assert!(address.blocked().is_some());
    let mut address = associated();
    address.learn(&nothing, at(1_001), at(3_999));
    assert_eq!(address.blocked(), None);
    address.learn(&nothing, at(1_001), at(4_000));
    assert!(address.blocked().is_some());
}

#[test]
fn a_call_that_failed_waits_100_ms_and_twice_as_long_each_time() {
    let (_, mut first, _) = items(&moved_to_node_2(), false);
    first.learn(&leads(1), at(0), at(100));
    plan(&mut first, at(100));
    assert_eq!(first.waits_until(), Some(at(100)));
    let mut now = 100;
    for wait in [100, 200, 400, 800] {
        let made = first.take_call(at(now), at(now)).expect("a call");
        assert_eq!(first.waits_until(), None, "it is under way");
        first.conclude(&made, Err(CloudFailure::Throttled), at(now));
        assert_eq!(first.waits_until(), Some(at(now + wait)));
        assert!(!first.is_ready(at(now + wait - 1)));
        now += wait;
    }
    first.wait_at_least_until(at(now + 50));
    assert_eq!(first.waits_until(), Some(at(now + 50)));
    first.wait_at_least_until(at(now));
    assert_eq!(first.waits_until(), Some(at(now + 50)), "never sooner");
}

#[test]
fn an_association_that_a_look_has_shown_is_ended_only_after_a_read_of_the_lease_from_then_on() {
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.learn(&sits(7, placement(1)), at(900), at(1_000));
    plan(&mut address, at(1_000));
    assert_eq!(address.take_call(at(999), at(1_001)), None);
    assert!(address.take_call(at(1_000), at(1_001)).is_some());
    // The one that the last verified move has left is older than this epoch.
    let (mut address, ..) = items(&moved_to_node_2(), false);
    address.learn(&sits(1, placement(1)), at(900), at(1_000));
    plan(&mut address, at(1_000));
    assert!(address.take_call(at(0), at(1_001)).is_some());
}

#[test]
fn an_item_is_blind_until_it_was_seen_or_has_a_call_to_make() {
    let (address, first, forwarding) = items(&moved_to_node_2(), false);
    assert!(address.is_blind() && first.is_blind() && forwarding.is_blind());
    let (mut address, mut first, _) = items(&moved_to_node_2(), true);
    for item in [&mut address, &mut first] {
        assert!(!item.is_blind(), "the last verified move tells what to call");
        plan(item, at(0));
        assert!(!item.is_blind());
        item.take_call(at(0), at(0)).expect("a call");
        assert!(!item.is_blind());
    }
    let (mut address, mut first, mut forwarding) = items(&moved_to_node_2(), false);
    address.learn(&sits(1, placement(1)), at(0), at(100));
    first.learn(&leads(1), at(0), at(100));
    forwarding.cannot_be_seen(&Look::Interfaces(vec![interface(2)]), "denied");
    assert!(!address.is_blind() && !first.is_blind() && !forwarding.is_blind());
}

#[test]
fn an_association_in_place_is_spared_only_where_it_is_known_to_be_of_this_epoch() {
    let in_place = || {
        let (mut address, ..) = items(&after_an_unfinished_move(), false);
        address.learn(&sits(7, placement(2)), at(0), at(100));
        plan(&mut address, at(100));
        assert!(address.waits_until().is_some(), "it is to be made anew");
        address
    };
    let mut unknown = in_place();
    unknown.note_recorded(&BTreeMap::new(), Completed::No);
    assert!(unknown.waits_until().is_some());
    for (mark, renews) in [
        (Mark::Ends(association(7)), true),
        (Mark::Ends(association(5)), false),
        (Mark::Free, false),
        (Mark::Made(association(5)), false),
        (Mark::Made(association(7)), false),
    ] {
        let mut address = in_place();
        address.note_recorded(&[(allocation(1), mark.clone())].into(), Completed::No);
        assert_eq!(address.waits_until().is_some(), renews, "{mark:?}");
        plan(&mut address, at(200));
        let made = mark == Mark::Made(association(7));
        assert_eq!((address.is_settled(), address.waits_for_word()), (made, !renews && !made), "{mark:?}");
    }
    for completed in [Completed::Last, Completed::This] {
        let mut address = in_place();
        address.note_recorded(&BTreeMap::new(), completed);
        assert_eq!(address.waits_until(), None, "{completed:?}");
    }
    // A free address is associated, whoever has freed it.
    let (mut free, ..) = items(&after_an_unfinished_move(), false);
    free.learn(&address_seen(None), at(0), at(100));
    plan(&mut free, at(100));
    free.note_recorded(&[(allocation(1), Mark::Made(association(5)))].into(), Completed::No);
    assert_eq!(free.waits_until(), Some(at(100)));
}

/// The address after an unfinished move, free by this move's own call, and its association asked for at 200 ms.
fn freed_and_called_for(mark: Mark, place: Placement) -> (Item, Call) {
    let (mut address, ..) = items(&after_an_unfinished_move(), false);
    address.note_recorded(&[(allocation(1), mark)].into(), Completed::No);
    address.learn(&sits(7, place), at(0), at(100));
    let end = call(&mut address, at(100));
    address.conclude(&end, Ok(Effect::Done), at(200));
    let associate = call(&mut address, at(200));
    (address, associate)
}

#[test]
fn an_answer_that_names_what_is_to_be_ended_is_no_proof_of_having_made_it() {
    for (answer, made) in [(7, false), (8, true)] {
        let (mut address, associate) = freed_and_called_for(Mark::Ends(association(7)), placement(2));
        address.conclude(&associate, Ok(Effect::Associated(association(answer))), at(300));
        plan(&mut address, at(300));
        let record = address.take_mark(at(300));
        assert_eq!(record, made.then(|| (allocation(1), Mark::Made(association(8)))));
        let next = address.take_call(at(300), at(300)).map(|call| call.action());
        assert_eq!(next, (!made).then_some("DisassociateAddress"));
    }
}

#[test]
fn an_answer_about_an_address_that_was_only_seen_free_is_no_proof_after_an_unfinished_move() {
    for (lease, proof) in [(after_an_unfinished_move(), false), (moved_to_node_2(), true)] {
        let (mut address, ..) = items(&lease, false);
        address.note_recorded(&[(allocation(1), Mark::Free)].into(), Completed::No);
        address.learn(&address_seen(None), at(0), at(100));
        let associate = call(&mut address, at(100));
        address.conclude(&associate, Ok(Effect::Associated(association(8))), at(200));
        plan(&mut address, at(200));
        assert_eq!(address.take_mark(at(200)).is_some(), proof);
        assert_eq!((address.waits_for_word(), address.waits_until().is_some()), (!proof, false));
    }
}

#[test]
fn what_this_move_has_made_it_knows_best_until_that_is_recorded() {
    let (mut address, associate) = freed_and_called_for(Mark::Free, placement(1));
    address.conclude(&associate, Ok(Effect::Associated(association(8))), at(300));
    address.note_recorded(&[(allocation(1), Mark::Made(association(5)))].into(), Completed::No);
    assert_eq!(address.take_mark(at(300)), Some((allocation(1), Mark::Made(association(8)))));
}

#[test]
fn an_association_elsewhere_is_ended_without_a_mark_and_the_free_address_is_marked_then() {
    let (mut address, ..) = items(&after_an_unfinished_move(), false);
    address.learn(&sits(7, placement(1)), at(0), at(100));
    plan(&mut address, at(100));
    assert_eq!(address.take_mark(at(100)), None);
    let end = address.take_call(at(100), at(100)).expect("a call");
    assert_eq!(end.action(), "DisassociateAddress");
    address.conclude(&end, Ok(Effect::Done), at(200));
    plan(&mut address, at(200));
    assert_eq!(address.take_mark(at(200)), Some((allocation(1), Mark::Free)));
}

#[test]
fn what_was_verified_is_seen_twice_unless_another_has_recorded_this_very_move() {
    let verified = |completed| {
        let (mut address, ..) = items(&moved_to_node_2(), false);
        address.note_recorded(&BTreeMap::new(), completed);
        address.learn(&sits(1, placement(2)), at(0), at(100));
        plan(&mut address, at(100));
        (address.is_settled(), address.is_confirmed())
    };
    assert_eq!(verified(Completed::No), (true, false));
    assert_eq!(verified(Completed::Last), (true, false));
    assert_eq!(verified(Completed::This), (true, true));
}

#[test]
fn what_is_marked_to_be_ended_is_ended_whenever_and_anything_else_is_trusted_in_time() {
    for (id, renews) in [(7, true), (6, false)] {
        let (mut address, ..) = items(&after_an_unfinished_move(), false);
        address.note_recorded(&[(allocation(1), Mark::Ends(association(7)))].into(), Completed::No);
        address.learn(&sits(id, placement(2)), at(0), at(100));
        address.trust_what_is_there();
        plan(&mut address, at(100));
        assert_eq!((address.waits_until().is_some(), address.is_settled()), (renews, !renews), "{id}");
    }
    // Without a mark another invocation may still come to end it.
    let (mut address, ..) = items(&after_an_unfinished_move(), false);
    address.learn(&sits(7, placement(2)), at(0), at(100));
    address.trust_what_is_there();
    plan(&mut address, at(100));
    assert_eq!(address.take_mark(at(100)), Some((allocation(1), Mark::Ends(association(7)))));
}

#[test]
fn what_a_first_move_finds_in_place_counts_only_if_it_was_verified_or_nobody_could_have_been_late() {
    let found = |lease: &Lease, id: u8| {
        let (mut address, ..) = items(lease, false);
        address.learn(&sits(id, placement(2)), at(0), at(100));
        plan(&mut address, at(100));
        assert_eq!(address.waits_until(), None, "nothing is to be ended");
        address
    };
    let second = moved_to_node_2();
    assert!(!found(&second, 1).is_blind(), "the last move has verified this one");
    let first = Lease { epoch: Epoch(1), moved: Epoch(0), ..second.clone() };
    assert!(!found(&first, 7).is_blind(), "nobody has called before the first epoch");
    let again = Lease { moved: second.epoch, ..second.clone() };
    assert!(!found(&again, 7).is_blind(), "a second look has nothing to wait for");

    let stranger = found(&second, 7);
    assert!(stranger.is_blind() && !stranger.is_settled(), "it waits to be told");
    let told = |completed| {
        let mut address = stranger.clone();
        address.note_recorded(&BTreeMap::new(), completed);
        plan(&mut address, at(200));
        address.is_settled()
    };
    assert!(told(Completed::This), "another invocation has recorded this very move");
    assert!(!told(Completed::Last) && !told(Completed::No));
    let mut late = stranger.clone();
    late.trust_what_is_there();
    plan(&mut late, at(200));
    assert!(late.is_settled());
}

#[test]
fn which_move_was_completed_is_told_by_the_lease() {
    let of = |epoch, moved| {
        Completed::of(&Lease { epoch: Epoch(epoch), moved: Epoch(moved), ..moved_to_node_2() })
    };
    assert_eq!([of(5, 5), of(5, 4), of(5, 3)], [Completed::This, Completed::Last, Completed::No]);
}

#[test]
fn a_record_that_was_refused_is_made_again_after_100_ms() {
    let (mut address, ..) = items(&after_an_unfinished_move(), false);
    address.learn(&address_seen(None), at(0), at(100));
    plan(&mut address, at(100));
    assert!(address.take_mark(at(100)).is_some());
    assert_eq!(address.waits_until(), None, "the record is awaited");
    address.rotation_recorded(&allocation(1), false, at(500));
    assert_eq!(address.waits_until(), Some(at(600)));
    assert!(address.take_mark(at(600)).is_some());
    address.rotation_recorded(&allocation(1), true, at(700));
    assert!(address.take_mark(at(700)).is_none(), "it is recorded");
    assert!(address.is_ready(at(700)));
}

#[test]
fn nothing_is_planned_while_a_call_is_under_way() {
    let (_, mut first, _) = items(&moved_to_node_2(), false);
    first.learn(&leads(1), at(0), at(100));
    let made = call(&mut first, at(100));
    plan(&mut first, at(200));
    first.conclude(&made, Err(CloudFailure::Unknown("lost".to_owned())), at(300));
    assert_eq!(first.waits_until(), None, "only a look tells what became of it");
    assert!(first.is_blind());
}

#[test]
fn an_address_waits_for_its_own_place_only_and_is_let_go_before_any_seat_is_known() {
    let free = || {
        let (mut address, ..) = items(&moved_to_node_2(), false);
        address.learn(&address_seen(None), at(0), at(100));
        address
    };
    for (place, waits) in [(placement(2), true), (placement(3), false)] {
        let leaving = vec![Seat { allocation: allocation(2), placement: place }];
        let mut address = free();
        address.plan(Some(&Seats { leaving, staying: Vec::new() }), None, at(100));
        assert_eq!(address.waits_until().is_none(), waits);
    }
    let mut address = free();
    address.plan(None, None, at(100));
    assert_eq!(address.waits_until(), None, "who sits on the target is not known");
    let (mut elsewhere, ..) = items(&moved_to_node_2(), false);
    elsewhere.learn(&sits(1, placement(1)), at(0), at(100));
    elsewhere.plan(None, None, at(100));
    assert_eq!(elsewhere.waits_until(), Some(at(100)));
}

#[test]
fn what_a_first_look_shows_in_place_is_in_doubt_for_3_s_and_then_confirmed() {
    let (_, mut first, _) = items(&moved_to_node_2(), false);
    first.learn(&leads(2), at(0), at(100));
    plan(&mut first, at(100));
    assert_eq!((first.is_settled(), first.doubts_until()), (true, Some(at(3_100))));
    first.learn(&leads(2), at(3_099), at(3_200));
    assert!(!first.is_confirmed());
    first.learn(&leads(2), at(3_100), at(3_200));
    assert_eq!((first.is_confirmed(), first.doubts_until()), (true, None));
    assert_eq!(replaced().doubts_until(), None, "what was put in place is in no doubt");
}

#[test]
fn a_route_whose_role_sts_gave_no_credentials_for_is_asked_for_again_and_one_that_it_refused_is_told() {
    let access = crate::access::TableAccess {
        role: crate::ids::RoleArn::new("arn:aws:iam::210987654321:role/r").expect("valid"),
        cluster: moved_to_node_2().cluster,
    };
    let (_, mut route, _) = items(&moved_to_node_2(), true);
    route.learn(&leads(1), at(900), at(950));
    let first = call(&mut route, at(1_000));
    let nothing = CloudFailure::NoCredentials("AssumeRole: no answer came".to_owned());
    route.conclude(&first, Err(nothing), at(1_100));
    assert!(!route.is_ready(at(1_100)), "it waits, each time longer");
    // EC2 was not asked, so there is nothing to look up first.
    assert!(!route.is_blind() && route.blocked().is_none());
    assert_eq!(call(&mut route, at(5_000)), first);

    let refused = CloudFailure::RoleRefused { access, why: "AccessDenied: no".to_owned() };
    route.conclude(&first, Err(refused), at(5_100));
    let why = route.blocked().expect("it is told");
    assert!(
        why.starts_with("ReplaceRoute: the role arn:aws:iam::210987654321:role/r cannot be assumed"),
        "{why}"
    );
    assert!(why.ends_with("STS said: AccessDenied: no"), "{why}");
}
