//! Several interfaces and private addresses: where what was described comes to on each node, and what is a change of it.

use baton_cloud::memory::{Fault, MemoryNode, Trouble};
use baton_protocol::ids::InterfaceId;
use baton_protocol::lease::Member;
use baton_protocol::resource::Placement;
use serde_json::{Value, json};

use crate::support::{Bench, STACK, failed, succeeded};

/// A second interface with two private addresses for each node, at device index 1.
async fn bench() -> (Bench, Vec<(InterfaceId, Vec<std::net::Ipv4Addr>)>) {
    let bench = Bench::new().await;
    let further = |node: &MemoryNode| {
        let (interface, private_ips) = bench.cloud.add_interface(&bench.vpc, 2);
        bench.cloud.attach(&interface, &node.instance, 1, false);
        (interface, private_ips)
    };
    let further = bench.nodes.iter().map(further).collect();
    (bench, further)
}

/// The first address goes to the second private address of the second interface, and so do the routes to that interface.
fn chosen(bench: &Bench) -> Value {
    let mut properties = bench.properties();
    properties["Addresses"][0] = json!({
        "AllocationId": bench.addresses[0].allocation.to_string(), "DeviceIndex": "1", "PrivateIpIndex": "1",
    });
    properties["RouteInterface"] = json!({ "DeviceIndex": "1" });
    properties
}

fn place_of(bench: &Bench, member: &Member, address: usize) -> Placement {
    member.placements[&bench.addresses[address].allocation].clone()
}

#[tokio::test]
async fn addresses_and_routes_go_to_the_interfaces_that_were_chosen_on_each_node() {
    let (bench, further) = bench().await;
    succeeded(&bench.create("create-1", STACK, chosen(&bench)).await);
    let lease = bench.standing().await;
    for (n, member) in lease.members.iter().enumerate() {
        let (interface, private_ips) = &further[n];
        assert_eq!(member.interface, *interface);
        let expected = Placement { interface: interface.clone(), private_ip: private_ips[1] };
        assert_eq!(place_of(&bench, member, 0), expected);
        assert_eq!(
            place_of(&bench, member, 1),
            bench.nodes[n].seat(0),
            "the first without a place of its own"
        );
    }
}

#[tokio::test]
async fn an_interface_is_found_by_its_tag_whatever_its_device_index_is() {
    let (bench, further) = bench().await;
    bench.cloud.tag_interface(&further[0].0, "side", "public");
    bench.cloud.tag_interface(&bench.nodes[1].interface, "side", "public");
    let mut properties = bench.properties();
    let side = json!({ "InterfaceTag": { "Key": "side", "Value": "public" } });
    (properties["AddressInterface"], properties["RouteInterface"]) = (side.clone(), side);
    bench.cloud.fail(Fault::on("DescribeNetworkInterfaces", Trouble::Throttle).times(2));
    succeeded(&bench.create("create-1", STACK, properties.clone()).await);
    let lease = bench.standing().await;
    let interfaces: Vec<_> = lease.members.iter().map(|member| member.interface.clone()).collect();
    assert_eq!(interfaces, [further[0].0.clone(), bench.nodes[1].interface.clone()]);
    for (member, interface) in lease.members.iter().zip(&interfaces) {
        assert!(member.placements.values().all(|place| place.interface == *interface));
    }
    // Whatever the tags say by then, this is what a move goes by; another request finds out.
    bench.cloud.tag_interface(&further[1].0, "side", "public");
    assert_eq!(bench.standing().await, lease);
    properties["Cluster"] = json!("billing");
    let reason = failed(&bench.create("create-2", STACK, properties).await);
    assert!(reason.contains("several network interfaces of"), "{reason}");
    assert!(reason.contains("have the tag side=public"), "{reason}");
}

#[tokio::test]
async fn tags_that_cannot_be_read_are_no_tags_that_are_missing() {
    let (bench, _) = bench().await;
    let mut properties = bench.properties();
    properties["RouteInterface"] = json!({ "InterfaceTag": { "Key": "side", "Value": "public" } });
    bench.cloud.fail(Fault::on("DescribeNetworkInterfaces", Trouble::Deny).always());
    let reason = failed(&bench.create("create-1", STACK, properties).await);
    assert!(reason.contains("the tags of the nodes' interfaces could not be read (denied: "), "{reason}");
    assert!(!reason.contains("chosen-interface"), "{reason}");
}

#[tokio::test]
async fn what_comes_to_no_place_is_refused_with_what_was_found() {
    let (bench, further) = bench().await;
    bench.cloud.detach(&further[1].0);
    bench.cloud.attach(&further[1].0, &bench.nodes[1].instance, 3, false);
    let reason = failed(&bench.create("create-1", STACK, chosen(&bench)).await);
    let instance = &bench.nodes[1].instance;
    let told = format!(
        "{instance} (b) has no network interface with device index 1, found {} at 0, {} at 3",
        bench.nodes[1].interface, further[1].0
    );
    assert!(reason.contains(&told), "{reason}");
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn a_stranger_on_a_private_address_that_was_chosen_is_found_there() {
    let (bench, further) = bench().await;
    let stranger = bench.cloud.address();
    let place = Placement { interface: further[1].0.clone(), private_ip: further[1].1[1] };
    bench.cloud.place(&stranger.allocation, &place);
    let reason = failed(&bench.create("create-1", STACK, chosen(&bench)).await);
    let told = format!("{} on {} carries {}", place.private_ip, place.interface, stranger.allocation);
    assert!(reason.contains(&told), "{reason}");
}

#[tokio::test]
async fn another_place_is_a_change_and_the_way_back_needs_no_node() {
    let (bench, further) = bench().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    succeeded(&bench.update("update-1", &id, chosen(&bench)).await);
    let lease = bench.standing().await;
    assert_eq!((lease.revision, &lease.members[0].interface), (2, &further[0].0));
    // Asked for while a node is gone, another place is refused, and what stands is not.
    bench.cloud.terminate(&bench.nodes[1].instance);
    for other in [bench.properties(), {
        let mut other = chosen(&bench);
        other["Addresses"][0]["PrivateIpIndex"] = json!("0");
        other
    }] {
        failed(&bench.update("update-2", &id, other).await);
    }
    assert_eq!(succeeded(&bench.update("update-3", &id, chosen(&bench)).await), id);
    assert_eq!(bench.standing().await, lease);
}
