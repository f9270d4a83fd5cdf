//! `baton exclude`: a node shall not hold the lease for a while. `baton include` takes that back.

use std::time::Duration;

use baton_protocol::ids::{ClusterName, RequestId};
use baton_protocol::lease::{Exclusion, Lease};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_store::Store;
use serde::Serialize;

use crate::args::{Exclude, Format, Include};
use crate::asking;
use crate::clock::Clock;
use crate::command::{Session, Snapshot, must_be_active};
use crate::console::Console;
use crate::eligibility::member;
use crate::exit::Exit;
use crate::output::json;
use crate::text::{length, to_second};
use crate::trouble::Trouble;
use crate::view::SCHEMA_VERSION;
use crate::waker::Waker;
use crate::wishes::ExclusionView;

/// How often is looked again for what is to be ended or replaced, where others change it meanwhile.
const LOOKS: u32 = 4;

/// The result, for `--format json`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    schema_version: u32,
    cluster: &'a str,
    /// `excluded`, `included` or `not-excluded`.
    outcome: &'static str,
    request: Option<&'a str>,
    wake_sent: bool,
    excluded: Option<&'a ExclusionView>,
    previous: Option<&'a ExclusionView>,
    /// Whether the hand-over that the previous one had asked for is taken back as well.
    hand_over_withdrawn: bool,
}

/// Runs `baton exclude`. An exclusion that stands already is replaced, and that is said. Nothing is replaced unseen: what
/// others exclude meanwhile stands, and is named.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Exclude,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let (mut seen, mut tried) = (None, 0);
    let (request, snapshot) = loop {
        let snapshot = session.snapshot(&cluster).await?;
        let request = shut_out(session, &snapshot, args)?;
        let stands = standing(&snapshot.lease);
        if *seen.get_or_insert_with(|| stands.clone()) != stands
            && let Some(other) = ExclusionView::of(&snapshot.lease, snapshot.at)
        {
            return Err(overtaken(&cluster, &other));
        }
        tried += 1;
        match asking::put(session, &request).await {
            Err(trouble) if trouble.exit == Exit::Lost && tried < LOOKS => {}
            put => {
                put?;
                break (request, snapshot);
            }
        }
    };
    let previous = ExclusionView::of(&snapshot.lease, snapshot.at);
    let withdrawn = withdraws(&snapshot.lease) && snapshot.lease.live_intent(snapshot.at).is_some();
    let wake_sent = asking::wake(session, console, &cluster).await;
    let excluded = as_it_came_out(&session.lease(&cluster).await?, &request)?;
    if session.format == Format::Json {
        let outcome = Outcome {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.as_str(),
            outcome: "excluded",
            request: Some(request.id.as_str()),
            wake_sent,
            excluded: Some(&excluded),
            previous: previous.as_ref(),
            hand_over_withdrawn: withdrawn,
        };
        console.data(&json::text(&outcome, console.look)?)?;
        return Ok(Exit::Done);
    }
    console.data(&sentence(cluster.as_str(), &excluded, previous.as_ref(), withdrawn))?;
    Ok(Exit::Done)
}

/// The request that excludes a standby, in the place of the exclusion that was read.
fn shut_out<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    snapshot: &Snapshot,
    args: &Exclude,
) -> Result<Request, Trouble> {
    let lease = &snapshot.lease;
    must_be_active(lease)?;
    let node = member(snapshot, &args.what.node)?;
    if lease.holder.as_ref() == Some(&node.instance) {
        let message = format!("{} holds the lease of `{}`", node.node, lease.cluster);
        return Err(Trouble::refused(message)
            .help("a holder hands over first: use `baton drain`, which excludes it as well"));
    }
    let why = args.what.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
    let wish = Wish::Exclude {
        node: node.instance.clone(),
        why,
        hand_over: false,
        replaces: standing(lease),
        withdraws: withdraws(lease),
    };
    asking::request(lease, wish, session.who.clone(), snapshot.at, args.what.length)
}

/// The request behind the exclusion in a lease. One that has ended by itself is there until it is replaced.
pub fn standing(lease: &Lease) -> Option<RequestId> {
    lease.excluded.as_ref().map(|exclusion| exclusion.request.clone())
}

/// Whether the exclusion in a lease came with a wish that the holder hand over, and that is there still. Without it the node
/// would hand over and could be granted the lease again at once.
fn withdraws(lease: &Lease) -> bool {
    let intending = lease.intent.as_ref().and_then(|intent| intent.request.as_ref());
    intending.is_some() && intending == standing(lease).as_ref()
}

/// Another exclusion came between the reading and the writing, and whoever asked has not seen it.
fn overtaken(cluster: &ClusterName, other: &ExclusionView) -> Trouble {
    let ExclusionView { node, until, by, .. } = other;
    let message = format!(
        "nothing was changed: {by} excluded {node} meanwhile, until {}{}",
        to_second(until),
        because(other)
    );
    Trouble::new(Exit::Lost, message)
        .help(format!("look with `baton status {cluster}`; run it again if it is to take that one's place"))
}

/// The exclusion that was just written. It may have ended or been replaced since, and no write of an operator can keep the
/// node from having been granted the lease before it.
fn as_it_came_out(after: &Lease, request: &Request) -> Result<ExclusionView, Trouble> {
    let cluster = &after.cluster;
    let own = after.live_exclusion(request.at).filter(|exclusion| exclusion.request == request.id);
    let view = own.and_then(|_| ExclusionView::of(after, request.at));
    let (Some(own), Some(view)) = (own, view) else {
        let node = match &request.wish {
            Wish::Exclude { node, .. } => after.name_of(node),
            _ => "the node".to_owned(),
        };
        let message = format!("another request ended or replaced the exclusion of {node} at once");
        return Err(Trouble::new(Exit::Lost, message).help(format!("look with `baton history {cluster}`")));
    };
    if after.holder.as_ref() == Some(&own.node) {
        let node = &view.node;
        let message = format!("{node} is excluded, but holds the lease of `{cluster}` by now");
        return Err(Trouble::new(Exit::Lost, message)
            .help(format!("nobody has asked it to hand over: use `baton drain {cluster} --node {node}`")));
    }
    Ok(view)
}

/// An exclusion that is replaced, in words.
pub fn replaced(previous: &ExclusionView) -> String {
    let ExclusionView { node, until, by, .. } = previous;
    format!("replaces the exclusion of {node} until {} by {by}{}", to_second(until), because(previous))
}

/// Why it was, at the end of a sentence.
fn because(exclusion: &ExclusionView) -> String {
    if exclusion.why.is_empty() { String::new() } else { format!(": {}", exclusion.why) }
}

fn sentence(
    cluster: &str,
    excluded: &ExclusionView,
    previous: Option<&ExclusionView>,
    withdrawn: bool,
) -> String {
    let left = length(Duration::from_millis(excluded.remaining_ms));
    let ExclusionView { node, until, by, why, .. } = excluded;
    let mut text = format!(
        "Cluster {cluster}: {node} is excluded until {} (in {left}) by {by}: {why}\n",
        to_second(until)
    );
    if let Some(previous) = previous {
        text.push_str(&format!("This {}\n", replaced(previous)));
    }
    if withdrawn {
        text.push_str("The hand-over that came with it, which has not been obeyed yet, is taken back too\n");
    }
    text.push_str(&format!("It ends by itself; `baton include {cluster}` ends it sooner.\n"));
    text
}

/// Runs `baton include`. Where nothing is excluded there is nothing to do, and that is done.
pub async fn include<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    _: &Include,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let mut tried = 0;
    let (previous, request) = loop {
        let lease = session.lease(&cluster).await?;
        must_be_active(&lease)?;
        let now = session.clock.now();
        let Some(exclusion) = lease.live_exclusion(now) else { break (None, None) };
        let request = take_back(session, &lease, exclusion, now)?;
        tried += 1;
        match asking::put(session, &request).await {
            // Somebody was quicker with another exclusion or another wish, and this command ends whichever stands.
            Err(trouble) if trouble.exit == Exit::Lost && tried < LOOKS => {}
            put => {
                put?;
                break (ExclusionView::of(&lease, now), Some(request));
            }
        }
    };
    let wake_sent = request.is_some() && asking::wake(session, console, &cluster).await;
    let wish = request.as_ref().map(|request| &request.wish);
    let withdrawn = matches!(wish, Some(Wish::Include { withdraws: true, .. }));
    let text = match (session.format, &previous) {
        (Format::Json, _) => {
            let outcome = Outcome {
                schema_version: SCHEMA_VERSION,
                cluster: cluster.as_str(),
                outcome: if previous.is_some() { "included" } else { "not-excluded" },
                request: request.as_ref().map(|request| request.id.as_str()),
                wake_sent,
                excluded: None,
                previous: previous.as_ref(),
                hand_over_withdrawn: withdrawn,
            };
            json::text(&outcome, console.look)?
        }
        (_, None) => format!("Cluster {cluster}: no node is excluded, nothing to do\n"),
        (_, Some(was)) => format!(
            "Cluster {cluster}: {} is included; this ends its exclusion until {} by {}: {}\n",
            was.node,
            to_second(&was.until),
            was.by,
            was.why
        ),
    };
    console.data(&text)?;
    Ok(Exit::Done)
}

/// The request that ends an exclusion. A drain that the holder has not obeyed yet is taken back as well, and nobody else's wish.
fn take_back<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    lease: &Lease,
    exclusion: &Exclusion,
    now: WallTime,
) -> Result<Request, Trouble> {
    let intending = lease.live_intent(now).and_then(|intent| intent.request.as_ref());
    let exclusion = exclusion.request.clone();
    let wish = Wish::Include { withdraws: intending == Some(&exclusion), exclusion };
    asking::request(lease, wish, session.who.clone(), now, asking::DONE_AT_ONCE)
}
