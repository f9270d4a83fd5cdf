//! The sweeper's entry: clients once, then one sweep for every event of the schedule, whatever the event says.

use std::time::{SystemTime, UNIX_EPOCH};

use baton_client::{Bus, Limits, load, metric};
use baton_protocol::time::WallTime;
use baton_store::DynamoStore;
use baton_sweeper::sweep::{Census, sweep};
use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let named =
        |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set; the template sets it"));
    let config = load(Limits::function()).await;
    let table = named("BATON_TABLE")?;
    let store = DynamoStore::new(&config, table.clone());
    let bus = Bus::new(&config, named("BATON_BUS")?);
    // Table and bus have the control plane's name.
    let count = |census: &Census| metric::emit(&census.line(&table, now()));
    lambda_runtime::run(service_fn(|_: LambdaEvent<Value>| sweep(&store, &bus, now(), count))).await
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
