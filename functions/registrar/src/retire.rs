//! Delete: the registration is retired, if it is the one that stands. Addresses and routes stay where they are.

use baton_cloud::Cloud;
use baton_protocol::history::{Event, Happening};
use baton_protocol::lease::LeaseState;
use baton_protocol::outcome::WriteFailure;
use baton_store::Store;
use baton_survey::Account;

use crate::identity::PhysicalId;
use crate::refusal::Refusal;
use crate::register::Errand;

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// The registration is retired.
    Done,
    /// There was none to retire: it was never made, or another one has its name.
    NotOurs,
}

impl<S: Store, C: Cloud, A: Account> Errand<'_, S, C, A> {
    /// Retires the registration that CloudFormation knows as `id`. CloudFormation also deletes what it failed to create
    /// and what an update replaced, so an id that is not registered is no error, and whatever has the name is not touched.
    pub async fn retire(&self, id: &PhysicalId) -> Result<Retired, Refusal> {
        let PhysicalId { cluster, uid } = id;
        let lease = self
            .patience
            .ask(|| self.store.lease(cluster))
            .await
            .map_err(|failure| Refusal::table(format!("reading the lease of {cluster}"), failure))?;
        let Some(lease) = lease.filter(|lease| lease.uid == *uid) else { return Ok(Retired::NotOurs) };
        if lease.state == LeaseState::Retired {
            return Ok(Retired::Done);
        }
        let event = Event {
            cluster: cluster.clone(),
            epoch: lease.epoch,
            at: self.now,
            by: self.by.clone(),
            what: Happening::Retired {},
        };
        match self.patience.ask(|| self.store.retire(cluster, uid, &event)).await {
            Ok(()) => Ok(Retired::Done),
            Err(WriteFailure::Refused(_)) => Ok(Retired::NotOurs),
            Err(WriteFailure::Failed(failure)) => {
                Err(Refusal::write(format!("the retirement of {cluster}"), failure))
            }
        }
    }
}
