//! What no server can be brought into: there the twin of the account, which begins as the server is, is broken, and the
//! library does what the program would.

use std::io;

use baton::args::{Doctor, Format};
use baton::clock::SystemClock;
use baton::command::{Session, doctor};
use baton::console::{Console, Look};
use baton::gather::Eyes;
use baton_client::Bus;
use baton_cloud::Ec2Cloud;
use baton_conformance::engine::config_at;
use baton_doctor::Seen;
use baton_doctor::survey::Survey;
use baton_protocol::ids::InstanceId;
use baton_sandbox::REGION;
use baton_survey::{Account, AwsAccount, MemoryAccount, Question};
use serde_json::Value;

use super::{Row, Said, Ward, remedy, text};
use crate::rig::{TABLE, Trouble, cluster, now};

/// A requirement that is broken in the twin.
#[derive(Debug, Clone, Copy)]
pub struct Twin {
    pub(super) requirement: &'static str,
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) expected: &'static str,
    pub(super) how: fn(&mut Survey, &InstanceId),
}

/// The VPC is not ready yet.
pub(super) fn pending(survey: &mut Survey, _: &InstanceId) {
    if let Seen::Known(vpc) = &mut survey.vpc {
        vpc.state = "pending".to_owned();
    }
}

/// EC2's check of a machine does not pass.
pub(super) fn impaired(survey: &mut Survey, node: &InstanceId) {
    if let Seen::Known(statuses) = &mut survey.statuses {
        statuses.entry(node.clone()).or_default().failing.push("its system status is impaired".to_owned());
    }
}

/// EC2 has scheduled a retirement.
pub(super) fn scheduled(survey: &mut Survey, node: &InstanceId) {
    if let Seen::Known(statuses) = &mut survey.statuses {
        let what = "scheduled: The instance is running on degraded hardware".to_owned();
        statuses.entry(node.clone()).or_default().events.push(what);
    }
}

/// Whom the endpoint lets through depends on more than its statements.
pub(super) fn conditions(survey: &mut Survey, _: &InstanceId) {
    let Seen::Known(endpoints) = &mut survey.endpoints else { return };
    for endpoint in endpoints {
        if let Seen::Known(policy) = &mut endpoint.policy {
            policy.statements.iter_mut().for_each(|statement| statement.conditional = true);
        }
    }
}

impl Ward {
    pub(super) async fn twin(&mut self, twin: &Twin) -> Result<Row, Trouble> {
        let limits = baton_conformance::engine::PATIENT;
        let sandbox = self.rig.sandbox();
        let config = config_at(&sandbox.moto().endpoint(), limits).await;
        let rest = config_at(&sandbox.ministack().endpoint(), limits).await;
        let lease = self.rig.lease().await?;
        let question = Question {
            instances: lease.members.iter().map(|member| member.instance.instance_id()).collect(),
            interfaces: lease.members.iter().map(|member| member.interface.clone()).collect(),
            now: now(),
        };
        // EC2 is at one place, alarms and trails at the other.
        let watched = AwsAccount::new(&rest).survey(&question).await;
        let whole = Survey {
            alarms: watched.alarms,
            without_token: watched.without_token,
            trails: watched.trails,
            ..AwsAccount::new(&config).survey(&question).await
        };
        let account = MemoryAccount::new(whole.clone());
        account.edit(|survey| (twin.how)(survey, &question.instances[2]));
        let before = self.by_library(&config, &account).await?;
        account.edit(|survey| *survey = whole);
        let after = self.by_library(&config, &account).await?;
        let found = before.finding(twin.expected).cloned().unwrap_or_default();
        let clean_after = after.code == Some(0);
        let verdict = if found["severity"] == "unknown" { "unknown" } else { "violated" };
        let agrees = found["rows"].to_string().contains(twin.requirement)
            && found["fix"] == "report"
            && before.verdict(twin.requirement) == verdict
            && before.code == Some(23)
            && clean_after;
        Ok(Row {
            requirement: twin.requirement,
            name: twin.name,
            broken: twin.what,
            expected: twin.expected,
            observed: if agrees {
                format!("{}: {}", text(&found["id"]), text(&found["what"]))
            } else {
                format!("before: {}; at the end: {}", before.findings(), after.findings())
            },
            remedy: remedy(&found),
            fix: text(&found["fix"]),
            fixed: false,
            clean_after,
            world: "twin",
            agrees,
        })
    }

    async fn by_library(
        &self,
        config: &baton_client::SdkConfig,
        account: &MemoryAccount,
    ) -> Result<Said, Trouble> {
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), io::empty());
        let look = Look::default();
        let mut console = Console { out: &mut out, err: &mut err, input: &mut input, look };
        let session = Session {
            store: self.rig.store(),
            waker: &Bus::new(config, "default".to_owned()),
            clock: &SystemClock,
            who: "scenario".to_owned(),
            format: Format::Json,
        };
        let cloud = Ec2Cloud::new(config);
        let eyes = Eyes { cloud: &cloud, account, region: REGION.to_owned(), table: TABLE.to_owned() };
        let args = Doctor { cluster: Some(cluster()), fix: false, yes: false };
        let outcome = doctor::run(&session, &eyes, &mut console, Some(&cluster()), &args).await;
        let exit = outcome.map_err(|trouble| trouble.render())?;
        let report: Value = serde_json::from_slice(&out)?;
        Ok(Said { code: Some(i32::from(exit.code())), report })
    }
}
