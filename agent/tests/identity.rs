//! Who the node is, asked of a metadata service that answers, refuses, stays silent or is not there.

#[path = "support/metadata.rs"]
mod metadata;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use baton_agent::config::Imds;
use baton_agent::identity::{IdentityError, Metadata};
use baton_protocol::ids::InterfaceId;
use baton_protocol::node::Attached;
use baton_protocol::time::WallTime;
use metadata::{TOKEN, legacy, serve, service};
use tokio::net::TcpListener;

fn at(address: SocketAddr) -> Metadata {
    by(address, Imds::V2)
}

/// What answers has all the time it needs.
fn by(address: SocketAddr, version: Imds) -> Metadata {
    let (attempt, question) = (Duration::from_secs(40), Duration::from_secs(120));
    Metadata::at_within(&format!("http://{address}"), version, attempt, question).expect("a URL")
}

const INSTANCE: [(&str, &str); 5] = [
    ("meta-data/instance-id", "i-0123456789abcdef0"),
    ("meta-data/placement/region", "cn-north-1"),
    ("meta-data/placement/availability-zone", "cn-north-1a"),
    ("meta-data/services/partition", "aws-cn"),
    ("dynamic/instance-identity/document", r#"{"accountId" : "123456789012", "version" : "2017-09-30"}"#),
];

#[tokio::test]
async fn a_node_learns_its_arn_zone_and_region() {
    let identity = at(service(&INSTANCE).await).identity().await.expect("known");
    let expected = "arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-0123456789abcdef0";
    assert_eq!(identity.instance.as_str(), expected);
    assert_eq!((identity.region.as_str(), identity.zone.as_str()), ("cn-north-1", "cn-north-1a"));
}

#[tokio::test]
async fn the_addresses_of_all_interfaces_are_seen_once_and_in_order() {
    const MACS: &str = "meta-data/network/interfaces/macs/";
    let first = format!("{MACS}0a:00:00:00:00:01/public-ipv4s");
    let third = format!("{MACS}0a:00:00:00:00:03/public-ipv4s");
    let pages = [
        (MACS, "0a:00:00:00:00:01/\n0a:00:00:00:00:02/\n0a:00:00:00:00:03/"),
        (first.as_str(), "203.0.113.9\n203.0.113.7"),
        (third.as_str(), "203.0.113.7\n198.51.100.1"),
    ];
    let attached = at(service(&pages).await).attached(&BTreeSet::new()).await.expect("asked");
    let seen: BTreeSet<Ipv4Addr> = attached.into_iter().flat_map(|one| one.public_ips.into_keys()).collect();
    let expected = [[198, 51, 100, 1], [203, 0, 113, 7], [203, 0, 113, 9]].map(Ipv4Addr::from);
    assert_eq!(seen, BTreeSet::from(expected));
}

#[tokio::test]
async fn an_instance_without_a_public_address_sees_none() {
    let address = service(&[("meta-data/network/interfaces/macs/", "0a:00:00:00:00:01/")]);
    let attached = at(address.await).attached(&BTreeSet::new()).await.expect("asked");
    assert_eq!(attached, [Attached::default()]);
}

#[tokio::test]
async fn where_addresses_have_a_place_it_is_told_which_interface_and_which_private_address_they_stand_at() {
    const MACS: &str = "meta-data/network/interfaces/macs/";
    const MAC: &str = "meta-data/network/interfaces/macs/0a:00:00:00:00:01";
    let page = |name: &str| format!("{MAC}/{name}");
    let (public, local, id) = (page("public-ipv4s"), page("local-ipv4s"), page("interface-id"));
    let (behind, other) = (page("ipv4-associations/203.0.113.7"), page("ipv4-associations/203.0.113.9"));
    let pages = [
        (MACS, "0a:00:00:00:00:01/\n0a:00:00:00:00:02/"),
        (public.as_str(), "203.0.113.7\n203.0.113.9"),
        (local.as_str(), "10.0.1.10\n10.0.1.11"),
        (id.as_str(), "eni-00000001"),
        (behind.as_str(), "10.0.1.11"),
        (other.as_str(), "10.0.1.10"),
    ];
    let (ours, foreign) = (Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(203, 0, 113, 9));
    let (primary, secondary) = (Ipv4Addr::new(10, 0, 1, 10), Ipv4Addr::new(10, 0, 1, 11));
    let found = at(service(&pages).await).attached(&[ours].into()).await.expect("asked");
    let first = Attached {
        id: InterfaceId::new("eni-00000001").ok(),
        private_ips: Some([primary, secondary].into()),
        public_ips: [(ours, Some(secondary)), (foreign, None)].into(),
    };
    // Of the second one nothing is told.
    assert_eq!(found, [first.clone(), Attached::default()]);

    let many: String = (0..65).map(|n| format!("10.0.1.{n}\n")).collect();
    let endless: String = (0..65).map(|n| format!("0a:00:00:00:00:{n:02x}/\n")).collect();
    for (path, text) in [(public.as_str(), "<html>"), (&public, &many), (MACS, &endless)] {
        let odd = pages.map(|(known, good)| (known, if known == path { text } else { good }));
        let refused = at(service(&odd).await).attached(&[ours].into()).await.expect_err(path);
        assert!(matches!(refused, IdentityError::Malformed { .. }), "{path}: {refused}");
    }
    for (path, text) in [(id.as_str(), "eni"), (&local, &many), (&behind, "<html>")] {
        let odd = pages.map(|(known, good)| (known, if known == path { text } else { good }));
        let found = at(service(&odd).await).attached(&[ours].into()).await.expect(path);
        assert_eq!(found, [without(&first, path), Attached::default()], "{path}");
    }
}

/// What is seen of an interface that does not tell this.
fn without(attached: &Attached, path: &str) -> Attached {
    let mut found = attached.clone();
    if path.ends_with("/interface-id") {
        found.id = None;
    } else if path.ends_with("/local-ipv4s") {
        found.private_ips = None;
    } else {
        found.public_ips.values_mut().for_each(|behind| *behind = None);
    }
    found
}

#[tokio::test]
async fn what_a_host_refuses_to_tell_of_an_interface_takes_no_address_away() {
    const MACS: &str = "meta-data/network/interfaces/macs/";
    let ours = Ipv4Addr::new(203, 0, 113, 7);
    for status in ["400 Bad Request", "403 Forbidden", "500 Internal Server Error"] {
        let seen = |refuses: &'static str| async move {
            let host = serve(move |head| match head.split(' ').nth(1).unwrap_or_default() {
                path if path.ends_with("/api/token") => ("200 OK", TOKEN.to_owned()),
                path if path.ends_with(MACS) && refuses != MACS => {
                    ("200 OK", "0a:00:00:00:00:01/".to_owned())
                }
                path if path.ends_with("/public-ipv4s") && refuses != "/public-ipv4s" => {
                    ("200 OK", ours.to_string())
                }
                _ => (status, String::new()),
            });
            at(host.await).attached(&[ours].into()).await
        };
        let expected = Attached { public_ips: [(ours, None)].into(), ..Attached::default() };
        assert_eq!(seen("").await.expect(status), [expected]);
        for needed in [MACS, "/public-ipv4s"] {
            seen(needed).await.expect_err(needed);
        }
    }
}

#[tokio::test]
async fn what_is_announced_of_the_instances_end_is_found_on_each_of_its_pages() {
    const NOW: WallTime = WallTime(1_800_522_043_000);
    const SCHEDULED: &str = "meta-data/events/maintenance/scheduled";
    let reboot = r#"[{"Code":"system-reboot","NotBefore":"21 Jan 2027 09:00:43 GMT","State":"active"}]"#;
    for (page, text, told) in [
        (
            "meta-data/spot/instance-action",
            r#"{"action":"terminate","time":"soon"}"#,
            Some("Spot: terminate"),
        ),
        ("meta-data/autoscaling/target-lifecycle-state", "Terminated", Some("Auto Scaling")),
        ("meta-data/autoscaling/target-lifecycle-state", "InService", None),
        (SCHEDULED, reboot, Some("system-reboot")),
        (SCHEDULED, "[]", None),
        ("meta-data/instance-id", "i-0123456789abcdef0", None),
    ] {
        let found = at(service(&[(page, text)]).await).leaving(WallTime(0), NOW).await.expect("asked");
        assert_eq!(found.is_some(), told.is_some(), "{page}: {found:?}");
        assert!(found.unwrap_or_default().starts_with(told.unwrap_or_default()), "{page}");
    }
    let odd = at(service(&[(SCHEDULED, "<html>")]).await).leaving(WallTime(0), NOW).await;
    assert!(matches!(odd, Err(IdentityError::Malformed { .. })), "{odd:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_what_it_should_be_is_refused() {
    for (page, text) in [
        ("meta-data/instance-id", "<html>a captive portal</html>"),
        ("meta-data/placement/region", "EU West"),
        ("meta-data/services/partition", "aws:x"),
        ("dynamic/instance-identity/document", "{}"),
        ("dynamic/instance-identity/document", r#"{"accountId":"12"}"#),
    ] {
        let pages = INSTANCE.map(|(path, good)| if path == page { (path, text) } else { (path, good) });
        let refused = at(service(&pages).await).identity().await.expect_err(text);
        assert!(
            matches!(refused, IdentityError::Malformed { .. } | IdentityError::Arn(_)),
            "{text}: {refused}"
        );
    }
    let address = service(&[("meta-data/network/interfaces/macs/", "../../iam/")]);
    assert!(matches!(
        at(address.await).attached(&BTreeSet::new()).await,
        Err(IdentityError::Malformed { .. })
    ));
}

#[tokio::test]
async fn a_page_that_is_not_there_is_named() {
    let refused = at(service(&INSTANCE[..3]).await).identity().await.expect_err("no partition");
    let IdentityError::Missing { path } = refused else { panic!("{refused}") };
    assert_eq!(path, "meta-data/services/partition");
}

#[tokio::test]
async fn a_disabled_service_is_told_from_an_unreachable_one() {
    let disabled = serve(|_| ("403 Forbidden", String::new())).await;
    let refused = at(disabled).identity().await.expect_err("disabled");
    assert!(matches!(refused, IdentityError::Disabled { .. }), "{refused:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = listener.local_addr().expect("bound");
    drop(listener);
    let refused = at(nobody).identity().await.expect_err("nobody listens");
    assert!(matches!(refused, IdentityError::Unreachable { .. }), "{refused:?}");
}

#[tokio::test]
async fn silence_points_at_the_hop_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = listener.local_addr().expect("bound");
    let asked = Metadata::at(&format!("http://{silent}"), Imds::V2).expect("a URL");
    let refused = asked.identity().await.expect_err("silence");
    assert!(matches!(refused, IdentityError::Silent { .. }), "{refused:?}");
    assert!(refused.to_string().contains("http-put-response-hop-limit"), "{refused}");
    drop(listener);
}

#[tokio::test]
async fn a_host_that_gives_no_tokens_is_asked_by_version_1_where_that_is_chosen_and_not_otherwise() {
    for status in ["404 Not Found", "405 Method Not Allowed", "400 Bad Request"] {
        let address = legacy(status, &INSTANCE).await;
        let refused = at(address).identity().await.expect_err("nobody has chosen version 1");
        assert!(matches!(refused, IdentityError::NoTokens { .. }), "{refused:?}");
        assert!(refused.to_string().contains(r#"`imds = "v1"`"#), "{refused}");
        let chosen = by(address, Imds::V1);
        let identity = chosen.identity().await.expect("asked without a token");
        assert_eq!(identity.instance.instance_id().to_string(), "i-0123456789abcdef0");
        assert_eq!(chosen.leaving(WallTime(0), WallTime(1)).await.expect("asked"), None, "404 is no page");
    }
    // Who has no token to give at this moment may have one later.
    let refused =
        at(legacy("429 Too Many Requests", &INSTANCE).await).identity().await.expect_err("no token");
    assert!(matches!(refused, IdentityError::Status { status: 429, .. }), "{refused:?}");
    let refused =
        at(legacy("503 Service Unavailable", &INSTANCE).await).identity().await.expect_err("no token");
    assert!(matches!(refused, IdentityError::Status { status: 503, .. }), "{refused:?}");
    let refused = at(legacy("403 Forbidden", &INSTANCE).await).identity().await.expect_err("disabled");
    assert!(refused.to_string().contains(r#"`imds = "v1"`"#), "{refused}");
}

#[tokio::test]
async fn an_instance_that_wants_tokens_is_not_asked_by_version_1_for_ever() {
    let chosen = by(service(&INSTANCE).await, Imds::V1);
    let refused = chosen.identity().await.expect_err("it wants a token");
    assert!(matches!(refused, IdentityError::TokenWanted { .. }), "{refused:?}");
}

#[tokio::test]
async fn another_status_is_passed_on() {
    let odd = serve(|head| {
        if head.starts_with("PUT") {
            ("200 OK", TOKEN.to_owned())
        } else {
            ("418 I'm a teapot", String::new())
        }
    });
    let refused = at(odd.await).identity().await.expect_err("a teapot");
    assert!(matches!(refused, IdentityError::Status { status: 418, .. }), "{refused:?}");
}

#[test]
fn an_endpoint_that_is_no_url_is_refused() {
    let refused = Metadata::at("no url at all", Imds::V2).expect_err("not a URL");
    assert!(refused.to_string().contains("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "{refused}");
}
