//! The sweeper's entry: clients once, then one sweep for every event of the schedule, whatever the event says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_client::{Bus, Limits, load, metric};
use baton_protocol::time::WallTime;
use baton_store::DynamoStore;
use baton_sweeper::sweep::{Census, Memory, sweep};
use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use serde_json::Value;
use tokio::time::sleep;

/// What is left of an invocation's time when no further cluster is looked at.
const FOR_THE_ANSWER: Duration = Duration::from_secs(8);
/// Whatever the deadline; some local runners give none.
const AT_LEAST: Duration = Duration::from_secs(5);
const AT_MOST: Duration = Duration::from_secs(40);

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
    let memory = Memory::default();
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let now = now();
        sweep(&store, &bus, &memory, now, sleep(time_for(&event, now)), count).await
    }))
    .await
}

/// How long clusters may be looked at: what is left until the deadline, but for the time that the census and the answer take.
fn time_for(event: &LambdaEvent<Value>, now: WallTime) -> Duration {
    WallTime(event.context.deadline).since(now).saturating_sub(FOR_THE_ANSWER).clamp(AT_LEAST, AT_MOST)
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
