//! A check that asks systemd for the state of a unit.
//!
//! By `systemctl show` and not by its exit code, which does not tell a unit that is unknown from one that has
//! failed; and not over D-Bus, whose client would be a tree of crates for one question. A unit's control group
//! could be read without a process, and knows nothing of a unit that is restarted again and again.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::aside::Aside;
use super::{Try, script};

/// One try, at most `timeout` long. Dropping the future kills the command.
pub(super) async fn probe(systemctl: Option<&Path>, unit: &str, timeout: Duration, aside: &mut Aside) -> Try {
    let Some(systemctl) = systemctl else { return Try::bad("there is no `systemctl` on this machine") };
    let mut command = Command::new(systemctl);
    command.args(["show", "--property=LoadState,ActiveState,SubState", "--", unit]);
    match script::run(command, systemctl, timeout, aside).await {
        Ok(finished) if finished.end == crate::command::End::Exited(0) => judge(unit, &finished.output),
        Ok(finished) => {
            let output = finished.output.clone();
            Try::bad(format!("`systemctl`: {}", script::ending(&finished))).with_output(output)
        }
        Err(failed) => failed,
    }
}

/// What the properties mean.
fn judge(unit: &str, output: &str) -> Try {
    let property = |name: &str| {
        output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let (load, active, sub) = (property("LoadState"), property("ActiveState"), property("SubState"));
    match (load, active) {
        ("not-found", _) => Try::bad(format!("there is no unit `{unit}`")),
        // These are the states that systemd itself counts as active (`UNIT_IS_ACTIVE_OR_RELOADING`).
        (_, "active" | "reloading" | "refreshing") => Try::good(format!("{active} ({sub})")),
        (_, "") => Try::bad("`systemctl` told no state").with_output(output.to_owned()),
        _ => Try::bad(format!("{active} ({sub})")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::testing::executable;

    fn judged(load: &str, active: &str, sub: &str) -> (bool, String) {
        let output = format!("SubState={sub}\nLoadState={load}\nActiveState={active}\n");
        let tried = judge("orders.service", &output);
        (tried.success, tried.reason)
    }

    #[test]
    fn an_active_unit_is_good_and_any_other_is_bad() {
        assert_eq!(judged("loaded", "active", "running"), (true, "active (running)".to_owned()));
        assert_eq!(judged("loaded", "reloading", "reload"), (true, "reloading (reload)".to_owned()));
        for (active, sub) in [
            ("activating", "auto-restart"),
            ("inactive", "dead"),
            ("failed", "failed"),
            ("deactivating", "stop-sigterm"),
            ("maintenance", "x"),
        ] {
            assert_eq!(judged("loaded", active, sub), (false, format!("{active} ({sub})")));
        }
        let missing = judged("not-found", "inactive", "dead");
        assert_eq!(missing, (false, "there is no unit `orders.service`".to_owned()));
        assert_eq!(judge("x", "").reason, "`systemctl` told no state");
    }

    fn program(place: &tempfile::TempDir, text: &str) -> PathBuf {
        executable(&place.path().join("systemctl"), &format!("#!/bin/sh\n{text}\n"))
    }

    #[tokio::test]
    async fn the_unit_is_asked_for_by_its_name() {
        let place = tempfile::tempdir().expect("a directory");
        let text = "[ \"$*\" = 'show --property=LoadState,ActiveState,SubState -- orders.service' ] || exit 9\n\
                    printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n'";
        let path = program(&place, text);
        let tried =
            probe(Some(&path), "orders.service", Duration::from_secs(20), &mut Aside::default()).await;
        assert_eq!(tried, Try::good("active (running)"));
        let other = probe(Some(&path), "other.service", Duration::from_secs(20), &mut Aside::default()).await;
        assert_eq!(other.reason, "`systemctl`: exit code 9");
    }

    #[tokio::test]
    async fn a_systemd_that_does_not_answer_is_bad_at_the_timeout() {
        let place = tempfile::tempdir().expect("a directory");
        let path = program(&place, "sleep 600");
        // Long enough for a busy machine to start it.
        let tried = probe(Some(&path), "orders.service", Duration::from_secs(5), &mut Aside::default()).await;
        assert!(!tried.success && tried.reason.starts_with("`systemctl`: killed after "), "{tried:?}");
        assert!(!probe(None, "orders.service", Duration::from_secs(1), &mut Aside::default()).await.success);
    }
}
