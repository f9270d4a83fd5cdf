//! The file's shape, as serde reads it. Nothing is judged here beyond types and unknown keys.
//!
//! Values carry their place in the file. Enumerations are tagged from outside (`tcp = {…}`), because serde
//! loses the place of what stands inside an internally tagged, flattened or untagged one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Shutdown, When};

/// A duration such as `"500ms"`, `"10s"` or `"1m30s"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Length(
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")] pub(super) Duration,
);

/// A program and its arguments.
pub(super) type Words = Spanned<Vec<Spanned<String>>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) table: Option<Spanned<String>>,
    pub(super) bus: Option<Spanned<String>>,
    pub(super) region: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) cluster: BTreeMap<Spanned<String>, Cluster>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Cluster {
    pub(super) runtime_directory: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) shutdown: Shutdown,
    #[serde(default)]
    pub(super) hooks: Hooks,
    pub(super) service: Option<Spanned<Service>>,
    #[serde(default)]
    pub(super) check: BTreeMap<Spanned<String>, Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Hooks {
    pub(super) promote: Option<Spanned<Hook>>,
    pub(super) demote: Option<Spanned<Hook>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Hook {
    pub(super) command: Words,
    pub(super) timeout: Spanned<Length>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Service {
    pub(super) pid_file: Option<Spanned<String>>,
    pub(super) cgroup: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Check {
    pub(super) tcp: Option<Spanned<Tcp>>,
    pub(super) http: Option<Spanned<Http>>,
    pub(super) script: Option<Spanned<Script>>,
    pub(super) interval: Option<Spanned<Length>>,
    pub(super) timeout: Option<Spanned<Length>>,
    pub(super) rise: Option<Spanned<u32>>,
    pub(super) fall: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) when: When,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tcp {
    pub(super) address: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Http {
    pub(super) url: Spanned<String>,
    #[serde(default)]
    pub(super) expect: Vec<Spanned<u16>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Script {
    pub(super) command: Words,
    pub(super) user: Option<Spanned<String>>,
}
