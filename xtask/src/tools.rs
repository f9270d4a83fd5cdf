//! Tools that a bare machine lacks, installed below the target directory and nowhere else.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use baton_sandbox::venv::target_directory;

use crate::output;

/// A program that cargo installs, at the version its configuration was written for.
struct Tool {
    name: &'static str,
    version: &'static str,
}

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };
const GENERATE_RPM: Tool = Tool { name: "cargo-generate-rpm", version: "0.21.1" };

/// A command for `cargo deny`.
pub(crate) fn cargo_deny() -> Result<Command, Box<dyn Error>> {
    installed(&DENY, &[])
}

/// A command for `cargo deb`.
pub(crate) fn cargo_deb() -> Result<Command, Box<dyn Error>> {
    installed(&DEB, DEVELOPMENT)
}

/// A command for `cargo generate-rpm`.
pub(crate) fn cargo_generate_rpm() -> Result<Command, Box<dyn Error>> {
    installed(&GENERATE_RPM, DEVELOPMENT)
}

/// For tools that run for seconds: a quick build saves more than a quick program.
const DEVELOPMENT: &[&str] = &["--debug"];

/// A command for this tool, installed first if this machine has none of the pinned version.
fn installed(tool: &Tool, how: &[&str]) -> Result<Command, Box<dyn Error>> {
    let Tool { name, version } = tool;
    let root = target_directory().join("tools").join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.is_file() {
        output::note(&format!("installing {name} {version} into {} (minutes, once)", root.display()));
        let mut install = cargo();
        install.args(["install", "--locked", "--quiet", "--version", version, "--root"]).arg(&root);
        run(install.args(how).arg(name))?;
    }
    Ok(Command::new(program))
}

/// The cargo that runs this command.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(program);
    command.current_dir(baton_sandbox::binaries::workspace());
    // What the cargo that runs this command has told it of this very package. Build scripts look at it, and would make anew
    // by `cargo xtask` what `cargo` alone has made, and again the other way round.
    for (name, _) in std::env::vars_os() {
        let told =
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|begin| name.to_string_lossy().starts_with(begin));
        if told {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed with {status}").into()) }
}

/// Runs a command to its end and gives what it wrote to standard output; anything but success is an error with what it said.
pub(crate) fn said(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.output().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if !output.status.success() {
        let both = [output.stdout, output.stderr].concat();
        let both = String::from_utf8_lossy(&both).trim().to_owned();
        return Err(format!("`{shown}` failed with {}:\n{both}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is on this machine.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Makes sure that a program of the system is there, and installs its Debian package if that can be done.
pub(crate) fn system(program: &str, package: &str) -> Result<(), Box<dyn Error>> {
    if is_there(program) {
        return Ok(());
    }
    let missing =
        format!("missing: {program}; install {package} (the name of a Debian package) and run this again");
    if !(is_there("apt-get") && is_root()) {
        return Err(missing.into());
    }
    output::note(&format!("installing {package}"));
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments).arg("-qq"))
    };
    apt(&["update"])?;
    apt(&["install", "-y", "--no-install-recommends", package])
        .map_err(|error| format!("{missing} ({error})"))?;
    if is_there(program) { Ok(()) } else { Err(missing.into()) }
}

/// Whether this process may do everything: make a root of another system, and run programs in it.
pub(crate) fn is_root() -> bool {
    said(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
