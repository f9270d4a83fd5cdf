//! Instances, their interfaces and their networks.

use std::collections::{BTreeMap, BTreeSet};

use baton_cloud::Cloud;
use baton_protocol::ec2::{Call, Effect, InstanceState, InterfaceSeen, Look, Sight};
use baton_protocol::ids::{InstanceId, InterfaceId};
use baton_protocol::resource::{Placement, Route};
use baton_protocol::roster::Tag;

use super::{Difference, NETWORK, World, association, destination, is_not_found, nobody, route};

async fn interface<W: World>(world: &W, id: &InterfaceId) -> Option<InterfaceSeen> {
    match world.cloud().look(&Look::Interfaces(vec![id.clone(), nobody("eni-")])).await {
        Ok(Sight::Interfaces(mut seen)) => {
            let found = seen.remove(id);
            assert_eq!(seen, BTreeMap::new(), "nothing that does not exist");
            found
        }
        other => panic!("expected interfaces, found {other:?}"),
    }
}

async fn state<W: World>(world: &W, id: &InstanceId) -> InstanceState {
    match world.cloud().look(&Look::Instance(id.clone())).await {
        Ok(Sight::Instance(state)) => state,
        other => panic!("expected a state, found {other:?}"),
    }
}

/// What a registration is checked against.
pub async fn an_instance_is_described_with_its_interface<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let nodes = [world.node(&vpc, 0).await, world.node(&vpc, 1).await, world.node(&vpc, 2).await];
    let mut ids: Vec<InstanceId> = nodes.iter().map(|node| node.instance.clone()).collect();
    ids.push(nobody("i-"));
    let seen = world.cloud().instances(&ids).await.expect("described");
    assert_eq!(seen.len(), nodes.len(), "what does not exist is absent: {seen:?}");
    for node in &nodes {
        let instance = &seen[&node.instance];
        assert_eq!(instance.arn.instance_id(), node.instance);
        assert_eq!(instance.state, InstanceState::Other("running".into()));
        assert_eq!(instance.zone, node.zone);
        assert_eq!(instance.vpc, vpc);
        let [interface] = &instance.interfaces[..] else { panic!("expected one interface: {instance:?}") };
        assert_eq!((&interface.id, interface.device_index), (&node.interface, 0));
        assert_eq!(interface.private_ips, node.private_ips, "the primary first");
        assert!(interface.source_dest_check);
    }
    assert!(nodes[0].zone != nodes[1].zone && nodes[1].zone != nodes[2].zone);
}

/// What another interface than the first is chosen by, and what becomes of it.
pub async fn a_further_interface_is_described_takes_an_address_and_forwards<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let node = world.node(&vpc, 0).await;
    let (further, private_ips) = world.further(&vpc, &node).await;
    let seen = world.cloud().instances(std::slice::from_ref(&node.instance)).await.expect("described");
    let interfaces: Vec<_> = seen[&node.instance]
        .interfaces
        .iter()
        .map(|interface| (interface.id.clone(), interface.device_index, interface.private_ips.clone()))
        .collect();
    let expected =
        [(node.interface.clone(), 0, node.private_ips.to_vec()), (further.clone(), 1, private_ips.to_vec())];
    assert_eq!(interfaces, expected);
    let address = world.address().await.allocation;
    let placement = Placement { interface: further.clone(), private_ip: private_ips[1] };
    let call = Call::Associate { allocation: address.clone(), placement: placement.clone() };
    world.cloud().call(&call).await.expect("associated");
    let (_, place) = association(world, &address).await.expect("associated");
    let place = place.expect("somewhere");
    assert_eq!(place.interface, further);
    assert_eq!(place == placement, !world.differs(Difference::SeatIgnored));
    let seats = super::seats(world, &[&node.interface, &further]).await;
    assert_eq!(seats.len(), 1, "both interfaces are looked at: {seats:?}");
    world.cloud().call(&Call::DisableSourceDestCheck { interface: further.clone() }).await.expect("forwards");
    let check = |interface: Option<InterfaceSeen>| interface.expect("seen").source_dest_check;
    assert!(!check(interface(world, &further).await) && check(interface(world, &node.interface).await));
}

/// What an interface is chosen by.
pub async fn an_interface_has_the_tags_it_was_given<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let nodes = [world.node(&vpc, 0).await, world.node(&vpc, 1).await];
    world.tag(nodes[0].interface.as_str(), "side", "public").await;
    world.tag(nodes[0].interface.as_str(), "empty", "").await;
    let asked = [nodes[0].interface.clone(), nodes[1].interface.clone(), nobody("eni-")];
    let seen = world.cloud().interface_tags(&asked).await.expect("described");
    assert_eq!(
        seen.keys().collect::<BTreeSet<_>>(),
        asked[..2].iter().collect(),
        "what does not exist is absent"
    );
    let has = |node: usize, key: &str| seen[&asked[node]].get(key).map(String::as_str);
    assert_eq!((has(0, "side"), has(0, "empty"), has(1, "side")), (Some("public"), Some(""), None));
    assert_eq!(world.cloud().interface_tags(&[]).await, Ok(BTreeMap::new()));
}

/// Not to be known proves nothing.
pub async fn an_unknown_instance_is_not_found_and_not_terminated<W: World>(world: &W) {
    assert_eq!(state(world, &nobody("i-")).await, InstanceState::NotFound);
    let none = world.cloud().instances(&[nobody("i-")]).await;
    assert_eq!(none, Ok(BTreeMap::new()));
}

/// The one state that proves that a node is gone.
pub async fn a_terminated_instance_is_seen_terminated<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (a, b) = (world.node(&vpc, 0).await, world.node(&vpc, 1).await);
    assert_eq!(state(world, &a.instance).await, InstanceState::Other("running".into()));
    world.terminate(&a.instance).await;
    assert_eq!(state(world, &a.instance).await, InstanceState::Terminated);
    assert_eq!(state(world, &b.instance).await, InstanceState::Other("running".into()));
    let seen = world.cloud().instances(std::slice::from_ref(&a.instance)).await.expect("described");
    assert_eq!(seen[&a.instance].state, InstanceState::Terminated);
}

/// Who is a node of a cluster that names a tag. Others that begin alike are not.
pub async fn instances_are_found_by_their_tag_while_they_run<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let nodes = [world.node(&vpc, 0).await, world.node(&vpc, 1).await, world.node(&vpc, 2).await];
    // A server may have instances of other scenarios.
    let role = nodes[0].instance.as_str();
    let tag = Tag::new("role", role).expect("a tag");
    assert_eq!(world.cloud().tagged(&tag).await, Ok(BTreeMap::new()));
    for node in &nodes[..2] {
        world.tag(node.instance.as_str(), "role", role).await;
        world.tag(node.instance.as_str(), "baton:cluster", "orders others").await;
    }
    world.tag(nodes[2].instance.as_str(), "role", &format!("{role}-2")).await;
    let seen = world.cloud().tagged(&tag).await.expect("described");
    let ids: Vec<_> = nodes[..2].iter().map(|node| node.instance.clone()).collect();
    let described = world.cloud().instances(&ids).await.expect("described");
    assert_eq!(seen, described, "as by their ids");
    assert_eq!(seen[&ids[0]].tags["baton:cluster"], "orders others");
    let interfaces = baton_cloud::interfaces_of_newcomers(&seen, &[]);
    assert_eq!(interfaces.len(), 2, "one of each");
    world.tag(nodes[1].interface.as_str(), "side", "inner").await;
    let tags = world.cloud().interface_tags(&interfaces).await.expect("described");
    let shown = baton_cloud::seen(&seen, &described, &tags).tagged.remove(&ids[1]).expect("there");
    assert_eq!((shown.instance.instance_id(), &*shown.vpc), (ids[1].clone(), &*vpc));
    let [interface] = &shown.interfaces[..] else { panic!("one interface, found {shown:?}") };
    assert_eq!((&interface.id, interface.device_index), (&nodes[1].interface, 0));
    assert_eq!(interface.private_ips, nodes[1].private_ips);
    assert_eq!(interface.tags["side"], "inner");
    world.terminate(&ids[0]).await;
    let seen = world.cloud().tagged(&tag).await.expect("described");
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&ids[1]]);
}

/// Its addresses are freed, its interface goes, and routes through it lead nowhere.
pub async fn a_terminated_instance_gives_up_what_it_had<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let a = world.node(&vpc, 0).await;
    let (address, table) = (world.address().await, world.table(&vpc).await);
    let to = destination("192.168.9.1/32");
    let routed = Route { table: table.clone(), destination: to };
    let call = Call::Associate { allocation: address.allocation.clone(), placement: a.seat(0) };
    world.cloud().call(&call).await.expect("associated");
    let call = Call::CreateRoute { route: routed, interface: a.interface.clone() };
    world.cloud().call(&call).await.expect("created");

    world.terminate(&a.instance).await;
    let kept = association(world, &address.allocation).await.is_some();
    assert_eq!(kept, world.differs(Difference::TerminationKeepsAddresses), "the address");
    let kept = interface(world, &a.interface).await.is_some();
    assert_eq!(kept, world.differs(Difference::TerminationKeepsInterfaces), "the interface");
    let seen = route(world, &table, &to).await.expect("the route stays");
    assert_eq!(seen.blackhole, !world.differs(Difference::NoBlackHoles), "the route");
}

/// It runs no more, keeps what it has, and may be stopped again; what is terminated or unknown cannot be stopped.
pub async fn an_instance_is_stopped_and_stopping_it_again_changes_nothing<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (a, b) = (world.node(&vpc, 0).await, world.node(&vpc, 1).await);
    let address = world.address().await;
    let call = Call::Associate { allocation: address.allocation.clone(), placement: a.seat(0) };
    world.cloud().call(&call).await.expect("associated");
    let stop = |instance: &InstanceId| Call::Stop { instance: instance.clone() };
    for began in [true, false] {
        assert_eq!(world.cloud().call(&stop(&a.instance)).await, Ok(Effect::Stopping { began }));
        assert_eq!(state(world, &a.instance).await, InstanceState::Other("stopped".into()));
    }
    assert!(association(world, &address.allocation).await.is_some());
    assert_eq!(state(world, &b.instance).await, InstanceState::Other("running".into()), "no other");
    let missing = world.cloud().call(&stop(&nobody("i-"))).await;
    assert!(is_not_found(&missing), "{missing:?}");
}

/// What a node needs to forward.
pub async fn the_source_destination_check_is_switched_off_and_stays_off<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (a, b) = (world.node(&vpc, 0).await, world.node(&vpc, 1).await);
    let seen = |source_dest_check, instance: &InstanceId| {
        Some(InterfaceSeen { source_dest_check, instance: Some(instance.clone()) })
    };
    assert_eq!(interface(world, &a.interface).await, seen(true, &a.instance));
    for _ in 0..2 {
        let call = Call::DisableSourceDestCheck { interface: a.interface.clone() };
        assert_eq!(world.cloud().call(&call).await, Ok(Effect::Done));
        assert_eq!(interface(world, &a.interface).await, seen(false, &a.instance));
    }
    assert_eq!(interface(world, &b.interface).await, seen(true, &b.instance), "no other");
    let described = world.cloud().instances(std::slice::from_ref(&a.instance)).await.expect("described");
    assert!(!described[&a.instance].interfaces[0].source_dest_check);
    let missing = world.cloud().call(&Call::DisableSourceDestCheck { interface: nobody("eni-") }).await;
    assert!(is_not_found(&missing), "{missing:?}");
}

/// Destinations outside a VPC are told from those inside by all of its networks.
pub async fn a_vpc_has_the_networks_it_was_given<W: World>(world: &W) {
    let two = world.vpc(&["10.0.0.0/16", "10.44.0.0/16"]).await;
    let one = world.vpc(&["10.0.0.0/16"]).await;
    let networks = world.cloud().vpc_networks(&two).await.expect("known");
    assert_eq!(networks, ["10.0.0.0/16", "10.44.0.0/16"].map(destination));
    assert_eq!(world.cloud().vpc_networks(&one).await, Ok(vec![destination("10.0.0.0/16")]));
    let missing = world.cloud().vpc_networks("vpc-0fffffffffffffff0").await;
    assert!(is_not_found(&missing), "{missing:?}");
}

/// EC2 takes a filter without values for no filter and answers with all there is.
pub async fn a_question_about_nothing_has_an_empty_answer<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (_, _, _) = (world.address().await, world.table(&vpc).await, world.node(&vpc, 0).await);
    for (look, expected) in [
        (Look::Addresses(vec![]), Sight::Addresses(BTreeMap::new())),
        (Look::Seats(vec![]), Sight::Seats(vec![])),
        (Look::Tables(vec![]), Sight::Tables(BTreeMap::new())),
        (Look::Interfaces(vec![]), Sight::Interfaces(BTreeMap::new())),
    ] {
        assert_eq!(world.cloud().look(&look).await, Ok(expected));
    }
    assert_eq!(world.cloud().instances(&[]).await, Ok(BTreeMap::new()));
}
