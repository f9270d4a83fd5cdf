//! The virtual addresses of a node: for how long they may outlast the right to serve, and when somebody minds that they are gone.

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
    /// Whether virtual addresses that somebody has removed are put back. At the end of the budget the dead-man takes them away.
    pub fn keeps_addresses(&self, now: Now) -> bool {
        self.may_mend(now, mutant!(AddressesAnywhere))
    }
}
