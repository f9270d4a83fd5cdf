//! What the configuration names on this machine: commands that are there, may be executed, and that nobody
//! else may change; users that exist.
//!
//! The agent usually runs as root, so whoever can change the file or a command it runs is root as well. Then
//! the file, each command, every directory above them and every symbolic link on the way must belong to root
//! and be writable by nobody else; a directory with the sticky bit is fine, because there nobody can replace what belongs to another.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, User, access};
use toml::Spanned;

use super::diagnostic::{Problem, Source};
use super::semantic::{Asked, Checked};
use crate::machine;

/// Who asks, and what is to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    /// Whether the commands and users are looked for on this machine at all.
    pub present: bool,
    /// Whether the agent runs as root, so that the permissions of others matter.
    pub root: bool,
}

impl Environment {
    /// This machine, for the user of this process.
    pub fn here() -> Self {
        Self { present: true, root: Uid::effective().is_root() }
    }

    /// No machine: the text is all that counts.
    pub fn none() -> Self {
        Self { present: false, root: false }
    }
}

const HOW_TO_TRUST: &str = "`chown root` and `chmod go-w` it and the directories above it; the agent runs as \
                            root, and so would whoever can change it";

/// As many symbolic links as Linux follows in one path.
const LINKS_MOST: u32 = 40;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;

/// Checks what the file names. `path` is the file itself.
pub(super) fn check(
    name: &str,
    text: &str,
    path: &Path,
    checked: &Checked,
    environment: &Environment,
) -> Vec<Problem> {
    if !environment.present {
        return Vec::new();
    }
    let source = Source::new(name, text);
    let mut problems = Vec::new();
    if environment.root {
        problems.extend(unsafe_to_trust(path).map(|reason| {
            let message = format!("the configuration cannot be trusted: {reason}");
            let problem = Problem::new(&source, 0..0, "config::permissions", message);
            problem.label("this file").help(HOW_TO_TRUST)
        }));
    }
    for program in &checked.programs {
        problems.extend(unusable(&source, program.span(), program.get_ref(), environment.root));
    }
    problems.extend(checked.asked.iter().filter_map(|asked| unanswerable(&source, asked)));
    for user in &checked.users {
        if !matches!(User::from_name(user.get_ref()), Ok(Some(_))) {
            let message = format!("there is no user `{}` on this machine", user.get_ref());
            problems.push(
                Problem::new(&source, user.span(), "config::check::user", message)
                    .label("unknown")
                    .help("create the user, or leave `user` out to run the check as the agent's own"),
            );
        }
    }
    problems
}

fn unusable(source: &Source, span: Range<usize>, program: &Path, root: bool) -> Option<Problem> {
    let shown = program.display();
    let file = match fs::metadata(program) {
        Ok(file) => file,
        Err(error) => {
            let message = format!("cannot look at the command `{shown}`: {error}");
            return Some(
                Problem::new(source, span, "config::command::missing", message)
                    .label("not found")
                    .help("install it, or correct the path"),
            );
        }
    };
    let executable = file.is_file()
        && file.permissions().mode() & 0o111 != 0
        && access(program, AccessFlags::X_OK).is_ok();
    if !executable {
        let message = format!("the command `{shown}` cannot be executed");
        return Some(
            Problem::new(source, span, "config::command::not-executable", message)
                .label("not executable")
                .help(format!("`chmod +x {shown}`")),
        );
    }
    let reason = if root { unsafe_to_trust(program)? } else { return None };
    let message = format!("the command cannot be trusted: {reason}");
    Some(
        Problem::new(source, span, "config::command::permissions", message)
            .label("would run as root")
            .help(HOW_TO_TRUST),
    )
}

/// Why somebody other than root could change what is found at this path; `None` if nobody can. Whoever may replace a symbolic
/// link on the way decides what is found, so everything that the system goes through is looked at, and not only the end.
fn unsafe_to_trust(path: &Path) -> Option<String> {
    let path = match std::path::absolute(path) {
        Ok(path) => path,
        Err(error) => return Some(format!("cannot tell where `{}` is: {error}", path.display())),
    };
    let mut ahead: VecDeque<OsString> = names(&path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    loop {
        let shown = here.display();
        let file = match fs::symlink_metadata(&here) {
            Ok(file) => file,
            Err(error) => return Some(format!("cannot look at `{shown}`: {error}")),
        };
        let mode = file.permissions().mode();
        if file.uid() != 0 {
            return Some(format!("`{shown}` belongs to user {}", file.uid()));
        }
        if file.is_symlink() {
            links += 1;
            let target = match fs::read_link(&here) {
                Ok(target) if links <= LINKS_MOST => target,
                Ok(_) => return Some(format!("`{shown}` is one of too many links in a row")),
                Err(error) => return Some(format!("cannot read the link `{shown}`: {error}")),
            };
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                ahead.push_front(name);
            }
        } else if !(file.is_dir() && mode & STICKY != 0) && is_writable_by_others(&file) {
            return Some(format!("`{shown}` may be written by others (mode {:04o})", mode & 0o7777));
        }
        match ahead.pop_front() {
            None => return None,
            Some(name) if name == ".." => {
                here.pop();
            }
            Some(name) => here.push(name),
        }
    }
}

fn is_writable_by_others(file: &fs::Metadata) -> bool {
    let mode = file.permissions().mode();
    mode & WRITABLE_BY_ALL != 0 || (mode & WRITABLE_BY_GROUP != 0 && file.gid() != 0)
}

/// What a path names one after the other, without the root.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    named.collect()
}

/// Why this machine cannot answer what a check asks; `None` if it can.
fn unanswerable(source: &Source, asked: &Spanned<Asked>) -> Option<Problem> {
    match asked.get_ref() {
        Asked::Units => machine::systemctl().is_none().then(|| {
            let message = "there is no `systemctl` on this machine".to_owned();
            Problem::new(source, asked.span(), "config::check::systemd", message)
                .label("asks systemd")
                .help("look for the process instead: `process = { pid-file = \"...\" }`")
        }),
        Asked::CpuPressure => fs::read_to_string(machine::CPU_PRESSURE).err().map(|error| {
            let message = format!("cannot read `{}`: {error}", machine::CPU_PRESSURE);
            Problem::new(source, asked.span(), "config::check::cpu", message)
                .label("not told by this kernel")
                .help("start the kernel with `psi=1`, or use `load = { per-cpu-at-most = 4 }`")
        }),
    }
}
