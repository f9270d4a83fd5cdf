//! A table of its own in the engine, with what the promises need beyond the store.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_protocol::ids::{ClusterName, InstanceArn};
use baton_store::DynamoStore;
use baton_store::key::Key;

use super::Record;
use super::random::{Deed, Wired};
use crate::eavesdropper::{Eavesdropper, Exchange};
use crate::engine::{Engine, PATIENT, config_at};
use crate::interloper::Interloper;

/// A table of its own.
#[derive(Debug)]
pub struct Table {
    /// Its store.
    pub store: DynamoStore,
    /// The engine itself, for what Baton never asks of it.
    pub client: Client,
    /// Its name.
    pub name: String,
}

impl Table {
    /// Makes one.
    pub async fn new(engine: &Engine) -> Self {
        Self::through(engine, engine.endpoint()).await
    }

    /// Makes one whose store speaks to the engine through a proxy.
    async fn through(engine: &Engine, endpoint: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("baton-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        engine.create_table(&name).await;
        let config = config_at(endpoint, PATIENT).await;
        let store = DynamoStore::new(&config, &name);
        Self { store, client: Client::new(&engine.config().await), name }
    }

    /// Sets one attribute of an item, as nobody but a hand would.
    pub async fn set(&self, key: &Key, attribute: &str, value: AttributeValue) {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(key.pk.clone()))
            .key("sk", AttributeValue::S(key.sk.clone()))
            .update_expression("SET #a = :v")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .expect("set");
    }
}

impl Record for Table {
    type Store = DynamoStore;

    fn store(&self) -> &DynamoStore {
        &self.store
    }

    async fn lose_heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) {
        let key = Key::heartbeat(cluster, instance);
        self.client
            .delete_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(key.pk))
            .key("sk", AttributeValue::S(key.sk))
            .send()
            .await
            .expect("deleted");
    }
}

/// The wire to the engine, on which is listened and interfered.
#[derive(Debug)]
pub struct Wire {
    eavesdropper: Eavesdropper,
    interloper: Interloper,
}

impl Wire {
    /// Lays it.
    pub async fn new(engine: &Engine) -> Self {
        let interloper = Interloper::idle(engine.endpoint(), "TransactWriteItems").await;
        let eavesdropper = Eavesdropper::start(interloper.endpoint()).await;
        Self { eavesdropper, interloper }
    }

    /// What went over it since this was last asked.
    pub fn take_heard(&self) -> Vec<Exchange> {
        self.eavesdropper.take_heard()
    }
}

/// A table at the other end of a wire.
#[derive(Debug)]
pub struct WiredTable<'a> {
    table: Table,
    wire: &'a Wire,
}

impl<'a> WiredTable<'a> {
    /// Makes one.
    pub async fn new(engine: &Engine, wire: &'a Wire) -> Self {
        Self { table: Table::through(engine, wire.eavesdropper.endpoint()).await, wire }
    }
}

impl Record for WiredTable<'_> {
    type Store = DynamoStore;

    fn store(&self) -> &DynamoStore {
        &self.table.store
    }

    async fn lose_heartbeat(&self, cluster: &ClusterName, instance: &InstanceArn) {
        self.table.lose_heartbeat(cluster, instance).await;
    }
}

impl Wired for WiredTable<'_> {
    fn before_the_next_transaction(&self, deed: Deed) {
        self.wire.interloper.next(deed);
    }

    fn take_back(&self) -> bool {
        self.wire.interloper.take_back()
    }

    fn forget_tokens(&self, forgetful: bool) {
        self.wire.eavesdropper.forget_tokens(forgetful);
    }
}
