//! What is about all clusters together: how many of them suspect their holders.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_protocol::brake;
use baton_protocol::ids::ClusterName;
use baton_protocol::lease::SCHEMA;
use baton_protocol::outcome::Failure;
use baton_protocol::time::WallTime;

use super::DynamoStore;
use super::action::Action;
use crate::item::{Item, number};
use crate::key::Key;

/// What was counted is of no use after a minute, and is kept for an hour for whoever looks.
const KEPT_S: u64 = 3_600;

impl DynamoStore {
    /// Both spans are asked at once, so that it takes no longer than one call.
    pub(super) async fn put_suspect(&self, cluster: &ClusterName, at: WallTime) -> Result<u32, Failure> {
        let span = brake::span(at);
        let slot = AttributeValue::Ns(vec![brake::slot(cluster).to_string()]);
        let change = "ADD #suspects :slot SET #expires_at = :expires_at, #schema = :schema";
        let action = Action::update(Key::suspects(span), change)
            .value(":slot", slot)
            .value(":expires_at", number(at.0 / 1_000 + KEPT_S))
            .value(":schema", number(u64::from(SCHEMA)));
        let before = Key::suspects(span.saturating_sub(1));
        let (written, before) =
            futures_util::future::join(self.write_and_see(action), self.get(&before)).await;
        let mut all = slots(&written?);
        all.extend(slots(&before?.unwrap_or_default()));
        Ok(u32::try_from(all.len()).unwrap_or(u32::MAX))
    }
}

/// An item without any, or with something else, counts for nothing.
fn slots(item: &Item) -> BTreeSet<String> {
    item.get("suspects").and_then(|found| found.as_ns().ok()).into_iter().flatten().cloned().collect()
}
