//! A small Debian in a directory, in which packages are installed as on a node.
//!
//! It is made once, by `debootstrap`, from where this machine's own apt gets its packages, and copied for each use. Programs
//! run in it by `chroot`. No process of it goes on, and systemd does not run in it: its tools read and write files there.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_sandbox::venv::target_directory;

use super::tally::want;
use crate::{output, tools};

/// What a root has beside the essential packages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// In the name of the directory that is copied.
    name: &'static str,
    packages: &'static str,
}

/// What packages are installed in, by programs that run in it.
const NODE: Kind = Kind { name: "", packages: "systemd,man-db" };

/// What boots by itself, with the kernel that Debian makes for the cloud.
pub(crate) const GUEST: Kind = Kind {
    name: "guest-",
    packages: "systemd,systemd-sysv,udev,kmod,iproute2,nftables,linux-image-cloud-amd64,initramfs-tools",
};

/// Written last into a directory that is complete.
const STAMP: &str = "baton-complete";

/// Where programs are looked for inside.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Stands before `systemctl` where its calls are to be seen.
const SHIM: &str = "/shim";

/// A root of its own.
#[derive(Debug)]
pub(crate) struct Root {
    directory: PathBuf,
}

impl Root {
    /// A fresh copy, with this name among the roots. One of an earlier run is removed.
    pub(super) fn fresh(name: &str) -> Result<Self, Box<dyn Error>> {
        Self::fresh_of(NODE, name)
    }

    /// The same of another kind.
    pub(crate) fn fresh_of(kind: Kind, name: &str) -> Result<Self, Box<dyn Error>> {
        let base = base(kind)?;
        let directory = base.with_file_name(name);
        remove(&directory)?;
        tools::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&base).arg(&directory))?;
        Ok(Self { directory })
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path of it, as seen from outside. `path` begins with a slash.
    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        self.directory.join(path.trim_start_matches('/'))
    }

    /// A command that runs inside.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.directory).args(["/usr/bin/env", "-i"]);
        let path = if self.outside(SHIM).exists() { format!("{SHIM}:{PATH}") } else { PATH.to_owned() };
        command.args([format!("PATH={path}"), "LC_ALL=C.UTF-8".to_owned()]);
        command.args(["DEBIAN_FRONTEND=noninteractive", "MANPAGER=cat"]).args(words);
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs a command inside and gives its output without the end of the line.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, Box<dyn Error>> {
        Ok(tools::said(&mut self.command(words))?.trim_end().to_owned())
    }

    /// What a command says, whatever its exit code.
    pub(super) fn ask(&self, words: &[&str]) -> Result<String, Box<dyn Error>> {
        let output = self.command(words).output()?;
        let both = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&both).trim_end().to_owned())
    }

    /// Whether there is something at this path, were it a link that leads nowhere.
    pub(super) fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.outside(path)).is_ok()
    }

    /// Writes a file that only root may change.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<(), Box<dyn Error>> {
        let path = self.outside(path);
        fs::create_dir_all(path.parent().ok_or("a file stands in a directory")?)?;
        fs::write(&path, text)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?)
    }

    /// Wants a file of root's with this mode.
    pub(super) fn want_file(&self, path: &str, mode: u32) -> Result<(), Box<dyn Error>> {
        let found = fs::metadata(self.outside(path)).map_err(|error| format!("{path}: {error}"))?;
        want(found.is_file(), &format!("{path} is no file"))?;
        want((found.uid(), found.gid()) == (0, 0), &format!("{path} is not root's"))?;
        let bits = found.mode() & 0o7777;
        want(bits == mode, &format!("{path} has mode {bits:o}, expected {mode:o}"))
    }

    /// From here on maintainer scripts see a systemd that runs, with the agent running under it, and what they ask of it is
    /// written down. `is-enabled` is answered by the real one, which reads files.
    pub(super) fn pretend_the_agent_runs(&self) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(self.outside("/run/systemd/system"))?;
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{SHIM}/calls\ncase \"$*\" in\n*is-active*) echo active ;;\n\
             *is-enabled* | *show* | *--version*) exec /usr/bin/systemctl \"$@\" ;;\nesac\n"
        );
        self.write(&format!("{SHIM}/systemctl"), &script)?;
        fs::set_permissions(self.outside(&format!("{SHIM}/systemctl")), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// What was asked of systemd since this was last asked for.
    pub(super) fn calls(&self) -> Result<String, Box<dyn Error>> {
        let path = self.outside(&format!("{SHIM}/calls"));
        let calls = fs::read_to_string(&path).unwrap_or_default();
        if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(calls)
    }

    /// The search path of maintainer scripts, for those who set one of their own.
    pub(super) fn script_path() -> String {
        format!("{SHIM}:{PATH}")
    }
}

/// The root that is copied, made if it is missing.
fn base(kind: Kind) -> Result<PathBuf, Box<dyn Error>> {
    if !tools::is_root() {
        return Err("only root can make a root of another system: run this as root".into());
    }
    tools::system("debootstrap", "debootstrap")?;
    let (mirror, release) = source()?;
    let directory =
        target_directory().join("roots").join(format!("{release}-{}{}", kind.name, std::env::consts::ARCH));
    if directory.join(STAMP).is_file() {
        return Ok(directory);
    }
    remove(&directory)?;
    fs::create_dir_all(directory.parent().ok_or("a root stands in a directory")?)?;
    output::note(&format!("making a root of {release} in {} (minutes, once)", directory.display()));
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={}", kind.packages), &release])
        .arg(&directory)
        .arg(&mirror);
    if let Some(proxy) = proxy() {
        make.env("http_proxy", proxy);
    }
    tools::said(&mut make)?;
    fs::write(directory.join(STAMP), "")?;
    Ok(directory)
}

/// Where this machine's apt gets Debian from, and which release.
fn source() -> Result<(String, String), Box<dyn Error>> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"]);
    let targets = tools::said(apt.arg("Created-By: Packages"))?;
    main_source(&targets).ok_or_else(|| {
        "expected that apt of this machine knows where Debian's `main` is; run `apt-get update` on a Debian".into()
    })
}

/// The first source of Debian's own packages that is a whole release: updates of one are no base.
fn main_source(targets: &str) -> Option<(String, String)> {
    targets.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [uri, release, "main", "Debian"] if !release.contains('-') => {
            Some(((*uri).to_owned(), (*release).to_owned()))
        }
        _ => None,
    })
}

/// The proxy that apt is told to use.
fn proxy() -> Option<String> {
    let mut apt = Command::new("apt-config");
    let said = tools::said(apt.args(["shell", "PROXY", "Acquire::http::Proxy"])).ok()?;
    let proxy = said.trim().strip_prefix("PROXY=")?.trim_matches('\'').to_owned();
    (!proxy.is_empty()).then_some(proxy)
}

/// Removes a root. Nothing is mounted in one.
fn remove(directory: &Path) -> Result<(), Box<dyn Error>> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", directory.display()).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_a_whole_release_of_debian() {
        let targets = "http://other.example/apt stable main Somebody\n\
                       http://mirror.example/debian-security/ bookworm-security main Debian\n\
                       http://mirror.example/debian/ bookworm-updates main Debian\n\
                       http://mirror.example/debian/ bookworm contrib Debian\n\
                       http://mirror.example/debian/ bookworm main Debian\n";
        let expected = ("http://mirror.example/debian/".to_owned(), "bookworm".to_owned());
        assert_eq!(main_source(targets), Some(expected));
        assert_eq!(main_source("http://other.example/apt stable main Somebody\n"), None);
    }
}
