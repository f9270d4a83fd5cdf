//! An agent's writes: to its own partition and nothing else.

use aws_sdk_dynamodb::types::AttributeValue;
use baton_protocol::heartbeat::{Beat, Heartbeat};
use baton_protocol::ids::{ClusterName, Epoch, Incarnation, InstanceArn};
use baton_protocol::lease::SCHEMA;
use baton_protocol::outcome::{Failure, Write, WriteFailure};
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;
use serde::Serialize;

use super::DynamoStore;
use super::action::Action;
use crate::error::Unwritten;
use crate::item::{attribute, number, read_heartbeat, text, write_healthy_since};
use crate::key::Key;
use crate::{Start, condition};

impl DynamoStore {
    pub(super) async fn put_start(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        start: &Start,
    ) -> Write<Option<Heartbeat>> {
        let change = "SET #incarnation = :incarnation, #boot_id = :boot_id, #agent_version = :agent_version, \
             #validity_ms = :validity_ms, #beat_at = :at, #health = :unknown, #schema = :schema, \
             #released = if_not_exists(#released, :zero) ADD #seq :one \
             REMOVE #claim, #serving_epoch, #serving_since";
        let action = Action::update(Key::heartbeat(cluster, instance), change)
            .value(":incarnation", text(start.incarnation.as_str()))
            .value(":boot_id", text(&*start.boot_id))
            .value(":agent_version", text(&*start.agent_version))
            .value(":validity_ms", number(start.validity_ms))
            .value(":at", number(start.at.0))
            .value(":unknown", text("unknown"))
            .value(":schema", number(u64::from(SCHEMA)))
            .value(":zero", number(0))
            .value(":one", number(1));
        let action = match &start.expected {
            None => action.only_if(condition::ABSENT),
            Some(read) => action.only_if(condition::START_AFTER).value(":as_read", text(read.as_str())),
        };
        self.write(action).await.map_err(|unwritten| refused(cluster, instance, unwritten))
    }

    pub(super) async fn put_beat(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        beat: &Beat,
    ) -> Write<Option<Heartbeat>> {
        let mut set = vec![
            ("seq", number(beat.seq.0)),
            ("health", attribute(&beat.health)?),
            ("validity_ms", number(beat.validity_ms)),
            ("seen", attribute(&beat.seen)?),
            ("beat_at", number(beat.beat_at.0)),
        ];
        let mut remove = Vec::new();
        for (name, value) in [
            ("claim", optional(beat.claim.as_ref())?),
            ("serving_epoch", optional(beat.serving_epoch.as_ref())?),
            ("serving_since", optional(beat.serving_since.as_ref())?),
        ] {
            match value {
                Some(value) => set.push((name, value)),
                None => remove.push(format!("#{name}")),
            }
        }
        // Neither is so much as named where nothing is said: a cluster's stack that is older than the agent does not allow it,
        // and a remark must cost no heartbeat.
        if let Some(since) = beat.healthy_since {
            set.push(("healthy_since", write_healthy_since(since, beat.seq)));
        }
        if let Some(ahead) = beat.ahead {
            set.push(("ahead", number(ahead.0)));
        }
        if let Some(findings) = &beat.findings {
            set.push(("findings", attribute(findings)?));
        }
        let changes: Vec<_> = set.iter().map(|(name, _)| format!("#{name} = :{name}")).collect();
        let mut change = format!("SET {}", changes.join(", "));
        if !remove.is_empty() {
            change.push_str(" REMOVE ");
            change.push_str(&remove.join(", "));
        }
        let mut action = Action::update(Key::heartbeat(cluster, instance), change)
            .only_if(condition::BEAT)
            .value(":mine", text(beat.incarnation.as_str()));
        for (name, value) in set {
            action = action.value(&format!(":{name}"), value);
        }
        self.write(action).await.map_err(|unwritten| refused(cluster, instance, unwritten))
    }

    pub(super) async fn put_release(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        incarnation: &Incarnation,
        epoch: Epoch,
    ) -> Write<Option<Heartbeat>> {
        let action = Action::update(Key::heartbeat(cluster, instance), "SET #released = :released")
            .only_if(condition::RELEASE)
            .value(":mine", text(incarnation.as_str()))
            .value(":released", number(epoch.0));
        match self.write(action).await.map_err(|unwritten| refused(cluster, instance, unwritten)) {
            // The oath stands already, for this epoch or a later one.
            Err(WriteFailure::Refused(Some(found)))
                if found.incarnation == *incarnation && found.released >= epoch =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// An update rather than a put, so that one action in a node's policy covers all its writes.
    pub(super) async fn put_wake(
        &self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        why: Why,
        at: WallTime,
    ) -> Result<(), Failure> {
        let action =
            Action::update(Key::wake(cluster, instance), "SET #why = :why, #at = :at, #schema = :schema")
                .value(":why", attribute(&why)?)
                .value(":at", number(at.0))
                .value(":schema", number(u64::from(SCHEMA)));
        match self.write(action).await {
            Ok(()) => Ok(()),
            Err(Unwritten::Failed(failure)) => Err(failure),
            Err(Unwritten::Refused(_)) => {
                Err(Failure::Unknown("a write without condition was refused by its condition".to_owned()))
            }
        }
    }
}

fn optional<T: Serialize>(value: Option<&T>) -> Result<Option<AttributeValue>, Failure> {
    value.map(attribute).transpose()
}

fn refused(
    cluster: &ClusterName,
    instance: &InstanceArn,
    unwritten: Unwritten,
) -> WriteFailure<Option<Heartbeat>> {
    match unwritten {
        Unwritten::Failed(failure) => WriteFailure::Failed(failure),
        Unwritten::Refused(found) => {
            match found.map(|item| read_heartbeat(cluster, instance, item)).transpose() {
                Ok(found) => WriteFailure::Refused(found),
                Err(failure) => WriteFailure::Failed(failure),
            }
        }
    }
}
