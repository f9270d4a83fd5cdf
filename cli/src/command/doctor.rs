//! `baton doctor`: everything that a cluster depends on, examined and, where it was asked for, mended.
//!
//! Whoever mends first says what it will do. What could be mended by one change in several places is changed once. After the
//! last change everything is examined anew, so that what is shown is what is, and not what was hoped for.

use std::time::Duration;

use baton_cloud::Cloud;
use baton_doctor::{Change, Diagnosis, Fix, Severity, diagnose, is_clean, standings};
use baton_protocol::ids::ClusterName;
use baton_store::Store;
use baton_survey::Account;

use crate::args::Doctor;
use crate::asking;
use crate::clock::Clock;
use crate::command::Session;
use crate::confirm::confirm;
use crate::console::Console;
use crate::exit::Exit;
use crate::gather::{Eyes, gather};
use crate::output;
use crate::report::{Outcome, Report, Step};
use crate::text::{printable, rfc3339};
use crate::trouble::Trouble;
use crate::view::SCHEMA_VERSION;
use crate::waker::Waker;

/// How long the arbiter has for what it was woken for, and between two looks at that.
const WAKE_LOOKS: usize = 10;
const WAKE_EVERY: Duration = Duration::from_secs(2);

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock, E: Cloud, A: Account>(
    session: &Session<'_, S, W, C>,
    eyes: &Eyes<'_, E, A>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Doctor,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let mut report = examine(session, eyes, &cluster).await?;
    if args.fix {
        let mut plan = plan(&report.findings);
        for step in &mut plan {
            if let Some(answer) = eyes.account.may(&step.change).await {
                step.allowed = Some(answer.is_ok());
                step.why = answer.err().map(|failure| failure.to_string());
            }
        }
        tell(console, &plan);
        let consent = consent(console, &plan, args.yes)?;
        let mut woken = false;
        for step in &mut plan {
            if step.fix == Fix::Consent && !consent {
                step.why = Some(
                    "it needs consent, and nobody gave it: a question at a terminal, or --yes".to_owned(),
                );
                continue;
            }
            woken |= carry_out(session, eyes, console, &cluster, step).await;
        }
        report = examine(session, eyes, &cluster).await?;
        for _ in 0..WAKE_LOOKS {
            if !woken || !report.findings.iter().any(waits_for_the_arbiter) {
                break;
            }
            session.clock.sleep(WAKE_EVERY).await;
            report = examine(session, eyes, &cluster).await?;
        }
        report.plan = Some(plan);
    }
    console.data(&output::doctor::report(&report, session.format, console.look)?)?;
    Ok(if report.clean { Exit::Done } else { Exit::Found })
}

async fn examine<S: Store, W, C: Clock, E: Cloud, A: Account>(
    session: &Session<'_, S, W, C>,
    eyes: &Eyes<'_, E, A>,
    cluster: &ClusterName,
) -> Result<Report, Trouble> {
    let case = gather(session, eyes, cluster).await?;
    let findings = diagnose(&case);
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        cluster: cluster.to_string(),
        at: rfc3339(case.record.at),
        clean: is_clean(&findings),
        rows: standings(&case, &findings),
        findings,
        plan: None,
    })
}

fn waits_for_the_arbiter(found: &Diagnosis) -> bool {
    found.changes.iter().any(|change| matches!(change, Change::Wake(_)))
}

/// Every change that something found asks for, once. A change that one of them wants consent for needs it.
fn plan(findings: &[Diagnosis]) -> Vec<Step> {
    let mut plan: Vec<Step> = Vec::new();
    for found in findings.iter().filter(|found| found.severity != Severity::Info) {
        for change in &found.changes {
            if let Some(step) = plan.iter_mut().find(|step| step.change == *change) {
                step.fix = step.fix.max(found.fix);
                if !step.findings.contains(&found.id) {
                    step.findings.push(found.id.clone());
                }
                continue;
            }
            plan.push(Step {
                findings: vec![found.id.clone()],
                command: change.to_string(),
                fix: found.fix,
                allowed: None,
                outcome: Outcome::Skipped,
                why: None,
                change: change.clone(),
            });
        }
    }
    plan
}

/// Shows the plan, before anything is changed.
fn tell(console: &mut Console<'_>, plan: &[Step]) {
    if plan.is_empty() {
        console.talk("plan: nothing of this can be mended from here");
    }
    for step in plan {
        let denied = match (step.allowed, &step.why) {
            (Some(false), Some(why)) => format!("  (you may not: {})", printable(why)),
            _ => String::new(),
        };
        let command = printable(&step.command);
        console.talk(&format!("plan: {:<8} {command}{denied}", step.fix.as_str()));
    }
}

/// Whether what needs consent has it. Nobody to ask, or no clear yes, is none, and the rest is done all the same.
fn consent(console: &mut Console<'_>, plan: &[Step], yes: bool) -> Result<bool, Trouble> {
    let count = plan.iter().filter(|step| step.fix == Fix::Consent).count();
    if count == 0 || yes {
        return Ok(yes);
    }
    if !console.look.can_ask {
        return Ok(false);
    }
    let question = format!(
        "{count} of these cost money, open something, touch what others use or may undo what somebody wanted (those with `consent`). \
         Make them too?"
    );
    match confirm(console, &question, false) {
        Ok(()) => Ok(true),
        Err(trouble) if trouble.exit == Exit::Refused => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

/// Makes one change; says whether the arbiter was woken.
async fn carry_out<S: Store, W: Waker, C: Clock, E, A: Account>(
    session: &Session<'_, S, W, C>,
    eyes: &Eyes<'_, E, A>,
    console: &mut Console<'_>,
    cluster: &ClusterName,
    step: &mut Step,
) -> bool {
    // EC2 has said so already.
    if step.allowed == Some(false) {
        return false;
    }
    if matches!(step.change, Change::Wake(_)) {
        let woken = asking::wake(session, console, cluster).await;
        step.outcome = if woken { Outcome::Made } else { Outcome::Failed };
        return woken;
    }
    match eyes.account.make(&step.change).await {
        Ok(()) => step.outcome = Outcome::Made,
        Err(failure) => {
            step.outcome = Outcome::Failed;
            step.why = Some(failure.to_string());
        }
    }
    false
}
