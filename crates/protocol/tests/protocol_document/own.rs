//! Inputs that come from the node itself: time, the dead-man, the hooks, the oath, and the end of the agent.

use std::time::Duration;

use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::node::{HookOutcome, Shutdown};
use baton_protocol::outcome::{Failure, WriteFailure};

use crate::agent::{Agent, lost};
use crate::input::{Input, Way, after, available, input, retired, told, way};
use crate::world::{heartbeat, pause, run};

fn refused(found: Option<Heartbeat>) -> Way {
    way(move |agent| agent.node.handle_beat(agent.now, Err(WriteFailure::Refused(found.clone()))))
}

fn long() -> Duration {
    Duration::from_secs(30)
}

/// Time, the dead-man and hooks.
pub(crate) fn of_the_service() -> Vec<Input> {
    let hook = |outcome, late: bool| {
        way(move |agent: &mut Agent| {
            agent.pass(if late { long() } else { Duration::ZERO });
            agent.promoted(outcome);
        })
    };
    let ends = |agent: &mut Agent| {
        agent.pass(long());
        agent.node.handle_timer(agent.now);
    };
    vec![
        input("validity ends", "in strict mode the end of the budget ends the service", vec![way(ends)]),
        input(
            "validity ends, and the guard could not be taken away yet",
            "what the table was not told of changes nothing",
            vec![after(available, true, ends), after(retired, true, ends)],
        ),
        input(
            "validity ends, and the guard was taken away",
            "only a read of another holder stops the service",
            vec![told(retired, move |agent| {
                agent.cycle(Ok(()));
                agent.begin_cycle();
                agent.forget();
                ends(agent);
            })],
        ),
        input(
            "the dead-man fired, or cannot be armed",
            "nothing is taken for running that may not be",
            vec![way(|agent| agent.node.handle_fenced(agent.now))],
        ),
        input("promote hook done", "the epoch is served from here on", vec![hook(HookOutcome::Done, false)]),
        input(
            "promote hook done, after validity ended",
            "a hook may outlast the budget it began with",
            vec![hook(HookOutcome::Done, true)],
        ),
        input(
            "promote hook failed",
            "half a service is stopped, and counts as bad health",
            vec![hook(HookOutcome::Failed, false)],
        ),
        input(
            "demote hook ended",
            "a failed hook is followed by force, so the service is down either way",
            vec![
                way(|agent| agent.demoted(HookOutcome::Done)),
                way(|agent| agent.demoted(HookOutcome::Failed)),
            ],
        ),
    ]
}

/// The oath, and the agent's own end.
pub(crate) fn of_the_end() -> Vec<Input> {
    let shutdown = |agent: &mut Agent, how| agent.node.handle_shutdown(agent.now, how);
    let oath = |agent: &mut Agent, outcome| agent.node.handle_released(agent.now, outcome);
    vec![
        input(
            "oath confirmed",
            "the arbiter may know, and is told",
            vec![way(move |agent| oath(agent, Ok(())))],
        ),
        input(
            "oath not confirmed",
            "it stands in memory, and is written again with the next cycle",
            vec![
                way(move |agent| oath(agent, Err(lost().into()))),
                way(move |agent| oath(agent, Err(Failure::Throttled.into()))),
            ],
        ),
        input(
            "the agent shall end and hand over",
            "demote, swear, leave, in this order and each completed",
            vec![way(move |agent| shutdown(agent, Shutdown::Handover))],
        ),
        input(
            "the agent shall end and leave the service, or shall end under a pause",
            "the dead-man stays armed for the next run to adopt",
            vec![
                way(move |agent| shutdown(agent, Shutdown::Stay)),
                after(
                    |lease| lease.paused = Some(pause()),
                    true,
                    move |agent| shutdown(agent, Shutdown::Handover),
                ),
            ],
        ),
        input(
            "W refused: the item is another run's, or gone",
            "another agent answers for this node",
            vec![
                refused(Some(Heartbeat { incarnation: run("other-run"), ..heartbeat('a', 9) })),
                refused(None),
            ],
        ),
    ]
}
