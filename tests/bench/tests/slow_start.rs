//! A hook whose program lies on a disk that hangs, of the agent as a program that is killed meanwhile.

#[path = "../../../agent/tests/support/held.rs"]
mod held;

use std::os::unix::fs::PermissionsExt;

use baton_bench::rig::{Rig, ended, named};
use baton_protocol::timing::Timing;
use baton_sandbox::Moto;
use baton_sandbox::binaries::Binaries;
use held::Held;

/// Of a process: the name and the parent. Nothing of one that has ended.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (begin, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let is_alive = !matches!(fields.next()?, "Z" | "X");
    is_alive.then_some((begin.split_once('(')?.1.to_owned(), fields.next()?.parse().ok()?))
}

/// The child of the agent that has no program yet.
fn half_started(agent: u32) -> Option<u32> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| stat(*id).is_some_and(|(name, parent)| parent == agent && name.starts_with("baton-start-")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_agent_was_starting_is_ended_by_the_next_run_and_never_runs() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
    let only = named("only", 0).expect("valid");
    rig.table.register(&only, Timing::DEFAULT).await.expect("registered");
    let (place, hook, ran) = (rig.place().display(), rig.place().join("promote.sh"), rig.place().join("ran"));
    let demoted = rig.place().join("demoted");
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", ran.display())).expect("written");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let _held = Held::new(&hook);
    let text = format!(
        "table = \"baton\"\n[cluster.{only}]\nruntime-directory = \"{place}/run\"\n\
         hooks = {{ promote = {{ command = [\"{place}/promote.sh\"], timeout = \"300s\" }}, \
         demote = {{ command = [\"/bin/touch\", \"{place}/demoted\"], timeout = \"10s\" }} }}\nservice = {{ pid-file = \"{place}/service.pid\" }}\n"
    );
    rig.configure(&text).expect("written");
    let mut agent = rig.run().expect("it starts");
    let pid = agent.id().expect("it runs");
    let orphan = tokio::select! {
        served = rig.table.grant(&only) => panic!("its hook hangs: {served:?}"),
        // Before the demote of its start has run, it is that one which is seen half started.
        found = rig.until("the hook to be started", || demoted.exists().then(|| half_started(pid)).flatten()) => {
            found.expect("found")
        }
    };
    agent.kill().await.expect("ours");
    assert!(stat(orphan).is_some(), "it outlives the agent: {}", rig.log());
    let agent = rig.run().expect("it starts");
    let gone = rig.until("the next run to end it", || stat(orphan).is_none().then_some(())).await;
    gone.unwrap_or_else(|error| panic!("{error:?}: {}", rig.log()));
    assert!(!ran.exists(), "what is dead has not run");
    ended(agent).await.expect("it ran until here");
}
