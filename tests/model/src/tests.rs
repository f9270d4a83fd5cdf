//! The walk itself: small spaces are exhausted, and a fault is found.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::bounds::{Bounds, Start};
use crate::effects::after;
use crate::rules::{Encounters, Met};
use crate::start::first;
use crate::steps::steps;
use crate::walk::{Manner, walk};
use crate::world::World;

const MANNER: Manner = Manner { threads: 2, memory_mb: 2_000, tell: false };

#[test]
fn two_nodes_and_one_epoch_are_exhausted() {
    let report = walk("test", Bounds::quiet(2, 1, Start::Registered), MANNER);
    assert!(report.exhausted && report.violations.is_empty(), "{report}");
    assert!(
        report.properties.iter().any(|held| held.name == Met::Vacancy.sentence() && held.holds),
        "{report}"
    );
}

#[test]
fn one_fault_among_two_serving_nodes_is_exhausted() {
    let report = walk("test", Bounds::counted(2, 2, Start::Serving, 1), MANNER);
    assert!(report.exhausted && report.violations.is_empty(), "{report}");
    let taken_over = [Met::Silence, Met::Release, Met::Resume, Met::Adoption];
    for what in taken_over.map(Met::sentence) {
        assert!(report.properties.iter().any(|held| held.name == what && held.holds), "{what}: {report}");
    }
}

#[test]
fn two_walks_of_one_space_find_the_same_states() {
    let walked = || walk("test", Bounds::quiet(2, 2, Start::Registered), MANNER);
    let (one, other) = (walked(), walked());
    assert_eq!((one.unique_states, one.states), (other.unique_states, other.states));
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// What follows from a state, by its steps, with the fingerprint of each.
fn followers(bounds: &Bounds, world: &World) -> Vec<(String, World)> {
    let mut possible = Vec::new();
    steps(bounds, world, &mut possible);
    let met = Encounters::default();
    let follower = |step| Some((format!("{step:?}"), after(bounds, &met, world, step)?));
    possible.into_iter().filter_map(follower).collect()
}

/// If a shape left out anything that matters, two states of one shape would differ in what follows, and a walk that visits
/// only one of them would miss what the other leads to.
#[test]
fn states_of_one_shape_are_followed_by_the_same_shapes() {
    let bounds = Bounds::counted(2, 2, Start::Serving, 1);
    let prints = |world: &World| -> Vec<(String, u64)> {
        followers(&bounds, world).into_iter().map(|(step, next)| (step, fingerprint(&next))).collect()
    };
    let mut known: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let mut open = VecDeque::from([first(&bounds)]);
    let mut compared = 0;
    while let Some(world) = open.pop_front() {
        let following = prints(&world);
        if let Some(before) = known.get(&fingerprint(&world)) {
            compared += 1;
            assert_eq!(*before, following, "{world:?}");
            continue;
        }
        known.insert(fingerprint(&world), following);
        open.extend(followers(&bounds, &world).into_iter().map(|(_, next)| next));
    }
    assert!(compared > 1_000, "only {compared} states met an earlier one");
}
