//! `baton switchover`: a planned move from a holder that beats, asked for, and followed to its end where that is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_protocol::failback::would_return;
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::history::{Event, Happening};
use baton_protocol::ids::{ClusterName, Incarnation, InstanceArn, Seq};
use baton_protocol::readiness::looks_silent;
use baton_protocol::request::{Request, Wish};
use baton_store::{Store, hand_over_until};
use serde::Serialize;

use crate::args::{Format, Switchover};
use crate::asking;
use crate::clock::Clock;
use crate::command::{Session, Snapshot, exclude, must_be_active};
use crate::confirm::confirm;
use crate::console::Console;
use crate::eligibility::{Kind, Plan, examine, examine_failover, member};
use crate::exit::Exit;
use crate::handover::{Handover, Standing, Transition};
use crate::output::{self, json};
use crate::text::{length, moment, rfc3339};
use crate::trouble::Trouble;
use crate::view::{SCHEMA_VERSION, View};
use crate::waker::Waker;
use crate::wishes::ExclusionView;

/// How often the table is read while somebody waits. A hand-over takes a few seconds, and each stage is to be seen.
const POLL: Duration = Duration::from_millis(200);

/// The result, for `--format json`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    schema_version: u32,
    cluster: &'a str,
    /// `asked`, `done`, `lost`, `ended` or `waiting`.
    outcome: &'static str,
    explanation: Option<&'a str>,
    request: RequestView<'a>,
    wake_sent: bool,
    transitions: &'a [Transition],
    status: View,
}

/// The request, for `--format json`.
#[derive(Debug, Serialize)]
struct RequestView<'a> {
    id: &'a str,
    by: &'a str,
    epoch: u64,
    from: String,
    to: Option<String>,
    at: String,
    until: String,
}

/// How a switchover ended, as far as this command followed it.
struct End {
    exit: Exit,
    outcome: &'static str,
    explanation: Option<String>,
}

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Switchover,
) -> Result<Exit, Trouble> {
    ask_for(session, console, named, args, Asked { kind: Kind::Switchover, of: None }).await
}

/// What is asked of a holder.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which move.
    pub kind: Kind,
    /// The holder that it is asked of; none: of whoever holds the lease.
    pub of: Option<&'a InstanceArn>,
}

/// Asks that the lease go to another node, and follows that to its end where it is wanted.
pub async fn ask_for<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Switchover,
    Asked { kind, of }: Asked<'_>,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let before = session.snapshot(&cluster).await?;
    let (plan, beating) = plan(session, console, &before, args.to.as_deref(), kind).await?;
    if !args.how.yes && console.look.can_ask {
        console.talk(output::table::status(&before.view(), console.look).trim_end());
    }
    confirm(console, &question(&before, &plan, kind), args.how.yes)?;

    // Whoever was asked may have taken a while to answer.
    let now = session.snapshot(&cluster).await?;
    if now.lease.epoch != before.lease.epoch {
        let message = format!("the epoch went from {} to {} meanwhile", before.lease.epoch, now.lease.epoch);
        return Err(Trouble::new(Exit::Lost, message).help(format!("look with `baton status {cluster}`")));
    }
    let plan = match kind {
        Kind::Switchover | Kind::Drain => {
            self::plan(session, console, &now, args.to.as_deref(), kind).await?.0
        }
        // What was watched before need not be watched again while it stands still.
        Kind::Failover => still_silent(&before, &now, &plan, args.to.as_deref(), &beating)?,
    };
    if of.is_some_and(|of| *of != plan.from) {
        let holder = now.lease.name_of(&plan.from);
        let message = format!("{holder} holds the lease of `{cluster}` by now");
        return Err(Trouble::new(Exit::Lost, message).help(format!("look with `baton status {cluster}`")));
    }
    let wish = wish(kind, &plan, args.how.reason.clone().unwrap_or_default(), &before);
    let request =
        asking::request(&now.lease, wish, session.who.clone(), session.clock.now(), args.how.valid_for)?;
    asking::put(session, &request).await?;
    // Whoever was not asked is told afterwards.
    if let Some(previous) = ending(&before, kind).filter(|_| args.how.yes) {
        console.talk(&format!("note: this {}", exclude::replaced(&previous)));
    }
    if let Some(undone) = undone(&now, &plan, kind).filter(|_| args.how.yes) {
        console.talk(&format!("note: {undone}"));
    }
    let wake_sent = asking::wake(session, console, &cluster).await;

    let mut handover = Handover::new(&request, &plan.from);
    let end = follow(session, console, &mut handover, &request, args.how.wait).await?;
    report(session, console, &request, &plan, &end, wake_sent, handover.seen()).await?;
    match end.exit {
        Exit::Done => Ok(Exit::Done),
        exit => Err(Trouble { exit, message: end.explanation, help: None }),
    }
}

/// What is asked for. A drain replaces the exclusion that the question was asked about, and none that came after it.
fn wish(kind: Kind, plan: &Plan, why: String, before: &Snapshot) -> Wish {
    let to = plan.to.clone();
    match kind {
        Kind::Switchover => Wish::Switchover { to, why },
        Kind::Failover => Wish::Failover { to, why },
        Kind::Drain => {
            let replaces = exclude::standing(&before.lease);
            Wish::Exclude { node: plan.from.clone(), why, hand_over: true, replaces, withdraws: false }
        }
    }
}

/// The exclusion that still stands and is ended by this one.
fn ending(before: &Snapshot, kind: Kind) -> Option<ExclusionView> {
    ExclusionView::of(&before.lease, before.at).filter(|_| kind == Kind::Drain)
}

/// That an automatic failback will undo it. Whoever drains a node excludes it, and nothing goes back there.
fn undone(snapshot: &Snapshot, plan: &Plan, kind: Kind) -> Option<String> {
    let (preferred, hold) =
        would_return(&snapshot.lease, plan.to.as_ref()).filter(|_| kind != Kind::Drain)?;
    if snapshot.lease.is_excluded(&preferred.instance, snapshot.at) {
        return None;
    }
    let (node, hold) = (&preferred.node, length(hold));
    Some(format!(
        "automatic failback is on: the lease goes back to {node} once that has been healthy for {hold}; to keep it, pause the \
         cluster or exclude {node}"
    ))
}

/// Examines the hand-over; where a node looks silent by its clock only, its heartbeat is watched before it is refused.
async fn plan<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    snapshot: &Snapshot,
    to: Option<&str>,
    kind: Kind,
) -> Result<(Plan, BTreeSet<InstanceArn>), Trouble> {
    must_be_active(&snapshot.lease)?;
    let mut beating = BTreeSet::new();
    if kind == Kind::Failover {
        // Not only what is to take over: a holder that beats is not to be given up for a clock that is off.
        let mut silent = silent_nodes(snapshot);
        let holder = snapshot.lease.holder.clone().filter(|holder| silent.contains(holder));
        if let (None, Some(Ok(target))) = (&holder, to.map(|to| member(snapshot, to))) {
            // Nothing is left in doubt but the node that was named: what others do says nothing of it.
            silent.retain(|node| *node == target.instance);
        }
        if !silent.is_empty() {
            // A holder that beats ends it, a standby that does says nothing of the holder.
            let decides = |grown: &BTreeSet<InstanceArn>| match &holder {
                Some(holder) => grown.contains(holder),
                None => !grown.is_empty(),
            };
            beating = watch_heartbeats(session, console, snapshot, &silent, decides).await?;
        }
        let plan = examine_failover(snapshot, to, &beating).map_err(|refusal| refusal.trouble)?;
        return Ok((plan, beating));
    }
    loop {
        let refusal = match examine(snapshot, to, &beating) {
            Ok(plan) => return Ok((plan, beating)),
            Err(refusal) => refusal,
        };
        let doubtful: BTreeSet<InstanceArn> = refusal.doubtful.difference(&beating).cloned().collect();
        if doubtful.is_empty() {
            return Err(refusal.trouble);
        }
        let seen = watch_heartbeats(session, console, snapshot, &doubtful, |grown| !grown.is_empty()).await?;
        if seen.is_empty() {
            return Err(refusal.trouble);
        }
        beating.extend(seen);
    }
}

/// Watches heartbeats that look old, for as long as the cluster's own silence or until what was seen `decides`. One that grows
/// is alive, whatever its node's clock says.
async fn watch_heartbeats<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    snapshot: &Snapshot,
    doubtful: &BTreeSet<InstanceArn>,
    decides: impl Fn(&BTreeSet<InstanceArn>) -> bool,
) -> Result<BTreeSet<InstanceArn>, Trouble> {
    let lease = &snapshot.lease;
    let names: Vec<String> = doubtful.iter().map(|node| lease.name_of(node)).collect();
    let limit = lease.timing.silence();
    console.talk(&format!("{} looks silent; watching for up to {}", names.join(" and "), length(limit)));
    let nodes: Vec<InstanceArn> = doubtful.iter().cloned().collect();
    let begun = session.clock.now();
    loop {
        session.clock.sleep(lease.timing.heartbeat()).await;
        let heartbeats = session.store.heartbeats(&lease.cluster, &nodes).await;
        let heartbeats =
            heartbeats.map_err(|failure| Trouble::of_table("reading the heartbeats", &failure))?;
        let grown = nodes.iter().filter(|node| mark(&heartbeats, node) != mark(&snapshot.heartbeats, node));
        let grown: BTreeSet<InstanceArn> = grown.cloned().collect();
        if decides(&grown) || session.clock.now().since(begun) >= limit {
            return Ok(grown);
        }
    }
}

/// Examines the takeover again by a later reading. Whoever was seen beating then is taken to beat still; a holder that has
/// beaten since is not silent.
fn still_silent(
    before: &Snapshot,
    now: &Snapshot,
    plan: &Plan,
    to: Option<&str>,
    beating: &BTreeSet<InstanceArn>,
) -> Result<Plan, Trouble> {
    let mut beating = beating.clone();
    if mark(&before.heartbeats, &plan.from) != mark(&now.heartbeats, &plan.from) {
        beating.insert(plan.from.clone());
    }
    must_be_active(&now.lease)?;
    examine_failover(now, to, &beating).map_err(|refusal| refusal.trouble)
}

/// Which heartbeat of a node was read.
fn mark(heartbeats: &BTreeMap<InstanceArn, Heartbeat>, node: &InstanceArn) -> Option<(Incarnation, Seq)> {
    heartbeats.get(node).map(|heartbeat| (heartbeat.incarnation.clone(), heartbeat.seq))
}

/// Nodes that look silent by their clocks, but a holder whose silence a standby has timed by its own.
fn silent_nodes(snapshot: &Snapshot) -> BTreeSet<InstanceArn> {
    let Snapshot { lease, heartbeats, at, .. } = snapshot;
    let claimed = lease.current_claims(heartbeats).next().map(|(_, claim)| &claim.holder);
    let silent =
        |heartbeat: &&Heartbeat| looks_silent(lease, heartbeat, *at) && claimed != Some(&heartbeat.instance);
    heartbeats.values().filter(silent).map(|heartbeat| heartbeat.instance.clone()).collect()
}

fn question(snapshot: &Snapshot, plan: &Plan, kind: Kind) -> String {
    let lease = &snapshot.lease;
    let to = plan.to.as_ref().map_or_else(|| "the best standby".to_owned(), |to| lease.name_of(to));
    let replaced = match lease.live_intent(snapshot.at) {
        Some(_) => " This replaces the intent above.",
        None => "",
    };
    let ended = ending(snapshot, kind).map(|previous| format!(" This {}.", exclude::replaced(&previous)));
    let mut ended = ended.unwrap_or_default();
    if let Some(undone) = undone(snapshot, plan, kind) {
        ended = format!("{ended} Note that {undone}.");
    }
    let (cluster, from) = (&lease.cluster, lease.name_of(&plan.from));
    match kind {
        Kind::Switchover => format!("Move cluster {cluster} from {from} to {to}?{replaced}{ended}"),
        Kind::Drain => format!("Drain {from} of cluster {cluster}, which {to} takes over?{replaced}{ended}"),
        Kind::Failover => {
            format!("Let {to} take cluster {cluster} over from {from}, which is silent?{replaced}{ended}")
        }
    }
}

/// Reads the table until the hand-over is over or the time is; without a time, once.
async fn follow<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    handover: &mut Handover<'_>,
    request: &Request,
    limit: Option<Duration>,
) -> Result<End, Trouble> {
    let talks = session.format != Format::Json;
    if let Some(limit) = limit.filter(|_| talks) {
        console.talk(&format!("request {} stands; waiting up to {}", request.id, length(limit)));
    }
    let mut has_complained = false;
    loop {
        let told = handover.seen().len();
        let standing = match reading(session, handover, &request.cluster).await {
            Ok((snapshot, grant)) => handover.observe(&snapshot, grant.as_ref()),
            Err(trouble) if trouble.exit == Exit::Unexpected => {
                if !has_complained {
                    console.talk(&format!("note: {}; asking again", trouble.message.unwrap_or_default()));
                }
                has_complained = true;
                Standing::UnderWay
            }
            Err(trouble) => return Err(trouble.help(format!("request {} stands all the same", request.id))),
        };
        if talks {
            handover.seen()[told..].iter().for_each(|transition| console.talk(&transition.line()));
        }
        let end = |exit, outcome, why| Ok(End { exit, outcome, explanation: why });
        match standing {
            Standing::Done => return end(Exit::Done, "done", None),
            Standing::Lost(why) => {
                let why = with_answer(session, request, why).await;
                return end(Exit::Lost, "lost", Some(why));
            }
            Standing::Ended(why) => {
                let why = with_answer(session, request, why).await;
                return end(Exit::Refused, "ended", Some(why));
            }
            Standing::UnderWay => {}
        }
        let Some(limit) = limit else { return end(Exit::Done, "asked", None) };
        if session.clock.now().since(request.at) >= limit {
            let until = moment(hand_over_until(request));
            let why =
                format!("not done after {}; request {} goes on until {until}", length(limit), request.id);
            return end(Exit::Waiting, "waiting", Some(why));
        }
        session.clock.sleep(POLL).await;
    }
}

/// One reading, and the newest grant where the hand-over needs it.
async fn reading<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    handover: &Handover<'_>,
    cluster: &ClusterName,
) -> Result<(Snapshot, Option<Event>), Trouble> {
    let snapshot = session.snapshot(cluster).await?;
    if !handover.needs_grant(&snapshot.lease) {
        return Ok((snapshot, None));
    }
    let history = session.store.history(cluster, asking::NEWEST).await;
    let history = history.map_err(|failure| Trouble::of_table("reading the history", &failure))?;
    let grant = history.into_iter().find(|event| {
        matches!(&event.what, Happening::Granted { to, .. } if Some(to) == snapshot.lease.holder.as_ref())
    });
    Ok((snapshot, grant))
}

/// Adds what the request was answered with, by the arbiter or by the request that took its place; if it was.
async fn with_answer<S: Store, W, C>(
    session: &Session<'_, S, W, C>,
    request: &Request,
    why: String,
) -> String {
    match asking::answer(session, &request.cluster, &request.id).await {
        Some(answer) => format!("{why}: {answer}"),
        None => why,
    }
}

/// Writes the result: the final table, or one object.
async fn report<S: Store, W, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    request: &Request,
    plan: &Plan,
    end: &End,
    wake_sent: bool,
    transitions: &[Transition],
) -> Result<(), Trouble> {
    let after = session.snapshot(&request.cluster).await?;
    if session.format == Format::Json {
        let outcome = Outcome {
            schema_version: SCHEMA_VERSION,
            cluster: request.cluster.as_str(),
            outcome: end.outcome,
            explanation: end.explanation.as_deref(),
            request: RequestView {
                id: request.id.as_str(),
                by: &request.by,
                epoch: request.epoch.0,
                from: after.lease.name_of(&plan.from),
                to: plan.to.as_ref().map(|to| after.lease.name_of(to)),
                at: rfc3339(request.at),
                until: rfc3339(request.until),
            },
            wake_sent,
            transitions,
            status: after.view(),
        };
        return console.data(&json::text(&outcome, console.look)?);
    }
    if end.outcome == "asked" {
        console.talk(&format!(
            "request {} stands until {}; follow it with `baton status {} --watch`",
            request.id,
            moment(request.until),
            request.cluster
        ));
    }
    console.data(&output::status(&after.view(), session.format, console.look)?)
}
