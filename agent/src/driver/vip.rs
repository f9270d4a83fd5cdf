//! The virtual addresses, as the loop sees to them: that they are there before the promote hook runs, and that the check knows
//! what to look for.

use std::net::IpAddr;

use baton_protocol::ids::Epoch;

use super::Driver;
use super::hooks::{Hooks, Outcome};
use crate::clock;
use crate::config::Cluster;
use crate::log::chain;
use crate::vip::{self, Keeper, Shown, Wish};

/// The addresses of a cluster, if it has any, and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) keeper: Option<Keeper>,
    /// Those that no route leads to, as was told last.
    led_nowhere: Vec<IpAddr>,
}

impl Addresses {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let Some(configured) = cluster.vip.clone() else {
            // The configuration may have had some when an earlier run served.
            match vip::clear(&cluster.directory) {
                Ok(lowered) if lowered.is_empty() => {}
                Ok(lowered) => tracing::warn!(
                    addresses = %Shown(&lowered),
                    "removed virtual addresses that are not configured any more"
                ),
                Err(error) => {
                    tracing::error!(
                        reason = chain(&error),
                        "virtual addresses of an earlier run may still stand"
                    );
                }
            }
            return Self::default();
        };
        Self { keeper: Some(Keeper::new(configured, &cluster.directory)), led_nowhere: Vec::new() }
    }
}

impl Driver {
    /// The addresses are there, or cannot be. That took time, in which the right to promote may have ended.
    pub(super) fn take_raised(&mut self, epoch: Epoch, guarded: bool, outcome: Outcome, hooks: &mut Hooks) {
        match outcome {
            Err(failed) => self.promote_failed(epoch, &failed),
            Ok(()) if self.node.may_promote(clock::boot(), guarded, self.guard_stands) => {
                hooks.promote(epoch, self.addresses(), self.watch(guarded));
            }
            Ok(()) => {
                let why = "validity ended before the virtual addresses were there";
                self.promote_failed(epoch, &why.to_owned().into());
            }
        }
    }

    /// Tells the check what this node's serving asks for; what starts and what stops sees to the addresses itself.
    pub(super) fn keep_addresses(&self) {
        if let (Some(keeper), Some(_)) = (&self.addresses.keeper, self.node.serving()) {
            if self.node.keeps_addresses(clock::now()) {
                keeper.wish_up(self.node.valid_until());
            } else {
                keeper.wish(Wish::AsItIs);
            }
        }
    }

    /// An address that no route leads to is a slip in one of the two places, and nobody else would see it.
    pub(super) fn compare_with_routes(&mut self) {
        let (Some(keeper), Some(lease)) = (&self.addresses.keeper, self.node.lease()) else { return };
        let led_nowhere = vip::led_nowhere(keeper.vip(), &lease.resources);
        if led_nowhere != self.addresses.led_nowhere && !led_nowhere.is_empty() {
            tracing::warn!(
                addresses = %Shown(&led_nowhere),
                "no route of the cluster leads to these virtual addresses: correct `vip` in this node's configuration, or \
                 the routes in the cluster's stack"
            );
        }
        self.addresses.led_nowhere = led_nowhere;
    }
}
