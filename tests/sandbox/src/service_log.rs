//! What the services themselves wrote while they served, and whether two ever served at once.
//!
//! This is the evidence for "one holder": it was written by the service, at the moment it served, with the
//! one clock that all processes of this computer share. Nothing of Baton has a hand in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::SandboxError;

/// One line of a service's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Moment {
    /// CLOCK_BOOTTIME in nanoseconds.
    pub at: u64,
    /// The node.
    pub node: String,
    /// The epoch it was promoted at.
    pub epoch: u64,
    /// The service's process.
    pub pid: u32,
    /// `alive` or `answered`.
    pub what: String,
    /// The status it answered.
    #[serde(default)]
    pub status: Option<u16>,
}

/// One run of a service, from the first moment to the last at which it was there for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The node.
    pub node: String,
    /// The epoch it was promoted at.
    pub epoch: u64,
    /// The service's process.
    pub pid: u32,
    /// The first moment, on CLOCK_BOOTTIME.
    pub first: Duration,
    /// The last moment.
    pub last: Duration,
    /// How many requests it answered with 200.
    pub answered: usize,
}

/// Two services that were there at the same time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} served at epoch {} (process {}) while {} still served at epoch {} (process {}), for at least {} ms",
    later.node, later.epoch, later.pid, earlier.node, earlier.epoch, earlier.pid,
    earlier.last.min(later.last).saturating_sub(later.first).as_millis()
)]
pub struct Overlap {
    /// The run that began first.
    pub earlier: Run,
    /// The run that began before the other had ended.
    pub later: Run,
}

/// Reads a service's log; a missing file is a service that never ran.
pub fn read(path: &Path) -> Result<Vec<Moment>, SandboxError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SandboxError::io(format!("reading {}", path.display()))(error)),
    };
    let understood = |line: &str| {
        serde_json::from_str(line).map_err(|_| SandboxError::Answer {
            what: format!("the service's log {}", path.display()),
            answer: line.to_owned(),
        })
    };
    // The service may be writing what comes after the last whole line.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(understood).collect()
}

/// The runs in any number of logs, by their beginning.
pub fn runs(moments: &[Moment]) -> Vec<Run> {
    let mut found: BTreeMap<(&str, u64, u32), Run> = BTreeMap::new();
    for moment in moments {
        let at = Duration::from_nanos(moment.at);
        let run = found.entry((&moment.node, moment.epoch, moment.pid)).or_insert_with(|| Run {
            node: moment.node.clone(),
            epoch: moment.epoch,
            pid: moment.pid,
            first: at,
            last: at,
            answered: 0,
        });
        run.first = run.first.min(at);
        run.last = run.last.max(at);
        run.answered += usize::from(moment.status == Some(200));
    }
    let mut runs: Vec<Run> = found.into_values().collect();
    runs.sort_by_key(|run| (run.first, run.last));
    runs
}

/// Whether no two nodes ever served at the same moment, and epochs grew from node to node.
pub fn no_overlap(moments: &[Moment]) -> Result<Vec<Run>, Box<Overlap>> {
    let runs = runs(moments);
    for (index, earlier) in runs.iter().enumerate() {
        for later in &runs[index + 1..] {
            if later.node != earlier.node && later.first <= earlier.last {
                return Err(Box::new(Overlap { earlier: earlier.clone(), later: later.clone() }));
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(node: &str, epoch: u64, pid: u32, ms: u64) -> Moment {
        Moment {
            at: ms * 1_000_000,
            node: node.to_owned(),
            epoch,
            pid,
            what: "alive".to_owned(),
            status: None,
        }
    }

    #[test]
    fn runs_one_after_the_other_do_not_overlap() {
        let moments =
            [moment("b", 2, 9, 30), moment("a", 1, 7, 0), moment("a", 1, 7, 20), moment("b", 2, 9, 50)];
        let runs = no_overlap(&moments).expect("no overlap");
        let order: Vec<&str> = runs.iter().map(|run| run.node.as_str()).collect();
        assert_eq!(order, ["a", "b"]);
        assert_eq!((runs[0].first, runs[0].last), (Duration::ZERO, Duration::from_millis(20)));
    }

    #[test]
    fn one_common_moment_is_an_overlap() {
        let moments = [moment("a", 1, 7, 0), moment("a", 1, 7, 20), moment("b", 2, 9, 20)];
        let found = no_overlap(&moments).expect_err("both were there at 20 ms");
        assert!(
            found.to_string().starts_with("b served at epoch 2 (process 9) while a still served"),
            "{found}"
        );
    }

    #[test]
    fn a_run_that_spans_several_others_overlaps_each() {
        let moments =
            [moment("a", 1, 7, 0), moment("a", 1, 7, 90), moment("a", 2, 8, 95), moment("b", 3, 9, 40)];
        assert!(no_overlap(&moments).is_err());
    }

    #[test]
    fn a_node_may_serve_again_at_a_later_epoch() {
        let moments = [moment("a", 1, 7, 0), moment("a", 3, 8, 0)];
        assert_eq!(no_overlap(&moments).expect("one node cannot overlap with itself").len(), 2);
    }
}
