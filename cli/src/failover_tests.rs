//! `baton failover` as an operator types it.

use baton_protocol::ids::Epoch;
use baton_protocol::request::Wish;

use crate::exit::Exit;
use crate::testing::world::{World, beat, claim};
use crate::testing::{arn, before};

#[test]
fn a_failover_is_refused_while_the_holder_beats_and_asked_for_once_it_is_silent() {
    let world = World::new();
    let refused = world.run("failover --yes");
    assert_eq!(refused.exit, Exit::Refused, "{}", refused.err);
    assert!(refused.err.contains("use `baton switchover`"), "{}", refused.err);
    assert_eq!(world.requests(), []);
    beat(&world.store.record, 'a', Some(Epoch(1)), before(60_000));
    world.after(5_500, |store, now| beat(store, 'b', None, now));
    let run = world.run("failover --to db-b --reason zone --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.err.starts_with("db-a looks silent; watching for up to"), "{}", run.err);
    let asked = world.requests().remove(0);
    assert_eq!(asked.wish, Wish::Failover { to: Some(arn('b')), why: "zone".to_owned() });
    let intent = world.lease().intent.expect("it is carried by the lease");
    assert!(intent.failover);
    assert_eq!((intent.to, intent.epoch), (Some(arn('b')), asked.epoch));
    assert!(intent.reason.starts_with("failover asked by"), "{}", intent.reason);
}

#[test]
fn a_holder_that_beats_while_it_is_watched_is_not_given_up_for_its_clock() {
    let world = World::new();
    beat(&world.store.record, 'a', Some(Epoch(1)), before(60_000));
    world.after(3_000, |store, _| beat(store, 'a', Some(Epoch(1)), before(59_000)));
    let run = world.run("failover --yes");
    assert_eq!(run.exit, Exit::Refused, "{}", run.err);
    assert!(run.err.contains("the holder db-a is not silent"), "{}", run.err);
    assert_eq!(world.requests(), []);
}

#[test]
fn a_silence_that_a_standby_claims_is_not_watched_again() {
    let world = World::new();
    let store = &world.store.record;
    beat(store, 'a', Some(Epoch(1)), before(60_000));
    claim(store, 'b', before(900));
    let run = world.run("failover --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(!run.err.contains("watching"), "{}", run.err);
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn a_standby_that_grows_first_does_not_end_the_watch_over_the_holder() {
    let world = World::new();
    beat(&world.store.record, 'a', Some(Epoch(1)), before(60_000));
    beat(&world.store.record, 'b', None, before(60_000));
    world.after(1_000, |store, _| beat(store, 'b', None, before(59_000)));
    world.after(3_000, |store, _| beat(store, 'a', Some(Epoch(1)), before(59_000)));
    let run = world.run("failover --yes");
    assert_eq!(run.exit, Exit::Refused, "{}", run.err);
    assert!(run.err.contains("the holder db-a is not silent"), "{}", run.err);
}

#[test]
fn where_the_holder_s_silence_is_claimed_the_named_standby_decides_the_watch() {
    for (line, to) in [("failover --to db-c --yes", Some(arn('c'))), ("failover --yes", None)] {
        let world = World::new();
        let store = &world.store.record;
        beat(store, 'a', Some(Epoch(1)), before(60_000));
        claim(store, 'b', before(60_000));
        beat(store, 'c', None, before(60_000));
        world.after(1_000, |store, _| claim(store, 'b', before(59_000)));
        world.after(4_000, |store, _| beat(store, 'c', None, before(56_000)));
        let run = world.run(line);
        assert_eq!(run.exit, Exit::Done, "{line}: {}", run.err);
        let wish = Wish::Failover { to, why: String::new() };
        assert_eq!(world.requests().remove(0).wish, wish, "{line}");
    }
}

#[test]
fn where_the_holder_s_silence_is_claimed_a_well_target_needs_no_watch() {
    let world = World::new();
    let store = &world.store.record;
    beat(store, 'a', Some(Epoch(1)), before(60_000));
    claim(store, 'b', before(60_000));
    let run = world.run("failover --to db-c --yes");
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(!run.err.contains("watching"), "{}", run.err);
}

#[test]
fn a_claim_proves_the_silence_of_a_holder_whose_clock_was_ahead() {
    let world = World::new();
    let store = &world.store.record;
    beat(store, 'a', Some(Epoch(1)), before(0));
    claim(store, 'b', before(900));
    assert_eq!(world.run("failover --yes").exit, Exit::Done);
}
