//! Agents that beat: what they would write, written into the table again and again until a test says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_conformance::store::build::{beat, run, start};
use baton_protocol::heartbeat::Beat;
use baton_protocol::ids::InstanceArn;
use baton_protocol::time::WallTime;
use baton_store::{DynamoStore, Start, Store};
use tokio::task::JoinHandle;

use crate::rig::{Rig, Trouble, cluster, now};

/// As often as a fast agent does.
const EVERY: Duration = Duration::from_millis(300);
/// Above every number that was written before.
const FIRST: u64 = 1_000_000;

/// How the nodes are.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The run of each node's agent, by its instance; who is not here has none.
    pub(super) runs: BTreeMap<InstanceArn, u8>,
    /// Those that are silent, and were for a minute.
    pub(super) silent: BTreeSet<InstanceArn>,
    /// Those whose clock is so many milliseconds ahead.
    pub(super) ahead: BTreeMap<InstanceArn, u64>,
    /// Those that say that they serve, though they do not hold.
    pub(super) serving: BTreeSet<InstanceArn>,
}

/// Everybody's agent; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Pulse {
    pub(super) state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pulse {
    /// Begins with the run that the rig has announced of each node.
    pub(super) async fn start(rig: &Rig) -> Result<Self, Trouble> {
        let runs = (0..3).map(|n| (rig.node(n).clone(), 1)).collect();
        let state = Arc::new(Mutex::new(State { runs, ..State::default() }));
        let task = tokio::spawn(go_on(rig.store().clone(), Arc::clone(&state)));
        Ok(Self { state, task })
    }

    pub(super) fn edit(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The agent of a node starts anew, with this version.
    pub(super) async fn restart(
        &self,
        rig: &Rig,
        node: &InstanceArn,
        number: u8,
        version: &str,
    ) -> Result<(), Trouble> {
        // Whoever beats meanwhile would be refused; that is all.
        self.edit(|state| state.silent.extend([node.clone()]));
        let before =
            rig.store().heartbeat(&cluster(), node).await.map_err(|failure| format!("{failure:?}"))?;
        let start = Start {
            expected: before.map(|before| before.incarnation),
            agent_version: version.to_owned(),
            at: now(),
            ..start(None, number)
        };
        rig.store().start(&cluster(), node, &start).await.map_err(|failure| format!("{failure:?}"))?;
        self.edit(|state| {
            state.silent.remove(node);
            state.runs.insert(node.clone(), number);
        });
        Ok(())
    }
}

async fn go_on(store: DynamoStore, state: Arc<Mutex<State>>) {
    let mut seq = FIRST;
    let mut period = tokio::time::interval(EVERY);
    loop {
        period.tick().await;
        seq += 1;
        let lease = store.lease(&cluster()).await.ok().flatten();
        let beats = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let runs = state.runs.iter().filter(|(node, _)| !state.silent.contains(*node));
            let beats: Vec<(InstanceArn, Beat)> = runs
                .map(|(node, number)| {
                    let lease = lease.as_ref();
                    let serves = lease.is_some_and(|lease| lease.holder.as_ref() == Some(node))
                        || state.serving.contains(node);
                    let beat_at = WallTime(now().0 + state.ahead.get(node).copied().unwrap_or_default());
                    let serving_epoch = lease.map(|lease| lease.epoch).filter(|_| serves);
                    (
                        node.clone(),
                        Beat { incarnation: run(*number), serving_epoch, beat_at, ..beat(*number, seq) },
                    )
                })
                .collect();
            beats
        };
        for (node, beat) in beats {
            // A run that has ended meanwhile is refused.
            let _ = store.beat(&cluster(), &node, &beat).await;
        }
    }
}

impl Pulse {
    /// A node is silent from now on, and its last heartbeat is so old.
    pub(super) async fn age(&self, rig: &Rig, node: &InstanceArn, ms: u64) -> Result<(), Trouble> {
        self.edit(|state| state.silent.extend([node.clone()]));
        let store = rig.store();
        // Whatever was under way is overtaken by a number far ahead; that is given back with the next run of the agent.
        let found = store.heartbeat(&cluster(), node).await.map_err(|failure| format!("{failure:?}"))?;
        let found = found.ok_or("it has never beaten")?;
        let last = Beat {
            incarnation: found.incarnation,
            beat_at: WallTime(now().0.saturating_sub(ms)),
            ..beat(1, found.seq.0 + 3)
        };
        store.beat(&cluster(), node, &last).await.map_err(|failure| format!("{failure:?}").into())
    }
}
