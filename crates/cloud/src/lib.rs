//! EC2 as Baton uses it: looks that change nothing and calls that do, and a twin in memory.
//!
//! [`Cloud`] has two implementations that one conformance body keeps equal where the real server can be asked:
//! [`Ec2Cloud`], which ships, and [`MemoryCloud`], which also models what test servers do not: a terminated instance
//! frees its address, routes become black holes, calls are throttled, answers are lost or stale, calls land late.
//! Which call to make, and when, is decided in `baton_protocol`; nothing here retries.

mod counted;
#[cfg(feature = "aws")]
mod ec2;
#[cfg(feature = "aws")]
mod error;
pub mod memory;
pub mod permission;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;

use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{Call, CloudFailure, Effect, InstanceState, Look, RouteSeen, Sight};
use baton_protocol::ids::{InstanceArn, InstanceId, InterfaceId, RouteTableId, SubnetId};
use baton_protocol::lease::Member;
use baton_protocol::place::Interface;
use baton_protocol::resource::Destination;
use baton_protocol::roster::{self, Shown, Tag};
use baton_protocol::tables::Tables;

pub use counted::Counted;
#[cfg(feature = "aws")]
pub use ec2::Ec2Cloud;
pub use memory::MemoryCloud;

/// An instance as EC2 describes it; what a registration is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSeen {
    /// Its ARN, made from the reservation's owner.
    pub arn: InstanceArn,
    /// Its state.
    pub state: InstanceState,
    /// The id of its Availability Zone, or the zone's name where EC2 gives no id.
    pub zone: String,
    /// Its VPC; empty where EC2 names none, as for an instance that is terminated.
    pub vpc: String,
    /// Its interfaces by device index, each with its private addresses, the primary first.
    pub interfaces: Vec<InterfaceOnInstance>,
    /// Whether it was launched so that it can hibernate.
    pub hibernates: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl InstanceSeen {
    /// As far as membership goes. `tags` are those of its interfaces, as far as they were asked for.
    pub fn shown(&self, tags: &BTreeMap<InterfaceId, BTreeMap<String, String>>) -> Shown {
        let interface = |interface: &InterfaceOnInstance| Interface {
            id: interface.id.clone(),
            device_index: interface.device_index,
            private_ips: interface.private_ips.clone(),
            tags: tags.get(&interface.id).cloned().unwrap_or_default(),
        };
        Shown {
            instance: self.arn.clone(),
            state: self.state.clone(),
            zone: self.zone.clone(),
            vpc: self.vpc.clone(),
            interfaces: self.interfaces.iter().map(interface).collect(),
            hibernates: self.hibernates,
            tags: self.tags.clone(),
        }
    }
}

/// Who carries the tag and what became of the members, as far as membership goes. `tags` are those of interfaces.
pub fn seen(
    tagged: &BTreeMap<InstanceId, InstanceSeen>,
    members: &BTreeMap<InstanceId, InstanceSeen>,
    tags: &BTreeMap<InterfaceId, BTreeMap<String, String>>,
) -> roster::Seen {
    let shown = |seen: &BTreeMap<InstanceId, InstanceSeen>| {
        seen.iter().map(|(id, seen)| (id.clone(), seen.shown(tags))).collect()
    };
    roster::Seen { tagged: shown(tagged), members: shown(members) }
}

/// The interfaces of those who carry the tag and are no members, whose tags may say where everything goes on them.
pub fn interfaces_of_newcomers(
    tagged: &BTreeMap<InstanceId, InstanceSeen>,
    members: &[Member],
) -> Vec<InterfaceId> {
    let is_member = |seen: &InstanceSeen| members.iter().any(|member| member.instance == seen.arn);
    let newcomers = tagged.values().filter(|seen| !is_member(seen));
    newcomers.flat_map(|seen| &seen.interfaces).map(|interface| interface.id.clone()).collect()
}

/// An interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceOnInstance {
    /// The interface.
    pub id: InterfaceId,
    /// 0 for the primary one.
    pub device_index: i32,
    /// Its private IPv4 addresses, the primary first.
    pub private_ips: Vec<Ipv4Addr>,
    /// Whether EC2 drops packets that are not addressed from or to the interface itself.
    pub source_dest_check: bool,
}

/// A subnet as EC2 describes it; what a registration is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetSeen {
    /// Its VPC.
    pub vpc: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A route table as EC2 describes it; what a registration is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSeen {
    /// Its VPC.
    pub vpc: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What it says.
    pub routes: Vec<RouteSeen>,
}

/// Everything Baton asks of EC2.
pub trait Cloud: Send + Sync {
    /// The same EC2, where whatever is asked or changed of route tables, subnets and networks goes by the credentials of this
    /// role; none: by the function's own, as everything else does in any case.
    fn through(&self, access: Option<&TableAccess>) -> Self
    where
        Self: Sized;

    /// Takes on that role if it is not taken on yet, and again long before that ends, so that no question waits for it. It is
    /// well where there is none.
    fn prepare(&self) -> impl Future<Output = Result<(), CloudFailure>> + Send;

    /// Asks EC2 a question.
    fn look(&self, look: &Look) -> impl Future<Output = Result<Sight, CloudFailure>> + Send;

    /// Asks EC2 for a change.
    fn call(&self, call: &Call) -> impl Future<Output = Result<Effect, CloudFailure>> + Send;

    /// Asks EC2 whether this call would be allowed, and has it do nothing.
    fn probe(&self, call: &Call) -> impl Future<Output = Result<(), CloudFailure>> + Send;

    /// Describes instances; those EC2 does not know are absent.
    fn instances(
        &self,
        ids: &[InstanceId],
    ) -> impl Future<Output = Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure>> + Send;

    /// The tags of interfaces; those EC2 does not know are absent.
    fn interface_tags(
        &self,
        ids: &[InterfaceId],
    ) -> impl Future<Output = Result<BTreeMap<InterfaceId, BTreeMap<String, String>>, CloudFailure>> + Send;

    /// Every route table of a VPC. All or nothing: whoever asks takes a table that is absent for one that is gone.
    fn tables_of(&self, vpc: &str) -> impl Future<Output = Result<Tables, CloudFailure>> + Send;

    /// Describes every running instance that carries the tag, or fails.
    fn tagged(
        &self,
        tag: &Tag,
    ) -> impl Future<Output = Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure>> + Send;

    /// The networks of a VPC.
    fn vpc_networks(&self, vpc: &str) -> impl Future<Output = Result<Vec<Destination>, CloudFailure>> + Send;

    /// Describes subnets; those EC2 does not know are absent.
    fn subnets(
        &self,
        ids: &[SubnetId],
    ) -> impl Future<Output = Result<BTreeMap<SubnetId, SubnetSeen>, CloudFailure>> + Send;

    /// Describes route tables, with their tags; those EC2 does not know are absent.
    fn tables(
        &self,
        ids: &[RouteTableId],
    ) -> impl Future<Output = Result<BTreeMap<RouteTableId, TableSeen>, CloudFailure>> + Send;
}
