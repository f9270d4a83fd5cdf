//! Calls to the table, the bus and the metadata service, each within its time.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_client::Bus;
use baton_protocol::heartbeat::{Beat, Heartbeat};
use baton_protocol::ids::{Incarnation, InstanceArn};
use baton_protocol::lease::{Lease, SCHEMA};
use baton_protocol::node::{Attached, Command};
use baton_protocol::outcome::{Failure, Read, Write, WriteFailure};
use baton_protocol::time::BootTime;
use baton_protocol::wake::{SOURCE_AGENT, Wake, Why};
use baton_store::{Heartbeats, Start, Store};
use tokio::time::timeout;

use super::{DriverError, Parts};
use crate::clock;

/// Sends wakes.
pub trait Wakes: Send + Sync {
    /// Sends one wake. A failure is told and costs time only: the wake item goes another way, and it is repeated.
    fn wake(&self, wake: &Wake) -> impl Future<Output = Result<(), String>> + Send;
}

impl Wakes for Bus {
    async fn wake(&self, wake: &Wake) -> Result<(), String> {
        Self::wake(self, SOURCE_AGENT, wake).await.map_err(|failure| failure.to_string())
    }
}

/// What came of a call.
#[expect(clippy::large_enum_variant, reason = "a few at a time, each taken in at once")]
pub(super) enum Answer {
    Own(Read<Option<Heartbeat>>),
    Announced(Write<Option<Heartbeat>>),
    Beat(Write<Option<Heartbeat>>),
    Lease(Read<Option<Lease>>, Neighbours),
    Heartbeats(Read<Heartbeats>),
    Released(Write<Option<Heartbeat>>),
    Seen(Vec<Attached>),
    Leaving(Option<String>),
    /// Whether a wake was sent, and if not, why.
    Woken(Result<(), String>),
    /// Why the metadata service has not said which addresses it shows.
    Unseen(String),
    Told,
}

/// What was read along with a lease.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    asked: Vec<InstanceArn>,
    found: Option<Heartbeats>,
}

impl Neighbours {
    /// Whether these and no others were asked for, and have been read.
    pub(super) fn have(&self, asked: &[InstanceArn]) -> bool {
        self.found.is_some() && self.asked == asked
    }

    /// What was found. It counts once.
    pub(super) fn take(&mut self) -> Heartbeats {
        std::mem::take(self).found.unwrap_or_default()
    }
}

/// Makes the calls of one run.
pub(super) struct Caller<'a, S, W> {
    parts: &'a Parts<S, W>,
    incarnation: Incarnation,
    /// What an older stack does not let this node write, in heartbeats; each attempt costs a second write.
    denied: Mutex<LeftOut>,
    /// The neighbours, in reads of the lease: none of them must cost this node its lease.
    alone: Mutex<LeftOut>,
}

/// For how long is left out what stood in the way, before it is tried again: the stack may be updated meanwhile.
const LEFT_OUT_FOR: Duration = Duration::from_secs(60);

/// Until when something is left out of a call that did not succeed with it.
#[derive(Debug, Default)]
struct LeftOut(Option<BootTime>);

impl LeftOut {
    fn note(&mut self, now: BootTime) {
        self.0 = Some(now + LEFT_OUT_FOR);
    }

    fn holds(&self, now: BootTime) -> bool {
        self.0.is_some_and(|until| now < until)
    }
}

/// A name for a run of the agent that no other run has.
pub(super) fn new_incarnation() -> Result<Incarnation, DriverError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Incarnation::new(text).expect("32 hexadecimal digits are an incarnation"))
}

impl<'a, S: Store, W: Wakes> Caller<'a, S, W> {
    pub(super) fn new(parts: &'a Parts<S, W>, incarnation: Incarnation) -> Self {
        Self { parts, incarnation, denied: Mutex::default(), alone: Mutex::default() }
    }

    /// Carries out a command that is a call, and takes it for unknown when its time is over. Along with the lease, the heartbeats of
    /// these neighbours are read, if that goes well.
    pub(super) async fn perform(
        &self,
        command: Command,
        neighbours: Vec<InstanceArn>,
        attempt: Duration,
    ) -> Answer {
        let Parts { store, instance, .. } = self.parts;
        let cluster = &self.parts.cluster.name;
        match command {
            Command::ReadOwn => {
                Answer::Own(told("read own", read(attempt, store.heartbeat(cluster, instance)).await))
            }
            Command::Announce { expected, validity_ms } => {
                let start = Start {
                    expected,
                    incarnation: self.incarnation.clone(),
                    boot_id: self.parts.boot_id.clone(),
                    agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                    validity_ms,
                    at: clock::wall(),
                };
                Answer::Announced(write("announce", attempt, store.start(cluster, instance, &start)).await)
            }
            Command::Beat(beat) => {
                if let Some(claim) = &beat.claim {
                    tracing::info!(
                        epoch = claim.epoch.0,
                        holder = %claim.holder,
                        seq = claim.seq.0,
                        silent_ms = claim.silent_ms,
                        "claim"
                    );
                }
                Answer::Beat(self.beat(beat, attempt).await)
            }
            Command::ReadLease => self.read_lease(neighbours, attempt).await,
            Command::ReadHeartbeats(instances) => {
                let found = read(attempt, store.heartbeats(cluster, &instances)).await;
                Answer::Heartbeats(told("read heartbeats", found))
            }
            Command::Release { epoch } => {
                let released = store.release(cluster, instance, &self.incarnation, epoch);
                let outcome = write("release", attempt, released).await;
                tracing::info!(epoch = epoch.0, confirmed = outcome.is_ok(), "released");
                Answer::Released(outcome)
            }
            Command::LeaveWake(why) => {
                let left = timeout(attempt, store.leave_wake(cluster, instance, why, clock::wall())).await;
                if !matches!(left, Ok(Ok(()))) {
                    tracing::warn!(?why, reason = ?left, "no wake item was left; it is repeated");
                }
                Answer::Told
            }
            Command::Wake(why) => self.wake(why, attempt).await,
            // Everything else is done by the driver itself and never comes here.
            Command::Arm { .. }
            | Command::Disarm
            | Command::Promote { .. }
            | Command::Demote { .. }
            | Command::Persist(_)
            | Command::Exit(_) => Answer::Told,
        }
    }

    /// Reads the lease, and along with it these neighbours' heartbeats. After a read of all of them has failed the lease is read
    /// alone for a while: whatever stands in the way of the others, a permission, an item that is slow, costs no node its lease.
    async fn read_lease(&self, neighbours: Vec<InstanceArn>, attempt: Duration) -> Answer {
        let Parts { store, cluster, .. } = self.parts;
        let asked = if locked(&self.alone).holds(clock::boot()) { Vec::new() } else { neighbours };
        let found = read(attempt, store.lease_along(&cluster.name, &asked)).await;
        match told("read lease", found) {
            Ok((lease, found)) => Answer::Lease(Ok(lease), Neighbours { asked, found }),
            Err(failure) => {
                // A table that is throttled is not asked for more.
                if !asked.is_empty() && failure != Failure::Throttled {
                    locked(&self.alone).note(clock::boot());
                }
                Answer::Lease(Err(failure), Neighbours::default())
            }
        }
    }

    async fn beat(&self, mut beat: Box<Beat>, attempt: Duration) -> Write<Option<Heartbeat>> {
        let Parts { store, instance, .. } = self.parts;
        let cluster = &self.parts.cluster.name;
        if locked(&self.denied).holds(clock::boot()) {
            make_bare(&mut beat);
        }
        let outcome = write("beat", attempt, store.beat(cluster, instance, &beat)).await;
        if !is_to_be_sent_bare(&mut beat, &outcome) {
            return outcome;
        }
        // It earns what the first would have: that is counted from before both.
        let outcome = write("beat", attempt, store.beat(cluster, instance, &beat)).await;
        if outcome.is_ok() {
            locked(&self.denied).note(clock::boot());
            tracing::warn!(
                "this node may not write since when it is healthy or what its checks have found: update the stack of its cluster, whose node policy is \
                 older than the agent"
            );
        }
        outcome
    }

    /// Whether heartbeats leave out what an older stack does not let this node write.
    pub(super) fn is_denied(&self) -> bool {
        locked(&self.denied).holds(clock::boot())
    }

    async fn wake(&self, why: Why, attempt: Duration) -> Answer {
        let wake = Wake { cluster: self.parts.cluster.name.clone(), why, schema: SCHEMA };
        let reason = match timeout(attempt, self.parts.wakes.wake(&wake)).await {
            Ok(Ok(())) => return Answer::Woken(Ok(())),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(?why, reason, "no wake was sent; the wake item goes another way");
        Answer::Woken(Err(reason))
    }

    /// Asks the metadata service which addresses it shows, and where those are that have a place on this node. What it does not
    /// tell is not known, and not "none".
    pub(super) async fn look_at_metadata(&self, placed: BTreeSet<Ipv4Addr>) -> Answer {
        match self.parts.metadata.attached(&placed).await {
            Ok(seen) => Answer::Seen(seen),
            Err(error) => {
                tracing::debug!(reason = %error, "the metadata service did not say which addresses are here");
                Answer::Unseen(error.to_string())
            }
        }
    }

    /// Asks the metadata service whether this instance is about to be taken. What it does not tell is not known: what was known
    /// before stands.
    pub(super) async fn look_for_notices(&self) -> Answer {
        match self.parts.metadata.leaving(clock::booted(), clock::wall()).await {
            Ok(why) => Answer::Leaving(why),
            Err(error) => {
                tracing::debug!(reason = %error, "the metadata service did not say whether this instance stays");
                Answer::Told
            }
        }
    }
}

fn locked(left_out: &Mutex<LeftOut>) -> MutexGuard<'_, LeftOut> {
    left_out.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a heartbeat was denied that said what an older stack does not let a node write, which it says no more: a remark must
/// not cost the lease.
fn is_to_be_sent_bare(beat: &mut Beat, outcome: &Write<Option<Heartbeat>>) -> bool {
    let denied = matches!(outcome, Err(WriteFailure::Failed(Failure::Denied(_))));
    denied && make_bare(beat)
}

/// Takes out what no earlier agent wrote; whether there was any of it.
fn make_bare(beat: &mut Beat) -> bool {
    let (findings, since) = (beat.findings.take(), beat.healthy_since.take());
    findings.is_some() || since.is_some()
}

async fn read<T>(attempt: Duration, call: impl Future<Output = Read<T>>) -> Read<T> {
    timeout(attempt, call).await.unwrap_or_else(|_| Err(out_of_time(attempt)))
}

async fn write<F: std::fmt::Debug>(
    what: &str,
    attempt: Duration,
    call: impl Future<Output = Write<F>>,
) -> Write<F> {
    let outcome = timeout(attempt, call).await;
    let outcome = outcome.unwrap_or_else(|_| Err(WriteFailure::Failed(out_of_time(attempt))));
    if let Err(failure) = &outcome {
        tracing::warn!(call = what, reason = ?failure, "not confirmed");
    }
    outcome
}

fn told<T>(what: &str, found: Read<T>) -> Read<T> {
    if let Err(failure) = &found {
        tracing::warn!(call = what, reason = %failure, "no answer");
    }
    found
}

fn out_of_time(attempt: Duration) -> Failure {
    Failure::Unknown(format!("no answer within {} ms", attempt.as_millis()))
}

#[cfg(test)]
mod tests {
    use baton_protocol::findings::Findings;
    use baton_protocol::heartbeat::Health;
    use baton_protocol::ids::Seq;
    use baton_protocol::time::WallTime;

    use super::*;

    fn beat(findings: Option<Findings>) -> Beat {
        Beat {
            incarnation: Incarnation::new("run").expect("valid"),
            seq: Seq(7),
            health: Health::Ok,
            claim: None,
            serving_epoch: None,
            healthy_since: None,
            serving_since: None,
            ahead: None,
            findings,
            validity_ms: 4_000,
            seen: Vec::new(),
            beat_at: WallTime(1),
        }
    }

    #[test]
    fn what_an_older_stack_denies_costs_no_heartbeat() {
        let denied = Err(WriteFailure::Failed(Failure::Denied("findings".to_owned())));
        let since = Some(WallTime(1));
        for (findings, healthy_since) in
            [(Some(Findings::default()), since), (None, since), (Some(Findings::default()), None)]
        {
            let mut said = Beat { healthy_since, ..beat(findings) };
            assert!(is_to_be_sent_bare(&mut said, &denied));
            assert_eq!(said, beat(None), "nothing else is left out");
            assert!(!is_to_be_sent_bare(&mut said, &denied), "not for ever");
        }
        let mut said = beat(Some(Findings::default()));
        let late = WriteFailure::Failed(Failure::Unknown("late".to_owned()));
        let throttled = WriteFailure::Failed(Failure::Throttled);
        for other in [Ok(()), Err(late), Err(throttled), Err(WriteFailure::Refused(None))] {
            assert!(!is_to_be_sent_bare(&mut said, &other), "{other:?}");
        }
        assert!(said.findings.is_some());
    }

    #[test]
    fn what_stood_in_the_way_is_left_out_for_a_minute_and_then_tried_again() {
        let (mut left_out, now) = (LeftOut::default(), BootTime(5));
        assert!(!left_out.holds(now));
        left_out.note(now);
        let last = BootTime((now + LEFT_OUT_FOR).0 - 1);
        assert!(left_out.holds(now) && left_out.holds(last) && !left_out.holds(now + LEFT_OUT_FOR));
    }
}
