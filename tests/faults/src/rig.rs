//! A cluster of three nodes without agents: what agents would write is written here, so that each function is alone with the
//! table and EC2. Both are real servers, the function is the program that ships, and what came of it is read from EC2 by
//! another client than Baton's.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use baton_conformance::engine::Engine;
pub use baton_conformance::store::build::cluster;
use baton_conformance::store::build::{beat, run, start, uid};
use baton_protocol::heartbeat::{Beat, Claim};
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{AllocationId, Epoch, InstanceArn, InterfaceId, NodeName, RouteTableId};
use baton_protocol::lease::{Lease, Member, Mode};
use baton_protocol::resource::{Address, Destination, Placement, Resources, Route};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;
use baton_sandbox::{ADMINISTRATOR, Options, REGION, Sandbox};
use baton_store::{DynamoStore, Registration, Start, Store};
use serde_json::{Value, json};

use crate::counter::Counter;
use crate::runtime::{Function, Invoked};

/// Whatever goes wrong with the servers, and not with what is tested.
pub type Trouble = Box<dyn Error>;

pub(crate) const TABLE: &str = "baton";
const NODES: usize = 3;
/// Of every agent that is written for.
const RUN: u8 = 1;

/// How large the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many Elastic IPs.
    pub addresses: usize,
    /// How many route tables.
    pub tables: usize,
}

/// The cluster and everything around it. Dropped in this order: who asks before who answers.
#[derive(Debug)]
pub struct Rig {
    arbiter: Function,
    store: DynamoStore,
    counter: Counter,
    /// Ends when it is dropped.
    _engine: Engine,
    sandbox: Sandbox,
    registration: Registration,
    programs: PathBuf,
    seq: u64,
}

/// The moment, as everybody's wall clock says.
pub fn now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Rig {
    /// Starts everything, with the programs of this directory; nobody holds the lease yet.
    pub async fn start(size: Size, programs: PathBuf) -> Result<Self, Trouble> {
        let options = Options {
            nodes: NODES,
            addresses: size.addresses,
            route_tables: size.tables,
            ..Options::default()
        };
        let sandbox = Sandbox::start(&options, &mut |_| ())?;
        let engine = Engine::start();
        engine.create_table(TABLE).await;
        let counter = Counter::before(engine.endpoint().trim_start_matches("http://").to_owned()).await?;
        let store = DynamoStore::new(&engine.config().await, TABLE);
        let registration = registration(&sandbox)?;
        let arbiter = function(&sandbox, &counter, &programs, "baton-arbiter").await?;
        let mut rig =
            Self { arbiter, store, counter, _engine: engine, sandbox, registration, programs, seq: 1 };
        rig.register().await?;
        Ok(rig)
    }

    async fn register(&mut self) -> Result<(), Trouble> {
        self.store.register(&self.registration).await.map_err(said)?;
        for n in 0..NODES {
            let start = Start { at: now(), ..start(None, RUN) };
            self.store.start(&cluster(), self.node(n), &start).await.map_err(said)?;
        }
        self.beat(&[0, 1, 2], None).await
    }

    /// Another instance is node `n` from here on, as a member that the arbiter took in. Its agent starts and beats.
    pub async fn admit(&mut self, n: usize, member: Member) -> Result<(), Trouble> {
        self.registration.members[n] = member;
        let start = Start { at: now(), ..start(None, RUN) };
        self.store.start(&cluster(), self.node(n), &start).await.map_err(said)?;
        self.beat(&[n], None).await
    }

    /// Another run of the arbiter, with nothing opened yet.
    pub async fn start_cold(&mut self) -> Result<(), Trouble> {
        self.arbiter = function(&self.sandbox, &self.counter, &self.programs, "baton-arbiter").await?;
        Ok(())
    }

    /// The arbiter.
    pub fn arbiter(&self) -> &Function {
        &self.arbiter
    }

    /// The sandbox, for EC2's faults and for what the account's owner does.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The table.
    pub fn store(&self) -> &DynamoStore {
        &self.store
    }

    /// Where the table answers.
    pub fn table_endpoint(&self) -> &str {
        self.counter.endpoint()
    }

    /// The cluster's stack is updated: it is registered like this from now on.
    pub async fn reconfigure(&mut self, registration: Registration) -> Result<(), Trouble> {
        let lease = self.lease().await?;
        self.registration = Registration { at: now(), ..registration };
        self.registration.event.at = now();
        self.store.reconfigure(&self.registration, lease.holder.as_ref()).await.map_err(said)?;
        Ok(())
    }

    /// How many requests the functions have sent to the table.
    pub fn table_requests(&self) -> usize {
        self.counter.passed()
    }

    /// The instance of node `n`.
    pub fn node(&self, n: usize) -> &InstanceArn {
        &self.registration.members[n].instance
    }

    /// The number of the node that holds the lease.
    pub async fn holder(&self) -> Result<Option<usize>, Trouble> {
        let holder = self.lease().await?.holder;
        Ok(self.registration.members.iter().position(|member| Some(&member.instance) == holder.as_ref()))
    }

    /// The registration.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// The lease.
    pub async fn lease(&self) -> Result<Lease, Trouble> {
        self.store.lease(&cluster()).await.map_err(said)?.ok_or_else(|| "no lease".into())
    }

    /// The history, oldest first.
    pub async fn history(&self) -> Result<Vec<Event>, Trouble> {
        let mut rows = self.store.history(&cluster(), 500).await.map_err(said)?;
        rows.reverse();
        Ok(rows)
    }

    /// A heartbeat of each of these nodes; a claim goes with the last.
    pub async fn beat(&mut self, nodes: &[usize], claim: Option<Claim>) -> Result<(), Trouble> {
        self.beat_at(now(), nodes, claim).await
    }

    /// The last heartbeat of everybody is a minute old.
    pub async fn fall_silent(&mut self) -> Result<(), Trouble> {
        self.beat_at(WallTime(now().0 - 60_000), &[0, 1, 2], None).await
    }

    async fn beat_at(
        &mut self,
        beat_at: WallTime,
        nodes: &[usize],
        mut claim: Option<Claim>,
    ) -> Result<(), Trouble> {
        self.seq += 1;
        for n in nodes {
            let claim = if Some(n) == nodes.last() { claim.take() } else { None };
            let beat = Beat { claim, beat_at, ..beat(RUN, self.seq) };
            self.store.beat(&cluster(), self.node(*n), &beat).await.map_err(said)?;
        }
        Ok(())
    }

    /// Node `by` says that the holder has been silent since its heartbeat as it stands.
    pub async fn claim(&mut self, by: usize) -> Result<(), Trouble> {
        self.claim_at(now(), by).await
    }

    /// The same, and all that was a minute ago: nobody has beaten since.
    pub async fn claim_long_ago(&mut self, by: usize) -> Result<(), Trouble> {
        self.claim_at(WallTime(now().0 - 60_000), by).await
    }

    async fn claim_at(&mut self, at: WallTime, by: usize) -> Result<(), Trouble> {
        let lease = self.lease().await?;
        let holder = lease.holder.clone().ok_or("nobody holds")?;
        let found =
            self.store.heartbeat(&cluster(), &holder).await.map_err(said)?.ok_or("it has never beaten")?;
        let claim = Claim {
            epoch: lease.epoch,
            holder: holder.clone(),
            incarnation: found.incarnation,
            seq: found.seq,
            silent_ms: 6_000,
            at,
        };
        let others = (0..NODES).filter(|n| *n != by && *self.node(*n) != holder).chain([by]);
        let others: Vec<_> = others.collect();
        self.beat_at(at, &others, Some(claim)).await
    }

    /// The holder swears off the lease, as it does once its service is down.
    pub async fn release(&mut self) -> Result<(), Trouble> {
        let lease = self.lease().await?;
        let holder = lease.holder.ok_or("nobody holds")?;
        self.store.release(&cluster(), &holder, &run(RUN), lease.epoch).await.map_err(said)?;
        self.beat(&[0, 1, 2], None).await
    }

    /// Invokes the arbiter with an event.
    pub async fn send(&mut self, event: Value) -> Invoked {
        self.arbiter.invoke(event).await
    }

    /// Invokes it with a wake, from whoever sends such a one.
    pub async fn wake(&mut self, why: &str) -> Invoked {
        let source = match why {
            "claim" | "release" | "vacant" => "baton.agent",
            "request" => "baton.operator",
            _ => "baton.control-plane",
        };
        let detail = json!({ "cluster": "orders", "why": why, "schema_version": 1 });
        self.send(bus_event(source, "Wake", &detail)).await
    }

    /// Invokes the sweeper once.
    pub async fn sweep(&self) -> Result<Invoked, Trouble> {
        let mut sweeper = function(&self.sandbox, &self.counter, &self.programs, "baton-sweeper").await?;
        Ok(sweeper.invoke(bus_event("aws.events", "Scheduled Event", &json!({}))).await)
    }

    /// The last line with metrics in a function's log.
    pub fn metrics(&self, function: &str) -> Result<Value, Trouble> {
        let log = std::fs::read_to_string(self.sandbox.run_dir().join(format!("{function}.log")))?;
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.rfind(|line| line["_aws"].is_object()).unwrap_or_default())
    }

    /// Where everything is, in one line: the lease as the table has it, the rest as EC2 answers the account's owner.
    pub async fn picture(&self) -> Result<String, Trouble> {
        let lease = self.lease().await?;
        let name = |interface: Option<&str>| {
            let of = |member: &&Member| {
                let places = member.placements.values().map(|place| place.interface.as_str());
                places.chain([member.interface.as_str()]).any(|id| Some(id) == interface)
            };
            let member = self.registration.members.iter().find(of);
            member.map_or_else(|| interface.unwrap_or("-").to_owned(), |member| member.node.to_string())
        };
        let account = self.sandbox.account();
        let ours: Vec<_> =
            self.registration.resources.addresses.iter().map(|a| a.allocation.as_str()).collect();
        let addresses = account.addresses()?;
        let addresses = addresses.iter().filter(|seen| ours.contains(&seen.allocation.as_str()));
        let addresses: Vec<_> = addresses.map(|seen| name(seen.interface.as_deref())).collect();
        let routes = account.routes(&self.sandbox.world().destination)?;
        let routes: Vec<_> = routes.iter().map(|seen| name(seen.interface.as_deref())).collect();
        let holder = lease.holder.as_ref().map_or_else(|| "-".to_owned(), |holder| lease.name_of(holder));
        Ok(picture(&holder, lease.epoch, lease.moved, &addresses, &routes))
    }

    /// The picture of a cluster that is whole at node `n`.
    pub fn whole_at(&self, n: usize, epoch: u64) -> String {
        let name = self.registration.members[n].node.to_string();
        let resources = &self.registration.resources;
        let all = |count: usize| vec![name.clone(); count];
        let (addresses, routes) = (all(resources.addresses.len()), all(resources.routes.len()));
        picture(&name, Epoch(epoch), Epoch(epoch), &addresses, &routes)
    }
}

fn picture(holder: &str, epoch: Epoch, moved: Epoch, addresses: &[String], routes: &[String]) -> String {
    let addresses = addresses.join(" ");
    let routes = routes.join(" ");
    format!("{holder} holds epoch {epoch}, moved {moved}; addresses at {addresses}; routes at {routes}")
}

/// An event as EventBridge hands it over, of now.
pub fn bus_event(source: &str, detail_type: &str, detail: &Value) -> Value {
    let seconds = i64::try_from(now().0 / 1_000).unwrap_or_default();
    let time = jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default();
    json!({
        "version": "0", "id": format!("6a7e8feb-b491-4cf7-a9f1-{:012}", now().0 % 1_000_000_000_000),
        "account": "123456789012", "region": REGION, "time": time, "resources": [],
        "source": source, "detail-type": detail_type, "detail": detail,
    })
}

fn said(failure: impl std::fmt::Debug) -> Trouble {
    format!("the table: {failure:?}").into()
}

async fn function(
    sandbox: &Sandbox,
    counter: &Counter,
    programs: &std::path::Path,
    name: &str,
) -> Result<Function, Trouble> {
    let env = [
        ("AWS_ENDPOINT_URL", sandbox.ministack().endpoint()),
        ("AWS_ENDPOINT_URL_DYNAMODB", counter.endpoint().to_owned()),
        ("AWS_ENDPOINT_URL_EC2", sandbox.moto().endpoint()),
        ("AWS_ENDPOINT_URL_AUTO_SCALING", sandbox.moto().endpoint()),
        ("AWS_ENDPOINT_URL_STS", sandbox.moto().endpoint()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", ADMINISTRATOR.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR.to_owned()),
        ("BATON_TABLE", TABLE.to_owned()),
        ("BATON_BUS", "default".to_owned()),
        ("BATON_BRAKE_CLUSTERS", "5".to_owned()),
        ("RUST_LOG", "info".to_owned()),
    ];
    let env: BTreeMap<_, _> = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Function::start(&programs.join(name), &env, sandbox.run_dir().join(format!("{name}.log"))).await
}

/// Everything in the world, of one cluster. The first address goes to an instance's own interface and each further one to
/// one more, since moto knows no other private address than the first.
fn registration(sandbox: &Sandbox) -> Result<Registration, Trouble> {
    let world = sandbox.world();
    let mut members = Vec::new();
    for (n, instance) in world.instances.iter().enumerate() {
        let mut placements = BTreeMap::new();
        for (k, address) in world.addresses.iter().enumerate() {
            let place = if k == 0 {
                (instance.interface.clone(), instance.private_ip.clone())
            } else {
                further_interface(sandbox, &instance.subnet)?
            };
            let interface = InterfaceId::new(place.0)?;
            let private_ip: Ipv4Addr = place.1.parse()?;
            placements.insert(AllocationId::new(&address.allocation)?, Placement { interface, private_ip });
        }
        members.push(Member {
            node: NodeName::new(format!("node-{}", instance.name))?,
            instance: InstanceArn::new(instance.arn())?,
            zone: instance.zone.clone(),
            interface: InterfaceId::new(&instance.interface)?,
            placements,
            priority: u16::try_from(10 * (n + 1))?,
        });
    }
    let destination = Destination::new(&world.destination)?;
    let address = |found: &baton_sandbox::account::ElasticIp| -> Result<Address, Trouble> {
        Ok(Address { allocation: AllocationId::new(&found.allocation)?, public_ip: found.public_ip.parse()? })
    };
    let route = |table: &String| -> Result<Route, Trouble> {
        Ok(Route { table: RouteTableId::new(table)?, destination })
    };
    let what = Happening::Registered { revision: 1, summary: "made".to_owned() };
    Ok(Registration {
        cluster: cluster(),
        uid: uid(1),
        mode: Mode::Strict,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members,
        resources: Resources {
            addresses: world.addresses.iter().map(address).collect::<Result<_, _>>()?,
            routes: world.route_tables.iter().map(route).collect::<Result<_, _>>()?,
            ..Resources::default()
        },
        roster: None,
        made_from: None,
        at: now(),
        event: Event { cluster: cluster(), epoch: Epoch(0), at: now(), by: "registrar".to_owned(), what },
    })
}

fn further_interface(sandbox: &Sandbox, subnet: &str) -> Result<(String, String), Trouble> {
    let made = sandbox.account().call("ec2", "create_network_interface", &json!({ "SubnetId": subnet }))?;
    let text = |name: &str| made["NetworkInterface"][name].as_str().unwrap_or_default().to_owned();
    Ok((text("NetworkInterfaceId"), text("PrivateIpAddress")))
}
