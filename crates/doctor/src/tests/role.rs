//! The role through which another account's route tables are reached.

use baton_protocol::access::TableAccess;
use baton_protocol::ids::RoleArn;

use super::*;

fn of_another_account(role: RoleSeen) -> World {
    let mut world = world();
    let arn = RoleArn::new("arn:aws:iam::210987654321:role/baton-route-tables-orders").expect("valid");
    world.wanted.access = Some(TableAccess { role: arn, cluster: world.wanted.cluster.clone() });
    world.role = role;
    world
}

#[test]
fn a_role_that_is_taken_on_is_no_finding() {
    assert_eq!(examine(&of_another_account(RoleSeen::Assumed)), []);
}

#[test]
fn a_role_that_is_refused_is_one_finding_with_what_to_do_and_what_rests_on_it_is_not_told_again() {
    let mut world = of_another_account(RoleSeen::Refused("AccessDenied: no".to_owned()));
    (world.tables, world.networks, world.vpc_tables) = (Seen::Unasked, Seen::Unasked, Seen::Unasked);
    world.subnets = Seen::Unasked;
    let [finding] = &examine(&world)[..] else { panic!("{:?}", examine(&world)) };
    assert_eq!((finding.id, finding.severity), (Requirement::RoleAssumed, Severity::Violation));
    let text = finding.to_string();
    for part in [
        "role-assumed: the role arn:aws:iam::210987654321:role/baton-route-tables-orders cannot be assumed",
        "AccessDenied: no",
        "deploy shared-vpc-role.yaml in the account 210987654321",
        "external id `baton/orders`",
        "RouteTablesRoles",
        "service control policy",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_role_of_which_nothing_is_known_refuses_as_well_and_blames_nobody() {
    let mut world = of_another_account(RoleSeen::Unknown("throttled".to_owned()));
    world.tables = Seen::Unasked;
    let [finding] = &examine(&world)[..] else { panic!("{:?}", examine(&world)) };
    assert_eq!((finding.id, finding.severity), (Requirement::RoleAssumed, Severity::Unknown));
    assert!(!finding.remedy.contains("trust policy"), "{finding}");
}

#[test]
fn a_table_that_is_missing_is_missing_in_the_account_of_the_role() {
    let mut world = of_another_account(RoleSeen::Assumed);
    edit(&mut world.tables).clear();
    let finding = examine(&world).into_iter().find(|finding| finding.id == Requirement::TableExists);
    let what = finding.expect("found").what;
    assert!(what.ends_with("does not exist in the account 210987654321 and this region"), "{what}");
}
