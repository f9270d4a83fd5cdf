//! What a look at the network around the nodes has brought so far. It is made part by part, so that one that fails takes nothing from
//! the others, and is asked for again by itself.

use std::collections::BTreeMap;
use std::future::Future;

use baton_doctor::Seen;
use baton_doctor::survey::{
    AclDetail, EndpointDetail, GroupDetail, InstanceDetail, InterfaceDetail, SubnetDetail, Survey,
    TableDetail, VpcDetail,
};
use baton_protocol::ids::{InstanceId, InterfaceId};

use crate::SurveyFailure;
use crate::tally::Tally;

pub(crate) const INSTANCES: &str = "ec2:DescribeInstances";
pub(crate) const INTERFACES: &str = "ec2:DescribeNetworkInterfaces";
pub(crate) const LISTS: &str = "ec2:DescribeManagedPrefixLists";
pub(crate) const GROUPS: &str = "ec2:DescribeSecurityGroups";
pub(crate) const VPCS: &str = "ec2:DescribeVpcs";
pub(crate) const SUBNETS: &str = "ec2:DescribeSubnets";
pub(crate) const TABLES: &str = "ec2:DescribeRouteTables";
pub(crate) const ACLS: &str = "ec2:DescribeNetworkAcls";
pub(crate) const ENDPOINTS: &str = "ec2:DescribeVpcEndpoints";

/// The network around the nodes, as far as it was looked at.
#[derive(Debug, Default)]
pub struct Network {
    /// The instances, and the VPC that they are in.
    pub(crate) instances: Part<(BTreeMap<InstanceId, InstanceDetail>, Option<String>)>,
    pub(crate) interfaces: Part<BTreeMap<InterfaceId, InterfaceDetail>>,
    pub(crate) table_list: Part<Option<String>>,
    pub(crate) groups: Part<BTreeMap<String, GroupDetail>>,
    pub(crate) vpc: Part<VpcDetail>,
    pub(crate) subnets: Part<Vec<SubnetDetail>>,
    pub(crate) tables: Part<Vec<TableDetail>>,
    pub(crate) acls: Part<Vec<AclDetail>>,
    pub(crate) endpoints: Part<Vec<EndpointDetail>>,
}

/// What came of one question; nothing where it was not asked yet, or what it depends on is not there.
#[derive(Debug)]
pub(crate) struct Part<T>(Option<Result<T, SurveyFailure>>);

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Part<T> {
    /// Asks and counts, unless there is an answer that asking again does not change. What is given up meanwhile had no answer in time.
    pub(crate) async fn ask(
        &mut self,
        action: &'static str,
        throttled: &Tally,
        asked: impl Future<Output = Result<T, SurveyFailure>>,
    ) {
        if self.0.as_ref().is_some_and(|answer| !matches!(answer, Err(failure) if failure.is_transient())) {
            return;
        }
        let said = "no answer in time".to_owned();
        self.0.get_or_insert(Err(SurveyFailure::Unknown { action, said }));
        let answer = asked.await;
        throttled.count(&answer);
        self.0 = Some(answer);
    }

    pub(crate) fn known(&self) -> Option<&T> {
        self.0.as_ref()?.as_ref().ok()
    }

    fn failure(&self) -> Option<&SurveyFailure> {
        self.0.as_ref()?.as_ref().err()
    }

    fn told(self) -> Seen<T> {
        self.0.map_or(Seen::Unasked, Seen::from)
    }
}

impl Network {
    /// A failure that may pass by itself, where there is one.
    pub fn passing(&self) -> Option<&SurveyFailure> {
        let failures = [
            self.instances.failure(),
            self.interfaces.failure(),
            self.table_list.failure(),
            self.groups.failure(),
            self.vpc.failure(),
            self.subnets.failure(),
            self.tables.failure(),
            self.acls.failure(),
            self.endpoints.failure(),
        ];
        failures.into_iter().flatten().find(|failure| failure.is_transient())
    }

    /// What was seen, with the reason in place of what was not.
    pub fn told(self) -> Survey {
        let instances = Part(self.instances.0.map(|answer| answer.map(|(found, _)| found)));
        Survey {
            instances: instances.told(),
            interfaces: self.interfaces.told(),
            table_list: self.table_list.told(),
            groups: self.groups.told(),
            vpc: self.vpc.told(),
            subnets: self.subnets.told(),
            tables: self.tables.told(),
            acls: self.acls.told(),
            endpoints: self.endpoints.told(),
            ..Survey::unasked()
        }
    }
}
