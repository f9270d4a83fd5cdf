//! Nodes that may stand still while another serves.

use super::*;

#[test]
fn a_new_node_that_can_hibernate_is_refused_and_a_member_is_only_told_of() {
    let hibernates = |w: &mut World| facts_of(w, 2).hibernates = true;
    assert_eq!(found(hibernates), [(Requirement::NoHibernation, Severity::Violation)]);
    let member = found(|w| {
        hibernates(w);
        w.members.insert(instance(2));
    });
    assert_eq!(member, [(Requirement::NoHibernation, Severity::Warning)]);
}

#[test]
fn a_node_that_can_hibernate_is_as_good_as_any_where_two_may_serve_for_a_moment() {
    let found = found(|w| {
        w.wanted.strict = false;
        facts_of(w, 2).hibernates = true;
    });
    assert_eq!(found, []);
}
