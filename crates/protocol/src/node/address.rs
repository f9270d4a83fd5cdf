//! The virtual addresses of a node: for how long they may outlast the right to serve, and when somebody minds that they are gone.

use super::service::Service;
use super::{Node, Reason};
use crate::time::Now;

impl Reason {
    /// Whether virtual addresses may stay until the service has stopped. In an orderly end nobody else is granted the lease
    /// before the oath, which follows the stop, and a service stops better with its address under it. A node that has lost the
    /// lease, or its right to it, has no such time: somebody else may serve at this moment, or at the next.
    pub fn leaves_time(self) -> bool {
        match self {
            Self::Intent | Self::Unhealthy | Self::Leaving | Self::Shutdown | Self::PromoteFailed => true,
            Self::Start | Self::SelfFence | Self::Deposed | Self::Usurped => false,
        }
    }
}

impl Node {
    /// Whether virtual addresses that somebody has removed are put back: only while this node serves by a lease that this run has read, and in strict mode before
    /// the end of the budget, when the dead-man takes them away. In a pause whoever made it works at the service, and in a
    /// retired cluster nothing is anybody's business; there they are left as they are.
    pub fn keeps_addresses(&self, now: Now) -> bool {
        let serving = (matches!(self.service, Service::Serving { .. }) && self.has_read_its_lease())
            || mutant!(AddressesAnywhere);
        let in_time = !self.guarded
            || self.valid_until.is_some_and(|until| now.boot < until)
            || mutant!(AddressesAnywhere);
        let left_alone = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.is_paused(now.wall) || super::lease_is_retired(lease));
        serving && in_time && !left_alone
    }
}
