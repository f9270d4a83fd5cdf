//! What stands below the agent, as configured: the packet fence of a cluster, and the watchdog of the machine.

use std::net::IpAddr;
use std::path::PathBuf;

/// Whether something is used that not every machine has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Never.
    Off,
    /// Where the machine has it.
    #[default]
    Automatic,
    /// Always: a node without it does not serve.
    Required,
}

/// The watchdog of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// Whether it is used.
    pub need: Need,
    /// Its device.
    pub device: PathBuf,
}

/// The packet fence of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// [`Need::Automatic`] or [`Need::Required`].
    pub need: Need,
    /// What it lets through while the lease is confirmed, and not otherwise.
    pub traffic: Traffic,
}

/// What belongs to the service, of all that comes, goes and passes through; at least one of them is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Everything to and from these; the virtual addresses among them.
    pub addresses: Vec<IpAddr>,
    /// What comes to these ports of TCP from elsewhere, and the answers.
    pub tcp: Vec<u16>,
    /// The same of UDP.
    pub udp: Vec<u16>,
    /// Everything that is forwarded in or out through these interfaces.
    pub forward: Vec<String>,
}

impl Traffic {
    /// Whether nothing belongs to the service.
    pub fn is_empty(&self) -> bool {
        let Self { addresses, tcp, udp, forward } = self;
        addresses.is_empty() && tcp.is_empty() && udp.is_empty() && forward.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Need, Probe, parse, render};

    #[test]
    fn a_fence_knows_its_traffic_has_the_virtual_addresses_in_it_and_brings_its_check() {
        let text = r#"
            [cluster.a.vip]
            addresses = ["10.9.0.1/32"]
            [cluster.a.fence]
            nftables = "required"
            addresses = ["10.9.0.1/32", "2001:db8::1/128"]
            tcp = [5432, 80]
            udp = [53]
            forward = ["eth0"]
            [cluster.b.vip]
            addresses = ["10.9.0.2/32"]
            [cluster.b.fence]
            [cluster.c.fence]
            nftables = "off"
            [cluster.d]
        "#;
        let config = parse("agent.toml", text).unwrap_or_else(|e| panic!("{}", render(&e, false)));
        let [a, b, c, d] = config.clusters.as_slice() else { panic!("four clusters") };
        let fence = a.fence.as_ref().expect("given");
        assert!(fence.traffic.addresses.iter().map(ToString::to_string).eq(["10.9.0.1", "2001:db8::1"]));
        assert_eq!((fence.need, fence.traffic.tcp.as_slice()), (Need::Required, &[5432, 80][..]));
        assert_eq!(
            (fence.traffic.udp.as_slice(), &fence.traffic.forward),
            (&[53][..], &vec!["eth0".to_owned()])
        );
        let probes: Vec<_> = a.checks.iter().map(|check| (check.name.as_str(), &check.probe)).collect();
        assert_eq!(probes, [("vip", &Probe::Vip), ("fence", &Probe::Fence)]);
        let fence = b.fence.as_ref().expect("given");
        assert_eq!((fence.need, fence.traffic.addresses.len()), (Need::Automatic, 1));
        assert_eq!((&c.fence, &d.fence, c.checks.len()), (&None, &None, 0));
    }

    #[test]
    fn a_watchdog_is_off_unless_it_is_asked_for() {
        let watchdog = |text: &str| {
            let config = parse("agent.toml", &format!("{text}\n[cluster.a]\n"));
            let watchdog = config.unwrap_or_else(|e| panic!("{}", render(&e, false))).watchdog;
            (watchdog.need, watchdog.device.display().to_string())
        };
        assert_eq!(watchdog(""), (Need::Off, "/dev/watchdog".to_owned()));
        assert_eq!(watchdog("watchdog = \"automatic\""), (Need::Automatic, "/dev/watchdog".to_owned()));
        let both = "watchdog = \"required\"\nwatchdog-device = \"/dev/watchdog1\"";
        assert_eq!(watchdog(both), (Need::Required, "/dev/watchdog1".to_owned()));
    }
}
