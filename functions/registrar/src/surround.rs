//! Whether nodes that are to be registered reach the table by the network around them (ADR 0043).
//!
//! What is shut for certain refuses the request, since such a node could never beat. Everything else that is found is told in the
//! log and by `baton doctor`: whether a narrow way or a policy with conditions is open is only known once there are heartbeats.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_cloud::Cloud;
use baton_doctor::survey::Survey;
use baton_doctor::{Diagnosis, Severity, Site, reach};
use baton_protocol::lease::Member;
use baton_store::Store;
use baton_survey::{Account, Question, SurveyFailure};
use tokio::time::Instant;

use crate::patience::{Patience, Transient};
use crate::property::Desired;
use crate::register::Errand;

/// No look begins later than this: what is not known by then refuses nobody, and the rest of the minute that Lambda gives is for the
/// registration itself.
const FOR_THE_LOOK: Duration = Duration::from_secs(10);

impl Transient for SurveyFailure {
    fn is_transient(&self) -> bool {
        Self::is_transient(self)
    }
}

impl<S: Store, C: Cloud, A: Account> Errand<'_, S, C, A> {
    /// What certainly keeps one of these nodes from the table.
    pub(crate) async fn shut(&self, desired: &Desired, members: &[Member]) -> Vec<Diagnosis> {
        if members.is_empty() {
            return Vec::new();
        }
        let interfaces: BTreeSet<_> = members.iter().map(|member| member.interface.clone()).collect();
        let question = Question {
            instances: members.iter().map(|member| member.instance.instance_id()).collect(),
            interfaces: interfaces.into_iter().collect(),
            now: self.now,
        };
        let until = self.patience.until.min(Instant::now() + FOR_THE_LOOK);
        let patience = Patience { until, ..self.patience };
        let survey = match patience.ask(|| self.account.network(&question)).await {
            Ok(survey) => survey,
            Err(failure) => {
                tracing::warn!(cluster = %desired.cluster, reason = %failure, "the network was not looked at");
                Survey::unasked()
            }
        };
        let Some(site) = Site::of(members, self.table, &survey) else { return Vec::new() };
        let (shut, rest): (Vec<Diagnosis>, Vec<Diagnosis>) =
            reach(&site).into_iter().partition(|found| found.severity == Severity::Violation);
        for found in rest.iter().chain(&shut) {
            tell(desired, found);
        }
        shut
    }
}

fn tell(desired: &Desired, found: &Diagnosis) {
    let (cluster, requirement, reason) = (&desired.cluster, found.id.as_str(), found.what.as_str());
    if found.severity == Severity::Info {
        tracing::info!(%cluster, requirement, reason, "finding");
    } else {
        tracing::warn!(%cluster, requirement, severity = ?found.severity, reason, "finding");
    }
}
