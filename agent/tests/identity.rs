//! Who the node is, asked of a metadata service that answers, refuses, stays silent or is not there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use baton_agent::config::Imds;
use baton_agent::identity::{IdentityError, Metadata};
use baton_protocol::time::WallTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "a-session-token";

/// A metadata service of a legacy host: it knows these pages, gives no token, and wants to hear of none.
async fn legacy(status: &'static str, pages: &[(&str, &str)]) -> SocketAddr {
    let pages: BTreeMap<String, String> =
        pages.iter().map(|(path, text)| (format!("/latest/{path}"), (*text).to_owned())).collect();
    serve(move |head| {
        if head.starts_with("PUT") || head.to_lowercase().contains("x-aws-ec2-metadata-token") {
            return (status, String::new());
        }
        match pages.get(head.split_whitespace().nth(1).unwrap_or_default()) {
            Some(text) => ("200 OK", text.clone()),
            None => ("404 Not Found", String::new()),
        }
    })
    .await
}

/// A metadata service that knows these pages and demands a session token, as IMDSv2 does.
async fn service(pages: &[(&str, &str)]) -> SocketAddr {
    let pages: BTreeMap<String, String> =
        pages.iter().map(|(path, text)| (format!("/latest/{path}"), (*text).to_owned())).collect();
    serve(move |head| {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if (method, path) == ("PUT", "/latest/api/token") {
            return ("200 OK", TOKEN.to_owned());
        }
        if !head.to_lowercase().contains(&format!("x-aws-ec2-metadata-token: {TOKEN}")) {
            return ("401 Unauthorized", String::new());
        }
        match pages.get(path) {
            Some(text) => ("200 OK", text.clone()),
            None => ("404 Not Found", String::new()),
        }
    })
    .await
}

/// Answers every request, several on one connection, with what `answer` makes of its head.
async fn serve(answer: impl Fn(&str) -> (&'static str, String) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answer.clone()));
        }
    });
    address
}

async fn converse(mut stream: TcpStream, answer: impl Fn(&str) -> (&'static str, String)) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
        }
        while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = received.drain(..end + 4).collect();
            let (status, body) = answer(&String::from_utf8_lossy(&head));
            let length = body.len();
            let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 21600";
            let text = format!("HTTP/1.1 {status}\r\n{ttl}\r\ncontent-length: {length}\r\n\r\n{body}");
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn at(address: SocketAddr) -> Metadata {
    Metadata::at(&format!("http://{address}"), Imds::V2).expect("a URL")
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
    let seen = at(service(&pages).await).seen().await.expect("asked");
    let expected = [[198, 51, 100, 1], [203, 0, 113, 7], [203, 0, 113, 9]].map(Ipv4Addr::from);
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_instance_without_a_public_address_sees_none() {
    let address = service(&[("meta-data/network/interfaces/macs/", "0a:00:00:00:00:01/")]);
    assert_eq!(at(address.await).seen().await.expect("asked"), [Ipv4Addr::UNSPECIFIED; 0]);
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
    assert!(matches!(at(address.await).seen().await, Err(IdentityError::Malformed { .. })));
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
    let refused = at(silent).identity().await.expect_err("silence");
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
        let chosen = Metadata::at(&format!("http://{address}"), Imds::V1).expect("a URL");
        let identity = chosen.identity().await.expect("asked without a token");
        assert_eq!(identity.instance.instance_id().to_string(), "i-0123456789abcdef0");
        assert_eq!(chosen.leaving(WallTime(0), WallTime(1)).await.expect("asked"), None, "404 is no page");
    }
    let refused = at(legacy("403 Forbidden", &INSTANCE).await).identity().await.expect_err("disabled");
    assert!(refused.to_string().contains(r#"`imds = "v1"`"#), "{refused}");
}

#[tokio::test]
async fn an_instance_that_wants_tokens_is_not_asked_by_version_1_for_ever() {
    let chosen = Metadata::at(&format!("http://{}", service(&INSTANCE).await), Imds::V1).expect("a URL");
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
