//! A state of the model: every machine, the table, and what is under way between them.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use baton_protocol::grant::Grant;
use baton_protocol::ids::Incarnation;
use baton_protocol::time::Now;

use crate::machine::Machine;
use crate::rules::Rule;
use crate::setup::{moment, registered};
use crate::shape::Shape;
use crate::table::{Sent, Table};

/// A state. Its parts are shared with the states it came from. Two states are one if their shapes are, see [`crate::shape`].
#[derive(Debug, Clone)]
pub struct World {
    /// How many quanta have passed.
    pub quanta: u64,
    /// The table.
    pub table: Arc<Table>,
    /// The machines, by node.
    pub machines: Vec<Arc<Machine>>,
    /// The write that its sender gave up and that may be applied at any later time.
    pub late: Option<Arc<Late>>,
    /// Grants that were decided and may be committed at any later time, oldest first.
    pub decided: VecDeque<Arc<Grant>>,
    /// The faults so far.
    pub spent: u8,
    /// The rule that the last step broke.
    pub broken: Option<Rule>,
}

/// A write that its sender gave up.
#[derive(Debug, Clone)]
pub struct Late {
    /// The sender.
    pub node: usize,
    /// Its run.
    pub by: Incarnation,
    /// The write.
    pub sent: Sent,
}

impl World {
    /// A registered cluster whose machines have just booted and whose agents have not begun.
    pub fn first(nodes: usize) -> Self {
        Self {
            quanta: 0,
            table: Arc::new(Table::read(registered(nodes))),
            machines: (0..nodes).map(|_| Arc::new(Machine::default())).collect(),
            late: None,
            decided: VecDeque::new(),
            spent: 0,
            broken: None,
        }
    }

    /// The moment.
    pub fn now(&self) -> Now {
        moment(self.quanta)
    }

    /// One machine, to be changed.
    pub fn machine(&mut self, node: usize) -> &mut Machine {
        Arc::make_mut(&mut self.machines[node])
    }

    /// Notes that a rule was broken; the first one of a step stands.
    pub fn breaks(&mut self, rule: Rule) {
        self.broken.get_or_insert(rule);
    }

    /// Looks for what no state may show.
    pub fn look(&mut self) {
        let serving = self.machines.iter().filter(|machine| machine.up.is_some()).count();
        if serving > 1 {
            self.breaks(Rule::OneServes);
        }
        for node in 0..self.machines.len() {
            let sworn = self.table.heartbeat(node).map(|heartbeat| heartbeat.released);
            if self.machines[node].up.is_some_and(|epoch| sworn.is_some_and(|sworn| epoch <= sworn)) {
                self.breaks(Rule::OathHolds);
            }
        }
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Shape::of(self).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        Shape::of(self) == Shape::of(other)
    }
}
