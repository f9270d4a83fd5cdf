use super::*;
use crate::choice::Choices;
use crate::ec2::RouteTarget;
use crate::ids::SubnetId;
use crate::resource::SubnetTables;
use crate::testing::{interface, lease, route, table};

fn destination(text: &str) -> Destination {
    Destination::new(text).expect("valid")
}

fn tag() -> Tag {
    Tag::new("side", "private").expect("valid")
}

fn choice(which: Which) -> TableChoice {
    TableChoice { destination: route(1).destination, which, from_gateways: false }
}

/// A lease whose two routes, in tables 1 and 2, were described so.
fn described(which: Which) -> Lease {
    let mut lease = lease();
    lease.resources.choices = Choices { tables: vec![choice(which)], ..Choices::default() };
    lease
}

/// A table with both tags whose route leads there.
fn shown(target: Option<RouteTarget>) -> TableSeen {
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let route =
        target.map(|target| RouteSeen { destination: route(1).destination, target, blackhole: false });
    TableSeen {
        tags: [tag("side", "private"), tag(CONSENT, "orders")].into(),
        routes: route.into_iter().collect(),
    }
}

fn at_node() -> TableSeen {
    shown(Some(RouteTarget::Interface(interface(1))))
}

fn at_gateway() -> TableSeen {
    shown(Some(RouteTarget::Other("nat-1".to_owned())))
}

/// Tables 1 and 2 as they should be.
fn seen() -> Tables {
    [(table(1), at_node()), (table(2), at_node())].into()
}

fn every() -> [Which; 2] {
    [Which::Tag(tag()), Which::Every]
}

fn routes(numbers: &[u8]) -> BTreeSet<Route> {
    numbers.iter().map(|n| route(*n)).collect()
}

#[test]
fn what_is_as_it_was_described_is_no_difference() {
    for which in every() {
        assert_eq!(compare(&described(which), &seen()), Difference::default());
    }
    assert_eq!(compare(&lease(), &Tables::new()), Difference::default(), "nothing is described");
}

#[test]
fn a_table_joins_that_fits_and_consents_and_leads_to_no_gateway() {
    for which in every() {
        let lease = described(which.clone());
        let with = |new: TableSeen| {
            let mut seen = seen();
            seen.insert(table(3), new);
            compare(&lease, &seen)
        };
        let joining = Difference { joining: routes(&[3]), ..Difference::default() };
        assert_eq!(with(at_node()), joining);
        // The route is made in a table with the tag, and looked for in every table.
        let expected = if which == Which::Every { Difference::default() } else { joining.clone() };
        assert_eq!(with(shown(None)), expected);
        let refused = |why| Difference { refused: [(route(3), why)].into(), ..Difference::default() };
        assert_eq!(with(at_gateway()), refused(Refused::Gateway("nat-1".to_owned())));
        let mut dead = at_gateway();
        dead.routes[0].blackhole = true;
        assert_eq!(with(dead), joining, "nothing takes what goes there");
        let mut silent = at_node();
        silent.tags.remove(CONSENT);
        assert_eq!(with(silent), refused(Refused::NoConsent));
        let mut other = TableSeen { tags: [(CONSENT.to_owned(), String::new())].into(), ..at_node() };
        other.tags.insert("side".to_owned(), "Private".to_owned());
        let expected = if which == Which::Every { joining } else { Difference::default() };
        assert_eq!(with(other), expected, "a tag is this very value");
    }
}

#[test]
fn a_gateway_gives_way_where_that_was_allowed() {
    let mut allowed = choice(Which::Every);
    allowed.from_gateways = true;
    let seen = [(table(3), at_gateway())].into();
    assert_eq!(find(&allowed, &seen).taken, [table(3)].into());
    assert_eq!(find(&choice(Which::Every), &seen).taken, BTreeSet::new());
}

#[test]
fn a_default_route_or_a_prefix_list_is_looked_for_in_no_table_that_was_not_named() {
    for wide in ["0.0.0.0/0", "::/0", "pl-01234567"] {
        let mut shown = at_node();
        shown.routes[0].destination = destination(wide);
        let seen: Tables = [(table(3), shown)].into();
        let of = |which| TableChoice { destination: destination(wide), which, from_gateways: true };
        assert_eq!(find(&of(Which::Every), &seen), Found::default(), "{wide}");
        assert_eq!(find(&of(Which::Tag(tag())), &seen).taken, [table(3)].into(), "{wide} by a tag");
    }
}

#[test]
fn an_answer_that_shows_no_table_lets_none_go() {
    for which in every() {
        assert_eq!(compare(&described(which), &Tables::new()), Difference::default());
    }
}

#[test]
fn a_table_is_missing_that_is_gone_or_has_lost_its_tag_and_not_one_that_has_lost_its_route() {
    for which in every() {
        let lease = described(which.clone());
        let without = |change: fn(&mut Tables)| {
            let mut seen = seen();
            change(&mut seen);
            compare(&lease, &seen)
        };
        let missing = Difference { missing: routes(&[2]), ..Difference::default() };
        assert_eq!(without(|seen| drop(seen.remove(&table(2)))), missing);
        let untagged = without(|seen| {
            seen.insert(
                table(2),
                TableSeen { tags: [(CONSENT.to_owned(), String::new())].into(), ..at_node() },
            );
        });
        let by_tag = which != Which::Every;
        assert_eq!(untagged, if by_tag { missing } else { Difference::default() });
        // What the cluster has it keeps, though it would not be taken in as it is: a move says what stands in its way.
        for odd in [
            shown(None),
            at_gateway(),
            TableSeen { tags: [("side".to_owned(), "private".to_owned())].into(), ..at_node() },
        ] {
            let mut seen = seen();
            seen.insert(table(2), odd);
            assert_eq!(compare(&lease, &seen), Difference::default());
        }
    }
}

fn changed(lease: &Lease, joining: &[u8], gone: &[u8]) -> Option<Change> {
    let (change, refused) =
        change(lease, &routes(joining), &routes(gone), &BTreeSet::new(), &BTreeSet::new());
    assert_eq!(refused, BTreeMap::new());
    change
}

#[test]
fn what_joins_and_what_is_gone_changes_these_routes_and_no_others() {
    let mut lease = described(Which::Every);
    let named = Route { table: table(9), destination: destination("192.0.2.1/32") };
    lease.resources.routes.insert(0, named.clone());
    lease.resources.from_gateways = [route(2), named.clone()].into();
    let found = changed(&lease, &[3], &[2]).expect("a change");
    assert_eq!(found.resources.routes, [named.clone(), route(1), route(3)]);
    assert_eq!(found.resources.from_gateways, [named.clone()].into(), "not where it was not allowed");
    assert_eq!((&found.joined, &found.left), (&routes(&[3]), &routes(&[2])));
    assert_eq!(found.summary(), "taken in: 10.9.0.1/32 in rtb-00000003; let go: 10.9.0.1/32 in rtb-00000002");
    assert_eq!(changed(&lease, &[], &[]), None);
    lease.resources.choices.tables[0].from_gateways = true;
    let found = changed(&lease, &[3], &[]).expect("a change");
    assert_eq!(found.resources.from_gateways, [route(2), route(3), named].into());
}

#[test]
fn the_last_table_stays_until_another_one_joins() {
    let lease = described(Which::Tag(tag()));
    assert_eq!(changed(&lease, &[], &[1, 2]), None);
    let found = changed(&lease, &[3], &[1, 2]).expect("a change");
    assert_eq!((found.resources.routes, found.left), (vec![route(3)], routes(&[1, 2])));
    // One that is another cluster's is no other one.
    let all = routes(&[1, 2]);
    let shared = [(route(3), Refused::Shared)].into();
    assert_eq!(change(&lease, &routes(&[3]), &all, &routes(&[3]), &BTreeSet::new()), (None, shared));
}

#[test]
fn a_route_of_another_cluster_and_one_table_too_many_are_left() {
    let lease = described(Which::Every);
    let nobody = BTreeSet::new();
    let (found, refused) = change(&lease, &routes(&[3, 4]), &nobody, &routes(&[4, 9]), &BTreeSet::new());
    assert_eq!(found.expect("a change").joined, routes(&[3]));
    assert_eq!(refused, [(route(4), Refused::Shared)].into());
    let many = |count: usize| -> BTreeSet<Route> {
        let id = |n| RouteTableId::new(format!("rtb-1{n:07x}")).expect("valid");
        (0..count).map(|n| Route { table: id(n), ..route(1) }).collect()
    };
    let most = many(MOST_TABLES - 2);
    assert_eq!(change(&lease, &most, &nobody, &nobody, &BTreeSet::new()).0.expect("a change").joined, most);
    let (none, refused) = change(&lease, &many(MOST_TABLES - 1), &nobody, &nobody, &BTreeSet::new());
    assert_eq!((none, refused.len()), (None, MOST_TABLES - 1));
    // What is gone goes all the same, but for the last one: of the others none has joined.
    let found =
        change(&lease, &many(MOST_TABLES), &routes(&[2]), &nobody, &BTreeSet::new()).0.expect("a change");
    assert_eq!((found.joined.len(), found.left, found.resources.routes), (0, routes(&[2]), vec![route(1)]));
    assert_eq!(change(&lease, &many(MOST_TABLES + 1), &routes(&[1, 2]), &nobody, &BTreeSet::new()).0, None);
}

#[test]
fn a_table_that_any_cluster_has_prepared_for_a_node_is_left() {
    let mut lease = described(Which::Every);
    let own = SubnetTables {
        subnet: SubnetId::new("subnet-00000001").expect("valid"),
        tables: [(lease.members[0].node.clone(), route(3).table)].into(),
    };
    lease.resources.subnets = vec![own];
    let theirs = [route(4).table].into();
    let (found, refused) = change(&lease, &routes(&[3, 4, 5]), &BTreeSet::new(), &BTreeSet::new(), &theirs);
    assert_eq!(found.expect("a change").joined, routes(&[5]));
    assert_eq!(refused, [(route(3), Refused::Prepared), (route(4), Refused::Prepared)].into());
}

/// A lease of this name with these routes, which it describes or has named.
fn of_cluster(name: &str, numbers: &[u8], describes: bool) -> Lease {
    let mut lease = if describes { described(Which::Every) } else { lease() };
    lease.cluster = ClusterName::new(name).expect("valid");
    lease.resources.routes = numbers.iter().map(|n| route(*n)).collect();
    lease
}

#[test]
fn of_what_two_clusters_have_one_keeps_it_and_both_judge_alike() {
    // The first has tables 1 and 2, the other 2 and 3: who lets table 2 go.
    for (name, describes, other, other_describes, gives_way) in [
        ("orders", true, "web", true, Some("web")),
        ("orders", true, "billing", true, Some("orders")),
        ("orders", true, "web", false, Some("orders")),
        ("orders", false, "billing", true, Some("billing")),
        ("orders", false, "web", false, None),
    ] {
        let (one, two) = (of_cluster(name, &[1, 2], describes), of_cluster(other, &[2, 3], other_describes));
        for (ours, theirs) in [(&one, &two), (&two, &one)] {
            let found = contest(ours, std::slice::from_ref(theirs));
            let loses = |lease: &Lease| gives_way == Some(lease.cluster.as_str());
            assert_eq!(found.lost, if loses(ours) { routes(&[2]) } else { routes(&[]) });
            let losers: Vec<_> = found.losers.iter().map(ClusterName::as_str).collect();
            assert_eq!(losers, if loses(theirs) { vec![other_of(ours, name, other)] } else { vec![] });
        }
    }
    let one = of_cluster("orders", &[1, 2], true);
    assert_eq!(contest(&one, &[of_cluster("web", &[3], true), one.clone()]), Contest::default());
}

fn other_of<'a>(ours: &Lease, one: &'a str, other: &'a str) -> &'a str {
    if ours.cluster.as_str() == one { other } else { one }
}

#[test]
fn a_table_that_another_cluster_has_prepared_for_a_node_is_let_go_be_it_the_last() {
    let ours = of_cluster("orders", &[1], true);
    let mut theirs = of_cluster("web", &[], true);
    theirs.resources.subnets.push(SubnetTables {
        subnet: SubnetId::new("subnet-00000001").expect("valid"),
        tables: [(theirs.members[0].node.clone(), table(1))].into(),
    });
    let found = contest(&ours, &[theirs]);
    assert_eq!(found.lost, routes(&[1]));
    let change = give_way(&ours, &found.lost).expect("a change");
    assert_eq!((change.resources.routes.len(), change.left), (0, routes(&[1])));
    assert_eq!(give_way(&ours, &routes(&[2])), None);
}
