use baton_protocol::ec2::RouteTarget;
use baton_protocol::ids::{AllocationId, ClusterName, RoleArn};
use baton_protocol::resource::{Placement, Route};

use super::*;

struct Scene {
    cloud: MemoryCloud,
    vpc: String,
    a: MemoryNode,
    b: MemoryNode,
}

fn scene() -> Scene {
    let cloud = MemoryCloud::new();
    let vpc = cloud.vpc(&["10.0.0.0/16"]);
    let a = cloud.node(&vpc, "euw1-az1", 2);
    let b = cloud.node(&vpc, "euw1-az2", 2);
    Scene { cloud, vpc, a, b }
}

fn associate(allocation: &AllocationId, placement: Placement) -> Call {
    Call::Associate { allocation: allocation.clone(), placement }
}

fn disassociate(cloud: &MemoryCloud, allocation: &AllocationId) -> Call {
    let association = cloud.association_of(allocation).expect("associated");
    Call::Disassociate { allocation: allocation.clone(), association }
}

fn unknown<T>(answer: &Result<T, CloudFailure>) -> bool {
    matches!(answer, Err(CloudFailure::Unknown(_)))
}

#[tokio::test]
async fn an_address_that_takes_a_taken_seat_evicts_who_sat_there() {
    let Scene { cloud, a, .. } = scene();
    let (own, moving) = (cloud.address().allocation, cloud.address().allocation);
    cloud.place(&own, &a.seat(0));
    cloud.call(&associate(&moving, a.seat(0))).await.expect("EC2 does not mind");
    assert_eq!(cloud.seat_of(&own), None, "the stranger lost its seat");
    assert_eq!(cloud.seat_of(&moving), Some(a.seat(0)));
}

#[tokio::test]
async fn an_association_to_the_same_place_is_answered_as_the_world_is_set() {
    let Scene { cloud, a, b, .. } = scene();
    let address = cloud.address().allocation;
    let before = cloud.place(&address, &a.seat(0));
    let again = associate(&address, a.seat(0));
    assert_eq!(cloud.call(&again).await, Err(CloudFailure::AlreadyAssociated));
    cloud.set_same_place(SamePlace::Keep);
    assert_eq!(cloud.call(&again).await, Ok(Effect::Associated(before.clone())));
    cloud.set_same_place(SamePlace::Rotate);
    let Ok(Effect::Associated(after)) = cloud.call(&again).await else { panic!("done") };
    assert_ne!(after, before);
    for elsewhere in [a.seat(1), b.seat(0)] {
        assert_eq!(cloud.call(&associate(&address, elsewhere)).await, Err(CloudFailure::AlreadyAssociated));
    }
}

#[tokio::test]
async fn a_terminated_instance_frees_its_addresses_and_leaves_a_black_hole() {
    let Scene { cloud, vpc, a, b } = scene();
    let (address, other) = (cloud.address().allocation, cloud.address().allocation);
    let (second, ips) = cloud.add_interface(&vpc, 1);
    cloud.attach(&second, &a.instance, 1, false);
    cloud.place(&address, &a.seat(0));
    cloud.place(&other, &Placement { interface: second.clone(), private_ip: ips[0] });
    let table = cloud.table(&vpc);
    cloud.put_route(&table, "10.9.0.1/32", RouteTarget::Interface(a.interface.clone()));
    cloud.put_route(&table, "10.9.0.2/32", RouteTarget::Interface(b.interface.clone()));
    cloud.put_route(&table, "10.9.0.3/32", RouteTarget::Interface(second.clone()));
    let black_holes = async || match cloud.look(&Look::Tables(vec![table.clone()])).await {
        Ok(Sight::Tables(tables)) => tables[&table].iter().map(|route| route.blackhole).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(black_holes().await, [false; 4]);

    cloud.terminate(&a.instance);
    assert_eq!((cloud.seat_of(&address), cloud.seat_of(&other)), (None, None));
    assert_eq!(black_holes().await, [false, true, false, true]);
    let looked = cloud.look(&Look::Interfaces(vec![a.interface.clone(), second.clone()])).await;
    let Ok(Sight::Interfaces(interfaces)) = looked else { panic!("{looked:?}") };
    assert_eq!(interfaces.keys().collect::<Vec<_>>(), [&second], "only the primary interface went with it");
    assert_eq!(interfaces[&second].instance, None);
    let looked = cloud.look(&Look::Instance(a.instance.clone())).await;
    assert_eq!(looked, Ok(Sight::Instance(baton_protocol::ec2::InstanceState::Terminated)));
    let to_the_dead = cloud.call(&associate(&address, a.seat(0))).await;
    assert!(matches!(to_the_dead, Err(CloudFailure::NotFound(_))), "{to_the_dead:?}");
}

#[tokio::test]
async fn a_route_to_a_stopped_or_detached_target_is_a_black_hole_until_it_is_back() {
    let Scene { cloud, vpc, a, .. } = scene();
    let table = cloud.table(&vpc);
    cloud.put_route(&table, "10.9.0.1/32", RouteTarget::Interface(a.interface.clone()));
    let black_hole = async || match cloud.look(&Look::Tables(vec![table.clone()])).await {
        Ok(Sight::Tables(tables)) => tables[&table].iter().any(|route| route.blackhole),
        other => panic!("{other:?}"),
    };
    cloud.set_state(&a.instance, "stopped");
    assert!(black_hole().await);
    cloud.set_state(&a.instance, "running");
    assert!(!black_hole().await);
    cloud.detach(&a.interface);
    assert!(black_hole().await);
}

#[tokio::test]
async fn a_refused_call_is_not_applied_and_an_unknown_one_may_be() {
    for (trouble, applied) in [
        (Trouble::Throttle, false),
        (Trouble::Deny, false),
        (Trouble::FailUnknownBefore, false),
        (Trouble::FailUnknownAfter, true),
        (Trouble::LandLate, false),
    ] {
        let Scene { cloud, a, .. } = scene();
        let address = cloud.address().allocation;
        cloud.fail(Fault::on("AssociateAddress", trouble));
        let answer = cloud.call(&associate(&address, a.seat(0))).await;
        match trouble {
            Trouble::Throttle => assert_eq!(answer, Err(CloudFailure::Throttled)),
            Trouble::Deny => assert!(matches!(answer, Err(CloudFailure::Denied(_)))),
            _ => assert!(unknown(&answer), "{trouble:?}: {answer:?}"),
        }
        assert_eq!(cloud.seat_of(&address).is_some(), applied, "{trouble:?}");
        assert_eq!(cloud.log()[0].applied, applied, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_call_that_lands_late_meets_the_world_as_it_is_by_then() {
    let Scene { cloud, vpc, a, b } = scene();
    let table = cloud.table(&vpc);
    cloud.put_route(&table, "10.9.0.1/32", RouteTarget::Interface(a.interface.clone()));
    let address = cloud.address().allocation;
    cloud.place(&address, &a.seat(0));
    let old = cloud.named("old");
    cloud.fail(Fault::on_anything(Trouble::LandLate).from("old").times(2));
    let stale = disassociate(&cloud, &address);
    let destination = Destination::new("10.9.0.1/32").expect("valid");
    let replace = |interface: &MemoryNode| Call::ReplaceRoute {
        route: Route { table: table.clone(), destination },
        interface: interface.interface.clone(),
    };
    assert!(unknown(&old.call(&stale).await));
    assert!(unknown(&old.call(&replace(&a)).await));

    // Meanwhile somebody newer moves both.
    cloud.call(&disassociate(&cloud, &address)).await.expect("applied");
    cloud.call(&associate(&address, b.seat(0))).await.expect("applied");
    cloud.call(&replace(&b)).await.expect("applied");

    let landed = cloud.land();
    assert_eq!(
        landed[0].outcome,
        Err(CloudFailure::AssociationGone),
        "the address is fenced by its association"
    );
    assert_eq!(cloud.seat_of(&address), Some(b.seat(0)));
    assert_eq!(landed[1].outcome, Ok(Effect::Done), "a route has no such fence");
    assert_eq!(cloud.target_of(&table, "10.9.0.1/32"), Some(RouteTarget::Interface(a.interface)));
    assert!(landed.iter().all(|landed| landed.caller == "old"));
    assert!(cloud.parked().is_empty() && cloud.land().is_empty());
}

#[tokio::test]
async fn parked_calls_may_land_in_any_order() {
    let Scene { cloud, a, b, .. } = scene();
    let address = cloud.address().allocation;
    cloud.fail(Fault::on("AssociateAddress", Trouble::LandLate).times(2));
    for node in [&a, &b] {
        assert!(unknown(&cloud.call(&associate(&address, node.seat(0))).await));
    }
    assert!(cloud.land_nth(5).is_none());
    assert!(cloud.land_nth(1).expect("parked").outcome.is_ok());
    assert_eq!(cloud.land_nth(0).expect("parked").outcome, Err(CloudFailure::AlreadyAssociated));
    assert_eq!(cloud.seat_of(&address), Some(b.seat(0)));
}

#[tokio::test]
async fn a_stale_look_shows_the_world_as_it_was() {
    let Scene { cloud, a, b, .. } = scene();
    let address = cloud.address().allocation;
    cloud.place(&address, &a.seat(0));
    cloud.place(&address, &b.seat(0));
    let seat = async |cloud: &MemoryCloud| match cloud.look(&Look::Addresses(vec![address.clone()])).await {
        Ok(Sight::Addresses(seen)) => {
            seen.get(&address).cloned().map(|seen| seen.association.and_then(|it| it.1))
        }
        other => panic!("{other:?}"),
    };
    for (back, expected) in
        [(0, Some(Some(b.seat(0)))), (1, Some(Some(a.seat(0)))), (2, Some(None)), (3, None), (1000, None)]
    {
        cloud.fail(Fault::on("DescribeAddresses", Trouble::Stale(back)));
        assert_eq!(seat(&cloud).await, expected, "{back} changes ago");
        assert_eq!(seat(&cloud).await, Some(Some(b.seat(0))), "and then the present again");
    }
}

#[tokio::test]
async fn the_log_tells_who_asked_what_and_was_told_what_in_order() {
    let Scene { cloud, a, b, .. } = scene();
    let address = cloud.address().allocation;
    let (one, two) = (cloud.named("one"), cloud.named("two"));
    let first = associate(&address, a.seat(0));
    let second = associate(&address, b.seat(0));
    let won = one.call(&first).await;
    let lost = two.call(&second).await;
    let _ = two.look(&Look::Seats(vec![a.interface.clone()])).await;
    assert_eq!(lost, Err(CloudFailure::AlreadyAssociated));
    let log = cloud.log();
    let who: Vec<_> = log.iter().map(|entry| (entry.number, entry.caller.as_str(), entry.applied)).collect();
    assert_eq!(who, [(0, "one", true), (1, "two", false), (2, "two", false)]);
    assert_eq!(cloud.calls(), [(first, won), (second, lost)]);
    cloud.clear_log();
    assert!(cloud.log().is_empty());
}

#[tokio::test]
async fn the_same_story_gives_the_same_ids_and_the_same_log() {
    let tell = async || {
        let Scene { cloud, vpc, a, b } = scene();
        let address = cloud.address().allocation;
        cloud.fail(Fault::on("AssociateAddress", Trouble::Throttle));
        for node in [&a, &b, &a] {
            let _ = cloud.call(&associate(&address, node.seat(1))).await;
        }
        let _ = cloud.instances(&[a.instance, b.instance]).await;
        let _ = cloud.vpc_networks(&vpc).await;
        cloud.log()
    };
    assert_eq!(tell().await, tell().await);
}

fn through(role: &str, cluster: &str) -> TableAccess {
    let role = RoleArn::new(format!("arn:aws:iam::{role}")).expect("valid");
    TableAccess { role, cluster: ClusterName::new(cluster).expect("valid") }
}

#[tokio::test]
async fn a_shared_vpcs_tables_are_seen_and_changed_through_their_owners_role_only() {
    let Scene { cloud, vpc, a, .. } = scene();
    let (table, own) = (cloud.table(&vpc), cloud.table(&cloud.vpc(&["10.1.0.0/16"])));
    let owner = through("210987654321:role/r", "orders");
    cloud.share(&vpc, &owner);
    let route = Route { table: table.clone(), destination: Destination::new("10.9.0.1/32").expect("valid") };
    let create = Call::CreateRoute { route, interface: a.interface.clone() };
    let look = Look::Tables(vec![table.clone(), own.clone()]);
    let seen = async |cloud: &MemoryCloud| match cloud.look(&look).await {
        Ok(Sight::Tables(seen)) => seen.into_keys().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };

    assert_eq!(seen(&cloud).await, std::slice::from_ref(&own));
    assert!(matches!(cloud.call(&create).await, Err(CloudFailure::Denied(_))));
    assert!(matches!(cloud.probe(&create).await, Err(CloudFailure::Denied(_))));
    assert_eq!(cloud.tables_of(&vpc).await, Ok(Tables::new()));

    let by_role = cloud.through(Some(&owner));
    assert_eq!(seen(&by_role).await, std::slice::from_ref(&table), "and not what is the account's own");
    assert_eq!((by_role.prepare().await, by_role.probe(&create).await), (Ok(()), Ok(())));
    assert_eq!(by_role.call(&create).await, Ok(Effect::Done));
    // What is not of tables goes by the account's own right.
    let check = Call::DisableSourceDestCheck { interface: a.interface.clone() };
    assert_eq!(by_role.call(&check).await, Ok(Effect::Done));
}

#[tokio::test]
async fn a_role_is_taken_on_for_the_cluster_that_it_trusts_and_what_sts_answers_is_told_apart() {
    let Scene { cloud, vpc, .. } = scene();
    let owner = through("210987654321:role/r", "orders");
    cloud.share(&vpc, &owner);
    for stranger in [through("210987654321:role/r", "billing"), through("210987654321:role/s", "orders")] {
        let refused = cloud.through(Some(&stranger)).prepare().await;
        assert!(matches!(refused, Err(CloudFailure::RoleRefused { .. })), "{refused:?}");
    }
    let cloud = cloud.through(Some(&owner));
    for (trouble, transient) in
        [(Trouble::Throttle, true), (Trouble::FailUnknownBefore, true), (Trouble::Deny, false)]
    {
        cloud.fail(Fault::on("AssumeRole", trouble).about(&owner.role).times(2));
        let failure = cloud.prepare().await.expect_err("STS fails");
        assert_eq!(failure.is_transient(), transient, "{failure}");
        assert_eq!(cloud.tables_of(&vpc).await, Err(failure), "and EC2 is not asked");
        cloud.prepare().await.expect("that was all");
    }
    assert_eq!(cloud.through(None).prepare().await, Ok(()));
}
