//! What a cluster keeps at its holder: Elastic IPs and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::choice::Choices;
use crate::ids::{
    AllocationId, AssociationId, IdError, InterfaceId, NodeName, RoleArn, RouteTableId, SubnetId,
    TableAssociationId, ec2_id,
};

/// The destination of a route: an IPv4 or IPv6 network in CIDR form, with no bits set beyond its prefix, or a prefix list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Network {
        network: IpAddr,
        prefix: u8,
    },
    /// [`LIST`] and so many hexadecimal digits, 8 or 17.
    List {
        number: u128,
        digits: usize,
    },
}

/// Which of EC2's three parameters names a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// An IPv4 network.
    Ipv4,
    /// An IPv6 network.
    Ipv6,
    /// A prefix list, which may hold networks of one family or the other.
    PrefixList,
}

const DESTINATION: &str = "a destination such as `10.9.0.1/32` or `2001:db8::/56`, no bits set beyond the prefix, or `pl-0123456789abcdef0`";

impl Destination {
    /// Parses CIDR notation or the id of a prefix list.
    pub fn new(text: &str) -> Result<Self, IdError> {
        list(text).or_else(|| network(text)).map(Self).ok_or_else(|| IdError::new(DESTINATION, text))
    }

    /// Which parameter of EC2 names it.
    pub fn family(&self) -> Family {
        match self.0 {
            Kind::Network { network, .. } if network.is_ipv4() => Family::Ipv4,
            Kind::Network { .. } => Family::Ipv6,
            Kind::List { .. } => Family::PrefixList,
        }
    }

    /// Whether this is a default route, which is never looked for in tables that were not named. What a prefix list holds is
    /// not known here.
    pub fn is_default(&self) -> bool {
        matches!(self.0, Kind::Network { prefix: 0, .. })
    }

    /// Whether the two share an address, as far as is known: of a prefix list, only with itself.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Kind::Network { network: a, prefix: p }, Kind::Network { network: b, prefix: q }) => {
                share(a, b, p.min(q))
            }
            (one, other) => one == other,
        }
    }

    /// Whether every address of this one is of the other's, as far as is known.
    pub fn lies_within(&self, outer: &Self) -> bool {
        match (self.0, outer.0) {
            (Kind::Network { prefix: inner, .. }, Kind::Network { prefix, .. }) => {
                inner >= prefix && self.overlaps(outer)
            }
            (one, other) => one == other,
        }
    }
}

fn network(text: &str) -> Option<Kind> {
    let (network, prefix) = text.split_once('/')?;
    let network: IpAddr = network.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    let host_bits = match network {
        IpAddr::V4(v4) if prefix <= 32 => u128::from(v4.to_bits()) & low_bits(32 - prefix),
        IpAddr::V6(v6) if prefix <= 128 => v6.to_bits() & low_bits(128 - prefix),
        _ => return None,
    };
    (host_bits == 0).then_some(Kind::Network { network, prefix })
}

const LIST: &str = "pl-";

fn list(text: &str) -> Option<Kind> {
    let digits = text.strip_prefix(LIST).filter(|_| ec2_id(text, LIST))?;
    Some(Kind::List { number: u128::from_str_radix(digits, 16).ok()?, digits: digits.len() })
}

/// Whether two networks are of one family and equal in their first so many bits.
fn share(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    match (one, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) >> (32 - bits) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => bits == 0 || (a.to_bits() ^ b.to_bits()) >> (128 - bits) == 0,
        _ => false,
    }
}

fn low_bits(count: u8) -> u128 {
    1u128.checked_shl(u32::from(count)).map_or(u128::MAX, |bit| bit - 1)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Network { network, prefix } => write!(f, "{network}/{prefix}"),
            Kind::List { number, digits } => write!(f, "{LIST}{number:0digits$x}"),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(&text)
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

/// An Elastic IP of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Under which the address is allocated.
    pub allocation: AllocationId,
    /// The address itself, as EC2 reported it at registration.
    pub public_ip: Ipv4Addr,
}

/// A route of the cluster: one destination in one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The table that holds the route.
    pub table: RouteTableId,
    /// Where the route leads.
    pub destination: Destination,
}

/// As people read it, in the history and in every message.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.destination, self.table)
    }
}

/// A subnet whose route table is swapped, and the table that is prepared for each node (ADR 0031).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SubnetTables {
    /// The subnet.
    pub subnet: SubnetId,
    /// The table whose routes lead to a node, by the node's name.
    pub tables: BTreeMap<NodeName, RouteTableId>,
}

/// The association of a subnet with a route table. One id is of one table for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableAssociation {
    /// The association.
    pub id: TableAssociationId,
    /// The table.
    pub table: RouteTableId,
}

/// Everything that must be at the holder. Declared once, moved as one intended state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The Elastic IPs.
    pub addresses: Vec<Address>,
    /// The routes.
    pub routes: Vec<Route>,
    /// Those of the routes that are turned to the holder even where they lead to a gateway.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub from_gateways: BTreeSet<Route>,
    /// The subnets whose route table is swapped for the one that is prepared for the holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<SubnetTables>,
    /// The role of another account through which its route tables are reached; none: they are the account's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables_role: Option<RoleArn>,
    /// What of this was described and not named, and of where it goes on each node.
    #[serde(default, skip_serializing_if = "Choices::is_empty")]
    pub choices: Choices,
}

impl Resources {
    /// The tables that are prepared for a node, whose routes stay as they are.
    pub fn prepared(&self) -> impl Iterator<Item = &RouteTableId> {
        self.subnets.iter().flat_map(|swapped| swapped.tables.values())
    }

    /// Whether something is sent to a node's interface that is not addressed to it.
    pub fn needs_forwarding(&self) -> bool {
        !self.routes.is_empty() || !self.subnets.is_empty()
    }
}

/// Where an Elastic IP sits on a node: an interface and one of its private addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// The interface.
    pub interface: InterfaceId,
    /// The private address on it.
    pub private_ip: Ipv4Addr,
}

/// What the last verified move left at EC2, so that the next one need not look first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The association of each address.
    #[serde(default)]
    pub associations: BTreeMap<AllocationId, AssociationId>,
    /// The association of each subnet whose table is swapped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<SubnetId, TableAssociation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_network_and_nothing_else() {
        for good in ["10.9.0.1/32", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32", "::/0", "::1/128"] {
            assert_eq!(Destination::new(good).expect(good).to_string(), good);
        }
        for bad in ["10.9.0.1", "10.9.0.1/33", "10.9.0.1/8", "::1/129", "::1/64", "x/8", "10.0.0.0/-1", ""] {
            assert!(Destination::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_list_is_named_by_its_id_in_either_length() {
        for good in ["pl-01234567", "pl-0123456789abcdef0", "pl-00000000"] {
            assert_eq!(Destination::new(good).expect(good).to_string(), good);
        }
        for bad in
            ["pl-", "pl-0123456", "pl-012345678", "pl-0123456G", "pl-0123ABCD", "pl-+1234567", "PL-01234567"]
        {
            assert!(Destination::new(bad).is_err(), "{bad}");
        }
        let [one, same, longer, network] =
            ["pl-01234567", "pl-01234567", "pl-00000000001234567", "0.0.0.0/0"]
                .map(|text| Destination::new(text).expect("valid"));
        assert!(one.overlaps(&same) && one.lies_within(&same));
        for other in [longer, network] {
            assert!(!one.overlaps(&other) && !other.overlaps(&one), "{other}");
            assert!(!one.lies_within(&other) && !other.lies_within(&one), "{other}");
        }
    }

    #[test]
    fn a_network_lies_within_another_that_has_all_of_it() {
        let within = |inner, outer| {
            let [inner, outer] = [inner, outer].map(|text| Destination::new(text).expect("valid"));
            inner.lies_within(&outer)
        };
        assert!(within("10.0.3.0/24", "10.0.0.0/16") && within("10.0.0.0/16", "10.0.0.0/16"));
        assert!(!within("10.0.0.0/16", "10.0.3.0/24") && !within("10.1.0.0/24", "10.0.0.0/16"));
        assert!(!within("::/0", "0.0.0.0/0"));
    }

    #[test]
    fn networks_overlap_when_one_contains_the_other() {
        let net = |text| Destination::new(text).expect("valid");
        assert!(net("10.0.0.0/16").overlaps(&net("10.0.3.0/24")));
        assert!(net("0.0.0.0/0").overlaps(&net("10.0.3.0/24")));
        assert!(net("::/0").overlaps(&net("2001:db8::/32")));
        assert!(!net("10.0.0.0/16").overlaps(&net("10.1.0.0/16")));
        assert!(!net("0.0.0.0/0").overlaps(&net("::/0")));
    }

    #[test]
    fn networks_that_differ_within_the_shorter_prefix_share_no_address() {
        let net = |text| Destination::new(text).expect("valid");
        assert!(net("2001:db8::/32").overlaps(&net("2001:db8:1::/48")));
        assert!(!net("2001:db8::/32").overlaps(&net("2001:db9::/32")));
        assert!(!net("2001:db8:1::/48").overlaps(&net("2001:db8:2::/48")));
        assert!(net("::1/128").overlaps(&net("::1/128")));
        assert!(!net("::1/128").overlaps(&net("::/128")));
    }

    #[test]
    fn a_destination_tells_its_family_and_whether_it_is_the_default() {
        let told = |text| Destination::new(text).map(|found| (found.family(), found.is_default()));
        assert_eq!(told("0.0.0.0/0").expect("valid"), (Family::Ipv4, true));
        assert_eq!(told("10.0.0.0/8").expect("valid"), (Family::Ipv4, false));
        assert_eq!(told("::/0").expect("valid"), (Family::Ipv6, true));
        assert_eq!(told("2001:db8::/32").expect("valid"), (Family::Ipv6, false));
        assert_eq!(told("pl-01234567").expect("valid"), (Family::PrefixList, false));
    }

    #[test]
    fn a_destination_is_written_as_it_is_read() {
        let route = Destination::new("10.9.0.1/32").expect("valid");
        assert_eq!(serde_json::to_string(&route).expect("can be written"), "\"10.9.0.1/32\"");
    }
}
