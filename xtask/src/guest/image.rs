//! What the guest boots: a small Debian in one file, with its kernel beside it.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::package::root::{GUEST, Root};
use crate::{output, tools};

/// Where the guest finds the packages.
pub(super) const PACKAGES: &str = "/var/tmp/packages";

/// The agent's configuration, without the watchdog's line.
pub(super) const CONFIGURATION: &str = include_str!("inside/agent.toml");

/// The address that QEMU gives this machine in the guest's network.
pub(super) const HOST: &str = "10.0.2.2";

/// Files that are put into the root, each with its mode.
const FILES: [(&str, u32, &str); 9] = [
    ("/etc/hostname", 0o644, "guest\n"),
    ("/etc/fstab", 0o644, "/dev/vda / ext4 defaults 0 1\n"),
    (
        "/etc/systemd/network/10-guest.network",
        0o644,
        "[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n",
    ),
    // What the agent allows for with the default timing. Loaded by who uses it, so that no other row depends on it.
    ("/etc/modprobe.d/softdog.conf", 0o644, "options softdog soft_margin=3\n"),
    ("/usr/local/sbin/control", 0o755, include_str!("inside/control.sh")),
    ("/usr/local/sbin/witness", 0o755, include_str!("inside/witness.pl")),
    ("/usr/local/sbin/report", 0o755, include_str!("inside/report.pl")),
    ("/etc/systemd/system/control.service", 0o644, include_str!("inside/control.service")),
    ("/etc/systemd/system/orders.service", 0o644, include_str!("inside/witness.service")),
];

/// A kernel, what it begins with, and its disk.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) disk: PathBuf,
}

/// Makes a fresh one, of a root that is made once. The packages lie in it and are not installed.
pub(super) fn make(directory: &Path, packages: &[PathBuf]) -> Result<Image, Box<dyn Error>> {
    let root = Root::fresh_of(GUEST, "guest")?;
    for (path, mode, text) in FILES {
        root.write(path, text)?;
        fs::set_permissions(root.outside(path), fs::Permissions::from_mode(mode))?;
    }
    fs::create_dir_all(root.outside(PACKAGES))?;
    for package in packages {
        let name = package.file_name().ok_or("a package has a name")?;
        fs::copy(package, root.outside(PACKAGES).join(name))?;
    }
    // Kept over boots, so that a failure can be looked at.
    fs::create_dir_all(root.outside("/var/log/journal"))?;
    root.run(&["systemctl", "--root=/", "enable", "systemd-networkd.service", "control.service"])?;
    let disk = directory.join("disk");
    output::note("making the disk of the guest");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-d"]).arg(root.directory()).arg(&disk).arg("3G");
    tools::said(&mut make)?;
    let boot = root.outside("/boot");
    let [kernel, initrd] = [("vmlinuz", "vmlinuz-"), ("initrd", "initrd.img-")].map(|(to, begin)| {
        let (found, to) = (only(&boot, begin)?, directory.join(to));
        fs::copy(found, &to)?;
        Ok::<_, Box<dyn Error>>(to)
    });
    Ok(Image { kernel: kernel?, initrd: initrd?, disk })
}

fn only(directory: &Path, begin: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut found = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin));
    found.find(is_it).ok_or_else(|| {
        let place = directory.display();
        format!("expected a file {begin}… in {place}, found none; remove the root in target/roots and run this again").into()
    })
}
