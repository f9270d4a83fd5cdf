//! What the holder does not see at itself: an Elastic IP that is its own by the lease, and that the instance metadata does not
//! show.
//!
//! The metadata is free, is asked anyway, and knows of an address that somebody has taken away before any look at EC2 does. It
//! decides nothing: it may lag behind a move, and so it is believed only when it goes on for a while, and then it makes the
//! arbiter look, once a minute at most.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Command, Node};
use crate::lease::LeaseState;
use crate::time::{BootTime, Now};
use crate::wake::Why;

/// The metadata follows a move of an address within seconds; this is more than two looks at it.
const LASTING: Duration = Duration::from_secs(10);
/// As often as the sweep comes, which finds the same in the cluster's turn.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Since when an address has been missing, and when the arbiter was woken for it last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Missing {
    since: Option<BootTime>,
    woken: Option<BootTime>,
}

impl Node {
    /// Takes in which Elastic IPs the instance metadata shows here. Where it has not answered this is not to be called: what is
    /// not told is not missing.
    pub fn handle_seen(&mut self, now: Now, seen: Vec<Ipv4Addr>) {
        self.seen = seen;
        if self.has_ended() || !self.misses_an_address(now) {
            self.missing.since = None;
            return;
        }
        let since = *self.missing.since.get_or_insert(now.boot);
        let is_due = self.missing.woken.is_none_or(|woken| now.boot.since(woken) >= AGAIN_AFTER);
        if now.boot.since(since) >= LASTING && is_due {
            self.missing.woken = Some(now.boot);
            // Without a wake item: that says nothing of why, and the sweep finds it as well.
            self.commands.push_back(Command::Wake(Why::Missing));
        }
    }

    /// Only of an epoch that is served and whose move is done, and not while nothing is to be put right.
    fn misses_an_address(&self, now: Now) -> bool {
        let Some(lease) = &self.lease else { return false };
        let is_settled = self.serving() == Some(lease.epoch) && lease.moved >= lease.epoch;
        let is_ours = lease.holder.as_ref() == Some(&self.me) && lease.state == LeaseState::Active;
        let mut addresses = lease.resources.addresses.iter();
        is_ours
            && is_settled
            && !lease.is_paused(now.wall)
            && addresses.any(|address| !self.seen.contains(&address.public_ip))
    }
}
