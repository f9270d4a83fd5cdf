//! Node a, driven by hand: its clock, its table and the answers it gets. Its state is read from what it has said, as a
//! driver knows it, and from nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::Epoch;
use baton_protocol::lease::Lease;
use baton_protocol::node::{Command, HookOutcome, Node, NodeConfig};
use baton_protocol::outcome::{Failure, Write};
use baton_protocol::time::{BootTime, Now, WallTime};

use crate::world::{WALL, arn, cluster, heartbeat, lease, run};

/// What a driver knows of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Down,
    Starting,
    Serving,
    Stopping { epoch: Option<Epoch> },
}

/// See the module's introduction.
pub(crate) struct Agent {
    pub(crate) node: Node,
    pub(crate) now: Now,
    /// What the table holds.
    pub(crate) lease: Lease,
    pub(crate) peers: BTreeMap<char, Heartbeat>,
    /// What was handed out since [`Agent::forget`].
    pub(crate) said: Vec<Command>,
    /// When the last W was sent.
    pub(crate) sent: BootTime,
    service: Service,
    released: Epoch,
    left: bool,
}

impl Agent {
    /// After a boot: announced to the table, its checks are good, and nothing was read of the lease yet.
    pub(crate) fn booted(lease: Lease) -> Self {
        let now = Now { boot: BootTime(1_000_000_000_000), wall: WALL };
        let config = NodeConfig {
            cluster: cluster("orders"),
            instance: arn('a'),
            incarnation: run("this-run"),
            earlier: None,
            jitter_seed: None,
        };
        let mut agent = Self {
            node: Node::new(config, now),
            now,
            lease,
            peers: ['b', 'c'].map(|peer| (peer, heartbeat(peer, 1))).into(),
            said: Vec::new(),
            sent: now.boot,
            service: Service::Down,
            released: Epoch(0),
            left: false,
        };
        agent.listen();
        agent.node.handle_demoted(now, HookOutcome::Done);
        agent.node.handle_timer(now);
        agent.node.handle_own(now, Ok(None));
        agent.node.handle_announced(now, Ok(()));
        agent.node.handle_own(now, Ok(Some(heartbeat('a', 1))));
        agent.node.handle_health(now, Health::Ok);
        agent.listen();
        agent
    }

    /// Takes in what the node says.
    pub(crate) fn listen(&mut self) {
        while let Some(command) = self.node.poll_command() {
            match &command {
                Command::Promote { .. } => self.service = Service::Starting,
                Command::Demote { epoch, .. } => self.service = Service::Stopping { epoch: *epoch },
                Command::Persist(state) => self.released = state.released,
                Command::Beat(_) => self.sent = self.now.boot,
                Command::Exit(_) => self.left = true,
                _ => {}
            }
            self.said.push(command);
        }
        if self.node.serving().is_some() {
            self.service = Service::Serving;
        }
    }

    /// Forgets what was said, so that the next input's answer stands alone.
    pub(crate) fn forget(&mut self) {
        self.listen();
        self.said.clear();
    }

    pub(crate) fn pass(&mut self, length: Duration) {
        self.now = Now { boot: self.now.boot + length, wall: self.now.wall + length };
    }

    /// Lets time pass until the next W is under way.
    pub(crate) fn begin_cycle(&mut self) {
        for _ in 0..100 {
            let due = self.node.next_deadline().expect("a node that has not left");
            self.pass(due.since(self.now.boot));
            self.forget();
            self.node.handle_timer(self.now);
            self.listen();
            if self.said.iter().any(|said| matches!(said, Command::Beat(_))) {
                return;
            }
        }
        panic!("the node never beats: {:?}", self.node);
    }

    /// W is answered, then R shows what the table holds. Answers take 20 ms each.
    pub(crate) fn cycle(&mut self, outcome: Write<Option<Heartbeat>>) {
        let found = self.lease.clone();
        self.cycle_with(outcome, Ok(Some(found)));
    }

    pub(crate) fn cycle_with(
        &mut self,
        outcome: Write<Option<Heartbeat>>,
        found: Result<Option<Lease>, Failure>,
    ) {
        self.pass(Duration::from_millis(20));
        self.node.handle_beat(self.now, outcome);
        self.pass(Duration::from_millis(20));
        self.node.handle_lease(self.now, found);
        self.listen();
    }

    /// Node b beats, and the others' heartbeats are read.
    pub(crate) fn read_others(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| peer.instance == arn('b')) {
            peer.seq.0 += 1;
        }
        self.hear_others();
    }

    /// The others' heartbeats are read.
    pub(crate) fn hear_others(&mut self) {
        let found = self.peers.values().map(|peer| (peer.instance.clone(), peer.clone())).collect();
        self.pass(Duration::from_millis(20));
        self.node.handle_heartbeats(self.now, Ok(found));
        self.listen();
    }

    /// A whole cycle in which everything is answered.
    pub(crate) fn whole_cycle(&mut self) {
        self.begin_cycle();
        self.cycle(Ok(()));
        self.read_others();
    }

    pub(crate) fn promoted(&mut self, outcome: HookOutcome) {
        self.node.handle_promoted(self.now, outcome);
        self.listen();
    }

    pub(crate) fn demoted(&mut self, outcome: HookOutcome) {
        if matches!(self.service, Service::Stopping { .. }) {
            self.service = Service::Down;
        }
        self.node.handle_demoted(self.now, outcome);
        self.listen();
    }

    pub(crate) fn state(&self) -> &'static str {
        let sworn = |epoch: Option<Epoch>| epoch.is_some_and(|epoch| epoch <= self.released);
        match self.service {
            _ if self.left => "left",
            Service::Down if sworn(self.node.lease().map(|lease| lease.epoch)) => "sworn",
            Service::Down => "stopped",
            Service::Starting => "starting",
            Service::Serving => "serving",
            Service::Stopping { epoch } if sworn(epoch) => "releasing",
            Service::Stopping { .. } => "stopping",
        }
    }
}

/// Node a in one of the states, with a W under way. It has seen node b beat, and never node c.
pub(crate) fn in_state(state: &str) -> Agent {
    let mut agent = Agent::booted(lease());
    agent.whole_cycle();
    if state != "starting" {
        agent.promoted(HookOutcome::Done);
    }
    agent.whole_cycle();
    match state {
        "stopped" | "stopping" => {
            agent.node.handle_fenced(agent.now);
            agent.listen();
        }
        "releasing" | "sworn" => {
            agent.lease.intent = Some(crate::world::intent('b'));
            agent.whole_cycle();
        }
        _ => {}
    }
    if matches!(state, "stopped" | "sworn") {
        agent.demoted(HookOutcome::Done);
    }
    agent.begin_cycle();
    agent.forget();
    assert_eq!(agent.state(), state);
    agent
}

/// No answer.
pub(crate) fn lost() -> Failure {
    Failure::Unknown("timed out".to_owned())
}

/// A moment of the wall clock that has passed.
pub(crate) const EARLIER: WallTime = WallTime(1);
