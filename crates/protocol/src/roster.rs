//! The roster: who is a member where nodes are named by a tag. Which instances join, which are retired, and who is asked to
//! hand over before it can be.
//!
//! An Auto Scaling group replaces instances, and the new one has an id that nobody could have registered. So a cluster can
//! name a tag instead, and whatever runs with it is a node. The naive way, to take EC2's list for the members, fails when
//! the list is short: EC2 answers late about what is new, a tag can be misspelt, a group renamed, and a cluster whose
//! members are gone has nobody to take over. So what joins and what goes rest on different things:
//!
//! * an instance joins that EC2 shows running with the tag and with the cluster's name in `baton:cluster`, by which its
//!   owner consents, that has a place for every address and each interface that was chosen, and that cannot hibernate where two must
//!   never serve at once. It costs nothing to have it: it still has to beat before it can be granted anything;
//! * a member is retired only on a positive word: EC2 calls it terminated, or shows it without the tag. An answer that
//!   fails, or shows nobody, retires nobody (ADR 0030);
//! * the holder is never retired. Without the tag it is asked to hand over, and goes when another holds;
//! * a member that beats does not go for its tag before another standby beats.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arbiter::Hint;
use crate::choice::Choices;
use crate::ec2::InstanceState;
use crate::heartbeat::Heartbeat;
use crate::history::{Departed, Newcomer};
use crate::ids::{AllocationId, ClusterName, IdError, InstanceArn, InstanceId, NodeName};
use crate::lease::{Lease, LeaseState, Member, Mode};
use crate::place::{Interface, Places, places};
use crate::resource::Placement;
use crate::time::WallTime;
use crate::wake;

/// The tag by which the owner of an instance consents to its part in clusters: their names, separated by spaces.
pub const CONSENT: &str = "baton:cluster";
/// The tag that Auto Scaling gives the instances of a group.
pub const GROUP: &str = "aws:autoscaling:groupName";
/// How many nodes a roster has, unless it says so.
pub const MOST: u16 = 3;
/// The most nodes of any cluster.
pub const LARGEST: u16 = 20;
/// EC2 shows an instance for about an hour after it was terminated. What it does not show then, and nobody has heard of for
/// as long, was terminated unseen; before that its answer may be a stale one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
/// A heartbeat of the last minute shows that somebody answers. It is a hint, by two machines' clocks.
const HEARD: Duration = Duration::from_secs(60);
const TAG: &str = "a tag: 1 to 128 characters as its key and 1 to 256 as its value, none of them a control character, \
     `*`, `?` or `\\`";
/// The longest key and value of a tag that EC2 takes.
const LONGEST: (usize, usize) = (128, 256);

/// A tag that names instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawTag")]
pub struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct RawTag {
    key: String,
    value: String,
}

impl TryFrom<RawTag> for Tag {
    type Error = IdError;
    fn try_from(RawTag { key, value }: RawTag) -> Result<Self, IdError> {
        Self::new(key, value)
    }
}

impl Tag {
    /// Parses a key and a value. What EC2's filters would take for a pattern is refused, so that a tag names exactly what
    /// carries it.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Result<Self, IdError> {
        let (key, value) = (key.into(), value.into());
        for (text, most) in [(&key, LONGEST.0), (&value, LONGEST.1)] {
            if !(1..=most).contains(&text.chars().count()) || text.contains(is_no_part_of_a_tag) {
                return Err(IdError::new(TAG, text));
            }
        }
        Ok(Self { key, value })
    }

    /// The tag of an Auto Scaling group's instances.
    pub fn of_group(name: impl Into<String>) -> Result<Self, IdError> {
        Self::new(GROUP, name)
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The name of the Auto Scaling group, where it is the tag of one.
    pub fn group(&self) -> Option<&str> {
        (self.key == GROUP).then_some(&*self.value)
    }

    /// Whether it is among these tags.
    pub fn is_in(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(&self.key) == Some(&self.value)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group() {
            Some(group) => write!(f, "the Auto Scaling group {group}"),
            None => write!(f, "the tag {} = {}", self.key, self.value),
        }
    }
}

fn is_no_part_of_a_tag(c: char) -> bool {
    c.is_control() || matches!(c, '*' | '?' | '\\')
}

/// How a cluster's nodes are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// By this tag.
    pub tag: Tag,
    /// No more join than make so many. Members that are there stay, however few are asked for.
    pub most: u16,
    /// The priority of each, 1 to 999.
    pub priority: u16,
    /// When the members have last been changed.
    pub changed: WallTime,
}

impl Roster {
    /// Whether both name the same nodes.
    pub fn names_as(&self, other: &Self) -> bool {
        (&self.tag, self.most, self.priority) == (&other.tag, other.most, other.priority)
    }
}

/// An instance as EC2 shows it, as far as membership goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which one.
    pub instance: InstanceArn,
    /// Its state.
    pub state: InstanceState,
    /// The id of its Availability Zone; empty where EC2 names none.
    pub zone: String,
    /// Its VPC; empty where EC2 names none.
    pub vpc: String,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Whether it was launched so that it can hibernate. Nothing changes that afterwards.
    pub hibernates: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Two whole answers of EC2. There is none where it did not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The running instances that carry the tag.
    pub tagged: BTreeMap<InstanceId, Shown>,
    /// The members, but those that EC2 does not know.
    pub members: BTreeMap<InstanceId, Shown>,
}

/// The cluster as it stands or is to stand.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// How its nodes are named.
    pub roster: &'a Roster,
    /// The members.
    pub members: &'a [Member],
    /// Who holds the lease.
    pub holder: Option<&'a InstanceArn>,
    /// The Elastic IPs that a node has to have a place for.
    pub addresses: Vec<AllocationId>,
    /// Where on a node they and the routes go.
    pub choices: &'a Choices,
    /// The VPC of the cluster's route tables, where that is known: nothing of another one can be led to.
    pub vpc: Option<&'a str>,
    /// Whether an instance that can hibernate may join. A member that can stays.
    pub may_hibernate: bool,
    /// Where other clusters' addresses may sit. They are read only where somebody would join.
    pub taken: &'a BTreeSet<Placement>,
}

static NOTHING_TAKEN: BTreeSet<Placement> = BTreeSet::new();

impl<'a> Standing<'a> {
    /// Of a lease that has a roster, as if no other cluster had a node.
    pub fn of(lease: &'a Lease) -> Option<Self> {
        Some(Self {
            cluster: &lease.cluster,
            roster: lease.roster.as_ref()?,
            members: &lease.members,
            holder: lease.holder.as_ref(),
            addresses: addresses(lease),
            choices: &lease.resources.choices,
            vpc: lease.resources.choices.vpc.as_deref(),
            may_hibernate: lease.mode == Mode::Available,
            taken: &NOTHING_TAKEN,
        })
    }

    /// Whether the tags of interfaces have to be asked for, since where everything goes is found by them.
    pub fn asks_for_tags(&self) -> bool {
        self.choices.by_tag()
    }

    fn room_beside(&self, members: usize) -> usize {
        usize::from(self.roster.most).saturating_sub(members)
    }
}

/// Why a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// EC2 says that it is terminated.
    Terminated,
    /// EC2 has not shown it, and nobody heard of it, for longer than EC2 shows what was terminated.
    Forgotten,
    /// It does not carry the tag, or not the cluster's name.
    Untagged,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "EC2 says that it is terminated",
            Self::Forgotten => "EC2 does not know it any more",
            Self::Untagged => "its tag was taken away",
        })
    }
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// The members that stay, in their order.
    pub stay: Vec<&'a Member>,
    /// Those that are retired.
    pub retire: Vec<(&'a Member, Why)>,
    /// Who joins, in the order in which they do.
    pub join: Vec<&'a Shown>,
    /// Who carries the tag and cannot join, and why; for people.
    pub unfit: Vec<(InstanceId, String)>,
    /// Whether the holder is to be asked to hand over, since its tag was taken away and another answers.
    pub hand_over: bool,
}

/// Judges who is a member. `heartbeats` are those of members and of tagged instances that exist.
pub fn judge<'a>(
    standing: &Standing<'a>,
    seen: &'a Seen,
    heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    now: WallTime,
) -> Judgement<'a> {
    let beats = |instance: &InstanceArn| {
        heartbeats.get(instance).is_some_and(|heartbeat| heartbeat.beat_at.distance(now) <= HEARD)
    };
    let (mut stay, mut retire, mut untagged) = (Vec::new(), Vec::new(), Vec::new());
    let mut holder_leaves = None;
    for member in standing.members {
        let holds = standing.holder == Some(&member.instance) && !mutant!(HolderRetired);
        match departure(standing, member, seen, heartbeats.get(&member.instance), now) {
            None => stay.push(member),
            Some(why) if holds => {
                holder_leaves = Some(why);
                stay.push(member);
            }
            Some(Why::Untagged) => untagged.push(member),
            Some(why) => retire.push((member, why)),
        }
    }
    let holder_untagged = holder_leaves == Some(Why::Untagged);
    // Whoever is gone takes nobody's seat: it may be that only a newcomer can follow it.
    let seats = |stay: &[&Member]| stay.len() - usize::from(holder_leaves.is_some() && !holder_untagged);
    let (mut join, unfit) = newcomers(standing, &stay, standing.room_beside(seats(&stay)), seen, &beats);
    let follows = |instance: &InstanceArn| standing.holder != Some(instance) && beats(instance);
    let another = stay.iter().any(|member| follows(&member.instance))
        || join.iter().any(|shown| follows(&shown.instance));
    for member in untagged {
        if beats(&member.instance) && !another {
            stay.push(member);
        } else {
            retire.push((member, Why::Untagged));
        }
    }
    // Whoever stays for want of another keeps its seat.
    join.truncate(standing.room_beside(seats(&stay)));
    Judgement { stay, retire, join, unfit, hand_over: holder_untagged && another }
}

/// Why a member would go, were it not for what it does.
fn departure(
    standing: &Standing<'_>,
    member: &Member,
    seen: &Seen,
    heartbeat: Option<&Heartbeat>,
    now: WallTime,
) -> Option<Why> {
    let shown = seen.members.get(&member.instance.instance_id());
    match shown.map(|shown| &shown.state) {
        Some(InstanceState::Terminated) => return Some(Why::Terminated),
        None | Some(InstanceState::NotFound) if mutant!(AbsentRetired) => return Some(Why::Forgotten),
        None | Some(InstanceState::NotFound) => {
            let last =
                heartbeat.map_or(WallTime(0), |heartbeat| heartbeat.beat_at).max(standing.roster.changed);
            let long_ago = now.since(last) >= FORGOTTEN_AFTER;
            return (long_ago && !seen.tagged.is_empty()).then_some(Why::Forgotten);
        }
        Some(InstanceState::Other(_)) => {}
    }
    // A tag that nobody carries is more likely misspelt than taken away from everybody.
    let named = shown.is_some_and(|shown| is_named(standing, &shown.tags));
    (!named && !seen.tagged.is_empty()).then_some(Why::Untagged)
}

fn is_named(standing: &Standing<'_>, tags: &BTreeMap<String, String>) -> bool {
    standing.roster.tag.is_in(tags) && consents(standing.cluster, tags)
}

fn consents(cluster: &ClusterName, tags: &BTreeMap<String, String>) -> bool {
    let names = tags.get(CONSENT).map_or("", String::as_str);
    names.split_whitespace().any(|name| name == cluster.as_str()) || mutant!(JoinsUnasked)
}

/// Who could join beside these members, so many, the best first: who beats, then who is in a zone of its own, then by id.
fn newcomers<'a>(
    standing: &Standing<'_>,
    members: &[&Member],
    room: usize,
    seen: &'a Seen,
    beats: &impl Fn(&InstanceArn) -> bool,
) -> (Vec<&'a Shown>, Vec<(InstanceId, String)>) {
    let shown = |member: &&Member| seen.members.get(&member.instance.instance_id());
    let theirs = members.iter().filter_map(shown).map(|shown| &*shown.vpc).find(|vpc| !vpc.is_empty());
    let mut vpc = theirs.or(standing.vpc);
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for (id, shown) in &seen.tagged {
        if standing.members.iter().any(|member| member.instance == shown.instance) {
            continue;
        }
        match obstacle(standing, shown, members, vpc) {
            None => {
                vpc = Some(&shown.vpc);
                fit.push(shown);
            }
            Some(why) => unfit.push((id.clone(), why)),
        }
    }
    let mut zones: BTreeSet<&str> = members.iter().map(|member| &*member.zone).collect();
    let mut join = Vec::new();
    while join.len() < room && !fit.is_empty() {
        let rank = |place: &usize| (!beats(&fit[*place].instance), zones.contains(&*fit[*place].zone));
        let best = (0..fit.len()).min_by_key(rank).unwrap_or_default();
        let next: &Shown = fit.remove(best);
        zones.insert(&next.zone);
        join.push(next);
    }
    (join, unfit)
}

/// Why an instance that carries the tag cannot be a member.
fn obstacle(
    standing: &Standing<'_>,
    shown: &Shown,
    members: &[&Member],
    vpc: Option<&str>,
) -> Option<String> {
    let cluster = standing.cluster;
    if !consents(cluster, &shown.tags) {
        return Some(format!("its tag {CONSENT} does not name {cluster}"));
    }
    if !standing.roster.tag.is_in(&shown.tags) {
        return Some(format!("it is not of {}", standing.roster.tag));
    }
    if shown.state != InstanceState::Other("running".to_owned()) {
        return Some("it does not run".to_owned());
    }
    if shown.zone.is_empty() || shown.vpc.is_empty() {
        return Some("EC2 names no zone or no VPC of it".to_owned());
    }
    // A machine that wakes from hibernation serves until its dead-man is scheduled, whoever holds the lease by then.
    if shown.hibernates && !standing.may_hibernate && !mutant!(SleeperJoins) {
        let remedy = "launch instances without hibernation, or choose Mode: available";
        return Some(format!(
            "it was launched so that it can hibernate, which strict mode does not allow; {remedy}"
        ));
    }
    if let Some(vpc) = vpc.filter(|vpc| **vpc != *shown.vpc) {
        return Some(format!("it is in {}, and the others are in {vpc}", shown.vpc));
    }
    let placements = match places(standing.choices, &standing.addresses, &shown.interfaces) {
        Ok(places) => places.placements,
        Err(why) => return Some(why),
    };
    if let Some(seat) = placements.values().find(|seat| standing.taken.contains(seat)) {
        return Some(format!(
            "an address of another cluster goes to {} on {}",
            seat.private_ip, seat.interface
        ));
    }
    let name = name_of(&shown.instance);
    let taken = members.iter().any(|member| name.as_ref() == Some(&member.node));
    (name.is_none() || taken).then(|| "its id cannot be its name".to_owned())
}

/// The name of a node that nobody has named: its instance's id, which stays and which no other has.
pub fn name_of(instance: &InstanceArn) -> Option<NodeName> {
    NodeName::new(instance.instance_id().as_str()).ok()
}

/// Whether an invocation that was woken so is to look who carries the tag: in the sweep's turn and on events about instances always,
/// otherwise where there is room for one more. So a cluster that is full asks EC2 nothing for the wakes of its agents.
pub fn is_asked(hint: &Hint, lease: &Lease) -> bool {
    let follows = lease.may_be_decided() && lease.state == LeaseState::Active && lease.roster.is_some();
    follows && (hint.maybe_gone || hint.why == Some(wake::Why::Registered) || lease.has_room())
}

/// What becomes of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who they are from then on.
    pub members: Vec<Member>,
    /// Who joins.
    pub joined: Vec<Newcomer>,
    /// Who is retired.
    pub retired: Vec<Departed>,
    /// The VPC in which described tables are looked for from then on, where none was known: the first node's.
    pub vpc: Option<String>,
}

/// The change of a lease's members that a judgement asks for; none: they stay who they are.
pub fn change(lease: &Lease, judgement: &Judgement<'_>) -> Option<Change> {
    let priority = lease.roster.as_ref()?.priority;
    if judgement.join.is_empty() && judgement.retire.is_empty() {
        return None;
    }
    let mut members: Vec<Member> = judgement.stay.iter().map(|member| (*member).clone()).collect();
    let mut joined = Vec::new();
    let addresses = addresses(lease);
    let choices = &lease.resources.choices;
    let newcomers = judgement.join.iter();
    for member in newcomers.filter_map(|shown| member(shown, choices, &addresses, priority)) {
        joined.push(Newcomer { node: member.node.clone(), instance: member.instance.clone() });
        members.push(member);
    }
    let departed = |(member, why): &(&Member, Why)| Departed {
        node: member.node.clone(),
        instance: member.instance.clone(),
        why: why.to_string(),
    };
    let retired = judgement.retire.iter().map(departed).collect();
    let looks = !choices.tables.is_empty() && choices.vpc.is_none();
    let vpc = judgement.join.first().filter(|_| looks).map(|shown| shown.vpc.clone());
    Some(Change { members, joined, retired, vpc })
}

fn addresses(lease: &Lease) -> Vec<AllocationId> {
    lease.resources.addresses.iter().map(|address| address.allocation.clone()).collect()
}

/// An instance as a member.
fn member(shown: &Shown, choices: &Choices, addresses: &[AllocationId], priority: u16) -> Option<Member> {
    let Places { interface, placements } = places(choices, addresses, &shown.interfaces).ok()?;
    Some(Member {
        node: name_of(&shown.instance)?,
        instance: shown.instance.clone(),
        zone: shown.zone.clone(),
        interface,
        placements,
        priority,
    })
}

#[cfg(test)]
mod tests;
