//! The network around the nodes, with nothing besides.

use aws_sdk_ec2::Client;
use baton_doctor::service;

use super::instance::instances;
use super::network::{acls, endpoints, groups, interfaces, prefix_list, subnets, tables, vpc};
use crate::Question;
use crate::network::{ACLS, ENDPOINTS, GROUPS, INSTANCES, INTERFACES, LISTS, Network, SUBNETS, TABLES, VPCS};
use crate::tally::Tally;

/// Asks for what is not known yet: first for the nodes, and then for what they are in.
pub(super) async fn around(
    ec2: &Client,
    question: &Question,
    region: &str,
    throttled: &Tally,
    found: &mut Network,
) {
    let (ids, list) = (&question.instances, service(region));
    tokio::join!(
        found.instances.ask(INSTANCES, throttled, instances(ec2, ids)),
        found.interfaces.ask(INTERFACES, throttled, interfaces(ec2, &question.interfaces, ids)),
        found.table_list.ask(LISTS, throttled, prefix_list(ec2, &list)),
    );
    let of = found.interfaces.known().map(|found| {
        let groups = found.values().flat_map(|detail| detail.groups.iter().cloned());
        groups.collect::<Vec<String>>()
    });
    let in_vpc = found.instances.known().and_then(|(_, vpc)| vpc.clone());
    let groups = async {
        if let Some(of) = &of {
            found.groups.ask(GROUPS, throttled, groups(ec2, of)).await;
        }
    };
    let around = async {
        if let Some(id) = &in_vpc {
            tokio::join!(
                found.vpc.ask(VPCS, throttled, vpc(ec2, id)),
                found.subnets.ask(SUBNETS, throttled, subnets(ec2, id)),
                found.tables.ask(TABLES, throttled, tables(ec2, id)),
                found.acls.ask(ACLS, throttled, acls(ec2, id)),
                found.endpoints.ask(ENDPOINTS, throttled, endpoints(ec2, id)),
            );
        }
    };
    tokio::join!(groups, around);
}
