//! Inputs that come from the table, and reasons to hand over, each with the rule it shows.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::lease::{Lease, LeaseState, Mode, SCHEMA};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::timing::{Durations, Timing};

use crate::agent::{Agent, EARLIER, lost};
use crate::world::{arn, cluster, heartbeat, intent, pause};

/// One way in which an input comes about.
pub(crate) type Way = Box<dyn Fn(&mut Agent)>;

/// What is fed to a node, once for each way in which it may come about; all of them must lead to the same.
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) ways: Vec<Way>,
}

pub(crate) fn input(name: &'static str, rule: &'static str, ways: Vec<Way>) -> Input {
    Input { name, rule, ways }
}

pub(crate) fn way(feed: impl Fn(&mut Agent) + 'static) -> Way {
    Box::new(feed)
}

/// W is confirmed, and R shows the lease as `edit` leaves it.
fn shown(edit: impl Fn(&mut Lease) + 'static) -> Way {
    way(move |agent| {
        edit(&mut agent.lease);
        agent.cycle(Ok(()));
    })
}

/// The same, and then the others' heartbeats are read.
fn shown_with_others(edit: impl Fn(&mut Lease) + 'static) -> Way {
    way(move |agent| {
        edit(&mut agent.lease);
        agent.cycle(Ok(()));
        agent.read_others();
    })
}

/// W is not confirmed, and R shows the lease as `edit` leaves it.
fn shown_alone(edit: impl Fn(&mut Lease) + 'static) -> Way {
    way(move |agent| {
        edit(&mut agent.lease);
        agent.cycle(Err(lost().into()));
    })
}

/// Before the input, a whole cycle shows the lease as `edit` leaves it and these others. Its W is not confirmed, so it
/// changes nothing else.
pub(crate) fn after(
    edit: impl Fn(&mut Lease) + 'static,
    others_seen: bool,
    feed: impl Fn(&mut Agent) + 'static,
) -> Way {
    way(move |agent| {
        edit(&mut agent.lease);
        agent.cycle(Err(lost().into()));
        if others_seen {
            agent.read_others();
        } else {
            agent.node.handle_heartbeats(agent.now, Ok(BTreeMap::new()));
        }
        agent.begin_cycle();
        agent.forget();
        feed(agent);
    })
}

/// Before the input, a whole cycle shows the lease as `edit` leaves it, which asks for no guard; so the W that is under way
/// says that there is none.
pub(crate) fn told(edit: impl Fn(&mut Lease) + 'static, feed: impl Fn(&mut Agent) + 'static) -> Way {
    way(move |agent| {
        edit(&mut agent.lease);
        agent.cycle(Ok(()));
        agent.read_others();
        agent.begin_cycle();
        agent.forget();
        feed(agent);
    })
}

pub(crate) fn retired(lease: &mut Lease) {
    lease.state = LeaseState::Retired;
}

pub(crate) fn available(lease: &mut Lease) {
    lease.mode = Mode::Available;
}

fn health(agent: &mut Agent, health: Health) {
    agent.node.handle_health(agent.now, health);
}

fn leaving(agent: &mut Agent) {
    agent.node.handle_leaving(agent.now, true);
}

/// What W and R say while the lease names the node.
pub(crate) fn of_the_table() -> Vec<Input> {
    let unconfirmed = [lost(), Failure::Throttled, Failure::Conflict, Failure::Denied(String::new())];
    let mut ways: Vec<_> = unconfirmed
        .map(|failure| way(move |agent: &mut Agent| agent.cycle(Err(failure.clone().into()))))
        .into();
    ways.push(way(|agent| {
        let later = Heartbeat { seq: Seq(900), ..heartbeat('a', 1) };
        agent.cycle(Err(WriteFailure::Refused(Some(later))));
    }));
    vec![
        input(
            "W confirmed, R names it",
            "both together extend the budget, and nothing less does",
            vec![shown(|_| {})],
        ),
        input(
            "W confirmed, R names it at a later epoch",
            "an epoch is served only by a service that was promoted at it",
            vec![shown(|lease| lease.epoch = Epoch(9))],
        ),
        input(
            "W confirmed, R names it and shows a longer validity",
            "what W published is what it earns",
            vec![shown(|lease| lease.timing = Timing::new(longer()).expect("a timing"))],
        ),
        input(
            "W confirmed, R names it, answered after validity ended",
            "an answer that comes too late starts nothing, and what has ended has ended",
            vec![way(|agent| {
                agent.pass(Duration::from_secs(5));
                agent.cycle(Ok(()));
            })],
        ),
        input("W not confirmed, R names it", "what is not confirmed earns nothing and ends nothing", ways),
        input("W confirmed, R shows no lease", "what cannot be read is unknown, and never a loss", unread()),
    ]
}

/// What R says of others, of nobody, and of the cluster.
pub(crate) fn of_another() -> Vec<Input> {
    let to_b = |lease: &mut Lease| {
        lease.epoch = Epoch(8);
        lease.holder = Some(arn('b'));
        lease.intent = None;
    };
    vec![
        input(
            "R names another",
            "a positive read of another holder stops the service, in either mode",
            vec![
                shown(to_b),
                shown_alone(to_b),
                shown(move |lease| {
                    to_b(lease);
                    lease.mode = Mode::Available;
                }),
            ],
        ),
        input(
            "R names nobody",
            "a lease that nobody may serve is for the arbiter",
            vec![shown(|lease| {
                lease.epoch = Epoch(8);
                lease.holder = None;
            })],
        ),
        input(
            "W confirmed, R says retired or shows available mode",
            "the guard stands until the table knows that it will not; the next W says so, at once",
            vec![shown(retired), shown(available)],
        ),
        input(
            "W not confirmed, R says retired or shows available mode",
            "the table may not know it yet, whatever that W has said",
            vec![
                shown_alone(retired),
                shown_alone(available),
                told(retired, |agent| agent.cycle(Err(lost().into()))),
                told(available, |agent| agent.cycle(Err(lost().into()))),
            ],
        ),
        input(
            "W that said so confirmed, R says retired",
            "nobody guards a retired cluster, and its service is left as it is",
            vec![told(retired, |agent| agent.cycle(Ok(())))],
        ),
        input(
            "W that said so confirmed, R shows available mode",
            "outside strict mode a service runs without a guard, and no budget ends it",
            vec![told(available, |agent| agent.cycle(Ok(())))],
        ),
        input(
            "R names it, and it is no member",
            "who was taken out of the cluster hands over",
            vec![shown(|lease| lease.members.retain(|member| member.instance != arn('a')))],
        ),
    ]
}

fn longer() -> Durations {
    Durations { validity_ms: 10_000, silence_ms: 20_000, ..Timing::DEFAULT.durations() }
}

/// Ways in which R can fail to show a lease.
fn unread() -> Vec<Way> {
    let edits: [fn(&mut Lease); 3] = [
        |lease| lease.cluster = cluster("other"),
        |lease| lease.schema = SCHEMA + 1,
        |lease| {
            lease.epoch = Epoch(6);
            lease.holder = Some(arn('b'));
        },
    ];
    let mut ways: Vec<_> = edits.map(shown).into();
    ways.push(way(|agent| agent.cycle_with(Ok(()), Ok(None))));
    ways.push(way(|agent| agent.cycle_with(Ok(()), Err(lost()))));
    ways.push(way(|agent| agent.cycle_with(Ok(()), Err(Failure::Malformed(String::new())))));
    ways
}

/// Reasons to hand over.
pub(crate) fn of_wishes() -> Vec<Input> {
    let edits: [fn(&mut Lease); 4] = [
        |lease| lease.intent = Some(intent('c')),
        |lease| lease.intent.iter_mut().for_each(|intent| intent.until = EARLIER),
        |lease| lease.intent.iter_mut().for_each(|intent| intent.epoch = Epoch(6)),
        |lease| lease.paused = Some(pause()),
    ];
    let void = edits.map(|edit| {
        shown_with_others(move |lease| {
            lease.intent = Some(intent('b'));
            edit(lease);
        })
    });
    vec![
        input(
            "W confirmed, R shows an intent",
            "nothing is started only to be handed over; the others are read first",
            vec![shown(|lease| lease.intent = Some(intent('b')))],
        ),
        input(
            "W confirmed, R shows an intent, and its target is seen beating",
            "a wish is obeyed if its target is known to be well at that moment",
            vec![shown_with_others(|lease| lease.intent = Some(intent('b')))],
        ),
        input(
            "W confirmed, R shows an intent that is void",
            "a target that is not seen beating, an end that has passed, another epoch or a pause make it void",
            void.into(),
        ),
        input(
            "health turns bad, node b was seen beating",
            "who cannot serve hands over to somebody who can",
            vec![way(|agent| health(agent, Health::Bad))],
        ),
        input(
            "the end of the instance is announced, node b was seen beating",
            "who will be gone hands over while it can",
            vec![way(leaving)],
        ),
        input(
            "the end of the instance is announced and nobody was seen beating, or a pause stands",
            "it serves to its end",
            vec![after(|_| {}, false, leaving), after(|lease| lease.paused = Some(pause()), true, leaving)],
        ),
        input(
            "health turns bad and nobody was seen beating, or a pause stands; or health turns unknown or draining",
            "a service that runs badly is better than none",
            vec![
                after(|_| {}, false, |agent| health(agent, Health::Bad)),
                after(|lease| lease.paused = Some(pause()), true, |agent| health(agent, Health::Bad)),
                way(|agent| health(agent, Health::Unknown)),
                way(|agent| health(agent, Health::Draining)),
            ],
        ),
    ]
}
