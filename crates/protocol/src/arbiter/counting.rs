//! The brake's part of an invocation: it counts once how many clusters suspect their holders, when its own cluster does.

use super::{Action, Invocation, Phase};
use crate::brake::Fleet;
use crate::decide::Snapshot;
use crate::outcome::Failure;
use crate::time::{BootTime, Now};

impl Invocation {
    /// The same with a brake for so many clusters that suspect at once; zero: none.
    pub fn with_brake(mut self, clusters: u32) -> Self {
        self.brake = clusters;
        self.fleet = if clusters == 0 { Fleet::Unbraked } else { Fleet::Unasked };
        self
    }

    pub(super) fn count(&mut self, snapshot: Snapshot, sent: BootTime) {
        self.phase = Phase::Counting { snapshot: Box::new(snapshot), sent };
        self.act(Action::CountSuspects);
    }

    /// Takes in how many clusters suspect their holders, this one included. It is asked for once; what was read before still
    /// counts, since whatever follows from it is compared again.
    pub fn handle_counted(&mut self, now: Now, found: Result<u32, Failure>) {
        self.answered();
        let Phase::Counting { snapshot, sent } = &self.phase else { return self.settle(now) };
        let (mut snapshot, sent) = (snapshot.as_ref().clone(), *sent);
        self.fleet = Fleet::of(found.ok(), self.brake);
        (snapshot.fleet, snapshot.at) = (self.fleet, now.wall);
        self.decide(now, snapshot, sent);
    }
}
