//! Credentials of another account's role, for what is asked and changed of its route tables (ADR 0035).
//!
//! One session for each role and cluster lives as long as the process and is renewed long before it ends. STS is asked here
//! and not by a credentials provider inside the EC2 client: there a refusal would come back as a request that could not be
//! put together, and nobody could tell a role that is denied from STS that is throttled or cannot be reached.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Credentials;
use aws_sdk_sts::Client as Sts;
use aws_sdk_sts::types::Credentials as Given;
use baton_protocol::access::TableAccess;
use baton_protocol::ec2::CloudFailure;
use futures_util::lock::Mutex as AsyncMutex;

use crate::error::assuming;

/// What STS is asked for. A function's own credentials are a role's, and who takes on a role by those of another gets
/// [one hour at most](https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining).
const LENGTH: Duration = Duration::from_secs(3_600);
/// A session is renewed when less than this is left of it, so that STS may be down for so long and nothing is noticed.
const EARLY: Duration = Duration::from_secs(900);
/// While a session is good, STS is asked for another one no more often than this.
const AGAIN: Duration = Duration::from_secs(60);
/// A session with less than this left is not used any more: a call by it could arrive too late.
const LEAST: Duration = Duration::from_secs(30);
/// Of more sessions than this those that have ended are forgotten.
const MANY: usize = 1_000;

/// The sessions of a process.
#[derive(Debug)]
pub(super) struct Sessions {
    config: SdkConfig,
    sts: Sts,
    slots: Mutex<BTreeMap<TableAccess, Arc<Slot>>>,
}

/// One session, and who asks for it: the resources of a move come side by side, and STS is asked once for all of them.
#[derive(Debug, Default)]
struct Slot {
    session: Mutex<Option<Session>>,
    asking: AsyncMutex<Asking>,
}

#[derive(Debug, Default)]
struct Asking {
    /// How often STS was asked.
    times: u64,
    /// What it answered last, if that was no session.
    failed: Option<CloudFailure>,
}

#[derive(Debug, Clone)]
struct Session {
    client: Client,
    ends: SystemTime,
    renew_at: SystemTime,
}

impl Sessions {
    /// None yet. STS is asked by the [regional endpoint](https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html)
    /// of the configuration's region: the global one may be answered in another, which would have to work for a move as well.
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self { config: config.clone(), sts: Sts::new(config), slots: Mutex::default() }
    }

    /// A client with the role's credentials. A session that is good is used at once, however soon it is to be renewed.
    pub(super) async fn client(&self, access: &TableAccess) -> Result<Client, CloudFailure> {
        let slot = self.slot(access);
        match slot.client(SystemTime::now()) {
            Some(client) => Ok(client),
            None => self.renewed(&slot, access).await,
        }
    }

    /// Sees to it that there is a session, and renews it early. While one is good it is no failure that STS gives no other.
    pub(super) async fn prepare(&self, access: &TableAccess) -> Result<(), CloudFailure> {
        let slot = self.slot(access);
        if slot.is_fresh(SystemTime::now()) {
            return Ok(());
        }
        self.renewed(&slot, access).await.map(drop)
    }

    async fn renewed(&self, slot: &Slot, access: &TableAccess) -> Result<Client, CloudFailure> {
        let before = slot.asking.try_lock().map(|asking| asking.times);
        let mut asking = slot.asking.lock().await;
        let now = SystemTime::now();
        if let Some(client) = slot.client(now).filter(|_| slot.is_fresh(now)) {
            return Ok(client);
        }
        // Somebody has asked while this one waited, and what was answered holds for both.
        if before.is_none_or(|before| before != asking.times)
            && let Some(failure) = asking.failed.clone()
        {
            return slot.client(now).ok_or(failure);
        }
        asking.times += 1;
        // Whoever is given up while STS is asked leaves no answer behind.
        asking.failed = None;
        match self.assume(access, now).await {
            Ok(session) => {
                let client = session.client.clone();
                *slot.session() = Some(session);
                Ok(client)
            }
            Err(failure) => {
                asking.failed = Some(failure.clone());
                let left = slot.client(now).ok_or_else(|| failure.clone())?;
                slot.leave_until(now + AGAIN);
                tracing::warn!(role = %access.role, cluster = %access.cluster, %failure, "not renewed; the session that there is goes on");
                Ok(left)
            }
        }
    }

    /// Forgets a session by which something was denied: it may have been revoked, or the role may be allowed more by now.
    pub(super) fn forget(&self, access: &TableAccess) {
        self.slots().remove(access);
    }

    fn slot(&self, access: &TableAccess) -> Arc<Slot> {
        let mut slots = self.slots();
        if slots.len() >= MANY && !slots.contains_key(access) {
            let now = SystemTime::now();
            slots.retain(|_, slot| slot.client(now).is_some() || slot.asking.try_lock().is_none());
        }
        Arc::clone(slots.entry(access.clone()).or_default())
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<TableAccess, Arc<Slot>>> {
        // A map of sessions is whole whatever panicked beside it.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn assume(&self, access: &TableAccess, now: SystemTime) -> Result<Session, CloudFailure> {
        let seconds = i32::try_from(LENGTH.as_secs()).unwrap_or(i32::MAX);
        let answer = self
            .sts
            .assume_role()
            .role_arn(access.role.as_str())
            .role_session_name(access.session_name())
            .external_id(access.external_id())
            .duration_seconds(seconds)
            .send()
            .await
            .map_err(|error| assuming(access, error))?;
        let nothing =
            || CloudFailure::NoCredentials("AssumeRole was answered without credentials".to_owned());
        let given = answer.credentials().ok_or_else(nothing)?;
        let ends = ends(given, now);
        Ok(Session { client: self.made(given), ends, renew_at: ends.checked_sub(EARLY).unwrap_or(now) })
    }

    /// The same client as for the account's own resources, in all but the credentials. They are handed over without their
    /// end, which is watched here.
    fn made(&self, given: &Given) -> Client {
        let token = Some(given.session_token().to_owned());
        let credentials =
            Credentials::new(given.access_key_id(), given.secret_access_key(), token, None, "AssumeRole");
        let config = aws_sdk_ec2::config::Builder::from(&self.config).credentials_provider(credentials);
        Client::from_conf(config.build())
    }
}

/// When a session ends: never later than was asked for, whatever the answer says.
fn ends(given: &Given, now: SystemTime) -> SystemTime {
    let said = SystemTime::try_from(*given.expiration()).unwrap_or(now);
    said.min(now + LENGTH)
}

impl Slot {
    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        // A session is whole whatever panicked beside it.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that there is, as long as it is good for a call.
    fn client(&self, now: SystemTime) -> Option<Client> {
        let session = self.session();
        session.as_ref().filter(|session| now + LEAST < session.ends).map(|session| session.client.clone())
    }

    /// Whether it is not to be renewed yet.
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.session().as_ref().is_some_and(|session| now < session.renew_at)
    }

    /// Renews it no sooner.
    fn leave_until(&self, moment: SystemTime) {
        if let Some(session) = self.session().as_mut() {
            session.renew_at = moment;
        }
    }
}

#[cfg(test)]
mod tests;
