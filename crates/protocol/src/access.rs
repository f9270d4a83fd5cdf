//! Route tables of another account, and the role through which they are reached (ADR 0035).
//!
//! In a shared VPC the interfaces and instances are the participant's, and the route tables, the subnets and the VPC are
//! the owner's, [who manages them](https://docs.aws.amazon.com/vpc/latest/userguide/vpc-share-limitations.html), and whose
//! tags do not carry over. So whatever is asked or changed of tables goes by credentials of a role that the
//! owner has made for it, and everything else by the function's own.

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, RoleArn};
use crate::lease::Lease;

/// A role, and the cluster in whose name it is taken on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableAccess {
    /// The role, in the account of the tables.
    pub role: RoleArn,
    /// The cluster.
    pub cluster: ClusterName,
}

impl TableAccess {
    /// The access that a lease names; none: its tables are the function's own account's.
    pub fn of(lease: &Lease) -> Option<Self> {
        let role = lease.resources.tables_role.clone()?;
        Some(Self { role, cluster: lease.cluster.clone() })
    }

    /// What the role's trust policy demands as `sts:ExternalId`: `baton/` and the cluster's name, 7 to 46 characters.
    ///
    /// The functions act for every cluster of a control plane, and whoever may register a cluster can name any role. The
    /// external id is made here, from the name that the registration has, so a role that was made for one cluster is of
    /// no use to another: the [confused deputy](https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html).
    pub fn external_id(&self) -> String {
        format!("baton/{}", self.cluster)
    }

    /// Who the owner's CloudTrail says it was: `baton-` and the cluster's name, 7 to 46 of the 64 characters that STS takes.
    pub fn session_name(&self) -> String {
        format!("baton-{}", self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lease;

    #[test]
    fn a_lease_names_a_role_or_none_and_the_cluster_is_in_what_sts_is_told() {
        let mut lease = lease();
        assert_eq!(TableAccess::of(&lease), None);
        let role = RoleArn::new("arn:aws:iam::210987654321:role/baton-route-tables-orders").expect("valid");
        lease.resources.tables_role = Some(role.clone());
        let access = TableAccess::of(&lease).expect("named");
        assert_eq!((&access.role, &access.cluster), (&role, &lease.cluster));
        assert_eq!(access.external_id(), format!("baton/{}", lease.cluster));
        assert_eq!(access.session_name(), format!("baton-{}", lease.cluster));
    }

    #[test]
    fn the_shortest_and_the_longest_name_make_texts_that_sts_takes() {
        let role = RoleArn::new("arn:aws:iam::210987654321:role/r").expect("valid");
        for name in ["a".to_owned(), "a".repeat(40)] {
            let cluster = ClusterName::new(name).expect("valid");
            let access = TableAccess { role: role.clone(), cluster };
            let fits = |text: &str, most: usize, more: &str| {
                (2..=most).contains(&text.len())
                    && text
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) || more.contains(c))
            };
            assert!(fits(&access.external_id(), 1224, ":/"), "{}", access.external_id());
            assert!(fits(&access.session_name(), 64, ""), "{}", access.session_name());
        }
    }

    #[test]
    fn a_lease_without_a_role_is_written_as_before_and_one_with_a_role_is_read_back() {
        let mut lease = lease();
        assert!(!serde_json::to_string(&lease).expect("written").contains("tables_role"));
        lease.resources.tables_role = Some(RoleArn::new("arn:aws:iam::210987654321:role/r").expect("valid"));
        let text = serde_json::to_string(&lease).expect("written");
        assert_eq!(serde_json::from_str::<Lease>(&text).expect("read"), lease);
        let forged = text.replace("role/r", "user/r");
        assert!(serde_json::from_str::<Lease>(&forged).is_err());
    }
}
