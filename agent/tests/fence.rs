//! The packet fence in real network namespaces: what passes, what does not, and when that ends.

#[path = "support/namespace.rs"]
mod namespace;
#[path = "support/wire.rs"]
mod wire;

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_agent::clock;
use baton_agent::config::{Fence, Need, Traffic};
use baton_agent::packet_fence::{self, Applied, Keeper, Opening, Wish};
use baton_protocol::ids::ClusterName;
use namespace::{in_namespace, ip};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use wire::{Elsewhere, nft, serve_echoes};

fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).expect("valid")
}

/// A keeper of the fence of `orders`.
fn keeper(traffic: &Traffic) -> Keeper {
    Keeper::new(&cluster("orders"), Fence { need: Need::Required, traffic: traffic.clone() })
}

fn set(keeper: &Keeper, wish: Wish) -> Applied {
    keeper.wish(wish);
    keeper.apply().expect("applied")
}

fn for_a_minute() -> Wish {
    Wish::Open(clock::boot() + Duration::from_secs(60))
}

fn ports(tcp: &[u16], udp: &[u16]) -> Traffic {
    Traffic { tcp: tcp.to_vec(), udp: udp.to_vec(), ..Traffic::default() }
}

/// A client that is connected to this node, which has addresses of both families and a service at each of two ports.
fn client() -> Elsewhere {
    let client = Elsewhere::new();
    client.connect("eth9", "eth0");
    for (family, here, there) in [("-4", "192.0.2.1/24", "192.0.2.2/24"), ("-6", "fd00::1/64", "fd00::2/64")]
    {
        let nodad = if family == "-6" { "nodad" } else { "" };
        ip(&format!("{family} address add {here} dev eth9 {nodad}"));
        client.ip(&format!("{family} address add {there} dev eth0 {nodad}"));
    }
    serve_echoes("[::]:7000");
    serve_echoes("[::]:7001");
    client
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = clock::boot() + Duration::from_secs(40);
    while !look() {
        assert!(clock::boot() < deadline, "in vain until {what}");
    }
}

#[test]
fn service_traffic_is_cut_in_both_families_with_what_was_established_and_passes_again() {
    in_namespace(
        "service_traffic_is_cut_in_both_families_with_what_was_established_and_passes_again",
        || {
            let client = client();
            let keeper = keeper(&ports(&[7000], &[7000]));
            set(&keeper, for_a_minute());
            let services = ["192.0.2.1:7000", "[fd00::1]:7000"];
            let mut calls = services.map(|to| client.call(to));
            assert!(
                calls.iter_mut().all(|call| call.is_answered()) && services.iter().all(|to| client.asks(to))
            );
            set(&keeper, Wish::Closed);
            for (call, to) in calls.iter_mut().zip(services) {
                assert!(call.is_cut(), "{to}: what was established is cut");
                assert!(client.calls_in_vain(to) && client.asks_in_vain(to), "{to}: nothing new passes");
            }
            for other in ["192.0.2.1:7001", "[fd00::1]:7001"] {
                assert!(client.call(other).is_answered() && client.asks(other));
            }
            // What is looked at from the node itself is no client's.
            let here = std::net::TcpStream::connect("127.0.0.1:7000");
            assert!(here.is_ok() && std::net::TcpStream::connect("192.0.2.1:7000").is_ok());
            set(&keeper, for_a_minute());
            for (call, to) in calls.iter_mut().zip(services) {
                eventually("what was established goes on", || call.is_answered());
                assert!(client.call(to).is_answered() && client.asks(to));
            }
        },
    );
}

#[test]
fn nothing_leaves_a_service_that_sends_unasked() {
    in_namespace("nothing_leaves_a_service_that_sends_unasked", || {
        let client = client();
        let keeper = keeper(&ports(&[], &[7002]));
        let heard = client.within(|| std::net::UdpSocket::bind("192.0.2.2:9")).expect("bound");
        let patience = |length| heard.set_read_timeout(Some(length)).expect("longer than nothing");
        patience(Duration::from_millis(400));
        let service = std::net::UdpSocket::bind("192.0.2.1:7002").expect("bound");
        set(&keeper, Wish::Closed);
        let sent = service.send_to(b"1", "192.0.2.2:9");
        assert!(sent.is_err() || heard.recv(&mut [0; 8]).is_err(), "{sent:?}");
        set(&keeper, for_a_minute());
        patience(Duration::from_secs(40));
        service.send_to(b"2", "192.0.2.2:9").expect("sent");
        let mut word = [0; 8];
        assert_eq!((heard.recv(&mut word).expect("it arrives"), word[0]), (1, b'2'));
    });
}

#[test]
fn everything_to_and_from_an_address_is_cut_whoever_asks() {
    in_namespace("everything_to_and_from_an_address_is_cut_whoever_asks", || {
        let client = client();
        ip("address add 10.9.0.1/32 dev lo");
        client.ip("route add 10.9.0.1/32 via 192.0.2.1");
        let addresses: Vec<IpAddr> = vec!["10.9.0.1".parse().expect("an address")];
        let keeper = keeper(&Traffic { addresses, ..Traffic::default() });
        set(&keeper, for_a_minute());
        let mut call = client.call("10.9.0.1:7000");
        assert!(call.is_answered() && client.asks("10.9.0.1:7001"));
        set(&keeper, Wish::Closed);
        assert!(call.is_cut() && client.calls_in_vain("10.9.0.1:7001"));
        let to = "10.9.0.1:7000".parse().expect("an address");
        let own = std::net::TcpStream::connect_timeout(&to, Duration::from_millis(200));
        assert!(own.is_err(), "the address may be another node's by now");
        assert!(client.call("192.0.2.1:7000").is_answered());
    });
}

#[test]
fn what_is_forwarded_is_cut_with_what_was_established() {
    in_namespace("what_is_forwarded_is_cut_with_what_was_established", || {
        let (client, server) = (Elsewhere::new(), Elsewhere::new());
        for (there, wire, net) in [(&client, "wire1", "192.0.2"), (&server, "wire2", "198.51.100")] {
            there.connect(wire, "eth0");
            ip(&format!("address add {net}.1/24 dev {wire}"));
            there.ip(&format!("address add {net}.2/24 dev eth0"));
            there.ip(&format!("route add default via {net}.1"));
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("this namespace's own");
        server.within(|| serve_echoes("0.0.0.0:7000"));
        for interface in ["wire1", "wire2"] {
            let keeper = keeper(&Traffic { forward: vec![interface.to_owned()], ..Traffic::default() });
            set(&keeper, for_a_minute());
            let mut call = client.call("198.51.100.2:7000");
            assert!(call.is_answered());
            set(&keeper, Wish::Closed);
            assert!(call.is_cut() && client.calls_in_vain("198.51.100.2:7000"), "{interface}");
            set(&keeper, for_a_minute());
            eventually("what was established goes on", || call.is_answered());
        }
    });
}

/// Nanoseconds since 1970, so much from now.
fn by_the_wall(from_now: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from((now + from_now).as_nanos()).expect("not for long yet")
}

/// Where the kernel's count stands still, as it does while the machine is suspended, or begins late, since the agent was frozen
/// before it asked, the wall clock ends it; and where the wall clock was set back, the kernel's count.
#[test]
fn each_of_the_two_clocks_ends_it_without_the_other_and_without_the_agent() {
    in_namespace("each_of_the_two_clocks_ends_it_without_the_other_and_without_the_agent", || {
        let client = client();
        let keeper = keeper(&ports(&[7000], &[]));
        set(&keeper, for_a_minute());
        let mut call = client.call("192.0.2.1:7000");
        let (short, long) = (Duration::from_millis(700), Duration::from_secs(600));
        for (lasts, wall) in [(short, long), (long, short), (short, short)] {
            let opening = Opening { lasts, until: by_the_wall(wall) };
            packet_fence::let_pass(&cluster("orders"), opening).expect("told");
            // Both have begun by now.
            let end = clock::boot() + short;
            clock::block_until(end + Duration::from_millis(50)).expect("a timer");
            assert!(call.is_cut(), "it is over: {lasts:?} {wall:?}");
            assert!(client.calls_in_vain("192.0.2.1:7000"), "{lasts:?} {wall:?}");
            set(&keeper, Wish::Closed);
            set(&keeper, for_a_minute());
            eventually("it passes again", || call.is_answered());
        }
        let opening = Opening { lasts: long, until: by_the_wall(long) };
        packet_fence::let_pass(&cluster("orders"), opening).expect("told");
        assert!(call.is_answered(), "while neither has ended");
    });
}

#[test]
fn an_end_that_has_passed_opens_nothing_and_a_later_end_replaces_an_earlier() {
    in_namespace("an_end_that_has_passed_opens_nothing_and_a_later_end_replaces_an_earlier", || {
        let client = client();
        let keeper = keeper(&ports(&[7000], &[]));
        set(&keeper, Wish::Open(clock::boot()));
        assert!(client.calls_in_vain("192.0.2.1:7000"));
        let first = clock::boot() + Duration::from_millis(500);
        set(&keeper, Wish::Open(first));
        set(&keeper, for_a_minute());
        clock::block_until(first + Duration::from_millis(50)).expect("a timer");
        assert!(client.call("192.0.2.1:7000").is_answered());
        set(&keeper, Wish::Open(clock::boot()));
        assert!(client.calls_in_vain("192.0.2.1:7000"));
    });
}

#[test]
fn a_fence_that_stands_is_left_at_boot_and_replaced_at_one_moment_by_the_next_run() {
    in_namespace("a_fence_that_stands_is_left_at_boot_and_replaced_at_one_moment_by_the_next_run", || {
        let client = client();
        let orders = cluster("orders");
        assert_eq!(packet_fence::make(&orders, &ports(&[7000], &[])), Ok(true));
        assert!(client.calls_in_vain("192.0.2.1:7000"), "closed from the first moment");
        let first = keeper(&ports(&[7000], &[]));
        set(&first, for_a_minute());
        let mut call = client.call("192.0.2.1:7000");
        assert_eq!(packet_fence::make(&orders, &ports(&[7000], &[])), Ok(false));
        assert!(call.is_answered(), "whoever starts the unit again cuts nothing");
        // The next run of the agent has another configuration.
        let second = keeper(&ports(&[7001], &[]));
        assert_eq!(set(&second, for_a_minute()), Applied::Well);
        assert!(call.is_answered());
        set(&second, Wish::Closed);
        assert!(call.is_answered(), "not the service's any more");
        assert!(client.calls_in_vain("192.0.2.1:7001"));
        set(&second, Wish::Lifted);
        assert!(client.call("192.0.2.1:7001").is_answered() && nft("list tables").is_empty());
        set(&second, Wish::Closed);
        assert!(client.calls_in_vain("192.0.2.1:7001"));
    });
}

#[test]
fn a_fence_that_somebody_removed_is_put_back_and_other_tables_are_left_alone() {
    in_namespace("a_fence_that_somebody_removed_is_put_back_and_other_tables_are_left_alone", || {
        nft("add table inet other");
        nft("add table ip baton_orders");
        let keeper = keeper(&ports(&[7000], &[]));
        for wish in [for_a_minute(), Wish::Closed] {
            assert_eq!(set(&keeper, wish), Applied::Well);
            nft("delete table inet baton_orders");
            assert_eq!(keeper.apply(), Ok(Applied::PutBack));
            assert!(nft("list table inet baton_orders").contains("tcp dport @tcp drop"));
        }
        packet_fence::make(&cluster("gone-1"), &ports(&[1], &[])).expect("made");
        let (orders, strays) = (cluster("orders"), ["baton_gone_1".to_owned()]);
        assert_eq!(packet_fence::remove_all_but([&orders].into_iter()).expect("removed"), strays);
        assert_eq!(nft("list tables"), "table inet other\ntable ip baton_orders\ntable inet baton_orders\n");
        packet_fence::remove_all_but(std::iter::empty()).expect("removed");
        assert_eq!(nft("list tables"), "table inet other\ntable ip baton_orders\n");
    });
}

#[test]
fn the_table_reads_as_it_is_documented() {
    in_namespace("the_table_reads_as_it_is_documented", || {
        let addresses = ["10.9.0.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        let forward = vec!["eth1".to_owned()];
        let traffic = Traffic { addresses: addresses.to_vec(), forward, ..ports(&[80, 443], &[53]) };
        set(&keeper(&traffic), for_a_minute());
        let table = nft("list table inet baton_orders");
        for line in [
            "meta nfproto @confirmed jump confirmed",
            "type filter hook input priority raw - 10; policy accept;",
            "type filter hook output priority raw - 10; policy accept;",
            "type filter hook forward priority raw - 10; policy accept;",
            "ip daddr @addresses4 drop",
            "ip6 saddr @addresses6 drop",
            "iifname \"lo\" accept",
            "tcp dport @tcp drop",
            "udp sport @udp drop",
            "oifname @interfaces drop",
            "elements = { 10.9.0.1 }",
            "elements = { 2001:db8::1 }",
            "elements = { 80, 443 }",
            "elements = { \"eth1\" }",
        ] {
            assert!(table.contains(line), "{line}: {table}");
        }
        assert!(table.contains("ipv4 timeout ") && table.contains("meta time < \"20"), "{table}");
    });
}

#[test]
fn a_heartbeat_costs_the_agent_less_than_a_millisecond_of_processor_time() {
    in_namespace("a_heartbeat_costs_the_agent_less_than_a_millisecond_of_processor_time", || {
        let keeper = keeper(&ports(&[7000], &[7000]));
        let used = || {
            let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("of this thread");
            usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
        };
        set(&keeper, for_a_minute());
        let before = used();
        for _ in 0..100 {
            set(&keeper, for_a_minute());
        }
        let each = (used() - before) / 100;
        assert!(each < 1_000, "{each} µs");
    });
}

#[test]
fn an_agent_without_the_right_says_which() {
    in_namespace("an_agent_without_the_right_says_which", || {
        let mut look = Command::new("setpriv");
        look.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
        look.arg(std::env::current_exe().expect("this test"));
        look.args(["--exact", "a_look_for_other_tests"]).env("BATON_TEST_LOOK", "1").stdout(Stdio::null());
        assert!(look.status().expect("`setpriv`, of util-linux").success());
    });
}

/// Not a test by itself: what the one above does without the right.
#[test]
fn a_look_for_other_tests() {
    if std::env::var_os("BATON_TEST_LOOK").is_some() {
        let keeper = keeper(&ports(&[7000], &[]));
        keeper.wish(Wish::Closed);
        let refused = keeper.apply().expect_err("refused");
        assert!(refused.is_of_the_machine() && refused.to_string().contains("CAP_NET_ADMIN"), "{refused}");
        assert_eq!(packet_fence::remove_all_but(std::iter::empty()), Ok(Vec::new()), "nor can there be one");
    }
}
