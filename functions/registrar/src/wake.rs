//! The wake that follows a registration.

use std::future::Future;

use baton_client::{Bus, BusFailure};
use baton_protocol::ids::ClusterName;
use baton_protocol::lease::SCHEMA;
use baton_protocol::wake::{SOURCE_CONTROL_PLANE, Wake, Why};
use tokio::time::{Instant, timeout_at};

/// Sends wakes to the arbiter.
pub trait Waker: Send + Sync {
    /// Sends one, as a function of the control plane.
    fn wake(&self, wake: &Wake) -> impl Future<Output = Result<(), BusFailure>> + Send;
}

impl Waker for Bus {
    async fn wake(&self, wake: &Wake) -> Result<(), BusFailure> {
        Self::wake(self, SOURCE_CONTROL_PLANE, wake).await
    }
}

/// Wakes the arbiter for a cluster that was registered or changed. A failure makes it wait for the sweep, a minute at
/// most, and is no reason to refuse what has been written.
pub(crate) async fn wake(waker: &impl Waker, cluster: &ClusterName, until: Instant) {
    let wake = Wake { cluster: cluster.clone(), why: Why::Registered, schema: SCHEMA };
    let reason = match timeout_at(until, waker.wake(&wake)).await {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => "no time was left".to_owned(),
    };
    tracing::warn!(%cluster, reason, "the arbiter was not woken; the sweep comes within a minute");
}
