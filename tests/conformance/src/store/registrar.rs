//! What the store promises to the registrar.

use baton_protocol::fence::Fencing;
use baton_protocol::grant::{Committed, HolderCheck};
use baton_protocol::history::{Event, Ground, Happening};
use baton_protocol::ids::{Epoch, InstanceArn};
use baton_protocol::lease::{LeaseState, Mode};
use baton_protocol::request::Wish;
use baton_protocol::roster::{Roster, Tag};
use baton_protocol::timing::Timing;
use baton_store::{Entry, Moved, Registration, Store};

use super::build::{
    AT, cluster, event, grant, held_by_the_first, lease, member, moved, node, registration, request, run,
    uid, unchanged,
};
use super::{Record, refused};

fn retired(epoch: u64) -> Event {
    event(Epoch(epoch), AT, &format!("registrar/{epoch}"), Happening::Retired {})
}

/// The registration of `number` with another row of history.
fn changed(number: u8, revision: u64) -> Registration {
    let mut changed = registration(number);
    let summary = format!("revision {revision}");
    changed.event = event(Epoch(1), AT, "registrar", Happening::Registered { revision, summary });
    changed
}

async fn complete_the_move(store: &impl Store, epoch: u64) {
    let lease = store.lease(&cluster()).await.expect("read").expect("there");
    let moved = Moved { epoch: Epoch(epoch), ..moved(&lease) };
    store.record_moved(&cluster(), &moved).await.expect("recorded");
}

/// A new cluster starts vacant at epoch 0 and is found in the directory and the history.
pub async fn a_new_registration_is_vacant(record: &impl Record) {
    let store = record.store();
    let asked = registration(1);
    store.register(&asked).await.expect("registered");
    let found = lease(store).await;
    assert_eq!((found.uid, found.state, found.epoch), (uid(1), LeaseState::Active, Epoch(0)));
    assert_eq!((found.holder, found.moved, found.revision), (None, Epoch(0), 1));
    assert_eq!((found.mode, found.timing), (asked.mode, asked.timing));
    assert_eq!((found.members, found.resources), (asked.members, asked.resources));
    assert_eq!(store.history(&cluster(), 10).await, Ok(vec![asked.event]));
    let instances = (1..=3).map(|number| node(number).instance_id()).collect();
    assert_eq!(store.clusters().await, Ok(vec![Entry { cluster: cluster(), instances, group: None }]));
}

/// Whoever decides by it later has to know them, and whoever does not leaves it alone.
pub async fn a_lease_says_which_rules_it_needs_as_long_as_it_does(record: &impl Record) {
    let store = record.store();
    let mut asked = registration(1);
    (asked.takeover, asked.cool_down_ms, asked.fencing) = Default::default();
    (asked.failback, asked.roster) = (Default::default(), None);
    asked.resources.from_gateways.clear();
    asked.resources.subnets.clear();
    asked.resources.choices = Default::default();
    store.register(&asked).await.expect("registered");
    assert_eq!(lease(store).await.rules, 0);
    for (revision, fencing, rules) in [(2, Fencing::Stop, 1), (3, Fencing::None, 0)] {
        let next = Registration { fencing, event: changed(1, revision).event, ..asked.clone() };
        store.reconfigure(&next, None).await.expect("changed");
        assert_eq!((lease(store).await.fencing, lease(store).await.rules), (fencing, rules));
    }
}

/// CloudFormation may send a request twice.
pub async fn a_repeated_registration_is_done(record: &impl Record) {
    let store = record.store();
    store.register(&registration(1)).await.expect("registered");
    let before = lease(store).await;
    store.register(&registration(1)).await.expect("registered already");
    assert_eq!(lease(store).await, before);
    assert_eq!(store.history(&cluster(), 10).await.map(|rows| rows.len()), Ok(1));
}

/// Schedule A4: the name is another stack's.
pub async fn a_registration_of_a_taken_name_is_refused(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    assert_eq!(refused(store.register(&registration(2)).await), Some(before.clone()));
    assert_eq!(lease(store).await, before);
}

/// Schedule A4: the refused stack is rolled back, and its deletion must not reach the cluster that stands.
pub async fn a_retirement_of_another_registration_is_refused(record: &impl Record) {
    let store = record.store();
    assert_eq!(refused(store.retire(&cluster(), &uid(1), &retired(0)).await), None);
    let before = held_by_the_first(store).await;
    assert_eq!(refused(store.retire(&cluster(), &uid(2), &retired(1)).await), Some(before.clone()));
    assert_eq!(lease(store).await, before);
    assert_eq!(store.clusters().await.map(|entries| entries.len()), Ok(1));
}

/// A retired lease keeps its epoch and its holder, and leaves the directory.
pub async fn a_retirement_keeps_the_lease(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    store
        .ask(&request("1", Wish::Switchover { to: None, why: String::new() }, before.epoch))
        .await
        .expect("asked");
    store.retire(&cluster(), &uid(1), &retired(1)).await.expect("retired");
    let after = lease(store).await;
    assert_eq!((after.state, after.epoch, &after.holder), (LeaseState::Retired, Epoch(1), &before.holder));
    assert_eq!((after.intent, after.paused, after.verify_at), (None, None, None));
    assert_eq!(store.clusters().await, Ok(Vec::new()));
    assert_eq!(store.history(&cluster(), 1).await.map(|rows| rows.len()), Ok(1));
    let rows = store.history(&cluster(), 10).await.expect("read");
    assert!(rows.contains(&retired(1)), "{rows:?}");
    store.retire(&cluster(), &uid(1), &retired(1)).await.expect("retired already");
}

/// Schedule A4: a cluster that is made again goes on where the earlier one ended. Its last holder may still
/// serve, and what nodes released before has no effect on the new epoch.
pub async fn a_cluster_made_again_continues_its_epochs(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    store.release(&cluster(), &node(1), &run(1), Epoch(1)).await.expect("released");
    store.retire(&cluster(), &uid(1), &retired(1)).await.expect("retired");
    store.register(&registration(2)).await.expect("registered");
    let after = lease(store).await;
    assert_eq!((&after.uid, after.state), (&uid(2), LeaseState::Active));
    // A move that was never completed is not passed off as one.
    assert_eq!((after.epoch, &after.holder, after.moved), (Epoch(2), &before.holder, Epoch(0)));
    assert!(after.revision > before.revision);
    assert_eq!(store.clusters().await.map(|entries| entries.len()), Ok(1));

    let old = grant(&before, Ground::Silence, unchanged(1, 2), 2, 1);
    assert!(matches!(store.commit(&old).await, Ok(Committed::Superseded(_))));
    let released = grant(&after, Ground::Release, HolderCheck::Released { epoch: Epoch(2) }, 2, 1);
    assert!(matches!(store.commit(&released).await, Ok(Committed::Superseded(_))));
    let silent = grant(&after, Ground::Silence, unchanged(1, 2), 2, 1);
    assert_eq!(store.commit(&silent).await, Ok(Committed::Granted));
    assert_eq!(lease(store).await.epoch, Epoch(3));
}

/// Schedule A4: an update replaced the registration; the old one's deletion comes afterwards.
pub async fn a_late_retirement_of_a_replaced_registration_is_refused(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    store.retire(&cluster(), &uid(1), &retired(1)).await.expect("retired");
    store.register(&registration(2)).await.expect("registered");
    let before = lease(store).await;
    assert_eq!(refused(store.retire(&cluster(), &uid(1), &retired(2)).await), Some(before.clone()));
    assert_eq!(lease(store).await, before);
}

/// A registration that never had a holder has none when it is made again.
pub async fn a_vacant_cluster_made_again_is_vacant(record: &impl Record) {
    let store = record.store();
    store.register(&registration(1)).await.expect("registered");
    store.retire(&cluster(), &uid(1), &retired(0)).await.expect("retired");
    store.register(&registration(2)).await.expect("registered");
    let after = lease(store).await;
    assert_eq!((after.epoch, after.holder, after.moved), (Epoch(1), None, Epoch(0)));
}

/// The move before the retirement was completed or it was not, and the registration does not change that.
pub async fn a_cluster_made_again_keeps_what_was_moved(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    complete_the_move(store, 1).await;
    store.retire(&cluster(), &uid(1), &retired(1)).await.expect("retired");
    store.register(&registration(2)).await.expect("registered");
    let after = lease(store).await;
    assert_eq!((after.epoch, after.moved), (Epoch(2), Epoch(1)), "one step behind: it is looked at anew");
    store.retire(&cluster(), &uid(2), &retired(2)).await.expect("retired");
    store.register(&registration(3)).await.expect("registered");
    let after = lease(store).await;
    assert_eq!((after.epoch, after.moved), (Epoch(3), Epoch(1)), "nobody has completed epoch 2");
}

/// A change of the time budget moves nothing.
pub async fn a_reconfiguration_keeps_epoch_and_holder(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    complete_the_move(store, 1).await;
    let pause = request("1", Wish::Pause { why: "change".to_owned() }, before.epoch);
    store.ask(&pause).await.expect("asked");
    let mut asked = changed(1, 2);
    asked.timing = Timing::FAST;
    asked.mode = Mode::Available;
    store.reconfigure(&asked, before.holder.as_ref()).await.expect("reconfigured");
    let after = lease(store).await;
    assert_eq!((after.epoch, &after.holder, &after.uid), (before.epoch, &before.holder, &before.uid));
    assert_eq!((after.timing, after.mode, after.revision), (Timing::FAST, Mode::Available, 2));
    assert_eq!(after.moved, Epoch(1), "nothing has to be moved");
    assert!(after.paused.is_some(), "what operators wrote stays");
    let rows = store.history(&cluster(), 10).await.expect("read");
    assert!(rows.contains(&asked.event), "{rows:?}");
}

/// Who else is a member moves nothing, and what was seen at the holder is there still.
pub async fn a_change_of_other_members_leaves_the_move_complete(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    complete_the_move(store, 1).await;
    let mut fewer = changed(1, 2);
    fewer.members.pop();
    let tag = Tag::of_group("nat").expect("valid");
    fewer.roster = Some(Roster { tag, most: 3, priority: 100, changed: AT });
    store.reconfigure(&fewer, held.holder.as_ref()).await.expect("reconfigured");
    let after = lease(store).await;
    assert_eq!((after.moved, after.members.len(), &after.roster), (Epoch(1), 2, &fewer.roster));
    let instances = vec![node(1).instance_id(), node(2).instance_id()];
    let entry = |group| Entry { cluster: cluster(), instances: instances.clone(), group };
    assert_eq!(store.clusters().await, Ok(vec![entry(Some("nat".to_owned()))]));

    fewer = Registration { roster: None, event: changed(1, 3).event, ..fewer };
    store.reconfigure(&fewer, held.holder.as_ref()).await.expect("reconfigured");
    assert_eq!((lease(store).await.moved, lease(store).await.roster), (Epoch(1), None));
    assert_eq!(store.clusters().await, Ok(vec![entry(None)]));
}

/// Where the holder's place or the resources changed the move is verified again.
pub async fn a_change_of_the_place_or_resources_reopens_the_move(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    complete_the_move(store, 1).await;
    let mut elsewhere = changed(1, 2);
    elsewhere.members[0].interface = elsewhere.members[2].interface.clone();
    store.reconfigure(&elsewhere, held.holder.as_ref()).await.expect("reconfigured");
    assert_eq!(lease(store).await.moved, Epoch(0));

    complete_the_move(store, 1).await;
    let mut without_routes = changed(1, 3);
    without_routes.members = elsewhere.members;
    without_routes.resources.routes.clear();
    store.reconfigure(&without_routes, held.holder.as_ref()).await.expect("reconfigured");
    assert_eq!(lease(store).await.moved, Epoch(0));
}

/// An unfinished move of an earlier epoch is not passed off as one that only lacks the last.
pub async fn a_reconfiguration_never_raises_what_was_moved(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    for (to, epoch) in [(2, 1), (3, 2)] {
        let next = grant(&lease(store).await, Ground::Silence, unchanged(1, 2), to, 1);
        assert_eq!(next.epoch, Epoch(epoch));
        assert_eq!(store.commit(&next).await, Ok(Committed::Granted));
    }
    let mut asked = changed(1, 2);
    asked.members.push(member(4));
    store.reconfigure(&asked, Some(&node(3))).await.expect("reconfigured");
    assert_eq!((lease(store).await.epoch, lease(store).await.moved), (Epoch(3), Epoch(0)));
}

/// What a change leaves alone was copied from a revision, and must not take back what another change made of it since.
pub async fn a_reconfiguration_of_another_revision_is_refused(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    let made_from = |revision| Registration { made_from: Some(revision), ..changed(1, 2) };
    for other in [0, before.revision + 1] {
        let found = refused(store.reconfigure(&made_from(other), before.holder.as_ref()).await);
        assert_eq!(found, Some(before.clone()));
    }
    store.reconfigure(&made_from(before.revision), before.holder.as_ref()).await.expect("reconfigured");
    let found = refused(store.reconfigure(&made_from(before.revision), before.holder.as_ref()).await);
    assert_eq!(found.map(|lease| lease.revision), Some(before.revision + 1));
}

/// A holder that came in between was not looked at, and must not lose its membership by surprise.
pub async fn a_reconfiguration_against_another_holder_is_refused(record: &impl Record) {
    let store = record.store();
    assert_eq!(refused(store.reconfigure(&changed(1, 2), None).await), None);
    let before = held_by_the_first(store).await;
    let wrong: [Option<InstanceArn>; 2] = [None, Some(node(2))];
    for holder in wrong {
        let found = refused(store.reconfigure(&changed(1, 2), holder.as_ref()).await);
        assert_eq!(found, Some(before.clone()));
    }
    let found = refused(store.reconfigure(&changed(2, 2), before.holder.as_ref()).await);
    assert_eq!(found, Some(before.clone()), "the uid is another one's");
    store.retire(&cluster(), &uid(1), &retired(1)).await.expect("retired");
    let found = refused(store.reconfigure(&changed(1, 2), before.holder.as_ref()).await).expect("found");
    assert_eq!(found.state, LeaseState::Retired);
}
