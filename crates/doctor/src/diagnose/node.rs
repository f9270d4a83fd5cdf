//! The nodes' instances: whether they run, what EC2 may do to them, their metadata and their roles.

use std::collections::BTreeMap;

use baton_protocol::ids::InstanceId;
use baton_protocol::lease::{LeaseState, Member};

use super::{Room, named};
use crate::change::Change;
use crate::check;
use crate::finding::Severity;
use crate::row::Row;
use crate::survey::{InstanceDetail, TokenUse};

const RUNNING: &str = "running";
/// The most hours of two weeks that a metric may say nothing about: at the one end an hour may have been cut, and at the other
/// it may not have been told yet.
const EDGES: u64 = 2;

impl<'a> Room<'a> {
    pub(super) fn nodes(&mut self) {
        let rows = [Row::R5, Row::R11, Row::R13, Row::R18, Row::R19, Row::B3];
        let survey = &self.case.survey;
        if let Some(instances) = self.need(&survey.instances, "the instances", &rows) {
            let running = instances.values().filter(|detail| detail.state == RUNNING).count();
            for member in self.members() {
                let id = member.instance.instance_id();
                // One that EC2 does not know is told of by the examination.
                let Some(detail) = instances.get(&id).filter(|detail| detail.state != "terminated") else {
                    continue;
                };
                self.running(member, &id, detail, running);
                self.metadata(member, &id, detail);
                self.left_alone(member, &id, detail);
            }
        }
        self.statuses();
        self.alarms();
        self.roles();
    }

    fn running(&mut self, member: &Member, id: &InstanceId, detail: &InstanceDetail, running: usize) {
        if detail.state == RUNNING {
            return;
        }
        let severity = if running < 2 { Severity::Violation } else { Severity::Warning };
        let mut what = format!("{} is {}, expected {RUNNING}", named(member), detail.state);
        let mut changes = Vec::new();
        // One that is on its way cannot be started yet.
        if detail.state == "stopped" {
            match self.kept_down() {
                Some(why) => what.push_str(&format!("; it is not started from here, since {why}")),
                None => changes.push(Change::Start(id.clone())),
            }
        }
        self.find_as(&check::INSTANCE_RUNNING, severity, id, what, changes);
    }

    /// Why no node is to be started now. A word that has ended by the clock of whoever looks stands no more.
    fn kept_down(&self) -> Option<String> {
        let record = &self.case.record;
        let lease = &record.lease;
        if lease.state == LeaseState::Retired {
            return Some("the registration is retired".to_owned());
        }
        let fence = lease.fence.as_ref().filter(|word| word.until > record.at);
        let fence =
            fence.map(|word| format!("{} asked that {} be stopped", word.by, word.node.instance_id()));
        let excluded = lease.excluded.as_ref().filter(|word| word.until > record.at);
        let excluded = excluded
            .map(|word| format!("{} asked that {} does not hold for now", word.by, word.node.instance_id()));
        let restore = lease.restore.as_ref().filter(|word| word.until > record.at);
        fence.or(excluded).or_else(|| {
            restore.map(|word| format!("{} said that the table was restored to an earlier moment", word.by))
        })
    }

    fn metadata(&mut self, member: &Member, id: &InstanceId, detail: &InstanceDetail) {
        if !detail.metadata {
            let what = format!("the instance metadata of {} is disabled", named(member));
            self.find(&check::METADATA_SERVED, id, what, vec![Change::EnableMetadata(id.clone())]);
            return;
        }
        if detail.token_required {
            return;
        }
        let survey = &self.case.survey;
        let Some(calls) =
            self.need(&survey.without_token, "the metric MetadataNoToken of the nodes", &[Row::R19])
        else {
            return;
        };
        let node = named(member);
        let (told, changes) = match calls.get(id) {
            Some(TokenUse { calls: calls @ 1.., .. }) => {
                (format!("{calls} calls came without one in two weeks"), Vec::new())
            }
            Some(TokenUse { untold: ..=EDGES, .. }) => {
                let change = Change::RequireToken(id.clone());
                (
                    format!("nothing has asked without one for two weeks{}", self.while_standby(member)),
                    vec![change],
                )
            }
            Some(TokenUse { untold, .. }) => {
                let told = format!(
                    "whether something asks without one is not known, for want of {untold} hours of two weeks"
                );
                (told, Vec::new())
            }
            None => ("whether something asks without one is not known".to_owned(), Vec::new()),
        };
        let what = format!("the instance metadata of {node} is served without a token; {told}");
        self.find(&check::METADATA_TOKEN, id, what, changes);
    }

    /// What the silence of a node that does not hold leaves open.
    fn while_standby(&self, member: &Member) -> &'static str {
        if self.case.record.lease.holder.as_ref() == Some(&member.instance) {
            return "";
        }
        ", but what runs at the holder only may not have run here: look first at what asks there"
    }

    fn left_alone(&mut self, member: &Member, id: &InstanceId, detail: &InstanceDetail) {
        if detail.auto_recovery {
            let what = format!("EC2 may recover {} by itself (automatic recovery: `default`)", named(member));
            self.find(&check::AUTO_RECOVERY, id, what, vec![Change::DisableAutoRecovery(id.clone())]);
        }
        if detail.hibernation {
            let what = format!("{} was started so that it can be hibernated", named(member));
            self.find(&check::HIBERNATION, id, what, Vec::new());
        }
    }

    fn statuses(&mut self) {
        let survey = &self.case.survey;
        let Some(statuses) = self.need(&survey.statuses, "EC2's status checks", &[Row::R5]) else { return };
        for member in self.members() {
            let id = member.instance.instance_id();
            let Some(status) = statuses.get(&id) else { continue };
            let told: Vec<&str> = status.failing.iter().chain(&status.events).map(String::as_str).collect();
            if !told.is_empty() {
                let what = format!("EC2 says of {}: {}", named(member), told.join("; "));
                self.find(&check::STATUS_CHECKS, &id, what, Vec::new());
            }
        }
    }

    fn alarms(&mut self) {
        let survey = &self.case.survey;
        let Some(alarms) = self.need(&survey.alarms, "the alarms", &[Row::R13]) else { return };
        for alarm in alarms {
            let member = self.members().iter().find(|member| member.instance.instance_id() == alarm.instance);
            let Some(member) = member else { continue };
            let what =
                format!("the alarm `{}` does {} to {}", alarm.name, alarm.actions.join(", "), named(member));
            self.find(
                &check::ALARM_ACTION,
                &alarm.name,
                what,
                vec![Change::DisableAlarm(alarm.name.clone())],
            );
        }
    }

    fn roles(&mut self) {
        let survey = &self.case.survey;
        let Some(profiles) = self.need(&survey.profiles, "the roles of the instances", &[Row::R15]) else {
            return;
        };
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for profile in profiles.values() {
            *counts.entry(profile).or_default() += 1;
        }
        let usual = counts.iter().max_by_key(|(_, count)| **count).map(|(profile, _)| (*profile).clone());
        for member in self.members() {
            let id = member.instance.instance_id();
            if profiles.contains_key(&id) {
                continue;
            }
            let change = |profile| Change::AssociateProfile { instance: id.clone(), profile };
            let what = format!("{} has no instance profile, so its agent has no role", named(member));
            self.find(&check::NODE_ROLE, &id, what, usual.clone().map(change).into_iter().collect());
        }
    }
}
