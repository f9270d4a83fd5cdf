//! What was asked for and what was seen, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::Ipv4Addr;

use baton_protocol::access::TableAccess;
use baton_protocol::choice::Choices;
use baton_protocol::ec2::{AddressSeen, InstanceState, RouteSeen, Seat, Sight};
use baton_protocol::ids::{
    AllocationId, ClusterName, InstanceId, InterfaceId, NodeName, RouteTableId, SubnetId,
};
use baton_protocol::lease::Lease;
use baton_protocol::resource::{Destination, Placement, Route, SubnetTables};
use baton_protocol::roster::Shown;
use baton_protocol::tables::Tables;

use crate::TAG;

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

impl<T, E: Display> From<Result<T, E>> for Seen<T> {
    fn from(answer: Result<T, E>) -> Self {
        answer.map_or_else(|failure| Self::Unknown(failure.to_string()), Self::Known)
    }
}

impl Seen<Sight> {
    /// What was looked for, which `pick` takes out of the sight. A sight of something else, which it gives back, would be a fault
    /// of the program.
    pub fn pick<T>(self, pick: impl FnOnce(Sight) -> Result<T, Sight>) -> Seen<T> {
        match self {
            Self::Known(sight) => pick(sight).map_or_else(
                |other| Seen::Unknown(format!("the answer is to another question: {other:?}")),
                Seen::Known,
            ),
            Self::Unknown(why) => Seen::Unknown(why),
            Self::Unasked => Seen::Unasked,
        }
    }

    /// Elastic IPs.
    pub fn addresses(self) -> Seen<BTreeMap<AllocationId, AddressSeen>> {
        self.pick(|sight| if let Sight::Addresses(found) = sight { Ok(found) } else { Err(sight) })
    }

    /// What sits on interfaces.
    pub fn seats(self) -> Seen<Vec<Seat>> {
        self.pick(|sight| if let Sight::Seats(found) = sight { Ok(found) } else { Err(sight) })
    }

    /// Route tables.
    pub fn tables(self) -> Seen<BTreeMap<RouteTableId, Vec<RouteSeen>>> {
        self.pick(|sight| if let Sight::Tables(found) = sight { Ok(found) } else { Err(sight) })
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

impl InstanceFacts {
    /// Of an instance as membership knows it.
    pub fn of(shown: &Shown) -> Self {
        let interfaces = shown.interfaces.iter().map(|interface| InterfaceFacts {
            id: interface.id.clone(),
            device_index: interface.device_index,
            private_ips: interface.private_ips.clone(),
        });
        Self {
            state: shown.state.clone(),
            zone: shown.zone.clone(),
            vpc: shown.vpc.clone(),
            tagged: shown.tags.contains_key(TAG),
            hibernates: shown.hibernates,
            interfaces: interfaces.collect(),
        }
    }
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

impl Neighbour {
    /// Of a lease that is active.
    pub fn of(lease: &Lease) -> Self {
        let resources = &lease.resources;
        Self {
            cluster: lease.cluster.clone(),
            addresses: resources.addresses.iter().map(|address| address.allocation.clone()).collect(),
            seats: lease.members.iter().flat_map(|member| member.placements.values().cloned()).collect(),
            routes: resources.routes.iter().cloned().collect(),
            subnets: resources.subnets.iter().map(|subnet| subnet.subnet.clone()).collect(),
            prepared: resources.prepared().cloned().collect(),
        }
    }
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
