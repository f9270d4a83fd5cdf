//! What is tried in the guest, one function each. Each gives what was seen beside what was wanted.

use std::error::Error;
use std::time::{Duration, Instant};

use super::image::{CONFIGURATION, PACKAGES};
use super::machine::{Guest, Report};
use super::wait::{pass, until};
use crate::package::EXPOSURE;
use crate::package::tally::{same, want};

/// What was seen.
pub(super) type Seen = Result<String, Box<dyn Error>>;

const AGENT: &str = "baton-agent.service";

/// Drop-ins until the next boot.
const DROP_INS: &str = "/run/systemd/system/baton-agent.service.d";

/// D with the default timing.
const STOP: Duration = Duration::from_millis(750);

/// Longer than the validity with the default timing, 4 s, and D.
const LONG: Duration = Duration::from_secs(10);

const KILL_DEAD_MAN: &str = "for it in /proc/[0-9]*; do [ \"$(cat $it/comm 2>/dev/null)\" = baton-deadman ] && \
    kill -KILL \"${it#/proc/}\"; done; true";

/// The debs, under the systemd that runs.
pub(super) fn install(guest: &mut Guest) -> Seen {
    guest.run(&format!("dpkg --install {PACKAGES}/*.deb"))?;
    same(&guest.control.ask(&format!("systemctl is-enabled {AGENT}"))?.1, "disabled")?;
    same(&guest.control.ask(&format!("systemctl is-active {AGENT}"))?.1, "inactive")?;
    guest.run("getent passwd baton-check")?;
    // Without a configuration a start is nothing that fails.
    guest.run(&format!("systemctl start {AGENT}"))?;
    same(&guest.property("ConditionResult", AGENT)?, "no")?;
    guest.run("dpkg-query --show --showformat='${Package} ${Version}; ' baton-agent baton")
}

/// Enabled and started as an operator does.
pub(super) fn unit(guest: &mut Guest) -> Seen {
    configure(guest, "off")?;
    guest.run("systemctl enable --quiet baton-fence.service")?;
    // A unit of this type is started once it has said that it is ready.
    guest.run(&format!("systemctl enable --quiet --now {AGENT}"))?;
    same(&guest.property("Type", AGENT)?, "notify")?;
    same(&guest.property("ActiveState", AGENT)?, "active")?;
    guest.until_served(Instant::now())?;
    same(&guest.property("ActiveState", "orders.service")?, "active")?;
    let serves = until("a status that says that it serves", || {
        let status = guest.property("StatusText", AGENT)?;
        Ok(status.contains("serv").then_some(status))
    })?;
    Ok(format!("its status: {serves}"))
}

/// The exposure of the unit as it runs, against the one that is published.
pub(super) fn exposure(guest: &mut Guest) -> Seen {
    let said = guest.run(&format!("systemd-analyze security --no-pager --threshold={EXPOSURE} {AGENT}"))?;
    let sum = said.lines().last().unwrap_or_default();
    want(sum.contains("exposure level"), sum)?;
    Ok(sum.trim_start_matches("→ ").to_owned())
}

/// A frozen agent is replaced by systemd; its service is adopted, or stopped in time.
pub(super) fn watchdog(guest: &mut Guest) -> Seen {
    begin(guest, "off", true)?;
    let (before, since) = (main_process(guest, AGENT)?, guest.uptime()?);
    let service = main_process(guest, "orders.service")?;
    let restarts: u32 = guest.property("NRestarts", AGENT)?.parse()?;
    guest.run(&format!("kill -STOP {before}"))?;
    until("another run of the agent", || {
        let now = guest.property("NRestarts", AGENT)?.parse::<u32>()?;
        Ok((now == restarts + 1 && main_process(guest, AGENT)? != "0").then_some(()))
    })?;
    let said = guest.run(&format!("journalctl --boot --quiet --no-pager --unit={AGENT}"))?;
    want(said.contains("Watchdog timeout"), "the journal tells of no watchdog")?;
    guest.until_served(Instant::now())?;
    let report = in_time(guest, since)?;
    let kept = main_process(guest, "orders.service")? == service;
    let came =
        if kept { "the service was adopted" } else { "the service was stopped in time and started anew" };
    Ok(format!("{came}; {}", told(report)))
}

/// An update under the systemd that runs.
pub(super) fn update(guest: &mut Guest) -> Seen {
    begin(guest, "off", true)?;
    let (agent, service) = (main_process(guest, AGENT)?, main_process(guest, "orders.service")?);
    let since = guest.uptime()?;
    guest.run(&format!("dpkg --install {PACKAGES}/baton-agent_*.deb"))?;
    guest.until_served(Instant::now())?;
    want(main_process(guest, AGENT)? != agent, "the agent was not restarted")?;
    same(&main_process(guest, "orders.service")?, &service)?;
    let report = in_time(guest, since)?;
    want(report.unconfirmed == 0, &format!("the service lost its permission; {}", told(report)))?;
    Ok(format!("the service ran on; {}", told(report)))
}

/// The packet fence, in a kernel with modules, while nobody stops the service.
pub(super) fn fence(guest: &mut Guest) -> Seen {
    begin(guest, "off", false)?;
    let (agent, since) = (main_process(guest, AGENT)?, guest.uptime()?);
    let rules = guest.run("nft list table inet baton_orders")?;
    want(rules.contains("drop"), &format!("the table drops nothing:\n{rules}"))?;
    guest.run(&format!("kill -STOP {agent}; {KILL_DEAD_MAN}"))?;
    // Each answer that comes meanwhile is looked at in the end.
    let report = until("a service that runs on", || {
        let report = guest.report(since)?;
        Ok((report.late > Duration::from_secs(2)).then_some(report))
    })?;
    same(&guest.property("ActiveState", "orders.service")?, "active")?;
    guest.run(&format!("kill -CONT {agent}"))?;
    guest.until_served(Instant::now())?;
    let modules =
        guest.run("cut -d' ' -f1 /proc/modules | grep '^nf\\?t_\\|^nf_tables' | sort | tr '\\n' ' '")?;
    Ok(format!(
        "the service ran on for {} ms and reached nobody; modules: {modules}",
        report.late.as_millis()
    ))
}

/// A suspension to memory that is longer than the validity.
pub(super) fn suspend(guest: &mut Guest) -> Seen {
    begin(guest, "off", true)?;
    let states = guest.run("cat /sys/power/mem_sleep")?;
    want(states.contains("[deep]"), &format!("the guest cannot be suspended to memory: {states}"))?;
    let (mark, before, suspended) = (guest.monitor.mark(), guest.uptime()?, guest.suspended()?);
    // Later than its answer, which would otherwise be cut in two.
    guest.run("setsid --fork sh -c 'sleep 1; exec systemctl suspend' >/dev/null 2>&1")?;
    guest.monitor.event("SUSPEND", mark)?;
    let asleep = Instant::now();
    pass(LONG);
    guest.monitor.order("system_wakeup")?;
    guest.monitor.event("WAKEUP", mark)?;
    let slept = asleep.elapsed();
    // Before anything else is asked of it, so that the very first answers are seen.
    let first = guest.until_served(asleep)?;
    let (slept, counted) = (slept.as_secs_f64(), guest.suspended()? - suspended);
    want(
        (slept - counted).abs() < 2.0,
        &format!("suspended for {slept:.1} s, and the guest counted {counted:.1}"),
    )?;
    want(first.is_confirmed(), "the first answer after the wake-up was given without a confirmed lease")?;
    let report = guest.report(before)?;
    let tells = format!(
        "journalctl --boot --quiet --no-pager --unit={AGENT} | grep -o -m1 'this machine was suspended'"
    );
    let tells = guest.run(&tells)?;
    Ok(format!(
        "suspended for {slept:.1} s; the service ran at most {} ms after its validity and answered nobody; the agent tells: {tells}",
        report.late.as_millis()
    ))
}

/// What a hypervisor does that stops the machine for longer than the validity.
pub(super) fn freeze(guest: &mut Guest) -> Seen {
    begin(guest, "off", true)?;
    let clock = guest.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    let before = guest.uptime()?;
    guest.monitor.order("stop")?;
    pass(LONG);
    guest.monitor.order("cont")?;
    let thawed = Instant::now();
    let hidden = LONG.as_secs_f64() - (guest.uptime()? - before);
    let first = guest.until_served(thawed)?;
    let after = first.at.duration_since(thawed).as_millis();
    let report = in_time(guest, before)?;
    if hidden < 1.0 {
        return Ok(format!(
            "by {clock} the guest counted the pause; the first answer came {after} ms after it; {}",
            told(report)
        ));
    }
    // By its own clock everything is in time, and nothing else can be held against it.
    want(first.is_confirmed(), "not even by the guest's own clock was the first answer confirmed")?;
    Ok(format!(
        "at least {hidden:.1} s were hidden from the guest's clock ({clock}), and {after} ms after them it answered by a lease that was \
         confirmed before them: a hidden pause beyond the stated bound is not covered, as is said"
    ))
}

/// The kernel's watchdog, where nobody else can stop the service, and the boot after it.
pub(super) fn softdog(guest: &mut Guest) -> Seen {
    guest.run("modprobe softdog && echo softdog >/etc/modules-load.d/softdog.conf")?;
    guest.run(
        "install -D -m 644 /usr/share/doc/baton-agent/watchdog.conf /etc/systemd/system/baton-agent.service.d/watchdog.conf",
    )?;
    begin(guest, "required", false)?;
    same(&guest.run("cat /sys/class/watchdog/watchdog0/identity")?, "Software Watchdog")?;
    same(&guest.run("cat /sys/class/watchdog/watchdog0/state")?, "active")?;
    // Somebody's mistake: it is started at boot whoever holds the lease.
    guest.run("systemctl enable --quiet orders.service && sync")?;
    let (agent, mark) = (main_process(guest, AGENT)?, guest.monitor.mark());
    let frozen = Instant::now();
    guest.run(&format!("kill -STOP {agent}; {KILL_DEAD_MAN}"))?;
    guest.monitor.event("RESET", mark)?;
    let reset = frozen.elapsed();
    let boot = guest.control.ready()?;
    want(boot != guest.boot, "the guest says it is up, by the boot before")?;
    let served = guest.until_served(Instant::now())?;
    same(&served.boot, &boot)?;
    let early = guest.prober.answers().iter().filter(|it| it.boot == boot && !it.is_confirmed()).count();
    want(early == 0, &format!("{early} answers after the boot were given without a confirmed lease"))?;
    let report = guest.report(0.0)?;
    want(
        report.unconfirmed > 0,
        "the service was not started by mistake at boot, so the fence had nothing to cut",
    )?;
    guest.run("systemctl is-active --quiet baton-fence.service")?;
    guest.run("systemctl disable --quiet orders.service")?;
    Ok(format!(
        "reset {:.1} s after the freeze by our clock; after it the service ran unasked {} times and answered nobody before W and R",
        reset.as_secs_f64(),
        report.unconfirmed
    ))
}

/// The end of the package, under the systemd that runs.
pub(super) fn purge(guest: &mut Guest) -> Seen {
    begin(guest, "required", true)?;
    guest.run("dpkg --purge baton-agent baton")?;
    same(&guest.control.ask("systemctl is-active orders.service")?.1, "inactive")?;
    same(&guest.run("nft list tables")?, "")?;
    same(&guest.run("cat /sys/class/watchdog/watchdog0/state")?, "inactive")?;
    guest.run("test ! -e /run/baton && test -e /etc/baton/agent.toml")?;
    Ok("the service was stopped in order, no fence and no countdown are left".to_owned())
}

/// Brings everything back to where the service is served, with this watchdog of the kernel, and with systemd's or without.
fn begin(guest: &mut Guest, watchdog: &str, systemd_watches: bool) -> Result<(), Box<dyn Error>> {
    configure(guest, watchdog)?;
    let drop_in = if systemd_watches { "" } else { "WatchdogSec=0" };
    guest.run(&format!(
        "mkdir -p {DROP_INS} && printf '[Service]\\n{drop_in}\\n' >{DROP_INS}/watchdog-of-systemd.conf && \
         systemctl daemon-reload && systemctl restart {AGENT}"
    ))?;
    guest.until_served(Instant::now())?;
    Ok(())
}

fn configure(guest: &mut Guest, watchdog: &str) -> Result<(), Box<dyn Error>> {
    guest.run(&format!(
        "mkdir -p /etc/baton && cat >/etc/baton/agent.toml <<'END'\nwatchdog = \"{watchdog}\"\n{CONFIGURATION}END"
    ))?;
    Ok(())
}

fn main_process(guest: &mut Guest, unit: &str) -> Result<String, Box<dyn Error>> {
    guest.property("MainPID", unit)
}

/// The service, by what it wrote down itself, ran no longer than its validity and D.
fn in_time(guest: &mut Guest, since: f64) -> Result<Report, Box<dyn Error>> {
    let report = guest.report(since)?;
    want(report.count > 0, "the service wrote nothing down")?;
    want(report.late <= STOP, &format!("the service ran on beyond D; {}", told(report)))?;
    Ok(report)
}

fn told(report: Report) -> String {
    format!("at most {} ms after its validity", report.late.as_millis())
}
