//! What the configuration names on this machine: commands that are there, may be executed, and that nobody
//! else may change; users that exist.
//!
//! The agent usually runs as root, so whoever can change the file or a command it runs is root as well. Then
//! the file, each command, and every directory above them must belong to root and be writable by nobody else;
//! a directory with the sticky bit is fine, because there nobody can replace what belongs to another.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, User, access};

use super::diagnostic::{Problem, Source};
use super::semantic::Checked;

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

/// Why somebody other than root could change what is at this path; `None` if nobody can.
fn unsafe_to_trust(path: &Path) -> Option<String> {
    let whole: PathBuf = match path.canonicalize() {
        Ok(whole) => whole,
        Err(error) => return Some(format!("cannot look at `{}`: {error}", path.display())),
    };
    whole.ancestors().find_map(|part| {
        let shown = part.display();
        let file = match fs::symlink_metadata(part) {
            Ok(file) => file,
            Err(error) => return Some(format!("cannot look at `{shown}`: {error}")),
        };
        let mode = file.permissions().mode();
        if file.uid() != 0 {
            return Some(format!("`{shown}` belongs to user {}", file.uid()));
        }
        if file.is_dir() && mode & STICKY != 0 {
            return None;
        }
        if mode & WRITABLE_BY_ALL != 0 || (mode & WRITABLE_BY_GROUP != 0 && file.gid() != 0) {
            return Some(format!("`{shown}` may be written by others (mode {:04o})", mode & 0o7777));
        }
        None
    })
}
