//! A table that does what it is asked and whose answers to some writes are lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_doubles::{Call, Fate, Gate, Method};
use baton_protocol::outcome::Failure;
use baton_protocol::request::Request;
use baton_store::{MemoryStore, Store};

/// How many more answers to records of a move and to rows of the history are lost, and what is asked for just before the next
/// commit.
#[derive(Default)]
pub(crate) struct Lossy {
    pub(crate) records: AtomicUsize,
    pub(crate) rows: AtomicUsize,
    pub(crate) asked_before_commit: Mutex<Option<Request>>,
}

impl Lossy {
    async fn ask_before_commit(&self, record: &MemoryStore) {
        let asked = self.asked_before_commit.lock().expect("no test panics in here").take();
        if let Some(request) = asked {
            record.ask(&request).await.expect("asked");
        }
    }
}

impl Gate for Lossy {
    async fn meet(&self, call: Call<'_>, record: &MemoryStore) -> Fate {
        let is_lost = match call.method {
            Method::RecordMoved => is_lost(&self.records),
            Method::Append => is_lost(&self.rows),
            Method::Commit => {
                self.ask_before_commit(record).await;
                false
            }
            _ => false,
        };
        if is_lost { Fate::Lose(Failure::Unknown("timed out".to_owned())) } else { Fate::Pass }
    }
}

/// Whether one more is lost.
fn is_lost(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
