//! Elastic IPs: association as compare-and-swap.

use baton_cloud::Cloud;
use baton_protocol::ec2::{AddressSeen, Call, CloudFailure, Effect, Seat};
use baton_protocol::ids::{AllocationId, AssociationId};
use baton_protocol::resource::{Address, Placement};
use futures_util::future::join_all;

use super::{Difference, NETWORK, Node, World, addresses, association, is_not_found, nobody, seats};

async fn associate<W: World>(
    world: &W,
    address: &Address,
    placement: Placement,
) -> Result<AssociationId, CloudFailure> {
    let call = Call::Associate { allocation: address.allocation.clone(), placement };
    match world.cloud().call(&call).await? {
        Effect::Associated(association) => Ok(association),
        other => panic!("expected the id of the association, found {other:?}"),
    }
}

async fn disassociate<W: World>(
    world: &W,
    address: &Address,
    association: &AssociationId,
) -> Result<Effect, CloudFailure> {
    let call =
        Call::Disassociate { allocation: address.allocation.clone(), association: association.clone() };
    world.cloud().call(&call).await
}

/// Ends what is no association any more, or never was one: without an effect, whichever the answer.
async fn end_again<W: World>(world: &W, address: &Address, association: &AssociationId) {
    let expected = match world.differs(Difference::EndedAlreadyRefused) {
        true => Err(CloudFailure::AssociationGone),
        false => Ok(Effect::Done),
    };
    assert_eq!(disassociate(world, address, association).await, expected);
}

async fn two_nodes<W: World>(world: &W) -> (Node, Node) {
    let vpc = world.vpc(&[NETWORK]).await;
    (world.node(&vpc, 0).await, world.node(&vpc, 1).await)
}

/// One address that EC2 does not know takes nothing from the answer about the others.
pub async fn a_free_address_is_seen_free_and_an_unknown_one_is_absent<W: World>(world: &W) {
    let address = world.address().await;
    let unknown: AllocationId = nobody("eipalloc-");
    let seen = addresses(world, &[&unknown, &address.allocation]).await;
    assert_eq!(seen, [None, Some(AddressSeen { public_ip: address.public_ip, association: None })]);
}

/// An address and its seat are two views of one association.
pub async fn an_associated_address_is_seen_where_it_was_put<W: World>(world: &W) {
    let (a, b) = two_nodes(world).await;
    let (address, free) = (world.address().await, world.address().await);
    let id = associate(world, &address, a.seat(0)).await.expect("associated");
    assert_eq!(association(world, &address.allocation).await, Some((id, Some(a.seat(0)))));
    assert_eq!(association(world, &free.allocation).await, None);
    let seat = Seat { allocation: address.allocation.clone(), placement: a.seat(0) };
    assert_eq!(seats(world, &[&a.interface, &b.interface]).await, [seat]);
    assert_eq!(seats(world, &[&b.interface]).await, []);
}

/// Several addresses of a cluster go to several private addresses of one interface.
pub async fn an_address_goes_to_the_private_address_that_was_named<W: World>(world: &W) {
    let (a, _) = two_nodes(world).await;
    let address = world.address().await;
    let id = associate(world, &address, a.seat(1)).await.expect("associated");
    let expected = if world.differs(Difference::SeatIgnored) { a.seat(0) } else { a.seat(1) };
    assert_eq!(association(world, &address.allocation).await, Some((id, Some(expected))));
}

/// Without this there is no compare-and-swap: a late call of an older epoch would take the address back.
pub async fn an_associated_address_is_never_taken_from_anybody<W: World>(world: &W) {
    let (a, b) = two_nodes(world).await;
    let address = world.address().await;
    let id = associate(world, &address, a.seat(0)).await.expect("associated");
    assert_eq!(associate(world, &address, b.seat(0)).await, Err(CloudFailure::AlreadyAssociated));
    assert_eq!(association(world, &address.allocation).await, Some((id, Some(a.seat(0)))));
}

/// Exactly one of those that ask at once.
pub async fn of_several_that_want_a_free_address_one_gets_it<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let nodes = [world.node(&vpc, 0).await, world.node(&vpc, 1).await, world.node(&vpc, 2).await];
    let address = world.address().await;
    for round in 0..5 {
        let answers = join_all(nodes.iter().map(|node| associate(world, &address, node.seat(0)))).await;
        let winners: Vec<_> = nodes.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).collect();
        let [(node, Ok(id))] = winners[..] else {
            panic!("round {round}: expected one winner, found {answers:?}")
        };
        let losers = answers.iter().filter(|answer| **answer == Err(CloudFailure::AlreadyAssociated)).count();
        assert_eq!(losers, nodes.len() - 1, "round {round}: {answers:?}");
        assert_eq!(association(world, &address.allocation).await, Some((id.clone(), Some(node.seat(0)))));
        disassociate(world, &address, id).await.expect("freed");
    }
}

/// Each association has an id of its own, which names it and no later one.
pub async fn an_association_that_has_ended_ends_no_other<W: World>(world: &W) {
    let (a, b) = two_nodes(world).await;
    let address = world.address().await;
    let old = associate(world, &address, a.seat(0)).await.expect("associated");
    assert_eq!(disassociate(world, &address, &old).await, Ok(Effect::Done));
    assert_eq!(association(world, &address.allocation).await, None);
    end_again(world, &address, &old).await;
    assert_eq!(association(world, &address.allocation).await, None);

    let new = associate(world, &address, b.seat(0)).await.expect("associated");
    assert_ne!(new, old);
    end_again(world, &address, &old).await;
    assert_eq!(association(world, &address.allocation).await, Some((new.clone(), Some(b.seat(0)))));

    // Back where it was, at the same place, it is still another association.
    disassociate(world, &address, &new).await.expect("freed");
    let third = associate(world, &address, a.seat(0)).await.expect("associated");
    assert!(third != old && third != new, "{third} is new");
    end_again(world, &address, &old).await;
    assert_eq!(association(world, &address.allocation).await, Some((third, Some(a.seat(0)))));
}

/// EC2 documents both a refusal and idempotence, so only what every answer has in common is asserted.
pub async fn an_association_to_the_same_place_leaves_the_address_there<W: World>(world: &W) {
    let (a, _) = two_nodes(world).await;
    let address = world.address().await;
    let first = associate(world, &address, a.seat(0)).await.expect("associated");
    let current = match associate(world, &address, a.seat(0)).await {
        Ok(second) => second,
        Err(CloudFailure::AlreadyAssociated) => first,
        Err(other) => panic!("expected an association or a refusal because there is one, found {other:?}"),
    };
    assert_eq!(association(world, &address.allocation).await, Some((current, Some(a.seat(0)))));
}

/// The other private address of its own interface is another place.
pub async fn an_address_changes_its_seat_only_when_it_is_free<W: World>(world: &W) {
    let (a, _) = two_nodes(world).await;
    let address = world.address().await;
    let first = associate(world, &address, a.seat(0)).await.expect("associated");
    let answer = associate(world, &address, a.seat(1)).await;
    if world.differs(Difference::SameInterfaceReassociates) {
        let second = answer.expect("associated anew");
        assert_ne!(second, first);
        let (found, placement) = association(world, &address.allocation).await.expect("associated");
        assert_eq!((found, placement.map(|it| it.interface)), (second, Some(a.interface)));
    } else {
        assert_eq!(answer, Err(CloudFailure::AlreadyAssociated));
        assert_eq!(association(world, &address.allocation).await, Some((first, Some(a.seat(0)))));
    }
}

/// The seat has to be the interface's.
pub async fn a_private_address_of_nobody_is_refused<W: World>(world: &W) {
    let (a, _) = two_nodes(world).await;
    let address = world.address().await;
    let strange = Placement { interface: a.interface.clone(), private_ip: [10, 0, 250, 250].into() };
    let answer = associate(world, &address, strange).await;
    if world.differs(Difference::StrangeSeatAccepted) {
        assert!(answer.is_ok(), "{answer:?}");
    } else {
        assert!(matches!(answer, Err(CloudFailure::Refused(_))), "{answer:?}");
        assert_eq!(association(world, &address.allocation).await, None);
    }
}

/// `AllowReassociation=false` protects the address that moves and not the one that sits where it goes; that is why Baton
/// looks first.
pub async fn a_taken_seat_is_taken_from_who_sits_there<W: World>(world: &W) {
    let (a, _) = two_nodes(world).await;
    let (stranger, address) = (world.address().await, world.address().await);
    let old = associate(world, &stranger, a.seat(0)).await.expect("associated");
    let new = associate(world, &address, a.seat(0)).await.expect("EC2 does not mind");
    let expected = world.differs(Difference::SeatsShared).then(|| (old, Some(a.seat(0))));
    assert_eq!(association(world, &stranger.allocation).await, expected);
    assert_eq!(association(world, &address.allocation).await, Some((new, Some(a.seat(0)))));
}

/// Neither the address nor the interface.
pub async fn associating_what_does_not_exist_is_not_found<W: World>(world: &W) {
    let (a, _) = two_nodes(world).await;
    let address = world.address().await;
    let no_address = Address { allocation: nobody("eipalloc-"), ..address.clone() };
    let answer = associate(world, &no_address, a.seat(0)).await;
    assert!(is_not_found(&answer), "{answer:?}");
    let answer = associate(world, &address, Placement { interface: nobody("eni-"), ..a.seat(0) }).await;
    assert!(is_not_found(&answer), "{answer:?}");
    end_again(world, &address, &nobody("eipassoc-")).await;
}
