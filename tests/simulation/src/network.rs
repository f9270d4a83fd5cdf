//! Which paths are in trouble now. Faults overlap, so each trouble is counted.

use crate::fault::Kind;

/// The troubles that strike everybody.
#[derive(Debug, Default)]
pub(crate) struct Network {
    standing: Vec<Kind>,
}

impl Network {
    /// A trouble begins.
    pub(crate) fn begin(&mut self, kind: Kind) {
        self.standing.push(kind);
    }

    /// One of its kind ends.
    pub(crate) fn end(&mut self, kind: Kind) {
        if let Some(at) = self.standing.iter().position(|standing| *standing == kind) {
            self.standing.swap_remove(at);
        }
    }

    /// Whether this trouble stands.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        !self.standing.is_empty() && self.standing.contains(&kind)
    }
}
