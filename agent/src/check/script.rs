//! A check that runs a command.
//!
//! By default exit code 0 is success; 1 is a warning, which is shown and does no harm; anything else is
//! failure. With `exit-codes = "ocf"` they mean what the monitor action of a resource agent means by them
//! (OCF Resource Agent API 1.1, "Exit status codes"), where 1 is a failure. A command that has to be killed
//! has failed either way.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::Try;
use super::aside::Aside;
use crate::clock;
use crate::command::{End, Finished};
use crate::config::User as UserName;
use crate::config::{CommandLine, ExitCodes};

/// One try, at most `timeout` long. Dropping the future kills the command and its children.
pub(super) async fn probe(
    line: &CommandLine,
    user: Option<&UserName>,
    codes: ExitCodes,
    timeout: Duration,
    aside: &mut Aside,
) -> Try {
    let due = clock::boot() + timeout;
    let mut command = Command::new(&line.program);
    command.args(&line.arguments).current_dir("/");
    if let Some(UserName(name)) = user {
        // With the user, the standard library gives up the agent's supplementary groups as well.
        match aside.account(timeout, name).await {
            Ok((user, group)) => command.uid(user.as_raw()).gid(group.as_raw()),
            Err(failed) => return failed,
        };
    }
    match run(command, &line.program, due.since(clock::boot()), aside).await {
        Ok(finished) => judge(&finished, codes),
        Err(failed) => failed,
    }
}

/// Runs a command to its end; what kept it from one is a bad try.
pub(super) async fn run(
    command: Command,
    program: &Path,
    timeout: Duration,
    aside: &mut Aside,
) -> Result<Finished, Try> {
    let shown = program.display();
    let running = aside
        .start(command, timeout)
        .await
        .map_err(|error| Try::bad(format!("could not start `{shown}`: {error}")))?;
    running.finish().await.map_err(|error| Try::bad(format!("lost sight of `{shown}`: {error}")))
}

/// How a command ended, in words.
pub(super) fn ending(finished: &Finished) -> String {
    let ms = finished.duration.as_millis();
    match finished.end {
        End::Exited(code) => format!("exit code {code}"),
        End::Signalled(signal) => format!("ended by signal {signal}"),
        End::TimedOut { gone: true } => format!("killed after {ms} ms"),
        End::TimedOut { gone: false } => format!("killed after {ms} ms, and still there"),
    }
}

fn judge(finished: &Finished, codes: ExitCodes) -> Try {
    let judged = match (finished.end, codes) {
        (End::Exited(code), ExitCodes::Plain) => plain(code),
        (End::Exited(code), ExitCodes::Ocf) => ocf(code),
        _ => Try::bad(ending(finished)),
    };
    judged.with_output(finished.output.clone())
}

fn plain(code: i32) -> Try {
    match code {
        0 => Try::good("exit code 0"),
        1 => Try::warning("exit code 1: a warning"),
        code => Try::bad(format!("exit code {code}")),
    }
}

/// By the names of the standard. A degraded service still serves; whether it is promoted there is no matter of
/// the check.
fn ocf(code: i32) -> Try {
    let meaning = match code {
        0 => return Try::good("exit code 0: running"),
        8 => return Try::good("exit code 8: running as promoted"),
        190 => return Try::warning("exit code 190: degraded"),
        191 => return Try::warning("exit code 191: degraded as promoted"),
        1 => "generic error",
        2 => "wrong arguments",
        3 => "not implemented",
        4 => "not allowed",
        5 => "not installed",
        6 => "not configured",
        7 => "not running",
        9 => "failed as promoted",
        _ => "not a code of the Open Cluster Framework",
    };
    Try::bad(format!("exit code {code}: {meaning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(end: End, codes: ExitCodes) -> (bool, bool) {
        let finished = Finished { end, duration: Duration::from_millis(5), output: "said".to_owned() };
        let tried = judge(&finished, codes);
        assert_eq!(tried.output, "said");
        (tried.success, tried.warning)
    }

    #[test]
    fn one_warns_in_plain_codes_and_fails_in_those_of_the_framework() {
        const GOOD: (bool, bool) = (true, false);
        const WARNING: (bool, bool) = (true, true);
        const BAD: (bool, bool) = (false, false);
        for (code, in_plain, in_ocf) in [
            (0, GOOD, GOOD),
            (1, WARNING, BAD),
            (2, BAD, BAD),
            (7, BAD, BAD),
            (8, BAD, GOOD),
            (9, BAD, BAD),
            (190, BAD, WARNING),
            (191, BAD, WARNING),
            (192, BAD, BAD),
        ] {
            assert_eq!(judged(End::Exited(code), ExitCodes::Plain), in_plain, "{code}");
            assert_eq!(judged(End::Exited(code), ExitCodes::Ocf), in_ocf, "{code}");
        }
        for codes in [ExitCodes::Plain, ExitCodes::Ocf] {
            assert_eq!(judged(End::Signalled(1), codes), BAD);
            assert_eq!(judged(End::TimedOut { gone: true }, codes), BAD);
        }
        assert_eq!(ocf(7).reason, "exit code 7: not running");
    }
}
