//! The lease: who may serve, at which epoch, and all that the arbiter needs to know to move the address.
//!
//! One item in the table is the truth about a cluster. Only the arbiter and the registrar write it; operators may write
//! its `intent`, `paused`, `excluded`, `fence` and `restore`, and nothing else of it. Its epoch grows by one with each grant and is the token that
//! everything later is measured by: a call, a claim or a release that names an older epoch has no effect.
//!
//! The item carries the members and resources as well, so that one strongly consistent read shows a decision and
//! everything it depends on at one moment. A second item for the configuration would have to be read at the same
//! instant, which a single read gives for nothing (ADR 0004).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failback::Failback;
use crate::fence::{Fencing, Word};
use crate::heartbeat::{Claim, Heartbeat};
use crate::ids::{
    AllocationId, ClusterName, Epoch, InstanceArn, InterfaceId, NodeName, RegistrationUid, RequestId,
};
use crate::mark::Mark;
use crate::policy::Takeover;
use crate::resource::{Observed, Placement, Resources};
use crate::restored;
use crate::roster::Roster;
use crate::time::WallTime;
use crate::timing::Timing;

/// The schema of stored items that this version writes. A reader refuses newer ones: it cannot know what they mean.
pub const SCHEMA: u32 = 1;

/// For so long after its end it is told that a wish has had no effect. A cluster has its turn in the sweep several times meanwhile.
pub const LAPSED_FOR: Duration = Duration::from_secs(600);

/// Whether the cluster is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// The lease is granted and moved.
    Active,
    /// The registration was deleted. Agents stop guarding and leave the service as it is; the epoch is kept.
    Retired,
}

/// What a node does when it cannot confirm its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The node stops serving when its validity ends: at most one node serves at any moment.
    Strict,
    /// The node serves on until it reads that another node holds the lease. EC2's single ownership of each address is
    /// the fence, so this is for services that clients reach through the address only.
    Available,
}

/// A node of the cluster, as EC2 described it when the registrar accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The operator's name for the node.
    pub node: NodeName,
    /// The instance behind it.
    pub instance: InstanceArn,
    /// The id of the Availability Zone, equal in every account (`euw1-az1`), not its per-account name.
    pub zone: String,
    /// The interface that routes lead to.
    pub interface: InterfaceId,
    /// Where each Elastic IP goes when this node holds the lease.
    pub placements: BTreeMap<AllocationId, Placement>,
    /// 1 to 999, the smallest is preferred.
    pub priority: u16,
}

/// An operator's or the arbiter's wish that the holder hand over in good order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The node that should hold next; none: whichever is best.
    pub to: Option<InstanceArn>,
    /// Why, in words that people read.
    pub reason: String,
    /// The epoch this wish is about. At any other it has no effect.
    pub epoch: Epoch,
    /// When the wish ends by itself.
    pub until: WallTime,
    /// The operator's request behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Whether it is an operator's word that a silent holder be taken over from. It is not for the holder to obey.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failover: bool,
    /// When it was asked for, by the clock of whoever asks; not told by earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<WallTime>,
}

/// An operator's word that nothing shall move by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When the pause ends by itself, by the clock of whoever asks.
    pub until: WallTime,
    /// Who asked.
    pub by: String,
    /// Why, in words that people read.
    pub why: String,
}

/// An operator's word that one node shall not hold the lease for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The node.
    pub node: InstanceArn,
    /// When the exclusion ends by itself, by the clock of whoever asks.
    pub until: WallTime,
    /// Who asked.
    pub by: String,
    /// Why, in words that people read.
    pub why: String,
    /// The operator's request behind it.
    pub request: RequestId,
}

/// The lease of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The cluster.
    pub cluster: ClusterName,
    /// Of this registration; a request to delete acts only if it carries the same.
    pub uid: RegistrationUid,
    /// Whether the cluster is protected.
    pub state: LeaseState,
    /// The current epoch.
    pub epoch: Epoch,
    /// Who may serve at this epoch; none only before the first grant of a registration.
    #[serde(with = "holder_text")]
    pub holder: Option<InstanceArn>,
    /// What a node does when it cannot confirm its lease.
    pub mode: Mode,
    /// Who decides that a silent holder is taken over from.
    #[serde(default, skip_serializing_if = "Takeover::is_automatic")]
    pub takeover: Takeover,
    /// For how long after a takeover on silence there is no other by itself, in milliseconds; zero: no time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cool_down_ms: u64,
    /// What is done about a silent holder before it is taken over from.
    #[serde(default, skip_serializing_if = "Fencing::is_none")]
    pub fencing: Fencing,
    /// Whether the lease goes back to a preferred node by itself.
    #[serde(default, skip_serializing_if = "Failback::is_manual")]
    pub failback: Failback,
    /// The time budget.
    pub timing: Timing,
    /// The nodes.
    pub members: Vec<Member>,
    /// By what they are named, where that is a tag and not each by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<Roster>,
    /// What must be at the holder.
    pub resources: Resources,
    /// A wish that the holder hand over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// A pause of automatic action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// A node that shall not hold the lease for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
    /// An operator's word that a node be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Word>,
    /// An operator's word that the table was restored to an earlier moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Box<restored::Word>>,
    /// The last epoch whose resources were all seen at its holder.
    pub moved: Epoch,
    /// When to look once more, since a late call of an earlier epoch may have landed by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_at: Option<WallTime>,
    /// What this epoch has recorded of each address on its way.
    #[serde(default)]
    pub rotated: BTreeMap<AllocationId, Mark>,
    /// What the last verified move left at EC2.
    #[serde(default)]
    pub observed: Observed,
    /// When the last grant was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_grant: Option<WallTime>,
    /// When the last few takeovers on silence were granted, where a cool-down is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_grants: Vec<WallTime>,
    /// The number of the registrar's accepted configuration.
    pub revision: u64,
    /// The schema of the item.
    pub schema: u32,
    /// The rules that whoever decides by it, or changes it, has to know ([`crate::rules`]).
    #[serde(default, skip_serializing_if = "is_none")]
    pub rules: u32,
}

impl Lease {
    /// The member behind an instance.
    pub fn member(&self, instance: &InstanceArn) -> Option<&Member> {
        self.members.iter().find(|member| member.instance == *instance)
    }

    /// The member that an operator calls by this name.
    pub fn member_named(&self, node: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.node.as_str() == node)
    }

    /// The node's name, or its instance id where it is no longer a member.
    pub fn name_of(&self, instance: &InstanceArn) -> String {
        self.member(instance).map_or_else(|| instance.instance_id().to_string(), |m| m.node.to_string())
    }

    /// Whether an instance that is no member could become one: nodes are named by a tag, and there are not as many as may be.
    pub fn has_room(&self) -> bool {
        self.roster.as_ref().is_some_and(|roster| self.members.len() < usize::from(roster.most))
    }

    /// Whether automatic action is held back at `now`.
    pub fn is_paused(&self, now: WallTime) -> bool {
        self.paused.as_ref().is_some_and(|pause| now < pause.until)
    }

    /// Whether an operator has excluded this node at `now`.
    pub fn is_excluded(&self, instance: &InstanceArn, now: WallTime) -> bool {
        self.live_exclusion(now).is_some_and(|exclusion| exclusion.node == *instance)
    }

    /// The exclusion, if it has not ended.
    pub fn live_exclusion(&self, now: WallTime) -> Option<&Exclusion> {
        self.excluded.as_ref().filter(|exclusion| now < exclusion.until)
    }

    /// How long a holder that has published this must have been silent before it may be deposed for it. In available mode
    /// nothing ends with validity, and the one who loses the lease need not have stopped.
    pub fn silence_for(&self, holder: &Heartbeat) -> Duration {
        let own = self.mode == Mode::Available || mutant!(OwnValidity);
        if own {
            self.timing.silence()
        } else {
            self.timing.silence_for(Duration::from_millis(holder.validity_ms))
        }
    }

    /// The standbys that claim the holder's silence with nothing heard of it since, and their claims. A claim that names
    /// anything but the holder's last heartbeat has been answered by a later one.
    pub fn current_claims<'a>(
        &'a self,
        heartbeats: &'a BTreeMap<InstanceArn, Heartbeat>,
    ) -> impl Iterator<Item = (&'a Heartbeat, &'a Claim)> {
        let holder = self.holder.as_ref().and_then(|holder| heartbeats.get(holder));
        let standbys = self.members.iter().filter(|member| self.holder.as_ref() != Some(&member.instance));
        standbys.filter_map(move |member| {
            let standby = heartbeats.get(&member.instance)?;
            let claim = standby.claim.as_ref()?;
            claim.is_current(self.epoch, holder?).then_some((standby, claim))
        })
    }

    /// The request behind the intent, whichever epoch that is about and whether or not it has ended.
    pub fn wish(&self) -> Option<&RequestId> {
        self.intent.as_ref()?.request.as_ref()
    }

    /// The intent, if it is about the current epoch and has not ended.
    pub fn live_intent(&self, now: WallTime) -> Option<&Intent> {
        self.intent.as_ref().filter(|intent| intent.epoch == self.epoch && now < intent.until)
    }

    /// The intent, if it is about the current epoch and has ended without effect no longer ago than [`LAPSED_FOR`].
    pub fn lapsed_intent(&self, now: WallTime) -> Option<&Intent> {
        let lapsed = |intent: &&Intent| intent.until <= now && now < intent.until + LAPSED_FOR;
        self.intent.as_ref().filter(|intent| intent.epoch == self.epoch).filter(lapsed)
    }

    /// The same where it is a wish that the holder hand over.
    pub fn live_switchover(&self, now: WallTime) -> Option<&Intent> {
        self.live_intent(now).filter(|intent| !intent.failover || mutant!(FailoverObeyed))
    }

    /// The same where it is an operator's word that a silent holder be taken over from.
    pub fn live_failover(&self, now: WallTime) -> Option<&Intent> {
        self.live_intent(now).filter(|intent| intent.failover)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_none(rules: &u32) -> bool {
    *rules == 0
}

/// The holder as it is stored: an ARN, or `-` for none, so that a condition can compare it in either case.
mod holder_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::ids::InstanceArn;

    pub(super) fn serialize<S: Serializer>(holder: &Option<InstanceArn>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(holder.as_ref().map_or("-", InstanceArn::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<InstanceArn>, D::Error> {
        let text = String::deserialize(input)?;
        if text == "-" {
            Ok(None)
        } else {
            InstanceArn::new(text).map(Some).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::UNGUARDED_MS;
    use crate::testing::{arn, heartbeat, lease};

    const S: Duration = Duration::from_millis(6_000);

    #[test]
    fn s_follows_the_validity_that_the_holder_published() {
        let mut holder = heartbeat(&arn(1), 7);
        assert_eq!(lease().silence_for(&holder), S);
        holder.validity_ms = 10_000;
        assert!(lease().silence_for(&holder) > Duration::from_millis(11_900));
    }

    #[test]
    fn no_silence_is_long_enough_for_a_holder_that_nothing_stops() {
        let mut holder = heartbeat(&arn(1), 7);
        holder.validity_ms = UNGUARDED_MS;
        assert_eq!(lease().silence_for(&holder), Duration::MAX);
        let available = Lease { mode: Mode::Available, ..lease() };
        assert_eq!(available.silence_for(&holder), S);
    }

    #[test]
    fn a_lease_is_read_as_it_was_written_with_a_holder_and_without() {
        for holder in [Some(arn(2)), None] {
            let written = Lease { holder, ..lease() };
            let text = serde_json::to_string(&written).expect("can be written");
            assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read"), written);
        }
        let text = serde_json::to_string(&lease()).expect("can be written");
        let nonsense = text.replace(lease().holder.expect("held").as_str(), "nobody");
        assert!(serde_json::from_str::<Lease>(&nonsense).is_err());
    }

    #[test]
    fn a_member_is_found_by_its_name() {
        let lease = lease();
        let found = ["node-a", "node-c", "node-d"].map(|name| lease.member_named(name).map(|m| &m.instance));
        assert_eq!(found, [Some(&arn(1)), Some(&arn(3)), None]);
    }
}
