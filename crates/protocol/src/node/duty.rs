//! What a node is there for at the moment: which of its checks speak, and whether its service may be mended.

use super::Node;
use super::service::Service;
use crate::lease::Lease;
use crate::time::Now;

/// What a node does with its service, as its checks have to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Nothing: none runs, or it is being stopped.
    StandBy,
    /// It is being started. What is starting up is not judged by what it ought to do, nor by what a standby ought to have.
    Start,
    /// It serves.
    Serve,
}

impl Node {
    /// What this node does at the moment.
    pub fn duty(&self) -> Duty {
        match self.service {
            Service::Stopped | Service::Stopping { .. } => Duty::StandBy,
            Service::Starting { .. } => Duty::Start,
            Service::Serving { .. } => Duty::Serve,
        }
    }

    /// Whether this run has read that the lease is the node's, at the epoch that it serves. What an earlier run has left may be
    /// older than what it did last, where nothing could be kept any more.
    pub(super) fn has_read_its_lease(&self) -> bool {
        let mine =
            |lease: &Lease| lease.holder.as_ref() == Some(&self.me) && self.serving() == Some(lease.epoch);
        self.lease.as_deref().is_some_and(mine)
    }

    /// Whether something of the service that is astray may be put right now. That starts what may serve, so it is bound as a
    /// promote is: only while the node serves by a lease that this run has read, and in strict mode before the end of the
    /// budget. In a pause whoever made it works at the service, and in a retired cluster nothing is anybody's business.
    /// `anywhere` is a deliberate fault that takes the first two conditions out.
    pub(super) fn may_mend(&self, now: Now, anywhere: bool) -> bool {
        let serving = (self.duty() == Duty::Serve && self.has_read_its_lease()) || anywhere;
        let in_time = !self.guarded || self.valid_until.is_some_and(|until| now.boot < until) || anywhere;
        let left_alone = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.is_paused(now.wall) || super::lease_is_retired(lease));
        serving && in_time && !left_alone
    }

    /// Whether the recover hook may begin now. Nor does it begin for an agent that is about to leave.
    pub fn may_recover(&self, now: Now) -> bool {
        self.may_mend(now, mutant!(RecoverStopped)) && !self.is_leaving()
    }
}
