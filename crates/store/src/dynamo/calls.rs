//! The calls to DynamoDB that everything else is made of. Each is sent once and its outcome told apart.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
};
use baton_protocol::outcome::{Failure, Read};

use super::DynamoStore;
use super::action::{Action, Deed, token};
use crate::error::{Cancelled, Unwritten, cancelled, failure, unwritten_put, unwritten_update};
use crate::item::{Item, bounded, key_attributes, text};
use crate::key::Key;
use crate::refuse_too_many;

impl DynamoStore {
    fn client(&self) -> &Client {
        &self.client
    }

    /// One item, as it is now.
    pub(super) async fn get(&self, key: &Key) -> Read<Option<Item>> {
        let answer = self
            .client()
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        Ok(answer.item)
    }

    /// Several items, as each of them is now. Keys must differ from one another.
    pub(super) async fn get_all(&self, keys: &[Key]) -> Read<Vec<Item>> {
        let (items, left) = self.get_batch(keys).await?;
        if left.is_empty() { Ok(items) } else { Err(Failure::Throttled) }
    }

    /// What was read of several items, and the keys of those that were not, for want of throughput. No keys are no
    /// call.
    pub(super) async fn get_batch(&self, keys: &[Key]) -> Read<(Vec<Item>, Vec<Item>)> {
        if keys.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        refuse_too_many(keys.len())?;
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.iter().map(key_attributes).collect()))
            .consistent_read(true)
            .build()
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        let answer = self
            .client()
            .batch_get_item()
            .request_items(&self.table, wanted)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let left = answer.unprocessed_keys.unwrap_or_default().into_values();
        let left = left.flat_map(|left| left.keys).collect();
        let mut tables = answer.responses.unwrap_or_default();
        Ok((tables.remove(&self.table).unwrap_or_default(), left))
    }

    /// The items of a partition whose sort keys begin with `prefix`, the last first where `newest_first`, up
    /// to `limit`.
    pub(super) async fn query(
        &self,
        pk: &str,
        prefix: &str,
        newest_first: bool,
        limit: usize,
    ) -> Read<Vec<Item>> {
        let mut items = Vec::new();
        let mut from = None;
        while items.len() < limit {
            let page = i32::try_from(limit - items.len()).ok();
            let answer = self
                .client()
                .query()
                .table_name(&self.table)
                .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                .expression_attribute_names("#pk", "pk")
                .expression_attribute_names("#sk", "sk")
                .expression_attribute_values(":pk", text(pk))
                .expression_attribute_values(":prefix", text(prefix))
                .consistent_read(true)
                .scan_index_forward(!newest_first)
                .set_limit(page)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error: SdkError<QueryError>| failure(&error))?;
            items.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// One conditional write.
    pub(super) async fn write(&self, action: Action) -> Result<(), Unwritten> {
        check_size(&action).map_err(Unwritten::Failed)?;
        let found = ReturnValuesOnConditionCheckFailure::AllOld;
        match &action.deed {
            Deed::Update(expression) => self
                .client()
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key_attributes(&action.key)))
                .update_expression(expression)
                .set_condition_expression(action.condition.clone())
                .set_expression_attribute_names(action.names())
                .set_expression_attribute_values(action.values())
                .return_values_on_condition_check_failure(found)
                .send()
                .await
                .map(drop)
                .map_err(unwritten_update),
            Deed::Put(item) => self
                .client()
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item.clone()))
                .set_condition_expression(action.condition.clone())
                .set_expression_attribute_names(action.names())
                .set_expression_attribute_values(action.values())
                .return_values_on_condition_check_failure(found)
                .send()
                .await
                .map(drop)
                .map_err(unwritten_put),
            Deed::Delete | Deed::Check => Err(Unwritten::Failed(Failure::Invalid(
                "deletions and checks belong in a transaction".to_owned(),
            ))),
        }
    }

    /// One write without a condition, and the item as it is after it.
    pub(super) async fn write_and_see(&self, action: Action) -> Result<Item, Failure> {
        check_size(&action)?;
        let Deed::Update(expression) = &action.deed else {
            return Err(Failure::Invalid("only what is updated is shown".to_owned()));
        };
        let answer = self
            .client()
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(&action.key)))
            .update_expression(expression)
            .set_expression_attribute_names(action.names())
            .set_expression_attribute_values(action.values())
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        Ok(answer.map_err(|error| failure(&error))?.attributes.unwrap_or_default())
    }

    /// Several conditional writes of different items, all or none of which are applied. The same actions
    /// again are the same request, which DynamoDB applies once within ten minutes.
    pub(super) async fn transact(&self, actions: &[Action]) -> Result<(), Cancelled> {
        let mut items = Vec::with_capacity(actions.len());
        for action in actions {
            check_size(action).map_err(Cancelled::Failed)?;
            let item = action.in_transaction(&self.table);
            items.push(item.map_err(|error| Cancelled::Failed(Failure::Invalid(error.to_string())))?);
        }
        self.client()
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(token(&self.table, actions))
            .send()
            .await
            .map(drop)
            .map_err(cancelled)
    }
}

fn check_size(action: &Action) -> Result<(), Failure> {
    let values: std::collections::HashMap<String, AttributeValue> = action.values().unwrap_or_default();
    bounded(&action.key.sk, values.iter())
}
