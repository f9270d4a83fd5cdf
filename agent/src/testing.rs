//! What several tests of the agent need: bounded waits for conditions, and a look at processes.

#[path = "../tests/support/namespace.rs"]
pub(crate) mod namespace;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;

/// The longest a test waits for anything. Long enough for a loaded machine; a passing test never waits so
/// long.
const BOUND: Duration = Duration::from_secs(20);

/// Waits until `condition` holds, looking every 5 ms.
pub(crate) async fn eventually(what: &str, condition: impl FnMut() -> bool) {
    let mut condition = condition;
    let deadline = clock::boot() + BOUND;
    while !condition() {
        assert!(clock::boot() < deadline, "waited {BOUND:?} in vain until {what}");
        clock::sleep_until(clock::boot() + Duration::from_millis(5)).await.expect("a timer");
    }
}

/// Writes a program.
pub(crate) fn executable(path: &Path, text: &str) -> PathBuf {
    let source = path.with_extension("src");
    std::fs::write(&source, text).expect("written");
    installed(&source, path)
}

/// Copies a program, by another process: a child of this one that another test is starting would have the copy open for writing as
/// long as it has not begun its own program, and what is open for writing cannot be run (`ETXTBSY`, execve(2)).
pub(crate) fn installed(source: &Path, path: &Path) -> PathBuf {
    let done = std::process::Command::new("install").args(["-m", "755"]).args([source, path]).status();
    assert!(done.expect("`install`, of coreutils").success(), "{}", path.display());
    path.to_owned()
}

/// Whether a process lives; one that died and was not waited for does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) else {
        return false;
    };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}
