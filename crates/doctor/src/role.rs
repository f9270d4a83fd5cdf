//! The role through which another account's route tables are reached (ADR 0035).

use baton_protocol::access::TableAccess;
use baton_protocol::ec2::role_remedy;

use crate::finding::{Finding, Requirement, Severity};
use crate::world::{RoleSeen, World};

const WHY: &str =
    "the route tables are that account's, and by no other right may they be looked at or changed";

pub(crate) fn examine(world: &World, findings: &mut Vec<Finding>) {
    let Some(access) = &world.wanted.access else { return };
    let (severity, what, remedy) = match &world.role {
        RoleSeen::Unneeded | RoleSeen::Assumed => return,
        RoleSeen::Refused(why) => (
            Severity::Violation,
            format!("the role {} cannot be assumed ({why})", access.role),
            format!(
                "deploy shared-vpc-role.yaml in the account {}, and {}",
                access.role.account(),
                role_remedy(access)
            ),
        ),
        RoleSeen::Unknown(why) => (
            Severity::Unknown,
            format!("whether the role {} can be assumed is not known ({why})", access.role),
            "see that the registrar reaches the region's STS, and send the request again".to_owned(),
        ),
    };
    findings.push(Finding { id: Requirement::RoleAssumed, severity, what, why: WHY.to_owned(), remedy });
}

/// Where a table or a subnet was looked for.
pub(crate) fn place(access: Option<&TableAccess>) -> String {
    match access {
        None => "this account and region".to_owned(),
        Some(access) => format!("the account {} and this region", access.role.account()),
    }
}
