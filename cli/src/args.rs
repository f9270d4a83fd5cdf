//! What can be typed: commands, options, their environment variables and their help.

use std::time::Duration;

use baton_protocol::ids::ClusterName;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::exit::LEGEND;
use crate::text::parse_duration;

/// See and steer Baton's clusters.
///
/// Baton keeps Elastic IPs and VPC routes at a healthy EC2 instance. This command reads the table in which every
/// cluster's lease, heartbeats and history are kept, and writes requests to it. It needs DynamoDB and, to be fast,
/// EventBridge; only `doctor` asks EC2.
#[derive(Debug, Clone, Parser)]
#[command(name = "baton", version, after_long_help = LEGEND, propagate_version = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The cluster; may also stand as the argument. With one cluster registered it need not be named.
    #[arg(
        long = "cluster",
        id = "cluster-option",
        global = true,
        env = "BATON_CLUSTER",
        value_name = "CLUSTER"
    )]
    pub cluster: Option<ClusterName>,
    /// The DynamoDB table.
    #[arg(long, global = true, env = "BATON_TABLE", default_value = "baton")]
    pub table: String,
    /// The EventBridge bus that wakes the arbiter.
    #[arg(long, global = true, env = "BATON_BUS", default_value = "baton")]
    pub bus: String,
    /// The AWS region; otherwise as the AWS configuration says.
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The profile of the AWS configuration.
    #[arg(long, global = true)]
    pub profile: Option<String>,
    /// How the result is written.
    #[arg(long, global = true, env = "BATON_FORMAT", value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The same as --format json.
    #[arg(long, global = true)]
    pub json: bool,
    /// Whether to use colours; `auto` honours NO_COLOR.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

impl Global {
    /// The format, `--json` first.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One object with `schema_version`; fields are only ever added.
    Json,
    /// One line per row, fields separated by tabs.
    Tsv,
    /// SARIF 2.1.0, for tools that collect findings; of `doctor` only.
    Sarif,
}

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show who holds the lease, how every node is, and whether the cluster is protected.
    Status(Status),
    /// Show what happened: grants with their evidence, each step of a move, operators' requests.
    History(History),
    /// Have the holder hand over to another node, in good order.
    Switchover(Switchover),
    /// Have a silent holder taken over from, where the cluster's policy leaves that to you.
    Failover(Failover),
    /// Have the holder hand over to the preferred node, in good order.
    Failback(Failback),
    /// Keep a node from holding the lease for a while, and have it hand over first if it does.
    Drain(Drain),
    /// Keep a standby from taking over for a while.
    Exclude(Exclude),
    /// Let the node that is excluded hold the lease again.
    Include(Include),
    /// Have EC2 stop a node's instance, at once and as by a power cut.
    Fence(Fence),
    /// Examine everything that a cluster depends on at AWS, and mend what can be mended.
    Doctor(Doctor),
    /// Have the lease of a table that was restored to an earlier moment begin anew, once every agent is stopped.
    Restore(Restore),
    /// Hold back automatic action for a while.
    Pause(Pause),
    /// Allow automatic action again.
    Resume(Resume),
    /// Write the completions of a shell to standard output.
    Completions(Completions),
}

/// `baton status`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton status orders\n  baton status --watch=5\n  \
    baton status orders --exit-code --format json\n\n\
    With --exit-code: 0 healthy and protected, 21 no holder, 20 degraded or unprotected, 22 paused; \
    the first that applies, in this order after 0.")]
pub struct Status {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// Show it again every SECONDS, 2 unless given, until interrupted.
    #[arg(long, short = 'W', value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "2", value_parser = watch_interval)]
    pub watch: Option<Duration>,
    /// Let the exit code say how the cluster is.
    #[arg(long, conflicts_with = "watch")]
    pub exit_code: bool,
}

/// `baton history`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton history orders\n  baton history orders --limit 100 --format json")]
pub struct History {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// How many rows, the newest; they are shown newest last.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub limit: u16,
}

/// How a hand-over is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct HandOver {
    /// Why, for the history.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Wait until the addresses are verified at the new holder, 60s unless given.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "60s",
          value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// How long the request stays valid.
    #[arg(long = "for", value_name = "DURATION", default_value = "2m", value_parser = validity)]
    pub valid_for: Duration,
    /// Do not ask.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `baton switchover`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton switchover orders --to db-b --wait\n  \
    baton switchover --reason 'kernel update' --wait=2m --yes\n\n\
    The holder hands over by itself, so it must beat, and may be unwell; the node that shall hold next must be healthy. Where \
    the holder is silent, this is refused. Where automatic failback is on, the lease goes back to the preferred node once that has \
    been healthy for a while: pause the cluster or exclude that node to keep it where it is.")]
pub struct Switchover {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// The node that shall hold next; otherwise the best standby.
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// How it is asked for.
    #[command(flatten)]
    pub how: HandOver,
}

/// `baton failover`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  baton failover orders --wait\n  baton failover orders --to db-b --reason 'zone is gone' --yes\n\n\
    The holder must be silent; where it is not, use `baton switchover`. The lease moves once a standby has seen the \
    silence for its whole length, as without this command. Where takeovers are automatic, they do not wait for it."
)]
pub struct Failover {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// The node that shall hold next; otherwise the best standby.
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// How it is asked for.
    #[command(flatten)]
    pub how: HandOver,
}

/// `baton failback`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton failback orders --wait\n\n\
    The preferred node is the one with the smallest priority. Where it holds the lease already there is nothing to do; \
    where it could not take over, this is refused as a switchover to it would be.")]
pub struct Failback {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// How it is asked for.
    #[command(flatten)]
    pub how: HandOver,
}

/// The exclusion of a node.
#[derive(Debug, Clone, clap::Args)]
pub struct Exclusion {
    /// The node.
    #[arg(long, value_name = "NODE")]
    pub node: String,
    /// How long.
    #[arg(long = "for", value_name = "DURATION", default_value = "2h", value_parser = pause_length)]
    pub length: Duration,
    /// Why, for whoever looks.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
}

/// `baton drain`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton drain orders --node db-a --for 4h --reason 'new disk' --wait\n\n\
    In one request the node is excluded and, if it holds the lease, asked to hand over within ten minutes, which needs a \
    standby that is well. One node of a cluster is excluded at a time. It ends by itself, or by `baton include`.")]
pub struct Drain {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// Which node, and how long.
    #[command(flatten)]
    pub what: Exclusion,
    /// Wait until the addresses are verified at the new holder, 60s unless given.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "60s",
          value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Do not ask.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `baton exclude`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  baton exclude orders --node db-c --for 1d --reason 'disk is failing'\n\n\
    An excluded node takes over from nobody, even where nobody else could. One node of a cluster is excluded at a time. It \
    ends by itself, or by `baton include`."
)]
pub struct Exclude {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// Which node, and how long.
    #[command(flatten)]
    pub what: Exclusion,
}

/// `baton include`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton include orders")]
pub struct Include {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
}

/// `baton restore`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  baton restore orders --reason 'point-in-time recovery to 09:00' --wait\n\n\
    The arbiter does it once no agent has written anything for a whole silence, and answers `not yet` until then."
)]
pub struct Restore {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Wait until the lease has begun anew, 120s unless given.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "120s",
          value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// How long the request stays valid.
    #[arg(long = "for", value_name = "DURATION", default_value = "5m", value_parser = validity)]
    pub valid_for: Duration,
    /// Do not ask.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `baton fence`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton fence db-b --cluster orders --reason 'it hangs' --wait\n\n\
    For a node that does not do what it should and cannot be reached. Nothing that it has not written to its disks is kept. \
    The arbiter needs the right to stop instances: the control plane's parameter AllowFencing. Of the holder's lease nothing \
    changes by this; once it is silent, a standby claims it as ever.")]
pub struct Fence {
    /// The node.
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Wait until EC2 says that it is stopped, or the arbiter says why not, 120s unless given.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "120s",
          value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// How long the request stays valid.
    #[arg(long = "for", value_name = "DURATION", default_value = "5m", value_parser = validity)]
    pub valid_for: Duration,
    /// Do not ask.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `baton doctor`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton doctor orders\n  baton doctor --cluster orders --format json\n  \
    baton doctor orders --fix\n\n\
    It asks EC2, CloudWatch and CloudTrail with your own rights: looking needs the policy of viewers, --fix the policy of \
    menders. What may not be read is `unknown`, and never passes. --fix shows its plan first; what costs money, opens something \
    or touches what others use is made only after a question. Where an address or a route leads is changed by the arbiter alone, \
    which --fix wakes. Ends with 0 where nothing was found, else with 23; the names of findings are in docs/OPERATIONS.md.")]
pub struct Doctor {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// Mend what was found, as far as that can be done, and look again.
    #[arg(long)]
    pub fix: bool,
    /// Do not ask; consent to everything in the plan.
    #[arg(long, short = 'y', requires = "fix")]
    pub yes: bool,
}

/// `baton pause`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton pause orders --for 30m --reason 'kernel update'\n\n\
    While paused, silence and intents move nothing. A released lease is granted all the same, since nobody may serve \
    it. A pause ends by itself.")]
pub struct Pause {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
    /// How long.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = pause_length)]
    pub length: Duration,
    /// Why, for whoever looks.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
}

/// `baton resume`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton resume orders")]
pub struct Resume {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
}

/// `baton completions`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  baton completions bash > /etc/bash_completion.d/baton")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl Command {
    fn cluster_argument(&self) -> Option<&ClusterName> {
        match self {
            Self::Status(args) => args.cluster.as_ref(),
            Self::History(args) => args.cluster.as_ref(),
            Self::Switchover(args) => args.cluster.as_ref(),
            Self::Failover(args) => args.cluster.as_ref(),
            Self::Failback(args) => args.cluster.as_ref(),
            Self::Drain(args) => args.cluster.as_ref(),
            Self::Exclude(args) => args.cluster.as_ref(),
            Self::Include(args) => args.cluster.as_ref(),
            Self::Doctor(args) => args.cluster.as_ref(),
            Self::Restore(args) => args.cluster.as_ref(),
            Self::Pause(args) => args.cluster.as_ref(),
            Self::Resume(args) => args.cluster.as_ref(),
            Self::Fence(_) | Self::Completions(_) => None,
        }
    }
}

impl Cli {
    /// Parses what was typed. Two different clusters on one command line are refused: an action on the wrong one of
    /// them could not be taken back. The environment only fills in what was not typed.
    pub fn read<T: Into<std::ffi::OsString> + Clone>(
        typed: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(typed)?;
        let cli = Self::from_arg_matches(&matches)?;
        let option = cli.global.cluster.as_ref().filter(|_| was_typed(&matches));
        if let (Some(argument), Some(option)) = (cli.command.cluster_argument(), option)
            && argument != option
        {
            let message = format!("two clusters are named, `{argument}` and `{option}`: expected one");
            return Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, message));
        }
        if cli.global.format() == Format::Sarif && !matches!(cli.command, Command::Doctor(_)) {
            let message = "`--format sarif` holds findings, and only `doctor` has some";
            return Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }

    /// The cluster that was named, the argument first.
    pub fn cluster(&self) -> Option<&ClusterName> {
        self.command.cluster_argument().or(self.global.cluster.as_ref())
    }
}

/// Whether `--cluster` stands on the command line, before or after the command's name.
fn was_typed(matches: &ArgMatches) -> bool {
    let typed =
        |matches: &ArgMatches| matches.value_source("cluster-option") == Some(ValueSource::CommandLine);
    typed(matches) || matches.subcommand().is_some_and(|(_, inner)| typed(inner))
}

fn watch_interval(text: &str) -> Result<Duration, String> {
    let length = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_duration(text)?,
    };
    between(length, 1, 3_600, text)
}

fn validity(text: &str) -> Result<Duration, String> {
    between(parse_duration(text)?, 5, 3_600, text)
}

fn pause_length(text: &str) -> Result<Duration, String> {
    between(parse_duration(text)?, 1, 30 * 86_400, text)
}

fn between(length: Duration, least: u64, most: u64, text: &str) -> Result<Duration, String> {
    let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
    if (least..=most).contains(&length) {
        return Ok(length);
    }
    let name = crate::text::seconds;
    let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Err(format!("expected {} to {}, found `{text}`", name(ms(least)), name(ms(most))))
}

/// The longest reason that is kept. It stands in the lease, which every node reads every second.
const LONGEST_REASON: usize = 200;

fn reason(text: &str) -> Result<String, String> {
    let text = crate::text::printable(text);
    match text.chars().count() {
        0 => Err("expected a reason, found nothing".to_owned()),
        1..=LONGEST_REASON => Ok(text),
        found => Err(format!("expected at most {LONGEST_REASON} characters, found {found}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_cluster_is_an_argument_or_an_option_before_or_after_the_command() {
        for line in ["baton status orders", "baton status --cluster orders", "baton --cluster orders status"]
        {
            let cli = read(line).expect(line);
            assert_eq!(cli.cluster().map(ClusterName::as_str), Some("orders"), "{line}");
        }
    }

    #[test]
    fn two_different_clusters_on_one_line_are_refused() {
        for line in ["baton pause orders --cluster billing", "baton --cluster billing pause orders"] {
            let refused = read(line).expect_err(line);
            assert_eq!(refused.exit_code(), 2, "{line}");
            assert!(refused.to_string().contains("`orders` and `billing`"), "{refused}");
        }
        assert!(read("baton pause orders --cluster orders").is_ok());
    }

    #[test]
    fn optional_values_need_an_equals_sign_and_have_defaults() {
        let cli = read("baton status --watch orders").expect("parses");
        assert_eq!(cli.cluster().map(ClusterName::as_str), Some("orders"));
        let Command::Status(args) = cli.command else { panic!("status") };
        assert_eq!(args.watch, Some(Duration::from_secs(2)));
        let Command::Switchover(args) = read("baton switchover --wait").expect("parses").command else {
            panic!("switchover")
        };
        assert_eq!(
            (args.how.wait, args.how.valid_for),
            (Some(Duration::from_secs(60)), Duration::from_secs(120))
        );
        let Command::Switchover(args) =
            read("baton switchover --wait=1m30s --for 5m").expect("parses").command
        else {
            panic!("switchover")
        };
        assert_eq!(
            (args.how.wait, args.how.valid_for),
            (Some(Duration::from_secs(90)), Duration::from_secs(300))
        );
    }

    #[test]
    fn lengths_outside_their_range_are_wrong_usage() {
        for line in [
            "baton status --watch=0",
            "baton pause --for 31d",
            "baton switchover --for 2s",
            "baton switchover --for 2h",
            "baton history --limit 0",
            "baton status --watch --exit-code",
            "baton status ORDERS",
        ] {
            assert_eq!(read(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn sarif_is_of_doctor_and_yes_of_its_fix() {
        assert!(read("baton doctor --cluster orders --format sarif --fix --yes").is_ok());
        for line in ["baton status orders --format sarif", "baton doctor orders --yes"] {
            assert_eq!(read(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn json_is_short_for_the_format() {
        assert_eq!(read("baton status --json").expect("parses").global.format(), Format::Json);
        assert_eq!(read("baton status --format tsv").expect("parses").global.format(), Format::Tsv);
    }
}
