//! How a cluster and its nodes stand, and what has changed since it was looked at before: for people and their tools, who are told of
//! it on the bus. It decides nothing.
//!
//! Nothing but the process that looks remembers how it stood before. One that begins anew takes everything to have been well,
//! so what is wrong for long may be told again, and what became well in between is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::findings::Recovery;
use crate::heartbeat::{Health, Heartbeat};
use crate::ids::{Incarnation, InstanceArn};
use crate::lease::{Lease, LeaseState};
use crate::probe::Probe;
use crate::readiness::{Want, looks_silent, wants};
use crate::time::WallTime;

/// How a cluster stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    wants: BTreeSet<Want>,
    /// By their names.
    nodes: BTreeMap<String, Node>,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    incarnation: Incarnation,
    silent: bool,
    well: bool,
    recoveries: Vec<Recovery>,
    /// Those of the recoveries that ended, or began, too long before the last heartbeat to be news to a process that knows
    /// nothing of before, and all of them at a node that is silent.
    old: Vec<Recovery>,
}

/// What a node tells of its local recoveries is told by a process that begins anew only if it was not longer ago than this:
/// often twice then, rather than not at all, and with the same `begun`.
const NEWS: Duration = Duration::from_secs(600);

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// No standby could take over, or something could not be moved to one.
    Unprotected {},
    /// A standby could take over again.
    Protected {},
    /// The holder does not serve.
    Unserved {},
    /// The holder serves again.
    Served {},
    /// Not everything has been seen at the holder.
    Unmoved {},
    /// Everything has.
    Whole {},
    /// A node has not been heard of for S.
    Silent {
        /// The node.
        node: String,
    },
    /// It was heard of again.
    Heard {
        /// The node.
        node: String,
    },
    /// Its agent has started anew.
    Started {
        /// The node.
        node: String,
    },
    /// Its checks fail, it is leaving, or nothing is known of it yet.
    Unwell {
        /// The node.
        node: String,
        /// Which.
        health: Health,
    },
    /// It is well again.
    Well {
        /// The node.
        node: String,
    },
    /// It has begun to mend its service where it runs.
    Recovering {
        /// The node.
        node: String,
        /// Which local recovery of this run of its agent.
        number: u32,
        /// When it began, by the node's clock. With the node it tells one local recovery from every other.
        begun: WallTime,
        /// What was wrong.
        what: String,
    },
    /// The service is well again after a local recovery.
    Recovered {
        /// The node.
        node: String,
        /// As it was told at the beginning.
        number: u32,
        /// As it was told at the beginning.
        begun: WallTime,
        /// When it ended, by the node's clock.
        ended: WallTime,
    },
    /// A local recovery was in vain.
    Unrecovered {
        /// The node.
        node: String,
        /// As it was told at the beginning.
        number: u32,
        /// As it was told at the beginning.
        begun: WallTime,
        /// When it ended, by the node's clock.
        ended: WallTime,
        /// Why.
        why: String,
    },
}

impl Change {
    /// The `detail-type` of the event that tells of it.
    pub const fn detail_type(&self) -> &'static str {
        match self {
            Self::Unprotected {} => "Cluster Unprotected",
            Self::Protected {} => "Cluster Protected",
            Self::Unserved {} => "Cluster Unserved",
            Self::Served {} => "Cluster Served",
            Self::Unmoved {} => "Cluster Unmoved",
            Self::Whole {} => "Cluster Whole",
            Self::Silent { .. } => "Node Silent",
            Self::Heard { .. } => "Node Heard",
            Self::Started { .. } => "Node Started",
            Self::Unwell { .. } => "Node Unwell",
            Self::Well { .. } => "Node Well",
            Self::Recovering { .. } => "Recovery Begun",
            Self::Recovered { .. } => "Recovery Succeeded",
            Self::Unrecovered { .. } => "Recovery Failed",
        }
    }
}

/// The `detail-type` of each change.
pub const DETAIL_TYPES: [&str; 14] = [
    "Cluster Unprotected",
    "Cluster Protected",
    "Cluster Unserved",
    "Cluster Served",
    "Cluster Unmoved",
    "Cluster Whole",
    "Node Silent",
    "Node Heard",
    "Node Started",
    "Node Unwell",
    "Node Well",
    "Recovery Begun",
    "Recovery Succeeded",
    "Recovery Failed",
];

impl Standing {
    /// How a cluster stands now. A retired one has no nodes and wants nothing.
    pub fn of(
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
        probe: Option<&Probe>,
        now: WallTime,
    ) -> Self {
        if lease.state == LeaseState::Retired {
            return Self::default();
        }
        let node = |member: &crate::lease::Member| {
            let heartbeat = heartbeats.get(&member.instance)?;
            Some((member.node.to_string(), Node::of(heartbeat, looks_silent(lease, heartbeat, now))))
        };
        Self {
            wants: wants(lease, heartbeats, probe, now).into_iter().collect(),
            nodes: lease.members.iter().filter_map(node).collect(),
        }
    }

    /// Takes over from before whether the cluster was protected, where nobody can say.
    pub fn keep_protection(&mut self, before: Option<&Self>) {
        if before.is_some_and(|before| before.wants.contains(&Want::Unprotected)) {
            self.wants.insert(Want::Unprotected);
        } else {
            self.wants.remove(&Want::Unprotected);
        }
    }

    /// Everything, as if nothing were known of how it was before.
    pub fn in_full(&self, lease: &Lease, heartbeats: &BTreeMap<InstanceArn, Heartbeat>) -> Vec<Change> {
        let mut opposite = self.clone();
        opposite.wants = Want::ALL.into_iter().filter(|want| !self.wants.contains(want)).collect();
        for node in opposite.nodes.values_mut() {
            (node.silent, node.well) = (!node.silent, !node.well);
            node.recoveries.clone_from(&node.old);
        }
        self.since(Some(&opposite), lease, heartbeats)
    }

    /// What has changed since then; `heartbeats` are those that this was made of.
    pub fn since(
        &self,
        before: Option<&Self>,
        lease: &Lease,
        heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    ) -> Vec<Change> {
        let well = Self::default();
        let before = before.unwrap_or(&well);
        let mut changes = Vec::new();
        for want in Want::ALL {
            let (wrong, right) = match want {
                Want::Unprotected => (Change::Unprotected {}, Change::Protected {}),
                Want::Unserved => (Change::Unserved {}, Change::Served {}),
                Want::Unmoved => (Change::Unmoved {}, Change::Whole {}),
            };
            match (before.wants.contains(&want), self.wants.contains(&want)) {
                (false, true) => changes.push(wrong),
                (true, false) => changes.push(right),
                _ => {}
            }
        }
        for member in &lease.members {
            let name = member.node.to_string();
            let (Some(now), Some(heartbeat)) = (self.nodes.get(&name), heartbeats.get(&member.instance))
            else {
                continue;
            };
            changes.extend(node_since(before.nodes.get(&name), now, &name, heartbeat.health));
        }
        changes
    }
}

impl Node {
    fn of(heartbeat: &Heartbeat, silent: bool) -> Self {
        let findings = heartbeat.findings.as_ref();
        let recoveries = findings.map_or_else(Vec::new, |findings| findings.recoveries.clone());
        // Both moments are by the node's own clock.
        let is_old = |recovery: &&Recovery| {
            let last = recovery.ended.as_ref().map_or(recovery.begun, |ended| ended.at);
            silent || heartbeat.beat_at.since(last) > NEWS
        };
        let old = recoveries.iter().filter(is_old).cloned().collect();
        // A recovery under way is told as one, not as a node of which nothing is known.
        let recovering = findings.is_some_and(|findings| findings.under_way().is_some());
        let well = match heartbeat.health {
            Health::Ok => true,
            Health::Unknown => recovering,
            Health::Bad | Health::Draining => false,
        };
        Self { incarnation: heartbeat.incarnation.clone(), silent, well, recoveries, old }
    }
}

/// A local recovery is known by when it began, so neither a new run of the agent nor one that is not kept any more is taken for
/// another.
fn recoveries_since(before: &[Recovery], now: &[Recovery], name: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    for Recovery { number, begun, what, ended } in now {
        let (node, number, begun) = (name.to_owned(), *number, *begun);
        let known = before.iter().find(|known| known.begun == begun);
        if known.is_none() {
            changes.push(Change::Recovering { node: node.clone(), number, begun, what: what.to_string() });
        }
        let Some(end) = ended.as_ref().filter(|_| known.is_none_or(|known| known.ended.is_none())) else {
            continue;
        };
        let ended = end.at;
        changes.push(match &end.failed {
            None => Change::Recovered { node, number, begun, ended },
            Some(why) => Change::Unrecovered { node, number, begun, ended, why: why.to_string() },
        });
    }
    changes
}

/// What is not known of a node before is taken to have been well, and its agent not to have started anew.
fn node_since(before: Option<&Node>, now: &Node, name: &str, health: Health) -> Vec<Change> {
    let node = || name.to_owned();
    let mut changes = Vec::new();
    if before.is_some_and(|before| before.incarnation != now.incarnation) {
        changes.push(Change::Started { node: node() });
    }
    match (before.is_some_and(|before| before.silent), now.silent) {
        (false, true) => changes.push(Change::Silent { node: node() }),
        (true, false) => changes.push(Change::Heard { node: node() }),
        _ => {}
    }
    match (before.is_none_or(|before| before.well), now.well) {
        (true, false) => changes.push(Change::Unwell { node: node(), health }),
        (false, true) => changes.push(Change::Well { node: node() }),
        _ => {}
    }
    let told = before.map_or(&now.old, |before| &before.recoveries);
    changes.extend(recoveries_since(told, &now.recoveries, name));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::testing::{self, arn, heartbeat, incarnation};

    use crate::findings::{Ended, Findings};

    const NOW: WallTime = WallTime(1_800_000_000_000);

    type World = (Lease, BTreeMap<InstanceArn, Heartbeat>);

    /// Node 1 serves, nodes 2 and 3 stand by.
    fn world() -> World {
        let lease = testing::lease();
        let beat = |n| (arn(n), Heartbeat { beat_at: NOW, ..heartbeat(&arn(n), 7) });
        let mut heartbeats: BTreeMap<_, _> = (1..=3).map(beat).collect();
        heartbeats.get_mut(&arn(1)).expect("there").serving_epoch = Some(lease.epoch);
        (lease, heartbeats)
    }

    fn standing((lease, heartbeats): &World) -> Standing {
        Standing::of(lease, heartbeats, None, NOW)
    }

    /// What is told after an edit, and after it is taken back.
    fn there_and_back(edit: impl FnOnce(&mut World)) -> [Vec<&'static str>; 2] {
        let (good, mut bad) = (world(), world());
        edit(&mut bad);
        let told = |from: &World, to: &World| {
            let changes = standing(to).since(Some(&standing(from)), &to.0, &to.1);
            changes.iter().map(Change::detail_type).collect()
        };
        [told(&good, &bad), told(&bad, &good)]
    }

    #[test]
    fn what_goes_wrong_is_told_and_so_is_its_end() {
        let beat = |world: &mut World, n: u8, edit: fn(&mut Heartbeat)| {
            edit(world.1.get_mut(&arn(n)).expect("there"))
        };
        assert_eq!(there_and_back(|_| ()), [Vec::<&str>::new(), Vec::new()]);
        assert_eq!(
            there_and_back(|world| beat(world, 2, |beat| beat.beat_at = WallTime(1))),
            [vec!["Node Silent"], vec!["Node Heard"]]
        );
        assert_eq!(
            there_and_back(|world| beat(world, 3, |beat| beat.health = Health::Bad)),
            [vec!["Node Unwell"], vec!["Node Well"]]
        );
        assert_eq!(
            there_and_back(|world| beat(world, 2, |beat| beat.incarnation = incarnation(9))),
            [vec!["Node Started"], vec!["Node Started"]]
        );
        assert_eq!(
            there_and_back(|world| beat(world, 1, |beat| beat.serving_epoch = None)),
            [vec!["Cluster Unserved"], vec!["Cluster Served"]]
        );
        assert_eq!(
            there_and_back(|world| world.0.moved = Epoch(0)),
            [vec!["Cluster Unmoved"], vec!["Cluster Whole"]]
        );
        let alone = there_and_back(|world| {
            [2, 3].into_iter().for_each(|n| beat(world, n, |b| b.health = Health::Draining))
        });
        assert_eq!(alone[0], ["Cluster Unprotected", "Node Unwell", "Node Unwell"]);
        assert_eq!(alone[1], ["Cluster Protected", "Node Well", "Node Well"]);
    }

    #[test]
    fn at_first_sight_all_was_well_and_a_retired_cluster_has_nothing_to_tell() {
        let mut bad = world();
        bad.1.get_mut(&arn(2)).expect("there").beat_at = WallTime(1);
        let told = standing(&bad).since(None, &bad.0, &bad.1);
        assert_eq!(told, [Change::Silent { node: "node-b".to_owned() }]);
        let good = world();
        assert_eq!(standing(&good).since(None, &good.0, &good.1), []);
        bad.0.state = LeaseState::Retired;
        assert_eq!(standing(&bad).since(None, &bad.0, &bad.1), []);
    }

    #[test]
    fn everything_is_told_where_nobody_knows_what_was() {
        let good = world();
        let told = standing(&good).in_full(&good.0, &good.1);
        let told: Vec<_> = told.iter().map(Change::detail_type).collect();
        let nodes = ["Node Heard", "Node Well"].repeat(3);
        assert_eq!(told, [&["Cluster Protected", "Cluster Served", "Cluster Whole"][..], &nodes].concat());
    }

    #[test]
    fn protection_is_kept_as_it_was_where_nobody_can_say() {
        let good = world();
        let mut bad = world();
        [2, 3].into_iter().for_each(|n| bad.1.get_mut(&arn(n)).expect("there").health = Health::Bad);
        let (well, unwell) = (standing(&good), standing(&bad));
        let kept = |mut now: Standing, before: Option<&Standing>| {
            now.keep_protection(before);
            now.wants.contains(&Want::Unprotected)
        };
        assert!(kept(well.clone(), Some(&unwell)) && kept(unwell.clone(), Some(&unwell)));
        assert!(
            !kept(unwell.clone(), Some(&well)) && !kept(unwell, None) && !kept(well.clone(), Some(&well))
        );
    }

    #[test]
    fn each_change_has_the_detail_type_that_is_listed() {
        let node = || "node-a".to_owned();
        let all = [
            Change::Unprotected {},
            Change::Protected {},
            Change::Unserved {},
            Change::Served {},
            Change::Unmoved {},
            Change::Whole {},
            Change::Silent { node: node() },
            Change::Heard { node: node() },
            Change::Started { node: node() },
            Change::Unwell { node: node(), health: Health::Bad },
            Change::Well { node: node() },
            Change::Recovering { node: node(), number: 1, begun: NOW, what: "web: no answer".to_owned() },
            Change::Recovered { node: node(), number: 1, begun: NOW, ended: NOW },
            Change::Unrecovered {
                node: node(),
                number: 1,
                begun: WallTime(5),
                ended: WallTime(9),
                why: "exit code 1".to_owned(),
            },
        ];
        assert_eq!(all.each_ref().map(Change::detail_type), DETAIL_TYPES);
        let text = serde_json::to_string(&all[9]).expect("can be written");
        assert_eq!(text, r#"{"unwell":{"node":"node-a","health":"bad"}}"#);
        let text = serde_json::to_string(&all[13]).expect("can be written");
        let expected =
            r#"{"unrecovered":{"node":"node-a","number":1,"begun":5,"ended":9,"why":"exit code 1"}}"#;
        assert_eq!(text, expected);
    }

    /// A local recovery that began so many seconds before the last heartbeat, and ended a second later or goes on.
    fn recovery(number: u32, ago: u64, ended: Option<Option<&str>>) -> Recovery {
        let begun = WallTime(NOW.0 - ago * 1_000);
        let at = WallTime(begun.0 + 1_000);
        let ended = ended.map(|failed| Ended { at, failed: failed.map(Into::into) });
        Recovery { number, begun, what: "web: no answer".into(), ended }
    }

    /// Node 1 with these recoveries.
    fn with(recoveries: Vec<Recovery>) -> World {
        let mut world = world();
        let node = world.1.get_mut(&arn(1)).expect("there");
        node.findings = Some(Findings { recoveries, ..Findings::default() });
        world
    }

    fn told(before: Option<&World>, now: &World) -> Vec<&'static str> {
        let before = before.map(standing);
        let changes = standing(now).since(before.as_ref(), &now.0, &now.1);
        changes.iter().map(Change::detail_type).collect()
    }

    const BEGUN: &str = "Recovery Begun";
    const HELPED: &str = "Recovery Succeeded";
    const FAILED: &str = "Recovery Failed";

    #[test]
    fn each_part_of_a_recovery_is_told_once_however_late_it_is_seen() {
        let (good, begun) = (world(), with(vec![recovery(1, 5, None)]));
        let helped = with(vec![recovery(1, 5, Some(None))]);
        let failed = with(vec![recovery(1, 5, Some(Some("exit code 1")))]);
        assert_eq!(told(Some(&good), &begun), [BEGUN]);
        assert_eq!(told(Some(&begun), &begun), [""; 0]);
        assert_eq!(told(Some(&begun), &helped), [HELPED]);
        assert_eq!(told(Some(&begun), &failed), [FAILED]);
        assert_eq!(told(Some(&good), &failed), [BEGUN, FAILED]);
        assert_eq!(told(Some(&helped), &helped), [""; 0]);
        let hours = with(vec![recovery(1, 40_000, Some(None))]);
        assert_eq!(told(Some(&good), &hours), [BEGUN, HELPED], "the sweep did not come for hours");
        let three = with(vec![
            recovery(1, 40, Some(None)),
            recovery(2, 20, Some(None)),
            recovery(3, 5, Some(Some("exit code 1"))),
        ]);
        assert_eq!(told(Some(&good), &three), [BEGUN, HELPED, BEGUN, HELPED, BEGUN, FAILED]);
        let two = with(vec![recovery(2, 20, Some(None)), recovery(3, 5, None)]);
        assert_eq!(told(Some(&two), &three), [BEGUN, HELPED, FAILED]);
    }

    #[test]
    fn a_new_run_of_the_agent_tells_no_recovery_again() {
        let helped = with(vec![recovery(1, 5, Some(None))]);
        let mut anew = helped.clone();
        anew.1.get_mut(&arn(1)).expect("there").incarnation = incarnation(9);
        assert_eq!(told(Some(&helped), &anew), ["Node Started"]);
        let mut next = with(vec![recovery(1, 2, None)]);
        next.1.get_mut(&arn(1)).expect("there").incarnation = incarnation(9);
        assert_eq!(told(Some(&anew), &next), [BEGUN], "its first is another one");
    }

    #[test]
    fn a_process_that_knows_nothing_tells_what_is_news() {
        assert_eq!(told(None, &with(vec![recovery(1, 500, Some(None))])), [BEGUN, HELPED]);
        assert_eq!(told(None, &with(vec![recovery(1, 602, Some(None))])), [""; 0]);
        assert_eq!(told(None, &with(vec![recovery(1, 599, None)])), [BEGUN]);
        let mut dead = with(vec![recovery(1, 5, Some(None))]);
        dead.1.get_mut(&arn(1)).expect("there").beat_at = WallTime(1);
        assert!(!told(None, &dead).contains(&BEGUN), "it may have died long ago");
        let both = with(vec![recovery(1, 40_000, Some(None)), recovery(2, 5, None)]);
        let full = standing(&both).in_full(&both.0, &both.1);
        let full: Vec<_> = full.iter().map(Change::detail_type).collect();
        assert_eq!(full.iter().filter(|told| **told == BEGUN).count(), 1, "{full:?}");
        assert!(!full.contains(&HELPED), "{full:?}");
    }

    #[test]
    fn a_node_that_recovers_is_told_as_that_and_as_unwell_only_once_it_has_failed() {
        let health = |mut world: World, health| {
            world.1.get_mut(&arn(1)).expect("there").health = health;
            world
        };
        let begun = health(with(vec![recovery(1, 5, None)]), Health::Unknown);
        let failed = health(with(vec![recovery(1, 5, Some(Some("x")))]), Health::Bad);
        assert_eq!(told(Some(&world()), &begun), [BEGUN]);
        assert_eq!(told(Some(&begun), &failed), ["Node Unwell", FAILED]);
        assert_eq!(told(Some(&begun), &with(vec![recovery(1, 5, Some(None))])), [HELPED]);
        let other = health(with(vec![recovery(1, 5, None)]), Health::Bad);
        assert_eq!(told(Some(&world()), &other), ["Node Unwell", BEGUN], "by another check");
    }
}
