//! What the store promises about a table that was restored to an earlier moment.

use baton_protocol::grant::Committed;
use baton_protocol::history::Happening;
use baton_protocol::ids::Epoch;
use baton_protocol::lease::Lease;
use baton_protocol::request::Wish;
use baton_protocol::restored::{RAISED_BY, Restoration, Signs, Word};
use baton_store::Store;

use super::Record;
use super::build::{AT, beat, cluster, event, held_by_the_first, join, lease, node, request, start, uid};

/// What an operator's word comes to, by what stands in the table at this moment.
async fn restoration(store: &impl Store) -> Restoration {
    let found = lease(store).await;
    let nodes: Vec<_> = found.members.iter().map(|member| member.instance.clone()).collect();
    let heartbeats = store.heartbeats(&cluster(), &nodes).await.expect("read");
    let signs: Signs = heartbeats.into_iter().map(|(node, of)| (node, (of.incarnation, of.seq))).collect();
    let ask = request("1-restore", Wish::Restore { uid: found.uid.clone(), why: String::new() }, found.epoch);
    let word = found.restore.as_deref().cloned().unwrap_or_else(|| Word {
        uid: found.uid.clone(),
        epoch: found.epoch,
        until: ask.until,
        by: ask.by,
        why: String::new(),
        request: ask.id,
    });
    Restoration::of(&found, &word, &signs, Epoch(0), "arbiter/1", AT)
}

async fn is_superseded(store: &impl Store, restoration: &Restoration) {
    let before: Lease = lease(store).await;
    let answer = store.restore(restoration).await.expect("answered");
    assert!(matches!(&answer, Committed::Superseded(lost) if !lost.is_empty()), "{answer:?}");
    assert_eq!(lease(store).await, before);
    let history = store.history(&cluster(), 10).await.expect("read");
    assert!(!history.iter().any(|row| matches!(row.what, Happening::Restored { .. })), "{history:?}");
}

/// The lease carries the word, and begins anew with nothing that was asked for before; a repeat is done once.
pub async fn a_lease_begins_anew_with_nothing_of_the_old_time(record: &impl Record) {
    let store = record.store();
    let first = held_by_the_first(store).await;
    let ask = |id: &str, wish| request(id, wish, Epoch(1));
    let word = Wish::Restore { uid: first.uid.clone(), why: "to 09:00".to_owned() };
    store.ask(&ask("1-pause", Wish::Pause { why: "upgrade".to_owned() })).await.expect("asked");
    store
        .ask(&ask("2-fence", Wish::Fence { node: node(2), uid: first.uid.clone(), why: String::new() }))
        .await
        .expect("asked");
    let drain = Wish::Exclude {
        node: node(1),
        why: "a rest".to_owned(),
        hand_over: true,
        replaces: None,
        withdraws: false,
    };
    store.ask(&ask("3-drain", drain)).await.expect("asked");
    store.ask(&ask("4-restore", word)).await.expect("asked");
    let before = lease(store).await;
    let carried = before.restore.clone().expect("the lease carries it");
    assert_eq!((carried.epoch, carried.why.as_str(), carried.by.as_str()), (Epoch(1), "to 09:00", "ada"));
    assert!(before.paused.is_some() && before.fence.is_some() && before.intent.is_some());
    let restoration = restoration(store).await;
    for _ in 0..2 {
        assert_eq!(store.restore(&restoration).await, Ok(Committed::Granted));
        let after = lease(store).await;
        assert_eq!(after, restoration.of_lease(&before));
        assert_eq!(
            (after.epoch, after.holder.as_ref(), after.moved),
            (Epoch(1 + RAISED_BY), None, before.moved)
        );
        assert!(after.paused.is_none() && after.excluded.is_none() && after.intent.is_none());
    }
    let history = store.history(&cluster(), 1).await.expect("read");
    assert_eq!(history, [restoration.event]);
}

/// It is compared with every node, with a heartbeat or without: who has written anything since may serve.
pub async fn a_lease_begins_anew_only_if_no_node_has_written_since(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let seen = restoration(store).await;
    store.beat(&cluster(), &node(3), &beat(1, 3)).await.expect("the node beats");
    is_superseded(store, &seen).await;
    let seen = restoration(store).await;
    store.start(&cluster(), &node(2), &start(Some(1), 2)).await.expect("another run");
    is_superseded(store, &seen).await;
    record.lose_heartbeat(&cluster(), &node(2)).await;
    let seen = restoration(store).await;
    assert_eq!(seen.absent, [node(2)]);
    join(store, 2).await;
    is_superseded(store, &seen).await;
    assert_eq!(store.restore(&restoration(store).await).await, Ok(Committed::Granted));
}

/// A decision of before does not reach a lease that was granted, configured or retired since.
pub async fn a_lease_that_changed_does_not_begin_anew(record: &impl Record) {
    let store = record.store();
    held_by_the_first(store).await;
    let seen = restoration(store).await;
    for other in [
        Restoration { epoch: Epoch(2), ..seen.clone() },
        Restoration { holder: Some(node(2)), ..seen.clone() },
        Restoration { holder: None, ..seen.clone() },
        Restoration { uid: uid(2), ..seen.clone() },
        Restoration { revision: seen.revision + 1, ..seen.clone() },
    ] {
        is_superseded(store, &other).await;
    }
    let row = event(Epoch(1), AT, "registrar/1", Happening::Retired {});
    store.retire(&cluster(), &uid(1), &row).await.expect("retired");
    is_superseded(store, &seen).await;
}

/// What a node has seen of a later epoch stays, whatever its later heartbeats and runs do not say.
pub async fn what_a_node_has_seen_of_later_epochs_stays(record: &impl Record) {
    let store = record.store();
    join(store, 1).await;
    let mut ahead = beat(1, 3);
    ahead.ahead = Some(Epoch(9));
    store.beat(&cluster(), &node(1), &ahead).await.expect("the node beats");
    store.beat(&cluster(), &node(1), &beat(1, 4)).await.expect("the node beats");
    store.start(&cluster(), &node(1), &start(Some(1), 2)).await.expect("another run");
    let found = store.heartbeat(&cluster(), &node(1)).await.expect("read").expect("there");
    assert_eq!((found.ahead, found.knows()), (Some(Epoch(9)), Epoch(9)));
}
