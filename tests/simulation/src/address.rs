//! The virtual addresses of a machine: there before its promote hook starts, gone when the service is, and put back by the
//! check in between. To have them is to serve: clients come to whoever does.

use baton_protocol::ids::Epoch;

use crate::world::Sim;

impl Sim<'_> {
    pub(crate) fn raise_addresses(&mut self, machine: usize, epoch: Epoch) {
        self.machines[machine].addressed = Some(epoch);
        self.say(machine, || format!("has the virtual addresses at epoch {epoch}"));
        for other in 0..self.machines.len() {
            let m = &self.machines[other];
            let Some(older) = m.addressed.filter(|_| other != machine && !m.suspended) else { continue };
            if self.watch.is_strict(older.min(epoch), older.max(epoch)) {
                let what =
                    format!("n{machine} takes the addresses at epoch {epoch}, which n{other} has at {older}");
                self.broken("I1", what);
            }
        }
    }

    pub(crate) fn lower_addresses(&mut self, machine: usize, why: &str) {
        if self.machines[machine].addressed.take().is_some() {
            self.say(machine, || format!("has the virtual addresses no more: {why}"));
        }
    }

    /// The check looks after them, and finds that somebody has removed them or that they were never there.
    pub(crate) fn look_at_addresses(&mut self, machine: usize) {
        let local = self.local(machine);
        let m = &self.machines[machine];
        let Some(node) = m.agent.as_ref().filter(|node| node.keeps_addresses(local)) else { return };
        let epoch = node.serving().or_else(|| node.lease().map(|lease| lease.epoch));
        if let (Some(epoch), None) = (epoch, m.addressed) {
            self.raise_addresses(machine, epoch);
        }
    }
}
