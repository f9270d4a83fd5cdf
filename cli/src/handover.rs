//! A planned hand-over as it is followed from outside: which of its stages have been seen, and how it stands.
//!
//! This is a pure account of readings of the table. It knows the epoch that the request is about, so a lease that moved
//! on for another ground, or to another node than was asked for, is told apart from the hand-over that was asked for.

use std::time::Duration;

use baton_protocol::history::{Event, Ground, Happening};
use baton_protocol::ids::{Epoch, InstanceArn};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::request::{Request, Wish};
use serde::Serialize;

use crate::command::Snapshot;
use crate::rows::ground_word;
use crate::text::{length, moment, rfc3339};

/// A stage of a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The old holder swore never to serve the epoch again.
    Released,
    /// The lease went to the next holder.
    Granted,
    /// The next holder serves.
    Serving,
    /// Every address and route was seen at the next holder.
    Verified,
}

/// A stage that was reached, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Which.
    pub stage: Stage,
    /// By or at which node.
    pub node: String,
    /// At which epoch.
    pub epoch: u64,
    /// How long after the request it was seen, in milliseconds.
    pub after_ms: u64,
    /// When it was seen.
    pub at: String,
}

impl Transition {
    /// One line for people.
    pub fn line(&self) -> String {
        let after = format!("+{}", length(Duration::from_millis(self.after_ms)));
        let (node, epoch) = (&self.node, self.epoch);
        let what = match self.stage {
            Stage::Released => format!("released by {node} (epoch {epoch})"),
            Stage::Granted => format!("granted to {node} (epoch {epoch})"),
            Stage::Serving => format!("serving at {node}"),
            Stage::Verified => format!("addresses verified at {node}"),
        };
        format!("{after:>7}  {what}")
    }
}

/// How a hand-over stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    UnderWay,
    /// The next holder serves and the addresses are at it.
    Done,
    /// Something else happened instead.
    Lost(String),
    /// The request ended with nothing changed.
    Ended(String),
}

/// A hand-over that is followed.
#[derive(Debug)]
pub struct Handover<'a> {
    request: &'a Request,
    from: &'a InstanceArn,
    seen: Vec<Transition>,
}

impl<'a> Handover<'a> {
    /// A hand-over by `from`, just asked for.
    pub fn new(request: &'a Request, from: &'a InstanceArn) -> Self {
        Self { request, from, seen: Vec::new() }
    }

    /// The stages seen so far, in the order in which they were seen.
    pub fn seen(&self) -> &[Transition] {
        &self.seen
    }

    /// Whether the next [`observe`](Self::observe) needs the history's newest grant: the lease has just moved on by one.
    pub fn needs_grant(&self, lease: &Lease) -> bool {
        lease.epoch == self.request.epoch.next() && !self.has(Stage::Granted)
    }

    /// Takes one reading into account. `grant` is the history's newest grant, where it was needed.
    pub fn observe(&mut self, snapshot: &Snapshot, grant: Option<&Event>) -> Standing {
        let lease = &snapshot.lease;
        let asked_at = self.request.epoch;
        let old = snapshot.heartbeats.get(self.from);
        if old.is_some_and(|heartbeat| heartbeat.released >= asked_at) {
            self.reach(Stage::Released, snapshot, self.from, asked_at);
        }
        if lease.state == LeaseState::Retired {
            return Standing::Lost("the registration was retired".to_owned());
        }
        if lease.epoch <= asked_at {
            return self.before_the_grant(snapshot);
        }
        let Some(holder) = &lease.holder else { return Standing::UnderWay };
        if lease.epoch > asked_at.next() {
            let name = lease.name_of(holder);
            return Standing::Lost(format!(
                "the lease moved on to {name} at epoch {} meanwhile",
                lease.epoch
            ));
        }
        if !self.has(Stage::Granted) {
            // Without the history there is no telling whose grant this is; the next reading will say.
            let Some(grant) = grant else { return Standing::UnderWay };
            if let Some(otherwise) = self.not_as_asked(lease, holder, grant) {
                return Standing::Lost(otherwise);
            }
            self.reach(Stage::Granted, snapshot, holder, lease.epoch);
        }
        let serving = snapshot.heartbeats.get(holder).and_then(|heartbeat| heartbeat.serving_epoch);
        if serving == Some(lease.epoch) {
            self.reach(Stage::Serving, snapshot, holder, lease.epoch);
        }
        if lease.moved == lease.epoch {
            self.reach(Stage::Verified, snapshot, holder, lease.epoch);
        }
        if self.has(Stage::Serving) && self.has(Stage::Verified) {
            Standing::Done
        } else {
            Standing::UnderWay
        }
    }

    /// A released lease will be granted whatever becomes of the request; until then the request may end or be replaced.
    fn before_the_grant(&self, snapshot: &Snapshot) -> Standing {
        if self.has(Stage::Released) {
            return Standing::UnderWay;
        }
        let intent = snapshot.lease.intent.as_ref();
        match intent {
            None => Standing::Ended("the request was withdrawn before the holder obeyed it".to_owned()),
            Some(intent) if intent.request.as_ref() != Some(&self.request.id) => {
                let other = intent
                    .request
                    .as_ref()
                    .map_or_else(|| "the arbiter's intent".to_owned(), |id| format!("request {id}"));
                Standing::Lost(format!("{other} took the place of request {}", self.request.id))
            }
            Some(intent) if snapshot.at >= intent.until => {
                let until = moment(intent.until);
                Standing::Ended(if intent.failover {
                    format!("the request ended at {until} and no standby had claimed the silence")
                } else {
                    format!("the request ended at {until} and the holder had not obeyed it")
                })
            }
            Some(_) => Standing::UnderWay,
        }
    }

    fn not_as_asked(&self, lease: &Lease, holder: &InstanceArn, grant: &Event) -> Option<String> {
        let name = lease.name_of(holder);
        if holder == self.from {
            return Some(format!("the lease went back to {name} at epoch {}", lease.epoch));
        }
        let (Wish::Switchover { to, .. } | Wish::Failover { to, .. }) = &self.request.wish else {
            return None;
        };
        if to.as_ref().is_some_and(|to| to != holder) {
            return Some(format!("the lease was granted to {name} at epoch {}", lease.epoch));
        }
        let Happening::Granted { ground, evidence, .. } = &grant.what else { return None };
        match &evidence.request {
            Some(request) if *request == self.request.id => None,
            Some(other) => Some(format!("{name} holds the lease by request {other}")),
            None if *ground == Ground::Release => None,
            None => Some(format!("{name} holds the lease by {}, not by this request", ground_word(*ground))),
        }
    }

    fn has(&self, stage: Stage) -> bool {
        self.seen.iter().any(|transition| transition.stage == stage)
    }

    fn reach(&mut self, stage: Stage, snapshot: &Snapshot, node: &InstanceArn, epoch: Epoch) {
        if self.has(stage) {
            return;
        }
        self.seen.push(Transition {
            stage,
            node: snapshot.lease.name_of(node),
            epoch: epoch.0,
            after_ms: u64::try_from(snapshot.at.since(self.request.at).as_millis()).unwrap_or(u64::MAX),
            at: rfc3339(snapshot.at),
        });
    }
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
