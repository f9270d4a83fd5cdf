//! A check that looks for a process: by a pid file, by its name, or by both, where a pid file alone could
//! name a stranger that was given the number of a process that died.
//!
//! It tells that something runs, not that it works; where the service can be asked, asking it says more.

use std::fs;
use std::path::Path;

use super::Try;
use crate::file;

/// So many processes are looked at. No machine that serves anything runs as many.
const PROCESSES_MOST: usize = 65_536;

/// One look. Blocks for as long as the file system with the pid file does.
pub(super) fn look(pid_file: Option<&Path>, command_name: Option<&str>) -> Try {
    match (pid_file, command_name) {
        (Some(path), name) => match named_in(path) {
            Ok(pid) => judge(pid, name),
            Err(reason) => Try::bad(reason),
        },
        (None, Some(name)) => any_of_that_name(name),
        (None, None) => Try::bad("no process is named"),
    }
}

fn named_in(path: &Path) -> Result<i32, String> {
    let shown = path.display();
    let text = file::read(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    let first = text.lines().next().unwrap_or_default().trim();
    let pid = first.parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| format!("expected the id of a process in `{shown}`"))
}

fn judge(pid: i32, name: Option<&str>) -> Try {
    match (running(pid), name) {
        (None, _) => Try::bad(format!("process {pid} does not run")),
        (Some(found), Some(name)) if found != name => {
            Try::bad(format!("process {pid} is `{found}`, expected `{name}`"))
        }
        (Some(found), _) => Try::good(format!("process {pid} runs (`{found}`)")),
    }
}

fn any_of_that_name(name: &str) -> Try {
    let entries = match fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => return Try::bad(format!("cannot read `/proc`: {error}")),
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut looked_at = 0;
    for pid in pids {
        looked_at += 1;
        if looked_at > PROCESSES_MOST {
            return Try::bad(format!("no `{name}` among {PROCESSES_MOST} processes, and there are more"));
        }
        if running(pid).is_some_and(|found| found == name) {
            return Try::good(format!("process {pid} runs (`{name}`)"));
        }
    }
    Try::bad(format!("no process `{name}` runs"))
}

/// The name of a process that runs; none if there is no such process, or only what is left of one.
fn running(pid: i32) -> Option<String> {
    let stat = file::read_lossily(Path::new(&format!("/proc/{pid}/stat"))).ok()?;
    // `pid (name) state …`, where the name may hold anything, parentheses too.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    (!rest.starts_with(['Z', 'X'])).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::testing::installed;

    /// A process of a name that no other has.
    fn sleeper(place: &Path, name: &str) -> Child {
        let program = installed(Path::new("/bin/sleep"), &place.join(name));
        Command::new(&program).arg("600").spawn().expect("started")
    }

    fn pid_file(place: &Path, text: &str) -> std::path::PathBuf {
        let path = place.join("pid");
        fs::write(&path, text).expect("written");
        path
    }

    #[test]
    fn a_process_is_found_by_its_pid_file_by_its_name_and_by_both_until_it_dies() {
        let place = tempfile::tempdir().expect("a directory");
        let name = format!("bt-{}", std::process::id());
        let mut child = sleeper(place.path(), &name);
        let path = pid_file(place.path(), &format!("{}\n", child.id()));
        let looks = || [look(Some(&path), None), look(None, Some(&name)), look(Some(&path), Some(&name))];
        // It has the name only once its program was loaded.
        let deadline = crate::clock::boot() + std::time::Duration::from_secs(20);
        while !look(None, Some(&name)).success {
            assert!(crate::clock::boot() < deadline, "{:?}", looks());
        }
        assert!(looks().iter().all(|tried| tried.success), "{:?}", looks());
        let stranger = look(Some(&path), Some("postgres"));
        assert_eq!(stranger.reason, format!("process {} is `{name}`, expected `postgres`", child.id()));
        child.kill().expect("ours");
        let deadline = crate::clock::boot() + std::time::Duration::from_secs(20);
        while looks().iter().any(|tried| tried.success) {
            assert!(crate::clock::boot() < deadline, "a zombie does not run: {:?}", looks());
        }
        child.wait().expect("ours");
        assert!(!looks().iter().any(|tried| tried.success));
    }

    #[test]
    fn a_pid_file_that_names_nothing_is_bad() {
        let place = tempfile::tempdir().expect("a directory");
        for text in ["", "\n", "0", "-1", "abc", "99999999999"] {
            let tried = look(Some(&pid_file(place.path(), text)), None);
            assert!(tried.reason.starts_with("expected the id of a process in "), "{text}: {tried:?}");
        }
        let missing = look(Some(&place.path().join("none")), None);
        assert!(missing.reason.starts_with("cannot read "), "{missing:?}");
        assert_eq!(look(None, Some("no-such-one-ran")).reason, "no process `no-such-one-ran` runs");
    }
}
