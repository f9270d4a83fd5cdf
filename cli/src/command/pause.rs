//! `baton pause`: holds back automatic action until a moment that is always named.

use std::time::Duration;

use baton_protocol::ids::ClusterName;
use baton_protocol::request::Wish;
use baton_store::Store;
use serde::Serialize;

use crate::args::{Format, Pause};
use crate::asking;
use crate::clock::Clock;
use crate::command::{Session, must_be_active};
use crate::console::Console;
use crate::exit::Exit;
use crate::output::json;
use crate::text::{length, rfc3339, to_second};
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
    request: &'a str,
    wake_sent: bool,
    paused: &'a PauseView,
    previous: Option<&'a PauseView>,
}

/// Runs the command. A pause that stands already is replaced, and that is said.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Pause,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let lease = session.lease(&cluster).await?;
    must_be_active(&lease)?;
    let why = args.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
    let wish = Wish::Pause { why: why.clone() };
    let (request, wake_sent) = asking::ask(session, console, &lease, wish, args.length).await?;

    let previous = PauseView::of(&lease, request.at);
    let until = rfc3339(request.until);
    let remaining_ms = u64::try_from(args.length.as_millis()).unwrap_or(u64::MAX);
    let paused = PauseView { until, remaining_ms, by: request.by.clone(), why };
    if session.format == Format::Json {
        let outcome = Outcome {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.as_str(),
            outcome: "paused",
            request: request.id.as_str(),
            wake_sent,
            paused: &paused,
            previous: previous.as_ref(),
        };
        console.data(&json::text(&outcome, console.look)?)?;
        return Ok(Exit::Done);
    }
    console.data(&sentence(cluster.as_str(), &paused, previous.as_ref()))?;
    Ok(Exit::Done)
}

fn sentence(cluster: &str, paused: &PauseView, previous: Option<&PauseView>) -> String {
    let left = length(Duration::from_millis(paused.remaining_ms));
    let mut text = format!(
        "Cluster {cluster}: paused until {} (in {left}) by {}: {}\n",
        to_second(&paused.until),
        paused.by,
        paused.why
    );
    if let Some(previous) = previous {
        text.push_str(&format!(
            "This replaces the pause until {} by {}: {}\n",
            to_second(&previous.until),
            previous.by,
            previous.why
        ));
    }
    text.push_str(&format!(
        "It ends by itself; `baton resume {cluster}` ends it sooner. A released lease is granted all the same.\n"
    ));
    text
}
