//! The agent as a program while it runs: what it says of itself, and a configuration that is read again.

#[path = "../../../agent/tests/support/namespace.rs"]
mod namespace;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_bench::passage::Asked;
use baton_bench::rig::{Rig, ended, named};
use baton_bench::table::patient;
use baton_protocol::ids::ClusterName;
use baton_sandbox::binaries::Binaries;
use baton_sandbox::{Moto, Venv};
use namespace::in_namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(40);

async fn until(rig: &Rig, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            if let Some(found) = rig.status().filter(&wanted) {
                return found;
            }
        }
    };
    match tokio::time::timeout(LIMIT, look).await {
        Ok(found) => found,
        Err(_) => panic!("in vain until {what}; last: {:?}; {}", rig.status(), rig.log()),
    }
}

/// What the agent has told systemd.
struct Notified(Arc<Mutex<String>>);

impl Notified {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bound");
        let told = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&told);
        // Read all the time, as systemd does. It ends with the test's process.
        std::thread::spawn(move || {
            let mut text = [0; 1024];
            while let Ok(length) = socket.recv(&mut text) {
                let mut kept = kept.lock().expect("nobody panics with it");
                kept.push_str(&String::from_utf8_lossy(&text[..length]));
                kept.push('\n');
            }
        });
        Self(told)
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().expect("nobody panics with it").contains(what)
    }

    async fn until(&self, what: &str) {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let told = async {
            while !self.has(what) {
                tick.tick().await;
            }
        };
        tokio::time::timeout(LIMIT, told).await.unwrap_or_else(|_| panic!("in vain until {what}"));
    }
}

/// What is valid and not put in force, with this in the reason.
async fn refused_for(rig: &Rig, what: &str) {
    let is_told =
        |status: &Value| status["configuration"]["refused"].as_str().is_some_and(|why| why.contains(what));
    until(rig, "another refusal", is_told).await;
}

/// The troubles of a cluster but those with calls, which come of a machine that stands still for a second.
fn hindrances(cluster: &Value) -> Vec<&str> {
    let troubles = cluster["troubles"].as_array().expect("a list");
    let about = troubles.iter().map(|trouble| trouble["about"].as_str().expect("text"));
    about.filter(|about| !["heartbeat", "lease", "wake", "metadata"].contains(about)).collect()
}

/// The checks of the first cluster, and what they have come to.
fn checks(status: &Value) -> Vec<[&Value; 2]> {
    let checks = status["clusters"][0]["checks"].as_array().expect("a list").iter();
    checks.map(|check| [&check["name"], &check["verdict"]]).collect()
}

fn tell(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("it runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_read_again_is_in_force_without_losing_the_service() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
    let (first, second) = (named("first", 0).expect("valid"), named("second", 0).expect("valid"));
    for cluster in [&first, &second] {
        rig.table.register(cluster, patient()).await.expect("registered");
    }
    let text = |parts: &[String]| format!("table = \"baton\"\n{}", parts.join("\n"));
    rig.configure(&text(&[rig.telling_cluster(&first, "web", "1s")])).expect("written");
    let notified = Notified::at(&rig.place().join("notify"));
    let agent = rig.run().expect("it starts");
    let pid = agent.id().expect("it runs");
    let hang_up = || tell(pid, Signal::SIGHUP);
    rig.table.grant(&first).await.expect("it serves");
    let before = until(&rig, "a confirmed heartbeat", |status| {
        status["clusters"][0]["validity_left_ms"].as_u64().is_some_and(|left| left > 2_000)
    });
    let before = before.await;
    let told = &before["clusters"][0];
    assert_eq!((&told["state"], &told["lease"]["mine"]), (&"serving".into(), &true.into()), "{before}");
    assert_eq!((&told["dead_man"]["armed"], &told["checks"][0]["name"]), (&true.into(), &"web".into()));
    assert_eq!((hindrances(told), &before["pid"]), (vec![], &pid.into()), "{before}");

    // What is refused changes nothing, and is told with its place.
    rig.configure(&text(&[rig.telling_cluster(&first, "web", "300ms")])).expect("written");
    hang_up();
    let refused = until(&rig, "a refusal", |status| {
        status["configuration"]["refused"].is_string() && status["clusters"][0].is_object()
    });
    let refused = refused.await;
    let why = refused["configuration"]["refused"].as_str().expect("told");
    assert!(why.contains("agent.toml:9:11: the timeout 400ms is not shorter"), "{why}");
    assert_eq!(checks(&refused), checks(&before));
    let elsewhere = rig.telling_cluster(&first, "web", "1s").replace("/run\"", "/elsewhere\"");
    rig.configure(&text(&[elsewhere])).expect("written");
    hang_up();
    refused_for(&rig, "runtime directory of the cluster `first-0` cannot be changed").await;
    let nowhere = rig.telling_cluster(&second, "web", "1s").replace("/run\"", "/agent.toml/run\"");
    rig.configure(&text(&[rig.telling_cluster(&first, "web", "1s"), nowhere])).expect("written");
    hang_up();
    refused_for(&rig, "/agent.toml/run/second-0 of the cluster `second-0`: ").await;

    // What is valid is in force: another check of the first cluster, and a second one beside it.
    let both = [rig.telling_cluster(&first, "app", "1s"), rig.telling_cluster(&second, "web", "1s")];
    rig.configure(&text(&both)).expect("written");
    hang_up();
    let after = until(&rig, "the new configuration", |status| {
        let clusters = &status["clusters"];
        clusters[0]["checks"][0]["name"] == "app"
            && clusters[1]["lease"]["member"] == true
            && clusters[0]["checks"][0]["verdict"] == "good"
    });
    let after = after.await;
    assert_eq!(after["configuration"]["refused"], Value::Null);
    let told = &after["clusters"][0];
    assert_eq!((&told["state"], &told["serving_epoch"]), (&"serving".into(), &1.into()), "{after}");
    assert_eq!(
        (rig.hooks().as_str(), &after["pid"]),
        ("promote\n", &pid.into()),
        "the service was not touched"
    );

    // A cluster that is not configured any more is ended in order; the other one is not touched.
    rig.configure(&text(&[rig.telling_cluster(&second, "web", "1s")])).expect("written");
    hang_up();
    // One that does not answer at once is not among those told of.
    let only_second = |status: &Value| {
        let clusters = &status["clusters"];
        clusters[0]["cluster"] == "second-0"
            && clusters[1].is_null()
            && status["silent"] == serde_json::json!([])
    };
    until(&rig, "one cluster", only_second).await;
    assert_eq!(rig.hooks(), "promote\ndemote\n");
    assert!(notified.has("WATCHDOG=1") && !notified.has("STOPPING=1"), "systemd would stop what goes on");
    ended(agent).await.expect("it ran until here");
}

/// A driver that ends for another configuration waits for its calls, and hears nothing any more meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_to_end_that_comes_while_a_driver_ends_for_another_configuration_is_not_lost() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
    let only = named("only", 0).expect("valid");
    rig.table.register(&only, patient()).await.expect("registered");
    let configure = |check: &str| {
        let text = format!("table = \"baton\"\n{}", rig.telling_cluster(&only, check, "1s"));
        rig.configure(&text).expect("written");
    };
    configure("web");
    let notified = Notified::at(&rig.place().join("notify"));
    let mut agent = rig.run().expect("it starts");
    let pid = agent.id().expect("it runs");
    rig.table.grant(&only).await.expect("it serves");
    let since = std::time::Instant::now();
    let log = || std::fs::read_to_string(rig.place().join("agent.log")).expect("written");
    configure("app");
    rig.passage.hold().await;
    tell(pid, Signal::SIGHUP);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let told = async {
        while !log().contains("asked to end") {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("its driver is told to end");
    tell(pid, Signal::SIGTERM);
    notified.until("STOPPING=1").await;
    rig.passage.let_pass();
    let ended = tokio::time::timeout(LIMIT, agent.wait()).await.expect("in time").expect("a status");
    assert!(ended.success(), "{ended}");
    assert_eq!(rig.hooks(), "promote\ndemote\n", "{}", rig.log());
    assert!(rig.passage.first_since(Asked::Release, since).is_some(), "it was handed over: {}", rig.log());
}

/// What the packet fence of a cluster lets pass: its table, as `nft` shows it; nothing where there is none.
fn fence_of(name: &ClusterName) -> String {
    let table = format!("baton_{}", name.as_str().replace('-', "_"));
    let said = Command::new("nft").args(["list", "table", "inet", &table]).output();
    String::from_utf8(said.expect("`nft`; install nftables").stdout).expect("text")
}

/// Each cluster's fence is of its own driver, and all of them change in one turn of the agent's loop.
#[test]
fn the_fences_of_two_clusters_change_places_and_go_in_one_reload_each_without_losing_a_service() {
    let test = "the_fences_of_two_clusters_change_places_and_go_in_one_reload_each_without_losing_a_service";
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    // Inside the namespace nothing can be downloaded.
    Venv::ensure().expect("what moto needs is installed");
    in_namespace(test, || {
        // Its threads are made in the namespace.
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
            let both = ["first", "second"].map(|name| named(name, 0).expect("valid"));
            let configure = |ports: Option<[u16; 2]>| {
                let of = |n: usize| {
                    let fence = |port| {
                        format!("[cluster.{}.fence]\nnftables = \"required\"\ntcp = [{port}]\n", both[n])
                    };
                    rig.telling_cluster(&both[n], "web", "1s")
                        + &ports.map(|ports| fence(ports[n])).unwrap_or_default()
                };
                rig.configure(&format!("table = \"baton\"\n{}{}", of(0), of(1))).expect("written");
            };
            let serving = |status: &Value| {
                let clusters = status["clusters"].as_array().expect("a list");
                let serves = |cluster: &Value| cluster["state"] == "serving" && cluster["health"] == "ok";
                clusters.len() == 2 && clusters.iter().all(serves)
            };
            let is_open = |n: usize, port: u16| {
                let table = fence_of(&both[n]);
                table.contains("accept") && table.contains(&port.to_string())
            };
            configure(Some([7001, 7002]));
            let agent = rig.run().expect("it starts");
            let pid = agent.id().expect("it runs");
            for cluster in &both {
                rig.table.register(cluster, patient()).await.expect("registered");
                let served = rig.table.grant(cluster).await;
                served.unwrap_or_else(|error| panic!("{error}: {:?}; {}", rig.status(), rig.log()));
            }
            let open = |status: &Value| serving(status) && is_open(0, 7001) && is_open(1, 7002);
            until(&rig, "both serve behind their fences", open).await;

            configure(Some([7002, 7001]));
            tell(pid, Signal::SIGHUP);
            let swapped = |status: &Value| serving(status) && is_open(0, 7002) && is_open(1, 7001);
            until(&rig, "each fence is the other's", swapped).await;
            assert!(!fence_of(&both[0]).contains("7001") && !fence_of(&both[1]).contains("7002"));

            configure(None);
            tell(pid, Signal::SIGHUP);
            let gone = |status: &Value| serving(status) && both.iter().all(|name| fence_of(name).is_empty());
            until(&rig, "both fences are gone", gone).await;

            configure(Some([7001, 7002]));
            tell(pid, Signal::SIGHUP);
            until(&rig, "both fences are there again", open).await;
            assert_eq!(rig.hooks(), "promote\npromote\n", "no service was touched");
            ended(agent).await.expect("it ran until here");
        });
    });
}
