//! `baton status`: one reading of a cluster, shown; with `--watch` again and again.

use baton_protocol::ids::ClusterName;
use baton_store::Store;

use crate::args::Status;
use crate::clock::Clock;
use crate::command::Session;
use crate::console::Console;
use crate::exit::Exit;
use crate::output;
use crate::trouble::Trouble;
use crate::watch;

/// Runs the command.
pub async fn run<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Status,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    if let Some(interval) = args.watch {
        return watch::run(session, console, &cluster, interval).await;
    }
    let view = session.snapshot(&cluster).await?.view();
    console.data(&output::status(&view, session.format, console.look)?)?;
    Ok(if args.exit_code { view.condition.exit() } else { Exit::Done })
}
