//! What `doctor` looks for: each check with its name, the rows that it is about, and whether `--fix` may mend what it finds.

use serde::Serialize;

use crate::finding::{Requirement, Severity};
use crate::row::Row;

/// Whether `--fix` mends what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fix {
    /// It does: what it changes can be changed back, costs nothing, touches nothing else, and undoes nothing that somebody may
    /// have wanted.
    Auto,
    /// It does after a further question, since that costs money, opens something, touches what others use or may undo what
    /// somebody wanted.
    Consent,
    /// It does not.
    Report,
}

impl Fix {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Consent => "consent",
            Self::Report => "report",
        }
    }
}

/// Something that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Its stable name.
    pub id: &'static str,
    /// The rows.
    pub rows: &'static [Row],
    /// How much it weighs where nothing else is said.
    pub severity: Severity,
    /// What `--fix` may do.
    pub fix: Fix,
    /// Why it matters.
    pub why: &'static str,
    /// What to do where there is no command for it.
    pub remedy: &'static str,
}

macro_rules! checks {
    ($($name:ident $id:literal [$($row:ident)*] $severity:ident $fix:ident $why:literal $remedy:literal;)*) => {
        $(
            pub(crate) const $name: Check = Check {
                id: $id,
                rows: &[$(Row::$row),*],
                severity: Severity::$severity,
                fix: Fix::$fix,
                why: $why,
                remedy: $remedy,
            };
        )*
        /// Every check that looks at what surrounds a cluster.
        pub const CHECKS: &[Check] = &[$($name),*];
    };
}

checks! {
    VPC_AVAILABLE "vpc-available" [R1] Violation Report
        "routes and addresses are of this VPC" "wait until EC2 says `available`";
    SUBNET_ZONES "subnet-zones" [R2] Violation Consent
        "a node in another zone needs a subnet there" "make a subnet in another Availability Zone, and start a node in it";
    SUBNET_TABLE "subnet-table" [R3] Warning Consent
        "a subnet without a table of its own follows the main one, and with it whatever that is changed to"
        "associate the subnet with a route table";
    ADDRESS_ALLOCATED "address-allocated" [R4] Violation Consent
        "an address that is not there cannot be moved"
        "name one that is allocated in the cluster's stack";
    ADDRESS_QUOTA "address-quota" [R4] Warning Report
        "an address that is lost could not be replaced"
        "have the quota L-0263D0A3 raised: `aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-0263D0A3 --desired-value N`";
    INSTANCE_RUNNING "instance-running" [R5] Warning Consent
        "a node that does not run can take nothing over" "start the instance, or take the node out";
    STATUS_CHECKS "status-checks" [R5] Warning Report
        "EC2 says that the machine below the node is not well" "hand over with `baton switchover` if it holds, then stop and start the instance";
    INTERFACE_ATTACHED "interface-attached" [R7] Violation Consent
        "addresses and routes lead to this interface" "attach the interface to the node, or name another one in the stack";
    SOURCE_DEST_CHECK "source-dest-check" [R8] Violation Auto
        "EC2 drops what a route leads to the node and is not addressed to it" "turn the check off";
    AGENT_WRITES "agent-writes" [R9] Violation Report
        "a node without an agent can take nothing over"
        "install the package `baton-agent` there, and `systemctl enable --now baton-agent`";
    TABLE_REACHED "table-reached" [R10] Violation Report
        "the node cannot renew or claim the lease" "see `systemctl status baton-agent` and its log on the node";
    WAY_TO_TABLE "way-to-table" [R10] Violation Consent
        "nothing leads from the node to DynamoDB" "make a gateway endpoint for DynamoDB";
    ENDPOINT_POLICY "endpoint-policy" [R10] Violation Report
        "what the policy of the endpoint denies never reaches the table, whatever the node's role allows"
        "let the endpoint's policy allow dynamodb:BatchGetItem, dynamodb:GetItem and dynamodb:UpdateItem on the table: `aws ec2 modify-vpc-endpoint --vpc-endpoint-id ID --policy-document file://policy.json`";
    METADATA_SERVED "metadata-served" [R11 R18] Violation Auto
        "the agent learns from it who it is, gets its credentials there, and sees whether its address is gone"
        "enable the instance metadata";
    METADATA_TOKEN "metadata-token" [R19] Warning Consent
        "whoever can make a program on the node ask for an address gets the node's credentials"
        "see which program asks without a token, and then require one: `aws ec2 modify-instance-metadata-options --http-tokens required --instance-id ID`";
    PORT_443_GROUP "port-443-group" [R12] Violation Consent
        "the agent reaches AWS over this port only" "let TCP to port 443 out in a security group of the node, to the prefix list com.amazonaws.REGION.dynamodb where a gateway endpoint is the way";
    PORT_443_ACL "port-443-acl" [R12] Violation Consent
        "the agent reaches AWS over this port only, and answers come to ports above 1023"
        "let TCP to port 443 out, and to ports 1024 to 65535 in, in the subnet's network ACL";
    AUTO_RECOVERY "auto-recovery" [R13] Warning Auto
        "EC2 may restart the node elsewhere while a standby takes over, and the node comes back without warning"
        "turn it off";
    ALARM_ACTION "alarm-action" [R13] Warning Consent
        "the alarm restarts or moves the node while a standby takes over" "take the action out of the alarm";
    NODE_ROLE "node-role" [R15] Violation Consent
        "without a role the agent may not write to the table" "give the instance the role of the nodes";
    ROUTES_PERMITTED "routes-permitted" [R16] Violation Report
        "what cannot be changed now could not be changed in a move"
        "see `baton status`; tag the resource with baton:cluster, or update the control plane's stack, whose role the arbiter has";
    ADDRESSES_PERMITTED "addresses-permitted" [R17] Violation Report
        "what cannot be moved now could not be moved when it is needed"
        "see `baton status`; tag the resource with baton:cluster, or update the control plane's stack, whose role the arbiter has";
    AGENT_VERSION "agent-version" [R20] Warning Report
        "versions are meant to differ during an update only" "update the package `baton-agent` on the nodes that are behind, standbys first";
    LEASE_ACTIVE "lease-active" [R24] Violation Report
        "nobody takes over in a cluster that was deleted" "register it again with its stack";
    HOLDER_SERVES "holder-serves" [X2] Violation Report
        "exactly the holder ought to serve" "see `baton status` and the log of the node's agent";
    ROUTE_AT_HOLDER "route-at-holder" [X4] Violation Auto
        "clients of this route do not reach the holder" "see `baton history`; the arbiter puts it right, unless it may not";
    ADDRESS_AT_HOLDER "address-at-holder" [X5] Violation Auto
        "clients of this address do not reach the holder" "see `baton history`; the arbiter puts it right, unless it may not";
    TRAIL "trail" [X5] Warning Report
        "without a trail a change by somebody else is found within three minutes and not at once"
        "`aws cloudtrail create-trail --name baton --s3-bucket-name BUCKET && aws cloudtrail start-logging --name baton`";
    GROUP_PARITY "group-parity" [X6] Warning Consent
        "clients that this node lets in could not reach the service after it has moved, or the other way round"
        "give all nodes the same security groups";
    TABLE_ENDPOINT "table-endpoint" [B1] Warning Consent
        "the agents' way to the table goes through the internet, which moving an address can cut"
        "make a gateway endpoint for DynamoDB, which costs nothing";
    CONSENT_TAG "consent-tag" [B2] Violation Consent
        "the arbiter may move only what carries the tag of its owner's consent" "tag it";
    HIBERNATION "hibernation" [B3] Warning Report
        "a node that wakes from hibernation serves for a moment what has moved meanwhile"
        "start the node anew without it; it cannot be turned off";
    CLOCK "clock" [B4] Warning Report
        "pauses, windows and requests end by each node's own clock"
        "let chronyd follow 169.254.169.123 on the node: `chronyc tracking`";
}

/// What a finding of a registration's examination is to `doctor`; none: another check looks at that more closely.
pub(crate) fn of_requirement(requirement: Requirement) -> Option<&'static [Row]> {
    Some(match requirement {
        Requirement::InstanceRuns
        | Requirement::InstanceTagged
        | Requirement::TableTagged
        | Requirement::AddressExists
        | Requirement::AddressAtNode
        | Requirement::RoutePresent
        | Requirement::RouteAtNode => return None,
        Requirement::OneVpc => &[Row::R1],
        Requirement::SubnetReady => &[Row::R3],
        Requirement::TwoNodes | Requirement::InstanceExists => &[Row::R5],
        Requirement::TwoZones => &[Row::R6],
        Requirement::PrimaryInterface | Requirement::ChosenInterface => &[Row::R7],
        Requirement::DestinationOutside => &[Row::X1],
        Requirement::TableExists
        | Requirement::TableInVpc
        | Requirement::TableFound
        | Requirement::TablePrepared
        | Requirement::GatewayDeclared => &[Row::X4],
        Requirement::PrivateAddresses
        | Requirement::SeatsDiffer
        | Requirement::SeatFree
        | Requirement::SomethingToMove => &[Row::R4],
        // What is about the request alone has no row.
        _ => &[],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_runbook_names_every_check_with_its_rows_and_what_fix_may_do() {
        let runbook = include_str!("../../../docs/OPERATIONS.md");
        for check in CHECKS {
            let rows: Vec<String> = check.rows.iter().map(ToString::to_string).collect();
            let line =
                format!("| `{}` | {} | {} | {} |", check.id, rows.join(", "), check.fix.as_str(), check.why);
            assert!(runbook.contains(&line), "docs/OPERATIONS.md lacks {line}");
        }
    }

    #[test]
    fn each_check_has_a_name_of_its_own_and_every_row_a_check() {
        let names: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(names.len(), CHECKS.len());
        let mut rows: BTreeSet<Row> = CHECKS.iter().flat_map(|check| check.rows).copied().collect();
        for requirement in [Requirement::TwoZones, Requirement::DestinationOutside] {
            rows.extend(of_requirement(requirement).expect("has rows"));
        }
        let missing: Vec<_> =
            Row::ALL.into_iter().filter(|row| row.not_needed().is_none() && !rows.contains(row)).collect();
        assert_eq!(missing, []);
    }
}
