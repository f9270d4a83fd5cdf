//! The wake: an event that says "look at this cluster now", and nothing else.
//!
//! The arbiter takes the cluster's name from it and decides from strongly consistent reads. Whatever else a wake says is
//! for people. A forged, repeated or day-old wake therefore costs one read of the table and changes nothing.

use serde::{Deserialize, Serialize};

use crate::ids::ClusterName;

/// The `detail-type` of every wake.
pub const DETAIL_TYPE: &str = "Wake";
/// The `source` of wakes sent by agents; node roles may send no other.
pub const SOURCE_AGENT: &str = "baton.agent";
/// The `source` of wakes sent by operators.
pub const SOURCE_OPERATOR: &str = "baton.operator";
/// The `source` of wakes sent by Baton's own functions.
pub const SOURCE_CONTROL_PLANE: &str = "baton.control-plane";

/// Why somebody wakes the arbiter; shown in logs, decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// A standby claims silence.
    Claim,
    /// The holder released the lease.
    Release,
    /// Somebody saw a lease that nobody may serve.
    Vacant,
    /// An agent sees that it is no member, and that there is room for one.
    Hello,
    /// The holder does not see an address of its own in its instance's metadata.
    Missing,
    /// The holder sees an address of its own at another interface or private address than the lease names.
    Misplaced,
    /// An operator asked for something.
    Request,
    /// The sweep found unfinished business.
    Sweep,
    /// It is the cluster's turn to be looked at, whether anything is unfinished or not.
    Verify,
    /// The same, and whether everything could be moved is to be asked as well.
    Probe,
    /// The same, and the lease is due to go back to a preferred node.
    Failback,
    /// An invocation ran out of time with work left.
    Continue,
    /// The registrar created or changed the cluster.
    Registered,
}

/// The `detail` of a wake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// The cluster to look at.
    pub cluster: ClusterName,
    /// Why, for people.
    pub why: Why,
    /// The schema of the detail.
    #[serde(rename = "schema_version")]
    pub schema: u32,
}
