//! The table is restored to an earlier moment under a cluster in service: an epoch is shown that is over, and a holder that has
//! lost the lease since. Nobody serves by it, nothing is granted by it, and the operator's command has the lease begin anew.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_sandbox::service_log::no_overlap;
use baton_sandbox::stage::{CONTROL_PLANE, Settled};
use baton_sandbox::{Stage, StageOptions, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);
/// What an operator's command raises an epoch by.
const RAISED_BY: u64 = 10_000_000;

/// A settled cluster with a standby that could take over.
fn protected(stage: &Stage, after: u64) -> Settled {
    let settled = stage.wait_until_settled(after, LIMIT).expect("settled");
    wait::until("a standby that could take over", LIMIT, || {
        Ok((stage.baton_json(&["status"])?["protected"] == json!(true)).then_some(()))
    })
    .expect("protected");
    settled
}

fn key(item: &Value) -> Value {
    json!({ "pk": item["pk"], "sk": item["sk"] })
}

/// What a restoration does: every item as it was, and none that came later.
fn put_back(stage: &Stage, items: &[Value]) {
    let account = stage.sandbox().account();
    let then: BTreeSet<String> = items.iter().map(|item| key(item).to_string()).collect();
    for item in account.scan(CONTROL_PLANE).expect("scanned") {
        if !then.contains(&key(&item).to_string()) {
            let gone = json!({ "TableName": CONTROL_PLANE, "Key": key(&item) });
            account.call("dynamodb", "delete_item", &gone).expect("deleted");
        }
    }
    for item in items {
        let put = json!({ "TableName": CONTROL_PLANE, "Item": item });
        account.call("dynamodb", "put_item", &put).expect("put");
    }
}

fn status(stage: &Stage) -> (u64, String) {
    let status = stage.baton_json(&["status"]).expect("status");
    let holder = status["holder"].as_str().unwrap_or_default().to_owned();
    (status["epoch"].as_u64().unwrap_or_default(), holder)
}

fn history(stage: &Stage, what: &str) -> Option<Value> {
    let history = stage.baton_json(&["history", "--limit", "200"]).expect("history");
    let rows = history["rows"].as_array().expect("rows").clone();
    rows.into_iter().rfind(|row| row["what"] == what)
}

fn names(stage: &Stage) -> Vec<String> {
    stage.nodes().iter().map(|node| node.name().to_owned()).collect()
}

#[test]
fn a_table_as_it_was_before_is_served_by_nobody_until_the_lease_begins_anew() {
    let options = StageOptions { timing: "default".to_owned(), ..StageOptions::default() };
    let mut stage = Stage::set(options, &mut |line| eprintln!("{line}")).expect("a cluster in service");
    let first = protected(&stage, 0);
    let items = stage.sandbox().account().scan(CONTROL_PLANE).expect("scanned");
    // The holder of that moment loses the lease, and stands by.
    stage.node(&first.holder).expect("there").kill_all().expect("killed");
    stage.wait_until_settled(first.epoch, LIMIT).expect("taken over");
    stage.node(&first.holder).expect("there").start().expect("started");
    let second = protected(&stage, first.epoch);
    wait::until("the old holder among the standbys", LIMIT, || {
        let status = stage.baton_json(&["status"])?;
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        Ok(nodes.iter().any(|node| node["node"] == first.holder && node["state"] == "ready").then_some(()))
    })
    .expect("a standby");

    put_back(&stage, &items);
    assert_eq!(status(&stage), (first.epoch, first.holder.clone()), "the table shows what is over");
    // The run that the item does not know ends; its unit starts the next, which remembers what this one has read.
    let deposed = stage.node(&first.holder).expect("there");
    deposed.wait_for_end(LIMIT).expect("ended");
    deposed.start().expect("started");
    // Nobody wakes the arbiter for it but the sweep, which comes each minute.
    wait::until("a finding that the table was restored", LIMIT * 2, || {
        let told = history(&stage, "stuck").filter(|row| row["resource"] == "the lease");
        Ok(told.filter(|row| row["why"].as_str().unwrap_or_default().contains("baton restore")))
    })
    .expect("told");
    wait::until("nobody to serve", LIMIT, || {
        Ok(stage.prober().serving(Duration::from_millis(500)).is_empty().then_some(()))
    })
    .expect("fenced");
    assert_eq!(status(&stage), (first.epoch, first.holder), "nothing is granted by it");

    // An agent that runs is named, and nothing has changed.
    let asked = stage.baton(&["restore", "--reason", "a test", "--wait=20s", "--yes"]).expect("ran");
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(!asked.status.success() && said.contains("still beats: stop its agent"), "{said}");
    assert_eq!(status(&stage).0, first.epoch);
    for name in names(&stage) {
        stage.node(&name).expect("there").kill_all().expect("killed");
    }
    let asked = stage.baton(&["restore", "--reason", "a test", "--wait=90s", "--yes"]).expect("ran");
    assert!(asked.status.success(), "{asked:?}");
    let restored = history(&stage, "restored").expect("a row");
    assert_eq!((restored["from"].as_u64(), restored["why"].as_str()), (Some(first.epoch), Some("a test")));
    let (epoch, holder) = status(&stage);
    assert_eq!((epoch, holder.as_str()), (second.epoch + RAISED_BY, ""), "above what a node has seen");

    for name in names(&stage) {
        stage.node(&name).expect("there").start().expect("started");
    }
    let served = protected(&stage, epoch);
    assert_eq!(served.epoch, epoch + 1);
    assert!(stage.baton(&["switchover", "--wait=60s", "--yes"]).expect("ran").status.success());
    protected(&stage, served.epoch);
    let logs: Vec<_> = stage.nodes().iter().flat_map(|node| node.service_log().expect("readable")).collect();
    no_overlap(&logs).unwrap_or_else(|overlap| panic!("{overlap}"));
}
