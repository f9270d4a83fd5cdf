//! Notices that an instance will be taken: they become a switchover, so that the address moves before the instance ends.
//!
//! A notice is a hint like any other event. It may be late, repeated or about an instance of no cluster, and it decides
//! nothing: what it leads to is the request that an operator could write as well. The holder obeys it only towards a node that it sees
//! beating, so a cluster without a fit standby keeps its holder to the end.

use std::time::Duration;

use baton_protocol::failback;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{ClusterName, InstanceId, RequestId};
use baton_protocol::lease::LeaseState;
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::Store;

/// Who asks, in the history.
const BY: &str = "arbiter";

/// What is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It will interrupt a Spot Instance, [two minutes](https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html)
    /// after the notice at the earliest.
    SpotInterruption,
    /// A Spot Instance is at
    /// [elevated risk](https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html) of interruption.
    Rebalance,
    /// Auto Scaling is about to terminate an instance and waits at a
    /// [lifecycle hook](https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html), for an hour unless the
    /// hook says otherwise.
    AutoScalingTermination,
    /// AWS Health [tells](https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html) of a reboot,
    /// a stop, a retirement or other maintenance to come, mostly days ahead.
    ScheduledChange,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::SpotInterruption, Self::Rebalance, Self::AutoScalingTermination, Self::ScheduledChange];

    /// Who sends it.
    pub const fn source(self) -> &'static str {
        match self {
            Self::SpotInterruption | Self::Rebalance => "aws.ec2",
            Self::AutoScalingTermination => "aws.autoscaling",
            Self::ScheduledChange => "aws.health",
        }
    }

    /// The field of its detail that names the instance; none: it names several.
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::SpotInterruption | Self::Rebalance => Some("instance-id"),
            Self::AutoScalingTermination => Some("EC2InstanceId"),
            Self::ScheduledChange => None,
        }
    }

    /// Its `detail-type`.
    pub const fn detail_type(self) -> &'static str {
        match self {
            Self::SpotInterruption => "EC2 Spot Instance Interruption Warning",
            Self::Rebalance => "EC2 Instance Rebalance Recommendation",
            Self::AutoScalingTermination => "EC2 Instance-terminate Lifecycle Action",
            Self::ScheduledChange => "AWS Health Event",
        }
    }

    /// For how long after the notice a hand-over is worth while. A Spot Instance that is interrupted is gone after two
    /// minutes; what nobody could follow within ten is left to the end of the instance.
    pub(crate) const fn lasts(self) -> Duration {
        match self {
            Self::SpotInterruption => Duration::from_secs(120),
            Self::Rebalance | Self::AutoScalingTermination | Self::ScheduledChange => {
                Duration::from_secs(600)
            }
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Self::SpotInterruption => "EC2 will interrupt the Spot Instance",
            Self::Rebalance => "EC2 sees an elevated risk of interruption of the Spot Instance",
            Self::AutoScalingTermination => "Auto Scaling will terminate the instance",
            Self::ScheduledChange => "AWS Health tells of a scheduled change of the instance",
        }
    }
}

/// A notice about one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What is announced.
    pub kind: Kind,
    /// The instance.
    pub instance: InstanceId,
    /// The id of the event, which a repeat has as well; of a scheduled change one that its updates have too, so that a
    /// cluster is asked once, and does not go to and fro between two nodes of the same change.
    pub id: RequestId,
    /// When it was sent.
    pub at: WallTime,
    /// What waits until the instance has nothing of a cluster, where something does.
    pub hook: Option<Hook>,
}

/// What became of a notice in one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heed {
    /// A switchover was asked for.
    Asked,
    /// The same notice has asked for it before.
    AskedBefore,
    /// It came so late that nothing can be done in time.
    TooLate,
    /// The instance does not hold the lease of a protected cluster.
    NotTheHolder,
    /// An operator's switchover stands.
    OtherIntent,
}

/// Asks the cluster's holder to hand over, if it is the instance that will be taken.
pub async fn heed<S: Store>(
    store: &S,
    cluster: &ClusterName,
    notice: &Notice,
    now: WallTime,
) -> Result<Heed, Failure> {
    // A clock that is ahead of ours makes no notice last longer.
    let until = notice.at.min(now) + notice.kind.lasts();
    if now >= until {
        return Ok(Heed::TooLate);
    }
    let lease = store.lease(cluster).await?.filter(|lease| lease.state == LeaseState::Active);
    let Some(lease) = lease
        .filter(|lease| lease.holder.as_ref().is_some_and(|holder| holder.instance_id() == notice.instance))
    else {
        return Ok(Heed::NotTheHolder);
    };
    match lease.live_intent(now) {
        Some(intent) if intent.request.as_ref() == Some(&notice.id) => return Ok(Heed::AskedBefore),
        // The arbiter's own wish that the lease go back is no operator's, and its node may not be there to take it.
        Some(intent) if intent.request.as_ref().is_some_and(|id| failback::is_request(id, lease.epoch)) => {}
        Some(_) => return Ok(Heed::OtherIntent),
        None => {}
    }
    let request = Request {
        cluster: cluster.clone(),
        id: notice.id.clone(),
        wish: Wish::Switchover { to: None, why: notice.kind.why().to_owned() },
        by: BY.to_owned(),
        at: now,
        until,
        epoch: lease.epoch,
        answer: None,
    };
    match store.ask(&request).await {
        Ok(()) => Ok(Heed::Asked),
        // The id is taken: only a repeat of the event can have it.
        Err(WriteFailure::Refused(Some(_))) => Ok(Heed::AskedBefore),
        Err(WriteFailure::Refused(None)) => Ok(Heed::NotTheHolder),
        Err(WriteFailure::Failed(failure)) => Err(failure),
    }
}
