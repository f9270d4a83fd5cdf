//! Where a cluster is: its nodes, and the network around them.

use baton_protocol::lease::Member;

use crate::survey::{InterfaceDetail, Survey};

/// Where a cluster is, or would be.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The region, as names of services have it.
    pub region: &'a str,
    /// The table's name.
    pub table: &'a str,
    /// The nodes.
    pub members: &'a [Member],
    /// What surrounds them.
    pub survey: &'a Survey,
}

impl<'a> Site<'a> {
    /// Where these nodes are, in the region that their ARNs name; of nobody there is none.
    pub fn of(members: &'a [Member], table: &'a str, survey: &'a Survey) -> Option<Self> {
        let region = members.first()?.instance.as_str().split(':').nth(3)?;
        Some(Self { region, table, members, survey })
    }

    /// The interface that a node's own calls leave from: the one with device index 0, wherever routes lead. None where EC2 shows none.
    pub(crate) fn own_interface(&self, member: &Member) -> Option<&'a InterfaceDetail> {
        let instance = member.instance.instance_id();
        let interfaces = self.survey.interfaces.known()?.values();
        let mut own = interfaces.filter(|detail| detail.instance.as_ref() == Some(&instance));
        own.find(|detail| detail.device_index == Some(0))
    }

    /// The subnet that a node's own calls leave from.
    pub(crate) fn subnet_of(&self, member: &Member) -> Option<&'a str> {
        self.own_interface(member).map(|detail| detail.subnet.as_str()).filter(|subnet| !subnet.is_empty())
    }

    /// Whether a subnet is certainly of the nodes' account, to which EC2 shows everything in the VPC then.
    pub(crate) fn is_own(&self, subnet: &str) -> bool {
        let subnets = self.survey.subnets.known();
        let found = subnets.and_then(|all| all.iter().find(|found| found.id == subnet));
        found.is_some_and(|found| self.of_arn(4) == Some(&found.owner))
    }

    /// The account that owns a subnet, if it is not that of the nodes. Only that account may change what is of the VPC (Amazon
    /// VPC, Responsibilities and permissions for owners and participants).
    pub(crate) fn owner_of(&self, subnet: &str) -> Option<&'a str> {
        let found = self.survey.subnets.known()?.iter().find(|found| found.id == subnet)?;
        self.another(&found.owner)
    }

    /// An account, if it is not that of the nodes.
    pub(crate) fn another(&self, account: &'a str) -> Option<&'a str> {
        let own = self.of_arn(4)?;
        (!account.is_empty() && account != own).then_some(account)
    }

    /// The table's ARN: it is of the nodes' account and region.
    pub(crate) fn table_arn(&self) -> Option<String> {
        let (partition, account) = (self.of_arn(1)?, self.of_arn(4)?);
        Some(format!("arn:{partition}:dynamodb:{}:{account}:table/{}", self.region, self.table))
    }

    /// A part of the nodes' ARNs.
    fn of_arn(&self, part: usize) -> Option<&'a str> {
        self.members.first()?.instance.as_str().split(':').nth(part)
    }
}
