//! The rows of requirements that a cluster is held against, under the numbers by which manuals and tools name them.
//!
//! R1 to R24 are what the product that Baton replaces asks for before its kit for EC2 may be used, X1 to X7 what it asks for
//! elsewhere. Those that ask for a part that Baton does without are kept, each with the reason, so that nobody has to look
//! for a number that is missing. B1 to B4 are what Baton itself depends on besides.

use std::fmt;

use serde::{Serialize, Serializer};

/// A requirement by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is told by `Row::title`")]
pub enum Row {
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    R16,
    R17,
    R18,
    R19,
    R20,
    R21,
    R22,
    R23,
    R24,
    X1,
    X2,
    X3,
    X4,
    X5,
    X6,
    X7,
    B1,
    B2,
    B3,
    B4,
}

impl Row {
    /// Every row, in order.
    pub const ALL: [Self; 35] = [
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
        Self::R16,
        Self::R17,
        Self::R18,
        Self::R19,
        Self::R20,
        Self::R21,
        Self::R22,
        Self::R23,
        Self::R24,
        Self::X1,
        Self::X2,
        Self::X3,
        Self::X4,
        Self::X5,
        Self::X6,
        Self::X7,
        Self::B1,
        Self::B2,
        Self::B3,
        Self::B4,
    ];

    /// What it asks for, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::R1 => "one VPC, available",
            Self::R2 => "subnets in two Availability Zones",
            Self::R3 => "a route table for each node's subnet",
            Self::R4 => "the Elastic IPs are allocated, and one more may be",
            Self::R5 => "two instances that run and pass EC2's checks",
            Self::R6 => "the instances are in two Availability Zones",
            Self::R7 => "each node's interfaces are attached to it",
            Self::R8 => "no source/destination check where routes lead",
            Self::R9 => "an agent on every node",
            Self::R10 => "every node reaches DynamoDB",
            Self::R11 => "every node reaches its instance metadata",
            Self::R12 => "outbound port 443 is open",
            Self::R13 => "nothing of EC2 restarts a node beside Baton",
            Self::R14 => "the path of a program",
            Self::R15 => "a role on every node",
            Self::R16 => "the arbiter may change routes",
            Self::R17 => "the arbiter may move the Elastic IPs",
            Self::R18 => "instance metadata is enabled",
            Self::R19 => "instance metadata only with a token (IMDSv2)",
            Self::R20 => "one version of the agent",
            Self::R21 => "one version of the kit",
            Self::R22 => "one version of the kit for virtual addresses",
            Self::R23 => "releases that are supported",
            Self::R24 => "a lease, and not the nodes, says who serves",
            Self::X1 => "destinations are outside the VPC's networks",
            Self::X2 => "the holder serves, and nobody else does",
            Self::X3 => "no broadcast ping",
            Self::X4 => "every route is present and leads to the holder",
            Self::X5 => "a trail tells of changes by others",
            Self::X6 => "nodes let in the same",
            Self::X7 => "the layout of an example",
            Self::B1 => "a gateway endpoint for the table",
            Self::B2 => "the tag of consent on what is moved",
            Self::B3 => "no hibernation",
            Self::B4 => "clocks agree",
        }
    }

    /// Why nothing needs to be looked at, for rows that ask for a part that Baton does without.
    pub fn not_needed(self) -> Option<&'static str> {
        match self {
            Self::R14 => Some("no program is run to call AWS"),
            Self::R21 => Some("there is no kit beside the agent"),
            Self::R22 => Some("the agent sets virtual addresses by itself"),
            Self::R23 => Some("CHANGELOG.md says what an update needs"),
            Self::X3 => Some("no address is looked for by a ping"),
            Self::X7 => Some("any layout will do that the other rows allow"),
            _ => None,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_none_is_left_out() {
        let names: Vec<String> = Row::ALL.iter().map(ToString::to_string).collect();
        let kind = |letter, count| (1..=count).map(move |n| format!("{letter}{n}"));
        let expected: Vec<String> = kind('R', 24).chain(kind('X', 7)).chain(kind('B', 4)).collect();
        assert_eq!(names, expected);
    }
}
