//! Fencing by EC2, where a cluster asks for it: a silent holder is stopped before it is taken over from.
//!
//! Silence says that a node cannot be heard. A strict one has stopped its service by then, by its own clock and its own
//! dead-man; an available one serves on. Who does not want to rest on that has the instance stopped first, and the grant waits
//! until EC2 has been seen to have done so. That adds a condition and takes none away (ADR 0026): the claim must be as long
//! as ever and still be current after the stop, and `stopped` alone is no ground, since whoever stops an instance can start it.
//!
//! An operator may have any member stopped by their own word, whatever the cluster asks for.

use serde::{Deserialize, Serialize};

use crate::ec2::{CloudFailure, InstanceState};
use crate::grant::HolderCheck;
use crate::history::Ground;
use crate::ids::{Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId, Seq};
use crate::lease::Lease;
use crate::time::WallTime;

/// What is done about a silent holder before it is taken over from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fencing {
    /// Nothing: its silence is enough.
    #[default]
    None,
    /// EC2 stops its instance, and is seen to have done so.
    Stop,
}

impl Fencing {
    /// Whether it is the default, which is not written.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// An operator's word that one node be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The node.
    pub node: InstanceArn,
    /// Of this registration. In any other it has no effect.
    pub uid: RegistrationUid,
    /// The epoch at which it was given. Later it does not reach whoever holds the lease by then.
    pub epoch: Epoch,
    /// When it ends by itself, by the clock of whoever asks.
    pub until: WallTime,
    /// Who asked.
    pub by: String,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The operator's request behind it.
    pub request: RequestId,
}

/// The silence that a stop has to follow: of this holder, at this epoch, with nothing heard since this heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The holder.
    pub holder: InstanceArn,
    /// The epoch.
    pub epoch: Epoch,
    /// Its incarnation as read.
    pub incarnation: Incarnation,
    /// Its number as read.
    pub seq: Seq,
}

/// A stop that this invocation has asked for and seen done, after it had read the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The silence it followed.
    pub of: Silent,
    /// From the call until it was seen, in milliseconds.
    pub took_ms: u64,
}

/// What a grant on silence rests on besides the claim, where the cluster asks for a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fenced {
    /// EC2 was asked to stop the holder's instance after the claim, and was seen to have done so.
    Stopped {
        /// From the call until it was seen, in milliseconds.
        took_ms: u64,
    },
    /// An operator's word stood in its place: `baton failover` says that the holder is dead.
    Lifted {},
}

/// Whether a grant may go ahead, and what it rests on; or what has to be stopped first.
pub(crate) fn before_grant(
    lease: &Lease,
    ground: Ground,
    check: &HolderCheck,
    stopped: Option<&Stopped>,
    now: WallTime,
) -> Result<Option<Fenced>, Silent> {
    let asks = lease.fencing == Fencing::Stop && ground == Ground::Silence;
    if !asks || mutant!(FenceSkipped) {
        return Ok(None);
    }
    if lease.live_failover(now).is_some() {
        return Ok(Some(Fenced::Lifted {}));
    }
    let (Some(holder), HolderCheck::Unchanged { incarnation, seq }) = (&lease.holder, check) else {
        return Ok(None);
    };
    let silent =
        Silent { holder: holder.clone(), epoch: lease.epoch, incarnation: incarnation.clone(), seq: *seq };
    match stopped {
        Some(stopped) if stopped.of == silent => Ok(Some(Fenced::Stopped { took_ms: stopped.took_ms })),
        _ => Err(silent),
    }
}

/// Whether EC2 says that nothing runs there. It says so of an instance that is being stopped only once it is done.
pub(crate) fn is_down(state: &InstanceState) -> bool {
    match state {
        InstanceState::Terminated => true,
        InstanceState::Other(name) => name == "stopped" || (name == "stopping" && mutant!(StoppingIsStopped)),
        InstanceState::NotFound => false,
    }
}

/// The state as EC2 names it.
pub(crate) fn state_name(state: &InstanceState) -> &str {
    match state {
        InstanceState::Terminated => "terminated",
        InstanceState::Other(name) => name,
        InstanceState::NotFound => "not found",
    }
}

/// What to do about a stop that EC2 did not take.
pub(crate) fn remedy(failure: &CloudFailure) -> &'static str {
    match failure {
        CloudFailure::Denied(_) => {
            "set `AllowFencing` of the control plane to `true`, and tag the instance with `baton:cluster`"
        }
        CloudFailure::Throttled | CloudFailure::Unknown(_) => "it is tried again within a minute",
        _ => "stop the instance by hand, and see in EC2's console why it cannot be stopped",
    }
}

impl Lease {
    /// An operator's word that a node be stopped, if it is about this registration, has not ended, and does not reach a node
    /// that came to hold the lease only after it was given.
    pub fn live_fence(&self, now: WallTime) -> Option<&Word> {
        self.fence.as_ref().filter(|word| {
            let came_later = word.epoch != self.epoch && self.holder.as_ref() == Some(&word.node);
            word.uid == self.uid && now < word.until && !came_later
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Intent;
    use crate::testing::{arn, fence, incarnation, lease};

    const NOW: WallTime = WallTime(1_000_000);

    fn unchanged(seq: u64) -> HolderCheck {
        HolderCheck::Unchanged { incarnation: incarnation(1), seq: Seq(seq) }
    }

    fn fencing() -> Lease {
        Lease { fencing: Fencing::Stop, ..lease() }
    }

    fn silent() -> Silent {
        Silent { holder: arn(1), epoch: fencing().epoch, incarnation: incarnation(1), seq: Seq(7) }
    }

    fn asked(lease: &Lease, stopped: Option<&Stopped>) -> Result<Option<Fenced>, Silent> {
        before_grant(lease, Ground::Silence, &unchanged(7), stopped, NOW)
    }

    #[test]
    fn only_silence_asks_for_a_fence_and_only_where_that_was_chosen() {
        assert_eq!(asked(&lease(), None), Ok(None));
        assert_eq!(asked(&fencing(), None), Err(silent()));
        for ground in [Ground::Release, Ground::Gone, Ground::Vacancy] {
            assert_eq!(before_grant(&fencing(), ground, &unchanged(7), None, NOW), Ok(None));
        }
    }

    #[test]
    fn a_stop_counts_for_the_silence_that_it_followed_and_for_no_other() {
        let stopped = |of| Stopped { of, took_ms: 9_000 };
        assert_eq!(asked(&fencing(), Some(&stopped(silent()))), Ok(Some(Fenced::Stopped { took_ms: 9_000 })));
        let others = [
            Silent { holder: arn(2), ..silent() },
            Silent { epoch: Epoch(0), ..silent() },
            Silent { incarnation: incarnation(2), ..silent() },
            Silent { seq: Seq(6), ..silent() },
        ];
        for other in others {
            assert_eq!(asked(&fencing(), Some(&stopped(other))), Err(silent()));
        }
    }

    #[test]
    fn an_operators_word_that_the_holder_is_dead_stands_in_its_place_and_a_switchover_does_not() {
        let word = |failover, until| Intent {
            to: None,
            reason: String::new(),
            epoch: fencing().epoch,
            until,
            request: None,
            failover,
            asked: None,
        };
        let with = |intent| Lease { intent: Some(intent), ..fencing() };
        assert_eq!(asked(&with(word(true, WallTime(NOW.0 + 1))), None), Ok(Some(Fenced::Lifted {})));
        for other in [word(false, WallTime(NOW.0 + 1)), word(true, NOW)] {
            assert_eq!(asked(&with(other), None), Err(silent()));
        }
    }

    #[test]
    fn stopped_and_terminated_are_down_and_nothing_else_is() {
        assert!(is_down(&InstanceState::Terminated) && is_down(&InstanceState::Other("stopped".to_owned())));
        for state in ["stopping", "running", "pending", "shutting-down", ""] {
            assert!(!is_down(&InstanceState::Other(state.to_owned())), "{state}");
        }
        assert!(!is_down(&InstanceState::NotFound));
    }

    #[test]
    fn a_word_reaches_a_holder_at_its_own_epoch_and_a_standby_at_any() {
        let word = fence(1, &lease(), WallTime(NOW.0 + 1));
        let reaches = |word: &Word, lease: Lease| {
            Lease { fence: Some(word.clone()), ..lease }.live_fence(NOW).is_some()
        };
        let next = lease().epoch.next();
        assert!(reaches(&word, lease()));
        assert!(reaches(&word, Lease { epoch: next, holder: Some(arn(2)), ..lease() }));
        assert!(!reaches(&word, Lease { epoch: next, ..lease() }));
        assert!(!reaches(&Word { until: NOW, ..word.clone() }, lease()));
        let other = RegistrationUid::new("uid-2").expect("valid");
        assert!(!reaches(&Word { uid: other, ..word }, lease()));
    }

    #[test]
    fn what_is_not_chosen_is_not_written() {
        let text = serde_json::to_string(&lease()).expect("can be written");
        assert!(!text.contains(r#""fence""#) && !text.contains(r#""fencing""#), "{text}");
        let text = serde_json::to_string(&fencing()).expect("can be written");
        assert!(text.contains(r#""fencing":"stop""#), "{text}");
        assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read"), fencing());
    }
}
