//! Members that stay although EC2 shows them terminated or not at all.

use super::*;

#[test]
fn whom_nobody_could_take_out_of_the_request_is_warned_of_and_refuses_nothing() {
    type Break = fn(&mut World);
    let gone: [Break; 2] = [
        |w| drop(edit(&mut w.instances).remove(&instance(2))),
        |w| facts_of(w, 2).state = InstanceState::Terminated,
    ];
    for break_it in gone {
        for (kept, severity) in [(false, Severity::Violation), (true, Severity::Warning)] {
            let found: Vec<_> = found(|world| {
                break_it(world);
                if kept {
                    world.kept.insert(instance(2));
                }
            });
            assert!(found.contains(&(Requirement::InstanceExists, severity)), "{found:?}");
            let refused = found.iter().any(|(_, severity)| *severity == Severity::Violation);
            assert_eq!(refused, !kept, "{found:?}");
        }
    }
}
