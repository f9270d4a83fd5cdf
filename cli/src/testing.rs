//! A cluster to test with: `orders`, held by db-a at epoch 7, with db-b and db-c as standbys.

pub(crate) mod world;

use std::collections::BTreeMap;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::{Epoch, InstanceArn, RequestId, Seq};
use baton_protocol::lease::{Lease, LeaseState, Member, Mode, SCHEMA};
use baton_protocol::probe::Probe;
use baton_protocol::request::{Request, Wish};
use baton_protocol::resource::{Address, Destination, Resources, Route};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;

use crate::command::Snapshot;
use crate::console::Look;

/// The moment at which everything is looked at: 2026-09-21T14:13:20Z.
pub(crate) const NOW: WallTime = WallTime(1_790_000_000_000);

/// A moment before [`NOW`].
pub(crate) fn before(ms: u64) -> WallTime {
    WallTime(NOW.0 - ms)
}

/// Parses a name that is known to be good.
pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// The instance of db-a, db-b or db-c by its letter.
pub(crate) fn arn(letter: char) -> InstanceArn {
    name(&format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-{}", letter.to_string().repeat(17)))
}

fn member(letter: char, zone: &str, priority: u16) -> Member {
    Member {
        node: name(&format!("db-{letter}")),
        instance: arn(letter),
        zone: zone.to_owned(),
        interface: name(&format!("eni-{}", letter.to_string().repeat(17))),
        placements: BTreeMap::new(),
        priority,
    }
}

/// The lease: granted a day ago, addresses moved.
pub(crate) fn lease() -> Lease {
    Lease {
        cluster: name("orders"),
        uid: name("u-1"),
        state: LeaseState::Active,
        epoch: Epoch(7),
        holder: Some(arn('a')),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: vec![member('a', "euw1-az1", 10), member('b', "euw1-az2", 20), member('c', "euw1-az3", 30)],
        resources: Resources {
            addresses: vec![Address {
                allocation: name("eipalloc-0123456789abcdef0"),
                public_ip: "198.51.100.7".parse().expect("an address"),
            }],
            routes: vec![Route {
                table: name("rtb-0123456789abcdef0"),
                destination: Destination::new("10.9.0.1/32").expect("a destination"),
            }],
            ..Resources::default()
        },
        roster: None,
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved: Epoch(7),
        verify_at: None,
        rotated: BTreeMap::new(),
        observed: Default::default(),
        last_grant: Some(before(86_400_000)),
        recent_grants: Vec::new(),
        revision: 1,
        schema: SCHEMA,
        rules: 0,
    }
}

/// A healthy node's heartbeat, 0.9 s old; db-a's says that it serves.
pub(crate) fn heartbeat(letter: char) -> Heartbeat {
    let serves = letter == 'a';
    Heartbeat {
        cluster: name("orders"),
        instance: arn(letter),
        incarnation: name(&format!("run-{letter}")),
        seq: Seq(100),
        boot_id: "boot".to_owned(),
        health: Health::Ok,
        released: Epoch(0),
        claim: None,
        serving_epoch: serves.then_some(Epoch(7)),
        healthy_since: None,
        serving_since: serves.then(|| before(86_400_000)),
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: if serves { vec!["198.51.100.7".parse().expect("an address")] } else { Vec::new() },
        beat_at: before(900),
        agent_version: "0.1.0".to_owned(),
        schema: SCHEMA,
    }
}

/// What a probe found that found all well.
pub(crate) fn probe(lease: &Lease) -> Probe {
    Probe { at: NOW, uid: lease.uid.clone(), revision: lease.revision, obstacles: Vec::new() }
}

/// A reading of the cluster in good order.
pub(crate) fn snapshot() -> Snapshot {
    let heartbeats = ['a', 'b', 'c'].map(|letter| (arn(letter), heartbeat(letter)));
    Snapshot { lease: lease(), heartbeats: BTreeMap::from(heartbeats), probe: Some(probe(&lease())), at: NOW }
}

impl Snapshot {
    /// The heartbeat of db-a, db-b or db-c, to be changed.
    pub(crate) fn beat(&mut self, letter: char) -> &mut Heartbeat {
        self.heartbeats.get_mut(&arn(letter)).expect("the fixture's node")
    }
}

/// A request to hand over from epoch 7, made now and good for two minutes.
pub(crate) fn request(to: Option<char>) -> Request {
    Request {
        cluster: name("orders"),
        id: RequestId::new("01K5NXP4000000000000000000").expect("an id"),
        wish: Wish::Switchover { to: to.map(arn), why: String::new() },
        by: "alice@ops-1".to_owned(),
        at: NOW,
        until: WallTime(NOW.0 + 120_000),
        epoch: Epoch(7),
        answer: None,
    }
}

/// Output into a pipe.
pub(crate) const PIPE: Look = Look { borders: false, can_ask: false, color: false, width: None };

/// Output onto a wide terminal without colours.
pub(crate) const TERMINAL: Look = Look { borders: true, can_ask: true, color: false, width: Some(160) };

/// Compares a text with the golden file of this name; `BLESS=1` writes the file instead, to be read in the diff.
pub(crate) fn assert_golden(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{file} differs; expected:\n{golden}\nfound:\n{text}");
}
