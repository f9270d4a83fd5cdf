//! The packet fence of a node as a whole: real traffic to a service that nobody stops, while the agent confirms its lease, is
//! frozen, is killed, or turns no more.

#[path = "support/agent.rs"]
mod agent;
#[path = "support/namespace.rs"]
mod namespace;
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::{Agent, eventually, place_for_an_agent};
use baton_agent::clock;
use baton_agent::config::{Fence, Need, Probe, Service, Traffic, When};
use baton_agent::packet_fence;
use baton_agent::status::Trouble;
use baton_agent::watchdog::Watchdog;
use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::{ClusterName, Epoch};
use baton_protocol::lease::Mode;
use baton_protocol::time::BootTime;
use namespace::{in_a_node, in_namespace, ip};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::{Node, check, is_alive};
use wire::{Elsewhere, nft, serve_echoes};

const SERVICE: &str = "192.0.2.1:7000";

fn fence(need: Need) -> Fence {
    Fence { need, traffic: Traffic { tcp: vec![7000], udp: vec![7000], ..Traffic::default() } }
}

/// A client of this node, and the service, which runs in the test and so goes on whatever becomes of the agent and of what the
/// dead-man stops.
fn client() -> Elsewhere {
    let client = Elsewhere::new();
    client.connect("eth9", "eth0");
    ip("address add 192.0.2.1/24 dev eth9");
    client.ip("address add 192.0.2.2/24 dev eth0");
    serve_echoes("0.0.0.0:7000");
    client
}

/// Not a test by itself: the agent of the tests below. It serves as soon as it may, and tells which run does. Where a file
/// `freeze` appears, the thread of its runtime turns no more.
#[test]
fn an_agent_for_other_tests() {
    let Some(place) = std::env::var_os("BATON_TEST_DIRECTORY").map(PathBuf::from) else { return };
    let mode = if std::env::var_os("BATON_TEST_STRICT").is_some() { Mode::Strict } else { Mode::Available };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut node = Node::at(&place, mode).await;
        let need =
            if std::env::var_os("BATON_TEST_AUTOMATIC").is_some() { Need::Automatic } else { Need::Required };
        node.fence = Some(fence(need));
        node.checks.push(check("fence", When::Always, Probe::Fence));
        node.shutdown_stays = true;
        if place.join("timeout").exists() {
            let required = !place.join("may-do-without").exists();
            node.watchdog = Some(Watchdog::at(&place.join("device"), &place, required));
        }
        node.service = Some(Service::PidFile(place.join("service.pid")));
        node.promote = format!(
            "sleep 600 > /dev/null 2>&1 & echo $! > {0}.next; mv {0}.next {0}",
            place.join("service.pid").display()
        );
        node.demote = format!("kill -9 $(cat {}); true", place.join("service.pid").display());
        node.start();
        let of_the_fence = |beat: &Heartbeat| {
            let findings = beat.findings.as_ref().filter(|_| beat.health == Health::Bad);
            findings
                .and_then(|findings| findings.failing.clone())
                .filter(|why| why.as_str().starts_with("fence: "))
        };
        if std::env::var_os("BATON_TEST_BAD").is_some() {
            let beat = node.until("it is bad", |beat| of_the_fence(beat).is_some()).await;
            node.wait("its promote has failed", || node.read("hooks").contains("demote")).await;
            node.write("bad", of_the_fence(&beat).expect("just seen").as_str());
            std::future::pending::<()>().await;
        }
        node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok)
            .await;
        node.write("troubles", &serde_json::to_string(&node.status().await.troubles).expect("JSON"));
        node.write(&format!("serves-{}", std::process::id()), "");
        loop {
            let freeze = place.join("freeze");
            let depose = place.join("depose");
            let stop = place.join("stop");
            node.wait_for_ever(|| freeze.exists() || depose.exists() || stop.exists()).await;
            if stop.exists() {
                node.stop().await;
                std::fs::remove_file(&stop).expect("ours");
                std::future::pending::<()>().await;
            }
            if depose.exists() {
                node.depose().await;
                std::fs::remove_file(&depose).expect("ours");
                continue;
            }
            std::fs::remove_file(&freeze).expect("ours");
            loop {
                std::thread::park();
            }
        }
    });
}

fn serves(place: &Path) -> impl Fn() -> bool {
    let place = place.to_owned();
    move || {
        let told = std::fs::read_dir(&place).expect("listed").flatten();
        let found: Vec<_> =
            told.filter(|entry| entry.file_name().to_string_lossy().starts_with("serves-")).collect();
        found.iter().for_each(|entry| std::fs::remove_file(entry.path()).expect("ours"));
        !found.is_empty()
    }
}

/// Until when the dead-man was told that the service may run.
fn validity(place: &Path) -> BootTime {
    let text = std::fs::read_to_string(place.join("o/orders/validity")).expect("armed");
    let validity: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    serde_json::from_value(validity["valid_until"].clone()).expect("a moment")
}

fn kill_service(place: &Path) {
    if let Ok(text) = std::fs::read_to_string(place.join("service.pid")) {
        let _ = nix::sys::signal::kill(Pid::from_raw(text.trim().parse().expect("an id")), Signal::SIGKILL);
    }
}

/// What holds an agent up ends its service's traffic with the validity, established flows too; and once it is gone on, or
/// another run has come, W and R let it pass again.
fn cut_and_resumed(hold_up: impl FnOnce(&Path, &mut Agent), go_on: impl FnOnce(&Path, Agent) -> Agent) {
    let client = client();
    let place = place_for_an_agent();
    let place = place.path();
    let orders = ClusterName::new("orders").expect("valid");
    // As the unit does at boot.
    assert_eq!(packet_fence::make(&orders, &fence(Need::Required).traffic), Ok(true));
    assert!(client.calls_in_vain(SERVICE), "after a boot nothing passes before W and R");
    let mut agent = Agent::start(place, Mode::Strict);
    eventually("it serves", serves(place));
    let mut call = client.call(SERVICE);
    // In a row, and longer than one validity lasts, so that it is the heartbeats that keep it open. Where the machine stands still
    // meanwhile, it is cut as it should be, or nobody comes to answer; then it begins anew.
    eventually("it passes on and on", || {
        let long = clock::boot() + Duration::from_secs(5);
        let mut passes = true;
        while passes && clock::boot() < long {
            passes = call.is_answered_soon() && client.asks_soon(SERVICE);
        }
        passes
    });
    hold_up(place, &mut agent);
    clock::block_until(validity(place) + Duration::from_millis(20)).expect("a timer");
    assert!(call.is_cut(), "an established flow is cut at the end of validity");
    assert!(client.calls_in_vain(SERVICE) && client.asks_in_vain(SERVICE));
    let _agent = go_on(place, agent);
    eventually("the same connection goes on", || call.is_answered());
    assert!(client.call(SERVICE).is_answered());
    kill_service(place);
}

/// The validity is told at each heartbeat; once nothing tells it any more, it stays as it is.
fn until_it_tells_nothing(place: &Path) {
    let mut before = validity(place);
    eventually("the agent tells nothing any more", || {
        clock::block_until(clock::boot() + Duration::from_millis(1_500)).expect("a timer");
        std::mem::replace(&mut before, validity(place)) == before
    });
}

#[test]
fn the_traffic_of_a_frozen_agent_is_cut_within_the_validity_and_passes_again_after_w_and_r() {
    let test = "the_traffic_of_a_frozen_agent_is_cut_within_the_validity_and_passes_again_after_w_and_r";
    in_namespace(test, || {
        let thaw = |_: &Path, mut agent: Agent| {
            agent.signal(Signal::SIGCONT);
            agent
        };
        cut_and_resumed(|_, agent| agent.signal(Signal::SIGSTOP), thaw);
    });
}

#[test]
fn the_traffic_of_a_killed_agent_is_cut_within_the_validity_and_passes_again_after_w_and_r() {
    let test = "the_traffic_of_a_killed_agent_is_cut_within_the_validity_and_passes_again_after_w_and_r";
    in_namespace(test, || {
        cut_and_resumed(
            |_, agent| agent.signal(Signal::SIGKILL),
            |place, _| Agent::start(place, Mode::Strict),
        );
    });
}

#[test]
fn the_traffic_of_an_agent_whose_runtime_is_frozen_is_cut_within_the_validity() {
    in_namespace("the_traffic_of_an_agent_whose_runtime_is_frozen_is_cut_within_the_validity", || {
        let freeze = |place: &Path, _: &mut Agent| {
            std::fs::write(place.join("freeze"), "").expect("written");
            eventually("it has seen so", || !place.join("freeze").exists());
            until_it_tells_nothing(place);
        };
        // As the watchdog of systemd does.
        let replace = |place: &Path, mut agent: Agent| {
            agent.signal(Signal::SIGKILL);
            Agent::start(place, Mode::Strict)
        };
        cut_and_resumed(freeze, replace);
    });
}

/// The clock that goes on in a suspension is far ahead of the one that does not, as after a suspension of weeks.
#[test]
fn a_machine_that_was_suspended_for_weeks_ends_what_has_ended() {
    in_namespace("a_machine_that_was_suspended_for_weeks_ends_what_has_ended", || {
        let (client, place) = (client(), place_for_an_agent());
        let place = place.path();
        let suspended = ["unshare", "--time", "--boottime", "3000000"];
        let mut agent = Agent::start_through(&suspended, place, Mode::Strict);
        eventually("it serves", serves(place));
        assert!(validity(place) > clock::boot() + Duration::from_secs(2_000_000), "by that clock");
        let mut call = client.call(SERVICE);
        assert!(call.is_answered());
        let text = std::fs::read_to_string(place.join("service.pid")).expect("started");
        let service = text.trim().parse().expect("an id");
        agent.signal(Signal::SIGSTOP);
        eventually("the dead-man has stopped the service", || !is_alive(service));
        assert!(call.is_cut() && client.calls_in_vain(SERVICE));
        agent.signal(Signal::SIGCONT);
        eventually("it passes again", || call.is_answered());
        kill_service(place);
    });
}

#[test]
fn who_has_lost_the_lease_is_cut_off_before_its_validity_ends() {
    in_namespace("who_has_lost_the_lease_is_cut_off_before_its_validity_ends", || {
        let (client, place) = (client(), place_for_an_agent());
        let place = place.path();
        let _agent = Agent::start(place, Mode::Strict);
        eventually("it serves", serves(place));
        let mut call = client.call(SERVICE);
        assert!(call.is_answered());
        // What ends by itself leaves its rule behind.
        let is_open = || nft("list chain inet baton_orders confirmed").contains("accept");
        assert!(is_open());
        std::fs::write(place.join("depose"), "").expect("written");
        eventually("it has lost the lease", || !place.join("depose").exists());
        eventually("the fence is closed", || !is_open());
        assert!(call.is_cut() && client.calls_in_vain(SERVICE));
        kill_service(place);
    });
}

#[test]
fn a_node_that_cannot_have_the_fence_it_needs_does_not_serve_and_says_why() {
    in_namespace("a_node_that_cannot_have_the_fence_it_needs_does_not_serve_and_says_why", || {
        let place = place_for_an_agent();
        let place = place.path();
        let through = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "env"];
        let needs = [&through[..], &["BATON_TEST_BAD=1"]].concat();
        let agent = Agent::start_through(&needs, place, Mode::Strict);
        let told = || std::fs::read_to_string(place.join("bad")).ok().filter(|why| !why.is_empty());
        eventually("it is bad", || told().is_some());
        let why = told().expect("just seen");
        assert!(why.contains("CAP_NET_ADMIN"), "{why}");
        let hooks = std::fs::read_to_string(place.join("hooks")).expect("written");
        assert!(!hooks.contains("promote"), "nothing was started without it: {hooks}");
        drop(agent);
        let does_without = [&through[..], &["BATON_TEST_AUTOMATIC=1"]].concat();
        let _agent = Agent::start_through(&does_without, place, Mode::Strict);
        eventually("it serves", serves(place));
        kill_service(place);
    });
}

/// What systemd is told is told by the loop: it kills an agent that is silent for `WatchdogSec=3`.
#[test]
fn systemd_hears_a_loop_that_turns_and_none_whose_thread_is_frozen() {
    in_namespace("systemd_hears_a_loop_that_turns_and_none_whose_thread_is_frozen", || {
        let place = place_for_an_agent();
        let place = place.path();
        let notified = UnixDatagram::bind(place.join("notify")).expect("bound");
        // Read all the time, as systemd does: a queue that is full blocks whoever notifies.
        let turns = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&turns);
        std::thread::spawn(move || {
            let mut text = [0; 512];
            while let Ok(length) = notified.recv(&mut text) {
                if text[..length].starts_with(b"WATCHDOG=1") {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let turned = || turns.load(Ordering::Relaxed);
        let socket = format!("NOTIFY_SOCKET={}", place.join("notify").display());
        let _agent = Agent::start_through(&["env", &socket], place, Mode::Strict);
        eventually("it serves", serves(place));
        let before = turned();
        eventually("the loop turns", || turned() >= before + 3);
        std::fs::write(place.join("freeze"), "").expect("written");
        eventually("it has seen so", || !place.join("freeze").exists());
        until_it_tells_nothing(place);
        // What it said before may be counted late.
        eventually("a frozen thread says nothing for as long as systemd waits", || {
            let last = turned();
            clock::block_until(clock::boot() + Duration::from_secs(3)).expect("a timer");
            turned() == last
        });
        kill_service(place);
    });
}

/// A file in place of the device, since a machine that is reset shows no test.
#[test]
fn a_watchdog_is_fed_while_the_lease_is_confirmed_and_by_no_agent_that_is_frozen() {
    in_namespace("a_watchdog_is_fed_while_the_lease_is_confirmed_and_by_no_agent_that_is_frozen", || {
        let place = place_for_an_agent();
        let place = place.path();
        for (name, text) in [("device", ""), ("timeout", "3\n"), ("nowayout", "0\n"), ("options", "0x8180\n")]
        {
            std::fs::write(place.join(name), text).expect("written");
        }
        let told = || std::fs::read_to_string(place.join("device")).expect("there");
        let mut agent = Agent::start(place, Mode::Strict);
        eventually("it serves", serves(place));
        let before = told().len();
        eventually("it is fed several times", || told().len() >= before + 5);
        agent.signal(Signal::SIGSTOP);
        let fed = told();
        clock::block_until(validity(place) + Duration::from_millis(750)).expect("a timer");
        assert_eq!(told(), fed, "the machine would have been reset by now");
        agent.signal(Signal::SIGCONT);
        eventually("it was closed, and is fed again after W and R", || told().contains("V1"));
        assert!(!told().contains("VV"));
        std::fs::write(place.join("stop"), "").expect("written");
        eventually("it has ended in order", || !place.join("stop").exists());
        assert!(told().ends_with('V'), "and left its service to the dead-man: {}", told());
        kill_service(place);
    });
}

#[test]
fn a_node_whose_watchdog_does_not_fit_serves_nothing_if_it_is_required() {
    in_namespace("a_node_whose_watchdog_does_not_fit_serves_nothing_if_it_is_required", || {
        let place = place_for_an_agent();
        let place = place.path();
        for (name, text) in [("device", ""), ("timeout", "60"), ("nowayout", "0"), ("options", "0x8180")] {
            std::fs::write(place.join(name), text).expect("written");
        }
        let _agent = Agent::start(place, Mode::Strict);
        let hooks = || std::fs::read_to_string(place.join("hooks")).unwrap_or_default();
        eventually("its promote has failed", || hooks().contains("demote"));
        assert!(!hooks().contains("promote"), "nothing was started without it");
        assert_eq!(std::fs::read_to_string(place.join("device")).expect("there"), "");
    });
}

#[test]
fn a_watchdog_that_does_not_fit_and_is_not_required_is_a_trouble_and_one_that_is_not_there_is_none() {
    let test =
        "a_watchdog_that_does_not_fit_and_is_not_required_is_a_trouble_and_one_that_is_not_there_is_none";
    in_namespace(test, || {
        let files = [("device", ""), ("timeout", "60"), ("nowayout", "0"), ("options", "0x8180")];
        for (missing, expected) in [("", Some("the watchdog counts down from 60 s")), ("nowayout", None)] {
            let place = place_for_an_agent();
            let place = place.path();
            std::fs::write(place.join("may-do-without"), "").expect("written");
            for (name, text) in files.iter().filter(|(name, _)| *name != missing) {
                std::fs::write(place.join(name), text).expect("written");
            }
            let _agent = Agent::start(place, Mode::Strict);
            eventually("it serves all the same", serves(place));
            let text = std::fs::read_to_string(place.join("troubles")).expect("written");
            let troubles: Vec<Trouble> = serde_json::from_str(&text).expect("JSON");
            let told = troubles.iter().find(|trouble| trouble.about == "watchdog");
            let begins = |trouble: &Trouble| expected.is_some_and(|begin| trouble.found.starts_with(begin));
            assert_eq!(told.is_some(), expected.is_some(), "{text}");
            assert!(told.is_none_or(begins), "{text}");
            kill_service(place);
        }
    });
}

#[test]
fn the_command_of_the_unit_closes_what_is_configured_and_removes_it_when_it_is_told_to() {
    let test = "the_command_of_the_unit_closes_what_is_configured_and_removes_it_when_it_is_told_to";
    in_namespace(test, || {
        let (client, place) = (client(), place_for_an_agent());
        let path = place.path().join("agent.toml");
        let text = "[cluster.orders.fence]\nnftables = \"required\"\ntcp = [7000]\n[cluster.other]\n";
        std::fs::write(&path, text).expect("written");
        let run = |arguments: &[&str]| {
            let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_baton-agent"));
            let output = agent.arg("--config").arg(&path).args(arguments).output().expect("it runs");
            (output.status.code(), String::from_utf8(output.stderr).expect("text"))
        };
        let mut call = client.call(SERVICE);
        let closed =
            "cluster orders: no traffic of the service passes until the agent has confirmed the lease\n";
        assert_eq!(run(&["fence"]), (Some(0), closed.to_owned()));
        assert!(call.is_cut() && client.calls_in_vain(SERVICE));
        let left = "cluster orders: the fence stands already, and is left as it is\n";
        assert_eq!(run(&["fence"]), (Some(0), left.to_owned()));
        // Though the configuration is gone.
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(run(&["fence"]).0, Some(78));
        assert_eq!(run(&["fence", "--remove"]), (Some(0), "removed baton_orders\n".to_owned()));
        eventually("it passes", || call.is_answered());
        assert_eq!(run(&["fence", "--remove"]), (Some(0), "there was no fence\n".to_owned()));
    });
}

#[test]
fn where_nothing_is_guarded_no_fence_stands_whatever_the_boot_has_left() {
    in_a_node("where_nothing_is_guarded_no_fence_stands_whatever_the_boot_has_left", || async {
        let client = client();
        let orders = ClusterName::new("orders").expect("valid");
        packet_fence::make(&orders, &fence(Need::Automatic).traffic).expect("made");
        assert!(client.calls_in_vain(SERVICE));
        let mut node = Node::new().await;
        node.fence = Some(fence(Need::Automatic));
        node.promote = format!("nft list tables > {}", node.path("at-promote").display());
        node.start();
        node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
        assert_eq!(node.read("at-promote"), "", "before the service starts");
        assert!(client.call(SERVICE).is_answered());
        node.stop().await;
        assert_eq!(nft("list tables"), "");
    });
}
