//! What the onlooker sees of the lease: each change of it, and what was true when it was granted.

use baton_protocol::grant::{Committed, Grant};
use baton_protocol::heartbeat::Health;
use baton_protocol::history::{Evidence, Ground, Happening};
use baton_protocol::lease::{Lease, LeaseState, Mode};
use baton_protocol::outcome::Failure;
use baton_protocol::policy;
use baton_protocol::time::WallTime;
use baton_store::Store;

use super::AFTERMATH;
use crate::clock::{MS, SECOND, WALL_START_MS};
use crate::fault::Kind;
use crate::machine::Machine;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

impl Sim<'_> {
    // --- the lease ---

    /// The lease has changed, by whomever.
    pub(crate) fn watch_lease(&mut self, before: &Lease) {
        let (epoch, mode, retired) =
            (self.lease.epoch, self.lease.mode, self.lease.state == LeaseState::Retired);
        if epoch != before.epoch {
            self.watch.moved_at = None;
            if epoch != before.epoch.next() {
                self.broken("I2", format!("the epoch goes from {} to {epoch}", before.epoch));
            }
            if let Some(holder) = self.lease.holder.clone() {
                self.watch.granted.insert(epoch, holder);
            }
            self.watch.modes.insert(epoch, mode);
            if self.lease.uid != before.uid {
                self.watch.registered.push(epoch);
            }
        } else if self.lease.holder != before.holder {
            self.broken("I2", format!("the holder changes within epoch {epoch}"));
        } else if mode != before.mode {
            // A node learns of it with its next read, so nothing is promised of the epoch in which a mode changed.
            self.watch.modes.insert(epoch, Mode::Available);
            self.watch.mode_changed = self.now;
        }
        if retired != (before.state == LeaseState::Retired) {
            self.watch.last_registered = self.now;
            if retired && self.machines.iter().any(|m| m.serving.is_some()) {
                self.see(Sometimes::RetiredServesOn);
            }
        }
    }

    /// A commit has reached the table.
    pub(crate) fn watch_commit(
        &mut self,
        function: usize,
        grant: &Grant,
        answer: &Result<Committed, Failure>,
    ) {
        let before = self.lease.clone();
        self.lease_may_have_changed();
        if let Ok(Committed::Superseded(lost)) = answer
            && let [only] = &lost[..]
            && only.starts_with("lease: expected the wish")
        {
            self.see(Sometimes::WishCameBetween);
        }
        if !matches!(answer, Ok(Committed::Granted)) {
            return;
        }
        if self.lease.epoch == before.epoch {
            // A repeat of a commit that was done before. It must have been.
            if self.watch.granted.get(&grant.epoch.next()) != Some(&grant.to) {
                self.broken(
                    "I2",
                    format!("a grant of epoch {} is confirmed and was never made", grant.epoch.next()),
                );
            }
            return;
        }
        self.watch.grants += 1;
        self.watch.granted_at = self.now;
        let unpaused_at = self.pause_ends_at_holder(&before).min(self.now);
        self.watch.unpaused_at = self.watch.unpaused_at.max(unpaused_at);
        let (to, ground) = (grant.to.clone(), grant.ground);
        self.trace.say(self.now, "table", || {
            format!("epoch {} is granted to {to} on {ground:?}", before.epoch.next())
        });
        if let Some(request) = evidence(grant).and_then(|evidence| evidence.request.clone()) {
            if self.watch.failbacks.contains(&request)
                && before.intent.as_ref().is_some_and(|intent| intent.to.as_ref() == Some(&grant.to))
            {
                self.see(Sometimes::FailedBack);
            }
        } else if before.intent.is_some() {
            self.see(Sometimes::IntentIgnored);
        }
        // What the grant was decided on may be another wish, so it is the lease that is asked.
        self.watch.owed.extend(before.wish().map(|request| (function, request.clone())));
        self.ground_is_true(grant, &before);
        self.candidate_is_fit(grant, &before);
        self.grant_has_a_cause(grant, &before);
        self.measure_granted(grant);
        self.see(match grant.ground {
            Ground::Release => Sometimes::GrantOnRelease,
            Ground::Silence => Sometimes::GrantOnSilence,
            Ground::Gone => Sometimes::GrantOnGone,
            Ground::Vacancy => Sometimes::GrantOnVacancy,
        });
        if grant.holder.as_ref() == Some(&grant.to) {
            self.see(Sometimes::GrantToReleaser);
        }
        if before.is_paused(grant.at) {
            self.see(Sometimes::GrantDuringPause);
        }
        if self.by_arn.get(&grant.to).is_some_and(|machine| *machine >= self.plan.clocks.len()) {
            self.see(Sometimes::NewMemberHolds);
        }
    }

    /// I3, I9, I14, I15.
    fn ground_is_true(&mut self, grant: &Grant, before: &Lease) {
        if before.state == LeaseState::Retired {
            self.broken("I15", "a retired lease is granted".to_owned());
        }
        let holder = before.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        match (grant.ground, holder) {
            (Ground::Vacancy, None) => {}
            (Ground::Vacancy, Some(_)) => {
                self.broken("I3", "a lease that is held is granted as vacant".to_owned())
            }
            (_, None) => self.broken("I3", "a lease that is vacant is granted on another ground".to_owned()),
            (Ground::Release, Some(holder)) => {
                let released = self.released_in_table(holder);
                if released < before.epoch || self.machines[holder].serves().is_some() {
                    self.broken("I3", format!("n{holder} is deposed on release and has released {released}"));
                }
            }
            (Ground::Gone, Some(holder)) => {
                if !self.machines[holder].gone {
                    self.broken("I3", format!("n{holder} is deposed as gone and is not"));
                }
            }
            (Ground::Silence, Some(holder)) => self.silence_is_true(grant, before, holder),
        }
    }

    fn silence_is_true(&mut self, grant: &Grant, before: &Lease, holder: usize) {
        if before.is_paused(grant.at) {
            self.broken("I14", "silence is granted during a pause".to_owned());
        }
        let claimed = evidence(grant).and_then(|evidence| evidence.claim.as_ref()).map(|(_, claim)| claim.at);
        // Another wish may have taken the place of the word by the time of the commit.
        let is_said = self
            .watch
            .words
            .iter()
            .any(|(epoch, from, until)| *epoch == grant.epoch && *from <= grant.at && grant.at < *until);
        if policy::held(before, claimed.unwrap_or(grant.at), grant.at).is_some() && !is_said {
            let what = format!("silence is granted, and it is left to an operator: {:?}", before.takeover);
            self.broken("I18", what);
        }
        // Held against what was seen here, and not against what the lease remembers.
        let last = self.watch.taken_over_at.filter(|at| at.0 + self.plan.cool_down_ms > grant.at.0);
        if let Some(last) = last.filter(|_| !is_said) {
            let what = format!("silence is granted {} ms after the last", grant.at.0.saturating_sub(last.0));
            self.broken("I18", what);
        }
        self.fence_is_true(grant, before, holder, evidence(grant).and_then(|evidence| evidence.fence));
        self.watch.taken_over_at = Some(grant.at);
        self.brake_is_heeded(before, holder, is_said);
        let durations = self.plan.timing.durations();
        let ghost = &self.watch.ghosts[holder];
        let own = self.plan.other_timing.durations();
        let (fence, pause) =
            (durations.fence_ms.min(own.fence_ms), durations.hidden_pause_ms.min(own.hidden_pause_ms));
        let serves_for = ghost.published_ms.min(1_000_000_000) * MS / 100 * 101 + (fence + pause) * MS;
        let silent_for = self.now - ghost.seq_at;
        if before.mode == Mode::Strict && silent_for < serves_for {
            let (silent_for, serves_for) = (silent_for / MS, serves_for / MS);
            self.broken(
                "I3",
                format!("n{holder} is deposed after {silent_for} ms, and may serve for {serves_for} ms"),
            );
        }
        let strict = self.watch.modes.get(&before.epoch) == Some(&Mode::Strict);
        if strict && self.machines[holder].serves().is_some() {
            self.broken("I3", format!("n{holder} is deposed on silence while it serves"));
        }
        let claimant = evidence(grant).and_then(|evidence| evidence.claim.as_ref());
        let claimant = claimant.and_then(|(claimant, _)| self.by_arn.get(claimant)).copied();
        let Some(claimant) = claimant else { return };
        let seen_from = self.watch.ghosts[holder].seq_at;
        let reads = self.watch.ghosts[claimant].good_reads.iter().filter(|at| **at >= seen_from).count();
        if reads < 3 {
            self.broken("I9", format!("n{claimant} has claimed after {reads} good reads"));
        }
    }

    /// I23. What an invocation has counted is no older than its longest run.
    fn brake_is_heeded(&mut self, before: &Lease, holder: usize, is_said: bool) {
        let Some(alarmed) = &self.plan.alarmed else { return };
        let counted = self.now.saturating_sub(25 * SECOND);
        if is_said || !alarmed.contains(&counted) || !alarmed.contains(&self.now) {
            return;
        }
        let arn = self.machines[holder].arn().clone();
        let Ok(Some(found)) = ready(self.store.heartbeat(&self.cluster, &arn)) else { return };
        let silence = u64::try_from(before.silence_for(&found).as_nanos()).unwrap_or(u64::MAX);
        let silent_for = self.now - self.watch.ghosts[holder].seq_at;
        // The claimant's seconds are a hundredth too long or too short at most.
        if silent_for + silent_for / 50 < silence.saturating_mul(2) {
            let silent_for = silent_for / MS;
            self.broken("I23", format!("n{holder} is deposed after {silent_for} ms, against the brake"));
        }
        self.see(Sometimes::AfterTheBrake);
    }

    /// I17.
    fn candidate_is_fit(&mut self, grant: &Grant, before: &Lease) {
        let Some(candidate) = self.by_arn.get(&grant.to).copied() else { return };
        let found = ready(self.store.heartbeat(&self.cluster, &grant.to)).ok().flatten();
        let Some(found) = found else { return self.broken("I17", format!("n{candidate} has no heartbeat")) };
        if grant.revision != before.revision {
            self.broken(
                "I17",
                "a grant is committed under another configuration than it was decided on".to_owned(),
            );
        }
        let back = grant.ground == Ground::Release && grant.holder.as_ref() == Some(&grant.to);
        if back && self.watch.ghosts[candidate].seq_at < self.watch.ghosts[candidate].released_at {
            self.broken(
                "I17",
                format!("n{candidate} has sworn, has not beaten since, and is granted the lease"),
            );
        }
        if back {
            self.nobody_else_could(grant, candidate);
        } else {
            self.candidate_is_not_excluded(grant, before);
        }
        if found.health != Health::Ok || found.incarnation != grant.to_incarnation {
            self.broken(
                "I17",
                format!("n{candidate} is granted the lease and its health is {:?}", found.health),
            );
        }
        let decided = (grant.at.0.saturating_sub(WALL_START_MS)) * MS;
        let quiet = decided.saturating_sub(self.watch.ghosts[candidate].seq_at);
        // Its own wall clock is believed as a hint, so one that runs ahead makes it look alive for so much longer.
        let ahead = u64::try_from(self.machines[candidate].wall_ms).unwrap_or(0) * MS;
        if quiet > 8 * SECOND + ahead {
            self.broken(
                "I17",
                format!("n{candidate} is granted the lease, last heard of {} ms ago", quiet / MS),
            );
        }
    }

    /// I19.
    fn candidate_is_not_excluded(&mut self, grant: &Grant, before: &Lease) {
        let Some(exclusion) = before.live_exclusion(grant.at) else { return };
        if exclusion.node == grant.to {
            return self.broken("I19", format!("{} is excluded and is granted the lease", grant.to));
        }
        self.see(Sometimes::ExcludedPassedOver);
    }

    /// L9. Somebody who has long been healthy and beats could have been granted the lease instead.
    fn nobody_else_could(&mut self, grant: &Grant, releaser: usize) {
        let decided = grant.at.0.saturating_sub(WALL_START_MS) * MS;
        let long = decided.saturating_sub(6 * SECOND);
        let fits = |m: usize| {
            let (machine, ghost) = (&self.machines[m], &self.watch.ghosts[m]);
            let beats = ghost.seq_at + 2 * SECOND > self.now && ghost.beats_since < long;
            m != releaser && machine.agent.is_some() && beats && ghost.ok_since.is_some_and(|at| at < long)
        };
        let member = |m: usize| self.lease.member(self.machines[m].arn()).is_some();
        let excluded = |m: usize| {
            let lately = WallTime(grant.at.0.saturating_sub(8_000));
            self.watch
                .excluded
                .iter()
                .any(|exclusion| exclusion.node == *self.machines[m].arn() && exclusion.until > lately)
        };
        let other = (0..self.machines.len()).find(|m| fits(*m) && member(*m) && !excluded(*m));
        if let Some(other) = other {
            self.broken("L9", format!("the lease goes back to n{releaser}, and n{other} could have had it"));
        }
    }

    /// L4 and L5.
    fn grant_has_a_cause(&mut self, grant: &Grant, before: &Lease) {
        let holder = before.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        let Some(holder) = holder else { return };
        let m = &self.machines[holder];
        let ghost = &self.watch.ghosts[holder];
        let struck = m.gone
            || !m.power
            || m.has_trouble()
            || m.agent.is_none()
            || ghost.disturbed_at.is_some_and(|at| self.now - at < AFTERMATH);
        let wished = before.intent.as_ref().is_some_and(|intent| !intent.failover)
            || before.member(m.arn()).is_none()
            || (self.watch.last_registered > 0 && self.now - self.watch.last_registered < AFTERMATH);
        // What befell it during a pause may have to wait for the pause's end.
        let unpaused =
            before.paused.is_some() && self.now.saturating_sub(self.pause_ends_at_holder(before)) < AFTERMATH;
        let everybody = [Kind::TableDown, Kind::TableThrottled, Kind::Conflicts];
        if struck
            || wished
            || unpaused
            || self.plan.lost_per_million > 0
            || everybody.iter().any(|kind| self.network.has(*kind))
        {
            return;
        }
        let others = self.machines.iter().any(Self::is_disturbed);
        let id = if others { "L5" } else { "L4" };
        self.broken(
            id,
            format!("n{holder}, which nothing has struck, loses the lease on {:?}", grant.ground),
        );
    }

    fn is_disturbed(machine: &Machine) -> bool {
        machine.has_trouble() || !machine.power
    }
}

fn evidence(grant: &Grant) -> Option<&Evidence> {
    match &grant.event.what {
        Happening::Granted { evidence, .. } => Some(evidence),
        _ => None,
    }
}
