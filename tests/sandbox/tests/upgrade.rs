//! The stacks of a cluster in service are updated: to other functions, to functions that are not there, and to another
//! timing. None of it is a reason for a failover, and whatever comes next works with what is deployed by then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_sandbox::service_log::{no_overlap, runs};
use baton_sandbox::stage::{FUNCTIONS, Settled};
use baton_sandbox::{Stage, StageOptions, wait};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

/// One stage at a time.
fn alone() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stage() -> Stage {
    let options = StageOptions { timing: "default".to_owned(), ..StageOptions::default() };
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

/// How often a service was started, over all nodes, once no two of them were there at once.
fn services(stage: &Stage) -> usize {
    let logs: Vec<_> = stage.nodes().iter().flat_map(|node| node.service_log().expect("readable")).collect();
    no_overlap(&logs).unwrap_or_else(|overlap| panic!("{overlap}")).len()
}

/// The holder answers clients at this moment, from the very process that it has had all along.
fn assert_served_throughout(stage: &Stage, before: &Settled, services_before: usize) {
    assert_eq!(&protected(stage, 0), before, "no failover");
    assert_eq!(services(stage), services_before, "the service was never restarted");
    let node = stage.nodes().iter().find(|node| node.name() == before.holder).expect("there");
    let answered = || {
        let log = node.service_log()?;
        Ok(runs(&log).last().map_or(0, |run| run.answered))
    };
    let begun = answered().expect("readable");
    wait::until("another answer of the service", LIMIT, || Ok((answered()? > begun).then_some(())))
        .expect("served");
}

/// The digest of each function's code.
fn deployed(stage: &Stage) -> Vec<String> {
    let digest = |function: &&str| {
        let asked = json!({ "FunctionName": function });
        let account = stage.sandbox().account();
        let found = account.call("lambda", "get_function_configuration", &asked).expect("deployed");
        found["CodeSha256"].as_str().expect("a digest").to_owned()
    };
    FUNCTIONS.iter().map(digest).collect()
}

#[test]
fn an_update_of_the_control_plane_moves_nothing_and_one_that_fails_is_rolled_back() {
    let _alone = alone();
    let mut stage = stage();
    let before = protected(&stage, 0);
    let (first, services_before) = (deployed(&stage), services(&stage));
    stage.put_packages("next/", &FUNCTIONS).expect("packed");
    let end = stage.update_control_plane("next/").expect("an end");
    assert_eq!(end.status, "UPDATE_COMPLETE", "{end:?}");
    let next = deployed(&stage);
    assert!(first.iter().zip(&next).all(|(first, next)| first != next), "{first:?} {next:?}");
    assert_served_throughout(&stage, &before, services_before);
    // The new functions take over from a node that dies.
    stage.node(&before.holder).expect("there").kill_all().expect("killed");
    let taken = stage.wait_until_settled(before.epoch, LIMIT).expect("taken over");
    assert_eq!((taken.epoch, taken.holder == before.holder), (before.epoch + 1, false));
    stage.node(&before.holder).expect("there").start().expect("started");

    // One of the next packages is missing, so the functions that were updated are taken back with the rest.
    let before = protected(&stage, before.epoch);
    let services_before = services(&stage);
    stage.put_packages("broken/", &["baton-arbiter", "baton-sweeper"]).expect("packed");
    let end = stage.update_control_plane("broken/").expect("an end");
    assert_eq!(end.status, "UPDATE_ROLLBACK_COMPLETE", "{end:?}");
    assert!(end.failures.iter().any(|failure| failure.resource.contains("Registrar")), "{end:?}");
    assert_eq!(deployed(&stage), next, "what was deployed before");
    assert_served_throughout(&stage, &before, services_before);
    assert!(stage.baton(&["switchover", "--wait=60s", "--yes"]).expect("ran").status.success());
    let moved = protected(&stage, before.epoch);
    assert_eq!((moved.epoch, moved.holder == before.holder), (before.epoch + 1, false));
    services(&stage);
}

#[test]
fn a_cluster_whose_timing_is_changed_serves_on_and_is_protected_by_the_new_one() {
    let _alone = alone();
    let mut stage = stage();
    let mut before = protected(&stage, 0);
    // Shorter, and longer again: what a holder has published is waited out in either direction.
    for (timing, silence) in [("fast", 3_500), ("default", 6_000)] {
        let services_before = services(&stage);
        stage.update_timing(timing).expect("updated");
        assert_eq!(stage.baton_json(&["status"]).expect("status")["timing"]["silence_ms"], silence);
        assert_served_throughout(&stage, &before, services_before);
        stage.node(&before.holder).expect("there").kill_all().expect("killed");
        let taken = stage.wait_until_settled(before.epoch, LIMIT).expect("taken over");
        assert_eq!((taken.epoch, taken.holder == before.holder), (before.epoch + 1, false));
        stage.node(&before.holder).expect("there").start().expect("started");
        before = protected(&stage, before.epoch);
    }
    services(&stage);
}
