//! Items: what the protocol's types look like in the table.
//!
//! A type is stored as it serialises, one attribute per field, beside its key and the schema. A reader
//! refuses an item of a newer schema: it cannot know what that item means, and a guess could deny a promise
//! made in it. What identifies a heartbeat is taken from its key, which IAM guards, and never from what the
//! node wrote into it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_protocol::failback::Failback;
use baton_protocol::fence::Fencing;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::history::Event;
use baton_protocol::ids::{ClusterName, InstanceArn, RegistrationUid, Seq};
use baton_protocol::lease::{Member, Mode, SCHEMA};
use baton_protocol::outcome::Failure;
use baton_protocol::policy::Takeover;
use baton_protocol::request::Request;
use baton_protocol::resource::Resources;
use baton_protocol::roster::Roster;
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::Key;

/// An item as the SDK carries it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The largest item that is written, in bytes. DynamoDB takes 400 KiB and counts a little differently; an
/// item of Baton's is a few KiB, so whatever comes near this is a fault.
const LARGEST: usize = 300 * 1024;

/// For how long history is kept, in seconds: 400 days.
const HISTORY_KEPT_S: u64 = 400 * 24 * 60 * 60;

/// The row that keeps what the registrar accepted.
#[derive(Debug, Serialize)]
pub(crate) struct Accepted<'a> {
    pub(crate) cluster: &'a ClusterName,
    pub(crate) uid: &'a RegistrationUid,
    pub(crate) revision: u64,
    pub(crate) mode: Mode,
    pub(crate) takeover: Takeover,
    pub(crate) cool_down_ms: u64,
    #[serde(skip_serializing_if = "Fencing::is_none")]
    pub(crate) fencing: Fencing,
    pub(crate) failback: Failback,
    pub(crate) timing: Timing,
    pub(crate) members: &'a [Member],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roster: Option<&'a Roster>,
    pub(crate) resources: &'a Resources,
    pub(crate) at: WallTime,
}

/// A text attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(crate) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A value as an attribute.
pub(crate) fn attribute<T: Serialize>(value: &T) -> Result<AttributeValue, Failure> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(value)
        .map_err(|error| Failure::Invalid(format!("a value has no form in the table: {error}")))
}

/// The two attributes of a key.
pub(crate) fn key_attributes(key: &Key) -> Item {
    Item::from([("pk".to_owned(), text(&*key.pk)), ("sk".to_owned(), text(&*key.sk))])
}

/// A value as an item under a key, with the schema of this version.
pub(crate) fn write<T: Serialize>(key: &Key, value: &T) -> Result<Item, Failure> {
    let mut item: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(value)
        .map_err(|error| Failure::Invalid(format!("{} has no form in the table: {error}", key.sk)))?;
    item.extend(key_attributes(key));
    item.insert("schema".to_owned(), number(u64::from(SCHEMA)));
    bounded(&key.sk, item.iter())?;
    Ok(item)
}

/// A row of the history as an item, with its end.
pub(crate) fn write_event(event: &Event) -> Result<Item, Failure> {
    let mut item = write(&Key::event(event)?, event)?;
    item.insert("expires_at".to_owned(), number(event.at.0 / 1000 + HISTORY_KEPT_S));
    Ok(item)
}

/// An operator's request as the one attribute it is stored in.
pub(crate) fn write_request(request: &Request) -> Result<AttributeValue, Failure> {
    let mut body: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(request)
        .map_err(|error| Failure::Invalid(format!("the request has no form in the table: {error}")))?;
    body.insert("schema".to_owned(), number(u64::from(SCHEMA)));
    bounded("request", body.iter())?;
    Ok(AttributeValue::M(body))
}

/// Reads an item.
pub(crate) fn read<T: DeserializeOwned>(item: Item) -> Result<T, Failure> {
    let name = name_of(&item);
    refuse_newer(&name, &item)?;
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|error| Failure::Malformed(format!("{name}: {error}")))
}

/// Since when a node has been healthy, with the number of the heartbeat that says so: it counts with that one only. So it need
/// not be removed, which an older agent would not do, nor one that a cluster's older stack does not let name it.
pub(crate) fn write_healthy_since(since: WallTime, said_by: Seq) -> AttributeValue {
    let parts = [("since".to_owned(), number(since.0)), ("seq".to_owned(), number(said_by.0))];
    AttributeValue::M(HashMap::from(parts))
}

/// The moment alone, if the heartbeat of this item says it.
fn healthy_since(stored: AttributeValue, item: &Item) -> Option<AttributeValue> {
    let AttributeValue::M(mut parts) = stored else { return None };
    (parts.contains_key("seq") && parts.get("seq") == item.get("seq")).then(|| parts.remove("since"))?
}

/// Reads a heartbeat, whose cluster and instance are those of its key.
pub(crate) fn read_heartbeat(
    cluster: &ClusterName,
    instance: &InstanceArn,
    mut item: Item,
) -> Result<Heartbeat, Failure> {
    item.insert("cluster".to_owned(), text(cluster.as_str()));
    item.insert("instance".to_owned(), text(instance.as_str()));
    if let Some(since) = item.remove("healthy_since").and_then(|stored| healthy_since(stored, &item)) {
        item.insert("healthy_since".to_owned(), since);
    }
    read(item)
}

/// Reads a request out of the one attribute it is stored in.
pub(crate) fn read_request(mut item: Item) -> Result<Request, Failure> {
    let name = name_of(&item);
    let Some(AttributeValue::M(body)) = item.remove("request") else {
        return Err(Failure::Malformed(format!("{name}: expected a map `request`, found none")));
    };
    refuse_newer(&name, &body)?;
    serde_dynamo::aws_sdk_dynamodb_1::from_item(body)
        .map_err(|error| Failure::Malformed(format!("{name}: {error}")))
}

/// The size bound of values that are written by an update rather than as a whole item.
pub(crate) fn bounded<'a>(
    what: &str,
    attributes: impl Iterator<Item = (&'a String, &'a AttributeValue)>,
) -> Result<(), Failure> {
    let size: usize = attributes.map(|(name, value)| name.len() + size_of(value)).sum();
    if size <= LARGEST {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "{what} would be {size} bytes, expected at most {LARGEST}; name fewer things in it"
    )))
}

fn size_of(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::L(list) => 3 + list.iter().map(|value| 1 + size_of(value)).sum::<usize>(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + size_of(value)).sum::<usize>()
        }
        _ => 1,
    }
}

fn name_of(item: &Item) -> String {
    let part = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
    format!("{} {}", part("pk"), part("sk"))
}

fn refuse_newer(name: &str, item: &Item) -> Result<(), Failure> {
    let found =
        item.get("schema").and_then(|value| value.as_n().ok()).and_then(|text| text.parse::<u32>().ok());
    match found {
        Some(schema) if schema <= SCHEMA => Ok(()),
        Some(schema) => Err(Failure::Malformed(format!(
            "{name}: expected schema {SCHEMA} or older, found {schema}; upgrade this program"
        ))),
        None => Err(Failure::Malformed(format!("{name}: expected a number `schema`, found none"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::heartbeat;

    /// What stands in the table after heartbeat 7, where `stored` is what was written last of since when the node is healthy.
    fn read_with(stored: Option<AttributeValue>) -> Option<WallTime> {
        let said = Heartbeat { seq: Seq(7), healthy_since: None, ..heartbeat(1) };
        let mut item = write(&Key::heartbeat(&said.cluster, &said.instance), &said).expect("a form");
        item.extend(stored.map(|stored| ("healthy_since".to_owned(), stored)));
        read_heartbeat(&said.cluster, &said.instance, item).expect("readable").healthy_since
    }

    #[test]
    fn since_when_a_node_is_healthy_counts_only_with_the_heartbeat_that_said_so() {
        let since = WallTime(5);
        assert_eq!(read_with(Some(write_healthy_since(since, Seq(7)))), Some(since));
        assert_eq!(
            read_with(Some(write_healthy_since(since, Seq(6)))),
            None,
            "a later heartbeat left it out"
        );
        assert_eq!(read_with(Some(number(5))), None);
        assert_eq!(read_with(None), None);
    }
}
