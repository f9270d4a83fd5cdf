//! Local recovery as a whole: a driver with its checks and hooks, which are real processes, on a table in memory.

mod support;

use std::time::Duration;

use baton_agent::config::{Probe, Service, When};
use baton_protocol::heartbeat::Health;
use baton_protocol::ids::Epoch;
use support::{Node, check, is_alive, script};

/// The service is well while this file is there.
const WELL: &str = "well";

fn service(node: &Node) -> baton_agent::config::Check {
    check("app", When::Serving, script(&format!("test -e {}", node.path(WELL).display())))
}

#[tokio::test]
async fn a_service_that_is_mended_where_it_runs_goes_on_serving() {
    let mut node = Node::new().await;
    node.write(WELL, "");
    node.checks.push(service(&node));
    let (told, well) = (node.path("told"), node.path(WELL));
    node.recover(
        &format!(
            "echo \"$BATON_CLUSTER $BATON_EPOCH $BATON_REASON $BATON_ADDRESSES\" > {}; touch {}",
            told.display(),
            well.display()
        ),
        Duration::from_secs(20),
        3,
    );
    node.start();
    node.standby_beats();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok).await;
    node.remove(WELL);
    let beat = node
        .until("it has recovered", |beat| {
            let recoveries = beat.findings.as_ref().map_or(&[][..], |findings| &findings.recoveries);
            recoveries.last().is_some_and(|recovery| recovery.ended.is_some())
        })
        .await;
    let findings = beat.findings.expect("told");
    assert_eq!(findings.recoveries.len(), 1, "{findings:?}");
    assert_eq!(findings.recoveries[0].ended.as_ref().expect("ended").failed, None, "{findings:?}");
    assert_eq!(findings.recoveries[0].what.as_str(), "app: exit code 9");
    assert_eq!((beat.health, beat.serving_epoch), (Health::Ok, Some(Epoch(1))));
    assert_eq!(node.read("told"), "orders 1 app: exit code 9 198.51.100.1\n");
    assert_eq!(node.read("hooks"), "promote\n", "nothing was given away");
    assert_eq!(beat.released, Epoch(0));
    assert!(node.read("o/orders/checks.json").contains("\"verdict\": \"good\""));
}

#[tokio::test]
async fn a_recovery_that_fails_gives_the_lease_away_as_if_there_were_none() {
    for (hook, why) in [("exit 3", "recover hook failed with exit code 3"), ("exit 0", "still bad: app: ")] {
        let mut node = Node::new().await;
        node.write(WELL, "");
        node.checks.push(service(&node));
        node.recover(hook, Duration::from_secs(20), 3);
        node.start();
        node.standby_beats();
        node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
        node.remove(WELL);
        let beat = node.until("it has released", |beat| beat.released == Epoch(1)).await;
        let findings = beat.findings.expect("told");
        let failed = findings.recoveries[0].ended.as_ref().expect("ended").failed.as_ref().expect("failed");
        assert!(failed.as_str().starts_with(why), "{failed}");
        assert_eq!(findings.recoveries.len(), 1, "one that failed is the last: {findings:?}");
        assert_eq!(node.read("hooks"), "promote\ndemote\n");
    }
}

#[tokio::test]
async fn while_a_hook_hangs_heartbeats_go_on_and_nothing_is_known_and_then_it_is_killed() {
    let mut node = Node::new().await;
    node.write(WELL, "");
    node.checks.push(service(&node));
    let pid = node.path("pid");
    let hook = format!("sleep 600 & echo $! > {0}.next; mv {0}.next {0}; wait", pid.display());
    node.recover(&hook, Duration::from_secs(600), 3);
    // The demote hook tells whether it dies while that runs. What has been killed may need a moment.
    let state = format!("$(cut -d ' ' -f 3 /proc/$(cat {})/stat 2> /dev/null)", pid.display());
    let found = node.path("found");
    let look = format!("case \"{state}\" in Z|X|'') echo gone > {0}; exit 0;; esac", found.display());
    node.demote = format!(
        "n=0; while [ $n -lt 100 ]; do {look}; n=$((n+1)); sleep 0.02; done; echo alive > {}",
        found.display()
    );
    node.start();
    node.standby_beats();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
    node.remove(WELL);
    let begun = node
        .until("it recovers", |beat| beat.findings.as_ref().is_some_and(|told| told.under_way().is_some()))
        .await;
    assert_eq!(begun.health, Health::Unknown, "no ground to release, and none to be granted it");
    let later = node.until("it beats on", |beat| beat.seq.0 >= begun.seq.0 + 5).await;
    assert_eq!((later.health, later.serving_epoch), (Health::Unknown, Some(Epoch(1))));
    node.wait("the hook runs", || node.path("pid").exists()).await;
    let child: i32 = node.read("pid").trim().parse().expect("an id");
    assert!(is_alive(child));
    // That of the demote at the start.
    node.remove("found");
    node.depose().await;
    node.wait("the service was stopped", || node.read("hooks") == "promote\ndemote\n").await;
    let beat = node.until("it stands by", |beat| beat.serving_epoch.is_none()).await;
    node.wait("the demote hook has looked", || node.read("found").ends_with('\n')).await;
    assert_eq!(
        node.read("found"),
        "gone\n",
        "nothing of the recover hook outlives the beginning of a demote"
    );
    let findings = node.until("it has told so", |beat| {
        beat.findings.as_ref().is_some_and(|told| told.under_way().is_none())
    });
    let findings = findings.await.findings.expect("told");
    let failed = findings.recoveries[0].ended.as_ref().expect("ended").failed.as_ref().expect("failed");
    assert_eq!((failed.as_str(), beat.released), ("this node serves no longer", Epoch(0)));
}

#[tokio::test]
async fn the_limit_gives_the_lease_away_though_each_recovery_has_helped() {
    let mut node = Node::new().await;
    node.write(WELL, "");
    node.checks.push(service(&node));
    node.recover(&format!("touch {}", node.path(WELL).display()), Duration::from_secs(20), 2);
    node.start();
    node.standby_beats();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok).await;
    for number in 1..=2 {
        node.remove(WELL);
        node.until("it has recovered", |beat| {
            let last = beat.findings.as_ref().and_then(|findings| findings.recoveries.last());
            last.is_some_and(|last| last.number == number && last.ended.is_some())
                && beat.health == Health::Ok
        })
        .await;
    }
    node.remove(WELL);
    let beat = node.until("it has released", |beat| beat.released == Epoch(1)).await;
    assert_eq!(beat.findings.expect("told").recoveries.len(), 2);
    assert_eq!(node.read("hooks"), "promote\ndemote\n");
}

#[tokio::test]
async fn an_agent_that_leaves_the_service_behind_leaves_no_hook_behind() {
    let mut node = Node::new().await;
    node.write(WELL, "");
    node.checks.push(service(&node));
    let pid = node.path("pid");
    let hook = format!("sleep 600 & echo $! > {0}.next; mv {0}.next {0}; wait", pid.display());
    node.recover(&hook, Duration::from_secs(600), 3);
    node.shutdown_stays = true;
    node.start();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
    node.remove(WELL);
    node.wait("the hook runs", || node.path("pid").exists()).await;
    let child: i32 = node.read("pid").trim().parse().expect("an id");
    node.stop().await;
    node.wait("the hook's child is gone", || !is_alive(child)).await;
    assert_eq!(node.read("hooks"), "promote\n", "the service was left as it is");
}

#[tokio::test]
async fn a_service_that_was_stopped_with_an_orphaned_hook_is_not_adopted_but_started_again() {
    let mut node = Node::new().await;
    node.write(WELL, "");
    node.checks.push(service(&node));
    let (serves, runs) = (node.path("service"), node.path("runs"));
    node.service = Some(Service::PidFile(serves.clone()));
    node.promote = format!("sleep 600 < /dev/null > /dev/null 2>&1 & echo $! > {}", serves.display());
    node.recover(&format!("touch {}; sleep 600; :", runs.display()), Duration::from_secs(600), 3);
    node.start();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
    let first: i32 = node.read("service").trim().parse().expect("an id");
    node.remove(WELL);
    node.wait("the hook runs", || runs.exists()).await;
    // Its group is named right after it has been started, and then it is the driver's. One that comes to a driver that is gone is
    // ended instead.
    let told = || node.read("o/orders/validity").replace("\"hook_group\":null", "");
    node.wait("it is named", || told().contains("\"hook_group\":")).await;
    let seq = node.until("a heartbeat", |_| true).await.seq.0;
    node.until("the driver has it", |beat| beat.seq.0 >= seq + 2).await;
    node.kill().await;
    assert!(is_alive(first));
    node.write(WELL, "");
    node.start();
    node.wait("it was started again", || node.read("hooks") == "promote\ndemote\npromote\n").await;
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok).await;
    let second: i32 = node.read("service").trim().parse().expect("an id");
    assert!(!is_alive(first) && is_alive(second), "{first} {second}");
    node.kill().await;
    node.start();
    node.until("it serves on", |beat| beat.serving_epoch == Some(Epoch(1)) && beat.health == Health::Ok)
        .await;
    assert!(is_alive(second), "no hook was left this time");
    node.stop().await;
}

#[tokio::test]
async fn a_standby_whose_own_checks_are_bad_says_so_and_why() {
    let mut node = Node::new().await;
    let room = Probe::Disk { path: "/nonexistent".into(), free_at_least: baton_agent::config::Percent(1) };
    node.checks.push(check("room", When::Standby, room));
    node.depose().await;
    node.start();
    let beat = node.until("it is bad", |beat| beat.health == Health::Bad).await;
    let failing = beat.findings.expect("told").failing.expect("told");
    assert!(failing.as_str().starts_with("room: cannot look at `/nonexistent`"), "{failing}");
}
