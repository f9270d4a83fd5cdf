//! The state a space begins in.

use crate::bounds::{Bounds, Start};
use crate::effects::after;
use crate::rules::Encounters;
use crate::steps::{Step, steps};
use crate::world::World;

/// Long enough for every agent to begin and for one to be granted the lease and serve.
const MOST_STEPS: usize = 1_000;

/// So much time passes after the grant, until every standby has begun to time the holder's silence.
const QUANTA_AFTER: u64 = 2;

/// The first state of a space.
pub(crate) fn first(bounds: &Bounds) -> World {
    let registered = World::first(bounds.nodes);
    match bounds.start {
        Start::Registered => registered,
        Start::Serving => serving(bounds, registered),
    }
}

/// One quiet beginning of a cluster: whatever can happen without a fault does, and time passes only when nothing else is
/// left to happen.
fn serving(bounds: &Bounds, mut world: World) -> World {
    // What is met here is no part of the space.
    let met = Encounters::default();
    let quiet = Bounds::quiet(bounds.nodes, bounds.epochs, bounds.start);
    let mut until = None;
    let mut possible = Vec::new();
    for _ in 0..MOST_STEPS {
        if world.broken.is_some() {
            // A deliberate fault that needs no others.
            return world;
        }
        possible.clear();
        steps(&quiet, &world, &mut possible);
        let is_up = world.machines.iter().any(|machine| machine.up.is_some());
        if is_up && until.is_none() {
            until = Some(world.quanta + QUANTA_AFTER);
        }
        if until == Some(world.quanta) && possible.contains(&Step::Pass) {
            return world;
        }
        let wanted = possible.iter().filter(|step| !matches!(step, Step::Pass));
        let next = wanted.chain([&Step::Pass]).find_map(|step| after(&quiet, &met, &world, *step));
        world = next.expect("time can always pass when nothing else happens");
    }
    panic!("no node began to serve: {world:?}");
}
