//! What happened to a cluster, and what operators asked for, in one list: `baton history`.
//!
//! Rows are ordered by epoch first and by time within it. Epochs are ordered by the table itself, times come from several
//! machines, so a request never appears after the grant that followed it.

use std::time::Duration;

use baton_protocol::fence::Fenced;
use baton_protocol::findings::HookFailure;
use baton_protocol::history::{Event, Evidence, Ground, Happening};
use baton_protocol::ids::{Epoch, InstanceArn, RequestId};
use baton_protocol::lease::Lease;
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use serde::Serialize;

use crate::text::{length, printable, rfc3339, seconds, to_second};
use crate::view::SCHEMA_VERSION;

/// A cluster's history as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// Of this object.
    pub schema_version: u32,
    /// The cluster.
    pub cluster: String,
    /// When it was looked at, by this machine's clock.
    pub at: String,
    /// The rows, newest last.
    pub rows: Vec<Row>,
}

/// Stands before each line that a hook wrote.
pub const MARGIN: &str = "| ";

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// When, by the clock of whoever wrote it.
    pub at: String,
    /// How long ago.
    pub age_ms: u64,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// Who wrote it.
    pub by: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
    /// The same in words.
    pub detail: String,
}

/// A hook that had failed before the lease went to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedHook {
    /// `promote`, `demote` or `recover`.
    pub hook: &'static str,
    /// When, by the node's clock.
    pub at: String,
    /// How.
    pub how: String,
    /// The last lines of its output, of 1 KB at most in all; the node's journal has the last 4 KB.
    pub output: Vec<String>,
}

impl FailedHook {
    fn of(failure: &HookFailure) -> Self {
        Self {
            hook: failure.hook.as_str(),
            at: rfc3339(failure.at),
            how: printable(failure.how.as_str()),
            output: failure.output.as_str().lines().map(printable).collect(),
        }
    }
}

/// What happened, with nodes by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// The registrar accepted a configuration.
    Registered {
        /// Its number.
        revision: u64,
        /// What was done.
        summary: String,
    },
    /// Instances with the cluster's tag joined, or members were retired.
    Members {
        /// The number of the configuration.
        revision: u64,
        /// Who joined.
        joined: Vec<String>,
        /// Who was retired.
        retired: Vec<String>,
        /// Why each of them was.
        why: Vec<String>,
    },
    /// The registrar retired the cluster.
    Retired,
    /// The lease went to another node.
    Granted {
        /// The holder until then.
        from: Option<String>,
        /// The holder from then on.
        to: String,
        /// Why it could be granted.
        ground: Ground,
        /// Why it was.
        reason: String,
        /// How long the claimant had seen nothing new from the holder.
        silent_ms: Option<u64>,
        /// Who claimed.
        claimed_by: Option<String>,
        /// When the claim was made, by the claimant's clock.
        claimed_at: Option<String>,
        /// The number of the holder's last heartbeat.
        holder_seq: Option<u64>,
        /// When the holder's last heartbeat was sent, by its own clock.
        holder_beat_at: Option<String>,
        /// What the holder was fenced by, where the cluster asks for that.
        #[serde(skip_serializing_if = "Option::is_none")]
        fence: Option<Fenced>,
        /// The hook that had failed at the holder, if it told of one.
        #[serde(skip_serializing_if = "Option::is_none")]
        hook: Option<FailedHook>,
        /// The request that it answers.
        request: Option<String>,
    },
    /// A call to EC2 was answered.
    Step {
        /// The call.
        call: String,
        /// What it was about.
        resource: String,
        /// How long it took.
        took_ms: u64,
        /// The failure, if it failed.
        failure: Option<String>,
    },
    /// Every resource was seen at the holder.
    Moved {
        /// The time since the grant.
        took_ms: u64,
    },
    /// A resource was not where its move had put it.
    Drift {
        /// What it is about.
        resource: String,
        /// What EC2 showed of it.
        found: String,
    },
    /// Every resource was seen at the holder again.
    Repaired {
        /// The time since the drift was found.
        took_ms: u64,
    },
    /// A takeover is left to an operator.
    Held {
        /// Whether that is so because it has been taken over from a short while ago.
        cooling: bool,
        /// Whether that is so because many clusters suspect their holders at once.
        braked: bool,
        /// When the arbiter goes ahead by itself; none: never.
        until: Option<String>,
    },
    /// The arbiter has seen that the lease shall go to another node.
    Wanted {
        /// The node that shall hold next.
        to: Option<String>,
        /// Who asked, and why.
        reason: String,
        /// Whether it is about a silent holder.
        failover: bool,
        /// When it ends by itself.
        until: String,
        /// The request's id.
        request: Option<String>,
    },
    /// That has ended without effect.
    Lapsed {
        /// Who asked, and why.
        reason: String,
        /// The request's id.
        request: Option<String>,
    },
    /// EC2 was seen to have stopped a node's instance.
    Fenced {
        /// The node.
        node: String,
        /// What EC2 says of it.
        state: String,
        /// The time since it was asked.
        took_ms: u64,
        /// The request behind it; none: a takeover needed it.
        request: Option<String>,
    },
    /// A node could not be stopped, or was not seen to be.
    Unfenced {
        /// The node.
        node: String,
        /// Why, and what to do.
        why: String,
        /// The request behind it.
        request: Option<String>,
    },
    /// The lease of a restored table began anew.
    Restored {
        /// The epoch that the table showed.
        from: u64,
        /// The holder that it showed.
        holder: Option<String>,
        /// Who asked.
        asked: String,
        /// Why.
        why: String,
        /// The request's id.
        request: String,
    },
    /// A resource could not be moved.
    Stuck {
        /// What it is about.
        resource: String,
        /// Why, and what to do.
        why: String,
    },
    /// An operator asked for something.
    Asked {
        /// The request's id.
        request: String,
        /// What is asked for: `switchover`, `failover`, `failback`, `drain`, `exclude`, `include`, `fence`, `restore`, `pause` or `resume`.
        wish: &'static str,
        /// The node that shall hold next; of an exclusion the node that shall not, of a fence the one that is to be stopped.
        to: Option<String>,
        /// Why.
        why: Option<String>,
        /// When the request ends by itself.
        until: String,
        /// What became of it.
        answer: Option<String>,
    },
}

impl What {
    /// As it is shown.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "registered",
            Self::Members { .. } => "members",
            Self::Retired => "retired",
            Self::Granted { .. } => "granted",
            Self::Step { .. } => "step",
            Self::Moved { .. } => "moved",
            Self::Drift { .. } => "drift",
            Self::Repaired { .. } => "repaired",
            Self::Held { .. } => "held",
            Self::Wanted { .. } => "wanted",
            Self::Lapsed { .. } => "lapsed",
            Self::Fenced { .. } => "fenced",
            Self::Unfenced { .. } => "unfenced",
            Self::Restored { .. } => "restored",
            Self::Stuck { .. } => "stuck",
            Self::Asked { .. } => "asked",
        }
    }
}

impl Row {
    /// What a hook wrote before the lease went to another node, and where the rest is; nothing otherwise.
    pub fn output(&self) -> Vec<String> {
        let What::Granted { from: Some(from), hook: Some(hook), .. } = &self.what else { return Vec::new() };
        let lines = hook.output.iter().map(|line| format!("{MARGIN}{line}"));
        // As every version of journalctl reads it.
        let since = to_second(&hook.at).replace('T', " ").replace('Z', " UTC");
        let rest = format!("all of it, on {from}: journalctl -u baton-agent --since '{since}'");
        lines.chain([rest]).collect()
    }
}

/// The newest `limit` rows of both lists, newest last.
pub fn rows(lease: &Lease, events: &[Event], requests: &[Request], limit: usize, now: WallTime) -> Rows {
    // Both lists come newest first; turned around, rows of one millisecond keep the order in which they were written.
    // That the arbiter has seen a request says nothing beside the request itself.
    let told_by_request = |event: &&Event| match &event.what {
        Happening::Asked { request: Some(id), .. } => requests.iter().any(|request| request.id == *id),
        _ => false,
    };
    let of_events = events
        .iter()
        .rev()
        .filter(|event| !told_by_request(event))
        .map(|event| ((event.epoch, event.at), row_of_event(lease, event, now)));
    let of_requests = requests
        .iter()
        .rev()
        .map(|request| ((request.epoch, request.at), row_of_request(lease, request, now)));
    let mut rows: Vec<_> = of_events.chain(of_requests).collect();
    rows.sort_by_key(|(place, _)| *place);
    let surplus = rows.len().saturating_sub(limit);
    Rows {
        schema_version: SCHEMA_VERSION,
        cluster: lease.cluster.to_string(),
        at: rfc3339(now),
        rows: rows.into_iter().skip(surplus).map(|(_, row)| row).collect(),
    }
}

fn row_of_event(lease: &Lease, event: &Event, now: WallTime) -> Row {
    let what = what_of(lease, &event.what);
    row(event.at, event.epoch.0, &event.by, what, now)
}

fn row_of_request(lease: &Lease, request: &Request, now: WallTime) -> Row {
    let said = |why: &String| Some(printable(why)).filter(|why| !why.is_empty());
    let name = |node: &InstanceArn| lease.name_of(node);
    let (to, why) = match &request.wish {
        Wish::Switchover { to, why } | Wish::Failover { to, why } => (to.as_ref().map(name), said(why)),
        Wish::Failback { to, why } => (Some(name(to)), said(why)),
        Wish::Exclude { node, why, .. } | Wish::Fence { node, why, .. } => (Some(name(node)), said(why)),
        Wish::Restore { why, .. } => (None, said(why)),
        Wish::Pause { why } => (None, Some(printable(why))),
        Wish::Include { .. } | Wish::Resume {} => (None, None),
    };
    let what = What::Asked {
        request: request.id.to_string(),
        wish: request.wish.word(),
        to,
        why,
        until: rfc3339(request.until),
        answer: request.answer.as_deref().map(printable),
    };
    row(request.at, request.epoch.0, &request.by, what, now)
}

fn row(at: WallTime, epoch: u64, by: &str, what: What, now: WallTime) -> Row {
    let by = printable(by);
    let detail = detail(&what, &by);
    let age_ms = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
    Row { at: rfc3339(at), age_ms, epoch, by, what, detail }
}

fn what_of(lease: &Lease, happening: &Happening) -> What {
    let name = |instance: &InstanceArn| lease.name_of(instance);
    match happening {
        Happening::Registered { revision, summary } => {
            What::Registered { revision: *revision, summary: printable(summary) }
        }
        Happening::Members { revision, joined, retired } => What::Members {
            revision: *revision,
            joined: joined.iter().map(|newcomer| newcomer.node.to_string()).collect(),
            retired: retired.iter().map(|departed| departed.node.to_string()).collect(),
            why: retired.iter().map(|departed| printable(&departed.why)).collect(),
        },
        Happening::Retired {} => What::Retired,
        Happening::Granted { from, to, ground, reason, evidence } => {
            let Evidence { holder_seq, holder_beat_at, claim, fence, hook, request, .. } = evidence;
            What::Granted {
                from: from.as_ref().map(name),
                to: name(to),
                ground: *ground,
                reason: printable(reason),
                silent_ms: claim.as_ref().map(|(_, claim)| claim.silent_ms),
                claimed_by: claim.as_ref().map(|(claimant, _)| name(claimant)),
                claimed_at: claim.as_ref().map(|(_, claim)| rfc3339(claim.at)),
                holder_seq: holder_seq.map(|seq| seq.0),
                holder_beat_at: holder_beat_at.map(rfc3339),
                fence: *fence,
                hook: hook.as_deref().map(FailedHook::of),
                request: request.as_ref().map(ToString::to_string),
            }
        }
        Happening::Step { call, resource, took_ms, failure } => What::Step {
            call: printable(call),
            resource: printable(resource),
            took_ms: *took_ms,
            failure: failure.as_deref().map(printable),
        },
        Happening::Moved { took_ms } => What::Moved { took_ms: *took_ms },
        Happening::Drift { resource, found } => {
            What::Drift { resource: printable(resource), found: printable(found) }
        }
        Happening::Repaired { took_ms } => What::Repaired { took_ms: *took_ms },
        Happening::Held { cooling, braked, until } => {
            What::Held { cooling: *cooling, braked: *braked, until: until.map(rfc3339) }
        }
        Happening::Asked { to, reason, failover, until, request } => What::Wanted {
            to: to.as_ref().map(name),
            reason: printable(reason),
            failover: *failover,
            until: rfc3339(*until),
            request: request.as_ref().map(ToString::to_string),
        },
        Happening::Lapsed { reason, request } => {
            What::Lapsed { reason: printable(reason), request: request.as_ref().map(ToString::to_string) }
        }
        Happening::Fenced { node, state, took_ms, request } => What::Fenced {
            node: name(node),
            state: printable(state),
            took_ms: *took_ms,
            request: request.as_ref().map(ToString::to_string),
        },
        Happening::Unfenced { node, why, request } => What::Unfenced {
            node: name(node),
            why: printable(why),
            request: request.as_ref().map(ToString::to_string),
        },
        Happening::Restored { from, holder, asked, why, request } => {
            restored(*from, holder.as_ref().map(name), asked, why, request)
        }
        Happening::Stuck { resource, why } => stuck(resource, why),
    }
}

fn stuck(resource: &str, why: &str) -> What {
    What::Stuck { resource: printable(resource), why: printable(why) }
}

fn restored(from: Epoch, holder: Option<String>, asked: &str, why: &str, request: &RequestId) -> What {
    let (asked, why) = (printable(asked), printable(why));
    What::Restored { from: from.0, holder, asked, why, request: request.to_string() }
}

fn detail(what: &What, by: &str) -> String {
    match what {
        What::Registered { revision, summary } => format!("revision {revision}: {summary}"),
        What::Members { revision, joined, retired, why } => {
            let joined = joined.iter().map(|node| format!("{node} joined"));
            let retired = retired.iter().zip(why).map(|(node, why)| format!("{node} was retired: {why}"));
            let changes: Vec<_> = joined.chain(retired).collect();
            format!("revision {revision}: {}", changes.join("; "))
        }
        What::Retired => "the registration was deleted; addresses stay where they are".to_owned(),
        What::Granted { .. } => granted(what),
        What::Step { call, resource, took_ms, failure: None } => {
            format!("{call} {resource} took {}", seconds(*took_ms))
        }
        What::Step { call, resource, took_ms, failure: Some(failure) } => {
            format!("{call} {resource} failed after {}: {failure}", seconds(*took_ms))
        }
        What::Moved { took_ms } => {
            format!("all addresses and routes at the holder, {} after the grant", seconds(*took_ms))
        }
        What::Drift { resource, found } => format!("{resource} was not at the holder any more: {found}"),
        What::Repaired { took_ms } => {
            format!(
                "all addresses and routes at the holder again, {} after the drift was found",
                seconds(*took_ms)
            )
        }
        What::Held { cooling, braked, until } => held(*cooling, *braked, until.as_deref()),
        What::Wanted { to, reason, failover, until, .. } => {
            let to = to.as_deref().map_or_else(|| "another node".to_owned(), str::to_owned);
            let silent = if *failover { " once the holder is silent" } else { "" };
            format!("the lease shall go to {to}{silent}, until {}: {reason}", to_second(until))
        }
        What::Lapsed { reason, .. } => format!("ended without effect: {reason}"),
        What::Fenced { node, state, took_ms, request } => {
            let request = request.as_ref().map(|id| format!("; request {id}")).unwrap_or_default();
            format!("{node} is {state}, {} after EC2 was asked to stop it{request}", seconds(*took_ms))
        }
        What::Unfenced { node, why, request } => {
            let request = request.as_ref().map(|id| format!("; request {id}")).unwrap_or_default();
            format!("{node} was not stopped: {why}{request}")
        }
        What::Restored { from, holder, asked, why, .. } => {
            let holder = holder.as_deref().unwrap_or("nobody");
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("begun anew after epoch {from}, held by {holder}; asked by {asked}{why}")
        }
        What::Stuck { resource, why } => format!("{resource}: {why}"),
        What::Asked { .. } => asked(what, by),
    }
}

fn granted(what: &What) -> String {
    let What::Granted {
        from,
        to,
        ground,
        reason,
        silent_ms,
        claimed_by,
        holder_beat_at,
        fence,
        hook,
        request,
        ..
    } = what
    else {
        return String::new();
    };
    let mut text =
        format!("{} -> {to} by {}: {reason}", from.as_deref().unwrap_or("nobody"), ground_word(*ground));
    if let Some(ms) = silent_ms {
        text.push_str(&format!("; silent {}", length(Duration::from_millis(*ms))));
    }
    if let Some(claimant) = claimed_by {
        text.push_str(&format!(", claimed by {claimant}"));
    }
    // A release says itself why; behind anything else stands what was last heard.
    if let Some(at) = holder_beat_at.as_ref().filter(|_| *ground != Ground::Release) {
        text.push_str(&format!("; last heartbeat sent {at}"));
    }
    match fence {
        Some(Fenced::Stopped { took_ms }) => {
            text.push_str(&format!("; stopped before, in {}", seconds(*took_ms)));
        }
        Some(Fenced::Lifted {}) => text.push_str("; not stopped before, on an operator's word"),
        None => {}
    }
    if let Some(hook) = hook {
        text.push_str(&format!("; before that, {} at {}", hook.how, hook.at));
    }
    if let Some(request) = request {
        text.push_str(&format!("; request {request}"));
    }
    text
}

fn held(cooling: bool, braked: bool, until: Option<&str>) -> String {
    if braked {
        return "the holder is silent, and many clusters suspect theirs at once; the takeover waits for as long again, \
                or for `baton failover`"
            .to_owned();
    }
    let cooling = if cooling { ", as it was taken over from a short while ago" } else { "" };
    let ahead = until.map(|until| format!(", or goes ahead at {}", to_second(until))).unwrap_or_default();
    format!("the holder is silent; the takeover waits for `baton failover`{ahead}{cooling}")
}

fn asked(what: &What, by: &str) -> String {
    let What::Asked { wish, to, why, until, answer, .. } = what else { return String::new() };
    let of = if matches!(*wish, "drain" | "exclude" | "fence") { "of" } else { "to" };
    let to = to.as_deref().map(|to| format!(" {of} {to}")).unwrap_or_default();
    let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let answer = answer.as_deref().map(|answer| format!("; answer: {answer}")).unwrap_or_default();
    let until = if matches!(*wish, "resume" | "include") {
        String::new()
    } else {
        format!(", until {}", to_second(until))
    };
    format!("{wish}{to} by {by}{until}{why}{answer}")
}

/// A ground as it is shown.
pub fn ground_word(ground: Ground) -> &'static str {
    match ground {
        Ground::Release => "release",
        Ground::Silence => "silence",
        Ground::Gone => "termination",
        Ground::Vacancy => "vacancy",
    }
}
