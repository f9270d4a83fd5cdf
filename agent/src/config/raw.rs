//! The file's shape, as serde reads it. Nothing is judged here beyond types and unknown keys.
//!
//! Values carry their place in the file. Enumerations are tagged from outside (`tcp = {…}`), because serde
//! loses the place of what stands inside an internally tagged, flattened or untagged one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{ExitCodes, Imds, Need, Shutdown, When};

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
    pub(super) imds: Imds,
    pub(super) watchdog: Option<Need>,
    pub(super) watchdog_device: Option<Spanned<String>>,
    pub(super) metrics: Option<Spanned<String>>,
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
    pub(super) vip: Option<Vip>,
    pub(super) fence: Option<Spanned<Fence>>,
    #[serde(default)]
    pub(super) check: BTreeMap<Spanned<String>, Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Hooks {
    pub(super) promote: Option<Spanned<Hook>>,
    pub(super) demote: Option<Spanned<Hook>>,
    pub(super) recover: Option<Spanned<Hook>>,
    pub(super) recover_limit: Option<Spanned<Limit>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Limit {
    pub(super) times: Spanned<u32>,
    pub(super) within: Spanned<Length>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Hook {
    pub(super) command: Option<Words>,
    pub(super) unit: Option<Spanned<String>>,
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
pub(super) struct Vip {
    pub(super) addresses: Spanned<Vec<Spanned<String>>>,
    pub(super) interface: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Fence {
    #[serde(default)]
    pub(super) nftables: Need,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) tcp: Vec<Spanned<u16>>,
    #[serde(default)]
    pub(super) udp: Vec<Spanned<u16>>,
    #[serde(default)]
    pub(super) forward: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Check {
    pub(super) tcp: Option<Spanned<Tcp>>,
    pub(super) http: Option<Spanned<Http>>,
    pub(super) script: Option<Spanned<Script>>,
    pub(super) systemd: Option<Spanned<Systemd>>,
    pub(super) process: Option<Spanned<Process>>,
    pub(super) memory: Option<Spanned<Memory>>,
    pub(super) disk: Option<Spanned<Disk>>,
    pub(super) cpu: Option<Spanned<Cpu>>,
    pub(super) load: Option<Spanned<Load>>,
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
    #[serde(default)]
    pub(super) exit_codes: ExitCodes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Systemd {
    pub(super) unit: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Process {
    pub(super) pid_file: Option<Spanned<String>>,
    pub(super) command_name: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Memory {
    pub(super) available_at_least: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Disk {
    pub(super) path: Spanned<String>,
    pub(super) free_at_least: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Cpu {
    pub(super) waiting_at_most: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Load {
    pub(super) per_cpu_at_most: Spanned<f64>,
}
