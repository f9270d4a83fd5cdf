//! A check that runs a command. Exit code 0 is success; 1 is a warning, which is shown and does no harm;
//! anything else is failure, as is a command that has to be killed.

use std::time::Duration;

use nix::unistd::User;
use tokio::process::Command;

use super::Try;
use crate::command::{self, End, Finished};
use crate::config::CommandLine;
use crate::config::User as UserName;

/// One try, at most `timeout` long. Dropping the future kills the command and its children.
pub(super) async fn probe(line: &CommandLine, user: Option<&UserName>, timeout: Duration) -> Try {
    let mut command = Command::new(&line.program);
    command.args(&line.arguments).current_dir("/");
    if let Some(UserName(name)) = user {
        // Looked up at each try: a user may be made after the agent has started.
        match User::from_name(name) {
            Ok(Some(user)) => command.uid(user.uid.as_raw()).gid(user.gid.as_raw()),
            Ok(None) => return Try::bad(format!("there is no user `{name}`")),
            Err(error) => return Try::bad(format!("could not look up the user `{name}`: {error}")),
        };
    }
    let running = match command::start(command, timeout) {
        Ok(running) => running,
        Err(error) => return Try::bad(format!("could not start `{}`: {error}", line.program.display())),
    };
    match running.finish().await {
        Ok(finished) => judge(finished),
        Err(error) => Try::bad(format!("lost sight of `{}`: {error}", line.program.display())),
    }
}

fn judge(finished: Finished) -> Try {
    let Finished { end, duration, output } = finished;
    let ms = duration.as_millis();
    let judged = match end {
        End::Exited(0) => Try::good("exit code 0"),
        End::Exited(1) => Try::warning("exit code 1: a warning"),
        End::Exited(code) => Try::bad(format!("exit code {code}")),
        End::Signalled(signal) => Try::bad(format!("ended by signal {signal}")),
        End::TimedOut { gone: true } => Try::bad(format!("killed after {ms} ms")),
        End::TimedOut { gone: false } => Try::bad(format!("killed after {ms} ms, and still there")),
    };
    judged.with_output(output)
}
