//! What happened, line by line, for a person. Costs nothing unless it was asked for.

use crate::clock::{MS, Real, SECOND};

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    on: bool,
    /// The lines.
    pub(crate) lines: Vec<String>,
}

impl Trace {
    /// One that keeps lines, or none.
    pub(crate) fn new(on: bool) -> Self {
        Self { on, lines: Vec::new() }
    }

    /// Adds a line; `text` is asked only if lines are kept.
    pub(crate) fn say(&mut self, at: Real, who: &str, text: impl FnOnce() -> String) {
        if self.on {
            let text = text();
            self.lines.push(format!("{:>4}.{:06} {who:<10} {text}", at / SECOND, at % SECOND / (MS / 1000)));
        }
    }

    /// Whether lines are kept.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }
}
