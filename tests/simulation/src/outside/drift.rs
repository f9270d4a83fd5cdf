//! What somebody else does to the cluster's resources, and subnets whose route table is swapped.

use std::collections::BTreeMap;

use baton_cloud::MemoryCloud;
use baton_protocol::arbiter::Hint;
use baton_protocol::ids::NodeName;
use baton_protocol::resource::SubnetTables;

use super::{DESTINATION, gateway};
use crate::plan::Plan;
use crate::sometimes::Sometimes;
use crate::world::Sim;

/// No run has more machines, those that take the place of others among them.
const MACHINES: usize = 16;

/// Subnets with a table for each machine that there may ever be. They begin with the first one's.
pub(crate) fn subnets(cloud: &MemoryCloud, vpc: &str, plan: &Plan) -> Vec<SubnetTables> {
    (0..plan.subnets)
        .map(|_| {
            let subnet = cloud.subnet(vpc);
            let name = |index| NodeName::new(format!("n{index}")).expect("a plain name");
            let tables = (0..MACHINES).map(|index| (name(index), cloud.table(vpc)));
            let tables: BTreeMap<_, _> = tables.collect();
            cloud.associate_table(&subnet, &tables[&name(0)]);
            SubnetTables { subnet, tables }
        })
        .collect()
}

impl Sim<'_> {
    /// Somebody else frees an address, puts it elsewhere or leads a route away. A trail may tell of it.
    pub(super) fn drift(&mut self) {
        let (addresses, tables) = (self.resources.addresses.len(), self.resources.routes.len());
        let which = self.rng.usize(..addresses + tables + self.resources.subnets.len());
        let before = self.places();
        if which < addresses {
            let address = self.resources.addresses[which].allocation.clone();
            let elsewhere = self.rng.usize(..self.machines.len());
            let there = self.machines[elsewhere].node.seat(which);
            let taken =
                self.foreign.iter().any(|(a, _)| self.cloud.seat_of(&a.allocation) == Some(there.clone()));
            if self.rng.bool() || taken || self.machines[elsewhere].gone {
                self.cloud.free(&address);
            } else {
                self.cloud.place(&address, &there);
            }
        } else if which >= addresses + tables {
            self.drift_subnet(which - addresses - tables);
        } else {
            let table = self.resources.routes[which - addresses].table.clone();
            if self.rng.bool() {
                self.cloud.put_route(&table, DESTINATION, gateway());
                self.watch.led_away.insert(table, self.now);
            } else {
                self.cloud.delete_route(&table, DESTINATION);
            }
        }
        if self.places() != before {
            self.trace.say(self.now, "outside", || format!("moves resource {which}"));
            self.drifted();
        }
    }

    /// Somebody swaps a subnet's table: for that of another node, or for one of their own, or for none.
    fn drift_subnet(&mut self, which: usize) {
        let swapped = self.resources.subnets[which].clone();
        match self.rng.u32(..4) {
            0 => self.cloud.disassociate_table(&swapped.subnet),
            1 => {
                let foreign = self.cloud.table(&self.vpc.clone());
                self.cloud.associate_table(&swapped.subnet, &foreign);
                self.see(Sometimes::SubnetLedAway);
            }
            _ => self.associate_any(&swapped),
        }
    }

    /// With the table of some machine.
    fn associate_any(&mut self, swapped: &SubnetTables) {
        let machine = self.machines[self.rng.usize(..self.machines.len())].name.clone();
        let table = &swapped.tables[&NodeName::new(machine).expect("a plain name")];
        self.cloud.associate_table(&swapped.subnet, table);
    }

    /// Whoever led a route to a gateway that the cluster may not take it from gives it back, and so a subnet.
    pub(super) fn drift_ends(&mut self) {
        let before = self.places();
        for route in self.resources.routes.clone() {
            let away = self.cloud.target_of(&route.table, DESTINATION) == Some(gateway());
            if away && !self.plan.from_gateways {
                self.cloud.delete_route(&route.table, DESTINATION);
            }
        }
        for swapped in self.resources.subnets.clone() {
            let there = self.cloud.table_of(&swapped.subnet);
            if there.is_none_or(|there| !swapped.tables.values().any(|table| *table == there.table)) {
                self.associate_any(&swapped);
            }
        }
        if self.places() != before {
            self.trace.say(self.now, "outside", || "gives routes back".to_owned());
            self.drifted();
        }
    }

    fn drifted(&mut self) {
        self.see(Sometimes::Drifted);
        self.watch.mutated(self.now);
        self.watch.unsettle(self.now);
        self.watch.drifted = true;
        for _ in 0..self.rng.usize(0..=2) {
            self.deliver(Hint::of_resource(self.cluster.clone()));
        }
    }
}
