//! What the kernel tells of a process: the processor time that it has used, and the memory that it holds.

use std::time::Duration;

use crate::Trouble;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// In user mode and in the kernel, of all its threads, those that have ended included.
    pub cpu: Duration,
    /// In MB (1,048,576 bytes): what of it is in memory at the moment.
    pub rss_mb: f64,
    /// Of that, what is its own, and not of the program's file.
    pub own_mb: f64,
    /// The most that ever was.
    pub peak_mb: f64,
}

/// Asks the kernel about a process.
pub fn usage(pid: u32) -> Result<Usage, Trouble> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.ok_or("no length of a tick")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let cpu = cpu_of(&stat, u64::try_from(ticks)?).ok_or("`/proc/PID/stat` does not say what is expected")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let megabytes = |name: &str| {
        let kilobytes = kilobytes_of(&status, name).ok_or("`/proc/PID/status` does not say what is expected");
        kilobytes.map(|kilobytes| kilobytes / 1024.0)
    };
    Ok(Usage {
        cpu,
        rss_mb: megabytes("VmRSS")?,
        own_mb: megabytes("RssAnon")?,
        peak_mb: megabytes("VmHWM")?,
    })
}

/// Fields 14 and 15, counted after the name, which may hold anything (proc_pid_stat(5)).
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_nanos((user + system).checked_mul(1_000_000_000)?.checked_div(ticks_per_second)?))
}

fn kilobytes_of(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 150 25 9 9 20 0 1 0 5";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_millis(1_750)));
        assert_eq!(cpu_of("7 (a) S 1", 100), None);
    }

    #[test]
    fn memory_is_told_in_kilobytes() {
        assert_eq!(kilobytes_of("VmHWM:\t  9 kB\nVmRSS:\t    1024 kB\n", "VmRSS"), Some(1024.0));
        assert_eq!(kilobytes_of("VmRSS:\t many\n", "VmRSS"), None);
    }

    #[test]
    fn this_process_can_be_asked() {
        let usage = usage(std::process::id()).expect("it runs");
        assert!(usage.rss_mb > 0.5 && usage.peak_mb >= usage.rss_mb, "{usage:?}");
    }
}
