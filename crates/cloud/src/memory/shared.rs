//! VPCs of other accounts, and the roles through which their tables are reached.
//!
//! A VPC that nobody shares is the account's own. The tables and subnets of one that is shared are seen by whoever comes
//! through a role of its owner, and by nobody else; its interfaces stay the account's own.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{Call, CloudFailure};

use super::fault::Trouble;
use super::world::World;
use super::{MemoryCloud, State};

/// Who owns which VPC, and which role may be taken on for which cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sharing {
    owners: BTreeMap<String, String>,
    trusted: BTreeSet<TableAccess>,
}

impl World {
    /// What an account sees of this world by these credentials.
    pub(super) fn seen_by(&self, access: Option<&TableAccess>) -> Cow<'_, Self> {
        if self.sharing.owners.is_empty() && access.is_none() {
            return Cow::Borrowed(self);
        }
        let mut seen = self.clone();
        seen.tables.retain(|_, table| self.is_of(&table.vpc, access));
        seen.subnets.retain(|_, subnet| self.is_of(&subnet.vpc, access));
        Cow::Owned(seen)
    }

    fn is_of(&self, vpc: &str, access: Option<&TableAccess>) -> bool {
        self.sharing.owners.get(vpc).map(String::as_str) == access.map(|access| access.role.account())
    }

    /// Whether whoever has these credentials may make the call at all.
    pub(super) fn permits(&self, call: &Call, access: Option<&TableAccess>) -> Result<(), CloudFailure> {
        let table = match call {
            Call::ReplaceRoute { route, .. } | Call::CreateRoute { route, .. } => &route.table,
            Call::ReplaceTableAssociation { table, .. } => table,
            Call::Disassociate { .. }
            | Call::Associate { .. }
            | Call::DisableSourceDestCheck { .. }
            | Call::Stop { .. } => return Ok(()),
        };
        match self.tables.get(table) {
            Some(found) if !self.is_of(&found.vpc, access) => Err(CloudFailure::Denied(format!(
                "UnauthorizedOperation: not allowed to perform {} on {table}",
                call.action()
            ))),
            _ => Ok(()),
        }
    }
}

impl State {
    /// Takes on a role, or does not: what STS answers. There is nothing to take on for the account's own.
    pub(super) fn assume(&mut self, caller: &str, access: Option<&TableAccess>) -> Result<(), CloudFailure> {
        const ACTION: &str = "AssumeRole";
        let Some(access) = access else { return Ok(()) };
        let refused = |why: &str| CloudFailure::RoleRefused { access: access.clone(), why: why.to_owned() };
        match self.faults.strike(caller, ACTION, &[access.role.to_string(), access.cluster.to_string()]) {
            None if self.world.sharing.trusted.contains(access) => Ok(()),
            None => Err(refused("AccessDenied: not authorized to perform: sts:AssumeRole")),
            Some(Trouble::Throttle) => Err(CloudFailure::Throttled),
            Some(Trouble::Deny) => Err(refused("AccessDenied: not authorized to perform: sts:AssumeRole")),
            Some(_) => Err(CloudFailure::NoCredentials(format!("{ACTION}: no answer came"))),
        }
    }
}

impl MemoryCloud {
    /// Gives a VPC to the account of a role, which may be taken on for this cluster from now on.
    pub fn share(&self, vpc: &str, access: &TableAccess) {
        self.state().mutate(|world| {
            assert!(world.vpcs.contains_key(vpc), "no VPC {vpc} in this world");
            world.sharing.owners.insert(vpc.to_owned(), access.role.account().to_owned());
            world.sharing.trusted.insert(access.clone());
        });
    }
}
