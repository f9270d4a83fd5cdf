//! What a write that reads first does when the table changes between its reading and its writing.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use baton_conformance::eavesdropper::{Eavesdropper, Exchange};
use baton_conformance::engine::{Engine, PATIENT, config_at};
use baton_conformance::interloper::Interloper;
use baton_conformance::store::build::{
    AT, cluster, event, grant, held_by_the_first, lease, node, registration, request, uid, unchanged,
};
use baton_conformance::store::refused;
use baton_protocol::grant::Committed;
use baton_protocol::history::{Event, Ground, Happening};
use baton_protocol::ids::Epoch;
use baton_protocol::lease::{LeaseState, Mode};
use baton_protocol::request::Wish;
use baton_protocol::resource::Observed;
use baton_store::condition::OPERATOR_ATTRIBUTES;
use baton_store::{DynamoStore, Moved, Registration, Store};
use serde_json::Value;

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::start);

/// An empty table, and its store.
async fn table(name: &str) -> DynamoStore {
    ENGINE.create_table(name).await;
    DynamoStore::new(&ENGINE.config().await, name)
}

/// The store of that table, with `deed` between its reading and its writing.
async fn interrupted(
    name: &str,
    deed: impl Future<Output = ()> + Send + 'static,
) -> (Interloper, DynamoStore) {
    let interloper = Interloper::start(ENGINE.endpoint(), "TransactWriteItems", deed).await;
    let config = config_at(interloper.endpoint(), PATIENT).await;
    (interloper, DynamoStore::new(&config, name))
}

fn retired(by: &str) -> Event {
    event(Epoch(1), AT, by, Happening::Retired {})
}

fn changed(by: &str) -> Registration {
    let mut changed = registration(1);
    changed.event.by = by.to_owned();
    changed.mode = Mode::Available;
    changed.members.pop();
    changed
}

#[tokio::test]
async fn a_retirement_does_not_reach_a_registration_that_came_in_between() {
    let store = table("retire").await;
    held_by_the_first(&store).await;
    let other = store.clone();
    let (_interloper, late) = interrupted("retire", async move {
        other.retire(&cluster(), &uid(1), &retired("registrar/1")).await.expect("retired");
        other.register(&registration(2)).await.expect("registered");
    })
    .await;
    let found = refused(late.retire(&cluster(), &uid(1), &retired("registrar/2")).await).expect("found");
    assert_eq!((&found.uid, found.state), (&uid(2), LeaseState::Active));
    assert_eq!(lease(&store).await, found);
    assert_eq!(store.clusters().await.map(|entries| entries.len()), Ok(1));
}

#[tokio::test]
async fn a_retirement_that_another_one_overtook_is_done() {
    let store = table("retire-twice").await;
    held_by_the_first(&store).await;
    let other = store.clone();
    let (_interloper, late) = interrupted("retire-twice", async move {
        other.retire(&cluster(), &uid(1), &retired("registrar/1")).await.expect("retired");
    })
    .await;
    late.retire(&cluster(), &uid(1), &retired("registrar/2")).await.expect("retired already");
    let rows = store.history(&cluster(), 100).await.expect("read");
    assert!(!rows.contains(&retired("registrar/2")), "nothing happened twice: {rows:?}");
}

#[tokio::test]
async fn of_two_registrations_of_a_new_name_the_second_is_refused() {
    let store = table("register").await;
    let other = store.clone();
    let (_interloper, late) = interrupted("register", async move {
        other.register(&registration(2)).await.expect("registered");
    })
    .await;
    let found = refused(late.register(&registration(1)).await).expect("found");
    assert_eq!((found.uid, found.revision), (uid(2), 1));
}

#[tokio::test]
async fn a_registration_that_its_own_repeat_overtook_is_done() {
    let store = table("register-twice").await;
    let other = store.clone();
    let (_interloper, late) = interrupted("register-twice", async move {
        let mut repeat = registration(1);
        repeat.event.by = "the repeat".to_owned();
        other.register(&repeat).await.expect("registered");
    })
    .await;
    late.register(&registration(1)).await.expect("registered already");
    assert_eq!(lease(&store).await.revision, 1);
    assert_eq!(store.history(&cluster(), 100).await.map(|rows| rows.len()), Ok(1));
}

#[tokio::test]
async fn a_retired_lease_is_taken_up_once() {
    let store = table("take-up").await;
    held_by_the_first(&store).await;
    store.retire(&cluster(), &uid(1), &retired("registrar/1")).await.expect("retired");
    let other = store.clone();
    let (_interloper, late) = interrupted("take-up", async move {
        other.register(&registration(2)).await.expect("registered");
        other.retire(&cluster(), &uid(2), &retired("registrar/2")).await.expect("retired");
    })
    .await;
    let found = refused(late.register(&registration(3)).await).expect("found");
    assert_eq!((&found.uid, found.epoch, found.state), (&uid(2), Epoch(2), LeaseState::Retired));
    late.register(&registration(3)).await.expect("registered");
    assert_eq!((lease(&store).await.epoch, lease(&store).await.uid), (Epoch(3), uid(3)));
}

#[tokio::test]
async fn a_change_is_refused_when_the_lease_went_to_another_node_in_between() {
    let store = table("grant-between").await;
    let held = held_by_the_first(&store).await;
    let other = store.clone();
    let next = grant(&held, Ground::Silence, unchanged(1, 2), 3, 1);
    let (_interloper, late) = interrupted("grant-between", async move {
        assert_eq!(other.commit(&next).await, Ok(Committed::Granted));
    })
    .await;
    // The change takes out node 3, which has come to hold the lease.
    let found = refused(late.reconfigure(&changed("registrar/1"), Some(&node(1))).await).expect("found");
    assert_eq!((found.epoch, &found.holder, found.revision), (Epoch(2), &Some(node(3)), 1));
    assert_eq!(lease(&store).await, found);
}

#[tokio::test]
async fn of_two_changes_at_once_the_second_is_refused() {
    let store = table("change-twice").await;
    held_by_the_first(&store).await;
    let other = store.clone();
    let (_interloper, late) = interrupted("change-twice", async move {
        let mut first = registration(1);
        first.event.by = "registrar/1".to_owned();
        other.reconfigure(&first, Some(&node(1))).await.expect("reconfigured");
    })
    .await;
    let found = refused(late.reconfigure(&changed("registrar/2"), Some(&node(1))).await).expect("found");
    assert_eq!((found.revision, found.mode), (2, Mode::Strict));
    assert_eq!(lease(&store).await, found);
}

/// The move of the lease as it stands.
async fn complete_the_move(store: &DynamoStore) {
    let lease = lease(store).await;
    let (epoch, revision, before) = (lease.epoch, lease.revision, lease.moved);
    let due = lease.verify_at;
    let moved = Moved { epoch, revision, before, due, observed: Observed::default(), verify_at: None };
    store.record_moved(&cluster(), &moved).await.expect("recorded");
}

#[tokio::test]
async fn a_change_does_not_take_back_a_move_that_was_recorded_in_between() {
    let store = table("moved-between").await;
    held_by_the_first(&store).await;
    let other = store.clone();
    let (_interloper, late) =
        interrupted("moved-between", async move { complete_the_move(&other).await }).await;
    let found = refused(late.reconfigure(&changed("registrar/1"), Some(&node(1))).await).expect("found");
    assert_eq!((found.epoch, found.moved, found.revision), (Epoch(1), Epoch(1), 1));
    assert_eq!(lease(&store).await, found);
}

#[tokio::test]
async fn a_registration_does_not_take_back_a_move_that_was_recorded_in_between() {
    let store = table("moved-retired").await;
    held_by_the_first(&store).await;
    store.retire(&cluster(), &uid(1), &retired("registrar/1")).await.expect("retired");
    let other = store.clone();
    let (_interloper, late) =
        interrupted("moved-retired", async move { complete_the_move(&other).await }).await;
    let found = refused(late.register(&registration(2)).await).expect("found");
    assert_eq!((&found.uid, found.state, found.moved), (&uid(1), LeaseState::Retired, Epoch(1)));
    assert_eq!(lease(&store).await, found);
    late.register(&registration(2)).await.expect("registered");
    let again = lease(&store).await;
    assert_eq!((again.epoch, again.moved), (Epoch(2), Epoch(1)));
}

#[tokio::test]
async fn what_an_operator_writes_in_between_survives_a_change() {
    let store = table("pause-between").await;
    held_by_the_first(&store).await;
    let other = store.clone();
    let (_interloper, late) = interrupted("pause-between", async move {
        let pause = request("1", Wish::Pause { why: "upgrade".to_owned() }, Epoch(1));
        other.ask(&pause).await.expect("asked");
    })
    .await;
    late.reconfigure(&changed("registrar/1"), Some(&node(1))).await.expect("reconfigured");
    let found = lease(&store).await;
    assert!(found.paused.is_some());
    assert_eq!((found.revision, found.mode), (2, Mode::Available));
}

/// What each request was answered with, by their ids.
async fn answers(store: &DynamoStore) -> Vec<(String, Option<String>)> {
    let requests = store.requests(&cluster(), 100).await.expect("read");
    requests.into_iter().rev().map(|request| (request.id.to_string(), request.answer)).collect()
}

#[tokio::test]
async fn a_wish_that_came_between_what_another_one_read_and_wrote_is_answered_too() {
    let store = table("wish-between").await;
    held_by_the_first(&store).await;
    let wish = |id| request(id, Wish::Switchover { to: None, why: String::new() }, Epoch(1));
    store.ask(&wish("1")).await.expect("asked");
    let other = store.clone();
    let between = wish("2");
    let (_interloper, late) =
        interrupted("wish-between", async move { other.ask(&between).await.expect("asked") }).await;
    late.ask(&wish("3")).await.expect("asked");
    let replaced = Some(format!("replaced by switchover asked by ada at {}", wish("1").at.utc()));
    let expected = [("1", replaced.clone()), ("2", replaced), ("3", None)];
    assert_eq!(answers(&store).await, expected.map(|(id, answer)| (id.to_owned(), answer)));
}

#[tokio::test]
async fn a_wish_that_was_granted_or_answered_in_between_is_not_said_to_have_been_replaced() {
    for (name, granted) in [("granted-between", true), ("answered-between", false)] {
        let store = table(name).await;
        held_by_the_first(&store).await;
        let wish = |id| request(id, Wish::Switchover { to: None, why: String::new() }, Epoch(1));
        store.ask(&wish("1")).await.expect("asked");
        let other = store.clone();
        let next = grant(&lease(&store).await, Ground::Silence, unchanged(1, 2), 3, 1);
        let (_interloper, late) = interrupted(name, async move {
            if granted {
                assert_eq!(other.commit(&next).await, Ok(Committed::Granted));
            } else {
                let id = request("1", Wish::Resume {}, Epoch(1)).id;
                other.answer(&cluster(), &id, "the wish ended").await.expect("answered");
            }
        })
        .await;
        late.ask(&wish("2")).await.expect("asked");
        let first = (!granted).then(|| "the wish ended".to_owned());
        assert_eq!(answers(&store).await, [("1".to_owned(), first), ("2".to_owned(), None)]);
        let intent = lease(&store).await.intent.and_then(|intent| intent.request);
        assert_eq!(intent, Some(wish("2").id));
    }
}

/// The attributes that an action's expressions name, without what lies within them: as IAM counts them.
fn top_level(action: &Value) -> BTreeSet<String> {
    let update = &action["Update"];
    let texts =
        ["UpdateExpression", "ConditionExpression"].map(|part| update[part].as_str().unwrap_or_default());
    let all = texts.join(" ");
    let named = all.match_indices('#').filter(|(at, _)| !all[..*at].ends_with('.')).map(|(at, _)| {
        let rest = &all[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        update["ExpressionAttributeNames"][format!("#{}", &rest[..end])].as_str().expect("named").to_owned()
    });
    named.collect()
}

#[tokio::test]
async fn an_operator_s_answer_to_what_is_replaced_needs_no_permission_more() {
    let store = table("answer-wire").await;
    held_by_the_first(&store).await;
    let ear = Eavesdropper::start(ENGINE.endpoint()).await;
    let operator = DynamoStore::new(&config_at(ear.endpoint(), PATIENT).await, "answer-wire");
    for id in ["1", "2"] {
        let wish = Wish::Switchover { to: None, why: String::new() };
        operator.ask(&request(id, wish, Epoch(1))).await.expect("asked");
    }
    let heard = ear.take_heard();
    let writes: Vec<_> = heard.iter().filter(|heard| heard.sent.operation != "GetItem").collect();
    let [first, second] = &writes[..] else { panic!("{writes:?}") };
    let actions = |of: &Exchange| of.sent.body["TransactItems"].as_array().expect("actions").clone();
    assert_eq!((actions(first).len(), actions(second).len()), (2, 3));
    let answer = &actions(second)[2];
    assert_eq!(answer["Update"]["Key"]["sk"]["S"], "REQUEST#1");
    assert_eq!(top_level(answer), ["pk", "request"].map(str::to_owned).into());
    let named: BTreeSet<_> = actions(second).iter().flat_map(top_level).collect();
    assert!(named.iter().all(|name| OPERATOR_ATTRIBUTES.contains(&name.as_str())), "{named:?}");
}
