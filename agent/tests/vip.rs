//! The virtual addresses in real network namespaces: what is added, what is removed, and what is left alone.

#[path = "support/namespace.rs"]
mod namespace;

use std::net::IpAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use baton_agent::clock;
use baton_agent::config::{OWN_INTERFACE, Vip};
use baton_agent::vip::{self, Keeper, Look, VipError, Wish};
use namespace::{in_namespace, ip};
use serde_json::Value;

fn vip(interface: &str, addresses: &[&str]) -> Vip {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    Vip { interface: interface.to_owned(), addresses }
}

fn both(interface: &str) -> Vip {
    vip(interface, &["10.9.0.1", "2001:db8::1"])
}

fn keeper(vip: &Vip, directory: &Path, wish: Wish) -> Keeper {
    let keeper = Keeper::new(vip.clone(), directory);
    keeper.wish(wish);
    keeper
}

/// An address as `ip` tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    local: String,
    prefix: u64,
    scope: String,
    nodad: bool,
    tentative: bool,
    deprecated: bool,
}

/// The addresses of an interface; none if there is no such interface.
fn addresses(interface: &str) -> Option<Vec<Told>> {
    let text = ip("-json address show");
    let links: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let link = links.into_iter().find(|link| link["ifname"] == interface)?;
    let told = |address: &Value| Told {
        local: address["local"].as_str().expect("an address").to_owned(),
        prefix: address["prefixlen"].as_u64().expect("a number"),
        scope: address["scope"].as_str().expect("a word").to_owned(),
        nodad: address["nodad"] == true,
        tentative: address["tentative"] == true,
        deprecated: address["deprecated"] == true,
    };
    Some(link["addr_info"].as_array().expect("a list").iter().map(told).collect())
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn addresses_are_added_to_an_interface_of_the_agents_own_and_removed_again() {
    in_namespace("addresses_are_added_to_an_interface_of_the_agents_own_and_removed_again", || {
        let (place, vip) = (place(), both(OWN_INTERFACE));
        let keeper = keeper(&vip, place.path(), Wish::Up);
        assert_eq!(addresses(OWN_INTERFACE), None, "no such interface yet");
        for _ in 0..2 {
            keeper.raise().expect("raised, once or again");
            let found = addresses(OWN_INTERFACE).expect("an interface");
            let four = found.iter().find(|address| address.local == "10.9.0.1").expect("it is there");
            assert_eq!((four.prefix, four.scope.as_str()), (32, "global"));
            let six = found.iter().find(|address| address.local == "2001:db8::1").expect("it is there");
            assert_eq!((six.prefix, six.scope.as_str()), (128, "global"));
            // Bound at once: without duplicate address detection nothing is tentative. And it is nobody's source unasked.
            assert!(six.nodad && !six.tentative && six.deprecated, "{six:?}");
        }
        std::net::TcpListener::bind("[2001:db8::1]:0").expect("bound at once");
        std::net::TcpListener::bind("10.9.0.1:0").expect("bound at once");
        assert_eq!(keeper.look(), Ok(Look::Well));
        keeper.wish(Wish::Down);
        for _ in 0..2 {
            keeper.lower().expect("lowered, once or again");
            let found = addresses(OWN_INTERFACE).expect("the interface stays");
            assert!(found.iter().all(|address| address.scope != "global"), "{found:?}");
        }
        assert_eq!(keeper.look(), Ok(Look::Well));
        assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 0, "nothing is remembered");
    });
}

#[test]
fn other_addresses_and_interfaces_are_left_alone() {
    in_namespace("other_addresses_and_interfaces_are_left_alone", || {
        ip("link add eth9 type bridge");
        ip("link set eth9 up");
        ip("addr add 192.0.2.7/24 dev eth9");
        ip("addr add 10.9.0.1/24 dev eth9");
        ip("addr add 2001:db8::7/64 dev eth9 nodad");
        ip("link add other type bridge");
        ip("link set other up");
        ip("addr add 10.9.0.1/32 dev other");
        ip("route add 198.51.100.0/24 dev eth9");
        let before = (ip("-o addr show dev eth9"), ip("-o addr show dev other"), ip("route"));
        let (place, vip) = (place(), both("eth9"));
        let keeper = keeper(&vip, place.path(), Wish::Up);
        keeper.raise().expect("raised");
        let raised = ip("-o addr show dev eth9");
        assert!(raised.contains("10.9.0.1/32") && raised.contains("2001:db8::1/128"), "{raised}");
        keeper.wish(Wish::Down);
        keeper.lower().expect("lowered");
        assert_eq!((ip("-o addr show dev eth9"), ip("-o addr show dev other"), ip("route")), before);
        assert_eq!(addresses(OWN_INTERFACE), None, "no interface was made");
    });
}

#[test]
fn a_named_interface_must_be_there_and_up_and_is_neither_made_nor_set_up() {
    in_namespace("a_named_interface_must_be_there_and_up_and_is_neither_made_nor_set_up", || {
        let (place, vip) = (place(), both("eth9"));
        let keeper = keeper(&vip, place.path(), Wish::Up);
        let missing = VipError::NoInterface("eth9".to_owned());
        assert_eq!(keeper.raise(), Err(missing.clone()));
        keeper.wish(Wish::Down);
        assert_eq!(keeper.look(), Err(missing), "a standby says so before it is needed");
        assert_eq!(keeper.lower(), Ok(()), "what is not there carries nothing");
        ip("link add eth9 type bridge");
        let down = VipError::Down("eth9".to_owned());
        assert_eq!(keeper.look(), Err(down.clone()));
        keeper.wish(Wish::Up);
        assert_eq!(keeper.raise(), Err(down.clone()));
        assert!(!ip("link show eth9").contains(",UP"));
        assert_eq!(addresses("eth9"), Some(Vec::new()));
        ip("link set eth9 up");
        keeper.raise().expect("raised");
        // It goes down under the addresses: those of IPv4 stay, and nothing reaches them.
        ip("link set eth9 down");
        assert_eq!(keeper.look(), Err(down));
    });
}

#[test]
fn what_somebody_removes_is_put_back_only_while_it_is_wanted() {
    in_namespace("what_somebody_removes_is_put_back_only_while_it_is_wanted", || {
        let (place, vip) = (place(), both(OWN_INTERFACE));
        let keeper = keeper(&vip, place.path(), Wish::Up);
        keeper.raise().expect("raised");
        let four: IpAddr = "10.9.0.1".parse().expect("an address");
        ip("addr del 10.9.0.1/32 dev baton0");
        assert_eq!(keeper.look(), Ok(Look::PutBack(vec![four])));
        assert_eq!(keeper.look(), Ok(Look::Well));
        // With its interface gone or down as well, which takes the address of IPv6 along.
        ip("link set baton0 down");
        assert!(matches!(keeper.look(), Ok(Look::PutBack(back)) if !back.contains(&four)));
        ip("link del baton0");
        assert_eq!(keeper.look(), Ok(Look::PutBack(vip.addresses.clone())));
        keeper.wish(Wish::AsItIs);
        ip("addr del 10.9.0.1/32 dev baton0");
        assert_eq!(keeper.look(), Ok(Look::LeftAlone));
        assert_eq!(
            addresses(OWN_INTERFACE).expect("it is there").iter().filter(|a| a.scope == "global").count(),
            1
        );
        keeper.wish(Wish::Down);
        ip("addr add 10.9.0.1/32 dev baton0");
        assert_eq!(keeper.look(), Ok(Look::TakenAway(vip.addresses.clone())), "a standby has none of them");
        assert_eq!(keeper.look(), Ok(Look::Well));
    });
}

#[test]
fn a_raise_that_was_overtaken_adds_nothing() {
    in_namespace("a_raise_that_was_overtaken_adds_nothing", || {
        let (place, vip) = (place(), both(OWN_INTERFACE));
        let keeper = keeper(&vip, place.path(), Wish::Up);
        for wish in [Wish::Down, Wish::AsItIs] {
            keeper.wish(wish);
            assert_eq!(keeper.raise(), Err(VipError::Overtaken));
        }
        // Nor does one that comes after the end of validity, nor the check.
        keeper.wish_up(Some(clock::boot()));
        assert_eq!((keeper.raise(), keeper.look()), (Err(VipError::Overtaken), Ok(Look::LeftAlone)));
        assert_eq!(addresses(OWN_INTERFACE), None);
        keeper.wish_up(Some(clock::boot() + Duration::from_secs(600)));
        keeper.raise().expect("raised");
        assert_eq!(keeper.lower(), Err(VipError::Overtaken));
        assert_eq!(keeper.look(), Ok(Look::Well));
    });
}

#[test]
fn addresses_of_another_configuration_are_removed() {
    in_namespace("addresses_of_another_configuration_are_removed", || {
        let place = place();
        let first = vip(OWN_INTERFACE, &["10.9.0.1", "10.9.0.2"]);
        keeper(&first, place.path(), Wish::Up).raise().expect("raised");
        // The next run has another address, and adopts the service.
        let second = vip(OWN_INTERFACE, &["10.9.0.2", "10.9.0.3"]);
        let adopting = keeper(&second, place.path(), Wish::Up);
        assert_eq!(adopting.look(), Ok(Look::PutBack(vec!["10.9.0.3".parse().expect("an address")])));
        let found: Vec<_> = addresses(OWN_INTERFACE).expect("there").into_iter().map(|a| a.local).collect();
        assert!(
            found.contains(&"10.9.0.2".to_owned()) && !found.contains(&"10.9.0.1".to_owned()),
            "{found:?}"
        );
        // The one after it has another interface, and the last one has none at all.
        ip("link add eth9 type bridge");
        ip("link set eth9 up");
        let third = vip("eth9", &["10.9.0.2"]);
        let moving = keeper(&third, place.path(), Wish::Up);
        assert_eq!(moving.look(), Ok(Look::PutBack(third.addresses.clone())));
        assert!(!ip("-o addr show dev baton0").contains("10.9."));
        assert_eq!(vip::clear(place.path()), Ok(third.addresses));
        assert!(!ip("-o addr show dev eth9").contains("10.9."));
        assert_eq!(vip::clear(place.path()), Ok(Vec::new()));
    });
}

#[test]
fn two_clusters_share_the_interface_and_not_the_addresses() {
    in_namespace("two_clusters_share_the_interface_and_not_the_addresses", || {
        let places = (place(), place());
        let one = keeper(&vip(OWN_INTERFACE, &["10.9.0.1"]), places.0.path(), Wish::Up);
        let two = keeper(&vip(OWN_INTERFACE, &["10.9.0.2"]), places.1.path(), Wish::Up);
        // Both at once, where neither has an interface yet.
        std::thread::scope(|scope| {
            let raising = [&one, &two].map(|keeper| scope.spawn(|| keeper.raise()));
            for raised in raising {
                raised.join().expect("no panic").expect("raised");
            }
        });
        one.wish(Wish::Down);
        one.lower().expect("lowered");
        let left = ip("-o addr show dev baton0");
        assert!(left.contains("10.9.0.2/32") && !left.contains("10.9.0.1/32"), "{left}");
        assert_eq!(two.look(), Ok(Look::Well));
    });
}

#[test]
fn without_its_capability_the_agent_says_so_and_how_to_get_it() {
    in_namespace("without_its_capability_the_agent_says_so_and_how_to_get_it", || {
        let (place, vip) = (place(), both(OWN_INTERFACE));
        let keeper = keeper(&vip, place.path(), Wish::Up);
        keeper.raise().expect("raised");
        let remedy = "it needs CAP_NET_ADMIN (`CapabilityBoundingSet=` of its unit)";
        let denied = |what: &str| format!("the kernel does not let this agent {what}: {remedy}");
        let add = denied("add 10.9.0.1 to `baton0`");
        assert_eq!(without_capability(place.path(), "up"), "", "to look is everybody's right");
        assert_eq!(without_capability(place.path(), "down"), denied("remove 10.9.0.1 from `baton0`"));
        ip("addr del 10.9.0.1/32 dev baton0");
        assert_eq!(without_capability(place.path(), "up"), add);
        ip("link set baton0 down");
        assert_eq!(without_capability(place.path(), "up"), denied("set `baton0` up"));
        ip("link del baton0");
        let make = denied("make the interface `baton0`");
        assert_eq!(without_capability(place.path(), "up"), make);
        assert_eq!(without_capability(place.path(), "down"), make, "a standby says so before it is needed");
    });
}

/// What a look says in a process of the same namespace that lacks the capability.
fn without_capability(place: &Path, wish: &str) -> String {
    let mut look = Command::new("setpriv");
    look.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    look.arg(std::env::current_exe().expect("this test"));
    look.args(["--exact", "a_look_for_other_tests"]);
    look.env("BATON_TEST_DIRECTORY", place).env("BATON_TEST_WISH", wish).stdout(Stdio::null());
    assert!(look.status().expect("`setpriv`, of util-linux").success());
    std::fs::read_to_string(place.join("said")).expect("written")
}

/// Not a test by itself: the process of the function above.
#[test]
fn a_look_for_other_tests() {
    let Some(place) = std::env::var_os("BATON_TEST_DIRECTORY").map(PathBuf::from) else { return };
    let down = std::env::var("BATON_TEST_WISH").expect("given") == "down";
    let keeper = keeper(&both(OWN_INTERFACE), &place, if down { Wish::Down } else { Wish::Up });
    let said = keeper.look().err().map(|error| error.to_string());
    std::fs::write(place.join("said"), said.unwrap_or_default()).expect("written");
}

#[test]
fn an_interface_without_ipv6_and_an_address_with_another_prefix_are_told_apart() {
    in_namespace("an_interface_without_ipv6_and_an_address_with_another_prefix_are_told_apart", || {
        ip("link add eth9 type bridge");
        ip("link set eth9 up");
        let place = place();
        let keeper = keeper(&vip("eth9", &["2001:db8::1"]), place.path(), Wish::Up);
        // An address of IPv6 can be on an interface once only, whatever its prefix.
        ip("addr add 2001:db8::1/64 dev eth9 nodad");
        let address = "2001:db8::1".parse().expect("an address");
        assert_eq!(keeper.raise(), Err(VipError::Unseen { address, interface: "eth9".to_owned() }));
        keeper.wish(Wish::Down);
        keeper.lower().expect("it is somebody else's");
        assert!(ip("-o addr show dev eth9").contains("2001:db8::1/64"));
        ip("addr del 2001:db8::1/64 dev eth9");
        std::fs::write("/proc/sys/net/ipv6/conf/eth9/disable_ipv6", "1").expect("as root of the namespace");
        keeper.wish(Wish::Up);
        assert_eq!(keeper.raise(), Err(VipError::NoIpv6("eth9".to_owned())));
    });
}

/// A service, its pid file, and a dead-man that finds no validity and so fires at once.
fn fired(place: &Path, through: &[&str]) -> (String, bool) {
    let mut service = Command::new("sleep").arg("600").process_group(0).spawn().expect("a service");
    let pid_file = place.join("service.pid");
    std::fs::write(&pid_file, service.id().to_string()).expect("written");
    let program = env!("CARGO_BIN_EXE_baton-deadman");
    let [first, rest @ ..] = &[through, &[program]].concat()[..] else { panic!("a program") };
    let mut dead_man = Command::new(first);
    dead_man.args(rest).arg(place).arg("--pid-file").arg(pid_file);
    dead_man.args(["--vip", OWN_INTERFACE, "10.9.0.1", "2001:db8::1"]).stdout(Stdio::null());
    assert_eq!(dead_man.status().expect("started").code(), Some(1), "it has fired");
    let killed = service.wait().expect("ours").signal() == Some(9);
    (std::fs::read_to_string(place.join("fired")).expect("written"), killed)
}

#[test]
fn a_dead_man_goes_by_its_arguments_where_nothing_else_can_be_read() {
    in_namespace("a_dead_man_goes_by_its_arguments_where_nothing_else_can_be_read", || {
        let (place, vip) = (place(), both(OWN_INTERFACE));
        keeper(&vip, place.path(), Wish::Up).raise().expect("raised");
        let (told, killed) = fired(place.path(), &[]);
        assert!(killed && told.contains("removed 10.9.0.1, 2001:db8::1"), "{told}");
        assert!(!ip("-o addr show dev baton0").contains("global"));
        let (told, killed) = fired(place.path(), &[]);
        assert!(killed && told.contains("there were no virtual addresses"), "{told}");
    });
}

#[test]
fn a_dead_man_that_may_not_remove_the_addresses_kills_the_service_all_the_same() {
    in_namespace("a_dead_man_that_may_not_remove_the_addresses_kills_the_service_all_the_same", || {
        let (place, vip) = (place(), both(OWN_INTERFACE));
        keeper(&vip, place.path(), Wish::Up).raise().expect("raised");
        let through = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
        let (told, killed) = fired(place.path(), &through);
        assert!(killed && told.contains("nothing is left") && told.contains("CAP_NET_ADMIN"), "{told}");
        assert!(ip("-o addr show dev baton0").contains("10.9.0.1/32"));
    });
}
