//! Nodes and their metadata, with a small script in the agent's place.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use baton_sandbox::{Imds, Node, Prober, Sandbox, http, prober, service_log};
use serde_json::{Value, json};
use support::{LIMIT, make_role, node_options, sandbox, until};

fn token(address: SocketAddr, ttl: &str) -> http::Response {
    let headers = [("X-aws-ec2-metadata-token-ttl-seconds", ttl)];
    http::request("PUT", address, "/latest/api/token", &headers, LIMIT).expect("answers")
}

fn read(address: SocketAddr, path: &str, token: &str) -> http::Response {
    let headers = [("X-aws-ec2-metadata-token", token)];
    http::request("GET", address, &format!("/latest/{path}"), &headers, LIMIT).expect("answers")
}

fn associate(sandbox: &Sandbox, node: usize) {
    let (account, world) = (sandbox.account(), sandbox.world());
    let request = json!({
        "AllocationId": world.addresses[0].allocation, "NetworkInterfaceId": world.instances[node].interface,
        "AllowReassociation": false,
    });
    account.call("ec2", "associate_address", &request).expect("associated");
}

#[test]
fn metadata_needs_a_token_and_honours_its_life() {
    let sandbox = sandbox();
    let imds = Imds::start(&sandbox, None).expect("starts");
    let address = imds.address(0);
    assert_eq!(http::get(address, "/latest/meta-data/instance-id", LIMIT).expect("answers").status, 401);
    assert_eq!(read(address, "meta-data/instance-id", "made-up").status, 401);
    assert_eq!(token(address, "").status, 400);
    assert_eq!(token(address, "21601").status, 400);
    // On a busy machine its life may be over before it is used.
    let mut short = String::new();
    until("a token that lives for a second", || {
        short = token(address, "1").body;
        read(address, "meta-data/instance-id", &short).body == sandbox.world().instances[0].id
    });
    until("the end of a token's life", || read(address, "meta-data/instance-id", &short).status == 401);
    let other = token(imds.address(1), "60").body;
    assert_eq!(read(address, "meta-data/instance-id", &other).status, 401, "a token of another node");
}

#[test]
fn metadata_of_a_legacy_host_gives_no_token_and_wants_none() {
    let sandbox = sandbox();
    let imds = Imds::start_legacy(&sandbox, None).expect("starts");
    let address = imds.address(0);
    assert_eq!(token(address, "600").status, 405);
    assert_eq!(read(address, "meta-data/instance-id", "made-up").status, 401);
    let plain = http::get(address, "/latest/meta-data/instance-id", LIMIT).expect("answers");
    assert_eq!((plain.status, plain.body), (200, sandbox.world().instances[0].id.clone()));
}

#[test]
fn metadata_shows_a_moved_address_where_it_is() {
    let sandbox = sandbox();
    let imds = Imds::start(&sandbox, None).expect("starts");
    let held: Vec<String> = (0..2).map(|node| token(imds.address(node), "600").body).collect();
    let get = |node: usize, path: &str| read(imds.address(node), path, &held[node]);
    let below =
        |node: usize| format!("meta-data/network/interfaces/macs/{}", get(node, "meta-data/mac").body);
    let public = sandbox.world().addresses[0].public_ip.clone();
    assert_eq!(get(0, &format!("{}/public-ipv4s", below(0))).status, 404, "no address yet");
    associate(&sandbox, 0);
    assert_eq!(get(0, &format!("{}/public-ipv4s", below(0))).body, public);
    let target = get(0, &format!("{}/ipv4-associations/{public}", below(0))).body;
    assert_eq!(target, sandbox.world().instances[0].private_ip);
    let seen = sandbox.account().addresses().expect("seen");
    let taken = json!({"AssociationId": seen[0].association});
    sandbox.account().call("ec2", "disassociate_address", &taken).expect("taken away");
    associate(&sandbox, 1);
    assert_eq!(get(0, &format!("{}/public-ipv4s", below(0))).status, 404);
    assert_eq!(get(1, &format!("{}/public-ipv4s", below(1))).body, public);
}

#[test]
fn metadata_describes_the_instance_and_shows_notices_only_while_there_are_any() {
    let sandbox = sandbox();
    let imds = Imds::start(&sandbox, None).expect("starts");
    let (address, held) = (imds.address(1), token(imds.address(1), "600").body);
    let get = |path: &str| read(address, path, &held);
    let me = &sandbox.world().instances[1];
    let mac = get("meta-data/mac").body;
    let below = format!("meta-data/network/interfaces/macs/{mac}");
    for (path, expected) in [
        ("meta-data/placement/availability-zone".to_owned(), me.zone.as_str()),
        ("meta-data/placement/availability-zone-id".to_owned(), "euw1-az2"),
        ("meta-data/placement/region".to_owned(), "eu-west-1"),
        ("meta-data/local-ipv4".to_owned(), &me.private_ip),
        ("meta-data/network/interfaces/macs/".to_owned(), &format!("{mac}/")),
        (format!("{below}/device-number"), "0"),
        (format!("{below}/interface-id"), &me.interface),
        (format!("{below}/local-ipv4s"), &me.private_ip),
        (format!("{below}/subnet-id"), &me.subnet),
        (format!("{below}/vpc-id"), &sandbox.world().vpc),
    ] {
        assert_eq!(get(&path).body, expected, "{path}");
    }
    let document: Value =
        serde_json::from_str(&get("dynamic/instance-identity/document").body).expect("JSON");
    assert_eq!(document["accountId"], baton_sandbox::ACCOUNT_ID);
    assert_eq!(document["instanceId"], me.id.as_str());
    assert_eq!(get("meta-data/iam/security-credentials/").status, 404, "no profile");
    assert_eq!(get("meta-data/spot/instance-action").status, 404);
    imds.notify(1, &[("spot/instance-action", r#"{"action":"terminate"}"#)]).expect("told");
    assert_eq!(get("meta-data/spot/instance-action").body, r#"{"action":"terminate"}"#);
    imds.notify(1, &[]).expect("taken back");
    assert_eq!(get("meta-data/spot/instance-action").status, 404);
}

#[test]
fn metadata_hands_out_credentials_of_the_role_under_the_instances_name() {
    let sandbox = sandbox();
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]});
    let role = make_role(sandbox.account(), "node", "ec2.amazonaws.com", &policy);
    let imds = Imds::start(&sandbox, Some(&role)).expect("starts");
    let (address, held) = (imds.address(0), token(imds.address(0), "600").body);
    assert_eq!(read(address, "meta-data/iam/security-credentials/", &held).body, "node");
    let got = read(address, "meta-data/iam/security-credentials/node", &held).body;
    let got: Value = serde_json::from_str(&got).expect("JSON");
    assert_eq!((&got["Code"], &got["Type"]), (&json!("Success"), &json!("AWS-HMAC")));
    let again = read(address, "meta-data/iam/security-credentials/node", &held).body;
    assert_eq!(serde_json::from_str::<Value>(&again).expect("JSON")["AccessKeyId"], got["AccessKeyId"]);
    let key = json!({"AccessKeyId": got["AccessKeyId"]});
    let account = sandbox.account().call("sts", "get_access_key_info", &key).expect("a known key");
    assert_eq!(account["Account"], baton_sandbox::ACCOUNT_ID);
}

fn serves(node: &Node) -> bool {
    http::get(node.service_address(), "/health", LIMIT).is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_killed_node_is_silent_at_once_and_the_next_does_not_overlap_with_it() {
    let sandbox = sandbox();
    let mut nodes = Node::all(&sandbox, &node_options(&sandbox, None)).expect("made");
    let prober = Prober::start(
        &nodes.iter().map(|node| (node.name().to_owned(), node.service_address())).collect::<Vec<_>>(),
    );
    nodes[0].start().expect("starts");
    until("node a serves", || prober.serving(Duration::from_millis(200)) == ["a"]);
    let killed = nodes[0].kill_all().expect("killed");
    assert!(killed >= 2, "agent and service, {killed} were killed");
    let length = nodes[0].service_log().expect("readable").len();
    assert!(!serves(&nodes[0]));
    nodes[1].start().expect("starts");
    until("node b serves", || prober.serving(Duration::from_millis(200)) == ["b"]);
    assert_eq!(nodes[0].service_log().expect("readable").len(), length, "it wrote after it was killed");
    let moments = nodes.iter().flat_map(|node| node.service_log().expect("readable")).collect::<Vec<_>>();
    let runs = service_log::no_overlap(&moments).expect("one after the other");
    assert_eq!(runs.iter().map(|run| run.node.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(runs.iter().all(|run| run.answered > 0), "{runs:?}");
    assert!(prober::longest_outage(&prober.stop()) > Duration::ZERO);
}

#[test]
fn two_nodes_that_serve_at_once_are_found_out() {
    let sandbox = sandbox();
    let mut nodes = Node::all(&sandbox, &node_options(&sandbox, None)).expect("made");
    for node in &mut nodes[..2] {
        node.start().expect("starts");
    }
    // The first has to answer once more after the second has begun.
    until("two that serve are found out", || {
        let both = nodes[..2].iter().all(serves);
        let moments = nodes.iter().flat_map(|node| node.service_log().expect("readable")).collect::<Vec<_>>();
        both && service_log::no_overlap(&moments).is_err()
    });
}

#[test]
fn a_service_outlives_its_killed_agent_and_ends_with_a_terminated_one() {
    let sandbox = sandbox();
    let mut nodes = Node::all(&sandbox, &node_options(&sandbox, None)).expect("made");
    let node = &mut nodes[0];
    assert!(node.freeze_agent().expect_err("not started").to_string().contains("start it first"));
    let promotions = |log: &Path| fs::read_to_string(log).unwrap_or_default().matches("promoted").count();
    node.start().expect("starts");
    until("the first promotion", || promotions(node.log()) == 1);
    node.kill_agent().expect("killed");
    assert_eq!(node.wait_for_end(LIMIT).expect("ended"), -9);
    assert!(serves(node), "the service ended with the agent");
    assert!(node.freeze_agent().is_err(), "there is no agent to freeze");
    node.start().expect("starts again");
    until("the second promotion", || promotions(node.log()) == 2);
    assert!(serves(node));
    node.sicken().expect("sick");
    assert!(!serves(node));
    node.heal().expect("well");
    assert!(serves(node));
    node.freeze_agent().expect("frozen");
    node.terminate().expect("asked");
    assert_eq!(node.agent_status().expect("known"), None, "a frozen agent cannot end");
    node.thaw().expect("thawed");
    assert_eq!(node.wait_for_end(LIMIT).expect("ended"), 0);
    assert!(!serves(node), "the service outlived the demote hook");
}

#[test]
fn an_agent_gets_its_endpoints_and_nothing_of_our_own_account() {
    let sandbox = sandbox();
    let mut nodes = Node::all(&sandbox, &node_options(&sandbox, None)).expect("made");
    nodes[0].start().expect("starts");
    until("the agent said its environment", || {
        fs::read_to_string(nodes[0].log()).is_ok_and(|text| text.contains("HOME"))
    });
    let said = fs::read_to_string(nodes[0].log()).expect("readable");
    for present in ["AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
        assert!(said.contains(present), "{said}");
    }
    for absent in
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET", "AWS_PROFILE", "AWS_REGION", "AWS_EC2_METADATA_DISABLED"]
    {
        assert!(!said.contains(absent), "{said}");
    }
}
