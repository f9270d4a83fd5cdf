//! The changes that mend what was found. Each is told as the command that does the same, so that what `--fix` would do can be
//! read first, or done by hand.

use std::fmt;

use baton_protocol::ids::{ClusterName, InstanceId, InterfaceId};

use crate::TAG;
use crate::survey::Rule;

/// One change of the account. Never of where an address or a route leads: that is the arbiter's alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Starts an instance.
    Start(InstanceId),
    /// Turns the source/destination check off.
    DisableSourceDestCheck(InterfaceId),
    /// Serves instance metadata.
    EnableMetadata(InstanceId),
    /// Asks for a token for instance metadata.
    RequireToken(InstanceId),
    /// Turns EC2's simplified automatic recovery off.
    DisableAutoRecovery(InstanceId),
    /// Keeps an alarm from doing anything.
    DisableAlarm(String),
    /// Associates a subnet with the route table that it follows already.
    AssociateTable {
        /// The subnet.
        subnet: String,
        /// The table.
        table: String,
    },
    /// Makes a subnet.
    CreateSubnet {
        /// Of this VPC.
        vpc: String,
        /// In the Availability Zone of this id.
        zone: String,
        /// Its network.
        network: String,
    },
    /// Attaches an interface to an instance.
    AttachInterface {
        /// The interface.
        interface: InterfaceId,
        /// The instance.
        instance: InstanceId,
        /// The device index.
        index: i32,
    },
    /// Allocates an Elastic IP, tagged for a cluster.
    AllocateAddress(ClusterName),
    /// Makes a gateway endpoint.
    CreateEndpoint {
        /// Of this VPC.
        vpc: String,
        /// Of this service.
        service: String,
        /// In these route tables.
        tables: Vec<String>,
    },
    /// Leads route tables to a gateway endpoint.
    ExtendEndpoint {
        /// The endpoint.
        endpoint: String,
        /// The tables.
        tables: Vec<String>,
    },
    /// Lets out.
    AuthorizeEgress {
        /// The security group.
        group: String,
        /// What.
        rule: Rule,
    },
    /// Lets in.
    AuthorizeIngress {
        /// The security group.
        group: String,
        /// What.
        rule: Rule,
    },
    /// Adds an entry to a network ACL that allows TCP.
    AllowInAcl {
        /// The ACL.
        acl: String,
        /// The entry's number.
        number: i32,
        /// Whether it is about what leaves.
        egress: bool,
        /// The first port, and the last.
        ports: (i32, i32),
    },
    /// Gives an instance a role, by the ARN of its profile.
    AssociateProfile {
        /// The instance.
        instance: InstanceId,
        /// The ARN of the instance profile.
        profile: String,
    },
    /// Consents to a resource being moved for a cluster.
    Tag {
        /// Its id.
        resource: String,
        /// The cluster.
        cluster: ClusterName,
    },
    /// Has the arbiter look, which puts right what is its to put right.
    Wake(ClusterName),
}

impl Change {
    /// The IAM action that it needs.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Start(_) => "ec2:StartInstances",
            Self::DisableSourceDestCheck(_) => "ec2:ModifyNetworkInterfaceAttribute",
            Self::EnableMetadata(_) | Self::RequireToken(_) => "ec2:ModifyInstanceMetadataOptions",
            Self::DisableAutoRecovery(_) => "ec2:ModifyInstanceMaintenanceOptions",
            Self::DisableAlarm(_) => "cloudwatch:DisableAlarmActions",
            Self::AssociateTable { .. } => "ec2:AssociateRouteTable",
            Self::CreateSubnet { .. } => "ec2:CreateSubnet",
            Self::AttachInterface { .. } => "ec2:AttachNetworkInterface",
            Self::AllocateAddress(_) => "ec2:AllocateAddress",
            Self::CreateEndpoint { .. } => "ec2:CreateVpcEndpoint",
            Self::ExtendEndpoint { .. } => "ec2:ModifyVpcEndpoint",
            Self::AuthorizeEgress { .. } => "ec2:AuthorizeSecurityGroupEgress",
            Self::AuthorizeIngress { .. } => "ec2:AuthorizeSecurityGroupIngress",
            Self::AllowInAcl { .. } => "ec2:CreateNetworkAclEntry",
            Self::AssociateProfile { .. } => "ec2:AssociateIamInstanceProfile",
            Self::Tag { .. } => "ec2:CreateTags",
            Self::Wake(_) => "events:PutEvents",
        }
    }
}

/// As a shell takes it, in one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A rule as `--ip-permissions` takes it.
fn permissions(rule: &Rule) -> String {
    let ports = if rule.protocol == "-1" {
        String::new()
    } else {
        format!("FromPort={},ToPort={},", rule.from, rule.to)
    };
    let peer = &rule.peer;
    let peer = match peer.split_once('-') {
        Some(("sg", _)) => format!("UserIdGroupPairs=[{{GroupId={peer}}}]"),
        Some(("pl", _)) => format!("PrefixListIds=[{{PrefixListId={peer}}}]"),
        _ if peer.contains(':') => format!("Ipv6Ranges=[{{CidrIpv6={peer}}}]"),
        _ => format!("IpRanges=[{{CidrIp={peer}}}]"),
    };
    quoted(&format!("IpProtocol={},{ports}{peer}", rule.protocol))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AssociateTable { .. }
            | Self::CreateSubnet { .. }
            | Self::CreateEndpoint { .. }
            | Self::ExtendEndpoint { .. }
            | Self::AuthorizeEgress { .. }
            | Self::AuthorizeIngress { .. }
            | Self::AllowInAcl { .. } => self.network(f),
            Self::Start(instance) => write!(f, "aws ec2 start-instances --instance-ids {instance}"),
            Self::DisableSourceDestCheck(interface) => write!(
                f,
                "aws ec2 modify-network-interface-attribute --network-interface-id {interface} --no-source-dest-check"
            ),
            Self::EnableMetadata(instance) => write!(
                f,
                "aws ec2 modify-instance-metadata-options --instance-id {instance} --http-endpoint enabled"
            ),
            Self::RequireToken(instance) => write!(
                f,
                "aws ec2 modify-instance-metadata-options --instance-id {instance} --http-tokens required \
                 --http-endpoint enabled"
            ),
            Self::DisableAutoRecovery(instance) => write!(
                f,
                "aws ec2 modify-instance-maintenance-options --instance-id {instance} --auto-recovery disabled"
            ),
            Self::DisableAlarm(name) => {
                write!(f, "aws cloudwatch disable-alarm-actions --alarm-names {}", quoted(name))
            }
            Self::AttachInterface { interface, instance, index } => write!(
                f,
                "aws ec2 attach-network-interface --network-interface-id {interface} --instance-id {instance} \
                 --device-index {index}"
            ),
            Self::AllocateAddress(cluster) => write!(
                f,
                "aws ec2 allocate-address --domain vpc --tag-specifications \
                 'ResourceType=elastic-ip,Tags=[{{Key={TAG},Value={cluster}}}]'"
            ),
            Self::AssociateProfile { instance, profile } => write!(
                f,
                "aws ec2 associate-iam-instance-profile --instance-id {instance} --iam-instance-profile Arn={profile}"
            ),
            Self::Tag { resource, cluster } => {
                write!(f, "aws ec2 create-tags --resources {resource} --tags Key={TAG},Value={cluster}")
            }
            Self::Wake(cluster) => write!(f, "baton doctor {cluster} --fix, which wakes the arbiter"),
        }
    }
}

impl Change {
    /// What changes the network.
    fn network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AssociateTable { subnet, table } => {
                write!(f, "aws ec2 associate-route-table --subnet-id {subnet} --route-table-id {table}")
            }
            Self::CreateSubnet { vpc, zone, network } => write!(
                f,
                "aws ec2 create-subnet --vpc-id {vpc} --availability-zone-id {zone} --cidr-block {network}"
            ),
            Self::CreateEndpoint { vpc, service, tables } => write!(
                f,
                "aws ec2 create-vpc-endpoint --vpc-endpoint-type Gateway --vpc-id {vpc} --service-name {service} \
                 --route-table-ids {}",
                tables.join(" ")
            ),
            Self::ExtendEndpoint { endpoint, tables } => write!(
                f,
                "aws ec2 modify-vpc-endpoint --vpc-endpoint-id {endpoint} --add-route-table-ids {}",
                tables.join(" ")
            ),
            Self::AuthorizeEgress { group, rule } => write!(
                f,
                "aws ec2 authorize-security-group-egress --group-id {group} --ip-permissions {}",
                permissions(rule)
            ),
            Self::AuthorizeIngress { group, rule } => write!(
                f,
                "aws ec2 authorize-security-group-ingress --group-id {group} --ip-permissions {}",
                permissions(rule)
            ),
            Self::AllowInAcl { acl, number, egress, ports } => write!(
                f,
                "aws ec2 create-network-acl-entry --network-acl-id {acl} --rule-number {number} {} --protocol 6 \
                 --port-range From={},To={} --cidr-block 0.0.0.0/0 --rule-action allow",
                if *egress { "--egress" } else { "--ingress" },
                ports.0,
                ports.1
            ),
            // Everything else is told by its own words.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: &str, from: i32, to: i32, peer: &str) -> Rule {
        Rule { protocol: protocol.to_owned(), from, to, peer: peer.to_owned() }
    }

    #[test]
    fn a_change_reads_as_the_command_that_does_the_same() {
        let name = Change::DisableAlarm("it's down; rm -rf".to_owned());
        assert_eq!(
            name.to_string(),
            r"aws cloudwatch disable-alarm-actions --alarm-names 'it'\''s down; rm -rf'"
        );
        for (rule, expected) in [
            (
                rule("tcp", 443, 443, "0.0.0.0/0"),
                "'IpProtocol=tcp,FromPort=443,ToPort=443,IpRanges=[{CidrIp=0.0.0.0/0}]'",
            ),
            (rule("-1", -1, -1, "sg-1"), "'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'"),
            (rule("-1", -1, -1, "pl-1"), "'IpProtocol=-1,PrefixListIds=[{PrefixListId=pl-1}]'"),
            (rule("-1", -1, -1, "::/0"), "'IpProtocol=-1,Ipv6Ranges=[{CidrIpv6=::/0}]'"),
        ] {
            assert_eq!(permissions(&rule), expected);
        }
    }
}
