//! Clusters whose nodes are named by a tag: the look that an invocation ends with, the write that follows it, and what lies
//! between them. What is judged, and what of it is written, is the code that ships.

use std::collections::{BTreeMap, BTreeSet};

use baton_cloud::memory::{Fault as CloudFault, Trouble};
use baton_cloud::{Cloud, InstanceSeen};
use baton_protocol::arbiter::Hint;
use baton_protocol::ec2::CloudFailure;
use baton_protocol::ids::{InstanceArn, InstanceId};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::roster::{self, CONSENT, GROUP, Roster, Standing, Tag};
use baton_store::{Registration, Store};

use crate::event::Event;
use crate::fault::Kind;
use crate::plan::draw;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

/// The group whose instances are the nodes.
const NAME: &str = "nodes";

/// The tags that an instance of the cluster has from its launch on.
pub(crate) fn tags() -> BTreeMap<String, String> {
    [(GROUP, NAME), (CONSENT, "others orders")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The tags of an instance whose owner has not consented.
pub(crate) fn foreign_tags() -> BTreeMap<String, String> {
    BTreeMap::from([(GROUP.to_owned(), NAME.to_owned()), (CONSENT.to_owned(), "others".to_owned())])
}

type Described = Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure>;

impl Sim<'_> {
    /// What the registrar registers beside the members.
    pub(crate) fn roster(&self) -> Option<Roster> {
        let tag = Tag::of_group(NAME).expect("a plain name");
        let most = u16::try_from(self.plan.clocks.len()).expect("few machines");
        let changed = self.lease.roster.as_ref().map_or_else(|| self.global().wall, |roster| roster.changed);
        self.plan.by_tag.then_some(Roster { tag, most, priority: 100, changed })
    }

    /// An invocation has done all else.
    pub(crate) fn muster(&mut self, hint: &Hint) {
        if !roster::is_asked(hint, &self.lease) || self.network.has(Kind::TableDown) {
            return;
        }
        let at = self.now + draw(&mut self.rng, self.plan.delays.table);
        let judged = Box::new((*self.lease).clone());
        let looks = at + draw(&mut self.rng, self.plan.delays.ec2);
        self.queue.push(looks, Event::Muster { judged });
    }

    /// EC2 shows who is there, or what was a moment ago, or less than that.
    pub(crate) fn muster_looks(&mut self, judged: &Lease) {
        let silent = [Kind::Ec2Down, Kind::FunctionsCut, Kind::TableDown];
        if silent.into_iter().any(|kind| self.network.has(kind))
            || self.network.has(Kind::Ec2Throttled) && self.chance(50)
            || self.network.has(Kind::FunctionsKilled) && self.chance(8)
        {
            return;
        }
        let Some(standing) = Standing::of(judged) else { return };
        let ids: Vec<_> = judged.members.iter().map(|member| member.instance.instance_id()).collect();
        let tagged = self.described(|cloud| ready(cloud.tagged(&standing.roster.tag)));
        let members = self.described(|cloud| ready(cloud.instances(&ids)));
        let (Ok(tagged), Ok(members)) = (tagged, members) else { return };
        let seen = baton_cloud::seen(&tagged, &members, &BTreeMap::new());
        let mut instances: BTreeSet<InstanceArn> =
            judged.members.iter().map(|member| member.instance.clone()).collect();
        instances.extend(seen.tagged.values().map(|shown| shown.instance.clone()));
        let instances: Vec<_> = instances.into_iter().collect();
        let Ok(heartbeats) = ready(self.store.heartbeats(&self.cluster, &instances)) else { return };
        let wall = self.global().wall;
        let judgement = roster::judge(&standing, &seen, &heartbeats, wall);
        let Some(change) = roster::change(judged, &judgement) else { return };
        let registration = Registration::of_members(judged, change, "arbiter", wall);
        let at = self.now + draw(&mut self.rng, self.plan.delays.table);
        let holder = judged.holder.clone();
        let revision = judged.revision;
        self.queue.push(at, Event::Members { registration: Box::new(registration), holder, revision });
    }

    fn described(&mut self, ask: impl FnOnce(&baton_cloud::MemoryCloud) -> Described) -> Described {
        if self.network.has(Kind::Ec2Stale) && self.chance(50) {
            // It may show less than it knows, as it may not find an instance that it has shown before.
            if self.chance(30) {
                self.see(Sometimes::NobodyShown);
                return Ok(BTreeMap::new());
            }
            let since = self.now.saturating_sub(self.rng.u64(0..crate::ec2::STALEST));
            let changes = self.watch.mutations.iter().rev().take_while(|at| **at > since).count();
            if changes > 0 {
                self.cloud.fail(CloudFault::on_anything(Trouble::Stale(changes)));
            }
        }
        ask(&self.cloud)
    }

    /// The change of members reaches the table.
    pub(crate) fn members_change(
        &mut self,
        registration: &Registration,
        holder: Option<&InstanceArn>,
        judged: u64,
    ) {
        let before = self.lease.clone();
        if ready(self.store.reconfigure(registration, holder)).is_err() {
            return;
        }
        self.lease_may_have_changed();
        if before.revision != judged {
            self.broken("I25", "members are changed that were not the ones that were judged".to_owned());
        }
        let came: Vec<_> =
            registration.members.iter().filter(|m| before.member(&m.instance).is_none()).collect();
        for member in came {
            self.see(Sometimes::Joined);
            if !self.by_arn.contains_key(&member.instance) {
                let what = "joins, and is not the cluster's or can hibernate";
                self.broken("I25", format!("{} {what}", member.instance));
            }
        }
        let after = self.lease.clone();
        for member in before.members.iter().filter(|m| after.member(&m.instance).is_none()) {
            self.see(Sometimes::RetiredMember);
            let gone = self.by_arn.get(&member.instance).is_some_and(|machine| self.machines[*machine].gone);
            if !gone {
                self.broken("I25", format!("{} is retired, and lives", member.instance));
            }
        }
        let holder = after.holder.as_ref().filter(|holder| before.member(holder).is_some());
        let active = after.state == LeaseState::Active;
        if let Some(holder) = holder.filter(|holder| active && after.member(holder).is_none()) {
            self.broken("I25", format!("{holder} holds the lease and is retired"));
        }
    }
}
