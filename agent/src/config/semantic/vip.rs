//! The virtual addresses: which, and on what. Each is one address, since a route of the cluster leads exactly there, and each
//! belongs to one cluster, or one cluster's end of serving would take another's address away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::{Rules, raw};
use crate::config::{Check, OWN_INTERFACE, Probe, Vip, When};

/// Addresses of one cluster.
const ADDRESSES: RangeInclusive<usize> = 1..=8;
/// The kernel's limit for the name of an interface.
const NAME_LONGEST: usize = 15;
/// What the check is called among the others.
const CHECK: &str = "vip";

impl Rules {
    pub(super) fn vip(&mut self, cluster: &str, raw: raw::Vip) -> Option<Vip> {
        let count = raw.addresses.get_ref().len();
        if !ADDRESSES.contains(&count) {
            let (least, most) = (ADDRESSES.start(), ADDRESSES.end());
            self.refuse(
                raw.addresses.span(),
                "config::vip::addresses",
                format!("expected {least} to {most} virtual addresses, found {count}"),
                "of this cluster",
                "name each address that a route of the cluster leads to, as `\"10.9.0.1/32\"`",
            );
        }
        let given = raw.addresses.into_inner();
        let addresses: Vec<_> =
            given.iter().filter_map(|given| self.virtual_address(cluster, given)).collect();
        let interface = match raw.interface {
            Some(given) => self.interface(given)?,
            None => OWN_INTERFACE.to_owned(),
        };
        Some(Vip { interface, addresses })
    }

    fn virtual_address(&mut self, cluster: &str, given: &Spanned<String>) -> Option<IpAddr> {
        let address = match host(given.get_ref()) {
            Ok(address) => address,
            Err(reason) => {
                self.refuse(
                    given.span(),
                    "config::vip::address",
                    format!("expected one address, /32 or /128, found `{}`: {reason}", given.get_ref()),
                    "not a virtual address",
                    "write `\"10.9.0.1/32\"` or `\"2001:db8::1/128\"`",
                );
                return None;
            }
        };
        if let Some(other) = self.virtual_addresses.insert(address, cluster.to_owned()) {
            self.refuse(
                given.span(),
                "config::vip::twice",
                format!("the virtual address {address} is named by the cluster `{other}` already"),
                "named twice",
                "give each cluster addresses of its own: the end of serving of one takes them away",
            );
        }
        Some(address)
    }

    fn interface(&mut self, given: Spanned<String>) -> Option<String> {
        let name = given.get_ref();
        if !is_interface(name) {
            self.refuse(
                given.span(),
                "config::vip::interface",
                format!("expected the name of an interface, found `{name}`"),
                "no interface is called so",
                format!(
                    "`ip link` shows the names; without `interface` the agent makes `{OWN_INTERFACE}` for itself"
                ),
            );
            return None;
        }
        Some(given.into_inner())
    }

    /// The check that looks after the addresses. It has a name like any other, and nobody else may have it.
    pub(super) fn vip_check(&mut self, others: &BTreeMap<Spanned<String>, raw::Check>) -> Check {
        if let Some(taken) = others.keys().find(|name| name.get_ref() == CHECK) {
            self.refuse(
                taken.span(),
                "config::vip::check",
                "a check called `vip` comes with the virtual addresses",
                "this name",
                "give this check another name",
            );
        }
        Check {
            name: CHECK.to_owned(),
            probe: Probe::Vip,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 3,
            when: When::Always,
        }
    }
}

/// Whether an interface may be called so.
pub(super) fn is_interface(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let fits = (1..=NAME_LONGEST).contains(&name.len()) && name.chars().all(plain);
    fits && name != "." && name != ".."
}

/// An address that stands alone: the whole of its prefix, and one that traffic can be led to.
pub(super) fn host(text: &str) -> Result<IpAddr, &'static str> {
    let (address, prefix) = text.split_once('/').ok_or("there is no prefix length")?;
    let address: IpAddr = address.parse().map_err(|_| "it is not an address")?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    if prefix != whole {
        return Err("the prefix is not a whole address");
    }
    let usable = match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_broadcast() && v4.octets()[0] != 0,
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none(),
    };
    let led_to = !address.is_loopback() && !address.is_multicast() && !address.is_unspecified();
    if usable && led_to { Ok(address) } else { Err("no route leads to such an address") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_address_is_one_address_that_a_route_can_lead_to() {
        for good in ["10.9.0.1/32", "192.0.2.0/32", "2001:db8::1/128", "fd00::1/128"] {
            let whole = if good.contains(':') { 128 } else { 32 };
            assert_eq!(format!("{}/{whole}", host(good).expect(good)), good);
        }
        for bad in [
            "10.9.0.1",
            "10.9.0.1/31",
            "10.9.0.1/032",
            "10.9.0/32",
            "10.9.0.1/128",
            "2001:db8::1/64",
            "2001:db8::1/32",
            "127.0.0.1/32",
            "0.0.0.0/32",
            "0.1.2.3/32",
            "224.0.0.5/32",
            "255.255.255.255/32",
            "169.254.169.254/32",
            "::1/128",
            "::/128",
            "ff02::1/128",
            "fe80::1/128",
            "::ffff:10.9.0.1/128",
            "pl-0123456789abcdef0",
            "",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
