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
use baton_survey::{Account, Network, Question};
use tokio::time::{Instant, timeout_at};

use crate::patience::{Patience, Pauses};
use crate::property::Desired;
use crate::register::Errand;

/// A look takes no longer than this: what is not known by then refuses nobody, and the rest of the minute that Lambda gives is for the
/// registration itself.
const FOR_THE_LOOK: Duration = Duration::from_secs(10);

/// What was asked of the network, and what came of it. A further attempt does not ask the same again.
pub(crate) type Surroundings = Option<(Question, Survey)>;

impl<S: Store, C: Cloud, A: Account> Errand<'_, S, C, A> {
    /// What certainly keeps one of these nodes from the table.
    pub(crate) async fn shut(
        &self,
        desired: &Desired,
        members: &[Member],
        around: &mut Surroundings,
    ) -> Vec<Diagnosis> {
        if members.is_empty() {
            return Vec::new();
        }
        let interfaces: BTreeSet<_> = members.iter().map(|member| member.interface.clone()).collect();
        let question = Question {
            instances: members.iter().map(|member| member.instance.instance_id()).collect(),
            interfaces: interfaces.into_iter().collect(),
            now: self.now,
        };
        let known = around.take().filter(|(asked, _)| *asked == question);
        let (_, survey) = match known {
            Some(known) => around.insert(known),
            None => {
                let survey = self.look_around(desired, &question).await;
                around.insert((question, survey))
            }
        };
        let Some(site) = Site::of(members, self.table, survey) else { return Vec::new() };
        let (shut, rest): (Vec<Diagnosis>, Vec<Diagnosis>) =
            reach(&site).into_iter().partition(|found| found.severity == Severity::Violation);
        for found in rest.iter().chain(&shut) {
            tell(desired, found);
        }
        shut
    }

    /// Looks until everything has an answer that stands, or there is no time left. No attempt of the registration begins later than
    /// `patience.until`, so neither does what comes after the look.
    async fn look_around(&self, desired: &Desired, question: &Question) -> Survey {
        let until = self.patience.until.min(Instant::now() + FOR_THE_LOOK);
        let mut pauses = Pauses::new(Patience { until, ..self.patience });
        let mut network = Network::default();
        let look = async {
            loop {
                self.account.network(question, &mut network).await;
                if network.passing().is_none() || !pauses.pass().await {
                    break;
                }
            }
        };
        // What was found until the time is up is kept.
        let _ = timeout_at(until, look).await;
        if let Some(reason) = network.passing() {
            tracing::warn!(cluster = %desired.cluster, %reason, "not all of the network was looked at");
        }
        network.told()
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
