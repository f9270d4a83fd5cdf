//! Many writers of one item at once: one of them wins each time, and nothing that was confirmed is lost.
//!
//! The writers are threads that start together. What they do is read off their answers and then looked for in the
//! record, so these promises hold for whatever order the writes took.

use std::collections::BTreeSet;
use std::sync::Barrier;

use baton_protocol::grant::{Committed, HolderCheck};
use baton_protocol::history::{Event, Ground, Happening};
use baton_protocol::ids::{Epoch, Seq};
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::mark::Mark;
use baton_protocol::outcome::{Failure, Write, WriteFailure};
use baton_protocol::request::Wish;
use baton_store::Store;
use tokio::runtime::Runtime;

use super::Record;
use super::build::{
    AT, allocation, association, beat, cluster, event, grant, held_by_the_first, lease, moved, node,
    registration, request, run, uid,
};

/// How many write at once.
const CROWD: u8 = 8;

/// How many epochs they fight over.
const EPOCHS: u64 = 6;

/// How many numbers they beat with.
const BEATS: u64 = 20;

/// What each of the crowd got from doing this, all at once.
fn at_once<T: Send>(work: impl Fn(u8) -> T + Sync) -> Vec<T> {
    let together = Barrier::new(usize::from(CROWD));
    let (together, work) = (&together, &work);
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..CROWD)
            .map(|number| {
                scope.spawn(move || {
                    together.wait();
                    work(number)
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("no writer panics")).collect()
    })
}

/// Repeats what the table had no time for, as whoever calls the store would.
async fn until_told<T, F: Future<Output = Write<T>>>(write: impl Fn() -> F) -> Write<T> {
    loop {
        match write().await {
            Err(WriteFailure::Failed(Failure::Conflict)) => {}
            told => return told,
        }
    }
}

/// One arbiter: grants the lease away from whoever holds it until the last epoch. The rows of its own grants.
async fn grant_on(store: &impl Store, number: u8) -> Vec<Event> {
    let mut granted = Vec::new();
    loop {
        let found = lease(store).await;
        if found.epoch >= Epoch(EPOCHS) {
            return granted;
        }
        let holder = found.holder.clone().expect("it is held");
        let to = (1..=3).cycle().skip(usize::from(number)).find(|to| node(*to) != holder);
        let heartbeat = store.heartbeat(&cluster(), &holder).await.expect("read").expect("it beats");
        let check = HolderCheck::Unchanged { incarnation: heartbeat.incarnation, seq: heartbeat.seq };
        let mut asked = grant(&found, Ground::Silence, check, to.expect("there are three"), 1);
        asked.event.by = format!("arbiter/{number}");
        match store.commit(&asked).await {
            Ok(Committed::Granted) => granted.push(asked.event),
            Ok(Committed::Superseded(_)) | Err(Failure::Conflict) => {}
            other => panic!("expected a grant, a supersession or a conflict, found {other:?}"),
        }
    }
}

/// Each epoch is granted by one arbiter and by no other, while the nodes beat on.
pub fn of_many_arbiters_one_is_granted_each_epoch(record: &impl Record, runtime: &Runtime) {
    let store = record.store();
    runtime.block_on(held_by_the_first(store));
    let granted = at_once(|number| {
        runtime.block_on(async {
            // The last three are nodes: what they write takes a claim away from an arbiter now and then.
            let Some(number) = number.checked_sub(CROWD - 3) else { return grant_on(store, number).await };
            for seq in 3..=BEATS {
                store
                    .beat(&cluster(), &node(number + 1), &beat(1, seq))
                    .await
                    .expect("nobody else beats for it");
            }
            Vec::new()
        })
    });
    let mut granted: Vec<Event> = granted.into_iter().flatten().collect();
    granted.sort_by_key(|event| event.epoch);
    let epochs: Vec<_> = granted.iter().map(|event| event.epoch.0).collect();
    assert_eq!(epochs, (2..=EPOCHS).collect::<Vec<_>>(), "each epoch was granted once: {granted:#?}");
    let found = runtime.block_on(lease(store));
    assert_eq!(found.epoch, Epoch(EPOCHS));
    let last = granted.last().expect("there are several");
    assert!(matches!(&last.what, Happening::Granted { to, .. } if Some(to) == found.holder.as_ref()));
    let rows = runtime.block_on(store.history(&cluster(), 1_000)).expect("read");
    let rows: Vec<_> = rows.into_iter().rev().filter(|row| row.epoch > Epoch(1)).collect();
    assert_eq!(rows, granted, "each grant has its row, and no other was written");
    for number in 1..=3 {
        let heartbeat = runtime.block_on(store.heartbeat(&cluster(), &node(number))).expect("read");
        assert_eq!(heartbeat.map(|heartbeat| heartbeat.seq), Some(Seq(BEATS)));
    }
}

/// Of many that beat with the same numbers, each number is confirmed to one at most, and only forwards.
pub fn of_many_beats_of_one_number_one_is_written(record: &impl Record, runtime: &Runtime) {
    let store = record.store();
    runtime.block_on(held_by_the_first(store));
    let confirmed = at_once(|_| {
        runtime.block_on(async {
            let mut confirmed = Vec::new();
            for seq in 3..=BEATS {
                let outcome =
                    until_told(async || store.beat(&cluster(), &node(1), &beat(1, seq)).await).await;
                match outcome {
                    Ok(()) => confirmed.push(seq),
                    Err(WriteFailure::Refused(Some(found))) => assert!(found.seq >= Seq(seq), "{found:?}"),
                    other => panic!("expected a heartbeat or a refusal, found {other:?}"),
                }
            }
            confirmed
        })
    });
    let all: Vec<_> = confirmed.iter().flatten().copied().collect();
    let different: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(all.len(), different.len(), "no number was confirmed twice: {confirmed:?}");
    let found = runtime.block_on(store.heartbeat(&cluster(), &node(1))).expect("read").expect("there");
    assert_eq!(Some(found.seq.0), different.last().copied());
    assert_eq!(found.seq, Seq(BEATS), "the last number was larger than any other");
    assert_eq!(found.incarnation, run(1));
}

/// Whatever was confirmed to one of many that write to one lease and its rows is there afterwards.
pub fn nothing_that_was_confirmed_is_lost(record: &impl Record, runtime: &Runtime) {
    let store = record.store();
    let held = runtime.block_on(held_by_the_first(store));
    let row = |number| event(held.epoch, AT, &format!("arbiter/{number}"), Happening::Moved { took_ms: 1 });
    let (store, moved) = (&store, &moved(&held));
    let recorded = at_once(|number| {
        runtime.block_on(async {
            let (cluster, to) = (cluster(), Mark::Made(association(number)));
            let rotation = async || store.record_rotation(&cluster, Epoch(1), &allocation(number), &to).await;
            until_told(rotation).await.expect("the epoch is current");
            store.append(&row(number)).await.expect("appended");
            let ask = request(&format!("request-{number}"), Wish::Resume {}, Epoch(1));
            until_told(async || store.ask(&ask).await).await.expect("asked");
            until_told(async || store.record_moved(&cluster, moved).await).await.is_ok()
        })
    });
    assert_eq!(recorded.iter().filter(|recorded| **recorded).count(), 1, "one recorded the move");
    let found = runtime.block_on(lease(*store));
    assert_eq!(found.moved, Epoch(1));
    let expected: Vec<Mark> = (0..CROWD).map(association).map(Mark::Made).collect();
    assert_eq!(found.rotated.into_values().collect::<Vec<_>>(), expected, "every rotation");
    let rows = runtime.block_on(store.history(&cluster(), 1_000)).expect("read");
    assert!((0..CROWD).all(|number| rows.contains(&row(number))), "every row: {rows:#?}");
    let requests = runtime.block_on(store.requests(&cluster(), 1_000)).expect("read");
    assert_eq!(requests.len(), usize::from(CROWD), "every request");
}

/// A name goes to one of many registrations, each of the others is told to which; and it is retired once.
pub fn of_many_registrations_one_stands(record: &impl Record, runtime: &Runtime) {
    let store = record.store();
    let outcomes = at_once(|number| {
        let told = runtime.block_on(until_told(async || store.register(&registration(number)).await));
        told.map_err(Box::new)
    });
    let found = runtime.block_on(lease(store));
    for (number, outcome) in (0..CROWD).zip(&outcomes) {
        let expected: Write<Option<Lease>> =
            if found.uid == uid(number) { Ok(()) } else { Err(WriteFailure::Refused(Some(found.clone()))) };
        assert_eq!(*outcome, expected.map_err(Box::new), "registration {number}");
    }
    let retired = |number| event(Epoch(0), AT, &format!("registrar/{number}"), Happening::Retired {});
    let outcomes = at_once(|number| {
        let row = retired(number);
        let told = runtime.block_on(until_told(async || store.retire(&cluster(), &found.uid, &row).await));
        told.map_err(Box::new)
    });
    assert!(outcomes.iter().all(Result::is_ok), "all are told that it is retired: {outcomes:?}");
    assert_eq!(runtime.block_on(lease(store)).state, LeaseState::Retired);
    let rows = runtime.block_on(store.history(&cluster(), 1_000)).expect("read");
    let retirements = rows.iter().filter(|row| row.what == Happening::Retired {}).count();
    assert_eq!((rows.len(), retirements), (2, 1), "one registration and one retirement: {rows:#?}");
}
