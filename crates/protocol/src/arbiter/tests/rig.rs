//! A table and an EC2 that answer one invocation.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::*;
use crate::ec2::{AddressSeen, InstanceState, InterfaceSeen, RouteSeen, RouteTarget};
use crate::heartbeat::Claim;
use crate::ids::Seq;
use crate::outcome::{Write, WriteFailure};
use crate::resource::Placement;
use crate::testing::{allocation, arn, association, cluster, heartbeat, incarnation, lease};
use crate::time::WallTime;

/// What an invocation works with in these tests.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) now: Now,
    pub(super) deadline: BootTime,
    pub(super) hint: Hint,
    /// The limit of the brake, and what the table says of how many clusters suspect.
    pub(super) brake: u32,
    pub(super) suspects: Result<u32, Failure>,
    pub(super) lease: Option<Lease>,
    pub(super) heartbeats: BTreeMap<InstanceArn, Heartbeat>,
    /// What EC2 says of the holder's instance.
    pub(super) instance: InstanceState,
    /// Answers to commits, before they succeed.
    pub(super) commits: VecDeque<Result<Committed, Failure>>,
    /// Failures of reads of the lease, before they succeed.
    pub(super) lease_failures: Vec<Failure>,
    /// Who beats between two reads.
    pub(super) beats_between_reads: Vec<InstanceArn>,
    pub(super) already_recorded: bool,
    /// Answers to records, before they are made.
    pub(super) record_answers: VecDeque<Write<Option<Lease>>>,
    pub(super) ec2_is_down: bool,
    /// Every call is throttled; looks are answered.
    pub(super) ec2_throttles: bool,
    /// Route tables may not be looked at.
    pub(super) tables_denied: bool,
    /// What is answered instead of the instance's state.
    pub(super) instance_failure: Option<CloudFailure>,
    /// Who is granted the lease by another invocation, when a commit of this one is lost.
    pub(super) granted_by_another: Option<InstanceArn>,
    /// After how many reads of the lease another invocation grants the next epoch.
    pub(super) grant_after_reads: Option<usize>,
    /// After how many reads of the lease an operator pauses the cluster.
    pub(super) pause_after_reads: Option<(usize, crate::lease::Pause)>,
    /// How long each answer takes.
    pub(super) latency: Duration,
    /// When EC2 was last asked to change anything.
    pub(super) last_call: Option<BootTime>,
    /// `verify_at` of each record.
    pub(super) recorded: Vec<Option<WallTime>>,
    /// What is answered to a stop instead of doing it.
    pub(super) stop_failures: VecDeque<CloudFailure>,
    /// What EC2 says of an instance after it was asked to stop it, look by look, and `stopped` in the end.
    pub(super) stop_states: VecDeque<InstanceState>,
    /// Who beats the moment that it is to be stopped.
    pub(super) beats_at_stop: Option<InstanceArn>,
    pub(super) log: Vec<Action>,
    pub(super) place: Option<(crate::ids::AssociationId, Placement)>,
    pub(super) routed: crate::ids::InterfaceId,
}

impl Rig {
    /// Node 1 holds epoch 1, everything is there, everybody beats.
    pub(super) fn new() -> Self {
        let lease = lease();
        let node = lease.members[0].clone();
        let place = (association(1), node.placements[&allocation(1)].clone());
        Self {
            now: Now { boot: BootTime(1_000_000_000), wall: WallTime(1_000_000) },
            deadline: BootTime(26_000_000_000),
            brake: 0,
            suspects: Ok(1),
            hint: Hint { why: Some(crate::wake::Why::Claim), ..Hint::of_stream(cluster()) },
            lease: Some(lease),
            heartbeats: (1..=3).map(|n| (arn(n), heartbeat(&arn(n), 10))).collect(),
            instance: InstanceState::Other("running".to_owned()),
            commits: VecDeque::new(),
            lease_failures: Vec::new(),
            beats_between_reads: Vec::new(),
            already_recorded: false,
            record_answers: VecDeque::new(),
            ec2_is_down: false,
            ec2_throttles: false,
            tables_denied: false,
            instance_failure: None,
            granted_by_another: None,
            grant_after_reads: None,
            pause_after_reads: None,
            latency: Duration::from_millis(10),
            last_call: None,
            recorded: Vec::new(),
            stop_failures: VecDeque::new(),
            stop_states: VecDeque::new(),
            beats_at_stop: None,
            log: Vec::new(),
            place: Some(place),
            routed: node.interface,
        }
    }

    /// The same, and node 2 claims that node 1 is silent.
    pub(super) fn claimed() -> Self {
        let mut rig = Self::new();
        rig.heartbeats.get_mut(&arn(2)).expect("there").claim = Some(Claim {
            epoch: Epoch(1),
            holder: arn(1),
            incarnation: incarnation(1),
            seq: Seq(10),
            silent_ms: 6_000,
            at: rig.now.wall,
        });
        rig
    }

    pub(super) fn pass(&mut self, length: Duration) {
        self.now.boot = self.now.boot + length;
        self.now.wall = self.now.wall + length;
    }

    /// Runs an invocation to its report.
    pub(super) fn run(&mut self) -> Report {
        let mut invocation = Invocation::new(self.hint.clone(), "test".to_owned(), self.now, self.deadline)
            .with_brake(self.brake);
        for _ in 0..5_000 {
            let actions: Vec<Action> = std::iter::from_fn(|| invocation.poll_action()).collect();
            if let Some(report) = invocation.report() {
                return report;
            }
            if actions.is_empty() {
                let due = invocation.next_deadline().expect("waits for something");
                let wait = due.since(self.now.boot);
                self.pass(wait);
                invocation.handle_timer(self.now);
            }
            self.pass(self.latency);
            for action in actions {
                self.log.push(action.clone());
                self.answer(&mut invocation, action);
            }
        }
        panic!("no end after {:?}", self.names());
    }

    pub(super) fn answer(&mut self, invocation: &mut Invocation, action: Action) {
        let now = self.now;
        match action {
            Action::ReadLease => {
                if let Some((reads, pause)) = self.pause_after_reads.as_mut() {
                    *reads -= 1;
                    if *reads == 0 {
                        self.lease.as_mut().expect("there").paused = Some(pause.clone());
                        self.pause_after_reads = None;
                    }
                }
                let found = self.lease_failures.pop().map_or_else(|| Ok(self.lease.clone()), Err);
                if let Some(reads) = self.grant_after_reads.as_mut() {
                    *reads = reads.saturating_sub(1);
                    if *reads == 0 {
                        self.grant_after_reads = None;
                        self.grant_to(arn(3));
                    }
                }
                invocation.handle_lease(now, found);
            }
            Action::ReadHeartbeats(_) => {
                let found = self.heartbeats.clone();
                for instance in &self.beats_between_reads {
                    let heartbeat = self.heartbeats.get_mut(instance).expect("there");
                    heartbeat.seq = Seq(heartbeat.seq.0 + 1);
                }
                invocation.handle_heartbeats(now, Ok(found));
            }
            Action::CountSuspects => invocation.handle_counted(now, self.suspects.clone()),
            Action::Commit(grant) => {
                let answer = self.commits.pop_front().unwrap_or(Ok(Committed::Granted));
                match (&answer, self.granted_by_another.take()) {
                    (Ok(Committed::Granted), _) => self.grant_to(grant.to.clone()),
                    (_, Some(another)) => self.grant_to(another),
                    (_, None) => {}
                }
                invocation.handle_committed(now, answer);
            }
            Action::Restore(restoration) => invocation.handle_restored(now, self.restore(&restoration)),
            Action::Look(look) => {
                let sight = self.look(&look);
                invocation.handle_sight(now, &look, sight);
            }
            Action::Call(call) => {
                self.last_call = Some(now.boot);
                let effect = self.call(&call);
                invocation.handle_effect(now, &call, effect);
            }
            Action::RecordRotation { allocation, .. } => {
                invocation.handle_rotation_recorded(now, &allocation, true)
            }
            Action::RecordMoved(Moved { epoch, verify_at, .. }) => {
                self.recorded.push(verify_at);
                let mut found = self.lease.clone().expect("there");
                found.moved = epoch;
                let refused = || Err(WriteFailure::Refused(Some(found.clone())));
                let answer = self.record_answers.pop_front();
                let answer = answer.unwrap_or_else(|| if self.already_recorded { refused() } else { Ok(()) });
                invocation.handle_moved_recorded(now, answer);
            }
            Action::EndFence(request) => {
                if let Some(lease) = &mut self.lease {
                    lease.fence = lease.fence.take().filter(|word| word.request != request);
                }
                invocation.handle_told(now);
            }
            Action::Append(_) | Action::Answer { .. } | Action::WakeSuccessor => invocation.handle_told(now),
        }
    }

    fn grant_to(&mut self, holder: InstanceArn) {
        let lease = self.lease.as_mut().expect("there");
        lease.epoch = lease.epoch.next();
        lease.holder = Some(holder);
    }

    fn look(&mut self, look: &Look) -> Result<Sight, CloudFailure> {
        if self.ec2_is_down {
            return Err(CloudFailure::Unknown("down".to_owned()));
        }
        Ok(match look {
            Look::Addresses(_) => {
                let association = self.place.clone().map(|(id, place)| (id, Some(place)));
                let public_ip = std::net::Ipv4Addr::new(198, 51, 100, 1);
                Sight::Addresses([(allocation(1), AddressSeen { public_ip, association })].into())
            }
            Look::Seats(_) => Sight::Seats(Vec::new()),
            Look::Tables(_) if self.tables_denied => return Err(CloudFailure::Denied("no".to_owned())),
            Look::Tables(tables) => {
                let row = RouteSeen {
                    destination: crate::testing::route(1).destination,
                    target: RouteTarget::Interface(self.routed.clone()),
                    blackhole: false,
                };
                Sight::Tables(tables.iter().map(|table| (table.clone(), vec![row.clone()])).collect())
            }
            Look::Subnets(_) => panic!("the rig's cluster has no subnets"),
            Look::Interfaces(wanted) => {
                let seen = InterfaceSeen { source_dest_check: false, instance: None };
                Sight::Interfaces(wanted.iter().map(|id| (id.clone(), seen.clone())).collect())
            }
            Look::Instance(_) => match &self.instance_failure {
                Some(failure) => return Err(failure.clone()),
                None => {
                    let seen = self.instance.clone();
                    if let Some(next) = self.stop_states.pop_front() {
                        self.instance = next;
                    }
                    Sight::Instance(seen)
                }
            },
        })
    }

    fn call(&mut self, call: &Call) -> Result<Effect, CloudFailure> {
        if let (Call::Stop { .. }, Some(failure)) = (call, self.stop_failures.pop_front()) {
            return Err(failure);
        }
        if self.ec2_throttles {
            return Err(CloudFailure::Throttled);
        }
        match call {
            Call::Disassociate { association, .. } => match &self.place {
                Some((current, _)) if current == association => {
                    self.place = None;
                    Ok(Effect::Done)
                }
                _ => Err(CloudFailure::AssociationGone),
            },
            Call::Associate { .. } if self.place.is_some() => Err(CloudFailure::AlreadyAssociated),
            Call::Associate { placement, .. } => {
                self.place = Some((association(2), placement.clone()));
                Ok(Effect::Associated(association(2)))
            }
            Call::ReplaceRoute { interface, .. } | Call::CreateRoute { interface, .. } => {
                self.routed = interface.clone();
                Ok(Effect::Done)
            }
            Call::ReplaceTableAssociation { .. } => panic!("the rig's cluster has no subnets"),
            Call::DisableSourceDestCheck { .. } => Ok(Effect::Done),
            Call::Stop { .. } => {
                if let Some(heartbeat) =
                    self.beats_at_stop.take().and_then(|who| self.heartbeats.get_mut(&who))
                {
                    heartbeat.seq = Seq(heartbeat.seq.0 + 1);
                }
                let began = self.instance == InstanceState::Other("running".to_owned());
                let stopped = InstanceState::Other("stopped".to_owned());
                self.instance = self.stop_states.pop_front().unwrap_or(stopped);
                Ok(Effect::Stopping { began })
            }
        }
    }

    /// Everything that was asked for, by name.
    fn restore(&mut self, restoration: &crate::restored::Restoration) -> Result<Committed, Failure> {
        let answer = self.commits.pop_front().unwrap_or(Ok(Committed::Granted));
        if let (Ok(Committed::Granted), Some(lease)) = (&answer, &mut self.lease) {
            *lease = restoration.of_lease(lease);
        }
        answer
    }

    pub(super) fn names(&self) -> Vec<String> {
        let name = |action: &Action| {
            let text = format!("{action:?}");
            text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
        };
        self.log.iter().map(name).collect()
    }
}
