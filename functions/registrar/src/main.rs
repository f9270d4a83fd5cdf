//! The registrar's entry: clients once, then one request of CloudFormation after another.

use std::time::Duration;

use baton_client::{Bus, Limits, load, metric};
use baton_cloud::{Counted, Ec2Cloud};
use baton_registrar::handler::{Registrar, now};
use baton_registrar::respond::Responder;
use baton_store::DynamoStore;
use baton_survey::AwsAccount;
use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use serde_json::Value;

/// The first pause before anything that failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let named =
        |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set; the template sets it"));
    let config = load(Limits::function()).await;
    // The table has the control plane's name.
    let name = named("BATON_TABLE")?;
    let registrar = Registrar {
        store: DynamoStore::new(&config, name.clone()),
        cloud: Counted::new(Ec2Cloud::new(&config)),
        account: AwsAccount::new(&config),
        table: name.clone(),
        waker: Bus::new(&config, named("BATON_BUS")?),
        responder: Responder::new(FIRST_PAUSE),
        first_pause: FIRST_PAUSE,
    };
    // Boxed, since the compiler would otherwise follow the whole request through every layer of the runtime.
    let handle = async |event: LambdaEvent<Value>| {
        let handled = Box::pin(registrar.handle(event)).await;
        metric::throttled(&name, now().0, &registrar.take_throttled()).iter().for_each(metric::emit);
        handled
    };
    lambda_runtime::run(service_fn(handle)).await
}
