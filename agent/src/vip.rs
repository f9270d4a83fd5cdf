//! The virtual addresses of a cluster: on an interface of this node while it serves, and not otherwise.
//!
//! The routes of a cluster bring packets to the holder; for the holder to take them in, the address they are for must be its
//! own. Three look after that: the driver [raises](Keeper::raise) the addresses before the promote hook and
//! [lowers](Keeper::lower) them when it demotes, the check [looks](Keeper::look) at them in between, and the dead-man
//! [lowers](lower) them when the agent cannot. All of it is idempotent, and touches nothing but the configured addresses on the
//! configured interface: no other address, no route, and no interface but the agent's own.
//!
//! Each call blocks, for as long as somebody else keeps the kernel's network busy, so each is made beside the loop, and one
//! that was overtaken there must do nothing: what was to be raised may have to be down by the time its turn comes. So what is
//! wanted is kept apart from what is being done, and is looked at only when nobody else does anything.

mod kernel;
mod record;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_protocol::resource::{Destination, Family, Resources};
use baton_protocol::time::BootTime;
use nix::errno::Errno;

use crate::clock;
use crate::config::{OWN_INTERFACE, Vip};
use kernel::{Kernel, Link};
use record::Record;

/// Why virtual addresses are not as they should be, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// A named interface is not there.
    #[error("there is no interface `{0}`: make it, or leave `interface` out to have `{OWN_INTERFACE}` made")]
    NoInterface(String),
    /// A named interface is down.
    #[error("the interface `{0}` is down: `ip link set {0} up`")]
    Down(String),
    /// EPERM.
    #[error(
        "the kernel does not let this agent {0}: it needs CAP_NET_ADMIN (`CapabilityBoundingSet=` of its unit)"
    )]
    Denied(String),
    /// There are no dummy interfaces in this kernel.
    #[error(
        "this kernel makes no dummy interfaces: load its module `dummy`, or name an `interface` that is there"
    )]
    NoDummy,
    /// The interface does no IPv6.
    #[error("IPv6 is off on `{0}`: `sysctl net.ipv6.conf.{0}.disable_ipv6=0`")]
    NoIpv6(String),
    /// The kernel says done, and the address is not there.
    #[error(
        "{address} was added to `{interface}` and is not there: see whether it has it with another prefix length"
    )]
    Unseen {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
    },
    /// The kernel says done, and the address is still there.
    #[error("{address} was removed from `{interface}` and is still there")]
    Stays {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
    },
    /// Anything else.
    #[error("could not {what}: {errno}")]
    Kernel {
        /// What was tried.
        what: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// What was to be done is not wanted any more.
    #[error("the virtual addresses are to be down by now")]
    Overtaken,
}

impl VipError {
    fn new(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| match errno {
            Errno::EPERM => Self::Denied(what),
            errno => Self::Kernel { what, errno },
        }
    }
}

/// What is to become of the addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// Whatever stands, stands.
    #[default]
    AsItIs,
    /// They are to be there; what somebody else removes is put back.
    Up,
    /// They are not to be there.
    Down,
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// All as it should be.
    Well,
    /// Nobody minds how it is.
    LeftAlone,
    /// These were not there, and are again.
    PutBack(Vec<IpAddr>),
    /// These were there though this node does not serve, and are not any more.
    TakenAway(Vec<IpAddr>),
}

/// Looks after the addresses of one cluster. Clones look after the same.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    vip: Vip,
    /// And until when, if that has an end. Held for a moment only.
    wish: Mutex<(Wish, Option<BootTime>)>,
    /// Held while the kernel is at work.
    record: Mutex<Record>,
}

impl Keeper {
    /// The keeper of these addresses. `directory` is the cluster's; there it is remembered what may stand, for a run of the
    /// agent with another configuration.
    pub fn new(vip: Vip, directory: &Path) -> Self {
        let record = Mutex::new(Record::read(directory));
        Self(Arc::new(Kept { vip, wish: Mutex::default(), record }))
    }

    /// What is kept.
    pub fn vip(&self) -> &Vip {
        &self.0.vip
    }

    /// Says what is wanted from here on. Blocks nobody.
    pub fn wish(&self, wish: Wish) {
        *locked(&self.0.wish) = (wish, None);
    }

    /// Says that they are to be there, and that nothing is added from `until` on, if that is given: an agent that was frozen
    /// goes on everywhere at once, and its check must not put back what the dead-man has taken away.
    pub fn wish_up(&self, until: Option<BootTime>) {
        *locked(&self.0.wish) = (Wish::Up, until);
    }

    fn wished(&self) -> Wish {
        let (wish, until) = *locked(&self.0.wish);
        let late = wish == Wish::Up && until.is_some_and(|until| clock::boot() >= until);
        if late { Wish::AsItIs } else { wish }
    }

    /// Adds what is not there yet, if it is still [`Wish::Up`]. Blocks.
    pub fn raise(&self) -> Result<(), VipError> {
        let mut record = locked(&self.0.record);
        if self.wished() != Wish::Up {
            return Err(VipError::Overtaken);
        }
        self.raise_all(&mut record).map(drop)
    }

    /// Removes whatever is there, if it is still [`Wish::Down`]. Blocks.
    pub fn lower(&self) -> Result<(), VipError> {
        let mut record = locked(&self.0.record);
        if self.wished() != Wish::Down {
            return Err(VipError::Overtaken);
        }
        self.lower_all(&mut record).map(drop)
    }

    /// Looks whether all is as wanted, and sees to it where it is not: while this node serves, that the addresses are there;
    /// otherwise that they are not, and could be. Blocks.
    pub fn look(&self) -> Result<Look, VipError> {
        let mut record = locked(&self.0.record);
        let (found, what): (_, fn(_) -> _) = match self.wished() {
            Wish::AsItIs => return Ok(Look::LeftAlone),
            Wish::Up => (self.raise_all(&mut record)?, Look::PutBack),
            Wish::Down => {
                let lowered = self.lower_all(&mut record)?;
                ready(&self.0.vip)?;
                (lowered, Look::TakenAway)
            }
        };
        Ok(if found.is_empty() { Look::Well } else { what(found) })
    }

    fn raise_all(&self, record: &mut Record) -> Result<Vec<IpAddr>, VipError> {
        let vip = &self.0.vip;
        record.forget_all_but(vip, lower)?;
        record.write(vip);
        raise(vip)
    }

    fn lower_all(&self, record: &mut Record) -> Result<Vec<IpAddr>, VipError> {
        let vip = &self.0.vip;
        record.forget_all_but(vip, lower)?;
        let lowered = lower(vip)?;
        record.remove();
        Ok(lowered)
    }
}

/// A panic while it was held leaves nothing half done that the next call would not put right.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what an earlier run may have left of a cluster that has no virtual addresses any more. Blocks.
pub fn clear(directory: &Path) -> Result<Vec<IpAddr>, VipError> {
    let mut record = Record::read(directory);
    let lowered = record.known().map_or_else(|| Ok(Vec::new()), lower)?;
    record.remove();
    Ok(lowered)
}

/// Adds the addresses that are not there; those. Blocks.
fn raise(vip: &Vip) -> Result<Vec<IpAddr>, VipError> {
    let mut kernel = open()?;
    let link = ready_link(&mut kernel, vip)?;
    let before = list(&mut kernel, link, vip)?;
    let missing: Vec<_> = vip.addresses.iter().copied().filter(|wanted| !before.contains(wanted)).collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    for address in &missing {
        kernel.add(link, *address).map_err(|errno| match errno {
            Errno::EACCES if address.is_ipv6() => VipError::NoIpv6(vip.interface.clone()),
            Errno::ENODEV => VipError::NoInterface(vip.interface.clone()),
            errno => VipError::new(format!("add {address} to `{}`", vip.interface))(errno),
        })?;
    }
    let after = list(&mut kernel, link, vip)?;
    match vip.addresses.iter().find(|wanted| !after.contains(wanted)) {
        None => Ok(missing),
        Some(address) => Err(VipError::Unseen { address: *address, interface: vip.interface.clone() }),
    }
}

/// Removes the addresses that are there; those. An interface that is not there has none. Blocks.
pub fn lower(vip: &Vip) -> Result<Vec<IpAddr>, VipError> {
    let mut kernel = open()?;
    let Some(link) =
        kernel.link(&vip.interface).map_err(VipError::new(format!("look at `{}`", vip.interface)))?
    else {
        return Ok(Vec::new());
    };
    let before = list(&mut kernel, link, vip);
    // No list is no reason to leave any of them there, nor is another that cannot be removed.
    let may_stand = |ours: &IpAddr| before.as_ref().map_or(true, |before| before.contains(ours));
    let standing: Vec<_> = vip.addresses.iter().copied().filter(may_stand).collect();
    if standing.is_empty() {
        return Ok(standing);
    }
    let failed = standing.iter().filter_map(|address| {
        let removed = kernel.remove(link, *address);
        removed.map_err(VipError::new(format!("remove {address} from `{}`", vip.interface))).err()
    });
    if let Some(error) = failed.reduce(|first, _| first) {
        return Err(error);
    }
    let after = list(&mut kernel, link, vip)?;
    match standing.iter().find(|address| after.contains(address)) {
        None => Ok(standing),
        Some(address) => Err(VipError::Stays { address: *address, interface: vip.interface.clone() }),
    }
}

/// Makes sure that the addresses could be added. Blocks.
fn ready(vip: &Vip) -> Result<(), VipError> {
    ready_link(&mut open()?, vip).map(drop)
}

fn open() -> Result<Kernel, VipError> {
    Kernel::open().map_err(VipError::new("talk to it about interfaces"))
}

/// The interface, up: the agent's own is made and set up, any other has to be.
fn ready_link(kernel: &mut Kernel, vip: &Vip) -> Result<Link, VipError> {
    let name = &vip.interface;
    let mut look = || kernel.link(name).map_err(VipError::new(format!("look at `{name}`")));
    match look()? {
        Some(link) if link.up => return Ok(link),
        None if !vip.is_own() => return Err(VipError::NoInterface(name.clone())),
        Some(_) if !vip.is_own() => return Err(VipError::Down(name.clone())),
        Some(link) => kernel.set_up(link).map_err(VipError::new(format!("set `{name}` up")))?,
        None => kernel.make_link(name).map_err(|errno| match errno {
            Errno::EOPNOTSUPP => VipError::NoDummy,
            errno => VipError::new(format!("make the interface `{name}`"))(errno),
        })?,
    }
    let mut look = || kernel.link(name).map_err(VipError::new(format!("look at `{name}`")));
    match look()? {
        Some(link) if link.up => Ok(link),
        Some(_) => Err(VipError::Down(name.clone())),
        None => Err(VipError::NoInterface(name.clone())),
    }
}

fn list(kernel: &mut Kernel, link: Link, vip: &Vip) -> Result<Vec<IpAddr>, VipError> {
    kernel.addresses(link).map_err(VipError::new(format!("list the addresses of `{}`", vip.interface)))
}

/// The addresses that no route of the cluster leads to, as far as is known: what a prefix list holds is not.
pub fn led_nowhere(vip: &Vip, resources: &Resources) -> Vec<IpAddr> {
    let destinations: Vec<_> = resources.routes.iter().map(|route| route.destination).collect();
    if destinations.iter().any(|destination| destination.family() == Family::PrefixList) {
        return Vec::new();
    }
    let lies_outside = |address: &&IpAddr| {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        Destination::new(&format!("{address}/{whole}"))
            .is_ok_and(|address| !destinations.iter().any(|destination| address.lies_within(destination)))
    };
    vip.addresses.iter().filter(lies_outside).copied().collect()
}

/// Addresses as people read them.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a [IpAddr]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::ids::RouteTableId;
    use baton_protocol::resource::Route;

    use super::*;

    #[test]
    fn an_address_that_no_route_leads_to_is_told_apart_as_far_as_is_known() {
        let addresses = ["10.9.0.1", "10.8.0.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        let vip = Vip { interface: OWN_INTERFACE.to_owned(), addresses: addresses.to_vec() };
        let led_nowhere = |destinations: &[&str]| {
            let route = |text: &&str| Route {
                table: RouteTableId::new("rtb-00000001").expect("valid"),
                destination: Destination::new(text).expect("valid"),
            };
            let routes = destinations.iter().map(route).collect();
            super::led_nowhere(&vip, &Resources { routes, ..Resources::default() })
        };
        assert_eq!(led_nowhere(&[]), addresses);
        assert_eq!(led_nowhere(&["10.9.0.1/32"]), addresses[1..]);
        assert_eq!(led_nowhere(&["10.8.0.0/15", "2001:db8::/64"]), [] as [IpAddr; 0]);
        assert_eq!(led_nowhere(&["10.9.0.0/32", "10.8.0.0/24", "2001:db8::1/128"]), addresses[..1]);
        assert_eq!(led_nowhere(&["10.9.0.1/32", "pl-0123456789abcdef0"]), [] as [IpAddr; 0]);
    }

    #[test]
    fn addresses_are_shown_in_a_row() {
        let addresses = ["10.9.0.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        assert_eq!(Shown(&addresses).to_string(), "10.9.0.1, 2001:db8::1");
    }
}
