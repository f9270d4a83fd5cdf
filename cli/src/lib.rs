//! `baton`, the operator's command: shows clusters and puts requests to them.
//!
//! It reads the table with strongly consistent reads and writes one kind of thing, a request: an item under IAM that names
//! the epoch it is about and ends by itself. It refuses what is plainly not safe, with the reason; it decides nothing, moves
//! nothing, and asks EC2 for `doctor` only. The binary is a thin `main` around [`run`], which works with any store, event bus and clock.

pub mod args;
pub mod asking;
pub mod clock;
pub mod command;
pub mod confirm;
pub mod console;
pub mod eligibility;
pub mod exit;
pub mod findings;
pub mod gather;
pub mod handover;
pub mod output;
pub mod report;
pub mod rows;
pub mod text;
pub mod trouble;
pub mod view;
pub mod waker;
pub mod watch;
pub mod wishes;

use baton_store::Store;
use clap::CommandFactory;

use crate::args::{Cli, Command, Completions};
use crate::clock::Clock;
use crate::command::{
    Session, drain, exclude, failback, failover, fence, history, pause, restore, resume, status, switchover,
};
use crate::console::Console;
use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::waker::Waker;

/// Runs a command and tells its trouble on the error stream.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    cli: &Cli,
) -> Exit {
    let outcome = dispatch(session, console, cli).await;
    conclude(console, outcome)
}

/// Tells a trouble on the error stream and names the exit code.
pub fn conclude(console: &mut Console<'_>, outcome: Result<Exit, Trouble>) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(trouble) => {
            let text = trouble.render();
            if !text.is_empty() {
                console.talk(text.trim_end());
            }
            trouble.exit
        }
    }
}

async fn dispatch<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    cli: &Cli,
) -> Result<Exit, Trouble> {
    let cluster = cli.cluster();
    match &cli.command {
        Command::Status(args) => status::run(session, console, cluster, args).await,
        Command::History(args) => history::run(session, console, cluster, args).await,
        Command::Switchover(args) => switchover::run(session, console, cluster, args).await,
        Command::Failover(args) => failover::run(session, console, cluster, args).await,
        Command::Failback(args) => failback::run(session, console, cluster, args).await,
        Command::Exclude(args) => exclude::run(session, console, cluster, args).await,
        Command::Drain(args) => drain::run(session, console, cluster, args).await,
        Command::Include(args) => exclude::include(session, console, cluster, args).await,
        Command::Fence(args) => fence::run(session, console, cluster, args).await,
        Command::Doctor(_) => Err(Trouble::new(Exit::Unexpected, "`doctor` was given no way to EC2")),
        Command::Restore(args) => restore::run(session, console, cluster, args).await,
        Command::Pause(args) => pause::run(session, console, cluster, args).await,
        Command::Resume(_) => resume::run(session, console, cluster).await,
        Command::Completions(args) => completions(console, args),
    }
}

/// Writes the completions of a shell. Needs neither a table nor credentials.
pub fn completions(console: &mut Console<'_>, args: &Completions) -> Result<Exit, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "baton", &mut script);
    console.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod doctor_tests;
#[cfg(test)]
mod exclude_tests;
#[cfg(test)]
mod failback_tests;
#[cfg(test)]
mod failover_tests;
#[cfg(test)]
mod fence_tests;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod testing;
