//! What `doctor` examines: the record, the world as the registrar would see it, and what surrounds it.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use baton_cloud::Cloud;
use baton_doctor::{Case, Record, Seen};
use baton_protocol::ids::ClusterName;
use baton_store::Store;
use baton_survey::{Account, Question};

use crate::clock::Clock;
use crate::command::Session;
use crate::trouble::Trouble;
use crate::view;

/// Between two looks at the heartbeats, and how often there is another one: a node beats within that time.
const LOOK_EVERY: Duration = Duration::from_millis(1_500);
const LOOKS: usize = 2;

/// Whom to ask besides the table.
#[derive(Debug)]
pub struct Eyes<'a, C, A> {
    /// EC2 as the arbiter and the registrar see it.
    pub cloud: &'a C,
    /// What surrounds a cluster, with the operator's own rights.
    pub account: &'a A,
    /// The region.
    pub region: String,
    /// The table's name.
    pub table: String,
}

/// Reads everything about a cluster. Only the lease and the heartbeats must be readable; what else is not says so in its place.
pub async fn gather<S: Store, W, C: Clock, E: Cloud, A: Account>(
    session: &Session<'_, S, W, C>,
    eyes: &Eyes<'_, E, A>,
    cluster: &ClusterName,
) -> Result<Case, Trouble> {
    let before_at = session.clock.now();
    let first = session.snapshot(cluster).await?;
    let world = world::world(session.store, eyes.cloud, &first.lease).await;
    let members = &first.lease.members;
    let seats = members.iter().flat_map(|member| member.placements.values().map(|place| &place.interface));
    let interfaces: BTreeSet<_> = members.iter().map(|member| &member.interface).chain(seats).collect();
    let question = Question {
        instances: members.iter().map(|member| member.instance.instance_id()).collect(),
        interfaces: interfaces.into_iter().cloned().collect(),
        now: before_at,
    };
    let survey = eyes.account.survey(&question).await;
    let mut last = first.heartbeats.clone();
    for _ in 0..LOOKS {
        let beaten = |(id, before): (_, &baton_protocol::heartbeat::Heartbeat)| {
            last.get(id).is_some_and(|now| now.seq != before.seq)
        };
        if first.heartbeats.iter().all(beaten) {
            break;
        }
        session.clock.sleep(LOOK_EVERY).await;
        let read = session.store.heartbeats(cluster, &view::instances(&first.lease)).await;
        last = read.map_err(|failure| Trouble::of_table("reading the heartbeats", &failure))?;
    }
    let probe = match session.store.probe(cluster).await {
        Ok(probe) => Seen::Known(probe),
        Err(failure) => Seen::Unknown(failure.to_string()),
    };
    let record = Record {
        region: eyes.region.clone(),
        table: eyes.table.clone(),
        lease: first.lease,
        before: first.heartbeats,
        before_at,
        heartbeats: last,
        at: session.clock.now(),
        probe,
    };
    Ok(Case { record, world, survey })
}
