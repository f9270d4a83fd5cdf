//! The twin's table: plain maps, and what each write of the store does to them.
//!
//! Nothing here can be throttled, denied, late or unknown. Whoever tests what happens then puts it around the
//! store.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::{Beat, Health, Heartbeat};
use baton_protocol::history::Event;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{
    AllocationId, ClusterName, Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId, Seq,
};
use baton_protocol::lease::{Lease, LeaseState, SCHEMA};
use baton_protocol::mark::Mark;
use baton_protocol::mutant;
use baton_protocol::outcome::{Failure, Write, WriteFailure};
use baton_protocol::probe::Probe;
use baton_protocol::request::Request;
use baton_protocol::restored::Restoration;

use crate::key::Key;
use crate::registration::{Next, entry, reconfigure, register, retire};
use crate::superseded::{
    lost_on_candidate, lost_on_holder, lost_on_lease, refuse_unsafe, restoration_lost_on_lease,
    restoration_lost_on_node,
};
use crate::wish::{Carried, carried, displaced, is_barred, is_same};
use crate::{Entry, Moved, Registration, Start};

/// Everything in the table, by its keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) leases: BTreeMap<ClusterName, Lease>,
    pub(super) heartbeats: BTreeMap<(ClusterName, InstanceArn), Heartbeat>,
    /// By the keys of the real table, so that the order is the real one.
    pub(super) history: BTreeMap<ClusterName, BTreeMap<String, Event>>,
    pub(super) hooks: BTreeMap<ClusterName, BTreeMap<String, Hook>>,
    pub(super) probes: BTreeMap<ClusterName, Probe>,
    pub(super) requests: BTreeMap<ClusterName, BTreeMap<RequestId, Request>>,
    pub(super) directory: BTreeMap<ClusterName, Entry>,
    /// The clusters that the table's stream would have woken the arbiter for.
    pub(super) woken: BTreeSet<ClusterName>,
    /// Which slots suspect, by span.
    pub(super) suspects: BTreeMap<u64, BTreeSet<u64>>,
    /// What a token that is used again stands for.
    #[cfg(feature = "mutants")]
    pub(super) granted_to: BTreeSet<(ClusterName, InstanceArn)>,
}

impl Table {
    pub(super) fn start(
        &mut self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        start: &Start,
    ) -> Write<Option<Heartbeat>> {
        let place = (cluster.clone(), instance.clone());
        let found = self.heartbeats.get(&place);
        if found.map(|heartbeat| &heartbeat.incarnation) != start.expected.as_ref()
            && !mutant!(StartWithoutCompare)
        {
            return Err(WriteFailure::Refused(found.cloned()));
        }
        let next = Heartbeat {
            cluster: cluster.clone(),
            instance: instance.clone(),
            incarnation: start.incarnation.clone(),
            seq: Seq(found.filter(|_| !mutant!(SeqReset)).map_or(0, |heartbeat| heartbeat.seq.0) + 1),
            boot_id: start.boot_id.clone(),
            health: Health::Unknown,
            released: found.map_or(Epoch(0), |heartbeat| heartbeat.released),
            claim: None,
            serving_epoch: None,
            healthy_since: None,
            serving_since: None,
            ahead: found.and_then(|heartbeat| heartbeat.ahead),
            findings: found.and_then(|heartbeat| heartbeat.findings.clone()),
            validity_ms: start.validity_ms,
            seen: found.map(|heartbeat| heartbeat.seen.clone()).unwrap_or_default(),
            beat_at: start.at,
            agent_version: start.agent_version.clone(),
            schema: SCHEMA,
        };
        self.heartbeats.insert(place, next);
        Ok(())
    }

    pub(super) fn beat(
        &mut self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        beat: &Beat,
    ) -> Write<Option<Heartbeat>> {
        let mine =
            |found: &Heartbeat| found.incarnation == beat.incarnation || mutant!(BeatWithoutIncarnation);
        let older = |found: &Heartbeat| found.seq < beat.seq || mutant!(BeatWithoutOrder);
        match self.heartbeats.get_mut(&(cluster.clone(), instance.clone())) {
            Some(heartbeat) if mine(heartbeat) && older(heartbeat) => {
                heartbeat.seq = beat.seq;
                heartbeat.health = beat.health;
                heartbeat.healthy_since = beat.healthy_since;
                heartbeat.claim.clone_from(&beat.claim);
                heartbeat.serving_epoch = beat.serving_epoch;
                heartbeat.serving_since = beat.serving_since;
                heartbeat.ahead = beat.ahead.or(heartbeat.ahead);
                if let Some(findings) = &beat.findings {
                    heartbeat.findings = findings.to_write();
                }
                heartbeat.validity_ms = beat.validity_ms;
                heartbeat.seen.clone_from(&beat.seen);
                heartbeat.beat_at = beat.beat_at;
                Ok(())
            }
            found => Err(WriteFailure::Refused(found.cloned())),
        }
    }

    pub(super) fn release(
        &mut self,
        cluster: &ClusterName,
        instance: &InstanceArn,
        incarnation: &Incarnation,
        epoch: Epoch,
    ) -> Write<Option<Heartbeat>> {
        match self.heartbeats.get_mut(&(cluster.clone(), instance.clone())) {
            Some(heartbeat)
                if heartbeat.incarnation == *incarnation || mutant!(ReleaseWithoutIncarnation) =>
            {
                heartbeat.released = heartbeat.released.max(epoch);
                Ok(())
            }
            found => Err(WriteFailure::Refused(found.cloned())),
        }
    }

    pub(super) fn commit(&mut self, grant: &Grant) -> Result<Committed, Failure> {
        refuse_unsafe(grant)?;
        let row = Key::event(&grant.event)?.sk;
        let history = self.history.entry(grant.cluster.clone()).or_default();
        if history.contains_key(&row) && !mutant!(TokenAbsent) {
            return Ok(Committed::Granted);
        }
        #[cfg(feature = "mutants")]
        if mutant!(TokenReused) && self.granted_to.contains(&(grant.cluster.clone(), grant.to.clone())) {
            return Ok(Committed::Granted);
        }
        let heartbeat = |of: &InstanceArn| self.heartbeats.get(&(grant.cluster.clone(), of.clone()));
        let lease = self.leases.get_mut(&grant.cluster);
        let mut lost = lost_on_lease(grant, lease.as_deref());
        lost.extend(lost_on_holder(&grant.holder_check, grant.holder.as_ref().and_then(heartbeat)));
        lost.extend(lost_on_candidate(grant, heartbeat(&grant.to)));
        match lease {
            Some(lease) if lost.is_empty() => {
                lease.epoch = grant.epoch.next();
                lease.holder = Some(grant.to.clone());
                lease.last_grant = Some(grant.at);
                if let Some(recent) = &grant.recent {
                    lease.recent_grants.clone_from(recent);
                }
                lease.rotated.clear();
                lease.intent = None;
                lease.verify_at = None;
                history.insert(row, grant.event.clone());
                #[cfg(feature = "mutants")]
                self.granted_to.insert((grant.cluster.clone(), grant.to.clone()));
                Ok(Committed::Granted)
            }
            _ => Ok(Committed::Superseded(lost)),
        }
    }

    pub(super) fn restore(&mut self, restoration: &Restoration) -> Result<Committed, Failure> {
        let row = Key::event(&restoration.event)?.sk;
        let history = self.history.entry(restoration.cluster.clone()).or_default();
        if history.contains_key(&row) {
            return Ok(Committed::Granted);
        }
        let heartbeat = |of: &InstanceArn| self.heartbeats.get(&(restoration.cluster.clone(), of.clone()));
        let lease = self.leases.get_mut(&restoration.cluster);
        let mut lost = restoration_lost_on_lease(restoration, lease.as_deref());
        let nodes = restoration.signs.keys().chain(&restoration.absent);
        lost.extend(nodes.filter_map(|node| restoration_lost_on_node(restoration, node, heartbeat(node))));
        match lease {
            Some(lease) if lost.is_empty() => {
                *lease = restoration.of_lease(lease);
                history.insert(row, restoration.event.clone());
                Ok(Committed::Granted)
            }
            _ => Ok(Committed::Superseded(lost)),
        }
    }

    pub(super) fn record_rotation(
        &mut self,
        cluster: &ClusterName,
        epoch: Epoch,
        allocation: &AllocationId,
        mark: &Mark,
    ) -> Write<Option<Lease>> {
        let lease = self.lease_at(cluster, epoch)?;
        let stands = lease.rotated.contains_key(allocation) && !mutant!(MarkOverwritten);
        if stands && !mark.replaces() {
            return Err(WriteFailure::Refused(Some(lease.clone())));
        }
        lease.rotated.insert(allocation.clone(), mark.clone());
        Ok(())
    }

    pub(super) fn record_moved(&mut self, cluster: &ClusterName, moved: &Moved) -> Write<Option<Lease>> {
        let current = self.leases.get(cluster).map_or(moved.epoch, |lease| lease.epoch);
        let epoch = if mutant!(MovedOfOlderEpoch) { current } else { moved.epoch };
        let lease = self.lease_at(cluster, epoch)?;
        let other = lease.revision != moved.revision && !mutant!(MovedOfOtherRevision);
        let looked = lease.verify_at != moved.due && !mutant!(LookForgotten);
        if other || looked || (lease.moved != moved.before && !mutant!(MovedOfOlderEpoch)) {
            return Err(WriteFailure::Refused(Some(lease.clone())));
        }
        lease.moved = moved.epoch;
        lease.observed = moved.observed.clone();
        lease.verify_at = moved.verify_at;
        Ok(())
    }

    pub(super) fn append(&mut self, event: &Event) -> Result<bool, Failure> {
        let row = Key::event(event)?.sk;
        let rows = self.history.entry(event.cluster.clone()).or_default();
        let is_new = !rows.contains_key(&row);
        rows.entry(row).or_insert_with(|| event.clone());
        Ok(is_new)
    }

    pub(super) fn answer(
        &mut self,
        cluster: &ClusterName,
        request: &RequestId,
        answer: &str,
    ) -> Write<Option<String>> {
        let standing = self.requests.get_mut(cluster).and_then(|requests| requests.get_mut(request));
        let Some(standing) = standing else { return Err(WriteFailure::Refused(None)) };
        match &standing.answer {
            Some(first) if first != answer && !mutant!(AnswerOverwritten) => {
                Err(WriteFailure::Refused(Some(first.clone())))
            }
            _ => {
                standing.answer = Some(answer.to_owned());
                Ok(())
            }
        }
    }

    pub(super) fn end_fence(&mut self, cluster: &ClusterName, request: &RequestId) {
        if let Some(lease) = self.leases.get_mut(cluster) {
            lease.fence = lease.fence.take().filter(|word| word.request != *request);
        }
    }

    pub(super) fn ask(&mut self, request: &Request) -> Write<Option<Lease>> {
        let Some(lease) = self.leases.get_mut(&request.cluster) else {
            return Err(WriteFailure::Refused(None));
        };
        let requests = self.requests.entry(request.cluster.clone()).or_default();
        if let Some(standing) = requests.get(&request.id) {
            let refused = || Err(WriteFailure::Refused(Some(lease.clone())));
            return if is_same(standing, request) { Ok(()) } else { refused() };
        }
        let carried = carried(request);
        if is_barred(lease, &carried, request) {
            return Err(WriteFailure::Refused(Some(lease.clone())));
        }
        let displaced = displaced(lease, &carried, request);
        match carried {
            Carried::Intent(intent) => lease.intent = Some(intent),
            Carried::Fence(word) => lease.fence = Some(word),
            Carried::Restore(word) => lease.restore = Some(Box::new(word)),
            Carried::Failback(intent) => {
                let asked = lease.intent.as_ref();
                let asked =
                    asked.is_some_and(|asked| asked.epoch == request.epoch && asked.until > request.at);
                let past = lease.epoch != request.epoch || lease.state != LeaseState::Active;
                if past || asked || lease.is_paused(request.at) {
                    return Err(WriteFailure::Refused(Some(lease.clone())));
                }
                lease.intent = Some(intent);
            }
            Carried::Paused(pause) => lease.paused = Some(pause),
            Carried::Resumed => lease.paused = None,
            Carried::Excluded { exclusion, intent, replaces, withdraws } => {
                let by = lease.excluded.as_ref().map(|excluded| &excluded.request);
                let intending = lease.intent.as_ref().and_then(|intent| intent.request.as_ref());
                let other = withdraws.is_some() && intending != withdraws.as_ref();
                if by != replaces.as_ref() || other {
                    return Err(WriteFailure::Refused(Some(lease.clone())));
                }
                lease.excluded = Some(exclusion);
                if intent.is_some() || withdraws.is_some() {
                    lease.intent = intent;
                }
            }
            Carried::Included { exclusion, withdraws } => {
                let by = lease.excluded.as_ref().map(|excluded| &excluded.request);
                let intent = lease.intent.as_ref().and_then(|intent| intent.request.as_ref());
                if by != Some(&exclusion) || withdraws && intent != Some(&exclusion) {
                    return Err(WriteFailure::Refused(Some(lease.clone())));
                }
                lease.excluded = None;
                if withdraws {
                    lease.intent = None;
                }
            }
        }
        if let Some((other, answer)) = displaced.filter(|_| !mutant!(ReplacedUntold)) {
            let unanswered = |other: &&mut Request| other.answer.is_none() || mutant!(ReplacedAnswersAgain);
            if let Some(other) = requests.get_mut(&other).filter(unanswered) {
                other.answer = Some(answer);
            }
        }
        requests.insert(request.id.clone(), request.clone());
        self.woken.insert(request.cluster.clone());
        Ok(())
    }

    pub(super) fn register(&mut self, registration: &Registration) -> Write<Option<Lease>> {
        let next = register(self.leases.get(&registration.cluster), registration);
        self.accept(registration, next)
    }

    pub(super) fn reconfigure(
        &mut self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
    ) -> Write<Option<Lease>> {
        let next = reconfigure(self.leases.get(&registration.cluster), registration, holder);
        self.accept(registration, next)
    }

    pub(super) fn retire(
        &mut self,
        cluster: &ClusterName,
        uid: &RegistrationUid,
        event: &Event,
    ) -> Write<Option<Lease>> {
        match retire(self.leases.get(cluster), uid) {
            Next::Done => Ok(()),
            Next::Refused => Err(WriteFailure::Refused(self.leases.get(cluster).cloned())),
            Next::Write(lease) => {
                self.append(event)?;
                self.leases.insert(cluster.clone(), *lease);
                self.directory.remove(cluster);
                Ok(())
            }
        }
    }

    fn accept(&mut self, registration: &Registration, next: Next) -> Write<Option<Lease>> {
        let cluster = &registration.cluster;
        match next {
            Next::Done => Ok(()),
            Next::Refused => Err(WriteFailure::Refused(self.leases.get(cluster).cloned())),
            Next::Write(lease) => {
                self.append(&registration.event)?;
                self.leases.insert(cluster.clone(), *lease);
                self.directory.insert(cluster.clone(), entry(registration));
                Ok(())
            }
        }
    }

    fn lease_at(
        &mut self,
        cluster: &ClusterName,
        epoch: Epoch,
    ) -> Result<&mut Lease, WriteFailure<Option<Lease>>> {
        match self.leases.get_mut(cluster) {
            Some(lease) if lease.epoch == epoch => Ok(lease),
            found => Err(WriteFailure::Refused(found.cloned())),
        }
    }
}
