//! The virtual addresses of a node as a whole: a driver with its hooks, check and dead-man, in a network namespace.

#[path = "support/agent.rs"]
mod agent;
#[path = "support/namespace.rs"]
mod namespace;
mod support;

use std::path::{Path, PathBuf};

use agent::{Agent, eventually, place_for_an_agent};
use baton_agent::config::{OWN_INTERFACE, Probe, Service, Vip, When};
use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::Epoch;
use baton_protocol::lease::Mode;
use namespace::{in_a_node, in_namespace, ip};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::{Node, check, is_alive};

const FOUR: &str = "10.9.0.1/32";
const SIX: &str = "2001:db8::1/128";

fn vip(interface: &str) -> Vip {
    let addresses = ["10.9.0.1", "2001:db8::1"].map(|address| address.parse().expect("an address"));
    Vip { interface: interface.to_owned(), addresses: addresses.to_vec() }
}

/// What stands of the addresses in this namespace.
fn standing() -> usize {
    let all = ip("-oneline address show");
    usize::from(all.contains(FOUR)) + usize::from(all.contains(SIX))
}

async fn node(interface: &str) -> Node {
    let mut node = Node::new().await;
    node.vip = Some(vip(interface));
    node.checks.push(check("vip", When::Always, Probe::Vip));
    node
}

#[test]
fn addresses_are_there_before_the_service_starts_and_until_it_has_stopped_and_never_beyond_the_oath() {
    let test =
        "addresses_are_there_before_the_service_starts_and_until_it_has_stopped_and_never_beyond_the_oath";
    in_a_node(test, || async {
        let mut node = node(OWN_INTERFACE).await;
        let write = |name: &str| format!("ip -oneline address show > {}", node.path(name).display());
        (node.promote, node.demote) = (write("at-promote"), write("at-demote"));
        node.start();
        node.standby_beats();
        node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok)
            .await;
        assert!(node.read("at-promote").contains(FOUR) && node.read("at-promote").contains(SIX));
        // Somebody removes one, and then the interface.
        for removal in ["address del 10.9.0.1/32 dev baton0", "link del baton0"] {
            ip(removal);
            node.wait("they are put back", || standing() == 2).await;
        }
        node.stop().await;
        node.until("it has released", |beat| {
            assert!(beat.released == Epoch(0) || standing() == 0, "an oath over an address that stands");
            beat.released == Epoch(1)
        })
        .await;
        assert!(node.read("at-demote").contains(FOUR) && node.read("at-demote").contains(SIX));
        assert_eq!(node.read("hooks"), "promote\ndemote\n");
    });
}

#[test]
fn who_has_lost_the_lease_loses_the_addresses_beside_a_service_that_takes_its_time() {
    let test = "who_has_lost_the_lease_loses_the_addresses_beside_a_service_that_takes_its_time";
    in_a_node(test, || async {
        let mut node = node(OWN_INTERFACE).await;
        // It would remove them as well, at its next look.
        node.checks.clear();
        let (begun, go_on) = (node.path("begun"), node.path("go-on"));
        node.demote = format!(
            "test $BATON_REASON = start && exit; echo $$ > {0}.next; mv {0}.next {0}; until test -e {1}; do sleep 0.05; done",
            begun.display(),
            go_on.display()
        );
        node.start();
        node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
        assert_eq!(standing(), 2);
        node.depose().await;
        node.wait("the service is being stopped", || begun.exists()).await;
        let hook = node.read("begun").trim().parse().expect("an id");
        node.wait("the addresses are gone", || standing() == 0).await;
        assert!(is_alive(hook), "the hook had not ended by then");
        node.write("go-on", "");
        node.until("it stands by", |beat| beat.serving_epoch.is_none()).await;
        assert_eq!(standing(), 0);
    });
}

#[test]
fn a_node_that_cannot_have_the_addresses_does_not_serve_and_says_why() {
    let test = "a_node_that_cannot_have_the_addresses_does_not_serve_and_says_why";
    in_a_node(test, || async {
        let mut node = node("eth9").await;
        node.start();
        let beat =
            node.until("it is bad", |beat| beat.health == Health::Bad && beat.findings.is_some()).await;
        let failing = beat.findings.and_then(|findings| findings.failing).expect("told");
        assert!(failing.as_str().contains("there is no interface `eth9`"), "{failing}");
        node.wait("its promote has failed", || node.read("hooks").contains("demote")).await;
        assert!(!node.read("hooks").contains("promote"), "the service was not started without them");
        ip("link add eth9 type bridge");
        ip("link set eth9 up");
        node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok)
            .await;
        assert!(ip("-oneline address show dev eth9").contains(FOUR));
        assert!(!ip("-oneline link show").contains(OWN_INTERFACE), "no interface was made");
    });
}

#[test]
fn a_node_that_is_not_to_serve_removes_what_stands_and_one_that_stays_leaves_it() {
    let test = "a_node_that_is_not_to_serve_removes_what_stands_and_one_that_stays_leaves_it";
    in_a_node(test, || async {
        ip("link add baton0 type bridge");
        ip("link set baton0 up");
        ip("address add 10.9.0.1/32 dev baton0");
        ip("address add 192.0.2.7/24 dev baton0");
        let mut standby = node(OWN_INTERFACE).await;
        standby.depose().await;
        standby.start();
        standby.wait("it is removed", || standing() == 0).await;
        assert!(ip("address show dev baton0").contains("192.0.2.7/24"), "nobody else's");
        standby.stop().await;
        let mut holder = node(OWN_INTERFACE).await;
        holder.shutdown_stays = true;
        holder.start();
        holder.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
        holder.stop().await;
        assert_eq!((standing(), holder.read("hooks").as_str()), (2, "promote\n"));
    });
}

#[test]
fn what_stands_in_a_retired_cluster_is_left_as_it_is() {
    in_a_node("what_stands_in_a_retired_cluster_is_left_as_it_is", || async {
        let mut node = node(OWN_INTERFACE).await;
        node.start();
        let serving = |seq| {
            move |beat: &Heartbeat| {
                beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok && beat.seq.0 >= seq
            }
        };
        let beat = node.until("it serves", serving(0)).await;
        node.retire().await;
        // A read of the lease follows each heartbeat.
        let beat = node.until("it has read so", serving(beat.seq.0 + 3)).await;
        ip("address del 10.9.0.1/32 dev baton0");
        // The check looks several times between two heartbeats.
        node.until("it has looked", serving(beat.seq.0 + 3)).await;
        assert_eq!(standing(), 1, "nobody puts it back");
        node.stop().await;
        assert_eq!((standing(), node.read("hooks").as_str()), (1, "promote\n"), "nor takes the other away");
    });
}

/// Not a test by itself: the agent of the tests below. It serves as soon as it may, and tells which run does.
#[test]
fn an_agent_for_other_tests() {
    let Some(place) = std::env::var_os("BATON_TEST_DIRECTORY").map(PathBuf::from) else { return };
    let mode = if std::env::var_os("BATON_TEST_STRICT").is_some() { Mode::Strict } else { Mode::Available };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut node = Node::at(&place, mode).await;
        node.vip = Some(vip(OWN_INTERFACE));
        node.checks.push(check("vip", When::Always, Probe::Vip));
        node.service = Some(Service::PidFile(place.join("service.pid")));
        node.promote = format!(
            "sleep 600 > /dev/null 2>&1 & echo $! > {0}.next; mv {0}.next {0}",
            place.join("service.pid").display()
        );
        node.demote = format!("kill -9 $(cat {}); true", place.join("service.pid").display());
        node.start();
        loop {
            node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
            node.write(&format!("serves-{}", std::process::id()), "");
            std::future::pending::<()>().await;
        }
    });
}

fn service(place: &Path) -> i32 {
    let text = std::fs::read_to_string(place.join("service.pid")).expect("it was started");
    text.trim().parse().expect("an id")
}

#[test]
fn a_killed_agent_leaves_the_addresses_to_the_next_which_adopts_them_and_after_a_boot_removes_them() {
    let test =
        "a_killed_agent_leaves_the_addresses_to_the_next_which_adopts_them_and_after_a_boot_removes_them";
    in_namespace(test, || {
        let place = place_for_an_agent();
        let place = place.path();
        let serves = |agent: &Agent| {
            let told = place.join(format!("serves-{}", agent.id()));
            eventually("it serves", || told.exists());
        };
        let mut first = Agent::start(place, Mode::Available);
        serves(&first);
        assert_eq!(standing(), 2);
        let running = service(place);
        first.signal(Signal::SIGKILL);
        assert!(standing() == 2 && is_alive(running), "they go on without it");
        // What the next run would lose or add again would show in here.
        let addresses = ip("-oneline address show dev baton0");
        let second = Agent::start(place, Mode::Available);
        serves(&second);
        assert_eq!(ip("-oneline address show dev baton0"), addresses);
        assert_eq!((service(place), is_alive(running)), (running, true), "the same service");
        drop(second);
        assert_eq!(standing(), 2);
        // As after a boot, if a boot left addresses behind: nothing is known of a service that could be adopted.
        std::fs::remove_file(place.join("o/orders/state")).expect("removed");
        ip("link set baton0 down");
        ip("address add 192.0.2.7/24 dev baton0");
        let third = Agent::start(place, Mode::Available);
        eventually("the service of before is gone", || !is_alive(running));
        serves(&third);
        assert!(service(place) != running && standing() == 2, "it was granted anew, and promoted");
        assert!(ip("address show dev baton0").contains("192.0.2.7/24"), "nobody else's");
        let _ = nix::sys::signal::kill(Pid::from_raw(service(place)), Signal::SIGKILL);
    });
}

#[test]
fn the_dead_man_takes_the_addresses_of_a_frozen_agent_with_the_service() {
    let test = "the_dead_man_takes_the_addresses_of_a_frozen_agent_with_the_service";
    in_namespace(test, || {
        let place = place_for_an_agent();
        let place = place.path();
        let mut agent = Agent::start(place, Mode::Strict);
        let told = place.join(format!("serves-{}", agent.id()));
        eventually("it serves", || told.exists());
        assert_eq!(standing(), 2);
        ip("address add 192.0.2.7/24 dev baton0");
        let running = service(place);
        agent.signal(Signal::SIGSTOP);
        eventually("the addresses are gone", || standing() == 0);
        eventually("the service is gone", || !is_alive(running));
        assert!(ip("address show dev baton0").contains("192.0.2.7/24"), "nobody else's");
        let fired = || std::fs::read_to_string(place.join("o/orders/fired")).unwrap_or_default();
        eventually("it has told so", || fired().contains("removed 10.9.0.1, 2001:db8::1"));
        assert_eq!(standing(), 0, "and nothing puts them back while it is frozen");
        // It goes on where it was: fenced, and then granted what it still holds.
        agent.signal(Signal::SIGCONT);
        eventually("it serves again", || service(place) != running && standing() == 2);
        let _ = nix::sys::signal::kill(Pid::from_raw(service(place)), Signal::SIGKILL);
    });
}
