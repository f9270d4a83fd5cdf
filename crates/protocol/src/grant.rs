//! The grant: one transaction that gives the lease to another node, with every condition it depends on.
//!
//! All that the decision was drawn from is compared again in the transaction, by the table, at one instant. If any of it
//! has changed, nothing is written and the decision is void. That makes late, repeated and concurrent invocations
//! harmless, whatever they believe.

use crate::history::{Event, Ground};
use crate::ids::{ClusterName, Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId, Seq};
use crate::time::WallTime;

/// What must still be true of the holder's heartbeat when the grant is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HolderCheck {
    /// There is no holder (ground vacancy): nothing to check.
    Nobody,
    /// The holder has never written a heartbeat, and still has not.
    Absent,
    /// The holder has written nothing since.
    Unchanged {
        /// Its incarnation as read.
        incarnation: Incarnation,
        /// Its number as read.
        seq: Seq,
    },
    /// The holder swore never to serve this epoch again.
    Released {
        /// The epoch.
        epoch: Epoch,
    },
}

/// A decision to grant, ready to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The cluster.
    pub cluster: ClusterName,
    /// The registration it was decided for.
    pub uid: RegistrationUid,
    /// The epoch it ends.
    pub epoch: Epoch,
    /// The configuration it was decided under: its members, its mode. A commit under another one is refused.
    pub revision: u64,
    /// The holder it deposes.
    pub holder: Option<InstanceArn>,
    /// What must still be true of that holder.
    pub holder_check: HolderCheck,
    /// The next holder.
    pub to: InstanceArn,
    /// The next holder's incarnation as read; it must be the same and healthy at the commit.
    pub to_incarnation: Incarnation,
    /// The ground.
    pub ground: Ground,
    /// The request whose wish the lease carried as read, whether or not the grant obeys it: the grant takes that wish away and
    /// answers it, so a commit that would take away another one is refused. None: there was no wish, or no request behind it.
    pub wish: Option<RequestId>,
    /// The takeovers on silence that are remembered from then on; none: those that were.
    pub recent: Option<Vec<WallTime>>,
    /// When it was decided. For ground silence a pause that has not ended by then refuses the commit.
    pub at: WallTime,
    /// The row of the history that is written with it.
    pub event: Event,
}

impl Grant {
    /// Whether an exclusion of its next holder refuses this grant. A node that nobody could follow gets its own lease back.
    pub fn yields_to_exclusion(&self) -> bool {
        self.holder.as_ref() != Some(&self.to)
    }

    /// Whether a pause refuses this grant. A released or vacant lease is granted all the same: nobody may serve it, so a
    /// pause could only keep the service down.
    pub fn yields_to_pause(&self) -> bool {
        self.ground == Ground::Silence
    }
}

/// What the table said to a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The lease is granted.
    Granted,
    /// A condition no longer held; nothing was written. The texts name the conditions that were lost.
    Superseded(Vec<String>),
}
