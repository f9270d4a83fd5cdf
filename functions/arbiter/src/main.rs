//! The arbiter's entry: clients once, connections warm, then one event after another.

use aws_config::SdkConfig;
use baton_arbiter::drive::{Parts, Successor};
use baton_arbiter::handler::handle_and_count;
use baton_client::{Bus, Limits, Scaling, ScalingFailure, load, metric};
use baton_cloud::{Cloud, Counted, Ec2Cloud};
use baton_protocol::brake::MOST;
use baton_protocol::ec2::Look;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{ClusterName, InterfaceId};
use baton_protocol::lease::SCHEMA;
use baton_protocol::notification::Notification;
use baton_protocol::wake::{SOURCE_CONTROL_PLANE, Wake, Why};
use baton_store::{DynamoStore, Store};
use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use serde_json::Value;
use tokio::time::Instant;

struct OnBus(Bus, Scaling);

impl Successor for OnBus {
    async fn wake(&self, cluster: &ClusterName) {
        let wake = Wake { cluster: cluster.clone(), why: Why::Continue, schema: SCHEMA };
        if let Err(failure) = self.0.wake(SOURCE_CONTROL_PLANE, &wake).await {
            tracing::warn!(%cluster, %failure, "no successor was woken; the sweep comes within a minute");
        }
    }

    async fn tell(&self, told: Notification) {
        if let Err(failure) = self.0.tell(&told).await {
            let (cluster, kind) = (&told.detail.cluster, told.detail_type);
            tracing::warn!(%cluster, kind, %failure, "not told; the history has it");
        }
    }

    async fn complete(&self, hook: &Hook) -> Result<(), ScalingFailure> {
        self.1.complete(hook).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = load(Limits::function()).await;
    let parts = parts(&config)?;
    warm(&parts).await;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| handle_and_count(&parts, event, metric::emit)))
        .await
}

fn parts(config: &SdkConfig) -> Result<Parts<DynamoStore, Counted<Ec2Cloud>, OnBus>, Error> {
    let named =
        |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set; the template sets it"));
    // Table and bus have the control plane's name.
    let name = named("BATON_TABLE")?;
    let brake = brake(&named("BATON_BRAKE_CLUSTERS")?)?;
    Ok(Parts {
        store: DynamoStore::new(config, name.clone()),
        cloud: Counted::new(Ec2Cloud::new(config)),
        successor: OnBus(Bus::new(config, named("BATON_BUS")?), Scaling::new(config)),
        origin: Instant::now(),
        name,
        brake,
    })
}

fn brake(text: &str) -> Result<u32, Error> {
    let found = text.parse::<u32>().ok().filter(|clusters| *clusters <= MOST);
    let expected =
        || format!("BATON_BRAKE_CLUSTERS: expected 0 to {MOST}, found `{text}`; the template sets it");
    Ok(found.ok_or_else(expected)?)
}

/// Opens the connections while Lambda still counts initialisation: TLS costs more than any call. Both answers are thrown
/// away, and a failure is met again, and told, by the first call that matters.
async fn warm(parts: &Parts<DynamoStore, Counted<Ec2Cloud>, OnBus>) {
    let Ok(nobody) = ClusterName::new("warm") else { return };
    let Ok(nothing) = InterfaceId::new("eni-00000000") else { return };
    let look = Look::Interfaces(vec![nothing]);
    let (_, _) = tokio::join!(parts.store.lease(&nobody), parts.cloud.look(&look));
}
