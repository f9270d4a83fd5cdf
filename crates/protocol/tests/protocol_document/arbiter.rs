//! The arbiter's tables: ground, candidate and pause against the decision; and what is no ground.

use std::collections::{BTreeMap, BTreeSet};

use baton_protocol::decide::{Decision, Snapshot, Stay, decide};
use baton_protocol::fence::{Fencing, Silent, Stopped};
use baton_protocol::grant::{Grant, HolderCheck};
use baton_protocol::heartbeat::{Claim, Health, Heartbeat, UNGUARDED_MS};
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::lease::{Intent, LeaseState, Mode};
use baton_protocol::policy::Takeover;
use baton_protocol::time::WallTime;

use crate::render::{head, row};
use crate::world::{EPOCH, WALL, arn, heartbeat, intent, lease, name_of, pause, run};

type Edit = fn(&mut Snapshot);

/// Node a holds epoch 7, its heartbeat is number 10; node b is the only other member.
fn snapshot() -> Snapshot {
    let mut lease = lease();
    lease.members.retain(|member| member.instance != arn('c'));
    Snapshot {
        lease,
        heartbeats: ['a', 'b'].map(|node| (arn(node), heartbeat(node, 10))).into(),
        earlier: BTreeMap::new(),
        terminated: BTreeSet::new(),
        stopped: None,
        looked_enough: false,
        fleet: baton_protocol::brake::Fleet::Unbraked,
        at: WALL,
        by: "table".to_owned(),
    }
}

fn of(snapshot: &mut Snapshot, node: char) -> &mut Heartbeat {
    snapshot.heartbeats.get_mut(&arn(node)).expect("a member")
}

fn claim() -> Claim {
    Claim {
        epoch: EPOCH,
        holder: arn('a'),
        incarnation: run("this-run"),
        seq: Seq(10),
        silent_ms: 6_000,
        at: WALL,
    }
}

const GROUNDS: [(&str, Edit); 11] = [
    ("none", |_| {}),
    ("release: node a has sworn 7", |world| of(world, 'a').released = EPOCH),
    ("silence: node b claims `(7, a, this-run, 10)`", |world| of(world, 'b').claim = Some(claim())),
    ("the same, and silence is left to an operator", |world| {
        of(world, 'b').claim = Some(claim());
        world.lease.takeover = Takeover::Notify;
    }),
    ("the same, and an operator has said so", |world| {
        of(world, 'b').claim = Some(claim());
        world.lease.takeover = Takeover::Notify;
        world.lease.intent = Some(Intent { to: None, failover: true, ..intent('b') });
    }),
    ("the same, and the cluster asks for a fence", |world| {
        of(world, 'b').claim = Some(claim());
        world.lease.fencing = Fencing::Stop;
    }),
    ("the same, and EC2 has stopped node a since", |world| {
        of(world, 'b').claim = Some(claim());
        world.lease.fencing = Fencing::Stop;
        let of = Silent { holder: arn('a'), epoch: EPOCH, incarnation: run("this-run"), seq: Seq(10) };
        world.stopped = Some(Stopped { of, took_ms: 1 });
    }),
    ("gone: EC2 calls node a terminated", |world| {
        world.terminated.insert(arn('a'));
    }),
    ("gone, and node a never wrote a heartbeat", |world| {
        world.terminated.insert(arn('a'));
        world.heartbeats.remove(&arn('a'));
    }),
    ("vacancy: the lease has no holder", |world| world.lease.holder = None),
    ("retired, whatever else", |world| {
        world.lease.state = LeaseState::Retired;
        of(world, 'a').released = EPOCH;
    }),
];

const CANDIDATES: [(&str, Edit); 5] = [
    ("b healthy, just beaten", |_| {}),
    ("b healthy, last beat long ago", |world| {
        of(world, 'b').beat_at = WallTime(0);
        world.earlier.insert(arn('b'), Seq(10));
    }),
    ("the same, and its number has grown", |world| {
        of(world, 'b').beat_at = WallTime(0);
        world.earlier.insert(arn('b'), Seq(9));
    }),
    ("b not healthy, a healthy", |world| of(world, 'b').health = Health::Bad),
    ("neither healthy", |world| {
        for heartbeat in world.heartbeats.values_mut() {
            heartbeat.health = Health::Draining;
        }
    }),
];

fn word(decision: &Decision) -> String {
    match decision {
        Decision::Grant(grant) => format!("grant {}", name_of(&grant.to)),
        Decision::Fence(_) => "stop a first".to_owned(),
        Decision::LookAgain => "look again".to_owned(),
        Decision::Count => "count".to_owned(),
        Decision::Stay(Stay::Retired) => "stay: retired".to_owned(),
        Decision::Stay(Stay::NoGround) => "stay: no ground".to_owned(),
        Decision::Stay(Stay::Paused) => "stay: paused".to_owned(),
        Decision::Stay(Stay::Held(_)) => "stay: held".to_owned(),
        Decision::Stay(Stay::Unfenced(_)) => "stay: not stopped".to_owned(),
        Decision::Stay(Stay::NoCandidate(_)) => "stay: nobody".to_owned(),
    }
}

/// What the transaction compares of the holder, beside the lease's uid, epoch, revision, holder and wish and the candidate's
/// heartbeat.
fn compared(grant: &Grant) -> String {
    let holder = match &grant.holder_check {
        HolderCheck::Nobody => "nothing: there is no holder".to_owned(),
        HolderCheck::Absent => "that it has still no heartbeat".to_owned(),
        HolderCheck::Unchanged { incarnation, seq } => {
            format!("that its heartbeat is still `({incarnation}, {seq})`")
        }
        HolderCheck::Released { epoch } => format!("that it has sworn {epoch} or more"),
    };
    if grant.yields_to_pause() { format!("{holder}; and that nobody paused") } else { holder }
}

pub(crate) fn table() -> String {
    let [one, two, three, four, five] = CANDIDATES.map(|(name, _)| name);
    let mut table = head(["ground", "paused", one, two, three, four, five, "compared again of the holder"]);
    for (name, ground) in GROUNDS {
        for paused in [false, true] {
            let mut cells = vec![name.to_owned(), if paused { "yes" } else { "no" }.to_owned()];
            let mut checks = BTreeSet::new();
            for (_, candidate) in CANDIDATES {
                let mut world = snapshot();
                candidate(&mut world);
                ground(&mut world);
                world.lease.paused = paused.then(pause);
                let decision = decide(&world);
                if let Decision::Grant(grant) = &decision {
                    checks.insert(compared(grant));
                }
                cells.push(word(&decision));
            }
            cells.push(checks.into_iter().collect::<Vec<_>>().join(" / "));
            table.push_str(&row(cells));
        }
    }
    format!("{table}\n{}", no_grounds())
}

const NO_GROUNDS: [(&str, Edit); 11] = [
    ("a claim about another epoch", |world| edit_claim(world, |claim| claim.epoch = Epoch(6))),
    ("a claim about another holder", |world| edit_claim(world, |claim| claim.holder = arn('c'))),
    ("a claim about another run of the holder", |world| {
        edit_claim(world, |claim| claim.incarnation = run("old"))
    }),
    ("a claim about an earlier heartbeat", |world| edit_claim(world, |claim| claim.seq = Seq(9))),
    ("a claim by a node whose health is not ok", |world| {
        edit_claim(world, |_| {});
        of(world, 'b').health = Health::Bad;
    }),
    ("a claim by the holder itself", |world| of(world, 'a').claim = Some(claim())),
    ("a claim by a node that is no member", |world| {
        edit_claim(world, |_| {});
        world.lease.members.retain(|member| member.instance != arn('b'));
    }),
    ("a claim against a holder that nothing guards", |world| {
        edit_claim(world, |_| {});
        of(world, 'a').validity_ms = UNGUARDED_MS;
    }),
    ("the same in available mode", |world| {
        edit_claim(world, |_| {});
        of(world, 'a').validity_ms = UNGUARDED_MS;
        world.lease.mode = Mode::Available;
    }),
    ("an oath about an earlier epoch", |world| of(world, 'a').released = Epoch(6)),
    ("a holder without a heartbeat, and a claim", |world| {
        edit_claim(world, |_| {});
        world.heartbeats.remove(&arn('a'));
    }),
];

fn edit_claim(world: &mut Snapshot, edit: fn(&mut Claim)) {
    let mut claim = claim();
    edit(&mut claim);
    of(world, 'b').claim = Some(claim);
}

fn no_grounds() -> String {
    let mut table = head(["what is seen", "decision"]);
    for (name, edit) in NO_GROUNDS {
        let mut world = snapshot();
        edit(&mut world);
        table.push_str(&row([name, &word(&decide(&world))]));
    }
    table
}
