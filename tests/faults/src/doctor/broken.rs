//! How each requirement is broken in the account, and how its owner puts that right where `--fix` does not.

use baton_sandbox::moto::{Ec2Fault, Ec2Trouble};
use serde_json::json;

use super::account::{PROFILE, TRAIL};
use super::{Mend, Ward, ids, record, text};
use crate::rig::{Trouble, now};

/// A requirement that is broken.
#[derive(Debug, Clone, Copy)]
pub struct Broken {
    pub(super) requirement: &'static str,
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) expected: &'static str,
    pub(super) mend: Mend,
    pub(super) world: &'static str,
    pub(super) how: How,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    TwoVpcs,
    OneZone,
    NoOwnTable,
    Released,
    QuotaUsed,
    Stopped,
    SameZone,
    Detached,
    CheckOn,
    NoAgent,
    Silent,
    NoWay,
    ByGateway,
    EndpointDenies,
    NoMetadata,
    NoToken,
    NoTokenUsed,
    NoTokenUntold,
    NoEgress,
    AclDenies,
    AutoRecovery,
    Alarm,
    NoProfile,
    RouteDenied,
    AddressDenied,
    OldAgent,
    Retired,
    InsideVpc,
    TwoServe,
    RouteGone,
    AddressFree,
    NoTrail,
    OneGroupMore,
    Untagged,
    Hibernation,
    ClockAhead,
}

/// Breaks it.
pub(super) async fn apply(how: How, ward: &mut Ward) -> Result<(), Trouble> {
    let world = ward.rig.sandbox().world().clone();
    let (standby, first) = (world.instances[2].clone(), world.instances[0].clone());
    match how {
        How::TwoVpcs => record::two_vpcs(ward).await,
        How::OneZone => record::one_zone(ward).await,
        How::SameZone => record::same_zone(ward).await,
        How::Detached => record::detached(ward).await,
        How::NoAgent => record::newcomer(ward, &standby.subnet, false).await,
        How::Hibernation => record::newcomer(ward, &standby.subnet, true).await,
        How::InsideVpc => record::inside(ward).await,
        How::Retired => record::retire(ward).await,
        How::OldAgent => ward.pulse.restart(&ward.rig, ward.rig.node(2), 2, "0.0.9").await,
        How::Silent => record::fall_silent(ward).await,
        How::ClockAhead | How::TwoServe => {
            let node = ward.rig.node(1).clone();
            ward.pulse.edit(|state| {
                if how == How::ClockAhead {
                    state.ahead.insert(node, 30_000);
                } else {
                    state.serving.insert(node);
                }
            });
            record::beaten(ward).await
        }
        How::NoOwnTable => disassociate_table(ward, &standby.subnet),
        How::Released => release(ward).await,
        How::QuotaUsed => {
            while ward.ec2("describe_addresses", json!({}))?["Addresses"].as_array().map_or(0, Vec::len) < 5 {
                ward.ec2("allocate_address", json!({ "Domain": "vpc" }))?;
            }
            Ok(())
        }
        How::Stopped => Ok(ward.rig.sandbox().account().stop_instance(&standby.id)?),
        How::CheckOn => set_check(ward, &first.interface),
        How::NoWay => drop_endpoints(ward),
        How::ByGateway => by_gateway(ward),
        How::EndpointDenies => policy(ward, &["dynamodb:BatchGetItem", "dynamodb:GetItem"]),
        How::NoMetadata => metadata(ward, &standby.id, json!({ "HttpEndpoint": "disabled" })),
        How::NoToken => {
            used_without_token(ward, &standby.id, 0.0, 1..=HOURS)?;
            metadata(ward, &standby.id, json!({ "HttpTokens": "optional" }))
        }
        // Its metric has said nothing, as that of an instance which has not run.
        How::NoTokenUntold => metadata(ward, &first.id, json!({ "HttpTokens": "optional" })),
        How::NoTokenUsed => {
            used_without_token(ward, &standby.id, 3.0, 24..=24)?;
            metadata(ward, &standby.id, json!({ "HttpTokens": "optional" }))
        }
        How::NoEgress => egress(ward, "revoke_security_group_egress"),
        How::AclDenies => acl(ward, true),
        How::AutoRecovery => {
            let given = json!({ "InstanceId": standby.id, "AutoRecovery": "default" });
            ward.ec2("modify_instance_maintenance_options", given).map(drop)
        }
        How::Alarm => alarm(ward, &standby.id),
        How::NoProfile => no_profile(ward, &standby.id),
        How::RouteDenied => deny(ward, "ReplaceRoute").await,
        How::AddressDenied => deny(ward, "AssociateAddress").await,
        How::RouteGone => {
            let given = json!({
                "RouteTableId": world.route_tables[1], "DestinationCidrBlock": world.destination,
            });
            ward.ec2("delete_route", given).map(drop)
        }
        How::AddressFree => free(ward),
        How::NoTrail => ward.call("cloudtrail", "stop_logging", json!({ "Name": TRAIL })).map(drop),
        How::OneGroupMore => one_group_more(ward, &standby.interface),
        How::Untagged => tags(ward, "delete_tags", &world.route_tables[0]),
    }
}

/// Puts it right as a person would, or what `--fix` did otherwise than it was before.
pub(super) async fn restore(how: How, ward: &mut Ward) -> Result<(), Trouble> {
    let world = ward.rig.sandbox().world().clone();
    let standby = world.instances[2].clone();
    match how {
        How::TwoVpcs
        | How::OneZone
        | How::SameZone
        | How::Detached
        | How::NoAgent
        | How::Hibernation
        | How::InsideVpc => record::as_before(ward).await,
        How::Retired => record::register(ward).await,
        How::OldAgent => ward.pulse.restart(&ward.rig, ward.rig.node(2), 3, "0.1.0").await,
        How::Silent | How::ClockAhead | How::TwoServe => {
            ward.pulse.edit(|state| {
                state.silent.clear();
                state.ahead.clear();
                state.serving.clear();
            });
            record::beaten(ward).await
        }
        How::NoOwnTable => {
            let subnet = standby.subnet.clone();
            disassociate_table(ward, &subnet)?;
            let given = json!({ "SubnetId": subnet, "RouteTableId": world.route_tables[2] });
            ward.ec2("associate_route_table", given).map(drop)
        }
        How::Released => record::readdress(ward).await,
        How::QuotaUsed => release_strangers(ward),
        How::ByGateway => no_gateway(ward),
        How::EndpointDenies => policy(ward, &["*"]),
        // The fix has let out to the endpoint alone.
        How::NoEgress => egress(ward, "authorize_security_group_egress"),
        How::NoTokenUsed => metadata(ward, &standby.id, json!({ "HttpTokens": "required" })),
        How::NoTokenUntold => metadata(ward, &world.instances[0].id, json!({ "HttpTokens": "required" })),
        How::AclDenies => acl(ward, false),
        How::RouteDenied | How::AddressDenied => {
            ward.rig.sandbox().moto().set_faults(&[])?;
            ward.rig.wake("probe").await;
            Ok(())
        }
        How::NoTrail => ward.call("cloudtrail", "start_logging", json!({ "Name": TRAIL })).map(drop),
        How::OneGroupMore => {
            let group = ward.group()?;
            let given = json!({ "NetworkInterfaceId": standby.interface, "Groups": [group] });
            ward.ec2("modify_network_interface_attribute", given).map(drop)
        }
        _ => Ok(()),
    }
}

fn tags(ward: &Ward, operation: &str, resource: &str) -> Result<(), Trouble> {
    let given = json!({ "Resources": [resource], "Tags": [{ "Key": "baton:cluster", "Value": "orders" }] });
    ward.ec2(operation, given).map(drop)
}

fn metadata(ward: &Ward, instance: &str, mut given: serde_json::Value) -> Result<(), Trouble> {
    given["InstanceId"] = json!(instance);
    ward.ec2("modify_instance_metadata_options", given).map(drop)
}

/// Two weeks.
const HOURS: i64 = 14 * 24;

/// Programs on the instance have asked its metadata so often without a token, in each of these hours before this one.
fn used_without_token(
    ward: &Ward,
    instance: &str,
    calls: f64,
    hours: std::ops::RangeInclusive<i64>,
) -> Result<(), Trouble> {
    let hour = i64::try_from(now().0 / 3_600_000)?;
    // At the end of each, since the server forgets what is two weeks old.
    let datum = |back: i64| {
        let at = jiff::Timestamp::from_second((hour - back) * 3_600 + 3_599)?;
        Ok::<_, Trouble>(json!({
            "MetricName": "MetadataNoToken", "Value": calls, "Timestamp": at.to_string(),
            "Dimensions": [{ "Name": "InstanceId", "Value": instance }],
        }))
    };
    let data = hours.map(datum).collect::<Result<Vec<_>, _>>()?;
    ward.call("cloudwatch", "put_metric_data", json!({ "Namespace": "AWS/EC2", "MetricData": data }))
        .map(drop)
}

fn set_check(ward: &Ward, interface: &str) -> Result<(), Trouble> {
    let given = json!({ "NetworkInterfaceId": interface, "SourceDestCheck": { "Value": true } });
    ward.ec2("modify_network_interface_attribute", given).map(drop)
}

fn disassociate_table(ward: &Ward, subnet: &str) -> Result<(), Trouble> {
    let filters = json!([{ "Name": "association.subnet-id", "Values": [subnet] }]);
    let found = ward.ec2("describe_route_tables", json!({ "Filters": filters }))?;
    for table in found["RouteTables"].as_array().into_iter().flatten() {
        for at in table["Associations"].as_array().into_iter().flatten() {
            if at["SubnetId"] == subnet {
                let id = &at["RouteTableAssociationId"];
                ward.ec2("disassociate_route_table", json!({ "AssociationId": id }))?;
            }
        }
    }
    Ok(())
}

fn free(ward: &Ward) -> Result<(), Trouble> {
    for address in ward.rig.sandbox().account().addresses()? {
        if let Some(association) = address.association {
            ward.ec2("disassociate_address", json!({ "AssociationId": association }))?;
        }
    }
    Ok(())
}

async fn release(ward: &mut Ward) -> Result<(), Trouble> {
    free(ward)?;
    let address = ward.rig.registration().resources.addresses[0].allocation.to_string();
    ward.ec2("release_address", json!({ "AllocationId": address })).map(drop)
}

/// Releases what nobody registered.
fn release_strangers(ward: &Ward) -> Result<(), Trouble> {
    let own = &ward.rig.registration().resources.addresses;
    for address in ward.rig.sandbox().account().addresses()? {
        if !own.iter().any(|known| known.allocation.as_str() == address.allocation) {
            ward.ec2("release_address", json!({ "AllocationId": address.allocation }))?;
        }
    }
    Ok(())
}

/// The policy of every endpoint allows these actions, and nothing else.
fn policy(ward: &Ward, actions: &[&str]) -> Result<(), Trouble> {
    let statement = json!({ "Effect": "Allow", "Principal": "*", "Action": actions, "Resource": "*" });
    let document = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let found = ward.ec2("describe_vpc_endpoints", json!({}))?;
    for endpoint in found["VpcEndpoints"].as_array().into_iter().flatten() {
        let given = json!({ "VpcEndpointId": endpoint["VpcEndpointId"], "PolicyDocument": document });
        ward.ec2("modify_vpc_endpoint", given)?;
    }
    Ok(())
}

/// No table leads to an endpoint any more. The endpoint itself stays, since moto cannot delete one that it led tables to.
fn drop_endpoints(ward: &Ward) -> Result<(), Trouble> {
    let found = ward.ec2("describe_vpc_endpoints", json!({}))?;
    for endpoint in found["VpcEndpoints"].as_array().into_iter().flatten() {
        let (id, tables) = (&endpoint["VpcEndpointId"], &endpoint["RouteTableIds"]);
        ward.ec2("modify_vpc_endpoint", json!({ "VpcEndpointId": id, "RemoveRouteTableIds": tables }))?;
    }
    Ok(())
}

/// The way to the table is the internet's, and there is no endpoint.
fn by_gateway(ward: &mut Ward) -> Result<(), Trouble> {
    let gateway = ward.ec2("create_internet_gateway", json!({}))?;
    let gateway = text(&gateway["InternetGateway"]["InternetGatewayId"]);
    let world = ward.rig.sandbox().world().clone();
    let given = json!({ "InternetGatewayId": gateway, "VpcId": world.vpc });
    ward.ec2("attach_internet_gateway", given)?;
    for table in &world.route_tables {
        let given =
            json!({ "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway });
        ward.ec2("create_route", given)?;
    }
    drop_endpoints(ward)
}

fn no_gateway(ward: &Ward) -> Result<(), Trouble> {
    for table in &ward.rig.sandbox().world().route_tables {
        let given = json!({ "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0" });
        ward.ec2("delete_route", given)?;
    }
    Ok(())
}

impl Ward {
    /// The security group that every instance has.
    pub(super) fn group(&self) -> Result<String, Trouble> {
        let interface = &self.rig.sandbox().world().instances[0].interface;
        let found = self.ec2("describe_network_interfaces", ids("NetworkInterfaceIds", interface))?;
        Ok(text(&found["NetworkInterfaces"][0]["Groups"][0]["GroupId"]))
    }
}

fn egress(ward: &Ward, operation: &str) -> Result<(), Trouble> {
    let rule = json!([{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
    ward.ec2(operation, json!({ "GroupId": ward.group()?, "IpPermissions": rule })).map(drop)
}

/// Denies HTTPS out, or takes that away again together with what allows it.
fn acl(ward: &Ward, denies: bool) -> Result<(), Trouble> {
    let subnet = &ward.rig.sandbox().world().instances[0].subnet;
    let filters = json!([{ "Name": "association.subnet-id", "Values": [subnet] }]);
    let found = ward.ec2("describe_network_acls", json!({ "Filters": filters }))?;
    let id = &found["NetworkAcls"][0]["NetworkAclId"];
    if denies {
        let given = json!({
            "NetworkAclId": id, "RuleNumber": 50, "Protocol": "6", "RuleAction": "deny", "Egress": true,
            "CidrBlock": "0.0.0.0/0", "PortRange": { "From": 1, "To": 1_000 },
        });
        return ward.ec2("create_network_acl_entry", given).map(drop);
    }
    for number in [50, 49] {
        let given = json!({ "NetworkAclId": id, "RuleNumber": number, "Egress": true });
        ward.ec2("delete_network_acl_entry", given)?;
    }
    Ok(())
}

fn alarm(ward: &Ward, instance: &str) -> Result<(), Trouble> {
    let given = json!({
        "AlarmName": "recover a node", "AlarmActions": ["arn:aws:automate:eu-west-1:ec2:recover"],
        "Namespace": "AWS/EC2", "MetricName": "StatusCheckFailed_System", "Statistic": "Maximum",
        "Dimensions": [{ "Name": "InstanceId", "Value": instance }], "Period": 60, "EvaluationPeriods": 2,
        "Threshold": 1.0, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    });
    ward.call("cloudwatch", "put_metric_alarm", given).map(drop)
}

fn no_profile(ward: &Ward, instance: &str) -> Result<(), Trouble> {
    let found = ward.ec2("describe_iam_instance_profile_associations", json!({}))?;
    for at in found["IamInstanceProfileAssociations"].as_array().into_iter().flatten() {
        if at["InstanceId"] == instance && at["IamInstanceProfile"]["Arn"] == PROFILE {
            let given = json!({ "AssociationId": at["AssociationId"] });
            ward.ec2("disassociate_iam_instance_profile", given)?;
        }
    }
    Ok(())
}

async fn deny(ward: &mut Ward, action: &'static str) -> Result<(), Trouble> {
    ward.rig.sandbox().moto().set_faults(&[Ec2Fault::on(action, Ec2Trouble::Deny)])?;
    ward.rig.wake("probe").await;
    Ok(())
}

fn one_group_more(ward: &Ward, interface: &str) -> Result<(), Trouble> {
    let vpc = &ward.rig.sandbox().world().vpc;
    let given = json!({ "GroupName": "clients", "Description": "clients", "VpcId": vpc });
    let made = text(&ward.ec2("create_security_group", given)?["GroupId"]);
    let rule = json!([{
        "IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{ "CidrIp": "10.9.0.0/16" }],
    }]);
    ward.ec2("authorize_security_group_ingress", json!({ "GroupId": made, "IpPermissions": rule }))?;
    let given = json!({ "NetworkInterfaceId": interface, "Groups": [ward.group()?, made] });
    ward.ec2("modify_network_interface_attribute", given).map(drop)
}
