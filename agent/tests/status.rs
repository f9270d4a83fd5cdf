//! What a driver answers when it is asked for its status.

#[path = "support/metadata.rs"]
mod metadata;
mod support;

use std::time::Duration;

use baton_agent::check::debounce::Verdict;
use baton_agent::config::When;
use baton_agent::status::{ClusterStatus, State};
use baton_protocol::findings::Hook;
use baton_protocol::ids::Epoch;
use metadata::serve;
use support::{Node, check, script};

#[tokio::test]
async fn a_driver_tells_what_it_does_what_its_checks_say_and_which_hook_runs() {
    let mut node = Node::new().await;
    node.write("well", "");
    let well = node.path("well");
    node.checks.push(check(
        "app",
        When::Serving,
        script(&format!("echo looked; test -e {}", well.display())),
    ));
    let go_on = node.path("go-on").display().to_string();
    node.promote = format!("until test -e {go_on}; do sleep 0.02; done");
    node.start();
    node.standby_beats();
    let starting =
        node.until_status("it starts", |status| status.hook.is_some() && status.state == State::Starting);
    let starting = starting.await;
    assert_eq!(starting.hook.expect("a hook").hook, "promote");
    assert!(!starting.checks[0].running, "the checks of the service rest meanwhile");
    node.write("go-on", "");
    let serving = node.until_status("it serves", |status| {
        status.state == State::Serving && status.checks[0].verdict == Verdict::Good
    });
    let serving = serving.await;
    assert_eq!((serving.serving_epoch, serving.checks[0].output.as_str()), (Some(Epoch(1)), "looked"));
    let lease = serving.lease.expect("read");
    assert_eq!(
        (lease.holder.as_deref(), lease.mine, lease.mode.as_str()),
        (Some("node-1"), true, "available")
    );
    assert!(
        serving.confirmed_ms_ago.is_some() && serving.validity_left_ms.is_none() && serving.hook.is_none()
    );
    // Nobody answers as the metadata service in this test.
    let abouts: Vec<_> = serving.troubles.iter().map(|trouble| trouble.about.as_str()).collect();
    assert!(abouts.iter().all(|about| *about == "metadata"), "{abouts:?}");
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_with_the_way_out_until_it_does_so_no_more() {
    let mut node = Node::new().await;
    let broken = node.path("broken").display().to_string();
    node.write("broken", "");
    node.promote = format!("test ! -e {broken} || {{ echo looking; echo no licence; exit 1; }}");
    node.start();
    let failed = node.until_status("the hook has failed", |status| {
        status.troubles.iter().any(|trouble| trouble.about == "promote")
    });
    let failed = failed.await;
    let trouble = failed.troubles.iter().find(|trouble| trouble.about == "promote").expect("told");
    assert!(trouble.found.starts_with("promote hook failed with exit code 1"), "{trouble:?}");
    assert!(trouble.remedy.contains("tried again every 5 s"), "{trouble:?}");
    // The others see it as well, with what the hook wrote.
    let told = node.until("the heartbeat tells of it", |beat| {
        beat.findings.as_ref().is_some_and(|findings| findings.failing.is_some())
    });
    let findings = told.await.findings.expect("told");
    let (failing, hook) = (findings.failing.expect("told"), findings.hook.expect("told while it is news"));
    assert!(failing.as_str().ends_with(" ms: no licence"), "{failing}");
    assert_eq!(
        (hook.hook, hook.epoch, hook.output.as_str()),
        (Hook::Promote, Epoch(1), "looking\nno licence")
    );
    node.remove("broken");
    node.until_status("it serves", |status| {
        status.state == State::Serving && status.troubles.iter().all(|trouble| trouble.about != "promote")
    })
    .await;
    node.until("the heartbeat tells of it no more", |beat| {
        beat.findings.as_ref().is_none_or(|told| told.failing.is_none())
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_and_does_not_wait_costs_no_heartbeat() {
    let mut node = Node::new().await;
    node.start();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
    for _ in 0..50 {
        drop(tokio::time::timeout(Duration::ZERO, node.status()).await);
    }
    let seq = node.until("a heartbeat", |_| true).await.seq.0;
    node.until("it beats on", |beat| beat.seq.0 >= seq + 2).await;
    assert_eq!(node.status().await.state, State::Serving);
}

#[tokio::test]
async fn a_place_that_the_lease_names_and_this_node_does_not_have_is_a_trouble_until_it_has_it() {
    const BELOW: &str = "/latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01";
    let mut node = Node::new().await;
    // What the interface carries is read from this file at each look.
    node.write("carries", "10.0.1.99");
    let carries = node.path("carries");
    let address = serve(move |head| {
        let path = head.split_whitespace().nth(1).unwrap_or_default();
        let page = match path.strip_prefix(BELOW) {
            Some("/interface-id") => Some("eni-00000001".to_owned()),
            Some("/local-ipv4s") => Some(std::fs::read_to_string(&carries).expect("written")),
            None if path == "/latest/api/token" => Some("a-token".to_owned()),
            None if path.ends_with("/macs/") => Some("0a:00:00:00:00:01/".to_owned()),
            _ => None,
        };
        page.map_or(("404 Not Found", String::new()), |text| ("200 OK", text))
    });
    node.metadata = format!("http://{}", address.await);
    node.start();
    let place =
        |status: &ClusterStatus| status.troubles.iter().find(|trouble| trouble.about == "place").cloned();
    let lacking = node.until_status("it is told", |status| place(status).is_some()).await;
    let trouble = place(&lacking).expect("just seen");
    assert!(trouble.found.ends_with("198.51.100.1 goes to 10.0.1.10 on eni-00000001"), "{trouble:?}");
    assert!(trouble.remedy.contains("assign-private-ip-addresses"), "{trouble:?}");
    node.write("carries", "10.0.1.99\n10.0.1.10");
    node.until_status("it is told no more", |status| place(status).is_none()).await;
}
