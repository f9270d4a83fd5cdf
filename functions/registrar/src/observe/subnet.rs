//! Looking at the subnets whose route table is swapped, and at the tables that are prepared for them.

use std::collections::BTreeSet;

use baton_cloud::Cloud;
use baton_doctor::{Seen, SubnetFacts, Subnets, TAG, TableFacts};
use baton_protocol::ec2::{CloudFailure, Look, Sight};

use crate::patience::Patience;
use crate::property::Desired;

pub(super) async fn subnets<C: Cloud>(cloud: &C, patience: Patience, desired: &Desired) -> Seen<Subnets> {
    if desired.subnets.is_empty() {
        return Seen::Known(Subnets::default());
    }
    Seen::from(read(cloud, patience, desired).await)
}

async fn read<C: Cloud>(cloud: &C, patience: Patience, desired: &Desired) -> Result<Subnets, CloudFailure> {
    let ids: Vec<_> = desired.subnets.iter().map(|swapped| swapped.subnet.clone()).collect();
    let prepared: BTreeSet<_> =
        desired.subnets.iter().flat_map(|swapped| swapped.tables.values().cloned()).collect();
    let prepared: Vec<_> = prepared.into_iter().collect();
    let look = Look::Subnets(ids.clone());
    let (subnets, tables, there) = tokio::join!(
        patience.ask(|| cloud.subnets(&ids)),
        patience.ask(|| cloud.tables(&prepared)),
        patience.ask(|| cloud.look(&look)),
    );
    let there = match there? {
        Sight::Subnets(there) => there,
        other => return Err(CloudFailure::Unknown(format!("the answer is to another question: {other:?}"))),
    };
    let subnet = |(id, seen): (_, baton_cloud::SubnetSeen)| {
        let table = there.get(&id).map(|association| association.table.clone());
        let facts = SubnetFacts { vpc: seen.vpc, tagged: seen.tags.contains_key(TAG), table };
        (id, facts)
    };
    let table = |(id, seen): (_, baton_cloud::TableSeen)| {
        let facts = TableFacts { vpc: seen.vpc, tagged: seen.tags.contains_key(TAG), routes: seen.routes };
        (id, facts)
    };
    Ok(Subnets {
        subnets: subnets?.into_iter().map(subnet).collect(),
        tables: tables?.into_iter().map(table).collect(),
    })
}
