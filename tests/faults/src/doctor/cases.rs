//! The cases, in the order of the requirements.

use super::Mend::{Auto, Consent, Half, Person};
use super::broken::{Broken, How};
use super::twin::{self, Twin};

/// A requirement, and what is done about it.
#[derive(Debug, Clone, Copy)]
pub enum Case {
    /// It asks for a part that there is not.
    NotNeeded {
        /// The requirement.
        requirement: &'static str,
        /// The case of it.
        name: &'static str,
    },
    /// It is broken in the account or by what agents write.
    Broken(Broken),
    /// It is broken in the twin.
    Twin(Twin),
    /// What it depends on may not be read.
    Unread {
        /// The requirement.
        requirement: &'static str,
        /// The case of it.
        name: &'static str,
    },
}

impl Case {
    /// The requirement.
    pub fn requirement(&self) -> &'static str {
        match self {
            Self::NotNeeded { requirement, .. } | Self::Unread { requirement, .. } => requirement,
            Self::Broken(broken) => broken.requirement,
            Self::Twin(twin) => twin.requirement,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotNeeded { name, .. } | Self::Unread { name, .. } => name,
            Self::Broken(broken) => broken.name,
            Self::Twin(twin) => twin.name,
        }
    }
}

macro_rules! cases {
    ($($requirement:literal $name:literal ($($kind:tt)*) $what:literal => $expected:literal;)*) => {
        /// Every case.
        pub const CASES: &[Case] = &[$(case!($requirement $name $what $expected $($kind)*)),*];
        /// Their names.
        pub const NAMES: &[&str] = &[$($name),*];
    };
}

macro_rules! case {
    ($requirement:literal $name:literal $what:literal $expected:literal none) => {
        Case::NotNeeded { requirement: $requirement, name: $name }
    };
    ($requirement:literal $name:literal $what:literal $expected:literal unread) => {
        Case::Unread { requirement: $requirement, name: $name }
    };
    ($requirement:literal $name:literal $what:literal $expected:literal twin $how:ident) => {
        Case::Twin(Twin {
            requirement: $requirement,
            name: $name,
            what: $what,
            expected: $expected,
            how: twin::$how,
        })
    };
    ($requirement:literal $name:literal $what:literal $expected:literal $world:literal $mend:ident $how:ident) => {
        Case::Broken(Broken {
            requirement: $requirement,
            name: $name,
            what: $what,
            expected: $expected,
            mend: $mend,
            world: $world,
            how: How::$how,
        })
    };
}

cases! {
    "R1" "two-vpcs" ("server" Person TwoVpcs) "a node is in another VPC" => "one-vpc";
    "R1" "vpc-pending" (twin pending) "the VPC is pending" => "vpc-available";
    "R2" "one-zone" ("server" Consent OneZone) "all subnets of the VPC are in one zone" => "subnet-zones";
    "R3" "no-own-table" ("server" Consent NoOwnTable) "a node's subnet has no route table of its own" => "subnet-table";
    "R4" "released" ("server" Half Released) "the Elastic IP was released" => "address-allocated";
    "R4" "quota" ("server" Person QuotaUsed) "as many Elastic IPs are allocated as may be" => "address-quota";
    "R5" "stopped" ("server" Consent Stopped) "a node's instance is stopped" => "instance-running";
    "R5" "impaired" (twin impaired) "EC2's system check of a node fails" => "status-checks";
    "R5" "scheduled" (twin scheduled) "EC2 has scheduled a retirement" => "status-checks";
    "R6" "same-zone" ("server" Person SameZone) "all nodes are in one zone" => "two-zones";
    "R7" "detached" ("server" Consent Detached) "an interface that routes lead to is attached to nothing" => "interface-attached";
    "R8" "check-on" ("server" Auto CheckOn) "the holder's source/destination check is on" => "source-dest-check";
    "R9" "no-agent" ("node" Person NoAgent) "no agent was ever started on a node" => "agent-writes";
    "R10" "silent" ("node" Person Silent) "a node has written nothing for a minute" => "table-reached";
    "R10" "no-way" ("server" Consent NoWay) "no route leads from the nodes to DynamoDB" => "way-to-table";
    "R10" "endpoint-denies" ("server" Person EndpointDenies) "the endpoint's policy lets no writes through" => "endpoint-policy";
    "R10" "endpoint-conditions" (twin conditions) "the endpoint's policy has conditions" => "endpoint-policy";
    "R11" "no-metadata" ("server" Auto NoMetadata) "instance metadata is disabled" => "metadata-served";
    "R12" "no-egress" ("server" Consent NoEgress) "the security group lets nothing out" => "port-443-group";
    "R12" "acl" ("server" Consent AclDenies) "the network ACL denies HTTPS" => "port-443-acl";
    "R12" "unread" (unread) "" => "readable";
    "R13" "auto-recovery" ("server" Auto AutoRecovery) "automatic recovery is `default`" => "auto-recovery";
    "R13" "alarm" ("server" Consent Alarm) "an alarm recovers a node" => "alarm-action";
    "R14" "path" (none) "" => "";
    "R15" "no-profile" ("server" Consent NoProfile) "an instance has no instance profile" => "node-role";
    "R16" "route-denied" ("server" Person RouteDenied) "the arbiter may not call ReplaceRoute" => "routes-permitted";
    "R17" "address-denied" ("server" Person AddressDenied) "the arbiter may not call AssociateAddress" => "addresses-permitted";
    "R18" "metadata-disabled" ("server" Auto NoMetadata) "instance metadata is disabled" => "metadata-served";
    "R19" "no-token" ("server" Consent NoToken) "instance metadata needs no token, and nobody goes without" => "metadata-token";
    "R20" "old-agent" ("node" Person OldAgent) "one agent is older than the others" => "agent-version";
    "R21" "kit" (none) "" => "";
    "R22" "address-kit" (none) "" => "";
    "R23" "releases" (none) "" => "";
    "X1" "inside" ("server" Person InsideVpc) "a destination is within the VPC's network" => "destination-outside";
    "X2" "two-serve" ("node" Person TwoServe) "a standby says that it serves" => "holder-serves";
    "X3" "broadcast" (none) "" => "";
    "X4" "route-gone" ("server" Auto RouteGone) "somebody has deleted a route" => "route-at-holder";
    "X5" "address-free" ("server" Auto AddressFree) "somebody has freed the Elastic IP" => "address-at-holder";
    "X5" "no-trail" ("server" Person NoTrail) "the trail is stopped" => "trail";
    "X6" "one-group-more" ("server" Consent OneGroupMore) "one node lets in more than the others" => "group-parity";
    "X7" "layout" (none) "" => "";
    "B1" "by-gateway" ("server" Consent ByGateway) "the way to DynamoDB is the internet's" => "table-endpoint";
    "B2" "untagged" ("server" Consent Untagged) "a route table has no tag of consent" => "consent-tag";
    "B3" "hibernation" ("server" Person Hibernation) "an instance can be hibernated" => "hibernation";
    "B4" "clock" ("node" Person ClockAhead) "a node's clock is 30 s ahead" => "clock";
    "R19" "no-token-used" ("server" Person NoTokenUsed) "instance metadata needs no token, and somebody goes without" => "metadata-token";
    "R19" "no-token-untold" ("server" Person NoTokenUntold) "instance metadata needs no token, and whether somebody goes without is not known" => "metadata-token";
    "R24" "retired" ("server" Person Retired) "the registration was deleted" => "lease-active";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use baton_doctor::{CHECKS, Row};

    use super::*;

    #[test]
    fn every_requirement_has_a_case_and_every_check_as_well() {
        let requirements: BTreeSet<&str> = CASES.iter().map(Case::requirement).collect();
        let rows: Vec<String> = Row::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(requirements, rows.iter().map(String::as_str).collect());
        let expected: BTreeSet<&str> = CASES
            .iter()
            .filter_map(|case| match case {
                Case::Broken(broken) => Some(broken.expected),
                Case::Twin(twin) => Some(twin.expected),
                Case::NotNeeded { .. } | Case::Unread { .. } => None,
            })
            .collect();
        let missing: Vec<&str> =
            CHECKS.iter().map(|check| check.id).filter(|id| !expected.contains(id)).collect();
        assert_eq!(missing, [] as [&str; 0]);
        assert_eq!(NAMES.iter().collect::<BTreeSet<_>>().len(), NAMES.len());
    }
}
