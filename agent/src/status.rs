//! What an agent says of itself while it runs: `baton-agent status`, over a socket that can only be read.
//!
//! Nothing is kept for it. Whoever connects makes the agent ask each cluster's driver, which answers from what it knows
//! between two turns of its loop; so a status costs nothing while nobody asks, is never older than the question, and says
//! of a driver that does not answer just that.

pub mod ask;
pub mod socket;

use std::path::PathBuf;

use baton_protocol::findings::Recovery;
use baton_protocol::heartbeat::Health;
use baton_protocol::ids::Epoch;
use baton_protocol::time::WallTime;
use serde::{Deserialize, Serialize};

use crate::check::CheckReport;
use crate::config::{Config, DEFAULT_RUNTIME_DIRECTORY, Imds};

/// The shape of what is said. A field may be added under the same number; one that changes its meaning takes another.
pub const SCHEMA: u32 = 1;

/// The name of the socket, which no cluster can have.
const NAME: &str = "status.sock";

/// Where the socket lies: in the runtime directory of the first cluster.
pub fn path(config: &Config) -> PathBuf {
    let first = config.clusters.first().and_then(|cluster| cluster.directory.parent());
    first.map_or_else(default_path, |directory| directory.join(NAME))
}

/// Where it lies when nothing else is said.
pub fn default_path() -> PathBuf {
    PathBuf::from(DEFAULT_RUNTIME_DIRECTORY).join(NAME)
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of the agent.
    pub agent_version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs, by the wall clock, in milliseconds since 1970; as every moment here.
    pub since: WallTime,
    /// The instance it runs on.
    pub instance: String,
    /// That instance's Availability Zone.
    pub zone: String,
    /// The version of the instance metadata service that it speaks.
    #[serde(default)]
    pub imds: Imds,
    /// The configuration it goes by.
    pub configuration: Configuration,
    /// Each cluster, by name.
    pub clusters: Vec<ClusterStatus>,
    /// Clusters whose drivers did not answer within a second. They may be starting, ending, or stuck.
    #[serde(default)]
    pub silent: Vec<String>,
}

/// The configuration that an agent goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The file.
    pub file: PathBuf,
    /// When it was read.
    pub read: WallTime,
    /// Why what the file said at the last reload was refused, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a cluster's driver knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub cluster: String,
    /// What this node does.
    pub state: State,
    /// The lease as last read; none has been read yet.
    pub lease: Option<SeenLease>,
    /// The epoch at which this node serves.
    pub serving_epoch: Option<Epoch>,
    /// In strict mode, for how much longer it may serve without another confirmed heartbeat, in milliseconds.
    pub validity_left_ms: Option<u64>,
    /// How long ago the last heartbeat was confirmed, in milliseconds.
    pub confirmed_ms_ago: Option<u64>,
    /// What became of the heartbeats.
    pub beats: Beats,
    /// What the heartbeat says of this node.
    pub health: Health,
    /// Why the instance is about to be taken, if its metadata says so.
    pub leaving: Option<String>,
    /// The hook that runs.
    pub hook: Option<RunningHook>,
    /// The dead-man; none is configured, so nothing would stop the service.
    pub dead_man: Option<DeadManStatus>,
    /// The virtual addresses; none are configured.
    pub vip: Option<VipStatus>,
    /// Each check, in the order of the configuration.
    pub checks: Vec<CheckReport>,
    /// The last local recoveries.
    pub recoveries: Vec<Recovery>,
    /// What stands in the way, with the way out.
    pub troubles: Vec<Trouble>,
}

/// What became of the heartbeats of a driver since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beats {
    /// How many were confirmed.
    pub confirmed: u64,
    /// How many were refused, or lost, or came to an unknown end.
    pub unconfirmed: u64,
    /// The longest time from the sending of one to its confirmation within the last minute or two, in milliseconds.
    pub slowest_ms: u64,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has read no lease yet.
    Waiting,
    /// It serves nothing.
    Standby,
    /// It starts its service.
    Starting,
    /// It serves.
    Serving,
    /// It stops its service.
    Stopping,
}

impl State {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting for a lease",
            Self::Standby => "standby",
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// The lease as a node has read it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenLease {
    /// Its epoch.
    pub epoch: Epoch,
    /// The name of the node that holds it; nobody does.
    pub holder: Option<String>,
    /// Whether that is this node.
    pub mine: bool,
    /// Whether this node is a member.
    pub member: bool,
    /// `strict` or `available`.
    pub mode: String,
    /// Whether the cluster was deleted.
    pub retired: bool,
    /// Until when takeovers are paused.
    pub paused_until: Option<WallTime>,
}

/// A hook that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningHook {
    /// `promote`, `demote` or `recover`; `vip` while virtual addresses are added before a promote hook.
    pub hook: String,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// What the dead-man was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadManStatus {
    /// Whether it guards.
    pub armed: bool,
    /// In how many milliseconds it stops the service.
    pub fires_in_ms: Option<u64>,
}

/// The virtual addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The interface.
    pub interface: String,
    /// The addresses.
    pub addresses: Vec<String>,
    /// Those that no route of the cluster leads to.
    pub led_nowhere: Vec<String>,
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What it is about.
    pub about: String,
    /// Since when, by the wall clock.
    pub since: WallTime,
    /// What was found.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// The fields, for the manual page: each with what it says. A test holds it to what is really said.
pub const MANUAL: &[(&str, &str)] = &[
    ("schema", "1. Fields may be added under this number."),
    ("agent_version, pid, since, instance, zone", "The agent. Moments are in milliseconds since 1970."),
    ("imds", "v2, or v1 where the instance metadata are asked without session tokens."),
    ("configuration", "file, read, and refused where what the file said at the last reload was refused."),
    ("silent", "Clusters whose drivers did not answer within a second."),
    ("clusters", "A list with an object for each cluster:"),
    ("cluster", "Its name."),
    ("state", "waiting (no lease was read yet), standby, starting, serving or stopping."),
    ("lease", "As last read, or null: epoch, holder, mine, member, mode, retired, paused_until."),
    ("serving_epoch", "The epoch at which this node serves, or null."),
    (
        "validity_left_ms",
        "In strict mode, for how much longer this node may serve without another confirmed heartbeat.",
    ),
    ("confirmed_ms_ago", "How long ago the last heartbeat was confirmed."),
    (
        "beats",
        "What became of heartbeats since the driver began: confirmed, unconfirmed, slowest_ms (of the last minute or two).",
    ),
    ("health", "ok, bad, unknown or draining: what the heartbeat says."),
    ("leaving", "Why the instance is about to be taken, or null."),
    ("hook", "The hook that runs, or null: hook, for_ms."),
    ("dead_man", "Null where none is configured: armed, fires_in_ms."),
    ("vip", "The virtual addresses, or null: interface, addresses, led_nowhere."),
    ("checks", "For each check: name, when, running, verdict, warning, reason, output."),
    ("recoveries", "The last local recoveries: number, begun, what, ended (at, failed)."),
    ("troubles", "What stands in the way: about, since, found, remedy."),
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::check::debounce::Verdict;
    use crate::config::When;

    /// A status with something in every place.
    pub(crate) fn full() -> Status {
        let recovery =
            serde_json::json!({"number": 1, "begun": 1, "what": "web", "ended": {"at": 2, "failed": "no"}});
        let cluster = ClusterStatus {
            cluster: "orders".to_owned(),
            state: State::Serving,
            lease: Some(SeenLease {
                epoch: Epoch(7),
                holder: Some("node-a".to_owned()),
                mine: true,
                member: true,
                mode: "strict".to_owned(),
                retired: false,
                paused_until: Some(WallTime(5)),
            }),
            serving_epoch: Some(Epoch(7)),
            validity_left_ms: Some(3_200),
            confirmed_ms_ago: Some(400),
            beats: Beats { confirmed: 60, unconfirmed: 1, slowest_ms: 17 },
            health: Health::Ok,
            leaving: Some("Spot".to_owned()),
            hook: Some(RunningHook { hook: "recover".to_owned(), for_ms: 1_500 }),
            dead_man: Some(DeadManStatus { armed: true, fires_in_ms: Some(3_200) }),
            vip: Some(VipStatus {
                interface: "baton0".to_owned(),
                addresses: vec!["10.9.0.1".to_owned()],
                led_nowhere: vec!["10.9.0.1".to_owned()],
            }),
            checks: vec![CheckReport {
                name: "web".to_owned(),
                when: When::Serving,
                running: true,
                verdict: Verdict::Good,
                warning: true,
                reason: "exit code 1: a warning".to_owned(),
                output: "nearly full\nreally".to_owned(),
            }],
            recoveries: vec![serde_json::from_value(recovery).expect("a recovery")],
            troubles: vec![Trouble {
                about: "table".to_owned(),
                since: WallTime(5),
                found: "denied: no".to_owned(),
                remedy: "update the stack".to_owned(),
            }],
        };
        Status {
            schema: SCHEMA,
            agent_version: "0.1.0".to_owned(),
            pid: 7,
            since: WallTime(1),
            instance: "i-1".to_owned(),
            zone: "eu-west-1a".to_owned(),
            imds: Imds::V1,
            configuration: Configuration {
                file: "/etc/baton/agent.toml".into(),
                read: WallTime(1),
                refused: Some("no".to_owned()),
            },
            clusters: vec![cluster],
            silent: vec!["other".to_owned()],
        }
    }

    fn names(value: &serde_json::Value, into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, inner) in map {
                    into.push(name.clone());
                    names(inner, into);
                }
            }
            serde_json::Value::Array(all) => all.iter().for_each(|inner| names(inner, into)),
            _ => {}
        }
    }

    #[test]
    fn the_manual_names_every_field_that_is_said_and_no_other() {
        let said = serde_json::to_value(full()).expect("JSON");
        let mut fields = Vec::new();
        names(&said, &mut fields);
        let manual: String = MANUAL.iter().map(|(name, text)| format!("{name} {text} ")).collect();
        let words: Vec<&str> = manual.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for field in &fields {
            assert!(words.contains(&field.as_str()), "{field}");
        }
        for (names, _) in MANUAL {
            for name in names.split(", ") {
                assert!(fields.iter().any(|field| field == name), "{name}");
            }
        }
        assert_eq!(serde_json::from_value::<Status>(said).expect("read again"), full());
    }
}
