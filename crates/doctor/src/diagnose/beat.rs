//! What the nodes themselves write: whether they reach the table, with which version, by which clock, and who serves.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::lease::Member;

use super::{Room, named};
use crate::check;
use crate::finding::Severity;
use crate::row::Row;

/// A heartbeat comes every second at the most, so a node that has been silent for so long does not reach the table.
const SILENT: Duration = Duration::from_secs(15);
/// How far a clock may be off before anybody notices: pauses and windows have lengths of minutes.
const OFF: Duration = Duration::from_secs(2);

impl Room<'_> {
    pub(super) fn beats(&mut self) {
        let record = &self.case.record;
        for member in self.members() {
            match record.heartbeats.get(&member.instance) {
                None => {
                    let what = format!("no agent has ever written a heartbeat of {}", named(member));
                    self.find(&check::AGENT_WRITES, &member.node, what, Vec::new());
                }
                Some(heartbeat) => {
                    self.heard(member, heartbeat);
                    self.clock(member, heartbeat);
                }
            }
        }
        self.versions();
        self.served();
    }

    /// Whether a node has beaten while it was looked at, or a short while ago.
    fn is_heard(&self, member: &Member, heartbeat: &Heartbeat) -> bool {
        self.has_beaten(member, heartbeat) || self.case.record.at.distance(heartbeat.beat_at) < SILENT
    }

    /// Whether a node has beaten between the two looks.
    fn has_beaten(&self, member: &Member, heartbeat: &Heartbeat) -> bool {
        let before = self.case.record.before.get(&member.instance);
        before.is_some_and(|before| before.seq != heartbeat.seq)
    }

    fn heard(&mut self, member: &Member, heartbeat: &Heartbeat) {
        let runs = |state: &str| state == "running";
        let instances = self.case.survey.instances.known();
        let detail = instances.and_then(|instances| instances.get(&member.instance.instance_id()));
        // That one does not run is said elsewhere.
        if self.is_heard(member, heartbeat) || detail.is_some_and(|detail| !runs(&detail.state)) {
            return;
        }
        let seconds = self.case.record.at.since(heartbeat.beat_at).as_secs();
        let what = format!("the agent of {} wrote its last heartbeat {seconds} s ago", named(member));
        self.find(&check::TABLE_REACHED, &member.node, what, Vec::new());
    }

    /// A heartbeat that came between the two looks was sent between them, so what its clock shows beyond that is its error,
    /// or that of this machine.
    fn clock(&mut self, member: &Member, heartbeat: &Heartbeat) {
        let record = &self.case.record;
        if !self.has_beaten(member, heartbeat) {
            // Of a node that is silent its clock cannot be told, and needs not.
            if self.is_heard(member, heartbeat) {
                let part = "a second heartbeat of each node, to tell its clock by,";
                self.notes.unread(part, "none came in time", &[Row::B4]);
            }
            return;
        }
        let (off, word) = if heartbeat.beat_at > record.at {
            (heartbeat.beat_at.since(record.at), "ahead of")
        } else {
            (record.before_at.since(heartbeat.beat_at), "behind")
        };
        if off > OFF {
            let seconds = off.as_secs();
            let what =
                format!("the clock of {} is {seconds} s {word} the one of this machine", named(member));
            self.find(&check::CLOCK, &member.node, what, Vec::new());
        }
    }

    fn versions(&mut self) {
        let record = &self.case.record;
        let mut by_version: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for member in self.members() {
            let Some(heartbeat) = record.heartbeats.get(&member.instance) else { continue };
            by_version.entry(&heartbeat.agent_version).or_default().push(member.node.to_string());
        }
        if by_version.len() < 2 {
            return;
        }
        let told: Vec<String> =
            by_version.iter().map(|(version, nodes)| format!("{version} on {}", nodes.join(", "))).collect();
        let what = format!("the agents have different versions: {}", told.join("; "));
        self.find(&check::AGENT_VERSION, &record.lease.cluster, what, Vec::new());
    }

    fn served(&mut self) {
        let record = &self.case.record;
        let lease = &record.lease;
        for member in self.members() {
            let Some(heartbeat) = record.heartbeats.get(&member.instance) else { continue };
            let holds = lease.holder.as_ref() == Some(&member.instance);
            match heartbeat.serving_epoch {
                Some(epoch) if !holds && self.is_heard(member, heartbeat) => {
                    let what =
                        format!("{} serves at epoch {epoch} and does not hold the lease", named(member));
                    self.find(&check::HOLDER_SERVES, &member.node, what, Vec::new());
                }
                None if holds && lease.moved == lease.epoch => {
                    let what = format!("{} holds the lease and does not serve", named(member));
                    self.find_as(&check::HOLDER_SERVES, Severity::Warning, &member.node, what, Vec::new());
                }
                _ => {}
            }
        }
    }
}
