//! The record in memory, with outcomes that go wrong where a test says so. What a registrar has no business with panics.

use std::collections::VecDeque;
use std::sync::Mutex;

use baton_doubles::{Call, Fate, Gate, Interposed, Kind, Method};
use baton_protocol::outcome::Failure;
use baton_store::{MemoryStore, Registration, Store};

/// What goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It fails, and nothing is applied.
    Before(Failure),
    /// It is applied, and the answer is lost.
    After,
    /// It never ends.
    Hang,
    /// It panics.
    Panic,
}

/// The record, but for what goes wrong.
pub(crate) type Faulty = Interposed<Troubles>;

/// What goes wrong, in its order.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    reads: Mutex<VecDeque<Trouble>>,
    writes: Mutex<VecDeque<Trouble>>,
    /// What somebody else writes just before the next registration or change.
    pub(crate) overtaken_by: Mutex<Option<Registration>>,
}

impl Troubles {
    pub(crate) fn on_reads(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.reads.lock().expect("nobody panicked").extend(troubles);
    }

    pub(crate) fn on_writes(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.writes.lock().expect("nobody panicked").extend(troubles);
    }

    fn next(&self, kind: Kind) -> Option<Trouble> {
        let troubles = match kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        };
        troubles.lock().expect("nobody panicked").pop_front()
    }

    async fn overtake(&self, call: Call<'_>, record: &MemoryStore) {
        let other = self.overtaken_by.lock().expect("nobody panicked").take();
        let Some(other) = other else { return };
        let is_changed = call.method == Method::Reconfigure && call.cluster == Some(&other.cluster);
        let written = if is_changed {
            let lease = record.lease(&other.cluster).await.expect("read").expect("registered");
            record.reconfigure(&other, lease.holder.as_ref()).await
        } else {
            record.register(&other).await
        };
        written.expect("it comes first");
    }
}

impl Gate for Troubles {
    async fn meet(&self, call: Call<'_>, record: &MemoryStore) -> Fate {
        match call.method {
            Method::Lease | Method::Heartbeat | Method::Clusters | Method::Retire => {}
            Method::Register | Method::Reconfigure => self.overtake(call, record).await,
            method => panic!("{method:?} is no business of the registrar"),
        }
        match self.next(call.kind) {
            None => Fate::Pass,
            Some(Trouble::Before(failure)) => Fate::Fail(failure),
            Some(Trouble::After) => Fate::Lose(Failure::Unknown("the answer was lost".to_owned())),
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Panic) => panic!("the store panicked"),
        }
    }
}
