//! The move: bring every resource to the holder of one epoch, and see it there.
//!
//! A move is a set of resources that advance independently and at once. It can be begun, abandoned and taken up by anybody
//! at any point, because nothing of it is remembered but the lease: what is in place is left, what is not is moved.
//!
//! On the critical path stand at most two calls one after the other, however many resources there are: `Disassociate` and
//! `Associate` of an address, `ReplaceRoute` and, where a declared route is missing, `CreateRoute`. What must be looked up
//! (who sits on the target, whether the interface forwards) is looked up while the grant is being committed and while the
//! first calls are under way; the association to end is known from the last verified move.
//!
//! No call is made but shortly after the lease was seen to be at this epoch, and a move that finds another epoch there
//! stops at once. That alone would not be enough, since a call can land late; compare-and-swap is (see [`crate::plan`]),
//! as long as a move never names an association that a later epoch has made. So one that a look has shown is ended only
//! after the lease was read once more: it was there before that read, and the read still showed this epoch.

mod item;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::ec2::{Call, CloudFailure, Effect, Look, Seat, Sight};
use crate::ids::{AllocationId, Epoch, InterfaceId};
use crate::lease::Lease;
use crate::mark::Mark;
use crate::resource::Observed;
use crate::time::BootTime;

use item::{Item, Seats};

/// What a move asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the lease strongly. Answer: [`Mover::handle_guard`].
    Guard,
    /// Answer: [`Mover::handle_sight`].
    Look(Look),
    /// Answer: [`Mover::handle_effect`].
    Call(Call),
    /// Record this of the address, in the lease of this epoch. Answer: [`Mover::handle_rotation_recorded`].
    RecordRotation(AllocationId, Mark),
}

/// How a move stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    Moving,
    /// Every resource was seen in place.
    Complete(Observed),
    /// Every resource that can be moved was; these cannot, each with its reason.
    Stuck(Vec<(String, String)>),
    /// The lease is at another epoch, of another configuration, or retired: the move is somebody else's, or nobody's.
    Superseded,
}

/// For how long a sight of the lease allows calls, from the moment the read was sent.
pub const GUARD_LASTS: Duration = Duration::from_millis(500);

/// EC2 is eventually consistent: for this long after a call, an answer that does not show its effect is taken for stale.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);

/// The wait between looks while verifying, and between attempts after a failure: doubling from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(3);

/// One move. See the module's introduction.
#[derive(Debug)]
pub struct Mover {
    epoch: Epoch,
    /// The configuration whose resources these are.
    revision: u64,
    items: Vec<Item>,
    /// Interfaces whose seats must be known before an address is put there.
    interfaces: Vec<InterfaceId>,
    seats: Option<Vec<Seat>>,
    seats_fail: Option<String>,
    /// Whether the lease is known to be at this epoch at all: false until the grant is committed.
    granted: bool,
    /// When the last read that showed the lease at this epoch was sent; none yet.
    guard_seen: Option<BootTime>,
    guard_asked: Option<BootTime>,
    looks_open: usize,
    looks: u32,
    look_not_before: BootTime,
    look_asked: BootTime,
    /// When whatever is in place counts, whoever has put it there.
    trust_from: Option<BootTime>,
    superseded: bool,
    actions: VecDeque<Action>,
}

impl Mover {
    /// A move for the lease as it stands, or as it will stand once a grant is committed.
    ///
    /// `eager` says that the previous epoch's move was verified, so the first calls can be made from what it left.
    pub fn new(lease: &Lease, eager: bool, now: BootTime) -> Self {
        let items = item::for_lease(lease, eager);
        let mut interfaces: Vec<InterfaceId> =
            items.iter().filter_map(Item::target_interface).cloned().collect();
        interfaces.sort();
        interfaces.dedup();
        let mut mover = Self {
            epoch: lease.epoch,
            revision: lease.revision,
            items,
            // Where no address goes, no seat matters.
            seats: interfaces.is_empty().then(Vec::new),
            interfaces,
            seats_fail: None,
            granted: false,
            guard_seen: None,
            guard_asked: None,
            looks_open: 0,
            looks: 0,
            look_not_before: now,
            look_asked: now,
            trust_from: None,
            superseded: false,
            actions: VecDeque::new(),
        };
        mover.look(now);
        mover
    }

    /// Lets calls be made: the lease was seen at this epoch, by a read or a commit that was sent at `seen`.
    pub fn allow(&mut self, seen: BootTime, now: BootTime) {
        self.granted = true;
        self.guard_seen = self.guard_seen.max(Some(seen));
        self.advance(now);
    }

    /// From then on no call can land that names what was there before the grant.
    pub(crate) fn trust_what_is_there(&mut self, from: BootTime) {
        self.trust_from = Some(from);
    }

    /// What to do next. Call until it returns `None`, after every `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timer`] is due; `None` while answers are awaited.
    pub fn next_deadline(&self) -> Option<BootTime> {
        if !self.granted || self.superseded {
            return None;
        }
        // While the lease is being read, no time makes an item ready; its answer does.
        let items =
            self.items.iter().filter_map(Item::waits_until).min().filter(|_| self.guard_asked.is_none());
        let look = (self.looks_open == 0 && self.wants_look()).then(|| self.next_look());
        [items, look].into_iter().flatten().min()
    }

    /// Takes in that a deadline has passed.
    pub fn handle_timer(&mut self, now: BootTime) {
        self.advance(now);
    }

    /// Takes in what the lease says; `None`: it could not be read, which allows nothing.
    pub fn handle_guard(&mut self, now: BootTime, lease: Option<&Lease>) {
        let Some(asked) = self.guard_asked.take() else { return };
        match lease {
            Some(lease) if self.is_mine(lease) => {
                self.guard_seen = Some(asked);
                let completed = item::Completed::of(lease);
                self.items.iter_mut().for_each(|item| item.note_recorded(&lease.rotated, completed));
            }
            Some(_) => {
                self.superseded = true;
                self.actions.clear();
            }
            None => {
                let retry = now + BACKOFF_FIRST;
                self.items.iter_mut().for_each(|item| item.wait_at_least_until(retry));
            }
        }
        self.advance(now);
    }

    /// Takes in EC2's answer to a look.
    pub fn handle_sight(&mut self, now: BootTime, look: &Look, answer: Result<Sight, CloudFailure>) {
        self.looks_open = self.looks_open.saturating_sub(1);
        let asked = self.look_asked;
        match answer {
            Ok(Sight::Seats(seats)) => {
                self.seats = Some(seats);
                self.seats_fail = None;
            }
            Ok(sight) => self.items.iter_mut().for_each(|item| item.learn(&sight, asked, now)),
            Err(failure) => {
                let why = format!("{}: {failure}", look_action(look));
                if matches!(look, Look::Seats(_)) {
                    self.seats_fail = (!failure.is_transient()).then_some(why.clone());
                }
                if !failure.is_transient() {
                    self.items.iter_mut().for_each(|item| item.cannot_be_seen(look, &why));
                }
            }
        }
        self.advance(now);
    }

    /// Takes in EC2's answer to a call.
    pub fn handle_effect(&mut self, now: BootTime, call: &Call, answer: Result<Effect, CloudFailure>) {
        if let Some(item) = self.items.iter_mut().find(|item| item.is_about(call)) {
            item.conclude(call, answer, now);
        }
        self.advance(now);
    }

    /// Takes in whether a mark was recorded. Until then nothing is ended or made that needs it, and what was made does not
    /// count as moved.
    pub fn handle_rotation_recorded(&mut self, now: BootTime, allocation: &AllocationId, recorded: bool) {
        let recorded = recorded || mutant!(MarkUnconfirmed);
        for item in &mut self.items {
            item.rotation_recorded(allocation, recorded, now);
        }
        if !recorded && self.guard_asked.is_none() {
            // It may have been refused because the lease is at another epoch by now, or shows another mark.
            self.guard_asked = Some(now);
            self.actions.push_back(Action::Guard);
        }
        self.advance(now);
    }

    /// How the move stands.
    pub fn progress(&self) -> Progress {
        if self.superseded {
            return Progress::Superseded;
        }
        let done = |item: &Item| item.is_confirmed() || (mutant!(MovedUnverified) && item.is_settled());
        if !self.granted || !self.items.iter().all(|item| done(item) || item.blocked().is_some()) {
            return Progress::Moving;
        }
        let stuck: Vec<_> = self
            .items
            .iter()
            .filter_map(|item| item.blocked().map(|why| (item.name(), why.to_owned())))
            .collect();
        if stuck.is_empty() { Progress::Complete(self.observed()) } else { Progress::Stuck(stuck) }
    }

    /// Whether all was seen in place but for what is left where somebody has led it.
    pub(crate) fn is_over(&self) -> bool {
        self.granted && !self.superseded && self.items.iter().all(Item::is_over)
    }

    /// The associations that were seen.
    pub fn observed(&self) -> Observed {
        Observed {
            associations: self.items.iter().filter_map(Item::association).collect(),
            tables: self.items.iter().filter_map(Item::table_association).collect(),
        }
    }

    /// What is known of the associations once what could be mended is: those that were seen in place, and of the others what was
    /// known before. What somebody has made elsewhere is not the cluster's, and no later move may take it for that.
    pub(crate) fn mended(&self, before: &Observed) -> Observed {
        let mut observed = before.clone();
        let confirmed = self.items.iter().filter(|item| item.is_confirmed());
        for item in confirmed {
            observed.associations.extend(item.association());
            observed.tables.extend(item.table_association());
        }
        observed
    }

    /// What was seen of the resource that a call is about, in words; `None` if nothing was.
    pub(crate) fn found(&self, call: &Call) -> Option<String> {
        self.items.iter().find(|item| item.is_about(call)).and_then(Item::found)
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        let current = lease.epoch == self.epoch && lease.revision == self.revision;
        current && lease.state == crate::lease::LeaseState::Active
    }

    fn advance(&mut self, now: BootTime) {
        if self.superseded || !self.granted {
            return;
        }
        if self.trust_from.is_some_and(|from| now >= from) {
            self.items.iter_mut().for_each(Item::trust_what_is_there);
        }
        let seats = self.seats.as_ref().map(|seats| self.sort_seats(seats));
        for item in &mut self.items {
            item.plan(seats.as_ref(), self.seats_fail.as_deref(), now);
        }
        let marks: Vec<_> = self.items.iter_mut().filter_map(|item| item.take_mark(now)).collect();
        // The call that waits for a mark needs a sight of the lease as well: both are asked for at once.
        let calls_follow = marks.iter().any(|(_, mark)| !mark.replaces());
        self.actions.extend(marks.into_iter().map(|(at, mark)| Action::RecordRotation(at, mark)));
        if let Some(seen) = self.guard_seen.filter(|seen| now < *seen + GUARD_LASTS || mutant!(NoGuard)) {
            let calls: Vec<Call> =
                self.items.iter_mut().filter_map(|item| item.take_call(seen, now)).collect();
            self.actions.extend(calls.into_iter().map(Action::Call));
        }
        if self.guard_asked.is_none() && (calls_follow || self.items.iter().any(|item| item.is_ready(now))) {
            self.guard_asked = Some(now);
            self.actions.push_back(Action::Guard);
        }
        if self.looks_open == 0 && self.wants_look() && now >= self.next_look() {
            self.look(now);
        }
    }

    /// Addresses of this move that are on their way from where they sit make room by themselves; all others stay.
    fn sort_seats(&self, seats: &[Seat]) -> Seats {
        let (leaving, staying) =
            seats.iter().cloned().partition(|seat| self.items.iter().any(|item| item.will_leave(seat)));
        Seats { leaving, staying }
    }

    /// Something is not known, or everything is believed to be in place and has not been seen there.
    fn wants_look(&self) -> bool {
        let blind =
            self.items.iter().any(Item::is_blind) || (self.seats.is_none() && self.seats_fail.is_none());
        let settled = self.items.iter().all(|item| item.is_settled() || item.blocked().is_some());
        blind || (settled && self.items.iter().any(|item| !item.is_confirmed() && item.blocked().is_none()))
    }

    /// When the next look is worth while.
    fn next_look(&self) -> BootTime {
        let open: Vec<_> =
            self.items.iter().filter(|item| !item.is_confirmed() && item.blocked().is_none()).collect();
        let doubts: Option<Vec<_>> = open.iter().map(|item| item.doubts_until()).collect();
        let trusted = doubts.and_then(|until| until.into_iter().min());
        trusted.map_or(self.look_not_before, |from| from.max(self.look_not_before))
    }

    fn look(&mut self, now: BootTime) {
        self.look_asked = now;
        self.look_not_before = now + backoff(self.looks);
        self.looks += 1;
        // Whoever has made what is in place records it in the lease.
        if self.guard_asked.is_none() && self.items.iter().any(Item::waits_for_word) {
            self.guard_asked = Some(now);
            self.actions.push_back(Action::Guard);
        }
        let looks = item::looks(&self.items, &self.interfaces);
        self.looks_open = looks.len();
        self.actions.extend(looks.into_iter().map(Action::Look));
    }
}

fn look_action(look: &Look) -> &'static str {
    match look {
        Look::Addresses(_) | Look::Seats(_) => "DescribeAddresses",
        Look::Tables(_) | Look::Subnets(_) => "DescribeRouteTables",
        Look::Interfaces(_) => "DescribeNetworkInterfaces",
        Look::Instance(_) => "DescribeInstances",
    }
}

/// The wait after the `n`th attempt, counted from zero.
fn backoff(n: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << n.min(8)).min(BACKOFF_LAST)
}
