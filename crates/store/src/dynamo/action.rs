//! One conditional write as a value, before it becomes a request of the SDK.
//!
//! The SDK's own types cannot be serialised, and a transaction's idempotency token has to be a digest of
//! everything the transaction says: DynamoDB answers a token that comes with another request by an error, and
//! a request that comes with another token by doing it twice. So a write is put together here, in an order
//! that does not depend on chance.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};
use sha2::{Digest, Sha256};

use crate::item::{Item, key_attributes};
use crate::key::{Key, hex};

/// What is done to the item.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// It becomes this.
    Put(Item),
    /// It is changed by this update expression.
    Update(String),
    /// It is deleted.
    Delete,
    /// Nothing; its condition only has to hold.
    Check,
}

/// A write of one item, with its condition.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) key: Key,
    pub(super) deed: Deed,
    pub(super) condition: Option<String>,
    values: BTreeMap<String, AttributeValue>,
    names: BTreeMap<String, String>,
}

impl Action {
    /// An action without condition.
    pub(super) fn new(key: Key, deed: Deed) -> Self {
        Self { key, deed, condition: None, values: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Changes an item by an update expression.
    pub(super) fn update(key: Key, expression: impl Into<String>) -> Self {
        Self::new(key, Deed::Update(expression.into()))
    }

    /// Adds a condition; all of them have to hold.
    pub(super) fn only_if(mut self, condition: &str) -> Self {
        self.condition = Some(match self.condition {
            None => condition.to_owned(),
            Some(earlier) => format!("{earlier} AND {condition}"),
        });
        self
    }

    /// Gives a `:name` of the expressions its value.
    pub(super) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// Gives a `#name` of the expressions an attribute that is not called by that name.
    pub(super) fn name(mut self, name: &str, attribute: &str) -> Self {
        self.names.insert(name.to_owned(), attribute.to_owned());
        self
    }

    /// The update expression; empty for other deeds.
    pub(super) fn expression(&self) -> &str {
        if let Deed::Update(expression) = &self.deed { expression } else { "" }
    }

    /// What each `#name` in the expressions stands for: itself, unless another attribute was given.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        let mut names = HashMap::new();
        for text in [self.expression(), self.condition.as_deref().unwrap_or_default()] {
            for part in text.split('#').skip(1) {
                let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
                let name = format!("#{}", &part[..end]);
                let attribute = self.names.get(&name).cloned().unwrap_or_else(|| part[..end].to_owned());
                names.insert(name, attribute);
            }
        }
        (!names.is_empty()).then_some(names)
    }

    /// The values of the expressions.
    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone().into_iter().collect())
    }

    /// The action as a part of a transaction.
    pub(super) fn in_transaction(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let found = ReturnValuesOnConditionCheckFailure::AllOld;
        let (names, values) = (self.names(), self.values());
        let item = TransactWriteItem::builder();
        Ok(match &self.deed {
            Deed::Put(body) => item.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(body.clone()))
                    .set_condition_expression(self.condition.clone())
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(found)
                    .build()?,
            ),
            Deed::Update(expression) => item.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(key_attributes(&self.key)))
                    .update_expression(expression)
                    .set_condition_expression(self.condition.clone())
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(found)
                    .build()?,
            ),
            Deed::Delete => item.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(key_attributes(&self.key)))
                    .set_condition_expression(self.condition.clone())
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(found)
                    .build()?,
            ),
            Deed::Check => item.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(key_attributes(&self.key)))
                    .set_condition_expression(self.condition.clone())
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(found)
                    .build()?,
            ),
        }
        .build())
    }

    fn digest(&self, into: &mut Sha256) {
        feed(into, &self.key.pk);
        feed(into, &self.key.sk);
        match &self.deed {
            Deed::Put(item) => {
                feed(into, "put");
                digest_map(item.iter(), into);
            }
            Deed::Update(expression) => {
                feed(into, "update");
                feed(into, expression);
            }
            Deed::Delete => feed(into, "delete"),
            Deed::Check => feed(into, "check"),
        }
        feed(into, self.condition.as_deref().unwrap_or_default());
        digest_map(self.values.iter(), into);
        for (name, attribute) in &self.names {
            feed(into, name);
            feed(into, attribute);
        }
    }
}

/// The token of a transaction: equal for equal requests, different for different ones.
pub(super) fn token(table: &str, actions: &[Action]) -> String {
    let mut digest = Sha256::new();
    feed(&mut digest, table);
    for action in actions {
        feed(&mut digest, "action");
        action.digest(&mut digest);
    }
    // DynamoDB takes up to 36 characters; 128 bits are far from any accident.
    hex(&digest.finalize()[..16])
}

/// Every text goes in with its length, so that no two sequences of texts look alike.
fn feed(into: &mut Sha256, text: &str) {
    into.update((text.len() as u64).to_be_bytes());
    into.update(text);
}

fn digest_map<'a>(map: impl Iterator<Item = (&'a String, &'a AttributeValue)>, into: &mut Sha256) {
    let sorted: BTreeMap<_, _> = map.collect();
    into.update((sorted.len() as u64).to_be_bytes());
    for (name, value) in sorted {
        feed(into, name);
        digest_value(value, into);
    }
}

fn digest_value(value: &AttributeValue, into: &mut Sha256) {
    match value {
        AttributeValue::S(text) => {
            feed(into, "S");
            feed(into, text);
        }
        AttributeValue::N(text) => {
            feed(into, "N");
            feed(into, text);
        }
        AttributeValue::L(list) => {
            feed(into, "L");
            into.update((list.len() as u64).to_be_bytes());
            list.iter().for_each(|value| digest_value(value, into));
        }
        AttributeValue::M(map) => {
            feed(into, "M");
            digest_map(map.iter(), into);
        }
        // Booleans and nulls; sets and binaries, which Baton does not write. None of them has an order of its
        // own to lose.
        other => feed(into, &format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::ids::ClusterName;

    use super::*;
    use crate::item::{number, text};

    fn action() -> Action {
        let cluster = ClusterName::new("orders").expect("valid");
        Action::update(Key::lease(&cluster), "SET #rotated.#allocation = :x REMOVE #verify_at")
            .name("#allocation", "eipalloc-1")
            .only_if("#epoch = :epoch")
            .value(":x", text("a"))
            .value(":epoch", number(3))
    }

    #[test]
    fn every_name_in_the_expressions_is_given_exactly_once() {
        let names = action().names().expect("names are used");
        let sorted: BTreeMap<_, _> = names.iter().map(|(name, of)| (name.as_str(), of.as_str())).collect();
        let expected = [
            ("#allocation", "eipalloc-1"),
            ("#epoch", "epoch"),
            ("#rotated", "rotated"),
            ("#verify_at", "verify_at"),
        ];
        assert_eq!(sorted, BTreeMap::from(expected));
    }

    #[test]
    fn equal_requests_have_equal_tokens() {
        let map = |names: [&str; 3]| {
            AttributeValue::M(names.iter().map(|name| ((*name).to_owned(), text(*name))).collect())
        };
        let one = action().value(":map", map(["a", "b", "c"]));
        let other = action().value(":map", map(["c", "a", "b"]));
        assert_eq!(token("baton", std::slice::from_ref(&one)), token("baton", &[other]));
        assert_eq!(token("baton", &[one]).len(), 32);
    }

    #[test]
    fn a_token_differs_whenever_any_part_of_the_request_differs() {
        let put = |deed| Action::new(action().key, deed);
        let requests = [
            vec![action()],
            vec![action(), action()],
            vec![action().only_if("#uid = :uid")],
            vec![action().value(":x", text("b"))],
            vec![action().value(":epoch", text("3"))],
            vec![action().value(":y", AttributeValue::Bool(true))],
            vec![action().value(":y", AttributeValue::Bool(false))],
            vec![action().name("#allocation", "eipalloc-2")],
            vec![put(Deed::Delete)],
            vec![put(Deed::Check)],
            vec![put(Deed::Put(Item::new()))],
            vec![put(Deed::Put(Item::from([("a".to_owned(), AttributeValue::L(vec![text("b")]))])))],
            vec![put(Deed::Put(Item::from([("a".to_owned(), text("b"))])))],
        ];
        let mut tokens: Vec<_> = requests.iter().map(|actions| token("baton", actions)).collect();
        tokens.push(token("other", &requests[0]));
        let number = tokens.len();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), number);
    }
}
