//! The second half of an invocation: carry the move forward, record it, and end with nothing under way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Invocation, Outcome, Phase, Report};
use crate::grant::Grant;
use crate::heartbeat::Heartbeat;
use crate::history::{Ground, Happening};
use crate::ids::{InstanceArn, RequestId};
use crate::lease::{Intent, Lease};
use crate::moved::Moved;
use crate::mover::Progress;
use crate::outcome::{Failure, Write, WriteFailure};
use crate::policy::Held;
use crate::resource::Observed;
use crate::time::{Now, WallTime};
use crate::wake::Why;

/// After this long no call of an earlier invocation can still land: a function runs 25 s at most, and the rest is for the
/// call it may have left behind. One more look is taken then.
pub(super) const LATE_CALLS: Duration = Duration::from_secs(60);

/// Who writes what every invocation finds: none of them, so that all of them write the same row.
const ANY_INVOCATION: &str = "arbiter";

/// How often is written down that a resource cannot be moved: each hour.
const STUCK_EVERY_MS: u64 = 3_600_000;

impl Invocation {
    /// The move that follows a grant starts to look at EC2 while the grant is being committed. Looks change nothing, so a
    /// grant that is lost has cost nothing.
    pub(super) fn moved_to_be(&self, lease: &Lease, grant: &Grant, now: Now) -> super::Mover {
        // Where the lease goes back to the node that had it, all may be in place, and to end what is there would be an
        // interruption for nothing.
        let back = lease.holder.as_ref() == Some(&grant.to) && !mutant!(EagerBack);
        let eager = lease.moved == lease.epoch && !back;
        super::Mover::new(&granted_lease(lease, grant), eager, now.boot)
    }

    pub(super) fn drive_move(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Moving) {
            // Looks that answer while the commit is under way are kept by the move; nothing else happens yet.
            self.forward_move(now);
            return self.settle(now);
        }
        self.forward_move(now);
        let Some(progress) = self.mover.as_ref().map(super::Mover::progress) else { return };
        match progress {
            Progress::Moving if now.boot >= self.hand_on_at() => {
                // One chain for each grant. Whoever else finds an unfinished move leaves it to that chain and to the sweep,
                // or an outage of EC2 would gather ever more of them.
                if self.granted.is_some() || self.hint.why == Some(Why::Continue) {
                    self.wake_successor();
                }
                self.finish(now, Outcome::HandedOn);
            }
            Progress::Moving => {}
            Progress::Complete(observed) => self.complete(now, observed),
            Progress::Stuck(resources) => self.stuck(now, resources),
            Progress::Superseded => {
                let lost = vec!["the lease is at another epoch".to_owned()];
                self.finish(now, Outcome::Superseded(lost));
            }
        }
    }

    fn complete(&mut self, now: Now, observed: Observed) {
        self.tell_drifts(now);
        // What was seen is told with what was found and does not wait for the record: were the answers to that lost, whoever
        // comes next finds all in place and has nothing to tell.
        self.tell_repaired(now);
        let Some(lease) = &self.lease else { return };
        let (epoch, revision, before, due) = (lease.epoch, lease.revision, lease.moved, lease.verify_at);
        let first = before < epoch;
        // The second look, if it found everything in place, is the last; if it had to mend something, another follows.
        let quiet = !first && !self.called && lease.observed == observed;
        if quiet && !self.second_look {
            // Looked at for a hint and found as it was recorded; a second look that is due later is still to come.
            return self.finish(now, Outcome::InPlace);
        }
        let verify_at = (!quiet && !mutant!(SecondLookSkipped)).then_some(now.wall + LATE_CALLS);
        self.tries = 0;
        self.record(Moved { epoch, revision, before, due, observed, verify_at });
    }

    fn record(&mut self, record: Moved) {
        self.phase = Phase::Recording { record: record.clone() };
        self.act(Action::RecordMoved(record));
    }

    fn tell_moved(&mut self, now: Now) {
        let granted = self.lease.as_ref().and_then(|lease| lease.last_grant).unwrap_or(self.started.wall);
        let took_ms = u64::try_from(now.wall.since(granted).as_millis()).unwrap_or(u64::MAX);
        self.tell(now, Happening::Moved { took_ms });
    }

    /// A claim that is sent again and again has one row.
    pub(super) fn tell_held(&mut self, held: Held) {
        self.tell_once(
            held.claimed,
            Happening::Held { cooling: held.cooling, braked: held.braked, until: held.until },
        );
    }

    /// What is asked for is told once, however many invocations see it stand; so is its end without effect, which answers the
    /// request as well. The reader of a lease knows neither who has told nor whether. A holder that has stopped or is about to
    /// release obeys the wish, however long that takes it, and its end was not without effect.
    pub(super) fn tell_intent(&mut self, now: Now, heartbeats: &BTreeMap<InstanceArn, Heartbeat>) {
        let Some(lease) = &self.lease else { return };
        if let Some((intent, asked)) = lease.live_intent(now.wall).and_then(|live| Some((live, live.asked?)))
        {
            let Intent { to, reason, until, request, failover, .. } = intent.clone();
            return self.tell_once(asked, Happening::Asked { to, reason, failover, until, request });
        }
        let holder = lease.holder.as_ref().and_then(|holder| heartbeats.get(holder));
        let serves =
            |holder: &Heartbeat| holder.serving_epoch == Some(lease.epoch) && holder.released < lease.epoch;
        let lapsed = lease.lapsed_intent(now.wall).filter(|_| holder.is_some_and(serves));
        let Some(Intent { reason, until, request, .. }) = lapsed.cloned() else { return };
        if let Some(request) = request.clone() {
            let answer = "the wish ended without effect: the lease has not gone to another node".to_owned();
            self.act(Action::Answer { request, answer });
        }
        self.tell_once(until, Happening::Lapsed { reason, request });
    }

    /// The wish that the grant fulfils is answered, and so is one that had ended, or was about another epoch, of which nobody may
    /// have told: the grant takes it away. The first answer stands.
    pub(super) fn answer_granted(&mut self, lease: &Lease, grant: &Grant) {
        let epoch = grant.epoch.next();
        let asked = lease.wish().cloned();
        let (request, answer) = match (obeyed(lease, grant), asked) {
            (Some(request), _) => {
                (request, format!("granted to {} at epoch {epoch}", lease.name_of(&grant.to)))
            }
            (None, Some(request)) => {
                (request, format!("the wish ended without effect before the grant of epoch {epoch}"))
            }
            (None, None) => return,
        };
        self.act(Action::Answer { request, answer });
    }

    /// Under the same key whichever invocation writes it.
    pub(super) fn tell_once(&mut self, at: WallTime, what: Happening) {
        self.write_row(at, ANY_INVOCATION.to_owned(), what);
    }

    fn tell_repaired(&mut self, now: Now) {
        let stays = |resource: &String| self.stuck.iter().any(|(stuck, _)| stuck == resource);
        let mended = self.astray.iter().any(|resource| !stays(resource));
        if let Some(since) = self.astray_since.filter(|_| mended) {
            let took_ms = u64::try_from(now.boot.since(since).as_millis()).unwrap_or(u64::MAX);
            self.tell(now, Happening::Repaired { took_ms });
        }
    }

    /// Takes in whether the completed move was recorded.
    pub fn handle_moved_recorded(&mut self, now: Now, outcome: Write<Option<Lease>>) {
        self.answered();
        let Phase::Recording { record } = &self.phase else { return self.settle(now) };
        let record = record.clone();
        let first = record.before < record.epoch;
        let ended = match outcome {
            Ok(()) => {
                if first {
                    self.tell_moved(now);
                }
                Outcome::Moved
            }
            // Another look was recorded meanwhile; what this one has mended needs one after it all the same.
            Err(WriteFailure::Refused(Some(found)))
                if is_recorded(&record, &found)
                    && !first
                    && record.verify_at > found.verify_at
                    && self.tries < super::READ_TRIES =>
            {
                self.tries += 1;
                return self.record(Moved { due: found.verify_at, ..record });
            }
            // Another invocation has completed the same move, or an earlier attempt of this one has.
            Err(WriteFailure::Refused(Some(found))) if is_recorded(&record, &found) => {
                if first && self.tries > 0 {
                    self.tell_moved(now);
                }
                Outcome::Moved
            }
            Err(WriteFailure::Refused(_)) => Outcome::Superseded(vec![
                "the lease is at another epoch or has another configuration".to_owned(),
            ]),
            Err(WriteFailure::Failed(
                failure @ (Failure::Unknown(_) | Failure::Conflict | Failure::Throttled),
            )) => {
                self.tries += 1;
                if self.tries < super::READ_TRIES {
                    // The same record again; writing it twice writes the same.
                    return self.record(record);
                }
                Outcome::Failed(failure.to_string())
            }
            Err(WriteFailure::Failed(failure)) => Outcome::Failed(failure.to_string()),
        };
        self.finish(now, ended);
    }

    /// What could be moved is recorded all the same, where the move is over but for what is left to a gateway, and where
    /// something was mended, which is looked at once more.
    fn stuck(&mut self, now: Now, resources: Vec<(String, String)>) {
        self.stuck = resources;
        self.tell_drifts(now);
        for (resource, why) in self.stuck.clone() {
            self.tell_stuck(now, now.wall, Happening::Stuck { resource, why });
        }
        let (Some(mover), Some(lease)) = (&self.mover, &self.lease) else { return };
        let known = if mover.is_over() {
            Some(mover.observed())
        } else {
            // A call whose answer was lost may have done it as well.
            let mended = mover.mended(&lease.observed);
            (self.mends() && (self.changed || mended != lease.observed)).then_some(mended)
        };
        match known {
            Some(observed) => self.complete(now, observed),
            None => self.finish(now, Outcome::Moved),
        }
    }

    /// Whoever was told of something writes down what it met, and each attempt that follows finds the same: one row for
    /// each hour that it lasts, whichever of them writes it.
    pub(super) fn tell_stuck(&mut self, now: Now, at: WallTime, what: Happening) {
        let again = matches!(
            self.hint.why,
            Some(Why::Sweep | Why::Verify | Why::Probe | Why::Failback | Why::Continue)
        );
        if !again || self.granted.is_some() {
            return self.tell_at(at, what);
        }
        let hour = WallTime(now.wall.0 - now.wall.0 % STUCK_EVERY_MS);
        let granted = self.lease.as_ref().and_then(|lease| lease.last_grant);
        self.tell_once(hour.max(granted.unwrap_or(hour)), what);
    }

    /// What was found astray, as of then. That which cannot be mended is found again and again.
    fn tell_drifts(&mut self, now: Now) {
        for (resource, (found, at)) in std::mem::take(&mut self.drifts) {
            let stays = self.stuck.iter().any(|(stuck, _)| *stuck == resource);
            let what = Happening::Drift { resource, found };
            if stays { self.tell_stuck(now, at, what) } else { self.tell_at(at, what) }
        }
    }

    /// One at most, however many things are left for it: each of them would wake two the next time.
    pub(super) fn wake_successor(&mut self) {
        if !std::mem::replace(&mut self.woken, true) {
            self.act(Action::WakeSuccessor);
        }
    }

    /// Ends once everything under way was answered.
    pub(super) fn finish(&mut self, now: Now, outcome: Outcome) {
        self.tell_drifts(now);
        self.leave_word(now, &outcome);
        // That the rest was moved, and recorded, makes what is stuck no less stuck.
        let over = matches!(outcome, Outcome::Moved | Outcome::InPlace) && !self.stuck.is_empty();
        self.outcome = Some(if over { Outcome::Stuck(std::mem::take(&mut self.stuck)) } else { outcome });
        // Answers that are still awaited are waited for; nothing new follows from them.
        self.mover = None;
        self.phase = Phase::Draining { then_restart: false };
        self.settle(now);
    }

    /// Starts over once nothing of the lost attempt is under way any more.
    pub(super) fn settle(&mut self, now: Now) {
        if matches!(self.phase, Phase::Draining { then_restart: true }) && self.outstanding == 0 {
            self.read_lease(now);
        }
    }

    /// The report, once all is done and nothing is under way.
    pub fn report(&self) -> Option<Report> {
        let outcome = self.outcome.clone().filter(|_| self.outstanding == 0 && self.actions.is_empty())?;
        Some(Report { granted: self.granted, outcome, unfenced: self.fences.failed().cloned() })
    }
}

/// Whether the lease holds what was to be recorded.
fn is_recorded(record: &Moved, found: &Lease) -> bool {
    found.epoch == record.epoch && found.revision == record.revision && found.moved == record.epoch
}

/// The request whose wish the grant fulfils. A holder may have begun to obey in time and have released after its end.
fn obeyed(lease: &Lease, grant: &Grant) -> Option<RequestId> {
    let late =
        lease.lapsed_intent(grant.at).filter(|intent| grant.ground == Ground::Release && !intent.failover);
    lease.live_intent(grant.at).or(late)?.request.clone()
}

/// The lease as it stands once the grant is committed.
pub(super) fn granted_lease(lease: &Lease, grant: &Grant) -> Lease {
    let mut next = lease.clone();
    next.epoch = grant.epoch.next();
    next.holder = Some(grant.to.clone());
    if let Some(recent) = &grant.recent {
        next.recent_grants.clone_from(recent);
    }
    next.rotated.clear();
    next.intent = None;
    next.verify_at = None;
    next
}
