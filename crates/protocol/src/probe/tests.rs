use super::*;
use crate::ec2::{AddressSeen, RouteTarget};
use crate::ids::InstanceId;
use crate::testing::{
    allocation, arn, interface, lease, route, subnet, subnet_tables, table, table_association,
};

const AT: WallTime = WallTime(1_800_000_000_000);

/// Everything where it belongs.
fn sights() -> Vec<Result<Sight, CloudFailure>> {
    let lease = lease();
    let public_ip = lease.resources.addresses[0].public_ip;
    let seen = |instance: InstanceId| InterfaceSeen { source_dest_check: false, instance: Some(instance) };
    let attached =
        interfaces(&lease).into_iter().map(|(id, member)| (id, seen(member.instance.instance_id())));
    let at = |n: u8| RouteSeen {
        destination: route(n).destination,
        target: RouteTarget::Interface(interface(1)),
        blackhole: false,
    };
    vec![
        Ok(Sight::Interfaces(attached.collect())),
        Ok(Sight::Addresses([(allocation(1), AddressSeen { public_ip, association: None })].into())),
        Ok(Sight::Tables([(table(1), vec![at(1)]), (table(2), vec![at(2)])].into())),
    ]
}

fn answers() -> Vec<(Trial, Result<(), CloudFailure>)> {
    trials(&lease()).into_iter().map(|trial| (trial, Ok(()))).collect()
}

/// What is found after a change of the answers, as text.
fn found(
    change: impl FnOnce(&mut Vec<Result<Sight, CloudFailure>>, &mut Vec<(Trial, Result<(), CloudFailure>)>),
) -> Option<Vec<String>> {
    let (mut sights, mut answers) = (sights(), answers());
    change(&mut sights, &mut answers);
    let probe = judge(&lease(), sights, answers, AT)?;
    assert!(probe.is_about(&lease()) && probe.at == AT);
    let text = |o: Obstacle| format!("{} {}: {}", o.node.unwrap_or_default(), o.resource, o.why);
    Some(probe.obstacles.into_iter().map(text).collect())
}

#[test]
fn a_cluster_in_order_has_no_obstacles() {
    assert_eq!(found(|_, _| ()), Some(Vec::new()));
    let asked = looks(&lease());
    assert_eq!(asked.len(), 4);
    let mut without = lease();
    without.resources = crate::resource::Resources::default();
    assert_eq!(looks(&without).len(), 1, "of nothing, nothing is asked");
}

#[test]
fn each_address_table_and_node_is_in_a_call_of_each_kind() {
    let named = |lease: &Lease, action: &str| -> Vec<String> {
        let trials = trials(lease).into_iter().filter(|trial| trial.call.action() == action);
        trials.map(|trial| format!("{} {}", trial.call.resource(), trial.node.unwrap_or_default())).collect()
    };
    let small = lease();
    assert_eq!(named(&small, "DisassociateAddress"), ["eipalloc-00000001 "]);
    let towards = ["node-a", "node-b", "node-c"].map(|node| format!("eipalloc-00000001 {node}"));
    assert_eq!(named(&small, "AssociateAddress"), towards);
    assert_eq!(named(&small, "ReplaceRoute").len(), 2);
    assert_eq!(named(&small, "CreateRoute").len(), 2);
    assert_eq!(named(&small, "ModifyNetworkInterfaceAttribute").len(), 3);
    let mut large = lease();
    let address =
        |n| crate::resource::Address { allocation: allocation(n), ..large.resources.addresses[0].clone() };
    large.resources.addresses = (1..=5).map(address).collect();
    for member in &mut large.members {
        let place = member.placements[&allocation(1)].clone();
        member.placements = (1..=5).map(|n| (allocation(n), place.clone())).collect();
    }
    // Sixty routes in one table are one table.
    let many = (1..=60).map(|n| crate::resource::Route {
        destination: crate::resource::Destination::new(&format!("10.9.{n}.0/24")).expect("valid"),
        ..route(1)
    });
    large.resources.routes = many.collect();
    let tried = named(&large, "AssociateAddress");
    assert_eq!(tried.len(), 5, "{tried:?}");
    for what in ["eipalloc-00000001", "eipalloc-00000005", "node-a", "node-b", "node-c"] {
        assert!(tried.iter().any(|text| text.contains(what)), "{what} in {tried:?}");
    }
    assert_eq!(named(&large, "ReplaceRoute").len(), 1);
}

#[test]
fn of_more_calls_than_one_probe_tries_each_hour_has_its_part() {
    let mut huge = lease();
    let id = |n: u32| crate::ids::RouteTableId::new(format!("rtb-{n:08x}")).expect("valid");
    huge.resources.routes = (0..120).map(|n| crate::resource::Route { table: id(n), ..route(1) }).collect();
    let all = trials(&huge);
    let hours = (0..3).map(|hour| tried(&huge, WallTime(AT.0 + hour * 3_600_000)));
    let parts: Vec<_> = hours.collect();
    assert!(all.len() > MOST_TRIALS && parts.iter().all(|part| part.len() <= MOST_TRIALS));
    assert!(all.iter().all(|trial| parts.iter().any(|part| part.contains(trial))));
    assert_eq!(tried(&lease(), AT), trials(&lease()));
    // What one part has found the next one keeps, but for what it has asked about itself.
    let denied = |trial: &Trial| {
        let failed = Err(CloudFailure::Denied("no".to_owned()));
        judge(&huge, Vec::new(), vec![(trial.clone(), failed)], AT).expect("known")
    };
    let calls: Vec<Call> = parts[1].iter().map(|trial| trial.call.clone()).collect();
    let after = |before: &Probe| {
        let mut found = judge(&huge, Vec::new(), Vec::new(), AT).expect("known");
        keep_of(Some(before), &huge, &calls, &mut found);
        found.obstacles.len()
    };
    let elsewhere =
        parts[0].iter().find(|trial| !calls.iter().any(|call| call.resource() == trial.call.resource()));
    assert_eq!((after(&denied(elsewhere.expect("some"))), after(&denied(&parts[1][3]))), (1, 0));
}

#[test]
fn an_address_of_somebody_else_in_a_seat_is_an_obstacle() {
    let seat = |n, m| Seat { allocation: allocation(n), placement: crate::testing::placement(m) };
    let found =
        found(|sights, _| sights.push(Ok(Sight::Seats(vec![seat(9, 2), seat(1, 1)])))).expect("known");
    let place = crate::testing::placement(2);
    let expected = format!(
        "node-b eipalloc-00000001: {} on {} carries eipalloc-00000009",
        place.private_ip, place.interface
    );
    assert_eq!(found, [expected]);
}

#[test]
fn what_a_move_would_meet_is_an_obstacle_with_its_node() {
    for (failure, is_one) in [
        (CloudFailure::Denied("UnauthorizedOperation: no".to_owned()), true),
        (CloudFailure::NotFound("InvalidAllocationID.NotFound".to_owned()), true),
        (CloudFailure::Refused("IncorrectState".to_owned()), true),
        (CloudFailure::AlreadyAssociated, false),
        (CloudFailure::AssociationGone, false),
        (CloudFailure::RouteMissing, false),
        (CloudFailure::RouteExists, false),
    ] {
        let told = failure.to_string();
        let found = found(|_, answers| {
            answers.iter_mut().filter(|(t, _)| t.node.as_deref() == Some("node-b")).for_each(
                |(trial, answer)| {
                    if matches!(trial.call, Call::Associate { .. }) {
                        *answer = Err(failure.clone());
                    }
                },
            )
        });
        let expected = format!("node-b eipalloc-00000001: AssociateAddress: {told}");
        assert_eq!(found, Some(if is_one { vec![expected] } else { Vec::new() }));
    }
}

#[test]
fn a_probe_that_does_not_know_everything_says_nothing() {
    for failure in [CloudFailure::Throttled, CloudFailure::Unknown("lost".to_owned())] {
        assert_eq!(found(|sights, _| sights[1] = Err(failure.clone())), None);
        assert_eq!(found(|_, answers| answers[3].1 = Err(failure.clone())), None);
    }
    let denied = found(|sights, _| sights[1] = Err(CloudFailure::Denied("no".to_owned()))).expect("known");
    assert!(denied.len() == 1 && denied[0].contains("denied"), "{denied:?}");
}

#[test]
fn what_is_gone_or_elsewhere_is_an_obstacle() {
    let gone = found(|sights, _| sights[1] = Ok(Sight::Addresses(BTreeMap::new())));
    assert_eq!(gone.expect("known"), [" eipalloc-00000001: the address does not exist any more"]);
    let tables = found(|sights, _| sights[2] = Ok(Sight::Tables(BTreeMap::new()))).expect("known");
    assert!(tables.len() == 2 && tables[0].contains("does not exist"), "{tables:?}");
    let of = |change: fn(&mut BTreeMap<InterfaceId, InterfaceSeen>)| {
        found(|sights, _| {
            let Ok(Sight::Interfaces(seen)) = &mut sights[0] else { panic!("interfaces come first") };
            change(seen);
        })
        .expect("known")
    };
    let id = interface(2);
    let there = arn(3).instance_id();
    let lost = of(|seen| drop(seen.remove(&interface(2))));
    assert_eq!(lost, [format!("node-b {id}: the interface does not exist any more")]);
    let detached = of(|seen| seen.get_mut(&interface(2)).expect("there").instance = None);
    assert_eq!(detached, [format!("node-b {id}: the interface is not attached to {}", arn(2).instance_id())]);
    let moved = of(|seen| seen.get_mut(&interface(2)).expect("there").instance = Some(arn(3).instance_id()));
    let expected = format!("the interface is attached to {there} and not to {}", arn(2).instance_id());
    assert_eq!(moved, [format!("node-b {id}: {expected}")]);
}

#[test]
fn a_route_at_a_gateway_is_an_obstacle_unless_it_may_be_taken_from_there() {
    let at_gateway = |lease: &Lease| {
        let mut sights = sights();
        let Ok(Sight::Tables(tables)) = &mut sights[2] else { panic!("tables come last") };
        tables.get_mut(&table(1)).expect("there")[0].target = RouteTarget::Other("nat-1".to_owned());
        judge(lease, sights, Vec::new(), AT).expect("known").obstacles.len()
    };
    let mut lease = lease();
    assert_eq!(at_gateway(&lease), 1);
    lease.resources.from_gateways.insert(route(1));
    assert_eq!(at_gateway(&lease), 0);
}

#[test]
fn no_more_is_kept_than_people_read_and_no_other_configuration_is_judged_by_it() {
    let long = "x".repeat(1_000);
    let all = found(|_, answers| {
        answers.iter_mut().for_each(|(_, answer)| *answer = Err(CloudFailure::Denied(long.clone())));
    });
    let all = all.expect("known");
    assert!(all.len() <= MOST_OBSTACLES && all.iter().all(|text| text.len() < 400), "{}", all.len());
    let probe = judge(&lease(), sights(), answers(), AT).expect("known");
    let later = Lease { revision: 2, ..lease() };
    assert!(probe.is_about(&lease()) && !probe.is_about(&later));
    const OVERDUE_MS: u64 = 3 * 3_600_000;
    let fresh = |probe: &Probe, ms: u64| {
        Probe::is_fresh(Some(probe), &lease(), WallTime(AT.0 + ms), Duration::from_secs(3_600))
    };
    assert!(fresh(&probe, 3_599_999) && !fresh(&probe, 3_600_000));
    let held = Lease { last_grant: Some(WallTime(AT.0 - OVERDUE_MS)), ..lease() };
    let overdue =
        |probe: Option<&Probe>, lease: &Lease, ms| Probe::is_overdue(probe, lease, WallTime(AT.0 + ms));
    assert!(!overdue(Some(&probe), &held, OVERDUE_MS - 1) && overdue(Some(&probe), &held, OVERDUE_MS));
    assert!(
        !overdue(Some(&probe), &Lease { revision: 2, ..held.clone() }, 0),
        "a new configuration is no alarm"
    );
    assert!(overdue(None, &held, 0), "nobody has known for three hours");
    assert!(
        !overdue(None, &Lease { last_grant: Some(AT), ..lease() }, OVERDUE_MS - 1),
        "nobody could have known"
    );
    let broken = Probe { obstacles: vec![obstacle(None, "x", "y")], ..probe };
    assert_eq!(Probe::obstacles_of(Some(&broken), &lease()).len(), 1);
    assert_eq!(Probe::obstacles_of(Some(&broken), &later).len(), 1, "an update hides nothing");
    let other = Lease { uid: RegistrationUid::new("uid-9").expect("valid"), ..lease() };
    assert_eq!(Probe::obstacles_of(Some(&broken), &other), []);
    assert_eq!(Probe::obstacles_of(None, &lease()), []);
}

#[test]
fn a_subnet_that_could_not_be_swapped_and_a_table_that_leads_past_its_node_are_obstacles() {
    let mut lease = lease();
    lease.resources = crate::resource::Resources {
        subnets: vec![subnet_tables(1)],
        ..crate::resource::Resources::default()
    };
    lease.observed.tables.insert(subnet(1), table_association(1, 1));
    let asked = looks(&lease);
    assert!(asked.contains(&Look::Subnets(vec![subnet(1)])), "{asked:?}");
    assert!(asked.contains(&Look::Tables((1..=3).map(table).collect())), "{asked:?}");
    lease.observed.associations.clear();
    let tried: Vec<&'static str> = trials(&lease).iter().map(|trial| trial.call.action()).collect();
    assert_eq!(tried[..3], ["ReplaceRouteTableAssociation"; 3]);
    assert_eq!(tried[3..], ["ModifyNetworkInterfaceAttribute"; 3]);

    let row = |n: u8| RouteSeen {
        destination: route(n).destination,
        target: RouteTarget::Interface(interface(n)),
        blackhole: false,
    };
    let tables = || (1..=3).map(|n| (table(n), vec![row(n)])).collect::<BTreeMap<_, _>>();
    let judged = |tables, there: Option<TableAssociation>| -> Vec<String> {
        let subnets = there.map(|there| (subnet(1), there)).into_iter().collect();
        let sights = vec![Ok(Sight::Tables(tables)), Ok(Sight::Subnets(subnets))];
        let probe = judge(&lease, sights, Vec::new(), AT).expect("known");
        probe
            .obstacles
            .into_iter()
            .map(|o| format!("{} {}", o.node.unwrap_or_default(), o.resource))
            .collect()
    };
    assert_eq!(judged(tables(), Some(table_association(5, 3))), Vec::<String>::new());
    assert_eq!(judged(tables(), Some(table_association(5, 4))), [" subnet-00000001"], "a foreign table");
    assert_eq!(judged(tables(), None), [" subnet-00000001"], "none of its own");
    let mut astray = tables();
    astray.insert(table(2), vec![row(1)]);
    astray.remove(&table(3));
    let found = judged(astray, Some(table_association(5, 1)));
    assert_eq!(found, ["node-b rtb-00000002", "node-c rtb-00000003"]);
}

#[test]
fn each_interface_that_takes_an_address_is_tried_and_the_one_that_takes_routes_as_well() {
    let mut lease = lease();
    let address =
        |n| Address { allocation: allocation(n), public_ip: std::net::Ipv4Addr::new(198, 51, 100, n) };
    lease.resources.addresses = (1..=3).map(address).collect();
    for (n, member) in (1..).zip(&mut lease.members) {
        // Two addresses at the first interface, one at the second, to which routes lead as well.
        let at = |interface_of: u8, last| {
            let private_ip = std::net::Ipv4Addr::new(10, 0, n, last);
            Placement { interface: interface(interface_of), private_ip }
        };
        member.placements =
            [(allocation(1), at(n, 10)), (allocation(2), at(n, 11)), (allocation(3), at(n + 3, 10))].into();
        member.interface = interface(n + 3);
    }
    let towards: BTreeSet<_> = trials(&lease)
        .into_iter()
        .filter_map(|trial| match trial.call {
            Call::Associate { placement, .. } => Some(placement.interface),
            _ => None,
        })
        .collect();
    assert_eq!(towards, (1..=6).map(interface).collect());
    let checks = trials(&lease).into_iter().filter_map(|trial| match trial.call {
        Call::DisableSourceDestCheck { interface } => Some(interface),
        _ => None,
    });
    assert_eq!(checks.collect::<Vec<_>>(), [4, 5, 6].map(interface));
    assert!(looks(&lease).contains(&Look::Seats((1..=6).map(interface).collect())));
}
