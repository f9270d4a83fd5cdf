//! The clocks of the machine, read here and nowhere else in the agent.
//!
//! Safety rests on `CLOCK_BOOTTIME`, which goes on while the machine is suspended. `Instant` and the timers
//! of tokio stand on `CLOCK_MONOTONIC`, which does not: a validity or a time limit counted on them would
//! outlive itself by the length of a suspension. So whatever must not run late waits on a [`Timer`] of this
//! module.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_protocol::time::{BootTime, Now, WallTime};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use tokio::io::unix::AsyncFd;

/// This moment on both clocks.
pub fn now() -> Now {
    Now { boot: boot(), wall: wall() }
}

/// This moment on `CLOCK_BOOTTIME`.
pub fn boot() -> BootTime {
    let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let elapsed = Duration::from(read.expect("every Linux since 2.6.39 has CLOCK_BOOTTIME"));
    BootTime(nanoseconds(elapsed))
}

/// For how long this machine has been suspended since it booted: what `CLOCK_BOOTTIME` has counted and `CLOCK_MONOTONIC` has not.
pub fn suspended() -> Duration {
    let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let awake = Duration::from(read.expect("every Linux has CLOCK_MONOTONIC"));
    Duration::from_nanos(boot().0).saturating_sub(awake)
}

/// This moment by the wall clock; a clock set before 1970 reads as 1970.
pub fn wall() -> WallTime {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// When this machine has booted, by the wall clock of now.
pub fn booted() -> WallTime {
    WallTime(wall().0.saturating_sub(boot().0 / 1_000_000))
}

/// Waits until `at`, suspension included. Returns at once if `at` has passed.
pub async fn sleep_until(at: BootTime) -> io::Result<()> {
    Timer::at(at)?.expired().await
}

/// Blocks the calling thread until `at`, suspension included; for programs without a runtime.
pub fn block_until(at: BootTime) -> io::Result<()> {
    Ok(armed(at, TimerFlags::TFD_CLOEXEC)?.wait()?)
}

/// An armed timer on `CLOCK_BOOTTIME`. Made before the thing it limits, so that a machine without a free file
/// descriptor refuses to start something that it could not stop.
#[derive(Debug)]
pub struct Timer(AsyncFd<Descriptor>);

impl Timer {
    /// A timer that expires at `at`. Needs a tokio runtime.
    #[expect(
        deprecated,
        reason = "the successor is unsafe, asking for a descriptor that stays open; ours is owned"
    )]
    pub fn at(at: BootTime) -> io::Result<Self> {
        let timer = armed(at, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self(AsyncFd::new(Descriptor(timer))?))
    }

    /// A timer that expires after `length` from now.
    pub fn after(length: Duration) -> io::Result<Self> {
        Self::at(boot() + length)
    }

    /// Lets it expire at `at` instead, whether or not it has expired already.
    pub fn set(&mut self, at: BootTime) -> io::Result<()> {
        Ok(arm(&self.0.get_ref().0, at)?)
    }

    /// Resolves once the timer has expired, and again at once whenever it is asked later. Cancel-safe: the
    /// expiration stays in the descriptor, which is never read.
    pub async fn expired(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            // What the runtime knows may be of the moment that was set before. The kernel tells of the present one: one that is
            // still to come has time left, and its own expiration makes the descriptor readable anew.
            if self.0.get_ref().0.get()?.is_none() {
                ready.retain_ready();
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

/// A timer of the kernel, as the runtime takes one.
#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer for a moment that changes, of a loop that waits for it again and again: setting the one that is there costs the kernel a
/// quarter of what another one does.
#[derive(Debug, Default)]
pub struct Alarm(Option<(Timer, BootTime)>);

impl Alarm {
    /// Resolves once `due` has come; never for none. Cancel-safe.
    pub async fn until(&mut self, due: Option<BootTime>) -> io::Result<()> {
        let Some(due) = due else { return std::future::pending().await };
        let (timer, set_for) = match &mut self.0 {
            Some(there) => there,
            none => none.insert((Timer::at(due)?, due)),
        };
        if *set_for != due {
            timer.set(due)?;
            *set_for = due;
        }
        timer.expired().await
    }
}

fn armed(at: BootTime, flags: TimerFlags) -> nix::Result<TimerFd> {
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
    arm(&timer, at)?;
    Ok(timer)
}

fn arm(timer: &TimerFd, at: BootTime) -> nix::Result<()> {
    // Zero would disarm the timer instead of letting it expire at once.
    let at = TimeSpec::from_duration(Duration::from_nanos(at.0.max(1)));
    timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_agrees_with_the_kernels_own_account() {
        let before = boot();
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
        let seconds: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).expect("a number");
        let after = boot();
        let seconds_before = Duration::from_nanos(before.0).as_secs_f64() - 0.02;
        let seconds_after = Duration::from_nanos(after.0).as_secs_f64() + 0.02;
        assert!((seconds_before..=seconds_after).contains(&seconds), "{before:?} {uptime} {after:?}");
    }

    /// In a time namespace the one clock is ahead of the other, as after a suspension.
    #[test]
    fn a_suspension_is_what_one_clock_has_counted_and_the_other_has_not() {
        let look = |command: &mut std::process::Command| {
            command.arg(std::env::current_exe().expect("this test"));
            command.args(["--exact", "clock::tests::a_look_for_the_one_above"]).env("BATON_TEST_LOOK", "1");
            command.stdout(std::process::Stdio::null());
            command.status().expect("`unshare`, of util-linux").success()
        };
        let mut unshare = std::process::Command::new("unshare");
        assert!(look(unshare.args(["--map-root-user", "--time", "--boottime", "3000000"])));
    }

    /// Not a test by itself.
    #[test]
    fn a_look_for_the_one_above() {
        if std::env::var_os("BATON_TEST_LOOK").is_some() {
            let (before, boot) = (suspended(), boot());
            assert!(before >= Duration::from_secs(2_999_999) && boot >= BootTime(0) + before, "{before:?}");
            assert!(suspended().abs_diff(before) < Duration::from_secs(1), "it stands still while awake");
        }
    }

    #[tokio::test]
    async fn a_timer_waits_for_its_moment_and_stays_expired() {
        let at = boot() + Duration::from_millis(30);
        let timer = Timer::at(at).expect("a timer");
        for _ in 0..2 {
            timer.expired().await.expect("a readable timer");
            assert!(boot() >= at);
        }
    }

    #[tokio::test]
    async fn an_alarm_follows_a_moment_that_changes() {
        let mut alarm = Alarm::default();
        let now = boot();
        let (past, soon, far) = (now, now + Duration::from_millis(30), now + Duration::from_secs(3_600));
        for _ in 0..20 {
            // What has expired, and whose expiration the runtime knows, is not the expiration of what is set next.
            alarm.until(Some(past)).await.expect("a timer");
            let early = tokio::time::timeout(Duration::from_millis(2), alarm.until(Some(far))).await;
            assert!(early.is_err(), "an hour before its time");
            // Nor does what was waited for in vain stand in the way of what is nearer.
            alarm.until(Some(soon)).await.expect("a timer");
            assert!(boot() >= soon);
            alarm.until(Some(soon)).await.expect("it stays expired");
        }
        let never = tokio::time::timeout(Duration::from_millis(2), alarm.until(None)).await;
        assert!(never.is_err());
    }

    #[tokio::test]
    async fn a_moment_in_the_past_is_not_waited_for() {
        for past in [BootTime(0), boot()] {
            tokio::time::timeout(Duration::from_secs(5), sleep_until(past))
                .await
                .expect("at once")
                .expect("a timer");
        }
    }

    #[test]
    fn a_thread_can_wait_as_well() {
        let at = boot() + Duration::from_millis(20);
        block_until(at).expect("a timer");
        assert!(boot() >= at);
    }
}
