//! A hook whose program lies on a disk that hangs: the kernel does not come back from starting it, and the node beats on.

#[path = "support/held.rs"]
mod held;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use baton_agent::command::{End, Starter, end_orphans, end_own};
use baton_agent::config::When;
use baton_agent::status::State;
use baton_protocol::ids::Epoch;
use held::Held;
use support::Node;

/// Held by each test, since all look at the children of this process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The living children of a process, that one which holds the lease not among them.
fn children_of(parent: u32, but: u32) -> Vec<i32> {
    let parent = parent.to_string();
    let is_child = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, of) = (fields.next(), fields.next());
        !matches!(state, Some("Z" | "X")) && of == Some(&parent)
    };
    let processes = std::fs::read_dir("/proc").expect("listed").flatten().filter(is_child);
    let ids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    ids.filter(|id| u32::try_from(*id) != Ok(but)).collect()
}

fn children(but: u32) -> usize {
    children_of(std::process::id(), but).len()
}

fn program(node: &Node) -> PathBuf {
    let path = node.path("promote.sh");
    let told = node.path("promoted");
    // It tells that it ran, and runs on.
    let text = format!("#!/bin/sh\necho $$ > {0}.next; mv {0}.next {0}; sleep 600\n", told.display());
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

#[tokio::test]
async fn a_hook_whose_start_hangs_holds_up_no_heartbeat_and_runs_once_the_disk_goes_on() {
    let _alone = ALONE.lock().await;
    let mut node = Node::new().await;
    let path = program(&node);
    let held = Held::new(&path);
    node.promote_program = Some((path, Duration::from_secs(40)));
    node.start();
    let starting = node.until_status("it starts", |status| status.state == State::Starting).await;
    assert_eq!(starting.hook.expect("one").hook, "promote");
    let before = node.until("a heartbeat", |_| true).await.seq.0;
    node.until("it beats on", |beat| beat.seq.0 >= before + 5).await;
    assert!(!node.path("promoted").exists(), "the start hangs meanwhile");
    held.let_go();
    node.wait("it runs", || node.path("promoted").exists()).await;
    assert_eq!(node.status().await.state, State::Starting, "it is waited for to its end");
    node.kill().await;
}

#[tokio::test]
async fn a_hook_that_has_not_started_in_time_has_failed_and_never_runs() {
    let _alone = ALONE.lock().await;
    let mut node = Node::new().await;
    let path = program(&node);
    let held = Held::new(&path);
    node.promote_program = Some((path, Duration::from_millis(300)));
    node.start();
    let failed = node.until_status("it has failed", |status| {
        status.troubles.iter().any(|trouble| trouble.about == "promote")
    });
    let trouble = failed.await.troubles.into_iter().find(|trouble| trouble.about == "promote").expect("told");
    assert!(trouble.found.contains("it did not start in time"), "{trouble:?}");
    node.until("it does not serve", |beat| beat.serving_epoch.is_none() && beat.released <= Epoch(1)).await;
    let python = held.id();
    node.wait("its start has ended", || children(python) == 0).await;
    node.stop().await;
    held.let_go();
    assert!(!node.path("promoted").exists(), "what was dead before did not run");
}

#[tokio::test]
async fn a_demote_ends_a_start_that_hangs_before_it_stops_anything() {
    let _alone = ALONE.lock().await;
    let mut node = Node::new().await;
    let path = program(&node);
    let held = Held::new(&path);
    let python = held.id();
    node.promote_program = Some((path.clone(), Duration::from_secs(600)));
    // A start that has not ended bears its thread's name. One that has been killed may need a moment to die; SIGKILL is bit 8.
    let starts = "for p in /proc/[0-9]*; do case \"$(cat $p/comm 2>/dev/null)\" in baton-start*) \
        awk '/^State:\\t[ZX]/ || /^S[hi][dg]Pnd:.*[13579bdf]..$/ { dying = 1 } END { if (!dying) print FILENAME }' \
        $p/status 2>/dev/null;; esac; done";
    let left = format!("printf %s \"$({starts})\"");
    node.demote =
        format!("test \"$BATON_REASON\" = start || {{ {left}; }} > {}", node.path("left").display());
    node.start();
    node.until_status("it starts", |status| status.state == State::Starting).await;
    node.wait("its start is under way", || children(python) == 1).await;
    node.depose().await;
    node.wait("the demote ran", || node.read("hooks").contains("demote")).await;
    node.until_status("it stands by", |status| status.state == State::Standby).await;
    assert_eq!(node.read("left"), "");
    node.wait("its start has ended", || children(python) == 0).await;
    node.stop().await;
    held.let_go();
    assert!(!node.path("promoted").exists(), "what was dead before did not run");
}

#[tokio::test]
async fn a_driver_that_ends_for_another_leaves_no_start_that_hangs() {
    let _alone = ALONE.lock().await;
    let mut node = Node::new().await;
    let path = program(&node);
    let held = Held::new(&path);
    let python = held.id();
    node.checks = vec![support::check(
        "web",
        When::Serving,
        support::script(&format!("test ! -e {}", node.path("bad").display())),
    )];
    node.recover_by(path);
    node.start();
    node.until("it serves", |beat| beat.serving_epoch == Some(Epoch(1))).await;
    node.write("bad", "");
    node.until_status("it recovers", |status| {
        status.hook.as_ref().is_some_and(|hook| hook.hook == "recover")
    })
    .await;
    node.end_for_another().await;
    node.wait("nothing is left", || children(python) == 0).await;
    node.remove("bad");
    node.start();
    node.until("it serves on", |beat| beat.serving_epoch == Some(Epoch(1))).await;
    held.let_go();
    assert!(!node.path("promoted").exists(), "what was dead before did not run");
    node.stop().await;
}

/// What the process that plays an agent starts.
const STARTS: &str = "BATON_TEST_STARTS";

#[tokio::test]
async fn what_an_agent_was_starting_when_it_was_killed_is_ended_by_the_next_and_no_other_is() {
    let test = "what_an_agent_was_starting_when_it_was_killed_is_ended_by_the_next_and_no_other_is";
    if let Some(program) = std::env::var_os(STARTS) {
        let start = Starter::default().start(tokio::process::Command::new(program), Duration::from_secs(600));
        return start.await.map(drop).expect("it is killed before");
    }
    let _alone = ALONE.lock().await;
    let node = Node::new().await;
    let path = program(&node);
    let held = Held::new(&path);
    let mut agent = Command::new(std::env::current_exe().expect("this test"));
    agent.args(["--exact", test]).env(STARTS, &path).stdout(Stdio::null());
    let mut agent = agent.spawn().expect("this test");
    let started = || children_of(agent.id(), 0);
    node.wait("it starts", || started().len() == 1).await;
    let orphan = started()[0];
    assert_eq!(end_orphans(), 0, "its agent lives");
    agent.kill().expect("ours");
    agent.wait().expect("it ends");
    assert!(support::is_alive(orphan), "nobody has ended it yet");
    assert_eq!(end_orphans(), 1);
    node.wait("it is dead", || !support::is_alive(orphan)).await;
    held.let_go();
    assert!(!node.path("promoted").exists(), "what was dead before did not run");
}

#[tokio::test]
async fn an_agent_that_ends_takes_what_it_is_starting_with_it() {
    let _alone = ALONE.lock().await;
    let node = Node::new().await;
    let path = program(&node);
    let held = Held::new(&path);
    let python = held.id();
    let start = Starter::default().start(tokio::process::Command::new(&path), Duration::from_secs(600));
    node.wait("it starts", || children(python) == 1).await;
    assert_eq!(end_own(), 1);
    node.wait("it is dead", || children(python) == 0).await;
    held.let_go();
    let ended = start.await.expect("a process was made").finish().await.expect("it has ended");
    assert_eq!(ended.end, End::Signalled(9));
    assert!(!node.path("promoted").exists(), "what was dead before did not run");
}
