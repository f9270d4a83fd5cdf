//! One event: find the clusters it points at, run an invocation for each, answer Lambda.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_client::metric;
use baton_cloud::{Cloud, Counted};
use baton_protocol::arbiter::{Hint, Outcome, Report};
use baton_protocol::decide::Stay;
use baton_protocol::drift;
use baton_protocol::ids::{ClusterName, InstanceId};
use baton_protocol::outcome::Failure;
use baton_protocol::time::{BootTime, WallTime};
use baton_protocol::wake::Why;
use baton_store::{Entry, Store};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};

use crate::drive::{Parts, Successor};
use crate::failback;
use crate::hooks;
use crate::notice::{self, Notice};
use crate::probe::probe;
use crate::roster;
use crate::tables;
use crate::trigger::{self, Trigger};

/// Why an invocation asks to be tried again. The words are fixed: alarms and the runbook use them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table, or IAM, refused to work with us.
    #[error("{cluster}: {why}")]
    Unfinished {
        /// The cluster.
        cluster: ClusterName,
        /// Why.
        why: String,
    },
    /// The directory of clusters could not be read, so an instance's clusters are not known.
    #[error("cannot read the directory of clusters: {0}")]
    Directory(#[from] Failure),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let error_type = match &error {
            Error::Unfinished { .. } => "Unfinished",
            Error::Directory(_) => "DirectoryUnreadable",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// If Lambda gives no deadline, as a local runner may, an invocation takes no longer than this.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(20);

/// What is left of an invocation's time when nothing more is waited for but its answer.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

/// How many leases are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// Handles one event to its end, and counts what EC2 has throttled meanwhile: a look of the moves, of the roster, of the tables or
/// of a probe is made again by whoever comes next, and leaves no other trace.
pub async fn handle_and_count<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, Counted<C>, W>,
    event: LambdaEvent<Value>,
    emit: impl Fn(&Value),
) -> Result<Value, Error> {
    let handled = handle(parts, event).await;
    let throttled = metric::throttled(&parts.name, parts.now().wall.0, &parts.cloud.take_throttled());
    throttled.iter().for_each(emit);
    handled
}

/// Handles one event to its end.
pub async fn handle<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let is_stream = event.payload.get("Records").is_some();
    let by = format!("arbiter {}", event.context.request_id);
    let deadline = deadline(parts, event.context.deadline);
    let hints = hints(parts, trigger::read(event.payload), deadline).await?;
    let reports = join_all(hints.into_iter().map(|hint| async {
        let (cluster, why) = (hint.cluster.clone(), hint.why);
        let asked = tables::Asked::by(&hint);
        let mut report = parts.drive(hint.clone(), by.clone(), deadline).await;
        tell(&cluster, &report);
        let no_candidate = matches!(report.outcome, Outcome::Stayed(Stay::NoCandidate(_)));
        let stands = no_candidate || matches!(report.outcome, Outcome::Stuck(_));
        let joined = muster(parts, &hint, stands, &by, deadline).await;
        // Nobody could take over, and now somebody may.
        if joined && no_candidate {
            report = parts.drive(hint, by.clone(), deadline).await;
            tell(&cluster, &report);
        }
        let lines = [stuck, braked, unfenced].map(|of| of(&parts.name, parts.now().wall, &cluster, &report));
        lines.iter().flatten().for_each(metric::emit);
        let is_stuck = matches!(report.outcome, Outcome::Stuck(_));
        if let Some(asked) = tables::Asked::after(asked, is_stuck, report.granted.is_some()) {
            follow(parts, &cluster, asked, &by, deadline).await;
        }
        if why == Some(Why::Probe) {
            let probed = probe(parts, &cluster, deadline).await;
            tracing::info!(%cluster, ?probed, "probe");
        }
        if why == Some(Why::Failback) && report.granted.is_none() {
            let asked = failback::ask(parts, &cluster).await;
            tracing::info!(%cluster, ?asked, "failback");
        }
        settle(parts, &cluster, deadline).await;
        (cluster, report)
    }))
    .await;
    let mut failed = None;
    for (cluster, report) in &reports {
        if let Outcome::Failed(why) = &report.outcome {
            failed = Some(Error::Unfinished { cluster: cluster.clone(), why: why.clone() });
        } else if report.outcome == Outcome::CommitUnknown {
            let why = "the table never said whether the grant was committed".to_owned();
            failed = Some(Error::Unfinished { cluster: cluster.clone(), why });
        }
    }
    match failed {
        Some(error) => Err(error),
        None if is_stream => Ok(json!({ "batchItemFailures": [] })),
        None => Ok(json!({ "clusters": reports.len() })),
    }
}

/// Follows the descriptions of route tables, for as long as there is time. What was taken in is moved by a successor.
async fn follow<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
    asked: tables::Asked,
    by: &str,
    deadline: BootTime,
) {
    let left = (deadline - FOR_THE_ANSWER).since(parts.now().boot);
    match tokio::time::timeout(left, tables::follow(parts, cluster, asked, by)).await {
        Ok(tables::Followed::NotNow | tables::Followed::Unchanged) => {}
        Ok(followed) => {
            tracing::info!(%cluster, ?followed, "route tables");
            if matches!(followed, tables::Followed::Changed { .. }) {
                parts.successor.wake(cluster).await;
            }
        }
        Err(_) => tracing::warn!(%cluster, "no time to see which route tables fit"),
    }
}

/// Follows the tag that names the nodes, for as long as there is time. Whether somebody joined. The change ends another
/// invocation that has begun a move meanwhile, so a successor goes on with it.
async fn muster<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    hint: &Hint,
    stands: bool,
    by: &str,
    deadline: BootTime,
) -> bool {
    let cluster = &hint.cluster;
    let left = (deadline - FOR_THE_ANSWER).since(parts.now().boot);
    match tokio::time::timeout(left, roster::follow(parts, hint, stands, by)).await {
        Ok(roster::Followed::NotAsked | roster::Followed::Unchanged) => false,
        Ok(followed) => {
            tracing::info!(%cluster, ?followed, "roster");
            if matches!(followed, roster::Followed::Changed { .. }) {
                parts.successor.wake(cluster).await;
            }
            matches!(followed, roster::Followed::Changed { joined, .. } if joined > 0)
        }
        Err(_) => {
            tracing::warn!(%cluster, "no time to see who carries the cluster's tag");
            false
        }
    }
}

/// Looks for terminations that wait, for as long as there is time. The next invocation looks as well.
async fn settle<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    cluster: &ClusterName,
    deadline: BootTime,
) {
    let left = (deadline - FOR_THE_ANSWER).since(parts.now().boot);
    if tokio::time::timeout(left, hooks::settle(parts, cluster)).await.is_err() {
        tracing::warn!(%cluster, "no time to see whether a termination waits");
    }
}

fn deadline<S: Store, C: Cloud, W: Successor>(parts: &Parts<S, C, W>, epoch_ms: u64) -> BootTime {
    let now = parts.now();
    let left = Duration::from_millis(epoch_ms.saturating_sub(now.wall.0));
    // A deadline far away is none: some local runners give a length where Lambda gives a moment.
    let sensible = !left.is_zero() && left <= Duration::from_secs(900);
    now.boot + if sensible { left } else { WITHOUT_DEADLINE }
}

async fn hints<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    trigger: Trigger,
    deadline: BootTime,
) -> Result<Vec<Hint>, Error> {
    Ok(match trigger {
        Trigger::Wake(wake) => vec![Hint::of_wake(wake)],
        Trigger::Stream(clusters) => clusters.into_iter().map(Hint::of_stream).collect(),
        Trigger::Instance(instance) => clusters_of(parts, &instance).await?,
        Trigger::Launch(group) => {
            let clusters = roster::clusters_of_group(&parts.store, &group).await?;
            clusters.into_iter().map(Hint::of_instance).collect()
        }
        Trigger::Call(call) => {
            let touched = clusters_with(parts, &call.named).await?;
            tracing::info!(call = call.name, named = ?call.named, clusters = touched.len(), "call to EC2");
            touched
        }
        Trigger::Notices(notices) => {
            // One after the other: two nodes of one cluster must not both be asked to hand over to each other.
            for notice in notices {
                heed(parts, &notice, deadline).await?;
            }
            Vec::new()
        }
        Trigger::Ignored(reason) => {
            tracing::warn!(reason, "event ignored");
            Vec::new()
        }
    })
}

/// Asks the clusters that the instance holds to hand over. None is left out because another one could not be asked. Nobody is
/// asked about an instance of no cluster; what waits for it, in a group of ours, is let go.
async fn heed<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    notice: &Notice,
    deadline: BootTime,
) -> Result<(), Error> {
    let now = parts.now().wall;
    let entries = parts.store.clusters().await?;
    let is_member = |entry: &&Entry| entry.instances.contains(&notice.instance);
    let clusters: Vec<_> = entries.iter().filter(is_member).map(|entry| entry.cluster.clone()).collect();
    if let Some((hook, entry)) = notice.hook.as_ref().and_then(|hook| hooks::of_no_member(hook, &entries)) {
        let why = |failure| format!("a termination that waits could not be kept: {failure}");
        let unfinished = |failure| Error::Unfinished { cluster: entry.cluster.clone(), why: why(failure) };
        parts.store.record_hook(&entry.cluster, hook).await.map_err(unfinished)?;
        settle(parts, &entry.cluster, deadline).await;
    }
    let heeded = join_all(clusters.into_iter().map(|cluster| async {
        // First, so that it is known whatever comes of the hand-over, and however late the notice is.
        let kept = match &notice.hook {
            Some(hook) => parts.store.record_hook(&cluster, hook).await,
            None => Ok(()),
        };
        let heed = match kept {
            Ok(()) => notice::heed(&parts.store, &cluster, notice, now).await,
            Err(failure) => Err(failure),
        };
        if notice.hook.is_some() {
            settle(parts, &cluster, deadline).await;
        }
        (cluster, heed)
    }))
    .await;
    let mut failed = None;
    for (cluster, heed) in heeded {
        match heed {
            Ok(heed) => {
                tracing::info!(%cluster, instance = %notice.instance, kind = ?notice.kind, ?heed, "notice");
            }
            Err(failure) => {
                let why = format!("no switchover could be asked for: {failure}");
                failed = Some(Error::Unfinished { cluster, why });
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn clusters_of<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    instance: &InstanceId,
) -> Result<Vec<Hint>, Error> {
    let entries = parts.store.clusters().await?;
    let ours = entries.into_iter().filter(|entry| entry.instances.contains(instance));
    Ok(ours.map(|entry| Hint::of_instance(entry.cluster)).collect())
}

/// The clusters that know one of these ids. Their leases say so and are many reads, but calls to EC2 that move anything
/// are few.
async fn clusters_with<S: Store, C: Cloud, W: Successor>(
    parts: &Parts<S, C, W>,
    named: &BTreeSet<String>,
) -> Result<Vec<Hint>, Error> {
    let entries = parts.store.clusters().await?;
    let looks = entries.into_iter().map(|entry| async {
        let lease = parts.store.lease(&entry.cluster).await;
        (entry.cluster, lease)
    });
    let leases: Vec<_> = stream::iter(looks).buffer_unordered(SIDE_BY_SIDE).collect().await;
    let mut hints = Vec::new();
    for (cluster, lease) in leases {
        match lease {
            Ok(lease) if lease.as_ref().is_none_or(|lease| !drift::is_about(lease, named)) => {}
            Ok(_) => hints.push(Hint::of_resource(cluster)),
            // It may be about this one; its turn in the sweep comes, and none of the others waits for it.
            Err(failure) => tracing::warn!(%cluster, %failure, "cannot tell whether a call is about it"),
        }
    }
    Ok(hints)
}

/// A metric for resources that cannot be moved, which ask for a person.
fn stuck(name: &str, now: WallTime, cluster: &ClusterName, report: &Report) -> Option<Value> {
    let Outcome::Stuck(resources) = &report.outcome else { return None };
    let about: Vec<_> =
        resources.iter().map(|(resource, why)| json!({"resource": resource, "why": why})).collect();
    let count = u64::try_from(about.len()).unwrap_or(u64::MAX);
    Some(metric::line(name, now.0, &[("Stuck", count)], json!({"cluster": cluster, "resources": about})))
}

/// A metric for a takeover that waits for a fence, which may need a person.
fn unfenced(name: &str, now: WallTime, cluster: &ClusterName, report: &Report) -> Option<Value> {
    let why = report.unfenced.as_ref()?;
    Some(metric::line(name, now.0, &[("Unfenced", 1)], json!({"cluster": cluster, "why": why})))
}

/// A metric for takeovers that the brake holds back.
fn braked(name: &str, now: WallTime, cluster: &ClusterName, report: &Report) -> Option<Value> {
    let Outcome::Stayed(Stay::Held(held)) = &report.outcome else { return None };
    held.braked.then(|| metric::line(name, now.0, &[("Braked", 1)], json!({"cluster": cluster})))
}

/// One line for each invocation, with fixed field names.
fn tell(cluster: &ClusterName, report: &Report) {
    let granted = report.granted.map(|epoch| epoch.0);
    let (outcome, detail) = match &report.outcome {
        Outcome::Moved => ("moved", String::new()),
        Outcome::InPlace => ("in-place", String::new()),
        Outcome::Stuck(resources) => ("stuck", format!("{resources:?}")),
        Outcome::HandedOn => ("handed-on", String::new()),
        Outcome::Stayed(Stay::NoGround) => ("stayed", "no ground".to_owned()),
        Outcome::Stayed(stay) => ("stayed", format!("{stay:?}")),
        Outcome::Superseded(lost) => ("superseded", lost.join(", ")),
        Outcome::CommitUnknown => ("commit-unknown", String::new()),
        Outcome::NoSuchCluster => ("no-such-cluster", String::new()),
        Outcome::NewerRules(rules) => {
            ("newer-rules", format!("the lease asks for rules {rules}; update the functions"))
        }
        Outcome::NewerSchema(schema) => {
            ("newer-schema", format!("item has schema {schema}; update the functions"))
        }
        Outcome::Failed(why) => ("failed", why.clone()),
    };
    tracing::info!(%cluster, epoch = granted, outcome, reason = detail, "invocation");
}

#[cfg(test)]
mod tests {
    use baton_protocol::policy::Held;

    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report { granted: None, outcome, unfenced: None }
    }

    #[test]
    fn a_takeover_that_waits_for_a_fence_is_counted_with_the_reason_whatever_else_was_done() {
        let cluster = ClusterName::new("orders").expect("valid");
        let of = |report: &Report| unfenced("baton", WallTime(7), &cluster, report);
        assert_eq!(of(&report(Outcome::HandedOn)), None);
        let failed = Report { unfenced: Some("denied".to_owned()), ..report(Outcome::HandedOn) };
        let line = of(&failed).expect("a line");
        assert_eq!((&line["Unfenced"], &line["ControlPlane"]), (&json!(1), &json!("baton")));
        assert_eq!(line["about"], json!({"cluster": "orders", "why": "denied"}));
    }

    #[test]
    fn what_cannot_be_moved_is_counted_with_its_reasons_and_nothing_else_is() {
        let cluster = ClusterName::new("orders").expect("valid");
        let of = |outcome| stuck("baton", WallTime(7), &cluster, &report(outcome));
        let why = ("rtb-1".to_owned(), "denied".to_owned());
        let line = of(Outcome::Stuck(vec![why.clone(), why])).expect("a line");
        assert_eq!((&line["Stuck"], &line["ControlPlane"]), (&json!(2), &json!("baton")));
        assert_eq!(line["about"]["resources"][1], json!({"resource": "rtb-1", "why": "denied"}));
        assert_eq!(line["about"]["cluster"], json!("orders"));
        assert_eq!([Outcome::Moved, Outcome::InPlace, Outcome::HandedOn].map(of), [None, None, None]);
    }

    #[test]
    fn a_takeover_that_the_brake_holds_back_is_counted_and_one_that_a_policy_holds_back_is_not() {
        let cluster = ClusterName::new("orders").expect("valid");
        let of = |braked_so| {
            let held = Held { cooling: false, braked: braked_so, claimed: WallTime(7), until: None };
            let outcome = Outcome::Stayed(Stay::Held(held));
            braked("baton", WallTime(7), &cluster, &Report { granted: None, outcome, unfenced: None })
        };
        let line = of(true).expect("a line");
        assert_eq!((&line["Braked"], &line["about"]["cluster"]), (&json!(1), &json!("orders")));
        assert_eq!(of(false), None);
    }
}
