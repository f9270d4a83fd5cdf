//! The walk: every state within the bounds, once, by the checker of `stateright`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::bounds::Bounds;
use crate::effects::after;
use crate::report::{Held, Report, Violation};
use crate::rules::{Encounters, Met, Rule};
use crate::start::first;
use crate::steps::{Step, steps};
use crate::world::World;

/// The space of one configuration.
#[derive(Debug, Clone)]
pub struct Space {
    bounds: Bounds,
    met: Arc<Encounters>,
    /// Whether the walk ends unfinished: nothing follows any state any more.
    given_up: Arc<AtomicBool>,
}

impl Model for Space {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![first(&self.bounds)]
    }

    fn actions(&self, world: &World, out: &mut Vec<Step>) {
        if !self.given_up.load(Ordering::Relaxed) {
            steps(&self.bounds, world, out);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        after(&self.bounds, &self.met, world, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn keeps<const RULE: usize>(_: &Space, world: &World) -> bool {
            world.broken != Some(Rule::ALL[RULE])
        }
        let conditions: [fn(&Self, &World) -> bool; Rule::ALL.len()] =
            [keeps::<0>, keeps::<1>, keeps::<2>, keeps::<3>, keeps::<4>];
        let of = |(rule, condition): (Rule, _)| Property::always(rule.sentence(), condition);
        Rule::ALL.into_iter().zip(conditions).map(of).collect()
    }
}

/// How a walk is done.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Threads.
    pub threads: usize,
    /// No more memory than this, in MB; a walk that needs more ends unfinished.
    pub memory_mb: u64,
    /// Whether to tell on stderr how far it is.
    pub tell: bool,
}

/// How often a walk looks at itself, and how often it tells.
const LOOK: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(5);

/// Walks the space within `bounds`, to its end or to the first broken rule.
pub fn walk(name: &'static str, bounds: Bounds, manner: Manner) -> Report {
    let begun = Instant::now();
    let met = Arc::new(Encounters::default());
    let given_up = Arc::new(AtomicBool::new(false));
    let space = Space { bounds, met: Arc::clone(&met), given_up: Arc::clone(&given_up) };
    let checker = space.checker().threads(manner.threads).finish_when(HasDiscoveries::AnyFailures);
    let mut checker = checker.spawn_bfs();
    let end = ends(checker.handles());
    let mut told = begun;
    let mut memory = memory_mb("VmRSS:");
    let mut ended = None;
    while ended.is_none() && checker.discoveries().is_empty() && memory <= manner.memory_mb {
        ended = end.recv_timeout(LOOK).ok();
        memory = memory_mb("VmRSS:");
        if manner.tell && told.elapsed() >= TELL {
            told = Instant::now();
            let (steps, states, depth) =
                (checker.state_count(), checker.unique_state_count(), checker.max_depth());
            let seconds = begun.elapsed().as_secs();
            eprintln!("{name}: {steps} steps, {states} states, depth {depth}, {memory} MB, {seconds} s");
        }
    }
    if ended.is_none() {
        // The threads end soon, and leave their memory to the next walk.
        given_up.store(true, Ordering::Relaxed);
        let _ = end.recv();
        // What was found is followed once more to be told.
        given_up.store(false, Ordering::Relaxed);
    }
    let violations: Vec<Violation> = checker
        .discoveries()
        .into_iter()
        .map(|(property, path)| Violation {
            property,
            trace: path.into_actions().into_iter().map(|step| format!("{step:?}")).collect(),
        })
        .collect();
    let held = |name| !violations.iter().any(|violation| violation.property == name);
    let always =
        Rule::ALL.map(|rule| Held { name: rule.sentence(), kind: "always", holds: held(rule.sentence()) });
    let sometimes =
        Met::ALL.map(|what| Held { name: what.sentence(), kind: "sometimes", holds: met.met(what) });
    Report {
        name,
        bounds,
        nodes: bounds.nodes,
        epochs: bounds.epochs,
        states: checker.state_count(),
        unique_states: checker.unique_state_count(),
        depth: checker.max_depth(),
        properties: always.into_iter().chain(sometimes).collect(),
        exhausted: ended == Some(true) && violations.is_empty(),
        violations,
        seconds: (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        peak_memory_mb: memory_mb("VmHWM:"),
    }
}

/// Tells once all threads of a walk have ended, and whether each has come to its end: one that panicked leaves states
/// unvisited, which must not pass for visited.
fn ends(threads: Vec<JoinHandle<()>>) -> Receiver<bool> {
    let (tell, end) = mpsc::channel();
    std::thread::spawn(move || {
        let all = threads.into_iter().all(|thread| thread.join().is_ok());
        // Nobody waits any more once a rule is broken.
        let _ = tell.send(all);
    });
    end
}

/// This process's memory, as Linux tells it.
fn memory_mb(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or_default()
        / 1024
}
