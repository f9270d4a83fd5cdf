//! `baton restore`: an operator's word that the table was restored to an earlier moment. The arbiter lets the lease begin anew, at
//! an epoch above whatever was granted since, once every node is known to have stopped. Nobody else may write an epoch.

use std::time::Duration;

use baton_protocol::ids::{ClusterName, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::request::Wish;
use baton_store::Store;
use serde::Serialize;

use crate::args::{Format, Restore};
use crate::asking;
use crate::clock::Clock;
use crate::command::{Session, must_be_active};
use crate::confirm::confirm;
use crate::console::Console;
use crate::exit::Exit;
use crate::output::json;
use crate::text::{length, printable, rfc3339, to_second};
use crate::trouble::Trouble;
use crate::view::SCHEMA_VERSION;
use crate::waker::Waker;

/// Between two looks for what came of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The request is among the newest of its cluster.
const NEWEST: usize = 100;

/// What came of it by the end of the wait.
#[derive(Debug, Default)]
struct Found {
    /// The epoch from which the lease began anew.
    epoch: Option<u64>,
    /// What the arbiter has answered last.
    answer: Option<String>,
}

/// The result, for `--format json`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    schema_version: u32,
    cluster: &'a str,
    /// `asked`, `restored` or `waiting`.
    outcome: &'static str,
    request: &'a str,
    /// The epoch that the table showed.
    from: u64,
    epoch: Option<u64>,
    until: &'a str,
    wake_sent: bool,
    answer: Option<&'a str>,
}

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Restore,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let lease = session.lease(&cluster).await?;
    must_be_active(&lease)?;
    confirm(console, &question(&lease), args.yes)?;
    let why = args.reason.clone().unwrap_or_default();
    let wish = Wish::Restore { uid: lease.uid.clone(), why };
    let request = asking::request(&lease, wish, session.who.clone(), session.clock.now(), args.valid_for)?;
    asking::put(session, &request).await?;
    let wake_sent = asking::wake(session, console, &cluster).await;
    let found = match args.wait {
        Some(wait) => wait_for(session, &lease, &request.id, wait).await?,
        None => Found::default(),
    };
    let until = rfc3339(request.until);
    if session.format == Format::Json {
        let outcome = Outcome {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.as_str(),
            outcome: match (args.wait, found.epoch) {
                (_, Some(_)) => "restored",
                (Some(_), None) => "waiting",
                (None, None) => "asked",
            },
            request: request.id.as_str(),
            from: lease.epoch.0,
            epoch: found.epoch,
            until: &until,
            wake_sent,
            answer: found.answer.as_deref(),
        };
        console.data(&json::text(&outcome, console.look)?)?;
    } else {
        let text = match (found.epoch, &found.answer) {
            (Some(epoch), _) => {
                format!(
                    "Cluster {cluster}: nobody holds the lease, and epochs go on from {epoch}; start the agents"
                )
            }
            (None, Some(answer)) => {
                format!("Cluster {cluster}: {answer}; the request stands until {}", to_second(&until))
            }
            (None, None) => format!(
                "Cluster {cluster}: its lease is to begin anew; the request {} stands until {}\n\
                 What becomes of it is in `baton history {cluster}`.",
                request.id,
                to_second(&until)
            ),
        };
        console.data(&format!("{text}\n"))?;
    }
    Ok(if args.wait.is_some() && found.epoch.is_none() { Exit::Waiting } else { Exit::Done })
}

/// What is asked before, with what follows from it.
fn question(lease: &Lease) -> String {
    let holder = lease.holder.as_ref().map_or_else(|| "nobody".to_owned(), |holder| lease.name_of(holder));
    format!(
        "The table shows epoch {} of `{}`, held by {holder}. If it was restored to an earlier moment, every agent has to be \
         stopped now: the lease begins anew, held by nobody, once none of them has written anything for {}. Go on?",
        lease.epoch,
        lease.cluster,
        length(lease.timing.silence())
    )
}

/// The epoch tells, and else the arbiter's last answer.
async fn wait_for<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    before: &Lease,
    id: &RequestId,
    wait: Duration,
) -> Result<Found, Trouble> {
    let end = session.clock.now() + wait;
    loop {
        // A read that fails says nothing about what was asked for.
        let lease = session.store.lease(&before.cluster).await.ok().flatten();
        let requests = session.store.requests(&before.cluster, NEWEST).await.unwrap_or_default();
        let answer =
            requests.into_iter().find(|request| request.id == *id).and_then(|request| request.answer);
        let begun = lease
            .filter(|lease| lease.uid == before.uid && lease.restore.is_none() && lease.epoch > before.epoch);
        let found =
            Found { epoch: begun.map(|lease| lease.epoch.0), answer: answer.map(|text| printable(&text)) };
        if found.epoch.is_some() || session.clock.now() >= end {
            return Ok(found);
        }
        session.clock.sleep(LOOK_EVERY).await;
    }
}
