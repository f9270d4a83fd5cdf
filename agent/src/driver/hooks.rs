//! The hooks of one cluster: at most one runs, and a demote always ends with the service down.

use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use baton_protocol::ids::{ClusterName, Epoch};
use baton_protocol::node::{HookOutcome, Reason};

use crate::config::{Cluster, Hook};
use crate::deadman::{DeadMan, Target, target};
use crate::hook::{self, Circumstances, Direction};
use crate::log::chain;

type Ending = Pin<Box<dyn Future<Output = HookOutcome> + Send>>;

/// The hooks as configured, and the one that runs.
pub(super) struct Hooks {
    cluster: ClusterName,
    promote: Option<Hook>,
    demote: Option<Hook>,
    target: Option<Target>,
    /// Whether it promotes, and its end. Dropping it kills the hook's process group.
    running: Option<(bool, Ending)>,
}

impl Hooks {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.name.clone(),
            promote: cluster.promote.clone(),
            demote: cluster.demote.clone(),
            target: cluster.service.as_ref().map(Target::from),
            running: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.running.is_none()
    }

    /// The end of the hook that runs; pending for ever while none does. Cancel-safe: the hook is kept until it ended.
    pub(super) async fn finished(&mut self) -> (bool, HookOutcome) {
        let Some((promoting, ending)) = &mut self.running else { return std::future::pending().await };
        let promoting = *promoting;
        let outcome = ending.await;
        self.running = None;
        (promoting, outcome)
    }

    /// Starts the promote hook, and tells the dead-man its process group, so that a hook which outlasts the validity dies
    /// with the service instead of starting it later.
    pub(super) fn promote(
        &mut self,
        epoch: Epoch,
        addresses: Vec<Ipv4Addr>,
        dead_man: Option<&mut DeadMan>,
    ) -> Result<(), String> {
        tracing::info!(epoch = epoch.0, "promote");
        let Some(hook) = &self.promote else {
            self.running = Some((true, Box::pin(std::future::ready(HookOutcome::Done))));
            return Ok(());
        };
        let circumstances = self.circumstances(epoch, "granted", addresses);
        let running = hook::start(Direction::Promote, hook, &circumstances).map_err(|error| chain(&error))?;
        if let Some(dead_man) = dead_man {
            dead_man.set_hook_group(Some(running.group())).map_err(|error| chain(&error))?;
        }
        self.running = Some((true, Box::pin(end(running))));
        Ok(())
    }

    /// Stops the service by its hook; by force where there is none, or where it fails.
    pub(super) fn demote(&mut self, epoch: Option<Epoch>, reason: Reason, addresses: Vec<Ipv4Addr>) {
        tracing::info!(epoch = epoch.map(|epoch| epoch.0), reason = reason.as_str(), "demote");
        // A promote hook that still runs must not start what is being stopped.
        self.running = None;
        let circumstances = self.circumstances(epoch.unwrap_or_default(), reason.as_str(), addresses);
        let started = self.demote.as_ref().map(|hook| hook::start(Direction::Demote, hook, &circumstances));
        let target = self.target.clone();
        self.running = Some((
            false,
            Box::pin(async move {
                let outcome = match started {
                    Some(Ok(running)) => end(running).await,
                    Some(Err(error)) => {
                        tracing::error!(reason = chain(&error), "demote failed");
                        HookOutcome::Failed
                    }
                    None => HookOutcome::Failed,
                };
                make_sure_it_is_down(target, outcome).await;
                outcome
            }),
        ));
    }

    fn circumstances(&self, epoch: Epoch, reason: &str, addresses: Vec<Ipv4Addr>) -> Circumstances {
        Circumstances { cluster: self.cluster.clone(), epoch, reason: reason.to_owned(), addresses }
    }
}

async fn end(running: hook::Running) -> HookOutcome {
    match running.finish().await {
        Ok(result) if result.succeeded() => {
            tracing::info!(reason = %result, "hook");
            HookOutcome::Done
        }
        Ok(result) => {
            tracing::error!(reason = %result, output = result.output, "hook");
            HookOutcome::Failed
        }
        Err(error) => {
            tracing::error!(reason = chain(&error), "hook");
            HookOutcome::Failed
        }
    }
}

/// How long to wait before another attempt to stop what does not end.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Looks for what the configuration names as the service and kills it, until nothing is left: a hook that says it is done may
/// be wrong, and an oath must not be sworn over a service that still answers. The dead-man stays armed meanwhile. Each
/// look blocks for a second at most, so it runs beside the loop.
async fn make_sure_it_is_down(target: Option<Target>, outcome: HookOutcome) {
    let Some(target) = target else {
        if outcome == HookOutcome::Failed {
            tracing::error!(
                "the demote hook failed and `service` names nothing to kill: the service may still run"
            );
        }
        return;
    };
    loop {
        let look = target.clone();
        match tokio::task::spawn_blocking(move || target::stop(&look, None)).await {
            Ok(stopped) if stopped.complete => {
                if stopped.killed > 0 {
                    tracing::warn!(reason = %stopped, "the service was stopped by force");
                }
                return;
            }
            Ok(stopped) => tracing::error!(reason = %stopped, "the service does not end; it is tried again"),
            Err(error) => {
                tracing::error!(reason = %error, "the service could not be stopped; it is tried again")
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
