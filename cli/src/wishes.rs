//! What operators have asked for and still stands, as it is shown: a pause, an exclusion, a wish that the lease go elsewhere.

use baton_protocol::lease::Lease;
use baton_protocol::time::WallTime;
use serde::Serialize;

use crate::text::{printable, rfc3339};

/// A pause as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PauseView {
    /// When it ends by itself.
    pub until: String,
    /// How long that is from now.
    pub remaining_ms: u64,
    /// Who asked.
    pub by: String,
    /// Why.
    pub why: String,
}

impl PauseView {
    /// The pause of a cluster, if one stands at `now`.
    pub fn of(lease: &Lease, now: WallTime) -> Option<Self> {
        lease.paused.as_ref().filter(|_| lease.is_paused(now)).map(|pause| Self {
            until: rfc3339(pause.until),
            remaining_ms: pause.until.0.saturating_sub(now.0),
            by: printable(&pause.by),
            why: printable(&pause.why),
        })
    }
}

/// An exclusion as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExclusionView {
    /// The node.
    pub node: String,
    /// When it ends by itself.
    pub until: String,
    /// How long that is from now.
    pub remaining_ms: u64,
    /// Who asked.
    pub by: String,
    /// Why.
    pub why: String,
}

impl ExclusionView {
    /// The exclusion in a cluster, if one stands at `now`.
    pub fn of(lease: &Lease, now: WallTime) -> Option<Self> {
        lease.live_exclusion(now).map(|exclusion| Self {
            node: lease.name_of(&exclusion.node),
            until: rfc3339(exclusion.until),
            remaining_ms: exclusion.until.0.saturating_sub(now.0),
            by: printable(&exclusion.by),
            why: printable(&exclusion.why),
        })
    }
}

/// An intent as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntentView {
    /// Whether a silent holder is to be taken over from; otherwise it is to hand over.
    pub failover: bool,
    /// The node that shall hold next; none: whichever is best.
    pub to: Option<String>,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: String,
    /// How long that is from now.
    pub remaining_ms: u64,
    /// The request behind it.
    pub request: Option<String>,
}
