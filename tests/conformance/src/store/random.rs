//! Two records, one sequence of operations, the same outcomes.
//!
//! Operations are generated as intentions ("beat, but one number late") and made concrete from what the
//! record under test shows at that point, so that most of them are accepted, the others are near misses, and
//! a sequence gets deep into the life of a cluster.

use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Claim, Health, Heartbeat};
use baton_protocol::history::{Ground, Happening};
use baton_protocol::ids::{Epoch, Incarnation, InstanceArn, Seq};
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::request::Wish;
use baton_protocol::resource::Observed;
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;
use baton_store::{Moved, Store};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Record;
use super::build::{
    AT, allocation, association, beat, cluster, event, grant, held_by_the_first, member, node, registration,
    request, run, start, uid,
};

/// Something to do. Nodes and runs are numbered from 1 to 3.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Announce a run, after the one that stands or after another.
    Start {
        /// Whose.
        node: u8,
        /// The run to follow, if it is not the one that stands.
        instead: Option<u8>,
        /// The new run.
        run: u8,
    },
    /// Beat, so many numbers ahead.
    Beat {
        /// Who.
        node: u8,
        /// The run that beats, if it is not the one that stands.
        instead: Option<u8>,
        /// How far ahead of the stored number.
        ahead: i8,
        /// What it says of itself.
        health: Health,
        /// Whether it claims and serves.
        full: bool,
    },
    /// Release an epoch, so many after the lease's.
    Release {
        /// Who.
        node: u8,
        /// The run that releases, if it is not the one that stands.
        instead: Option<u8>,
        /// Which epoch, counted from the lease's.
        ahead: i8,
    },
    /// Grant the lease.
    Grant {
        /// To whom.
        to: u8,
        /// Why.
        ground: Ground,
        /// What is checked of the holder: as it stands, or as it does not.
        check: Check,
        /// What is wrong with it.
        wrong: Option<Wrong>,
    },
    /// Send the last grant again.
    Repeat,
    /// Record a rotation and a move, of an epoch so many after the lease's.
    Record {
        /// Which epoch, counted from the lease's.
        ahead: i8,
        /// Whether another look is due.
        verify: bool,
    },
    /// Append a row of this number.
    Append(u8),
    /// Ask for something under the id of this number.
    Ask(u8, Wish),
    /// Answer the request of this number.
    Answer(u8),
    /// Register under the uid of this number.
    Register(u8),
    /// Change a registration.
    Reconfigure {
        /// The uid's number, if it is not the one that stands.
        instead: Option<u8>,
        /// Whether the holder is named rightly.
        right_holder: bool,
        /// How many nodes it has.
        members: u8,
    },
    /// Retire a registration; the uid's number, if it is not the one that stands.
    Retire(Option<u8>),
    /// Leave a wake.
    Wake(u8),
    /// Lose a heartbeat.
    Lose(u8),
}

/// Which check a grant makes.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// That the holder has written nothing since.
    Unchanged,
    /// That it released.
    Released,
    /// That it never beat.
    Absent,
}

/// What is wrong with a grant.
#[derive(Debug, Clone, Copy)]
pub enum Wrong {
    /// The uid.
    Uid,
    /// The epoch.
    Epoch,
    /// The holder.
    Holder,
    /// The holder's number.
    Seq,
    /// The candidate's run.
    Candidate,
}

/// Sequences of operations.
pub fn operations() -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec(operation(), 1..30)
}

fn operation() -> impl Strategy<Value = Operation> {
    let three = || 1u8..=3;
    let seldom = || prop_oneof![6 => Just(None), 1 => (1u8..=3).prop_map(Some)];
    let health = prop_oneof![
        6 => Just(Health::Ok), 1 => Just(Health::Bad), 1 => Just(Health::Unknown), 1 => Just(Health::Draining)
    ];
    let ground = prop_oneof![4 => Just(Ground::Silence), 2 => Just(Ground::Release), 1 => Just(Ground::Gone)];
    let check =
        prop_oneof![5 => Just(Check::Unchanged), 3 => Just(Check::Released), 1 => Just(Check::Absent)];
    let wrong = prop_oneof![
        12 => Just(None),
        1 => prop_oneof![Just(Wrong::Uid), Just(Wrong::Epoch), Just(Wrong::Holder), Just(Wrong::Seq),
            Just(Wrong::Candidate)].prop_map(Some),
    ];
    let ahead = || prop_oneof![6 => Just(0i8), 1 => -2i8..=2];
    let wish = prop_oneof![
        proptest::option::of(three())
            .prop_map(|to| Wish::Switchover { to: to.map(node), why: String::new() }),
        Just(Wish::Pause { why: "upgrade".to_owned() }),
        Just(Wish::Resume {}),
    ];
    prop_oneof![
        4 => (three(), seldom(), three())
            .prop_map(|(node, instead, run)| Operation::Start { node, instead, run }),
        8 => (three(), seldom(), -1i8..=3, health, any::<bool>()).prop_map(
            |(node, instead, ahead, health, full)| Operation::Beat { node, instead, ahead, health, full }
        ),
        3 => (three(), seldom(), ahead())
            .prop_map(|(node, instead, ahead)| Operation::Release { node, instead, ahead }),
        8 => (three(), ground, check, wrong).prop_map(|(to, ground, check, wrong)| Operation::Grant {
            to, ground, check, wrong
        }),
        1 => Just(Operation::Repeat),
        3 => (ahead(), any::<bool>()).prop_map(|(ahead, verify)| Operation::Record { ahead, verify }),
        1 => three().prop_map(Operation::Append),
        2 => (three(), wish).prop_map(|(id, wish)| Operation::Ask(id, wish)),
        1 => three().prop_map(Operation::Answer),
        4 => three().prop_map(Operation::Register),
        2 => (seldom(), prop_oneof![5 => Just(true), 1 => Just(false)], 2u8..=4).prop_map(
            |(instead, right_holder, members)| Operation::Reconfigure { instead, right_holder, members }
        ),
        1 => seldom().prop_map(Operation::Retire),
        1 => three().prop_map(Operation::Wake),
        1 => three().prop_map(Operation::Lose),
    ]
}

/// Does the same to both records, and compares every outcome and everything that can be read. The sequence
/// begins with an empty record or, where `held`, with a lease that the first node holds.
pub async fn agree<A: Record, B: Record>(
    one: &A,
    other: &B,
    held: bool,
    operations: &[Operation],
) -> Result<(), TestCaseError> {
    if held {
        prop_assert_eq!(held_by_the_first(one.store()).await, held_by_the_first(other.store()).await);
    }
    let (mut last_one, mut last_other) = (None, None);
    for (number, operation) in operations.iter().enumerate() {
        let left = apply(one, number, operation, &mut last_one).await;
        let right = apply(other, number, operation, &mut last_other).await;
        prop_assert_eq!(&left, &right, "outcome of operation {}: {:?}", number, operation);
        let (left, right) = (state(one.store()).await, state(other.store()).await);
        prop_assert_eq!(left, right, "after operation {}: {:?}", number, operation);
    }
    let (left, right) = (rows(one.store()).await, rows(other.store()).await);
    prop_assert_eq!(left, right, "rows at the end");
    Ok(())
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

/// Does one thing. The outcome is a text, since each operation has a type of its own.
async fn apply(
    record: &impl Record,
    number: usize,
    operation: &Operation,
    last: &mut Option<Grant>,
) -> String {
    let store = record.store();
    let lease = store.lease(&cluster()).await.expect("read");
    let epoch = lease.as_ref().map_or(Epoch(0), |lease| lease.epoch);
    let by = format!("operation {number}");
    match operation {
        Operation::Start { .. } | Operation::Beat { .. } | Operation::Release { .. } => {
            apply_of_agent(store, epoch, operation).await
        }
        Operation::Grant { to, ground, check, wrong } => {
            let Some(lease) = lease else { return "there is no lease".to_owned() };
            let mut grant = concrete_grant(store, &lease, *to, *ground, *check, *wrong).await;
            grant.event.by = by;
            *last = Some(grant.clone());
            committed(store, &grant).await
        }
        Operation::Repeat => match last {
            Some(grant) => committed(store, grant).await,
            None => "there is no grant".to_owned(),
        },
        Operation::Record { ahead, verify } => {
            let epoch = counted(epoch, *ahead);
            let rotated = store.record_rotation(&cluster(), epoch, &allocation(1), &association(1)).await;
            let observed = Observed { associations: [(allocation(1), association(2))].into() };
            let lease = store.lease(&cluster()).await.ok().flatten();
            // Now and then what an invocation knew is older than what is there.
            let known = lease.map_or((1, Epoch(0)), |lease| (lease.revision, lease.moved));
            let (revision, before) = if *ahead % 3 == 1 { (1, Epoch(0)) } else { known };
            let moved = Moved { epoch, revision, before, observed, verify_at: verify.then_some(AT) };
            format!("{rotated:?} {:?}", store.record_moved(&cluster(), &moved).await)
        }
        Operation::Append(row) => {
            let what = Happening::Moved { took_ms: u64::from(*row) };
            format!("{:?}", store.append(&event(Epoch(u64::from(*row)), AT, "arbiter/1", what)).await)
        }
        Operation::Ask(id, wish) => {
            format!("{:?}", store.ask(&request(&format!("request-{id}"), wish.clone(), epoch)).await)
        }
        Operation::Answer(id) => {
            let asked = request(&format!("request-{id}"), Wish::Resume {}, epoch);
            format!("{:?}", store.answer(&cluster(), &asked.id, &by).await)
        }
        Operation::Wake(by) => {
            format!("{:?}", store.leave_wake(&cluster(), &node(*by), Why::Claim, AT).await)
        }
        Operation::Lose(whose) => {
            record.lose_heartbeat(&cluster(), &node(*whose)).await;
            "lost".to_owned()
        }
        Operation::Register(_) | Operation::Reconfigure { .. } | Operation::Retire(_) => {
            apply_of_registrar(store, lease, &by, operation).await
        }
    }
}

async fn apply_of_agent(store: &impl Store, epoch: Epoch, operation: &Operation) -> String {
    let standing = async |whose: u8| store.heartbeat(&cluster(), &node(whose)).await.expect("read");
    let run_of = |found: Option<&Heartbeat>, instead: Option<u8>| {
        instead.map(run).or_else(|| found.map(|found| found.incarnation.clone())).unwrap_or_else(|| run(1))
    };
    match operation {
        Operation::Start { node: whose, instead, run } => {
            let found = standing(*whose).await;
            let mut start = start(None, *run);
            start.expected = instead.map(super::build::run).or_else(|| found.map(|found| found.incarnation));
            format!("{:?}", store.start(&cluster(), &node(*whose), &start).await)
        }
        Operation::Beat { node: whose, instead, ahead, health, full } => {
            let found = standing(*whose).await;
            let seq = found.as_ref().map_or(1, |found| found.seq.0).saturating_add_signed(i64::from(*ahead));
            let mut beat = beat(1, seq);
            beat.incarnation = run_of(found.as_ref(), *instead);
            beat.health = *health;
            if *full {
                beat.claim = Some(claim(epoch, seq));
                beat.serving_epoch = Some(epoch);
                beat.serving_since = Some(AT);
            }
            format!("{:?}", store.beat(&cluster(), &node(*whose), &beat).await)
        }
        Operation::Release { node: whose, instead, ahead } => {
            let found = standing(*whose).await;
            let incarnation = run_of(found.as_ref(), *instead);
            let epoch = counted(epoch, *ahead);
            format!("{:?}", store.release(&cluster(), &node(*whose), &incarnation, epoch).await)
        }
        _ => unreachable!("no agent does {operation:?}"),
    }
}

async fn apply_of_registrar(
    store: &impl Store,
    lease: Option<Lease>,
    by: &str,
    operation: &Operation,
) -> String {
    let epoch = lease.as_ref().map_or(Epoch(0), |lease| lease.epoch);
    let named = |instead: &Option<u8>| {
        instead.map(uid).or_else(|| lease.as_ref().map(|lease| lease.uid.clone())).unwrap_or_else(|| uid(1))
    };
    match operation {
        Operation::Register(number) => {
            let mut asked = registration(*number);
            asked.event.by = by.to_owned();
            format!("{:?}", store.register(&asked).await)
        }
        Operation::Reconfigure { instead, right_holder, members } => {
            let mut asked = registration(1);
            asked.uid = named(instead);
            asked.mode = Mode::Available;
            asked.members = (1..=*members).map(member).collect();
            asked.event.by = by.to_owned();
            let holder = lease.as_ref().and_then(|lease| lease.holder.clone()).filter(|_| *right_holder);
            format!("{:?}", store.reconfigure(&asked, holder.as_ref()).await)
        }
        Operation::Retire(instead) => {
            let row = event(epoch, AT, by, Happening::Retired {});
            format!("{:?}", store.retire(&cluster(), &named(instead), &row).await)
        }
        _ => unreachable!("no registrar does {operation:?}"),
    }
}

async fn concrete_grant(
    store: &impl Store,
    lease: &Lease,
    to: u8,
    ground: Ground,
    check: Check,
    wrong: Option<Wrong>,
) -> Grant {
    let read = async |whose: &InstanceArn| store.heartbeat(&cluster(), whose).await.expect("read");
    let unread = || (Incarnation::new("unread").expect("valid"), Seq(0));
    let as_read =
        |found: Option<Heartbeat>| found.map_or_else(unread, |found| (found.incarnation, found.seq));
    let holder_check = match (&lease.holder, check) {
        (None, _) => HolderCheck::Nobody,
        (Some(_), Check::Absent) => HolderCheck::Absent,
        (Some(_), Check::Released) => HolderCheck::Released { epoch: lease.epoch },
        (Some(holder), Check::Unchanged) => {
            let (incarnation, seq) = as_read(read(holder).await);
            HolderCheck::Unchanged { incarnation, seq }
        }
    };
    let mut grant = grant(lease, ground, holder_check, to, 1);
    (grant.to_incarnation, _) = as_read(read(&node(to)).await);
    match wrong {
        None => {}
        Some(Wrong::Uid) => grant.uid = uid(9),
        Some(Wrong::Epoch) => grant.epoch = grant.epoch.next(),
        Some(Wrong::Holder) => grant.holder = Some(node(3)),
        Some(Wrong::Candidate) => grant.to_incarnation = run(9),
        Some(Wrong::Seq) => {
            if let HolderCheck::Unchanged { seq, .. } = &mut grant.holder_check {
                *seq = Seq(seq.0 + 1);
            }
        }
    }
    grant
}

/// How a commit ended. Which of several lost conditions are named is left to the implementation.
async fn committed(store: &impl Store, grant: &Grant) -> String {
    match store.commit(grant).await {
        Ok(Committed::Superseded(lost)) => format!("superseded, says why: {}", !lost.is_empty()),
        other => format!("{other:?}"),
    }
}

fn claim(epoch: Epoch, seq: u64) -> Claim {
    Claim {
        epoch,
        holder: node(2),
        incarnation: run(1),
        seq: Seq(seq),
        silent_ms: 6_000,
        at: WallTime(AT.0 - 1),
    }
}

fn counted(from: Epoch, ahead: i8) -> Epoch {
    Epoch(from.0.saturating_add_signed(i64::from(ahead)))
}
