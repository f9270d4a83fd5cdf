//! `baton fence`: an operator's word that EC2 stop a node's instance, at once and as by a power cut. The arbiter does it, since
//! nobody else may, and answers what came of it.

use std::time::Duration;

use baton_protocol::ids::{ClusterName, RequestId};
use baton_protocol::lease::{Lease, Member};
use baton_protocol::request::{Request, Wish};
use baton_store::Store;
use serde::Serialize;

use crate::args::{Fence, Format};
use crate::asking;
use crate::clock::Clock;
use crate::command::{Session, Snapshot, must_be_active};
use crate::confirm::confirm;
use crate::console::Console;
use crate::eligibility::member;
use crate::exit::Exit;
use crate::output::json;
use crate::text::{length, printable, rfc3339, to_second};
use crate::trouble::Trouble;
use crate::view::SCHEMA_VERSION;
use crate::waker::Waker;

/// What the arbiter's answer begins with where the instance was stopped; anything else says why it was not.
const STOPPED: &str = "EC2 says";

/// The result, for `--format json`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    schema_version: u32,
    cluster: &'a str,
    /// `asked`, `fenced` or `failed`.
    outcome: &'static str,
    request: &'a str,
    node: &'a str,
    instance: &'a str,
    /// Whether it held the lease when it was asked.
    holder: bool,
    until: &'a str,
    wake_sent: bool,
    answer: Option<&'a str>,
}

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Fence,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let snapshot = session.snapshot(&cluster).await?;
    let lease = &snapshot.lease;
    must_be_active(lease)?;
    let node = member(&snapshot, &args.node)?.clone();
    if let Some(word) = lease.live_fence(snapshot.at) {
        let other = lease.name_of(&word.node);
        return Err(Trouble::refused(format!("{} has asked that {other} be stopped", printable(&word.by)))
            .help(format!(
                "see what became of that with `baton history {cluster}`; one is asked for at a time"
            )));
    }
    confirm(console, &question(&snapshot, &node), args.yes)?;
    let wish = Wish::Fence {
        node: node.instance.clone(),
        uid: lease.uid.clone(),
        why: args.reason.clone().unwrap_or_default(),
    };
    let (request, wake_sent) = asking::ask(session, console, lease, wish, args.valid_for).await?;
    let answer = match args.wait {
        Some(wait) => answer(session, &cluster, &request.id, wait).await,
        None => None,
    };
    let done = answer.as_ref().map(|answer| answer.starts_with(STOPPED));
    if session.format == Format::Json {
        let (id, until) = (node.instance.instance_id(), rfc3339(request.until));
        let outcome = Outcome {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.as_str(),
            outcome: match done {
                None => "asked",
                Some(true) => "fenced",
                Some(false) => "failed",
            },
            request: request.id.as_str(),
            node: node.node.as_str(),
            instance: id.as_str(),
            holder: holds(lease, &node),
            until: &until,
            wake_sent,
            answer: answer.as_deref(),
        };
        console.data(&json::text(&outcome, console.look)?)?;
    } else {
        console.data(&sentence(&request, &node, answer.as_deref()))?;
    }
    Ok(match (args.wait, done) {
        (None, _) | (_, Some(true)) => Exit::Done,
        (_, Some(false)) => Exit::Refused,
        (Some(_), None) => Exit::Waiting,
    })
}

fn holds(lease: &Lease, node: &Member) -> bool {
    lease.holder.as_ref() == Some(&node.instance)
}

/// What is asked before, with what follows from it.
fn question(snapshot: &Snapshot, node: &Member) -> String {
    let (lease, name) = (&snapshot.lease, &node.node);
    let id = node.instance.instance_id();
    let stop =
        format!("EC2 stops {name} ({id}) at once, as by a power cut, and nobody starts it again by itself.");
    if !holds(lease, node) {
        return format!("{stop} Stop it?");
    }
    let silence = length(lease.timing.silence());
    let next = match snapshot.view().protected {
        true => format!(
            "the service is down until a standby has seen its silence for {silence}, claims it and is granted the lease; \
             `baton switchover` hands over in good order"
        ),
        false => "no standby could take over now, so the service stays down".to_owned(),
    };
    format!("{name} holds the lease of `{}`: {next}. {stop} Stop it?", lease.cluster)
}

/// What the request was answered with by the end of the wait.
async fn answer<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    cluster: &ClusterName,
    id: &RequestId,
    wait: Duration,
) -> Option<String> {
    let end = session.clock.now() + wait;
    loop {
        let answer = asking::answer(session, cluster, id).await;
        if answer.is_some() || session.clock.now() >= end {
            return answer;
        }
        session.clock.sleep(asking::LOOK_EVERY).await;
    }
}

fn sentence(request: &Request, node: &Member, answer: Option<&str>) -> String {
    let (cluster, name) = (&request.cluster, &node.node);
    match answer {
        None => format!(
            "Cluster {cluster}: {name} is to be stopped; the request {} stands until {}\n\
             What becomes of it is in `baton history {cluster}`.\n",
            request.id,
            to_second(&rfc3339(request.until))
        ),
        Some(answer) => format!("Cluster {cluster}: {name}: {answer}\n"),
    }
}
