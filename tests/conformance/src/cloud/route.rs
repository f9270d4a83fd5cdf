//! Route tables: an interface as the target of a destination of either family.

use baton_cloud::Cloud;
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, RouteSeen, RouteTarget, Sight};
use baton_protocol::ids::{InterfaceId, RouteTableId};
use baton_protocol::resource::{Destination, Placement, Route};

use super::{Difference, NETWORK, Node, World, destination, is_not_found, nobody, route, routes};

/// Outside every VPC here, one of each family.
const DESTINATIONS: [&str; 2] = ["192.168.9.1/32", "2001:db8:9::/56"];

fn create(table: &RouteTableId, to: &Destination, interface: &InterfaceId) -> Call {
    Call::CreateRoute {
        route: Route { table: table.clone(), destination: *to },
        interface: interface.clone(),
    }
}

fn replace(table: &RouteTableId, to: &Destination, interface: &InterfaceId) -> Call {
    Call::ReplaceRoute {
        route: Route { table: table.clone(), destination: *to },
        interface: interface.clone(),
    }
}

fn through(to: &Destination, interface: &InterfaceId) -> RouteSeen {
    RouteSeen { destination: *to, target: RouteTarget::Interface(interface.clone()), blackhole: false }
}

/// One destination changes and the others stay.
pub async fn a_route_is_created_seen_and_replaced<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (a, b) = (world.node(&vpc, 0).await, world.node(&vpc, 1).await);
    let (table, untouched) = (world.table(&vpc).await, world.table(&vpc).await);
    let before = routes(world, &table).await;
    assert_eq!(before.len(), 1, "the local route only: {before:?}");
    assert_eq!(before[0].destination, destination(NETWORK));
    assert_eq!(before[0].target, RouteTarget::Other("local".into()));
    for to in DESTINATIONS.map(destination).into_iter().chain([world.list().await]) {
        assert_eq!(route(world, &table, &to).await, None);
        assert_eq!(world.cloud().call(&create(&table, &to, &a.interface)).await, Ok(Effect::Done));
        assert_eq!(route(world, &table, &to).await, Some(through(&to, &a.interface)));
        assert_eq!(world.cloud().call(&replace(&table, &to, &b.interface)).await, Ok(Effect::Done));
        assert_eq!(route(world, &table, &to).await, Some(through(&to, &b.interface)));
        // The same once more changes nothing, so a call may be repeated after an unknown outcome.
        assert_eq!(world.cloud().call(&replace(&table, &to, &b.interface)).await, Ok(Effect::Done));
        assert_eq!(route(world, &table, &to).await, Some(through(&to, &b.interface)));
    }
    assert_eq!(route(world, &table, &destination(NETWORK)).await.as_ref(), before.first());
    assert_eq!(routes(world, &untouched).await, before);
}

/// Each call can be asked about first, and what would be allowed changes nothing.
pub async fn what_is_only_asked_about_is_not_done<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (a, b) = (world.node(&vpc, 0).await, world.node(&vpc, 1).await);
    let (address, table, to) = (world.address().await, world.table(&vpc).await, destination(DESTINATIONS[0]));
    let at = |node: &Node| Placement { interface: node.interface.clone(), private_ip: node.private_ips[0] };
    let allocation = address.allocation.clone();
    let associate = |node: &Node| Call::Associate { allocation: allocation.clone(), placement: at(node) };
    let cloud = world.cloud();
    for call in [associate(&a), create(&table, &to, &a.interface)] {
        assert_eq!(cloud.probe(&call).await, Ok(()), "{call:?}");
    }
    assert_eq!(route(world, &table, &to).await, None);
    let Ok(Effect::Associated(association)) = cloud.call(&associate(&a)).await else {
        panic!("it is free still")
    };
    cloud.call(&create(&table, &to, &a.interface)).await.expect("created");
    let end = Call::Disassociate { allocation: allocation.clone(), association: association.clone() };
    let unchecked = Call::DisableSourceDestCheck { interface: b.interface.clone() };
    for call in [end, replace(&table, &to, &b.interface), unchecked] {
        assert_eq!(cloud.probe(&call).await, Ok(()), "{call:?}");
    }
    assert_eq!(route(world, &table, &to).await, Some(through(&to, &a.interface)));
    let Ok(Sight::Addresses(seen)) = cloud.look(&Look::Addresses(vec![allocation.clone()])).await else {
        panic!("addresses")
    };
    assert_eq!(seen[&allocation].association.as_ref().map(|(id, _)| id), Some(&association));
    let Ok(Sight::Interfaces(seen)) = cloud.look(&Look::Interfaces(vec![b.interface.clone()])).await else {
        panic!("interfaces")
    };
    assert!(seen[&b.interface].source_dest_check);
}

/// A gateway is seen by its id, never as an interface.
pub async fn a_route_through_a_gateway_is_seen_and_can_be_replaced<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let a = world.node(&vpc, 0).await;
    let table = world.table(&vpc).await;
    let to = destination("0.0.0.0/0");
    let gateway = world.route_to_gateway(&vpc, &table, &to).await;
    let seen = route(world, &table, &to).await.expect("a route");
    assert_eq!(seen.target, RouteTarget::Other(gateway));
    assert_eq!(world.cloud().call(&replace(&table, &to, &a.interface)).await, Ok(Effect::Done));
    assert_eq!(route(world, &table, &to).await, Some(through(&to, &a.interface)));
}

/// A missing route is told from every other refusal.
pub async fn replacing_a_missing_route_makes_none<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let a = world.node(&vpc, 0).await;
    let table = world.table(&vpc).await;
    for to in DESTINATIONS.map(destination) {
        let answer = world.cloud().call(&replace(&table, &to, &a.interface)).await;
        assert_eq!(answer, Err(CloudFailure::RouteMissing));
        assert_eq!(route(world, &table, &to).await, None);
    }
}

/// Whoever made the route first keeps it.
pub async fn creating_an_existing_route_changes_nothing<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (a, b) = (world.node(&vpc, 0).await, world.node(&vpc, 1).await);
    let table = world.table(&vpc).await;
    for to in DESTINATIONS.map(destination) {
        world.cloud().call(&create(&table, &to, &a.interface)).await.expect("created");
        let answer = world.cloud().call(&create(&table, &to, &b.interface)).await;
        if world.differs(Difference::DuplicateRouteReplaces) {
            assert_eq!(answer, Ok(Effect::Done));
            assert_eq!(route(world, &table, &to).await, Some(through(&to, &b.interface)));
        } else {
            assert_eq!(answer, Err(CloudFailure::RouteExists));
            assert_eq!(route(world, &table, &to).await, Some(through(&to, &a.interface)));
        }
    }
}

/// A table and an interface belong to one VPC.
pub async fn a_route_to_another_vpc_is_refused<W: World>(world: &W) {
    let (vpc, other) = (world.vpc(&[NETWORK]).await, world.vpc(&["10.77.0.0/16"]).await);
    let a = world.node(&vpc, 0).await;
    let table = world.table(&other).await;
    let to = destination(DESTINATIONS[0]);
    let answer = world.cloud().call(&create(&table, &to, &a.interface)).await;
    if world.differs(Difference::RouteAcrossVpcs) {
        assert_eq!(answer, Ok(Effect::Done));
    } else {
        assert!(matches!(answer, Err(CloudFailure::Refused(_))), "{answer:?}");
        assert_eq!(route(world, &table, &to).await, None);
    }
}

/// Neither the table nor the interface, for either call.
pub async fn routes_of_what_does_not_exist_are_not_found<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let a = world.node(&vpc, 0).await;
    let table = world.table(&vpc).await;
    let to = destination(DESTINATIONS[0]);
    world.cloud().call(&create(&table, &to, &a.interface)).await.expect("created");
    let (no_table, no_interface) = (nobody("rtb-"), nobody("eni-"));
    for call in [
        create(&no_table, &to, &a.interface),
        replace(&no_table, &to, &a.interface),
        create(&table, &destination(DESTINATIONS[1]), &no_interface),
        replace(&table, &to, &no_interface),
    ] {
        let answer = world.cloud().call(&call).await;
        assert!(is_not_found(&answer), "{call:?}: {answer:?}");
    }
    assert_eq!(route(world, &table, &to).await, Some(through(&to, &a.interface)), "it stays as it was");
}

/// One table that EC2 does not know takes nothing from the answer about the others.
pub async fn an_unknown_table_is_absent_and_hides_no_other<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let tables = [world.table(&vpc).await, nobody("rtb-"), world.table(&vpc).await];
    let answer = world.cloud().look(&Look::Tables(tables.to_vec())).await;
    let Ok(Sight::Tables(seen)) = answer else { panic!("expected tables, found {answer:?}") };
    let mut known = vec![&tables[0], &tables[2]];
    known.sort();
    assert_eq!(seen.keys().collect::<Vec<_>>(), known);
}

/// What tables are chosen by. EC2 makes a main table with each VPC, which is seen as well where it is made.
pub async fn every_table_of_a_vpc_is_seen_with_its_tags_and_no_other_vpcs<W: World>(world: &W) {
    let (vpc, other) = (world.vpc(&[NETWORK]).await, world.vpc(&[NETWORK]).await);
    let ours = [world.table(&vpc).await, world.table(&vpc).await];
    let theirs = world.table(&other).await;
    let node = world.node(&vpc, 0).await;
    world.tag(ours[0].as_str(), "side", "private").await;
    let to = destination(DESTINATIONS[0]);
    world.cloud().call(&create(&ours[1], &to, &node.interface)).await.expect("created");
    let seen = world.cloud().tables_of(&vpc).await.expect("described");
    assert!(ours.iter().all(|table| seen.contains_key(table)) && !seen.contains_key(&theirs), "{seen:?}");
    let tagged: Vec<_> = seen.iter().filter(|(_, shown)| shown.tags.contains_key("side")).collect();
    assert_eq!((tagged.len(), tagged[0].0, &*tagged[0].1.tags["side"]), (1, &ours[0], "private"));
    let holds: Vec<_> = seen
        .iter()
        .filter(|(_, shown)| shown.routes.iter().any(|route| route.destination == to))
        .map(|(table, _)| table)
        .collect();
    assert_eq!(holds, [&ours[1]]);
}
