//! An operator's write. It touches the attributes that an operator's policy allows and no others, not even in
//! its conditions; but for a failback, which the arbiter wishes for by itself and by its own policy.

use baton_protocol::lease::Lease;
use baton_protocol::outcome::{Failure, Write, WriteFailure};
use baton_protocol::request::Request;

use super::DynamoStore;
use super::action::Action;
use crate::error::Cancelled;
use crate::item::{attribute, number, read_request, text, write_request};
use crate::key::Key;
use crate::wish::{Carried, carried, is_same};
use crate::{Store, condition};

impl DynamoStore {
    pub(super) async fn put_request(&self, request: &Request) -> Write<Option<Lease>> {
        let lease = lease_action(request)?;
        let row = Action::update(Key::request(&request.cluster, &request.id), "SET #request = :request")
            .only_if(condition::ABSENT)
            .value(":request", write_request(request)?);
        match self.transact(&[lease, row]).await {
            Ok(()) => Ok(()),
            Err(Cancelled::Failed(failure)) => Err(WriteFailure::Failed(failure)),
            Err(Cancelled::Refused(lost)) => {
                let row = lost.into_iter().find(|(number, _)| *number == 1).and_then(|(_, found)| found);
                let standing = row.map(read_request).transpose()?;
                if standing.is_some_and(|standing| is_same(&standing, request)) {
                    return Ok(());
                }
                // The id is another request's, there is no lease, or another exclusion stands than the one that was read.
                Err(WriteFailure::Refused(self.lease(&request.cluster).await?))
            }
        }
    }
}

fn lease_action(request: &Request) -> Result<Action, Failure> {
    let key = Key::lease(&request.cluster);
    let action = match carried(request) {
        Carried::Included { exclusion, withdraws } => {
            let action = if withdraws {
                Action::update(key, "REMOVE #excluded, #intent").only_if(condition::DRAINED_BY)
            } else {
                Action::update(key, "REMOVE #excluded")
            };
            let id = text(exclusion.as_str());
            return Ok(action.only_if(condition::EXCLUDED_BY).value(":exclusion", id));
        }
        Carried::Intent(intent) => {
            Action::update(key, "SET #intent = :intent").value(":intent", attribute(&intent)?)
        }
        Carried::Fence(word) => Action::update(key, "SET #fence = :fence").value(":fence", attribute(&word)?),
        Carried::Restore(word) => {
            Action::update(key, "SET #restore = :restore").value(":restore", attribute(&word)?)
        }
        Carried::Failback(intent) => Action::update(key, "SET #intent = :intent")
            .only_if(condition::EPOCH_CURRENT)
            .only_if(condition::ACTIVE)
            .only_if(condition::NOTHING_ASKED)
            .only_if(condition::NOT_PAUSED)
            .value(":active", text("active"))
            .value(":intent", attribute(&intent)?)
            .value(":epoch", number(request.epoch.0))
            .value(":at", number(request.at.0)),
        Carried::Paused(pause) => {
            Action::update(key, "SET #paused = :paused").value(":paused", attribute(&pause)?)
        }
        Carried::Resumed => Action::update(key, "REMOVE #paused"),
        Carried::Excluded { exclusion, intent, replaces, withdraws } => {
            let action = match (intent, withdraws) {
                (Some(intent), _) => Action::update(key, "SET #excluded = :excluded, #intent = :intent")
                    .value(":intent", attribute(&intent)?),
                (None, Some(drain)) => Action::update(key, "SET #excluded = :excluded REMOVE #intent")
                    .only_if(condition::DRAINED_BY)
                    .value(":exclusion", text(drain.as_str())),
                (None, None) => Action::update(key, "SET #excluded = :excluded"),
            };
            let action = action.value(":excluded", attribute(&exclusion)?);
            match replaces {
                None => action.only_if(condition::NONE_EXCLUDED),
                Some(seen) => {
                    action.only_if(condition::EXCLUDED_AS_READ).value(":replaces", text(seen.as_str()))
                }
            }
        }
    };
    Ok(action.only_if(condition::EXISTS))
}
