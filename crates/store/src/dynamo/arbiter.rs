//! The arbiter's writes.

use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::history::Event;
use baton_protocol::hook::{FORGOTTEN_S, Hook};
use baton_protocol::ids::{AllocationId, ClusterName, Epoch, InstanceArn, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::mark::Mark;
use baton_protocol::mutant;
use baton_protocol::outcome::{Failure, Write, WriteFailure};
use baton_protocol::probe::Probe;

use super::action::{Action, Deed};
use super::{DynamoStore, holder_text, refused_lease};
use crate::error::{Cancelled, Unwritten};
use crate::item::{Item, attribute, number, read, read_heartbeat, read_request, text, write, write_event};
use crate::key::Key;
use crate::superseded::{lost_on_candidate, lost_on_holder, lost_on_lease, refuse_unsafe};
use crate::{Moved, condition};

/// What an action of a grant's transaction is about.
enum Part {
    Lease,
    Holder,
    Candidate,
    HolderAndCandidate,
    History,
}

impl DynamoStore {
    pub(super) async fn put_grant(&self, grant: &Grant) -> Result<Committed, Failure> {
        refuse_unsafe(grant)?;
        let (parts, actions): (Vec<_>, Vec<_>) = grant_actions(grant)?.into_iter().unzip();
        match self.transact(&actions).await {
            Ok(()) => Ok(Committed::Granted),
            Err(Cancelled::Failed(failure)) => Err(failure),
            Err(Cancelled::Refused(lost)) => {
                let mut told = Vec::new();
                for (number, found) in lost {
                    match parts.get(number) {
                        // The row is written by this transaction and nothing else: it stands, so this grant
                        // was made by an earlier sending of it.
                        Some(Part::History) => return Ok(Committed::Granted),
                        Some(part) => told.extend(tell(grant, part, found)?),
                        None => told.push(format!("action {number} of the transaction")),
                    }
                }
                Ok(Committed::Superseded(told))
            }
        }
    }

    pub(super) async fn put_rotation(
        &self,
        cluster: &ClusterName,
        epoch: Epoch,
        allocation: &AllocationId,
        mark: &Mark,
    ) -> Write<Option<Lease>> {
        let condition = if mark.replaces() { condition::EPOCH_CURRENT } else { condition::UNMARKED };
        let action = Action::update(Key::lease(cluster), "SET #rotated.#allocation = :mark")
            .name("#allocation", allocation.as_str())
            .only_if(condition)
            .value(":mark", text(String::from(mark.clone())))
            .value(":epoch", number(epoch.0));
        self.write(action).await.map_err(refused_lease)
    }

    pub(super) async fn put_moved(&self, cluster: &ClusterName, moved: &Moved) -> Write<Option<Lease>> {
        let change = match moved.verify_at {
            Some(_) => "SET #moved = :epoch, #observed = :observed, #verify_at = :verify_at",
            None => "SET #moved = :epoch, #observed = :observed REMOVE #verify_at",
        };
        let condition = if moved.due.is_some() { condition::LOOK_CURRENT } else { condition::MOVE_CURRENT };
        let mut action = Action::update(Key::lease(cluster), change)
            .only_if(condition)
            .value(":epoch", number(moved.epoch.0))
            .value(":revision", number(moved.revision))
            .value(":before", number(moved.before.0))
            .value(":observed", attribute(&moved.observed)?);
        if let Some(at) = moved.verify_at {
            action = action.value(":verify_at", number(at.0));
        }
        if let Some(due) = moved.due {
            action = action.value(":due", number(due.0));
        }
        self.write(action).await.map_err(refused_lease)
    }

    pub(super) async fn put_event(&self, event: &Event) -> Result<bool, Failure> {
        match self.write(event_action(event)?).await {
            Ok(()) => Ok(true),
            Err(Unwritten::Refused(_)) => Ok(false),
            Err(Unwritten::Failed(failure)) => Err(failure),
        }
    }

    pub(super) async fn put_hook(&self, cluster: &ClusterName, hook: &Hook) -> Result<(), Failure> {
        let key = Key::hook(cluster, hook);
        let mut item = write(&key, hook)?;
        item.insert("expires_at".to_owned(), number(hook.until.0 / 1000 + FORGOTTEN_S));
        match self.write(Action::new(key, Deed::Put(item)).only_if(condition::ABSENT)).await {
            Ok(()) | Err(Unwritten::Refused(_)) => Ok(()),
            Err(Unwritten::Failed(failure)) => Err(failure),
        }
    }

    pub(super) async fn put_end_of_hook(
        &self,
        cluster: &ClusterName,
        hook: &Hook,
        why: &str,
    ) -> Result<(), Failure> {
        let action = Action::update(Key::hook(cluster, hook), "SET #ended = :why")
            .only_if(condition::EXISTS)
            .value(":why", text(why));
        match self.write(action).await {
            // Forgotten after two days, and nothing waits so long.
            Ok(()) | Err(Unwritten::Refused(_)) => Ok(()),
            Err(Unwritten::Failed(failure)) => Err(failure),
        }
    }

    pub(super) async fn put_end_of_fence(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
    ) -> Result<(), Failure> {
        let action = Action::update(Key::lease(cluster), "REMOVE #fence")
            .only_if(condition::FENCE_ASKED_BY)
            .value(":request", text(request.as_str()));
        match self.write(action).await {
            // Another invocation has ended it, or another word has taken its place.
            Ok(()) | Err(Unwritten::Refused(_)) => Ok(()),
            Err(Unwritten::Failed(failure)) => Err(failure),
        }
    }

    pub(super) async fn put_probe(&self, cluster: &ClusterName, probe: &Probe) -> Result<(), Failure> {
        let key = Key::probe(cluster);
        let item = write(&key, probe)?;
        self.write(Action::new(key, Deed::Put(item))).await.map_err(|unwritten| match unwritten {
            Unwritten::Failed(failure) => failure,
            Unwritten::Refused(_) => Failure::Malformed("a write without a condition was refused".to_owned()),
        })
    }

    pub(super) async fn put_answer(
        &self,
        cluster: &ClusterName,
        request: &RequestId,
        answer: &str,
    ) -> Write<Option<String>> {
        let mut action = Action::update(Key::request(cluster, request), "SET #request.#answer = :answer")
            .only_if(condition::EXISTS)
            .value(":answer", text(answer));
        if !mutant!(AnswerOverwritten) {
            action = action.only_if(condition::UNANSWERED);
        }
        self.write(action).await.map_err(|unwritten| match unwritten {
            Unwritten::Failed(failure) => WriteFailure::Failed(failure),
            Unwritten::Refused(None) => WriteFailure::Refused(None),
            Unwritten::Refused(Some(found)) => match read_request(found) {
                Ok(request) => WriteFailure::Refused(request.answer),
                Err(failure) => WriteFailure::Failed(failure),
            },
        })
    }
}

/// The row of the history that goes with a write.
pub(super) fn event_action(event: &Event) -> Result<Action, Failure> {
    Ok(Action::new(Key::event(event)?, Deed::Put(write_event(event)?)).only_if(condition::ABSENT))
}

fn grant_actions(grant: &Grant) -> Result<Vec<(Part, Action)>, Failure> {
    let recent = grant.recent.as_ref().map_or("", |_| ", #recent_grants = :recent");
    let change = format!(
        "SET #epoch = :next, #holder = :to, #last_grant = :at, #rotated = :nothing{recent} \
         REMOVE #intent, #verify_at"
    );
    let mut lease = Action::update(Key::lease(&grant.cluster), change)
        .only_if(condition::LEASE_AS_READ)
        .value(":uid", text(grant.uid.as_str()))
        .value(":epoch", number(grant.epoch.0))
        .value(":holder", text(holder_text(grant.holder.as_ref())))
        .value(":active", text("active"))
        .value(":revision", number(grant.revision))
        .value(":next", number(grant.epoch.next().0))
        .value(":to", text(grant.to.as_str()))
        .value(":at", number(grant.at.0))
        .value(":nothing", aws_sdk_dynamodb::types::AttributeValue::M(Item::new()));
    if let Some(recent) = &grant.recent {
        lease = lease.value(":recent", attribute(recent)?);
    }
    lease = match &grant.wish {
        Some(wish) => lease.only_if(condition::INTENT_AS_READ).value(":standing", text(wish.as_str())),
        None => lease.only_if(condition::INTENT_OF_NOBODY),
    };
    if grant.yields_to_pause() {
        lease = lease.only_if(condition::NOT_PAUSED);
    }
    if grant.yields_to_exclusion() {
        lease = lease.only_if(condition::NOT_EXCLUDED);
    }
    let mut actions = vec![(Part::Lease, lease)];
    match (holder_action(grant), &grant.holder) {
        // DynamoDB refuses a transaction with two actions on one item.
        (Some(check), Some(holder)) if *holder == grant.to => {
            actions.push((Part::HolderAndCandidate, with_candidate(check, grant)));
        }
        (check, _) => {
            actions.extend(check.map(|check| (Part::Holder, check)));
            let candidate = Action::new(Key::heartbeat(&grant.cluster, &grant.to), Deed::Check);
            actions.push((Part::Candidate, with_candidate(candidate, grant)));
        }
    }
    actions.push((Part::History, event_action(&grant.event)?));
    Ok(actions)
}

/// What must hold of the holder's heartbeat, if there is a holder and anything must.
fn holder_action(grant: &Grant) -> Option<Action> {
    let holder: &InstanceArn = grant.holder.as_ref()?;
    let check = Action::new(Key::heartbeat(&grant.cluster, holder), Deed::Check);
    Some(match &grant.holder_check {
        HolderCheck::Nobody => return None,
        HolderCheck::Absent => check.only_if(condition::ABSENT),
        HolderCheck::Unchanged { incarnation, seq } => check
            .only_if(condition::HOLDER_UNCHANGED)
            .value(":holder_incarnation", text(incarnation.as_str()))
            .value(":holder_seq", number(seq.0)),
        HolderCheck::Released { epoch } => {
            check.only_if(condition::HOLDER_RELEASED).value(":released", number(epoch.0))
        }
    })
}

fn with_candidate(action: Action, grant: &Grant) -> Action {
    action
        .only_if(condition::CANDIDATE)
        .value(":to_incarnation", text(grant.to_incarnation.as_str()))
        .value(":ok", text("ok"))
}

/// Puts a lost condition into words.
fn tell(grant: &Grant, part: &Part, found: Option<Item>) -> Result<Vec<String>, Failure> {
    let heartbeat = |of: &InstanceArn, found: Option<Item>| -> Result<Option<Heartbeat>, Failure> {
        found.map(|item| read_heartbeat(&grant.cluster, of, item)).transpose()
    };
    let told = match part {
        Part::Lease => lost_on_lease(grant, found.map(read::<Lease>).transpose()?.as_ref()),
        Part::Holder => {
            let holder = grant.holder.as_ref().unwrap_or(&grant.to);
            lost_on_holder(&grant.holder_check, heartbeat(holder, found)?.as_ref())
        }
        Part::Candidate => lost_on_candidate(grant, heartbeat(&grant.to, found)?.as_ref()),
        Part::HolderAndCandidate => {
            let found = heartbeat(&grant.to, found)?;
            let mut told = lost_on_holder(&grant.holder_check, found.as_ref());
            told.extend(lost_on_candidate(grant, found.as_ref()));
            told
        }
        Part::History => Vec::new(),
    };
    // The table's word counts, even where its reason cannot be seen in what it returned.
    Ok(if told.is_empty() {
        vec!["a condition that the returned item does not explain".to_owned()]
    } else {
        told
    })
}
