//! `baton resume`: ends a pause. Where none stands there is nothing to do, and that is done.

use baton_protocol::ids::ClusterName;
use baton_protocol::request::Wish;
use baton_store::Store;
use serde::Serialize;

use crate::args::Format;
use crate::asking;
use crate::clock::Clock;
use crate::command::{Session, must_be_active};
use crate::console::Console;
use crate::exit::Exit;
use crate::output::json;
use crate::text::to_second;
use crate::trouble::Trouble;
use crate::view::SCHEMA_VERSION;
use crate::waker::Waker;
use crate::wishes::PauseView;

/// The result, for `--format json`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    schema_version: u32,
    cluster: &'a str,
    outcome: &'static str,
    request: Option<&'a str>,
    wake_sent: bool,
    previous: Option<&'a PauseView>,
}

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let lease = session.lease(&cluster).await?;
    must_be_active(&lease)?;
    let now = session.clock.now();
    let previous = PauseView::of(&lease, now);
    let mut outcome = Outcome {
        schema_version: SCHEMA_VERSION,
        cluster: cluster.as_str(),
        outcome: "not-paused",
        request: None,
        wake_sent: false,
        previous: previous.as_ref(),
    };
    let request = asking::request(&lease, Wish::Resume {}, session.who.clone(), now, asking::DONE_AT_ONCE)?;
    if previous.is_some() {
        asking::put(session, &request).await?;
        // What was held back is decided now, not at the next sweep.
        outcome.wake_sent = asking::wake(session, console, &cluster).await;
        outcome.outcome = "resumed";
        outcome.request = Some(request.id.as_str());
    }
    let text = match (session.format, &previous) {
        (Format::Json, _) => json::text(&outcome, console.look)?,
        (_, None) => format!("Cluster {cluster}: not paused, nothing to do\n"),
        (_, Some(pause)) => format!(
            "Cluster {cluster}: resumed; this ends the pause until {} by {}: {}\n",
            to_second(&pause.until),
            pause.by,
            pause.why
        ),
    };
    console.data(&text)?;
    Ok(Exit::Done)
}
