//! Instances: their state, EC2's own checks, and their roles.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    HttpTokensState, Instance, InstanceAutoRecoveryState, InstanceMetadataEndpointState, SummaryStatus,
};
use baton_doctor::survey::{InstanceDetail, StatusDetail};
use baton_protocol::ids::InstanceId;

use super::{Answer, filter, pages, required, tagged, unreadable};
use crate::network::INSTANCES;

const STATUS: &str = "ec2:DescribeInstanceStatus";
const PROFILES: &str = "ec2:DescribeIamInstanceProfileAssociations";

/// Instances, and the VPC that they are in, where that is one.
pub(super) async fn instances(
    ec2: &Client,
    ids: &[InstanceId],
) -> Answer<(BTreeMap<InstanceId, InstanceDetail>, Option<String>)> {
    if ids.is_empty() {
        return Ok((BTreeMap::new(), None));
    }
    let pages = pages!(INSTANCES, ec2.describe_instances().filters(filter("instance-id", ids)));
    let mut found = BTreeMap::new();
    let mut vpcs = Vec::new();
    for row in pages.iter().flat_map(|page| page.reservations()).flat_map(|made| made.instances()) {
        let id: InstanceId = required(INSTANCES, "the id of an instance", row.instance_id())?;
        if ids.contains(&id) {
            found.insert(id.clone(), detail(&id, row)?);
            vpcs.extend(row.vpc_id().filter(|vpc| !vpc.is_empty()).map(str::to_owned));
        }
    }
    vpcs.sort();
    vpcs.dedup();
    // Of nodes in several VPCs there is none to look at; that is told by the examination.
    let vpc = if vpcs.len() == 1 { vpcs.pop() } else { None };
    Ok((found, vpc))
}

fn detail(id: &InstanceId, row: &Instance) -> Answer<InstanceDetail> {
    let state = row.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned());
    let state = state.ok_or_else(|| unreadable(INSTANCES, format_args!("{id} without a state")))?;
    let metadata = row.metadata_options();
    // EC2 gives these of every instance that is not terminated; where it does not, its defaults hold.
    let endpoint = metadata.and_then(|options| options.http_endpoint());
    let tokens = metadata.and_then(|options| options.http_tokens());
    let recovery = row.maintenance_options().and_then(|options| options.auto_recovery());
    let hibernation = row.hibernation_options().and_then(|options| options.configured());
    Ok(InstanceDetail {
        state,
        metadata: endpoint != Some(&InstanceMetadataEndpointState::Disabled),
        token_required: tokens == Some(&HttpTokensState::Required),
        auto_recovery: recovery != Some(&InstanceAutoRecoveryState::Disabled),
        hibernation: hibernation == Some(true),
        tagged: tagged(row.tags()),
    })
}

/// EC2's checks of instances that are there: one id that EC2 does not know fails the whole list, and there is no filter.
pub(super) async fn statuses(ec2: &Client, ids: &[InstanceId]) -> Answer<BTreeMap<InstanceId, StatusDetail>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let named = ids.iter().map(ToString::to_string).collect();
    let request = ec2.describe_instance_status().include_all_instances(true).set_instance_ids(Some(named));
    let pages = pages!(STATUS, request);
    let mut found = BTreeMap::new();
    for row in pages.iter().flat_map(|page| page.instance_statuses()) {
        let id: InstanceId = required(STATUS, "the id of an instance", row.instance_id())?;
        if !ids.contains(&id) {
            continue;
        }
        let impaired = |what: &str, status: Option<&SummaryStatus>| {
            let word = status.filter(|status| **status == SummaryStatus::Impaired)?.as_str();
            Some(format!("its {what} is {word}"))
        };
        let checks = [
            impaired("system status", row.system_status().and_then(|status| status.status())),
            impaired("instance status", row.instance_status().and_then(|status| status.status())),
            impaired("EBS status", row.attached_ebs_status().and_then(|status| status.status())),
        ];
        let events = row.events().iter().filter_map(|event| event.description());
        // What is done is kept for a week, and says so at the beginning.
        let pending =
            events.filter(|text| !text.starts_with("[Completed]") && !text.starts_with("[Canceled]"));
        let detail = StatusDetail {
            failing: checks.into_iter().flatten().collect(),
            events: pending.map(|text| format!("scheduled: {}", crate::signed::cut(text))).collect(),
        };
        found.insert(id, detail);
    }
    Ok(found)
}

/// The instance profile of each instance that has one, by its ARN.
pub(super) async fn profiles(ec2: &Client, ids: &[InstanceId]) -> Answer<BTreeMap<InstanceId, String>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let request = ec2.describe_iam_instance_profile_associations().filters(filter("instance-id", ids));
    let pages = pages!(PROFILES, request);
    let mut found = BTreeMap::new();
    for row in pages.iter().flat_map(|page| page.iam_instance_profile_associations()) {
        let there = row.state().is_some_and(|state| matches!(state.as_str(), "associated" | "associating"));
        let id: InstanceId = required(PROFILES, "the id of an instance", row.instance_id())?;
        let profile = row.iam_instance_profile().and_then(|profile| profile.arn());
        if let Some(profile) = profile.filter(|_| there && ids.contains(&id)) {
            found.insert(id, profile.to_owned());
        }
    }
    Ok(found)
}
