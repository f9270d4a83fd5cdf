//! The way to the table: what endpoints let through, whose it is to mend, and how narrow it is opened.

use super::*;
use crate::check::Fix;
use crate::policy::{Names, Statement};

fn found(break_it: impl FnOnce(&mut Case), id: &str) -> Diagnosis {
    let mut case = case();
    break_it(&mut case);
    let mut all = diagnose(&case);
    let [found] = &mut all[..] else { panic!("{all:?}") };
    assert_eq!(found.id, id);
    found.clone()
}

fn endpoint(case: &mut Case) -> &mut EndpointDetail {
    &mut edit(&mut case.survey.endpoints)[0]
}

fn with_policy(change: impl FnOnce(&mut Policy)) -> impl FnOnce(&mut Case) {
    move |case| change(edit(&mut endpoint(case).policy))
}

#[test]
fn an_endpoint_whose_policy_denies_the_table_is_found_and_one_that_cannot_be_judged_is_never_passed() {
    let only = |actions: &[&str], resource: &str| Statement {
        actions: Names::Any(actions.iter().map(|action| (*action).to_owned()).collect()),
        resources: Names::Any(vec![resource.to_owned()]),
        ..Policy::everything().statements[0].clone()
    };
    let table = "arn:aws:dynamodb:eu-west-1:123456789012:table/baton";
    let reads = found(
        with_policy(|policy| policy.statements = vec![only(&["dynamodb:*GetItem"], "*")]),
        "endpoint-policy",
    );
    assert_eq!(
        (reads.severity, reads.fix, reads.place.as_str()),
        (Severity::Violation, Fix::Report, "vpce-1")
    );
    assert!(reads.what.ends_with(&format!("denies dynamodb:UpdateItem on {table}")), "{}", reads.what);
    assert!(reads.remedy[0].contains("aws ec2 modify-vpc-endpoint"), "{:?}", reads.remedy);
    let elsewhere = found(
        with_policy(|policy| policy.statements = vec![only(&["*"], "arn:aws:dynamodb:*:*:table/other")]),
        "endpoint-policy",
    );
    assert_eq!(elsewhere.severity, Severity::Violation);
    // Exactly what the agents need is enough.
    let enough = only(&["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"], table);
    assert_eq!(seen_of(with_policy(|policy| policy.statements = vec![enough])), []);
    // Another table of the same name, of the cluster's region but not of its account.
    let name = |c: &mut Case| c.record.table = "leases".to_owned();
    let narrow = only(&["*"], table);
    let renamed = found(
        move |c| {
            name(c);
            with_policy(|policy| policy.statements = vec![narrow])(c);
        },
        "endpoint-policy",
    );
    assert_eq!(renamed.severity, Severity::Violation);
    let unclear = found(with_policy(|policy| policy.statements[0].conditional = true), "endpoint-policy");
    assert_eq!((unclear.severity, unclear.fix), (Severity::Unknown, Fix::Report));
    assert!(unclear.what.contains("conditions") && unclear.what.contains("heartbeats"), "{}", unclear.what);
    let unread =
        found(|c| endpoint(c).policy = Seen::Unknown("its policy is no JSON".to_owned()), "endpoint-policy");
    assert_eq!(unread.severity, Severity::Unknown);
    assert!(unread.what.contains("its policy is no JSON"), "{}", unread.what);
}

#[test]
fn the_policy_of_an_endpoint_counts_where_a_node_goes_by_it_and_nowhere_else() {
    let shut = |c: &mut Case| edit(&mut endpoint(c).policy).statements.clear();
    // With an interface, it is the way of those that have no other.
    let by_interface = move |c: &mut Case| {
        shut(c);
        endpoint(c).gateway = false;
        endpoint(c).private_dns = true;
        endpoint(c).tables.clear();
    };
    one(by_interface, "endpoint-policy", Severity::Violation, &[]);
    let besides = move |c: &mut Case| {
        by_interface(c);
        endpoint(c).private_dns = false;
        edit(&mut c.survey.tables)[1].default = Some("igw-1".to_owned());
    };
    one(besides, "table-endpoint", Severity::Warning, &["aws ec2 create-vpc-endpoint"]);
    // One of another service, or of tables that no node goes by, is nobody's way.
    let another = |c: &mut Case| {
        let mut more = endpoint(c).clone();
        edit(&mut more.policy).statements.clear();
        more.service = "com.amazonaws.eu-west-1.s3".to_owned();
        let main = EndpointDetail {
            id: "vpce-2".to_owned(),
            service: endpoint(c).service.clone(),
            tables: ["rtb-main".to_owned()].into(),
            ..more.clone()
        };
        edit(&mut c.survey.endpoints).extend([more, main]);
    };
    assert_eq!(seen_of(another), []);
}

/// A finding, what brings it about, and what its remedy names.
type Break<'a> = (&'a str, &'a dyn Fn(&mut Case), &'a str);

/// The network is another account's, and only lent.
fn lent(case: &mut Case) {
    edit(&mut case.survey.vpc).owner = "210987654321".to_owned();
    for subnet in edit(&mut case.survey.subnets) {
        subnet.owner = "210987654321".to_owned();
    }
}

/// A further interface is in a subnet that follows the main table, and that no agent calls from.
fn of_the_main_table(case: &mut Case) {
    let interfaces = edit(&mut case.survey.interfaces);
    let mut further = interfaces[&interface(2)].clone();
    (further.device_index, further.subnet) = (Some(1), "subnet-3".to_owned());
    interfaces.insert(interface(30), further);
    let subnets = edit(&mut case.survey.subnets);
    let more = SubnetDetail { id: "subnet-3".to_owned(), ..subnets[0].clone() };
    subnets.push(more);
}

#[test]
fn what_only_the_owner_of_a_shared_vpc_may_mend_is_told_for_that_account_and_never_planned() {
    let breaks: [Break<'_>; 5] = [
        ("subnet-zones", &|c| edit(&mut c.survey.subnets).truncate(1), "`aws ec2 create-subnet"),
        ("subnet-table", &of_the_main_table, "`aws ec2 associate-route-table"),
        (
            "table-endpoint",
            &|c| {
                edit(&mut c.survey.endpoints).clear();
                edit(&mut c.survey.tables)[1].default = Some("igw-1".to_owned());
            },
            "`aws ec2 create-vpc-endpoint",
        ),
        (
            "port-443-acl",
            &|c| edit(&mut c.survey.acls)[0].entries.extend([entry(50, true, false, Some((1, 1_000)))]),
            "`aws ec2 create-network-acl-entry",
        ),
        (
            "endpoint-policy",
            &|c| edit(&mut endpoint(c).policy).statements.clear(),
            "let the endpoint's policy",
        ),
    ];
    for (id, break_it, command) in breaks {
        // A subnet that follows the main table goes by it.
        let main_as_well = |c: &mut Case| {
            for endpoint in edit(&mut c.survey.endpoints) {
                endpoint.tables.insert("rtb-main".to_owned());
            }
        };
        let own = found(
            |c| {
                break_it(c);
                main_as_well(c);
            },
            id,
        );
        assert!(!own.remedy[0].contains("only account"), "{:?}", own.remedy);
        let theirs = found(
            |c| {
                lent(c);
                break_it(c);
                main_as_well(c);
            },
            id,
        );
        assert_eq!((theirs.fix, &theirs.changes), (Fix::Report, &Vec::new()), "{id}");
        // An endpoint of theirs that is not shown may let through what this one does not.
        let doubtful = id == "endpoint-policy";
        let expected = if doubtful { Severity::Unknown } else { own.severity };
        assert_eq!(theirs.severity, expected, "{id}");
        let expected = "only account 210987654321, which owns the VPC, may";
        assert!(theirs.remedy.iter().all(|remedy| remedy.starts_with(expected)), "{:?}", theirs.remedy);
        assert!(theirs.remedy[0].contains(command), "{:?}", theirs.remedy);
    }
    // What is of the account itself is mended as ever: a security group of a node is.
    let shut = found(
        |c| {
            lent(c);
            edit(&mut c.survey.groups).get_mut("sg-1").expect("there").egress.clear();
        },
        "port-443-group",
    );
    assert_eq!(shut.fix, Fix::Consent);
}

#[test]
fn an_endpoint_that_a_shared_vpc_does_not_show_is_told_by_routes_and_is_unknown_without_them() {
    let hidden = |c: &mut Case| {
        lent(c);
        edit(&mut c.survey.endpoints).clear();
    };
    let unknown = found(hidden, "way-to-table");
    assert_eq!((unknown.severity, unknown.changes.len()), (Severity::Unknown, 0));
    assert!(unknown.remedy[0].contains("only account 210987654321"), "{:?}", unknown.remedy);
    let led = found(
        move |c| {
            hidden(c);
            edit(&mut c.survey.tables)[1].lists = ["pl-0table".to_owned()].into();
        },
        "endpoint-policy",
    );
    assert_eq!(led.severity, Severity::Info, "{}", led.what);
    assert!(led.what.contains("its owner's to see to"), "{}", led.what);
}

#[test]
fn https_is_let_out_to_the_endpoint_where_there_is_one_and_to_everybody_only_where_there_is_none() {
    let shut = |c: &mut Case| edit(&mut c.survey.groups).get_mut("sg-1").expect("there").egress.clear();
    let remedy = |break_it: &dyn Fn(&mut Case)| {
        let mut case = case();
        shut(&mut case);
        break_it(&mut case);
        let found = diagnose(&case).into_iter().find(|found| found.id == "port-443-group").expect("found");
        found.remedy.join("; ")
    };
    assert!(remedy(&|_| ()).ends_with("PrefixListIds=[{PrefixListId=pl-0table}]'"), "{}", remedy(&|_| ()));
    // Its name is not known: nothing is opened in its place.
    let nameless = remedy(&|c| c.survey.table_list = Seen::Unknown("denied".to_owned()));
    assert!(
        nameless.contains("com.amazonaws.REGION.dynamodb") && !nameless.contains("0.0.0.0/0"),
        "{nameless}"
    );
    let by_interface = |c: &mut Case| {
        endpoint(c).gateway = false;
        endpoint(c).private_dns = true;
        endpoint(c).tables.clear();
        endpoint(c).groups = vec!["sg-endpoint".to_owned()];
    };
    assert!(remedy(&by_interface).ends_with("UserIdGroupPairs=[{GroupId=sg-endpoint}]'"));
    // What lets out to that group is open.
    let open = move |c: &mut Case| {
        by_interface(c);
        shut(c);
        let group = edit(&mut c.survey.groups).get_mut("sg-1").expect("there");
        group.egress.insert(rule("sg-endpoint"));
    };
    assert_eq!(seen_of(open), []);
    let by_internet = |c: &mut Case| {
        edit(&mut c.survey.endpoints).clear();
        edit(&mut c.survey.tables)[1].default = Some("igw-1".to_owned());
    };
    assert!(remedy(&by_internet).ends_with("IpRanges=[{CidrIp=0.0.0.0/0}]'"));
}
