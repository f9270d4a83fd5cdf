//! The virtual addresses of a cluster, as configured.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The interface that the agent makes itself. Any other must be there.
pub const OWN_INTERFACE: &str = "baton0";

/// The virtual addresses of a cluster, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vip {
    /// The interface.
    pub interface: String,
    /// At least one; each is a whole prefix, /32 or /128.
    pub addresses: Vec<IpAddr>,
}

impl Vip {
    /// Whether the interface is the agent's own, made where it is missing and set up where it is down.
    pub fn is_own(&self) -> bool {
        self.interface == OWN_INTERFACE
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Probe, When, parse, render};

    #[test]
    fn virtual_addresses_go_to_the_agents_own_interface_unless_another_is_named_and_bring_their_check() {
        let text = r#"
            [cluster.a.vip]
            addresses = ["10.9.0.1/32", "2001:db8::1/128"]
            [cluster.a.check.web]
            tcp = { address = "127.0.0.1:80" }
            [cluster.b.vip]
            addresses = ["10.9.0.2/32"]
            interface = "eth0.100"
            [cluster.c]
        "#;
        let config = parse("agent.toml", text).unwrap_or_else(|e| panic!("{}", render(&e, false)));
        let [a, b, c] = config.clusters.as_slice() else { panic!("three clusters") };
        let vip = a.vip.as_ref().expect("given");
        assert!(
            vip.is_own() && vip.addresses.iter().map(ToString::to_string).eq(["10.9.0.1", "2001:db8::1"])
        );
        let checks: Vec<_> = a.checks.iter().map(|check| (check.name.as_str(), check.when)).collect();
        assert_eq!(checks, [("web", When::Always), ("vip", When::Always)]);
        assert_eq!(a.checks[1].probe, Probe::Vip);
        let vip = b.vip.as_ref().expect("given");
        assert_eq!((vip.interface.as_str(), vip.is_own(), b.checks.len()), ("eth0.100", false, 1));
        assert_eq!((&c.vip, c.checks.len()), (&None, 0));
        let summary = "cluster a (0 hooks, 1 checks, 2 virtual addresses on baton0), \
                       cluster b (0 hooks, 0 checks, 1 virtual addresses on eth0.100), \
                       cluster c (0 hooks, 0 checks)";
        assert_eq!(config.summary(), summary);
    }
}
