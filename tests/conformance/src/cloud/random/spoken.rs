//! Answers in words that mean the same in either world.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use baton_protocol::ec2::{CloudFailure, Effect, Sight};

/// What the ids and addresses of a world stand for.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    pub(super) fn add(&mut self, id: &impl Display, name: String) {
        self.0.insert(id.to_string(), name);
    }

    /// A text with each of its ids exchanged for what it stands for. The longest go first, since one address can
    /// begin another.
    fn translate(&self, text: &str) -> String {
        let mut ids: Vec<_> = self.0.iter().collect();
        ids.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
        ids.into_iter().fold(text.to_owned(), |text, (id, name)| text.replace(id.as_str(), name))
    }
}

/// A sight line by line, in an order that does not depend on ids.
pub(super) fn spoken(sight: &Sight, names: &Names) -> Vec<String> {
    fn lines<'a, T: Debug + 'a>(what: impl IntoIterator<Item = T>) -> Vec<String> {
        what.into_iter().map(|line| format!("{line:?}")).collect()
    }
    let lines = match sight {
        Sight::Addresses(seen) => lines(seen),
        Sight::Seats(seen) => lines(seen),
        Sight::Tables(seen) => {
            seen.iter().flat_map(|(table, routes)| lines(routes.iter().map(|route| (table, route)))).collect()
        }
        Sight::Subnets(seen) => lines(seen),
        Sight::Interfaces(seen) => lines(seen),
        Sight::Instance(state) => lines([state]),
    };
    let mut lines: Vec<_> = lines.iter().map(|line| names.translate(line)).collect();
    lines.sort();
    lines
}

/// The kind of an answer, without ids and texts.
pub(super) fn kind(answer: &Result<Effect, CloudFailure>) -> String {
    let text = match answer {
        Ok(effect) => format!("{effect:?}"),
        Err(failure) => format!("{failure:?}"),
    };
    text.split('(').next().unwrap_or_default().to_owned()
}
