//! The packet fence: what belongs to the service. A fence that would drop nothing is a slip, and nobody would see it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::vip::{host, is_interface};
use super::{Rules, raw};
use crate::config::{Check, Fence, Need, Probe, Traffic, Vip, Watchdog, When};

/// Of addresses, of ports of one kind, and of interfaces.
const MOST: usize = 64;
/// What the check is called among the others.
const CHECK: &str = "fence";

/// The first watchdog of a machine.
const DEVICE: &str = "/dev/watchdog";

impl Rules {
    pub(super) fn watchdog(&mut self, need: Option<Need>, device: Option<Spanned<String>>) -> Watchdog {
        let need = need.unwrap_or(Need::Off);
        if let Some(given) = &device {
            let number = given.get_ref().strip_prefix(DEVICE);
            if !number.is_some_and(|number| number.len() <= 2 && number.bytes().all(|c| c.is_ascii_digit())) {
                self.refuse(
                    given.span(),
                    "config::watchdog-device",
                    format!("expected a watchdog, found `{}`", given.get_ref()),
                    "no watchdog is called so",
                    "write `\"/dev/watchdog\"`, or `\"/dev/watchdog1\"` for another than the first",
                );
            }
        }
        let device = device.map_or_else(|| DEVICE.into(), |given| given.into_inner().into());
        Watchdog { need, device }
    }

    pub(super) fn fence(
        &mut self,
        cluster: &str,
        raw: Spanned<raw::Fence>,
        vip: Option<&Vip>,
    ) -> Option<Fence> {
        let span = raw.span();
        let raw = raw.into_inner();
        let lists = [raw.addresses.len(), raw.tcp.len(), raw.udp.len(), raw.forward.len()];
        if let Some(found) = lists.into_iter().find(|found| *found > MOST) {
            self.refuse(
                span.clone(),
                "config::fence::many",
                format!("expected at most {MOST} of each, found {found}"),
                "of this fence",
                "name what clients use, not what each of them is",
            );
        }
        let mut addresses = vip.map(|vip| vip.addresses.clone()).unwrap_or_default();
        for given in &raw.addresses {
            match host(given.get_ref()) {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(reason) => self.refuse(
                    given.span(),
                    "config::fence::address",
                    format!("expected one address, /32 or /128, found `{}`: {reason}", given.get_ref()),
                    "not an address of a service",
                    "write `\"10.9.0.1/32\"`; never the node's own address, from which the agent calls",
                ),
            }
        }
        let traffic = Traffic {
            addresses,
            tcp: self.ports(&raw.tcp),
            udp: self.ports(&raw.udp),
            forward: raw.forward.into_iter().filter_map(|given| self.forwarding(given)).collect(),
        };
        if raw.nftables == Need::Off {
            return None;
        }
        if traffic.is_empty() && lists == [0; 4] {
            self.refuse(
                span.clone(),
                "config::fence::traffic",
                "expected some traffic that belongs to the service, found none",
                "would drop nothing",
                "name ports with `tcp` and `udp`, interfaces with `forward`, or addresses; `vip` counts as well",
            );
        }
        self.only_once(cluster, span, &traffic);
        Some(Fence { need: raw.nftables, traffic })
    }

    /// Where two clusters fence the same, the end of serving of one cuts the other's traffic.
    fn only_once(&mut self, cluster: &str, span: Range<usize>, traffic: &Traffic) {
        let Traffic { addresses, tcp, udp, forward } = traffic;
        let addresses = addresses.iter().map(|address| format!("the address {address}"));
        let tcp = tcp.iter().map(|port| format!("the TCP port {port}"));
        let udp = udp.iter().map(|port| format!("the UDP port {port}"));
        let forward = forward.iter().map(|name| format!("the interface {name}"));
        for what in addresses.chain(tcp).chain(udp).chain(forward) {
            if let Some(other) = self.fenced.insert(what.clone(), cluster.to_owned()).filter(|o| o != cluster)
            {
                self.refuse(
                    span.clone(),
                    "config::fence::twice",
                    format!("{what} is fenced by the cluster `{other}` already"),
                    "fenced twice",
                    "the end of serving of one would cut the other's traffic; tell them apart by virtual addresses",
                );
            }
        }
    }

    fn ports(&mut self, given: &[Spanned<u16>]) -> Vec<u16> {
        let mut ports = Vec::new();
        for port in given {
            if *port.get_ref() == 0 {
                self.refuse(
                    port.span(),
                    "config::fence::port",
                    "expected a port, 1 to 65535, found 0",
                    "no port",
                    "name the port that clients connect to, on this node",
                );
            } else if !ports.contains(port.get_ref()) {
                ports.push(*port.get_ref());
            }
        }
        ports
    }

    fn forwarding(&mut self, given: Spanned<String>) -> Option<String> {
        if !is_interface(given.get_ref()) {
            self.refuse(
                given.span(),
                "config::fence::interface",
                format!("expected the name of an interface, found `{}`", given.get_ref()),
                "no interface is called so",
                "`ip link` shows the names; it needs not be there yet",
            );
            return None;
        }
        Some(given.into_inner())
    }

    /// The check that looks after the fence. It has a name like any other, and nobody else may have it.
    pub(super) fn fence_check(&mut self, others: &BTreeMap<Spanned<String>, raw::Check>) -> Check {
        if let Some(taken) = others.keys().find(|name| name.get_ref() == CHECK) {
            self.refuse(
                taken.span(),
                "config::fence::check",
                "a check called `fence` comes with the fence",
                "this name",
                "give this check another name",
            );
        }
        Check {
            name: CHECK.to_owned(),
            probe: Probe::Fence,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 3,
            when: When::Always,
        }
    }
}
