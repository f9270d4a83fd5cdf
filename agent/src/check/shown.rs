//! What the checks have come to, in a file for people and their tools on the machine:
//! `<runtime-directory>/<cluster>/checks.json`. Nothing of Baton's own reads it.
//!
//! It is replaced at each change of state and not at each try, so the output in it is that of the try which
//! changed something.

use std::path::{Path, PathBuf};

use baton_protocol::findings::Recovery;
use baton_protocol::heartbeat::Health;
use serde::Serialize;

use super::debounce::Verdict;
use super::{CheckReport, HealthReport};
use crate::file;
use crate::log::chain;

/// The file of one cluster.
#[derive(Debug)]
pub struct Shown {
    path: PathBuf,
    last: Option<State>,
}

/// What makes a change of state.
#[derive(Debug, PartialEq, Eq)]
struct State {
    health: Health,
    checks: Vec<(bool, Verdict, bool)>,
    recoveries: Vec<Recovery>,
}

#[derive(Debug, Serialize)]
struct Text<'a> {
    health: Health,
    checks: &'a [CheckReport],
    recoveries: &'a [Recovery],
}

impl Shown {
    /// The file in the runtime directory of a cluster.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("checks.json"), last: None }
    }

    /// Shows what stands, if it is not shown yet. A file that cannot be written is told once and costs nothing else.
    pub fn show(&mut self, health: Health, report: &HealthReport, recoveries: &[Recovery]) {
        let checks = report.checks.iter().map(|check| (check.running, check.verdict, check.warning));
        let state = State { health, checks: checks.collect(), recoveries: recoveries.to_vec() };
        if self.last.as_ref() == Some(&state) {
            return;
        }
        self.last = Some(state);
        let text = Text { health, checks: &report.checks, recoveries };
        let text = serde_json::to_vec_pretty(&text).expect("words and texts are always JSON");
        if let Err(error) = file::replace(&self.path, &text) {
            tracing::warn!(path = %self.path.display(), reason = chain(&error), "the checks are not shown");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::When;

    fn report(verdict: Verdict, output: &str) -> HealthReport {
        let check = CheckReport {
            name: "web".to_owned(),
            when: When::Serving,
            running: true,
            verdict,
            warning: false,
            reason: "exit code 2".to_owned(),
            output: output.to_owned(),
        };
        HealthReport { health: Health::Bad, checks: vec![check], turn: Default::default() }
    }

    #[test]
    fn a_change_of_state_is_shown_with_the_output_that_belongs_to_it() {
        let place = tempfile::tempdir().expect("a directory");
        let mut shown = Shown::new(place.path());
        let text = || file::read(&place.path().join("checks.json")).expect("written");
        shown.show(Health::Bad, &report(Verdict::Bad, "no table `orders`"), &[]);
        let first = text();
        let value: serde_json::Value = serde_json::from_str(&first).expect("JSON");
        assert_eq!(value["health"], "bad");
        assert_eq!(value["checks"][0]["output"], "no table `orders`");
        assert_eq!(
            (&value["checks"][0]["verdict"], &value["checks"][0]["when"]),
            (&"bad".into(), &"serving".into())
        );
        shown.show(Health::Bad, &report(Verdict::Bad, "another try"), &[]);
        assert_eq!(text(), first);
        shown.show(Health::Ok, &report(Verdict::Good, ""), &[]);
        assert_ne!(text(), first);
    }

    #[test]
    fn a_directory_that_is_gone_costs_nothing() {
        Shown::new(Path::new("/nonexistent")).show(Health::Ok, &report(Verdict::Good, ""), &[]);
    }
}
