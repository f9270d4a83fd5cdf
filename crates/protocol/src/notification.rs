//! What other programs are told of: rows of the history that somebody may wait for, as events on the bus.
//!
//! A grant is told after its commit, anything else after the writing of its row, by whoever wrote it first; it may be lost.
//! The history is the record. Nothing of Baton's own listens.

use serde::Serialize;

use crate::history::{Event, Happening};
use crate::ids::{ClusterName, Epoch};
use crate::lease::Lease;
use crate::standing::Change;
use crate::time::WallTime;

/// The schema of the detail.
pub const SCHEMA: u32 = 1;

/// The `detail-type` of each kind of event that is told of by the arbiter.
pub const DETAIL_TYPES: [&str; 11] = [
    "Lease Granted",
    "Move Completed",
    "Resource Stuck",
    "Drift Found",
    "Drift Repaired",
    "Takeover Held",
    "Hand-over Asked",
    "Hand-over Lapsed",
    "Node Fenced",
    "Fence Failed",
    "Members Changed",
];

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its `detail-type`, one of [`DETAIL_TYPES`] or of [`standing::DETAIL_TYPES`](crate::standing::DETAIL_TYPES).
    pub detail_type: &'static str,
    /// What it says.
    pub detail: Detail,
}

/// The detail of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// [`SCHEMA`]. Fields may be added under the same number.
    pub schema_version: u32,
    /// The cluster.
    pub cluster: ClusterName,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// When, in milliseconds since 1970, by the clock of whoever wrote the row.
    pub at: WallTime,
    /// Who wrote it.
    pub by: String,
    /// An object whose only field is named by what happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// A row of the history, as `baton history --format json` has it.
    Row(Happening),
    /// How a cluster or a node of it stands by now, which has no row.
    Change(Change),
}

/// The event that a row of the history is told as; steps and registrations are not.
pub fn of(event: &Event) -> Option<Notification> {
    let [granted, moved, stuck, drift, repaired, held, asked, lapsed, fenced, unfenced, members] =
        DETAIL_TYPES;
    let detail_type = match &event.what {
        Happening::Granted { .. } => granted,
        Happening::Moved { .. } => moved,
        Happening::Stuck { .. } => stuck,
        Happening::Drift { .. } => drift,
        Happening::Repaired { .. } => repaired,
        Happening::Held { .. } => held,
        Happening::Asked { .. } => asked,
        Happening::Lapsed { .. } => lapsed,
        Happening::Fenced { .. } => fenced,
        Happening::Unfenced { .. } => unfenced,
        Happening::Members { .. } => members,
        Happening::Step { .. }
        | Happening::Registered { .. }
        | Happening::Retired {}
        | Happening::Restored { .. } => {
            return None;
        }
    };
    let Event { cluster, epoch, at, by, what } = event.clone();
    Some(Notification {
        detail_type,
        detail: Detail { schema_version: SCHEMA, cluster, epoch, at, by, what: What::Row(what) },
    })
}

/// The event that tells of a change of how a cluster stands.
pub fn of_change(lease: &Lease, change: Change, at: WallTime, by: String) -> Notification {
    Notification {
        detail_type: change.detail_type(),
        detail: Detail {
            schema_version: SCHEMA,
            cluster: lease.cluster.clone(),
            epoch: lease.epoch,
            at,
            by,
            what: What::Change(change),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;

    fn told(what: Happening) -> Option<Notification> {
        of(&Event { cluster: cluster(), epoch: Epoch(7), at: WallTime(5), by: "arbiter 1".to_owned(), what })
    }

    #[test]
    fn an_event_says_what_its_row_says() {
        let drift =
            Happening::Drift { resource: "eipalloc-1".to_owned(), found: "not associated".to_owned() };
        let told = told(drift).expect("an event");
        assert_eq!(told.detail_type, "Drift Found");
        let text = serde_json::to_value(&told.detail).expect("it can be written");
        let expected = serde_json::json!({
            "schema_version": 1, "cluster": cluster(), "epoch": 7, "at": 5, "by": "arbiter 1",
            "what": {"drift": {"resource": "eipalloc-1", "found": "not associated"}},
        });
        assert_eq!(text, expected);
    }

    #[test]
    fn steps_and_registrations_are_not_told() {
        let step = Happening::Step {
            call: "AssociateAddress".to_owned(),
            resource: "eipalloc-1".to_owned(),
            took_ms: 1,
            failure: None,
        };
        let registered = Happening::Registered { revision: 1, summary: "made".to_owned() };
        for what in [step, registered, Happening::Retired {}] {
            assert_eq!(told(what), None);
        }
    }
}
