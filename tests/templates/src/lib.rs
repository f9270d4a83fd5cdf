//! What the templates in `infra/` say, and what the code does, in a form that tests can compare.
//!
//! A policy that allows more than the code uses is a hole, one that allows less is an outage on the day of
//! the failover. Neither shows in a stand-in for AWS that happens not to ask. So the tests of this package
//! derive from the source which actions each role's code can ask for, and hold the templates to exactly
//! these.

pub mod actions;
pub mod guard;
pub mod source;
pub mod template;

use std::path::{Path, PathBuf};

/// A path in the workspace.
pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
