//! What the onlooker sees of EC2: where everything really is, and which call brought it there.

use baton_protocol::ec2::{Call, RouteTarget};
use baton_protocol::ids::{AssociationId, InstanceArn};
use baton_protocol::lease::{LeaseState, Member};
use baton_protocol::moved::Moved;
use baton_protocol::resource::{Placement, SubnetTables, TableAssociation};

use crate::clock::{MS, Real, SECOND};
use crate::ec2::{STALEST, told};
use crate::event::Origin;
use crate::function::Sighting;
use crate::outside::DESTINATION;
use crate::sometimes::Sometimes;
use crate::world::Sim;

/// Where everything of the cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    addresses: Vec<Option<Placement>>,
    associations: Vec<Option<AssociationId>>,
    routes: Vec<Option<RouteTarget>>,
    subnets: Vec<Option<TableAssociation>>,
}

/// An invocation records what it saw within its own time at most.
const OF_ONE_INVOCATION: Real = 25 * SECOND;
/// A sight of the lease allows calls for so long.
const SIGHT_LASTS: Real = 500 * MS;

impl Sim<'_> {
    pub(crate) fn places(&self) -> Places {
        let addresses = &self.resources.addresses;
        Places {
            addresses: addresses.iter().map(|address| self.cloud.seat_of(&address.allocation)).collect(),
            associations: addresses
                .iter()
                .map(|address| self.cloud.association_of(&address.allocation))
                .collect(),
            routes: self
                .resources
                .routes
                .iter()
                .map(|r| self.cloud.target_of(&r.table, DESTINATION))
                .collect(),
            subnets: self.resources.subnets.iter().map(|s| self.cloud.table_of(&s.subnet)).collect(),
        }
    }

    /// How many of the cluster's addresses are at the holder.
    pub(crate) fn addresses_at_holder(&self, places: &Places) -> usize {
        let holder = self.lease.holder.as_ref().and_then(|holder| self.lease.member(holder));
        let Some(member) = holder else { return 0 };
        let addresses = self.resources.addresses.iter().zip(&places.addresses);
        addresses
            .filter(|(a, at)| at.is_some() && at.as_ref() == member.placements.get(&a.allocation))
            .count()
    }

    /// How many of its resources, and how many there are.
    pub(crate) fn at_holder(&self, places: &Places) -> (usize, usize) {
        let total = places.addresses.len() + places.routes.len() + places.subnets.len();
        let holder = self.lease.holder.as_ref().and_then(|holder| self.lease.member(holder));
        let Some(member) = holder else { return (0, total) };
        let there = RouteTarget::Interface(member.interface.clone());
        let routes = places.routes.iter().filter(|to| to.as_ref() == Some(&there));
        let subnets = self.resources.subnets.iter().zip(&places.subnets);
        let subnets = subnets.filter(|(swapped, there)| is_swapped_to(swapped, there.as_ref(), member));
        (self.addresses_at_holder(places) + routes.count() + subnets.count(), total)
    }

    /// A call is about to be made. I7 and I13.
    pub(crate) fn watch_call_ec2(&mut self, function: usize, call: &Call) {
        let sight = self.functions[function].as_ref().and_then(|running| running.sight.clone());
        let Some(Sighting { epoch, holder, moved, sent }) = sight else {
            return self.broken("I7", format!("f{function} calls EC2 and has not seen the lease"));
        };
        if self.now - sent > SIGHT_LASTS {
            let age = (self.now - sent) / MS;
            self.broken("I7", format!("f{function} calls EC2 {age} ms after it saw the lease"));
        }
        let member = holder.as_ref().and_then(|holder| self.lease.member(holder)).cloned();
        let target = match call {
            Call::Associate { placement, .. } => Some(&placement.interface),
            Call::ReplaceRoute { interface, .. }
            | Call::CreateRoute { interface, .. }
            | Call::DisableSourceDestCheck { interface } => Some(interface),
            Call::Disassociate { .. } | Call::ReplaceTableAssociation { .. } | Call::Stop { .. } => None,
        };
        if let (Some(target), Some(member)) = (target, &member)
            && *target != member.interface
        {
            self.broken("I7", format!("f{function} calls for another than the holder of epoch {epoch}"));
        }
        if let (Call::ReplaceTableAssociation { subnet, table, .. }, Some(member)) = (call, &member) {
            let swapped = self.resources.subnets.iter().find(|swapped| swapped.subnet == *subnet);
            if swapped.and_then(|swapped| swapped.tables.get(&member.node)) != Some(table) {
                self.broken("I7", format!("f{function} swaps for another than the holder of epoch {epoch}"));
            }
        }
        if let Call::ReplaceRoute { route, .. } = call {
            let there = self.cloud.target_of(&route.table, DESTINATION);
            let led_away = matches!(there, Some(RouteTarget::Other(_)))
                .then(|| self.watch.led_away.get(&route.table).copied())
                .flatten();
            // What was drawn up before it was led there may still be called for.
            let long_since = led_away.is_some_and(|at| self.now - at > OF_ONE_INVOCATION + STALEST);
            if long_since && !self.resources.from_gateways.contains(route) {
                self.broken("I20", format!("f{function} takes the route in {} from a gateway", route.table));
            }
        }
        if let Call::Disassociate { allocation, association } = call {
            let in_place = member.is_some_and(|member| {
                self.cloud.seat_of(allocation).as_ref() == member.placements.get(allocation)
                    && self.cloud.association_of(allocation).as_ref() == Some(association)
            });
            if in_place && self.lease.epoch == epoch && moved.0 + 1 >= epoch.0 {
                self.broken("I13", format!("f{function} ends {association}, which is in place"));
            }
        }
    }

    /// A call has landed, of the epoch that its caller believed in.
    pub(crate) fn watch_landing(&mut self, call: &Call, done: bool, origin: Origin, before: &Places) {
        let Origin { epoch, began, sent } = origin;
        let late = self.now - sent > 3 * SECOND;
        let older = epoch < self.lease.epoch;
        if older && !done {
            self.see(Sometimes::LateCallRefused);
        }
        let after = self.places();
        if *before == after {
            return self.seats_are_kept(began);
        }
        self.watch.mutated(self.now);
        self.trace.say(self.now, "ec2", || format!("{} (of epoch {epoch})", told(call)));
        if late {
            self.see(Sometimes::LateCallDone);
        }
        if late || older {
            self.watch.unsettled_at = Some(self.now);
        }
        self.seats_are_kept(began);
        self.nothing_is_taken_back(older, before, &after);
        let (there, total) = self.at_holder(&after);
        if there > 0 && there < total {
            self.see(Sometimes::PartialMove);
        }
        if there == total {
            self.measure_associated();
            if self.watch.drifted && self.lease.moved == self.lease.epoch {
                self.see(Sometimes::Repaired);
            }
        }
    }

    /// I7.
    fn nothing_is_taken_back(&mut self, older: bool, before: &Places, after: &Places) {
        let settled = self.lease.moved == self.lease.epoch && self.lease.state == LeaseState::Active;
        let Some(member) = self.lease.holder.as_ref().and_then(|holder| self.lease.member(holder)).cloned()
        else {
            return;
        };
        for (k, address) in self.resources.addresses.iter().enumerate() {
            let place = member.placements.get(&address.allocation);
            let was = before.addresses[k].is_some() && before.addresses[k].as_ref() == place;
            let is = after.addresses[k].as_ref() == place;
            // Older or not: what was verified stays.
            if settled && was && !is {
                let whose = if older { "an older" } else { "this" };
                let what = format!("a call of {whose} epoch takes {} from the holder", address.allocation);
                return self.broken("I7", what);
            }
        }
        if let Some(what) = self.swapped_wrongly(settled, older, &member, before, after) {
            return self.broken("I26", what);
        }
        let there = Some(RouteTarget::Interface(member.interface.clone()));
        let mut routes = before.routes.iter().zip(&after.routes);
        if routes.any(|(was, is)| *was == there && *is != there) {
            self.watch.route_taken = true;
            self.see(Sometimes::RouteTakenBack);
        } else if self.watch.route_taken && after.routes.iter().all(|to| *to == there) {
            self.watch.route_taken = false;
            self.see(Sometimes::RoutePutRight);
        }
    }

    /// I26. What a landing has done to the subnets that it may not do.
    fn swapped_wrongly(
        &mut self,
        settled: bool,
        older: bool,
        member: &Member,
        before: &Places,
        after: &Places,
    ) -> Option<String> {
        let subnets = self.resources.subnets.iter().zip(before.subnets.iter().zip(&after.subnets));
        let mut changed = false;
        for (swapped, (was, is)) in subnets.filter(|(_, (was, is))| was != is) {
            changed = true;
            let subnet = &swapped.subnet;
            let foreign = |there: &TableAssociation| !swapped.tables.values().any(|t| *t == there.table);
            if was.as_ref().is_some_and(foreign) {
                return Some(format!("{subnet} is taken from a table that is none of its own"));
            }
            let [was, is] = [was, is].map(|there| is_swapped_to(swapped, there.as_ref(), member));
            // Older or not: what was verified stays.
            if settled && was && !is {
                let whose = if older { "an older" } else { "this" };
                return Some(format!("a call of {whose} epoch takes {subnet} from the holder's table"));
            }
        }
        if changed {
            self.see(Sometimes::SubnetSwapped);
        }
        None
    }

    /// I11.
    fn seats_are_kept(&mut self, began: Real) {
        for k in 0..self.foreign.len() {
            let (address, seat) = self.foreign[k].clone();
            let Some((machine, since)) = seat.filter(|(machine, _)| !self.machines[*machine].gone) else {
                continue;
            };
            if self.cloud.seat_of(&address.allocation) == Some(self.machines[machine].node.seat(0)) {
                continue;
            }
            // EC2 has no precondition on a seat: whoever came while an invocation was at work may not have been seen.
            self.foreign[k].1 = None;
            if began > since + STALEST {
                self.broken("I11", format!("{} is evicted from n{machine}", address.allocation));
            }
        }
    }

    /// I12. A move has been recorded.
    pub(crate) fn watch_moved(&mut self, moved: &Moved) {
        let first = self.watch.moved_at.is_none();
        if first {
            self.watch.moved_at = Some(self.now);
        }
        if moved.epoch != self.lease.epoch || moved.revision != self.lease.revision {
            return self
                .broken("I12", format!("a move of epoch {} is recorded, which is not current", moved.epoch));
        }
        if first && moved.verify_at.is_none() {
            self.broken("L8", "a move is recorded and nobody is to look again".to_owned());
        }
        // The lease is still as it was before this record.
        let due = self.lease.verify_at.is_some_and(|due| due > self.global().wall);
        if !first && moved.verify_at.is_none() && due {
            self.broken("L8", "a look before its time counts as the second".to_owned());
        }
        let unsettled = self.watch.unsettled_at.is_some_and(|at| self.now - at < OF_ONE_INVOCATION);
        let places = self.places();
        let (there, total) = self.at_holder(&places);
        // What is the cluster's and was led to a gateway is left there; and what was mended is recorded whatever else is astray.
        let left =
            |to: &&Option<RouteTarget>| !self.plan.from_gateways && matches!(to, Some(RouteTarget::Other(_)));
        let led_away = |(swapped, there): &(&SubnetTables, &Option<TableAssociation>)| {
            there.as_ref().is_some_and(|there| !swapped.tables.values().any(|table| *table == there.table))
        };
        let subnets = self.resources.subnets.iter().zip(&places.subnets).filter(led_away);
        let left = places.routes.iter().filter(left).count() + subnets.count();
        let again = moved.before == moved.epoch;
        if again && !unsettled {
            self.known_are_in_place_or_as_before(moved);
        }
        if there + left < total && !unsettled && !again {
            self.broken(
                "I12",
                format!("a move is recorded and {there} of {total} resources are at the holder"),
            );
        }
    }

    /// I12. What a look records of an address was seen in place, or was known before.
    fn known_are_in_place_or_as_before(&mut self, moved: &Moved) {
        let Some(member) = self.lease.holder.as_ref().and_then(|holder| self.lease.member(holder)).cloned()
        else {
            return;
        };
        self.known_tables_are_in_place_or_as_before(moved, &member);
        for (allocation, association) in &moved.observed.associations {
            // Another invocation of the epoch may have made it anew in its place.
            let in_place = self.cloud.seat_of(allocation).as_ref() == member.placements.get(allocation);
            let as_before = self.lease.observed.associations.get(allocation) == Some(association);
            if !in_place && !as_before {
                self.broken(
                    "I12",
                    format!("a look records {association} of {allocation}, which is not in place"),
                );
            }
        }
    }

    /// I12. The same of a subnet.
    fn known_tables_are_in_place_or_as_before(&mut self, moved: &Moved, member: &Member) {
        for (subnet, there) in &moved.observed.tables {
            let swapped = self.resources.subnets.iter().find(|swapped| swapped.subnet == *subnet);
            let in_place = swapped
                .is_some_and(|swapped| is_swapped_to(swapped, self.cloud.table_of(subnet).as_ref(), member));
            let as_before = self.lease.observed.tables.get(subnet) == Some(there);
            if !in_place && !as_before {
                self.broken("I12", format!("a look records {} of {subnet}, which is not in place", there.id));
            }
        }
    }

    /// L9. An invocation has left a lease where it was; its holder had sworn before it began.
    pub(crate) fn watch_held_back(&mut self, holder: &InstanceArn, began: Real, how: &str) {
        let Some(machine) = self.by_arn.get(holder).copied() else { return };
        if self.has_sworn_before(machine, began) {
            self.broken("L9", format!("the lease that n{machine} has released is {how}"));
        }
    }

    /// L6. A function has ended in order.
    pub(crate) fn watch_function_end(&mut self, function: usize) {
        if let Some(request) = self.watch.owed.remove(&function) {
            self.broken(
                "L6",
                format!("f{function} has taken the wish of {request} from the lease and does not answer it"),
            );
        }
    }
}

/// Whether a subnet has the table that is prepared for this member.
fn is_swapped_to(swapped: &SubnetTables, there: Option<&TableAssociation>, member: &Member) -> bool {
    there.is_some() && there.map(|there| &there.table) == swapped.tables.get(&member.node)
}
