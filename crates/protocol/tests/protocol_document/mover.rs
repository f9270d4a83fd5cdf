//! The next call of each resource, and whom the sweep wakes the arbiter for.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::ec2::{RouteTarget, Seat};
use baton_protocol::failback::Failback;
use baton_protocol::heartbeat::{Claim, Heartbeat};
use baton_protocol::ids::{Epoch, InstanceArn, Seq};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::plan::{self, AddressKnown, Need, RouteKnown};
use baton_protocol::probe::Probe;
use baton_protocol::sweep::{ROUND, Span, needs_wake};
use baton_protocol::time::WallTime;

use crate::render::{head, row};
use crate::world::{
    EPOCH, WALL, allocation, arn, association, heartbeat, interface, lease, placement, prepared,
    prepared_association, route, run, subnet,
};

fn word(need: Need) -> String {
    match need {
        Need::Nothing => "in place".to_owned(),
        Need::Call(call) => format!("`{}`", call.action()),
        Need::Person(_) => "blocked: a person is told".to_owned(),
    }
}

pub(crate) fn table() -> String {
    let address = |known: &AddressKnown, seats: &[Seat], renew| {
        word(plan::address(&allocation(1), &placement('b'), known, seats, renew))
    };
    let foreign = [Seat { allocation: allocation(9), placement: placement('b') }];
    let mut table =
        head(["an Elastic IP is seen", "next call", "after an unfinished move", "with another in its seat"]);
    for (name, known) in [
        ("free", None),
        ("at the holder's seat", Some((association(1), Some(placement('b'))))),
        ("elsewhere", Some((association(1), Some(placement('a'))))),
        ("associated with what has no seat", Some((association(1), None))),
    ] {
        let cells =
            [address(&known, &[], false), address(&known, &[], true), address(&known, &foreign, false)];
        table.push_str(&row([name.to_owned()].into_iter().chain(cells)));
    }
    let mut routes = head(["a declared route is seen", "next call", "where gateways may be replaced"]);
    for (name, known) in [
        ("at the holder's interface", RouteKnown::To(RouteTarget::Interface(interface('b')))),
        ("at another interface", RouteKnown::To(RouteTarget::Interface(interface('a')))),
        ("at a gateway or another target", RouteKnown::Gateway("igw-1".to_owned())),
        ("at a gateway that is gone", RouteKnown::To(RouteTarget::Other("igw-1".to_owned()))),
        ("nowhere: the table does not hold it", RouteKnown::Missing),
        ("nowhere: there is no such table", RouteKnown::NoTable),
    ] {
        let next = |allowed| word(plan::route(&route(), &interface('b'), &known, allowed));
        routes.push_str(&row([name.to_owned(), next(false), next(true)]));
    }
    let mut subnets = head(["a subnet is seen associated", "next call"]);
    let prepared = ['a', 'b'].map(prepared).into();
    for (name, known) in [
        ("with the holder's table", Some(prepared_association('b'))),
        ("with another node's table", Some(prepared_association('a'))),
        ("with a table that is none of the prepared", Some(prepared_association('c'))),
        ("with none of its own", None),
    ] {
        let next = plan::subnet(&subnet(), &self::prepared('b'), &prepared, known.as_ref());
        subnets.push_str(&row([name.to_owned(), word(next)]));
    }
    format!("{table}\n{routes}\n{subnets}")
}

type Heartbeats = BTreeMap<InstanceArn, Heartbeat>;

type Edit = fn(&mut Lease, &mut Heartbeats);

/// Each kind of unfinished business, in the order in which they are looked for.
const SEEN: [(&str, Edit); 11] = [
    ("everything in order", |_, _| {}),
    ("the cluster is retired, whatever else", |lease, _| {
        lease.state = LeaseState::Retired;
        lease.moved = Epoch(6);
    }),
    ("no holder", |lease, _| lease.holder = None),
    ("the holder has sworn the current epoch", |_, heartbeats| edit(heartbeats, 'a', |a| a.released = EPOCH)),
    ("a claim that names the holder's last heartbeat", |_, heartbeats| {
        edit(heartbeats, 'b', |b| b.claim = Some(claim(10)));
    }),
    ("a claim that names an earlier one", |_, heartbeats| {
        edit(heartbeats, 'b', |b| b.claim = Some(claim(9)))
    }),
    ("resources of the current epoch not all seen in place", |lease, _| lease.moved = Epoch(6)),
    ("a second look is due", |lease, _| lease.verify_at = Some(WALL)),
    ("a failback is due", |lease, heartbeats| {
        lease.failback = Failback::Automatic { hold_ms: 60_000, window: None };
        lease.last_grant = Some(WallTime(WALL.0 - 60_000));
        lease.members[1].priority = 10;
        edit(heartbeats, 'a', |a| (a.serving_epoch, a.healthy_since) = (Some(EPOCH), Some(WALL)));
        edit(heartbeats, 'b', |b| b.healthy_since = Some(WallTime(WALL.0 - 60_000)));
    }),
    ("no heartbeat of the holder for a minute", |_, heartbeats| {
        edit(heartbeats, 'a', |a| a.beat_at = WallTime(WALL.0 - 60_000));
    }),
    ("the holder has never written one", |_, heartbeats| {
        heartbeats.remove(&arn('a'));
    }),
];

fn edit(heartbeats: &mut Heartbeats, node: char, edit: fn(&mut Heartbeat)) {
    edit(heartbeats.get_mut(&arn(node)).expect("a member"));
}

fn claim(seq: u64) -> Claim {
    let silent_ms = u64::try_from(Duration::from_secs(6).as_millis()).expect("short");
    Claim { epoch: EPOCH, holder: arn('a'), incarnation: run("this-run"), seq: Seq(seq), silent_ms, at: WALL }
}

pub(crate) fn sweep() -> String {
    let mut table = head(["what the sweep sees", "wakes the arbiter as", "when it is the cluster's turn"]);
    for (name, edit) in SEEN {
        let mut lease = lease();
        let mut heartbeats = ['a', 'b', 'c'].map(|node| (arn(node), heartbeat(node, 10))).into();
        edit(&mut lease, &mut heartbeats);
        let known =
            Probe { at: WALL, uid: lease.uid.clone(), revision: lease.revision, obstacles: Vec::new() };
        let round = WallTime(WALL.0 - u64::try_from(ROUND.as_millis()).expect("short"));
        let [turn, other] = [round, WALL].map(|since| {
            needs_wake(&lease, &heartbeats, Some(&known), Span { since, until: WALL })
                .map_or_else(|| "no".to_owned(), |why| format!("`{why}`"))
        });
        table.push_str(&row([name, &other, &turn]));
    }
    table
}
