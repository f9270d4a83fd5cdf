//! What can be typed. It stands in the library so that the manual page is made from the same definition.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config;

const LEGEND: &str = "Files:\n  /etc/baton/agent.toml   the configuration\n  \
    /run/baton              what is kept for the next run\n  \
    /run/baton/status.sock  where `baton-agent status` asks\n\n\
    Environment, besides BATON_CONFIG:\n  \
    BATON_LOG                       a level such as `debug`, or levels by module\n  \
    BATON_LOG_FORMAT                `text` or `json`\n  \
    AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT\n                                  \
    `true`: endpoints of that kind\n  \
    AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_<SERVICE>\n                                  \
    where calls go instead\n  \
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN\n                                  \
    count before the instance's role, whose credentials are the only ones\n                                  \
    that a cluster's node policy lets write\n\n\
    Exit codes:\n  0   ended in order\n  1   cannot go on; systemd starts it again\n  2   wrong usage\n  \
    78  the configuration was refused";

/// Keeps this node's heartbeat, and serves while the lease says so.
///
/// It runs as the unit `baton-agent` of systemd and reads /etc/baton/agent.toml, see baton-agent.toml(5). SIGTERM and SIGINT
/// end it in order: each cluster is handed over or left as it is, by its key `shutdown`. SIGUSR1 ends it and leaves every
/// service as it is, under the dead-man, for the run that follows; that is what `systemctl restart` sends. SIGHUP makes it read
/// its configuration again, after which `baton-agent status` says whether it is in force; `systemctl reload` validates it first.
#[derive(Debug, Parser)]
#[command(name = "baton-agent", version, after_long_help = LEGEND)]
pub struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "BATON_CONFIG", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks a configuration and does nothing else. Exit code 78 if it is refused.
    Validate {
        /// The configuration; the one of `--config` if left out.
        file: Option<PathBuf>,
        /// Looks at the text alone, not at the commands and users it names.
        #[arg(long)]
        no_environment: bool,
    },
    /// Makes the packet fences that the configuration asks for, closed, where there are none: no traffic of a service passes until
    /// the agent has confirmed its lease. The unit `baton-fence` does this at boot. Exit code 1 if one that is required cannot be.
    Fence {
        /// Removes all of them instead, whatever the configuration says: traffic passes again, and nothing of the kernel's holds
        /// back a node that must not serve.
        #[arg(long)]
        remove: bool,
    },
    /// Shows what the agent that runs on this machine says of itself and its clusters. Exit code 1 if none answers.
    ///
    /// It asks over a socket in the runtime directory, which only root may do. The agent answers from what it knows: nothing is
    /// asked of AWS.
    Status {
        /// The socket; the one that the configuration leads to if left out, or /run/baton/status.sock.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// One JSON object; its fields are described in baton-agent(8).
        #[arg(long)]
        json: bool,
    },
    /// Shows where each duration of a timing comes from, and what follows from all of them.
    ///
    /// The timing of a cluster comes with its lease and not from this node's configuration, so nothing is asked of the table:
    /// both profiles are shown unless a timing is named. Where the configuration can be read, how soon its checks notice a
    /// failure is shown as well.
    Explain {
        /// `default`, `fast`, or the seven durations as a JSON object, as `baton status --format json` shows them.
        #[arg(long, value_name = "TIMING")]
        timing: Option<String>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}
