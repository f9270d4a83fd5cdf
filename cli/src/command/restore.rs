//! `baton restore`: an operator's word that the table was restored to an earlier moment. The arbiter lets the lease begin anew, at
//! an epoch above whatever was granted since, once every node is known to have stopped. Nobody else may write an epoch.

use std::time::Duration;

use baton_protocol::ids::{ClusterName, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::request::{Request, Wish};
use baton_protocol::restored;
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

/// What came of it by the end of the wait.
#[derive(Debug, Default)]
struct Found {
    /// The epoch from which the lease began anew.
    epoch: Option<u64>,
    /// What the arbiter has answered. A request is answered once, so nothing else comes of it.
    answer: Option<String>,
    /// What was in the way last, while it is not answered.
    in_the_way: Option<String>,
}

/// The result, for `--format json`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    schema_version: u32,
    cluster: &'a str,
    /// `asked`, `restored`, `waiting`, or `unobeyed` with the arbiter's answer.
    outcome: &'static str,
    request: &'a str,
    /// The epoch that the table showed.
    from: u64,
    epoch: Option<u64>,
    until: &'a str,
    wake_sent: bool,
    /// The arbiter's answer, and before there is one what is in the way.
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
    let (request, wake_sent) = asking::ask(session, console, &lease, wish, args.valid_for).await?;
    let found = match args.wait {
        Some(wait) => wait_for(session, &lease, &request.id, wait).await?,
        None => Found::default(),
    };
    let until = rfc3339(request.until);
    if session.format == Format::Json {
        let outcome = Outcome {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.as_str(),
            outcome: match (&found, args.wait) {
                (Found { epoch: Some(_), .. }, _) => "restored",
                (Found { answer: Some(_), .. }, _) => "unobeyed",
                (_, Some(_)) => "waiting",
                (_, None) => "asked",
            },
            request: request.id.as_str(),
            from: lease.epoch.0,
            epoch: found.epoch,
            until: &until,
            wake_sent,
            answer: found.answer.as_deref().or(found.in_the_way.as_deref()),
        };
        console.data(&json::text(&outcome, console.look)?)?;
    } else {
        console.data(&format!("{}\n", told(&cluster, &request, &found)))?;
    }
    Ok(match (found, args.wait) {
        (Found { epoch: Some(_), .. }, _) | (_, None) => Exit::Done,
        (Found { answer: Some(_), .. }, _) => Exit::Refused,
        _ => Exit::Waiting,
    })
}

/// What came of it, for people.
fn told(cluster: &ClusterName, request: &Request, found: &Found) -> String {
    let until = to_second(&rfc3339(request.until));
    match found {
        Found { epoch: Some(epoch), .. } => {
            format!(
                "Cluster {cluster}: nobody holds the lease, and epochs go on from {epoch}; start the agents"
            )
        }
        Found { answer: Some(answer), .. } => format!("Cluster {cluster}: {answer}"),
        Found { in_the_way: Some(why), .. } => {
            format!("Cluster {cluster}: {why}; the request stands until {until}")
        }
        _ => format!(
            "Cluster {cluster}: its lease is to begin anew; the request {} stands until {until}\n\
             What becomes of it is in `baton history {cluster}`.",
            request.id
        ),
    }
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

/// The epoch tells, and else the arbiter's answer; while there is neither, the history says what is in the way.
async fn wait_for<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    before: &Lease,
    id: &RequestId,
    wait: Duration,
) -> Result<Found, Trouble> {
    let end = session.clock.now() + wait;
    loop {
        // A read that fails says nothing about what was asked for. The lease is read last: it has begun anew before that is
        // answered.
        let answer = asking::answer(session, &before.cluster, id).await;
        let lease = session.store.lease(&before.cluster).await.ok().flatten();
        let seen = lease.is_some();
        let begun = lease
            .filter(|lease| lease.uid == before.uid && lease.restore.is_none() && lease.epoch > before.epoch);
        let epoch = begun.map(|lease| lease.epoch.0);
        let over = epoch.is_some() || (answer.is_some() && seen) || session.clock.now() >= end;
        if over {
            let open = epoch.is_none() && answer.is_none();
            let in_the_way = if open { in_the_way(session, before, id).await } else { None };
            return Ok(Found { epoch, answer, in_the_way });
        }
        session.clock.sleep(asking::LOOK_EVERY).await;
    }
}

/// What the arbiter has last written down to be in the way of the request.
async fn in_the_way<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    before: &Lease,
    id: &RequestId,
) -> Option<String> {
    let rows = session.store.history(&before.cluster, asking::NEWEST).await.unwrap_or_default();
    rows.iter().find_map(|row| restored::is_in_the_way(id, &row.what)).map(|why| printable(&why))
}
