//! The holder's table: every state of the service against every kind of input.

use crate::agent::{Agent, in_state};
use crate::input::{self, Input};
use crate::own;
use crate::render::{commands, head, reason, row};

const STATES: [&str; 6] = ["stopped", "starting", "serving", "stopping", "releasing", "sworn"];

struct Answer {
    next: &'static str,
    commands: String,
    reason: &'static str,
}

fn answer(state: &str, feed: &dyn Fn(&mut Agent)) -> Answer {
    let mut agent = in_state(state);
    feed(&mut agent);
    agent.listen();
    Answer { next: agent.state(), commands: commands(&agent.said, agent.sent), reason: reason(&agent.said) }
}

/// What an input does in a state, in whichever way it comes about.
fn of(state: &str, input: &Input) -> Answer {
    let mut answers = input.ways.iter().map(|way| answer(state, way));
    let first = answers.next().expect("at least one way");
    for (other, which) in answers.zip(1..) {
        assert_eq!(
            (other.next, &other.commands),
            (first.next, &first.commands),
            "`{}` while {state}: way {which} leads elsewhere than the first",
            input.name
        );
    }
    first
}

pub(crate) fn table() -> String {
    let inputs: Vec<Input> = [
        input::of_the_table(),
        input::of_another(),
        input::of_wishes(),
        own::of_the_service(),
        own::of_the_end(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut overview =
        head(["input", "stopped", "starting", "serving", "stopping", "releasing", "sworn", "rule"]);
    let mut details: Vec<String> = STATES.iter().map(|state| format!("\n**While {state}**\n\n")).collect();
    for detail in &mut details {
        detail.push_str(&head(["input", "next state", "handed out", "reason"]));
    }
    for input in &inputs {
        let mut cells = vec![input.name.to_owned()];
        for (state, detail) in STATES.iter().zip(&mut details) {
            let answer = of(state, input);
            cells.push(if answer.next == *state { "·".to_owned() } else { answer.next.to_owned() });
            if answer.next != *state || !answer.commands.is_empty() {
                detail.push_str(&row([input.name, answer.next, &answer.commands, answer.reason]));
            }
        }
        cells.push(input.rule.to_owned());
        overview.push_str(&row(cells));
    }
    format!("{overview}{}", details.concat())
}
