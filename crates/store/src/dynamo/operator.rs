//! An operator's write, and the answer to the wish that it takes the place of. It touches the attributes that an operator's
//! policy allows and no others, not even in its conditions; but for a failback, which the arbiter wishes for by itself and by its own policy.

use baton_protocol::ids::{ClusterName, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::mutant;
use baton_protocol::outcome::{Failure, Write, WriteFailure};
use baton_protocol::request::Request;

use super::DynamoStore;
use super::action::Action;
use crate::error::Cancelled;
use crate::item::{attribute, number, read_request, text, write_request};
use crate::key::Key;
use crate::wish::{Carried, Place, carried, displaced, is_barred, is_same, place, standing};
use crate::{Store, condition};

/// How often a request is put anew because what it takes the place of has changed since it was read. The next ones are left to
/// whoever asks.
const TRIES: u32 = 4;

impl DynamoStore {
    /// Whatever wish goes from the lease is answered in the same transaction, so that it is answered if and only if it goes.
    pub(super) async fn put_request(&self, request: &Request) -> Write<Option<Lease>> {
        let carried = carried(request);
        let mut answered = None;
        for _ in 0..TRIES {
            let before = match place(&carried) {
                Some(_) => self.lease(&request.cluster).await?,
                None => None,
            };
            // A repeat of what was asked already is no other word, and is found by its row.
            let free = before.as_ref().filter(|lease| !is_barred(lease, &carried, request));
            let displaced = free.and_then(|lease| displaced(lease, &carried, request));
            let mut actions = vec![as_read(lease_action(request, &carried)?, &carried, free)];
            actions.push(
                Action::update(Key::request(&request.cluster, &request.id), "SET #request = :request")
                    .only_if(condition::ABSENT)
                    .value(":request", write_request(request)?),
            );
            let told = displaced.as_ref().filter(|(other, _)| answered.as_ref() != Some(other));
            if let Some((other, answer)) = told.filter(|_| !mutant!(ReplacedUntold)) {
                actions.push(answer_action(&request.cluster, other, answer));
            }
            let lost = match self.transact(&actions).await {
                Ok(()) => return Ok(()),
                Err(Cancelled::Failed(failure)) => return Err(WriteFailure::Failed(failure)),
                Err(Cancelled::Refused(lost)) => lost,
            };
            let after = self.lease(&request.cluster).await?;
            if let Some((_, row)) = lost.iter().find(|(number, _)| *number == 1) {
                let standing = row.clone().map(read_request).transpose()?;
                // Asked already; or the id is another request's.
                return match standing.is_some_and(|standing| is_same(&standing, request)) {
                    true => Ok(()),
                    false => Err(WriteFailure::Refused(after)),
                };
            }
            // What it was answered with before stands, or nobody can read an answer.
            if lost.iter().any(|(number, _)| *number == 2) {
                answered = displaced.map(|(other, _)| other);
                continue;
            }
            let of = |lease: &Option<Lease>| Some(standing(lease.as_ref()?, place(&carried)?)?.0.clone());
            if of(&before) == of(&after) {
                // There is no lease, another exclusion stands than the one that was read, or a word that is not replaced.
                return Err(WriteFailure::Refused(after));
            }
        }
        Err(WriteFailure::Failed(Failure::Conflict))
    }
}

/// The answer to a request that nobody has answered yet.
fn answer_action(cluster: &ClusterName, request: &RequestId, answer: &str) -> Action {
    let action = Action::update(Key::request(cluster, request), "SET #request.#answer = :answer")
        .only_if(condition::EXISTS)
        .value(":answer", text(answer));
    if mutant!(ReplacedAnswersAgain) { action } else { action.only_if(condition::UNANSWERED) }
}

/// What stands in the place of the lease that is taken or emptied is still what was seen there; without a lease, nothing does.
fn as_read(action: Action, carried: &Carried, lease: Option<&Lease>) -> Action {
    let Some(place) = place(carried) else { return action };
    let (seen, none) = match place {
        Place::Intent => (condition::INTENT_AS_READ, condition::INTENT_OF_NOBODY),
        Place::Fence => (condition::FENCE_AS_READ, condition::NO_FENCE),
        Place::Restore => (condition::RESTORE_AS_READ, condition::NO_RESTORE),
    };
    match lease.and_then(|lease| standing(lease, place)) {
        Some((request, _)) => action.only_if(seen).value(":standing", text(request.as_str())),
        None => action.only_if(none),
    }
}

fn lease_action(request: &Request, carried: &Carried) -> Result<Action, Failure> {
    let key = Key::lease(&request.cluster);
    let action = match carried {
        Carried::Included { exclusion, withdraws } => {
            let action = if *withdraws {
                Action::update(key, "REMOVE #excluded, #intent").only_if(condition::DRAINED_BY)
            } else {
                Action::update(key, "REMOVE #excluded")
            };
            let id = text(exclusion.as_str());
            return Ok(action.only_if(condition::EXCLUDED_BY).value(":exclusion", id));
        }
        Carried::Intent(intent) => {
            Action::update(key, "SET #intent = :intent").value(":intent", attribute(intent)?)
        }
        Carried::Fence(word) => Action::update(key, "SET #fence = :fence").value(":fence", attribute(word)?),
        Carried::Restore(word) => {
            Action::update(key, "SET #restore = :restore").value(":restore", attribute(word)?)
        }
        Carried::Failback(intent) => Action::update(key, "SET #intent = :intent")
            .only_if(condition::EPOCH_CURRENT)
            .only_if(condition::ACTIVE)
            .only_if(condition::NOTHING_ASKED)
            .only_if(condition::NOT_PAUSED)
            .value(":active", text("active"))
            .value(":intent", attribute(intent)?)
            .value(":epoch", number(request.epoch.0))
            .value(":at", number(request.at.0)),
        Carried::Paused(pause) => {
            Action::update(key, "SET #paused = :paused").value(":paused", attribute(pause)?)
        }
        Carried::Resumed => Action::update(key, "REMOVE #paused"),
        Carried::Excluded { exclusion, intent, replaces, withdraws } => {
            let action = match (intent, withdraws) {
                (Some(intent), _) => Action::update(key, "SET #excluded = :excluded, #intent = :intent")
                    .value(":intent", attribute(intent)?),
                (None, Some(drain)) => Action::update(key, "SET #excluded = :excluded REMOVE #intent")
                    .only_if(condition::DRAINED_BY)
                    .value(":exclusion", text(drain.as_str())),
                (None, None) => Action::update(key, "SET #excluded = :excluded"),
            };
            let action = action.value(":excluded", attribute(exclusion)?);
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
