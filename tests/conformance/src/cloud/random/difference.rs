//! Where two answers may differ, and what makes the difference good.

use baton_cloud::Cloud;
use baton_protocol::ec2::{Call, CloudFailure, Effect, RouteTarget};
use baton_protocol::ids::{AllocationId, AssociationId, InterfaceId};
use baton_protocol::resource::Route;

use super::Stage;
use super::spoken::kind;
use crate::cloud::{Difference, World, association, route, seats};

/// Which association of the stage an association at this place would end, by its place in the order.
pub(super) async fn sitting<W: World>(stage: &Stage<'_, W>, call: &Call) -> Option<usize> {
    let Call::Associate { allocation, placement } = call else { return None };
    let taken = seats(stage.world, &[&placement.interface]).await;
    let seat = taken.iter().find(|seat| seat.placement == *placement && seat.allocation != *allocation)?;
    let (current, _) = association(stage.world, &seat.allocation).await?;
    stage.associations.iter().position(|made| *made == current)
}

/// Takes in two answers. Equal ones need nothing; different ones have to be a listed difference, and the server is
/// put where EC2 would be.
pub(super) async fn compare<T: World, S: World>(
    twin: &mut Stage<'_, T>,
    server: &mut Stage<'_, S>,
    call: &Call,
    (left, right): (&Result<Effect, CloudFailure>, &Result<Effect, CloudFailure>),
    sitting: Option<usize>,
) -> Result<Option<Difference>, &'static str> {
    let listed = |difference, server: &Stage<'_, S>| {
        if server.world.differs(difference) { Ok(Some(difference)) } else { Err("a difference not listed") }
    };
    match (left, right) {
        (Ok(Effect::Associated(of_twin)), Ok(Effect::Associated(of_server))) => {
            twin.keep(of_twin.clone());
            server.keep(of_server.clone());
            let Some(evicted) = sitting else { return Ok(None) };
            let Call::Associate { allocation, .. } = call else { return Err("an association of nothing") };
            end(server, allocation, evicted).await?;
            listed(Difference::SeatsShared, server)
        }
        (Ok(Effect::TableAssociated(of_twin)), Ok(Effect::TableAssociated(of_server))) => {
            twin.keep_swap(of_twin.clone());
            server.keep_swap(of_server.clone());
            let alike = twin.swaps.len() == server.swaps.len();
            if alike { Ok(None) } else { Err("a new association in one of the two worlds only") }
        }
        (Err(CloudFailure::RouteExists), Ok(Effect::Done)) => {
            let Call::CreateRoute { route: made, interface } = call else { return Err("no creation") };
            // A creation that names the target that is there shows nothing of the difference.
            let changed = put_back(twin, server, made).await? != *interface;
            let found = listed(Difference::DuplicateRouteReplaces, server)?;
            Ok(found.filter(|_| changed))
        }
        (Err(CloudFailure::Refused(_)), Ok(Effect::Associated(made))) => {
            let Call::Associate { allocation, .. } = call else { return Err("an association of nothing") };
            settle(twin, server, allocation, made).await?;
            listed(Difference::StrangeSeatAccepted, server)
        }
        // No document says which of the two faults of such a call EC2 names; either way nothing is done.
        (Err(CloudFailure::Refused(_)), Err(CloudFailure::AlreadyAssociated))
        | (Err(CloudFailure::NotFound(_)), Err(CloudFailure::RouteMissing)) => Ok(None),
        (Err(CloudFailure::AlreadyAssociated), Ok(Effect::Associated(made))) => {
            let Call::Associate { allocation, .. } = call else { return Err("an association of nothing") };
            settle(twin, server, allocation, made).await?;
            listed(Difference::SameInterfaceReassociates, server)
        }
        (Ok(Effect::Done), Err(CloudFailure::AssociationGone)) => {
            listed(Difference::EndedAlreadyRefused, server)
        }
        _ if kind(left) == kind(right) => Ok(None),
        _ => Err("different answers"),
    }
}

/// Ends an association at the server, which EC2 would have ended.
async fn end<S: World>(
    server: &Stage<'_, S>,
    allocation: &AllocationId,
    which: usize,
) -> Result<(), &'static str> {
    let association = server.associations[which].clone();
    let call = Call::Disassociate { allocation: allocation.clone(), association };
    let ended = server.world.cloud().call(&call).await;
    if ended == Ok(Effect::Done) { Ok(()) } else { Err("the server has evicted, which is not listed") }
}

/// Makes good that the server associated an address where EC2 would have refused to. Where EC2 would have left the
/// earlier association, the later one stands for it from now on; else the address is freed.
async fn settle<T: World, S: World>(
    twin: &Stage<'_, T>,
    server: &mut Stage<'_, S>,
    allocation: &AllocationId,
    made: &AssociationId,
) -> Result<(), &'static str> {
    let number = server.addresses.iter().position(|address| address.allocation == *allocation);
    let number = number.ok_or("an address of another stage")?;
    let Some((current, _)) = association(twin.world, &twin.addresses[number].allocation).await else {
        let call = Call::Disassociate { allocation: allocation.clone(), association: made.clone() };
        let freed = server.world.cloud().call(&call).await;
        return if freed == Ok(Effect::Done) { Ok(()) } else { Err("the server cannot be put right") };
    };
    let which = twin.associations.iter().position(|made| *made == current).ok_or("an unknown association")?;
    server.names.add(made, format!("association {which}"));
    server.associations[which] = made.clone();
    Ok(())
}

/// Points a route of the server where the twin's leads, and tells where that is.
async fn put_back<T: World, S: World>(
    twin: &Stage<'_, T>,
    server: &Stage<'_, S>,
    made: &Route,
) -> Result<InterfaceId, &'static str> {
    let number = server.tables.iter().position(|table| *table == made.table).ok_or("an unknown table")?;
    let seen = route(twin.world, &twin.tables[number], &made.destination).await.ok_or("no route")?;
    let RouteTarget::Interface(target) = seen.target else { return Err("a route through something else") };
    let node = twin.nodes.iter().position(|node| node.interface == target).ok_or("an unknown target")?;
    let interface = server.interface(node);
    let call = Call::ReplaceRoute { route: made.clone(), interface: interface.clone() };
    let replaced = server.world.cloud().call(&call).await;
    if replaced == Ok(Effect::Done) { Ok(interface) } else { Err("the server cannot be put right") }
}
