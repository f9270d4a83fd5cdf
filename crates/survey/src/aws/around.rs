//! The network around the nodes, with nothing besides.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use baton_doctor::survey::{
    AclDetail, EndpointDetail, GroupDetail, InstanceDetail, InterfaceDetail, SubnetDetail, Survey,
    TableDetail, VpcDetail,
};
use baton_doctor::{Seen, service};
use baton_protocol::ids::{InstanceId, InterfaceId};

use super::Answer;
use super::instance::instances;
use super::network::{acls, endpoints, groups, interfaces, prefix_list, subnets, tables, vpc};
use crate::{Question, SurveyFailure};

/// What came of each question; `None` where it was not asked, since what it depends on is not there.
pub(super) struct Around {
    pub(super) instances: Answer<(BTreeMap<InstanceId, InstanceDetail>, Option<String>)>,
    interfaces: Answer<BTreeMap<InterfaceId, InterfaceDetail>>,
    table_list: Answer<Option<String>>,
    groups: Option<Answer<BTreeMap<String, GroupDetail>>>,
    vpc: Option<Answer<VpcDetail>>,
    subnets: Option<Answer<Vec<SubnetDetail>>>,
    tables: Option<Answer<Vec<TableDetail>>>,
    acls: Option<Answer<Vec<AclDetail>>>,
    endpoints: Option<Answer<Vec<EndpointDetail>>>,
}

/// Asks: first for the nodes, and then for what they are in.
pub(super) async fn around(ec2: &Client, question: &Question, region: &str) -> Around {
    let (ids, list) = (&question.instances, service(region));
    let (instances, interfaces, table_list) = tokio::join!(
        instances(ec2, ids),
        interfaces(ec2, &question.interfaces, ids),
        prefix_list(ec2, &list),
    );
    let id = instances.as_ref().ok().and_then(|(_, vpc)| vpc.as_deref());
    let of = interfaces.as_ref().ok().map(|found| {
        let groups = found.values().flat_map(|detail| detail.groups.iter().cloned());
        groups.collect::<Vec<String>>()
    });
    let (groups, vpc, subnets, tables, acls, endpoints) = tokio::join!(
        async { Some(groups(ec2, &of?).await) },
        async { Some(vpc(ec2, id?).await) },
        async { Some(subnets(ec2, id?).await) },
        async { Some(tables(ec2, id?).await) },
        async { Some(acls(ec2, id?).await) },
        async { Some(endpoints(ec2, id?).await) },
    );
    Around { instances, interfaces, table_list, groups, vpc, subnets, tables, acls, endpoints }
}

impl Around {
    /// What was seen, with the reason in place of what was not.
    pub(super) fn told(self) -> Survey {
        Survey {
            instances: Seen::from(self.instances.map(|(found, _)| found)),
            interfaces: Seen::from(self.interfaces),
            table_list: Seen::from(self.table_list),
            groups: asked(self.groups),
            vpc: asked(self.vpc),
            subnets: asked(self.subnets),
            tables: asked(self.tables),
            acls: asked(self.acls),
            endpoints: asked(self.endpoints),
            ..Survey::unasked()
        }
    }

    /// A failure that may pass by itself.
    pub(super) fn passing(&self) -> Option<SurveyFailure> {
        let failures = [
            self.instances.as_ref().err(),
            self.interfaces.as_ref().err(),
            self.table_list.as_ref().err(),
            failure(self.groups.as_ref()),
            failure(self.vpc.as_ref()),
            failure(self.subnets.as_ref()),
            failure(self.tables.as_ref()),
            failure(self.acls.as_ref()),
            failure(self.endpoints.as_ref()),
        ];
        failures.into_iter().flatten().find(|failure| failure.is_transient()).cloned()
    }
}

fn failure<T>(answer: Option<&Answer<T>>) -> Option<&SurveyFailure> {
    answer.and_then(|answer| answer.as_ref().err())
}

fn asked<T>(answer: Option<Answer<T>>) -> Seen<T> {
    answer.map_or(Seen::Unasked, Seen::from)
}
