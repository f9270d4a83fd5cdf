//! What the store promises to operators.

use std::time::Duration;

use baton_protocol::fence::Word;
use baton_protocol::history::Happening;
use baton_protocol::ids::{Epoch, RegistrationUid, RequestId};
use baton_protocol::lease::{Intent, Pause};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::Store;

use super::build::{cluster, event, held_by_the_first, lease, node, registration, request, uid};
use super::{Record, refused};

/// Nobody can ask anything of a cluster that is not there, and nothing is left behind by the attempt.
pub async fn a_request_without_a_lease_is_refused(record: &impl Record) {
    let store = record.store();
    let ask = request("1-pause", Wish::Pause { why: "upgrade".to_owned() }, Epoch(0));
    assert_eq!(refused(store.ask(&ask).await), None);
    assert_eq!(store.requests(&cluster(), 10).await, Ok(Vec::new()));
    assert_eq!(store.lease(&cluster()).await, Ok(None));
}

/// The lease carries the wish, bound to its epoch and its end, and nothing else of it changes.
pub async fn a_switchover_is_carried_as_an_intent(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    let ask = request("1-move", Wish::Switchover { to: Some(node(3)), why: String::new() }, Epoch(1));
    store.ask(&ask).await.expect("asked");
    let mut after = lease(store).await;
    let intent = Intent {
        to: Some(node(3)),
        reason: "switchover asked by ada".to_owned(),
        epoch: Epoch(1),
        until: ask.until,
        request: Some(ask.id.clone()),
        failover: false,
        asked: Some(ask.at),
    };
    assert_eq!(after.intent.take(), Some(intent));
    assert_eq!(after, before);
    assert_eq!(store.requests(&cluster(), 10).await, Ok(vec![ask]));
}

/// A word that a node be stopped is carried until whoever obeyed it ends it, and ending it twice, or another, changes nothing.
pub async fn a_fence_is_carried_until_it_is_ended(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    let wish = |why: &str| Wish::Fence { node: node(2), uid: before.uid.clone(), why: why.to_owned() };
    let ask = request("1-fence", wish("it hangs"), Epoch(1));
    store.ask(&ask).await.expect("asked");
    let mut after = lease(store).await;
    let word = Word {
        node: node(2),
        uid: before.uid.clone(),
        epoch: Epoch(1),
        until: ask.until,
        by: "ada".to_owned(),
        why: "it hangs".to_owned(),
        request: ask.id.clone(),
    };
    assert_eq!(after.fence.take(), Some(word));
    assert_eq!(after, before);
    let next = request("2-fence", wish("it hangs again"), Epoch(1));
    let next = Request { at: ask.until, until: ask.until + Duration::from_secs(60), ..next };
    store.ask(&next).await.expect("the first one has ended");
    store.end_fence(&cluster(), &ask.id).await.expect("there is nothing to end");
    assert_eq!(lease(store).await.fence.map(|word| word.request), Some(next.id.clone()));
    for _ in 0..2 {
        store.end_fence(&cluster(), &next.id).await.expect("ended");
        assert_eq!(lease(store).await, before);
    }
}

/// Whoever has asked that a node be stopped counts on it until that ends: another word is refused as long, whomever it names, and
/// leaves nothing behind.
pub async fn a_live_fence_is_replaced_by_no_other(record: &impl Record) {
    let store = record.store();
    let uid = held_by_the_first(store).await.uid;
    let fence =
        |n, uid: &RegistrationUid| Wish::Fence { node: node(n), uid: uid.clone(), why: String::new() };
    let first = request("1-fence", fence(2, &uid), Epoch(1));
    store.ask(&first).await.expect("asked");
    let before = lease(store).await;
    for n in [2, 3] {
        let late =
            Request { at: WallTime(first.until.0 - 1), ..request("2-fence", fence(n, &uid), Epoch(1)) };
        assert_eq!(refused(store.ask(&late).await), Some(before.clone()));
    }
    store.ask(&first).await.expect("asked already");
    assert_eq!(store.requests(&cluster(), 10).await, Ok(vec![first.clone()]));
    let next = request("3-fence", fence(3, &uid), Epoch(1));
    let next = Request { at: first.until, until: first.until + Duration::from_secs(60), ..next };
    store.ask(&next).await.expect("the first one has ended");
    assert_eq!(lease(store).await.fence.map(|word| word.request), Some(next.id));
    store.ask(&first).await.expect("asked already, whatever stands now");
}

/// A word about an earlier registration reaches nobody.
pub async fn a_fence_of_another_registration_is_replaced(record: &impl Record) {
    let store = record.store();
    assert_eq!(held_by_the_first(store).await.uid, uid(1));
    let fence = |uid: RegistrationUid| Wish::Fence { node: node(2), uid, why: String::new() };
    store.ask(&request("1-fence", fence(uid(2)), Epoch(1))).await.expect("asked");
    let next = request("2-fence", fence(uid(1)), Epoch(1));
    store.ask(&next).await.expect("asked");
    assert_eq!(lease(store).await.fence.map(|word| word.request), Some(next.id));
}

/// A pause is carried and taken away, and nothing else of the lease changes.
pub async fn a_pause_is_carried_until_it_is_resumed(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    let ask = request("1-pause", Wish::Pause { why: "upgrade".to_owned() }, Epoch(1));
    store.ask(&ask).await.expect("asked");
    let mut after = lease(store).await;
    let pause = Pause { until: ask.until, by: "ada".to_owned(), why: "upgrade".to_owned() };
    assert_eq!(after.paused.take(), Some(pause));
    assert_eq!(after, before);
    store.ask(&request("2-resume", Wish::Resume {}, Epoch(1))).await.expect("asked");
    assert_eq!(lease(store).await, before);
    store.ask(&request("3-resume", Wish::Resume {}, Epoch(1))).await.expect("there is nothing to resume");
    assert_eq!(lease(store).await, before);
}

/// The arbiter's own wish that the lease go back is of the epoch that it was decided at. Written late it takes the place of no
/// word about a later one, and reaches no cluster that has been retired.
pub async fn a_failback_is_written_at_its_own_epoch_only(record: &impl Record) {
    let store = record.store();
    let before = held_by_the_first(store).await;
    let back =
        |id: &str, epoch| request(id, Wish::Failback { to: node(2), why: "it is well".to_owned() }, epoch);
    assert_eq!(refused(store.ask(&back("1-late", Epoch(0))).await), Some(before.clone()));
    assert_eq!(refused(store.ask(&back("1-early", Epoch(2))).await), Some(before));
    let word = request("2-word", Wish::Switchover { to: Some(node(3)), why: String::new() }, Epoch(1));
    store.ask(&word).await.expect("asked");
    let asked = lease(store).await;
    for epoch in [Epoch(0), Epoch(1)] {
        assert_eq!(refused(store.ask(&back("3-late", epoch)).await), Some(asked.clone()));
    }
    assert_eq!(lease(store).await.intent.and_then(|intent| intent.request), Some(word.id.clone()));
    let mut later = back("4-later", Epoch(1));
    later.at = word.until;
    later.until = WallTime(later.at.0 + 60_000);
    store.ask(&later).await.expect("the wish before it has ended");
    let row = event(Epoch(1), later.until, "registrar/1", Happening::Retired {});
    store.retire(&cluster(), &uid(1), &row).await.expect("retired");
    let mut last = back("5-last", Epoch(1));
    last.at = later.until;
    refused(store.ask(&last).await);
    let at = later.at.utc();
    let mut word = word;
    word.answer = Some(format!("ended at {at}, and then replaced by failback asked by ada at {at}"));
    assert_eq!(store.requests(&cluster(), 10).await, Ok(vec![later, word]));
}

/// An id is used once: a second request of that name changes nothing.
pub async fn a_request_whose_id_is_taken_is_refused(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let first = request("1", Wish::Pause { why: "upgrade".to_owned() }, Epoch(1));
    store.ask(&first).await.expect("asked");
    let before = lease(store).await;
    let second = request("1", Wish::Resume {}, Epoch(1));
    assert_eq!(refused(store.ask(&second).await), Some(before.clone()));
    assert_eq!(lease(store).await, before);
    assert_eq!(store.requests(&cluster(), 10).await, Ok(vec![first]));
}

/// The answer was lost and the operator's tool sends the request again; it was done, and is not done twice.
pub async fn a_repeated_request_is_done_once(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let ask = request("1", Wish::Pause { why: "upgrade".to_owned() }, Epoch(1));
    store.ask(&ask).await.expect("asked");
    store.ask(&ask).await.expect("asked already");
    store.answer(&cluster(), &ask.id, "paused").await.expect("answered");
    store.ask(&request("2", Wish::Resume {}, Epoch(1))).await.expect("asked");
    store.ask(&ask).await.expect("asked already");
    assert_eq!(lease(store).await.paused, None, "the pause that was ended stays ended");
}

/// A lease that nobody holds yet can be paused like any other.
pub async fn a_vacant_lease_can_be_paused(record: &impl Record) {
    let store = record.store();
    store.register(&registration(1)).await.expect("registered");
    store.ask(&request("1", Wish::Pause { why: "not yet".to_owned() }, Epoch(0))).await.expect("asked");
    assert!(lease(store).await.paused.is_some());
}

/// Requests come newest first by id, with their answers.
pub async fn requests_are_read_newest_first_with_their_answers(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let asked: Vec<Request> = ["20260102", "20260101", "20260103"]
        .iter()
        .map(|id| request(id, Wish::Resume {}, Epoch(1)))
        .collect();
    for ask in &asked {
        store.ask(ask).await.expect("asked");
    }
    store.answer(&cluster(), &asked[0].id, "done").await.expect("answered");
    let mut answered = asked[0].clone();
    answered.answer = Some("done".to_owned());
    let expected = vec![asked[2].clone(), answered, asked[1].clone()];
    assert_eq!(store.requests(&cluster(), 10).await, Ok(expected.clone()));
    assert_eq!(store.requests(&cluster(), 2).await, Ok(expected[..2].to_vec()));
}

/// Whoever has read the first answer does not learn of another. The same one again is a repeat whose answer was lost.
pub async fn the_first_answer_to_a_request_stands(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let ask = request("1", Wish::Pause { why: "upgrade".to_owned() }, Epoch(1));
    store.ask(&ask).await.expect("asked");
    store.answer(&cluster(), &ask.id, "it has ended without effect").await.expect("answered");
    let found = refused(store.answer(&cluster(), &ask.id, "granted").await);
    assert_eq!(found.as_deref(), Some("it has ended without effect"));
    store.answer(&cluster(), &ask.id, "it has ended without effect").await.expect("answered already");
    let requests = store.requests(&cluster(), 1).await.expect("read");
    assert_eq!(requests[0].answer.as_deref(), Some("it has ended without effect"));
}

/// Whoever has asked first is told who asked next, in the same write, and once.
pub async fn a_request_that_another_takes_the_place_of_is_answered_so(record: &impl Record) {
    let store = record.store();
    let uid = held_by_the_first(store).await.uid;
    let answer = async |id: &str| {
        let requests = store.requests(&cluster(), 100).await.expect("read");
        requests.into_iter().find(|request| request.id.as_str() == id).expect("there").answer
    };
    let ask = async |id: &str, wish: Wish| {
        let request = request(id, wish, Epoch(1));
        store.ask(&request).await.expect("asked");
        store.ask(&request).await.expect("asked already");
        request.at.utc()
    };
    let move_to = |to| Wish::Switchover { to, why: String::new() };
    let exclude = |hand_over, replaces: Option<&str>, withdraws| Wish::Exclude {
        node: node(1),
        why: "a disk".to_owned(),
        hand_over,
        replaces: replaces.map(|id| RequestId::new(id).expect("valid")),
        withdraws,
    };
    let at = ask("1-move", move_to(Some(node(2)))).await;
    ask("2-move", move_to(None)).await;
    assert_eq!(answer("1-move").await, Some(format!("replaced by switchover asked by ada at {at}")));
    assert_eq!(answer("2-move").await, None, "it stands, and sending it again does not end it");
    ask("3-drain", exclude(true, None, false)).await;
    assert_eq!(answer("2-move").await, Some(format!("replaced by drain asked by ada at {at}")));
    ask("4-word", Wish::Failover { to: None, why: String::new() }).await;
    assert_eq!(answer("3-drain").await, Some(format!("replaced by failover asked by ada at {at}")));
    ask("5-drain", exclude(true, Some("3-drain"), false)).await;
    ask("6-exclude", exclude(false, Some("5-drain"), true)).await;
    assert_eq!(answer("5-drain").await, Some(format!("withdrawn by exclude asked by ada at {at}")));
    // A pause and an exclusion have done their work by being written.
    ask("7-pause", Wish::Pause { why: "upgrade".to_owned() }).await;
    ask("8-pause", Wish::Pause { why: "another".to_owned() }).await;
    ask(
        "9-include",
        Wish::Include { exclusion: RequestId::new("6-exclude").expect("valid"), withdraws: false },
    )
    .await;
    for id in ["6-exclude", "7-pause", "8-pause"] {
        assert_eq!(answer(id).await, None, "{id}");
    }
    let fence = |n| Wish::Fence { node: node(n), uid: uid.clone(), why: String::new() };
    ask("a-fence", fence(1)).await;
    let ended = request("a-fence", fence(1), Epoch(1)).until;
    let later = request("b-fence", fence(2), Epoch(1));
    store.ask(&Request { at: ended, until: ended + Duration::from_secs(60), ..later }).await.expect("asked");
    let (end, by) = (ended.utc(), format!("replaced by fence asked by ada at {}", ended.utc()));
    assert_eq!(answer("a-fence").await, Some(format!("ended at {end}, and then {by}")));
    let restore = || Wish::Restore { uid: uid.clone(), why: String::new() };
    ask("c-restore", restore()).await;
    ask("d-restore", restore()).await;
    assert_eq!(answer("c-restore").await, Some(format!("replaced by restore asked by ada at {at}")));
    assert_eq!((answer("b-fence").await, answer("d-restore").await), (None, None));
}

/// What somebody has been told stands, and a wish that had ended is not said to have been there until then.
pub async fn a_request_that_was_answered_or_had_ended_is_replaced_all_the_same(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let asked: Vec<Request> = ["1", "2", "3"]
        .iter()
        .map(|id| request(id, Wish::Switchover { to: None, why: String::new() }, Epoch(1)))
        .collect();
    store.ask(&asked[0]).await.expect("asked");
    store.answer(&cluster(), &asked[0].id, "it has ended without effect").await.expect("answered");
    store.ask(&asked[1]).await.expect("asked");
    let late = Request { at: asked[1].until, ..asked[2].clone() };
    store.ask(&late).await.expect("asked");
    let answers: Vec<_> = store
        .requests(&cluster(), 3)
        .await
        .expect("read")
        .into_iter()
        .map(|request| request.answer)
        .collect();
    let until = late.at.utc();
    let ended = format!("ended at {until}, and then replaced by switchover asked by ada at {until}");
    assert_eq!(answers, vec![None, Some(ended), Some("it has ended without effect".to_owned())]);
    assert_eq!(lease(store).await.intent.and_then(|intent| intent.request), Some(late.id));
}

/// There is no answer without a question.
pub async fn an_answer_to_no_request_is_refused(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let id = RequestId::new("nobody-asked").expect("valid");
    assert_eq!(refused(store.answer(&cluster(), &id, "done").await), None);
    assert_eq!(store.requests(&cluster(), 10).await, Ok(Vec::new()));
}
