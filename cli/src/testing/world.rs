//! A world to run commands in: the store's twin with faults on demand, a bus, and a clock that moves when somebody sleeps
//! and then lets happen what was arranged for that moment. Nothing in it waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker as TaskWaker};
use std::time::Duration;

use baton_client::BusFailure;
use baton_doubles::{Call, Fate, Gate, Interposed, Method};
use baton_protocol::findings::Findings;
use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Beat, Claim, Health, Heartbeat};
use baton_protocol::history::{Event, Evidence, Ground, Happening};
use baton_protocol::ids::{Epoch, RequestId, Seq};
use baton_protocol::lease::Lease;
use baton_protocol::outcome::Failure;
use baton_protocol::request::Request;
use baton_protocol::time::WallTime;
use baton_protocol::wake::Wake;
use baton_store::{MemoryStore, Moved, Registration, Start, Store};

use super::{NOW, PIPE, arn, before, lease, name};
use crate::args::Cli;
use crate::clock::Clock;
use crate::command::Session;
use crate::console::{Console, Look};
use crate::exit::Exit;
use crate::waker::Waker;

/// The outcome of a future that needs nobody else.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(TaskWaker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("everything in a test's world is ready at once"),
    }
}

type Act = Box<dyn Fn(&MemoryStore, WallTime)>;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Everything a command meets.
pub(crate) struct World {
    pub(crate) store: Interposed<Faults>,
    pub(crate) bus: TestBus,
    pub(crate) clock: TestClock,
    pub(crate) look: Look,
}

impl World {
    /// `orders`, registered two days ago, held by db-a at epoch 1 since a day ago; its three nodes beat 0.9 s ago.
    pub(crate) fn new() -> Self {
        let store = MemoryStore::new();
        register(&store, "orders");
        for letter in ['a', 'b', 'c'] {
            start(&store, letter);
            beat(&store, letter, None, before(86_400_000));
        }
        grant(&store, 'a', Ground::Vacancy, None, before(86_400_000));
        moved(&store, before(86_398_100));
        beat(&store, 'a', Some(Epoch(1)), before(900));
        beat(&store, 'b', None, before(900));
        beat(&store, 'c', None, before(900));
        let lease = ready(store.lease(&name("orders"))).expect("reads").expect("registered");
        ready(store.record_probe(&name("orders"), &super::probe(&lease))).expect("kept");
        Self::around(store)
    }

    /// A world with nothing in it.
    pub(crate) fn empty() -> Self {
        Self::around(MemoryStore::new())
    }

    fn around(store: MemoryStore) -> Self {
        Self {
            store: Interposed { record: store.clone(), gate: Faults::default() },
            bus: TestBus::default(),
            clock: TestClock { now: Cell::new(NOW), acts: RefCell::default(), store },
            look: PIPE,
        }
    }

    /// Arranges for something to happen so many milliseconds from [`NOW`], while somebody sleeps.
    pub(crate) fn after(&self, ms: u64, act: impl Fn(&MemoryStore, WallTime) + 'static) {
        let mut acts = self.clock.acts.borrow_mut();
        acts.entry(NOW.0 + ms).or_default().push(Box::new(act));
    }

    /// Lets time pass with nothing happening.
    pub(crate) fn set_now(&self, now: WallTime) {
        self.clock.now.set(now);
    }

    /// Runs a command line.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.answering(line, "")
    }

    /// Runs a command line and answers what it asks.
    pub(crate) fn answering(&self, line: &str, answer: &str) -> Run {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = self.write_to(line, answer, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Run { exit, out: text(out), err: text(err) }
    }

    /// Runs a command line that writes into the given streams.
    pub(crate) fn write_to(
        &self,
        line: &str,
        answer: &str,
        out: &mut dyn std::io::Write,
        err: &mut dyn std::io::Write,
    ) -> Exit {
        let cli = Cli::read(std::iter::once("baton").chain(line.split(' '))).expect("a good command line");
        let mut input = answer.as_bytes();
        let mut console = Console { out, err, input: &mut input, look: self.look };
        let session = Session {
            store: &self.store,
            waker: &self.bus,
            clock: &self.clock,
            who: "alice@ops-1".to_owned(),
            format: cli.global.format(),
        };
        ready(crate::run(&session, &mut console, &cli))
    }

    /// The lease of `orders`.
    pub(crate) fn lease(&self) -> Lease {
        ready(self.store.record.lease(&name("orders"))).expect("reads").expect("registered")
    }

    /// The requests to `orders`, newest first.
    pub(crate) fn requests(&self) -> Vec<Request> {
        ready(self.store.record.requests(&name("orders"), 10)).expect("reads")
    }

    /// The text with the ids of requests, which are made of chance, replaced.
    pub(crate) fn without_ids(&self, text: &str) -> String {
        self.requests()
            .iter()
            .fold(text.to_owned(), |text, request| text.replace(request.id.as_str(), "<id>"))
    }
}

/// Registers a cluster with the fixture's nodes.
pub(crate) fn register(store: &MemoryStore, cluster: &str) {
    let template = lease();
    let at = before(172_800_000);
    let what = Happening::Registered { revision: 1, summary: "3 nodes, 1 address, 1 route".to_owned() };
    let registration = Registration {
        cluster: name(cluster),
        uid: template.uid,
        mode: template.mode,
        takeover: template.takeover,
        cool_down_ms: template.cool_down_ms,
        fencing: template.fencing,
        failback: template.failback,
        timing: template.timing,
        members: template.members,
        resources: template.resources,
        roster: None,
        made_from: None,
        at,
        event: event(cluster, Epoch(0), "registrar", what, at),
    };
    ready(store.register(&registration)).expect("registers");
}

/// A row of the history.
pub(crate) fn event(cluster: &str, epoch: Epoch, by: &str, what: Happening, at: WallTime) -> Event {
    Event { cluster: name(cluster), epoch, at, by: by.to_owned(), what }
}

fn start(store: &MemoryStore, letter: char) {
    let start = Start {
        expected: None,
        incarnation: name(&format!("run-{letter}")),
        boot_id: "boot".to_owned(),
        agent_version: "0.1.0".to_owned(),
        validity_ms: 4_000,
        at: before(172_000_000),
    };
    ready(store.start(&name("orders"), &arn(letter), &start)).expect("starts");
}

fn current(store: &MemoryStore, letter: char) -> Heartbeat {
    ready(store.heartbeat(&name("orders"), &arn(letter))).expect("reads").expect("has started")
}

/// A healthy node's next heartbeat.
pub(crate) fn beat(store: &MemoryStore, letter: char, serving_epoch: Option<Epoch>, at: WallTime) {
    beat_with(store, letter, Health::Ok, serving_epoch, at);
}

/// A node's next heartbeat.
pub(crate) fn beat_with(
    store: &MemoryStore,
    letter: char,
    health: Health,
    serving_epoch: Option<Epoch>,
    at: WallTime,
) {
    let seen = serving_epoch.map(|_| "198.51.100.7".parse().expect("an address")).into_iter().collect();
    let serving_since = serving_epoch.map(|_| at);
    put(store, letter, Beat { health, serving_epoch, serving_since, seen, ..next(store, letter, at) });
}

/// A node's next heartbeat, with what it has found out about itself.
pub(crate) fn beat_telling(
    store: &MemoryStore,
    letter: char,
    (health, findings): (Health, Findings),
    serving_epoch: Option<Epoch>,
    at: WallTime,
) {
    let findings = Some(findings);
    put(store, letter, Beat { health, serving_epoch, findings, ..next(store, letter, at) });
}

/// The next heartbeat of a standby in good health.
fn next(store: &MemoryStore, letter: char, at: WallTime) -> Beat {
    let last = current(store, letter);
    Beat {
        incarnation: last.incarnation,
        seq: Seq(last.seq.0 + 1),
        health: Health::Ok,
        claim: None,
        serving_epoch: None,
        healthy_since: None,
        serving_since: None,
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at: at,
    }
}

fn put(store: &MemoryStore, letter: char, beat: Beat) {
    ready(store.beat(&name("orders"), &arn(letter), &beat)).expect("beats");
}

/// A standby's next heartbeat, with a claim that db-a is silent since its last one.
pub(crate) fn claim(store: &MemoryStore, letter: char, at: WallTime) {
    let holder = current(store, 'a');
    let claim = Claim {
        epoch: Epoch(1),
        holder: arn('a'),
        incarnation: holder.incarnation,
        seq: holder.seq,
        silent_ms: 6_000,
        at,
    };
    put(store, letter, Beat { claim: Some(claim), ..next(store, letter, at) });
}

/// The holder's oath.
pub(crate) fn release(store: &MemoryStore, letter: char, epoch: Epoch) {
    let incarnation = current(store, letter).incarnation;
    ready(store.release(&name("orders"), &arn(letter), &incarnation, epoch)).expect("releases");
}

/// A grant by the arbiter.
pub(crate) fn grant(store: &MemoryStore, to: char, ground: Ground, request: Option<RequestId>, at: WallTime) {
    let lease = ready(store.lease(&name("orders"))).expect("reads").expect("registered");
    let holder = lease.holder.as_ref().map(|holder| {
        ready(store.heartbeat(&name("orders"), holder)).expect("reads").expect("the holder has started")
    });
    let holder_check = match (&holder, ground) {
        (None, _) => HolderCheck::Nobody,
        (Some(_), Ground::Release) => HolderCheck::Released { epoch: lease.epoch },
        (Some(holder), _) => {
            HolderCheck::Unchanged { incarnation: holder.incarnation.clone(), seq: holder.seq }
        }
    };
    let what = Happening::Granted {
        from: lease.holder.clone(),
        to: arn(to),
        ground,
        reason: "tested".to_owned(),
        evidence: Evidence { request, ..Evidence::default() },
    };
    let grant = Grant {
        cluster: name("orders"),
        uid: lease.uid,
        epoch: lease.epoch,
        revision: lease.revision,
        holder: lease.holder,
        holder_check,
        to: arn(to),
        to_incarnation: current(store, to).incarnation,
        ground,
        wish: lease.intent.and_then(|intent| intent.request),
        recent: None,
        at,
        event: event("orders", lease.epoch.next(), "arbiter", what, at),
    };
    assert_eq!(ready(store.commit(&grant)), Ok(Committed::Granted));
}

/// The end of the current epoch's move.
pub(crate) fn moved(store: &MemoryStore, at: WallTime) {
    let lease = ready(store.lease(&name("orders"))).expect("reads").expect("registered");
    let (epoch, revision, before, due) = (lease.epoch, lease.revision, lease.moved, lease.verify_at);
    let done = Moved { epoch, revision, before, due, observed: Default::default(), verify_at: None };
    ready(store.record_moved(&name("orders"), &done)).expect("records");
    let what = Happening::Moved { took_ms: 1_900 };
    ready(store.append(&event("orders", epoch, "arbiter", what, at))).expect("appends");
}

/// A bus that keeps what it is given, or refuses it.
#[derive(Debug, Default)]
pub(crate) struct TestBus {
    pub(crate) sent: RefCell<Vec<Wake>>,
    pub(crate) failure: RefCell<Option<BusFailure>>,
}

impl Waker for TestBus {
    async fn wake(&self, wake: &Wake) -> Result<(), BusFailure> {
        if let Some(failure) = self.failure.borrow().clone() {
            return Err(failure);
        }
        self.sent.borrow_mut().push(wake.clone());
        Ok(())
    }
}

/// A clock that moves when somebody sleeps.
pub(crate) struct TestClock {
    now: Cell<WallTime>,
    acts: RefCell<BTreeMap<u64, Vec<Act>>>,
    store: MemoryStore,
}

impl Clock for TestClock {
    fn now(&self) -> WallTime {
        self.now.get()
    }

    async fn sleep(&self, length: Duration) {
        let until = self.now.get() + length;
        let later = self.acts.borrow_mut().split_off(&(until.0 + 1));
        let due = self.acts.replace(later);
        for (at, acts) in due {
            self.now.set(WallTime(at));
            acts.iter().for_each(|act| act(&self.store, WallTime(at)));
        }
        self.now.set(until);
    }
}

/// What goes wrong with calls to the store's twin. The writes of agents, arbiter and registrar are no business of an
/// operator's command, so none of them passes.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Mutex<Vec<Fault>>,
    /// What others do just before a call, and how many calls of its method come first.
    others: Mutex<Vec<(Method, usize, Deed)>>,
}

type Deed = Box<dyn Fn(&MemoryStore) + Send>;

struct Fault {
    call: Method,
    /// How many calls of this method are good before.
    good_before: usize,
    failure: Failure,
    /// Whether the write is applied all the same.
    is_applied: bool,
}

impl Faults {
    /// The next call of this method fails, and is not applied.
    pub(crate) fn fail(&self, call: Method, failure: Failure) {
        self.fail_later(call, 0, failure);
    }

    /// So many calls of this method are good; the one after fails, and is not applied.
    pub(crate) fn fail_later(&self, call: Method, good_before: usize, failure: Failure) {
        self.add(Fault { call, good_before, failure, is_applied: false });
    }

    /// The next call of this method is applied, and its answer is lost.
    pub(crate) fn lose_answer(&self, call: Method) {
        let failure = Failure::Unknown("timed out".to_owned());
        self.add(Fault { call, good_before: 0, failure, is_applied: true });
    }

    /// So many calls of this method are made; just before the next one somebody else does this.
    pub(crate) fn meanwhile(&self, call: Method, before: usize, act: impl Fn(&MemoryStore) + Send + 'static) {
        self.others.lock().expect("no panic before").push((call, before, Box::new(act)));
    }

    fn others_act(&self, call: Method, record: &MemoryStore) {
        let mut others = self.others.lock().expect("no panic before");
        others.retain_mut(|(method, before, act)| {
            let due = *method == call && *before == 0;
            if due {
                act(record);
            } else if *method == call {
                *before -= 1;
            }
            !due
        });
    }

    fn add(&self, fault: Fault) {
        self.faults.lock().expect("no panic before").push(fault);
    }

    fn fault(&self, call: Method) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("no panic before");
        let place = faults.iter().position(|fault| fault.call == call)?;
        if faults[place].good_before > 0 {
            faults[place].good_before -= 1;
            return None;
        }
        Some(faults.remove(place))
    }
}

/// All that an operator's command may call.
const AN_OPERATOR_S: [Method; 8] = [
    Method::Lease,
    Method::Heartbeat,
    Method::Heartbeats,
    Method::Probe,
    Method::History,
    Method::Requests,
    Method::Clusters,
    Method::Ask,
];

impl Gate for Faults {
    async fn meet(&self, call: Call<'_>, record: &MemoryStore) -> Fate {
        let method = call.method;
        assert!(AN_OPERATOR_S.contains(&method), "an operator's command must not call {method:?}");
        self.others_act(method, record);
        match self.fault(method) {
            None => Fate::Pass,
            Some(fault) if fault.is_applied => Fate::Lose(fault.failure),
            Some(fault) => Fate::Fail(fault.failure),
        }
    }
}
