//! Tab-separated lines with a header. Durations are milliseconds, an absent value is an empty field.

use crate::rows::Rows;
use crate::text::printable;
use crate::view::{View, health_word};

/// One line per node.
pub(super) fn status(view: &View) -> String {
    let header = [
        "cluster",
        "epoch",
        "node",
        "instance",
        "zone",
        "role",
        "state",
        "heartbeat_age_ms",
        "health",
        "agent_version",
    ];
    let lines = view.nodes.iter().map(|node| {
        line(&[
            &view.cluster,
            &view.epoch.to_string(),
            &node.node,
            &node.instance,
            node.zone.as_deref().unwrap_or_default(),
            node.role.word(),
            node.state.word(),
            &node.heartbeat_age_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            node.health.map(health_word).unwrap_or_default(),
            node.agent_version.as_deref().unwrap_or_default(),
        ])
    });
    std::iter::once(line(&header)).chain(lines).collect()
}

/// One line per row, newest last.
pub(super) fn history(rows: &Rows) -> String {
    let header = ["at", "age_ms", "epoch", "what", "by", "detail"];
    let lines = rows.rows.iter().map(|row| {
        line(&[
            &row.at,
            &row.age_ms.to_string(),
            &row.epoch.to_string(),
            row.what.word(),
            &row.by,
            &row.detail,
        ])
    });
    std::iter::once(line(&header)).chain(lines).collect()
}

pub(super) fn line(fields: &[&str]) -> String {
    // No field may hold a tab or a line's end, whatever wrote it.
    let fields: Vec<String> = fields.iter().map(|field| printable(field)).collect();
    fields.join("\t") + "\n"
}
