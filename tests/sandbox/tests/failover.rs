//! Whole failovers: the templates as they are, the functions' binaries, real agents, and a verdict from outside.
//!
//! Each story plays on a stage of its own, one after the other, since several clusters at once would share two cores and
//! measure each other. Nothing waits for a length of time; every wait is for a condition, with a bound.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_sandbox::service_log::no_overlap;
use baton_sandbox::stage::Settled;
use baton_sandbox::{Node, Stage, StageOptions, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// One stage at a time.
fn alone() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stage(mode: &str) -> Stage {
    let options =
        StageOptions { mode: mode.to_owned(), timing: "default".to_owned(), ..StageOptions::default() };
    Stage::set(options, &mut |line| eprintln!("{line}")).expect("a cluster in service")
}

/// A settled cluster with a standby that could take over.
fn protected(stage: &Stage, after: u64) -> Settled {
    let settled = stage.wait_until_settled(after, LIMIT).expect("settled");
    wait::until("a standby that could take over", LIMIT, || {
        Ok((stage.baton_json(&["status"])?["protected"] == json!(true)).then_some(()))
    })
    .expect("protected");
    settled
}

fn assert_one_at_a_time(stage: &Stage) {
    let logs: Vec<_> = stage.nodes().iter().flat_map(|node| node.service_log().expect("readable")).collect();
    let runs = no_overlap(&logs).unwrap_or_else(|overlap| panic!("{overlap}"));
    assert!(!runs.is_empty(), "somebody served");
}

fn newest_grant(stage: &Stage) -> Value {
    let history = stage.baton_json(&["history", "--limit", "200"]).expect("history");
    let rows = history["rows"].as_array().expect("rows").clone();
    rows.into_iter().rfind(|row| row["what"] == "granted").expect("a grant")
}

#[test]
fn a_frozen_agent_cannot_keep_serving_and_its_standby_takes_over() {
    let _alone = alone();
    let mut stage = stage("strict");
    let before = protected(&stage, 0);
    stage.node(&before.holder).expect("there").freeze_agent().expect("frozen");
    let after = stage.wait_until_settled(before.epoch, LIMIT).expect("taken over");
    assert_ne!(after.holder, before.holder);
    assert_eq!(newest_grant(&stage)["ground"], "silence");
    assert_one_at_a_time(&stage);
    // Thawed, it finds itself deposed, and what the dead-man stopped stays stopped.
    stage.node(&before.holder).expect("there").thaw().expect("thawed");
    let settled = protected(&stage, before.epoch);
    assert_eq!(settled, after);
    assert_one_at_a_time(&stage);
}

#[test]
fn an_agent_that_is_killed_and_started_again_adopts_its_service() {
    let _alone = alone();
    let mut stage = stage("strict");
    let before = protected(&stage, 0);
    let runs_before = service_runs(&stage, &before.holder);
    let node = stage.node(&before.holder).expect("there");
    node.kill_agent().expect("killed");
    node.start().expect("started");
    assert_nothing_moved(&stage, &before, runs_before);
}

/// What `systemctl restart` does, and so an update of the package: with `shutdown = "handover"`, which is the default.
#[test]
fn an_agent_that_ends_for_a_restart_leaves_its_service_to_the_next_run() {
    let _alone = alone();
    let mut stage = stage("strict");
    let before = protected(&stage, 0);
    let runs_before = service_runs(&stage, &before.holder);
    let node = stage.node(&before.holder).expect("there");
    node.end_for_restart().expect("asked");
    assert_eq!(node.wait_for_end(LIMIT).expect("ended"), 0);
    node.start().expect("started");
    assert_nothing_moved(&stage, &before, runs_before);
}

/// A new run of the holder's agent serves on where the earlier one was: the service is there for longer than the validity
/// that the earlier one left, after which only the new one keeps the dead-man from it.
fn assert_nothing_moved(stage: &Stage, before: &Settled, runs_before: usize) {
    let validity = stage.baton_json(&["status"]).expect("status")["timing"]["validity_ms"].as_u64();
    let validity = Duration::from_millis(validity.expect("a length"));
    let last = || {
        let node = stage.nodes().iter().find(|node| node.name() == before.holder).expect("there");
        let log = node.service_log()?;
        Ok(Duration::from_nanos(log.last().expect("it has served").at))
    };
    let begun = last().expect("readable");
    wait::until("a service that outlives the validity of before", LIMIT, || {
        Ok((last()? > begun + validity * 3 / 2).then_some(()))
    })
    .expect("still served");
    let after = protected(stage, 0);
    assert_eq!(&after, before, "no failover");
    assert_eq!(service_runs(stage, &before.holder), runs_before, "the service was never restarted");
}

#[test]
fn an_agent_that_is_asked_to_end_hands_over_first() {
    let _alone = alone();
    let mut stage = stage("strict");
    let first = protected(&stage, 0);
    hands_over_before_it_is_taken(&mut stage, &first);
    let before = protected(&stage, first.epoch);
    stage.node(&before.holder).expect("there").terminate().expect("asked");
    let after = stage.wait_until_settled(before.epoch, LIMIT).expect("handed over");
    assert_ne!(after.holder, before.holder);
    assert_eq!(newest_grant(&stage)["ground"], "release");
    let status = stage.node(&before.holder).expect("there").wait_for_end(LIMIT).expect("ended");
    assert_eq!(status, 0);
    assert_one_at_a_time(&stage);
}

/// No event tells of it: the node sees it in its own metadata.
fn hands_over_before_it_is_taken(stage: &mut Stage, before: &Settled) {
    let notice = [("spot/instance-action", r#"{"action":"terminate","time":"2027-01-01T00:00:00Z"}"#)];
    let node = stage.node(&before.holder).expect("there");
    node.notify(&notice).expect("told");
    let after = stage.wait_until_settled(before.epoch, LIMIT).expect("handed over");
    assert_ne!(after.holder, before.holder);
    assert_eq!(newest_grant(stage)["ground"], "release");
    stage.node(&before.holder).expect("there").notify(&[]).expect("taken back");
}

#[test]
fn a_pause_holds_back_a_takeover_and_its_end_lets_it_happen() {
    let _alone = alone();
    let mut stage = stage("strict");
    let before = protected(&stage, 0);
    assert!(stage.baton(&["pause", "--for", "10m", "--reason", "test"]).expect("ran").status.success());
    stage.node(&before.holder).expect("there").kill_all().expect("killed");
    // Long enough for a claim: the holder's silence is past S, and the standbys see it.
    wait::until("a silent holder", LIMIT, || {
        let status = stage.baton_json(&["status"])?;
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        Ok(nodes.iter().any(|node| node["state"] == "silent").then_some(()))
    })
    .expect("silent");
    assert_eq!(stage.baton_json(&["status"]).expect("status")["epoch"], before.epoch);
    assert!(stage.baton(&["resume"]).expect("ran").status.success());
    let after = stage.wait_until_settled(before.epoch, LIMIT).expect("taken over");
    assert_eq!(after.epoch, before.epoch + 1);
    assert_one_at_a_time(&stage);
}

#[test]
fn a_terminated_instance_is_deposed_by_ec2s_word_and_forged_events_move_nothing() {
    let _alone = alone();
    let mut stage = stage("strict");
    let before = protected(&stage, 0);
    let instance = stage.node(&before.holder).expect("there").instance().id.clone();
    // Events that say so, while EC2 does not: a state change that never was, and wakes that nobody meant.
    stage.sandbox().account().announce(&instance, "terminated").expect("announced");
    for why in ["claim", "release", "vacant"] {
        let detail = json!({ "cluster": "orders", "why": why, "schema_version": 1 }).to_string();
        let entries = json!({ "Entries": [{
            "EventBusName": "baton", "Source": "baton.agent", "DetailType": "Wake", "Detail": detail,
        }]});
        stage.sandbox().account().call("events", "put_events", &entries).expect("put");
    }
    // Each of them was delivered before whatever comes after it; a switchover asked for now is the next epoch, not a later.
    assert!(stage.baton(&["switchover", "--wait=60s", "--yes"]).expect("ran").status.success());
    let moved = protected(&stage, before.epoch);
    assert_eq!(moved.epoch, before.epoch + 1, "no event moved anything by itself");
    assert!(
        stage
            .baton(&["switchover", "--to", &before.holder, "--wait=60s", "--yes"])
            .expect("ran")
            .status
            .success()
    );
    let before = protected(&stage, moved.epoch);
    // Now it really is.
    stage.node(&before.holder).expect("there").kill_all().expect("killed");
    stage.sandbox().account().terminate_instance(&instance).expect("terminated");
    let after = stage.wait_until_settled(before.epoch, LIMIT).expect("taken over");
    assert_ne!(after.holder, before.holder);
    assert_one_at_a_time(&stage);
}

#[test]
fn in_available_mode_nothing_but_another_holder_stops_the_service() {
    let _alone = alone();
    let mut stage = stage("available");
    let before = protected(&stage, 0);
    let runs = service_runs(&stage, &before.holder);
    // Without its agent nothing extends anything; in strict mode the dead-man would stop the service.
    let node = stage.node(&before.holder).expect("there");
    node.freeze_agent().expect("frozen");
    let after = stage.wait_until_moved(before.epoch, LIMIT).expect("the address goes to a standby");
    assert_ne!(after.holder, before.holder);
    assert!(still_alive(&stage, &before.holder), "nothing stopped the old service while nobody told it to");
    // Thawed, it reads that another holds the lease, and stops.
    stage.node(&before.holder).expect("there").thaw().expect("thawed");
    let settled = protected(&stage, before.epoch);
    assert_eq!(settled.holder, after.holder);
    assert_eq!(service_runs(&stage, &before.holder), runs, "it was stopped, not restarted");
}

fn service_runs(stage: &Stage, name: &str) -> usize {
    let node = stage.nodes().iter().find(|node| node.name() == name).expect("there");
    baton_sandbox::service_log::runs(&node.service_log().expect("readable")).len()
}

fn still_alive(stage: &Stage, name: &str) -> bool {
    let alive = |node: &Node| node.service_log().expect("readable").len();
    let node = stage.nodes().iter().find(|node| node.name() == name).expect("there");
    let before = alive(node);
    wait::until("another tick of the service", LIMIT, || Ok((alive(node) > before).then_some(()))).is_ok()
}
