//! The places of the cluster's Elastic IPs on this node, as the lease names them: an interface and a private address. One that this
//! node does not have keeps an address from coming here, and at a standby nobody would know before it is needed.

use baton_protocol::node::Attached;

use super::Driver;
use super::troubles::About;

/// What was told of the places that are lacking.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// What the last look found.
    found: Option<String>,
    /// Whether the log has it.
    logged: bool,
}

impl Places {
    /// Takes in what a look has found; whether the log is to have it. The metadata may lag behind a change for seconds, so the log
    /// has what two looks in a row have found, once.
    fn take(&mut self, found: Option<String>) -> bool {
        let again = found.is_some() && found == self.found;
        let is_news = again && !self.logged;
        (self.found, self.logged) = (found, again);
        is_news
    }
}

impl Driver {
    /// Compares what the metadata show with the places that the lease names on this node.
    pub(super) fn compare_with_places(&mut self, attached: &[Attached]) {
        let lacking = self.node.places_lacking(attached);
        let told: Vec<_> = lacking
            .iter()
            .map(|(address, place)| format!("{address} goes to {} on {}", place.private_ip, place.interface))
            .collect();
        let outcome = match told.is_empty() {
            true => Ok(()),
            false => Err(format!("this node does not have the place of an address: {}", told.join(", "))),
        };
        self.desk.note(About::Place, &outcome);
        let found = outcome.err();
        if self.places.take(found.clone()) {
            tracing::warn!(
                reason = found.unwrap_or_default(),
                "an Elastic IP could not be moved to this node: {}",
                About::Place.remedy()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_once_what_two_looks_in_a_row_have_found() {
        let mut places = Places::default();
        let looks = ["a", "", "a", "a", "a", "b", "b", "", "b", "b"];
        let news = looks.map(|found| places.take((!found.is_empty()).then(|| found.to_owned())));
        assert_eq!(news, [false, false, false, true, false, false, true, false, false, true]);
    }
}
