//! How a cluster and its nodes stand, and what has changed since it was looked at before: for people and their tools, who are told of
//! it on the bus. It decides nothing.
//!
//! Nothing but the process that looks remembers how it stood before. One that begins anew takes everything to have been well,
//! so what is wrong for long may be told again, and what became well in between is not told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

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
}

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
        }
    }
}

/// The `detail-type` of each change.
pub const DETAIL_TYPES: [&str; 11] = [
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
            let node = Node {
                incarnation: heartbeat.incarnation.clone(),
                silent: looks_silent(lease, heartbeat, now),
                well: heartbeat.health == Health::Ok,
            };
            Some((member.node.to_string(), node))
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
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::testing::{self, arn, heartbeat, incarnation};

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
        ];
        assert_eq!(all.each_ref().map(Change::detail_type), DETAIL_TYPES);
        let text = serde_json::to_string(&all[9]).expect("can be written");
        assert_eq!(text, r#"{"unwell":{"node":"node-a","health":"bad"}}"#);
    }
}
