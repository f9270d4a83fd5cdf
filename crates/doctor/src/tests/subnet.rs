//! Subnets whose route table is swapped, and the tables that are prepared for them.

use baton_protocol::ids::SubnetId;
use baton_protocol::resource::SubnetTables;

use super::*;

fn subnet(n: usize) -> SubnetId {
    SubnetId::new(format!("subnet-{n:08x}")).expect("valid")
}

/// The world of the other tests with a subnet: table 11 is prepared for node 1 and table 12 for node 2.
fn swapped() -> World {
    let mut world = world();
    let tables = (1..=2).map(|n| (node(n).node, table(10 + n))).collect();
    world.wanted.subnets = vec![SubnetTables { subnet: subnet(1), tables }];
    let prepared = |n: usize| {
        let routes = vec![local(), seen("192.0.2.10/32", RouteTarget::Interface(interface(n)))];
        (table(10 + n), TableFacts { vpc: "vpc-1".to_owned(), tagged: true, routes })
    };
    let there = SubnetFacts { vpc: "vpc-1".to_owned(), tagged: true, table: Some(table(12)) };
    world.subnets = Seen::Known(Subnets {
        subnets: BTreeMap::from([(subnet(1), there)]),
        tables: (1..=2).map(prepared).collect(),
    });
    world
}

fn found(break_it: impl FnOnce(&mut World)) -> Vec<(Requirement, Severity)> {
    let mut world = swapped();
    break_it(&mut world);
    examine(&world).into_iter().map(|finding| (finding.id, finding.severity)).collect()
}

fn subnet_of(world: &mut World) -> &mut SubnetFacts {
    edit(&mut world.subnets).subnets.get_mut(&subnet(1)).expect("in the world")
}

fn table_of(world: &mut World, n: usize) -> &mut TableFacts {
    edit(&mut world.subnets).tables.get_mut(&table(10 + n)).expect("in the world")
}

#[test]
fn a_subnet_in_order_has_no_findings_and_is_something_to_move() {
    assert_eq!(found(|_| ()), []);
    let alone = found(|world| {
        world.wanted.addresses.clear();
        world.wanted.routes.clear();
        edit(&mut world.seats).clear();
    });
    assert_eq!(alone, []);
}

fn billing() -> Neighbour {
    Neighbour {
        cluster: ClusterName::new("billing").expect("valid"),
        addresses: BTreeSet::new(),
        seats: BTreeSet::new(),
        routes: BTreeSet::new(),
        subnets: BTreeSet::new(),
        prepared: BTreeSet::new(),
    }
}

#[test]
fn each_requirement_of_a_subnet_and_of_its_tables_yields_its_own_finding() {
    use Requirement::*;
    type Break = fn(&mut World);
    let broken: [(Requirement, Break); 14] = [
        (SubnetReady, |w| edit(&mut w.subnets).subnets.clear()),
        (SubnetReady, |w| subnet_of(w).vpc = "vpc-2".to_owned()),
        (SubnetReady, |w| subnet_of(w).tagged = false),
        (SubnetReady, |w| subnet_of(w).table = None),
        (SubnetReady, |w| subnet_of(w).table = Some(table(9))),
        (TablePrepared, |w| drop(edit(&mut w.subnets).tables.remove(&table(11)))),
        (TablePrepared, |w| table_of(w, 2).vpc = "vpc-2".to_owned()),
        (TablePrepared, |w| table_of(w, 2).tagged = false),
        (TablePrepared, |w| table_of(w, 1).routes = table_of(w, 2).routes.clone()),
        (TablePrepared, |w| {
            w.wanted.routes[0].table = table(11);
            let routes = edit(&mut w.tables)[&table(1)].clone();
            edit(&mut w.tables).insert(table(11), routes);
        }),
        (ResourcesDiffer, |w| w.wanted.subnets.push(w.wanted.subnets[0].clone())),
        (Unshared, |w| {
            edit(&mut w.neighbours).push(Neighbour { subnets: BTreeSet::from([subnet(1)]), ..billing() });
        }),
        (Unshared, |w| {
            let routes = BTreeSet::from([Route { table: table(11), ..route(1) }]);
            edit(&mut w.neighbours).push(Neighbour { routes, ..billing() });
        }),
        (Unshared, |w| {
            let prepared = BTreeSet::from([w.wanted.routes[0].table.clone()]);
            edit(&mut w.neighbours).push(Neighbour { prepared, ..billing() });
        }),
    ];
    for (number, (requirement, break_it)) in broken.into_iter().enumerate() {
        let mut found = found(break_it);
        found.dedup();
        assert_eq!(found, [(requirement, Severity::Violation)], "case {number}");
    }
}

#[test]
fn subnets_that_could_not_be_read_are_not_taken_for_good_and_too_many_are_refused() {
    let unread = found(|world| world.subnets = Seen::Unknown("denied".to_owned()));
    assert_eq!(unread, [(Requirement::Readable, Severity::Unknown)]);
    let many = found(|world| {
        let there = subnet_of(world).clone();
        for n in 2..=MOST_SUBNETS + 1 {
            let tables = world.wanted.subnets[0].tables.clone();
            world.wanted.subnets.push(SubnetTables { subnet: subnet(n), tables });
            edit(&mut world.subnets).subnets.insert(subnet(n), there.clone());
        }
    });
    assert_eq!(many, [(Requirement::Bounds, Severity::Violation)]);
}

#[test]
fn a_remedy_names_the_call_that_mends_it() {
    let mut world = swapped();
    subnet_of(&mut world).table = None;
    let told = examine(&world).remove(0).to_string();
    assert!(told.contains("subnet-00000001") && told.contains("associate-route-table"), "{told}");
}
