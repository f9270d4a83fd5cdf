//! Whether the role can be taken on through which another account's route tables are reached.

use std::future::Future;

use baton_cloud::Cloud;
use baton_doctor::{RoleSeen, Seen};
use baton_protocol::ec2::CloudFailure;

use crate::patience::Patience;
use crate::property::Desired;

/// Takes the role on, if one is named. `cloud` goes through it.
pub(super) async fn role<C: Cloud>(cloud: &C, patience: Patience, desired: &Desired) -> RoleSeen {
    if desired.tables_role.is_none() {
        return RoleSeen::Unneeded;
    }
    match patience.ask(|| cloud.prepare()).await {
        Ok(()) => RoleSeen::Assumed,
        Err(CloudFailure::RoleRefused { why, .. }) => RoleSeen::Refused(why),
        Err(failure) => RoleSeen::Unknown(failure.to_string()),
    }
}

/// Nothing of the tables is asked in vain where the role is not taken on: that is the finding.
pub(super) async fn unless_refused<T>(reachable: bool, question: impl Future<Output = Seen<T>>) -> Seen<T> {
    if reachable { question.await } else { Seen::Unasked }
}
