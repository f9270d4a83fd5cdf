//! Instances: the state of one, and the description of several that a registration is checked against.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Instance, InstanceNetworkInterface, Reservation};
use baton_protocol::ec2::{CloudFailure, InstanceState};
use baton_protocol::ids::{InstanceArn, InstanceId};
use baton_protocol::roster::Tag;
use futures_util::future::try_join_all;

use super::{asked_for, filter, filters, optional, pages, required, text};
use crate::error::unreadable;
use crate::{InstanceSeen, InterfaceOnInstance};

const DESCRIBE: &str = "DescribeInstances";

/// As many instances as one filter can name, and more than EC2's smallest page.
const PAGE: i32 = 200;

/// The state of an instance that can serve.
const RUNNING: &str = "running";

/// The state of an instance.
pub(super) async fn state(client: &Client, id: &InstanceId) -> Result<InstanceState, CloudFailure> {
    let asked = std::slice::from_ref(id);
    for reservation in reservations(client, asked).await? {
        for row in reservation.instances() {
            if asked_for(DESCRIBE, asked, row.instance_id()).is_some() {
                return state_of(id, row);
            }
        }
    }
    Ok(InstanceState::NotFound)
}

/// What EC2 says about these instances.
pub(super) async fn instances(
    client: &Client,
    region: Option<&str>,
    ids: &[InstanceId],
) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
    let region = known(region)?;
    let mut seen = BTreeMap::new();
    for reservation in reservations(client, ids).await? {
        for row in reservation.instances() {
            if let Some(id) = asked_for(DESCRIBE, ids, row.instance_id()) {
                let instance = instance_seen(region, reservation.owner_id(), &id, row)?;
                seen.insert(id, instance);
            }
        }
    }
    Ok(seen)
}

/// What EC2 says about the running instances that carry a tag.
pub(super) async fn tagged(
    client: &Client,
    region: Option<&str>,
    tag: &Tag,
) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
    let region = known(region)?;
    let filters = vec![
        filter(&format!("tag:{}", tag.key()), &[tag.value()]),
        filter("instance-state-name", &[RUNNING]),
    ];
    let mut seen = BTreeMap::new();
    for reservation in described(client, filters).await? {
        for row in reservation.instances() {
            let id: InstanceId = required(DESCRIBE, "the id of an instance", row.instance_id())?;
            let instance = instance_seen(region, reservation.owner_id(), &id, row)?;
            if tag.is_in(&instance.tags) && instance.state == InstanceState::Other(RUNNING.to_owned()) {
                seen.insert(id, instance);
            } else {
                tracing::warn!(action = DESCRIBE, %id, "EC2 answered with a row that was not asked for; left out");
            }
        }
    }
    Ok(seen)
}

fn known(region: Option<&str>) -> Result<&str, CloudFailure> {
    region.ok_or_else(|| {
        CloudFailure::Refused(
            "no region is configured, so an instance has no ARN; set AWS_REGION or the region of the profile"
                .into(),
        )
    })
}

async fn reservations(client: &Client, ids: &[InstanceId]) -> Result<Vec<Reservation>, CloudFailure> {
    let answers =
        try_join_all(filters("instance-id", ids).into_iter().map(|filter| described(client, vec![filter])));
    Ok(answers.await?.into_iter().flatten().collect())
}

async fn described(client: &Client, filters: Vec<Filter>) -> Result<Vec<Reservation>, CloudFailure> {
    let pages = pages!(DESCRIBE, client.describe_instances().set_filters(Some(filters.clone())), PAGE);
    Ok(pages.into_iter().flat_map(|page| page.reservations.unwrap_or_default()).collect())
}

fn state_of(id: &InstanceId, row: &Instance) -> Result<InstanceState, CloudFailure> {
    let name = row.state().and_then(|state| state.name()).map(|name| name.as_str());
    match text(name) {
        Some("terminated") => Ok(InstanceState::Terminated),
        Some(other) => Ok(InstanceState::Other(other.to_owned())),
        None => Err(unreadable(DESCRIBE, format_args!("{id} without a state"))),
    }
}

fn instance_seen(
    region: &str,
    owner: Option<&str>,
    id: &InstanceId,
    row: &Instance,
) -> Result<InstanceSeen, CloudFailure> {
    let owner = text(owner).ok_or_else(|| unreadable(DESCRIBE, format_args!("{id} without an owner")))?;
    let arn =
        InstanceArn::of(partition(region), region, owner, id).map_err(|error| unreadable(DESCRIBE, error))?;
    let mut interfaces = row.network_interfaces().iter().map(interface).collect::<Result<Vec<_>, _>>()?;
    interfaces.sort_by_key(|interface| interface.device_index);
    let placement = row.placement();
    let zone = placement
        .and_then(|placement| {
            text(placement.availability_zone_id()).or_else(|| text(placement.availability_zone()))
        })
        .ok_or_else(|| unreadable(DESCRIBE, format_args!("{id} without an Availability Zone")))?;
    let tags =
        row.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()))).collect();
    Ok(InstanceSeen {
        arn,
        state: state_of(id, row)?,
        zone: zone.to_owned(),
        vpc: row.vpc_id().unwrap_or_default().to_owned(),
        interfaces,
        hibernates: row.hibernation_options().is_some_and(|options| options.configured() == Some(true)),
        tags,
    })
}

fn interface(row: &InstanceNetworkInterface) -> Result<InterfaceOnInstance, CloudFailure> {
    let id = required(DESCRIBE, "the interface of an instance", row.network_interface_id())?;
    let missing = |what: &str| unreadable(DESCRIBE, format_args!("{id} without its {what}"));
    let device_index = row
        .attachment()
        .and_then(|attachment| attachment.device_index())
        .ok_or_else(|| missing("device index"))?;
    let source_dest_check = row.source_dest_check().ok_or_else(|| missing("source/destination check"))?;
    let mut private_ips: Vec<Ipv4Addr> = Vec::new();
    for address in row.private_ip_addresses() {
        let ip = required(DESCRIBE, "a private address", address.private_ip_address())?;
        let place = if address.primary() == Some(true) { 0 } else { private_ips.len() };
        private_ips.insert(place, ip);
    }
    if private_ips.is_empty() {
        private_ips.extend(optional::<Ipv4Addr>(DESCRIBE, "the private address", row.private_ip_address())?);
    }
    Ok(InterfaceOnInstance { id, device_index, private_ips, source_dest_check })
}

/// The partition of a region. EC2 names it nowhere, and an ARN needs it.
fn partition(region: &str) -> &'static str {
    const BY_PREFIX: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    BY_PREFIX.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::canned::Canned;

    const INSTANCE: &str = "i-0123456789abcdef0";
    const INTERFACES: &str = "<networkInterfaceSet>\
        <item><networkInterfaceId>eni-0123456789abcdef1</networkInterfaceId><sourceDestCheck>false</sourceDestCheck>\
        <attachment><deviceIndex>1</deviceIndex></attachment><privateIpAddress>10.0.1.20</privateIpAddress></item>\
        <item><networkInterfaceId>eni-0123456789abcdef0</networkInterfaceId><sourceDestCheck>true</sourceDestCheck>\
        <attachment><deviceIndex>0</deviceIndex></attachment><privateIpAddressesSet>\
        <item><privateIpAddress>10.0.1.11</privateIpAddress><primary>false</primary></item>\
        <item><privateIpAddress>10.0.1.10</privateIpAddress><primary>true</primary></item>\
        <item><privateIpAddress>10.0.1.12</privateIpAddress><primary>false</primary></item>\
        </privateIpAddressesSet></item></networkInterfaceSet>";

    fn id() -> InstanceId {
        InstanceId::new(INSTANCE).expect("valid")
    }

    fn body(state: &str, inner: &str) -> String {
        format!(
            "<DescribeInstancesResponse><reservationSet><item><ownerId>123456789012</ownerId><instancesSet><item>\
             <instanceId>{INSTANCE}</instanceId><instanceState><name>{state}</name></instanceState>{inner}\
             </item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
        )
    }

    fn placed(zone: &str) -> String {
        format!("<vpcId>vpc-1</vpcId><placement>{zone}</placement>{INTERFACES}")
    }

    #[tokio::test]
    async fn only_terminated_is_terminated() {
        for (name, expected) in [
            ("terminated", InstanceState::Terminated),
            ("shutting-down", InstanceState::Other("shutting-down".into())),
            ("stopped", InstanceState::Other("stopped".into())),
            ("running", InstanceState::Other("running".into())),
            ("something-new", InstanceState::Other("something-new".into())),
        ] {
            let canned = Canned::answers([(200, body(name, ""))]);
            assert_eq!(state(&canned.client(), &id()).await, Ok(expected), "{name}");
            assert_eq!(canned.requests()[0]["Filter.1.Name"], "instance-id");
        }
        let nothing = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>".to_owned();
        let canned = Canned::answers([(200, nothing)]);
        assert_eq!(state(&canned.client(), &id()).await, Ok(InstanceState::NotFound));
        let canned = Canned::answers([(200, body("", ""))]);
        let stateless = state(&canned.client(), &id()).await;
        assert!(matches!(stateless, Err(CloudFailure::Unknown(_))), "{stateless:?}");
    }

    #[tokio::test]
    async fn another_instances_state_is_not_taken_for_the_one_asked_for() {
        let other = InstanceId::new("i-0fffffffffffffff0").expect("valid");
        let canned = Canned::answers([(200, body("terminated", ""))]);
        assert_eq!(state(&canned.client(), &other).await, Ok(InstanceState::NotFound));
    }

    #[tokio::test]
    async fn an_instance_is_described_with_its_primary_address_first() {
        let zone = "<availabilityZone>eu-west-1a</availabilityZone><availabilityZoneId>euw1-az2</availabilityZoneId>";
        let tags = "<tagSet><item><key>Name</key><value>a</value></item></tagSet>";
        let canned = Canned::answers([(200, body("running", &format!("{}{tags}", placed(zone))))]);
        let seen = instances(&canned.client(), Some("eu-west-1"), &[id()]).await.expect("readable");
        let seen = &seen[&id()];
        assert_eq!(seen.arn.as_str(), format!("arn:aws:ec2:eu-west-1:123456789012:instance/{INSTANCE}"));
        assert_eq!((&*seen.zone, &*seen.vpc), ("euw1-az2", "vpc-1"));
        assert_eq!(seen.tags["Name"], "a");
        let interfaces: Vec<_> =
            seen.interfaces.iter().map(|i| (i.device_index, i.source_dest_check)).collect();
        assert_eq!(interfaces, [(0, true), (1, false)]);
        let ips: Vec<_> = seen.interfaces[0].private_ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.0.1.10", "10.0.1.11", "10.0.1.12"]);
        assert_eq!(seen.interfaces[1].private_ips, [Ipv4Addr::new(10, 0, 1, 20)]);
    }

    #[tokio::test]
    async fn whether_it_can_hibernate_is_what_ec2_says_and_where_it_says_nothing_it_cannot() {
        let zone = "<availabilityZone>eu-west-1a</availabilityZone>";
        let options =
            |word| format!("<hibernationOptions><configured>{word}</configured></hibernationOptions>");
        for (said, hibernates) in [(options("true"), true), (options("false"), false), (String::new(), false)]
        {
            let canned = Canned::answers([(200, body("running", &format!("{}{said}", placed(zone))))]);
            let seen = instances(&canned.client(), Some("eu-west-1"), &[id()]).await.expect("readable");
            assert_eq!(seen[&id()].hibernates, hibernates, "{said}");
        }
    }

    #[tokio::test]
    async fn a_zone_without_an_id_goes_by_its_name() {
        let zone = "<availabilityZone>cn-north-1a</availabilityZone>";
        let canned = Canned::answers([(200, body("running", &placed(zone)))]);
        let seen = instances(&canned.client(), Some("cn-north-1"), &[id()]).await.expect("readable");
        assert_eq!(seen[&id()].zone, "cn-north-1a");
        assert!(seen[&id()].arn.as_str().starts_with("arn:aws-cn:ec2:cn-north-1:"));
    }

    #[tokio::test]
    async fn instances_are_asked_for_by_their_tag_and_others_left_out() {
        let zone = "<availabilityZone>eu-west-1a</availabilityZone>";
        let tags =
            |value: &str| format!("<tagSet><item><key>role</key><value>{value}</value></item></tagSet>");
        let tag = Tag::new("role", "nat").expect("valid");
        for (state, value, expected) in
            [("running", "nat", 1), ("running", "natty", 0), ("stopped", "nat", 0)]
        {
            let canned = Canned::answers([(200, body(state, &format!("{}{}", placed(zone), tags(value))))]);
            let seen = tagged(&canned.client(), Some("eu-west-1"), &tag).await.expect("readable");
            assert_eq!(seen.len(), expected, "{state} {value}");
            let asked = &canned.requests()[0];
            assert_eq!((&*asked["Filter.1.Name"], &*asked["Filter.1.Value.1"]), ("tag:role", "nat"));
            assert_eq!(
                (&*asked["Filter.2.Name"], &*asked["Filter.2.Value.1"]),
                ("instance-state-name", "running")
            );
        }
        // Half an answer would pass for the absence of the other half.
        let canned = Canned::answers([(200, body("running", &tags("nat")))]);
        let unreadable = tagged(&canned.client(), Some("eu-west-1"), &tag).await;
        assert!(matches!(unreadable, Err(CloudFailure::Unknown(_))), "{unreadable:?}");
    }

    #[test]
    fn every_region_has_its_partition() {
        for (region, expected) in [
            ("eu-west-1", "aws"),
            ("us-east-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-east-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition(region), expected, "{region}");
        }
    }
}
