//! Whether a node may stand still while its clock does not show it to what runs there.

use crate::finding::{Finding, Requirement, Severity};
use crate::world::World;

/// A machine that wakes from hibernation runs its service until its dead-man is scheduled, while another node holds the lease.
/// In strict mode that is what must not be, and only who launches an instance says whether it may hibernate. A node that is a member
/// already must not keep a cluster from being changed.
pub(crate) fn examine(world: &World, findings: &mut Vec<Finding>) {
    let Some(instances) = world.instances.known().filter(|_| world.wanted.strict) else { return };
    for node in &world.wanted.nodes {
        if !instances.get(&node.instance).is_some_and(|facts| facts.hibernates) {
            continue;
        }
        let member = world.members.contains(&node.instance);
        findings.push(Finding {
            id: Requirement::NoHibernation,
            severity: if member { Severity::Warning } else { Severity::Violation },
            what: format!("{} ({}) was launched so that it can hibernate", node.instance, node.node),
            why: "on waking it serves for a moment what another node holds, which strict mode must not let happen"
                .to_owned(),
            remedy: "name an instance that was launched without hibernation, or register with Mode: available"
                .to_owned(),
        });
    }
}
