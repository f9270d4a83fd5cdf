//! The standby's table: watching and claiming, against what it sees of the holder.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::heartbeat::{Beat, Health, UNGUARDED_MS};
use baton_protocol::ids::Epoch;
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::node::Command;

use crate::agent::{Agent, lost};
use crate::render::{commands, head, row};
use crate::world::{EPOCH, arn, lease, pause, run};

type Feed = fn(&mut Agent);

/// Node a stands by while node b holds epoch 7 and is mute. W is under way in the cycle that shows the silence to be enough.
fn watching() -> Agent {
    let mut agent = Agent::booted(Lease { holder: Some(arn('b')), ..lease() });
    for _ in 0..6 {
        agent.begin_cycle();
        see(&mut agent);
    }
    agent.begin_cycle();
    assert!(last_beat(&agent).claim.is_none());
    agent
}

/// The same node with its claim in the table, and the next W under way.
fn claiming() -> Agent {
    let mut agent = watching();
    see(&mut agent);
    agent.begin_cycle();
    see(&mut agent);
    agent.begin_cycle();
    assert!(last_beat(&agent).claim.is_some());
    agent
}

/// W is confirmed, R shows the lease, and the heartbeats are read as they are.
fn see(agent: &mut Agent) {
    agent.cycle(Ok(()));
    agent.hear_others();
}

fn last_beat(agent: &Agent) -> &Beat {
    let beats = agent.said.iter().rev().find_map(|said| match said {
        Command::Beat(beat) => Some(beat.as_ref()),
        _ => None,
    });
    beats.expect("a heartbeat")
}

fn holder(agent: &mut Agent) -> &mut baton_protocol::heartbeat::Heartbeat {
    agent.peers.get_mut(&'b').expect("the holder")
}

/// Each input with the ways in which it may come about.
const INPUTS: [(&str, &[Feed]); 15] = [
    ("the holder's heartbeat stands still, for S by now", &[see]),
    (
        "the holder's heartbeat has changed",
        &[
            |agent| {
                holder(agent).seq.0 += 1;
                see(agent);
            },
            |agent| {
                holder(agent).incarnation = run("next-run");
                see(agent);
            },
        ],
    ),
    (
        "it stands still and publishes a longer validity",
        &[|agent| {
            holder(agent).validity_ms = 10_000;
            see(agent);
        }],
    ),
    (
        "the holder says in strict mode that nothing guards its service",
        &[|agent| {
            holder(agent).validity_ms = UNGUARDED_MS;
            holder(agent).seq.0 += 1;
            for _ in 0..60 {
                see(agent);
                agent.begin_cycle();
            }
            see(agent);
        }],
    ),
    (
        "the same in available mode, for S by now",
        &[|agent| {
            agent.lease.mode = Mode::Available;
            holder(agent).validity_ms = UNGUARDED_MS;
            see(agent);
        }],
    ),
    (
        "the holder has sworn",
        &[|agent| {
            holder(agent).released = EPOCH;
            see(agent);
        }],
    ),
    (
        "the holder has sworn, and its heartbeat has changed",
        &[|agent| {
            holder(agent).released = EPOCH;
            holder(agent).seq.0 += 1;
            see(agent);
        }],
    ),
    (
        "lease or heartbeat cannot be read, or the holder has none",
        &[
            |agent| agent.cycle_with(Ok(()), Err(lost())),
            |agent| {
                agent.cycle(Ok(()));
                agent.node.handle_heartbeats(agent.now, Err(lost()));
            },
            |agent| {
                agent.cycle(Ok(()));
                agent.node.handle_heartbeats(agent.now, Ok(BTreeMap::new()));
            },
        ],
    ),
    (
        "the first good read after a gap of more than h and two attempts",
        &[|agent| {
            agent.pass(Duration::from_secs(3));
            see(agent);
        }],
    ),
    (
        "its own health is not ok, or it is no member",
        &[
            |agent| {
                agent.node.handle_health(agent.now, Health::Bad);
                see(agent);
            },
            |agent| {
                agent.node.handle_health(agent.now, Health::Unknown);
                see(agent);
            },
            |agent| {
                agent.lease.members.retain(|member| member.instance != arn('a'));
                see(agent);
            },
        ],
    ),
    (
        "a pause stands",
        &[|agent| {
            agent.lease.paused = Some(pause());
            see(agent);
        }],
    ),
    (
        "R shows another epoch, of the same holder or another",
        &[
            |agent| {
                agent.lease.epoch = Epoch(8);
                see(agent);
            },
            |agent| {
                agent.lease.epoch = Epoch(8);
                agent.lease.holder = Some(arn('c'));
                see(agent);
            },
        ],
    ),
    (
        "R names nobody",
        &[|agent| {
            agent.lease.epoch = Epoch(8);
            agent.lease.holder = None;
            agent.cycle(Ok(()));
        }],
    ),
    (
        "W confirmed, R names it",
        &[|agent| {
            agent.lease.epoch = Epoch(8);
            agent.lease.holder = Some(arn('a'));
            agent.cycle(Ok(()));
        }],
    ),
    (
        "W not confirmed, R names it",
        &[|agent| {
            agent.lease.epoch = Epoch(8);
            agent.lease.holder = Some(arn('a'));
            agent.cycle(Err(lost().into()));
        }],
    ),
];

/// What follows, and what was handed out until the next W, whose claim shows the state.
fn answer(mut agent: Agent, feed: Feed) -> (String, String) {
    agent.forget();
    feed(&mut agent);
    agent.listen();
    let said = commands(&agent.said, agent.sent);
    let state = agent.state();
    if agent.said.iter().any(|said| matches!(said, Command::ReadHeartbeats(_))) && state == "starting" {
        return (state.to_owned(), said);
    }
    agent.hear_others();
    let beaten = {
        agent.begin_cycle();
        last_beat(&agent)
    };
    let next = if beaten.claim.is_some() { "claiming" } else { "watching" };
    (next.to_owned(), said)
}

pub(crate) fn table() -> String {
    let mut table = head(["input", "while watching", "handed out", "while claiming", "handed out"]);
    for (name, ways) in INPUTS {
        let of = |base: fn() -> Agent| {
            let mut answers = ways.iter().map(|way| answer(base(), *way));
            let first = answers.next().expect("at least one way");
            assert!(answers.all(|other| other == first), "{name}: two ways, two ends");
            first
        };
        let ((watching, said), (claiming, said_claiming)) = (of(watching), of(claiming));
        table.push_str(&row([name, &watching, &said, &claiming, &said_claiming]));
    }
    table
}
