//! Tools that a bare machine lacks, installed below the target directory and nowhere else.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use baton_sandbox::venv::target_directory;

use crate::output;

/// `cargo-deny`, at the version its configuration was written for.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// A cargo command for `cargo deny`, installed first if this machine has none of the pinned version.
pub(crate) fn cargo_deny() -> Result<Command, Box<dyn Error>> {
    let (name, version) = CARGO_DENY;
    let root = target_directory().join("tools").join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.is_file() {
        output::note(&format!("installing {name} {version} into {} (minutes, once)", root.display()));
        let mut install = cargo();
        install.args(["install", "--locked", "--quiet", "--version", version, "--root"]).arg(&root).arg(name);
        run(&mut install)?;
    }
    Ok(Command::new(program))
}

/// The cargo that runs this command.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(program);
    command.current_dir(baton_sandbox::binaries::workspace());
    command
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed with {status}").into()) }
}
