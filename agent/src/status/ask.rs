//! Asks the agent that runs on this machine, and shows what it says.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::time::WallTime;

use super::{ClusterStatus, SCHEMA, State, Status};
use crate::check::CheckReport;

/// How long an answer is waited for: longer than the agent takes to give up a driver.
const LIMIT: Duration = Duration::from_secs(5);
/// More than sixteen clusters with sixteen checks of 4 KB each can say.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no agent answers at `{}` ({source}); see that it runs (`systemctl status baton-agent`) and that you are root",
        path.display()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Something else answered.
    #[error("expected the status of an agent at `{}`, schema {SCHEMA}, found something else: {reason}", path.display())]
    Unusable {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the agent at this socket says: the text, and what it means.
pub fn ask(path: &Path) -> Result<(String, Status), AskError> {
    let silent = |source| AskError::Silent { path: path.to_owned(), source };
    let stream = UnixStream::connect(path).map_err(silent)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(silent)?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text).map_err(silent)?;
    let unusable = |reason: String| AskError::Unusable { path: path.to_owned(), reason };
    let status: Status = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    if status.schema != SCHEMA {
        return Err(unusable(format!("schema {}", status.schema)));
    }
    Ok((text, status))
}

/// For people.
pub fn in_words(status: &Status, now: WallTime) -> String {
    let Status { agent_version, pid, since, instance, zone, configuration, clusters, silent, .. } = status;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "baton-agent {agent_version} on {instance} in {zone}, process {pid}, for {}",
        shown(now.since(*since))
    );
    if let Some(warning) = status.imds.warning() {
        let _ = writeln!(text, "  {warning}");
    }
    if let Some(refused) = &configuration.refused {
        let _ = writeln!(text, "  what {} says is not in force: {refused}", configuration.file.display());
    }
    for cluster in clusters {
        of_cluster(&mut text, cluster, now);
    }
    for cluster in silent {
        let _ = writeln!(text, "{cluster}: its driver does not answer");
    }
    text
}

fn of_cluster(text: &mut String, status: &ClusterStatus, now: WallTime) {
    let ClusterStatus { cluster, state, lease, serving_epoch, health, .. } = status;
    let epoch = serving_epoch.map(|epoch| format!(" epoch {epoch}")).unwrap_or_default();
    let _ = writeln!(text, "{cluster}: {}{epoch}", state.as_str());
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "  {name:<10} {words}");
    };
    if let Some(lease) = lease {
        let holder = match (&lease.holder, lease.mine) {
            (Some(holder), true) => format!("held by {holder}, this node"),
            (Some(holder), false) => format!("held by {holder}"),
            (None, _) => "held by nobody".to_owned(),
        };
        let retired = if lease.retired { ", retired" } else { "" };
        let member = if lease.member { "" } else { "; this node is no member" };
        let paused = lease.paused_until.filter(|until| *until > now);
        let paused =
            paused.map(|until| format!(", paused for {}", shown(until.since(now)))).unwrap_or_default();
        line("lease", format!("epoch {}, {holder}, {}{retired}{paused}{member}", lease.epoch, lease.mode));
    }
    let confirmed = status.confirmed_ms_ago.map_or_else(
        || "none was confirmed yet".to_owned(),
        |ago| format!("confirmed {} ago", shown(Duration::from_millis(ago))),
    );
    let left =
        status.validity_left_ms.map(|left| format!(", valid for {}", shown(Duration::from_millis(left))));
    line("heartbeat", format!("{confirmed}{}", left.unwrap_or_default()));
    line("health", format!("{health:?}").to_lowercase());
    if let Some(leaving) = &status.leaving {
        line("leaving", leaving.clone());
    }
    if let Some(hook) = &status.hook {
        line("hook", format!("{} for {}", hook.hook, shown(Duration::from_millis(hook.for_ms))));
    }
    match &status.dead_man {
        Some(dead_man) if dead_man.armed => line("dead-man", "armed".to_owned()),
        Some(_) => line("dead-man", "not armed".to_owned()),
        None if *state == State::Serving => line("dead-man", "none is configured".to_owned()),
        None => {}
    }
    if let Some(vip) = &status.vip {
        line("vip", format!("{} on {}", vip.addresses.join(", "), vip.interface));
    }
    for check in &status.checks {
        line("check", of_check(check));
    }
    for recovery in &status.recoveries {
        let how = match &recovery.ended {
            None => "under way".to_owned(),
            Some(ended) => ended.failed.as_ref().map_or_else(|| "helped".to_owned(), ToString::to_string),
        };
        line("recovery", format!("{} {} ago: {how}", recovery.what, shown(now.since(recovery.begun))));
    }
    for trouble in &status.troubles {
        line(
            "trouble",
            format!("{}, for {}: {}", trouble.about, shown(now.since(trouble.since)), trouble.found),
        );
        line("", trouble.remedy.clone());
    }
}

fn of_check(check: &CheckReport) -> String {
    let CheckReport { name, running, warning, reason, output, .. } = check;
    if !running {
        return format!("{name}: rests");
    }
    let verdict = format!("{:?}", check.verdict).to_lowercase();
    let warns = if *warning { ", warns" } else { "" };
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    // Where commands put the reason; all of it is in the JSON.
    let last = output.lines().last().map(|line| format!(": {}", printable(line))).unwrap_or_default();
    format!("{name}: {verdict}{warns}{reason}{last}")
}

/// Without what would steer a terminal.
fn printable(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(160).collect()
}

/// A length for people.
fn shown(length: Duration) -> String {
    match length.as_secs() {
        0..10 => format!("{:.1} s", length.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::full;
    use super::*;

    #[test]
    fn a_status_is_shown_in_words() {
        let words = in_words(&full(), WallTime(60_001));
        let expected = "baton-agent 0.1.0 on i-1 in eu-west-1a, process 7, for 60 s
  the instance metadata are asked without session tokens (`imds = \"v1\"`): whatever can be made to fetch a URL on this machine can \
                        fetch the role's credentials
  what /etc/baton/agent.toml says is not in force: no
orders: serving epoch 7
  lease      epoch 7, held by node-a, this node, strict
  heartbeat  confirmed 0.4 s ago, valid for 3.2 s
  health     ok
  leaving    Spot
  hook       recover for 1.5 s
  dead-man   armed
  vip        10.9.0.1 on baton0
  check      web: good, warns (exit code 1: a warning): really
  recovery   web 60 s ago: no
  trouble    table, for 59 s: denied: no
             update the stack
other: its driver does not answer
";
        assert_eq!(words, expected);
    }

    #[test]
    fn what_a_check_wrote_steers_no_terminal() {
        let mut status = full();
        status.clusters[0].checks[0].output = "good\n\u{1b}[2Jbad".to_owned();
        let words = in_words(&status, WallTime(1));
        assert!(words.contains(": [2Jbad") && !words.contains('\u{1b}'), "{words}");
    }

    #[test]
    fn who_does_not_answer_and_who_answers_something_else_are_told_apart() {
        let silent = ask(Path::new("/nonexistent/status.sock")).expect_err("nobody");
        assert!(silent.to_string().starts_with("no agent answers at `/nonexistent/status.sock`"), "{silent}");
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("other.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            std::io::Write::write_all(&mut stream, b"{\"schema\":1}\n").expect("answered");
        });
        let unusable = ask(&path).expect_err("something else");
        assert!(matches!(unusable, AskError::Unusable { .. }), "{unusable}");
        other.join().expect("answered");
    }
}
