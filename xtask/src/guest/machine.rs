//! The guest as a machine: what QEMU runs, and the three ways to it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use baton_sandbox::machine::{Machine, Pid, Program};

use super::control::Control;
use super::image::Image;
use super::prober::{Answer, Prober, free_port};
use super::qmp::Monitor;
use super::wait::until;
use crate::output;

/// A running guest. It ends when it is dropped, and at the latest with this process.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) control: Control,
    pub(super) monitor: Monitor,
    pub(super) prober: Prober,
    /// The id of its first boot.
    pub(super) boot: String,
    /// What it has written to its console.
    pub(super) console: PathBuf,
    _machine: Machine,
}

/// Whether this machine can run another one as it is, without emulating its processor.
fn has_kvm() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// The port of the service in the guest.
const SERVICE: u16 = 7000;

/// How a guest's processor comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processor {
    /// This machine's own. As few of its features as a kernel needs, since not every KVM can pass all of them on.
    Kvm,
    /// By software. The guest's clocks then count the instructions that it has carried out, one for each nanosecond, and go with this
    /// machine's only while it waits: so it is slow by our clock, and by its own as quick as its timeouts expect.
    Emulated,
}

impl Processor {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm"],
            Self::Emulated => &["-accel", "tcg", "-cpu", "max", "-icount", "shift=0,sleep=on"],
        }
    }
}

/// How long a kernel's first words may take by KVM. Where they do not come, that KVM cannot run it.
const FIRST_WORDS: Duration = Duration::from_secs(30);

impl Guest {
    /// Boots it, by KVM if that is there and works.
    pub(super) fn boot(directory: &Path, image: &Image) -> Result<Self, Box<dyn Error>> {
        if !has_kvm() {
            output::note("/dev/kvm is not there: the guest is emulated, and slow");
            return Self::boot_by(Processor::Emulated, directory, image)?
                .ok_or_else(|| "it was not waited for".into());
        }
        match Self::boot_by(Processor::Kvm, directory, image) {
            Ok(Some(guest)) => return Ok(guest),
            Ok(None) => output::note(
                "/dev/kvm is there, and the kernel says nothing by it: the guest is emulated, and slow",
            ),
            Err(error) => output::note(&format!(
                "/dev/kvm is there and cannot be used ({error}): the guest is emulated, and slow"
            )),
        }
        Self::boot_by(Processor::Emulated, directory, image)?.ok_or_else(|| "it was not waited for".into())
    }

    /// Boots it so; nothing if the kernel says nothing.
    fn boot_by(
        processor: Processor,
        directory: &Path,
        image: &Image,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let (line, monitor) = (directory.join("line.sock"), directory.join("monitor.sock"));
        let (console, port, log) = (directory.join("console.log"), free_port()?, directory.join("qemu.log"));
        for old in [&line, &monitor, &console] {
            if old.exists() {
                std::fs::remove_file(old)?;
            }
        }
        let mut argv = vec!["qemu-system-x86_64".to_owned()];
        argv.extend(processor.words().iter().map(|&word| word.to_owned()));
        argv.extend(words(directory, image, port));
        let env = std::env::var("PATH").map(|path| ("PATH".to_owned(), path)).into_iter().collect();
        let machine = Machine::new("the guest")?;
        let pid = machine.spawn(&Program { argv, env, log: log.clone() })?;
        until("QEMU", || {
            is_alive(&machine, pid, &log)?;
            Ok((line.exists() && monitor.exists()).then_some(()))
        })?;
        let (mut control, monitor) = (Control::connect(&line)?, Monitor::connect(&monitor)?);
        if processor == Processor::Kvm {
            let begun = Instant::now();
            let speaks = until("the kernel's first words", || {
                is_alive(&machine, pid, &log)?;
                let speaks = std::fs::read(&console)?.windows(13).any(|words| words == b"Linux version");
                Ok((speaks || begun.elapsed() > FIRST_WORDS).then_some(speaks))
            })?;
            if !speaks {
                return Ok(None);
            }
        }
        let boot = control.ready()?;
        Ok(Some(Self { control, monitor, prober: Prober::start(port), boot, console, _machine: machine }))
    }

    /// Runs a script in it; that it fails is an error.
    pub(super) fn run(&mut self, script: &str) -> Result<String, Box<dyn Error>> {
        self.control.run(script)
    }

    /// A property of a unit, as systemd shows it.
    pub(super) fn property(&mut self, name: &str, unit: &str) -> Result<String, Box<dyn Error>> {
        self.run(&format!("systemctl show --property={name} --value {unit}"))
    }

    /// Waits for an answer that came to a client outside later than this.
    pub(super) fn until_served(&self, after: Instant) -> Result<Answer, Box<dyn Error>> {
        until("an answer of the service", || Ok(self.prober.last_after(after)))
    }

    /// Seconds that have passed by the guest's `CLOCK_BOOTTIME`.
    pub(super) fn uptime(&mut self) -> Result<f64, Box<dyn Error>> {
        Ok(self.run("cut -d' ' -f1 /proc/uptime")?.parse()?)
    }

    /// Seconds for which it was suspended since its boot, by its own count.
    pub(super) fn suspended(&mut self) -> Result<f64, Box<dyn Error>> {
        // CLOCK_BOOTTIME and CLOCK_MONOTONIC, of which only the first goes on in a suspension.
        let script = "perl -e 'sub t { my $t = \"\\0\" x 16; syscall(228, $_[0], $t); my ($s, $n) = unpack \"q q\", $t; $s + $n / 1e9 } \
            printf \"%.3f\", t(7) - t(1)'";
        Ok(self.run(script)?.parse()?)
    }

    /// What the service wrote down itself since a moment of the guest.
    pub(super) fn report(&mut self, since: f64) -> Result<Report, Box<dyn Error>> {
        let said = self.run(&format!("report {:.0}", since * 1e9))?;
        let words: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
        match words.as_slice() {
            [count, late, unconfirmed] => {
                Ok(Report { count: *count, late: Duration::from_nanos(*late), unconfirmed: *unconfirmed })
            }
            _ => Err(format!("expected three numbers of the witness, found `{said}`").into()),
        }
    }
}

/// What the service wrote down of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    /// How often it has looked.
    pub(super) count: u64,
    /// By how much it has run too long, at the worst.
    pub(super) late: Duration,
    /// How often it ran and was not allowed to.
    pub(super) unconfirmed: u64,
}

/// What QEMU is told besides.
fn words(directory: &Path, image: &Image, port: u16) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let socket = |name: &str| format!("unix:{},server=on,wait=off", directory.join(name).display());
    // A PC, since that can be suspended to memory.
    let fixed = ["-machine", "pc", "-m", "768", "-nodefaults", "-no-user-config", "-display", "none"];
    let boot = "root=/dev/vda rw console=ttyS0 panic=-1 systemd.journald.forward_to_console=1";
    let pairs = [
        ("-kernel", text(&image.kernel)),
        ("-initrd", text(&image.initrd)),
        ("-append", boot.to_owned()),
        ("-drive", format!("file={},format=raw,if=virtio,cache=unsafe", text(&image.disk))),
        ("-nic", format!("user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:{SERVICE}")),
        ("-serial", format!("file:{}", text(&directory.join("console.log")))),
        ("-serial", socket("line.sock")),
        ("-qmp", socket("monitor.sock")),
    ];
    let pairs = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    fixed.into_iter().map(str::to_owned).chain(pairs).collect()
}

fn is_alive(machine: &Machine, pid: Pid, log: &Path) -> Result<(), Box<dyn Error>> {
    match machine.status(pid)? {
        None => Ok(()),
        Some(status) => {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            Err(format!("QEMU ended with {status} instead of running the guest: {}", said.trim()).into())
        }
    }
}
