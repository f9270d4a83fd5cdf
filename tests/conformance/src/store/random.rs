//! Two records, one sequence of operations, the same outcomes.
//!
//! Operations are generated as intentions ([`operation`]) and made concrete from what the record under test shows
//! at that point, so that most of them are accepted, the others are near misses, and a sequence gets deep into the
//! life of a cluster. After each of them everything that can be read is compared.

mod apply;
pub mod generate;
pub mod operation;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use baton_protocol::grant::Grant;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::lease::{Lease, LeaseState};
use baton_protocol::outcome::{Write, WriteFailure};
use baton_store::{MemoryStore, Store};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Record;
use super::build::{cluster, held_by_the_first, node};
use apply::{Concrete, apply};
pub use generate::sequences;
pub use operation::{Change, Operation};

/// Something that happens while a write is under way.
pub type Deed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A record behind a wire, where things happen that the twin has no room for.
pub trait Wired: Record<Store: Clone + 'static> {
    /// Does this before the next transaction is passed on.
    fn before_the_next_transaction(&self, deed: Deed);

    /// Takes that back; whether it had not happened.
    fn take_back(&self) -> bool;

    /// Whether the tokens of transactions are forgotten.
    fn forget_tokens(&self, forgetful: bool);
}

/// Does the same to the twin and to a record behind a wire, and compares every outcome and everything that can be
/// read. The sequence begins with an empty record or, where `held`, with a lease that the first node holds.
pub async fn agree(
    twin: &MemoryStore,
    wired: &impl Wired,
    held: bool,
    operations: &[Operation],
) -> Result<BTreeSet<&'static str>, TestCaseError> {
    if held {
        prop_assert_eq!(held_by_the_first(twin).await, held_by_the_first(wired.store()).await);
    }
    let (mut twins, mut wireds, mut commits) = (Vec::new(), Vec::new(), Commits::default());
    for (number, operation) in operations.iter().enumerate() {
        let by = format!("operation {number}");
        wired.forget_tokens(matches!(operation, Operation::Repeat { late: true, .. }));
        let (left, right) = match operation {
            Operation::Between(change, between) => {
                let both = Interrupted { by: &by, change, between };
                let (happened, right) = both.on_wire(wired).await;
                (both.on_twin(twin, happened, &right).await, right)
            }
            Operation::Lose(whose) => {
                twin.lose_heartbeat(&cluster(), &node(*whose));
                wired.lose_heartbeat(&cluster(), &node(*whose)).await;
                continue;
            }
            _ => {
                let left = apply(twin, &by, operation, &mut twins).await;
                (left, apply(wired.store(), &by, operation, &mut wireds).await)
            }
        };
        prop_assert_eq!(&left, &right, "outcome of operation {}: {:?}", number, operation);
        commits.note(operation, twins.len(), &left);
        let (left, right) = (state(twin).await, state(wired.store()).await);
        prop_assert_eq!(left, right, "after operation {}: {:?}", number, operation);
    }
    let (left, right) = (rows(twin).await, rows(wired.store()).await);
    prop_assert_eq!(left, right, "rows at the end");
    Ok(commits.repeats)
}

/// Every kind of repeated commit that a run has to meet.
pub const REPEATS: [&str; 6] = [
    "of the last grant, at once",
    "of the last grant, late",
    "of a grant after a later one, at once",
    "of a grant after a later one, late",
    "of what was superseded, superseded again",
    "of what was superseded, granted",
];

/// How each commit of a sequence ended, and which kinds of repeats there were.
#[derive(Debug, Default)]
struct Commits {
    granted: Vec<bool>,
    repeats: BTreeSet<&'static str>,
}

impl Commits {
    fn note(&mut self, operation: &Operation, commits: usize, outcome: &str) {
        let granted = outcome == "Ok(Granted)";
        if let Operation::Repeat { back, late } = operation
            && let Some(which) = self.granted.len().checked_sub(back + 1)
        {
            let later = self.granted[which + 1..].contains(&true);
            self.repeats.insert(match (self.granted[which], granted) {
                (true, _) => REPEATS[usize::from(*late) + 2 * usize::from(later)],
                (false, false) => REPEATS[4],
                (false, true) => REPEATS[5],
            });
            self.granted[which] |= granted;
        } else if commits > self.granted.len() {
            self.granted.push(granted);
        }
    }
}

/// A change by the registrar, or a request, and what comes between its reading and its writing.
struct Interrupted<'a> {
    by: &'a str,
    change: &'a Change,
    between: &'a [Operation],
}

impl Interrupted<'_> {
    /// Whether it happened between, and the outcome of the change.
    async fn on_wire(&self, wired: &impl Wired) -> (bool, String) {
        let store = wired.store();
        let concrete = self.concrete(store).await;
        let (deeds, by) = (self.between.to_vec(), self.by.to_owned());
        let other = store.clone();
        let second_looks = self.second_looks();
        wired.before_the_next_transaction(Box::pin(async move {
            do_all(&other, &by, &deeds, second_looks).await;
        }));
        let outcome = concrete.done(store).await;
        // A change that needs no writing gives nothing room; it then happens afterwards.
        let happened = !wired.take_back();
        if !happened {
            do_all(store, self.by, self.between, self.second_looks()).await;
        }
        (happened, outcome)
    }

    /// The same in the order in which it took effect.
    async fn on_twin(&self, twin: &MemoryStore, happened: bool, found: &str) -> String {
        let concrete = self.concrete(twin).await;
        if !happened {
            let outcome = concrete.done(twin).await;
            do_all(twin, self.by, self.between, self.second_looks()).await;
            return outcome;
        }
        let before = twin.lease(&cluster()).await.expect("read");
        do_all(twin, self.by, self.between, self.second_looks()).await;
        let after = twin.lease(&cluster()).await.expect("read");
        let refused: Write<Option<Lease>> = Err(WriteFailure::Refused(after.clone()));
        let refused = format!("{refused:?}");
        let version =
            |lease: &Option<Lease>| lease.as_ref().map(|lease| (lease.epoch, lease.revision, lease.moved));
        let taken_up = |lease: &Option<Lease>| {
            let retired = lease.as_ref().filter(|lease| lease.state == LeaseState::Retired);
            retired.map(|lease| (lease.uid.clone(), lease.epoch, lease.revision))
        };
        // The table compares the whole version that a change was made from; the twin, which reads and writes at
        // once, has none to compare. So the table may refuse a change that would still fit, and says what it found:
        // any change, and a registration only where a move of the retired lease was recorded.
        let may_refuse = version(&before) != version(&after)
            && match concrete {
                Concrete::Reconfigure(..) => true,
                Concrete::Register(_) => taken_up(&before).is_some() && taken_up(&before) == taken_up(&after),
                Concrete::Retire(..) | Concrete::Ask(_) => false,
            };
        if may_refuse && found == refused { refused } else { concrete.done(twin).await }
    }

    /// Whether a completed move may be recorded once more in between. What a look finds then, and nothing else, is written by
    /// a registration as it was read (README).
    fn second_looks(&self) -> bool {
        !matches!(self.change, Change::Register(_))
    }

    async fn concrete(&self, store: &impl Store) -> Concrete {
        let lease = store.lease(&cluster()).await.expect("read");
        Concrete::new(self.change, lease.as_ref(), self.by)
    }
}

async fn do_all(store: &impl Store, by: &str, operations: &[Operation], second_looks: bool) {
    for (number, operation) in operations.iter().enumerate() {
        if matches!(operation, Operation::Move { .. }) && !second_looks {
            let lease = store.lease(&cluster()).await.expect("read");
            if lease.is_some_and(|lease| lease.moved == lease.epoch) {
                continue;
            }
        }
        // What is done is compared by the state that it leaves.
        drop(apply(store, &format!("{by}, between {number}"), operation, &mut Vec::<Grant>::new()).await);
    }
}

async fn state(store: &impl Store) -> (Option<Lease>, Vec<Heartbeat>) {
    let lease = store.lease(&cluster()).await.expect("read");
    let nodes = [node(1), node(2), node(3)];
    let heartbeats = store.heartbeats(&cluster(), &nodes).await.expect("read");
    (lease, heartbeats.into_values().collect())
}

async fn rows(store: &impl Store) -> String {
    let history = store.history(&cluster(), 1_000).await;
    let requests = store.requests(&cluster(), 1_000).await;
    let clusters = store.clusters().await;
    format!("{history:#?}\n{requests:#?}\n{clusters:#?}")
}
