//! What surrounds a cluster, as plain data: what `doctor` looks at besides what a registration is examined for.
//!
//! Each part is [`Seen`]: what could not be read says why in its place.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::ids::{AllocationId, InstanceId, InterfaceId};

use crate::policy::Policy;
use crate::world::Seen;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceDetail {
    /// Its state by EC2's word: `running`, `stopped`, …
    pub state: String,
    /// Whether instance metadata is served at all.
    pub metadata: bool,
    /// Whether instance metadata asks for a token.
    pub token_required: bool,
    /// Whether EC2 may move the instance to other hardware by itself (simplified automatic recovery).
    pub auto_recovery: bool,
    /// Whether it was started so that it can be hibernated.
    pub hibernation: bool,
    /// Whether it carries the tag of consent.
    pub tagged: bool,
}

/// EC2's own checks of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusDetail {
    /// Those that do not pass, each by name and word: `system impaired`.
    pub failing: Vec<String>,
    /// What EC2 has scheduled for it and has not done yet.
    pub events: Vec<String>,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceDetail {
    /// To which instance it is attached, if it is.
    pub instance: Option<InstanceId>,
    /// Under which device index.
    pub device_index: Option<i32>,
    /// Its subnet.
    pub subnet: String,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Whether packets are dropped that are not from or to the interface itself.
    pub source_dest_check: bool,
    /// Whether it carries the tag of consent.
    pub tagged: bool,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcDetail {
    /// Its id.
    pub id: String,
    /// By EC2's word: `available` or `pending`.
    pub state: String,
    /// Its first IPv4 network.
    pub network: String,
    /// The account that owns it: 12 digits; empty where EC2 does not say.
    pub owner: String,
}

/// A subnet of the VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetDetail {
    /// Its id.
    pub id: String,
    /// The id of its Availability Zone.
    pub zone: String,
    /// Its IPv4 network.
    pub network: String,
    /// The account that owns it, another one where the VPC is shared: 12 digits; empty where EC2 does not say.
    pub owner: String,
}

/// A route table of the VPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDetail {
    /// Its id.
    pub id: String,
    /// Whether subnets without a table of their own follow it.
    pub main: bool,
    /// The subnets that are associated with it.
    pub subnets: BTreeSet<String>,
    /// Where its default route leads, if it has one that is usable.
    pub default: Option<String>,
    /// Where its other usable routes lead: not those within the VPC, and not those to gateway endpoints. By one of them DynamoDB may be
    /// reached, as by an endpoint in another VPC, by IPv6, or where the default route stands in halves.
    pub further: BTreeSet<String>,
    /// The prefix lists that it leads to gateway endpoints. In a shared VPC they show an endpoint that is not shown itself.
    pub lists: BTreeSet<String>,
    /// Whether it carries the tag of consent.
    pub tagged: bool,
}

/// What a rule of a security group allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for every protocol.
    pub protocol: String,
    /// The first port; -1 for every.
    pub from: i32,
    /// The last port.
    pub to: i32,
    /// From or to whom: a network, a security group or a prefix list.
    pub peer: String,
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupDetail {
    /// What it lets in.
    pub ingress: BTreeSet<Rule>,
    /// What it lets out.
    pub egress: BTreeSet<Rule>,
}

/// An entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// Entries are looked at in the order of their numbers, and the first that fits decides.
    pub number: i32,
    /// Whether it is about what leaves the subnet.
    pub egress: bool,
    /// Whether it allows.
    pub allow: bool,
    /// The number of the protocol: `6` is TCP, `-1` every.
    pub protocol: String,
    /// The first port, and the last; none: every.
    pub ports: Option<(i32, i32)>,
    /// The network, of IPv4 or IPv6.
    pub network: String,
}

/// A network ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclDetail {
    /// Its id.
    pub id: String,
    /// Whether it is the one that subnets have which were given none.
    pub default: bool,
    /// Its subnets.
    pub subnets: BTreeSet<String>,
    /// Its entries.
    pub entries: BTreeSet<AclEntry>,
}

/// A VPC endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointDetail {
    /// Its id.
    pub id: String,
    /// The service: `com.amazonaws.eu-west-1.dynamodb`.
    pub service: String,
    /// Whether it is of the kind that is a route in tables.
    pub gateway: bool,
    /// By EC2's word.
    pub state: String,
    /// The route tables that lead to it.
    pub tables: BTreeSet<String>,
    /// Its security groups; a gateway has none.
    pub groups: Vec<String>,
    /// Whether the service's own name leads to it within the VPC; a gateway has no need of that.
    pub private_dns: bool,
    /// What it lets through.
    pub policy: Seen<Policy>,
}

/// An Elastic IP of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressDetail {
    /// Whether it carries the tag of consent.
    pub tagged: bool,
}

/// An alarm that does something to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmDetail {
    /// Its name.
    pub name: String,
    /// The instance that it looks at.
    pub instance: InstanceId,
    /// The actions that restart or move the instance.
    pub actions: Vec<String>,
}

/// How an instance's metadata is used, as its metric tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUse {
    /// Calls without a token in the last two weeks.
    pub calls: u64,
    /// For how many hours of these two weeks, 0 to 336, the metric says nothing: the instance did not run, or was not there yet.
    pub untold: u64,
}

/// A trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailDetail {
    /// Its name.
    pub name: String,
    /// Whether it records now.
    pub logging: bool,
    /// Whether it records management events that change something.
    pub changes: bool,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The nodes' instances; those EC2 does not know are absent.
    pub instances: Seen<BTreeMap<InstanceId, InstanceDetail>>,
    /// EC2's checks of them; of those that run.
    pub statuses: Seen<BTreeMap<InstanceId, StatusDetail>>,
    /// The roles that they carry.
    pub profiles: Seen<BTreeMap<InstanceId, String>>,
    /// The interfaces that addresses and routes lead to, and each node's primary one.
    pub interfaces: Seen<BTreeMap<InterfaceId, InterfaceDetail>>,
    /// The VPC.
    pub vpc: Seen<VpcDetail>,
    /// The subnets of the VPC.
    pub subnets: Seen<Vec<SubnetDetail>>,
    /// The ids of the region's Availability Zones that can be used.
    pub zones: Seen<Vec<String>>,
    /// The route tables of the VPC.
    pub tables: Seen<Vec<TableDetail>>,
    /// The security groups of the interfaces.
    pub groups: Seen<BTreeMap<String, GroupDetail>>,
    /// The network ACLs of the VPC.
    pub acls: Seen<Vec<AclDetail>>,
    /// The endpoints of the VPC.
    pub endpoints: Seen<Vec<EndpointDetail>>,
    /// The prefix list by which security groups name DynamoDB in this region; none where there is none.
    pub table_list: Seen<Option<String>>,
    /// Every Elastic IP of the region.
    pub addresses: Seen<BTreeMap<AllocationId, AddressDetail>>,
    /// How many there may be.
    pub address_quota: Seen<usize>,
    /// The alarms that restart or move a node's instance.
    pub alarms: Seen<Vec<AlarmDetail>>,
    /// How often each instance has asked its metadata without a token, in the last two weeks; nothing is known of one that is
    /// absent.
    pub without_token: Seen<BTreeMap<InstanceId, TokenUse>>,
    /// The trails that record this region.
    pub trails: Seen<Vec<TrailDetail>>,
}

impl Survey {
    /// One in which nothing was asked for yet.
    pub fn unasked() -> Self {
        Self {
            instances: Seen::Unasked,
            statuses: Seen::Unasked,
            profiles: Seen::Unasked,
            interfaces: Seen::Unasked,
            vpc: Seen::Unasked,
            subnets: Seen::Unasked,
            zones: Seen::Unasked,
            tables: Seen::Unasked,
            groups: Seen::Unasked,
            acls: Seen::Unasked,
            endpoints: Seen::Unasked,
            table_list: Seen::Unasked,
            addresses: Seen::Unasked,
            address_quota: Seen::Unasked,
            alarms: Seen::Unasked,
            without_token: Seen::Unasked,
            trails: Seen::Unasked,
        }
    }
}
