//! The registrar's writes: the lease, its row in the directory, the accepted configuration and the row of the
//! history, in one transaction, if the lease is still the one that was read.

use baton_protocol::history::Event;
use baton_protocol::ids::{ClusterName, InstanceArn, RegistrationUid};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::outcome::{Write, WriteFailure};

use super::action::{Action, Deed};
use super::arbiter::event_action;
use super::{DynamoStore, holder_text};
use crate::error::Cancelled;
use crate::item::{Accepted, attribute, number, read, text, write};
use crate::key::Key;
use crate::registration::{Next, entry, reconfigure, register, retire};
use crate::{Registration, Store, condition};

impl DynamoStore {
    pub(super) async fn put_registration(&self, registration: &Registration) -> Write<Option<Lease>> {
        let found = self.lease(&registration.cluster).await?;
        let next = match register(found.as_ref(), registration) {
            Next::Done => return Ok(()),
            Next::Refused => return Err(WriteFailure::Refused(found)),
            Next::Write(next) => next,
        };
        let key = Key::lease(&registration.cluster);
        let lease = Action::new(key.clone(), Deed::Put(write(&key, &next)?));
        let lease = match &found {
            None => lease.only_if(condition::ABSENT),
            Some(retired) => lease
                .only_if(condition::RETIRED_AS_READ)
                .value(":was_uid", text(retired.uid.as_str()))
                .value(":retired", text("retired"))
                .value(":was_epoch", number(retired.epoch.0))
                .value(":was_revision", number(retired.revision))
                .value(":was_moved", number(retired.moved.0)),
        };
        let outcome = self.put_accepted(registration, next.revision, lease).await;
        match outcome {
            // The same registration, sent twice at once: the other one made it.
            Err(WriteFailure::Refused(Some(found)))
                if found.uid == registration.uid && found.state == LeaseState::Active =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    pub(super) async fn put_reconfiguration(
        &self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> Write<Option<Lease>> {
        let found = self.lease(&registration.cluster).await?;
        let (was, next) = match (reconfigure(found.as_ref(), registration, holder), found) {
            (Next::Write(next), Some(was)) => (was, next),
            (_, found) => return Err(WriteFailure::Refused(found)),
        };
        // What is not chosen is not written.
        let (mut set, mut unset) = (String::new(), Vec::new());
        for (name, chosen) in [
            ("fencing", !next.fencing.is_none()),
            ("roster", next.roster.is_some()),
            ("rules", next.rules > 0),
        ] {
            if chosen {
                set.push_str(&format!(", #{name} = :{name}"));
            } else {
                unset.push(format!("#{name}"));
            }
        }
        let unset = if unset.is_empty() { String::new() } else { format!(" REMOVE {}", unset.join(", ")) };
        let change = format!(
            "SET #mode = :mode, #takeover = :takeover, #cool_down_ms = :cool_down, #failback = :failback, \
             #timing = :timing, #members = :members, #resources = :resources, #revision = :revision, \
             #moved = :moved{set}{unset}"
        );
        let mut lease = Action::update(Key::lease(&registration.cluster), change)
            .only_if(condition::REGISTERED_AS_READ)
            .value(":uid", text(was.uid.as_str()))
            .value(":active", text("active"))
            .value(":holder", text(holder_text(was.holder.as_ref())))
            .value(":epoch", number(was.epoch.0))
            .value(":was_revision", number(was.revision))
            .value(":was_moved", number(was.moved.0))
            .value(":mode", attribute(&next.mode)?)
            .value(":takeover", attribute(&next.takeover)?)
            .value(":cool_down", number(next.cool_down_ms))
            .value(":failback", attribute(&next.failback)?)
            .value(":timing", attribute(&next.timing)?)
            .value(":members", attribute(&next.members)?)
            .value(":resources", attribute(&next.resources)?)
            .value(":revision", number(next.revision))
            .value(":moved", number(next.moved.0));
        if !next.fencing.is_none() {
            lease = lease.value(":fencing", attribute(&next.fencing)?);
        }
        if next.rules > 0 {
            lease = lease.value(":rules", number(u64::from(next.rules)));
        }
        if let Some(roster) = &next.roster {
            lease = lease.value(":roster", attribute(roster)?);
        }
        self.put_accepted(registration, next.revision, lease).await
    }

    pub(super) async fn put_retirement(
        &self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> Write<Option<Lease>> {
        let found = self.lease(cluster).await?;
        match retire(found.as_ref(), uid) {
            Next::Done => return Ok(()),
            Next::Refused => return Err(WriteFailure::Refused(found)),
            Next::Write(_) => {}
        }
        let lease = Action::update(
            Key::lease(cluster),
            "SET #state = :retired REMOVE #intent, #paused, #excluded, #fence, #restore, #verify_at",
        )
        .only_if(condition::UID_ACTIVE)
        .value(":uid", text(uid.as_str()))
        .value(":active", text("active"))
        .value(":retired", text("retired"));
        let directory = Action::new(Key::directory(cluster), Deed::Delete);
        match self.put_rows(cluster, [lease, directory, event_action(event)?]).await {
            // The same request, sent twice at once: the other one retired it.
            Err(WriteFailure::Refused(Some(found)))
                if found.uid == *uid && found.state == LeaseState::Retired =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn put_accepted(
        &self,
        registration: &Registration,
        revision: u64,
        lease: Action,
    ) -> Write<Option<Lease>> {
        let cluster = &registration.cluster;
        let directory = Key::directory(cluster);
        let directory = Action::new(directory.clone(), Deed::Put(write(&directory, &entry(registration))?));
        let accepted = Accepted {
            cluster,
            uid: &registration.uid,
            revision,
            mode: registration.mode,
            takeover: registration.takeover,
            cool_down_ms: registration.cool_down_ms,
            fencing: registration.fencing,
            failback: registration.failback,
            timing: registration.timing,
            members: &registration.members,
            roster: registration.roster.as_ref(),
            resources: &registration.resources,
            at: registration.at,
        };
        let config = Key::config(cluster, revision);
        let config =
            Action::new(config.clone(), Deed::Put(write(&config, &accepted)?)).only_if(condition::ABSENT);
        self.put_rows(cluster, [lease, directory, config, event_action(&registration.event)?]).await
    }

    /// Writes the lease, which comes first, and the rows that go with it.
    async fn put_rows<const N: usize>(
        &self,
        cluster: &ClusterName,
        actions: [Action; N],
    ) -> Write<Option<Lease>> {
        let lost = match self.transact(&actions).await {
            Ok(()) => return Ok(()),
            Err(Cancelled::Failed(failure)) => return Err(WriteFailure::Failed(failure)),
            Err(Cancelled::Refused(lost)) => lost,
        };
        let found = lost.into_iter().find(|(number, _)| *number == 0).and_then(|(_, found)| found);
        match found {
            Some(item) => Err(WriteFailure::Refused(Some(read(item)?))),
            // The lease is gone, or it was a row that stood in the way; either way the lease tells what came
            // between.
            None => Err(WriteFailure::Refused(self.lease(cluster).await?)),
        }
    }
}
