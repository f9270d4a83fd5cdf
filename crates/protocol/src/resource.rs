//! What a cluster keeps at its holder: Elastic IPs and routes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::ids::{AllocationId, AssociationId, IdError, InterfaceId, RouteTableId};

/// The destination of a route: an IPv4 or IPv6 network in CIDR form, with no bits set beyond its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    network: IpAddr,
    prefix: u8,
}

const DESTINATION: &str =
    "a destination such as `10.9.0.1/32` or `2001:db8::/56`, no bits set beyond the prefix";

impl Destination {
    /// Parses CIDR notation.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::new(DESTINATION, text);
        let (network, prefix) = text.split_once('/').ok_or_else(refused)?;
        let network: IpAddr = network.parse().map_err(|_| refused())?;
        let prefix: u8 = prefix.parse().map_err(|_| refused())?;
        let host_bits = match network {
            IpAddr::V4(v4) if prefix <= 32 => u128::from(v4.to_bits()) & low_bits(32 - prefix),
            IpAddr::V6(v6) if prefix <= 128 => v6.to_bits() & low_bits(128 - prefix),
            _ => return Err(refused()),
        };
        if host_bits == 0 { Ok(Self { network, prefix }) } else { Err(refused()) }
    }

    /// Whether this is a default route, which is never looked for in tables that were not named.
    pub fn is_default(&self) -> bool {
        self.prefix == 0
    }

    /// Whether the destination is an IPv4 network.
    pub fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        match (self.network, other.network) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) >> (32 - prefix) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                prefix == 0 || (a.to_bits() ^ b.to_bits()) >> (128 - prefix) == 0
            }
            _ => false,
        }
    }
}

fn low_bits(count: u8) -> u128 {
    1u128.checked_shl(u32::from(count)).map_or(u128::MAX, |bit| bit - 1)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
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

/// Everything that must be at the holder. Declared once, moved as one intended state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The Elastic IPs.
    pub addresses: Vec<Address>,
    /// The routes.
    pub routes: Vec<Route>,
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
    pub associations: std::collections::BTreeMap<AllocationId, AssociationId>,
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
        let told = |text| Destination::new(text).map(|found| (found.is_ipv4(), found.is_default()));
        assert_eq!(told("0.0.0.0/0").expect("valid"), (true, true));
        assert_eq!(told("10.0.0.0/8").expect("valid"), (true, false));
        assert_eq!(told("::/0").expect("valid"), (false, true));
        assert_eq!(told("2001:db8::/32").expect("valid"), (false, false));
    }

    #[test]
    fn a_destination_is_written_as_it_is_read() {
        let route = Destination::new("10.9.0.1/32").expect("valid");
        assert_eq!(serde_json::to_string(&route).expect("can be written"), "\"10.9.0.1/32\"");
    }
}
