//! Tables that are described in the place of being named.

use super::*;

/// The one route's table is described instead of named.
fn described(which: Which) -> World {
    let mut world = world();
    let destination = world.wanted.routes[0].destination;
    world.wanted.choices.tables.push(TableChoice { destination, which, from_gateways: false });
    let tags = ["side", TAG].map(|key| (key.to_owned(), "private".to_owned())).into();
    let shown = TableSeen { tags, routes: edit(&mut world.tables)[&table(1)].clone() };
    edit(&mut world.vpc_tables).insert(table(1), shown);
    world
}

#[test]
fn a_description_comes_to_a_table_and_leaves_none_that_it_means() {
    use Requirement::*;
    let side = Which::Tag(Tag::new("side", "private").expect("valid"));
    type Break = fn(&mut World, TableSeen);
    let broken: [(&[Requirement], &str, Break); 6] = [
        (&[], "", |_, _| ()),
        (&[TableFound], "192.0.2.10/32: nothing is found of ", |w, _| {
            w.wanted.routes.clear();
            edit(&mut w.vpc_tables).clear();
        }),
        (&[TableTagged], "rtb-00000002 has no tag baton:cluster", |w, mut shown| {
            shown.tags.remove(TAG);
            edit(&mut w.vpc_tables).insert(table(2), shown);
        }),
        (&[GatewayDeclared], "the route to 192.0.2.10/32 in rtb-00000002 leads to nat-1", |w, mut shown| {
            shown.routes[1].target = RouteTarget::Other("nat-1".to_owned());
            edit(&mut w.vpc_tables).insert(table(2), shown);
        }),
        (&[], "", |w, mut shown| {
            // It neither has the tag nor holds the destination.
            shown.tags.remove("side");
            shown.routes.truncate(1);
            edit(&mut w.vpc_tables).insert(table(2), shown);
        }),
        (&[Readable], "the route tables of the VPC could not be read", |w, _| {
            w.wanted.routes.clear();
            w.vpc_tables = Seen::Unknown("denied".to_owned());
        }),
    ];
    for which in [side, Which::Every] {
        for (number, (requirements, what, break_it)) in broken.iter().enumerate() {
            let mut world = described(which.clone());
            let shown = edit(&mut world.vpc_tables)[&table(1)].clone();
            break_it(&mut world, shown);
            let found = examine(&world);
            assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), *requirements, "{which} {number}");
            assert!(found.iter().all(|finding| finding.what.starts_with(what)), "{found:?}");
        }
    }
}

#[test]
fn a_destination_that_is_wider_than_a_network_of_the_vpc_is_looked_for_in_no_table() {
    for (which, wide) in
        [(Which::Every, true), (Which::Tag(Tag::new("side", "private").expect("valid")), false)]
    {
        let mut world = described(which);
        let to = network("10.0.0.0/8");
        world.wanted.routes[0].destination = to;
        world.wanted.choices.tables[0].destination = to;
        edit(&mut world.tables).get_mut(&table(1)).expect("there")[1].destination = to;
        edit(&mut world.vpc_tables).get_mut(&table(1)).expect("there").routes[1].destination = to;
        let found: Vec<_> = examine(&world).into_iter().map(|finding| finding.id).collect();
        assert_eq!(found, if wide { vec![Requirement::DestinationOutside] } else { vec![] });
    }
}
