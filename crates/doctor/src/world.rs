//! What was asked for and what was seen, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use baton_protocol::access::TableAccess;
use baton_protocol::choice::Choices;
use baton_protocol::ec2::{AddressSeen, InstanceState, RouteSeen, Seat};
use baton_protocol::ids::{
    AllocationId, ClusterName, InstanceId, InterfaceId, NodeName, RouteTableId, SubnetId,
};
use baton_protocol::resource::{Destination, Placement, Route, SubnetTables};
use baton_protocol::tables::Tables;

/// The answer to a question, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It was read.
    Known(T),
    /// It could not be read, for this reason.
    Unknown(String),
    /// It was not asked for, since what the question depends on was not there.
    Unasked,
}

impl<T> Seen<T> {
    /// What was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(found) => Some(found),
            Self::Unknown(_) | Self::Unasked => None,
        }
    }
}

/// Whether the role through which another account's route tables are reached could be taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSeen {
    /// The tables are the account's own.
    Unneeded,
    /// It could.
    Assumed,
    /// It was refused, with these words.
    Refused(String),
    /// That is not known, for this reason.
    Unknown(String),
}

impl RoleSeen {
    /// Whether the tables can be asked about.
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Unneeded | Self::Assumed)
    }
}

/// A node as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedNode {
    /// Its name.
    pub node: NodeName,
    /// Its instance.
    pub instance: InstanceId,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The cluster.
    pub cluster: ClusterName,
    /// The nodes.
    pub nodes: Vec<WantedNode>,
    /// Whether at most one node may ever serve.
    pub strict: bool,
    /// Whether they are those that carry a tag at this moment. Others come and go, so that there are few of them is no
    /// reason to refuse anything.
    pub by_tag: bool,
    /// The Elastic IPs.
    pub addresses: Vec<AllocationId>,
    /// The routes, those in tables that were described included.
    pub routes: Vec<Route>,
    /// Those of the routes that may be taken from a gateway, as far as they lead to one.
    pub from_gateways: BTreeSet<Route>,
    /// The subnets whose route table is swapped.
    pub subnets: Vec<SubnetTables>,
    /// How the route tables are reached, if they are another account's.
    pub access: Option<TableAccess>,
    /// Where on each node all of this goes.
    pub choices: Choices,
}

/// A subnet whose route table is swapped, as far as requirements go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetFacts {
    /// Its VPC.
    pub vpc: String,
    /// Whether it carries the tag [`crate::TAG`].
    pub tagged: bool,
    /// The table it is associated with; none: it has none of its own.
    pub table: Option<RouteTableId>,
}

/// A route table that is prepared for a node, as far as requirements go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Its VPC.
    pub vpc: String,
    /// Whether it carries the tag [`crate::TAG`].
    pub tagged: bool,
    /// What it says.
    pub routes: Vec<RouteSeen>,
}

/// The wanted subnets and the tables that are prepared for them; those EC2 does not know are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnets {
    /// The subnets.
    pub subnets: BTreeMap<SubnetId, SubnetFacts>,
    /// The tables.
    pub tables: BTreeMap<RouteTableId, TableFacts>,
}

/// An instance, as far as requirements go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFacts {
    /// Its state.
    pub state: InstanceState,
    /// The id of its Availability Zone.
    pub zone: String,
    /// Its VPC; empty where EC2 names none.
    pub vpc: String,
    /// Whether it carries the tag [`crate::TAG`].
    pub tagged: bool,
    /// Whether it was launched so that it can hibernate.
    pub hibernates: bool,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceFacts>,
}

/// An interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// The interface.
    pub id: InterfaceId,
    /// Under which it is attached; 0 for the primary one.
    pub device_index: i32,
    /// Its private IPv4 addresses, the primary first.
    pub private_ips: Vec<Ipv4Addr>,
}

/// Another registered cluster, and what it calls its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its Elastic IPs.
    pub addresses: BTreeSet<AllocationId>,
    /// Where they may sit, on any of its nodes.
    pub seats: BTreeSet<Placement>,
    /// Its routes.
    pub routes: BTreeSet<Route>,
    /// Its subnets.
    pub subnets: BTreeSet<SubnetId>,
    /// The tables that are prepared for its nodes.
    pub prepared: BTreeSet<RouteTableId>,
}

/// What was asked for, and everything that was seen about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// What was asked for.
    pub wanted: Wanted,
    /// The instances that are members of the cluster already.
    pub members: BTreeSet<InstanceId>,
    /// Those of them that a tag names and whose places are known from the lease: they stay, whatever EC2 shows of them,
    /// until the arbiter retires them.
    pub kept: BTreeSet<InstanceId>,
    /// Whether the route tables can be reached through their role.
    pub role: RoleSeen,
    /// The wanted instances; those EC2 does not know are absent.
    pub instances: Seen<BTreeMap<InstanceId, InstanceFacts>>,
    /// The networks of the VPC, or VPCs, that the instances are in.
    pub networks: Seen<Vec<Destination>>,
    /// The wanted Elastic IPs; those EC2 does not know are absent.
    pub addresses: Seen<BTreeMap<AllocationId, AddressSeen>>,
    /// The tags of the wanted instances' interfaces; asked for where one is found by its tag.
    pub interface_tags: Seen<BTreeMap<InterfaceId, BTreeMap<String, String>>>,
    /// Every Elastic IP on the interfaces of the wanted instances.
    pub seats: Seen<Vec<Seat>>,
    /// The wanted route tables; those EC2 does not know are absent.
    pub tables: Seen<BTreeMap<RouteTableId, Vec<RouteSeen>>>,
    /// The wanted subnets, and the tables that are prepared for them.
    pub subnets: Seen<Subnets>,
    /// Every route table of the nodes' VPC; asked for where tables are described.
    pub vpc_tables: Seen<Tables>,
    /// The other clusters that are not retired.
    pub neighbours: Seen<Vec<Neighbour>>,
}
