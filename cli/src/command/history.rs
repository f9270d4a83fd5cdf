//! `baton history`: what happened to a cluster, and what operators asked for.

use baton_protocol::ids::ClusterName;
use baton_store::Store;

use crate::args::History;
use crate::clock::Clock;
use crate::command::Session;
use crate::console::Console;
use crate::exit::Exit;
use crate::output;
use crate::rows::rows;
use crate::trouble::Trouble;

/// Runs the command.
pub async fn run<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &History,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let lease = session.lease(&cluster).await?;
    let limit = usize::from(args.limit);
    let events = session.store.history(&cluster, limit).await;
    let events = events.map_err(|failure| Trouble::of_table("reading the history", &failure))?;
    let requests = session.store.requests(&cluster, limit).await;
    let requests = requests.map_err(|failure| Trouble::of_table("reading the requests", &failure))?;
    let rows = rows(&lease, &events, &requests, limit, session.clock.now());
    console.data(&output::history(&rows, session.format, console.look)?)?;
    Ok(Exit::Done)
}
