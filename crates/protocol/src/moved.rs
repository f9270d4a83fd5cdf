//! What the completion of a move records: by the arbiter that has seen it, in the table.

use crate::ids::Epoch;
use crate::resource::Observed;
use crate::time::WallTime;

/// What the completion of a move records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The epoch whose resources were all seen at its holder; a condition of the write.
    pub epoch: Epoch,
    /// The configuration whose resources they are; a condition of the write, since the registrar may have accepted
    /// another one meanwhile, at the same epoch.
    pub revision: u64,
    /// What was recorded as moved when the move began; a condition of the write, so that one of several invocations that
    /// complete the same move records it, and a change of the configuration in between is not undone.
    pub before: Epoch,
    /// The further look that was arranged when the move began; a condition of the write, so that what another invocation
    /// has mended since is looked at again.
    pub due: Option<WallTime>,
    /// What was seen.
    pub observed: Observed,
    /// When to look once more; none: that look has been taken.
    pub verify_at: Option<WallTime>,
}
