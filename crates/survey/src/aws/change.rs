//! The changes that mend what was found.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, DomainType, HttpTokensState, IamInstanceProfileSpecification,
    InstanceAutoRecoveryState, InstanceMetadataEndpointState, IpPermission, IpRange, Ipv6Range, PortRange,
    PrefixListId, ResourceType, RuleAction, Tag, TagSpecification, UserIdGroupPair, VpcEndpointType,
};
use baton_doctor::survey::Rule;
use baton_doctor::{Change, TAG};
use serde_json::json;

use super::{AwsAccount, failure};
use crate::SurveyFailure;
use crate::signed::Operation;

/// Sends a request, and tells its failure by the change's action.
macro_rules! sent {
    ($action:expr, $request:expr) => {
        $request.send().await.map(drop).map_err(|error| failure($action, &error))
    };
}

impl AwsAccount {
    pub(super) async fn send(&self, change: &Change, dry: bool) -> Result<(), SurveyFailure> {
        let (ec2, action) = (&self.ec2, change.action());
        match change {
            Change::Start(_)
            | Change::EnableMetadata(_)
            | Change::RequireToken(_)
            | Change::DisableAutoRecovery(_)
            | Change::AssociateProfile { .. } => self.change_instance(change, dry).await,
            Change::DisableSourceDestCheck(id) => sent!(
                action,
                ec2.modify_network_interface_attribute()
                    .network_interface_id(id.as_str())
                    .source_dest_check(AttributeBooleanValue::builder().value(false).build())
                    .dry_run(dry)
            ),
            Change::DisableAlarm(name) => {
                let asked = json!({ "AlarmNames": [name] });
                self.signed.ask(Operation::DisableAlarmActions, &asked).await.map(drop)
            }
            Change::AttachInterface { interface, instance, index } => sent!(
                action,
                ec2.attach_network_interface()
                    .network_interface_id(interface.as_str())
                    .instance_id(instance.as_str())
                    .device_index(*index)
                    .dry_run(dry)
            ),
            Change::AllocateAddress(cluster) => {
                let tags = TagSpecification::builder()
                    .resource_type(ResourceType::ElasticIp)
                    .tags(tag(cluster.as_str()))
                    .build();
                sent!(
                    action,
                    ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(tags).dry_run(dry)
                )
            }
            Change::Tag { resource, cluster } => {
                sent!(action, ec2.create_tags().resources(resource).tags(tag(cluster.as_str())).dry_run(dry))
            }
            Change::AuthorizeEgress { group, rule } => sent!(
                action,
                ec2.authorize_security_group_egress()
                    .group_id(group)
                    .ip_permissions(permission(rule))
                    .dry_run(dry)
            ),
            Change::AuthorizeIngress { group, rule } => sent!(
                action,
                ec2.authorize_security_group_ingress()
                    .group_id(group)
                    .ip_permissions(permission(rule))
                    .dry_run(dry)
            ),
            Change::AssociateTable { .. }
            | Change::CreateSubnet { .. }
            | Change::CreateEndpoint { .. }
            | Change::ExtendEndpoint { .. }
            | Change::AllowInAcl { .. } => self.change_network(change, dry).await,
            Change::Wake(_) => Err(SurveyFailure::Refused {
                action,
                said: "the arbiter is woken by its bus, and not from here".to_owned(),
            }),
        }
    }

    async fn change_instance(&self, change: &Change, dry: bool) -> Result<(), SurveyFailure> {
        let (ec2, action) = (&self.ec2, change.action());
        match change {
            Change::Start(id) => {
                sent!(action, ec2.start_instances().instance_ids(id.as_str()).dry_run(dry))
            }
            Change::EnableMetadata(id) => sent!(
                action,
                ec2.modify_instance_metadata_options()
                    .instance_id(id.as_str())
                    .http_endpoint(InstanceMetadataEndpointState::Enabled)
                    .dry_run(dry)
            ),
            Change::RequireToken(id) => sent!(
                action,
                ec2.modify_instance_metadata_options()
                    .instance_id(id.as_str())
                    .http_tokens(HttpTokensState::Required)
                    .http_endpoint(InstanceMetadataEndpointState::Enabled)
                    .dry_run(dry)
            ),
            Change::DisableAutoRecovery(id) => sent!(
                action,
                ec2.modify_instance_maintenance_options()
                    .instance_id(id.as_str())
                    .auto_recovery(InstanceAutoRecoveryState::Disabled)
                    .dry_run(dry)
            ),
            // EC2 has no `DryRun` of this one, so nobody asks for it.
            Change::AssociateProfile { instance, profile } => {
                let profile = IamInstanceProfileSpecification::builder().arn(profile).build();
                sent!(
                    action,
                    ec2.associate_iam_instance_profile()
                        .instance_id(instance.as_str())
                        .iam_instance_profile(profile)
                )
            }
            _ => Ok(()),
        }
    }

    async fn change_network(&self, change: &Change, dry: bool) -> Result<(), SurveyFailure> {
        let (ec2, action) = (&self.ec2, change.action());
        match change {
            Change::AssociateTable { subnet, table } => sent!(
                action,
                ec2.associate_route_table().subnet_id(subnet).route_table_id(table).dry_run(dry)
            ),
            Change::CreateSubnet { vpc, zone, network } => sent!(
                action,
                ec2.create_subnet().vpc_id(vpc).availability_zone_id(zone).cidr_block(network).dry_run(dry)
            ),
            Change::CreateEndpoint { vpc, service, tables } => sent!(
                action,
                ec2.create_vpc_endpoint()
                    .vpc_endpoint_type(VpcEndpointType::Gateway)
                    .vpc_id(vpc)
                    .service_name(service)
                    .set_route_table_ids(Some(tables.clone()))
                    .dry_run(dry)
            ),
            Change::ExtendEndpoint { endpoint, tables } => sent!(
                action,
                ec2.modify_vpc_endpoint()
                    .vpc_endpoint_id(endpoint)
                    .set_add_route_table_ids(Some(tables.clone()))
                    .dry_run(dry)
            ),
            Change::AllowInAcl { acl, number, egress, ports } => sent!(
                action,
                ec2.create_network_acl_entry()
                    .network_acl_id(acl)
                    .rule_number(*number)
                    .egress(*egress)
                    .protocol("6")
                    .port_range(PortRange::builder().from(ports.0).to(ports.1).build())
                    .cidr_block("0.0.0.0/0")
                    .rule_action(RuleAction::Allow)
                    .dry_run(dry)
            ),
            _ => Ok(()),
        }
    }
}

fn tag(cluster: &str) -> Tag {
    Tag::builder().key(TAG).value(cluster).build()
}

fn permission(rule: &Rule) -> IpPermission {
    let mut permission = IpPermission::builder().ip_protocol(&rule.protocol);
    if rule.protocol != "-1" {
        permission = permission.from_port(rule.from).to_port(rule.to);
    }
    let peer = rule.peer.as_str();
    let permission = match peer.split_once('-') {
        Some(("sg", _)) => permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(peer).build()),
        Some(("pl", _)) => permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(peer).build()),
        _ if peer.contains(':') => permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(peer).build()),
        _ => permission.ip_ranges(IpRange::builder().cidr_ip(peer).build()),
    };
    permission.build()
}
