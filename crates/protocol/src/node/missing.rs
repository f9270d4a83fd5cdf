//! What the holder does not see where it should be: an Elastic IP that is its own by the lease, and that the instance metadata do not
//! show, or show at another interface or private address than the lease names.
//!
//! The metadata is free, is asked anyway, and knows of an address that somebody has moved before any look at EC2 does. It
//! decides nothing: it may lag behind a move, and so it is believed only when it goes on for a while, and then it makes the
//! arbiter look, once a minute at most.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Command, Node};
use crate::ids::InterfaceId;
use crate::lease::{Lease, LeaseState};
use crate::resource::{Address, Placement};
use crate::time::{BootTime, Now};
use crate::wake::Why;

/// The metadata follows a move of an address within seconds; this is more than two looks at it.
const LASTING: Duration = Duration::from_secs(10);
/// As often as the sweep comes, which finds the same in the cluster's turn.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// An interface of this instance, as the instance metadata show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// Which one; none where the metadata do not tell.
    pub id: Option<InterfaceId>,
    /// Its private IPv4 addresses; none where the metadata do not tell, or were not asked.
    pub private_ips: Option<BTreeSet<Ipv4Addr>>,
    /// Its public IPv4 addresses, each with the private one behind it where that was told.
    pub public_ips: BTreeMap<Ipv4Addr, Option<Ipv4Addr>>,
}

impl Attached {
    /// Whether this address stands here and, as far as is told, not where it should. What is not told is not wrong.
    fn has_astray(&self, address: &Address, place: &Placement) -> bool {
        self.public_ips.get(&address.public_ip).is_some_and(|behind| {
            self.id.as_ref().is_some_and(|id| *id != place.interface)
                || behind.is_some_and(|behind| behind != place.private_ip)
        })
    }
}

/// Since when an address has been missing or astray, and when the arbiter was woken for it last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Missing {
    since: Option<BootTime>,
    woken: Option<BootTime>,
}

impl Node {
    /// Takes in what the instance metadata show here. Where they have not answered this is not to be called: what is not told is
    /// not missing.
    pub fn handle_seen(&mut self, now: Now, attached: &[Attached]) {
        let seen: BTreeSet<Ipv4Addr> =
            attached.iter().flat_map(|interface| interface.public_ips.keys().copied()).collect();
        self.seen = seen.into_iter().collect();
        let Some(why) = self.address_at_fault(now, attached).filter(|_| !self.has_ended()) else {
            self.missing.since = None;
            return;
        };
        let since = *self.missing.since.get_or_insert(now.boot);
        let is_due = self.missing.woken.is_none_or(|woken| now.boot.since(woken) >= AGAIN_AFTER);
        if now.boot.since(since) >= LASTING && is_due {
            self.missing.woken = Some(now.boot);
            // Without a wake item: that says nothing of why, and the sweep finds it as well.
            self.commands.push_back(Command::Wake(why));
        }
    }

    /// Only of an epoch that is served and whose move is done, and not while nothing is to be put right.
    fn address_at_fault(&self, now: Now, attached: &[Attached]) -> Option<Why> {
        let lease = self.lease.as_ref()?;
        let is_settled = self.serving() == Some(lease.epoch) && lease.moved >= lease.epoch;
        let is_ours = lease.holder.as_ref() == Some(&self.me) && lease.state == LeaseState::Active;
        if !is_ours || !is_settled || lease.is_paused(now.wall) {
            return None;
        }
        if lease.resources.addresses.iter().any(|address| !self.seen.contains(&address.public_ip)) {
            return Some(Why::Missing);
        }
        let is_astray = |(address, place): (&Address, &Placement)| {
            attached.iter().any(|interface| interface.has_astray(address, place))
        };
        self.places(lease).any(is_astray).then_some(Why::Misplaced)
    }

    /// Each Elastic IP of the lease that has a place on this node.
    fn places<'a>(&self, lease: &'a Lease) -> impl Iterator<Item = (&'a Address, &'a Placement)> {
        let member = lease.member(&self.me);
        let place = move |address: &'a Address| Some((address, member?.placements.get(&address.allocation)?));
        lease.resources.addresses.iter().filter_map(place)
    }

    /// The Elastic IPs that have a place on this node, for which the metadata are worth asking more.
    pub fn placed(&self) -> BTreeSet<Ipv4Addr> {
        self.lease.iter().flat_map(|lease| self.places(lease)).map(|(address, _)| address.public_ip).collect()
    }

    /// The Elastic IPs that have a place on this node which this node does not have: the interface is not attached, or does not
    /// carry the private address. EC2 would refuse to associate them. Nothing where the metadata do not tell enough to say so, nor
    /// of a cluster that was deleted.
    pub fn places_lacking(&self, attached: &[Attached]) -> Vec<(Ipv4Addr, Placement)> {
        let tells = |interface: &Attached| interface.id.is_some() && interface.private_ips.is_some();
        let lease = self.lease.as_ref().filter(|lease| lease.state == LeaseState::Active);
        let Some(lease) = lease.filter(|_| !attached.is_empty() && attached.iter().all(tells)) else {
            return Vec::new();
        };
        let carries = |place: &Placement, interface: &Attached| {
            interface.id.as_ref() == Some(&place.interface)
                && interface.private_ips.as_ref().is_some_and(|ips| ips.contains(&place.private_ip))
        };
        let lacking =
            self.places(lease).filter(|(_, place)| !attached.iter().any(|there| carries(place, there)));
        lacking.map(|(address, place)| (address.public_ip, place.clone())).collect()
    }
}
