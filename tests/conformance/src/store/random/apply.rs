//! An operation made concrete from what the record shows, and done.

use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Claim, Heartbeat};
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{Epoch, Incarnation, InstanceArn, RegistrationUid, RequestId, Seq};
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::request::{Request, Wish};
use baton_protocol::resource::Observed;
use baton_protocol::time::WallTime;
use baton_protocol::wake::Why;
use baton_store::{Moved, Registration, Store};

use super::operation::{After, Change, Check, Operation, Wrong, WrongMove};
use crate::store::build::{
    AT, allocation, association, beat, cluster, event, findings, grant, member, node, registration, request,
    run, start, uid,
};

/// The registrar's call with all it says.
#[derive(Debug, Clone)]
pub(super) enum Concrete {
    Ask(Request),
    Register(Registration),
    Reconfigure(Registration, Option<InstanceArn>),
    Retire(RegistrationUid, Event),
}

impl Concrete {
    pub(super) fn new(change: &Change, lease: Option<&Lease>, by: &str) -> Self {
        let epoch = lease.map_or(Epoch(0), |lease| lease.epoch);
        let named = |instead: &Option<u8>| {
            instead.map(uid).or_else(|| lease.map(|lease| lease.uid.clone())).unwrap_or_else(|| uid(1))
        };
        match change {
            Change::Ask(id, wish) => Self::Ask(request(&format!("request-{id}"), wish.clone(), epoch)),
            Change::Register(number) => {
                let mut asked = registration(*number);
                asked.event.by = by.to_owned();
                Self::Register(asked)
            }
            Change::Reconfigure { instead, right_holder, members, made_from } => {
                let mut asked = registration(1);
                asked.uid = named(instead);
                asked.mode = Mode::Available;
                asked.members = (1..=*members).map(member).collect();
                let revision = lease.map_or(1, |lease| lease.revision);
                asked.made_from = made_from.map(|right| if right { revision } else { revision + 1 });
                asked.event.by = by.to_owned();
                let holder = lease.and_then(|lease| lease.holder.clone()).filter(|_| *right_holder);
                Self::Reconfigure(asked, holder)
            }
            Change::Retire(instead) => {
                Self::Retire(named(instead), event(epoch, AT, by, Happening::Retired {}))
            }
        }
    }

    /// The outcome as a text.
    pub(super) async fn done(&self, store: &impl Store) -> String {
        match self {
            Self::Ask(asked) => format!("{:?}", store.ask(asked).await),
            Self::Register(asked) => format!("{:?}", store.register(asked).await),
            Self::Reconfigure(asked, holder) => {
                format!("{:?}", store.reconfigure(asked, holder.as_ref()).await)
            }
            Self::Retire(uid, row) => format!("{:?}", store.retire(&cluster(), uid, row).await),
        }
    }
}

/// Does one thing that needs the store alone. The outcome is a text, since each operation has a type of its own.
pub(super) async fn apply(
    store: &impl Store,
    by: &str,
    operation: &Operation,
    grants: &mut Vec<Grant>,
) -> String {
    let lease = store.lease(&cluster()).await.expect("read");
    let epoch = lease.as_ref().map_or(Epoch(0), |lease| lease.epoch);
    match operation {
        Operation::Start { .. } | Operation::Beat { .. } | Operation::Release { .. } => {
            let holder = lease.and_then(|lease| lease.holder).unwrap_or_else(|| node(1));
            apply_of_agent(store, epoch, &holder, operation).await
        }
        Operation::Grant { to, ground, check, wrong } => {
            let Some(lease) = lease else { return "there is no lease".to_owned() };
            let itself = lease.holder.clone().unwrap_or_else(|| node(1));
            let to = to.map_or(itself, node);
            let holder_check = holder_check(store, &lease, *check).await;
            let mut grant = grant(&lease, *ground, holder_check, 1, 1);
            (grant.to_incarnation, _) = as_read(store, &to).await;
            grant.to = to;
            grant.event.by = by.to_owned();
            spoil(&mut grant, *wrong);
            grants.push(grant.clone());
            committed(store, &grant).await
        }
        Operation::Repeat { back, .. } => match grants.iter().rev().nth(*back) {
            Some(grant) => committed(store, grant).await,
            None => "there is no such grant".to_owned(),
        },
        Operation::Rotate(ahead, mark) => {
            let epoch = counted(epoch, *ahead);
            format!("{:?}", store.record_rotation(&cluster(), epoch, &allocation(1), mark).await)
        }
        Operation::Move { wrong, verify } => {
            let mut moved = the_move(lease.as_ref(), *wrong);
            moved.verify_at = verify.then_some(AT);
            format!("{:?}", store.record_moved(&cluster(), &moved).await)
        }
        Operation::Append(row) => {
            let what = Happening::Moved { took_ms: u64::from(*row) };
            format!("{:?}", store.append(&event(Epoch(u64::from(*row)), AT, "arbiter/1", what)).await)
        }
        Operation::Ask(id, wish) => {
            format!("{:?}", store.ask(&request(&format!("request-{id}"), wish.clone(), epoch)).await)
        }
        Operation::Failback { id, to, ahead } => {
            let wish = Wish::Failback { to: node(*to), why: "it is well again".to_owned() };
            let asked = request(&format!("request-{id}"), wish, counted(epoch, *ahead));
            format!("{:?}", store.ask(&asked).await)
        }
        Operation::Exclude { .. } | Operation::Include { .. } => {
            let asked = about_exclusion(lease.as_ref(), epoch, operation);
            format!("{:?}", store.ask(&asked).await)
        }
        Operation::Answer(id) => {
            let asked = request(&format!("request-{id}"), Wish::Resume {}, epoch);
            format!("{:?}", store.answer(&cluster(), &asked.id, by).await)
        }
        Operation::EndFence(id) => {
            let standing =
                lease.as_ref().and_then(|lease| lease.fence.as_ref()).map(|word| word.request.clone());
            let id = id.map(|id| request(&format!("request-{id}"), Wish::Resume {}, epoch).id).or(standing);
            match id {
                Some(id) => format!("{:?}", store.end_fence(&cluster(), &id).await),
                None => "nothing to end".to_owned(),
            }
        }
        Operation::Wake(by) => {
            format!("{:?}", store.leave_wake(&cluster(), &node(*by), Why::Claim, AT).await)
        }
        Operation::Registrar(change) => Concrete::new(change, lease.as_ref(), by).done(store).await,
        Operation::Between(..) | Operation::Lose(_) => unreachable!("a store alone cannot do {operation:?}"),
    }
}

/// The request for an exclusion, or for the end of one.
fn about_exclusion(lease: Option<&Lease>, epoch: Epoch, operation: &Operation) -> Request {
    let stands = lease.and_then(|lease| lease.excluded.as_ref()).map(|exclusion| exclusion.request.clone());
    let numbered = |number: u8| RequestId::new(format!("request-{number}")).expect("valid");
    let (id, wish) = match operation {
        Operation::Exclude { id, whose, hand_over, withdraws, instead } => {
            let (node, why) = (node(*whose), "a disk".to_owned());
            let replaces = instead.map(numbered).or(stands);
            let (hand_over, withdraws) = (*hand_over, *withdraws);
            (id, Wish::Exclude { node, why, hand_over, replaces, withdraws })
        }
        Operation::Include { id, withdraws, instead } => {
            let exclusion = instead.map(numbered).or(stands).unwrap_or_else(|| numbered(0));
            (id, Wish::Include { exclusion, withdraws: *withdraws })
        }
        _ => unreachable!("no exclusion begins or ends by {operation:?}"),
    };
    request(&format!("request-{id}"), wish, epoch)
}

async fn apply_of_agent(
    store: &impl Store,
    epoch: Epoch,
    holder: &InstanceArn,
    operation: &Operation,
) -> String {
    let standing = async |whose: &InstanceArn| store.heartbeat(&cluster(), whose).await.expect("read");
    let run_of = |found: Option<&Heartbeat>, instead: Option<u8>| {
        instead.map(run).or_else(|| found.map(|found| found.incarnation.clone())).unwrap_or_else(|| run(1))
    };
    match operation {
        Operation::Start { node: whose, after, run } => {
            let mut start = start(None, *run);
            start.expected = match after {
                After::Standing => standing(&node(*whose)).await.map(|found| found.incarnation),
                After::Run(number) => Some(crate::store::build::run(*number)),
                After::Nobody => None,
            };
            format!("{:?}", store.start(&cluster(), &node(*whose), &start).await)
        }
        Operation::Beat { node: whose, instead, ahead, health, full } => {
            let found = standing(&node(*whose)).await;
            let seq = found.as_ref().map_or(1, |found| found.seq.0).saturating_add_signed(i64::from(*ahead));
            let mut beat = beat(1, seq);
            beat.incarnation = run_of(found.as_ref(), *instead);
            beat.health = *health;
            if *full {
                beat.claim = Some(claim(epoch, seq));
                beat.serving_epoch = Some(epoch);
                beat.serving_since = Some(AT);
                beat.healthy_since = Some(AT);
                beat.findings = Some(findings());
            }
            format!("{:?}", store.beat(&cluster(), &node(*whose), &beat).await)
        }
        Operation::Release { node: whose, instead, ahead } => {
            let whose = whose.map_or_else(|| holder.clone(), node);
            let found = standing(&whose).await;
            let incarnation = run_of(found.as_ref(), *instead);
            let epoch = counted(epoch, *ahead);
            format!("{:?}", store.release(&cluster(), &whose, &incarnation, epoch).await)
        }
        _ => unreachable!("no agent does {operation:?}"),
    }
}

/// The run and the number of a node's heartbeat, or some that nobody has.
async fn as_read(store: &impl Store, whose: &InstanceArn) -> (Incarnation, Seq) {
    let found = store.heartbeat(&cluster(), whose).await.expect("read");
    let unread = || (Incarnation::new("unread").expect("valid"), Seq(0));
    found.map_or_else(unread, |found| (found.incarnation, found.seq))
}

async fn holder_check(store: &impl Store, lease: &Lease, check: Check) -> HolderCheck {
    match (&lease.holder, check) {
        (None, _) => HolderCheck::Nobody,
        (Some(_), Check::Absent) => HolderCheck::Absent,
        (Some(_), Check::Released) => HolderCheck::Released { epoch: lease.epoch },
        (Some(holder), Check::Unchanged) => {
            let (incarnation, seq) = as_read(store, holder).await;
            HolderCheck::Unchanged { incarnation, seq }
        }
    }
}

/// Makes one thing of a grant wrong.
fn spoil(grant: &mut Grant, wrong: Option<Wrong>) {
    match wrong {
        None => {}
        Some(Wrong::Uid) => grant.uid = uid(9),
        Some(Wrong::Epoch) => grant.epoch = grant.epoch.next(),
        Some(Wrong::Holder) if grant.holder.is_some() => grant.holder = Some(node(9)),
        Some(Wrong::Holder) => {
            grant.holder = Some(node(3));
            grant.holder_check = HolderCheck::Absent;
        }
        Some(Wrong::Revision) => grant.revision += 1,
        Some(Wrong::Wish) => {
            let other = RequestId::new("request-0").expect("valid");
            grant.wish = grant.wish.is_none().then_some(other);
        }
        Some(Wrong::Candidate) => grant.to_incarnation = run(9),
        Some(Wrong::Seq) => {
            if let HolderCheck::Unchanged { seq, .. } = &mut grant.holder_check {
                *seq = Seq(seq.0 + 1);
            }
        }
        Some(Wrong::Incarnation) => {
            if let HolderCheck::Unchanged { incarnation, .. } = &mut grant.holder_check {
                *incarnation = run(9);
            }
        }
    }
}

/// The move that the lease waits for, with one thing wrong.
fn the_move(lease: Option<&Lease>, wrong: Option<WrongMove>) -> Moved {
    let (epoch, revision, before) =
        lease.map_or((Epoch(0), 1, Epoch(0)), |lease| (lease.epoch, lease.revision, lease.moved));
    let due = lease.and_then(|lease| lease.verify_at);
    let observed = Observed { associations: [(allocation(1), association(2))].into(), ..Observed::default() };
    let mut moved = Moved { epoch, revision, before, due, observed, verify_at: None };
    match wrong {
        None => {}
        Some(WrongMove::Epoch(by)) => moved.epoch = counted(epoch, by),
        Some(WrongMove::Revision) => moved.revision += 1,
        Some(WrongMove::Before) => moved.before = moved.before.next(),
        Some(WrongMove::Due) => moved.due = Some(WallTime(due.map_or(1, |due| due.0 + 1))),
        Some(WrongMove::NoneDue) => moved.due = None,
    }
    moved
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
