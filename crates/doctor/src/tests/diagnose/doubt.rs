//! What may be a way to the table: it is told, and never called shut.

use super::*;

fn with_table(change: impl FnOnce(&mut TableDetail)) -> impl FnOnce(&mut Case) {
    move |c| change(&mut edit(&mut c.survey.tables)[1])
}

fn endpoints(case: &mut Case) -> &mut Vec<EndpointDetail> {
    edit(&mut case.survey.endpoints)
}

fn by_interface(case: &mut Case) -> &mut EndpointDetail {
    let endpoint = &mut endpoints(case)[0];
    endpoint.gateway = false;
    endpoint.tables.clear();
    endpoint
}

fn deny(endpoint: &mut EndpointDetail) {
    edit(&mut endpoint.policy).statements.clear();
}

/// What is found where this is broken: name, weight and words.
fn words(break_it: impl FnOnce(&mut Case)) -> Vec<(String, Severity, String)> {
    let mut case = case();
    break_it(&mut case);
    diagnose(&case).into_iter().map(|found| (found.id, found.severity, found.what)).collect()
}

fn only(break_it: impl FnOnce(&mut Case), id: &str, severity: Severity, said: &str) {
    let found = words(break_it);
    let [(found_id, found_severity, what)] = &found[..] else { panic!("{id}: {found:?}") };
    assert_eq!((found_id.as_str(), *found_severity), (id, severity), "{what}");
    assert!(what.contains(said), "{said}: {what}");
}

#[test]
fn a_route_that_may_lead_to_an_endpoint_elsewhere_is_a_doubt_and_no_want_of_a_way() {
    let to_hub = |c: &mut Case| {
        endpoints(c).clear();
        with_table(|table| table.further = ["tgw-1".to_owned()].into())(c);
    };
    only(to_hub, "way-to-table", Severity::Unknown, "whether it leads there by tgw-1");
    // What a gateway endpoint denies may go there as well, if the agent is told so.
    let besides = |c: &mut Case| {
        deny(&mut endpoints(c)[0]);
        with_table(|table| table.further = ["tgw-1".to_owned()].into())(c);
    };
    only(besides, "endpoint-policy", Severity::Unknown, "may go by another way");
    // What the cluster moves leads to its own nodes, and is no way.
    let own = |c: &mut Case| {
        endpoints(c).clear();
        with_table(|table| table.further = [interface(1).to_string()].into())(c);
    };
    only(own, "way-to-table", Severity::Violation, "neither to DynamoDB nor to the internet");
    let anothers = |c: &mut Case| {
        endpoints(c).clear();
        with_table(|table| table.further = [interface(9).to_string()].into())(c);
    };
    only(anothers, "way-to-table", Severity::Unknown, "heartbeats show it");
    // The default route is none: a gateway endpoint goes before it.
    let default = |c: &mut Case| {
        deny(&mut endpoints(c)[0]);
        with_table(|table| table.default = Some("igw-1".to_owned()))(c);
    };
    only(default, "endpoint-policy", Severity::Violation, "denies");
    // Nobody knows whose the VPC is.
    let nobodys = |c: &mut Case| {
        endpoints(c).clear();
        edit(&mut c.survey.subnets).iter_mut().for_each(|subnet| subnet.owner.clear());
    };
    only(nobodys, "way-to-table", Severity::Unknown, "may not be shown");
}

#[test]
fn an_endpoint_with_an_interface_is_a_way_by_private_dns_and_else_has_to_be_told_of() {
    let named = |c: &mut Case| by_interface(c).private_dns = true;
    assert_eq!(words(named), []);
    let nameless = |c: &mut Case| by_interface(c).private_dns = false;
    only(nameless, "way-to-table", Severity::Unknown, "AWS_ENDPOINT_URL_DYNAMODB");
    // FIPS has a name of its own.
    let fips = |c: &mut Case| {
        let endpoint = by_interface(c);
        endpoint.service.push_str("-fips");
        endpoint.private_dns = true;
    };
    only(fips, "way-to-table", Severity::Unknown, "AWS_ENDPOINT_URL_DYNAMODB");
    let with_default = |deny_it: bool, private_dns: bool| {
        move |c: &mut Case| {
            with_table(|table| table.default = Some("nat-1".to_owned()))(c);
            let endpoint = by_interface(c);
            endpoint.private_dns = private_dns;
            if deny_it {
                deny(endpoint);
            }
        }
    };
    only(with_default(false, false), "table-endpoint", Severity::Warning, "by nat-1 only");
    assert_eq!(words(with_default(false, true)), [], "the name leads to the endpoint");
    // Its policy counts beside a default route too.
    only(with_default(true, true), "endpoint-policy", Severity::Unknown, "may go by another way");
}

#[test]
fn a_denial_of_one_endpoint_is_certain_only_if_every_other_denies_as_well() {
    let two = |denying: usize| {
        move |c: &mut Case| {
            by_interface(c).private_dns = true;
            let second =
                EndpointDetail { id: "vpce-2".to_owned(), private_dns: false, ..endpoints(c)[0].clone() };
            endpoints(c).push(second);
            endpoints(c).iter_mut().take(denying).for_each(deny);
        }
    };
    only(two(1), "endpoint-policy", Severity::Unknown, "may go by another way");
    only(two(2), "endpoint-policy", Severity::Violation, "the policy of vpce-1");
    // Nor does a gateway endpoint deny for certain what one with an interface lets through.
    let gateway = |c: &mut Case| {
        let second = EndpointDetail {
            id: "vpce-2".to_owned(),
            gateway: false,
            tables: BTreeSet::new(),
            ..endpoints(c)[0].clone()
        };
        endpoints(c).push(second);
        deny(&mut endpoints(c)[0]);
    };
    only(gateway, "endpoint-policy", Severity::Unknown, "the policy of vpce-1");
}

#[test]
fn the_interface_that_the_agent_calls_from_is_judged_wherever_routes_lead() {
    // Routes lead to the second interface of the first node.
    let two = |first: &'static str, second: &'static str| {
        move |c: &mut Case| {
            edit(&mut c.survey.groups).insert(
                "sg-shut".to_owned(),
                GroupDetail { ingress: [rule("sg-1")].into(), ..GroupDetail::default() },
            );
            let interfaces = edit(&mut c.survey.interfaces);
            let at = |device_index, group: &str| InterfaceDetail {
                device_index: Some(device_index),
                groups: vec![group.to_owned()],
                ..interfaces[&interface(1)].clone()
            };
            let (own, led) = (at(0, first), at(1, second));
            interfaces.insert(interface(10), own);
            interfaces.insert(interface(1), led);
        }
    };
    only(two("sg-shut", "sg-1"), "port-443-group", Severity::Violation, "let no HTTPS out");
    assert_eq!(words(two("sg-1", "sg-shut")), []);
}

#[test]
fn each_set_of_security_groups_is_judged_and_one_that_is_not_shown_whole_is_unknown() {
    let groups = |c: &mut Case, n: usize, ids: &[&str]| {
        edit(&mut c.survey.interfaces).get_mut(&interface(n)).expect("there").groups =
            ids.iter().map(|id| (*id).to_owned()).collect();
    };
    let shut = || GroupDetail { ingress: [rule("sg-1")].into(), ..GroupDetail::default() };
    // The first node is let out by its second group, which the second node does not have.
    let second_lacks = |c: &mut Case| {
        edit(&mut c.survey.groups).insert("sg-0".to_owned(), shut());
        groups(c, 1, &["sg-0", "sg-1"]);
        groups(c, 2, &["sg-0"]);
    };
    only(second_lacks, "port-443-group", Severity::Violation, "of node-2");
    let unshown = |c: &mut Case| {
        edit(&mut c.survey.groups).insert("sg-0".to_owned(), shut());
        groups(c, 1, &["sg-0", "sg-9"]);
    };
    only(unshown, "readable", Severity::Unknown, "sg-9");
    // One that lets out is enough, whatever the others do.
    assert_eq!(words(|c| groups(c, 1, &["sg-1", "sg-9"])), []);
}

#[test]
fn only_the_prefix_list_of_dynamodb_is_open_and_another_is_told() {
    let out = |list: Seen<Option<String>>, peer: &'static str| {
        move |c: &mut Case| {
            c.survey.table_list = list;
            edit(&mut c.survey.groups).get_mut("sg-1").expect("there").egress = [rule(peer)].into();
        }
    };
    let known = || Seen::Known(Some("pl-0table".to_owned()));
    assert_eq!(words(out(known(), "pl-0table")), []);
    only(out(known(), "pl-s3"), "port-443-group", Severity::Warning, "to pl-s3 only");
    let unknown = Seen::Unknown("denied".to_owned());
    only(out(unknown, "pl-s3"), "port-443-group", Severity::Unknown, "could not be read");
}

#[test]
fn a_network_acl_is_shut_only_where_no_port_and_no_family_passes_and_no_endpoint_is_within() {
    let v6 = |entry: AclEntry| AclEntry { network: "::/0".to_owned(), ..entry };
    let https = || entry(90, true, true, Some((443, 443)));
    let answers = |ports| entry(90, false, true, Some(ports));
    let acl = |entries: Vec<AclEntry>| {
        move |c: &mut Case| edit(&mut c.survey.acls)[0].entries = entries.into_iter().collect()
    };
    let id = "port-443-acl";
    assert_eq!(words(acl(vec![https(), answers((1_024, 65_535))])), []);
    assert_eq!(words(acl(vec![https(), answers((32_768, 60_999))])), []);
    only(acl(vec![v6(https()), answers((1_024, 65_535))]), id, Severity::Unknown, "HTTPS out, for ::/0 only");
    only(
        acl(vec![https(), v6(answers((1_024, 65_535)))]),
        id,
        Severity::Unknown,
        "answers in, for ::/0 only",
    );
    let some = acl(vec![https(), answers((49_152, 65_535))]);
    only(some, id, Severity::Unknown, "at ports 49152-65535");
    // A hole that neither end of the range shows.
    let hole = acl(vec![https(), entry(80, false, false, Some((40_000, 40_100))), answers((1_024, 65_535))]);
    only(hole, id, Severity::Unknown, "at ports 1024-39999, 40101-65535");
    only(acl(vec![https(), answers((1, 1_023))]), id, Severity::Violation, "no answers in");
    only(acl(vec![answers((1_024, 65_535))]), id, Severity::Violation, "no HTTPS out");
    let within = |c: &mut Case| {
        by_interface(c).private_dns = true;
        acl(vec![])(c);
    };
    only(within, id, Severity::Unknown, "vpce-1 may be reached within the subnet");
    let unread = |c: &mut Case| {
        c.survey.endpoints = Seen::Unknown("denied".to_owned());
        acl(vec![])(c);
    };
    assert!(words(unread).iter().any(|(found, severity, _)| found == id && *severity == Severity::Unknown));
}

#[test]
fn an_entry_for_ipv6_takes_a_number_that_no_change_may_take_again() {
    let shut = |c: &mut Case| {
        let entries = [
            AclEntry { network: "::/0".to_owned(), ..entry(199, true, false, None) },
            entry(200, true, false, None),
            entry(100, false, true, None),
        ];
        edit(&mut c.survey.acls)[0].entries = entries.into();
    };
    let change = "aws ec2 create-network-acl-entry --network-acl-id acl-1 --rule-number 198 --egress";
    one(shut, "port-443-acl", Severity::Violation, &[change]);
}

#[test]
fn what_is_not_shown_of_a_node_is_unknown_by_name() {
    let readable = |break_it: &dyn Fn(&mut Case), said: &str| {
        let found = words(break_it);
        assert!(
            found.iter().all(|(id, severity, _)| id == "readable" && *severity == Severity::Unknown),
            "{found:?}"
        );
        assert!(found.iter().any(|(.., what)| what.contains(said)), "{said}: {found:?}");
    };
    // The main table may not be that of a subnet of another account.
    let lent = |c: &mut Case| {
        edit(&mut c.survey.vpc).owner = "210987654321".to_owned();
        edit(&mut c.survey.subnets).iter_mut().for_each(|subnet| subnet.owner = "210987654321".to_owned());
        edit(&mut c.survey.tables)[1].subnets.remove("subnet-2");
        c.record.lease.resources.tables_role = None;
    };
    let found = words(lent);
    let unread = found.iter().find(|(id, ..)| id == "readable").expect("it is told");
    assert!(unread.2.contains("none is shown for subnet-2"), "{found:?}");
    assert!(!found.iter().any(|(id, ..)| id == "way-to-table"), "{found:?}");
    readable(
        &|c| {
            edit(&mut c.survey.acls)[0].subnets.remove("subnet-2");
        },
        "none is shown for subnet-2 of node-2",
    );
    readable(
        &|c| {
            edit(&mut c.survey.interfaces).get_mut(&interface(2)).expect("there").device_index = Some(1);
        },
        "the interfaces that the agents call from could not be read (none is shown for node-2",
    );
}
