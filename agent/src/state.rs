//! What one run of the agent leaves for the next in the same boot: its oath and the service it guards.
//!
//! The file lies in `/run`, so a boot starts without one. It is read as strictly as anything from outside:
//! state of another boot, another schema or another shape is not used, and the next run then starts as after
//! a boot, which stops whatever runs and costs an outage of one heartbeat, never a second holder.

use std::io;
use std::path::{Path, PathBuf};

use baton_protocol::node::RunState;
use serde::{Deserialize, Serialize};

use crate::file;

/// The shape of the file. Another number is another program's file.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: u32,
    boot_id: String,
    run: RunState,
}

/// Where the state of one cluster is kept, and which boot it belongs to.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    boot_id: String,
}

/// What an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Nothing: the first run of this boot.
    Nothing,
    /// The state of an earlier run in this boot.
    State(RunState),
    /// Something that cannot be used, and why. The file stays until it is replaced.
    Unusable(String),
}

/// The state could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not replace `{}`; see that its directory is there and that it may be written", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StateFile {
    /// The state of the cluster whose runtime directory this is, in the boot with this id.
    pub fn new(directory: &Path, boot_id: String) -> Self {
        Self { path: directory.join("state"), boot_id }
    }

    /// Reads what an earlier run left.
    pub fn read(&self) -> Left {
        let text = match file::read_if_there(&self.path) {
            Ok(Some(text)) => text,
            Ok(None) => return Left::Nothing,
            Err(error) => return self.unusable(&error),
        };
        let stored: Stored = match serde_json::from_str(&text) {
            Ok(stored) => stored,
            Err(error) => return self.unusable(&error),
        };
        if stored.schema != SCHEMA {
            return self.unusable(&format!("expected schema {SCHEMA}, found {}", stored.schema));
        }
        if stored.boot_id != self.boot_id {
            return self.unusable(&"it belongs to another boot");
        }
        match inconsistency(&stored.run) {
            Some(reason) => self.unusable(&reason),
            None => Left::State(stored.run),
        }
    }

    /// Replaces the state.
    pub fn write(&self, run: &RunState) -> Result<(), WriteError> {
        let stored = Stored { schema: SCHEMA, boot_id: self.boot_id.clone(), run: run.clone() };
        let text = serde_json::to_vec(&stored).expect("numbers and text are always JSON");
        let failed = |source| WriteError { path: self.path.clone(), source };
        file::replace(&self.path, &text).map_err(failed)
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> Left {
        Left::Unusable(format!("`{}` cannot be used: {reason}", self.path.display()))
    }
}

/// What no run writes, though it parses.
fn inconsistency(run: &RunState) -> Option<&'static str> {
    if run.serving.is_some_and(|epoch| epoch <= run.released) {
        return Some("it says that a released epoch is served");
    }
    if run.serving.is_some() && run.guarded && run.valid_until.is_none() {
        return Some("it says that a guarded service has no end of validity");
    }
    None
}

#[cfg(test)]
mod tests {
    use baton_protocol::ids::Epoch;
    use baton_protocol::time::{BootTime, WallTime};

    use super::*;

    fn serving() -> RunState {
        RunState {
            serving: Some(Epoch(7)),
            serving_since: Some(WallTime(1_790_000_000_000)),
            valid_until: Some(BootTime(5_000_000_000)),
            guarded: true,
            released: Epoch(4),
            known: Epoch(9),
        }
    }

    fn place() -> (tempfile::TempDir, StateFile) {
        let place = tempfile::tempdir().expect("a directory");
        let state = StateFile::new(place.path(), "boot-a".to_owned());
        (place, state)
    }

    #[test]
    fn what_one_run_writes_the_next_reads() {
        let (_place, state) = place();
        assert_eq!(state.read(), Left::Nothing);
        state.write(&serving()).expect("written");
        assert_eq!(state.read(), Left::State(serving()));
    }

    #[test]
    fn state_of_another_boot_is_not_used() {
        let (place, state) = place();
        state.write(&serving()).expect("written");
        let later = StateFile::new(place.path(), "boot-b".to_owned());
        let Left::Unusable(reason) = later.read() else { panic!("used") };
        assert!(reason.contains("another boot"), "{reason}");
    }

    #[test]
    fn a_file_of_an_earlier_version_tells_no_known_epoch() {
        let (place, state) = place();
        state.write(&serving()).expect("written");
        let path = place.path().join("state");
        let written = file::read(&path).expect("read");
        let earlier = written.replace(",\"known\":9", "");
        assert_ne!(earlier, written);
        std::fs::write(&path, earlier).expect("written");
        assert_eq!(state.read(), Left::State(RunState { known: Epoch(0), ..serving() }));
    }

    #[test]
    fn a_file_of_another_shape_is_not_used() {
        let (place, state) = place();
        state.write(&serving()).expect("written");
        let good = file::read(&place.path().join("state")).expect("read");
        for bad in [
            "",
            "{",
            "null",
            &good[..good.len() - 1],
            &good.replace("\"schema\":1", "\"schema\":2"),
            &good.replace("\"released\":4", "\"released\":-4"),
            &good.replace("\"released\":4", "\"released\":7"),
            &good.replace("\"guarded\"", "\"gaurded\""),
            &good.replace("\"valid_until\":5000000000", "\"valid_until\":null"),
            &good.replace('{', "{\"more\":1,"),
        ] {
            assert_ne!(bad, good);
            std::fs::write(place.path().join("state"), bad).expect("written");
            assert!(matches!(state.read(), Left::Unusable(_)), "{bad}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let state = StateFile::new(Path::new("/nonexistent/orders"), String::new());
        let error = state.write(&serving()).expect_err("no directory");
        assert!(error.to_string().contains("/nonexistent/orders/state"), "{error}");
    }
}
