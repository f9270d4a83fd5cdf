//! By which rules a lease may be decided: what an earlier arbiter would misread.
//!
//! During an update of the control plane an arbiter of the version before may still be woken. A field that it does not know
//! it passes over, and then it takes over what a policy of that field holds back, or counts as moved what it has not looked at. To raise
//! [`SCHEMA`] would keep it away, and the agents too: they read the same item, have nothing to do with most of its fields, and
//! one that cannot read its lease stops serving. So a lease says beside its schema which rules it needs, and only
//! who decides or changes it looks at them. Whoever adds something that an earlier version would misread raises [`RULES`]
//! and adds it to [`needed`]; a lease that does not use it stays readable for both.

use crate::lease::{Lease, SCHEMA};

/// The rules that this version knows.
pub const RULES: u32 = 1;

/// The rules that a lease so configured needs. 0: an epoch, a holder, members that are named, and named things to move.
pub fn needed(lease: &Lease) -> u32 {
    let resources = &lease.resources;
    let policies = !lease.takeover.is_automatic() || lease.cool_down_ms > 0 || !lease.fencing.is_none();
    let described = lease.roster.is_some() || !resources.choices.is_empty();
    let left_or_swapped = !resources.from_gateways.is_empty() || !resources.subnets.is_empty();
    u32::from(policies || described || left_or_swapped || !lease.failback.is_manual())
}

impl Lease {
    /// Whether this version knows what the lease means, so that it may decide by it or change it. To read who holds it, the
    /// schema is enough.
    pub fn may_be_decided(&self) -> bool {
        self.schema <= SCHEMA && self.rules <= RULES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::Fencing;
    use crate::policy::Takeover;
    use crate::testing::{lease, subnet_tables};

    #[test]
    fn what_an_earlier_arbiter_would_misread_asks_for_the_rules_that_know_it() {
        let mut plain = lease();
        plain.resources.from_gateways.clear();
        assert_eq!(needed(&plain), 0);
        let edits: [fn(&mut Lease); 5] = [
            |lease| lease.takeover = Takeover::Notify,
            |lease| lease.cool_down_ms = 60_000,
            |lease| lease.fencing = Fencing::Stop,
            |lease| lease.resources.subnets.push(subnet_tables(1)),
            |lease| lease.resources.from_gateways = lease.resources.routes.iter().cloned().collect(),
        ];
        for edit in edits {
            let mut lease = plain.clone();
            edit(&mut lease);
            assert_eq!(needed(&lease), 1);
        }
    }

    #[test]
    fn a_lease_is_decided_by_whoever_knows_its_rules_and_its_schema() {
        let with = |schema, rules| Lease { schema, rules, ..lease() }.may_be_decided();
        assert!(with(SCHEMA, 0) && with(SCHEMA, RULES));
        assert!(!with(SCHEMA, RULES + 1) && !with(SCHEMA + 1, 0));
    }

    #[test]
    fn a_lease_of_before_there_were_rules_needs_none_and_none_are_written_where_none_are_needed() {
        let text = serde_json::to_string(&lease()).expect("can be written");
        assert!(!text.contains(r#""rules""#), "{text}");
        assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read").rules, 0);
    }
}
