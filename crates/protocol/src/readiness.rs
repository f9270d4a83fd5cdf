//! Readiness: whether somebody could take over now, by what the table shows. It decides nothing. It is told to people before
//! they need it.
//!
//! Moments of two machines' clocks are compared, so a node whose clock is off by more than S looks silent to whoever reads
//! this, and not to the standbys, which time by their own clocks.

use std::collections::BTreeMap;
use std::fmt;

use crate::heartbeat::{Health, Heartbeat};
use crate::ids::InstanceArn;
use crate::lease::{Lease, LeaseState};
use crate::probe::Probe;
use crate::time::WallTime;

/// What is wrong with a cluster that is to be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Nobody could take over: there is no standby, or none that beats, is well and does not serve; or something could not be
    /// moved to whoever did, or nobody has known for hours whether it could.
    Unprotected,
    /// Nobody serves: there is no holder, it has released, it is silent, or it has not begun.
    Unserved,
    /// Not every resource has been seen at the holder.
    Unmoved,
}

impl Want {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Unprotected, Self::Unserved, Self::Unmoved];

    /// The name, as metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unprotected => "Unprotected",
            Self::Unserved => "Unserved",
            Self::Unmoved => "Unmoved",
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong, in the order of [`Want::ALL`]. A retired cluster wants nothing, and a paused one no standby: somebody has
/// said that nothing shall move by itself.
pub fn wants(
    lease: &Lease,
    heartbeats: &BTreeMap<InstanceArn, Heartbeat>,
    probe: Option<&Probe>,
    now: WallTime,
) -> Vec<Want> {
    if lease.state == LeaseState::Retired {
        return Vec::new();
    }
    let standbys = lease.members.iter().filter(|member| lease.holder.as_ref() != Some(&member.instance));
    let protected = standbys
        .filter_map(|member| heartbeats.get(&member.instance))
        .any(|heartbeat| is_ready(lease, heartbeat, now))
        && Probe::obstacles_of(probe, lease).is_empty()
        && !Probe::is_overdue(probe, lease, now);
    let holder = lease.holder.as_ref().and_then(|holder| heartbeats.get(holder));
    let served = holder.is_some_and(|heartbeat| {
        heartbeat.released < lease.epoch
            && heartbeat.serving_epoch == Some(lease.epoch)
            && !looks_silent(lease, heartbeat, now)
    });
    let found = [!protected && !lease.is_paused(now), !served, lease.moved < lease.epoch];
    Want::ALL.into_iter().zip(found).filter_map(|(want, found)| found.then_some(want)).collect()
}

/// Whether a standby could take over.
pub fn is_ready(lease: &Lease, heartbeat: &Heartbeat, now: WallTime) -> bool {
    heartbeat.health == Health::Ok
        && !lease.is_excluded(&heartbeat.instance, now)
        && heartbeat.serving_epoch.is_none()
        && !looks_silent(lease, heartbeat, now)
}

/// Whether a heartbeat is more than S from now, by its node's clock against this machine's: one that seems to be from the
/// future may be the last one of a node whose clock was ahead, and who is long dead. Of a node that nothing guards, silence
/// may be without consequence, and is silence all the same: it is held against the cluster's own timing.
pub fn looks_silent(lease: &Lease, heartbeat: &Heartbeat, now: WallTime) -> bool {
    let silence =
        if heartbeat.is_unguarded() { lease.timing.silence() } else { lease.silence_for(heartbeat) };
    now.distance(heartbeat.beat_at) > silence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::UNGUARDED_MS;
    use crate::ids::Epoch;
    use crate::lease::Pause;
    use crate::testing::{self, arn};

    const NOW: WallTime = WallTime(1_800_000_000_000);

    type Edit = fn(&mut Lease, &mut Heartbeat, &mut Heartbeat);

    /// What a cluster in order wants after a change: node 1 serves, node 2 stands by.
    fn after(edit: Edit) -> Vec<Want> {
        let mut lease = testing::lease();
        lease.members.truncate(2);
        let beat = |n| Heartbeat { beat_at: NOW, ..testing::heartbeat(&arn(n), 7) };
        let mut holder = Heartbeat { serving_epoch: Some(lease.epoch), ..beat(1) };
        let mut standby = beat(2);
        edit(&mut lease, &mut holder, &mut standby);
        wants(&lease, &[(arn(1), holder), (arn(2), standby)].into(), None, NOW)
    }

    /// The same, where the standby's last heartbeat was sent then.
    fn wants_at(beat_at: WallTime) -> Vec<Want> {
        let mut lease = testing::lease();
        lease.members.truncate(2);
        let holder =
            Heartbeat { beat_at: NOW, serving_epoch: Some(lease.epoch), ..testing::heartbeat(&arn(1), 7) };
        let standby = Heartbeat { beat_at, ..testing::heartbeat(&arn(2), 7) };
        wants(&lease, &[(arn(1), holder), (arn(2), standby)].into(), None, NOW)
    }

    #[test]
    fn each_want_has_the_name_that_its_alarm_waits_for() {
        assert_eq!(Want::ALL.map(|want| want.to_string()), ["Unprotected", "Unserved", "Unmoved"]);
    }

    #[test]
    fn a_cluster_in_order_wants_nothing() {
        assert_eq!(after(|_, _, _| ()), []);
    }

    #[test]
    fn a_standby_that_could_not_take_over_protects_nothing() {
        let silent = |heartbeat: &mut Heartbeat| heartbeat.beat_at = WallTime(NOW.0 - 6_001);
        for near in [NOW.0 - 6_000, NOW.0 + 6_000] {
            assert_eq!(wants_at(WallTime(near)), []);
        }
        assert_eq!(
            wants_at(WallTime(NOW.0 + 6_001)),
            [Want::Unprotected],
            "its clock was ahead, and it is dead"
        );
        let edits: [Edit; 6] = [
            |lease, _, _| lease.excluded = Some(testing::exclusion(2, WallTime(NOW.0 + 1))),
            |_, _, standby| standby.beat_at = WallTime(NOW.0 - 6_001),
            |_, _, standby| standby.health = Health::Bad,
            |_, _, standby| standby.health = Health::Draining,
            |_, _, standby| standby.serving_epoch = Some(Epoch(1)),
            |lease, _, _| lease.members.truncate(1),
        ];
        for edit in edits {
            assert_eq!(after(edit), [Want::Unprotected]);
        }
        let mut unguarded = testing::heartbeat(&arn(2), 7);
        unguarded.validity_ms = UNGUARDED_MS;
        silent(&mut unguarded);
        assert!(looks_silent(&testing::lease(), &unguarded, NOW), "by the cluster's own timing");
    }

    #[test]
    fn a_standby_that_could_not_be_given_something_protects_nothing() {
        let mut lease = testing::lease();
        lease.members.truncate(2);
        let beat = |n| Heartbeat { beat_at: NOW, ..testing::heartbeat(&arn(n), 7) };
        let holder = Heartbeat { serving_epoch: Some(lease.epoch), ..beat(1) };
        let heartbeats = [(arn(1), holder), (arn(2), beat(2))].into();
        let (resource, why) = ("eipalloc-1".to_owned(), "denied".to_owned());
        let obstacles = vec![crate::probe::Obstacle { node: None, resource, why }];
        let mut probe = Probe { at: NOW, uid: lease.uid.clone(), revision: lease.revision, obstacles };
        assert_eq!(wants(&lease, &heartbeats, Some(&probe), NOW), [Want::Unprotected]);
        probe.uid = crate::ids::RegistrationUid::new("uid-9").expect("valid");
        assert_eq!(wants(&lease, &heartbeats, Some(&probe), NOW), [], "of another registration");
    }

    #[test]
    fn a_holder_that_does_not_serve_is_told_of() {
        let edits: [Edit; 5] = [
            |lease, holder, _| holder.released = lease.epoch,
            |_, holder, _| holder.serving_epoch = None,
            |lease, _, _| lease.epoch = Epoch(9),
            |_, holder, _| holder.beat_at = WallTime(NOW.0 - 6_001),
            |lease, _, _| lease.holder = None,
        ];
        for edit in edits {
            assert!(after(edit).contains(&Want::Unserved));
        }
    }

    #[test]
    fn a_move_that_is_not_recorded_is_told_of_and_a_pause_wants_no_standby() {
        assert_eq!(after(|lease, _, _| lease.moved = Epoch(0)), [Want::Unmoved]);
        let pause = |lease: &mut Lease, until: u64| {
            lease.paused = Some(Pause { until: WallTime(until), by: "alice".to_owned(), why: String::new() });
            lease.members.truncate(1);
        };
        let mut lease = testing::lease();
        pause(&mut lease, NOW.0 + 1);
        assert!(!wants(&lease, &BTreeMap::new(), None, NOW).contains(&Want::Unprotected));
        pause(&mut lease, NOW.0);
        assert!(wants(&lease, &BTreeMap::new(), None, NOW).contains(&Want::Unprotected));
        lease.state = LeaseState::Retired;
        assert_eq!(wants(&lease, &BTreeMap::new(), None, NOW), []);
    }
}
