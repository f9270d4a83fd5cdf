//! A hook whose program lies on a disk that hangs: the kernel does not come back from starting it, and the node beats on.

mod support;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baton_agent::status::State;
use baton_protocol::ids::Epoch;
use support::Node;

/// Whoever opens a file on which another process holds a lease waits until that gives it back, for 45 s at most (fcntl(2)): as at
/// a disk that hangs, and without the rights that a file system of one's own takes.
const HOLD: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
sys.stdout.write('x')
sys.stdout.flush()
signal.pause()
";

/// A program that nobody can start while this lives.
struct Held(Child);

impl Held {
    fn new(program: &Path) -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", HOLD]).arg(program).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("`python3`; install it");
        let mut said = [0];
        child.stdout.take().expect("piped").read_exact(&mut said).expect("the lease is held");
        Self(child)
    }

    fn let_go(mut self) {
        self.0.kill().expect("ours");
        self.0.wait().expect("it ends");
    }
}

/// Held by each test, since both look at the children of this process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How many children of this process live, that one which holds the lease not among them.
fn children(but: u32) -> usize {
    let own = std::process::id().to_string();
    let is_child = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, parent) = (fields.next(), fields.next());
        entry.file_name().to_string_lossy() != but.to_string()
            && !matches!(state, Some("Z" | "X"))
            && parent == Some(&own)
    };
    std::fs::read_dir("/proc")
        .expect("listed")
        .flatten()
        .filter_map(|entry| is_child(entry).then_some(()))
        .count()
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
async fn a_hook_that_has_not_started_in_time_has_failed_and_is_killed_when_it_starts_too_late() {
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
    node.stop().await;
    let python = held.0.id();
    assert!(children(python) > 0, "it has not come back yet");
    held.let_go();
    node.wait("what has started too late is dead", || children(python) == 0).await;
}
