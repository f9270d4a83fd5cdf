//! The measurement: how much an agent costs while it beats, how soon it is there, and how soon it lets go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_protocol::ids::ClusterName;
use baton_protocol::timing::{Durations, Timing};
use baton_sandbox::{Moto, Venv};
use serde::Serialize;

use crate::passage::Asked;
use crate::process::usage;
use crate::rig::{Rig, ended, named};
use crate::{Trouble, cli, rounded};

/// What is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs lie.
    pub programs: PathBuf,
    /// How many confirmed heartbeats the soak is long.
    pub beats: usize,
    /// How many clusters the agent of the soak is a member of.
    pub clusters: usize,
}

/// The least interval that a timing may have, so that a soak is short.
const HEARTBEAT_MS: u64 = 100;
/// How often the start and the release are measured.
const ROUNDS: usize = 5;
/// A tenth of the soak comes before memory is looked at first: connections are open by then and every path was taken.
const WARM_UP: usize = 10;

/// What the call of the AWS CLI takes of a processor of 2.6 GHz that nobody else is busy on; 474 to 518 were measured.
const AWS_CLI_MS: f64 = 500.0;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Confirmed heartbeats of the soak.
    pub beats: usize,
    /// Clusters of its agent.
    pub clusters: usize,
    /// The interval of its heartbeats.
    pub heartbeat_ms: u64,
    /// Processor time of the agent for each heartbeat, with all that belongs to one: reads, checks, the dead-man's file.
    pub cpu_ms_per_beat: f64,
    /// Memory at the end of the soak.
    pub rss_mb: f64,
    /// Of that, what is not of the program's file.
    pub rss_own_mb: f64,
    /// The most that it ever was.
    pub rss_peak_mb: f64,
    /// What memory has grown by since a tenth of the soak.
    pub rss_growth_mb: f64,
    /// The same as a share of what it was then.
    pub rss_growth: f64,
    /// The size of the program.
    pub binary_mb: f64,
    /// From the start of the program to its first confirmed heartbeat; the median.
    pub start_ms: f64,
    /// The longest of those.
    pub start_most_ms: f64,
    /// Processor time of one `aws ec2 describe-addresses`; the mean of the medians before the soak and after it.
    pub aws_cli_cpu_ms: f64,
    /// From the answer of the check that failed to the confirmed release, in heartbeats of the default timing; the longest.
    pub check_to_release_beats: f64,
    /// Requests to EC2 while the agent ran.
    pub ec2_calls: usize,
    /// Requests to the table for each heartbeat of the soak.
    pub table_requests_per_beat: f64,
    /// Requests to the instance metadata during the soak, for each minute.
    pub metadata_per_minute: f64,
    /// The agent against the AWS CLI.
    pub ratios: Ratios,
}

/// Figures of the agent as shares of the AWS CLI's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratios {
    /// Processor time of one heartbeat to that of one call.
    pub beat_to_aws_cli_cpu: f64,
    /// How many heartbeats cost what one call costs.
    pub beats_per_aws_cli_call: f64,
    /// The time to the first heartbeat to the processor time of one call.
    pub start_to_aws_cli_cpu: f64,
}

impl Report {
    /// What is beyond its limit, in words.
    pub fn beyond(&self) -> Vec<String> {
        let limits = [
            ("processor time of a heartbeat, ms", self.cpu_ms_per_beat, self.cpu_limit_ms()),
            ("memory, MB", self.rss_mb, 12.0),
            // Below this the kernel's own count of pages wavers.
            ("growth of memory, MB", self.rss_growth_mb, 0.5),
            ("size of the program, MB", self.binary_mb, 8.0),
            ("start to the first heartbeat, ms", self.start_ms, 100.0),
            ("calls to EC2", self.ec2_calls as f64, 0.0),
            // The write, and one read. What a soak begins and ends amid counts a little.
            ("requests to the table for a heartbeat", self.table_requests_per_beat, 2.2),
            ("check to release, heartbeats", self.check_to_release_beats, 1.0),
        ];
        let beyond = limits.into_iter().filter(|(_, found, most)| found > most);
        beyond.map(|(what, found, most)| format!("{what}: {found}, expected at most {most}")).collect()
    }

    /// A millisecond, and on a machine that is slower at the moment, by the same call of the AWS CLI, so much longer.
    fn cpu_limit_ms(&self) -> f64 {
        rounded((self.aws_cli_cpu_ms / AWS_CLI_MS).max(1.0), 3)
    }
}

/// Measures, and says what it does.
pub async fn measure(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report, Trouble> {
    let program = options.programs.join("baton-agent");
    let binary =
        std::fs::metadata(&program).map_err(|error| format!("{}: {error}", program.display()))?.len();
    let venv = Venv::with_aws_cli(progress)?;
    let moto = Moto::start()?;
    progress("a call of the AWS CLI");
    let cli_before = milliseconds(cli::describe_addresses(&venv, &moto)?);
    let around = Rig::start(program, moto).await?;
    let calls_before = around.moto.calls()?.len();
    progress("starts");
    let starts = around.starts().await?;
    progress(&format!("a soak of {} heartbeats in {} clusters", options.beats, options.clusters));
    let soak = around.soak(options).await?;
    progress("checks that fail");
    let release = around.releases().await?;
    let ec2_calls = around.moto.calls()?.len() - calls_before;
    progress("a call of the AWS CLI once more");
    // What else the machine does may have changed meanwhile.
    let aws_cli = f64::midpoint(cli_before, milliseconds(cli::describe_addresses(&venv, &around.moto)?));
    let start = starts[starts.len() / 2];
    Ok(Report {
        beats: soak.beats,
        clusters: options.clusters,
        heartbeat_ms: HEARTBEAT_MS,
        cpu_ms_per_beat: rounded(soak.cpu_ms_per_beat, 3),
        rss_mb: rounded(soak.rss_mb, 2),
        rss_own_mb: rounded(soak.own_mb, 2),
        rss_peak_mb: rounded(soak.peak_mb, 2),
        rss_growth_mb: rounded(soak.rss_mb - soak.rss_before_mb, 2),
        rss_growth: rounded(soak.rss_mb / soak.rss_before_mb - 1.0, 4),
        binary_mb: rounded(binary as f64 / 1_000_000.0, 2),
        start_ms: rounded(start, 1),
        start_most_ms: rounded(starts[starts.len() - 1], 1),
        aws_cli_cpu_ms: rounded(aws_cli, 1),
        check_to_release_beats: rounded(release, 3),
        ec2_calls,
        table_requests_per_beat: rounded(soak.table_requests_per_beat, 2),
        metadata_per_minute: rounded(soak.metadata_per_minute, 1),
        ratios: Ratios {
            beat_to_aws_cli_cpu: rounded(soak.cpu_ms_per_beat / aws_cli, 6),
            beats_per_aws_cli_call: rounded(aws_cli / soak.cpu_ms_per_beat, 0),
            start_to_aws_cli_cpu: rounded(start / aws_cli, 4),
        },
    })
}

/// What a soak has shown.
struct Soak {
    beats: usize,
    cpu_ms_per_beat: f64,
    rss_before_mb: f64,
    rss_mb: f64,
    own_mb: f64,
    peak_mb: f64,
    table_requests_per_beat: f64,
    metadata_per_minute: f64,
}

impl Rig {
    /// From the start of the program to its first confirmed heartbeat, in order.
    async fn starts(&self) -> Result<Vec<f64>, Trouble> {
        let cluster = named("start", 0)?;
        self.table.register(&cluster, Timing::DEFAULT).await?;
        let mut all = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let agent = self.agent(std::slice::from_ref(&cluster), Duration::from_secs(2))?;
            let first =
                self.until("the first heartbeat", || self.passage.first_since(Asked::Beat, begun)).await?;
            all.push(milliseconds(first - begun));
            ended(agent).await?;
        }
        all.sort_by(f64::total_cmp);
        Ok(all)
    }

    async fn soak(&self, options: &Options) -> Result<Soak, Trouble> {
        let durations = Durations { heartbeat_ms: HEARTBEAT_MS, ..Timing::DEFAULT.durations() };
        let timing = Timing::new(durations)?;
        let clusters: Vec<_> = (0..options.clusters).map(|n| named("soak", n)).collect::<Result<_, _>>()?;
        for cluster in &clusters {
            self.table.register(cluster, timing).await?;
        }
        // Of each two heartbeats one is about a new try, as with the default timing and the default interval of checks.
        let agent = self.agent(&clusters, Duration::from_millis(2 * HEARTBEAT_MS))?;
        let pid = agent.id().ok_or("the agent has ended")?;
        for cluster in &clusters {
            self.table.grant(cluster).await?;
        }
        let from = self.passage.beats();
        self.until_beats(from + options.beats / WARM_UP).await?;
        let (asked_before, begun) = (self.metadata.asked(), Instant::now());
        let (before, beats_before) = (usage(pid)?, self.passage.beats());
        let requests_before = self.passage.requests();
        self.until_beats(from + options.beats).await?;
        let (after, beats) = (usage(pid)?, self.passage.beats());
        let requests = self.passage.requests() - requests_before;
        let asked = self.metadata.asked() - asked_before;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        ended(agent).await?;
        Ok(Soak {
            beats: beats - from,
            cpu_ms_per_beat: milliseconds(after.cpu.saturating_sub(before.cpu))
                / (beats - beats_before) as f64,
            rss_before_mb: before.rss_mb,
            rss_mb: after.rss_mb,
            own_mb: after.own_mb,
            peak_mb: after.peak_mb,
            table_requests_per_beat: requests as f64 / (beats - beats_before) as f64,
            metadata_per_minute: asked as f64 / minutes,
        })
    }

    /// The longest time from a check that failed to the release, in heartbeats. Each round has a cluster of its own.
    async fn releases(&self) -> Result<f64, Trouble> {
        let mut longest: f64 = 0.0;
        for round in 0..ROUNDS {
            let cluster = named("release", round)?;
            self.table.register(&cluster, Timing::DEFAULT).await?;
            self.service.set_sick(false);
            let agent = self.agent(std::slice::from_ref(&cluster), Duration::from_secs(1))?;
            let found = tokio::select! {
                () = self.table.standby_beats(&cluster) => return Err("the standby has ended".into()),
                found = self.release(&cluster) => found?,
            };
            ended(agent).await?;
            longest = longest.max(found.as_secs_f64() / Timing::DEFAULT.heartbeat().as_secs_f64());
        }
        Ok(longest)
    }

    async fn release(&self, cluster: &ClusterName) -> Result<Duration, Trouble> {
        self.table.grant(cluster).await?;
        // A holder that has seen its standby beat twice knows that somebody could take over.
        let seq = self.table.until("a heartbeat", cluster, |_| true).await?.seq.0;
        self.table.until("three more heartbeats", cluster, |found| found.seq.0 >= seq + 3).await?;
        self.service.set_sick(true);
        let failed = self.until("a check that fails", || self.service.first_failure()).await?;
        let release = self.until("the release", || self.passage.first_since(Asked::Release, failed)).await?;
        Ok(release - failed)
    }
}

fn milliseconds(length: Duration) -> f64 {
    length.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            beats: 10_000,
            clusters: 1,
            heartbeat_ms: 100,
            cpu_ms_per_beat: 1.0,
            rss_mb: 12.0,
            rss_own_mb: 5.0,
            rss_peak_mb: 13.0,
            rss_growth_mb: 0.5,
            rss_growth: 0.0,
            binary_mb: 8.0,
            start_ms: 100.0,
            start_most_ms: 200.0,
            aws_cli_cpu_ms: 400.0,
            check_to_release_beats: 1.0,
            ec2_calls: 0,
            table_requests_per_beat: 2.2,
            metadata_per_minute: 36.0,
            ratios: Ratios {
                beat_to_aws_cli_cpu: 0.0025,
                beats_per_aws_cli_call: 400.0,
                start_to_aws_cli_cpu: 0.25,
            },
        }
    }

    #[test]
    fn each_figure_has_a_limit_that_it_may_reach_and_not_exceed() {
        assert_eq!(report().beyond(), [""; 0]);
        let slow = Report { cpu_ms_per_beat: 1.8, aws_cli_cpu_ms: 900.0, ..report() };
        assert_eq!(slow.beyond(), [""; 0], "the machine is slow, and not the agent");
        for broken in [
            Report { cpu_ms_per_beat: 1.001, ..report() },
            Report { cpu_ms_per_beat: 1.801, aws_cli_cpu_ms: 900.0, ..report() },
            Report { rss_mb: 12.01, ..report() },
            Report { rss_growth_mb: 0.51, ..report() },
            Report { binary_mb: 8.01, ..report() },
            Report { start_ms: 100.1, ..report() },
            Report { ec2_calls: 1, ..report() },
            Report { table_requests_per_beat: 2.21, ..report() },
            Report { check_to_release_beats: 1.001, ..report() },
        ] {
            assert_eq!(broken.beyond().len(), 1, "{broken:?}");
        }
    }
}
