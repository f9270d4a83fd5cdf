//! A network namespace for one test, and `ip` as a witness that shares no code with the agent.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::future::Future;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;

/// Set where a test runs in a user namespace of its own, as root of that.
const INSIDE: &str = "BATON_TEST_INSIDE";

/// Runs the body on a thread of its own in a new network namespace, which ends with it. What the body starts lives there too.
/// Whoever is not root becomes root of a user namespace first, which takes a process of its own; `test` is this test's name.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce() + Send) {
    // A name that fits no test would run none, and prove nothing.
    let thread = std::thread::current();
    assert!([test, "main"].contains(&thread.name().unwrap_or_default()), "{test} in {thread:?}");
    if !Uid::effective().is_root() {
        assert!(std::env::var_os(INSIDE).is_none(), "not root of a user namespace either");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]).arg(std::env::current_exe().expect("this test"));
        command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
        assert!(command.status().expect("`unshare`, of util-linux").success(), "{test}");
        return;
    }
    let own = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may have a network namespace");
            ip("link set lo up");
            body();
        });
        thread.join()
    });
    if let Err(panic) = own {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a test whose tasks, threads and processes all live in a namespace.
pub(crate) fn in_a_node<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F + Send) {
    in_namespace(test, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(body());
    });
}

/// Runs `ip` in the namespace of this thread; what it said.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.expect("`ip`; install iproute2 (Debian: apt-get install iproute2)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8(output.stdout).expect("text")
}
