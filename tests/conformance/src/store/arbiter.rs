//! What the store promises to the arbiter.

use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::Health;
use baton_protocol::history::{Ground, Happening};
use baton_protocol::ids::{Epoch, Incarnation, RequestId};
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::mark::Mark;
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::request::Wish;
use baton_protocol::resource::Observed;
use baton_protocol::time::WallTime;
use baton_store::{Moved, Store};
use futures_util::future::join_all;

use super::build::{
    AT, allocation, association, beat, cluster, event, grant, held_by_the_first, join, lease, moved, node,
    registration, request, run, start, swapped, table_association, uid, unchanged,
};
use super::{Record, refused};

/// The texts of a superseded grant.
#[track_caller]
fn superseded(outcome: Result<Committed, Failure>) -> Vec<String> {
    match outcome {
        Ok(Committed::Superseded(lost)) if !lost.is_empty() => lost,
        other => panic!("expected a superseded grant that names what was lost, found {other:?}"),
    }
}

/// Commits, and expects that nothing was written.
async fn is_superseded(store: &impl Store, grant: &Grant, lost: &str) {
    let before = (lease(store).await, store.history(&cluster(), 100).await);
    let told = superseded(store.commit(grant).await);
    assert!(told.iter().any(|text| text.starts_with(lost)), "expected {lost}, found {told:?}");
    assert_eq!((lease(store).await, store.history(&cluster(), 100).await), before);
}

/// Schedule A6: there is no holder's heartbeat to check, and that is said outright.
pub async fn a_vacant_lease_is_granted_without_a_holder_to_check(record: &impl Record) {
    let store = record.store();
    store.register(&registration(1)).await.expect("registered");
    join(store, 2).await;
    let vacant = grant(&lease(store).await, Ground::Vacancy, HolderCheck::Nobody, 2, 1);
    assert_eq!(store.commit(&vacant).await, Ok(Committed::Granted));
    let found = lease(store).await;
    assert_eq!((found.epoch, found.holder, found.last_grant), (Epoch(1), Some(node(2)), Some(AT)));
    assert_eq!(store.history(&cluster(), 1).await, Ok(vec![vacant.event]));
}

/// Schedule A6: a grant that deposes a holder without a check of its heartbeat is a fault of the program.
pub async fn a_grant_that_checks_nothing_of_its_holder_is_invalid(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let unsafe_ones = [
        grant(&held, Ground::Silence, HolderCheck::Nobody, 2, 1),
        grant(&held, Ground::Release, HolderCheck::Released { epoch: Epoch(0) }, 2, 1),
        Grant { holder: None, ..grant(&held, Ground::Silence, HolderCheck::Absent, 2, 1) },
    ];
    for wrong in unsafe_ones {
        assert!(matches!(store.commit(&wrong).await, Err(Failure::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(lease(store).await, held);
}

/// Schedule A6: a holder that never beat is granted away as long as it has not.
pub async fn an_absent_heartbeat_of_the_holder_must_stay_absent(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let silent = grant(&held, Ground::Silence, HolderCheck::Absent, 2, 1);
    is_superseded(store, &silent, "holder").await;
    record.lose_heartbeat(&cluster(), &node(1)).await;
    assert_eq!(store.commit(&silent).await, Ok(Committed::Granted));
}

/// A holder whose heartbeat is gone has changed.
pub async fn an_unchanged_holder_has_a_heartbeat(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    record.lose_heartbeat(&cluster(), &node(1)).await;
    is_superseded(store, &grant(&held, Ground::Silence, unchanged(1, 2), 2, 1), "holder").await;
    let released = HolderCheck::Released { epoch: Epoch(1) };
    is_superseded(store, &grant(&held, Ground::Release, released, 2, 1), "holder").await;
}

/// A silent holder loses the lease; one more heartbeat keeps it.
pub async fn a_silent_holder_is_deposed_unless_it_beats(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let silent = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    store.beat(&cluster(), &node(1), &beat(1, 3)).await.expect("the holder beats");
    is_superseded(store, &silent, "holder").await;
    let silent = grant(&held, Ground::Silence, unchanged(1, 3), 2, 1);
    assert_eq!(store.commit(&silent).await, Ok(Committed::Granted));
    let found = lease(store).await;
    assert_eq!((found.epoch, found.holder), (Epoch(2), Some(node(2))));
}

/// Schedule A3: the holder's item is lost and made anew, and its count passes the claimed number a second
/// time.
pub async fn a_heartbeat_made_anew_does_not_confirm_an_old_claim(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let old = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    record.lose_heartbeat(&cluster(), &node(1)).await;
    store.start(&cluster(), &node(1), &start(None, 2)).await.expect("the next run makes the item anew");
    store.beat(&cluster(), &node(1), &beat(2, 2)).await.expect("it beats");
    is_superseded(store, &old, "holder").await;
}

/// A release holds whatever the node writes afterwards, its next run included.
pub async fn a_released_lease_is_granted_although_the_node_beats_on(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let released = grant(&held, Ground::Release, HolderCheck::Released { epoch: Epoch(1) }, 2, 1);
    is_superseded(store, &released, "holder").await;
    store.release(&cluster(), &node(1), &run(1), Epoch(1)).await.expect("released");
    store.beat(&cluster(), &node(1), &beat(1, 3)).await.expect("it beats on");
    store.start(&cluster(), &node(1), &start(Some(1), 2)).await.expect("it restarts");
    assert_eq!(store.commit(&released).await, Ok(Committed::Granted));
}

/// Schedule A5: the releasing node is the only one left. One item, so one check.
pub async fn a_releasing_node_can_be_the_candidate(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let check = HolderCheck::Released { epoch: Epoch(1) };
    let again = grant(&held, Ground::Release, check.clone(), 1, 1);
    is_superseded(store, &again, "holder").await;
    store.release(&cluster(), &node(1), &run(1), Epoch(1)).await.expect("released");
    is_superseded(store, &grant(&held, Ground::Release, check, 1, 7), "candidate").await;
    let mut bad = beat(1, 3);
    bad.health = Health::Bad;
    store.beat(&cluster(), &node(1), &bad).await.expect("it beats");
    is_superseded(store, &again, "candidate").await;
    store.beat(&cluster(), &node(1), &beat(1, 4)).await.expect("it beats");
    assert_eq!(store.commit(&again).await, Ok(Committed::Granted));
    let found = lease(store).await;
    assert_eq!((found.epoch, found.holder), (Epoch(2), Some(node(1))));
}

/// The candidate is granted only what it was looked at for.
pub async fn a_candidate_must_be_healthy_and_the_run_that_was_seen(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let to_second = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    for (seq, health) in [(3, Health::Bad), (4, Health::Unknown), (5, Health::Draining)] {
        let mut ill = beat(1, seq);
        ill.health = health;
        store.beat(&cluster(), &node(2), &ill).await.expect("it beats");
        is_superseded(store, &to_second, "candidate").await;
    }
    store.start(&cluster(), &node(2), &start(Some(1), 2)).await.expect("it restarts");
    store.beat(&cluster(), &node(2), &beat(2, 9)).await.expect("it beats");
    is_superseded(store, &to_second, "candidate").await;
    record.lose_heartbeat(&cluster(), &node(2)).await;
    is_superseded(store, &to_second, "candidate").await;
    let to_third = grant(&held, Ground::Silence, unchanged(1, 2), 3, 1);
    assert_eq!(store.commit(&to_third).await, Ok(Committed::Granted));
}

/// A decision on another lease than the one that stands is void, whichever part of it differs.
pub async fn a_grant_on_a_lease_that_changed_is_superseded(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let good = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    is_superseded(store, &Grant { uid: uid(9), ..good.clone() }, "lease: expected uid").await;
    is_superseded(store, &Grant { epoch: Epoch(0), ..good.clone() }, "lease: expected epoch").await;
    is_superseded(store, &Grant { epoch: Epoch(2), ..good.clone() }, "lease: expected epoch").await;
    let other = Grant { holder: Some(node(3)), ..good.clone() };
    is_superseded(store, &other, "lease: expected holder").await;
    let retired = event(Epoch(1), AT, "registrar/1", Happening::Retired {});
    store.retire(&cluster(), &uid(1), &retired).await.expect("retired");
    is_superseded(store, &good, "lease: expected an active").await;
}

/// A grant of a cluster that is not registered writes nothing, not even history.
pub async fn a_grant_without_a_lease_is_superseded(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let mut elsewhere = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    elsewhere.cluster = baton_protocol::ids::ClusterName::new("billing").expect("valid");
    elsewhere.event.cluster = elsewhere.cluster.clone();
    superseded(store.commit(&elsewhere).await);
    assert_eq!(store.history(&elsewhere.cluster, 10).await, Ok(Vec::new()));
}

/// Schedule A7: a pause holds back silence until it ends, and never a lease that nobody may serve.
pub async fn a_pause_holds_back_silence_only(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let pause = request("1-pause", Wish::Pause { why: "upgrade".to_owned() }, held.epoch);
    store.ask(&pause).await.expect("asked");
    let silent = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    is_superseded(store, &silent, "lease: paused by ada").await;
    let just_before = Grant { at: WallTime(pause.until.0 - 1), ..silent.clone() };
    is_superseded(store, &just_before, "lease: paused by ada").await;

    let gone = grant(&held, Ground::Gone, unchanged(1, 2), 2, 1);
    assert_eq!(store.commit(&gone).await, Ok(Committed::Granted));
    store.release(&cluster(), &node(2), &run(1), Epoch(2)).await.expect("released");
    let check = HolderCheck::Released { epoch: Epoch(2) };
    let released = grant(&lease(store).await, Ground::Release, check, 3, 1);
    assert_eq!(store.commit(&released).await, Ok(Committed::Granted));

    let mut ended = grant(&lease(store).await, Ground::Silence, unchanged(1, 2), 1, 1);
    ended.at = pause.until;
    assert_eq!(store.commit(&ended).await, Ok(Committed::Granted));
    assert!(lease(store).await.paused.is_some(), "a grant leaves the pause alone");
}

/// A grant takes the wish out of the lease that it was decided on. Where another one has come, or gone, by then, it is void: nobody
/// would answer what it takes away.
pub async fn a_grant_takes_no_other_wish_than_it_was_decided_on(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let wish = |id| request(id, Wish::Switchover { to: None, why: String::new() }, held.epoch);
    let next = |lease: &Lease| grant(lease, Ground::Silence, unchanged(1, 2), 2, 1);
    store.ask(&wish("1-first")).await.expect("asked");
    let lost = "lease: expected the wish none that was asked for, found 1-first";
    is_superseded(store, &next(&held), lost).await;
    let first = lease(store).await;
    store.ask(&wish("2-second")).await.expect("asked");
    is_superseded(store, &next(&first), "lease: expected the wish 1-first, found 2-second").await;
    let second = lease(store).await;
    assert_eq!(second.wish(), Some(&wish("2-second").id), "the wish that came in between stands");
    assert_eq!(store.commit(&next(&second)).await, Ok(Committed::Granted));
    assert_eq!(lease(store).await.intent, None);
    // Sent again it is the same grant, whatever has been asked for since.
    store.ask(&request("3-third", wish("3-third").wish, Epoch(2))).await.expect("asked");
    assert_eq!(store.commit(&next(&second)).await, Ok(Committed::Granted));
    assert_eq!(lease(store).await.wish(), Some(&wish("3-third").id));
}

/// An exclusion holds its node back until it ends, whatever the ground, but for its own lease.
pub async fn an_exclusion_holds_back_its_node_only(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    is_replaced_by_none_of(store, &[Some("0-gone")]).await;
    let second = request("1-exclude", exclude(2, false, None), held.epoch);
    store.ask(&second).await.expect("asked");
    is_replaced_by_none_of(store, &[None, Some("0-gone")]).await;
    for ground in [Ground::Silence, Ground::Gone] {
        let refused = grant(&held, ground, unchanged(1, 2), 2, 1);
        is_superseded(store, &refused, "lease: excluded by ada").await;
        let just_before = Grant { at: WallTime(second.until.0 - 1), ..refused };
        is_superseded(store, &just_before, "lease: excluded by ada").await;
    }
    let third = grant(&held, Ground::Gone, unchanged(1, 2), 3, 1);
    assert_eq!(store.commit(&third).await, Ok(Committed::Granted));

    // Another exclusion takes its place, and a releaser gets its lease back all the same.
    let drain = request("2-drain", exclude(3, true, Some("1-exclude")), held.epoch);
    store.ask(&drain).await.expect("asked");
    is_replaced_by_none_of(store, &[None, Some("1-exclude")]).await;
    let after = lease(store).await;
    for again in [&second, &drain] {
        store.ask(again).await.expect("the same again is done already");
        assert_eq!(lease(store).await, after, "and brings nothing back");
    }
    assert_eq!(after.excluded.as_ref().map(|exclusion| exclusion.node.clone()), Some(node(3)));
    assert_eq!(after.intent.as_ref().and_then(|intent| intent.request.clone()), Some(drain.id.clone()));
    store.release(&cluster(), &node(3), &run(1), Epoch(2)).await.expect("released");
    let check = HolderCheck::Released { epoch: Epoch(2) };
    let back = grant(&after, Ground::Release, check.clone(), 3, 1);
    assert_eq!(store.commit(&back).await, Ok(Committed::Granted));
    assert!(lease(store).await.excluded.is_some(), "a grant leaves the exclusion alone");

    let before = lease(store).await;
    // The first one was replaced long ago.
    let include = include("1-exclude", false);
    let refused = store.ask(&request("3-late", include, Epoch(3))).await;
    assert_eq!(refused, Err(WriteFailure::Refused(Some(before.clone()))));
    assert_eq!(lease(store).await, before);
    let include = request("3-include", self::include("2-drain", false), Epoch(3));
    store.ask(&include).await.expect("asked");
    assert_eq!(lease(store).await.excluded, None);
    is_replaced_by_none_of(store, &[Some("2-drain")]).await;
    store.ask(&include).await.expect("the same again is done already");
    let ended = Grant { at: second.until, ..grant(&lease(store).await, Ground::Gone, unchanged(1, 2), 2, 1) };
    assert_eq!(store.commit(&ended).await, Ok(Committed::Granted));
}

/// An exclusion takes the place of the one that whoever asks has seen, and of no other: of these none is there.
async fn is_replaced_by_none_of(store: &impl Store, unseen: &[Option<&str>]) {
    let before = (lease(store).await, store.requests(&cluster(), 10).await);
    for (seen, hand_over) in unseen.iter().flat_map(|seen| [(*seen, false), (*seen, true)]) {
        let asked = request("0-unseen", exclude(1, hand_over, seen), before.0.epoch);
        assert_eq!(refused(store.ask(&asked).await).as_ref(), Some(&before.0), "{asked:?}");
        assert_eq!((lease(store).await, store.requests(&cluster(), 10).await), before, "{asked:?}");
    }
}

/// A drain is one request, and what takes it back takes no other wish.
pub async fn a_drain_is_taken_back_as_a_whole(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    store.ask(&request("1-drain", exclude(1, true, None), Epoch(1))).await.expect("asked");
    let drained = lease(store).await;
    assert!(drained.excluded.is_some() && drained.intent.is_some());
    // Somebody else's wish has taken the place of the drain's.
    let other = Wish::Switchover { to: None, why: String::new() };
    store.ask(&request("2-switchover", other, Epoch(1))).await.expect("asked");
    let replaced = lease(store).await;
    let both = include("1-drain", true);
    let refused = store.ask(&request("3-include", both.clone(), Epoch(1))).await;
    assert_eq!(refused, Err(WriteFailure::Refused(Some(replaced.clone()))));
    store.ask(&request("4-include", include("1-drain", false), Epoch(1))).await.expect("asked");
    assert_eq!(lease(store).await, Lease { excluded: None, ..replaced });
    // Nobody's has.
    store.ask(&request("5-drain", exclude(1, true, None), Epoch(1))).await.expect("asked");
    store.ask(&request("6-include", include("5-drain", true), Epoch(1))).await.expect("asked");
    assert_eq!(lease(store).await, before);
    is_replaced_as_a_whole(store, &before).await;
}

/// What takes the place of a drain ends what that has asked, and no other wish; what asks for a hand-over itself needs not.
async fn is_replaced_as_a_whole(store: &impl Store, held: &Lease) {
    let by = |lease: &Lease| {
        let exclusion = lease.excluded.as_ref().map(|exclusion| exclusion.request.to_string());
        let intent = lease.intent.as_ref().and_then(|intent| intent.request.as_ref());
        (exclusion, intent.map(ToString::to_string))
    };
    let both =
        |exclusion: &str, intent: Option<&str>| (Some(exclusion.to_owned()), intent.map(str::to_owned));
    // Where none is replaced there is nothing to withdraw.
    store.ask(&request("7-exclude", withdrawing(2, false, None), Epoch(1))).await.expect("asked");
    // Nor does the one that is replaced come with an intent.
    let wrong = request("8-wrong", withdrawing(3, false, Some("7-exclude")), Epoch(1));
    let before = lease(store).await;
    assert_eq!(refused(store.ask(&wrong).await).as_ref(), Some(&before));
    assert_eq!((by(&before), &lease(store).await), (both("7-exclude", None), &before));
    // A drain sets its own intent, be it that it takes the place of another drain's.
    store.ask(&request("9-drain", exclude(1, true, Some("7-exclude")), Epoch(1))).await.expect("asked");
    store.ask(&request("10-drain", withdrawing(1, true, Some("9-drain")), Epoch(1))).await.expect("asked");
    assert_eq!(by(&lease(store).await), both("10-drain", Some("10-drain")));
    is_replaced_by_none_of(store, &[None, Some("9-drain")]).await;
    let late = request("11-late", withdrawing(2, false, Some("9-drain")), Epoch(1));
    let before = lease(store).await;
    assert_eq!(refused(store.ask(&late).await).as_ref(), Some(&before));
    assert_eq!(lease(store).await, before);
    let second = request("12-exclude", withdrawing(2, false, Some("10-drain")), Epoch(1));
    store.ask(&second).await.expect("asked");
    let after = lease(store).await;
    assert_eq!(by(&after), both("12-exclude", None));
    assert_eq!(Lease { excluded: None, ..after.clone() }, *held);
    store.ask(&second).await.expect("the same again is done already");
    assert_eq!(lease(store).await, after);
    // Somebody else's wish has taken the place of the drain's.
    store.ask(&request("13-drain", exclude(1, true, Some("12-exclude")), Epoch(1))).await.expect("asked");
    let other = Wish::Switchover { to: None, why: String::new() };
    store.ask(&request("14-switchover", other, Epoch(1))).await.expect("asked");
    let before = lease(store).await;
    let third = request("15-exclude", withdrawing(2, false, Some("13-drain")), Epoch(1));
    assert_eq!(refused(store.ask(&third).await).as_ref(), Some(&before));
    assert_eq!(lease(store).await, before);
    store.ask(&request("15-exclude", exclude(2, false, Some("13-drain")), Epoch(1))).await.expect("asked");
    assert_eq!(by(&lease(store).await), both("15-exclude", Some("14-switchover")));
}

fn exclude(of: u8, hand_over: bool, replaces: Option<&str>) -> Wish {
    let replaces = replaces.map(|id| RequestId::new(id).expect("valid"));
    Wish::Exclude { node: node(of), why: "a disk".to_owned(), hand_over, replaces, withdraws: false }
}

/// The same with the end of what the replaced one has asked of its node.
fn withdrawing(of: u8, hand_over: bool, replaces: Option<&str>) -> Wish {
    let mut wish = exclude(of, hand_over, replaces);
    if let Wish::Exclude { withdraws, .. } = &mut wish {
        *withdraws = true;
    }
    wish
}

fn include(exclusion: &str, withdraws: bool) -> Wish {
    Wish::Include { exclusion: RequestId::new(exclusion).expect("valid"), withdraws }
}

/// Schedule A10: the answer was lost and the same request is sent again, at once or much later.
pub async fn a_repeated_commit_is_one_grant(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let silent = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    for _ in 0..3 {
        assert_eq!(store.commit(&silent).await, Ok(Committed::Granted));
    }
    let next = grant(&lease(store).await, Ground::Silence, unchanged(1, 2), 3, 1);
    assert_eq!(store.commit(&next).await, Ok(Committed::Granted));
    assert_eq!(store.commit(&silent).await, Ok(Committed::Granted), "it was granted, then");
    let found = lease(store).await;
    assert_eq!((found.epoch, found.holder), (Epoch(3), Some(node(3))));
    assert_eq!(store.history(&cluster(), 100).await.map(|rows| rows.len()), Ok(4));
}

/// Schedule A10: another arbiter decided the same on other evidence. It lost a race, and that is no error.
pub async fn a_second_arbiters_grant_is_superseded(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let first = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    assert_eq!(store.commit(&first).await, Ok(Committed::Granted));
    let mut second = first.clone();
    second.event.by = "arbiter/2".to_owned();
    is_superseded(store, &second, "lease").await;
    second.at = WallTime(AT.0 + 40);
    is_superseded(store, &second, "lease").await;
}

/// The registration was changed in between: the decision knew other members, or another mode.
pub async fn a_grant_decided_under_another_configuration_is_superseded(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let silent = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    let mut changed = registration(1);
    changed.mode = Mode::Available;
    let registered = Happening::Registered { revision: 2, summary: "available".to_owned() };
    changed.event = event(Epoch(1), AT, "registrar", registered);
    store.reconfigure(&changed, held.holder.as_ref()).await.expect("reconfigured");
    is_superseded(store, &silent, "lease").await;
    let again = grant(&lease(store).await, Ground::Silence, unchanged(1, 2), 2, 1);
    assert_eq!(store.commit(&again).await, Ok(Committed::Granted));
}

/// Many arbiters at once: one of them grants, and none is told otherwise.
pub async fn of_many_arbiters_one_grants(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let grants: Vec<_> = (0..8u8)
        .map(|number| {
            let mut grant = grant(&held, Ground::Silence, unchanged(1, 2), 2 + number % 2, 1);
            grant.event.by = format!("arbiter/{number}");
            grant
        })
        .collect();
    let outcomes = join_all(grants.iter().map(|grant| store.commit(grant))).await;
    let granted = outcomes.iter().filter(|outcome| **outcome == Ok(Committed::Granted)).count();
    assert_eq!(granted, 1, "{outcomes:?}");
    for outcome in &outcomes {
        assert!(matches!(outcome, Ok(_) | Err(Failure::Conflict)), "{outcome:?}");
    }
    assert_eq!(lease(store).await.epoch, Epoch(2));
}

/// What belonged to the epoch that ended is gone; what belongs to the cluster stays.
pub async fn a_grant_clears_what_its_epoch_ends(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let ask = request("1-move", Wish::Switchover { to: Some(node(2)), why: String::new() }, held.epoch);
    store.ask(&ask).await.expect("asked");
    store.record_rotation(&cluster(), Epoch(1), &allocation(1), &Mark::Free).await.expect("recorded");
    let observed = Observed {
        associations: [(allocation(1), association(1))].into(),
        tables: [(swapped().subnet, table_association(1))].into(),
    };
    let moved = Moved { observed: observed.clone(), verify_at: Some(AT), ..moved(&held) };
    store.record_moved(&cluster(), &moved).await.expect("recorded");
    let before = lease(store).await;
    assert!(before.intent.is_some() && before.verify_at.is_some() && !before.rotated.is_empty());

    let silent = grant(&before, Ground::Silence, unchanged(1, 2), 2, 1);
    assert_eq!(store.commit(&silent).await, Ok(Committed::Granted));
    let after = lease(store).await;
    assert_eq!((after.intent, after.verify_at, after.rotated.len()), (None, None, 0));
    assert_eq!((after.moved, after.observed), (Epoch(1), observed));
    assert_eq!((after.members, after.resources, after.uid), (before.members, before.resources, before.uid));
}

/// What an arbiter of an ended epoch did is not recorded as the current one's.
pub async fn work_for_an_ended_epoch_is_not_recorded(record: &impl Record) {
    let store = record.store();
    let moved = |epoch, before, due, verify_at| Moved {
        epoch: Epoch(epoch),
        revision: 1,
        before: Epoch(before),
        due,
        observed: Observed::default(),
        verify_at,
    };
    assert_eq!(refused(store.record_moved(&cluster(), &moved(1, 0, None, None)).await), None);
    let held = held_by_the_first(store).await;
    for epoch in [0, 2] {
        let found = refused(store.record_moved(&cluster(), &moved(epoch, 0, None, None)).await);
        assert_eq!(found.as_ref(), Some(&held));
        for mark in [Mark::Free, Mark::Ends(association(1)), Mark::Made(association(1))] {
            let rotation = store.record_rotation(&cluster(), Epoch(epoch), &allocation(1), &mark).await;
            assert_eq!(refused(rotation).as_ref(), Some(&held), "{mark:?}");
        }
    }
    store.record_moved(&cluster(), &moved(1, 0, None, Some(AT))).await.expect("recorded");
    assert_eq!((lease(store).await.moved, lease(store).await.verify_at), (Epoch(1), Some(AT)));
    store.record_moved(&cluster(), &moved(1, 1, Some(AT), None)).await.expect("recorded");
    assert_eq!(lease(store).await.verify_at, None);
}

/// A look that was begun before another one had to mend something does not take the place of the one that follows that.
pub async fn a_look_is_recorded_only_while_it_is_the_last_that_was_arranged(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let look = |due, verify_at| Moved { before: Epoch(1), due, verify_at, ..moved(&held) };
    let later = WallTime(AT.0 + 60_000);
    store.record_moved(&cluster(), &Moved { verify_at: Some(AT), ..moved(&held) }).await.expect("recorded");
    store
        .record_moved(&cluster(), &look(Some(AT), Some(later)))
        .await
        .expect("it is the one that was arranged");
    for due in [Some(AT), None] {
        let found = refused(store.record_moved(&cluster(), &look(due, None)).await).expect("the lease");
        assert_eq!((found.moved, found.verify_at), (Epoch(1), Some(later)), "{due:?}");
    }
    store.record_moved(&cluster(), &look(Some(later), None)).await.expect("it is the one that was arranged");
    let found = refused(store.record_moved(&cluster(), &look(Some(later), None)).await).expect("the lease");
    assert_eq!(found.verify_at, None);
    store.record_moved(&cluster(), &look(None, Some(later))).await.expect("none was arranged");
}

/// Of two that complete the same move one records it, and what was moved for another configuration is not recorded.
pub async fn a_move_is_recorded_once_and_for_its_configuration(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let moved = moved(&held);
    let stale = Moved { revision: held.revision + 1, ..moved.clone() };
    assert_eq!(refused(store.record_moved(&cluster(), &stale).await).as_ref(), Some(&held));
    store.record_moved(&cluster(), &moved).await.expect("recorded");
    let found = refused(store.record_moved(&cluster(), &moved).await).expect("the lease");
    assert_eq!((found.epoch, found.moved), (held.epoch, held.epoch));
}

/// Each address has its own mark. The first of an epoch stands, and only what was made takes its place.
pub async fn the_first_mark_of_an_address_stands(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let put =
        async |address, mark| store.record_rotation(&cluster(), Epoch(1), &allocation(address), &mark).await;
    for (address, mark) in [(1, Mark::Ends(association(1))), (2, Mark::Free), (3, Mark::Made(association(3)))]
    {
        put(address, mark).await.expect("it is the first");
    }
    let marked = lease(store).await;
    for (address, mark) in [
        (1, Mark::Ends(association(1))),
        (1, Mark::Ends(association(2))),
        (1, Mark::Free),
        (2, Mark::Ends(association(2))),
        (3, Mark::Free),
    ] {
        assert_eq!(refused(put(address, mark.clone()).await).as_ref(), Some(&marked), "{address}: {mark:?}");
    }
    for (address, made) in [(1, 4), (2, 5), (3, 6), (1, 7)] {
        put(address, Mark::Made(association(made))).await.expect("it was made");
    }
    let made = |address, id| (allocation(address), Mark::Made(association(id)));
    assert_eq!(lease(store).await.rotated, [made(1, 7), made(2, 5), made(3, 6)].into());
}

/// Rows come newest first, and a row that is written again is one row.
pub async fn history_is_read_newest_first(record: &impl Record) {
    let store = record.store();
    let row = |epoch, at| {
        let what = Happening::Step {
            call: "AssociateAddress".to_owned(),
            resource: allocation(1).to_string(),
            took_ms: 120,
            failure: None,
        };
        event(Epoch(epoch), WallTime(AT.0 + at), "arbiter/1", what)
    };
    for (epoch, at, is_new) in [(10, 5, true), (2, 9, true), (10, 3, true), (9, 1, true), (10, 5, false)] {
        assert_eq!(store.append(&row(epoch, at)).await, Ok(is_new));
    }
    let expected = vec![row(10, 5), row(10, 3), row(9, 1), row(2, 9)];
    assert_eq!(store.history(&cluster(), 100).await, Ok(expected.clone()));
    assert_eq!(store.history(&cluster(), 2).await, Ok(expected[..2].to_vec()));
    assert_eq!(store.history(&cluster(), 0).await, Ok(Vec::new()));
}

/// An incarnation is compared as a whole.
pub async fn a_prefix_of_an_incarnation_is_another_run(record: &impl Record) {
    let store = record.store();
    let held = held_by_the_first(store).await;
    let mut near = grant(&held, Ground::Silence, unchanged(1, 2), 2, 1);
    near.to_incarnation = Incarnation::new("run-").expect("valid");
    is_superseded(store, &near, "candidate").await;
}
