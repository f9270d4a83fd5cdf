//! What stands in the way of a cluster on this node, until it does so no more: for whoever asks for the status.

use std::collections::BTreeMap;

use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::time::WallTime;

use crate::status::Trouble;

/// The longest text of one.
const LONGEST: usize = 400;

/// What a trouble is about. Of each there is one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// Heartbeats are not confirmed.
    Heartbeat,
    /// The lease is not read.
    Lease,
    /// Wakes are not sent.
    Wake,
    /// Nothing would stop the service.
    DeadMan,
    /// No watchdog of the kernel counts behind a service that is guarded.
    Watchdog,
    /// The service could not be started.
    Promote,
    /// The demote hook failed.
    Demote,
    /// Nothing is kept for the next run.
    State,
    /// The metadata service says nothing.
    Metadata,
    /// The nodes' policy is older than the agent.
    Policy,
    /// Virtual addresses that nothing leads to.
    Vip,
    /// An Elastic IP has no place on this node.
    Place,
}

impl About {
    fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Lease => "lease",
            Self::Wake => "wake",
            Self::DeadMan => "dead-man",
            Self::Watchdog => "watchdog",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::State => "state",
            Self::Metadata => "metadata",
            Self::Policy => "policy",
            Self::Vip => "vip",
            Self::Place => "place",
        }
    }

    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Heartbeat | Self::Lease => {
                "see that the instance's role has the cluster's node policy, and that the DynamoDB endpoint of this region can \
                 be reached: `baton doctor`"
            }
            Self::Wake => {
                "nothing is lost, since the wake item goes another way; see that the node policy allows `events:PutEvents` and \
                 that the endpoint can be reached"
            }
            Self::DeadMan => {
                "set `service` in this cluster's configuration, and see that `baton-deadman` lies beside the agent and may run"
            }
            Self::Watchdog => {
                "load one that fits this cluster's timing, as OPERATIONS.md says under `The packet fence and the watchdog`; with \
                 `watchdog = \"automatic\"` the service runs without one, and with `\"off\"` none is missed"
            }
            Self::Promote => "see why the hook failed, in the log and by hand; it is tried again every 5 s",
            Self::Demote => "the service was stopped by force where `service` names it; mend the demote hook",
            Self::State => "see that the runtime directory is there and may be written",
            Self::Metadata => {
                "see that the instance metadata is enabled and that no firewall keeps 169.254.169.254 away"
            }
            Self::Policy => "update the stack of the cluster, whose node policy is older than the agent",
            Self::Place => {
                "attach the interface and give it its private address (`aws ec2 assign-private-ip-addresses`), or correct \
                 `Addresses` in the cluster's stack"
            }
            Self::Vip => "correct `vip` in this node's configuration, or the routes in the cluster's stack",
        }
    }
}

/// All that stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles(BTreeMap<About, (WallTime, String)>);

impl Troubles {
    /// Takes in how something went. What stands keeps the moment at which it began.
    pub(super) fn take<E: ToString>(&mut self, about: About, now: WallTime, outcome: &Result<(), E>) {
        match outcome {
            Ok(()) => drop(self.0.remove(&about)),
            Err(found) => {
                let found = found.to_string().chars().take(LONGEST).collect();
                self.0.entry(about).or_insert((now, String::new())).1 = found;
            }
        }
    }

    /// A write that its condition refused has reached the table, and what that means is the protocol's matter.
    pub(super) fn take_write<F>(
        &mut self,
        about: About,
        now: WallTime,
        outcome: &Result<(), WriteFailure<F>>,
    ) {
        match outcome {
            Err(WriteFailure::Failed(failure)) => self.take(about, now, &Err(failure)),
            Ok(()) | Err(WriteFailure::Refused(_)) => self.take(about, now, &Ok::<(), String>(())),
        }
    }

    /// The same of a read.
    pub(super) fn take_read<T>(&mut self, about: About, now: WallTime, found: &Result<T, Failure>) {
        self.take(about, now, &found.as_ref().map(|_| ()));
    }

    /// All of them, for the status.
    pub(super) fn shown(&self) -> Vec<Trouble> {
        let shown = |(about, (since, found)): (&About, &(WallTime, String))| Trouble {
            about: about.as_str().to_owned(),
            since: *since,
            found: found.clone(),
            remedy: about.remedy().to_owned(),
        };
        self.0.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_stands_from_its_beginning_to_its_end_with_what_was_found_last() {
        let mut troubles = Troubles::default();
        let denied = |text: &str| Err::<(), _>(WriteFailure::<()>::Failed(Failure::Denied(text.to_owned())));
        troubles.take_write(About::Heartbeat, WallTime(5), &denied("one"));
        troubles.take_write(About::Heartbeat, WallTime(6), &denied("another"));
        troubles.take(About::Wake, WallTime(7), &Err("x".repeat(1_000)));
        let shown = troubles.shown();
        let told: Vec<_> = shown.iter().map(|trouble| (trouble.about.as_str(), trouble.since.0)).collect();
        assert_eq!(told, [("heartbeat", 5), ("wake", 7)]);
        assert_eq!((shown[0].found.as_str(), shown[1].found.len()), ("denied: another", LONGEST));
        assert!(shown.iter().all(|trouble| !trouble.remedy.is_empty()));
        troubles.take_write(About::Heartbeat, WallTime(8), &Err(WriteFailure::Refused(())));
        troubles.take_read(About::Lease, WallTime(8), &Ok(()));
        troubles.take(About::Wake, WallTime(9), &Ok::<(), String>(()));
        assert_eq!(troubles.shown(), []);
    }
}
