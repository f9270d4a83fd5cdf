//! What a check tries: exactly one kind, and what belongs to it.

use toml::Spanned;

use super::{Asked, Rules, raw};
use crate::config::{Percent, Probe, User};

/// The kernel keeps so much of a process's name (`TASK_COMM_LEN` of Linux, without its zero).
const COMMAND_NAME_LONGEST: usize = 15;
/// The kinds of checks, as they are written.
const KINDS: &str = "`tcp`, `http`, `script`, `systemd`, `process`, `memory`, `disk`, `cpu` and `load`";

impl Rules {
    pub(super) fn probe(&mut self, name: &Spanned<String>, raw: raw::Check) -> Option<Probe> {
        let kinds = [
            ("tcp", raw.tcp.as_ref().map(Spanned::span)),
            ("http", raw.http.as_ref().map(Spanned::span)),
            ("script", raw.script.as_ref().map(Spanned::span)),
            ("systemd", raw.systemd.as_ref().map(Spanned::span)),
            ("process", raw.process.as_ref().map(Spanned::span)),
            ("memory", raw.memory.as_ref().map(Spanned::span)),
            ("disk", raw.disk.as_ref().map(Spanned::span)),
            ("cpu", raw.cpu.as_ref().map(Spanned::span)),
            ("load", raw.load.as_ref().map(Spanned::span)),
        ];
        let given = kinds.into_iter().filter_map(|(kind, span)| span.map(|span| (kind, span)));
        let given: Vec<_> = given.collect();
        if given.len() != 1 {
            let found: Vec<_> = given.iter().map(|(kind, _)| format!("`{kind}`")).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
            self.refuse(
                given.last().map_or_else(|| name.span(), |(_, span)| span.clone()),
                "config::check::kind",
                format!("expected exactly one of {KINDS} in a check, found {found}"),
                "in this check",
                "make one check of each: `[cluster.<name>.check.<another name>]`",
            );
            return None;
        }
        let remote = raw.tcp.map(|tcp| self.tcp(&tcp.get_ref().address));
        let remote = remote.or_else(|| raw.http.map(|http| self.http(http.get_ref())));
        let remote = remote.or_else(|| raw.script.map(|script| self.script(script.into_inner())));
        let local = remote.or_else(|| raw.systemd.map(|systemd| self.systemd(&systemd)));
        let local = local.or_else(|| raw.process.map(|process| self.process(&process)));
        let local = local.or_else(|| raw.memory.map(|memory| self.memory(memory.get_ref())));
        let local = local.or_else(|| raw.disk.map(|disk| self.disk(disk.get_ref())));
        let local = local.or_else(|| raw.cpu.map(|cpu| self.cpu(&cpu)));
        local.or_else(|| raw.load.map(|load| self.load(load.get_ref()))).flatten()
    }

    fn script(&mut self, raw: raw::Script) -> Option<Probe> {
        let user = raw.user.map(|user| {
            self.users.push(user.clone());
            User(user.into_inner())
        });
        Some(Probe::Script { command: self.command(&raw.command)?, user, exit_codes: raw.exit_codes })
    }

    fn systemd(&mut self, raw: &Spanned<raw::Systemd>) -> Option<Probe> {
        let unit = self.unit(&raw.get_ref().unit)?;
        self.asked.push(Spanned::new(raw.span(), Asked::Units));
        Some(Probe::Systemd { unit })
    }

    fn process(&mut self, raw: &Spanned<raw::Process>) -> Option<Probe> {
        let span = raw.span();
        let raw::Process { pid_file, command_name } = raw.get_ref();
        if pid_file.is_none() && command_name.is_none() {
            self.refuse(
                span,
                "config::check::process",
                "expected `pid-file`, `command-name` or both, found neither",
                "which process",
                "`pid-file` for a daemon that writes one, `command-name` for one that is known by its name",
            );
            return None;
        }
        let path = pid_file.as_ref().map(|path| self.path(path, "pid-file"));
        let name = command_name.as_ref().map(|name| self.command_name(name));
        let (pid_file, command_name) = (transposed(path)?, transposed(name)?);
        Some(Probe::Process { pid_file, command_name })
    }

    fn command_name(&mut self, given: &Spanned<String>) -> Option<String> {
        let name = given.get_ref();
        let fits = (1..=COMMAND_NAME_LONGEST).contains(&name.len())
            && !name.chars().any(|c| c.is_control() || c == '/');
        if !fits {
            self.refuse(
                given.span(),
                "config::check::command-name",
                format!("expected the name of a process, found `{name}`"),
                "not a name the kernel keeps",
                format!(
                    "write the first {COMMAND_NAME_LONGEST} characters of the program's name, without its \
                         directory, as `ps -o comm` shows it"
                ),
            );
        }
        fits.then(|| name.clone())
    }

    fn memory(&mut self, raw: &raw::Memory) -> Option<Probe> {
        let available_at_least = self.percent(&raw.available_at_least, "available-at-least")?;
        Some(Probe::Memory { available_at_least })
    }

    fn disk(&mut self, raw: &raw::Disk) -> Option<Probe> {
        let path = self.path(&raw.path, "a file system");
        let free_at_least = self.percent(&raw.free_at_least, "free-at-least");
        Some(Probe::Disk { path: path?, free_at_least: free_at_least? })
    }

    fn cpu(&mut self, raw: &Spanned<raw::Cpu>) -> Option<Probe> {
        self.asked.push(Spanned::new(raw.span(), Asked::CpuPressure));
        let waiting_at_most = self.percent(&raw.get_ref().waiting_at_most, "waiting-at-most")?;
        Some(Probe::Cpu { waiting_at_most })
    }

    fn load(&mut self, raw: &raw::Load) -> Option<Probe> {
        let given = *raw.per_cpu_at_most.get_ref();
        if !(0.1..=1000.0).contains(&given) {
            self.refuse(
                raw.per_cpu_at_most.span(),
                "config::check::load",
                format!("expected `per-cpu-at-most` to be 0.1 to 1000, found {given}"),
                "out of range",
                "1 means that each CPU has just enough to do; write `4` to allow four times that",
            );
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 10 and 100,000")]
        let hundredths = (given * 100.0).round() as u64;
        Some(Probe::Load { per_cpu_at_most: hundredths })
    }

    fn percent(&mut self, given: &Spanned<String>, what: &str) -> Option<Percent> {
        let number = given.get_ref().strip_suffix('%').and_then(|text| text.trim_end().parse().ok());
        let percent = number.filter(|number| (1..=99).contains(number)).map(Percent);
        if percent.is_none() {
            self.refuse(
                given.span(),
                "config::check::percent",
                format!("expected `{what}` to be 1% to 99%, found `{}`", given.get_ref()),
                "not such a share",
                "write a whole number and the sign: `\"10%\"`",
            );
        }
        percent
    }
}

/// Nothing given is fine; something given and refused is not.
fn transposed<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(found) => found.map(Some),
    }
}
