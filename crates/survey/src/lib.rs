//! Looking at what surrounds a cluster with the rights of whoever asks, and changing what may be mended.
//!
//! What is looked for, and what would mend it, is decided in `baton_doctor`; here is only the asking. Where an address or a
//! route leads is never changed from here: that is the arbiter's, under the lease. [`AwsAccount`] asks AWS, [`MemoryAccount`]
//! is its twin in memory.

mod aws;
mod memory;
mod network;
mod policy;
mod signed;
mod tally;

use std::collections::BTreeMap;
use std::future::Future;

use baton_doctor::Change;
use baton_doctor::survey::Survey;
use baton_protocol::ids::{InstanceId, InterfaceId};
use baton_protocol::time::WallTime;

pub use aws::AwsAccount;
pub use memory::MemoryAccount;
pub use network::Network;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The nodes' instances.
    pub instances: Vec<InstanceId>,
    /// The interfaces that something leads to.
    pub interfaces: Vec<InterfaceId>,
    /// Now, for metrics of the last two weeks.
    pub now: WallTime,
}

/// Why something could not be read or done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SurveyFailure {
    /// IAM refused. Nothing was done.
    #[error("{action} is denied: {said}")]
    Denied {
        /// The action, as a policy names it.
        action: &'static str,
        /// What AWS said.
        said: String,
    },
    /// The account is over its rate. Nothing was done.
    #[error("{0} is throttled; try again in a minute")]
    Throttled(&'static str),
    /// AWS refused the request itself. Nothing was done.
    #[error("{action} is refused: {said}")]
    Refused {
        /// The action.
        action: &'static str,
        /// What AWS said.
        said: String,
    },
    /// An answer that cannot be read. Asking again would bring the same.
    #[error("{action} was answered with what cannot be read: {said}")]
    Unreadable {
        /// The action.
        action: &'static str,
        /// What cannot be read.
        said: String,
    },
    /// No answer: it may or may not have been done.
    #[error("{action} has an unknown outcome: {said}")]
    Unknown {
        /// The action.
        action: &'static str,
        /// What is known.
        said: String,
    },
}

impl SurveyFailure {
    /// The action that failed, as a policy names it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Denied { action, .. }
            | Self::Throttled(action)
            | Self::Refused { action, .. }
            | Self::Unreadable { action, .. }
            | Self::Unknown { action, .. } => action,
        }
    }

    /// Whether asking again, unchanged, can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unknown { .. })
    }
}

/// An account with rights of its own.
pub trait Account: Send + Sync {
    /// Looks at everything. What cannot be read says so in its place.
    fn survey(&self, question: &Question) -> impl Future<Output = Survey> + Send;

    /// Looks at the network around the nodes, and at nothing else, as far as it is not found yet: a look that is made again asks only
    /// for what was throttled or had no answer. What cannot be read says so in its place. It may be given up at any time; what was
    /// found until then stays.
    fn network(&self, question: &Question, found: &mut Network) -> impl Future<Output = ()> + Send;

    /// How often looks at the network were throttled since this was last asked, by the action that IAM names; empty: never.
    fn take_throttled(&self) -> BTreeMap<&'static str, u64>;

    /// Whether a change would be allowed; nothing is done. `None` where AWS cannot be asked that.
    fn may(&self, change: &Change) -> impl Future<Output = Option<Result<(), SurveyFailure>>> + Send;

    /// Makes a change.
    fn make(&self, change: &Change) -> impl Future<Output = Result<(), SurveyFailure>> + Send;
}

/// What [`Account::survey`] needs, by action. None of them can be limited to a resource by IAM, but for those of trails.
pub const READS: &[&str] = &[
    "cloudtrail:DescribeTrails",
    "cloudtrail:GetEventSelectors",
    "cloudtrail:GetTrailStatus",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricStatistics",
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstances",
    "ec2:DescribeManagedPrefixLists",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcEndpoints",
    "ec2:DescribeVpcs",
];

/// What [`Account::network`] needs, by action.
pub const NETWORK_READS: &[&str] = &[
    "ec2:DescribeInstances",
    "ec2:DescribeManagedPrefixLists",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcEndpoints",
    "ec2:DescribeVpcs",
];

/// What [`Account::make`] needs, by action.
pub const CHANGES: &[&str] = &[
    "cloudwatch:DisableAlarmActions",
    "ec2:AllocateAddress",
    "ec2:AssociateIamInstanceProfile",
    "ec2:AssociateRouteTable",
    "ec2:AttachNetworkInterface",
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateNetworkAclEntry",
    "ec2:CreateSubnet",
    "ec2:CreateTags",
    "ec2:CreateVpcEndpoint",
    "ec2:ModifyInstanceMaintenanceOptions",
    "ec2:ModifyInstanceMetadataOptions",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:ModifyVpcEndpoint",
    "ec2:StartInstances",
];
