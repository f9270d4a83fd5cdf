mod described;
mod diagnose;
mod hibernation;
mod kept;
mod role;
mod subnet;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use baton_protocol::choice::{Choices, InterfaceChoice, SeatChoice, Tag};
use baton_protocol::ec2::{AddressSeen, InstanceState, RouteSeen, RouteTarget, Seat};
use baton_protocol::ids::{
    AllocationId, AssociationId, ClusterName, InstanceId, InterfaceId, NodeName, RouteTableId,
};
use baton_protocol::resource::{Destination, Placement, Route};
use baton_protocol::tables::{TableChoice, TableSeen, Tables, Which};

use super::*;

fn instance(n: usize) -> InstanceId {
    InstanceId::new(format!("i-{n:08x}")).expect("valid")
}

fn interface(n: usize) -> InterfaceId {
    InterfaceId::new(format!("eni-{n:08x}")).expect("valid")
}

fn allocation(n: usize) -> AllocationId {
    AllocationId::new(format!("eipalloc-{n:08x}")).expect("valid")
}

fn table(n: usize) -> RouteTableId {
    RouteTableId::new(format!("rtb-{n:08x}")).expect("valid")
}

fn network(text: &str) -> Destination {
    Destination::new(text).expect("valid")
}

fn route(n: usize) -> Route {
    Route { table: table(n), destination: network("192.0.2.10/32") }
}

fn seat(n: usize, k: u8) -> Placement {
    Placement { interface: interface(n), private_ip: Ipv4Addr::new(10, 0, 0, 10 * n as u8 + k) }
}

fn node(n: usize) -> WantedNode {
    WantedNode { node: NodeName::new(format!("node-{n}")).expect("valid"), instance: instance(n) }
}

fn facts(n: usize) -> InstanceFacts {
    InstanceFacts {
        state: InstanceState::Other("running".to_owned()),
        zone: format!("euw1-az{n}"),
        vpc: "vpc-1".to_owned(),
        tagged: true,
        hibernates: false,
        interfaces: vec![InterfaceFacts {
            id: interface(n),
            device_index: 0,
            private_ips: vec![seat(n, 0).private_ip, seat(n, 1).private_ip],
        }],
    }
}

fn seen(destination: &str, target: RouteTarget) -> RouteSeen {
    RouteSeen { destination: network(destination), target, blackhole: false }
}

fn local() -> RouteSeen {
    seen("10.0.0.0/16", RouteTarget::Other("local".to_owned()))
}

fn at(place: Option<Placement>) -> AddressSeen {
    let association = AssociationId::new("eipassoc-00000001").expect("valid");
    let association = place.map(|place| (association, Some(place)));
    AddressSeen { public_ip: Ipv4Addr::new(198, 51, 100, 1), association }
}

/// Two nodes, two addresses, one route, everything as it should be.
fn world() -> World {
    World {
        wanted: Wanted {
            cluster: ClusterName::new("orders").expect("valid"),
            nodes: vec![node(1), node(2)],
            strict: true,
            by_tag: false,
            addresses: vec![allocation(1), allocation(2)],
            routes: vec![route(1)],
            from_gateways: BTreeSet::new(),
            subnets: Vec::new(),
            access: None,
            choices: Choices::default(),
        },
        role: RoleSeen::Unneeded,
        members: BTreeSet::new(),
        kept: BTreeSet::new(),
        instances: Seen::Known((1..=2).map(|n| (instance(n), facts(n))).collect()),
        networks: Seen::Known(vec![network("10.0.0.0/16"), network("2001:db8::/56")]),
        addresses: Seen::Known(BTreeMap::from([
            (allocation(1), at(None)),
            (allocation(2), at(Some(seat(2, 1)))),
        ])),
        interface_tags: Seen::Known(BTreeMap::new()),
        seats: Seen::Known(vec![Seat { allocation: allocation(2), placement: seat(2, 1) }]),
        tables: Seen::Known(BTreeMap::from([(
            table(1),
            vec![local(), seen("192.0.2.10/32", RouteTarget::Interface(interface(1)))],
        )])),
        subnets: Seen::Known(Subnets::default()),
        vpc_tables: Seen::Known(Tables::new()),
        neighbours: Seen::Known(Vec::new()),
    }
}

fn edit<T>(seen: &mut Seen<T>) -> &mut T {
    let Seen::Known(found) = seen else { panic!("the world of a test is known") };
    found
}

fn found(break_it: impl FnOnce(&mut World)) -> Vec<(Requirement, Severity)> {
    let mut world = world();
    break_it(&mut world);
    examine(&world).into_iter().map(|finding| (finding.id, finding.severity)).collect()
}

fn facts_of(world: &mut World, n: usize) -> &mut InstanceFacts {
    edit(&mut world.instances).get_mut(&instance(n)).expect("in the world")
}

#[test]
fn a_world_in_order_has_no_findings() {
    assert_eq!(examine(&world()), []);
}

#[test]
fn nodes_that_come_and_go_may_be_few_for_a_while() {
    let by_tag = |nodes: usize, zone: &str| {
        found(|w| {
            w.wanted.by_tag = true;
            w.wanted.nodes.truncate(nodes);
            facts_of(w, 2).zone = zone.to_owned();
        })
    };
    let zone = facts(1).zone;
    assert_eq!(by_tag(2, &zone), [(Requirement::TwoZones, Severity::Warning)]);
    assert_eq!(by_tag(1, "euw1-az9")[0], (Requirement::TwoNodes, Severity::Warning));
    let nobody = found(|w| {
        w.wanted.by_tag = true;
        w.wanted.nodes.clear();
        (w.instances, w.networks, w.seats) =
            (Seen::Known(BTreeMap::new()), Seen::Known(Vec::new()), Seen::Known(Vec::new()));
    });
    assert!(nobody.iter().all(|(_, severity)| !severity.refuses()), "{nobody:?}");
}

#[test]
fn each_requirement_of_the_request_yields_its_own_finding() {
    use Requirement::*;
    type Break = fn(&mut World);
    let broken: [(Requirement, Break); 9] = [
        (TwoNodes, |w| w.wanted.nodes.truncate(1)),
        (NodesDiffer, |w| w.wanted.nodes[1].node = w.wanted.nodes[0].node.clone()),
        (NodesDiffer, |w| w.wanted.nodes[1].instance = instance(1)),
        (SomethingToMove, |w| {
            w.wanted.addresses.clear();
            w.wanted.routes.clear();
            edit(&mut w.seats).clear();
        }),
        (ResourcesDiffer, |w| w.wanted.addresses[0] = allocation(2)),
        (ResourcesDiffer, |w| w.wanted.routes.push(route(1))),
        (Bounds, |w| {
            for n in 3..=MOST_NODES + 1 {
                w.wanted.nodes.push(node(n));
                edit(&mut w.instances).insert(instance(n), facts(n));
            }
        }),
        (Bounds, |w| {
            for n in 3..=MOST_ADDRESSES + 1 {
                w.wanted.addresses.push(allocation(n));
                edit(&mut w.addresses).insert(allocation(n), at(None));
            }
            for n in 1..=2 {
                facts_of(w, n).interfaces[0].private_ips =
                    (0..60).map(|k| Ipv4Addr::new(10, 0, n as u8, k)).collect();
            }
            edit(&mut w.seats).clear();
        }),
        (Bounds, |w| {
            for n in 2..=MOST_TABLES + 1 {
                w.wanted.routes.push(route(n));
                let routes = edit(&mut w.tables)[&table(1)].clone();
                edit(&mut w.tables).insert(table(n), routes);
            }
        }),
    ];
    for (number, (requirement, break_it)) in broken.into_iter().enumerate() {
        let found: Vec<_> = found(break_it).into_iter().filter(|(id, _)| *id != AddressAtNode).collect();
        assert_eq!(found, [(requirement, Severity::Violation)], "case {number}");
    }
}

#[test]
fn each_requirement_of_the_nodes_yields_its_own_finding() {
    use Requirement::*;
    type Break = fn(&mut World);
    let broken: [(Requirement, Severity, Break); 9] = [
        (InstanceExists, Severity::Violation, |w| {
            edit(&mut w.instances).remove(&instance(1));
            edit(&mut w.tables).get_mut(&table(1)).expect("there")[1].target =
                RouteTarget::Interface(interface(2));
        }),
        (InstanceExists, Severity::Violation, |w| {
            facts_of(w, 1).state = InstanceState::Terminated;
        }),
        (InstanceRuns, Severity::Violation, |w| {
            facts_of(w, 1).state = InstanceState::Other("stopped".to_owned());
        }),
        (InstanceRuns, Severity::Warning, |w| {
            facts_of(w, 1).state = InstanceState::Other("stopped".to_owned());
            w.members.insert(instance(1));
        }),
        (InstanceTagged, Severity::Warning, |w| facts_of(w, 2).tagged = false),
        (OneVpc, Severity::Violation, |w| facts_of(w, 2).vpc = "vpc-2".to_owned()),
        (TwoZones, Severity::Violation, |w| facts_of(w, 2).zone = "euw1-az1".to_owned()),
        (PrimaryInterface, Severity::Violation, |w| {
            facts_of(w, 1).interfaces.clear();
            edit(&mut w.tables).get_mut(&table(1)).expect("there")[1].target =
                RouteTarget::Interface(interface(2));
        }),
        (PrivateAddresses, Severity::Violation, |w| {
            facts_of(w, 1).interfaces[0].private_ips.truncate(1);
        }),
    ];
    for (number, (requirement, severity, break_it)) in broken.into_iter().enumerate() {
        assert_eq!(found(break_it), [(requirement, severity)], "case {number}");
    }
}

#[test]
fn each_requirement_of_the_resources_yields_its_own_finding() {
    use Requirement::*;
    type Break = fn(&mut World);
    let broken: [(Requirement, Severity, Break); 12] = [
        (AddressExists, Severity::Violation, |w| {
            edit(&mut w.addresses).remove(&allocation(1));
        }),
        (AddressAtNode, Severity::Warning, |w| {
            edit(&mut w.addresses).insert(allocation(1), at(Some(seat(9, 0))));
        }),
        (SeatFree, Severity::Violation, |w| {
            edit(&mut w.seats).push(Seat { allocation: allocation(9), placement: seat(1, 0) });
        }),
        (TableExists, Severity::Violation, |w| {
            edit(&mut w.tables).clear();
        }),
        (TableInVpc, Severity::Violation, |w| {
            edit(&mut w.tables).get_mut(&table(1)).expect("there")[0].destination = network("10.1.0.0/16");
        }),
        (DestinationOutside, Severity::Violation, |w| {
            w.wanted.routes[0].destination = network("10.0.7.7/32");
            edit(&mut w.tables).get_mut(&table(1)).expect("there")[1].destination = network("10.0.7.7/32");
        }),
        (RoutePresent, Severity::Info, |w| {
            edit(&mut w.tables).get_mut(&table(1)).expect("there").truncate(1);
        }),
        (RouteAtNode, Severity::Warning, |w| {
            edit(&mut w.tables).get_mut(&table(1)).expect("there")[1].target =
                RouteTarget::Interface(interface(9));
        }),
        (GatewayDeclared, Severity::Violation, |w| {
            edit(&mut w.tables).get_mut(&table(1)).expect("there")[1].target =
                RouteTarget::Other("igw-1".to_owned());
        }),
        (Unshared, Severity::Violation, |w| {
            neighbour(w, |other| {
                other.addresses.insert(allocation(1));
            })
        }),
        (Unshared, Severity::Violation, |w| {
            neighbour(w, |other| {
                other.seats.insert(seat(2, 1));
            })
        }),
        (Unshared, Severity::Violation, |w| {
            neighbour(w, |other| {
                other.routes.insert(route(1));
            })
        }),
    ];
    for (number, (requirement, severity, break_it)) in broken.into_iter().enumerate() {
        assert_eq!(found(break_it), [(requirement, severity)], "case {number}");
    }
}

fn neighbour(world: &mut World, owns: impl FnOnce(&mut Neighbour)) {
    let mut other = Neighbour {
        cluster: ClusterName::new("billing").expect("valid"),
        addresses: BTreeSet::from([allocation(7)]),
        seats: BTreeSet::from([seat(7, 0)]),
        routes: BTreeSet::from([route(7)]),
        subnets: BTreeSet::new(),
        prepared: BTreeSet::new(),
    };
    owns(&mut other);
    edit(&mut world.neighbours).push(other);
}

#[test]
fn whatever_cannot_be_read_is_found_unknown_and_refuses() {
    type Break = fn(&mut World);
    let unreadable: [Break; 8] = [
        |w| w.vpc_tables = Seen::Unknown("throttled".to_owned()),
        |w| w.interface_tags = Seen::Unknown("throttled".to_owned()),
        |w| w.instances = Seen::Unknown("throttled".to_owned()),
        |w| w.networks = Seen::Unknown("throttled".to_owned()),
        |w| w.addresses = Seen::Unknown("throttled".to_owned()),
        |w| w.seats = Seen::Unknown("throttled".to_owned()),
        |w| w.tables = Seen::Unknown("throttled".to_owned()),
        |w| w.neighbours = Seen::Unknown("throttled".to_owned()),
    ];
    for (number, break_it) in unreadable.into_iter().enumerate() {
        assert_eq!(found(break_it), [(Requirement::Readable, Severity::Unknown)], "case {number}");
    }
}

#[test]
fn what_nobody_asked_for_is_never_taken_for_met() {
    assert_eq!(found(|w| w.seats = Seen::Unasked), [(Requirement::Readable, Severity::Unknown)]);
    let explained = found(|w| {
        w.instances = Seen::Unknown("denied".to_owned());
        w.seats = Seen::Unasked;
        w.networks = Seen::Unasked;
    });
    assert_eq!(explained, [(Requirement::Readable, Severity::Unknown)], "only what was asked for in vain");
}

#[test]
fn a_route_is_taken_from_a_gateway_only_where_that_was_asked_for() {
    for (wide, to) in [("0.0.0.0/0", "igw-1"), ("0.0.0.0/0", "nat-1"), ("10.0.0.0/8", "tgw-1")] {
        for (declared, requirement, severity) in [
            (true, Requirement::RouteAtNode, Severity::Warning),
            (false, Requirement::GatewayDeclared, Severity::Violation),
        ] {
            let found = found(|w| {
                w.wanted.routes[0].destination = network(wide);
                if declared {
                    w.wanted.from_gateways.insert(w.wanted.routes[0].clone());
                }
                edit(&mut w.tables).get_mut(&table(1)).expect("there")[1] =
                    seen(wide, RouteTarget::Other(to.to_owned()));
            });
            assert_eq!(found, [(requirement, severity)], "{wide} {to} {declared}");
        }
    }
}

#[test]
fn the_leave_to_take_one_route_from_a_gateway_says_nothing_of_another() {
    let found = found(|w| {
        w.wanted.from_gateways.insert(route(2));
        edit(&mut w.tables).get_mut(&table(1)).expect("there")[1].target =
            RouteTarget::Other("igw-1".to_owned());
    });
    assert_eq!(found, [(Requirement::GatewayDeclared, Severity::Violation)]);
}

#[test]
fn a_route_into_nothing_may_be_taken_whatever_it_led_to() {
    let found = found(|w| {
        let route = &mut edit(&mut w.tables).get_mut(&table(1)).expect("there")[1];
        (route.target, route.blackhole) = (RouteTarget::Other("nat-1".to_owned()), true);
    });
    assert_eq!(found, [(Requirement::RouteAtNode, Severity::Warning)]);
}

#[test]
fn three_nodes_in_two_zones_are_enough() {
    let found = found(|w| {
        w.wanted.nodes.push(node(3));
        let mut third = facts(3);
        third.zone = "euw1-az1".to_owned();
        edit(&mut w.instances).insert(instance(3), third);
    });
    assert_eq!(found, [(Requirement::TwoZones, Severity::Info)]);
}

#[test]
fn a_clusters_own_entry_in_the_directory_is_no_neighbour() {
    let found = found(|w| {
        neighbour(w, |other| {
            other.cluster = ClusterName::new("orders").expect("valid");
            other.addresses.insert(allocation(1));
        });
    });
    assert_eq!(found, []);
}

#[test]
fn a_finding_says_what_was_found_and_what_to_do() {
    let mut world = world();
    edit(&mut world.seats).push(Seat { allocation: allocation(9), placement: seat(1, 0) });
    let findings = examine(&world);
    assert_eq!(findings[0].what, "10.0.0.10 on eni-00000001 carries eipalloc-00000009");
    assert!(findings[0].remedy.contains("another private address"), "{}", findings[0].remedy);
}

/// Each node has a second interface with two private addresses; the first address goes there, and so do the routes.
fn second(world: &mut World) {
    for n in 1..=2 {
        let private_ips = vec![seat(n + 4, 0).private_ip, seat(n + 4, 1).private_ip];
        let further = InterfaceFacts { id: interface(n + 4), device_index: 1, private_ips };
        facts_of(world, n).interfaces.push(further);
    }
    let place = SeatChoice { interface: InterfaceChoice::Device(1), private_ip: 1 };
    world.wanted.choices.seats.insert(allocation(1), place);
    world.wanted.choices.routes = Some(InterfaceChoice::Device(1));
    edit(&mut world.seats).clear();
}

fn by_tag(world: &mut World) {
    second(world);
    let tag = InterfaceChoice::Tag(Tag::new("side", "public").expect("valid"));
    world.wanted.choices.routes = Some(tag.clone());
    for seat in world.wanted.choices.seats.values_mut() {
        seat.interface = tag.clone();
    }
    for n in 5..=6 {
        edit(&mut world.interface_tags)
            .insert(interface(n), [("side".to_owned(), "public".to_owned())].into());
    }
}

#[test]
fn what_was_chosen_comes_to_its_place_on_each_node() {
    for choose in [second, by_tag] {
        let mut world = world();
        choose(&mut world);
        assert_eq!(examine(&world), []);
        for n in 1..=2 {
            let found = places(&world, &node(n)).expect("there");
            assert_eq!(found.interface, interface(n + 4));
            let expected = [(allocation(1), seat(n + 4, 1)), (allocation(2), seat(n, 0))];
            assert_eq!(found.placements, BTreeMap::from(expected));
        }
    }
}

#[test]
fn a_choice_that_comes_to_no_place_on_a_node_says_what_is_there() {
    type Break = fn(&mut World);
    let broken: [(Break, Break, Requirement, &str); 6] = [
        (
            second,
            |w| facts_of(w, 2).interfaces[1].device_index = 2,
            Requirement::ChosenInterface,
            "i-00000002 (node-2) has no network interface with device index 1, found eni-00000002 at 0, eni-00000006 at 2",
        ),
        (
            second,
            |w| facts_of(w, 2).interfaces[1].private_ips.truncate(1),
            Requirement::PrivateAddresses,
            "eni-00000006 of i-00000002 (node-2) has one private IPv4 address, expected 2",
        ),
        (
            by_tag,
            |w| drop(edit(&mut w.interface_tags).remove(&interface(6))),
            Requirement::ChosenInterface,
            "no network interface of i-00000002 (node-2) has the tag side=public, found eni-00000002 at 0, \
             eni-00000006 at 1",
        ),
        (
            by_tag,
            |w| {
                let tags = edit(&mut w.interface_tags)[&interface(6)].clone();
                edit(&mut w.interface_tags).insert(interface(2), tags);
            },
            Requirement::ChosenInterface,
            "several network interfaces of i-00000002 (node-2) have the tag side=public: eni-00000002, eni-00000006",
        ),
        (
            second,
            |w| {
                drop(
                    w.wanted
                        .choices
                        .seats
                        .insert(allocation(2), w.wanted.choices.seats[&allocation(1)].clone()),
                )
            },
            Requirement::SeatsDiffer,
            "eipalloc-00000001 and eipalloc-00000002 both go to 10.0.0.51 on eni-00000005 of i-00000001 (node-1)",
        ),
        (
            by_tag,
            |w| {
                let same = SeatChoice { interface: InterfaceChoice::Device(1), private_ip: 1 };
                w.wanted.choices.seats.insert(allocation(2), same);
            },
            Requirement::SeatsDiffer,
            "eipalloc-00000001 and eipalloc-00000002 both go to 10.0.0.51 on eni-00000005 of i-00000001 (node-1)",
        ),
    ];
    for (number, (choose, break_it, requirement, what)) in broken.into_iter().enumerate() {
        let mut world = world();
        choose(&mut world);
        break_it(&mut world);
        let found = examine(&world);
        assert_eq!((found[0].id, found[0].severity), (requirement, Severity::Violation), "case {number}");
        assert_eq!(found[0].what, what, "case {number}");
        assert!(found.iter().all(|finding| finding.id == requirement), "case {number}: {found:?}");
    }
}

#[test]
fn a_seat_on_a_further_interface_is_free_and_nobody_elses() {
    let mut world = world();
    second(&mut world);
    edit(&mut world.seats).push(Seat { allocation: allocation(9), placement: seat(5, 1) });
    neighbour(&mut world, |other| {
        other.seats.insert(seat(6, 1));
    });
    let found: Vec<_> = examine(&world).into_iter().map(|finding| finding.what).collect();
    assert_eq!(
        found,
        [
            "10.0.0.51 on eni-00000005 carries eipalloc-00000009",
            "10.0.0.61 on eni-00000006 belongs to the cluster billing"
        ]
    );
}
