use std::sync::Mutex;

use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::Epoch;
use baton_protocol::time::WallTime;
use baton_store::Store;

use super::*;

/// Decides one thing about every write, lets every read pass, and remembers what it was asked.
#[derive(Debug)]
struct OneFate {
    fate: Fate,
    met: Mutex<Vec<(Method, Kind, Option<ClusterName>)>>,
}

impl Gate for OneFate {
    async fn meet(&self, call: Call<'_>, _: &MemoryStore) -> Fate {
        let met = (call.method, call.kind, call.cluster.cloned());
        self.met.lock().expect("nobody panicked").push(met);
        match call.kind {
            Kind::Read => Fate::Pass,
            Kind::Write => self.fate.clone(),
        }
    }
}

fn orders() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

fn row() -> Event {
    let what = Happening::Moved { took_ms: 1 };
    Event { cluster: orders(), epoch: Epoch(1), at: WallTime(1_800_000_000_000), by: "test".to_owned(), what }
}

#[tokio::test]
async fn a_call_that_fails_is_not_made_and_one_whose_answer_is_lost_is() {
    let failure = Failure::Unknown("timed out".to_owned());
    for (fate, answer, rows) in [
        (Fate::Pass, Ok(true), 1),
        (Fate::Fail(failure.clone()), Err(failure.clone()), 0),
        (Fate::Lose(failure.clone()), Err(failure), 1),
    ] {
        let store = Interposed { record: MemoryStore::new(), gate: OneFate { fate, met: Mutex::default() } };
        assert_eq!(store.append(&row()).await, answer);
        assert_eq!(store.history(&orders(), 10).await.expect("read").len(), rows, "{answer:?}");
    }
}

#[tokio::test]
async fn a_gate_is_told_of_each_call_and_of_the_lease_in_what_is_read_along_with_it() {
    let gate = OneFate { fate: Fate::Pass, met: Mutex::default() };
    let store = Interposed { record: MemoryStore::new(), gate };
    store.clusters().await.expect("read");
    store.append(&row()).await.expect("written");
    assert_eq!(store.lease_along(&orders(), &[]).await, Ok((None, None)));
    let met = store.gate.met.into_inner().expect("nobody panicked");
    let expected = [
        (Method::Clusters, Kind::Read, None),
        (Method::Append, Kind::Write, Some(orders())),
        (Method::Lease, Kind::Read, Some(orders())),
    ];
    assert_eq!(met, expected);
}
