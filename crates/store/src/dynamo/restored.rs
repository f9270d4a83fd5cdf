//! The change of a lease whose table was restored: one transaction over the lease and every node's heartbeat.

use aws_sdk_dynamodb::types::AttributeValue;
use baton_protocol::grant::Committed;
use baton_protocol::ids::InstanceArn;
use baton_protocol::lease::Lease;
use baton_protocol::outcome::Failure;
use baton_protocol::restored::Restoration;

use super::action::{Action, Deed};
use super::arbiter::event_action;
use super::{DynamoStore, holder_text};
use crate::condition;
use crate::error::Cancelled;
use crate::item::{Item, number, read, read_heartbeat, text};
use crate::key::Key;
use crate::superseded::{restoration_lost_on_lease, restoration_lost_on_node};

impl DynamoStore {
    pub(super) async fn put_restoration(&self, restoration: &Restoration) -> Result<Committed, Failure> {
        let nodes: Vec<&InstanceArn> = restoration.signs.keys().chain(&restoration.absent).collect();
        // The lease, the row, and one check for each node: of these a transaction takes one hundred.
        crate::refuse_too_many(nodes.len() + 2)?;
        let mut actions = vec![begin_anew(restoration), event_action(&restoration.event)?];
        actions.extend(nodes.iter().map(|node| still_silent(restoration, node)));
        match self.transact(&actions).await {
            Ok(()) => Ok(Committed::Granted),
            Err(Cancelled::Failed(failure)) => Err(failure),
            Err(Cancelled::Refused(lost)) => {
                let mut told = Vec::new();
                for (number, found) in lost {
                    match number {
                        0 => {
                            let found = found.map(read::<Lease>).transpose()?;
                            told.extend(restoration_lost_on_lease(restoration, found.as_ref()));
                        }
                        // The row is written by this transaction and nothing else: it was made by an earlier sending of it.
                        1 => return Ok(Committed::Granted),
                        _ => told.extend(told_of(restoration, nodes.get(number - 2), found)?),
                    }
                }
                if told.is_empty() {
                    told.push("a condition that the returned items do not explain".to_owned());
                }
                Ok(Committed::Superseded(told))
            }
        }
    }
}

fn told_of(
    restoration: &Restoration,
    node: Option<&&InstanceArn>,
    found: Option<Item>,
) -> Result<Option<String>, Failure> {
    let Some(node) = node else { return Ok(None) };
    let found = found.map(|item| read_heartbeat(&restoration.cluster, node, item)).transpose()?;
    Ok(restoration_lost_on_node(restoration, node, found.as_ref()))
}

fn begin_anew(restoration: &Restoration) -> Action {
    let change = "SET #epoch = :raised, #holder = :nobody, #rotated = :nothing \
         REMOVE #intent, #paused, #excluded, #fence, #restore, #verify_at, #last_grant, #recent_grants";
    Action::update(Key::lease(&restoration.cluster), change)
        .only_if(condition::LEASE_AS_READ)
        .value(":uid", text(restoration.uid.as_str()))
        .value(":epoch", number(restoration.epoch.0))
        .value(":holder", text(holder_text(restoration.holder.as_ref())))
        .value(":active", text("active"))
        .value(":revision", number(restoration.revision))
        .value(":raised", number(restoration.raised.0))
        .value(":nobody", text(holder_text(None)))
        .value(":nothing", AttributeValue::M(Item::new()))
}

/// No node has written anything since it was looked at.
fn still_silent(restoration: &Restoration, node: &InstanceArn) -> Action {
    let check = Action::new(Key::heartbeat(&restoration.cluster, node), Deed::Check);
    match restoration.signs.get(node) {
        None => check.only_if(condition::ABSENT),
        Some((incarnation, seq)) => check
            .only_if(condition::HOLDER_UNCHANGED)
            .value(":holder_incarnation", text(incarnation.as_str()))
            .value(":holder_seq", number(seq.0)),
    }
}
