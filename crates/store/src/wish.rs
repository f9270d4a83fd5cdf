//! What an operator's request writes into the lease. Pure; shared by the table and its twin.

use baton_protocol::lease::{Intent, Pause};
use baton_protocol::request::{Request, Wish};

/// The change of the lease that carries a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carried {
    /// This intent.
    Intent(Intent),
    /// This pause.
    Paused(Pause),
    /// No pause any more.
    Resumed,
}

/// How the lease carries a request.
pub(crate) fn carried(request: &Request) -> Carried {
    match &request.wish {
        Wish::Switchover { to, why } => Carried::Intent(Intent {
            to: to.clone(),
            reason: reason("switchover", &request.by, why),
            epoch: request.epoch,
            until: request.until,
            request: Some(request.id.clone()),
            failover: false,
        }),
        Wish::Failover { to, why } => Carried::Intent(Intent {
            to: to.clone(),
            reason: reason("failover", &request.by, why),
            epoch: request.epoch,
            until: request.until,
            request: Some(request.id.clone()),
            failover: true,
        }),
        Wish::Pause { why } => {
            Carried::Paused(Pause { until: request.until, by: request.by.clone(), why: why.clone() })
        }
        Wish::Resume {} => Carried::Resumed,
    }
}

fn reason(what: &str, by: &str, why: &str) -> String {
    if why.is_empty() { format!("{what} asked by {by}") } else { format!("{what} asked by {by}: {why}") }
}

/// Whether a standing request is this one, answered or not: then asking again has been done already.
pub(crate) fn is_same(standing: &Request, asked: &Request) -> bool {
    let mut standing = standing.clone();
    standing.answer.clone_from(&asked.answer);
    standing == *asked
}

#[cfg(test)]
mod tests;
