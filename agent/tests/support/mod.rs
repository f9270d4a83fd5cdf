//! A node on a table in memory: its driver runs in the test's own runtime, its checks and hooks are processes.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_agent::clock;
use baton_agent::config::{
    Act, Check, Cluster, CommandLine, ExitCodes, Fence, Hook, Imds, Probe, Recover, Service, Shutdown, Vip,
    When,
};
use baton_agent::driver::{Ending, Parts, Wakes, drive};
use baton_agent::identity::Metadata;
use baton_agent::status::ClusterStatus;
use baton_agent::status::socket::Ask;
use baton_agent::watchdog::Watchdog;
use baton_protocol::grant::{Committed, Grant, HolderCheck};
use baton_protocol::heartbeat::{Beat, Health, Heartbeat};
use baton_protocol::history::{Event, Ground, Happening};
use baton_protocol::ids::{
    AllocationId, ClusterName, Epoch, Incarnation, InstanceArn, InterfaceId, NodeName, RegistrationUid, Seq,
};
use baton_protocol::lease::{Member, Mode};
use baton_protocol::recovery::Limit;
use baton_protocol::resource::{Address, Placement, Resources};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_protocol::wake::Wake;
use baton_store::{MemoryStore, Registration, Start, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// The longest a test waits for anything.
pub(crate) const BOUND: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A bus on which nobody listens.
pub(crate) struct Silence;

impl Wakes for Silence {
    async fn wake(&self, _wake: &Wake) -> Result<(), String> {
        Ok(())
    }
}

/// A check that tries often and is decided soon.
pub(crate) fn check(name: &str, when: When, probe: Probe) -> Check {
    let (interval, timeout) = (Duration::from_millis(100), Duration::from_secs(10));
    Check { name: name.to_owned(), probe, interval, timeout, rise: 1, fall: 2, when }
}

/// A script that fails with 9.
pub(crate) fn script(condition: &str) -> Probe {
    let command = shell(&format!("{condition} || exit 9"));
    Probe::Script { command, user: None, exit_codes: ExitCodes::Plain }
}

fn shell(text: &str) -> CommandLine {
    CommandLine { program: "/bin/sh".into(), arguments: ["-c", text].map(str::to_owned).to_vec() }
}

/// Whether a process lives; one that died and was not waited for does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    WallTime(u64::try_from(since.as_millis()).expect("not for long yet"))
}

fn cluster() -> ClusterName {
    ClusterName::new("orders").expect("valid")
}

fn instance(n: u8) -> InstanceArn {
    let arn = format!("arn:aws:ec2:eu-west-1:123456789012:instance/i-0000000{n}");
    InstanceArn::new(arn).expect("valid")
}

fn allocation() -> AllocationId {
    AllocationId::new("eipalloc-00000001").expect("valid")
}

fn member(n: u8) -> Member {
    Member {
        node: NodeName::new(format!("node-{n}")).expect("valid"),
        instance: instance(n),
        zone: format!("euw1-az{n}"),
        interface: InterfaceId::new(format!("eni-0000000{n}")).expect("valid"),
        placements: BTreeMap::from([(
            allocation(),
            Placement {
                interface: InterfaceId::new(format!("eni-0000000{n}")).expect("valid"),
                private_ip: Ipv4Addr::new(10, 0, n, 10),
            },
        )]),
        priority: 100,
    }
}

/// Node 1 of a cluster of two, which holds the lease from the start.
pub(crate) struct Node {
    place: PathBuf,
    _kept: Option<tempfile::TempDir>,
    store: MemoryStore,
    /// Its checks.
    pub(crate) checks: Vec<Check>,
    /// Whether the end of the agent leaves the service running.
    pub(crate) shutdown_stays: bool,
    /// Its virtual addresses.
    pub(crate) vip: Option<Vip>,
    /// Its packet fence.
    pub(crate) fence: Option<Fence>,
    /// The watchdog of its machine.
    pub(crate) watchdog: Option<Watchdog>,
    /// What the dead-man stops.
    pub(crate) service: Option<Service>,
    /// What its hooks do besides telling that they ran.
    pub(crate) promote: String,
    /// The other one.
    pub(crate) demote: String,
    /// What its promote hook runs instead, if anything, and for how long at most.
    pub(crate) promote_program: Option<(PathBuf, Duration)>,
    /// Where its metadata service answers. Nobody does at first, which costs nothing: what is not told is not known.
    pub(crate) metadata: String,
    recover: Option<Recover>,
    stop: watch::Sender<Option<Ending>>,
    running: Option<JoinHandle<()>>,
    ask: Option<mpsc::Sender<Ask>>,
}

impl Node {
    /// A node whose agent has not started yet.
    pub(crate) async fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        // Without a dead-man, whose program is not beside a test's.
        let node = Self::at(place.path(), Mode::Available).await;
        Self { _kept: Some(place), ..node }
    }

    /// The same with its files in this directory, where an earlier one may have left some.
    pub(crate) async fn at(place: &Path, mode: Mode) -> Self {
        let store = MemoryStore::new();
        register(&store, mode).await;
        let run = join(&store, 1).await;
        grant(&store, 1, &run).await;
        std::fs::create_dir_all(place.join("o/orders")).expect("made");
        Self {
            place: place.to_owned(),
            _kept: None,
            store,
            checks: Vec::new(),
            shutdown_stays: false,
            vip: None,
            fence: None,
            watchdog: None,
            service: None,
            promote: ":".to_owned(),
            demote: ":".to_owned(),
            promote_program: None,
            metadata: "http://127.0.0.1:9".to_owned(),
            recover: None,
            stop: watch::Sender::new(None),
            running: None,
            ask: None,
        }
    }

    /// What the agent says of itself at this moment.
    pub(crate) async fn status(&self) -> ClusterStatus {
        let (ask, answer) = oneshot::channel();
        self.ask.as_ref().expect("it runs").send(ask).await.expect("it runs");
        tokio::time::timeout(BOUND, answer).await.expect("in time").expect("answered")
    }

    /// A path in the node's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Writes a file there.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    /// Removes a file there.
    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("removed");
    }

    /// What a file there says; nothing if it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Gives the node a recover hook.
    pub(crate) fn recover(&mut self, text: &str, timeout: Duration, times: u32) {
        let limit = Limit { times, within: Duration::from_secs(600) };
        self.recover = Some(Recover { hook: Hook { act: Act::Command(shell(text)), timeout }, limit });
    }

    /// Gives the node a recover hook that is this program.
    pub(crate) fn recover_by(&mut self, program: PathBuf) {
        let limit = Limit { times: 1, within: Duration::from_secs(600) };
        let act = Act::Command(CommandLine { program, arguments: Vec::new() });
        self.recover = Some(Recover { hook: Hook { act, timeout: Duration::from_secs(20) }, limit });
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        let hooks = self.path("hooks");
        let hook = |name: &str, more: &str| {
            let tell = format!("test \"$BATON_REASON\" = start || echo {name} >> {}", hooks.display());
            let command = shell(&format!("{tell}\n{more}"));
            Some(Hook { act: Act::Command(command), timeout: Duration::from_secs(20) })
        };
        let program = self.promote_program.clone().map(|(program, timeout)| {
            let command = CommandLine { program, arguments: Vec::new() };
            Hook { act: Act::Command(command), timeout }
        });
        let parts = Parts {
            instance: instance(1),
            cluster: Cluster {
                name: cluster(),
                directory: self.path("o/orders"),
                shutdown: if self.shutdown_stays { Shutdown::Stay } else { Shutdown::Handover },
                promote: program.or_else(|| hook("promote", &self.promote)),
                demote: hook("demote", &self.demote),
                recover: self.recover.clone(),
                service: self.service.clone(),
                vip: self.vip.clone(),
                fence: self.fence.clone(),
                checks: self.checks.clone(),
            },
            store: self.store.clone(),
            wakes: Silence,
            metadata: Metadata::at(&self.metadata, Imds::V2).expect("a URL"),
            watchdog: self.watchdog.clone(),
            boot_id: "boot".to_owned(),
        };
        let stop = self.stop.subscribe();
        let (ask, asked) = mpsc::channel(1);
        self.ask = Some(ask);
        let drive = async move {
            drive(parts, stop, asked).await.expect("an orderly end");
        };
        self.running = Some(tokio::spawn(drive));
    }

    /// Asks the agent to end and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.end(Ending::AsConfigured).await;
    }

    /// The same for another driver, as after a reload.
    pub(crate) async fn end_for_another(&mut self) {
        self.end(Ending::Reload).await;
        self.stop.send_replace(None);
    }

    async fn end(&mut self, ending: Ending) {
        self.stop.send_replace(Some(ending));
        let running = self.running.take().expect("it runs");
        tokio::time::timeout(BOUND, running).await.expect("in time").expect("in order");
    }

    /// Ends the agent as a signal that cannot be caught does: it takes nothing back.
    pub(crate) async fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()), "it has ended by itself before");
    }

    /// Waits until the agent says of itself what is wanted.
    pub(crate) async fn until_status(
        &self,
        what: &str,
        wanted: impl Fn(&ClusterStatus) -> bool,
    ) -> ClusterStatus {
        let look = async {
            loop {
                let found = self.status().await;
                if wanted(&found) {
                    return found;
                }
                pause().await;
            }
        };
        tokio::time::timeout(BOUND, look).await.unwrap_or_else(|_| panic!("in vain until {what}"))
    }

    /// Lets the other node beat, healthy, for as long as the test runs.
    pub(crate) fn standby_beats(&self) {
        let store = self.store.clone();
        tokio::spawn(async move {
            let incarnation = join(&store, 2).await;
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            for seq in 3.. {
                tick.tick().await;
                let beat = beat(&incarnation, seq);
                store.beat(&cluster(), &instance(2), &beat).await.expect("the standby beats");
            }
        });
    }

    /// Gives the lease to the other node, as after a silence.
    pub(crate) async fn depose(&self) {
        let other = self.store.heartbeat(&cluster(), &instance(2)).await.expect("read");
        let run = match other {
            Some(found) => found.incarnation,
            None => join(&self.store, 2).await,
        };
        grant(&self.store, 2, &run).await;
    }

    /// Deletes the cluster.
    pub(crate) async fn retire(&self) {
        let lease = self.store.lease(&cluster()).await.expect("read").expect("registered");
        let (epoch, what) = (lease.epoch, Happening::Retired {});
        let event = Event { cluster: cluster(), epoch, at: wall(), by: "test".to_owned(), what };
        self.store.retire(&cluster(), &lease.uid, &event).await.expect("retired");
    }

    /// Waits until this node's heartbeat is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let look = async {
            loop {
                let found = self.store.heartbeat(&cluster(), &instance(1)).await.expect("read");
                if let Some(found) = found.filter(&wanted) {
                    return found;
                }
                pause().await;
            }
        };
        match tokio::time::timeout(BOUND, look).await {
            Ok(found) => found,
            Err(_) => {
                let last = self.store.heartbeat(&cluster(), &instance(1)).await;
                panic!("in vain until {what}; last: {last:?}; hooks: {}", self.read("hooks"))
            }
        }
    }

    /// Waits for what may never be so.
    pub(crate) async fn wait_for_ever(&self, wanted: impl Fn() -> bool) {
        while !wanted() {
            pause().await;
        }
    }

    /// Waits for anything else.
    pub(crate) async fn wait(&self, what: &str, wanted: impl Fn() -> bool) {
        let look = async {
            while !wanted() {
                pause().await;
            }
        };
        let waited = tokio::time::timeout(BOUND, look).await;
        waited.unwrap_or_else(|_| panic!("in vain until {what}; hooks: {}", self.read("hooks")));
    }
}

/// Between two looks at a condition.
async fn pause() {
    clock::sleep_until(clock::boot() + LOOK_EVERY).await.expect("a timer");
}

fn beat(incarnation: &Incarnation, seq: u64) -> Beat {
    Beat {
        incarnation: incarnation.clone(),
        seq: Seq(seq),
        health: Health::Ok,
        claim: None,
        serving_epoch: None,
        healthy_since: None,
        serving_since: None,
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at: wall(),
    }
}

async fn join(store: &MemoryStore, n: u8) -> Incarnation {
    let incarnation = Incarnation::new(format!("run-of-{n}")).expect("valid");
    let start = Start {
        expected: None,
        incarnation: incarnation.clone(),
        boot_id: "boot".to_owned(),
        agent_version: "test".to_owned(),
        validity_ms: 4_000,
        at: wall(),
    };
    store.start(&cluster(), &instance(n), &start).await.expect("announced");
    store.beat(&cluster(), &instance(n), &beat(&incarnation, 2)).await.expect("beaten");
    incarnation
}

async fn register(store: &MemoryStore, mode: Mode) {
    let what = Happening::Registered { revision: 1, summary: "made".to_owned() };
    let event = Event { cluster: cluster(), epoch: Epoch(0), at: wall(), by: "test".to_owned(), what };
    let (allocation, public_ip) = (allocation(), Ipv4Addr::new(198, 51, 100, 1));
    let registration = Registration {
        cluster: cluster(),
        uid: RegistrationUid::new("uid-1").expect("valid"),
        mode,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: if mode == Mode::Available { Timing::FAST } else { Timing::DEFAULT },
        roster: None,
        members: vec![member(1), member(2)],
        resources: Resources { addresses: vec![Address { allocation, public_ip }], ..Resources::default() },
        made_from: None,
        at: wall(),
        event,
    };
    store.register(&registration).await.expect("registered");
}

/// Gives the lease to this node, whoever has it.
async fn grant(store: &MemoryStore, n: u8, run: &Incarnation) {
    let deadline = wall() + BOUND;
    loop {
        let lease = store.lease(&cluster()).await.expect("read").expect("registered");
        let holder = match &lease.holder {
            None => None,
            Some(holder) => store.heartbeat(&cluster(), holder).await.expect("read"),
        };
        let holder_check = holder.map_or(HolderCheck::Nobody, |holder| HolderCheck::Unchanged {
            incarnation: holder.incarnation,
            seq: holder.seq,
        });
        let what = Happening::Moved { took_ms: 1 };
        let grant = Grant {
            cluster: cluster(),
            uid: lease.uid.clone(),
            epoch: lease.epoch,
            revision: lease.revision,
            holder: lease.holder.clone(),
            holder_check,
            to: instance(n),
            to_incarnation: run.clone(),
            ground: Ground::Vacancy,
            wish: lease.wish().cloned(),
            recent: None,
            at: wall(),
            event: Event {
                cluster: cluster(),
                epoch: lease.epoch.next(),
                at: wall(),
                by: "test".to_owned(),
                what,
            },
        };
        if store.commit(&grant).await == Ok(Committed::Granted) {
            return;
        }
        // The holder has beaten in between.
        assert!(wall() < deadline, "no grant came through");
    }
}
