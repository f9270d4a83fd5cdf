//! What the store promises to operators.

use baton_protocol::fence::Word;
use baton_protocol::history::Happening;
use baton_protocol::ids::{Epoch, RequestId};
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
    store.ask(&next).await.expect("asked");
    store.end_fence(&cluster(), &ask.id).await.expect("there is nothing to end");
    assert_eq!(lease(store).await.fence.map(|word| word.request), Some(next.id.clone()));
    for _ in 0..2 {
        store.end_fence(&cluster(), &next.id).await.expect("ended");
        assert_eq!(lease(store).await, before);
    }
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

/// There is no answer without a question.
pub async fn an_answer_to_no_request_is_refused(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let id = RequestId::new("nobody-asked").expect("valid");
    assert_eq!(refused(store.answer(&cluster(), &id, "done").await), None);
    assert_eq!(store.requests(&cluster(), 10).await, Ok(Vec::new()));
}
