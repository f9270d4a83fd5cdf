//! What Baton asks of EC2, as data: looks, which change nothing, and calls, which do.
//!
//! The protocol decides which looks and calls to make; the `cloud` crate makes them and translates what EC2 answers into
//! the outcomes below, so that no decision depends on a type of the AWS SDK.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::access::TableAccess;
use crate::ids::{
    AllocationId, AssociationId, InstanceId, InterfaceId, RouteTableId, SubnetId, TableAssociationId,
};
use crate::resource::{Destination, Placement, Route, TableAssociation};

/// A question to EC2. Answers may be stale: EC2 is eventually consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Where these Elastic IPs are.
    Addresses(Vec<AllocationId>),
    /// Which Elastic IPs, of whomever, sit on these interfaces.
    Seats(Vec<InterfaceId>),
    /// What these route tables say.
    Tables(Vec<RouteTableId>),
    /// With which route tables these subnets are associated.
    Subnets(Vec<SubnetId>),
    /// The state of these interfaces.
    Interfaces(Vec<InterfaceId>),
    /// The state of this instance.
    Instance(InstanceId),
}

impl Look {
    /// Whether it is about route tables, which may be another account's.
    pub fn is_of_tables(&self) -> bool {
        match self {
            Self::Tables(_) | Self::Subnets(_) => true,
            Self::Addresses(_) | Self::Seats(_) | Self::Interfaces(_) | Self::Instance(_) => false,
        }
    }
}

/// What EC2 answered to a [`Look`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// To [`Look::Addresses`]; an address that EC2 does not know is absent.
    Addresses(BTreeMap<AllocationId, AddressSeen>),
    /// To [`Look::Seats`].
    Seats(Vec<Seat>),
    /// To [`Look::Tables`]; a table that EC2 does not know is absent.
    Tables(BTreeMap<RouteTableId, Vec<RouteSeen>>),
    /// To [`Look::Subnets`]; a subnet without an association of its own, or that EC2 does not know, is absent.
    Subnets(BTreeMap<SubnetId, TableAssociation>),
    /// To [`Look::Interfaces`]; an interface that EC2 does not know is absent.
    Interfaces(BTreeMap<InterfaceId, InterfaceSeen>),
    /// To [`Look::Instance`].
    Instance(InstanceState),
}

/// An Elastic IP as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSeen {
    /// The address.
    pub public_ip: Ipv4Addr,
    /// Its association and where it leads; none: it is free.
    pub association: Option<(AssociationId, Option<Placement>)>,
}

/// An Elastic IP that sits on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Which address.
    pub allocation: AllocationId,
    /// Where it sits.
    pub placement: Placement,
}

/// A route as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSeen {
    /// Where it leads.
    pub destination: Destination,
    /// Through what.
    pub target: RouteTarget,
    /// Whether EC2 says that the target cannot take traffic.
    pub blackhole: bool,
}

/// What a route goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// A network interface.
    Interface(InterfaceId),
    /// Something else, by its id: a gateway, a peering connection, an instance without interface.
    Other(String),
}

/// An interface as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSeen {
    /// Whether EC2 drops packets that are not addressed from or to the interface itself.
    pub source_dest_check: bool,
    /// The instance it is attached to.
    pub instance: Option<InstanceId>,
}

/// The state of an instance. Only `Terminated` is final; everything else may change back or be stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceState {
    /// EC2 says `terminated`.
    Terminated,
    /// EC2 names another state.
    Other(String),
    /// EC2 does not know the instance, which may be a stale answer and proves nothing.
    NotFound,
}

/// A change asked of EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Ends one association of an address, and no other: the compare of compare-and-swap.
    Disassociate {
        /// The address, for people.
        allocation: AllocationId,
        /// The association as observed.
        association: AssociationId,
    },
    /// Associates a free address, never taking it from anybody (`AllowReassociation=false`).
    Associate {
        /// The address.
        allocation: AllocationId,
        /// Where it goes.
        placement: Placement,
    },
    /// Points an existing route at an interface.
    ReplaceRoute {
        /// The route.
        route: Route,
        /// The interface.
        interface: InterfaceId,
    },
    /// Makes a route that was declared and is missing.
    CreateRoute {
        /// The route.
        route: Route,
        /// The interface.
        interface: InterfaceId,
    },
    /// Replaces one association of a subnet, and no other, by one with this table: compare and swap in one call.
    ReplaceTableAssociation {
        /// The subnet, for people.
        subnet: SubnetId,
        /// The association as observed.
        association: TableAssociationId,
        /// The table.
        table: RouteTableId,
    },
    /// Lets an interface forward what is not addressed to it.
    DisableSourceDestCheck {
        /// The interface.
        interface: InterfaceId,
    },
    /// Stops an instance at once, without waiting for its system to shut down. Nothing happens to one that is stopped.
    Stop {
        /// The instance.
        instance: InstanceId,
    },
}

impl Call {
    /// Whether it changes a route table or which of them a subnet has, and so may be another account's to allow. The
    /// interface that a route leads to is the account's own, and so is its check of source and destination.
    pub fn is_of_tables(&self) -> bool {
        match self {
            Self::ReplaceRoute { .. } | Self::CreateRoute { .. } | Self::ReplaceTableAssociation { .. } => {
                true
            }
            Self::Disassociate { .. }
            | Self::Associate { .. }
            | Self::DisableSourceDestCheck { .. }
            | Self::Stop { .. } => false,
        }
    }

    /// The action as EC2 and IAM name it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Disassociate { .. } => "DisassociateAddress",
            Self::Associate { .. } => "AssociateAddress",
            Self::ReplaceRoute { .. } => "ReplaceRoute",
            Self::CreateRoute { .. } => "CreateRoute",
            Self::ReplaceTableAssociation { .. } => "ReplaceRouteTableAssociation",
            Self::DisableSourceDestCheck { .. } => "ModifyNetworkInterfaceAttribute",
            Self::Stop { .. } => "StopInstances",
        }
    }

    /// What the call is about, for people.
    pub fn resource(&self) -> String {
        match self {
            Self::Disassociate { allocation, .. } | Self::Associate { allocation, .. } => {
                allocation.to_string()
            }
            Self::ReplaceRoute { route, .. } | Self::CreateRoute { route, .. } => route.to_string(),
            Self::ReplaceTableAssociation { subnet, .. } => subnet.to_string(),
            Self::DisableSourceDestCheck { interface } => interface.to_string(),
            Self::Stop { instance } => instance.to_string(),
        }
    }
}

/// What a [`Call`] brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It was done.
    Done,
    /// The address has this new association.
    Associated(AssociationId),
    /// The instance is being stopped, or is stopped already.
    Stopping {
        /// Whether it is this call that has begun it: EC2 says that it ran until then.
        began: bool,
    },
    /// The subnet has this association with the table.
    TableAssociated(TableAssociationId),
}

/// Why a look or a call was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudFailure {
    /// The address is associated already (`Resource.AlreadyAssociated`).
    #[error("the address is associated already")]
    AlreadyAssociated,
    /// The association is not current any more (`InvalidAssociationID.NotFound`).
    #[error("the association has ended")]
    AssociationGone,
    /// There is no such route to replace.
    #[error("the route does not exist")]
    RouteMissing,
    /// There is such a route already.
    #[error("the route exists already")]
    RouteExists,
    /// The account is over its rate (`RequestLimitExceeded`); nothing was applied.
    #[error("throttled")]
    Throttled,
    /// IAM refused; nothing was applied.
    #[error("denied: {0}")]
    Denied(String),
    /// STS or IAM refused the role of the route tables' account; EC2 was not asked, so nothing was applied.
    #[error("{}", role_refused(.access, .why))]
    RoleRefused {
        /// Which role, for which cluster.
        access: TableAccess,
        /// What STS said.
        why: String,
    },
    /// STS gave no answer, or one that says nothing; EC2 was not asked, so nothing was applied.
    #[error("no credentials for the role of the route tables: {0}")]
    NoCredentials(String),
    /// The address, table or interface is unknown to EC2, which may be a stale answer.
    #[error("not found: {0}")]
    NotFound(String),
    /// EC2 refused the request for what it asks.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer, or one that says nothing: a call may or may not have been applied, now or later.
    #[error("unknown outcome: {0}")]
    Unknown(String),
}

impl CloudFailure {
    /// Whether asking again, unchanged, can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled | Self::NoCredentials(_) | Self::Unknown(_))
    }
}

/// What to do stands before what STS said, which may be long and cut.
fn role_refused(access: &TableAccess, why: &str) -> String {
    format!("the role {} cannot be assumed: {}; STS said: {why}", access.role, role_remedy(access))
}

/// What to do about a role that cannot be assumed.
pub fn role_remedy(access: &TableAccess) -> String {
    format!(
        "allow it in the role's trust policy (external id `{}`), in RouteTablesRoles of the control plane, and in every \
         service control policy",
        access.external_id()
    )
}
