//! What was found: which requirement, how bad, why it matters and what to do.

use std::fmt;

use serde::Serialize;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; it was expected or will be mended by the first move.
    Info,
    /// The cluster works, and something about it deserves a second look.
    Warning,
    /// It could not be determined whether the requirement is met, so it counts as not met.
    Unknown,
    /// The requirement is not met.
    Violation,
}

impl Severity {
    /// Whether a request with such a finding is refused.
    pub fn refuses(self) -> bool {
        self >= Self::Unknown
    }
}

/// Whether a request with these findings is refused.
pub fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity.refuses())
}

/// What a move depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// There is a node to move to.
    TwoNodes,
    /// Every node has a name and an instance of its own.
    NodesDiffer,
    /// There is an address or a route to keep in service.
    SomethingToMove,
    /// Every address and every route is named once.
    ResourcesDiffer,
    /// The request stays within the sizes that one invocation can move.
    Bounds,
    /// Every instance exists.
    InstanceExists,
    /// Every instance runs.
    InstanceRuns,
    /// In strict mode no instance can hibernate.
    NoHibernation,
    /// Every instance carries the tag that lets the arbiter move addresses to it.
    InstanceTagged,
    /// All nodes are in one VPC.
    OneVpc,
    /// The nodes are in at least two Availability Zones.
    TwoZones,
    /// Every node has a network interface with device index 0.
    PrimaryInterface,
    /// Where another interface was chosen, every node has it, and has one.
    ChosenInterface,
    /// The interface has the private IPv4 address that each Elastic IP goes to.
    PrivateAddresses,
    /// No two Elastic IPs go to one private address.
    SeatsDiffer,
    /// Every Elastic IP is allocated to the account.
    AddressExists,
    /// No Elastic IP serves somebody else now.
    AddressAtNode,
    /// No foreign Elastic IP sits where one of the cluster goes.
    SeatFree,
    /// The role through which another account's route tables are reached can be taken on.
    RoleAssumed,
    /// Every route table exists.
    TableExists,
    /// Every route table belongs to the nodes' VPC.
    TableInVpc,
    /// Every description of tables comes to one at least.
    TableFound,
    /// Every table that was described carries the tag that lets the arbiter change it.
    TableTagged,
    /// Every destination lies outside the VPC's networks.
    DestinationOutside,
    /// Every route is present.
    RoutePresent,
    /// No route leads to somebody else now.
    RouteAtNode,
    /// A route in service that leads through no interface, a gateway above all, is replaced only where that was asked for.
    GatewayDeclared,
    /// Every subnet whose table is swapped is in the nodes' VPC, tagged, and with one of its tables already.
    SubnetReady,
    /// Every table that is prepared for a node is in the nodes' VPC, tagged, leads to that node, and is turned by nobody.
    TablePrepared,
    /// No address, seat, route or subnet is another cluster's.
    Unshared,
    /// Everything that was to be looked at could be read.
    Readable,
}

impl Requirement {
    /// Every one of them.
    pub const ALL: [Self; 31] = [
        Self::TwoNodes,
        Self::NodesDiffer,
        Self::SomethingToMove,
        Self::ResourcesDiffer,
        Self::Bounds,
        Self::InstanceExists,
        Self::InstanceRuns,
        Self::NoHibernation,
        Self::InstanceTagged,
        Self::OneVpc,
        Self::TwoZones,
        Self::PrimaryInterface,
        Self::ChosenInterface,
        Self::PrivateAddresses,
        Self::SeatsDiffer,
        Self::AddressExists,
        Self::AddressAtNode,
        Self::SeatFree,
        Self::RoleAssumed,
        Self::TableExists,
        Self::TableInVpc,
        Self::TableFound,
        Self::TableTagged,
        Self::DestinationOutside,
        Self::RoutePresent,
        Self::RouteAtNode,
        Self::GatewayDeclared,
        Self::SubnetReady,
        Self::TablePrepared,
        Self::Unshared,
        Self::Readable,
    ];

    /// The requirement's stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoNodes => "two-nodes",
            Self::NodesDiffer => "nodes-differ",
            Self::SomethingToMove => "something-to-move",
            Self::ResourcesDiffer => "resources-differ",
            Self::Bounds => "bounds",
            Self::InstanceExists => "instance-exists",
            Self::InstanceRuns => "instance-runs",
            Self::NoHibernation => "no-hibernation",
            Self::InstanceTagged => "instance-tagged",
            Self::OneVpc => "one-vpc",
            Self::TwoZones => "two-zones",
            Self::PrimaryInterface => "primary-interface",
            Self::ChosenInterface => "chosen-interface",
            Self::SeatsDiffer => "seats-differ",
            Self::PrivateAddresses => "private-addresses",
            Self::AddressExists => "address-exists",
            Self::AddressAtNode => "address-at-node",
            Self::SeatFree => "seat-free",
            Self::RoleAssumed => "role-assumed",
            Self::TableExists => "table-exists",
            Self::TableInVpc => "table-in-vpc",
            Self::TableFound => "table-found",
            Self::TableTagged => "table-tagged",
            Self::DestinationOutside => "destination-outside",
            Self::RoutePresent => "route-present",
            Self::RouteAtNode => "route-at-node",
            Self::GatewayDeclared => "gateway-declared",
            Self::SubnetReady => "subnet-ready",
            Self::TablePrepared => "table-prepared",
            Self::Unshared => "unshared",
            Self::Readable => "readable",
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is not as a move needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The requirement.
    pub id: Requirement,
    /// How much it weighs.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}); {}", self.id, self.what, self.why, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_violated_or_unknown_refuses_and_the_rest_does_not() {
        assert!(Severity::Violation.refuses() && Severity::Unknown.refuses());
        assert!(!Severity::Warning.refuses() && !Severity::Info.refuses());
    }

    #[test]
    fn the_runbook_has_a_row_for_every_requirement_and_for_nothing_else() {
        let runbook = include_str!("../../../docs/OPERATIONS.md");
        let section =
            runbook.split("## What a registration is refused for").nth(1).expect("there is a section");
        let rows = section.lines().take_while(|line| !line.starts_with("## "));
        let named: Vec<&str> = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let all: Vec<&str> = Requirement::ALL.iter().map(|requirement| requirement.as_str()).collect();
        assert_eq!(named, all);
        assert!(Requirement::ALL.is_sorted(), "each is there once");
    }

    #[test]
    fn a_requirement_has_one_name_everywhere() {
        let finding = Finding {
            id: Requirement::SeatFree,
            severity: Severity::Violation,
            what: "taken".to_owned(),
            why: "theft".to_owned(),
            remedy: "move it".to_owned(),
        };
        assert_eq!(finding.to_string(), "seat-free: taken (theft); move it");
    }
}
