//! What of a machine is asked for by the configuration, which is refused where it is not there, and by the checks that use it.

use std::path::PathBuf;

/// Where the kernel tells what waited for a CPU (Linux, "PSI - Pressure Stall Information").
pub(crate) const CPU_PRESSURE: &str = "/proc/pressure/cpu";

/// Where distributions put it.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

/// The program that speaks to systemd, where this machine has it.
pub(crate) fn systemctl() -> Option<PathBuf> {
    SYSTEMCTL.map(PathBuf::from).into_iter().find(|path| path.exists())
}
